"""Where to put the labels of marks, so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.canvas import text_width
from analysis.style import SMALL

__all__ = ["Box", "meets", "place"]

#: Left, top, right and bottom in pixels.
Box = tuple[float, float, float, float]


def meets(a: Box, b: Box) -> bool:
    """Tell whether two boxes overlap."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def place(
    x: float,
    y: float,
    blocks: Sequence[Sequence[str]],
    taken: Sequence[Box],
    inside: Box,
    *,
    leftward: bool,
) -> tuple[Sequence[str], Box]:
    """Choose the lines and the box of a label beside a mark.

    The place is free of other marks if one is, near to its mark, and on the side asked for.

    Parameters
    ----------
    x, y : float
        The mark, in pixels.
    blocks : sequence of sequence of str
        The label broken into lines in one or more ways, the preferred first.
    taken : sequence of Box
        What the label must not cover.
    inside : Box
        Where it must stay.
    leftward : bool
        Whether it belongs to the left of its mark.

    Returns
    -------
    (sequence of str, Box)
        The lines, 14 px each, and their place.
    """
    found: list[tuple[float, Sequence[str], Box]] = []
    for narrow, lines in enumerate(blocks):
        width, height = max(text_width(line, SMALL) for line in lines), 14.0 * len(lines)
        for lift in (0.0, -14.0, 14.0, -28.0, 28.0, -44.0, 44.0, -60.0, 60.0):
            top = y - height / 2 + lift
            for on_left in (False, True):
                left = x - 11 - width if on_left else x + 11
                box = (left, top, left + width, top + height)
                cost = abs(lift) + 6 * narrow + 18 * (on_left != leftward)
                cost += 1000 * sum(meets(box, other) for other in taken)
                cost += 5000 * (box[0] < inside[0] or box[2] > inside[2])
                cost += 5000 * (box[1] < inside[1] or box[3] > inside[3])
                found.append((cost, lines, box))
    _, lines, box = min(found, key=lambda entry: entry[0])
    return lines, box
