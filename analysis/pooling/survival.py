"""Survival rates at one time point, pooled on the complementary log-log scale.

A trial's rate ``S`` at the time point (a Kaplan-Meier estimate, as printed) becomes
``y = log(-log S)``, the scale on which intervals of survival rates keep inside 0 and 1 and cover
well with few patients (Borgan and Liestoel 1990, Scandinavian Journal of Statistics 17:35-41;
Kalbfleisch and Prentice 2002, doi:10.1002/9781118032985, section 1.4). ``dy/dS = 1/(S log S)``, so
by the delta method ``Var(y) = Var(S) / (S log S)^2``. Where ``Var(S)`` comes from:

- a printed interval: its wider half on this scale, over the normal quantile;
- the number at risk ``r``: ``Var(S) = S^2 (1 - S)/r``, the conservative form of Peto et al. 1977
  (doi:10.1038/bjc.1977.1);
- a number of patients ``m`` that a binomial sample of the same precision would have
  (Cutler and Ederer 1958, doi:10.1016/0021-9681(58)90126-7): ``Var(S) = S (1 - S)/m``.

With censoring ``m`` is smaller than the number of patients ``n``. Greenwood's variance tends to
``S^2/n`` times the integral of ``dH(u) / (S(u) G(u))`` with ``H`` the cumulative hazard and
``G(u)`` the probability of being followed beyond ``u``. ``G`` decreases, so replacing it by its
value at the time point gives the upper bound ``S (1 - S) / (n G)``: ``m`` is at least ``n G``. If
the median follow-up is not before the time point, ``G`` is at least one half and ``m`` at least
``n/2``, whatever the pattern of censoring.

The pooled mean is REML with the Hartung-Knapp interval in the form that is never narrower than
the plain one (:mod:`analysis.pooling.normal`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._stats import z_quantile
from ._validate import check_labels, check_level
from .normal import _single_tau2, normal_arrays

__all__ = [
    "LandmarkFit",
    "cloglog",
    "followed_share",
    "inverse_cloglog",
    "pool_landmarks",
    "rate_interval",
    "variance_at_risk",
    "variance_from_interval",
    "variance_from_size",
]

#: Added to survivors and to non-survivors where a rate is 0 or 1.
CORRECTION = 0.5


def cloglog(rate: float) -> float:
    """Return ``log(-log rate)``; it falls as the rate rises.

    Raises
    ------
    ValueError
        If the rate is not strictly between 0 and 1.
    """
    value = float(rate)
    if not 0.0 < value < 1.0:
        raise ValueError(f"the complementary log-log needs a rate between 0 and 1, got {rate!r}")
    return math.log(-math.log(value))


def inverse_cloglog(y: float) -> float:
    """Return the rate ``exp(-exp y)``; the ends are 0 and 1."""
    return math.exp(-math.exp(min(float(y), 700.0)))


def _positive(value: float, name: str) -> float:
    number = float(value)
    if not 0.0 < number < math.inf:
        raise ValueError(f"{name} must be a positive number, got {value!r}")
    return number


def variance_from_size(rate: float, size: float) -> float:
    """Variance of ``log(-log S)`` for a rate as precise as one of `size` patients.

    ``(1 - S) / (size S (log S)^2)``: the delta method on ``S (1 - S)/size``.

    Parameters
    ----------
    rate : float
        Proportion surviving, strictly between 0 and 1.
    size : float
        Patients of a binomial sample of the same precision.
    """
    cloglog(rate)
    return (1.0 - rate) / (_positive(size, "size") * rate * math.log(rate) ** 2)


def variance_at_risk(rate: float, at_risk: float) -> float:
    """Variance of ``log(-log S)`` from the number still at risk at the time point.

    ``(1 - S) / (r (log S)^2)``, from Peto et al. 1977 (doi:10.1038/bjc.1977.1). Without censoring
    ``r = n S`` and it equals :func:`variance_from_size` at ``n``.
    """
    cloglog(rate)
    return (1.0 - rate) / (_positive(at_risk, "at_risk") * math.log(rate) ** 2)


def variance_from_interval(rate: float, low: float, high: float, level: float = 0.95) -> float:
    """Variance of ``log(-log S)`` from a printed interval: the wider half over the quantile.

    A limit at 0 or 1 was cut or cannot be turned back; then the other half alone counts.

    Parameters
    ----------
    rate, low, high : float
        Proportions, ``low < rate < high``.
    level : float
        Coverage of the printed interval.

    Raises
    ------
    ValueError
        If the limits do not enclose the rate, or both are at an end of the scale.
    """
    y = cloglog(rate)
    if not 0.0 <= low < rate < high <= 1.0:
        raise ValueError(f"the limits {low!r} and {high!r} do not enclose the rate {rate!r}")
    halves = []
    if low > 0.0:
        halves.append(cloglog(low) - y)
    if high < 1.0:
        halves.append(y - cloglog(high))
    if not halves:
        raise ValueError("an interval from 0 to 1 says nothing about the variance")
    return (max(halves) / z_quantile(check_level(level))) ** 2


def followed_share(months: float, follow_up: float | None) -> tuple[float, str]:
    """Share of the patients taken to be followed beyond a time point, and why, in words.

    One half where the median follow-up is not before the time point: a lower bound. Otherwise an
    assumption: the share halves with every median follow-up, ``2^(-months/follow_up)``; and one
    half where no follow-up is known.

    Parameters
    ----------
    months : float
        The time point.
    follow_up : float or None
        Median follow-up in months.

    Returns
    -------
    (float, str)
    """
    if follow_up is None:
        return 0.5, "assumption: no follow-up printed"
    if _positive(months, "months") <= _positive(follow_up, "follow_up"):
        return 0.5, f"median follow-up {follow_up:g} months"
    share = 2.0 ** (-months / follow_up)
    return share, f"assumption: median follow-up only {follow_up:g} months"


def rate_interval(rate: float, variance: float, level: float = 0.95) -> tuple[float, float]:
    """Interval of one rate: normal on the complementary log-log scale, proportions returned."""
    reach = z_quantile(check_level(level)) * math.sqrt(_positive(variance, "variance"))
    y = cloglog(rate)
    return inverse_cloglog(y + reach), inverse_cloglog(y - reach)


def corrected(rate: float, size: float) -> tuple[float, float]:
    """Rate and size with half a patient added to both sides where the rate is 0 or 1."""
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"a rate must lie between 0 and 1, got {rate!r}")
    size = _positive(size, "size")
    if 0.0 < rate < 1.0:
        return float(rate), size
    return (rate * size + CORRECTION) / (size + 2 * CORRECTION), size + 2 * CORRECTION


@dataclass(frozen=True, kw_only=True, eq=False)
class LandmarkFit:
    """Rates at one time point, pooled.

    Attributes
    ----------
    labels : tuple of str
    rate, variance : numpy.ndarray, shape (k,)
        Rates (proportions) and variances of ``log(-log S)``.
    estimate, ci_low, ci_high : float
        Proportions: the back-transformed mean, that is the median trial, and its interval.
    pi_low, pi_high : float or None
        Proportions: prediction interval, t(k-1); None for two trials.
    mu, se, tau2, tau2_ci : float, float, float, (float, float)
        Complementary log-log scale; ``se`` as the interval uses it, ``tau2_ci`` by Q-profile.
    i2, q, q_p : float
        As in :class:`analysis.pooling.Fit`.
    weight : numpy.ndarray, shape (k,)
        Shares, sum 1.
    level : float
    """

    labels: tuple[str, ...]
    rate: np.ndarray
    variance: np.ndarray
    level: float
    estimate: float
    ci_low: float
    ci_high: float
    pi_low: float | None
    pi_high: float | None
    mu: float
    se: float
    tau2: float
    tau2_ci: tuple[float, float]
    i2: float
    q: float
    q_p: float
    weight: np.ndarray

    @property
    def k(self) -> int:
        """Number of trials."""
        return int(self.rate.size)


def pool_landmarks(
    rates: Sequence[float],
    variances: Sequence[float],
    *,
    labels: Sequence[str] | None = None,
    level: float = 0.95,
) -> LandmarkFit:
    """Pool survival rates of independent trials at one time point.

    Parameters
    ----------
    rates : sequence of float, length k
        Proportions strictly between 0 and 1, k at least 2.
    variances : sequence of float, length k
        Variances of ``log(-log S)``; see the ``variance_`` functions.
    labels : sequence of str, optional
    level : float

    Returns
    -------
    LandmarkFit

    Raises
    ------
    ValueError
        If there are fewer than two trials, a rate is 0 or 1, or a variance is not positive.
    """
    rate = np.array([float(value) for value in rates])
    if rate.size < 2:
        raise ValueError("one trial is shown and not pooled")
    if len(variances) != rate.size:
        raise ValueError(f"variances must have one value per rate ({rate.size})")
    v = np.array([_positive(value, "variance") for value in variances])
    y = np.array([cloglog(value) for value in rate])
    level = check_level(level)
    names = check_labels(labels, rate.size) or tuple(f"Trial {i + 1}" for i in range(rate.size))
    tau2 = _single_tau2(y, v, "reml")
    arrays = normal_arrays(y[None, :], v[None, :], "reml", "hartung-knapp-adhoc", level, tau2=tau2)
    weight = arrays.pop("weight")[0]
    a = {name: float(values[0]) for name, values in arrays.items()}
    reach = a["pi_k1"]
    has_prediction = not math.isnan(reach)
    return LandmarkFit(
        labels=names,
        rate=rate,
        variance=v,
        level=level,
        estimate=inverse_cloglog(a["mu"]),
        ci_low=inverse_cloglog(a["ci_high"]),
        ci_high=inverse_cloglog(a["ci_low"]),
        pi_low=inverse_cloglog(a["mu"] + reach) if has_prediction else None,
        pi_high=inverse_cloglog(a["mu"] - reach) if has_prediction else None,
        mu=a["mu"],
        se=a["se"],
        tau2=a["tau2"],
        tau2_ci=(a["tau2_low"], a["tau2_high"]),
        i2=a["i2"],
        q=a["q"],
        q_p=a["q_p"],
        weight=weight,
    )
