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
from scipy import integrate, special

from analysis.pooling import bayes, pool, quadrature
from analysis.pooling.bayes import fit_bayes

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "exact_bayes.json").read_text("utf-8")
)
X = [3, 8, 14, 10, 7, 2, 12, 5, 20, 9, 4]
N = [5, 14, 24, 15, 9, 10, 16, 6, 26, 32, 8]


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
