"""Figures of shared patients: the range over all admissible choices, and the map of overlaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.canvas import balanced, canvas, finish, shape, stroke, text_width, wrap, write
from analysis.rowplot import Layout, Mark, Row, Sheet, draw, under_headings
from analysis.style import NARROW, SMALL, THEME, WIDE, rc
from analysis.wording import ci, count, pct, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Cohort",
    "Part",
    "Range",
    "alt_map",
    "alt_one_range",
    "alt_ranges",
    "one_range",
    "overlap_map",
    "ranges",
]


# ------------------------------------------------------------------ ranges over choices


@dataclass(frozen=True)
class Range:
    """The estimates of every admissible choice of one estimand.

    Attributes
    ----------
    label : str
        What a row is called.
    estimates : tuple of float
        Proportions, one per choice that can be pooled.
    main : float or None
        Estimate of the main choice, if it is to be marked.
    """

    label: str
    estimates: tuple[float, ...]
    main: float | None = None
    sub: str = ""
    group: str = ""

    @property
    def low(self) -> float:
        return min(self.estimates)

    @property
    def high(self) -> float:
        return max(self.estimates)


def _range_row(entry: Range, name: str, **more: Any) -> Row:
    return Row(
        label=plain(entry.label),
        mark=Mark(
            "ticks",
            "pooled",
            entry.low,
            entry.high,
            at=entry.main,
            ticks=entry.estimates,
            name=name,
        ),
        point="" if entry.main is None else pct(entry.main),
        span=ci(entry.low, entry.high),
        sub=plain(entry.sub),
        **more,
    )


def one_range(
    named: Sequence[tuple[str, str, Any]], spans: Sequence[Range], *, layout: Layout = "wide"
) -> Figure:
    """Draw the main result, the extreme choices and the range over all choices of one estimand.

    Parameters
    ----------
    named : sequence of (str, str, result)
        Label, second line, and a result with ``estimate``, ``ci_low`` and ``ci_high`` as
        proportions; the first is the main result.
    spans : sequence of Range
        Ranges, drawn as one short line per estimate.
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone.
    """
    rows = [
        Row(
            label=plain(label),
            mark=Mark(
                "dot",
                "pooled",
                result.ci_low,
                result.ci_high,
                at=result.estimate,
                hollow=i > 0,
                name=f"choice-{i + 1}",
            ),
            point=pct(result.estimate),
            span=f"({ci(result.ci_low, result.ci_high).removesuffix('%')})",
            sub=plain(sub),
            strong=i == 0,
        )
        for i, (label, sub, result) in enumerate(named)
    ]
    rows += [_range_row(entry, f"range-{i + 1}", rule=i == 0) for i, entry in enumerate(spans)]
    return draw(
        Sheet(
            rows=tuple(rows),
            label="Choice of cohorts",
            span="Percent (95% interval)",
            notes=("Short line: estimate of one choice", "Triangle: main analysis"),
            line=named[0][2].estimate,
        ),
        layout,
    )


def ranges(entries: Sequence[Range], *, layout: Layout = "wide") -> Figure:
    """Draw one row per estimand: each admissible estimate as a short line, the main one marked.

    Parameters
    ----------
    entries : sequence of Range
        Estimands; those of one group follow each other under its name.
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone.
    """
    return draw(
        Sheet(
            rows=under_headings(entries, lambda entry, i: _range_row(entry, f"range-{i}")),
            label="Outcome",
            span="Main, range",
            notes=("Triangle: main analysis", "Short line: estimate of one admissible choice"),
        ),
        layout,
    )


def alt_one_range(title: str, entry: Range) -> str:
    """Return the alternative text of the figure of one estimand."""
    return (
        f"{plain(title)}: over {count(len(entry.estimates), 'admissible choice')} of cohorts the "
        f"pooled estimate lies between {pct(entry.low)} and {pct(entry.high)}; the main analysis "
        f"gives {pct(entry.main)}."
    )


def alt_ranges(entries: Sequence[Range]) -> str:
    """Return the alternative text of the ranges of several estimands."""
    said = [
        f"{plain(entry.label)}: {pct(entry.low)} to {pct(entry.high)}, main {pct(entry.main)}"
        for entry in entries
    ]
    return f"Range of the pooled estimate over all admissible choices. {'; '.join(said)}."


# ------------------------------------------------------------------ map of overlaps


@dataclass(frozen=True)
class Cohort:
    """A node of the map.

    Attributes
    ----------
    label : str
        Name of the cohort.
    patients : int or None
        Its size, where known.
    uses : mapping of str to bool
        Outcome: True where its count is pooled, False where it has a count that is left out.
    """

    label: str
    patients: int | None
    uses: Mapping[str, bool]


@dataclass(frozen=True)
class Part:
    """Cohorts that share patients: a heading, nodes, and edges (first, second, certain)."""

    title: str
    cohorts: tuple[Cohort, ...]
    edges: tuple[tuple[int, int, bool], ...]


ARCS, DOT, STEP = 54.0, 5.2, 18.0


def overlap_map(
    parts: Sequence[Part], outcomes: Sequence[tuple[str, str]], *, layout: Layout = "wide"
) -> Figure:
    """Draw which cohorts share patients, and which of them are pooled for which outcome.

    An arc joins two cohorts that share patients: a full line where the sources say so, a dashed
    one where they leave it open. A filled dot marks a cohort that is pooled for some outcome; the
    squares to the right say for which (filled: pooled; hollow: has a count, left out).

    Parameters
    ----------
    parts : sequence of Part
        Connected cohorts.
    outcomes : sequence of (str, str)
        Key and printed name of each outcome.
    layout : {"wide", "narrow"}
        Two columns, or one for a phone.

    Raises
    ------
    ValueError
        If there are no parts, or the layout has another name.
    """
    import matplotlib as mpl

    if layout not in ("wide", "narrow"):
        raise ValueError(f"layout must be 'wide' or 'narrow', not {layout!r}")
    if not parts:
        raise ValueError("the map needs at least one group of cohorts")
    with mpl.rc_context(rc()):
        if layout == "narrow":
            figure, axes = canvas(NARROW)
            height = _column(axes, parts, outcomes, 0.0, NARROW)
            return finish(figure, axes, NARROW, _legend(axes, height, NARROW))
        gap = 30.0
        room = (WIDE - gap) / 2
        heights = [_part_height(part, room - _fixed(outcomes)) for part in parts]
        split = min(
            range(1, len(parts) + 1),
            key=lambda i: max(sum(heights[:i]), sum(heights[i:])),
        )
        figure, axes = canvas(WIDE)
        bottom = _column(axes, parts[:split], outcomes, 0.0, room)
        if parts[split:]:
            bottom = max(bottom, _column(axes, parts[split:], outcomes, room + gap, room))
        return finish(figure, axes, WIDE, _legend(axes, bottom, WIDE))


def _fixed(outcomes: Sequence[tuple[str, str]]) -> float:
    return ARCS + DOT + 10 + STEP * len(outcomes) + 4


def _name(cohort: Cohort) -> str:
    return cohort.label if cohort.patients is None else f"{cohort.label} ({cohort.patients})"


def _node_lines(cohort: Cohort, room: float) -> list[str]:
    return balanced(plain(_name(cohort)), room, SMALL, any(cohort.uses.values()))


def _part_height(part: Part, room: float) -> float:
    return 44 + sum(8 + 15 * len(_node_lines(cohort, room)) for cohort in part.cohorts)


def _column(
    axes: Axes,
    parts: Sequence[Part],
    outcomes: Sequence[tuple[str, str]],
    left: float,
    width: float,
) -> float:
    """Draw parts below each other; return the height below the last."""
    room = width - _fixed(outcomes)
    x_node, x_label = left + ARCS, left + ARCS + DOT + 7
    x_grid = left + width - STEP * len(outcomes) + STEP / 2
    tall = max(text_width(name, SMALL) for _, name in outcomes)
    y = 6 + tall
    for i, (_, name) in enumerate(outcomes):
        axes.text(
            x_grid + STEP * i + 4,
            y,
            name,
            fontsize=SMALL,
            color=THEME["muted"],
            rotation=90,
            ha="center",
            va="bottom",
            parse_math=False,
            clip_on=False,
        )
    y += 4
    for part in parts:
        y += 6
        stroke(axes, left, y, left + width, y, color="rule", width=0.8)
        y += 2
        for line in wrap(plain(part.title), width, SMALL):
            y += 16
            write(axes, left, y, line, size=SMALL, color="muted")
        y += 4
        heights: list[float] = []
        for cohort in part.cohorts:
            pooled = any(cohort.uses.values())
            lines = _node_lines(cohort, room)
            middle = y + 4 + 7.5 * len(lines)
            for j, line in enumerate(lines):
                write(axes, x_label, y + 16 + 15 * j, line, size=SMALL, bold=pooled)
            _circle(axes, x_node, middle, pooled)
            for i, (key, _) in enumerate(outcomes):
                if key in cohort.uses:
                    _square(axes, x_grid + STEP * i, middle, cohort.uses[key])
            heights.append(middle)
            y += 8 + 15 * len(lines)
        longest = max(abs(heights[b] - heights[a]) for a, b, _ in part.edges)
        for a, b, certain in part.edges:
            reach = 14 + (ARCS - 22) * abs(heights[b] - heights[a]) / longest
            _arc(axes, x_node, heights[a], heights[b], reach, certain)
        y += 6
    return y


def _arc(axes: Axes, x: float, y0: float, y1: float, reach: float, certain: bool) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    bulge = x - reach * 4 / 3
    path = Path([(x, y0), (bulge, y0), (bulge, y1), (x, y1)], [Path.MOVETO] + [Path.CURVE4] * 3)
    patch = PathPatch(
        path,
        facecolor="none",
        edgecolor=THEME["ink" if certain else "muted"],
        linewidth=1.5 if certain else 1.3,
        linestyle="solid" if certain else (0, (2.6, 2.2)),
        capstyle="butt",
        clip_on=False,
        zorder=2,
    )
    patch.set_gid("ev:certain" if certain else "ev:possible")
    axes.add_patch(patch)


def _circle(axes: Axes, x: float, y: float, filled: bool) -> None:
    from matplotlib.patches import Circle

    axes.add_patch(
        Circle(
            (x, y),
            DOT if filled else DOT - 0.6,
            facecolor=THEME["pooled" if filled else "ground"],
            edgecolor=THEME["ground" if filled else "ink"],
            linewidth=1.4,
            clip_on=False,
            zorder=4,
        )
    )


def _square(axes: Axes, x: float, y: float, filled: bool) -> None:
    half = 5.0
    corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    shape(
        axes,
        [(x + dx, y + dy) for dx, dy in corners],
        fill="study" if filled else "ground",
        edge="study" if filled else "excluded",
        width=1.5,
    )


def _legend(axes: Axes, y: float, width: float) -> float:
    """Explain the marks below the map; return the height of the figure."""
    entries = (
        ("arc", True, "share patients"),
        ("arc", False, "may share patients"),
        ("dot", True, "pooled for some outcome"),
        ("dot", False, "never pooled"),
        ("square", True, "pooled for this outcome"),
        ("square", False, "has a count, left out"),
    )
    y += 4
    stroke(axes, 0, y, width, y, color="rule", width=0.8)
    y += 20
    x = 0.0
    for kind, on, text in entries:
        needed = 34 + text_width(text, SMALL)
        if x and x + needed > width:
            x, y = 0.0, y + 20
        if kind == "arc":
            stroke(
                axes,
                x,
                y - 4,
                x + 24,
                y - 4,
                color="ink" if on else "muted",
                width=1.5,
                dash=None if on else (4, 3),
            )
        elif kind == "dot":
            _circle(axes, x + 14, y - 4, on)
        else:
            _square(axes, x + 14, y - 4, on)
        write(axes, x + 30, y, text, size=SMALL, color="muted")
        x += needed + 18
    return y + 8


def alt_map(parts: Sequence[Part]) -> str:
    """Return the alternative text of the map: how many cohorts overlap, and what is pooled."""
    cohorts = [cohort for part in parts for cohort in part.cohorts]
    edges = [edge for part in parts for edge in part.edges]
    certain = sum(edge[2] for edge in edges)
    pooled = [cohort.label for cohort in cohorts if any(cohort.uses.values())]
    largest = max(parts, key=lambda part: len(part.cohorts))
    return (
        f"Map of overlaps: {count(len(cohorts), 'cohort')} in {count(len(parts), 'group')} share "
        f"patients with another, {count(certain, 'pair')} certainly and {len(edges) - certain} "
        f"possibly. The largest group has {len(largest.cohorts)}: {largest.title}. Pooled for some "
        f"outcome: {'; '.join(pooled)}."
    )
