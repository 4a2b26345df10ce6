"""Details of the regressions: information criteria, sizes of subgroups, notes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.pooling import _glmm_regression, fit_moderators, pool_nested

X, N = [3, 5, 2, 4, 6, 2, 7], [10, 12, 9, 9, 14, 8, 9]
TWO = {"arm": ["a", "b", "a", "b", "b", "a", "b"]}
THREE = {"arm": ["a", "b", "c", "b", "c", "a", "b"]}


@pytest.mark.parametrize("model,parameters", [("ml", 3), ("glmm", 3), ("fe", 2)])
def test_aic_counts_the_coefficients_and_tau2(model: str, parameters: int) -> None:
    fit = fit_moderators(X, N, moderators=TWO, model=model)
    assert fit.aic == pytest.approx(-2.0 * fit.log_likelihood + 2.0 * parameters, rel=1e-12)


@pytest.mark.parametrize("model", ["reml", "glmm"])
def test_sizes_and_means_of_subgroups(model: str) -> None:
    two = fit_moderators(X, N, moderators=TWO, model=model)
    assert [(g["level"], g["k"]) for g in two.subgroups] == [("a", 3), ("b", 4)]
    assert two.subgroups[0]["mu"] == pytest.approx(two.coefficients[0])
    assert two.subgroups[1]["mu"] == pytest.approx(two.coefficients.sum())
    three = fit_moderators(X, N, moderators=THREE, model=model)
    assert [(g["level"], g["k"]) for g in three.subgroups] == [("a", 2), ("b", 3), ("c", 2)]
    other = fit_moderators(X, N, moderators=THREE, model=model, reference={"arm": "c"})
    for group in other.subgroups:
        (same,) = (g for g in three.subgroups if g["level"] == group["level"])
        assert group["k"] == same["k"]
        assert group["estimate"] == pytest.approx(same["estimate"], rel=1e-6)
        assert group["se"] == pytest.approx(same["se"], rel=1e-5)


@pytest.mark.parametrize(
    "events,said",
    [([0] * 7, "No trial had an event"), (N, "Every patient had the event")],
)
def test_what_is_said_when_nothing_can_differ(events: list[int], said: str) -> None:
    fit = fit_moderators(events, N, moderators=TWO)
    assert fit.notes[0].startswith(f"{said}: ")
    assert fit.coefficients is None
    assert set(fit.fitted) == {float(events[0] > 0)}


def test_one_event_in_all_is_no_empty_data_set() -> None:
    fit = fit_moderators([1, *[0] * 6], N, moderators=TWO)
    assert not any("No trial had an event" in note for note in fit.notes)


def test_a_stage_that_cannot_be_estimated_is_told_by_its_first_sentence() -> None:
    # both stages are all or none in every trial
    fit = pool_nested([10, 0, 9], [10, 12, 9], [20, 22, 19])
    assert fit.estimate is None
    assert any(
        "is not estimable: Every trial has no events or only events" in note for note in fit.notes
    )


def test_all_or_none_trials_tend_to_the_likelihood_of_their_shares() -> None:
    n = np.array([3, 4, 5, 2, 6, 3, 4])
    x = np.where(np.arange(7) < 2, n, 0)
    either = math.log(2 / 7) * 2 + math.log(5 / 7) * 5
    alone = _glmm_regression._binary_limit(x, n, np.ones((7, 1)))
    assert alone == pytest.approx(either, abs=1e-9)
    arm = np.array([0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    both = math.log(1 / 4) + 3 * math.log(3 / 4) + math.log(1 / 3) + 2 * math.log(2 / 3)
    two = _glmm_regression._binary_limit(x, n, np.column_stack([np.ones(7), arm]))
    assert two == pytest.approx(both, abs=1e-9)


def test_inconsistency_left_beside_a_moderator_by_its_definition() -> None:
    x, n = np.array([1, 11, 7, 2, 13, 2, 4]), np.array([10, 12, 9, 19, 14, 8, 19])
    fit = fit_moderators(x, n, moderators=TWO, model="glmm", interval="wald")
    assert fit.tau2 > 0
    w = 1.0 / (1.0 / x + 1.0 / (n - x))
    design = np.column_stack([np.ones(7), [arm == "b" for arm in TWO["arm"]]])
    weighted = design * w[:, None]
    projected = np.diag(w) - weighted @ np.linalg.solve(design.T @ weighted, weighted.T)
    typical = (7 - 2) / np.trace(projected)
    assert fit.i2 == pytest.approx(100.0 * fit.tau2 / (fit.tau2 + typical), rel=1e-9)


@pytest.mark.parametrize("model", ["ml", "reml"])
def test_likelihood_tests_belong_to_maximum_likelihood(model: str) -> None:
    fit = fit_moderators(X, N, moderators=TWO, model=model)
    given = (fit.lrt, fit.lrt_df, fit.lrt_p, fit.heterogeneity_lrt)
    assert all((value is None) == (model == "reml") for value in given)


@pytest.mark.parametrize("first", [0, 3])
def test_correction_is_noted_where_it_was_made(first: int) -> None:
    fit = fit_moderators([first, *X[1:]], N, moderators=TWO, model="reml")
    assert any("0.5 was added" in note for note in fit.notes) == (first == 0)
