"""What a printed percentage or interval can stand for: whole patients, denominators, limits."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor

__all__ = [
    "ROUNDING",
    "clopper_pearson",
    "decimals",
    "denominators",
    "interval_methods",
    "is_possible",
    "nearest_count",
    "possible_counts",
    "readings",
    "rounds_to",
    "wilson",
]

ROUNDING = ("half-up", "half-even", "truncated")
"""Ways of shortening a percentage to its printed decimals."""


def possible_counts(printed: str, total: int, rounding: str = "half-up") -> tuple[int, ...]:
    """List the counts out of `total` that a printed percentage can stand for.

    Parameters
    ----------
    printed : str
        The percentage with its decimals, for example ``"83.3"`` or ``"71"``.
    total : int
        Number of patients, 1 or more.
    rounding : {"half-up", "half-even", "truncated"}
        How the source is taken to have shortened the percentage.

    Returns
    -------
    tuple of int
        Empty if no count gives the percentage.

    Raises
    ------
    ValueError
        If `total` is below 1, `rounding` is unknown or `printed` is not a number.
    """
    low, high = _bounds(printed, total, rounding)
    return tuple(range(low, high + 1))


def is_possible(printed: str, total: int, roundings: Iterable[str] = ("half-up",)) -> bool:
    """Tell whether any count out of `total` gives a printed percentage.

    Parameters
    ----------
    printed, total
        As for :func:`possible_counts`.
    roundings : iterable of str
        Ways of shortening that are let pass.
    """
    return any(low <= high for low, high in (_bounds(printed, total, name) for name in roundings))


def readings(printed: str, total: int) -> dict[str, tuple[int, ...]]:
    """List the possible counts under each way of shortening a percentage.

    Parameters
    ----------
    printed, total
        As for :func:`possible_counts`.

    Returns
    -------
    dict of str to tuple of int
        Under the keys ``"half-up"``, ``"half-even"`` and ``"truncated"``.
    """
    return {name: possible_counts(printed, total, name) for name in ROUNDING}


def denominators(
    printed: Iterable[str], low: int, high: int, rounding: str = "half-up"
) -> tuple[int, ...]:
    """List the denominators that can produce every one of a set of percentages.

    Parameters
    ----------
    printed : iterable of str
        Percentages that are said to share one denominator, with their decimals.
    low, high : int
        Smallest and largest denominator to try, both included.
    rounding : {"half-up", "half-even", "truncated"}
        As for :func:`possible_counts`.

    Returns
    -------
    tuple of int
        In rising order; empty if there is none.

    Raises
    ------
    ValueError
        If `printed` is empty, or as for :func:`possible_counts`.
    """
    percentages = tuple(printed)
    if not percentages:
        raise ValueError("printed must hold at least one percentage")
    return tuple(
        total
        for total in range(max(low, 1), high + 1)
        if all(is_possible(text, total, (rounding,)) for text in percentages)
    )


def nearest_count(printed: str, total: int) -> int:
    """Return the count out of `total` whose percentage lies nearest to a printed one.

    Raises
    ------
    ValueError
        If `total` is below 1 or `printed` is not a number.
    """
    if total < 1:
        raise ValueError(f"total must be 1 or more, not {total}")
    exact = _number(printed) * total / 100
    return min(max(int(exact.quantize(Decimal(1), ROUND_HALF_UP)), 0), total)


def rounds_to(
    events: int, total: int, printed: str, roundings: Iterable[str] = ("half-up", "half-even")
) -> bool:
    """Tell whether a count gives a printed percentage, rounded in one of some ways.

    Parameters
    ----------
    events, total : int
    printed : str
        The percentage with its decimals.
    roundings : iterable of str
        Ways of shortening that are let pass.
    """
    bounds = (_bounds(printed, total, name) for name in roundings)
    return any(low <= events <= high for low, high in bounds)


def wilson(events: int, total: int, level: float) -> tuple[float, float]:
    """Compute the Wilson score interval of a proportion, in percent.

    Parameters
    ----------
    events, total : int
    level : float
        Confidence level between 0 and 1.

    Notes
    -----
    Newcombe 1998, method 3; doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E
    """
    from scipy.special import ndtri

    z = float(ndtri(0.5 + level / 2))
    share, weight = events / total, z * z / total
    center = (share + weight / 2) / (1 + weight)
    half = z * ((share * (1 - share) + weight / 4) / total) ** 0.5 / (1 + weight)
    return 100 * max(center - half, 0.0), 100 * min(center + half, 1.0)


def clopper_pearson(events: int, total: int, level: float) -> tuple[float, float]:
    """Compute the Clopper-Pearson (exact) interval of a proportion, in percent.

    Parameters
    ----------
    events, total : int
    level : float
        Confidence level between 0 and 1.

    Notes
    -----
    Newcombe 1998, method 5; doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E
    """
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = 0.0 if events == 0 else float(betaincinv(events, total - events + 1, tail))
    high = 1.0 if events == total else float(betaincinv(events + 1, total - events, 1 - tail))
    return 100 * low, 100 * high


def interval_methods(
    events: int, total: int, low: float, high: float, level: float
) -> tuple[str, ...]:
    """Name the methods that reproduce a printed interval from its count.

    Parameters
    ----------
    events, total : int
        The count behind the interval.
    low, high : float
        Printed limits, in percent. Both are taken to have the decimals of the one with more.
    level : float
        Printed level, in percent.

    Returns
    -------
    tuple of str
        ``"Clopper-Pearson"``, ``"Wilson"``, both or neither.
    """
    step = Decimal(1).scaleb(-max(decimals(low), decimals(high)))
    found = []
    for name, method in (("Clopper-Pearson", clopper_pearson), ("Wilson", wilson)):
        limits = method(events, total, level / 100)
        # the eleventh decimal is arithmetic noise and must not decide a half
        computed = [Decimal(f"{limit:.10f}").quantize(step, ROUND_HALF_UP) for limit in limits]
        if computed == [Decimal(repr(limit)).quantize(step) for limit in (low, high)]:
            found.append(name)
    return tuple(found)


def decimals(value: float) -> int:
    """Count the decimals of a number as Python prints it: 2 for 35.25, 0 for 35.0."""
    return len(repr(float(value)).partition(".")[2].rstrip("0"))


@lru_cache(maxsize=65536)
def _bounds(printed: str, total: int, rounding: str) -> tuple[int, int]:
    """Smallest and largest count that a printed percentage can stand for; crossed if none."""
    if total < 1:
        raise ValueError(f"total must be 1 or more, not {total}")
    if rounding not in ROUNDING:
        raise ValueError(f"rounding must be one of {', '.join(ROUNDING)}, not {rounding!r}")
    percent = _number(printed)
    step = Fraction(1, 10 ** len(printed.partition(".")[2]))
    exact = Fraction(percent)
    if rounding == "truncated":
        low, high, keep_low, keep_high = exact, exact + step, True, False
    else:
        low, high = exact - step / 2, exact + step / 2
        # a count that lies halfway goes up, or to the even last digit
        even = (exact / step) % 2 == 0
        keep_low = rounding == "half-up" or even
        keep_high = rounding == "half-even" and even
    first, last = low * total / 100, high * total / 100
    smallest = ceil(first) if keep_low else floor(first) + 1
    largest = floor(last) if keep_high else ceil(last) - 1
    return max(smallest, 0), min(largest, total)


def _number(printed: str) -> Decimal:
    try:
        number = Decimal(printed)
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite():
        raise ValueError(f"{printed!r} is not a percentage")
    return number
