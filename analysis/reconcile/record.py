"""One row of the extraction as plain Python, with what the rules need to compare it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from analysis.reconcile.arithmetic import decimals, is_possible, rounds_to

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = ["Package", "Record", "agree", "possible", "same_percentage"]

# columns of extraction.csv that a record takes over under their names
AS_WRITTEN = (
    *("record_id", "cohort_id", "outcome", "events", "total", "value", "unit", "value_text"),
    *("ci_low", "ci_high", "ci_level", "denominator", "criteria", "report_id", "locator"),
    *("origin", "status", "reason"),
)


@dataclass(frozen=True)
class Record:
    """One figure read in one document; None where a cell is empty.

    Attributes
    ----------
    line : int
        Line in ``extraction.csv``, the header being line 1.
    kind, direction : str
        Of the outcome, from ``outcomes.csv``.
    percent : str or None
        The percentage as printed, with its decimals.
    block : str
        The row of a table or the paragraph in which the figure stands.
    year : int or None
        Year of the report.
    """

    line: int
    record_id: str
    cohort_id: str
    outcome: str
    kind: str
    direction: str
    events: int | None
    total: int | None
    percent: str | None
    value: float | None
    unit: str | None
    value_text: str | None
    ci_low: float | None
    ci_high: float | None
    ci_level: float | None
    months: float | None
    denominator: str | None
    criteria: str | None
    report_id: str
    locator: str
    block: str
    origin: str
    status: str
    reason: str | None
    year: int | None

    @property
    def counted(self) -> bool:
        """Whether there is a count with its denominator."""
        return self.events is not None and self.total is not None

    @property
    def clinical(self) -> bool:
        """Whether it is a share of patients with a benefit or a harm."""
        return self.kind == "proportion" and self.direction != "neutral"

    @property
    def share(self) -> float | None:
        """The figure as a percentage, from the count where there is one."""
        if self.counted:
            return 100 * self.events / self.total  # type: ignore[operator]
        return None if self.percent is None else float(self.percent)

    @property
    def size(self) -> int | None:
        """The figure as a number of patients, None where it is none."""
        if self.value is None or self.value < 1 or self.unit != "patients":
            return None
        return int(self.value)

    @property
    def printed(self) -> str:
        """The figure in words, a count that a reader worked out being told as such."""
        if self.counted and self.percent is not None and self.origin in {"derived", "inferred"}:
            bare = f"{self.percent}%"
            return self.figure.replace(
                f"{self.events} of {self.total} ({bare})",
                f"{bare} (worked out as {self.events} of {self.total})",
            )
        return self.figure

    @property
    def figure(self) -> str:
        """The figure in words, as the source has it: ``4 of 19 (21%)``, ``80%``, ``40 months``."""
        if self.counted:
            text = f"{self.events} of {self.total}"
            if self.percent is not None:
                text += f" ({self.percent}%)"
        elif self.percent is not None:
            text = f"{self.percent}%" + (f" of {self.total}" if self.total else "")
        elif self.value is not None:
            text = f"{self.value:g} {self.unit}"
        else:
            text = self.value_text or "no figure"
        if self.months is not None and self.kind in {"survival", "proportion"}:
            text += " at 4 weeks" if self.months == 0.92 else f" at {self.months:g} months"
        return text


@dataclass(frozen=True)
class Package:
    """The data package as the rules see it.

    Attributes
    ----------
    records : tuple of Record
        In file order.
    cohorts : dict
        Cells of ``cohorts.csv`` by cohort, None where empty.
    outcomes : dict
        Label of each outcome.
    overlaps : tuple of (str, str, str)
        Two cohorts and the kind of their overlap.
    """

    records: tuple[Record, ...]
    cohorts: dict[str, dict[str, Any]]
    outcomes: dict[str, str]
    overlaps: tuple[tuple[str, str, str], ...]

    @cached_property
    def by_cohort(self) -> dict[str, list[Record]]:
        """Rows that hold a figure about a cohort, in file order."""
        found: dict[str, list[Record]] = {name: [] for name in self.cohorts}
        for record in self.records:
            if record.status != "not-found":
                found[record.cohort_id].append(record)
        return found

    @cached_property
    def used(self) -> dict[tuple[str, str], list[Record]]:
        """Rows in use, by cohort and outcome."""
        found: dict[tuple[str, str], list[Record]] = {}
        for record in self.records:
            if record.status == "used":
                found.setdefault((record.cohort_id, record.outcome), []).append(record)
        return found

    def size(self, cohort_id: str, name: str) -> int | None:
        """Return ``n_enrolled``, ``n_infused`` or ``n_evaluable`` of a cohort."""
        return self.cohorts[cohort_id][name]

    def overlapping(self, cohort_id: str) -> set[str]:
        """Cohorts that share patients with a cohort, or may, or belong to the same trial."""
        trial = self.cohorts[cohort_id]["trial_id"]
        found = {
            name
            for name, cells in self.cohorts.items()
            if trial is not None and cells["trial_id"] == trial
        }
        for a, b, _ in self.overlaps:
            if cohort_id in (a, b):
                found |= {a, b}
        return found - {cohort_id}

    @classmethod
    def of(cls, dataset: Dataset) -> Package:
        """Read a data set."""
        outcomes = {row["outcome_id"]: row for row in _rows(dataset.outcomes)}
        years = {row["report_id"]: row["year"] for row in _rows(dataset.reports)}
        records = tuple(
            Record(
                # the header is line 1 and cells have no line breaks
                line=i + 2,
                kind=outcomes[row["outcome"]]["kind"],
                direction=outcomes[row["outcome"]]["direction"],
                percent=row["percent_printed"],
                months=row["timepoint_months"],
                block=_block(row["locator"]),
                year=years[row["report_id"]],
                **{name: row[name] for name in AS_WRITTEN},
            )
            for i, row in enumerate(_rows(dataset.extraction))
        )
        return cls(
            records=records,
            cohorts={row["cohort_id"]: row for row in _rows(dataset.cohorts)},
            outcomes={name: row["label"] for name, row in outcomes.items()},
            overlaps=tuple(
                (row["cohort_a"], row["cohort_b"], row["kind"]) for row in _rows(dataset.overlaps)
            ),
        )


def agree(a: Record, b: Record) -> bool:
    """Tell whether two figures can be the same one, perhaps printed at different precision.

    Counts must be equal; a count and a percentage agree if the one rounds to the other; two
    percentages, or two values, are compared at the coarser precision.
    """
    if a.counted and b.counted:
        return (a.events, a.total) == (b.events, b.total)
    if a.share is not None and b.share is not None:
        return same_percentage(a, b)
    if a.value is not None and b.value is not None and a.unit == b.unit:
        return _same_number(a.value, b.value)
    return True


def same_percentage(a: Record, b: Record) -> bool:
    """Tell whether two shares are the same percentage, whatever their denominators."""
    if a.share is None or b.share is None:
        return False
    if a.percent is not None and b.percent is not None:
        return _same_number(float(a.percent), float(b.percent), a.percent, b.percent)
    for counted, other in ((a, b), (b, a)):
        if counted.counted and other.percent is not None:
            assert counted.events is not None and counted.total is not None
            return rounds_to(counted.events, counted.total, other.percent)
    return abs(a.share - b.share) < 1e-9


def possible(record: Record, total: int) -> bool:
    """Tell whether the printed percentage of a row can be that of some count out of `total`."""
    assert record.percent is not None
    return is_possible(record.percent, total, ("half-up", "half-even"))


def _same_number(a: float, b: float, text_a: str = "", text_b: str = "") -> bool:
    """Compare two numbers at the coarser precision; a half may have gone either way."""
    places = min(
        len(text.partition(".")[2]) if text else decimals(number)
        for text, number in ((text_a, a), (text_b, b))
    )
    half = Decimal(5).scaleb(-places - 1)
    return abs(Decimal(repr(a)) - Decimal(repr(b))) <= half


def _block(locator: str) -> str:
    """Name the table row or paragraph of a locator, which leaves the column away."""
    return re.split(r", columns? ", locator)[0]


def _rows(frame: Any) -> list[dict[str, Any]]:
    """Rows of a frame as dictionaries of plain Python values, None for a missing cell."""
    plain = frame.astype(object).where(frame.notna(), None)
    return plain.to_dict("records")
