"""Normal-normal (two-step) random-effects models: effect sizes first, then a weighted mean.

``y_i ~ N(mu, v_i + tau2)`` with the sampling variances ``v_i`` taken as known. Between-trial
variance by DerSimonian-Laird (``dl``, doi:10.1016/0197-2456(86)90046-2), Paule-Mandel (``pm``,
doi:10.6028/jres.087.022), restricted (``reml``) and full (``ml``) maximum likelihood, empirical
Bayes (``eb``, Morris 1983, doi:10.1080/01621459.1983.10477920; the same root as Paule-Mandel),
Hedges (``he``), Sidik-Jonkman (``sj``, doi:10.1111/j.1467-9876.2005.00489.x, with Hedges' crude
start as in metafor), Hunter-Schmidt (``hs``), or none (``fe``, equal effects).
"""

from __future__ import annotations

import math

import numpy as np

from ._stats import boundary_p, chi2_isf, chi2_sf, t_quantile, z_quantile
from ._validate import check_choice, check_counts, check_labels, check_level
from .effects import FT_MEANS, TO, TRANSFORMS, effect_sizes, effective_total, inverse
from .fit import Fit
from .proportion import proportion_interval

__all__ = ["INTERVALS", "METHODS", "fit_normal", "generalized_q", "q_profile", "tau2_estimate"]

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


def _likelihood_tau2(y: np.ndarray, v: np.ndarray, restricted: bool) -> np.ndarray:
    """Global maximum of the (restricted) likelihood in tau2 >= 0; y, v of shape (B, k).

    The derivative is scanned on a geometric grid, every downward sign change is refined by
    safeguarded Newton steps and the highest maximum wins (metafor follows one start only).
    """
    size, _ = y.shape
    span = np.ptp(y, axis=1) ** 2
    top = 4.0 * np.maximum(span, v.max(axis=1))
    low = 1e-3 * v.min(axis=1)
    steps = np.linspace(0.0, 1.0, 60)
    grid = np.concatenate(
        [np.zeros((size, 1)), low[:, None] * (top / low)[:, None] ** steps], axis=1
    )
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


def fit_normal(
    events,
    total,
    *,
    model: str = "reml",
    interval: str | None = None,
    level: float = 0.95,
    transform: str = "logit",
    labels=None,
    add: float | None = None,
    to: str = "only0",
    ft_n: str = "harmonic",
    study_interval: str = "wilson",
) -> Fit:
    """Two-step pooling; see :func:`analysis.pooling.pool` for the parameters."""
    x, n = check_counts(events, total)
    model = check_choice(model, "model", METHODS)
    interval = check_choice(interval or "wald", f"interval for model {model!r}", INTERVALS)
    transform = check_choice(transform, "transform", TRANSFORMS)
    to = check_choice(to, "to", TO)
    ft_n = check_choice(ft_n, "ft_n", FT_MEANS)
    level = check_level(level)
    k = x.size
    labels = check_labels(labels, k)
    low, high = proportion_interval(x, n, study_interval, level)
    base = dict(
        model=model,
        transform=transform,
        interval=interval,
        level=level,
        k=k,
        events=x,
        total=n,
        labels=labels,
        study_estimate=x / n,
        study_ci_low=low,
        study_ci_high=high,
    )
    if k == 1:
        return Fit(
            **base, weight=np.ones(1), notes=("One trial only: it is shown and not pooled.",)
        )
    y, v = effect_sizes(x, n, transform, add=add, to=to)
    back = effective_total(n, ft_n) if transform == "freeman-tukey" else None

    def to_p(value: float) -> float:
        return float(inverse(value, transform, back))

    notes: list[str] = []
    tau2 = float(tau2_estimate(y, v, model))
    w = 1.0 / (v + tau2)
    mu = float(_mean(y, w))
    se_model = 1.0 / math.sqrt(w.sum())
    spread = float((w * (y - mu) ** 2).sum()) / (k - 1)
    factor = {"hartung-knapp": spread, "hartung-knapp-adhoc": max(1.0, spread)}.get(interval, 1.0)
    se = math.sqrt(factor) * se_model
    quantile = z_quantile(level) if interval == "wald" else t_quantile(level, k - 1)
    ci = (mu - quantile * se, mu + quantile * se)
    q = float(generalized_q(y, v, np.asarray(0.0)))
    wf = 1.0 / v
    typical = (k - 1) * wf.sum() / (wf.sum() ** 2 - (wf * wf).sum())
    q_low, q_high = (float(a) for a in q_profile(y, v, level))
    if q < chi2_isf(1.0 - 0.5 * (1.0 - level), k - 1):
        notes.append(
            "The trials differ less than chance alone would make them: both Q-profile limits of "
            "the between-trial variance are zero."
        )
    half1 = t_quantile(level, k - 1) * math.sqrt(tau2 + se * se)
    half2 = t_quantile(level, k - 2) * math.sqrt(tau2 + se * se) if k >= 3 else None
    halfz = z_quantile(level) * math.sqrt(tau2 + se * se)
    # for equal effects metafor takes I2 and H2 from Q, since tau2 is 0 by assumption
    h2_q = q / (k - 1)
    i2_q = max(0.0, 100.0 * (q - (k - 1)) / q) if q > 0 else 0.0
    h2 = h2_q if model == "fe" else 1.0 + tau2 / typical
    i2 = i2_q if model == "fe" else 100.0 * tau2 / (tau2 + typical)
    restricted = model == "reml"
    value = float(log_likelihood(y, v, tau2, restricted=restricted))
    lrt = None
    if model in ("ml", "reml"):
        zero = float(log_likelihood(y, v, 0.0, restricted=restricted))
        lrt = max(0.0, 2.0 * (value - zero)) if tau2 > 0 else 0.0
    parameters = 1 if model == "fe" else 2
    corrected = int(((x == 0) | (x == n)).sum()) if to == "only0" else 0
    if corrected and transform in ("logit", "log", "raw"):
        notes.append(
            f"0.5 was added to both cells of {corrected} trial(s) with an empty cell."
            if add is None
            else f"{add:g} was added to both cells of {corrected} trial(s) with an empty cell."
        )
    if model != "fe" and tau2 == 0.0:
        notes.append("The between-trial variance is estimated at its boundary, zero.")
    if interval == "hartung-knapp" and spread < 1.0:
        notes.append("The Hartung-Knapp interval is narrower than the Wald-type t interval here.")
    if k == 2:
        notes.append("Two trials: no prediction interval is given.")
    elif k < 5:
        notes.append("Fewer than five trials: the prediction interval is very imprecise.")
    details = {
        "mu_ci": ci,
        "se_model": se_model,
        "y": y,
        "v": v,
        "typical_variance": typical,
        "h2": h2,
        "h2_q": h2_q,
        "i2_q": i2_q,
        "pi_method": "t(k-1)",
        "tau2_ci_method": "Q-profile",
        "pi_t_k1": (to_p(mu - half1), to_p(mu + half1)) if k >= 3 else None,
        "pi_t_k2": (to_p(mu - half2), to_p(mu + half2)) if half2 is not None else None,
        "pi_normal": (to_p(mu - halfz), to_p(mu + halfz)),
    }
    if transform == "freeman-tukey":
        details["by_ft_n"] = {
            name: tuple(float(inverse(a, transform, effective_total(n, name))) for a in (mu, *ci))
            for name in FT_MEANS
        }
        details["ft_n"] = float(back)
    return Fit(
        **base,
        estimate=to_p(mu),
        ci_low=to_p(ci[0]),
        ci_high=to_p(ci[1]),
        pi_low=to_p(mu - half1) if k >= 3 else None,
        pi_high=to_p(mu + half1) if k >= 3 else None,
        mu=mu,
        se=se,
        tau2=tau2,
        tau2_ci=(q_low, q_high),
        i2=i2,
        q=q,
        q_df=k - 1,
        q_p=chi2_sf(q, k - 1),
        lrt=lrt,
        lrt_p=None if lrt is None else boundary_p(lrt),
        log_likelihood=value,
        aic=2.0 * parameters - 2.0 * value,
        converged=True,
        notes=tuple(notes),
        weight=w / w.sum(),
        details=details,
    )
