"""The chapter "Change a model": its outputs are what the commands print after the changes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from analysis import whatif
from analysis.whatif import EDITS, Edit

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ".venv/bin/python"

Copy = Callable[[Path], Path]


@pytest.fixture
def project(tmp_path: Path, copy_project: Copy) -> Path:
    return copy_project(tmp_path / "a copy")


def run(project: Path, command: str) -> tuple[int, list[str], str]:
    """Run a command as the page gives it, with the Python of the tests."""
    words = command.split()
    assert words[0] == PYTHON
    process = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=project,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    return process.returncode, process.stdout.splitlines(), process.stderr


def texts(html: object, end: str) -> list[str]:
    """The texts to copy whose anchor ends in a word."""
    soup = BeautifulSoup(str(html), "lxml")
    return [tag.get_text() for tag in soup.select(f'pre[id$="{end}"]')]


def cells() -> list[str]:
    text = (ROOT / "chapters" / "change-a-model.md").read_text(encoding="utf-8")
    return re.findall(r"```\{code-cell\} python3\n(?::[^\n]*\n)*(.*?)```", text, re.S)


def test_chapter_shows_every_edit_with_its_patch_and_its_effect() -> None:
    said = "\n".join(cells())
    for name in ("MODEL", "CELLS", "FIGURE"):
        assert getattr(whatif, name) in EDITS
        assert said.index(f"whatif.patch(whatif.{name})") < said.index(f"moved(whatif.{name})")
    for name in re.findall(r"whatif\.([a-z_]+)\(", said):
        assert name in whatif.__all__


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.id)
def test_the_command_prints_what_the_page_says(project: Path, edit: Edit) -> None:
    (shown,) = texts(whatif.patch(edit), "-patch")
    if shutil.which("git") is not None:
        process = subprocess.run(
            ["git", "apply", "--verbose", "-"],
            cwd=project,
            input=f"{shown}\n",
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert process.returncode == 0, process.stderr
        before = (ROOT / edit.file).read_text(encoding="utf-8")
        assert (project / edit.file).read_text(encoding="utf-8") == edit.applied(before)
    else:
        path = project / edit.file
        path.write_text(edit.applied(path.read_text(encoding="utf-8")), encoding="utf-8")
    (command,) = texts(whatif.moved(edit), "-command")
    (output,) = texts(whatif.moved(edit), "-output")
    code, printed, errors = run(project, command)
    assert code == 1, errors
    assert printed == output.splitlines() == whatif.effect(edit)
    assert len(printed) > 2
    # a book built from the changed copy has the page too, where the line is as it wants it already
    calls = [line for cell in cells() for line in re.findall(r"^whatif\..*", cell, re.M)]
    process = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-c"),
            "\n".join(["from analysis import whatif", *(f"print({call})" for call in calls)]),
        ],
        cwd=project,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert f"{edit.file} has another line here already" in process.stdout
    assert process.stdout.count('-patch">') == len(EDITS) - 1


def test_other_commands_print_what_the_page_says(project: Path) -> None:
    (output,) = texts(whatif.asked(), "-output")
    code, printed, errors = run(project, whatif.ASK)
    assert (code, printed) == (0, output.splitlines()), errors
    own = whatif.own_table()
    (table,) = texts(own, "own-file")
    (project / "studies.csv").write_text(table, encoding="utf-8")
    commands, outputs = texts(own, "-command"), texts(own, "-output")
    assert len(commands) == len(outputs) == 2
    for command, output in zip(commands, outputs, strict=True):
        code, printed, errors = run(project, command)
        assert (code, printed) == (0, output.splitlines()), errors
    assert outputs[0] != outputs[1]


def test_summary_counts_what_the_table_shows() -> None:
    text = BeautifulSoup(str(whatif.summary()), "lxml").get_text()
    moved = re.search(r"(\d+) of (\d+) results move", text)
    assert moved is not None
    assert whatif.effect(whatif.MODEL)[-1].startswith(f"{moved[1]} of {moved[2]} estimates moved")
    points = re.search(r"by more than ([0-9.]+) percentage points", text)
    assert points is not None
    lines = [line for line in whatif.effect(whatif.MODEL) if line.endswith("points")]
    shifts = [abs(float(line.rsplit("; ", 1)[1].split()[0])) for line in lines]
    assert max(shifts) == float(points[1])


def test_an_edit_that_fits_nowhere_says_so() -> None:
    edit = Edit("x", "some/file", after="[one]", until="\n[", old="a = 1", new="")
    assert edit.applied("[one]\na = 1\nb = 2\n[two]\n") == "[one]\nb = 2\n[two]\n"
    for text in ("[one]\nb = 2\n[two]\na = 1\n[three]\n", "[two]\na = 1\n[x]\n", "[one]\n"):
        with pytest.raises(ValueError, match="some/file: there is no 'a = 1'"):
            edit.applied(text)


def test_lines_that_take_every_change_back_name_every_changed_folder() -> None:
    text = (ROOT / "chapters" / "change-a-model.md").read_text(encoding="utf-8")
    back = re.search(r"^git checkout (.*)$", text, re.M)
    assert back is not None
    assert {edit.file.split("/")[0] for edit in EDITS} == set(back[1].split())
