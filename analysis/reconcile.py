"""Is each printed figure arithmetically possible?

A percentage of ``n`` patients is possible if some whole number of patients gives it at its printed
precision. Rounding half up is the convention that sources are held to; a percentage that only
cutting off digits can explain counts as impossible and its row says so.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

from analysis.data import Finding

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = ["check_percentages", "possible_counts"]

ROUNDING = {"half-up": ROUND_HALF_UP, "half-even": ROUND_HALF_EVEN, "truncated": ROUND_DOWN}


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
    if total < 1:
        raise ValueError(f"total must be 1 or more, not {total}")
    if rounding not in ROUNDING:
        raise ValueError(f"rounding must be one of {', '.join(ROUNDING)}, not {rounding!r}")
    try:
        percent = Decimal(printed)
    except ArithmeticError:
        raise ValueError(f"{printed!r} is not a percentage") from None
    decimals = len(printed.partition(".")[2])
    step = Decimal(1).scaleb(-decimals)
    # only counts within one step of the percentage can match; the rest need not be tried
    low = int((percent - step) * total / 100)
    high = int((percent + step) * total / 100) + 1
    return tuple(
        count
        for count in range(max(low, 0), min(high, total) + 1)
        if (Decimal(100 * count) / total).quantize(step, ROUNDING[rounding]) == percent
    )


def check_percentages(dataset: Dataset) -> list[Finding]:
    """Find rows whose status contradicts the arithmetic of their percentage.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Finding
        A row with a count that its percentage cannot stand for, and a row marked infeasible
        whose percentage is possible.
    """
    table = dataset.extraction
    missing = table["events"].isna()
    findings = []
    for row in table[table["percent"].notna() & table["total"].notna()].itertuples():
        printed, total = row.percent_printed, int(row.total)
        events = None if missing[row.Index] else int(row.events)
        counts = possible_counts(printed, total)
        message = None
        if row.status == "infeasible" and counts:
            message = f"{printed}% of {total} is {_either(counts)} patients, so it is possible"
        elif row.status != "infeasible" and events is not None and events not in counts:
            message = f"{events} of {total} is not {printed}%"
        if message is not None:
            # the header is line 1 and cells have no line breaks
            findings.append(Finding("extraction.csv", row.Index + 2, "percent", message))
    return findings


def _either(counts: tuple[int, ...]) -> str:
    return " or ".join(str(count) for count in counts)
