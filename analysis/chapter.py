"""What the chapters show: one call per sentence, figure or table of an estimand.

A chapter asks a question (`ask`) and shows parts of the answer. Every function returns something a
notebook can show; numbers reach the prose of a chapter through `glue_numbers`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from analysis import estimands, figures, tables, wording
from analysis.data import Dataset, load
from analysis.identity import code_version
from analysis.markup import Html, attribute, copy_block, escape
from analysis.overlap import RULE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from analysis.bounds import Bounds, Silent
    from analysis.choices import Choices
    from analysis.citation import Citable
    from analysis.estimands import Evidence
    from analysis.overlap_figures import Range
    from analysis.pooling import Fit

__all__ = [
    "Question",
    "answers",
    "ask",
    "bounds",
    "choices",
    "citable",
    "cite",
    "dataset",
    "folded",
    "forest",
    "glue_numbers",
    "headline",
    "leave_one_out",
    "models",
    "opening",
    "overview",
    "questions",
    "readings",
    "results",
    "section",
    "sensitivity",
    "source",
    "trials",
    "unreported",
]

# Name, model and options of what stands beside the main model. Hartung-Knapp in the form that is
# never narrower than Wald: the plain one has no width where trials happen to agree.
BESIDE: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("Bayesian, prior τ scale 1", "bayes", {"tau_scale": 1.0}),
    ("GLMM, profile t(k−1)", "glmm", {"interval": "profile-t"}),
    ("GLMM, profile χ²", "glmm", {"interval": "profile"}),
    ("REML, Hartung–Knapp", "reml", {"interval": "hartung-knapp-adhoc"}),
    ("DerSimonian–Laird", "dl", {"interval": "wald"}),
)
MAIN_NAME = "Bayesian GLMM (main)"


@dataclass(frozen=True)
class Question:
    """An estimand with its evidence and its main result.

    Attributes
    ----------
    id : str
        Id of the estimand.
    label : str
        Outcome for readers.
    population : str
        Population for readers.
    evidence : Evidence
    fit : Fit or None
        Main result; None where no trial reports the outcome.
    """

    id: str
    label: str
    population: str
    evidence: Evidence
    fit: Fit | None


@lru_cache(maxsize=1)
def dataset() -> Dataset:
    """Load the data package once per chapter."""
    return load()


def ask(estimand_id: str) -> Question:
    """Select the evidence of an estimand and pool it by the main model.

    Raises
    ------
    ValueError
        If there is no such estimand.
    """
    data, target = dataset(), estimands.estimand(estimand_id)
    before = _ASKED.get(estimand_id)
    if before is None or before[0] is not data or before[1].evidence.estimand != target:
        before = _ASKED[estimand_id] = data, _answer(data, target)
    return before[1]


# the parts of a page ask the same questions
_ASKED: dict[str, tuple[Dataset, Question]] = {}


def _answer(data: Dataset, target: estimands.Estimand) -> Question:
    found = estimands.evidence(data, target)
    labels = data.outcomes.set_index("outcome_id")["label"]
    return Question(
        id=target.id,
        label=str(labels[target.outcome]),
        population=target.population_label,
        evidence=found,
        fit=estimands.pooled(found),
    )


def questions(page: str) -> list[Question]:
    """Ask every question that the registry gives to a chapter, population by population.

    Raises
    ------
    ValueError
        If the registry gives no estimand to the chapter.
    """
    every = estimands.estimands(comparators=True)
    asked = [ask(target.id) for target in every if target.page == page]
    if not asked:
        raise ValueError(f"no estimand in {estimands.REGISTRY.name} has the chapter {page!r}")
    return asked


def opening(questions: list[Question]) -> Html:
    """Answer the questions of a chapter, and make their numbers available to its prose."""
    for question in questions:
        glue_numbers(question)
    return answers(questions)


def answers(questions: list[Question]) -> Html:
    """Say the result of each question, under the name of its population."""
    by_population: dict[str, list[str]] = {}
    for question in questions:
        said = by_population.setdefault(question.population, [])
        said.append(f"<li>{escape(_said(question))}</li>")
    return Html(
        '<div class="ev-block ev-answers">'
        + "\n".join(
            f'<p class="ev-population">{escape(population)}</p>\n<ul>{"".join(said)}</ul>'
            for population, said in by_population.items()
        )
        + "</div>"
    )


def glue_numbers(question: Question) -> None:
    """Make the numbers of a result available to the prose as ``<estimand>.<name>``.

    Names: ``trials``, ``patients``, ``events``, and where there is a pooled estimate ``estimate``,
    ``interval``, ``tau``; ``prediction`` where there is a prediction interval.
    """
    from myst_nb import glue

    fit = question.fit
    numbers: dict[str, Any] = {"trials": len(question.evidence.rows)}
    if fit is not None:
        numbers["patients"] = wording.patients(fit)
        numbers["events"] = int(sum(fit.events))
        if fit.estimate is not None:
            numbers["estimate"] = wording.pct(fit.estimate)
            numbers["interval"] = wording.ci(fit.ci_low, fit.ci_high, words=True)
        if fit.tau2 is not None:
            numbers["tau"] = wording.number(math.sqrt(fit.tau2), 2)
        if fit.pi_low is not None:
            numbers["prediction"] = wording.ci(fit.pi_low, fit.pi_high, words=True)
    for name, value in numbers.items():
        glue(f"{question.id}.{name}", value, display=False)


def forest(question: Question) -> Html:
    """Draw the forest plot, with the cohorts that are left out because they share patients."""
    fit = _fit(question)
    rows, shared = question.evidence.rows, question.evidence.shared
    columns = {"Criteria, time": [_conditions(row) for row in rows.itertuples(index=False)]}
    unpooled = _unpooled(question)
    caption = f"{question.label}, {question.population}. {_forest_legend(fit, len(shared))}"
    return figures.figure_block(
        figures.forest,
        fit,
        columns=columns,
        unpooled=unpooled,
        alt=figures.alt_forest(fit, f"{question.label}, {question.population}", unpooled=unpooled),
        caption=caption,
        name=f"{question.id}-forest",
        csv=tables.studies_csv(fit, columns=columns),
    )


def trials(question: Question) -> Html:
    """Tabulate the trials with their counts and the place in the source of each."""
    rows, shared = question.evidence.rows, question.evidence.shared
    columns = {"Source": [source(row) for row in rows.itertuples(index=False)]}
    notes = []
    if not shared.empty:
        notes.append(
            "Shares patients: not pooled, because a cohort with the same patients is. "
            f"Of cohorts that share patients the book takes {RULE}."
        )
    if not question.evidence.silent.empty:
        silent = wording.listing(str(label) for label in question.evidence.silent["label"])
        notes.append(f"In the population, but without a figure for this outcome: {silent}.")
    return tables.studies_table(
        _fit(question),
        f"{question.label}, {question.population}: trials and sources",
        id=f"{question.id}-trials",
        columns=columns,
        unpooled=[
            replace(other, cells=(source(row),))
            for other, row in zip(_unpooled(question), shared.itertuples(index=False), strict=True)
        ],
        note=" ".join(notes),
    )


def results(questions: list[Question], caption: str) -> Html:
    """Tabulate the main results of several estimands of one chapter."""
    return tables.results_table(
        [(question.label, _fit(question)) for question in questions],
        caption,
        id="results",
        hrefs=[f"#{question.id}" for question in questions],
        population=[q.evidence.estimand.population_short for q in questions],
        note=_headline_note(questions),
    )


def bounds(questions: list[Question]) -> Html:
    """Show how far the trials that do not report could move each result; see analysis.bounds."""
    from analysis import bounds as missing

    drawn: list[tuple[Question, str, Fit]] = []
    said: list[str] = []
    unknown: list[str] = []
    assumed: list[dict[str, Any]] = []
    for question in questions:
        found = missing.bounds(dataset(), question.evidence)
        if found is None:
            unknown += missing.silent(dataset(), question.evidence)[1]
            said.append(f"{_short(question)}: no trial of known size is without a figure.")
            continue
        unknown += found.unknown
        drawn += [
            (question, "As reported", _fit(question)),
            (question, "Silent trials: fewest possible", found.fewest),
            (question, "Silent trials: highest reported rate", found.as_worst),
            (question, "Silent trials: most possible", found.most),
        ]
        said.append(_bounds_sentence(question, found))
        assumed += [_assumed_row(question, trial) for trial in found.silent]
    sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in said)
    parts = [Html(f'<ul class="ev-said">{sentences}</ul>')]
    if drawn:
        group = [_short(question) for question, _, _ in drawn]
        pairs = [(name, fit) for _, name, fit in drawn]
        parts.append(
            figures.figure_block(
                figures.overview,
                pairs,
                group=group,
                alt=f"What the trials that do not report could change. {' '.join(said)}",
                caption="Each group: the trials that report, then the same with an assumed count "
                "for the silent trials: as few events as their other figures allow, the highest "
                "rate of any reporting trial, and as many events as their other figures allow. "
                "An assumed rate far from the reported ones also widens the interval.",
                name="bounds",
                csv=tables.fits_csv(
                    [(f"{of}: {name}", fit) for of, (name, fit) in zip(group, pairs, strict=True)]
                ),
            )
        )
        note = "; ".join(dict.fromkeys(unknown))
        parts.append(
            folded(
                "The silent trials",
                tables.html_table(
                    assumed,
                    "Trials that could have reported and did not",
                    id="bounds-silent",
                    stack=True,
                    note=f"No source read says how many patients they treated, so that they stand "
                    f"in no row: {note}."
                    if note
                    else "",
                ),
            )
        )
    return Html("\n".join(part.source for part in parts))


def unreported(questions: list[Question]) -> Html:
    """Say which outcomes of a chapter no trial of which population counts."""
    asked = {(q.evidence.estimand.outcome, q.evidence.estimand.population) for q in questions}
    populations = {t.population: t.population_label for t in estimands.estimands()}
    outcomes = {q.evidence.estimand.outcome: q.label for q in questions}
    said = []
    for population, name in populations.items():
        missing = [
            label for outcome, label in outcomes.items() if (outcome, population) not in asked
        ]
        if missing:
            said.append(f"{name}: no trial has a count for {_either(missing).lower()}.")
    return Html(f"<p>{escape(' '.join(said) or 'Every population has a count for each.')}</p>")


def _either(words: list[str]) -> str:
    """Join words as ``a, b or c``."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _bounds_sentence(question: Question, found: Bounds) -> str:
    silent_patients = sum(trial.total for trial in found.silent)
    names = wording.listing(trial.label for trial in found.silent)
    few, worst, many = (
        wording.pct(fit.estimate) for fit in (found.fewest, found.as_worst, found.most)
    )
    reported = wording.patients(_fit(question))
    crude = [
        wording.pct(sum(int(x) for x in fit.events) / wording.patients(fit))
        for fit in (found.fewest, found.most)
    ]
    at_least, at_most = "no event", "an event in every patient"
    if any(trial.least > 0 for trial in found.silent):
        at_least = "as few events as their other figures allow"
    if any(trial.most < trial.total for trial in found.silent):
        at_most = "as many events as their other figures allow"
    return (
        f"{_short(question)}: {wording.count(len(question.evidence.rows), 'trial')} with "
        f"{wording.count(reported, 'patient')} "
        f"{'reports' if len(question.evidence.rows) == 1 else 'report'} it, "
        f"{wording.count(len(found.silent), 'trial')} with "
        f"{wording.count(silent_patients, 'patient')} "
        f"{'does' if len(found.silent) == 1 else 'do'} not ({names}). "
        f"With {at_least} in the silent trials the pooled rate would be {few}, "
        f"at the highest reported rate ({wording.pct(found.worst_rate)}, {found.worst}) {worst}, "
        f"with {at_most} {many}. Of all patients together that would be {crude[0]} to {crude[1]}."
    )


def _assumed_row(question: Question, trial: Silent) -> dict[str, Any]:
    return {
        "Outcome": _short(question),
        "Silent trial": trial.label,
        "Patients": trial.total,
        "Fewest events": trial.least,
        "Most events": trial.most,
    }


def section(question: Question) -> Html:
    """Show an estimand: forest plot, certainty, the trials with their sources, how to cite it."""
    from analysis import appraisal

    return forest(question) + appraisal.line(question) + trials(question) + cite(question)


def sensitivity(questions: list[Question]) -> Html:
    """Show how far each result depends on one trial, on the model and on what was read.

    Four parts, each with a heading and a sentence that says how to read it: each trial left out,
    other models, other readings of the sources, other choices among cohorts that share patients.
    A question for which a part has nothing to show is named in one line.
    """
    return Html("\n".join(part.source for part in _parts(questions)))


def leave_one_out(question: Question) -> Html:
    """Show the pooled result with each trial left out, as a figure and a table."""
    from analysis import robustness

    fit = _fit(question)
    if not _can_leave_out(question):
        return _too_few(question, "With fewer than three trials none can be left out.")
    series = robustness.leave_one_out(fit.events, fit.total, labels=fit.labels, **estimands.PRIMARY)
    without = dict(zip(series.labels, series.fits, strict=True))
    title = f"{question.label}, {question.population}"
    drawn = figures.figure_block(
        figures.leave_one_out,
        fit,
        without,
        alt=figures.alt_leave_one_out(fit, without, title),
        caption=f"{title}: pooled result when one trial is left out. "
        "The band is the interval of all trials.",
        name=f"{question.id}-leave-one-out",
        csv=tables.fits_csv([("all trials", fit), *without.items()]),
    )
    listed = folded(
        "The same as a table",
        tables.leave_one_out_table(
            fit,
            without,
            f"{title}: pooled result with each trial left out",
            id=f"{question.id}-leave-one-out-table",
        ),
    )
    address = f"leave-trials-out.html#estimate={attribute(question.id)}"
    link = f'<a href="{address}">Choose the trials yourself: {escape(title)}</a>'
    return drawn + listed + Html(f"<p>{link}</p>")


def models(question: Question) -> Html:
    """Show the same trials pooled by several models, as a figure and a table."""
    fit = _fit(question)
    if fit.k < 2:
        return _too_few(question, "One trial: there is nothing to pool.")
    fits = {MAIN_NAME: fit}
    for name, model, options in BESIDE:
        other = estimands.pooled(question.evidence, model, **options)
        if other is not None:
            fits[name] = other
    title = f"{question.label}, {question.population}"
    drawn = figures.figure_block(
        figures.model_comparison,
        fits,
        alt=figures.alt_model_comparison(fits, title),
        caption=f"{title}: the same trials pooled by several models.",
        name=f"{question.id}-models",
        csv=tables.fits_csv(fits),
    )
    return drawn + folded(
        "The same as a table",
        tables.model_table(
            fits, f"{title}: the same trials by several models", id=f"{question.id}-models-table"
        ),
    )


def readings(question: Question) -> Html:
    """Tabulate the result under every other reading of the data that changes the rows."""
    others = _other_readings(question)
    fits = [(name, estimands.pooled(other)) for name, other in others]
    pairs = [("Main analysis", _fit(question))]
    pairs += [(name, fit) for name, fit in fits if fit is not None]
    gone = [name for name, fit in fits if fit is None]
    if not others:
        return Html(
            f"<p>{escape(question.population)}: no other reading of the data changes "
            "the counts of this outcome.</p>"
        )
    note = f"No trial is left under: {wording.listing(gone)}." if gone else ""
    return tables.results_table(
        pairs,
        f"{question.label}, {question.population}: other readings of the data",
        id=f"{question.id}-readings",
        first="Reading",
        note=note,
    )


def choices(question: Question) -> Html:
    """Show the result under every admissible choice among cohorts that share patients."""
    from analysis import choices as admissible
    from analysis import overlap_figures

    found, fit = question.evidence, _fit(question)
    if found.shared.empty:
        return Html(
            f"<p>{escape(question.population)}: no two cohorts that report this outcome share "
            "patients, so there is no choice to make.</p>"
        )
    overlaps = dataset().overlaps
    options = admissible.choices(found, overlaps)
    if fit.estimate is None or options.lowest is None or options.highest is None:
        return _too_few(question, "No choice of cohorts can be pooled.")
    named = [("Main analysis", "", fit)]
    for name, at in (("Lowest estimate", options.lowest), ("Highest estimate", options.highest)):
        if at != options.main_at:
            named.append((name, swaps(options, at), admissible.fit_of(options, at)))
    robust = admissible.clustered(found, overlaps)
    if robust is not None:
        about = f"REML, {robust.clusters} clusters, patients counted repeatedly"
        named.append((f"All {robust.k} cohorts, clustered by trial", about, robust))
    spans = [span_of(options, wording.count(len(options.sets), "admissible choice"), fit)]
    certain = admissible.choices(found, overlaps, possible=False)
    if certain.sets != options.sets:
        label = wording.count(len(certain.sets), "choice") + " if possible overlaps are none"
        spans.append(span_of(certain, label))
    title = f"{question.label}, {question.population}"
    caption = (
        f"{title}: every way to take one cohort per patient set. The main analysis takes {RULE}."
    )
    rows = [_choice_row(options, at) for at in range(len(options.sets))]
    drawn = figures.figure_block(
        overlap_figures.one_range,
        named,
        spans,
        alt=overlap_figures.alt_one_range(title, spans[0]),
        caption=caption,
        name=f"{question.id}-choices",
        csv=tables.to_csv(rows),
    )
    return drawn + folded(
        "Every choice as a table",
        tables.html_table(
            rows,
            f"{title}: every admissible choice of cohorts",
            id=f"{question.id}-choices-table",
            row_header="In place of the main choice",
            numeric=["Estimate", "95% interval"],
            stack=True,
            note=" ".join(robust.notes) if robust is not None else "",
        ),
    )


def span_of(options: Choices, label: str, main: Fit | None = None, **more: str) -> Range:
    """Return the range of the estimates of all choices, for a figure."""
    from analysis.overlap_figures import Range

    estimates = tuple(float(value) for value in options.estimate if value == value)
    at = None if main is None or main.estimate is None else float(main.estimate)
    return Range(label, estimates, at, **more)


def swaps(options: Choices, at: int) -> str:
    """Say in words how a choice differs from the main one."""
    return "; ".join(
        f"{wording.listing(put)} for {wording.listing(taken)}"
        if put and taken
        else f"{'with' if put else 'without'} {wording.listing(put or taken)}"
        for put, taken in options.exchanged(at)
    )


def _choice_row(options: Choices, at: int) -> dict[str, Any]:
    chosen = list(options.sets[at])
    estimate, low, high = (
        float(values[at]) for values in (options.estimate, options.ci_low, options.ci_high)
    )
    pooled_here = estimate == estimate
    return {
        "In place of the main choice": swaps(options, at) or "(the main choice)",
        "Trials": len(chosen),
        "Patients": int(options.rows["total"].iloc[chosen].sum()),
        "Estimate": wording.pct(estimate, wording.TABLE_DIGITS) if pooled_here else "not pooled",
        "95% interval": wording.ci(low, high, wording.TABLE_DIGITS) if pooled_here else "",
    }


def citable(question: Question) -> Citable:
    """Return what a citation of the estimate says: identifier, result, versions, digest."""
    from analysis.citation import Citable
    from analysis.digest import data_date

    data, fit = dataset(), question.fit
    return Citable(
        estimand_id=question.id,
        label=question.label,
        population=question.population,
        result=wording.finding(fit, question.label, digits=1) if fit is not None else "",
        data_version=data.version,
        data_sha256=data.sha256,
        code_version=code_version(),
        date=data_date(),
    )


def cite(question: Question) -> Html:
    """Offer ready citations of the estimate, each with a button that copies it."""
    from analysis.citation import FORMATS

    entry = citable(question)
    blocks = "\n".join(
        copy_block(
            name,
            write(entry),
            id=f"{question.id}-cite-{ending}",
            filename="" if ending == "txt" else f"{entry.id.replace('@', '-')}.{ending}",
            mime=mime,
            prose=ending == "txt",
        ).source
        for name, write, ending, mime in FORMATS
    )
    place = attribute(question.id)
    return Html(
        f'<details class="ev-cite"><summary>Cite this estimate</summary>\n'
        f'<p>Identifier: <code>{escape(entry.id)}</code>, at <a href="#{place}">this place</a>. '
        f'<button type="button" class="ev-button" data-ev-link="{place}" hidden>'
        f"Copy the link</button></p>\n"
        f"{blocks}\n<p>Recompute it: <code>python -m analysis estimate {place}</code>. "
        f'<a href="citing.html#{place}-report">Sentences for a paper</a>.</p>\n'
        "</details>"
    )


_BRIEF = ("orr", "cr", "crs_severe", "ntx_severe", "death_treatment_related")


def in_brief() -> Html:
    """Say the main results of the first population in one sentence."""
    asked = [ask(target.id) for target in estimands.estimands()]
    first = asked[0].population
    pooled = [
        (question, question.fit)
        for question in asked
        if question.population == first
        and question.evidence.estimand.outcome in _BRIEF
        and question.fit is not None
        and question.fit.estimate is not None
    ]
    said = [
        f"{question.label[:1].lower() + question.label[1:]} {wording.pct(fit.estimate)} "
        f"({wording.ci(fit.ci_low, fit.ci_high, words=True)})"
        for question, fit in pooled
    ]
    trials = [len(fit.events) for _, fit in pooled]
    people = [wording.patients(fit) for _, fit in pooled]
    text = f"{first}, share of patients in the median trial: {'; '.join(said)}."
    return Html(
        f'<p class="ev-block"><strong>{escape(text)}</strong> In parentheses 95% intervals, which '
        f"rest on {min(trials)} to {max(trials)} small trials with {min(people)} to {max(people)} "
        "patients. The next trial may differ by more, as the thin lines show.</p>"
    )


def headline() -> Html:
    """Tabulate every estimand of the book."""
    questions = [ask(target.id) for target in estimands.estimands()]
    return tables.results_table(
        [(question.label, _fit(question)) for question in questions],
        "Pooled results",
        id="headline",
        hrefs=[f"{_page(question)}#{question.id}" for question in questions],
        population=[q.evidence.estimand.population_short for q in questions],
        note=_headline_note(questions),
    )


def overview() -> Html:
    """Draw every pooled estimand in one figure."""
    questions = [ask(target.id) for target in estimands.estimands()]
    pairs = [(question.label, _fit(question)) for question in questions]
    return figures.figure_block(
        figures.overview,
        pairs,
        group=[question.population for question in questions],
        alt=figures.alt_overview([(f"{q.label} ({q.population})", _fit(q)) for q in questions]),
        caption="Pooled results: estimate, 95% interval (thick) and "
        "95% prediction interval (thin). Each row comes from its own set of trials; the two "
        "populations were not compared in a randomized trial.",
        name="overview",
        csv=tables.fits_csv(pairs),
    )


def _said(question: Question) -> str:
    if question.fit is None:
        return f"{question.label}: no trial of this population reports it."
    return wording.finding(question.fit, question.label)


def _page(question: Question) -> str:
    return f"{question.evidence.estimand.page}.html"


def _fit(question: Question) -> Fit:
    if question.fit is None:
        raise ValueError(f"{question.id}: no trial of this population reports the outcome")
    return question.fit


def _forest_legend(fit: Fit, shared: int) -> str:
    parts = ["Squares: trials with 95% Wilson intervals, area by weight; hollow: no event or all."]
    if fit.estimate is not None:
        parts.append(f"Diamond: {wording.model_sentence(fit)}.")
    if fit.pi_low is not None:
        parts.append("Bar: 95% prediction interval.")
    if shared:
        parts.append("Gray: shares patients with a pooled trial.")
    return " ".join(parts)


def _headline_note(questions: list[Question]) -> Html:
    fits = [_fit(question) for question in questions]
    notes = sorted({note for fit in fits if fit.k > 1 for note in fit.notes})
    if any(fit.k == 1 for fit in fits):
        notes.append("One trial: shown, not pooled.")
    text = (
        "Estimate: the rate in the median trial, by a Bayesian random-effects logistic model; τ is "
        "the standard deviation between trials on the logit scale. "
    )
    return Html(escape(text + " ".join(notes)))


def _unpooled(question: Question) -> list[figures.Unpooled]:
    rows = question.evidence.rows
    names = dict(zip(rows["cohort_id"], rows["label"], strict=True))
    return [
        figures.Unpooled(
            str(row.label),
            int(row.events),
            int(row.total),
            f"overlaps {names[row.shares_with]}",
            (_conditions(row),),
        )
        for row in question.evidence.shared.itertuples(index=False)
    ]


def _conditions(row: Any) -> str:
    """Response criteria or grading scale, and the time point, of one row."""
    months = row.timepoint_months
    time = "4 weeks" if months == 0.92 else f"{months:g} months" if months == months else ""
    return ", ".join(part for part in (_text(row.criteria), time) if part) or "not stated"


def source(row: Any) -> Html:
    """Report and place of a figure: the DOI where there is one, and the row in the data page."""
    name = escape(row.report_id)
    if isinstance(row.doi, str) and row.doi:
        name = f'<a href="https://doi.org/{attribute(row.doi)}">{name}</a>'
    return Html(f'{name}, <a href="data.html#{attribute(row.record_id)}">{escape(row.locator)}</a>')


def _can_leave_out(question: Question) -> bool:
    fit = _fit(question)
    return fit.estimate is not None and fit.k >= 3


def _other_readings(question: Question) -> list[tuple[str, Evidence]]:
    """Every reading of the data that changes the rows of a question, with its name."""
    main = question.evidence
    readings = [
        (scenario.label, estimands.evidence(dataset(), main.estimand, scenario))
        for scenario in estimands.scenarios(main.estimand.population)
    ]
    return [(name, other) for name, other in readings if _counts(other) != _counts(main)]


def _parts(questions: list[Question]) -> Iterator[Html]:
    """The parts of :func:`sensitivity`."""
    pooled = [question for question in questions if _fit(question).k > 1]
    yield _part(
        "Does one trial decide the result?",
        "Each point is the pooled result without the trial named beside it. A trial that moves "
        "the point out of the shaded band would decide the result alone.",
        questions,
        [question for question in questions if _can_leave_out(question)],
        leave_one_out,
        "fewer than three trials, so none can be left out",
    )
    main = f"the {wording.model_sentence(_fit(pooled[0]))}" if pooled else "one model"
    yield _part(
        "Does the model decide the result?",
        Html(
            f"The book&#8217;s main results use {escape(main)}. Here the same trials are pooled by "
            "other models, among them the two-step models that most published meta-analyses use. "
            '<a href="how-pooling-works.html">How pooling works</a> explains them and names those '
            "who proposed them."
        ),
        questions,
        pooled,
        models,
        "one trial, so there is nothing to pool",
    )
    yield _part(
        "Would another reading of the sources change it?",
        "The sources leave choices open. Each row repeats the analysis with another defensible "
        "reading of the data: counts in dispute, counts that follow from another figure without "
        "being printed, or only the counts that a source prints.",
        questions,
        [question for question in questions if _other_readings(question)],
        readings,
        "no other reading of the data changes a count",
    )
    yield _part(
        "Would other reports of the same patients change it?",
        Html(
            "The sources report some patients more than once. The main analysis takes one cohort "
            'of each patient set by a fixed rule (<a href="who-is-counted-twice.html">Who is '
            "counted twice?</a>); the figures show what every other choice that counts no patient "
            "twice would have given."
        ),
        questions,
        [question for question in questions if not question.evidence.shared.empty],
        choices,
        "no two cohorts that report it share patients, so there is no choice to make",
    )


def _part(
    heading: str,
    said: str | Html,
    questions: list[Question],
    shown: list[Question],
    show: Callable[[Question], Html],
    otherwise: str,
) -> Html:
    """One part of :func:`sensitivity`: what there is to show, and for which questions nothing."""
    names = {question.id for question in shown}
    left = [_short(question) for question in questions if question.id not in names]
    pieces = [f'<h3 id="{attribute(_slug(heading))}">{escape(heading)}</h3>']
    if shown:
        pieces.append(f"<p>{escape(said)}</p>")
    pieces += [show(question).source for question in shown]
    if left:
        whose = "; ".join(left) if shown or len(left) == 1 else "All results of this page"
        pieces.append(f"<p>{escape(whose)}: {escape(otherwise)}.</p>")
    return Html("\n".join(pieces))


def _short(question: Question) -> str:
    """Outcome and population in few words."""
    return f"{question.label} ({question.evidence.estimand.population_short})"


def _slug(heading: str) -> str:
    """The anchor that a heading of these words has in the pages."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def _counts(found: Evidence) -> set[tuple[str, int, int]]:
    rows = found.rows
    return set(zip(rows["cohort_id"], rows["events"], rows["total"], strict=True))


def folded(summary: str, content: Html) -> Html:
    return Html(
        f'<details class="ev-more"><summary>{escape(summary)}</summary>\n{content}\n</details>'
    )


def _too_few(question: Question, sentence: str) -> Html:
    return Html(f"<p>{escape(_short(question))}: {escape(sentence)}</p>")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
