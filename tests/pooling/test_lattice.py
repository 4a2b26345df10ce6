"""Nodes shared by the trials of a data set against nodes of each trial's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.pooling import engine, lattice
from analysis.pooling import quadrature as quad


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
