"""Where the book has each item of PRISMA 2020, and what was not done.

The map is data (``data/prisma.csv``), with the items in our own words; this module shows it.
PRISMA 2020: Page 2021, doi:10.1136/bmj.n71.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from analysis import chapter, tables, wording
from analysis.markup import Html, attribute, escape

__all__ = ["address", "glance", "items", "name_of", "not_done", "summary"]

CHAPTERS = Path(__file__).resolve().parent.parent / "chapters"
#: Sign and word of each answer, and the look that it shares with the judgments of the appraisal.
SHOWN = {
    "yes": ("✓", "yes", "yes"),
    "partly": ("~", "partly", "unclear"),
    "no": ("✗", "no", "no"),
}


def summary() -> Html:
    """Say in one sentence how much of PRISMA 2020 the book has."""
    frame = chapter.dataset().prisma
    counts = frame["done"].value_counts()
    text = (
        f"Of {wording.count(len(frame), 'item')} of PRISMA 2020, parts of items counted one by "
        f"one, the book has {int(counts.get('yes', 0))}, has {int(counts.get('partly', 0))} in "
        f"part and lacks {int(counts.get('no', 0))}: it is not a systematic review and does not "
        "claim to be one."
    )
    return Html(f'<p class="ev-block"><strong>{escape(text)}</strong></p>')


def glance() -> Html:
    """Show every item by its number and a sign, a row per part of a report."""
    frame = chapter.dataset().prisma
    if frame.empty:
        return Html("<p>No item is mapped.</p>")
    rows = []
    for section in frame["section"].unique():
        part = frame[frame["section"] == section]
        chips = " ".join(
            _chip(str(row.item_id), str(row.done)) for row in part.itertuples(index=False)
        )
        rows.append({"Part": section, "Items": Html(f'<span class="ev-chips">{chips}</span>')})
    return tables.html_table(
        rows,
        "PRISMA 2020 at a glance",
        id="prisma-glance",
        row_header="Part",
        note="; ".join(f"{sign} {word}" for sign, word, _ in SHOWN.values()) + ". Each number "
        "leads to its row below.",
    )


def items() -> Html:
    """Tabulate every item: what it asks, whether the book has it, and where."""
    frame = chapter.dataset().prisma
    if frame.empty:
        return Html("")
    rows = [
        {
            "Item": Html(
                f'<span id="item-{attribute(row.item_id)}">{escape(row.item_id)} '
                f"{escape(row.topic)}</span>"
            ),
            "What it asks": row.asks,
            "Here": " ".join(SHOWN[row.done][:2]),
            "What there is, and where": Html(
                f"{escape(row.said)}{_links(row.places if isinstance(row.places, str) else '')}"
            ),
        }
        for row in frame.itertuples(index=False)
    ]
    return tables.html_table(
        rows,
        "PRISMA 2020, item by item",
        id="prisma-items",
        row_header="Item",
        stack=True,
        csv_href="../_data/prisma.csv",
    )


def not_done() -> Html:
    """List what was not done, and what only in part."""
    frame = chapter.dataset().prisma
    parts = []
    for done, title in (("no", "Not done, or not there"), ("partly", "Done in part")):
        chosen = frame[frame["done"] == done]
        if chosen.empty:
            continue
        entries = "".join(
            f'<li><a href="#item-{attribute(row.item_id)}">{escape(row.topic)}</a>: '
            f"{escape(row.said)}</li>"
            for row in chosen.itertuples(index=False)
        )
        parts.append(f"<p><strong>{title}</strong></p>\n<ul>{entries}</ul>")
    return Html("\n".join(parts) or "<p>Nothing is missing.</p>")


def address(place: str) -> str:
    """Return the address of a place, seen from a chapter: ``data#cohorts``."""
    page, _, anchor = place.partition("#")
    return f"{page}.html" + (f"#{anchor}" if anchor else "")


def name_of(place: str) -> str:
    """Return the name of a place: title of the chapter, and heading where one is named.

    A chapter or heading that does not exist keeps the name that the data give it.
    """
    page, _, anchor = place.partition("#")
    titles = _headings(page)
    title = "Front page" if page == "index" else next(iter(titles.values()), page)
    return f"{title} › {titles.get(anchor, anchor)}" if anchor else title


def _links(places: str) -> str:
    entries = "".join(
        f'<li><a href="{attribute(address(place))}">{escape(name_of(place))}</a></li>'
        for place in places.split()
    )
    return f'<ul class="ev-places">{entries}</ul>' if entries else ""


def _chip(item: str, done: str) -> str:
    sign, word, look = SHOWN[done]
    return (
        f'<a class="ev-chip ev-judgment-{look}" href="#item-{attribute(item)}">{escape(item)} '
        f'<span aria-hidden="true" class="ev-sign">{sign}</span>'
        f'<span class="ev-live">{escape(word)}</span></a>'
    )


@lru_cache
def _headings(page: str) -> dict[str, str]:
    """Headings of a chapter by their anchor, its title first; empty where there is no such one."""
    path = CHAPTERS / f"{page}.md"
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    fenced = False
    for line in path.read_text(encoding="utf-8").splitlines():
        fenced = not fenced if line.startswith("```") else fenced
        heading = re.match(r"#{1,4} (.+)", line)
        if heading and not fenced:
            text = heading[1].strip()
            found[re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")] = text
    return found
