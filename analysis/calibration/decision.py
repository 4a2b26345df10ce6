"""The rule that picks the primary interval, applied to the table of results.

The first three steps, and the share in the fourth, were written down before the study was run:

1. The relevant cells are those of the designs of the book, in every world, with three or more
   trials (two trials cannot say how much trials differ) and a rate at which events are expected
   at all (five or more in the whole design).
2. An interval qualifies if it covers in at least 94 % in every relevant cell, the Monte-Carlo
   error allowed for: coverage plus two errors must reach 94 %.
3. Of those that qualify the one with the least mean width is taken.
4. If none qualifies, the stated priorities decide: first the share of relevant cells that reach
   94 %; among the methods within five points of the best share, the least mean width; the order of
   the table breaks what is left.

The last priority first read "the least mean shortfall below 94 %". It was changed to width after
the results were seen: with three trials the shortfall is least for an interval from 0 to 100 %.
What the first wording picks is computed as well (``by="shortfall"``), and the chapter shows both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.calibration.methods import methods

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FLOOR", "Choice", "choose", "recommended", "relevant", "scores"]

FLOOR = 94.0
LEAST_TRIALS = 3
LEAST_EVENTS = 5.0
NEAR = 5.0


@dataclass(frozen=True)
class Choice:
    """What the rule picks for one target.

    Attributes
    ----------
    target : str
    method : str
        Id of the method.
    qualified : tuple of str
        Methods that reach the floor in every relevant cell, shortest first; may be empty.
    cells : int
        Number of relevant cells.
    share : float
        Percent of them in which the method reaches the floor.
    worst : float
        Its least coverage, percent.
    worst_cell : str
        Where that is: design, world, p and tau.
    width : float
        Its mean width over the relevant cells, percentage points.
    """

    target: str
    method: str
    qualified: tuple[str, ...]
    cells: int
    share: float
    worst: float
    worst_cell: str
    width: float


def relevant(
    frame: pd.DataFrame, sizes: Mapping[str, Iterable[int]], *, book_only: Iterable[str]
) -> pd.DataFrame:
    """Rows of the cells that the rule looks at.

    Parameters
    ----------
    frame : pandas.DataFrame
        From :func:`analysis.calibration.study.load_table`.
    sizes : mapping
        Design to the totals of its trials.
    book_only : iterable of str
        Designs that are those of estimands of the book.
    """
    patients = {design: sum(total) for design, total in sizes.items()}
    trials = {design: len(tuple(total)) for design, total in sizes.items()}
    rare = frame[["p"]].assign(rest=1.0 - frame["p"]).min(axis=1)
    keep = frame["design"].isin(set(book_only))
    keep &= frame["design"].map(trials) >= LEAST_TRIALS
    keep &= frame["design"].map(patients) * rare >= LEAST_EVENTS
    return frame[keep]


def scores(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    """Summarize each method over cells: one row per method, in the order of the registry.

    Columns: ``share`` (percent of cells that reach the floor, Monte-Carlo error allowed for),
    ``worst`` (least coverage), ``mean`` (mean coverage), ``shortfall`` (mean of what coverage
    lacks to the floor), ``width`` and ``failures`` (means). A cell in which a method never has
    an interval counts as not reaching the floor.
    """
    import pandas as pd

    part = frame[frame["target"] == target]
    rows = []
    for method in methods(target):
        own = part[part["method"] == method.id]
        if own.empty:
            continue
        coverage = own["coverage"].fillna(0.0)
        reached = coverage + 2.0 * own["mc_error"].fillna(0.0) >= FLOOR
        rows.append(
            {
                "method": method.id,
                "label": method.label,
                "family": method.family,
                "own": method.own,
                "cells": len(own),
                "share": 100.0 * float(reached.mean()),
                "worst": float(coverage.min()),
                "mean": float(coverage.mean()),
                "shortfall": float((FLOOR - coverage).clip(lower=0.0).mean()),
                "width": float(own["width"].mean()),
                "failures": float(own["failures"].mean()),
            }
        )
    return pd.DataFrame(rows)


def choose(frame: pd.DataFrame, target: str, by: str = "width") -> Choice:
    """Apply the rule to the rows of the relevant cells.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows of the table of results.
    target : {"median", "average", "next"}
    by : {"width", "shortfall"}
        The last priority where none qualifies: as the rule stands, or as it was first written.

    Raises
    ------
    ValueError
        If no method has rows for this target.
    """
    table = scores(frame, target)
    if table.empty or not table["own"].any():
        raise ValueError(f"the table has no interval for the target {target!r} in these cells")
    # a method must have been run in all of the cells to be chosen
    full = table[table["own"] & (table["cells"] == table["cells"].max())]
    good = full[full["share"] == 100.0].sort_values("width", kind="stable")
    if not good.empty:
        picked = good.iloc[0]
    else:
        near = full[full["share"] >= full["share"].max() - NEAR]
        picked = near.sort_values(by, kind="stable").iloc[0]
    own = frame[(frame["target"] == target) & (frame["method"] == picked["method"])]
    at = own.loc[own["coverage"].fillna(0.0).idxmin()]
    return Choice(
        target=target,
        method=str(picked["method"]),
        qualified=tuple(good["method"]),
        cells=int(picked["cells"]),
        share=float(picked["share"]),
        worst=float(picked["worst"]),
        worst_cell=f"{at['design']}, {at['world']}, p = {at['p']:g}, τ = {at['tau']:g}",
        width=float(picked["width"]),
    )


def recommended(frame: pd.DataFrame, facts: Mapping[str, Any]) -> dict[str, Choice]:
    """What the rule picks for the median trial, the average and the next trial.

    Parameters
    ----------
    frame, facts
        From :func:`analysis.calibration.study.load_table`.
    """
    designs = facts["designs"]
    cells = relevant(
        frame,
        {name: entry["total"] for name, entry in designs.items()},
        book_only=[name for name, entry in designs.items() if entry["estimands"]],
    )
    return {target: choose(cells, target) for target in ("median", "average", "next")}
