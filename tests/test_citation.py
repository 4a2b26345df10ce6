"""Citations of an estimate: readable by reference managers, and complete."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from pybtex.database import BibliographyData, parse_string

from analysis import chapter, citation
from analysis.citation import FORMATS, Citable
from analysis.estimands import estimands
from analysis.identity import AUTHOR, TITLE, code_version
from analysis.markup import copy_block

ENTRY = Citable(
    estimand_id="orr-cd19-single-agent",
    label="Overall response",
    population="CAR T cells alone",
    result="Overall response: 53.1% (95% CI 33.3% to 72.9%; 6 trials, 173 patients).",
    data_version="1.2.3",
    data_sha256="0123456789abcdef" * 4,
    code_version="4.5.6",
    date="2026-11-21T00:00:00Z",
)
ANYTHING = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60)

WORDS = ("title", "container-title", "version", "number", "language", "abstract", "note")
# what a CSL-JSON item of the type that is used here may hold, and in which form
CSL = {
    "type": "array",
    "minItems": 1,
    "maxItems": 1,
    "items": {
        "type": "object",
        "required": ["id", "type", "title", "author", "version", "container-title"],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "string"},
            "type": {"const": "dataset"},
            "author": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"literal": {"type": "string"}},
                    "required": ["literal"],
                    "additionalProperties": False,
                },
            },
            "issued": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "date-parts": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 2,
                        "items": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 3,
                            "items": {"type": "integer"},
                        },
                    }
                },
            },
            "custom": {"type": "object"},
            **{name: {"type": "string"} for name in WORDS},
        },
    },
}


def parsed(text: str) -> BibliographyData:
    return parse_string(text, "bibtex")


def ris_of(text: str) -> dict[str, str]:
    lines = text.splitlines()
    assert all(re.fullmatch(r"[A-Z][A-Z0-9]  - .*", line) for line in lines)
    assert lines[0] == "TY  - DATA"
    assert lines[-1] == "ER  - "
    return {line[:2]: line[6:] for line in lines}


@pytest.mark.parametrize("name,write", [(name, write) for name, write, *_ in FORMATS])
def test_every_format_identifies_the_number(name: str, write: Any) -> None:
    said = write(ENTRY)
    assert "orr-cd19-single-agent@1.2.3" in said, name
    assert ENTRY.data_sha256 in said
    assert "4.5.6" in said
    assert AUTHOR in said
    assert TITLE in said
    assert "53.1" in said
    assert "2026" in said


def test_bibtex_is_read_by_a_bibtex_parser() -> None:
    entries = parsed(citation.bibtex(ENTRY)).entries
    assert list(entries) == ["orr-cd19-single-agent-1.2.3"]
    fields = entries["orr-cd19-single-agent-1.2.3"].fields
    assert fields["title"] == "{Overall response: CAR T cells alone}"
    assert fields["year"] == "2026"
    assert "53.1\\%" in fields["note"]


@given(label=ANYTHING, population=ANYTHING, result=ANYTHING)
def test_no_label_breaks_a_format(label: str, population: str, result: str) -> None:
    entry = replace(ENTRY, label=label, population=population, result=result)
    assert len(parsed(citation.bibtex(entry)).entries) == 1
    (item,) = json.loads(citation.csl_json(entry))
    assert item["title"] == entry.title
    tags = ris_of(citation.ris(entry))
    assert tags["TI"] == entry.title
    assert "\n" not in citation.text(entry)


def test_csl_json_has_the_fields_of_csl() -> None:
    items = json.loads(citation.csl_json(ENTRY))
    Draft7Validator(CSL).validate(items)
    assert items[0]["issued"] == {"date-parts": [[2026, 11, 21]]}
    assert items[0]["custom"]["data_sha256"] == ENTRY.data_sha256


def test_ris_is_one_record() -> None:
    tags = ris_of(citation.ris(ENTRY))
    assert tags["ID"] == "orr-cd19-single-agent@1.2.3"
    assert tags["DA"] == "2026/11/21"
    assert tags["AU"] == AUTHOR


@pytest.mark.parametrize("date", [None, "", "soon"])
def test_without_a_date_none_is_made_up(date: str | None) -> None:
    entry = replace(ENTRY, date=date)
    assert "issued" not in json.loads(citation.csl_json(entry))[0]
    assert not {"PY", "DA"} & set(ris_of(citation.ris(entry)))
    assert "year" not in parsed(citation.bibtex(entry)).entries[entry.id.replace("@", "-")].fields
    assert f"{AUTHOR}. " in citation.text(entry)


@pytest.mark.parametrize("name", [target.id for target in estimands()])
def test_the_block_of_each_estimand_offers_every_format(name: str) -> None:
    question = chapter.ask(name)
    entry = chapter.citable(question)
    assert entry.id == f"{name}@{chapter.dataset().version}"
    assert entry.code_version == code_version()
    soup = BeautifulSoup(chapter.cite(question).source, "lxml")
    for label, write, ending, _ in FORMATS:
        shown = soup.find(id=f"{name}-cite-{ending}")
        assert shown is not None
        assert " ".join(shown.get_text().split()) == " ".join(write(entry).split())
        button = soup.select_one(f'button[data-ev-copy="{name}-cite-{ending}"]')
        assert button is not None and button.has_attr("hidden")
        assert button.get_text() == f"Copy {label}"
    assert soup.select_one(f'button[data-ev-link="{name}"]') is not None
    assert f"python -m analysis estimate {name}" in soup.get_text()


def test_copied_text_is_the_text_and_no_markup() -> None:
    block = copy_block("A <b>", 'x <script> & "y"\n  indented', id="here").source
    soup = BeautifulSoup(block, "lxml")
    assert soup.find("script") is None and soup.find("b") is None
    assert soup.find(id="here").get_text() == 'x <script> & "y"\n  indented'  # type: ignore[union-attr]
    assert soup.find("a") is None
