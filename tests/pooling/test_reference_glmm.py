"""The binomial-normal model against exact values, lme4 and metafor.

Exact values (tests/reference/make_exact.py, extended precision, no code of the project): 1e-6
relative is required; 1e-9 is held. They give no profile limit with |mu| > 40 and no tau beyond
150; there the limit must lie beyond that.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.pooling import pool
from analysis.pooling.quadrature import log_binomial_saturated

# tau2 of these is 300 and more: 25 nodes are far too few for lme4, 7 for metafor, and both stop
# at other values; the exact computation confirms ours
TOO_WIDE_FOR_QUADRATURE_OF_OTHERS = {"edges_10", "one_inner_6"}


def test_agrees_with_exact_values(counts, exact):
    assert set(exact) == set(counts)
    for dataset, values in exact.items():
        x, n = counts[dataset]
        fits = {name: pool(x, n, interval=name) for name in ("profile", "profile-t")}
        fit = fits["profile"]
        mine = {
            "mu": fit.mu,
            "se": fit.se,
            "tau2": fit.tau2,
            "log_likelihood": fit.log_likelihood,
            "log_likelihood_zero": fit.details["log_likelihood_equal_effects"],
            "marginal": fit.marginal_estimate,
            "tau2_low": fit.tau2_ci[0],
            "tau2_high": fit.tau2_ci[1],
        }
        for name, one in fits.items():
            mine[f"{name}_low"], mine[f"{name}_high"] = one.details["mu_ci"]
        for quantity, value in mine.items():
            where = (dataset, quantity)
            if quantity in values:
                assert value == pytest.approx(values[quantity], rel=1e-9, abs=1e-10), where
            elif quantity == "tau2_high":
                assert value > 150.0**2, where
            else:
                assert abs(value) > 39.0, where


def test_agrees_with_lme4_and_metafor(counts, glmer):
    """lme4 with 25 nodes: 1e-5 (1e-3 where tau2 > 5, methods of others lose digits there).

    metafor fits with 7 nodes: 2e-3 (5e-2 where tau2 > 3); its Q, I2 and H2 follow from the same
    definitions.
    """
    seen = set()
    for (dataset, program), values in glmer.items():
        if dataset in TOO_WIDE_FOR_QUADRATURE_OF_OTHERS:
            continue
        x, n = counts[dataset]
        fit = pool(x, n, interval="wald")
        if program == "glmer":
            rel = 1e-3 if fit.tau2 > 3 else 1e-5
            constant = float(log_binomial_saturated(x, n).sum())
            assert fit.details["log_likelihood_saturated"] == pytest.approx(constant)
            relative = fit.log_likelihood - constant
            assert relative == pytest.approx(values["log_likelihood"], rel=1e-5), dataset
        else:
            rel = 5e-2 if fit.tau2 > 3 else 5e-3
            assert fit.q == pytest.approx(values["q"], rel=1e-8), dataset
            assert fit.i2 == pytest.approx(values["i2"], rel=rel, abs=1e-5), dataset
            assert fit.details["h2"] == pytest.approx(values["h2"], rel=rel), dataset
            assert fit.q_p == pytest.approx(values["q_p"], rel=1e-8, abs=1e-12), dataset
        for quantity in ("mu", "se", "tau2"):
            mine = getattr(fit, quantity)
            assert mine == pytest.approx(values[quantity], rel=rel, abs=1e-6), (dataset, program)
        seen.add((dataset, program))
    assert len(seen) > 50


@pytest.mark.parametrize("interval", ["profile", "profile-t", "bartlett"])
def test_profile_limits_satisfy_the_likelihood_equation(interval, counts):
    """At a limit the best likelihood over tau2 lies exactly the cut-off below the maximum."""
    from scipy.optimize import minimize_scalar
    from scipy.stats import chi2, t

    from analysis.pooling import engine
    from analysis.pooling.effects import effect_sizes
    from analysis.pooling.quadrature import log_marginal, prepare

    for dataset in ("small_orr_11", "small_cr_11", "stijnen2010_treatment", "three_3", "units_9"):
        x, n = counts[dataset]
        fit = pool(x, n, interval=interval)
        trials = prepare(x, n)
        within = effect_sizes(x, n, "logit")[1]
        cut = t.isf(0.025, x.size - 1) ** 2 if interval == "profile-t" else chi2.isf(0.05, 1)
        low, high = fit.details["mu_ci"]
        assert low < fit.mu < high
        for mu in (low, high):

            def loss(log_tau, mu=mu, trials=trials):
                return -float(log_marginal(trials, mu, math.exp(2 * log_tau)).sum())

            best = min(
                (minimize_scalar(loss, bounds=(a, a + 1.5), method="bounded",
                                 options={"xatol": 1e-10}) for a in np.arange(-6, 3, 1.0)),
                key=lambda r: r.fun,
            )  # fmt: skip
            at_zero = float(log_marginal(trials, mu, 0.0).sum())
            value, tau2 = max((-best.fun, math.exp(2 * best.x)), (at_zero, 0.0))
            factor = 1.0
            if interval == "bartlett":
                factor = float(engine.bartlett_factor(within[None, :], np.array([tau2]))[0][0])
            drop = 2.0 * (fit.log_likelihood - value)
            assert drop == pytest.approx(cut * factor, rel=1e-6), (dataset, mu)


def test_bartlett_factor_by_hand():
    """1 + 2 sum(w^3) / (sum(w) sum(w^2)); with equal variances 1 + 2/k."""
    from analysis.pooling.engine import bartlett_factor

    factor, slope = bartlett_factor(np.full((1, 8), 0.4), np.array([0.3]))
    assert factor[0] == pytest.approx(1 + 2 / 8)
    assert slope[0] == pytest.approx(0.0, abs=1e-12)
    within = np.array([[0.1, 0.5, 2.0]])
    w = 1 / (within[0] + 0.2)
    by_hand = 1 + 2 * (w**3).sum() / (w.sum() * (w**2).sum())
    factor, slope = bartlett_factor(within, np.array([0.2]))
    assert factor[0] == pytest.approx(by_hand)
    h = 1e-6
    up, down = (bartlett_factor(within, np.array([0.2 + s]))[0][0] for s in (h, -h))
    assert slope[0] == pytest.approx((up - down) / (2 * h), rel=1e-7)


def test_bartlett_is_wider_than_the_profile(counts):
    for dataset in ("small_orr_11", "debruin2009", "spread_12"):
        x, n = counts[dataset]
        plain = pool(x, n, interval="profile")
        corrected = pool(x, n, interval="bartlett")
        assert corrected.ci_low < plain.ci_low < plain.ci_high < corrected.ci_high
        assert corrected.details["bartlett"] > 1.0


def test_two_modes_are_both_seen_and_the_higher_wins(counts):
    x, n = counts["two_modes_4"]
    fit = pool(x, n, interval="wald")
    assert fit.details["modes"] == 2
    assert fit.tau2 > 1.0
    assert fit.log_likelihood > fit.details["log_likelihood_equal_effects"] + 0.3
    assert any("2 maxima" in note for note in fit.notes)


def test_global_maximum_over_many_sets():
    """No finer search over tau finds anything higher, whatever the shape of the likelihood."""
    from analysis.pooling import engine
    from analysis.pooling.quadrature import prepare

    rng = np.random.default_rng(17)
    for k, mu, tau, top in ((3, -2, 1.5, 40), (4, -2.5, 1.2, 40), (5, 0.0, 0.6, 15), (8, 2, 2, 30)):
        n = rng.integers(2, top, (60, k))
        p = 1 / (1 + np.exp(-rng.normal(mu, tau, (60, k))))
        x = rng.binomial(n, p)
        keep = ((x > 0) & (x < n)).any(axis=1)
        trials = prepare(x[keep], n[keep])
        found = engine.maximize(trials)
        assert found.settled.all()
        size = int(keep.sum())
        for s in np.geomspace(0.01, 40, 60):
            value = engine.profile_mean(trials, np.full(size, s * s), found.best.mu, 30.0)[1]
            assert (value <= found.best.value + 1e-8).all()
