"""What the chapter "Which interval to trust" shows: one call per sentence, figure or table."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from analysis.calibration import pictures, study
from analysis.calibration.command import minutes
from analysis.calibration.decision import (
    FLOOR,
    LEAST_EVENTS,
    LEAST_TRIALS,
    NEAR,
    Choice,
    recommended,
    relevant,
    scores,
)
from analysis.calibration.methods import METHODS, SCALES, Method
from analysis.calibration.truths import TAU, WORLDS, P
from analysis.figures import figure_block
from analysis.markup import Html, escape
from analysis.tables import html_table, to_csv
from analysis.wording import ci, count, listing, number, pct

if TYPE_CHECKING:
    import pandas as pd

    from analysis.data import Dataset

__all__ = [
    "again",
    "by_trials",
    "coverage",
    "decision",
    "designs",
    "exactness",
    "failing",
    "headline",
    "misspecified",
    "score_table",
    "summary",
    "took",
    "width_against_coverage",
]

WORLD_NAMES = {
    "normal": "normal",
    "beta": "beta",
    "two-point": "two kinds",
    "skewed": "skewed",
    "size": "by size",
}
WORLD_HEADS = {
    "normal": "norm.",
    "beta": "beta",
    "two-point": "two",
    "skewed": "skew",
    "size": "size",
}
TAU_HEADS = {0.25: "¼", 0.5: "½", 1.5: "1½"}
TARGET_NAMES = {
    "median": "the rate in the median trial",
    "average": "the population average",
    "next": "the rate of a next trial",
}
COMMON = (
    "dl-logit-wald", "reml-logit-hk", "reml-logit-adhoc", "dl-arcsine-wald", "dl-ft-wald",
    "reml-ft-adhoc", "glmm-wald", "glmm-t", "glmm-profile", "glmm-bartlett", "glmm-profile-t",
    "bayes-0.5", "bayes-1", "bayes-2", "naive",
)  # fmt: skip
"""Methods shown in figures: those in common use, and all of the binomial models."""

_COLORS = {
    "two-step": "muted",
    "glmm": "study",
    "beta-binomial": "third",
    "bayes": "pooled",
    "naive": "reference",
}


@lru_cache(maxsize=1)
def _table() -> tuple[pd.DataFrame, dict[str, Any]]:
    return study.load_table()


@lru_cache(maxsize=1)
def _choices() -> dict[str, Choice]:
    return recommended(*_table())


def _relevant() -> pd.DataFrame:
    frame, facts = _table()
    entries = facts["designs"]
    return relevant(
        frame,
        {name: entry["total"] for name, entry in entries.items()},
        book_only=[name for name, entry in entries.items() if entry["estimands"]],
    )


def _method(name: str, target: str) -> Method:
    return next(m for m in METHODS if m.id == name and m.target == target)


def _label(choice: Choice) -> str:
    return _method(choice.method, choice.target).label


def _percent(value: float, digits: int = 0) -> str:
    return f"{number(value, digits)}%"


def summary() -> Html:
    """Answer in one plain sentence, then say per target what the rule picks and how it does."""
    main = _choices()["median"]
    where = "all" if main.share == 100.0 else _percent(main.share)
    answer = (
        f"In {where} of the {main.cells} situations tried with trials of these sizes, the "
        f"interval that the book uses ({_label(main)}) holds the true rate in at least "
        f"{_percent(FLOOR)} of the repetitions"
        f"{'' if main.qualified else '; no interval does so in all of them'}."
    )
    said = []
    for target, choice in _choices().items():
        reach = (
            "in every one"
            if choice.share == 100.0
            else f"in {_percent(choice.share)} of the cells, not in every one"
        )
        said.append(
            f"<li>For {escape(TARGET_NAMES[target])} the rule picks <strong>"
            f"{escape(_label(choice))}</strong>: of {choice.cells} relevant cells it reaches "
            f"{_percent(FLOOR)} {reach}; its worst coverage is {_percent(choice.worst, 1)} "
            f"({escape(_cell_words(choice.worst_cell))}), its mean width "
            f"{number(choice.width, 0)} percentage points.</li>"
        )
    return Html(
        f'<p class="ev-block"><strong>{escape(answer)}</strong></p>\n'
        f'<div class="ev-block ev-answers"><ul>{"".join(said)}</ul></div>'
    )


def _cell_words(text: str) -> str:
    for short, long in WORLD_NAMES.items():
        text = text.replace(f", {short},", f", world “{long}”,")
    return f"design {text}"


def designs() -> Html:
    """Tabulate the designs: number of trials, their sizes, estimands with these sizes."""
    frame, facts = _table()
    elsewhere = set(frame.loc[frame["world"] != "normal", "design"])
    rows = [
        {
            "Design": name,
            "Trials": len(entry["total"]),
            "Patients": sum(entry["total"]),
            "Patients of each trial": ", ".join(str(n) for n in entry["total"]),
            "Estimands": ", ".join(entry["estimands"]) or "none: drawn",
            "Worlds": "all" if name in elsewhere else "normal",
        }
        for name, entry in sorted(
            facts["designs"].items(), key=lambda item: (not item[1]["estimands"], item[0])
        )
    ]
    rows.sort(key=lambda row: (row["Estimands"] == "none: drawn", row["Trials"]))
    return html_table(rows, "Designs of the study", id="calibration-designs", stack=True)


def sizes() -> Html:
    """Say how few and how small the trials of the book are, and which sets were drawn from them."""
    facts = _table()[1]["designs"]
    own = [entry["total"] for entry in facts.values() if entry["estimands"]]
    drawn = [len(entry["total"]) for entry in facts.values() if not entry["estimands"]]
    return Html(
        f"<p>The pooled results of this book rest on {min(map(len, own))} to {max(map(len, own))} "
        f"trials, the smallest with {count(min(map(min, own)), 'patient')}. The designs are these "
        "numbers of patients, as they are, and drawn sets of "
        f"{listing(str(k) for k in sorted(drawn))} trials of the same sizes.</p>"
    )


def truths() -> Html:
    """Say which rates and which spreads were simulated."""
    rates = ", ".join(f"{100 * p:g}%" for p in P)
    spreads = ", ".join(TAU_HEADS.get(tau, f"{tau:g}") for tau in TAU)
    return Html(
        f"<p>The truths: each of these rates in the median trial, {rates}, with each of these "
        f"spreads τ on the log-odds scale, {spreads}. How the true rates scatter around their "
        f"median differs between {count(len(WORLDS), 'world')}. In all of them the given rate is "
        "the median and τ the standard deviation of the log odds.</p>"
    )


def rule() -> Html:
    """Write the rule out, with the numbers that the code applies."""
    steps = (
        f"Relevant are the cells of the designs of the book with {LEAST_TRIALS} or more trials, "
        f"in every world, at rates at which {LEAST_EVENTS:g} or more events (and as many patients "
        "without one) are expected. Two trials cannot say how much trials differ.",
        f"An interval qualifies if it covers in at least {FLOOR:g}% in every relevant cell, two "
        "Monte-Carlo errors allowed.",
        "Of those that qualify the shortest is taken.",
        f"If none does: first the share of cells that reach {FLOOR:g}%; among those within "
        f"{NEAR:g} points of the best, the least mean width.",
    )
    return Html("<ol>" + "".join(f"<li>{step}</li>" for step in steps) + "</ol>")


def stale(dataset: Dataset) -> Html:
    """Say whether the data have come to have designs that the study has not run."""
    from analysis.calibration.designs import real_designs

    _, facts = _table()
    known = {tuple(entry["total"]) for entry in facts["designs"].values() if entry["estimands"]}
    new = [d for d in real_designs(dataset) if d.total not in known]
    if not new:
        return Html(
            "<p>The designs of the study are those of this version of the data, all of them.</p>"
        )
    names = listing(escape(name) for d in new for name in d.estimands)
    return Html(
        f"<p>The data have changed since the study was run: the sizes of the trials of {names} "
        "are not among its designs. They lie near those that are; <code>python -m analysis "
        "simulate --out data/calibration.csv</code> brings the study up to date.</p>"
    )


def _main_design(facts: dict[str, Any]) -> str:
    """The design of the book with the most trials, then patients."""
    real = {n: e for n, e in facts["designs"].items() if e["estimands"]}
    return max(real, key=lambda n: (len(real[n]["total"]), sum(real[n]["total"])))


def _picked(name: str) -> bool:
    return any(choice.method == name for choice in _choices().values() if choice.target != "next")


def coverage(design: str | None = None) -> Html:
    """Heat map: coverage of the median trial by method and truth, one design, normal world."""
    frame, facts = _table()
    name = design or _main_design(facts)
    part = frame[(frame["design"] == name) & (frame["world"] == "normal")]
    part = part[part["target"] == "median"].set_index(["method", "p", "tau"])["coverage"]
    rows = []
    previous = ""
    for method in COMMON:
        entry = _method(method, "median")
        rows.append(
            pictures.HeatRow(
                entry.short,
                tuple(_value(part.get((method, p, tau))) for p in P for tau in TAU),
                strong=_choices()["median"].method == method,
                rule=bool(previous) and entry.family != previous,
            )
        )
        previous = entry.family
    groups = [(f"rate {pct(p)}", [TAU_HEADS.get(tau, f"{tau:g}") for tau in TAU]) for p in P]
    total = facts["designs"][name]["total"]
    worst = min(rows, key=lambda row: min(v for v in row.values if v is not None))
    lowest = min(v for v in worst.values if v is not None)
    own = next(row for row in rows if row.strong)
    alt = (
        f"Heat map of the coverage of nominal 95% intervals for {count(len(total), 'trial')} of "
        f"{listing(str(n) for n in total)} patients. The method that the rule picks covers in "
        f"{_percent(min(v for v in own.values if v is not None))} or more of the simulations; "
        f"the lowest value is {_percent(lowest)}, for {worst.label}."
    )
    return figure_block(
        pictures.heat,
        rows,
        groups,
        alt=alt,
        caption=f"Coverage in percent (whole percents, rounded down) of the rate in the median "
        f"trial, {count(len(total), 'trial')} with {', '.join(str(n) for n in total)} patients, "
        "true rates normal on the log-odds scale. Columns: τ within each true rate. "
        "Bold: picked by the rule. FT: Freeman–Tukey; HK: Hartung–Knapp.",
        name=f"calibration-coverage-{name}",
        csv=to_csv(frame[(frame["design"] == name) & (frame["world"] == "normal")]),
    )


def _value(value: Any) -> float | None:
    return None if value is None or value != value else float(value)


def misspecified(target: str = "median") -> Html:
    """Heat map: mean and least coverage in the relevant cells of each world."""
    frame = _relevant()
    own = frame[frame["target"] == target]
    shared = set(own.loc[own["world"] != "normal", "design"])
    own = own[own["design"].isin(shared) & (own["tau"] > 0)]
    names = COMMON if target == "median" else tuple(m.id for m in METHODS if m.target == target)
    groups = own.groupby(["method", "world"])["coverage"]
    means, least = groups.mean(), groups.min()
    rows, previous = [], ""
    for name in names:
        method = _method(name, target)
        values = [
            _value(source.get((name, world))) for source in (means, least) for world in WORLDS
        ]
        rows.append(
            pictures.HeatRow(
                method.short,
                tuple(values),
                strong=_choices()[target].method == name,
                rule=bool(previous) and method.family != previous,
            )
        )
        previous = method.family
    worlds = [WORLD_NAMES[world] for world in WORLDS]
    picked = next(row for row in rows if row.strong)
    said = "; ".join(
        f"{world} {_percent(picked.values[i] or 0)} and {_percent(picked.values[i + 5] or 0)}"
        for i, world in enumerate(worlds)
    )
    return figure_block(
        pictures.heat,
        rows,
        [(name, list(WORLD_HEADS.values())) for name in ("mean coverage", "least coverage")],
        alt=f"Heat map of coverage of {TARGET_NAMES[target]} in five worlds. "
        f"{picked.label}, mean and least coverage: {said}.",
        caption=f"Coverage in percent of {TARGET_NAMES[target]}: mean and least over the relevant "
        "cells with τ above 0 of the designs on which every world was run. Worlds: normal, "
        "beta, two kinds of trials, skewed, rates that follow the size. Bold: picked by the "
        "rule. FT: Freeman–Tukey; HK: Hartung–Knapp.",
        name=f"calibration-worlds-{target}",
        csv=to_csv(own),
    )


def width_against_coverage(target: str = "median") -> Html:
    """Scatter: mean width against mean coverage over the relevant cells."""
    table = scores(_relevant(), target)
    if target == "median":
        table = table[table["method"].isin(COMMON)]
    points = [
        pictures.Point(
            _method(row.method, target).short,
            row.width,
            row.mean,
            _COLORS[row.family],
            strong=row.method == _choices()[target].method,
        )
        for row in table.itertuples()
    ]
    picked = next(p for p in points if p.strong)
    return figure_block(
        pictures.scatter,
        points,
        x_label="mean width (percentage points)",
        y_label="mean coverage (%)",
        line=(95.0, "nominal 95%"),
        alt=f"Scatter of mean width against mean coverage, {count(len(points), 'method')}. "
        f"{picked.label}: width {number(picked.x, 0)} points, coverage "
        f"{_percent(picked.y, 1)}.",
        caption=f"Mean width and mean coverage of {TARGET_NAMES[target]} over the relevant "
        "cells. Up and to the left is better; below the dashed line an interval is too sure of "
        "itself. Bold: picked by the rule.",
        name=f"calibration-width-{target}",
        csv=to_csv(table.drop(columns=["family"])),
    )


def score_table(target: str) -> Html:
    """Tabulate the methods for a target over the relevant cells."""
    table = scores(_relevant(), target)
    rows = [
        {
            "Interval": row.label + ("" if row.own else " (not meant for this)"),
            "Cells": row.cells,
            f"Reaches {FLOOR:g}%": _percent(row.share),
            "Mean coverage": _percent(row.mean, 1),
            "Least coverage": _percent(row.worst, 1),
            "Mean width": number(row.width, 1),
            "No interval": _percent(row.failures, 1),
        }
        for row in table.itertuples()
    ]
    table_html = html_table(
        rows,
        f"Intervals for {TARGET_NAMES[target]}: relevant cells",
        id=f"calibration-scores-{target}",
        numeric=[name for name in rows[0] if name != "Interval"],
        note="Reaches: share of cells in which coverage plus two Monte-Carlo errors is at least "
        f"{FLOOR:g}%. Width in percentage points. No interval: data sets for which the method "
        "gives none; coverage is over the others.",
    )
    return Html(
        f"<details class='ev-more'><summary>{escape(TARGET_NAMES[target]).capitalize()}: "
        f"{count(len(rows), 'interval')}</summary>\n{table_html}\n</details>"
    )


def by_trials() -> Html:
    """Tabulate coverage and width by number of trials, for the methods that matter."""
    frame = _relevant()
    frame = frame[frame["target"] == "median"]
    names = ("dl-logit-wald", "reml-logit-adhoc", "glmm-profile", "glmm-bartlett",
             "glmm-profile-t", "bayes-1", "bayes-2")  # fmt: skip
    rows = []
    for name in names:
        row: dict[str, Any] = {"Interval": _method(name, "median").label}
        for k, part in frame[frame["method"] == name].groupby("k"):
            row[f"{k} trials"] = (
                f"{_percent(float(part['coverage'].mean()), 1)}, least "
                f"{_percent(float(part['coverage'].min()), 1)}; width "
                f"{number(float(part['width'].mean()), 0)}"
            )
        rows.append(row)
    return html_table(
        rows,
        "Coverage of the rate in the median trial, and width, by number of trials",
        id="calibration-by-trials",
        stack=True,
        note="Relevant cells: mean coverage, least coverage, mean width in percentage points.",
    )


def decision() -> Html:
    """Say which methods qualified, and what the rule would pick under a wider reading."""
    frame, _ = _table()
    from analysis.calibration.decision import choose

    parts = []
    for target, choice in _choices().items():
        if choice.qualified:
            names = listing(escape(_method(q, target).label) for q in choice.qualified)
            text = (
                f"qualified, shortest first: {names}. The shortest, "
                f"<strong>{escape(_label(choice))}</strong>, is taken."
            )
        else:
            text = (
                "no interval qualified in every relevant cell, so the stated priorities decide: "
                f"<strong>{escape(_label(choice))}</strong> reaches the floor in "
                f"{_percent(choice.share)} of them, and is the shortest among those within five "
                f"points of the best share, {number(choice.width, 0)} points on average."
            )
            first = choose(_relevant(), target, "shortfall")
            if first.method != choice.method:
                text += (
                    f" The last priority as first written, the least shortfall, picks "
                    f"{escape(_label(first))}: {_percent(first.share)} of the cells, "
                    f"{number(first.width, 0)} points wide."
                )
            else:
                text += " The last priority as first written, the least shortfall, picks the same."
        wide = choose(frame, target)
        same = wide.method == choice.method
        text += (
            " Over all cells of the study, drawn designs, pairs of trials and rare events "
            "included, the rule picks "
            + ("the same" if same else f"<strong>{escape(_label(wide))}</strong>")
            + f", which reaches the floor in {_percent(wide.share)} of them."
        )
        inner = _relevant()
        inner = inner[inner["world"] != "two-point"]
        mild = choose(inner, target)
        if mild.qualified:
            named = "; ".join(escape(_method(q, target).label) for q in mild.qualified)
            text += (
                " Without the world of two kinds of trials there would qualify, shortest first: "
                f"{named}."
            )
        else:
            text += " Without the world of two kinds of trials none would qualify either."
        parts.append(f"<li>For {escape(TARGET_NAMES[target])}, {text}</li>")
    return Html(f'<div class="ev-block ev-answers"><ul>{"".join(parts)}</ul></div>')


def failing(target: str = "median", most: int = 12) -> Html:
    """Tabulate the cells, of all, in which the picked interval covers least."""
    frame, facts = _table()
    choice = _choices()[target]
    own = frame[(frame["target"] == target) & (frame["method"] == choice.method)]
    below = own[own["coverage"] + 2.0 * own["mc_error"] < FLOOR].sort_values(
        "coverage", kind="stable"
    )
    if below.empty:
        return Html(
            f"<p>{escape(_label(choice))} reaches {_percent(FLOOR)} in every cell of the study.</p>"
        )
    rows = [
        {
            "Design": f"{row.design} ({count(row.k, 'trial')})",
            "World": WORLD_NAMES[row.world],
            "True rate": pct(row.p),
            "τ": f"{row.tau:g}",
            "Coverage": f"{_percent(row.coverage, 1)} ± {number(row.mc_error, 1)}",
            "Truth below / above": f"{_percent(row.below, 1)} / {_percent(row.above, 1)}",
            "Width": number(row.width, 0),
        }
        for row in below.head(most).itertuples()
    ]
    return html_table(
        rows,
        f"{_label(choice)}, {TARGET_NAMES[target]}: the cells of all {facts['cells']} in which it "
        "covers least",
        id=f"calibration-failing-{target}",
        numeric=["True rate", "τ", "Coverage", "Truth below / above", "Width"],
        note=f"{count(len(below), 'cell')} of {len(own)} are below the floor; the first "
        f"{min(most, len(below))} are shown. ±: Monte-Carlo error.",
    )


def fit_options(method: str) -> tuple[str, dict[str, Any]]:
    """Model and options of :func:`analysis.pooling.pool` that give the method's interval."""
    if method.startswith("glmm-"):
        return "glmm", {"interval": method.removeprefix("glmm-")}
    if method.startswith("bayes-"):
        return "bayes", {"tau_scale": float(method.removeprefix("bayes-"))}
    model, scale, kind = method.split("-")
    kinds = {"wald": "wald", "hk": "hartung-knapp", "adhoc": "hartung-knapp-adhoc"}
    scales = {"logit": "logit", "arcsine": "arcsine", "ft": "freeman-tukey"}
    return model, {"interval": kinds[kind], "transform": scales[scale]}


def headline(dataset: Dataset) -> Html:
    """The pooled results of the book by the picked interval and by common methods.

    Parameters
    ----------
    dataset : Dataset
        The data of the book.
    """
    from analysis import estimands

    picked = _choices()["median"].method
    shown = dict.fromkeys(
        [picked, "glmm-profile-t", "glmm-profile", "reml-logit-hk", "dl-logit-wald", "dl-ft-wald"]
    )  # fmt: skip
    labels = dataset.outcomes.set_index("outcome_id")["label"]
    rows = []
    for target in estimands.estimands():
        found = estimands.evidence(dataset, target)
        if len(found.rows) < 2:
            continue
        row = {
            "Outcome": f"{labels[target.outcome]}, {target.population_short}",
            "Trials": len(found.rows),
        }
        for name in shown:
            model, options = fit_options(name)
            fit = estimands.pooled(found, model, **options)
            assert fit is not None
            head = _method(name, "median").label + (" (the book's)" if name == picked else "")
            row[head] = (
                "none"
                if fit.ci_low is None or fit.estimate is None
                else f"{pct(fit.estimate)} ({ci(fit.ci_low, fit.ci_high)})"
            )
        rows.append(row)
    return html_table(
        rows,
        "The pooled results by the picked interval and by others",
        id="calibration-headline",
        numeric=[name for name in rows[0] if name not in ("Outcome", "Trials")],
        stack=True,
        note="Estimate with 95% interval. Published meta-analyses of single-arm trials mostly use "
        "the last two or three columns.",
    )


def again(world: str = "normal", p: float = 0.3) -> Html:
    """Run the smallest design at one rate anew and compare with the table, cell by cell."""
    import pandas as pd

    frame, facts = _table()
    real = {name: entry["total"] for name, entry in facts["designs"].items() if entry["estimands"]}
    design = min(real, key=lambda name: sum(real[name]))
    rows = []
    for tau in TAU:
        cell = study.cell_of(facts, design, world, p, tau)
        rows += study.run_cell(cell, facts["replications"], facts["seed"])
    new = pd.DataFrame(rows)
    key = ["design", "world", "p", "tau", "method", "target"]
    both = frame.merge(new, on=key, suffixes=("", "_now"), validate="one_to_one")
    gap = (both["coverage"] - both["coverage_now"]).abs()
    worst = float(gap.max())
    if worst == 0.0:
        result = "every coverage came out as in the table, to its last digit."
    else:
        result = (
            f"{int((gap == 0).sum())} of them as in the table to its last digit, the others "
            f"within {number(worst, 2)} percentage points (data sets in which the truth lies on "
            "the very edge of an interval can fall on either side of it)."
        )
    return Html(
        f"<p>Run again while this page was built: {count(len(TAU), 'cell')} of design "
        f"{escape(design)} with a rate of {pct(p)}, {facts['replications']:,} replications each, "
        f"{count(len(both), 'coverage')}; {result}</p>"
    )


def took() -> Html:
    """Say how large the study was, how long it took, and how exact it is."""
    frame, facts = _table()
    run = facts["run"]
    error = frame.loc[frame["target"] != "next", "mc_error"].dropna()
    near = frame.loc[(frame["target"] != "next") & (frame["coverage"] >= 88.0), "mc_error"]
    with_jobs = f" with {count(run['jobs'], 'process', 'processes')}" if run["jobs"] else ""
    return Html(
        f"<p>The study behind this page has {facts['cells']} cells of {facts['replications']:,} "
        f"replications: {facts['cells'] * facts['replications'] / 1e6:.1f} million simulated data "
        f"sets, {facts['analyzed'] / 1e6:.1f} million different ones, each analyzed by "
        f"{len({m.id for m in METHODS})} intervals. It took {minutes(run['processor_seconds'])} "
        f"of processor time{with_jobs}. The Monte-Carlo error of a coverage is at most "
        f"{number(float(error.max()), 2)} percentage points, and at most "
        f"{number(float(near.max()), 2)} where coverage is 88% or more. Data version "
        f"{escape(facts['data_version'])}, seed {facts['seed']}, NumPy "
        f"{escape(facts['versions']['numpy'])}, SciPy {escape(facts['versions']['scipy'])}; "
        f"designs {facts['design_sha256'][:12]}, code {facts['code_sha256'][:12]}.</p>"
    )


def exactness() -> Html:
    """Say how far chance in the simulation can move a coverage."""
    _, facts = _table()
    near, worst = (100.0 * (p * (1.0 - p) / facts["replications"]) ** 0.5 for p in (0.95, 0.5))
    return Html(
        f"<p>A coverage here has a Monte-Carlo error of {number(near, 2)} points where it is near "
        f"95%, and of at most {number(worst, 2)}, where it is near 50% and the verdict is "
        "plain.</p>"
    )


def scales() -> str:
    """The scales of the prior of tau, for the prose."""
    return listing(f"{scale:g}" for scale in SCALES)
