"""Estimands: which rows of the data answer which question.

An estimand is an outcome in a population. Its rows are the counts in use of the cohorts that the
population selects, one cohort per patient set. Populations, estimands and what-if readings of the
data are declared in ``estimands.toml``.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.overlap import choose

if TYPE_CHECKING:
    import pandas as pd

    from analysis.data import Dataset
    from analysis.pooling import Fit

__all__ = [
    "PRIMARY",
    "Estimand",
    "Evidence",
    "Scenario",
    "Shown",
    "estimand",
    "estimands",
    "evidence",
    "pooled",
    "prepare",
    "scenarios",
    "shown",
]

# The main analysis of the book: arguments of `analysis.pooling.pool` and `pool_many`. Chosen by the
# calibration study (chapter "Which interval to trust"): the binomial-normal model with a weak prior
# on tau, because its intervals of the mean and of the next trial are the shortest among those that
# cover well at the sizes of these trials.
PRIMARY: dict[str, Any] = {"model": "bayes", "tau_scale": 2.0}

REGISTRY = Path(__file__).with_name("estimands.toml")


@dataclass(frozen=True)
class Estimand:
    """An outcome in a population.

    Attributes
    ----------
    id : str
        ``<outcome>-<population>``, for example ``orr-cd19-single-agent``.
    outcome, population : str
        Names in ``outcomes.csv`` and in ``estimands.toml``.
    population_label, population_short, description : str
        The population for readers: a name, a word for tables, and its definition.
    page : str
        The chapter that answers it, without a suffix.
    where : dict
        Column of ``cohorts.csv`` and the value that the population requires.
    """

    id: str
    outcome: str
    population: str
    population_label: str
    population_short: str
    description: str
    page: str
    where: dict[str, str] = field(hash=False)


@dataclass(frozen=True)
class Scenario:
    """Another defensible reading of the data; see ``estimands.toml`` for the options."""

    id: str
    label: str
    swap_disputed: bool = False
    implied: bool = False
    also: tuple[str, ...] = ()
    drop_origin: tuple[str, ...] = ()
    only_populations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """An outcome that a chapter shows without pooling it, and why.

    Attributes
    ----------
    outcome, page : str
    reason : str
        Empty where the reason is that no population has two trials with a count.
    """

    outcome: str
    page: str
    reason: str = ""


MAIN = Scenario("main", "Main analysis")


@dataclass(frozen=True)
class Evidence:
    """The rows behind one estimand.

    Attributes
    ----------
    estimand : Estimand
    scenario : Scenario
    rows : pandas.DataFrame
        One row per pooled cohort, by year and label, with the columns of ``extraction.csv`` and
        ``label``, ``trial_id``, ``year``, ``report_kind``, ``citation``, ``doi``, ``cohort_note``.
    shared : pandas.DataFrame
        Cohorts of the population with a count that are not pooled because they share patients
        with a pooled cohort, named in the column ``shares_with``.
    silent : pandas.DataFrame
        Cohorts of the population without a count in use (rows of ``cohorts.csv``) that share no
        patients with a pooled cohort.
    """

    estimand: Estimand
    scenario: Scenario
    rows: pd.DataFrame
    shared: pd.DataFrame
    silent: pd.DataFrame


@lru_cache(maxsize=1)
def _registry() -> dict[str, Any]:
    return tomllib.loads(REGISTRY.read_text(encoding="utf-8"))


def estimands(*, comparators: bool = False) -> tuple[Estimand, ...]:
    """List the estimands of the registry, population by population.

    Parameters
    ----------
    comparators : bool
        Whether the populations that stand beside CLL for comparison are listed too, after it.
    """
    return tuple(
        Estimand(
            id=f"{outcome.replace('_', '-')}-{population}",
            outcome=outcome,
            population=population,
            population_label=entry["label"],
            population_short=entry["short"],
            description=entry["description"],
            page=entry.get("page") or _registry()["pages"][outcome],
            where=dict(entry["where"]),
        )
        for population, entry in _registry()["populations"].items()
        if comparators or not entry.get("comparator", False)
        for outcome in entry["outcomes"]
    )


def shown(page: str | None = None) -> tuple[Shown, ...]:
    """List the outcomes that the book, or one chapter, shows without pooling them."""
    entries = [Shown(outcome, **entry) for outcome, entry in _registry()["shown"].items()]
    return tuple(entry for entry in entries if page in (None, entry.page))


def estimand(estimand_id: str) -> Estimand:
    """Return one estimand by its id.

    Raises
    ------
    ValueError
        If there is no such estimand; the message lists those there are.
    """
    by_id = {entry.id: entry for entry in estimands(comparators=True)}
    if estimand_id not in by_id:
        raise ValueError(f"there is no estimand {estimand_id!r}; there are {', '.join(by_id)}")
    return by_id[estimand_id]


def scenarios(population: str) -> tuple[Scenario, ...]:
    """List the what-if readings that apply to a population."""
    found = []
    for entry in _registry()["scenarios"]:
        options: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()
        }
        scenario = Scenario(**options)
        if not scenario.only_populations or population in scenario.only_populations:
            found.append(scenario)
    return tuple(found)


def evidence(dataset: Dataset, target: Estimand, scenario: Scenario = MAIN) -> Evidence:
    """Select the rows of an estimand.

    Parameters
    ----------
    dataset : Dataset
        The validated data package.
    target : Estimand
        The question.
    scenario : Scenario
        Which reading of the data; the main analysis by default.

    Returns
    -------
    Evidence
    """
    cohorts = dataset.cohorts
    chosen = cohorts["cohort_id"].isin(scenario.also)
    inside = cohorts["cohort_id"].notna()
    for column, value in target.where.items():
        inside &= cohorts[column] == value
    cohorts = cohorts[chosen | inside]

    counts = dataset.extraction
    counts = counts[
        (counts["outcome"] == target.outcome)
        & counts["cohort_id"].isin(cohorts["cohort_id"])
        & counts["events"].notna()
    ]
    rows = _one_per_cohort(counts, scenario)
    about_cohort = cohorts[["cohort_id", "label", "trial_id", "year", "note"]].rename(
        columns={"note": "cohort_note"}
    )
    about_report = dataset.reports[["report_id", "kind", "citation", "doi"]].rename(
        columns={"kind": "report_kind"}
    )
    rows = rows.merge(about_cohort, on="cohort_id").merge(about_report, on="report_id")
    rows = rows.sort_values(["year", "label"], kind="stable", ignore_index=True)

    kept, dropped = choose(rows, dataset.overlaps)
    shared = rows[~rows["cohort_id"].isin(kept)].reset_index(drop=True)
    shared["shares_with"] = [dropped[c] for c in shared["cohort_id"]]
    silent = cohorts[~cohorts["cohort_id"].isin(rows["cohort_id"])]
    silent = silent[~silent["cohort_id"].isin(_touching(kept, dataset.overlaps))]
    return Evidence(
        estimand=target,
        scenario=scenario,
        rows=rows[rows["cohort_id"].isin(kept)].reset_index(drop=True),
        shared=shared,
        silent=silent[silent["report_id"] != "search-log"].reset_index(drop=True),
    )


def pooled(found: Evidence, model: str | None = None, **options: Any) -> Fit | None:
    """Pool the rows of an estimand, or return None where there are none.

    Parameters
    ----------
    found : Evidence
    model, options
        Passed to :func:`analysis.pooling.pool`; without a model, those of the main analysis,
        :data:`PRIMARY`.
    """
    from analysis.pooling import pool

    if found.rows.empty:
        return None
    if model is None:
        options = PRIMARY | options
    else:
        options["model"] = model
    return pool(
        found.rows["events"].to_numpy(dtype="int64"),
        found.rows["total"].to_numpy(dtype="int64"),
        labels=list(found.rows["label"]),
        **options,
    )


def prepare() -> None:
    """Compute what many pooled results share, so that copies of this process find it made."""
    from analysis.pooling import pool_many

    pool_many([[1, 2]] * 3, [4, 4], **PRIMARY)


def _one_per_cohort(counts: pd.DataFrame, scenario: Scenario) -> pd.DataFrame:
    """Keep the count in use of each cohort, or what the scenario puts in its place."""
    used = counts[counts["status"] == "used"]
    if scenario.drop_origin:
        used = used[~used["origin"].isin(scenario.drop_origin)]
    if scenario.swap_disputed:
        disputed = counts[counts["status"] == "disputed"].drop_duplicates("cohort_id")
        used = _combined(disputed, used)
    if scenario.implied:
        implied = counts[(counts["status"] == "context") & (counts["origin"] == "inferred")]
        used = _combined(used, implied.drop_duplicates("cohort_id"))
    return used


def _combined(first: pd.DataFrame, then: pd.DataFrame) -> pd.DataFrame:
    """Rows of `first`, and those of `then` for cohorts that `first` lacks."""
    import pandas as pd

    return pd.concat([first, then[~then["cohort_id"].isin(first["cohort_id"])]])


def _touching(kept: list[str], overlaps: pd.DataFrame) -> set[str]:
    """Cohorts that share patients, or may, with a kept one."""
    a, b = overlaps["cohort_a"], overlaps["cohort_b"]
    return set(b[a.isin(kept)]) | set(a[b.isin(kept)])
