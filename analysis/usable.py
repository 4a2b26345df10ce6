"""Can the book be made from a data package whose tables are valid?

:mod:`analysis.data` holds the tables to their schema. Here stands what only the code that uses
them can tell: a percentage that its count contradicts, a claim that no check can decide, an
estimand that is not in the registry, or that no trial is left for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis import claims, reconcile
from analysis.data import Finding
from analysis.estimands import estimands, evidence

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = ["problems"]


def problems(dataset: Dataset) -> list[Finding]:
    """Name every row that a chapter could not use, and every estimand without a row.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Finding
        Sorted by file and row; empty if the book can be made.
    """
    found = [*reconcile.check_percentages(dataset), *claims.problems(dataset)]
    known = {target.id for target in estimands(comparators=True)}
    for target in estimands(comparators=True):
        if evidence(dataset, target).rows.empty:
            message = f"no trial of its population has a count in use for {target.id}"
            found.append(Finding("extraction.csv", 1, "status", message))
    for i, name in enumerate(dataset.published_pools["estimand_id"].fillna("")):
        if name and name not in known:
            message = f"there is no estimand {name!r}"
            # the header is line 1 and cells have no line breaks
            found.append(Finding("published_pools.csv", i + 2, "estimand_id", message))
    return sorted(found)
