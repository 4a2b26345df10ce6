"""Beta-binomial pooling against 60-digit arithmetic and its own laws.

Tolerances: the maximum and the standard error come from Newton's method in double precision, so
1e-9 relative; profile limits add one root search, 1e-8. The reference script
(tests/reference/make_exact_betabinomial.py) shares no code with the package.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from analysis.pooling import betabinomial as bb
from analysis.pooling import pool
from analysis.pooling.betabinomial import fit_betabinomial
from analysis.pooling.proportion import wilson

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "exact_betabinomial.json").read_text("utf-8")
)
X = [3, 8, 14, 10, 7, 2, 12, 5, 20, 9, 4]
N = [5, 14, 24, 15, 9, 10, 16, 6, 26, 32, 8]


@pytest.mark.parametrize("name", sorted(REFERENCE["fits"]))
def test_maximum_and_limits_agree_with_60_digits(name):
    r = REFERENCE["fits"][name]
    fit = fit_betabinomial(r["events"], r["total"], interval="profile")
    assert fit.mu == pytest.approx(r["mu"], rel=1e-9, abs=1e-10)
    assert fit.se == pytest.approx(r["se"], rel=1e-9)
    assert fit.details["rho"] == pytest.approx(r["rho"], rel=1e-9)
    # the log-likelihood of 150,000 patients is a difference of numbers near 1e5
    assert fit.log_likelihood == pytest.approx(r["log_likelihood"], abs=1e-8)
    assert special.logit(fit.ci_low) == pytest.approx(r["mu_low"], rel=1e-8, abs=1e-9)
    assert special.logit(fit.ci_high) == pytest.approx(r["mu_high"], rel=1e-8, abs=1e-9)
    low, high = fit.details["rho_ci"]
    assert low == pytest.approx(r["rho_low"] or 0.0, rel=1e-7)
    assert high == pytest.approx(r["rho_high"], rel=1e-7)


@pytest.mark.parametrize("case", REFERENCE["long_sums"], ids=lambda c: f"{c['total']}")
def test_long_sums_keep_their_digits(case):
    """The rule for counts beyond 4096 against 60-digit log-gamma functions."""
    data = bb._prepare(np.array([case["events"]]), np.array([case["total"]]))
    got = float(bb._log_likelihood(data, 0.31, 0.69, case["theta"]))
    # a difference of three sums of size n log n, each rounded at 1e-15 of itself
    size = case["total"] * math.log(case["total"])
    assert got == pytest.approx(case["value"], abs=1e-11 + 4e-15 * size)


def test_derivatives_match_differences():
    data = bb._prepare(np.array(X), np.array(N))
    p, q, theta, h = 0.4, 0.6, 0.2, 1e-5

    def ll(dp=0.0, dt=0.0):
        return float(bb._log_likelihood(data, p + dp, q - dp, theta + dt))

    first, second = bb._slope_p(data, p, q, theta)
    t1, t2, mixed = bb._slope_theta(data, p, q, theta)
    assert float(first) == pytest.approx((ll(h) - ll(-h)) / (2 * h), rel=1e-7)
    assert float(second) == pytest.approx((ll(h) - 2 * ll() + ll(-h)) / h**2, rel=1e-4)
    assert float(t1) == pytest.approx((ll(0, h) - ll(0, -h)) / (2 * h), rel=1e-7)
    assert float(t2) == pytest.approx((ll(0, h) - 2 * ll() + ll(0, -h)) / h**2, rel=1e-4)
    cross = (ll(h, h) - ll(h, -h) - ll(-h, h) + ll(-h, -h)) / (4 * h * h)
    assert float(mixed) == pytest.approx(cross, rel=1e-4)


def test_intervals_are_what_they_say():
    wald = fit_betabinomial(X, N, interval="wald")
    t = fit_betabinomial(X, N, interval="t")
    assert special.logit(wald.ci_high) - wald.mu == pytest.approx(1.959963984540054 * wald.se)
    assert special.logit(t.ci_high) - t.mu == pytest.approx(special.stdtrit(10, 0.975) * t.se)
    for choice, cut in (
        ("profile", special.chdtri(1, 0.05)),
        ("profile-t", special.stdtrit(10, 0.975) ** 2),
    ):
        fit = fit_betabinomial(X, N, interval=choice)
        data = bb._prepare(np.array(X), np.array(N))
        for limit in (fit.ci_low, fit.ci_high):
            m = special.logit(limit)
            value, s = bb._best_theta(data, np.array([m]))
            drop = fit.log_likelihood - data.constant - value[0]
            assert 2 * drop == pytest.approx(cut, rel=1e-9)
            # and theta is the best one there
            slope = bb._slope_theta(data, limit, 1 - limit, math.exp(s[0]))[0]
            assert abs(float(slope)) * math.exp(s[0]) < 1e-8
    narrow, wide = (fit_betabinomial(X, N, interval=i) for i in ("profile", "profile-t"))
    assert wide.ci_low < narrow.ci_low < narrow.estimate < narrow.ci_high < wide.ci_high


def test_fields_follow_their_definitions():
    fit = fit_betabinomial(X, N, labels=[f"T{i}" for i in range(11)])
    x, n = np.array(X), np.array(N)
    rho = fit.details["rho"]
    assert fit.interval == "profile-t"
    assert fit.marginal_estimate == fit.estimate
    assert fit.weight == pytest.approx(
        (n / (1 + (n - 1) * rho)) / np.sum(n / (1 + (n - 1) * rho)), rel=1e-12
    )
    a, b = fit.details["alpha"], fit.details["beta"]
    assert a / (a + b) == pytest.approx(fit.estimate)
    assert 1 / (a + b + 1) == pytest.approx(rho)
    assert fit.aic == pytest.approx(4 - 2 * fit.log_likelihood)
    p = x.sum() / n.sum()
    saturated = 2 * np.sum(x * np.log(x / n / p) + (n - x) * np.log((1 - x / n) / (1 - p)))
    assert fit.q == pytest.approx(saturated)
    binomial = np.sum(np.log(special.binom(n, x)) + x * math.log(p) + (n - x) * math.log(1 - p))
    assert fit.lrt == pytest.approx(2 * (fit.log_likelihood - binomial))
    assert fit.lrt_p == pytest.approx(0.5 * special.chdtrc(1, fit.lrt))
    assert fit.pi_low < fit.ci_low < fit.ci_high < fit.pi_high
    json.dumps(fit.to_dict(), allow_nan=False)


def test_prediction_interval_against_simulation():
    fit = fit_betabinomial(X, N)
    rng = np.random.default_rng(5)
    theta = fit.details["rho"] / (1 - fit.details["rho"])
    p = special.expit(fit.mu + fit.se * rng.standard_t(10, 400_000))
    rate = rng.beta(p / theta, (1 - p) / theta)
    low, high = np.quantile(rate, [0.025, 0.975])
    # Monte Carlo error of the quantiles is about 0.0006
    assert fit.pi_low == pytest.approx(low, abs=0.003)
    assert fit.pi_high == pytest.approx(high, abs=0.003)


def test_homogeneous_trials_give_the_binomial():
    fit = fit_betabinomial([5, 5, 5], [10, 10, 10], interval="profile")
    assert fit.details["rho"] == 0.0
    assert fit.estimate == pytest.approx(0.5, abs=1e-12)
    assert fit.se == pytest.approx(math.sqrt(1 / (30 * 0.25)))
    assert fit.lrt == 0.0
    assert fit.lrt_p == 1.0
    assert any("rho = 0" in note for note in fit.notes)


@pytest.mark.parametrize("interval", bb.INTERVALS)
def test_all_zero_and_all_full_are_one_sided_limits(interval):
    zero = fit_betabinomial([0, 0, 0], [5, 8, 3], interval=interval)
    full = fit_betabinomial([5, 8, 3], [5, 8, 3], interval=interval)
    assert (zero.estimate, zero.ci_low, full.estimate, full.ci_high) == (0.0, 0.0, 1.0, 1.0)
    assert zero.mu is None
    assert zero.se is None
    assert not zero.converged
    t = special.stdtrit(2, 0.975) if interval in ("t", "profile-t") else special.ndtri(0.975)
    # at rho = 1 the three trials are three observations: 2 * 3 * log(1 - p) = -t^2
    assert zero.ci_high == pytest.approx(1 - math.exp(-t * t / 6))
    assert full.ci_low == pytest.approx(1 - zero.ci_high)
    assert "no finite maximum" in zero.notes[0]


def test_all_zero_limit_is_the_profile_limit():
    """At the reported limit the best log-likelihood over rho is half the cut-off below 0."""
    fit = fit_betabinomial([0, 0, 0], [5, 8, 3], interval="profile")
    data = bb._prepare(np.zeros(3, int), np.array([5, 8, 3]))
    best, _ = bb._best_theta(data, special.logit(np.array([fit.ci_high])))
    assert -2 * best[0] == pytest.approx(special.chdtri(1, 0.05), rel=1e-8)


def test_all_or_none_trials_tend_to_rho_one():
    fit = fit_betabinomial([0, 8, 0], [5, 8, 3], interval="profile")
    assert fit.details["rho"] == 1.0
    assert fit.estimate == pytest.approx(1 / 3)
    assert fit.log_likelihood == pytest.approx(math.log(1 / 3) + 2 * math.log(2 / 3))
    assert not fit.converged
    assert fit.pi_low is None
    # one observation per trial: the binomial profile limit of 1 of 3
    ll = math.log(fit.ci_low) + 2 * math.log(1 - fit.ci_low)
    assert 2 * (fit.log_likelihood - ll) == pytest.approx(special.chdtri(1, 0.05), rel=1e-7)
    wald = fit_betabinomial([0, 8, 0], [5, 8, 3], interval="wald")
    assert special.logit(wald.ci_high) - wald.mu == pytest.approx(
        special.ndtri(0.975) * math.sqrt(3 / 2)
    )


def test_single_patients_say_nothing_about_rho():
    fit = fit_betabinomial([1, 0, 1, 1], [1, 1, 1, 1], interval="profile")
    assert fit.estimate == pytest.approx(0.75)
    assert fit.details["rho_ci"] == (0.0, 1.0)
    assert any("one patient" in note for note in fit.notes)


def test_one_trial_is_shown_not_pooled():
    fit = fit_betabinomial([2], [5])
    assert fit.estimate is None
    assert fit.study_estimate == pytest.approx([0.4])
    assert "not pooled" in fit.notes[0]


def test_two_trials_have_no_prediction_interval():
    fit = fit_betabinomial([1, 7], [9, 10], interval="profile")
    assert fit.pi_low is None
    assert 0 < fit.ci_low < fit.estimate < fit.ci_high < 1
    assert any("three trials" in note for note in fit.notes)


def test_a_cut_off_that_is_never_reached_gives_the_ends_of_the_scale():
    fit = fit_betabinomial([1, 7], [9, 10], interval="profile-t", level=0.9999)
    assert (fit.ci_low, fit.ci_high) == (0.0, 1.0)
    assert "never falls" in " ".join(fit.notes)


def test_prediction_reaches_the_ends_when_rho_is_large():
    fit = fit_betabinomial([0, 300, 0, 299, 1], [300] * 5, interval="wald")
    assert fit.details["rho"] > 0.5
    assert 0.0 <= fit.pi_low < 1e-6
    assert fit.pi_high > 1 - 1e-6


def test_huge_beside_small():
    fit = fit_betabinomial([5, 3_000_000, 2], [10, 10_000_000, 30], interval="profile")
    assert 0 < fit.ci_low < fit.estimate < fit.ci_high < 1
    assert fit.converged


def test_pool_dispatches():
    assert pool(X, N, "beta-binomial").estimate == fit_betabinomial(X, N).estimate


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        (([1, -1], [3, 3]), {}, "negative"),
        (([1, 4], [3, 3]), {}, "exceed"),
        (([1.5, 1], [3, 3]), {}, "whole"),
        (([1, 1], [3]), {}, "length"),
        (([1, 1], [3, 3]), {"interval": "bartlett"}, "interval"),
        (([1, 1], [3, 3]), {"level": 1.0}, "level"),
        (([1, 1], [3, 3]), {"labels": ["a"]}, "labels"),
    ],
)
def test_wrong_input_is_refused(args, options, message):
    with pytest.raises(ValueError, match=message):
        fit_betabinomial(*args, **options)


trials = st.lists(
    st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    min_size=2,
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(trials, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_complement_mirrors(rows, random):
    x, n = (np.array(c) for c in zip(*rows, strict=True))
    fit = fit_betabinomial(x, n, interval="profile")
    order = list(range(len(rows)))
    random.shuffle(order)
    other = fit_betabinomial(x[order], n[order], interval="profile")
    mirror = fit_betabinomial(n - x, n, interval="profile")
    # near a flat maximum in rho the position of the mean is known to the square root of the
    # rounding error of the log-likelihood
    assert other.estimate == pytest.approx(fit.estimate, abs=1e-6)
    assert other.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-9)
    assert mirror.estimate == pytest.approx(1 - fit.estimate, abs=1e-6)
    assert mirror.ci_low == pytest.approx(1 - fit.ci_high, abs=1e-6)
    assert mirror.ci_high == pytest.approx(1 - fit.ci_low, abs=1e-6)
    assert fit.ci_low <= fit.estimate <= fit.ci_high
    assert fit.weight.sum() == pytest.approx(1.0)
    json.dumps(fit.to_dict(), allow_nan=False)


@settings(max_examples=25, deadline=None)
@given(trials, st.floats(0.02, 0.98), st.floats(-8.0, 5.0))
def test_no_parameter_beats_the_reported_maximum(rows, p, log_theta):
    x, n = (np.array(c) for c in zip(*rows, strict=True))
    fit = fit_betabinomial(x, n, interval="wald")
    data = bb._prepare(x, n)
    other = float(bb._log_likelihood(data, p, 1 - p, math.exp(log_theta))) + data.constant
    assert other <= fit.log_likelihood + 1e-9


ONE_PATIENT = "Every trial has one patient, so the data say nothing about rho; the fit is binomial."
BINOMIAL = (
    "The likelihood is largest at rho = 0: the trials vary no more than chance alone allows, and "
    "the fit is the binomial one."
)
NEVER_FALLS = (
    "The profile likelihood never falls to the cut-off on one side, so that limit is the end of "
    "the scale."
)
UNRELIABLE = "With fewer than five trials the prediction interval is unreliable."
THREE = "A prediction interval needs at least three trials."
ALL_OR_NONE = (
    "Every trial is at 0 or at 1 and both occur: the likelihood grows as rho tends to 1. The "
    "values are that limit, in which each trial counts as one observation.",
    "A prediction interval does not exist: at rho = 1 the next trial is at 0 or at 1.",
)


def limit_notes(what, limit):
    return (
        f"{what}: the likelihood has no finite maximum on the logit scale. The estimate is the "
        f"limit {limit} and the other end of the interval is a one-sided profile limit, reached "
        "at rho = 1, where each trial counts as one observation.",
        "The data say nothing about rho.",
    )


NOTES = [
    (([2], [5]), {}, ("One trial: shown, not pooled.",)),
    (([0, 0], [5, 8]), {}, limit_notes("No trial had an event", 0)),
    (([5, 8], [5, 8]), {}, limit_notes("Every patient of every trial had the event", 1)),
    (([0, 8, 0], [5, 8, 3]), {}, ALL_OR_NONE),
    (([0, 2], [1, 2]), {}, ALL_OR_NONE),
    (([1, 0], [1, 1]), {"interval": "wald"}, (ONE_PATIENT, THREE)),
    (([1, 0, 1], [1, 1, 1]), {"interval": "t"}, (ONE_PATIENT, UNRELIABLE)),
    (([1, 0, 1, 0, 1], [1] * 5), {"interval": "profile"}, (ONE_PATIENT,)),
    (([1, 1, 0], [2, 2, 1]), {"interval": "wald"}, (BINOMIAL, UNRELIABLE)),
    (([5, 5], [10, 10]), {"interval": "wald"}, (BINOMIAL, THREE)),
    (([5] * 5, [10] * 5), {"interval": "wald"}, (BINOMIAL,)),
    (([1, 7], [9, 10]), {"interval": "t"}, (THREE,)),
    (([1, 7], [9, 10]), {"interval": "profile-t", "level": 0.9999}, (NEVER_FALLS, THREE)),
    (([1, 7, 3], [9, 10, 9]), {}, (UNRELIABLE,)),
    (([1, 7, 3, 5], [9, 10, 9, 9]), {}, (UNRELIABLE,)),
    (([1, 7, 3, 5, 2], [9, 10, 9, 9, 9]), {}, ()),
]


@pytest.mark.parametrize(("data", "options", "notes"), NOTES)
def test_every_note_word_by_word(data, options, notes):
    assert fit_betabinomial(*data, **options).notes == notes


@pytest.mark.parametrize("interval", bb.INTERVALS)
@pytest.mark.parametrize("x,n", [([0, 8, 0], [5, 8, 3]), ([0, 0, 9, 1, 7], [9, 8, 9, 1, 7])])
def test_every_field_of_all_or_none_trials(x, n, interval):
    """rho = 1: one observation per trial, whatever its size."""
    k, full = len(x), sum(a == b for a, b in zip(x, n, strict=True))
    fit = fit_betabinomial(x, n, interval=interval, level=0.9)
    share = full / k
    z, t = special.ndtri(0.95), special.stdtrit(k - 1, 0.95)
    cut = (t if interval in ("t", "profile-t") else z) ** 2
    assert fit.estimate == fit.marginal_estimate == share
    assert fit.mu == pytest.approx(math.log(full / (k - full)), rel=1e-14)
    assert fit.se == pytest.approx(math.sqrt(1 / full + 1 / (k - full)), rel=1e-14)
    top = full * math.log(share) + (k - full) * math.log(1 - share)
    assert fit.log_likelihood == pytest.approx(top, rel=1e-13)
    assert fit.aic == pytest.approx(4 - 2 * top, rel=1e-13)
    for limit in (fit.ci_low, fit.ci_high):
        if interval in ("wald", "t"):
            assert abs(special.logit(limit) - fit.mu) == pytest.approx(math.sqrt(cut) * fit.se)
        else:
            ll = full * math.log(limit) + (k - full) * math.log(1 - limit)
            assert 2 * (top - ll) == pytest.approx(cut, rel=1e-7)
    assert fit.ci_low < fit.estimate < fit.ci_high
    assert fit.marginal_ci == (fit.ci_low, fit.ci_high)
    # the binomial with one proportion for all patients
    p = sum(x) / sum(n)
    zero = sum(x) * math.log(p) + (sum(n) - sum(x)) * math.log(1 - p)
    assert fit.lrt == pytest.approx(2 * (top - zero), rel=1e-12)
    assert fit.lrt_p == pytest.approx(0.5 * special.chdtrc(1, fit.lrt), rel=1e-12)
    assert fit.q == pytest.approx(-2 * zero, rel=1e-12)
    assert (fit.q_df, fit.q_p) == (k - 1, pytest.approx(special.chdtrc(k - 1, fit.q), rel=1e-12))
    assert fit.weight.tolist() == [1 / k] * k
    nothing = (fit.pi_low, fit.pi_high, fit.tau2, fit.tau2_ci, fit.i2)
    assert nothing == (None,) * 5 and not fit.converged
    low, high = fit.details["rho_ci"]
    assert fit.details == {
        "rho": 1.0,
        "rho_ci": (low, 1.0),
        "rho_ci_method": "profile likelihood, chi-square(1) cut-off",
        "alpha": None,
        "beta": None,
        "logit_variance": None,
    }
    # chi-square(1) cut-off for rho, whatever the interval of the mean
    data = bb._prepare(np.array(x), np.array(n))
    theta = low / (1 - low)
    at = max(
        float(bb._log_likelihood(data, q, 1 - q, theta)) for q in np.linspace(0.005, 0.995, 1981)
    )
    assert 2 * (top - at - data.constant) == pytest.approx(z * z, abs=1e-3)
    assert 0 < low < high
    common(fit, x, n, interval, 0.9)


def common(fit, x, n, interval, level):
    """What every fit says of itself and of its trials."""
    assert (fit.model, fit.transform) == ("beta-binomial", "logit")
    assert (fit.interval, fit.level, fit.k) == (interval, level, len(x))
    assert fit.events.tolist() == list(x) and fit.total.tolist() == list(n)
    assert fit.study_estimate == pytest.approx(np.array(x) / np.array(n), rel=1e-15)
    low, high = wilson(x, n, level)
    np.testing.assert_array_equal(fit.study_ci_low, low)
    np.testing.assert_array_equal(fit.study_ci_high, high)
    assert fit.weight.sum() == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("interval", bb.INTERVALS)
@pytest.mark.parametrize("full", [False, True])
def test_every_field_of_a_one_sided_limit(full, interval):
    n = [5, 8, 3, 9]
    x = n if full else [0] * 4
    fit = fit_betabinomial(x, n, interval=interval, level=0.8, labels=list("abcd"))
    common(fit, x, n, interval, 0.8)
    t, z = special.stdtrit(3, 0.9), special.ndtri(0.9)
    far = 1 - math.exp(-((t if interval in ("t", "profile-t") else z) ** 2) / 8)
    ends = (1 - far, 1.0) if full else (0.0, far)
    assert fit.estimate == fit.marginal_estimate == float(full)
    assert (fit.ci_low, fit.ci_high) == pytest.approx(ends, rel=1e-12)
    assert fit.marginal_ci == (fit.ci_low, fit.ci_high)
    assert (fit.lrt, fit.lrt_p, fit.log_likelihood, fit.aic) == (0.0, 1.0, 0.0, 4.0)
    assert (fit.q, fit.q_df, fit.q_p) == (0.0, 3, 1.0)
    assert fit.weight.tolist() == [a / 25 for a in n]
    assert fit.details == {"rho": None, "rho_ci": (0.0, 1.0), "alpha": None, "beta": None}
    nothing = (fit.mu, fit.se, fit.tau2, fit.tau2_ci, fit.i2, fit.pi_low, fit.pi_high)
    assert nothing == (None,) * 7 and not fit.converged
    assert fit.labels == tuple("abcd")


def test_every_field_of_one_trial():
    fit = fit_betabinomial([2], [5], interval="t", level=0.9, labels=["a"])
    common(fit, [2], [5], "t", 0.9)
    assert fit.labels == ("a",)
    assert not fit.converged and fit.details == {} and fit.weight.tolist() == [1.0]
    names = (
        "estimate", "ci_low", "ci_high", "pi_low", "pi_high", "mu", "se", "tau2", "tau2_ci", "i2",
        "q", "q_df", "q_p", "lrt", "lrt_p", "log_likelihood", "aic", "marginal_estimate",
        "marginal_ci",
    )  # fmt: skip
    assert [getattr(fit, name) for name in names] == [None] * len(names)


@pytest.mark.parametrize(
    "x,n",
    [
        ([1, 7, 3], [9, 10, 9]),
        ([5, 5, 5], [10, 10, 10]),
        ([1, 0, 1, 1], [1, 1, 1, 1]),
        ([1, 1, 0], [2, 2, 1]),
        ([1, 7], [9, 10]),
    ],
)
def test_every_field_of_a_regular_fit(x, n):
    """Spread and none, three trials and two, single patients: each number by its definition."""
    k, size, events = len(x), np.array(n), np.array(x)
    z, t = special.ndtri(0.95), special.stdtrit(k - 1, 0.95)
    fits = {i: fit_betabinomial(x, n, interval=i, level=0.9) for i in bb.INTERVALS}
    for interval, fit in fits.items():
        common(fit, x, n, interval, 0.9)
        if interval in ("wald", "t"):
            half = (z if interval == "wald" else t) * fit.se
            limits = special.expit([fit.mu - half, fit.mu + half])
            assert (fit.ci_low, fit.ci_high) == pytest.approx(limits, rel=1e-12)
        assert fit.ci_low < fit.estimate < fit.ci_high
        assert fit.marginal_ci == (fit.ci_low, fit.ci_high)
        assert fit.estimate == fit.marginal_estimate == pytest.approx(special.expit(fit.mu))
        assert fit.converged and (fit.tau2, fit.tau2_ci, fit.i2) == (None,) * 3
    # all but the interval of the mean is the same for each of them
    fit = fits["wald"]
    for other in fits.values():
        for name in ("pi_low", "pi_high", "mu", "se", "lrt", "lrt_p", "log_likelihood", "aic"):
            assert getattr(other, name) == getattr(fit, name), name
        assert other.details == fit.details
    d = fit.details
    names = ["rho", "rho_ci", "rho_ci_method", "alpha", "beta", "logit_variance"]
    assert list(d) == names + ["pi_method"] * (k >= 3)
    assert d["rho_ci_method"] == "profile likelihood, chi-square(1) cut-off"
    data = bb._prepare(events, size)
    p, theta = fit.estimate, d["rho"] / (1 - d["rho"])
    value = float(bb._log_likelihood(data, p, 1 - p, theta)) + data.constant
    assert fit.log_likelihood == pytest.approx(value, rel=1e-12)
    assert fit.aic == pytest.approx(4 - 2 * value, rel=1e-12)
    common_p = events.sum() / size.sum()
    zero = float(bb._log_likelihood(data, common_p, 1 - common_p, 0.0)) + data.constant
    if d["rho"] == 0:
        assert (fit.lrt, fit.lrt_p, d["alpha"], d["beta"]) == (0.0, 1.0, None, None)
        assert d["logit_variance"] == 0.0 and p == pytest.approx(common_p, rel=1e-12)
        assert d["rho_ci"][0] == 0.0 and (d["rho_ci"][1] < 1.0) == bool((size > 1).any())
    else:
        a, b = d["alpha"], d["beta"]
        assert (a, b) == pytest.approx((p / theta, (1 - p) / theta), rel=1e-12)
        spread = special.polygamma(1, a) + special.polygamma(1, b)
        assert d["logit_variance"] == pytest.approx(spread, rel=1e-12)
        assert fit.lrt == pytest.approx(2 * (value - zero), rel=1e-9)
        assert fit.lrt_p == pytest.approx(0.5 * special.chdtrc(1, fit.lrt), rel=1e-12)
    for rho in d["rho_ci"]:
        if 0.0 < rho < 1.0:
            at = bb._best_mean(data, np.array([rho / (1 - rho)]))[0]
            q = special.expit(at)
            best = float(bb._log_likelihood(data, q, 1 - q, rho / (1 - rho))) + data.constant
            assert 2 * (value - best) == pytest.approx(z * z, rel=1e-9)
    shares = size / (1 + (size - 1) * d["rho"])
    assert fit.weight == pytest.approx(shares / shares.sum(), rel=1e-12)
    assert fit.q == pytest.approx(bb.saturated_statistic(events, size), rel=1e-14)
    assert (fit.q_df, fit.q_p) == (k - 1, pytest.approx(special.chdtrc(k - 1, fit.q), rel=1e-12))
    if k >= 3:
        assert d["pi_method"] == "beta quantiles mixed over t(k-1) for the logit mean, rho fixed"
        assert (fit.pi_low, fit.pi_high) == bb._predictive_limits(fit.mu, fit.se, theta, k - 1, 0.9)
        assert fit.pi_low < fit.pi_high
    else:
        assert (fit.pi_low, fit.pi_high) == (None, None)


@pytest.mark.parametrize("theta", [0.0, 1e-4, 0.05, 2.0])
@pytest.mark.parametrize("df,level", [(2, 0.95), (9, 0.8)])
def test_prediction_limits_are_quantiles_of_the_mixture(theta, df, level):
    """Mirrored for the mirrored mean; the probability below each by integration over t."""
    low, high = bb._predictive_limits(0.7, 0.4, theta, df, level)
    other = bb._predictive_limits(-0.7, 0.4, theta, df, level)
    assert other == pytest.approx((1 - high, 1 - low), rel=1e-9, abs=1e-11)

    def below(rate):
        if theta == 0.0:
            return special.stdtr(df, (special.logit(rate) - 0.7) / 0.4)

        def at(u):
            p = special.expit(0.7 + 0.4 * special.stdtrit(df, u))
            return special.betainc(p / theta, (1 - p) / theta, rate)

        edges = np.linspace(0.0, 1.0, 401)
        node, weight = np.polynomial.legendre.leggauss(8)
        u = 0.5 * (edges[:-1] + edges[1:])[:, None] + 0.5 / 400 * node
        return float((at(u) * weight).sum() / 800)

    # the strata of the t distribution: within 1/400 where the beta distribution is narrow
    for limit, prob in ((low, 0.5 - level / 2), (high, 0.5 + level / 2)):
        assert below(limit) == pytest.approx(prob, abs=1.3e-3 if 0 < theta < 0.01 else 1e-4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"interval": "bartlett"},
            "unknown interval 'bartlett': choose one of wald, t, profile, profile-t",
        ),
        ({"level": 1.0}, "level must be strictly between 0 and 1, got 1.0"),
        ({"labels": ["a"]}, "labels must have one entry per study: 1 labels, 2 studies"),
    ],
)
def test_refusals_word_by_word(options, sentence):
    with pytest.raises(ValueError) as error:
        fit_betabinomial([1, 1], [3, 3], **options)
    assert str(error.value) == sentence
