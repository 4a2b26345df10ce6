"""Two extractions of the same documents, compared figure by figure."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from analysis.cli import app
from analysis.data import DATA_DIR
from analysis.double import COMPARED, KEY, compare, read

NAMES = ("a.csv", "b.csv")


def row(**cells: str) -> dict[str, str]:
    empty = dict.fromkeys((*KEY, *COMPARED), "")
    return {**empty, "report_id": "paper", "cohort_id": "trial", "outcome": "orr", **cells}


def numbered(*rows: dict[str, str]) -> list[dict[str, str]]:
    return [{**entry, "row": str(i + 2)} for i, entry in enumerate(rows)]


def test_the_extraction_of_the_book_agrees_with_itself_in_any_order() -> None:
    rows = read(DATA_DIR / "extraction.csv")
    found = compare(rows, rows[::-1], NAMES)
    assert found.lines == ()
    assert found.agreed == found.figures == len(rows)


def test_each_difference_is_named_with_both_values_and_rows() -> None:
    first = numbered(row(events="8", total="14", denominator="infused"), row(outcome="cr"))
    second = numbered(row(outcome="crs_any"), row(events="8", total="24", denominator=""))
    found = compare(first, second, NAMES)
    assert found.lines == (
        "trial, orr, in paper: total is 14 in a.csv, row 2, and 24 in b.csv, row 3",
        "trial, orr, in paper: denominator is infused in a.csv, row 2, and empty in b.csv, row 3",
        "trial, cr, in paper: only in a.csv, row 3",
        "trial, crs_any, in paper: only in b.csv, row 2",
    )
    assert (found.agreed, found.figures) == (0, 3)


@pytest.mark.parametrize(
    ("column", "one", "other", "same"),
    [
        ("events", "8", "8.0", True),
        ("total", "8", "9", False),
        ("percent", "57", "57.0", False),  # a percentage is what is printed, with its decimals
        ("ci_low", "29", "29.00", True),
        ("unit", "months", "days", False),
        ("events", "", "0", False),  # nothing printed is not a zero
    ],
)
def test_numbers_agree_by_value_and_percentages_as_printed(
    column: str, one: str, other: str, same: bool
) -> None:
    found = compare(numbered(row(**{column: one})), numbered(row(**{column: other})), NAMES)
    assert (found.agreed == 1) == same == (not found.lines)


def test_several_figures_of_one_outcome_are_paired_by_likeness() -> None:
    early, late = row(events="5", total="20", timepoint_months="1"), row(events="3", total="20")
    found = compare(numbered(early, late), numbered(late, {**early, "total": "21"}), NAMES)
    assert found.lines == (
        "trial, orr, in paper: total is 20 in a.csv, row 2, and 21 in b.csv, row 3",
    )
    assert (found.agreed, found.figures) == (1, 2)


FIGURES = st.lists(
    st.builds(
        row,
        outcome=st.sampled_from(["orr", "cr"]),
        events=st.sampled_from(["", "1", "2"]),
        total=st.sampled_from(["3", "4"]),
    ),
    max_size=5,
)


@given(FIGURES, FIGURES)
def test_who_is_first_does_not_matter(one: list[Any], other: list[Any]) -> None:
    there, back = (
        compare(numbered(*left), numbered(*right), NAMES)
        for left, right in ((one, other), (other, one))
    )
    assert there.figures == back.figures >= max(len(one), len(other))
    assert there.figures <= len(one) + len(other)
    assert (there.agreed == there.figures) == (there.lines == ())
    assert (there.lines == ()) == (back.lines == ())


# --- as a command --------------------------------------------------------------------------------


def run(*arguments: Path) -> Any:
    result = CliRunner().invoke(app, ["agree", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def saved(path: Path, *rows: dict[str, str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*KEY, "events", "total"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_command_counts_and_ends_with_1_where_anything_differs(tmp_path: Path) -> None:
    one = saved(tmp_path / "one.csv", row(events="8", total="14"), row(outcome="cr", events="4"))
    other = saved(
        tmp_path / "other.csv", row(events="8", total="14"), row(outcome="cr", events="3")
    )
    result = run(one, one)
    assert (result.exit_code, result.output) == (0, "2 of 2 figures agree\n")
    result = run(one, other)
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"trial, cr, in paper: events is 4 in {one}, row 3, and 3 in {other}, row 3",
        "1 of 2 figures agree",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("report_id,outcome\np,orr\n", "has no column 'cohort_id'"),
        ("", "has no column 'report_id'"),
        ("report_id,cohort_id,outcome\np,,orr\n", "row 2: cohort_id is empty"),
        ("report_id,cohort_id,outcome\np,t,orr,9\n", "row 2: has more cells than columns"),
        ('report_id,cohort_id,outcome\np,"t,orr\n', "is not a UTF-8 CSV file"),
    ],
)
def test_command_says_what_is_wrong_with_a_table(
    tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path / "table.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    result = run(path, saved(tmp_path / "other.csv"))
    assert result.exit_code == 1
    assert said in result.output and str(path) in result.output
