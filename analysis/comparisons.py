"""Comparisons between groups of trials: which evidence, which test, how large a difference.

A comparison splits the cohorts of one population by a characteristic of theirs. Comparisons are
declared in ``comparisons.toml``. Nothing here was randomized: every result is a difference
between trials.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import estimands
from analysis.estimands import MAIN, Estimand, Evidence, Scenario

if TYPE_CHECKING:
    import pandas as pd

    from analysis.data import Dataset
    from analysis.pooling import Fit, ModeratorFit, Permutation

__all__ = [
    "Comparison",
    "Contrast",
    "Level",
    "Outcome",
    "Slope",
    "Trend",
    "Variation",
    "comparison",
    "comparisons",
    "contrast",
    "examine",
    "select",
    "slope",
    "variations",
]

REGISTRY = Path(__file__).with_name("comparisons.toml")

#: Trials that each group needs for a test, that a trend needs, and below which a trend is
#: exploratory.
TEST_NEEDS, TREND_NEEDS, FIRM = 2, 4, 10

#: Interval of the comparisons: t with k - p degrees of freedom, which agrees with the F test. With
#: few trials the normal and chi-square quantiles, their limits for many, reject a true null
#: hypothesis too often.
INTERVAL = "t"


@dataclass(frozen=True)
class Level:
    """A group: its label, and which values of the column belong to it."""

    label: str
    values: tuple[str, ...] = ()
    pattern: str = ""
    at_least: float | None = None
    below: float | None = None

    def takes(self, value: Any) -> bool:
        """Tell whether a value belongs to the group; a missing one never does."""
        if value is None or type(value).__name__ == "NAType" or value != value:
            return False
        if self.at_least is not None or self.below is not None:
            number = float(value)
            low = -math.inf if self.at_least is None else self.at_least
            return low <= number < (math.inf if self.below is None else self.below)
        if self.pattern:
            return re.fullmatch(self.pattern, str(value), re.IGNORECASE) is not None
        return str(value) in self.values


@dataclass(frozen=True)
class Trend:
    """A continuous covariate: its label per unit, the name of the axis, and the unit."""

    label: str
    axis: str
    per: float = 1.0
    log2: bool = False


@dataclass(frozen=True)
class Comparison:
    """An entry of ``comparisons.toml``; the names are explained there."""

    id: str
    label: str
    page: str
    column: str
    outcomes: tuple[str, ...]
    levels: tuple[Level, ...]
    where: dict[str, str] = field(hash=False)
    trend: Trend | None = None
    overlap: str = "across"
    unsplit: str = ""

    def level_of(self, value: Any) -> str | None:
        """Return the label of the first group that takes a value, or None."""
        return next((level.label for level in self.levels if level.takes(value)), None)


@dataclass(frozen=True)
class Contrast:
    """Difference of two groups in one model with a common spread between trials.

    Attributes
    ----------
    level, reference : str
    odds_ratio, low, high : float
        Odds of the event in the median trial of `level` over those of `reference`; 0 or infinite
        where one of the groups has no finite logit, with the limit that exists.
    estimate, reference_estimate : float
        Proportions of the median trials in that model.
    points, points_low, points_high : float
        Difference of the proportions, and its interval recovered from those of the two groups
        (Zou and Donner 2008, doi:10.1002/sim.3095).
    """

    level: str
    reference: str
    odds_ratio: float
    low: float
    high: float
    estimate: float
    reference_estimate: float
    points: float
    points_low: float
    points_high: float


@dataclass(frozen=True)
class Slope:
    """Change of the odds per unit of a continuous covariate.

    Attributes
    ----------
    odds_ratio, low, high : float
        Per unit of `Trend`.
    p : float
        Of the t test with k - 2 degrees of freedom.
    permutation : Permutation or None
    line : dict of str to tuple of float
        ``at`` (in units of the column), ``estimate``, ``low`` and ``high`` (proportions): the
        fitted median trial with its pointwise interval.
    k : int
    """

    odds_ratio: float
    low: float
    high: float
    p: float
    permutation: Permutation | None
    line: dict[str, tuple[float, ...]] = field(hash=False)
    k: int = 0


@dataclass(frozen=True)
class Variation:
    """A contrast or its test under another model or another reading of the data."""

    name: str
    odds_ratio: float | None
    low: float | None
    high: float | None
    p: float | None
    k: int
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """One outcome of one comparison.

    Attributes
    ----------
    comparison : Comparison
    outcome, label : str
        Id and name of the outcome.
    rows : pandas.DataFrame
        As in `Evidence`, with the columns ``level`` and ``value``; ordered by group.
    groups : dict of str to Fit or None
        Result of each group, see `examine`; None without a trial.
    unplaced : pandas.DataFrame
        Cohorts of the population with a count whose group the sources do not state and which
        share no patients with a compared one.
    shared : pandas.DataFrame
        Cohorts that share patients with a compared one, named in ``shares_with``.
    contrasts : tuple of Contrast
        Each tested group against the reference; empty without a test.
    p : float or None
        F test between groups, see `contrast`.
    df : (int, int) or None
    permutation : Permutation or None
    tested : tuple of str
        Groups in the test.
    why : str
        Why there is no test, or which groups are outside it; empty otherwise.
    model : ModeratorFit or None
        The model behind `contrasts`.
    """

    comparison: Comparison
    outcome: str
    label: str
    rows: pd.DataFrame
    groups: dict[str, Fit | None] = field(hash=False)
    unplaced: pd.DataFrame
    shared: pd.DataFrame
    contrasts: tuple[Contrast, ...] = ()
    p: float | None = None
    df: tuple[int, int] | None = None
    permutation: Permutation | None = None
    tested: tuple[str, ...] = ()
    why: str = ""
    model: ModeratorFit | None = None


@lru_cache(maxsize=1)
def _registry() -> dict[str, Any]:
    return tomllib.loads(REGISTRY.read_text(encoding="utf-8"))


def comparisons() -> tuple[Comparison, ...]:
    """List every comparison of the registry.

    Raises
    ------
    ValueError
        If an entry has fewer than two groups, groups of one name, or an unknown overlap rule.
    """
    return tuple(_comparison(entry) for entry in _registry()["comparisons"])


def comparison(comparison_id: str) -> Comparison:
    """Return one comparison by its id.

    Raises
    ------
    ValueError
        If there is no such comparison; the message lists those there are.
    """
    by_id = {entry.id: entry for entry in comparisons()}
    if comparison_id not in by_id:
        raise ValueError(f"there is no comparison {comparison_id!r}; there are {', '.join(by_id)}")
    return by_id[comparison_id]


def _comparison(entry: Mapping[str, Any]) -> Comparison:
    levels = tuple(
        Level(
            level["label"],
            tuple(level.get("values", ())),
            level.get("pattern", ""),
            level.get("from"),
            level.get("below"),
        )
        for level in entry["levels"]
    )
    if len({level.label for level in levels}) < max(2, len(levels)):
        raise ValueError(f"comparison {entry['id']} needs at least two groups of different names")
    overlap = entry.get("overlap", "across")
    if overlap not in ("across", "within"):
        raise ValueError(f"comparison {entry['id']}: overlap must be 'across' or 'within'")
    return Comparison(
        id=entry["id"],
        label=entry["label"],
        page=entry["page"],
        column=entry["column"],
        outcomes=tuple(entry["outcomes"]),
        levels=levels,
        where=dict(entry["where"]),
        trend=Trend(**entry["trend"]) if "trend" in entry else None,
        overlap=overlap,
        unsplit=entry.get("unsplit", ""),
    )


# ------------------------------------------------------------------------------- evidence


def select(
    dataset: Dataset, target: Comparison, outcome: str, scenario: Scenario = MAIN
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Select the rows of one outcome: compared, of no stated group, and sharing patients.

    Cohorts without a group are set aside before one cohort per patient set is chosen, so that
    they cannot displace a cohort that can be compared.

    Parameters
    ----------
    dataset : Dataset
    target : Comparison
    outcome : str
        Id of an outcome.
    scenario : Scenario
        Which reading of the data.

    Returns
    -------
    rows, unplaced, shared : pandas.DataFrame
        See `Outcome`.
    """
    import pandas as pd

    question = Estimand(
        id=f"{outcome.replace('_', '-')}-{target.id}",
        outcome=outcome,
        population=target.id,
        population_label=target.label,
        population_short=target.label,
        description=target.label,
        page=target.page,
        where=target.where,
    )
    cohorts = dataset.cohorts
    if target.column == "patients":
        found = estimands.evidence(dataset, question, replace(scenario, also=()))
        rows = found.rows.assign(value=found.rows["total"])
        rows["level"] = [target.level_of(value) for value in rows["value"]]
        return _ordered(rows, target), rows.iloc[:0], found.shared
    if target.column not in cohorts.columns:
        raise ValueError(f"comparison {target.id}: cohorts.csv has no column {target.column}")
    value = dict(zip(cohorts["cohort_id"], cohorts[target.column], strict=True))
    placed = cohorts["cohort_id"].map(lambda c: target.level_of(value[c]))
    kept, apart = [], []
    names = [level.label for level in target.levels]
    for block in [[name] for name in names] if target.overlap == "within" else [names]:
        narrowed = replace(dataset, cohorts=cohorts[placed.isin(block)])
        found = estimands.evidence(narrowed, question, replace(scenario, also=()))
        kept.append(found.rows)
        apart.append(found.shared)
    rows = pd.concat(kept, ignore_index=True)
    rows["value"] = [value[c] for c in rows["cohort_id"]]
    rows["level"] = [target.level_of(v) for v in rows["value"]]
    loose = rows.iloc[:0]
    inside = placed.isna()
    for column, wanted in target.where.items():
        inside &= cohorts[column] == wanted
    if inside.any():
        others = replace(dataset, cohorts=cohorts[inside])
        loose = estimands.evidence(others, question, replace(scenario, also=())).rows
    near = estimands._touching(list(rows["cohort_id"]), dataset.overlaps)
    loose = loose[~loose["cohort_id"].isin(near)].reset_index(drop=True)
    return _ordered(rows, target), loose, pd.concat(apart, ignore_index=True)


def _ordered(rows: pd.DataFrame, target: Comparison) -> pd.DataFrame:
    """Rows by group, keeping their order (year, label) inside each group."""
    place = {level.label: i for i, level in enumerate(target.levels)}
    rows = rows[rows["level"].notna()]
    order = rows["level"].map(place)
    return (
        rows.assign(_place=order)
        .sort_values("_place", kind="stable", ignore_index=True)
        .drop(columns="_place")
    )


def _pooled(rows: pd.DataFrame) -> Fit | None:
    """Pool one group by the book's main analysis; groups return in several comparisons."""
    if rows.empty:
        return None
    return _pooled_counts(
        *(tuple(rows[name].astype(int)) for name in ("events", "total")), tuple(rows["label"])
    )


@lru_cache(maxsize=256)
def _pooled_counts(
    events: tuple[int, ...], total: tuple[int, ...], labels: tuple[str, ...]
) -> Fit | None:
    import pandas as pd

    rows = pd.DataFrame({"events": events, "total": total, "label": labels})
    empty = rows.iloc[:0]
    found = Evidence(estimand=None, scenario=MAIN, rows=rows, shared=empty, silent=empty)  # type: ignore[arg-type]
    # one trial is shown and not pooled by any model: take one that does no work for it
    return estimands.pooled(found, "glmm" if len(events) == 1 else None)


# ---------------------------------------------------------------------------------- tests


def examine(
    dataset: Dataset, target: Comparison, outcome: str, scenario: Scenario = MAIN
) -> Outcome:
    """Compare the groups of one outcome.

    Where two groups or more have at least two trials each, one binomial-normal model with the
    group as a factor and a common spread between trials, by maximum likelihood, is fitted to
    these groups; it gives their results, the differences and the test. Any other group is pooled
    on its own by the book's main analysis, or shown where it has one trial.

    Parameters
    ----------
    dataset : Dataset
    target : Comparison
    outcome : str
        Id of an outcome.
    scenario : Scenario
        Which reading of the data.

    Returns
    -------
    Outcome

    Raises
    ------
    ValueError
        If the outcome is unknown.
    """
    labels = dataset.outcomes.set_index("outcome_id")["label"]
    if outcome not in labels.index:
        raise ValueError(f"there is no outcome {outcome!r} in outcomes.csv")
    rows, unplaced, shared = select(dataset, target, outcome, scenario)
    found = Outcome(
        comparison=target,
        outcome=outcome,
        label=str(labels[outcome]),
        rows=rows,
        groups={level.label: None for level in target.levels},
        unplaced=unplaced,
        shared=shared,
    )
    found = _with_test(found)
    groups = {}
    for level in target.levels:
        part = rows[rows["level"] == level.label]
        from_model = found.contrasts and level.label in found.tested
        groups[level.label] = _group(found, level.label, part) if from_model else _pooled(part)
    return replace(found, groups=groups)


#: Fields of a fit that the model of all groups does not give for one group.
_OF_ONE_GROUP = (
    "q", "q_df", "q_p", "lrt", "lrt_p", "log_likelihood", "aic", "marginal_estimate",
    "marginal_ci",
)  # fmt: skip


def _group(found: Outcome, name: str, rows: pd.DataFrame) -> Fit:
    """Result of one group in the model of all tested groups."""
    import numpy as np

    from analysis.pooling import pool

    model = found.model
    assert model is not None
    at = next(group for group in model.subgroups if group["level"] == name)
    trials = pool(
        rows["events"].to_numpy(dtype="int64"),
        rows["total"].to_numpy(dtype="int64"),
        interval="wald",  # of these results only what belongs to the trials is kept
        labels=list(rows["label"]),
        tau2_interval=False,
    )
    inside = np.array(found.rows[found.rows["level"].isin(found.tested)]["level"] == name)
    low = high = None
    if model.coefficients is not None and np.isfinite(model.coefficients).all():
        new = model.predict({"group": [name]})
        low, high = float(new["pi_low"][0]), float(new["pi_high"][0])
    return replace(
        trials,
        interval=model.interval,
        estimate=at["estimate"],
        ci_low=at["ci_low"],
        ci_high=at["ci_high"],
        pi_low=low,
        pi_high=high,
        mu=at["mu"],
        se=at["se"],
        tau2=model.tau2,
        tau2_ci=model.tau2_ci,
        i2=model.i2,
        weight=model.weight[inside] / model.weight[inside].sum(),
        converged=model.converged,
        notes=model.notes,
        **dict.fromkeys(_OF_ONE_GROUP),
    )


def _with_test(found: Outcome) -> Outcome:
    from analysis.pooling import score_permutation
    from analysis.wording import count, listing

    sizes = {name: int((found.rows["level"] == name).sum()) for name in found.groups}
    tested = tuple(name for name, k in sizes.items() if k >= TEST_NEEDS)
    few = listing(
        f"\u201c{name}\u201d has {count(k, 'trial') if k else 'none'}"
        for name, k in sizes.items()
        if k < TEST_NEEDS
    )
    if len(tested) < 2:
        why = f"No test, which needs at least two trials in each group: {few}"
        return replace(found, why=why)
    rows = found.rows[found.rows["level"].isin(tested)]
    if rows["events"].sum() in (0, rows["total"].sum()):
        what = "no patient had the event" if rows["events"].sum() == 0 else "every patient had it"
        return replace(found, why=f"No test: {what}, in any group")
    model, contrasts, p, df = contrast(
        list(rows["events"]), list(rows["total"]), list(rows["level"]), order=tested
    )
    chance = _registry()["permutation"]
    permutation = score_permutation(
        rows["events"].to_numpy(dtype="int64"),
        rows["total"].to_numpy(dtype="int64"),
        {"group": list(rows["level"])},
        draws=chance["draws"],
        seed=chance["seed"],
    )
    return replace(
        found,
        contrasts=contrasts,
        p=p,
        df=df,
        permutation=permutation,
        tested=tested,
        why=f"Outside the test: {few}" if few else "",
        model=model,
    )


def contrast(
    events: Sequence[int],
    total: Sequence[int],
    level: Sequence[str],
    *,
    order: Sequence[str],
    model: str = "glmm",
    interval: str = INTERVAL,
    tau2_interval: bool = True,
) -> tuple[ModeratorFit, tuple[Contrast, ...], float | None, tuple[int, int]]:
    """Fit one model to all groups; return it with each group's difference from the first.

    Parameters
    ----------
    events, total : sequence of int, length k
    level : sequence of str, length k
        Group of each trial.
    order : sequence of str
        Groups, the reference first.
    model, interval, tau2_interval
        As in :func:`analysis.pooling.pool`.

    Returns
    -------
    fit : ModeratorFit
    contrasts : tuple of Contrast
        Empty where the coefficients are not estimable.
    p : float or None
        Of the F(q, k - groups) test that no group differs. Where a group has no finite logit (no
        event, or nothing else) the likelihood ratio over q takes the place of the quadratic form.
    df : (int, int)

    Raises
    ------
    ValueError
        As :func:`analysis.pooling.pool` with moderators.
    """
    from scipy.special import fdtrc

    from analysis.pooling import pool

    fit = pool(
        events,
        total,
        model,
        moderators={"group": list(level)},
        reference={"group": order[0]},
        interval=interval,
        tau2_interval=tau2_interval,
    )
    q, rest = len(order) - 1, fit.k - len(order)
    p = fit.omnibus_p
    if fit.lrt is not None and fit.omnibus_test.startswith("likelihood ratio"):
        p = float(fdtrc(q, rest, fit.lrt / q))
    if fit.coefficients is None or not fit.subgroups:
        return fit, (), p, (q, rest)
    at = {group["level"]: group for group in fit.subgroups}
    base = at[order[0]]
    made = []
    for name in order[1:]:
        j = fit.names.index(f"group[{name}]")
        here = at[name]
        low, high = _recovered(here, base)
        made.append(
            Contrast(
                level=name,
                reference=order[0],
                odds_ratio=_exp(fit.coefficients[j]),
                low=_exp(fit.ci_low[j]),
                high=_exp(fit.ci_high[j]),
                estimate=here["estimate"],
                reference_estimate=base["estimate"],
                points=here["estimate"] - base["estimate"],
                points_low=low,
                points_high=high,
            )
        )
    return fit, tuple(made), p, (q, rest)


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)


def _recovered(one: Mapping[str, float], other: Mapping[str, float]) -> tuple[float, float]:
    """Interval of a difference from the intervals of its two parts (doi:10.1002/sim.3095)."""
    d = one["estimate"] - other["estimate"]
    below = math.hypot(one["estimate"] - one["ci_low"], other["ci_high"] - other["estimate"])
    above = math.hypot(one["ci_high"] - one["estimate"], other["estimate"] - other["ci_low"])
    return max(-1.0, d - below), min(1.0, d + above)


def slope(found: Outcome) -> Slope | str:
    """Regress the outcome on the continuous covariate of its comparison.

    Parameters
    ----------
    found : Outcome
        Of a comparison with a trend.

    Returns
    -------
    Slope or str
        A sentence instead where there are too few trials, or no finite slope.

    Raises
    ------
    ValueError
        If the comparison has no trend.
    """
    import numpy as np

    from analysis.pooling import pool, score_permutation
    from analysis.wording import count

    trend = found.comparison.trend
    if trend is None:
        raise ValueError(f"comparison {found.comparison.id} has no continuous covariate")
    rows = found.rows
    k = len(rows)
    if k < TREND_NEEDS:
        return f"No trend: {count(k, 'trial')}, and {TREND_NEEDS} are needed"
    value = rows["value"].to_numpy(dtype=float)
    scaled = np.log2(value) if trend.log2 else value / trend.per
    if np.ptp(scaled) == 0:
        return "No trend: the covariate has one value in all trials"
    middle = float(scaled.mean())
    events, total = (rows[name].to_numpy(dtype="int64") for name in ("events", "total"))
    if events.sum() in (0, total.sum()):
        return "No trend: the trials have no event, or nothing else"
    fit = pool(events, total, moderators={"trend": scaled - middle}, interval=INTERVAL)
    if fit.coefficients is None or not np.isfinite(fit.coefficients).all():
        return "No trend: the covariate separates trials without events from the others"
    chance = _registry()["permutation"]
    permutation = score_permutation(
        events, total, {"trend": scaled - middle}, draws=chance["draws"], seed=chance["seed"]
    )
    grid = np.linspace(scaled.min(), scaled.max(), 41)
    line = fit.predict({"trend": grid - middle})
    assert fit.ci_low is not None and fit.ci_high is not None and fit.p_values is not None
    return Slope(
        odds_ratio=_exp(fit.coefficients[1]),
        low=_exp(fit.ci_low[1]),
        high=_exp(fit.ci_high[1]),
        p=float(fit.p_values[1]),
        permutation=permutation,
        line={
            "at": tuple(float(v) for v in (2.0**grid if trend.log2 else grid * trend.per)),
            "estimate": tuple(float(v) for v in line["estimate"]),
            "low": tuple(float(v) for v in line["ci_low"]),
            "high": tuple(float(v) for v in line["ci_high"]),
        },
        k=k,
    )


# ----------------------------------------------------------------------------- variations


def variations(dataset: Dataset, found: Outcome) -> list[Variation]:
    """Repeat a comparison of two groups with other models and other readings of the data.

    Parameters
    ----------
    dataset : Dataset
    found : Outcome
        A comparison that has a test.

    Returns
    -------
    list of Variation
        The main analysis first; the least and the greatest odds ratio with one trial left out
        last, unless the odds ratio is 0 or infinite. Empty without a test, or where more than
        two groups are tested.
    """
    if len(found.tested) != 2 or not found.contrasts:
        return []
    main = found.contrasts[0]
    k = len(found.rows[found.rows["level"].isin(found.tested)])
    made = [Variation("Main analysis", main.odds_ratio, main.low, main.high, found.p, k)]
    rows = found.rows[found.rows["level"].isin(found.tested)]
    made.append(_separate(found, rows))
    made.append(_two_step(found, rows))
    for scenario in estimands.scenarios(""):
        other = select(dataset, found.comparison, found.outcome, scenario)[0]
        other = other[other["level"].isin(found.tested)]
        if _counts(other) != _counts(rows):
            made.append(_refit(scenario.label, found.tested, other))
    if not 0 < main.odds_ratio < math.inf:  # one group without a finite logit: no range to show
        return made
    dropped = [
        _refit(f"Without {label}", found.tested, rows.drop(index=at))
        for at, label in zip(rows.index, rows["label"], strict=True)
    ]
    usable = [v for v in dropped if v.odds_ratio is not None]
    if usable:
        least = min(usable, key=lambda v: v.odds_ratio or 0.0)
        most = max(usable, key=lambda v: v.odds_ratio or 0.0)
        made += [
            replace(least, name=f"{least.name} (least odds ratio with one trial left out)"),
            replace(most, name=f"{most.name} (greatest)"),
        ]
    return made


def _counts(rows: pd.DataFrame) -> set[tuple[str, int, int]]:
    return set(zip(rows["cohort_id"], rows["events"], rows["total"], strict=True))


def _refit(name: str, tested: tuple[str, ...], rows: pd.DataFrame) -> Variation:
    sizes = rows["level"].value_counts()
    if any(sizes.get(level, 0) < TEST_NEEDS for level in tested):
        return Variation(name, None, None, None, None, len(rows), "a group has fewer than 2 trials")
    if rows["events"].sum() in (0, rows["total"].sum()):
        return Variation(name, None, None, None, None, len(rows), "no event, or nothing else")
    _, made, p, _ = contrast(
        list(rows["events"]),
        list(rows["total"]),
        list(rows["level"]),
        order=tested,
        tau2_interval=False,
    )
    if not made:
        return Variation(name, None, None, None, p, len(rows), "not estimable")
    return Variation(name, made[0].odds_ratio, made[0].low, made[0].high, p, len(rows))


def _two_step(found: Outcome, rows: pd.DataFrame) -> Variation:
    _, made, p, _ = contrast(
        list(rows["events"]),
        list(rows["total"]),
        list(rows["level"]),
        order=found.tested,
        model="reml",
        interval="hartung-knapp-adhoc",
    )
    one = made[0]
    name = "REML, Hartung\u2013Knapp"
    return Variation(name, one.odds_ratio, one.low, one.high, p, len(rows))


def _separate(found: Outcome, rows: pd.DataFrame) -> Variation:
    from analysis.pooling import fit_subgroups

    name = "Spread between trials estimated in each group"
    fit = fit_subgroups(list(rows["events"]), list(rows["total"]), list(rows["level"]))
    fits = dict(zip(fit.levels, fit.fits or (), strict=True))
    base, here = (fits[level] for level in found.tested)
    if base.mu is None or here.mu is None or base.se is None or here.se is None:
        return Variation(name, None, None, None, None, len(rows), "a group has no finite mean")
    d, se = here.mu - base.mu, math.hypot(base.se, here.se)
    half = 1.959963984540054 * se
    return Variation(name, _exp(d), _exp(d - half), _exp(d + half), fit.q_p, len(rows))
