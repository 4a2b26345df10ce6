"""Bayesian pooling against brute-force integration and its own laws.

Tolerance against tests/reference/exact_bayes.json: 1e-9 absolute on moments and probabilities.
Measured differences are below 4e-12; the reference itself (Gauss-Legendre panels in double
precision; mpmath for the normal likelihood) is good to about 1e-12.
"""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from analysis.pooling import bayes, pool, quadrature
from analysis.pooling.bayes import fit_bayes
from analysis.pooling.effects import effect_sizes
from analysis.pooling.proportion import wilson

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "exact_bayes.json").read_text("utf-8")
)
X = [3, 8, 14, 10, 7, 2, 12, 5, 20, 9, 4]
N = [5, 14, 24, 15, 9, 10, 16, 6, 26, 32, 8]


@pytest.fixture(autouse=True)
def _nothing_remembered():
    """Each test computes its posteriors itself."""
    bayes._solved.cache_clear()


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda c: c["name"])
def test_posterior_agrees_with_brute_force(case):
    fit = fit_bayes(
        case["events"],
        case["total"],
        model=case["model"],
        tau_scale=case["tau_scale"],
        mu_scale=case["mu_scale"],
    )
    post, value = fit.posterior, case["value"]
    d = fit.details
    got = {
        "mu": d["mu"]["mean"],
        "mu2": d["mu"]["sd"] ** 2 + d["mu"]["mean"] ** 2,
        "tau": d["tau"]["mean"],
        "tau2": d["tau"]["sd"] ** 2 + d["tau"]["mean"] ** 2,
        "cdf_mu": post.mu_cdf(REFERENCE["mu_at"]),
        "cdf_tau": post.tau_cdf(REFERENCE["tau_at"]),
        "cdf_next": 1.0 - fit.prob_next_exceeds(REFERENCE["rate_at"]),
        "log_evidence": d["log_evidence"],
    }
    if case["model"] == "glmm":
        got["p"] = d["proportion"]["mean"]
        got["avg"] = d["marginal"]["mean"]
        got["cdf_avg"] = post.marginal_cdf(REFERENCE["rate_at"])
        got["avg2"] = d["next_rate"]["sd"] ** 2 + d["next_rate"]["mean"] ** 2
    for name, number in got.items():
        assert number == pytest.approx(value[name], abs=1e-9), name


@pytest.mark.parametrize("events", [X, [0] * 11, N])
def test_quantiles_invert_their_distribution_functions(events):
    fit = fit_bayes(events, N, level=0.9)
    post = fit.posterior
    for prob in (0.05, 0.5, 0.95):
        assert post.mu_cdf(post.mu_quantile(prob)) == pytest.approx(prob, abs=1e-10)
        assert post.tau_cdf(post.tau_quantile(prob)) == pytest.approx(prob, abs=1e-10)
        rate = post.next_rate_quantile(prob)
        assert post.next_rate_cdf(rate) == pytest.approx(prob, abs=1e-9)
        assert post.marginal_cdf(post.marginal_quantile(prob)) == pytest.approx(prob, abs=1e-9)
    assert fit.ci_low == pytest.approx(special.expit(post.mu_quantile(0.05)), rel=1e-12)
    assert fit.pi_high == pytest.approx(post.next_rate_quantile(0.95), rel=1e-12)
    assert fit.tau2_ci[1] == pytest.approx(post.tau_quantile(0.95) ** 2, rel=1e-12)
    assert fit.marginal_ci[0] == pytest.approx(post.marginal_quantile(0.05), rel=1e-12)


def test_tiny_tau_prior_is_one_binomial():
    """With tau pressed to 0 the posterior of mu is a one-dimensional integral."""
    x, n = sum(X), sum(N)

    def density(m):
        log = x * special.log_expit(m) + (n - x) * special.log_expit(-m) - m * m / 12.5
        return math.exp(log + 120.0)

    total, _ = integrate.quad(density, -3, 3, epsabs=0, epsrel=1e-12, points=[0.4])
    below, _ = integrate.quad(density, -3, 0.3, epsabs=0, epsrel=1e-12)
    fit = fit_bayes(X, N, tau_scale=1e-4)
    # tau of order 1e-4 moves the posterior by terms of order tau^2
    assert fit.posterior.mu_cdf(0.3) == pytest.approx(below / total, abs=1e-6)
    assert fit.pi_low == pytest.approx(fit.ci_low, abs=1e-5)


def test_prior_is_returned_where_the_data_say_nothing_about_tau():
    """One patient per trial, one trial: the posterior of tau is nearly its half-normal prior."""
    fit = fit_bayes([1], [1])
    assert fit.posterior.tau_cdf(1.0) == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.02)


def test_thresholds_and_their_monotonicity():
    fit = fit_bayes(X, N, thresholds=[0.3, 0.5])
    assert fit.details["prob_next_exceeds"]["0.3"] == pytest.approx(fit.prob_next_exceeds(0.3))
    grid = [fit.prob_next_exceeds(r) for r in np.linspace(0, 1, 41)]
    assert grid[0] == 1.0
    assert grid[-1] == 0.0
    assert all(a >= b for a, b in pairwise(grid))
    assert fit.prob_median_exceeds(fit.estimate) == pytest.approx(0.5)
    assert (fit.prob_median_exceeds(0), fit.prob_median_exceeds(1)) == (1.0, 0.0)
    for bad in (-0.1, 1.5, "0.5", True, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            fit.prob_next_exceeds(bad)


@pytest.mark.parametrize("model", ["glmm", "normal"])
def test_extreme_sets_have_a_posterior(model):
    zero = fit_bayes([0, 0, 0], [5, 8, 3], model=model)
    full = fit_bayes([5, 8, 3], [5, 8, 3], model=model)
    both = fit_bayes([0, 8, 0], [5, 8, 3], model=model)
    assert 0 < zero.ci_low < zero.estimate < zero.ci_high < 0.5
    assert full.estimate == pytest.approx(1 - zero.estimate, abs=1e-10)
    assert full.ci_low == pytest.approx(1 - zero.ci_high, abs=1e-9)
    assert full.pi_low == pytest.approx(1 - zero.pi_high, abs=1e-9)
    assert "rests on the prior" in " ".join(zero.notes)
    assert "rests on the prior" in " ".join(full.notes)
    assert both.tau2 > zero.tau2
    assert both.ci_high - both.ci_low > zero.ci_high - zero.ci_low


def test_one_trial_is_shown_with_its_posterior():
    fit = fit_bayes([2], [5])
    assert fit.estimate is None
    assert fit.ci_low is None
    assert 0.2 < fit.details["proportion"]["median"] < 0.6
    assert "not pooled" in fit.notes[0]
    json.dumps(fit.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("events", "total"),
    [([5, 3_000_000], [10, 10_000_000]), ([1, 0], [1, 1]), ([3_000_000, 3_000_100], [10**7] * 2)],
)
def test_very_unequal_trials(events, total):
    fit = fit_bayes(events, total)
    assert 0 < fit.pi_low < fit.ci_low < fit.estimate < fit.ci_high < fit.pi_high < 1
    assert fit.posterior.mass.sum() == pytest.approx(1.0, abs=1e-12)
    # other points of the same integral: the scale of tau's working variable moves all of them
    x, n = np.array(events), np.array(total)
    lik = bayes._binomial_likelihood(quadrature.prepare(x, n))
    within = fit.posterior.scale
    for factor in (0.6, 1.7):
        other = bayes._posterior(lik, fit.mu, factor * within, 1.0, 2.5)
        assert other.mu_quantile(0.975) == pytest.approx(special.logit(fit.ci_high), abs=1e-7)
        assert other.tau_quantile(0.5) == pytest.approx(math.sqrt(fit.tau2), rel=1e-7)


def test_many_large_trials_give_a_narrow_posterior():
    """A hundred trials of 100,000: tau is known well, and the grid must follow."""
    rng = np.random.default_rng(8)
    n = np.full(100, 100_000)
    x = rng.binomial(n, special.expit(0.3 + 0.02 * rng.standard_normal(100)))
    fit = fit_bayes(x, n)
    lik = bayes._binomial_likelihood(quadrature.prepare(x, n))
    other = bayes._posterior(lik, fit.mu, 2.0 * fit.posterior.scale, 1.0, 2.5)
    assert other.mu_quantile(0.975) == pytest.approx(special.logit(fit.ci_high), abs=1e-9)
    assert other.tau_quantile(0.975) == pytest.approx(math.sqrt(fit.tau2_ci[1]), rel=1e-7)
    normal = fit_bayes(x, n, model="normal")
    # at these sizes the binomial likelihood is normal to three digits
    assert fit.tau2 == pytest.approx(normal.tau2, rel=1e-3)


def test_ends_of_the_proportion_scale():
    post = fit_bayes(X, N).posterior
    for cdf in (post.marginal_cdf, post.next_rate_cdf):
        assert (cdf(0.0), cdf(1.0)) == (0.0, 1.0)
    assert post.tau_cdf(0.0) == 0.0


def test_to_dict_is_json_and_pool_dispatches():
    fit = pool(X, N, "bayes", tau_scale=0.5)
    out = json.loads(json.dumps(fit.to_dict(), allow_nan=False))
    assert out["details"]["tau_scale"] == 0.5
    assert "posterior" not in out
    assert fit.estimate == fit_bayes(X, N, tau_scale=0.5).estimate
    assert fit.weight.sum() == pytest.approx(1.0)
    assert fit.interval == "credible"


def test_wider_tau_prior_widens_the_prediction():
    widths = [
        (lambda f: f.pi_high - f.pi_low)(fit_bayes(X[:4], N[:4], tau_scale=s))
        for s in (0.5, 1.0, 2.0)
    ]
    assert widths[0] < widths[1] < widths[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "reml"}, "model"),
        ({"tau_scale": 0.0}, "tau_scale"),
        ({"tau_scale": math.inf}, "tau_scale"),
        ({"mu_scale": "wide"}, "mu_scale"),
        ({"interval": "wald"}, "interval"),
        ({"level": 0}, "level"),
        ({"thresholds": [2.0]}, "between 0 and 1"),
    ],
)
def test_wrong_input_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fit_bayes([1, 2], [3, 4], **options)


def test_quantile_needs_a_probability():
    with pytest.raises(ValueError, match="probability"):
        fit_bayes([1, 2], [3, 4]).posterior.mu_quantile(1.0)


trials = st.lists(
    st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    min_size=2,
    max_size=6,
)


@settings(max_examples=12, deadline=None)
@given(trials, st.sampled_from(["glmm", "normal"]), st.randoms(use_true_random=False))
def test_order_does_not_matter_and_complement_mirrors(rows, model, random):
    x, n = (np.array(c) for c in zip(*rows, strict=True))
    fit = fit_bayes(x, n, model=model)
    order = list(range(len(rows)))
    random.shuffle(order)
    other = fit_bayes(x[order], n[order], model=model)
    mirror = fit_bayes(n - x, n, model=model)
    assert other.estimate == pytest.approx(fit.estimate, abs=1e-9)
    assert mirror.estimate == pytest.approx(1 - fit.estimate, abs=1e-9)
    assert mirror.pi_low == pytest.approx(1 - fit.pi_high, abs=1e-8)
    assert mirror.tau2 == pytest.approx(fit.tau2, rel=1e-8)
    assert fit.ci_low < fit.estimate < fit.ci_high
    assert fit.pi_low < fit.ci_low
    assert fit.ci_high < fit.pi_high


def test_inconsistency_by_its_definition():
    fit = fit_bayes(X, N)
    x, n = np.array(X, dtype=float), np.array(N, dtype=float)
    assert ((x > 0) & (x < n)).all()
    w = 1.0 / (1.0 / x + 1.0 / (n - x))
    typical = (len(X) - 1) * w.sum() / (w.sum() ** 2 - (w * w).sum())
    assert fit.i2 == pytest.approx(100.0 * fit.tau2 / (fit.tau2 + typical), rel=1e-12)


def test_the_average_proportion_lies_between_0_and_1():
    post = fit_bayes(X, N).posterior
    assert [post.marginal_cdf(p) for p in (-0.1, 0.0, 1.0, 1.2)] == [0.0, 0.0, 1.0, 1.0]


def conjugate(y, v, tau_scale, mu_scale, first=1e-3):
    """The normal model in closed form at each tau: weights, means and variances of mu, evidence.

    Given tau the data and the prior of mu are normal, so only tau is integrated (panels of
    Gauss-Legendre nodes, finer toward zero).
    """
    node, weight = np.polynomial.legendre.leggauss(16)
    edges = np.concatenate([[0.0], tau_scale * np.geomspace(first, 9.0, 40)])
    half = 0.5 * np.diff(edges)
    tau = (0.5 * (edges[:-1] + edges[1:])[:, None] + half[:, None] * node).ravel()
    panel = (half[:, None] * weight).ravel()
    w = 1.0 / (v + tau[:, None] ** 2)
    precision = w.sum(axis=1) + mu_scale**-2
    mean = (w * y).sum(axis=1) / precision
    log = 0.5 * np.log(w / (2 * np.pi)).sum(axis=1) - 0.5 * (w * y * y).sum(axis=1)
    log += 0.5 * precision * mean**2 - 0.5 * np.log(precision * mu_scale**2)
    log += math.log(2.0) + stats.norm.logpdf(tau, 0.0, tau_scale)
    peak = log.max()
    mass = panel * np.exp(log - peak)
    return tau, mean, 1.0 / precision, mass / mass.sum(), peak + math.log(mass.sum())


@pytest.mark.parametrize(
    "x,n,tau_scale,mu_scale",
    [
        ([3, 8, 2, 9], [9, 12, 10, 14], 1.0, 2.5),
        ([3, 8, 2, 9, 5, 6], [9, 12, 10, 14, 9, 11], 0.5, 0.1),
        ([40, 55], [90, 100], 2.0, 1.0),
        ([0, 1, 5], [5, 2, 5], 0.2, 5.0),
        ([1], [3], 1.0, 0.3),
    ],
)
def test_the_normal_model_in_closed_form(x, n, tau_scale, mu_scale):
    y, v = effect_sizes(x, n)
    fit = fit_bayes(x, n, model="normal", tau_scale=tau_scale, mu_scale=mu_scale, level=0.8)
    post, d = fit.posterior, fit.details
    tau, mean, variance, mass, evidence = conjugate(y, v, tau_scale, mu_scale)
    mu_mean = float((mass * mean).sum())
    mu_sd = math.sqrt(float((mass * (variance + (mean - mu_mean) ** 2)).sum()))
    tau_mean, tau_square = float((mass * tau).sum()), float((mass * tau**2).sum())
    assert d["log_evidence"] == post.log_evidence == pytest.approx(evidence, abs=1e-9)
    assert (d["mu"]["mean"], d["mu"]["sd"]) == pytest.approx((mu_mean, mu_sd), rel=1e-9, abs=1e-10)
    assert d["tau"]["mean"] == pytest.approx(tau_mean, rel=1e-8)
    assert d["tau"]["sd"] == pytest.approx(math.sqrt(tau_square - tau_mean**2), rel=1e-8)
    assert post._rough() == pytest.approx((mu_mean, mu_sd, math.sqrt(tau_square)), rel=1e-8)

    def mu_cdf(value, more=0.0):
        return float((mass * special.ndtr((value - mean) / np.sqrt(variance + more))).sum())

    def next_cdf(rate):
        return mu_cdf(special.logit(rate), tau**2)

    # the mean at which the average over trials is a given proportion, by bisection at each tau
    z, weight = np.polynomial.hermite_e.hermegauss(100)

    def average_cdf(rate):
        low, high = np.full(tau.shape, -60.0), np.full(tau.shape, 60.0)
        for _ in range(60):
            middle = 0.5 * (low + high)
            value = special.expit(middle[:, None] + tau[:, None] * z) @ weight / weight.sum()
            low, high = np.where(value < rate, middle, low), np.where(value < rate, high, middle)
        return float((mass * special.ndtr((low - mean) / np.sqrt(variance))).sum())

    for name, prob in (("low", 0.1), ("median", 0.5), ("high", 0.9)):
        assert mu_cdf(d["mu"][name]) == pytest.approx(prob, abs=1e-9)
        assert special.logit(d["proportion"][name]) == pytest.approx(d["mu"][name], abs=1e-12)
        assert next_cdf(d["next_rate"][name]) == pytest.approx(prob, abs=1e-8)
        assert average_cdf(d["marginal"][name]) == pytest.approx(prob, abs=1e-7)
        inside = tau <= d["tau"][name]
        # nodes of the reference do not stop at the quantile
        assert float(mass[inside].sum()) == pytest.approx(prob, abs=float(mass.max()))
    averages = (
        special.expit(mean[:, None] + np.sqrt(variance + tau**2)[:, None] * z)
        @ weight
        / weight.sum()
    )
    assert d["marginal"]["mean"] == pytest.approx(float((mass * averages).sum()), rel=1e-7)
    assert d["next_rate"]["mean"] == d["marginal"]["mean"]
    squares = (
        special.expit(mean[:, None] + np.sqrt(variance + tau**2)[:, None] * z) ** 2
        @ weight
        / weight.sum()
    )
    spread = float((mass * squares).sum()) - d["marginal"]["mean"] ** 2
    assert d["next_rate"]["sd"] == pytest.approx(math.sqrt(spread), rel=1e-6)
    rates = special.expit(mean[:, None] + np.sqrt(variance)[:, None] * z)
    first = float((mass * (rates @ weight)).sum() / weight.sum())
    second = float((mass * (rates**2 @ weight)).sum() / weight.sum())
    assert d["proportion"]["mean"] == pytest.approx(first, rel=1e-8)
    assert d["proportion"]["sd"] == pytest.approx(math.sqrt(second - first**2), rel=1e-6)
    for rate in (0.2, 0.55):
        assert fit.prob_next_exceeds(rate) == pytest.approx(1 - next_cdf(rate), abs=1e-8)
        right = 1 - mu_cdf(special.logit(rate))
        assert fit.prob_median_exceeds(rate) == pytest.approx(right, abs=1e-9)


@pytest.mark.parametrize("kind", ["glmm", "normal"])
def test_likelihoods_and_their_slopes_by_definition(kind):
    x, n = np.array([3, 0, 9]), np.array([9, 4, 12])
    y, v = effect_sizes(x, n)
    lik = (
        bayes._binomial_likelihood(quadrature.prepare(x, n))
        if kind == "glmm"
        else bayes._normal_likelihood(y, v)
    )
    mu, tau2 = np.array([[-1.0, 0.2, 1.5], [-0.4, 0.0, 3.0]]), np.array([[0.3], [1.7]])
    node, weight = np.polynomial.hermite_e.hermegauss(120)

    def value_at(m, t2):
        if kind == "normal":
            return float(stats.norm.logpdf(y, m, np.sqrt(v + t2)).sum())
        p = special.expit(m + math.sqrt(t2) * node)[:, None]
        return float(np.log(weight @ stats.binom.pmf(x, n, p) / weight.sum()).sum())

    plain, sloped = lik(mu, tau2, False), lik(mu, tau2, True)
    assert all(a.shape == (2, 3) for a in sloped)
    assert plain.first is plain.value and plain.second is plain.value
    h = 1e-3
    for t in range(2):
        for j in range(3):
            m, t2 = mu[t, j], tau2[t, 0]
            here, up, down = (value_at(a, t2) for a in (m, m + h, m - h))
            assert plain.value[t, j] == pytest.approx(here, rel=1e-10)
            assert sloped.value[t, j] == pytest.approx(here, rel=1e-10)
            assert sloped.first[t, j] == pytest.approx((up - down) / (2 * h), rel=1e-5)
            assert sloped.second[t, j] == pytest.approx((up - 2 * here + down) / h**2, rel=1e-5)
    # the mode of mu at each tau under its prior, with its height and curvature
    prior, start = 0.16, -7.0
    m, height, bend = bayes._mode(lik, tau2[:, 0], prior, start)
    for t in range(2):
        t2 = tau2[t, 0]
        here, up, down = (value_at(a, t2) - 0.5 * prior * a * a for a in (m[t], m[t] + h, m[t] - h))
        assert height[t] == pytest.approx(here, rel=1e-10)
        assert (up - down) / (2 * h) == pytest.approx(0.0, abs=1e-6)
        assert bend[t] == pytest.approx(-(up - 2 * here + down) / h**2, rel=1e-5)


PRIORS = "Priors: mu normal(0, 2.5), tau half-normal(1), logit scale."
FEW = "With fewer than five trials the prior of tau weighs in the intervals."
NO_EVENT = "No trial had an event: the lower end of the posterior rests on the prior."
ONLY = (
    "Every patient of every trial had the event: the upper end of the posterior rests on the prior."
)
NOTES = [
    (
        ([2], [5]),
        {},
        ("One trial: shown, not pooled. The posterior in the details knows tau from its prior "
         "alone.",),
    ),
    (([2, 3], [5, 5]), {}, (PRIORS, FEW)),
    (([2, 3, 1, 4], [5, 5, 5, 5]), {"model": "normal"}, (PRIORS, FEW)),
    (([2, 3, 1, 4, 0], [5] * 5), {}, (PRIORS,)),
    (([0, 0], [5, 5]), {}, (PRIORS, NO_EVENT, FEW)),
    (([0] * 5, [5] * 5), {}, (PRIORS, NO_EVENT)),
    (([5] * 5, [5] * 5), {}, (PRIORS, ONLY)),
    (([0, 5, 0, 5, 5], [5] * 5), {}, (PRIORS,)),
    (
        ([2, 3, 1, 4, 0], [5] * 5),
        {"tau_scale": 0.5, "mu_scale": 1},
        ("Priors: mu normal(0, 1), tau half-normal(0.5), logit scale.",),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("data", "options", "notes"), NOTES)
def test_every_note_word_by_word(data, options, notes):
    assert fit_bayes(*data, **options).notes == notes


@pytest.mark.parametrize("model", ["glmm", "normal"])
@pytest.mark.parametrize("x", [[3, 0, 9, 5], [0, 0, 0, 0], [4]])
def test_every_field_by_its_definition(x, model):
    n = [9, 4, 12, 8][: len(x)]
    k = len(x)
    options = {"tau_scale": 0.5, "mu_scale": 2.0, "level": 0.9}
    fit = fit_bayes(x, n, model=model, labels=range(k), thresholds=[0.25, 1], **options)
    d, post = fit.details, fit.posterior
    assert (fit.model, fit.transform, fit.interval) == ("bayes", "logit", "credible")
    assert (fit.level, fit.k, fit.labels) == (0.9, k, tuple(str(i) for i in range(k)))
    assert fit.events.tolist() == x and fit.total.tolist() == n and fit.converged
    assert fit.study_estimate.tolist() == [a / b for a, b in zip(x, n, strict=True)]
    own = wilson(x, n, 0.9)
    np.testing.assert_array_equal(fit.study_ci_low, own[0])
    np.testing.assert_array_equal(fit.study_ci_high, own[1])
    kind = "binomial" if model == "glmm" else "normal, known variances"
    words = {
        "likelihood": kind,
        "tau_scale": 0.5,
        "mu_scale": 2.0,
        "prior": "mu normal(0, 2), tau half-normal(0.5), logit scale",
        "tau2_ci_method": "equal-tailed credible interval of tau, squared",
        "pi_method": "posterior predictive distribution of the next trial's true proportion",
    }
    assert {name: d[name] for name in words} == words
    parts = {"mu", "tau", "marginal", "next_rate", "proportion"}
    assert set(d) == {*words, *parts, "log_evidence", "prob_next_exceeds"}
    assert all(set(d[a]) == {"mean", "sd", "median", "low", "high"} for a in parts)
    exceeds = {"0.25": fit.prob_next_exceeds(0.25), "1": 0.0}
    assert d["prob_next_exceeds"] == exceeds and 0 < exceeds["0.25"] < 1
    assert "prob_next_exceeds" not in fit_bayes(x, n, model=model, **options).details
    for prob, name in ((0.05, "low"), (0.5, "median"), (0.95, "high")):
        assert post.mu_cdf(d["mu"][name]) == pytest.approx(prob, abs=1e-9)
        assert post.tau_cdf(d["tau"][name]) == pytest.approx(prob, abs=1e-9)
        assert post.marginal_cdf(d["marginal"][name]) == pytest.approx(prob, abs=1e-9)
        assert post.next_rate_cdf(d["next_rate"][name]) == pytest.approx(prob, abs=1e-9)
    # the mean of a positive variable is the area above its distribution function
    area = integrate.quad(lambda t: 1 - post.tau_cdf(t), 0, 6, limit=200, epsabs=1e-10)[0]
    assert d["tau"]["mean"] == post.tau_mean() == pytest.approx(area, rel=1e-7)
    mu, tau = d["mu"]["median"], d["tau"]["median"]
    v = effect_sizes(x, n)[1]
    if model == "normal":
        share = 1 / (v + tau**2)
    else:
        trials = quadrature.prepare(np.array(x), np.array(n))
        share = np.array(
            [
                2 * quadrature.log_marginal(trials, mu, tau**2)[i]
                - quadrature.log_marginal(trials, mu + 1e-3, tau**2)[i]
                - quadrature.log_marginal(trials, mu - 1e-3, tau**2)[i]
                for i in range(k)
            ]
        )
    assert fit.weight == pytest.approx(share / share.sum(), rel=1e-5)
    if k == 1:
        names = (
            "estimate", "ci_low", "ci_high", "pi_low", "pi_high", "mu", "se", "tau2", "tau2_ci",
            "i2", "q", "q_df", "q_p", "marginal_estimate", "marginal_ci",
        )  # fmt: skip
        assert [getattr(fit, name) for name in names] == [None] * len(names)
    else:
        assert (fit.mu, fit.se, fit.tau2) == (mu, d["mu"]["sd"], tau**2)
        triple = (fit.ci_low, fit.estimate, fit.ci_high)
        assert triple == tuple(d["proportion"][a] for a in ("low", "median", "high"))
        assert triple == pytest.approx(
            special.expit([d["mu"][a] for a in ("low", "median", "high")]), rel=1e-12
        )
        assert (fit.pi_low, fit.pi_high) == (d["next_rate"]["low"], d["next_rate"]["high"])
        assert fit.tau2_ci == (d["tau"]["low"] ** 2, d["tau"]["high"] ** 2)
        assert fit.marginal_estimate == d["marginal"]["median"]
        assert fit.marginal_ci == (d["marginal"]["low"], d["marginal"]["high"])
        w = 1 / v
        typical = (k - 1) * w.sum() / (w.sum() ** 2 - (w * w).sum())
        assert fit.i2 == pytest.approx(100 * fit.tau2 / (fit.tau2 + typical), rel=1e-12)
        p = sum(x) / sum(n)
        q = stats.binom.logpmf(x, n, np.array(x) / n) - stats.binom.logpmf(x, n, p)
        assert fit.q == pytest.approx(2 * q.sum(), rel=1e-9, abs=1e-12)
        assert fit.q_df == k - 1
        assert fit.q_p == pytest.approx(special.chdtrc(k - 1, fit.q), rel=1e-12)
    assert (fit.lrt, fit.lrt_p, fit.log_likelihood, fit.aic) == (None,) * 4
    # what a caller does to one fit does not reach the next one
    d["mu"]["median"], fit.weight[0] = 99.0, 99.0
    again = fit_bayes(x, n, model=model, **options)
    assert again.details["mu"]["median"] == mu and again.weight.sum() == pytest.approx(1.0)


def test_an_inverse_by_brent_where_the_secant_fails():
    def cdf(x):
        return float(special.ndtr(x))

    for near in (None, (0.0, 0.0), (0.0, 1.0), (50.0, 1.0), (-39.0, 1e-3), (5.0, 30.0)):
        for prob in (1e-6, 0.3, 0.975):
            found = bayes._invert(cdf, prob, (-40.0, 40.0), near)
            assert found == pytest.approx(special.ndtri(prob), abs=1e-9), (near, prob)
    for prob in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(ValueError) as error:
            bayes._invert(cdf, prob, (-40.0, 40.0))
        sentence = f"a quantile needs a probability strictly between 0 and 1, got {prob!r}"
        assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"model": "reml"}, "unknown model 'reml': choose one of glmm, normal"),
        ({"interval": "wald"}, "unknown interval 'wald': choose one of credible"),
        ({"tau_scale": 0.0}, "tau_scale must be a positive finite number, got 0.0"),
        ({"mu_scale": "wide"}, "mu_scale must be a positive number, got 'wide'"),
        ({"level": 0}, "level must be strictly between 0 and 1, got 0"),
        ({"labels": ["a"]}, "labels must have one entry per study: 1 labels, 2 studies"),
        ({"thresholds": [2.0]}, "a threshold must be a proportion between 0 and 1, got 2.0"),
        ({"thresholds": [True]}, "a threshold must be a proportion between 0 and 1, got True"),
        ({"thresholds": ["1"]}, "a threshold must be a proportion between 0 and 1, got '1'"),
    ],
)
def test_refusals_word_by_word(options, sentence):
    with pytest.raises(ValueError) as error:
        fit_bayes([1, 2], [3, 4], **options)
    assert str(error.value) == sentence


def test_a_wide_prior_over_trials_that_know_their_rates():
    """tau over four powers of ten: the grid must stay fine although the posterior is flat."""
    x, n = [3_000_000] * 3, [10_000_000] * 3
    y, v = effect_sizes(x, n)
    tau, _mean, _variance, mass, evidence = conjugate(y, v, 10.0, 50.0, first=1e-5)
    d = fit_bayes(x, n, model="normal", tau_scale=10.0, mu_scale=50.0).details
    center = float((mass * tau).sum())
    assert d["tau"]["mean"] == pytest.approx(center, rel=1e-7)
    spread = float((mass * (tau - center) ** 2).sum())
    assert d["tau"]["sd"] == pytest.approx(math.sqrt(spread), rel=1e-7)
    assert d["log_evidence"] == pytest.approx(evidence, abs=1e-9)
