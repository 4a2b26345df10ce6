"""Load and validate the data package: CSV files described by ``data/datapackage.json``.

Types, required cells, allowed values, unique keys and foreign keys are checked by frictionless
against the schema. What a schema cannot say (events not above the total, one figure in use per
cohort, outcome and time point, ...) is checked here.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.digest import data_digest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DATA_DIR", "DataError", "Dataset", "Finding", "check", "load"]

DATA_DIR = Path(__file__).resolve().parent.parent / "data"
TABLES = (
    "reports",
    "outcomes",
    "cohorts",
    "extraction",
    "overlaps",
    "pipeline",
    "published_pools",
    "claims",
    "resolutions",
    "appraisal",
    "prisma",
)
PANDAS_TYPE = {"integer": "Int64", "number": "float64", "string": "string"}
# plain digits only: readers of CSV files disagree on "1e3", "NaN", "1_000", "007" and the like;
# a whole number is a year or a count of patients or studies
WRITTEN = {
    "integer": (re.compile(r"0|-?[1-9][0-9]{0,5}"), "a whole number of up to six plain digits"),
    "number": (re.compile(r"-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?"), "a number in plain digits"),
}
# columns that the code reads by name; every other column is free to come and go
NEEDED = {
    "reports": "report_id citation doi year kind read_at note",
    "outcomes": "outcome_id label short_label kind direction",
    "cohorts": "cohort_id label trial_id center design disease setting target product "
    "costimulatory_domain cell_source partner_drug infusion n_enrolled n_infused n_evaluable "
    "report_id year note",
    "extraction": "record_id cohort_id outcome events total percent value unit value_text ci_low "
    "ci_high ci_level timepoint_months denominator criteria report_id locator origin confidence "
    "status reason",
    "overlaps": "cohort_a cohort_b kind evidence report_id locator",
    "pipeline": "trial_id target construct phase population status report_id locator",
    "published_pools": "pool_id report_id outcome outcome_label group_label disease kind k events "
    "total percent ci_low ci_high i2 q q_p model transform estimand_id locator note",
    "claims": "claim_id report_id locator claim kind check args",
    "resolutions": "finding_id resolution classification reason",
    "appraisal": "cohort_id instrument item judgment basis report_id locator",
    "prisma": "item_id section topic asks done places said",
}
NEEDED_TYPE = {
    **dict.fromkeys(("events", "total", "n_enrolled", "n_infused", "n_evaluable"), "integer"),
    **dict.fromkeys(("percent", "value", "ci_low", "ci_high", "ci_level"), "number"),
    "timepoint_months": "number",
    "year": "integer",
    "k": "integer",
    "q": "number",
    "item": "integer",
}
# what the schema must go on asking of those columns: the code relies on it
KEYS = {
    "reports": ["report_id"],
    "outcomes": ["outcome_id"],
    "cohorts": ["cohort_id"],
    "extraction": ["record_id"],
    "overlaps": ["cohort_a", "cohort_b"],
    "pipeline": ["trial_id"],
    "published_pools": ["pool_id"],
    "claims": ["claim_id"],
    "resolutions": ["finding_id"],
    "appraisal": ["cohort_id", "instrument", "item"],
    "prisma": ["item_id"],
}
REFERENCES = {
    "cohorts": {"report_id": "reports"},
    "extraction": {"cohort_id": "cohorts", "outcome": "outcomes", "report_id": "reports"},
    "overlaps": {"cohort_a": "cohorts", "cohort_b": "cohorts", "report_id": "reports"},
    "pipeline": {"report_id": "reports"},
    "published_pools": {"report_id": "reports", "outcome": "outcomes"},
    "claims": {"report_id": "reports"},
    "appraisal": {"cohort_id": "cohorts", "report_id": "reports"},
}
FILLED = {
    "reports": "report_id citation kind",
    "outcomes": "outcome_id label short_label kind direction",
    "cohorts": "cohort_id label design disease setting target cell_source partner_drug infusion "
    "report_id",
    "extraction": "record_id cohort_id outcome report_id locator origin status",
    "overlaps": "cohort_a cohort_b kind evidence report_id locator",
    "pipeline": "trial_id target construct phase population status report_id locator",
    "published_pools": "pool_id report_id outcome_label group_label disease kind locator",
    "claims": "claim_id report_id locator claim kind check args",
    "resolutions": "finding_id resolution reason",
    "appraisal": "cohort_id instrument item judgment basis report_id locator",
    "prisma": "item_id section topic asks done said",
}
LISTED = {
    "reports": "kind",
    "outcomes": "kind direction",
    "cohorts": "design disease setting target cell_source partner_drug infusion",
    "extraction": "unit denominator origin confidence status",
    "overlaps": "kind",
    "published_pools": "kind",
    "claims": "kind",
    "resolutions": "resolution classification",
    "appraisal": "instrument judgment",
    "prisma": "done",
}
FORMED = {
    "reports": "report_id doi",
    "outcomes": "outcome_id",
    "cohorts": "cohort_id trial_id",
    "extraction": "record_id",
    "pipeline": "trial_id",
    "published_pools": "pool_id i2 q_p estimand_id",
    "claims": "claim_id check args",
    "resolutions": "finding_id",
    "prisma": "item_id places",
}
LIMITED: dict[str, dict[str, tuple[float, float | None]]] = {
    "cohorts": dict.fromkeys(("n_enrolled", "n_infused", "n_evaluable"), (0, None)),
    "extraction": {
        "events": (0, None),
        "total": (1, None),
        "percent": (0, 100),
        "ci_level": (50, 99.9),
        "timepoint_months": (0, None),
    },
    "published_pools": {
        "k": (1, None),
        "events": (0, None),
        "total": (1, None),
        **dict.fromkeys(("percent", "ci_low", "ci_high"), (0, 100)),
        "q": (0, None),
    },
    "appraisal": {"item": (1, 10)},
}
# a spreadsheet program would run a text cell that starts so; numbers are typed by the schema
FORMULA_START = re.compile(r"^[=+@\-\t\r]")
# control, zero-width and direction characters, which can make a cell look like what it is not
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffe\uffff]"
)
# items of each instrument of appraisal
ITEMS = {"jbi-case-series": 10, "minors": 8}
NO_FIGURE = {"not-found"}
NEEDS_REASON = {"superseded", "disputed", "infeasible", "excluded", "not-found", "context"}
EXPLAINED_ORIGIN = {"inferred"}
MAX_CELL = 2000
# what stands in figures and beside every number
SHORT = {"label", "short_label", "outcome_label", "group_label"}
MAX_SHORT = 120


@dataclass(frozen=True, order=True)
class Finding:
    """One problem in the data package.

    Attributes
    ----------
    file : str
        File name inside the data folder.
    row : int
        Line of the file, the header being line 1; 0 when the whole file is meant.
    column : str
        Column name, or an empty string when no single column is meant.
    message : str
        What is wrong, in one sentence.
    """

    file: str
    row: int
    column: str
    message: str

    def __str__(self) -> str:
        where = f"data/{self.file}"
        if self.row:
            where += f", row {self.row}"
        if self.column:
            where += f", column {self.column}"
        return f"{where}: {self.message}"


class DataError(ValueError):
    """The data package is not usable; ``findings`` says why."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        super().__init__("\n".join(str(finding) for finding in findings))


@dataclass(frozen=True)
class Dataset:
    """The validated data package.

    Attributes
    ----------
    reports, outcomes, cohorts, extraction, overlaps, pipeline : pandas.DataFrame
    published_pools, claims, resolutions, appraisal, prisma : pandas.DataFrame
        The tables, in file order, with the columns of the schema: integers as ``Int64``,
        numbers as ``float64``, text as ``string``; missing cells are missing values.
        ``extraction`` has one more column, ``percent_printed``: the percentage as text with
        its printed decimals.
    version : str
        Semantic version of the data package.
    sha256 : str
        Digest of the tables and their schema (see :func:`analysis.digest.data_digest`).
    schema : dict
        Parsed ``datapackage.json``.
    """

    reports: pd.DataFrame
    outcomes: pd.DataFrame
    cohorts: pd.DataFrame
    extraction: pd.DataFrame
    overlaps: pd.DataFrame
    pipeline: pd.DataFrame
    published_pools: pd.DataFrame
    claims: pd.DataFrame
    resolutions: pd.DataFrame
    appraisal: pd.DataFrame
    prisma: pd.DataFrame
    version: str
    sha256: str
    schema: dict


def load(directory: str | os.PathLike[str] = DATA_DIR) -> Dataset:
    """Validate the data package and return its tables.

    Parameters
    ----------
    directory : path
        Folder that holds ``datapackage.json`` and the CSV files.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If anything is wrong; every finding names file, row and column.
    """
    import pandas as pd

    directory = Path(directory)
    findings = check(directory)
    if findings:
        raise DataError(findings)
    schema = json.loads((directory / "datapackage.json").read_text(encoding="utf-8"))
    tables = {}
    for resource in schema["resources"]:
        types = {f["name"]: PANDAS_TYPE[f["type"]] for f in resource["schema"]["fields"]}
        text = pd.read_csv(
            directory / resource["path"], dtype="string", na_values=[""], keep_default_na=False
        )
        frame = text.astype(types)
        if resource["name"] == "extraction":
            frame["percent_printed"] = text["percent"]
        tables[resource["name"]] = frame
    return Dataset(
        **tables, version=schema["version"], sha256=data_digest(directory), schema=schema
    )


def check(directory: str | os.PathLike[str] = DATA_DIR) -> list[Finding]:
    """List every problem of the data package, in file order; an empty list means none.

    Parameters
    ----------
    directory : path
        Folder that holds ``datapackage.json`` and the CSV files.

    Returns
    -------
    list of Finding
    """
    directory = Path(directory)
    findings, schema = _check_descriptor(directory)
    if findings:
        return findings
    rows: dict[str, list[dict[str, str]]] = {}
    for resource in schema["resources"]:
        file_findings, rows[resource["name"]] = _check_file(directory, resource)
        findings += file_findings
    if findings:
        return sorted(findings)
    findings = _check_schema(directory, schema)
    if findings:
        return sorted(findings)
    return sorted(_check_rules(rows))


def _read(path: Path) -> bytes:
    """Read a file; a pipe or a device in its place could be read without end."""
    if path.exists() and not path.is_file():
        raise OSError(0, "it is no ordinary file")
    return path.read_bytes()


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _check_descriptor(directory: Path) -> tuple[list[Finding], dict]:
    name = "datapackage.json"
    try:
        text = _read(directory / name).decode("utf-8")
        schema = json.loads(text, parse_constant=_no_number)
    except FileNotFoundError:
        return [Finding(name, 0, "", f"the file is missing from {directory}")], {}
    except OSError as error:
        return [Finding(name, 0, "", f"cannot be read: {error.strerror}")], {}
    except (ValueError, RecursionError) as error:
        return [Finding(name, getattr(error, "lineno", 0), "", f"not valid JSON: {error}")], {}
    try:
        found = {r["name"]: r["path"] for r in schema["resources"]}
        fields = {
            r["name"]: [(f["name"], f["type"]) for f in r["schema"]["fields"]]
            for r in schema["resources"]
        }
        n_resources, version = len(schema["resources"]), schema["version"]
    except (KeyError, TypeError) as error:
        return [Finding(name, 0, "", f"not a data package of this project: {error!r}")], {}
    if found != {table: f"{table}.csv" for table in TABLES} or n_resources != len(TABLES):
        return [Finding(name, 0, "resources", f"must be exactly {', '.join(TABLES)}")], {}
    pairs = [pair for columns in fields.values() for pair in columns]
    if not all(isinstance(part, str) for pair in pairs for part in pair):
        return [Finding(name, 0, "fields", "names and types of columns must be text")], {}
    if not {kind for _, kind in pairs} <= set(PANDAS_TYPE):
        return [Finding(name, 0, "type", f"must be one of {', '.join(PANDAS_TYPE)}")], {}
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", str(version)):
        return [Finding(name, 0, "version", f"{version!r} is not a version like 1.0.0")], {}
    findings = []
    for table, needed in NEEDED.items():
        types = dict(fields[table])
        if len(types) != len(fields[table]):
            findings.append(Finding(name, 0, "fields", f"{table} has a column name twice"))
        for column in needed.split():
            kind = NEEDED_TYPE.get(column, "string")
            if types.get(column) != kind:
                message = f"{table} must have this column, with the type {kind}"
                findings.append(Finding(name, 0, column, message))
    return findings or _weakened(schema), schema


def _weakened(schema: dict) -> list[Finding]:
    """Name what the schema no longer asks of a column, although the code relies on it."""
    findings = []
    for resource in schema["resources"]:
        table, described = resource["name"], resource["schema"]

        def lacks(column: str, what: str, table: str = table) -> None:
            message = f"{table} must have {what}"
            findings.append(Finding("datapackage.json", 0, column, message))

        if described.get("primaryKey") != KEYS[table]:
            lacks("primaryKey", f"the key {', '.join(KEYS[table])}")
        references = described.get("foreignKeys", [])
        for column, target in REFERENCES.get(table, {}).items():
            wanted = {"resource": target, "fields": KEYS[target]}
            if {"fields": [column], "reference": wanted} not in _listed(references):
                lacks("foreignKeys", f"a reference from {column} to {target}")
        asked = {field["name"]: field.get("constraints") for field in described["fields"]}
        given = {name: found if isinstance(found, dict) else {} for name, found in asked.items()}
        for column in FILLED.get(table, "").split():
            if given[column].get("required") is not True:
                lacks(column, "the constraint required on this column")
        for column in LISTED.get(table, "").split():
            words = _listed(given[column].get("enum"))
            if not words or not all(isinstance(word, str) for word in words):
                lacks(column, "a list of the words allowed in this column")
        for column in FORMED.get(table, "").split():
            if not isinstance(given[column].get("pattern"), str):
                lacks(column, "a pattern for this column")
        for column, (lowest, highest) in LIMITED.get(table, {}).items():
            minimum, maximum = given[column].get("minimum"), given[column].get("maximum")
            if not isinstance(minimum, (int, float)) or minimum < lowest:
                lacks(column, f"a minimum of {lowest} or more for this column")
            if highest is not None and (not isinstance(maximum, (int, float)) or maximum > highest):
                lacks(column, f"a maximum of {highest} or less for this column")
    return findings


def _listed(value: Any) -> list:
    return value if isinstance(value, list) else []


def _check_file(directory: Path, resource: dict) -> tuple[list[Finding], list[dict[str, str]]]:
    """Read one CSV file strictly: encoding, header, cell count, unseen characters."""
    name = resource["path"]
    columns = [f["name"] for f in resource["schema"]["fields"]]
    types = {f["name"]: f["type"] for f in resource["schema"]["fields"]}
    try:
        raw = _read(directory / name)
    except FileNotFoundError:
        return [Finding(name, 0, "", f"the file is missing from {directory}")], []
    except OSError as error:
        return [Finding(name, 0, "", f"cannot be read: {error.strerror}")], []
    if raw.startswith(b"\xef\xbb\xbf"):
        return [Finding(name, 1, "", "starts with a byte order mark; save as UTF-8 without")], []
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        return [Finding(name, line, "", "is not UTF-8 text")], []
    if "\r" in text:
        line = text[: text.index("\r")].count("\n") + 1
        return [Finding(name, line, "", "has a carriage return; end lines with a line feed")], []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    findings: list[Finding] = []
    rows: list[dict[str, str]] = []
    try:
        header = next(reader, [])
        if header != columns:
            return [Finding(name, 1, "", _header_message(header, columns))], []
        after = reader.line_num
        for cells in reader:
            # a cell with a line break covers several lines; the row is where it begins
            line, after = after + 1, reader.line_num
            if len(cells) != len(columns):
                message = f"has {len(cells)} cells, the header has {len(columns)}"
                findings.append(Finding(name, line, "", message))
                continue
            for column, cell in zip(columns, cells, strict=True):
                if UNSEEN.search(cell):
                    message = "has a line break or an unseen control character"
                    findings.append(Finding(name, line, column, message))
                elif cell != cell.strip():
                    findings.append(Finding(name, line, column, "starts or ends with a space"))
                elif len(cell) > (longest := MAX_SHORT if column in SHORT else MAX_CELL):
                    message = f"is longer than {longest} characters"
                    findings.append(Finding(name, line, column, message))
                elif cell and types[column] in WRITTEN:
                    pattern, form = WRITTEN[types[column]]
                    if not pattern.fullmatch(cell):
                        message = f"{_short(cell)} is not {form}"
                        findings.append(Finding(name, line, column, message))
                elif FORMULA_START.match(cell):
                    message = f"starts with {cell[0]!r}, which a spreadsheet takes for a formula"
                    findings.append(Finding(name, line, column, message))
            rows.append({"_row": str(line), **dict(zip(columns, cells, strict=True))})
    except csv.Error as error:
        findings.append(Finding(name, reader.line_num, "", f"is not valid CSV: {error}"))
    if not rows and not findings:
        findings.append(Finding(name, 1, "", "has no rows"))
    return findings, rows


def _header_message(header: list[str], columns: list[str]) -> str:
    missing = [c for c in columns if c not in header]
    unknown = [c for c in header if c not in columns]
    if missing:
        return f"the header lacks {', '.join(missing)}"
    if unknown:
        return f"the header has the unknown column {', '.join(map(repr, unknown))}"
    return f"the columns must stand in this order: {', '.join(columns)}"


def _check_schema(directory: Path, schema: dict) -> list[Finding]:
    """Types, constraints and keys, by frictionless."""
    from frictionless import FrictionlessException, Package

    try:
        report = Package(str(directory / "datapackage.json")).validate()
    except FrictionlessException as error:
        reasons = error.reasons or [error.error]
        return [Finding("datapackage.json", 0, "", reason.note) for reason in reasons]
    except (AttributeError, LookupError, TypeError, ValueError):
        # what a library does with a key or a limit of the wrong type, and says in its own words
        message = "the schema cannot be used: a key or a limit in it has the wrong type"
        return [Finding("datapackage.json", 0, "", message)]
    findings = [Finding("datapackage.json", 0, "", problem.message) for problem in report.errors]
    keys = {r["name"]: r["schema"].get("primaryKey", "") for r in schema["resources"]}
    for task in report.tasks:
        seen: set[tuple[int, str]] = set()
        for problem in task.errors:
            row = getattr(problem, "row_number", None) or 0
            column, message = _column_and_message(problem, keys.get(task.name, ""))
            # an empty or repeated key is reported twice, as a cell and as a key; once is enough
            if (row, column) not in seen:
                # without a row it is the schema that cannot be used: the file itself was read
                file = Path(task.place).name if row else "datapackage.json"
                findings.append(Finding(file, row, column, message))
            seen.add((row, column))
    return findings


def _column_and_message(error: Any, key: str | list[str]) -> tuple[str, str]:
    """Say in our words which column an error of frictionless is about, and what is wrong."""
    note = (error.note or error.message).replace(
        "the same as in the row at position", "repeats row"
    )
    if error.type == "primary-key":
        names = [key] if isinstance(key, str) else key
        return names[-1] if names else "", f"with {', '.join(names[:-1])}: {note}"
    if error.type == "foreign-key":
        cells = ", ".join(_short(cell) for cell in error.field_cells)
        return error.field_names[0], f"{cells} is not in {error.reference_name}.csv"
    column = getattr(error, "field_name", None) or ""
    if error.type == "constraint-error":
        kind, _, limit = note.removeprefix("constraint ").partition(" is ")
        kind, limit = kind.strip('"'), limit.strip('"')
        said = {
            "required": "is empty",
            "minimum": f"{_short(error.cell)} is below {limit}",
            "maximum": f"{_short(error.cell)} is above {limit}",
            "enum": f"{_short(error.cell)} is not one of {limit.strip('[]')}",
            "pattern": f"{_short(error.cell)} has not the form {limit}",
        }
        return column, said.get(kind, note)
    return column, note


def _short(cell: str) -> str:
    """Quote the beginning of a cell."""
    return repr(cell if len(cell) <= 60 else cell[:57] + "...")


def _check_rules(rows: dict[str, list[dict[str, str]]]) -> list[Finding]:
    """Rules that a table schema cannot express."""
    kinds = {row["outcome_id"]: row["kind"] for row in rows["outcomes"]}
    findings: list[Finding] = []
    in_use: dict[tuple[str, ...], str] = {}
    for row in rows["extraction"]:

        def add(column: str, message: str, row: dict[str, str] = row) -> None:
            findings.append(Finding("extraction.csv", int(row["_row"]), column, message))

        events, total, status = row["events"], row["total"], row["status"]
        if events and not total:
            add("total", "is empty although events is given")
        if events and total and int(events) > int(total):
            add("events", f"{events} is more than the total {total}")
        if status in NEEDS_REASON and not row["reason"]:
            add("reason", f"is empty; status {status} needs one")
        if row["origin"] in EXPLAINED_ORIGIN and not row["reason"]:
            add("reason", f"is empty; origin {row['origin']} needs one")
        if status not in NO_FIGURE and not row["confidence"]:
            add("confidence", "is empty")
        figure = events or row["percent"] or row["value"]
        if status in NO_FIGURE and figure:
            add("status", "is not-found although a figure is given")
        if status not in NO_FIGURE and not figure and not row["value_text"]:
            add("events", "the row has neither a count, a percentage, a value nor a text")
        if row["value"] and not row["unit"]:
            add("unit", "is empty although value is given")
        for column in ("value", "ci_low", "ci_high"):
            if row[column].startswith("-"):
                add(column, f"{row[column]} is below 0")
        if row["ci_low"] and row["ci_high"] and float(row["ci_low"]) > float(row["ci_high"]):
            add("ci_low", f"{row['ci_low']} is above ci_high {row['ci_high']}")
        kind = kinds.get(row["outcome"])
        if status == "used" and kind == "proportion" and row["origin"] != "stated" and not events:
            add("events", "is empty in a row that is in use as a count")
        record_start = f"{row['cohort_id']}.{row['outcome'].replace('_', '-')}.{row['report_id']}"
        if not re.fullmatch(r"(\.[0-9]+)?", row["record_id"].removeprefix(record_start)):
            add("record_id", f"must be {record_start}, with a number where there are several")
        if status == "used":
            # a proportion may be in use once, or pooling could not tell which; the others once
            # per time point
            months = row["timepoint_months"]
            time = "" if kind == "proportion" or not months else str(float(months))
            key = (row["cohort_id"], row["outcome"], time)
            if key in in_use:
                add("status", f"is used, as in row {in_use[key]} for the same cohort and outcome")
            in_use.setdefault(key, row["_row"])
    findings += _check_cohort_numbers(rows)
    seen: dict[frozenset[str], str] = {}
    for row in rows["overlaps"]:
        line = int(row["_row"])
        pair = frozenset((row["cohort_a"], row["cohort_b"]))
        if len(pair) == 1:
            findings.append(Finding("overlaps.csv", line, "cohort_b", "is the same as cohort_a"))
        elif pair in seen:
            message = f"repeats the pair of row {seen[pair]}"
            findings.append(Finding("overlaps.csv", line, "cohort_b", message))
        seen.setdefault(pair, row["_row"])
    for row in rows["published_pools"]:
        if row["events"] and not row["total"]:
            message = "is empty although events is given"
            findings.append(Finding("published_pools.csv", int(row["_row"]), "total", message))
        for small, large in (("events", "total"), ("ci_low", "ci_high")):
            if row[small] and row[large] and float(row[small]) > float(row[large]):
                message = f"{row[small]} is above {large} {row[large]}"
                findings.append(Finding("published_pools.csv", int(row["_row"]), small, message))
    for row in rows["appraisal"]:
        if int(row["item"]) > (most := ITEMS.get(row["instrument"], 0)):
            message = f"{row['item']} is not among the {most} items of {row['instrument']}"
            findings.append(Finding("appraisal.csv", int(row["_row"]), "item", message))
    return findings


def _check_cohort_numbers(rows: dict[str, list[dict[str, str]]]) -> list[Finding]:
    """Numbers of a cohort must be in order and agree with the extraction rows in use."""
    findings = []
    columns = ("n_enrolled", "n_infused", "n_evaluable")
    stated = {
        (row["cohort_id"], row["outcome"]): (row["value"], row["_row"])
        for row in rows["extraction"]
        if row["status"] == "used" and row["outcome"] in columns
    }
    for row in rows["cohorts"]:
        line = int(row["_row"])
        order = [(c, int(row[c])) for c in ("n_evaluable", "n_infused", "n_enrolled") if row[c]]
        for (small, n_small), (large, n_large) in pairwise(order):
            if n_small > n_large:
                message = f"{n_small} is more than {large} {n_large}"
                findings.append(Finding("cohorts.csv", line, small, message))
        for column in columns:
            value, where = stated.get((row["cohort_id"], column), ("", ""))
            if value and row[column] and float(value) != float(row[column]):
                message = f"{row[column]} differs from {value} in extraction.csv, row {where}"
                findings.append(Finding("cohorts.csv", line, column, message))
    return findings
