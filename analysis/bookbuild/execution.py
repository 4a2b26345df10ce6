"""Run chapters, several at a time, and keep their results in the book's cache.

MyST-NB executes notebooks one after another while it reads them. This module runs the ones that
are not in the cache before the reading starts, each in its own kernel, and stores the results where
MyST-NB looks for them. Kernels talk over sockets in the file system: over TCP, kernels that start
at the same moment may be given the same port.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

DEFAULT_JOBS = 4
QUOTE = "  | "
"""What the lines of a longer error message start with in the log."""

ANSI = re.compile(r"\x1b\[[0-9;]*m")
"""The codes by which terminal output is colored."""


@dataclass(frozen=True)
class Chapter:
    """A chapter that is to be run: its name, its file, and its notebook without results."""

    name: str
    path: Path
    notebook: NotebookNode


@dataclass(frozen=True)
class Outcome:
    """What running a chapter gave: seconds taken, and the error message where it failed."""

    chapter: Chapter
    seconds: float
    error: str | None


def job_count(environ: Mapping[str, str] = os.environ) -> int:
    """Return how many chapters to run at once.

    Parameters
    ----------
    environ : mapping
        Where to look for ``BOOK_JOBS``; empty or absent means as many as there are processors,
        up to 4.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    ValueError
        If ``BOOK_JOBS`` is not a positive whole number.
    """
    text = environ.get("BOOK_JOBS", "").strip()
    if not text:
        return max(1, min(DEFAULT_JOBS, os.cpu_count() or 1))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"BOOK_JOBS must be a positive whole number, not {text!r}.")
    return int(text)


def kernel_environment(root: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment in which chapters run: the same on every machine.

    Parameters
    ----------
    root : Path
        The folder of the project; chapters can import ``analysis`` from it.
    environ : mapping
        The environment to start from.

    Returns
    -------
    dict
        A copy with the import path, language, time zone and thread counts fixed.
    """
    fixed = dict(environ)
    paths = [str(root), *filter(None, [environ.get("PYTHONPATH")])]
    fixed.update(
        PYTHONPATH=os.pathsep.join(paths),
        PYTHONHASHSEED="0",
        PYTHONNOUSERSITE="1",
        PYTHONUTF8="1",
        PYDEVD_DISABLE_FILE_VALIDATION="1",
        LC_ALL="C.UTF-8",
        LANG="C.UTF-8",
        TZ="UTC",
        # chapters run beside each other, so each keeps to one thread
        OMP_NUM_THREADS="1",
        OPENBLAS_NUM_THREADS="1",
        MKL_NUM_THREADS="1",
    )
    for name in ("MPLBACKEND", "PYTHONWARNINGS"):
        fixed.pop(name, None)
    return fixed


def run_chapters(
    chapters: Sequence[Chapter],
    *,
    root: Path,
    jobs: int,
    timeout: int | None,
    report: Callable[[Outcome], None],
) -> list[Outcome]:
    """Run chapters in place, at most ``jobs`` at a time.

    Parameters
    ----------
    chapters : sequence of Chapter
        What to run; their notebooks receive the results.
    root : Path
        The folder of the project.
    jobs : int
        How many kernels may be alive at once.
    timeout : int or None
        Seconds that one cell may take; ``None`` or negative for no limit.
    report : callable
        Called with the outcome of each chapter as soon as it is known.

    Returns
    -------
    list of Outcome
        In the order of ``chapters``.
    """
    # a short folder: the path of a socket may have little more than 100 characters
    with tempfile.TemporaryDirectory(prefix="book-") as folder:
        return asyncio.run(_run_all(chapters, root, jobs, timeout, report, Path(folder)))


async def _run_all(
    chapters: Sequence[Chapter],
    root: Path,
    jobs: int,
    timeout: int | None,
    report: Callable[[Outcome], None],
    folder: Path,
) -> list[Outcome]:
    limit = asyncio.Semaphore(jobs)
    environment = kernel_environment(root)
    # settings of the user's own Jupyter and IPython must not change what a chapter shows
    environment["IPYTHONDIR"] = str(folder / "ipython")
    environment["JUPYTER_CONFIG_DIR"] = str(folder / "jupyter")

    async def run(number: int, chapter: Chapter) -> Outcome:
        async with limit:
            start = time.monotonic()
            error = await _run_one(
                chapter, timeout, environment, connection_file=folder / f"{number}.json"
            )
            outcome = Outcome(chapter, time.monotonic() - start, error)
            report(outcome)
            return outcome

    return await asyncio.gather(*(run(i, chapter) for i, chapter in enumerate(chapters)))


async def _run_one(
    chapter: Chapter, timeout: int | None, environment: dict[str, str], connection_file: Path
) -> str | None:
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    transport = {} if sys.platform == "win32" else {"transport": "ipc"}
    manager = AsyncKernelManager(
        kernel_name=chapter.notebook.metadata.get("kernelspec", {}).get("name", "python3"),
        connection_file=str(connection_file),
        **transport,
    )
    client = NotebookClient(
        chapter.notebook,
        km=manager,
        timeout=timeout if timeout and timeout > 0 else None,
        record_timing=False,
        resources={"metadata": {"path": str(chapter.path.parent)}},
    )
    try:
        await client.async_execute(env=environment)
    except (CellExecutionError, CellTimeoutError, DeadKernelError, RuntimeError) as error:
        return ANSI.sub("", str(error)).strip()
    finally:
        # a client leaves a kernel alone that was handed to it
        await manager.shutdown_kernel(now=True)
    return None


def store(cache_path: Path, outcomes: Sequence[Outcome]) -> None:
    """Keep the results of chapters that ran to their end.

    Parameters
    ----------
    cache_path : Path
        The folder of the cache.
    outcomes : sequence of Outcome
        What `run_chapters` returned; failures are left out.
    """
    from jupyter_cache import get_cache
    from jupyter_cache.base import CacheBundleIn

    cache = get_cache(str(cache_path))
    for outcome in outcomes:
        if outcome.error is None:
            cache.cache_notebook_bundle(
                CacheBundleIn(
                    outcome.chapter.notebook,
                    str(outcome.chapter.path),
                    data={"execution_seconds": outcome.seconds},
                ),
                check_validity=False,
                overwrite=True,
            )


def executed(cache_path: Path, chapter: Chapter) -> str:
    """Return a chapter's notebook with its results, as the text of an ``.ipynb`` file.

    Parameters
    ----------
    cache_path : Path
        The folder of the cache.
    chapter : Chapter
        A chapter whose result is in the cache.

    Returns
    -------
    str
        JSON, the same for the same results: cells are numbered where Jupyter draws random names.

    Raises
    ------
    KeyError
        If the result is not in the cache.
    """
    from jupyter_cache import get_cache

    _, notebook = get_cache(str(cache_path)).merge_match_into_notebook(chapter.notebook)
    notebook.metadata.pop("source_map", None)
    notebook.update(nbformat=4, nbformat_minor=5)
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number}"
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def missing(cache_path: Path, chapters: Sequence[Chapter]) -> list[Chapter]:
    """Return the chapters whose result is not in the cache, one of each that run the same code.

    Parameters
    ----------
    cache_path : Path
        The folder of the cache; it is made where it does not exist.
    chapters : sequence of Chapter
        The chapters to look up.

    Returns
    -------
    list of Chapter
        Those to run, in the same order.
    """
    from jupyter_cache import get_cache

    cache = get_cache(str(cache_path))
    wanted: dict[str, Chapter] = {}
    for chapter in chapters:
        try:
            cache.match_cache_notebook(chapter.notebook)
        except KeyError:
            _, key = cache.create_hashed_notebook(chapter.notebook)
            wanted.setdefault(key, chapter)
    return list(wanted.values())
