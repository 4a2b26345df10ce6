"""The maximizer: scans from a table, second attempts, far limits, data sets far apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit, gammaln, logsumexp
from scipy.stats import binom

from analysis.pooling import engine, lattice, pool, pool_many
from analysis.pooling import quadrature as quad


@pytest.fixture(autouse=True)
def strict_arithmetic():
    """A division by zero, an overflow or a NaN made on the way is an error, not a warning."""
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        yield


def simulated(seed, n, mu, tau, size):
    rng = np.random.default_rng(seed)
    n = np.asarray(n)
    x = rng.binomial(n, 1 / (1 + np.exp(-rng.normal(mu, tau, (size, n.size)))))
    total = np.broadcast_to(n, x.shape)
    keep = ((x > 0) & (x < total)).any(axis=1)
    return x[keep], total[keep]


@pytest.fixture
def strict_panels(monkeypatch):
    """Nodes are asked only within the range of means and tau2 for which they were laid."""
    original = engine._panel

    def panel(trials, mu_low, mu_high, v_low, v_high):
        assert (mu_low <= mu_high).all() and (v_low <= v_high).all() and (v_low > 0).all()
        at = original(trials, mu_low, mu_high, v_low, v_high)
        ranges = [a.copy() for a in (mu_low, mu_high, v_low, v_high)]

        def within(mu, v):
            m0, m1, v0, v1 = ranges
            slack = 1e-12 * (1.0 + np.abs(mu))
            assert (mu >= m0 - slack).all() and (mu <= m1 + slack).all()
            assert (v >= v0 * (1 - 1e-12)).all() and (v <= v1 * (1 + 1e-12)).all()
            return at(mu, v)

        return within

    monkeypatch.setattr(engine, "_panel", panel)


@pytest.mark.parametrize(
    ("n", "mu"),
    [((12, 23, 34, 45, 18, 9, 56, 30, 22, 14, 41), -1.0), ((5, 9, 14, 20, 7, 3), -2.5),
     ((500, 30, 1000, 4), 0.0), ((8, 8, 8), 2.0)],
)  # fmt: skip
def test_a_table_leads_to_the_same_maxima(n, mu):
    x, total = simulated(5, n, mu, 1.2, 400)
    table = engine.ScanTable(x, total, 10**9)
    assert table.usable
    trials = quad.prepare(x, total)
    a, b = engine.maximize(trials, table), engine.maximize(trials)
    np.testing.assert_allclose(a.best.value, b.best.value, rtol=1e-11)
    np.testing.assert_allclose(a.best.v, b.best.v, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(a.best.mu, b.best.mu, rtol=1e-8, atol=1e-9)
    np.testing.assert_array_equal(a.modes, b.modes)
    assert a.settled.all()


def test_table_values_are_those_of_a_direct_scan():
    x, total = simulated(6, (12, 23, 34, 45, 18), -1.0, 1.0, 50)
    table = engine.ScanTable(x, total, 10**9)
    mu, value, slope, covered = table.scan(x, total)
    assert covered.all()
    trials = quad.prepare(x, total)
    for g, v in enumerate(table.grid[1:]):
        m, top, fall = engine.profile_mean(trials, np.full(len(x), v), mu[:, g], 30.0)
        np.testing.assert_allclose(mu[:, g], m, atol=2e-2 * (1 + math.sqrt(v)))
        np.testing.assert_allclose(value[:, g], top, atol=2e-3)
        np.testing.assert_allclose(slope[:, g] * v, fall * v, atol=2e-2)


def test_table_refuses_and_leaves_out():
    x, total = simulated(7, (40, 50, 60), 0.0, 1.0, 30)
    assert not engine.ScanTable(x, total, 10).usable
    unusable = engine.maximize(quad.prepare(x, total), engine.ScanTable(x, total, 10))
    direct = engine.maximize(quad.prepare(x, total))
    np.testing.assert_array_equal(unusable.best.value, direct.best.value)
    table = engine.ScanTable(x, total, 10**9)
    # a table that covers no mean sends every data set to the direct scan
    table.parts[1] = np.abs(table.parts[1]) + 1.0
    same = engine.maximize(quad.prepare(x, total), table)
    np.testing.assert_allclose(same.best.value, direct.best.value, rtol=1e-12)


def test_large_batches_use_the_table_and_equal_a_loop():
    x, total = simulated(8, (6, 9, 12), -0.5, 1.0, 700)
    assert engine.ScanTable(x, total, x.size).usable
    batch = pool_many(x, total, interval="wald", tau2_interval=False)
    for i in range(0, len(x), 97):
        fit = pool(x[i], total[i], interval="wald", tau2_interval=False)
        assert fit.tau2_ci is None
        assert batch.mu[i] == pytest.approx(fit.mu, rel=1e-9, abs=1e-10)
        assert batch.tau2[i] == pytest.approx(fit.tau2, rel=1e-8, abs=1e-10)
        assert batch.log_likelihood[i] == pytest.approx(fit.log_likelihood, rel=1e-12)


def test_an_unsettled_maximum_gets_a_second_attempt(monkeypatch):
    x, total = simulated(9, (12, 23, 34, 45, 18), -1.0, 1.0, 20)
    trials = quad.prepare(x, total)
    right = engine.maximize(trials)
    original, calls = engine._refine, []

    def fails_at_first(*args):
        found, good = original(*args)
        calls.append(good.size)
        if len(calls) == 1:
            found.v[:] *= 0.5
            found.value[:] -= 0.3
            good[:] = False
        return found, good

    monkeypatch.setattr(engine, "_refine", fails_at_first)
    again = engine.maximize(trials)
    assert len(calls) == 2
    assert again.settled.all()
    np.testing.assert_allclose(again.best.value, right.best.value, rtol=1e-12)
    np.testing.assert_allclose(again.best.v, right.best.v, rtol=1e-8, atol=1e-10)


def test_a_derivative_of_zero_at_the_boundary_is_the_boundary():
    # the binomial variance matches exactly: d/d tau2 at 0 is 0 up to rounding
    fit = pool([2, 15, 5, 2], [8, 35, 17, 12])
    assert fit.tau2 == 0.0
    assert fit.converged
    assert fit.lrt == 0.0


def test_bracketing_alone_finds_the_same_limits():
    x, total = simulated(10, (12, 23, 34, 45, 18), -1.0, 1.0, 6)
    trials = quad.prepare(x, total)
    top = engine.maximize(trials)
    rules = engine.constant_drop(1.92)
    for side in (-1, 1):
        quick = engine.profile_limits(trials, top, rules, side)
        slow = engine._bracketed(trials, top, rules, side)
        np.testing.assert_allclose(slow, quick, rtol=1e-9)
        for i in range(len(x)):
            one = np.array([i])
            alone = engine._bracketed(trials.take(one), top.take(one), rules, side)
            assert alone[0] == pytest.approx(slow[i], rel=1e-10)


def test_a_failed_iteration_falls_back(monkeypatch):
    x, total = simulated(11, (12, 23, 34, 45, 18), -1.0, 1.0, 4)
    trials = quad.prepare(x, total)
    top = engine.maximize(trials)
    rules = engine.constant_drop(1.92)
    quick = engine.profile_limits(trials, top, rules, 1)

    def never(trials, top, rules, side, mu, v):
        return mu, np.zeros(mu.size, dtype=bool)

    monkeypatch.setattr(engine, "_joint", never)
    np.testing.assert_allclose(engine.profile_limits(trials, top, rules, 1), quick, rtol=1e-9)


def test_limits_beyond_the_scale_are_infinite():
    x, n = np.array([[2, 20]]), np.array([[24, 25]])
    trials = quad.prepare(x, n)
    top = engine.maximize(trials)
    rules = engine.constant_drop(80.0)
    assert engine.profile_limits(trials, top, rules, 1)[0] == math.inf
    assert engine.profile_limits(trials, top, rules, -1)[0] == -math.inf
    assert engine.tau2_limits(trials, top, 30.0, 1)[0] == math.inf
    assert engine.tau2_limits(trials, top, 30.0, -1)[0] == 0.0


def test_a_maximum_beyond_the_grid_is_followed():
    x, n = np.array([[0, 50] * 10 + [25]]), np.array([[50] * 20 + [50]])
    top = engine.maximize(quad.prepare(x, n))
    assert top.best.v[0] > engine.TAU_TOP**2 * 4
    assert top.settled[0]
    assert abs(top.best.g_v[0] * top.best.v[0]) < 1e-8


def test_a_profile_that_rises_to_the_cap_is_marked(monkeypatch):
    x, n = np.array([[0, 50] * 10 + [25]]), np.array([[50] * 20 + [50]])
    monkeypatch.setattr(engine, "TAU_CAP", 20.0)
    monkeypatch.setattr(engine, "TAU_TOP", 10.0)
    top = engine.maximize(quad.prepare(x, n))
    assert not top.settled[0]


def test_local_nodes_agree_with_direct_evaluation():
    x, total = simulated(12, (12, 23, 34), -1.0, 1.0, 12)
    trials = quad.prepare(x, total)
    local = engine.Local(trials)
    rng = np.random.default_rng(2)
    rows = np.arange(len(x))
    for step in range(8):
        some = rows if step < 3 else rows[rng.random(rows.size) < 0.7]
        mu = rng.normal(-1, 0.1 + 0.1 * step, some.size)
        v = rng.uniform(0.5, 1.5, some.size) ** (step + 1)
        v[rng.random(some.size) < 0.2] = 0.0
        got = local(some, mu, v)
        expected = engine.evaluate(trials.take(some), mu, v)
        for name in ("value", "g_mu", "g_v", "h_mu_mu", "h_mu_v", "h_v_v"):
            np.testing.assert_allclose(
                getattr(got, name), getattr(expected, name), rtol=1e-8, atol=1e-8
            )


# ------------------------------------------------- against computations of another kind


def log_likelihood(x, n, mu: float, v: float) -> float:
    """By a plain sum over 1,601 effects, dense where each trial is; binomial where v = 0."""
    x, n = np.asarray(x, dtype=float)[:, None], np.asarray(n, dtype=float)[:, None]
    if v == 0.0:
        return float(binom.logpmf(x, n, expit(mu)).sum())
    inner = np.clip(x, 0.5, n - 0.5)
    ref, scale = np.log(inner / (n - inner)), np.sqrt(n / inner / (n - inner))
    # a random effect much narrower than the likelihood: equal steps about the mean
    narrow = math.sqrt(v) * n < 3.0
    ref, scale = np.where(narrow, mu, ref), np.where(narrow, 20.0 * math.sqrt(v), scale)
    reach = 12.0 * math.sqrt(v)
    start = np.arcsinh((np.minimum(mu, ref) - reach - ref) / scale)
    stop = np.arcsinh((np.maximum(mu, ref) + reach - ref) / scale)
    step = (stop - start) / 1600
    s = start + step * np.arange(1601)
    theta = ref + scale * np.sinh(s)
    log_f = x * theta - n * np.logaddexp(0.0, theta) + np.log(step * scale * np.cosh(s))
    log_f += gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1)
    log_f -= 0.5 * ((theta - mu) ** 2 / v + math.log(2 * math.pi * v))
    return float(logsumexp(log_f, axis=1).sum())


def dense_tau2(x, n, mu: float) -> tuple[float, float]:
    """The best tau2 at a mean and its log-likelihood: a dense grid, each of its peaks searched."""
    grid = np.concatenate([[0.0], np.geomspace(1e-6, 1e5, 100)])
    values = np.array([log_likelihood(x, n, mu, v) for v in grid])
    best, top = 0.0, values[0]
    for i in range(1, grid.size - 1):
        if values[i] >= max(values[i - 1], values[i + 1]):
            found = minimize_scalar(
                lambda r: -log_likelihood(x, n, mu, math.exp(r)),
                bounds=(math.log(max(grid[i - 1], 1e-8)), math.log(grid[i + 1])),
                method="bounded",
                options={"xatol": 1e-7},
            )
            if -found.fun > top:
                best, top = math.exp(found.x), -found.fun
    return best, top


def dense_mean(x, n, v: float) -> float:
    """Profile log-likelihood at one tau2."""
    found = minimize_scalar(
        lambda m: -log_likelihood(x, n, m, v),
        bounds=(-60.0, 60.0),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return -float(found.fun)


# counts, mean, and what is special there
FIXED_MEANS = {
    "inside": ([3, 12, 20, 9, 1], [12, 23, 34, 45, 18], -0.3),
    "falls from 0 on": ([10, 10, 10], [30, 30, 30], -0.7),
    "falls at 0, rises later, best inside": ([500, 0], [1000, 20], 0.0),
    "falls at 0, rises later, best at 0": ([500, 0], [1000, 7], 0.0),
    "small and precise": ([10_000, 10_400, 9_900], [20_000, 20_000, 20_000], 0.0),
    "beyond the grid": ([0, 50] * 3 + [25], [50] * 7, 30.0),
    "far off": ([3, 5, 2], [10, 12, 9], 6.0),
}


@pytest.mark.parametrize("case", FIXED_MEANS)
def test_best_tau2_at_a_fixed_mean_is_that_of_a_dense_grid(case, strict_panels):
    x, n, mu = FIXED_MEANS[case]
    trials = quad.prepare(np.array([x]), np.array([n]))
    grid = engine.tau2_grid(trials)
    found = engine.best_tau2(trials, np.array([mu]), grid)
    v, top = dense_tau2(x, n, mu)
    assert found.value[0] == pytest.approx(top, rel=1e-10, abs=1e-9)
    assert found.v[0] == pytest.approx(v, rel=3e-4, abs=1e-12)
    assert found.mu[0] == mu
    if ("at 0" in case and "best inside" not in case) or "from 0" in case:
        assert found.v[0] == 0.0
        assert found.g_v[0] < 0
    else:
        # the derivative there is rounding error, in units of the curvature
        assert abs(found.g_v[0]) < 1e-8 * found.v[0] * -found.h_v_v[0]
        assert found.h_v_v[0] < 0
    # and it is the one maximum that a scan at the fixed mean shows, or it is not
    only = engine._only_maximum(trials, np.array([mu]), found.v, grid)
    assert only.tolist() == ["rises later" not in case]
    for other in (found.v * 8.0 + grid[0, 3], found.v / 8.0):
        if found.v[0] < grid[0, -1] and other[0] != found.v[0]:
            assert not engine._only_maximum(trials, np.array([mu]), other, grid)[0]
    assert (found.v[0] > grid[0, -1]) == (case == "beyond the grid")


def test_best_tau2_of_many_is_that_of_each():
    cases = [((x * 4)[1:7], (n * 4)[1:7], min(mu, 8.0)) for x, n, mu in FIXED_MEANS.values()]
    trials = quad.prepare(np.array([c[0] for c in cases]), np.array([c[1] for c in cases]))
    mu, grid = np.array([c[2] for c in cases]), engine.tau2_grid(trials)
    together = engine.best_tau2(trials, mu, grid)
    for i, (x, n, m) in enumerate(cases):
        one = np.array([i])
        alone = engine.best_tau2(trials.take(one), mu[one], grid[one])
        assert together.v[i] == pytest.approx(alone.v[0], rel=1e-7, abs=1e-300)
        assert together.value[i] == pytest.approx(alone.value[0], rel=1e-12)
        assert together.value[i] == pytest.approx(dense_tau2(x, n, m)[1], rel=1e-10)


@pytest.mark.parametrize(
    ("slopes", "v", "only"),
    [
        ([-1, -1, -1, -1], 0.0, True),
        ([0, -1, -1, -1], 0.0, True),
        ([0, 0, 0, 0], 0.0, True),
        ([-1, -1, -1, -1], 2.0, False),
        ([1, 1, -1, -1], 2.0, True),
        ([1, 1, 0, 0], 2.0, True),
        ([1, 1, -1, -1], 0.8, True),  # next to the bracket: a maximum lies within 1.3 of v
        ([1, 1, -1, -1], 5.0, True),
        ([1, 1, -1, -1], 0.7, False),
        ([1, 1, -1, -1], 5.5, False),
        ([1, 0, -1, -1], 0.9, True),  # exactly 0 at a value of the grid counts once
        ([1, 1, 1, 0], 10.0, True),
        ([1, 1, 1, -1], 20.0, True),
        ([1, 1, 1, -1], 21.0, False),
        ([1, -1, 1, -1], 0.5, False),  # another maximum
        ([-1, 1, -1, -1], 2.0, False),
        ([-1, 1, -1, -1], 0.0, False),
        ([-1, -1, -1, 1], 0.0, False),  # and one beyond the grid
        ([1, -1, -1, 1], 0.5, False),
        ([1, -1, -1, 1], 100.0, False),
        ([-1, 1, 1, 1], 100.0, False),
        ([0, 1, 1, 1], 100.0, False),
        ([1, 1, 1, 1], 100.0, True),
        ([1, 1, 1, 1], 13.0, True),
        ([1, 1, 1, 1], 12.0, False),
        ([1, 1, 1, 1], 0.0, False),
        ([1, 1, 1, 0], 100.0, False),
    ],
)
def test_only_maximum_reads_the_signs_of_a_scan(slopes, v, only, monkeypatch):
    grid = np.array([[0.0, 1.0, 4.0, 16.0]] * 2)
    trials = quad.prepare(np.array([[3, 4], [3, 4]]), np.array([[9, 9], [9, 9]]))
    at_zero = engine.evaluate(trials, np.zeros(2), np.zeros(2))
    at_zero.g_v[:] = slopes[0], -1.0
    asked = []

    def scanned(t, mu, g):
        assert t is trials and g is grid and mu.tolist() == [0.3, 0.4]
        # the place of the boundary is not filled in here; the second data set falls throughout
        return np.array([[np.nan, *map(float, slopes[1:])], [np.nan, -1.0, -1.0, -1.0]])

    def evaluated(t, mu, tau2):
        asked.append((mu.tolist(), tau2.tolist()))
        return at_zero

    monkeypatch.setattr(engine, "_slopes", scanned)
    monkeypatch.setattr(engine, "evaluate", evaluated)
    result = engine._only_maximum(trials, np.array([0.3, 0.4]), np.array([v, 0.0]), grid)
    assert result.tolist() == [only, True]
    assert asked == [([0.3, 0.4], [0.0, 0.0])]


# log t at the maximum; bracket; the slope of the derivative in log t (how curved)
PEAKS = [(0.3, (0.5, 2.0)), (-9.0, (6e-5, 2.4e-4)), (-16.0, (0.0, 3e-7)), (-2.0, (0.0, 0.5)),
         (7.0, (600.0, 2400.0)), (-30.0, (0.0, 1e-6)), (4.0, (0.0, 90.0))]  # fmt: skip


class Ridge:
    """A made-up log-likelihood with a maximum over tau2 at ``exp(peak)`` and nothing in the mean.

    Beyond a factor of six of the bracket's middle it rises again: who looks there is misled.
    """

    def __init__(self, peak, v0, v1, convex: bool = False) -> None:
        self.peak, self.v0, self.v1, self.convex = (np.asarray(a) for a in (peak, v0, v1, convex))
        self.seen: list[np.ndarray] = []

    def __call__(self, mu, v) -> engine.Points:
        self.seen.append(v.copy())
        with np.errstate(divide="ignore"):
            r = np.log(v) - self.peak
        inside = (v >= self.v0 / 1.03) & (v <= self.v1 * 1.03)
        g_r = np.where(inside, -np.tanh(r) * 2.0, 5.0 * np.sign(v - self.v1))
        h_rr = np.where(inside, -2.0 / np.cosh(np.minimum(np.abs(r), 300.0)) ** 2, 1.0)
        safe = np.maximum(v, 1e-300)
        one = np.ones(v.size)
        return engine.Points(
            mu, v, -r * r, 0.0 * one, g_r / safe, -one, 0.0 * one, (h_rr - g_r) / safe / safe
        )


def test_a_maximum_over_tau2_is_sought_within_its_bracket(monkeypatch):
    peak = np.array([p for p, _ in PEAKS])
    v0, v1 = np.array([b for _, b in PEAKS]).T
    trials = quad.prepare(np.tile([3.0, 4.0], (peak.size, 1)), np.full((peak.size, 2), 9.0))
    rows = {zero: np.flatnonzero((v0 == 0) == zero) for zero in (False, True)}
    ridges = {zero: Ridge(peak[r], v0[r], v1[r]) for zero, r in rows.items()}
    laid = []

    def panel(part, m0, m1, low, high):
        laid.append((m0, m1, low, high))
        return ridges[False]

    monkeypatch.setattr(engine, "_panel", panel)
    monkeypatch.setattr(engine, "_direct", lambda part: ridges[True])
    mu = np.arange(peak.size) / 7.0
    found = engine._best_within(trials, mu, v0, v1)
    np.testing.assert_allclose(found.v, np.exp(peak), rtol=1e-8)
    np.testing.assert_array_equal(found.mu, mu)
    ((m0, m1, low, high),) = laid
    np.testing.assert_array_equal(m0, mu[rows[False]])
    np.testing.assert_array_equal(m1, mu[rows[False]])
    np.testing.assert_allclose(low, v0[rows[False]] / 1.02)
    np.testing.assert_allclose(high, v1[rows[False]] * 1.02)
    for zero, r in rows.items():
        seen = np.array(ridges[zero].seen)
        assert (seen > 0).all()
        assert (seen >= v0[r] / 1.021).all()
        assert (seen <= v1[r] * 1.021).all()
        # halving alone would take more than 30 steps, more than 50 in a bracket from 0
        assert len(seen) <= (35 if zero else 25)


def test_brackets_beyond_the_grid_hold_the_maximum():
    x = np.array([[0, 50, 25, 0], [0, 30, 15, 30], [3, 4, 5, 6], [0, 50, 50, 1]])
    n = np.array([[50, 50, 50, 50], [30, 30, 30, 30], [9, 9, 12, 12], [50, 50, 50, 50]])
    trials = quad.prepare(x, n)
    size = 3
    grid = np.tile([0.0, 0.25, 1.0], (4, 1))
    tall = engine._repeat(trials, size)
    full = engine.profile_mean(tall, np.maximum(grid, 1e-9).ravel(), np.zeros(12), 30.0, 1e-6)
    mu, _, slope = (a.reshape(4, size) for a in full)
    rows = np.array([0, 1, 3])
    settled = np.ones(4, dtype=bool)
    back, v0, v1, m0, m1, s0, s1 = engine._extend(trials, rows, grid, mu, slope, settled)
    assert back is rows
    np.testing.assert_allclose(v1, 4.0 * v0)
    part = trials.take(rows)
    for v, m, s in ((v0, m0, s0), (v1, m1, s1)):
        mean, _, fall = engine.profile_mean(part, v, m, 30.0, 1e-7)
        np.testing.assert_allclose((m - mean) / (1 + np.sqrt(v)), 0.0, atol=1e-2)
        np.testing.assert_allclose(s * v, fall * v, atol=1e-2)
    top = engine.maximize(part)
    assert ((v0 <= top.best.v) & (top.best.v <= v1)).all()
    assert (s0 > 0).all() and (s1 <= 0).all()
    assert settled.all()
    for i in range(3):
        alone = engine._extend(trials, rows[[i]], grid, mu, slope, settled)
        for one, all_of_them in zip(alone[1:], (v0, v1, m0, m1, s0, s1), strict=True):
            assert one[0] == pytest.approx(all_of_them[i], rel=1e-5)


def test_a_bracket_of_the_first_step_begins_at_the_end_of_the_grid():
    """The grid's last mean and slope are the bracket's lower end."""
    trials = quad.prepare(np.array([[1, 9, 4]]), np.array([[12, 12, 12]]))
    best = engine.maximize(trials).best
    grid = np.array([[0.0, best.v[0] / 8.0, best.v[0] / 2.0]])
    mu, slope = np.array([[9.0, 8.0, best.mu[0]]]), np.array([[3.0, 2.0, 0.7]])
    settled = np.ones(1, dtype=bool)
    _, v0, v1, m0, m1, s0, s1 = engine._extend(trials, np.zeros(1, int), grid, mu, slope, settled)
    assert (v0[0], m0[0], s0[0]) == (grid[0, -1], best.mu[0], 0.7)
    assert v1[0] == 4.0 * grid[0, -1]
    assert m1[0] == pytest.approx(engine.profile_mean(trials, v1, m1, 30.0, 1e-7)[0][0], abs=1e-3)
    assert s1[0] < 0 and settled[0]


def test_a_rise_to_the_cap_is_marked_in_its_own_place(monkeypatch):
    trials = quad.prepare(np.array([[3, 4], [0, 50], [5, 2]]), np.array([[9, 9], [50, 50], [9, 9]]))
    monkeypatch.setattr(engine, "TAU_CAP", 4.0)
    grid = np.tile([0.0, 1.0], (3, 1))
    settled = np.ones(3, dtype=bool)
    _, v0, v1, *_, s1 = engine._extend(
        trials, np.array([1]), grid, np.zeros((3, 2)), np.ones((3, 2)), settled
    )
    assert settled.tolist() == [True, False, True]
    assert (v0[0], v1[0]) == (4.0, 16.0)
    assert s1[0] > 0


@pytest.mark.parametrize("off", [-30.0, -0.95, -0.5, 0.0, 0.5, 0.95, 30.0])
def test_a_fine_profile_is_precise_from_a_start_on_either_side(off, strict_panels):
    """Small variances too, where the spare room is many standard deviations wide."""
    x = np.array([[100, 480, 500], [3, 12, 20], [900, 700, 20], [0, 0, 1], [20, 22, 19],
                  [4, 4000, 9], [80, 80, 500], [0, 500, 0]])  # fmt: skip
    n = np.array([[1000, 1000, 1000], [12, 23, 34], [1000, 1000, 30], [9, 8, 7], [20, 22, 20],
                  [9, 9000, 10], [80, 80, 1000], [80, 1000, 80]])  # fmt: skip
    for scale in (0.04, 1.0, 25.0):
        trials = quad.prepare(x, n)
        v = scale / (trials.n * trials.p * trials.q).max(axis=1)
        tall, start = trials, np.zeros(v.size)
        exact, value, slope = engine.profile_mean(tall, v, start, quad.TOLERANCE, 1e-9)
        room = 0.5 * (0.1 + 0.3 * np.sqrt(v))
        found = engine._profile_finely(trials, v, exact + off * room)
        unit = 1.0 / np.sqrt(-engine.evaluate(trials, exact, v).h_mu_mu)
        np.testing.assert_allclose((found[0] - exact) / unit, 0.0, atol=2e-5)
        np.testing.assert_allclose(found[1], value, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(found[2] * v, slope * v, atol=1e-6)


def test_a_shared_scan_is_precise_wherever_it_starts():
    x, total = simulated(31, (12, 23, 340, 45, 18), -1.0, 1.0, 6)
    trials = quad.prepare(x, total)
    v = np.tile([0.05, 0.7, 6.0], (6, 1))
    tall = engine._repeat(trials, 3)
    exact, value, slope = engine.profile_mean(tall, v.ravel(), np.zeros(18), quad.TOLERANCE, 1e-9)
    exact, value, slope = (a.reshape(6, 3) for a in (exact, value, slope))
    unit = 1.0 / np.sqrt(-engine.evaluate(tall, exact.ravel(), v.ravel()).h_mu_mu).reshape(6, 3)
    wide, one = 3.0 * np.ones(6), np.ones(6)
    ((rows, made),), rest = lattice.lay(
        trials, exact[:, 1] - wide, exact[:, 1] + wide, 0.05 * one, 6.0 * one
    )
    assert rest.size == 0 and rows.tolist() == list(range(6))
    for off in (-3.0, -0.9, -0.04, -0.004, 0.0, 0.004, 0.04, 0.9, 3.0):
        mu, top, fall, good = engine._scan_shared(made, exact + off * unit, v)
        assert good.all()
        np.testing.assert_allclose((mu - exact) / unit, 0.0, atol=2e-6)
        np.testing.assert_allclose(top, value, rtol=1e-9, atol=1e-8)
        np.testing.assert_allclose(fall * v, slope * v, rtol=1e-6, atol=2e-6)
        # each tau2 by itself too: whether all are done does not hide that one is not
        for g in range(3):
            one = exact[:, [g]] + off * unit[:, [g]]
            mu, top, fall, good = engine._scan_shared(made, one, v[:, [g]])
            assert good.all()
            np.testing.assert_allclose((mu - exact[:, [g]]) / unit[:, [g]], 0.0, atol=2e-6)
            np.testing.assert_allclose(top, value[:, [g]], rtol=1e-9, atol=1e-8)


def test_starts_of_a_scan_are_near():
    """Within the room for which a scan's nodes are laid, mostly, and mirrored."""
    x, total = simulated(32, (12, 23, 34, 45, 18, 60), -1.0, 0.8, 60)
    trials, mirror = quad.prepare(x, total), quad.prepare(total - x, total)
    grid = engine.tau2_grid(trials)[:, 1:]
    start = engine._start(trials, grid)
    np.testing.assert_allclose(engine._start(mirror, grid), -start, atol=1e-12)
    _, mu, *_ = engine._scan_directly(trials)
    away = np.abs(mu[:, 1:] - start) / lattice.spare(grid)
    assert np.median(away) < 0.15
    assert np.quantile(away, 0.9) < 0.6
    # as tau2 falls the pooled logit, as it rises the plain mean of the logits of x + 1/4
    ends = engine._start(trials, np.tile([1e-12, 1e12], (len(x), 1)))
    pooled = np.log(x.sum(1) / (total - x).sum(1))
    np.testing.assert_allclose(ends[:, 0], pooled, rtol=1e-9)
    np.testing.assert_allclose(
        ends[:, 1], np.log((x + 0.25) / (total - x + 0.25)).mean(1), rtol=1e-9
    )


def test_some_of_the_maxima_are_those_of_these_data_sets():
    x, total = simulated(33, (12, 23, 34), -1.0, 1.0, 5)
    top = engine.maximize(quad.prepare(x, total))
    index = np.array([3, 0])
    some = top.take(index)
    for name in ("grid", "grid_mu", "grid_value", "modes", "settled"):
        np.testing.assert_array_equal(getattr(some, name), getattr(top, name)[index])
    for part in ("best", "zero"):
        for name in lattice.NAMES:
            got, whole = getattr(getattr(some, part), name), getattr(getattr(top, part), name)
            np.testing.assert_array_equal(got, whole[index])
    np.testing.assert_array_equal(top.zero.v, 0.0)
    pooled = x.sum(1) / total.sum(1)
    np.testing.assert_allclose(expit(top.zero.mu), pooled, rtol=1e-12)
    np.testing.assert_allclose(
        top.zero.value, binom.logpmf(x, total, pooled[:, None]).sum(1), rtol=1e-12
    )


# counts and drops of the profile log-likelihood
LIMITS = {
    "regular": ([3, 12, 20, 9, 1], [12, 23, 34, 45, 18], 1.92),
    "tau2 = 0 at the limits": ([10, 10, 10], [30, 30, 30], 0.2),
    "tau2 = 0 at the maximum alone": ([10, 10, 10], [30, 30, 30], 1.92),
    "two trials": ([2, 20], [24, 25], 1.92),
    "few events": ([0, 0, 0, 1], [20, 15, 30, 22], 1.92),
    "two maxima": ([500, 0], [1000, 20], 1.92),
    "large": ([4000, 4500, 9000], [9000, 9500, 20_000], 1.92),
    "all at the ends but one": ([0, 40, 0, 40, 20], [40, 40, 40, 40, 40], 1.5),
}


def checked_limits(case):
    x, n, drop = LIMITS[case]
    trials = quad.prepare(np.array([x]), np.array([n]))
    top = engine.maximize(trials)
    return x, n, drop, trials, top, engine.constant_drop(drop)


@pytest.mark.parametrize("case", LIMITS)
def test_profile_limits_by_definition(case, strict_panels):
    x, n, drop, trials, top, rules = checked_limits(case)
    mean, best = top.best.mu[0], top.best.value[0]
    # the maximum: none of its neighbors, near or far, is higher
    assert log_likelihood(x, n, mean, top.best.v[0]) == pytest.approx(best, rel=1e-11)
    assert dense_tau2(x, n, mean)[1] == pytest.approx(best, rel=1e-10, abs=1e-9)
    for shift in (-3.0, -0.5, -1e-2, 1e-2, 0.5, 3.0):
        assert dense_tau2(x, n, mean + shift)[1] < best
    low, high = (limit[0] for limit in engine.both_limits(trials, top, rules))
    for limit, side in ((low, -1), (high, 1)):
        assert (limit - mean) * side > 0
        assert engine.profile_limits(trials, top, rules, side)[0] == pytest.approx(limit, rel=1e-10)
        v, value = dense_tau2(x, n, limit)
        assert value == pytest.approx(best - drop, abs=2e-9)
        assert dense_tau2(x, n, mean + 0.7 * (limit - mean))[1] > best - drop
        slow = engine._bracketed(trials, top, rules, side)[0]
        assert slow == pytest.approx(limit, rel=1e-9)
        if case == "tau2 = 0 at the limits":
            assert v == 0.0
    mirror = quad.prepare(trials.n - trials.x, trials.n)
    turned = engine.both_limits(mirror, engine.maximize(mirror), rules)
    np.testing.assert_allclose([-turned[1][0], -turned[0][0]], [low, high], rtol=1e-9)


@pytest.mark.parametrize("case", LIMITS)
def test_no_limit_of_these_needs_bracketing(case, monkeypatch):
    _, _, _, trials, top, rules = checked_limits(case)
    monkeypatch.delattr(engine, "_bracketed")
    low, high = engine.both_limits(trials, top, rules)
    assert low[0] < top.best.mu[0] < high[0]


def test_limits_with_equal_trials_are_those_of_the_binomial():
    """Three equal trials and a small drop: tau2 stays 0, the drop is that of 30 of 90."""
    _, _, drop, trials, top, rules = checked_limits("tau2 = 0 at the limits")
    assert top.best.v[0] == 0.0

    def excess(theta):
        return binom.logpmf(30, 90, expit(theta)) - binom.logpmf(30, 90, 1 / 3) + drop

    center = math.log(0.5)
    low, high = engine.both_limits(trials, top, rules)
    assert low[0] == pytest.approx(brentq(excess, center - 2, center, xtol=1e-13), rel=1e-10)
    assert high[0] == pytest.approx(brentq(excess, center, center + 2, xtol=1e-13), rel=1e-10)


@pytest.mark.parametrize("side", [-1, 1])
def test_a_joint_iteration_is_right_or_says_that_it_is_not(side):
    """From starts near and far, at tau2 = 0 and much above: what it calls good is the limit."""
    x, total = simulated(34, (12, 23, 34, 45, 18), -1.0, 0.5, 40)
    trials = quad.prepare(x, total)
    top = engine.maximize(trials)
    rules = engine.constant_drop(0.6)
    sides = np.full(len(x), side)
    right = engine._bracketed(trials, top, rules, side)
    v = engine.best_tau2(trials, right, top.grid).v
    share = {}
    for reach in (0.3, 0.8, 1.0, 1.3, 2.0):
        for factor, plus in ((0.0, 0.0), (0.2, 1e-4), (1.0, 0.0), (1.0, 0.5), (20.0, 1.0)):
            start = top.best.mu + reach * (right - top.best.mu)
            mu, good = engine._joint(trials, top, rules, sides, start, factor * v + plus)
            np.testing.assert_allclose(mu[good], right[good], rtol=1e-9)
            share[reach, factor] = good.mean()
    assert all(share[reach, 1.0] > 0.9 for reach in (0.8, 1.0, 1.3))
    inner = v > 0
    assert inner.any() and not inner.all()
    # from below the tau2 that counts as 0 it climbs, or goes to 0 where that is right
    least = 0.002 / (trials.n * trials.p * trials.q).max(axis=1)
    for factor, much in ((0.1, 0.3), (0.6, 0.5), (0.9, 0.6)):
        mu, good = engine._joint(trials, top, rules, sides, right, factor * least)
        np.testing.assert_allclose(mu[good], right[good], rtol=1e-9)
        assert good[~inner].all()
        assert good[inner].mean() > much


@pytest.mark.parametrize("side", [-1, 1])
def test_a_joint_iteration_does_not_stay_at_a_boundary_that_is_no_maximum(side, monkeypatch):
    x, total = simulated(35, (12, 23, 34, 45, 18), -1.0, 1.5, 30)
    trials = quad.prepare(x, total)
    top = engine.maximize(trials)
    rules = engine.constant_drop(1.92)
    right = engine._bracketed(trials, top, rules, side)
    rises = engine.evaluate(trials, right, 0.0 * right).g_v > 0
    assert rises.mean() > 0.9
    monkeypatch.setattr(
        engine, "_only_maximum", lambda t, mu, v, grid: np.ones(mu.size, dtype=bool)
    )
    sides = np.full(len(x), side)
    for start in (right, top.best.mu + 0.4 * (right - top.best.mu)):
        _, good = engine._joint(trials, top, rules, sides, start, 0.0 * right)
        assert not good[rises].any()


TAU2_LIMITS = {
    "regular": ([3, 12, 20, 9, 1], [12, 23, 34, 45, 18], 1.92),
    "wide": ([2, 20, 9], [24, 25, 30], 1.3),
    "maximum at 0": ([10, 10, 10], [30, 30, 30], 1.92),
    "low, but not 0": ([30, 60, 70, 40], [100, 100, 120, 90], 1.92),
    "large trials": ([4000, 4500, 9000], [9000, 9500, 20_000], 1.92),
    "just above the maximum": ([3, 12, 20, 9, 1], [12, 23, 34, 45, 18], 0.01),
    "beyond the grid": ([1, 49, 25, 2, 48], [50, 50, 50, 50, 50], 9.0),
}


def test_limits_of_tau2_by_definition(strict_panels):
    for case, (x, n, drop) in TAU2_LIMITS.items():
        trials = quad.prepare(np.array([x]), np.array([n]))
        top = engine.maximize(trials)
        best, v = top.best.value[0], top.best.v[0]
        low, high = (engine.tau2_limits(trials, top, drop, side)[0] for side in (-1, 1))
        assert dense_mean(x, n, high) == pytest.approx(best - drop, abs=1e-8), case
        assert dense_mean(x, n, math.sqrt(high * max(v, 1e-3))) > best - drop, case
        assert low <= v < high
        if dense_mean(x, n, 0.0) >= best - drop:
            assert low == 0.0, case
        else:
            assert low > 0.0
            assert dense_mean(x, n, low) == pytest.approx(best - drop, abs=1e-8), case
            assert dense_mean(x, n, 0.7 * low) < best - drop, case


def test_limits_of_tau2_of_many_are_those_of_each():
    cases = [(x * 2, n * 2) for x, n, _ in TAU2_LIMITS.values()]
    x, n = (np.array([c[i][:5] for c in cases]) for i in (0, 1))
    trials = quad.prepare(x, n)
    top = engine.maximize(trials)
    for drop in (0.5, 1.92, 8.0):
        for side in (-1, 1):
            together = engine.tau2_limits(trials, top, drop, side)
            for i in range(len(x)):
                one = np.array([i])
                alone = engine.tau2_limits(trials.take(one), top.take(one), drop, side)
                assert together[i] == pytest.approx(alone[0], rel=1e-8), (i, drop, side)


def test_a_table_serves_data_sets_at_its_ends():
    """All trials at the highest proportion of the table, or at the lowest: the last cells."""
    x, n = np.array([[1, 1, 1], [29, 29, 29], [1, 29, 15]]), np.full((3, 3), 30)
    table = engine.ScanTable(x, n, 10**9)
    assert table.usable
    mu, value, slope, covered = table.scan(x, n)
    assert covered.all()
    trials = quad.prepare(x, n)
    last = 0
    for g, v in enumerate(table.grid[1:]):
        m, top, fall = engine.profile_mean(trials, np.full(3, v), mu[:, g], 30.0, 1e-6)
        unit = 1.0 / np.sqrt(-engine.evaluate(trials, m, np.full(3, v)).h_mu_mu)
        np.testing.assert_allclose((mu[:, g] - m) / unit, 0.0, atol=2e-2)
        np.testing.assert_allclose(value[:, g], top, atol=1e-3)
        np.testing.assert_allclose(slope[:, g] * v, fall * v, atol=1e-2)
        last += m[1] > table.low[g] + table.step[g] * (table.count - 2)
    assert last > 0  # some maximum does lie in a last cell


class Slow:
    """A made-up surface on which Newton's step is never allowed; records where it is asked."""

    def __init__(self, peak: float, bend: float) -> None:
        self.peak, self.bend, self.seen = peak, bend, []

    def __call__(self, mu, v):
        self.seen.append((mu.copy(), v.copy()))
        one = np.ones(v.size)
        g_v = np.where(v < self.peak, 1.0, -1.0)
        # with h_v_v = -g_v / v the second derivative in log tau2 is exactly 0 for powers of 2
        return engine.Points(mu, v, 0 * one, self.bend * one, g_v, -one, 0 * one, -g_v / v)


@pytest.mark.parametrize("bend", [-3.0, 0.0, 3.0])
@pytest.mark.parametrize("free", [False, True])
def test_newton_on_a_surface_that_is_not_concave(bend, free):
    """Steps go uphill within the bracket, which closes in on the maximum and keeps it."""
    at = Slow(peak=1.7, bend=bend)
    rows = np.array([2, 0])
    mu, v = np.array([0.5, 9.0, 0.25]), np.array([1.0, 9.0, 2.0])
    low, high = np.array([0.25, 8.0, 0.5]), np.array([4.0, 10.0, 8.0])
    m_low, m_high = np.array([0.0, 8.0, 0.0]), np.array([1.0, 10.0, 0.5])
    out = engine.Points(*(np.full(3, -7.0) for _ in lattice.NAMES))
    good = np.zeros(3, dtype=bool)
    done = engine._newton(at, rows, mu, v, low, high, m_low, m_high, out, good, free=free)
    assert done.tolist() == [False, False] and not good.any()
    assert len(at.seen) == 10
    means, seen = (np.array(part) for part in zip(*at.seen, strict=True))
    assert (seen > [0.5, 0.25]).all() and (seen < [8.0, 4.0]).all()
    if bend == 0.0:
        # nearer with every step, and what is known of the maximum is kept
        assert np.abs(v[[0, 2]] - 1.7).max() < 0.3
    assert (low[[0, 2]] <= 1.7).all() and (high[[0, 2]] >= 1.7).all()
    if not free:
        assert (means >= 0.0).all() and (means <= [0.5, 1.0]).all()
    elif bend:
        assert np.abs(means[-1] - [0.25, 0.5]).min() > 20.0
    # nothing is done to the data set that is not asked for
    assert (mu[1], v[1], low[1], high[1], m_low[1], m_high[1]) == (9.0, 9.0, 8.0, 10.0, 8.0, 10.0)
    assert out.value.tolist() == [0.0, -7.0, 0.0]
    np.testing.assert_array_equal(out.v[[2, 0]], seen[-1])


class Work:
    """Counts the values of integrands that are computed, by wrapping what computes them."""

    def __init__(self, monkeypatch) -> None:
        self.values = 0
        moments, weights = lattice.Lattice.moments, quad._weights
        panel, located = quad.Panel.derivatives, quad._locate

        def counted_moments(made, mu, v):
            self.values += mu.size * made.f[0].size
            return moments(made, mu, v)

        def counted_weights(t, mu, tau2, delta, log_weight):
            self.values += delta.size
            return weights(t, mu, tau2, delta, log_weight)

        def counted_panel(made, mu, tau2):
            self.values += sum(theta.size for _, theta, _, _ in made.groups)
            return panel(made, mu, tau2)

        def counted_locate(t, mu, tau2, tol):
            self.values += 30 * mu.size  # a search of a mode costs about so many
            return located(t, mu, tau2, tol)

        monkeypatch.setattr(lattice.Lattice, "moments", counted_moments)
        monkeypatch.setattr(quad, "_weights", counted_weights)
        monkeypatch.setattr(quad.Panel, "derivatives", counted_panel)
        monkeypatch.setattr(quad, "_locate", counted_locate)

    def of(self, function, *args) -> int:
        before = self.values
        function(*args)
        return self.values - before


def test_work_is_as_little_as_it_was(monkeypatch):
    """Starts, steps and nodes decide how long a fit takes, and nothing else shows when they worsen.

    Numbers of integrand values as measured, and an eighth more, since rounding may take a step
    more elsewhere: a batch of data sets, some by themselves, and those of the limits.
    """
    x, total = simulated(41, (12, 23, 34, 45, 18), -1.0, 0.8, 24)
    groups = [(x, total), *((x[[i]], total[[i]]) for i in range(4))]
    groups += [(np.array([c[0]]), np.array([c[1]])) for c in LIMITS.values()]
    prepared = [quad.prepare(a, b) for a, b in groups]
    work = Work(monkeypatch)
    spent = dict.fromkeys(
        ("scan", "maximize", "best_tau2", "limits", "bracketed", "low", "high"), 0
    )
    rules = engine.constant_drop(1.92)
    for trials in prepared:
        top = engine.maximize(trials)
        mean = top.best.mu + 1.0
        spent["scan"] += work.of(engine._scan_directly, trials)
        spent["maximize"] += work.of(engine.maximize, trials)
        spent["best_tau2"] += work.of(engine.best_tau2, trials, mean, top.grid)
        spent["limits"] += work.of(engine.both_limits, trials, top, rules)
        if trials.x.shape == (1, 5):
            spent["bracketed"] += work.of(engine._bracketed, trials, top, rules, 1)
        spent["low"] += work.of(engine.tau2_limits, trials, top, 1.92, -1)
        spent["high"] += work.of(engine.tau2_limits, trials, top, 1.92, 1)
    most = {
        "scan": 716_814,
        "maximize": 823_535,
        "best_tau2": 513_545,
        "limits": 984_781,
        "bracketed": 2_465_751,
        "low": 35_203,
        "high": 251_989,
    }
    ratio = {name: round(spent[name] / most[name], 3) for name in spent}
    assert {name: value for name, value in ratio.items() if value > 1.12} == {}
