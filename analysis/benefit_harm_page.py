"""What the chapter on benefit and harm shows: sentences, pictures and tables."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from analysis import benefit_harm, benefit_harm_figures, chapter, figures, tables
from analysis.benefit_harm import Pair, Side, Trial
from analysis.benefit_harm_figures import Cross, Hundred, Panel, of_hundred
from analysis.markup import Html, escape
from analysis.wording import TABLE_DIGITS, ci, count, number, pct

if TYPE_CHECKING:
    from analysis.pooling import Fit

__all__ = [
    "answer",
    "bounds_table",
    "correlation_reading",
    "correlation_table",
    "hundred_figure",
    "plane_figure",
    "pooled_table",
    "trials_table",
]

#: Names short enough for a table or the axis of a small picture.
SHORT = {"crs_severe": "Severe CRS", "ntx_severe": "Severe neurotoxicity"}
#: Correlations between trials to try, where the data cannot tell.
TRIED = (-0.8, 0.0, 0.8)
#: Share of the width of its prior above which an interval of the correlation says nothing.
HARDLY = 0.9


@lru_cache(maxsize=8)
def _pairs(population: str) -> tuple[Pair, ...]:
    return benefit_harm.pairs(chapter.dataset(), population)


def _rates(population: str) -> list[Hundred]:
    """Response and toxicities that can be pooled, as counts of 100."""
    pairs = _pairs(population)
    fits: list[tuple[str, Fit | None, bool]] = [
        (pairs[0].benefit_label, pairs[0].fit_benefit, False),
        *((both.harm_label, both.fit_harm, True) for both in pairs),
    ]
    rates = []
    for label, fit, harm in fits:
        if fit is None or fit.estimate is None or fit.ci_low is None or fit.ci_high is None:
            continue
        rates.append(Hundred(label, fit.estimate, fit.ci_low, fit.ci_high, harm))
    return rates


# ------------------------------------------------------------------ sentences


def answer(populations: list[str]) -> Html:
    """Say, for each population, how many of 100 patients respond and are severely harmed."""
    parts = []
    for name in populations:
        pairs = _pairs(name)
        said = []
        for rate in _rates(name):
            low, middle, high = of_hundred(rate)
            said.append(f"{rate.label}: {middle} of 100 patients (95% interval {low} to {high}).")
        for both in pairs:
            short = SHORT[both.harm].replace("Severe", "severe")
            said.append(
                f"{count(len(both.both), 'trial')} with a figure for response and for {short}, of "
                f"{len(both.trials)} with one or the other."
            )
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in said)
        label = pairs[0].population_label
        parts.append(f'<p class="ev-population">{escape(label)}</p>\n<ul>{items}</ul>')
    return Html(f'<div class="ev-block ev-answers">{"".join(parts)}</div>')


# ------------------------------------------------------------------ pictures


def _cross(trial: Trial) -> Cross:
    def rate(side: Side | None) -> float | None:
        return None if side is None else side.rate

    def span(side: Side | None) -> tuple[float, float] | None:
        return None if side is None else (side.low, side.high)

    return Cross(
        trial.label,
        rate(trial.harm),
        span(trial.harm),
        rate(trial.benefit),
        span(trial.benefit),
    )


def _panel(both: Pair) -> Panel:
    region = both.region
    return Panel(
        x_name=SHORT[both.harm],
        y_name=both.benefit_label,
        crosses=tuple(_cross(trial) for trial in both.trials),
        point=None if region is None else region.point,
        outlines=() if region is None else tuple(region.outline()),
        sides=None if region is None else region.sides,
    )


def plane_figure(population: str) -> Html:
    """Draw response against each severe toxicity, with the region of the pooled means."""
    pairs = _pairs(population)
    panels = [_panel(both) for both in pairs]
    label = pairs[0].population_label
    return figures.figure_block(
        benefit_harm_figures.plane,
        panels,
        alt=benefit_harm_figures.alt_plane(f"Response and severe toxicity, {label}", panels),
        caption=f"{label}: response (upward) and severe toxicity (to the right), in percent of the "
        "patients. Upper left: more response, less severe toxicity. Crosses: 95% Wilson intervals. "
        "The shaded region holds the two pooled means with 95% probability if their estimates are "
        "independent; the dashed rectangle with at least 95%, whatever links them.",
        name=f"{population}-plane",
        csv=_trials_csv(pairs),
    )


def hundred_figure(population: str) -> Html:
    """Draw the pooled rates as squares for 100 patients."""
    rates = _rates(population)
    label = _pairs(population)[0].population_label
    if not rates:
        return Html(f"<p>{escape(label)}: nothing can be pooled.</p>")
    return figures.figure_block(
        benefit_harm_figures.hundred,
        rates,
        alt=benefit_harm_figures.alt_hundred(label, rates),
        caption=f"{label}: of 100 patients of the median trial, by the pooled rates. Each grid "
        "counts all 100 patients on its own; which patients are in two grids is not known.",
        name=f"{population}-hundred",
        csv=tables.records_csv(rates),
    )


# ------------------------------------------------------------------ tables


def _said(side: Side | None) -> str:
    return "no figure" if side is None else f"{side.events}/{side.total} ({pct(side.rate)})"


def _trials_csv(pairs: tuple[Pair, ...]) -> str:
    rows: list[dict[str, Any]] = []
    for both in pairs:
        for trial in both.trials:
            bounds = trial.without_harm
            row: dict[str, Any] = {"harm": both.harm, "trial": trial.label}
            for name, side in (("response", trial.benefit), ("harm", trial.harm)):
                row[f"{name}_events"] = None if side is None else side.events
                row[f"{name}_total"] = None if side is None else side.total
            row["without_harm_low"] = None if bounds is None else bounds[0]
            row["without_harm_high"] = None if bounds is None else bounds[1]
            rows.append(row)
    return tables.to_csv(rows)


def trials_table(population: str) -> Html:
    """Tabulate the trials with response, severe toxicities, and the source of each figure."""
    pairs = _pairs(population)
    by_harm = [{trial.cohort_id: trial for trial in both.trials} for both in pairs]
    rows = []
    for name in dict.fromkeys(name for trials in by_harm for name in trials):
        there = [trials.get(name) for trials in by_harm]
        known = [trial for trial in there if trial is not None]
        row: dict[str, Any] = {
            "Trial": known[0].label,
            "Response": _said(next((t.benefit for t in known if t.benefit), None)),
        }
        used = [t.row_benefit for t in known if t.row_benefit is not None][:1]
        for both, trial in zip(pairs, there, strict=True):
            row[SHORT[both.harm]] = _said(None if trial is None else trial.harm)
            used += [trial.row_harm] if trial is not None and trial.row_harm is not None else []
        row["Sources"] = Html("; ".join(str(chapter.source(entry)) for entry in used))
        rows.append(row)
    return tables.html_table(
        rows,
        f"{pairs[0].population_label}: response and severe toxicity by trial",
        id=f"{population}-both",
        row_header="Trial",
        stack=True,
        csv=_trials_csv(pairs),
        note="Response is counted among evaluable patients, toxicity among infused patients. One "
        "cohort per patient set, as on the page of each outcome.",
    )


def pooled_table(populations: list[str]) -> Html:
    """Tabulate the pooled means and the sides of the rectangle that holds both."""
    rows = []
    for name in populations:
        for both in _pairs(name):
            row: dict[str, Any] = {
                "Toxicity": SHORT[both.harm],
                "Population": both.population_short,
                "Trials with response, toxicity, both": (
                    f"{_k(both.fit_benefit)}, {_k(both.fit_harm)}, {len(both.both)}"
                ),
            }
            region = both.region
            if region is None:
                rows.append(row | {"Pooled response": "not pooled"})
                continue
            row |= {
                "Pooled response": pct(region.point[1], TABLE_DIGITS),
                "Response, both at once": ci(*region.sides[1], TABLE_DIGITS),
                "Pooled toxicity": pct(region.point[0], TABLE_DIGITS),
                "Toxicity, both at once": ci(*region.sides[0], TABLE_DIGITS),
            }
            rows.append(row)
    return tables.html_table(
        rows,
        "Pooled response and severe toxicity together",
        id="benefit-harm-pooled",
        row_header="Toxicity",
        numeric=[
            "Pooled response",
            "Response, both at once",
            "Pooled toxicity",
            "Toxicity, both at once",
        ],
        stack=True,
        note="Both at once: sides of the dashed rectangle, which holds the two means together with "
        "at least 95% probability. They are wider than the intervals of one outcome alone.",
    )


def _k(fit: Fit | None) -> int:
    return 0 if fit is None else len(fit.events)


def bounds_table(populations: list[str]) -> Html:
    """Tabulate the bounds of the share that responds without the severe toxicity."""
    rows = []
    for name in populations:
        for both in _pairs(name):
            shown = [(trial.label, trial.without_harm) for trial in both.both]
            shown.append(("Pooled rates", both.without_harm))
            rows += [
                {
                    "Trial": label,
                    "Population": both.population_short,
                    "Response without": SHORT[both.harm].replace("Severe", "severe"),
                    "Possible share": "not pooled" if limits is None else ci(*limits),
                }
                for label, limits in shown
            ]
    return tables.html_table(
        rows,
        "Response without severe toxicity: what the printed rates allow",
        id="benefit-harm-bounds",
        row_header="Trial",
        numeric=["Possible share"],
        stack=True,
        note="From the two rates alone, as if both had one denominator, and without the chance "
        "error of either.",
    )


def correlation_reading(populations: list[str]) -> Html:
    """Say in words what the data tell about the correlation between trials."""
    said, widths = [], []
    for name in populations:
        for both in _pairs(name):
            if both.region is None:
                continue
            fit = benefit_harm.with_correlation(both)
            assert fit.rho_interval is not None  # it was estimated
            low, high = fit.rho_interval
            widths.append((high - low) / (2 * fit.level))
            said.append(
                f"{SHORT[both.harm]}, {both.population_short}: {number(low, 2)} to "
                f"{number(high, 2)} ({count(fit.k_both, 'trial')} with both)"
            )
    if not said:
        return Html("<p>No pair of outcomes can be pooled.</p>")
    text = (
        f"95% interval of the correlation between trials: {'; '.join(said)}. Before any data the "
        "interval is −0.95 to 0.95. "
    )
    if min(widths) > HARDLY:
        text += "The data hardly narrow it: the correlation is not estimated here."
    else:
        text += f"The narrowest is {number(100 * min(widths), 0)}% as wide as without data."
    return Html(f"<p>{escape(text)}</p>")


def correlation_table(populations: list[str]) -> Html:
    """Tabulate the pooled means under several correlations between trials."""
    rows = []
    for name in populations:
        for both in _pairs(name):
            if both.region is None:
                continue
            for rho in TRIED:
                fit = benefit_harm.with_correlation(both, rho)
                harm, response = fit.interval
                rows.append(
                    {
                        "Toxicity": SHORT[both.harm],
                        "Population": both.population_short,
                        "Correlation between trials": number(rho, 1),
                        "Response": f"{pct(fit.estimate[1])} ({_span(response)})",
                        "Toxicity rate": f"{pct(fit.estimate[0])} ({_span(harm)})",
                        "Correlation of the means": number(fit.correlation, 2),
                    }
                )
    if not rows:
        return Html("")
    return tables.html_table(
        rows,
        "The two means under other correlations between trials",
        id="benefit-harm-correlation",
        row_header="Toxicity",
        numeric=list(rows[0])[2:],
        stack=True,
        note="Logits with known variances, half an event added to empty cells; 95% intervals of "
        "each mean on its own.",
    )


def _span(limits: tuple[float, float]) -> str:
    return ci(*limits).removesuffix("%")
