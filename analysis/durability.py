"""How long remissions last: survival rates at time points and medians, cohort by cohort.

Survival rates of independent cohorts are pooled (:func:`analysis.pooling.survival.pool_landmarks`)
where at least `NEEDED` of them report the same outcome at about the same time. What is left stands
side by side. Nothing here is a comparison: every cohort is a single arm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis import estimands
from analysis.overlap import choose
from analysis.pooling.survival import (
    LandmarkFit,
    cloglog,
    corrected,
    followed_share,
    pool_landmarks,
    rate_interval,
    variance_from_interval,
    variance_from_size,
)

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = [
    "NEEDED",
    "OUTCOMES",
    "TIMES",
    "Landmark",
    "Median",
    "Set",
    "landmark_sets",
    "landmarks",
    "medians",
    "populations",
    "window",
]

#: Outcomes and the word for a table or a picture.
OUTCOMES = {
    "pfs": "Progression-free survival",
    "os": "Overall survival",
    "dor": "Duration of response",
}
#: Usual time points in months; a rate belongs to one if it is within `WITHIN` of it.
TIMES = (3, 6, 9, 12, 18, 24, 36, 48, 60, 72, 120)
WITHIN = 0.1
#: Independent cohorts that a pooled rate needs.
NEEDED = 3

SHOWN = ("used", "disputed", "context")
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Landmark:
    """A survival rate at a time point, as printed, with an interval.

    Attributes
    ----------
    record_id, cohort_id, cohort, outcome, status : str
        From the data; `cohort` is the label for readers.
    months, rate : float
        Time point, and proportion surviving.
    subset : str
        The patients it is about, if not all of the cohort.
    patients : int or None
        Its denominator.
    size : float or None
        Patients of a binomial sample of the same precision; None where there is no denominator.
    variance : float or None
        Of ``log(-log rate)``; None without an interval and without a denominator.
    low, high : float or None
        95% interval, proportions.
    how : str
        Where the variance comes from, in words.
    row : object
        The row of the extraction with the columns of the report, for the source.
    """

    record_id: str
    cohort_id: str
    cohort: str
    outcome: str
    status: str
    months: float
    rate: float
    subset: str
    patients: int | None
    size: float | None
    variance: float | None
    low: float | None
    high: float | None
    how: str
    row: Any


@dataclass(frozen=True, kw_only=True)
class Median:
    """A median time in months; `value` None stands for "not reached".

    `low` and `high` are the limits of a printed interval, None where it has none or they were not
    reached. `shares_with` names a cohort in use with the same patients.
    """

    record_id: str
    cohort_id: str
    cohort: str
    outcome: str
    status: str
    value: float | None
    low: float | None
    high: float | None
    subset: str
    shares_with: str
    row: Any


@dataclass(frozen=True, kw_only=True)
class Set:
    """Rates in use of one outcome at one time point.

    Attributes
    ----------
    outcome : str
    months : float
        The usual time point.
    independent : tuple of Landmark
        One per patient set, for all patients of the cohort, with a variance.
    shared : tuple of Landmark
        Rates of cohorts that share patients with one of those.
    fit : LandmarkFit or None
        The pooled rate, where there are at least `NEEDED`.
    """

    outcome: str
    months: float
    independent: tuple[Landmark, ...]
    shared: tuple[Landmark, ...]
    fit: LandmarkFit | None


def populations() -> dict[str, estimands.Estimand]:
    """Return one estimand of each population of the book, which carries its names and rule."""
    first: dict[str, estimands.Estimand] = {}
    for target in estimands.estimands():
        if target.outcome == "orr":
            first.setdefault(target.population, target)
    return first


def window(months: float) -> float | None:
    """Return the usual time point that a time belongs to, None where it belongs to none."""
    near = min(TIMES, key=lambda usual: abs(months - usual))
    return float(near) if abs(months - near) <= WITHIN * near + 1e-9 else None


def _cohorts(dataset: Dataset, where: dict[str, str]) -> pd.DataFrame:
    inside = dataset.cohorts["cohort_id"].notna()
    for column, value in where.items():
        inside &= dataset.cohorts[column] == value
    return dataset.cohorts[inside]


def _rows(dataset: Dataset, where: dict[str, str], outcomes: Iterable[str]) -> pd.DataFrame:
    """Rows to show of the cohorts of a population, with label, year, report and sizes."""
    cohorts = _cohorts(dataset, where)
    rows = dataset.extraction
    rows = rows[rows["outcome"].isin(list(outcomes)) & rows["status"].isin(SHOWN)]
    about = cohorts[["cohort_id", "label", "year", "n_infused", "follow_up_months"]]
    reports = dataset.reports[["report_id", "kind", "citation", "doi"]]
    rows = rows.merge(about, on="cohort_id").merge(
        reports.rename(columns={"kind": "report_kind"}), on="report_id"
    )
    return rows.sort_values(["year", "label", "timepoint_months"], kind="stable", ignore_index=True)


def landmarks(dataset: Dataset, where: dict[str, str]) -> list[Landmark]:
    """List the survival rates of the cohorts of a population.

    Parameters
    ----------
    dataset : Dataset
    where : dict
        Column of ``cohorts.csv`` and the value that the population requires.

    Returns
    -------
    list of Landmark
        By outcome, year and time. Rates in use, disputed ones, and those of a part of the
        patients.
    """
    rows = _rows(dataset, where, OUTCOMES)
    rows = rows[rows["percent"].notna() & rows["timepoint_months"].notna()]
    found = [_landmark(dataset, row) for row in rows.itertuples(index=False)]
    order = list(OUTCOMES)
    return sorted(found, key=lambda mark: order.index(mark.outcome))


def _landmark(dataset: Dataset, row: Any) -> Landmark:
    rate, months = float(row.percent) / 100, float(row.timepoint_months)
    subset = _text(row.value_text) if row.status == "context" else ""
    patients, whose = _patients(dataset, row, subset)
    variance, size, low, high = None, None, None, None
    if pd.notna(row.ci_low) and pd.notna(row.ci_high) and 0 < rate < 1:
        low, high = float(row.ci_low) / 100, float(row.ci_high) / 100
        level = float(row.ci_level) / 100 if pd.notna(row.ci_level) else LEVEL
        variance = variance_from_interval(rate, low, high, level)
        how = "printed interval"
    elif patients is None:
        how = "no interval: the number of patients is not printed"
    else:
        follow_up = float(row.follow_up_months) if pd.notna(row.follow_up_months) else None
        share, why = followed_share(months, follow_up)
        size = patients * share
        low, high, variance = _interval(rate, size)
        how = f"{size:.3g} of {patients} {whose} counted ({why})"
    return Landmark(
        record_id=str(row.record_id),
        cohort_id=str(row.cohort_id),
        cohort=str(row.label),
        outcome=str(row.outcome),
        status=str(row.status),
        months=months,
        rate=rate,
        subset=subset,
        patients=patients,
        size=size,
        variance=variance,
        low=low,
        high=high,
        how=how,
        row=row,
    )


def _interval(rate: float, size: float) -> tuple[float, float, float]:
    """Interval and variance of a rate as precise as one of `size` patients.

    At 0 or 1 half a patient is added for the variance, and the other limit is the exact binomial
    one (Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404).
    """
    used, counted = corrected(rate, size)
    variance = variance_from_size(used, counted)
    if rate in (0.0, 1.0):
        far = ((1 - LEVEL) / 2) ** (1 / size)
        return (far, 1.0, variance) if rate == 1.0 else (0.0, 1 - far, variance)
    return *rate_interval(rate, variance, LEVEL), variance


def interval_at(mark: Landmark, factor: float) -> tuple[float, float] | None:
    """Interval of a rate if `factor` times its patients counted; None where it is printed."""
    if mark.patients is None or mark.size is None:
        return None
    low, high, _ = _interval(mark.rate, mark.patients * factor)
    return low, high


def _patients(dataset: Dataset, row: Any, subset: str) -> tuple[int | None, str]:
    """Denominator of a survival rate and what to call it."""
    if pd.notna(row.total):
        return int(row.total), "patients"
    if row.outcome in ("pfs", "os"):
        if not subset and pd.notna(row.n_infused):
            return int(row.n_infused), "patients infused"
        return None, ""
    needed = {"complete responders": "cr", "": "orr"}.get(subset)
    if needed is None or row.status == "disputed":
        return None, ""
    rows = dataset.extraction
    events = rows.loc[
        (rows["cohort_id"] == row.cohort_id)
        & (rows["outcome"] == needed)
        & (rows["status"] == "used"),
        "events",
    ].dropna()
    if events.empty or int(events.iloc[0]) < 1:
        return None, ""
    return int(events.iloc[0]), subset or "responders"


def medians(dataset: Dataset, where: dict[str, str]) -> list[Median]:
    """List the median times of the cohorts of a population, by outcome and year.

    Parameters
    ----------
    dataset, where
        As for `landmarks`.
    """
    found = []
    for outcome in OUTCOMES:
        rows = _rows(dataset, where, [f"{outcome}_median"])
        kept = rows[rows["status"] == "used"].drop_duplicates("cohort_id")
        kept = kept.assign(total=kept["n_infused"].fillna(0))
        _, dropped = choose(kept, dataset.overlaps)
        names = dict(zip(kept["cohort_id"], kept["label"], strict=True))
        for row in rows.itertuples(index=False):
            text = _text(row.value_text)
            reached = pd.notna(row.value)
            if not reached and "not reached" not in text:
                continue
            subset = text.replace(", not reached", "").replace("not reached", "")
            subset = subset if row.status == "context" else ""
            other = dropped.get(row.cohort_id, "") if row.status == "used" else ""
            found.append(
                Median(
                    record_id=str(row.record_id),
                    cohort_id=str(row.cohort_id),
                    cohort=str(row.label),
                    outcome=outcome,
                    # "not reached" is no figure, but it is about all patients
                    status="used" if not reached and not subset else str(row.status),
                    value=float(row.value) if reached else None,
                    low=float(row.ci_low) if pd.notna(row.ci_low) else None,
                    high=float(row.ci_high) if pd.notna(row.ci_high) else None,
                    subset=subset,
                    shares_with=names.get(other, ""),
                    row=row,
                )
            )
    return found


def landmark_sets(marks: Sequence[Landmark], overlaps: pd.DataFrame) -> list[Set]:
    """Group the rates in use by outcome and time point, and pool where there are enough.

    Parameters
    ----------
    marks : sequence of Landmark
    overlaps : pandas.DataFrame
        Pairs of cohorts that share patients, as for :func:`analysis.overlap.choose`.

    Returns
    -------
    list of Set
        By outcome and time.
    """
    usable: dict[tuple[str, float], list[Landmark]] = {}
    for mark in marks:
        usual = window(mark.months)
        if mark.status == "used" and not mark.subset and usual is not None:
            group = usable.setdefault((mark.outcome, usual), [])
            if mark.variance is not None and mark.cohort_id not in {m.cohort_id for m in group}:
                group.append(mark)
    order = list(OUTCOMES)
    sets = []
    for (outcome, months), group in sorted(
        usable.items(), key=lambda item: (order.index(item[0][0]), item[0][1])
    ):
        if not group:
            continue
        frame = pd.DataFrame(
            {
                "cohort_id": [m.cohort_id for m in group],
                "total": [m.patients or 0 for m in group],
                "year": [m.row.year for m in group],
                "report_kind": [m.row.report_kind for m in group],
            }
        )
        kept, _ = choose(frame, overlaps)
        independent = tuple(m for m in group if m.cohort_id in kept)
        sets.append(
            Set(
                outcome=outcome,
                months=months,
                independent=independent,
                shared=tuple(m for m in group if m.cohort_id not in kept),
                fit=_pooled(independent),
            )
        )
    return sets


def _pooled(marks: Sequence[Landmark]) -> LandmarkFit | None:
    if len(marks) < NEEDED:
        return None
    rates, variances = [], []
    for mark in marks:
        rate = mark.rate
        if rate in (0.0, 1.0):
            rate = corrected(rate, mark.size or 1.0)[0]
        cloglog(rate)
        assert mark.variance is not None  # a set holds only rates with a variance
        rates.append(rate)
        variances.append(mark.variance)
    return pool_landmarks(rates, variances, labels=[m.cohort for m in marks])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
