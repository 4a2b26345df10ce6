"""Every defensible analysis of an estimand: the trials that other choices leave, by every method.

Choices about the data (which documents, which reading, which denominator, how large a trial must
be, which of the cohorts that share patients) lead to a set of rows; each set is pooled by every
method. Combinations that end at the same rows are one analysis. What is left out as not
defensible, and why, stands in `LEFT_OUT`. After Simonsohn, Simmons and Nelson (2020,
doi:10.1038/s41562-020-0912-z).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analysis import estimands
from analysis.overlap import choose, maximal_sets

if TYPE_CHECKING:
    import pandas as pd

    from analysis.data import Dataset
    from analysis.estimands import Estimand
    from analysis.pooling import Fit

__all__ = [
    "CHOICES",
    "LEFT_OUT",
    "METHODS",
    "Analysis",
    "Method",
    "Route",
    "Rows",
    "Threshold",
    "analyses",
    "conclusion",
    "covered",
    "fit_of",
    "main_method",
    "row_sets",
    "threshold",
]

REGISTRY = Path(__file__).with_name("specification.toml")

#: The most choices among cohorts that share patients that are followed from one combination of
#: the other choices; of more, this many are taken, evenly spread, the rule's own among them.
WAYS = 200

#: Kinds of documents of each source policy; None stands for whatever is in use.
SOURCES: dict[str, tuple[str, ...] | None] = {
    "best": None,
    "reviews": ("review", "review by trial authors"),
    "primary": ("trial paper", "abstract"),
}
BENEFIT_DENOMINATORS = ("reported", "enrolled", "infused", "evaluable")
HARM_DENOMINATORS = ("reported", "infused")
SMALLEST = (0, 5, 10)

#: Choice: its levels for readers. The levels of ``reading`` come from ``estimands.toml``, those of
#: the last three follow from the method.
CHOICES: dict[str, dict[str, str]] = {
    "sources": {
        "best": "Best source available",
        "reviews": "Reviews only",
        "primary": "Trial papers only",
    },
    "reading": {"main": "As in the main analysis"},
    "denominator": {
        "reported": "As reported",
        "enrolled": "Enrolled",
        "infused": "Infused",
        "evaluable": "Evaluable",
    },
    "smallest": {"0": "Any size", "5": "5 patients or more", "10": "10 patients or more"},
    "overlap": {"rule": "By the rule", "other": "Another choice"},
    "model": {
        "bayes-0.5": "Bayesian, prior scale 0.5",
        "bayes-1": "Bayesian, prior scale 1",
        "bayes-2": "Bayesian, prior scale 2",
        "glmm": "Logistic (GLMM)",
        "beta-binomial": "Beta-binomial",
        "reml": "Two-step, REML",
        "dl": "Two-step, DerSimonian\u2013Laird",
        "pm": "Two-step, Paule\u2013Mandel",
    },
    "interval": {
        "credible": "Credible",
        "profile": "Likelihood profile",
        "t": "t(k\u22121)",
        "hartung-knapp-adhoc": "Hartung\u2013Knapp",
        "wald": "Wald",
    },
    "transform": {
        "logit": "Log odds",
        "arcsine": "Arcsine",
        "freeman-tukey": "Freeman\u2013Tukey",
        "raw": "Raw percentage",
    },
}

#: What is not among the analyses, and the reason.
LEFT_OUT: tuple[tuple[str, str], ...] = (
    (
        "Toxicity among enrolled or among evaluable patients",
        "A patient who was never infused cannot be harmed by the cells, and patients are evaluable "
        "for response, not for toxicity.",
    ),
    (
        "Another denominator for a count that was made in a subgroup",
        "Events outside the subgroup were not counted, so such a trial keeps its denominator.",
    ),
    (
        "A denominator that the cohort does not state, or that is smaller than the count",
        "There is nothing to put in its place; the trial keeps the denominator as reported.",
    ),
    (
        "The raw percentage where a trial has no event or no patient without one",
        "Its variance would be zero, and the trial would decide the result alone.",
    ),
    (
        "The raw percentage where its interval leaves 0 to 100%",
        "An impossible limit shows that the scale does not fit.",
    ),
    (
        "Wald intervals of the logistic and the beta-binomial model",
        "They are too short with so few trials. Those of the two-step models stay, because most "
        "published analyses use them.",
    ),
    (
        "The plain Hartung\u2013Knapp interval",
        "It equals the form used here, or is narrower than the t interval because trials happen "
        "to agree.",
    ),
    (
        "Models without variation between trials",
        "Trials with other products, centers and patients do not share one true rate.",
    ),
    (
        "Counting an overlap that the sources leave open as none",
        "Patients might be counted twice.",
    ),
    ("A single trial", "It is shown, not pooled."),
    (
        "Sets of trials without a finite pooled mean",
        "There is no event in any of them, or no patient without one.",
    ),
)


class Method(NamedTuple):
    """One way to pool: arguments of :func:`analysis.pooling.pool`."""

    id: str
    model: str
    interval: str
    transform: str = "logit"
    tau_scale: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments for ``pool`` and ``pool_many`` besides the model."""
        more = {} if self.tau_scale is None else {"tau_scale": self.tau_scale}
        return {"interval": self.interval, "transform": self.transform, **more}

    @property
    def levels(self) -> dict[str, str]:
        """Level of the choices ``model``, ``interval`` and ``transform``."""
        model = self.model if self.tau_scale is None else f"{self.model}-{self.tau_scale:g}"
        likelihood = {"profile": "profile", "profile-t": "profile", "bartlett": "profile"}
        interval = likelihood.get(self.interval, self.interval)
        return {"model": model, "interval": interval, "transform": self.transform}


def _methods() -> Iterable[Method]:
    for scale in (0.5, 1.0, 2.0):
        yield Method(f"bayes-{scale:g}", "bayes", "credible", tau_scale=scale)
    for interval in ("t", "profile", "profile-t", "bartlett"):
        yield Method(f"glmm-{interval}", "glmm", interval)
    for interval in ("t", "profile", "profile-t"):
        yield Method(f"beta-binomial-{interval}", "beta-binomial", interval)
    for model in ("reml", "dl", "pm"):
        for transform in CHOICES["transform"]:
            for interval in ("wald", "hartung-knapp-adhoc"):
                yield Method(f"{model}-{transform}-{interval}", model, interval, transform)


METHODS: dict[str, Method] = {method.id: method for method in _methods()}


class Route(NamedTuple):
    """One combination of the choices about the data; the names of the levels."""

    sources: str
    reading: str
    denominator: str
    smallest: str
    overlap: str


MAIN_ROUTE = Route("best", "main", "reported", "0", "rule")


@dataclass(frozen=True)
class Rows:
    """A set of trials with their counts, and the choices that lead to it.

    Attributes
    ----------
    id : str
        ``<estimand>.<number>``; the main analysis has number 1.
    estimand_id : str
    cohorts : tuple of str
    events, total : tuple of int
        Counts of each cohort, in the order of the main analysis (by year and label).
    routes : tuple of Route
        Every combination of choices that leads here.
    ways : int
        The largest number of choices among overlapping cohorts on any of the routes.
    """

    id: str
    estimand_id: str
    cohorts: tuple[str, ...]
    events: tuple[int, ...]
    total: tuple[int, ...]
    routes: tuple[Route, ...]
    ways: int = 1

    @property
    def main(self) -> bool:
        """Whether these are the rows of the main analysis."""
        return MAIN_ROUTE in self.routes

    @property
    def alone(self) -> tuple[tuple[str, str], ...]:
        """Choices that lead here when they alone differ from the main analysis, and the level."""
        found = []
        for route in self.routes:
            changed = [
                (name, level)
                for name, level, usual in zip(Route._fields, route, MAIN_ROUTE, strict=True)
                if level != usual
            ]
            if len(changed) == 1 and changed[0] not in found:
                found.append(changed[0])
        return tuple(found)


@dataclass(frozen=True)
class Analysis:
    """One result: rows, method, and the estimate with its interval as proportions."""

    rows_id: str
    method: str
    estimate: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class Threshold:
    """What the result for an outcome is held against, as a proportion, and why."""

    outcome: str
    value: float
    question: str
    reason: str = field(compare=False)


@lru_cache(maxsize=1)
def _registry() -> dict[str, Any]:
    return tomllib.loads(REGISTRY.read_text(encoding="utf-8"))


def threshold(outcome: str) -> Threshold:
    """Return the threshold of an outcome.

    Raises
    ------
    ValueError
        If none is declared.
    """
    entries = _registry()["thresholds"]
    if outcome not in entries:
        raise ValueError(f"no threshold is declared for {outcome!r} in {REGISTRY.name}")
    return Threshold(outcome=outcome, **entries[outcome])


def covered() -> tuple[Estimand, ...]:
    """List the estimands with a threshold, population by population."""
    declared = _registry()
    return tuple(
        target
        for target in estimands.estimands()
        if target.population in declared["populations"] and target.outcome in declared["thresholds"]
    )


def conclusion(ci_low: float, ci_high: float, value: float) -> str:
    """Say where an interval lies: ``"above"`` a threshold, ``"below"`` it, or ``"includes"`` it."""
    if ci_low > value:
        return "above"
    return "below" if ci_high < value else "includes"


# ------------------------------------------------------------------------ choices about the data


def row_sets(dataset: Dataset, target: Estimand) -> tuple[Rows, ...]:
    """List every set of trials that some combination of choices about the data leads to.

    Parameters
    ----------
    dataset : Dataset
    target : Estimand

    Returns
    -------
    tuple of Rows
        Each with one trial or more, the rows of the main analysis first; the others in the order
        in which the combinations reach them.
    """
    direction = dataset.outcomes.set_index("outcome_id")["direction"]
    benefit = direction[target.outcome] == "benefit"
    denominators = BENEFIT_DENOMINATORS if benefit else HARM_DENOMINATORS
    reached: dict[frozenset, list[Route]] = {}
    in_order: dict[frozenset, list[tuple[str, int, int]]] = {}
    ways: dict[frozenset, int] = {}
    for sources in SOURCES:
        documents = _restricted(dataset, target, sources)
        for scenario in (estimands.MAIN, *estimands.scenarios(target.population)):
            rows = _candidates(documents, target, scenario)
            for denominator in denominators:
                based = _rebased(rows, dataset.cohorts, denominator)
                for smallest in SMALLEST:
                    large = based[based["total"] >= smallest]
                    if large.empty:
                        continue
                    sets, rule = _overlap_sets(large, dataset.overlaps)
                    counts = {
                        str(c): (str(c), int(x), int(n))
                        for c, x, n in zip(
                            *(large[name] for name in ("cohort_id", "events", "total")),
                            strict=True,
                        )
                    }
                    for chosen in sets:
                        overlap = "rule" if chosen == rule else "other"
                        route = Route(sources, scenario.id, denominator, str(smallest), overlap)
                        listed = [counts[cohort] for cohort in chosen]
                        key = frozenset(listed)
                        reached.setdefault(key, []).append(route)
                        in_order.setdefault(key, listed)
                        ways[key] = max(ways.get(key, 1), len(sets))
    ordered = sorted(reached, key=lambda key: MAIN_ROUTE not in reached[key])
    found = []
    for number, key in enumerate(ordered, 1):
        cohorts, events, total = zip(*in_order[key], strict=True)
        found.append(
            Rows(
                id=f"{target.id}.{number:04d}",
                estimand_id=target.id,
                cohorts=cohorts,
                events=events,
                total=total,
                routes=tuple(dict.fromkeys(reached[key])),
                ways=ways[key],
            )
        )
    return tuple(found)


def _restricted(dataset: Dataset, target: Estimand, sources: str) -> Dataset:
    """Keep documents of some kinds; a count that a better source replaced is in use again."""
    kinds = SOURCES[sources]
    table = dataset.extraction
    table = table[table["outcome"] == target.outcome]
    if kinds is None:
        return replace(dataset, extraction=table)
    about = dataset.reports.set_index("report_id")
    table = table[table["report_id"].map(about["kind"]).isin(kinds)].copy()
    usable = table[table["events"].notna() & table["status"].isin(["used", "superseded"])]
    usable = usable.assign(
        second=usable["status"] != "used", age=-usable["report_id"].map(about["year"]).fillna(0)
    )
    best = usable.sort_values(["second", "age"], kind="stable").drop_duplicates("cohort_id")
    table.loc[best.index, "status"] = "used"
    return replace(dataset, extraction=table)


def _candidates(dataset: Dataset, target: Estimand, scenario: estimands.Scenario) -> pd.DataFrame:
    """Every cohort with a count under a reading, whether or not it shares patients."""
    from analysis.choices import all_rows

    return all_rows(estimands.evidence(dataset, target, scenario))


def _rebased(rows: pd.DataFrame, cohorts: pd.DataFrame, denominator: str) -> pd.DataFrame:
    """Put the stated number of patients of a kind in place of the reported denominator."""
    if denominator == "reported":
        return rows
    stated = cohorts.set_index("cohort_id")[f"n_{denominator}"]
    new = rows["cohort_id"].map(stated).astype("Int64")
    fits = new.notna() & (rows["denominator"] != "subgroup").fillna(True) & (new >= rows["events"])
    return rows.assign(total=new.where(fits.fillna(False), rows["total"]))


def _overlap_sets(
    rows: pd.DataFrame, overlaps: pd.DataFrame
) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Choices that count no patient twice, and the one that the rule makes."""
    rule = tuple(choose(rows, overlaps)[0])
    sets = maximal_sets(rows["cohort_id"], overlaps)
    if len(sets) > WAYS:
        spread = np.unique(np.linspace(0, len(sets) - 1, WAYS - 1).round().astype(int))
        sets = sorted({sets[i] for i in spread} | {rule}, key=sets.index)
    return sets, rule


# ------------------------------------------------------------------------------------- pooling


def main_method() -> str:
    """Name the method of the main analysis, `analysis.estimands.PRIMARY`.

    Raises
    ------
    ValueError
        If it is none of `METHODS`.
    """
    from analysis.pooling import DEFAULT_INTERVAL

    asked = dict(estimands.PRIMARY)
    model = asked.pop("model")
    asked = {"interval": DEFAULT_INTERVAL[model], "transform": "logit", **asked}
    for method in METHODS.values():
        if method.model == model and method.options == asked:
            return method.id
    raise ValueError(f"the main analysis, {estimands.PRIMARY}, is none of the methods")


def fit_of(rows: Rows, method: Method | str) -> Fit:
    """Pool one set of rows by one method.

    Parameters
    ----------
    rows : Rows
    method : Method or str
        A method or the id of one.
    """
    from analysis.pooling import pool

    chosen = METHODS[method] if isinstance(method, str) else method
    return pool(rows.events, rows.total, chosen.model, labels=rows.cohorts, **chosen.options)


def analyses(
    sets: Sequence[Rows],
    *,
    methods: Iterable[Method] | None = None,
    jobs: int = 1,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Analysis, ...]:
    """Pool every set of two or more trials by every defensible method.

    Parameters
    ----------
    sets : sequence of Rows
    methods : iterable of Method, optional
        All of `METHODS` if not given.
    jobs : int
        Processes.
    report : callable
        Called with the number of finished pieces of work and the number of all.

    Returns
    -------
    tuple of Analysis
        In the order of `sets` and of the methods; without results that do not exist.
    """
    asked = list(METHODS.values() if methods is None else methods)
    counts: dict[tuple, list[Rows]] = {}
    for rows in sets:
        if len(rows.cohorts) > 1:
            counts.setdefault((rows.events, rows.total), []).append(rows)
    tasks: list[tuple[Method, list[tuple]]] = []
    for k in sorted({len(events) for events, _ in counts}):
        same = [key for key in counts if len(key[0]) == k]
        for method in asked:
            # what takes longest is handed out in small pieces
            step = {"beta-binomial": 10, "bayes": 50}.get(method.model, 1000)
            tasks += [(method, same[i : i + step]) for i in range(0, len(same), step)]
    found: dict[tuple[str, str], Analysis] = {}
    for done, ((method, keys), made) in enumerate(zip(tasks, _run(tasks, jobs), strict=True), 1):
        for key, values in zip(keys, made, strict=True):
            if values is not None:
                for rows in counts[key]:
                    found[rows.id, method.id] = Analysis(rows.id, method.id, *values)
        report(done, len(tasks))
    return tuple(
        found[rows.id, method.id]
        for rows in sets
        for method in asked
        if (rows.id, method.id) in found
    )


def _run(tasks: Sequence[tuple[Method, list[tuple]]], jobs: int) -> Iterable[list]:
    if jobs == 1:
        yield from map(_piece, tasks)
        return
    with ProcessPoolExecutor(jobs) as workers:
        yield from workers.map(_piece, tasks)


def _piece(task: tuple[Method, list[tuple]]) -> list[tuple[float, float, float] | None]:
    """Estimate and limits of several data sets with one number of trials by one method."""
    from analysis.pooling import pool_many

    method, keys = task
    events = np.array([key[0] for key in keys])
    total = np.array([key[1] for key in keys])
    more = {"tau2_interval": False} if method.model == "glmm" else {}
    batch = pool_many(events, total, method.model, **method.options, **more)
    usable = batch.converged & np.isfinite(batch.estimate)
    usable &= np.isfinite(batch.ci_low) & np.isfinite(batch.ci_high)
    # no event at all, or nothing else: no model has a finite mean
    usable &= (events.sum(axis=1) > 0) & (events < total).any(axis=1)
    if method.transform == "raw":
        usable &= ((events > 0) & (events < total)).all(axis=1)
        usable &= (batch.mu_ci[:, 0] >= 0) & (batch.mu_ci[:, 1] <= 1)
    values = zip(batch.estimate, batch.ci_low, batch.ci_high, strict=True)
    return [
        (float(estimate), float(low), float(high)) if good else None
        for good, (estimate, low, high) in zip(usable, values, strict=True)
    ]
