"""The calibration study: cells, their results, and running them anywhere.

A cell is one design under one truth. Its replications are drawn from a seed of its own, equal
data sets are analyzed once and counted, and its results are a few dozen rows of numbers, rounded
when they are made. So the table does not depend on who computed which cell, in which order, or
whether the run was interrupted.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.calibration.designs import Design
from analysis.calibration.methods import METHODS, intervals
from analysis.calibration.truths import TAU, WORLDS, P, Truth

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMNS",
    "REPLICATIONS",
    "SEED",
    "Cell",
    "Projection",
    "load_table",
    "plan",
    "project",
    "run",
    "run_cell",
    "table_text",
    "write",
]

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "data" / "calibration.csv"
ABOUT = ROOT / "data" / "calibration.json"
CACHE = ROOT / "_build" / "calibration"

SEED = 20240229
# A coverage of 50 %, the worst case, then has a Monte-Carlo error of 0.46 percentage points.
REPLICATIONS = 12_000
COLUMNS = (
    "design", "world", "p", "tau", "method", "target",
    "coverage", "below", "width", "bias", "failures",
)  # fmt: skip
"""Columns of the table. All but the first six are percentages or percentage points: ``coverage``,
``below`` (the truth lies below the lower limit; what is left to 100 lies above the upper one),
mean ``width``, ``bias`` (mean of estimate minus truth) and ``failures`` (data sets for which the
method has no interval; the other numbers are over the rest)."""

# In the misspecified worlds the two-step methods are represented by those in common use.
_FEWER = {
    "dl-logit-wald",
    "reml-logit-wald",
    "reml-logit-hk",
    "reml-logit-adhoc",
    "dl-arcsine-wald",
    "dl-ft-wald",
    "reml-ft-adhoc",
}
_SLACK = 1e-12


@dataclass(frozen=True)
class Cell:
    """One design under one truth."""

    design: Design
    truth: Truth

    @property
    def name(self) -> str:
        """Unique, and fit for a file name."""
        return f"{self.design.id}_{self.truth.world}_{self.truth.p:g}_{self.truth.tau:g}"


def misspecified_designs(designs: Sequence[Design]) -> tuple[Design, ...]:
    """Designs on which the misspecified worlds are run.

    The first design of the book for each number of trials from 3 on whose trials differ in size,
    and the drawn design of 12 trials. The others would double the run without another pattern:
    they repeat these numbers of trials, or lie between them.
    """
    real: dict[int, Design] = {}
    for design in designs:
        if design.estimands and design.k >= 3 and len(set(design.total)) > 1:
            real.setdefault(design.k, design)
    return (*real.values(), *(d for d in designs if not d.estimands and d.k == 12))


def plan(designs: Sequence[Design]) -> tuple[Cell, ...]:
    """Every cell of the study, the most expensive designs first.

    World ``normal``: every design, every p and tau. Other worlds: the designs of
    :func:`misspecified_designs`, every p, and tau above 0 (at 0 all worlds are one).
    """
    cells = [Cell(d, Truth("normal", p, tau)) for d in designs for p in P for tau in TAU]
    cells += [
        Cell(d, Truth(world, p, tau))
        for d in misspecified_designs(designs)
        for world in WORLDS[1:]
        for p in P
        for tau in TAU[1:]
    ]
    order = {design.id: i for i, design in enumerate(designs)}
    return tuple(sorted(cells, key=lambda c: (-c.design.k, order[c.design.id])))


def _draw(cell: Cell, replications: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct data sets of a cell (U, k) and how often each was drawn (U,).

    Trials of one size are exchangeable, so their counts are put in order first.
    """
    truth, total = cell.truth, np.array(cell.design.total)
    entropy = [
        seed,
        *cell.design.total,
        WORLDS.index(truth.world),
        round(1e9 * truth.p),
        round(1e9 * truth.tau),
    ]
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
    events = truth.draw(rng, total, replications)
    for n in np.unique(total):
        same = total == n
        events[:, same] = np.sort(events[:, same], axis=1)
    return np.unique(events, axis=0, return_counts=True)


def run_cell(
    cell: Cell, replications: int = REPLICATIONS, seed: int = SEED
) -> list[dict[str, Any]]:
    """Coverage of every method in one cell.

    Parameters
    ----------
    cell : Cell
    replications : int
        Simulated data sets.
    seed : int
        Of the study; the cell mixes its own design and truth into it.

    Returns
    -------
    list of dict
        One row per method and target, with the keys :data:`COLUMNS` and ``mc_error``, the
        Monte-Carlo error of the coverage.
    """
    events, count = _draw(cell, replications, seed)
    total = np.array(cell.design.total)
    return summarize(cell, intervals(events, total), count)


def summarize(
    cell: Cell, found: dict[tuple[str, str], Any], count: np.ndarray
) -> list[dict[str, Any]]:
    """Turn limits of distinct data sets, each seen ``count`` times, into rows of the table."""
    truth, total = cell.truth, np.array(cell.design.total)
    value = {"median": truth.p, "average": truth.average(total)}
    rows = []
    for method in METHODS:
        key = (method.id, method.target)
        if key not in found:
            continue
        many = method.family == "two-step" and method.target == "median"
        if truth.world != "normal" and many and method.id not in _FEWER:
            continue
        estimate, low, high = found[key]
        here = ~(np.isnan(low) | np.isnan(high))
        weight = count[here] / max(count[here].sum(), 1)
        low, high = low[here], high[here]
        if method.target == "next":
            below = truth.below(low, total, closed=False)
            above = 1.0 - truth.below(high, total, closed=True)
        else:
            below = (value[method.target] < low - _SLACK).astype(float)
            above = (value[method.target] > high + _SLACK).astype(float)
        inside = 1.0 - below - above
        some = bool(here.any())
        coverage = float(weight @ inside)
        error = math.sqrt(
            max(float(weight @ (inside - coverage) ** 2), 0.0) / max(int(count[here].sum()), 1)
        )
        bias: float | None = None
        known = here & ~np.isnan(estimate)
        if method.target != "next" and known.any():
            share = count[known] / count[known].sum()
            bias = float(share @ (estimate[known] - value[method.target]))
        rows.append(
            {
                "design": cell.design.id,
                "world": truth.world,
                "p": truth.p,
                "tau": truth.tau,
                "method": method.id,
                "target": method.target,
                "coverage": round(100.0 * coverage, 2) if some else None,
                "mc_error": round(100.0 * error, 2) if some else None,
                "below": round(100.0 * float(weight @ below), 2) if some else None,
                "width": round(100.0 * float(weight @ (high - low)), 1) if some else None,
                "bias": None if bias is None else round(100.0 * bias, 2),
                "failures": round(100.0 * float(count[~here].sum() / count.sum()), 2),
            }
        )
    return rows


# --------------------------------------------------------------------------- before a run


@dataclass(frozen=True)
class Projection:
    """What a run will take.

    Attributes
    ----------
    fits : int
        Data sets to analyze: the distinct ones of each cell.
    replications : int
        Simulated data sets of all cells together.
    seconds : float
        Measured cost of all of them on one core.
    per_second : float
        Data sets analyzed per second and core.
    cost : dict
        Seconds per data set by design.
    """

    fits: int
    replications: int
    seconds: float
    per_second: float
    cost: dict[str, float]


def project(
    cells: Sequence[Cell], replications: int = REPLICATIONS, seed: int = SEED, sample: int = 64
) -> Projection:
    """Draw every cell, time a sample of each design, and add up.

    The draws are exact, so the number of fits is; only their cost is sampled.
    """
    fits: dict[str, int] = {}
    example: dict[str, np.ndarray] = {}
    total = {cell.design.id: np.array(cell.design.total) for cell in cells}
    for cell in cells:
        events, _ = _draw(cell, replications, seed)
        name = cell.design.id
        fits[name] = fits.get(name, 0) + len(events)
        if cell.truth.p in (0.1, 0.3) or name not in example:
            spread = np.linspace(0, len(events) - 1, min(sample, len(events))).astype(int)
            example[name] = events[spread]
    cost = {}
    for name, events in example.items():
        intervals(events[:1], total[name])
        start = time.perf_counter()
        intervals(events, total[name])
        cost[name] = (time.perf_counter() - start) / len(events)
    seconds = sum(fits[name] * cost[name] for name in fits)
    everything = sum(fits.values())
    return Projection(everything, replications * len(cells), seconds, everything / seconds, cost)


def code_digest() -> str:
    """Digest of the code that a cell's numbers depend on."""
    base = Path(__file__).resolve().parent
    files = [base / name for name in ("truths.py", "lattice.py", "methods.py", "study.py")]
    files += sorted((base.parent / "pooling").glob("*.py"))
    listing = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files
    )
    return hashlib.sha256(listing.encode()).hexdigest()


def design_digest(designs: Iterable[Design]) -> str:
    """Digest of the totals of all designs."""
    text = ";".join(f"{d.id}:{','.join(str(n) for n in d.total)}" for d in designs)
    return hashlib.sha256(text.encode()).hexdigest()


# --------------------------------------------------------------------------- running


def _timed(cell: Cell, replications: int, seed: int) -> tuple[Cell, list[dict[str, Any]], float]:
    start = time.process_time()
    rows = run_cell(cell, replications, seed)
    return cell, rows, time.process_time() - start


def run(
    cells: Sequence[Cell],
    *,
    replications: int = REPLICATIONS,
    seed: int = SEED,
    jobs: int = 1,
    scheduler: str | None = None,
    resume_dir: Path | None = None,
    progress: Callable[[Cell, float], None] | None = None,
) -> list[dict[str, Any]]:
    """Run cells serially, in local processes, or on a Dask cluster.

    Parameters
    ----------
    cells : sequence of Cell
    replications, seed
        As in :func:`run_cell`.
    jobs : int
        Local processes; 1 computes here.
    scheduler : str, optional
        Address of a Dask scheduler (``tcp://host:8786``) whose workers can import this project;
        takes the place of ``jobs``.
    resume_dir : Path, optional
        Folder where finished cells are kept, and looked up before a cell is computed. Cells of
        another seed, number of replications or version of the code do not match.
    progress : callable, optional
        Called with each finished cell and its processor seconds (0 where it was found).

    Returns
    -------
    list of dict
        Rows of all cells, in the order of ``cells``.

    Raises
    ------
    ValueError
        For a count of jobs or replications below 1.
    """
    if jobs < 1:
        raise ValueError(f"the number of jobs must be at least 1, got {jobs}")
    if replications < 1:
        raise ValueError(f"the number of replications must be at least 1, got {replications}")
    done: dict[str, list[dict[str, Any]]] = {}
    folder = None
    if resume_dir is not None:
        key = f"{seed}-{replications}-{code_digest()[:12]}"
        folder = Path(resume_dir) / key
        folder.mkdir(parents=True, exist_ok=True)
    todo = []
    for cell in cells:
        kept = _kept(folder, cell)
        if kept is None:
            todo.append(cell)
        else:
            done[cell.name] = kept
            if progress:
                progress(cell, 0.0)
    for cell, rows, seconds in _computed(todo, replications, seed, jobs, scheduler):
        done[cell.name] = rows
        if folder is not None:
            _keep(folder, cell, rows)
        if progress:
            progress(cell, seconds)
    return [row for cell in cells for row in done[cell.name]]


def _computed(
    cells: Sequence[Cell], replications: int, seed: int, jobs: int, scheduler: str | None
) -> Iterator[tuple[Cell, list[dict[str, Any]], float]]:
    if scheduler is None and jobs == 1:
        for cell in cells:
            yield _timed(cell, replications, seed)
        return
    import joblib

    here: AbstractContextManager[Any] = nullcontext()
    config: dict[str, Any] = {"backend": "loky", "n_jobs": jobs, "inner_max_num_threads": 1}
    if scheduler is not None:
        from distributed import Client

        here = Client(scheduler, timeout=30)
        config = {"backend": "dask", "n_jobs": -1}
    with here, joblib.parallel_config(**config):
        yield from joblib.Parallel(return_as="generator_unordered", batch_size=1)(
            joblib.delayed(_timed)(cell, replications, seed) for cell in cells
        )


def _file(folder: Path, cell: Cell) -> Path:
    sizes = hashlib.sha256(str(cell.design.total).encode()).hexdigest()[:8]
    return folder / f"{cell.name}_{sizes}.json"


def _kept(folder: Path | None, cell: Cell) -> list[dict[str, Any]] | None:
    if folder is None:
        return None
    try:
        return json.loads(_file(folder, cell).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError:
        return None  # cut short: computed again


def _keep(folder: Path, cell: Cell, rows: list[dict[str, Any]]) -> None:
    path = _file(folder, cell)
    draft = path.with_suffix(f".{os.getpid()}.part")
    draft.write_text(json.dumps(rows), encoding="utf-8")
    draft.replace(path)


# --------------------------------------------------------------------------- the table


def table_text(rows: Iterable[dict[str, Any]]) -> str:
    """Rows as CSV text: the same bytes for the same rows."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell_text(name, row[name]) for name in COLUMNS])
    return out.getvalue()


def _cell_text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    # coverage to a hundredth of a percent; a tenth of a point is enough for the others
    digits = {"below": 1, "width": 1, "bias": 1, "failures": 1}.get(name, 2)
    return f"{round(value, digits) + 0.0:.10g}"


def write(
    rows: Sequence[dict[str, Any]],
    cells: Sequence[Cell],
    *,
    replications: int,
    seed: int,
    about: dict[str, Any],
    table: Path = TABLE,
    sidecar: Path = ABOUT,
) -> None:
    """Write the table and, beside it, what it was computed from (JSON)."""
    import scipy

    designs = list(dict.fromkeys(cell.design for cell in cells))
    text = table_text(rows)
    table.write_text(text, encoding="utf-8")
    facts = {
        "seed": seed,
        "replications": replications,
        "cells": len(cells),
        "rows": len(rows),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "design_sha256": design_digest(designs),
        "code_sha256": code_digest(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
        "designs": {
            d.id: {"total": list(d.total), "estimands": list(d.estimands)}
            for d in sorted(designs, key=lambda d: d.id)
        },
        **about,
    }
    sidecar.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def load_table(table: Path = TABLE, sidecar: Path = ABOUT) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read the table and what it was computed from.

    The frame has the columns :data:`COLUMNS`, ``above`` (the truth lies above the upper limit),
    ``k`` (number of trials) and ``mc_error``: the Monte-Carlo error of the coverage, binomial
    with as many data sets as had an interval. For prediction intervals, whose content is
    averaged instead of counted, that is an upper bound.

    Raises
    ------
    ValueError
        If the table is not the one that the JSON file describes.
    """
    import pandas as pd

    text = table.read_text(encoding="utf-8")
    facts = json.loads(sidecar.read_text(encoding="utf-8"))
    if hashlib.sha256(text.encode()).hexdigest() != facts["sha256"]:
        raise ValueError(f"{table.name} is not the table that {sidecar.name} describes")
    frame = pd.read_csv(io.StringIO(text))
    frame["above"] = (100.0 - frame["coverage"] - frame["below"]).clip(lower=0.0).round(2)
    cover = frame["coverage"] / 100.0
    had = facts["replications"] * (1.0 - frame["failures"] / 100.0)
    frame["mc_error"] = (100.0 * (cover * (1.0 - cover) / had) ** 0.5).round(2)
    frame["k"] = frame["design"].map({d: len(v["total"]) for d, v in facts["designs"].items()})
    return frame, facts


def cell_of(facts: dict[str, Any], design: str, world: str, p: float, tau: float) -> Cell:
    """Rebuild a cell of a committed table from its description."""
    entry = facts["designs"][design]
    return Cell(
        Design(design, tuple(entry["total"]), tuple(entry["estimands"])), Truth(world, p, tau)
    )
