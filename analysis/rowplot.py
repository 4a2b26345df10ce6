"""Drawing of a table with a plot in it: rows of text, a strip per row, one axis in percent.

A `Sheet` says what is shown; `draw` lays it out for a page (``wide``) or for a phone
(``narrow``) in CSS pixels. Nothing here knows what the numbers mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from analysis.canvas import (
    balanced,
    canvas,
    finish,
    longest_word,
    shape,
    stroke,
    text_width,
    wrap,
    write,
)
from analysis.style import NARROW, SMALL, TEXT, TITLE, WIDE, rc
from analysis.wording import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Layout = Literal["wide", "narrow"]


@dataclass(frozen=True)
class Mark:
    """What a row draws in the plot. Proportions; `size` is the side of a square in pixels.

    A mark of the shape ``ticks`` draws one short line for each of `ticks`, over a thin line from
    `low` to `high`, and a triangle that points to `at`, if given.
    """

    shape: Literal["square", "diamond", "dot", "bar", "ticks"]
    color: str
    low: float
    high: float
    at: float | None = None
    size: float = 8.0
    hollow: bool = False
    outer: tuple[float, float] | None = None
    ticks: tuple[float, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Row:
    label: str
    mark: Mark | None = None
    cells: tuple[str, ...] = ()
    left: str = ""
    point: str = ""
    span: str = ""
    right: str = ""
    sub: str = ""
    strong: bool = False
    color: str = "ink"
    rule: bool = False
    heading: bool = False


@dataclass(frozen=True)
class Sheet:
    """Everything a layout needs to draw a figure; `results` and then `notes` stand below it."""

    rows: tuple[Row, ...]
    label: str
    columns: tuple[str, ...] = ()
    aligns: tuple[str, ...] = ()
    left: str = ""
    span: str = ""
    right: str = ""
    title: str = ""
    results: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    line: float | None = None
    reference: float | None = None
    band: tuple[float, float] | None = None


def _paint(axes: Axes, mark: Mark, y: float, scale: Callable[[float], float]) -> None:
    """Draw a mark centered on the height y."""
    low, high = scale(mark.low), scale(mark.high)
    if mark.shape == "diamond":
        middle, half = scale(mark.at if mark.at is not None else mark.low), mark.size / 2
        points = [(low, y), (middle, y - half), (high, y), (middle, y + half)]
        shape(
            axes,
            points,
            fill="ground" if mark.hollow else mark.color,
            edge=mark.color if mark.hollow else None,
            name=mark.name,
        )
        return
    if mark.shape == "bar":
        stroke(axes, low, y, high, y, color=mark.color, width=5.0, name=mark.name, order=3)
        for x in (low, high):
            stroke(axes, x, y - 6, x, y + 6, color=mark.color, width=1.6, order=3)
        return
    if mark.outer is not None:
        first, last = scale(mark.outer[0]), scale(mark.outer[1])
        stroke(
            axes, first, y, last, y, color="prediction", width=1.6, name=f"{mark.name}-prediction"
        )
        for x in (first, last):
            stroke(axes, x, y - 4, x, y + 4, color="prediction", width=1.6)
    middle = scale(mark.at if mark.at is not None else mark.low)
    if mark.shape == "dot":
        stroke(axes, low, y, high, y, color=mark.color, width=5.0, name=mark.name, order=3)
        radius = 5.2
        circle = [
            (middle + radius * math.cos(a), y + radius * math.sin(a))
            for a in (2 * math.pi * i / 24 for i in range(24))
        ]
        shape(
            axes,
            circle,
            fill="ground" if mark.hollow else mark.color,
            edge=mark.color if mark.hollow else "ground",
            width=2.2 if mark.hollow else 1.6,
            name=f"{mark.name}-dot",
        )
        return
    if mark.shape == "ticks":
        below = y + 4
        stroke(axes, low, below, high, below, color="muted", width=1.2, name=mark.name, order=3)
        for value in mark.ticks:
            x = scale(value)
            stroke(axes, x, below - 5, x, below + 5, color="study", width=1.3, order=3.5)
        if mark.at is not None:
            triangle = [(middle - 6, y - 11), (middle + 6, y - 11), (middle, y - 2)]
            shape(axes, triangle, fill=mark.color, edge="ground", name=f"{mark.name}-at")
        return
    half = mark.size / 2
    color = "ink" if mark.color == "study" else mark.color
    stroke(axes, low, y, high, y, color=color, width=1.4, name=f"{mark.name}-interval", order=3)
    square = [
        (middle - half, y - half),
        (middle + half, y - half),
        (middle + half, y + half),
        (middle - half, y + half),
    ]
    shape(
        axes,
        square,
        fill="ground" if mark.hollow else mark.color,
        edge=mark.color if mark.hollow else None,
        width=1.8,
        name=mark.name,
    )


def _backdrop(
    axes: Axes, sheet: Sheet, scale: Callable[[float], float], strips: Sequence[tuple[float, float]]
) -> None:
    """Draw band, grid, the line of the pooled estimate and the reference behind the strips."""
    for y0, y1 in strips:
        if sheet.band is not None:
            x0, x1 = scale(sheet.band[0]), scale(sheet.band[1])
            shape(
                axes, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill="band", name="band", order=0.5
            )
        for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
            x = scale(tick)
            stroke(axes, x, y0, x, y1, color="grid", order=1)
        if sheet.line is not None:
            x = scale(sheet.line)
            stroke(axes, x, y0, x, y1, color="pooled", width=1.2, dash=(4, 3), order=1.5)
        if sheet.reference is not None:
            x = scale(sheet.reference)
            stroke(
                axes,
                x,
                y0,
                x,
                y1,
                color="reference",
                width=1.6,
                dash=(1.6, 3),
                order=1.6,
                name="reference",
            )


def _axis(axes: Axes, scale: Callable[[float], float], y: float) -> float:
    """Draw the axis at height y; return the height below its labels."""
    stroke(axes, scale(0), y, scale(1), y, color="rule")
    for tick in (0, 25, 50, 75, 100):
        x = scale(tick / 100)
        stroke(axes, x, y, x, y + 4, color="rule")
        write(
            axes,
            x,
            y + 17,
            f"{tick}%" if tick in (0, 100) else str(tick),
            size=SMALL,
            color="muted",
            align="center",
        )
    return y + 22


def _foot(axes: Axes, sheet: Sheet, y: float, width: float) -> float:
    for i, result in enumerate(sheet.results):
        y += 6 if i == 0 else 3
        for line in wrap(result, width, TEXT):
            y += 16
            write(axes, 0, y, line)
    for note in sheet.notes:
        for line in wrap(f"{note}.", width, SMALL):
            y += 16
            write(axes, 0, y, line, size=SMALL, color="muted")
    return y + 6


def _scale(left: float, right: float) -> Callable[[float], float]:
    return lambda proportion: left + float(proportion) * (right - left)


def under_headings(entries: Sequence[Any], row: Callable[[Any, int], Row]) -> tuple[Row, ...]:
    """Make a row of each entry, with a heading wherever another ``entry.group`` begins.

    Parameters
    ----------
    entries : sequence
        What the rows are about; entries of one group follow each other.
    row : callable
        Makes the row of an entry from the entry and its number, counted from 1.
    """
    rows: list[Row] = []
    group = ""
    for i, entry in enumerate(entries, start=1):
        if entry.group != group:
            group = entry.group
            rows.append(Row(label=plain(group), strong=True, heading=True, rule=bool(rows)))
        rows.append(row(entry, i))
    return tuple(rows)


def draw(sheet: Sheet, layout: Layout) -> Figure:
    import matplotlib as mpl

    if layout not in ("wide", "narrow"):
        raise ValueError(f"layout must be 'wide' or 'narrow', not {layout!r}")
    with mpl.rc_context(rc()):
        return _draw_wide(sheet) if layout == "wide" else _draw_narrow(sheet)


def _draw_wide(sheet: Sheet) -> Figure:
    gap, line_height = 16.0, 16.0
    rows = sheet.rows
    data = [row for row in rows if not row.heading]

    def widest(texts: Sequence[tuple[str, bool]], header: str) -> float:
        return max(
            [text_width(header, SMALL), *(text_width(text, TEXT, bold) for text, bold in texts)]
        )

    left = widest([(r.left, r.strong) for r in data], sheet.left) if sheet.left else 0.0
    right = widest([(r.right, r.strong) for r in data], sheet.right) if sheet.right else 0.0
    point = max((text_width(r.point, TEXT, r.strong) for r in data), default=0.0)
    span = max((text_width(r.span, TEXT, r.strong) for r in data), default=0.0)
    value = max(point + 6 + span, text_width(sheet.span, SMALL))
    cap = 92.0 if len(sheet.columns) > 1 else 120.0
    cells = [
        min(
            cap,
            widest([(r.cells[i], False) for r in data if i < len(r.cells)], sheet.columns[i]),
        )
        for i in range(len(sheet.columns))
    ]
    named = [r for r in data if r.mark is not None and (any(r.cells) or not cells)]
    natural = widest([(r.label, r.strong) for r in named], sheet.label)
    wanted = 200.0 if not cells else 165.0
    words = [longest_word(r.label, TEXT, r.strong) for r in named]
    narrowest = min(max([104.0, *words]), 190.0)
    for right_shown in (right, 0.0):  # the last column gives way before the plot does
        right = right_shown
        fixed = sum(c + gap for c in cells) + (left + gap if left else 0.0) + gap
        fixed += value + gap + (right + gap if right else 0.0)
        label = min(natural, max(narrowest, WIDE - fixed - wanted))
        if WIDE - fixed - label >= 130.0:
            break
    x_cells = [label + gap + sum(c + gap for c in cells[:i]) for i in range(len(cells))]
    x_left = label + gap + sum(c + gap for c in cells) + left
    plot0 = (x_left if left else x_left - gap) + gap + 4
    plot1 = WIDE - (right + gap if right else 0.0) - value - gap - 2
    scale = _scale(plot0 + 4, plot1 - 4)
    x_span = WIDE - (right + gap if right else 0.0)
    x_point = x_span - span - 6

    figure, axes = canvas(WIDE)
    y = 2.0
    if sheet.title:
        for line in wrap(sheet.title, WIDE, TITLE, True):
            y += 18
            write(axes, 0, y, line, size=TITLE, bold=True)
        y += 8
    heads = [wrap(name, w, SMALL) for name, w in zip(sheet.columns, cells, strict=True)]
    extra = max([0, *(len(h) - 1 for h in heads)]) * 14
    y += 14 + extra

    def header(x: float, lines: Sequence[str], align: str = "left") -> None:
        for i, text in enumerate(reversed(lines)):
            write(axes, x, y - 14 * i, text, size=SMALL, color="muted", align=align)

    header(0, [sheet.label])
    for lines, x, w, align in zip(heads, x_cells, cells, sheet.aligns, strict=True):
        header(x + (w if align == "right" else 0), lines, align)
    header(x_left, [sheet.left], "right")
    header(x_span, [sheet.span], "right")
    if right:
        header(WIDE, [sheet.right], "right")
    y += 8
    stroke(axes, 0, y, WIDE, y, color="rule")
    top = y
    y += 2
    for row in rows:
        free = row.heading or (row.mark is None and not row.point)
        room = label
        if free:
            room = WIDE
        elif not any(row.cells) and cells:
            room = label + sum(c + gap for c in cells)
        lines = balanced(row.label, room, TEXT, row.strong)
        texts = [wrap(c, w, TEXT) for c, w in zip(row.cells, cells, strict=False)]
        sub = (
            wrap(row.sub, label if any(row.cells) else room, SMALL)
            if row.sub and not (sheet.columns and row.cells and row.color == "ink")
            else []
        )
        tall = max([len(lines) + len(sub), *(len(t) for t in texts)])
        height = 10 + line_height * tall
        if row.rule:
            y += 3
            stroke(axes, 0, y, WIDE, y, color="rule", width=0.8)
            y += 3
        first = y + 5 + 12.6
        middle = y + height / 2
        single = middle + 4.6
        start = first + (tall - len(lines) - len(sub)) * line_height / 2
        for i, text in enumerate(lines):
            write(axes, 0, start + i * line_height, text, bold=row.strong, color=row.color)
        for i, text in enumerate(sub):
            write(axes, 0, start + (len(lines) + i) * line_height, text, size=SMALL, color="muted")
        for text_lines, x, w, align in zip(texts, x_cells, cells, sheet.aligns, strict=False):
            begin = first + (tall - len(text_lines)) * line_height / 2
            for i, text in enumerate(text_lines):
                write(
                    axes,
                    x + (w if align == "right" else 0),
                    begin + i * line_height,
                    text,
                    color=row.color,
                    align=align,
                )
        write(axes, x_left, single, row.left, bold=row.strong, color=row.color, align="right")
        write(axes, x_point, single, row.point, bold=row.strong, color=row.color, align="right")
        write(axes, x_span, single, row.span, bold=row.strong, color=row.color, align="right")
        if right:
            write(axes, WIDE, single, row.right, bold=row.strong, color=row.color, align="right")
        if row.mark is not None:
            _paint(axes, row.mark, middle, scale)
        y += height
    y += 2
    _backdrop(axes, sheet, scale, [(top, y)])
    y = _axis(axes, scale, y)
    y = _foot(axes, sheet, y, WIDE)
    return finish(figure, axes, WIDE, y)


def _draw_narrow(sheet: Sheet) -> Figure:
    rows = sheet.rows
    data = [row for row in rows if not row.heading]
    left = max([0.0, *(text_width(r.left, SMALL, r.strong) for r in data)]) if sheet.left else 0.0
    right = max([0.0, *(text_width(r.right, SMALL) for r in data)]) if sheet.right else 0.0
    if right:
        right = max(right, text_width(sheet.right, SMALL))
    if left:
        left = max(left, text_width(sheet.left, SMALL))
    span = max((text_width(r.span, TEXT, r.strong) for r in data), default=0.0)
    plot0 = left + 12 if left else 4.0
    plot1 = NARROW - (right + 12 if right else 4.0)
    scale = _scale(plot0 + (5 if left else 6), plot1 - (5 if right else 14))
    x_point = NARROW - span - 5

    figure, axes = canvas(NARROW)
    y = 2.0
    if sheet.title:
        for line in wrap(sheet.title, NARROW, TITLE, True):
            y += 18
            write(axes, 0, y, line, size=TITLE, bold=True)
        y += 6
    y += 13
    write(axes, 0, y, sheet.label, size=SMALL, color="muted")
    write(axes, NARROW, y, sheet.span, size=SMALL, color="muted", align="right")
    between = " \u00b7 "
    told = any(row.sub and any(row.cells) and row.color == "ink" for row in rows)
    if sheet.columns and not told:
        for text in wrap(between.join(sheet.columns), NARROW, SMALL):
            y += 16
            write(axes, 0, y, text, size=SMALL, color="muted")
    if left or right:
        y += 16
        write(axes, 0, y, sheet.left, size=SMALL, color="muted")
        write(axes, NARROW, y, sheet.right, size=SMALL, color="muted", align="right")
    y += 7
    stroke(axes, 0, y, NARROW, y, color="rule")
    strips: list[tuple[float, float]] = []
    for row in rows:
        if row.rule:
            y += 4
            stroke(axes, 0, y, NARROW, y, color="rule", width=0.8)
            y += 2
        y += 6
        alone = row.mark is None and not row.point
        room = NARROW if alone else (x_point - text_width(row.point, TEXT, row.strong) - 10)
        if not row.point and not alone:
            room = NARROW - text_width(row.span, TEXT) - 10
        lines = balanced(row.label, room, TEXT, row.strong)
        write(axes, x_point, y + 12, row.point, bold=row.strong, color=row.color, align="right")
        write(axes, NARROW, y + 12, row.span, bold=row.strong, color=row.color, align="right")
        for text in lines:
            y += 16
            write(axes, 0, y - 4, text, bold=row.strong, color=row.color)
        aside = row.sub
        if any(row.cells) and not row.sub:
            aside = between.join(cell or "\u2013" for cell in row.cells)
        if aside:
            for text in wrap(aside, NARROW, SMALL):
                y += 15
                write(axes, 0, y - 4, text, size=SMALL, color="muted")
        if row.mark is not None:
            height = 20.0
            middle = y + height / 2
            write(axes, 0, middle + 4.4, row.left, size=SMALL, color="muted")
            write(axes, NARROW, middle + 4.4, row.right, size=SMALL, color="muted", align="right")
            strips.append((y, y + height))
            _paint(axes, row.mark, middle, scale)
            y += height
        y += 1
    _backdrop(axes, sheet, scale, strips)
    y = _axis(axes, scale, y + 2)
    y = _foot(axes, sheet, y, NARROW)
    return finish(figure, axes, NARROW, y)
