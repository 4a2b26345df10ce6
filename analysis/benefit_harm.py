"""Response and severe toxicity of the same trials, together.

Each outcome is pooled on its own as everywhere in the book; the two posterior distributions make
a joint region (:mod:`analysis.pooling.joint`). What the sources do not print is the cross-table:
which of the patients with severe toxicity responded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import estimands
from analysis.pooling.joint import BivariateFit, Region, fit_bivariate, frechet, joint_region

if TYPE_CHECKING:
    from analysis.data import Dataset
    from analysis.estimands import Evidence
    from analysis.pooling import Fit

__all__ = ["BENEFIT", "HARMS", "Pair", "Side", "Trial", "pairs", "with_correlation"]

BENEFIT = "orr"
HARMS = ("crs_severe", "ntx_severe")


@dataclass(frozen=True)
class Side:
    """One outcome of one trial: counts, rate and 95% Wilson interval (proportions)."""

    events: int
    total: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        return self.events / self.total


@dataclass(frozen=True)
class Trial:
    """A cohort with one or both outcomes; None is "no figure in the sources read".

    `row_benefit` and `row_harm` are the rows of the evidence, for the source.
    """

    cohort_id: str
    label: str
    benefit: Side | None
    harm: Side | None
    row_benefit: Any = None
    row_harm: Any = None

    @property
    def without_harm(self) -> tuple[float, float] | None:
        """Bounds of the share that responds without the severe toxicity; None unless both."""
        if self.benefit is None or self.harm is None:
            return None
        return frechet(self.benefit.rate, self.harm.rate)


@dataclass(frozen=True, eq=False)
class Pair:
    """Response and one severe toxicity in one population.

    Attributes
    ----------
    population, population_label, population_short : str
    harm : str
        Outcome id of the toxicity.
    benefit_label, harm_label : str
        Outcomes for readers.
    trials : tuple of Trial
        Cohorts of the main analysis of either outcome, by year and label; those with both first.
    fit_benefit, fit_harm : Fit or None
        Main results.
    region : Region or None
        Of the two means; x is the harm. None unless both outcomes can be pooled.
    """

    population: str
    population_label: str
    population_short: str
    harm: str
    benefit_label: str
    harm_label: str
    trials: tuple[Trial, ...]
    fit_benefit: Fit | None
    fit_harm: Fit | None
    region: Region | None

    @property
    def both(self) -> tuple[Trial, ...]:
        """Trials that report both outcomes."""
        return tuple(t for t in self.trials if t.benefit is not None and t.harm is not None)

    @property
    def benefit_only(self) -> tuple[Trial, ...]:
        """Trials that report the response only."""
        return tuple(t for t in self.trials if t.harm is None)

    @property
    def harm_only(self) -> tuple[Trial, ...]:
        """Trials that report the toxicity only."""
        return tuple(t for t in self.trials if t.benefit is None)

    @property
    def without_harm(self) -> tuple[float, float] | None:
        """Bounds of the share that responds without the toxicity, from the pooled rates."""
        if self.region is None:
            return None
        assert self.fit_benefit is not None and self.fit_harm is not None
        assert self.fit_benefit.estimate is not None and self.fit_harm.estimate is not None
        return frechet(self.fit_benefit.estimate, self.fit_harm.estimate)


def pairs(dataset: Dataset, population: str) -> tuple[Pair, ...]:
    """Put response and each severe toxicity of a population together, in the order of `HARMS`.

    Parameters
    ----------
    dataset : Dataset
    population : str
        A population of the registry.

    Raises
    ------
    ValueError
        If there is no such population, or it lacks one of the outcomes.
    """
    first = estimands.estimand(f"{BENEFIT}-{population}")
    good = estimands.evidence(dataset, first)
    benefit = estimands.pooled(good)
    labels = dataset.outcomes.set_index("outcome_id")["label"]
    found = []
    for outcome in HARMS:
        second = estimands.estimand(f"{outcome.replace('_', '-')}-{population}")
        bad = estimands.evidence(dataset, second)
        harm = estimands.pooled(bad)
        found.append(
            Pair(
                population=population,
                population_label=first.population_label,
                population_short=first.population_short,
                harm=outcome,
                benefit_label=str(labels[BENEFIT]),
                harm_label=str(labels[outcome]),
                trials=_trials(good, bad),
                fit_benefit=benefit,
                fit_harm=harm,
                region=_region(good, bad, benefit, harm),
            )
        )
    return tuple(found)


def _region(good: Evidence, bad: Evidence, benefit: Fit | None, harm: Fit | None) -> Region | None:
    if benefit is None or harm is None or benefit.estimate is None or harm.estimate is None:
        return None
    posteriors = []
    for found, fit in ((bad, harm), (good, benefit)):
        # the region needs whole distributions, whatever the main analysis prints
        held = fit if hasattr(fit, "posterior") else estimands.pooled(found, "bayes")
        posteriors.append(held.posterior)  # type: ignore[union-attr]
    return joint_region(posteriors[0], posteriors[1])


def _trials(good: Evidence, bad: Evidence) -> tuple[Trial, ...]:
    rows = {row.cohort_id: row for row in good.rows.itertuples(index=False)}
    others = {row.cohort_id: row for row in bad.rows.itertuples(index=False)}
    order = {**rows, **others}
    found = [
        Trial(
            cohort_id=str(name),
            label=str(row.label),
            benefit=_side(rows.get(name)),
            harm=_side(others.get(name)),
            row_benefit=rows.get(name),
            row_harm=others.get(name),
        )
        for name, row in order.items()
    ]
    return tuple(sorted(found, key=lambda t: (t.benefit is None) + (t.harm is None)))


def _side(row: Any) -> Side | None:
    from analysis.pooling import wilson

    if row is None:
        return None
    events, total = int(row.events), int(row.total)
    low, high = (float(limit) for limit in wilson(events, total, 0.95))
    return Side(events, total, low, high)


def with_correlation(both: Pair, rho: float | None = None) -> BivariateFit:
    """Pool the pair with correlated trials; the harm is the first outcome.

    Parameters
    ----------
    both : Pair
    rho : float, optional
        A known correlation between trials; estimated if left out.

    Raises
    ------
    ValueError
        If an outcome is reported by no trial.
    """

    def counts(sides: list[Side | None]) -> tuple[list[int | None], list[int | None]]:
        return (
            [None if side is None else side.events for side in sides],
            [None if side is None else side.total for side in sides],
        )

    scale = float(estimands.PRIMARY.get("tau_scale", 1.0))
    return fit_bivariate(
        counts([t.harm for t in both.trials]),
        counts([t.benefit for t in both.trials]),
        rho=rho,
        tau_scale=scale,
    )
