"""The outcome chapters: one pattern for all, and what the sources leave open."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations, pairwise, product
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from analysis import appraisal, bounds, chapter, residual, scales, shown
from analysis.data import Dataset
from analysis.estimands import estimands
from analysis.estimands import shown as registry

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted({target.page for target in estimands()})
HARM_PAGES = ("cytokine-release", "neurotoxicity", "blood-and-infection", "treatment-death")
PARTS = (
    "does-one-trial-decide-the-result",
    "does-the-model-decide-the-result",
    "would-another-reading-of-the-sources-change-it",
    "would-other-reports-of-the-same-patients-change-it",
)

# Read from data/outcomes.csv by hand: what is not a result of the treatment, and what the chapter
# on durability shows.
NO_RESULT = {
    "n_enrolled", "n_infused", "n_evaluable", "n_safety", "n_subset", "n_cll", "n_richter",
    "age_median", "prior_lines_median", "prior_ibrutinib", "prior_venetoclax",
    "prior_btki_and_venetoclax", "btki_refractory", "venetoclax_refractory",
    "btki_progression_venetoclax_failure", "pirtobrutinib_last_line", "high_risk", "bulky_nodes",
    "bridging", "hypogammaglobulinemia_baseline", "ibrutinib_full_dose", "ibrutinib_ongoing",
    "ibrutinib_duration_median", "lymphodepletion_regimen", "dose_level_n", "dose",
    "lymphodepletion", "vector", "costimulatory_domain", "response_criteria", "mrd_definition",
    "eligibility", "design", "sites", "not_infused_reason", "label", "survival_note",
    "overlap_note", "any",
}  # fmt: skip
DURABILITY = {
    "pfs", "os", "dor", "pfs_median", "os_median", "dor_median", "pfs_hazard_ratio",
    "follow_up_median", "remission_ongoing", "durable_response", "relapse_in_cr",
    "persistence_longest",
}  # fmt: skip


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return chapter.dataset()


@pytest.fixture(scope="module")
def asked() -> dict[str, list[chapter.Question]]:
    return {page: chapter.questions(page) for page in PAGES}


def soup(html: object) -> BeautifulSoup:
    return BeautifulSoup(str(html), "lxml")


def ids(html: object) -> list[str]:
    return [str(tag["id"]) for tag in soup(html).select("[id]")]


# ------------------------------------------------------------------------------ the pattern


def test_the_chapters_share_the_questions_of_the_registry(
    asked: dict[str, list[chapter.Question]],
) -> None:
    of_pages = [question.id for questions in asked.values() for question in questions]
    assert sorted(of_pages) == sorted(target.id for target in estimands())
    with pytest.raises(ValueError, match=r"no estimand .* has the chapter 'no-such-page'"):
        chapter.questions("no-such-page")


@pytest.mark.parametrize("page", PAGES)
def test_each_chapter_shows_every_question_under_its_anchor(page: str) -> None:
    text = (ROOT / "chapters" / f"{page}.md").read_text(encoding="utf-8")
    wanted = [target.id for target in estimands() if target.page == page]
    assert sorted(re.findall(r"^\(([a-z0-9-]+)\)=$", text, re.M)) == sorted(wanted)
    assert text.count("chapter.section(") == len(wanted)
    assert text.count("chapter.sensitivity(questions)") == 1
    # the names are given in the order of the registry, so that a section shows what its anchor says
    names = re.search(r"^([a-z_, ]+) = questions$", text, re.M)
    assert names is not None
    order = dict(zip(wanted, names[1].split(", "), strict=True))
    sections = re.findall(r"^\(([a-z0-9-]+)\)=$.*?chapter\.section\((\w+)\)", text, re.M | re.S)
    assert {anchor: name for anchor, name in sections} == order


@pytest.mark.parametrize("page", ["complete-response", "treatment-death"])
def test_a_section_has_the_forest_plot_the_certainty_the_trials_and_the_citation_in_order(
    asked: dict[str, list[chapter.Question]], page: str
) -> None:
    for question in asked[page]:
        section = chapter.section(question).source
        assert f"{question.id}-trials" in ids(section)
        parts = (chapter.forest, appraisal.line, chapter.trials, chapter.cite)
        places = [section.index(part(question).source) for part in parts]
        assert places == sorted(places)


@pytest.mark.parametrize("page", ["undetectable-disease", "treatment-death"])
def test_sensitivity_names_or_shows_every_question_in_every_part(
    asked: dict[str, list[chapter.Question]], page: str
) -> None:
    html = chapter.sensitivity(asked[page])
    parts = soup(html).select("h3")
    assert tuple(str(tag["id"]) for tag in parts) == PARTS
    drawn = re.split(r"<h3 ", html.source)[1:]
    for part, kind in zip(drawn, ("leave-one-out", "models", "readings", "choices"), strict=True):
        text = soup(part).get_text(" ")
        for question in asked[page]:
            short = f"{question.label} ({question.evidence.estimand.population_short})"
            seen = f"{question.id}-{kind}" in part
            named = short in text or "All results of this page" in text
            assert seen != named, f"{kind}: {question.id}"


def test_an_outcome_that_nobody_counts_in_a_population_is_said(
    asked: dict[str, list[chapter.Question]],
) -> None:
    said = soup(chapter.unreported(asked["blood-and-infection"])).get_text(" ")
    assert "with ibrutinib: no trial has a count for prolonged cytopenia" in said
    said = soup(chapter.unreported(asked["treatment-death"])).get_text(" ")
    assert said.strip() == "Every population has a count for each."


# ------------------------------------------------------------------ nothing is left unsaid


def test_every_outcome_of_a_cll_cohort_is_pooled_or_shown(dataset: Dataset) -> None:
    cll = set(dataset.cohorts.loc[dataset.cohorts["disease"] == "CLL", "cohort_id"])
    rows = dataset.extraction
    rows = rows[rows["cohort_id"].isin(cll) & ~rows["status"].isin(shown.HIDDEN)]
    placed = {target.outcome for target in estimands()} | {entry.outcome for entry in registry()}
    assert not placed & (NO_RESULT | DURABILITY)
    assert set(rows["outcome"]) <= placed | NO_RESULT | DURABILITY


def test_an_outcome_shown_without_a_reason_cannot_be_pooled(dataset: Dataset) -> None:
    pooled = {target.outcome for target in estimands()}
    kinds = dataset.outcomes.set_index("outcome_id")["kind"]
    for entry in registry():
        assert entry.outcome in kinds.index
        assert entry.outcome not in pooled
        if not entry.reason and kinds[entry.outcome] == "proportion":
            assert shown.most_trials(dataset, entry.outcome) < 2, entry.outcome
        assert shown.why(dataset, entry)


@pytest.mark.parametrize("page", sorted({entry.page for entry in registry()}))
def test_what_is_not_pooled_stands_in_its_chapter(dataset: Dataset, page: str) -> None:
    text = (ROOT / "chapters" / f"{page}.md").read_text(encoding="utf-8")
    assert f'shown.table(chapter.dataset(), "{page}")' in text
    table = soup(shown.table(dataset, page))
    rows = table.select("tbody tr")
    figures = shown.figures_of(dataset, [entry.outcome for entry in registry(page)])
    assert len(rows) == len(figures)
    for row in rows:
        cells = [cell.get_text(" ").strip() for cell in row.select("th, td")]
        assert all(cells), cells


def test_partial_responses_are_shown_with_their_counts(dataset: Dataset) -> None:
    text = soup(shown.table(dataset, "overall-response")).get_text(" ")
    assert re.search(r"Partial response\s+Porter 2015\s+4/14", text)
    with pytest.raises(ValueError, match="no outcome on the page 'data'"):
        shown.table(dataset, "data")


# ------------------------------------------------------------ trials that do not report


def named(found: tuple[bounds.Silent, ...]) -> dict[str, tuple[int, int, int]]:
    return {trial.cohort_id: (trial.total, trial.least, trial.most) for trial in found}


def test_silent_trials_by_hand(dataset: Dataset, asked: dict[str, list[chapter.Question]]) -> None:
    """Read from cohorts.csv, overlaps.csv and extraction.csv."""
    by_id = {q.id: q for questions in asked.values() for q in questions}
    severe = by_id["crs-severe-cd19-single-agent"].evidence
    trials, unknown = bounds.silent(dataset, severe)
    assert named(trials) == {
        "penn-frey-2020": (38, 0, 38),
        # 2 severe events among all 20 patients, of whom these 16 are a part
        "mskcc-geyer-2019": (16, 0, 2),
        "nci-cappell-2020": (8, 0, 8),
    }
    assert unknown == ("HD-CAR-1, CLL", "ALLCAR19, CLL")
    found = bounds.bounds(dataset, severe)
    assert found is not None
    assert found.worst == "Porter 2015" and found.worst_rate == 6 / 14
    counts = {name: list(getattr(found, name).events) for name in ("fewest", "as_worst", "most")}
    reported = [6, 2, 10]
    # 6/14 of 38 is 16.3 and of 8 is 3.4; of 16 it is 6.9, more than the trial can have had
    assert counts == {
        "fewest": [*reported, 0, 0, 0],
        "as_worst": [*reported, 17, 2, 4],
        "most": [*reported, 38, 2, 8],
    }
    any_grade = bounds.silent(dataset, by_id["ntx-any-cd19-with-ibrutinib"].evidence)[0]
    assert named(any_grade) == {"fhcrc-gauthier-2020": (19, 0, 19)}
    assert bounds.bounds(dataset, by_id["crs-any-cd19-with-ibrutinib"].evidence) is None


def test_bounds_contain_what_they_bound(
    dataset: Dataset, asked: dict[str, list[chapter.Question]]
) -> None:
    links = {
        frozenset(pair)
        for pair in zip(dataset.overlaps["cohort_a"], dataset.overlaps["cohort_b"], strict=True)
    }
    for page in HARM_PAGES:
        for question in asked[page]:
            found = bounds.bounds(dataset, question.evidence)
            if found is None:
                continue
            k = len(question.evidence.rows)
            fits = (found.fewest, found.as_worst, found.most)
            for low, high in pairwise(fits):
                assert list(low.total) == list(high.total)
                assert all(a <= b for a, b in zip(low.events, high.events, strict=True))
            for fit in fits:
                assert list(fit.events[:k]) == list(question.evidence.rows["events"])
                assert list(fit.labels or ())[k:] == [trial.label for trial in found.silent]
            everyone = [*question.evidence.rows["cohort_id"], *(t.cohort_id for t in found.silent)]
            assert not [pair for pair in combinations(everyone, 2) if frozenset(pair) in links]


def test_another_figure_narrows_what_a_silent_trial_can_have_had(dataset: Dataset) -> None:
    """The same cohort with a figure for events of any grade, for a part and for the whole."""
    template = dataset.extraction[dataset.extraction["cohort_id"] == "penn-frey-2020"].iloc[[0]]

    def with_row(outcome: str, events: int, total: int, status: str = "used") -> Dataset:
        row = template.assign(
            outcome=outcome, events=events, total=total, status=status, record_id="made-up"
        )
        import pandas as pd

        rows = pd.concat([dataset.extraction, row.astype(dataset.extraction.dtypes.to_dict())])
        return replace(dataset, extraction=rows)

    severe = chapter.ask("crs-severe-cd19-single-agent").evidence

    def frey(data: Dataset) -> tuple[int, int, int]:
        return named(bounds.silent(data, severe)[0])["penn-frey-2020"]

    assert frey(dataset) == (38, 0, 38)
    # 10 of all 38 had an event of any grade: no more can have had a severe one
    assert frey(with_row("crs_any", 10, 38)) == (38, 0, 10)
    # of a part of 30 patients, 10: the other 8 are open
    assert frey(with_row("crs_any", 10, 30, "context")) == (38, 0, 18)
    # severe in 35 of 40 patients of whom these are a part: at least 33 are among them
    assert frey(with_row("crs_severe", 35, 40, "excluded")) == (38, 33, 35)
    # superseded figures say nothing
    assert frey(with_row("crs_any", 10, 38, "superseded")) == (38, 0, 38)


# ----------------------------------------------------------------------------- the scales


def test_scales_of_the_cll_cohorts_by_hand(dataset: Dataset) -> None:
    rows = scales.graded(dataset, "crs_severe")
    stated = rows[rows["scale"] != scales.NOT_STATED]
    assert dict(zip(stated["cohort_id"], stated["scale"], strict=True)) == {
        "penn-porter-2015": "Penn",
        "penn-gill-2022": "ASTCT 2019",
        "fhcrc-turtle-2017": "Lee 2014",
        "transcend-cll-004-phase-1": "Lee 2014",
    }
    shared = rows[rows["shares_with"] != ""]
    assert dict(zip(shared["cohort_id"], shared["shares_with"], strict=True)) == {
        "transcend-cll-004-phase-1": "TRANSCEND CLL 004",
        "transcend-cll-004-label": "TRANSCEND CLL 004",
    }
    with pytest.raises(ValueError, match="no grading scale is recorded for 'orr'"):
        scales.graded(dataset, "orr")


def test_gill_2022_is_on_record_by_two_scales(dataset: Dataset) -> None:
    found = {entry.label: entry.counts for entry in scales.regraded(dataset, "crs_severe")}
    assert found["Gill 2022"] == (("Penn", 3, 19), ("ASTCT 2019", 2, 19))
    assert "Gill 2022: 3 of 19 (16%) by Penn, 2 of 19 (11%) by ASTCT 2019" in str(
        scales.in_words(dataset, "crs_severe")
    )


@pytest.mark.parametrize("outcome", ["crs_severe", "ntx_severe"])
def test_every_cohort_stands_under_one_scale_once(dataset: Dataset, outcome: str) -> None:
    for disease in ("CLL", None):
        rows = scales.graded(dataset, outcome, disease)
        assert rows["cohort_id"].is_unique
        assert set(rows["status"]) == {"used"}
        counted = dataset.extraction
        counted = counted[(counted["outcome"] == outcome) & (counted["status"] == "used")]
        assert len(scales.graded(dataset, outcome, None)) == counted["cohort_id"].nunique()
    assert "nan" not in str(scales.for_cll(dataset, outcome)).lower().replace("nanometer", "")


# ------------------------------------------------ undetectable disease beside the response


@given(st.integers(0, 6).flatmap(lambda n: st.tuples(st.just(n), *[st.integers(0, n)] * 2)))
def test_two_totals_leave_what_counting_all_ways_leaves(case: tuple[int, int, int]) -> None:
    n, a, b = case
    seen = set()
    for first, second in product(product((0, 1), repeat=n), repeat=2):
        if sum(first) == a and sum(second) == b:
            seen.add(sum(x and y for x, y in zip(first, second, strict=True)))
    low, high = residual.both(a, b, n)
    assert (low, high) == (min(seen), max(seen))


def test_groups_larger_than_the_trial_are_refused() -> None:
    with pytest.raises(ValueError, match="groups of 3 and 1 do not fit into 2 patients"):
        residual.both(3, 1, 2)


def test_what_the_totals_of_transcend_force(dataset: Dataset) -> None:
    """16 complete and 41 overall responses, 56 and 51 undetectable, of the same 87."""
    found = {(e.label, e.where): e for e in residual.nested(dataset)}
    blood, marrow = (found["TRANSCEND CLL 004", where] for where in ("blood", "marrow"))
    assert (blood.with_both, blood.without_complete) == ((0, 16), (40, 56))
    assert blood.without_response == (15, 46)
    assert (marrow.without_complete, marrow.without_response) == ((35, 51), (10, 46))
    # 22 evaluable for response, 20 for residual disease: nothing follows
    assert not [key for key in found if key[0] == "TRANSCEND CLL 004, phase 1"]
    assert not [key for key in found if key[0] == "Turtle 2017"]


def test_different_denominators_are_not_nested(dataset: Dataset) -> None:
    rows = dataset.extraction.copy()
    rows.loc[rows["record_id"] == "transcend-cll-004.umrd-blood.mohty-2023", "total"] = 86
    found = residual.nested(replace(dataset, extraction=rows))
    assert ("TRANSCEND CLL 004", "blood") not in {(e.label, e.where) for e in found}


# ------------------------------------------------------------------------- the built pages


@pytest.mark.book
@pytest.mark.parametrize("page", PAGES)
def test_pages_have_every_part(built_book: Path, page: str) -> None:
    article = BeautifulSoup((built_book / "chapters" / f"{page}.html").read_text("utf-8"), "lxml")
    assert [tag["id"] for tag in article.select("h3[id]") if tag["id"] in PARTS] == list(PARTS)
    for target in estimands():
        if target.page == page:
            assert article.find(id=target.id) is not None
            assert article.find(id=f"{target.id}-trials") is not None
    assert article.find(id="shown") is not None
    alts = [str(tag.get("aria-label") or "") for tag in article.select("figure svg")]
    text = " ".join([*alts, str(article)])
    assert ("What the trials that do not report could change." in text) == (page in HARM_PAGES)
    last = article.select("article h2")[-1].get_text()
    assert last.startswith("What may be concluded, and what not")
