"""Details of the regressions: information criteria, sizes of subgroups, notes."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from analysis.pooling import (
    ModeratorFit,
    _glmm_regression,
    effect_sizes,
    fit_moderators,
    pool,
    pool_nested,
    quadrature,
)
from analysis.pooling.effects import effective_total, inverse
from analysis.pooling.moderators import R2_DEFINITION, fit_subgroups
from analysis.pooling.proportion import wilson

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


# ------------------------------------------------------------------ every field by its definition

X11 = np.array([3, 8, 14, 10, 7, 2, 12, 5, 20, 9, 4])
N11 = np.array([5, 14, 24, 15, 9, 10, 16, 6, 26, 32, 8])
GROUP = list("aabbbccabca")
YEAR = np.arange(2010, 2021)
NAMES = ("intercept", "g[b]", "g[c]")
LINEAR = ("wald", "t", "hartung-knapp", "hartung-knapp-adhoc")
SEPARATE = (
    "The moderators separate {} trial(s) at 0 or at 1 from the others, so that some coefficients "
    "have no finite estimate; they are shown as infinite with the one-sided profile limit, and "
    "tested by the likelihood ratio."
)


def dense(y: np.ndarray, v: np.ndarray, design: np.ndarray, tau2: float) -> dict[str, Any]:
    """Weighted least squares by plain matrices."""
    w = np.diag(1 / (v + tau2))
    cov = np.linalg.inv(design.T @ w @ design)
    beta = cov @ design.T @ w @ y
    gap = y - design @ beta
    projection = w - w @ design @ cov @ design.T @ w
    determinant = np.linalg.slogdet(design.T @ w @ design)[1]
    log = float(stats.norm.logpdf(y, design @ beta, np.sqrt(v + tau2)).sum())
    restricted = (
        log
        + 0.5 * design.shape[1] * math.log(2 * math.pi)
        + 0.5 * np.linalg.slogdet(design.T @ design)[1]
        - 0.5 * determinant
    )
    return {
        "beta": beta, "cov": cov, "q": float(gap @ w @ gap), "trace": float(np.trace(projection)),
        "log": log, "restricted": float(restricted), "weight": np.diag(w) / np.trace(w),
    }  # fmt: skip


@pytest.mark.parametrize("interval", LINEAR)
@pytest.mark.parametrize("model", ["reml", "ml", "dl", "fe"])
def test_normal_normal_regression_by_plain_matrices(model: str, interval: str) -> None:
    fit = fit_moderators(
        X11, N11, moderators={"g": GROUP}, model=model, interval=interval, level=0.9,
        labels=list("abcdefghijk"),
    )  # fmt: skip
    k, p, df = 11, 3, 8
    assert (fit.model, fit.transform, fit.interval, fit.level) == (model, "logit", interval, 0.9)
    assert (fit.k, fit.labels, fit.names) == (k, tuple("abcdefghijk"), NAMES)
    assert (fit.converged, fit.permutation_count, fit.permutation_p) == (True, None, None)
    design = np.column_stack([np.ones(k), *[[g == level for g in GROUP] for level in "bc"]])
    np.testing.assert_array_equal(fit.design, design)
    low, high = wilson(X11, N11, 0.9)
    shown = (fit.events, fit.total, fit.study_estimate, fit.study_ci_low, fit.study_ci_high)
    for got, want in zip(shown, (X11, N11, X11 / N11, low, high), strict=True):
        np.testing.assert_array_equal(got, want)

    y, v = np.log(X11 / (N11 - X11)), 1 / X11 + 1 / (N11 - X11)
    here, fixed = dense(y, v, design, fit.tau2), dense(y, v, design, 0.0)
    assert fit.coefficients == pytest.approx(here["beta"], rel=1e-10)
    factor = {"hartung-knapp": here["q"] / df, "hartung-knapp-adhoc": max(1, here["q"] / df)}
    cov = here["cov"] * factor.get(interval, 1.0)
    se = np.sqrt(np.diag(cov))
    assert fit.covariance == pytest.approx(cov, rel=1e-9)
    assert fit.se == pytest.approx(se, rel=1e-9)
    law = stats.norm() if interval == "wald" else stats.t(df)
    assert fit.df == (None if interval == "wald" else df)
    assert fit.ci_low == pytest.approx(here["beta"] - law.isf(0.05) * se, rel=1e-9)
    assert fit.ci_high == pytest.approx(here["beta"] + law.isf(0.05) * se, rel=1e-9)
    assert fit.statistic == pytest.approx(here["beta"] / se, rel=1e-9)
    assert fit.p_values == pytest.approx(2 * law.sf(np.abs(here["beta"] / se)), rel=1e-7)
    wald = float(here["beta"][1:] @ np.linalg.solve(cov[1:, 1:], here["beta"][1:]))
    if interval == "wald":
        assert (fit.omnibus_df, fit.omnibus_test) == ((2, None), "Wald chi-square(2)")
        assert fit.omnibus == pytest.approx(wald, rel=1e-9)
        assert fit.omnibus_p == pytest.approx(stats.chi2.sf(wald, 2), rel=1e-7)
    else:
        assert (fit.omnibus_df, fit.omnibus_test) == ((2, df), "F(2, 8)")
        assert fit.omnibus == pytest.approx(wald / 2, rel=1e-9)
        assert fit.omnibus_p == pytest.approx(stats.f.sf(wald / 2, 2, df), rel=1e-7)
    assert (fit.q, fit.q_df) == (pytest.approx(fixed["q"], rel=1e-10), df)
    assert fit.q_p == pytest.approx(stats.chi2.sf(fixed["q"], df), rel=1e-9)
    typical = df / fixed["trace"]
    assert fit.weight == pytest.approx(here["weight"], rel=1e-10)
    assert fit.fitted == pytest.approx(special.expit(design @ here["beta"]), rel=1e-10)
    parameters = p if model == "fe" else p + 1
    value = here["restricted" if model == "reml" else "log"]
    assert fit.log_likelihood == pytest.approx(value, rel=1e-10)
    assert fit.aic == pytest.approx(2 * parameters - 2 * value, rel=1e-10)
    assert fit.r2_definition == R2_DEFINITION
    null = np.ones((k, 1))
    if model == "fe":
        assert (fit.tau2, fit.tau2_null, fit.tau2_ci, fit.r2) == (0.0, 0.0, None, None)
        assert fit.i2 == pytest.approx(max(0.0, 100 * (fixed["q"] - df) / fixed["q"]), rel=1e-9)
        assert fit.h2 == pytest.approx(fixed["q"] / df, rel=1e-9)
    else:
        assert fit.i2 == pytest.approx(100 * fit.tau2 / (fit.tau2 + typical), rel=1e-9)
        assert fit.h2 == pytest.approx(1 + fit.tau2 / typical, rel=1e-9)
        assert fit.r2 == pytest.approx(
            max(0.0, 100 * (fit.tau2_null - fit.tau2) / fit.tau2_null), rel=1e-9
        )
        for limit, tail in zip(fit.tau2_ci, (0.05, 0.95), strict=True):
            q = dense(y, v, design, limit)["q"]
            want = stats.chi2.isf(tail, df)
            assert q == pytest.approx(want, rel=1e-8) if limit else q <= want
    tests = (fit.lrt, fit.lrt_df, fit.lrt_p, fit.heterogeneity_lrt, fit.heterogeneity_lrt_p)
    if model == "ml":
        ratio = 2 * (value - dense(y, v, null, fit.tau2_null)["log"])
        own = 2 * (value - fixed["log"])
        assert tests == pytest.approx(
            (ratio, 2, stats.chi2.sf(ratio, 2), own, 0.5 * stats.chi2.sf(own, 1)), rel=1e-8
        )
    else:
        assert tests == (None,) * 5
    map_ = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1]])
    mu, error = map_ @ here["beta"], np.sqrt(np.diag(map_ @ cov @ map_.T))
    for j, group in enumerate(fit.subgroups):
        assert group == {
            "level": "abc"[j],
            "k": GROUP.count("abc"[j]),
            "mu": pytest.approx(mu[j], rel=1e-9),
            "se": pytest.approx(error[j], rel=1e-9),
            "estimate": pytest.approx(special.expit(mu[j]), rel=1e-9),
            "ci_low": pytest.approx(special.expit(mu[j] - law.isf(0.05) * error[j]), rel=1e-9),
            "ci_high": pytest.approx(special.expit(mu[j] + law.isf(0.05) * error[j]), rel=1e-9),
        }
    assert len(fit.subgroups) == 3


@pytest.mark.parametrize("transform", ["arcsine", "freeman-tukey", "raw", "log"])
def test_other_scales_turn_back_at_their_own_totals(transform: str) -> None:
    fit = fit_moderators(
        X11, N11, moderators={"g": GROUP}, model="dl", transform=transform, interval="wald"
    )
    y, v = effect_sizes(X11, N11, transform)
    here = dense(y, v, fit.design, fit.tau2)
    assert fit.coefficients == pytest.approx(here["beta"], rel=1e-10)

    def back(value: Any, total: np.ndarray) -> Any:
        at = effective_total(total) if transform == "freeman-tukey" else None
        return inverse(value, transform, at)

    assert fit.fitted == pytest.approx(back(fit.design @ here["beta"], N11), rel=1e-10)
    z = stats.norm.isf(0.025)
    for group in fit.subgroups:
        total = N11[np.array(GROUP) == group["level"]]
        for name, move in (("estimate", 0), ("ci_low", -z), ("ci_high", z)):
            want = float(back(group["mu"] + move * group["se"], total))
            assert group[name] == pytest.approx(want, rel=1e-10), name
    got = fit.predict({"g": ["b"]})
    row = np.array([1.0, 1.0, 0.0])
    mean, variance = row @ here["beta"], row @ here["cov"] @ row
    half, far = z * math.sqrt(variance), z * math.sqrt(variance + fit.tau2)
    limits = {
        "estimate": 0.0, "ci_low": -half, "ci_high": half, "pi_low": -far, "pi_high": far
    }  # fmt: skip
    assert set(got) == set(limits)
    for name, move in limits.items():
        assert got[name] == pytest.approx([float(back(mean + move, N11))], rel=1e-10), name


@pytest.mark.parametrize("interval", ["wald", "t", "profile", "profile-t"])
def test_predictions_of_every_interval_of_the_glmm(interval: str) -> None:
    fit = fit_moderators(
        X11, N11, moderators={"g": GROUP}, interval=interval, level=0.8, tau2_interval=False
    )
    assert fit.tau2 > 0.0
    quantile = (stats.norm if interval in ("wald", "profile") else stats.t(8)).isf(0.1)
    got = fit.predict({"g": ["c", "a"]})
    rows = np.array([[1.0, 0, 1], [1.0, 0, 0]])
    mean, variance = rows @ fit.coefficients, np.diag(rows @ fit.covariance @ rows.T)
    half, far = quantile * np.sqrt(variance), quantile * np.sqrt(variance + fit.tau2)
    assert got["estimate"] == pytest.approx(special.expit(mean), rel=1e-12)
    assert got["ci_low"] == pytest.approx(special.expit(mean - half), rel=1e-10)
    assert got["ci_high"] == pytest.approx(special.expit(mean + half), rel=1e-10)
    assert got["pi_low"] == pytest.approx(special.expit(mean - far), rel=1e-10)
    assert got["pi_high"] == pytest.approx(special.expit(mean + far), rel=1e-10)


XV = np.array([1, 11, 7, 2, 13, 2, 4, 3])
NV = np.array([10, 12, 9, 19, 14, 8, 19, 12])
ARM = list("abcbcabb")


def marginal(x: np.ndarray, n: np.ndarray, eta: np.ndarray, tau2: float) -> float:
    """Log-likelihood by the trapezoid rule in standard normal scores."""
    score = np.linspace(-12.0, 12.0, 801)
    logit = np.asarray(eta)[:, None] + math.sqrt(tau2) * score
    log = stats.binom.logpmf(x, n, x / n)[:, None] + (
        x[:, None] * special.log_expit(logit)
        + (n - x)[:, None] * special.log_expit(-logit)
        - (special.xlogy(x, x / n) + special.xlogy(n - x, 1 - x / n))[:, None]
    )
    mass = np.exp(-0.5 * score**2) * (score[1] - score[0]) / math.sqrt(2 * math.pi)
    return float(np.log(np.exp(log) @ mass).sum())


@pytest.mark.parametrize("interval", ["wald", "t", "profile", "profile-t"])
def test_binomial_normal_regression_by_definition(interval: str) -> None:
    fit = fit_moderators(XV, NV, moderators={"g": ARM}, interval=interval, level=0.9)
    k, p, df = 8, 3, 5
    assert (fit.model, fit.transform, fit.interval, fit.level) == ("glmm", "logit", interval, 0.9)
    assert (fit.k, fit.labels, fit.names) == (k, None, NAMES)
    assert (fit.converged, fit.notes) == (True, ())
    low, high = wilson(XV, NV, 0.9)
    shown = (fit.events, fit.total, fit.study_estimate, fit.study_ci_low, fit.study_ci_high)
    for got, want in zip(shown, (XV, NV, XV / NV, low, high), strict=True):
        np.testing.assert_array_equal(got, want)
    beta, eta = fit.coefficients, fit.design @ fit.coefficients
    top = marginal(XV, NV, eta, fit.tau2)
    assert fit.log_likelihood == pytest.approx(top, abs=1e-10)
    assert fit.aic == pytest.approx(2 * (p + 1) - 2 * top, rel=1e-10)
    assert fit.fitted == pytest.approx(special.expit(eta), rel=1e-12)
    use_t = interval in ("t", "profile-t")
    law = stats.t(df) if use_t else stats.norm()
    cut = law.isf(0.05) ** 2
    assert fit.df == (df if use_t else None)
    assert fit.se == pytest.approx(np.sqrt(np.diag(fit.covariance)), rel=1e-12)
    assert fit.statistic == pytest.approx(beta / fit.se, rel=1e-12)
    assert fit.p_values == pytest.approx(2 * law.sf(np.abs(beta / fit.se)), rel=1e-8)

    null = pool(XV, NV, "glmm", interval="wald")
    ratio = 2 * (top - null.log_likelihood)
    assert fit.tau2_null == pytest.approx(null.tau2, rel=1e-7)
    assert fit.r2 == pytest.approx(100 * (null.tau2 - fit.tau2) / null.tau2, rel=1e-6)
    assert (fit.lrt, fit.lrt_df) == (pytest.approx(ratio, abs=1e-8), 2)
    assert fit.lrt_p == pytest.approx(stats.chi2.sf(ratio, 2), rel=1e-7)
    share = np.array([XV[np.array(ARM) == g].sum() / NV[np.array(ARM) == g].sum() for g in ARM])
    equal = float(stats.binom.logpmf(XV, NV, share).sum())
    saturated = float(stats.binom.logpmf(XV, NV, XV / NV).sum())
    assert fit.heterogeneity_lrt == pytest.approx(2 * (top - equal), rel=1e-8)
    assert fit.heterogeneity_lrt_p == pytest.approx(0.5 * stats.chi2.sf(2 * (top - equal), 1))
    assert (fit.q, fit.q_df) == (pytest.approx(2 * (saturated - equal), rel=1e-9), df)
    assert fit.q_p == pytest.approx(stats.chi2.sf(fit.q, df), rel=1e-8)
    h = 1e-3
    info = np.empty(k)
    for i in range(k):
        at = (XV[[i]], NV[[i]])
        f = [marginal(*at, eta[[i]] + step, fit.tau2) for step in (-h, 0.0, h)]
        info[i] = -(f[0] - 2 * f[1] + f[2]) / h**2
    assert fit.weight == pytest.approx(info / info.sum(), rel=1e-5)
    fixed = dense(*effect_sizes(XV, NV, "logit"), fit.design, 0.0)
    typical = df / fixed["trace"]
    assert fit.i2 == pytest.approx(100 * fit.tau2 / (fit.tau2 + typical), rel=1e-9)
    assert fit.h2 == pytest.approx(1 + fit.tau2 / typical, rel=1e-9)

    trials = quadrature.prepare(XV, NV)
    basis, r = _glmm_regression._basis(fit.design)
    for limit in fit.tau2_ci:
        value = _glmm_regression._profile(
            trials, basis, np.zeros(k), (r @ beta)[None], np.array([limit]), 34.0
        )[1][0]
        drop = 2 * (top - value)
        want = stats.chi2.isf(0.1, 1)
        assert drop == pytest.approx(want, rel=1e-6) if limit else drop <= want
    assert fit.tau2_ci[0] < fit.tau2 < fit.tau2_ci[1]
    map_ = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1]])
    cells = np.column_stack([[g == level for g in ARM] for level in "abc"]).astype(float)
    mu, error = map_ @ beta, np.sqrt(np.diag(map_ @ fit.covariance @ map_.T))
    if interval in ("wald", "t"):
        assert fit.ci_low == pytest.approx(beta - math.sqrt(cut) * fit.se, rel=1e-9)
        assert fit.ci_high == pytest.approx(beta + math.sqrt(cut) * fit.se, rel=1e-9)
        q = float(beta[1:] @ np.linalg.solve(fit.covariance[1:, 1:], beta[1:]))
        wanted = (
            (q, (2, None), stats.chi2.sf(q, 2), "Wald chi-square(2)")
            if interval == "wald"
            else (q / 2, (2, df), stats.f.sf(q / 2, 2, df), "F(2, 5)")
        )
    else:
        wanted = (ratio, (2, None), stats.chi2.sf(ratio, 2), "likelihood ratio, chi-square(2)")
        for j in range(p):
            for limit in (fit.ci_low[j], fit.ci_high[j]):
                value = _glmm_regression.constrained(XV, NV, fit.design, j, limit)[0]
                assert 2 * (top - value) == pytest.approx(cut, rel=1e-6)
            assert fit.ci_low[j] < beta[j] < fit.ci_high[j]
    assert fit.omnibus == pytest.approx(wanted[0], rel=1e-8)
    assert (fit.omnibus_df, fit.omnibus_test) == (wanted[1], wanted[3])
    assert fit.omnibus_p == pytest.approx(wanted[2], rel=1e-7)
    for j, group in enumerate(fit.subgroups):
        assert (group["level"], group["k"]) == ("abc"[j], ARM.count("abc"[j]))
        assert group["mu"] == pytest.approx(mu[j], rel=1e-9)
        assert group["se"] == pytest.approx(error[j], rel=1e-9)
        assert group["estimate"] == pytest.approx(special.expit(mu[j]), rel=1e-9)
        limits = special.logit([group["ci_low"], group["ci_high"]])
        if interval in ("wald", "t"):
            half = math.sqrt(cut) * error[j]
            assert limits == pytest.approx([mu[j] - half, mu[j] + half], rel=1e-8)
            continue
        assert limits[0] < mu[j] < limits[1]
        for limit in limits:
            value = _glmm_regression.constrained(XV, NV, cells, j, float(limit))[0]
            assert 2 * (top - value) == pytest.approx(cut, rel=1e-5)
    assert len(fit.subgroups) == 3


def test_equal_effects_beside_a_moderator_solve_the_equations_of_logistic_regression() -> None:
    x, n = np.array([3, 5, 6, 4, 8, 9]), np.array([20, 22, 25, 14, 26, 24])
    dose = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    fit = fit_moderators(x, n, moderators={"dose": dose}, interval="wald")
    assert (fit.tau2, fit.heterogeneity_lrt, fit.heterogeneity_lrt_p) == (0.0, 0.0, 1.0)
    # both equations to rounding: a step too many or too long would show
    assert fit.design.T @ (x - n * fit.fitted) == pytest.approx([0.0, 0.0], abs=1e-11)
    w = n * fit.fitted * (1 - fit.fitted)
    cov = np.linalg.inv(fit.design.T @ (fit.design * w[:, None]))
    assert fit.covariance == pytest.approx(cov, rel=1e-9)
    assert fit.weight == pytest.approx(w / w.sum(), rel=1e-9)


# ------------------------------------------------------------------ nothing to fit


@pytest.mark.parametrize("full", [False, True])
def test_every_field_where_nothing_can_differ(full: bool) -> None:
    n = np.array(N)
    fit = fit_moderators(n if full else n * 0, n, moderators=THREE, interval="wald", level=0.9)
    out = fit.to_dict()
    what = "Every patient had the event" if full else "No trial had an event"
    told = {
        "converged": False, "lrt": 0.0, "lrt_df": 2, "lrt_p": 1.0, "log_likelihood": 0.0,
        "omnibus": 0.0, "omnibus_df": [2, None], "omnibus_p": 1.0, "q_df": 4,
        "omnibus_test": "likelihood ratio, chi-square(2)",
        "fitted": [float(full)] * 7,
        "weight": (n / n.sum()).tolist(),
        "notes": [
            f"{what}: the coefficients are not estimable and the moderators explain nothing."
        ],
        "model": "glmm", "transform": "logit", "interval": "wald", "level": 0.9, "k": 7,
        "subgroups": [], "r2_definition": R2_DEFINITION, "study_estimate": [float(full)] * 7,
        "names": ["intercept", "arm[b]", "arm[c]"],
        "terms": [{"name": "arm", "levels": ["a", "b", "c"]}],
    }  # fmt: skip
    assert {name: out[name] for name in told} == told
    counts = {"events", "total", "design", "study_ci_low", "study_ci_high"}
    for name in set(out) - set(told) - counts:
        assert out[name] is None, name


def test_export_has_one_entry_per_field_and_the_frame_one_column_per_number() -> None:
    fit = fit_moderators(X11, N11, moderators={"g": GROUP}, model="reml")
    assert set(fit.to_dict()) == set(ModeratorFit.__dataclass_fields__)
    json.dumps(fit.to_dict(), allow_nan=False)
    frame = fit.to_frame()
    columns = ["coefficient", "estimate", "se", "statistic", "p", "ci_low", "ci_high"]
    assert list(frame.columns) == columns
    assert tuple(frame["coefficient"]) == fit.names
    values = (fit.coefficients, fit.se, fit.statistic, fit.p_values, fit.ci_low, fit.ci_high)
    for column, value in zip(columns[1:], values, strict=True):
        np.testing.assert_array_equal(frame[column], value)
    empty = fit_moderators([0] * 7, N, moderators=TWO).to_frame()
    assert list(empty.columns) == columns
    assert len(empty) == 0


# ------------------------------------------------------------------ sentences for a reader

NO_R2 = "Without moderators the between-trial variance is already 0, so R2 does not exist."
NO_MODEL_R2 = "Equal effects given the moderators: no between-trial variance, so no R2."
ADDED = "0.5 was added to both cells of the trials with an empty cell."
BOUNDARY = "The residual between-trial variance is estimated at its boundary, zero."
VANISH = (
    "The residuals are all zero, so the Hartung-Knapp standard errors vanish; the Wald ones are "
    "shown."
)
NO_SIGN = "Some of them are not identified at all, so no coefficient is shown."
NO_TOP = "The profile likelihood sets no upper limit to the residual variance."
NO_FALL = "The profile likelihood of a coefficient does not fall to the cut-off on one side."
ALL_OR_NONE = (
    "Every trial is at 0 or at 1 and the moderators do not tell them apart: the between-trial "
    "variance has no finite estimate and the coefficients are not estimable."
)
HALVES = {"g": list("uuuvvv")}
GROUPS = {"g": GROUP}


@pytest.mark.parametrize(
    ("x", "n", "moderators", "options", "notes"),
    [
        (X11, N11, GROUPS, {"model": "reml"}, ()),
        (X11, N11, GROUPS, {"model": "fe"}, (NO_MODEL_R2,)),
        ([0, *X11[1:]], N11, GROUPS, {"model": "dl"}, (ADDED,)),
        ([0, *X11[1:]], N11, GROUPS, {"model": "dl", "transform": "log"}, (ADDED,)),
        ([5, *X11[1:]], N11, GROUPS, {"model": "dl", "transform": "raw"}, (ADDED,)),
        ([0, *X11[1:]], N11, GROUPS, {"model": "dl", "transform": "arcsine"}, ()),
        (X11, N11, GROUPS, {"model": "dl", "transform": "freeman-tukey"},
         ("Freeman-Tukey values are turned back at the harmonic mean of the totals.",)),
        ([5] * 6, [10] * 6, HALVES, {"model": "reml"}, (VANISH, NO_R2)),
        ([5] * 6, [10] * 6, HALVES, {"model": "fe", "interval": "hartung-knapp"},
         (VANISH, NO_MODEL_R2)),
        ([5] * 6, [10] * 6, HALVES, {"model": "fe", "interval": "hartung-knapp-adhoc"},
         (NO_MODEL_R2,)),
        ([5] * 6, [10] * 6, HALVES, {}, (BOUNDARY, NO_R2)),
        (XV, NV, {"g": ARM}, {"interval": "wald"}, ()),
        ([0, 0, 0, 9, 8, 7], [9, 8, 7, 9, 8, 7], {"dose": range(6)}, {}, (SEPARATE.format(6),)),
        ([0, 0, 9, 8], [9, 8, 9, 8], {"dose": [-1.5, -0.5, 0.5, 1.5]}, {},
         (SEPARATE.format(4), NO_SIGN)),
        ([0, 9, 0, 8, 7, 0], [9, 9, 8, 8, 7, 9], HALVES, {}, (ALL_OR_NONE,)),
        ([0, 2, 0, 2, 1], [2] * 5, {"dose": [3, 1, 4, 1, 5]},
         {"interval": "profile-t", "level": 0.99999}, (NO_TOP, NO_FALL)),
        ([0, 2, 0, 2, 1], [2] * 5, {"g": list("uvuvv")},
         {"interval": "profile-t", "level": 0.9999}, (SEPARATE.format(2), NO_TOP)),
    ],
)  # fmt: skip
def test_sentences_word_by_word(
    x: Any, n: Any, moderators: Any, options: dict[str, Any], notes: tuple[str, ...]
) -> None:
    assert fit_moderators(x, n, moderators=moderators, **options).notes == notes


def test_sentences_about_how_the_maximum_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def rough(*args: Any) -> _glmm_regression.Maximum:
        top = maximize(*args)
        fields = {name: getattr(top, name) for name in top.__dataclass_fields__}
        return _glmm_regression.Maximum(**{**fields, "settled": False, "modes": 3})

    maximize = _glmm_regression.maximize
    monkeypatch.setattr(_glmm_regression, "maximize", rough)
    fit = fit_moderators(XV, NV, moderators={"g": ARM}, interval="wald", tau2_interval=False)
    assert not fit.converged
    assert fit.notes == (
        "The likelihood has 3 maxima; the highest is reported.",
        "The iteration did not reach its usual precision.",
    )


# ------------------------------------------------------------------ separated data


def check_separated(fit: ModeratorFit) -> None:
    """What holds for every separated fit, by the definitions of its fields."""
    x, n, design, beta = fit.events, fit.total, fit.design, fit.coefficients
    cut = stats.t.isf(0.5 - fit.level / 2, fit.q_df) ** 2
    if fit.interval in ("wald", "profile"):
        cut = stats.chi2.isf(1 - fit.level, 1)
    assert not fit.converged
    assert (fit.df, fit.i2, fit.h2) == (None, None, None)
    lost = np.isinf(beta)
    assert lost.any()
    np.testing.assert_array_equal(np.isinf(fit.se), lost)
    np.testing.assert_array_equal(np.isinf(fit.covariance), lost[:, None] | lost[None, :])
    assert fit.se[~lost] == pytest.approx(np.sqrt(np.diag(fit.covariance)[~lost]), rel=1e-12)
    for j in range(beta.size):
        without = _glmm_regression.constrained(x, n, design, j, 0.0)[0]
        ratio = max(0.0, 2 * (fit.log_likelihood - without))
        assert fit.p_values[j] == pytest.approx(stats.chi2.sf(ratio, 1), rel=1e-7, abs=1e-12)
        assert fit.statistic[j] == pytest.approx(
            math.copysign(math.sqrt(ratio), beta[j]), rel=1e-7, abs=1e-9
        )
        for limit, side in ((fit.ci_low[j], -1), (fit.ci_high[j], 1)):
            if beta[j] == side * math.inf:
                assert limit == beta[j]
            elif math.isfinite(limit):
                value = _glmm_regression.constrained(x, n, design, j, float(limit))[0]
                assert 2 * (fit.log_likelihood - value) == pytest.approx(cut, rel=1e-5)
    assert (fit.omnibus, fit.omnibus_p) == (fit.lrt, fit.lrt_p)
    m = beta.size - 1
    assert (fit.omnibus_df, fit.lrt_df) == ((m, None), m)
    assert fit.omnibus_test == f"likelihood ratio, chi-square({m})"
    assert fit.lrt_p == pytest.approx(stats.chi2.sf(fit.lrt, m), rel=1e-9)
    assert fit.aic == pytest.approx(2 * (m + 2) - 2 * fit.log_likelihood, rel=1e-12)
    assert fit.weight == pytest.approx(n / n.sum(), rel=1e-15)
    json.dumps(fit.to_dict(), allow_nan=False)


@pytest.mark.parametrize("interval", ["t", "profile"])
def test_an_empty_level_beside_others(interval: str) -> None:
    here = np.array(GROUP) == "b"
    x = np.where(here, 0, X11)
    fit = fit_moderators(x, N11, moderators=GROUPS, interval=interval, level=0.9)
    check_separated(fit)
    assert fit.coefficients.tolist()[1] == -math.inf
    rest = fit_moderators(
        x[~here], N11[~here], moderators={"g": [g for g in GROUP if g != "b"]},
        interval="wald", level=0.9,
    )  # fmt: skip
    keep = [0, 2]
    assert fit.coefficients[keep] == pytest.approx(rest.coefficients, rel=1e-7)
    assert fit.covariance[np.ix_(keep, keep)] == pytest.approx(rest.covariance, rel=1e-6)
    assert fit.tau2 == pytest.approx(rest.tau2, rel=1e-6)
    assert fit.tau2_ci == pytest.approx(rest.tau2_ci, rel=1e-6)
    assert fit.heterogeneity_lrt == pytest.approx(rest.heterogeneity_lrt, abs=1e-8)
    null = pool(x, N11, "glmm", interval="wald")
    assert fit.tau2_null == pytest.approx(null.tau2, rel=1e-7)
    assert fit.r2 == pytest.approx(100 * (null.tau2 - fit.tau2) / null.tau2, rel=1e-6)
    assert fit.lrt == pytest.approx(2 * (fit.log_likelihood - null.log_likelihood), rel=1e-7)
    fitted = np.zeros(11)
    fitted[~here] = rest.fitted
    assert fit.fitted == pytest.approx(fitted, rel=1e-7)
    a, b, c = fit.subgroups
    for group, own in zip((a, c), rest.subgroups, strict=True):
        for name in ("estimate", "mu", "se"):
            assert group[name] == pytest.approx(own[name], rel=1e-6), name
    cut = stats.t.isf(0.05, 8) ** 2 if interval in ("t", "profile-t") else stats.norm.isf(0.05) ** 2
    cells = np.column_stack([[g == level for g in GROUP] for level in "abc"]).astype(float)
    for j, group in enumerate((a, b, c)):
        assert (group["level"], group["k"]) == ("abc"[j], GROUP.count("abc"[j]))
        for end in ("ci_low", "ci_high"):
            limit = float(special.logit(group[end]))
            if group is not b and interval in ("wald", "t"):
                half = math.sqrt(cut) * group["se"] * (1 if end == "ci_high" else -1)
                assert limit == pytest.approx(group["mu"] + half, rel=1e-8)
            elif math.isfinite(limit):
                value = _glmm_regression.constrained(x, N11, cells, j, limit)[0]
                assert 2 * (fit.log_likelihood - value) == pytest.approx(cut, rel=1e-5)
    assert (b["estimate"], b["ci_low"], b["mu"], b["se"]) == (0.0, 0.0, None, None)
    short = fit_moderators(x, N11, moderators=GROUPS, interval="wald", tau2_interval=False)
    assert short.tau2_ci is None


def test_a_full_level_mirrors_an_empty_one() -> None:
    x = np.where(np.array(GROUP) == "b", 0, X11)
    empty = fit_moderators(x, N11, moderators=GROUPS, interval="wald")
    full = fit_moderators(N11 - x, N11, moderators=GROUPS, interval="wald")
    check_separated(full)
    assert full.coefficients == pytest.approx(-empty.coefficients, rel=1e-7)
    assert full.ci_low == pytest.approx(-empty.ci_high, rel=1e-7)
    assert full.statistic == pytest.approx(-empty.statistic, rel=1e-6)
    assert full.fitted == pytest.approx(1 - empty.fitted, rel=1e-7)
    b, mirrored = empty.subgroups[1], full.subgroups[1]
    assert (mirrored["estimate"], mirrored["ci_high"]) == (1.0, 1.0)
    assert mirrored["ci_low"] == pytest.approx(1 - b["ci_high"], rel=1e-9)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_units_of_a_separating_number_change_nothing_else(unit: float) -> None:
    x, n = np.array([0, 0, 0, 9, 8, 7]), np.array([9, 8, 7, 9, 8, 7])
    dose = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    fit = fit_moderators(x, n, moderators={"dose": dose * unit}, interval="wald")
    base = fit_moderators(x, n, moderators={"dose": dose}, interval="wald")
    check_separated(fit)
    assert fit.coefficients.tolist() == [-math.inf, math.inf]
    assert (fit.tau2, fit.r2, fit.tau2_ci, fit.tau2_null) == (None, None, None, None)
    assert fit.p_values == pytest.approx(base.p_values, rel=1e-6)
    assert fit.ci_high[0] == pytest.approx(base.ci_high[0], rel=1e-6)
    assert fit.ci_low[1] * unit == pytest.approx(base.ci_low[1], rel=1e-6)
    assert fit.fitted.tolist() == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    assert (fit.log_likelihood, fit.heterogeneity_lrt, fit.heterogeneity_lrt_p) == (0.0, 0.0, 1.0)


def test_no_coefficient_is_finite_where_one_trial_is_left() -> None:
    x, n = [1, 0, 17, 0, 0, 0, 0, 0], [26, 12, 17, 23, 30, 17, 21, 5]
    z = [0.889, -0.287, -1.663, 1.509, -1.364, -0.473, 0.883, 1.116]
    fit = fit_moderators(x, n, moderators={"z": z, "d": list("babaaaab")}, interval="profile")
    check_separated(fit)
    assert np.isinf(fit.se).all()
    assert fit.subgroups == ()
    assert fit.fitted == pytest.approx([1 / 26, 0, 1, 0, 0, 0, 0, 0], rel=1e-9)
    assert fit.tau2 == 0.0


def test_all_or_none_trials_that_moderators_do_not_tell_apart() -> None:
    x, n = np.array([0, 9, 0, 8, 7, 0]), np.array([9, 9, 8, 8, 7, 9])
    fit = fit_moderators(x, n, moderators=HALVES)
    value = 2 * (2 * math.log(2 / 3) + math.log(1 / 3))
    null = 6 * math.log(1 / 2)
    equal = sum(
        float(stats.binom.logpmf(a, b, a.sum() / b.sum()).sum())
        for a, b in ((x[:3], n[:3]), (x[3:], n[3:]))
    )
    assert fit.log_likelihood == pytest.approx(value, abs=1e-8)
    assert fit.lrt == pytest.approx(2 * (value - null), abs=1e-7)
    assert fit.heterogeneity_lrt == pytest.approx(2 * (value - equal), rel=1e-9)
    assert fit.heterogeneity_lrt_p == pytest.approx(
        0.5 * stats.chi2.sf(2 * (value - equal), 1), rel=1e-6
    )
    assert (fit.q, fit.q_df) == (pytest.approx(-2 * equal, rel=1e-9), 4)
    assert fit.q_p == pytest.approx(stats.chi2.sf(-2 * equal, 4), rel=1e-6)
    assert (fit.omnibus, fit.omnibus_p) == (fit.lrt, fit.lrt_p)
    assert (fit.omnibus_df, fit.omnibus_test) == ((1, None), "likelihood ratio, chi-square(1)")
    gone = (
        "coefficients", "se", "ci_low", "ci_high", "statistic", "p_values", "covariance", "df",
        "tau2", "tau2_ci", "tau2_null", "r2", "i2", "h2", "fitted",
    )  # fmt: skip
    assert [getattr(fit, name) for name in gone] == [None] * len(gone)
    assert (fit.subgroups, fit.converged) == ((), False)
    assert fit.weight == pytest.approx(n / n.sum(), rel=1e-15)


def test_a_sign_that_the_data_do_not_identify() -> None:
    fit = fit_moderators([0, 0, 9, 8], [9, 8, 9, 8], moderators={"dose": [-1.5, -0.5, 0.5, 1.5]})
    gone = (
        "coefficients",
        "se",
        "ci_low",
        "ci_high",
        "statistic",
        "p_values",
        "covariance",
        "tau2",
    )
    assert [getattr(fit, name) for name in gone] == [None] * len(gone)
    assert fit.fitted.tolist() == [0.0, 0.0, 1.0, 1.0]
    assert (fit.log_likelihood, fit.converged) == (0.0, False)
    assert fit.lrt == pytest.approx(8 * math.log(2), abs=1e-7)
    assert fit.lrt_p == pytest.approx(stats.chi2.sf(8 * math.log(2), 1), rel=1e-6)


# ------------------------------------------------------------------ subgroups


@pytest.mark.parametrize(
    ("model", "interval", "transform"),
    [("glmm", "wald", "logit"), ("reml", "hartung-knapp", "logit"), ("dl", "t", "arcsine"),
     ("ml", None, "raw"), (None, None, None)],
)  # fmt: skip
@pytest.mark.parametrize("tau2", ["separate", "common"])
def test_subgroups_are_pools_of_their_own_or_one_regression(
    model: str | None, interval: str | None, transform: str | None, tau2: str
) -> None:
    given = {"model": model, "interval": interval, "transform": transform}
    given = {name: value for name, value in given.items() if value is not None}
    if not given and tau2 == "common":
        given = {"interval": "wald"}  # the default interval is slow, and tested above
    names = list("abcdefghijk")
    fit = fit_subgroups(X11, N11, GROUP, tau2=tau2, level=0.9, labels=names, **given)
    assert (fit.levels, fit.k, fit.tau2) == (("a", "b", "c"), (4, 4, 3), tau2)
    told = fit.to_dict()
    assert set(told) == set(fit.__dataclass_fields__)
    json.dumps(told, allow_nan=False)
    if tau2 == "common":
        own = fit_moderators(
            X11, N11, moderators={"subgroup": GROUP}, level=0.9, labels=names, **given
        )
        assert fit.regression.to_dict() == own.to_dict() == told["regression"]
        assert fit.regression.interval == own.interval
        assert (fit.q, fit.q_df, fit.q_p) == (own.omnibus, own.omnibus_df, own.omnibus_p)
        assert (fit.test, fit.notes, fit.fits) == (own.omnibus_test, own.notes, None)
        for name in ("estimate", "ci_low", "ci_high"):
            assert getattr(fit, name) == tuple(group[name] for group in own.subgroups)
        return
    at = [np.flatnonzero(np.array(GROUP) == level) for level in "abc"]
    parts = [pool(X11[i], N11[i], level=0.9, labels=[names[j] for j in i], **given) for i in at]
    assert told["fits"] == [part.to_dict() for part in parts]
    assert (fit.test, fit.notes, fit.regression) == ("Cochran's Q between subgroups", (), None)
    for name in ("estimate", "ci_low", "ci_high"):
        assert getattr(fit, name) == tuple(getattr(part, name) for part in parts)
    mu, w = np.array([f.mu for f in parts]), np.array([f.se**-2 for f in parts])
    q = float((w * (mu - (w * mu).sum() / w.sum()) ** 2).sum())
    assert fit.q == pytest.approx(q, rel=1e-12)
    assert (fit.q_df, fit.q_p) == ((2, None), pytest.approx(stats.chi2.sf(q, 2), rel=1e-9))


LEFT_OUT = (
    "Left out of the test between subgroups, having no pooled mean with a standard error: {}."
)
NEEDS_TWO = "A test between subgroups needs two subgroups with a pooled mean."


@pytest.mark.parametrize(
    ("x", "n", "by", "notes", "tested"),
    [
        ([0, 0, 3, 4], [9] * 4, "uuvv", (LEFT_OUT.format("u"), NEEDS_TWO), 0),
        ([0, 0, 9, 9], [9] * 4, "uuvv", (LEFT_OUT.format("u, v"), NEEDS_TWO), 0),
        ([0, 0, 3, 4, 5, 7], [9] * 6, "uuvvww", (LEFT_OUT.format("u"),), 2),
        ([1, 2, 3, 4, 5], [9] * 5, "uuvvw", (LEFT_OUT.format("w"),), 2),
        ([1, 2, 3, 4, 5, 7], [9] * 6, "uuvvww", (), 3),
    ],
)
def test_subgroups_without_a_mean_are_named(
    x: list[int], n: list[int], by: str, notes: tuple[str, ...], tested: int
) -> None:
    fit = fit_subgroups(x, n, list(by), interval="wald")
    assert fit.notes == notes
    assert fit.test == "Cochran's Q between subgroups"
    if not tested:
        assert (fit.q, fit.q_df, fit.q_p) == (None, None, None)
        return
    assert fit.q_df == (tested - 1, None)
    used = [f for f in fit.fits if f.mu is not None]
    mu, w = np.array([f.mu for f in used]), np.array([f.se**-2 for f in used])
    q = float((w * (mu - (w * mu).sum() / w.sum()) ** 2).sum())
    assert (fit.q, fit.q_p) == pytest.approx((q, stats.chi2.sf(q, tested - 1)), rel=1e-9)


def test_a_subgroup_whose_standard_error_is_zero_takes_no_part_in_the_test() -> None:
    fit = fit_subgroups(
        [5, 5, 3, 4, 5, 8], [10, 10, 9, 9, 12, 9], list("uuvvww"), model="reml",
        interval="hartung-knapp",
    )  # fmt: skip
    assert fit.fits[0].se == 0.0
    _, v, w = fit.fits
    q = (v.mu - w.mu) ** 2 / (v.se**2 + w.se**2)
    assert (fit.q, fit.q_df) == (pytest.approx(q, rel=1e-9), (1, None))


# ------------------------------------------------------------------ messages


class Bare:
    """A column that has a type but no name."""

    name = None
    dtype = np.dtype(float)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(YEAR, dtype=float)

    def __iter__(self) -> Any:
        return iter(YEAR.tolist())

    def __len__(self) -> int:
        return 11


def test_a_column_without_a_name_is_called_x1() -> None:
    fit = fit_moderators(X11, N11, moderators=Bare(), model="dl")
    assert fit.names == ("intercept", "x1")


@pytest.mark.parametrize(
    ("moderators", "options", "message"),
    [
        (None, {}, "moderators are missing: give a mapping of names to k values each"),
        ("year", {}, "moderators must be columns of values, not the text 'year'"),
        (np.zeros((2, 2, 2)), {}, "moderators must have one or two dimensions, got 3"),
        ({}, {}, "moderators are empty: name at least one"),
        ({"a": "abc"}, {}, "moderator 'a' must be one-dimensional with one value per trial"),
        ({"a": [1, 2, 3]}, {}, "moderator 'a' has 3 values for 11 trials"),
        ({"a": [*YEAR[:-1], math.nan]}, {}, "moderator 'a' is missing at position 10"),
        ({"a": [*GROUP[:4], "<NA>", *GROUP[5:]]}, {}, "moderator 'a' is missing at position 4"),
        ({"a": [*GROUP[:4], np.datetime64("NaT"), *GROUP[5:]]}, {},
         "moderator 'a' is missing at position 4"),
        ({"a": [*YEAR[:3], math.inf, *YEAR[4:]]}, {}, "moderator 'a' is not finite at position 3"),
        ({"a": [2.5] * 11}, {}, "moderator 'a' is constant: it has one value in all trials"),
        ({"g": ["x"] * 11}, {}, "moderator 'g' is constant: all trials are 'x'"),
        ({"a": YEAR}, {"reference": {"z": "a", "y": "b"}},
         "reference names a moderator that is not there: 'y'"),
        (GROUPS, {"reference": {"g": "z"}},
         "moderator 'g' has no level 'z' to use as reference"),
        ({"a": YEAR, "b": 2 * YEAR + 1}, {},
         "moderator column 'b' is collinear with those before it"),
        ({"g": GROUP, "h": [g == "c" for g in GROUP]}, {},
         "moderator column 'h[True]' is collinear with those before it"),
        ({"g": list("abcdefghijk")}, {},
         "11 coefficients need more than 11 trials, there are 11: use fewer moderators"),
        (GROUPS, {"model": "bayes"},
         "unknown model for moderators 'bayes': choose one of glmm, reml, ml, dl, pm, eb, he, sj, "
         "hs, fe"),
        (GROUPS, {"interval": "bartlett"},
         "unknown interval 'bartlett': choose one of wald, t, profile, profile-t"),
        (GROUPS, {"model": "dl", "interval": "profile"},
         "unknown interval 'profile': choose one of wald, t, hartung-knapp, hartung-knapp-adhoc"),
        (GROUPS, {"transform": "raw"},
         "the GLMM works on the logit only: choose a normal-normal model"),
        (GROUPS, {"model": "dl", "transform": "probit"},
         "unknown transform 'probit': choose one of logit, arcsine, freeman-tukey, raw, log"),
        (GROUPS, {"permutations": True},
         "permutations must be a whole number of at least 0, got True"),
        (GROUPS, {"permutations": 9.0},
         "permutations must be a whole number of at least 0, got 9.0"),
        (GROUPS, {"permutations": -1}, "permutations must be a whole number of at least 0, got -1"),
        (GROUPS, {"permutations": 9, "model": "dl"},
         "drawn permutations need a seed so that they can be repeated"),
        (GROUPS, {"permutations": 9, "model": "dl", "seed": -1},
         "seed must be a whole number of at least 0, got -1"),
        (GROUPS, {"permutations": 9, "model": "dl", "seed": True},
         "seed must be a whole number of at least 0, got True"),
        (GROUPS, {"permutations": 9, "model": "dl", "seed": 1.0},
         "seed must be a whole number of at least 0, got 1.0"),
        (GROUPS, {"labels": ["a"]}, "labels must have one entry per study: 1 labels, 11 studies"),
        (GROUPS, {"level": 1.0}, "level must be strictly between 0 and 1, got 1.0"),
    ],
)  # fmt: skip
def test_messages_word_by_word(moderators: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        fit_moderators(X11, N11, moderators=moderators, **options)
    assert str(raised.value) == message


def test_messages_of_predictions_and_subgroups() -> None:
    fit = fit_moderators(X11, N11, moderators={"year": YEAR, "g": GROUP}, model="dl")
    apart = fit_moderators([0, 0, 5, 6], [9, 8, 9, 10], moderators={"g": list("aabb")})
    rows, four = [0, 0, 3, 4], [9] * 4
    for call, message in (
        (lambda: fit.predict({"year": [1], "g": ["a"], "z": [1], "y": [1]}),
         "unknown moderator 'y'"),
        (lambda: fit.predict({"year": [1]}), "moderator 'g' is missing"),
        (lambda: fit.predict({"year": [1, 2], "g": ["a"]}),
         "moderator 'g' has 1 values for 2 trials"),
        (lambda: fit.predict({"year": [True], "g": ["a"]}), "moderator 'year' needs numbers"),
        (lambda: fit.predict({"year": [1], "g": ["z"]}), "moderator 'g' has no level 'z'"),
        (lambda: apart.predict({"g": ["a"]}),
         "no prediction: some coefficients have no finite estimate"),
        (lambda: fit_subgroups(rows, four, "uuvv"),
         "by must be one-dimensional with one subgroup per trial"),
        (lambda: fit_subgroups(rows, four, [["u"], ["u"], ["v"], ["v"]]),
         "by must be one-dimensional with one subgroup per trial"),
        (lambda: fit_subgroups(rows, four, ["u", "u", None, "v"]), "by is missing at position 2"),
        (lambda: fit_subgroups(rows, four, [1.0, math.nan, 2.0, 2.0]),
         "by is missing at position 1"),
        (lambda: fit_subgroups(rows, four, np.array([1.0, 1.0, 2.0, math.nan])),
         "by is missing at position 3"),
        (lambda: fit_subgroups(rows, four, ["u"] * 4),
         "moderator 'subgroup' is constant: all trials are 'u'"),
        (lambda: fit_subgroups(rows, four, list("uuv")),
         "moderator 'subgroup' has 3 values for 4 trials"),
        (lambda: fit_subgroups(rows, four, list("uuvv"), tau2="own"),
         "unknown tau2 'own': choose one of separate, common"),
    ):  # fmt: skip
        with pytest.raises(ValueError) as raised:
            call()
        assert str(raised.value) == message
