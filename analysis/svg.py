"""Figures as SVG: as a file, and as an element of a page that follows its theme."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from analysis.markup import Html, attribute, escape
from analysis.style import css_color, rc
from analysis.wording import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG_NAMESPACE = "http://www.w3.org/2000/svg"
XLINK_NAMESPACE = "http://www.w3.org/1999/xlink"


@contextmanager
def quiet_fonts() -> Iterator[None]:
    """Silence one message: the browser draws the text, so matplotlib's font need not have it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def svg(figure: Figure) -> str:
    """Return a figure as a stand-alone SVG file: text as text, the same bytes each time.

    Colors are those of the light theme, on a transparent ground.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context(rc()), quiet_fonts():
        figure.savefig(
            buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True
        )
    return buffer.getvalue().replace(
        "font-family: 'DejaVu Sans'", "font-family: 'DejaVu Sans', Arial, Helvetica, sans-serif"
    )


def _styles(text: str) -> dict[str, str]:
    pairs = (part.split(":", 1) for part in text.split(";") if ":" in part)
    return {name.strip(): value.strip() for name, value in pairs}


def _shorter(text: str) -> str:
    """Return coordinates with two decimals: a hundredth of a pixel is enough."""
    text = re.sub(
        r"-?\d+\.\d{3,}", lambda hit: f"{float(hit[0]):.2f}".rstrip("0").rstrip("."), text
    )
    return " ".join(text.split())


def inline_svg(figure: Figure, alt: str, *, key: str = "", css_class: str = "") -> str:
    """Return a figure as an SVG element for the body of a page.

    Theme colors become CSS custom properties, fonts those of the page, and every id that
    remains is made unique by the drawing and `key`. Marks keep their names as classes
    (``ev-pooled-diamond``).

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Any figure, also one that seaborn drew.
    alt : str
        Alternative text; must not be empty.
    key : str
        Tells two equal figures on one page apart.
    css_class : str
        Class of the SVG element.

    Raises
    ------
    ValueError
        If the alternative text is empty.
    """
    if not plain(alt):
        raise ValueError("a figure needs an alternative text")
    source = svg(figure)
    root = ElementTree.fromstring(source)
    prefix = "ev" + hashlib.sha256(f"{key}\0{css_class}\0{source}".encode()).hexdigest()[:10]
    used = set(re.findall(r"url\(#([^)]+)\)", source))
    used |= set(re.findall(r'href="#([^"]+)"', source))
    space = f"{{{SVG_NAMESPACE}}}"

    def style_of(styles: Mapping[str, str]) -> str:
        kept = []
        for name, value in styles.items():
            if name == "font-family" or (name == "text-anchor" and value == "start"):
                continue
            new = re.sub(r"#[0-9a-fA-F]{6}\b", lambda hit: css_color(hit[0]) or hit[0], value)
            kept.append(f"{name}:{re.sub(r'url[(]#', f'url(#{prefix}-', new)}")
        return ";".join(kept)

    def clean(element: ElementTree.Element) -> None:
        for child in list(element):
            if child.tag in {f"{space}metadata", f"{space}style"}:
                element.remove(child)
                continue
            clean(child)
            if child.tag in {"defs", "g"} and len(child) == 0:
                element.remove(child)
            elif child.tag == "path" and child.get("style") == "fill:none":
                element.remove(child)  # the empty ground of the figure or of the axes
            elif child.tag == "g" and not child.attrib:
                place = list(element).index(child)
                element.remove(child)
                for offset, inner in enumerate(child):
                    element.insert(place + offset, inner)
        name = element.attrib.pop("id", None)
        if name is not None and name.startswith("ev:"):
            element.set("class", f"ev-{name.removeprefix('ev:')}")
        elif name in used:
            element.set("id", f"{prefix}-{name}")
        link = element.attrib.pop(f"{{{XLINK_NAMESPACE}}}href", None)
        if link is not None:
            element.set("href", f"#{prefix}-{link[1:]}" if link.startswith("#") else link)
        if "clip-path" in element.attrib:
            element.set("clip-path", element.attrib["clip-path"].replace("#", f"#{prefix}-"))
        if "style" in element.attrib:
            style = style_of(_styles(element.attrib.pop("style")))
            if style:
                element.set("style", style)
        if re.match(r"rotate\(-?0 ", element.attrib.get("transform", "")):
            del element.attrib["transform"]
        for which in ("d", "x", "y"):
            if which in element.attrib:
                element.set(which, _shorter(element.attrib[which]))
        element.tag = element.tag.removeprefix(space)
        if element.text is not None and not element.text.strip():
            element.text = None
        element.tail = None

    clean(root)
    box = root.attrib["viewBox"]
    root.attrib.clear()
    root.set("class", css_class or "ev-svg")
    root.set("viewBox", box)
    root.set("role", "img")
    root.set("aria-label", plain(alt))
    root.set(
        "style",
        "stroke-linejoin:round;stroke-linecap:butt;"
        "font-family:var(--ev-font, system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, "
        "'DejaVu Sans', sans-serif);font-variant-numeric:tabular-nums",
    )
    return ElementTree.tostring(root, encoding="unicode")


def responsive_svg(
    fig_wide: Figure,
    fig_narrow: Figure | None,
    alt: str,
    *,
    caption: str | Html = "",
    key: str = "",
    links: Sequence[str] = (),
) -> Html:
    """Return one HTML figure that shows the wide or the narrow drawing, whichever fits.

    The choice follows the width of the column, not of the window. Without the project's style
    sheet the wide drawing shows.

    Parameters
    ----------
    fig_wide, fig_narrow : matplotlib.figure.Figure
        The two layouts; None for a figure that has one layout.
    alt : str
        Alternative text: the finding in one or two sentences.
    caption : str or Html
        Caption; text is escaped.
    key : str
        Also the id of the figure, if given: a name for links to it.
    links : sequence of str
        Finished links (see `analysis.markup.download_link`), shown below the figure.
    """
    anchor = f' id="{attribute(key)}"' if key else ""
    parts = [f'<figure class="ev-block ev-figure"{anchor}>']
    if fig_narrow is None:
        parts.append(f'<div class="ev-one">{inline_svg(fig_wide, alt, key=key)}</div>')
    else:
        wide = inline_svg(fig_wide, alt, key=key, css_class="ev-svg ev-svg-wide")
        narrow = inline_svg(fig_narrow, alt, key=key, css_class="ev-svg ev-svg-narrow")
        parts.append(f'<div class="ev-wide">{wide}</div>')
        parts.append(f'<div class="ev-narrow" style="display:none">{narrow}</div>')
    if caption or links:
        below = f'<span class="ev-links">{" ".join(links)}</span>' if links else ""
        parts.append(f"<figcaption>{escape(caption)} {below}</figcaption>")
    parts.append("</figure>")
    return Html("\n".join(parts))
