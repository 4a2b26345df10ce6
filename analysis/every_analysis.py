"""What the chapter on every defensible analysis shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import figures, specification, specification_files, tables
from analysis import specification_figures as drawing
from analysis.markup import Html, escape
from analysis.specification import LEFT_OUT, MAIN_ROUTE, METHODS, Route, Threshold, conclusion
from analysis.wording import (
    FIGURE_DIGITS,
    MISSING,
    TABLE_DIGITS,
    ci,
    count,
    listing,
    number,
    pct,
)

if TYPE_CHECKING:
    import pandas as pd

    from analysis.data import Dataset
    from analysis.estimands import Estimand

__all__ = [
    "Set",
    "answer",
    "counted",
    "curve",
    "influence",
    "left_out",
    "levels_table",
    "movers",
    "overview",
    "reproduced",
    "study",
    "summary",
    "thresholds",
]

SEED, SAMPLE = 20240229, 10
NAMES = {
    "sources": "Sources",
    "reading": "Reading",
    "denominator": "Denominator",
    "smallest": "Trial size",
    "overlap": "Shared patients",
    "model": "Model",
    "interval": "Interval",
    "transform": "Scale",
}
BRIEF = 3
#: A result is called mostly firm if at most this share of its analyses concludes otherwise.
MOSTLY = 0.1
CONCLUSIONS = {"above": "above", "includes": "including", "below": "below"}


@dataclass(frozen=True, eq=False)
class Set:
    """The analyses of one estimand.

    Attributes
    ----------
    target : Estimand
    label : str
        Outcome for readers.
    threshold : Threshold
    frame : pandas.DataFrame
        One row per analysis, sorted by estimate; see `specification_files.read`. One more
        column, ``conclusion``.
    """

    target: Estimand
    label: str
    threshold: Threshold
    frame: pd.DataFrame

    @property
    def main(self) -> Any:
        """The main analysis: a row of `frame`."""
        return self.frame[self.frame["main"]].iloc[0]

    @property
    def other(self) -> float:
        """Share of the analyses with another conclusion than the main analysis."""
        return float((self.frame["conclusion"] != self.main["conclusion"]).mean())

    @property
    def crossed(self) -> float:
        """Share of the analyses whose estimate lies on the other side of the threshold."""
        above = self.frame["estimate"] > self.threshold.value
        return float((above != (self.main["estimate"] > self.threshold.value)).mean())


@lru_cache(maxsize=1)
def _frame() -> pd.DataFrame:
    return specification_files.read()


def study(dataset: Dataset) -> list[Set]:
    """Return the pinned analyses of every headline estimand, in the order of the registry."""
    frame = _frame()
    labels = dataset.outcomes.set_index("outcome_id")["label"]
    found = []
    for target in specification.covered():
        part = frame[frame["estimand_id"] == target.id]
        if not part["main"].any():
            continue
        held = specification.threshold(target.outcome)
        part = part.sort_values(
            ["estimate", "ci_low", "rows_id", "method"], kind="stable", ignore_index=True
        )
        said = [
            conclusion(low, high, held.value)
            for low, high in zip(part["ci_low"], part["ci_high"], strict=True)
        ]
        label = str(labels[target.outcome])
        found.append(Set(target, label, held, part.assign(conclusion=said)))
    return found


def reproduced(dataset: Dataset) -> Html:
    """Pool a random sample of the pinned analyses again and say whether it agrees."""
    moved = specification_files.changed_rows(dataset, _frame())
    drawn, largest = specification_files.reproduce(_frame(), SAMPLE, SEED)
    if moved:
        return Html(
            "<p class='ev-block'><strong>The data have changed since these analyses were run: "
            f"{escape(listing(moved))}.</strong> <code>{escape(specification_files.COMMAND)}"
            "</code> brings them up to date.</p>"
        )
    if largest > specification_files.SAME:
        return Html(
            f"<p class='ev-block'><strong>Of {drawn} analyses that were run again for this page, "
            f"at least one differs from the table, by up to {number(100 * largest, 3)} points."
            f"</strong> <code>{escape(specification_files.COMMAND)}</code> brings the table up to "
            "date.</p>"
        )
    return Html(
        f"<p>For this page {drawn} of the analyses, drawn at random, were run again: they agree "
        "with the table to every digit it has, and so do the trials of each main analysis.</p>"
    )


def answer(sets: list[Set]) -> Html:
    """Say in one sentence how many analyses there are and how many conclude otherwise."""
    total = sum(len(entry.frame) for entry in sets)
    firm = sum(entry.other == 0 for entry in sets)
    mostly = sum(0 < entry.other <= MOSTLY for entry in sets)
    least = max(sets, key=lambda entry: entry.other)
    text = (
        f"{total:,} defensible analyses of {count(len(sets), 'result')} of this book, each held "
        f"against a threshold set for its outcome: {count(firm, 'result')} "
        f"{'keeps its' if firm == 1 else 'keep their'} conclusion in every analysis, {mostly} "
        f"more in at least {pct(1 - MOSTLY)} of them. The least firm is {_lower(least.label)}, "
        f"{_population(least)}: {pct(least.other, _digits(least.other))} of its analyses lead to "
        "another conclusion than the main one."
    )
    return Html(f'<p class="ev-block"><strong>{escape(text)}</strong></p>')


def _digits(share: float) -> int:
    """One decimal where none would make a small share nothing, or a large one everything."""
    return TABLE_DIGITS if 0 < share < 0.01 or 0.99 < share < 1 else FIGURE_DIGITS


def _lower(label: str) -> str:
    return label if label[:2].isupper() else label[:1].lower() + label[1:]


def _population(entry: Set) -> str:
    return entry.target.population_short


def overview(sets: list[Set]) -> Html:
    """Draw the range of the estimates of every estimand."""
    entries = []
    for entry in sets:
        values = entry.frame["estimate"].to_numpy()
        low, high = np.quantile(values, [0.05, 0.95])
        entries.append(
            drawing.Spread(
                entry.label,
                entry.target.population_label,
                float(values[0]),
                float(low),
                float(high),
                float(values[-1]),
                float(entry.main["estimate"]),
                len(values),
            )
        )
    return figures.figure_block(
        drawing.spreads,
        entries,
        alt=drawing.alt_spreads(entries),
        caption="How far the estimate moves over every defensible analysis. The lines are ranges "
        "of estimates, not intervals of uncertainty.",
        name="specification-ranges",
        csv=tables.to_csv([vars(spread) for spread in entries]),
    )


def summary(sets: list[Set]) -> Html:
    """Tabulate for each estimand the number of analyses, their range, and the conclusions."""
    rows = []
    for entry in sets:
        values = entry.frame["estimate"]
        shares = entry.frame["conclusion"].value_counts(normalize=True)
        rows.append(
            {
                "Outcome": f"{entry.label}, {_population(entry)}",
                "Analyses": len(values),
                "Main": pct(entry.main["estimate"], TABLE_DIGITS),
                "All estimates": ci(values.min(), values.max(), TABLE_DIGITS),
                "Threshold": pct(entry.threshold.value),
                **{
                    f"Interval {word} it": _share(float(shares.get(name, 0.0)))
                    for name, word in CONCLUSIONS.items()
                },
                "Other conclusion": _share(entry.other),
                "Estimate on the other side": _share(entry.crossed),
            }
        )
    return tables.html_table(
        rows,
        "Every defensible analysis: range of the estimates and conclusions",
        id="specification-summary",
        row_header="Outcome",
        numeric=[name for name in rows[0] if name not in ("Outcome", "Analyses")],
        stack=True,
        csv=tables.to_csv(rows),
        note="Other conclusion: the interval lies elsewhere than that of the main analysis, seen "
        "from the threshold. Estimate on the other side: seen from the threshold, whatever the "
        "interval.",
    )


def _share(value: float) -> str:
    return pct(value, TABLE_DIGITS)


def thresholds(sets: list[Set]) -> Html:
    """Tabulate the threshold of each outcome with its question and reason."""
    rows = {
        entry.target.outcome: {
            "Outcome": entry.label,
            "Threshold": pct(entry.threshold.value),
            "Question": entry.threshold.question,
            "Reason": entry.threshold.reason,
        }
        for entry in sets
    }
    return tables.html_table(
        list(rows.values()),
        "Thresholds",
        id="specification-thresholds",
        row_header="Outcome",
        numeric=["Threshold"],
        stack=True,
    )


def counted(sets: list[Set]) -> Html:
    """Say how the number of analyses comes about."""
    rows = _frame().drop_duplicates("rows_id")
    inside = rows[rows["estimand_id"].isin([entry.target.id for entry in sets])]
    combined, kept = int(inside["routes"].sum()), len(inside)
    possible = kept * len(METHODS)
    total = sum(len(entry.frame) for entry in sets)
    ways = int(inside["ways"].max())
    text = (
        f"The choices about the data can be combined in {combined:,} ways that leave two trials or "
        f"more. Many end at the same trials with the same counts: {kept:,} different sets remain. "
        f"Each was pooled by {len(METHODS)} methods; {possible - total:,} of the {possible:,} "
        f"results are left out by the rules below, and {total:,} stay."
    )
    capped = (
        f" Where cohorts share patients, every way to count none twice was followed; the most "
        f"there are is {ways}."
        if ways < specification.WAYS
        else f" Where there are more than {ways} ways to count no patient twice, {ways} of them, "
        "evenly spread and the rule's own among them, were followed."
    )
    return Html(f"<p>{escape(text + capped)}</p>")


def left_out() -> Html:
    """Tabulate the combinations that are not defensible, with the reason."""
    return tables.html_table(
        [{"Not among the analyses": what, "Reason": why} for what, why in LEFT_OUT],
        "What is left out, and why",
        id="specification-left-out",
        stack=True,
    )


# ------------------------------------------------------------------------------ single estimands


@lru_cache(maxsize=1024)
def used(entry: Set, choice: str) -> dict[str, np.ndarray]:
    """Tell which analyses use each level of a choice.

    Parameters
    ----------
    entry : Set
    choice : str
        A name of `NAMES`.

    Returns
    -------
    dict of str to numpy.ndarray of bool
        In the order of the levels, those that no analysis uses left out. Several levels of a
        choice about the data can lead to the same trials; then an analysis uses them all.
    """
    levels = specification_files.labels(entry.target.population)[choice]
    cells = entry.frame[choice].astype(str).to_numpy()
    parts = {cell: set(cell.split(specification_files.BETWEEN)) for cell in set(cells)}
    found = {
        level: np.array([level in parts[cell] for cell in cells], dtype=bool) for level in levels
    }
    return {level: where for level, where in found.items() if where.any()}


def _main_levels(entry: Set) -> dict[str, str]:
    method = METHODS[entry.main["method"]]
    return {**dict(zip(Route._fields, MAIN_ROUTE, strict=True)), **method.levels}


@lru_cache(maxsize=1024)
def medians(entry: Set, choice: str) -> dict[str, float]:
    """Median estimate of the analyses that use each level of a choice, where it can move it.

    Models are compared on the log odds, scales within the two-step models, both on sets of trials
    that every level can pool, so that the median of a level does not stand for other trials. An
    interval does not move an estimate.

    Parameters
    ----------
    entry : Set
    choice : str
        A name of `NAMES`.
    """
    if choice == "interval":
        return {}
    frame = entry.frame
    if choice in Route._fields:
        values = frame["estimate"].to_numpy()
        return {
            level: float(np.median(values[where])) for level, where in used(entry, choice).items()
        }
    if choice == "model":
        frame = frame[frame["transform"] == "logit"]
    else:
        scales = frame.groupby("model")["transform"].nunique()
        frame = frame[frame["model"].isin(scales.index[scales > 1])]
    levels = [level for level in used(entry, choice) if (frame[choice] == level).any()]
    reach = frame.groupby("rows_id")[choice].nunique()
    frame = frame[frame["rows_id"].isin(reach.index[reach == len(levels)])]
    if frame.empty:
        return {}
    return {level: float(frame["estimate"][frame[choice] == level].median()) for level in levels}


def alone(entry: Set, choice: str) -> tuple[float, float] | None:
    """Range of the estimates when only one choice differs from the main analysis.

    Parameters
    ----------
    entry : Set
    choice : str
        A name of `NAMES`.

    Returns
    -------
    (float, float) or None
        Lowest and highest estimate, the main one among them; None where no analysis differs in
        this choice only.
    """
    frame, main = entry.frame, entry.main
    if choice in Route._fields:
        kept = frame[frame["method"] == main["method"]]
        changed = [
            any(part.startswith(f"{choice}=") for part in cell.split(specification_files.BETWEEN))
            for cell in kept["alone"]
        ]
        kept = kept[changed]
    else:
        same = {
            "model": ("transform",),
            "interval": ("model", "transform"),
            "transform": ("model",),
        }
        kept = frame[frame["rows_id"] == main["rows_id"]]
        for column in same[choice]:
            kept = kept[kept[column] == main[column]]
        kept = kept[kept[choice] != main[choice]]
    if kept.empty:
        return None
    values = [*kept["estimate"], main["estimate"]]
    return float(min(values)), float(max(values))


def movers(entry: Set) -> list[tuple[str, float]]:
    """Rank the choices by the range of the medians of their levels, the widest first."""
    found = []
    for choice in NAMES:
        values = medians(entry, choice).values()
        found.append((choice, max(values) - min(values) if values else 0.0))
    return sorted(found, key=lambda pair: -pair[1])


def influence(sets: list[Set]) -> Html:
    """Tabulate, for each estimand, which choice moves the estimate most."""
    rows = []
    for entry in sets:
        (first, size), (second, less) = movers(entry)[:2]
        levels = specification_files.labels(entry.target.population)[first]
        by_level = medians(entry, first)
        low, high = (pick(by_level, key=lambda name: by_level[name]) for pick in (min, max))
        rows.append(
            {
                "Outcome": f"{entry.label}, {_population(entry)}",
                "Moved most by": NAMES[first] if size > 0 else MISSING,
                "Lowest median": f"{pct(by_level[low], TABLE_DIGITS)} ({levels[low]})",
                "Highest median": f"{pct(by_level[high], TABLE_DIGITS)} ({levels[high]})",
                "Range (points)": number(100 * size, 1),
                "Next": f"{NAMES[second]}, {number(100 * less, 1)}" if less > 0 else MISSING,
            }
        )
    return tables.html_table(
        rows,
        "Which choice moves the estimate most",
        id="specification-influence",
        row_header="Outcome",
        numeric=["Range (points)"],
        stack=True,
        csv=tables.to_csv(rows),
        note="Median: of all analyses that use a level of the choice. The range is from the level "
        "with the lowest median to the one with the highest. Models are compared on the log odds, "
        "scales within the two-step models, and both on sets of trials that every level can pool.",
    )


def levels_table(entry: Set) -> Html:
    """Tabulate for one estimand how far each choice moves the estimate."""
    rows = []
    for choice, size in movers(entry):
        levels = specification_files.labels(entry.target.population)[choice]
        by_level = medians(entry, choice)
        one = alone(entry, choice)
        said = "; ".join(f"{levels[name]} {pct(value)}" for name, value in by_level.items())
        rows.append(
            {
                "Choice": NAMES[choice],
                "Range of medians (points)": number(100 * size, 1),
                "Medians": said,
                "Only this choice changed": MISSING if one is None else ci(*one, TABLE_DIGITS),
            }
        )
    return tables.html_table(
        rows,
        f"{entry.label}, {entry.target.population_label}: how far each choice moves the estimate",
        id=f"{entry.target.id}-choices-moved",
        row_header="Choice",
        numeric=["Range of medians (points)", "Only this choice changed"],
        stack=True,
    )


def _said(entry: Set) -> str:
    value, frame, main = pct(entry.threshold.value), entry.frame, entry.main
    shares = frame["conclusion"].value_counts()
    parts = [
        f"{pct(shares[name] / len(frame), _digits(shares[name] / len(frame)))} have an interval "
        f"{word} {value}"
        for name, word in CONCLUSIONS.items()
        if name in shares
    ]
    text = f"Of {count(len(frame), 'analysis', 'analyses')}, {listing(parts)}. "
    interval = f"{pct(main['estimate'])}, interval {ci(main['ci_low'], main['ci_high'])}"
    text += f"The main analysis gives {interval}. "
    if entry.crossed:
        text += (
            f"In {pct(entry.crossed, _digits(entry.crossed))} the estimate lies on the other side "
            f"of {value}."
        )
    else:
        which = "Every" if main["estimate"] > entry.threshold.value else "No"
        text += f"{which} estimate lies above {value}."
    return text


def curve_of(entry: Set) -> drawing.Curve:
    """Return what the specification curve of an estimand draws."""
    frame, main = entry.frame, _main_levels(entry)
    value = pct(entry.threshold.value)
    found = [
        drawing.Level(
            f"Interval {word} {value}",
            (frame["conclusion"] == name).to_numpy(),
            main=name == entry.main["conclusion"],
        )
        for name, word in CONCLUSIONS.items()
    ]
    groups = [
        drawing.Group("Conclusion", tuple(level for level in found if level.used.any()), whole=True)
    ]
    brief = {choice for choice, _ in movers(entry)[:BRIEF]}
    names = specification_files.labels(entry.target.population)
    for choice, heading in NAMES.items():
        where = used(entry, choice)
        if all(level.all() for level in where.values()):
            continue  # every level leads to the same trials
        levels = tuple(
            drawing.Level(names[choice][level], rows, main=level == main[choice])
            for level, rows in where.items()
        )
        groups.append(drawing.Group(heading, levels, brief=choice in brief))
    return drawing.Curve(
        estimate=frame["estimate"].to_numpy(),
        ci_low=frame["ci_low"].to_numpy(),
        ci_high=frame["ci_high"].to_numpy(),
        main=int(np.flatnonzero(frame["main"])[0]),
        threshold=entry.threshold.value,
        groups=tuple(groups),
    )


def curve(sets: list[Set], estimand_id: str) -> Html:
    """Show the specification curve of an estimand, its reading, and how each choice moves it."""
    entry = next((entry for entry in sets if entry.target.id == estimand_id), None)
    if entry is None:
        return Html("<p>The main analysis pools no trials here, so there is nothing to vary.</p>")
    title = f"{entry.label}, {entry.target.population_label}"
    said = _said(entry)
    drawn = curve_of(entry)
    block = figures.figure_block(
        drawing.curve,
        drawn,
        alt=drawing.alt_curve(drawn, title, said),
        caption=f"{title}: every defensible analysis, sorted by its estimate and put "
        "into columns of equal number. Above: median estimate of a column (short line) and the "
        "median limits of its intervals. Below: where the analyses that use a choice lie, and "
        "their share of all; one analysis can stand for several levels of a choice that leave the "
        f"same trials. On a narrow screen only the {BRIEF} choices that move the estimate most are "
        "drawn; the table has them all.",
        name=f"{entry.target.id}-specifications",
        csv_href="../_data/specifications.csv",
    )
    return (
        Html(f"<p>{escape(entry.threshold.question)} {escape(said)}</p>")
        + block
        + Html(
            "<details class='ev-more'><summary>How far each choice moves it</summary>\n"
            f"{levels_table(entry)}\n</details>"
        )
    )
