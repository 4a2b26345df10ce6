"""What the trials that do not report an outcome could change.

A trial that prints no figure for an outcome still had patients. This module gives such trials
three counts: as few events as its other figures allow, which is mostly none; the rate of the
reporting trial with the highest one; and as many as its other figures allow, which is mostly all.
Other figures are those for events of any grade, for a subset, or for more patients. The assumed
counts are pooled with the reported ones by the main model. What lies between the first and the
last result is what not reporting leaves open; nothing is assumed about why a trial does not
report. (The idea is that of bounds for missing outcomes, Manski 1989, doi:10.2307/145818, with
trials in place of persons.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from analysis.estimands import pooled
from analysis.overlap import choose

if TYPE_CHECKING:
    import pandas as pd

    from analysis.data import Dataset
    from analysis.estimands import Evidence
    from analysis.pooling import Fit

__all__ = ["Bounds", "Silent", "bounds", "silent"]

#: The outcome that contains another: nobody has a severe event without an event of some grade.
CONTAINS = {"crs_severe": "crs_any", "ntx_severe": "ntx_any"}

#: Status of rows that say something about a cohort without being its count in use: implied figures,
#: and figures for more patients than the cohort (other diseases among them).
TELLING = ("used", "context", "excluded")


@dataclass(frozen=True)
class Silent:
    """A trial of the population that reports no figure for the outcome.

    Attributes
    ----------
    cohort_id, label : str
    total : int
        Patients infused, or evaluable for response where the outcome is a benefit.
    least, most : int
        The fewest and the most patients who can have had the event: none and all, or what the
        trial's other figures leave open.
    """

    cohort_id: str
    label: str
    total: int
    least: int
    most: int


@dataclass(frozen=True)
class Bounds:
    """Pooled results with assumed counts for the trials that do not report.

    Attributes
    ----------
    silent : tuple of Silent
        Trials that got an assumed count, one per patient set.
    unknown : tuple of str
        Labels of trials that could not get one, because no source read says how many patients
        they treated.
    worst : str
        Label of the reporting trial with the highest rate.
    worst_rate : float
        Its rate, a proportion.
    fewest, as_worst, most : Fit
        Pooled results with each silent trial at its fewest events, at the highest reported rate
        (rounded up to whole patients, and never outside what is possible), and at its most.
    """

    silent: tuple[Silent, ...]
    unknown: tuple[str, ...]
    worst: str
    worst_rate: float
    fewest: Fit
    as_worst: Fit
    most: Fit


def silent(dataset: Dataset, found: Evidence) -> tuple[tuple[Silent, ...], tuple[str, ...]]:
    """List the trials of a population that could have reported an outcome and did not.

    Parameters
    ----------
    dataset : Dataset
    found : Evidence
        The rows of the estimand.

    Returns
    -------
    trials : tuple of Silent
        One per patient set, by the rule of :func:`analysis.overlap.choose`, in the order of
        the cohorts.
    unknown : tuple of str
        Labels of trials without a number of patients that share no patients with the others.
    """
    outcome = found.estimand.outcome
    kinds = dataset.outcomes.set_index("outcome_id")["direction"]
    sizes = ["n_infused"] if kinds[outcome] == "harm" else ["n_evaluable", "n_infused"]
    missing = _without_report(dataset, found)
    size = missing[sizes].bfill(axis="columns").iloc[:, 0]
    report_kind = dataset.reports.set_index("report_id")["kind"]
    known = missing[size.notna()].copy()
    known["total"] = size[size.notna()].astype("int64")
    known["report_kind"] = known["report_id"].map(report_kind)
    kept, shared = choose(known, dataset.overlaps)
    trials = tuple(
        Silent(
            str(row.cohort_id),
            str(row.label),
            int(row.total),
            *_possible(dataset, outcome, str(row.cohort_id), int(row.total)),
        )
        for row in known.itertuples(index=False)
        if row.cohort_id in kept and row.total > 0
    )
    linked = set(kept) | set(shared)
    pairs = dataset.overlaps[["cohort_a", "cohort_b"]].itertuples(index=False, name=None)
    touching = {one for a, b in pairs for one, other in ((a, b), (b, a)) if other in linked}
    unknown = missing[size.isna() & ~missing["cohort_id"].isin(touching)]
    return trials, tuple(str(label) for label in unknown["label"])


def bounds(dataset: Dataset, found: Evidence) -> Bounds | None:
    """Pool the reported counts with assumed ones for the trials that do not report.

    Parameters
    ----------
    dataset : Dataset
    found : Evidence
        The rows of the estimand; at least one.

    Returns
    -------
    Bounds or None
        None where no trial of known size is without a figure.

    Raises
    ------
    ValueError
        If no trial reports the outcome.
    """
    if found.rows.empty:
        raise ValueError(f"{found.estimand.id}: no trial of this population reports the outcome")
    trials, unknown = silent(dataset, found)
    if not trials:
        return None
    rates = found.rows["events"] / found.rows["total"]
    worst = found.rows.loc[rates.idxmax()]
    x, n = int(worst["events"]), int(worst["total"])
    # whole numbers throughout: -(-a // b) rounds up
    rate = [max(t.least, min(t.most, -(-x * t.total // n))) for t in trials]
    return Bounds(
        silent=trials,
        unknown=unknown,
        worst=str(worst["label"]),
        worst_rate=x / n,
        fewest=_with(found, trials, [t.least for t in trials]),
        as_worst=_with(found, trials, rate),
        most=_with(found, trials, [t.most for t in trials]),
    )


def _without_report(dataset: Dataset, found: Evidence) -> pd.DataFrame:
    """Cohorts of the population that are not pooled, nor share patients with one that is."""
    cohorts = dataset.cohorts
    inside = cohorts["cohort_id"].notna()
    for column, value in found.estimand.where.items():
        inside &= cohorts[column] == value
    overlaps = dataset.overlaps
    pooled_ids = set(found.rows["cohort_id"])
    a, b = overlaps["cohort_a"], overlaps["cohort_b"]
    touching = set(b[a.isin(pooled_ids)]) | set(a[b.isin(pooled_ids)])
    return cohorts[inside & ~cohorts["cohort_id"].isin(pooled_ids | touching)]


def _possible(dataset: Dataset, outcome: str, cohort_id: str, total: int) -> tuple[int, int]:
    """The fewest and the most events that the other figures of a cohort allow.

    A figure of e events among m patients, of whom the cohort's n patients are a part or who are a
    part of them, leaves the cohort at least e - (m - n) events where m > n, and at most
    e + (n - m) where m < n. A figure for a containing outcome limits from above only. Figures that
    contradict each other limit nothing.
    """
    figures = dataset.extraction
    figures = figures[
        (figures["cohort_id"] == cohort_id)
        & figures["outcome"].isin([outcome, CONTAINS.get(outcome)])
        & figures["status"].isin(TELLING)
        & figures["events"].notna()
        & figures["total"].notna()
    ]
    least, most = 0, total
    for row in figures.itertuples(index=False):
        events, counted = int(row.events), int(row.total)
        most = min(most, events + max(0, total - counted))
        if row.outcome == outcome:
            least = max(least, events - max(0, counted - total))
    return (least, most) if least <= most else (0, total)


def _with(found: Evidence, trials: tuple[Silent, ...], events: list[int]) -> Fit:
    """Pool the rows of an estimand together with assumed counts."""
    import pandas as pd

    assumed = pd.DataFrame(
        {
            "cohort_id": [trial.cohort_id for trial in trials],
            "label": [trial.label for trial in trials],
            "events": events,
            "total": [trial.total for trial in trials],
        }
    )
    columns = list(assumed.columns)
    rows = pd.concat(
        [found.rows[columns].astype({"events": "int64", "total": "int64"}), assumed],
        ignore_index=True,
    )
    fit = pooled(replace(found, rows=rows))
    if fit is None:
        raise ValueError(f"{found.estimand.id}: nothing to pool")
    return fit
