"""Binomial-normal model (random-intercept logistic regression) by maximum likelihood.

Each trial has a true logit drawn from a normal distribution with mean ``mu`` and variance
``tau2``; its events are binomial (Hamza et al. 2008, doi:10.1016/j.jclinepi.2007.03.016;
Stijnen et al. 2010, doi:10.1002/sim.4040). No correction of empty cells is needed. The
likelihood is integrated by :mod:`analysis.pooling.quadrature` and maximized by
:mod:`analysis.pooling.engine`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import engine, lattice
from . import quadrature as quad
from ._stats import boundary_p, chi2_isf, chi2_sf, t_quantile, z_quantile
from ._validate import check_choice, check_counts, check_labels, check_level
from .effects import _effect_sizes, effect_sizes, expit
from .fit import Fit
from .proportion import clopper_pearson, proportion_interval

__all__ = ["INTERVALS", "fit_glmm", "glmm_arrays"]

INTERVALS = ("wald", "t", "profile", "profile-t", "bartlett")

OK = "ok"
ONE = "one trial"
EMPTY = "no events"
FULL = "only events"
SEPARATED = "every trial without events or full"
SINGLE = "one patient per trial"


def status_of(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    """What kind of data set each row of (B, k) counts is; see the constants above."""
    b, k = x.shape
    if k == 1:
        return np.full(b, ONE, dtype=object)
    out = np.full(b, OK, dtype=object)
    out[((x == 0) | (x == n)).all(axis=1)] = SEPARATED
    out[(n == 1).all(axis=1)] = SINGLE
    out[(x == 0).all(axis=1)] = EMPTY
    out[(x == n).all(axis=1)] = FULL
    return out


def half_cut(interval: str, level: float, k: int) -> float:
    """Drop of the log-likelihood at a profile limit (before a Bartlett factor).

    ``profile`` and ``bartlett`` use chi-square with 1 degree of freedom, ``profile-t`` the
    square of Student's t with k - 1. The Wald interval lends its limits for data without a
    finite maximum from ``profile``, the t interval from ``profile-t``.
    """
    if interval in ("t", "profile-t"):
        return 0.5 * t_quantile(level, k - 1) ** 2
    return 0.5 * chi2_isf(1.0 - level, 1)


def glmm_arrays(
    x: np.ndarray,
    n: np.ndarray,
    interval: str,
    level: float,
    *,
    tau2_interval: bool = True,
    table: engine.ScanTable | None = None,
) -> dict[str, np.ndarray]:
    """Fit B data sets of k trials at once; everything on the link scale.

    Parameters
    ----------
    x, n : numpy.ndarray of int, shape (B, k)
        Checked counts.
    interval, level
        As in :func:`fit_glmm`.
    tau2_interval : bool
        Whether to compute the profile limits of tau2.
    table : engine.ScanTable, optional
        Made from a superset of these counts; only saves time.

    Returns
    -------
    dict
        Arrays of length B, NaN where a quantity does not exist (``status`` says why):
        ``status, mu, se, ci_low, ci_high`` (logit), ``tau2, tau2_low, tau2_high, var_mu, cov,
        var_tau2`` (inverse observed information), ``log_likelihood, log_likelihood_zero,
        modes, settled``.
    """
    b, k = x.shape
    status = status_of(x, n)
    names = (
        "mu",
        "se",
        "ci_low",
        "ci_high",
        "tau2",
        "tau2_low",
        "tau2_high",
        "var_mu",
        "cov",
        "var_tau2",
        "log_likelihood",
        "log_likelihood_zero",
    )
    out: dict[str, np.ndarray] = {name: np.full(b, np.nan) for name in names}
    out["status"] = status
    out["modes"] = np.zeros(b, dtype=int)
    out["settled"] = np.zeros(b, dtype=bool)
    fine = np.flatnonzero(status == OK)
    if fine.size:
        _regular(out, fine, x[fine], n[fine], interval, level, tau2_interval, table)
    if k > 1:
        drop = half_cut(interval, level, k)
        for kind, sign in ((EMPTY, 1.0), (FULL, -1.0)):
            rows = np.flatnonzero(status == kind)
            if rows.size == 0:
                continue
            sizes, which = np.unique(n[rows], axis=0, return_inverse=True)
            limits = sign * np.array([empty_limit(size, drop) for size in sizes])
            end, other = ("ci_low", "ci_high") if sign > 0 else ("ci_high", "ci_low")
            out[end][rows] = -sign * np.inf
            out[other][rows] = limits[which.ravel()]
        rows = np.flatnonzero(status == SEPARATED)
        if rows.size:
            pairs, which = np.unique(
                np.concatenate([x[rows], n[rows]], axis=1), axis=0, return_inverse=True
            )
            found = np.array([separated_limits(p[:k], p[k:], level, drop) for p in pairs])
            out["ci_low"][rows], out["ci_high"][rows], out["tau2_low"][rows] = found[
                which.ravel()
            ].T
            out["tau2_high"][rows] = np.inf
    return out


def _regular(out, rows, x, n, interval, level, tau2_interval, table) -> None:
    k = x.shape[1]
    trials = quad.prepare(x, n)
    top = engine.maximize(trials, table)
    p = top.best
    inner = p.v > 0
    # inverse observed information; at the boundary that of mu alone (see fit_glmm)
    det = np.where(inner, p.h_mu_mu * p.h_v_v - p.h_mu_v**2, 1.0)
    out["var_mu"][rows] = np.where(inner, -p.h_v_v / det, -1.0 / p.h_mu_mu)
    out["cov"][rows] = np.where(inner, p.h_mu_v / det, 0.0)
    out["var_tau2"][rows] = np.where(inner, -p.h_mu_mu / det, 0.0)
    se = np.sqrt(out["var_mu"][rows])
    out["mu"][rows], out["tau2"][rows], out["se"][rows] = p.mu, p.v, se
    out["log_likelihood"][rows] = p.value
    out["log_likelihood_zero"][rows] = top.zero.value
    out["modes"][rows], out["settled"][rows] = top.modes, top.settled
    if interval in ("wald", "t"):
        quantile = z_quantile(level) if interval == "wald" else t_quantile(level, k - 1)
        out["ci_low"][rows], out["ci_high"][rows] = p.mu - quantile * se, p.mu + quantile * se
    else:
        drop = half_cut(interval, level, k)
        if interval == "bartlett":
            rules = engine.bartlett_drop(drop, effect_sizes(x, n, "logit")[1])
        else:
            rules = engine.constant_drop(drop)
        out["ci_low"][rows], out["ci_high"][rows] = engine.both_limits(trials, top, rules)
    if tau2_interval:
        drop = 0.5 * chi2_isf(1.0 - level, 1)
        out["tau2_low"][rows] = engine.tau2_limits(trials, top, drop, -1)
        out["tau2_high"][rows] = engine.tau2_limits(trials, top, drop, 1)


def _best(trials: quad.Trials, mu: float, grid: np.ndarray) -> engine.Points:
    return engine.best_tau2(trials, np.array([mu]), grid)


def _bisect(function, low: float, high: float) -> float:
    """Root of a function that is >= 0 at ``low`` and < 0 at ``high``."""
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high) or high - low < 1e-13 * (1.0 + abs(middle)):
            break
        if function(middle) >= 0:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def equal_effects_limit(n: np.ndarray, drop: float) -> float:
    """Upper limit of mu with no events and tau2 = 0: ``sum(n) log(1 + e^mu) = drop``."""
    each = drop / n.sum()
    return float(each + np.log(-np.expm1(-each)))


def empty_limit(n: np.ndarray, drop: float) -> float:
    """Upper profile limit of mu for trials of sizes ``n`` (k,) without any event.

    The supremum of the likelihood is 1 (mu to minus infinity). The limit is the mu at which
    the profile over tau2 has dropped by ``drop``; tau2 > 0 can make it larger than the limit
    under equal effects. With tau2 to infinity every trial has probability 1/2, so no limit
    exists where ``k log 2 <= drop``: the limit under equal effects is returned there.
    """
    start = equal_effects_limit(n, drop)
    trials = quad.prepare(np.zeros((1, n.size)), n[None, :])
    grid = engine.tau2_grid(trials)
    if n.size * math.log(2.0) <= drop * (1.0 + 1e-9):
        return start
    if float(_best(trials, start, grid).v[0]) == 0.0:
        return start
    high = start
    while float(_best(trials, high, grid).value[0]) >= -drop:
        high += 1.0
        if high > engine.MU_CAP:
            return start
    return _bisect(lambda mu: float(_best(trials, mu, grid).value[0]) + drop, high - 1.0, high)


def empty_limit_exists(k: int, drop: float) -> bool:
    """Whether the profile with tau2 free falls by ``drop`` at all; see :func:`empty_limit`."""
    return k * math.log(2.0) > drop * (1.0 + 1e-9)


def separated_limits(x: np.ndarray, n: np.ndarray, level: float, drop: float):
    """What the likelihood still says when every trial is at 0 or full and both occur.

    The likelihood rises towards its supremum, the binomial likelihood of "full" among the k
    trials, as tau2 grows without limit. Returns ``(mu_low, mu_high, tau2_low)``: limits of the
    profile (``-inf``/``inf`` where it has none) and the lower profile limit of tau2.
    """
    k = n.size
    full = int((x == n).sum())
    share = full / k
    top = full * math.log(share) + (k - full) * math.log1p(-share)
    trials = quad.prepare(x[None, :], n[None, :])
    grid = engine.tau2_grid(trials)

    def height(mu: float) -> float:
        return float(_best(trials, mu, grid).value[0])

    low, high = -math.inf, math.inf
    # with mu on the minority side the best is probability 1/2 per trial
    if top + k * math.log(2.0) > drop * (1.0 + 1e-9):
        target = top - drop
        side = 1.0 if share > 0.5 else -1.0
        if height(side * engine.MU_CAP) >= target > height(-side * engine.MU_CAP):
            limit = side * _bisect(
                lambda a: height(-side * a) - target, -engine.MU_CAP, engine.MU_CAP
            )
            low, high = (-limit, math.inf) if side > 0 else (-math.inf, -limit)
    target = top - 0.5 * chi2_isf(1.0 - level, 1)

    def level_at(log_v: float) -> float:
        start = np.zeros(1)
        value = engine.profile_mean(trials, np.exp([log_v]), start, quad.TOLERANCE)[1]
        return float(value[0])

    zero = float(
        engine.evaluate(trials, np.log([x.sum() / (n.sum() - x.sum())]), np.zeros(1)).value[0]
    )
    tau2_low = 0.0
    if zero < target:
        a, b = -20.0, 2.0 * math.log(engine.TAU_CAP)
        if level_at(b) >= target:
            tau2_low = math.exp(-_bisect(lambda s: level_at(-s) - target, -b, -a))
    return low, high, tau2_low


def _typical(v: np.ndarray) -> float:
    """Typical within-trial variance (Higgins and Thompson 2002, doi:10.1002/sim.1186)."""
    w = 1.0 / v
    return float((v.size - 1) * w.sum() / (w.sum() ** 2 - (w * w).sum()))


def fit_glmm(
    events,
    total,
    *,
    interval: str = "profile",
    level: float = 0.95,
    labels=None,
    study_interval: str = "wilson",
    tau2_interval: bool = True,
) -> Fit:
    """Fit the binomial-normal model by maximum likelihood.

    Parameters
    ----------
    events, total : array_like of int, shape (k,)
        Counts of each trial.
    interval : {"wald", "t", "profile", "profile-t", "bartlett"}
        Of ``mu``: ``wald`` and ``t`` are mu -+ quantile * se with the normal or the t(k-1)
        quantile (metafor's ``test="z"`` and ``test="t"``; the standard error is not rescaled);
        ``profile`` inverts the likelihood ratio with tau2 profiled out against chi-square(1);
        ``profile-t`` against the square of the t(k-1) quantile; ``bartlett`` against
        chi-square(1) times the simple Bartlett factor ``1 + 2 C(tau2(mu))`` (Hanada and
        Sugimoto 2025, arXiv:2508.08758), where tau2(mu) is the constrained estimate.
    level : float
        Coverage aimed at.
    labels : sequence of str, optional
        Trial names.
    study_interval : str
        Interval of each trial, see :func:`analysis.pooling.proportion.proportion_interval`.
    tau2_interval : bool
        Whether to compute ``tau2_ci``; without it a fit takes about two thirds of the time.

    Returns
    -------
    Fit
        ``mu, se, tau2`` on the logit scale. ``se`` is from the inverse observed information of
        (mu, tau2), as in lme4; with tau2 at the boundary the two are orthogonal (in tau) and it
        is the standard error under equal effects. ``tau2_ci`` inverts the likelihood ratio with
        mu profiled out against chi-square(1). ``i2`` and ``details["h2"]`` use tau2 and the
        typical variance of the logits (0.5 added where a cell is empty), as metafor's
        ``rma.glmm``. ``q`` is the likelihood ratio of the saturated against the equal-effects
        model (metafor's ``QE.LRT``). The prediction interval is mu -+ t(k-1) sqrt(tau2 + se^2),
        k >= 3 (Higgins et al. 2009, doi:10.1111/j.1467-985X.2008.00552.x, with k - 1 for their
        k - 2). ``weight`` is each trial's share of the observed information about mu.
        ``marginal_estimate`` is the expected proportion over the normal distribution of trial
        logits, with a delta-method interval on its logit (normal quantile for ``wald``, else
        t(k-1)).

        ``details``: ``mu_ci`` (logit), ``covariance`` of (mu, tau2), ``modes`` (maxima of the
        likelihood), ``h2``, ``typical_variance``, ``log_likelihood_equal_effects``,
        ``log_likelihood_saturated`` (subtract it from ``log_likelihood`` to get what lme4's
        ``logLik`` shows with more than one node), ``mu_equal_effects``, ``q_inverse_variance``
        and ``i2_q`` (Cochran's Q of the corrected logits and 100 (Q - df)/Q), ``pi_link``
        (logit; ``"t(k-1)"``, ``"t(k-2)"``, ``"normal"``), ``pi_t_k2`` and ``pi_normal``
        (proportions), ``shrunken`` (conditional mean of each true proportion),
        ``shrunken_logit`` and ``shrunken_variance`` (conditional mean and variance of each true
        logit, at the estimates), ``bartlett`` (the factor at the estimate; its interval only).

    Raises
    ------
    ValueError
        Wrong counts, names or level.
    """
    x, n = check_counts(events, total)
    interval = check_choice(interval, "interval for model 'glmm'", INTERVALS)
    level = check_level(level)
    k = x.size
    labels = check_labels(labels, k)
    low, high = proportion_interval(x, n, study_interval, level)
    base: dict[str, Any] = {
        "model": "glmm",
        "transform": "logit",
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
    arrays = glmm_arrays(x[None, :], n[None, :], interval, level, tau2_interval=tau2_interval)
    status = arrays["status"][0]
    if status == OK:
        return _regular_fit(base, x, n, {name: a[0] for name, a in arrays.items()})
    base["weight"] = n / n.sum()
    if status == ONE:
        return Fit(**base, notes=("One trial only: it is shown and not pooled.",))
    if status in (EMPTY, FULL):
        ci = (float(arrays["ci_low"][0]), float(arrays["ci_high"][0]))
        return _one_sided_fit(base, n, ci, status, half_cut(interval, level, k))
    return _unbounded_fit(base, x, n, {name: a[0] for name, a in arrays.items()})


def _expit(z: float) -> float:
    """Inverse logit of one number, infinite ones included."""
    e = math.exp(-abs(z))
    return (1.0 if z >= 0 else e) / (1.0 + e)


def _regular_fit(base: dict[str, Any], x: np.ndarray, n: np.ndarray, a: dict[str, Any]) -> Fit:
    k, level, interval = base["k"], base["level"], base["interval"]
    mu, se, tau2 = float(a["mu"]), float(a["se"]), float(a["tau2"])
    ci = (float(a["ci_low"]), float(a["ci_high"]))
    tau2_ci = None if math.isnan(a["tau2_low"]) else (float(a["tau2_low"]), float(a["tau2_high"]))
    value, zero = float(a["log_likelihood"]), float(a["log_likelihood_zero"])
    notes = []
    if k == 2:
        notes.append(
            "Two trials: the between-trial variance is barely identified and no prediction "
            "interval is given."
        )
    elif k < 5:
        notes.append("Fewer than five trials: the prediction interval is very imprecise.")
    if tau2 == 0.0:
        notes.append("The between-trial variance is estimated at its boundary, zero.")
    if a["modes"] > 1:
        notes.append(f"The likelihood has {a['modes']} maxima; the highest is reported.")
    if not a["settled"]:
        notes.append(
            "The likelihood is so flat in the between-trial variance that its maximum was not "
            "located to the usual precision."
        )
    for limit, word in zip(ci, ("lower", "upper"), strict=True):
        if math.isinf(limit):
            notes.append(
                f"The profile likelihood does not fall to the cut-off on the {word} side: that "
                "limit is the end of the scale."
            )
    if tau2_ci is not None and math.isinf(tau2_ci[1]):
        notes.append("The profile likelihood sets no upper limit to the between-trial variance.")
    cov = np.array([[a["var_mu"], a["cov"]], [a["cov"], a["var_tau2"]]])
    spread = math.sqrt(tau2 + se * se)

    bands: dict[str, tuple[float, float] | None] = {"t(k-1)": None, "t(k-2)": None}
    for name, df in (("t(k-1)", k - 1), ("t(k-2)", k - 2)):
        if k >= 3:
            half = t_quantile(level, df) * spread
            bands[name] = (mu - half, mu + half)
    half = z_quantile(level) * spread
    bands["normal"] = (mu - half, mu + half)
    shown = {
        name: None if band is None else (_expit(band[0]), _expit(band[1]))
        for name, band in bands.items()
    }
    pi = shown["t(k-1)"] or (None, None)
    lrt = max(0.0, 2.0 * (value - zero)) if tau2 > 0 else 0.0
    saturated = float(quad.log_binomial_saturated(x, n).sum())
    q = max(0.0, 2.0 * (saturated - zero))
    y, v = _effect_sizes(x.astype(float), n.astype(float), "logit", 0.5, "only0")
    typical = _typical(v)
    w = 1.0 / v
    q_iv = float((w * (y - (w * y).sum() / w.sum()) ** 2).sum())
    # beside the trials one patient with the event and one without: their probabilities are the
    # expected proportion and its complement
    trials = quad.prepare(np.append(x, [1, 0]), np.append(n, [1, 1]))
    values, scores, infos = _each(trials, mu, tau2)
    score, info = scores[:k], infos[:k]
    # the score is the conditional expectation of x - n p, and the derivatives in mu are the
    # cumulants of the random effect
    mean, variance = mu + tau2 * score, tau2 * (1.0 - tau2 * info)
    shrunken = (x - score) / n
    chance, rest = np.exp(values[k:]).tolist()
    slope = float(scores[k])
    gradient = np.array([slope, 0.5 * (slope * slope - float(infos[k]))]) / rest
    marginal, marginal_ci = _marginal(chance, rest, gradient, cov, interval, level, k)
    details = {
        "mu_ci": ci,
        "covariance": cov,
        "modes": int(a["modes"]),
        "h2": 1.0 + tau2 / typical,
        "i2_method": "tau2 and typical variance",
        "typical_variance": typical,
        "log_likelihood_equal_effects": zero,
        "log_likelihood_saturated": saturated,
        "mu_equal_effects": math.log(x.sum()) - math.log((n - x).sum()),
        "q_method": "likelihood ratio, saturated against equal effects",
        "q_inverse_variance": q_iv,
        "i2_q": max(0.0, 100.0 * (q_iv - (k - 1)) / q_iv) if q_iv > 0 else 0.0,
        "pi_method": "t(k-1)",
        "pi_link": bands,
        "pi_t_k2": shown["t(k-2)"],
        "pi_normal": shown["normal"],
        "tau2_ci_method": "profile likelihood, chi-square(1)",
        "marginal_method": "delta method on the logit of the expected proportion",
        "shrunken": shrunken,
        "shrunken_logit": mean,
        "shrunken_variance": variance,
    }
    if interval == "bartlett":
        details["bartlett"] = float(engine.bartlett_factor(v[None, :], np.array([tau2]))[0][0])
    return Fit(
        **base,
        estimate=_expit(mu),
        ci_low=_expit(ci[0]),
        ci_high=_expit(ci[1]),
        pi_low=pi[0],
        pi_high=pi[1],
        mu=mu,
        se=se,
        tau2=tau2,
        tau2_ci=tau2_ci,
        i2=100.0 * tau2 / (tau2 + typical),
        q=q,
        q_df=k - 1,
        q_p=chi2_sf(q, k - 1),
        lrt=lrt,
        lrt_p=boundary_p(lrt),
        log_likelihood=value,
        aic=4.0 - 2.0 * value,
        converged=bool(a["settled"]),
        notes=tuple(notes),
        weight=info / info.sum(),
        marginal_estimate=marginal,
        marginal_ci=marginal_ci,
        details=details,
    )


def _each(trials: quad.Trials, mu: float, tau2: float):
    """Log-likelihood, score and information about mu of each trial."""
    made = lattice.alone(trials, mu, tau2) if tau2 > 0.0 else None
    if made is None:
        d = quad.derivatives(trials, mu, tau2)
        made = d.value, d.mu, -d.mu_mu
    return made


def _marginal(
    chance: float, rest: float, gradient: np.ndarray, cov: np.ndarray, interval: str, level: float,
    k: int,
) -> tuple[float, tuple[float, float]]:  # fmt: skip
    """Expected proportion with its interval from the gradient of its logit in (mu, tau2)."""
    se = math.sqrt(float(gradient @ cov @ gradient))
    quantile = z_quantile(level) if interval == "wald" else t_quantile(level, k - 1)
    center = math.log(chance) - math.log(rest)
    limits = (_expit(center - quantile * se), _expit(center + quantile * se))
    return chance, limits


def _one_sided_fit(base, n, ci, status, drop) -> Fit:
    empty = status == EMPTY
    word = "has an event" if empty else "lacks the event"
    end, other = ("0", "upper") if empty else ("1", "lower")
    notes = [
        f"No trial {word}: the likelihood has no finite maximum, the estimate is the limit {end}, "
        f"and the {other} end of the interval is a one-sided profile limit."
    ]
    if not empty_limit_exists(n.size, drop):
        notes.append(
            "With the between-trial variance free the profile never falls to the cut-off, so "
            f"the {other} limit is the one under equal effects."
        )
    equal = equal_effects_limit(n, drop)
    return Fit(
        **base,
        estimate=0.0 if empty else 1.0,
        ci_low=float(expit(ci[0])),
        ci_high=float(expit(ci[1])),
        converged=False,
        notes=tuple(notes),
        details={"mu_ci": ci, "equal_effects_limit": float(expit(equal if empty else -equal))},
    )


def _unbounded_fit(base: dict[str, Any], x: np.ndarray, n: np.ndarray, a: dict[str, Any]) -> Fit:
    k, level = base["k"], base["level"]
    full = int((x == n).sum())
    low, high = clopper_pearson(full, k, level)
    details: dict[str, Any] = {"marginal_method": "Clopper-Pearson, trials as the unit"}
    if a["status"] == SINGLE:
        return Fit(
            **base,
            converged=False,
            notes=(
                "Every trial has one patient: the likelihood depends on the population-averaged "
                "proportion alone, so the median trial and the between-trial variance are not "
                "estimable.",
            ),
            marginal_estimate=full / k,
            marginal_ci=(float(low), float(high)),
            details=details,
        )
    mu_low, mu_high = float(a["ci_low"]), float(a["ci_high"])
    notes = [
        "Every trial has no events or only events, and both occur: the likelihood rises as the "
        "between-trial variance grows without limit, so the median trial is not estimable.",
        "The population-averaged proportion tends to the share of trials with only events; its "
        "interval treats each trial as one observation.",
    ]
    exists = math.isfinite(mu_low) or math.isfinite(mu_high)
    if exists:
        notes.append("The profile likelihood still bounds the median trial on one side.")
    details["mu_ci"] = (mu_low, mu_high)
    details["tau2_ci_method"] = "profile likelihood, chi-square(1)"
    return Fit(
        **base,
        ci_low=float(expit(mu_low)),
        ci_high=float(expit(mu_high)),
        tau2_ci=(float(a["tau2_low"]), math.inf),
        converged=False,
        notes=tuple(notes),
        marginal_estimate=full / k,
        marginal_ci=(float(low), float(high)),
        details=details,
    )
