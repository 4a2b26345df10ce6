"""The commands: exit codes, one clear line per problem, results that a program can read."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from analysis.cli import app
from analysis.data import DATA_DIR, load
from analysis.estimands import estimands
from analysis.pooling import pool

ROOT = Path(__file__).resolve().parent.parent

GOOD = "trial,events,total,arm\nAlpha,3,10,a\nBeta,5,12,b\nGamma,0,9,a\nDelta,4,9,b\n"


def run(*arguments: str | Path) -> Result:
    """Run a command in this process; an exception that is not an exit is an error of the test."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return shutil.copytree(DATA_DIR, tmp_path / "data")


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "table.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


# --- as a program --------------------------------------------------------------------------------


def program(*arguments: str, **options: Any) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "analysis", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
        **options,
    )


def test_the_program_runs_prints_and_ends_with_its_code(tmp_path: Path) -> None:
    good = program("estimate", "orr-cd19-single-agent", "--json")
    assert good.returncode == 0
    assert good.stderr == ""
    assert json.loads(good.stdout)["estimand_id"] == "orr-cd19-single-agent"

    bad = program("check", "--data", str(tmp_path))
    assert bad.returncode == 1
    assert bad.stdout.startswith("data/datapackage.json: the file is missing")
    assert "Traceback" not in bad.stderr
    assert bad.stderr == "1 finding in the data package\n"


def test_help_tells_every_command() -> None:
    result = program("--help")
    assert result.returncode == 0
    for name in ("check", "estimates", "estimate", "pool"):
        assert re.search(rf"^  {name}  ", result.stdout, re.MULTILINE)
    assert program("nothing").returncode == 2


@pytest.mark.parametrize(
    "command,options",
    [
        ("check", ["--data"]),
        ("estimates", ["--write", "--data"]),
        ("estimate", ["--json", "--data"]),
        (
            "pool",
            [
                "--events",
                "--total",
                "--label",
                "--model",
                "--interval",
                "--by",
                "--json",
                "--plot",
            ],
        ),
    ],
)
def test_help_of_a_command_explains_each_option(command: str, options: list[str]) -> None:
    text = " ".join(run(command, "--help").stdout.split())
    positions = [text.index(f" {option} ") for option in options]
    for start, end in zip(positions, [*positions[1:], text.index("--help")], strict=True):
        explanation = text[start:end].split(" ", 2)[2]
        assert len(re.findall(r"[a-z]{2,}", explanation)) >= 3, explanation
    assert re.search(r"Usage: \S.* " + command, text)
    assert len(text.split("Options:")[0].split()) > 6


def test_help_of_pool_names_every_model_and_interval() -> None:
    from analysis.pooling.api import INTERVALS, MODELS

    text = " ".join(run("pool", "--help").stdout.split()).replace("- ", "-")
    for name in MODELS:
        assert re.search(rf"\b{re.escape(name)}\b", text), name
    for name in {name for names in INTERVALS.values() for name in names} - {"credible"}:
        assert re.search(rf"\b{re.escape(name)}\b", text), name


# --- check ---------------------------------------------------------------------------------------


def test_check_of_the_committed_data() -> None:
    result = run("check")
    dataset = load()
    assert result.exit_code == 0
    assert result.stderr == ""
    last = result.stdout.splitlines()[-1]
    assert last.startswith(f"data package {dataset.version} is valid: ")
    assert f"{len(dataset.extraction)} figures" in last
    assert f"{len(dataset.cohorts)} cohorts" in last
    assert f"sha256 {dataset.sha256[:12]}" in last


def edit(folder: Path, table: str, row: int, column: str, value: str) -> None:
    path = folder / f"{table}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    rows[row - 1][rows[0].index(column)] = value
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def test_check_prints_each_finding_on_a_line_ends_with_1_and_writes_nothing(data: Path) -> None:
    edit(data, "extraction", 3, "events", "three")
    edit(data, "extraction", 9, "locator", "two\nlines")
    edit(data, "cohorts", 4, "year", "20x")
    before = contents(data)
    result = run("check", "--data", data)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "data/cohorts.csv, row 4, column year",
        "data/extraction.csv, row 3, column events",
        "data/extraction.csv, row 9, column locator",
    ]
    assert result.stderr == "3 findings in the data package\n"
    assert contents(data) == before


def test_check_finds_arithmetic_that_is_off(data: Path) -> None:
    with (data / "extraction.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    row = next(i for i, r in enumerate(rows) if r["events"] and r["percent"] and r["total"] < "3")
    edit(data, "extraction", row + 2, "percent", "1.23")
    result = run("check", "--data", data)
    assert result.exit_code == 1
    (line,) = result.stdout.splitlines()
    assert line.startswith(f"data/extraction.csv, row {row + 2}, column percent: ")
    assert "is not 1.23%" in line
    assert result.stderr == "1 finding in the data package\n"


# --- estimates -----------------------------------------------------------------------------------


def test_estimates_of_the_committed_data_agree() -> None:
    result = run("estimates")
    assert result.exit_code == 0
    assert f"{len(estimands(comparators=True))} estimates agree" in result.stdout


def test_estimates_reports_a_moved_number_and_writes_only_when_told(data: Path) -> None:
    assert run("estimates", "--data", data, "--write").exit_code == 0
    path = data / "estimates.csv"
    text = path.read_text(encoding="utf-8")
    first = next(csv.DictReader(text.splitlines()))
    path.write_text(text.replace(first["estimate"], "0.25", 1), encoding="utf-8")
    before = contents(data)

    result = run("estimates", "--data", data)
    assert result.exit_code == 1
    (line,) = result.stdout.splitlines()
    name = first["estimand_id"]
    assert line.startswith(f"{name}, estimate: 0.25 is now {first['estimate'][:6]}")
    assert result.stderr.strip().endswith("1 differences from the pinned estimates")
    assert contents(data) == before

    assert run("estimates", "--data", data, "--write").exit_code == 0
    assert run("estimates", "--data", data).exit_code == 0


def test_estimates_notices_a_changed_row(data: Path) -> None:
    with (data / "extraction.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    row = next(
        i
        for i, r in enumerate(rows)
        if r["cohort_id"] == "mskcc-brentjens-2011"
        and r["outcome"] == "orr"
        and r["status"] == "used"
    )
    edit(data, "extraction", row + 2, "events", "2")
    result = run("estimates", "--data", data)
    assert result.exit_code == 1
    assert re.search(r"^orr-cd19-single-agent, events: 88 is now 89$", result.stdout, re.M)
    assert re.search(r"^orr-cd19-single-agent, estimate: ", result.stdout, re.M)
    assert not re.search(r"^cr-cd19-single-agent, estimate: ", result.stdout, re.M)


@pytest.mark.parametrize("command", [["estimates"], ["estimates", "--write"], ["estimate", "x"]])
def test_broken_data_stops_every_command(data: Path, command: list[str]) -> None:
    edit(data, "extraction", 3, "events", "three")
    before = contents(data)
    result = run(*command, "--data", data)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("data/extraction.csv, row 3, column events: ")
    assert contents(data) == before


# --- estimate ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [target.id for target in estimands()])
def test_estimate_prints_the_pinned_number(name: str) -> None:
    with (DATA_DIR / "estimates.csv").open(encoding="utf-8", newline="") as file:
        pinned = {row["estimand_id"]: row for row in csv.DictReader(file)}[name]
    result = run("estimate", name)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == pinned["estimate_id"]
    if pinned["estimate"]:
        assert f" {float(pinned['estimate']):.1%} (95% CrI " in lines[1]
        assert f"{pinned['trials']} trial" in lines[1]
        assert f"{pinned['patients']} patients" in lines[1]
    else:
        assert "not pooled" in lines[1]
    for note in pinned["notes"].split("; "):
        assert note in result.stdout

    record = json.loads(run("estimate", name, "--json").stdout)
    assert record["estimate_id"] == pinned["estimate_id"]
    assert record["events"] == int(pinned["events"])
    if pinned["estimate"]:
        assert record["estimate"] == pytest.approx(float(pinned["estimate"]), rel=1e-6)


def test_an_unknown_estimate_is_refused_with_the_list() -> None:
    result = run("estimate", "orr")
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("there is no estimand 'orr'; there are orr-cd19-single-agent, ")


# --- pool ----------------------------------------------------------------------------------------


def test_pool_prints_what_the_library_gives(table: Callable[..., Path]) -> None:
    result = run("pool", table(GOOD))
    fit = pool([3, 5, 0, 4], [10, 12, 9, 9])
    assert result.exit_code == 0
    assert result.stderr == ""
    first = result.stdout.splitlines()[0]
    assert f" {fit.estimate:.1%} (95% CI {fit.ci_low:.1%} to {fit.ci_high:.1%}; " in first
    assert "4 trials, 40 patients" in first


def test_pool_json_is_valid_and_complete(table: Callable[..., Path]) -> None:
    result = run("pool", table(GOOD), "--json", "--label", "trial")
    found = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(name))
    fit = pool([3, 5, 0, 4], [10, 12, 9, 9])
    assert found["estimate"] == pytest.approx(fit.estimate)
    assert found["ci_low"] == pytest.approx(fit.ci_low)
    assert [s["label"] for s in found["studies"]] == ["Alpha", "Beta", "Gamma", "Delta"]
    assert [s["events"] for s in found["studies"]] == [3, 5, 0, 4]
    assert sum(s["weight"] for s in found["studies"]) == pytest.approx(1)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.rstrip("\n").encode(),
        GOOD.replace(",3,", ", 3 ,").encode(),
        (GOOD + "\n\n").encode(),
    ],
    ids=["byte order mark", "CRLF", "no last line break", "spaces", "blank lines"],
)
def test_pool_reads_tables_as_spreadsheets_write_them(
    table: Callable[..., Path], content: bytes
) -> None:
    plain = run("pool", table(GOOD)).stdout
    result = run("pool", table(content))
    assert result.exit_code == 0
    assert result.stdout == plain


def test_pool_takes_other_column_names(table: Callable[..., Path]) -> None:
    other = GOOD.replace("events", "n_cr").replace("total", "n")
    result = run("pool", table(other), "--events", "n_cr", "--total", "n")
    assert result.stdout == run("pool", table(GOOD)).stdout


BAD_TABLES = [
    ("column missing", "trial,events\nA,3\n", "has no column 'total'; it has trial, events"),
    ("column twice", "events,events,total\n3,4,9\n1,1,2\n", "has the column 'events' more than"),
    ("empty", "", "has no column 'events'; it has none"),
    ("header only", "events,total\n", "has no rows"),
    ("fraction", "events,total\n3.5,9\n1,2\n", "row 2, column events: '3.5' is not a whole"),
    ("word", "events,total\n3,9\nsome,2\n", "row 3, column events: 'some' is not a whole"),
    ("gap", "events,total\n3,9\n,2\n", "row 3, column events: '' is not a whole"),
    ("scientific", "events,total\n3,1e2\n1,2\n", "row 2, column total: '1e2' is not a whole"),
    ("underscore", "events,total\n1_0,20\n1,2\n", "row 2, column events: '1_0' is not a whole"),
    ("negative", "events,total\n-3,9\n1,2\n", "row 2, column events: '-3' is not a whole"),
    ("too many", "events,total\n1,2\n10,9\n", "row 3, column events: 10 is more than the total 9"),
    ("nobody", "events,total\n1,2\n0,0\n", "row 3, column total: must be 1 or more"),
    ("huge", f"events,total\n1,{10**30}\n1,2\n", "row 2, column total: "),
    ("short row", "trial,events,total\nA,3\nB,1,2\n", "row 2: has not one cell per column"),
    ("long row", "trial,events,total\nA,3,9,7\nB,1,2\n", "row 2: has not one cell per column"),
    ("latin-1", b"trial,events,total\nM\xfcller,3,9\n", "is not a UTF-8 CSV file"),
    ("UTF-16", "events,total\n3,9\n".encode("utf-16"), "is not a UTF-8 CSV file"),
    ("open quote", 'events,total\n"3,9\n', "is not a UTF-8 CSV file"),
    ("semicolons", "events;total\n3;9\n", "has no column 'events'; it has events;total"),
]


@pytest.mark.parametrize(
    "content,said", [b[1:] for b in BAD_TABLES], ids=[b[0] for b in BAD_TABLES]
)
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_pool_refuses_with_one_line_that_says_where(
    table: Callable[..., Path], content: str | bytes, said: str, options: list[str]
) -> None:
    path = table(content)
    result = run("pool", path, *options)
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(str(path))
    assert said in line


def test_pool_refuses_what_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        result = run("pool", path)
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"{path}: ")


@pytest.mark.parametrize(
    "options,said",
    [
        (["--model", "best"], "'best'"),
        (["--interval", "best"], "'best'"),
        (["--model", "reml", "--interval", "profile"], "not available for model 'reml'"),
        (["--label", "name"], "has no column 'name'"),
        (["--by", "name"], "has no column 'name'"),
        (["--by", "arm", "--plot", "x.svg"], "leave out --by"),
    ],
)
def test_pool_refuses_options_that_do_not_go(
    table: Callable[..., Path], options: list[str], said: str
) -> None:
    result = run("pool", table(GOOD), *options)
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert said in line


@pytest.mark.parametrize(
    "model", ["glmm", "reml", "ml", "dl", "pm", "fe", "beta-binomial", "bayes"]
)
def test_pool_by_every_model(table: Callable[..., Path], model: str) -> None:
    found = json.loads(run("pool", table(GOOD), "--model", model, "--json").stdout)
    fit = pool([3, 5, 0, 4], [10, 12, 9, 9], model=model)
    assert found["model"] == model
    assert found["estimate"] == pytest.approx(fit.estimate)


def test_pool_by_group(table: Callable[..., Path]) -> None:
    result = run("pool", table(GOOD), "--by", "arm")
    assert result.exit_code == 0
    heads = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    a, b = pool([3, 0], [10, 9]), pool([5, 4], [12, 9])
    assert heads[0].startswith(f"a: {a.estimate:.1%} (95% CI {a.ci_low:.1%} to {a.ci_high:.1%}; ")
    assert heads[1].startswith(f"b: {b.estimate:.1%} (95% CI {b.ci_low:.1%} to {b.ci_high:.1%}; ")
    found = json.loads(run("pool", table(GOOD), "--by", "arm", "--json").stdout)
    assert list(found) == ["a", "b"]
    assert found["b"]["estimate"] == pytest.approx(b.estimate)


def test_pool_by_group_names_the_row_of_the_file(table: Callable[..., Path]) -> None:
    result = run("pool", table(GOOD + "Epsilon,12,9,b\n"), "--by", "arm")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "row 6, column events: 12 is more than the total 9 (group 'b')" in line


def test_pool_of_one_study_no_events_and_all_events(table: Callable[..., Path]) -> None:
    one = run("pool", table("events,total\n3,9\n"))
    assert one.exit_code == 0
    assert "3 of 9 patients" in one.stdout and "not pooled" in one.stdout
    none = run("pool", table("events,total\n0,9\n0,12\n"))
    assert none.exit_code == 0
    assert "no events" in none.stdout
    every = run("pool", table("events,total\n9,9\n12,12\n"))
    assert every.exit_code == 0
    assert "an event in every patient" in every.stdout
    for content in ("events,total\n3,9\n", "events,total\n0,9\n0,12\n"):
        found = run("pool", table(content), "--json").stdout
        json.loads(found, parse_constant=lambda name: pytest.fail(name))


@pytest.mark.parametrize("content", [GOOD, GOOD.replace("Alpha", '"<b>&amp; Müller</b>"')])
def test_pool_draws_a_forest_plot(table: Callable[..., Path], tmp_path: Path, content: str) -> None:
    path = tmp_path / "forest.svg"
    result = run("pool", table(content), "--label", "trial", "--plot", path)
    assert result.exit_code == 0
    assert str(path) in result.stderr
    root = ET.fromstring(path.read_text(encoding="utf-8"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = " ".join(text.strip() for text in root.itertext())
    for said in ("Beta", "Gamma", "3/10", "5/12", "0/9", "4/9"):
        assert said in words
    assert not list(root.iter("{http://www.w3.org/2000/svg}b"))


def test_pool_names_a_plot_that_cannot_be_written(
    table: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "nowhere" / "forest.svg"
    result = run("pool", table(GOOD), "--plot", path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{path}: ")
