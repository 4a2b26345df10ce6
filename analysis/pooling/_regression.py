"""Normal-normal model with a design array: between-trial variance, coefficients, tests.

For effect sizes ``y`` with known variances ``v``, ``y ~ N(X beta, diag(v + tau2))``. With
``W = diag(1 / (v + tau2))`` and ``P = W - W X (X'WX)^{-1} X'W`` the estimators of ``tau2`` are
those of Viechtbauer 2005 (doi:10.3102/10769986030003261) extended to moderators as in Viechtbauer
et al. 2015 (doi:10.1037/met0000002); negative values become 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ._stats import chi2_isf

__all__ = ["METHODS", "Weighted", "estimate_tau2", "log_likelihood", "q_profile", "weighted"]

METHODS = ("reml", "ml", "dl", "pm", "eb", "he", "sj", "hs", "fe")


@dataclass(frozen=True, eq=False)
class Weighted:
    """Weighted least squares at one tau2: coefficients, their covariance, generalized Q."""

    beta: np.ndarray
    covariance: np.ndarray
    q: float
    hat: np.ndarray
    residual: np.ndarray
    weight: np.ndarray


def weighted(y: np.ndarray, v: np.ndarray, design: np.ndarray, tau2: float) -> Weighted:
    """Weighted least squares with weights 1 / (v + tau2), by QR of the weighted design."""
    w = 1.0 / (v + tau2)
    root = np.sqrt(w)
    qr_q, qr_r = np.linalg.qr(design * root[:, None])
    inverse = np.linalg.inv(qr_r)
    beta = inverse @ (qr_q.T @ (root * y))
    residual = y - design @ beta
    return Weighted(
        beta=beta,
        covariance=inverse @ inverse.T,
        q=float(np.sum(w * residual * residual)),
        hat=np.sum(qr_q * qr_q, axis=1),
        residual=residual,
        weight=w,
    )


def _projections(y, v, design, tau2):
    """For a vector of tau2 (G,): weights, trace P, trace PP, y'Py, y'PPy, log det X'WX."""
    w = 1.0 / (v + tau2[:, None])
    root = np.sqrt(w)
    q, r = np.linalg.qr(design * root[..., None])
    e = root * y
    e = e - np.einsum("gkp,gp->gk", q, np.einsum("gkp,gk->gp", q, e))
    hat = np.einsum("gkp,gkp->gk", q, q)
    trace = (w * (1.0 - hat)).sum(axis=1)
    scaled = root * e
    logdet = 2.0 * np.log(np.abs(np.diagonal(r, axis1=1, axis2=2))).sum(axis=1)
    return w, trace, (e * e).sum(axis=1), (scaled * scaled).sum(axis=1), logdet


def log_likelihood(
    y: np.ndarray, v: np.ndarray, design: np.ndarray, tau2: float, *, restricted: bool
) -> float:
    """Log-likelihood (or restricted log-likelihood with the term log det X'X) at ``tau2``."""
    k, p = design.shape
    w, _, q, _, logdet = _projections(y, v, design, np.array([tau2]))
    value = 0.5 * float(np.log(w).sum()) - 0.5 * float(q[0])
    if not restricted:
        return value - 0.5 * k * math.log(2.0 * math.pi)
    _, logdet_x = np.linalg.slogdet(design.T @ design)
    value += 0.5 * float(logdet_x) - 0.5 * float(logdet[0])
    return value - 0.5 * (k - p) * math.log(2.0 * math.pi)


def _likelihood_tau2(y, v, design, *, restricted: bool) -> float:
    """Global maximum in tau2 >= 0: every sign change of the exact slope is refined."""
    from scipy.optimize import brentq

    def slope(t):
        w, trace, _, ypp, _ = _projections(y, v, design, np.atleast_1d(np.asarray(t, float)))
        return 0.5 * (ypp - (trace if restricted else w.sum(axis=1)))

    spread = float(np.ptp(y)) ** 2 + float(v.max())
    low = 1e-4 * float(v.min())
    count = max(2, math.ceil(math.log(100.0 * spread / low) / math.log(1.7)))
    grid = np.concatenate([[0.0], np.geomspace(low, 100.0 * spread, count)])
    s = slope(grid)
    found = [0.0] if s[0] <= 0 else []
    for i in np.flatnonzero((s[:-1] > 0) & (s[1:] <= 0)):
        root = brentq(
            lambda t: float(slope(t)[0]), grid[i], grid[i + 1], xtol=1e-14 * spread, rtol=1e-14
        )
        found.append(float(root))
    return max(found, key=lambda t: log_likelihood(y, v, design, t, restricted=restricted))


def _generalized_q_root(y, v, design, target: float) -> float | None:
    """tau2 at which the generalized Q equals ``target``; None if it is below it at 0."""
    from scipy.optimize import brentq

    def excess(t: float) -> float:
        return weighted(y, v, design, t).q - target

    if excess(0.0) <= 0.0:
        return None
    high = max(float(np.ptp(y)) ** 2, float(v.max()))
    while excess(high) > 0.0:
        high *= 4.0
    return float(brentq(excess, 0.0, high, xtol=1e-14 * high, rtol=1e-14))


def estimate_tau2(y: np.ndarray, v: np.ndarray, design: np.ndarray, method: str) -> float:
    """Between-trial variance by ``method``, floored at 0 (link scale)."""
    k, p = design.shape
    if method == "fe":
        return 0.0
    if method in ("reml", "ml"):
        return _likelihood_tau2(y, v, design, restricted=method == "reml")
    if method in ("pm", "eb"):
        return _generalized_q_root(y, v, design, float(k - p)) or 0.0
    if method == "he":
        ols = weighted(y, np.ones(k), design, 0.0)
        return max(0.0, (ols.q - float(np.sum(v * (1.0 - ols.hat)))) / (k - p))
    if method == "sj":
        start = float(np.var(y))
        if start == 0.0:
            return 0.0
        return start * weighted(y, v, design, start).q / (k - p)
    fixed = weighted(y, v, design, 0.0)
    if method == "hs":
        return max(0.0, (fixed.q - k) / float(fixed.weight.sum()))
    trace = float(np.sum(fixed.weight * (1.0 - fixed.hat)))
    return max(0.0, (fixed.q - (k - p)) / trace)


def q_profile(
    y: np.ndarray, v: np.ndarray, design: np.ndarray, level: float
) -> tuple[float, float]:
    """Q-profile interval of tau2 (Viechtbauer 2007, doi:10.1002/sim.2514); limits below 0 are 0."""
    k, p = design.shape
    tail = 0.5 * (1.0 - level)
    low = _generalized_q_root(y, v, design, chi2_isf(tail, k - p))
    high = _generalized_q_root(y, v, design, chi2_isf(1.0 - tail, k - p))
    return low or 0.0, high or 0.0
