"""What moved between two sets of records, by how much, and because of what."""

from __future__ import annotations

import copy
import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from analysis import diff
from analysis.cli import app
from analysis.data import DATA_DIR, load
from analysis.digest import data_digest

PINNED = json.loads((DATA_DIR / "estimates.json").read_text(encoding="utf-8"))
ORR = "orr-cd19-single-agent"


def run(*arguments: str | Path) -> Any:
    result = CliRunner().invoke(app, ["estimates", "--diff", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def saved(path: Path, entries: Any) -> Path:
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def changed(**cells: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The pinned overall response as it is now, and with other cells before."""
    now = next(entry for entry in PINNED if entry["estimand_id"] == ORR)
    return [{**copy.deepcopy(now), **cells}], [now]


def only(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> dict[str, Any]:
    (entry,) = diff.described(load(), diff.moved(before, after))
    return entry


# --- as functions --------------------------------------------------------------------------------


def test_equal_records_have_not_moved() -> None:
    assert diff.moved(PINNED, PINNED) == []


@pytest.mark.parametrize(
    "cells,cause",
    [
        ({"estimate": 0.2}, "code"),
        ({"estimate": 0.2, "model": "dl"}, "model"),
        ({"estimate": 0.2, "level": 0.9}, "model"),
        ({"estimate": 0.2, "events": 1}, "counts"),
        ({"estimate": 0.2, "events": 1, "interval": "wald"}, "counts and model"),
        ({"estimate": 0.2, "records": ["a.b.c"], "trials": 1}, "rows"),
        ({"estimate": 0.2, "records": ["a.b.c"], "model": "dl"}, "rows and model"),
        ({"trials": 7, "records": ["a.b.c"]}, "rows"),
    ],
)
def test_the_cause_is_what_differs_in_the_records(cells: dict[str, Any], cause: str) -> None:
    before, after = changed(**cells)
    entry = only(before, after)
    assert (entry["kind"], entry["cause"]) == ("moved", cause)
    assert entry["before"] != entry["after"]
    text = "\n".join(diff.lines(load(), diff.moved(before, after)))
    assert ("cannot divide" in text) == (" and " in cause)


def test_a_change_that_no_table_shows_is_no_movement() -> None:
    now = changed()[1][0]
    before, after = changed(estimate=now["estimate"] + 1e-4, mu=3.0, notes=["other"], q=1.0)
    assert diff.moved(before, after) == []


def test_the_movement_is_in_percentage_points() -> None:
    now = changed()[1][0]
    before, after = changed(estimate=now["estimate"] - 0.0512)
    assert only(before, after)["points"] == pytest.approx(5.12)
    assert "; +5.1 points" in diff.lines(load(), diff.moved(before, after))[0]


def test_rows_that_came_or_went_are_explained_by_the_extraction() -> None:
    now = changed()[1][0]
    kept = now["records"][1:]
    gone = [
        "mskcc-brentjens-2011.orr.mohty-2023",  # superseded
        "penn-kalos-2011.orr.mohty-2023",  # in use, of a part of another cohort
        "never.orr.there",
    ]
    before, after = changed(records=[*kept, *gone], trials=8)
    entry = only(before, after)
    assert [row["record_id"] for row in entry["rows_added"]] == now["records"][:1]
    assert entry["rows_added"][0]["why"] == "1 of 8, in geyer-brentjens-2016"
    why = {row["record_id"]: row["why"] for row in entry["rows_removed"]}
    assert why[gone[0]].startswith("now superseded: The trial authors list one partial response")
    assert why[gone[1]].startswith("in use, but not here")
    assert why[gone[2]] == "no longer in the extraction"


def test_estimands_come_and_go() -> None:
    before, after = PINNED[:1], PINNED[1:2]
    found = diff.described(load(), diff.moved(before, after))
    assert [(entry["kind"], entry["cause"]) for entry in found] == [("new", None), ("gone", None)]
    assert found[0]["before"] is None and found[1]["after"] is None
    new, gone = diff.lines(load(), diff.moved(before, after))
    assert new.startswith(f"{after[0]['estimand_id']}: new, ")
    assert gone.startswith(f"{before[0]['estimand_id']}: no longer asked; was ")


def test_an_unpooled_estimate_moves_with_its_counts() -> None:
    nothing = dict.fromkeys(diff.SHOWN)
    now = {**changed()[1][0], **nothing, "trials": 1, "events": 3, "patients": 9}
    assert diff.moved([now], [now]) == []
    before = {**now, "events": 2}
    entry = only([before], [now])
    assert (entry["cause"], entry["points"]) == ("counts", None)
    assert "not pooled (2 of 9, 1 trial)" in diff.lines(load(), diff.moved([before], [now]))[0]


# --- as a command --------------------------------------------------------------------------------


def test_nothing_moved_against_the_pinned_estimates() -> None:
    result = run()
    assert result.exit_code == 0
    assert result.stdout == f"0 of {len(PINNED)} estimates moved, 0 new, 0 no longer asked\n"
    assert run("--json").stdout == "[]\n"


def test_a_kept_version_is_named_by_its_number() -> None:
    kept = json.loads((DATA_DIR / "history" / "estimates-1.0.0.json").read_text(encoding="utf-8"))
    assert {entry["data_version"] for entry in kept} == {"1.0.0"}
    result = run("--against", "1.0.0", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == bool(found)
    now = {entry["estimand_id"]: entry for entry in PINNED}
    for entry in found:
        if entry["kind"] == "moved":
            assert entry["after"]["estimate"] == now[entry["estimand_id"]]["estimate"]


def test_rows_about_cll_are_those_of_version_1_0_0() -> None:
    """Data version 1.1.0 moved no estimate by its rows."""
    kept = diff.earlier("1.0.0")
    found = diff.described(load(), diff.moved(kept, PINNED))
    assert not [e["estimand_id"] for e in found if e["cause"] not in (None, "model", "code")]
    assert not [e for e in found if e["kind"] == "gone"]


def test_kept_estimates_are_no_part_of_the_digest(tmp_path: Path) -> None:
    data = shutil.copytree(DATA_DIR, tmp_path / "data")
    before = data_digest(data)
    saved(data / "history" / "estimates-0.9.0.json", [])
    (data / "history" / "more.csv").write_text("a\n1\n", encoding="utf-8")
    assert data_digest(data) == before == load().sha256


def test_a_changed_row_is_told(tmp_path: Path) -> None:
    """One more response in one trial: 1 of 8 is now 2 of 8."""
    data = shutil.copytree(DATA_DIR, tmp_path / "data")
    path = data / "extraction.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    at = {name: i for i, name in enumerate(rows[0])}
    name = "mskcc-brentjens-2011.orr.geyer-brentjens-2016"
    row = next(row for row in rows if row[0] == name)
    assert row[at["events"]] == "1"
    row[at["events"]] = "2"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    result = run("--data", data)
    assert result.exit_code == 1
    told = result.stdout.splitlines()
    assert told[0].startswith(f"{ORR}: ")
    assert "because of the counts of the same rows: 88 of 173 before, 89 of 173 now" in told[1]
    assert told[-1] == f"1 of {len(PINNED)} estimates moved, 0 new, 0 no longer asked"
    (entry,) = json.loads(run("--data", data, "--json").stdout)
    assert entry["after"]["events"] - entry["before"]["events"] == 1
    assert entry["points"] > 0


@pytest.mark.parametrize(
    "content,said",
    [
        (None, "No such file"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "is not a list of records"),
        ("[1]", "is not a list of records"),
        ('[{"estimand_id": "x"}]', "x lacks records"),
    ],
)
def test_a_file_that_cannot_be_compared_ends_with_2(
    tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "old.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    result = run("--against", path)
    assert result.exit_code == 2
    assert said in result.stderr and str(path) in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "cells",
    [{"estimate": "half"}, {"records": "x"}, {"trials": "6"}, {"model": 3}, {"level": True}],
)
def test_values_of_the_wrong_type_are_named(tmp_path: Path, cells: dict[str, Any]) -> None:
    path = saved(tmp_path / "old.json", changed(**cells)[0])
    result = run("--against", path)
    assert result.exit_code == 2
    assert f"{ORR} has a value of the wrong type" in result.stderr


@pytest.mark.parametrize(
    "arguments", [["--json"], ["--against", "1.0.0"], ["--diff", "--write"]], ids=" ".join
)
def test_options_that_do_not_go_together(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["estimates", *arguments])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_an_unknown_version_is_told_with_those_that_are_kept() -> None:
    result = run("--against", "0.0.1")
    assert result.exit_code == 2
    kept = [
        path.stem.removeprefix("estimates-")
        for path in (DATA_DIR / "history").glob("estimates-*.json")
    ]
    assert kept and all(version in result.stderr for version in kept)


@pytest.mark.parametrize("shift,said", [(0.0004, "0.0 points"), (0.002, "+0.2 points")])
def test_a_shift_that_rounds_to_nothing_has_no_sign(shift: float, said: str) -> None:
    old = {**PINNED[0], "estimate": PINNED[0]["estimate"] - shift, "ci_low": 0.01}
    up = diff.lines(load(), diff.moved([old], PINNED[:1]))[0]
    down = diff.lines(load(), diff.moved(PINNED[:1], [old]))[0]
    assert up.endswith(f"; {said}")
    assert down.endswith(f"; {said.replace('+', '-')}")
