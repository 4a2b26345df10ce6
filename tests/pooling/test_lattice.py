"""Nodes shared by the trials of a data set against nodes of each trial's own."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from analysis.pooling import engine, lattice
from analysis.pooling import quadrature as quad


@pytest.fixture(autouse=True)
def strict_arithmetic():
    """A division by zero, an overflow or a NaN made on the way is an error, not a warning."""
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        yield


def laid(x, n, mu, tau2):
    """Trials (1, k) and what ``lay`` makes of a range about the mean and tau2."""
    trials = quad.prepare(np.array([x]), np.array([n]))
    one, reach = np.ones(1), 0.2 + 0.3 * np.sqrt(tau2)
    ranges = one * (mu - reach), one * (mu + reach), one * tau2 / 2.5, one * tau2 * 2.5
    return trials, *lattice.lay(trials, *ranges)


@st.composite
def data_sets(draw):
    n = draw(st.lists(st.integers(1, 200), min_size=2, max_size=12))
    x = [draw(st.integers(0, size)) for size in n]
    return x, n


@given(data=data_sets(), mu=st.floats(-3, 3), tau=st.floats(0.2, 2.5), at=st.floats(-1, 1))
def test_sums_are_those_of_nodes_of_each_trial(data, mu, tau, at):
    x, n = data
    trials, groups, rest = laid(x, n, mu, tau * tau)
    assert len(groups) + rest.size == 1
    if rest.size:
        return
    m, v = np.array([mu + at * (0.2 + 0.3 * tau)]), np.array([tau * tau * 2.5**at])
    made, own = groups[0][1].points(m, v), engine.evaluate(trials, m, v)
    # each derivative in units of the information that the trials can have
    unit = -own.h_mu_mu[0]
    np.testing.assert_allclose(made.value, own.value, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(made.g_mu, own.g_mu, rtol=1e-10, atol=1e-10 * unit**0.5)
    np.testing.assert_allclose(made.g_v * v, own.g_v * v, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(made.h_mu_mu, own.h_mu_mu, rtol=1e-9)
    np.testing.assert_allclose(made.h_mu_v * v, own.h_mu_v * v, rtol=1e-9, atol=1e-9 * unit**0.5)
    np.testing.assert_allclose(made.h_v_v * v * v, own.h_v_v * v * v, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("x", "n", "tau2"),
    [([3, 900], [10, 2000], 1.0), ([3, 4], [10, 9], 1e-4), ([3, 4, 400], [10, 9, 900], 400.0)],
    ids=["too many patients", "too small a variance", "too many nodes"],
)
def test_what_does_not_suit_is_left_to_nodes_of_each_trial(x, n, tau2):
    trials, groups, rest = laid(x, n, 0.0, tau2)
    assert groups == [] and rest.tolist() == [0]
    m, v = np.zeros(1), np.array([tau2])
    at = engine._panel(trials, m - 0.1, m + 0.1, v / 1.1, v * 1.1)(m, v)
    np.testing.assert_allclose(at.value, engine.evaluate(trials, m, v).value, rtol=1e-12)


def test_data_sets_of_both_kinds_are_put_together():
    x = np.array([[3, 5, 0], [300, 900, 20], [1, 0, 9], [2, 8, 40]])
    n = np.array([[10, 12, 9], [600, 2000, 30], [9, 9, 9], [10, 12, 90]])
    trials = quad.prepare(x, n)
    m, v = np.zeros(4), np.array([0.04, 0.5, 4.0, 0.3])
    at = engine._panel(trials, m - 0.1, m + 0.1, v / 2.0, v * 2.0)(m, v)
    own = engine.evaluate(trials, m, v)
    for name in lattice.NAMES:
        np.testing.assert_allclose(getattr(at, name), getattr(own, name), rtol=1e-9, atol=1e-10)


@given(data=data_sets())
def test_a_scan_agrees_with_a_fine_one_whatever_its_start(data):
    x, n = data
    trials = quad.prepare(np.array([x]), np.array([n]))
    if not ((trials.x > 0) & (trials.x < trials.n)).any():
        return
    grid, mu, value, slope, precise = engine._scan_directly(trials)
    v = grid[0, 1:]
    tall = engine._repeat(trials, v.size)
    _, fine, fall = engine.profile_mean(tall, v, mu[0, 1:], quad.TOLERANCE, 1e-6)
    close = 1e-5 if precise.all() else 2e-2
    np.testing.assert_allclose(value[0, 1:], fine, atol=close)
    np.testing.assert_allclose(slope[0, 1:] * v, fall * v, atol=close)


@pytest.mark.parametrize("v", [0.02, 0.3, 4.0, 900.0])
@pytest.mark.parametrize("sizes", [(5, 12, 40), (30, 200, 700), (9, 3000)], ids=str)
def test_a_table_of_means_is_that_of_nodes_of_each_trial(v, sizes):
    x = np.array([0, 2, *sizes, *[size // 3 for size in sizes]])
    n = np.array([sizes[0], sizes[0], *sizes, *sizes])
    trials = quad.prepare(x, n)
    mean = np.linspace(-3.0, 4.0, 15)
    made = lattice.tabulate(trials, mean, v, 22.0)
    column = quad.Trials(*(getattr(trials, name)[:, None] for name in quad.FIELDS))
    own = quad.derivatives(column, mean, v)
    unit = np.sqrt(np.maximum(-own.mu_mu, 1e-3))
    np.testing.assert_allclose(made[0], own.value, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(made[1] / unit, own.mu / unit, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(made[2], own.mu_mu, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(made[3] * v, own.v * v, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(made[4] * v / unit, own.mu_v * v / unit, rtol=1e-4, atol=1e-5)


def test_one_place_is_that_of_nodes_of_each_trial():
    trials = quad.prepare(np.array([0, 3, 7, 12, 1]), np.array([9, 8, 7, 40, 1]))
    value, score, info = lattice.alone(trials, 0.4, 0.7)
    own = quad.derivatives(trials, 0.4, 0.7)
    np.testing.assert_allclose(value, own.value, rtol=1e-12)
    np.testing.assert_allclose(score, own.mu, rtol=1e-12)
    np.testing.assert_allclose(info, -own.mu_mu, rtol=1e-12)
    large = quad.prepare(np.array([4000, 3]), np.array([9000, 8]))
    assert lattice.alone(large, 0.4, 0.7) is None


@pytest.mark.parametrize("mu", [-6.0, 6.0])
@pytest.mark.parametrize("x", [0, 400])
def test_nodes_reach_the_mode_of_a_trial_far_from_the_mean(x, mu):
    trials = quad.prepare(np.array([[x, x]]), np.full((1, 2), 400))
    at, one = np.array([mu]), np.ones(1)
    ((_, made),), _ = lattice.lay(trials, at, at, one, one)
    np.testing.assert_allclose(
        made.points(at, one).value, engine.evaluate(trials, at, one).value, rtol=1e-12
    )


def test_slopes_at_fixed_means_are_those_of_nodes_of_each_trial():
    x = np.array([[3, 5, 0], [300, 900, 20], [1, 0, 9], [2, 8, 40]])
    n = np.array([[10, 12, 9], [600, 2000, 30], [9, 9, 9], [10, 12, 90]])
    trials = quad.prepare(x, n)
    grid, mu = engine.tau2_grid(trials), np.array([0.4, -0.2, 6.0, -30.0])
    slope = engine._slopes(trials, mu, grid)
    for g in range(1, grid.shape[1]):
        own = engine.evaluate(trials, mu, grid[:, g])
        np.testing.assert_allclose(slope[:, g], own.g_v, rtol=1e-4, atol=1e-5 / grid[:, g].min())


def many(seed=3):
    """Data sets of three trials, empty and full ones among them, with ranges of mean and tau2."""
    rng = np.random.default_rng(seed)
    n = rng.choice([1, 4, 12, 40, 300], (60, 3))
    x = np.where(rng.random(n.shape) < 0.25, 0, np.where(rng.random(n.shape) < 0.3, n, n // 3))
    mu, v = rng.normal(0, 3, 60), 10.0 ** rng.uniform(-1.5, 1.5, 60)
    reach = 0.2 + 0.3 * np.sqrt(v)
    return quad.prepare(x, n), mu - reach, mu + reach, v / 2.5, v * 2.5


def modes(trials, mu, v):
    """Modes of the integrands (B, k) by halving."""
    mu, v = mu[:, None], v[:, None]
    low = np.minimum(trials.ref, mu) - v * trials.n - 1.0
    high = np.maximum(trials.ref, mu) + v * trials.n + 1.0
    for _ in range(80):
        middle = 0.5 * (low + high)
        up = trials.x - trials.n * expit(middle) - (middle - mu) / v > 0
        low, high = np.where(up, middle, low), np.where(up, high, middle)
    return low


def mirrored(trials):
    return quad.prepare(trials.n - trials.x, trials.n)


def test_modes_lie_where_the_bounds_say():
    trials, m0, m1, v0, v1 = many()
    low, high = lattice._reach(trials, m0[:, None], m1[:, None], v1[:, None])
    for mu in (m0, 0.5 * (m0 + m1), m1):
        for v in (v0, v1):
            mode = modes(trials, mu, v)
            assert (mode >= low - 1e-9).all()
            assert (mode <= high + 1e-9).all()
    # not much farther than the trial itself, or the mean, or what n patients can do
    inner = (trials.x > 0) & (trials.x < trials.n)
    np.testing.assert_array_equal(low[inner], np.minimum(trials.ref, m0[:, None])[inner])
    np.testing.assert_array_equal(high[inner], np.maximum(trials.ref, m1[:, None])[inner])
    most = v1[:, None] * trials.n
    for side, mean, bound, other in ((-1, m0, low, high), (1, m1, high, low)):
        edge = trials.x == (0 if side < 0 else trials.n)
        far = side * (bound - mean[:, None])
        # its score at the near end of the range, or at the logit log(n v), bounds the way
        p = 1.0 / (1.0 + np.exp(side * (m1 if side < 0 else m0)))[:, None]
        score = most * p
        second = np.maximum(1.0, np.log(most) - side * mean[:, None])
        np.testing.assert_allclose(far[edge], np.minimum(score, second)[edge], rtol=1e-9, atol=1e-9)
        # and to its other side it does not go at all
        near = (m1 if side < 0 else m0)[:, None] + 0.0 * other
        np.testing.assert_array_equal(other[edge], near[edge])
    turned = lattice._reach(mirrored(trials), -m1[:, None], -m0[:, None], v1[:, None])
    np.testing.assert_allclose(turned[0], -high, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(turned[1], -low, rtol=1e-12, atol=1e-12)


def test_nodes_reach_beyond_every_mode_and_are_dense_enough():
    trials, m0, m1, v0, v1 = many()
    groups, rest = lattice.lay(trials, m0, m1, v0, v1)
    seen = np.concatenate([rest, *(rows for rows, _ in groups)])
    assert sorted(seen) == list(range(60))
    low, high = lattice._reach(trials, m0[:, None], m1[:, None], v1[:, None])
    margin = np.sqrt(72.0 * v1)
    for rows, made in groups:
        np.testing.assert_allclose(made.theta[:, 0], low[rows].min(axis=1) - margin[rows])
        np.testing.assert_allclose(made.theta[:, -1], high[rows].max(axis=1) + margin[rows])
        step = np.diff(made.theta, axis=1)
        np.testing.assert_allclose(step, step[:, :1] + 0.0 * step, rtol=1e-9)
        # the largest information between the modes at which the step must do
        at = np.clip(0.0, low[rows], high[rows])
        p = 1.0 / (1.0 + np.exp(-at))
        need = quad.spacing(trials.n[rows] * p * (1 - p), 1.0 / v0[rows, None], quad.TOLERANCE)
        assert (step[:, 0] <= need.min(axis=1) * (1 + 1e-9)).all()
        # within a group the numbers of nodes are alike, so that no step is much too small
        assert (step[:, 0] >= need.min(axis=1) / 1.6).all()
        # the likelihood of each trial, with the weight of the rule
        x, n, ref = (a[rows][:, None, :] for a in (trials.x, trials.n, trials.ref))
        theta = made.theta[:, :, None]
        log_f = x * (theta - ref) - n * (np.logaddexp(0, theta) - np.logaddexp(0, ref))
        expected = np.exp(log_f) * step[:, :1, None]
        np.testing.assert_allclose(made.f, expected, rtol=1e-9, atol=1e-250)
        # data sets among others are laid out as by themselves, and taken out whole
        for place in (0, rows.size - 1):
            one = rows[[place]]
            ((_, alone),), _ = lattice.lay(trials.take(one), m0[one], m1[one], v0[one], v1[one])
            assert alone.theta[0, [0, -1]] == pytest.approx(made.theta[place, [0, -1]])
            part = made.take(np.array([place]))
            m, v = m1[one], v0[one]
            for name in lattice.NAMES:
                a, b = getattr(part.points(m, v), name), getattr(alone.points(m, v), name)
                np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("most", [30, 90])
def test_limits_of_what_is_laid(most, monkeypatch):
    """Exactly so many nodes and patients, not one more; small variances and integrals left out."""
    monkeypatch.setattr(lattice, "MOST_NODES", most)
    trials, m0, m1, v0, v1 = many()
    groups, rest = lattice.lay(trials, m0, m1, v0, v1)
    for rows, made in groups:
        assert made.theta.shape[1] <= most
        for i in rows[[0, -1]]:
            one = np.array([i])
            args = trials.take(one), m0[one], m1[one], v0[one], v1[one]
            ((_, alone),), _ = lattice.lay(*args)
            need = alone.theta.shape[1]
            monkeypatch.setattr(lattice, "MOST_NODES", need)
            assert len(lattice.lay(*args)[0]) == 1
            monkeypatch.setattr(lattice, "MOST_NODES", need - 1)
            assert lattice.lay(*args)[0] == []
            monkeypatch.setattr(lattice, "MOST_NODES", most)
    assert rest.size > 0


@pytest.mark.parametrize("n", [1000, 1001])
def test_largest_trial_that_is_laid(n):
    trials = quad.prepare(np.array([[3, 400]]), np.array([[10, n]]))
    one, grid = np.ones(1), np.array([[0.5, 2.0]])
    laid = len(lattice.lay(trials, -one, one, 0.5 * one, 2.0 * one)[0])
    scan = len(lattice.lay_for_scan(trials, grid, 0.0 * grid, 20.0)[0])
    assert (laid, scan) == ((1, 1) if n == 1000 else (0, 0))
    # and the same with too many nodes for a small trial
    small = quad.prepare(np.array([[3, 4]]), np.array([[10, 9]]))
    narrow = np.array([[1e-9, 900.0]])
    assert lattice.lay_for_scan(small, narrow, 0.0 * narrow, 34.0)[1].tolist() == [0]


def test_variances_too_small_for_shared_nodes():
    trials = quad.prepare(np.array([[30, 40]]), np.array([[100, 80]]))
    one, weight = np.ones(1), 21.0  # n p q of the first trial, the greater
    for factor, count in ((1.001, 1), (0.999, 0)):
        v = one * factor * lattice.LEAST_SPREAD / weight
        assert len(lattice.lay(trials, -0.6 * one, -0.5 * one, v, 2 * v)[0]) == count


def test_integrals_too_small_for_doubles_are_left_out():
    """By definition: exp(-500) at the mean, or at the trial's own logit."""
    trials = quad.prepare(np.array([[50, 20]]), np.array([[100, 40]]))  # both at logit 0
    for v0, mean, safe in ((1.0, 30.0, True), (1.0, 32.0, False), (900.0, 32.0, True),
                           (2.0, 32.0, True)):  # fmt: skip
        for side in (-1.0, 1.0):
            ends = sorted((0.5 * side, mean * side))
            m0, m1, v = (np.array([[a]]) for a in (*ends, v0))
            assert lattice._safe(trials, m0, m1, v).tolist() == [safe], (v0, mean, side)
    few = quad.prepare(np.array([[8, 4]]), np.array([[16, 8]]))
    at = np.array([[32.0]])
    # n times the distance: 16 * 31 < 500 < 16 * 32
    assert lattice._safe(few, at, at, np.array([[0.01]])).tolist() == [False]
    assert lattice._safe(few, at - 1, at - 1, np.array([[0.01]])).tolist() == [True]


@given(st.lists(st.integers(1, 900), min_size=0, max_size=40), st.integers(1, 900))
def test_groups_are_of_like_numbers(need, most):
    need = np.array(need, dtype=float)
    groups = lattice._alike(need, need <= most)
    found = np.concatenate([np.zeros(0, dtype=int), *groups])
    assert sorted(found) == np.flatnonzero(need <= most).tolist()
    for rows in groups:
        assert rows.size > 0 and (np.diff(rows) > 0).all()
        assert need[rows].max() <= 1.5 * need[rows].min()
    # as few groups as go from the smallest on
    for before, after in pairwise(groups):
        assert need[after].min() > 1.5 * need[before].min()


def test_nodes_of_a_scan_serve_every_tau2_and_mean_near():
    trials = many(4)[0].take(slice(0, 24))
    grid = np.tile([0.01, 0.3, 2.0, 40.0, 900.0], (24, 1))
    mean = engine._start(trials, grid)
    room = lattice.spare(grid)
    np.testing.assert_allclose(room, 0.1 + 0.3 * np.sqrt(grid))
    groups, rest = lattice.lay_for_scan(trials, grid, mean, engine.FINE)
    assert rest.size + sum(rows.size for rows, _ in groups) == 24
    assert rest.size < 8  # these would need too many nodes
    low, high = lattice._reach(
        trials, (mean - room).min(1)[:, None], (mean + room).max(1)[:, None], grid[:, -1:]
    )
    margin = np.sqrt(2.0 * 22.0 * 900.0)
    for rows, made in groups:
        np.testing.assert_allclose(made.theta[:, 0], low[rows].min(1) - margin)
        np.testing.assert_allclose(made.theta[:, -1], high[rows].max(1) + margin)
        assert made.theta.shape[1] <= lattice.MOST_NODES
        # theta = c + sinh(s), s in equal steps, c the first mean
        s = np.arcsinh(made.theta - mean[rows, :1])
        np.testing.assert_allclose(np.diff(s), np.diff(s)[:, :1] + 0 * s[:, 1:], rtol=1e-7)
        for off in (-1.0, 0.3, 1.0):
            mu = (mean + off * room)[rows]
            p = made.profile(mu, grid[rows])
            for g in range(grid.shape[1]):
                own = engine.evaluate(trials.take(rows), mu[:, g], grid[rows, g])
                v, unit = grid[rows, g], np.sqrt(np.maximum(-own.h_mu_mu, 1e-6))
                np.testing.assert_allclose(p.value[:, g], own.value, rtol=1e-7, atol=1e-7)
                np.testing.assert_allclose(p.g_mu[:, g] / unit, own.g_mu / unit, atol=1e-6)
                np.testing.assert_allclose(p.g_v[:, g] * v, own.g_v * v, atol=1e-5)


def test_points_are_taken_and_put_whole():
    rng = np.random.default_rng(5)
    a, b = (lattice.Points(*rng.normal(size=(8, 5))) for _ in range(2))
    index = np.array([4, 1])
    before = {name: getattr(a, name).copy() for name in lattice.NAMES}
    some = b.take(index)
    a.put(index, some)
    for name in lattice.NAMES:
        np.testing.assert_array_equal(getattr(some, name), getattr(b, name)[index])
        np.testing.assert_array_equal(getattr(a, name)[index], getattr(b, name)[index])
        np.testing.assert_array_equal(getattr(a, name)[[0, 2, 3]], before[name][[0, 2, 3]])


def test_a_common_data_set_needs_few_nodes():
    """More would be as right and slower: numbers of nodes as measured, and a tenth."""
    trials = quad.prepare(np.array([[3, 12, 20, 9, 0]]), np.array([[12, 23, 34, 45, 18]]))
    grid, one = engine.tau2_grid(trials)[:, 1:], np.ones(1)
    for tol, most in ((12.0, 155), (20.0, 210), (34.0, 308)):
        ((_, made),), _ = lattice.lay_for_scan(trials, grid, engine._start(trials, grid), tol)
        assert 0.8 * most < made.theta.shape[1] <= most
    for v, most in ((0.3, 134), (1.0, 215), (4.0, 395)):
        ((_, made),), _ = lattice.lay(trials, -one, 0.0 * one, v / 2.5 * one, v * 2.5 * one)
        assert 0.8 * most < made.theta.shape[1] <= most
