"""The pinned analyses: two generated tables, read by the chapter and checked against fresh runs.

``specification_rows.csv`` has the sets of trials and the choices that lead to each,
``specifications.csv`` the result of each set by each method.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import estimands, specification
from analysis.digest import DATA_DIR
from analysis.specification import CHOICES, METHODS, Analysis, Route, Rows

if TYPE_CHECKING:
    import pandas as pd

    from analysis.data import Dataset
    from analysis.estimands import Estimand

__all__ = [
    "RESULTS",
    "ROWS",
    "changed_rows",
    "compare",
    "headline",
    "read",
    "reproduce",
    "row_sets",
    "rows_of",
    "write",
]

ROWS, RESULTS = "specification_rows.csv", "specifications.csv"
#: Decimals of a proportion, and how far a fresh result may lie from the pinned one: the last bits
#: of another machine's arithmetic may move the last decimal by one.
DIGITS, SAME = 5, 1.1e-5
COMMAND = "python -m analysis specifications --write"
BETWEEN = "|"


def headline(dataset: Dataset) -> tuple[Estimand, ...]:
    """List the estimands with a threshold whose main analysis pools two trials or more."""
    return tuple(
        target
        for target in specification.covered()
        if len(estimands.evidence(dataset, target).rows) > 1
    )


def row_sets(dataset: Dataset) -> tuple[Rows, ...]:
    """List the sets of trials of every estimand of `headline`."""
    return tuple(
        rows for target in headline(dataset) for rows in specification.row_sets(dataset, target)
    )


def _row(rows: Rows) -> dict[str, Any]:
    levels = {
        name: BETWEEN.join(dict.fromkeys(route[i] for route in rows.routes))
        for i, name in enumerate(Route._fields)
    }
    counts = zip(rows.cohorts, rows.events, rows.total, strict=True)
    return {
        "rows_id": rows.id,
        "estimand_id": rows.estimand_id,
        "main": "yes" if rows.main else "",
        "trials": len(rows.cohorts),
        "patients": sum(rows.total),
        **levels,
        "alone": BETWEEN.join(f"{name}={level}" for name, level in rows.alone),
        "routes": len(rows.routes),
        "ways": rows.ways,
        "rows": "; ".join(f"{cohort} {x}/{n}" for cohort, x, n in counts),
    }


def rows_text(sets: Sequence[Rows]) -> str:
    """Write sets of trials as CSV text."""
    return _csv([_row(rows) for rows in sets])


def results_text(found: Sequence[Analysis]) -> str:
    """Write results as CSV text."""
    return _csv(
        [
            {
                "rows_id": entry.rows_id,
                "method": entry.method,
                **{
                    name: f"{getattr(entry, name):.{DIGITS}f}"
                    for name in ("estimate", "ci_low", "ci_high")
                },
            }
            for entry in found
        ]
    )


def _csv(rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def write(
    sets: Sequence[Rows], found: Sequence[Analysis], directory: Path = DATA_DIR
) -> tuple[Path, Path]:
    """Pin sets of trials and results; return the paths of both tables."""
    rows, results = directory / ROWS, directory / RESULTS
    rows.write_text(rows_text(sets), encoding="utf-8", newline="\n")
    results.write_text(results_text(found), encoding="utf-8", newline="\n")
    return rows, results


def read(directory: Path = DATA_DIR) -> pd.DataFrame:
    """Read the pinned analyses.

    Parameters
    ----------
    directory : Path
        The folder of the data package.

    Returns
    -------
    pandas.DataFrame
        One row per analysis: the columns of both tables (``rows_main`` says whether the rows are
        those of the main analysis), the levels of the choices ``model``, ``interval`` and
        ``transform``, and ``main``, which says whether this is the main analysis.

    Raises
    ------
    ValueError
        If a table is missing, or names a method or rows that there are not.
    """
    import pandas as pd

    tables = []
    for name in (ROWS, RESULTS):
        try:
            tables.append(pd.read_csv(directory / name, keep_default_na=False))
        except (OSError, UnicodeDecodeError, pd.errors.ParserError) as error:
            raise ValueError(f"data/{name} cannot be read; write it with: {COMMAND}") from error
    rows, results = tables
    unknown = set(results["method"]) - set(METHODS) or set(results["rows_id"]) - set(
        rows["rows_id"]
    )
    if unknown:
        raise ValueError(
            f"data/{RESULTS} names {min(unknown)}, which there is not; write it with: {COMMAND}"
        )
    levels = pd.DataFrame([{"method": name, **method.levels} for name, method in METHODS.items()])
    rows = rows.rename(columns={"main": "rows_main"})
    frame = results.merge(rows, on="rows_id", how="left").merge(levels, on="method", how="left")
    rows_main = frame["rows_main"] == "yes"
    main = rows_main & (frame["method"] == specification.main_method())
    return frame.assign(rows_main=rows_main, main=main)


def rows_of(entry: Any) -> Rows:
    """Turn the columns ``rows_id, estimand_id, rows`` of `read` back into a set of trials."""
    cohorts, events, total = [], [], []
    for part in entry.rows.split("; "):
        cohort, counts = part.rsplit(" ", 1)
        x, n = counts.split("/")
        cohorts.append(cohort)
        events.append(int(x))
        total.append(int(n))
    return Rows(
        entry.rows_id, entry.estimand_id, tuple(cohorts), tuple(events), tuple(total), routes=()
    )


def reproduce(frame: pd.DataFrame, size: int, seed: int) -> tuple[int, float]:
    """Pool a random sample of the pinned analyses again.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `read`.
    size : int
        Analyses to draw.
    seed : int

    Returns
    -------
    (int, float)
        Number of analyses drawn, and the largest difference of an estimate or a limit, as a
        proportion.
    """
    drawn = sorted(random.Random(seed).sample(range(len(frame)), min(size, len(frame))))
    largest = 0.0
    for entry in frame.iloc[drawn].itertuples(index=False):
        fit = specification.fit_of(rows_of(entry), entry.method)
        if fit.estimate is None or fit.ci_low is None or fit.ci_high is None:
            raise ValueError(f"{entry.rows_id} by {entry.method} has no pooled result")
        largest = max(
            largest,
            abs(fit.estimate - entry.estimate),
            abs(fit.ci_low - entry.ci_low),
            abs(fit.ci_high - entry.ci_high),
        )
    return len(drawn), largest


def changed_rows(dataset: Dataset, frame: pd.DataFrame) -> list[str]:
    """Name estimands whose main rows are no longer those of the pinned analyses."""
    pinned = frame[frame["rows_main"]].drop_duplicates("estimand_id").set_index("estimand_id")
    moved, asked = [], set()
    for target in specification.covered():
        rows = estimands.evidence(dataset, target).rows
        if len(rows) < 2:
            continue
        asked.add(target.id)
        fresh = "; ".join(
            f"{c} {x}/{n}"
            for c, x, n in zip(rows["cohort_id"], rows["events"], rows["total"], strict=True)
        )
        if target.id not in pinned.index or pinned.loc[target.id, "rows"] != fresh:
            moved.append(target.id)
    return moved + sorted(set(pinned.index) - asked)


def compare(
    sets: Sequence[Rows],
    found: Sequence[Analysis],
    directory: Path = DATA_DIR,
    *,
    all_results: bool = True,
) -> list[str]:
    """Compare fresh sets of trials and results with the pinned ones.

    Parameters
    ----------
    sets : sequence of Rows
    found : sequence of Analysis
        Fresh results.
    directory : Path
    all_results : bool
        Whether `found` is every result; otherwise pinned ones that are not in it count as equal.

    Returns
    -------
    list of str
        One line per difference; empty if there is none.
    """
    try:
        text = (directory / ROWS).read_text(encoding="utf-8")
        frame = read(directory)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        return [str(error)]
    old_rows = {row["rows_id"]: row for row in csv.DictReader(io.StringIO(text))}
    lines = []
    for rows in sets:
        fresh = {name: str(value) for name, value in _row(rows).items()}
        old = old_rows.pop(rows.id, None)
        if old is None:
            lines.append(f"{rows.id}: not pinned yet")
        elif old != fresh:
            names = [name for name, value in fresh.items() if old.get(name) != value]
            lines += [f"{rows.id}, {n}: {old.get(n)} is now {fresh[n]}" for n in names]
    lines += [f"{name}: pinned, but no choice leads to it" for name in old_rows]
    pinned = {(entry.rows_id, entry.method): entry for entry in frame.itertuples(index=False)}
    for entry in found:
        place = f"{entry.rows_id}, {entry.method}"
        was = pinned.pop((entry.rows_id, entry.method), None)
        if was is None:
            lines.append(f"{place}: not pinned yet")
            continue
        for name in ("estimate", "ci_low", "ci_high"):
            new, before = getattr(entry, name), getattr(was, name)
            if abs(new - before) > SAME:
                lines.append(f"{place}, {name}: {before:.{DIGITS}f} is now {new:.{DIGITS}f}")
    if all_results:
        lines += [f"{rows}, {method}: pinned, but there is no result" for rows, method in pinned]
    return lines


def labels(population: str) -> dict[str, dict[str, str]]:
    """Return the names of all levels of every choice, readings of the data included."""
    readings = {entry.id: entry.label for entry in estimands.scenarios(population)}
    return {**CHOICES, "reading": {**CHOICES["reading"], **readings}}
