"""CLL beside other B-cell cancers: groups, comparison, sentences.

Tolerances against lme4 and metafor as in ``tests/pooling/test_moderators.py``: glmer's optimizer
stops on the deviance, which leaves its coefficients good to about 1e-6.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from analysis import claims, diseases
from analysis import disease_page as page
from analysis.claims.verdict import UNDECIDED
from analysis.comparisons import contrast
from analysis.data import DATA_DIR, Dataset, load
from analysis.estimands import estimand, estimands, evidence
from analysis.pooling import pool

REFERENCE = json.loads(
    (Path(__file__).parent / "reference" / "diseases.json").read_text(encoding="utf-8")
)
ORDER = ["CLL", "B-ALL", "Large B-cell lymphoma", "Myeloma (BCMA)"]
OTHERS = [name for name in diseases.GROUPS if name != diseases.REFERENCE]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load()


@pytest.fixture(scope="module")
def found(dataset: Dataset) -> dict:
    return page.compare()


def counted(dataset: Dataset, outcome: str, events: Callable[[str, int], int]) -> Dataset:
    """The data with other counts of one outcome, by disease and number of patients."""
    disease = dict(zip(dataset.cohorts["cohort_id"], dataset.cohorts["disease"], strict=True))
    rows = dataset.extraction.copy()
    at = rows.index[(rows["outcome"] == outcome) & rows["events"].notna()]
    rows.loc[at, "events"] = [
        events(str(disease[rows.at[i, "cohort_id"]]), int(rows.at[i, "total"])) for i in at
    ]
    return replace(dataset, extraction=rows)


#: Read by hand in Tables 1 to 3 and the text of Cerrano 2020: patients with the event, patients.
COUNTS = {
    "orr-cd19-b-all": {"eliana": (61, 75), "zuma-3": (37, 45)},
    "cr-cd19-b-all": {
        "eliana": (45, 75),
        "zuma-3": (28, 41),
        "mskcc-park-2018": (44, 53),
        "sch-gardner-2017": (40, 45),
        "fhcrc-turtle-2016": (28, 30),
        "penn-maude-2014": (27, 30),
    },
    "crs-severe-cd19-b-all": {
        "eliana": (35, 75),
        "zuma-3": (13, 45),
        "mskcc-park-2018": (14, 53),
        "fhcrc-turtle-2016": (7, 30),
        "penn-maude-2014": (8, 30),
    },
    "ntx-severe-cd19-b-all": {
        "eliana": (10, 75),
        "zuma-3": (17, 45),
        "mskcc-park-2018": (22, 53),
        "nci-lee-2015": (1, 19),
        "fhcrc-turtle-2016": (15, 30),
        "rocket": (11, 38),
    },
    "orr-cd19-large-b-cell": {
        "zuma-1": (84, 101),
        "juliet": (48, 93),
        "transcend-nhl-001": (187, 256),
    },
    "cr-cd19-large-b-cell": {
        "zuma-1": (59, 101),
        "juliet": (37, 93),
        "transcend-nhl-001": (136, 256),
    },
    "crs-severe-cd19-large-b-cell": {
        "zuma-1": (12, 108),
        "juliet": (24, 111),
        "transcend-nhl-001": (5, 268),
    },
    "ntx-severe-cd19-large-b-cell": {
        "zuma-1": (35, 108),
        "juliet": (13, 111),
        "transcend-nhl-001": (27, 268),
    },
    "orr-cd19-mantle-cell": {"zuma-2": (56, 60)},
    "cr-cd19-mantle-cell": {"zuma-2": (40, 60)},
    "crs-severe-cd19-mantle-cell": {"zuma-2": (10, 68)},
    "ntx-severe-cd19-mantle-cell": {"zuma-2": (21, 68)},
    "orr-bcma-myeloma": {
        "nci-brudno-2018": (13, 16),
        "penn-cohen-2019": (12, 25),
        "raje-2019": (28, 33),
        "legend-2": (50, 57),
    },
    "cr-bcma-myeloma": {"raje-2019": (15, 33), "legend-2": (39, 57)},
    "crs-severe-bcma-myeloma": {
        "nci-brudno-2018": (6, 16),
        "penn-cohen-2019": (8, 25),
        "raje-2019": (2, 33),
        "legend-2": (4, 57),
    },
    "ntx-severe-bcma-myeloma": {
        "nci-brudno-2018": (1, 16),
        "penn-cohen-2019": (3, 25),
        "raje-2019": (1, 33),
        "legend-2": (1, 57),
    },
}

# ------------------------------------------------------------------------- against lme4, metafor


def test_odds_ratios_of_complete_response_agree_with_glmer() -> None:
    data, r = REFERENCE["complete"]["data"], REFERENCE["complete"]["glmer"]
    fit, ways, p, df = contrast(data["x"], data["n"], data["group"], order=ORDER)
    np.testing.assert_allclose(fit.coefficients, r["beta"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(fit.se, r["se"], rtol=0, atol=2e-6)
    assert fit.tau2 == pytest.approx(r["tau2"], abs=2e-6)
    for way, name, beta in zip(ways, ORDER[1:], r["beta"][1:], strict=True):
        assert way.level == name
        assert way.odds_ratio == pytest.approx(math.exp(beta), rel=4e-6)
    assert df == (3, len(data["x"]) - 4)
    assert p is not None and p < 0.001


def test_the_two_step_model_agrees_with_metafor() -> None:
    data, r = REFERENCE["complete"]["data"], REFERENCE["complete"]["reml"]
    fit, ways, p, df = contrast(
        data["x"],
        data["n"],
        data["group"],
        order=ORDER,
        model="reml",
        interval="hartung-knapp-adhoc",
    )
    np.testing.assert_allclose(fit.coefficients, r["beta"], rtol=1e-6)
    np.testing.assert_allclose(fit.ci_low, r["low"], rtol=1e-6)
    np.testing.assert_allclose(fit.ci_high, r["high"], rtol=1e-6)
    assert p == pytest.approx(r["p"], rel=1e-6)
    assert list(df) == r["df"]
    assert [math.log(way.odds_ratio) for way in ways] == pytest.approx(r["beta"][1:], rel=1e-6)


def test_disease_and_scale_together_agree_with_glmer() -> None:
    data, r = REFERENCE["severe"]["data"], REFERENCE["severe"]["glmer"]
    fit = pool(
        data["x"],
        data["n"],
        moderators={"disease": data["group"], "scale": data["scale"]},
        reference={"disease": "CLL", "scale": "Lee 2014"},
    )
    np.testing.assert_allclose(fit.coefficients, r["beta"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(fit.se, r["se"], rtol=0, atol=2e-6)


# --------------------------------------------------------------------------------------- groups


@pytest.mark.parametrize("outcome", diseases.OUTCOMES)
def test_the_groups_are_the_published_estimates(dataset: Dataset, found, outcome: str) -> None:
    rows = found[outcome].rows
    for population, label in diseases.GROUPS.items():
        alone = evidence(dataset, diseases.target(outcome, population)).rows
        here = rows[rows["level"] == label]
        assert sorted(here["record_id"]) == sorted(alone["record_id"])


@pytest.mark.parametrize("name", COUNTS)
def test_the_counts_are_those_read_by_hand(dataset: Dataset, name: str) -> None:
    rows = evidence(dataset, estimand(name)).rows
    pooled = {
        row.cohort_id: (int(row.events), int(row.total)) for row in rows.itertuples(index=False)
    }
    assert pooled == COUNTS[name]


@pytest.mark.parametrize("outcome", diseases.OUTCOMES)
def test_no_patient_counts_twice(dataset: Dataset, found, outcome: str) -> None:
    kept = set(found[outcome].rows["cohort_id"])
    shared = set(zip(dataset.overlaps["cohort_a"], dataset.overlaps["cohort_b"], strict=True))
    assert not [pair for pair in combinations(kept, 2) if pair in shared or pair[::-1] in shared]


def test_other_diseases_are_in_the_registry_but_in_no_list_about_cll() -> None:
    every = {target.population for target in estimands(comparators=True)}
    about_cll = {target.population for target in estimands()}
    assert set(OTHERS) <= every
    assert not set(OTHERS) & about_cll
    assert {t.where["disease"] for t in estimands()} == {"CLL"}


def test_single_trials_are_shown_and_not_tested(found) -> None:
    for one in found.values():
        for label, fit in one.groups.items():
            k = int((one.rows["level"] == label).sum())
            assert (label in one.tested) == (k >= 2)
            assert fit is None or (fit.estimate is None) == (k == 1)


def test_wrong_names_are_refused(dataset: Dataset, found) -> None:
    with pytest.raises(ValueError, match="population must be one of cd19-b-all"):
        diseases.pair(dataset, "cr", diseases.REFERENCE)
    with pytest.raises(ValueError, match="cr is not graded; use one of crs_severe, ntx_severe"):
        diseases.with_scale(dataset, found["cr"])
    with pytest.raises(ValueError, match="outcome must be one of orr"):
        page.each("pfs")


# ------------------------------------------------------------------------------------- sentences


def test_the_answer_turns_with_the_data(dataset: Dataset, found) -> None:
    less = diseases.compare(
        counted(dataset, "cr", lambda disease, n: n // (5 if disease == "CLL" else 2)), "cr"
    )
    more = diseases.compare(
        counted(dataset, "cr", lambda disease, n: n // (2 if disease == "CLL" else 10)), "cr"
    )
    alike = diseases.compare(counted(dataset, "cr", lambda disease, n: n // 2), "cr")
    assert "complete response is rarer in CLL" in page.answer({**found, "cr": less})
    assert "complete response is more frequent in CLL" in page.answer({**found, "cr": more})
    said = page.answer({**found, "cr": alike})
    assert "complete response is" not in said
    assert "complete response" in said.split("in ")[-1] or "do not differ" in said
    assert "do not differ beyond chance" in str(page.concluded({**found, "cr": alike}))


def test_the_answer_rests_on_intervals_and_on_the_test(found) -> None:
    one = found["cr"]
    assert page.beyond(one) == "both"
    above = [way.level for way in one.contrasts if way.low > 1]
    said = page.answer(found)
    clause = said.split("complete response is rarer in CLL")[1].split(";")[0]
    for way in one.contrasts:
        assert (page.low_first(way.level) in clause) == (way.level in above)


def test_every_estimate_of_the_page_has_its_place_and_its_number() -> None:
    pinned = {
        entry["estimand_id"]: entry
        for entry in json.loads((DATA_DIR / "estimates.json").read_text(encoding="utf-8"))
    }
    shown = BeautifulSoup("".join(str(page.each(o)) for o in diseases.OUTCOMES), "lxml")
    wanted = [t.id for t in estimands(comparators=True) if t.page == "cll-among-cancers"]
    assert len(wanted) == len(OTHERS) * len(diseases.OUTCOMES)
    assert sorted(wanted) == sorted(COUNTS)
    for name in wanted:
        place = shown.find(id=name)
        assert place is not None
        estimate = pinned[name]["estimate"]
        expected = "not pooled" if estimate is None else f"{round(100 * estimate)}%"
        assert expected in place.get_text()


# ---------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize("outcome", diseases.GRADED)
def test_every_trial_stands_under_its_scale_once(found, outcome: str) -> None:
    table = BeautifulSoup(str(page.by_scale(found[outcome])), "lxml")
    cells = [cell.get_text() for cell in table.select("tbody td")]
    for row in found[outcome].rows.itertuples(index=False):
        text = f"{row.label} {int(row.events)}/{int(row.total)} "
        assert sum(text in f"{cell} " for cell in cells) == 1


def test_every_cohort_of_these_diseases_is_in_a_group_or_named_with_the_reason(
    dataset: Dataset,
) -> None:
    annotated = diseases.annotated(dataset)
    names = {diseases.target("orr", name).where["disease"] for name in OTHERS} | {"NHL"}
    cohorts = annotated.cohorts[annotated.cohorts["disease"].isin(names)]
    table = BeautifulSoup(str(page.left_out()), "lxml")
    rows = [[cell.get_text() for cell in row.select("th,td")] for row in table.select("tbody tr")]
    outside = cohorts[cohorts[diseases.COLUMN].isna()]
    assert sorted(row[0] for row in rows) == sorted(outside["label"])
    assert all(row[2] for row in rows)


def test_the_scale_matters_only_where_a_disease_has_two(dataset: Dataset, found) -> None:
    effect = diseases.scale_effect(dataset, found["crs_severe"])
    assert effect.odds_ratio is not None and effect.low is not None and effect.high is not None
    assert effect.low < effect.odds_ratio < effect.high
    one = found["crs_severe"]
    usual = diseases.with_scale(dataset, one)
    rows = one.rows[(usual["scale"] == diseases.USUAL).to_numpy()]
    nothing = diseases.scale_effect(dataset, replace(one, rows=rows))
    assert nothing.odds_ratio is None
    assert diseases.scaled(dataset, replace(one, rows=rows[rows["level"] != "CLL"])) == ()


def test_the_denominators_add_up_to_the_trials(found) -> None:
    for one in found.values():
        kinds = set(one.rows["denominator"].dropna())
        assert kinds <= set(page.COUNTED)
        assert len(one.rows) == sum(
            int((one.rows["denominator"] == kind).sum()) for kind in page.COUNTED
        )


def test_pairs_show_the_main_analysis_first() -> None:
    table = BeautifulSoup(str(page.firmness("cr")), "lxml")
    rows = [[cell.get_text() for cell in row.select("th,td")] for row in table.select("tbody tr")]
    frame = pd.DataFrame(rows, columns=["disease", "analysis", "trials", "or", "ci"])
    for _, part in frame.groupby("disease"):
        assert part["analysis"].iloc[0] == "Main analysis"
        assert len(part) > 3


@pytest.mark.parametrize("outcome", ["cr", "orr"])
def test_the_reviews_statement_is_sized_and_not_decided(dataset: Dataset, outcome: str) -> None:
    found = claims.decide(
        dataset, "other_diseases", f"outcome={outcome}; direction=lower", "mohty-2023", "x"
    )
    assert found.verdict == UNDECIDED
    assert "odds ratio of CLL against" in found.number
    assert "not randomized" in found.number
