"""What the chapter on CLL among B-cell cancers shows: sentences, pictures and tables.

Results of single diseases are the book's published estimates; differences between diseases and
their tests come from `analysis.diseases`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from analysis import chapter, comparisons, diseases, figures, tables, wording
from analysis.chapter import Question
from analysis.comparison_pages import beyond, low_first
from analysis.comparisons import Contrast, Outcome, Variation
from analysis.diseases import GROUPS, OTHER, OUTCOMES, REFERENCE, USUAL
from analysis.markup import Html, attribute, escape

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = [
    "answer",
    "by_scale",
    "compare",
    "concluded",
    "denominators",
    "each",
    "firmness",
    "left_out",
    "opening",
    "overview",
    "results",
    "scale_effect",
]

CLL = GROUPS[REFERENCE]
#: The outcome that the reviews speak of first comes first.
ORDER = ("cr", "orr", "crs_severe", "ntx_severe")
#: What else the diseases are held against: columns of cohorts.csv.
CHARACTERISTICS = (
    "target",
    "costimulatory_domain",
    "prior_lines_median",
    "response_criteria",
    "follow_up_months",
)
#: Short names of the outcomes, for sentences and narrow tables.
SHORT = {
    "orr": "overall response",
    "cr": "complete response",
    "crs_severe": "severe cytokine release syndrome",
    "ntx_severe": "severe neurotoxicity",
}
UNKNOWN = "not stated"
#: Groups that the reviews name when they say that CLL responds less.
NAMED = ("cd19-b-all", "cd19-large-b-cell")


@lru_cache(maxsize=1)
def _data() -> Dataset:
    return diseases.annotated(chapter.dataset())


@lru_cache(maxsize=1)
def _questions() -> dict[str, dict[str, Question]]:
    """Every outcome in every disease, by outcome and then by disease."""
    return {
        outcome: {
            label: chapter.ask(diseases.target(outcome, population).id)
            for population, label in GROUPS.items()
        }
        for outcome in ORDER
    }


def compare() -> dict[str, Outcome]:
    """Compare the diseases in every outcome; the keys are the outcomes."""
    return {outcome: diseases.compare(_data(), outcome) for outcome in ORDER}


# ------------------------------------------------------------------------------ sentences


def _sides(one: Outcome) -> tuple[list[Contrast], list[Contrast], list[Contrast]]:
    """Tested diseases with more events than CLL, with fewer, and those that may be alike."""
    more = [way for way in one.contrasts if way.low > 1]
    fewer = [way for way in one.contrasts if way.high < 1]
    alike = [way for way in one.contrasts if way not in more and way not in fewer]
    return more, fewer, alike


def _names(ways: Sequence[Contrast], of: str = "") -> str:
    """Name the diseases of contrasts, with the pooled rate of an outcome if one is given."""
    return wording.listing([f"{low_first(way.level)}{_rate(of, way.level)}" for way in ways])


def _rate(outcome: str, label: str) -> str:
    fit = _questions()[outcome][label].fit if outcome else None
    if fit is None or fit.estimate is None or wording.is_limit(fit):
        return ""
    return f" ({wording.pct(fit.estimate)})"


def _verdict(one: Outcome, rates: bool = False) -> str:
    """Say of one outcome which diseases differ from CLL, in a clause."""
    name = SHORT[one.outcome]
    if one.p is None or not one.contrasts:
        return f"{name} cannot be compared"
    if beyond(one) != "both":
        return f"in {name} the diseases do not differ beyond chance"
    of = one.outcome if rates else ""
    more, fewer, alike = _sides(one)
    cll = f"{CLL}{_rate(of, CLL)}"
    said = []
    if more:
        said.append(f"rarer in {cll} than in {_names(more, of)}")
    if fewer:
        said.append(f"more frequent in {cll} than in {_names(fewer, of)}")
    if not said:
        return f"in {name} the diseases differ, but none of them differs from CLL beyond chance"
    text = f"{name} is {' and '.join(said)}"
    if alike and not rates:
        text += f", and not shown to differ from {_names(alike).replace(' and ', ' or ')}"
    return text


def answer(found: dict[str, Outcome]) -> str:
    """Return the one-sentence answer of the page."""
    said, alike = [], []
    for outcome in ORDER:
        one = found[outcome]
        if one.p is not None and one.contrasts and beyond(one) != "both":
            alike.append(SHORT[outcome])
        else:
            said.append(_verdict(one, rates=True))
    if alike:
        names = wording.listing(alike).replace(" and ", " or ")
        said.append(f"in {names} the diseases do not differ beyond chance")
    return f"Between trials of different cancers, {'; '.join(said)}."


def opening(found: dict[str, Outcome]) -> Html:
    """Answer the question of the page, with the result of every outcome in every disease."""
    items = []
    for by_disease in _questions().values():
        sides = [_side(label, question) for label, question in by_disease.items()]
        label = next(iter(by_disease.values())).label
        items.append(f"<li>{escape(f'{label}: ' + '; '.join(sides) + '.')}</li>")
    return Html(
        '<div class="ev-block ev-answers">'
        f'<p class="ev-population">{escape(answer(found))}</p>\n<ul>{"".join(items)}</ul></div>'
    )


def _side(label: str, question: Question) -> str:
    fit = question.fit
    if fit is None:
        return f"{low_first(label)} no trial"
    if fit.estimate is None or wording.is_limit(fit):
        counted = f"{int(sum(fit.events))} of {wording.count(wording.patients(fit), 'patient')}"
        trials = wording.count(len(fit.events), "trial").replace("1 ", "one ")
        return f"{low_first(label)} {counted} in {trials}, not pooled"
    return (
        f"{low_first(label)} {wording.pct(fit.estimate)} "
        f"({wording.ci(fit.ci_low, fit.ci_high, words=True)})"
    )


# -------------------------------------------------------------------------------- figures


def _rows() -> list[tuple[str, str, Question]]:
    """Every result with the label of its outcome and of its disease."""
    return [
        (question.label, label, question)
        for by_disease in _questions().values()
        for label, question in by_disease.items()
        if question.fit is not None
    ]


def overview(found: dict[str, Outcome]) -> Html:
    """Draw every outcome in every disease in one figure."""
    rows = _rows()
    pairs: list[tuple[str, Any]] = [(label, question.fit) for _, label, question in rows]
    said = [
        f"{by[CLL].label}: " + "; ".join(_side(name, q) for name, q in by.items())
        for by in _questions().values()
    ]
    return figures.figure_block(
        figures.overview,
        pairs,
        group=[of for of, _, _ in rows],
        strong=[label == CLL for _, label, _ in rows],
        alt=f"Pooled percentages by disease. {'. '.join(said)}. {answer(found)}",
        caption="Each row is pooled from its own trials by the book\u2019s main analysis: estimate "
        "with its 95% interval (thick) and 95% prediction interval (thin). A single trial is shown "
        "and not pooled (square). The groups of patients were never compared at random.",
        name="diseases-overview",
        csv=tables.fits_csv([(f"{of}: {label}", q.fit) for of, label, q in rows]),
    )


def results() -> Html:
    """Tabulate every outcome in every disease: interval, prediction interval, spread."""
    rows = _rows()
    fits: list[tuple[str, Any]] = [(of, question.fit) for of, _, question in rows]
    here = diseases.comparison().page
    table = tables.results_table(
        fits,
        "CLL and other B-cell cancers: pooled results",
        id="results",
        hrefs=[
            f"#{q.id}"
            if q.evidence.estimand.page == here
            else f"{q.evidence.estimand.page}.html#{q.id}"
            for _, _, q in rows
        ],
        population=[label for _, label, _ in rows],
        note="By the book\u2019s main analysis. The rows of CLL lead to the chapters of the "
        "outcomes.",
    )
    return chapter.folded("The same as a table, with the spread between trials", table)


def each(outcome: str) -> Html:
    """List the estimates of one outcome in the other diseases, each with how to cite it.

    Parameters
    ----------
    outcome : str
        One of `OUTCOMES`.

    Raises
    ------
    ValueError
        If it is another outcome.
    """
    if outcome not in OUTCOMES:
        raise ValueError(f"outcome must be one of {', '.join(OUTCOMES)}, not {outcome!r}")
    parts = []
    for label, question in _questions()[outcome].items():
        if label == CLL or question.fit is None:
            continue
        text = wording.finding(question.fit, f"{question.label}, {low_first(label)}")
        parts.append(
            f'<p id="{attribute(question.id)}">{escape(text)}</p>\n{chapter.cite(question).source}'
        )
    return chapter.folded("Each estimate, and how to cite it", Html("\n".join(parts)))


# --------------------------------------------------------------------------------- tables


def firmness(outcome: str) -> Html:
    """Tabulate CLL against the diseases that the reviews name, by other models and readings.

    Parameters
    ----------
    outcome : str
        One of `OUTCOMES`.
    """
    rows: list[dict[str, Any]] = []
    said = []
    for population in NAMED:
        label = GROUPS[population]
        one = diseases.pair(_data(), outcome, population)
        ways = comparisons.variations(_data(), one)
        rows += [_variation_row(label, way) for way in ways]
        said += [_range_of(label, ways)] if ways else []
    if not rows:
        return Html("<p>None of the diseases has two trials to hold beside those of CLL.</p>")
    table = tables.html_table(
        rows,
        f"{_questions()[outcome][CLL].label}: CLL against the diseases that the reviews name",
        id=f"diseases-{outcome.replace('_', '-')}-firmness",
        row_header="Analysis",
        numeric=["Odds ratio", "95% CI"],
        stack=True,
        csv=tables.to_csv(rows),
        note="Each model holds CLL and one other disease, so that the spread between trials is "
        "that of the two; above, one spread serves all diseases.",
    )
    folded = chapter.folded("Other models, other readings, one trial left out", table)
    return Html(f"<p>{escape(' '.join(said))}</p>\n{folded.source}")


def _range_of(label: str, ways: Sequence[Variation]) -> str:
    """Say how far the odds ratio goes over all analyses of a pair."""
    known = [
        (way.odds_ratio, way.low, way.high)
        for way in ways
        if way.odds_ratio is not None and way.low is not None and way.high is not None
    ]
    least, most = (pick(at for at, _, _ in known) for pick in (min, max))
    span = f"lies between {wording.ratio(least)} and {wording.ratio(most)}"
    if most == math.inf:
        span = f"is at least {wording.ratio(least)}"
    crossing = sum(low <= 1 <= high for _, low, high in known)
    kept = "none of the intervals includes" if crossing == 0 else f"{crossing} of the intervals"
    kept += "" if crossing == 0 else " include" if crossing > 1 else " includes"
    return (
        f"{label} against CLL: in {wording.count(len(known), 'analysis', 'analyses')} of the same "
        f"question the odds ratio {span}, and {kept} no difference."
    )


def _variation_row(label: str, way: Variation) -> dict[str, Any]:
    row: dict[str, Any] = {"Against CLL": label, "Analysis": way.name, "Trials": way.k}
    if way.odds_ratio is None or way.low is None or way.high is None:
        return row | {"Odds ratio": way.note or "none", "95% CI": ""}
    span = f"{wording.ratio(way.low)} to {wording.ratio(way.high)}"
    return row | {"Odds ratio": wording.ratio(way.odds_ratio), "95% CI": span}


def denominators(found: Outcome) -> Html:
    """Say which patients the rates of each disease count."""
    said = []
    for label in GROUPS.values():
        kinds = found.rows[found.rows["level"] == label]["denominator"]
        counted = [
            f"{COUNTED[kind]} in {wording.count(int((kinds == kind).sum()), 'trial')}"
            for kind in COUNTED
            if (kinds == kind).any()
        ]
        if counted:
            said.append(f"{low_first(label)} {wording.listing(counted)}")
    text = f"Patients counted for {SHORT[found.outcome]}: {'; '.join(said)}."
    return Html(f"<p>{escape(text)}</p>")


def by_scale(found: Outcome) -> Html:
    """Tabulate the trials of a severe toxicity by disease and grading scale.

    Parameters
    ----------
    found : Outcome
        Of a graded outcome.
    """
    rows = diseases.with_scale(_data(), found)
    printed = [s if isinstance(s, str) else UNKNOWN for s in rows["scale"]]
    # the versions of one edition grade these events alike
    rows = rows.assign(scale=[re.sub(r"^(CTCAE \d)\.\d+$", r"\1", s) for s in printed])
    note = "Patients with the event, of the patients infused where the source says so."
    if rows["scale"].str.startswith("CTCAE").any():
        note += (
            " Versions of one edition of the Common Terminology Criteria (CTCAE) share a column."
        )
    scales = sorted(set(rows["scale"]), key=lambda s: (s == UNKNOWN, s != USUAL, s))
    shown = []
    for label in GROUPS.values():
        part = rows[rows["level"] == label]
        cells = {
            scale: "; ".join(
                f"{row.label} {int(row.events)}/{int(row.total)} "
                f"({wording.pct(row.events / row.total)})"
                for row in part[part["scale"] == scale].itertuples(index=False)
            )
            for scale in scales
        }
        shown.append({"Disease": label} | cells)
    return tables.html_table(
        shown,
        f"{found.label}: each trial by disease and grading scale",
        id=f"diseases-{found.outcome.replace('_', '-')}-scales",
        stack=True,
        csv=tables.to_csv(
            {
                "disease": row.level,
                "trial": row.label,
                "scale": row.scale,
                "events": int(row.events),
                "total": int(row.total),
            }
            for row in rows.assign(scale=printed).itertuples(index=False)
        ),
        note=note,
    )


def scale_effect(found: Outcome) -> Html:
    """Say how much of the difference between diseases a grading scale can make."""
    effect = diseases.scale_effect(_data(), found)
    said = []
    if effect.odds_ratio is None or effect.low is None or effect.high is None:
        said.append("The scales cannot be compared within diseases.")
    else:
        span = f"{wording.ratio(effect.low)} to {wording.ratio(effect.high)}"
        said.append(
            f"Within the same disease, the odds of {SHORT[found.outcome]} were "
            f"{wording.ratio(effect.odds_ratio)} times as high ({span}) in trials that graded on "
            f"the {OTHER} scale as in trials that graded by {USUAL} "
            f"({wording.count(len(effect.rows), 'trial')}, disease and scale in one model)."
        )
        if found.contrasts:
            size = max(found.contrasts, key=lambda way: abs(_log(way.odds_ratio)))
            factor = max(size.odds_ratio, 1 / size.odds_ratio)
            scale = max(effect.odds_ratio, 1 / effect.odds_ratio)
            said.append(
                f"That is {'more' if scale > factor else 'less'} than the largest factor between "
                f"CLL and another disease in the comparison above ({wording.ratio(factor)}, "
                f"{low_first(size.level)}), where the scales are mixed."
            )
    made = diseases.scaled(_data(), found)
    rows = diseases.with_scale(_data(), found)
    cll = rows[(rows["scale"] == USUAL) & (rows["level"] == CLL)]
    if made:
        ways = [
            f"{low_first(way.level)} {wording.ratio(way.odds_ratio)} "
            f"({wording.ratio(way.low)} to {wording.ratio(way.high)})"
            for way in made
        ]
        said.append(
            f"Among the trials that graded by {USUAL} alone, CLL has "
            f"{wording.count(len(cll), 'trial')} ({wording.listing(list(cll['label']))}), and the "
            f"odds ratios against CLL are {wording.listing(ways)}: too wide to say more."
            if all(way.low < 1 < way.high for way in made)
            else f"Among the trials that graded by {USUAL} alone, the odds ratios against CLL are "
            f"{wording.listing(ways)}."
        )
    else:
        said.append(f"No comparison can be made among the trials that graded by {USUAL} alone.")
    return Html(f"<p>{escape(' '.join(said))}</p>")


def _log(value: float) -> float:
    return math.log(value) if 0 < value < math.inf else math.inf


#: Denominators of the data package, and how they are said here.
COUNTED = {
    "infused": "all infused",
    "evaluable": "those evaluated",
    "enrolled": "all enrolled",
    "subgroup": "a subgroup",
}

#: Why a cohort is in no group: column of cohorts.csv, and how its value is said.
WHY = (
    ("partner_drug", "with {}"),
    ("target", "target {}"),
    ("cell_source", "cells {}"),
    ("design", "{}"),
    ("setting", "{}"),
)


def left_out() -> Html:
    """Tabulate the cohorts of other B-cell cancers that are in no group, and why."""
    data = _data()
    wanted = {
        diseases.target("orr", name).where["disease"]: diseases.target("orr", name).where
        for name in GROUPS
        if name != REFERENCE
    }
    usual = next(iter(wanted.values()))
    cohorts = data.cohorts
    cohorts = cohorts[cohorts[diseases.COLUMN].isna() & cohorts["disease"].isin([*wanted, "NHL"])]
    counts = data.extraction
    counts = counts[(counts["status"] == "used") & counts["events"].notna()]
    rows = []
    for cohort in cohorts.itertuples(index=False):
        where = wanted.get(cohort.disease, usual)
        why = [
            said.format(getattr(cohort, column))
            for column, said in WHY
            if getattr(cohort, column) != where[column]
        ]
        if cohort.disease not in wanted:
            why.insert(0, "lymphomas of several kinds")
        own = counts[counts["cohort_id"] == cohort.cohort_id].drop_duplicates("outcome")
        own = own.set_index("outcome")
        said = [
            f"{SHORT[outcome]} {int(own.loc[outcome, 'events'])}/{int(own.loc[outcome, 'total'])}"
            for outcome in ORDER
            if outcome in own.index
        ]
        rows.append(
            {
                "Cohort": cohort.label,
                "Disease": cohort.disease,
                "Why": "; ".join(why),
                "Counts": "; ".join(said) or "none",
            }
        )
    if not rows:
        return Html("<p>Every cohort of these diseases is in a group.</p>")
    silent = [
        f"{label}: {wording.listing(missing)} ({low_first(_questions()[outcome][CLL].label)})"
        for outcome, by_disease in _questions().items()
        for label, question in by_disease.items()
        if label != CLL
        for missing in [[str(name) for name in question.evidence.silent["label"]]]
        if missing
    ]
    note = "Cohorts that mix CLL with other diseases are in no group either."
    if silent:
        note += f" In a group, but without a usable count: {'; '.join(silent)}."
    return tables.html_table(
        rows,
        "Cohorts of other B-cell cancers that are in no group",
        id="diseases-left-out",
        stack=True,
        csv=tables.to_csv(rows),
        note=note,
    )


def concluded(found: dict[str, Outcome]) -> Html:
    """List what the comparison allows to conclude: what differs, by how much, and what is open."""
    items = []
    for outcome in ORDER:
        one = found[outcome]
        if one.p is None or not one.contrasts:
            continue
        text = f"{_verdict(one)[:1].upper()}{_verdict(one)[1:]}."
        if beyond(one) == "both":
            more, fewer, _ = _sides(one)
            sized = [
                f"{low_first(way.level)} {wording.points(way.points)} percentage points "
                f"({wording.points(way.points_low)} to {wording.points(way.points_high)})"
                for way in (*more, *fewer)
            ]
            text += f" Against CLL: {'; '.join(sized)}." if sized else ""
        else:
            more, fewer, _ = _sides(one)
            ways = [
                f"{low_first(way.level)} {wording.points(way.points_low)} to "
                f"{wording.points(way.points_high)}"
                for way in one.contrasts
            ]
            text += (
                " That does not show that they are alike; the intervals of the difference from "
                f"CLL, in percentage points: {'; '.join(ways)}."
            )
            if more or fewer:
                alone = (*more, *fewer)
                verb = "interval" if len(alone) == 1 else "intervals"
                leaves = "leaves" if len(alone) == 1 else "leave"
                text += (
                    f" The {verb} for {_names(alone)} {leaves} out no difference, but the test "
                    "over all diseases counts first."
                )
        items.append(text)
    return Html(f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>")
