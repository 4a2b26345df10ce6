"""Every way to count no patient twice, pooled.

The main analysis keeps one cohort per patient set by an explicit rule. Here stand the other
admissible choices (see :mod:`analysis.overlap`), each pooled as the main analysis is, and all
cohorts together with a variance that allows for what they share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.estimands import PRIMARY
from analysis.overlap import choose, clusters, graph, maximal_sets

if TYPE_CHECKING:
    import pandas as pd

    from analysis.estimands import Evidence
    from analysis.pooling import Fit
    from analysis.robustness import ClusterRobust

__all__ = ["Choices", "all_rows", "choices", "clustered", "fit_of", "trial_clusters"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Choices:
    """The pooled result of every admissible choice of cohorts for one estimand.

    Attributes
    ----------
    rows : pandas.DataFrame
        Every cohort of the population that reports the outcome, with the columns of
        ``Evidence.rows``, by year and label.
    parts : tuple of tuple of int
        Positions in `rows` of the cohorts that share patients, directly or through others.
    sets : tuple of tuple of int
        Positions in `rows` of the cohorts of each choice.
    main : tuple of int
        Positions of the cohorts that the rule chooses.
    main_at : int or None
        Position of the main choice in `sets`; None where it is not among them, which can happen
        only if possible overlaps count as none.
    possible : bool
        Whether an overlap that the sources leave open counts as one.
    estimate, ci_low, ci_high : numpy.ndarray, shape (number of sets,)
        Proportion scale; NaN where a choice holds one cohort or has no finite pooled mean.
    """

    rows: pd.DataFrame
    parts: tuple[tuple[int, ...], ...]
    sets: tuple[tuple[int, ...], ...]
    main: tuple[int, ...]
    main_at: int | None
    possible: bool
    estimate: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray

    @property
    def lowest(self) -> int | None:
        """Position in `sets` of the lowest estimate; None if no choice can be pooled."""
        return None if np.isnan(self.estimate).all() else int(np.nanargmin(self.estimate))

    @property
    def highest(self) -> int | None:
        """Position in `sets` of the highest estimate; None if no choice can be pooled."""
        return None if np.isnan(self.estimate).all() else int(np.nanargmax(self.estimate))

    def exchanged(self, at: int) -> list[tuple[list[str], list[str]]]:
        """Say which cohorts a choice has in place of those of the main choice.

        Parameters
        ----------
        at : int
            Position in `sets`.

        Returns
        -------
        list of (list of str, list of str)
            Labels put in, and labels taken out, for each part in which they differ.
        """
        labels = list(self.rows["label"])
        chosen, main = set(self.sets[at]), set(self.main)
        swaps = []
        for part in self.parts:
            put = [str(labels[i]) for i in part if i in chosen - main]
            taken = [str(labels[i]) for i in part if i in main - chosen]
            if put or taken:
                swaps.append((put, taken))
        return swaps


def choices(
    found: Evidence, overlaps: pd.DataFrame, *, possible: bool = True, **options: Any
) -> Choices:
    """Pool every set of cohorts that counts no patient twice and to which none can be added.

    Parameters
    ----------
    found : Evidence
        The rows of an estimand; both those pooled and those left out are used.
    overlaps : pandas.DataFrame
        Pairs of cohorts that share patients or may.
    possible : bool
        Whether an overlap that the sources leave open counts as one.
    **options
        Arguments of :func:`analysis.pooling.pool_many`; by default those of the main analysis.

    Returns
    -------
    Choices
    """
    from analysis.pooling import pool_many

    rows = all_rows(found)
    place = {cohort: i for i, cohort in enumerate(rows["cohort_id"])}
    sets = tuple(
        tuple(place[cohort] for cohort in chosen)
        for chosen in maximal_sets(rows["cohort_id"], overlaps, possible=possible)
    )
    main = tuple(place[cohort] for cohort in choose(rows, overlaps)[0])
    events = rows["events"].to_numpy(dtype="int64")
    total = rows["total"].to_numpy(dtype="int64")
    pooled = np.full((3, len(sets)), np.nan)
    for size in sorted({len(chosen) for chosen in sets} - {0, 1}):
        at = [i for i, chosen in enumerate(sets) if len(chosen) == size]
        index = np.array([sets[i] for i in at])
        batch = pool_many(events[index], total[index], **(options or PRIMARY))
        pooled[:, at] = batch.estimate, batch.ci_low, batch.ci_high
    parts = clusters(graph(rows["cohort_id"], overlaps, possible=True))
    return Choices(
        rows=rows,
        parts=tuple(tuple(place[cohort] for cohort in part) for part in parts),
        sets=sets,
        main=main,
        main_at=sets.index(main) if main in sets else None,
        possible=possible,
        estimate=pooled[0],
        ci_low=pooled[1],
        ci_high=pooled[2],
    )


def fit_of(options: Choices, at: int) -> Fit:
    """Return the full pooled result of one choice.

    Parameters
    ----------
    options : Choices
    at : int
        Position in ``options.sets``.
    """
    from analysis.pooling import pool

    rows = options.rows.iloc[list(options.sets[at])]
    return pool(
        rows["events"].to_numpy(dtype="int64"),
        rows["total"].to_numpy(dtype="int64"),
        labels=list(rows["label"]),
        **PRIMARY,
    )


def clustered(found: Evidence, overlaps: pd.DataFrame) -> ClusterRobust | None:
    """Pool all cohorts of an estimand, patients counted again and again, with a robust variance.

    Cohorts of one trial registration, and cohorts that share patients, form one cluster. The
    interval allows for what they share; the estimate still gives a trial with many reports more
    weight than its patients deserve, which is why this stands beside the main analysis only. The
    model is the two-step one by restricted maximum likelihood: with so few clusters the robust
    variance of the GLMM, which rests on its curvature in tau2 too, is not stable.

    Parameters
    ----------
    found : Evidence
        The rows of an estimand; both those pooled and those left out are used.
    overlaps : pandas.DataFrame
        Pairs of cohorts that share patients or may.

    Returns
    -------
    ClusterRobust or None
        None where there are fewer than two clusters, or no finite pooled mean.
    """
    from analysis.robustness import cluster_robust

    rows = all_rows(found)
    names = trial_clusters(rows, overlaps)
    events = rows["events"].to_numpy(dtype="int64")
    total = rows["total"].to_numpy(dtype="int64")
    if len(set(names)) < 2 or not 0 < events.sum() < total.sum():
        return None
    return cluster_robust(events, total, names, "reml")


def trial_clusters(rows: pd.DataFrame, overlaps: pd.DataFrame) -> list[int]:
    """Number the cohorts by trial: one registration, or shared patients, is one cluster.

    Parameters
    ----------
    rows : pandas.DataFrame
        Columns ``cohort_id`` and ``trial_id`` (may be missing).
    overlaps : pandas.DataFrame
        Pairs of cohorts that share patients or may.

    Returns
    -------
    list of int
        One number per row.
    """
    neighbors = graph(rows["cohort_id"], overlaps)
    for _, group in rows[rows["trial_id"].notna()].groupby("trial_id", sort=False):
        for cohort in group["cohort_id"]:
            neighbors[cohort] |= set(group["cohort_id"]) - {cohort}
    number = {cohort: i for i, part in enumerate(clusters(neighbors)) for cohort in part}
    return [number[cohort] for cohort in rows["cohort_id"]]


def all_rows(found: Evidence) -> pd.DataFrame:
    """Pooled and left-out cohorts together, by year and label."""
    import pandas as pd

    if found.shared.empty:
        return found.rows
    both = pd.concat([found.rows, found.shared.drop(columns="shares_with")])
    return both.sort_values(["year", "label"], kind="stable", ignore_index=True)
