"""What the chapter "How pooling works here" shows: the model on three trials, and on the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.calibration import pictures
from analysis.figures import figure_block
from analysis.markup import Html, escape
from analysis.tables import html_table, records_csv
from analysis.wording import ci, count, listing, number, pct

if TYPE_CHECKING:
    from analysis.chapter import Question
    from analysis.pooling import Fit

__all__ = [
    "TOY",
    "Toy",
    "averages",
    "empty_trials",
    "intervals",
    "likelihoods",
    "median_and_average",
    "next_trial",
    "profiles",
    "shrunken",
    "spread_table",
    "surfaces",
]

SPREADS = (0.25, 0.5, 1.0, 1.5)
RATES = (0.1, 0.3, 0.5, 0.8)
DRAW = ("study", "second", "reference")


@dataclass(frozen=True)
class Toy:
    """Made-up counts of three trials; nothing in the book rests on them."""

    events: tuple[int, ...] = (1, 4, 12)
    total: tuple[int, ...] = (10, 12, 16)
    labels: tuple[str, ...] = ("Trial A", "Trial B", "Trial C")


TOY = Toy()


@lru_cache(maxsize=1)
def _toy() -> Fit:
    from analysis.pooling import pool

    return pool(TOY.events, TOY.total, labels=TOY.labels)


def _log_likelihood(fit: Fit, rate: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """Log-likelihood (T, M) of the counts of a fit at rates (M,) and spreads (T,)."""
    from scipy.special import logit

    from analysis.pooling import quadrature as quad

    trials = quad.prepare(fit.events.astype(float), fit.total.astype(float))
    mu = logit(rate)
    terms = quad.log_marginal(trials, mu[None, :, None], (tau**2)[:, None, None], tol=16.0)
    return terms.sum(axis=-1)


def likelihoods() -> Html:
    """Draw what each toy trial says about its own rate, and the fitted spread of rates."""
    from scipy.special import logit, xlogy

    fit = _toy()
    rate = np.linspace(0.001, 0.999, 400)
    lines = []
    for i, label in enumerate(TOY.labels):
        x, n = TOY.events[i], TOY.total[i]
        value = xlogy(x, rate) + xlogy(n - x, 1.0 - rate)
        lines.append(
            pictures.Curve(f"{label}: {x} of {n}", rate, np.exp(value - value.max()), DRAW[i])
        )
    assert fit.mu is not None and fit.tau is not None and fit.estimate is not None
    if fit.tau > 0:
        z = (logit(rate) - fit.mu) / fit.tau
        lines.append(
            pictures.Curve(
                "fitted spread of true rates", rate, np.exp(-0.5 * z * z), "pooled", (5.0, 3.0)
            )
        )
    return figure_block(
        pictures.curves,
        lines,
        x_label="true rate of a trial",
        y_label="likelihood, each curve scaled to a height of 1",
        x_percent=True,
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.08),
        alt="Three bell-shaped likelihoods of the rates of three small trials, centered at "
        + listing(pct(x / n) for x, n in zip(TOY.events, TOY.total, strict=True))
        + f", and the fitted distribution of true rates around {pct(fit.estimate)}.",
        caption="What the counts of each trial say about its own true rate (solid), and the "
        "normal curve of true rates that explains all three best (dashed; its height at a rate "
        "is the normal density of the rate's log odds).",
        name="toy-likelihoods",
        csv=records_csv(lines),
    )


def shrunken() -> Html:
    """Tabulate observed rates, what the model makes of them, and the weights."""
    fit = _toy()
    rows = [
        {
            "Trial": fit.study_labels[i],
            "Counts": f"{fit.events[i]} of {fit.total[i]}",
            "Observed": pct(float(fit.study_estimate[i])),
            "Given the other trials": pct(float(fit.details["shrunken"][i])),
            "Weight": pct(float(fit.weight[i])),
        }
        for i in range(fit.k)
    ]
    assert fit.tau is not None and fit.tau2_ci is not None
    return html_table(
        rows,
        "The three trials, seen alone and together",
        id="toy-shrunken",
        numeric=["Counts", "Observed", "Given the other trials", "Weight"],
        note=f"Median trial: {pct(fit.estimate)}, τ = {number(fit.tau, 2)}. The model pulls each "
        "trial towards the others, the small ones more.",
    )


def _surface(fit: Fit, title: str, tau_end: float, rates: tuple[float, float]) -> Any:
    rate = np.linspace(*rates, 121)
    tau = np.linspace(0.0, tau_end, 91)
    value = _log_likelihood(fit, rate, tau)
    assert fit.estimate is not None and fit.tau is not None and fit.log_likelihood is not None
    assert fit.ci_low is not None and fit.ci_high is not None
    return pictures.Surface(
        title=title,
        rate=rate,
        tau=tau,
        drop=np.maximum(fit.log_likelihood - value, 0.0),
        ridge=tau[value.argmax(axis=0)],
        best=(fit.estimate, fit.tau),
        limits=(fit.ci_low, fit.ci_high),
    )


def _chi_fit(question: Question) -> Fit:
    from analysis.estimands import pooled

    fit = pooled(question.evidence, "glmm", interval="profile")
    assert fit is not None
    return fit


def surfaces(question: Question) -> Html:
    """Draw the likelihood surface of the toy and of an estimand as contour lines.

    Parameters
    ----------
    question : Question
        An estimand with a pooled estimate.
    """
    from analysis.pooling import pool

    toy = pool(TOY.events, TOY.total, interval="profile")
    real = _chi_fit(question)
    assert toy.tau is not None and real.tau is not None
    panels = [
        _surface(toy, "three toy trials", max(2.0, 4.5 * toy.tau), (0.02, 0.9)),
        _surface(real, question.label.lower(), max(2.0, 2.5 * real.tau), (0.25, 0.85)),
    ]
    return figure_block(
        pictures.surfaces,
        panels,
        alt=f"Contour lines of two likelihoods over the rate in the median trial and tau. The "
        f"toy has its summit at {pct(toy.estimate)} and tau {number(toy.tau, 2)}; "
        f"{question.label.lower()}, {count(real.k, 'trial')}, at {pct(real.estimate)} and tau "
        f"{number(real.tau, 2)}. The larger tau, the wider the range of rates that remains "
        "plausible.",
        caption="How far the log-likelihood lies below its maximum (cross). The thick line is "
        "1.92 below; the dashed line follows the best τ at each rate; where it meets the thick "
        "contour are the 95% profile limits of the rate (dotted).",
        name="surfaces",
        csv=records_csv(panels, ("title", "rate", "ridge")),
    )


def profiles(question: Question) -> Html:
    """Draw the profile log-likelihoods with the cut-offs of the two profile intervals."""
    from analysis.pooling._stats import t_quantile

    lines, said = [], []
    fits = ((_toy(), "three toy trials", "study"), (_chi_fit(question), question.label, "pooled"))
    rate = np.linspace(0.01, 0.95, 241)
    tau = np.concatenate([[0.0], np.geomspace(0.02, 12.0, 160)])
    for fit, label, color in fits:
        value = _log_likelihood(fit, rate, tau).max(axis=0)
        assert fit.log_likelihood is not None
        name = label if fit is fits[0][0] else f"{label}, {count(fit.k, 'trial')}"
        lines.append(pictures.Curve(name, rate, value - fit.log_likelihood, color))
        said.append(f"{name}: highest at {pct(fit.estimate)}")
    k = fits[1][0].k
    cut = 0.5 * t_quantile(0.95, k - 1) ** 2
    return figure_block(
        pictures.curves,
        lines,
        x_label="rate in the median trial",
        y_label="log-likelihood with the best τ, less its maximum",
        x_percent=True,
        x_range=(0.0, 0.96),
        y_range=(-6.0, 0.4),
        level_at=0.72,
        levels=[
            (-1.92, "χ² cut-off, 1.92"),
            (-cut, f"t² cut-off for {count(k, 'trial')}, {number(cut, 2)}"),
        ],
        alt=f"Profile log-likelihood curves. {'; '.join(said)}. The wider cut-off crosses the "
        "curves further out.",
        caption="For each rate the best the likelihood can do. Where a curve falls below a "
        "cut-off, the interval ends. The lower line uses Student's t with as many degrees of "
        "freedom as trials less one.",
        name="profiles",
        csv=records_csv(lines),
    )


def intervals(question: Question) -> Html:
    """Tabulate the intervals of one model for the toy and for an estimand."""
    from analysis.estimands import pooled
    from analysis.pooling import pool

    names = {
        "wald": "estimate ± 1.96 standard errors",
        "t": "the same with t(k−1)",
        "profile": "profile, χ² cut-off",
        "bartlett": "profile, Bartlett-corrected cut-off",
        "profile-t": "profile, t² cut-off",
    }
    rows = []
    for kind, name in names.items():
        toy = pool(TOY.events, TOY.total, interval=kind)
        real = pooled(question.evidence, "glmm", interval=kind)
        assert real is not None
        rows.append(
            {
                "Interval": name,
                "Three toy trials": ci(toy.ci_low, toy.ci_high),
                question.label: ci(real.ci_low, real.ci_high),
            }
        )
    return html_table(
        rows,
        "One likelihood, five 95% intervals",
        id="five-intervals",
        numeric=["Three toy trials", question.label],
    )


def empty_trials(size: int = 20, most: int = 20) -> Html:
    """Draw what adding a half does to trials without any event.

    Parameters
    ----------
    size : int
        Patients of each trial.
    most : int
        Largest number of trials.
    """
    from analysis.pooling import pool

    k = np.arange(2, most + 1)
    corrected = [pool([0] * i, [size] * i, "dl", interval="wald") for i in k]
    binomial = [pool([0] * i, [size] * i, "glmm", interval="profile") for i in k]
    last, best = corrected[-1], binomial[-1]

    def column(fits: list[Fit], name: str) -> np.ndarray:
        return np.array([getattr(fit, name) for fit in fits])

    lines = [
        pictures.Curve("0.5 added: estimate", k, column(corrected, "estimate"), "pooled"),
        pictures.Curve(
            "0.5 added: lower limit", k, column(corrected, "ci_low"), "pooled", (4.0, 3.0)
        ),
        pictures.Curve("binomial model: upper limit", k, column(binomial, "ci_high"), "study"),
    ]
    return figure_block(
        pictures.curves,
        lines,
        x_label=f"trials with 0 events of {size} patients",
        y_label="rate",
        y_percent=True,
        y_range=(0.0, 0.06),
        whole=True,
        alt=f"With {most} trials of {size} patients and no event at all, the method that adds "
        f"0.5 estimates {pct(last.estimate, 1)} with a lower limit of {pct(last.ci_low, 1)}; "
        f"the binomial model's upper limit is {pct(best.ci_high, 1)}.",
        caption=f"Trials of {size} patients in none of which anything happened. Adding 0.5 "
        f"gives {pct(last.estimate, 1)} however many there are, and from some number of trials "
        "on its interval lies wholly above the upper limit of the model that counts.",
        name="empty-trials",
        csv=records_csv(lines),
    )


def spread_table() -> Html:
    """Tabulate where the middle 95% of trials lie for some values of tau."""
    from scipy.special import expit, logit

    rows = []
    for tau in SPREADS:
        row = {
            "τ": f"{tau:g}",
            "Odds ratio of two typical trials": number(math.exp(2.0 / math.sqrt(math.pi) * tau), 1),
        }
        for p in RATES:
            low, high = expit(logit(p) + 1.959964 * tau * np.array([-1.0, 1.0]))
            row[f"Median {pct(p)}"] = ci(float(low), float(high))
        rows.append(row)
    return html_table(
        rows,
        "Where the true rates of 95% of trials lie",
        id="spread",
        numeric=list(rows[0]),
        note="Two typical trials: the odds ratio that belongs to the expected difference of two "
        "trials' log odds, 2τ/√π.",
    )


def averages() -> Html:
    """Draw the population average against the rate in the median trial."""
    from scipy.special import logit

    from analysis.pooling import quadrature as quad

    rate = np.linspace(0.01, 0.99, 99)
    lines = [pictures.Curve("equal", rate, rate, "muted", (3.0, 2.0))]
    for tau, color in zip((0.5, 1.0, 1.5), DRAW, strict=True):
        value = quad.marginal_proportion(logit(rate), np.full(rate.shape, tau**2))[0]
        lines.append(pictures.Curve(f"τ = {tau:g}", rate, value, color))
    at = quad.marginal_proportion(logit(np.array([0.1])), np.array([2.25]))[0][0]
    return figure_block(
        pictures.curves,
        lines,
        x_label="rate in the median trial",
        y_label="population average",
        x_percent=True,
        y_percent=True,
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
        alt="The population average lies above the median trial's rate below 50% and under it "
        f"above 50%; at a median rate of 10% and tau 1.5 it is {pct(float(at))}.",
        caption="The average over trials of the true rates, against the rate in the median trial. "
        "The larger τ, the nearer the average lies to 50%.",
        name="averages",
        csv=records_csv(lines),
    )


def median_and_average(question: Question) -> Html:
    """Say both for an estimand."""
    fit = question.fit
    if fit is None or fit.marginal_estimate is None or fit.marginal_ci is None:
        return Html("<p>There is no pooled estimate to compare.</p>")
    return Html(
        f"<p>{escape(question.label)}, {escape(question.population)}: "
        f"{pct(fit.estimate)} in the median trial ({ci(fit.ci_low, fit.ci_high)}), "
        f"{pct(fit.marginal_estimate)} on average over trials ({ci(*fit.marginal_ci)}).</p>"
    )


def priors(question: Question) -> Html:
    """Tabulate the result of an estimand under several priors of tau, and by maximum likelihood."""
    from analysis.estimands import pooled

    fits = [
        (f"prior of τ half-normal({scale:g})", pooled(question.evidence, "bayes", tau_scale=scale))
        for scale in (0.5, 1.0, 2.0, 4.0)
    ]
    fits.append(
        ("maximum likelihood, profile χ²", pooled(question.evidence, "glmm", interval="profile"))
    )
    rows = [
        {
            "Model": name,
            "Estimate": pct(fit.estimate),
            "95% interval": ci(fit.ci_low, fit.ci_high),
            "τ": number(fit.tau2**0.5, 2),
        }
        for name, fit in fits
        if fit is not None and fit.estimate is not None and fit.tau2 is not None
    ]
    return html_table(
        rows,
        f"{question.label}, {question.population}: what the prior of τ does",
        id="priors",
        numeric=["Estimate", "95% interval", "τ"],
    )


def next_trial(question: Question) -> Html:
    """Tabulate several prediction intervals of an estimand beside the interval of the mean."""
    from analysis.estimands import pooled

    fit = pooled(question.evidence, "glmm", interval="profile-t")
    if fit is None or fit.pi_low is None or fit.estimate is None:
        return Html("<p>Too few trials for a prediction interval.</p>")
    rows = [
        {
            "What": "interval of the median trial, for comparison",
            "95%": ci(fit.ci_low, fit.ci_high),
        },
        {"What": "prediction interval, t(k−1)", "95%": ci(fit.pi_low, fit.pi_high)},
        {"What": "prediction interval, t(k−2)", "95%": ci(*fit.details["pi_t_k2"])},
    ]
    for scale in (0.5, 1.0, 2.0):
        bayes = pooled(question.evidence, "bayes", tau_scale=scale)
        assert bayes is not None
        rows.append(
            {
                "What": f"Bayesian prediction interval, τ scale {scale:g}",
                "95%": ci(bayes.pi_low, bayes.pi_high),
            }
        )
    return html_table(
        rows,
        f"{question.label}: where the median trial lies, and where the next one may",
        id="next-trial",
        numeric=["95%"],
    )
