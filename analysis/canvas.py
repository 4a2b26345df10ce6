"""A drawing surface in CSS pixels: text that can be measured, lines and shapes in theme colors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from analysis.style import TEXT, THEME, UNITS_PER_INCH
from analysis.svg import quiet_fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "balanced",
    "canvas",
    "finish",
    "longest_word",
    "shape",
    "shapes",
    "stroke",
    "text_width",
    "wrap",
    "write",
]


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Return the width of a text in pixels, in the widest font a reader is likely to have."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    if not text:
        return 0.0
    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    with quiet_fonts():
        return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def wrap(text: str, width: float, size: float, bold: bool = False) -> list[str]:
    """Break a text into lines that fit a width in pixels; a longer word is broken inside."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        if line and text_width(f"{line} {word}", size, bold) <= width:
            line = f"{line} {word}"
            continue
        if line:
            lines.append(line)
        while text_width(word, size, bold) > width and len(word) > 1:
            cut = next(
                (
                    n
                    for n in range(len(word) - 1, 0, -1)
                    if text_width(word[:n], size, bold) <= width
                ),
                1,
            )
            lines.append(word[:cut])
            word = word[cut:]
        line = word
    return [*lines, line]


def longest_word(text: str, size: float, bold: bool = False) -> float:
    return max(text_width(word, size, bold) for word in text.split(" "))


def balanced(text: str, width: float, size: float, bold: bool = False) -> list[str]:
    """Break a text as `wrap` does, with lines of about equal length."""
    lines = wrap(text, width, size, bold)
    if len(lines) == 1:
        return lines
    longest = longest_word(text, size, bold)
    for share in (0.5, 0.6, 0.7, 0.8, 0.9):
        if width * share < longest:
            continue
        narrower = wrap(text, width * share, size, bold)
        if len(narrower) == len(lines):
            return narrower
    return lines


def canvas(width: float) -> tuple[Figure, Axes]:
    """Return a figure whose data coordinates are CSS pixels from the top left corner."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / UNITS_PER_INCH, 1.0), dpi=UNITS_PER_INCH, facecolor="none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    return figure, axes


def finish(figure: Figure, axes: Axes, width: float, height: float) -> Figure:
    figure.set_size_inches(width / UNITS_PER_INCH, height / UNITS_PER_INCH)
    axes.set_ylim(height, 0)
    return figure


def write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    *,
    size: float = TEXT,
    color: str = "ink",
    bold: bool = False,
    align: str = "left",
) -> None:
    """Write a line of plain text with its baseline at y."""
    if text:
        axes.text(
            x,
            y,
            text,
            fontsize=size,
            color=THEME[color],
            fontweight="bold" if bold else "normal",
            fontfamily="DejaVu Sans",
            ha=align,
            va="baseline",
            parse_math=False,
            clip_on=False,
        )


def stroke(
    axes: Axes,
    x0: float,
    y0: float,
    x1: float,
    y1: float,
    *,
    color: str,
    width: float = 1.0,
    dash: tuple[float, ...] | None = None,
    name: str | None = None,
    order: float = 2.0,
) -> None:
    from matplotlib.lines import Line2D

    line = Line2D(
        [x0, x1],
        [y0, y1],
        color=THEME[color],
        linewidth=width,
        solid_capstyle="butt",
        dash_capstyle="butt",
        clip_on=False,
        zorder=order,
    )
    if dash:
        line.set_linestyle((0, tuple(step / width for step in dash)))
    if name:
        line.set_gid(f"ev:{name}")
    axes.add_line(line)


def shape(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    *,
    fill: str,
    edge: str | None = None,
    width: float = 1.6,
    name: str | None = None,
    order: float = 4.0,
) -> None:
    from matplotlib.patches import Polygon

    patch = Polygon(
        list(points),
        closed=True,
        facecolor=THEME[fill],
        edgecolor="none" if edge is None else THEME[edge],
        linewidth=0 if edge is None else width,
        joinstyle="miter",
        clip_on=False,
        zorder=order,
    )
    if name:
        patch.set_gid(f"ev:{name}")
    axes.add_patch(patch)


def shapes(
    axes: Axes,
    polygons: Sequence[Sequence[tuple[float, float]]],
    *,
    fill: str,
    edge: str | None = None,
    width: float = 1.6,
    name: str | None = None,
    order: float = 4.0,
) -> None:
    """Draw many polygons of one look as one path; none is allowed."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if not polygons:
        return
    vertices, codes = [], []
    for points in polygons:
        vertices += [*points, points[0]]
        codes += [Path.MOVETO, *[Path.LINETO] * (len(points) - 1), Path.CLOSEPOLY]
    patch = PathPatch(
        Path(vertices, codes),
        facecolor=THEME[fill],
        edgecolor="none" if edge is None else THEME[edge],
        linewidth=0 if edge is None else width,
        joinstyle="miter",
        clip_on=False,
        zorder=order,
    )
    if name:
        patch.set_gid(f"ev:{name}")
    axes.add_patch(patch)
