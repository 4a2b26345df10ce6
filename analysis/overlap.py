"""Cohorts that share patients: keep one cohort per patient set.

The rule, applied to the cohorts that report one outcome: the largest denominator first, then the
latest report, then a trial's own paper before any other document, then the name. A cohort is kept
if it shares no patients, certainly or possibly, with one already kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RULE", "choose"]

RULE = "the largest denominator, then the latest report, then the trial's own paper"


def choose(rows: pd.DataFrame, overlaps: pd.DataFrame) -> tuple[list[str], dict[str, str]]:
    """Choose cohorts that share no patients.

    Parameters
    ----------
    rows : pandas.DataFrame
        One row per cohort, with the columns ``cohort_id``, ``total``, ``year`` (may be missing)
        and ``report_kind``.
    overlaps : pandas.DataFrame
        Pairs of cohorts that share patients or may: columns ``cohort_a``, ``cohort_b``, ``kind``.

    Returns
    -------
    kept : list of str
        Cohorts to pool, in the order of `rows`.
    dropped : dict of str to str
        Every other cohort, and the kept cohort that it shares patients with.

    Raises
    ------
    ValueError
        If a cohort has more than one row.
    """
    if rows["cohort_id"].duplicated().any():
        twice = rows.loc[rows["cohort_id"].duplicated(), "cohort_id"].iloc[0]
        raise ValueError(f"cohort {twice} has more than one row")
    neighbors: dict[str, set[str]] = {}
    for a, b in zip(overlaps["cohort_a"], overlaps["cohort_b"], strict=True):
        neighbors.setdefault(a, set()).add(b)
        neighbors.setdefault(b, set()).add(a)

    ranked = sorted(
        rows.assign(year=rows["year"].fillna(0)).itertuples(index=False),
        key=lambda row: (
            -int(row.total),
            -int(row.year),
            row.report_kind != "trial paper",
            row.cohort_id,
        ),
    )
    kept: list[str] = []
    dropped: dict[str, str] = {}
    for row in ranked:
        shared = next((c for c in kept if c in neighbors.get(row.cohort_id, ())), None)
        if shared is None:
            kept.append(row.cohort_id)
        else:
            dropped[row.cohort_id] = shared
    return [c for c in rows["cohort_id"] if c in kept], dropped
