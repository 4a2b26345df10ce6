"""The map of PRISMA 2020: complete, honest about what is missing, and leading somewhere."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest
from bs4 import BeautifulSoup, Tag

from analysis import chapter, prisma

ROWS = list(chapter.dataset().prisma.itertuples(index=False))
PLACES = [
    (row.item_id, place)
    for row in ROWS
    for place in (row.places if isinstance(row.places, str) else "").split()
]
#: Parts of the items that have any.
PARTS = {"10": "ab", "13": "abcdef", "16": "ab", "20": "abcd", "23": "abcd", "24": "abc"}


def test_every_item_and_part_is_there_once_and_in_order() -> None:
    expected = [
        f"{number}{part}"
        for number in map(str, range(1, 28))
        for part in PARTS.get(number, ("",))
    ]  # fmt: skip
    assert [row.item_id for row in ROWS] == expected


def test_what_there_is_has_a_place_and_every_answer_says_why() -> None:
    for row in ROWS:
        assert row.said.endswith(".") and len(row.said) > 10, row.item_id
        if row.done != "no":
            assert isinstance(row.places, str) and row.places, row.item_id


@pytest.mark.parametrize("item", ["1", "7", "8", "16a", "24a", "24b"])
def test_what_only_a_systematic_review_has_is_not_claimed(item: str) -> None:
    assert next(row.done for row in ROWS if row.item_id == item) == "no"


@pytest.mark.parametrize(("item", "place"), PLACES)
def test_every_place_is_named_by_its_headings(item: str, place: str) -> None:
    page, _, anchor = place.partition("#")
    name = prisma.name_of(place)
    assert name.partition(" › ")[0] != page, f"item {item}: no chapter {page}"
    assert not anchor or name.partition(" › ")[2] != anchor, f"item {item}: no heading {anchor}"


def test_a_place_that_is_not_there_keeps_its_name() -> None:
    assert prisma.name_of("nowhere") == "nowhere"
    assert prisma.name_of("nowhere#at-all") == "nowhere › at-all"
    assert prisma.address("data#cohorts") == "data.html#cohorts"


# --- the page -----------------------------------------------------------------------------------


def soup_of(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "lxml")


@pytest.mark.book
def test_every_link_of_the_map_leads_to_a_built_page_and_place(built_book: Path) -> None:
    chapters = built_book / "chapters"
    table = soup_of(chapters / "prisma.html").find(id="prisma-items")
    assert isinstance(table, Tag)
    links = [str(a["href"]) for a in table.select("ul.ev-places a[href]")]
    assert links == [prisma.address(place) for _, place in PLACES]
    for link in links:
        page, _, anchor = link.partition("#")
        assert (chapters / page).is_file(), link
        if anchor:
            assert soup_of(chapters / page).find(id=unquote(anchor)) is not None, link


@pytest.mark.book
def test_every_item_is_shown_and_every_gap_is_named_first(built_book: Path) -> None:
    soup = soup_of(built_book / "chapters" / "prisma.html")
    shown = [str(tag["id"]) for tag in soup.select('#prisma-items [id^="item-"]')]
    assert shown == [f"item-{row.item_id}" for row in ROWS]
    glance = soup.find(id="prisma-glance")
    assert isinstance(glance, Tag)
    chips = [chip.get_text(" ", strip=True).split() for chip in glance.select(".ev-chip")]
    assert [(chip[0], chip[-1]) for chip in chips] == [(row.item_id, row.done) for row in ROWS]
    section = soup.find(id="what-was-not-done")
    assert isinstance(section, Tag)
    gaps = {str(a["href"]) for a in section.select('li a[href^="#item-"]')}
    assert gaps == {f"#item-{row.item_id}" for row in ROWS if row.done != "yes"}
