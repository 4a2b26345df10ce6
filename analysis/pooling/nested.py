"""Outcomes that nest, pooled coherently: complete response within response, severe within any.

Continuation-ratio model (Agresti 2013, Categorical Data Analysis, section 8.3; Fienberg and Mason
1979, doi:10.2307/270764): the outer outcome among all patients and the inner outcome among those
with the outer one are two binomial-normal models with independent trial effects, so that the
likelihood factorizes. The pooled inner proportion is the product of the two pooled proportions
and can never exceed the pooled outer one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy import special

from . import quadrature as quad
from ._stats import chi2_isf, t_quantile, z_quantile
from ._validate import check_choice, check_counts, check_labels, check_level
from .api import pool
from .fit import Fit, plain
from .proportion import wilson

__all__ = ["INTERVALS", "NestedFit", "pool_nested"]

INTERVALS = ("delta", "simulation")
_SEED, _DRAWS = 1, 200_000
_STRATA = 2000


@dataclass(frozen=True, kw_only=True, eq=False)
class NestedFit:
    """A pooled inner outcome that is coherent with its outer outcome.

    All proportions are of all patients unless said otherwise.

    Attributes
    ----------
    interval, level, quantile
        ``"delta"`` or ``"simulation"``; coverage aimed at; ``"t"`` or ``"z"``.
    k, k_conditional : int
        Trials, and those with at least one outer event and a known inner count.
    outer : Fit
        Outer outcome among all patients (GLMM).
    conditional : Fit or None
        Inner outcome among the patients with the outer one (GLMM).
    estimate, ci_low, ci_high : float or None
        Inner outcome in the trial whose two true logits are the pooled ones:
        expit(mu_outer) expit(mu_conditional).
    pi_low, pi_high : float or None
        Where the true inner proportion of a new trial is expected: quantiles of the product of
        the two predicted proportions, each logit being mu + sqrt(tau2 + se^2) t(k - 1); three
        trials at least at both stages.
    remainder, remainder_low, remainder_high : float or None
        Outer but not inner (for example partial response), same interval.
    marginal_estimate, marginal_ci
        Population-averaged inner proportion, E[p_outer] E[p_conditional], delta method.
    study_estimate, study_ci_low, study_ci_high : numpy.ndarray (k,) or None
        Observed inner proportion of each trial with its Wilson interval; None if an inner count
        is unknown.
    seed, draws : int or None
        Of the simulation.
    notes : tuple of str
    """

    interval: str
    level: float
    quantile: str
    k: int
    k_conditional: int
    labels: tuple[str, ...] | None
    inner: tuple[int | None, ...]
    outer_events: np.ndarray
    total: np.ndarray
    outer: Fit
    conditional: Fit | None
    estimate: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    pi_low: float | None = None
    pi_high: float | None = None
    remainder: float | None = None
    remainder_low: float | None = None
    remainder_high: float | None = None
    marginal_estimate: float | None = None
    marginal_ci: tuple[float, float] | None = None
    study_estimate: np.ndarray | None = None
    study_ci_low: np.ndarray | None = None
    study_ci_high: np.ndarray | None = None
    seed: int | None = None
    draws: int | None = None
    converged: bool = True
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values; the two fits through ``Fit.to_dict``."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            out[f.name] = value.to_dict() if isinstance(value, Fit) else plain(value)
        return out


def _known(inner: Any, k: int) -> tuple[np.ndarray, list[Any]]:
    if isinstance(inner, str | bytes) or np.ndim(inner) != 1 or len(inner) != k:
        raise ValueError(f"inner must hold one count, or None, for each of the {k} trials")
    values = list(inner)
    return np.array([v is not None for v in values]), values


def pool_nested(
    inner: Sequence[int | None],
    outer: Any,
    total: Any,
    *,
    interval: str = "delta",
    quantile: str = "t",
    level: float = 0.95,
    seed: int = _SEED,
    draws: int = _DRAWS,
    labels: Sequence[Any] | None = None,
) -> NestedFit:
    """Pool an inner outcome within an outer one.

    Parameters
    ----------
    inner : sequence of k counts
        Patients with the inner outcome; None where a trial reports the outer one only.
    outer, total : array_like of int, shape (k,)
        Patients with the outer outcome, and all patients: inner <= outer <= total.
    interval : {"delta", "simulation"}
        ``"delta"``: on the logit of the product, from the standard errors of the two logits,
        which are independent. ``"simulation"``: quantiles of ``draws`` products of the two
        proportions with logits drawn from mu + se t (or normal), reproducible by ``seed``.
    quantile : {"t", "z"}
        t with (trials of the stage - 1) degrees of freedom, the smaller for the delta method; or
        normal.
    level : float, default 0.95
    seed, draws : int
        Of the simulation only; refused with the delta method.

    Returns
    -------
    NestedFit

    Raises
    ------
    ValueError
        For impossible counts: inner beyond outer, outer beyond total, no inner count at all;
        for a seed or a number of draws where nothing is drawn.

    Notes
    -----
    Where one stage is all-or-none (no inner event anywhere, or inner always together with outer)
    its exact likelihood under equal effects stands beside the normal approximation of the other
    stage, and the interval is where their sum is within half the cut-off of its maximum. Trial
    effects of the two stages are taken as independent; an inner count of None drops the trial
    from the second stage only.
    """
    y, n = check_counts(outer, total)
    k = y.size
    level = check_level(level)
    names = check_labels(labels, k)
    check_choice(interval, "interval", INTERVALS)
    check_choice(quantile, "quantile", ("t", "z"))
    for name, number, least in (("seed", seed, 0), ("draws", draws, 1000)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {number!r}")
        if interval != "simulation" and number != (_SEED if name == "seed" else _DRAWS):
            raise ValueError(
                f"interval {interval!r} does not use {name}: leave it out, got {number!r}"
            )
    known, raw = _known(inner, k)
    if not known.any():
        raise ValueError("inner is None in every trial: nothing to pool")
    x = np.zeros(k, dtype=np.int64)
    x[known], _ = check_counts([v for v in raw if v is not None], n[known])
    over = known & (x > y)
    if over.any():
        i = int(np.flatnonzero(over)[0])
        raise ValueError(f"inner at position {i} exceeds outer: {x[i]} of {y[i]}")
    use = known & (y > 0)
    first = pool(
        y, n, "glmm", interval="t" if quantile == "t" else "wald", level=level, labels=names
    )
    second = None
    if use.any():
        second = pool(
            x[use],
            y[use],
            "glmm",
            interval="t" if quantile == "t" else "wald",
            level=level,
            labels=None if names is None else [names[i] for i in np.flatnonzero(use)],
        )
    notes: list[str] = []
    left_out = int(np.count_nonzero(~known))
    if left_out:
        notes.append(f"{left_out} trial(s) report the outer outcome only.")
    empty = int(np.count_nonzero(known & (y == 0)))
    if empty:
        notes.append(
            f"{empty} trial(s) without any outer event say nothing about the inner outcome among "
            "them; they count at the outer stage."
        )
    base: dict[str, Any] = {
        "interval": interval,
        "level": level,
        "quantile": quantile,
        "k": k,
        "k_conditional": int(use.sum()),
        "labels": names,
        "inner": tuple(int(v) if f else None for v, f in zip(x, known, strict=True)),
        "outer_events": y,
        "total": n,
        "outer": first,
        "conditional": second,
    }
    if known.all():
        low, high = wilson(x, n, level)
        base.update(study_estimate=x / n, study_ci_low=low, study_ci_high=high)
    if interval == "simulation":
        base.update(seed=seed, draws=draws)
    if k == 1:
        return NestedFit(**base, converged=False, notes=(*notes, "One trial: shown, not pooled."))
    df = (k - 1, max(int(use.sum()) - 1, 1))
    if first.mu is not None and second is not None and second.mu is not None:
        base.update(_regular(first, second, df, interval, quantile, level, seed, draws, notes))
        return NestedFit(**base, notes=tuple(notes))
    base.update(_limits(first, second, y, n, x, use, df, quantile, level, notes))
    return NestedFit(**base, converged=False, notes=tuple(notes))


def _quantile(quantile: str, level: float, df: int) -> float:
    return t_quantile(level, df) if quantile == "t" else z_quantile(level)


def _numbers(fit: Fit) -> tuple[float, float, float]:
    assert fit.mu is not None and fit.se is not None and fit.tau2 is not None
    return fit.mu, fit.se, fit.tau2


def _regular(first, second, df, interval, quantile, level, seed, draws, notes) -> dict[str, Any]:
    m1, s1, v1 = _numbers(first)
    m2, s2, v2 = _numbers(second)
    p1, p2 = float(special.expit(m1)), float(special.expit(m2))
    q1, q2 = float(special.expit(-m1)), float(special.expit(-m2))
    inner, rest = p1 * p2, p1 * q2
    out: dict[str, Any] = {"estimate": inner, "remainder": rest}
    if interval == "delta":
        half = _quantile(quantile, level, min(df))
        # d log p = (1 - p) d logit p; d logit(product) = d log(product) / (1 - product)
        for prefix, value, slope in (("ci", inner, q2 * s2), ("remainder", rest, -p2 * s2)):
            se = math.hypot(q1 * s1, slope) / (1.0 - value)
            center = math.log(value) - math.log1p(-value)
            out[f"{prefix}_low"] = float(special.expit(center - half * se))
            out[f"{prefix}_high"] = float(special.expit(center + half * se))
    else:
        rng = np.random.default_rng(seed)
        drawn = []
        for m, s, d in ((m1, s1, df[0]), (m2, s2, df[1])):
            z = rng.standard_t(d, draws) if quantile == "t" else rng.standard_normal(draws)
            drawn.append(m + s * z)
        tails = [0.5 - level / 2, 0.5 + level / 2]
        a = special.expit(drawn[0])
        out["ci_low"], out["ci_high"] = (
            float(v) for v in np.quantile(a * special.expit(drawn[1]), tails)
        )
        out["remainder_low"], out["remainder_high"] = (
            float(v) for v in np.quantile(a * special.expit(-drawn[1]), tails)
        )
    if min(df) >= 2:
        out["pi_low"], out["pi_high"] = _predictive(
            (m1, math.hypot(s1, math.sqrt(v1)), df[0]),
            (m2, math.hypot(s2, math.sqrt(v2)), df[1]),
            level,
        )
        if min(df) < 4:
            notes.append("With fewer than five trials the prediction interval is unreliable.")
    else:
        notes.append("A prediction interval needs at least three trials at both stages.")
    log1, var1 = _marginal(first)
    log2, var2 = _marginal(second)
    average = math.exp(log1 + log2)
    center = log1 + log2 - math.log1p(-average)
    half = _quantile(quantile, level, min(df)) * math.sqrt(var1 + var2) / (1.0 - average)
    out["marginal_estimate"] = average
    out["marginal_ci"] = (float(special.expit(center - half)), float(special.expit(center + half)))
    return out


def _marginal(fit: Fit) -> tuple[float, float]:
    """Log of the population-averaged proportion and its variance by the delta method."""
    mu, se, tau2 = _numbers(fit)
    value, d_mu, d_v = (float(a) for a in quad.marginal_proportion(mu, tau2))
    if tau2 == 0.0:
        return math.log(value), (d_mu * se / value) ** 2
    d = quad.derivatives(quad.prepare(fit.events, fit.total), mu, tau2)
    cross = float(d.mu_v.sum())
    information = -np.array([[float(d.mu_mu.sum()), cross], [cross, float(d.v_v.sum())]])
    gradient = np.array([d_mu, d_v]) / value
    return math.log(value), float(gradient @ np.linalg.solve(information, gradient))


def _predictive(
    one: tuple[float, float, int], two: tuple[float, float, int], level: float
) -> tuple[float, float]:
    """Quantiles of expit(m1 + s1 t) expit(m2 + s2 t'); the first t in equally probable strata."""
    from scipy.optimize import brentq

    (m1, s1, d1), (m2, s2, d2) = one, two
    u = (np.arange(_STRATA) + 0.5) / _STRATA
    log1 = special.log_expit(m1 + s1 * special.stdtrit(d1, u))

    def cdf(log_value: float) -> float:
        gap = log_value - log1  # log of the second factor
        inside = gap < 0.0
        logit = gap[inside] - np.log(-np.expm1(gap[inside]))
        part = special.stdtr(d2, (logit - m2) / s2)
        return (float(part.sum()) + float(np.count_nonzero(~inside))) / _STRATA

    def solve(prob: float) -> float:
        low = -1.0
        while cdf(low) > prob:
            low *= 2.0
        return math.exp(brentq(lambda v: cdf(v) - prob, low, -1e-300, xtol=1e-12))

    return solve(0.5 - level / 2), solve(0.5 + level / 2)


# ------------------------------------------------------------------------------ limiting cases


@dataclass(frozen=True)
class _Stage:
    """Estimate of a stage and how far its logit (or proportion) may move at a given cost.

    ``reach(c)`` gives the lowest and highest proportion at which the log-likelihood is within c/2
    of its maximum.
    """

    estimate: float
    reach: Callable[[float], tuple[float, float]]


def _stage(fit: Fit | None) -> _Stage | None:
    if fit is None or fit.estimate is None:
        return None
    if fit.mu is not None:
        mu, se, _ = _numbers(fit)

        def wald(c: float) -> tuple[float, float]:
            half = math.sqrt(c) * se
            return float(special.expit(mu - half)), float(special.expit(mu + half))

        return _Stage(fit.estimate, wald)
    patients = int(fit.total.sum())
    if fit.estimate == 0.0:
        return _Stage(0.0, lambda c: (0.0, -math.expm1(-0.5 * c / patients)))
    return _Stage(1.0, lambda c: (math.exp(-0.5 * c / patients), 1.0))


def _limits(first, second, y, n, x, use, df, quantile, level, notes) -> dict[str, Any]:
    """At least one stage without a finite logit."""
    cut = t_quantile(level, min(df)) ** 2 if quantile == "t" else chi2_isf(1.0 - level, 1)
    one = _stage(first)
    if one is None:
        notes.append(
            "The outer outcome is not estimable ("
            + first.notes[0].rstrip(".")
            + "), so neither is the inner."
        )
        return {}
    if y.sum() == 0:
        notes.append(
            "No trial had an outer event: the inner outcome is zero with it, its upper limit is "
            "that of the outer outcome, and the remainder likewise."
        )
        high = one.reach(cut)[1]
        return {
            "estimate": 0.0,
            "ci_low": 0.0,
            "ci_high": high,
            "remainder": 0.0,
            "remainder_low": 0.0,
            "remainder_high": high,
        }
    if second is not None and second.k == 1:
        notes.append(
            "One trial only tells of the inner outcome: the conditional part is not pooled, and "
            "so the inner outcome is not."
        )
        return {}
    two = _stage(second)
    if two is None:
        notes.append(
            "The inner outcome among patients with the outer one is not estimable: "
            + (second.notes[0] if second is not None and second.notes else "no trial tells of it.")
        )
        return {}
    notes.append(
        "One stage has no finite logit, so the estimate is a limit. The interval joins that "
        "stage's exact likelihood under equal effects with the other stage's."
    )
    share = np.linspace(0.0, 1.0, 2001) * cut
    ends1 = np.array([one.reach(float(c)) for c in share])
    ends2 = np.array([two.reach(float(cut - c)) for c in share])
    return {
        "estimate": one.estimate * two.estimate,
        "ci_low": float((ends1[:, 0] * ends2[:, 0]).min()),
        "ci_high": float((ends1[:, 1] * ends2[:, 1]).max()),
        "remainder": one.estimate * (1.0 - two.estimate),
        "remainder_low": float((ends1[:, 0] * (1.0 - ends2[:, 1])).min()),
        "remainder_high": float((ends1[:, 1] * (1.0 - ends2[:, 0])).max()),
    }
