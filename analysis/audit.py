"""What the chapter "Can these numbers be right?" shows: worked examples and every finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from analysis import tables
from analysis.conflicts import RESOLUTIONS, Conflict
from analysis.estimands import estimand
from analysis.markup import Html, attribute, escape
from analysis.reconcile import (
    CLASSES,
    KINDS,
    SEVERITIES,
    Package,
    Record,
    checked_intervals,
    is_possible,
    nearest_count,
    possible_counts,
    readings,
)
from analysis.wording import count, listing, number, pct

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = [
    "browse",
    "by_class",
    "by_kind",
    "by_source",
    "denominator_example",
    "intervals",
    "matter",
    "rounding_example",
    "summary",
]

SHORT_KINDS = {
    "impossible": "impossible percentage",
    "denominator": "wrong denominator",
    "sum": "does not add up",
    "order": "part above whole",
    "time": "time point",
    "interval": "interval",
    "differs": "two versions",
    "other-cohort": "other patients",
    "misplaced": "other outcome",
    "shared-patients": "shared patients",
    "reading": "reading",
}
SHORT_CLASSES = {
    "scale": "scale or assay",
    "cut-off": "date or time",
    "denominator": "denominator",
    "cohort": "cohort",
    "misprint": "misprint",
    "undecidable": "undecidable",
}
ROUNDING_NAMES = {
    "half-up": "rounded, half up",
    "half-even": "rounded, half to even",
    "truncated": "cut off",
}
# a change of a pooled estimate by this many percentage points or more is worth a table
NOTABLE = 0.5


def summary(entries: Sequence[Conflict]) -> Html:
    """Say in one paragraph how many findings there are and what they do to the results."""
    severities = Counter(entry.finding.severity for entry in entries)
    changed = [entry for entry in entries if entry.effects]
    notable = [e for e in changed if e.largest is not None and abs(e.largest) >= 1]
    still = sum(entry.open for entry in entries)
    text = (
        f"{count(len(entries), 'finding')} in the figures of the sources: "
        f"{severities['impossible']} that no group of patients can produce, "
        f"{severities['contradiction']} contradictions, and {severities['remark']} that can hold "
        f"but need to be known. {'All are' if not still else f'{len(entries) - still} are'} "
        f"resolved{'' if not still else f', {still} open'}. {len(changed)} concern a count that "
        f"this book pools, and the other figure would move a pooled estimate by a percentage "
        f"point or more in {len(notable)}."
    )
    if notable:
        worst = max(notable, key=lambda e: abs(e.largest or 0))
        effect = max(worst.effects, key=lambda e: abs(e.change or 0))
        text += (
            f" The largest change would be from {pct(effect.fit.estimate)} to "
            f"{pct(effect.other.estimate)}."
        )
    return Html(f'<p class="ev-block"><strong>{escape(text)}</strong></p>')


def by_kind(entries: Sequence[Conflict]) -> Html:
    """Count the findings of each kind."""
    counts = Counter(entry.finding.kind for entry in entries)
    rows = [
        {"What was found": heading, "Findings": counts[kind]} for kind, heading in KINDS.items()
    ]
    return tables.html_table(
        rows, "Findings by kind", id="kinds", row_header="What was found", numeric=["Findings"]
    )


def by_source(entries: Sequence[Conflict], dataset: Dataset) -> Html:
    """Count the findings by the kind of document whose figure is in question."""
    kinds = dataset.reports.set_index("report_id")["kind"]
    named = dataset.extraction.set_index("record_id")["report_id"]
    counts: dict[str, Counter[str]] = {}
    for entry in entries:
        kind = str(kinds[named[entry.finding.records[0]]])
        counts.setdefault(kind, Counter())[entry.finding.severity] += 1
    figures = Counter(str(kinds[name]) for name in dataset.extraction["report_id"])
    rows = [
        {
            "Document": f"{kind[:1].upper()}{kind[1:]}",
            "Figures read": figures[kind],
            **{f"{name[:1].upper()}{name[1:]}": found[name] for name in SEVERITIES},
        }
        for kind, found in sorted(counts.items(), key=lambda item: -item[1].total())
    ]
    return tables.html_table(
        rows,
        "Whose figures are in question",
        id="documents",
        row_header="Document",
        note="; ".join(f"{name}: {meaning}" for name, meaning in SEVERITIES.items()) + ".",
    )


def by_class(entries: Sequence[Conflict]) -> Html:
    """Count what the findings come from, and who said so: a rule or the resolution."""
    rows = []
    for name, label in CLASSES.items():
        members = [entry for entry in entries if entry.classification == name]
        rows.append(
            {
                "It comes from": f"{label[:1].upper()}{label[1:]}",
                "Findings": len(members),
                "Decided by a rule": sum(e.classified_by == "rule" for e in members),
            }
        )
    rows.append(
        {
            "It comes from": "Nothing wrong: a remark",
            "Findings": sum(entry.classification is None for entry in entries),
            "Decided by a rule": 0,
        }
    )
    return tables.html_table(
        rows, "What the findings come from", id="classes", row_header="It comes from"
    )


# --------------------------------------------------------------------------- worked examples


def denominator_example(dataset: Dataset, entries: Sequence[Conflict], finding_id: str) -> Html:
    """Show how the percentages of one paragraph give away their denominator.

    Parameters
    ----------
    dataset : Dataset
    entries : sequence of Conflict
    finding_id : str
        A finding of the kind ``denominator`` about a set of percentages.
    """
    entry = _find(entries, finding_id)
    if entry is None or not entry.finding.alternatives:
        return _gone(finding_id)
    package = Package.of(dataset)
    by_id = {record.record_id: record for record in package.records}
    labels = dict(zip(dataset.outcomes["outcome_id"], dataset.outcomes["label"], strict=True))
    records = [by_id[name] for name in entry.finding.records]
    stated = entry.finding.alternatives[0].total
    true = _true_denominator(package, records)
    rows = []
    for record in sorted(records, key=lambda r: r.line):
        if record.percent is None:
            continue
        near = nearest_count(record.percent, stated)
        row: dict[str, Any] = {
            "Outcome": labels[record.outcome],
            "Printed": f"{record.percent}%",
            f"Nearest count of {stated}": f"{near} = {number(100 * near / stated, 2)}%",
            f"Possible of {stated}": "yes" if is_possible(record.percent, stated) else "no",
        }
        if true is not None:
            row[f"Count of {true}"] = listing(str(c) for c in possible_counts(record.percent, true))
        rows.append(row)
    table = tables.html_table(
        rows,
        f"{entry.finding.says[0].report_id}: percentages said to be of {stated} patients",
        id=f"example-{stated}",
        row_header="Outcome",
        stack=True,
        note=f"{_sentence(entry.finding.message)} {' '.join(entry.finding.evidence)}",
    )
    return table + _decision(entry)


def rounding_example(
    dataset: Dataset, entries: Sequence[Conflict], cohort_id: str, outcome: str
) -> Html:
    """Show the versions of one figure, what each can stand for, and what each does to the result.

    Parameters
    ----------
    dataset : Dataset
    entries : sequence of Conflict
    cohort_id, outcome : str
        The figure: every row of the extraction about it is shown.
    """
    package = Package.of(dataset)
    records = [r for r in package.by_cohort.get(cohort_id, []) if r.outcome == outcome]
    if not records:
        return _gone(f"{cohort_id}, {outcome}")
    members = [
        e
        for e in entries
        if any(r.record_id in e.finding.records for r in records) and e.finding.outcome == outcome
    ]
    rows = []
    for record in records:
        rows.append(
            {
                "Source": _link(record.record_id, record.report_id),
                "Printed": record.printed,
                "Counts that give it": _counts_of(record),
                "Status": record.status,
                "Pooled estimate with it": _with(members, record),
            }
        )
    label = dataset.outcomes.set_index("outcome_id")["label"][outcome]
    table = tables.html_table(
        rows,
        f"{package.cohorts[cohort_id]['label']}, {label.lower()}: what the sources print",
        id=f"example-{attribute(cohort_id)}",
        row_header="Source",
        stack=True,
        note=" ".join(e for member in members for e in member.finding.evidence),
    )
    used = listing(dict.fromkeys(text for member in members for text in member.used))
    reasons = " ".join(member.reason for member in members)
    return table + Html(f"<p><strong>The book uses:</strong> {escape(used)}. {escape(reasons)}</p>")


def _counts_of(record: Record) -> str:
    """Which counts a row can stand for, under each way of shortening a percentage."""
    if record.percent is None or record.total is None:
        if record.counted:
            assert record.events is not None and record.total is not None
            return f"{record.events} = {number(100 * record.events / record.total, 2)}%"
        return ""
    found = readings(record.percent, record.total)
    if len(set(found.values())) == 1:
        counts = next(iter(found.values()))
        return f"{listing(map(str, counts))} of {record.total}" if counts else "none"
    parts = [
        f"{ROUNDING_NAMES[name]}: {listing(map(str, counts)) or 'none'}"
        for name, counts in found.items()
    ]
    return "; ".join(parts)


def _with(members: Sequence[Conflict], record: Record) -> str:
    """The pooled estimate that a row leads to, from the effects of its findings."""
    effects = [effect for member in members for effect in member.effects]
    if record.status == "used" and effects:
        return pct(effects[0].fit.estimate, 1)
    for member in members:
        if record.record_id in member.finding.records and member.effects:
            effect = member.effects[0]
            taken = effect.alternative
            return f"{pct(effect.other.estimate, 1)} (as {taken.events} of {taken.total})"
    return ""


def _true_denominator(package: Package, records: Sequence[Record]) -> int | None:
    """The denominator in use for the outcomes of some rows that can produce all of them."""
    totals = {
        used.total
        for record in records
        for used in package.used.get((record.cohort_id, record.outcome), [])
        if used.counted and record.percent is not None
    }
    printed = [record.percent for record in records if record.percent is not None]
    fitting = [t for t in totals if t and all(is_possible(text, t) for text in printed)]
    return fitting[0] if len(fitting) == 1 else None


def intervals(dataset: Dataset) -> Html:
    """Say how many printed intervals belong to their counts, and by which method."""
    checked = checked_intervals(Package.of(dataset))
    if not checked:
        return Html("<p>No source prints an interval with a count.</p>")
    names = {"Clopper-Pearson": "Clopper–Pearson", "Wilson": "Wilson"}
    counts = Counter(method for _, methods in checked for method in methods)
    found = sum(bool(methods) for _, methods in checked)
    told = listing(f"{counts[key]} by {name}" for key, name in names.items() if counts[key])
    text = (
        f"{count(len(checked), 'row')} of the extraction have an interval printed with a count. "
        f"Recomputed from the count at the printed level and precision, "
        f"{'all' if found == len(checked) else found} come out as printed: {told}."
    )
    return Html(f"<p>{escape(text)}</p>")


# --------------------------------------------------------------------------- all findings


def matter(entries: Sequence[Conflict], dataset: Dataset) -> Html:
    """Tabulate the findings that would move a pooled estimate most."""
    cohorts = dataset.cohorts.set_index("cohort_id")["label"]
    outcomes = dataset.outcomes.set_index("outcome_id")["short_label"]
    rows = []
    for entry in entries:
        for effect in entry.effects:
            if effect.change is not None and abs(effect.change) >= NOTABLE:
                rows.append((effect.change, entry, effect))
    rows.sort(key=lambda row: -abs(row[0]))
    if not rows:
        return Html("<p>No finding would move a pooled estimate by as much.</p>")
    return tables.html_table(
        [
            {
                "Finding": Html(
                    f'<a href="#finding-{_slug(entry.finding.id)}">'
                    f"{escape(cohorts[entry.finding.cohort_id])}</a>: "
                    f"{escape(entry.finding.message)}"
                ),
                "Estimate": _estimate_link(effect.estimand_id, outcomes),
                "In use": effect.used or "none",
                "Other figure": f"{effect.alternative.events}/{effect.alternative.total}",
                "Pooled": pct(effect.fit.estimate, 1),
                "With the other": pct(effect.other.estimate, 1),
                "Change (points)": number(change, 1),
            }
            for change, entry, effect in rows
        ],
        "The choices that move a pooled estimate most",
        id="matter",
        row_header="Finding",
        numeric=["Pooled", "With the other", "Change (points)"],
        stack=True,
        note=f"Changes of {number(NOTABLE, 1)} points or more. A percentage without a count is "
        "taken as the nearest whole number of patients.",
    )


def browse(entries: Sequence[Conflict], dataset: Dataset) -> Html:
    """Every finding, searchable and sortable, with links to the rows of the data chapter."""
    cohorts = dataset.cohorts.set_index("cohort_id")["label"]
    outcomes = dataset.outcomes.set_index("outcome_id")["short_label"]
    rows = [
        {
            "Cohort": Html(
                f'<span id="finding-{_slug(entry.finding.id)}">'
                f"{escape(cohorts[entry.finding.cohort_id])}</span>"
            ),
            "Finding": _told(entry, outcomes),
            "What the sources say": _sources(entry),
            "What the book uses, and why": _uses(entry),
            "Change (points)": None if entry.largest is None else round(entry.largest, 1) + 0.0,
            "Pooled estimate": _effects(entry, outcomes),
            "Kind": SHORT_KINDS[entry.finding.kind],
            "Comes from": SHORT_CLASSES.get(entry.classification or "", "nothing wrong"),
        }
        for entry in entries
    ]
    return tables.browse_table(
        rows,
        "Every finding, with what the book makes of it",
        id="findings",
        row_header="Cohort",
        filters=["Cohort", "Kind", "Comes from"],
        numeric=["Change (points)"],
        formats={"Change (points)": lambda value: number(value, 1)},
        csv_href="../_data/conflicts.csv",
        note="Change: the largest change of a pooled estimate if the other figure were taken; "
        "empty where the cohort is in no estimate or no other count is offered.",
    )


def _told(entry: Conflict, outcomes: Any) -> Html:
    more = " ".join(entry.finding.evidence)
    text = f"<strong>{escape(outcomes[entry.finding.outcome])}</strong>: "
    text += escape(_sentence(entry.finding.message))
    if more:
        text += f"<br>{escape(more)}"
    return Html(text)


def _sources(entry: Conflict) -> Html:
    return Html(
        "<br>".join(
            f"{_link(said.record_id, said.report_id)}: {escape(said.figure)}"
            for said in entry.finding.says
        )
    )


def _uses(entry: Conflict) -> Html:
    used = "<br>".join(escape(text) for text in entry.used)
    if entry.open:
        return Html(f"{used}<br><em>Open: no decision is on record.</em>")
    assert entry.resolution is not None
    what = _sentence(RESOLUTIONS[entry.resolution])
    return Html(f"{used}<br>{escape(what)} {escape(entry.reason)}")


def _effects(entry: Conflict, outcomes: Any) -> Html:
    parts = []
    for effect in entry.effects:
        link = _estimate_link(effect.estimand_id, outcomes)
        taken = f"{effect.alternative.events}/{effect.alternative.total}"
        if effect.fit.estimate is None and effect.other.estimate is None:
            parts.append(f"{link}: one trial, {escape(taken)} instead of {escape(effect.used)}")
            continue
        before, after = (_pooled(fit) for fit in (effect.fit, effect.other))
        parts.append(
            f"{link}: {escape(before)} → {escape(after)} "
            f"({escape(taken)} instead of {escape(effect.used or 'no count')})"
        )
    return Html("<br>".join(parts))


def _pooled(fit: Any) -> str:
    return "not pooled" if fit.estimate is None else pct(fit.estimate, 1)


def _estimate_link(estimand_id: str, outcomes: Any) -> Html:
    """Name an estimand by outcome and population, and lead to its chapter."""
    target = estimand(estimand_id)
    name = escape(f"{outcomes[target.outcome]}, {target.population_short}")
    return Html(f'<a href="{attribute(target.page)}.html#{attribute(estimand_id)}">{name}</a>')


def _decision(entry: Conflict) -> Html:
    """What the book uses, and why, in a paragraph."""
    told = "No decision is on record." if entry.open else entry.reason
    used = "; ".join(entry.used)
    if len(entry.used) > 3:
        return Html(f"<p><strong>What the book does:</strong> {escape(told)}</p>")
    return Html(f"<p><strong>The book uses:</strong> {escape(used)}. {escape(told)}</p>")


def _find(entries: Sequence[Conflict], finding_id: str) -> Conflict | None:
    return next((entry for entry in entries if entry.finding.id == finding_id), None)


def _gone(finding_id: str) -> Html:
    return Html(f"<p>The data no longer show this: {escape(finding_id)}.</p>")


def _link(record_id: str, text: str) -> Html:
    return Html(f'<a href="data.html#{attribute(record_id)}">{escape(text)}</a>')


def _slug(finding_id: str) -> str:
    return attribute(finding_id.replace(":", "-").replace(".", "-"))


def _sentence(text: str) -> str:
    """Write a clause as a sentence; a report's name keeps its small letter."""
    first = text.split(" ", 1)[0]
    start = text[:1] if "-" in first else text[:1].upper()
    return f"{start}{text[1:]}."
