"""P-values by permutation: against every order written out, and what must not change them."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from analysis.pooling import pool, score_permutation

EVENTS = np.array([1, 6, 3, 9, 12])
TOTAL = np.array([10, 12, 14, 18, 16])
AGE = np.array([0.3, 1.9, 0.8, 2.5, 1.1])
ARM = np.array(["a", "b", "a", "b", "b"])


def trial_scores(events: np.ndarray, total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Score and information about the mean of each trial, by adaptive quadrature."""
    fit = pool(events, total, "glmm")
    assert fit.mu is not None and fit.tau2 is not None and fit.tau2 > 0
    mu, tau = fit.mu, math.sqrt(fit.tau2)
    score, information = [], []
    for x, n in zip(events, total, strict=True):

        def moment(power: int, x: int = x, n: int = n) -> float:
            def integrand(z: float) -> float:
                p = 1.0 / (1.0 + math.exp(-(mu + tau * z)))
                return z**power * stats.binom.pmf(x, n, p) * stats.norm.pdf(z)

            return integrate.quad(integrand, -12, 12, epsabs=0, epsrel=1e-11, limit=400)[0]

        whole, first, second = (moment(power) for power in range(3))
        score.append(first / whole / tau)
        curvature = (second / whole - 1.0) / tau**2
        information.append(score[-1] ** 2 - curvature)
    return np.array(score), np.array(information)


def statistic(score: np.ndarray, information: np.ndarray, moderator: np.ndarray) -> float:
    """Efficient score statistic of one moderator beside an intercept."""
    centered = moderator - np.average(moderator, weights=information)
    return float((score @ centered) ** 2 / (information @ centered**2))


def test_every_order_written_out() -> None:
    found = score_permutation(EVENTS, TOTAL, {"age": AGE})
    score, information = trial_scores(EVENTS, TOTAL)
    values = [
        statistic(score, information, np.array(order)) for order in permutations(AGE.tolist())
    ]
    assert found is not None
    assert found.exact and found.count == math.factorial(5)
    # the reference uses the fit's mean and tau2, which are good to about 1e-9
    assert found.statistic == pytest.approx(values[0], rel=1e-7)
    assert found.p == np.mean(np.array(values) >= values[0] * (1.0 - 1e-7))
    assert 1 / 120 < found.p < 1.0


def test_a_factor_has_fewer_orders() -> None:
    found = score_permutation(EVENTS, TOTAL, {"arm": ARM})
    score, information = trial_scores(EVENTS, TOTAL)
    orders = set(permutations((ARM == "b").astype(float).tolist()))
    values = {order: statistic(score, information, np.array(order)) for order in orders}
    observed = values[tuple((ARM == "b").astype(float).tolist())]
    assert found is not None
    assert found.exact and found.count == len(orders) == 10
    assert found.p == np.mean(np.array(list(values.values())) >= observed * (1.0 - 1e-7))


def test_two_moderators_move_together() -> None:
    # the statistic of two columns is that of any basis of the plane that they span
    one = score_permutation(EVENTS, TOTAL, {"a": AGE, "b": AGE**2})
    other = score_permutation(EVENTS, TOTAL, {"a": AGE + 0.5 * AGE**2, "b": 3.0 - AGE**2})
    assert one is not None and other is not None
    assert one.statistic == pytest.approx(other.statistic, rel=1e-9)
    assert (one.p, one.count) == (other.p, other.count)
    alone = score_permutation(EVENTS, TOTAL, {"a": AGE})
    assert alone is not None and one.statistic > alone.statistic


@pytest.mark.parametrize("moderator", [AGE, ARM], ids=["number", "factor"])
def test_units_order_and_counting_the_opposite_do_not_matter(moderator: np.ndarray) -> None:
    plain = score_permutation(EVENTS, TOTAL, {"m": moderator})
    assert plain is not None
    turn = np.array([3, 0, 4, 1, 2])
    same: list[tuple[Any, Any, Any]] = [
        (EVENTS[turn], TOTAL[turn], moderator[turn]),
        (TOTAL - EVENTS, TOTAL, moderator),
    ]
    if moderator.dtype.kind == "f":
        same.append((EVENTS, TOTAL, 7.0 - 365.25 * moderator))
    for events, total, values in same:
        other = score_permutation(events, total, {"m": values})
        assert other is not None
        assert other.p == plain.p
        assert other.statistic == pytest.approx(plain.statistic, rel=1e-7)


def test_drawn_orders_come_near_all_orders_and_repeat() -> None:
    every = score_permutation(EVENTS, TOTAL, {"age": AGE})
    drawn = score_permutation(EVENTS, TOTAL, {"age": AGE}, draws=119, seed=5)
    again = score_permutation(EVENTS, TOTAL, {"age": AGE}, draws=119, seed=5)
    assert every is not None and drawn is not None and again is not None
    assert not drawn.exact and drawn.count == 119
    assert drawn == again
    assert drawn.statistic == every.statistic
    # five Monte-Carlo errors of 119 draws
    assert abs(drawn.p - every.p) < 5 * math.sqrt(every.p * (1 - every.p) / 119)
    others = {
        getattr(score_permutation(EVENTS, TOTAL, {"age": AGE}, draws=60, seed=s), "p", None)
        for s in range(8)
    }
    assert len(others) > 1


def test_the_observed_order_is_among_the_drawn() -> None:
    # the strongest order possible, which a few random draws would hardly meet
    events, total = np.array([0, 2, 5, 8, 11, 14, 17, 20]), np.full(8, 20)
    dose = np.arange(8.0)
    for seed in range(5):
        found = score_permutation(events, total, {"dose": dose}, draws=50, seed=seed)
        assert found is not None and found.p == 1 / 50
    # alone it is the only one
    only = score_permutation(events, total, {"dose": dose}, draws=1, seed=1)
    assert only is not None and (only.p, only.count) == (1.0, 1)


def test_all_orders_are_taken_up_to_the_number_of_draws() -> None:
    at = score_permutation(EVENTS, TOTAL, {"arm": ARM}, draws=10)
    below = score_permutation(EVENTS, TOTAL, {"arm": ARM}, draws=9, seed=1)
    assert at is not None and at.exact
    assert below is not None and not below.exact and below.count == 9


@pytest.mark.parametrize(
    "events",
    [np.zeros(5, dtype=int), TOTAL, np.where(ARM == "a", TOTAL, 0)],
    ids=["none", "all", "both"],
)
def test_no_maximum_no_test(events: np.ndarray) -> None:
    assert score_permutation(events, TOTAL, {"age": AGE}) is None


def test_one_event_is_enough_for_a_test() -> None:
    few = score_permutation([0, 0, 1, 0, 0], TOTAL, {"age": AGE})
    most = score_permutation(TOTAL - np.array([0, 0, 1, 0, 0]), TOTAL, {"age": AGE})
    assert few is not None and most is not None
    assert few.p == most.p


@pytest.mark.parametrize("draws", [0, -3, 2.0, True, "9"])
def test_wrong_number_of_draws(draws: Any) -> None:
    with pytest.raises(ValueError, match="draws must be a whole number of at least 1, got"):
        score_permutation(EVENTS, TOTAL, {"age": AGE}, draws=draws)


def test_draws_need_a_seed() -> None:
    with pytest.raises(ValueError, match="need a seed so that they can be repeated"):
        score_permutation(EVENTS, TOTAL, {"age": AGE}, draws=100)


def test_wrong_counts_and_moderators_are_refused() -> None:
    with pytest.raises(ValueError, match="events"):
        score_permutation(TOTAL + 1, TOTAL, {"age": AGE})
    with pytest.raises(ValueError, match="age"):
        score_permutation(EVENTS, TOTAL, {"age": np.ones(5)})
