"""Figures of the methods chapters: heat map, numbered scatter, curves, likelihood surface.

They know nothing of where their numbers come from. Each is drawn ``wide`` or ``narrow`` in CSS
pixels, as everywhere in the book; what color says is also printed or marked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.canvas import canvas, finish, stroke, text_width, write
from analysis.style import NARROW, SMALL, TEXT, THEME, UNITS_PER_INCH, WIDE, rc
from analysis.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.rowplot import Layout

__all__ = ["Curve", "HeatRow", "Point", "Surface", "curves", "heat", "scatter", "surfaces"]


# ----------------------------------------------------------------------------- heat map


@dataclass(frozen=True)
class HeatRow:
    """One row: a label and one percentage (or None) per column; `strong` sets the label bold."""

    label: str
    values: tuple[float | None, ...]
    strong: bool = False
    rule: bool = False


#: Lower end of each class of coverage in percent, its color and opacity, and its name.
CLASSES = (
    (97.5, "study", 0.34, "97.5 and more: wider than needed"),
    (94.0, "study", 0.13, "94 to 97.5"),
    (90.0, "pooled", 0.14, "90 to 94"),
    (80.0, "pooled", 0.30, "80 to 90"),
    (0.0, "pooled", 0.52, "below 80"),
)
_CELL = 19.0


def _class(value: float) -> tuple[float, str, float, str]:
    return next(entry for entry in CLASSES if value >= entry[0])


def _tile(
    axes: Axes, x: float, y: float, width: float, height: float, color: str, alpha: float
) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle(
            (x, y), width, height, facecolor=THEME[color], alpha=alpha, linewidth=0, zorder=1.0
        )
    )


def heat(
    rows: Sequence[HeatRow],
    groups: Sequence[tuple[str, Sequence[str]]],
    *,
    layout: Layout = "wide",
) -> Figure:
    """Draw coverage by method and truth, each number in its cell.

    Parameters
    ----------
    rows : sequence of HeatRow
        Methods; values run over all columns of all groups.
    groups : sequence of (str, sequence of str)
        Heading of a group of columns and the names of its columns. The narrow layout puts the
        groups below each other.
    layout : {"wide", "narrow"}
    """
    import matplotlib as mpl

    width = WIDE if layout == "wide" else NARROW
    with mpl.rc_context(rc()):
        figure, axes = canvas(width)
        label_width = max(text_width(row.label, SMALL, row.strong) for row in rows) + 8.0
        starts = np.cumsum([0, *(len(names) for _, names in groups)])
        blocks = (
            [list(range(len(groups)))] if layout == "wide" else [[i] for i in range(len(groups))]
        )
        y = 4.0
        for block in blocks:
            gap = 5.0
            total = sum(len(groups[i][1]) for i in block)
            cell = min((width - label_width - gap * (len(block) - 1)) / total, 60.0)
            x_of: dict[int, float] = {}
            x = label_width
            for i in block:
                heading, names = groups[i]
                write(axes, x + 0.5 * cell * len(names), y + 12, heading, size=SMALL, bold=True,
                      align="center")  # fmt: skip
                for j, name in enumerate(names):
                    x_of[starts[i] + j] = x + j * cell
                    write(axes, x + (j + 0.5) * cell, y + 28, name, size=SMALL, color="muted",
                          align="center")  # fmt: skip
                x += cell * len(names) + gap
            y += 34.0
            for row in rows:
                if row.rule:
                    stroke(axes, 0, y + 2, x - gap, y + 2, color="grid")
                    y += 4.0
                write(axes, 0, y + 14, row.label, size=SMALL, bold=row.strong)
                for column, left in x_of.items():
                    value = row.values[column]
                    if value is None:
                        continue
                    _, color, alpha, _ = _class(value)
                    _tile(axes, left + 0.5, y + 0.5, cell - 1.0, _CELL - 1.0, color, alpha)
                    write(axes, left + 0.5 * cell, y + 14, f"{math.floor(value + 1e-9)}",
                          size=11.0 if value >= 100.0 else SMALL, align="center")  # fmt: skip
                y += _CELL
            y += 14.0
        x = 0.0
        for _, color, alpha, name in CLASSES:
            wanted = 18.0 + text_width(name, 11.5) + 14.0
            if x + wanted > width:
                x, y = 0.0, y + 18.0
            _tile(axes, x, y, 13.0, 13.0, color, alpha)
            write(axes, x + 18.0, y + 11, name, size=11.5, color="muted")
            x += wanted
        return finish(figure, axes, width, y + 20.0)


# ----------------------------------------------------------------------------- scatter


@dataclass(frozen=True)
class Point:
    """A point of the scatter: its name stands in the key, under its number."""

    label: str
    x: float
    y: float
    color: str
    strong: bool = False


def scatter(
    points: Sequence[Point],
    *,
    x_label: str,
    y_label: str,
    line: tuple[float, str] | None = None,
    layout: Layout = "wide",
) -> Figure:
    """Draw numbered points with a key below; `line` is a horizontal line and its name."""
    import matplotlib as mpl

    width = WIDE if layout == "wide" else NARROW
    height = 330.0 if layout == "wide" else 300.0
    columns = 3 if layout == "wide" else 1
    per_column = math.ceil(len(points) / columns)
    key = per_column * 18.0 + 12.0
    with mpl.rc_context(rc()):
        figure, axes = canvas(width)
        left, top, right, bottom = 40.0, 26.0, width - 14.0, height - 40.0
        xs, ys = [p.x for p in points], [p.y for p in points]
        x_low, x_high, x_ticks = _scale(min(xs), max(xs), 6 if layout == "wide" else 4)
        floor = [] if line is None else [line[0]]
        y_low, y_high, y_ticks = _scale(min(ys + floor), max(ys + floor), 6)

        def place(x: float, y: float) -> tuple[float, float]:
            return (
                left + (x - x_low) / (x_high - x_low) * (right - left),
                bottom - (y - y_low) / (y_high - y_low) * (bottom - top),
            )

        write(axes, 0, 13, y_label, size=SMALL, color="muted")
        write(axes, right, height - 6, x_label, size=SMALL, color="muted", align="right")
        for tick in x_ticks:
            at, _ = place(tick, y_low)
            stroke(axes, at, top, at, bottom, color="grid")
            write(axes, at, bottom + 16, f"{tick:g}", size=SMALL, align="center")
        for tick in y_ticks:
            _, at = place(x_low, tick)
            stroke(axes, left, at, right, at, color="grid")
            write(axes, left - 6, at + 4, f"{tick:g}", size=SMALL, align="right")
        if line is not None:
            _, at = place(x_low, line[0])
            stroke(axes, left, at, right, at, color="reference", width=1.4, dash=(5.0, 3.0))
            write(axes, right, at - 5, line[1], size=11.5, color="reference", align="right")
        for i, point in enumerate(points):
            spot = place(point.x, point.y)
            _number_mark(axes, spot[0], spot[1], i + 1, point)
        for i, point in enumerate(points):
            column, row = divmod(i, per_column)
            x = 9.0 + column * width / columns
            y = height + 12.0 + row * 18.0
            _number_mark(axes, x, y, i + 1, point)
            write(axes, x + 14.0, y + 4, point.label, size=11.5, bold=point.strong)
        return finish(figure, axes, width, height + key)


def _number_mark(axes: Axes, x: float, y: float, i: int, point: Point) -> None:
    from matplotlib.patches import Circle

    axes.add_patch(
        Circle(
            (x, y), 8.5, facecolor=THEME["ground"], edgecolor=THEME[point.color],
            linewidth=2.4 if point.strong else 1.5, zorder=5.0 + 0.1 * i,
        )
    )  # fmt: skip
    axes.text(
        x, y + 3.8, str(i), fontsize=11.0, color=THEME[point.color], ha="center", va="baseline",
        fontweight="bold" if point.strong else "normal", zorder=5.05 + 0.1 * i,
        fontfamily="DejaVu Sans",
    )  # fmt: skip


def _scale(low: float, high: float, count: int) -> tuple[float, float, list[float]]:
    from matplotlib.ticker import MaxNLocator

    ticks = [float(t) for t in MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    return ticks[0], ticks[-1], ticks


# ----------------------------------------------------------------------------- curves


@dataclass(frozen=True, eq=False)
class Curve:
    """A line: its name is written in the key."""

    label: str
    x: np.ndarray
    y: np.ndarray
    color: str = "study"
    dash: tuple[float, ...] | None = None
    marker: str = ""


def _frame(layout: Layout, height: float, left: float = 48.0) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    width = WIDE if layout == "wide" else NARROW
    figure = Figure(
        figsize=(width / UNITS_PER_INCH, height / UNITS_PER_INCH), dpi=UNITS_PER_INCH,
        facecolor="none",
    )  # fmt: skip
    axes = figure.add_axes(
        (left / width, 44.0 / height, (width - left - 12.0) / width, (height - 74.0) / height)
    )
    return figure, axes


def curves(
    lines: Sequence[Curve],
    *,
    x_label: str,
    y_label: str,
    levels: Sequence[tuple[float, str]] = (),
    marks: Sequence[tuple[float, str]] = (),
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    x_percent: bool = False,
    y_percent: bool = False,
    log: bool = False,
    whole: bool = False,
    level_at: float = 0.995,
    height: float = 300.0,
    layout: Layout = "wide",
) -> Figure:
    """Draw curves with a key below the plot.

    Parameters
    ----------
    lines : sequence of Curve
    x_label, y_label : str
    levels, marks : sequence of (float, str)
        Horizontal and vertical lines with their names.
    x_range, y_range : (float, float), optional
    x_percent, y_percent : bool
        Values are proportions and are labeled in percent.
    log : bool
        Logarithmic axes, for data that are ratios; ticks at the values of the first curve.
    whole : bool
        The horizontal axis counts something.
    level_at : float
        Where the names of `levels` end, as a share of the width.
    """
    import matplotlib as mpl
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    names = [line for line in lines if line.label]
    # a column of the key holds about 30 letters where there are three of them
    long = any(len(line.label) > 30 for line in names)
    columns = 1 if layout == "narrow" else 2 if long else 3
    with mpl.rc_context(rc()):
        per_column = math.ceil(len(names) / columns) if names else 0
        key = 18.0 * per_column + (10.0 if names else 0.0)
        figure, axes = _frame(layout, height + key)
        box = axes.get_position()
        share = key / (height + key)
        axes.set_position((box.x0, box.y0 + share, box.width, box.height - share))
        if log:
            axes.set_xscale("log")
            axes.set_yscale("log")
            for axis, values in ((axes.xaxis, lines[0].x), (axes.yaxis, lines[0].y)):
                axis.set_major_locator(FixedLocator([float(v) for v in values]))
                axis.set_minor_locator(NullLocator())
                axis.set_major_formatter(FuncFormatter(lambda v, _: number(v, 1 if v % 1 else 0)))
        for line in lines:
            axes.plot(
                line.x, line.y, color=THEME[line.color], marker=line.marker or None,
                linestyle=(0, line.dash) if line.dash else "-", zorder=3,
            )  # fmt: skip
        if x_range:
            axes.set_xlim(*x_range)
        if y_range:
            axes.set_ylim(*y_range)
        for at, name in levels:
            axes.axhline(at, color=THEME["reference"], linewidth=1.2, linestyle=(0, (5, 3)))
            axes.text(level_at, at, name, transform=axes.get_yaxis_transform(), ha="right",
                      va="bottom", fontsize=11.5, color=THEME["reference"])  # fmt: skip
        for at, name in marks:
            axes.axvline(at, color=THEME["muted"], linewidth=1.0, linestyle=(0, (2, 2)))
            axes.text(at, 0.99, f" {name}", transform=axes.get_xaxis_transform(), ha="left",
                      va="top", fontsize=11.5, color=THEME["muted"])  # fmt: skip
        percent = FuncFormatter(lambda value, _: f"{100 * value:.3g}%")
        if x_percent:
            axes.xaxis.set_major_formatter(percent)
        if y_percent:
            axes.yaxis.set_major_formatter(percent)
        if whole:
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel(x_label)
        figure.text(0.0, 1.0 - 4.0 / (height + key), y_label, ha="left", va="top",
                    fontsize=SMALL, color=THEME["muted"])  # fmt: skip
        width = WIDE if layout == "wide" else NARROW
        for i, line in enumerate(names):
            column, row = divmod(i, per_column)
            x = (4.0 + column * width / columns) / width
            y = (key - 12.0 - 18.0 * row) / (height + key)
            figure.add_artist(
                Line2D(
                    [x, x + 22.0 / width], [y, y], color=THEME[line.color], linewidth=2.0,
                    marker=line.marker or None, markevery=[0],
                    linestyle=(0, line.dash) if line.dash else "-",
                    transform=figure.transFigure,
                )
            )  # fmt: skip
            figure.text(x + 28.0 / width, y, line.label, ha="left", va="center", fontsize=11.5,
                        color=THEME["ink"])  # fmt: skip
        return figure


# ----------------------------------------------------------------------------- surface


@dataclass(frozen=True, eq=False)
class Surface:
    """A log-likelihood over the median trial's rate and tau.

    Attributes
    ----------
    title : str
    rate : numpy.ndarray, shape (M,)
    tau : numpy.ndarray, shape (T,)
    drop : numpy.ndarray, shape (T, M)
        How far the log-likelihood lies below its maximum.
    ridge : numpy.ndarray, shape (M,)
        The best tau at each rate.
    best : (float, float)
        Rate and tau of the maximum.
    limits : (float, float)
        Profile limits of the rate.
    """

    title: str
    rate: np.ndarray
    tau: np.ndarray
    drop: np.ndarray
    ridge: np.ndarray
    best: tuple[float, float]
    limits: tuple[float, float]


def surfaces(panels: Sequence[Surface], *, layout: Layout = "wide") -> Figure:
    """Draw likelihood surfaces as contour lines, side by side or one below the other."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    wide = layout == "wide"
    width, panel = (WIDE, 300.0) if wide else (NARROW, 280.0)
    height = panel if wide else panel * len(panels)
    percent = FuncFormatter(lambda value, _: f"{100 * value:.3g}%")
    with mpl.rc_context(rc()):
        figure = Figure(
            figsize=(width / UNITS_PER_INCH, height / UNITS_PER_INCH), dpi=UNITS_PER_INCH,
            facecolor="none",
        )  # fmt: skip
        count = len(panels)
        for i, surface in enumerate(panels):
            if wide:
                share = width / count
                spot = (i * share + 46.0, 46.0, share - 62.0, panel - 84.0)
            else:
                spot = (46.0, height - (i + 1) * panel + 46.0, width - 60.0, panel - 84.0)
            axes = figure.add_axes(
                (spot[0] / width, spot[1] / height, spot[2] / width, spot[3] / height)
            )
            drawn = axes.contour(
                surface.rate, surface.tau, surface.drop,
                levels=[0.1, 0.5, 1.0, 1.92, 3.0, 5.0, 8.0],
                colors=[THEME[c] for c in ("study",) * 3 + ("pooled",) + ("rule",) * 3],
                linewidths=[1.2, 1.2, 1.2, 2.2, 1.1, 1.1, 1.1],
            )  # fmt: skip
            axes.clabel(drawn, fmt="%g", fontsize=11.0, inline=True)
            axes.plot(surface.rate, surface.ridge, color=THEME["second"], linestyle=(0, (4, 2)),
                      linewidth=1.6)  # fmt: skip
            axes.plot(*surface.best, marker="+", color=THEME["ink"], markersize=11,
                      markeredgewidth=2)  # fmt: skip
            for limit in surface.limits:
                axes.axvline(limit, color=THEME["pooled"], linewidth=1.0, linestyle=(0, (2, 2)))
            axes.set_xlim(float(surface.rate[0]), float(surface.rate[-1]))
            axes.set_ylim(0.0, float(surface.tau[-1]))
            axes.xaxis.set_major_formatter(percent)
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.set_xlabel("rate in the median trial")
            axes.set_title(surface.title, fontsize=TEXT, pad=16)
            axes.text(0.0, 1.015, "τ", transform=axes.transAxes, fontsize=SMALL,
                      color=THEME["muted"], ha="right", va="bottom")  # fmt: skip
        return figure
