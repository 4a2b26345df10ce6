"""Build the book: ``python -m analysis.bookbuild``.

Runs Jupyter Book with warnings as errors, which checks the data package beside the chapters (see
`sphinx_ext`), and says what it does in short lines. What Jupyter Book prints goes to
``_build/book.log``; warnings and errors are shown.
"""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from analysis.bookbuild.execution import (
    ANSI,
    QUOTE,
    fresh_kernels,
    job_count,
    kernel_environment,
)
from analysis.digest import ROOT, data_date, data_digest, data_version

FALLBACK_DATE = "2025-01-01"
"""Date stamped into generated files where the data package does not give one."""

# lines of the log that tell a person how far the build is
_PROGRESS = ("running ", "chapter ", "checked: ")
_PROBLEM = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b")


def main() -> int:
    """Build the book, and return the exit code: 0 when all is well."""
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - start:5.1f} s] {text}", flush=True)

    try:
        job_count()
        fresh_kernels()
        environment = build_environment(ROOT)
    except ValueError as error:
        say(f"stopped: {error}")
        return 1

    build = ROOT / "_build"
    build.mkdir(exist_ok=True)
    say(f"building the book on data {data_version()} (sha256 {data_digest()[:12]}...)")
    finished = build / ".finished"
    environment_file = build / ".doctrees" / "environment.pickle"
    # Sphinx repeats the warnings of a page only when it reads the page again; after a build that
    # failed or was interrupted, read all pages again
    if not finished.exists():
        environment_file.unlink(missing_ok=True)
    finished.unlink(missing_ok=True)
    code = run_jupyter_book(build / "book.log", environment, say)
    if code != 0:
        say("stopped: the book was not built, for the reasons above; the log is _build/book.log")
        return 1
    index = build / "html" / "index.html"
    if not index.is_file():
        say(f"stopped: the build left no {index.relative_to(ROOT)}")
        return 1
    finished.touch()
    say(f"done: open {index.relative_to(ROOT)}")
    return 0


def build_environment(root: Path) -> dict[str, str]:
    """Return the environment of the build, with the date of the data as the date of everything.

    Parameters
    ----------
    root : Path
        The folder of the project.

    Returns
    -------
    dict
        Environment variables.

    Raises
    ------
    ValueError
        If the data package gives no version, or a date that is not an ISO date.
    """
    environment = kernel_environment(root)
    text = data_date(root / "data") or FALLBACK_DATE
    try:
        date = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"data/datapackage.json: created is not an ISO date: {text!r}.") from None
    if date.tzinfo is None:
        date = date.replace(tzinfo=datetime.UTC)
    environment["SOURCE_DATE_EPOCH"] = str(int(date.timestamp()))
    return environment


def run_jupyter_book(
    log_path: Path, environment: dict[str, str], say: Callable[[str], None]
) -> int:
    """Run Jupyter Book, keep its output in a log, and show progress, warnings and errors.

    Parameters
    ----------
    log_path : Path
        File for everything that Jupyter Book prints.
    environment : dict
        Environment variables.
    say : callable
        Called with each line of progress.

    Returns
    -------
    int
        Its exit code.
    """
    command = [
        sys.executable,
        "-c",
        "from jupyter_book.cli.main import main; main(prog_name='jupyter-book')",
        *("build", ".", "-W", "-n", "--keep-going"),
    ]
    with (
        log_path.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        problems = 0
        assert process.stdout is not None
        for raw in process.stdout:
            line = ANSI.sub("", raw)
            log.write(line)
            if line.startswith(_PROGRESS):
                say(line.rstrip())
            elif _PROBLEM.search(line) or (problems and line.startswith(QUOTE)):
                problems += 1
                print(line.rstrip(), flush=True)
        process.wait()
    if process.returncode != 0 and not problems:
        sys.stdout.write(log_path.read_text(encoding="utf-8")[-4000:])
    return process.returncode


if __name__ == "__main__":
    # the output of the commands it runs and its own in the order in which they happen
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
