"""Moderators (meta-regression) and subgroups in the GLMM and the normal-normal model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from . import _glmm_regression as glmm
from . import _regression as linear
from . import quadrature as quad
from ._design import Term, build_design, design_rows, parse_moderators
from ._stats import boundary_p, chi2_isf, chi2_sf, normal_p, t_p, t_quantile, z_quantile
from ._validate import check_choice, check_counts, check_labels, check_level
from .api import DEFAULT_INTERVAL
from .api import INTERVALS as MODEL_INTERVALS
from .effects import TRANSFORMS, effect_sizes, effective_total, inverse
from .fit import Fit, plain
from .proportion import wilson

if TYPE_CHECKING:  # pragma: no cover
    import pandas as pd

__all__ = ["MODELS", "ModeratorFit", "SubgroupFit", "fit_moderators", "fit_subgroups"]

MODELS = ("glmm", *linear.METHODS)
_LIKELIHOOD = ("wald", "t", "profile", "profile-t")
R2_DEFINITION = (
    "proportional reduction of the between-trial variance, 100 (tau2_null - tau2) / tau2_null, "
    "both by the same estimator, negative values shown as 0 (Raudenbush 2009)"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ModeratorFit:
    """A pooled regression of the trials' true rates on moderators.

    Attributes
    ----------
    model, transform, interval, level, k, labels, events, total, study_estimate, study_ci_low,
    study_ci_high : as in :class:`Fit`
    names : tuple of str, length p
        Columns of the design: ``"intercept"``, the name of a continuous moderator, or
        ``"name[level]"`` for a level of a factor against its reference.
    design : numpy.ndarray, shape (k, p)
        Plain floats.
    terms : tuple of Term
        Moderators as understood: name, and levels with the reference first.
    coefficients, se, ci_low, ci_high, statistic, p_values : numpy.ndarray (p,) or None
        Link scale. Infinite where the data are separated; None where not estimable. ``statistic``
        is coefficient / se (z, or t with ``df`` degrees of freedom) and ``p_values`` is its
        two-sided p, except for separated coefficients: there the likelihood ratio of leaving the
        column out gives the p-value and ``statistic`` its signed root.
    df : int or None
        Degrees of freedom of t, k - p; None for the normal.
    covariance : numpy.ndarray (p, p) or None
        Of the coefficients; infinite rows where separated.
    omnibus, omnibus_df, omnibus_p, omnibus_test
        Test that all coefficients but the intercept are 0. ``omnibus_df`` is (numerator,
        denominator or None). Wald chi-square; F with k - p denominator degrees of freedom for
        ``t`` and Hartung-Knapp; likelihood ratio for the profile intervals of the GLMM.
    q, q_df, q_p
        Residual heterogeneity. Normal-normal: weighted residual sum of squares at tau2 = 0
        (metafor's QE). GLMM: likelihood ratio of the saturated against the tau2 = 0 model.
    tau2, tau2_ci, tau2_null
        Link scale: residual between-trial variance, its interval (Q-profile, or profile
        likelihood in the GLMM), and the variance without moderators.
    r2, r2_definition
        Percent. See ``r2_definition``; None where it does not exist.
    i2, h2
        Residual I2 (percent) and H2 from tau2 and the typical within-trial variance of the
        model, (k - p) / trace P at tau2 = 0, as in metafor; for ``fe`` from Q.
    lrt, lrt_df, lrt_p
        Likelihood ratio of the moderators (GLMM and ML only).
    heterogeneity_lrt, heterogeneity_lrt_p
        Likelihood ratio of residual tau2 = 0 (GLMM and ML), half-and-half mixture.
    log_likelihood, aic
        As in :class:`Fit`; p + 1 parameters (p for ``fe``).
    fitted : numpy.ndarray (k,)
        Predicted proportion of each trial's mean (0 or 1 where separated).
    weight : numpy.ndarray (k,)
        Share of the information, sums to 1.
    subgroups : tuple of mapping
        With one factor as the only moderator: per level ``level, k, estimate, ci_low, ci_high``
        (proportion scale), ``mu, se`` (link scale), under the common tau2. Otherwise empty.
    permutation_p, permutation_count, permutation_exact, permutation_p_values
        P-value of the omnibus statistic over permutations of the rows of the design, how many
        there were, whether they were all there are; per coefficient for normal-normal models.
    converged, notes
    """

    model: str
    transform: str
    interval: str
    level: float
    k: int
    events: np.ndarray
    total: np.ndarray
    labels: tuple[str, ...] | None = None
    names: tuple[str, ...]
    design: np.ndarray
    terms: tuple[Term, ...]
    coefficients: np.ndarray | None = None
    se: np.ndarray | None = None
    ci_low: np.ndarray | None = None
    ci_high: np.ndarray | None = None
    statistic: np.ndarray | None = None
    p_values: np.ndarray | None = None
    df: int | None = None
    covariance: np.ndarray | None = None
    omnibus: float | None = None
    omnibus_df: tuple[int, int | None] | None = None
    omnibus_p: float | None = None
    omnibus_test: str = ""
    q: float | None = None
    q_df: int | None = None
    q_p: float | None = None
    tau2: float | None = None
    tau2_ci: tuple[float, float] | None = None
    tau2_null: float | None = None
    r2: float | None = None
    r2_definition: str = R2_DEFINITION
    i2: float | None = None
    h2: float | None = None
    lrt: float | None = None
    lrt_df: int | None = None
    lrt_p: float | None = None
    heterogeneity_lrt: float | None = None
    heterogeneity_lrt_p: float | None = None
    log_likelihood: float | None = None
    aic: float | None = None
    fitted: np.ndarray | None = None
    weight: np.ndarray
    study_estimate: np.ndarray
    study_ci_low: np.ndarray
    study_ci_high: np.ndarray
    subgroups: tuple[Mapping[str, Any], ...] = ()
    permutation_p: float | None = None
    permutation_p_values: np.ndarray | None = None
    permutation_count: int | None = None
    permutation_exact: bool | None = None
    converged: bool = True
    notes: tuple[str, ...] = ()

    def predict(self, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Predicted proportions for new values of every moderator (one list per moderator).

        Returns ``estimate, ci_low, ci_high`` of the mean and ``pi_low, pi_high`` of a new trial,
        proportion scale. Quantile: t(k - p), or normal for Wald intervals; a profile interval
        has no closed form off the coefficients, so t(k - p) stands in for ``profile-t`` and the
        normal for ``profile``.

        Raises
        ------
        ValueError
            Unknown or missing moderator or level, or a fit without finite coefficients.
        """
        if self.coefficients is None or not np.isfinite(self.coefficients).all():
            raise ValueError("no prediction: some coefficients have no finite estimate")
        assert self.covariance is not None and self.tau2 is not None
        rows = design_rows(self.terms, values)
        mean = rows @ self.coefficients
        variance = np.einsum("ij,jk,ik->i", rows, self.covariance, rows)
        quantile = (
            z_quantile(self.level)
            if self.interval in ("wald", "profile")
            else t_quantile(self.level, self.k - self.design.shape[1])
        )
        half = quantile * np.sqrt(variance)
        far = quantile * np.sqrt(variance + self.tau2)

        def back(value: np.ndarray) -> np.ndarray:
            return _back(value, self.transform, self.total)

        return {
            "estimate": back(mean),
            "ci_low": back(mean - half),
            "ci_high": back(mean + half),
            "pi_low": back(mean - far),
            "pi_high": back(mean + far),
        }

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values; infinite values become ``"inf"`` or ``"-inf"``."""
        out = {f.name: getattr(self, f.name) for f in fields(self)}
        out["terms"] = [{"name": t.name, "levels": t.levels} for t in self.terms]
        return {name: plain(value) for name, value in out.items()}

    def to_frame(self) -> pd.DataFrame:
        """One row per coefficient: ``coefficient, estimate, se, statistic, p, ci_low, ci_high``.

        Empty where nothing is estimable.
        """
        import pandas as pd

        columns = {
            "estimate": self.coefficients,
            "se": self.se,
            "statistic": self.statistic,
            "p": self.p_values,
            "ci_low": self.ci_low,
            "ci_high": self.ci_high,
        }
        if self.coefficients is None:
            return pd.DataFrame({"coefficient": [], **{name: [] for name in columns}})
        return pd.DataFrame({"coefficient": list(self.names), **columns})


def _back(value: np.ndarray, transform: str, total: np.ndarray) -> np.ndarray:
    at = effective_total(total) if transform == "freeman-tukey" else None
    return np.asarray(inverse(value, transform, at), dtype=float)


def fit_moderators(
    events: Any,
    total: Any,
    *,
    moderators: Any,
    model: str = "glmm",
    interval: str | None = None,
    level: float = 0.95,
    labels: Sequence[Any] | None = None,
    transform: str = "logit",
    reference: Mapping[str, Any] | None = None,
    permutations: int = 0,
    seed: int | None = None,
    tau2_interval: bool = True,
) -> ModeratorFit:
    """Regress the trials' true rates on moderators.

    Parameters
    ----------
    events, total : array_like of int, shape (k,)
    moderators : mapping of name to k values, data frame, or array (k,) or (k, m)
        Numbers make a continuous moderator, anything else a factor with its levels in sorted
        order (or the order of a categorical column), the first being the reference. Values are
        matched to trials by position; an index of a data frame is ignored. An intercept is
        added.
    model : str
        ``"glmm"`` (binomial-normal, maximum likelihood) or a normal-normal model: ``"reml"``,
        ``"ml"``, ``"dl"``, ``"pm"``, ``"eb"``, ``"he"``, ``"sj"``, ``"hs"``, ``"fe"``.
    interval : str, optional
        Normal-normal: ``"wald"``, ``"t"`` (k - p degrees of freedom), ``"hartung-knapp"``
        (Knapp and Hartung 2003, doi:10.1002/sim.1482), ``"hartung-knapp-adhoc"`` (the same,
        never narrower than t with the unscaled error; metafor's ``adhoc``). GLMM: ``"wald"``,
        ``"t"``, ``"profile"``, ``"profile-t"`` (squared t(k - p) cut-off). Default as in ``pool``.
    transform : str
        Link scale of the normal-normal models.
    reference : mapping, optional
        Reference level of a factor by its name; naming a numeric moderator makes it a factor.
    permutations : int, default 0
        If positive, the p-value of the omnibus statistic over permuted rows of the design
        (Higgins and Thompson 2004, doi:10.1002/sim.1752): all distinct ones when there are no
        more than this number, else this number drawn with ``seed``, the observed one counted in.
    seed : int, optional
        Needed for drawn permutations.
    tau2_interval : bool
        Whether the GLMM computes ``tau2_ci``; leave it out to save time.

    Returns
    -------
    ModeratorFit

    Raises
    ------
    ValueError
        Constant or collinear moderator, as many coefficients as trials or more, missing values,
        wrong lengths, unknown names, or permutations without a seed.
    """
    x, n = check_counts(events, total)
    k = x.size
    level = check_level(level)
    names = check_labels(labels, k)
    model = check_choice(model, "model for moderators", MODELS)
    allowed = _LIKELIHOOD if model == "glmm" else MODEL_INTERVALS[model]
    chosen = check_choice(interval or DEFAULT_INTERVAL[model], "interval", allowed)
    transform = check_choice(transform, "transform", TRANSFORMS)
    if model == "glmm" and transform != "logit":
        raise ValueError("the GLMM works on the logit only: choose a normal-normal model")
    if isinstance(permutations, bool) or not isinstance(permutations, int) or permutations < 0:
        raise ValueError(f"permutations must be a whole number of at least 0, got {permutations!r}")
    terms, values = parse_moderators(moderators, k, reference)
    design, columns = build_design(terms, values, k)
    own = wilson(x, n, level)
    base: dict[str, Any] = {
        "model": model,
        "transform": transform,
        "interval": chosen,
        "level": level,
        "k": k,
        "events": x,
        "total": n,
        "labels": names,
        "names": columns,
        "design": design,
        "terms": terms,
        "study_estimate": x / n,
        "study_ci_low": own[0],
        "study_ci_high": own[1],
        "q_df": k - design.shape[1],
    }
    out = _fit_glmm(base, tau2_interval) if model == "glmm" else _fit_linear(base)
    if permutations:
        out.update(_permute(out, permutations, seed))
    return ModeratorFit(**out)


# --------------------------------------------------------------------------- normal-normal


_NO_RESIDUALS = 1e-14  # a Hartung-Knapp factor below this is rounding error


def _scale_factor(interval: str, fit: linear.Weighted, df: int) -> float:
    """Multiplier of the covariance for the Hartung-Knapp intervals."""
    if interval == "hartung-knapp":
        return fit.q / df
    if interval == "hartung-knapp-adhoc":
        return max(1.0, fit.q / df)
    return 1.0


def _omnibus(beta: np.ndarray, cov: np.ndarray, interval: str, df: int) -> tuple:
    m = beta.size - 1
    # solve in units of the standard errors: moderators differ by orders of magnitude
    sd = np.sqrt(np.diag(cov))[1:]
    z = beta[1:] / sd
    correlation = cov[1:, 1:] / np.outer(sd, sd)
    value = float(z @ np.linalg.solve(correlation, z))
    if interval in ("wald", "profile"):
        return value, (m, None), chi2_sf(value, m), f"Wald chi-square({m})"
    value /= m
    return value, (m, df), float(special.fdtrc(m, df, value)), f"F({m}, {df})"


def _linear_statistic(
    y: np.ndarray, v: np.ndarray, design: np.ndarray, model: str, interval: str
) -> tuple[float, np.ndarray]:
    """Omnibus statistic and the coefficients' z or t values."""
    df = y.size - design.shape[1]
    tau2 = linear.estimate_tau2(y, v, design, model)
    fit = linear.weighted(y, v, design, tau2)
    # an order that leaves no residuals has a larger statistic than any other, but a finite one
    cov = fit.covariance * max(_scale_factor(interval, fit, df), _NO_RESIDUALS)
    return _omnibus(fit.beta, cov, interval, df)[0], fit.beta / np.sqrt(np.diag(cov))


def _fit_linear(base: dict[str, Any]) -> dict[str, Any]:
    model, interval, level = base["model"], base["interval"], base["level"]
    x, n, design = base["events"], base["total"], base["design"]
    k, p = design.shape
    df = k - p
    y, v = effect_sizes(x, n, base["transform"])
    notes: list[str] = []
    if np.any((x == 0) | (x == n)) and base["transform"] in ("logit", "log", "raw"):
        notes.append("0.5 was added to both cells of the trials with an empty cell.")
    if base["transform"] == "freeman-tukey":
        notes.append("Freeman-Tukey values are turned back at the harmonic mean of the totals.")
    tau2 = linear.estimate_tau2(y, v, design, model)
    null = np.ones((k, 1))
    tau2_null = linear.estimate_tau2(y, v, null, model)
    fit = linear.weighted(y, v, design, tau2)
    fixed = linear.weighted(y, v, design, 0.0)
    factor = _scale_factor(interval, fit, df)
    if factor < _NO_RESIDUALS:
        notes.append(
            "The residuals are all zero, so the Hartung-Knapp standard errors vanish; the "
            "Wald ones are shown."
        )
        factor, interval = 1.0, "wald"
    cov = fit.covariance * factor
    se = np.sqrt(np.diag(cov))
    use_t = interval != "wald"
    quantile = t_quantile(level, df) if use_t else z_quantile(level)
    statistic = fit.beta / se
    p_values = np.array([t_p(s, df) if use_t else normal_p(s) for s in statistic])
    omnibus = _omnibus(fit.beta, cov, interval, df)
    trace = float(np.sum(fixed.weight * (1.0 - fixed.hat)))
    typical = df / trace
    out = {
        **base,
        "coefficients": fit.beta,
        "se": se,
        "ci_low": fit.beta - quantile * se,
        "ci_high": fit.beta + quantile * se,
        "statistic": statistic,
        "p_values": p_values,
        "df": df if use_t else None,
        "covariance": cov,
        "q": fixed.q,
        "q_p": chi2_sf(fixed.q, df),
        "tau2": tau2,
        "tau2_null": tau2_null,
        "i2": 100.0 * tau2 / (tau2 + typical),
        "h2": 1.0 + tau2 / typical,
        "fitted": _back(design @ fit.beta, base["transform"], n),
        "weight": fit.weight / fit.weight.sum(),
    }
    if model == "fe":
        out["i2"] = 100.0 * max(0.0, fixed.q - df) / fixed.q if fixed.q > 0 else 0.0
        out["h2"] = fixed.q / df
        notes.append("Equal effects given the moderators: no between-trial variance, so no R2.")
    else:
        out["tau2_ci"] = linear.q_profile(y, v, design, level)
        out["r2"] = _r2(tau2, tau2_null, notes)
    restricted = model == "reml"
    value = linear.log_likelihood(y, v, design, tau2, restricted=restricted)
    out["log_likelihood"] = value
    out["aic"] = -2.0 * value + 2.0 * (p + (model != "fe"))
    if model == "ml":
        without = linear.log_likelihood(y, v, null, tau2_null, restricted=False)
        out["lrt"] = max(0.0, 2.0 * (value - without))
        out["lrt_df"], out["lrt_p"] = p - 1, chi2_sf(out["lrt"], p - 1)
        equal = linear.log_likelihood(y, v, design, 0.0, restricted=False)
        out["heterogeneity_lrt"] = max(0.0, 2.0 * (value - equal))
        out["heterogeneity_lrt_p"] = boundary_p(out["heterogeneity_lrt"])
    out["omnibus"], out["omnibus_df"], out["omnibus_p"], out["omnibus_test"] = omnibus
    out["subgroups"] = _linear_subgroups(out, quantile)
    out["notes"] = tuple(notes)
    return out


def _r2(tau2: float, tau2_null: float, notes: list[str]) -> float | None:
    if tau2_null == 0.0:
        notes.append(
            "Without moderators the between-trial variance is already 0, so R2 does not exist."
        )
        return None
    return max(0.0, 100.0 * (tau2_null - tau2) / tau2_null)


def _only_factor(terms: Sequence[Term]) -> Term | None:
    return terms[0] if len(terms) == 1 and terms[0].levels is not None else None


def _cell_means(design: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Design with one indicator per level of the only factor, and the map of coefficients."""
    p = design.shape[1]
    contrast = np.eye(p)
    contrast[:, 0] = 1.0
    cells = design.copy()
    cells[:, 0] -= design[:, 1:].sum(axis=1)
    return cells, contrast


def _linear_subgroups(out: dict[str, Any], quantile: float) -> tuple[dict[str, Any], ...]:
    factor = _only_factor(out["terms"])
    if factor is None:
        return ()
    assert factor.levels is not None
    cells, contrast = _cell_means(out["design"])
    mu = contrast @ out["coefficients"]
    se = np.sqrt(np.diag(contrast @ out["covariance"] @ contrast.T))
    groups = []
    for j, level in enumerate(factor.levels):
        limits = np.array([mu[j], mu[j] - quantile * se[j], mu[j] + quantile * se[j]])
        members = cells[:, j] == 1.0
        estimate, low, high = _back(limits, out["transform"], out["total"][members])
        groups.append(
            {
                "level": level,
                "k": int(members.sum()),
                "estimate": float(estimate),
                "ci_low": float(low),
                "ci_high": float(high),
                "mu": float(mu[j]),
                "se": float(se[j]),
            }
        )
    return tuple(groups)


# ------------------------------------------------------------------------------------- GLMM


def _fit_glmm(base: dict[str, Any], tau2_interval: bool = True) -> dict[str, Any]:
    interval, level = base["interval"], base["level"]
    x, n, design = base["events"], base["total"], base["design"]
    k, p = design.shape
    df = k - p
    out = dict(base)
    notes: list[str] = []
    share = n / n.sum()
    if x.sum() == 0 or np.array_equal(x, n):
        what = "No trial had an event" if x.sum() == 0 else "Every patient had the event"
        out.update(
            weight=share,
            converged=False,
            lrt=0.0,
            lrt_df=p - 1,
            lrt_p=1.0,
            log_likelihood=0.0,
            omnibus=0.0,
            omnibus_df=(p - 1, None),
            omnibus_p=1.0,
            omnibus_test=f"likelihood ratio, chi-square({p - 1})",
            fitted=np.full(k, float(x.sum() > 0)),
            notes=(
                f"{what}: the coefficients are not estimable and the moderators explain nothing.",
            ),
        )
        return out
    sup = glmm.supremum(x, n, design)
    null = glmm.supremum(x, n, np.ones((k, 1)))
    cut = t_quantile(level, df) ** 2 if interval in ("t", "profile-t") else chi2_isf(1.0 - level, 1)
    lrt = max(0.0, 2.0 * (sup.value - null.value))
    out.update(
        log_likelihood=sup.value,
        aic=-2.0 * sup.value + 2.0 * (p + 1),
        lrt=lrt,
        lrt_df=p - 1,
        lrt_p=chi2_sf(lrt, p - 1),
        heterogeneity_lrt=max(0.0, 2.0 * (sup.value - sup.zero)),
        weight=share,
    )
    out["heterogeneity_lrt_p"] = boundary_p(out["heterogeneity_lrt"])
    saturated = float(quad.log_binomial_saturated(x, n).sum())
    out["q"] = max(0.0, 2.0 * (saturated - sup.zero))
    out["q_p"] = chi2_sf(out["q"], df)
    likelihood_test = (lrt, (p - 1, None), out["lrt_p"], f"likelihood ratio, chi-square({p - 1})")
    if null.top is not None:
        out["tau2_null"] = null.top.v
    if sup.top is None or (sup.direction is not None and not _all_estimable(sup, design)):
        return _separated(out, sup, cut, likelihood_test, notes, tau2_interval)
    top = sup.top
    cov = glmm.covariance(top)
    se = np.sqrt(np.diag(cov))
    beta = top.beta
    use_t = interval in ("t", "profile-t")
    statistic = beta / se
    out.update(
        coefficients=beta,
        se=se,
        statistic=statistic,
        p_values=np.array([t_p(s, df) if use_t else normal_p(s) for s in statistic]),
        df=df if use_t else None,
        covariance=cov,
        tau2=top.v,
        fitted=special.expit(design @ beta),
        converged=top.settled,
    )
    if top.v == 0.0:
        notes.append("The residual between-trial variance is estimated at its boundary, zero.")
    if top.modes > 1:
        notes.append(f"The likelihood has {top.modes} maxima; the highest is reported.")
    if not top.settled:
        notes.append("The iteration did not reach its usual precision.")
    trials = quad.prepare(x, n)
    info = -quad.derivatives(trials, design @ beta, top.v).mu_mu
    out["weight"] = info / info.sum()
    out["r2"] = _r2(top.v, out["tau2_null"], notes)
    y, v = effect_sizes(x, n, "logit")
    fixed = linear.weighted(y, v, design, 0.0)
    typical = df / float(np.sum(fixed.weight * (1.0 - fixed.hat)))
    out["i2"], out["h2"] = 100.0 * top.v / (top.v + typical), 1.0 + top.v / typical
    if tau2_interval:
        out["tau2_ci"] = _tau2_limits(trials, design, top, chi2_isf(1.0 - level, 1), notes)
    if interval in ("wald", "t"):
        quantile = math.sqrt(cut)
        out["ci_low"], out["ci_high"] = beta - quantile * se, beta + quantile * se
        omnibus = _omnibus(beta, cov, interval, df)
    else:
        limits = [
            _limits(x, n, design, j, float(beta[j]), float(se[j]), top.value - 0.5 * cut, cut)
            for j in range(p)
        ]
        out["ci_low"] = np.array([low for low, _ in limits])
        out["ci_high"] = np.array([high for _, high in limits])
        if not np.isfinite([out["ci_low"], out["ci_high"]]).all():
            notes.append(
                "The profile likelihood of a coefficient does not fall to the cut-off on one side."
            )
        omnibus = likelihood_test
    out["omnibus"], out["omnibus_df"], out["omnibus_p"], out["omnibus_test"] = omnibus
    out["subgroups"] = _glmm_subgroups(out, sup, cut)
    out["notes"] = tuple(notes)
    return out


def _limits(x, n, design, j, start, se, target, cut) -> tuple[float, float]:
    scale = math.sqrt(cut) * se
    low, high = (
        glmm.profile_limit(x, n, design, j, start=start, scale=scale, target=target, side=side)
        for side in (-1, 1)
    )
    return low, high


def _all_estimable(sup: glmm.Supremum, design: np.ndarray) -> bool:
    return sup.columns.size == design.shape[1]


def _tau2_limits(trials, design, top, cut, notes) -> tuple[float, float]:
    """Profile interval of tau2 (chi-square(1) cut-off)."""
    from scipy.optimize import brentq

    offset = np.zeros(design.shape[0])
    basis, r = glmm._basis(design)
    gamma = r @ top.beta
    target = top.value - 0.5 * cut

    def drop(v: float) -> float:
        _, value, _ = glmm._profile(
            trials, basis, offset, gamma[None, :], np.array([v]), quad.TOLERANCE
        )
        return float(value[0]) - target

    low = 0.0
    if top.zero < target:
        low = float(brentq(drop, 0.0, top.v, xtol=1e-13, rtol=1e-12))
    inside, high = top.v, max(2.0 * top.v, 0.1)
    while drop(high) > 0.0:
        if high > 1e5:
            notes.append("The profile likelihood sets no upper limit to the residual variance.")
            return low, math.inf
        inside, high = high, 3.0 * high
    return low, float(brentq(drop, inside, high, xtol=1e-13, rtol=1e-12))


def _separated(out, sup, cut, likelihood_test, notes, tau2_interval) -> dict[str, Any]:
    """Coefficients without a finite estimate: signs, one-sided limits, likelihood ratios."""
    x, n, design = out["events"], out["total"], out["design"]
    p = design.shape[1]
    out["omnibus"], out["omnibus_df"], out["omnibus_p"], out["omnibus_test"] = likelihood_test
    out["converged"] = False
    if sup.all_or_none:
        notes.append(
            "Every trial is at 0 or at 1 and the moderators do not tell them apart: the "
            "between-trial variance has no finite estimate and the coefficients are not estimable."
        )
        out["notes"] = tuple(notes)
        return out
    moved = int(np.count_nonzero(~sup.rows))
    finite = np.zeros(p, dtype=bool)
    beta = np.zeros(p)
    if sup.top is not None:
        part = design[sup.rows]
        beta[sup.columns] = sup.top.beta
        for j in range(p):
            unit = np.zeros(p)
            unit[j] = 1.0
            rest = unit - np.linalg.pinv(part) @ (part @ unit)
            finite[j] = np.linalg.norm(rest) < 1e-8
    # in units of the column, so that a rounding error is no sign
    moving = sup.direction * np.abs(design).max(axis=0)
    sign = np.sign(np.where(np.abs(moving) > 1e-9 * np.abs(moving).max(), moving, 0.0))
    notes.append(
        f"The moderators separate {moved} trial(s) at 0 or at 1 from the others, so that some "
        "coefficients have no finite estimate; they are shown as infinite with the one-sided "
        "profile limit, and tested by the likelihood ratio."
    )
    if np.any(~finite & (sign == 0)):
        notes.append("Some of them are not identified at all, so no coefficient is shown.")
        out["notes"] = tuple(notes)
        out["fitted"] = _separated_fitted(sup, design, beta, x, n)
        return out
    target = sup.value - 0.5 * cut
    se = np.full(p, np.inf)
    cov = np.full((p, p), np.inf)
    if sup.top is not None:
        part_cov = glmm.covariance(sup.top)
        place = {int(c): i for i, c in enumerate(sup.columns)}
        known = [j for j in range(p) if finite[j] and j in place]
        for a in known:
            for b in known:
                cov[a, b] = part_cov[place[a], place[b]]
            se[a] = math.sqrt(cov[a, a])
        out["tau2"] = sup.top.v
        if tau2_interval:
            out["tau2_ci"] = _tau2_limits(
                quad.prepare(x[sup.rows], n[sup.rows]),
                design[np.ix_(sup.rows, sup.columns)],
                sup.top,
                chi2_isf(1.0 - out["level"], 1),
                notes,
            )
        # some trial is neither at 0 nor at 1, so the null model has a maximum as well
        out["r2"] = _r2(sup.top.v, out["tau2_null"], notes)
    low, high = np.empty(p), np.empty(p)
    statistic, p_values = np.empty(p), np.empty(p)
    for j in range(p):
        without = glmm.constrained(x, n, design, j, 0.0)[0]
        ratio = max(0.0, 2.0 * (sup.value - without))
        p_values[j] = chi2_sf(ratio, 1)
        if finite[j]:
            statistic[j] = math.copysign(math.sqrt(ratio), beta[j])
            low[j], high[j] = _limits(x, n, design, j, beta[j], se[j], target, cut)
            continue
        beta[j] = sign[j] * np.inf
        statistic[j] = math.copysign(math.sqrt(ratio), sign[j])
        limit = _one_sided_limit(x, n, design, j, int(sign[j]), target)
        low[j], high[j] = (limit, np.inf) if sign[j] > 0 else (-np.inf, limit)
    out.update(
        coefficients=beta,
        se=se,
        covariance=cov,
        ci_low=low,
        ci_high=high,
        statistic=statistic,
        p_values=p_values,
        fitted=_separated_fitted(sup, design, np.where(finite, beta, 0.0), x, n),
    )
    out["subgroups"] = _glmm_subgroups(out, sup, cut)
    out["notes"] = tuple(notes)
    return out


def _one_sided_limit(x, n, design, j, sign: int, target: float) -> float:
    """Profile limit on the finite side of a coefficient whose estimate is infinite."""
    unit = glmm.column_scale(design, j)
    start = 0.0
    while glmm.constrained(x, n, design, j, start)[0] < target:
        start += sign * 2.0 / unit
        if abs(start) * unit > 120.0:
            return sign * math.inf
    return glmm.profile_limit(
        x, n, design, j, start=start, scale=1.0 / unit, target=target, side=-sign
    )


def _separated_fitted(sup, design, beta, x, n) -> np.ndarray:
    fitted = x / n
    if sup.top is not None:
        part = design[np.ix_(sup.rows, sup.columns)]
        fitted[sup.rows] = special.expit(part @ sup.top.beta)
    return fitted


def _glmm_subgroups(out, sup, cut) -> tuple[dict[str, Any], ...]:
    factor = _only_factor(out["terms"])
    if factor is None:
        return ()
    assert factor.levels is not None
    x, n = out["events"], out["total"]
    cells, contrast = _cell_means(out["design"])
    groups = []
    target = sup.value - 0.5 * cut
    for j, name in enumerate(factor.levels):
        members = cells[:, j] == 1.0
        xs, ns = x[members], n[members]
        group: dict[str, Any] = {"level": name, "k": int(members.sum())}
        if xs.sum() == 0 or np.array_equal(xs, ns):
            sign = 1 if xs.sum() else -1
            limit = float(special.expit(_one_sided_limit(x, n, cells, j, sign, target)))
            ends = (limit, 1.0) if sign > 0 else (0.0, limit)
            group.update(
                estimate=float(sign > 0), ci_low=ends[0], ci_high=ends[1], mu=None, se=None
            )
        else:
            top = sup.top
            if sup.direction is None:
                mu = float((contrast @ out["coefficients"])[j])
                se = math.sqrt(float((contrast @ out["covariance"] @ contrast.T)[j, j]))
            else:
                row = out["design"][np.ix_(sup.rows, sup.columns)][
                    np.flatnonzero(cells[sup.rows, j] == 1.0)[0]
                ]
                mu = float(row @ top.beta)
                se = math.sqrt(float(row @ glmm.covariance(top) @ row))
            if out["interval"] in ("wald", "t"):
                limits = (mu - math.sqrt(cut) * se, mu + math.sqrt(cut) * se)
            else:
                limits = _limits(x, n, cells, j, mu, se, target, cut)
            group.update(
                estimate=float(special.expit(mu)),
                ci_low=float(special.expit(limits[0])),
                ci_high=float(special.expit(limits[1])),
                mu=mu,
                se=se,
            )
        groups.append(group)
    return tuple(groups)


# ----------------------------------------------------------------------------- permutations


def _distinct_count(rows: list[tuple]) -> int:
    """Number of distinct orders of the rows."""
    counts: dict[tuple, int] = {}
    for row in rows:
        counts[row] = counts.get(row, 0) + 1
    value = math.factorial(len(rows))
    for c in counts.values():
        value //= math.factorial(c)
    return value


def _distinct_orders(rows: list[tuple]) -> Iterator[list[int]]:
    """Every distinct order of the rows once, as indices of representative rows."""
    first: dict[tuple, int] = {}
    left: dict[int, int] = {}
    for i, row in enumerate(rows):
        place = first.setdefault(row, i)
        left[place] = left.get(place, 0) + 1

    def extend(prefix: list[int]) -> Iterator[list[int]]:
        if len(prefix) == len(rows):
            yield list(prefix)
            return
        for i in list(left):
            if left[i]:
                left[i] -= 1
                prefix.append(i)
                yield from extend(prefix)
                prefix.pop()
                left[i] += 1

    yield from extend([])


def _permute(out: dict[str, Any], permutations: int, seed: int | None) -> dict[str, Any]:
    design = out["design"]
    k = design.shape[0]
    rows = [tuple(row) for row in design.tolist()]
    exact = _distinct_count(rows) <= permutations
    orders: list[Any]
    if exact:
        orders = list(_distinct_orders(rows))
    else:
        if seed is None:
            raise ValueError("drawn permutations need a seed so that they can be repeated")
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
        rng = np.random.default_rng(seed)
        orders = [np.arange(k), *(rng.permutation(k) for _ in range(permutations - 1))]
    x, n, model = out["events"], out["total"], out["model"]
    result: dict[str, Any] = {
        "permutation_count": len(orders),
        "permutation_exact": exact,
    }
    if model == "glmm":
        # the supremum without moderators does not depend on the order, so the likelihood ratio
        # can be compared through the log-likelihood alone
        memory: dict[bytes, float] = {}
        values = np.empty(len(orders))
        for i, order in enumerate(orders):
            permuted = np.ascontiguousarray(design[order])
            key = permuted.tobytes()
            if key not in memory:
                memory[key] = glmm.supremum(x, n, permuted).value
            values[i] = memory[key]
        observed = out["log_likelihood"]
        result["permutation_p"] = float(np.mean(values >= observed - 1e-8))
        return result
    y, v = effect_sizes(x, n, out["transform"])
    interval = "wald" if out["df"] is None else out["interval"]  # what the fit itself shows
    omnibus = np.empty(len(orders))
    single = np.empty((len(orders), design.shape[1]))
    for i, order in enumerate(orders):
        omnibus[i], single[i] = _linear_statistic(y, v, design[order], model, interval)
    observed, own = _linear_statistic(y, v, design, model, interval)
    slack = 1e-8 * (1.0 + abs(observed))
    result["permutation_p"] = float(np.mean(omnibus >= observed - slack))
    result["permutation_p_values"] = np.mean(
        np.abs(single) >= np.abs(own) - 1e-8 * (1.0 + np.abs(own)), axis=0
    )
    return result


# ------------------------------------------------------------------------------- subgroups


@dataclass(frozen=True, kw_only=True, eq=False)
class SubgroupFit:
    """Pooled proportions per subgroup and the test that they are equal.

    ``levels``: names in order; ``fits``: one :class:`Fit` per level (separate tau2) or None;
    ``estimate, ci_low, ci_high``: per level, proportion scale (None where not estimable);
    ``tau2``: "common" or "separate"; ``q, q_df, q_p, test``: test between subgroups;
    ``regression``: the :class:`ModeratorFit` behind a common tau2 or None; ``notes``.
    """

    levels: tuple[str, ...]
    k: tuple[int, ...]
    estimate: tuple[float | None, ...]
    ci_low: tuple[float | None, ...]
    ci_high: tuple[float | None, ...]
    tau2: str
    q: float | None
    q_df: tuple[int, int | None] | None
    q_p: float | None
    test: str
    fits: tuple[Fit, ...] | None = None
    regression: ModeratorFit | None = None
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values."""
        out = {f.name: getattr(self, f.name) for f in fields(self)}
        out["fits"] = None if self.fits is None else [fit.to_dict() for fit in self.fits]
        out["regression"] = None if self.regression is None else self.regression.to_dict()
        return {name: plain(value) for name, value in out.items()}


def fit_subgroups(
    events: Any,
    total: Any,
    by: Sequence[Any],
    *,
    model: str = "glmm",
    tau2: str = "separate",
    interval: str | None = None,
    level: float = 0.95,
    transform: str = "logit",
    labels: Sequence[Any] | None = None,
) -> SubgroupFit:
    """Pool within the levels of ``by`` and test whether they differ.

    Parameters
    ----------
    by : sequence of k values
        Subgroup of each trial.
    tau2 : {"separate", "common"}
        One between-trial variance per subgroup (each pooled on its own, any model of ``pool``)
        or one for all (regression on the factor).

    The test between subgroups with separate variances is Cochran's Q over the subgroups' link
    scale means and standard errors, chi-square with (subgroups - 1) degrees of freedom
    (Borenstein and Higgins 2013, doi:10.1007/s11121-013-0377-7); subgroups without a finite mean
    are left out and a note says so. With a common variance it is the omnibus test of the
    regression.

    Raises
    ------
    ValueError
        As ``pool`` and :func:`fit_moderators`; fewer than two subgroups.
    """
    x, n = check_counts(events, total)
    names = check_labels(labels, x.size)
    check_choice(tau2, "tau2", ("separate", "common"))
    (term,), values = parse_moderators({"subgroup": [str(v) for v in _listed(by)]}, x.size)
    assert term.levels is not None
    groups = np.array(values["subgroup"])
    members = [groups == name for name in term.levels]
    sizes = tuple(int(m.sum()) for m in members)
    if tau2 == "common":
        fit = fit_moderators(
            x,
            n,
            moderators={"subgroup": values["subgroup"]},
            model=model,
            interval=interval,
            level=level,
            labels=names,
            transform=transform,
        )
        have = {group["level"]: group for group in fit.subgroups}
        rows = [have.get(name, {}) for name in term.levels]
        return SubgroupFit(
            levels=term.levels,
            k=sizes,
            estimate=tuple(row.get("estimate") for row in rows),
            ci_low=tuple(row.get("ci_low") for row in rows),
            ci_high=tuple(row.get("ci_high") for row in rows),
            tau2=tau2,
            q=fit.omnibus,
            q_df=fit.omnibus_df,
            q_p=fit.omnibus_p,
            test=fit.omnibus_test,
            regression=fit,
            notes=fit.notes,
        )
    from .api import pool

    fits = []
    for member in members:
        part = None if names is None else [names[i] for i in np.flatnonzero(member)]
        fits.append(
            pool(
                x[member],
                n[member],
                model,
                interval=interval,
                level=level,
                transform=transform,
                labels=part,
            )
        )
    pooled = [f.mu is not None and f.se is not None and f.se > 0 for f in fits]
    usable = [f for f, good in zip(fits, pooled, strict=True) if good]
    notes: list[str] = []
    if len(usable) < len(fits):
        out_of = [name for name, good in zip(term.levels, pooled, strict=True) if not good]
        notes.append(
            "Left out of the test between subgroups, having no pooled mean with a standard error: "
            + ", ".join(out_of)
            + "."
        )
    q = q_df = q_p = None
    if len(usable) >= 2:
        mu = np.array([f.mu for f in usable])
        w = np.array([1.0 / f.se**2 for f in usable])  # type: ignore[operator]
        q = float(np.sum(w * (mu - np.sum(w * mu) / w.sum()) ** 2))
        q_df = (len(usable) - 1, None)
        q_p = chi2_sf(q, q_df[0])
    else:
        notes.append("A test between subgroups needs two subgroups with a pooled mean.")
    return SubgroupFit(
        levels=term.levels,
        k=sizes,
        estimate=tuple(f.estimate for f in fits),
        ci_low=tuple(f.ci_low for f in fits),
        ci_high=tuple(f.ci_high for f in fits),
        tau2=tau2,
        q=q,
        q_df=q_df,
        q_p=q_p,
        test="Cochran's Q between subgroups",
        fits=tuple(fits),
        notes=tuple(notes),
    )


def _listed(by: Any) -> list[Any]:
    if isinstance(by, str | bytes) or np.ndim(by) != 1:
        raise ValueError("by must be one-dimensional with one subgroup per trial")
    out = list(by)
    for i, value in enumerate(out):
        if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
            raise ValueError(f"by is missing at position {i}")
    return out
