"""Populations select what they should, by hand from the tables of cohorts and figures."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations

import pandas as pd
import pytest

from analysis.data import Dataset, load
from analysis.estimands import (
    PRIMARY,
    Estimand,
    Evidence,
    Scenario,
    estimand,
    estimands,
    evidence,
    pooled,
    scenarios,
)

# Read from data/cohorts.csv by hand, data version 1.0.0. A new trial belongs in one of these.
ALONE = {
    "penn-porter-2015",
    "penn-kalos-2011",
    "penn-melenhorst-2022",
    "penn-frey-2020",
    "fhcrc-turtle-2017",
    "transcend-cll-004",
    "transcend-cll-004-phase-1",
    "transcend-cll-004-double-failure",
    "transcend-cll-004-update-2024",
    "transcend-cll-004-label",
    "transcend-cll-004-long-term",
    "mskcc-brentjens-2011",
    "mskcc-geyer-2019",
    "nci-kochenderfer-2012",
    "nci-kochenderfer-2015",
    "nci-cappell-2020",
    "hd-car-1",
    "allcar19-cll",
}
WITH_IBRUTINIB = {"penn-gill-2022", "fhcrc-gauthier-2020", "transcend-cll-004-ibrutinib"}
NOWHERE = {
    "mskcc-geyer-2018": "residual disease after first-line therapy",
    "fhcrc-gauthier-2021": "second infusion",
    "nci-kochenderfer-2013": "donor-derived cells",
    "nci-brudno-2016": "donor-derived cells",
    "bcm-cruz-2013": "donor-derived cells",
    "mdacc-liu-2020": "donor-derived natural killer cells",
    "carnk-phase-1-2": "donor-derived natural killer cells",
    "bcm-ramos-2016": "kappa light chain",
    "mcw-shah-2020": "CD19 and CD20, mixed histology",
    "ucla-larson-2023": "CD19 and CD20, no CLL",
    "ror1-cll": "ROR1",
    "china-cll": "target not stated",
    "richter-kittai-2024": "Richter transformation",
    "richter-haematologica": "Richter transformation",
    "richter-eric-2025": "Richter transformation",
    "fhcrc-longterm-2023": "CLL and Richter transformation together",
    "fhcrc-hematotoxicity": "several diseases",
    "penn-fraietta-2018": "patients pooled from several trials",
    "zuma-8": "some with ibrutinib, some without",
    "transcend-cll-004-venetoclax": "venetoclax",
    "lisocel-real-world-2025": "outside trials",
    "cibmtr-lisocel": "outside trials",
    # other diseases, data version 1.1.0
    "eliana": "B-ALL",
    "zuma-3": "B-ALL",
    "zuma-4": "B-ALL",
    "mskcc-park-2018": "B-ALL",
    "nci-lee-2015": "B-ALL",
    "sch-gardner-2017": "B-ALL",
    "fhcrc-turtle-2016": "B-ALL",
    "ucart19": "B-ALL, cells from healthy donors",
    "nci-fry-2018": "B-ALL, CD22",
    "penn-maude-2014": "B-ALL",
    "penn-grupp-2013": "B-ALL",
    "mskcc-brentjens-2013": "B-ALL",
    "rocket": "B-ALL",
    "penn-all-in-fraietta-2018": "B-ALL, patients pooled from several trials",
    "zuma-1": "large B-cell lymphoma",
    "juliet": "large B-cell lymphoma",
    "transcend-nhl-001": "large B-cell lymphoma",
    "zuma-2": "mantle cell lymphoma",
    "platform": "NHL, with durvalumab",
    "fhcrc-hirayama-2018": "NHL, with durvalumab",
    "fhcrc-till-2008": "NHL, CD20",
    "fhcrc-till-2012": "NHL, CD20",
    "nci-brudno-2018": "myeloma",
    "penn-cohen-2019": "myeloma",
    "raje-2019": "myeloma",
    "legend-2": "myeloma",
    "yan-2019": "myeloma",
    "bcm-ramos-2016-myeloma": "myeloma",
    "dfci-nikiforow-2016": "myeloma",
}

# Counts in use, read from data/extraction.csv by hand, data version 1.0.0: events, patients.
POOLED: dict[str, dict[str, tuple[int, int]]] = {
    "orr-cd19-single-agent": {
        "mskcc-brentjens-2011": (1, 8),
        "penn-porter-2015": (8, 14),
        "fhcrc-turtle-2017": (17, 24),
        "nci-cappell-2020": (7, 8),
        "penn-frey-2020": (14, 32),
        "transcend-cll-004": (41, 87),
    },
    "cr-cd19-single-agent": {
        "mskcc-brentjens-2011": (0, 8),
        "penn-porter-2015": (4, 14),
        "fhcrc-turtle-2017": (4, 19),
        "nci-cappell-2020": (5, 8),
        "penn-frey-2020": (9, 32),
        "transcend-cll-004": (16, 87),
    },
    "crs-any-cd19-single-agent": {
        "mskcc-brentjens-2011": (7, 8),
        "nci-kochenderfer-2015": (3, 5),
        "penn-porter-2015": (9, 14),
        "fhcrc-turtle-2017": (20, 24),
        "transcend-cll-004": (99, 117),
    },
    "crs-severe-cd19-single-agent": {
        "penn-porter-2015": (6, 14),
        "fhcrc-turtle-2017": (2, 24),
        "transcend-cll-004": (10, 117),
    },
    "ntx-any-cd19-single-agent": {
        "mskcc-brentjens-2011": (0, 8),
        "nci-kochenderfer-2015": (1, 5),
        "penn-porter-2015": (5, 14),
        "fhcrc-turtle-2017": (8, 24),
        "transcend-cll-004": (53, 117),
    },
    "ntx-severe-cd19-single-agent": {
        "penn-porter-2015": (1, 14),
        "fhcrc-turtle-2017": (6, 24),
        "transcend-cll-004": (22, 117),
    },
    "umrd-blood-cd19-single-agent": {"transcend-cll-004": (56, 87)},
    "umrd-marrow-cd19-single-agent": {"transcend-cll-004": (51, 87)},
    "cytopenia-prolonged-cd19-single-agent": {"transcend-cll-004": (63, 117)},
    "hypogammaglobulinemia-cd19-single-agent": {"transcend-cll-004": (18, 117)},
    "infection-severe-cd19-single-agent": {"transcend-cll-004": (20, 117)},
    "death-treatment-related-cd19-single-agent": {
        "fhcrc-turtle-2017": (1, 24),
        "transcend-cll-004": (1, 117),
    },
    "orr-cd19-with-ibrutinib": {
        "fhcrc-gauthier-2020": (15, 18),
        "transcend-cll-004-ibrutinib": (15, 18),
    },
    "cr-cd19-with-ibrutinib": {"penn-gill-2022": (8, 18)},
    "crs-any-cd19-with-ibrutinib": {
        "fhcrc-gauthier-2020": (13, 17),
        "transcend-cll-004-ibrutinib": (14, 19),
        "penn-gill-2022": (18, 19),
    },
    "crs-severe-cd19-with-ibrutinib": {
        "fhcrc-gauthier-2020": (0, 19),
        "transcend-cll-004-ibrutinib": (1, 19),
        "penn-gill-2022": (2, 19),
    },
    "ntx-any-cd19-with-ibrutinib": {
        "transcend-cll-004-ibrutinib": (6, 19),
        "penn-gill-2022": (5, 19),
    },
    "ntx-severe-cd19-with-ibrutinib": {
        "transcend-cll-004-ibrutinib": (3, 19),
        "penn-gill-2022": (1, 19),
    },
    "umrd-blood-cd19-with-ibrutinib": {"transcend-cll-004-ibrutinib": (17, 19)},
    "umrd-marrow-cd19-with-ibrutinib": {"fhcrc-gauthier-2020": (11, 18)},
    "death-treatment-related-cd19-with-ibrutinib": {
        "fhcrc-gauthier-2020": (1, 19),
        "penn-gill-2022": (1, 19),
    },
}

IDS = [target.id for target in estimands()]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load()


def members(dataset: Dataset, where: dict[str, str]) -> set[str]:
    rows = dataset.cohorts.to_dict("records")
    return {r["cohort_id"] for r in rows if all(r[c] == v for c, v in where.items())}


def counts(found: Evidence) -> dict[str, tuple[int, int]]:
    rows = found.rows
    pairs = zip(rows["events"], rows["total"], strict=True)
    return {c: (int(x), int(n)) for c, (x, n) in zip(rows["cohort_id"], pairs, strict=True)}


def of(dataset: Dataset, name: str, scenario: str | None = None) -> Evidence:
    target = estimand(name)
    if scenario is None:
        return evidence(dataset, target)
    chosen = next(s for s in scenarios(target.population) if s.id == scenario)
    return evidence(dataset, target, chosen)


# --- populations ---------------------------------------------------------------------------------


def test_every_cohort_was_considered_here(dataset: Dataset) -> None:
    assert set(dataset.cohorts["cohort_id"]) == ALONE | WITH_IBRUTINIB | set(NOWHERE)


@pytest.mark.parametrize(
    "population,expected",
    [("cd19-single-agent", ALONE), ("cd19-with-ibrutinib", WITH_IBRUTINIB)],
)
def test_populations_select_the_cohorts_named_here(
    dataset: Dataset, population: str, expected: set[str]
) -> None:
    targets = [target for target in estimands() if target.population == population]
    assert targets
    for target in targets:
        assert members(dataset, target.where) == expected


def test_populations_share_no_cohort(dataset: Dataset) -> None:
    by_population = {t.population: members(dataset, t.where) for t in estimands()}
    for a, b in combinations(by_population.values(), 2):
        assert not a & b


@pytest.mark.parametrize("cohort", NOWHERE, ids=str)
def test_cohorts_of_no_population_are_never_pooled(dataset: Dataset, cohort: str) -> None:
    for target in estimands():
        found = evidence(dataset, target)
        for frame in (found.rows, found.shared, found.silent):
            assert cohort not in set(frame["cohort_id"]), f"{target.id}: {NOWHERE[cohort]}"


@pytest.mark.parametrize(
    "column,value",
    [
        ("cell_source", "donor-derived"),
        ("infusion", "second"),
        ("target", "kappa light chain"),
        ("setting", "residual-after-first-line"),
        ("disease", "Richter transformation"),
        ("partner_drug", "venetoclax"),
        ("design", "real-world"),
    ],
)
def test_each_criterion_alone_keeps_a_cohort_out(dataset: Dataset, column: str, value: str) -> None:
    """A pooled trial that turns out to be of another kind leaves the pool, whatever else it is."""
    cohorts = dataset.cohorts.copy()
    cohorts.loc[cohorts["cohort_id"] == "penn-porter-2015", column] = value
    found = of(replace(dataset, cohorts=cohorts), "orr-cd19-single-agent")
    kept = set(found.rows["cohort_id"])
    assert "penn-porter-2015" not in kept
    # its first three patients were reported apart, and now count
    assert "penn-kalos-2011" in kept


# --- the rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", IDS)
def test_pooled_counts_are_those_read_by_hand(dataset: Dataset, name: str) -> None:
    assert counts(of(dataset, name)) == POOLED[name]


@pytest.mark.parametrize("name", IDS)
def test_every_cohort_of_the_population_is_accounted_for_once(dataset: Dataset, name: str) -> None:
    found = of(dataset, name)
    population = members(dataset, found.estimand.where)
    rows, shared, silent = (
        set(frame["cohort_id"]) for frame in (found.rows, found.shared, found.silent)
    )
    assert not rows & shared and not rows & silent and not shared & silent
    links = dataset.overlaps
    touching = set(links.loc[links["cohort_a"].isin(rows), "cohort_b"])
    touching |= set(links.loc[links["cohort_b"].isin(rows), "cohort_a"])
    searched = dataset.cohorts.loc[dataset.cohorts["report_id"] == "search-log", "cohort_id"]
    assert population - rows - shared - silent <= touching | set(searched)
    assert rows | shared | silent <= population
    assert not silent & touching


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("scenario", [None, "disputed", "implied", "printed-counts"])
def test_no_patient_is_counted_twice(dataset: Dataset, name: str, scenario: str | None) -> None:
    found = of(dataset, name, scenario)
    linked = {
        frozenset(pair)
        for pair in zip(dataset.overlaps["cohort_a"], dataset.overlaps["cohort_b"], strict=True)
    }
    kept = list(found.rows["cohort_id"])
    assert len(kept) == len(set(kept))
    assert not [pair for pair in combinations(kept, 2) if frozenset(pair) in linked]
    for row in found.shared.itertuples():
        assert row.shares_with in kept
        assert frozenset((row.cohort_id, row.shares_with)) in linked


@pytest.mark.parametrize("name", IDS)
def test_rows_carry_what_the_chapters_show(dataset: Dataset, name: str) -> None:
    rows = of(dataset, name).rows
    assert list(rows["outcome"].unique()) == [estimand(name).outcome]
    assert list(rows["status"].unique()) == ["used"]
    assert rows["record_id"].isin(dataset.extraction["record_id"]).all()
    labels = dataset.cohorts.set_index("cohort_id")["label"]
    assert list(rows["label"]) == list(labels[rows["cohort_id"]])
    kinds = dataset.reports.set_index("report_id")["kind"]
    assert list(rows["report_kind"]) == list(kinds[rows["report_id"]])
    years = rows["year"].fillna(9999)
    assert list(years) == sorted(years)


def test_the_order_of_the_files_does_not_matter(dataset: Dataset) -> None:
    turned = replace(
        dataset,
        extraction=dataset.extraction.iloc[::-1].reset_index(drop=True),
        cohorts=dataset.cohorts.iloc[::-1].reset_index(drop=True),
        overlaps=dataset.overlaps.iloc[::-1].reset_index(drop=True),
        reports=dataset.reports.iloc[::-1].reset_index(drop=True),
    )
    for target in estimands():
        straight, reverse = evidence(dataset, target), evidence(turned, target)
        assert list(straight.rows["record_id"]) == list(reverse.rows["record_id"])
        assert set(straight.shared["record_id"]) == set(reverse.shared["record_id"])


def test_selecting_leaves_the_data_alone(dataset: Dataset) -> None:
    before = dataset.extraction.copy(), dataset.cohorts.copy()
    for target in estimands():
        for scenario in scenarios(target.population):
            evidence(dataset, target, scenario)
    pd.testing.assert_frame_equal(dataset.extraction, before[0])
    pd.testing.assert_frame_equal(dataset.cohorts, before[1])


def test_a_criterion_on_a_column_with_gaps_selects_only_what_is_stated(dataset: Dataset) -> None:
    target = estimand("orr-cd19-single-agent")
    narrower = replace(target, where={**target.where, "costimulatory_domain": "CD28"})
    found = evidence(dataset, narrower)
    assert set(found.rows["cohort_id"]) == {"mskcc-brentjens-2011", "nci-cappell-2020"}


# --- other readings of the data ------------------------------------------------------------------

CHANGES: list[tuple[str, str, dict[str, tuple[int, int]], set[str]]] = [
    # estimand, scenario, rows that come or change, cohorts that go
    ("crs-severe-cd19-single-agent", "disputed", {"fhcrc-turtle-2017": (6, 24)}, set()),
    ("cr-cd19-single-agent", "disputed", {"transcend-cll-004": (17, 96)}, set()),
    ("cr-cd19-with-ibrutinib", "disputed", {"fhcrc-gauthier-2020": (12, 17)}, set()),
    ("orr-cd19-single-agent", "disputed", {}, set()),
    ("umrd-marrow-cd19-single-agent", "disputed", {"fhcrc-turtle-2017": (14, 24)}, set()),
    # a percentage printed without its denominator is no count that a source prints
    (
        "umrd-blood-cd19-with-ibrutinib",
        "printed-counts",
        {},
        {"transcend-cll-004-ibrutinib"},
    ),
    (
        "ntx-severe-cd19-single-agent",
        "implied",
        {"mskcc-brentjens-2011": (0, 8), "nci-kochenderfer-2012": (0, 4)},
        set(),
    ),
    (
        # sixteen patients take the place of eight who may be among them
        "crs-any-cd19-single-agent",
        "implied",
        {"mskcc-geyer-2019": (16, 16)},
        {"mskcc-brentjens-2011"},
    ),
    # a count in use is not replaced by one that is only implied
    ("cr-cd19-with-ibrutinib", "implied", {}, set()),
    (
        "orr-cd19-single-agent",
        "printed-counts",
        {"nci-kochenderfer-2012": (3, 4)},
        {"penn-frey-2020", "fhcrc-turtle-2017", "transcend-cll-004", "nci-cappell-2020"},
    ),
    ("cr-cd19-with-ibrutinib", "printed-counts", {}, {"penn-gill-2022"}),
    ("orr-cd19-single-agent", "commercial", {"lisocel-real-world-2025": (25, 30)}, set()),
    ("cr-cd19-single-agent", "commercial", {"lisocel-real-world-2025": (18, 30)}, set()),
]


@pytest.mark.parametrize("name,scenario,comes,goes", CHANGES)
def test_scenarios_change_what_they_say(
    dataset: Dataset,
    name: str,
    scenario: str,
    comes: dict[str, tuple[int, int]],
    goes: set[str],
) -> None:
    expected = {c: n for c, n in POOLED[name].items() if c not in goes} | comes
    assert counts(of(dataset, name, scenario)) == expected


def test_scenarios_are_offered_where_they_belong() -> None:
    alone = {scenario.id for scenario in scenarios("cd19-single-agent")}
    ibrutinib = {scenario.id for scenario in scenarios("cd19-with-ibrutinib")}
    assert {"disputed", "implied", "printed-counts"} <= alone & ibrutinib
    assert "commercial" in alone - ibrutinib


def test_scenarios_name_cohorts_and_origins_that_exist(dataset: Dataset) -> None:
    field = next(
        f
        for r in dataset.schema["resources"]
        if r["name"] == "extraction"
        for f in r["schema"]["fields"]
        if f["name"] == "origin"
    )
    for population in {target.population for target in estimands()}:
        for scenario in scenarios(population):
            assert set(scenario.also) <= set(dataset.cohorts["cohort_id"])
            assert set(scenario.drop_origin) <= set(field["constraints"]["enum"])
            assert scenario.label


def test_the_main_reading_uses_only_rows_in_use(dataset: Dataset) -> None:
    for target in estimands():
        main = evidence(dataset, target)
        plain = evidence(dataset, target, Scenario("x", "No option"))
        assert counts(main) == counts(plain)
        assert set(main.rows["status"]) | set(main.shared["status"]) == {"used"}


# --- the registry --------------------------------------------------------------------------------


def test_ids_say_outcome_and_population(dataset: Dataset) -> None:
    kinds = dataset.outcomes.set_index("outcome_id")["kind"]
    assert len(IDS) == len(set(IDS))
    assert set(IDS) == set(POOLED)
    for target in estimands():
        assert target.id == f"{target.outcome.replace('_', '-')}-{target.population}"
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", target.id)
        assert kinds[target.outcome] == "proportion"
        assert target.population_label and target.population_short and target.description


def test_criteria_are_columns_and_words_of_the_schema(dataset: Dataset) -> None:
    resource = next(r for r in dataset.schema["resources"] if r["name"] == "cohorts")
    allowed = {
        f["name"]: f.get("constraints", {}).get("enum", []) for f in resource["schema"]["fields"]
    }
    for target in estimands():
        for column, value in target.where.items():
            assert value in allowed[column], f"{target.population}: {column} = {value}"


def test_an_unknown_estimand_is_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match=r"no estimand 'orr-cd22'.*orr-cd19-single-agent"):
        estimand("orr-cd22")


# --- pooling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", IDS)
def test_pooling_takes_the_rows_as_they_are(dataset: Dataset, name: str) -> None:
    found = of(dataset, name)
    fit = pooled(found)
    assert fit is not None
    assert list(fit.events) == [x for x, _ in POOLED[name].values()] or sorted(
        zip(fit.events, fit.total, strict=True)
    ) == sorted(POOLED[name].values())
    assert list(fit.labels or ()) == list(found.rows["label"])
    assert fit.model == PRIMARY["model"]


def test_nothing_to_pool_gives_nothing(dataset: Dataset) -> None:
    target = Estimand("os-nobody", "os", "nobody", "x", "x", "x", "x", {"disease": "none"})
    found = evidence(dataset, target)
    assert found.rows.empty and found.shared.empty and found.silent.empty
    assert pooled(found) is None
