"""Which estimates moved against earlier records of them, by how much, and because of what.

The comparison itself is that of :mod:`analysis.history`; here the movement is described for a
terminal and for a program, and each row that came or went is explained by the data.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import wording
from analysis.data import DATA_DIR
from analysis.history import Change, changes

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = ["described", "earlier", "lines", "moved", "report"]

SHOWN = ("estimate", "ci_low", "ci_high", "pi_low", "pi_high")
COUNTS = ("trials", "events", "patients")
MADE_WITH = ("model", "interval", "level")
# what a record must have to be compared
NEEDED = ("estimand_id", "records", *COUNTS, *SHOWN, *MADE_WITH)


def earlier(source: str | None = None, directory: Path = DATA_DIR) -> list[dict[str, Any]]:
    """Read the records to compare with.

    Parameters
    ----------
    source : str, optional
        A data version that is kept in ``history/``, such as ``1.0.0``, or the path of a file like
        ``estimates.json``; the pinned estimates if not given.
    directory : Path
        Folder of the data package.

    Returns
    -------
    list of dict
        See :func:`analysis.publish.record`.

    Raises
    ------
    ValueError
        If there is no such file, or it does not hold records of estimates.
    """
    path = directory / "estimates.json"
    if source is not None:
        version = directory / "history" / f"estimates-{Path(source).name}.json"
        path = version if version.is_file() and not Path(source).is_file() else Path(source)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        kept = sorted(p.stem[10:] for p in (directory / "history").glob("estimates-*.json"))
        known = f"; data/history keeps {', '.join(kept)}" if source is not None and kept else ""
        raise ValueError(f"{path}: No such file{known}") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not JSON: {error}") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path}: is not a list of records of estimates")
    for entry in entries:
        lacking = [name for name in NEEDED if name not in entry]
        if lacking:
            which = entry.get("estimand_id", "a record")
            raise ValueError(f"{path}: {which} lacks {', '.join(lacking)}")
        if not _typed(entry):
            raise ValueError(f"{path}: {entry['estimand_id']} has a value of the wrong type")
    return entries


def _typed(entry: dict[str, Any]) -> bool:
    """Tell whether names are text, counts whole numbers and results numbers or absent."""

    def number(value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool)

    return (
        isinstance(entry["estimand_id"], str)
        and isinstance(entry["records"], list)
        and all(isinstance(name, str) for name in entry["records"])
        and all(isinstance(entry[name], int) for name in COUNTS)
        and all(entry[name] is None or number(entry[name]) for name in (*SHOWN, "level"))
        and all(entry[name] is None or isinstance(entry[name], str) for name in MADE_WITH[:2])
    )


def moved(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[Change]:
    """List the estimates whose numbers or counts a reader sees differently, and those new or gone.

    Parameters
    ----------
    before, after : list of dict
        Records as in ``data/estimates.json``.
    """
    return [change for change in changes(before, after) if change.moved or _counted(change)]


def _counted(change: Change) -> bool:
    """Tell whether trials or patients differ, as they can where nothing is pooled."""
    old, new = change.before, change.after
    return old is not None and new is not None and any(old[name] != new[name] for name in COUNTS)


def described(dataset: Dataset, found: list[Change]) -> list[dict[str, Any]]:
    """Describe movements for a program.

    Parameters
    ----------
    dataset : Dataset
        The data of the later records; it explains the rows that came or went.
    found : list of Change

    Returns
    -------
    list of dict
        ``estimand_id``; ``kind`` (new, gone or moved); ``cause`` (rows, counts, model, rows and
        model, counts and model, or code, where nothing that the records name has changed);
        ``before`` and ``after``, each None or the shown numbers (proportions between 0 and 1),
        counts and model; ``points``, the change of the estimate in percentage points, or None;
        ``rows_added`` and ``rows_removed``, each with ``record_id`` and ``why``.
    """
    return [_described(dataset, change) for change in found]


def _described(dataset: Dataset, change: Change) -> dict[str, Any]:
    old, new = change.before, change.after
    before = [] if old is None else old["records"]
    after = [] if new is None else new["records"]
    return {
        "estimand_id": change.estimand_id,
        "kind": "new" if old is None else "gone" if new is None else "moved",
        "cause": _cause(change),
        "points": None if change.points is None else round(change.points, 6),
        "before": _numbers(old),
        "after": _numbers(new),
        "rows_added": [
            {"record_id": name, "why": _why(dataset, name, added=True)}
            for name in after
            if name not in before
        ],
        "rows_removed": [
            {"record_id": name, "why": _why(dataset, name, added=False)}
            for name in before
            if name not in after
        ],
    }


def _numbers(entry: dict[str, Any] | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {name: entry[name] for name in (*SHOWN, *COUNTS, *MADE_WITH)}


def _cause(change: Change) -> str | None:
    """Name what differs in what the number was computed from; None for a new or lost estimand."""
    old, new = change.before, change.after
    if old is None or new is None:
        return None
    parts = []
    if set(old["records"]) != set(new["records"]):
        parts.append("rows")
    elif any(old[name] != new[name] for name in COUNTS):
        parts.append("counts")
    if any(old[name] != new[name] for name in MADE_WITH):
        parts.append("model")
    return " and ".join(parts) or "code"


def _why(dataset: Dataset, name: str, *, added: bool) -> str:
    """Say what the extraction tells about a row that came into an estimate or left it."""
    rows = dataset.extraction[dataset.extraction["record_id"] == name]
    if rows.empty:
        return "no longer in the extraction"
    row = rows.iloc[0]
    reason = row["reason"] if isinstance(row["reason"], str) else ""
    if added:
        return f"{row['events']} of {row['total']}, in {row['report_id']}"
    if row["status"] == "used":
        return "in use, but not here: its cohort is of another population or shares patients"
    return f"now {row['status']}" + (f": {reason}" if reason else "")


def lines(dataset: Dataset, found: list[Change]) -> list[str]:
    """Describe movements for a reader, a block of lines per estimate."""
    said = []
    for entry in described(dataset, found):
        said.append(f"{entry['estimand_id']}: {_headline(entry)}")
        if entry["kind"] == "moved":
            said.append(f"  because of {_because(entry)}")
        for sign, key in (("+", "rows_added"), ("-", "rows_removed")):
            if entry["kind"] == "moved":
                said += [f"  {sign} {row['record_id']}: {row['why']}" for row in entry[key]]
    return said


def report(
    dataset: Dataset, before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> list[str]:
    """Describe what moved between two sets of records, and count it in a last line.

    Parameters
    ----------
    dataset : Dataset
        The data of the later records.
    before, after : list of dict
        Records as in ``data/estimates.json``.
    """
    found = moved(before, after)
    known = {entry["estimand_id"] for entry in before}
    both = sum(entry["estimand_id"] in known for entry in after)
    shifted = sum(change.before is not None and change.after is not None for change in found)
    return [
        *lines(dataset, found),
        f"{shifted} of {both} estimates moved, {len(after) - both} new, "
        f"{len(known) - both} no longer asked",
    ]


def _headline(entry: dict[str, Any]) -> str:
    if entry["kind"] == "new":
        return f"new, {_result(entry['after'])}"
    if entry["kind"] == "gone":
        return f"no longer asked; was {_result(entry['before'])}"
    text = f"{_result(entry['before'])} is now {_result(entry['after'])}"
    if entry["points"] is not None:
        # a shift that rounds to nothing has no sign
        points = f"{round(entry['points'], 1) + 0.0:+.1f}".replace("+0.0", "0.0")
        text += f"; {points} points"
    return text


def _because(entry: dict[str, Any]) -> str:
    old, new = entry["before"], entry["after"]
    model = " and ".join(
        f"{name} {old[name] or 'none'} before, {new[name] or 'none'} now"
        for name in MADE_WITH
        if old[name] != new[name]
    )
    counts = (
        f"{old['events']} of {old['patients']} before, {new['events']} of {new['patients']} now"
    )
    said = {
        "rows": f"the rows: {counts}",
        "counts": f"the counts of the same rows: {counts}",
        "model": f"the model alone, on the same rows: {model}",
        "rows and model": f"rows and model together, which the records cannot divide: {counts}; "
        f"{model}",
        "counts and model": f"counts and model together, which the records cannot divide: "
        f"{counts}; {model}",
        "code": "the code: same rows, same counts, same model by name",
    }
    return said[entry["cause"]]


def _result(numbers: dict[str, Any]) -> str:
    basis = f"{wording.count(numbers['trials'], 'trial')}"
    if numbers["estimate"] is None:
        return f"not pooled ({numbers['events']} of {numbers['patients']}, {basis})"
    limits = wording.ci(numbers["ci_low"], numbers["ci_high"], 1)
    return f"{wording.pct(numbers['estimate'], 1)} ({limits}; {basis})"
