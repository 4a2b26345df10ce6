"""Quantiles, tail areas and intervals of one proportion against scipy's distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.pooling import (
    _stats,
    clopper_pearson,
    effect_sizes,
    jeffreys,
    pool,
    proportion_interval,
    quadrature,
    wilson,
)
from analysis.pooling._design import build_design, parse_moderators


def test_quantiles_and_tail_areas() -> None:
    for level in (0.5, 0.9, 0.95, 0.999):
        tail = 0.5 * (1.0 - level)
        assert _stats.z_quantile(level) == pytest.approx(stats.norm.isf(tail), rel=1e-12)
        for df in (1, 2, 7, 40.5):
            assert _stats.t_quantile(level, df) == pytest.approx(stats.t.isf(tail, df), rel=1e-10)
    for z in (-3.2, -0.4, 0.0, 1.7, 9.0):
        assert _stats.normal_p(z) == pytest.approx(2.0 * stats.norm.sf(abs(z)), rel=1e-12)
        assert _stats.t_p(z, 5) == pytest.approx(2.0 * stats.t.sf(abs(z), 5), rel=1e-10)
    for value, df in ((0.0, 3), (1.3, 1), (40.0, 12)):
        assert _stats.chi2_sf(value, df) == pytest.approx(stats.chi2.sf(value, df), rel=1e-12)
    assert _stats.chi2_sf(-1e-9, 3) == 1.0
    assert _stats.chi2_isf(0.05, 2) == pytest.approx(stats.chi2.isf(0.05, 2), rel=1e-12)
    assert _stats.boundary_p(0.0) == 1.0
    assert _stats.boundary_p(2.0) == pytest.approx(0.5 * stats.chi2.sf(2.0, 1), rel=1e-12)


@pytest.mark.parametrize("x,n", [(0, 9), (1, 9), (4, 9), (9, 9), (1, 1), (37, 4000)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_intervals_of_one_proportion(x: int, n: int, level: float) -> None:
    tail = 0.5 * (1.0 - level)
    low, high = jeffreys(x, n, level)
    beta = stats.beta(x + 0.5, n - x + 0.5)
    assert (low, high) == (
        pytest.approx(beta.ppf(tail), rel=1e-9),
        pytest.approx(beta.isf(tail), rel=1e-9),
    )
    exact = stats.binomtest(x, n).proportion_ci(level, method="exact")
    assert clopper_pearson(x, n, level) == (
        pytest.approx(exact.low, abs=1e-12, rel=1e-9),
        pytest.approx(exact.high, rel=1e-9),
    )
    score = stats.binomtest(x, n).proportion_ci(level, method="wilson")
    assert wilson(x, n, level) == (
        pytest.approx(score.low, abs=1e-12, rel=1e-9),
        pytest.approx(score.high, rel=1e-9),
    )
    for name, function in (("jeffreys", jeffreys), ("wilson", wilson)):
        assert proportion_interval(x, n, name, level) == function(x, n, level)


def test_units_of_a_moderator_do_not_make_it_collinear() -> None:
    rng = np.random.default_rng(3)
    columns = {"large": 1e9 * rng.normal(size=8), "small": 1e-9 * rng.normal(size=8)}
    terms, values = parse_moderators(columns, 8)
    design, names = build_design(terms, values, 8)
    assert names == ("intercept", "large", "small")
    assert design[:, 2] == pytest.approx(columns["small"])
    columns["twice"] = 2.0 * columns["small"]
    terms, values = parse_moderators(columns, 8)
    with pytest.raises(ValueError, match="collinear"):
        build_design(terms, values, 8)


@pytest.mark.parametrize("interval", ["wald", "t"])
@pytest.mark.parametrize("x", [[3, 5, 0, 4, 9, 1], [9, 11, 8, 2, 13, 7], [3, 4, 3, 3, 5, 3]])
def test_average_proportion_and_inconsistency_by_their_definitions(
    x: list[int], interval: str
) -> None:
    n = [10, 12, 9, 9, 14, 8]
    fit = pool(x, n, interval=interval)
    d = fit.details

    # delta method on the logit of the expected proportion, its slopes by differences
    def logit_of_average(mu: float, tau2: float) -> float:
        node, weight = np.polynomial.hermite_e.hermegauss(80)
        p = float((weight / (1.0 + np.exp(-mu - np.sqrt(tau2) * node))).sum() / weight.sum())
        return np.log(p / (1.0 - p))

    center = logit_of_average(fit.mu, fit.tau2)
    assert np.log(fit.marginal_estimate / (1 - fit.marginal_estimate)) == pytest.approx(center)
    h = 1e-5
    slopes = [
        (logit_of_average(fit.mu + h, fit.tau2) - logit_of_average(fit.mu - h, fit.tau2)) / (2 * h),
        0.0
        if fit.tau2 == 0
        else (logit_of_average(fit.mu, fit.tau2 + h) - logit_of_average(fit.mu, fit.tau2 - h))
        / (2 * h),
    ]
    se = np.sqrt(np.array(slopes) @ d["covariance"] @ np.array(slopes))
    q = _stats.z_quantile(0.95) if interval == "wald" else _stats.t_quantile(0.95, 5)
    limits = [1.0 / (1.0 + np.exp(-(center + s * q * se))) for s in (-1, 1)]
    assert fit.marginal_ci == pytest.approx(limits, rel=1e-6)

    # Cochran's Q of the corrected logits
    y, v = effect_sizes(x, n, "logit")
    mean = np.average(y, weights=1.0 / v)
    cochran = float(((y - mean) ** 2 / v).sum())
    assert d["q_inverse_variance"] == pytest.approx(cochran, rel=1e-10)
    assert d["i2_q"] == pytest.approx(max(0.0, 100.0 * (cochran - 5) / cochran), rel=1e-9)
    w = 1.0 / v
    typical = 5 * w.sum() / (w.sum() ** 2 - (w**2).sum())
    assert d["typical_variance"] == pytest.approx(typical, rel=1e-12)
    assert d["h2"] == pytest.approx(1.0 + fit.tau2 / typical, rel=1e-12)


@pytest.mark.parametrize("tau", [0.0, 0.3])
def test_shrunken_proportions_are_conditional_means(tau: float) -> None:
    x, n = ([3, 5, 2, 4, 9, 1], [10, 12, 9, 9, 14, 8]) if tau else ([3, 4, 3], [9, 12, 9])
    fit = pool(x, n)
    mean, variance, proportion = quadrature.posterior_moments(
        quadrature.prepare(np.array(x), np.array(n)), fit.mu, fit.tau2
    )
    assert (fit.tau2 > 0) == (tau > 0)
    assert fit.details["shrunken"] == pytest.approx(proportion, rel=1e-11)
    assert fit.details["shrunken_logit"] == pytest.approx(mean, rel=1e-11)
    assert fit.details["shrunken_variance"] == pytest.approx(variance, rel=1e-9, abs=1e-15)
