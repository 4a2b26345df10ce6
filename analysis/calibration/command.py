"""What ``python -m analysis simulate`` does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.calibration import study
from analysis.calibration.designs import study_designs
from analysis.wording import count

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = ["minutes", "simulate"]


def minutes(seconds: float) -> str:
    """Write a duration: ``45 s``, ``17 min``, ``3.2 h``, ``12 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:,.0f} days"


def simulate(
    dataset: Dataset,
    *,
    replications: int,
    seed: int,
    jobs: int,
    scheduler: str | None,
    only: str | None,
    resume_dir: Path,
    table: Path | None,
    dry_run: bool,
) -> None:
    """Plan, project, run with a progress bar, and write the table.

    Parameters
    ----------
    dataset : Dataset
        Gives the designs.
    replications, seed, jobs, scheduler, resume_dir
        As in :func:`analysis.calibration.study.run`.
    only : str, optional
        Only cells whose name contains this text.
    table : Path, optional
        Where to write the table; its description goes beside it with the ending ``.json``.
    dry_run : bool
        Stop after the projection.

    Raises
    ------
    ValueError
        If no cell is selected, or a number is out of range.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    designs = study_designs(dataset)
    cells = [cell for cell in study.plan(designs) if only is None or only in cell.name]
    if not cells:
        raise ValueError(f"no cell has {only!r} in its name; names look like k6a_normal_0.3_0.5")
    if replications < 1:
        raise ValueError(f"the number of replications must be at least 1, got {replications}")
    ahead = study.project(cells, replications, seed)
    workers = "the cluster" if scheduler else count(jobs, "process", "processes")
    print(
        f"{count(len(cells), 'cell')}, {ahead.replications:,} simulated data sets, "
        f"{ahead.fits:,} to analyze after counting equal ones once"
    )
    print(
        f"{ahead.per_second:,.0f} data sets per second and core, every interval of each; "
        f"projected {minutes(ahead.seconds)} of one core"
        + ("" if scheduler else f", {minutes(ahead.seconds / jobs)} with {workers}")
    )
    if dry_run:
        return
    started = time.perf_counter()
    busy = 0.0
    fresh = 0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"cells, {workers}", total=len(cells))

        def step(_cell: study.Cell, seconds: float) -> None:
            nonlocal busy, fresh
            busy += seconds
            fresh += seconds > 0
            bar.advance(task)

        rows = study.run(
            cells,
            replications=replications,
            seed=seed,
            jobs=jobs,
            scheduler=scheduler,
            resume_dir=resume_dir,
            progress=step,
        )
    seconds = time.perf_counter() - started
    print(
        f"{count(fresh, 'cell')} computed, {len(cells) - fresh} found finished, in "
        f"{minutes(seconds)} ({minutes(busy)} of processor time)"
    )
    if table is not None:
        facts = {
            "data_version": dataset.version,
            "analyzed": ahead.fits,
            "run": {
                "jobs": jobs if scheduler is None else None,
                "cells_computed": fresh,
                "seconds": round(seconds, 1),
                "processor_seconds": round(busy, 1),
            },
        }
        sidecar = table.with_suffix(".json")
        study.write(
            rows, cells, replications=replications, seed=seed, about=facts, table=table,
            sidecar=sidecar,
        )  # fmt: skip
        print(f"wrote {table} and {sidecar}")
