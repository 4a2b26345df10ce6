"""``python -m analysis pool --by``: subgroups and the test between them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from analysis.cli import app
from analysis.pooling import fit_subgroups

ROWS = [
    ("Alpha", 3, 20, "late"),
    ("Beta", 15, 22, "early"),
    ("Gamma", 2, 19, "late"),
    ("Delta", 14, 19, "early"),
    ("Epsilon", 4, 25, "late"),
    ("Zeta", 12, 18, "early"),
]


def write(folder: Path, rows: list[tuple[str, int, int, str]]) -> Path:
    path = folder / "table.csv"
    lines = ["trial,events,total,time", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(path: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["pool", str(path), *options])


@pytest.mark.parametrize("model", ["glmm", "reml"])
def test_subgroups_and_the_test_between_them(tmp_path: Path, model: str) -> None:
    path = write(tmp_path, ROWS)
    expected = fit_subgroups(
        [row[1] for row in ROWS], [row[2] for row in ROWS], [row[3] for row in ROWS], model=model
    )
    done = run(path, "--by", "time", "--label", "trial", "--model", model, "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert list(found) == ["late", "early"]  # as in the file
    for name, fit in zip(expected.levels, expected.fits, strict=True):
        assert found[name]["estimate"] == pytest.approx(fit.estimate, rel=1e-9)
        assert found[name]["test_between_subgroups"]["q"] == pytest.approx(expected.q, rel=1e-9)
        assert found[name]["test_between_subgroups"]["q_p"] == pytest.approx(expected.q_p, rel=1e-6)
        assert found[name]["test_between_subgroups"]["q_df"] == [1, None]
    assert [s["label"] for s in found["late"]["studies"]] == ["Alpha", "Gamma", "Epsilon"]

    text = run(path, "--by", "time", "--model", model).stdout.splitlines()
    assert text[0].startswith("late: ")
    assert text[-1] == f"Test between subgroups: Q = {expected.q:.2f}, df = 1, p < 0.001."


def test_a_p_value_that_is_not_small_is_printed(tmp_path: Path) -> None:
    rows = [(name, 5 + i, 20, "ab"[i % 2]) for i, (name, *_) in enumerate(ROWS)]
    expected = fit_subgroups([r[1] for r in rows], [r[2] for r in rows], [r[3] for r in rows])
    last = run(write(tmp_path, rows), "--by", "time").stdout.splitlines()[-1]
    assert expected.q_p > 0.001
    assert last.endswith(f"p = {expected.q_p:.3f}.")


def test_a_subgroup_without_a_mean_is_named(tmp_path: Path) -> None:
    rows = [(name, 0 if time == "late" else x, n, time) for name, x, n, time in ROWS]
    done = run(write(tmp_path, rows), "--by", "time")
    assert done.exit_code == 0
    last = done.stdout.splitlines()[-1]
    assert last.startswith("Test between subgroups: not possible. Left out of the test")
    assert "late" in last


def test_one_subgroup_has_nothing_to_compare(tmp_path: Path) -> None:
    rows = [(name, x, n, "late") for name, x, n, _ in ROWS]
    done = run(write(tmp_path, rows), "--by", "time")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "One subgroup only: there is nothing to compare."
    assert "test_between" not in run(write(tmp_path, rows), "--by", "time", "--json").stdout


def test_an_interval_of_another_model_is_one_line_of_error(tmp_path: Path) -> None:
    done = run(write(tmp_path, ROWS), "--by", "time", "--model", "fe", "--interval", "bartlett")
    assert done.exit_code == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "'bartlett' is not available for model 'fe'" in line
