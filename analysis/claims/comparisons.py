"""Checks of comparisons. Trials without a control group cannot carry one: the difference is
computed and shown, and unless both figures are from the same patients it decides nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from analysis.claims.rows import cohort_names, outcome_label, share, used, wilson_limits
from analysis.claims.verdict import (
    COMPARISON,
    CONTRADICTED,
    NOTHING,
    OWN,
    REPRODUCED,
    UNDECIDED,
    Verdict,
)
from analysis.estimands import PRIMARY, estimand, evidence, pooled
from analysis.wording import ci, count, listing, number, p_value, pct, ratio

if TYPE_CHECKING:
    from analysis.data import Dataset

NOT_RANDOMIZED = "not randomized"


def difference(a: tuple[int, int], b: tuple[int, int]) -> tuple[float, float, float]:
    """Difference of two proportions with the interval of Newcombe's method 10.

    Parameters
    ----------
    a, b : tuple of int
        Events and total of each group.

    Returns
    -------
    tuple of float
        ``a - b`` as a proportion, and its 95% limits (doi:10.1002/(SICI)1097-0258(19980430)17:8
        <873::AID-SIM779>3.0.CO;2-I).
    """
    p, q = a[0] / a[1], b[0] / b[1]
    (low_a, high_a), (low_b, high_b) = wilson_limits(*a), wilson_limits(*b)
    low = p - q - math.hypot(p - low_a, high_b - q)
    high = p - q + math.hypot(high_a - p, q - low_b)
    return p - q, low, high


def _points(gap: float, low: float, high: float) -> str:
    near, far = number(100 * low, 0), number(100 * high, 0)
    return f"difference {number(100 * gap, 0)} points ({near} to {far})"


def outcomes_differ(
    dataset: Dataset, report: str, *, cohort: str, lower: str, higher: str
) -> Verdict:
    """Is one outcome rarer than another in the same patients?

    Parameters
    ----------
    cohort : str
    lower, higher : str
        Outcomes; the claim is that the first is rarer than the second.

    Notes
    -----
    The two groups are taken as independent, because the sources do not print who had both.
    """
    first = used(dataset, report, cohort, lower)
    second = used(dataset, report, cohort, higher)
    if first is None or second is None:
        return Verdict(UNDECIDED, "one of the two counts is not on record", NOTHING)
    gap, low, high = difference(share(first), share(second))
    said = f"{first.said()}, against {second.said()}; {_points(gap, low, high)}"
    records = (first.record_id, second.record_id)
    if high < 0:
        return Verdict(REPRODUCED, said, first.level, records)
    if low > 0 and OWN in (first.level, second.level):
        return Verdict(CONTRADICTED, said, first.level, records)
    return Verdict(UNDECIDED, said, first.level, records)


def cohorts_differ(
    dataset: Dataset, report: str, *, outcome: str, a: str, b: str, direction: str
) -> Verdict:
    """Set two groups of patients side by side that were not allocated at random.

    Parameters
    ----------
    outcome : str
    a, b : str
        Cohorts.
    direction : {"lower", "higher", "similar"}
        What is said of `a` as compared with `b`.
    """
    _check_direction(direction)
    first, second = used(dataset, report, a, outcome), used(dataset, report, b, outcome)
    names = cohort_names(dataset)
    if first is None or second is None:
        lacking = [names[n] for n, row in ((a, first), (b, second)) if row is None]
        said = f"no count of {outcome_label(dataset, outcome).lower()} for {listing(lacking)}"
        return Verdict(UNDECIDED, said, NOTHING)
    gap, low, high = difference(share(first), share(second))
    said = (
        f"{names[a]} {first.events} of {first.total}, {names[b]} {second.events} of "
        f"{second.total}; {_points(gap, low, high)}, {_leaning(direction, low, high, 0)}; "
        f"{NOT_RANDOMIZED}"
    )
    return Verdict(UNDECIDED, said, COMPARISON, (first.record_id, second.record_id))


def populations_differ(
    dataset: Dataset, report: str, *, outcome: str, a: str, b: str, direction: str
) -> Verdict:
    """Compare the pooled odds of an outcome in two populations of trials.

    Parameters
    ----------
    outcome : str
    a, b : str
        Populations of the registry of estimands.
    direction : {"lower", "higher", "similar"}
        What is said of `a` as compared with `b`.

    Notes
    -----
    The odds ratio is the coefficient of the population in a random-effects logistic model of all
    trials. It compares trials, not treatments, and decides nothing about cause.
    """
    from analysis.pooling import pool

    _check_direction(direction)
    groups = {
        name: evidence(dataset, estimand(f"{outcome.replace('_', '-')}-{name}")).rows
        for name in (b, a)
    }
    events = [int(n) for rows in groups.values() for n in rows["events"]]
    total = [int(n) for rows in groups.values() for n in rows["total"]]
    group = [name for name, rows in groups.items() for _ in range(len(rows))]
    records = tuple(str(name) for rows in groups.values() for name in rows["record_id"])
    if min(len(rows) for rows in groups.values()) == 0 or len(events) < 3:
        return Verdict(UNDECIDED, "too few trials report it", NOTHING, records)
    fit: Any = pool(events, total, moderators={"population": group})
    # the reference level is whichever the design takes first
    sign = 1.0 if fit.names[1].endswith(f"[{a}]") else -1.0
    low, high = sorted(math.exp(sign * float(x)) for x in (fit.ci_low[1], fit.ci_high[1]))
    ratio = math.exp(sign * float(fit.coefficients[1]))
    said = (
        f"odds ratio between trials {_ratio(ratio)} "
        f"({number(low, 2)} to {_ratio(high)}), "
        f"{len(groups[a])} against {count(len(groups[b]), 'trial')}, "
        f"{_leaning(direction, low, high, 1)}; {NOT_RANDOMIZED}"
    )
    return Verdict(UNDECIDED, said, COMPARISON, records)


def _ratio(value: float) -> str:
    return number(value, 2) if value < 1000 else "no limit"


def other_disease(
    dataset: Dataset,
    report: str,
    *,
    outcome: str,
    population: str,
    others: tuple[float, ...],
    direction: str,
) -> Verdict:
    """Set the pooled rate in CLL beside the rates that the review prints for another disease.

    Parameters
    ----------
    outcome, population : str
        The pooled rate in CLL.
    others : tuple of float
        Percentages of the other disease's trials, as printed.
    direction : {"lower", "higher", "similar"}
        What is said of CLL.
    """
    _check_direction(direction)
    found = evidence(dataset, estimand(f"{outcome.replace('_', '-')}-{population}"))
    fit = pooled(found)
    if fit is None or fit.estimate is None:
        return Verdict(UNDECIDED, "no pooled rate in CLL", NOTHING)
    above = sum(100 * fit.ci_high < rate for rate in others)
    below = sum(100 * fit.ci_low > rate for rate in others)
    said = (
        f"CLL {pct(fit.estimate)} ({ci(fit.ci_low, fit.ci_high)}); other disease {min(others):g}"
        + (f" to {max(others):g}" if len(others) > 1 else "")
        + f"% in {count(len(others), 'trial')}, {above} above that interval and {below} below; "
        + NOT_RANDOMIZED
    )
    return Verdict(UNDECIDED, said, COMPARISON, tuple(map(str, found.rows["record_id"])))


def other_diseases(dataset: Dataset, report: str, *, outcome: str, direction: str) -> Verdict:
    """Compare the pooled odds of an outcome in CLL with those in the other diseases on record.

    Parameters
    ----------
    outcome : str
        One of `analysis.diseases.OUTCOMES`.
    direction : {"lower", "higher", "similar"}
        What is said of CLL.

    Notes
    -----
    The odds ratios and the test are those of :func:`analysis.diseases.compare`. They compare
    trials, and decide nothing about cause.
    """
    from analysis import diseases

    _check_direction(direction)
    found = diseases.compare(dataset, outcome)
    records = tuple(map(str, found.rows["record_id"]))
    if found.p is None or not found.contrasts:
        return Verdict(UNDECIDED, "too few trials report it", NOTHING, records)
    ways = []
    leaning = []
    for way in found.contrasts:
        at, low, high = (1 / x if x else math.inf for x in (way.odds_ratio, way.high, way.low))
        ways.append(f"{way.level} {ratio(at)} ({ratio(low)} to {ratio(high)})")
        leaning.append(_leaning(direction, low, high, 1))
    claimed = sum("the claimed way" in text for text in leaning)
    said = (
        f"odds ratio of CLL against {listing(ways)}; {claimed} of {count(len(ways), 'interval')} "
        f"beyond no difference the claimed way; test over all diseases {p_value(found.p)}; "
        f"{NOT_RANDOMIZED}"
    )
    return Verdict(UNDECIDED, said, COMPARISON, records)


def higher_than_others(
    dataset: Dataset, report: str, *, cohort: str, outcome: str, population: str
) -> Verdict:
    """Set one trial beside the pooled rate of the other trials of its population."""
    from analysis.pooling import pool

    found = evidence(dataset, estimand(f"{outcome.replace('_', '-')}-{population}"))
    mine = found.rows[found.rows["cohort_id"] == cohort]
    rest = found.rows[found.rows["cohort_id"] != cohort]
    if mine.empty or len(rest) < 2:
        return Verdict(UNDECIDED, "too few trials report it", NOTHING)
    events, total = int(mine["events"].iloc[0]), int(mine["total"].iloc[0])
    fit: Any = pool(
        rest["events"].to_numpy(dtype="int64"), rest["total"].to_numpy(dtype="int64"), **PRIMARY
    )
    scales = sorted(set(found.rows["criteria"].dropna().astype(str)))
    said = (
        f"{events} of {total} ({pct(events / total)}), the {len(rest)} other trials "
        f"{pct(fit.estimate)} ({ci(fit.ci_low, fit.ci_high)}); {NOT_RANDOMIZED}"
    )
    if len(scales) > 1:
        said += f", scales {listing(scales)}"
    return Verdict(UNDECIDED, said, COMPARISON, tuple(map(str, found.rows["record_id"])))


def _check_direction(direction: str) -> None:
    if direction not in ("lower", "higher", "similar"):
        raise ValueError(f"direction must be lower, higher or similar, not {direction!r}")


def _leaning(direction: str, low: float, high: float, none: float) -> str:
    """Say how an interval stands to the claimed direction; `none` is the value of no difference."""
    if low <= none <= high:
        return "the interval includes no difference"
    points = "lower" if high < none else "higher"
    return f"points the claimed way, {points}" if points == direction else f"points {points}"
