"""Do two sources, or two places of one source, tell the same figure in the same way?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.reconcile.arithmetic import nearest_count, rounds_to
from analysis.reconcile.compare import difference, hints, says
from analysis.reconcile.discrepancy import Alternative, Discrepancy
from analysis.reconcile.record import Package, Record, agree, same_percentage

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["differences", "misplaced", "other_cohorts", "readings_disputed", "shared_patients"]


def differences(package: Package) -> Iterator[Discrepancy]:
    """Find figures of one outcome of one cohort that differ from the figure in use.

    Rows of the same time point, or of none, are compared. Equal figures at different precision
    agree. Rows that are left out as impossible or as about other patients are not compared;
    those that give context only if they have the same denominator as the figure in use.
    """
    for cohort_id, records in package.by_cohort.items():
        for outcome in dict.fromkeys(r.outcome for r in records):
            rows = [r for r in records if r.outcome == outcome]
            used = package.used.get((cohort_id, outcome), [])
            yield from _two_bases(package, rows)
            groups: dict[tuple, list[Record]] = {}
            for r in rows:
                reference = _reference(r, used)
                if reference is None or agree(r, reference):
                    continue
                key = (reference.record_id, r.events, r.total, r.percent, r.value)
                groups.setdefault(key, []).append(r)
            for (name, *_), differing in groups.items():
                reference = next(u for u in used if u.record_id == name)
                yield _difference(package, differing, reference)


def _reference(record: Record, used: list[Record]) -> Record | None:
    """The row in use that a row is to be compared with, None if with none."""
    if record.status not in {"superseded", "disputed", "context"} or record.kind == "attribute":
        return None
    if record.share is None and record.value is None:
        return None
    for u in used:
        if u.months is not None and record.months is not None and u.months != record.months:
            continue
        if record.status == "context" and not (
            record.clinical and record.counted and record.total == u.total
        ):
            continue
        return u
    return None


def _difference(package: Package, rows: list[Record], used: Record) -> Discrepancy:
    first = rows[0]
    named = next((r for r in rows if r.criteria), first)
    classification, rule = _classify(package, named, used)
    evidence = [h for r in rows for h in hints(package, r)]
    if classification == "scale" and _earlier(package, first):
        evidence.append(
            f"{first.report_id} ({first.year}) is also earlier than the trial's own report."
        )
    size, unit = difference([(first, used)]), "points"
    if size is None:
        size, unit = abs((first.value or 0) - (used.value or 0)), first.unit or ""
    message = f"{named.report_id} has {_short(named)}, {used.report_id} has {_short(used)}"
    if first.report_id == used.report_id:
        message = f"{first.report_id} has {_short(first)} in one place, {_short(used)} in another"
    alternatives: tuple[Alternative, ...] = ()
    if first.counted:
        assert first.events is not None and first.total is not None
        alternatives = (Alternative(first.cohort_id, first.outcome, first.events, first.total),)
    elif first.percent is not None and used.total is not None:
        how = f"{first.percent}% of the {used.total} patients of the row in use"
        count = nearest_count(first.percent, used.total)
        alternatives = (Alternative(first.cohort_id, first.outcome, count, used.total, how),)
    return Discrepancy(
        id=f"differs:{first.record_id}",
        kind="differs",
        cohort_id=first.cohort_id,
        outcome=first.outcome,
        line=first.line,
        column="value"
        if first.value is not None and not first.counted
        else "percent"
        if not first.counted
        else "events",
        message=message,
        records=tuple(r.record_id for r in rows),
        against=(used.record_id,),
        says=says(package, [*rows, used]),
        severity="remark" if classification in {"scale", "cut-off"} else "contradiction",
        size=size,
        unit=unit,
        classification=classification,
        rule=rule,
        evidence=tuple(dict.fromkeys(evidence)),
        alternatives=alternatives,
    )


def _classify(package: Package, record: Record, used: Record) -> tuple[str | None, str]:
    """Say what a difference comes from, where a rule can: the class, and the rule in words."""
    if record.criteria and used.criteria and record.criteria != used.criteria:
        return "scale", f"{record.criteria} against {used.criteria}"
    if record.months != used.months and (record.months or 0) > 3:
        return "cut-off", f"{record.months:g} months against a time point not stated"
    if _earlier(package, record):
        return "cut-off", "the report is earlier than the trial's own"
    for r in package.by_cohort[record.cohort_id]:
        part = r.status in {"context", "excluded"} and r.outcome == record.outcome and r.value_text
        if part and not record.counted and r.months == record.months and agree(r, record):
            return "cohort", f"{r.report_id} has the figure for another group: {r.value_text}"
    if record.counted and used.counted and record.total != used.total and _near(record, used):
        return "denominator", f"the same percentage, of {record.total} and of {used.total}"
    if record.percent is not None and used.counted and not record.counted:
        assert used.events is not None and used.total is not None
        if rounds_to(used.events, used.total, record.percent, ("truncated",)):
            return "misprint", "cut off, not rounded"
    if record.kind == "count" and record.value is not None and used.value is not None:
        a, b = f"{record.value:g}", f"{used.value:g}"
        if len(a) == len(b) > 2 and sum(x != y for x, y in zip(a, b, strict=True)) == 1:
            return "misprint", "one digit differs"
    return None, ""


def _earlier(package: Package, record: Record) -> bool:
    year = package.cohorts[record.cohort_id]["year"]
    return record.year is not None and year is not None and record.year < year


def _near(a: Record, b: Record) -> bool:
    assert a.share is not None and b.share is not None
    return same_percentage(a, b) or abs(a.share - b.share) < 0.5


def _two_bases(package: Package, rows: list[Record]) -> Iterator[Discrepancy]:
    """One document gives one percentage with a denominator here and without it there."""
    for with_total in rows:
        if with_total.status != "disputed" or with_total.total is None:
            continue
        for without in rows:
            if (
                without.report_id == with_total.report_id
                and without.status == "context"
                and without.total is None
                and without.percent is not None
                and without.percent == with_total.percent
            ):
                yield Discrepancy(
                    id=f"denominator:{with_total.record_id}.two-bases",
                    kind="denominator",
                    cohort_id=with_total.cohort_id,
                    outcome=with_total.outcome,
                    line=with_total.line,
                    column="total",
                    message=f"{with_total.percent}% of {with_total.total} in one place, "
                    f"{without.percent}% of an unstated number in another",
                    records=(with_total.record_id,),
                    against=(without.record_id,),
                    says=says(package, [with_total, without]),
                    classification="denominator",
                    rule="one percentage, two groups of patients",
                )


def other_cohorts(package: Package) -> Iterator[Discrepancy]:
    """Find rows of a table that repeat the figures of another cohort.

    At least three figures of the row must be those in use for another cohort of the same trial or
    with shared patients, more than are its own, and at least two must contradict its own.
    """
    for cohort_id, records in package.by_cohort.items():
        places: dict[tuple[str, str], list[Record]] = {}
        for r in records:
            if r.status != "excluded" and (r.clinical or r.outcome == "n_infused"):
                places.setdefault((r.report_id, r.block), []).append(r)
        for place in places.values():
            own = [r for r in place if _found(package, r, cohort_id, same=True)]
            against = [r for r in place if _found(package, r, cohort_id, same=False)]
            best: list[tuple[Record, Record]] = []
            other_id = ""
            for name in sorted(package.overlapping(cohort_id)):
                pairs = [(r, m) for r in place if (m := _found(package, r, name, same=True))]
                if len(pairs) > len(best):
                    best, other_id = pairs, name
            if len(best) >= 3 and len(best) > len(own) and len(against) >= 2:
                yield _other_cohort(package, best, other_id, place)


def _found(package: Package, record: Record, cohort_id: str, *, same: bool) -> Record | None:
    """A row in use of a cohort, from another place, that gives the same figure, or another one."""
    for u in package.used.get((cohort_id, record.outcome), []):
        if (u.report_id, u.block) == (record.report_id, record.block):
            continue
        if record.share is not None and u.share is not None:
            equal = same_percentage(record, u)
        elif record.value is not None and u.value is not None:
            equal = record.value == u.value
        else:
            continue
        if equal == same:
            return u
    return None


def _other_cohort(
    package: Package, pairs: list[tuple[Record, Record]], other_id: str, place: list[Record]
) -> Discrepancy:
    rows = [r for r, _ in pairs]
    first = rows[0]
    own, other = (package.cohorts[name]["label"] for name in (first.cohort_id, other_id))
    number = next((r.size for r in rows if r.outcome == "n_infused" and r.size), None)
    alternatives = []
    for r in place:
        total = r.total or number
        if not r.clinical or total is None:
            continue
        if r.counted:
            assert r.events is not None
            alternatives.append(Alternative(r.cohort_id, r.outcome, r.events, total))
        elif r.percent is not None:
            how = f"{r.percent}% of {total}, to the nearest patient"
            count = nearest_count(r.percent, total)
            alternatives.append(Alternative(r.cohort_id, r.outcome, count, total, how))
    return Discrepancy(
        id=f"other-cohort:{first.record_id}",
        kind="other-cohort",
        cohort_id=first.cohort_id,
        outcome=first.outcome,
        line=first.line,
        column="cohort_id",
        message=f"{len(rows)} figures of the row about {own} are those of {other}",
        records=tuple(r.record_id for r in rows),
        against=tuple(m.record_id for _, m in pairs),
        says=says(package, [*rows, *(m for _, m in pairs)]),
        size=difference(
            [
                (r, u)
                for r in rows
                for u in package.used.get((r.cohort_id, r.outcome), [])
                if r.clinical
            ]
        ),
        unit="points",
        classification="cohort",
        rule="more figures agree with another cohort than with its own",
        alternatives=tuple(alternatives),
    )


def misplaced(package: Package) -> Iterator[Discrepancy]:
    """Find figures without a second source that another source gives for another outcome."""
    for cohort_id, records in package.by_cohort.items():
        for r in records:
            if r.status != "disputed" or r.percent is None or not r.clinical:
                continue
            if (cohort_id, r.outcome) in package.used or float(r.percent) in (0, 100):
                continue
            for u in records:
                if (
                    u.status == "used"
                    and u.clinical
                    and u.outcome != r.outcome
                    and u.report_id != r.report_id
                    and same_percentage(u, r)
                ):
                    yield Discrepancy(
                        id=f"misplaced:{r.record_id}",
                        kind="misplaced",
                        cohort_id=cohort_id,
                        outcome=r.outcome,
                        line=r.line,
                        column="outcome",
                        message=f"{r.percent}% for {package.outcomes[r.outcome].lower()} is, in "
                        f"{u.report_id}, the figure for {package.outcomes[u.outcome].lower()}",
                        records=(r.record_id,),
                        against=(u.record_id,),
                        says=says(package, [r, u]),
                        alternatives=(
                            (Alternative(cohort_id, r.outcome, r.events, r.total),)
                            if r.events is not None and r.total is not None
                            else ()
                        ),
                    )
                    break


def shared_patients(package: Package) -> Iterator[Discrepancy]:
    """Find cohorts whose numbers contradict, or prove, that they share patients.

    A subset cannot have more patients with an outcome, or more without it, than the whole. Where
    earlier reports of a trial together have more patients than a later one, some patients are in
    several; where they have fewer responders than it, a response must have changed.
    """
    for a, b, kind in package.overlaps:
        if kind == "subset":
            yield from _subset(package, a, b)
    trials: dict[str, list[str]] = {}
    for name, cells in package.cohorts.items():
        trials.setdefault(str(cells["trial_id"]), []).append(name)
    same = {frozenset((a, b)) for a, b, kind in package.overlaps if kind == "same-trial"}
    for members in trials.values():
        for later in members:
            year = package.cohorts[later]["year"]
            earlier = [
                m
                for m in members
                if frozenset((m, later)) in same
                and year is not None
                and (package.cohorts[m]["year"] or year) < year
            ]
            if len(earlier) > 1:
                yield from _later(package, later, earlier)


def _subset(package: Package, part: str, whole: str) -> Iterator[Discrepancy]:
    for (cohort_id, outcome), rows in package.used.items():
        if cohort_id != part:
            continue
        for r in rows:
            for w in package.used.get((whole, outcome), []):
                if not (r.clinical and r.counted and w.counted) or "subgroup" in (
                    r.denominator,
                    w.denominator,
                ):
                    continue
                assert r.events is not None and r.total is not None
                assert w.events is not None and w.total is not None
                without = (r.total - r.events, w.total - w.events)
                if r.events <= w.events and without[0] <= without[1]:
                    continue
                yield Discrepancy(
                    id=f"shared-patients:{r.record_id}",
                    kind="shared-patients",
                    cohort_id=part,
                    outcome=outcome,
                    line=r.line,
                    column="events",
                    message=f"{r.figure} cannot be among {w.figure} of "
                    f"{package.cohorts[whole]['label']}",
                    records=(r.record_id,),
                    against=(w.record_id,),
                    says=says(package, [r, w]),
                    size=float(max(r.events - w.events, without[0] - without[1])),
                    unit="patients",
                )


def _later(package: Package, later: str, earlier: list[str]) -> Iterator[Discrepancy]:
    numbers = [package.used.get((name, "n_infused"), []) for name in (*earlier, later)]
    if not all(rows and rows[0].value for rows in numbers):
        return
    *before, now = (rows[0] for rows in numbers)
    together = sum(int(r.value or 0) for r in before)
    assert now.value is not None
    if together > now.value:
        yield Discrepancy(
            id=f"shared-patients:{now.record_id}",
            kind="shared-patients",
            cohort_id=later,
            outcome=now.outcome,
            line=now.line,
            column="value",
            message=f"earlier reports of the trial have {together} patients together, this one "
            f"{now.value:g}: at least {together - now.value:g} is in several or left out",
            records=(now.record_id,),
            against=tuple(r.record_id for r in before),
            says=says(package, [now, *before]),
            severity="remark",
            size=together - now.value,
            unit="patients",
            classification="cohort",
            rule="overlapping reports of one trial",
        )
    if together < now.value:
        return
    for outcome in ("orr", "cr"):
        rows = [package.used.get((name, outcome), []) for name in (*earlier, later)]
        if not all(r and r[0].counted for r in rows):
            continue
        *parts, whole = (r[0] for r in rows)
        most = sum(r.events or 0 for r in parts)
        assert whole.events is not None
        if whole.events > most:
            yield Discrepancy(
                id=f"shared-patients:{whole.record_id}",
                kind="shared-patients",
                cohort_id=later,
                outcome=outcome,
                line=whole.line,
                column="events",
                message=f"{whole.figure} with {package.outcomes[outcome].lower()}, the earlier "
                f"reports of the trial at most {most}",
                records=(whole.record_id,),
                against=tuple(r.record_id for r in parts),
                says=says(package, [whole, *parts]),
                severity="remark",
                size=float(whole.events - most),
                unit="patients",
                classification="cut-off",
                rule="a later report of the same patients",
                evidence=(
                    "If the patients are the same, a response became complete after the earlier "
                    "report, or a figure is wrong.",
                ),
            )


def readings_disputed(package: Package, found: list[Discrepancy]) -> Iterator[Discrepancy]:
    """List rows that are marked as disputed and that no rule has found."""
    covered = {name for entry in found for name in (*entry.records, *entry.against)}
    for r in package.records:
        if r.status == "disputed" and r.record_id not in covered:
            yield Discrepancy(
                id=f"reading:{r.record_id}",
                kind="reading",
                cohort_id=r.cohort_id,
                outcome=r.outcome,
                line=r.line,
                column="status",
                message=f"{package.outcomes[r.outcome].lower()} {r.figure} is marked as disputed, "
                "and no arithmetic decides",
                records=(r.record_id,),
                says=says(package, [r]),
                severity="remark",
            )


def _short(record: Record) -> str:
    text = record.figure
    if record.criteria:
        text += f" ({record.criteria})"
    return text
