"""Which recomputed estimates differ from earlier ones, digit for digit.

What a change of the installed packages does: no row, count or model differs, and yet the last
digits may. :mod:`analysis.diff` asks what a reader would see; here every digit that is kept counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from analysis.diff import moved
from analysis.publish import DIGITS

__all__ = ["Digits", "compare", "lines"]

# What a record says about where it comes from, not about the result.
ORIGIN = ("estimate_id", "data_version", "data_sha256", "code_version")


@dataclass(frozen=True)
class Digits:
    """One value of an estimate that is not the same to the last digit.

    Attributes
    ----------
    estimand_id, column : str
    before, after : object
        The two values; None where a record has none.
    steps : float or None
        Their distance in units of the last of the kept significant digits; None where one of them
        is not a finite number.
    """

    estimand_id: str
    column: str
    before: Any
    after: Any
    steps: float | None


def compare(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[Digits]:
    """Compare records of estimates, digit for digit.

    Parameters
    ----------
    before, after : list of dict
        Records as in ``data/estimates.json``, in any order. What says where a record comes from
        (versions and digest) is not compared.

    Returns
    -------
    list of Digits
        One per value that differs, in the order of the later records; an estimand that only one
        side has counts as one value, its id. Empty if every digit is the same.
    """
    old = {entry["estimand_id"]: entry for entry in before}
    new = {entry["estimand_id"]: entry for entry in after}
    found = []
    for name in [*new, *(name for name in old if name not in new)]:
        if name not in old or name not in new:
            was, now = (name if name in side else None for side in (old, new))
            found.append(Digits(name, "estimand_id", was, now, None))
            continue
        columns = dict.fromkeys([*new[name], *old[name]])
        for column in columns:
            was, now = old[name].get(column), new[name].get(column)
            if column not in ORIGIN and _text(was) != _text(now):
                found.append(Digits(name, column, was, now, _steps(was, now)))
    return found


def lines(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    """Report the comparison: a line per value that differs, then what it amounts to.

    Parameters
    ----------
    before, after : list of dict
        See :func:`compare`.
    """
    found = compare(before, after)
    said = [
        f"{entry.estimand_id}, {entry.column}: {_shown(entry.before)} is now {_shown(entry.after)}"
        + ("" if entry.steps is None else f" ({_distance(entry.steps)})")
        for entry in found
    ]
    if {entry["data_sha256"] for entry in before} != {entry["data_sha256"] for entry in after}:
        said.append("the data differ too: not every change is one of the installed packages")
    every = {entry["estimand_id"] for entry in [*before, *after]}
    if not found:
        return [*said, f"{len(every)} estimates agree in all of {DIGITS} digits"]
    which = {entry.estimand_id for entry in found}
    seen = moved(before, after)
    steps = [entry.steps for entry in found if entry.steps is not None]
    furthest = f", {_distance(max(steps))} at most" if steps else ""
    said.append(
        f"{len(which)} of {len(every)} estimates differ{furthest}; "
        + (f"the pages show it of {len(seen)}: see --diff" if seen else "the pages show it of none")
    )
    return said


def _text(value: Any) -> str:
    """A value to its last digit; 1 and 1.0 are the same number, -0.0 and 0.0 too."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(float(value) + 0.0)
    return repr(value)


def _steps(was: Any, now: Any) -> float | None:
    numbers = [value for value in (was, now) if _finite(value)]
    if len(numbers) < 2:
        return None
    largest = max(abs(float(value)) for value in numbers)
    unit = 10.0 ** (math.floor(math.log10(largest)) - DIGITS + 1)
    return abs(float(was) - float(now)) / unit


def _finite(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _shown(value: Any) -> str:
    if value is None or value == []:
        return "none"
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def _distance(steps: float) -> str:
    """Say from which significant digit on two numbers differ that are so many last steps apart."""
    first = max(1, DIGITS - math.floor(math.log10(max(steps, 1.0))))
    return f"in digit {DIGITS}" if first == DIGITS else f"from digit {first} on"
