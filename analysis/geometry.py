"""What the printed numbers of an interval say about how it was made.

Most methods of pooling make an interval symmetric on one scale: raw, logit, arcsine,
Freeman-Tukey double arcsine, and for survival curves the complementary log-log. Printed numbers are
rounded, so each stands for a range; an interval fits a scale if numbers within these ranges are
symmetric on it. Its width stands for a standard error, and that for a number of patients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from analysis.wording import pct

__all__ = [
    "SCALES",
    "SCALE_NAMES",
    "SURVIVAL_SCALES",
    "Z95",
    "Geometry",
    "Printed",
    "ScaleFit",
    "bounds",
    "encloses",
    "geometry",
    "repairs",
    "split_for_se",
]

SCALES = ("raw", "logit", "arcsine", "freeman-tukey")
SURVIVAL_SCALES = ("raw", "logit", "arcsine", "log-log")
SCALE_NAMES = {
    "raw": "raw",
    "logit": "logit",
    "arcsine": "arcsine",
    "freeman-tukey": "Freeman–Tukey",
    "log-log": "complementary log-log",
}
Z95 = 1.959963984540054
#: Largest harmonic mean of study sizes tried where the number of studies or patients is unknown.
MAX_STUDY = 200


@dataclass(frozen=True)
class Printed:
    """A printed percentage and what it can stand for.

    Attributes
    ----------
    value : float
        Proportion, 0 to 1.
    half : float
        Half a unit of the last printed decimal, as a proportion.
    """

    value: float
    half: float

    @property
    def low(self) -> float:
        return max(0.0, self.value - self.half)

    @property
    def high(self) -> float:
        return min(1.0, self.value + self.half)

    def looser(self) -> Printed:
        """The same number, off by up to a whole unit of its last decimal."""
        return Printed(self.value, 2 * self.half)

    @classmethod
    def percent(cls, value: float) -> Printed:
        """Read a percentage; decimals that are zeros at the end are not counted as printed."""
        decimals = max(0, -int(Decimal(repr(float(value))).normalize().as_tuple().exponent))
        return cls(float(value) / 100, 0.5 * 10.0 ** (-decimals - 2))


def _forward(p: float, scale: str, n: float = 0.0) -> float:
    """Increasing function of a proportion; infinite at an end where the scale is."""
    if scale == "raw":
        return p
    if scale == "arcsine":
        return math.asin(math.sqrt(p))
    if scale == "freeman-tukey":
        return 0.5 * (
            math.asin(math.sqrt(n * p / (n + 1))) + math.asin(math.sqrt((n * p + 1) / (n + 1)))
        )
    if p <= 0:
        return -math.inf
    if p >= 1:
        return math.inf
    if scale == "logit":
        return math.log(p / (1 - p))
    return -math.log(-math.log(p))


def backward(y: float, scale: str) -> float:
    if scale == "raw":
        return min(1.0, max(0.0, y))
    if scale == "arcsine":
        return math.sin(min(math.pi / 2, max(0.0, y))) ** 2
    if scale == "logit":
        return 1 / (1 + math.exp(-y))
    return math.exp(-math.exp(-y))


def bounds(text: str, scale: float = 1.0) -> tuple[float, float]:
    """Return what a printed number can stand for: ``"51.8"``, ``"<0.001"``, ``">60"``."""
    value = Decimal(text.lstrip("<>"))
    half = 0.5 * 10.0 ** min(0, int(value.as_tuple().exponent))
    if text.startswith("<"):
        return 0.0, float(value) * scale
    if text.startswith(">"):
        return float(value) * scale, math.inf
    return (float(value) - half) * scale, (float(value) + half) * scale


@dataclass(frozen=True, kw_only=True)
class ScaleFit:
    """How an interval looks on one scale.

    Attributes
    ----------
    scale : str
    symmetric : bool
        Whether numbers that round to the printed ones can be symmetric on this scale.
    skew : float
        (upper half - lower half) / width at the printed numbers; 0 is symmetric.
    se : (float, float)
        Standard errors that the printed limits can stand for, taking the interval for estimate
        plus and minus 1.96 standard errors.
    effective : (float, float)
        Number of patients of one binomial sample with these standard errors.
    sizes : (float, float) or None
        Freeman-Tukey only: harmonic mean study sizes at which it is symmetric.
    """

    scale: str
    symmetric: bool
    skew: float
    se: tuple[float, float]
    effective: tuple[float, float]
    sizes: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """An interval on every scale; ``scales`` in the order asked, ``fitting`` the symmetric ones."""

    scales: tuple[ScaleFit, ...]

    @property
    def fitting(self) -> tuple[str, ...]:
        return tuple(fit.scale for fit in self.scales if fit.symmetric)

    def on(self, scale: str) -> ScaleFit:
        """Return the fit on one scale."""
        return next(fit for fit in self.scales if fit.scale == scale)

    @property
    def best(self) -> ScaleFit:
        """The scale on which the printed numbers are nearest to symmetric."""
        return min(self.scales, key=lambda fit: (not fit.symmetric, abs(fit.skew)))


def encloses(estimate: Printed, low: Printed, high: Printed) -> bool:
    """Tell whether an estimate can lie inside its interval, up to rounding."""
    return low.low <= estimate.high and estimate.low <= high.high and low.value <= high.value


def geometry(
    estimate: Printed,
    low: Printed,
    high: Printed,
    *,
    scales: Sequence[str] = SCALES,
    max_study: float | None = None,
) -> Geometry:
    """Find the scales on which an estimate lies in the middle of its interval.

    Parameters
    ----------
    estimate, low, high : Printed
        A limit printed as 0 or 1 may have been cut there, so that side cannot be held to the
        other; the estimate must then only not be nearer to the free limit.
    scales : sequence of str
        Of `SCALES` and `SURVIVAL_SCALES`.
    max_study : float, optional
        Largest harmonic mean study size to try for Freeman-Tukey; patients over studies where
        both are known, because the harmonic mean is never above the arithmetic one.

    Returns
    -------
    Geometry

    Raises
    ------
    ValueError
        If the limits do not enclose the estimate.
    """
    if not encloses(estimate, low, high):
        raise ValueError(
            f"the limits {low.value} and {high.value} do not enclose the estimate {estimate.value}"
        )
    fits = []
    for scale in scales:
        if scale == "freeman-tukey":
            fits.append(_freeman_tukey_fit(estimate, low, high, max_study))
        else:
            fits.append(_fit_on(scale, estimate, low, high))
    return Geometry(scales=tuple(fits))


def _fit_on(scale: str, estimate: Printed, low: Printed, high: Printed, n: float = 0.0) -> ScaleFit:
    def f(p: float) -> float:
        return _forward(p, scale, n)

    cut_low, cut_high = low.value <= 0, high.value >= 1
    least = (-math.inf if cut_low else f(low.low)) + f(high.low) - 2 * f(estimate.high)
    most = f(low.high) + (math.inf if cut_high else f(high.high)) - 2 * f(estimate.low)
    middle = f(estimate.value)
    below, above = middle - f(low.value), f(high.value) - middle
    width = above + below
    skew = (above - below) / width if math.isfinite(width) and width > 0 else 0.0
    # the width between limits that can be trusted: the whole, or the half that was not cut
    if cut_low and not cut_high:
        narrow, wide = f(high.low) - f(estimate.high), f(high.high) - f(estimate.low)
    elif cut_high and not cut_low:
        narrow, wide = f(estimate.low) - f(low.high), f(estimate.high) - f(low.low)
    else:
        narrow, wide = (f(high.low) - f(low.high)) / 2, (f(high.high) - f(low.low)) / 2
    narrow = max(narrow, 0.0)
    se = (narrow / Z95, wide / Z95)
    return ScaleFit(
        scale=scale,
        symmetric=least <= 1e-12 and most >= -1e-12,
        skew=skew,
        se=se,
        effective=(
            _effective(se[1], scale, estimate.value),
            _effective(se[0], scale, estimate.value),
        ),
    )


def _effective(se: float, scale: str, p: float) -> float:
    """Patients of one binomial sample with this standard error on this scale."""
    if se <= 0:
        return math.inf
    if math.isinf(se):
        return 0.0
    if scale == "raw":
        return p * (1 - p) / se**2
    if scale == "logit":
        return 1 / (p * (1 - p) * se**2) if 0 < p < 1 else math.nan
    if scale == "arcsine":
        return 1 / (4 * se**2)
    if scale == "freeman-tukey":
        return 1 / (4 * se**2) - 0.5
    # delta method: d/dp of -log(-log p) is -1/(p log p)
    return p * (1 - p) / (se * p * math.log(p)) ** 2 if 0 < p < 1 else math.nan


def _freeman_tukey_fit(
    estimate: Printed, low: Printed, high: Printed, max_study: float | None
) -> ScaleFit:
    """Freeman-Tukey depends on the study size used to turn back: try every size."""
    top = max(1.0, float(MAX_STUDY if max_study is None else max_study))
    sizes = np.unique(np.append(np.arange(1.0, top, 0.5), top))
    fits = [(float(n), _fit_on("freeman-tukey", estimate, low, high, float(n))) for n in sizes]
    fitting = [(n, fit) for n, fit in fits if fit.symmetric]
    n, best = min(fitting or fits, key=lambda pair: abs(pair[1].skew))
    return ScaleFit(
        scale="freeman-tukey",
        symmetric=bool(fitting),
        skew=best.skew,
        se=best.se,
        effective=best.effective,
        sizes=(fitting[0][0], fitting[-1][0]) if fitting else (n, n),
    )


def repairs(estimate: Printed, low: Printed, high: Printed, scale: str = "arcsine") -> list[str]:
    """Say what each printed number would have to be if the other two are right.

    Parameters
    ----------
    estimate, low, high : Printed
        An interval that is not symmetric.
    scale : {"raw", "logit", "arcsine", "log-log"}
        The scale on which it should be.

    Returns
    -------
    list of str
        One clause each for estimate, lower and upper limit.
    """
    e, a, b = (_forward(part.value, scale) for part in (estimate, low, high))
    if not all(map(math.isfinite, (e, a, b))):
        return []
    wanted = (("estimate", (a + b) / 2), ("lower limit", 2 * e - b), ("upper limit", 2 * e - a))
    return [f"the {name} {pct(backward(value, scale), 1)}" for name, value in wanted]


def split_for_se(k: int, total: int, q: float) -> list[tuple[int, float]]:
    """Standard errors on the arcsine scale for given k, N and Q, by the size of the largest study.

    The DerSimonian-Laird mean of k studies, one of size m and the others equal, has the variance
    ``1/sum(1/(1/(4 n_i) + tau2))`` with ``tau2 = (Q - df)/C`` and
    ``C = 4 (N - sum(n_i**2)/N)``; the variances 1/(4 n) do not depend on the proportions.

    Parameters
    ----------
    k, total : int
        Studies and patients.
    q : float
        Cochran's Q on the arcsine scale.

    Returns
    -------
    list of (int, float)
        Size of the largest study and standard error, from equal sizes on.
    """
    pairs = []
    for largest in range(-(-total // k), total - (k - 1) + 1):
        sizes = np.array([largest, *[(total - largest) / (k - 1)] * (k - 1)], dtype=float)
        weight = 4 * sizes
        c = weight.sum() - (weight**2).sum() / weight.sum()
        tau2 = max(0.0, (q - (k - 1)) / c)
        pairs.append((largest, float((1 / (1 / weight + tau2)).sum() ** -0.5)))
    return pairs
