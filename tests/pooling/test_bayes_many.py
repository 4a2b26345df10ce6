"""Many Bayesian fits at once equal one at a time.

Tolerance 2e-7, relative on proportions and tau, absolute on the logit. Measured: at most 4e-8,
for equal rates whose patients fill the grid.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.pooling import bayes_many, pool, pool_many

TOLERANCE = 2e-7
ABSOLUTE = ("mu", "se", "q", "q_p")
NUMBERS = ("estimate", "ci_low", "ci_high", "pi_low", "pi_high", "tau2", "marginal_estimate")
TRIALS = ([1, 8, 17, 7, 14, 41], [8, 14, 24, 8, 32, 87])


def same_as_one_by_one(events, total, **options):
    batch = pool_many(events, total, "bayes", **options)
    total = np.broadcast_to(total, np.shape(events))
    for i in range(len(batch)):
        fit = pool(events[i], total[i], "bayes", **options)
        about = f"{list(events[i])} of {list(total[i])}"
        for name in ABSOLUTE:
            assert getattr(batch, name)[i] == pytest.approx(getattr(fit, name), abs=TOLERANCE), (
                f"{name}: {about}"
            )
        for name in NUMBERS:
            assert getattr(batch, name)[i] == pytest.approx(
                getattr(fit, name), rel=2 * TOLERANCE
            ), f"{name}: {about}"
        for name in ("tau2_ci", "marginal_ci"):
            np.testing.assert_allclose(
                getattr(batch, name)[i], getattr(fit, name), rtol=2 * TOLERANCE, err_msg=about
            )
        assert batch.converged[i] == fit.converged
    return batch


@settings(max_examples=8)
@given(
    k=st.integers(2, 9),
    seed=st.integers(0, 2**31),
    most=st.sampled_from([4, 30, 110]),
    scales=st.sampled_from([(2.0, 2.5), (1.0, 2.5), (0.5, 1.5)]),
)
def test_random_trials(k, seed, most, scales):
    rng = np.random.default_rng(seed)
    total = rng.integers(1, most + 1, (4, k))
    events = rng.binomial(total, rng.beta(0.6, 0.9, (4, k)))
    same_as_one_by_one(events, total, tau_scale=scales[0], mu_scale=scales[1])


def test_hard_sets():
    """All zero, all full, both kinds, equal rates that fill the grid, one far from the others."""
    total = np.array([60, 40, 56, 60, 40])
    events = np.array(
        [
            [0, 0, 0, 0, 0],
            [60, 40, 56, 60, 40],
            [0, 40, 0, 60, 40],
            [30, 20, 28, 30, 20],
            [1, 0, 1, 60, 1],
            [59, 1, 28, 0, 39],
        ]
    )
    batch = same_as_one_by_one(events, total, tau_scale=2.0)
    assert list(batch.status) == ["no events", "only events", *["ok"] * 4]


@pytest.mark.parametrize("level", [0.5, 0.9, 0.999])
def test_other_levels(level):
    events = np.array([TRIALS[0], TRIALS[0][::-1], [0, 1, 0, 0, 2, 1]])
    total = np.array([TRIALS[1], TRIALS[1][::-1], TRIALS[1]])
    same_as_one_by_one(events, total, tau_scale=2.0, level=level)


def test_more_patients_and_more_trials():
    rng = np.random.default_rng(5)
    total = rng.integers(10, 45, (3, 30))
    assert bayes_many.suits(total, 0.95)
    events = rng.binomial(total, rng.beta(2.0, 3.0, (3, 30)))
    same_as_one_by_one(events, total, tau_scale=2.0)


def test_a_set_does_not_depend_on_its_company():
    """Another grid, chosen for larger sets in the same call, gives the same posterior."""
    few, many = [3, 1, 4], [9, 2, 12]
    alone = pool_many([few] * 3, [many] * 3, "bayes", tau_scale=2.0)
    events = [few, [300, 200, 100], [1, 1, 1]]
    total = [many, [400, 350, 200], [1, 1, 2]]
    large = pool_many(events, total, "bayes", tau_scale=2.0)
    for name in NUMBERS:
        assert getattr(large, name)[0] == pytest.approx(getattr(alone, name)[0], rel=1e-7)


def test_what_does_not_suit_a_shared_grid_is_fitted_one_by_one():
    events, total = np.array([[900, 700]] * 3), np.array([[1000, 1000]] * 3)
    assert not bayes_many.suits(total, 0.95)
    assert not bayes_many.suits(total // 100, 0.99999)
    batch = pool_many(events, total, "bayes", tau_scale=2.0)
    fit = pool(events[0], total[0], "bayes", tau_scale=2.0)
    assert batch.estimate[0] == fit.estimate
    single = pool_many([[1], [2], [3]], [5], "bayes")
    assert list(single.status) == ["one trial"] * 3
    assert np.isnan(single.estimate).all()


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, True, "2"])
def test_scales_are_checked(bad):
    with pytest.raises(ValueError, match="tau_scale must be a positive"):
        pool_many([TRIALS[0]] * 3, TRIALS[1], "bayes", tau_scale=bad)
    with pytest.raises(ValueError, match="mu_scale must be a positive"):
        pool_many([TRIALS[0]] * 3, TRIALS[1], "bayes", mu_scale=bad)


def test_a_row_of_a_batch_as_a_fit_is_the_fit() -> None:
    events, total = [[3, 0, 7], [2, 2, 2], [4, 9, 9]], [9, 9, 9]
    many = pool_many(events, total, "bayes", tau_scale=2.0)
    for i, x in enumerate(events):
        one = pool(x, total, "bayes", tau_scale=2.0, labels=["a", "b", "c"])
        row = many.fit(i, labels=["a", "b", "c"])
        assert row.labels == one.labels
        assert (row.k, row.q_df, row.interval, row.level) == (3, 2, one.interval, one.level)
        for name in ("estimate", "ci_low", "ci_high", "pi_low", "pi_high", "tau2", "i2", "q"):
            assert getattr(row, name) == pytest.approx(getattr(one, name), rel=1e-6), name
        assert row.tau2_ci == pytest.approx(one.tau2_ci, rel=1e-5)
        assert row.marginal_ci == pytest.approx(one.marginal_ci, rel=1e-6)
        assert row.weight == pytest.approx(one.weight, rel=1e-6)
        assert row.study_ci_low == pytest.approx(one.study_ci_low, rel=1e-12)
    with pytest.raises(ValueError, match="data set 0, model 'dl'"):
        pool_many(events, total, "dl").fit(0)
