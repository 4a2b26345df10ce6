"""Normal-normal (two-step) random-effects models: effect sizes first, then a weighted mean.

``y_i ~ N(mu, v_i + tau2)`` with the sampling variances ``v_i`` taken as known. Between-trial
variance by DerSimonian-Laird (``dl``, doi:10.1016/0197-2456(86)90046-2), Paule-Mandel (``pm``,
doi:10.6028/jres.087.022), restricted (``reml``) and full (``ml``) maximum likelihood, empirical
Bayes (``eb``, Morris 1983, doi:10.1080/01621459.1983.10477920; the same root as Paule-Mandel),
Hedges (``he``), Sidik-Jonkman (``sj``, doi:10.1111/j.1467-9876.2005.00489.x, with Hedges' crude
start as in metafor), Hunter-Schmidt (``hs``), or none (``fe``, equal effects).

A single fit takes ``tau2`` of ``dl``, ``he``, ``reml`` and ``ml`` from PyMARE. Its likelihood
estimators stop at about 1e-5 and follow one start, so their value is finished here: refined to
full precision, and given up for a higher maximum where the likelihood has one. What PyMARE lacks
or defines otherwise (its I2 is the one from Q), and many data sets at once, is written out here.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from scipy.special import chdtrc

from ._stats import boundary_p, chi2_isf, t_quantile, z_quantile
from ._validate import check_choice, check_counts, check_labels, check_level
from .effects import FT_MEANS, TO, TRANSFORMS, check_add, effect_sizes, effective_total, inverse
from .fit import Fit
from .proportion import proportion_interval

__all__ = [
    "INTERVALS",
    "METHODS",
    "fit_normal",
    "generalized_q",
    "normal_arrays",
    "q_profile",
    "tau2_estimate",
]

# Estimators of PyMARE and their options.
PYMARE: dict[str, tuple[str, dict[str, str]]] = {
    "dl": ("DerSimonianLaird", {}),
    "he": ("Hedges", {}),
    "reml": ("VarianceBasedLikelihoodEstimator", {"method": "REML"}),
    "ml": ("VarianceBasedLikelihoodEstimator", {"method": "ML"}),
}
METHODS = ("fe", "dl", "pm", "reml", "ml", "eb", "he", "sj", "hs")
INTERVALS = ("wald", "t", "hartung-knapp", "hartung-knapp-adhoc")


def _mean(y: np.ndarray, w: np.ndarray) -> np.ndarray:
    return (w * y).sum(axis=-1) / w.sum(axis=-1)


def generalized_q(y, v, tau2) -> np.ndarray:
    """Generalized Q: ``sum w (y - mean)^2`` with ``w = 1/(v + tau2)``; last axis is studies."""
    w = 1.0 / (v + np.asarray(tau2)[..., None])
    return (w * (y - _mean(y, w)[..., None]) ** 2).sum(axis=-1)


def solve_q(y: np.ndarray, v: np.ndarray, goal: np.ndarray | float) -> np.ndarray:
    """Non-negative tau2 at which the generalized Q equals ``goal``; 0 if Q(0) is below it.

    Q is convex and decreasing, so Newton's iteration from 0 rises to the root without
    overshooting. ``y, v``: (..., k); returns shape (...).
    """
    tau2 = np.zeros(y.shape[:-1])
    goal = np.broadcast_to(np.asarray(goal, dtype=float), tau2.shape)
    active = generalized_q(y, v, tau2) > goal
    for _ in range(500):
        w = 1.0 / (v + tau2[..., None])
        r = y - _mean(y, w)[..., None]
        q = (w * r * r).sum(axis=-1)
        slope = (w * w * r * r).sum(axis=-1)
        step = np.where(active, (q - goal) / np.where(active, slope, 1.0), 0.0)
        tau2 = np.maximum(tau2 + step, 0.0)
        if (np.abs(step) <= 1e-14 * tau2).all():
            break
    return tau2


def q_profile(y: np.ndarray, v: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Q-profile interval of tau2 (Viechtbauer 2007, doi:10.1002/sim.2514)."""
    df = y.shape[-1] - 1
    tail = 0.5 * (1.0 - level)
    low = solve_q(y, v, chi2_isf(tail, df))
    high = solve_q(y, v, chi2_isf(1.0 - tail, df))
    return low, high


def log_likelihood(y, v, tau2, *, restricted: bool) -> np.ndarray:
    """Normal log-likelihood profiled over the mean; constants as in metafor.

    The restricted form includes ``+ 0.5 log k`` (metafor's ``REMLf=TRUE``).
    """
    k = y.shape[-1]
    s = v + np.asarray(tau2)[..., None]
    w = 1.0 / s
    r = y - _mean(y, w)[..., None]
    core = -0.5 * np.log(s).sum(axis=-1) - 0.5 * (w * r * r).sum(axis=-1)
    if not restricted:
        return core - 0.5 * k * math.log(2.0 * math.pi)
    constant = -0.5 * (k - 1) * math.log(2.0 * math.pi) + 0.5 * math.log(k)
    return core + constant - 0.5 * np.log(w.sum(axis=-1))


def _slopes(y, v, tau2, restricted):
    """First and second derivative of the profiled log-likelihood in tau2."""
    w = 1.0 / (v + tau2[..., None])
    sw = w.sum(axis=-1)
    r = y - _mean(y, w)[..., None]
    w2, w3 = w * w, w * w * w
    sw2, sw3 = w2.sum(axis=-1), w3.sum(axis=-1)
    first = 0.5 * ((w2 * r * r).sum(axis=-1) - sw)
    # the mean moves with tau2: d mean / d tau2 = -sum(w2 r) / sw
    cross = (w2 * r).sum(axis=-1)
    second = -(w3 * r * r).sum(axis=-1) + cross * cross / sw + 0.5 * sw2
    if restricted:
        first = first + 0.5 * sw2 / sw
        second = second - sw3 / sw + 0.5 * (sw2 / sw) ** 2
    return first, second


def _likelihood_tau2(
    y: np.ndarray, v: np.ndarray, restricted: bool, start: float = 0.0
) -> np.ndarray:
    """Global maximum of the (restricted) likelihood in tau2 >= 0; y, v of shape (B, k).

    The derivative is scanned on a geometric grid that contains ``start``, every downward sign
    change is refined by safeguarded Newton steps and the highest maximum wins (metafor follows
    one start only).
    """
    size, _ = y.shape
    span = np.ptp(y, axis=1) ** 2
    top = 4.0 * np.maximum(span, v.max(axis=1))
    low = 1e-3 * v.min(axis=1)
    steps = np.linspace(0.0, 1.0, 60)
    grid = np.concatenate(
        [np.zeros((size, 1)), low[:, None] * (top / low)[:, None] ** steps], axis=1
    )
    if 0.0 < start < math.inf:
        grid = np.sort(np.concatenate([grid, np.full((size, 1), start)], axis=1), axis=1)
    slope = _slopes(y[:, None, :], v[:, None, :], grid, restricted)[0]
    best = np.zeros(size)
    value = np.where(
        slope[:, 0] <= 0, log_likelihood(y, v, np.zeros(size), restricted=restricted), -np.inf
    )
    row, col = np.nonzero((slope[:, :-1] > 0) & (slope[:, 1:] <= 0))
    if row.size:
        lo, hi = grid[row, col], grid[row, col + 1]
        yr, vr = y[row], v[row]
        t = np.where(lo == 0.0, 0.5 * hi, np.sqrt(lo * hi))
        for _ in range(200):
            first, second = _slopes(yr, vr, t, restricted)
            lo, hi = np.where(first > 0, t, lo), np.where(first > 0, hi, t)
            with np.errstate(divide="ignore", invalid="ignore"):
                new = t - first / second
            bad = ~((new > lo) & (new < hi)) | (second >= 0)
            new = np.where(bad, 0.5 * (lo + hi), new)
            done = np.abs(new - t) <= 1e-14 * t
            t = new
            if done.all():
                break
        at = log_likelihood(yr, vr, t, restricted=restricted)
        for r, tt, val in zip(row, t, at, strict=True):
            if val > value[r]:
                best[r], value[r] = tt, val
    return best


def tau2_estimate(y: np.ndarray, v: np.ndarray, method: str) -> np.ndarray:
    """Between-study variance by any of :data:`METHODS`.

    Parameters
    ----------
    y, v : numpy.ndarray, shape (k,) or (B, k)
        Effect sizes and positive sampling variances, k >= 2.
    method : str
        One of :data:`METHODS`.

    Returns
    -------
    numpy.ndarray
        Scalar or shape (B,); never negative.
    """
    method = check_choice(method, "model", METHODS)
    y2, v2 = np.atleast_2d(y), np.atleast_2d(v)
    k = y2.shape[1]
    w = 1.0 / v2
    if method == "fe":
        out = np.zeros(y2.shape[0])
    elif method == "dl":
        q = generalized_q(y2, v2, np.zeros(y2.shape[0]))
        sw = w.sum(axis=1)
        out = np.maximum(0.0, (q - (k - 1)) / (sw - (w * w).sum(axis=1) / sw))
    elif method == "hs":
        q = generalized_q(y2, v2, np.zeros(y2.shape[0]))
        out = np.maximum(0.0, (q - k) / w.sum(axis=1))
    elif method == "he":
        out = np.maximum(0.0, y2.var(axis=1, ddof=1) - v2.mean(axis=1))
    elif method == "sj":
        crude = y2.var(axis=1)
        out = np.zeros(y2.shape[0])
        some = crude > 0
        scaled = generalized_q(y2[some], v2[some], crude[some])
        out[some] = crude[some] * scaled / (k - 1)
    elif method in ("pm", "eb"):
        out = solve_q(y2, v2, k - 1.0)
    else:
        out = _likelihood_tau2(y2, v2, method == "reml")
    return out.reshape(np.shape(y)[:-1])


def normal_arrays(
    y: np.ndarray,
    v: np.ndarray,
    model: str,
    interval: str,
    level: float,
    tau2: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Two-step pooling of B data sets at once, on the scale of the effect sizes.

    Parameters
    ----------
    y, v : numpy.ndarray, shape (B, k)
        Effect sizes and positive sampling variances, k >= 2.
    model, interval, level
        As in :func:`fit_normal`.
    tau2 : numpy.ndarray, shape (B,), optional
        The between-study variances, if known; else :func:`tau2_estimate`.

    Returns
    -------
    dict
        Arrays of length B: ``mu, se, se_model, ci_low, ci_high, tau2, tau2_low, tau2_high, q,
        q_p, i2, h2, i2_q, h2_q, typical, spread, log_likelihood, aic, lrt`` (NaN unless
        ``ml`` or ``reml``), ``pi_k1`` and ``pi_k2`` (half widths of the prediction interval
        with t(k-1) and t(k-2), NaN for k = 2), ``pi_normal``; and ``weight`` (B, k).
    """
    k = y.shape[1]
    if tau2 is None:
        tau2 = tau2_estimate(y, v, model)
    w = 1.0 / (v + tau2[:, None])
    mu = _mean(y, w)
    total = w.sum(axis=1)
    se_model = 1.0 / np.sqrt(total)
    spread = (w * (y - mu[:, None]) ** 2).sum(axis=1) / (k - 1)
    factor = np.ones_like(mu)
    if interval == "hartung-knapp":
        factor = spread
    elif interval == "hartung-knapp-adhoc":
        factor = np.maximum(1.0, spread)
    se = np.sqrt(factor) * se_model
    quantile = z_quantile(level) if interval == "wald" else t_quantile(level, k - 1)
    q = generalized_q(y, v, np.zeros(tau2.shape))
    wf = 1.0 / v
    s1, s2 = wf.sum(axis=1), (wf * wf).sum(axis=1)
    typical = (k - 1) * s1 / (s1**2 - s2)
    h2_q = q / (k - 1)
    i2_q = np.where(q > 0, np.maximum(0.0, 100.0 * (1.0 - 1.0 / np.where(q > 0, h2_q, 1.0))), 0.0)
    # for equal effects metafor takes I2 and H2 from Q, since tau2 is 0 by assumption
    i2 = i2_q if model == "fe" else 100.0 * tau2 / (tau2 + typical)
    h2 = h2_q if model == "fe" else 1.0 + tau2 / typical
    restricted = model == "reml"
    value = log_likelihood(y, v, tau2, restricted=restricted)
    lrt = np.full(mu.shape, np.nan)
    if model in ("ml", "reml"):
        zero = log_likelihood(y, v, np.zeros(tau2.shape), restricted=restricted)
        lrt = np.where(tau2 > 0, np.maximum(0.0, 2.0 * (value - zero)), 0.0)
    width = np.sqrt(tau2 + se * se)
    none = np.full(mu.shape, np.nan)
    tau2_low, tau2_high = q_profile(y, v, level)
    return {
        "mu": mu,
        "se": se,
        "se_model": se_model,
        "ci_low": mu - quantile * se,
        "ci_high": mu + quantile * se,
        "tau2": tau2,
        "tau2_low": tau2_low,
        "tau2_high": tau2_high,
        "q": q,
        "q_p": chdtrc(k - 1, q),
        "i2": i2,
        "h2": h2,
        "i2_q": i2_q,
        "h2_q": h2_q,
        "typical": typical,
        "spread": spread,
        "log_likelihood": value,
        "aic": 2.0 * (1 if model == "fe" else 2) - 2.0 * value,
        "lrt": lrt,
        "pi_k1": t_quantile(level, k - 1) * width if k >= 3 else none,
        "pi_k2": t_quantile(level, k - 2) * width if k >= 3 else none,
        "pi_normal": z_quantile(level) * width,
        "weight": w / total[:, None],
    }


def _pymare_tau2(y: np.ndarray, v: np.ndarray, method: str) -> float | None:
    """Between-study variance of one data set by PyMARE; None where it has no such estimator."""
    if method not in PYMARE:
        return None
    with warnings.catch_warnings():
        # PyMARE leaves a file of its own open for the collector when it is first imported
        warnings.simplefilter("ignore", ResourceWarning)
        from pymare import estimators

    name, options = PYMARE[method]
    found = getattr(estimators, name)(**options)
    with warnings.catch_warnings():
        if options:
            # what its optimizer warns of (a step out of range) cannot reach the result: the
            # value is only a start and is finished by the caller
            warnings.simplefilter("ignore")
        # one estimator object a fit (a result reads its live estimator), plain float columns
        found.fit(y=y[:, None], v=v[:, None], X=np.ones((y.size, 1)))
    return max(0.0, float(np.ravel(found.params_["tau2"])[0]))


def _single_tau2(y: np.ndarray, v: np.ndarray, method: str) -> np.ndarray:
    """Between-study variance of one data set, shape (1,): PyMARE's where it has the estimator."""
    start = _pymare_tau2(y, v, method)
    if start is None:
        return tau2_estimate(y[None, :], v[None, :], method)
    if method in ("reml", "ml"):
        return _likelihood_tau2(y[None, :], v[None, :], method == "reml", start=start)
    return np.array([start])


def fit_normal(
    events,
    total,
    *,
    model: str = "reml",
    interval: str = "wald",
    level: float = 0.95,
    transform: str = "logit",
    labels=None,
    add: float | None = None,
    to: str = "only0",
    ft_n: str = "harmonic",
    study_interval: str = "wilson",
) -> Fit:
    """Two-step pooling of single-arm proportions.

    Parameters
    ----------
    events, total : array_like of int, shape (k,)
        Counts of each trial.
    model : str
        One of :data:`METHODS`.
    interval : {"wald", "t", "hartung-knapp", "hartung-knapp-adhoc"}
        ``wald``: normal quantile; ``t``: t(k-1) quantile with the same standard error;
        ``hartung-knapp``: standard error times the root of ``sum w (y - mu)^2 / (k - 1)`` and
        t(k-1) (Hartung and Knapp 2001, doi:10.1002/sim.791; Sidik and Jonkman 2002,
        doi:10.1002/sim.1262); ``hartung-knapp-adhoc``: the same with that factor never below 1
        (Roever et al. 2015, doi:10.1186/s12874-015-0091-1). metafor's ``test`` is "z", "t",
        "knha", "adhoc".
    level, transform, labels, add, to, ft_n, study_interval
        As in :func:`analysis.pooling.pool`.

    Returns
    -------
    Fit
        ``mu, se, tau2`` on the scale of ``transform``; ``se`` is the one the interval uses.
        ``tau2_ci`` is the Q-profile interval (Viechtbauer 2007, doi:10.1002/sim.2514). ``i2``
        as in :class:`Fit`; for ``fe`` it is the one from Q, as in metafor. The prediction
        interval is mu -+ t(k-1) sqrt(tau2 + se^2), k >= 3. ``log_likelihood`` is the
        normal likelihood of the effect sizes at tau2 (restricted for ``reml``).

        ``details``: ``mu_ci`` and ``pi_link`` (scale of the transform; ``"t(k-1)"``,
        ``"t(k-2)"``, ``"normal"``), ``se_model`` (without the Hartung-Knapp factor),
        ``hartung_knapp_factor``, ``y``, ``v``, ``typical_variance``, ``h2`` (as ``i2``),
        ``i2_q`` and ``h2_q`` (from Q: 100 (Q - df)/Q, Q/df), ``pi_t_k2``, ``pi_normal``
        (proportions) and, for Freeman-Tukey, ``by_ft_n`` (estimate and limits turned back at
        each kind of mean total).

    Raises
    ------
    ValueError
        Wrong counts or names, or a trial without an effect size.
    """
    x, n = check_counts(events, total)
    model = check_choice(model, "model", METHODS)
    interval = check_choice(interval, f"interval for model {model!r}", INTERVALS)
    transform = check_choice(transform, "transform", TRANSFORMS)
    to = check_choice(to, "to", TO)
    ft_n = check_choice(ft_n, "ft_n", FT_MEANS)
    add = check_add(add, transform)
    level = check_level(level)
    k = x.size
    labels = check_labels(labels, k)
    low, high = proportion_interval(x, n, study_interval, level)
    base: dict[str, Any] = {
        "model": model,
        "transform": transform,
        "interval": interval,
        "level": level,
        "k": k,
        "events": x,
        "total": n,
        "labels": labels,
        "study_estimate": x / n,
        "study_ci_low": low,
        "study_ci_high": high,
    }
    if k == 1:
        return Fit(
            **base, weight=np.ones(1), notes=("One trial only: it is shown and not pooled.",)
        )
    y, v = effect_sizes(x, n, transform, add=add, to=to)
    back = effective_total(n, ft_n) if transform == "freeman-tukey" else None

    def to_p(*values: float) -> tuple[float, ...]:
        return tuple(float(inverse(value, transform, back)) for value in values)

    tau2_found = _single_tau2(y, v, model)
    arrays = normal_arrays(y[None, :], v[None, :], model, interval, level, tau2=tau2_found)
    weight = arrays.pop("weight")[0]
    a = {name: float(values[0]) for name, values in arrays.items()}
    mu, tau2 = a["mu"], a["tau2"]
    ci = (a["ci_low"], a["ci_high"])
    bands: dict[str, tuple[float, float] | None] = {
        name: None if math.isnan(a[key]) else (mu - a[key], mu + a[key])
        for name, key in (("t(k-1)", "pi_k1"), ("t(k-2)", "pi_k2"), ("normal", "pi_normal"))
    }
    shown = {name: None if band is None else to_p(*band) for name, band in bands.items()}
    lrt = None if math.isnan(a["lrt"]) else a["lrt"]
    details: dict[str, Any] = {
        "mu_ci": ci,
        "pi_link": bands,
        "se_model": a["se_model"],
        "hartung_knapp_factor": a["spread"],
        "y": y,
        "v": v,
        "typical_variance": a["typical"],
        "h2": a["h2"],
        "h2_q": a["h2_q"],
        "i2_q": a["i2_q"],
        "i2_method": "Q" if model == "fe" else "tau2 and typical variance",
        "q_method": "Cochran",
        "pi_method": "t(k-1)",
        "pi_t_k2": shown["t(k-2)"],
        "pi_normal": shown["normal"],
        "tau2_ci_method": "Q-profile",
    }
    if transform == "freeman-tukey":
        details["ft_n"] = back
        details["by_ft_n"] = {
            name: tuple(float(inverse(b, transform, effective_total(n, name))) for b in (mu, *ci))
            for name in FT_MEANS
        }
    pi = shown["t(k-1)"] or (None, None)
    return Fit(
        **base,
        estimate=to_p(mu)[0],
        ci_low=to_p(ci[0])[0],
        ci_high=to_p(ci[1])[0],
        pi_low=pi[0],
        pi_high=pi[1],
        mu=mu,
        se=a["se"],
        tau2=tau2,
        tau2_ci=(a["tau2_low"], a["tau2_high"]),
        i2=a["i2"],
        q=a["q"],
        q_df=k - 1,
        q_p=a["q_p"],
        lrt=lrt,
        lrt_p=None if lrt is None else boundary_p(lrt),
        log_likelihood=a["log_likelihood"],
        aic=a["aic"],
        notes=_notes(base, a, add, to, x, n),
        weight=weight,
        details=details,
    )


def _notes(base, a, add, to, x, n) -> tuple[str, ...]:
    k, level, interval = base["k"], base["level"], base["interval"]
    notes = []
    empty = int(((x == 0) | (x == n)).sum())
    if add > 0 and to == "all":
        notes.append(f"{add:g} was added to both cells of every trial.")
    elif add > 0 and to == "only0" and empty:
        trials = "1 trial" if empty == 1 else f"{empty} trials"
        notes.append(f"{add:g} was added to both cells of {trials} with an empty cell.")
    if empty == k:
        notes.append(
            "Every trial has an empty cell, so the estimate rests on the correction alone; the "
            "binomial-normal model needs none."
            if add > 0 and to != "never"
            else "Every trial has an empty cell."
        )
    if base["model"] != "fe" and a["tau2"] == 0.0:
        notes.append("The between-trial variance is estimated at its boundary, zero.")
    if a["tau2_high"] == 0.0 and a["q"] < chi2_isf(0.5 + 0.5 * level, k - 1):
        notes.append(
            "The trials differ less than chance alone would make them: both Q-profile limits of "
            "the between-trial variance are zero."
        )
    if interval == "hartung-knapp" and a["spread"] < 1.0:
        notes.append(
            "The Hartung-Knapp standard error is smaller than the model's here; the ad hoc form "
            "is never narrower."
        )
    if k == 2:
        notes.append("Two trials: no prediction interval is given.")
    elif k < 5:
        notes.append("Fewer than five trials: the prediction interval is very imprecise.")
    return tuple(notes)
