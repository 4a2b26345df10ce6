"""What the project says about itself to machines: one title, one author, one version everywhere."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from bs4 import BeautifulSoup
from jsonschema import Draft202012Validator

from analysis import identity
from analysis.bookbuild import metadata
from analysis.digest import data_date, data_digest, data_version
from analysis.estimands import estimands

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = json.loads((ROOT / "data" / "datapackage.json").read_text(encoding="utf-8"))

TEXT = {"type": "string", "minLength": 1}
# what the Citation File Format 1.2.0 asks of the keys that are used here, in words of our own
CITATION = {
    "type": "object",
    "required": ["authors", "cff-version", "message", "title"],
    "additionalProperties": False,
    "properties": {
        "cff-version": {"const": "1.2.0"},
        "message": TEXT,
        "title": TEXT,
        "abstract": TEXT,
        "type": {"enum": ["dataset", "software"]},
        "version": TEXT,
        "date-released": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"},
        "keywords": {"type": "array", "minItems": 1, "uniqueItems": True, "items": TEXT},
        "license": {"type": "array", "minItems": 1, "uniqueItems": True, "items": TEXT},
        "authors": {
            "type": "array",
            "minItems": 1,
            "uniqueItems": True,
            "items": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": False,
                "properties": {"name": TEXT},
            },
        },
    },
}
# what a deposit at Zenodo takes
ZENODO = {
    "type": "object",
    "required": ["title", "upload_type", "description", "creators", "access_right", "license"],
    "additionalProperties": False,
    "properties": {
        "title": TEXT,
        "upload_type": {"enum": ["dataset", "software", "publication"]},
        "description": TEXT,
        "version": TEXT,
        "access_right": {"const": "open"},
        "license": TEXT,
        "language": {"type": "string", "pattern": "^[a-z]{3}$"},
        "notes": TEXT,
        "keywords": {"type": "array", "items": TEXT},
        "creators": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "required": ["name"], "properties": {"name": TEXT}},
        },
        "related_identifiers": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["identifier", "relation"],
                "properties": {
                    "identifier": TEXT,
                    "relation": {"enum": ["references", "isDerivedFrom", "cites"]},
                    "scheme": {"const": "doi"},
                },
            },
        },
    },
}


@pytest.fixture(scope="module")
def citation() -> dict[str, Any]:
    # dates stay text, as the format has them
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    return yaml.load(text, Loader=yaml.BaseLoader)


@pytest.fixture(scope="module")
def zenodo() -> dict[str, Any]:
    return json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))


def test_citation_file_is_valid(citation: dict[str, Any]) -> None:
    Draft202012Validator(CITATION).validate(citation)


def test_zenodo_file_is_valid(zenodo: dict[str, Any]) -> None:
    Draft202012Validator(ZENODO).validate(zenodo)


def test_zenodo_and_citation_file_agree(citation: dict[str, Any], zenodo: dict[str, Any]) -> None:
    for name in ("title", "version", "keywords"):
        assert zenodo[name] == citation[name]
    assert [entry["name"] for entry in zenodo["creators"]] == [
        entry["name"] for entry in citation["authors"]
    ]
    assert zenodo["upload_type"] == citation["type"]
    assert zenodo["license"] == citation["license"][0]
    assert all(license in zenodo["notes"] for license in citation["license"])
    said = re.sub(r"<[^>]+>", "", zenodo["description"])
    assert " ".join(said.split()) == " ".join(citation["abstract"].split())


def test_title_author_and_licenses_are_the_same_everywhere(citation: dict[str, Any]) -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert identity.TITLE == citation["title"] == config["title"]
    authors = [entry["name"] for entry in citation["authors"]]
    assert [identity.AUTHOR] == authors == [config["author"]]
    assert authors == [entry["name"] for entry in project["authors"]]
    assert authors == [entry["title"] for entry in PACKAGE["contributors"]]
    assert citation["license"] == [identity.DATA_LICENSE, identity.CODE_LICENSE]
    assert [entry["name"] for entry in PACKAGE["licenses"]] == [identity.DATA_LICENSE]
    assert identity.code_version() == project["version"]


def test_the_citation_is_of_the_current_data_version(citation: dict[str, Any]) -> None:
    assert citation["version"] == data_version()
    assert citation["date-released"] == (data_date() or "")[:10]


# --- pages ---------------------------------------------------------------------------------------


def test_no_title_can_end_the_script() -> None:
    title = 'A </script><script>alert(1)</script> & "quoted" <!-- title'
    text = metadata.script(metadata.article(title, PACKAGE, "ab" * 32, []))
    soup = BeautifulSoup(text, "lxml")
    (tag,) = soup.find_all("script")
    assert json.loads(tag.get_text())["headline"] == title


def test_a_package_that_says_little_is_described_by_what_it_says() -> None:
    entry = metadata.article("A page", {"version": "0.1.0"}, "ab" * 32, [])
    assert None not in entry.values()
    assert "datePublished" not in entry
    entry = metadata.dataset({"version": "0.1.0"}, "ab" * 32, [], ".")
    assert None not in entry.values()


def linked_data(page: Path) -> list[dict[str, Any]]:
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "lxml")
    return [
        json.loads(tag.get_text()) for tag in soup.select('head script[type="application/ld+json"]')
    ]


@pytest.mark.book
def test_every_chapter_is_described_as_an_article(built_book: Path) -> None:
    pages = sorted((built_book / "chapters").glob("*.html"))
    assert pages
    seen = set()
    for page in [built_book / "index.html", *pages]:
        (entry,) = [e for e in linked_data(page) if e["@type"] == "ScholarlyArticle"]
        soup = BeautifulSoup(page.read_text(encoding="utf-8"), "lxml")
        heading = soup.select_one("article h1")
        assert heading is not None
        assert entry["headline"] == heading.get_text().removesuffix("#").strip()
        assert entry["@context"] == "https://schema.org"
        assert entry["version"] == data_version()
        assert entry["isBasedOn"]["identifier"] == f"sha256:{data_digest()}"
        assert entry["author"]["name"] == identity.AUTHOR
        for part in entry.get("hasPart", []):
            assert soup.find(id=part["@id"][1:]) is not None
            seen.add(part["identifier"])
    assert seen == {f"{target.id}@{data_version()}" for target in estimands(comparators=True)}


@pytest.mark.book
def test_the_data_page_describes_the_data_set(built_book: Path) -> None:
    page = built_book / "chapters" / "data.html"
    (entry,) = [e for e in linked_data(page) if e["@type"] == "Dataset"]
    assert entry["name"] == PACKAGE["title"]
    assert entry["version"] == data_version()
    assert entry["license"].startswith("https://creativecommons.org/licenses/by/4.0")
    names = {item["name"] for item in entry["distribution"]}
    assert {"extraction.csv", "datapackage.json", "estimates.json"} <= names
    for item in entry["distribution"]:
        assert (page.parent / item["contentUrl"]).is_file(), item["contentUrl"]
    others = [path for path in (built_book / "chapters").glob("*.html") if path != page]
    assert not [p for p in others if any(e["@type"] == "Dataset" for e in linked_data(p))]


@pytest.mark.book
def test_the_book_is_a_research_object_crate(built_book: Path) -> None:
    """The structure that RO-Crate 1.1 requires: descriptor, root, and every file in both."""
    crate = json.loads((built_book / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    assert crate["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    graph = {entry["@id"]: entry for entry in crate["@graph"]}
    assert len(graph) == len(crate["@graph"]), "an identifier is given twice"
    descriptor = graph["ro-crate-metadata.json"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = graph["./"]
    assert root["@type"] == "Dataset"
    assert {"name", "description", "datePublished", "license", "author"} <= set(root)
    assert root["datePublished"] == (data_date() or "")[:10]
    parts = [part["@id"] for part in root["hasPart"]]
    files = [entry["@id"] for entry in crate["@graph"] if entry["@type"] == "File"]
    assert parts == files
    for name in files:
        path = built_book / name
        assert path.is_file(), name
        entry = graph[name]
        assert entry["encodingFormat"]
        if "sha256" in entry:
            assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
            assert entry["contentSize"] == str(path.stat().st_size)
    on_disk = {path.relative_to(built_book).as_posix() for path in built_book.glob("_data/**/*.*")}
    on_disk |= {f"chapters/{path.name}" for path in (built_book / "chapters").glob("*.html")}
    assert on_disk | {"index.html"} <= set(files)
    # every reference inside the document leads to one of its entities or to the web

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            if set(value) == {"@id"}:
                return [value["@id"]]
            return [name for part in value.values() for name in references(part)]
        return (
            [name for part in value for name in references(part)] if isinstance(value, list) else []
        )

    for name in references(crate["@graph"]):
        assert name in graph or name.startswith("https://"), name
