"""From moderators as people hold them (columns, factors) to a plain float design array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Term", "build_design", "design_rows", "parse_moderators"]


@dataclass(frozen=True)
class Term:
    """One moderator: ``levels`` is None for a number, else its levels, the reference first."""

    name: str
    levels: tuple[str, ...] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that the term adds to the design."""
        if self.levels is None:
            return (self.name,)
        return tuple(f"{self.name}[{level}]" for level in self.levels[1:])


def _columns(moderators: Any) -> dict[str, Any]:
    """Name and values of each moderator; positions count, an index of a data frame does not."""
    if moderators is None:
        raise ValueError("moderators are missing: give a mapping of names to k values each")
    if isinstance(moderators, str | bytes):
        raise ValueError(f"moderators must be columns of values, not the text {moderators!r}")
    if isinstance(moderators, Mapping):
        return {str(name): values for name, values in moderators.items()}
    if hasattr(moderators, "columns") and hasattr(moderators, "__getitem__"):
        return {str(name): moderators[name] for name in moderators.columns}
    if hasattr(moderators, "name") and hasattr(moderators, "dtype"):
        return {str(moderators.name or "x1"): moderators}
    array = np.asarray(moderators)
    if array.ndim == 1:
        return {"x1": array}
    if array.ndim == 2:
        return {f"x{j + 1}": array[:, j] for j in range(array.shape[1])}
    raise ValueError(f"moderators must have one or two dimensions, got {array.ndim}")


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating) and np.isnan(value))


def _values(name: str, values: Any, k: int | None) -> list[Any]:
    if isinstance(values, str | bytes) or np.ndim(values) != 1:
        raise ValueError(f"moderator {name!r} must be one-dimensional with one value per trial")
    out = [v.item() if isinstance(v, np.generic) else v for v in list(values)]
    if k is not None and len(out) != k:
        raise ValueError(f"moderator {name!r} has {len(out)} values for {k} trials")
    for i, v in enumerate(out):
        if _missing(v) or str(v) in ("<NA>", "NaT"):
            raise ValueError(f"moderator {name!r} is missing at position {i}")
    return out


def _is_number(v: Any) -> bool:
    return isinstance(v, int | float) and not isinstance(v, bool)


def parse_moderators(
    moderators: Any, k: int, reference: Mapping[str, Any] | None = None
) -> tuple[tuple[Term, ...], dict[str, list[Any]]]:
    """Terms and plain values of ``moderators``.

    Numbers make a continuous moderator; anything else (text, true/false, categories) a factor
    whose levels are sorted, unless the column carries categories in an order of its own.
    ``reference`` names the reference level of factors by moderator.

    Raises
    ------
    ValueError
        Wrong length, missing or infinite value, constant moderator, unknown reference level.
    """
    columns = _columns(moderators)
    if not columns:
        raise ValueError("moderators are empty: name at least one")
    wanted = {str(key): str(value) for key, value in (reference or {}).items()}
    unknown = sorted(set(wanted) - set(columns))
    if unknown:
        raise ValueError(f"reference names a moderator that is not there: {unknown[0]!r}")
    terms, plain = [], {}
    for name, raw in columns.items():
        values = _values(name, raw, k)
        if all(_is_number(v) for v in values) and name not in wanted:
            numbers = np.array(values, dtype=float)
            if not np.isfinite(numbers).all():
                where = int(np.flatnonzero(~np.isfinite(numbers))[0])
                raise ValueError(f"moderator {name!r} is not finite at position {where}")
            if np.ptp(numbers) == 0.0:
                raise ValueError(f"moderator {name!r} is constant: it has one value in all trials")
            terms.append(Term(name))
            plain[name] = numbers.tolist()
            continue
        text = [str(v) for v in values]
        present = set(text)
        categories = getattr(getattr(raw, "dtype", None), "categories", None)
        if categories is not None:
            levels = [str(c) for c in categories if str(c) in present]
        else:
            levels = sorted(present)
        if len(levels) < 2:
            raise ValueError(f"moderator {name!r} is constant: all trials are {levels[0]!r}")
        first = wanted.get(name)
        if first is not None:
            if first not in levels:
                raise ValueError(f"moderator {name!r} has no level {first!r} to use as reference")
            levels.remove(first)
            levels.insert(0, first)
        terms.append(Term(name, tuple(levels)))
        plain[name] = text
    return tuple(terms), plain


def design_rows(terms: Sequence[Term], values: Mapping[str, Any]) -> np.ndarray:
    """Rows of the design for new values of every moderator; shape (rows, p).

    Raises
    ------
    ValueError
        A moderator is missing or unknown, lengths differ, or a level was not in the data.
    """
    unknown = sorted(set(map(str, values)) - {term.name for term in terms})
    if unknown:
        raise ValueError(f"unknown moderator {unknown[0]!r}")
    count: int | None = None
    columns: list[np.ndarray] = []
    for term in terms:
        if term.name not in values:
            raise ValueError(f"moderator {term.name!r} is missing")
        column = _values(term.name, values[term.name], count)
        count = len(column)
        if term.levels is None:
            if not all(_is_number(v) for v in column):
                raise ValueError(f"moderator {term.name!r} needs numbers")
            columns.append(np.array(column, dtype=float))
            continue
        text = [str(v) for v in column]
        for v in text:
            if v not in term.levels:
                raise ValueError(f"moderator {term.name!r} has no level {v!r}")
        columns.extend(
            np.array([v == level for v in text], dtype=float) for level in term.levels[1:]
        )
    return np.column_stack([np.ones(count or 0), *columns])


def build_design(
    terms: Sequence[Term], values: Mapping[str, list[Any]], k: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Design array (k, p) with an intercept, and the names of its columns.

    Raises
    ------
    ValueError
        Columns are collinear, or there are as many coefficients as trials or more.
    """
    design = design_rows(terms, values)
    names = ("intercept", *(column for term in terms for column in term.columns))
    p = design.shape[1]
    if p >= k:
        raise ValueError(
            f"{p} coefficients need more than {p} trials, there are {k}: use fewer moderators"
        )
    scaled = design / np.abs(design).max(axis=0)
    for j in range(1, p):
        before, column = scaled[:, :j], scaled[:, j]
        rest = column - before @ np.linalg.lstsq(before, column, rcond=None)[0]
        spread = float(np.linalg.norm(column - column.mean()))
        if float(np.linalg.norm(rest)) <= 1e-10 * max(spread, 1e-3):
            raise ValueError(f"moderator column {names[j]!r} is collinear with those before it")
    return design, names
