"""The recipes of the README, "Add a trial" and "Add an outcome", as a person would follow them."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

TRIAL = "example-2027"
NEW_VERSION = "9.0.0"

CHAPTER = """---
file_format: mystnb
kernelspec:
  name: python3
  display_name: Python 3
---

# Tocilizumab

*How many patients are given tocilizumab?*

```{code-cell} python3
:tags: [hide-input]
from analysis import chapter

questions = chapter.questions("tocilizumab")
(alone,) = questions
chapter.opening(questions)
```

(tocilizumab-given-cd19-single-agent)=
## Anti-CD19 CAR T cells alone

```{code-cell} python3
:tags: [hide-input]
chapter.section(alone)
```

## How firm are these results?

```{code-cell} python3
:tags: [hide-input]
chapter.sensitivity(questions)
```

## What may be concluded, and what not

- The figures are made up.
"""


def run(project: Path, command: str) -> subprocess.CompletedProcess:
    """Run a documented command, with the Python of the tests in place of the project's own."""
    words = command.split()
    assert words[0] == ".venv/bin/python"
    return subprocess.run(
        [sys.executable, *words[1:]],
        cwd=project,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )


def add(project: Path, table: str, **cells: object) -> None:
    """Add a row to a table of the data package; columns that are not named stay empty."""
    path = project / "data" / f"{table}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        columns = next(csv.reader(file))
    assert set(cells) <= set(columns), set(cells) - set(columns)
    with path.open("a", encoding="utf-8", newline="") as file:
        csv.DictWriter(file, columns, restval="", lineterminator="\n").writerow(cells)


def add_figure(project: Path, cohort: str, outcome: str, events: int, total: int) -> str:
    """Add a count that is in use, and return the id of its row."""
    name = f"{cohort}.{outcome.replace('_', '-')}.{TRIAL}"
    add(
        project,
        "extraction",
        record_id=name,
        cohort_id=cohort,
        outcome=outcome,
        events=events,
        total=total,
        denominator="infused",
        report_id=TRIAL,
        locator="Table 2",
        origin="counted",
        confidence="high",
        status="used",
    )
    return name


def add_report(project: Path) -> None:
    """Step 1: the document."""
    add(
        project,
        "reports",
        report_id=TRIAL,
        citation="Example A, et al. A made-up trial. Journal of Examples 2027;1:1",
        doi="10.1234/example.2027",
        year=2027,
        kind="trial paper",
        read_at="full text",
    )


def add_cohort(project: Path, cohort: str, label: str, **cells: object) -> None:
    """Step 2: the patients, of the population that is treated with the cells alone."""
    add(
        project,
        "cohorts",
        **{
            "cohort_id": cohort,
            "label": label,
            "trial_id": "NCT09999999",
            "center": "Example Hospital",
            "design": "trial",
            "disease": "CLL",
            "setting": "relapsed-refractory",
            "target": "CD19",
            "cell_source": "autologous",
            "partner_drug": "none",
            "infusion": "first",
            "n_infused": 20,
            "report_id": TRIAL,
            "year": 2027,
            **cells,
        },
    )


def raise_version(project: Path) -> str:
    """Step 5: the version in every file that states it, and a line in the list of changes."""
    old = re.search(
        r'^  "version": "([0-9.]+)"', (project / "data/datapackage.json").read_text("utf-8"), re.M
    )
    assert old is not None
    for name, before, after in (
        ("data/datapackage.json", f'"version": "{old[1]}"', f'"version": "{NEW_VERSION}"'),
        (".zenodo.json", f'"version": "{old[1]}"', f'"version": "{NEW_VERSION}"'),
        ("CITATION.cff", f"\nversion: {old[1]}\n", f"\nversion: {NEW_VERSION}\n"),
        ("data/CHANGELOG.md", f"\n## {old[1]}", f"\n## {NEW_VERSION}\n\nA trial.\n\n## {old[1]}"),
    ):
        path = project / name
        text = path.read_text(encoding="utf-8")
        assert text.count(before) >= 1, f"{name} does not state the version"
        path.write_text(text.replace(before, after, 1), encoding="utf-8", newline="\n")
    return old[1]


def section(title: str) -> str:
    """The text under a heading of the README."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.M | re.S)
    assert found is not None, f"README has no section {title!r}"
    return found[1]


def documented(title: str, *commands: str) -> None:
    """Check that the recipe gives the commands that the test runs."""
    text = " ".join(section(title).split())
    for command in commands:
        assert command in text, f"{title}: {command}"


CHECK = ".venv/bin/python -m analysis check"
COMPARE = ".venv/bin/python -m analysis estimates --diff"
PIN = ".venv/bin/python -m analysis estimates --write"
PIN_FINDINGS = ".venv/bin/python -m analysis conflicts --write"
ASK = ".venv/bin/python -m analysis estimate"


def test_add_a_trial(copy_project: Callable[[Path], Path], tmp_path: Path) -> None:
    documented("Add a trial", COMPARE, PIN, PIN_FINDINGS, "make data-check", "data/appraisal.csv")
    project = copy_project(tmp_path / "project")
    before = json.loads(run(project, f"{ASK} orr-cd19-single-agent --json").stdout)

    add_report(project)
    add_cohort(project, TRIAL, "Example 2027")
    name = add_figure(project, TRIAL, "orr", 12, 20)
    # the documents of a trial are often two: the second one shares its patients with the first
    add_cohort(project, f"{TRIAL}-update", "Example 2027, update", n_infused=10)
    add_figure(project, f"{TRIAL}-update", "orr", 6, 10)
    add(
        project,
        "overlaps",
        cohort_a=f"{TRIAL}-update",
        cohort_b=TRIAL,
        kind="subset",
        evidence="The first ten of the twenty patients.",
        report_id=TRIAL,
        locator="Methods",
    )
    checked = run(project, CHECK)
    assert checked.returncode == 0, checked.stdout + checked.stderr

    old = raise_version(project)
    moved = run(project, COMPARE)
    assert moved.returncode == 1, moved.stderr
    said = moved.stdout.splitlines()
    assert said[0].startswith("orr-cd19-single-agent: ")
    events, patients = before["events"], before["patients"]
    assert said[1:3] == [
        f"  because of the rows: {events} of {patients} before, "
        f"{events + 12} of {patients + 20} now",
        f"  + {name}: 12 of 20, in {TRIAL}",
    ]
    assert said[-1].startswith("1 of ")

    shutil.copy(
        project / "data" / "estimates.json", project / "data" / "history" / f"estimates-{old}.json"
    )
    for command in (PIN, PIN_FINDINGS):
        assert run(project, command).returncode == 0
    after = json.loads(run(project, f"{ASK} orr-cd19-single-agent --json").stdout)
    assert after["estimate_id"] == f"orr-cd19-single-agent@{NEW_VERSION}"
    assert after["trials"] == before["trials"] + 1
    assert after["estimate"] != before["estimate"]
    # what the new version changed can still be asked
    earlier = run(project, f"{COMPARE} --against {old}")
    assert earlier.returncode == 1
    assert earlier.stdout == moved.stdout


def test_a_slip_in_a_new_trial_is_named_by_file_row_and_column(
    copy_project: Callable[[Path], Path], tmp_path: Path
) -> None:
    project = copy_project(tmp_path / "project")

    def last_row(table: str) -> int:
        """Rows are counted as an editor counts lines, so long as no cell has a line break."""
        return len((project / "data" / f"{table}.csv").read_text(encoding="utf-8").splitlines())

    add_report(project)
    add_cohort(project, TRIAL, "Example 2027")
    add_figure(project, TRIAL, "orr", 21, 20)
    found = run(project, CHECK)
    assert found.returncode == 1
    assert f"data/extraction.csv, row {last_row('extraction')}, column events: " in found.stdout
    add_cohort(project, f"{TRIAL}-2", "Example 2027, update", cell_source="autologus")
    add_figure(project, "example-2072", "cr", 5, 20)
    found = run(project, CHECK)
    assert found.returncode == 1
    assert f"data/cohorts.csv, row {last_row('cohorts')}, column cell_source: " in found.stdout
    assert f"data/extraction.csv, row {last_row('extraction')}, column cohort_id: " in found.stdout


OUTCOME = "tocilizumab_given"


def add_outcome(project: Path) -> None:
    """The four edits of the recipe."""
    add(
        project,
        "outcomes",
        outcome_id=OUTCOME,
        label="Tocilizumab given",
        short_label="Tocilizumab",
        kind="proportion",
        direction="harm",
        definition="Patients who were given tocilizumab for cytokine release syndrome.",
    )
    registry = project / "analysis" / "estimands.toml"
    text = registry.read_text(encoding="utf-8")
    for old, new in (
        ("[pages]\n", f'[pages]\n{OUTCOME} = "tocilizumab"\n'),
        ("outcomes = [\n", f'outcomes = [\n    "{OUTCOME}",\n'),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    registry.write_text(text, encoding="utf-8")
    add_report(project)
    for i, (events, total) in enumerate(((4, 20), (9, 30))):
        add_cohort(project, f"{TRIAL}-{i}", f"Example {i}", n_infused=total)
        add_figure(project, f"{TRIAL}-{i}", OUTCOME, events, total)
    (project / "chapters" / "tocilizumab.md").write_text(CHAPTER, encoding="utf-8")


@pytest.mark.book
def test_add_an_outcome(
    copy_project: Callable[[Path], Path], build: Callable, tmp_path: Path
) -> None:
    documented(
        "Add an outcome", COMPARE, "data/outcomes.csv", "analysis/estimands.toml", "_toc.yml"
    )
    project = copy_project(tmp_path / "project")
    add_outcome(project)
    # this chapter alone, so that the test takes seconds
    toc = {"format": "jb-book", "root": "chapters/tocilizumab"}
    (project / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf-8")

    moved = run(project, COMPARE)
    assert moved.returncode == 1, moved.stderr
    new = "tocilizumab-given-cd19-single-agent"
    assert moved.stdout.startswith(f"{new}: new, ")
    assert re.search(r"^0 of \d+ estimates moved, 1 new, 0 no longer asked$", moved.stdout, re.M)
    asked = json.loads(run(project, f"{ASK} {new} --json").stdout)
    assert (asked["trials"], asked["events"], asked["patients"]) == (2, 13, 50)
    assert 4 / 20 <= asked["estimate"] <= 9 / 30

    process = build(project)
    assert process.returncode == 0, process.stdout
    page = project / "_build" / "html" / "chapters" / "tocilizumab.html"
    article = BeautifulSoup(page.read_text(encoding="utf-8"), "lxml").select_one("article")
    assert article is not None
    text = " ".join(article.get_text(" ").split())
    assert f"{100 * asked['estimate']:.0f}%" in text
    assert article.find(id=new) is not None and article.find(id=f"{new}-trials") is not None
    assert "9/30" in text and f"{new}@{asked['data_version']}" in text


def test_readme_names_commands_that_exist() -> None:
    """Every `make` target and every subcommand that the README and the guide give."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    made, asked = set(), set()
    for text in (README, guide):
        made |= set(re.findall(r"(?:^|`|&& )make ([a-z-]+)", text, re.M))
        asked |= set(re.findall(r"-m analysis ([a-z]+)", text))
    assert made and made <= targets
    from analysis.cli import app

    known = {command.name for command in app.registered_commands}
    assert asked and asked <= known
    # and what make offers is in the list that `make help` prints
    described = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.M))
    assert targets == described
