"""Data sets at the edge: each gives the right number, or the limit that exists and a sentence."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from analysis.pooling import pool
from analysis.pooling.api import INTERVALS
from analysis.pooling.glmm import empty_limit, empty_limit_exists, equal_effects_limit

GLMM_INTERVALS = INTERVALS["glmm"]
NORMAL = ("reml", "ml", "dl", "pm", "eb", "he", "sj", "hs", "fe")


def numbers(value):
    """All numbers anywhere in an exported fit."""
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, float):
        yield value


WEIRD = {
    "zero pair": ([0, 0], [5, 6]),
    "all zero": ([0] * 5, [20, 30, 14, 9, 40]),
    "all full": ([5, 6, 9], [5, 6, 9]),
    "zero and full": ([0, 6], [5, 6]),
    "mostly full": ([0, 6, 7, 8, 9, 3], [5, 6, 7, 8, 9, 3]),
    "mostly empty": ([5, 0, 0, 0, 0, 0], [5, 6, 7, 8, 9, 3]),
    "one patient each": ([0, 1, 1], [1, 1, 1]),
    "one patient each, none": ([0, 0, 0], [1, 1, 1]),
    "identical": ([5, 5, 5], [10, 10, 10]),
    "giant beside small": ([4_000_000, 3], [10**7, 10]),
    "giants far apart": ([3, 4, 2], [10**7, 10, 10**7]),
    "edges and one inside": ([0, 50, 1], [50, 50, 50]),
    "flat": ([1, 0], [2, 30]),
    "two patients": ([1, 0], [2, 1]),
    "many edges": ([0] * 10 + [5], [50] * 10 + [10]),
    "extremes": ([0, 50] * 10 + [25], [50] * 20 + [50]),
    "half": ([1, 1], [2, 2]),
}


@pytest.mark.parametrize("interval", GLMM_INTERVALS)
@pytest.mark.parametrize("name", WEIRD)
def test_weird_sets_never_give_nan_and_always_explain(name, interval):
    x, n = WEIRD[name]
    fit = pool(x, n, interval=interval)
    out = fit.to_dict()
    json.dumps(out, allow_nan=False)
    assert all(math.isfinite(a) for a in numbers(out))
    assert len(fit.notes) > 0 or fit.k >= 5
    if fit.estimate is not None and fit.ci_low is not None:
        assert 0.0 <= fit.ci_low <= fit.estimate <= fit.ci_high <= 1.0
    if fit.estimate is None:
        assert not fit.converged
    assert fit.weight.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("model", NORMAL)
@pytest.mark.parametrize("name", WEIRD)
def test_two_step_models_survive_weird_sets(name, model):
    x, n = WEIRD[name]
    for interval in INTERVALS[model]:
        fit = pool(x, n, model, interval=interval)
        assert all(math.isfinite(a) for a in numbers(fit.to_dict()))
        assert fit.ci_low <= fit.estimate <= fit.ci_high
        assert fit.tau2 >= 0.0
        if all(a in (0, b) for a, b in zip(x, n, strict=True)):
            assert any("correction alone" in note for note in fit.notes)


@pytest.mark.parametrize("model", ["glmm", *NORMAL])
def test_one_trial_is_shown_and_not_pooled(model):
    fit = pool([3], [12], model)
    assert fit.estimate is None
    assert fit.mu is None
    assert fit.study_estimate[0] == 0.25
    assert 0.08 < fit.study_ci_low[0] < 0.25 < fit.study_ci_high[0] < 0.54
    assert fit.notes == ("One trial only: it is shown and not pooled.",)
    assert fit.weight.tolist() == [1.0]


def test_no_events_gives_the_one_sided_profile_limit():
    n = np.array([20, 30, 14, 9, 40])
    fit = pool([0] * 5, n, interval="profile")
    # under equal effects: (1 - p)^N = exp(-1.92); heterogeneity does not raise it here
    expected = -math.expm1(-1.9207294103470605 / n.sum())
    assert fit.estimate == 0.0
    assert fit.ci_low == 0.0
    assert fit.ci_high == pytest.approx(expected, rel=1e-9)
    assert fit.mu is None and fit.se is None and fit.tau2 is None
    assert not fit.converged
    assert "one-sided profile limit" in fit.notes[0]


def test_only_events_mirrors_no_events():
    n = [20, 30, 14, 9, 40]
    for interval in GLMM_INTERVALS:
        empty, full = pool([0] * 5, n, interval=interval), pool(n, n, interval=interval)
        assert full.estimate == 1.0
        assert full.ci_high == 1.0
        assert full.ci_low == pytest.approx(1.0 - empty.ci_high, rel=1e-12)


def test_heterogeneity_can_raise_the_limit_of_an_empty_set():
    n = np.array([1000, 5, 5])
    drop = 1.9207294103470605
    limit = empty_limit(n, drop)
    assert limit > equal_effects_limit(n, drop) + 1.0
    # the profile over tau2 at the limit is exactly the drop
    from analysis.pooling import engine
    from analysis.pooling.quadrature import prepare

    trials = prepare(np.zeros((1, 3)), n[None, :])
    best = engine.best_tau2(trials, np.array([limit]), engine.tau2_grid(trials))
    assert best.value[0] == pytest.approx(-drop, rel=1e-9)
    assert best.v[0] > 0


def test_empty_set_without_a_free_limit_says_so():
    assert not empty_limit_exists(2, 1.92)
    assert empty_limit_exists(3, 1.92)
    fit = pool([0, 0], [12, 15], interval="profile")
    assert any("under equal effects" in note for note in fit.notes)
    assert fit.ci_high == pytest.approx(-math.expm1(-1.9207294103470605 / 27), rel=1e-9)


def test_every_trial_at_an_end_is_not_estimable():
    fit = pool([0, 6, 7, 8, 9, 3], [5, 6, 7, 8, 9, 3])
    assert fit.estimate is None and fit.tau2 is None and not fit.converged
    assert fit.marginal_estimate == pytest.approx(5 / 6)
    assert fit.marginal_ci[0] == pytest.approx(0.3587654, rel=1e-6)
    assert math.isinf(fit.tau2_ci[1]) and fit.tau2_ci[0] > 1.0
    assert "not estimable" in fit.notes[0]
    assert fit.to_dict()["tau2_ci"][1] == "inf"


def test_separated_limits_satisfy_the_likelihood():
    from analysis.pooling import engine
    from analysis.pooling.glmm import separated_limits
    from analysis.pooling.quadrature import prepare

    x = np.array([0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0])
    n = np.array([5, 6, 7, 8, 9, 3, 4, 5, 9, 11, 6, 8])
    drop = 1.9207294103470605
    low, high, tau2_low = separated_limits(x, n, 0.95, drop)
    top = 1 * math.log(1 / 12) + 11 * math.log(11 / 12)
    trials = prepare(x[None, :], n[None, :])
    assert math.isinf(low) and math.isfinite(high)
    best = engine.best_tau2(trials, np.array([high]), engine.tau2_grid(trials))
    assert best.value[0] == pytest.approx(top - drop, rel=1e-8)
    value = engine.profile_mean(trials, np.array([tau2_low]), np.array([-3.0]), 34.0)[1]
    assert value[0] == pytest.approx(top - drop, rel=1e-4)
    # mirrored
    low_m, high_m, tau2_m = separated_limits(n - x, n, 0.95, drop)
    assert low_m == pytest.approx(-high, rel=1e-9)
    assert math.isinf(high_m)
    assert tau2_m == pytest.approx(tau2_low, rel=1e-6)


def test_two_trials_give_no_prediction_interval():
    for model in ("glmm", "reml"):
        fit = pool([4, 9], [10, 12], model)
        assert fit.pi_low is None and fit.pi_high is None
        assert any("no prediction interval" in note for note in fit.notes)
        assert fit.details["pi_link"]["t(k-1)"] is None


def test_prediction_interval_by_hand():
    from scipy.stats import t

    fit = pool([3, 6, 10, 1, 0], [11, 17, 21, 6, 9])
    half = t.isf(0.025, 4) * math.sqrt(fit.tau2 + fit.se**2)
    assert fit.pi_low == pytest.approx(1 / (1 + math.exp(-(fit.mu - half))), rel=1e-12)
    assert fit.pi_high == pytest.approx(1 / (1 + math.exp(-(fit.mu + half))), rel=1e-12)
    half2 = t.isf(0.025, 3) * math.sqrt(fit.tau2 + fit.se**2)
    low, high = fit.details["pi_link"]["t(k-2)"]
    assert (low, high) == pytest.approx((fit.mu - half2, fit.mu + half2))
    assert pool([3, 6, 10], [11, 17, 21]).notes[0].startswith("Fewer than five")


def test_boundary_gives_zero_exactly_and_p_of_one():
    fit = pool([10, 12, 8], [30, 33, 26])
    assert fit.tau2 == 0.0
    assert fit.lrt == 0.0
    assert fit.lrt_p == 1.0
    assert any("boundary" in note for note in fit.notes)
    p = 30 / 89
    assert fit.estimate == pytest.approx(p)
    assert fit.se == pytest.approx(1 / math.sqrt(89 * p * (1 - p)))
    assert fit.marginal_estimate == pytest.approx(p)


def test_shrunken_values_lie_between_trial_and_mean():
    x, n = np.array([2, 20, 9, 0, 14]), np.array([20, 25, 18, 12, 30])
    fit = pool(x, n)
    shrunken, observed = fit.details["shrunken_logit"], np.log((x + 0.5) / (n - x + 0.5))
    assert ((shrunken - fit.mu) * (observed - fit.mu) > 0).all()
    assert (np.abs(shrunken - fit.mu) < np.abs(observed - fit.mu) + 0.2).all()
    assert (fit.details["shrunken_variance"] < fit.tau2).all()
    same = pool([10, 12, 8], [30, 33, 26])
    np.testing.assert_allclose(same.details["shrunken"], same.estimate, rtol=1e-12)
    np.testing.assert_allclose(same.details["shrunken_variance"], 0.0)


def test_lrt_uses_the_mixture():
    from scipy.stats import chi2

    fit = pool([2, 20, 9, 0, 14], [20, 25, 18, 12, 30])
    zero = fit.details["log_likelihood_equal_effects"]
    assert fit.lrt == pytest.approx(2 * (fit.log_likelihood - zero))
    assert fit.lrt_p == pytest.approx(0.5 * chi2.sf(fit.lrt, 1))
    assert fit.q_p == pytest.approx(chi2.sf(fit.q, 4))
    assert fit.aic == pytest.approx(4 - 2 * fit.log_likelihood)


def test_a_separated_set_can_still_bound_the_median():
    x = [0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0]
    n = [5, 6, 7, 8, 9, 3, 4, 5, 9, 11, 6, 8]
    fit = pool(x, n, interval="profile")
    assert fit.ci_low == 0.0
    assert 0.0 < fit.ci_high < 1.0
    assert any("still bounds" in note for note in fit.notes)
    assert fit.estimate is None


def test_export_of_flags_and_numpy_values():
    from analysis.pooling.fit import plain

    values = plain({"a": np.bool_(True), "b": np.int64(3), "c": np.array([1.5]), "d": (None, "x")})
    assert values == {"a": True, "b": 3, "c": [1.5], "d": [None, "x"]}
    assert plain(-np.inf) == "-inf"
