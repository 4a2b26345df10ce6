"""Nested outcomes: coherence, the delta method, simulation and limits.

The two stages are GLMM fits, whose digits are tested elsewhere; here the tolerance is 1e-10 where
the same numbers are combined in another way, and Monte Carlo error where simulation is compared.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from analysis.pooling import pool
from analysis.pooling.nested import pool_nested

OUTER = [3, 8, 14, 10, 7, 2, 12, 5, 20, 9, 4]
TOTAL = [5, 14, 24, 15, 9, 10, 16, 6, 26, 32, 8]
INNER = [1, 2, 6, 5, 0, 0, 3, 3, 8, 2, 1]


def test_product_of_two_fits():
    fit = pool_nested(INNER, OUTER, TOTAL)
    one, two = pool(OUTER, TOTAL, "glmm"), pool(INNER, OUTER, "glmm")
    assert fit.outer.estimate == pytest.approx(one.estimate, rel=1e-10)
    assert fit.estimate == pytest.approx(one.estimate * two.estimate, rel=1e-10)
    assert fit.remainder == pytest.approx(fit.outer.estimate - fit.estimate, rel=1e-10)
    assert fit.marginal_estimate == pytest.approx(
        one.marginal_estimate * two.marginal_estimate, rel=1e-8
    )
    assert fit.k_conditional == 11


@pytest.mark.parametrize("quantile", ["t", "z"])
def test_delta_method_by_differences(quantile):
    fit = pool_nested(INNER, OUTER, TOTAL, quantile=quantile)
    a, b = fit.outer, fit.conditional
    h = 1e-6

    def link(da, db, complement=False):
        second = special.expit(-(b.mu + db)) if complement else special.expit(b.mu + db)
        return special.logit(special.expit(a.mu + da) * second)

    cut = special.stdtrit(10, 0.975) if quantile == "t" else special.ndtri(0.975)
    for complement, low, high in (
        (False, fit.ci_low, fit.ci_high),
        (True, fit.remainder_low, fit.remainder_high),
    ):
        ga = (link(h, 0, complement) - link(-h, 0, complement)) / (2 * h)
        gb = (link(0, h, complement) - link(0, -h, complement)) / (2 * h)
        se = math.hypot(ga * a.se, gb * b.se)
        center = link(0, 0, complement)
        assert low == pytest.approx(special.expit(center - cut * se), rel=1e-7)
        assert high == pytest.approx(special.expit(center + cut * se), rel=1e-7)


def test_marginal_interval_by_differences():
    fit = pool_nested(INNER, OUTER, TOTAL, quantile="z")
    a, b = fit.outer, fit.conditional
    # the interval of the product of two averages, from the two fits' own marginal intervals
    half = 0.0
    for part in (a, b):
        m = part.marginal_estimate
        low, high = (special.logit(v) for v in part.marginal_ci)
        se = (high - low) / (2 * special.ndtri(0.975))  # on the logit of the average
        half += (se * (1 - m)) ** 2
    average = fit.marginal_estimate
    se = math.sqrt(half) / (1 - average)
    want = special.expit(special.logit(average) + special.ndtri(0.975) * se)
    assert fit.marginal_ci[1] == pytest.approx(want, rel=1e-5)


def test_simulation_is_seeded_and_agrees_with_delta():
    a = pool_nested(INNER, OUTER, TOTAL, interval="simulation", quantile="z", seed=3)
    b = pool_nested(INNER, OUTER, TOTAL, interval="simulation", quantile="z", seed=3)
    c = pool_nested(INNER, OUTER, TOTAL, interval="simulation", quantile="z", seed=4)
    assert (a.ci_low, a.ci_high) == (b.ci_low, b.ci_high)
    assert a.ci_low != c.ci_low
    # Monte Carlo error of a quantile of 200,000 draws
    assert a.ci_low == pytest.approx(c.ci_low, abs=0.002)
    delta = pool_nested(INNER, OUTER, TOTAL, quantile="z")
    # the delta method is first order: agreement to a few percent of the width
    assert a.ci_low == pytest.approx(delta.ci_low, abs=0.01)
    assert a.ci_high == pytest.approx(delta.ci_high, abs=0.01)
    assert (a.seed, a.draws) == (3, 200_000)
    assert delta.seed is None


def test_prediction_interval_against_simulation():
    fit = pool_nested(INNER, OUTER, TOTAL)
    rng = np.random.default_rng(2)
    p = 1.0
    for part in (fit.outer, fit.conditional):
        sd = math.hypot(part.se, math.sqrt(part.tau2))
        p = p * special.expit(part.mu + sd * rng.standard_t(10, 400_000))
    low, high = np.quantile(p, [0.025, 0.975])
    assert fit.pi_low == pytest.approx(low, abs=0.003)
    assert fit.pi_high == pytest.approx(high, abs=0.004)
    assert fit.pi_low < fit.ci_low
    assert fit.pi_high > fit.ci_high


def test_inner_never_and_always():
    never = pool_nested([0, 0, 0], [2, 3, 4], [9, 9, 9])
    always = pool_nested([2, 3, 4], [2, 3, 4], [9, 9, 9])
    assert (never.estimate, never.ci_low) == (0.0, 0.0)
    assert 0 < never.ci_high < never.remainder
    # swapping inner and remainder swaps their intervals
    assert always.estimate == pytest.approx(never.remainder)
    assert always.ci_low == pytest.approx(never.remainder_low)
    assert always.ci_high == pytest.approx(never.remainder_high)
    assert always.remainder_high == pytest.approx(never.ci_high)
    assert not never.converged
    assert "limit" in " ".join(never.notes)


def test_limit_interval_with_equal_effects_by_hand():
    """Outer always, inner never: log-likelihood 27 log p1 + 27 log(1 - p2) on the boundary."""
    fit = pool_nested([0, 0, 0], [9, 9, 9], [9, 9, 9], quantile="z")
    cut = special.chdtri(1, 0.05)
    # the largest product within the cut-off has p1 = 1
    assert fit.ci_high == pytest.approx(1 - math.exp(-cut / 54), rel=1e-9)
    assert fit.remainder == 1.0
    # the smallest remainder p1 (1 - p2) spends cut on the sum of both logs
    assert fit.remainder_low == pytest.approx(math.exp(-cut / 54), rel=1e-9)


def test_no_outer_event_at_all():
    fit = pool_nested([0, 0], [0, 0], [5, 6], quantile="z")
    assert fit.conditional is None
    assert (fit.estimate, fit.ci_low) == (0.0, 0.0)
    assert fit.ci_high == pytest.approx(1 - math.exp(-special.chdtri(1, 0.05) / 22))


def test_what_cannot_be_pooled_says_so():
    both = pool_nested([0, 6], [5, 6], [7, 7])
    assert both.estimate is None
    assert "not estimable" in " ".join(both.notes)
    outer = pool_nested([0, 3], [0, 6], [7, 6])
    assert outer.estimate is None
    assert "neither is the inner" in " ".join(outer.notes)
    single = pool_nested([None, None, 3], [2, 3, 4], [9, 9, 9])
    assert single.estimate is None
    assert "One trial only" in " ".join(single.notes)
    one = pool_nested([1], [2], [3])
    assert one.estimate is None
    assert "not pooled" in one.notes[-1]
    for fit in (both, outer, single, one):
        assert not fit.converged
        json.dumps(fit.to_dict(), allow_nan=False)


def test_unknown_inner_counts_use_the_outer_ones():
    fit = pool_nested([None, *INNER[1:]], OUTER, TOTAL, labels=list("abcdefghijk"))
    assert fit.outer.estimate == pytest.approx(pool(OUTER, TOTAL).estimate, rel=1e-10)
    assert fit.conditional.estimate == pytest.approx(pool(INNER[1:], OUTER[1:]).estimate, rel=1e-10)
    assert fit.conditional.labels == tuple("bcdefghijk")
    assert fit.study_estimate is None
    assert fit.inner[0] is None
    assert "outer outcome only" in fit.notes[0]


def test_two_trials_have_no_prediction_interval():
    fit = pool_nested([1, 2], [3, 4], [9, 9])
    assert fit.pi_low is None
    assert "three trials" in " ".join(fit.notes)


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        (([3, 1], [2, 2], [5, 5]), {}, "inner at position 0 exceeds outer"),
        (([1, 1], [6, 2], [5, 5]), {}, "exceed"),
        (([1], [2, 2], [5, 5]), {}, "inner must hold"),
        (([None, None], [2, 2], [5, 5]), {}, "every trial"),
        (([math.nan, 1], [2, 2], [5, 5]), {}, "finite"),
        (([1, -1], [2, 2], [5, 5]), {}, "negative"),
        (([1, 1], [2, 2], [5, 5]), {"interval": "profile"}, "interval"),
        (([1, 1], [2, 2], [5, 5]), {"quantile": "normal"}, "quantile"),
        (([1, 1], [2, 2], [5, 5]), {"interval": "simulation", "draws": 10}, "draws must be"),
        (([1, 1], [2, 2], [5, 5]), {"seed": 1.5}, "seed must be"),
        (([1, 1], [2, 2], [5, 5]), {"seed": 7}, "interval 'delta' does not use seed.* got 7"),
        (([1, 1], [2, 2], [5, 5]), {"draws": 5000}, "'delta' does not use draws.* got 5000"),
    ],
)
def test_wrong_input_is_refused(args, options, message):
    with pytest.raises(ValueError, match=message):
        pool_nested(*args, **options)


@st.composite
def nested_counts(draw):
    k = draw(st.integers(2, 6))
    total = [draw(st.integers(1, 30)) for _ in range(k)]
    outer = [draw(st.integers(0, n)) for n in total]
    inner = [draw(st.integers(0, y)) for y in outer]
    return inner, outer, total


@settings(max_examples=30, deadline=None)
@given(nested_counts())
def test_inner_never_exceeds_outer(counts):
    inner, outer, total = counts
    fit = pool_nested(inner, outer, total)
    rest = pool_nested([y - x for x, y in zip(inner, outer, strict=True)], outer, total)
    json.dumps(fit.to_dict(), allow_nan=False)
    if fit.estimate is None:
        assert fit.notes
        return
    assert fit.estimate <= fit.outer.estimate + 1e-12
    assert fit.ci_low <= fit.estimate <= fit.ci_high
    assert fit.estimate + fit.remainder == pytest.approx(fit.outer.estimate, abs=1e-9)
    assert rest.estimate == pytest.approx(fit.remainder, abs=1e-6)
    if fit.pi_low is not None:
        assert 0 <= fit.pi_low < fit.pi_high <= 1
