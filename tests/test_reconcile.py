"""Which counts a printed percentage can stand for, held against exact arithmetic."""

from __future__ import annotations

import csv
from dataclasses import replace
from fractions import Fraction
from math import floor

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.data import DATA_DIR, Dataset, load
from analysis.reconcile import check_percentages, possible_counts

TOTALS = st.integers(1, 400)
DECIMALS = st.integers(0, 3)


@st.composite
def count_and_total(draw: st.DrawFn) -> tuple[int, int]:
    total = draw(TOTALS)
    return draw(st.integers(0, total)), total


def exact(count: int, total: int, decimals: int, rounding: str) -> str:
    """Print a percentage by exact fractions; an oracle that shares nothing with the code."""
    scaled = Fraction(100 * count, total) * 10**decimals
    whole = floor(scaled)
    rest = scaled - whole
    up = {
        "truncated": False,
        "half-up": rest >= Fraction(1, 2),
        "half-even": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2 == 1),
    }[rounding]
    digits = str(whole + up).rjust(decimals + 1, "0")
    return f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits


ROUNDINGS = st.sampled_from(["half-up", "half-even", "truncated"])


@given(count_and_total(), DECIMALS, ROUNDINGS)
def test_a_count_is_among_those_of_its_own_percentage(
    pair: tuple[int, int], decimals: int, rounding: str
) -> None:
    count, total = pair
    assert count in possible_counts(exact(count, total, decimals, rounding), total, rounding)


@given(st.integers(0, 100_000), TOTALS, DECIMALS, ROUNDINGS)
def test_counts_are_exactly_those_that_print_so(
    digits: int, total: int, decimals: int, rounding: str
) -> None:
    scaled = min(digits, 100 * 10**decimals)
    text = str(scaled).rjust(decimals + 1, "0")
    printed = f"{text[:-decimals]}.{text[-decimals:]}" if decimals else text
    by_trial = tuple(c for c in range(total + 1) if exact(c, total, decimals, rounding) == printed)
    assert possible_counts(printed, total, rounding) == by_trial


@given(st.integers(0, 100), st.integers(1, 99), ROUNDINGS)
def test_a_whole_percentage_of_fewer_than_100_fits_one_count_at_most(
    percent: int, total: int, rounding: str
) -> None:
    assert len(possible_counts(str(percent), total, rounding)) <= 1


@given(count_and_total(), DECIMALS)
def test_complement(pair: tuple[int, int], decimals: int) -> None:
    """Responders and non-responders: half to even is symmetric, so both or neither are possible."""
    count, total = pair
    printed = exact(count, total, decimals, "half-even")
    scaled = 100 * 10**decimals - round(Fraction(printed) * 10**decimals)
    text = str(scaled).rjust(decimals + 1, "0")
    other = f"{text[:-decimals]}.{text[-decimals:]}" if decimals else text
    counts = possible_counts(printed, total, "half-even")
    assert tuple(total - c for c in reversed(counts)) == possible_counts(other, total, "half-even")


@given(count_and_total(), DECIMALS)
def test_more_decimals_never_allow_more_counts(pair: tuple[int, int], decimals: int) -> None:
    count, total = pair
    coarse = possible_counts(exact(count, total, decimals, "truncated"), total, "truncated")
    fine = possible_counts(exact(count, total, decimals + 1, "truncated"), total, "truncated")
    assert set(fine) <= set(coarse)


@given(TOTALS)
def test_nobody_and_everybody(total: int) -> None:
    assert possible_counts("0.000", total) == (0,)
    assert possible_counts("100.000", total) == (total,)
    assert possible_counts("101", total) == ()
    assert possible_counts("250", total) == ()


@pytest.mark.parametrize(
    "printed,total,rounding,counts",
    [
        # 62.5, 87.5 and 37.5 percent of eight patients: the conventions differ
        ("63", 8, "half-up", (5,)),
        ("63", 8, "half-even", ()),
        ("62", 8, "half-up", ()),
        ("62", 8, "half-even", (5,)),
        ("62", 8, "truncated", (5,)),
        ("88", 8, "half-even", (7,)),
        ("87", 8, "truncated", (7,)),
        ("87", 8, "half-up", ()),
        ("38", 8, "half-up", (3,)),
        # 2 of 3 and 1 of 3
        ("67", 3, "half-up", (2,)),
        ("66", 3, "half-up", ()),
        ("66", 3, "truncated", (2,)),
        ("33.3", 9, "half-up", (3,)),
        # one decimal more decides
        ("30", 10, "half-up", (3,)),
        ("30.1", 10, "half-up", ()),
        # a large group: several counts give one whole percentage
        ("50", 400, "half-up", (198, 199, 200, 201)),
        ("0", 400, "half-up", (0, 1)),
        ("100", 400, "half-up", (398, 399, 400)),
    ],
)
def test_worked_examples(printed: str, total: int, rounding: str, counts: tuple[int, ...]) -> None:
    assert possible_counts(printed, total, rounding) == counts


@pytest.mark.parametrize(
    "trial,printed,total,counts",
    [
        ("Porter 2015, response", "57", 14, (8,)),
        ("Turtle 2017, response", "71", 24, (17,)),
        ("Turtle 2017, cytokine release", "83", 24, (20,)),
        ("Gauthier 2020, cytokine release, by the review's number", "76", 17, (13,)),
        ("Gauthier 2020, cytokine release, by the trial's own number", "76", 19, ()),
        ("Cappell 2020, response", "88", 8, (7,)),
        ("TRANSCEND CLL 004, response", "47", 87, (41,)),
        ("TRANSCEND CLL 004, complete response", "18", 87, (16,)),
        ("TRANSCEND CLL 004, double failure, response", "42.9", 49, (21,)),
        ("TRANSCEND CLL 004, double failure, complete response", "18.4", 49, (9,)),
    ],
)
def test_published_percentages(
    trial: str, printed: str, total: int, counts: tuple[int, ...]
) -> None:
    assert possible_counts(printed, total) == counts, trial


@pytest.mark.parametrize(
    "printed,total,rounding,said",
    [
        ("50", 0, "half-up", "total"),
        ("50", -3, "half-up", "total"),
        ("50", 10, "up", "rounding"),
        ("half", 10, "half-up", "half"),
        ("", 10, "half-up", "percentage"),
    ],
)
def test_what_is_no_percentage_is_refused(
    printed: str, total: int, rounding: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        possible_counts(printed, total, rounding)


# --- the committed rows --------------------------------------------------------------------------


def committed_rows() -> list[dict[str, str]]:
    with (DATA_DIR / "extraction.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["percent"] and row["total"]]


def prints_as(row: dict[str, str], count: int) -> bool:
    decimals = len(row["percent"].partition(".")[2])
    return exact(count, int(row["total"]), decimals, "half-up") == row["percent"]


def test_committed_counts_agree_with_their_percentages() -> None:
    with_count = [row for row in committed_rows() if row["events"]]
    assert len(with_count) > 50
    wrong = [
        row["record_id"]
        for row in with_count
        if row["status"] != "infeasible" and not prints_as(row, int(row["events"]))
    ]
    assert wrong == []


def test_committed_infeasible_rows_are_infeasible_and_no_other_row_in_use_is() -> None:
    possible_but_marked, impossible_but_used = [], []
    for row in committed_rows():
        possible = any(prints_as(row, count) for count in range(int(row["total"]) + 1))
        if row["status"] == "infeasible" and possible:
            possible_but_marked.append(row["record_id"])
        if row["status"] == "used" and row["events"] and not possible:
            impossible_but_used.append(row["record_id"])
    assert possible_but_marked == []
    assert impossible_but_used == []


def test_committed_package_has_no_arithmetic_finding() -> None:
    assert check_percentages(load()) == []


def edited(dataset: Dataset, line: int, **cells: object) -> Dataset:
    frame = dataset.extraction.copy()
    for column, value in cells.items():
        frame.loc[line - 2, column] = value
    return replace(dataset, extraction=frame)


def first_line(dataset: Dataset, **conditions: bool) -> int:
    frame = dataset.extraction
    keep = pd.Series(True, index=frame.index)
    for column, given_ in conditions.items():
        keep &= frame[column].notna() == given_
    return int(frame.index[keep & (frame["status"] == "used") & (frame["total"] < 90)][0]) + 2


def test_a_count_that_is_not_its_percentage_is_found_with_its_row() -> None:
    dataset = load()
    line = first_line(dataset, events=True, percent=True, total=True)
    count = int(dataset.extraction.loc[line - 2, "events"])
    (finding,) = check_percentages(edited(dataset, line, events=count - 1))
    assert (finding.file, finding.row, finding.column) == ("extraction.csv", line, "percent")
    total = dataset.extraction.loc[line - 2, "total"]
    assert f"{count - 1} of {total} is not" in finding.message


def test_a_wrong_mark_of_infeasible_is_found_with_its_row() -> None:
    dataset = load()
    line = first_line(dataset, events=True, percent=True, total=True)
    (finding,) = check_percentages(edited(dataset, line, status="infeasible"))
    assert (finding.file, finding.row, finding.column) == ("extraction.csv", line, "percent")
    count = dataset.extraction.loc[line - 2, "events"]
    assert f"is {count} patients, so it is possible" in finding.message


def test_a_right_mark_of_infeasible_is_no_finding() -> None:
    dataset = load()
    line = first_line(dataset, events=True, percent=True, total=True)
    cells = {"events": pd.NA, "total": 17, "percent": 75.0, "percent_printed": "75"}
    assert check_percentages(edited(dataset, line, status="infeasible", **cells)) == []
    # 13 of 17 is 76.47, 12 of 17 is 70.59: 75 is no whole number of 17 patients
    assert possible_counts("75", 17) == ()
