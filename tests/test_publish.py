"""The pinned estimates: reproducible to the byte, and a number that moves is noticed."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis import publish
from analysis.data import DATA_DIR, Dataset, load
from analysis.estimands import PRIMARY, estimands
from analysis.pooling import pool

COUNTS = ("trials", "events", "patients")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load()


@pytest.fixture(scope="module")
def entries(dataset: Dataset) -> list[dict[str, Any]]:
    return list(publish.records(dataset))


@pytest.fixture
def folder(tmp_path: Path, entries: list[dict[str, Any]]) -> Path:
    publish.write(entries, tmp_path)
    return tmp_path


def changed(
    entries: list[dict[str, Any]], position: int = 0, **values: Any
) -> list[dict[str, Any]]:
    return [{**e, **values} if i == position else e for i, e in enumerate(entries)]


# --- records -------------------------------------------------------------------------------------


def test_one_record_per_estimand_in_the_order_of_the_registry(
    entries: list[dict[str, Any]], dataset: Dataset
) -> None:
    assert [e["estimand_id"] for e in entries] == [
        target.id for target in estimands(comparators=True)
    ]
    for entry in entries:
        assert entry["estimate_id"] == f"{entry['estimand_id']}@{dataset.version}"
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*@\d+\.\d+\.\d+", entry["estimate_id"])
        assert entry["data_sha256"] == dataset.sha256
        assert entry["data_version"] == dataset.version
    assert len({tuple(entry) for entry in entries}) == 1


def test_records_add_up_from_the_rows_they_name(
    entries: list[dict[str, Any]], dataset: Dataset
) -> None:
    rows = dataset.extraction.set_index("record_id")
    for entry in entries:
        named = rows.loc[entry["records"]]
        assert len(named) == entry["trials"] == named["cohort_id"].nunique()
        assert entry["events"] == named["events"].sum()
        assert entry["patients"] == named["total"].sum()
        assert set(named["outcome"]) == {entry["outcome"]}


def test_records_hold_the_result_of_pooling_those_rows(
    entries: list[dict[str, Any]], dataset: Dataset
) -> None:
    rows = dataset.extraction.set_index("record_id")
    for entry in entries:
        named = rows.loc[entry["records"]]
        fit = pool(list(named["events"]), list(named["total"]), **PRIMARY)
        for name in ("estimate", "ci_low", "ci_high", "pi_low", "pi_high", "tau2", "q"):
            expected = getattr(fit, name)
            if expected is None:
                assert entry[name] is None, (entry["estimand_id"], name)
            else:
                assert entry[name] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_limits_are_in_order(entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        if entry["estimate"] is None:
            assert entry["notes"]
            continue
        assert 0 <= entry["ci_low"] <= entry["estimate"] <= entry["ci_high"] <= 1
        if entry["pi_low"] is not None:
            assert 0 <= entry["pi_low"] <= entry["estimate"] <= entry["pi_high"] <= 1
            assert entry["pi_high"] - entry["pi_low"] > 0
        assert entry["tau2"] >= 0


def test_one_record_is_the_same_as_in_the_list(
    entries: list[dict[str, Any]], dataset: Dataset
) -> None:
    assert publish.record(dataset, entries[0]["estimand_id"]) == entries[0]
    assert publish.record(dataset, entries[-1]["estimand_id"]) == entries[-1]


def test_an_unknown_estimand_is_refused(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match=r"no estimand 'orr'; there are orr-cd19-single-agent"):
        publish.record(dataset, "orr")


def test_an_estimand_without_any_trial_has_a_record_that_says_so(dataset: Dataset) -> None:
    rows = dataset.extraction
    without = replace(dataset, extraction=rows[rows["outcome"] != "orr"].reset_index(drop=True))
    entry = publish.record(without, "orr-cd19-with-ibrutinib")
    assert (entry["trials"], entry["patients"], entry["estimate"]) == (0, 0, None)
    assert entry["notes"] == ["No trial of this population reports the outcome."]
    assert "None" not in publish.to_csv([entry])


# --- files ---------------------------------------------------------------------------------------


def test_files_are_the_same_to_the_byte_each_time(
    entries: list[dict[str, Any]], dataset: Dataset
) -> None:
    again = list(publish.records(dataset))
    assert publish.to_csv(again) == publish.to_csv(entries)
    assert publish.to_json(again) == publish.to_json(entries)


def test_the_order_of_rows_in_the_data_moves_nothing(
    entries: list[dict[str, Any]], dataset: Dataset
) -> None:
    turned = replace(dataset, extraction=dataset.extraction.iloc[::-1].reset_index(drop=True))
    assert list(publish.records(turned)) == entries


def test_written_files_have_unix_line_ends_and_no_mark(folder: Path) -> None:
    for name in ("estimates.csv", "estimates.json"):
        data = (folder / name).read_bytes()
        assert b"\r" not in data
        assert not data.startswith(b"\xef\xbb\xbf")
        assert data.endswith(b"\n") and not data.endswith(b"\n\n")


def test_csv_and_json_say_the_same(entries: list[dict[str, Any]]) -> None:
    table = list(csv.DictReader(io.StringIO(publish.to_csv(entries))))
    tree = json.loads(publish.to_json(entries))
    assert tree == entries
    assert len(table) == len(tree)
    for row, entry in zip(table, tree, strict=True):
        assert list(row) == list(entry)
        for name, value in entry.items():
            if value is None:
                assert row[name] == ""
            elif isinstance(value, list):
                assert [part for part in row[name].split("; ") if part] == value
            elif isinstance(value, float):
                assert float(row[name]) == value
            else:
                assert row[name] == str(value)


def test_json_is_standard_and_has_no_value_that_is_none_in_disguise(
    entries: list[dict[str, Any]],
) -> None:
    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is not JSON")

    text = publish.to_json(entries)
    json.loads(text, parse_constant=refuse)
    assert not re.search(r"\b(nan|NaN|NaT|None|undefined)\b", text + publish.to_csv(entries))


def test_a_number_that_is_not_a_number_is_never_written(entries: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        publish.to_json(changed(entries, mu=math.nan))


def test_estimates_csv_starts_with_the_identifier(entries: list[dict[str, Any]]) -> None:
    assert publish.to_csv(entries).startswith("estimate_id,")


# --- comparison ----------------------------------------------------------------------------------


def test_committed_estimates_agree_with_the_data(entries: list[dict[str, Any]]) -> None:
    assert publish.compare(entries, DATA_DIR) == []


def test_written_estimates_agree_with_themselves(
    entries: list[dict[str, Any]], folder: Path
) -> None:
    assert publish.compare(entries, folder) == []


@pytest.mark.parametrize("name", [*COUNTS, *publish.NUMBERS, "tau2_low", "tau2_high", "level"])
def test_a_moved_number_is_named(entries: list[dict[str, Any]], folder: Path, name: str) -> None:
    old = entries[0][name]
    new = old + 1 if name in COUNTS else round((old or 0.0) * 1.0001 + 1e-5, 8)
    lines = publish.compare(changed(entries, **{name: new}), folder)
    assert lines == [
        f"{entries[0]['estimand_id']}, {name}: {'none' if old is None else old} is now {new}"
    ]


@pytest.mark.parametrize("name,new", [("model", "reml"), ("interval", "wald"), ("records", ["x"])])
def test_a_changed_word_is_named(
    entries: list[dict[str, Any]], folder: Path, name: str, new: Any
) -> None:
    (line,) = publish.compare(changed(entries, **{name: new}), folder)
    assert line.startswith(f"{entries[0]['estimand_id']}, {name}: ")


def test_a_number_that_appears_or_disappears_is_named(
    entries: list[dict[str, Any]], folder: Path
) -> None:
    (line,) = publish.compare(changed(entries, pi_low=None), folder)
    assert line.endswith("is now none")
    gone = next(i for i, e in enumerate(entries) if e["estimate"] is None or e["pi_low"] is None)
    (line,) = publish.compare(changed(entries, gone, pi_low=0.25), folder)
    assert line.endswith("none is now 0.25")


def test_the_arithmetic_of_another_machine_is_no_difference(
    entries: list[dict[str, Any]], folder: Path
) -> None:
    """Last digits, and a zero that is not quite zero, differ between processors."""
    shaken = [
        {
            name: value * (1 + 1e-8) + 1e-12 if isinstance(value, float) else value
            for name, value in entry.items()
        }
        for entry in entries
    ]
    assert publish.compare(shaken, folder) == []


def test_estimands_that_come_and_go_are_named(entries: list[dict[str, Any]], folder: Path) -> None:
    assert publish.compare(entries[1:], folder) == [
        f"{entries[0]['estimand_id']}: pinned, but no longer in the registry"
    ]
    new = {**entries[0], "estimand_id": "os-everybody"}
    assert publish.compare([*entries, new], folder) == ["os-everybody: not pinned yet"]


@pytest.mark.parametrize("name", ["estimates.csv", "estimates.json"])
def test_missing_files_are_named(entries: list[dict[str, Any]], folder: Path, name: str) -> None:
    (folder / name).unlink()
    (line,) = publish.compare(entries, folder)
    assert line.startswith(f"data/{name}: the file is missing")


@pytest.mark.parametrize("name", ["estimates.csv", "estimates.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe", b"a,b\n1,2\n", b"null"])
def test_damaged_files_are_named(
    entries: list[dict[str, Any]], folder: Path, name: str, content: bytes
) -> None:
    (folder / name).write_bytes(content)
    lines = publish.compare(entries, folder)
    assert lines
    assert all("\n" not in line for line in lines)


def test_a_json_file_edited_by_hand_is_noticed(entries: list[dict[str, Any]], folder: Path) -> None:
    path = folder / "estimates.json"
    tree = json.loads(path.read_text(encoding="utf-8"))
    tree[3]["estimate"] = 0.5
    path.write_text(json.dumps(tree), encoding="utf-8")
    (line,) = publish.compare(entries, folder)
    assert line.startswith("data/estimates.json: differs from data/estimates.csv")


def test_a_row_pinned_twice_is_noticed(entries: list[dict[str, Any]], folder: Path) -> None:
    path = folder / "estimates.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines, lines[1]]), encoding="utf-8")
    assert publish.compare(entries, folder)


def test_a_changed_count_in_the_data_moves_its_estimates_and_no_other(
    dataset: Dataset, folder: Path
) -> None:
    frame = dataset.extraction.copy()
    line = frame.index[frame["record_id"] == "penn-porter-2015.orr.porter-2015"][0]
    frame.loc[line, "events"] += 1
    moved = publish.compare(list(publish.records(replace(dataset, extraction=frame))), folder)
    assert {line.split(",")[0] for line in moved} == {"orr-cd19-single-agent"}
    names = {line.split(", ")[1].split(":")[0] for line in moved}
    assert {"events", "estimate", "ci_low", "ci_high", "tau2"} <= names
