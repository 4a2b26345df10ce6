"""Quantiles, tail areas and intervals of one proportion against scipy's distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.pooling import _stats, clopper_pearson, jeffreys, proportion_interval, wilson
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
