"""What the rules find: one discrepancy, its kind, what each source says and what it may mean."""

from __future__ import annotations

from dataclasses import dataclass, field

from analysis.reconcile.record import Record

__all__ = ["CLASSES", "KINDS", "SEVERITIES", "Alternative", "Discrepancy", "Statement"]

KINDS = {
    "impossible": "Percentages that no whole number of patients can give",
    "denominator": "Percentages and counts that need another denominator than the one stated",
    "sum": "Parts that do not add up",
    "order": "A part that is larger than its whole",
    "time": "Figures that cannot hold at their time point",
    "interval": "Intervals that do not belong to their count",
    "differs": "The same figure, told differently by two sources or two places",
    "other-cohort": "Figures that belong to another group of patients",
    "misplaced": "Figures that belong to another outcome",
    "shared-patients": "Cohorts whose patients cannot all be different, or all the same",
    "reading": "Disputed on reading: no arithmetic decides",
}
"""Kinds of discrepancy, in the order in which they are listed."""

CLASSES = {
    "scale": "different grading scale or assay",
    "cut-off": "different cut-off date or time point",
    "denominator": "different denominator",
    "cohort": "different cohort",
    "misprint": "misprint or slip of copying",
    "undecidable": "undecidable from what was read",
}
"""What a discrepancy can come from."""

SEVERITIES = {
    "impossible": "no group of patients can produce the figure",
    "contradiction": "two figures that cannot both be right as they stand",
    "remark": "possible, but worth knowing before the figure is used",
}


@dataclass(frozen=True)
class Statement:
    """What one source says: its row, report and figure in words."""

    record_id: str
    report_id: str
    figure: str

    @classmethod
    def of(cls, record: Record, what: str = "") -> Statement:
        """State the figure of a row, after the name of what it is where that is needed."""
        figure = record.printed if record.status != "used" else record.figure
        return cls(record.record_id, record.report_id, f"{what} {figure}" if what else figure)


@dataclass(frozen=True)
class Alternative:
    """A count that the book would pool if it took the questioned figure.

    Attributes
    ----------
    cohort_id, outcome : str
    events, total : int
    how : str
        ``printed``, or how the count follows from what is printed.
    """

    cohort_id: str
    outcome: str
    events: int
    total: int
    how: str = "printed"


@dataclass(frozen=True)
class Discrepancy:
    """One finding about the figures of the sources.

    Attributes
    ----------
    id : str
        ``<kind>:<first questioned row>``, the same on every run; rules that can find two things
        about one row add a word.
    kind : str
        One of :data:`KINDS`.
    cohort_id, outcome : str
        Of the first questioned row.
    line : int
        Its line in ``extraction.csv``.
    column : str
        The column that is in question.
    message : str
        What is wrong, in one or two sentences.
    records : tuple of str
        Rows in question.
    against : tuple of str
        Rows that contradict them.
    says : tuple of Statement
        What each source says: the rows in question, then the others.
    severity : str
        One of :data:`SEVERITIES`.
    size : float or None
        Largest difference between the figures, in `unit`.
    unit : str
        ``points`` (percentage points), ``patients`` or ``months``; empty without a size.
    classification : str or None
        One of :data:`CLASSES` where a rule decides it.
    rule : str
        The rule that decided the classification, in words.
    evidence : tuple of str
        Further observations, in sentences.
    alternatives : tuple of Alternative
        What would be pooled if the questioned figures were taken.
    """

    id: str
    kind: str
    cohort_id: str
    outcome: str
    line: int
    column: str
    message: str
    records: tuple[str, ...]
    against: tuple[str, ...] = ()
    says: tuple[Statement, ...] = ()
    severity: str = "contradiction"
    size: float | None = None
    unit: str = ""
    classification: str | None = None
    rule: str = ""
    evidence: tuple[str, ...] = ()
    alternatives: tuple[Alternative, ...] = field(default=())

    def __str__(self) -> str:
        where = f"data/extraction.csv, row {self.line}, column {self.column}"
        return f"{where} ({self.cohort_id}, {self.outcome}): {self.message}"
