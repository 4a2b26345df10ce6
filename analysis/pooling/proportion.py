"""Intervals of a single proportion in closed form (agree with R and statsmodels)."""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv, ndtri

from ._validate import check_choice, check_level

__all__ = ["METHODS", "clopper_pearson", "jeffreys", "proportion_interval", "wilson"]

METHODS = ("wilson", "clopper-pearson", "jeffreys")


def wilson(events, total, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Score interval without continuity correction (Wilson 1927; Newcombe 1998 method 3,
    doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E).

    Arrays of any one shape in, two arrays of proportions out. The lower limit is exactly 0
    with no events, the upper limit exactly 1 with only events.
    """
    x, n = np.asarray(events, dtype=float), np.asarray(total, dtype=float)
    z = ndtri(0.5 + 0.5 * check_level(level))
    z2 = z * z
    root = z * np.sqrt(z2 + 4.0 * x * (n - x) / n)
    # each limit by the form that does not cancel
    low = 2.0 * x * x / n / (2.0 * x + z2 + root)
    y = n - x
    high = 1.0 - 2.0 * y * y / n / (2.0 * y + z2 + root)
    return low, high


def clopper_pearson(events, total, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Exact (beta quantile) interval (Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404)."""
    x, n = np.asarray(events, dtype=float), np.asarray(total, dtype=float)
    tail = 0.5 * (1.0 - check_level(level))
    low = np.where(x > 0, betaincinv(np.maximum(x, 1.0), n - x + 1.0, tail), 0.0)
    y = n - x
    high = np.where(y > 0, 1.0 - betaincinv(np.maximum(y, 1.0), x + 1.0, tail), 1.0)
    return low, high


def jeffreys(events, total, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Equal-tailed interval under the Jeffreys prior beta(1/2, 1/2) (Brown et al. 2001,
    doi:10.1214/ss/1009213286), without their modification at 0 and n; as in statsmodels."""
    x, n = np.asarray(events, dtype=float), np.asarray(total, dtype=float)
    tail = 0.5 * (1.0 - check_level(level))
    low = betaincinv(x + 0.5, n - x + 0.5, tail)
    high = 1.0 - betaincinv(n - x + 0.5, x + 0.5, tail)
    return low, high


def proportion_interval(
    events, total, method: str = "wilson", level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of each proportion by ``"wilson"``, ``"clopper-pearson"`` or ``"jeffreys"``."""
    method = check_choice(method, "study interval", METHODS)
    functions = {"wilson": wilson, "clopper-pearson": clopper_pearson, "jeffreys": jeffreys}
    return functions[method](events, total, level)
