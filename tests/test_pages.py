"""What holds for every page of the built book."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup, Tag

from analysis.digest import data_digest, data_version
from tests.browsing import chapters

PAGES = ["index.html", *(f"{name}.html" for name in chapters())]

pytestmark = [pytest.mark.book, pytest.mark.parametrize("name", PAGES)]


@cache
def soup_of(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "lxml")


@cache
def anchors_of(path: Path) -> frozenset[str]:
    return frozenset(str(tag["id"]) for tag in soup_of(path).select("[id]"))


def article_of(path: Path) -> Tag:
    article = soup_of(path).select_one("article.bd-article")
    assert article is not None, f"{path.name} has no article"
    return article


def test_page_shows_data_version_and_digest(built_book: Path, name: str) -> None:
    footer = soup_of(built_book / name).select_one(".data-version")
    assert footer is not None
    assert footer.get_text().split() == [
        *("Data", "version", f"{data_version()},", "sha256"),
        data_digest(),
    ]


def test_headings_start_at_one_and_skip_no_level(built_book: Path, name: str) -> None:
    levels = [int(tag.name[1]) for tag in article_of(built_book / name).select("h1,h2,h3,h4,h5,h6")]
    assert levels.count(1) == 1
    assert levels[0] == 1
    for before, after in pairwise(levels):
        assert after <= before + 1, f"level {after} follows level {before}"


def test_internal_links_and_anchors_resolve(built_book: Path, name: str) -> None:
    page = built_book / name
    broken = []
    for tag in soup_of(page).select("[href], [src]"):
        address = str(tag.get("href") or tag.get("src") or "")
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if target.is_dir():
            target = target / "index.html"
        if not target.is_file() or (
            parts.fragment
            and target.suffix == ".html"
            and unquote(parts.fragment) not in anchors_of(target)
        ):
            broken.append(address)
    assert broken == []


def test_identifiers_are_unique(built_book: Path, name: str) -> None:
    identifiers = [tag["id"] for tag in soup_of(built_book / name).select("[id]")]
    assert sorted(identifiers) == sorted(set(identifiers))


def test_pictures_have_alternative_text(built_book: Path, name: str) -> None:
    article = article_of(built_book / name)
    for image in article.select("img"):
        assert str(image.get("alt", "")).strip(), f"no alternative text: {image.get('src')}"
    for drawing in article.select("svg"):
        hidden = any(parent.get("aria-hidden") == "true" for parent in [drawing, *drawing.parents])
        named = drawing.get("aria-label") or drawing.get("aria-labelledby") or drawing.title
        assert hidden or named, "a drawing has no accessible name"


def test_no_missing_value_reaches_the_reader(built_book: Path, name: str) -> None:
    article = BeautifulSoup(str(article_of(built_book / name)), "lxml")
    for tag in article.select("pre, code, script, style"):
        tag.decompose()
    text = article.get_text(" ")
    found = re.findall(r".{0,30}(?<![\w-])(?:nan|NaN|NaT|<NA>|[+-]?inf)(?![\w-]).{0,30}", text)
    assert found == []
    cells = {tag.get_text(strip=True) for tag in article.select("td, th")}
    assert not cells & {"None", "nan", "null", "True", "False"}


def test_no_cell_shows_an_error(built_book: Path, name: str) -> None:
    article = article_of(built_book / name)
    assert article.select(".traceback, .stderr, .output.error") == []
    assert "Traceback (most recent call last)" not in article.get_text()


def test_nothing_is_loaded_from_another_host(built_book: Path, name: str) -> None:
    soup = soup_of(built_book / name)
    loaded = [str(tag["src"]) for tag in soup.select("[src]")]
    loaded += [str(tag["data"]) for tag in soup.select("object[data]")]
    loaded += [
        str(tag["href"])
        for tag in soup.select("link[href]")
        if not {"canonical", "license", "author"} & set(tag.get("rel") or [])
    ]
    loaded += re.findall(r"url\(\s*[\"']?([^)\"']+)", str(soup))
    loaded += re.findall(r"@import\s+[\"']([^\"']+)", str(soup))
    elsewhere = [url for url in loaded if re.match(r"(?:[a-z]+:)?//", url) and "://" in url]
    elsewhere += [url for url in loaded if url.startswith("//")]
    assert elsewhere == []


def test_math_library_only_where_there_is_an_equation(built_book: Path, name: str) -> None:
    soup = soup_of(built_book / name)
    scripts = [tag for tag in soup.select("script[src]") if "mathjax" in str(tag["src"]).lower()]
    assert len(scripts) == (1 if soup.select_one("article .math") else 0)


def test_executed_notebook_is_offered(built_book: Path, name: str) -> None:
    soup = soup_of(built_book / name)
    if soup.select_one("article .cell") is None:
        return
    links = [tag for tag in soup.select("a[href]") if str(tag["href"]).endswith(".ipynb")]
    assert links, "no link to the executed notebook"
    path = (built_book / name).parent / unquote(urlsplit(str(links[0]["href"])).path)
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert all(cell["execution_count"] for cell in cells if "".join(cell["source"]).strip())


def test_data_and_drawing_are_offered_beside_every_result(built_book: Path, name: str) -> None:
    article = article_of(built_book / name)
    lacking = []
    # the explorer draws for the reader; its data is one file, and its script offers it
    for figure in article.select("figure:not(:has(svg[data-part]))"):
        kinds = {str(a["download"]).rpartition(".")[2] for a in figure.select("a.ev-download")}
        lacking += [f"{kind} of {figure.get('id')}" for kind in {"csv", "svg"} - kinds]
    for table in article.select(".ev-table table:not(:has([data-part]))"):
        blocks = [block for block in table.parents if "ev-block" in (block.get("class") or [])]
        offered = [a for block in blocks for a in block.select("a.ev-download")]
        if not any(str(a["download"]).endswith(".csv") for a in offered):
            lacking.append(f"csv of {blocks[0].get('id')}")
    assert lacking == []


def test_every_result_shows_its_code(built_book: Path, name: str) -> None:
    article = article_of(built_book / name)
    hidden = article.select("div.cell:has(.cell_output)")
    assert all(cell.select_one(".cell_input pre") for cell in hidden)
    links = [str(a["href"]) for a in article.select(".book-files a[download]")]
    assert [link.rpartition(".")[2] for link in links] == (["ipynb", "md"] if hidden else [])
