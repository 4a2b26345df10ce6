"""How fast is the pooling engine, beside metafor and lme4 on the same data in the same run?

    python benchmarks/bench_pooling.py

simulates data sets of eleven small trials from the binomial-normal model with a fixed seed, times
the engine and, if ``Rscript`` with metafor, lme4 and jsonlite is there, the same tasks in R,
prints a table with the ratios, and writes ``benchmarks/results.json``. It is a benchmark and not
a test: the seconds depend on the computer, the ratios much less. Seconds are processor time, the
least of three runs, so that other work of the computer weighs little; Python and R have one thread
each, whose processor time is what a user waits. ``--help`` lists the sizes.

What is timed is what a user calls: ``pool()`` and ``pool_many()`` with everything they return, and
the same with ``tau2_interval=False``. That leaves out the profile interval of tau2, which
``rma.glmm`` and ``glmer`` do not give either; ratios against a fit in R use it, like for like.
The profile row is the whole call: fit and both profile intervals, against glmer's intervals
without its fit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import scipy  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from analysis.pooling import pool, pool_many  # noqa: E402
from analysis.pooling import quadrature as quad  # noqa: E402

K = 11
SEED = 20240229
TARGETS = {
    "batch GLMM against rma.glmm, per fit": 300.0,
    "single GLMM fit against rma.glmm": 20.0,
    "GLMM profile interval against glmer's": 50.0,
}


def simulate(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Data sets of eleven trials of 5 to 40 patients; median rate 0.2 to 0.8, tau 0.3 to 1.2."""
    rng = np.random.default_rng(SEED)
    total = rng.integers(5, 41, size=(count, K))
    mu = rng.uniform(-1.4, 1.4, size=(count, 1))
    tau = rng.uniform(0.3, 1.2, size=(count, 1))
    rate = 1.0 / (1.0 + np.exp(-(mu + tau * rng.standard_normal((count, K)))))
    events = rng.binomial(total, rate)
    # R refuses data sets in which every trial is at 0 or at 1; none is expected, none is kept
    keep = ((events > 0) & (events < total)).any(axis=1)
    return events[keep], total[keep]


def per_call(function: Callable[[int], Any], count: int, repeat: int) -> float:
    """Seconds of ``function(i)``, the least of ``repeat`` calls, median over i < count."""
    function(0)  # warm up
    return statistics.median(best_of(lambda i=i: function(i), repeat)[0] for i in range(count))


def best_of(function: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Least processor seconds of several runs, and the last result."""
    seconds, out = [], None
    for _ in range(repeat):
        start = time.process_time()
        out = function()
        seconds.append(time.process_time() - start)
    return min(seconds), out


def python_side(events: np.ndarray, total: np.ndarray, single: int, repeat: int) -> dict[str, Any]:
    """Seconds per fit of the engine's tasks."""
    count = events.shape[0]

    def fit(model: str, interval: str, **options: Any) -> Callable[[int], Any]:
        return lambda i: pool(events[i], total[i], model, interval=interval, **options)

    out: dict[str, Any] = {
        "glmm": per_call(fit("glmm", "wald", tau2_interval=False), single, repeat),
        "glmm_full": per_call(fit("glmm", "wald"), single, repeat),
        "glmm_profile": per_call(fit("glmm", "profile"), single, repeat),
        "reml": per_call(fit("reml", "hartung-knapp"), single, repeat),
    }
    pool_many(events[:50], total[:50], model="glmm", interval="wald")  # warm up
    seconds, batch = best_of(
        lambda: pool_many(events, total, model="glmm", interval="wald", tau2_interval=False),
        repeat,
    )
    out["glmm_batch"] = seconds / count
    seconds, _ = best_of(lambda: pool_many(events, total, model="glmm", interval="wald"), 1)
    out["glmm_batch_full"] = seconds / count
    out["batch"] = batch
    seconds, _ = best_of(
        lambda: pool_many(events, total, model="reml", interval="hartung-knapp"), repeat
    )
    out["reml_batch"] = seconds / count
    return out


def r_side(
    events: np.ndarray, total: np.ndarray, fits: int, profiles: int, linear: int, repeat: int
) -> dict[str, Any] | None:
    """The same tasks in R, or None with a sentence on standard error."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        print("Rscript not found: the engine is timed alone.", file=sys.stderr)
        return None
    rows = max(fits, profiles, linear)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        with path.open("w", encoding="utf-8") as file:
            file.write("set,x,n\n")
            for i in range(min(rows, events.shape[0])):
                for x, n in zip(events[i], total[i], strict=True):
                    file.write(f"{i + 1},{x},{n}\n")
        command = [rscript, str(HERE / "bench_pooling.R"), str(path)]
        answer = Path(folder) / "answer.json"
        command += [str(fits), str(profiles), str(linear), str(answer), str(repeat)]
        # threads of a linear algebra library would add up in processor time
        one = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=one)
        if done.returncode != 0:
            print(f"R did not finish: {done.stderr.strip()[-300:]}", file=sys.stderr)
            return None
        return json.loads(answer.read_text(encoding="utf-8"))


def likelihood_gap(
    events: np.ndarray, total: np.ndarray, batch: Any, estimates: dict[str, list]
) -> dict[str, float]:
    """By how much the engine's maximum exceeds the log-likelihood at R's estimates.

    ``least`` at or above zero (to rounding) means that R found no better point anywhere;
    ``worse`` counts data sets where R stopped more than 0.001 below the maximum.
    """
    gaps = []
    for i, (mu, tau2) in enumerate(zip(estimates["mu"], estimates["tau2"], strict=True)):
        if mu is None or tau2 is None:
            continue
        trials = quad.prepare(events[i], total[i])
        there = float(quad.log_marginal(trials, float(mu), float(tau2)).sum())
        gaps.append(float(batch.log_likelihood[i]) - there)
    worse = sum(g > 1e-3 for g in gaps)
    return {"least": min(gaps), "greatest": max(gaps), "worse": worse, "compared": len(gaps)}


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=10_000, help="data sets in the batch")
    parser.add_argument("--single", type=int, default=100, help="single fits to time")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each task; the best counts")
    parser.add_argument("--r-fits", type=int, default=60, help="GLMM fits in R")
    parser.add_argument("--r-profiles", type=int, default=10, help="profile intervals in R")
    parser.add_argument("--r-reml", type=int, default=300, help="REML fits in R")
    parser.add_argument("--no-r", action="store_true", help="time the engine alone")
    parser.add_argument("--output", type=Path, default=HERE / "results.json")
    args = parser.parse_args()

    events, total = simulate(args.batch)
    mine = python_side(events, total, min(args.single, events.shape[0]), args.repeat)
    batch = mine.pop("batch")
    r = None
    if not args.no_r:
        r = r_side(events, total, args.r_fits, args.r_profiles, args.r_reml, args.repeat)

    many = events.shape[0]
    rows = [
        ("GLMM fit", mine["glmm"]),
        ("GLMM fit and interval of tau2", mine["glmm_full"]),
        ("GLMM fit and profile intervals of mean and tau2", mine["glmm_profile"]),
        (f"GLMM fit in a batch of {many}", mine["glmm_batch"]),
        (f"GLMM fit and interval of tau2 in a batch of {many}", mine["glmm_batch_full"]),
        ("REML with Hartung-Knapp", mine["reml"]),
        (f"REML with Hartung-Knapp in a batch of {many}", mine["reml_batch"]),
    ]
    ratios: dict[str, float] = {}
    gaps: dict[str, dict[str, float]] = {}
    if r is not None:
        s = r["seconds"]
        rows += [
            ("metafor rma.glmm", s["rma_glmm"]),
            ("lme4 glmer, nAGQ = 25", s["glmer"]),
            ("lme4 profile intervals of mean and tau (after the fit)", s["glmer_profile"]),
            ("metafor rma, REML, knha", s["rma_reml"]),
        ]
        ratios = {
            "batch GLMM against rma.glmm, per fit": s["rma_glmm"] / mine["glmm_batch"],
            "single GLMM fit against rma.glmm": s["rma_glmm"] / mine["glmm"],
            "single GLMM fit against glmer": s["glmer"] / mine["glmm"],
            "GLMM profile interval against glmer's": s["glmer_profile"] / mine["glmm_profile"],
            "single REML against rma": s["rma_reml"] / mine["reml"],
            "batch REML against rma, per fit": s["rma_reml"] / mine["reml_batch"],
        }
        for name in ("rma_glmm", "glmer"):
            gaps[name] = likelihood_gap(events, total, batch, r["estimates"][name])

    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
    if r is not None:
        versions |= r["versions"]
    result = {
        "data": {"sets": int(events.shape[0]), "trials": K, "seed": SEED},
        "cores": os.cpu_count(),
        "versions": versions,
        "seconds_per_fit": dict(rows),
        "ratios": ratios,
        "targets": TARGETS,
        "log_likelihood_above_r": gaps,
        "r_failures": None if r is None else r["fails"],
        "batch_converged": int(np.count_nonzero(batch.converged)),
    }
    args.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")

    width = max(len(name) for name, _ in rows)
    print(f"\n{'task':<{width}}  ms per fit")
    for name, seconds in rows:
        print(f"{name:<{width}}  {1e3 * seconds:10.3f}")
    if ratios:
        print(f"\n{'ratio':<{width}}  times faster")
        for name, value in ratios.items():
            goal = f"   (target {TARGETS[name]:.0f})" if name in TARGETS else ""
            print(f"{name:<{width}}  {value:10.1f}{goal}")
        print("\nlog-likelihood of the engine minus that at R's estimates")
        for name, gap in gaps.items():
            print(
                f"{name:<{width}}  least {gap['least']:.2e}, greatest {gap['greatest']:.2e}, "
                f"{gap['worse']} of {gap['compared']} more than 0.001 below the maximum"
            )
    print(f"\n{os.cpu_count()} cores; " + ", ".join(f"{k} {v}" for k, v in versions.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
