"""The page on citing: every estimate, findable, with its place in the book."""

from __future__ import annotations

import json

import pytest
from bs4 import BeautifulSoup

from analysis import chapter, citing
from analysis.data import DATA_DIR
from analysis.estimands import estimands
from analysis.identity import code_version


def test_every_estimate_is_listed_and_leads_to_its_place() -> None:
    soup = BeautifulSoup(citing.estimates().source, "lxml")
    version = chapter.dataset().version
    listed = {link.get_text(): link["href"] for link in soup.select("tbody th a")}
    assert listed == {
        f"{target.id}@{version}": f"{target.page}.html#{target.id}"
        for target in estimands(comparators=True)
    }
    sentences = {str(link["href"])[1:] for link in soup.select("tbody td a")}
    places = {
        str(tag["id"]) for tag in BeautifulSoup(citing.reports().source, "lxml").select("[id]")
    }
    assert sentences <= places


def test_a_record_carries_what_it_takes_to_recompute_it() -> None:
    records = json.loads((DATA_DIR / "estimates.json").read_text(encoding="utf-8"))
    wanted = {"estimate_id", "data_version", "data_sha256", "code_version", "model", "interval"}
    wanted |= {"estimate", "ci_low", "ci_high", "trials", "events", "patients", "records"}
    for entry in records:
        assert wanted <= set(entry)
        assert entry["estimate_id"] == f"{entry['estimand_id']}@{entry['data_version']}"
        assert entry["code_version"] == code_version()
        assert len(entry["data_sha256"]) == 64
        assert len(entry["records"]) == entry["trials"]


def test_every_key_of_a_record_is_explained() -> None:
    records = json.loads((DATA_DIR / "estimates.json").read_text(encoding="utf-8"))
    assert [list(entry) for entry in records] == [list(citing.RECORD)] * len(records)


@pytest.mark.parametrize("id", ["book-cite-txt", "book-cite-bib"])
def test_the_citation_of_the_book_names_version_and_digest(id: str) -> None:
    shown = BeautifulSoup(citing.book().source, "lxml").find(id=id)
    assert shown is not None
    data = chapter.dataset()
    assert data.version in shown.get_text() and data.sha256 in shown.get_text()
