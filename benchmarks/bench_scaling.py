"""How does the calibration study scale with local processes?

    python benchmarks/bench_scaling.py

runs the same cells with 1, 2 and 4 processes, starting them included, checks that the tables are
equal to the byte, and writes ``benchmarks/scaling.json``. Run it on a computer that does nothing
else: the seconds depend on the computer and on its other work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from analysis.calibration import study  # noqa: E402
from analysis.calibration.designs import study_designs  # noqa: E402
from analysis.data import load  # noqa: E402

JOBS = (1, 2, 4)


def main() -> None:
    """Measure, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="k5a_normal", help="cells with this in their name")
    parser.add_argument("--replications", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=HERE / "scaling.json")
    options = parser.parse_args()
    cells = [c for c in study.plan(study_designs(load())) if options.only in c.name]
    fits = study.project(cells, options.replications, sample=8).fits
    runs, tables = [], set()
    for jobs in JOBS:
        busy: list[float] = []
        start = time.perf_counter()
        rows = study.run(
            cells,
            replications=options.replications,
            jobs=jobs,
            progress=lambda _cell, seconds, kept=busy: kept.append(seconds),
        )
        seconds = time.perf_counter() - start
        tables.add(study.table_text(rows))
        runs.append(
            {"jobs": jobs, "seconds": round(seconds, 2), "processor_seconds": round(sum(busy), 2)}
        )
        print(runs[-1], flush=True)
    if len(tables) != 1:
        raise SystemExit("the tables differ with the number of processes")
    facts = {
        "cells": len(cells),
        "replications": options.replications,
        "analyzed": fits,
        "design": options.only,
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
        "versions": {"python": platform.python_version()},
        "runs": runs,
    }
    options.out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
