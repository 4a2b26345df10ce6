"""Maximum likelihood and profile limits of the binomial-normal model, many data sets at once.

Everything here works on ``B`` data sets of ``k`` trials (one data set is ``B = 1``).

For a fixed ``tau2`` the log-likelihood is concave in ``mu`` (a convolution of log-concave
functions is log-concave), so several maxima can exist only along ``tau2``. The profile over
``tau2`` is scanned with its exact derivative on a geometric grid that reaches from well below
the smallest scale on which it can move to ``tau = 30`` (further where it still rises); every
change of sign of the derivative is refined by Newton's iteration within its bracket, and the
highest maximum wins, the boundary ``tau2 = 0`` included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import lattice
from . import quadrature as quad
from .lattice import Points

__all__ = [
    "MU_CAP",
    "TAU_CAP",
    "Maxima",
    "Points",
    "ScanTable",
    "bartlett_factor",
    "both_limits",
    "maximize",
    "profile_limits",
    "tau2_limits",
]

SCAN = 12.0  # quadrature tolerance of scans, about 6e-6
FINE = 20.0  # and where precision costs little, about 2e-9
RATIO = 2.0  # of neighboring tau in the scan
TAU_TOP = 30.0
TAU_CAP = 2000.0
MU_CAP = 200.0


_NAMES = lattice.NAMES


def _sum(mu, v, d: quad.Derivatives, shape) -> Points:
    parts = (d.value, d.mu, d.v, d.mu_mu, d.mu_v, d.v_v)
    return Points(mu.copy(), v.copy(), *(p.reshape(shape).sum(axis=-1) for p in parts))


def evaluate(trials: quad.Trials, mu, v, tol: float = quad.TOLERANCE) -> Points:
    """Sum over trials at one (mu, tau2) per data set; ``trials`` (B, k), ``mu, v`` (B,)."""
    return _sum(mu, v, quad.derivatives(trials, mu[:, None], v[:, None], tol=tol), trials.x.shape)


def _panel(trials: quad.Trials, mu_low, mu_high, v_low, v_high) -> Callable[..., Points]:
    """A function (mu, v) -> Points for values within the ranges, cheaper than ``evaluate``."""
    size = trials.x.shape[0]
    groups, rest = lattice.lay(trials, mu_low, mu_high, v_low, v_high)
    if rest.size == size:
        return _own_nodes(trials, mu_low, mu_high, v_low, v_high)
    if len(groups) == 1 and rest.size == 0:
        return groups[0][1].points
    parts = [(rows, made.points) for rows, made in groups]
    if rest.size:
        ranges = (a[rest] for a in (mu_low, mu_high, v_low, v_high))
        parts.append((rest, _own_nodes(trials.take(rest), *ranges)))

    def at(mu, v):
        out = Points(*(np.empty(size) for _ in _NAMES))
        for rows, function in parts:
            out.put(rows, function(mu[rows], v[rows]))
        return out

    return at


def _own_nodes(trials: quad.Trials, mu_low, mu_high, v_low, v_high) -> Callable[..., Points]:
    """As :func:`_panel`, with nodes of its own for each trial: any size, any variance."""
    shape = trials.x.shape
    k = shape[1]
    flat = quad.Trials(*(getattr(trials, name).ravel() for name in quad.FIELDS))
    panel = quad.Panel(flat, *(np.repeat(a, k) for a in (mu_low, mu_high, v_low, v_high)))

    def at(mu, v):
        return _sum(mu, v, panel.derivatives(np.repeat(mu, k), np.repeat(v, k)), shape)

    return at


class Local:
    """Evaluations along an iteration that keep their nodes while the values stay near.

    Data sets that have left the range of their nodes are evaluated directly; when most of them
    have, or most have finished, new nodes are laid for those that remain.
    """

    def __init__(self, trials: quad.Trials) -> None:
        self.trials = trials
        size = trials.x.shape[0]
        self.mu, self.v = np.zeros(size), np.zeros(size)
        self.rows = np.zeros(0, dtype=np.intp)
        self.place = np.full(size, -1)
        self.ranges = np.zeros((4, size))

    def __call__(self, rows: np.ndarray, mu: np.ndarray, v: np.ndarray) -> Points:
        """Sums of the data sets ``rows`` at their ``mu, v`` (arrays of the length of rows)."""
        near = self._inside(rows, mu, v)
        positive = v > 0.0
        if positive.any() and (
            near.sum() < 0.5 * positive.sum() or rows.size < 0.4 * self.rows.size
        ):
            self._lay(rows[positive], mu[positive], v[positive])
            near = positive
        if near.all() and rows.size == self.rows.size:
            return self.at(mu, v)
        out = Points(*(np.empty(rows.size) for _ in _NAMES))
        far = np.flatnonzero(~near)
        if far.size:
            out.put(far, evaluate(self.trials.take(rows[far]), mu[far], v[far]))
        close = np.flatnonzero(near)
        if close.size:
            self.mu[rows[close]], self.v[rows[close]] = mu[close], v[close]
            made = self.at(self.mu[self.rows], self.v[self.rows])
            out.put(close, made.take(self.place[rows[close]]))
        return out

    def _inside(self, rows, mu, v) -> np.ndarray:
        m_low, m_high, v_low, v_high = self.ranges[:, rows]
        held = self.place[rows] >= 0
        return held & (mu >= m_low) & (mu <= m_high) & (v >= v_low) & (v <= v_high)

    def _lay(self, rows, mu, v) -> None:
        reach = 0.2 + 0.3 * np.sqrt(v)
        self.rows = rows
        self.place[:] = -1
        self.place[rows] = np.arange(rows.size)
        ranges = np.stack([mu - reach, mu + reach, v / 2.5, v * 2.5])
        self.ranges[:, rows] = ranges
        self.mu[rows], self.v[rows] = mu, v
        self.at = _panel(self.trials.take(rows), *ranges)


@dataclass(frozen=True, eq=False)
class Maxima:
    """Global maxima and the scans that found them.

    ``best, zero``: at the maximum and at the best point with ``tau2 = 0``; ``grid``,
    ``grid_mu``, ``grid_value`` (B, G): the scanned values of tau2, the maximizing mean and the
    profile log-likelihood (to scan accuracy); ``modes``: number of maxima seen; ``settled``:
    whether Newton's iteration reached its precision.
    """

    best: Points
    zero: Points
    grid: np.ndarray
    grid_mu: np.ndarray
    grid_value: np.ndarray
    modes: np.ndarray
    settled: np.ndarray

    def take(self, index) -> Maxima:
        """The same for some of the data sets."""
        return Maxima(
            self.best.take(index),
            self.zero.take(index),
            self.grid[index],
            self.grid_mu[index],
            self.grid_value[index],
            self.modes[index],
            self.settled[index],
        )


def _pooled_logit(trials: quad.Trials) -> np.ndarray:
    x, n = trials.x.sum(axis=1), trials.n.sum(axis=1)
    return np.log(x) - np.log(n - x)


def tau2_grid(trials: quad.Trials) -> np.ndarray:
    """tau2 values to scan (B, G): 0, then geometric from a third of the finest scale."""
    info = (trials.n * trials.p * trials.q).max(axis=1)
    low = 0.3 / np.sqrt(np.maximum(info, 0.5))
    count = int(np.ceil(np.log(TAU_TOP / low.min()) / np.log(RATIO))) + 1
    grid = (low[:, None] * RATIO ** np.arange(count)) ** 2
    return np.concatenate([np.zeros((low.size, 1)), grid], axis=1)


def _start(trials: quad.Trials, v: np.ndarray) -> np.ndarray:
    """Rough maximizing mean for each tau2 of (B, G)."""
    x, n = trials.x + 0.25, trials.n + 0.5
    y = np.log(x) - np.log(n - x)
    within = n / (x * (n - x))
    w = 1.0 / (v[:, :, None] + within[:, None, :])
    mean = (w * y[:, None, :]).sum(axis=2) / w.sum(axis=2)
    # as tau2 falls the mean tends to the pooled logit
    fixed = (y / within).sum(axis=1) / (1.0 / within).sum(axis=1)
    typical = within.shape[1] / (1.0 / within).sum(axis=1)
    share = typical[:, None] / (typical[:, None] + v)
    return mean + share * (_pooled_logit(trials) - fixed)[:, None]


def profile_mean(
    trials: quad.Trials,
    v: np.ndarray,
    mu: np.ndarray,
    tol: float = SCAN,
    close: float = 0.03,
):
    """Maximize over mu for each tau2; ``trials`` (R, k), ``v, mu`` (R,).

    Returns the maximizing mean, the profile value and its derivative in tau2, the last two
    corrected to second order for what is left of the way to the maximum: less than ``close``
    standard errors before the last step.
    """
    mu = mu.copy()
    value, slope = np.empty(mu.size), np.empty(mu.size)
    low, high = np.full(mu.size, -np.inf), np.full(mu.size, np.inf)
    moved = np.full(mu.size, np.inf)
    active = np.arange(mu.size)
    for _ in range(200):
        everyone = active.size == mu.size
        part = trials if everyone else trials.take(active)
        p = evaluate(part, mu[active], v[active], tol)
        step = -p.g_mu / p.h_mu_mu
        value[active] = p.value + 0.5 * p.g_mu * step
        slope[active] = p.g_v + p.h_mu_v * step
        low[active] = np.where(p.g_mu > 0, p.mu, low[active])
        high[active] = np.where(p.g_mu > 0, high[active], p.mu)
        room = 1.0 + 2.0 * np.sqrt(p.v)
        new = p.mu + np.clip(step, -room, room)
        lo, hi = low[active], high[active]
        halve = (new <= lo) | (new >= hi) | (np.abs(step) > 0.7 * moved[active])
        halve &= np.isfinite(lo) & np.isfinite(hi)
        if halve.any():
            new[halve] = 0.5 * (lo[halve] + hi[halve])
        moved[active] = np.abs(step)
        mu[active] = new
        active = active[np.abs(step) * np.sqrt(-p.h_mu_mu) > close]
        if active.size == 0:
            break
    return mu, value, slope


class ScanTable:
    """The scan over tau2 of many data sets whose trials repeat few pairs of counts.

    For each distinct pair (x, n), each tau2 of a common grid and equally spaced means, the log
    marginal likelihood and its derivatives are tabulated once. A data set adds up its rows;
    cubic Hermite interpolation gives the maximizing mean, the profile value and its derivative.
    Only the scan uses the table: maxima are refined from exact evaluations as ever.
    """

    def __init__(self, x: np.ndarray, n: np.ndarray, limit: int) -> None:
        self.radix = int(n.max()) + 1
        self.keys = np.unique(n * self.radix + x)
        self.usable = False
        pairs = quad.prepare(self.keys % self.radix, self.keys // self.radix)
        grid = tau2_grid(quad.Trials(*(getattr(pairs, name)[None, :] for name in quad.FIELDS)))[0]
        tau = np.sqrt(grid[1:])
        low = float(pairs.ref.min()) - 0.3 - 0.7 * tau
        high = float(pairs.ref.max()) + 0.3 + 0.7 * tau
        count = int(np.ceil(((high - low) / (0.4 + 0.3 * tau)).max())) + 1
        if self.keys.size * count > limit or self.keys.size * count * tau.size > 6_000_000:
            return
        self.usable = True
        self.grid, self.count, self.low = grid, count, low
        self.step = (high - low) / (count - 1)
        mean = low[:, None] + self.step[:, None] * np.arange(count)
        made = [
            lattice.tabulate(pairs, row, v, SCAN) for row, v in zip(mean, grid[1:], strict=True)
        ]
        self.parts = [np.concatenate(part, axis=1) for part in zip(*made, strict=True)]

    def scan(self, x: np.ndarray, n: np.ndarray):
        """``(mu, value, slope)`` of shape (B, G - 1) and which data sets the table covers."""
        index = np.searchsorted(self.keys, n * self.radix + x)
        b, k = index.shape
        g, j = self.grid.size - 1, self.count
        value, score, bend, slope, cross = self.parts
        total = score[index[:, 0]]
        for i in range(1, k):
            total += score[index[:, i]]
        total = total.reshape(b, g, j)
        rises = (total > 0).sum(axis=2)
        covered = ((rises > 0) & (rises < j)).all(axis=1)
        at = np.clip(rises - 1, 0, j - 2)
        flat = (np.arange(g) * j + at)[:, None, :]
        rows = index[:, :, None]

        def pick(table, shift):
            return table[rows, flat + shift].sum(axis=1)

        h = self.step
        s0 = np.take_along_axis(total, at[:, :, None], 2)[:, :, 0]
        s1 = np.take_along_axis(total, at[:, :, None] + 1, 2)[:, :, 0]
        b0, b1 = h * pick(bend, 0), h * pick(bend, 1)
        t = np.clip(s0 / np.where(s0 > s1, s0 - s1, 1.0), 0.0, 1.0)
        for _ in range(3):
            f, df = _hermite(t, s0, s1, b0, b1)
            t = np.clip(t - f / np.minimum(df, -1e-300), 0.0, 1.0)
        v, _ = _hermite(t, pick(slope, 0), pick(slope, 1), h * pick(cross, 0), h * pick(cross, 1))
        top, _ = _hermite(t, pick(value, 0), pick(value, 1), h * s0, h * s1)
        return self.low + h * (at + t), top, v, covered


def _hermite(t, f0, f1, d0, d1):
    """Cubic through values and scaled slopes at 0 and 1, with its derivative in t."""
    u = f1 - f0
    a = d0 + d1 - 2.0 * u
    b = 3.0 * u - 2.0 * d0 - d1
    return f0 + t * (d0 + t * (b + t * a)), d0 + t * (2.0 * b + 3.0 * t * a)


def _scan(trials: quad.Trials, table: ScanTable | None):
    """``(grid, mu, value, slope)`` (B, G): the profile over tau2; which rows are precise (B,)."""
    if table is None or not table.usable:
        return _scan_directly(trials)
    b, g = trials.x.shape[0], table.grid.size
    x, n = trials.x.astype(np.int64), trials.n.astype(np.int64)
    grid = np.broadcast_to(table.grid, (b, g)).copy()
    mu, value, slope = (np.zeros((b, g)) for _ in range(3))
    mu[:, 1:], value[:, 1:], slope[:, 1:], covered = table.scan(x, n)
    rest = np.flatnonzero(~covered)
    precise = np.zeros(b, dtype=bool)
    if rest.size:
        made = _scan_directly(trials.take(rest), grid[rest])
        mu[rest], value[rest], slope[rest], precise[rest] = made[1:]
    return grid, mu, value, slope, precise


def _scan_directly(trials: quad.Trials, grid: np.ndarray | None = None, tol: float = SCAN):
    """As :func:`_scan`, computed; with nodes shared by the trials where that is possible."""
    if grid is None:
        grid = tau2_grid(trials)
    out = [np.zeros(grid.shape) for _ in range(3)]
    start = _start(trials, grid[:, 1:])
    rest = np.arange(grid.shape[0])
    for _ in range(3 if tol <= SCAN else 0):
        # nodes are laid for means near the start; again where the maxima are elsewhere
        groups, large = lattice.lay_for_scan(trials.take(rest), grid[rest, 1:], start[rest], FINE)
        again = [rest[large]]
        for index, made in groups:
            rows = rest[index]
            *found, good = _scan_shared(made, start[rows], grid[rows, 1:])
            far = np.abs(found[0] - start[rows]) > lattice.spare(grid[rows, 1:])
            for full, part in zip(out, found, strict=True):
                full[rows, 1:] = part
            off = good & far.any(axis=1)
            start[rows[off]] = found[0][off]
            again.append(rows[~good | off])
        rest = np.concatenate(again)
        if rest.size == 0 or not groups:
            break
    if rest.size:
        tall = _repeat(trials.take(rest), grid.shape[1] - 1)
        close = 0.1 if tol <= SCAN else 0.03
        found = profile_mean(tall, grid[rest, 1:].ravel(), start[rest].ravel(), tol, close)
        for full, part in zip(out, found, strict=True):
            full[rest, 1:] = part.reshape(rest.size, -1)
    precise = np.ones(grid.shape[0], dtype=bool)
    precise[rest] = tol > SCAN
    return grid, *out, precise


def _profile_finely(trials: quad.Trials, v: np.ndarray, mu: np.ndarray):
    """``profile_mean`` with precision, from a start that is near; arrays (R,)."""
    out = [np.empty(v.size) for _ in range(3)]
    room = 0.5 * lattice.spare(v)
    groups, rest = lattice.lay(trials, mu - room, mu + room, v, v, FINE)
    left = [rest]
    for rows, made in groups:
        *found, good = _scan_shared(made, mu[rows, None], v[rows, None])
        for full, part in zip(out, found, strict=True):
            full[rows] = part[:, 0]
        left.append(rows[~good | (np.abs(out[0][rows] - mu[rows]) > room[rows])])
    rest = np.concatenate(left)
    if rest.size:
        found = profile_mean(trials.take(rest), v[rest], mu[rest], FINE, 1e-3)
        for full, part in zip(out, found, strict=True):
            full[rest] = part
    return out


def _scan_shared(made: lattice.Lattice, mu: np.ndarray, v: np.ndarray):
    """``profile_mean`` for every tau2 (R, G) of data sets with nodes ``made``, and who is done."""
    low, high = np.full(mu.shape, -np.inf), np.full(mu.shape, np.inf)
    room = 1.0 + 2.0 * np.sqrt(v)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for _ in range(40):
            p = made.profile(mu, v)
            step = -p.g_mu / p.h_mu_mu
            done = np.abs(step) * np.sqrt(-p.h_mu_mu) < 1e-3
            if done.all():
                break
            up = step > 0
            low, high = np.where(up, mu, low), np.where(up, high, mu)
            new = mu + np.minimum(np.maximum(step, -room), room)
            bad = ((new <= low) | (new >= high)) & np.isfinite(low) & np.isfinite(high)
            mu = np.where(bad, 0.5 * (low + high), new)
    return p.mu + step, p.value + 0.5 * p.g_mu * step, p.g_v + p.h_mu_v * step, done.all(axis=1)


def maximize(trials: quad.Trials, table: ScanTable | None = None) -> Maxima:
    """Global maximum over (mu, tau2 >= 0) of each data set.

    Needs, in every data set, a trial with ``0 < x < n``; then a finite maximum exists. ``table``
    speeds up the scan where many data sets share pairs of counts.
    """
    made = _maximize(trials, _scan(trials, table))
    again = np.flatnonzero(~made.settled)
    if again.size:
        # a maximum next to a value of the grid can escape a scan of moderate precision
        part = trials.take(again)
        fresh = _maximize(part, _scan_directly(part, made.grid[again], quad.TOLERANCE))
        better = fresh.settled | (fresh.best.value >= made.best.value[again])
        use, rows = np.flatnonzero(better), again[better]
        made.best.put(rows, fresh.best.take(use))
        for name in ("grid_mu", "grid_value", "modes", "settled"):
            getattr(made, name)[rows] = getattr(fresh, name)[use]
    return made


def _maximize(trials: quad.Trials, scan) -> Maxima:
    grid, mu, value, slope, precise = scan
    b = grid.shape[0]
    zero = evaluate(trials, _pooled_logit(trials), np.zeros(b))
    # a derivative at 0 that is rounding error counts as 0
    inner = zero.g_v <= -1e-11 * zero.h_mu_mu
    slope[:, 0], value[:, 0], mu[:, 0] = np.where(inner, -1e-300, zero.g_v), zero.value, zero.mu
    # where the derivative is so small that the scan's error could change its sign
    doubtful = np.abs(slope) < 0.1 * (np.abs(zero.g_v) + 0.5)[:, None]
    doubtful &= np.abs(slope * grid) < 0.1
    doubtful[:, 0] = False
    doubtful[precise] = False
    row, col = np.nonzero(doubtful)
    if row.size:
        mu[row, col], value[row, col], slope[row, col] = _profile_finely(
            trials.take(row), grid[row, col], mu[row, col]
        )
    fit, col = np.nonzero((slope[:, :-1] > 0) & (slope[:, 1:] <= 0))
    ends = [
        (
            fit,
            grid[fit, col],
            grid[fit, col + 1],
            mu[fit, col],
            mu[fit, col + 1],
            slope[fit, col],
            slope[fit, col + 1],
        )
    ]
    settled = np.ones(b, dtype=bool)
    open_end = np.flatnonzero(slope[:, -1] > 0)
    if open_end.size:
        ends.append(_extend(trials, open_end, grid, mu, slope, settled))
    capped = ~settled
    fit, v0, v1, m0, m1, s0, s1 = (np.concatenate(part) for part in zip(*ends, strict=True))
    best = zero.take(np.arange(b))
    top = np.where(inner, zero.value, -np.inf)
    modes = inner.astype(int) + np.bincount(fit, minlength=b)
    if fit.size:
        found, good = _refine(trials.take(fit), v0, v1, m0, m1, s0, s1)
        for i in np.argsort(found.value, kind="stable"):
            j = fit[i]
            if found.value[i] > top[j]:
                top[j] = found.value[i]
                best.put(j, found.take(i))
                settled[j] = good[i] and not capped[j]
    return Maxima(best, zero, grid, mu, value, modes, settled)


def _repeat(trials: quad.Trials, g: int) -> quad.Trials:
    return quad.Trials(*(np.repeat(getattr(trials, name), g, axis=0) for name in quad.FIELDS))


def _extend(trials, rows, grid, mu, slope, settled):
    """Brackets beyond the grid for data sets whose profile still rises at its end."""
    v0, m0, s0 = grid[rows, -1], mu[rows, -1], slope[rows, -1]
    v1, m1, s1 = v0.copy(), m0.copy(), s0.copy()
    part = trials.take(rows)
    for _ in range(12):
        up = np.flatnonzero((s1 > 0) & (v1 < TAU_CAP**2))
        if up.size == 0:
            break
        v0[up], m0[up], s0[up] = v1[up], m1[up], s1[up]
        v1[up] *= RATIO**2
        m1[up], _, s1[up] = profile_mean(part.take(up), v1[up], m1[up])
    settled[rows[s1 > 0]] = False
    return rows, v0, v1, m0, m1, s0, s1


def _refine(trials, v0, v1, m0, m1, s0, s1) -> tuple[Points, np.ndarray]:
    """Newton's iteration in (mu, log tau2), kept within brackets of tau2."""
    size = v0.size
    low, high = v0 / 1.25, v1 * 1.25
    # linear in log tau2 the derivative in log tau2, where that exists at both ends
    a0, a1 = np.where(v0 > 0, v0 * s0, s0), np.where(v0 > 0, v1 * s1, s1)
    share = np.clip(a0 / np.maximum(a0 - a1, 1e-300), 0.02, 0.98)
    v = np.where(
        v0 > 0,
        np.exp(np.log(np.maximum(v0, 1e-300)) * (1 - share) + np.log(v1) * share),
        v1 * share,
    )
    mu = m0 + (m1 - m0) * share
    spare = 0.25 * np.abs(m1 - m0) + 0.02 * np.sqrt(v1)
    m_low, m_high = np.minimum(m0, m1) - spare, np.maximum(m0, m1) + spare
    out = Points(*(np.empty(size) for _ in _NAMES))
    good = np.zeros(size, dtype=bool)
    for start_zero in (False, True):
        active = np.flatnonzero((v0 == 0) == start_zero)
        for sweep in range(8):
            if active.size == 0:
                break
            part = trials.take(active)
            if start_zero or sweep >= 2:
                at = _direct(part)
            else:
                at = _panel(part, m_low[active], m_high[active], low[active], high[active])
            done = _newton(
                at,
                active,
                mu,
                v,
                low,
                high,
                m_low,
                m_high,
                out,
                good,
                free=start_zero or sweep >= 2,
            )
            active = active[~done]
            m_low[active], m_high[active] = mu[active] - spare[active], mu[active] + spare[active]
    return out, good


def _direct(trials: quad.Trials) -> Callable[..., Points]:
    def at(mu, v):
        return evaluate(trials, mu, v)

    return at


def _newton(at, rows, mu, v, low, high, m_low, m_high, out, good, *, free):
    """Up to ten Newton steps for the data sets ``rows``; updates the arrays in place."""
    done = np.zeros(rows.size, dtype=bool)
    last = np.full(rows.size, np.inf)
    m, t = mu[rows], v[rows]
    lo, hi = low[rows].copy(), high[rows].copy()
    for _ in range(10):
        p = at(m, t)
        gap = -p.g_mu / p.h_mu_mu
        slope = p.g_v + p.h_mu_v * gap
        # the profile slope is reliable for moving the bracket only near the ridge
        near = np.abs(gap) * np.sqrt(-p.h_mu_mu) < 0.01
        lo = np.where(near & (slope > 0), np.maximum(lo, t), lo)
        hi = np.where(near & (slope <= 0), np.minimum(hi, t), hi)
        g_r = t * p.g_v
        h_mr = t * p.h_mu_v
        h_rr = t * t * p.h_v_v + g_r
        det = p.h_mu_mu * h_rr - h_mr * h_mr
        convex = det <= 0
        step = (h_mr * p.g_mu - p.h_mu_mu * g_r) / np.where(convex, 1.0, det)
        new = t * np.exp(np.clip(step, -2.0, 2.0))
        # where the surface is not concave take half the way to the bracket's uphill end
        uphill = np.where(slope > 0, hi, lo)
        new = np.where(convex, 0.5 * (t + uphill), new)
        outside = (new <= lo) | (new >= hi)
        new = np.where(outside, 0.5 * (t + np.where(new >= hi, hi, lo)), new)
        move = new - t
        dm = -(p.g_mu + p.h_mu_v * move) / p.h_mu_mu
        size = np.abs(move) / t + np.abs(dm) * np.sqrt(-p.h_mu_mu)
        stuck = (size < 1e-6) & (size >= 0.5 * last)
        now = ~done & ((size < 1e-10) | stuck)
        if now.any():
            out.put(rows[now], p.take(now))
            good[rows[now]] = True
            done |= now
        if done.all():
            break
        last = size
        t = np.where(done, t, new)
        m_new = m + dm
        if not free:
            m_new = np.clip(m_new, m_low[rows], m_high[rows])
        m = np.where(done, m, m_new)
    rest = ~done
    if rest.any():
        out.put(rows[rest], p.take(rest))
        mu[rows[rest]], v[rows[rest]] = m[rest], t[rest]
        low[rows[rest]] = np.maximum(low[rows[rest]], lo[rest] / 1.1)
        high[rows[rest]] = np.minimum(high[rows[rest]], hi[rest] * 1.1)
    return done


# ------------------------------------------------------------------------- profile limits

# A rule gives, for tau2 of shape (R,), the drop of the profile log-likelihood at the limit and
# the derivative of that drop in tau2.
Rule = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def constant_drop(drop: float) -> Callable[[np.ndarray], Rule]:
    """Rules of one fixed drop; the argument of the result (rows) is not needed."""

    def rows(_index: np.ndarray) -> Rule:
        return lambda v: (np.full(v.shape, drop), np.zeros(v.shape))

    return rows


def bartlett_factor(within: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Simple Bartlett factor ``1 + 2 C`` and its derivative in tau2.

    ``C = sum w^3 / (sum w * sum w^2)`` with ``w = 1/(within + tau2)``; ``within`` (R, k) are the
    sampling variances of the observed logits, ``v`` (R,) is tau2 (Hanada and Sugimoto 2025,
    arXiv:2508.08758, doi:10.1093/biomtc/ujag148; Noma 2011, doi:10.1002/sim.4350).
    """
    w = 1.0 / (within + v[:, None])
    s1, s2, s3, s4 = (np.sum(w**p, axis=1) for p in (1, 2, 3, 4))
    c = s3 / (s1 * s2)
    slope = c * (-3.0 * s4 / s3 + s2 / s1 + 2.0 * s3 / s2)
    return 1.0 + 2.0 * c, 2.0 * slope


def bartlett_drop(half_cut: float, within: np.ndarray) -> Callable[[np.ndarray], Rule]:
    """Rules whose drop is ``half_cut * (1 + 2 C(tau2))``; ``within`` (B, k)."""

    def rows(index: np.ndarray) -> Rule:
        part = within[index]

        def rule(v):
            factor, slope = bartlett_factor(part, v)
            return half_cut * factor, half_cut * slope

        return rule

    return rows


def _slopes(trials: quad.Trials, mu: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Derivative in tau2 at fixed means (R,) and each positive tau2 of ``grid`` (R, G)."""
    slope = np.zeros(grid.shape)
    mean = np.repeat(mu[:, None], grid.shape[1] - 1, axis=1)
    groups, rest = lattice.lay_for_scan(trials, grid[:, 1:], mean, FINE)
    for rows, made in groups:
        slope[rows, 1:] = made.profile(mean[rows], grid[rows, 1:]).g_v
    if rest.size:
        part = trials.take(rest)
        wide = quad.Trials(*(getattr(part, name)[:, None, :] for name in quad.FIELDS))
        d = quad.derivatives(wide, mu[rest, None, None], grid[rest, 1:, None], tol=SCAN)
        slope[rest, 1:] = d.v.sum(axis=2)
    return slope


def best_tau2(trials: quad.Trials, mu: np.ndarray, grid: np.ndarray) -> Points:
    """Global maximum over tau2 >= 0 for fixed means; ``mu`` (R,), ``grid`` (R, G)."""
    r = grid.shape[0]
    zero = evaluate(trials, mu, np.zeros(r))
    slope = _slopes(trials, mu, grid)
    slope[:, 0] = zero.g_v
    best = zero
    top = np.where(zero.g_v <= 0, zero.value, -np.inf)
    row, col = np.nonzero((slope[:, :-1] > 0) & (slope[:, 1:] <= 0))
    v0, v1 = grid[row, col], grid[row, col + 1]
    up = np.flatnonzero(slope[:, -1] > 0)
    if up.size:
        a, b = _rise(trials.take(up), mu[up], grid[up, -1])
        row, v0, v1 = np.concatenate([row, up]), np.append(v0, a), np.append(v1, b)
    found = _best_within(trials.take(row), mu[row], v0, v1)
    for i in np.argsort(found.value, kind="stable"):
        if found.value[i] > top[row[i]]:
            top[row[i]] = found.value[i]
            best.put(row[i], found.take(i))
    return best


def _rise(trials: quad.Trials, mu: np.ndarray, v: np.ndarray):
    """Bracket of the maximum above ``v`` where the likelihood still rises there."""
    v0, v1 = v.copy(), v.copy()
    active = np.arange(v.size)
    while active.size:
        v0[active] = v1[active]
        v1[active] *= RATIO**2
        p = evaluate(trials.take(active), mu[active], v1[active], SCAN)
        active = active[(p.g_v > 0) & (v1[active] < TAU_CAP**2)]
    return v0, v1


def _best_within(trials: quad.Trials, mu, v0, v1) -> Points:
    """Maximum over tau2 in each bracket for fixed means (safeguarded Newton in log tau2)."""
    size = mu.size
    out = Points(*(np.empty(size) for _ in _NAMES))
    low, high = v0 / 1.02, v1 * 1.02
    v = np.where(v0 > 0, np.sqrt(v0 * v1), 0.5 * v1)
    for zero in (False, True):
        rows = np.flatnonzero((v0 == 0) == zero)
        if rows.size == 0:
            continue
        part = trials.take(rows)
        m, t, lo, hi = mu[rows], v[rows], low[rows].copy(), high[rows].copy()
        at = _direct(part) if zero else _panel(part, m, m, lo, hi)
        done = np.zeros(rows.size, dtype=bool)
        for _ in range(80):
            p = at(m, t)
            lo, hi = np.where(p.g_v > 0, t, lo), np.where(p.g_v > 0, hi, t)
            g_r = t * p.g_v
            h_rr = t * t * p.h_v_v + g_r
            fair = h_rr < 0
            new = t * np.exp(np.clip(-g_r / np.where(fair, h_rr, -1.0), -2.0, 2.0))
            bad = ~fair | (new <= lo) | (new >= hi)
            new = np.where(bad, 0.5 * (lo + hi), new)
            done |= np.abs(new - t) <= 1e-9 * t
            if done.all():
                break
            t = np.where(done, t, new)
        out.put(rows, p)
    return out


def profile_limits(
    trials: quad.Trials, top: Maxima, rules: Callable[[np.ndarray], Rule], side: int | np.ndarray
) -> np.ndarray:
    """Means where the profile log-likelihood has dropped as the rule says.

    Parameters
    ----------
    trials : Trials
        Shape (B, k).
    top : Maxima
        From :func:`maximize`.
    rules : callable
        From :func:`constant_drop` or :func:`bartlett_drop`.
    side : {-1, 1} or array of them, shape (B,)
        Lower or upper limit.

    Returns
    -------
    numpy.ndarray, shape (B,)
        Logit scale; ``-inf`` or ``inf`` where the profile has not dropped that far at
        ``|mu| = 200``, that is within 1e-86 of 0 or 1.

    Notes
    -----
    Newton's iteration solves the two equations ``profile = target`` and ``d/d tau2 = 0``
    together; a scan over tau2 at the solution confirms that no better tau2 was missed.
    Where it fails, bracketing with a global search over tau2 at each step takes over.
    """
    size = top.best.mu.size
    everyone = np.arange(size)
    side = np.broadcast_to(side, size)
    drop, _ = rules(everyone)(top.best.v)
    # standard error with tau2 profiled out
    inner = top.best.v > 0
    bend = top.best.h_mu_mu - np.where(
        inner, top.best.h_mu_v**2 / np.where(inner, top.best.h_v_v, -1.0), 0.0
    )
    reach = np.minimum(np.sqrt(2.0 * drop / -bend), 20.0)
    guess = top.best.mu + side * reach
    # in the normal model moving the mean by d raises the best tau2 by d squared
    limit, good = _joint(trials, top, rules, side, guess, top.best.v + 0.7 * reach * reach)
    rows = np.flatnonzero(~good)
    if rows.size:
        part, peak = trials.take(rows), top.take(rows)
        p = best_tau2(part, guess[rows], peak.grid)
        root = np.sqrt(np.maximum(2.0 * (peak.best.value - p.value), 1e-3 * drop[rows]))
        ratio = np.clip(np.sqrt(2.0 * drop[rows]) / root, 0.3, 2.0)
        mu = peak.best.mu + (guess[rows] - peak.best.mu) * ratio
        fewer = _of_rows(rules, rows)
        limit[rows], good[rows] = _joint(part, peak, fewer, side[rows], mu, p.v)
    for sign in (-1, 1):
        rows = np.flatnonzero(~good & (side == sign))
        if rows.size:
            fewer = _of_rows(rules, rows)
            limit[rows] = _bracketed(trials.take(rows), top.take(rows), fewer, sign)
    return limit


def _of_rows(rules: Callable[[np.ndarray], Rule], rows: np.ndarray) -> Callable[[np.ndarray], Rule]:
    """The rules of some of the data sets, counted from the first of them."""
    return lambda index: rules(rows[index])


def both_limits(
    trials: quad.Trials, top: Maxima, rules: Callable[[np.ndarray], Rule]
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper :func:`profile_limits` of each data set, searched side by side."""
    size = top.best.mu.size
    twice = np.tile(np.arange(size), 2)
    side = np.repeat([-1, 1], size)
    of_both = _of_rows(rules, twice)
    found = profile_limits(trials.take(twice), top.take(twice), of_both, side)
    return found[:size], found[size:]


def _joint(trials, top, rules, side, mu, v):
    """Newton's iteration for the limit and its tau2; says for which data sets it worked."""
    mu, v = mu.copy(), v.copy()
    size = mu.size
    good = np.zeros(size, dtype=bool)
    alive = np.arange(size)
    at = Local(trials)
    # tau2 below this is taken for a maximum at 0 and tested there
    least = 0.002 / np.maximum((trials.n * trials.p * trials.q).max(axis=1), 0.5)
    for _ in range(25):
        m, t = mu[alive], v[alive]
        p = at(alive, m, t)
        drop, drop_v = rules(alive)(t)
        f1 = p.value - (top.best.value[alive] - drop)
        flat = t == 0.0
        a, b = p.g_mu, np.where(flat, 0.0, t * (p.g_v + drop_v))
        # the second equation in log tau2; its slope is forced to that of a maximum
        c = np.where(flat, 0.0, t * p.h_mu_v)
        d = np.where(flat, 1.0, t * t * p.h_v_v + t * p.g_v)
        concave = d < 0
        d = np.where(flat | concave, d, -np.abs(d) - 1e-3)
        f2 = np.where(flat, 0.0, t * p.g_v)
        det = a * d - b * c
        broken = ~np.isfinite(det) | (det == 0.0) | (flat & (p.g_v > 0))
        det = np.where(broken, 1.0, det)
        dm = np.where(broken, 0.0, (-f1 * d + f2 * b) / det)
        dr = np.where(broken, 0.0, (-a * f2 + c * f1) / det)
        room = 0.5 * np.abs(m - top.best.mu[alive]) + 1e-12
        dm, dr = np.clip(dm, -room, room), np.clip(dr, -1.5, 1.5)
        done = ~broken & (np.abs(dm) < 1e-11 * (1.0 + np.abs(m))) & (np.abs(dr) < 1e-7)
        out = side[alive]
        ok = done & (out * a < 0) & (flat | concave) & ((m - top.best.mu[alive]) * out > 0)
        good[alive[ok]] = True
        mu[alive] = m + dm
        new = t * np.exp(dr)
        v[alive] = np.where((new < least[alive]) & (dr < 0), 0.0, new)
        keep = ~done & ~broken & (np.abs(mu[alive]) < MU_CAP) & (v[alive] < TAU_CAP**2)
        alive = alive[keep]
        if alive.size == 0:
            break
    check = np.flatnonzero(good)
    if check.size:
        good[check] = _only_maximum(trials.take(check), mu[check], v[check], top.grid[check])
    return mu, good


def _only_maximum(trials, mu, v, grid) -> np.ndarray:
    """Whether a scan over tau2 at fixed means shows no maximum other than the one at ``v``."""
    slope = _slopes(trials, mu, grid)
    slope[:, 0] = evaluate(trials, mu, np.zeros(mu.size)).g_v
    falls = (slope[:, :-1] > 0) & (slope[:, 1:] <= 0)
    count = falls.sum(axis=1) + (slope[:, 0] <= 0)
    here = (grid[:, :-1] <= 1.3 * v[:, None]) & (grid[:, 1:] >= v[:, None] / 1.3) & falls
    at_zero = (v == 0.0) & (slope[:, 0] <= 0)
    beyond = (slope[:, -1] > 0) & (v >= grid[:, -1] / 1.3)
    return ((count == 1) & (here.any(axis=1) | at_zero) & (slope[:, -1] <= 0)) | (
        (count == 0) & beyond
    )


def _bracketed(
    trials: quad.Trials, top: Maxima, rules: Callable[[np.ndarray], Rule], side: int
) -> np.ndarray:
    """Limits by bracketing, with the global maximum over tau2 at every step."""
    center, best = top.best.mu, top.best.value
    limit = np.full(center.size, side * np.inf)

    def excess(index: np.ndarray, mu: np.ndarray):
        p = best_tau2(trials.take(index), mu, top.grid[index])
        drop, _ = rules(index)(p.v)
        return p.value - best[index] + drop, p.g_mu

    # go out until the profile has dropped far enough
    inside, outside = center.copy(), center.copy()
    f, slope = np.empty(center.size), np.empty(center.size)
    step = 0.5 / np.sqrt(-top.best.h_mu_mu)
    found = []
    active = np.flatnonzero(np.abs(center) < MU_CAP)
    while active.size:
        outside[active] = np.clip(center[active] + side * step[active], -MU_CAP, MU_CAP)
        f[active], slope[active] = excess(active, outside[active])
        reached = f[active] < 0
        found.append(active[reached])
        stuck = (np.abs(outside[active]) >= MU_CAP) | (outside[active] == inside[active])
        active = active[~reached & ~stuck]
        inside[active] = outside[active]
        step[active] *= 1.6
    # then Newton's steps, halving the bracket where they leave it
    active = np.concatenate([np.empty(0, dtype=int), *found])
    mu = outside.copy()
    for _ in range(200):
        if active.size == 0:
            break
        m, low, high = mu[active], inside[active], outside[active]
        falls = slope[active] * side < 0
        new = np.where(falls, m - f[active] / np.where(falls, slope[active], 1.0), np.inf)
        fits = (np.minimum(low, high) < new) & (new < np.maximum(low, high))
        new = np.where(fits, new, 0.5 * (low + high))
        limit[active] = new
        done = (np.abs(new - m) < 1e-11 * (1.0 + np.abs(m))) | (np.abs(high - low) < 1e-12)
        active, new = active[~done], new[~done]
        if active.size == 0:
            break
        mu[active] = new
        f[active], slope[active] = excess(active, new)
        over = f[active] < 0
        outside[active] = np.where(over, new, outside[active])
        inside[active] = np.where(over, inside[active], new)
    return limit


def tau2_limits(trials: quad.Trials, top: Maxima, drop: float, side: int) -> np.ndarray:
    """tau2 where its profile log-likelihood is ``drop`` below the maximum, nearest to it.

    Lower limit (``side=-1``): 0 where the profile at 0 is not that low. Upper limit
    (``side=1``): ``inf`` where the profile has not dropped that far at ``tau = 2000``.
    """
    size = top.grid.shape[0]
    target = top.best.value - drop
    out = np.zeros(size) if side < 0 else np.full(size, np.inf)
    inside, outside = top.best.v.copy(), np.full(size, np.nan)
    mu_in, mu_out = top.best.mu.copy(), top.best.mu.copy()
    f_in, f_out = np.full(size, drop), np.full(size, np.nan)
    f = top.grid_value - target[:, None]
    best = top.best.v[:, None]
    if side < 0:
        away = (top.grid < best) & (f < 0) & (top.zero.value < target)[:, None]
        hit = away.shape[1] - 1 - np.argmax(away[:, ::-1], axis=1)
        before = hit + 1
        between = before < away.shape[1]
        before = np.minimum(before, away.shape[1] - 1)
        between &= top.grid[np.arange(size), before] < top.best.v
    else:
        away = (top.grid > best) & (f < 0)
        hit = np.argmax(away, axis=1)
        # the last value of the grid before the first one that is too low, or before its end
        before = np.where(away.any(axis=1), hit - 1, away.shape[1] - 1)
        between = (before >= 0) & (top.grid[np.arange(size), before] > top.best.v)
    rows = np.flatnonzero(away.any(axis=1))
    outside[rows], mu_out[rows] = top.grid[rows, hit[rows]], top.grid_mu[rows, hit[rows]]
    f_out[rows] = f[rows, hit[rows]]
    rows = np.flatnonzero(between & ((side > 0) | away.any(axis=1)))
    inside[rows], mu_in[rows] = top.grid[rows, before[rows]], top.grid_mu[rows, before[rows]]
    f_in[rows] = f[rows, before[rows]]
    if side > 0:
        active = np.flatnonzero(np.isnan(outside))
        at = np.maximum(inside, 1e-6)
        while active.size:
            at[active] *= RATIO**2
            m, value, _ = profile_mean(trials.take(active), at[active], mu_in[active])
            f = value - target[active]
            below = f < 0
            here, rest = active[below], active[~below]
            outside[here], mu_out[here], f_out[here] = at[here], m[below], f[below]
            inside[rest], mu_in[rest], f_in[rest] = at[rest], m[~below], f[~below]
            active = rest[at[rest] < TAU_CAP**2]
    rows = np.flatnonzero(~np.isnan(outside))
    if rows.size:
        share = np.clip(f_in[rows] / (f_in[rows] - f_out[rows]), 0.02, 0.98)
        a, b = inside[rows], outside[rows]
        positive = (a > 0) & (b > 0)
        mixed = np.exp(
            np.log(np.where(positive, a, 1.0)) * (1 - share)
            + np.log(np.where(positive, b, 1.0)) * share
        )
        start = np.where(positive, mixed, a * (1 - share) + b * share)
        mean = mu_in[rows] * (1 - share) + mu_out[rows] * share
        out[rows] = _tau2_root(trials.take(rows), target[rows], a, b, start, mean, side)
    return out


def _tau2_root(trials, target, inside, outside, v, mu, side):
    """Solve ``profile = target`` for tau2 between an inner and an outer value."""
    lo = np.minimum(inside, outside) / 1.01
    hi = np.maximum(inside, outside) * 1.01
    result = v.copy()
    alive = np.arange(v.size)
    at = Local(trials)
    for _ in range(200):
        m, t = mu[alive], v[alive]
        p = at(alive, m, t)
        gap = -p.g_mu / p.h_mu_mu
        near = np.abs(gap) * np.sqrt(-p.h_mu_mu) < 0.1
        # profile value and slope, mean adjusted to second and first order
        f = p.value + 0.5 * p.g_mu * gap - target[alive]
        slope = p.g_v + p.h_mu_v * gap
        above = f >= 0
        toward = above == (side > 0)
        lo[alive] = np.where(near & toward, t, lo[alive])
        hi[alive] = np.where(near & ~toward, t, hi[alive])
        fair = slope * side < 0
        new = t * np.exp(np.clip(-f / np.where(fair, t * slope, 1.0), -1.5, 1.5))
        bad = ~fair | ~((new > lo[alive]) & (new < hi[alive]))
        middle = 0.5 * (lo[alive] + hi[alive])
        new = np.where(near, np.where(bad, middle, new), t)
        move = new - t
        dm = -(p.g_mu + p.h_mu_v * move) / p.h_mu_mu
        room = 1.0 + 2.0 * np.sqrt(t)
        mu[alive] = m + np.clip(dm, -room, room)
        v[alive] = new
        done = near & (np.abs(move) <= 1e-10 * t) & (np.abs(dm) * np.sqrt(-p.h_mu_mu) < 1e-8)
        result[alive] = new
        alive = alive[~done]
        if alive.size == 0:
            break
    return result
