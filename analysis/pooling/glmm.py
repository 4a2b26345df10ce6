"""Binomial-normal model (random-intercept logistic regression) by maximum likelihood.

Each trial has a true logit drawn from a normal distribution with mean ``mu`` and variance
``tau2``; its events are binomial (Hamza et al. 2008, doi:10.1016/j.jclinepi.2007.03.016;
Stijnen et al. 2010, doi:10.1002/sim.4040). No correction of empty cells is needed. The
likelihood is integrated by :mod:`analysis.pooling.quadrature`.

For a fixed ``tau2`` the log-likelihood is concave in ``mu`` (a convolution of log-concave
functions is log-concave), so the only direction in which more than one maximum can exist is
``tau2``. The profile over ``tau2`` is therefore scanned on a geometric grid from far below the
smallest to far above the largest scale on which it can move, with its exact derivative; every
sign change of the derivative is refined and the best maximum wins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from . import quadrature as quad
from ._stats import boundary_p, chi2_isf, chi2_sf, t_quantile, z_quantile
from ._validate import check_choice, check_counts, check_labels, check_level
from .effects import _effect_sizes, expit
from .fit import Fit
from .proportion import clopper_pearson, proportion_interval

__all__ = ["INTERVALS", "fit_glmm"]

INTERVALS = ("wald", "t", "profile", "profile-t", "bartlett")

_COARSE = 14.0
_RATIO = 1.5  # of neighboring tau in the scan
_TAU_MAX = 30.0
_TAU_CAP = 400.0
_MU_CAP = 60.0


@dataclass(frozen=True, eq=False)
class Point:
    """Log-likelihood of all trials together with its derivatives at one (mu, tau2)."""

    mu: float
    v: float
    value: float
    g_mu: float
    g_v: float
    h_mu_mu: float
    h_mu_v: float
    h_v_v: float


def evaluate(trials: quad.Trials, mu: float, v: float, tol: float = quad.TOLERANCE) -> Point:
    """Sum the log-likelihood and its derivatives over trials."""
    d = quad.derivatives(trials, mu, v, tol=tol)
    parts = (d.value, d.mu, d.v, d.mu_mu, d.mu_v, d.v_v)
    return Point(mu, v, *(float(p.sum()) for p in parts))


def tau_grid(trials: quad.Trials) -> np.ndarray:
    """Values of tau2 to scan: 0 and a geometric sequence in tau."""
    info = float((trials.n * trials.p * trials.q).max())
    low = 0.1 / math.sqrt(max(info, 0.5))
    count = math.ceil(math.log(_TAU_MAX / low) / math.log(_RATIO)) + 1
    return np.concatenate([[0.0], (low * _RATIO ** np.arange(count)) ** 2])


def profile_mu(trials: quad.Trials, v: np.ndarray, mu: np.ndarray, tol: float):
    """Maximize over mu for each v (vectors). Returns mu and the summed derivatives."""
    for _ in range(40):
        d = quad.derivatives(trials, mu[:, None], v[:, None], tol=tol)
        slope, curve = d.mu.sum(axis=1), d.mu_mu.sum(axis=1)
        step = np.clip(-slope / curve, -1.0 - 2.0 * np.sqrt(v), 1.0 + 2.0 * np.sqrt(v))
        if (np.abs(step) * np.sqrt(-curve) < 1e-3).all():
            break
        mu = mu + step
    # profile value and slope to second order at the maximum
    value = d.value.sum(axis=1) - 0.5 * slope * slope / curve
    g_v = d.v.sum(axis=1) + d.mu_v.sum(axis=1) * step
    return mu + step, value, g_v


def _start_mu(trials: quad.Trials, v: np.ndarray) -> np.ndarray:
    x, n = trials.x + 0.25, trials.n + 0.5
    y = np.log(x) - np.log(n - x)
    w = 1.0 / (v[:, None] + 1.0 / (n * (x / n) * (1.0 - x / n)))
    mu = (w * y).sum(axis=1) / w.sum(axis=1)
    return np.where(v == 0.0, _pooled_logit(trials), mu)


def _pooled_logit(trials: quad.Trials) -> float:
    x, n = trials.x.sum(), trials.n.sum()
    return float(np.log(x) - np.log(n - x))


@dataclass(frozen=True, eq=False)
class Maximum:
    """Global maximum, the scan that found it and how many maxima the scan saw."""

    best: Point
    zero: Point
    grid: np.ndarray
    grid_mu: np.ndarray
    grid_value: np.ndarray
    modes: int
    settled: bool


def maximize(trials: quad.Trials) -> Maximum:
    """Global maximum over (mu, tau2 >= 0); needs a trial with 0 < x < n."""
    grid = tau_grid(trials)
    mu, value, slope = profile_mu(trials, grid, _start_mu(trials, grid), _COARSE)
    while slope[-1] > 0 and grid[-1] < _TAU_CAP**2:
        more = grid[-1:] * _RATIO**2
        m, val, s = profile_mu(trials, more, mu[-1:], _COARSE)
        grid, mu = np.append(grid, more), np.append(mu, m)
        value, slope = np.append(value, val), np.append(slope, s)
    zero = evaluate(trials, _pooled_logit(trials), 0.0)
    candidates = [zero] if zero.g_v <= 0 else []
    settled = True
    slope = slope.copy()
    slope[0] = zero.g_v
    for i in np.flatnonzero((slope[:-1] > 0) & (slope[1:] <= 0)):
        point, ok = _refine(trials, mu[i], grid[i], grid[i + 1], mu[i + 1])
        candidates.append(point)
        settled &= ok
    best = max(candidates, key=lambda p: p.value)
    return Maximum(best, zero, grid, mu, value, len(candidates), settled)


def _refine(trials, mu0, low, high, mu1) -> tuple[Point, bool]:
    """Newton iteration in (mu, log tau2), kept between two values of tau2."""
    mu = 0.5 * (mu0 + mu1)
    v = 0.5 * high if low == 0.0 else math.sqrt(low * high)
    for tol, limit in ((_COARSE, 12), (quad.TOLERANCE, 40)):
        lo, hi = low, high
        if tol == quad.TOLERANCE:
            lo, hi = low / 1.01, high * 1.01
        previous = math.inf
        for _ in range(limit):
            p = evaluate(trials, mu, v, tol)
            # slope of the profile in tau2, mu adjusted to first order
            gap = -p.g_mu / p.h_mu_mu
            slope = p.g_v + p.h_mu_v * gap
            lo, hi = (v, hi) if slope > 0 else (lo, v)
            # in r = log v: d/dr = v d/dv ; d2/dr2 = v^2 d2/dv2 + v d/dv
            g_r = v * p.g_v
            h_mr = v * p.h_mu_v
            h_rr = v * v * p.h_v_v + g_r
            det = p.h_mu_mu * h_rr - h_mr * h_mr
            step_r = (-p.h_mu_mu * g_r + h_mr * p.g_mu) / det if det > 0 else math.inf
            new = v * math.exp(min(max(step_r, -3.0), 3.0)) if math.isfinite(step_r) else hi * 2
            if not lo < new < hi:
                new = 0.5 * (lo + hi) if lo == 0.0 else math.sqrt(lo * hi)
            dv = new - v
            dmu = -(p.g_mu + p.h_mu_v * dv) / p.h_mu_mu
            size = abs(dv) / v + abs(dmu) * math.sqrt(-p.h_mu_mu)
            mu, v = mu + dmu, new
            goal = 1e-3 if tol == _COARSE else 1e-10
            if size < goal or (size < 1e-6 and size >= 0.5 * previous):
                break
            previous = size
        else:
            if tol == quad.TOLERANCE:
                return evaluate(trials, mu, v), False
    return evaluate(trials, mu, v), True


def covariance(p: Point) -> np.ndarray:
    """Inverse observed information of (mu, tau2); at tau2 = 0 the variance of mu alone.

    At the boundary the information about ``tau`` and ``mu`` is orthogonal, so the standard
    error of ``mu`` is that of the equal-effects model, as in lme4.
    """
    if p.v == 0.0:
        return np.array([[-1.0 / p.h_mu_mu, 0.0], [0.0, 0.0]])
    return np.linalg.inv(-np.array([[p.h_mu_mu, p.h_mu_v], [p.h_mu_v, p.h_v_v]]))


# ----------------------------------------------------------------------------- profile limits


def best_over_v(trials: quad.Trials, mu: float, grid: np.ndarray) -> Point:
    """Global maximum over tau2 for one fixed mu."""
    d = quad.derivatives(trials, np.full((grid.size, 1), mu), grid[:, None], tol=_COARSE)
    slope = d.v.sum(axis=1)
    while slope[-1] > 0 and grid[-1] < _TAU_CAP**2:
        more = grid[-1] * _RATIO**2
        grid = np.append(grid, more)
        slope = np.append(slope, evaluate(trials, mu, more, _COARSE).g_v)
    candidates = [evaluate(trials, mu, 0.0)] if slope[0] <= 0 else []
    for i in np.flatnonzero((slope[:-1] > 0) & (slope[1:] <= 0)):
        candidates.append(_refine_v(trials, mu, grid[i], grid[i + 1]))
    if slope[-1] > 0:
        candidates.append(evaluate(trials, mu, grid[-1]))
    return max(candidates, key=lambda p: p.value)


def _refine_v(trials, mu, low, high) -> Point:
    lo, hi = low / 1.01, high * 1.01
    v = 0.5 * hi if low == 0.0 else math.sqrt(low * high)
    for _ in range(60):
        p = evaluate(trials, mu, v)
        lo, hi = (v, hi) if p.g_v > 0 else (lo, v)
        g_r, h_rr = v * p.g_v, v * v * p.h_v_v + v * p.g_v
        new = v * math.exp(min(max(-g_r / h_rr, -3.0), 3.0)) if h_rr < 0 else hi * 2
        if not lo < new < hi:
            new = 0.5 * (lo + hi) if lo == 0.0 else math.sqrt(lo * hi)
        done = abs(new - v) < 1e-9 * v
        v = new
        if done:
            break
    return evaluate(trials, mu, v)


def profile_limit(trials: quad.Trials, top: Maximum, drop: float, side: int) -> float:
    """mu at which the profile log-likelihood is ``drop`` below its maximum; side -1 or +1.

    Returns ``-inf`` or ``inf`` where the profile has not fallen that far at ``|mu| = 60``,
    which is a proportion within 1e-26 of 0 or 1.
    """
    target = top.best.value - drop
    se = math.sqrt(covariance(top.best)[0, 0])
    inside, step = top.best.mu, se * math.sqrt(2.0 * drop)
    outside = inside + side * step
    while True:
        p = best_over_v(trials, outside, top.grid)
        if p.value < target:
            break
        if abs(outside) >= _MU_CAP:
            return side * math.inf
        inside, step = outside, 1.5 * step
        outside = max(-_MU_CAP, min(_MU_CAP, outside + side * step))
    mu = outside
    for _ in range(80):
        # slope of the profile in mu is the partial slope at the best tau2
        new = mu - (p.value - target) / p.g_mu if p.g_mu * side < 0 else math.nan
        if not min(inside, outside) < new < max(inside, outside):
            new = 0.5 * (inside + outside)
        if abs(new - mu) < 1e-10 * (1.0 + abs(mu)):
            return new
        mu = new
        p = best_over_v(trials, mu, top.grid)
        if p.value < target:
            outside = mu
        else:
            inside = mu
    return mu


def tau2_limits(trials: quad.Trials, top: Maximum, drop: float) -> tuple[float, float]:
    """Limits of tau2 where its profile log-likelihood is ``drop`` below the maximum."""
    target = top.best.value - drop
    low = 0.0 if top.zero.value >= target else _tau2_root(trials, top, target, -1)
    return low, _tau2_root(trials, top, target, 1)


def _tau2_root(trials, top, target, side) -> float:
    grid = top.grid
    keep = grid > top.best.v if side > 0 else grid < top.best.v
    inside, mu_in = top.best.v, top.best.mu
    order = np.flatnonzero(keep) if side > 0 else np.flatnonzero(keep)[::-1]
    outside = None
    for i in order:
        if top.grid_value[i] < target:
            outside, mu_out = float(grid[i]), float(top.grid_mu[i])
            break
        inside, mu_in = float(grid[i]), float(top.grid_mu[i])
    if outside is None:
        outside, mu_out = inside, mu_in
        while True:
            if outside >= _TAU_CAP**2:
                return math.inf
            outside = max(outside, 1e-3) * _RATIO**2
            m, val, _ = profile_mu(trials, np.array([outside]), np.array([mu_out]), _COARSE)
            mu_out = float(m[0])
            if val[0] < target:
                break
            inside, mu_in = outside, mu_out
    lo, hi = min(inside, outside) / 1.001, max(inside, outside) * 1.001
    v = 0.5 * hi if lo == 0.0 else math.sqrt(lo * hi)
    mu = 0.5 * (mu_in + mu_out)
    for _ in range(80):
        p = evaluate(trials, mu, v)
        for _ in range(30):
            dmu = -p.g_mu / p.h_mu_mu
            if abs(dmu) * math.sqrt(-p.h_mu_mu) < 1e-9:
                break
            mu += max(-1.0 - math.sqrt(v), min(1.0 + math.sqrt(v), dmu))
            p = evaluate(trials, mu, v)
        above = p.value >= target
        if above == (side > 0):
            lo = v
        else:
            hi = v
        new = v - (p.value - target) / p.g_v if p.g_v * side < 0 else math.nan
        if not lo < new < hi:
            new = 0.5 * (lo + hi) if lo == 0.0 else math.sqrt(lo * hi)
        if abs(new - v) < 1e-10 * v:
            return new
        v = new
    return v


# ------------------------------------------------------------------------------- the fit


def cut_off(interval: str, level: float, k: int) -> float:
    """Drop of the log-likelihood times two that bounds a profile interval."""
    if interval == "profile":
        return chi2_isf(1.0 - level, 1)
    return t_quantile(level, k - 1) ** 2


def fit_glmm(
    events,
    total,
    *,
    interval: str = "profile-t",
    level: float = 0.95,
    labels=None,
    study_interval: str = "wilson",
) -> Fit:
    """Fit the binomial-normal model by maximum likelihood and return a :class:`Fit`."""
    x, n = check_counts(events, total)
    interval = check_choice(interval, "interval for model 'glmm'", INTERVALS)
    level = check_level(level)
    k = x.size
    labels = check_labels(labels, k)
    low, high = proportion_interval(x, n, study_interval, level)
    base = dict(
        model="glmm",
        transform="logit",
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
    trials = quad.prepare(x, n)
    share = n / n.sum()
    if k == 1:
        return Fit(
            **base,
            weight=np.ones(1),
            converged=True,
            notes=("One trial only: it is shown and not pooled.",),
        )
    if x.sum() == 0 or x.sum() == n.sum():
        return _one_sided(base, x, n, level, interval, share)
    if ((x == 0) | (x == n)).all():
        return _not_estimable(base, x, n, level, share)
    top = maximize(trials)
    p = top.best
    cov = covariance(p)
    se = math.sqrt(cov[0, 0])
    notes = _notes(top, k)
    if interval in ("wald", "t"):
        quantile = z_quantile(level) if interval == "wald" else t_quantile(level, k - 1)
        ci = (p.mu - quantile * se, p.mu + quantile * se)
    else:
        drop = 0.5 * cut_off(interval, level, k)
        ci = (profile_limit(trials, top, drop, -1), profile_limit(trials, top, drop, 1))
        if math.isinf(ci[0]) or math.isinf(ci[1]):
            notes.append(
                "The profile likelihood does not fall to the cut-off on one side: that limit is "
                "the end of the scale."
            )
    tau2_ci = tau2_limits(trials, top, 0.5 * chi2_isf(1.0 - level, 1))
    if math.isinf(tau2_ci[1]):
        notes.append("The profile likelihood sets no upper limit to the between-trial variance.")
    pi_low = pi_high = None
    if k >= 3:
        half = t_quantile(level, k - 1) * math.sqrt(p.v + se * se)
        pi_low, pi_high = float(expit(p.mu - half)), float(expit(p.mu + half))
    lrt = max(0.0, 2.0 * (p.value - top.zero.value)) if p.v > 0 else 0.0
    q = -2.0 * (top.zero.value - float(quad.log_binomial_saturated(x, n).sum()))
    _, v = _effect_sizes(x.astype(float), n.astype(float), "logit", 0.5, "only0")
    w = 1.0 / v
    typical = (k - 1) * w.sum() / (w.sum() ** 2 - (w * w).sum())
    marginal, marginal_ci = _marginal(p, cov, interval, level, k)
    mean, variance, shrunken = quad.posterior_moments(trials, p.mu, p.v)
    info = -quad.derivatives(trials, p.mu, p.v).mu_mu
    return Fit(
        **base,
        estimate=float(expit(p.mu)),
        ci_low=float(expit(ci[0])),
        ci_high=float(expit(ci[1])),
        pi_low=pi_low,
        pi_high=pi_high,
        mu=p.mu,
        se=se,
        tau2=p.v,
        tau2_ci=tau2_ci,
        i2=100.0 * p.v / (p.v + typical),
        q=max(q, 0.0),
        q_df=k - 1,
        q_p=chi2_sf(q, k - 1),
        lrt=lrt,
        lrt_p=boundary_p(lrt),
        log_likelihood=p.value,
        aic=4.0 - 2.0 * p.value,
        converged=top.settled,
        notes=tuple(notes),
        weight=info / info.sum(),
        marginal_estimate=marginal,
        marginal_ci=marginal_ci,
        details={
            "mu_ci": ci,
            "covariance": cov,
            "modes": top.modes,
            "h2": 1.0 + p.v / typical,
            "log_likelihood_equal_effects": top.zero.value,
            "shrunken_logit": mean,
            "shrunken_variance": variance,
            "shrunken": shrunken,
            "pi_method": "t(k-1)",
            "tau2_ci_method": "profile likelihood, chi-square(1)",
        },
    )


def _notes(top: Maximum, k: int) -> list[str]:
    notes = []
    if k == 2:
        notes.append(
            "Two trials: the between-trial variance is barely identified and no "
            "prediction interval is given."
        )
    elif k < 5:
        notes.append("Fewer than five trials: the prediction interval is very imprecise.")
    if top.best.v == 0.0:
        notes.append("The between-trial variance is estimated at its boundary, zero.")
    if top.modes > 1:
        notes.append(f"The likelihood has {top.modes} maxima; the highest is reported.")
    if not top.settled:
        notes.append("The iteration did not reach its usual precision.")
    return notes


def _marginal(p: Point, cov: np.ndarray, interval: str, level: float, k: int):
    value, d_mu, d_v = (float(a) for a in quad.marginal_proportion(p.mu, p.v))
    gradient = np.array([d_mu, d_v]) / (value * (1.0 - value))
    se = math.sqrt(float(gradient @ cov @ gradient))
    quantile = z_quantile(level) if interval == "wald" else t_quantile(level, k - 1)
    center = math.log(value) - math.log1p(-value)
    limits = (float(expit(center - quantile * se)), float(expit(center + quantile * se)))
    return value, limits


def _one_sided(base, x, n, level, interval, share) -> Fit:
    """All trials without events, or all full: the limit of the profile in mu."""
    empty = x.sum() == 0
    drop = 0.5 * cut_off(
        "profile" if interval in ("wald", "profile") else "profile-t", level, x.size
    )
    # the profile over tau2 at fixed mu: see _edge_profile
    limit = math.exp(-drop / n.sum())
    word = "has an event" if empty else "lacks an event"
    note = (
        f"No trial {word}: the likelihood has no finite maximum; the estimate is the limit and "
        "the other end of the interval is a one-sided profile limit under equal effects."
    )
    ci = (0.0, 1.0 - limit) if empty else (limit, 1.0)
    return Fit(
        **base,
        estimate=0.0 if empty else 1.0,
        ci_low=ci[0],
        ci_high=ci[1],
        converged=False,
        notes=(note,),
        weight=share,
    )


def _not_estimable(base, x, n, level, share) -> Fit:
    full = int((x == n).sum())
    low, high = clopper_pearson(full, x.size, level)
    return Fit(
        **base,
        converged=False,
        weight=share,
        notes=(
            "Every trial has none or only events, and both occur: the between-trial variance "
            "grows without limit and the median trial is not estimable.",
        ),
        marginal_estimate=full / x.size,
        marginal_ci=(float(low), float(high)),
    )
