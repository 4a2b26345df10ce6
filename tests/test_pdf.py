"""The book as one PDF file, and as one page to print it from."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from analysis.bookbuild.pdf import chapters, compose, find_browser, main, print_page

ROOT = Path(__file__).resolve().parent.parent

PAGE = """<html><head><link rel="stylesheet" href="../_static/book.css?v=1"></head><body>
<article class="bd-article"><section id="{name}">
<h1>{title}<a class="headerlink" href="#x">#</a></h1>
<p id="id1">See <a href="{other}.html#id1">there</a>, <a href="#id1">here</a>, <a
href="{other}.html">the page</a>, <a href="../_data/x.csv">a file</a>, <a
href="https://example.org/">a site</a>.</p>
<details class="admonition hide"><summary>Show the code</summary><pre>code</pre></details>
<details><summary>More</summary><p>folded</p></details><button>press</button>
<svg role="img" aria-label="a"><g clip-path="url(#c{name})"></g>
<clipPath id="c{name}"></clipPath></svg>
</section></article><p class="data-version">Data version 1</p></body></html>"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "chapters"
    folder.mkdir()
    for name, other in (("one", "two"), ("two", "one")):
        text = PAGE.format(name=name, other=other, title=f"Chapter {name} & more")
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return tmp_path


PARTS = [("", ["chapters/one"]), ("Second part", ["chapters/two"])]


def test_one_page_holds_all_articles_and_its_links_stay_inside(small: Path) -> None:
    soup = BeautifulSoup(compose(small, PARTS), "lxml")
    assert [h.get_text() for h in soup.select("main h1")] == [
        "Chapter one & more",
        "Chapter two & more",
    ]
    assert [a.get_text() for a in soup.select("nav a")] == [
        "Chapter one & more",
        "Chapter two & more",
    ]
    names = Counter(str(tag["id"]) for tag in soup.select("[id]"))
    assert max(names.values()) == 1
    addresses = [str(a["href"]) for a in soup.select("a[href]")]
    assert {a for a in addresses if not a.startswith("#")} == {"https://example.org/"}
    assert {a[1:] for a in addresses if a.startswith("#")} <= set(names)
    assert "#two--id1" in addresses and "#one--top" in addresses
    assert soup.select_one("g")["clip-path"] == "url(#one--cone)"
    text = soup.get_text()
    assert "folded" in text and "a file" in text and "Data version 1" in text
    assert "code" not in text and "press" not in text
    assert [tag["href"] for tag in soup.select("link")] == ["_static/book.css"]


def test_a_page_that_is_missing_is_named(small: Path) -> None:
    with pytest.raises(ValueError, match=r"chapters/three\.html is not built"):
        compose(small, [("", ["chapters/three"])])


def test_without_a_browser_it_says_what_to_install() -> None:
    with pytest.raises(ValueError, match="apt install chromium"):
        find_browser(lambda name: None)
    assert find_browser(lambda name: f"/usr/bin/{name}") == "/usr/bin/chromium"


def test_a_browser_that_fails_is_no_success(tmp_path: Path) -> None:
    page, target = tmp_path / "page.html", tmp_path / "book.pdf"
    page.write_text("<p>page</p>")
    target.write_text("an older file")
    failing = tmp_path / "browser"
    failing.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    failing.chmod(0o755)
    with pytest.raises(ValueError, match="did not print the book: broken"):
        print_page(page, target, str(failing))
    assert not target.exists()


def test_the_parts_are_those_of_the_table_of_contents() -> None:
    parts = chapters(ROOT)
    assert parts[0] == ("", ["chapters/index"])
    assert all(caption and names for caption, names in parts[1:])


@pytest.mark.book
def test_the_whole_book_goes_on_one_page(built_book: Path) -> None:
    soup = BeautifulSoup(compose(built_book, chapters(ROOT)), "lxml")
    names = Counter(str(tag["id"]) for tag in soup.select("[id]"))
    assert [name for name, times in names.items() if times > 1] == []
    inside = {str(a["href"])[1:] for a in soup.select("a[href^='#']")}
    assert inside - set(names) == set()
    assert not soup.select("a[href]:not([href^='#'], [href^='http'])")


@pytest.mark.book
@pytest.mark.browser
@pytest.mark.skipif(
    shutil.which("chromium") is None, reason="no browser: apt install chromium chromium-driver"
)
def test_make_pdf_prints_every_chapter(built_book: Path, tmp_path: Path) -> None:
    """Without drawings and tables, which take most of the time."""
    light = tmp_path / "html"
    (light / "chapters").mkdir(parents=True)
    names = [name for _, group in chapters(ROOT) for name in group]
    for name in names:
        page = (built_book / f"{name}.html").read_text(encoding="utf-8")
        page = re.sub(r"<(svg|table)\b.*?</\1>", "", page, flags=re.DOTALL)
        (light / f"{name}.html").write_text(page, encoding="utf-8")
    shutil.copytree(built_book / "_static" / "styles", light / "_static" / "styles")
    for sheet in (built_book / "_static").glob("*.css"):
        shutil.copy(sheet, light / "_static")
    target = tmp_path / "book.pdf"
    assert main(["--html", str(light), "--output", str(target)]) == 0
    printed = target.read_bytes()
    assert printed.startswith(b"%PDF-")
    assert not (light / "_book-print.html").exists()
    outline = outline_of(printed)
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", printed)) > len(names)
    for name in names:
        soup = BeautifulSoup((built_book / f"{name}.html").read_text(encoding="utf-8"), "lxml")
        heading = soup.select_one("article h1")
        heading.select_one(".headerlink").decompose()
        assert squeezed(heading.get_text()) in outline, name


def outline_of(printed: bytes) -> set[str]:
    """Return the titles in the outline of a PDF file, without white space."""
    found = set()
    for text in re.findall(rb"/Title \(((?:\\.|[^()\\])*)\)", printed):
        found.add(squeezed(re.sub(rb"\\(.)", rb"\1", text).decode("latin-1")))
    for code in re.findall(rb"/Title <FEFF([0-9A-F]*)>", printed):
        found.add(squeezed(bytes.fromhex(code.decode()).decode("utf-16-be")))
    return found


def squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.book
def test_the_command_without_a_browser_ends_with_one(built_book: Path, tmp_path: Path) -> None:
    process = subprocess.run(
        [
            *(sys.executable, "-m", "analysis.bookbuild.pdf"),
            *("--html", str(built_book), "--output", str(tmp_path / "b.pdf")),
        ],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert "apt install chromium" in process.stderr
