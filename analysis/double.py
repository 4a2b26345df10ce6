"""Two extractions of the same documents, made by two people, held to each other.

Each person fills a table with the columns of ``extraction.csv`` without seeing the other's. Figures
are paired by document, cohort and outcome; what differs is listed, so that it can be settled.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import product
from pathlib import Path

__all__ = ["COMPARED", "KEY", "Comparison", "compare", "read"]

#: What makes two rows rows about the same thing.
KEY = ("report_id", "cohort_id", "outcome")
#: What is compared: the figure, whom it counts, and how it came about.
COMPARED = (
    *("events", "total", "percent", "value", "unit", "ci_low", "ci_high", "ci_level"),
    *("timepoint_months", "denominator", "origin", "status"),
)

Row = dict[str, str]


@dataclass(frozen=True)
class Comparison:
    """What two people read.

    Attributes
    ----------
    figures : int
        Figures that either of them has.
    agreed : int
        Figures that both have, with the same in every compared column.
    lines : tuple of str
        A sentence for each difference, in the order of the first table.
    """

    figures: int
    agreed: int
    lines: tuple[str, ...]


def read(path: Path) -> list[Row]:
    """Read a table of figures.

    Parameters
    ----------
    path : Path
        CSV file with a header; of the columns of ``extraction.csv`` at least those of :data:`KEY`.
        A compared column that it lacks is empty.

    Returns
    -------
    list of dict
        The cells as text, and the number of the line under ``row``.

    Raises
    ------
    ValueError
        If the file cannot be read, lacks a column of the key, or has a row without one.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="", restval="", strict=True)
            lacking = [name for name in KEY if name not in (reader.fieldnames or [])]
            if lacking:
                raise ValueError(f"{path}: has no column {lacking[0]!r}")
            rows = []
            for cells in reader:
                if "" in cells:
                    raise ValueError(f"{path}, row {reader.line_num}: has more cells than columns")
                row = {name: cells.get(name, "").strip() for name in (*KEY, *COMPARED)}
                empty = [name for name in KEY if not row[name]]
                if empty:
                    raise ValueError(f"{path}, row {reader.line_num}: {empty[0]} is empty")
                rows.append({**row, "row": str(reader.line_num)})
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is not a UTF-8 CSV file: {error}") from None
    return rows


def compare(first: list[Row], second: list[Row], names: tuple[str, str]) -> Comparison:
    """Hold two extractions to each other.

    Parameters
    ----------
    first, second : list of dict
        See :func:`read`.
    names : tuple of str
        What the two tables are called in the sentences.

    Returns
    -------
    Comparison
        Several figures of one document about the same cohort and outcome are paired so that the
        most alike come together.
    """
    lines: list[str] = []
    figures = agreed = 0
    for key in dict.fromkeys(_key(row) for row in [*first, *second]):
        left = [row for row in first if _key(row) == key]
        right = [row for row in second if _key(row) == key]
        for one, other in _paired(left, right):
            figures += 1
            found = _said(one, other, names)
            agreed += not found
            lines += [f"{key[1]}, {key[2]}, in {key[0]}: {text}" for text in found]
    return Comparison(figures, agreed, tuple(lines))


def _key(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in KEY)


def _paired(left: list[Row], right: list[Row]) -> list[tuple[Row | None, Row | None]]:
    """Pair rows, those with the fewest differences first; what is left over stands alone."""
    order = sorted(
        product(range(len(left)), range(len(right))),
        key=lambda at: (len(_different(left[at[0]], right[at[1]])), at),
    )
    partner: dict[int, int] = {}
    for i, j in order:
        if i not in partner and j not in partner.values():
            partner[i] = j
    pairs: list[tuple[Row | None, Row | None]] = [
        (row, right[partner[i]] if i in partner else None) for i, row in enumerate(left)
    ]
    return pairs + [(None, row) for j, row in enumerate(right) if j not in partner.values()]


def _different(one: Row, other: Row) -> list[str]:
    return [name for name in COMPARED if not _same(name, one[name], other[name])]


def _same(column: str, one: str, other: str) -> bool:
    if one == other:
        return True
    if column == "percent":  # its decimals tell how it was rounded
        return False
    try:
        return float(one) == float(other)
    except ValueError:
        return False


def _said(one: Row | None, other: Row | None, names: tuple[str, str]) -> list[str]:
    if one is None or other is None:
        row, name = (one, names[0]) if one is not None else (other, names[1])
        assert row is not None
        return [f"only in {name}, row {row['row']}"]
    return [
        f"{column} is {one[column] or 'empty'} in {names[0]}, row {one['row']}, "
        f"and {other[column] or 'empty'} in {names[1]}, row {other['row']}"
        for column in _different(one, other)
    ]
