"""The claims ledger: the committed claims, the checks on made-up data, and what the page shows."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from analysis import claims, ledger
from analysis.claims import VERDICTS, decide, parse_args
from analysis.claims.comparisons import difference
from analysis.claims.verdict import (
    ARITHMETIC,
    CONTRADICTED,
    CORRECTED,
    IMPOSSIBLE,
    OWN,
    REPRODUCED,
    REVIEW,
    SAME_REVIEW,
    SECOND_HAND,
    UNDECIDED,
)
from analysis.data import Dataset, load

REVIEWS = {"mohty-2023", "cerrano-2020"}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load()


@pytest.fixture(scope="module")
def entries(dataset: Dataset) -> tuple[claims.Entry, ...]:
    return claims.ledger(dataset)


# ---------------------------------------------------------------------- the committed claims


def test_there_are_enough_claims_of_both_reviews_and_every_kind(entries) -> None:
    assert len(entries) >= 80
    assert {entry.report_id for entry in entries} == REVIEWS
    assert {entry.kind for entry in entries} == {
        "single-figure",
        "pooled-or-range",
        "comparison",
        "trend",
    }


def test_every_claim_has_a_check_and_every_check_a_claim(dataset: Dataset) -> None:
    assert set(dataset.claims["check"]) == set(claims.CHECKS)


def test_every_verdict_occurs_and_says_what_decides_it(entries) -> None:
    assert {entry.verdict.verdict for entry in entries} == set(VERDICTS)
    for entry in entries:
        assert entry.verdict.basis in claims.BASES, entry.claim_id
        assert entry.verdict.number.strip(), entry.claim_id
        assert "nan" not in entry.verdict.number.lower().split(), entry.claim_id


def test_verdicts_are_not_part_of_the_data(dataset: Dataset) -> None:
    typed = " ".join(dataset.claims["claim"]) + " ".join(dataset.claims["args"])
    assert "verdict" not in dataset.claims.columns
    assert not [verdict for verdict in VERDICTS if verdict in typed]


def test_every_figure_stands_in_the_extraction_of_its_review(dataset, entries) -> None:
    known = set(dataset.extraction["record_id"])
    for entry in entries:
        assert set(entry.verdict.records) <= known, entry.claim_id
        if entry.check == "figure":
            assert entry.verdict.records, entry.claim_id


def test_numbers_of_a_figure_stand_in_its_claim(dataset: Dataset) -> None:
    figures = dataset.claims[dataset.claims["check"] == "figure"]
    for row in figures.itertuples(index=False):
        given_ = parse_args(row.args)
        for name in ("percent", "value"):
            if name in given_ and not (name == "percent" and given_[name] in ("0", "100")):
                pattern = rf"(?<![\d.]){re.escape(given_[name])}(?![\d]|\.\d)"
                assert re.search(pattern, row.claim), row.claim_id


def test_claims_are_not_repeated(dataset: Dataset) -> None:
    assert not dataset.claims.duplicated(["report_id", "locator", "claim"]).any()


def test_no_comparison_of_trials_without_a_control_group_is_decided(entries) -> None:
    compared = [
        entry
        for entry in entries
        if entry.check
        in (
            "cohorts_differ",
            "populations_differ",
            "other_disease",
            "other_diseases",
            "higher_than_others",
        )
    ]
    assert len(compared) > 5
    assert {entry.verdict.verdict for entry in compared} == {UNDECIDED}


def verdict_of(dataset: Dataset, claim_id: str) -> claims.Verdict:
    row = dataset.claims.set_index("claim_id").loc[claim_id]
    return decide(dataset, row["check"], row["args"], row["report_id"], claim_id)


def find(dataset: Dataset, text: str) -> str:
    """The id of the one claim with these words."""
    hits = dataset.claims[dataset.claims["claim"].str.contains(text, regex=False)]
    assert len(hits) == 1, list(hits["claim"])
    return str(hits["claim_id"].iloc[0])


def edited(dataset: Dataset, record_id: str, **cells: Any) -> Dataset:
    table = dataset.extraction.copy()
    row = table["record_id"] == record_id
    assert row.sum() == 1
    for name, value in cells.items():
        table.loc[row, name] = value
    return dataclasses.replace(dataset, extraction=table)


@pytest.mark.parametrize(
    ("words", "record_id", "cells", "before", "after"),
    [
        (
            "8 of 14 CTL019 patients responded",
            "penn-porter-2015.orr.porter-2015",
            {"events": 9, "percent": 64.0, "percent_printed": "64"},
            REPRODUCED,
            CONTRADICTED,
        ),
        (
            "Geyer 2018: overall response 62.5%",
            "mskcc-geyer-2018.orr.geyer-2018",
            {"events": 5, "percent": 62.5, "percent_printed": "62.5"},
            CONTRADICTED,
            REPRODUCED,
        ),
        (
            "liso-cel trial included 177",
            "transcend-cll-004.n-infused.ecancer-2023",
            {"value": 177.0},
            CONTRADICTED,
            REPRODUCED,
        ),
        (
            "47.1% of the 96 assessed",
            "transcend-cll-004.orr.targetedonc-2024",
            {"events": 30, "percent": 34.0, "percent_printed": "34"},
            CORRECTED,
            CONTRADICTED,
        ),
        (
            "Most Seattle patients with disease in the marrow",
            "fhcrc-turtle-2017.marrow-clearance.fredhutch-2016",
            {"events": 3},
            REPRODUCED,
            CONTRADICTED,
        ),
        (
            "In Seattle bulky nodes cleared",
            "fhcrc-turtle-2017.nodal-response.fredhutch-2016",
            {"events": 2},
            UNDECIDED,
            REPRODUCED,
        ),
        (
            "smaller studies in Table 1",
            "nci-cappell-2020.n-infused.mohty-2023",
            {"value": 12.0},
            REPRODUCED,
            IMPOSSIBLE,
        ),
    ],
)
def test_a_changed_datum_changes_the_verdict(
    dataset: Dataset, words: str, record_id: str, cells: dict, before: str, after: str
) -> None:
    claim_id = find(dataset, words)
    assert verdict_of(dataset, claim_id).verdict == before
    assert verdict_of(edited(dataset, record_id, **cells), claim_id).verdict == after


def test_a_new_trial_count_moves_the_number_of_a_comparison(dataset: Dataset) -> None:
    claim_id = find(dataset, "Ibrutinib makes the cells more effective")
    changed = edited(dataset, "penn-porter-2015.orr.porter-2015", events=1)
    before, after = verdict_of(dataset, claim_id), verdict_of(changed, claim_id)
    assert before.verdict == after.verdict == UNDECIDED
    assert before.number != after.number


# ---------------------------------------------------------------------- made-up data

COLUMNS = {
    "reports": ["report_id", "kind"],
    "outcomes": ["outcome_id", "label", "kind"],
    "cohorts": [
        *("cohort_id", "label", "trial_id", "center", "disease", "target", "product"),
        *("n_enrolled", "n_infused", "n_evaluable", "report_id", "partner_drug"),
    ],
    "extraction": [
        *("record_id", "cohort_id", "outcome", "events", "total", "percent", "percent_printed"),
        *("value", "unit", "value_text", "timepoint_months", "criteria", "report_id", "locator"),
        *("origin", "confidence", "status"),
    ],
    "overlaps": ["cohort_a", "cohort_b", "kind"],
    "pipeline": ["trial_id", "phase", "status", "report_id"],
}


def frame(table: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    made = pd.DataFrame([{name: row.get(name) for name in COLUMNS[table]} for row in rows])
    made = made.reindex(columns=COLUMNS[table]).astype("object")
    for name in ("events", "total", "n_enrolled", "n_infused", "n_evaluable"):
        if name in made:
            made[name] = made[name].astype("Int64")
    for name in ("percent", "value", "timepoint_months"):
        if name in made:
            made[name] = made[name].astype("float64")
    for name in made.columns[made.dtypes == "object"]:
        made[name] = made[name].astype("string")
    return made


def world(*rows: dict[str, Any], **cohort: Any) -> Dataset:
    """Data with one cohort of 20 patients, 18 of them evaluable, and the given figures."""
    kinds = {
        "review": "review",
        "other-review": "review",
        "paper": "trial paper",
        "news": "news",
    }
    figures = []
    for i, row in enumerate(rows):
        filled = {
            "cohort_id": "c",
            "outcome": "orr",
            "origin": "counted",
            "confidence": "high",
            "status": "used",
            "locator": "Table 1, row A",
        } | row
        filled["record_id"] = f"c.{filled['outcome']}.{filled['report_id']}.{i}"
        filled["percent_printed"] = filled.get("percent")
        filled["percent"] = None if row.get("percent") is None else float(row["percent"])
        figures.append(filled)
    first = {
        "cohort_id": "c",
        "label": "C",
        "trial_id": "NCT1",
        "disease": "CLL",
        "target": "CD19",
        "n_enrolled": 25,
        "n_infused": 20,
        "n_evaluable": 18,
        "report_id": "paper",
    } | cohort
    second = first | {"cohort_id": "d", "label": "D", "n_infused": 40, "n_evaluable": 40}
    names = ("orr", "cr", "pr", "crs_any", "n_infused", "dose", "dose_level_n", "nodal_response")
    made = dict(
        reports=frame("reports", [{"report_id": k, "kind": v} for k, v in kinds.items()]),
        outcomes=frame(
            "outcomes",
            [{"outcome_id": n, "label": n.replace("_", " "), "kind": "proportion"} for n in names],
        ),
        cohorts=frame("cohorts", [first, second]),
        extraction=frame("extraction", figures),
        overlaps=frame("overlaps", [{"cohort_a": "c", "cohort_b": "d", "kind": "subset"}]),
        pipeline=frame(
            "pipeline",
            [
                {"trial_id": "NCT2", "phase": "I", "status": "Recruiting", "report_id": "review"},
                {"trial_id": "NCT3", "phase": "I", "status": "Ended", "report_id": "review"},
            ],
        ),
        version="0.0.0",
        sha256="0",
        schema={},
    )
    # tables that no check reads
    others = {f.name: pd.DataFrame() for f in dataclasses.fields(Dataset) if f.name not in made}
    return Dataset(**made, **others)


def run(data: Dataset, check: str, args: str) -> claims.Verdict:
    return decide(data, check, args, "review")


PAPER = {"report_id": "paper", "events": 9, "total": 18}


@pytest.mark.parametrize(
    ("rows", "args", "verdict", "basis"),
    [
        ([PAPER], "events=9; total=18; percent=50", REPRODUCED, OWN),
        ([PAPER], "percent=50", REPRODUCED, OWN),
        ([PAPER], "percent=50; total=20", CORRECTED, OWN),
        ([PAPER], "percent=55", CONTRADICTED, OWN),
        ([PAPER], "events=8; total=18", CONTRADICTED, OWN),
        ([PAPER | {"status": "superseded"}], "events=8; total=18", UNDECIDED, None),
        ([PAPER | {"status": "excluded"}], "events=8; total=18", UNDECIDED, None),
        ([PAPER | {"report_id": "news"}], "percent=55", CONTRADICTED, SECOND_HAND),
        (
            [PAPER | {"report_id": "news", "confidence": "low"}],
            "percent=55",
            UNDECIDED,
            None,
        ),
        ([PAPER | {"report_id": "other-review"}], "percent=50", REPRODUCED, REVIEW),
        ([PAPER | {"report_id": "other-review"}], "percent=60", UNDECIDED, REVIEW),
        # two thirds cut to 66% and not rounded to 67%
        (
            [{"report_id": "paper", "events": 2, "total": 3}],
            "percent=66; total=3",
            CORRECTED,
            OWN,
        ),
        ([], "percent=66; total=3", IMPOSSIBLE, ARITHMETIC),
        # no count of 19 is 50%, 9 of the 18 evaluable is
        ([], "percent=50; total=19", CORRECTED, ARITHMETIC),
        ([], "events=2; total=24; percent=4.1", IMPOSSIBLE, ARITHMETIC),
        ([], "events=2; total=24; percent=8", REPRODUCED, ARITHMETIC),
        ([], "events=2; total=24", UNDECIDED, None),
        ([], "percent=25; total=24", UNDECIDED, None),
        (
            [{"report_id": "review", "events": 7, "total": 20}],
            "events=9; total=20",
            UNDECIDED,
            SAME_REVIEW,
        ),
        (
            [{"report_id": "review", "events": 9, "total": 18}],
            "percent=50; total=20",
            CORRECTED,
            SAME_REVIEW,
        ),
        # the trial names another method, and a report has the claim's figure by the claim's method
        (
            [
                PAPER | {"criteria": "sequencing"},
                {"report_id": "news", "events": 12, "total": 18, "criteria": "cytometry"},
            ],
            "events=12; total=18; percent=67",
            REPRODUCED,
            SECOND_HAND,
        ),
    ],
)
def test_figure_on_made_up_data(
    rows: list[dict], args: str, verdict: str, basis: str | None
) -> None:
    if len(rows) == 2:
        rows[1] = rows[1] | {"status": "context"}
    found = run(world(*rows), "figure", f"cohort=c; outcome=orr; {args}")
    if len(rows) == 2:
        assert found.verdict == CORRECTED
        assert "another method" in found.number
        return
    assert found.verdict == verdict
    assert basis is None or found.basis == basis


def test_figures_on_different_grading_scales_do_not_contradict_each_other() -> None:
    rows = [
        {"report_id": "review", "events": 4, "total": 20, "criteria": "Penn", "outcome": "crs_any"},
        {"report_id": "paper", "events": 2, "total": 20, "criteria": "Lee", "outcome": "crs_any"},
    ]
    args = "cohort=c; outcome=crs_any; events=4; total=20"
    assert run(world(*rows), "figure", args).verdict == UNDECIDED
    rows[0]["criteria"] = "Lee"
    assert run(world(*rows), "figure", args).verdict == CONTRADICTED


def test_overall_response_may_stand_as_complete_and_partial_responses() -> None:
    rows = [
        {"report_id": "paper", "outcome": "cr", "events": 2, "total": 18},
        {"report_id": "paper", "outcome": "pr", "events": 7, "total": 18},
    ]
    args = "cohort=c; outcome=orr; events=9; total=18"
    assert run(world(*rows), "figure", args).verdict == REPRODUCED
    rows[1]["events"] = 6
    assert run(world(*rows), "figure", args).verdict == CONTRADICTED


EMPTY = world()


@given(total=st.integers(1, 200), data=st.data())
def test_a_rounded_percentage_is_never_impossible(total: int, data: st.DataObject) -> None:
    events = data.draw(st.integers(0, total))
    exact = Decimal(100 * events) / total
    percent = exact.quantize(Decimal("0.1"), ROUND_HALF_UP)
    args = f"cohort=c; outcome=orr; events={events}; total={total}; percent={percent}"
    assert run(EMPTY, "figure", args).verdict == REPRODUCED


@pytest.mark.parametrize(
    ("check", "args", "verdict"),
    [
        ("sums_to", "parts=4+5; whole=9; cohort=c; outcome=orr", REPRODUCED),
        ("sums_to", "parts=4+4; whole=9; cohort=c; outcome=orr", IMPOSSIBLE),
        ("sums_to", "parts=4+4; whole=8; cohort=c; outcome=orr", CONTRADICTED),
        (
            "rate_from_parts",
            "cohort=c; outcome=orr; parts=4+5; total=18; percent=50",
            REPRODUCED,
        ),
        (
            "rate_from_parts",
            "cohort=c; outcome=orr; parts=4+6; total=19; percent=50",
            CORRECTED,
        ),
        (
            "rate_from_parts",
            "cohort=c; outcome=orr; parts=4+6; total=19; percent=51",
            IMPOSSIBLE,
        ),
        ("one_denominator", "cohort=c; percents=5.0+35.0; total=20", REPRODUCED),
        ("one_denominator", "cohort=c; percents=5.0+35.0; total=21", CORRECTED),
        ("one_denominator", "cohort=c; percents=5.1+35.0; total=20", IMPOSSIBLE),
        ("counted_in_cohort", "cohort=c; outcome=orr; events=5; total=20", REPRODUCED),
        ("counted_in_cohort", "cohort=c; outcome=orr; events=5; total=30", IMPOSSIBLE),
        ("describes", "cohort=c; figures=orr:50+cr:11", REPRODUCED),
        ("describes", "cohort=d; figures=orr:50+cr:11", CONTRADICTED),
        ("describes", "cohort=d; figures=orr:51+cr:12", UNDECIDED),
        ("overlaps_among", "cohorts=c+d", REPRODUCED),
        ("rows_below", "table=Table 1; outcome=n_infused; limit=30", REPRODUCED),
        ("rows_below", "table=Table 1; outcome=n_infused; limit=20", IMPOSSIBLE),
        ("rows_have", "table=Table 1; outcome=n_infused; column=target; value=CD19", REPRODUCED),
        ("rows_have", "table=Table 1; outcome=n_infused; column=target; value=CD20", CONTRADICTED),
        ("trials_listed", "trials=2; status=Recruiting", CORRECTED),
        ("trials_listed", "trials=3; status=Recruiting", IMPOSSIBLE),
        ("fewer_patients", "cohorts=c; others=10+11", REPRODUCED),
        ("fewer_patients", "cohorts=c; others=10+9", IMPOSSIBLE),
        ("doses", "cohort=c; levels=2e5+2e6", REPRODUCED),
        ("doses", "cohort=c; levels=2e5+6e6", CONTRADICTED),
        ("majority", "cohort=c; outcome=crs_any", REPRODUCED),
        ("majority", "cohort=c; outcome=orr", CONTRADICTED),
        ("majority", "cohort=d; outcome=orr", UNDECIDED),
        ("outcomes_differ", "cohort=c; lower=cr; higher=crs_any", REPRODUCED),
        ("outcomes_differ", "cohort=c; lower=crs_any; higher=cr", CONTRADICTED),
        ("outcomes_differ", "cohort=c; lower=cr; higher=nodal_response", UNDECIDED),
        ("cohorts_differ", "outcome=orr; a=c; b=d; direction=lower", UNDECIDED),
        ("median_reached", "cohort=c; outcome=cr; value=40", UNDECIDED),
        ("no_figure", "words=expansion", UNDECIDED),
    ],
)
def test_checks_on_made_up_data(check: str, args: str, verdict: str) -> None:
    data = world(
        {"report_id": "paper", "outcome": "orr", "events": 9, "total": 18},
        {"report_id": "paper", "outcome": "cr", "events": 2, "total": 18},
        {"report_id": "paper", "outcome": "crs_any", "events": 19, "total": 20},
        {"report_id": "paper", "outcome": "nodal_response", "events": 4, "total": 18},
        {"report_id": "paper", "outcome": "dose", "value_text": "2e5 or 2e6 cells/kg"},
        {"report_id": "review", "outcome": "n_infused", "value": 20.0, "unit": "patients"},
    )
    found = run(data, check, args)
    assert found.verdict == verdict
    assert found.number


def test_a_count_of_all_diseases_is_not_a_count_of_the_cohort() -> None:
    data = world(
        {"report_id": "paper", "outcome": "n_infused", "value": 30.0, "status": "excluded"}
    )
    args = "cohort=c; outcome=orr; events=5; total=30"
    assert run(data, "counted_in_cohort", args).verdict == CONTRADICTED


def test_products_need_a_cohort() -> None:
    data = world(product="Alphacel")
    assert run(data, "products_studied", "products=alphacel").verdict == REPRODUCED
    assert run(data, "products_studied", "products=alphacel+betacel").verdict == UNDECIDED


def test_difference_agrees_with_newcombe() -> None:
    # Newcombe 1998, table II, example (a): 56/70 against 48/80, method 10
    gap, low, high = difference((56, 70), (48, 80))
    assert gap == pytest.approx(0.2)
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("check", "args", "message"),
    [
        ("nothing", "cohort=c", "no check 'nothing'"),
        ("figure", "cohort", "not of the form name=value"),
        ("figure", "cohort=c; cohort=d", "given twice"),
        ("figure", "cohort=c; outcome=orr; events=8; color=red", "no argument color"),
        ("figure", "cohort=c; events=8", "needs the argument outcome"),
        ("figure", "cohort=c; outcome=orr", "needs events, percent, value or text"),
        ("figure", "cohort=c; outcome=orr; events=eight", "not a whole number"),
        ("figure", "cohort=c; outcome=orr; events=-8", "not a whole number"),
        ("figure", "cohort=zzz; outcome=orr; events=8", "no cohort 'zzz'"),
        ("figure", "cohort=c; outcome=zzz; events=8", "no outcome 'zzz'"),
        ("figure", "cohort=c; outcome=orr; percent=abc; total=20", "not a percentage"),
        ("cohorts_differ", "outcome=orr; a=c; b=d; direction=up", "direction must be"),
        ("describes", "cohort=c; figures=orr", "not of the form outcome:number"),
        ("rows_below", "table=Table 9; outcome=orr; limit=9", "no orr in Table 9"),
        ("rows_have", "table=Table 1; outcome=orr; column=zzz; value=a", "no column 'zzz'"),
    ],
)
def test_wrong_arguments_are_named(check: str, args: str, message: str) -> None:
    data = world({"report_id": "review", "events": 8, "total": 20})
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        decide(data, check, args, "review", "x-001")
    assert "claim x-001" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60))
def test_arguments_are_read_or_refused(text: str) -> None:
    try:
        found = parse_args(text)
    except ValueError:
        return
    assert found
    assert all(re.fullmatch("[a-z_]+", name) and value for name, value in found.items())


# ---------------------------------------------------------------------- what the page shows


def test_summary_and_tables_agree_with_the_verdicts(entries) -> None:
    counts = Counter(entry.verdict.verdict for entry in entries)
    said = ledger.summary(entries).source
    assert f"Of {len(entries)} claims, {counts[REPRODUCED]} are reproduced" in said
    table = BeautifulSoup(ledger.verdicts(entries).source, "lxml")
    for row in table.select("tbody tr"):
        verdict = row.select_one("th").get_text()
        *by_review, total, _ = [cell.get_text() for cell in row.select("td")]
        assert int(total) == counts[verdict] == sum(map(int, by_review))
    foot = [cell.get_text() for cell in table.select("tfoot td")]
    assert int(foot[-2]) == len(entries)


def test_cross_tables_count_every_claim_once(entries) -> None:
    for shown in (ledger.by_kind(entries), ledger.by_basis(entries)):
        rows = BeautifulSoup(shown.source, "lxml").select("tbody tr")
        totals = [int(row.select("td")[-1].get_text()) for row in rows]
        assert sum(totals) == len(entries)


def test_ledger_shows_every_claim_with_links_to_its_rows(entries) -> None:
    soup = BeautifulSoup(ledger.browse(entries).source, "lxml")
    assert len(soup.select("tbody tr")) == len(entries)
    for entry in entries:
        row = soup.find(id=f"claim-{entry.claim_id}").find_parent("tr")
        links = [a["href"].removeprefix("data.html#") for a in row.select("a")]
        assert sorted(links) == sorted(entry.verdict.records)
        assert entry.verdict.number in row.get_text()


def test_failing_lists_the_claims_of_one_verdict(entries) -> None:
    for verdict in (CONTRADICTED, IMPOSSIBLE):
        rows = BeautifulSoup(ledger.failing(entries, verdict).source, "lxml").select("tbody tr")
        assert len(rows) == sum(entry.verdict.verdict == verdict for entry in entries)
    assert "No claim is" in ledger.failing([], IMPOSSIBLE).source


def test_figure_says_in_words_what_it_draws(entries) -> None:
    source = ledger.verdict_bars(entries).source
    soup = BeautifulSoup(source, "lxml")
    assert len(soup.select("figure svg")) == 2
    for report in ("mohty-2023", "cerrano-2020"):
        mine = [entry for entry in entries if entry.report_id == report]
        undecided = sum(entry.verdict.verdict == UNDECIDED for entry in mine)
        name = report.replace("-", " ").capitalize()
        assert f"{name}, {len(mine)} claims" in source
        assert f"{undecided} {UNDECIDED}" in source


def test_markup_in_a_claim_stays_text(entries) -> None:
    evil = dataclasses.replace(entries[0], claim="<script>alert(1)</script>", locator="<b>x</b>")
    for shown in (ledger.browse([evil]), ledger.failing([evil], evil.verdict.verdict)):
        assert "<script>alert" not in shown.source
        assert "<b>x</b>" not in shown.source
