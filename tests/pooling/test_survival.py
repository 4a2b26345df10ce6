"""Survival rates pooled on the complementary log-log scale."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from analysis.pooling.survival import (
    cloglog,
    corrected,
    followed_share,
    inverse_cloglog,
    pool_landmarks,
    rate_interval,
    variance_at_risk,
    variance_from_interval,
    variance_from_size,
)

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "survival.json").read_text("utf-8")
)
SETS = [name for name in REFERENCE if name != "version"]
rates = st.floats(0.02, 0.98)
sizes = st.floats(3.0, 500.0)


@pytest.mark.parametrize("name", SETS)
def test_agrees_with_metafor(name):
    expected = REFERENCE[name]
    variances = [
        variance_from_size(s, n) for s, n in zip(expected["rate"], expected["size"], strict=True)
    ]
    assert [cloglog(s) for s in expected["rate"]] == pytest.approx(expected["y"], rel=1e-13)
    assert variances == pytest.approx(expected["v"], rel=1e-13)
    fit = pool_landmarks(expected["rate"], variances)
    for field in ("mu", "se", "tau2", "i2", "q", "q_p"):
        assert getattr(fit, field) == pytest.approx(expected[field], rel=1e-6, abs=1e-9), field
    for field in ("estimate", "ci_low", "ci_high", "pi_low", "pi_high"):
        assert getattr(fit, field) == pytest.approx(expected[field], rel=1e-6), field
    assert fit.tau2_ci == pytest.approx(expected["tau2_ci"], rel=1e-5, abs=1e-8)
    assert fit.weight == pytest.approx(np.array(expected["weight"]), rel=1e-6)


@given(rate=rates, size=sizes)
def test_variance_is_the_delta_method(rate, size):
    step = 1e-5 * min(rate, 1 - rate)
    slope = (cloglog(rate + step) - cloglog(rate - step)) / (2 * step)
    assert variance_from_size(rate, size) == pytest.approx(
        slope**2 * rate * (1 - rate) / size, rel=1e-6
    )


@given(rate=rates, size=sizes)
def test_number_at_risk_without_losses_is_the_number_of_survivors(rate, size):
    assert variance_at_risk(rate, size * rate) == pytest.approx(variance_from_size(rate, size))


@given(rate=rates, size=sizes, level=st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_interval_gives_its_variance_back(rate, size, level):
    variance = variance_from_size(rate, size)
    low, high = rate_interval(rate, variance, level)
    assert 0 <= low < rate < high <= 1
    if low > 1e-200 and high < 1 - 1e-12:
        found = variance_from_interval(rate, low, high, level)
        assert found == pytest.approx(variance, rel=1e-3)


def test_wider_half_of_an_interval_counts_and_a_cut_one_does_not():
    y = cloglog(0.5)
    low, high = inverse_cloglog(y + 0.3), inverse_cloglog(y - 0.5)
    assert variance_from_interval(0.5, low, high) == pytest.approx((0.5 / 1.959964) ** 2, rel=1e-6)
    assert variance_from_interval(0.5, low, 1.0) == pytest.approx((0.3 / 1.959964) ** 2, rel=1e-6)


@given(
    hazard=st.floats(0.005, 0.2),
    months=st.floats(3.0, 36.0),
    loss=st.floats(0.0, 0.1),
    start=st.floats(0.0, 12.0),
)
def test_counting_the_followed_share_bounds_greenwood(hazard, months, loss, start):
    """Losses at a constant rate from some month on: n G patients are never too many."""

    def survival(t):
        return math.exp(-hazard * t)

    def followed(t):
        return math.exp(-loss * max(0.0, t - start))

    area, _ = integrate.quad(
        lambda t: hazard / (survival(t) * followed(t)),
        0,
        months,
        points=[min(start, months)],
        limit=200,
    )
    s = survival(months)
    exact = s**2 * area
    bound = s * (1 - s) / followed(months)
    assert s * (1 - s) <= exact * (1 + 1e-9)
    assert exact <= bound * (1 + 1e-9)


def test_share_followed_is_a_half_up_to_the_median_follow_up():
    assert followed_share(12, 12)[0] == 0.5
    assert followed_share(12, 60)[0] == 0.5
    assert followed_share(24, 12)[0] == 0.25
    assert followed_share(12.0001, 12)[0] == pytest.approx(0.5, rel=1e-4)
    assert followed_share(12, None)[0] == 0.5
    assert "assumption" in followed_share(12, None)[1]
    assert "assumption" not in followed_share(12, 19)[1]
    assert "assumption" in followed_share(24, 19)[1]


@st.composite
def trials(draw):
    k = draw(st.integers(2, 7))
    return (
        draw(st.lists(rates, min_size=k, max_size=k)),
        draw(st.lists(sizes, min_size=k, max_size=k)),
    )


@given(data=trials())
def test_pooled_rate_lies_among_the_rates_and_inside_its_intervals(data):
    rate, size = data
    variances = [variance_from_size(s, n) for s, n in zip(rate, size, strict=True)]
    fit = pool_landmarks(rate, variances)
    assert min(rate) - 1e-9 <= fit.estimate <= max(rate) + 1e-9
    assert fit.ci_low <= fit.estimate <= fit.ci_high
    assert fit.weight.sum() == pytest.approx(1)
    if fit.k == 2:
        assert fit.pi_low is None and fit.pi_high is None
    else:
        assert fit.pi_low <= fit.ci_low + 1e-9 and fit.ci_high <= fit.pi_high + 1e-9


@given(data=trials())
def test_order_of_the_trials_does_not_matter(data):
    rate, size = data
    variances = [variance_from_size(s, n) for s, n in zip(rate, size, strict=True)]
    fit, turned = pool_landmarks(rate, variances), pool_landmarks(rate[::-1], variances[::-1])
    assert turned.estimate == pytest.approx(fit.estimate, rel=1e-7, abs=1e-12)
    assert turned.tau2 == pytest.approx(fit.tau2, rel=1e-6, abs=1e-9)


def test_never_narrower_than_wald():
    rate, n = [0.70, 0.71, 0.72], [40, 50, 60]
    variances = [variance_from_size(s, m) for s, m in zip(rate, n, strict=True)]
    fit = pool_landmarks(rate, variances)
    assert fit.tau2 == 0
    assert fit.se == pytest.approx(math.sqrt(1 / sum(1 / v for v in variances)))


def test_half_a_patient_is_added_at_the_ends_only():
    assert corrected(0.4, 20) == (0.4, 20)
    assert corrected(1.0, 13) == (13.5 / 14, 14)
    assert corrected(0.0, 13) == (0.5 / 14, 14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cloglog(1.0), "between 0 and 1"),
        (lambda: cloglog(float("nan")), "between 0 and 1"),
        (lambda: variance_from_size(0.5, 0), "size must be a positive number"),
        (lambda: variance_at_risk(0.5, float("inf")), "at_risk must be a positive number"),
        (lambda: variance_from_interval(0.5, 0.6, 0.7), "do not enclose"),
        (lambda: variance_from_interval(0.5, 0.0, 1.0), "says nothing"),
        (lambda: pool_landmarks([0.5], [0.1]), "shown and not pooled"),
        (lambda: pool_landmarks([0.5, 0.6], [0.1]), "one value per rate"),
        (lambda: pool_landmarks([0.5, 1.0], [0.1, 0.1]), "between 0 and 1"),
        (lambda: pool_landmarks([0.5, 0.6], [0.1, -1.0]), "variance must be"),
        (lambda: corrected(1.2, 3), "must lie between"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_every_field_of_a_pooled_landmark_by_its_definition():
    rate, v = np.array([0.3, 0.6, 0.8, 0.5]), np.array([0.05, 0.08, 0.06, 0.03])
    fit = pool_landmarks(rate.tolist(), v.tolist(), level=0.9)
    assert fit.labels == ("Trial 1", "Trial 2", "Trial 3", "Trial 4")
    assert pool_landmarks(rate, v, labels=list("abcd")).labels == tuple("abcd")
    assert (fit.k, fit.level) == (4, 0.9)
    np.testing.assert_array_equal([fit.rate, fit.variance], [rate, v])
    y = np.log(-np.log(rate))
    w = 1 / (v + fit.tau2)
    mu = (w * y).sum() / w.sum()
    factor = max(1.0, (w * (y - mu) ** 2).sum() / 3)
    se = math.sqrt(factor / w.sum())
    t = stats.t.isf(0.05, 3)
    assert (fit.mu, fit.se) == pytest.approx((mu, se), rel=1e-10)
    assert fit.weight == pytest.approx(w / w.sum(), rel=1e-10)

    def back(value):
        return math.exp(-math.exp(value))

    # a larger value on the scale is a smaller rate
    assert fit.estimate == pytest.approx(back(mu), rel=1e-10)
    assert (fit.ci_low, fit.ci_high) == pytest.approx((back(mu + t * se), back(mu - t * se)))
    far = t * math.sqrt(fit.tau2 + se**2)
    assert (fit.pi_low, fit.pi_high) == pytest.approx((back(mu + far), back(mu - far)))
    fixed = 1 / v
    center = (fixed * y).sum() / fixed.sum()
    q = (fixed * (y - center) ** 2).sum()
    assert (fit.q, fit.q_p) == pytest.approx((q, stats.chi2.sf(q, 3)), rel=1e-9)
    typical = 3 * fixed.sum() / (fixed.sum() ** 2 - (fixed**2).sum())
    assert fit.i2 == pytest.approx(100 * fit.tau2 / (fit.tau2 + typical), rel=1e-9)
    for limit, tail in zip(fit.tau2_ci, (0.05, 0.95), strict=True):
        w = 1 / (v + limit)
        q = (w * (y - (w * y).sum() / w.sum()) ** 2).sum()
        assert q == pytest.approx(stats.chi2.isf(tail, 3), rel=1e-7)

    def restricted(tau2):
        w = 1 / (v + tau2)
        gap = y - (w * y).sum() / w.sum()
        return 0.5 * (np.log(w).sum() - math.log(w.sum()) - (w * gap**2).sum())

    assert restricted(fit.tau2) > max(restricted(fit.tau2 * 0.99), restricted(fit.tau2 * 1.01))
    low, high = rate_interval(0.4, 0.09, 0.8)
    reach = 0.3 * stats.norm.isf(0.1)
    assert (low, high) == pytest.approx((back(cloglog(0.4) + reach), back(cloglog(0.4) - reach)))
    low, high = rate_interval(0.4, 0.09)
    assert low == pytest.approx(back(cloglog(0.4) + 0.3 * stats.norm.isf(0.025)), rel=1e-12)


def test_share_followed_and_why_word_by_word():
    assert followed_share(12, 19.5) == (0.5, "median follow-up 19.5 months")
    assert followed_share(12, 12) == (0.5, "median follow-up 12 months")
    assert followed_share(24, None) == (0.5, "assumption: no follow-up printed")
    share, why = followed_share(36, 12)
    assert (share, why) == (0.125, "assumption: median follow-up only 12 months")


def test_ends_of_the_scale():
    assert inverse_cloglog(1e6) == 0.0
    assert inverse_cloglog(-1e6) == 1.0
    assert inverse_cloglog(0.0) == math.exp(-1)
    assert inverse_cloglog(6.0) == math.exp(-math.exp(6.0))
    assert cloglog(math.exp(-1)) == pytest.approx(0.0, abs=1e-15)
    for rate, size in ((0.0, 3), (1.0, 3), (0.4, 7)):
        assert all(isinstance(value, float | int) for value in corrected(rate, size))
    assert corrected(0.4, 7.5) == (0.4, 7.5)
    level = variance_from_interval(0.5, 0.3, 0.6, 0.8)
    wider = max(cloglog(0.3) - cloglog(0.5), cloglog(0.5) - cloglog(0.6))
    assert level == pytest.approx((wider / stats.norm.isf(0.1)) ** 2, rel=1e-12)
    y = cloglog(0.5)
    # an upper limit alone counts where the lower one is cut at zero
    assert variance_from_interval(0.5, 0.0, inverse_cloglog(y - 0.5)) == pytest.approx(
        (0.5 / stats.norm.isf(0.025)) ** 2, rel=1e-9
    )
    assert variance_at_risk(0.5, 10) == pytest.approx(0.5 / (10 * math.log(2) ** 2), rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cloglog(1.0), "the complementary log-log needs a rate between 0 and 1, got 1.0"),
        (lambda: cloglog(0), "the complementary log-log needs a rate between 0 and 1, got 0"),
        (lambda: variance_from_size(0.5, 0), "size must be a positive number, got 0"),
        (lambda: variance_from_size(1.0, 5),
         "the complementary log-log needs a rate between 0 and 1, got 1.0"),
        (lambda: variance_at_risk(0.5, -1), "at_risk must be a positive number, got -1"),
        (lambda: variance_at_risk(0.0, 5),
         "the complementary log-log needs a rate between 0 and 1, got 0.0"),
        (lambda: variance_from_interval(0.5, 0.6, 0.7),
         "the limits 0.6 and 0.7 do not enclose the rate 0.5"),
        (lambda: variance_from_interval(0.5, 0.5, 0.7),
         "the limits 0.5 and 0.7 do not enclose the rate 0.5"),
        (lambda: variance_from_interval(0.5, 0.3, 0.5),
         "the limits 0.3 and 0.5 do not enclose the rate 0.5"),
        (lambda: variance_from_interval(0.5, 0.3, 1.1),
         "the limits 0.3 and 1.1 do not enclose the rate 0.5"),
        (lambda: variance_from_interval(0.5, 0.0, 1.0),
         "an interval from 0 to 1 says nothing about the variance"),
        (lambda: variance_from_interval(0.5, 0.3, 0.7, 1.0),
         "level must be strictly between 0 and 1, got 1.0"),
        (lambda: followed_share(0, 12), "months must be a positive number, got 0"),
        (lambda: followed_share(12, math.inf), "follow_up must be a positive number, got inf"),
        (lambda: rate_interval(0.5, 0.0), "variance must be a positive number, got 0.0"),
        (lambda: rate_interval(0.5, 0.1, 0.0), "level must be strictly between 0 and 1, got 0.0"),
        (lambda: corrected(-0.1, 3), "a rate must lie between 0 and 1, got -0.1"),
        (lambda: corrected(0.5, 0), "size must be a positive number, got 0"),
        (lambda: pool_landmarks([0.5], [0.1]), "one trial is shown and not pooled"),
        (lambda: pool_landmarks([0.5, 0.6], [0.1]), "variances must have one value per rate (2)"),
        (lambda: pool_landmarks([0.5, 0.6], [0.1, 0]), "variance must be a positive number, got 0"),
        (lambda: pool_landmarks([0.5, 0.6], [0.1, 0.1], labels=["a"]),
         "labels must have one entry per study: 1 labels, 2 studies"),
        (lambda: pool_landmarks([0.5, 0.6], [0.1, 0.1], level=2),
         "level must be strictly between 0 and 1, got 2"),
    ],
)  # fmt: skip
def test_messages_word_by_word(call, message):
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value) == message
