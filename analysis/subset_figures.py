"""Figure of all selections of trials: pooled estimate against the spread between trials.

The idea is the GOSH plot of Olkin, Dahabreh and Trikalinos 2012 (doi:10.1002/jrsm.1053): a trial
that decides a result splits the cloud of selections in two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.canvas import canvas, finish, stroke, wrap, write
from analysis.rowplot import Layout
from analysis.style import NARROW, SMALL, TEXT, THEME, WIDE, rc
from analysis.wording import listing, number, pct, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.robustness import Subsets

__all__ = ["MOST_MARKS", "Cloud", "alt_clouds", "cloud", "clouds"]

#: Selections drawn per panel; more are thinned evenly.
MOST_MARKS = 400


@dataclass(frozen=True, eq=False)
class Cloud:
    """The selections of one estimand that have a pooled estimate.

    Attributes
    ----------
    title : str
    names : tuple of str
        Trials.
    members : numpy.ndarray of bool, shape (S, k)
    estimate, tau : numpy.ndarray, shape (S,)
        Proportion, and the spread between trials on the link scale.
    full : int or None
        Position of the selection of all trials.
    """

    title: str
    names: tuple[str, ...]
    members: np.ndarray
    estimate: np.ndarray
    tau: np.ndarray
    full: int | None

    def split(self, trial: int) -> tuple[float, float]:
        """Median estimate of the selections with a trial, and of those without it."""
        inside = self.members[:, trial]
        return float(np.median(self.estimate[inside])), float(np.median(self.estimate[~inside]))


def cloud(title: str, names: Sequence[str], subsets: Subsets) -> Cloud:
    """Take the selections with an estimate and a spread.

    Parameters
    ----------
    title : str
        What was pooled, for readers.
    names : sequence of str
        Trials in the order of ``subsets.members``; three or more.
    subsets : Subsets

    Raises
    ------
    ValueError
        With fewer than three trials, or if no selection with or without some trial is estimable.
    """
    kept = subsets.estimable & ~np.isnan(subsets.tau2)
    members = subsets.members[kept]
    with_each = members.sum(axis=0)
    if len(names) < 3 or (with_each == 0).any() or (with_each == len(members)).any():
        raise ValueError(f"{plain(title)}: too few selections to draw")
    everyone = np.flatnonzero(members.all(axis=1))
    return Cloud(
        title=plain(title),
        names=tuple(plain(name) for name in names),
        members=members,
        estimate=subsets.estimate[kept],
        tau=np.sqrt(subsets.tau2[kept]),
        full=int(everyone[0]) if everyone.size else None,
    )


def clouds(drawn: Cloud, *, layout: Layout = "wide") -> Figure:
    """Draw one panel per trial, in which the selections with the trial are marked.

    Parameters
    ----------
    drawn : Cloud
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone.
    """
    import matplotlib as mpl

    if layout not in ("wide", "narrow"):
        raise ValueError(f"layout must be 'wide' or 'narrow', not {layout!r}")
    with mpl.rc_context(rc()):
        return _draw(drawn, WIDE if layout == "wide" else NARROW, 3 if layout == "wide" else 2)


def _draw(drawn: Cloud, total: float, columns: int) -> Figure:
    gap, left, inner = 18.0, 26.0, 120.0
    width = (total - left - gap * (columns - 1)) / columns
    top = max(0.5, math.ceil(2.0 * float(drawn.tau.max())) / 2.0)
    every = len(drawn.estimate)
    rows = np.unique(np.linspace(0, every - 1, min(every, MOST_MARKS)).round().astype(int))
    figure, axes = canvas(total)
    y = 14.0
    write(axes, 0, y, "\u03c4", size=SMALL, color="muted")
    write(axes, total, y, "Filled: with the trial. Hollow: without.", size=SMALL, color="muted",
          align="right")  # fmt: skip
    y += 8
    for first in range(0, len(drawn.names), columns):
        names = drawn.names[first : first + columns]
        titles = [wrap(name, width, TEXT, True) for name in names]
        y += 16.0 * max(len(lines) for lines in titles) + 2
        for column, lines in enumerate(titles):
            x0 = left + column * (width + gap)
            for i, line in enumerate(reversed(lines)):
                write(axes, x0, y - 16.0 * i, line, bold=True)
            _panel(axes, drawn, rows, first + column, x0, y + 6, width, inner, top, column == 0)
        y += 6 + inner + 22
    write(axes, left, y + 8, "Pooled percentage", size=SMALL, color="muted")
    y += 8
    if len(rows) < every:
        y += 16
        write(axes, left, y, f"Drawn: {len(rows)} of {every:,} selections.", size=SMALL,
              color="muted")  # fmt: skip
    return finish(figure, axes, total, y + 6)


def _panel(
    axes: Axes,
    drawn: Cloud,
    rows: np.ndarray,
    trial: int,
    x0: float,
    y0: float,
    width: float,
    height: float,
    top: float,
    labeled: bool,
) -> None:
    inner0, inner1 = x0 + 6, x0 + width - 6

    def across(values: Any) -> Any:
        return inner0 + np.asarray(values) * (inner1 - inner0)

    def down(values: Any) -> Any:
        return y0 + height - 4 - np.asarray(values) / top * (height - 10)

    for tick in (0, 25, 50, 75, 100):
        x = float(across(tick / 100))
        stroke(axes, x, y0, x, y0 + height, color="grid", order=1)
        if tick % 50 == 0:
            align = {0: "left", 50: "center", 100: "right"}[tick]
            at = {0: x - 4, 50: x, 100: x + 4}[tick]
            text = f"{tick}{'' if tick % 100 else '%'}"
            write(axes, at, y0 + height + 15, text, size=SMALL, color="muted", align=align)
    for value in np.arange(0.0, top + 1e-9, 0.5 if top <= 2.0 else 1.0):
        level = float(down(value))
        stroke(axes, x0, level, x0 + width, level, color="grid", order=1)
        if labeled:
            write(axes, x0 - 4, level + 4, number(value, 1), size=SMALL, color="muted",
                  align="right")  # fmt: skip
    inside = drawn.members[rows, trial]
    x, level = across(drawn.estimate[rows]), down(drawn.tau[rows])
    common: dict[str, Any] = {"linestyle": "none", "clip_on": False}
    axes.plot(
        x[~inside], level[~inside], marker="^", markersize=4.6, markerfacecolor="none",
        markeredgecolor=THEME["study"], markeredgewidth=0.9, zorder=3, **common,
    )  # fmt: skip
    axes.plot(
        x[inside], level[inside], marker="o", markersize=3.8, markerfacecolor=THEME["pooled"],
        markeredgecolor="none", zorder=3.2, **common,
    )  # fmt: skip
    if drawn.full is not None:
        axes.plot(
            across(drawn.estimate[[drawn.full]]), down(drawn.tau[[drawn.full]]), marker="D",
            markersize=6.5, markerfacecolor=THEME["ground"], markeredgecolor=THEME["ink"],
            markeredgewidth=1.6, zorder=3.4, **common,
        )  # fmt: skip


def alt_clouds(drawn: Cloud) -> str:
    """Say how the selections with and without each trial differ."""
    low, high = float(drawn.estimate.min()), float(drawn.estimate.max())
    splits = [(name, *drawn.split(i)) for i, name in enumerate(drawn.names)]
    apart = max(splits, key=lambda entry: abs(entry[1] - entry[2]))
    each = listing(f"{name}: {pct(with_)} with, {pct(out)} without" for name, with_, out in splits)
    return (
        f"{drawn.title}: pooled percentages of {len(drawn.estimate):,} selections of trials, "
        f"{pct(low)} to {pct(high)}, against the spread between trials. {apart[0]} separates them "
        f"most. Median estimate by trial: {each}."
    )
