"""What changed between data versions: the kept estimates of each, compared one by one.

``data/history/estimates-<version>.json`` keeps the records of a data version that has been
replaced, as ``data/estimates.json`` has them for the current one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import tables, wording
from analysis.data import DATA_DIR
from analysis.markup import Html, attribute, escape

__all__ = ["Change", "changes", "comparison", "kept", "summary"]

Record = dict[str, Any]
FILE = re.compile(r"estimates-(\d+)\.(\d+)\.(\d+)\.json")
# how far a number may be from the earlier one, in percentage points, before it has moved
SAME = 0.05
# what a record names of the analysis that made it
MADE_BY = ("model", "interval")


@dataclass(frozen=True)
class Change:
    """One estimand in two data versions.

    Attributes
    ----------
    estimand_id : str
    before, after : dict or None
        The records; None where the version did not have the estimand.
    reasons : tuple of str
        What differs in what the number was computed from.
    """

    estimand_id: str
    before: Record | None
    after: Record | None
    reasons: tuple[str, ...]

    @property
    def points(self) -> float | None:
        """Change of the estimate in percentage points, where both versions have one."""
        if self.before is None or self.after is None:
            return None
        old, new = self.before["estimate"], self.after["estimate"]
        return None if old is None or new is None else 100 * (new - old)

    @property
    def moved(self) -> bool:
        """Whether a reader of the tables sees another result."""
        shown = ("estimate", "ci_low", "ci_high", "pi_low", "pi_high")
        if self.before is None or self.after is None:
            return True
        pairs = [(self.before.get(name), self.after.get(name)) for name in shown]
        return any(
            (old is None) != (new is None)
            or (old is not None and new is not None and abs(new - old) * 100 > SAME)
            for old, new in pairs
        )


def kept(directory: Path = DATA_DIR) -> dict[str, list[Record]]:
    """Read the records of every data version that is kept, oldest first, the current one last.

    Raises
    ------
    ValueError
        If a file is not a list of records of the version in its name.
    """
    found: dict[tuple[int, ...], list[Record]] = {}
    folder = directory / "history"
    for path in sorted(folder.glob("estimates-*.json")) if folder.is_dir() else []:
        named = FILE.fullmatch(path.name)
        if named is None:
            raise ValueError(f"{path.name}: is not named estimates-<version>.json")
        found[tuple(int(part) for part in named.groups())] = _read(path, path.stem[10:])
    versions = {".".join(map(str, key)): found[key] for key in sorted(found)}
    current = _read(directory / "estimates.json")
    version = str(current[0]["data_version"]) if current else ""
    # the current version last, also where its file is among those kept
    versions.pop(version, None)
    return {**versions, version: current}


def changes(before: list[Record], after: list[Record]) -> list[Change]:
    """Compare the records of two versions, in the order of the later one.

    Parameters
    ----------
    before, after : list of dict
        Records as in ``data/estimates.json``.
    """
    old = {entry["estimand_id"]: entry for entry in before}
    new = {entry["estimand_id"]: entry for entry in after}
    return [
        Change(name, old.get(name), new.get(name), _reasons(old.get(name), new.get(name)))
        for name in [*new, *(name for name in old if name not in new)]
    ]


def _reasons(before: Record | None, after: Record | None) -> tuple[str, ...]:
    if before is None:
        return ("new in this version",)
    if after is None:
        return ("no longer asked",)
    said = []
    added = [name for name in after["records"] if name not in before["records"]]
    gone = [name for name in before["records"] if name not in after["records"]]
    if added:
        said.append(f"rows added: {wording.listing(added)}")
    if gone:
        said.append(f"rows left out: {wording.listing(gone)}")
    counts = ("events", "patients")
    if not added and not gone and any(before[name] != after[name] for name in counts):
        said.append(
            f"counts of the same rows: {before['events']}/{before['patients']} "
            f"is now {after['events']}/{after['patients']}"
        )
    for name in MADE_BY:
        if before[name] != after[name]:
            said.append(f"{name}: {_said(name, before)} is now {_said(name, after)}")
    return tuple(said)


def _said(name: str, entry: Record) -> str:
    known = wording.MODEL_NAMES if name == "model" else wording.INTERVAL_NAMES
    value = entry[name] or "none"
    return known.get(value, value).replace("{dash}", wording.EN_DASH)


def summary(directory: Path = DATA_DIR) -> Html:
    """Say in one sentence how many estimates the current version moved."""
    versions = kept(directory)
    names = list(versions)
    if len(names) < 2:
        text = f"Data version {names[-1]} is the first one that is kept: nothing has changed yet."
    else:
        found = changes(versions[names[-2]], versions[names[-1]])
        both = [entry for entry in found if entry.before and entry.after]
        moved = [entry for entry in both if entry.moved]
        fresh = [entry for entry in found if entry.before is None]
        text = (
            f"From data version {names[-2]} to {names[-1]}, {len(moved)} of "
            f"{wording.count(len(both), 'estimate')} moved and "
            f"{wording.count(len(fresh), 'estimate')} came in."
        )
        same = [entry for entry in moved if not _rows_changed(entry)]
        model = [entry for entry in same if entry.reasons]
        if model:
            text += (
                f" Of those that moved, {len(model)} did so on the same figures, because the main "
                "analysis is another one."
            )
    return Html(f'<p class="ev-block"><strong>{escape(text)}</strong></p>')


def _rows_changed(entry: Change) -> bool:
    """Whether rows or counts behind an estimate differ between two versions."""
    made_by = tuple(f"{name}: " for name in MADE_BY)
    return any(not reason.startswith(made_by) for reason in entry.reasons)


def comparison(directory: Path = DATA_DIR) -> Html:
    """Tabulate, for each two versions in a row, what moved and why; the latest step first."""
    versions = kept(directory)
    names = list(versions)
    pages = _pages()
    parts = [
        _table(names[i - 1], names[i], changes(versions[names[i - 1]], versions[names[i]]), pages)
        for i in range(len(names) - 1, 0, -1)
    ]
    if not parts:
        return Html("<p>No earlier version is kept, so there is nothing to compare.</p>")
    return Html("\n".join(str(part) for part in parts))


def _table(old: str, new: str, found: list[Change], pages: dict[str, str]) -> Html:
    rows = []
    for entry in found:
        name = entry.estimand_id
        shown: Html | str = name
        if name in pages and entry.after is not None:
            address = attribute(f"{pages[name]}#{name}")
            shown = Html(f'<a href="{address}">{escape(name)}</a>')
        rows.append(
            {
                "Estimand": shown,
                old: _result(entry.before),
                new: _result(entry.after),
                "Change (points)": "" if entry.points is None else _signed(entry.points),
                "Why": "; ".join(entry.reasons)
                or ("recomputed by other code" if entry.moved else "unchanged"),
            }
        )
    return tables.html_table(
        rows,
        f"Estimates of data version {new} beside those of {old}",
        id=f"changes-{new.replace('.', '-')}",
        row_header="Estimand",
        numeric=["Change (points)"],
        stack=True,
        csv=tables.to_csv(
            {
                "estimand_id": entry.estimand_id,
                **{
                    f"{when}_{key}": (record or {}).get(key)
                    for when, record in (("before", entry.before), ("after", entry.after))
                    for key in ("trials", "events", "patients", "estimate", "ci_low", "ci_high")
                },
                "reasons": "; ".join(entry.reasons),
            }
            for entry in found
        ),
    )


def _result(entry: Record | None) -> str:
    if entry is None:
        return ""
    basis = f"{entry['events']}/{entry['patients']} in {wording.count(entry['trials'], 'trial')}"
    if entry["estimate"] is None:
        return f"{basis}, not pooled"
    digits = wording.TABLE_DIGITS
    limits = wording.ci(entry["ci_low"], entry["ci_high"], digits)
    return f"{wording.pct(entry['estimate'], digits)} ({limits}), {basis}"


def _signed(points: float) -> str:
    text = wording.number(points, wording.TABLE_DIGITS)
    return text if text.startswith("\u2212") or float(text) == 0 else f"+{text}"


def _pages() -> dict[str, str]:
    from analysis.estimands import estimands

    return {target.id: f"{target.page}.html" for target in estimands(comparators=True)}


def _read(path: Path, version: str | None = None) -> list[Record]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        fine = isinstance(entries, list) and all(
            version in (None, entry["data_version"]) and isinstance(entry["records"], list)
            for entry in entries
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path.name}: cannot be read as records of estimates: {error!r}"
        ) from None
    if not fine:
        raise ValueError(f"{path.name}: is not a list of records of version {version}")
    return entries
