"""Comparing data versions: what moved, what came in, what went, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

from analysis import history
from analysis.data import DATA_DIR

CURRENT = json.loads((DATA_DIR / "estimates.json").read_text(encoding="utf-8"))


def as_of(version: str, entries: list[dict[str, Any]] = CURRENT) -> list[dict[str, Any]]:
    return [
        {**e, "data_version": version, "estimate_id": f"{e['estimand_id']}@{version}"}
        for e in entries
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "history").mkdir()
    keep(tmp_path / "estimates.json", as_of("1.10.0"))
    return tmp_path


def keep(path: Path, entries: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(entries), encoding="utf-8")


def test_equal_records_have_no_reason_and_did_not_move() -> None:
    found = history.changes(as_of("1.0.0"), as_of("1.1.0"))
    assert [entry.estimand_id for entry in found] == [e["estimand_id"] for e in CURRENT]
    assert not any(entry.moved or entry.reasons for entry in found)


@pytest.mark.parametrize("step,moved", [(0.0004, False), (0.0006, True), (-0.01, True)])
def test_a_number_moves_when_a_reader_can_see_it(step: float, moved: bool) -> None:
    old = {**CURRENT[0], "estimate": CURRENT[0]["estimate"] - step}
    (entry,) = history.changes([old], CURRENT[:1])
    assert entry.moved == moved
    assert entry.points == pytest.approx(100 * step)


def test_a_number_that_appears_or_disappears_moved() -> None:
    (entry,) = history.changes([{**CURRENT[0], "pi_low": None}], CURRENT[:1])
    assert entry.moved


def test_reasons_name_rows_counts_and_model() -> None:
    new = CURRENT[0]
    old = {**new, "records": ["gone.row", *new["records"][1:]], "model": "dl", "interval": "wald"}
    (entry,) = history.changes([old], [new])
    assert entry.reasons == (
        f"rows added: {new['records'][0]}",
        "rows left out: gone.row",
        "model: DL is now Bayesian GLMM",
        "interval: Wald is now credible interval",
    )
    (entry,) = history.changes([{**new, "events": new["events"] - 1}], [new])
    assert entry.reasons == (
        f"counts of the same rows: {new['events'] - 1}/{new['patients']} "
        f"is now {new['events']}/{new['patients']}",
    )


def test_estimands_that_come_and_go_are_told() -> None:
    came, went = history.changes([CURRENT[1]], [CURRENT[0]])
    assert (came.estimand_id, came.before, came.reasons) == (
        CURRENT[0]["estimand_id"],
        None,
        ("new in this version",),
    )
    assert (went.after, went.points, went.reasons) == (None, None, ("no longer asked",))


def test_versions_are_in_the_order_of_their_numbers(folder: Path) -> None:
    for version in ("1.2.0", "1.9.0", "1.0.0"):
        keep(folder / "history" / f"estimates-{version}.json", as_of(version))
    # the current version may be among those kept
    keep(folder / "history" / "estimates-1.10.0.json", as_of("1.10.0"))
    assert list(history.kept(folder)) == ["1.0.0", "1.2.0", "1.9.0", "1.10.0"]


def test_the_page_compares_each_version_with_the_one_before(folder: Path) -> None:
    old = as_of("1.0.0")[1:]
    old[0] = {**old[0], "estimate": 0.5, "events": 1}
    keep(folder / "history" / "estimates-1.0.0.json", old)
    keep(folder / "history" / "estimates-1.2.0.json", as_of("1.2.0"))
    soup = BeautifulSoup(history.comparison(folder).source, "lxml")
    captions = [tag.get_text() for tag in soup.select("caption")]
    assert captions == [
        "Estimates of data version 1.10.0 beside those of 1.2.0",
        "Estimates of data version 1.2.0 beside those of 1.0.0",
    ]
    rows = soup.select("table")[1].select("tbody tr")
    assert len(rows) == len(CURRENT)
    assert "new in this version" in rows[0].get_text()
    assert "50.0%" in rows[1].get_text()
    assert "counts of the same rows" in rows[1].get_text()
    assert "unchanged" in rows[2].get_text()
    said = history.summary(folder).source
    assert f"From data version 1.2.0 to 1.10.0, 0 of {len(CURRENT)} estimates moved" in said


def test_the_sentence_tells_another_model_from_other_figures(folder: Path) -> None:
    old = as_of("1.2.0")
    pooled = [i for i, entry in enumerate(old) if entry["estimate"] is not None]
    other, model, both = pooled[:3]
    old[other] = {**old[other], "estimate": 0.99, "events": 1}
    old[model] = {**old[model], "estimate": 0.99, "model": "dl"}
    old[both] = {**old[both], "estimate": 0.99, "model": "dl", "events": 1}
    keep(folder / "history" / "estimates-1.2.0.json", old)
    said = history.summary(folder).source
    assert f"3 of {len(CURRENT)} estimates moved" in said
    assert "Of those that moved, 1 did so on the same figures" in said


def test_the_first_version_has_nothing_to_be_compared_with(folder: Path) -> None:
    assert "first one that is kept" in history.summary(folder).source
    assert "nothing to compare" in history.comparison(folder).source


@pytest.mark.parametrize(
    "content", ["", "{", "{}", "[1]", "[{}]", '[{"data_version": "9.9.9", "records": []}]']
)
def test_a_damaged_file_is_named(folder: Path, content: str) -> None:
    (folder / "history" / "estimates-1.0.0.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"^estimates-1\.0\.0\.json: "):
        history.kept(folder)


def test_a_file_without_a_version_in_its_name_is_named(folder: Path) -> None:
    keep(folder / "history" / "estimates-old.json", CURRENT)
    with pytest.raises(ValueError, match=r"estimates-old\.json"):
        history.kept(folder)


def test_the_committed_history_is_readable_and_ends_with_the_current_version() -> None:
    versions = history.kept()
    assert list(versions)[-1] == CURRENT[0]["data_version"]
