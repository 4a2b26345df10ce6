"""CLL beside other B-cell cancers: the same outcomes, pooled by disease and compared.

Each group is a population of the registry of estimands, so that the groups on the page are the
published estimates. Nothing was randomized; diseases also differ in target, product, years and
grading scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from analysis import comparisons
from analysis.comparisons import Comparison, Contrast, Level, Outcome
from analysis.estimands import Estimand, estimand

if TYPE_CHECKING:
    import pandas as pd

    from analysis.data import Dataset
    from analysis.pooling import ModeratorFit

__all__ = [
    "GRADED",
    "GROUPS",
    "OUTCOMES",
    "REFERENCE",
    "ScaleEffect",
    "annotated",
    "compare",
    "comparison",
    "pair",
    "scale_effect",
    "scaled",
    "target",
    "with_scale",
]

#: Populations of the registry and what the groups are called; CLL is what the others are held to.
GROUPS = {
    "cd19-single-agent": "CLL",
    "cd19-b-all": "B-ALL",
    "cd19-large-b-cell": "Large B-cell lymphoma",
    "cd19-mantle-cell": "Mantle cell lymphoma",
    "bcma-myeloma": "Myeloma (BCMA)",
}
REFERENCE = "cd19-single-agent"
OUTCOMES = ("orr", "cr", "crs_severe", "ntx_severe")
#: Outcomes whose count depends on a grading scale.
GRADED = ("crs_severe", "ntx_severe")
#: The scale that most trials used, and the one that counts more patients as severe.
USUAL, OTHER = "Lee 2014", "Penn"
COLUMN = "population"


@dataclass(frozen=True)
class ScaleEffect:
    """What the grading scale does to the rate of a severe event, across diseases.

    Attributes
    ----------
    rows : pandas.DataFrame
        Trials graded on one of the two scales, with ``level`` (the disease) and ``scale``.
    odds_ratio, low, high : float or None
        Odds on the scale `OTHER` over those on `USUAL` within a disease, from one binomial-normal
        model with disease and scale as factors; None where it cannot be estimated.
    p : float or None
    """

    rows: pd.DataFrame
    odds_ratio: float | None
    low: float | None
    high: float | None
    p: float | None
    model: ModeratorFit | None = None


def target(outcome: str, population: str) -> Estimand:
    """Return the estimand of an outcome in one of the groups."""
    return estimand(f"{outcome.replace('_', '-')}-{population}")


@lru_cache(maxsize=1)
def comparison() -> Comparison:
    """Return the comparison of all groups, CLL being the reference."""
    return Comparison(
        id="disease",
        label="CLL and other B-cell cancers",
        page="cll-among-cancers",
        column=COLUMN,
        outcomes=OUTCOMES,
        levels=tuple(Level(label, (name,)) for name, label in GROUPS.items()),
        where={},
    )


def annotated(dataset: Dataset) -> Dataset:
    """Return the data with one more column of cohorts: the population that a cohort belongs to.

    Cohorts of no group have a missing value there.
    """
    cohorts = dataset.cohorts
    column: list[Any] = [None] * len(cohorts)
    for name in GROUPS:
        where = target("orr", name).where
        for i, cells in enumerate(cohorts[list(where)].itertuples(index=False, name=None)):
            if all(
                cell is not None and cell == value
                for cell, value in zip(cells, where.values(), strict=True)
            ):
                column[i] = name
    return replace(dataset, cohorts=cohorts.assign(**{COLUMN: column}))


def compare(dataset: Dataset, outcome: str) -> Outcome:
    """Pool an outcome in every group and test whether the groups differ.

    Parameters
    ----------
    dataset : Dataset
        With or without the column of :func:`annotated`.
    outcome : str
        One of `OUTCOMES`.

    Returns
    -------
    Outcome
        See :func:`analysis.comparisons.examine`. Cohorts outside the groups are not listed.
    """
    return _narrow(dataset, outcome, tuple(GROUPS), comparison().id)


def pair(dataset: Dataset, outcome: str, population: str) -> Outcome:
    """Compare CLL with one other group.

    Parameters
    ----------
    dataset : Dataset
    outcome : str
    population : str
        One of `GROUPS` other than `REFERENCE`.

    Raises
    ------
    ValueError
        If the population is not one of the groups, or is CLL.
    """
    if population not in GROUPS or population == REFERENCE:
        others = ", ".join(name for name in GROUPS if name != REFERENCE)
        raise ValueError(f"population must be one of {others}, not {population!r}")
    return _narrow(dataset, outcome, (REFERENCE, population), f"disease-{population}")


def _narrow(dataset: Dataset, outcome: str, populations: tuple[str, ...], name: str) -> Outcome:
    if COLUMN not in dataset.cohorts.columns:
        dataset = annotated(dataset)
    chosen = tuple(Level(GROUPS[population], (population,)) for population in populations)
    only = replace(dataset, cohorts=dataset.cohorts[dataset.cohorts[COLUMN].isin(populations)])
    return comparisons.examine(only, replace(comparison(), id=name, levels=chosen), outcome)


def with_scale(dataset: Dataset, found: Outcome) -> pd.DataFrame:
    """Return the compared trials with the grading scale of each in the column ``scale``.

    It is the scale of the figure, or where none stands there, of the cohort; None where the
    sources do not say.
    """
    if found.outcome not in GRADED:
        raise ValueError(f"{found.outcome} is not graded; use one of {', '.join(GRADED)}")
    column = "crs_scale" if found.outcome == "crs_severe" else "ntx_scale"
    of_cohort = dict(zip(dataset.cohorts["cohort_id"], dataset.cohorts[column], strict=True))
    scales = []
    for cohort, printed in zip(found.rows["cohort_id"], found.rows["criteria"], strict=True):
        scale = printed if isinstance(printed, str) else of_cohort[cohort]
        scales.append(scale if isinstance(scale, str) else None)
    return found.rows.assign(scale=scales)


def scaled(dataset: Dataset, found: Outcome, scale: str = USUAL) -> tuple[Contrast, ...]:
    """Compare the diseases again among the trials that used one grading scale.

    Parameters
    ----------
    dataset : Dataset
    found : Outcome
        Of :func:`compare`, for a graded outcome.
    scale : str

    Returns
    -------
    tuple of Contrast
        Each disease with such a trial against CLL; empty where CLL has none. A disease may rest on
        a single trial: the common spread between trials comes from the others.
    """
    rows = with_scale(dataset, found)
    rows = rows[rows["scale"] == scale]
    order = [label for label in GROUPS.values() if label in set(rows["level"])]
    if GROUPS[REFERENCE] not in order or len(rows) < len(order) + 2:
        return ()
    _, made, _, _ = comparisons.contrast(
        list(rows["events"]),
        list(rows["total"]),
        list(rows["level"]),
        order=order,
        tau2_interval=False,
    )
    return made


def scale_effect(dataset: Dataset, found: Outcome) -> ScaleEffect:
    """Estimate how the odds of a severe event differ between two grading scales within diseases.

    Parameters
    ----------
    dataset : Dataset
    found : Outcome
        Of :func:`compare`, for severe cytokine release syndrome.

    Returns
    -------
    ScaleEffect
    """
    from analysis.pooling import pool

    rows = with_scale(dataset, found)
    rows = rows[rows["scale"].isin([USUAL, OTHER])].reset_index(drop=True)
    both = rows.groupby("level")["scale"].nunique()
    if not (both > 1).any() or len(rows) < rows["level"].nunique() + 3:
        return ScaleEffect(rows, None, None, None, None)
    fit: Any = pool(
        rows["events"].to_numpy(dtype="int64"),
        rows["total"].to_numpy(dtype="int64"),
        moderators={"disease": list(rows["level"]), "scale": list(rows["scale"])},
        reference={"disease": rows["level"].iloc[0], "scale": USUAL},
        interval=comparisons.INTERVAL,
        tau2_interval=False,
    )
    if fit.coefficients is None or fit.ci_low is None or fit.ci_high is None:
        return ScaleEffect(rows, None, None, None, None, fit)
    at = fit.names.index(f"scale[{OTHER}]")
    return ScaleEffect(
        rows,
        math.exp(fit.coefficients[at]),
        math.exp(fit.ci_low[at]),
        math.exp(fit.ci_high[at]),
        None if fit.p_values is None else float(fit.p_values[at]),
        fit,
    )
