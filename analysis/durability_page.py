"""What the chapter on durability shows: sentences, pictures and tables of survival rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis import catalog, chapter, durability, durability_figures, estimands, figures, tables
from analysis.durability import NEEDED, OUTCOMES, Landmark, Median, Set
from analysis.durability_figures import Bar, Kind, Point, Strip
from analysis.markup import Html, attribute, escape
from analysis.wording import ci, count, listing, number, pct

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = [
    "answer",
    "elsewhere",
    "landmark_figure",
    "landmark_table",
    "median_figure",
    "median_table",
    "sets_table",
    "widths",
]


def _target(population: str) -> estimands.Estimand:
    known = durability.populations()
    if population not in known:
        raise ValueError(f"there is no population {population!r}; there are {', '.join(known)}")
    return known[population]


def _marks(dataset: Dataset, population: str) -> list[Landmark]:
    return durability.landmarks(dataset, _target(population).where)


def _medians(dataset: Dataset, population: str) -> list[Median]:
    return durability.medians(dataset, _target(population).where)


def _sets(dataset: Dataset, population: str) -> list[Set]:
    return durability.landmark_sets(_marks(dataset, population), dataset.overlaps)


def _months(value: float) -> str:
    return number(value, 0 if float(value).is_integer() else 1)


# ------------------------------------------------------------------ sentences


def answer(dataset: Dataset, populations: list[str]) -> Html:
    """Say, for each population, what its cohorts report of progression and survival."""
    pooled = [(name, group) for name in populations for group in _sets(dataset, name) if group.fit]
    if pooled:
        first = f"Pooled: {listing(_pooled_words(group) for _, group in pooled)}."
    else:
        most = max(
            (len(group.independent) for name in populations for group in _sets(dataset, name)),
            default=0,
        )
        first = (
            "No two independent trials print a rate of the same outcome at the same time, so "
            "nothing is pooled."
            if most < 2
            else f"At most {most} independent trials print a rate of the same outcome at the same "
            f"time; {NEEDED} are needed, so nothing is pooled."
        )
    parts = [f"<p><strong>{escape(first)}</strong></p>"]
    for name in populations:
        said = "".join(
            f"<li>{escape(sentence)}</li>"
            for outcome in ("pfs", "os", "dor")
            for sentence in [_sentence(dataset, name, outcome)]
        )
        label = _target(name).population_label
        parts.append(f'<p class="ev-population">{escape(label)}</p>\n<ul>{said}</ul>')
    return Html(f'<div class="ev-block ev-answers">{"".join(parts)}</div>')


def _pooled_words(group: Set) -> str:
    fit = group.fit
    assert fit is not None  # asked of pooled sets only
    return (
        f"{OUTCOMES[group.outcome].lower()} at {_months(group.months)} months "
        f"{pct(fit.estimate)} (95% CI {ci(fit.ci_low, fit.ci_high, words=True)}, {fit.k} trials)"
    )


def _sentence(dataset: Dataset, population: str, outcome: str) -> str:
    """Medians and rates in use of one outcome, each with its cohort."""
    medians = [
        m
        for m in _medians(dataset, population)
        if m.outcome == outcome and m.status == "used" and not m.subset and not m.shares_with
    ]
    rates = [
        m
        for m in _marks(dataset, population)
        if m.outcome == outcome and m.status == "used" and not m.subset
    ]
    parts = []
    if medians:
        said = [
            f"{'not reached' if m.value is None else f'{_months(m.value)} months'} in {m.cohort}"
            for m in medians
        ]
        parts.append(f"median {listing(said)}")
    for m in rates:
        interval = "" if m.low is None else f", 95% interval {ci(m.low, m.high, words=True)}"
        parts.append(f"{pct(m.rate)} at {_months(m.months)} months in {m.cohort}{interval}")
    name = OUTCOMES[outcome]
    if not parts:
        return f"{name}: no figure for all patients of a cohort that the sources agree on."
    return f"{name}: {'; '.join(parts)}."


# ------------------------------------------------------------------ pictures


def _kind(entry: Landmark | Median) -> Kind:
    if entry.status == "disputed":
        return "disputed"
    return "subset" if entry.subset else "used"


def _label(entry: Landmark | Median) -> str:
    return f"{entry.cohort}, {entry.subset}" if entry.subset else entry.cohort


def landmark_figure(dataset: Dataset, population: str) -> Html:
    """Draw the survival rates of a population over time."""
    target = _target(population)
    marks = _marks(dataset, population)
    if not marks:
        return Html(f"<p>{escape(target.population_label)}: no survival rate at a time point.</p>")
    sets = _sets(dataset, population)
    strips = []
    for outcome, title in OUTCOMES.items():
        points = [
            Point(_label(m), m.months, m.rate, m.low, m.high, _kind(m))
            for m in marks
            if m.outcome == outcome
        ]
        points += [
            Point(
                f"Pooled, {group.fit.k} trials",
                group.months,
                group.fit.estimate,
                group.fit.ci_low,
                group.fit.ci_high,
                "pooled",
            )
            for group in sets
            if group.outcome == outcome and group.fit is not None
        ]
        if points:
            strips.append(Strip(title, tuple(points)))
    return figures.figure_block(
        durability_figures.landmark_plot,
        strips,
        alt=durability_figures.alt_landmarks(target.population_label, strips),
        caption=f"{target.population_label}: percent of the patients, as printed, by months after "
        "infusion (duration of response: after the response); one mark per cohort and time point. "
        "Lines: 95% intervals, printed or worked out from a cautious number of patients (see the "
        "table); no line: the number of patients is not printed. A dashed line joins two times at "
        "which the sources print the same figure.",
        name=f"{population}-landmarks",
        csv=_marks_csv(marks),
    )


def _bars(dataset: Dataset, population: str) -> list[Bar]:
    return [
        Bar(
            label=_label(m),
            at=m.value,
            low=m.low,
            high=m.high,
            kind=_kind(m),
            sub=f"same patients as {m.shares_with}" if m.shares_with else "",
            group=OUTCOMES[m.outcome],
        )
        for m in _medians(dataset, population)
    ]


def median_figure(dataset: Dataset, population: str) -> Html:
    """Draw the medians of a population."""
    target = _target(population)
    bars = _bars(dataset, population)
    if not bars:
        return Html(f"<p>{escape(target.population_label)}: no median is printed.</p>")
    return figures.figure_block(
        durability_figures.median_plot,
        bars,
        alt=durability_figures.alt_medians(target.population_label, bars),
        caption=f"{target.population_label}: median times in months, as printed. Arrow: not "
        "reached. Where there is no line, the source prints no interval.",
        name=f"{population}-medians",
        csv=_medians_csv(_medians(dataset, population)),
    )


# ------------------------------------------------------------------ tables


def _marks_csv(marks: list[Landmark]) -> str:
    return tables.to_csv(
        {
            "record_id": m.record_id,
            "cohort": m.cohort,
            "outcome": m.outcome,
            "months": m.months,
            "rate": m.rate,
            "ci_low": m.low,
            "ci_high": m.high,
            "patients": m.patients,
            "effective_size": m.size,
            "subset": m.subset,
            "status": m.status,
        }
        for m in marks
    )


def _medians_csv(medians: list[Median]) -> str:
    return tables.to_csv(
        {
            "record_id": m.record_id,
            "cohort": m.cohort,
            "outcome": m.outcome,
            "median_months": m.value,
            "ci_low": m.low,
            "ci_high": m.high,
            "not_reached": m.value is None,
            "subset": m.subset,
            "status": m.status,
        }
        for m in medians
    )


_SHORT = "PFS: progression-free survival; OS: overall survival; DOR: duration of response."
_STATUS = {"used": "in use", "disputed": "disputed", "context": "part of the patients"}


def landmark_table(dataset: Dataset, population: str) -> Html:
    """Tabulate the survival rates of a population with interval, its origin and the source."""
    target = _target(population)
    marks = _marks(dataset, population)
    if not marks:
        return Html("")
    rows = [
        {
            "Cohort": _label(m),
            "Outcome": f"{m.outcome.upper()} at {_months(m.months)} months",
            "Percent": pct(m.rate, 1),
            "95% interval": "" if m.low is None else ci(m.low, m.high),
            "Interval from": m.how,
            "Standing": _STATUS[m.status],
            "Source": chapter.source(m.row),
        }
        for m in marks
    ]
    table = tables.html_table(
        rows,
        f"{target.population_label}: survival rates at time points",
        id=f"{population}-landmarks-table",
        row_header="Cohort",
        numeric=["Percent", "95% interval"],
        stack=True,
        csv=_marks_csv(marks),
        note=f"{_SHORT} {_disputes(marks)}".strip(),
    )
    return chapter.folded("The rates as a table, with the sources", table)


def _disputes(marks: list[Landmark] | list[Median]) -> str:
    reasons = dict.fromkeys(
        f"{m.cohort}: {m.row.reason}" for m in marks if m.status == "disputed" and m.row.reason
    )
    return " ".join(reasons)


def median_table(dataset: Dataset, population: str) -> Html:
    """Tabulate the medians of a population with the source of each."""
    target = _target(population)
    medians = _medians(dataset, population)
    if not medians:
        return Html("")
    rows = [
        {
            "Cohort": _label(m),
            "Outcome": f"Median {m.outcome.upper()}",
            "Months": "not reached" if m.value is None else _months(m.value),
            "95% interval": _limits(m),
            "Standing": _STATUS[m.status] if not m.shares_with else f"overlaps {m.shares_with}",
            "Source": chapter.source(m.row),
        }
        for m in medians
    ]
    table = tables.html_table(
        rows,
        f"{target.population_label}: medians",
        id=f"{population}-medians-table",
        row_header="Cohort",
        numeric=["Months"],
        stack=True,
        csv=_medians_csv(medians),
        note=f"{_SHORT} {_disputes(medians)}".strip(),
    )
    return chapter.folded("The medians as a table, with the sources", table)


def _limits(m: Median) -> str:
    if m.low is None and m.high is None:
        return "not printed"
    low = "not printed" if m.low is None else _months(m.low)
    return f"{low} to {'not reached' if m.high is None else _months(m.high)}"


def sets_table(dataset: Dataset, populations: list[str]) -> Html:
    """Tabulate, for each outcome and time point, how many independent cohorts there are."""
    rows = []
    for name in populations:
        short = _target(name).population_short
        for group in _sets(dataset, name):
            fit = group.fit
            row: dict[str, Any] = {
                "Outcome": OUTCOMES[group.outcome],
                "Population": short,
                "Months": group.months,
                "Independent cohorts": len(group.independent),
                "Which": listing(m.cohort for m in group.independent),
                "Pooled": f"no, {NEEDED} needed",
            }
            if fit is not None:
                row["Pooled"] = f"{pct(fit.estimate, 1)} ({ci(fit.ci_low, fit.ci_high, 1)})"
            rows.append(row)
    if not rows:
        return Html("<p>No survival rate that the sources agree on.</p>")
    within = f"{durability.WITHIN * 100:.0f}%"
    pooled = [group.fit for name in populations for group in _sets(dataset, name) if group.fit]
    note = (
        "Rates in use, for all patients of a cohort, within "
        f"{within} of the time point; one cohort per patient set."
    )
    if pooled:
        note += " Pooled: complementary log-log, REML, Hartung–Knapp, never narrower than Wald."
    return tables.html_table(
        rows,
        "Which survival rates could be pooled",
        id="durability-sets",
        row_header="Outcome",
        stack=True,
        note=note,
    )


def widths(dataset: Dataset, populations: list[str]) -> Html:
    """Tabulate how wide the intervals are under other assumptions on the number of patients."""
    rows = []
    for name in populations:
        for m in _marks(dataset, name):
            if m.patients is None or m.size is None or m.status == "context":
                continue
            shown = {
                "Cohort": m.cohort,
                "Population": _target(name).population_short,
                "Figure": f"{m.outcome.upper()} {pct(m.rate)}, {_months(m.months)} months",
            }
            for title, factor in (
                ("All patients followed", 1.0),
                ("As shown", m.size / m.patients),
                ("Half of that", m.size / m.patients / 2),
            ):
                limits = durability.interval_at(m, factor)
                assert limits is not None  # the figure has a number of patients
                shown[title] = ci(*limits)
            rows.append(shown)
    if not rows:
        return Html("<p>No interval rests on an assumption.</p>")
    return tables.html_table(
        rows,
        "95% intervals of the survival rates by the number of patients that counts",
        id="durability-widths",
        row_header="Cohort",
        numeric=["All patients followed", "As shown", "Half of that"],
        stack=True,
    )


def elsewhere(dataset: Dataset, populations: list[str]) -> Html:
    """Tabulate every other statement on durability, with the reason why it stands apart."""
    outcomes = [*OUTCOMES, *(f"{name}_median" for name in OUTCOMES)]
    outcomes += ["remission_ongoing", "durable_response", "relapse_in_cr"]
    shown = {m.record_id for name in populations for m in _marks(dataset, name)}
    shown |= {m.record_id for name in populations for m in _medians(dataset, name)}
    frame = dataset.extraction
    frame = frame[frame["outcome"].isin(outcomes) & ~frame["record_id"].isin(shown)]
    frame = frame[~frame["status"].isin(["superseded", "not-found"])]
    reports = dataset.reports[["report_id", "citation", "doi"]]
    cohorts = dataset.cohorts[["cohort_id", "label", "disease", "note"]]
    frame = frame.merge(cohorts.rename(columns={"note": "cohort_note"}), on="cohort_id").merge(
        reports, on="report_id"
    )
    short = dataset.outcomes.set_index("outcome_id")["short_label"]
    rows = [
        {
            "Cohort": Html(
                f'<a href="data.html#{attribute(row.record_id)}">{escape(row.label)}</a>'
            ),
            "Disease": row.disease,
            "Figure": f"{short[row.outcome]}: {catalog.figure_text(row)}",
            "Why not above": _why(row),
            "Source": chapter.source(row),
        }
        for row in frame.itertuples(index=False)
    ]
    return tables.html_table(
        rows,
        "Other statements on durability in the sources",
        id="durability-elsewhere",
        row_header="Cohort",
        stack=True,
        note="Left out: repeated figures and cells that print no figure.",
    )


def _why(row: Any) -> str:
    if isinstance(row.reason, str) and row.reason:
        return row.reason
    return "Not one of these populations, or not a rate at a time point."


def counts(dataset: Dataset, populations: list[str]) -> dict[str, Any]:
    """Numbers for the prose: rates, medians, disputed figures, pooled sets."""
    marks = [m for name in populations for m in _marks(dataset, name)]
    medians = [m for name in populations for m in _medians(dataset, name)]
    sets = [group for name in populations for group in _sets(dataset, name)]
    return {
        "rates": count(len(marks), "survival rate"),
        "medians": count(len(medians), "median"),
        "disputed": sum(m.status == "disputed" for m in marks),
        "printed_intervals": sum(m.how == "printed interval" for m in marks),
        "pooled": sum(group.fit is not None for group in sets),
        "needed": NEEDED,
    }
