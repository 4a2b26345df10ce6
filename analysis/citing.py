"""What the chapter on citing shows: every estimate with its identifier, and text for a paper."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from analysis import appraisal, chapter, tables, wording
from analysis.digest import data_date
from analysis.estimands import estimands
from analysis.identity import AUTHOR, TITLE, code_version
from analysis.markup import Html, attribute, copy_block, escape
from analysis.reporting import report

if TYPE_CHECKING:
    from analysis.pooling import Fit
    from analysis.reporting import Report

__all__ = ["RECORD", "book", "estimates", "record", "reports", "summary"]

#: What the keys of a record in ``data/estimates.json`` mean.
RECORD = {
    "estimate_id": "identifier: estimand, @, data version",
    "estimand_id": "the question, the same in every data version",
    "outcome": "outcome, as in outcomes.csv",
    "population": "population, as in analysis/estimands.toml",
    "trials": "number of cohorts pooled",
    "events": "patients with the outcome",
    "patients": "patients in the denominators",
    "model": "model of the main analysis, as in analysis.pooling.pool",
    "interval": "how the interval was formed, as in analysis.pooling.pool",
    "level": "level of every interval, 0.95",
    "estimate": "pooled proportion: the median trial",
    "ci_low": "lower limit of its interval",
    "ci_high": "upper limit of its interval",
    "pi_low": "lower limit of the prediction interval",
    "pi_high": "upper limit of the prediction interval",
    "marginal_estimate": "proportion averaged over trials",
    "mu": "pooled log odds",
    "se": "standard error of mu",
    "tau2": "variance between trials, log-odds scale",
    "i2": "I², percent",
    "q": "statistic of the test of heterogeneity",
    "q_p": "its p value",
    "lrt": "likelihood ratio, random against equal effects",
    "lrt_p": "its p value",
    "log_likelihood": "log-likelihood of the model",
    "tau2_low": "lower limit of tau2",
    "tau2_high": "upper limit of tau2; infinite where there is none",
    "records": "rows of extraction.csv that were pooled",
    "notes": "sentences on what the numbers lack",
    "data_version": "version of the data package",
    "data_sha256": "sha256 of its files",
    "code_version": "version of the code",
}


@lru_cache(maxsize=1)
def _questions() -> tuple[chapter.Question, ...]:
    return tuple(chapter.ask(target.id) for target in estimands(comparators=True))


def summary() -> Html:
    """Say how many estimates there are, and of which version."""
    data = chapter.dataset()
    text = (
        f"{wording.count(len(_questions()), 'estimate')} of data version {data.version}, each with "
        "an identifier that stays the same next year."
    )
    return Html(f'<p class="ev-block"><strong>{escape(text)}</strong></p>')


def book() -> Html:
    """Offer citations of the book as a whole."""
    data, year = chapter.dataset(), (data_date() or "")[:4]
    said = (
        f"{AUTHOR}{f' ({year})' if year else ''}. {TITLE}. Data version {data.version}, "
        f"data sha256 {data.sha256}, code version {code_version()}."
    )
    bib = (
        f"@misc{{cll-car-t-evidence-{data.version},\n"
        f"  author = {{{{{AUTHOR}}}}},\n"
        f"  title = {{{{{TITLE}}}}},\n"
        f"  edition = {{Data version {data.version}}},\n"
        f"  note = {{Data sha256 {data.sha256}, code version {code_version()}}},\n"
        + (f"  year = {{{year}}},\n" if year else "")
        + "}\n"
    )
    return copy_block("Book", said, id="book-cite-txt", prose=True) + copy_block(
        "BibTeX of the book",
        bib,
        id="book-cite-bib",
        filename=f"cll-car-t-evidence-{data.version}.bib",
        mime="application/x-bibtex",
    )


def estimates() -> Html:
    """List every estimate with its identifier and a link to its place, with a search."""
    version = chapter.dataset().version
    rows = []
    for question in _questions():
        address = f"{question.evidence.estimand.page}.html#{question.id}"
        rows.append(
            {
                "Identifier": Html(
                    f'<a href="{attribute(address)}">{escape(f"{question.id}@{version}")}</a>'
                ),
                "Outcome": question.label,
                "Population": question.evidence.estimand.population_short,
                "Trials": len(question.evidence.rows),
                **_numbers(question.fit),
                "Sentences": Html(f'<a href="#{attribute(question.id)}-report">for a paper</a>'),
            }
        )
    return tables.browse_table(
        rows,
        f"Every estimate of data version {version}",
        id="estimates-table",
        row_header="Identifier",
        filters=["Outcome", "Population"],
        csv_href="../_data/estimates.csv",
        note=f"{_interval_note()} τ is on the log-odds scale.",
    )


def record() -> Html:
    """Offer the machine-readable records and explain their keys."""
    rows = [{"Key": name, "Meaning": meaning} for name, meaning in RECORD.items()]
    table = tables.html_table(
        rows,
        "Keys of a record in estimates.json, columns of estimates.csv",
        id="record-table",
        row_header="Key",
    )
    files = wording.listing(
        f'<a href="../_data/{name}" download>{name}</a>'
        for name in ("estimates.csv", "estimates.json")
    )
    return Html(
        f"<p>Download: {files}.</p>\n"
        f'<details class="ev-more"><summary>What a record holds</summary>\n{table}\n</details>'
    )


def reports() -> Html:
    """Offer the sentences for a paper, estimate by estimate."""
    parts = []
    for question in _questions():
        name = attribute(question.id)
        title = f"{question.label}, {question.evidence.estimand.population_short}"
        said = written(question)
        if said is None:
            continue
        block = copy_block("Sentences", said.text, id=f"{question.id}-report-text", prose=True)
        parts.append(
            f'<details class="ev-more" id="{name}-report"><summary>{escape(title)}</summary>\n'
            f"{block}\n</details>"
        )
    return Html("\n".join(parts))


def written(question: chapter.Question) -> Report | None:
    """Write the sentences of one estimate; None where no trial reports the outcome."""
    if question.fit is None:
        return None
    return report(
        question.fit,
        chapter.citable(question),
        question.evidence.estimand.description,
        appraisal.said(question),
    )


def _interval_note() -> str:
    words = sorted(
        {
            wording.model_sentence(q.fit)
            for q in _questions()
            if q.fit and q.fit.estimate is not None
        }
    )
    return f"Model and interval: {'; '.join(words)}." if words else ""


def _numbers(fit: Fit | None) -> dict[str, Any]:
    """Return what the table prints of a result."""
    if fit is None:
        return {"Patients": 0, "Estimate": "not reported"}
    cells: dict[str, Any] = {"Patients": wording.patients(fit)}
    if fit.estimate is None:
        return cells | {"Estimate": "not pooled"}
    digits = wording.TABLE_DIGITS
    return cells | {
        "Estimate": wording.pct(fit.estimate, digits),
        "Interval": wording.ci(fit.ci_low, fit.ci_high, digits),
        "Prediction interval": (
            "" if fit.pi_low is None else wording.ci(fit.pi_low, fit.pi_high, digits)
        ),
        "τ": "" if fit.tau is None else wording.number(fit.tau, 2),
    }
