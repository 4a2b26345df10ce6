"""Checks of what a caller hands to the pooling functions: one sentence per mistake."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

__all__ = ["check_choice", "check_counts", "check_labels", "check_level", "check_positive"]


def _as_numbers(values: Any, name: str, ndim: int) -> np.ndarray:
    if isinstance(values, str | bytes) or values is None:
        raise ValueError(f"{name} must be a sequence of whole numbers, not {values!r}")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of whole numbers") from error
    if array.dtype == object:
        flat = array.ravel().tolist()
        bad = [v for v in flat if isinstance(v, bool) or not isinstance(v, int | float | np.number)]
        if bad:
            raise ValueError(f"{name} must hold whole numbers only, found {bad[0]!r}")
        array = array.astype(float)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must hold whole numbers only, found type {array.dtype}")
    if array.ndim != ndim:
        shape = "one-dimensional (k,)" if ndim == 1 else "two-dimensional (B, k)"
        raise ValueError(f"{name} must be {shape}, got {array.ndim} dimension(s)")
    if array.size == 0:
        raise ValueError(f"{name} is empty: at least one study is needed")
    number = array.astype(float)
    _refuse(~np.isfinite(number), name, "is not a finite number", array)
    _refuse(number != np.floor(number), name, "is not a whole number", array)
    _refuse(np.abs(number) > 2.0**53, name, "is too large to be a count", array)
    return number.astype(np.int64)


def _refuse(wrong: np.ndarray, name: str, what: str, array: np.ndarray) -> None:
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        spot = f"position {where[0]}" if len(where) == 1 else f"row {where[0]}, column {where[1]}"
        raise ValueError(f"{name} at {spot} {what}: {array[where]}")


def check_counts(events: Any, total: Any, *, ndim: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return events and totals as int64 arrays or raise ``ValueError``.

    Parameters
    ----------
    events, total : array_like
        Whole numbers with 0 <= events <= total and total >= 1. Floats that are whole numbers
        are accepted. Positions in messages count from 0.
    ndim : {1, 2}
        1 for shape (k,), 2 for shape (B, k). With 2, a ``total`` of shape (k,) is broadcast.

    Raises
    ------
    ValueError
        One sentence saying which argument is wrong, where and how.
    """
    x = _as_numbers(events, "events", ndim)
    if ndim == 2 and np.ndim(total) == 1:
        n = _as_numbers(total, "total", 1)
        if n.shape[0] == x.shape[1]:
            n = np.broadcast_to(n, x.shape).copy()
    else:
        n = _as_numbers(total, "total", ndim)
    if x.shape != n.shape:
        if ndim == 1:
            raise ValueError(
                f"events and total must have the same length, got {x.size} and {n.size}"
            )
        raise ValueError(f"events and total must have the same shape, got {x.shape} and {n.shape}")
    _refuse(n < 1, "total", "must be at least 1", n)
    _refuse(x < 0, "events", "is negative", x)
    over = x > n
    if over.any():
        where = tuple(int(i) for i in np.argwhere(over)[0])
        spot = f"position {where[0]}" if len(where) == 1 else f"row {where[0]}, column {where[1]}"
        raise ValueError(f"events at {spot} exceed the total: {x[where]} of {n[where]}")
    return x, n


def check_level(level: Any) -> float:
    """Return the coverage level as a float strictly between 0 and 1."""
    if isinstance(level, bool) or not isinstance(level, int | float | np.number):
        raise ValueError(f"level must be a number between 0 and 1, got {level!r}")
    value = float(level)
    if not 0.0 < value < 1.0:
        raise ValueError(f"level must be strictly between 0 and 1, got {level!r}")
    return value


def check_positive(value: Any, name: str) -> float:
    """Return a finite float greater than 0 (scales of priors and the like)."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"{name} must be a positive number, got {value!r}")
    number = float(value)
    if not (np.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be a positive finite number, got {value!r}")
    return number


def check_labels(labels: Sequence[Any] | None, k: int) -> tuple[str, ...] | None:
    """Return labels as a tuple of k strings, or None."""
    if labels is None:
        return None
    if isinstance(labels, str | bytes) or not isinstance(labels, Iterable):
        raise ValueError(f"labels must be a sequence of {k} names, got {labels!r}")
    out = tuple(str(label) for label in labels)
    if len(out) != k:
        raise ValueError(f"labels must have one entry per study: {len(out)} labels, {k} studies")
    return out


def check_choice(value: Any, name: str, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices`` or raise ``ValueError`` naming them."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"unknown {name} {value!r}: choose one of {', '.join(choices)}")
    return value
