"""One look for every figure: colors, sizes and SVG settings.

Figures are drawn with the light colors below. When a figure is placed in a page, each color
becomes a CSS custom property with the light color as its fallback, so that one drawing serves
the light theme, the dark theme, print, and a file opened on its own. The dark values live in
``_static/evidence.css``; `THEME` is the list that both share.

The data colors are the blue and vermilion family of Okabe and Ito, darkened until each has a
contrast of at least 3:1 (marks) or 4.5:1 (text) on white. Shape repeats what color says.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Role -> light color. Every color is distinct, because a role is found again by its color.
THEME: Mapping[str, str] = MappingProxyType(
    {
        "ground": "#ffffff",  # page behind a hollow mark
        "ink": "#1b2127",  # text and interval lines
        "muted": "#545e69",  # secondary text
        "grid": "#e3e7eb",  # grid lines
        "rule": "#a3adb8",  # rules between blocks
        "study": "#0a6aa6",  # a trial
        "pooled": "#b44a0a",  # a pooled estimate
        "prediction": "#c77a45",  # a prediction interval
        "band": "#f8ebe0",  # confidence band of the full set
        "excluded": "#838d97",  # shown, not pooled
        "reference": "#7b4ea3",  # a reference value
        "second": "#00785a",  # a second data color
        "third": "#8a6d00",  # a third data color
    }
)

#: Order in which series take their color in seaborn and matplotlib plots.
CYCLE: tuple[str, ...] = tuple(
    THEME[name] for name in ("study", "pooled", "second", "reference", "third", "muted")
)

#: Font sizes in CSS pixels, as drawn: body text, secondary text, title.
TEXT, SMALL, TITLE = 13.0, 12.2, 14.5

#: Widths in CSS pixels of the two layouts. The wide one is shown from 600 px of room on, the
#: narrow one below, so that no text is ever smaller than 11 px on a 360 px screen.
WIDE, NARROW = 690.0, 328.0

#: Units of a drawing: one SVG user unit is one CSS pixel.
UNITS_PER_INCH = 72.0

RC: Mapping[str, Any] = MappingProxyType(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "evidence",
        "svg.image_inline": True,
        "font.family": ["DejaVu Sans"],
        "font.size": TEXT,
        "figure.dpi": UNITS_PER_INCH,
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
        "savefig.edgecolor": "none",
        "axes.facecolor": "none",
        "axes.edgecolor": THEME["rule"],
        "axes.labelcolor": THEME["ink"],
        "axes.labelsize": TEXT,
        "axes.titlesize": TITLE,
        "axes.titlelocation": "left",
        "axes.titlecolor": THEME["ink"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.linewidth": 1.0,
        "axes.unicode_minus": True,
        "grid.color": THEME["grid"],
        "grid.linewidth": 1.0,
        "lines.linewidth": 1.8,
        "lines.markersize": 5.5,
        "patch.edgecolor": THEME["ground"],
        "text.color": THEME["ink"],
        "text.parse_math": False,
        "xtick.color": THEME["rule"],
        "ytick.color": THEME["rule"],
        "xtick.labelcolor": THEME["ink"],
        "ytick.labelcolor": THEME["ink"],
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "legend.frameon": False,
        "legend.fontsize": SMALL,
        "legend.labelcolor": THEME["ink"],
    }
)


def css_color(color: str) -> str | None:
    """Return ``var(--ev-role, #light)`` for a color of the theme, None for any other color.

    Parameters
    ----------
    color : str
        A color as ``#rrggbb``, in any case.
    """
    wanted = color.lower()
    for role, light in THEME.items():
        if light == wanted:
            return f"var(--ev-{role}, {light})"
    return None


def rc() -> Any:
    """Return the matplotlib settings, the color cycle among them, as a new dictionary.

    The type is left open: matplotlib's own is the list of all its settings.
    """
    from cycler import cycler

    return {**RC, "axes.prop_cycle": cycler(color=list(CYCLE))}


def use() -> None:
    """Set the matplotlib defaults for this process, so that seaborn and matplotlib follow them."""
    import matplotlib as mpl

    mpl.rcParams.update(rc())
