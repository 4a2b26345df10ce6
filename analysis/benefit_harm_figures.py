"""Figures of two outcomes together: a plane with its region, and 100 patients as squares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.canvas import canvas, finish, shape, shapes, stroke, text_width, wrap, write
from analysis.labels import Box, place
from analysis.rowplot import Layout
from analysis.style import NARROW, SMALL, TEXT, WIDE, rc
from analysis.wording import ci, listing, pct, plain

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Cross",
    "Hundred",
    "Panel",
    "alt_hundred",
    "alt_plane",
    "hundred",
    "of_hundred",
    "plane",
]

Span = tuple[float, float]


@dataclass(frozen=True)
class Cross:
    """A trial: its rate and interval on each axis, None where it reports no figure."""

    label: str
    x: float | None
    x_span: Span | None
    y: float | None
    y_span: Span | None


@dataclass(frozen=True)
class Panel:
    """A plane: the names of its axes, the trials, and the pooled region.

    Attributes
    ----------
    x_name, y_name : str
    crosses : tuple of Cross
        A trial with one outcome only is drawn in the margin of its axis.
    point : (float, float) or None
        Pooled rates.
    outlines : tuple of arrays of shape (N, 2)
        Lines around the joint region, proportions.
    sides : ((float, float), (float, float)) or None
        Rectangle that holds whatever the dependence, proportions.
    """

    x_name: str
    y_name: str
    crosses: tuple[Cross, ...]
    point: Span | None = None
    outlines: tuple[np.ndarray, ...] = ()
    sides: tuple[Span, Span] | None = None


@dataclass(frozen=True)
class Hundred:
    """A pooled rate to be shown as a count of 100 patients."""

    label: str
    estimate: float
    low: float
    high: float
    harm: bool


def of_hundred(entry: Hundred) -> tuple[int, int, int]:
    """Return lower limit, estimate and upper limit as whole patients of 100.

    Halves are rounded up, as in :func:`analysis.wording.pct`.

    Raises
    ------
    ValueError
        If the three are not in order between 0 and 1.
    """
    if not 0.0 <= entry.low <= entry.estimate <= entry.high <= 1.0:
        raise ValueError(
            f"{plain(entry.label)}: limits and estimate must be in order between 0 and 1"
        )
    low, middle, high = (
        int(pct(value).removesuffix("%")) for value in (entry.low, entry.estimate, entry.high)
    )
    return low, middle, high


def _check_layout(layout: str) -> None:
    if layout not in ("wide", "narrow"):
        raise ValueError(f"layout must be 'wide' or 'narrow', not {layout!r}")


# ------------------------------------------------------------------ plane


def plane(panels: Sequence[Panel], *, layout: Layout = "wide") -> Figure:
    """Draw two rates against each other: a cross per trial, the pooled point and its regions.

    Parameters
    ----------
    panels : sequence of Panel
        Side by side, or below each other on a phone.
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone.

    Raises
    ------
    ValueError
        If there is no panel or the layout has another name.
    """
    import matplotlib as mpl

    _check_layout(layout)
    if not panels:
        raise ValueError("a picture of two outcomes needs at least one panel")
    wide = layout == "wide"
    width = WIDE if wide else NARROW
    gap = 26.0
    columns = min(len(panels), 2) if wide else 1
    size = (width - gap * (columns - 1)) / columns
    size = min(size, 420.0)
    letters = _letters(panels)
    with mpl.rc_context(rc()):
        figure, axes = canvas(width)
        bottom = y = 2.0
        for i, panel in enumerate(panels):
            column = i % columns
            if column == 0:
                y = bottom
            x = column * (size + gap)
            bottom = max(bottom, _panel(axes, panel, letters, x, y, size))
        bottom = _trial_names(axes, letters, bottom, width)
        bottom = _plane_legend(axes, panels, bottom, width)
        return finish(figure, axes, width, bottom + 4)


def _panel(
    axes: Axes, panel: Panel, letters: dict[str, str], x0: float, y0: float, size: float
) -> float:
    y = y0 + 16
    write(axes, x0, y, plain(panel.y_name), size=SMALL, bold=True)
    y += 10
    margin = 14.0
    left, right = x0 + 44 + margin, x0 + size - 20
    top, bottom = y, y + (right - left)

    def x_of(rate: float) -> float:
        return left + rate * (right - left)

    def y_of(rate: float) -> float:
        return bottom - rate * (bottom - top)

    for outline in panel.outlines:
        points = [(x_of(float(a)), y_of(float(b))) for a, b in outline]
        shape(axes, points, fill="band", edge="pooled", width=1.2, name="region", order=0.5)
    for rate in (0.0, 0.25, 0.5, 0.75, 1.0):
        color = "rule" if rate == 0 else "grid"
        stroke(axes, left, y_of(rate), right, y_of(rate), color=color, order=1)
        stroke(axes, x_of(rate), top, x_of(rate), bottom, color=color, order=1)
        text = pct(rate) if rate in (0.0, 1.0) else f"{rate * 100:.0f}"
        if rate in (0.0, 0.5, 1.0):
            at = left - margin - 6
            write(axes, at, y_of(rate) + 4, text, size=SMALL, color="muted", align="right")
        low = bottom + margin + 16
        write(axes, x_of(rate), low, text, size=SMALL, color="muted", align="center")
    if panel.sides is not None:
        (x_low, x_high), (y_low, y_high) = panel.sides
        corners = [
            (x_of(x_low), y_of(y_low)),
            (x_of(x_high), y_of(y_low)),
            (x_of(x_high), y_of(y_high)),
            (x_of(x_low), y_of(y_high)),
        ]
        for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
            stroke(axes, ax, ay, bx, by, color="pooled", width=1.2, dash=(4, 3), name="sides")
    taken = _crosses(axes, panel, x_of, y_of, left - margin, bottom + margin)
    _names(axes, panel, letters, x_of, y_of, taken, (left + 2, top - 4, right + 18, bottom - 2))
    y = bottom + margin + 20
    for line in wrap(plain(panel.x_name), size - 52, SMALL, True):
        y += 15
        write(axes, (left + right) / 2, y, line, size=SMALL, bold=True, align="center")
    return y + 14


def _crosses(
    axes: Axes,
    panel: Panel,
    x_of: Callable[[float], float],
    y_of: Callable[[float], float],
    gutter_x: float,
    gutter_y: float,
) -> list[Box]:
    taken: list[Box] = []
    for i, cross in enumerate(panel.crosses):
        name = f"trial-{i + 1}"
        if cross.x is None or cross.y is None:
            x = gutter_x if cross.x is None else x_of(cross.x)
            y = gutter_y if cross.y is None else y_of(cross.y)
            _square(axes, x, y, 3.4, fill="ground", edge="excluded", name=f"{name}-margin")
            continue
        x, y = x_of(cross.x), y_of(cross.y)
        assert cross.x_span is not None and cross.y_span is not None  # a rate has an interval
        x_low, x_high = (x_of(v) for v in cross.x_span)
        y_low, y_high = (y_of(v) for v in cross.y_span)
        stroke(axes, x_low, y, x_high, y, color="ink", width=1.3, name=f"{name}-x", order=3)
        stroke(axes, x, y_low, x, y_high, color="ink", width=1.3, name=f"{name}-y", order=3)
        _square(axes, x, y, 4.5, fill="study", edge=None, name=name)
        taken += [(x_low, y - 2, x_high, y + 2), (x - 2, y_high, x + 2, y_low)]
        taken.append((x - 7, y - 7, x + 7, y + 7))
    if panel.point is not None:
        x, y = x_of(panel.point[0]), y_of(panel.point[1])
        points = [(x - 8, y), (x, y - 8), (x + 8, y), (x, y + 8)]
        shape(axes, points, fill="pooled", edge="ground", width=1.4, name="pooled", order=5)
        taken.append((x - 9, y - 9, x + 9, y + 9))
    return taken


def _square(
    axes: Axes, x: float, y: float, half: float, *, fill: str, edge: str | None, name: str
) -> None:
    points = [
        (x - half, y - half),
        (x + half, y - half),
        (x + half, y + half),
        (x - half, y + half),
    ]
    shape(axes, points, fill=fill, edge=edge, width=1.6, name=name)


def _letters(panels: Sequence[Panel]) -> dict[str, str]:
    """A letter for each trial with both outcomes in some panel, the same in all panels."""
    labels = dict.fromkeys(
        plain(cross.label)
        for panel in panels
        for cross in panel.crosses
        if cross.x is not None and cross.y is not None
    )
    return {label: _letter(i) for i, label in enumerate(labels)}


def _letter(i: int) -> str:
    letter = chr(ord("a") + i % 26)
    return letter if i < 26 else f"{letter}{i // 26 + 1}"


def _names(
    axes: Axes,
    panel: Panel,
    letters: dict[str, str],
    x_of: Callable[[float], float],
    y_of: Callable[[float], float],
    taken: list[Box],
    inside: Box,
) -> None:
    for cross in panel.crosses:
        if cross.x is None or cross.y is None:
            continue
        text = letters[plain(cross.label)]
        lines, box = place(x_of(cross.x), y_of(cross.y), [[text]], taken, inside, leftward=False)
        taken.append(box)
        write(axes, box[0], box[1] + 11, lines[0], size=TEXT, bold=True)


def _trial_names(axes: Axes, letters: dict[str, str], y: float, width: float) -> float:
    x = 0.0
    y += 14
    for label, letter in letters.items():
        lines = wrap(label, width - 20, SMALL)
        start = text_width(letter, TEXT, True) + 6
        wide = start + max(text_width(line, SMALL) for line in lines)
        if x > 0 and x + wide > width:
            x, y = 0.0, y + 18
        write(axes, x, y, letter, size=TEXT, bold=True)
        for i, line in enumerate(lines):
            write(axes, x + start, y + 15 * i, line, size=SMALL)
        y += 15 * (len(lines) - 1)
        x += wide + 20
    return y + 6


def _plane_legend(axes: Axes, panels: Sequence[Panel], y: float, width: float) -> float:
    entries: list[tuple[str, str]] = [("trial", "trial with 95% intervals")]
    if any(panel.point is not None for panel in panels):
        entries += [
            ("pooled", "pooled"),
            ("region", "95% region of the two means, if independent"),
            ("sides", "at least 95%, whatever their dependence"),
        ]
    if any(cross.x is None or cross.y is None for panel in panels for cross in panel.crosses):
        entries.append(("margin", "in the margin: reports only this outcome"))
    x = 0.0
    y += 14
    for kind, text in entries:
        lines = wrap(text, width - 28, SMALL)
        wide = 26 + max(text_width(line, SMALL) for line in lines)
        if x > 0 and x + wide > width:
            x, y = 0.0, y + 19
        _key(axes, kind, x + 9, y - 4)
        for i, line in enumerate(lines):
            write(axes, x + 24, y + 15 * i, line, size=SMALL, color="muted")
        y += 15 * (len(lines) - 1)
        x += wide + 16
    return y + 6


def _key(axes: Axes, kind: str, x: float, y: float) -> None:
    if kind == "trial":
        stroke(axes, x - 8, y, x + 8, y, color="ink", width=1.3)
        stroke(axes, x, y - 8, x, y + 8, color="ink", width=1.3)
        _square(axes, x, y, 4.0, fill="study", edge=None, name="key")
    elif kind == "pooled":
        points = [(x - 7, y), (x, y - 7), (x + 7, y), (x, y + 7)]
        shape(axes, points, fill="pooled")
    elif kind == "region":
        points = [(x - 8, y - 5), (x + 8, y - 5), (x + 8, y + 5), (x - 8, y + 5)]
        shape(axes, points, fill="band", edge="pooled", width=1.2)
    elif kind == "sides":
        stroke(axes, x - 8, y, x + 8, y, color="pooled", width=1.4, dash=(4, 3))
    else:
        _square(axes, x, y, 3.4, fill="ground", edge="excluded", name="key")


def alt_plane(title: str, panels: Sequence[Panel]) -> str:
    """Return the alternative text of the plane: the pooled rates, and the trials with both."""
    said = []
    for panel in panels:
        x_name, y_name = plain(panel.x_name).lower(), plain(panel.y_name).lower()
        if panel.point is None or panel.sides is None:
            text = f"{y_name} and {x_name}: no pooled point"
        else:
            (x_low, x_high), (y_low, y_high) = panel.sides
            text = (
                f"pooled {y_name} {pct(panel.point[1])} and {x_name} {pct(panel.point[0])}; with "
                f"95% certainty {y_name} lies between {ci(y_low, y_high, words=True)} and {x_name} "
                f"between {ci(x_low, x_high, words=True)} at once"
            ).replace(" between ", " from ")
        trials = [
            f"{plain(c.label)} ({pct(c.y)} and {pct(c.x)})"
            for c in panel.crosses
            if c.x is not None and c.y is not None
        ]
        tail = f"; trials with both: {listing(trials)}" if trials else "; no trial with both"
        said.append(text + tail)
    return f"{plain(title)}. {'. '.join(part[0].upper() + part[1:] for part in said)}."


# ------------------------------------------------------------------ 100 patients


def hundred(entries: Sequence[Hundred], *, layout: Layout = "wide") -> Figure:
    """Draw each rate as squares for 100 patients.

    Filled: the estimate; a dot in the filled square: above the lower limit; outlined in color:
    above the estimate, up to the upper limit.

    Parameters
    ----------
    entries : sequence of Hundred
    layout : {"wide", "narrow"}
        Next to each other, or below each other on a phone.

    Raises
    ------
    ValueError
        If there is nothing to draw or the layout has another name.
    """
    import matplotlib as mpl

    _check_layout(layout)
    if not entries:
        raise ValueError("a picture of 100 patients needs at least one rate")
    wide = layout == "wide"
    width = WIDE if wide else NARROW
    columns = 3 if wide else 1
    block = width / columns
    with mpl.rc_context(rc()):
        figure, axes = canvas(width)
        bottom = y = 0.0
        for i, entry in enumerate(entries):
            if i % columns == 0:
                y = bottom + (12 if i else 0)
            bottom = max(bottom, _grid(axes, entry, (i % columns) * block, y, block, i + 1))
        bottom = _hundred_legend(axes, bottom + 10, width)
        return finish(figure, axes, width, bottom)


def _grid(axes: Axes, entry: Hundred, x0: float, y0: float, room: float, number_: int) -> float:
    low, middle, high = of_hundred(entry)
    color = "pooled" if entry.harm else "study"
    y = y0 + 18
    write(axes, x0, y, f"{middle} of 100", size=TEXT, bold=True, color=color)
    for line in wrap(f"{plain(entry.label)} (95% interval {low} to {high})", room - 16, SMALL):
        y += 15
        write(axes, x0, y, line, size=SMALL)
    top = y0 + 18 + 15 * 3 + 8 if room < 300 else y + 10
    looks: dict[str, list[list[tuple[float, float]]]] = {
        "sure": [],
        "likely": [],
        "more": [],
        "": [],
    }
    for patient in range(100):
        look = (
            "sure"
            if patient < low
            else "likely"
            if patient < middle
            else "more"
            if patient < high
            else ""
        )
        looks[look].append(_cell(x0 + 1, top, patient, 0.0))
    dots = [_cell(x0 + 1, top, patient, 5.0) for patient in range(low, middle)]
    shapes(axes, looks["sure"], fill=color, name=f"sure-{number_}")
    shapes(axes, looks["likely"], fill=color, name=f"likely-{number_}")
    shapes(axes, dots, fill="ground", order=5)
    shapes(axes, looks["more"], fill="ground", edge=color, width=1.5, name=f"more-{number_}")
    shapes(axes, looks[""], fill="ground", edge="grid", width=1.5, name=f"rest-{number_}")
    return top + 10 * 19


def _cell(left: float, top: float, patient: int, inset: float) -> list[tuple[float, float]]:
    x = left + (patient % 10) * 19 + inset
    y = top + (patient // 10) * 19 + inset
    side = 14 - 2 * inset
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]


def _hundred_legend(axes: Axes, y: float, width: float) -> float:
    x = 0.0
    y += 12
    for kind, text in (
        ("full", "up to the lower limit"),
        ("dot", "from there to the estimate"),
        ("edge", "from there to the upper limit"),
    ):
        wide = 22 + text_width(text, SMALL)
        if x > 0 and x + wide > width:
            x, y = 0.0, y + 19
        points = [(x, y - 11), (x + 14, y - 11), (x + 14, y + 3), (x, y + 3)]
        if kind == "edge":
            shape(axes, points, fill="ground", edge="muted", width=1.5)
        else:
            shape(axes, points, fill="muted")
        if kind == "dot":
            dot = [(x + 5, y - 6), (x + 9, y - 6), (x + 9, y - 2), (x + 5, y - 2)]
            shape(axes, dot, fill="ground", order=5)
        write(axes, x + 20, y, text, size=SMALL, color="muted")
        x += wide + 18
    return y + 8


def alt_hundred(title: str, entries: Sequence[Hundred]) -> str:
    """Return the alternative text of the 100 patients: each count with its limits."""
    said = []
    for entry in entries:
        low, middle, high = of_hundred(entry)
        said.append(f"{plain(entry.label).lower()} {middle} (from {low} to {high})")
    return f"Of 100 patients, {plain(title)}: {listing(said)}."
