"""The findings about the sources, each with its resolution and what it does to the pooled results.

Findings are computed (:mod:`analysis.reconcile`); resolutions are data (``resolutions.csv``). For
each finding the main estimates are pooled once more with the figure that the book does not use.
``data/conflicts.csv`` pins the result; it is generated and never edited by hand.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.data import DATA_DIR, Finding
from analysis.estimands import PRIMARY, estimands, evidence, pooled
from analysis.reconcile import Alternative, Discrepancy, Package, Record, discrepancies

if TYPE_CHECKING:
    import pandas as pd

    from analysis.data import Dataset
    from analysis.estimands import Estimand, Evidence
    from analysis.pooling import Fit

__all__ = [
    "FILE",
    "RESOLUTIONS",
    "Conflict",
    "Effect",
    "compare",
    "conflicts",
    "resolved",
    "to_csv",
    "unmatched",
    "write",
]

FILE = "conflicts.csv"
RESOLUTIONS = {
    "primary-source": "the trial's own report, or one closer to it, is used",
    "count": "a printed count is used instead of a percentage",
    "reconstructed": "a count or denominator worked out by arithmetic is used",
    "kept-apart": "both can hold, for different patients, times or methods; they are not mixed",
    "sensitivity": "undecided: one is used, the other is another reading of the data",
    "left-out": "the figure is not used",
    "noted": "nothing to change",
}
"""What the book does about a finding."""


@dataclass(frozen=True)
class Effect:
    """A pooled estimate with the figure in use and with the alternative.

    Attributes
    ----------
    estimand_id : str
    alternative : Alternative
        The count that stands in.
    used : str
        The count in use, ``"41/87"``; empty where none is.
    fit, other : Fit
        Main model, with the figure in use and with the alternative.
    """

    estimand_id: str
    alternative: Alternative
    used: str
    fit: Fit
    other: Fit

    @property
    def change(self) -> float | None:
        """Change of the pooled estimate in percentage points; None where one is not pooled."""
        if self.fit.estimate is None or self.other.estimate is None:
            return None
        return 100 * (self.other.estimate - self.fit.estimate)


@dataclass(frozen=True)
class Conflict:
    """A finding with what the book does about it.

    Attributes
    ----------
    finding : Discrepancy
    resolution : str or None
        One of :data:`RESOLUTIONS`; None where the finding is open.
    reason : str
        Why; empty where the finding is open.
    classification : str or None
        What the discrepancy comes from: by rule, or else by the resolution.
    classified_by : str
        ``rule``, ``resolution`` or empty.
    used : tuple of str
        The figures in use for the outcomes in question, in words.
    effects : tuple of Effect
        On the estimands in which the cohort is pooled; empty where it is in none, or where the
        finding offers no other count.
    """

    finding: Discrepancy
    resolution: str | None
    reason: str
    classification: str | None
    classified_by: str
    used: tuple[str, ...]
    effects: tuple[Effect, ...]

    @property
    def open(self) -> bool:
        """Whether no resolution is on record."""
        return self.resolution is None

    @property
    def largest(self) -> float | None:
        """Largest change of a pooled estimate in percentage points, with its sign."""
        changes = [effect.change for effect in self.effects if effect.change is not None]
        return max(changes, key=abs, default=None)


def resolved(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Resolutions on record by the id of their finding, None for an empty cell."""
    frame = dataset.resolutions
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return {row["finding_id"]: row for row in rows}


def unmatched(dataset: Dataset, found: tuple[Discrepancy, ...]) -> list[Finding]:
    """Name the resolutions whose finding is no longer there."""
    ids = {entry.id for entry in found}
    message = "no finding has this id any more; the resolution can be deleted"
    return [
        # the header is line 1 and cells have no line breaks
        Finding("resolutions.csv", i + 2, "finding_id", message)
        for i, name in enumerate(dataset.resolutions["finding_id"])
        if name not in ids
    ]


def conflicts(dataset: Dataset) -> tuple[Conflict, ...]:
    """Compute every finding with its resolution and its effect on the pooled estimates.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    tuple of Conflict
        In the order of :func:`analysis.reconcile.discrepancies`.
    """
    return tuple(_conflicts(dataset))


def _conflicts(dataset: Dataset) -> Iterator[Conflict]:
    package = Package.of(dataset)
    resolutions = resolved(dataset)
    pooler = _Pooler(dataset)
    for finding in discrepancies(dataset):
        resolution = resolutions.get(finding.id, {})
        by_hand = resolution.get("classification")
        classification = by_hand or finding.classification
        yield Conflict(
            finding=finding,
            resolution=resolution.get("resolution"),
            reason=resolution.get("reason") or "",
            classification=classification,
            classified_by="resolution" if by_hand else "rule" if classification else "",
            used=_used(package, finding),
            effects=tuple(pooler.effects(finding)),
        )


def _used(package: Package, finding: Discrepancy) -> tuple[str, ...]:
    """Tell what the book uses for each outcome in question."""
    by_id = {r.record_id: r for r in package.records}
    rows = [by_id[name] for name in finding.records]
    keys = list(dict.fromkeys((r.cohort_id, r.outcome) for r in rows))
    told = []
    for key in keys:
        used = package.used.get(key, [])
        # survival has one row in use per time point
        months = {r.months for r in rows if (r.cohort_id, r.outcome) == key}
        used = [u for u in used if len(used) == 1 or u.months in months]
        name = f"{package.outcomes[key[1]]}: " if len(keys) > 1 else ""
        told.append(name + ("; ".join(_figure(u) for u in used) or "none"))
    return tuple(told)


def _figure(record: Record) -> str:
    return f"{record.figure} ({record.report_id})"


class _Pooler:
    """Pools estimands with a figure changed, each set of counts once."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.cohorts = Package.of(dataset).cohorts
        self.targets = estimands(comparators=True)
        self.main: dict[str, Evidence] = {}
        self.fits: dict[tuple, Fit | None] = {}

    def effects(self, finding: Discrepancy) -> Iterator[Effect]:
        seen = set()
        for alternative in finding.alternatives:
            for target in self.targets:
                if target.outcome != alternative.outcome or not self._inside(target, alternative):
                    continue
                effect = self._effect(target, alternative, finding)
                if effect and (target.id, alternative.events, alternative.total) not in seen:
                    seen.add((target.id, alternative.events, alternative.total))
                    yield effect

    def _inside(self, target: Estimand, alternative: Alternative) -> bool:
        cells = self.cohorts[alternative.cohort_id]
        return all(cells[column] == value for column, value in target.where.items())

    def _effect(
        self, target: Estimand, alternative: Alternative, finding: Discrepancy
    ) -> Effect | None:
        if target.id not in self.main:
            self.main[target.id] = evidence(self.dataset, target)
        main = self.main[target.id]
        changed = replace(
            self.dataset, extraction=_substituted(self.dataset.extraction, alternative, finding)
        )
        other = evidence(changed, target)
        cohorts = set(main.rows["cohort_id"]) | set(other.rows["cohort_id"])
        if alternative.cohort_id not in cohorts or _counts(main) == _counts(other):
            return None
        fit, again = self._pool(main), self._pool(other)
        if fit is None or again is None:
            return None
        row = main.rows[main.rows["cohort_id"] == alternative.cohort_id]
        used = "" if row.empty else f"{int(row['events'].iloc[0])}/{int(row['total'].iloc[0])}"
        return Effect(target.id, alternative, used, fit, again)

    def _pool(self, found: Evidence) -> Fit | None:
        key = _counts(found)
        if key not in self.fits:
            self.fits[key] = _pooled(found) if len(key) > 1 else pooled(found)
        return self.fits[key]


def _pooled(found: Evidence) -> Fit:
    """Pool by the main analysis as one of a batch, which is quicker where hundreds are wanted."""
    from analysis.pooling import pool_many

    rows = found.rows
    return pool_many(rows[["events"]].T.to_numpy(int), rows["total"].to_numpy(int), **PRIMARY).fit(
        0
    )


def _counts(found: Evidence) -> tuple:
    rows = found.rows
    return tuple(zip(rows["cohort_id"], rows["events"], rows["total"], strict=True))


def _substituted(
    extraction: pd.DataFrame, alternative: Alternative, finding: Discrepancy
) -> pd.DataFrame:
    """Put the alternative count in place of the one in use, or beside it where there is none."""
    table = extraction.copy()
    place = (table["cohort_id"] == alternative.cohort_id) & (
        table["outcome"] == alternative.outcome
    )
    used = place & (table["status"] == "used")
    if not used.any():
        # the questioned row itself, or any other one about the outcome, becomes the one in use
        rows = table.index[place & table["record_id"].isin(finding.records)]
        used = table.index == (rows if len(rows) else table.index[place])[0]
        table.loc[used, "status"] = "used"
    table.loc[used, "events"] = alternative.events
    table.loc[used, "total"] = alternative.total
    return table


def to_csv(found: tuple[Conflict, ...]) -> str:
    """Write findings as CSV text, one row each; several values in a cell are joined by ``"; "``."""
    out = io.StringIO()
    rows = [_row(entry) for entry in found]
    writer = csv.DictWriter(out, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


COLUMNS = {
    "finding_id": "Permanent name of the finding.",
    "kind": "Kind of finding.",
    "severity": "How much is wrong.",
    "classification": "What it comes from.",
    "classified_by": "rule or resolution.",
    "status": "resolved or open.",
    "cohort_id": "Whom it is about.",
    "outcome": "Outcome of the first row in question.",
    "records": "Rows of extraction.csv in question.",
    "against": "Rows that contradict them.",
    "finding": "What is wrong.",
    "evidence": "Further observations.",
    "sources": "What each source says.",
    "size": "Largest difference between the figures.",
    "unit": "Unit of size.",
    "used": "What the book uses.",
    "resolution": "What the book does.",
    "reason": "Why.",
    "estimands": "Estimands that the other figure would change.",
    "alternative": "The other count, for each of them.",
    "estimate": "Pooled estimate in use.",
    "estimate_alternative": "Pooled estimate with the other count.",
    "largest_change": "Largest change of a pooled estimate, in percentage points.",
}
"""Columns of ``conflicts.csv`` and their meaning."""


def _row(entry: Conflict) -> dict[str, str]:
    finding, effects = entry.finding, entry.effects
    return {
        "finding_id": finding.id,
        "kind": finding.kind,
        "severity": finding.severity,
        "classification": entry.classification or "",
        "classified_by": entry.classified_by,
        "status": "open" if entry.open else "resolved",
        "cohort_id": finding.cohort_id,
        "outcome": finding.outcome,
        "records": "; ".join(finding.records),
        "against": "; ".join(finding.against),
        "finding": finding.message,
        "evidence": " ".join(finding.evidence),
        "sources": "; ".join(f"{s.report_id}: {s.figure}" for s in finding.says),
        "size": "" if finding.size is None else f"{finding.size:.4g}",
        "unit": finding.unit if finding.size is not None else "",
        "used": "; ".join(entry.used),
        "resolution": entry.resolution or "",
        "reason": entry.reason,
        "estimands": "; ".join(e.estimand_id for e in effects),
        "alternative": "; ".join(f"{e.alternative.events}/{e.alternative.total}" for e in effects),
        "estimate": "; ".join(_estimate(e.fit) for e in effects),
        "estimate_alternative": "; ".join(_estimate(e.other) for e in effects),
        "largest_change": "" if entry.largest is None else f"{round(entry.largest, 1) + 0.0:.1f}",
    }


def _estimate(fit: Fit) -> str:
    # four decimals: the last bits of another machine's arithmetic do not show
    return "not pooled" if fit.estimate is None else f"{fit.estimate:.4f}"


def write(found: tuple[Conflict, ...], directory: Path = DATA_DIR) -> Path:
    """Pin the findings in ``conflicts.csv`` and return its path."""
    path = directory / FILE
    path.write_text(to_csv(found), encoding="utf-8", newline="\n")
    return path


def compare(found: tuple[Conflict, ...], directory: Path = DATA_DIR) -> list[str]:
    """Compare findings with the pinned ones.

    Returns
    -------
    list of str
        One line per difference; empty if there is none.
    """
    try:
        text = (directory / FILE).read_text(encoding="utf-8")
        pinned = {row["finding_id"]: row for row in csv.DictReader(io.StringIO(text))}
    except FileNotFoundError:
        return [f"data/{FILE}: the file is missing; write it with: conflicts --write"]
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        return [f"data/{FILE} cannot be read ({error!r}); write it with: conflicts --write"]
    lines = []
    for entry in found:
        new = _row(entry)
        old = pinned.pop(entry.finding.id, None)
        if old is None:
            lines.append(f"{entry.finding.id}: found, but not pinned")
            continue
        lines += [
            f"{entry.finding.id}, {name}: {old.get(name) or 'none'} is now {value or 'none'}"
            for name, value in new.items()
            if value != old.get(name)
        ]
    lines += [f"{name}: pinned, but no longer found" for name in pinned]
    if not lines and text != to_csv(found):
        lines.append(f"data/{FILE}: differs in order or layout; write it with: conflicts --write")
    return lines
