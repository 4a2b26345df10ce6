"""Run chapters, several at a time, and keep their results in the book's cache.

MyST-NB executes notebooks one after another while it reads them. This module runs the ones that
are not in the cache before the reading starts, each in its own kernel, and stores the results where
MyST-NB looks for them. Where there are several to run, kernels are copies of one process that has
done the imports (see `warm`). Kernels talk over sockets in the file system: over TCP, kernels that
start at the same moment may be given the same port.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.bookbuild import warm

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager
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


def fresh_kernels(environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether every chapter is to have a kernel that is started anew.

    Parameters
    ----------
    environ : mapping
        Where to look for ``BOOK_KERNELS``: ``fresh``, or ``warm`` (also if it is empty or absent).

    Raises
    ------
    ValueError
        If ``BOOK_KERNELS`` is another word.
    """
    text = environ.get("BOOK_KERNELS", "").strip() or "warm"
    if text not in {"fresh", "warm"}:
        raise ValueError(f"BOOK_KERNELS must be fresh or warm, not {text!r}.")
    return text == "fresh"


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


def start_warm_parent(root: Path) -> warm.WarmParent | None:
    """Start the process of which kernels are copies, unless it is not wanted or not possible.

    Parameters
    ----------
    root : Path
        The folder of the project.
    """
    if fresh_kernels() or not warm.available():
        return None
    return warm.WarmParent(root, kernel_environment(root))


def run_chapters(
    chapters: Sequence[Chapter],
    *,
    root: Path,
    jobs: int,
    timeout: int | None,
    report: Callable[[Outcome], None],
    parent: warm.WarmParent | None = None,
    give_up: Callable[[], bool] = lambda: False,
) -> list[Outcome]:
    """Run chapters in place, at most ``jobs`` at a time, those with the most cells first.

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
    parent : WarmParent, optional
        The process of which kernels are copies; without it, each is started anew.
    give_up : callable
        Asked now and then whether to stop all kernels, because the results are not wanted any more.

    Returns
    -------
    list of Outcome
        In the order of ``chapters``; empty where it gave up.
    """
    # a short folder: the path of a socket may have little more than 100 characters
    with tempfile.TemporaryDirectory(prefix="book-") as folder:
        work = _run_all(chapters, root, jobs, timeout, report, parent, Path(folder))
        return asyncio.run(_unless(give_up, work))


async def _unless(
    give_up: Callable[[], bool], work: Coroutine[Any, Any, list[Outcome]]
) -> list[Outcome]:
    task = asyncio.create_task(work)
    while not task.done():
        await asyncio.wait([task], timeout=0.25)
        if give_up():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            return []
    return task.result()


async def _run_all(
    chapters: Sequence[Chapter],
    root: Path,
    jobs: int,
    timeout: int | None,
    report: Callable[[Outcome], None],
    parent: warm.WarmParent | None,
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
            connection_file = folder / f"{number}.json"
            error = await _run_one(chapter, timeout, environment, connection_file, parent)
            outcome = Outcome(chapter, time.monotonic() - start, error)
            report(outcome)
            return outcome

    longest_first = sorted(range(len(chapters)), key=lambda at: -_cell_count(chapters[at]))
    outcomes = await asyncio.gather(*(run(at, chapters[at]) for at in longest_first))
    return [outcome for _, outcome in sorted(zip(longest_first, outcomes, strict=True))]


def _cell_count(chapter: Chapter) -> int:
    return sum(cell.cell_type == "code" for cell in chapter.notebook.cells)


async def _run_one(
    chapter: Chapter,
    timeout: int | None,
    environment: dict[str, str],
    connection_file: Path,
    parent: warm.WarmParent | None,
) -> str | None:
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    name = chapter.notebook.metadata.get("kernelspec", {}).get("name", "python3")
    manager = _manager(name, connection_file, parent if name == "python3" else None)
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


def _manager(
    name: str, connection_file: Path, parent: warm.WarmParent | None
) -> AsyncKernelManager:
    """Return what starts and ends the kernel of a chapter."""
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_client.provisioning import LocalProvisioner

    class CopyManager(AsyncKernelManager):
        async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
            assert parent is not None
            assert isinstance(self.provisioner, LocalProvisioner)
            process = parent.copy(kernel_cmd, kw["cwd"], kw["env"])
            self.provisioner.process = process  # type: ignore[assignment]
            self.provisioner.pid = process.pid

    make = AsyncKernelManager if parent is None else CopyManager
    transport = {} if sys.platform == "win32" else {"transport": "ipc"}
    return make(kernel_name=name, connection_file=str(connection_file), **transport)


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
        JSON, the same for the same results: cells are numbered where Jupyter draws random names,
        and what a cell printed is in one piece, however many it arrived in.

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
        if "outputs" in cell:
            cell.outputs = _joined(cell.outputs)
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _joined(outputs: Sequence[Any]) -> list[Any]:
    """Join what was printed to one stream without anything else in between."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            last["text"] += output["text"]
        else:
            joined.append(output)
    return joined


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
