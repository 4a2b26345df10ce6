"""Bubble plots: the trials over a continuous covariate, with the fitted line and its band."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.canvas import canvas, finish, shape, stroke, text_width, wrap, write
from analysis.rowplot import Layout
from analysis.style import NARROW, SMALL, TEXT, THEME, WIDE, rc
from analysis.wording import pct, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Bubble", "bubbles"]

#: Height of the plot and the radius of the largest bubble, in CSS pixels.
HEIGHT, RADIUS = 250.0, 15.0


@dataclass(frozen=True)
class Bubble:
    """A trial: its name, where it lies on the covariate, its counts."""

    label: str
    x: float
    events: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.events <= self.total or self.total < 1:
            raise ValueError(
                f"{plain(self.label)}: events must lie between 0 and total, "
                f"not {self.events} of {self.total}"
            )


def bubbles(
    trials: Sequence[Bubble],
    *,
    x_label: str,
    line: Mapping[str, Sequence[float]] | None = None,
    log: bool = False,
    results: Sequence[str] = (),
    layout: Layout = "wide",
) -> Figure:
    """Draw each trial's percentage over a covariate, with a fitted line.

    The area of a bubble is proportional to the number of patients, but never too small to see; a
    hollow one marks a trial without events, or with an event in every patient.

    Parameters
    ----------
    trials : sequence of Bubble
    x_label : str
        Name of the covariate.
    line : mapping, optional
        ``at`` in units of the covariate, and ``estimate``, ``low``, ``high`` as proportions: the
        fitted median trial and its interval.
    log : bool
        Logarithmic covariate; all values must be positive.
    results : sequence of str
        Lines of text below the plot.
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone.

    Raises
    ------
    ValueError
        If there are no trials, the covariate does not vary, or a logarithmic one is not positive.
    """
    import matplotlib as mpl

    if layout not in ("wide", "narrow"):
        raise ValueError(f"layout must be 'wide' or 'narrow', not {layout!r}")
    values = [trial.x for trial in trials]
    if len(set(values)) < 2:
        raise ValueError("a bubble plot needs trials at two values of the covariate or more")
    if log and min(values) <= 0:
        raise ValueError("a logarithmic covariate must be positive")
    order = sorted(range(len(trials)), key=lambda i: (trials[i].x, trials[i].label))
    number_of = {i: place + 1 for place, i in enumerate(order)}
    width = WIDE if layout == "wide" else NARROW
    left, right, top = 44.0, width - 12.0, 14.0
    bottom = top + HEIGHT
    across = _across(values, left + 22, right - 22, log)

    def down(proportion: float) -> float:
        return bottom - proportion * HEIGHT

    with mpl.rc_context(rc()):
        figure, axes = canvas(width)
        for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
            stroke(axes, left, down(tick), right, down(tick), color="grid", order=0.6)
            write(axes, left - 6, down(tick) + 4.4, pct(tick), size=SMALL, color="muted",
                  align="right")  # fmt: skip
        for tick in _ticks(min(values), max(values), log, 8 if layout == "wide" else 5):
            x = across(tick)
            stroke(axes, x, bottom, x, bottom + 4, color="rule")
            write(axes, x, bottom + 18, f"{tick:g}", size=SMALL, color="muted", align="center")
        stroke(axes, left, bottom, right, bottom, color="rule")
        write(axes, (left + right) / 2, bottom + 37, plain(x_label), size=SMALL, align="center")
        path = [] if line is None else _line(axes, line, across, down)
        largest = max(trial.total for trial in trials)
        spots = []
        for i in reversed(sorted(range(len(trials)), key=lambda i: trials[i].total)):
            trial = trials[i]
            radius = max(4.0, RADIUS * math.sqrt(trial.total / largest))
            x, y = across(trial.x), down(trial.events / trial.total)
            hollow = trial.events in (0, trial.total)
            shape(
                axes,
                _circle(x, y, radius),
                fill="ground" if hollow else "study",
                edge="study" if hollow else "ground",
                name=f"bubble-{number_of[i]}",
            )
            spots.append((i, x, y, radius))
        box = (left, top - 8, right, bottom)
        short = layout == "narrow"
        labels = {i: str(number_of[i]) if short else plain(trials[i].label) for i in number_of}
        _labels(axes, spots, labels, box, path)
        y = bottom + 44
        if short:
            for i in order:
                trial = trials[i]
                text = f"{number_of[i]}  {plain(trial.label)}: {trial.events}/{trial.total}"
                for part in wrap(text, width, SMALL):
                    y += 15
                    write(axes, 0, y, part, size=SMALL, color="muted")
            y += 4
        for text in results:
            y += 3
            for part in wrap(plain(text), width, TEXT):
                y += 16
                write(axes, 0, y, part)
        return finish(figure, axes, width, y + 8)


def _across(
    values: Sequence[float], left: float, right: float, log: bool
) -> Callable[[float], float]:
    scale: Callable[[float], float] = math.log2 if log else float
    low, high = scale(min(values)), scale(max(values))
    return lambda value: left + (scale(value) - low) / (high - low) * (right - left)


def _ticks(low: float, high: float, log: bool, most: int) -> list[float]:
    if log:
        steps = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
        return [float(step) for step in steps if low <= step <= high]
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(most, integer=True).tick_values(low, high)
    return [float(tick) for tick in found if low <= tick <= high]


def _circle(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    turns = (2 * math.pi * i / 32 for i in range(32))
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in turns]


def _line(
    axes: Axes,
    line: Mapping[str, Sequence[float]],
    across: Callable[[float], float],
    down: Callable[[float], float],
) -> list[tuple[float, float]]:
    """Draw band and line; return the points of the line."""
    from matplotlib.lines import Line2D

    xs = [across(value) for value in line["at"]]
    upper = [(x, down(p)) for x, p in zip(xs, line["high"], strict=True)]
    lower = [(x, down(p)) for x, p in zip(xs, line["low"], strict=True)]
    shape(axes, [*upper, *reversed(lower)], fill="band", name="band", order=0.5)
    ys = [down(p) for p in line["estimate"]]
    path = Line2D(xs, ys, color=THEME["pooled"], linewidth=2.0, zorder=1.5)
    path.set_gid("ev:line")
    axes.add_line(path)
    return list(zip(xs, ys, strict=True))


def _labels(
    axes: Axes,
    spots: Sequence[tuple[int, float, float, float]],
    labels: Mapping[int, str],
    box: tuple[float, float, float, float],
    path: Sequence[tuple[float, float]],
) -> None:
    """Write each label beside its bubble where it covers least of the others."""
    taken = [(x - r, y - r, x + r, y + r) for _, x, y, r in spots]
    taken += [(x - 5, y - 2, x + 5, y + 2) for x, y in path]
    for i, x, y, r in spots:
        wide, tall = text_width(labels[i], SMALL), 13.0
        places = [
            (x + r + 4, y - tall / 2),
            (x - r - 4 - wide, y - tall / 2),
            (x - wide / 2, y - r - 3 - tall),
            (x - wide / 2, y + r + 3),
            (x + r * 0.7 + 3, y - r - tall),
            (x + r * 0.7 + 3, y + r),
            (x - r * 0.7 - 3 - wide, y - r - tall),
            (x - r * 0.7 - 3 - wide, y + r),
        ]

        def cost(place: tuple[float, float], wide: float = wide, tall: float = tall) -> float:
            x0, y0 = place
            mine = (x0, y0, x0 + wide, y0 + tall)
            out = max(0.0, box[0] - x0) + max(0.0, mine[2] - box[2])
            out += max(0.0, box[1] - y0) + max(0.0, mine[3] - box[3])
            return 1e4 * out + sum(_shared(mine, other) for other in taken)

        x0, y0 = min(places, key=cost)
        taken.append((x0, y0, x0 + wide, y0 + tall))
        write(axes, x0, y0 + 10.5, labels[i], size=SMALL)


def _shared(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Area that two boxes share."""
    across = min(a[2], b[2]) - max(a[0], b[0])
    down = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, across) * max(0.0, down)
