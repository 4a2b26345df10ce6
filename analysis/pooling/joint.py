"""Two pooled proportions at once: a joint region of their means, and what links them.

Two outcomes of the same trials, for example response and severe toxicity, are pooled one by one;
:func:`joint_region` puts the two posterior distributions of the mean logits together. It gives

- the smallest region of the plane with the wanted probability if the two means are independent a
  posteriori: all points whose density, on the logit scale, exceeds a threshold (the highest
  density region, Hyndman 1996, doi:10.1080/00031305.1996.10474359);
- a rectangle that has at least this probability whatever their dependence: each side is an
  equal-tailed interval at ``1 - (1 - level)/2`` (Bonferroni).

:func:`fit_bivariate` lets the true logits of a trial be correlated: a bivariate normal
random-effects model (van Houwelingen et al. 2002, doi:10.1002/sim.1040; Riley 2009,
doi:10.1111/j.1467-985X.2008.00593.x) with half-normal priors on the two standard deviations and a
uniform prior on their correlation, on logits with known variances. Within a trial the two
estimates are taken for uncorrelated, because no source prints the cross-table. With few trials the
posterior of the correlation is little more than its prior; the fit says so in numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

from ._validate import check_level, check_positive
from .effects import effect_sizes, expit

if TYPE_CHECKING:
    from .bayes import Posterior

__all__ = [
    "BivariateFit",
    "Region",
    "fit_bivariate",
    "frechet",
    "highest_density",
    "joint_region",
    "mean_density",
]


def frechet(first: float, second: float) -> tuple[float, float]:
    """Bounds of the share with the first outcome and without the second, from the two rates.

    ``max(0, p - q)`` to ``min(p, 1 - q)`` (Frechet 1951): the rates alone allow no more.

    Parameters
    ----------
    first, second : float
        Proportions of the same patients.

    Raises
    ------
    ValueError
        If a rate is not between 0 and 1.
    """
    p, q = float(first), float(second)
    for value in (p, q):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"a rate must lie between 0 and 1, got {value!r}")
    return max(0.0, p - q), min(p, 1.0 - q)


# ------------------------------------------------------------------ the region


def mean_density(posterior: Posterior, points: np.ndarray) -> np.ndarray:
    """Posterior density of the mean logit at `points`, shape (P,).

    The band-limited interpolant of the grid, as the distribution functions of the posterior.
    """
    at = np.asarray(points, dtype=float)
    step = (posterior.mu[:, 1] - posterior.mu[:, 0])[:, None]
    out = np.zeros(at.size)
    for place, point in enumerate(at):
        kernel = np.sinc((point - posterior.mu) / step)
        inside = (point >= posterior.mu[:, 0]) & (point <= posterior.mu[:, -1])
        out[place] = float(((posterior.mass * kernel / step).sum(axis=1) * inside).sum())
    return np.maximum(out, 0.0)


def highest_density(mass: np.ndarray, level: float) -> float:
    """Smallest value of `mass` in the smallest set of cells with the wanted probability.

    Parameters
    ----------
    mass : numpy.ndarray
        Probability of cells of equal size, any shape; not negative.
    level : float
        Probability of the set, relative to the sum of `mass`.

    Returns
    -------
    float
        Cells with at least this mass belong to the set.
    """
    level = check_level(level)
    ordered = np.sort(mass, axis=None)[::-1]
    total = np.cumsum(ordered)
    return float(ordered[min(int(np.searchsorted(total, level * total[-1])), ordered.size - 1)])


@dataclass(frozen=True, eq=False)
class Region:
    """A joint region of two mean proportions.

    Attributes
    ----------
    x, y : numpy.ndarray, shapes (I,), (J,)
        Equidistant logits.
    density : numpy.ndarray, shape (I, J)
        Product of the two posterior densities, scaled to a largest value of 1.
    threshold : float
        Density at the edge of the region.
    level : float
    point : (float, float)
        Posterior medians, proportions.
    sides : ((float, float), (float, float))
        The rectangle that holds whatever the dependence, proportions.
    """

    x: np.ndarray
    y: np.ndarray
    density: np.ndarray
    threshold: float
    level: float
    point: tuple[float, float]
    sides: tuple[tuple[float, float], tuple[float, float]]

    def contains(self, x: float, y: float) -> bool:
        """Tell whether a pair of proportions lies in the region of highest density."""
        for value in (x, y):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"a proportion must lie between 0 and 1, got {value!r}")
        if not (0.0 < x < 1.0 and 0.0 < y < 1.0):
            return False
        a, b = float(special.logit(x)), float(special.logit(y))
        if not (self.x[0] <= a <= self.x[-1] and self.y[0] <= b <= self.y[-1]):
            return False
        across = np.array([np.interp(b, self.y, row) for row in self.density])
        return bool(np.interp(a, self.x, across) >= self.threshold)

    def outline(self) -> list[np.ndarray]:
        """Closed lines around the region: arrays of shape (N, 2), proportions."""
        from contourpy import contour_generator

        # columns of a contour run along its first argument
        lines = contour_generator(self.x, self.y, self.density.T).lines(self.threshold)
        return [expit(np.asarray(line)) for line in lines]


def joint_region(x: Posterior, y: Posterior, *, level: float = 0.95, nodes: int = 161) -> Region:
    """Region of two mean proportions from their posterior distributions.

    Parameters
    ----------
    x, y : Posterior
        Posterior of each mean logit (:func:`analysis.pooling.fit_bayes`).
    level : float
        Probability of the region.
    nodes : int
        Points on each side of the grid.

    Returns
    -------
    Region
    """
    level = check_level(level)
    tail = (1.0 - level) / 4.0
    axes, densities, sides, point = [], [], [], []
    for posterior in (x, y):
        low, high = posterior.mu_quantile(1e-6), posterior.mu_quantile(1.0 - 1e-6)
        axis = np.linspace(low, high, nodes)
        axes.append(axis)
        densities.append(mean_density(posterior, axis))
        sides.append(
            (
                float(expit(posterior.mu_quantile(tail))),
                float(expit(posterior.mu_quantile(1.0 - tail))),
            )
        )
        point.append(float(expit(posterior.mu_quantile(0.5))))
    density = densities[0][:, None] * densities[1][None, :]
    density = density / density.max()
    return Region(
        x=axes[0],
        y=axes[1],
        density=density,
        threshold=highest_density(density, level),
        level=level,
        point=(point[0], point[1]),
        sides=(sides[0], sides[1]),
    )


# ------------------------------------------------------------------ correlated trials


@dataclass(frozen=True, kw_only=True, eq=False)
class BivariateFit:
    """Two outcomes pooled together.

    Attributes
    ----------
    k, k_both : (int, int), int
        Trials with each outcome, and with both.
    mean, covariance : numpy.ndarray, shapes (2,), (2, 2)
        Posterior mean and covariance of the two mean logits.
    estimate, interval : pairs
        Proportions: posterior median and equal-tailed interval of each mean.
    correlation : float
        Posterior correlation of the two means.
    rho, rho_interval : float, (float, float) or None
        Correlation between trials: posterior median and interval, or the value that was given.
    level : float
    """

    k: tuple[int, int]
    k_both: int
    mean: np.ndarray
    covariance: np.ndarray
    estimate: tuple[float, float]
    interval: tuple[tuple[float, float], tuple[float, float]]
    correlation: float
    rho: float
    rho_interval: tuple[float, float] | None
    level: float


class _Outcome(NamedTuple):
    y: np.ndarray
    v: np.ndarray
    there: np.ndarray


def _outcome(events: Sequence[int | None], total: Sequence[int | None], name: str) -> _Outcome:
    there = np.array([e is not None and n is not None for e, n in zip(events, total, strict=True)])
    if not there.any():
        raise ValueError(f"no trial reports the {name} outcome")
    x = np.array([int(e) for e in events if e is not None])
    n = np.array([int(m) for m in total if m is not None])
    if x.size != there.sum() or n.size != there.sum():
        raise ValueError(f"events and total of the {name} outcome must be missing together")
    y, v = np.zeros(there.size), np.ones(there.size)
    y[there], v[there] = effect_sizes(x, n, "logit")
    return _Outcome(y, v, there)


#: Points in each standard deviation, and in the correlation.
TAU_NODES, RHO_NODES = 24, 81


def fit_bivariate(
    first: tuple[Sequence[int | None], Sequence[int | None]],
    second: tuple[Sequence[int | None], Sequence[int | None]],
    *,
    rho: float | None = None,
    tau_scale: float = 1.0,
    mu_scale: float = 2.5,
    level: float = 0.95,
) -> BivariateFit:
    """Pool two outcomes whose true logits may be correlated between trials.

    ``(y1, y2)`` of a trial is normal around its true logits with the known variances of
    :func:`effect_sizes` (0.5 added where a cell is empty) and no covariance; the true logits are
    bivariate normal with means ``mu1, mu2``, standard deviations ``tau1, tau2`` and correlation
    ``rho``. Priors: ``mu ~ normal(0, mu_scale)``, ``tau ~ half-normal(tau_scale)``,
    ``rho ~ uniform(-1, 1)``. Given the three the means are normal, so the posterior is a mixture
    of normal distributions over a grid: Gauss-Legendre in each tau up to 4.5 prior scales,
    midpoints in rho.

    Parameters
    ----------
    first, second : (events, total)
        Counts of each outcome, one entry per trial, None where a trial does not report it.
    rho : float, optional
        A known correlation between trials; estimated if left out.
    tau_scale, mu_scale : float
        Prior scales, logits.
    level : float

    Returns
    -------
    BivariateFit

    Raises
    ------
    ValueError
        If lengths differ, an outcome is nowhere reported, or `rho` is not between -1 and 1.
    """
    level = check_level(level)
    tau_scale = check_positive(tau_scale, "tau_scale")
    mu_scale = check_positive(mu_scale, "mu_scale")
    if rho is not None and not -1.0 < rho < 1.0:
        raise ValueError(f"rho must lie between -1 and 1, got {rho!r}")
    if len({len(part) for outcome in (first, second) for part in outcome}) != 1:
        raise ValueError("events and total of both outcomes must have one entry per trial")
    one, two = _outcome(*first, "first"), _outcome(*second, "second")

    node, weight = np.polynomial.legendre.leggauss(TAU_NODES)
    tau = 0.5 * 4.5 * tau_scale * (node + 1.0)
    tau_log = np.log(weight) - 0.5 * (tau / tau_scale) ** 2
    if rho is None:
        rhos = -1.0 + 2.0 * (np.arange(RHO_NODES) + 0.5) / RHO_NODES
    else:
        rhos = np.array([float(rho)])
    t1, t2, r = tau[:, None, None], tau[None, :, None], rhos[None, None, :]
    cross = r * t1 * t2
    shape = (TAU_NODES, TAU_NODES, rhos.size)
    log_weight = np.broadcast_to(tau_log[:, None, None] + tau_log[None, :, None], shape).copy()

    # precision of the two means and its product with them, summed over the trials
    a11 = np.full(shape, mu_scale**-2)
    a22, a12 = a11.copy(), np.zeros(shape)
    b1, b2 = np.zeros(shape), np.zeros(shape)
    for i in range(one.y.size):
        if not (one.there[i] or two.there[i]):
            continue
        v1 = one.v[i] + t1 * t1 if one.there[i] else None
        v2 = two.v[i] + t2 * t2 if two.there[i] else None
        y1, y2 = one.y[i], two.y[i]
        if v1 is not None and v2 is not None:
            det = v1 * v2 - cross * cross
            p11, p22, p12 = v2 / det, v1 / det, -cross / det
            a11 += p11
            a22 += p22
            a12 += p12
            b1 += p11 * y1 + p12 * y2
            b2 += p22 * y2 + p12 * y1
            log_weight -= 0.5 * (np.log(det) + p11 * y1 * y1 + 2.0 * p12 * y1 * y2 + p22 * y2 * y2)
        elif v1 is not None:
            a11 += 1.0 / v1
            b1 += y1 / v1
            log_weight -= 0.5 * (np.log(v1) + y1 * y1 / v1)
        else:
            assert v2 is not None
            a22 += 1.0 / v2
            b2 += y2 / v2
            log_weight -= 0.5 * (np.log(v2) + y2 * y2 / v2)
    det = a11 * a22 - a12 * a12
    m1, m2 = (a22 * b1 - a12 * b2) / det, (a11 * b2 - a12 * b1) / det
    log_weight += 0.5 * (b1 * m1 + b2 * m2) - 0.5 * np.log(det)
    w = np.exp(log_weight - log_weight.max())
    w /= w.sum()

    s11, s22, s12 = a22 / det, a11 / det, -a12 / det
    mean = np.array([(w * m1).sum(), (w * m2).sum()])
    covariance = np.empty((2, 2))
    covariance[0, 0] = (w * (s11 + (m1 - mean[0]) ** 2)).sum()
    covariance[1, 1] = (w * (s22 + (m2 - mean[1]) ** 2)).sum()
    covariance[0, 1] = covariance[1, 0] = (w * (s12 + (m1 - mean[0]) * (m2 - mean[1]))).sum()
    tail = 0.5 * (1.0 - level)
    quantiles = [
        [float(expit(_mixture_quantile(w, m, np.sqrt(s), p))) for p in (tail, 0.5, 1.0 - tail)]
        for m, s in ((m1, s11), (m2, s22))
    ]
    found, span = float(rhos[0]), None
    if rho is None:
        cumulative = np.concatenate([[0.0], np.cumsum(w.sum(axis=(0, 1)))])
        edges = np.linspace(-1.0, 1.0, RHO_NODES + 1)
        low, found, high = (float(np.interp(p, cumulative, edges)) for p in (tail, 0.5, 1 - tail))
        span = (low, high)
    return BivariateFit(
        k=(int(one.there.sum()), int(two.there.sum())),
        k_both=int((one.there & two.there).sum()),
        mean=mean,
        covariance=covariance,
        estimate=(quantiles[0][1], quantiles[1][1]),
        interval=(
            (quantiles[0][0], quantiles[0][2]),
            (quantiles[1][0], quantiles[1][2]),
        ),
        correlation=float(covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1])),
        rho=found,
        rho_interval=span,
        level=level,
    )


def _mixture_quantile(w: np.ndarray, m: np.ndarray, s: np.ndarray, prob: float) -> float:
    from scipy.optimize import brentq

    keep = w > 1e-11
    weights, means, sds = w[keep], m[keep], s[keep]
    low, high = float((means - 9 * sds).min()), float((means + 9 * sds).max())
    return float(
        brentq(
            lambda x: float((weights * special.ndtr((x - means) / sds)).sum()) - prob,
            low,
            high,
            xtol=1e-10,
        )
    )
