"""HTML made from data: escaping, and one small type that notebooks know how to show."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from analysis.wording import plain


@dataclass(frozen=True, repr=False)
class Html:
    """A finished piece of HTML. Notebooks show it; `str` gives its source."""

    source: str

    def _repr_html_(self) -> str:
        return self.source

    def __str__(self) -> str:
        return self.source

    def __repr__(self) -> str:
        return f"<Html, {len(self.source):,} characters>"

    def __add__(self, other: object) -> Html:
        if not isinstance(other, Html):
            return NotImplemented
        return Html(f"{self.source}\n{other.source}")


def escape(value: object) -> str:
    """Return data as text that is safe between tags and inside quoted attributes."""
    if isinstance(value, Html):
        return value.source
    return html.escape(plain(value), quote=True)


def attribute(value: object) -> str:
    """Return data as text for a quoted attribute, finished HTML included."""
    return html.escape(plain(value), quote=True)


def safe_url(url: object) -> str | None:
    """Return a web or relative address unchanged, None for any other scheme.

    Parameters
    ----------
    url : object
        An address from the data.
    """
    text = plain(url)
    if not text or re.search(r"[\s\"'<>\\]", text):
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    if parts.scheme not in {"", "http", "https"} or (not parts.scheme and parts.netloc):
        return None
    return text


def data_uri(content: str, mime: str) -> str:
    """Return text as an address that needs no file, for a download link."""
    return f"data:{mime};charset=utf-8,{quote(content, safe='()*!~/:;,=@ -_.').replace(' ', '%20')}"


def download_link(label: str, filename: str, href: str) -> str:
    """Return a link that saves a file under a given name."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plain(filename)).strip("-.") or "download"
    return (
        f'<a class="ev-download" download="{attribute(name)}" href="{attribute(href)}">'
        f"{escape(label)}</a>"
    )


def copy_block(
    name: str, content: str, *, id: str, filename: str = "", mime: str = "", prose: bool = False
) -> Html:
    """Return text to be taken over, with a button that copies it.

    The button appears only where scripts run (``_static/copy.js``); without them the text can be
    selected and, with a file name, saved.

    Parameters
    ----------
    name : str
        What it is, for the heading and for the names of button and link: ``"BibTeX"``.
    content : str
        The text.
    id : str
        Anchor of the text; unique on the page.
    filename, mime : str
        Name and media type under which a link saves the text; no link without a name.
    prose : bool
        Show it as running text rather than as code.
    """
    shown = "\n".join(plain(line) if prose else line.rstrip() for line in content.splitlines())
    tag = "p" if prose else "pre"
    save = ""
    if filename:
        link = download_link(f"Save {name}", filename, data_uri(content, mime or "text/plain"))
        save = f" {link}"
    return Html(
        f'<div class="ev-copy">\n<p class="ev-copy-head"><span>{escape(name)}</span> '
        f'<button type="button" class="ev-button" data-ev-copy="{attribute(id)}" hidden>'
        f"Copy {escape(name)}</button>{save}</p>\n"
        f'<{tag} class="ev-copy-text" id="{attribute(id)}">'
        f"{html.escape(shown, quote=True)}</{tag}>\n</div>"
    )
