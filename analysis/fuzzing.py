"""What the chapter on the findings shows about damaged copies of the data package.

``data/fuzz_report.json`` is written by ``tests/fuzz_data.py`` and never edited by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from analysis import tables
from analysis.data import DATA_DIR
from analysis.markup import Html, escape
from analysis.wording import count, pct

__all__ = ["FILE", "damages", "every_damage", "read", "summary"]

FILE = "fuzz_report.json"

#: Kinds of damage by the beginning of their name in the report.
GROUPS = {
    "A cell, or several": ("cell", "cells", "count"),
    "Rows dropped, repeated, made up or moved": ("row", "rows"),
    "Columns dropped, added, renamed or swapped": ("column", "columns"),
    "Numbers that are absurd or written otherwise": ("numbers",),
    "Line breaks, control and direction characters": ("characters",),
    "Formulas, scripts and markup in a cell": ("injection",),
    "Encodings, line ends and separators": ("encoding", "line ends", "separators"),
    "Files cut, emptied, missing or replaced": ("file",),
    "The schema": ("schema",),
    "The pinned results": ("pinned file",),
}
HEADS = {
    "finding": "Refused, with the place",
    "unchanged": "Accepted, no estimate moved",
    "visible": "Accepted, each change named",
    "bad": "Got through",
}


def read(directory: Path = DATA_DIR) -> dict[str, Any]:
    """Read the report of the last run.

    Parameters
    ----------
    directory : Path
        Folder of the report.

    Raises
    ------
    ValueError
        If the report is missing or is not one.
    """
    try:
        report = json.loads((directory / FILE).read_text(encoding="utf-8"))
        return {**report, "outcomes": report["outcomes"], "classes": report["classes"]}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"data/{FILE} cannot be read ({error}); write it with tests/fuzz_data.py"
        ) from None


def summary(report: dict[str, Any]) -> Html:
    """Say in one paragraph how many edits were tried and how they ended."""
    ends, places = report["outcomes"], report["findings_on_one_cell"]
    bad = ends["bad"]
    cells = sum(places.values())
    moved = sum(
        n for row in report["classes"] for name, n in row.items() if name == "visible: estimate"
    )
    text = (
        f"{count(report['edits'], 'edit')} of {count(len(report['classes']), 'kind')}: "
        f"{ends['finding']} refused, {ends['unchanged']} accepted without moving a pooled "
        f"estimate, {ends['visible']} accepted as another valid package and named by the "
        f"comparison with the pinned results ({moved} of them because an estimate moved), "
        f"{bad or 'none'} ended otherwise."
    )
    if cells:
        near = places.get("cell", 0)
        text += (
            f" Of {cells} refusals after a change of one cell, {near} ({pct(near / cells)}) name "
            "that cell; the others name its row, or what depends on it."
        )
    return Html(f"<p>{escape(text)}</p>")


def damages(report: dict[str, Any]) -> Html:
    """Tabulate how the edits of each kind ended, kinds taken together in groups."""
    members: dict[str, list[dict[str, Any]]] = {heading: [] for heading in GROUPS}
    by_start = {start: heading for heading, starts in GROUPS.items() for start in starts}
    for row in report["classes"]:
        members[by_start[row["class"].split(":")[0]]].append(row)
    rows = [
        _row(heading, {name: sum(row[name] for row in found) for name in ("edits", *HEADS)})
        for heading, found in members.items()
        if found
    ]
    total = _row("All", {"edits": report["edits"], **report["outcomes"]})
    return tables.html_table(
        [*rows, total],
        "What becomes of a damaged data package",
        id="damages",
        row_header="Damage",
        foot=1,
        stack=True,
        csv=tables.to_csv(report["classes"]),
        note=f"Data version {report['data_version']}, seed {report['seed']}. "
        "Accepted edits are valid packages: a note in other words, a row of context left out, "
        "another plausible count.",
    )


def every_damage(report: dict[str, Any]) -> Html:
    """Tabulate how the edits of each single kind ended, folded."""
    table = tables.html_table(
        [_row(row["class"], row) for row in report["classes"]],
        "What becomes of each kind of damage",
        id="every-damage",
        row_header="Damage",
        stack=True,
    )
    return Html(
        f"<details class='ev-more'><summary>Every kind of damage</summary>\n{table}\n</details>"
    )


def _row(name: str, counts: dict[str, Any]) -> dict[str, Any]:
    return {"Damage": name, "Edits": counts["edits"]} | {
        head: counts[key] for key, head in HEADS.items()
    }
