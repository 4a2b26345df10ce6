"""What make calls: the scripts in ``.ci`` and the container, as far as no network is needed."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(path.name for path in (ROOT / ".ci").iterdir())

OLD = """# by make lock
numpy==1.0 \\
    --hash=sha256:00
scipy==1.0 ; python_version < "4" \\
    --hash=sha256:01
gone==3.1 \\
    --hash=sha256:02
"""
NEW = """# by make lock
numpy==1.0 \\
    --hash=sha256:00
scipy==1.1 ; python_version < "4" \\
    --hash=sha256:03
came==0.1 \\
    --hash=sha256:04
"""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nset -eu\n{text}", encoding="utf-8")
    path.chmod(0o755)
    return path


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_can_be_read_by_the_shell(name: str) -> None:
    first = (ROOT / ".ci" / name).read_text(encoding="utf-8").splitlines()[0]
    shell = "bash" if "bash" in first else "sh"
    process = run(ROOT, shell, "-n", f".ci/{name}")
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.parametrize("option", [(), ("--upgrade",)])
def test_lock_pins_with_hashes_and_names_what_changed(
    tmp_path: Path, option: tuple[str, ...]
) -> None:
    (tmp_path / "requirements.in").write_text("numpy\nscipy\n", encoding="utf-8")
    (tmp_path / "requirements.txt").write_text(OLD, encoding="utf-8")
    (tmp_path / "new.txt").write_text(NEW, encoding="utf-8")
    script(tmp_path / "bin" / "uv", 'echo "$@" > asked.txt\ncp new.txt requirements.txt\n')
    process = run(
        tmp_path,
        *("sh", str(ROOT / ".ci" / "lock.sh"), "lock", *option),
        PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == [
        "lock: requirements.txt has 3 packages",
        "lock: < scipy==1.0",
        "lock: < gone==3.1",
        "lock: > scipy==1.1",
        "lock: > came==0.1",
    ]
    asked = (tmp_path / "asked.txt").read_text(encoding="utf-8").split()
    assert {"--generate-hashes", "--universal", "--no-emit-index-url"} <= set(asked)
    assert ("--upgrade" in asked) == bool(option)


def test_requirements_are_pinned_hashed_and_come_from_no_named_place() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line[:1] not in "#"]
    assert lines
    for line in lines:
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==[^ ]+ ", line), line
        assert "--hash=sha256:" in line, line
    assert "://" not in text and "--index" not in text and "--find-links" not in text


def test_a_tool_is_installed_once_and_apart_from_the_project(tmp_path: Path) -> None:
    # a Python that makes an environment whose Python writes down what is asked of it
    maker = script(
        tmp_path / "python",
        'folder=$4\necho "$@" >> made.txt\nmkdir -p "$folder/bin"\n'
        'printf \'#!/bin/sh\\necho "$@" >> installed.txt\\n\' > "$folder/bin/python"\n'
        'chmod +x "$folder/bin/python"\n',
    )
    for packages in (("one", "two"), ("one", "two"), ("three",)):
        process = run(
            tmp_path, "sh", str(ROOT / ".ci" / "tool.sh"), "tool", *packages, PYTHON=str(maker)
        )
        assert process.returncode == 0, process.stderr
    made = (tmp_path / "made.txt").read_text(encoding="utf-8").splitlines()
    assert made == ["-m venv --clear tool"] * 2
    installed = (tmp_path / "installed.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split("--quiet ")[1] for line in installed] == ["one two", "three"]


def test_container_uses_what_there_is() -> None:
    text = (ROOT / "binder" / "Dockerfile").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    image = re.search(r"^FROM python:(\d+)\.(\d+)-slim$", text, re.M)
    assert image is not None
    least = re.fullmatch(r">=(\d+)\.(\d+)", project["requires-python"])
    assert least is not None
    assert tuple(map(int, image.groups())) >= tuple(map(int, least.groups()))
    for name in re.findall(r"(?<!/)\.ci/[a-z.]+", text):
        assert (ROOT / name).is_file(), name
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert set(re.findall(r"RUN make ([a-z-]+)", text)) <= set(targets)
    # what one machine built or installed stays there
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".venv", "_build"} <= set(left_out)
