"""Damaged copies of the data package do not get through; if one did, the fuzzer would notice."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis import catalog, digest, fuzzing, publish
from analysis.data import DATA_DIR
from tests import fuzz_data
from tests.fuzz_data import CANARY, EDITS, OUTCOMES, Edit, Project, set_cell

HALF = len(EDITS) // 2


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with fuzz_data.remembered_pools():
        yield Project(tmp_path_factory.mktemp("fuzz"), pages=False)


# --- edits of every kind ------------------------------------------------------------------------


@pytest.mark.parametrize("part", [range(HALF), range(HALF, len(EDITS))], ids=["first", "second"])
def test_one_edit_of_every_kind_ends_well(project: Project, part: range) -> None:
    report = fuzz_data.run(part, 2, project)
    assert report["bad"] == []
    assert [row["class"] for row in report["classes"]] == [list(EDITS)[i] for i in part]
    assert all(row["edits"] == 1 for row in report["classes"])


def test_an_edit_is_decided_by_seed_and_number(project: Project) -> None:
    def made(seed: int) -> list[str]:
        return [
            make(random.Random(f"{seed} {i}"), project.source).what
            for i, make in enumerate(EDITS.values())
        ]

    assert made(3) == made(3) != made(4)


# --- the fuzzer notices -------------------------------------------------------------------------


def cell(project: Project, table: str, key: str, column: str, text: str) -> Edit:
    rows = project.source.tables[table]
    row = next(i for i, cells in enumerate(rows) if cells[0] == key)
    return set_cell(project.source, table, row, rows[0].index(column), text)


@pytest.fixture
def other_count(project: Project) -> Edit:
    """Another valid count of a pooled trial."""
    record = project.records[0]["records"][1]
    edit = cell(project, "extraction", record, "events", "1")
    text = edit.files["extraction.csv"]
    assert isinstance(text, bytes)
    rows = text.decode().split("\n")
    at = next(i for i, row in enumerate(rows) if row.startswith(f"{record},"))
    cells = rows[at].split(",")
    percent = project.source.tables["extraction"][0].index("percent")
    cells[percent] = ""
    rows[at] = ",".join(cells)
    return Edit(edit.what, {"extraction.csv": "\n".join(rows).encode()})


def test_a_plausible_count_is_accepted_and_named(project: Project, other_count: Edit) -> None:
    assert project.try_edit(other_count, random.Random(1)) == ("visible", "estimate")


def test_an_estimate_that_changes_unsaid_is_noticed(
    project: Project, other_count: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "compare", lambda entries, directory: [])
    outcome, detail = project.try_edit(other_count, random.Random(1))
    assert outcome == "bad"
    assert "the comparison is silent" in detail


def test_markup_that_becomes_an_element_is_noticed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = cell(
        project, "cohorts", "zuma-8", "label", f"<img src=x onerror={CANARY}(1)> <b>bold</b>"
    )
    assert project.try_edit(hostile, random.Random(1))[0] != "bad"
    monkeypatch.setattr(catalog, "escape", str)
    outcome, detail = project.try_edit(hostile, random.Random(1))
    assert outcome == "bad"
    assert "onerror" in detail


def test_an_exception_is_noticed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(dataset: object) -> None:
        raise KeyError("label")

    monkeypatch.setattr(catalog, "cohorts", broken)
    note = cell(project, "cohorts", "zuma-8", "note", "Other words.")
    outcome, detail = project.try_edit(note, random.Random(1))
    assert (outcome, detail.split(" at ")[0]) == ("bad", "KeyError")


def test_a_hang_is_noticed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(dataset: object) -> None:
        while True:
            sum(range(1000))

    monkeypatch.setattr(catalog, "cohorts", endless)
    monkeypatch.setattr(fuzz_data, "PATIENCE", 2.0)
    note = cell(project, "cohorts", "zuma-8", "note", "Other words.")
    assert project.try_edit(note, random.Random(1)) == ("bad", "takes longer than 2 s")


def test_a_package_is_whole_again_after_each_edit(project: Project) -> None:
    for name in ("file: missing", "file: a folder in its place", "file: a link to itself"):
        made = EDITS[name](random.Random(1), project.source)
        assert project.try_edit(made, random.Random(1))[0] == "finding"
    unchanged = Edit("nothing", {"cohorts.csv": project.source.files["cohorts.csv"]})
    assert project.try_edit(unchanged, random.Random(1)) == ("unchanged", "")


# --- the committed report -----------------------------------------------------------------------


def test_the_committed_report_has_nothing_bad_and_adds_up() -> None:
    report = fuzzing.read()
    assert report["bad"] == []
    assert report["outcomes"]["bad"] == 0
    assert report["edits"] >= 600
    assert [row["class"] for row in report["classes"]] == list(EDITS)
    for row in report["classes"]:
        assert row["edits"] == sum(row[outcome] for outcome in OUTCOMES) >= 10
    for outcome in OUTCOMES:
        assert report["outcomes"][outcome] == sum(row[outcome] for row in report["classes"])
    assert sum(report["outcomes"].values()) == report["edits"]
    assert fuzzing.FILE in digest.GENERATED


def test_the_chapter_shows_the_report(tmp_path: Path) -> None:
    report = fuzzing.read()
    table = fuzzing.damages(report).source
    assert table.count("<tr>") == len(fuzzing.GROUPS) + 2
    assert f"seed {report['seed']}" in table
    text = fuzzing.summary(report).source
    assert f"{report['outcomes']['finding']} refused" in text
    assert "none ended otherwise" in text
    every = fuzzing.every_damage(report).source
    assert all(name in every for name in EDITS)


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"classes": []}'])
def test_a_damaged_report_is_named(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / fuzzing.FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"fuzz_report\.json cannot be read"):
        fuzzing.read(tmp_path)


def test_the_report_is_json_of_one_layout() -> None:
    text = (DATA_DIR / fuzzing.FILE).read_text(encoding="utf-8")
    assert json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n" == text
