"""Which sets of our cohorts could be behind a published pool?

Sets are searched by what the publication prints: number of studies, of patients, of events. Each
is pooled by several two-step models on several scales and held to the printed result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from analysis.geometry import SCALE_NAMES, SCALES, Z95, Printed, bounds
from analysis.overlap import clusters, graph

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = [
    "SEARCH_MODELS",
    "Candidate",
    "Reproduction",
    "candidate_parts",
    "combinations_of",
    "reproduce",
]


@dataclass(frozen=True)
class Candidate:
    """A count that a published pool may have used: cohort, its label, events and patients."""

    cohort_id: str
    label: str
    events: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """Result of a search over sets of our cohorts.

    Attributes
    ----------
    cohorts : int
        Cohorts with a count that were considered.
    sets : int
        Sets with the printed number of studies and patients (and, for sums, of events).
    complete : bool
        Whether all such sets were tried.
    same_estimate : int
        Sets that give the printed percentage by some model on some scale.
    same_all : int
        Sets that give every printed number so.
    nearest : tuple of Candidate
        The set that comes nearest to the printed numbers, empty without sets.
    nearest_model : str
        Model and scale by which it does.
    nearest_result : (float, float, float, float) or None
        Estimate, limits (proportions) and Q of the nearest.
    largest_q : float or None
        The largest Q of any set on any of the scales.
    """

    cohorts: int
    sets: int
    complete: bool
    same_estimate: int
    same_all: int
    nearest: tuple[Candidate, ...] = ()
    nearest_model: str = ""
    nearest_result: tuple[float, float, float, float] | None = None
    largest_q: float | None = None


def combinations_of(
    parts: Sequence[Sequence[tuple[Candidate, ...]]],
    *,
    k: int | None,
    total: int | None,
    events: int | None = None,
    max_k: int = 12,
    limit: int = 20_000,
) -> tuple[list[tuple[Candidate, ...]], bool]:
    """List the ways to take one option from each part that meet the given sums.

    Parameters
    ----------
    parts : sequence of sequence of tuple of Candidate
        For each part, the options: tuples of counts that can be taken together, the empty one
        among them.
    k, total, events : int or None
        Required number of counts, sum of totals and sum of events; None leaves it open.
    max_k : int
        Most counts where `k` is open; at least two are taken.
    limit : int
        Most combinations to list.

    Returns
    -------
    found : list of tuple of Candidate
        In the order of the parts and their options.
    complete : bool
        False if the limit cut the list.
    """

    def size(option: tuple[Candidate, ...]) -> tuple[int, int, int]:
        return (
            len(option),
            sum(entry.total for entry in option) if total is not None else 0,
            sum(entry.events for entry in option) if events is not None else 0,
        )

    goal = (k, total if total is not None else 0, events if events is not None else 0)
    most = max_k if k is None else k
    # sums that the parts from i on can still add: only branches that can end well are entered
    ahead: list[set[tuple[int, int, int]]] = [{(0, 0, 0)}]
    for options in reversed(parts):
        steps = {size(option) for option in options}
        sums = {
            (done[0] + step[0], done[1] + step[1], done[2] + step[2])
            for done in ahead[-1]
            for step in steps
        }
        within = {s for s in sums if s[0] <= most and s[1] <= goal[1] and s[2] <= goal[2]}
        ahead.append(within)
    ahead.reverse()
    low_k = 2 if k is None else k

    @cache
    def can_end(i: int, state: tuple[int, int, int]) -> bool:
        return any(
            low_k <= state[0] + more[0] <= most
            and state[1] + more[1] == goal[1]
            and state[2] + more[2] == goal[2]
            for more in ahead[i]
        )

    def walk(
        i: int, state: tuple[int, int, int], taken: tuple[Candidate, ...]
    ) -> Iterator[tuple[Candidate, ...]]:
        if i == len(parts):
            yield taken
            return
        for option in parts[i]:
            step = size(option)
            new = (state[0] + step[0], state[1] + step[1], state[2] + step[2])
            if can_end(i + 1, new):
                yield from walk(i + 1, new, taken + option)

    found: list[tuple[Candidate, ...]] = []
    if can_end(0, (0, 0, 0)):
        for combination in walk(0, (0, 0, 0), ()):
            if len(found) == limit:
                return found, False
            found.append(combination)
    return found, True


def candidate_parts(
    dataset: Dataset,
    outcome: str,
    *,
    until: int | None = None,
    disease: str = "CLL",
    repeated: bool = False,
) -> list[list[tuple[Candidate, ...]]]:
    """Counts that another meta-analysis may have taken from our cohorts, part by part.

    Every printed count of an outcome stands as an alternative, also one that this book does not
    use; not those that are excluded as another outcome or another patient group. Cohorts that
    certainly share patients are not taken together.

    Parameters
    ----------
    dataset : Dataset
    outcome : str
    until : int, optional
        Latest year of a cohort.
    disease : str
        Disease of the cohorts.
    repeated : bool
        Take also cohorts that share patients together.
    """
    cohorts = dataset.cohorts
    inside = cohorts["disease"] == disease
    if until is not None:
        inside &= cohorts["year"].isna() | (cohorts["year"] <= until)
    labels = cohorts[inside].set_index("cohort_id")["label"]
    rows = dataset.extraction
    rows = rows[
        (rows["outcome"] == outcome)
        & rows["cohort_id"].isin(labels.index)
        & rows["events"].notna()
        & rows["total"].notna()
        & ~rows["status"].isin(["excluded", "infeasible", "not-found"])
    ]
    counts: dict[str, list[Candidate]] = {}
    for cohort in labels.index:
        own = rows[rows["cohort_id"] == cohort]
        pairs = sorted({(int(e), int(n)) for e, n in zip(own["events"], own["total"], strict=True)})
        if pairs:
            counts[cohort] = [Candidate(cohort, str(labels[cohort]), e, n) for e, n in pairs]
    neighbors = graph(counts, dataset.overlaps, possible=False)
    if repeated:
        neighbors = {cohort: set() for cohort in counts}
    return [_options(part, neighbors, counts) for part in clusters(neighbors)]


def _options(
    part: Sequence[str], neighbors: dict[str, set[str]], counts: dict[str, list[Candidate]]
) -> list[tuple[Candidate, ...]]:
    """Every way to take counts from cohorts of a part that certainly share no patients."""
    options: list[tuple[Candidate, ...]] = [()]
    for cohort in part:
        options += [
            (*taken, entry)
            for taken in list(options)
            if not neighbors[cohort] & {other.cohort_id for other in taken}
            for entry in counts[cohort]
        ]
    return options


#: Two-step models tried by the search.
SEARCH_MODELS = ("fe", "dl", "reml", "pm")


def reproduce(
    parts: Sequence[Sequence[tuple[Candidate, ...]]],
    *,
    percent: float,
    ci_low: float | None = None,
    ci_high: float | None = None,
    k: int | None = None,
    total: int | None = None,
    events: int | None = None,
    q: float | None = None,
    highest: tuple[int, int] | None = None,
    scales: Sequence[str] = SCALES,
    limit: int = 20_000,
) -> Reproduction:
    """Search our cohorts for a set that gives a published pool.

    Parameters
    ----------
    parts : sequence
        See `candidate_parts`.
    percent, ci_low, ci_high : float
        As printed, in percent; limits may be missing.
    k, total, events : int, optional
        Printed number of studies, patients and patients with the event. With `events` the pool is
        a plain sum and no model is fitted.
    q : float, optional
        Printed Q.
    highest : (int, int), optional
        Events and patients of the study with the highest figure of the pool: it must be in the
        set, and no other may be higher.
    scales : sequence of str
        Scales to pool on.
    limit : int
        Most sets to try.

    Returns
    -------
    Reproduction
    """
    cohorts = len({entry.cohort_id for part in parts for option in part for entry in option})
    if highest is not None:
        top = highest[0] / highest[1]
        parts = [
            [option for option in part if all(c.events / c.total <= top + 1e-12 for c in option)]
            for part in parts
        ]
    sets, complete = combinations_of(parts, k=k, total=total, events=events, limit=limit)
    if highest is not None:
        sets = [s for s in sets if any((c.events, c.total) == highest for c in s)]
    printed = Printed.percent(percent)
    if events is not None:
        return Reproduction(
            cohorts=cohorts,
            sets=len(sets),
            complete=complete,
            same_estimate=len(sets),
            same_all=len(sets),
            nearest=sets[0] if sets else (),
        )
    limits = [None if v is None else Printed.percent(v) for v in (ci_low, ci_high)]
    best: tuple[float, tuple[Candidate, ...], str, tuple[float, float, float, float]] | None = None
    same_estimate = np.zeros(len(sets), dtype=bool)
    same_all = np.zeros(len(sets), dtype=bool)
    largest_q: float | None = None
    for size in sorted({len(chosen) for chosen in sets}):
        at = np.array([i for i, chosen in enumerate(sets) if len(chosen) == size])
        x = np.array([[c.events for c in sets[i]] for i in at])
        n = np.array([[c.total for c in sets[i]] for i in at])
        for scale in scales:
            for model in SEARCH_MODELS:
                estimate, low, high, found_q = _two_step(x, n, model, scale)
                largest_q = max(largest_q or 0.0, float(found_q.max()))
                near = np.abs(estimate - printed.value)
                fits = (estimate >= printed.low - 1e-9) & (estimate <= printed.high + 1e-9)
                same_estimate[at] |= fits
                for limit_, found in zip(limits, (low, high), strict=True):
                    if limit_ is not None:
                        near = np.maximum(near, np.abs(found - limit_.value))
                        fits &= (found >= limit_.low - 1e-9) & (found <= limit_.high + 1e-9)
                if q is not None:
                    q_low, q_high = bounds(repr(float(q)))
                    fits &= (found_q >= q_low) & (found_q <= q_high)
                same_all[at] |= fits
                j = int(np.argmin(near))
                if best is None or near[j] < best[0] - 1e-12:
                    values = (estimate[j], low[j], high[j], found_q[j])
                    result_ = tuple(float(value) for value in values)
                    name = f"{model.upper()} on the {SCALE_NAMES[scale]} scale"
                    best = (float(near[j]), sets[at[j]], name, result_)  # type: ignore[assignment]
    return Reproduction(
        cohorts=cohorts,
        sets=len(sets),
        complete=complete,
        same_estimate=int(same_estimate.sum()),
        same_all=int(same_all.sum()),
        nearest=best[1] if best else (),
        nearest_model=best[2] if best else "",
        nearest_result=best[3] if best else None,
        largest_q=largest_q,
    )


def _two_step(
    x: np.ndarray, n: np.ndarray, model: str, scale: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Estimate, Wald limits (proportions) and Q of many sets of the same number of studies."""
    from analysis.pooling import effect_sizes, effective_total, inverse
    from analysis.pooling.normal import generalized_q, tau2_estimate

    y, v = effect_sizes(x, n, scale)
    tau2 = np.atleast_1d(tau2_estimate(y, v, model))
    weight = 1 / (v + tau2[:, None])
    mean = (weight * y).sum(axis=1) / weight.sum(axis=1)
    half = Z95 / np.sqrt(weight.sum(axis=1))
    at = effective_total(n) if scale == "freeman-tukey" else None
    estimate, low, high = (
        np.asarray(inverse(value, scale, at), dtype=float)
        for value in (mean, mean - half, mean + half)
    )
    return estimate, low, high, generalized_q(y, v, np.zeros(len(y)))
