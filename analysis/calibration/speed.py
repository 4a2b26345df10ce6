"""What the chapter "How fast, and how far" shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from analysis.calibration import pictures, study
from analysis.calibration.command import minutes
from analysis.figures import figure_block
from analysis.markup import Html, escape
from analysis.tables import html_table, records_csv
from analysis.wording import count, number

__all__ = ["benchmark", "cost", "projection", "ratios", "scaling"]

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
BILLION = 1_000_000_000
CORES = (1, 64, 1000)


def _facts(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def _duration(seconds: float) -> str:
    if seconds < 1.0:
        return f"{number(1000.0 * seconds, 2)} ms"
    return f"{number(seconds, 2)} s"


def benchmark() -> Html:
    """Tabulate the cost of one fit, here and in R (``benchmarks/bench_pooling.py``)."""
    facts = _facts("results.json")
    rows = [
        {"Task": task, "Time per fit": _duration(seconds), "Fits per second": f"{1 / seconds:,.0f}"}
        for task, seconds in facts["seconds_per_fit"].items()
    ]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return html_table(
        rows,
        f"Seconds per fit, data sets of {facts['data']['trials']} trials",
        id="benchmark",
        numeric=["Time per fit", "Fits per second"],
        note=f"One process, data simulated with seed {facts['data']['seed']}. {versions}. "
        "Measured by benchmarks/bench_pooling.py; the seconds are those of one computer.",
    )


def ratios() -> Html:
    """Tabulate how many times faster than R, beside the goal where one was set."""
    facts = _facts("results.json")
    goals = facts.get("targets", {})
    rows = [
        {
            "Comparison": name,
            "Times faster": number(value, 1),
            "Goal": f"{goals[name]:g}" if name in goals else "",
            "Reached": "" if name not in goals else ("yes" if value >= goals[name] else "no"),
        }
        for name, value in facts["ratios"].items()
    ]
    return html_table(
        rows,
        "How many times faster than the same task in R",
        id="benchmark-ratios",
        numeric=["Times faster", "Goal"],
        note="Same data, same computer, same run; one process on either side."
        + _log_likelihoods(facts),
    )


def _log_likelihoods(facts: dict[str, Any]) -> str:
    """Say whether any fit here ends at a lower log-likelihood than the one in R."""
    compared = facts.get("log_likelihood_above_r", {}).values()
    if not compared:
        return ""
    worse, total = (sum(entry[name] for entry in compared) for name in ("worse", "compared"))
    return (
        f" Of {total} fits whose log-likelihoods were compared, {worse or 'none'} "
        f"{'end' if worse > 1 else 'ends'} lower here than in R."
    )


def scaling() -> Html:
    """Draw the speed-up of the study with 1, 2 and 4 processes."""
    facts = _facts("scaling.json")
    jobs = np.array([run["jobs"] for run in facts["runs"]], dtype=float)
    seconds = np.array([run["seconds"] for run in facts["runs"]])
    gain = seconds[0] / seconds
    said = ", ".join(
        f"{number(g, 2)} times with {int(j)}" for j, g in zip(jobs[1:], gain[1:], strict=True)
    )
    lines = [
        pictures.Curve("as fast as the processes are many", jobs, jobs, "muted", dash=(3.0, 2.0)),
        pictures.Curve("measured", jobs, gain, "study", marker="o"),
    ]
    drawn = figure_block(
        pictures.curves,
        lines,
        x_label="local processes",
        y_label="times as fast as one process",
        log=True,
        height=280.0,
        alt=f"Speed-up with local processes: {said}.",
        caption=f"{count(facts['cells'], 'cell')} of {facts['replications']:,} replications, "
        f"starting the processes included, on {count(facts['cores'], 'core')}. Measured by "
        "benchmarks/bench_scaling.py; the tables were equal to the byte.",
        name="scaling",
        csv=records_csv(lines),
    )
    rows = [
        {
            "Processes": int(run["jobs"]),
            "Time": _duration(run["seconds"]),
            "Times as fast": number(g, 2),
            "Share of each process used": f"{number(100.0 * g / run['jobs'], 0)}%",
        }
        for run, g in zip(facts["runs"], gain, strict=True)
    ]
    return drawn + html_table(
        rows,
        "The same cells with more processes",
        id="scaling-table",
        numeric=["Time", "Times as fast", "Share of each process used"],
        note=f"Load of the computer just before: {number(facts['load_before'], 1)} running "
        "tasks. Other work on the same cores makes the speed-up look smaller.",
    )


def cost() -> Html:
    """Say what a cell and a replication cost in the committed study."""
    _, facts = study.load_table()
    busy = facts["run"]["processor_seconds"]
    each = facts["cells"] * facts["replications"]
    return Html(
        f"<p>The committed study used {minutes(busy)} of processor time for "
        f"{count(facts['cells'], 'cell')} of {facts['replications']:,} replications: "
        f"{number(busy / facts['cells'], 1)} s per cell, {number(1000.0 * busy / each, 2)} ms per "
        f"replication, {number(1000.0 * busy / facts['analyzed'], 2)} ms per data set that had "
        "to be analyzed, with every interval of every model.</p>"
    )


def projection() -> Html:
    """Tabulate what a billion replications would take, from the measured cost per cell."""
    _, facts = study.load_table()
    busy = facts["run"]["processor_seconds"]
    each = busy / (facts["cells"] * facts["replications"])
    runs = _facts("scaling.json")["runs"]
    share = runs[0]["seconds"] / runs[-1]["seconds"] / runs[-1]["jobs"]
    rows = [
        {
            "Cores": f"{cores:,}",
            "If every core is used in full": minutes(BILLION * each / cores),
            "At the share measured above": "the same"
            if cores == 1
            else minutes(BILLION * each / cores / share),
        }
        for cores in CORES
    ]
    return html_table(
        rows,
        "A billion replications, projected from the measured cost",
        id="projection",
        numeric=["Cores", "If every core is used in full", "At the share measured above"],
        note=f"Measured cost: {escape(number(1000.0 * each, 2))} ms of processor time per "
        "replication, in the mix of designs and truths of the study. Cells do not talk to each "
        "other, so nothing but their number limits how many cores can share them; the second "
        f"column of times takes the {number(100.0 * share, 0)}% that "
        f"{runs[-1]['jobs']} processes reached here. Spread over the cells of the study, a billion "
        "replications would have a Monte-Carlo error of "
        f"{number(100.0 * (0.95 * 0.05 * facts['cells'] / BILLION) ** 0.5, 3)} percentage points "
        "at 95% coverage. With more replications per cell more data sets are equal and are "
        "analyzed once, so small designs would take less.",
    )
