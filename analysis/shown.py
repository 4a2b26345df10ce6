"""Figures of the sources shown as they are, trial by trial, without pooling.

Some outcomes are reported by one trial, or for several diseases together, or in a form that does
not add up across trials. They are shown here, each with the reason why it is not pooled. Counts of
single trials can also be drawn in groups, for example by grading scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from analysis import catalog, tables
from analysis.chapter import source
from analysis.estimands import estimands, evidence, shown
from analysis.figures import Unpooled
from analysis.rowplot import Layout, Mark, Row, Sheet, draw
from analysis.wording import EN_DASH, ci, count, pct, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.data import Dataset
    from analysis.estimands import Shown
    from analysis.markup import Html

__all__ = ["alt_side_by_side", "figures_of", "side_by_side", "table", "why"]

#: Status of figures that are not shown: a better one is, or the figure cannot be.
HIDDEN = ("superseded", "infeasible", "not-found")


def figures_of(
    dataset: Dataset,
    outcomes: Sequence[str],
    disease: str | None = "CLL",
    *,
    hidden: Sequence[str] = HIDDEN,
) -> pd.DataFrame:
    """Return every figure of some outcomes that is not superseded or impossible.

    Parameters
    ----------
    dataset : Dataset
    outcomes : sequence of str
        Ids of outcomes; they give the first order of the rows.
    disease : str or None
        Only cohorts of this disease; None for all.
    hidden : sequence of str
        Status of the figures to leave out.

    Returns
    -------
    pandas.DataFrame
        Columns of ``extraction.csv`` with ``label``, ``disease``, ``year``, ``trial_id``,
        ``report_kind``, ``citation``, ``doi``; by outcome, year and label.
    """
    cohorts = dataset.cohorts[["cohort_id", "label", "disease", "year", "trial_id"]]
    reports = dataset.reports[["report_id", "kind", "citation", "doi"]]
    rows = dataset.extraction
    rows = rows[rows["outcome"].isin(list(outcomes)) & ~rows["status"].isin(list(hidden))]
    rows = rows.merge(cohorts, on="cohort_id")
    rows = rows.merge(reports.rename(columns={"kind": "report_kind"}), on="report_id")
    if disease is not None:
        rows = rows[rows["disease"] == disease]
    place = {outcome: i for i, outcome in enumerate(outcomes)}
    rows = rows.assign(_place=[place[outcome] for outcome in rows["outcome"]])
    rows = rows.sort_values(["_place", "year", "label"], kind="stable", ignore_index=True)
    return rows.drop(columns="_place")


def why(dataset: Dataset, entry: Shown) -> str:
    """Say why an outcome is not pooled: the reason in the registry, or what the data lack."""
    if entry.reason:
        return entry.reason
    kinds = dataset.outcomes.set_index("outcome_id")["kind"]
    if kinds[entry.outcome] == "measure":
        return "no patients are counted: it is a single value for the whole trial"
    most = most_trials(dataset, entry.outcome)
    if most == 0:
        return "no trial of a pooled population counts it"
    if most == 1:
        return "no population has two trials that count it"
    return f"{count(most, 'trial')} of one population count it, and the registry does not pool it"


def most_trials(dataset: Dataset, outcome: str) -> int:
    """Return the largest number of trials without shared patients that count it in a population."""
    populations = {target.population: target for target in estimands()}
    return max(
        len(evidence(dataset, replace(target, outcome=outcome)).rows)
        for target in populations.values()
    )


def table(dataset: Dataset, page: str) -> Html:
    """Tabulate the outcomes that a chapter shows without pooling them.

    Raises
    ------
    ValueError
        If the registry names no such outcome for the chapter.
    """
    entries = {entry.outcome: entry for entry in shown(page)}
    if not entries:
        raise ValueError(f"the registry shows no outcome on the page {page!r}")
    labels = dataset.outcomes.set_index("outcome_id")["label"]
    reasons = {outcome: why(dataset, entry) for outcome, entry in entries.items()}
    rows = [
        {
            "Outcome": str(labels[row.outcome]),
            "Trial": str(row.label),
            "Figure": catalog.figure_text(row) or EN_DASH,
            "Why not pooled": _of_its_own(row) or reasons[row.outcome],
            "Source": source(row),
        }
        for row in figures_of(dataset, list(entries)).itertuples(index=False)
    ]
    return tables.html_table(
        rows or [{"Outcome": "None"}],
        "Also reported, and not pooled",
        id="shown",
        row_header="Outcome",
        stack=True,
    )


def _of_its_own(row: Any) -> str:
    """The reason of a figure that is on record and not in use."""
    return "" if row.status == "used" else str(row.reason).split(". ")[0].rstrip(".")


def side_by_side(
    groups: Mapping[str, Sequence[Unpooled]],
    *,
    label: str = "Trial",
    columns: Sequence[str] = (),
    layout: Layout = "wide",
) -> Figure:
    """Draw counts of single trials in groups: no pooled value, no weight.

    Parameters
    ----------
    groups : mapping of str to sequence of Unpooled
        Heading of each group and its rows. A row with a reason is drawn in gray, with the reason
        below its name.
    label : str
        Header of the first column.
    columns : sequence of str
        Headers of the cells of the rows.
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone.

    Raises
    ------
    ValueError
        If there is no row, or a row has not one cell per column.
    """
    from analysis.pooling import wilson

    rows: list[Row] = []
    for heading, members in groups.items():
        rows.append(Row(label=plain(heading), strong=True, heading=True, rule=bool(rows)))
        for member in members:
            if len(member.cells) != len(columns):
                raise ValueError(f"{plain(member.label)}: one cell per column ({len(columns)})")
            low, high = (float(limit) for limit in wilson(member.events, member.total, 0.95))
            at = member.events / member.total
            gray = bool(plain(member.reason))
            rows.append(
                Row(
                    label=plain(member.label),
                    mark=Mark(
                        "square",
                        "excluded" if gray else "study",
                        low,
                        high,
                        at=at,
                        hollow=gray or member.events in (0, member.total),
                        name=f"row-{len(rows)}",
                    ),
                    cells=tuple(plain(cell) for cell in member.cells),
                    left=f"{member.events}/{member.total}",
                    point=pct(at),
                    span=f"({ci(low, high).removesuffix('%')})",
                    sub=plain(member.reason),
                    color="muted" if gray else "ink",
                )
            )
    if not any(row.mark for row in rows):
        raise ValueError("side_by_side needs at least one row")
    return draw(
        Sheet(
            rows=tuple(rows),
            label=label,
            columns=tuple(columns),
            aligns=("left",) * len(columns),
            left="Events/n",
            span="Percent (95% CI)",
        ),
        layout,
    )


def alt_side_by_side(groups: Mapping[str, Sequence[Unpooled]], title: str) -> str:
    """Return the alternative text of `side_by_side`: every count, group by group."""
    said = []
    for heading, members in groups.items():
        counts = ", ".join(
            f"{plain(m.label)} {m.events} of {m.total} ({pct(m.events / m.total)})" for m in members
        )
        said.append(f"{plain(heading)}: {counts}")
    return f"{plain(title)}. {'; '.join(said)}."
