"""Figures of many analyses: a specification curve, and the ranges of several estimands.

A curve has too many analyses for one mark each. They are sorted by their estimate and put into
columns of equal numbers; a column draws the median estimate and the median limits of its
analyses, and below, for each level of each choice, how many of them use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.canvas import canvas, finish, shape, stroke, text_width, wrap, write
from analysis.rowplot import Layout, Mark, Row, Sheet, draw, under_headings
from analysis.style import NARROW, SMALL, THEME, WIDE, rc
from analysis.wording import ci, count, pct, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Curve", "Group", "Level", "Spread", "alt_curve", "alt_spreads", "curve", "spreads"]

#: Most columns of the two layouts, and the height of the upper panel in pixels.
COLUMNS = {"wide": 84, "narrow": 48}
TALL = {"wide": 210.0, "narrow": 190.0}
#: Room for the name of a level in the wide layout.
LABEL = 194.0


@dataclass(frozen=True, eq=False)
class Level:
    """A level of a choice: its name, which analyses use it, and whether the main one does."""

    label: str
    used: np.ndarray
    main: bool = False


@dataclass(frozen=True, eq=False)
class Group:
    """A choice with its levels.

    Attributes
    ----------
    label : str
    levels : tuple of Level
    brief : bool
        Whether the narrow layout keeps it.
    whole : bool
        Whether the full height of a strip is all analyses of a column, instead of the largest
        share that the level has in any column.
    """

    label: str
    levels: tuple[Level, ...]
    brief: bool = True
    whole: bool = False


@dataclass(frozen=True, eq=False)
class Curve:
    """Analyses of one estimand, sorted by their estimate.

    Attributes
    ----------
    estimate, ci_low, ci_high : numpy.ndarray, shape (n,)
        Proportions.
    main : int
        Position of the main analysis.
    threshold : float
        A proportion.
    groups : tuple of Group
        The choices, with ``used`` of shape (n,).
    """

    estimate: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray
    main: int
    threshold: float
    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        if not len(self.estimate):
            raise ValueError("a curve needs at least one analysis")
        if (np.diff(self.estimate) < 0).any():
            raise ValueError("the analyses of a curve must be sorted by their estimate")
        if not 0 <= self.main < len(self.estimate):
            raise ValueError(f"there is no analysis at position {self.main}")


def curve(entry: Curve, *, layout: Layout = "wide") -> Figure:
    """Draw a specification curve.

    Parameters
    ----------
    entry : Curve
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone: fewer, wider columns, names above their strips, and
        only the groups that are marked `brief`.
    """
    import matplotlib as mpl

    if layout not in ("wide", "narrow"):
        raise ValueError(f"layout must be 'wide' or 'narrow', not {layout!r}")
    with mpl.rc_context(rc()):
        return _curve(entry, layout)


def _curve(entry: Curve, layout: Layout) -> Figure:
    wide = layout == "wide"
    width = WIDE if wide else NARROW
    groups = [group for group in entry.groups if wide or group.brief]
    heads = max(text_width(group.label, SMALL) for group in groups)
    lines = {
        id(level): wrap(level.label, LABEL if wide else width - 40, SMALL, level.main)
        for group in groups
        for level in group.levels
    }
    names = max(text_width(text, SMALL, True) for texts in lines.values() for text in texts)
    left = heads + 14 + names + 52 if wide else 40.0
    right = width - 4.0
    parts = np.array_split(
        np.arange(len(entry.estimate)), min(COLUMNS[layout], len(entry.estimate))
    )
    edges = np.linspace(left, right, len(parts) + 1)
    figure, axes = canvas(width)
    strips: dict[str, list[list[tuple[float, float]]]] = {"pooled": [], "study": []}
    bases: list[float] = []
    y = _upper(axes, entry, parts, edges, TALL[layout])
    if wide:
        write(axes, 0, 32, "Estimate, 95% interval", size=SMALL, color="muted")
    for group in groups:
        y += 8
        stroke(axes, 0, y, width, y, color="rule", width=0.8)
        y += 3
        if not wide:
            y += 17
            write(axes, 0, y, group.label, size=SMALL, bold=True)
            y += 2
        for i, level in enumerate(group.levels):
            if wide and i == 0:
                write(axes, 0, y + 13, group.label, size=SMALL, color="muted")
            x = heads + 14 if wide else left
            for j, text in enumerate(lines[id(level)]):
                write(axes, x, y + 13 + 14 * j, text, size=SMALL, bold=level.main)
            at = left - 12 if wide else width
            write(axes, at, y + 13, _share(level), size=SMALL, color="muted", align="right")
            y += 17 + 14 * (len(lines[id(level)]) - 1)
            if not wide:
                y += 16
            bases.append(y)
            points = _strip(level, parts, edges, y, group.whole)
            strips["pooled" if level.main else "study"].append(points)
    ground = [[(left, base), (right, base)] for base in bases]
    _segments(axes, ground, "grid", 1.0, "bases", 1.0)
    for color, shapes in strips.items():
        _shapes(axes, shapes, color)
    x = float(edges[_column_of(entry.main, parts)] + edges[_column_of(entry.main, parts) + 1]) / 2
    stroke(axes, x, 20, x, y, color="pooled", width=1.0, dash=(3, 3), order=1.4)
    y += 8
    notes = (
        "Diamond and broken line: main analysis; its choices are in bold",
        "Dotted line: threshold",
        "Blue intervals leave the threshold out" if wide else "Blue: without the threshold",
    )
    for text in wrap(f"{'. '.join(notes)}.", width, SMALL):
        y += 16
        write(axes, 0, y, text, size=SMALL, color="muted")
    return finish(figure, axes, width, y + 6)


def _share(level: Level) -> str:
    share = float(level.used.mean())
    return "<1%" if 0 < share < 0.005 else pct(share)


def _column_of(position: int, parts: Sequence[np.ndarray]) -> int:
    return next(i for i, part in enumerate(parts) if part[0] <= position <= part[-1])


def _upper(
    axes: Axes, entry: Curve, parts: Sequence[np.ndarray], edges: np.ndarray, tall: float
) -> float:
    """Draw estimates and intervals by column; return the height below the axis."""
    low = np.array([np.median(entry.ci_low[part]) for part in parts])
    high = np.array([np.median(entry.ci_high[part]) for part in parts])
    middle = np.array([np.median(entry.estimate[part]) for part in parts])
    most = max(float(high.max()), float(entry.ci_high[entry.main]), entry.threshold)
    top = next((limit for limit in (0.4, 0.6, 0.8) if most <= limit), 1.0)
    y0, y1 = 24.0, 24.0 + tall
    left, right = float(edges[0]), float(edges[-1])

    def at(value: float) -> float:
        return y1 - (y1 - y0) * min(float(value), top) / top

    for tick in np.linspace(0, top, 6 if top == 1 else round(top / 0.2) * 2 + 1):
        stroke(axes, left, at(tick), right, at(tick), color="grid", order=1)
        write(axes, left - 6, at(tick) + 4, pct(tick), size=SMALL, color="muted", align="right")
    stroke(axes, left, at(entry.threshold), right, at(entry.threshold), color="reference",
           width=1.8, dash=(1.8, 3), order=1.6, name="threshold")  # fmt: skip
    centers = (edges[:-1] + edges[1:]) / 2
    step = float(edges[1] - edges[0])
    include = (low <= entry.threshold) & (entry.threshold <= high)
    for chosen, color in ((include, "excluded"), (~include, "study")):
        lines = [
            [(x, at(a)), (x, at(b))]
            for x, a, b in zip(centers[chosen], low[chosen], high[chosen], strict=True)
        ]
        _segments(axes, lines, color, min(max(step * 0.5, 1.6), 6.0), "intervals", 2.5)
    half = min(step / 2, 12.0)
    ticks = [[(x - half, at(m)), (x + half, at(m))] for x, m in zip(centers, middle, strict=True)]
    _segments(axes, ticks, "ink", 3.0, "estimates", 3.0)
    column = _column_of(entry.main, parts)
    x, value = float(centers[column]), float(entry.estimate[entry.main])
    stroke(axes, x, at(entry.ci_low[entry.main]), x, at(entry.ci_high[entry.main]),
           color="pooled", width=2.6, order=4, name="main-interval")  # fmt: skip
    diamond = [(x - 7, at(value)), (x, at(value) - 7), (x + 7, at(value)), (x, at(value) + 7)]
    shape(axes, diamond, fill="pooled", edge="ground", order=5, name="main")
    said = f"Main {pct(value)}"
    room = text_width(said, SMALL, True) / 2
    write(axes, min(max(x, left + room), right - room), 14, said, size=SMALL, color="pooled",
          bold=True, align="center")  # fmt: skip
    return y1 + 6


def _segments(
    axes: Axes,
    lines: Sequence[Sequence[tuple[float, float]]],
    color: str,
    width: float,
    name: str,
    order: float,
) -> None:
    """Draw many line segments as one path."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if not lines:
        return
    points = [point for line in lines for point in line]
    codes = [Path.MOVETO, Path.LINETO] * len(lines)
    patch = PathPatch(
        Path(points, codes),
        fill=False,
        edgecolor=THEME[color],
        linewidth=width,
        capstyle="butt",
        clip_on=False,
        zorder=order,
    )
    patch.set_gid(f"ev:{name}")
    axes.add_patch(patch)


def _strip(
    level: Level, parts: Sequence[np.ndarray], edges: np.ndarray, base: float, whole: bool
) -> list[tuple[float, float]]:
    """Outline, column by column, which share of the analyses uses a level."""
    shares = [float(level.used[part].mean()) for part in parts]
    if not any(shares):
        return []
    if not whole:
        shares = [share / max(shares) for share in shares]
    points = [(float(edges[0]), base)]
    for i, share in enumerate(shares):
        y = base - 12.0 * share
        if i and share == shares[i - 1]:
            points[-1] = (float(edges[i + 1]), y)
        else:
            points += [(float(edges[i]), y), (float(edges[i + 1]), y)]
    return [*points, (float(edges[-1]), base)]


def _shapes(axes: Axes, shapes: Sequence[Sequence[tuple[float, float]]], color: str) -> None:
    """Fill many outlines as one path."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points: list[tuple[float, float]] = []
    codes: list[int] = []
    for outline in shapes:
        if outline:
            points += [*outline, outline[0]]
            between = [int(Path.LINETO)] * (len(outline) - 1)
            codes += [int(Path.MOVETO), *between, int(Path.CLOSEPOLY)]
    if points:
        patch = PathPatch(
            Path(points, codes), facecolor=THEME[color], linewidth=0, clip_on=False, zorder=2
        )
        patch.set_gid("ev:levels")
        axes.add_patch(patch)


def alt_curve(entry: Curve, title: str, said: str) -> str:
    """Return the alternative text of a curve: range, main analysis, and the share `said`."""
    n = len(entry.estimate)
    return (
        f"Specification curve, {plain(title)}: {count(n, 'analysis', 'analyses')}, estimates from "
        f"{pct(entry.estimate[0])} to {pct(entry.estimate[-1])}; the main analysis gives "
        f"{pct(entry.estimate[entry.main])} "
        f"({ci(entry.ci_low[entry.main], entry.ci_high[entry.main], words=True)}). {plain(said)}"
    )


# ------------------------------------------------------------------------------ several estimands


@dataclass(frozen=True)
class Spread:
    """The estimates of all analyses of one estimand, as proportions.

    Attributes
    ----------
    label, group : str
    least, low, high, most : float
        Smallest and largest estimate, and the ends of the middle 90 percent.
    main : float
    analyses : int
    """

    label: str
    group: str
    least: float
    low: float
    high: float
    most: float
    main: float
    analyses: int


def spreads(entries: Sequence[Spread], *, layout: Layout = "wide") -> Figure:
    """Draw one row per estimand: the main estimate, the middle 90 percent, and all estimates."""
    return draw(
        Sheet(
            rows=under_headings(entries, lambda entry, i: _spread_row(entry, f"spread-{i}")),
            label="Outcome",
            span="Main (all analyses)",
            notes=(
                "Dot: main analysis",
                "Thick line: middle 90% of the estimates",
                "Thin line: all of them",
            ),
        ),
        layout,
    )


def _spread_row(entry: Spread, name: str, **more: Any) -> Row:
    return Row(
        label=plain(entry.label),
        mark=Mark(
            "dot",
            "pooled",
            entry.low,
            entry.high,
            at=entry.main,
            outer=(entry.least, entry.most),
            name=name,
        ),
        point=pct(entry.main),
        span=f"({ci(entry.least, entry.most).removesuffix('%')})",
        **more,
    )


def alt_spreads(entries: Sequence[Spread]) -> str:
    """Return the alternative text of the ranges of several estimands."""
    said = [
        f"{plain(e.label)}, {plain(e.group)}: main {pct(e.main)}, {pct(e.least)} to {pct(e.most)} "
        f"over {e.analyses:,} analyses"
        for e in entries
    ]
    return f"Range of the estimate over every defensible analysis. {'; '.join(said)}."
