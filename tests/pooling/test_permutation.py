"""Permutation p-values: by refitting every order, and the score statistic by its definition."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import special

from analysis.pooling import fit_moderators, pool, score_permutation
from analysis.pooling.moderators import _distinct_count, _distinct_orders
from analysis.pooling.permutation import Permutation

X, N = np.array([1, 11, 7, 2, 13, 2]), np.array([10, 12, 9, 19, 14, 8])
ARM = list("uuvvww")
DOSE = np.array([1.0, 4.0, 2.0, 0.5, 3.0, 3.0])
SCORE = np.linspace(-12.0, 12.0, 801)
MASS = np.exp(-0.5 * SCORE**2) / math.sqrt(2 * math.pi) * (SCORE[1] - SCORE[0])


def distinct(values: list[Any]) -> list[tuple[Any, ...]]:
    return sorted(set(itertools.permutations(values)))


# ------------------------------------------------------------------ orders


@pytest.mark.parametrize("values", ["aab", "aabb", "abc", "aaaa", "abcabc"])
def test_every_distinct_order_once(values: str) -> None:
    rows = [(float(ord(v)), 1.0) for v in values]
    orders = list(_distinct_orders(rows))
    found = [tuple(values[i] for i in order) for order in orders]
    assert sorted(found) == distinct(list(values))
    assert _distinct_count(rows) == len(orders)
    assert orders[0] == sorted(orders[0], key=lambda i: values.index(values[i]))


# ------------------------------------------------------------------ permutations of a regression


@pytest.mark.parametrize(
    ("model", "interval"),
    [("dl", "wald"), ("dl", "t"), ("reml", "hartung-knapp"), ("dl", "hartung-knapp-adhoc")],
)
def test_exact_p_values_by_refitting_every_order(model: str, interval: str) -> None:
    # the order of the statistics is another one for each interval
    x = np.array([4, 10, 4, 10, 11, 5])
    options: dict[str, Any] = {"model": model, "interval": interval}
    fit = fit_moderators(x, N, moderators={"g": ARM}, permutations=90, **options)
    refits = [fit_moderators(x, N, moderators={"g": list(o)}, **options) for o in distinct(ARM)]
    assert (fit.permutation_count, fit.permutation_exact) == (90, True)
    slack = 1e-7
    reached = [f.omnibus >= fit.omnibus * (1 - slack) for f in refits]
    assert fit.permutation_p == pytest.approx(np.mean(reached), abs=1e-12)
    single = np.array([np.abs(f.statistic) for f in refits])
    wanted = (single >= np.abs(fit.statistic) * (1 - slack)).mean(axis=0)
    assert fit.permutation_p_values == pytest.approx(wanted, abs=1e-12)
    assert 0 < fit.permutation_p < 1


def test_exact_p_value_of_the_binomial_normal_model_by_refitting_every_order() -> None:
    arm = list("uvvuvv")
    options: dict[str, Any] = {"interval": "wald", "tau2_interval": False}
    fit = fit_moderators(X, N, moderators={"g": arm}, permutations=15, **options)
    lrt = [fit_moderators(X, N, moderators={"g": list(o)}, **options).lrt for o in distinct(arm)]
    assert fit.permutation_p == pytest.approx(np.mean(np.array(lrt) >= fit.lrt - 1e-6), abs=1e-12)
    assert (fit.permutation_count, fit.permutation_exact) == (15, True)
    assert fit.permutation_p_values is None
    assert 0 < fit.permutation_p < 1


def test_drawn_p_values_count_the_observed_order_and_repeat() -> None:
    options: dict[str, Any] = {"model": "dl", "interval": "wald", "moderators": {"dose": DOSE}}
    fit = fit_moderators(X, N, permutations=40, seed=3, **options)
    rng = np.random.default_rng(3)
    orders = [np.arange(6), *(rng.permutation(6) for _ in range(39))]
    refits = [
        fit_moderators(X, N, **{**options, "moderators": {"dose": DOSE[order]}}) for order in orders
    ]
    reached = [f.omnibus >= fit.omnibus * (1 - 1e-7) for f in refits]
    assert (fit.permutation_count, fit.permutation_exact) == (40, False)
    assert fit.permutation_p == pytest.approx(np.mean(reached), abs=1e-12)
    single = np.array([np.abs(f.statistic) for f in refits])
    wanted = (single >= np.abs(fit.statistic) * (1 - 1e-7)).mean(axis=0)
    assert fit.permutation_p_values == pytest.approx(wanted, abs=1e-12)
    none = fit_moderators(X, N, **options)
    assert (none.permutation_count, none.permutation_exact, none.permutation_p) == (None,) * 3
    assert none.permutation_p_values is None
    # a seed of zero is a seed
    assert fit_moderators(X, N, permutations=5, seed=0, **options).permutation_count == 5


# ------------------------------------------------------------------ the score statistic


def derivatives(mu: float, tau2: float) -> tuple[np.ndarray, np.ndarray]:
    """Score and information of each trial about its mean, from the moments of its true logit."""
    logit = mu + math.sqrt(tau2) * SCORE
    log = X[:, None] * special.log_expit(logit) + (N - X)[:, None] * special.log_expit(-logit)
    given = np.exp(log - log.max(axis=1, keepdims=True)) * MASS
    given /= given.sum(axis=1, keepdims=True)
    mean = given @ logit
    variance = given @ logit**2 - mean**2
    return (mean - mu) / tau2, (tau2 - variance) / tau2**2


def statistic(score: np.ndarray, info: np.ndarray, columns: np.ndarray) -> float:
    """Efficient score of the columns beside an intercept."""
    whole = np.column_stack([np.ones(6), columns])
    bread = whole.T @ (whole * info[:, None])
    part = bread[1:, 1:] - np.outer(bread[1:, 0], bread[0, 1:]) / bread[0, 0]
    u = columns.T @ score - bread[1:, 0] / bread[0, 0] * score.sum()
    return float(u @ np.linalg.solve(part, u))


def columns_of(values: Any) -> np.ndarray:
    if isinstance(values[0], str):
        return np.column_stack([[v == level for v in values] for level in "vw"]).astype(float)
    return np.array(values, dtype=float)[:, None]


@pytest.mark.parametrize("values", [ARM, DOSE.tolist()])
def test_exact_score_test_by_its_definition(values: list[Any]) -> None:
    found = score_permutation(X, N, {"a": values})
    null = pool(X, N, "glmm", interval="wald")
    score, info = derivatives(null.mu, null.tau2)
    own = statistic(score, info, columns_of(values))
    every = np.array([statistic(score, info, columns_of(o)) for o in distinct(values)])
    assert isinstance(found, Permutation)
    assert found.statistic == pytest.approx(own, rel=1e-6)
    assert (found.count, found.exact) == (every.size, True)
    assert found.p == pytest.approx(np.mean(every >= own * (1 - 1e-7)), abs=1e-12)
    assert [type(value) for value in (found.p, found.count, found.statistic)] == [float, int, float]


def test_drawn_score_test_repeats_and_counts_the_observed_order() -> None:
    found = score_permutation(X, N, {"dose": DOSE}, draws=300, seed=8)
    null = pool(X, N, "glmm", interval="wald")
    score, info = derivatives(null.mu, null.tau2)
    rng = np.random.default_rng(8)
    orders = rng.permuted(np.tile(np.arange(6), (300, 1)), axis=1)
    orders[0] = np.arange(6)
    every = np.array([statistic(score, info, DOSE[order][:, None]) for order in orders])
    own = every[0]
    assert (found.count, found.exact) == (300, False)
    assert found.statistic == pytest.approx(own, rel=1e-6)
    assert found.p == pytest.approx(np.mean(every >= own * (1 - 1e-7)), abs=1e-12)
    # 360 distinct orders: one draw fewer is drawn, as many are compared
    assert score_permutation(X, N, {"dose": DOSE}, draws=360).exact
    short = score_permutation(X, N, {"dose": DOSE}, draws=359, seed=0)
    assert (short.exact, short.count) == (False, 359)
    one = score_permutation(X, N, {"dose": DOSE}, draws=1, seed=1)
    assert (one.p, one.count, one.exact) == (1.0, 1, False)


def test_draws_unless_told_otherwise() -> None:
    x, n = np.tile(X, 2), np.tile(N, 2)
    found = score_permutation(x, n, {"dose": np.arange(12.0)}, seed=2)
    assert (found.count, found.exact) == (9_999, False)


@pytest.mark.parametrize(
    "x", [[0] * 6, N, [10, 0, 9, 0, 0, 8]], ids=["no event", "only events", "all or none"]
)
def test_no_test_where_the_null_model_has_no_maximum(x: Any) -> None:
    assert score_permutation(x, N, {"g": ARM}) is None


def test_equal_effects_are_no_obstacle() -> None:
    x, n = np.array([3, 4, 5, 4, 6, 5]), np.array([10, 12, 14, 12, 17, 13])
    found = score_permutation(x, n, {"dose": DOSE})
    p = x.sum() / n.sum()
    score, info = x - n * p, n * p * (1 - p)
    own = statistic(score, info, DOSE[:, None])
    every = np.array([statistic(score, info, columns_of(o)) for o in distinct(DOSE.tolist())])
    assert found.statistic == pytest.approx(own, rel=1e-8)
    assert found.p == pytest.approx(np.mean(every >= own * (1 - 1e-7)), abs=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws must be a whole number of at least 1, got 0"),
        ({"draws": True}, "draws must be a whole number of at least 1, got True"),
        ({"draws": 9.0}, "draws must be a whole number of at least 1, got 9.0"),
        ({"draws": 9}, "drawn permutations need a seed so that they can be repeated"),
    ],
)
def test_messages_word_by_word(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        score_permutation(X, N, {"dose": DOSE}, **options)
    assert str(raised.value) == message
    with pytest.raises(ValueError, match=r"^moderator 'dose' has 2 values for 6 trials$"):
        score_permutation(X, N, {"dose": [1, 2]})


def test_one_event_in_all_is_tested_like_any_other() -> None:
    found = score_permutation([0, 1, 0, 0, 0, 0], N, {"dose": DOSE})
    p = 1 / N.sum()
    own = statistic(np.array([0, 1, 0, 0, 0, 0]) - N * p, N * p * (1 - p), DOSE[:, None])
    assert found.statistic == pytest.approx(own, rel=1e-6)
    assert found.exact


# ------------------------------------------------------------------ trials without residuals


def test_equal_trials_give_every_order_the_same_statistic() -> None:
    # the Hartung-Knapp standard errors vanish, and the fit shows the Wald ones
    fit = fit_moderators(
        [5] * 6, [10] * 6, model="fe", interval="hartung-knapp", moderators={"g": list("uuuvvv")},
        permutations=100,
    )  # fmt: skip
    assert fit.permutation_p == 1.0
    assert fit.permutation_p_values is not None
    assert fit.permutation_p_values.tolist() == [1.0, 1.0]


def test_an_order_without_residuals_is_more_extreme_than_any_other() -> None:
    # of the ten ways to choose three trials only two (and their names exchanged) leave none
    x, n, groups = [2, 2, 2, 6, 6, 6], [10] * 6, list("uvuvuv")
    options: dict[str, Any] = {"model": "fe", "interval": "hartung-knapp"}
    fit = fit_moderators(x, n, moderators={"g": groups}, permutations=20, **options)
    others = []
    for order in distinct(groups):
        other = fit_moderators(x, n, moderators={"g": list(order)}, **options)
        others.append(math.inf if other.df is None else abs(other.statistic[1]))
    assert others.count(math.inf) == 2
    own = abs(fit.statistic[1])
    assert fit.permutation_p_values is not None
    assert fit.permutation_p_values[1] == np.mean(np.array(others) >= own * (1 - 1e-9))
