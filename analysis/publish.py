"""The pooled estimates as records: computed, pinned in ``data/``, compared.

An estimate is an estimand computed on one version of the data; its id is
``<estimand>@<data version>``. ``data/estimates.csv`` and ``data/estimates.json`` pin the estimates
of the current version; they are generated and never edited by hand.
"""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.data import DATA_DIR
from analysis.estimands import estimands, evidence, pooled
from analysis.identity import code_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from analysis.data import Dataset
    from analysis.estimands import Estimand

__all__ = ["compare", "record", "records", "to_csv", "to_json", "write"]

# Enough digits to reproduce any printed number, few enough that the last bits of another
# machine's arithmetic do not show.
DIGITS = 8
# How far a number may be from its pinned value, relative and absolute, before it has moved.
SAME = {"rel_tol": 1e-6, "abs_tol": 1e-7}
NUMBERS = (
    "estimate",
    "ci_low",
    "ci_high",
    "pi_low",
    "pi_high",
    "marginal_estimate",
    "mu",
    "se",
    "tau2",
    "i2",
    "q",
    "q_p",
    "lrt",
    "lrt_p",
    "log_likelihood",
)


def record(dataset: Dataset, estimand_id: str) -> dict[str, Any]:
    """Compute one estimate as a flat record.

    Parameters
    ----------
    dataset : Dataset
    estimand_id : str
        Id in the registry of estimands.

    Returns
    -------
    dict
        Proportions between 0 and 1; ``mu``, ``se`` and ``tau2`` on the logit scale; None where a
        quantity does not exist, and ``notes`` says why.

    Raises
    ------
    ValueError
        If there is no such estimand.
    """
    for entry in records(dataset, only=estimand_id):
        return entry
    known = ", ".join(target.id for target in estimands(comparators=True))
    raise ValueError(f"there is no estimand {estimand_id!r}; there are {known}")


def records(
    dataset: Dataset,
    only: str | None = None,
    *,
    targets: Iterable[Estimand] | None = None,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """Compute every estimate of the registry, in its order.

    Parameters
    ----------
    dataset : Dataset
    only : str, optional
        Compute this estimand alone.
    targets : iterable of Estimand, optional
        Other estimands than those of the registry.
    options
        Model and options in place of the main analysis; see :func:`analysis.estimands.pooled`.

    Yields
    ------
    dict
        See :func:`record`.
    """
    for target in estimands(comparators=True) if targets is None else targets:
        if only not in (None, target.id):
            continue
        found = evidence(dataset, target)
        fit = pooled(found, **options)
        entry: dict[str, Any] = {
            "estimate_id": f"{target.id}@{dataset.version}",
            "estimand_id": target.id,
            "outcome": target.outcome,
            "population": target.population,
            "trials": len(found.rows),
            "events": int(found.rows["events"].sum()),
            "patients": int(found.rows["total"].sum()),
            "model": None,
            "interval": None,
            "level": None,
            **dict.fromkeys(NUMBERS),
            "tau2_low": None,
            "tau2_high": None,
            "records": list(found.rows["record_id"]),
            "notes": ["No trial of this population reports the outcome."],
            "data_version": dataset.version,
            "data_sha256": dataset.sha256,
            "code_version": code_version(),
        }
        if fit is not None:
            entry |= {"model": fit.model, "interval": fit.interval, "level": fit.level}
            entry |= {name: _rounded(getattr(fit, name)) for name in NUMBERS}
            if fit.tau2_ci is not None:
                entry["tau2_low"], entry["tau2_high"] = map(_rounded, fit.tau2_ci)
            entry["notes"] = list(fit.notes)
        yield entry


def to_csv(entries: list[dict[str, Any]]) -> str:
    """Write records as CSV text; lists are joined by semicolons, None is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(entries[0])
    for entry in entries:
        writer.writerow(_cell(value) for value in entry.values())
    return out.getvalue()


def to_json(entries: list[dict[str, Any]]) -> str:
    """Write records as JSON text, one object per estimate."""
    return json.dumps(entries, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write(entries: list[dict[str, Any]], directory: Path = DATA_DIR) -> tuple[Path, Path]:
    """Pin the estimates in ``estimates.csv`` and ``estimates.json`` and return both paths."""
    table, tree = directory / "estimates.csv", directory / "estimates.json"
    table.write_text(to_csv(entries), encoding="utf-8", newline="\n")
    tree.write_text(to_json(entries), encoding="utf-8", newline="\n")
    return table, tree


def compare(entries: list[dict[str, Any]], directory: Path = DATA_DIR) -> list[str]:
    """Compare records with the pinned ones.

    Parameters
    ----------
    entries : list of dict
        Fresh records.
    directory : Path
        Folder of the pinned files.

    Returns
    -------
    list of str
        One line per difference; empty if there is none.
    """
    try:
        table = (directory / "estimates.csv").read_text(encoding="utf-8")
        tree = (directory / "estimates.json").read_text(encoding="utf-8")
        rows = list(csv.DictReader(io.StringIO(table, newline="")))
        pinned = {row["estimand_id"]: row for row in rows}
        in_tree = [{name: _cell(v) for name, v in entry.items()} for entry in json.loads(tree)]
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        return [f"data/{missing}: the file is missing; write it with: estimates --write"]
    except OSError as error:
        unread = Path(error.filename).name
        return [f"data/{unread}: cannot be read ({error.strerror}); run estimates --write"]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, csv.Error) as error:
        return [f"data/estimates.csv or .json is damaged ({error!r}); run estimates --write"]
    same_files = in_tree == rows
    lines = []
    for entry in entries:
        name = entry["estimand_id"]
        old = pinned.pop(name, None)
        if old is None:
            lines.append(f"{name}: not pinned yet")
            continue
        for column, value in entry.items():
            new, was = _cell(value), old.get(column) or ""
            if not _same(new, was):
                lines.append(f"{name}, {column}: {was or 'none'} is now {new or 'none'}")
    lines += [f"{name}: pinned, but no longer in the registry" for name in pinned]
    if not lines and not same_files:
        lines.append("data/estimates.json: differs from data/estimates.csv; run estimates --write")
    return lines


def _rounded(value: float | None) -> float | str | None:
    if value is None:
        return None
    number = float(f"{value:.{DIGITS}g}")
    return "inf" if number == float("inf") else number


def _same(new: str, old: str) -> bool:
    """Tell whether two cells agree, numbers up to the arithmetic of another machine."""
    try:
        return new == old or math.isclose(float(new), float(old), **SAME)
    except ValueError:
        return False


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "; ".join(value)
    return str(value)
