"""Designs: the sizes of the trials, as they are in the book and drawn from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = ["DRAWN", "Design", "drawn_designs", "real_designs", "study_designs"]

DRAWN = (4, 6, 8, 12, 20)
DRAW_SEED = 20240229


@dataclass(frozen=True)
class Design:
    """Totals of the trials of one meta-analysis.

    Attributes
    ----------
    id : str
        Short name: ``k6a`` for a design of the book, ``d6`` for a drawn one.
    total : tuple of int
        Patients of each trial, ascending.
    estimands : tuple of str
        Ids of the estimands of the book that have exactly these totals; empty if drawn.
    """

    id: str
    total: tuple[int, ...]
    estimands: tuple[str, ...] = ()

    @property
    def k(self) -> int:
        """Number of trials."""
        return len(self.total)

    @property
    def label(self) -> str:
        """Number of trials and their sizes, for readers."""
        kind = "drawn" if not self.estimands else "book"
        return f"{self.k} trials ({kind}): {', '.join(str(n) for n in self.total)}"


def real_designs(dataset: Dataset) -> tuple[Design, ...]:
    """List the totals of every estimand of the book with two or more trials, each once.

    Parameters
    ----------
    dataset : Dataset
        The validated data package.
    """
    from analysis import estimands

    found: dict[tuple[int, ...], list[str]] = {}
    for target in estimands.estimands():
        rows = estimands.evidence(dataset, target).rows
        total = tuple(sorted(int(n) for n in rows["total"]))
        if len(total) >= 2:
            found.setdefault(total, []).append(target.id)
    out, seen = [], dict.fromkeys(range(200), 0)
    for total, ids in found.items():
        letter = "abcdefghijklmnopqrstuvwxyz"[seen[len(total)]]
        seen[len(total)] += 1
        out.append(Design(f"k{len(total)}{letter}", total, tuple(ids)))
    return tuple(out)


def drawn_designs(real: tuple[Design, ...], sizes: tuple[int, ...] = DRAWN) -> tuple[Design, ...]:
    """Draw designs of given numbers of trials from the totals of the real ones, with replacement.

    The totals of all real designs form one pool, each design giving all of its trials; the seed
    is fixed and the draws for one number of trials do not depend on the others.
    """
    if not real:
        raise ValueError("there is no design with two or more trials to draw from")
    pool = np.array([n for design in real for n in design.total])
    out = []
    for k in sizes:
        rng = np.random.Generator(np.random.PCG64([DRAW_SEED, k]))
        total = sorted(int(n) for n in rng.choice(pool, size=k, replace=True))
        out.append(Design(f"d{k}", tuple(total)))
    return tuple(out)


def study_designs(dataset: Dataset) -> tuple[Design, ...]:
    """All designs of the study: those of the book, then the drawn ones."""
    real = real_designs(dataset)
    return real + drawn_designs(real)
