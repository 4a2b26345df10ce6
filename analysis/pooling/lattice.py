r"""Nodes shared by all trials of a data set, for many evaluations near one place.

The marginal likelihood of trial i is :math:`\int f_i(\theta)\,\phi\{(\theta-\mu)/\tau\}\,d\theta/
\tau` with its binomial likelihood f. On nodes common to the trials of a data set the f are a
matrix that depends on counts alone; at any mean and variance the normal density and its products
with powers of :math:`z=(\theta-\mu)/\tau` are another, and one product of the two gives every
integral. By the heat equation the derivatives of L in the mean and in tau2 are such integrals:

.. math:: \partial^jL/\partial\mu^j=\tau^{-j}\int f\,He_j(z)\,\phi(z)\,d\theta/\tau,\qquad
          \partial L/\partial\tau^2=\tfrac12\,\partial^2L/\partial\mu^2 .

The rule is the trapezoidal one of :mod:`analysis.pooling.quadrature`, with the same bound of the
relative error, here at the largest information :math:`np(1-p)` that a trial can have between the
means in question and its own proportion, and at the smallest variance. The nodes reach
``sqrt(2 * WINDOW)`` of the largest tau beyond every mode: from its mode on an integrand falls at
least as fast as the normal density.

For scans, where a relative error of about 1e-4 serves, one set of nodes
:math:`\theta=c+\sinh s` with equal steps in s serves every tau: dense near the pooled logit c,
where alone a small tau puts its mass, and sparse far from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import quadrature as quad

__all__ = [
    "LEAST_SPREAD",
    "MOST_NODES",
    "MOST_PATIENTS",
    "Lattice",
    "Points",
    "lay",
    "lay_for_scan",
    "spare",
]

MOST_PATIENTS = 1_000  # totals above this need the slower, fully accurate logarithm
MOST_NODES = 700
LEAST_SPREAD = 0.03  # tau2 in units of the least sampling variance
_HALF_LOG_2PI = 0.5 * np.log(2.0 * np.pi)
# powers 1 to 4 of z to Hermite polynomials 1 to 4
_HERMITE = np.array(
    [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [-3.0, 0.0, 1.0, 0.0], [0.0, -6.0, 0.0, 1.0]]
)
_HERMITE_0 = np.array([[0.0], [-1.0], [0.0], [3.0]])


@dataclass(frozen=True, eq=False)
class Points:
    """Log-likelihood summed over trials with its derivatives; arrays of one shape."""

    mu: np.ndarray
    v: np.ndarray
    value: np.ndarray
    g_mu: np.ndarray
    g_v: np.ndarray
    h_mu_mu: np.ndarray
    h_mu_v: np.ndarray
    h_v_v: np.ndarray

    def take(self, index) -> Points:
        """The same for some of the data sets."""
        return Points(*(getattr(self, name)[index] for name in NAMES))

    def put(self, index, other: Points) -> None:
        """Overwrite the entries at ``index``."""
        for name in NAMES:
            getattr(self, name)[index] = getattr(other, name)


NAMES = ("mu", "v", "value", "g_mu", "g_v", "h_mu_mu", "h_mu_v", "h_v_v")


class Lattice:
    """Nodes (B, M) and binomial likelihoods (B, k, M), weights of the rule included."""

    def __init__(self, trials: quad.Trials, theta: np.ndarray, weight: np.ndarray) -> None:
        b, k = trials.x.shape
        self.theta = theta
        parts = np.empty((b, k, 3))
        parts[:, :, 0], parts[:, :, 1], parts[:, :, 2] = trials.x, -trials.n, trials.shift
        basis = np.empty((b, 3, theta.shape[1]))
        basis[:, 0] = theta
        basis[:, 1] = np.maximum(theta, 0.0) + np.log1p(np.exp(-np.abs(theta)))
        basis[:, 2] = 1.0
        f = parts @ basis
        np.exp(f, out=f)
        f *= weight[:, None, :]
        self.f = f.transpose(0, 2, 1)
        self.base = trials.const.sum(axis=1) - k * _HALF_LOG_2PI
        self.k = k

    def take(self, index: np.ndarray) -> Lattice:
        """The same for some of the data sets."""
        new = object.__new__(Lattice)
        new.theta, new.f, new.base = self.theta[index], self.f[index], self.base[index]
        new.k = self.k
        return new

    def moments(self, mu: np.ndarray, v: np.ndarray):
        """Integrals L (B, G, k) without the constant and the ratios of its derivatives.

        ``mu, v`` (B, G). The ratios (4, B, G, k) are ``tau^j L^(j) / L`` for j = 1 to 4.
        """
        b, g = mu.shape
        m = self.theta.shape[1]
        z = (self.theta[:, None, :] - mu[:, :, None]) / np.sqrt(v)[:, :, None]
        z2 = z * z
        p = np.empty((b, 5, g, m))
        np.exp(-0.5 * z2, out=p[:, 0])
        np.multiply(p[:, 0], z, out=p[:, 1])
        np.multiply(p[:, 0], z2, out=p[:, 2])
        np.multiply(p[:, 1], z2, out=p[:, 3])
        np.multiply(p[:, 2], z2, out=p[:, 4])
        r = (p.reshape(b, 5 * g, m) @ self.f).reshape(b, 5, g, self.k)
        whole = r[:, 0]
        r = r[:, 1:] / whole[:, None]
        ratios = (_HERMITE @ r.reshape(b, 4, g * self.k) + _HERMITE_0).reshape(b, 4, g, self.k)
        return whole, ratios

    def profile(self, mu: np.ndarray, v: np.ndarray) -> Points:
        """Sums over trials at ``mu, v`` of shape (B, G)."""
        whole, f = self.moments(mu, v)
        total = f.sum(axis=3)
        cross = np.einsum("bigk,bjgk->ijbg", f[:, :2], f[:, :2])
        inv = 1.0 / v
        root = np.sqrt(inv)
        return Points(
            mu,
            v,
            np.log(whole).sum(axis=2) + self.base[:, None] + (0.5 * self.k) * np.log(inv),
            total[:, 0] * root,
            0.5 * inv * total[:, 1],
            inv * (total[:, 1] - cross[0, 0]),
            0.5 * inv * root * (total[:, 2] - cross[0, 1]),
            0.25 * inv * inv * (total[:, 3] - cross[1, 1]),
        )

    def points(self, mu: np.ndarray, v: np.ndarray) -> Points:
        """Sums over trials at ``mu, v`` of shape (B,)."""
        p = self.profile(mu[:, None], v[:, None])
        return Points(*(getattr(p, name)[:, 0] for name in NAMES))


def _one_set(trials: quad.Trials) -> quad.Trials:
    """Trials (k,) as one data set (1, k)."""
    return quad.Trials(*(getattr(trials, name)[None, :] for name in quad.FIELDS))


def alone(trials: quad.Trials, mu: float, v: float):
    """Log-likelihood, score and information about the mean of each trial (k,) at one place.

    None where :func:`lay` leaves the data set to the general way.
    """
    m, t = np.array([mu]), np.array([v])
    one = _one_set(trials)
    groups, _ = lay(one, m, m, t, t)
    if not groups:
        return None
    whole, f = groups[0][1].moments(m[:, None], t[:, None])
    value = trials.const - _HALF_LOG_2PI - 0.5 * np.log(v) + np.log(whole[0, 0])
    return value, f[0, 0, 0] / np.sqrt(v), (f[0, 0, 0] ** 2 - f[0, 1, 0]) / v


def _reach(trials: quad.Trials, mu_low, mu_high, v_high):
    """Least and greatest mode of each integrand (B, k) for means and tau2 up to those given."""
    x, n, ref = trials.x, trials.n, trials.ref
    low, high = np.minimum(ref, mu_low), np.maximum(ref, mu_high)
    empty, full = x == 0.0, x == n
    edge = empty | full
    if edge.any():
        # without events the score is -n p(theta), which at mu and at the second point bounds
        # how far below mu the mode can be; only events: mirrored
        far = np.log(n * v_high)
        drop = v_high * n / (1.0 + np.exp(-np.maximum(mu_high, -500.0)))
        lift = v_high * n / (1.0 + np.exp(np.minimum(mu_low, 500.0)))
        low = np.where(empty, np.maximum(mu_low - drop, np.minimum(mu_low - 1.0, -far)), low)
        high = np.where(empty, mu_high, high)
        high = np.where(full, np.minimum(mu_high + lift, np.maximum(mu_high + 1.0, far)), high)
        low = np.where(full, mu_low, low)
    return low, high


def _steps(trials: quad.Trials, low, high, v_low, tol: float):
    """Step that the error bound asks for at modes from ``low`` to ``high`` (B, k)."""
    nearest = np.where(low * high < 0.0, 0.0, np.minimum(np.abs(low), np.abs(high)))
    e = np.exp(-np.minimum(nearest, 500.0))
    info = trials.n * e / (1.0 + e) ** 2
    return quad.spacing(info, 1.0 / v_low, tol)


def _safe(trials: quad.Trials, mu_low, mu_high, v_low) -> np.ndarray:
    """Whether no integral (B, k) can be so small that doubles lose digits."""
    gap = np.maximum(np.abs(trials.ref - mu_low), np.abs(trials.ref - mu_high))
    # at theta = mu the likelihood is at least exp(-n gap), at the reference the density is
    return np.minimum(gap * gap / (2.0 * v_low), trials.n * gap).max(axis=1) < 500.0


def lay(trials: quad.Trials, mu_low, mu_high, v_low, v_high, tol: float = quad.TOLERANCE):
    """Equally spaced nodes for means and tau2 within ranges (B,) each.

    Returns
    -------
    groups : list of (numpy.ndarray, Lattice)
        Data sets with like numbers of nodes.
    rest : numpy.ndarray
        Data sets that need too many nodes, or have trials too large, for this way.
    """
    m0, m1, v0, v1 = (a[:, None] for a in (mu_low, mu_high, v_low, v_high))
    low, high = _reach(trials, m0, m1, v1)
    step = _steps(trials, low, high, v0, tol).min(axis=1)
    margin = np.sqrt(2.0 * quad.WINDOW * v_high)
    start, stop = low.min(axis=1) - margin, high.max(axis=1) + margin
    need = np.ceil((stop - start) / step) + 1.0
    fits = (need <= MOST_NODES) & (trials.n.max(axis=1) <= MOST_PATIENTS)
    # with a variance much below those of the trials the moments of z lose digits
    fits &= v_low * (trials.n * trials.p * trials.q).max(axis=1) > LEAST_SPREAD
    fits &= _safe(trials, m0, m1, v0)
    groups = []
    for rows in _alike(need, fits):
        part = trials if rows.size == need.size else trials.take(rows)
        count = int(need[rows].max())
        h = (stop[rows] - start[rows]) / (count - 1)
        theta = start[rows, None] + h[:, None] * np.arange(count)
        groups.append((rows, Lattice(part, theta, np.broadcast_to(h[:, None], theta.shape))))
    return groups, np.flatnonzero(~fits)


def _alike(need: np.ndarray, fits: np.ndarray):
    """Rows that fit, in groups within which the numbers of nodes differ by less than half."""
    rows = np.flatnonzero(fits)
    if rows.size <= 1:
        return [rows] if rows.size else []
    rows = rows[np.argsort(need[rows], kind="stable")]
    groups = []
    while rows.size:
        stop = int(np.searchsorted(need[rows], 1.5 * need[rows[0]], side="right"))
        groups.append(np.sort(rows[:stop]))
        rows = rows[stop:]
    return groups


def tabulate(trials: quad.Trials, mean: np.ndarray, v: float, tol: float):
    """Log-likelihood of each trial (k,) at equally spaced means (J,) for one tau2 > 0.

    Returns ``value, mu, mu_mu, v, mu_v`` (the derivatives of :class:`quadrature.Derivatives`),
    each of shape (k, J).
    """
    one, t = _one_set(trials), np.array([v])
    groups, _ = lay(one, mean[:1], mean[-1:], t, t, tol)
    if not groups and _safe(one, mean[:1], mean[-1:], t).all():
        middle, room = 0.5 * (mean[:1] + mean[-1:]), 0.5 * (mean[-1] - mean[0])
        groups, _ = lay_for_scan(one, t[:, None], middle[:, None], tol, room)
    if not groups:
        column = quad.Trials(*(getattr(trials, name)[:, None] for name in quad.FIELDS))
        d = quad.derivatives(column, mean, v, tol=tol)
        return d.value, d.mu, d.mu_mu, d.v, d.mu_v
    whole, f = groups[0][1].moments(mean[None, :], np.full((1, mean.size), v))
    f1, f2, f3, _ = f[0].transpose(0, 2, 1)
    value = np.log(whole[0].T) + (trials.const - _HALF_LOG_2PI - 0.5 * np.log(v))[:, None]
    root = np.sqrt(v)
    return value, f1 / root, (f2 - f1 * f1) / v, 0.5 * f2 / v, 0.5 * (f3 - f1 * f2) / (v * root)


def spare(v: np.ndarray) -> np.ndarray:
    """How far from the given means the nodes of a scan at ``v`` = tau2 are good."""
    return 0.1 + 0.3 * np.sqrt(v)


def lay_for_scan(trials: quad.Trials, grid: np.ndarray, mean: np.ndarray, tol: float, room=None):
    """Nodes for a scan: every positive tau2 of ``grid`` (B, G), at means near ``mean`` (B, G).

    The nodes are dense near the mean of the least tau2. ``room`` says how near (:func:`spare`).
    Returns groups and rest as :func:`lay`.
    """
    room = spare(grid) if room is None else room
    center = mean[:, 0]
    c = center[:, None]
    tau = np.sqrt(grid)
    m0, m1 = (mean - room).min(axis=1)[:, None], (mean + room).max(axis=1)[:, None]
    low, high = _reach(trials, m0, m1, grid[:, -1:])
    margin = np.sqrt(2.0 * (tol + 2.0) * grid[:, -1])
    start = np.arcsinh(low.min(axis=1) - margin - center)
    stop = np.arcsinh(high.max(axis=1) + margin - center)
    # what a wide normal needs where each likelihood is, and a narrow one where its mean is
    gap = trials.ref - c
    own = _steps(trials, np.minimum(trials.ref, c), np.maximum(trials.ref, c), 4.0, tol)
    step = (own / np.sqrt(1.0 + gap * gap)).min(axis=1)
    info = (trials.n * np.exp(-np.abs(c)) / (1.0 + np.exp(-np.abs(c))) ** 2).max(axis=1)
    away = np.minimum(np.abs(mean - c) + room + tau, np.abs(gap).max(axis=1)[:, None] + 0.5)
    narrow = quad.spacing(info[:, None], 1.0 / grid, tol) / np.sqrt(1.0 + away * away)
    step = np.minimum(step, narrow.min(axis=1))
    need = np.ceil((stop - start) / step) + 1.0
    fits = (need <= MOST_NODES) & (trials.n.max(axis=1) <= MOST_PATIENTS)
    fits &= _safe(trials, c - 0.5, c + 0.5, grid[:, :1])
    groups = []
    for rows in _alike(need, fits):
        part = trials if rows.size == need.size else trials.take(rows)
        count = int(need[rows].max())
        h = (stop[rows] - start[rows]) / (count - 1)
        s = start[rows, None] + h[:, None] * np.arange(count)
        theta = center[rows, None] + np.sinh(s)
        groups.append((rows, Lattice(part, theta, h[:, None] * np.cosh(s))))
    return groups, np.flatnonzero(~fits)
