"""How much does a pooled proportion rest on single trials, on their order, on shared patients?

Every function takes counts and returns a frozen result; none draws or reads files. Definitions
follow metafor (Viechtbauer and Cheung 2010, doi:10.1002/jrsm.11) and are named where packages
differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from analysis.pooling import Fit, effect_sizes, effective_total, inverse, pool, pool_many
from analysis.pooling import quadrature as quad
from analysis.pooling._regression import Weighted, estimate_tau2, weighted
from analysis.pooling._stats import t_p, t_quantile
from analysis.pooling._validate import check_choice, check_counts, check_labels, check_level
from analysis.pooling.api import NORMAL
from analysis.pooling.fit import plain

if TYPE_CHECKING:  # pragma: no cover
    import pandas as pd

__all__ = [
    "Baujat",
    "ClusterRobust",
    "FitSeries",
    "Influence",
    "Subsets",
    "all_subsets",
    "baujat",
    "cluster_robust",
    "cumulative",
    "influence",
    "leave_one_out",
    "subsets_together",
]


def _plain_fields(result: Any) -> dict[str, Any]:
    return {f.name: plain(getattr(result, f.name)) for f in fields(result)}


def _names(labels: Sequence[Any] | None, k: int) -> tuple[str, ...]:
    return check_labels(labels, k) or tuple(str(i + 1) for i in range(k))


# ----------------------------------------------------------------- leave-one-out, cumulative


@dataclass(frozen=True, kw_only=True, eq=False)
class FitSeries:
    """Fits that belong together, one per row of a table or a forest plot.

    Attributes
    ----------
    kind : {"leave-one-out", "cumulative"}
    labels : tuple of str
        The trial left out, or the trial added last.
    index : numpy.ndarray of int
        Its position in the data.
    fits : tuple of Fit
        One per label.
    full : Fit
        All trials.
    """

    kind: str
    labels: tuple[str, ...]
    index: np.ndarray
    fits: tuple[Fit, ...]
    full: Fit

    def __len__(self) -> int:
        return len(self.fits)

    def __iter__(self) -> Iterator[Fit]:
        return iter(self.fits)

    def to_frame(self) -> pd.DataFrame:
        """Columns ``label, k, estimate, ci_low, ci_high, pi_low, pi_high, mu, se, tau2, i2, q,
        q_p``; a quantity that does not exist is a missing value."""
        import pandas as pd

        names = (
            "k",
            "estimate",
            "ci_low",
            "ci_high",
            "pi_low",
            "pi_high",
            "mu",
            "se",
            "tau2",
            "i2",
            "q",
            "q_p",
        )
        table = {name: [getattr(fit, name) for fit in self.fits] for name in names}
        frame = pd.DataFrame({"label": list(self.labels), **table})
        return frame.astype({name: "Float64" for name in names[1:]})

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values; every fit through ``Fit.to_dict``."""
        return {
            "kind": self.kind,
            "labels": list(self.labels),
            "index": plain(self.index),
            "fits": [fit.to_dict() for fit in self.fits],
            "full": self.full.to_dict(),
        }


def leave_one_out(
    events: Any,
    total: Any,
    model: str = "glmm",
    *,
    labels: Sequence[Any] | None = None,
    **options: Any,
) -> FitSeries:
    """Pool again without each trial in turn.

    Parameters
    ----------
    events, total : array_like of int, shape (k,)
    model, **options
        As in :func:`analysis.pooling.pool` (``interval``, ``level``, ``transform``, ...).
    labels : sequence of str, optional

    Returns
    -------
    FitSeries
        ``fits[i]`` leaves out trial i. With k = 2 what is left is one trial, shown and not
        pooled.

    Raises
    ------
    ValueError
        Fewer than two trials, or what ``pool`` refuses.
    """
    x, n = check_counts(events, total)
    k = x.size
    if k < 2:
        raise ValueError("leaving one out needs at least two trials, got 1")
    names = _names(labels, k)
    kept = np.array([[j for j in range(k) if j != i] for i in range(k)])
    parts = [[names[j] for j in row] for row in kept]
    if model == "bayes" and k > 2 and not {"thresholds", "interval"} & set(options):
        many = pool_many(x[kept], n[kept], model, **options)
        fits = [many.fit(i, labels=part) for i, part in enumerate(parts)]
    else:
        fits = [
            pool(x[row], n[row], model, labels=part, **options)
            for row, part in zip(kept, parts, strict=True)
        ]
    return FitSeries(
        kind="leave-one-out",
        labels=names,
        index=np.arange(k),
        fits=tuple(fits),
        full=pool(x, n, model, labels=names, **options),
    )


def cumulative(
    events: Any,
    total: Any,
    model: str = "glmm",
    *,
    by: Sequence[Any] | None = None,
    descending: bool = False,
    labels: Sequence[Any] | None = None,
    **options: Any,
) -> FitSeries:
    """Pool the first trial, the first two, and so on, in any order.

    Parameters
    ----------
    by : sequence of k sortable values, optional
        Years, sizes, names: trials are taken in the order of these values, ties in the order
        given. Default: the order given.
    descending : bool
        Largest value first (ties still in the order given).

    Returns
    -------
    FitSeries
        ``fits[j]`` pools the first j + 1 trials of the order in ``index``; the first holds one
        trial, shown and not pooled.

    Raises
    ------
    ValueError
        ``by`` of the wrong length, with missing values, or of values that cannot be compared.
    """
    x, n = check_counts(events, total)
    k = x.size
    names = _names(labels, k)
    order = np.arange(k) if by is None else _order(by, k, descending)
    fits = []
    for j in range(1, k + 1):
        take = order[:j]
        fits.append(pool(x[take], n[take], model, labels=[names[i] for i in take], **options))
    return FitSeries(
        kind="cumulative",
        labels=tuple(names[i] for i in order),
        index=order,
        fits=tuple(fits),
        full=fits[-1],
    )


def _order(by: Any, k: int, descending: bool) -> np.ndarray:
    if isinstance(by, str | bytes) or np.ndim(by) != 1 or len(by) != k:
        raise ValueError(f"by must hold one value for each of the {k} trials")
    values = list(by)
    for i, value in enumerate(values):
        if value is None or value != value or str(value) in ("<NA>", "NaT"):
            raise ValueError(f"by is missing at position {i}")
    try:
        order = sorted(range(k), key=lambda i: values[i], reverse=descending)
    except TypeError as error:
        raise ValueError("by holds values that cannot be put in order") from error
    return np.array(order, dtype=int)


# ----------------------------------------------------------------------------------- influence


@dataclass(frozen=True, kw_only=True, eq=False)
class Influence:
    """Case-deletion diagnostics, one value per trial (k,).

    Attributes
    ----------
    rstudent : standardized deleted (studentized) residual: observed minus predicted from the
        other trials, over the standard error of that difference. GLMM: normal quantile of the
        mid-p value of the count under the model fitted to the other trials.
    dffits : change of the fitted mean, in standard errors of the fitted mean with the deleted
        variance. dfbeta : change of mu in standard errors. cook : Cook's distance, the squared
        change of mu over its variance. cov_ratio : variance of mu without the trial over that
        with it. hat : leverage. weight : share of the pooled mean, sums to 1.
    tau2_deleted, q_deleted, estimate_deleted : tau2 and Q (link scale) and the pooled proportion
        without the trial.
    influential : metafor's rule of thumb: abs(dffits) > 3 sqrt(1/(k-1)), or the lower tail of
        chi-square(1) at Cook's distance above one half, or hat > 3/k, or any abs(dfbeta) > 1.
    notes : sentences on trials for which a value does not exist; such values are missing (NaN)
        and listed in ``undefined``.
    """

    model: str
    labels: tuple[str, ...]
    rstudent: np.ndarray
    dffits: np.ndarray
    dfbeta: np.ndarray
    cook: np.ndarray
    cov_ratio: np.ndarray
    hat: np.ndarray
    weight: np.ndarray
    tau2_deleted: np.ndarray
    q_deleted: np.ndarray
    estimate_deleted: np.ndarray
    influential: np.ndarray
    undefined: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """One row per trial."""
        import pandas as pd

        skip = {"model", "labels", "undefined", "notes"}
        columns = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in skip}
        return pd.DataFrame({"label": list(self.labels), **columns})

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values; undefined values become None."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                out[f.name] = [None if math.isnan(v) else plain(v) for v in value.tolist()]
            else:
                out[f.name] = plain(value)
        return out


def _one(y: np.ndarray, v: np.ndarray, model: str) -> tuple[float, Weighted]:
    design = np.ones((y.size, 1))
    tau2 = estimate_tau2(y, v, design, model)
    return tau2, weighted(y, v, design, tau2)


def _scale(fit: Weighted, interval: str, k: int) -> float:
    """Hartung-Knapp multiplier of the variance of the mean."""
    if interval == "hartung-knapp":
        return fit.q / (k - 1)
    if interval == "hartung-knapp-adhoc":
        return max(1.0, fit.q / (k - 1))
    return 1.0


def influence(
    events: Any,
    total: Any,
    model: str = "reml",
    *,
    interval: str = "wald",
    transform: str = "logit",
    add: float | None = None,
    to: str = "only0",
    labels: Sequence[Any] | None = None,
) -> Influence:
    """Case-deletion diagnostics as metafor's ``influence.rma.uni``.

    Parameters
    ----------
    events, total : array_like of int, shape (k,), k >= 3
    model : str
        A normal-normal model of :func:`analysis.pooling.pool`, or ``"glmm"``, for which the same
        quantities are computed from the maximum likelihood fits without each trial.
    interval : {"wald", "t", "hartung-knapp", "hartung-knapp-adhoc"}
        Decides whether variances carry the Hartung-Knapp multiplier. Ignored by the GLMM.
    transform, add, to
        Effect sizes of the normal-normal models, corrected before any trial is left out.

    Raises
    ------
    ValueError
        Fewer than three trials, or what ``pool`` refuses.
    """
    x, n = check_counts(events, total)
    k = x.size
    names = _names(labels, k)
    check_choice(model, "model for influence", ("glmm", *NORMAL))
    if k < 3:
        raise ValueError(f"influence needs at least three trials, got {k}")
    if model == "glmm":
        if transform != "logit":
            raise ValueError("the GLMM works on the logit only: choose a normal-normal model")
        return _influence_glmm(x, n, names)
    check_choice(interval, "interval", ("wald", "t", "hartung-knapp", "hartung-knapp-adhoc"))
    y, v = effect_sizes(x, n, transform, add=add, to=to)
    _, fit = _one(y, v, model)
    mean = float(fit.beta[0])
    variance = float(fit.covariance[0, 0]) * _scale(fit, interval, k)
    hat = fit.weight / fit.weight.sum()
    rows = np.empty((8, k))
    for i in range(k):
        keep = np.arange(k) != i
        tau2_i, part = _one(y[keep], v[keep], model)
        scale = _scale(part, interval, k - 1)
        mean_i = float(part.beta[0])
        variance_i = float(part.covariance[0, 0]) * scale
        change = mean - mean_i
        # variance of the full mean at the deleted tau2
        spread = 1.0 / float(np.sum(1.0 / (v + tau2_i)))
        at = effective_total(n[keep]) if transform == "freeman-tukey" else None
        fixed = weighted(y[keep], v[keep], np.ones((k - 1, 1)), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            rows[:, i] = (
                np.divide(y[i] - mean_i, math.sqrt(v[i] * scale + variance_i + tau2_i * scale)),
                np.divide(change, math.sqrt(scale * hat[i] * (tau2_i + v[i]))),
                np.divide(change, math.sqrt(scale * spread)),
                np.divide(change * change, variance),
                np.divide(variance_i, variance),
                tau2_i,
                fixed.q,
                float(inverse(mean_i, transform, at)),
            )
    return _influence(model, names, rows, hat, hat, ())


def _influence(model, names, rows, hat, weight, notes) -> Influence:
    rstudent, dffits, dfbeta, cook, cov_ratio, tau2_deleted, q_deleted, estimate = rows
    k = hat.size
    bad = ~np.isfinite(rows).all(axis=0)
    undefined = tuple(names[i] for i in np.flatnonzero(bad))
    rows = np.where(np.isfinite(rows), rows, np.nan)
    rstudent, dffits, dfbeta, cook, cov_ratio, tau2_deleted, q_deleted, estimate = rows
    notes = list(notes)
    if undefined:
        notes.append(
            "Some diagnostics do not exist (no finite fit, or no variance, without the trial): "
            + ", ".join(undefined)
            + "."
        )
    with np.errstate(invalid="ignore"):
        flag = (
            (np.abs(dffits) > 3.0 * math.sqrt(1.0 / (k - 1)))
            | (special.chdtr(1, np.nan_to_num(cook)) > 0.5)
            | (hat > 3.0 / k)
            | (np.abs(dfbeta) > 1.0)
        )
    return Influence(
        model=model,
        labels=names,
        rstudent=rstudent,
        dffits=dffits,
        dfbeta=dfbeta,
        cook=cook,
        cov_ratio=cov_ratio,
        hat=hat,
        weight=weight,
        tau2_deleted=tau2_deleted,
        q_deleted=q_deleted,
        estimate_deleted=estimate,
        influential=flag,
        undefined=undefined,
        notes=tuple(notes),
    )


_Z = np.linspace(-9.0, 9.0, 20001)
_ZW = np.exp(-0.5 * _Z * _Z) / math.sqrt(2.0 * math.pi) * (_Z[1] - _Z[0])


def _mid_p_quantile(x: int, n: int, mu: float, tau2: float) -> float:
    """Normal quantile of P(X < x) + P(X = x)/2 for a binomial-normal count."""
    p = special.expit(mu + math.sqrt(tau2) * _Z)
    q = special.expit(-(mu + math.sqrt(tau2) * _Z))
    below = float(special.betainc(n - x + 1, x, q) @ _ZW) if x > 0 else 0.0
    above = float(special.betainc(x + 1, n - x, p) @ _ZW) if x < n else 0.0
    equal = max(0.0, 1.0 - below - above)
    if below <= above:
        return float(special.ndtri(below + 0.5 * equal))
    return -float(special.ndtri(above + 0.5 * equal))


def _influence_glmm(x: np.ndarray, n: np.ndarray, names: tuple[str, ...]) -> Influence:
    full = pool(x, n, "glmm", interval="wald")
    if full.mu is None or full.se is None or full.tau2 is None:
        raise ValueError(
            "influence needs a finite pooled mean, and these trials have none: "
            + (full.notes[0] if full.notes else "not estimable")
        )
    k = x.size
    rows = np.full((8, k), np.nan)
    for i in range(k):
        keep = np.arange(k) != i
        part = pool(x[keep], n[keep], "glmm", interval="wald")
        if part.estimate is not None:
            rows[7, i] = part.estimate
        if part.mu is None or part.se is None or part.tau2 is None:
            continue
        change = full.mu - part.mu
        trials = quad.prepare(x, n)
        info = -quad.derivatives(trials, part.mu, part.tau2).mu_mu
        spread = 1.0 / math.sqrt(float(info.sum()))
        rows[:, i] = (
            _mid_p_quantile(int(x[i]), int(n[i]), part.mu, part.tau2),
            change / spread,
            change / part.se,
            (change / full.se) ** 2,
            (part.se / full.se) ** 2,
            part.tau2,
            part.q if part.q is not None else np.nan,
            part.estimate,
        )
    notes = ("Residuals are normal quantiles of mid-p values; the GLMM has no effect sizes.",)
    return _influence("glmm", names, rows, full.weight, full.weight, notes)


# -------------------------------------------------------------------------------------- Baujat


@dataclass(frozen=True, kw_only=True, eq=False)
class Baujat:
    """Coordinates of a Baujat plot, one value per trial (k,).

    ``heterogeneity``: squared Pearson residual, (y - mean)^2 / (v + tau2) (the contribution to
    Q for ``fe``); ``influence``: squared change of the mean when the trial is left out, over the
    variance of the mean without it. Definitions of metafor's ``baujat``; the original (Baujat et
    al. 2002, doi:10.1002/sim.1221) is ``model="fe"``.
    """

    model: str
    labels: tuple[str, ...]
    heterogeneity: np.ndarray
    influence: np.ndarray

    def to_frame(self) -> pd.DataFrame:
        """Columns ``label, heterogeneity, influence``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "label": list(self.labels),
                "heterogeneity": self.heterogeneity,
                "influence": self.influence,
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values."""
        return _plain_fields(self)


def baujat(
    events: Any,
    total: Any,
    model: str = "fe",
    *,
    transform: str = "logit",
    add: float | None = None,
    to: str = "only0",
    labels: Sequence[Any] | None = None,
) -> Baujat:
    """Contribution of each trial to heterogeneity against its influence on the mean.

    Normal-normal models only; Wald variances.

    Raises
    ------
    ValueError
        Fewer than two trials, or a model without effect sizes.
    """
    x, n = check_counts(events, total)
    k = x.size
    names = _names(labels, k)
    check_choice(model, "model for a Baujat plot", NORMAL)
    if k < 2:
        raise ValueError("a Baujat plot needs at least two trials, got 1")
    y, v = effect_sizes(x, n, transform, add=add, to=to)
    tau2, fit = _one(y, v, model)
    mean = float(fit.beta[0])
    influence_on = np.empty(k)
    for i in range(k):
        keep = np.arange(k) != i
        if k == 2:
            mean_i, variance_i = float(y[keep][0]), float(v[keep][0])
        else:
            _, part = _one(y[keep], v[keep], model)
            mean_i, variance_i = float(part.beta[0]), float(part.covariance[0, 0])
        influence_on[i] = (mean - mean_i) ** 2 / variance_i
    return Baujat(
        model=model,
        labels=names,
        heterogeneity=(y - mean) ** 2 / (v + tau2),
        influence=influence_on,
    )


# --------------------------------------------------------------------------------- clusters


@dataclass(frozen=True, kw_only=True, eq=False)
class ClusterRobust:
    """A pooled proportion with a variance that allows for dependence within clusters.

    ``estimate, ci_low, ci_high``: proportion scale; ``mu, se``: link scale; ``se_model``: the
    standard error that assumes independent trials; ``df``: clusters - 1, of the t quantile;
    ``p``: two-sided, of mu = 0; ``clusters``: their number; ``adjustment``: "CR0" or "CR1";
    ``tau2``; ``notes``.
    """

    model: str
    transform: str
    adjustment: str
    level: float
    estimate: float
    ci_low: float
    ci_high: float
    mu: float
    se: float
    se_model: float
    df: int
    p: float
    tau2: float
    k: int
    clusters: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values."""
        return _plain_fields(self)


def cluster_robust(
    events: Any,
    total: Any,
    cluster: Sequence[Any],
    model: str = "reml",
    *,
    adjustment: str = "CR1",
    level: float = 0.95,
    transform: str = "logit",
    add: float | None = None,
    to: str = "only0",
) -> ClusterRobust:
    """Sandwich variance for cohorts that belong to one trial (or share patients).

    Parameters
    ----------
    cluster : sequence of k names
        Cohorts with the same name may depend on each other in any way.
    model : str
        A normal-normal model (metafor's ``robust()``: weighted residuals summed by cluster), or
        ``"glmm"``: the scores of (mu, tau2) summed by cluster between inverse observed
        information matrices (White 1982, doi:10.2307/1912526).
    adjustment : {"CR1", "CR0"}
        CR1 multiplies CR0 by clusters / (clusters - 1), metafor's default. Interval and test use
        t with clusters - 1 degrees of freedom (Hedges et al. 2010, doi:10.1002/jrsm.5).

    Raises
    ------
    ValueError
        Fewer than two clusters, wrong length, missing names, or a GLMM without a finite mean.
    """
    x, n = check_counts(events, total)
    k = x.size
    level = check_level(level)
    check_choice(model, "model for cluster-robust variance", ("glmm", *NORMAL))
    check_choice(adjustment, "adjustment", ("CR0", "CR1"))
    if isinstance(cluster, str | bytes) or np.ndim(cluster) != 1 or len(cluster) != k:
        raise ValueError(f"cluster must hold one name for each of the {k} trials")
    place: dict[str, int] = {}
    group = np.empty(k, dtype=int)
    for i, name in enumerate(cluster):
        if name is None or name != name or str(name) in ("<NA>", "NaT"):
            raise ValueError(f"cluster is missing at position {i}")
        group[i] = place.setdefault(str(name), len(place))
    m = len(place)
    if m < 2:
        raise ValueError(f"cluster-robust variance needs at least two clusters, got {m}")
    notes = []
    if m < 10:
        notes.append(
            f"With {m} clusters the robust variance is itself uncertain and tends to be too small."
        )
    to_p: Callable[[float], float]
    if model == "glmm":
        if transform != "logit":
            raise ValueError("the GLMM works on the logit only: choose a normal-normal model")
        mu, se_model, tau2, variance = _sandwich_glmm(x, n, group, m)

        def to_p(value: float) -> float:
            return float(special.expit(value))

    else:
        y, v = effect_sizes(x, n, transform, add=add, to=to)
        tau2, fit = _one(y, v, model)
        mu, se_model = float(fit.beta[0]), math.sqrt(float(fit.covariance[0, 0]))
        sums = np.bincount(group, weights=fit.weight * fit.residual, minlength=m)
        variance = float(np.sum(sums * sums)) / float(fit.weight.sum()) ** 2
        at = effective_total(n) if transform == "freeman-tukey" else None

        def to_p(value: float) -> float:
            return float(inverse(value, transform, at))

    if adjustment == "CR1":
        variance *= m / (m - 1)
    se = math.sqrt(variance)
    half = t_quantile(level, m - 1) * se
    if se == 0.0:
        notes.append("The clusters do not differ at all, so the robust variance is zero.")
    return ClusterRobust(
        model=model,
        transform=transform,
        adjustment=adjustment,
        level=level,
        estimate=to_p(mu),
        ci_low=to_p(mu - half),
        ci_high=to_p(mu + half),
        mu=mu,
        se=se,
        se_model=se_model,
        df=m - 1,
        p=t_p(mu / se, m - 1) if se > 0 else (1.0 if mu == 0 else 0.0),
        tau2=tau2,
        k=k,
        clusters=m,
        notes=tuple(notes),
    )


def _sandwich_glmm(x, n, group, m) -> tuple[float, float, float, float]:
    fit = pool(x, n, "glmm", interval="wald")
    if fit.mu is None or fit.se is None or fit.tau2 is None:
        raise ValueError(
            "cluster-robust variance needs a finite pooled mean, and these trials have none"
        )
    d = quad.derivatives(quad.prepare(x, n), fit.mu, fit.tau2)
    scores = np.stack(
        [np.bincount(group, weights=d.mu, minlength=m), np.bincount(group, d.v, minlength=m)]
    )
    if fit.tau2 == 0.0:
        bread = -1.0 / float(d.mu_mu.sum())
        return fit.mu, fit.se, fit.tau2, bread * bread * float(np.sum(scores[0] ** 2))
    cross = float(d.mu_v.sum())
    information = -np.array([[float(d.mu_mu.sum()), cross], [cross, float(d.v_v.sum())]])
    bread_matrix = np.linalg.inv(information)
    return fit.mu, fit.se, fit.tau2, float((bread_matrix @ scores @ scores.T @ bread_matrix)[0, 0])


# ----------------------------------------------------------------------------- all subsets


@dataclass(frozen=True, kw_only=True, eq=False)
class Subsets:
    """Pooled proportions of many subsets of the trials (Olkin et al. 2012, doi:10.1002/jrsm.1053).

    Attributes
    ----------
    members : numpy.ndarray of bool, shape (S, k)
        Trials in each subset.
    size : numpy.ndarray of int, shape (S,)
    estimate, ci_low, ci_high, pi_low, pi_high, tau2 : numpy.ndarray, shape (S,)
        Proportion scale, and tau2 on the link scale. Where ``estimable`` is False (no finite
        pooled mean) the estimate is the limit 0 or 1 if there is one, else missing (NaN); tau2
        is missing there. A prediction interval that does not exist is missing too.
    estimable : numpy.ndarray of bool, shape (S,)
    exhaustive : bool
        Whether these are all subsets of the allowed sizes, by size and then in the order of the
        members.
    """

    model: str
    labels: tuple[str, ...]
    members: np.ndarray
    size: np.ndarray
    estimate: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray
    pi_low: np.ndarray
    pi_high: np.ndarray
    tau2: np.ndarray
    estimable: np.ndarray
    exhaustive: bool
    notes: tuple[str, ...] = ()

    def with_trial(self, position: int) -> np.ndarray:
        """Mask (S,) of the subsets that contain the trial at ``position`` (from 0)."""
        return self.members[:, position]

    def to_frame(self) -> pd.DataFrame:
        """One row per subset: ``size``, the values, ``estimable``."""
        import pandas as pd

        names = ("size", *_SUBSET_VALUES, "estimable")
        return pd.DataFrame({name: getattr(self, name) for name in names})


def all_subsets(
    events: Any,
    total: Any,
    model: str = "glmm",
    *,
    min_size: int = 2,
    max_subsets: int = 20_000,
    seed: int = 1,
    interval: str = "wald",
    labels: Sequence[Any] | None = None,
    **options: Any,
) -> Subsets:
    """Pool every subset of the trials, or a random sample of subsets if there are too many.

    Parameters
    ----------
    min_size : int, default 2
        Smallest subset.
    max_subsets : int
        If there are more subsets, this many distinct ones are drawn with ``seed``, each subset of
        an allowed size being equally likely.
    model, interval, **options
        As in :func:`analysis.pooling.pool_many`; the Wald interval is the default because it
        costs least.

    Raises
    ------
    ValueError
        Fewer than two trials or sizes that do not fit.
    """
    x, n = check_counts(events, total)
    k = x.size
    names = _names(labels, k)
    for name, value, least in (("min_size", min_size, 2), ("max_subsets", max_subsets, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    if min_size > k:
        raise ValueError(f"min_size {min_size} is more than the {k} trials")
    count = sum(math.comb(k, size) for size in range(min_size, k + 1))
    exhaustive = count <= max_subsets
    if exhaustive:
        members = _all_members(k, min_size)
    else:
        members = _draw_subsets(k, min_size, max_subsets, seed)
    (values,) = _pool_sets([(x, n, members)], model, interval, options)
    notes = []
    if not exhaustive:
        notes.append(f"{len(members)} of {count} subsets, drawn at random with seed {seed}.")
    return _subsets(model, names, members, values, exhaustive, notes)


def subsets_together(
    sets: Sequence[tuple[Any, Any]],
    model: str = "glmm",
    *,
    min_sizes: Sequence[int],
    interval: str = "wald",
    **options: Any,
) -> list[Subsets]:
    """Pool every subset of several sets of trials, as :func:`all_subsets` does one by one.

    Subsets of the same size are pooled in one call, whichever set they come from, which takes a
    fraction of the time.

    Parameters
    ----------
    sets : sequence of (array_like of int (k,), array_like of int (k,))
        Events and totals of each set; k may differ.
    min_sizes : sequence of int
        Smallest subset of each set, 2 or more.
    model, interval, **options
        As in :func:`all_subsets`.

    Returns
    -------
    list of Subsets
        One per set.

    Raises
    ------
    ValueError
        A set of fewer than two trials, sizes that do not fit, or what ``pool_many`` refuses.
    """
    if len(min_sizes) != len(sets):
        raise ValueError(f"min_sizes must have one size per set ({len(sets)})")
    jobs = []
    for (events, total), least in zip(sets, min_sizes, strict=True):
        x, n = check_counts(events, total)
        if not 2 <= least <= x.size:
            raise ValueError(f"a smallest size of {least} does not fit {x.size} trial(s)")
        jobs.append((x, n, _all_members(x.size, least)))
    made = _pool_sets(jobs, model, interval, options)
    return [
        _subsets(model, _names(None, x.size), members, values, True, [])
        for (x, _, members), values in zip(jobs, made, strict=True)
    ]


def _all_members(k: int, min_size: int) -> np.ndarray:
    rows = []
    for size in range(min_size, k + 1):
        index = np.array(list(combinations(range(k), size)))
        part = np.zeros((len(index), k), dtype=bool)
        np.put_along_axis(part, index, True, axis=1)
        rows.append(part)
    return np.concatenate(rows)


def _pool_sets(
    jobs: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    model: str,
    interval: str,
    options: dict[str, Any],
) -> list[dict[str, np.ndarray]]:
    """Values of every subset of several sets (events, total, members), size by size."""
    values = [
        {name: np.full(len(members), np.nan) for name in _SUBSET_VALUES} for *_, members in jobs
    ]
    sizes = [members.sum(axis=1) for *_, members in jobs]
    for size in np.unique(np.concatenate(sizes)):
        where = [np.flatnonzero(found == size) for found in sizes]
        index = [
            np.nonzero(members[rows])[1].reshape(len(rows), size)
            for (*_, members), rows in zip(jobs, where, strict=True)
        ]
        x, n = (
            np.concatenate([job[which][take] for job, take in zip(jobs, index, strict=True)])
            for which in (0, 1)
        )
        made = _many(x, n, model, interval, options)
        start = 0
        for rows, put in zip(where, values, strict=True):
            for name in _SUBSET_VALUES:
                put[name][rows] = made[name][start : start + len(rows)]
            start += len(rows)
    return values


def _subsets(
    model: str,
    names: tuple[str, ...],
    members: np.ndarray,
    values: dict[str, np.ndarray],
    exhaustive: bool,
    notes: list[str],
) -> Subsets:
    estimable = ~np.isnan(values["estimate" if model == "beta-binomial" else "tau2"])
    if not estimable.all():
        notes = [
            *notes,
            f"{int(np.count_nonzero(~estimable))} subset(s) have no finite pooled mean: all trials "
            "at 0, all at 1, or all at either.",
        ]
    return Subsets(
        model=model,
        labels=names,
        members=members,
        size=members.sum(axis=1),
        **values,
        estimable=estimable,
        exhaustive=exhaustive,
        notes=tuple(notes),
    )


def _draw_subsets(k: int, min_size: int, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    seen: set[bytes] = set()
    out: list[np.ndarray] = []
    while len(out) < count:
        for row in rng.random((count, k)) < 0.5:
            key = row.tobytes()
            if row.sum() >= min_size and key not in seen:
                seen.add(key)
                out.append(row)
                if len(out) == count:
                    break
    return np.array(out)


_SUBSET_VALUES = ("estimate", "ci_low", "ci_high", "pi_low", "pi_high", "tau2")


def _many(
    x: np.ndarray, n: np.ndarray, model: str, interval: str, options: dict[str, Any]
) -> dict[str, np.ndarray]:
    """The values of each row; NaN where a value does not exist."""
    if model == "bayes":
        interval = "credible"
    elif model == "glmm":
        options = {"tau2_interval": False, **options}
    many = pool_many(x, n, model=model, interval=interval, **options)
    return {name: np.asarray(getattr(many, name), dtype=float) for name in _SUBSET_VALUES}
