"""Sentences for a paper, written from a fit.

They cover what PRISMA 2020 (doi:10.1136/bmj.n71) asks of the synthesis of one outcome: the model,
the estimator and the intervals (item 13d), how heterogeneity is expressed (13e), the number of
trials and patients (20a), the estimate with its precision and the heterogeneity found (20b), the
certainty (22), and where data and code are (27). Every word about model, interval and numbers
comes from the fit: another model gives other sentences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.identity import TITLE
from analysis.wording import (
    EN_DASH,
    INTERVAL_NAMES,
    MODEL_LONG_NAMES,
    TABLE_DIGITS,
    ci,
    count,
    interval_word,
    is_limit,
    level,
    listing,
    number,
    patients,
    pct,
    plain,
)

if TYPE_CHECKING:
    from analysis.citation import Citable
    from analysis.pooling import Fit

__all__ = ["Report", "report"]

# How a model is fitted, where its name does not say so.
ESTIMATORS = {
    "glmm": "fitted by maximum likelihood",
    "beta-binomial": "fitted by maximum likelihood",
}
# What is estimated, where it is not the rate in the median trial.
RATES = {
    "beta-binomial": "the mean rate over trials",
    "fe": "one rate that all trials are taken to share",
}
# Two-step models first turn each trial's counts into one number and its variance.
ONE_STEP = frozenset({"glmm", "bayes", "beta-binomial"})
LINKS = {
    "logit": "log-odds",
    "arcsine": "arcsine",
    "freeman-tukey": "double-arcsine",
    "raw": "proportion",
    "log": "logarithmic",
}


@dataclass(frozen=True)
class Report:
    """Sentences about one estimate, in the order of a paper.

    Attributes
    ----------
    methods, results, certainty, source : str
        What was done, what came out, how certain it is (empty where it was not rated), and what
        the numbers were computed from.
    """

    methods: str
    results: str
    certainty: str
    source: str

    @property
    def text(self) -> str:
        """Everything as one paragraph per part."""
        parts = (self.methods, self.results, self.certainty, self.source)
        return "\n\n".join(part for part in parts if part)


def report(fit: Fit, entry: Citable, description: str, certainty: str = "") -> Report:
    """Write the sentences about one estimate.

    Parameters
    ----------
    fit : Fit
        The pooled result; proportions between 0 and 1, tau on the link scale.
    entry : Citable
        Identifier, labels, versions and digest of the estimate.
    description : str
        Definition of the population.
    certainty : str
        A sentence on the certainty of the evidence, if it was rated.
    """
    outcome = _inside(plain(entry.label))
    return Report(
        methods=_methods(fit, outcome, plain(description)),
        results=_results(fit, outcome),
        certainty=plain(certainty),
        source=f"Data and code: {TITLE}. {entry.origin}.",
    )


def _methods(fit: Fit, outcome: str, description: str) -> str:
    said = [f"We included trials without a control arm that reported {outcome} ({description})."]
    if fit.k == 1:
        said.append("A single trial qualified, so nothing was pooled.")
        return " ".join(said)
    said.append(
        "Cohorts that share patients were counted once. "
        f"We combined the counts of events and patients with {_model(fit)}."
    )
    if fit.estimate is None:
        return " ".join(said)
    if is_limit(fit):
        end = "no" if fit.estimate == 0 else "every"
        said.append(
            f"Because {end} patient had the outcome, we report the limit of the estimate and the "
            f"{level(fit)} limit on the other side."
        )
        return " ".join(said)
    rate = RATES.get(fit.model, "the rate in the median trial")
    if fit.model == "bayes":
        rate = f"the posterior median of {rate}"
    said.append(f"The pooled estimate is {rate}, with {_interval(fit)}.")
    spread = []
    if fit.tau2 is not None:
        scale = LINKS.get(fit.transform, fit.transform)
        spread.append(
            f"τ (the standard deviation of the true rates between trials on the {scale} scale)"
        )
    if fit.i2 is not None:
        spread.append("I²")
    if fit.pi_low is not None:
        spread.append(f"a {level(fit)} prediction interval for the true rate in a new trial")
    if spread:
        said.append(f"Heterogeneity is expressed by {listing(spread)}.")
    return " ".join(said)


def _model(fit: Fit) -> str:
    name = MODEL_LONG_NAMES.get(fit.model, fit.model).format(
        transform=LINKS.get(fit.transform, fit.transform), dash=EN_DASH
    )
    article = "an" if name[0] in "aeio" else "a"
    if fit.model == "bayes":
        prior = fit.details.get("prior")
        return f"{article} {name}" + (f" (priors: {prior})" if prior else "")
    if fit.model in ONE_STEP:
        return f"{article} {name} {ESTIMATORS[fit.model]}"
    return f"{article} {name}, applied to the transformed rate of each trial"


def _interval(fit: Fit) -> str:
    name = INTERVAL_NAMES.get(fit.interval, fit.interval).format(dash=EN_DASH)
    if fit.interval == "credible":
        return f"its {level(fit)} {name} (CrI)"
    return f"a {level(fit)} confidence interval (CI; {name})"


def _results(fit: Fit, outcome: str) -> str:
    events, total = int(sum(int(x) for x in fit.events)), patients(fit)
    seen = f"{outcome}: {events} of {count(total, 'patient')}"
    word = interval_word(fit)
    if fit.k == 1:
        low, high = fit.study_ci_low[0], fit.study_ci_high[0]
        return (
            f"One trial reported {seen} "
            f"({pct(fit.study_estimate[0], TABLE_DIGITS)}; {level(fit)} CI "
            f"{ci(low, high, TABLE_DIGITS, words=True)})."
        )
    said = f"{count(fit.k, 'trial')} reported {seen}."
    if fit.estimate is None:
        return f"{said} No pooled estimate exists. {' '.join(fit.notes)}".strip()
    limits = ci(fit.ci_low, fit.ci_high, TABLE_DIGITS, words=True)
    if is_limit(fit):
        return f"{said} {level(fit)} limits of the rate: {limits}."
    said += (
        f" The pooled estimate was {pct(fit.estimate, TABLE_DIGITS)} "
        f"({level(fit)} {word} {limits})."
    )
    if fit.tau2 is not None:
        spread = f"τ = {number(math.sqrt(fit.tau2), 2)}"
        if fit.tau2_ci is not None:
            spread += f" ({level(fit)} {word} {_tau_limits(*fit.tau2_ci)})"
        if fit.i2 is not None:
            spread += f", I² = {number(fit.i2, 0)}%"
        said += f" Between-trial heterogeneity: {spread}."
    if fit.pi_low is not None:
        said += (
            f" The {level(fit)} prediction interval was "
            f"{ci(fit.pi_low, fit.pi_high, TABLE_DIGITS, words=True)}."
        )
    if fit.k < 5:
        said += " With fewer than five trials every interval is rough."
    return said


def _tau_limits(low: float, high: float) -> str:
    above = number(math.sqrt(high), 2) if math.isfinite(high) else "no upper limit"
    return f"{number(math.sqrt(max(low, 0.0)), 2)} to {above}"


def _inside(label: str) -> str:
    """Return a label for use inside a sentence: a capital goes unless it is of an abbreviation."""
    return label[:1].lower() + label[1:] if label[1:2].islower() else label
