"""Binomial-normal model with a design array, by maximum likelihood.

A trial's true logit is normal with mean ``X beta + offset`` and variance ``tau2``; its events are
binomial. For fixed ``tau2`` the log-likelihood is concave in ``beta``; over ``tau2`` it is scanned
on a geometric grid and every sign change of its slope is refined, as in
:mod:`analysis.pooling.glmm`.

Separation: if some direction in ``beta`` moves only trials at 0 or 1, and those only towards the
value they have, the likelihood grows along it without end (Albert and Anderson 1984,
doi:10.1093/biomet/71.1.1). A linear program finds the direction that moves most trials; these
reach probability one in the limit and the rest of the model is fitted without them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from . import quadrature as quad

__all__ = [
    "Maximum",
    "column_scale",
    "constrained",
    "covariance",
    "maximize",
    "profile_limit",
    "separation",
    "supremum",
]

_COARSE = 16.0
_RATIO = 1.5
_TAU_TOP = 30.0
_TAU_CAP = 400.0
_REACH = 60.0


def tau_grid(trials: quad.Trials) -> np.ndarray:
    """Values of tau2 to scan: 0 and a geometric sequence in tau."""
    info = float((trials.n * trials.p * trials.q).max())
    low = 0.1 / math.sqrt(max(info, 0.5))
    count = math.ceil(math.log(_TAU_TOP / low) / math.log(_RATIO)) + 1
    return np.concatenate([[0.0], (low * _RATIO ** np.arange(count)) ** 2])


@dataclass(frozen=True, eq=False)
class Maximum:
    """Global maximum: coefficients, tau2, log-likelihood, derivatives there.

    ``gradient`` (p + 1,) and ``hessian`` (p + 1, p + 1) are in ``beta`` and ``tau2``; ``d_mu``
    (k,) are the slopes of each trial's log-likelihood in its own mean. ``zero`` is the maximum of
    the log-likelihood at tau2 = 0. ``modes`` counts the maxima seen over tau2.
    """

    beta: np.ndarray
    v: float
    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    d_mu: np.ndarray
    zero: float
    modes: int
    settled: bool


@dataclass(frozen=True, eq=False)
class _Point:
    gamma: np.ndarray
    v: float
    value: float
    g: np.ndarray
    h: np.ndarray
    g_v: float
    h_v: np.ndarray
    h_vv: float
    d_mu: np.ndarray


def _evaluate(trials, basis, offset, gamma, v, tol=quad.TOLERANCE) -> _Point:
    d = quad.derivatives(trials, offset + basis @ gamma, v, tol=tol)
    return _Point(
        gamma,
        v,
        float(d.value.sum()),
        d.mu @ basis,
        (basis * d.mu_mu[:, None]).T @ basis,
        float(d.v.sum()),
        d.mu_v @ basis,
        float(d.v_v.sum()),
        d.mu,
    )


def _ascent(h: np.ndarray, g: np.ndarray) -> np.ndarray:
    """``-h^{-1} g`` for negative definite ``h`` (..., p, p), also where it is nearly singular.

    Far from the maximum all trials but one may be saturated and ``h`` of rank one; a ridge of
    1e-13 on the scaled matrix then gives a long step uphill, which the caller shortens. With
    all trials saturated the step is along the gradient.
    """
    diagonal = -np.diagonal(h, axis1=-2, axis2=-1)
    top = diagonal.max(axis=-1, keepdims=True)
    flat = top < 1e-12
    h = np.where(flat[..., None], -1e-12 * np.eye(h.shape[-1]), h)
    scale = np.sqrt(np.where(flat, 1e-12, np.maximum(diagonal, 1e-14 * top)))
    scaled = -h / (scale[..., :, None] * scale[..., None, :]) + 1e-13 * np.eye(h.shape[-1])
    return np.linalg.solve(scaled, (g / scale)[..., None])[..., 0] / scale


def _profile(trials, basis, offset, gamma, v, tol):
    """Maximize over gamma (G, p) at each v (G,): gamma, value and slope in v."""
    for _ in range(120):
        d = quad.derivatives(trials, offset + gamma @ basis.T, v[:, None], tol=tol)
        g = d.mu @ basis
        h = np.einsum("gk,kp,kq->gpq", d.mu_mu, basis, basis)
        step = _ascent(h, g)
        gain = np.einsum("gp,gp->g", g, step)
        reach = np.abs(step @ basis.T).max(axis=1)
        scale = np.minimum(1.0, (2.0 + 2.0 * np.sqrt(v)) / np.maximum(reach, 1e-300))
        step = step * scale[:, None]
        if (gain < 1e-6).all():
            break
        gamma = gamma + step
    value = d.value.sum(axis=1) + 0.5 * gain
    slope = d.v.sum(axis=1) + np.einsum("gp,gp->g", d.mu_v @ basis, step)
    return gamma + step, value, slope


def _at_zero(trials, basis, offset, gamma) -> _Point:
    p = _evaluate(trials, basis, offset, gamma, 0.0)
    for _ in range(100):
        step = _ascent(p.h, p.g)
        reach = float(np.abs(basis @ step).max())
        if reach < 1e-13 or float(p.g @ step) < 1e-24:
            break
        p = _evaluate(trials, basis, offset, p.gamma + step * min(1.0, 1.5 / reach), 0.0)
    return p


def _refine(trials, basis, offset, gamma, low, high) -> tuple[_Point, bool]:
    """Newton iteration in (gamma, log v), v kept within a bracket."""
    v = 0.5 * high if low == 0.0 else math.sqrt(low * high)
    for tol, limit in ((_COARSE, 14), (quad.TOLERANCE, 60)):
        lo, hi = (low, high) if tol == _COARSE else (low / 1.01, high * 1.01)
        previous = math.inf
        for _ in range(limit):
            p = _evaluate(trials, basis, offset, gamma, v, tol)
            to_mode = _ascent(p.h, p.g)
            cross = -_ascent(p.h, p.h_v)
            slope = p.g_v + float(p.h_v @ to_mode)
            lo, hi = (v, hi) if slope > 0 else (lo, v)
            # profile curvature in r = log v
            bend = v * v * (p.h_vv - float(p.h_v @ cross)) + v * slope
            new = v * math.exp(min(max(-v * slope / bend, -3.0), 3.0)) if bend < 0 else hi * 2.0
            if not lo < new < hi:
                new = 0.5 * (lo + hi) if lo == 0.0 else math.sqrt(lo * hi)
            step = to_mode - cross * (new - v)
            reach = float(np.abs(basis @ step).max())
            step = step * min(1.0, (1.0 + 2.0 * math.sqrt(v)) / max(reach, 1e-300))
            size = abs(new - v) / v + reach
            gamma, v = gamma + step, new
            if size < (1e-3 if tol == _COARSE else 1e-10):
                break
            if size < 1e-6 and size >= 0.5 * previous:
                break
            previous = size
        else:
            if tol == quad.TOLERANCE:
                return _evaluate(trials, basis, offset, gamma, v), False
    return _evaluate(trials, basis, offset, gamma, v), True


def _basis(design: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthogonal columns of unit mean square, and R with ``design = basis @ R``."""
    q, r = np.linalg.qr(design)
    root = math.sqrt(design.shape[0])
    return q * root, r / root


def maximize(trials: quad.Trials, design: np.ndarray, offset: np.ndarray) -> Maximum:
    """Global maximum over ``beta`` (p,) and ``tau2 >= 0``; the data must not be separated."""
    basis, r = _basis(design)
    grid = tau_grid(trials)
    y = np.log((trials.x + 0.25) / (trials.n - trials.x + 0.25)) - offset
    weight = 1.0 / (grid[:, None] + 1.0 / np.maximum(trials.n * trials.p * trials.q, 0.2))
    weighted = weight[..., None] * basis
    gamma = np.linalg.solve(
        np.einsum("gkp,kq->gpq", weighted, basis), np.einsum("gkp,k->gp", weighted, y)[..., None]
    )[..., 0]
    gamma, _, slope = _profile(trials, basis, offset, gamma, grid, _COARSE)
    while slope[-1] > 0 and grid[-1] < _TAU_CAP**2:
        more = grid[-1:] * _RATIO**2
        g, _, s = _profile(trials, basis, offset, gamma[-1:], more, _COARSE)
        grid, slope = np.append(grid, more), np.append(slope, s)
        gamma = np.concatenate([gamma, g])
    zero = _at_zero(trials, basis, offset, gamma[0])
    # a derivative at 0 that is rounding error counts as 0
    at_zero = zero.g_v <= -1e-11 * float(np.trace(zero.h))
    candidates = [zero] if at_zero else []
    settled = True
    slope = slope.copy()
    slope[0] = min(zero.g_v, 0.0) if at_zero else zero.g_v
    for i in np.flatnonzero((slope[:-1] > 0) & (slope[1:] <= 0)):
        start = 0.5 * (gamma[i] + gamma[i + 1])
        point, ok = _refine(trials, basis, offset, start, float(grid[i]), float(grid[i + 1]))
        candidates.append(point)
        settled = settled and ok
    if not candidates:  # still growing at the cap: an all-or-none remainder
        candidates = [_evaluate(trials, basis, offset, gamma[-1], float(grid[-1]))]
        settled = False
    best = max(candidates, key=lambda p: p.value)
    inverse = np.linalg.inv(r)
    p = design.shape[1]
    hessian = np.empty((p + 1, p + 1))
    hessian[:p, :p] = r.T @ best.h @ r
    hessian[:p, p] = hessian[p, :p] = r.T @ best.h_v
    hessian[p, p] = best.h_vv
    return Maximum(
        beta=inverse @ best.gamma,
        v=best.v,
        value=best.value,
        gradient=np.append(r.T @ best.g, best.g_v),
        hessian=hessian,
        d_mu=best.d_mu,
        zero=zero.value,
        modes=len(candidates),
        settled=settled,
    )


def covariance(top: Maximum) -> np.ndarray:
    """Covariance (p, p) of the coefficients: inverse observed information.

    ``tau2`` counts as estimated unless it is 0, where the information about ``tau`` and ``beta``
    is orthogonal.
    """
    p = top.beta.size
    scale = np.sqrt(np.append(-np.diag(top.hessian)[:p], 1.0))
    if top.v == 0.0:
        h = -top.hessian[:p, :p] / np.outer(scale[:p], scale[:p])
        return np.linalg.inv(h) / np.outer(scale[:p], scale[:p])
    h = -top.hessian / np.outer(scale, scale)
    return (np.linalg.inv(h) / np.outer(scale, scale))[:p, :p]


def separation(
    x: np.ndarray, n: np.ndarray, design: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Direction (p,) along which the likelihood never stops growing and the trials it moves (k,).

    The direction moves every trial that any such direction moves: with ``a_i`` the movement of
    trial i towards its value, the linear program maximizes the sum of ``t_i`` for
    ``0 <= t_i <= min(1, a_i)``, and because directions may be lengthened, ``t_i`` ends at 0 or 1.
    None without separation.
    """
    extreme = (x == 0) | (x == n)
    if not extreme.any():
        return None
    from scipy.optimize import linprog

    p, m = design.shape[1], int(np.count_nonzero(extreme))
    scale = np.abs(design).max(axis=0)
    scale[scale == 0.0] = 1.0
    scaled = design / scale
    sign = np.where(x == n, 1.0, -1.0)
    towards = sign[extreme, None] * scaled[extreme]
    fixed = scaled[~extreme]
    result = linprog(
        np.concatenate([np.zeros(p), -np.ones(m)]),
        A_ub=np.hstack([-towards, np.eye(m)]),
        b_ub=np.zeros(m),
        A_eq=np.hstack([fixed, np.zeros((fixed.shape[0], m))]) if fixed.size else None,
        b_eq=np.zeros(fixed.shape[0]) if fixed.size else None,
        bounds=[(None, None)] * p + [(0.0, 1.0)] * m,
        method="highs",
    )
    if not result.success or -result.fun < 0.5:
        return None
    moved = np.zeros(x.size, dtype=bool)
    moved[extreme] = result.x[p:] > 0.5
    return result.x[:p] / scale, moved


@dataclass(frozen=True, eq=False)
class Supremum:
    """Supremum of the likelihood, reached in the limit where the data are separated.

    ``top`` is the maximum of the part that has one (None if nothing is left or the rest is
    all-or-none), ``rows`` the trials in it, ``columns`` the columns of the design used there,
    ``direction`` the separating direction or None, ``all_or_none`` whether every trial that is
    left is at 0 or at 1. ``d_mu`` are the slopes of the log-likelihood in the means of ``rows``
    (None where there is no maximum).
    """

    value: float
    zero: float
    top: Maximum | None
    rows: np.ndarray
    columns: np.ndarray
    direction: np.ndarray | None
    all_or_none: bool
    d_mu: np.ndarray | None = None


def _independent(design: np.ndarray) -> np.ndarray:
    """Indices of columns that span the column space, earlier columns first."""
    keep: list[int] = []
    scale = max(float(np.abs(design).max(initial=0.0)), 1e-300)
    for j in range(design.shape[1]):
        column = design[:, j]
        if keep:
            before = design[:, keep]
            column = column - before @ np.linalg.lstsq(before, column, rcond=None)[0]
        if np.linalg.norm(column) > 1e-9 * scale:
            keep.append(j)
    return np.array(keep, dtype=int)


def _binary_limit(x: np.ndarray, n: np.ndarray, design: np.ndarray) -> float:
    """Log-likelihood as tau2 grows without end and trials are all-or-none: a probit regression."""
    from scipy.optimize import minimize
    from scipy.special import log_ndtr

    sign = np.where(x == n, 1.0, -1.0)
    basis, _ = _basis(design)

    def loss(g):
        z = sign * (basis @ g)
        log = log_ndtr(z)
        ratio = np.exp(-0.5 * z * z - 0.5 * math.log(2 * math.pi) - log)
        return -log.sum(), -(sign * ratio) @ basis

    result = minimize(loss, np.zeros(design.shape[1]), jac=True, method="BFGS")
    return -float(result.fun)


def supremum(
    x: np.ndarray, n: np.ndarray, design: np.ndarray, offset: np.ndarray | None = None
) -> Supremum:
    """Supremum of the likelihood over ``beta`` and ``tau2``, also for separated data."""
    offset = np.zeros(x.size) if offset is None else offset
    found = separation(x, n, design)
    direction, moved = (None, np.zeros(x.size, dtype=bool)) if found is None else found
    rows = ~moved
    part = design[rows]
    columns = _independent(part) if rows.any() else np.array([], dtype=int)
    if not rows.any():
        return Supremum(0.0, 0.0, None, rows, columns, direction, False)
    xr, nr = x[rows], n[rows]
    trials = quad.prepare(xr, nr)
    if columns.size == 0:  # nothing to estimate but tau2 around the offset
        value, zero, d_mu = _offset_only(trials, offset[rows])
        return Supremum(value, zero, None, rows, columns, direction, False, d_mu)
    if ((xr == 0) | (xr == nr)).all():
        value = _binary_limit(xr, nr, part[:, columns])
        basis, _ = _basis(part[:, columns])
        zero = _at_zero(trials, basis, offset[rows], np.zeros(columns.size)).value
        return Supremum(max(value, zero), zero, None, rows, columns, direction, True)
    top = maximize(trials, part[:, columns], offset[rows])
    return Supremum(top.value, top.zero, top, rows, columns, direction, False, top.d_mu)


def _offset_only(trials: quad.Trials, offset: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Maximum over tau2 alone: value, value at tau2 = 0, slopes in the means."""
    from scipy.optimize import brentq

    def slope(v: float) -> float:
        return float(quad.derivatives(trials, offset, v).v.sum())

    grid = tau_grid(trials)
    d = quad.derivatives(trials, offset, grid[:, None], tol=_COARSE)
    s = d.v.sum(axis=1)
    s[0] = slope(0.0)
    roots = [0.0]
    for i in np.flatnonzero((s[:-1] > 0) & (s[1:] <= 0)):
        low, high = float(grid[i]), float(grid[i + 1])
        if slope(low) > 0 >= slope(high):
            roots.append(float(brentq(slope, low, high, xtol=1e-14 * high, rtol=1e-12)))
    values = [float(quad.log_marginal(trials, offset, v).sum()) for v in roots]
    best = int(np.argmax(values))
    return values[best], values[0], quad.derivatives(trials, offset, roots[best]).mu


def constrained(
    x: np.ndarray, n: np.ndarray, design: np.ndarray, j: int, b: float
) -> tuple[float, float]:
    """Supremum of the log-likelihood with coefficient ``j`` fixed at ``b``, and its slope in b."""
    rest = np.delete(design, j, axis=1)
    sup = supremum(x, n, rest, design[:, j] * b)
    if sup.d_mu is None:
        return sup.value, math.nan
    return sup.value, float(sup.d_mu @ design[sup.rows, j])


def column_scale(design: np.ndarray, j: int) -> float:
    """Root mean square of column ``j`` after regression on the others: change per unit."""
    rest, column = np.delete(design, j, axis=1), design[:, j]
    if rest.shape[1]:
        column = column - rest @ np.linalg.lstsq(rest, column, rcond=None)[0]
    return float(np.sqrt(np.mean(column * column)))


def profile_limit(
    x: np.ndarray,
    n: np.ndarray,
    design: np.ndarray,
    j: int,
    *,
    start: float,
    scale: float,
    target: float,
    side: int,
) -> float:
    """Value of coefficient ``j`` at which the profile log-likelihood equals ``target``.

    ``start`` lies inside the interval; steps of about ``scale``, but no more than a typical change
    of the logit by 4 at first, go outward on ``side`` (-1 or 1).
    Returns an infinite value where the profile does not fall that far within 60 times the scale
    of the column (a typical change of the logit by 60).
    """
    unit = column_scale(design, j)
    cap = _REACH / unit
    scale = min(scale, 4.0 / unit)
    inside, outside = start, start + side * scale
    while True:
        value, slope = constrained(x, n, design, j, outside)
        if value < target:
            break
        if abs(outside - start) >= cap:
            return side * math.inf
        inside, scale = outside, 2.0 * scale
        outside = outside + side * min(scale, cap)
    b = outside
    for _ in range(100):
        new = b - (value - target) / slope if slope * side < 0 else math.nan
        if not min(inside, outside) < new < max(inside, outside):
            new = 0.5 * (inside + outside)
        if abs(new - b) * unit < 1e-9 * (1.0 + abs(b) * unit):
            return new
        b = new
        value, slope = constrained(x, n, design, j, b)
        if value < target:
            outside = b
        else:
            inside = b
    return b
