"""How certain is a pooled rate? A rating by a stated rule, every step computed.

The domains are those of GRADE. Evidence on the rate of an outcome in a broad group of patients
starts as high, also from studies without a control group (Iorio 2015, doi:10.1136/bmj.h870), and
is rated down. GRADE asks for judgment; here each judgment is replaced by a threshold that stands
in this module, so that anybody can see and change what a rating rests on. Such a rating is a
start for a discussion, no replacement for one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from analysis.wording import count, is_limit, level, listing, number, pct, percent_value

if TYPE_CHECKING:
    from analysis.pooling import Fit

__all__ = [
    "CONCERNS",
    "LEVELS",
    "RULE",
    "VARIANTS",
    "Rating",
    "Rule",
    "Step",
    "concern",
    "family",
    "rate",
    "sentence",
]

LEVELS = ("high", "moderate", "low", "very low")
MEANING = {
    "high": "the true rate is close to the estimate",
    "moderate": "the true rate is probably close to the estimate",
    "low": "the true rate may differ much from the estimate",
    "very low": "the true rate probably differs much from the estimate",
}
JBI, MINORS = "jbi-case-series", "minors"
#: Items that decide each concern about a trial: who was taken, who is missing, who judged.
CONCERNS = {
    "selection of patients": ((JBI, 4), (MINORS, 2)),
    "patients missing from the count": ((JBI, 5), (MINORS, 7)),
    "assessment of the outcome": ((MINORS, 4), (MINORS, 5)),
}
#: Trials from which on a search for small-study effects would be made.
ENOUGH = 10

Judgments = Mapping[tuple[str, int], str]


@dataclass(frozen=True)
class Rule:
    """The thresholds of a rating.

    Attributes
    ----------
    width : tuple of float
        Width of the interval of the rate, in percentage points, above which the rate is rated
        down by 1 and by 2 for imprecision.
    spread : tuple of float
        The same for the range that holds the true rates of 95% of trials: inconsistency.
    unknown_counts : bool
        Whether what no source says is held against a trial.
    spread_twice : bool
        Whether inconsistency and imprecision both count. A spread between trials also widens
        the interval; where this is False only the larger of the two steps counts.
    """

    width: tuple[float, float] = (20.0, 40.0)
    spread: tuple[float, float] = (30.0, 60.0)
    unknown_counts: bool = True
    spread_twice: bool = True


RULE = Rule()
#: Other defensible rules, by name: each gives way in one place, the last in all.
VARIANTS = {
    "Silence no concern": replace(RULE, unknown_counts=False),
    "Spread counted once": replace(RULE, spread_twice=False),
    "Wider limits": replace(RULE, width=(30.0, 60.0), spread=(45.0, 90.0)),
    "All three": Rule((30.0, 60.0), (45.0, 90.0), unknown_counts=False, spread_twice=False),
}


@dataclass(frozen=True)
class Step:
    """One domain: how many levels it takes off, and why."""

    domain: str
    down: int
    reason: str


@dataclass(frozen=True)
class Rating:
    """Certainty of a rate, with the steps that led to it."""

    level: str
    steps: tuple[Step, ...]

    @property
    def meaning(self) -> str:
        """What the level says about the estimate."""
        return MEANING[self.level]


def rate(
    fit: Fit,
    judged: Sequence[Judgments],
    criteria: Sequence[str | None],
    rule: Rule = RULE,
) -> Rating:
    """Rate the certainty of a pooled rate, or of the rate in a single trial.

    Parameters
    ----------
    fit : Fit
        The result; proportions between 0 and 1.
    judged : sequence of mapping
        For each trial of the fit the judgment (yes, no, unclear, not-assessable) of each item,
        by instrument and number; an item that was not judged counts as unclear.
    criteria : sequence of str or None
        For each trial the response criteria or grading scale by which the outcome was judged,
        None where it is not stated.
    rule : Rule
        The thresholds.

    Returns
    -------
    Rating

    Raises
    ------
    ValueError
        If there is not one entry per trial.
    """
    for name, given in (("judged", judged), ("criteria", criteria)):
        if len(given) != fit.k:
            raise ValueError(f"{name} must have one entry per trial ({fit.k}), not {len(given)}")
    weights = _weights(fit)
    spread, width = _inconsistency(fit, rule), _imprecision(fit, rule)
    if not rule.spread_twice and spread.down and width.down:
        if spread.down > width.down:
            width = _counted_already(width, spread)
        else:
            spread = _counted_already(spread, width)
    steps = (
        _risk_of_bias(judged, weights, rule),
        spread,
        _indirectness(criteria, weights, rule),
        width,
        Step("publication bias", 0, _publication_bias(fit.k)),
    )
    down = min(sum(step.down for step in steps), len(LEVELS) - 1)
    return Rating(LEVELS[down], steps)


def concern(judgments: Judgments, items: Sequence[tuple[str, int]]) -> str:
    """Say whether a concern about a trial holds: ``no`` (it does not), ``yes`` or ``unknown``.

    It holds if one of its items is judged no; it does not if all are judged yes.
    """
    found = [judgments.get(item, "unclear") for item in items]
    if "no" in found:
        return "yes"
    return "no" if all(value == "yes" for value in found) else "unknown"


def family(criteria: str | None) -> str | None:
    """Return the name of criteria without their year or version: ``iwCLL 2018`` gives ``iwCLL``."""
    name = " ".join(criteria.split()) if criteria else ""
    return re.sub(r" v?\d[\d.]*$", "", name) or None


def sentence(rating: Rating) -> str:
    """Say the certainty and what took it down: ``very low; rated down for imprecision (2)``."""
    taken = [f"{step.domain} ({step.down})" for step in rating.steps if step.down]
    return f"{rating.level}; rated down for {listing(taken)}" if taken else rating.level


def _weights(fit: Fit) -> np.ndarray:
    """Share of each trial, by patients where the fit gives none."""
    given = np.asarray(fit.weight, dtype=float) if fit.weight is not None else np.array([])
    if given.shape == (fit.k,) and np.isfinite(given).all() and math.isclose(given.sum(), 1.0):
        return given
    total = np.asarray(fit.total, dtype=float)
    return total / total.sum()


def _risk_of_bias(judged: Sequence[Judgments], weights: np.ndarray, rule: Rule) -> Step:
    found = [[concern(trial, items) for items in CONCERNS.values()] for trial in judged]
    fine = ("no",) if rule.unknown_counts else ("no", "unknown")
    several = _share(weights, [row.count("yes") >= 2 for row in found])
    sound = _share(weights, [all(value in fine for value in row) for row in found])
    down = 2 if _half(several) else 0 if _half(sound) else 1
    parts = []
    for i, name in enumerate(CONCERNS):
        held = _share(weights, [row[i] == "yes" for row in found])
        unknown = _share(weights, [row[i] == "unknown" for row in found])
        parts.append(f"{name}: a concern in {pct(held)} of the weight, unknown in {pct(unknown)}")
    return Step("risk of bias", down, f"{'; '.join(parts)}.".capitalize())


def _inconsistency(fit: Fit, rule: Rule) -> Step:
    domain = "inconsistency"
    if fit.k == 1:
        return Step(
            domain,
            1,
            "One trial: how far trials differ cannot be known, and the interval of a single trial "
            "leaves it out.",
        )
    if fit.k == 2:
        return Step(
            domain,
            0,
            "Two trials: too few to judge. The pooled interval allows for a spread between trials.",
        )
    if fit.tau is None or fit.estimate is None or is_limit(fit):
        return Step(domain, 0, "The spread between trials cannot be estimated.")
    half = 1.96 * fit.tau
    middle = math.log(fit.estimate / (1 - fit.estimate))
    low, high = (1 / (1 + math.exp(-(middle + sign * half))) for sign in (-1, 1))
    return Step(
        domain,
        _beyond(high - low, rule.spread),
        f"At τ = {number(fit.tau, 2)} the true rates of 95% of trials lie between {pct(low)} and "
        f"{pct(high)}: {_points(high - low)}.",
    )


def _imprecision(fit: Fit, rule: Rule) -> Step:
    low, high = fit.ci_low, fit.ci_high
    what = "interval"
    if fit.estimate is None or low is None or high is None:
        if fit.k > 1:
            return Step("imprecision", 2, "No pooled estimate exists.")
        low, high = float(fit.study_ci_low[0]), float(fit.study_ci_high[0])
        what = "interval of the single trial"
    return Step(
        "imprecision",
        _beyond(high - low, rule.width),
        f"The {level(fit)} {what} runs from {pct(low)} to {pct(high)}: {_points(high - low)}.",
    )


def _counted_already(step: Step, other: Step) -> Step:
    return Step(step.domain, 0, f"{step.reason} Counted under {other.domain}.")


def _indirectness(criteria: Sequence[str | None], weights: np.ndarray, rule: Rule) -> Step:
    shares: dict[str, float] = {}
    for name, weight in zip(map(family, criteria), weights, strict=True):
        if name is not None:
            shares[name] = shares.get(name, 0.0) + float(weight)
    unknown = _share(weights, [family(name) is None for name in criteria])
    largest, known = max(shares.values(), default=0.0), sum(shares.values())
    if rule.unknown_counts:
        down = 0 if _half(largest) else 1
    else:
        down = 0 if known == 0 or _half(largest / known) else 1
    named = [f"{name} {pct(min(share, 1.0))}" for name, share in sorted(shares.items())]
    named += [f"not stated {pct(unknown)}"] if _percent(unknown) else []
    return Step(
        "indirectness",
        down,
        "The patients are those asked for. Criteria by which the outcome was judged, by weight: "
        f"{', '.join(named)}.",
    )


def _publication_bias(k: int) -> str:
    if k < ENOUGH:
        return (
            f"{count(k, 'trial')}: too few to tell. Not rated down, which does not mean that no "
            "trial is missing."
        )
    return f"{count(k, 'trial')}. Not rated down: a rate has no expected direction of selection."


def _share(weights: np.ndarray, chosen: Sequence[bool]) -> float:
    return min(float(weights[np.asarray(chosen, dtype=bool)].sum()), 1.0)


def _percent(share: float) -> int:
    """A share as it is printed, so that no rating contradicts the number beside it."""
    return int(percent_value(share))


def _half(share: float) -> bool:
    return _percent(min(share, 1.0)) >= 50


def _beyond(width: float, limits: tuple[float, float]) -> int:
    return sum(_percent(width) > limit for limit in limits)


def _points(width: float) -> str:
    return f"{_percent(width)} points"
