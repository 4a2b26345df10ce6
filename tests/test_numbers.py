"""The numbers on the pages, against a second computation that shares no code with the first.

From the CSV files alone: trials are selected by rules written out here, and the posterior of the
binomial-normal model is integrated on dense grids of the rate, the spread and the trials' own
rates. Nothing of the package is imported.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from functools import cache
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from bs4 import BeautifulSoup, Tag
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.interpolate import CubicSpline
from scipy.special import expit, logsumexp

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"

pytestmark = pytest.mark.book

OUTCOMES = {
    "orr": "overall-response",
    "cr": "complete-response",
    "crs_any": "cytokine-release",
    "crs_severe": "cytokine-release",
    "ntx_any": "neurotoxicity",
    "ntx_severe": "neurotoxicity",
    "umrd_blood": "undetectable-disease",
    "umrd_marrow": "undetectable-disease",
    "cytopenia_prolonged": "blood-and-infection",
    "hypogammaglobulinemia": "blood-and-infection",
    "infection_severe": "blood-and-infection",
    "death_treatment_related": "treatment-death",
}
PARTNER = {"cd19-single-agent": "none", "cd19-with-ibrutinib": "ibrutinib"}
ESTIMANDS = {
    f"{outcome.replace('_', '-')}-{population}": (outcome, population)
    for outcome in OUTCOMES
    for population in PARTNER
    if population == "cd19-single-agent" or OUTCOMES[outcome] != "blood-and-infection"
}
EVERY_ESTIMAND = pytest.mark.parametrize("name", ESTIMANDS)


# --- selection, by hand --------------------------------------------------------------------------


@cache
def rows_of(table: str) -> list[dict[str, str]]:
    with (DATA / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Trial:
    cohort: str
    label: str
    year: int
    events: int
    total: int


@cache
def selected(name: str) -> tuple[tuple[Trial, ...], tuple[Trial, ...]]:
    """Trials that are pooled, by year and name, and those left out as sharing their patients."""
    outcome, population = ESTIMANDS[name]
    kinds = {row["report_id"]: row["kind"] for row in rows_of("reports")}
    cohorts = {
        row["cohort_id"]: row
        for row in rows_of("cohorts")
        if row["disease"] == "CLL"
        and row["setting"] == "relapsed-refractory"
        and row["target"] == "CD19"
        and row["cell_source"] == "autologous"
        and row["infusion"] == "first"
        and row["design"] == "trial"
        and row["partner_drug"] == PARTNER[population]
    }
    candidates = []
    for row in rows_of("extraction"):
        if row["outcome"] != outcome or row["status"] != "used" or not row["events"]:
            continue
        if row["cohort_id"] in cohorts:
            cohort = cohorts[row["cohort_id"]]
            trial = Trial(
                row["cohort_id"],
                cohort["label"],
                int(cohort["year"] or 0),
                int(row["events"]),
                int(row["total"]),
            )
            own = kinds[row["report_id"]] == "trial paper"
            candidates.append((-trial.total, -trial.year, not own, trial.cohort, trial))
    shares = {frozenset((row["cohort_a"], row["cohort_b"])) for row in rows_of("overlaps")}
    kept: list[Trial] = []
    left: list[Trial] = []
    for *_, trial in sorted(candidates, key=lambda entry: entry[:4]):
        clash = any(frozenset((trial.cohort, other.cohort)) in shares for other in kept)
        (left if clash else kept).append(trial)
    return tuple(sorted(kept, key=lambda t: (t.year, t.label))), tuple(left)


# --- the model, once more ------------------------------------------------------------------------

PRIOR_MU, PRIOR_TAU = 2.5, 2.0  # normal and half-normal, logit scale
MU = np.linspace(-11.0, 11.0, 331)
Z = np.linspace(-8.0, 8.0, 161)  # a trial's log odds in units of tau, for small tau
THETA = np.linspace(-36.0, 36.0, 601)  # and as they are, for large tau
NARROW, WIDE = np.polynomial.legendre.leggauss(24), np.polynomial.legendre.leggauss(24)
CUT, FAR = 1.0, 9.0
TAU = np.concatenate([CUT * (NARROW[0] + 1) / 2, CUT + (FAR - CUT) * (WIDE[0] + 1) / 2])
TAU_WEIGHT = np.concatenate([CUT * NARROW[1] / 2, (FAR - CUT) * WIDE[1] / 2])
HERMITE = np.polynomial.hermite_e.hermegauss(40)


def log_likelihood(trials: tuple[Trial, ...], tau: float) -> NDArray:
    """Log-likelihood at each MU: events ~ Binomial(total, expit(mu + tau z)), z standard normal."""
    value = np.zeros(len(MU))
    for trial in trials:
        if tau < CUT:
            theta = MU[:, None] + tau * Z
            weight = stats.norm.logpdf(Z) + math.log(Z[1] - Z[0])
        else:
            theta = np.broadcast_to(THETA, (len(MU), len(THETA)))
            weight = stats.norm.logpdf(THETA, MU[:, None], tau) + math.log(THETA[1] - THETA[0])
        terms = trial.events * theta - trial.total * np.logaddexp(0.0, theta) + weight
        value += logsumexp(terms, axis=1)
    return value


@dataclass(frozen=True)
class Result:
    """Percent, as in the tables; tau on the logit scale."""

    trials: int
    patients: int
    events: int
    estimate: float
    low: float
    high: float
    tau: float
    prediction: tuple[float, float]


def quantile(x: NDArray, density: NDArray, share: float) -> float:
    """Where the integral of a spline through the density reaches a share of the whole."""
    rising = CubicSpline(x, density).antiderivative()
    total = float(rising(x[-1]))
    return float(optimize.brentq(lambda at: float(rising(at)) - share * total, x[0], x[-1]))


@cache
def recomputed(name: str) -> Result:
    trials, _ = selected(name)
    assert len(trials) > 1, "nothing to pool"
    log_density = np.array([log_likelihood(trials, float(tau)) for tau in TAU])
    log_density += (
        stats.norm.logpdf(MU, 0, PRIOR_MU) + stats.halfnorm.logpdf(TAU, 0, PRIOR_TAU)[:, None]
    )
    density = np.exp(log_density - log_density.max())  # (tau, mu)
    of_mu = TAU_WEIGHT @ density
    of_tau = density.sum(axis=1)
    low, middle, high = (quantile(MU, of_mu, share) for share in (0.025, 0.5, 0.975))

    given = [CubicSpline(MU, row).antiderivative() for row in density]
    total = sum(w * float(rise(MU[-1])) for w, rise in zip(TAU_WEIGHT, given, strict=True))

    def below(log_odds: float) -> float:
        """Probability that the next trial's log odds lie below."""
        share = 0.0
        for tau, weight, row, rise in zip(TAU, TAU_WEIGHT, density, given, strict=True):
            if tau < 0.2:
                at = np.clip(log_odds - tau * HERMITE[0], MU[0], MU[-1])
                part = float(HERMITE[1] @ rise(at)) / math.sqrt(2 * math.pi)
            else:
                part = float(row @ stats.norm.cdf((log_odds - MU) / tau)) * (MU[1] - MU[0])
            share += weight * part
        return share / total

    prediction = [
        float(optimize.brentq(lambda at, q=q: below(at) - q, -30, 30, xtol=1e-7))
        for q in (0.025, 0.975)
    ]
    return Result(
        trials=len(trials),
        patients=sum(t.total for t in trials),
        events=sum(t.events for t in trials),
        estimate=100 * expit(middle),
        low=100 * expit(low),
        high=100 * expit(high),
        tau=quantile(TAU, of_tau, 0.5),
        prediction=(100 * expit(prediction[0]), 100 * expit(prediction[1])),
    )


# --- reading the pages ---------------------------------------------------------------------------


@cache
def soup_of(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "lxml")


def article_of(path: Path) -> Tag:
    article = soup_of(path).select_one("article.bd-article")
    assert article is not None
    return article


def chapter_of(book: Path, name: str) -> Path:
    return book / "chapters" / f"{OUTCOMES[ESTIMANDS[name][0]]}.html"


def table_row(path: Path, table: str, name: str) -> dict[str, str]:
    """Cells of the row whose name links to the estimand, by the header of their column."""
    found = soup_of(path).find(id=table)
    assert isinstance(found, Tag), f"{path.name} has no table {table}"
    headers = [cell.get_text(" ", strip=True) for cell in found.select("thead th")]
    for row in found.select("tbody tr"):
        if row.select_one(f'a[href$="#{name}"]'):
            cells = [cell.get_text(" ", strip=True) for cell in row.select("th, td")]
            return dict(zip(headers, cells, strict=True))
    raise AssertionError(f"{table} of {path.name} has no row for {name}")


def number(text: str) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%?", text)
    assert match, f"{text!r} is not a number"
    return float(match[1])


def interval(text: str) -> tuple[float, float]:
    low, high = re.fullmatch(r"([0-9.]+)(?:%? to |\u2013)([0-9.]+)%", text).groups()  # type: ignore[union-attr]
    return float(low), float(high)


def decimals(text: str) -> int:
    return max(len(part) for part in re.findall(r"\d+\.?(\d*)", text))


def shows(text: str, value: float) -> bool:
    """Whether a printed number is the value, rounded; a hair is left to the two integrations."""
    return abs(number(text) - value) <= 0.5 * 10 ** -decimals(text) + 0.002


def interval_shows(text: str, limits: tuple[float, float]) -> bool:
    tolerance = 0.5 * 10 ** -decimals(text) + 0.002
    return all(abs(a - b) <= tolerance for a, b in zip(interval(text), limits, strict=True))


def has_result(name: str) -> bool:
    return len(selected(name)[0]) > 1


# --- tables --------------------------------------------------------------------------------------


@EVERY_ESTIMAND
@pytest.mark.parametrize("table", ["headline", "results"])
def test_tables_show_the_recomputed_result(built_book: Path, name: str, table: str) -> None:
    page = built_book / "chapters" / "index.html" if table == "headline" else None
    cells = table_row(page or chapter_of(built_book, name), table, name)
    trials, _ = selected(name)
    assert int(cells["Trials"]) == len(trials)
    assert int(cells["Patients"]) == sum(t.total for t in trials)
    if not has_result(name):
        assert cells["Estimate"] == "not pooled"
        assert not any(re.search(r"\d", cells[h]) for h in cells if h.startswith(("95%", "\u03c4")))
        return
    result = recomputed(name)
    assert shows(cells["Estimate"], result.estimate), (cells, result)
    assert interval_shows(cells["95% interval"], (result.low, result.high)), (cells, result)
    assert shows(cells["\u03c4"], result.tau), (cells, result)
    assert interval_shows(cells["95% prediction interval"], result.prediction), (cells, result)


def test_headline_has_every_estimand_once(built_book: Path) -> None:
    table = soup_of(built_book / "chapters" / "index.html").find(id="headline")
    assert isinstance(table, Tag)
    links = [str(a["href"]) for a in table.select("tbody th a")]
    assert sorted(links) == sorted(
        f"{OUTCOMES[outcome]}.html#{name}" for name, (outcome, _) in ESTIMANDS.items()
    )


def test_tables_differ_where_results_differ(built_book: Path) -> None:
    """A guard on these tests: were every cell the same, they would still have to fail."""
    page = built_book / "chapters" / "index.html"
    estimates = [table_row(page, "headline", name)["Estimate"] for name in ESTIMANDS]
    assert len(set(estimates)) > 8


@EVERY_ESTIMAND
def test_table_of_trials_is_the_selection(built_book: Path, name: str) -> None:
    table = soup_of(chapter_of(built_book, name)).find(id=f"{name}-trials")
    assert isinstance(table, Tag)
    shown = []
    for row in table.select("tbody tr"):
        cells = {
            str(c.get("data-label")): c.get_text(" ", strip=True) for c in row.select("th, td")
        }
        shown.append((cells["Trial"], int(cells["Events"]), int(cells["Patients"])))
    pooled, shared = selected(name)
    expected = [(t.label, t.events, t.total) for t in pooled]
    assert shown[: len(pooled)] == expected
    rest = {(x, n) for _, x, n in shown[len(pooled) :]}
    assert len(shown) == len(pooled) + len(shared)
    assert rest == {(t.events, t.total) for t in shared}


@EVERY_ESTIMAND
def test_every_trial_has_its_wilson_interval_in_the_table(built_book: Path, name: str) -> None:
    table = soup_of(chapter_of(built_book, name)).find(id=f"{name}-trials")
    assert isinstance(table, Tag)
    for row, trial in zip(table.select("tbody tr"), selected(name)[0], strict=False):
        cells = {
            str(c.get("data-label")): c.get_text(" ", strip=True) for c in row.select("th, td")
        }
        wilson = stats.binomtest(trial.events, trial.total).proportion_ci(method="wilson")
        assert shows(cells["Percent"], 100 * trial.events / trial.total)
        limits = (100 * float(wilson.low), 100 * float(wilson.high))
        assert interval_shows(cells["95% interval"], limits), (cells, limits)


# --- sentences -----------------------------------------------------------------------------------


def pasted(book: Path) -> list[tuple[str, str, str]]:
    """Numbers in running text: (estimand, name, text as shown), by the order of the source."""
    found = []
    for page in sorted(set(OUTCOMES.values())):
        source = (ROOT / "chapters" / f"{page}.md").read_text(encoding="utf-8")
        names = re.findall(r"\{glue:text\}`([a-z0-9-]+)\.([a-z_]+)`", source)
        spans = article_of(book / "chapters" / f"{page}.html").select("span.pasted-text")
        texts = [span.get_text(strip=True) for span in spans]
        assert len(texts) == len(names), page
        found += [(*name, text) for name, text in zip(names, texts, strict=True)]
    return found


def test_numbers_in_sentences_are_those_of_the_recomputation_and_the_table(
    built_book: Path,
) -> None:
    numbers = pasted(built_book)
    assert len(numbers) > 15
    for name, what, text in numbers:
        trials, _ = selected(name)
        cells = table_row(chapter_of(built_book, name), "results", name)
        where = f"{name}.{what}: {text}"
        if what in ("trials", "patients", "events"):
            expected = {
                "trials": len(trials),
                "patients": sum(t.total for t in trials),
                "events": sum(t.events for t in trials),
            }[what]
            assert text == str(expected), where
            if what != "events":
                assert text == cells[what.capitalize()], where
            continue
        result = recomputed(name)
        if what in ("estimate", "tau"):
            assert shows(text, getattr(result, what)), where
            cell = cells["Estimate" if what == "estimate" else "\u03c4"]
            assert abs(number(text) - number(cell)) <= 0.5 * 10 ** -decimals(text) + 0.05, where
        else:
            header = {"interval": "95% interval", "prediction": "95% prediction interval"}[what]
            limits = {"interval": (result.low, result.high), "prediction": result.prediction}[what]
            assert interval_shows(text, limits), where
            both = zip(interval(text), interval(cells[header]), strict=True)
            assert all(abs(a - b) <= 0.5 * 10 ** -decimals(text) + 0.05 for a, b in both), where


FINDING = re.compile(
    r"(\d+(?:\.\d)?%) \(95% CrI (\d+(?:\.\d)?% to \d+(?:\.\d)?%); (\d+) trials, (\d+) patients\)"
    r"\.(?: In a new trial the percentage is expected between (\d+(?:\.\d)?%) and (\d+(?:\.\d)?%))?"
)


@EVERY_ESTIMAND
def test_alternative_text_and_citation_state_the_result(built_book: Path, name: str) -> None:
    soup = soup_of(chapter_of(built_book, name))
    drawing = soup.select_one(f'figure[id="{name}-forest"] svg')
    assert drawing is not None
    cites = [d.get_text(" ") for d in soup.select("details.ev-cite") if f"{name}@" in d.get_text()]
    assert len(cites) == 1
    for text in (str(drawing["aria-label"]), cites[0]):
        if not has_result(name):
            (trial,) = selected(name)[0]
            assert f"{trial.events} of {trial.total} patients" in text
            assert "not pooled" in text
            continue
        result = recomputed(name)
        match = FINDING.search(text)
        assert match, text
        assert shows(match[1], result.estimate)
        assert interval_shows(match[2], (result.low, result.high))
        assert (int(match[3]), int(match[4])) == (result.trials, result.patients)
        assert interval_shows(f"{match[5]} to {match[6]}", result.prediction)
    assert re.search(r"data sha256 [0-9a-f]{64}\b", cites[0])
    assert f"python -m analysis estimate {name}" in " ".join(cites[0].split())


@pytest.mark.parametrize("page", sorted(set(OUTCOMES.values())))
def test_the_answer_at_the_top_states_each_result(built_book: Path, page: str) -> None:
    lines = article_of(built_book / "chapters" / f"{page}.html").get_text("\n")
    stated = [
        (match[1], match[2], int(match[3]), int(match[4])) for match in FINDING.finditer(lines)
    ]
    for name, (outcome, _) in ESTIMANDS.items():
        if OUTCOMES[outcome] != page or not has_result(name):
            continue
        result = recomputed(name)
        assert any(
            shows(estimate, result.estimate)
            and interval_shows(limits, (result.low, result.high))
            and (trials, patients) == (result.trials, result.patients)
            for estimate, limits, trials, patients in stated
        ), name


# --- figures -------------------------------------------------------------------------------------


@EVERY_ESTIMAND
def test_forest_plots_show_the_counts_of_the_csv(built_book: Path, name: str) -> None:
    figure = soup_of(chapter_of(built_book, name)).find("figure", id=f"{name}-forest")
    assert isinstance(figure, Tag)
    drawings = figure.find_all("svg")
    assert drawings
    pooled, shared = selected(name)
    expected = [f"{t.events}/{t.total}" for t in pooled]
    for drawing in drawings:
        words = [text.get_text(" ", strip=True) for text in drawing.find_all("text")]
        fractions = [word for word in words if re.fullmatch(r"\d+/\d+", word)]
        assert fractions[: len(expected)] == expected
        rest = fractions[len(expected) :]
        if has_result(name):
            events, total = sum(t.events for t in pooled), sum(t.total for t in pooled)
            assert f"{events}/{total}" in rest
            rest.remove(f"{events}/{total}")
        assert sorted(rest) == sorted(f"{t.events}/{t.total}" for t in shared)
        together = "".join("".join(words).split())
        for trial in (*pooled, *shared):
            assert "".join(trial.label.split()) in together, trial.label


@EVERY_ESTIMAND
def test_forest_plots_place_the_diamond_where_the_result_is(built_book: Path, name: str) -> None:
    """The diamond spans the interval: its ends and its middle, on the axis that is drawn."""
    if not has_result(name):
        return
    result = recomputed(name)
    figure = soup_of(chapter_of(built_book, name)).find("figure", id=f"{name}-forest")
    assert isinstance(figure, Tag)
    source = str(figure)
    match = re.search(r"data:image/svg\+xml[^,]*,([^\"']+)", source)
    assert match, "no SVG to download"
    svg = unquote(unescape(match[1]))
    diamond = re.search(r'id="[^"]*diamond[^"]*"[^>]*>\s*<path[^>]* d="([^"]+)"', svg)
    assert diamond, "no diamond"
    points = [float(v) for v in re.findall(r"[ML] ([0-9.]+) [0-9.]+", diamond[1])]
    low, middle, high = min(points), sorted(points)[1], max(points)
    share = (middle - low) / (high - low)
    expected = (result.estimate - result.low) / (result.high - result.low)
    assert share == pytest.approx(expected, abs=0.01)


# --- nothing that is not meant for readers -------------------------------------------------------


def pages(book: Path) -> list[Path]:
    found = sorted((book / "chapters").glob("*.html"))
    assert len(found) > 5
    return found


def shown_text(article: Tag) -> str:
    copy = BeautifulSoup(str(article), "lxml")
    for tag in copy.select("pre, code, script, style"):
        tag.decompose()
    named = [str(t[a]) for a in ("aria-label", "title", "alt") for t in copy.select(f"[{a}]")]
    return copy.get_text(" ") + " ".join(named)


def test_no_page_shows_a_missing_value(built_book: Path) -> None:
    none_in_data = {
        cell
        for path in DATA.glob("*.csv")
        for row in csv.reader(path.read_text(encoding="utf-8").splitlines())
        for cell in row
        if re.search(r"\bNone\b", cell)
    }
    for path in pages(built_book):
        text = " ".join(shown_text(article_of(path)).split())
        for word in ("nan", "NaN", "NaT", "<NA>", "undefined", "null"):
            assert not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text), (path.name, word)
        text = text.replace("None: all trials", "").replace("(None)", "")
        for cell in none_in_data - {"None"}:
            text = text.replace(" ".join(cell.split()), "")
        assert not re.findall(r".{0,30}\bNone\b(?! of th).{0,30}", text), path.name


def test_no_drawing_has_a_coordinate_that_is_no_number(built_book: Path) -> None:
    for path in pages(built_book):
        for tag in article_of(path).select("svg *"):
            for value in tag.attrs.values():
                assert not re.search(r"(?i)(?<![a-z])(nan|inf)(?![a-z])", str(value)), path.name


def test_downloads_inside_pages_have_no_missing_value(built_book: Path) -> None:
    for path in pages(built_book):
        for link in article_of(path).select('a[href^="data:text/csv"]'):
            content = unquote(str(link["href"]).split(",", 1)[1])
            cells = [cell for row in csv.reader(content.splitlines()) for cell in row]
            assert cells, path.name
            assert not {"nan", "NaN", "None", "inf", "<NA>"} & set(cells), path.name


ALLOWED = set(
    re.findall(
        r"\w+",
        "a abbr article b blockquote br button caption circle cite clippath code col colgroup dd "
        "defs desc details div dl dt em fieldset figcaption figure footer form g h1 h2 h3 h4 hr i "
        "img input label legend li line math ol optgroup option p path polygon polyline pre rect "
        "script section select small span strong sub summary sup svg table tbody td text tfoot th "
        "thead title tr tspan ul use",
    )
)


def test_data_brings_no_element_and_no_script_to_a_page(built_book: Path) -> None:
    for path in pages(built_book):
        article = article_of(path)
        assert {tag.name for tag in article.find_all(True)} <= ALLOWED, path.name
        for tag in article.find_all(True):
            assert not [name for name in tag.attrs if name.lower().startswith("on")], tag.name
            for name in ("href", "src", "action"):
                address = str(tag.get(name, "")).strip().lower()
                assert not address.startswith(("javascript:", "vbscript:", "data:text/html"))


def test_signs_in_the_data_are_shown_as_they_are(built_book: Path) -> None:
    """Cells with <, > and & stand on the data page as text, once unescaped."""
    text = " ".join(article_of(built_book / "chapters" / "data.html").get_text(" ").split())
    columns = ("value_text", "criteria", "locator", "reason")
    cells = {
        row[column]
        for row in rows_of("extraction")
        for column in columns
        if re.search("[<>&]", row[column])
    }
    assert cells
    for cell in cells:
        assert " ".join(cell.split()) in text, cell
    assert not re.search(r"&(lt|gt|amp|quot|#x27|#39);", text)


def test_downloads_beside_the_pages_are_the_files_of_the_data_package(built_book: Path) -> None:
    copied = sorted(path.name for path in (built_book / "_data").glob("*.csv"))
    assert {"extraction.csv", "cohorts.csv", "reports.csv", "estimates.csv"} <= set(copied)
    for name in copied:
        assert (built_book / "_data" / name).read_bytes() == (DATA / name).read_bytes(), name
