"""Truths: how the true rates of trials differ, and what exactly there is to estimate.

Each world draws the true logit of every trial. Its two parameters have the same meaning in all
of them: ``p`` is the rate in the median trial, ``tau`` the standard deviation of the true logits.

``normal``
    logit = logit(p) + tau Z: the binomial-normal model itself.
``beta``
    rate ~ Beta(a, b) with the two shapes solved so that its median is p and the variance of its
    logit, trigamma(a) + trigamma(b), is tau squared.
``two-point``
    logit = logit(p) - tau or logit(p) + tau, each for half of the trials: two kinds of trials.
    Any value between the points is a median; the midpoint p is taken.
``skewed``
    logit = logit(p) + tau (G - median(G)) / 2 with G ~ gamma(4), of standard deviation 2 and
    skewness 1: a few trials with much higher rates.
``size``
    logit = logit(p) + shift + tau (r z + sqrt(1 - r^2) Z) with r = -0.6 and z the normal score
    of the trial's rank among the sizes of the design, standardized: large trials have lower
    rates. A new trial is as large as any of the design's with equal chance; the shift puts the
    median of that mixture at p.

At ``tau = 0`` all worlds are one. Targets: ``median`` (the rate p of the median trial), ``average``
(the expected rate of a new trial, which is that of the average patient when trials are of one
size) and ``next`` (the rate of one new trial, for prediction intervals).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

__all__ = ["TARGETS", "TAU", "WORLDS", "P", "Truth"]

P = (0.02, 0.1, 0.3, 0.5, 0.8)
TAU = (0.0, 0.25, 0.5, 1.0, 1.5)
WORLDS = ("normal", "beta", "two-point", "skewed", "size")
TARGETS = ("median", "average", "next")

SKEW_SHAPE = 4.0
SIZE_CORRELATION = -0.6
_SKEW_MEDIAN = float(special.gammaincinv(SKEW_SHAPE, 0.5))
_NODE, _WEIGHT = np.polynomial.hermite_e.hermegauss(80)
_WEIGHT = _WEIGHT / math.sqrt(2.0 * math.pi)


@lru_cache(maxsize=256)
def beta_shapes(p: float, tau: float) -> tuple[float, float]:
    """Shapes of the beta distribution with median ``p`` and logit variance ``tau**2``."""
    from scipy.optimize import brentq

    def shapes(mean_logit: float) -> tuple[float, float]:
        mean, rest = special.expit(mean_logit), special.expit(-mean_logit)

        def excess(log_size: float) -> float:
            size = math.exp(log_size)
            return float(
                special.polygamma(1, mean * size) + special.polygamma(1, rest * size) - tau * tau
            )

        size = math.exp(brentq(excess, -20.0, 25.0, xtol=1e-13))
        return float(mean * size), float(rest * size)

    def gap(mean_logit: float) -> float:
        return float(special.betaincinv(*shapes(mean_logit), 0.5)) - p

    center = float(special.logit(p))
    return shapes(brentq(gap, center - 3.0 - tau, center + 3.0 + tau, xtol=1e-12))


@lru_cache(maxsize=256)
def size_scores(total: tuple[int, ...]) -> tuple[float, ...]:
    """Standardized normal scores of the ranks of the trials' sizes (ties share a rank).

    Raises
    ------
    ValueError
        If all trials are of one size: nothing can be correlated with it.
    """
    from scipy.stats import rankdata

    score = special.ndtri((rankdata(total) - 0.375) / (len(total) + 0.25))
    spread = float(score.std())
    if spread < 1e-9:
        raise ValueError("all trials of the design are of one size, so no rate can follow the size")
    return tuple(float(v) for v in (score - score.mean()) / spread)


@lru_cache(maxsize=256)
def _size_shift(total: tuple[int, ...], tau: float) -> float:
    from scipy.optimize import brentq

    z = np.array(size_scores(total))
    own = tau * math.sqrt(1.0 - SIZE_CORRELATION**2)

    def gap(shift: float) -> float:
        return float(special.ndtr(-(shift + tau * SIZE_CORRELATION * z) / own).mean()) - 0.5

    return float(brentq(gap, -3.0 * tau, 3.0 * tau, xtol=1e-13))


@dataclass(frozen=True)
class Truth:
    """One truth: a world with its parameters.

    Attributes
    ----------
    world : str
        One of :data:`WORLDS`.
    p : float
        Rate of the median trial, strictly between 0 and 1.
    tau : float
        Standard deviation of the true logits, 0 or more.

    Raises
    ------
    ValueError
        For an unknown world or parameters out of range.
    """

    world: str
    p: float
    tau: float

    def __post_init__(self) -> None:
        if self.world not in WORLDS:
            raise ValueError(f"unknown world {self.world!r}: choose one of {', '.join(WORLDS)}")
        if not 0.0 < self.p < 1.0:
            raise ValueError(f"p must lie strictly between 0 and 1, got {self.p!r}")
        if not 0.0 <= self.tau < 20.0:
            raise ValueError(f"tau must lie between 0 and 20, got {self.tau!r}")

    @property
    def center(self) -> float:
        """Logit of p."""
        return math.log(self.p) - math.log1p(-self.p)

    def logits(self, rng: np.random.Generator, total: np.ndarray, size: int) -> np.ndarray:
        """True logits of ``size`` data sets of trials with these totals, shape (size, k)."""
        shape = (size, len(total))
        if self.tau == 0.0:
            return np.full(shape, self.center)
        if self.world == "normal":
            return self.center + self.tau * rng.standard_normal(shape)
        if self.world == "beta":
            a, b = beta_shapes(self.p, self.tau)
            # a ratio of gammas keeps its digits where the rate itself would round to 0 or 1
            return np.log(rng.standard_gamma(a, shape)) - np.log(rng.standard_gamma(b, shape))
        if self.world == "two-point":
            return self.center + self.tau * (2.0 * rng.integers(0, 2, shape) - 1.0)
        if self.world == "skewed":
            spread = math.sqrt(SKEW_SHAPE)
            draw = rng.standard_gamma(SKEW_SHAPE, shape) - _SKEW_MEDIAN
            return self.center + self.tau * draw / spread
        means, own = self._size_parts(total)
        return means + own * rng.standard_normal(shape)

    def _size_parts(self, total: np.ndarray) -> tuple[np.ndarray, float]:
        key = tuple(int(n) for n in total)
        z = np.array(size_scores(key))
        shift = self.center + _size_shift(key, self.tau)
        return (
            shift + self.tau * SIZE_CORRELATION * z,
            self.tau * math.sqrt(1.0 - SIZE_CORRELATION**2),
        )

    def draw(self, rng: np.random.Generator, total: np.ndarray, size: int) -> np.ndarray:
        """Events of ``size`` data sets, integer array of shape (size, k)."""
        total = np.asarray(total, dtype=np.int64)
        return rng.binomial(total, special.expit(self.logits(rng, total, size)))

    def average(self, total: np.ndarray) -> float:
        """Expected rate of a new trial, by quadrature (``total`` matters in world ``size``)."""
        if self.tau == 0.0:
            return self.p
        if self.world == "normal":
            return float(_WEIGHT @ special.expit(self.center + self.tau * _NODE))
        if self.world == "beta":
            a, b = beta_shapes(self.p, self.tau)
            return a / (a + b)
        if self.world == "two-point":
            return float(special.expit(self.center + self.tau * np.array([-1.0, 1.0])).mean())
        if self.world == "skewed":
            node, weight = special.roots_genlaguerre(80, SKEW_SHAPE - 1.0)
            weight = weight / weight.sum()
            at = self.center + self.tau * (node - _SKEW_MEDIAN) / math.sqrt(SKEW_SHAPE)
            return float(weight @ special.expit(at))
        means, own = self._size_parts(total)
        return float((special.expit(means[:, None] + own * _NODE) @ _WEIGHT).mean())

    def below(self, rate: np.ndarray, total: np.ndarray, *, closed: bool) -> np.ndarray:
        """Probability that a new trial's true rate is below ``rate``.

        With ``closed`` the rate itself is included (upper limits), without it is not (lower
        limits); that matters only where the truth has point masses.
        """
        rate = np.asarray(rate, dtype=float)
        with np.errstate(divide="ignore"):
            at = special.logit(np.clip(rate, 0.0, 1.0))
        if self.tau == 0.0:
            return _step(at, self.center, closed)
        if self.world == "normal":
            return special.ndtr((at - self.center) / self.tau)
        if self.world == "beta":
            return special.betainc(*beta_shapes(self.p, self.tau), np.clip(rate, 0.0, 1.0))
        if self.world == "two-point":
            low, high = self.center - self.tau, self.center + self.tau
            return 0.5 * (_step(at, low, closed) + _step(at, high, closed))
        if self.world == "skewed":
            g = (at - self.center) / self.tau * math.sqrt(SKEW_SHAPE) + _SKEW_MEDIAN
            return special.gammainc(SKEW_SHAPE, np.clip(g, 0.0, None))
        means, own = self._size_parts(total)
        return special.ndtr((at[..., None] - means) / own).mean(axis=-1)


def _step(at: np.ndarray, point: float, closed: bool) -> np.ndarray:
    # limits that should equal the point exactly differ from it by rounding
    slack = 1e-12 if closed else -1e-12
    return (at + slack > point).astype(float)
