"""Building the book: nothing stale, nothing silent, nothing that differs between two builds."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

from analysis import publish
from analysis.bookbuild.execution import job_count, kernel_environment
from analysis.bookbuild.sphinx_ext import relocate
from analysis.data import load
from analysis.digest import data_digest, data_files, inputs_digest

ROOT = Path(__file__).resolve().parent.parent

CHAPTER = """---
file_format: mystnb
kernelspec:
  name: python3
  display_name: Python 3
---

# {title}

See [the other page]({other}.md).

```{{code-cell}} python3
:tags: [hide-input]

{code}
```
"""
READS_ANALYSIS = 'from analysis.probe import VALUE\n\nprint(f"the value is {VALUE}")'
READS_DATA = (
    "from pathlib import Path\n\n"
    'rows = Path("../data/probe.csv").read_text().splitlines()\n'
    'print(f"the last row is {rows[-1]}")\n\n'
    "from myst_nb import glue\n\n"
    'glue("rows", len(rows))'
)


def ran(process: subprocess.CompletedProcess) -> list[str]:
    """Name the chapters that a build executed."""
    return sorted(re.findall(r"chapter chapters/(\S+) (?:ran|failed)", process.stdout))


def article(project: Path, name: str) -> str:
    """Return the article of a built page: without footer, navigation and metadata."""
    page = project / "_build" / "html" / "chapters" / f"{name}.html"
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "lxml")
    return str(soup.select_one("article.bd-article"))


def words(project: Path, name: str) -> str:
    """Return what a reader reads in the article of a built page."""
    return " ".join(BeautifulSoup(article(project, name), "lxml").get_text().split())


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {path.name}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def listing(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file of a built book, by its name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def small_book(tmp_path: Path) -> Path:
    """A book of two chapters built as this one: one reads the analysis, one the data."""
    project = tmp_path / "a book"
    project.mkdir()
    for name in ("_config.yml", "references.bib", "requirements.txt"):
        shutil.copy(ROOT / name, project / name)
    for name in ("_static", "_vendor", "analysis/bookbuild"):
        shutil.copytree(
            ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__", "mathjax")
        )
    (project / "_toc.yml").write_text(
        "format: jb-book\nroot: chapters/index\nchapters:\n  - file: chapters/second\n"
    )
    analysis, data, chapters = project / "analysis", project / "data", project / "chapters"
    for name in ("digest.py", "identity.py"):
        shutil.copy(ROOT / "analysis" / name, analysis)
    (analysis / "__init__.py").touch()
    (analysis / "__main__.py").write_text('print("0 findings")\n')
    (analysis / "probe.py").write_text("VALUE = 41\n")
    data.mkdir()
    (data / "datapackage.json").write_text('{"version": "0.1.0", "created": "2025-01-01"}')
    (data / "probe.csv").write_text("events,total\n3,7\n")
    chapters.mkdir()
    (chapters / "index.md").write_text(
        CHAPTER.format(title="First", other="second", code=READS_ANALYSIS)
        + "\nThe other page counts {glue:text}`second.md::rows:d` rows.\n"
    )
    (chapters / "second.md").write_text(
        CHAPTER.format(title="Second", other="index", code=READS_DATA)
    )
    return project


@pytest.mark.book
def test_changes_reach_the_pages_and_only_they_cost_time(small_book: Path, build: Callable) -> None:
    first = build(small_book)
    assert first.returncode == 0, first.stdout
    assert ran(first) == ["index", "second"]
    assert "the value is 41" in article(small_book, "index")
    assert "the last row is 3,7" in article(small_book, "second")

    unchanged = build(small_book)
    assert unchanged.returncode == 0, unchanged.stdout
    assert ran(unchanged) == []

    replace(small_book / "analysis" / "probe.py", "41", "42")
    process = build(small_book)
    assert process.returncode == 0, process.stdout
    assert ran(process) == ["index", "second"]
    assert "the value is 42" in article(small_book, "index")

    replace(small_book / "data" / "probe.csv", "3,7", "4,7")
    process = build(small_book, jobs=1)
    assert process.returncode == 0, process.stdout
    assert ran(process) == ["index", "second"]
    assert "1 at a time" in process.stdout
    assert "the last row is 4,7" in article(small_book, "second")
    for page in ("index.html", "chapters/index.html", "chapters/second.html"):
        text = (small_book / "_build" / "html" / page).read_text(encoding="utf-8")
        assert data_digest(small_book / "data") in text

    # one edited chapter runs alone; the page that quotes its number is written again
    assert "The other page counts 2 rows" in words(small_book, "index")
    second = small_book / "chapters" / "second.md"
    replace(second, 'print(f"the last row', 'rows.append("5,7")\nprint(f"the final row')
    process = build(small_book)
    assert process.returncode == 0, process.stdout
    assert ran(process) == ["second"]
    assert "the final row is 5,7" in article(small_book, "second")
    assert "The other page counts 3 rows" in words(small_book, "index")

    # prose alone: no code to run again
    replace(second, "# Second", "# Another title")
    process = build(small_book)
    assert process.returncode == 0, process.stdout
    assert ran(process) == []
    assert "Another title" in article(small_book, "second")
    front = small_book / "_build" / "html" / "index.html"
    assert "Another title" in front.read_text(encoding="utf-8")

    # a style sheet alone: pages name it with its checksum, and are written again
    before = front.read_text(encoding="utf-8")
    (small_book / "_static" / "book.css").write_text("/* another style */")
    process = build(small_book)
    assert process.returncode == 0, process.stdout
    assert ran(process) == []
    assert front.read_text(encoding="utf-8") != before


DRAWS = """import matplotlib.pyplot as plt
import random
import sys

figure, axes = plt.subplots(figsize=(2, 1))
axes.plot([0, 1, 0.5])
axes.set_title("by pyplot")
plt.show()
print(__name__, sys.argv[0].rsplit("/")[-1], sys.path.count(""), random.Random(1).random())
print(sorted(name for name in dir() if not name.startswith("_")))"""

# what is printed with a pause in between leaves the kernel in two pieces
PAUSES = """import time

print("before the pause", flush=True)
time.sleep(0.5)
print("after it")"""


@pytest.mark.book
def test_what_a_cell_prints_is_one_output_of_the_notebook(
    small_book: Path, build: Callable
) -> None:
    (small_book / "chapters" / "second.md").write_text(
        CHAPTER.format(title="Second", other="index", code=f"{PAUSES}\n\n{READS_DATA}")
    )
    process = build(small_book)
    assert process.returncode == 0, process.stdout
    notebook = small_book / "_build" / "html" / "_sources" / "chapters" / "second.ipynb"
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    (outputs,) = [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]
    printed = [output for output in outputs if output["output_type"] == "stream"]
    assert [output["text"] for output in printed] == [
        "before the pause\nafter it\nthe last row is 3,7\n"
    ]


@pytest.mark.book
def test_copied_kernels_serial_and_parallel_give_what_fresh_ones_give(
    small_book: Path, build: Callable
) -> None:
    (small_book / "chapters" / "second.md").write_text(
        CHAPTER.format(title="Second", other="index", code=f"{READS_DATA}\n\n{DRAWS}")
    )
    results = []
    for jobs, kernels in ((2, "fresh"), (2, "warm"), (1, "warm")):
        shutil.rmtree(small_book / "_build", ignore_errors=True)
        process = build(small_book, jobs=jobs, kernels=kernels)
        assert process.returncode == 0, process.stdout
        assert "anew" not in process.stdout
        assert ran(process) == ["index", "second"]
        results.append(listing(small_book / "_build" / "html"))
    assert any(name.startswith("_images/") for name in results[0])
    for other in results[1:]:
        assert sorted(other) == sorted(results[0])
        assert [name for name in other if other[name] != results[0][name]] == []


@pytest.mark.book
def test_a_chapter_finds_nothing_of_another_in_its_kernel(
    small_book: Path, build: Callable
) -> None:
    leaves = "import sys\n\nsys.modules['analysis.left'] = sys\nleft = 1\nprint('left')"
    looks = "import sys\n\nprint('left' in dir(), 'analysis.left' in sys.modules)"
    (small_book / "chapters" / "index.md").write_text(
        CHAPTER.format(title="First", other="second", code=leaves)
    )
    (small_book / "chapters" / "second.md").write_text(
        CHAPTER.format(title="Second", other="index", code=looks)
    )
    process = build(small_book, jobs=1)
    assert process.returncode == 0, process.stdout
    assert "False False" in words(small_book, "second")


@pytest.mark.book
def test_a_warning_of_an_import_is_no_secret_of_the_warm_process(
    small_book: Path, build: Callable
) -> None:
    probe = small_book / "analysis" / "probe.py"
    probe.write_text("import warnings\n\nwarnings.warn('odd import')\nVALUE = 41\n")
    process = build(small_book)
    assert process.returncode != 0
    assert "odd import" in process.stdout
    probe.write_text("import nothing_of_this_name\nVALUE = 41\n")
    process = build(small_book)
    assert process.returncode != 0
    assert "nothing_of_this_name" in process.stdout


@pytest.mark.book
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("print(f", "raise ArithmeticError('one trial too few')\nprint(f", "one trial too few"),
        ("print(f", "import warnings\nwarnings.warn('odd')\nprint(f", "stderr"),
        ("See [the other page](index.md).", "See [nothing](nowhere.md).", "nowhere"),
        ("See [the other page]", "See {cite:p}`nobody1900` [the other page]", "nobody1900"),
    ],
    ids=["a cell fails", "a cell warns", "a link leads nowhere", "an unknown reference"],
)
def test_a_fault_stops_the_build_until_it_is_mended(
    small_book: Path, build: Callable, old: str, new: str, message: str
) -> None:
    chapter = small_book / "chapters" / "second.md"
    replace(chapter, old, new)
    for _ in range(2):  # the second time nothing has changed, and the fault is still there
        process = build(small_book)
        assert process.returncode != 0, process.stdout
        assert message in process.stdout
        assert "second" in process.stdout
    replace(chapter, new, old)
    process = build(small_book)
    assert process.returncode == 0, process.stdout
    assert "index" not in ran(process)


@pytest.mark.book
def test_a_fault_in_the_data_stops_the_build(small_book: Path, build: Callable) -> None:
    (small_book / "analysis" / "__main__.py").write_text(
        'raise SystemExit("data/probe.csv, row 2, column events: not a count")\n'
    )
    process = build(small_book)
    assert process.returncode == 1
    assert "row 2, column events" in process.stdout
    assert "data package has errors" in process.stdout
    assert list((small_book / "_build" / "html").rglob("*.html")) == []


@pytest.mark.book
def test_a_removed_chapter_leaves_no_page(small_book: Path, build: Callable) -> None:
    assert build(small_book).returncode == 0
    (small_book / "_toc.yml").write_text("format: jb-book\nroot: chapters/index\n")
    (small_book / "chapters" / "second.md").unlink()
    chapter = small_book / "chapters" / "index.md"
    replace(chapter, "See [the other page](second.md).", "Alone.")
    replace(chapter, "The other page counts {glue:text}`second.md::rows:d` rows.", "")
    process = build(small_book)
    assert process.returncode == 0, process.stdout
    assert not (small_book / "_build/html/chapters/second.html").exists()
    assert not list((small_book / "_build/html/_sources").rglob("second*"))


@pytest.mark.book
@pytest.mark.xdist_group("whole-book")
def test_another_folder_without_network_gives_the_same_bytes_and_a_changed_count_another_page(
    built_book: Path, copy_project: Callable, build: Callable, offline: Any, tmp_path: Path
) -> None:
    project = copy_project(tmp_path / "elsewhere")
    process = build(project, kernels="fresh", offline=offline)
    assert process.returncode == 0, process.stdout
    assert not offline.asked.exists(), offline.asked.read_text(encoding="utf-8")
    here, there = listing(built_book), listing(project / "_build" / "html")
    assert sorted(here) == sorted(there)
    assert [name for name in here if here[name] != there[name]] == []

    before = words(project, "overall-response")
    table = project / "data" / "extraction.csv"
    with table.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or [])
        rows = list(reader)
    pinned = json.loads((project / "data" / "estimates.json").read_text(encoding="utf-8"))
    pooled = next(e["records"] for e in pinned if e["estimand_id"] == "orr-cd19-single-agent")
    responses = [row for row in rows if row["record_id"] in pooled]
    row = max(responses, key=lambda row: int(row["total"]))
    row["events"] = str(int(row["events"]) // 2)
    row["percent"] = ""
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    process = build(project)
    assert process.returncode == 0, process.stdout
    assert "overall-response" in ran(process)
    after = words(project, "overall-response")
    new = f"{row['events']}/{row['total']}"
    assert new not in before
    assert new in after
    estimate = re.compile(r"Overall response: \d+% \([^)]*\)")
    assert estimate.findall(before) != estimate.findall(after)


def test_guard_against_the_network_bites(offline: Any) -> None:
    tries = (
        "import socket\n"
        "socket.socket().bind(('127.0.0.1', 0))\n"
        "for call in (lambda: socket.create_connection(('192.0.2.1', 80), timeout=1),\n"
        "             lambda: socket.getaddrinfo('example.org', 80)):\n"
        "    try:\n"
        "        call()\n"
        "    except OSError as error:\n"
        "        print(error)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", tries],
        env={**os.environ, **offline.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.count("no network here") == 2, process.stderr
    asked = offline.asked.read_text(encoding="utf-8").splitlines()
    assert "socket.getaddrinfo: example.org" in asked
    assert any("192.0.2.1" in line for line in asked)


def test_estimates_are_the_same_bytes_in_another_folder(
    copy_project: Callable, tmp_path: Path
) -> None:
    project = copy_project(tmp_path / "else where")
    for name in ("estimates.csv", "estimates.json"):
        (project / "data" / name).unlink()
    subprocess.run(
        [sys.executable, "-m", "analysis", "estimates", "--write"],
        cwd=project,
        capture_output=True,
        timeout=300,
        check=True,
    )
    here = list(publish.records(load()))
    for name, text in (
        ("estimates.csv", publish.to_csv(here)),
        ("estimates.json", publish.to_json(here)),
    ):
        assert (project / "data" / name).read_bytes() == text.encode("utf-8")


def test_data_digest_is_what_sha256sum_gives() -> None:
    names = [path.name for path in data_files()]
    assert "datapackage.json" in names
    assert not {"estimates.csv", "estimates.json"} & set(names)
    if shutil.which("sha256sum") is None:
        pytest.skip("there is no sha256sum on this system")
    listing = subprocess.run(
        ["sha256sum", *names], cwd=ROOT / "data", capture_output=True, check=True
    ).stdout
    total = subprocess.run(["sha256sum"], input=listing, capture_output=True, check=True).stdout
    assert total.decode().split()[0] == data_digest()


def test_data_digest_without_descriptor_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no datapackage\.json"):
        data_digest(tmp_path)


@pytest.mark.parametrize(
    "path", ["data/probe.csv", "analysis/probe.py", "analysis/estimands.toml", "requirements.txt"]
)
def test_inputs_digest_sees_every_input(tmp_path: Path, path: str) -> None:
    for folder in ("data", "analysis", "chapters"):
        (tmp_path / folder).mkdir()
    before = inputs_digest(tmp_path)
    (tmp_path / path).write_text("1\n")
    first = inputs_digest(tmp_path)
    (tmp_path / path).write_text("2\n")
    assert len({before, first, inputs_digest(tmp_path)}) == 3


def test_inputs_digest_leaves_out_prose_and_caches(tmp_path: Path) -> None:
    for folder in ("data", "analysis/__pycache__", "chapters"):
        (tmp_path / folder).mkdir(parents=True)
    before = inputs_digest(tmp_path)
    (tmp_path / "analysis/__pycache__/probe.pyc").write_bytes(b"1")
    (tmp_path / "chapters/index.md").write_text("# Title\n")
    assert inputs_digest(tmp_path) == before


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_job_count_refuses_what_is_not_a_count(text: str) -> None:
    with pytest.raises(ValueError, match="BOOK_JOBS"):
        job_count({"BOOK_JOBS": text})


def test_job_count_reads_its_variable() -> None:
    assert job_count({"BOOK_JOBS": "3"}) == 3
    assert 1 <= job_count({}) <= 4


def test_chapters_run_in_the_same_surroundings_everywhere(tmp_path: Path) -> None:
    here = kernel_environment(tmp_path, {"LANG": "tr_TR.UTF-8", "PYTHONWARNINGS": "ignore"})
    there = kernel_environment(tmp_path, {"TZ": "Asia/Kolkata", "MPLBACKEND": "TkAgg"})
    assert here == there
    assert here["PYTHONPATH"] == str(tmp_path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<a href="data.html#x">', '<a href="chapters/data.html#x">'),
        ('<link href="../_static/a.css?v=1">', '<link href="_static/a.css?v=1">'),
        ('<a href="#top">', '<a href="#top">'),
        ('<html data-content_root="../">', '<html data-content_root="./">'),
        ('<a href="https://example.org/a">', '<a href="https://example.org/a">'),
        ('<img src="data:image/png;base64,AA==">', '<img src="data:image/png;base64,AA==">'),
        ('<form action="../search.html">', '<form action="search.html">'),
    ],
)
def test_the_copy_of_the_front_page_keeps_its_links(before: str, after: str) -> None:
    assert relocate(before, "chapters") == after


@pytest.mark.parametrize(
    ("answers", "message"),
    [("exit 1", "too old"), ('case "$2" in *ensurepip*) exit 1;; esac', "python3-venv")],
    ids=["old Python", "no venv module"],
)
def test_setup_says_what_is_missing(tmp_path: Path, answers: str, message: str) -> None:
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\n{answers}\n'
    )
    python.chmod(0o755)
    process = subprocess.run(
        ["sh", ".ci/setup.sh", str(tmp_path / "venv")],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert message in process.stderr
    assert not (tmp_path / "venv").exists()


def test_requirements_are_pinned_hashed_and_name_no_host() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert not re.search(r"index-url|find-links|://|@ file|@ git", text)
    entries = re.split(r"\n(?=[a-z0-9])", "\n".join(text.splitlines()[2:]), flags=re.IGNORECASE)
    assert all(re.match(r"\S+==\S+", entry) and "--hash=sha256:" in entry for entry in entries)
    pinned = {entry.split("==")[0] for entry in entries}
    direct = (ROOT / "requirements.in").read_text(encoding="utf-8")
    names = {
        re.split(r"[<>=\s\[]", line)[0].lower()
        for line in direct.splitlines()
        if line.strip() and not line.startswith("#")
    }
    assert names <= pinned
