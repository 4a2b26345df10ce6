"""Is each printed percentage possible, and for which number of patients?

A percentage of ``n`` patients is possible if some whole number of patients gives it at its printed
precision. Rounding half up is the convention that sources are held to, and half to even is let
pass; a percentage that only cutting off digits can explain counts as impossible and is said to be
cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.data import Finding
from analysis.reconcile.arithmetic import (
    denominators,
    is_possible,
    nearest_count,
    possible_counts,
    readings,
    rounds_to,
)
from analysis.reconcile.compare import difference, hints, others, says
from analysis.reconcile.discrepancy import Alternative, Discrepancy
from analysis.reconcile.record import Package, Record, possible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analysis.data import Dataset

__all__ = ["check_percentages", "impossible", "wrong_denominator"]

# where the count is worked out from the percentage, its denominator may be a reader's choice
WORKED_OUT = {"derived", "inferred", "stated"}
# with more patients than this nearly every percentage is possible and a search tells nothing
MANY = 2000


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
        message = None
        if row.status == "infeasible" and is_possible(printed, total):
            counts = possible_counts(printed, total)[:5]
            message = f"{printed}% of {total} is {_either(counts)} patients, so it is possible"
        elif row.status == "infeasible" or events is None:
            continue
        elif not rounds_to(events, total, printed, ("half-up",)):
            message = f"{events} of {total} is not {printed}%"
        if message is not None:
            # the header is line 1 and cells have no line breaks
            findings.append(Finding("extraction.csv", row.Index + 2, "percent", message))
    return findings


def impossible(package: Package) -> Iterator[Discrepancy]:
    """Find percentages that no count out of their own denominator gives."""
    for record in package.records:
        if record.percent is None or record.total is None or record.kind != "proportion":
            continue
        if not possible(record, record.total):
            yield _one_impossible(package, record, record.total)


def wrong_denominator(package: Package) -> Iterator[Discrepancy]:
    """Find sets of percentages that the number of patients stated beside them cannot produce.

    The set is what one row of a table or one paragraph prints about the infused, or about the
    evaluable patients of a cohort, without a denominator of its own. The stated number is the one
    in the same place. Where it cannot produce the set, the numbers that can are listed.
    """
    for cohort_id, records in package.by_cohort.items():
        places: dict[tuple[str, str], list[Record]] = {}
        for record in records:
            places.setdefault((record.report_id, record.block), []).append(record)
        for place in places.values():
            yield from _place(package, cohort_id, place)
        yield from _foreign_totals(package, cohort_id, places)


def _place(package: Package, cohort_id: str, place: list[Record]) -> Iterator[Discrepancy]:
    """Hold the percentages of one place to the number of patients stated there."""
    stated: dict[str, Record] = {}
    for r in place:
        if r.outcome in {"n_infused", "n_evaluable"} and r.size and r.status != "excluded":
            stated.setdefault(r.outcome, r)
    if not stated:
        return
    known = [r.value for r in package.by_cohort[cohort_id] if r.outcome == "n_enrolled"]
    known += [r.value for r in stated.values()]
    known += [package.size(cohort_id, name) for name in ("n_enrolled", "n_infused")]
    largest = int(max(value for value in known if value is not None))
    if largest > MANY:
        return
    twins = _twins(place)
    for group, names in (
        ("infused", ("n_infused",)),
        ("evaluable", ("n_evaluable", "n_infused")),
    ):
        number = next((stated[name] for name in names if name in stated), None)
        rows = [
            r
            for r in place
            if r.clinical and r.percent is not None and twins.get(r, r).denominator == group
        ]
        members = [r for r in rows if r.origin in WORKED_OUT and r.status != "excluded"]
        if number is None or not members:
            continue
        n = number.size
        assert n is not None
        printed = {r.total for r in rows if r.origin not in WORKED_OUT}
        failing = [
            r for r in members if not possible(r, n) and (r.total == n or r.total not in printed)
        ]
        if not failing:
            continue
        if {r.total for r in failing} == {n} and len({r.percent for r in failing}) == 1:
            fitting = denominators({str(r.percent) for r in members}, (n + 1) // 2, largest)
            if not fitting or len({r.percent for r in members}) == 1:
                continue  # one figure is wrong, not the denominator: see `impossible`
        counted = [r for r in rows if r.origin not in WORKED_OUT]
        yield _wrong_set(package, number, members, failing, counted, largest)


def _twins(place: list[Record]) -> dict[Record, Record]:
    """Rows that hold a percentage as printed, and the row that holds the same one worked out."""
    return {
        r: other
        for r in place
        for other in place
        if r.status == "infeasible"
        and other.status != "infeasible"
        and r.percent is not None
        and (r.outcome, r.percent, r.months) == (other.outcome, other.percent, other.months)
    }


def _wrong_set(
    package: Package,
    number: Record,
    members: list[Record],
    failing: list[Record],
    counted: list[Record],
    largest: int,
) -> Discrepancy:
    n = number.size or 1
    # fewer than half of the patients stated would not be called by their number
    low = (n + 1) // 2
    tested: list[Record] = members
    fitting: tuple[int, ...] = ()
    cut = False
    for tested in (members, failing):
        printed = sorted({str(r.percent) for r in tested})
        fitting = denominators(printed, low, largest)
        if fitting:
            break
    evidence = []
    said = f"from {low} to {largest}"
    if fitting:
        evidence.append(
            f"Of the numbers {said} only {_either(fitting)} can produce {_percentages(tested)}."
        )
        both = tuple(
            total
            for total in fitting
            if all(
                r.events is not None and rounds_to(r.events, total, str(r.percent)) for r in counted
            )
        )
        if counted and both and len(both) < len(fitting):
            pairs = " and ".join(f"{r.events} ({r.percent}%)" for r in counted)
            evidence.append(f"With the counts printed beside them, {pairs}, only {_either(both)}.")
            fitting = both
    elif truncated := denominators(printed, low, largest, "truncated"):
        evidence.append(
            f"No number {said} gives {_percentages(tested)} by rounding; cut off instead of "
            f"rounded, {_either(truncated)} gives them."
        )
        cut = True
    else:
        evidence.append(f"No number {said} gives {_percentages(members)}.")
    own = package.size(number.cohort_id, number.outcome)
    evidence += [hint for record in failing for hint in hints(package, record)]
    elsewhere = others(package, failing)
    first = min(failing, key=lambda r: r.line)
    questioned = [*failing, *(r for r in members if r not in failing and r.total != n)]
    if own is not None and own != n:
        questioned.append(number)
    return Discrepancy(
        id=f"denominator:{first.record_id}",
        kind="denominator",
        cohort_id=first.cohort_id,
        outcome=first.outcome,
        line=first.line,
        column="percent",
        message=f"{_percentages(failing)} cannot be of the {n} patients stated in the same place",
        records=tuple(r.record_id for r in questioned),
        against=tuple(r.record_id for r in elsewhere),
        says=says(package, [*failing, number, *elsewhere]),
        severity="impossible",
        size=float(abs(n - fitting[0])) if len(fitting) == 1 else None,
        unit="patients" if len(fitting) == 1 else "",
        classification="denominator" if fitting or cut else None,
        rule="another number of patients gives every percentage" + ", cut off" * cut
        if fitting or cut
        else "",
        evidence=tuple(dict.fromkeys(evidence)),
        alternatives=tuple(
            dict.fromkeys(
                Alternative(
                    r.cohort_id,
                    r.outcome,
                    nearest_count(str(r.percent), n),
                    n,
                    f"{r.percent}% of {n}, to the nearest patient",
                )
                for r in members
                if r in questioned
            )
        ),
    )


def _foreign_totals(
    package: Package, cohort_id: str, places: dict[tuple[str, str], list[Record]]
) -> Iterator[Discrepancy]:
    """Find counts out of a number of patients that is not that of the cohort, or of their row."""
    own = {name: package.size(cohort_id, f"n_{name}") for name in ("infused", "evaluable")}
    for place in places.values():
        numbers = [r for r in place if r.outcome in {"n_infused", "n_evaluable", "n_enrolled"}]
        largest = max((int(v) for r in numbers for v in (r.value, r.total) if v), default=None)
        wrong: dict[int, list[Record]] = {}
        for r in place:
            if not r.clinical or r.total is None or r.status == "infeasible":
                continue
            if r.denominator not in {"infused", "evaluable"}:
                continue
            if largest is not None and r.total > largest:
                wrong.setdefault(r.total, []).append(r)
            elif r.status == "excluded" or r.outcome.endswith(("_in_cr", "_in_pr")):
                continue
            elif r.total != (own.get(r.denominator) or r.total):
                wrong.setdefault(r.total, []).append(r)
        for total, rows in wrong.items():
            yield _foreign_total(package, total, rows, numbers)


def _foreign_total(
    package: Package, total: int, rows: list[Record], numbers: list[Record]
) -> Discrepancy:
    first = rows[0]
    cohort = package.cohorts[first.cohort_id]
    beside = [r for r in numbers if r.value is not None and r.value < total]
    expected = cohort["n_infused" if first.denominator == "infused" else "n_evaluable"]
    if beside:
        expected = int(beside[0].value or 0)
        message = f"{first.figure} stands in a row about {expected} patients of this cohort"
    else:
        sizes = ", ".join(
            f"{cohort[name]} {name.removeprefix('n_')}"
            for name in ("n_infused", "n_evaluable")
            if cohort[name] is not None
        )
        message = f"{first.figure} is out of {total} patients, but the cohort has {sizes}"
    matching = [r for r in numbers if r.value == total and not beside]
    alternatives = []
    for r in rows:
        own = cohort["n_infused" if r.denominator == "infused" else "n_evaluable"]
        if r.status == "used" and own and r.percent is not None:
            how = f"{r.percent}% of {own}, to the nearest patient"
            count = nearest_count(r.percent, own)
            alternatives.append(Alternative(r.cohort_id, r.outcome, count, own, how))
        elif r.counted and r.status != "used":
            assert r.events is not None and r.total is not None
            alternatives.append(Alternative(r.cohort_id, r.outcome, r.events, r.total))
    elsewhere = others(package, rows)
    if beside:
        # a source that gives the same count for all diseases
        elsewhere += [
            r
            for r in package.by_cohort[first.cohort_id]
            if r.outcome == first.outcome
            and r.report_id != first.report_id
            and (r.events, r.total) == (first.events, first.total)
        ]
    records = [*rows, *matching]
    return Discrepancy(
        id=f"denominator:{first.record_id}.of-{total}",
        kind="denominator",
        cohort_id=first.cohort_id,
        outcome=first.outcome,
        line=first.line,
        column="total",
        message=message,
        records=tuple(r.record_id for r in records),
        against=tuple(r.record_id for r in [*beside, *elsewhere]),
        says=says(package, [*records, *beside, *elsewhere]),
        size=float(abs(total - expected)) if expected is not None else None,
        unit="patients" if expected is not None else "",
        classification="cohort" if beside else "denominator",
        rule="more patients than the row is about"
        if beside
        else "the denominator is not the cohort's",
        evidence=tuple(h for r in rows for h in hints(package, r)),
        alternatives=() if beside else tuple(alternatives),
    )


def _one_impossible(package: Package, record: Record, total: int) -> Discrepancy:
    assert record.percent is not None
    counts = readings(record.percent, total)
    near = nearest_count(record.percent, total)
    cut = counts["truncated"]
    message = f"no count of {total} gives {record.percent}%"
    evidence = []
    if cut:
        evidence.append(
            f"{_either(cut)} of {total} is {_share(cut[0], total)}%, which gives "
            f"{record.percent}% only if digits are cut off instead of rounded."
        )
    else:
        around = sorted({max(near - 1, 0), near, min(near + 1, total)})
        evidence.append(
            "The nearest counts are "
            + ", ".join(f"{c} ({_share(c, total)}%)" for c in around)
            + f" of {total}."
        )
    evidence += hints(package, record)
    elsewhere = others(package, [record])
    return Discrepancy(
        id=f"impossible:{record.record_id}",
        kind="impossible",
        cohort_id=record.cohort_id,
        outcome=record.outcome,
        line=record.line,
        column="percent",
        message=message,
        records=(record.record_id,),
        against=tuple(r.record_id for r in elsewhere),
        says=says(package, [record, *elsewhere]),
        severity="impossible",
        size=difference([(record, o) for o in elsewhere if o.outcome == record.outcome]),
        unit="points",
        classification="misprint" if cut else None,
        rule="cut off, not rounded" if cut else "",
        evidence=tuple(dict.fromkeys(evidence)),
        alternatives=(
            ()
            if record.status == "excluded"
            else (
                Alternative(
                    record.cohort_id,
                    record.outcome,
                    near,
                    total,
                    f"{record.percent}% of {total}, to the nearest patient",
                ),
            )
        ),
    )


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.2f}".rstrip("0").rstrip(".")


def _percentages(records: list[Record]) -> str:
    texts = [f"{text}%" for text in dict.fromkeys(str(r.percent) for r in records)]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _either(counts: tuple[int, ...]) -> str:
    texts = [str(count) for count in counts]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"
