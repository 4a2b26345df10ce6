"""The data package is valid, and every way to damage it is named in one clear line."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis import catalog, chapter
from analysis.data import DATA_DIR, TABLES, DataError, Dataset, Finding, check, load
from analysis.digest import data_digest

SCHEMA = json.loads((DATA_DIR / "datapackage.json").read_text(encoding="utf-8"))
# One valid row for every table, about a trial that does not exist.
NEW_ROWS: dict[str, list[dict[str, str]]] = {
    "reports": [
        {"report_id": "zz-new", "citation": "Nobody N, 2030", "year": "2030", "kind": "trial paper"}
    ],
    "outcomes": [
        {
            "outcome_id": "zz_new",
            "label": "New outcome",
            "short_label": "New",
            "kind": "proportion",
            "direction": "harm",
            "definition": "None.",
        }
    ],
    "cohorts": [
        {
            "cohort_id": "zz-new",
            "label": "Nobody 2030",
            "trial_id": "NCT99999999",
            "design": "trial",
            "disease": "CLL",
            "setting": "relapsed-refractory",
            "target": "CD19",
            "cell_source": "autologous",
            "partner_drug": "none",
            "infusion": "first",
            "n_enrolled": "15",
            "n_infused": "12",
            "n_evaluable": "10",
            "report_id": "zz-new",
            "year": "2030",
        }
    ],
    "extraction": [
        {
            "record_id": "zz-new.n-infused.zz-new",
            "cohort_id": "zz-new",
            "outcome": "n_infused",
            "value": "12",
            "unit": "patients",
            "report_id": "zz-new",
            "locator": "Results",
            "origin": "stated",
            "confidence": "high",
            "status": "used",
        },
        {
            "record_id": "zz-new.orr.zz-new",
            "cohort_id": "zz-new",
            "outcome": "orr",
            "events": "3",
            "total": "10",
            "percent": "30.0",
            "ci_low": "7",
            "ci_high": "65",
            "ci_level": "95",
            "timepoint_months": "3",
            "denominator": "evaluable",
            "report_id": "zz-new",
            "locator": "Table 2",
            "origin": "counted",
            "confidence": "high",
            "status": "used",
        },
    ],
    "overlaps": [
        {
            "cohort_a": "zz-new",
            "cohort_b": "zuma-8",
            "kind": "possible",
            "evidence": "Made up.",
            "report_id": "zz-new",
            "locator": "Methods",
        }
    ],
    "pipeline": [
        {
            "trial_id": "NCT99999998",
            "target": "CD19",
            "construct": "None",
            "phase": "I",
            "population": "CLL",
            "status": "Recruiting",
            "report_id": "zz-new",
            "locator": "Table 3",
        }
    ],
    "published_pools": [
        {
            "pool_id": "zz-new.orr",
            "report_id": "zz-new",
            "outcome": "orr",
            "outcome_label": "Overall response",
            "group_label": "all patients",
            "disease": "CLL",
            "kind": "pooled",
            "k": "4",
            "events": "20",
            "total": "40",
            "percent": "50",
            "ci_low": "35",
            "ci_high": "65",
            "locator": "abstract",
        }
    ],
    "claims": [
        {
            "claim_id": "zz-001",
            "report_id": "zz-new",
            "locator": "abstract",
            "claim": "Three of ten patients responded.",
            "kind": "single-figure",
            "check": "figure",
            "args": "cohort=zz-new; outcome=orr; events=3; total=10",
        }
    ],
    "resolutions": [
        {
            "finding_id": "differs:zz-new.orr.zz-new",
            "resolution": "noted",
            "reason": "Nobody has read it.",
        }
    ],
    "appraisal": [
        {
            "cohort_id": "zz-new",
            "instrument": "minors",
            "item": "1",
            "judgment": "yes",
            "basis": "The abstract says so.",
            "report_id": "zz-new",
            "locator": "abstract",
        }
    ],
    "prisma": [
        {
            "item_id": "28",
            "section": "Results",
            "topic": "Something new",
            "asks": "Is there an item more?",
            "done": "no",
            "places": "index#what-this-is data",
            "said": "There is not.",
        }
    ],
}

KNOWN = [table for table in TABLES if table in NEW_ROWS]
RESOURCES = [r for r in SCHEMA["resources"] if r["name"] in KNOWN]
FIELDS = {r["name"]: r["schema"]["fields"] for r in RESOURCES}


class Package:
    """A copy of a folder with a data package, to be damaged."""

    def __init__(self, folder: Path, source: Path = DATA_DIR) -> None:
        self.folder = folder
        shutil.copytree(source, folder)

    def path(self, table: str) -> Path:
        return self.folder / f"{table}.csv"

    def rows(self, table: str) -> list[list[str]]:
        with self.path(table).open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))

    def write(self, table: str, rows: list[list[str]]) -> None:
        with self.path(table).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    def append(self, table: str, *new: dict[str, str]) -> None:
        rows = self.rows(table)
        assert set().union(*new) <= set(rows[0])
        self.write(table, rows + [[row.get(c, "") for c in rows[0]] for row in new])

    def set(self, table: str, column: str, value: str, row: int = -1) -> None:
        rows = self.rows(table)
        rows[row][rows[0].index(column)] = value
        self.write(table, rows)

    def last(self, table: str) -> int:
        """Line number of the last row, where the new rows stand."""
        return len(self.rows(table))

    def bytes(self, table: str, change: Callable[[bytes], bytes]) -> None:
        self.path(table).write_bytes(change(self.path(table).read_bytes()))

    def descriptor(self, change: Callable[[dict[str, Any]], Any]) -> None:
        schema = json.loads((self.folder / "datapackage.json").read_text(encoding="utf-8"))
        change(schema)
        text = json.dumps(schema)
        (self.folder / "datapackage.json").write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data package with the new rows at the end of each table."""
    package = Package(tmp_path_factory.mktemp("extended") / "data")
    for table in KNOWN:
        package.append(table, *NEW_ROWS[table])
    return package.folder


@pytest.fixture
def package(tmp_path: Path, extended: Path) -> Package:
    return Package(tmp_path / "data", extended)


def only_finding(package: Package) -> Finding:
    """Load the package, which must fail with exactly one finding, and return it."""
    with pytest.raises(DataError) as error:
        load(package.folder)
    assert len(error.value.findings) == 1, str(error.value)
    assert str(error.value) == str(error.value.findings[0])
    assert "\n" not in str(error.value)
    return error.value.findings[0]


def where(finding: Finding) -> tuple[str, int, str]:
    return finding.file, finding.row, finding.column


# --- the committed package -----------------------------------------------------------------------


def test_these_tests_know_every_table() -> None:
    assert set(NEW_ROWS) == set(TABLES) == {r["name"] for r in SCHEMA["resources"]}


def test_committed_package_is_valid_and_versioned() -> None:
    assert check() == []
    dataset = load()
    assert re.fullmatch(r"\d+\.\d+\.\d+", dataset.version)
    assert dataset.version == SCHEMA["version"]
    assert dataset.sha256 == data_digest()
    assert re.fullmatch(r"[0-9a-f]{64}", dataset.sha256)
    changelog = (DATA_DIR / "CHANGELOG.md").read_text(encoding="utf-8")
    assert dataset.version in changelog


@pytest.mark.parametrize("table", KNOWN)
def test_frames_hold_every_cell_of_the_files(table: str) -> None:
    frame = getattr(load(), table)
    with (DATA_DIR / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(frame) == len(rows)
    for field in FIELDS[table]:
        name = field["name"]
        cells = [row[name] for row in rows]
        expected_type = {"integer": "Int64", "number": "float64", "string": "string"}[field["type"]]
        assert str(frame[name].dtype) == expected_type
        assert list(frame[name].isna()) == [cell == "" for cell in cells], name
        given = [cell for cell in cells if cell]
        found = frame[name].dropna().tolist()
        if field["type"] == "string":
            assert found == given
        else:
            assert [float(value) for value in found] == [float(cell) for cell in given]


def test_printed_percentages_keep_their_decimals() -> None:
    frame = load().extraction
    with (DATA_DIR / "extraction.csv").open(encoding="utf-8", newline="") as file:
        printed = [row["percent"] for row in csv.DictReader(file)]
    assert frame["percent_printed"].fillna("").tolist() == printed


def test_committed_files_are_written_the_one_way() -> None:
    """A changed cell changes one line of the file, however the file is edited."""
    for table in TABLES:
        text = (DATA_DIR / f"{table}.csv").read_text(encoding="utf-8")
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(csv.reader(io.StringIO(text, newline="")))
        assert out.getvalue() == text, table


def test_every_column_and_table_is_described() -> None:
    for resource in SCHEMA["resources"]:
        assert resource["description"]
        for field in resource["schema"]["fields"]:
            assert len(field["description"]) > 3, f"{resource['name']}.{field['name']}"
            assert field["title"]


def test_no_cohort_that_mixes_cll_with_other_diseases_has_counts_in_use() -> None:
    dataset = load()
    disease = dataset.cohorts.set_index("cohort_id")["disease"]
    target = dataset.cohorts.set_index("cohort_id")["target"]
    rows = dataset.extraction
    in_use = rows[(rows["status"] == "used") & rows["events"].notna()]
    assert set(disease[in_use["cohort_id"]]) == {
        "CLL",
        "B-ALL",
        "large B-cell lymphoma",
        "mantle cell lymphoma",
        "NHL",
        "multiple myeloma",
    }
    assert "not stated" not in set(target[in_use["cohort_id"]])


def test_rows_that_are_set_aside_say_why() -> None:
    rows = load().extraction
    aside = rows[rows["status"] != "used"]
    assert len(aside) > 100
    assert aside["reason"].notna().all()
    assert {"excluded", "not-found", "superseded", "disputed", "infeasible"} <= set(aside["status"])


# --- good packages -------------------------------------------------------------------------------


def test_new_valid_rows_are_accepted(package: Package) -> None:
    dataset = load(package.folder)
    for table in KNOWN:
        last = getattr(dataset, table).iloc[-1]
        for column, cell in NEW_ROWS[table][-1].items():
            assert str(last[column]) in {cell, f"{cell}.0"} or float(last[column]) == float(cell)
    assert dataset.sha256 != load().sha256


@pytest.mark.parametrize("table", KNOWN)
def test_any_changed_cell_changes_the_digest(package: Package, table: str) -> None:
    before = data_digest(package.folder)
    columns = {
        "reports": "citation",
        "outcomes": "label",
        "cohorts": "label",
        "extraction": "locator",
        "overlaps": "evidence",
        "pipeline": "phase",
        "published_pools": "locator",
        "claims": "claim",
        "resolutions": "reason",
        "appraisal": "basis",
        "prisma": "said",
    }
    package.set(table, columns[table], "something else")
    assert check(package.folder) == []
    assert data_digest(package.folder) != before


@pytest.mark.parametrize("text", ["NA", "None", "null", "nan", "N/A", "#N/A", "true", "1e5", "007"])
def test_words_that_readers_take_for_missing_or_numbers_stay_text(
    package: Package, text: str
) -> None:
    package.set("extraction", "value_text", text)
    assert load(package.folder).extraction["value_text"].iloc[-1] == text


def test_a_survival_share_may_be_in_use_at_two_times_but_not_twice_at_one(
    package: Package,
) -> None:
    row = {
        **NEW_ROWS["extraction"][1],
        "outcome": "pfs",
        "events": "",
        "total": "",
        "ci_low": "",
        "ci_high": "",
        "ci_level": "",
        "origin": "stated",
        "record_id": "zz-new.pfs.zz-new.1",
        "timepoint_months": "12",
    }
    later = {**row, "record_id": "zz-new.pfs.zz-new.2", "timepoint_months": "24"}
    package.append("extraction", row, later)
    assert check(package.folder) == []
    package.set("extraction", "timepoint_months", "12.0")
    finding = only_finding(package)
    assert where(finding) == ("extraction.csv", package.last("extraction"), "status")
    assert f"row {package.last('extraction') - 1}" in finding.message


# --- one wrong cell ------------------------------------------------------------------------------

NOT_WHOLE = [
    "abc",
    "1.0",
    "3.5",
    "1e3",
    "1,000",
    "1 000",
    "1_0",
    "+1",
    "007",
    "=1+1",
    "@x",
    "NaN",
    "nan",
    "inf",
    "-inf",
    "true",
    "5%",
    "1/2",
    "0x10",
    "\u0663",  # an Arabic digit
    "\u22121",  # a minus sign that is no hyphen
    str(10**30),
    "9" * 5000,
]


@pytest.mark.parametrize("value", NOT_WHOLE, ids=lambda v: ascii(v[:12]))
@pytest.mark.parametrize(
    "table,column",
    [("extraction", "events"), ("extraction", "total"), ("cohorts", "n_enrolled")],
)
def test_whole_numbers_are_plain_digits(
    package: Package, table: str, column: str, value: str
) -> None:
    package.set(table, column, value)
    finding = only_finding(package)
    assert where(finding) == (f"{table}.csv", package.last(table), column)
    assert len(finding.message) < 200


@pytest.mark.parametrize(
    "value", [v for v in NOT_WHOLE if v not in {"1.0", "3.5"}] + [".5", "5.", "1.2.3", "-"]
)
@pytest.mark.parametrize("column", ["percent", "ci_high"])
def test_numbers_are_plain_digits(package: Package, column: str, value: str) -> None:
    package.set("extraction", column, value)
    finding = only_finding(package)
    assert where(finding) == ("extraction.csv", package.last("extraction"), column)
    assert len(finding.message) < 200


LIMITS = [
    ("extraction", "events", "-1", "below 0"),
    ("extraction", "total", "0", "below 1"),
    ("extraction", "total", "-10", "below 1"),
    ("extraction", "percent", "-0.1", "below 0"),
    ("extraction", "percent", "100.1", "above 100"),
    ("extraction", "ci_low", "-7", "below 0"),
    ("extraction", "ci_level", "100", "above 99.9"),
    ("extraction", "timepoint_months", "-3", "below 0"),
    ("cohorts", "n_infused", "-12", "below 0"),
    ("cohorts", "follow_up_months", "-1", "below 0"),
    ("cohorts", "year", "20", "below 1990"),
    ("reports", "year", "20222", "above 2100"),
]


@pytest.mark.parametrize("table,column,value,said", LIMITS)
def test_numbers_have_limits(
    package: Package, table: str, column: str, value: str, said: str
) -> None:
    package.set(table, column, value)
    finding = only_finding(package)
    assert where(finding) == (f"{table}.csv", package.last(table), column)
    assert finding.message == f"'{value}' is {said}" or finding.message == f"{value} is {said}"


def constrained(name: str) -> list[tuple[str, str]]:
    return [
        (table, field["name"])
        for table, fields in FIELDS.items()
        for field in fields
        if name in field.get("constraints", {})
    ]


KEYS = {("reports", "report_id"), ("outcomes", "outcome_id"), ("cohorts", "cohort_id")}


def set_or_append(package: Package, table: str, column: str, value: str) -> None:
    """Change the new row, or where other tables refer to its key, add one more row."""
    if (table, column) in KEYS:
        package.append(table, {**NEW_ROWS[table][-1], column: value})
    else:
        package.set(table, column, value)


@pytest.mark.parametrize("table,column", constrained("required"))
def test_required_cells_are_filled(package: Package, table: str, column: str) -> None:
    set_or_append(package, table, column, "")
    finding = only_finding(package)
    assert where(finding) == (f"{table}.csv", package.last(table), column)
    assert finding.message == "is empty"


@pytest.mark.parametrize("table,column", constrained("enum"))
def test_words_come_from_the_list(package: Package, table: str, column: str) -> None:
    package.set(table, column, "Something")
    finding = only_finding(package)
    assert where(finding) == (f"{table}.csv", package.last(table), column)
    field = next(f for f in FIELDS[table] if f["name"] == column)
    assert "'Something' is not one of" in finding.message
    for word in field["constraints"]["enum"]:
        assert word in finding.message


@pytest.mark.parametrize("table,column", constrained("pattern"))
def test_identifiers_have_their_form(package: Package, table: str, column: str) -> None:
    set_or_append(package, table, column, "Not an Identifier!")
    finding = only_finding(package)
    assert where(finding) == (f"{table}.csv", package.last(table), column)
    assert "has not the form" in finding.message


def foreign_keys() -> list[tuple[str, str, str]]:
    return [
        (r["name"], key["fields"][0], key["reference"]["resource"])
        for r in RESOURCES
        for key in r["schema"].get("foreignKeys", [])
    ]


def test_every_reference_is_declared() -> None:
    assert set(foreign_keys()) == {
        ("cohorts", "report_id", "reports"),
        ("extraction", "cohort_id", "cohorts"),
        ("extraction", "outcome", "outcomes"),
        ("extraction", "report_id", "reports"),
        ("overlaps", "cohort_a", "cohorts"),
        ("overlaps", "cohort_b", "cohorts"),
        ("overlaps", "report_id", "reports"),
        ("pipeline", "report_id", "reports"),
        ("published_pools", "report_id", "reports"),
        ("published_pools", "outcome", "outcomes"),
        ("claims", "report_id", "reports"),
        ("appraisal", "cohort_id", "cohorts"),
        ("appraisal", "report_id", "reports"),
    }


@pytest.mark.parametrize("table,column,target", foreign_keys())
def test_references_lead_somewhere(package: Package, table: str, column: str, target: str) -> None:
    package.set(table, column, "nowhere")
    finding = only_finding(package)
    assert where(finding) == (f"{table}.csv", package.last(table), column)
    assert finding.message == f"'nowhere' is not in {target}.csv"


@pytest.mark.parametrize("table", KNOWN)
def test_keys_are_unique(package: Package, table: str) -> None:
    package.append(table, NEW_ROWS[table][-1])
    finding = only_finding(package)
    key = next(r["schema"]["primaryKey"][-1] for r in SCHEMA["resources"] if r["name"] == table)
    assert where(finding) == (f"{table}.csv", package.last(table), key)
    assert f"repeats row {package.last(table) - 1}" in finding.message


@pytest.mark.parametrize(
    "text", ["=1+1", '=HYPERLINK("http://x")', "+1", "-1", "@x", "@SUM(1)", "-"]
)
@pytest.mark.parametrize(
    "table,column", [("extraction", "reason"), ("cohorts", "label"), ("overlaps", "evidence")]
)
def test_text_that_a_spreadsheet_would_run_is_refused(
    package: Package, table: str, column: str, text: str
) -> None:
    package.set(table, column, text)
    finding = only_finding(package)
    assert where(finding) == (f"{table}.csv", package.last(table), column)
    assert "formula" in finding.message


@pytest.mark.parametrize(
    "char",
    [
        *"\x00\x01\x07\x08\t\x0b\x0c\x1b\x1c\x7f\x85\x9b\xad",
        *"\u200b\u200e\u2028\u2029\u202e\u2060\u2066\ufeff\ufffe",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("row", [-1, 5])
def test_unseen_characters_are_refused(package: Package, char: str, row: int) -> None:
    package.set("extraction", "locator", f"Table{char}2", row)
    finding = only_finding(package)
    line = package.last("extraction") if row == -1 else row + 1
    assert where(finding) == ("extraction.csv", line, "locator")
    assert "unseen" in finding.message


def test_line_break_inside_a_cell_is_named_by_the_line_where_its_row_begins(
    package: Package,
) -> None:
    package.set("cohorts", "note", "one\ntwo\n\nthree", 7)
    finding = only_finding(package)
    assert where(finding) == ("cohorts.csv", 8, "note")
    assert "line break" in finding.message


@pytest.mark.parametrize("text", [" x", "x ", "\u00a0x", "x\u3000"], ids=ascii)
def test_spaces_around_a_cell_are_refused(package: Package, text: str) -> None:
    package.set("extraction", "locator", text)
    assert where(only_finding(package)) == (
        "extraction.csv",
        package.last("extraction"),
        "locator",
    )


@pytest.mark.parametrize("length", [2001, 100_000, 1_000_000])
def test_endless_cells_are_refused(package: Package, length: int) -> None:
    package.set("extraction", "reason", "x" * length)
    finding = only_finding(package)
    assert finding.file == "extraction.csv"
    assert finding.row == package.last("extraction") if length < 131_072 else finding.row > 0
    assert len(finding.message) < 200


@pytest.mark.parametrize("table,column", [("cohorts", "label"), ("outcomes", "short_label")])
def test_labels_are_short(package: Package, table: str, column: str) -> None:
    package.set(table, column, "x" * 120)
    assert check(package.folder) == []
    package.set(table, column, "x" * 121)
    finding = only_finding(package)
    assert where(finding) == (f"{table}.csv", package.last(table), column)
    assert finding.message == "is longer than 120 characters"


def test_an_item_beyond_the_instrument_is_refused(package: Package) -> None:
    package.set("appraisal", "item", "9")
    finding = only_finding(package)
    assert where(finding) == ("appraisal.csv", package.last("appraisal"), "item")
    assert finding.message == "9 is not among the 8 items of minors"
    package.set("appraisal", "instrument", "jbi-case-series")
    assert check(package.folder) == []


# --- rows that contradict themselves -------------------------------------------------------------

CONTRADICTIONS = [
    ("more events than patients", {"events": "11"}, "events", "more than the total 10"),
    ("events without total", {"total": ""}, "total", "is empty although events"),
    ("superseded without reason", {"status": "superseded"}, "reason", "status superseded"),
    ("disputed without reason", {"status": "disputed"}, "reason", "status disputed"),
    ("infeasible without reason", {"status": "infeasible"}, "reason", "status infeasible"),
    ("excluded without reason", {"status": "excluded"}, "reason", "status excluded"),
    ("context without reason", {"status": "context"}, "reason", "status context"),
    ("inferred without reason", {"origin": "inferred"}, "reason", "origin inferred"),
    (
        "not found, with a figure",
        {"status": "not-found", "reason": "No copy."},
        "status",
        "although a figure is given",
    ),
    ("in use, without confidence", {"confidence": ""}, "confidence", "is empty"),
    (
        "neither figure nor words",
        {"events": "", "total": "", "percent": "", "origin": "stated"},
        "events",
        "neither a count",
    ),
    ("in use without count", {"events": ""}, "events", "in use as a count"),
    ("value without unit", {"value": "3"}, "unit", "is empty although value"),
    ("interval upside down", {"ci_low": "66"}, "ci_low", "above ci_high 65"),
    ("name of another row", {"record_id": "zz-new.cr.zz-new"}, "record_id", "zz-new.orr.zz-new"),
    ("name with a word", {"record_id": "zz-new.orr.zz-new-b"}, "record_id", "zz-new.orr.zz-new"),
]


@pytest.mark.parametrize(
    "changes,column,said", [c[1:] for c in CONTRADICTIONS], ids=[c[0] for c in CONTRADICTIONS]
)
def test_contradictions_within_a_row(
    package: Package, changes: dict[str, str], column: str, said: str
) -> None:
    for name, value in changes.items():
        package.set("extraction", name, value)
    finding = only_finding(package)
    assert where(finding) == ("extraction.csv", package.last("extraction"), column)
    assert said in finding.message


def test_a_count_is_in_use_once(package: Package) -> None:
    second = {**NEW_ROWS["extraction"][1], "record_id": "zz-new.orr.zz-new.2"}
    package.append("extraction", {**second, "timepoint_months": "6"})
    finding = only_finding(package)
    assert where(finding) == ("extraction.csv", package.last("extraction"), "status")
    assert f"row {package.last('extraction') - 1}" in finding.message


@pytest.mark.parametrize(
    "column,value,said",
    [
        ("n_infused", "11", "differs from 12 in extraction.csv, row"),
        ("n_infused", "14", "differs from 12 in extraction.csv, row"),
        ("n_evaluable", "13", "is more than n_infused 12"),
        ("n_enrolled", "11", None),
    ],
)
def test_numbers_of_a_cohort_agree(
    package: Package, column: str, value: str, said: str | None
) -> None:
    package.set("cohorts", column, value)
    finding = only_finding(package)
    at = "n_infused" if column == "n_enrolled" else column
    assert where(finding) == ("cohorts.csv", package.last("cohorts"), at)
    assert (said or "12 is more than n_enrolled 11") in finding.message


def test_evaluable_patients_are_compared_with_enrolled_where_infused_is_unknown(
    package: Package,
) -> None:
    package.set("cohorts", "n_infused", "")
    package.set("cohorts", "n_evaluable", "16")
    finding = only_finding(package)
    assert where(finding) == ("cohorts.csv", package.last("cohorts"), "n_evaluable")


def test_a_cohort_does_not_overlap_itself(package: Package) -> None:
    package.set("overlaps", "cohort_b", "zz-new")
    finding = only_finding(package)
    assert where(finding) == ("overlaps.csv", package.last("overlaps"), "cohort_b")
    assert "same as cohort_a" in finding.message


def test_a_pair_is_given_once_in_either_order(package: Package) -> None:
    turned = {**NEW_ROWS["overlaps"][0], "cohort_a": "zuma-8", "cohort_b": "zz-new"}
    package.append("overlaps", turned)
    finding = only_finding(package)
    assert where(finding) == ("overlaps.csv", package.last("overlaps"), "cohort_b")
    assert f"repeats the pair of row {package.last('overlaps') - 1}" in finding.message


@pytest.mark.parametrize(
    "changes,column",
    [({"events": "41"}, "events"), ({"ci_low": "66"}, "ci_low"), ({"total": ""}, "total")],
)
def test_published_pools_do_not_contradict_themselves(
    package: Package, changes: dict[str, str], column: str
) -> None:
    for name, value in changes.items():
        package.set("published_pools", name, value)
    finding = only_finding(package)
    assert where(finding) == ("published_pools.csv", package.last("published_pools"), column)


# --- damaged files -------------------------------------------------------------------------------


def last_line(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    *lines, last = data.splitlines(keepends=True)
    return b"".join([*lines, change(last)])


@pytest.mark.parametrize("table", KNOWN)
@pytest.mark.parametrize(
    "change,row,said",
    [
        pytest.param(lambda b: b"\xef\xbb\xbf" + b, 1, "byte order mark", id="byte order mark"),
        pytest.param(lambda b: b.replace(b"\n", b"\r\n"), 1, "carriage return", id="CRLF"),
        pytest.param(lambda b: b.replace(b"\n", b"\r"), 1, "carriage return", id="CR"),
        pytest.param(lambda b: b[:-1] + b"\r\n", -1, "carriage return", id="one CRLF"),
        pytest.param(lambda b: last_line(b, lambda x: b"\xe9" + x), -1, "UTF-8", id="latin-1"),
        pytest.param(lambda b: b.decode().encode("utf-16"), 1, "UTF-8", id="UTF-16"),
        pytest.param(lambda b: last_line(b, lambda x: x[:-1] + b",x\n"), -1, "cells", id="extra"),
        pytest.param(
            lambda b: last_line(b, lambda x: x.split(b",", 1)[1]), -1, "cells", id="missing cell"
        ),
        pytest.param(lambda b: b + b"\n", -2, "0 cells", id="blank line"),
        pytest.param(lambda b: b + b"x\n", -2, "1 cells", id="cut line"),
        pytest.param(lambda b: last_line(b, lambda x: b'"' + x), -1, "not valid CSV", id="quote"),
        pytest.param(lambda b: b"", 1, "the header lacks", id="empty"),
        pytest.param(lambda b: b"\n", 1, "the header lacks", id="one line break"),
        pytest.param(lambda b: b.split(b"\n")[0] + b"\n", 1, "no rows", id="header only"),
        pytest.param(lambda b: b[b.index(b"\n") + 1 :], 1, "the header lacks", id="no header"),
        pytest.param(lambda b: b.replace(b",", b";"), 1, "the header lacks", id="semicolons"),
        pytest.param(lambda b: b"\x00" * 100, 1, "the header lacks", id="zero bytes"),
        pytest.param(lambda b: b"PK\x03\x04\xff\xfe" + b, 1, "UTF-8", id="a spreadsheet"),
    ],
)
def test_damaged_files(
    package: Package, table: str, change: Callable[[bytes], bytes], row: int, said: str
) -> None:
    last = package.last(table)
    package.bytes(table, change)
    finding = only_finding(package)
    assert where(finding) == (f"{table}.csv", {-1: last, -2: last + 1}.get(row, row), "")
    assert said in finding.message


@pytest.mark.parametrize("table", KNOWN)
def test_columns_are_those_of_the_schema(package: Package, table: str) -> None:
    rows = package.rows(table)

    package.write(table, [[*row, "x" if i else "color"] for i, row in enumerate(rows)])
    finding = only_finding(package)
    assert where(finding) == (f"{table}.csv", 1, "")
    assert "unknown column 'color'" in finding.message

    package.write(table, [row[:-1] for row in rows])
    finding = only_finding(package)
    assert where(finding) == (f"{table}.csv", 1, "")
    assert finding.message == f"the header lacks {rows[0][-1]}"

    package.write(table, [[row[1], row[0], *row[2:]] for row in rows])
    finding = only_finding(package)
    assert where(finding) == (f"{table}.csv", 1, "")
    assert f"in this order: {rows[0][0]}, {rows[0][1]}" in finding.message

    package.write(table, [[row[0], *row] for row in rows])
    assert where(only_finding(package)) == (f"{table}.csv", 1, "")


@pytest.mark.parametrize("name", ["datapackage.json", "cohorts.csv"])
def test_a_pipe_is_not_waited_for(package: Package, name: str) -> None:
    path = package.folder / name
    path.unlink()
    os.mkfifo(path)
    finding = only_finding(package)
    assert where(finding) == (name, 0, "")
    assert "no ordinary file" in finding.message


@pytest.mark.parametrize("table", KNOWN)
def test_missing_files_and_folders_in_their_place(package: Package, table: str) -> None:
    package.path(table).unlink()
    finding = only_finding(package)
    assert where(finding) == (f"{table}.csv", 0, "")
    assert "missing" in finding.message
    package.path(table).mkdir()
    finding = only_finding(package)
    assert where(finding) == (f"{table}.csv", 0, "")
    assert "cannot be read" in finding.message


def test_every_damaged_file_is_named_at_once(package: Package) -> None:
    package.path("reports").unlink()
    package.bytes("cohorts", lambda data: b"\xef\xbb\xbf" + data)
    package.set("extraction", "events", "three")
    package.set("extraction", "total", "ten", 3)
    assert [where(finding) for finding in check(package.folder)] == [
        ("cohorts.csv", 1, ""),
        ("extraction.csv", 4, "total"),
        ("extraction.csv", package.last("extraction"), "events"),
        ("reports.csv", 0, ""),
    ]


# --- the descriptor ------------------------------------------------------------------------------


def field_of(schema: dict[str, Any], table: str, column: str) -> dict[str, Any]:
    resource = next(r for r in schema["resources"] if r["name"] == table)
    return next(f for f in resource["schema"]["fields"] if f["name"] == column)


DESCRIPTORS = [
    ("version is a word", lambda s: s.update(version="new"), "version", "not a version"),
    ("version is short", lambda s: s.update(version="1.0"), "version", "not a version"),
    ("version is a number", lambda s: s.update(version=1), "version", "not a version"),
    ("no version", lambda s: s.pop("version"), "", "version"),
    ("no resources", lambda s: s.pop("resources"), "", "resources"),
    ("resources is text", lambda s: s.update(resources="x"), "", "not a data package"),
    ("one resource less", lambda s: s["resources"].pop(), "resources", "exactly reports"),
    (
        "one resource more",
        lambda s: s["resources"].append({**s["resources"][0], "name": "more"}),
        "resources",
        "exactly",
    ),
    (
        "a resource twice",
        lambda s: s["resources"].append(s["resources"][0]),
        "resources",
        "exactly",
    ),
    (
        "another path",
        lambda s: s["resources"][0].update(path="../reports.csv"),
        "resources",
        "exactly",
    ),
    (
        "an address",
        lambda s: s["resources"][0].update(path="https://localhost/reports.csv"),
        "resources",
        "exactly",
    ),
    (
        "a type we have not",
        lambda s: field_of(s, "cohorts", "year").update(type="date"),
        "type",
        "integer, number, string",
    ),
    (
        "a type that is a list",
        lambda s: field_of(s, "cohorts", "year").update(type=["integer"]),
        "fields",
        "must be text",
    ),
    (
        "counts as text",
        lambda s: field_of(s, "extraction", "events").update(type="string"),
        "events",
        "type integer",
    ),
    (
        "a column renamed",
        lambda s: field_of(s, "extraction", "status").update(name="state"),
        "status",
        "must have this column",
    ),
    (
        "a limit that is no number",
        lambda s: field_of(s, "cohorts", "follow_up_months")["constraints"].update(minimum="much"),
        "",
        "schema cannot be used",
    ),
    (
        "a limit that is needed and no number",
        lambda s: field_of(s, "extraction", "percent")["constraints"].update(maximum="much"),
        "percent",
        "a maximum of 100 or less",
    ),
    (
        "a limit taken away",
        lambda s: field_of(s, "extraction", "total")["constraints"].pop("minimum"),
        "total",
        "a minimum of 1 or more",
    ),
    (
        "cells that may be empty",
        lambda s: field_of(s, "overlaps", "report_id").pop("constraints"),
        "report_id",
        "overlaps must have the constraint required",
    ),
    (
        "any word allowed",
        lambda s: field_of(s, "claims", "kind")["constraints"].pop("enum"),
        "kind",
        "a list of the words allowed",
    ),
    (
        "any text allowed",
        lambda s: field_of(s, "published_pools", "i2").update(constraints=None),
        "i2",
        "a pattern",
    ),
    (
        "no key",
        lambda s: s["resources"][2]["schema"].pop("primaryKey"),
        "primaryKey",
        "cohorts must have the key cohort_id",
    ),
    (
        "a reference to a table that is not there",
        lambda s: s["resources"][0]["schema"].update(
            foreignKeys=[
                {"fields": ["kind"], "reference": {"resource": "nowhere", "fields": ["x"]}}
            ]
        ),
        "",
        "does not exist",
    ),
    (
        "references that are no list",
        lambda s: s["resources"][2]["schema"].update(foreignKeys=7),
        "foreignKeys",
        "a reference from report_id to reports",
    ),
]


@pytest.mark.parametrize(
    "change,column,said", [d[1:] for d in DESCRIPTORS], ids=[d[0] for d in DESCRIPTORS]
)
def test_the_descriptor_is_checked(
    package: Package, change: Callable[[dict[str, Any]], Any], column: str, said: str
) -> None:
    package.descriptor(change)
    finding = only_finding(package)
    assert where(finding) == ("datapackage.json", 0, column)
    assert said in finding.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"x"',
        "{'a': 1}",
        "[" * 100_000,
        '{"a": ' + "1" * 5000 + "}",
        '{"version": NaN}',
        '{"version": -Infinity}',
        "\ufeff{}",
    ],
    ids=lambda text: ascii(text[:8]),
)
def test_a_broken_descriptor_is_named(package: Package, text: str) -> None:
    (package.folder / "datapackage.json").write_text(text, encoding="utf-8")
    assert only_finding(package).file == "datapackage.json"


def test_a_missing_descriptor_or_folder_is_named(package: Package, tmp_path: Path) -> None:
    (package.folder / "datapackage.json").unlink()
    assert "missing" in only_finding(package).message
    for place in (tmp_path / "nowhere", package.path("reports")):
        with pytest.raises(DataError, match=r"^data/datapackage\.json: "):
            load(place)


def test_a_column_added_to_schema_and_file_is_accepted(package: Package) -> None:
    extra = {"name": "color", "type": "string", "title": "Color", "description": "Of the cells."}
    package.descriptor(
        lambda s: next(r for r in s["resources"] if r["name"] == "cohorts")["schema"][
            "fields"
        ].append(extra)
    )
    rows = package.rows("cohorts")
    package.write("cohorts", [[*row, "red" if i else "color"] for i, row in enumerate(rows)])
    assert set(load(package.folder).cohorts["color"]) == {"red"}


# --- whatever stands in a cell -------------------------------------------------------------------


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.data(),
    cell=st.one_of(
        st.text(max_size=30),
        st.from_regex(r"[-+]?[0-9]{0,12}[.eE,]?[0-9]{0,4}", fullmatch=True),
        st.sampled_from(["", "0", "used", "not-found", "nan", '"', '""', ",", "\\", "\ud7ff"]),
    ),
)
def test_no_cell_makes_loading_crash(
    tmp_path_factory: pytest.TempPathFactory, extended: Path, data: st.DataObject, cell: str
) -> None:
    package = Package(tmp_path_factory.mktemp("fuzz") / "data", extended)
    table = data.draw(st.sampled_from(KNOWN))
    column = data.draw(st.sampled_from([field["name"] for field in FIELDS[table]]))
    package.set(table, column, cell)
    try:
        dataset = load(package.folder)
    except DataError as error:
        assert error.findings
        assert all(str(f).isprintable() for f in error.findings)
    else:
        kept = getattr(dataset, table)[column].iloc[-1]
        if cell == "":
            assert str(kept) in {"<NA>", "nan", "None"}
        elif isinstance(kept, str):
            assert kept == cell
        else:
            assert float(kept) == float(cell)


# --- markup in the data stays data ---------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    'x"><img src=x onerror=alert(1)>',
    "x' onmouseover='alert(1)",
    "</td></tr></table><h1>gone</h1>",
    "&lt;b&gt; & <b>bold</b>",
    "<!-- <style>*{display:none}</style>",
]
EVERYTHING = (
    "</title></text></svg> \"'><script>alert(1)</script> &lt;b&gt; onload=alert(1) <!-- ]]>"
)


FREE_TEXT = {
    "reports": ["citation", "read_at", "note"],
    "outcomes": ["label", "short_label", "definition"],
    "cohorts": ["label", "note", "prior_therapy", "center", "product"],
    "extraction": ["value_text", "criteria", "locator", "reason"],
    "overlaps": ["evidence", "locator"],
    "pipeline": ["target", "construct", "phase", "population", "status", "locator"],
    "published_pools": ["outcome_label", "group_label", "disease", "model", "locator", "note"],
    "claims": ["claim", "locator"],
    "resolutions": ["reason"],
    "appraisal": ["basis", "locator"],
    "prisma": ["section", "topic", "asks", "said"],
}


def filled(package: Package, text: str, doi: str) -> Dataset:
    for table in KNOWN:
        for column in FREE_TEXT[table]:
            package.set(table, column, text)
    package.set("reports", "doi", doi)
    return load(package.folder)


def elements(source: str) -> set[tuple[str, frozenset[str]]]:
    return {(tag.name, frozenset(tag.attrs)) for tag in BeautifulSoup(source, "html.parser")(True)}


def assert_only_text_differs(harmless: dict[str, str], hostile: dict[str, str]) -> None:
    assert hostile.keys() == harmless.keys()
    for name, source in hostile.items():
        assert elements(source) <= elements(harmless[name]), name
        assert "<script>alert" not in source, name
        links = [tag["href"] for tag in BeautifulSoup(source, "html.parser")("a", href=True)]
        assert not [link for link in links if re.match(r"\s*(javascript|vbscript):", link)], name


def words(source: str) -> str:
    return " ".join(BeautifulSoup(source, "html.parser").get_text(" ").split())


HARMLESS = ("Some words that are about as long", "10.1234/abc")
HOSTILE_DOI = '10.1234/"><script>alert(1)</script>'


@pytest.mark.parametrize("text", [*HOSTILE, EVERYTHING])
def test_markup_in_cells_reaches_the_data_page_as_text(package: Package, text: str) -> None:
    def shown(dataset: Dataset) -> dict[str, str]:
        tables = [name for name in catalog.__all__ if name != "figure_text"]
        return {name: getattr(catalog, name)(dataset).source for name in tables}

    harmless = shown(filled(package, *HARMLESS))
    hostile = shown(filled(package, text, HOSTILE_DOI))
    assert len(hostile) > 7
    assert_only_text_differs(harmless, hostile)
    for name in ("extraction", "overlaps", "reports", "cohorts"):
        assert " ".join(text.split()) in words(hostile[name]), name


def test_markup_in_cells_reaches_figures_and_chapters_as_text(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(dataset: Dataset) -> dict[str, str]:
        monkeypatch.setattr(chapter, "dataset", lambda: dataset)
        question = chapter.ask("orr-cd19-single-agent")
        assert "zz-new" in set(question.evidence.rows["cohort_id"])
        parts = (
            chapter.forest,
            chapter.trials,
            chapter.leave_one_out,
            chapter.readings,
            chapter.cite,
        )
        found = {part.__name__: part(question).source for part in parts}
        return found | {"answers": chapter.answers([question]).source}

    harmless = shown(filled(package, *HARMLESS))
    hostile = shown(filled(package, EVERYTHING, HOSTILE_DOI))
    assert_only_text_differs(harmless, hostile)
    assert " ".join(EVERYTHING.split()) in words(hostile["trials"])
