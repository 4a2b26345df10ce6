"""What the chapter on shared patients shows: the map of overlaps, the choices, their range."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis import chapter, choices, estimands, figures, overlap, overlap_figures, tables
from analysis.markup import Html, attribute, escape
from analysis.overlap_figures import Cohort, Part, Range
from analysis.wording import TABLE_DIGITS, ci, count, listing, pct

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = [
    "alone",
    "chosen",
    "ranges",
    "ranges_table",
    "reading",
    "same_trial",
    "shared_map",
    "summary",
]


def summary(dataset: Dataset) -> Html:
    """Say in one paragraph how many cohorts overlap and what that does to the patients counted."""
    parts = _parts(dataset)
    cohorts = sum(len(part.cohorts) for part in parts)
    text = (
        f"Of {count(len(dataset.cohorts), 'cohort')} in the data, {cohorts} share patients with "
        f"another, or may: {count(len(dataset.overlaps), 'pair')} in "
        f"{count(len(parts), 'group')}. "
    )
    most = max(
        (target for target in estimands.estimands()),
        key=lambda target: _repeated(dataset, target.id)[0],
    )
    extra, patients = _repeated(dataset, most.id)
    label = chapter.ask(most.id).label.lower()
    text += (
        f"For {label}, adding up every report of the population would count {patients + extra} "
        f"patients; one cohort per patient set leaves {patients}."
    )
    return Html(f'<p class="ev-block"><strong>{escape(text)}</strong></p>')


def _repeated(dataset: Dataset, estimand_id: str) -> tuple[int, int]:
    """Patients in cohorts left out because they share patients, and patients pooled."""
    found = estimands.evidence(dataset, estimands.estimand(estimand_id))
    return int(found.shared["total"].sum()), int(found.rows["total"].sum())


def shared_map(dataset: Dataset) -> Html:
    """Draw the graph of overlaps with what is pooled for which outcome."""
    parts = _parts(dataset)
    short = dataset.outcomes.set_index("outcome_id")["short_label"]
    outcomes = [(name, str(short[name])) for name in _outcomes()]
    return figures.figure_block(
        overlap_figures.overlap_map,
        parts,
        outcomes,
        alt=overlap_figures.alt_map(parts),
        caption="Cohorts that share patients, with their number of patients where it is known. "
        "Arcs join cohorts with patients in common. Filled squares: the count is pooled; hollow: "
        "there is a count, but a cohort with the same patients is pooled. No square: no count in "
        "use, or the cohort belongs to no population of this book.",
        name="overlap-map",
        csv_href="../_data/overlaps.csv",
    )


def _outcomes() -> list[str]:
    return list(dict.fromkeys(target.outcome for target in estimands.estimands()))


def _parts(dataset: Dataset) -> list[Part]:
    """Groups of cohorts that share patients, in the order of the data."""
    frame = dataset.cohorts.set_index("cohort_id")
    uses: dict[str, dict[str, bool]] = {name: {} for name in frame.index}
    for target in estimands.estimands():
        found = estimands.evidence(dataset, target)
        for rows, pooled in ((found.rows, True), (found.shared, False)):
            for cohort in rows["cohort_id"]:
                uses[cohort][target.outcome] = pooled
    kinds = {
        frozenset((a, b)): kind in overlap.CERTAIN
        for a, b, kind in zip(
            *(dataset.overlaps[name] for name in ("cohort_a", "cohort_b", "kind")), strict=True
        )
    }
    parts = []
    for names in overlap.clusters(overlap.graph(frame.index, dataset.overlaps)):
        if len(names) == 1:
            continue
        inside = frame.loc[names]
        known = inside[["n_evaluable", "n_infused"]].max(axis=1)
        cohorts = tuple(
            Cohort(str(row.label), None if pd.isna(n) else int(n), uses[name])
            for name, row, n in zip(names, inside.itertuples(), known, strict=True)
        )
        edges = tuple(
            (i, j, kinds[frozenset((a, b))])
            for i, a in enumerate(names)
            for j, b in enumerate(names)
            if i < j and frozenset((a, b)) in kinds
        )
        title = "; ".join(
            ", ".join(dict.fromkeys(str(value) for value in inside[column].dropna()))
            for column in ("center", "trial_id")
            if inside[column].notna().any()
        )
        parts.append(Part(title, cohorts, edges))
    return parts


def alone(dataset: Dataset) -> Html:
    """Name the cohorts that share patients with no other."""
    frame = dataset.cohorts
    parts = overlap.clusters(overlap.graph(frame["cohort_id"], dataset.overlaps))
    single = {part[0] for part in parts if len(part) == 1}
    names = frame.loc[frame["cohort_id"].isin(single), "label"]
    return Html(f"<p>Share patients with no other: {escape('; '.join(map(str, names)))}.</p>")


def same_trial(dataset: Dataset) -> Html:
    """Name the cohorts that have one registration and count as separate patients."""
    labels = dataset.cohorts.set_index("cohort_id")["label"]
    pairs = overlap.unlinked(dataset.cohorts, dataset.overlaps)
    together = {
        frozenset((a, b))
        for target in estimands.estimands()
        for pooled in [list(estimands.evidence(dataset, target).rows["cohort_id"])]
        for a in pooled
        for b in pooled
    }
    against: dict[tuple[str, str], list[str]] = {}
    for trial, a, b in pairs:
        # the cohort with more separate partners leads the row
        times = {name: sum(name in pair for pair in pairs) for name in (a, b)}
        first, second = (a, b) if times[a] >= times[b] else (b, a)
        against.setdefault((trial, first), []).append(second)
    rows = [
        {
            "Cohort": labels[first],
            "Trial": trial,
            "Separate from": "; ".join(str(labels[name]) for name in others),
            "Pooled together": "yes"
            if any(frozenset((first, name)) in together for name in others)
            else "never",
        }
        for (trial, first), others in against.items()
    ]
    return tables.html_table(
        rows,
        "Cohorts of one registered trial that count as separate patients",
        id="same-trial",
        row_header="Cohort",
        stack=True,
    )


def chosen(dataset: Dataset) -> Html:
    """Tabulate, for each estimand, which cohort the rule takes instead of which, and why."""
    rows = []
    for question in _questions():
        found = question.evidence
        both = pd.concat([found.rows, found.shared.drop(columns="shares_with")])
        for kept in found.rows.itertuples(index=False):
            left_out = found.shared[found.shared["shares_with"] == kept.cohort_id]
            if left_out.empty:
                continue
            why = [overlap.deciding(both, kept.cohort_id, other) for other in left_out["cohort_id"]]
            rows.append(
                {
                    "Outcome": Html(
                        f'<a href="#{attribute(question.id)}-range">{escape(question.label)}</a>'
                    ),
                    "Pooled": f"{kept.label} ({kept.events}/{kept.total})",
                    "Instead of": "; ".join(
                        f"{row.label} ({row.events}/{row.total})"
                        for row in left_out.itertuples(index=False)
                    ),
                    "Because": listing(dict.fromkeys(why)),
                }
            )
    free = [q for q in _questions(every=True) if q.evidence.shared.empty]
    note = (
        "No cohorts with shared patients, so no choice: "
        + listing(f"{q.label} ({q.evidence.estimand.population_short})" for q in free)
        + "."
        if free
        else ""
    )
    return tables.html_table(
        rows,
        "What the rule takes, and instead of what",
        id="chosen",
        row_header="Outcome",
        stack=True,
        note=note,
    )


def ranges(dataset: Dataset) -> Html:
    """Draw the range of each estimand over all admissible choices."""
    entries = _ranges(dataset)
    return figures.figure_block(
        overlap_figures.ranges,
        entries,
        alt=overlap_figures.alt_ranges(entries),
        caption="Pooled estimate under every admissible choice of cohorts. The numbers are the "
        "estimate of the main analysis, and the lowest and highest estimate of any choice.",
        name="choice-ranges",
        csv=tables.records_csv(entries),
    )


def _ranges(dataset: Dataset) -> list[Range]:
    entries = []
    for question in _questions():
        options = choices.choices(question.evidence, dataset.overlaps)
        entries.append(
            chapter.span_of(
                options,
                question.label,
                question.fit,
                sub=count(len(options.sets), "choice"),
                group=question.population,
            )
        )
    return entries


def reading(dataset: Dataset) -> Html:
    """Say in words where the choice of cohorts matters most, and where the main analysis stands."""
    entries = _ranges(dataset)
    widest = max(entries, key=lambda entry: entry.high - entry.low)
    text = (
        f"The choice of cohorts matters most for {widest.label.lower()}: "
        f"{ci(widest.low, widest.high, words=True)}, with {pct(widest.main)} in the main analysis."
    )
    for end, limit in (("lower", "low"), ("upper", "high")):
        at_end = [
            entry.label.lower()
            for entry in entries
            if entry.main is not None
            and entry.high > entry.low
            and math.isclose(entry.main, getattr(entry, limit), rel_tol=1e-6)
        ]
        if at_end:
            text += f" The main analysis is the {end} end of the range for {'; '.join(at_end)}."
    return Html(f"<p>{escape(text)}</p>")


def ranges_table(dataset: Dataset) -> Html:
    """Tabulate the ranges, with possible overlaps counted or not, and the clustered result."""
    rows = []
    for question in _questions():
        options = choices.choices(question.evidence, dataset.overlaps)
        certain = choices.choices(question.evidence, dataset.overlaps, possible=False)
        robust = choices.clustered(question.evidence, dataset.overlaps)
        fit = question.fit
        assert fit is not None  # a question with shared cohorts has a result
        rows.append(
            {
                "Outcome": Html(
                    f'<span id="{attribute(question.id)}-range"></span>{escape(question.label)}'
                ),
                "Main analysis": _with_interval(fit),
                "Choices": len(options.sets),
                "Range": _span(options),
                "If possible overlaps are none": f"{_span(certain)} ({len(certain.sets)})",
                "All cohorts, clustered": "" if robust is None else _with_interval(robust),
            }
        )
    number = sorted(
        robust.clusters
        for question in _questions()
        if (robust := choices.clustered(question.evidence, dataset.overlaps)) is not None
    )
    note = (
        "In parentheses after a range: the number of choices. Clustered: all cohorts of the "
        "population, patients counted repeatedly, by REML on the logit with a variance robust to "
        "dependence within a trial"
    )
    if number:
        note += (
            f"; with {number[0]} to {number[-1]} clusters that variance is itself uncertain and "
            "tends to be too small"
        )
    return tables.html_table(
        rows,
        "Range of the pooled estimate over all admissible choices",
        id="ranges",
        row_header="Outcome",
        numeric=[name for name in rows[0] if name != "Outcome"],
        stack=True,
        note=f"{note}.",
    )


def _with_interval(result: Any) -> str:
    interval = ci(result.ci_low, result.ci_high, TABLE_DIGITS).removesuffix("%")
    return f"{pct(result.estimate, TABLE_DIGITS)} ({interval})"


def _span(options: choices.Choices) -> str:
    if options.lowest is None or options.highest is None:
        return "not pooled"
    low, high = options.estimate[options.lowest], options.estimate[options.highest]
    return ci(float(low), float(high), TABLE_DIGITS)


def _questions(*, every: bool = False) -> list[chapter.Question]:
    """Questions in which cohorts share patients and a result exists; or every question."""
    asked = [chapter.ask(target.id) for target in estimands.estimands()]
    return [
        question
        for question in asked
        if every
        or (
            not question.evidence.shared.empty
            and question.fit is not None
            and question.fit.estimate is not None
        )
    ]
