"""Do the figures of one cohort fit together: sums, parts and wholes, times, intervals?"""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING

from analysis.reconcile.arithmetic import clopper_pearson, interval_methods
from analysis.reconcile.compare import difference, says
from analysis.reconcile.discrepancy import Alternative, Discrepancy, Statement
from analysis.reconcile.record import Package, Record, same_percentage

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["checked_intervals", "intervals", "orders", "sums", "times"]

# a part and the whole that contains it
PARTS = (
    ("cr", "orr"),
    ("pr", "orr"),
    ("crs_severe", "crs_any"),
    ("ntx_severe", "ntx_any"),
    ("crs_grade1", "crs_any"),
    ("crs_grade2", "crs_any"),
    ("crs_grade3", "crs_severe"),
    ("crs_fatal", "crs_severe"),
    ("ntx_grade1", "ntx_any"),
    ("ntx_grade2", "ntx_any"),
    ("ntx_grade3", "ntx_severe"),
    ("ntx_grade4", "ntx_severe"),
    ("ntx_fatal", "ntx_severe"),
    ("tocilizumab_any", "tocilizumab_or_steroid"),
)
# parts that make up the whole, all of them needed
SUMS = (
    (("cr", "pr"), "orr"),
    (("crs_grade1", "crs_grade2", "crs_severe"), "crs_any"),
    (("ntx_grade1", "ntx_grade2", "ntx_severe"), "ntx_any"),
    (("ntx_grade3", "ntx_grade4", "ntx_fatal"), "ntx_severe"),
)
# outcomes of which a source lists all values, as rows of their own
LISTS = ("lymphodepletion_regimen", "dose_level_n")
BEST_RESPONSE = ("orr", "sd", "pd", "not_evaluable")
MEDIANS = ("pfs_median", "os_median", "dor_median")


def sums(package: Package) -> Iterator[Discrepancy]:
    """Find parts that do not add up to their whole.

    Complete and partial responses, grades, best responses and the patients of each regimen or dose
    level; in one document, and among the rows in use.
    """
    for records in package.by_cohort.values():
        by_report: dict[str, list[Record]] = {}
        for r in records:
            by_report.setdefault(r.report_id, []).append(r)
        groups = [*by_report.values(), [r for r in records if r.status == "used"]]
        seen: set[str] = set()
        for group in groups:
            for found in (*_sums(package, group), *_lists(package, group)):
                if found.id not in seen:
                    seen.add(found.id)
                    yield found
        yield from _fatal(package, records)


def _sums(package: Package, group: list[Record]) -> Iterator[Discrepancy]:
    for parts, whole in SUMS:
        rows = [[r for r in group if r.outcome == name] for name in (*parts, whole)]
        if not all(rows):
            continue
        counted = [c for c in product(*rows) if _one_denominator(c)]
        if counted:
            if not any(_added(c[:-1]) == c[-1].events for c in counted):
                yield _sum(package, counted[0])
            continue
        # on different denominators only the percentages that one place prints can be added up
        for chosen in product(*rows):
            if len({r.block for r in chosen}) == 1 and all(r.percent for r in chosen):
                shares = [float(str(r.percent)) for r in chosen]
                if abs(sum(shares[:-1]) - shares[-1]) > 0.5 * len(chosen):
                    yield _sum(package, chosen)
                break
    best = [[r for r in group if r.outcome == name] for name in BEST_RESPONSE]
    if all(best):
        combos = [c for c in product(*best) if _one_denominator(c)]
        if combos and not any(_added(c) == c[0].total for c in combos):
            yield _overfull(package, list(combos[0]), "best responses")


def _lists(package: Package, group: list[Record]) -> Iterator[Discrepancy]:
    for name in LISTS:
        rows = [r for r in group if r.outcome == name and r.counted]
        if len(rows) > 1 and _one_denominator(rows) and _added(rows) != rows[0].total:
            yield _overfull(package, rows, package.outcomes[name])


def _sum(package: Package, chosen: tuple[Record, ...]) -> Discrepancy:
    *parts, whole = chosen
    names = " and ".join(package.outcomes[r.outcome].lower() for r in parts)
    alternatives: tuple[Alternative, ...] = ()
    totals = {r.total for r in parts}
    if len(totals) == 1 and all(r.counted for r in parts):
        total, added = parts[0].total, _added(parts)
        assert total is not None and added is not None
        text = f"{added} of {total} ({100 * added / total:.1f}%)"
        if added <= total:
            how = f"sum of the {names}"
            alternatives = (Alternative(whole.cohort_id, whole.outcome, added, total, how),)
    else:
        text = f"{sum(r.share or 0 for r in parts):g}%"
    different = len({r.total for r in chosen}) > 1
    printed = f"{whole.percent}%" if different and whole.percent else whole.figure
    return Discrepancy(
        id=f"sum:{whole.record_id}",
        kind="sum",
        cohort_id=whole.cohort_id,
        outcome=whole.outcome,
        line=whole.line,
        column="events" if whole.counted else "percent",
        message=f"{names} add up to {text}, but {package.outcomes[whole.outcome].lower()} "
        f"is given as {printed}",
        records=(whole.record_id,),
        against=tuple(r.record_id for r in parts),
        says=says(package, [whole, *parts]),
        size=abs(sum(r.share or 0 for r in parts) - (whole.share or 0)),
        unit="points",
        classification="denominator" if different else None,
        rule="the parts have another denominator than the whole" if different else "",
        alternatives=alternatives,
    )


def _overfull(package: Package, rows: list[Record], what: str) -> Discrepancy:
    first = rows[0]
    added = _added(rows)
    return Discrepancy(
        id=f"sum:{first.record_id}.list",
        kind="sum",
        cohort_id=first.cohort_id,
        outcome=first.outcome,
        line=first.line,
        column="events",
        message=f"{what}: {' + '.join(str(r.events) for r in rows)} = {added}, "
        f"but there are {first.total} patients",
        records=tuple(r.record_id for r in rows),
        says=says(package, rows),
        size=abs(float((added or 0) - (first.total or 0))),
        unit="patients",
    )


def _fatal(package: Package, records: list[Record]) -> Iterator[Discrepancy]:
    """Fatal CRS and fatal neurotoxicity against the deaths that a source calls related."""
    rows = {
        name: [r for r in records if r.outcome == name and r.counted and r.status != "excluded"]
        for name in ("crs_fatal", "ntx_fatal", "death_treatment_related")
    }
    if not all(rows.values()):
        return
    crs, ntx, death = (values[0] for values in rows.values())
    assert crs.events is not None and ntx.events is not None and death.events is not None
    if crs.total != death.total or ntx.total != death.total:
        return
    added, largest = crs.events + ntx.events, max(crs.events, ntx.events)
    if death.events >= added:
        return
    both = death.events >= largest
    message = (
        f"{crs.events} fatal cytokine release syndrome and {ntx.events} fatal neurotoxicity stand "
        f"against {death.events} treatment-related "
        f"{'death' if death.events == 1 else 'deaths'}"
    )
    yield Discrepancy(
        id=f"sum:{death.record_id}.fatal",
        kind="sum",
        cohort_id=death.cohort_id,
        outcome=death.outcome,
        line=death.line,
        column="events",
        message=message,
        records=(death.record_id,),
        against=(crs.record_id, ntx.record_id),
        says=says(package, [death, crs, ntx]),
        severity="remark" if both else "contradiction",
        size=float(added - death.events),
        unit="patients",
        evidence=("They agree only if one patient died of both.",) if both else (),
        alternatives=(
            (Alternative(death.cohort_id, death.outcome, added, death.total, "two patients"),)
            if death.total is not None and added <= death.total
            else ()
        ),
    )


def orders(package: Package) -> Iterator[Discrepancy]:
    """Find parts larger than their whole, and more patients treated than enrolled."""
    for records in package.by_cohort.values():
        yield from _parts(package, records)
        yield from _sizes(package, records)


def _parts(package: Package, records: list[Record]) -> Iterator[Discrepancy]:
    for small, large in PARTS:
        for part, whole in product(
            (r for r in records if r.outcome == small and r.counted),
            (r for r in records if r.outcome == large and r.counted),
        ):
            together = part.report_id == whole.report_id or (
                part.status == "used" and whole.status == "used"
            )
            times = {part.months, whole.months} - {None}
            if not together or part.total != whole.total or len(times) > 1:
                continue
            assert part.events is not None and whole.events is not None
            if part.events <= whole.events:
                continue
            yield Discrepancy(
                id=f"order:{part.record_id}.{whole.outcome.replace('_', '-')}",
                kind="order",
                cohort_id=part.cohort_id,
                outcome=part.outcome,
                line=part.line,
                column="events",
                message=f"{package.outcomes[small].lower()} {part.figure} is more than "
                f"{package.outcomes[large].lower()} {whole.figure}",
                records=(part.record_id,),
                against=(whole.record_id,),
                says=says(package, [part, whole]),
                severity="impossible",
                size=difference([(part, whole)]),
                unit="points",
            )


def _sizes(package: Package, records: list[Record]) -> Iterator[Discrepancy]:
    order = ("n_evaluable", "n_infused", "n_enrolled")
    sized = [r for r in records if r.value is not None and r.status != "excluded"]
    for small, large in combinations(order, 2):
        for part, whole in product(
            (r for r in sized if r.outcome == small), (r for r in sized if r.outcome == large)
        ):
            assert part.value is not None and whole.value is not None
            if part.value <= whole.value or "used" not in (part.status, whole.status):
                continue
            first, other = (whole, part) if part.status == "used" else (part, whole)
            yield Discrepancy(
                id=f"order:{first.record_id}.{other.outcome.replace('_', '-')}",
                kind="order",
                cohort_id=first.cohort_id,
                outcome=first.outcome,
                line=first.line,
                column="value",
                message=f"{part.value:g} {small.removeprefix('n_')} is more than "
                f"{whole.value:g} {large.removeprefix('n_')}",
                records=(first.record_id,),
                against=(other.record_id,),
                says=says(package, [first, other]),
                severity="impossible",
                size=part.value - whole.value,
                unit="patients",
            )


def times(package: Package) -> Iterator[Discrepancy]:
    """Find survival that rises, one figure at two times, and medians that follow-up cannot show."""
    for records in package.by_cohort.values():
        kept = [r for r in records if r.status != "excluded" and not _subset(r)]
        yield from _survival(package, kept)
        yield from _medians(package, [r for r in records if r.status != "excluded"])


def _survival(package: Package, records: list[Record]) -> Iterator[Discrepancy]:
    curves = [r for r in records if r.kind == "survival" and r.share is not None and r.months]
    for a, b in combinations(curves, 2):
        assert a.share is not None and b.share is not None
        assert a.months is not None and b.months is not None
        early, late = sorted((a, b), key=lambda r: r.months or 0)
        if a.outcome == b.outcome and early.months != late.months:
            if a.report_id == b.report_id and same_percentage(a, b):
                yield _time(
                    package,
                    late,
                    early,
                    "two-times",
                    f"the same {late.percent}% is printed for {early.months:g} and for "
                    f"{late.months:g} months",
                    "contradiction",
                    classification="misprint",
                    rule="one figure, two time points, one document",
                )
            elif late.share > early.share:  # type: ignore[operator]
                yield _time(package, late, early, "rises", f"{late.figure} is above {early.figure}")
        elif {a.outcome, b.outcome} == {"pfs", "os"} and a.months == b.months:
            pfs, os = (a, b) if a.outcome == "pfs" else (b, a)
            if pfs.share > os.share:  # type: ignore[operator]
                message = (
                    f"progression-free survival {pfs.figure} is above overall survival {os.figure}"
                )
                yield _time(package, pfs, os, "above-os", message)


def _medians(package: Package, records: list[Record]) -> Iterator[Discrepancy]:
    follow_up = [
        r for r in records if r.outcome == "follow_up_median" and r.value and r.unit == "months"
    ]
    follow_up.sort(key=lambda r: r.status != "used")
    for name in MEDIANS:
        rows = [r for r in records if r.outcome == name and r.value and r.unit == "months"]
        beyond = [r for r in rows if follow_up and r.value > follow_up[0].value]  # type: ignore[operator]
        if beyond:
            longest = max(beyond, key=lambda r: r.value or 0)
            same = [r for r in beyond if r.value == longest.value]
            found = _time(
                package,
                longest,
                follow_up[0],
                "beyond-follow-up",
                f"a median of {longest.value:g} months with a median follow-up of "
                f"{follow_up[0].value:g} months",
                "remark",
                also=[r for r in same if r is not longest],
                evidence=_reached(package, records, longest),
            )
            yield found
    pfs = [r for r in records if r.outcome == "pfs_median" and r.value and r.status == "used"]
    os = [r for r in records if r.outcome == "os_median" and r.value and r.status == "used"]
    for a, b in product(pfs, os):
        if a.unit == b.unit and a.value > b.value:  # type: ignore[operator]
            message = f"median progression-free survival {a.figure} is above median survival "
            yield _time(package, a, b, "above-os", message + b.figure)


def _reached(package: Package, records: list[Record], median: Record) -> tuple[str, ...]:
    """Say if fewer than half of the complete responders had an event, so no median is reached."""
    if median.outcome != "dor_median" or "complete" not in (median.value_text or ""):
        return ()
    for r in records:
        if r.outcome == "relapse_in_cr" and r.counted and r.status == "used":
            dead = [d for d in records if d.outcome == "death_in_remission" and d.counted]
            events = (r.events or 0) + sum(d.events or 0 for d in dead)
            if 2 * events < (r.total or 0):
                return (
                    f"{r.events} of {r.total} complete responders relapsed and "
                    f"{events - (r.events or 0)} died in remission, fewer than half: the median "
                    "of a survival curve was not reached. The figure may be the median of the "
                    "times observed.",
                )
    return ()


def _time(
    package: Package,
    record: Record,
    other: Record,
    word: str,
    message: str,
    severity: str = "impossible",
    *,
    classification: str | None = None,
    rule: str = "",
    also: list[Record] | None = None,
    evidence: tuple[str, ...] = (),
) -> Discrepancy:
    records = [record, *(also or [])]
    size = difference([(record, other)])
    if size is None and record.value is not None and other.value is not None:
        size = abs(record.value - other.value)
    return Discrepancy(
        id=f"time:{record.record_id}.{word}",
        kind="time",
        cohort_id=record.cohort_id,
        outcome=record.outcome,
        line=record.line,
        column="value" if record.value is not None else "timepoint_months",
        message=message,
        records=tuple(r.record_id for r in records),
        against=(other.record_id,),
        says=says(package, [*records, other]),
        severity=severity,
        size=size if word != "two-times" else abs((record.months or 0) - (other.months or 0)),
        unit="months" if record.value is not None or word == "two-times" else "points",
        classification=classification,
        rule=rule,
        evidence=evidence,
    )


def checked_intervals(package: Package) -> list[tuple[Record, tuple[str, ...]]]:
    """List the rows with a count and an interval, and the methods that give the one from the other.

    Intervals without a level are taken to be at 95 percent.
    """
    found = []
    for r in package.records:
        if r.kind == "proportion" and r.counted and r.ci_low is not None and r.ci_high is not None:
            assert r.events is not None and r.total is not None
            level = r.ci_level or 95.0
            found.append((r, interval_methods(r.events, r.total, r.ci_low, r.ci_high, level)))
    return found


def intervals(package: Package) -> Iterator[Discrepancy]:
    """Find printed intervals that neither Wilson nor Clopper-Pearson gives from the count."""
    for r, methods in checked_intervals(package):
        if methods:
            continue
        assert r.events is not None and r.total is not None
        assert r.ci_low is not None and r.ci_high is not None
        level = r.ci_level or 95.0
        low, high = clopper_pearson(r.events, r.total, level / 100)
        printed = f"{r.ci_low:g}% to {r.ci_high:g}%"
        yield Discrepancy(
            id=f"interval:{r.record_id}",
            kind="interval",
            cohort_id=r.cohort_id,
            outcome=r.outcome,
            line=r.line,
            column="ci_low",
            message=f"{r.events} of {r.total} does not have the {level:g}% interval {printed}",
            records=(r.record_id,),
            says=(Statement(r.record_id, r.report_id, f"{r.figure}, interval {printed}"),),
            size=max(abs(low - r.ci_low), abs(high - r.ci_high)),
            unit="points",
            evidence=(f"The exact interval of the count is {low:.1f}% to {high:.1f}%.",),
        )


def _subset(record: Record) -> bool:
    """Whether a survival figure is about a part of the cohort that its text names."""
    return record.status == "context" and record.value_text is not None


def _one_denominator(records: tuple[Record, ...] | list[Record]) -> bool:
    times = {r.months for r in records if r.months is not None}
    return (
        all(r.counted for r in records)
        and len({r.total for r in records}) == 1
        and (len(times) <= 1)
    )


def _added(records: tuple[Record, ...] | list[Record]) -> int | None:
    return sum(r.events or 0 for r in records)
