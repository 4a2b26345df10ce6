"""The fit of one data set in the binomial-normal model: every field by its definition.

The likelihood here is the trapezoid rule on 801 standard normal scores from -12 to 12, which for
these trials is exact to rounding and shares nothing with the package. Limits are therefore compared
to 1e-6, second derivatives by differences to 1e-4.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import optimize, special, stats

from analysis.pooling import engine, glmm, pool
from analysis.pooling.fit import Fit
from analysis.pooling.glmm import fit_glmm, glmm_arrays, separated_limits
from analysis.pooling.proportion import clopper_pearson, proportion_interval

X, N = np.array([2, 20, 9, 0, 14, 11]), np.array([20, 25, 18, 12, 30, 16])
SCORE = np.linspace(-12.0, 12.0, 801)
MASS = np.exp(-0.5 * SCORE**2) / math.sqrt(2 * math.pi) * (SCORE[1] - SCORE[0])
CHOOSE = special.gammaln(N + 1) - special.gammaln(X + 1) - special.gammaln(N - X + 1)


def posterior(mu: float, tau2: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-likelihood of each trial, and the weights of the logits given its counts."""
    logit = mu + math.sqrt(tau2) * SCORE
    log = (
        CHOOSE[:, None]
        + X[:, None] * special.log_expit(logit)
        + (N - X)[:, None] * special.log_expit(-logit)
    )
    joint = np.exp(log) * MASS
    whole = joint.sum(axis=1)
    return np.log(whole), joint / whole[:, None], logit


def likelihood(mu: float, tau2: float) -> float:
    return float(posterior(mu, tau2)[0].sum())


def highest(function: Callable[[float], float], low: float, high: float) -> float:
    found = optimize.minimize_scalar(
        lambda a: -function(a), bounds=(low, high), method="bounded", options={"xatol": 1e-9}
    )
    return -float(found.fun)


def profile_of_mu(mu: float) -> float:
    best = highest(lambda s: likelihood(mu, math.exp(s)), -12, 6)
    return max(best, likelihood(mu, 0.0))


def profile_of_tau2(tau2: float) -> float:
    return highest(lambda m: likelihood(m, tau2), -9, 9)


def second_differences(function, at: np.ndarray, h: float = 1e-3) -> np.ndarray:
    out = np.empty((2, 2))
    unit = np.eye(2) * h
    for i in range(2):
        for j in range(2):
            out[i, j] = (
                function(*(at + unit[i] + unit[j]))
                - function(*(at + unit[i] - unit[j]))
                - function(*(at - unit[i] + unit[j]))
                + function(*(at - unit[i] - unit[j]))
            ) / (4 * h * h)
    return out


def average(mu: float, tau2: float) -> float:
    return float(special.expit(mu + math.sqrt(tau2) * SCORE) @ MASS)


@pytest.fixture(scope="module")
def fits() -> dict[str, Fit]:
    """One fit per interval, at a level of 0.9."""
    return {name: fit_glmm(X, N, interval=name, level=0.9) for name in glmm.INTERVALS}


def test_estimates_are_the_maximum_of_an_independent_likelihood(fits: dict[str, Fit]) -> None:
    fit = fits["wald"]
    assert fit.log_likelihood == pytest.approx(likelihood(fit.mu, fit.tau2), abs=1e-10)
    for d_mu, d_tau2 in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)):
        assert likelihood(fit.mu + d_mu, fit.tau2 + d_tau2) < fit.log_likelihood
    hessian = second_differences(likelihood, np.array([fit.mu, fit.tau2]))
    assert fit.details["covariance"] == pytest.approx(np.linalg.inv(-hessian), rel=1e-4)
    assert fit.se == pytest.approx(math.sqrt(fit.details["covariance"][0, 0]), rel=1e-12)
    assert fit.estimate == pytest.approx(special.expit(fit.mu), rel=1e-14)
    assert fit.tau == pytest.approx(math.sqrt(fit.tau2), rel=1e-15)
    for name, other in fits.items():
        assert other.interval == name
        same = ("mu", "se", "tau2", "tau2_ci", "log_likelihood", "i2", "q", "lrt", "pi_low")
        assert [getattr(other, f) for f in same] == [getattr(fit, f) for f in same], name


@pytest.mark.parametrize("name", glmm.INTERVALS)
def test_limits_of_the_mean_by_their_definition(fits: dict[str, Fit], name: str) -> None:
    fit = fits[name]
    low, high = fit.details["mu_ci"]
    assert low < fit.mu < high
    assert (fit.ci_low, fit.ci_high) == pytest.approx((special.expit(low), special.expit(high)))
    z, t = stats.norm.isf(0.05), stats.t.isf(0.05, 5)
    if name in ("wald", "t"):
        half = (z if name == "wald" else t) * fit.se
        assert (low, high) == pytest.approx((fit.mu - half, fit.mu + half), rel=1e-12)
        return
    y = np.where((X == 0) | (X == N), 0.5, 0.0)
    within = 1 / (X + y) + 1 / (N - X + y)

    def factor(tau2: float) -> float:
        w = 1 / (within + tau2)
        return 1 + 2 * (w**3).sum() / (w.sum() * (w**2).sum())

    for limit in (low, high):
        cut = t**2 if name == "profile-t" else z**2
        if name == "bartlett":
            found = optimize.minimize_scalar(
                lambda s, m=limit: -likelihood(m, math.exp(s)), bounds=(-12, 6), method="bounded",
                options={"xatol": 1e-9},
            )  # fmt: skip
            cut *= factor(math.exp(found.x))
        drop = 2 * (fit.log_likelihood - profile_of_mu(limit))
        assert drop == pytest.approx(cut, rel=1e-6)
    assert ("bartlett" in fit.details) == (name == "bartlett")
    if name == "bartlett":
        assert fit.details["bartlett"] == pytest.approx(factor(fit.tau2), rel=1e-12)


def test_everything_else_by_its_definition(fits: dict[str, Fit]) -> None:
    fit, k = fits["profile-t"], 6
    assert (fit.model, fit.transform, fit.k, fit.level) == ("glmm", "logit", k, 0.9)
    assert (fit.labels, fit.converged, fit.notes) == (None, True, ())
    np.testing.assert_array_equal([fit.events, fit.total], [X, N])
    np.testing.assert_array_equal(fit.study_estimate, X / N)
    low, high = proportion_interval(X, N, "wilson", 0.9)
    np.testing.assert_array_equal([fit.study_ci_low, fit.study_ci_high], [low, high])
    for limit in fit.tau2_ci:
        drop = 2 * (fit.log_likelihood - profile_of_tau2(limit))
        assert drop == pytest.approx(stats.chi2.isf(0.1, 1), rel=1e-6)
    assert fit.tau2_ci[0] < fit.tau2 < fit.tau2_ci[1]

    pooled = X.sum() / N.sum()
    equal = float(stats.binom.logpmf(X, N, pooled).sum())
    saturated = float(stats.binom.logpmf(X, N, X / N).sum())
    d = fit.details
    assert d["log_likelihood_equal_effects"] == pytest.approx(equal, rel=1e-12)
    assert d["log_likelihood_saturated"] == pytest.approx(saturated, rel=1e-12)
    assert d["mu_equal_effects"] == pytest.approx(special.logit(pooled), rel=1e-12)
    assert fit.q == pytest.approx(2 * (saturated - equal), rel=1e-12)
    assert fit.q_df == k - 1
    assert fit.q_p == pytest.approx(stats.chi2.sf(fit.q, k - 1), rel=1e-9)
    assert fit.lrt == pytest.approx(2 * (fit.log_likelihood - equal), rel=1e-12)
    assert fit.lrt_p == pytest.approx(0.5 * stats.chi2.sf(fit.lrt, 1), rel=1e-9)
    assert fit.aic == pytest.approx(4 - 2 * fit.log_likelihood, rel=1e-14)

    add = np.where((X == 0) | (X == N), 0.5, 0.0)
    y, v = np.log((X + add) / (N - X + add)), 1 / (X + add) + 1 / (N - X + add)
    w = 1 / v
    typical = (k - 1) * w.sum() / (w.sum() ** 2 - (w * w).sum())
    q = float((w * (y - (w * y).sum() / w.sum()) ** 2).sum())
    assert d["typical_variance"] == pytest.approx(typical, rel=1e-12)
    assert fit.i2 == pytest.approx(100 * fit.tau2 / (fit.tau2 + typical), rel=1e-12)
    assert d["h2"] == pytest.approx(1 + fit.tau2 / typical, rel=1e-12)
    assert d["q_inverse_variance"] == pytest.approx(q, rel=1e-12)
    assert d["i2_q"] == pytest.approx(100 * (q - (k - 1)) / q, rel=1e-12)

    spread = math.sqrt(fit.tau2 + fit.se**2)
    quantiles = {
        "t(k-1)": stats.t.isf(0.05, k - 1),
        "t(k-2)": stats.t.isf(0.05, k - 2),
        "normal": stats.norm.isf(0.05),
    }
    assert set(d["pi_link"]) == set(quantiles)
    shown = {"t(k-1)": (fit.pi_low, fit.pi_high), "t(k-2)": d["pi_t_k2"], "normal": d["pi_normal"]}
    for name, quantile in quantiles.items():
        band = (fit.mu - quantile * spread, fit.mu + quantile * spread)
        assert d["pi_link"][name] == pytest.approx(band, rel=1e-12)
        assert shown[name] == pytest.approx(special.expit(band), rel=1e-12)

    _, given, logit = posterior(fit.mu, fit.tau2)
    mean = given @ logit
    variance = given @ logit**2 - mean**2
    assert d["shrunken_logit"] == pytest.approx(mean, rel=1e-9)
    assert d["shrunken_variance"] == pytest.approx(variance, rel=1e-9)
    assert d["shrunken"] == pytest.approx(given @ special.expit(logit), rel=1e-9)
    information = (fit.tau2 - variance) / fit.tau2**2
    assert fit.weight == pytest.approx(information / information.sum(), rel=1e-9)

    words = {name: value for name, value in d.items() if isinstance(value, str)}
    assert words == {
        "i2_method": "tau2 and typical variance",
        "q_method": "likelihood ratio, saturated against equal effects",
        "pi_method": "t(k-1)",
        "tau2_ci_method": "profile likelihood, chi-square(1)",
        "marginal_method": "delta method on the logit of the expected proportion",
    }
    assert set(d) - set(words) == {
        "mu_ci",
        "covariance",
        "modes",
        "h2",
        "typical_variance",
        "log_likelihood_equal_effects",
        "log_likelihood_saturated",
        "mu_equal_effects",
        "q_inverse_variance",
        "i2_q",
        "pi_link",
        "pi_t_k2",
        "pi_normal",
        "shrunken",
        "shrunken_logit",
        "shrunken_variance",
    }
    assert d["modes"] == 1


@pytest.mark.parametrize("name", glmm.INTERVALS)
def test_average_proportion_and_its_interval(fits: dict[str, Fit], name: str) -> None:
    fit, h = fits[name], 1e-5
    assert fit.marginal_estimate == pytest.approx(average(fit.mu, fit.tau2), rel=1e-10)

    def link(mu: float, tau2: float) -> float:
        return float(special.logit(average(mu, tau2)))

    gradient = np.array(
        [
            link(fit.mu + h, fit.tau2) - link(fit.mu - h, fit.tau2),
            link(fit.mu, fit.tau2 + h) - link(fit.mu, fit.tau2 - h),
        ]
    ) / (2 * h)
    se = math.sqrt(gradient @ fit.details["covariance"] @ gradient)
    quantile = stats.norm.isf(0.05) if name == "wald" else stats.t.isf(0.05, 5)
    center = link(fit.mu, fit.tau2)
    expected = special.expit([center - quantile * se, center + quantile * se])
    assert fit.marginal_ci == pytest.approx(expected, rel=1e-8)


def test_without_variance_between_trials() -> None:
    x, n = np.array([10, 12, 8, 5, 7]), np.array([30, 33, 26, 16, 20])
    fit = fit_glmm(x, n, interval="t")
    p = x.sum() / n.sum()
    information = n * p * (1 - p)
    assert (fit.tau2, fit.lrt, fit.lrt_p, fit.i2) == (0.0, 0.0, 1.0, 0.0)
    assert fit.details["covariance"] == pytest.approx(
        np.array([[1 / information.sum(), 0], [0, 0]]), rel=1e-12
    )
    assert fit.weight == pytest.approx(n / n.sum(), rel=1e-12)
    assert fit.details["shrunken"] == pytest.approx(np.full(5, p), rel=1e-12)
    assert fit.details["shrunken_logit"] == pytest.approx(np.full(5, fit.mu), rel=1e-12)
    assert fit.details["shrunken_variance"].tolist() == [0.0] * 5
    assert fit.details["i2_q"] == 0.0
    assert fit.details["h2"] == 1.0
    half = stats.t.isf(0.025, 4) / math.sqrt(information.sum())
    assert fit.details["mu_ci"] == pytest.approx((fit.mu - half, fit.mu + half), rel=1e-12)
    assert fit.marginal_estimate == pytest.approx(p, rel=1e-12)
    assert fit.marginal_ci == pytest.approx((fit.ci_low, fit.ci_high), rel=1e-9)
    assert fit.notes == (BOUNDARY,)
    same = fit_glmm([5, 5], [10, 10], interval="t")
    assert (same.details["q_inverse_variance"], same.details["i2_q"]) == (0.0, 0.0)


def test_defaults_are_the_profile_interval_at_95_percent() -> None:
    fit = fit_glmm(X, N)
    told = fit_glmm(
        X, N, interval="profile", level=0.95, study_interval="wilson", tau2_interval=True
    )
    assert fit.to_dict() == told.to_dict()
    short = fit_glmm(
        X, N, tau2_interval=False, labels=list("abcdef"), study_interval="clopper-pearson"
    )
    assert short.tau2_ci is None
    assert short.labels == tuple("abcdef")
    low, high = clopper_pearson(X, N, 0.95)
    np.testing.assert_array_equal([short.study_ci_low, short.study_ci_high], [low, high])
    changed = ("tau2_ci", "studies")
    whole, rest = fit.to_dict(), short.to_dict()
    assert {k: v for k, v in whole.items() if k not in changed} == {
        k: v for k, v in rest.items() if k not in changed
    }


# ------------------------------------------------------------------ sentences for a reader

TWO = (
    "Two trials: the between-trial variance is barely identified and no prediction interval is "
    "given."
)
FEW = "Fewer than five trials: the prediction interval is very imprecise."
BOUNDARY = "The between-trial variance is estimated at its boundary, zero."
LOWER, UPPER = (
    f"The profile likelihood does not fall to the cut-off on the {side} side: that limit is the "
    "end of the scale."
    for side in ("lower", "upper")
)
NO_TOP = "The profile likelihood sets no upper limit to the between-trial variance."
EMPTY = (
    "No trial has an event: the likelihood has no finite maximum, the estimate is the limit 0, "
    "and the upper end of the interval is a one-sided profile limit."
)
FULL = (
    "No trial lacks the event: the likelihood has no finite maximum, the estimate is the limit 1, "
    "and the lower end of the interval is a one-sided profile limit."
)
EQUAL_UPPER, EQUAL_LOWER = (
    "With the between-trial variance free the profile never falls to the cut-off, so the "
    f"{side} limit is the one under equal effects."
    for side in ("upper", "lower")
)
ENDS = (
    "Every trial has no events or only events, and both occur: the likelihood rises as the "
    "between-trial variance grows without limit, so the median trial is not estimable.",
    "The population-averaged proportion tends to the share of trials with only events; its "
    "interval treats each trial as one observation.",
)
ONE_SIDE = "The profile likelihood still bounds the median trial on one side."
SINGLE = (
    "Every trial has one patient: the likelihood depends on the population-averaged proportion "
    "alone, so the median trial and the between-trial variance are not estimable."
)


@pytest.mark.parametrize(
    ("x", "n", "interval", "level", "notes"),
    [
        ([3], [12], "wald", 0.95, ("One trial only: it is shown and not pooled.",)),
        ([1, 9], [12, 13], "wald", 0.95, (TWO,)),
        ([10, 12, 8], [30, 33, 26], "wald", 0.95, (FEW, BOUNDARY)),
        ([2, 20, 9, 1], [20, 25, 18, 12], "wald", 0.95, (FEW,)),
        ([2, 20, 9, 1, 14], [20, 25, 18, 12, 30], "wald", 0.95, ()),
        ([1, 0], [2, 30], "profile-t", 0.95, (TWO, LOWER, UPPER)),
        ([1, 0], [2, 30], "bartlett", 0.95, (TWO, LOWER)),
        ([1, 30], [2, 30], "bartlett", 0.95, (TWO, UPPER)),
        ([3, 95], [277, 95], "wald", 0.999, (TWO, NO_TOP)),
        (
            [9, 0],
            [15, 3],
            "wald",
            0.95,
            (TWO, "The likelihood has 2 maxima; the highest is reported."),
        ),
        ([0, 0, 0], [20, 30, 14], "profile", 0.95, (EMPTY,)),
        ([5, 6, 9], [5, 6, 9], "profile", 0.95, (FULL,)),
        ([0, 0], [20, 30], "profile", 0.95, (EMPTY, EQUAL_UPPER)),
        ([5, 6], [5, 6], "profile", 0.95, (FULL, EQUAL_LOWER)),
        ([0, 6], [5, 6], "profile", 0.95, ENDS),
        ([9, *[0] * 9], [9, *[7] * 9], "profile", 0.95, (*ENDS, ONE_SIDE)),
        ([0, *[7] * 9], [9, *[7] * 9], "profile", 0.95, (*ENDS, ONE_SIDE)),
        ([0, 1, 1], [1, 1, 1], "profile", 0.95, (SINGLE,)),
    ],
)
def test_sentences_word_by_word(
    x: list[int], n: list[int], interval: str, level: float, notes: tuple[str, ...]
) -> None:
    fit = fit_glmm(x, n, interval=interval, level=level)
    assert fit.notes == notes


def test_sentences_about_how_the_maximum_was_found() -> None:
    arrays = {name: a[0] for name, a in glmm_arrays(X[None], N[None], "wald", 0.95).items()}
    base = fit_glmm(X, N, interval="wald")
    kept = ("model", "transform", "interval", "level", "k", "events", "total", "labels")
    studies = ("study_estimate", "study_ci_low", "study_ci_high")
    known = {name: getattr(base, name) for name in (*kept, *studies)}
    rough = glmm._regular_fit(known, X, N, {**arrays, "settled": np.False_, "modes": 3})
    assert not rough.converged
    assert rough.details["modes"] == 3
    assert rough.notes == (
        "The likelihood has 3 maxima; the highest is reported.",
        "The likelihood is so flat in the between-trial variance that its maximum was not "
        "located to the usual precision.",
    )


# ------------------------------------------------------------------ data without a finite maximum

UNKNOWN = (
    "mu", "se", "tau2", "pi_low", "pi_high", "i2", "q", "q_df", "q_p", "lrt", "lrt_p",
    "log_likelihood", "aic",
)  # fmt: skip


def never(n: np.ndarray, mu: float, tau2: float) -> float:
    """Log-likelihood of no event in any trial."""
    logit = mu + math.sqrt(tau2) * SCORE
    return float(np.log((np.exp(n[:, None] * special.log_expit(-logit)) * MASS).sum(axis=1)).sum())


@pytest.mark.parametrize("n", [[20, 30, 14, 9, 40], [1000, 5, 5], [12, 15]])
@pytest.mark.parametrize("interval", ["profile", "t"])
def test_no_event_and_no_patient_without_one_are_mirror_images(n: list[int], interval: str) -> None:
    size, k = np.array(n), len(n)
    cut = stats.chi2.isf(0.05, 1) if interval == "profile" else stats.t.isf(0.025, k - 1) ** 2
    none = fit_glmm([0] * k, n, interval=interval, labels=list("abcde")[:k])
    every = fit_glmm(n, n, interval=interval, labels=list("abcde")[:k])
    for fit in (none, every):
        assert [getattr(fit, name) for name in UNKNOWN] == [None] * len(UNKNOWN)
        assert (fit.tau2_ci, fit.marginal_estimate, fit.marginal_ci) == (None, None, None)
        assert (fit.converged, fit.interval, fit.level, fit.k) == (False, interval, 0.95, k)
        assert fit.labels == tuple("abcde")[:k]
        assert fit.weight == pytest.approx(size / size.sum(), rel=1e-15)
        assert set(fit.details) == {"mu_ci", "equal_effects_limit"}
        assert fit.study_estimate.tolist() == [fit.estimate] * k
        json.dumps(fit.to_dict(), allow_nan=False)
    assert (none.estimate, none.ci_low, every.estimate, every.ci_high) == (0.0, 0.0, 1.0, 1.0)
    equal = -math.expm1(-0.5 * cut / size.sum())
    assert none.details["equal_effects_limit"] == pytest.approx(equal, rel=1e-9)
    assert every.details["equal_effects_limit"] == pytest.approx(1 - equal, rel=1e-12)
    low, high = none.details["mu_ci"]
    assert every.details["mu_ci"] == (-high, -low)
    assert (low, special.expit(high)) == (-math.inf, pytest.approx(none.ci_high, rel=1e-12))
    assert every.ci_low == pytest.approx(1 - none.ci_high, rel=1e-12)
    if 2 * k * math.log(2) <= cut:
        assert none.ci_high == pytest.approx(equal, rel=1e-9)
        return
    # the profile over tau2 has fallen by the cut-off at the limit
    best = max(never(size, high, 0.0), highest(lambda s: never(size, high, math.exp(s)), -4, 9))
    assert -2 * best == pytest.approx(cut, rel=1e-6)


def test_heterogeneity_moves_a_one_sided_limit_beyond_that_of_equal_effects() -> None:
    fit = fit_glmm([0, 0, 0], [1000, 5, 5])
    assert fit.ci_high > 3 * fit.details["equal_effects_limit"]


@pytest.mark.parametrize(
    ("full", "k", "level", "bounded"),
    # with x full trials of k the profile falls to -k log 2 at most
    [(1, 5, 0.95, False), (1, 8, 0.95, True), (1, 10, 0.95, True), (1, 10, 0.99, True),
     (3, 6, 0.95, False), (3, 10, 0.95, False), (2, 12, 0.99, False), (2, 12, 0.9, True)],
)  # fmt: skip
def test_all_or_none_trials_by_definition(full: int, k: int, level: float, bounded: bool) -> None:
    n = np.full(k, 7)
    x = np.where(np.arange(k) < full, n, 0)
    fit = fit_glmm(x, n, level=level)
    mirror = fit_glmm(n - x, n, level=level)
    top = full * math.log(full / k) + (k - full) * math.log(1 - full / k)
    cut = stats.chi2.isf(1 - level, 1)
    assert (2 * (top + k * math.log(2)) > cut) == bounded
    for one in (fit, mirror):
        assert [getattr(one, name) for name in UNKNOWN] == [None] * len(UNKNOWN)
        assert (one.estimate, one.converged) == (None, False)
        assert set(one.details) == {"mu_ci", "marginal_method", "tau2_ci_method"}
        assert one.details["marginal_method"] == "Clopper-Pearson, trials as the unit"
        assert one.details["tau2_ci_method"] == "profile likelihood, chi-square(1)"
        assert one.notes == ((*ENDS, ONE_SIDE) if bounded else ENDS)
        assert one.weight == pytest.approx(np.full(k, 1 / k))
        json.dumps(one.to_dict(), allow_nan=False)
    assert fit.marginal_estimate == full / k
    assert mirror.marginal_estimate == (k - full) / k
    exact = [stats.beta.ppf(0.5 - level / 2, full, k - full + 1)]
    exact.append(stats.beta.isf(0.5 - level / 2, full + 1, k - full))
    assert fit.marginal_ci == pytest.approx(exact, rel=1e-9)
    assert mirror.marginal_ci == pytest.approx((1 - exact[1], 1 - exact[0]), rel=1e-9)

    def value(mu: float, tau2: float) -> float:
        # trials of one patient's worth of information: the mass of both ends
        logit = mu + math.sqrt(tau2) * SCORE
        ends = [float(np.exp(7 * special.log_expit(s * logit)) @ MASS) for s in (1, -1)]
        return full * math.log(ends[0]) + (k - full) * math.log(ends[1])

    low, high = fit.details["mu_ci"]
    assert low == -math.inf
    assert (fit.ci_low, fit.ci_high) == (0.0, pytest.approx(special.expit(high)))
    assert mirror.details["mu_ci"] == pytest.approx((-high, -low), rel=1e-9)
    assert (mirror.ci_low, mirror.ci_high) == pytest.approx((1 - fit.ci_high, 1.0), abs=1e-12)
    if bounded:
        best = highest(lambda s: value(high, math.exp(s)), -2, 9)
        assert 2 * (top - best) == pytest.approx(cut, rel=1e-6)
    else:
        assert high == math.inf
    assert fit.tau2_ci[1] == math.inf
    assert mirror.tau2_ci == pytest.approx(fit.tau2_ci, rel=1e-6)
    least = fit.tau2_ci[0]
    if 2 * (top - value(special.logit(full / k), 0.0)) > cut:
        best = highest(lambda m: value(m, least), -30, 10)
        assert 2 * (top - best) == pytest.approx(cut, rel=1e-6)
    else:
        assert least == 0.0


def test_few_all_or_none_trials_allow_that_nothing_varies() -> None:
    low, high, least = separated_limits(np.array([0, 1, 1]), np.array([1, 1, 2]), 0.95, 1.92)
    assert (low, high, least) == (-math.inf, math.inf, 0.0)


def test_one_patient_per_trial_tells_of_the_average_alone() -> None:
    fit = fit_glmm([0, 1, 1, 1], [1, 1, 1, 1], level=0.9)
    assert [getattr(fit, name) for name in UNKNOWN] == [None] * len(UNKNOWN)
    assert (fit.estimate, fit.ci_low, fit.ci_high, fit.tau2_ci) == (None, None, None, None)
    assert fit.marginal_estimate == 0.75
    low, high = clopper_pearson(np.array(3), np.array(4), 0.9)
    assert fit.marginal_ci == (float(low), float(high))
    assert fit.details == {"marginal_method": "Clopper-Pearson, trials as the unit"}
    assert not fit.converged
    assert fit.weight.tolist() == [0.25] * 4
    one = fit_glmm([3], [12])
    assert (one.estimate, one.ci_low, one.details, one.weight.tolist()) == (None, None, {}, [1.0])


@pytest.mark.parametrize("interval", glmm.INTERVALS)
def test_many_data_sets_equal_each_alone_in_every_array(interval: str) -> None:
    x = np.array(
        [[2, 20, 9, 1], [0, 0, 0, 0], [10, 12, 8, 9], [5, 6, 9, 7], [0, 6, 0, 0], [0, 1, 0, 1],
         [0, 0, 0, 0], [0, 0, 0, 1], [5, 6, 9, 7], [0, 6, 0, 0]]
    )  # fmt: skip
    n = np.array(
        [[20, 25, 18, 12], [20, 30, 14, 9], [30, 33, 26, 27], [5, 6, 9, 7], [5, 6, 9, 7],
         [1, 1, 1, 1], [5, 6, 9, 7], [20, 30, 14, 9], [5, 6, 9, 7], [5, 6, 9, 7]]
    )  # fmt: skip
    kinds = [
        glmm.OK, glmm.EMPTY, glmm.OK, glmm.FULL, glmm.SEPARATED, glmm.SINGLE, glmm.EMPTY, glmm.OK,
        glmm.FULL, glmm.SEPARATED,
    ]  # fmt: skip
    many = glmm_arrays(x, n, interval, 0.95)
    assert many["status"].tolist() == kinds
    assert (many["settled"].dtype, many["modes"].dtype.kind) == (bool, "i")
    alone = [glmm_arrays(x[[i]], n[[i]], interval, 0.95) for i in range(len(x))]
    quick = glmm_arrays(x, n, interval, 0.95, tau2_interval=False)
    with_table = glmm_arrays(x, n, interval, 0.95, table=engine.ScanTable(x, n, 10**6))
    regular = np.array(kinds) == glmm.OK
    for name, array in many.items():
        if name == "status":
            continue
        each = np.array([a[name][0] for a in alone])
        np.testing.assert_allclose(array, each, rtol=1e-7, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(with_table[name], array, rtol=1e-7, atol=1e-9, err_msg=name)
        if name in ("tau2_low", "tau2_high"):
            assert np.isnan(quick[name][regular]).all()
        np.testing.assert_array_equal(quick[name][~regular], array[~regular])
        if name in ("ci_low", "ci_high"):
            assert np.isnan(array).tolist() == [kind == glmm.SINGLE for kind in kinds]
        elif name in ("tau2_low", "tau2_high"):
            wanted = [kind in (glmm.OK, glmm.SEPARATED) for kind in kinds]
            assert (~np.isnan(array)).tolist() == wanted
        elif name in ("modes", "settled"):
            assert (array != 0).tolist() == regular.tolist()
        else:
            assert np.isnan(array).tolist() == (~regular).tolist(), name
    assert glmm_arrays(x[:, :1], n[:, :1], interval, 0.95)["status"].tolist() == [glmm.ONE] * 10


@pytest.mark.parametrize("drop", [1e-8, 0.5, 30.0, 900.0, 5000.0])
def test_equal_effects_limit_has_the_drop_at_any_size(drop: float) -> None:
    n = np.array([1, 2, 4])
    limit = glmm.equal_effects_limit(n, drop)
    # log(1 + e^mu) without overflow
    assert 7.0 * np.logaddexp(0.0, limit) == pytest.approx(drop, rel=1e-12)


@pytest.mark.parametrize(
    ("x", "n", "level"),
    [([0, 0], [1, 1], 0.99), ([0, 3, 0, 0, 0, 1], [1, 3, 3, 3, 3, 3], 0.999)],
    ids=["no events", "one trial full"],
)
def test_far_limits_give_no_arithmetic_warning(x: list[int], n: list[int], level: float) -> None:
    fit, mirror = (
        pool(events, n, interval="profile-t", level=level)
        for events in (x, [b - a for a, b in zip(x, n, strict=True)])
    )
    assert fit.ci_high == 1.0
    assert (mirror.ci_low, mirror.ci_high) == pytest.approx(
        (1.0 - fit.ci_high, 1.0 - fit.ci_low), abs=1e-9
    )
