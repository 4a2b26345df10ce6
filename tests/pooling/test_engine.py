"""The maximizer: scans from a table, second attempts, far limits, data sets far apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.pooling import engine, pool, pool_many
from analysis.pooling import quadrature as quad


def simulated(seed, n, mu, tau, size):
    rng = np.random.default_rng(seed)
    n = np.asarray(n)
    x = rng.binomial(n, 1 / (1 + np.exp(-rng.normal(mu, tau, (size, n.size)))))
    total = np.broadcast_to(n, x.shape)
    keep = ((x > 0) & (x < total)).any(axis=1)
    return x[keep], total[keep]


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
