"""What only the code that uses the data can tell is told as findings, not as exceptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from analysis import conflicts, publish, replicate
from analysis.data import Dataset, Finding, load
from analysis.usable import problems


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load()


def changed(dataset: Dataset, table: str, row: int, **cells: object) -> Dataset:
    frame = getattr(dataset, table).copy()
    for column, value in cells.items():
        frame.loc[row, column] = value
    return replace(dataset, **{table: frame})


def test_the_committed_data_are_usable(dataset: Dataset) -> None:
    assert problems(dataset) == []


@pytest.mark.parametrize(
    "cells,column,said",
    [
        ({"check": "figures"}, "check", "there is no check 'figures'"),
        ({"args": "cohort=nobody; outcome=orr; events=1"}, "args", "no cohort 'nobody'"),
        ({"args": "cohort=zuma-8; outcome=height; events=1"}, "args", "no outcome 'height'"),
        ({"args": "cohort=zuma-8; outcome=orr; events=one"}, "args", "'one' is not a whole number"),
        ({"args": "cohort=zuma-8; outcome=orr"}, "args", "needs events"),
    ],
)
def test_a_claim_that_no_check_can_decide_is_named(
    dataset: Dataset, cells: dict[str, str], column: str, said: str
) -> None:
    found = problems(changed(dataset, "claims", 3, **{"check": "figure", **cells}))
    assert [(f.file, f.row, f.column) for f in found] == [("claims.csv", 5, column)]
    assert said in found[0].message


def test_an_estimand_that_is_not_in_the_registry_is_named(dataset: Dataset) -> None:
    found = problems(changed(dataset, "published_pools", 2, estimand_id="orr-nowhere"))
    message = "there is no estimand 'orr-nowhere'"
    assert found == [Finding("published_pools.csv", 4, "estimand_id", message)]


def test_an_estimand_without_a_trial_is_named(dataset: Dataset) -> None:
    rows = dataset.extraction
    rows = rows.assign(status=rows["status"].mask(rows["outcome"] == "ntx_any", "context"))
    found = problems(replace(dataset, extraction=rows))
    told = [f.message for f in found if f.file == "extraction.csv"]
    assert len(told) >= 2
    assert all("no trial of its population" in m and "ntx-any-" in m for m in told)


def test_a_published_estimate_outside_its_interval_is_a_contradiction(dataset: Dataset) -> None:
    pools = dataset.published_pools
    row = pools.index[pools["ci_high"].notna() & pools["ci_low"].notna() & (pools["ci_low"] > 5)][0]
    entry = replicate.examine(changed(dataset, "published_pools", row, percent=1.0))[row]
    assert entry.verdict == "inconsistent"
    assert entry.shape is None
    text = next(check.text for check in entry.checks if check.name == "inside its interval")
    assert text.startswith("1% does not lie between")


def path_is_text(path: Path) -> bool:
    return path.is_file() and path.read_bytes().isascii()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.mkdir(),
        lambda path: path.symlink_to(path.name),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_text("7"),
    ],
    ids=["folder", "link to itself", "bytes", "nested", "number"],
)
@pytest.mark.parametrize("name", ["estimates.csv", "estimates.json"])
def test_damaged_pinned_estimates_are_named(
    tmp_path: Path, name: str, damage: Callable[[Path], object]
) -> None:
    for other in ("estimates.csv", "estimates.json"):
        (tmp_path / other).write_text("estimand_id\n" if other.endswith("csv") else "[]")
    (tmp_path / name).unlink()
    damage(tmp_path / name)
    (line,) = publish.compare([{"estimand_id": "a"}], tmp_path)
    if name.endswith("csv") and path_is_text(tmp_path / name):
        assert line == "a: not pinned yet"
    else:
        assert line.startswith("data/estimates")
        assert "run estimates --write" in line


def test_damaged_pinned_findings_are_named(tmp_path: Path) -> None:
    path = tmp_path / conflicts.FILE
    path.mkdir()
    (line,) = conflicts.compare((), tmp_path)
    assert line.startswith(f"data/{conflicts.FILE} cannot be read")
