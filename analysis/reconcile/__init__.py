"""Is each figure of the sources possible, and do the sources agree?

Every rule takes the data package and yields what it finds; :func:`discrepancies` runs them all.
Nothing here is about particular trials: a new row of the extraction is held to the same rules.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.reconcile.arithmetic import (
    denominators,
    interval_methods,
    is_possible,
    nearest_count,
    possible_counts,
    readings,
)
from analysis.reconcile.between import (
    differences,
    misplaced,
    other_cohorts,
    readings_disputed,
    shared_patients,
)
from analysis.reconcile.discrepancy import (
    CLASSES,
    KINDS,
    SEVERITIES,
    Alternative,
    Discrepancy,
    Statement,
)
from analysis.reconcile.percentages import check_percentages, impossible, wrong_denominator
from analysis.reconcile.record import Package, Record
from analysis.reconcile.within import checked_intervals, intervals, orders, sums, times

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = [
    "CLASSES",
    "KINDS",
    "SEVERITIES",
    "Alternative",
    "Discrepancy",
    "Package",
    "Record",
    "Statement",
    "check_percentages",
    "checked_intervals",
    "denominators",
    "discrepancies",
    "interval_methods",
    "is_possible",
    "nearest_count",
    "possible_counts",
    "readings",
]

RULES = (
    other_cohorts,
    wrong_denominator,
    impossible,
    sums,
    orders,
    times,
    intervals,
    misplaced,
    differences,
    shared_patients,
)
# what explains other findings about the same rows, the strongest explanation first
EXPLAINS = ("other-cohort", "denominator")


def discrepancies(dataset: Dataset) -> tuple[Discrepancy, ...]:
    """Run every rule on a data set.

    A finding all of whose questioned rows are already questioned by a finding that explains them
    (the row belongs to another cohort, the denominator is another one) is told there, as evidence.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    tuple of Discrepancy
        By kind, then in the order of the file.
    """
    package = Package.of(dataset)
    found = [entry for rule in RULES for entry in rule(package)]
    # several rows may contradict one; the first of them is told
    found = _merged(list({entry.id: entry for entry in reversed(found)}.values())[::-1])
    found += readings_disputed(package, found)
    order = {kind: i for i, kind in enumerate(KINDS)}
    found.sort(key=lambda entry: (order[entry.kind], entry.line, entry.id))
    return tuple(found)


def _merged(found: list[Discrepancy]) -> list[Discrepancy]:
    """Tell the findings that another one explains as evidence of that one."""
    kept = list(found)
    for rank, kind in enumerate(EXPLAINS):
        for name in [entry.id for entry in kept if entry.kind == kind]:
            entry = next((e for e in kept if e.id == name), None)
            if entry is None:
                continue
            explained = [
                e
                for e in kept
                if set(e.records) <= set(entry.records)
                and e.kind not in EXPLAINS[: rank + 1]
                and _explained(e, by=kind)
            ]
            if not explained:
                continue
            told = [e.message for e in explained if e.kind != "impossible"]
            worst = min((entry, *explained), key=lambda e: list(SEVERITIES).index(e.severity))
            against = [*entry.against, *(other for e in explained for other in e.against)]
            merged = replace(
                entry,
                against=tuple(dict.fromkeys(against)),
                evidence=tuple(dict.fromkeys([*entry.evidence, *(f"Also: {t}." for t in told)])),
                severity=worst.severity,
            )
            gone = {e.id for e in explained}
            kept = [merged if e.id == name else e for e in kept if e.id not in gone]
    return kept


def _explained(entry: Discrepancy, by: str) -> bool:
    """Whether another cohort, or another denominator, is all there is to a finding."""
    if by == "other-cohort":
        return entry.kind != "misplaced"
    if entry.kind == "differs":
        return entry.classification == "denominator" or entry.unit == "patients" or not entry.size
    return entry.kind in {"impossible", "order"}
