"""Figures of durability: survival rates over time, and medians."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from analysis.canvas import balanced, canvas, finish, shape, stroke, text_width, wrap, write
from analysis.labels import Box, place
from analysis.rowplot import Layout
from analysis.style import NARROW, SMALL, TEXT, WIDE, rc
from analysis.wording import ci, listing, number, pct, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Bar",
    "Point",
    "Strip",
    "alt_landmarks",
    "alt_medians",
    "landmark_plot",
    "median_plot",
]

Kind = Literal["used", "disputed", "subset", "pooled"]


@dataclass(frozen=True)
class Point:
    """A survival rate at a time point.

    Attributes
    ----------
    label : str
        Cohort, and the patients it is about if not all.
    months : float
    rate : float
        Proportion surviving.
    low, high : float or None
        Interval, proportions; None where there is none.
    kind : {"used", "disputed", "subset", "pooled"}
        Filled square, hollow square, hollow diamond, filled diamond.
    """

    label: str
    months: float
    rate: float
    low: float | None
    high: float | None
    kind: Kind = "used"


@dataclass(frozen=True)
class Strip:
    """The rates of one outcome: a title and its points."""

    title: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Bar:
    """A median time in months: `at` None is "not reached", as is `high` None beside a `low`."""

    label: str
    at: float | None
    low: float | None = None
    high: float | None = None
    kind: Kind = "used"
    sub: str = ""
    group: str = ""


def _check_layout(layout: str) -> None:
    if layout not in ("wide", "narrow"):
        raise ValueError(f"layout must be 'wide' or 'narrow', not {layout!r}")


def _months(value: float) -> str:
    return number(value, 0 if float(value).is_integer() else 1)


def _end(times: Sequence[float]) -> tuple[float, float]:
    """End of a time axis and the step of its ticks, in months."""
    longest = max(times)
    step = 6.0 if longest <= 26 else 12.0 if longest <= 64 else 24.0
    return max(step * math.ceil((longest + 0.08 * longest) / step), 2 * step), step


def _diamond(axes: Axes, x: float, y: float, half: float, *, fill: str, edge: str | None) -> None:
    points = [(x - half, y), (x, y - half), (x + half, y), (x, y + half)]
    shape(axes, points, fill=fill, edge=edge, width=1.8)


def _square(axes: Axes, x: float, y: float, half: float, *, fill: str, edge: str | None) -> None:
    points = [
        (x - half, y - half),
        (x + half, y - half),
        (x + half, y + half),
        (x - half, y + half),
    ]
    shape(axes, points, fill=fill, edge=edge, width=1.8)


def _symbol(axes: Axes, x: float, y: float, kind: Kind) -> None:
    if kind == "used":
        _square(axes, x, y, 5.0, fill="study", edge=None)
    elif kind == "disputed":
        _square(axes, x, y, 4.6, fill="ground", edge="excluded")
    elif kind == "subset":
        _diamond(axes, x, y, 6.0, fill="ground", edge="study")
    else:
        _diamond(axes, x, y, 8.0, fill="pooled", edge=None)


_COLOR: dict[Kind, str] = {
    "used": "ink",
    "disputed": "excluded",
    "subset": "muted",
    "pooled": "pooled",
}
_TEXT_COLOR: dict[Kind, str] = {
    "used": "ink",
    "disputed": "muted",
    "subset": "muted",
    "pooled": "ink",
}


def landmark_plot(strips: Sequence[Strip], *, layout: Layout = "wide") -> Figure:
    """Draw survival rates over time: one strip per outcome, one mark per cohort and time point.

    Marks at one time are moved apart sideways by a few pixels. A rate that a source prints for two
    different times is joined by a dashed line.

    Parameters
    ----------
    strips : sequence of Strip
        At least one, each with at least one point.
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone.

    Raises
    ------
    ValueError
        If there is nothing to draw or the layout has another name.
    """
    import matplotlib as mpl

    _check_layout(layout)
    if not strips or any(not strip.points for strip in strips):
        raise ValueError("a picture of survival rates needs at least one rate in every strip")
    width = WIDE if layout == "wide" else NARROW
    tall = 170.0 if layout == "wide" else 190.0
    end, step = _end([point.months for strip in strips for point in strip.points])
    left, right = 44.0, width - 8.0

    def x_of(months: float) -> float:
        return left + (right - left) * months / end

    with mpl.rc_context(rc()):
        figure, axes = canvas(width)
        y = 2.0
        for strip in strips:
            y += 18
            write(axes, 0, y, plain(strip.title), bold=True)
            write(axes, width, y, "by months", size=SMALL, color="muted", align="right")
            y += 12
            named = _strip(axes, strip, y, tall, x_of, end, step, (left, right), layout)
            y += tall + 20
            for letter, lines in named:
                for i, line in enumerate(lines):
                    y += 15
                    if i == 0:
                        write(axes, 0, y, letter, size=SMALL, bold=True)
                    write(axes, 16, y, line, size=SMALL)
            y += 4 if named else 0
        kinds = dict.fromkeys(point.kind for strip in strips for point in strip.points)
        y = _legend(axes, [kind for kind in _SAID if kind in kinds], y, width)
        return finish(figure, axes, width, y + 4)


_SAID: dict[Kind, str] = {
    "used": "all patients of a cohort",
    "disputed": "disputed: the sources contradict each other",
    "subset": "a part of the patients only",
    "pooled": "pooled",
}


def _legend(axes: Axes, kinds: Sequence[Kind], y: float, width: float) -> float:
    x = 0.0
    y += 14
    for kind in kinds:
        text = _SAID[kind]
        wide = 22 + text_width(text, SMALL)
        if x > 0 and x + wide > width:
            x, y = 0.0, y + 18
        _symbol(axes, x + 8, y - 4, kind)
        write(axes, x + 20, y, text, size=SMALL, color="muted")
        x += wide + 18
    return y + 6


def _strip(
    axes: Axes,
    strip: Strip,
    top: float,
    tall: float,
    x_of: Callable[[float], float],
    end: float,
    step: float,
    sides: tuple[float, float],
    layout: Layout,
) -> list[tuple[str, list[str]]]:
    """Draw one strip; return the letters that stand for labels, and the labels, on a phone."""
    left, right = sides
    bottom = top + tall

    def y_of(rate: float) -> float:
        return bottom - rate * tall

    for rate in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = y_of(rate)
        stroke(axes, left, at, right, at, color="rule" if rate == 0 else "grid", order=1)
        if rate in (0.0, 0.5, 1.0):
            text = f"{rate * 100:.0f}%"
            write(axes, left - 6, at + 4, text, size=SMALL, color="muted", align="right")
    months = 0.0
    while months <= end + 1e-9:
        x = x_of(months)
        stroke(axes, x, bottom, x, bottom + 4, color="rule")
        write(axes, x, bottom + 17, _months(months), size=SMALL, color="muted", align="center")
        months += step

    # marks at one time stand beside each other, not on top of each other
    spots: list[tuple[Point, float]] = []
    leftmost: set[int] = set()
    for point in strip.points:
        same = [p for p in strip.points if abs(x_of(p.months) - x_of(point.months)) < 9]
        shift = (same.index(point) - (len(same) - 1) / 2) * 13
        if len(same) > 1 and same[0] is point:
            leftmost.add(id(point))
        spots.append((point, min(max(x_of(point.months) + shift, left + 8), right - 8)))
    taken: list[Box] = []
    for number_, (point, x) in enumerate(spots):
        name = f"{point.kind}-{number_ + 1}"
        color = _COLOR[point.kind]
        if point.low is not None and point.high is not None:
            low, high = y_of(point.low), y_of(point.high)
            stroke(axes, x, low, x, high, color=color, width=1.5, name=f"{name}-interval", order=3)
            for at in (low, high):
                stroke(axes, x - 4, at, x + 4, at, color=color, width=1.5, order=3)
            taken.append((x - 4, high, x + 4, low))
        _symbol(axes, x, y_of(point.rate), point.kind)
        taken.append((x - 8, y_of(point.rate) - 8, x + 8, y_of(point.rate) + 8))
    for point, x in spots:
        twin = [
            other_x
            for other, other_x in spots
            if other is not point and _twins(point, other) and other_x > x
        ]
        if twin:
            at = y_of(point.rate)
            stroke(axes, x + 7, at, twin[0] - 7, at, color="excluded", width=1.4, dash=(4, 3))
            taken.append((x + 7, at - 2, twin[0] - 7, at + 2))
    inside = (left + 2, top - 9, right + 6, bottom - 2)
    named: dict[str, str] = {}
    for point, x in spots:
        text = _text(point, strip.points)
        first = text not in named
        named.setdefault(text, chr(ord("a") + len(named)))
        if layout == "narrow":
            blocks = [[named[text]]]
        elif first:
            blocks = [balanced(text, 170.0, SMALL), wrap(text, 100.0, SMALL)]
        else:
            continue
        lines, box = place(
            x, y_of(point.rate), blocks, taken, inside, leftward=id(point) in leftmost
        )
        taken.append((box[0] - 5, box[1], box[2] + 5, box[3]))
        for i, line in enumerate(lines):
            write(
                axes,
                box[0],
                box[1] + 11 + 14 * i,
                line,
                size=SMALL,
                color=_TEXT_COLOR[point.kind],
            )
    if layout == "wide":
        return []
    return [(letter, wrap(text, right - 16, SMALL)) for text, letter in named.items()]


def _text(point: Point, points: Sequence[Point]) -> str:
    """Label, percentage, and where a figure has two times, both."""
    times = [point.months, *(p.months for p in points if _twins(point, p))]
    text = f"{plain(point.label)}, {pct(point.rate)}"
    if len(times) > 1:
        text += f" at {' or '.join(_months(t) for t in sorted(times))} months"
    return text


def _twins(a: Point, b: Point) -> bool:
    """One figure that a source prints for two times."""
    same = a.label == b.label and a.rate == b.rate
    return same and a.kind == b.kind == "disputed" and a.months != b.months


def median_plot(bars: Sequence[Bar], *, layout: Layout = "wide") -> Figure:
    """Draw medians on an axis of months, one row each; an arrow stands for "not reached".

    Parameters
    ----------
    bars : sequence of Bar
        Rows of one group follow each other under its name.
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone.

    Raises
    ------
    ValueError
        If there is nothing to draw or the layout has another name.
    """
    import matplotlib as mpl

    _check_layout(layout)
    if not bars:
        raise ValueError("a picture of medians needs at least one median")
    times = [t for bar in bars for t in (bar.at, bar.low, bar.high) if t is not None]
    end, step = _end(times or [12.0])
    wide = layout == "wide"
    width = WIDE if wide else NARROW
    value = max(text_width(_value(bar), TEXT) for bar in bars)
    left = 190.0 if wide else 6.0
    right = width - value - 16 if wide else width - 14.0

    def x_of(months: float) -> float:
        return left + (right - left) * months / end

    with mpl.rc_context(rc()):
        figure, axes = canvas(width)
        y, group = 0.0, ""
        strips: list[tuple[float, float]] = []
        for i, bar in enumerate(bars):
            if bar.group != group:
                group = bar.group
                if i:
                    y += 6
                    stroke(axes, 0, y, width, y, color="rule", width=0.8)
                y += 20
                write(axes, 0, y, plain(group), bold=True)
                y += 4
            color = _TEXT_COLOR[bar.kind]
            room = left - 14 if wide else width - value - 12
            lines = balanced(plain(bar.label), room, TEXT)
            subs = wrap(plain(bar.sub), room if wide else width, SMALL) if bar.sub else []
            texts = [*((line, TEXT, color) for line in lines), *((s, SMALL, "muted") for s in subs)]
            start = y
            for text, size, ink in texts:
                y += 16
                write(axes, 0, y, text, size=size, color=ink)
            if wide:
                middle = (start + y) / 2 + 4
                strips.append((start, y + 8))
                write(axes, width, middle + 4.5, _value(bar), color=color, align="right")
                y += 8
            else:
                write(axes, width, start + 16, _value(bar), color=color, align="right")
                middle = y + 13
                strips.append((y + 3, y + 23))
                y += 25
            _bar(axes, bar, middle, x_of, right, f"median-{i + 1}")
        months = 0.0
        while months <= end + 1e-9:
            x = x_of(months)
            for y0, y1 in strips:
                stroke(axes, x, y0, x, y1, color="grid", order=1)
            months += step
        y += 2
        stroke(axes, left, y, right, y, color="rule")
        months = 0.0
        while months <= end + 1e-9:
            x = x_of(months)
            stroke(axes, x, y, x, y + 4, color="rule")
            write(axes, x, y + 17, _months(months), size=SMALL, color="muted", align="center")
            months += step
        y += 32
        write(axes, (left + right) / 2, y, "Months", size=SMALL, align="center")
        kinds = dict.fromkeys(bar.kind for bar in bars)
        y = _legend(axes, [kind for kind in _SAID if kind in kinds], y + 4, width)
        return finish(figure, axes, width, y + 4)


def _value(bar: Bar) -> str:
    if bar.at is None:
        return "not reached"
    text = f"{_months(bar.at)}"
    if bar.low is not None:
        high = "not reached" if bar.high is None else _months(bar.high)
        return f"{text} ({_months(bar.low)} to {high})"
    return text


def _bar(
    axes: Axes, bar: Bar, y: float, x_of: Callable[[float], float], right: float, name: str
) -> None:
    color = _COLOR[bar.kind]
    if bar.low is not None:
        high = right if bar.high is None else x_of(bar.high)
        stroke(axes, x_of(bar.low), y, high, y, color=color, width=1.5, name=name, order=3)
        stroke(axes, x_of(bar.low), y - 4, x_of(bar.low), y + 4, color=color, width=1.5, order=3)
        if bar.high is None:
            _arrow(axes, right, y, color)
        else:
            stroke(axes, high, y - 4, high, y + 4, color=color, width=1.5, order=3)
    if bar.at is None:
        if bar.low is None:
            stroke(axes, right - 42, y, right, y, color=color, width=1.5, dash=(4, 3), name=name)
        _arrow(axes, right, y, color)
        return
    _symbol(axes, x_of(bar.at), y, bar.kind)


def _arrow(axes: Axes, x: float, y: float, color: str) -> None:
    shape(axes, [(x + 8, y), (x - 2, y - 5.5), (x - 2, y + 5.5)], fill=color)


def alt_landmarks(title: str, strips: Sequence[Strip]) -> str:
    """Return the alternative text of the survival rates: every rate with its interval."""
    parts = []
    for strip in strips:
        said = []
        for point in strip.points:
            text = f"{pct(point.rate)} at {_months(point.months)} months ({plain(point.label)}"
            if point.low is not None:
                text += f", {ci(point.low, point.high, words=True)}"
            said.append(text + (", disputed)" if point.kind == "disputed" else ")"))
        parts.append(f"{plain(strip.title)}: {listing(said)}")
    return f"Survival rates over time, {plain(title)}. {'. '.join(parts)}."


def alt_medians(title: str, bars: Sequence[Bar]) -> str:
    """Return the alternative text of the medians: every median in months."""
    groups: dict[str, list[str]] = {}
    for bar in bars:
        text = "not reached" if bar.at is None else f"{_months(bar.at)} months"
        extra = ", disputed" if bar.kind == "disputed" else ""
        groups.setdefault(plain(bar.group), []).append(f"{text} ({plain(bar.label)}{extra})")
    said = ". ".join(f"{group}: {listing(items)}" for group, items in groups.items())
    return f"Medians, {plain(title)}. {said}."
