"""What other rows say about the figure of a row."""

from __future__ import annotations

from analysis.reconcile.discrepancy import Statement
from analysis.reconcile.record import Package, Record

__all__ = ["difference", "hints", "others", "says", "stated_elsewhere"]


def stated_elsewhere(package: Package, record: Record) -> list[Record]:
    """Other rows about the same outcome of the same cohort that are not themselves left out."""
    return [
        r
        for r in package.by_cohort[record.cohort_id]
        if r.outcome == record.outcome
        and r.record_id != record.record_id
        and r.status not in {"excluded", "infeasible"}
        and (r.share is not None or r.value is not None)
        and (r.months is None or record.months is None or r.months == record.months)
    ]


def others(package: Package, records: list[Record]) -> list[Record]:
    """For each row the rows in use for the same outcome, or else the first other ones."""
    found: list[Record] = []
    names = {r.record_id for r in records}
    for record in records:
        rows = [r for r in stated_elsewhere(package, record) if r.record_id not in names]
        used = [r for r in rows if r.status == "used"]
        found += [r for r in used or rows[:1] if r not in found]
    return found


# outcomes that a reader or a typesetter can take for one another
FAMILIES = (
    {"orr", "cr", "pr", "nodal_response", "marrow_response", "durable_response"},
    {"crs_any", "crs_severe", "ntx_any", "ntx_severe"},
)


def hints(package: Package, record: Record) -> list[str]:
    """Say where else the percentage of a row stands: for another outcome, or another cohort."""
    if record.percent is None or float(record.percent) in (0, 100):
        return []
    found = []
    family = next((f for f in FAMILIES if record.outcome in f), set())
    for r in package.by_cohort[record.cohort_id]:
        if r.outcome == record.outcome or r.outcome not in family or r.status != "used":
            continue
        same_count = record.counted and (r.events, r.total) == (record.events, record.total)
        if r.percent == record.percent or same_count:
            label = package.outcomes[r.outcome].lower()
            found.append(f"{record.percent}% is also the figure for {label}, in {r.report_id}.")
    for r in package.records:
        elsewhere = r.cohort_id != record.cohort_id and r.report_id == record.report_id
        if not elsewhere or (r.outcome, r.percent) != (record.outcome, record.percent):
            continue
        if r.status == "infeasible" or r.origin == "inferred":
            label = package.cohorts[r.cohort_id]["label"]
            found.append(f"The same report prints {r.percent}% for {label} too.")
    return list(dict.fromkeys(found))


def says(package: Package, records: list[Record]) -> tuple[Statement, ...]:
    several = len({r.outcome for r in records}) > 1
    return tuple(
        Statement.of(r, package.outcomes[r.outcome] + ":" if several else "")
        for r in dict.fromkeys(records)
    )


def difference(pairs: list[tuple[Record, Record]]) -> float | None:
    """Largest difference of the pairs, in percentage points."""
    sizes = [
        abs(a.share - b.share) for a, b in pairs if a.share is not None and b.share is not None
    ]
    return max(sizes, default=None)
