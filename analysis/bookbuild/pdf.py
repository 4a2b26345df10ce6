"""Print the built book: ``python -m analysis.bookbuild.pdf`` writes ``_build/book.pdf``.

The articles of all pages are put together, in the order of the table of contents, into one page
with a list of contents; the system's Chromium prints it, with equations drawn. Links between
chapters become links inside the file. Links to files of the built book are left out: the file is
read without them.
"""

from __future__ import annotations

import argparse
import html
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from analysis.digest import ROOT
from analysis.identity import TITLE

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

__all__ = ["chapters", "compose", "find_browser", "main", "print_page"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HTML, PDF = "_build/html", "_build/book.pdf"
COMPOSED = "_book-print.html"
SECONDS = 300

#: What only makes sense on a screen: controls, folded code, links to files, texts to copy.
LEFT_OUT = (
    "a.headerlink, button, form, script, style, .ev-links, .ev-download, details.hide, .ev-narrow, "
    ".book-files, [hidden], .ev-live, .ev-cite .ev-copy:has(pre)"
)
#: Attributes that name other elements of a page.
NAMES = ("id", "for", "aria-labelledby", "aria-describedby", "aria-controls")


def find_browser(which: Callable[[str], str | None] = shutil.which) -> str:
    """Return the program that prints.

    Raises
    ------
    ValueError
        If none is installed.
    """
    for name in BROWSERS:
        found = which(name)
        if found:
            return found
    raise ValueError(
        "no Chromium is installed, which prints the book. On Debian or Ubuntu: apt install chromium"
    )


def chapters(root: Path) -> list[tuple[str, list[str]]]:
    """Return the pages of the book by part, as ``_toc.yml`` lists them.

    Parameters
    ----------
    root : Path
        The folder of the project.

    Returns
    -------
    list of (str, list of str)
        Caption of each part, the first without one, and names of its pages (``chapters/data``).
    """
    import yaml

    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    parts: list[tuple[str, list[str]]] = [("", [toc["root"]])]
    for part in toc.get("parts", [{"chapters": toc.get("chapters", [])}]):
        parts.append((part.get("caption", ""), list(_files(part["chapters"]))))
    return parts


def _files(entries: list[dict[str, Any]]) -> Iterator[str]:
    for entry in entries:
        yield entry["file"]
        yield from _files(entry.get("sections", []))


def compose(built: Path, parts: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Return one page with the articles of all pages.

    Parameters
    ----------
    built : Path
        The folder of the built book.
    parts : sequence of (str, sequence of str)
        As `chapters` returns them.

    Raises
    ------
    ValueError
        If a page is not there or has no article.
    """
    from bs4 import BeautifulSoup

    names = [name for _, group in parts for name in group]
    keys = {name: posixpath.basename(name) for name in names}
    contents, articles, sheets = [], [], ""
    version = ""
    for caption, group in parts:
        entries = []
        for name in group:
            path = built / f"{name}.html"
            if not path.is_file():
                raise ValueError(f"{name}.html is not built; build the book first: make book")
            soup = BeautifulSoup(path.read_text(encoding="utf-8"), "lxml")
            article = soup.select_one("article.bd-article")
            if article is None or article.h1 is None:
                raise ValueError(f"{name}.html has no article with a title")
            sheets = sheets or _sheets(soup, name)
            footer = soup.select_one(".data-version")
            version = version or (footer.get_text(" ", strip=True) if footer else "")
            _adapt(article, name, keys)
            title = _title(article.h1)
            key = keys[name]
            entries.append(f'<li><a href="#{key}--top">{html.escape(title)}</a></li>')
            articles.append(
                f'<article class="bd-article book-chapter" id="{key}--top">'
                f"{article.decode_contents()}</article>"
            )
        heading = f"<h2>{html.escape(caption)}</h2>" if caption else ""
        contents.append(f"{heading}<ul>{''.join(entries)}</ul>")
    math = built / "_static" / "mathjax" / "tex-svg-full.js"
    script = ""
    if any('class="math' in article for article in articles) and math.is_file():
        script = (
            '<script>window.MathJax = {options: {enableMenu: false, processHtmlClass: "math", '
            'ignoreHtmlClass: "tex2jax_ignore|mathjax_ignore"}};</script>'
            f'<script src="{math.relative_to(built).as_posix()}"></script>'
        )
    return (
        '<!DOCTYPE html>\n<html lang="en" data-theme="light" class="book-print"><head>'
        f'<meta charset="utf-8"><title>{html.escape(TITLE)}</title>{sheets}{script}</head>'
        '<body><div class="bd-content"><header class="book-cover">'
        f"<h1>{html.escape(TITLE)}</h1><p>{html.escape(version)}</p></header>"
        f'<nav class="book-contents" aria-label="Contents">{"".join(contents)}</nav>'
        f"<main>{''.join(articles)}</main></div></body></html>\n"
    )


def _title(heading: Tag) -> str:
    return " ".join(heading.get_text().split())


def _sheets(soup: BeautifulSoup, name: str) -> str:
    """Return the style sheets of a page, for a page at the top."""
    folder = posixpath.dirname(name)
    out = []
    for sheet in soup.select('link[rel="stylesheet"]'):
        path = posixpath.normpath(posixpath.join(folder, str(sheet["href"]).partition("?")[0]))
        out.append(f'<link rel="stylesheet" href="{html.escape(path)}">')
    return "".join(out)


def _adapt(article: Tag, name: str, keys: dict[str, str]) -> None:
    """Make names unique in the whole book, links internal, and take out what is for screens."""
    for tag in article.select(LEFT_OUT):
        tag.decompose()
    for tag in article.select("details"):
        tag["open"] = ""
    key = keys[name]
    for tag in article.find_all(True):
        for which in NAMES:
            if which in tag.attrs:
                tag[which] = " ".join(f"{key}--{part}" for part in str(tag[which]).split())
        for which, value in list(tag.attrs.items()):
            if isinstance(value, str) and "url(#" in value:
                tag[which] = re.sub(r"url\(#", f"url(#{key}--", value)
        if "href" in tag.attrs:
            address = _address(str(tag["href"]), name, keys)
            if address is not None:
                tag["href"] = address
            elif tag.name == "a":
                tag.unwrap()
    for tag in article.select("img[src]"):
        address = str(tag["src"])
        if not urlsplit(address).scheme:
            tag["src"] = posixpath.normpath(posixpath.join(posixpath.dirname(name), address))


def _address(address: str, name: str, keys: dict[str, str]) -> str | None:
    """Return an address as it is in the one page; None for a file beside the book."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return address if parts.scheme in {"http", "https", "mailto"} else None
    page = name
    if parts.path:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path)))
        page = path.removesuffix(".html")
        if page == "index":
            page = next(iter(keys))
    if page not in keys:
        return None
    return f"#{keys[page]}--{unquote(parts.fragment) or 'top'}"


def print_page(page: Path, target: Path, browser: str, seconds: int = SECONDS) -> None:
    """Print a page into a PDF file with an outline.

    Parameters
    ----------
    page, target : Path
        An HTML file, and the file to write.
    browser : str
        The program.
    seconds : int
        How long it may take.

    Raises
    ------
    ValueError
        If nothing is printed.
    """
    target.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="book-print-") as profile:
        command = [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={profile}"),
            # long enough for the equations; the time is the page's own and passes at once
            *("--virtual-time-budget=60000", "--run-all-compositor-stages-before-draw"),
            *("--no-pdf-header-footer", "--generate-pdf-document-outline"),
            *("--export-tagged-pdf", f"--print-to-pdf={target}", page.as_uri()),
        ]
        try:
            process = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise ValueError(f"{browser} did not print the book in {seconds} s") from None
    if process.returncode or not target.is_file():
        said = process.stderr.strip().splitlines()
        raise ValueError(f"{browser} did not print the book: {said[-1] if said else 'no word why'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the book, and return the exit code: 0 when all is well."""
    parser = argparse.ArgumentParser(prog="python -m analysis.bookbuild.pdf", description=__doc__)
    parser.add_argument("--html", type=Path, default=ROOT / HTML, help="folder of the built book")
    parser.add_argument("--output", type=Path, default=ROOT / PDF, help="file to write")
    chosen = parser.parse_args(arguments)
    start = time.monotonic()
    built, target = chosen.html.resolve(), chosen.output.resolve()
    # beside the pages, so that it finds their style sheets
    page = built / COMPOSED
    try:
        browser = find_browser()
        page.write_text(compose(built, chapters(ROOT)), encoding="utf-8")
        print_page(page, target, browser)
    except ValueError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    finally:
        page.unlink(missing_ok=True)
    size = target.stat().st_size / 1e6
    print(f"done in {time.monotonic() - start:.0f} s: {target} ({size:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
