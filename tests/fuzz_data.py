"""Damage copies of the data package at random, and see how each damage ends.

Run it as ``python tests/fuzz_data.py --edits 800 --seed 1 --report data/fuzz_report.json``.

Each edit is made on a fresh copy of the package, which then goes the whole way: validation,
findings about the sources, claims, pooled estimates, pages. It ends in one of four ways.

finding
    The package is refused, in sentences that name the file and, for a cell, row and column.
unchanged
    The package is accepted, and every pooled estimate is what it was.
visible
    The package is accepted as another valid one. Estimates or findings differ from the pinned
    ones, and the comparison with the pinned files names each of them.
bad
    Anything else: an exception, a warning, a hang, an estimate that differs unsaid or is no
    number, markup of a cell that becomes an element of a page.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import csv
import io
import json
import math
import platform
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from analysis import chapter, conflicts, pooling, publish, published, usable  # noqa: E402
from analysis.data import DATA_DIR, TABLES, DataError, Finding, load  # noqa: E402
from analysis.markup import Html  # noqa: E402

OUTCOMES = ("finding", "unchanged", "visible", "bad")
PINNED = ("estimates.csv", "estimates.json", "conflicts.csv")
#: Seconds of processor time that one step may take.
PATIENCE = 20.0
#: How often one more chapter than that of the data is made, after an edit without markup.
PAGES = 0.3
CANARY = "fuzz_canary"

# --------------------------------------------------------------------------- edits


@dataclass
class Edit:
    """One damage: what was done, and where.

    Attributes
    ----------
    what : str
        In words, for the report of anything bad.
    files : dict
        New content of files; None deletes; a function is called with the path.
    place : tuple of (str, int, str) or None
        File, row and column of the one cell that was changed.
    order_only : bool
        Whether the package means the same as before.
    """

    what: str
    files: dict[str, bytes | Callable[[Path], None] | None]
    place: tuple[str, int, str] | None = None
    order_only: bool = False


@dataclass
class Source:
    """The undamaged package, parsed."""

    files: dict[str, bytes]
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    schema: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> Source:
        source = cls({path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()})
        source.schema = json.loads(source.files["datapackage.json"])
        for table in TABLES:
            text = source.files[f"{table}.csv"].decode("utf-8")
            source.tables[table] = list(csv.reader(io.StringIO(text, newline="")))
        return source

    def fields(self, table: str) -> list[dict[str, Any]]:
        resource = next(r for r in self.schema["resources"] if r["name"] == table)
        return resource["schema"]["fields"]

    def copy(self, table: str) -> list[list[str]]:
        return [list(row) for row in self.tables[table]]


Maker = Callable[[random.Random, Source], Edit]
EDITS: dict[str, Maker] = {}


def edit(name: str) -> Callable[[Maker], Maker]:
    def register(maker: Maker) -> Maker:
        EDITS[name] = maker
        return maker

    return register


def written(rows: list[list[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def some_table(rng: random.Random) -> str:
    """A table; the ones that the estimates rest on more often."""
    return rng.choice([*TABLES, "extraction", "extraction", "cohorts"])


def some_cell(rng: random.Random, source: Source, table: str) -> tuple[int, int]:
    """Row and column of a cell; filled ones, and rows in use, more often."""
    rows = source.tables[table]
    best = (1, 0)
    for _ in range(4):
        best = (rng.randrange(1, len(rows)), rng.randrange(len(rows[0])))
        row = rows[best[0]]
        dull = table == "extraction" and row[rows[0].index("status")] != "used"
        if row[best[1]] and not dull:
            break
    return best


def set_cell(source: Source, table: str, row: int, column: int, text: str) -> Edit:
    rows = source.copy(table)
    name, before = rows[0][column], rows[row][column]
    rows[row][column] = text
    what = f"{table}.csv, row {row + 1}, {name}: {before[:80]!a} to {text[:80]!a}"
    return Edit(what, {f"{table}.csv": written(rows)}, (f"{table}.csv", row + 1, name))


def cell_edit(name: str, choose: Callable[[random.Random, str, dict[str, Any]], str]) -> None:
    """Register a class of edits that puts a new text into one cell."""

    @edit(name)
    def make(rng: random.Random, source: Source) -> Edit:
        table = some_table(rng)
        row, column = some_cell(rng, source, table)
        before = source.tables[table][row][column]
        text = choose(rng, before, source.fields(table)[column])
        return set_cell(source, table, row, column, text)


def random_value(rng: random.Random, described: dict[str, Any]) -> str:
    """A value that the type of a column admits."""
    constraints = described.get("constraints", {})
    if "enum" in constraints:
        return rng.choice(constraints["enum"])
    low, high = constraints.get("minimum", 0), constraints.get("maximum", rng.choice([20, 300]))
    if described["type"] == "integer":
        return str(rng.randint(math.ceil(low), math.floor(high)))
    if described["type"] == "number":
        return f"{rng.uniform(low, high):.{rng.randint(1, 2)}f}"
    words = ["other", "patients", "of", "5", "10", "median", "(n = 7)", "Table", "2", "é", "≥3"]
    return " ".join(rng.choices(words, k=rng.randint(1, 6)))


@edit("cell: another of its column")
def _(rng: random.Random, source: Source) -> Edit:
    table = some_table(rng)
    row, column = some_cell(rng, source, table)
    others = {r[column] for r in source.tables[table][1:]} - {source.tables[table][row][column]}
    return set_cell(source, table, row, column, rng.choice(sorted(others) or [""]))


cell_edit("cell: random value of its type", lambda rng, old, f: random_value(rng, f))
cell_edit(
    "cell: wrong type",
    lambda rng, old, f: rng.choice(
        ["abc", "yes", "12/14", "[1]", "{}", "null", "2015-01-01", "7 of 10"]
        if f["type"] != "string"
        else ["3", "0", "true", "1.5", "null", "None", "[]", "{}"]
    ),
)
cell_edit("cell: emptied", lambda rng, old, f: "")


@edit("cell: identifier changed")
def _(rng: random.Random, source: Source) -> Edit:
    table = some_table(rng)
    key = next(r for r in source.schema["resources"] if r["name"] == table)["schema"]["primaryKey"]
    rows = source.tables[table]
    row = rng.randrange(1, len(rows))
    name = rows[row][rows[0].index(rng.choice(key))]
    new = rng.choice([name + "x", name[:-1], name.upper(), f"{name}-2", "con", "x" * 300, "../x"])
    return set_cell(source, table, row, rows[0].index(rng.choice(key)), new)


@edit("cells: several at once")
def _(rng: random.Random, source: Source) -> Edit:
    files: dict[str, bytes | Callable[[Path], None] | None] = {}
    told = []
    for table in {some_table(rng): 0 for _ in range(2)}:
        rows = source.copy(table)
        for _ in range(rng.randint(2, 5)):
            row, column = some_cell(rng, source, table)
            rows[row][column] = random_value(rng, source.fields(table)[column])
            told.append(f"{table}.csv, row {row + 1}, {rows[0][column]}: {rows[row][column]!a}")
        files[f"{table}.csv"] = written(rows)
    return Edit("; ".join(told), files)


@edit("count: another plausible one")
def _(rng: random.Random, source: Source) -> Edit:
    rows = source.copy("extraction")
    at = {name: i for i, name in enumerate(rows[0])}
    counted = [i for i, r in enumerate(rows) if i and r[at["events"]] and r[at["total"]]]
    row = rng.choice([i for i in counted if rows[i][at["status"]] == "used"])
    total = int(rows[row][at["total"]]) + rng.choice([0, 0, 1, 5])
    events = rng.choice([0, total, rng.randint(0, total)])
    rows[row][at["events"]], rows[row][at["total"]] = str(events), str(total)
    if rng.random() < 0.7:
        rows[row][at["percent"]] = ""
    what = f"extraction.csv, row {row + 1}: {events} of {total}"
    return Edit(what, {"extraction.csv": written(rows)})


@edit("row: dropped")
def _(rng: random.Random, source: Source) -> Edit:
    table = some_table(rng)
    rows = source.copy(table)
    row = rng.randrange(1, len(rows))
    gone = rows.pop(row)
    return Edit(f"{table}.csv without row {row + 1}, {gone[0]}", {f"{table}.csv": written(rows)})


@edit("rows: all of one outcome, cohort or report dropped")
def _(rng: random.Random, source: Source) -> Edit:
    table = rng.choice(["extraction", "extraction", "overlaps", "published_pools", "claims"])
    rows = source.copy(table)
    names = ["outcome", "cohort_id", "report_id", "status", "cohort_a", "kind", "disease"]
    column = rng.choice([i for i, name in enumerate(rows[0]) if name in names])
    gone = rng.choice(rows[1:])[column]
    kept = [row for i, row in enumerate(rows) if not i or row[column] != gone]
    what = f"{table}.csv without {rows[0][column]} {gone}"
    return Edit(what, {f"{table}.csv": written(kept)})


@edit("row: duplicated")
def _(rng: random.Random, source: Source) -> Edit:
    table = some_table(rng)
    rows = source.copy(table)
    row = rng.randrange(1, len(rows))
    rows.insert(rng.randrange(1, len(rows) + 1), rows[row])
    return Edit(f"{table}.csv with row {row + 1} twice", {f"{table}.csv": written(rows)})


@edit("row: new, made of other rows")
def _(rng: random.Random, source: Source) -> Edit:
    table = some_table(rng)
    rows = source.copy(table)
    made = [rng.choice(rows[1:])[i] for i in range(len(rows[0]))]
    if rng.random() < 0.7:
        made = list(rng.choice(rows[1:]))
        for _ in range(rng.randint(1, 4)):
            column = rng.randrange(len(made))
            made[column] = random_value(rng, source.fields(table)[column])
    if table == "extraction":
        at = {name: i for i, name in enumerate(rows[0])}
        names = [made[at[name]] for name in ("cohort_id", "outcome", "report_id")]
        made[0] = ".".join([names[0], names[1].replace("_", "-"), names[2], "77"])
    rows.append(made)
    return Edit(f"{table}.csv with {made!a}", {f"{table}.csv": written(rows)})


@edit("rows: two swapped")
def _(rng: random.Random, source: Source) -> Edit:
    table = some_table(rng)
    rows = source.copy(table)
    a, b = rng.sample(range(1, len(rows)), 2)
    rows[a], rows[b] = rows[b], rows[a]
    what = f"{table}.csv, rows {a + 1} and {b + 1} swapped"
    return Edit(what, {f"{table}.csv": written(rows)}, order_only=True)


@edit("rows: shuffled")
def _(rng: random.Random, source: Source) -> Edit:
    table = some_table(rng)
    head, *rows = source.copy(table)
    rng.shuffle(rows)
    return Edit(f"{table}.csv shuffled", {f"{table}.csv": written([head, *rows])}, order_only=True)


@edit("columns: values swapped")
def _(rng: random.Random, source: Source) -> Edit:
    table = some_table(rng)
    head, *rows = source.copy(table)
    a, b = rng.sample(range(len(head)), 2)
    for row in rows:
        row[a], row[b] = row[b], row[a]
    what = f"{table}.csv, values of {head[a]} and {head[b]} swapped"
    return Edit(what, {f"{table}.csv": written([head, *rows])})


@edit("columns: headers swapped")
def _(rng: random.Random, source: Source) -> Edit:
    table = some_table(rng)
    rows = source.copy(table)
    a, b = rng.sample(range(len(rows[0])), 2)
    rows[0][a], rows[0][b] = rows[0][b], rows[0][a]
    what = f"{table}.csv, headers {rows[0][b]} and {rows[0][a]} swapped"
    return Edit(what, {f"{table}.csv": written(rows)})


@edit("columns: moved, with the schema")
def _(rng: random.Random, source: Source) -> Edit:
    table = some_table(rng)
    rows = source.copy(table)
    a, b = rng.sample(range(len(rows[0])), 2)
    for row in rows:
        row[a], row[b] = row[b], row[a]
    schema = json.loads(source.files["datapackage.json"])
    fields = next(r for r in schema["resources"] if r["name"] == table)["schema"]["fields"]
    fields[a], fields[b] = fields[b], fields[a]
    files = {f"{table}.csv": written(rows), "datapackage.json": json.dumps(schema).encode()}
    what = f"{table}.csv and schema, columns {a} and {b} moved"
    return Edit(what, dict(files), order_only=True)


@edit("column: dropped")
def _(rng: random.Random, source: Source) -> Edit:
    table = some_table(rng)
    rows = source.copy(table)
    column = rng.randrange(len(rows[0]))
    name = rows[0][column]
    for row in rows:
        del row[column]
    return Edit(f"{table}.csv without {name}", {f"{table}.csv": written(rows)})


@edit("column: added")
def _(rng: random.Random, source: Source) -> Edit:
    table = some_table(rng)
    rows = source.copy(table)
    column = rng.randrange(len(rows[0]) + 1)
    name = rng.choice(["extra", "", "note", rows[0][0]])
    for i, row in enumerate(rows):
        row.insert(column, rng.choice(["", "1", "x"]) if i else name)
    return Edit(f"{table}.csv with column {name!a}", {f"{table}.csv": written(rows)})


@edit("column: renamed")
def _(rng: random.Random, source: Source) -> Edit:
    table = some_table(rng)
    rows = source.copy(table)
    column = rng.randrange(len(rows[0]))
    name = rows[0][column]
    rows[0][column] = rng.choice([name.upper(), f"{name} ", f"{name}s", "", "x", "<b>"])
    what = f"{table}.csv, {name} renamed {rows[0][column]!a}"
    return Edit(what, {f"{table}.csv": written(rows)})


@edit("column: dropped, with the schema")
def _(rng: random.Random, source: Source) -> Edit:
    table = some_table(rng)
    rows = source.copy(table)
    column = rng.randrange(len(rows[0]))
    name = rows[0][column]
    for row in rows:
        del row[column]
    schema = json.loads(source.files["datapackage.json"])
    del next(r for r in schema["resources"] if r["name"] == table)["schema"]["fields"][column]
    files = {f"{table}.csv": written(rows), "datapackage.json": json.dumps(schema).encode()}
    return Edit(f"{table}.csv and schema without {name}", dict(files))


# ----- encodings, characters, markup


def file_edit(name: str, change: Callable[[random.Random, bytes], bytes]) -> None:
    """Register a class of edits that changes the bytes of a file."""

    @edit(name)
    def make(rng: random.Random, source: Source) -> Edit:
        table = rng.choice([f"{some_table(rng)}.csv"] * 4 + ["datapackage.json"])
        return Edit(f"{table}: {name}", {table: change(rng, source.files[table])})


def insert(rng: random.Random, data: bytes, piece: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + piece + data[at:]


def latin1(rng: random.Random, data: bytes) -> bytes:
    text = data.decode("utf-8")
    at = rng.randrange(len(text))
    text = text[:at] + rng.choice("éüß°µ") + text[at:]
    return text.encode(rng.choice(["latin-1", "cp1252"]), "replace")


file_edit("encoding: Latin-1", latin1)
file_edit(
    "encoding: UTF-16 or UTF-32",
    lambda rng, data: data.decode().encode(rng.choice(["utf-16", "utf-16-le", "utf-32"])),
)
file_edit("encoding: byte order mark", lambda rng, data: b"\xef\xbb\xbf" + data)
file_edit("encoding: random byte", lambda rng, data: insert(rng, data, rng.randbytes(1)))
file_edit("line ends: CRLF", lambda rng, data: data.replace(b"\n", b"\r\n"))
file_edit("line ends: CR", lambda rng, data: data.replace(b"\n", b"\r"))
file_edit(
    "line ends: one CR or blank line", lambda rng, d: insert(rng, d, rng.choice([b"\r", b"\n\n"]))
)
file_edit(
    "separators: quote or comma",
    lambda rng, data: rng.choice(
        [
            insert(rng, data, b'"'),
            insert(rng, data, b","),
            data.replace(b",", b";"),
            data.replace(b'"', b"'"),
            data.replace(b",", b"\t"),
        ]
    ),
)

cell_edit(
    "characters: line break in a cell",
    lambda rng, old, f: rng.choice([f"{old}\n", f"\n{old}", f"{old} a\nb", f"{old}\r\nb", "\n"]),
)
cell_edit(
    "characters: NUL and control",
    lambda rng, old, f: (
        old + rng.choice("\x00\x01\x08\x0b\x1b\x7f\x85\x9b") + rng.choice(["", "x"])
    ),
)
cell_edit(
    "characters: direction and zero width",
    lambda rng, old, f: rng.choice("\u202e\u2066\u200f\u200b\u2060\ufeff\u061c\u00ad\u2028") + old,
)
cell_edit(
    "characters: rare but valid",
    lambda rng, old, f: (
        (old + " " if old else "")
        + rng.choice(
            ["𝒳", "👩🏽‍🔬", "e\u0301", "ﷺ", "中文", "\u0e01\u0e33", "Z̷̧a", "\ud800", "\U0010fffe"]
        )
    ),
)


@edit("characters: endless text")
def _(rng: random.Random, source: Source) -> Edit:
    table = rng.choice(["cohorts", "outcomes", "extraction", "reports", "published_pools"])
    texts = [i for i, f in enumerate(source.fields(table)) if "constraints" not in f]
    texts += [i for i, f in enumerate(source.fields(table)) if "label" in f["name"]]
    row = rng.randrange(1, len(source.tables[table]))
    text = rng.choice(["W" * 110, "W" * 1999, "x " * 900 + "x", "<b>" * 600, "W" * 10**6])
    return set_cell(source, table, row, rng.choice(texts), text)


cell_edit(
    "injection: formula",
    lambda rng, old, f: rng.choice(
        [
            "=1+1",
            '=HYPERLINK("http://x","y")',
            "+1",
            "-2+3",
            "@SUM(A1)",
            "=cmd|' /C calc'!A0",
            "\t=1",
            " =1",
            "＝1",
            "%0A=1",
        ]
    ),
)
cell_edit(
    "injection: script and HTML",
    lambda rng, old, f: rng.choice(
        [
            f"<img src=x onerror={CANARY}(1)>",
            f"<script>{CANARY}(1)</script>",
            f'"><svg onload={CANARY}(1)>',
            f"' onmouseover='{CANARY}(1)",
            f"</td></tr></table></details><h1>{CANARY}</h1>",
            f"</script><script>{CANARY}(1)</script>",
            f"<!-- {CANARY} <style>*{{display:none}}</style>",
            f"javascript:{CANARY}(1)",
            f"<iframe src=javascript:{CANARY}(1)>",
            f"&lt;b onclick={CANARY}&gt;",
            f"]]><a href='javascript:{CANARY}'>x</a>",
        ]
    ),
)
cell_edit(
    "injection: Markdown and MyST",
    lambda rng, old, f: rng.choice(
        [
            f"{{{{ {CANARY} }}}}",
            f"$$ {CANARY} $$",
            f"\\({CANARY}\\)",
            f"``` {CANARY}",
            f"[x](javascript:{CANARY}(1))",
            f"](javascript:{CANARY}(1))",
            f"![x](x){CANARY}",
            f"{{include}}`/etc/passwd` {CANARY}",
            f"{{raw}} html <b>{CANARY}</b>",
            f"<{CANARY}@x.org>",
            f"::: {CANARY}",
            f"{{0}} {{x!r}} %s %(x)s {CANARY}",
            f"$\\frac{{1}} {CANARY}$",
        ]
    ),
)
cell_edit(
    "numbers: absurd",
    lambda rng, old, f: rng.choice(
        [
            str(10**30),
            "-1",
            "1e309",
            "NaN",
            "inf",
            "-inf",
            "0",
            "1.5",
            "999999999",
            "-0",
            "0.000000001",
            "99999999999",
            "1/0",
        ]
    ),
)
cell_edit(
    "numbers: other notations",
    lambda rng, old, f: rng.choice(
        [
            "1,000",
            "1.000,5",
            "٣",
            "１",
            "७",
            "1 000",
            "1_0",
            "+1",
            "007",
            "0x10",
            "1e3",
            "²",
            "½",
            "50%",
        ]
    ),
)


@edit("numbers: absurd, in a number column")
def _(rng: random.Random, source: Source) -> Edit:
    table = rng.choice(["extraction", "cohorts", "published_pools"])
    columns = [i for i, f in enumerate(source.fields(table)) if f["type"] != "string"]
    column, row = rng.choice(columns), rng.randrange(1, len(source.tables[table]))
    used = [
        i
        for i, r in enumerate(source.tables[table])
        if i and r[column] and (table != "extraction" or "used" in r)
    ]
    if used and rng.random() < 0.8:
        row = rng.choice(used)
    numbers = ["0", "1", "999999999", "100", "99.9", "0.1", "1.5", "-5", "1e3", "50", "2000"]
    return set_cell(source, table, row, column, rng.choice(numbers))


# ----- files


file_edit("file: truncated", lambda rng, data: data[: rng.randrange(1, len(data))])
file_edit("file: empty", lambda rng, data: b"")
file_edit("file: random bytes", lambda rng, data: rng.randbytes(rng.choice([1, 50, 5000])))


def place_edit(name: str, put: Callable[[Path], None] | None) -> None:
    @edit(name)
    def make(rng: random.Random, source: Source) -> Edit:
        file = rng.choice([f"{table}.csv" for table in TABLES] * 2 + ["datapackage.json"])
        return Edit(f"{file}: {name}", {file: put})


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def pipe(path: Path) -> None:
    import os

    os.mkfifo(path)


place_edit("file: missing", None)
place_edit("file: a folder in its place", lambda path: path.mkdir())
place_edit("file: a link to itself", loop)
place_edit("file: a named pipe", pipe)


@edit("file: another table in its place")
def _(rng: random.Random, source: Source) -> Edit:
    a, b = rng.sample(TABLES, 2)
    return Edit(f"{a}.csv is {b}.csv", {f"{a}.csv": source.files[f"{b}.csv"]})


@edit("pinned file: damaged")
def _(rng: random.Random, source: Source) -> Edit:
    file = rng.choice(PINNED)
    data = source.files[file]
    name, new = rng.choice(
        [
            ("truncated", data[: rng.randrange(len(data))]),
            ("empty", b""),
            ("missing", None),
            ("a folder", lambda path: path.mkdir()),
            ("a link to itself", loop),
            ("UTF-16", data.decode().encode("utf-16")),
            ("Latin-1", "é".encode("latin-1") + data),
            ("a NUL", insert(rng, data, b"\0")),
            ("a digit more", insert(rng, data, b"7")),
            ("a quote", insert(rng, data, b'"')),
            ("null", b"null"),
            ("a number", b"7"),
            ("a list of numbers", b"[1, 2]"),
            ("nested", b"[" * 100_000),
            ("its header", data.split(b"\n")[0] + b"\n"),
        ]
    )
    return Edit(f"{file}: {name}", {file: new})


# ----- the schema


def schema_edit(name: str, change: Callable[[random.Random, dict[str, Any]], str]) -> None:
    @edit(name)
    def make(rng: random.Random, source: Source) -> Edit:
        schema = json.loads(source.files["datapackage.json"])
        what = change(rng, schema)
        return Edit(f"datapackage.json: {what}", {"datapackage.json": json.dumps(schema).encode()})


def some_field(rng: random.Random, schema: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    resource = rng.choice(schema["resources"])
    return resource["name"], rng.choice(resource["schema"]["fields"])


def retype(rng: random.Random, schema: dict[str, Any]) -> str:
    table, found = some_field(rng, schema)
    kinds = ["integer", "number", "string", "date", "any", "boolean", "", None, 3, ["string"]]
    found["type"] = rng.choice([kind for kind in kinds if kind != found["type"]])
    return f"{table}.{found['name']} has type {found['type']!r}"


def unconstrain(rng: random.Random, schema: dict[str, Any]) -> str:
    table, found = some_field(rng, schema)
    while not found.get("constraints"):
        table, found = some_field(rng, schema)
    name = rng.choice(sorted(found["constraints"]))
    del found["constraints"][name]
    return f"{table}.{found['name']} without {name}"


def reconstrain(rng: random.Random, schema: dict[str, Any]) -> str:
    table, found = some_field(rng, schema)
    name, value = rng.choice(
        [
            ("minimum", 10**6),
            ("minimum", "x"),
            ("maximum", 3),
            ("enum", ["x"]),
            ("enum", []),
            ("enum", "x"),
            ("enum", [1, None]),
            ("pattern", "(a+)+$"),
            ("pattern", "("),
            ("pattern", 7),
            ("required", True),
            ("required", "yes"),
            ("unique", True),
            ("unheard", 1),
            ("maxLength", 1),
            ("minLength", -1),
        ]
    )
    found.setdefault("constraints", {})[name] = value
    return f"{table}.{found['name']} with {name} {value!r}"


def paths(rng: random.Random, schema: dict[str, Any]) -> str:
    resource = rng.choice(schema["resources"])
    resource["path"] = rng.choice(
        [
            f"../{resource['path']}",
            f"../data/{resource['path']}",
            f"./{resource['path']}",
            f"/etc/{resource['path']}",
            "https://localhost:9/x.csv",
            [resource["path"]],
            [resource["path"], "../x.csv"],
            "",
            None,
            {"a": 1},
            f"{resource['path']}\x00",
            "/dev/zero",
        ]
    )
    return f"{resource['name']} at {resource['path']!r}"


def keys(rng: random.Random, schema: dict[str, Any]) -> str:
    table = rng.choice(schema["resources"])
    name = rng.choice(["primaryKey", "foreignKeys"])
    values = [None, [], "x", ["x"], 7, [{}], [{"fields": ["x"]}], {"a": 1}, [["a"]]]
    values.append(
        [{"fields": ["report_id"], "reference": {"resource": "nowhere", "fields": ["a"]}}]
    )
    value = rng.choice(values)
    table["schema"][name] = value
    return f"{table['name']}.{name} is {value!r}"


def everywhere(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    items = (
        node.items() if isinstance(node, dict) else enumerate(node) if type(node) is list else ()
    )
    for name, child in items:
        yield from everywhere(child, (*at, name))


def mutate(rng: random.Random, schema: dict[str, Any]) -> str:
    depth = rng.randint(1, 6)
    places = [at for at in everywhere(schema) if len(at) <= depth]
    *way, last = rng.choice(places)
    node: Any = schema
    for name in way:
        node = node[name]
    if rng.random() < 0.3:
        del node[last]
        return f"without {[*way, last]}"
    node[last] = rng.choice([None, 0, -1, "", "x", [], {}, True, 1e300, [[]], {"x": 1}, "<b>", "é"])
    return f"{[*way, last]} is {node[last]!r}"


schema_edit("schema: field type changed", retype)
schema_edit("schema: constraint removed", unconstrain)
schema_edit("schema: constraint changed", reconstrain)
schema_edit("schema: another path", paths)
schema_edit("schema: keys changed", keys)
schema_edit("schema: any part changed", mutate)


@edit("schema: constraint removed, and a cell against it")
def _(rng: random.Random, source: Source) -> Edit:
    schema = json.loads(source.files["datapackage.json"])
    table, found = some_field(rng, schema)
    while not found.get("constraints"):
        table, found = some_field(rng, schema)
    gone = found.pop("constraints")
    bad = {"required": "", "enum": "x", "minimum": "-5", "maximum": "5000", "pattern": "A B"}
    kinds = [name for name in gone if name in bad]
    text = bad[rng.choice(kinds)]
    head = source.tables[table][0]
    row = rng.randrange(1, len(source.tables[table]))
    made = set_cell(source, table, row, head.index(found["name"]), text)
    made.files["datapackage.json"] = json.dumps(schema).encode()
    made.what += f"; {table}.{found['name']} without constraints"
    return made


@edit("schema: nested without end, or huge")
def _(rng: random.Random, source: Source) -> Edit:
    data = source.files["datapackage.json"]
    name, new = rng.choice(
        [
            ("100,000 brackets", b"[" * 100_000),
            ("50,000 levels", b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
            ("900 levels in a known place", data.replace(b'"string"', b"[" * 900 + b"]" * 900, 1)),
            ("a number of 5,000 digits", data.replace(b"1990", b"9" * 5_000, 1)),
            ("a name of a megabyte", data.replace(b'"resources"', b'"' + b"x" * 10**6 + b'"', 1)),
            ("NaN", data.replace(b"1990", b"NaN", 1)),
            ("a key twice", data.replace(b"{", b'{"resources": [], ', 1)),
            (
                "a description of a megabyte",
                data.replace(b'"title"', b'"x":"' + b"y" * 10**6 + b'","title"', 1),
            ),
            ("a lone surrogate", data.replace(b'"title": "', b'"title": "\\ud800', 1)),
        ]
    )
    return Edit(f"datapackage.json: {name}", {"datapackage.json": new})


# --------------------------------------------------------------------------- what becomes of it


class Bad(Exception):
    """The edit ended in a way that it must not."""


class TooSlow(BaseException):
    """A step took longer than anybody waits; no `except Exception` may keep it."""


def _too_slow(signum: int, frame: Any) -> None:
    raise TooSlow


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Raise `TooSlow` after so much processor time, or six times as long by the clock."""
    seconds = PATIENCE
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, _too_slow)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 6 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def remembered_pools() -> Iterator[None]:
    """Pool equal counts once: pooling is a function of its arguments, and most edits keep them."""
    found: dict[Any, Any] = {}
    true = {name: getattr(pooling, name) for name in ("pool", "pool_many")}

    def key(value: Any) -> Any:
        if hasattr(value, "tobytes") and value.dtype.kind in "iufb":
            return value.tobytes(), str(value.dtype), value.shape
        if isinstance(value, (list, tuple)):
            return tuple(key(part) for part in value)
        return repr(value)

    def remember(name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            asked = (name, key(args), key(sorted(options.items())))
            if asked not in found:
                found[asked] = true[name](*args, **options)
            return found[asked]

        return call

    for name in true:
        setattr(pooling, name, remember(name))
    try:
        yield
    finally:
        for name, function in true.items():
            setattr(pooling, name, function)


class Elements(HTMLParser):
    """Names of the elements of a page, of their attributes, and the addresses in them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.names: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names[tag] += 1
        for name, value in attrs:
            self.attributes.add(name)
            if name in {"href", "src", "action", "xlink:href", "formaction", "data"}:
                self.addresses.append(value or "")


#: Cells of a chapter, as Python source.
Cells = list[str]


def chapters() -> dict[str, Cells]:
    found = {}
    for path in sorted((ROOT / "chapters").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        cells = re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        # the study of the methods stands on simulated data
        if cells and "analysis.calibration" not in text:
            found[path.stem] = [re.sub(r"^:.*\n", "", cell, flags=re.MULTILINE) for cell in cells]
    return found


#: Chapters that show the cells of a table, besides the one about the data.
SHOWN = {
    "claims": ("claims",),
    "resolutions": ("can-these-numbers-be-right",),
    "published_pools": ("published-pools",),
    "pipeline": (),
    "appraisal": ("appraisal",),
    "prisma": ("prisma",),
}


class Project:
    """The undamaged package with its results, and a place to damage copies of it.

    Parameters
    ----------
    folder : Path
        An empty folder for the copies.
    pages : bool
        Whether to make the pages of the chapters; without, only those of the data chapter.
    """

    def __init__(self, folder: Path, pages: bool = True) -> None:
        self.pages = pages
        self.folder = folder / "data"
        shutil.copytree(DATA_DIR, self.folder)
        self.chapters = chapters()
        self.known: dict[str, Elements] = {}
        self.dataset = load(self.folder)
        self.records = list(publish.records(self.dataset))
        publish.write(self.records, self.folder)
        self.conflicts = conflicts.conflicts(self.dataset)
        conflicts.write(self.conflicts, self.folder)
        self.source = Source.of(self.folder)

    def try_edit(self, made: Edit, rng: random.Random) -> tuple[str, str]:
        """Make an edit and return how it ended, with a detail."""
        try:
            for name, new in made.files.items():
                self._put(name, new)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return self._judge(made, rng)
        except Bad as error:
            return "bad", str(error)
        except TooSlow:
            return "bad", f"takes longer than {PATIENCE:g} s"
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [f for f in frames if f"{ROOT / 'analysis'}" in f.filename] or frames
            at = f"{Path(ours[-1].filename).name}, {ours[-1].name}, line {ours[-1].lineno}"
            return "bad", f"{type(error).__name__} at {at}: {str(error)[:200]}"
        finally:
            for name in made.files:
                self._put(name, self.source.files[name])

    def _put(self, name: str, new: bytes | Callable[[Path], None] | None) -> None:
        path = self.folder / name
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        if callable(new):
            new(path)
        elif new is not None:
            path.write_bytes(new)

    def _judge(self, made: Edit, rng: random.Random) -> tuple[str, str]:
        try:
            with patience():
                dataset = load(self.folder)
        except DataError as error:
            return "finding", self._findings(made, error.findings)
        with patience():
            problems = usable.problems(dataset)
        if problems:
            return "finding", self._findings(made, problems)
        with patience():
            records = list(publish.records(dataset))
            publish.to_json(records)
            lines = publish.compare(records, self.folder)
        damaged = any(name in PINNED for name in made.files)
        changed = self._changed(records)
        named = {
            line.split(",")[0] for line in lines if not re.search(r", data_(sha256|version):", line)
        }
        if changed - named and not damaged:
            raise Bad(f"estimates changed and the comparison is silent: {sorted(changed - named)}")
        sha = dataset.sha256 != self.dataset.sha256
        bytes_differ = any(
            new != self.source.files[name] for name, new in made.files.items() if name not in PINNED
        )
        if sha != bytes_differ:
            raise Bad("the digest of the data does not tell whether the files changed")
        if changed and made.order_only:
            raise Bad(f"only the order changed, and so did {sorted(changed)}")
        self._sound(records)
        with patience():
            found = conflicts.conflicts(dataset)
            moved = conflicts.compare(found, self.folder)
            for problem in conflicts.unmatched(dataset, tuple(c.finding for c in found)):
                moved.append(str(problem))
        if conflicts.to_csv(found) != conflicts.to_csv(self.conflicts) and not moved:
            raise Bad("findings about the sources changed and the comparison is silent")
        self._render(dataset, made, rng)
        if damaged:
            return ("visible", "pinned file") if lines or moved else ("unchanged", "")
        if changed:
            return "visible", "estimate"
        return ("visible", "finding about the sources") if moved else ("unchanged", "")

    def _findings(self, made: Edit, findings: list[Finding]) -> str:
        """Hold findings to what a reader needs; return how near they are to the edit."""
        for finding in findings:
            text = str(finding)
            if not text.isprintable() or len(text) > 1000 or not finding.message:
                raise Bad(f"a finding that cannot be read: {text[:300]!a}")
            if finding.file not in self.source.files:
                raise Bad(f"a finding about an unknown file: {text[:300]!a}")
            whole = finding.file == "datapackage.json" or re.search(r"missing|cannot be read", text)
            if finding.row < 1 and not whole:
                raise Bad(f"a finding without a row: {text[:300]!a}")
            if re.search(r"\b(Traceback|object at 0x|NoneType)\b", text):
                raise Bad(f"a finding in the words of a program: {text[:300]!a}")
        if not {f.file for f in findings} & set(made.files) and made.place is None:
            # what refers to a row that is gone
            derived = re.compile(r"is not in|differs|there is no|has no|no trial")
            if (
                not any(derived.search(f.message) for f in findings)
                and "datapackage.json" not in made.files
            ):
                raise Bad(f"findings about other files only: {findings[0]}")
        if made.place is None:
            return ""
        file, row, _ = made.place
        if any((f.file, f.row, f.column) == made.place for f in findings):
            return "cell"
        if any((f.file, f.row) == (file, row) for f in findings):
            return "row"
        return "what depends on it"

    def _changed(self, records: list[dict[str, Any]]) -> set[str]:
        aside = ("data_sha256", "data_version", "estimate_id")
        before = {r["estimand_id"]: r for r in self.records}
        return {
            r["estimand_id"]
            for r in records
            if any(r[name] != before[r["estimand_id"]][name] for name in r if name not in aside)
        }

    def _sound(self, records: list[dict[str, Any]]) -> None:
        for record in records:
            at = record["estimand_id"]
            if not 0 <= record["events"] <= record["patients"]:
                raise Bad(f"{at}: {record['events']} events of {record['patients']}")
            for name in publish.NUMBERS:
                value = record[name]
                if value is not None and value != "inf" and not math.isfinite(value):
                    raise Bad(f"{at}: {name} is {value}")
            three = [record[name] for name in ("ci_low", "estimate", "ci_high")]
            if record["estimate"] is not None and not 0 <= three[0] <= three[1] <= three[2] <= 1:
                raise Bad(f"{at}: estimate and interval are {three}")

    # ----- pages

    def _render(self, dataset: Any, made: Edit, rng: random.Random) -> None:
        names = ["data"]
        tables = {name.removesuffix(".csv") for name in made.files} & set(TABLES)
        if self.pages and tables:
            others = [name for name in self.chapters if name != "data"]
            wanted = {name for table in sorted(tables) for name in SHOWN.get(table, others)}
            hostile = CANARY in made.what
            more = sorted(wanted)
            if hostile or len(more) == 1 or rng.random() < PAGES:
                names += rng.sample(more, min(2 if hostile else 1, len(more)))
        for name in names:
            for cell, text in self._page(name, dataset):
                self._harmless(f"{name}, {cell}", text, made)

    def _page(self, name: str, dataset: Any) -> list[tuple[str, str]]:
        """Run the cells of a chapter on a data set and return what they show."""
        true = chapter.dataset
        chapter.dataset = lambda: dataset  # type: ignore[assignment]
        published._examined.cache_clear()
        shown = []
        space: dict[str, Any] = {}
        try:
            for cell in self.chapters[name]:
                tree = ast.parse(cell)
                last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
                with patience(), contextlib.redirect_stdout(io.StringIO()) as printed:
                    exec(compile(tree, name, "exec"), space)
                    if last is not None:
                        code = compile(ast.Expression(last.value), name, "eval")
                        value = eval(code, space)
                if printed.getvalue():
                    raise Bad(f"{name} prints {printed.getvalue()[:100]!r}")
                if last is not None:
                    asked = ast.unparse(last)
                    if value is not None and not isinstance(value, Html):
                        raise Bad(f"{name}, {asked}: shows {type(value).__name__}, not Html")
                    shown.append((asked, str(value)))
        finally:
            chapter.dataset = true
            published._examined.cache_clear()
        return shown

    def _harmless(self, where: str, text: str, made: Edit) -> None:
        """Hold the elements of a page to those of the page of the undamaged package."""
        if CANARY not in text and CANARY not in made.what:
            return
        if where not in self.known:
            for cell, good in self._page(where.split(",")[0], self.dataset):
                self.known[f"{where.split(',')[0]}, {cell}"] = Elements(good)
        good, seen = self.known[where], Elements(text)
        new = set(seen.names) - set(good.names)
        if new or seen.attributes - good.attributes:
            raise Bad(f"{where}: new elements {sorted(new | seen.attributes - good.attributes)}")
        for name in ("script", "style", "iframe", "img", "form", "h1", "link", "object"):
            if seen.names[name] > good.names[name]:
                raise Bad(f"{where}: one more {name}")
        for address in seen.addresses:
            if re.match(r"\s*(javascript|vbscript|data:text/html)", address, re.IGNORECASE):
                raise Bad(f"{where}: a link to {address[:60]}")


# --------------------------------------------------------------------------- the run


def run(
    edits: range, seed: int, project: Project | None = None, *, progress: bool = False
) -> dict[str, Any]:
    """Try edits, each class in turn, and count how they end.

    Parameters
    ----------
    edits : range
        Their numbers; the class of an edit is its number modulo the number of classes.
    seed : int
        Decides every edit.
    project : Project, optional
        Where to make them; a new one by default.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict
        The report; the same arguments on the same data and code give the same report.
    """
    steps: Any = edits
    if progress:
        from rich.console import Console
        from rich.progress import track

        steps = track(steps, "damaging", console=Console(stderr=True))
    names = list(EDITS)
    counts = {name: Counter() for name in names}
    places: Counter[str] = Counter()
    bad = []
    with tempfile.TemporaryDirectory() as folder, remembered_pools():
        project = project or Project(Path(folder))
        for i in steps:
            name = names[i % len(names)]
            rng = random.Random(f"{seed} {i}")
            made = EDITS[name](rng, project.source)
            outcome, detail = project.try_edit(made, rng)
            counts[name][outcome] += 1
            if outcome == "finding" and detail:
                places[detail] += 1
            if outcome == "visible":
                counts[name][f"visible: {detail}"] += 1
            if outcome == "bad":
                bad.append({"edit": i, "class": name, "what": made.what[:400], "how": detail})
                if progress:
                    print(f"{i} {name}: {made.what[:200]}\n    {detail}", file=sys.stderr)
        digest, data_version = project.dataset.sha256, project.dataset.version
    tried = {name: sum(found[o] for o in OUTCOMES) for name, found in counts.items()}
    return {
        "edits": len(edits),
        "seed": seed,
        "data_version": data_version,
        "data_sha256": digest,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("frictionless", "numpy", "pandas", "scipy")},
        },
        "outcomes": {o: sum(found[o] for found in counts.values()) for o in OUTCOMES},
        "findings_on_one_cell": dict(sorted(places.items())),
        "classes": [
            {"class": name, "edits": tried[name]}
            | {o: counts[name][o] for o in OUTCOMES}
            | {k: v for k, v in sorted(counts[name].items()) if k.startswith("visible: ")}
            for name in names
            if tried[name]
        ],
        "bad": bad,
    }


def main() -> int:
    """Run the command; end with 1 if any edit ended badly."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--edits", type=int, default=10 * len(EDITS), help="how many to try")
    parser.add_argument("--seed", type=int, default=1, help="decides every edit")
    parser.add_argument("--report", type=Path, help="JSON file for the counts")
    options = parser.parse_args()
    report = run(range(options.edits), options.seed, progress=True)
    if options.report:
        text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
        options.report.write_text(text, encoding="utf-8")
    print(", ".join(f"{outcome} {n}" for outcome, n in report["outcomes"].items()))
    return 1 if report["bad"] else 0


if __name__ == "__main__":
    sys.exit(main())
