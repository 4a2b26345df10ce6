"""Estimates compared digit for digit: what another version of a package does to them."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from analysis import diff, digits
from analysis.cli import app
from analysis.data import DATA_DIR
from analysis.publish import DIGITS, NUMBERS

PINNED = json.loads((DATA_DIR / "estimates.json").read_text(encoding="utf-8"))
ORR = "orr-cd19-single-agent"


def with_cells(**cells: Any) -> list[dict[str, Any]]:
    """The pinned records, with other cells in the overall response."""
    return [
        {**entry, **cells} if entry["estimand_id"] == ORR else entry
        for entry in copy.deepcopy(PINNED)
    ]


def value(column: str) -> Any:
    return next(entry[column] for entry in PINNED if entry["estimand_id"] == ORR)


def test_the_same_records_have_the_same_digits_in_any_order() -> None:
    assert digits.compare(PINNED, PINNED[::-1]) == []
    assert digits.lines(PINNED, PINNED) == [
        f"{len(PINNED)} estimates agree in all of {DIGITS} digits"
    ]


@pytest.mark.parametrize("column", [name for name in NUMBERS if value(name)])
def test_one_step_in_the_last_digit_of_any_number_is_found(column: str) -> None:
    was = value(column)
    now = was + 10.0 ** (math.floor(math.log10(abs(was))) - DIGITS + 1)
    now = float(f"{now:.{DIGITS}g}")
    assert now != was
    (entry,) = digits.compare(PINNED, with_cells(**{column: now}))
    assert (entry.estimand_id, entry.column, entry.before, entry.after) == (ORR, column, was, now)
    assert entry.steps == pytest.approx(1.0, rel=1e-3)
    said = digits.lines(PINNED, with_cells(**{column: now}))
    assert said == [
        f"{ORR}, {column}: {was} is now {now} (in digit {DIGITS})",
        f"1 of {len(PINNED)} estimates differ, in digit {DIGITS} at most; "
        "the pages show it of none",
    ]
    # what a reader sees is the same, and the ordinary comparison lets it pass
    assert diff.moved(PINNED, with_cells(**{column: now})) == []


@given(st.floats(1e-6, 1e6), st.integers(1, DIGITS))
def test_the_first_digit_that_differs_is_named(number: float, place: int) -> None:
    exponent = math.floor(math.log10(number))
    # no carry: a digit in the middle of its range on either side
    was = 4.4444444 * 10.0**exponent
    now = was + 10.0 ** (exponent - place + 1)
    (entry,) = digits.compare(with_cells(mu=was), with_cells(mu=now))
    assert entry.steps == pytest.approx(10.0 ** (DIGITS - place), rel=1e-6)
    (line, _) = digits.lines(with_cells(mu=was), with_cells(mu=now))
    where = f"in digit {DIGITS}" if place == DIGITS else f"from digit {place} on"
    # a unit of a digit is at the border of two; the arithmetic may fall to either side
    near = f"from digit {place + 1} on" if place + 1 < DIGITS else f"in digit {DIGITS}"
    assert f"({where})" in line or f"({near})" in line


def test_what_a_reader_would_see_is_counted() -> None:
    said = digits.lines(PINNED, with_cells(estimate=value("estimate") + 0.01))
    assert said[-1].endswith("the pages show it of 1: see --diff")


def test_numbers_that_came_went_or_are_infinite() -> None:
    for now in (None, "inf", 0.0):
        (entry,) = digits.compare(PINNED, with_cells(tau2_high=now))
        assert (entry.before, entry.after) == (value("tau2_high"), now)
        assert (entry.steps is None) == (now != 0.0)
    # a whole number is the same however it is written, and so is zero
    assert digits.compare(with_cells(q=1, i2=0.0), with_cells(q=1.0, i2=-0.0)) == []


def test_estimands_of_one_side_only() -> None:
    (gone,) = digits.compare(PINNED, PINNED[1:])
    assert (gone.column, gone.before, gone.after) == ("estimand_id", PINNED[0]["estimand_id"], None)
    (new,) = digits.compare(PINNED[1:], PINNED)
    assert (new.before, new.after) == (None, PINNED[0]["estimand_id"])
    assert digits.lines(PINNED, PINNED[1:])[-1].startswith(f"1 of {len(PINNED)} estimates differ")


def test_where_records_come_from_is_not_a_result_but_other_data_are_said() -> None:
    later = [{**entry, "code_version": "9", "data_version": "9.9.9"} for entry in PINNED]
    assert digits.compare(PINNED, later) == []
    other = [{**entry, "data_sha256": "0" * 64} for entry in PINNED]
    assert digits.compare(PINNED, other) == []
    assert any("the data differ too" in line for line in digits.lines(PINNED, other))


def test_notes_and_rows_are_compared_as_they_stand() -> None:
    found = digits.compare(PINNED, with_cells(notes=["Another note."], records=[]))
    assert [entry.column for entry in found] == ["records", "notes"]
    said = digits.lines(PINNED, with_cells(notes=["Another note."], records=[]))
    assert f"{ORR}, records: {'; '.join(value('records'))} is now none" in said


# --- as a command --------------------------------------------------------------------------------


def run(*arguments: str | Path) -> Any:
    result = CliRunner().invoke(app, ["estimates", "--digits", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_command_reports_one_changed_digit_and_ends_with_1(tmp_path: Path) -> None:
    was = value("ci_low")
    before = tmp_path / "before.json"
    before.write_text(json.dumps(with_cells(ci_low=was + 1e-6)), encoding="utf-8")
    result = run("--against", before)
    assert result.exit_code == 1, result.output
    assert f"{ORR}, ci_low: " in result.output
    assert f" is now {was}" in result.output


@pytest.mark.parametrize("option", ["--diff", "--write", "--json"])
def test_command_goes_with_nothing_else(option: str) -> None:
    result = run(option)
    assert result.exit_code == 2
    assert "--digits goes with --against alone" in result.output


def test_command_says_what_it_cannot_compare_with(tmp_path: Path) -> None:
    result = run("--against", tmp_path / "nothing.json")
    assert result.exit_code == 2
    assert "No such file" in result.output
