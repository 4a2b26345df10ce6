"""Small helpers that several checks share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.claims.figures import Figure, rows_of

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = ["cohort_names", "outcome_label", "share", "used", "wilson_limits"]


def used(dataset: Dataset, report: str, cohort: str, outcome: str) -> Figure | None:
    """The count in use of a cohort, or None."""
    rows = [
        row
        for row in rows_of(dataset, (cohort,), outcome, report)
        if row.status == "used" and row.events is not None and row.total is not None
    ]
    return rows[0] if rows else None


def share(row: Figure) -> tuple[int, int]:
    """Return events and total of a row that has both."""
    assert row.events is not None and row.total is not None
    return row.events, row.total


def cohort_names(dataset: Dataset) -> dict[str, str]:
    """Map each cohort to its name for readers."""
    return {str(row.cohort_id): str(row.label) for row in dataset.cohorts.itertuples(index=False)}


def outcome_label(dataset: Dataset, outcome: str) -> str:
    """Return the name of an outcome for readers.

    Raises
    ------
    ValueError
        If there is no such outcome.
    """
    labels = dataset.outcomes.set_index("outcome_id")["label"]
    if outcome not in labels.index:
        raise ValueError(f"there is no outcome {outcome!r}")
    return str(labels[outcome])


def wilson_limits(events: int, total: int) -> tuple[float, float]:
    """Return the 95% Wilson limits of a proportion."""
    from analysis.pooling import wilson

    low, high = wilson(events, total)
    return float(low), float(high)
