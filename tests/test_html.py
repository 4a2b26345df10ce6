"""Every page is valid HTML.

The strict parser of html5lib knows the grammar of HTML. What may stand inside what, which it does
not know, is checked here for the elements that the pages use. With ``VNU_JAR`` naming the Nu Html
Checker (vnu.jar, which needs Java), that one reads all pages as well.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import html5lib
import pytest
from bs4 import BeautifulSoup, Tag

from tests.browsing import chapters

pytestmark = pytest.mark.book

PAGES = ["index.html", *(f"{name}.html" for name in chapters()), "search.html"]
PHRASING_ONLY = ("p", "summary", "span", "button", "a.ev-term", "label", "h1", "h2", "h3", "h4")
FLOW = {
    *("address", "article", "aside", "blockquote", "details", "dialog", "div", "dl", "fieldset"),
    *("figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "main"),
    *("nav", "ol", "p", "pre", "section", "table", "ul"),
}
INTERACTIVE = ("a[href]", "button", "input", "select", "textarea", "label", "summary", "details")
CHILDREN = {
    "ul": {"li", "script", "template"},
    "ol": {"li", "script", "template"},
    "dl": {"dt", "dd", "div", "script", "template"},
    "tr": {"td", "th"},
    "table": {"caption", "colgroup", "thead", "tbody", "tfoot", "tr"},
    "select": {"option", "optgroup"},
}
OBSOLETE = {"align", "bgcolor", "border", "cellpadding", "cellspacing", "nowrap", "valign"}
REFERENCES = ("aria-labelledby", "aria-describedby", "aria-controls", "for")
#: What a script of the theme or of a page fills in when it runs.
MADE_BY_SCRIPT: set[str] = set()


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def soup_of(path: Path) -> BeautifulSoup:
    return BeautifulSoup(text_of(path), "lxml")


def brief(tag: Tag) -> str:
    return str(tag)[:150]


@pytest.mark.parametrize("name", PAGES)
def test_page_parses_strictly(built_book: Path, name: str) -> None:
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    parser.parse(text_of(built_book / name))
    assert [(place, code, data) for place, code, data in parser.errors] == []


@pytest.mark.parametrize("name", PAGES)
def test_elements_stand_where_they_may(built_book: Path, name: str) -> None:
    soup = soup_of(built_book / name)
    wrong = []
    for kind in PHRASING_ONLY:
        for tag in soup.select(kind):
            inside = [inner for inner in tag.find_all(True) if inner.name in FLOW]
            wrong += [f"{inner.name} in {kind}: {brief(tag)}" for inner in inside]
    for kind in ("a[href]", "button"):
        for tag in soup.select(kind):
            wrong += [f"control in a control: {brief(tag)}" for _ in tag.select(INTERACTIVE[0])]
            wrong += [f"control in a control: {brief(tag)}" for _ in tag.select("button, input")]
    for kind, allowed in CHILDREN.items():
        for tag in soup.select(kind):
            others = {child.name for child in tag.children if isinstance(child, Tag)} - allowed
            wrong += [f"{other} in {kind}: {brief(tag)}" for other in others]
    for tag in soup.select("figcaption"):
        if tag.parent is None or tag.parent.name != "figure":
            wrong.append(f"figcaption outside a figure: {brief(tag)}")
    for tag in soup.select("dt, dd"):
        if tag.parent is None or tag.parent.name not in {"dl", "div"}:
            wrong.append(f"{tag.name} outside a list: {brief(tag)}")
    assert wrong == []


@pytest.mark.parametrize("name", PAGES)
def test_attributes_are_in_order(built_book: Path, name: str) -> None:
    soup = soup_of(built_book / name)
    wrong = []
    identifiers = {str(tag["id"]) for tag in soup.select("[id]")}
    for tag in soup.find_all(True):
        wrong += [f"obsolete {which}: {brief(tag)}" for which in OBSOLETE & set(tag.attrs)]
        if "id" in tag.attrs and (not tag["id"] or any(c.isspace() for c in str(tag["id"]))):
            wrong.append(f"not an id: {brief(tag)}")
        for which in REFERENCES:
            missing = set(str(tag.get(which, "")).split()) - identifiers - MADE_BY_SCRIPT
            wrong += [f"{which} names no element, {one}: {brief(tag)}" for one in missing]
    assert len(soup.select("meta[name=viewport]")) == 1
    assert len(soup.select("head > title")) == len(soup.select("main")) == 1
    assert soup.html is not None and soup.html["lang"] == "en"
    assert wrong == []


@pytest.mark.parametrize("name", PAGES)
def test_tables_have_a_caption_and_headers(built_book: Path, name: str) -> None:
    for table in soup_of(built_book / name).select("article table"):
        assert table.caption is not None, f"a table without a caption: {brief(table)}"
        heads = table.select("thead th") or table.select("tr th")
        assert heads, f"a table without headers: {brief(table)}"


@pytest.mark.parametrize("name", PAGES)
def test_figures_say_how_wide_and_high_they_are(built_book: Path, name: str) -> None:
    """Space is kept for a figure before it is drawn, so that nothing moves."""
    article = soup_of(built_book / name).select_one("article")
    for image in article.select("img") if article else []:
        assert image.get("width") and image.get("height"), brief(image)
    # those of the explorer are drawn when a reader asks for them
    for drawing in article.select("figure svg:not([data-part])") if article else []:
        named = {key.lower() for key in drawing.attrs}
        assert "viewbox" in named or {"width", "height"} <= named, brief(drawing)


@pytest.mark.skipif(
    not os.environ.get("VNU_JAR") or shutil.which("java") is None,
    reason="set VNU_JAR to the path of vnu.jar (and install Java) to run the Nu Html Checker",
)
def test_the_nu_html_checker_finds_no_error(built_book: Path) -> None:
    pages = [str(built_book / name) for name in PAGES]
    process = subprocess.run(
        ["java", "-jar", os.environ["VNU_JAR"], "--errors-only", "--format", "json", *pages],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    messages = json.loads(process.stderr)["messages"]
    assert [(Path(m["url"]).name, m["message"], m.get("extract")) for m in messages] == []
