"""Laws that any data set obeys: order, mirror image, duplication, narrowing, batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.pooling import pool, pool_many
from analysis.pooling.proportion import clopper_pearson, jeffreys, wilson

MODELS = st.sampled_from(["glmm", "reml", "ml", "dl", "pm", "he", "sj", "hs", "fe"])


@st.composite
def data_sets(draw, low=2, high=7, top=40):
    k = draw(st.integers(low, high))
    n = draw(st.lists(st.integers(1, top), min_size=k, max_size=k))
    x = [draw(st.integers(0, m)) for m in n]
    return np.array(x), np.array(n)


def same(a, b, rel=1e-7, absolute=1e-9):
    """Equal numbers, or both missing, or the same infinity."""
    if a is None or b is None:
        assert a is None and b is None
    elif isinstance(a, tuple):
        for one, two in zip(a, b, strict=True):
            same(one, two, rel, absolute)
    elif math.isinf(a) or math.isinf(b):
        assert a == b
    else:
        assert a == pytest.approx(b, rel=rel, abs=absolute)


def flat_in_tau2(fit) -> bool:
    """The position of the maximum along tau2 carries no digits to compare."""
    return not fit.converged or (fit.tau2 is not None and fit.tau2 > 1e4)


FIELDS = (
    "estimate", "ci_low", "ci_high", "pi_low", "pi_high", "se", "tau2", "tau2_ci", "i2", "q",
    "q_p", "lrt", "log_likelihood", "marginal_estimate", "marginal_ci",
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(data_sets(), MODELS, st.randoms())
def test_order_of_trials_does_not_matter(data, model, random):
    x, n = data
    order = list(range(x.size))
    random.shuffle(order)
    a = pool(x, n, model, labels=[f"t{i}" for i in range(x.size)])
    b = pool(x[order], n[order], model, labels=[f"t{i}" for i in order])
    if flat_in_tau2(a):
        return
    for field in FIELDS:
        same(getattr(a, field), getattr(b, field), 1e-6)
    np.testing.assert_allclose(a.weight[order], b.weight, rtol=1e-6)
    assert [a.labels[i] for i in order] == list(b.labels)


@settings(max_examples=40, deadline=None)
@given(data_sets(), MODELS, st.sampled_from(["wald", "t", None]))
def test_complement_mirrors_everything(data, model, interval):
    x, n = data
    a, b = pool(x, n, model, interval=interval), pool(n - x, n, model, interval=interval)
    if flat_in_tau2(a):
        return
    for one, two in (
        (a.estimate, b.estimate),
        (a.ci_low, b.ci_high),
        (a.ci_high, b.ci_low),
        (a.pi_low, b.pi_high),
        (a.marginal_estimate, b.marginal_estimate),
    ):
        same(one, None if two is None else 1.0 - two, 1e-6, 1e-8)
    if a.mu is not None:
        assert a.mu == pytest.approx(-b.mu, rel=1e-6, abs=1e-7)
    for field in ("se", "tau2", "tau2_ci", "i2", "q", "lrt", "log_likelihood"):
        same(getattr(a, field), getattr(b, field), 1e-6)


@settings(max_examples=25, deadline=None)
@given(data_sets(low=3, high=6))
def test_every_trial_twice_halves_the_variance_and_keeps_the_estimate(data):
    """For the likelihood of the GLMM and for ml: all sums double, so the maximum stays."""
    x, n = data
    for model in ("glmm", "ml"):
        once = pool(x, n, model, interval="wald")
        twice = pool(np.tile(x, 2), np.tile(n, 2), model, interval="wald")
        if once.mu is None or flat_in_tau2(once):
            assert (once.mu is None) == (twice.mu is None) or not once.converged
            continue
        assert twice.mu == pytest.approx(once.mu, rel=1e-6, abs=1e-7)
        assert twice.tau2 == pytest.approx(once.tau2, rel=1e-6, abs=1e-9)
        assert twice.se**2 == pytest.approx(0.5 * once.se**2, rel=1e-6)
        assert twice.log_likelihood == pytest.approx(2 * once.log_likelihood, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(data_sets(), st.sampled_from(["profile", "profile-t", "bartlett"]))
def test_profile_limits_bracket_the_estimate_and_nest(data, interval):
    x, n = data
    fit = pool(x, n, interval=interval)
    narrow = pool(x, n, interval=interval, level=0.8)
    if fit.estimate is None:
        return
    assert fit.ci_low <= narrow.ci_low <= fit.estimate <= narrow.ci_high <= fit.ci_high
    if fit.tau2 is not None:
        assert fit.tau2_ci[0] <= fit.tau2 <= fit.tau2_ci[1]
        plain = pool(x, n, interval="profile")
        assert fit.ci_low <= plain.ci_low + 1e-9
        assert plain.ci_high <= fit.ci_high + 1e-9


@given(st.integers(1, 400), st.data())
def test_more_patients_at_the_same_proportion_never_widen_clopper_pearson(n, data):
    x = data.draw(st.integers(0, n))
    factor = data.draw(st.integers(2, 5))
    low, high = clopper_pearson(x, n)
    low2, high2 = clopper_pearson(factor * x, factor * n)
    assert low2 >= low - 1e-12
    assert high2 <= high + 1e-12


@given(st.integers(1, 10**7), st.data(), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_single_intervals_contain_the_proportion_and_mirror(n, data, level):
    x = data.draw(st.integers(0, n))
    for method in (wilson, clopper_pearson, jeffreys):
        low, high = method(x, n, level)
        assert 0.0 <= low <= high <= 1.0
        if method is not jeffreys:
            assert low <= x / n <= high
        mirror_low, mirror_high = method(n - x, n, level)
        assert mirror_low == pytest.approx(1.0 - high, abs=1e-12)
        assert mirror_high == pytest.approx(1.0 - low, abs=1e-12)
    exact_low, exact_high = clopper_pearson(x, n, level)
    wider_low, wider_high = clopper_pearson(x, n, 0.5 + level / 2)
    assert wider_low <= exact_low and exact_high <= wider_high


def test_single_intervals_agree_with_statsmodels():
    from statsmodels.stats.proportion import proportion_confint

    for x, n in ((0, 20), (1, 29), (15, 148), (81, 263), (20, 20), (4_000_000, 10**7)):
        for name, method in (("wilson", wilson), ("beta", clopper_pearson), ("jeffreys", jeffreys)):
            expected = proportion_confint(x, n, 0.05, method=name)
            got = method(x, n, 0.95)
            assert got == pytest.approx(np.nan_to_num(expected, nan=0.0), rel=1e-9, abs=1e-12)


NUMBERS = (
    "estimate", "ci_low", "ci_high", "pi_low", "pi_high", "mu", "se", "tau2", "i2", "q", "q_p",
    "lrt", "lrt_p", "log_likelihood", "aic", "marginal_estimate",
)  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(0, 2**31),
    st.sampled_from(
        [("glmm", i) for i in ("wald", "t", "profile", "profile-t", "bartlett")]
        + [("reml", "hartung-knapp"), ("ml", "t"), ("dl", "wald"), ("pm", "hartung-knapp-adhoc")]
        + [("fe", "wald"), ("sj", "t")]
    ),
)
def test_a_batch_equals_a_loop(k, seed, choice):
    model, interval = choice
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 30, (12, k))
    x = rng.binomial(n, rng.beta(0.6, 0.9, (12, k)))
    batch = pool_many(x, n, model, interval=interval)
    assert len(batch) == 12
    for i in range(12):
        fit = pool(x[i], n[i], model, interval=interval)
        assert bool(batch.converged[i]) == fit.converged
        if flat_in_tau2(fit) and fit.mu is not None:
            continue
        for name in NUMBERS:
            value = getattr(fit, name)
            other = float(getattr(batch, name)[i])
            same(value, None if math.isnan(other) else other, 1e-8)
        for name in ("tau2_ci", "marginal_ci"):
            value = getattr(fit, name)
            other = getattr(batch, name)[i]
            same(value, None if np.isnan(other).all() else tuple(other), 1e-8)


def test_batch_takes_one_row_of_totals_and_other_models():
    n = np.array([10, 12, 9])
    x = np.array([[3, 4, 1], [0, 0, 0], [10, 12, 9]])
    one, two = pool_many(x, n), pool_many(x, np.tile(n, (3, 1)))
    np.testing.assert_array_equal(one.estimate, two.estimate)
    assert list(one.status) == ["ok", "no events", "only events"]
    beta = pool_many(x[:1], n, "beta-binomial")
    assert beta.estimate[0] == pytest.approx(pool(x[0], n, "beta-binomial").estimate)
    empty = pool_many(x[1:], n, "beta-binomial")
    assert list(empty.status) == ["no events", "only events"]
    assert list(pool_many(x[:, :1], n[:1], "reml").status) == ["one trial"] * 3
    plain = pool_many(x, n, tau2_interval=False)
    assert np.isnan(plain.tau2_ci).all()
    ft = pool_many(x, n, "reml", transform="freeman-tukey")
    assert ft.estimate[0] == pytest.approx(
        pool(x[0], n, "reml", transform="freeman-tukey").estimate, rel=1e-12
    )


def test_batch_of_one_patient_trials_is_marked():
    x, n = np.array([[0, 1, 1], [0, 5, 5]]), np.array([[1, 1, 1], [4, 5, 5]])
    batch = pool_many(x, n)
    assert list(batch.status) == ["one patient per trial", "every trial without events or full"]
    np.testing.assert_allclose(batch.marginal_estimate, [2 / 3, 2 / 3])
    assert np.isnan(batch.mu).all()
