"""What the theme and its extensions write into a page, made valid, accessible and light.

`mend` takes a finished page and returns it changed:

- icons are drawings of this book, 24 units wide, in place of a library of 1.5 MB that every page
  would load and that would draw them only after the page is shown;
- what scripts alone need on the search page is loaded there alone;
- the colors are decided before the page is drawn, not after;
- headings, names and landmarks are such that assistive technology can use them;
- elements stand only where HTML allows them.

Each step looks for one thing that the theme of the pinned version writes. Where a new version
writes something else, the tests of the built pages say so.
"""

from __future__ import annotations

import re

__all__ = ["ICONS", "mend", "uses_search"]

#: Paths of the icons, drawn as lines of 2 units in a square of 24 units.
ICONS = {
    "angle-left": "M15 5l-7 7 7 7",
    "angle-right": "M9 5l7 7-7 7",
    "arrow-up": "M12 20V4M5 11l7-7 7 7",
    "bars": "M4 6h16M4 12h16M4 18h16",
    "circle-half-stroke": "M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18zv18M15 5v14M18 7v10",
    "code": "M8 7l-5 5 5 5M16 7l5 5-5 5M14 4l-4 16",
    "download": "M12 4v11M7 11l5 5 5-5M4 20h16",
    "file": "M6 3h8l5 5v13H6zM14 3v5h5",
    "file-pdf": "M6 3h8l5 5v13H6zM14 3v5h5M9 13h7M9 17h7",
    "list": "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
    "magnifying-glass": "M10.5 4a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13zM15.5 15.5L20 20",
    "moon": "M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5z",
    "sun": "M12 8a4 4 0 1 0 0 8a4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2"
    "M5 5l1.4 1.4M17.6 17.6L19 19M19 5l-1.4 1.4M6.4 17.6L5 19",
}

_ARTICLE = '<article class="bd-article">'
_ICON = re.compile(
    r'<(?P<tag>i|span) class="(?P<classes>[^"]*\bfa-[a-z][^"]*)"(?P<more>[^>]*)>\s*</(?P=tag)>'
)
_SIZES = {"fa-lg", "fa-solid", "fa-regular", "fas", "far", "fa"}
_ICON_LIBRARY = re.compile(
    r"[ \t]*<!-- So that users can add custom icons -->\n"
    r'|[ \t]*<script defer src="[^"]*scripts/fontawesome\.js[^"]*"></script>\n'
)
_SEARCH_SCRIPTS = re.compile(
    r'[ \t]*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>\n'
)
_VIEWPORT = re.compile(r'<meta name="viewport"[^>]*>\n?')
_ADVERTISEMENT = re.compile(
    r'<div class="sidebar-primary-items__end sidebar-primary__section">\s*'
    r'<div class="sidebar-primary-item">\s*<div id="ethical-ad-placement"[^>]*>\s*</div>\s*'
    r"</div>\s*</div>"
)
_PRINTED_TITLE = re.compile(
    r'<div id="jb-print-docs-body" class="onlyprint">.*?'
    r'(?=<div id="searchbox">|<div class="bd-search)',
    re.DOTALL,
)
_SUMMARY = re.compile(
    r'<summary aria-label="Toggle hidden content">\s*'
    r'<p class="collapsed admonition-title">([^<]*)</p>\s*'
    r'<p class="expanded admonition-title">([^<]*)</p>\s*</summary>'
)
# what a button shows is its name: "Search Ctrl+K"
_SEARCH_FIELD = re.compile(
    r'(<button class="btn search-button-field[^"]*") title="Search" aria-label="Search"'
)
# a first visit would be drawn without colors, and again with them when the theme's script runs
_UNDECIDED = 'document.documentElement.dataset.theme = localStorage.getItem("theme") || "auto";'
_DECIDED = (
    'document.documentElement.dataset.theme = ["light", "dark"].includes('
    "document.documentElement.dataset.mode) ? document.documentElement.dataset.mode : "
    '(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");'
)
_EMPTY_FOOTER = re.compile(r'<footer class="bd-footer">\s*</footer>\s*')
# code that is wider than the page scrolls, and can be reached by keyboard to do so
_CODE = re.compile(r'(<div class="highlight"><pre)(?=>)')


def mend(page: str) -> str:
    """Return a page of the theme as this book wants it; mending it again changes nothing.

    Parameters
    ----------
    page : str
        The HTML of a finished page.

    Raises
    ------
    ValueError
        If the page has an icon that `ICONS` does not draw.
    """
    # what the theme writes stands around the article, which is most of a page
    head, mark, rest = page.partition(_ARTICLE)
    article, end, tail = rest.partition("</article>")
    search = uses_search(page)
    return (
        _mend_frame(head, search) + mark + _mend_article(article) + end + _mend_frame(tail, search)
    )


def _mend_frame(part: str, search: bool) -> str:
    part = _ICON.sub(_drawn, _ICON_LIBRARY.sub("", part))
    if not search:
        part = _SEARCH_SCRIPTS.sub("", part)
    part = _once(_VIEWPORT, part).replace(_UNDECIDED, _DECIDED)
    part = _ADVERTISEMENT.sub("", part)
    part = _EMPTY_FOOTER.sub("", part)
    part = _PRINTED_TITLE.sub("", part)
    part = _SEARCH_FIELD.sub(r"\1", part)
    part = part.replace(
        '<div id="pst-primary-sidebar" class="bd-sidebar-primary bd-sidebar">',
        '<div id="pst-primary-sidebar" class="bd-sidebar-primary bd-sidebar" role="complementary" '
        'aria-label="Title, search and contents of the book">',
    )
    return part.replace('class="bd-main" role="main"', 'class="bd-main"')


def _mend_article(article: str) -> str:
    article = _CODE.sub(r'\1 tabindex="0"', article)
    return _SUMMARY.sub(
        r'<summary><span class="collapsed admonition-title">\1</span>'
        r'<span class="expanded admonition-title">\2</span></summary>',
        article,
    )


def uses_search(page: str) -> bool:
    """Say whether a page is the one that shows what a search finds."""
    return 'id="search-results"' in page


def _drawn(match: re.Match[str]) -> str:
    classes = match["classes"].split()
    names = [name.removeprefix("fa-") for name in classes if name not in _SIZES]
    drawn = [name for name in names if name in ICONS]
    if len(drawn) != 1:
        raise ValueError(f"no drawing for the icon {match['classes']!r}.")
    kept = [name for name in classes if not re.match(r"fa[srb]?(-|$)", name)]
    size = ["book-icon-large"] if "fa-lg" in classes else []
    mode = re.search(r'data-mode="[a-z]+"', match["more"])
    more = f" {mode[0]}" if mode else ""
    return (
        f'<svg class="{" ".join(["book-icon", *size, *kept])}"{more} viewBox="0 0 24 24" '
        f'width="16" height="16" aria-hidden="true" focusable="false">'
        f'<path d="{ICONS[drawn[0]]}"></path></svg>'
    )


def _once(pattern: re.Pattern[str], page: str) -> str:
    """Keep the first match only."""
    first = pattern.search(page)
    if first is None:
        return page
    return page[: first.end()] + pattern.sub("", page[first.end() :])
