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
from scipy import special, stats

from analysis.pooling import pool
from analysis.pooling.fit import Fit
from analysis.pooling.nested import pool_nested
from analysis.pooling.proportion import wilson

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


# ------------------------------------------------------------------ every field by its definition

WIDE_INNER, WIDE_OUTER, WIDE_TOTAL = (
    [1, 9, 2, 5, 4],
    [3, 10, 14, 6, 21],
    [15, 12, 24, 19, 23],
)


@pytest.fixture(scope="module")
def fits():
    drawn = {"seed": 5, "draws": 4000}
    return {
        (interval, quantile): pool_nested(
            WIDE_INNER, WIDE_OUTER, WIDE_TOTAL, interval=interval, quantile=quantile, level=0.9,
            labels=list("abcde"), **(drawn if interval == "simulation" else {}),
        )
        for interval in ("delta", "simulation")
        for quantile in ("t", "z")
    }  # fmt: skip


def expit(value):
    return 1 / (1 + math.exp(-value))


def logit(value):
    return math.log(value / (1 - value))


def chance_below(limit: float, one: Fit, two: Fit, df: tuple[int, int]) -> float:
    """Probability that a next trial's rate of both outcomes lies below a limit."""
    u = (np.arange(20_000) + 0.5) / 20_000
    far = [math.hypot(part.se, math.sqrt(part.tau2)) for part in (one, two)]
    first = special.expit(one.mu + far[0] * stats.t.ppf(u, df[0]))
    ratio = np.minimum(limit / first, 1 - 1e-15)
    below = stats.t.cdf((special.logit(ratio) - two.mu) / far[1], df[1])
    return float(np.where(limit >= first, 1.0, below).mean())


@pytest.mark.parametrize("quantile", ["t", "z"])
@pytest.mark.parametrize("interval", ["delta", "simulation"])
def test_every_field_by_its_definition(fits, interval, quantile):
    fit = fits[interval, quantile]
    inside = {"interval": "t" if quantile == "t" else "wald", "level": 0.9, "labels": list("abcde")}
    one = pool(WIDE_OUTER, WIDE_TOTAL, "glmm", **inside)
    two = pool(WIDE_INNER, WIDE_OUTER, "glmm", **inside)
    assert one.tau2 > 0.1 and two.tau2 > 0.1
    assert fit.outer.to_dict() == one.to_dict()
    assert fit.conditional.to_dict() == two.to_dict()
    assert (fit.interval, fit.quantile, fit.level) == (interval, quantile, 0.9)
    assert (fit.k, fit.k_conditional, fit.labels) == (5, 5, tuple("abcde"))
    assert fit.inner == tuple(WIDE_INNER)
    assert all(type(value) is int for value in fit.inner)
    assert (fit.outer_events.tolist(), fit.total.tolist()) == (WIDE_OUTER, WIDE_TOTAL)
    assert (fit.converged, fit.notes) == (True, ())
    low, high = wilson(np.array(WIDE_INNER), np.array(WIDE_TOTAL), 0.9)
    np.testing.assert_array_equal(fit.study_estimate, np.array(WIDE_INNER) / WIDE_TOTAL)
    np.testing.assert_array_equal([fit.study_ci_low, fit.study_ci_high], [low, high])
    p1, p2 = expit(one.mu), expit(two.mu)
    assert fit.estimate == pytest.approx(p1 * p2, rel=1e-12)
    assert fit.remainder == pytest.approx(p1 * (1 - p2), rel=1e-12)
    cut = stats.t.isf(0.05, 4) if quantile == "t" else stats.norm.isf(0.05)
    if interval == "delta":
        assert (fit.seed, fit.draws) == (None, None)
        for value, slope, ends in (
            (p1 * p2, (1 - p2) * two.se, (fit.ci_low, fit.ci_high)),
            (p1 * (1 - p2), p2 * two.se, (fit.remainder_low, fit.remainder_high)),
        ):
            se = math.hypot((1 - p1) * one.se, slope) / (1 - value)
            want = [expit(logit(value) - cut * se), expit(logit(value) + cut * se)]
            assert ends == pytest.approx(want, rel=1e-10)
    else:
        assert (fit.seed, fit.draws) == (5, 4000)
        rng = np.random.default_rng(5)
        drawn = []
        for part in (one, two):
            z = rng.standard_t(4, 4000) if quantile == "t" else rng.standard_normal(4000)
            drawn.append(part.mu + part.se * z)
        first, second = special.expit(drawn)
        inner = np.quantile(first * second, [0.05, 0.95])
        rest = np.quantile(first * special.expit(-drawn[1]), [0.05, 0.95])
        assert (fit.ci_low, fit.ci_high) == pytest.approx(tuple(inner), rel=1e-9)
        assert (fit.remainder_low, fit.remainder_high) == pytest.approx(tuple(rest), rel=1e-9)

    # probability below a limit: the first logit integrated out over its quantiles
    for limit, prob in ((fit.pi_low, 0.05), (fit.pi_high, 0.95)):
        assert chance_below(limit, one, two, (4, 4)) == pytest.approx(prob, abs=2e-5)

    # the average of each stage and its variance: from the stage's own interval
    average, total = one.marginal_estimate * two.marginal_estimate, 0.0
    for part in (one, two):
        ends = [logit(value) for value in part.marginal_ci]
        total += ((ends[1] - ends[0]) / (2 * cut) * (1 - part.marginal_estimate)) ** 2
    se = math.sqrt(total) / (1 - average)
    assert fit.marginal_estimate == pytest.approx(average, rel=1e-8)
    want = (expit(logit(average) - cut * se), expit(logit(average) + cut * se))
    assert fit.marginal_ci == pytest.approx(want, rel=1e-6)
    told = fit.to_dict()
    assert set(told) == set(fit.__dataclass_fields__)
    assert told["outer"] == one.to_dict()
    assert told["inner"] == WIDE_INNER


def test_stages_of_unequal_size_use_their_own_degrees_of_freedom():
    inner = [None, None, *WIDE_INNER[2:], 3]
    outer, total = [*WIDE_OUTER, 8], [*WIDE_TOTAL, 17]
    fit = pool_nested(inner, outer, total, labels=list("abcdef"))
    one, two = pool(outer, total, interval="t"), pool(inner[2:], outer[2:], interval="t")
    assert (fit.k, fit.k_conditional, fit.inner) == (6, 4, tuple(inner))
    assert (fit.outer.labels, fit.conditional.labels) == (tuple("abcdef"), tuple("cdef"))
    shown = (fit.study_estimate, fit.study_ci_low, fit.study_ci_high)
    assert shown == (None, None, None)
    p1, p2 = expit(one.mu), expit(two.mu)
    se = math.hypot((1 - p1) * one.se, (1 - p2) * two.se) / (1 - p1 * p2)
    half = stats.t.isf(0.025, 3) * se
    assert fit.ci_low == pytest.approx(expit(logit(p1 * p2) - half), rel=1e-9)
    for limit, prob in ((fit.pi_low, 0.025), (fit.pi_high, 0.975)):
        assert chance_below(limit, one, two, (5, 3)) == pytest.approx(prob, abs=5e-5)
    drawn = pool_nested(inner, outer, total, interval="simulation", seed=2, draws=1000)
    rng = np.random.default_rng(2)
    first = special.expit(one.mu + one.se * rng.standard_t(5, 1000))
    second = special.expit(two.mu + two.se * rng.standard_t(3, 1000))
    want = np.quantile(first * second, [0.025, 0.975])
    assert (drawn.ci_low, drawn.ci_high) == pytest.approx(tuple(want), rel=1e-9)


def best_pair(first, second, cut, pick):
    """Extreme of a product of two proportions whose costs add up to the cut-off."""
    share = np.linspace(0, cut, 200_001)
    return pick(first(share) * second(cut - share))


@pytest.mark.parametrize("quantile", ["t", "z"])
def test_a_limit_beside_a_stage_with_a_finite_logit(quantile):
    outer, total = [4, 9, 6, 11], [12, 14, 16, 15]
    one = pool(outer, total, interval="t" if quantile == "t" else "wald", level=0.9)
    never = pool_nested([0] * 4, outer, total, quantile=quantile, level=0.9)
    always = pool_nested(outer, outer, total, quantile=quantile, level=0.9)
    cut = stats.t.isf(0.05, 3) ** 2 if quantile == "t" else stats.chi2.isf(0.1, 1)
    patients = sum(outer)

    def low(c):
        return special.expit(one.mu - np.sqrt(c) * one.se)

    def high(c):
        return special.expit(one.mu + np.sqrt(c) * one.se)

    def rare(c):
        return 1 - np.exp(-0.5 * c / patients)

    def sure(c):
        return np.exp(-0.5 * c / patients)

    assert (never.estimate, never.remainder) == (0.0, pytest.approx(one.estimate, rel=1e-12))
    assert (always.estimate, always.remainder) == (pytest.approx(one.estimate, rel=1e-12), 0.0)
    top = best_pair(high, rare, cut, np.max)
    bottom = best_pair(low, sure, cut, np.min)
    # the other limit of the sum: all of it is spent on the first stage
    best = special.expit(one.mu + math.sqrt(cut) * one.se)
    assert (never.ci_low, never.ci_high) == (0.0, pytest.approx(top, rel=1e-5))
    assert never.remainder_low == pytest.approx(bottom, rel=1e-5)
    assert never.remainder_high == pytest.approx(best, rel=1e-12)
    assert (always.remainder_low, always.remainder_high) == (0.0, pytest.approx(top, rel=1e-5))
    assert always.ci_low == pytest.approx(bottom, rel=1e-5)
    assert always.ci_high == pytest.approx(best, rel=1e-12)
    for fit in (never, always):
        gone = (fit.pi_low, fit.pi_high, fit.marginal_estimate, fit.marginal_ci)
        assert gone == (None, None, None, None)
        assert (fit.converged, fit.notes) == (False, (LIMIT,))


def test_an_outer_outcome_in_every_patient():
    total = [12, 14, 16, 15]
    inner = [4, 9, 6, 11]
    fit = pool_nested(inner, total, total, quantile="z")
    two = pool(inner, total, interval="wald")
    cut, patients = stats.chi2.isf(0.05, 1), sum(total)
    high = special.expit(two.mu + math.sqrt(cut) * two.se)
    low = best_pair(
        lambda c: np.exp(-0.5 * c / patients),
        lambda c: special.expit(two.mu - np.sqrt(c) * two.se),
        cut,
        np.min,
    )
    assert fit.estimate == pytest.approx(two.estimate, rel=1e-12)
    assert (fit.ci_low, fit.ci_high) == pytest.approx((low, high), rel=1e-5)
    assert fit.notes == (LIMIT,)


# ------------------------------------------------------------------ sentences for a reader

LIMIT = (
    "One stage has no finite logit, so the estimate is a limit. The interval joins that stage's "
    "exact likelihood under equal effects with the other stage's."
)
FEW = "With fewer than five trials the prediction interval is unreliable."
NEEDS_THREE = "A prediction interval needs at least three trials at both stages."
ONE_TELLS = (
    "One trial only tells of the inner outcome: the conditional part is not pooled, and so the "
    "inner outcome is not."
)
ZERO = (
    "No trial had an outer event: the inner outcome is zero with it, its upper limit is that of "
    "the outer outcome, and the remainder likewise."
)
ENDS = (
    "Every trial has no events or only events, and both occur: the likelihood rises as the "
    "between-trial variance grows without limit, so the median trial is not estimable."
)
NOT_GIVEN = "The inner outcome among patients with the outer one is not estimable: "


def only(count):
    return f"{count} trial(s) report the outer outcome only."


def silent(count):
    return (
        f"{count} trial(s) without any outer event say nothing about the inner outcome among them; "
        "they count at the outer stage."
    )


@pytest.mark.parametrize(
    ("inner", "outer", "total", "notes"),
    [
        (WIDE_INNER, WIDE_OUTER, WIDE_TOTAL, ()),
        (WIDE_INNER[:4], WIDE_OUTER[:4], WIDE_TOTAL[:4], (FEW,)),
        ([1, 2, 3], [3, 4, 6], [9] * 3, (FEW,)),
        ([1, 2], [3, 4], [9] * 2, (NEEDS_THREE,)),
        ([None, 0, 2, 3, 1], [3, 0, 4, 6, 5], [9] * 5, (only(1), silent(1), FEW)),
        ([None, None, 2, 3], [3, 5, 4, 6], [9] * 4, (only(2), NEEDS_THREE)),
        ([1], [2], [3], ("One trial: shown, not pooled.",)),
        ([0, 0], [0, 0], [5, 6], (silent(2), ZERO)),
        ([0, None], [0, 0], [5, 6], (only(1), silent(1), ZERO)),
        ([None, None, 3], [2, 3, 4], [9] * 3, (only(2), ONE_TELLS)),
        ([0, 3], [0, 4], [9] * 2, (silent(1), ONE_TELLS)),
        ([None, 0], [3, 0], [9] * 2, (only(1), silent(1), NOT_GIVEN + "no trial tells of it.")),
        ([0, 6], [5, 6], [7] * 2, (NOT_GIVEN + ENDS,)),
        ([0, 3], [0, 6], [7, 6],
         (silent(1), f"The outer outcome is not estimable ({ENDS[:-1]}), "
          "so neither is the inner.")),
        ([0] * 3, [2, 3, 4], [9] * 3, (LIMIT,)),
    ],
)  # fmt: skip
def test_sentences_word_by_word(inner, outer, total, notes):
    fit = pool_nested(inner, outer, total)
    assert fit.notes == notes
    assert fit.converged == (fit.pi_low is not None or NEEDS_THREE in notes)
    if fit.estimate is None:
        gone = (
            "ci_low", "ci_high", "pi_low", "pi_high", "remainder", "remainder_low",
            "remainder_high", "marginal_estimate", "marginal_ci",
        )  # fmt: skip
        assert [getattr(fit, name) for name in gone] == [None] * len(gone)


def test_limits_where_no_trial_had_an_outer_event():
    fit = pool_nested([0, 0, 0], [0, 0, 0], [5, 6, 9], level=0.9)
    high = -math.expm1(-0.5 * stats.t.isf(0.05, 1) ** 2 / 20)
    values = (fit.estimate, fit.ci_low, fit.remainder, fit.remainder_low)
    assert values == (0.0, 0.0, 0.0, 0.0)
    # the second stage has no trial: one degree of freedom stands in
    assert fit.ci_high == fit.remainder_high == pytest.approx(high, rel=1e-12)


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        (([3, 1], [2, 2], [5, 5]), {}, "inner at position 0 exceeds outer: 3 of 2"),
        (([1, None, 3], [2, 1, 2], [5, 5, 5]), {}, "inner at position 2 exceeds outer: 3 of 2"),
        (([1, 1], [6, 2], [5, 5]), {}, "events at position 0 exceed the total: 6 of 5"),
        (([1], [2, 2], [5, 5]), {},
         "inner must hold one count, or None, for each of the 2 trials"),
        (("12", [2, 2], [5, 5]), {},
         "inner must hold one count, or None, for each of the 2 trials"),
        (([[1], [1]], [2, 2], [5, 5]), {},
         "inner must hold one count, or None, for each of the 2 trials"),
        (([None, None], [2, 2], [5, 5]), {}, "inner is None in every trial: nothing to pool"),
        (([1, 1], [2, 2], [5, 5]), {"interval": "profile"},
         "unknown interval 'profile': choose one of delta, simulation"),
        (([1, 1], [2, 2], [5, 5]), {"quantile": "normal"},
         "unknown quantile 'normal': choose one of t, z"),
        (([1, 1], [2, 2], [5, 5]), {"level": 1.0},
         "level must be strictly between 0 and 1, got 1.0"),
        (([1, 1], [2, 2], [5, 5]), {"labels": ["a"]},
         "labels must have one entry per study: 1 labels, 2 studies"),
        (([1, 1], [2, 2], [5, 5]), {"interval": "simulation", "draws": 999},
         "draws must be a whole number of at least 1000, got 999"),
        (([1, 1], [2, 2], [5, 5]), {"interval": "simulation", "draws": 2000.0},
         "draws must be a whole number of at least 1000, got 2000.0"),
        (([1, 1], [2, 2], [5, 5]), {"interval": "simulation", "seed": True},
         "seed must be a whole number of at least 0, got True"),
        (([1, 1], [2, 2], [5, 5]), {"interval": "simulation", "seed": -1},
         "seed must be a whole number of at least 0, got -1"),
        (([1, 1], [2, 2], [5, 5]), {"seed": 7},
         "interval 'delta' does not use seed: leave it out, got 7"),
        (([1, 1], [2, 2], [5, 5]), {"draws": 5000},
         "interval 'delta' does not use draws: leave it out, got 5000"),
    ],
)  # fmt: skip
def test_messages_word_by_word(args, options, message):
    with pytest.raises(ValueError) as raised:
        pool_nested(*args, **options)
    assert str(raised.value) == message


def test_least_seed_and_draws_are_accepted():
    fit = pool_nested([1, 1], [2, 2], [5, 5], interval="simulation", seed=0, draws=1000)
    assert (fit.seed, fit.draws) == (0, 1000)
    told = pool_nested([1, 1], [2, 2], [5, 5], seed=1, draws=200_000)
    assert (told.seed, told.draws) == (None, None)
