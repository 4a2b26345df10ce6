"""How good are the pooled trials? Two checklists item by item, and the certainty of each rate.

The judgments are data (``data/appraisal.csv``); this module holds the items in our own words and
shows them. The instruments are the checklist of the Joanna Briggs Institute for case series (Munn
2020, doi:10.11124/JBISRIR-D-19-00099) and the eight items of MINORS for studies without a control
group (Slim 2003, doi:10.1046/j.1445-2197.2003.02748.x). No score is summed: a sum would hide that
most items cannot be assessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from analysis import certainty, chapter, tables, wording
from analysis.certainty import VARIANTS
from analysis.markup import Html, attribute, escape

if TYPE_CHECKING:
    import pandas as pd

    from analysis.certainty import Judgments, Rating, Rule
    from analysis.data import Dataset

__all__ = [
    "INSTRUMENTS",
    "SHOWN",
    "Instrument",
    "basis",
    "certainties",
    "grid",
    "items",
    "judgments",
    "line",
    "other_rules",
    "rating",
    "reasons",
    "rule",
    "said",
    "summary",
]


@dataclass(frozen=True)
class Instrument:
    """A checklist: its name, and for each item a short name and the question in our own words."""

    name: str
    items: tuple[tuple[str, str], ...]


INSTRUMENTS = {
    "jbi-case-series": Instrument(
        "JBI checklist for case series",
        (
            ("Criteria", "Is it clear who was let into the trial?"),
            ("State", "Was the disease measured in one standard way in everybody?"),
            ("Diagnosis", "Was the disease identified by a valid method in everybody?"),
            ("In a row", "Were patients taken one after the other?"),
            ("All", "Are all patients who entered the trial in the results?"),
            ("Age, sex", "Are the patients described?"),
            ("History", "Are the disease and the earlier treatment described?"),
            ("Results", "Are outcomes and follow-up reported clearly?"),
            ("Center", "Are the center and the patients it serves described?"),
            ("Statistics", "Do the statistics fit the data?"),
        ),
    ),
    "minors": Instrument(
        "MINORS, studies without a control group",
        (
            ("Aim", "Is the aim stated clearly?"),
            ("In a row", "Were all suitable patients of the period taken?"),
            ("Prospective", "Were the data collected by a plan made beforehand?"),
            ("Endpoints", "Do the endpoints fit the aim, by named criteria?"),
            ("Unbiased", "Was the outcome judged by people without a stake in it?"),
            ("Follow-up", "Was the follow-up long enough for the outcome?"),
            ("Losses", "Are fewer than 5% of the infused patients missing from the response?"),
            ("Size", "Was the number of patients calculated beforehand?"),
        ),
    ),
}
#: Where the criteria of an outcome stand if not with its figure, by the first word of its id.
STATED_WITH_COHORT = {
    "orr": "response_criteria",
    "cr": "response_criteria",
    "crs": "crs_scale",
    "ntx": "ntx_scale",
}
#: What a judgment looks like in a table: a sign and a word.
SHOWN = {
    "yes": ("✓", "yes"),
    "no": ("✗", "no"),
    "unclear": ("?", "unclear"),
    "not-assessable": ("–", "n.a."),
}
#: Columns of the table of ratings before those of the domains; where long words may break.
ABOUT = ("Outcome", "Trials", "Rate", "Certainty")
HYPHENATED = {
    "Inconsistency": "Incon\u00adsistency",
    "Indirectness": "Indirect\u00adness",
    "Imprecision": "Impre\u00adcision",
    "Publication bias": "Publi\u00adcation bias",
}
SIGNS = "✓ yes, ✗ no, ? unclear, – n.a.: not assessable from the sources read."


@lru_cache(maxsize=1)
def _questions() -> tuple[chapter.Question, ...]:
    from analysis.estimands import estimands

    return tuple(chapter.ask(target.id) for target in estimands())


def judgments(dataset: Dataset, cohort_id: str) -> Judgments:
    """Return the judgments about a cohort by instrument and item; empty where there are none."""
    rows = dataset.appraisal[dataset.appraisal["cohort_id"] == cohort_id]
    return {
        (str(row.instrument), int(row.item)): str(row.judgment)
        for row in rows.itertuples(index=False)
    }


def rating(question: chapter.Question, rule: Rule = certainty.RULE) -> Rating | None:
    """Rate the certainty of an estimate; None without a trial, or if none of them is appraised."""
    if question.fit is None:
        return None
    rows = question.evidence.rows
    data = chapter.dataset()
    judged = [judgments(data, name) for name in rows["cohort_id"]]
    if not any(judged):
        return None
    scales = data.cohorts.set_index("cohort_id")
    column = STATED_WITH_COHORT.get(question.id.split("-")[0])
    criteria = []
    for row in rows.itertuples(index=False):
        stated = row.criteria
        if not isinstance(stated, str) and column is not None:
            stated = scales.loc[row.cohort_id, column]
        criteria.append(stated if isinstance(stated, str) else None)
    return certainty.rate(question.fit, judged, criteria, rule)


def said(question: chapter.Question) -> str:
    """Say the certainty of an estimate in one sentence; empty where it is not rated."""
    found = rating(question)
    if found is None:
        return ""
    return f"Certainty of the evidence, by GRADE\u2019s domains: {certainty.sentence(found)}."


def line(question: chapter.Question) -> Html:
    """Say the certainty of an estimate for its chapter, with a link to the reasons."""
    found = rating(question)
    if found is None:
        return Html("")
    return Html(
        f'<p class="ev-block ev-certainty">Certainty of the evidence: '
        f"{_level(found)}{escape(certainty.sentence(found).removeprefix(found.level))} "
        f'(<a href="appraisal.html#{attribute(question.id)}-certainty">why</a>).</p>'
    )


def summary() -> Html:
    """Say in one sentence what the appraisal found."""
    frame = _appraised()
    found = [rating(question) for question in _questions()]
    levels = [one.level for one in found if one is not None]
    each = wording.listing(
        f"{name} for {levels.count(name)}" for name in reversed(certainty.LEVELS) if name in levels
    )
    text = f"By a stated rule, the certainty of the {len(levels)} rates in CLL is {each}"
    if total := len(frame):
        silent = int((frame["judgment"] == "not-assessable").sum())
        cohorts = wording.count(frame["cohort_id"].nunique(), "pooled cohort")
        text += (
            f"; of the {total} judgments on {cohorts} that it starts from, {silent} "
            f"({wording.pct(silent / total)}) cannot be made from the sources read"
        )
    return Html(f'<p class="ev-block"><strong>{escape(text)}.</strong></p>')


def grid(instrument: str) -> Html:
    """Show the judgments of one instrument, a row per trial and a column per item."""
    chosen = INSTRUMENTS[instrument]
    data, frame = chapter.dataset(), _appraised()
    if frame.empty:
        return Html("<p>No trial is appraised.</p>")
    labels = data.cohorts.set_index("cohort_id")["label"]
    numbers = [str(i + 1) for i in range(len(chosen.items))]
    rows = []
    for cohort in frame["cohort_id"].unique():
        found = judgments(data, str(cohort))
        cells: dict[str, Any] = {"Trial": labels[cohort]}
        for name in numbers:
            cells[name] = _cell(found.get((instrument, int(name))))
        rows.append(cells)
    table = tables.html_table(
        rows,
        f"{chosen.name}: a row per trial, a column per item",
        id=f"{instrument}-grid",
        row_header="Trial",
        csv=tables.to_csv(frame[frame["instrument"] == instrument]),
        note=SIGNS,
    )
    return Html(f'<div class="ev-judged">\n{table}\n</div>')


def items(instrument: str) -> Html:
    """List the items of an instrument in our own words, with the number of each judgment."""
    chosen = INSTRUMENTS[instrument]
    frame = _appraised()
    frame = frame[frame["instrument"] == instrument]
    rows = []
    for i, (_, question) in enumerate(chosen.items):
        counts = frame.loc[frame["item"] == i + 1, "judgment"].value_counts()
        rows.append(
            {"Item": f"{i + 1} {question}"}
            | {f"{sign} {word}": int(counts.get(name, 0)) for name, (sign, word) in SHOWN.items()}
        )
    return tables.html_table(
        rows,
        f"{chosen.name}: what each item asks, and how many trials got which judgment",
        id=f"{instrument}-items",
        row_header="Item",
    )


def basis() -> Html:
    """Every judgment with what it rests on, searchable."""
    data, frame = chapter.dataset(), _appraised()
    labels = data.cohorts.set_index("cohort_id")["label"]
    if frame.empty:
        return Html("<p>No trial is appraised.</p>")
    rows = [
        {
            "Trial": labels[row.cohort_id],
            "Instrument": "JBI" if row.instrument == "jbi-case-series" else "MINORS",
            "Item": f"{row.item} {INSTRUMENTS[row.instrument].items[int(row.item) - 1][0]}",
            "Judgment": " ".join(SHOWN[row.judgment]),
            "Basis": row.basis,
            "Source": Html(
                f'<a href="data.html#report-{attribute(row.report_id)}">'
                f"{escape(row.report_id)}</a>, {escape(row.locator)}"
            ),
        }
        for row in frame.itertuples(index=False)
    ]
    return tables.browse_table(
        rows,
        "Every judgment, and what it rests on",
        id="appraisal-table",
        row_header="Trial",
        filters=["Trial", "Instrument", "Judgment"],
        csv_href="../_data/appraisal.csv",
        note=SIGNS,
    )


def rule() -> Html:
    """Tabulate the rule by which a rate is rated down."""
    main = certainty.RULE
    wide, spread = main.width, main.spread
    concerns = wording.listing(
        f"{name} ({', '.join(_item(*item) for item in items)})"
        for name, items in certainty.CONCERNS.items()
    )
    rows = [
        {
            "Domain": "Risk of bias",
            "Down by 1": "Less than half of the weight is in trials known to be free of all of "
            f"these concerns: {concerns}",
            "Down by 2": "At least half of the weight is in trials with two of them",
        },
        {
            "Domain": "Inconsistency",
            "Down by 1": f"The true rates of 95% of trials span more than {spread[0]:g} points, or "
            "there is one trial only",
            "Down by 2": f"They span more than {spread[1]:g} points",
        },
        {
            "Domain": "Indirectness",
            "Down by 1": "No one set of criteria or grading scale, whatever its version, is known "
            "to stand behind half of the weight",
            "Down by 2": "Never: every population of the book is asked for as it is",
        },
        {
            "Domain": "Imprecision",
            "Down by 1": f"The interval of the rate is wider than {wide[0]:g} points",
            "Down by 2": f"It is wider than {wide[1]:g} points",
        },
        {
            "Domain": "Publication bias",
            "Down by 1": f"Never: with fewer than {certainty.ENOUGH} trials it cannot be detected",
            "Down by 2": "Never",
        },
    ]
    return tables.html_table(
        rows,
        "The rule: every rate starts as high",
        id="certainty-rule",
        row_header="Domain",
        stack=True,
        note="Percentages are compared as they are printed.",
    )


def other_rules() -> Html:
    """Tabulate the certainty of every rate under other rules."""
    rows = []
    for question in _questions():
        found = rating(question)
        if found is None:
            continue
        row: dict[str, Any] = {
            "Outcome": f"{question.label} ({question.evidence.estimand.population_short})",
            "Main rule": found.level,
        }
        for name, other in VARIANTS.items():
            changed = rating(question, other)
            row[name] = changed.level if changed is not None else ""
        rows.append(row)
    moved = {name: sum(row[name] != row["Main rule"] for row in rows) for name in VARIANTS}
    changes = "; ".join(
        f"{name}: {wording.count(n, 'rate') if n else 'none'}" for name, n in moved.items()
    )
    best = min(
        (certainty.LEVELS.index(row[name]) for row in rows for name in VARIANTS),
        default=len(certainty.LEVELS) - 1,
    )
    text = (
        f"Rates with another level than under the main rule: {changes}. The highest level that "
        f"any rate reaches under any of these rules is {certainty.LEVELS[best]}."
    )
    table = tables.html_table(
        rows,
        "Certainty of each rate under other rules",
        id="certainty-rules-table",
        row_header="Outcome",
        stack=True,
        csv=tables.to_csv(rows),
    )
    return Html(f"<p>{escape(text)}</p>") + chapter.folded("Rate by rate", table)


def certainties() -> Html:
    """Tabulate the certainty of every rate, with how far each domain took it down."""
    rows, plain = [], []
    for question in _questions():
        found, fit = rating(question), question.fit
        if found is None or fit is None:
            continue
        rate = fit.estimate
        if rate is None and fit.k == 1:
            rate = float(fit.study_estimate[0])
        short = question.evidence.estimand.population_short
        about = {
            "Trials": fit.k,
            "Rate": wording.pct(rate),
        }
        taken = {step.domain.capitalize(): step.down for step in found.steps}
        link = f'<a href="#{attribute(question.id)}-certainty">{escape(question.label)}</a>'
        rows.append(
            {"Outcome": Html(f"{link}, {escape(short)}")}
            | about
            | {"Certainty": _level(found)}
            | {name: f"\u2212{down}" if down else "0" for name, down in taken.items()}
        )
        plain.append(
            {"Estimand": question.id, "Outcome": question.label, "Population": short}
            | about
            | {"Certainty": found.level}
            | taken
        )
    domains = [name for name in (rows[0] if rows else {}) if name not in ABOUT]
    return tables.html_table(
        rows,
        "Certainty of each rate",
        id="certainty-table",
        row_header="Outcome",
        numeric=["Rate", *domains],
        headers={name: HYPHENATED.get(name, name) for name in domains},
        stack=True,
        csv=tables.to_csv(plain),
        note="On the right, how many levels each domain took off. With one trial the rate is "
        "that of the trial.",
    )


def reasons() -> Html:
    """Give the computed reason of every step, rate by rate."""
    parts = []
    for question in _questions():
        found = rating(question)
        if found is None:
            continue
        title = f"{question.label}, {question.evidence.estimand.population_short}: {found.level}"
        lines = "".join(
            f"<li><strong>{escape(step.domain.capitalize())}, "
            f"{f'rated down by {step.down}' if step.down else 'not rated down'}.</strong> "
            f"{escape(step.reason)}</li>"
            for step in found.steps
        )
        parts.append(
            f'<details class="ev-more" id="{attribute(question.id)}-certainty">'
            f"<summary>{escape(title)}</summary>\n<p>By this rule, {escape(found.meaning)}.</p>\n"
            f"<ul>{lines}</ul>\n</details>"
        )
    return Html("\n".join(parts))


def _appraised() -> pd.DataFrame:
    """The rows of the appraisal, cohorts by year and label as in the other tables."""
    data = chapter.dataset()
    order = data.cohorts.sort_values(["year", "label"], kind="stable")["cohort_id"].tolist()
    frame = data.appraisal
    place = frame["cohort_id"].map({name: i for i, name in enumerate(order)})
    return (
        frame.assign(place=place)
        .sort_values(["place", "instrument", "item"], kind="stable", ignore_index=True)
        .drop(columns="place")
    )


def _cell(judgment: str | None) -> Html:
    if judgment is None:
        return Html('<span class="ev-judgment">not judged</span>')
    sign, word = SHOWN[judgment]
    return Html(
        f'<span class="ev-judgment ev-judgment-{attribute(judgment)}">'
        f'<span class="ev-sign" aria-hidden="true">{sign}</span> '
        f'<span class="ev-word">{escape(word)}</span></span>'
    )


def _level(found: Rating) -> Html:
    """The level in words, with as many filled circles of four."""
    filled = len(certainty.LEVELS) - certainty.LEVELS.index(found.level)
    circles = "●" * filled + "○" * (len(certainty.LEVELS) - filled)
    return Html(
        f'<span class="ev-level"><span aria-hidden="true">{circles}</span> '
        f"<strong>{escape(found.level)}</strong></span>"
    )


def _item(instrument: str, item: int) -> str:
    name = "JBI" if instrument == certainty.JBI else "MINORS"
    return f"{name} {item}"
