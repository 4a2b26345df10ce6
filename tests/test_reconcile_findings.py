"""Every kind of finding is found, none is invented, and the pinned findings are recomputed."""

from __future__ import annotations

import csv
import io
import shutil
from dataclasses import replace
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from typer.testing import CliRunner

from analysis import audit, cli, conflicts
from analysis.data import DATA_DIR, PANDAS_TYPE, Dataset, load
from analysis.estimands import estimand, evidence, pooled
from analysis.reconcile import (
    CLASSES,
    KINDS,
    SEVERITIES,
    Discrepancy,
    Package,
    checked_intervals,
    denominators,
    discrepancies,
    interval_methods,
    is_possible,
    nearest_count,
    possible_counts,
    readings,
)
from analysis.reconcile.arithmetic import clopper_pearson, decimals, rounds_to, wilson
from analysis.reconcile.record import agree, same_percentage

ROUNDINGS = {
    "half-up": ROUND_HALF_UP,
    "half-even": ROUND_HALF_EVEN,
    "truncated": ROUND_DOWN,
}


@lru_cache(maxsize=1)
def real() -> Dataset:
    return load()


@lru_cache(maxsize=1)
def real_conflicts() -> tuple[conflicts.Conflict, ...]:
    return conflicts.conflicts(real())


# --------------------------------------------------------------------------- arithmetic


def shortened(events: int, total: int, places: int, rounding: str) -> str:
    step = Decimal(1).scaleb(-places)
    return str((Decimal(100 * events) / total).quantize(step, ROUNDINGS[rounding]))


counts = st.integers(1, 300).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@given(counts, st.integers(0, 3), st.sampled_from(sorted(ROUNDINGS)))
def test_a_count_is_among_those_its_own_percentage_can_stand_for(
    count: tuple[int, int], places: int, rounding: str
) -> None:
    events, total = count
    printed = shortened(events, total, places, rounding)
    assert events in possible_counts(printed, total, rounding)
    assert is_possible(printed, total, (rounding,))
    assert rounds_to(events, total, printed, (rounding,))


@given(counts, st.integers(0, 2), st.sampled_from(sorted(ROUNDINGS)))
def test_possible_counts_are_those_that_shorten_to_the_percentage(
    count: tuple[int, int], places: int, rounding: str
) -> None:
    events, total = count
    printed = shortened(events, total, places, rounding)
    brute = tuple(c for c in range(total + 1) if shortened(c, total, places, rounding) == printed)
    assert possible_counts(printed, total, rounding) == brute


@given(
    st.integers(5, 150),
    st.lists(st.floats(0, 1), min_size=1, max_size=6),
    st.integers(0, 2),
    st.sampled_from(sorted(ROUNDINGS)),
)
def test_the_true_denominator_is_among_those_found(
    total: int, shares: list[float], places: int, rounding: str
) -> None:
    printed = [shortened(round(s * total), total, places, rounding) for s in shares]
    found = denominators(printed, 1, 200, rounding)
    assert total in found
    assert all(all(possible_counts(p, n, rounding) for p in printed) for n in found)
    more = denominators([*printed, printed[0]], 1, 200, rounding)
    assert more == found
    assert set(denominators(printed[:1], 1, 200, rounding)) >= set(found)


@given(counts, st.integers(0, 3))
def test_the_nearest_count_of_a_rounded_percentage_gives_it_back(
    count: tuple[int, int], places: int
) -> None:
    events, total = count
    near = nearest_count(shortened(events, total, places, "half-up"), total)
    assert abs(near - events) * 100 / total <= 10**-places + 1e-9


def test_ways_of_rounding_are_told_apart():
    assert readings("63", 8) == {"half-up": (5,), "half-even": (), "truncated": ()}
    assert readings("62", 8) == {"half-up": (), "half-even": (5,), "truncated": (5,)}
    assert readings("66", 3) == {"half-up": (), "half-even": (), "truncated": (2,)}


def test_a_huge_denominator_takes_no_time():
    assert is_possible("33.3", 10**9)
    assert rounds_to(333_000_000, 10**9, "33.3")


@pytest.mark.parametrize("printed", ["", "x", "NaN", "inf"])
def test_what_is_no_percentage_is_refused(printed: str):
    with pytest.raises(ValueError, match="not a percentage"):
        possible_counts(printed, 10)
    with pytest.raises(ValueError, match="not a percentage"):
        nearest_count(printed, 10)


def test_an_empty_set_of_percentages_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        denominators([], 1, 10)


@given(counts, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_intervals_solve_their_defining_equations(count: tuple[int, int], level: float) -> None:
    events, total = count
    low, high = clopper_pearson(events, total, level)
    tail = (1 - level) / 2
    if events:
        assert binom.sf(events - 1, total, low / 100) == pytest.approx(tail, rel=1e-6)
    if events < total:
        assert binom.cdf(events, total, high / 100) == pytest.approx(tail, rel=1e-6)
    z = norm.ppf(0.5 + level / 2)
    for limit in (p / 100 for p in wilson(events, total, level)):
        distance = (events / total - limit) ** 2
        assert distance == pytest.approx(z * z * limit * (1 - limit) / total, abs=1e-9)


@given(counts, st.sampled_from([90.0, 95.0]), st.integers(0, 2))
def test_a_printed_interval_is_recognized(
    count: tuple[int, int], level: float, places: int
) -> None:
    events, total = count
    for name, method in (("Clopper-Pearson", clopper_pearson), ("Wilson", wilson)):
        low, high = (
            float(Decimal(f"{limit:.10f}").quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))
            for limit in method(events, total, level / 100)
        )
        # a limit that ends in zeros is printed shorter, and its precision is lost
        if max(decimals(low), decimals(high)) == places:
            assert name in interval_methods(events, total, low, high, level)
    assert interval_methods(events, total, 101, 102, level) == ()


def test_every_interval_of_the_sources_belongs_to_its_count():
    checked = checked_intervals(Package.of(real()))
    assert len(checked) >= 10
    assert all("Clopper-Pearson" in methods for _, methods in checked)


# --------------------------------------------------------------------------- a small package

OUTCOMES = set(real().outcomes["outcome_id"])
COHORT = {
    "cohort_id": "zz-trial",
    "label": "Nobody 2020",
    "trial_id": "NCT99999999",
    "design": "trial",
    "disease": "CLL",
    "setting": "relapsed-refractory",
    "target": "CD19",
    "cell_source": "autologous",
    "partner_drug": "none",
    "infusion": "first",
    "report_id": "porter-2015",
    "n_enrolled": 30,
    "n_infused": 20,
    "n_evaluable": 18,
    "year": 2020,
}


def frame(table: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    resource = next(r for r in real().schema["resources"] if r["name"] == table)
    fields = resource["schema"]["fields"]
    data = pd.DataFrame(rows, columns=[f["name"] for f in fields])
    return data.astype({f["name"]: PANDAS_TYPE[f["type"]] for f in fields})


def small(
    *rows: dict[str, Any],
    cohorts: list[dict[str, Any]] | None = None,
    overlaps: list[dict[str, Any]] | None = None,
) -> Dataset:
    """A data set with one trial, or more, and a few rows of the extraction."""
    full = []
    for row in rows:
        outcome = row["outcome"]
        assert outcome in OUTCOMES
        start = {
            "cohort_id": "zz-trial",
            "report_id": "mohty-2023",
            "locator": "Table 9, row Nobody, column X",
            "origin": "counted",
            "confidence": "review",
            "status": "superseded",
            "reason": "Made up.",
            "denominator": "infused",
        }
        entry = {**start, **row}
        name = f"{entry['cohort_id']}.{outcome.replace('_', '-')}.{entry['report_id']}"
        number = sum(other["record_id"].startswith(name) for other in full)
        entry.setdefault("record_id", f"{name}.{number + 1}" if number else name)
        if entry.get("value") is not None:
            entry.setdefault("unit", "patients" if outcome.startswith("n_") else "months")
        full.append(entry)
    extraction = frame("extraction", full)
    printed = [row.get("percent") for row in full]
    extraction["percent"] = pd.array(
        [None if p is None else float(p) for p in printed], dtype="Float64"
    ).astype("float64")
    extraction["percent_printed"] = pd.array(printed, dtype="string")
    return replace(
        real(),
        extraction=extraction,
        cohorts=frame("cohorts", cohorts or [COHORT]),
        overlaps=frame("overlaps", overlaps or []),
        resolutions=frame("resolutions", []),
    )


def found(*rows: dict[str, Any], **options: Any) -> tuple[Discrepancy, ...]:
    return discrepancies(small(*rows, **options))


def only(*rows: dict[str, Any], **options: Any) -> Discrepancy:
    entries = found(*rows, **options)
    assert [entry.message for entry in entries] == [entries[0].message] if entries else False
    return entries[0]


def row(outcome: str, events: int | None = None, total: int | None = None, **cells: Any) -> dict:
    return {"outcome": outcome, "events": events, "total": total, **cells}


def used(outcome: str, events: int | None = None, total: int | None = None, **cells: Any) -> dict:
    return row(outcome, events, total, **{"status": "used", "report_id": "siddiqi-2023", **cells})


def percent(outcome: str, text: str, total: int | None = None, **cells: Any) -> dict:
    return row(outcome, None, total, percent=text, **{"origin": "stated", **cells})


def test_figures_that_agree_give_no_finding():
    assert not found(
        used("n_enrolled", value=30),
        used("n_infused", value=20),
        used("orr", 14, 20, percent="70"),
        used("cr", 5, 20),
        used("pr", 9, 20),
        used("crs_any", 13, 20, percent="65", ci_low=40.8, ci_high=84.6, ci_level=95),
        used("crs_severe", 2, 20),
        used("pfs", percent="50", timepoint_months=12),
        used("pfs", percent="40", timepoint_months=24),
        used("os", percent="50", timepoint_months=12),
        row("orr", 14, 20, percent="70.0"),
        percent("cr", "25"),
        row("n_infused", value=20),
    )


def test_an_impossible_percentage_is_found():
    entry = only(percent("orr", "71", 20, status="infeasible"))
    assert (entry.kind, entry.severity, entry.line, entry.column) == (
        "impossible",
        "impossible",
        2,
        "percent",
    )
    assert entry.id == "impossible:zz-trial.orr.mohty-2023"
    assert (entry.alternatives[0].events, entry.alternatives[0].total) == (14, 20)
    assert entry.classification is None


def test_a_percentage_that_was_cut_off_is_called_so():
    entry = only(percent("orr", "66", 18, status="infeasible", denominator="evaluable"))
    assert (entry.kind, entry.classification) == ("impossible", "misprint")
    assert entry.evidence[0].startswith("12 of 18 is 66.67%")


@given(
    st.integers(20, 60),
    st.integers(1, 20),
    st.lists(st.floats(0.05, 0.95), min_size=7, max_size=7, unique=True),
)
@settings(max_examples=40, deadline=None)
def test_a_misprinted_number_of_patients_is_found_and_undone(
    true: int, shift: int, shares: list[float]
) -> None:
    outcomes = ["orr", "cr", "pr", "crs_any", "ntx_any", "infection_severe", "umrd_blood"]
    printed = [shortened(round(s * true), true, 1, "half-up") for s in shares]
    wrong = true + shift
    cohort = {**COHORT, "n_enrolled": None, "n_infused": true, "n_evaluable": None}
    rows = [
        row(name, round(s * true), true, percent=text, origin="derived")
        for name, s, text in zip(outcomes, shares, printed, strict=True)
    ]
    entries = found(row("n_infused", value=wrong), *rows, cohorts=[cohort])
    entry = next((e for e in entries if e.kind == "denominator"), None)
    if all(is_possible(text, wrong, ("half-up", "half-even")) for text in printed):
        assert entry is None
        return
    assert entry is not None
    assert entry.classification == "denominator"
    assert any(str(true) in text for text in entry.evidence)
    assert f"{wrong} patients" in entry.message


def test_a_set_of_percentages_names_its_denominator():
    texts = ["84.6", "45.3", "53.8", "15.4", "8.5", "17.9", "0.9"]
    assert denominators(texts, 5, 177) == (117,)


def test_counts_printed_beside_percentages_narrow_the_denominator():
    cohort = {**COHORT, "n_enrolled": 137, "n_infused": 117, "n_evaluable": 87}
    entry = only(
        row("n_evaluable", value=96, status="context"),
        percent("orr", "47.1", 96, status="infeasible", denominator="evaluable"),
        percent("cr", "18.4", 96, status="infeasible", denominator="evaluable"),
        used("umrd_blood", 56, 87, percent="64.4", report_id="mohty-2023", denominator="evaluable"),
        cohorts=[cohort],
    )
    assert entry.kind == "denominator"
    assert entry.size == 9
    assert "only 87" in entry.evidence[1]


def test_a_denominator_printed_in_the_same_place_is_no_finding():
    assert not found(
        used("n_infused", value=20, report_id="mohty-2023"),
        used("orr", 15, 18, percent="83", report_id="mohty-2023", denominator="evaluable"),
        row("umrd_marrow", 11, 18, percent="61", origin="derived", denominator="evaluable"),
    )


def test_a_count_out_of_others_than_the_cohort_is_found():
    entry = only(used("crs_any", 13, 17, percent="76"))
    assert (entry.kind, entry.column, entry.size) == ("denominator", "total", 3)
    assert [(a.events, a.total) for a in entry.alternatives] == [(15, 20)]


def test_a_count_out_of_more_patients_than_its_row_is_found_even_if_left_out():
    entry = only(
        used("n_infused", value=4, report_id="mohty-2023"),
        row("crs_any", 5, 8, status="excluded"),
        cohorts=[{**COHORT, "n_infused": 4, "n_evaluable": 4}],
    )
    assert (entry.kind, entry.classification, entry.size) == ("denominator", "cohort", 4)


def test_rows_about_other_patients_are_no_conflict():
    assert not found(
        used("orr", 3, 4, denominator="evaluable"),
        used("n_infused", value=4),
        row("orr", 6, 8, status="excluded", locator="abstract", denominator="evaluable"),
        row("n_infused", value=8, status="excluded", locator="abstract"),
        row("crs_any", status="not-found", value_text="NR"),
        cohorts=[{**COHORT, "n_infused": 4, "n_evaluable": 4}],
    )


def test_one_percentage_with_and_without_denominator_is_found():
    entry = only(
        row("umrd_marrow", 14, 24, percent="58", status="disputed", denominator=None),
        percent("umrd_marrow", "58", status="context", locator="section 3"),
    )
    assert entry.id.endswith(".two-bases")


def test_responses_that_do_not_add_up_are_found():
    entry = only(used("orr", 14, 20), used("cr", 5, 20), used("pr", 8, 20))
    assert (entry.kind, entry.outcome, entry.size) == ("sum", "orr", pytest.approx(5.0))
    assert entry.message.startswith("complete response and partial response add up to 13 of 20")


def test_percentages_of_one_place_that_do_not_add_up_are_found():
    entry = only(
        row("orr", 17, 24, percent="71", origin="derived", denominator=None),
        row("cr", 4, 19, percent="21", denominator=None),
        row("pr", 10, 19, percent="53", denominator=None),
    )
    assert (entry.kind, entry.classification) == ("sum", "denominator")
    assert entry.alternatives[0].events == 14


def test_rounding_alone_is_no_failing_sum():
    parts = [percent("cr", "33"), percent("pr", "33")]
    assert not found(percent("orr", "67"), *parts)
    assert only(percent("orr", "68"), *parts).kind == "sum"


def test_grades_that_do_not_add_up_are_found():
    rows = [
        used("crs_any", 12, 20),
        used("crs_grade1", 6, 20),
        used("crs_grade2", 4, 20),
        used("crs_severe", 3, 20),
    ]
    assert only(*rows).kind == "sum"
    rows[0] = used("crs_any", 13, 20)
    assert not found(*rows)


@pytest.mark.parametrize("outcome", ["lymphodepletion_regimen", "dose_level_n"])
def test_subgroups_that_do_not_add_up_are_found(outcome: str):
    rows = [
        row(outcome, n, 20, status="context", value_text=f"part {n}", origin="counted")
        for n in (3, 5, 11)
    ]
    entry = only(*rows)
    assert (entry.kind, entry.size, entry.unit) == ("sum", 1, "patients")
    assert not found(*rows[:2], {**rows[2], "events": 12})


def test_deaths_that_do_not_add_up_are_a_remark_if_one_patient_explains_them():
    rows = [used("crs_fatal", 1, 20), used("ntx_fatal", 1, 20)]
    entry = only(*rows, used("death_treatment_related", 1, 20))
    assert (entry.kind, entry.severity) == ("sum", "remark")
    assert only(*rows, used("death_treatment_related", 0, 20)).severity == "contradiction"
    assert not found(*rows, used("death_treatment_related", 2, 20))


@pytest.mark.parametrize(
    "part,whole", [("cr", "orr"), ("crs_severe", "crs_any"), ("ntx_severe", "ntx_any")]
)
def test_a_part_above_its_whole_is_found(part: str, whole: str):
    entry = only(used(part, 9, 20), used(whole, 8, 20))
    assert (entry.kind, entry.severity) == ("order", "impossible")
    assert not found(used(part, 8, 20), used(whole, 8, 20))


@pytest.mark.parametrize(
    "small_name,large_name",
    [("n_evaluable", "n_infused"), ("n_infused", "n_enrolled"), ("n_evaluable", "n_enrolled")],
)
def test_more_patients_than_there_were_is_found(small_name: str, large_name: str):
    entry = only(row(small_name, value=31), used(large_name, value=25))
    assert (entry.kind, entry.size, entry.unit) == ("order", 6, "patients")
    assert entry.records == (f"zz-trial.{small_name.replace('_', '-')}.mohty-2023",)


def test_survival_that_rises_is_found():
    entry = only(
        used("pfs", percent="40", timepoint_months=12),
        used("pfs", percent="50", timepoint_months=24, report_id="porter-2015"),
    )
    assert (entry.kind, entry.severity) == ("time", "impossible")


def test_progression_free_survival_above_survival_is_found():
    entry = only(
        used("pfs", percent="60", timepoint_months=12),
        used("os", percent="50", timepoint_months=12),
    )
    assert entry.kind == "time" and "above overall survival" in entry.message
    entry = only(used("pfs_median", value=20.0), used("os_median", value=10.0))
    assert entry.kind == "time"


def test_one_survival_figure_at_two_times_is_found():
    rows = [
        percent("pfs", "80", timepoint_months=24, status="disputed"),
        percent("pfs", "80", timepoint_months=48, status="disputed", locator="section 1"),
    ]
    entry = only(*rows)
    assert (entry.kind, entry.classification, entry.size) == ("time", "misprint", 24)


def test_a_median_that_follow_up_cannot_show_is_a_remark():
    rows = [
        used("follow_up_median", value=19.0),
        used("dor_median", value=40.0, value_text="complete responders"),
        used("relapse_in_cr", 0, 4, denominator="responders"),
    ]
    entry = only(*rows)
    assert (entry.kind, entry.severity, entry.size) == ("time", "remark", 21)
    assert "not reached" in entry.evidence[0]
    assert not found(used("follow_up_median", value=41.0), rows[1])


def test_a_subset_of_a_curve_is_not_compared_with_the_whole():
    assert not found(
        used("pfs", percent="38", timepoint_months=12),
        percent("pfs", "59", timepoint_months=24, status="context", value_text="MRD-negative only"),
    )


def test_an_interval_of_another_count_is_found():
    entry = only(used("orr", 13, 20, ci_low=48, ci_high=79, ci_level=95))
    assert (entry.kind, entry.column) == ("interval", "ci_low")
    assert not found(used("orr", 13, 20, ci_low=41, ci_high=85, ci_level=95))
    assert not found(used("orr", 13, 20, ci_low=43, ci_high=82, ci_level=95))


def test_two_versions_of_a_count_are_found_with_their_size():
    entry = only(used("orr", 1, 8, denominator=None), row("orr", 0, 8, denominator=None))
    assert (entry.kind, entry.size, entry.unit) == ("differs", 12.5, "points")
    assert entry.classification is None
    assert [(a.events, a.total) for a in entry.alternatives] == [(0, 8)]


@pytest.mark.parametrize(
    "theirs,ours,expected",
    [
        ({"criteria": "Penn"}, {"criteria": "ASTCT 2019"}, "scale"),
        ({"report_id": "cerrano-2020"}, {}, "cut-off"),
        ({"timepoint_months": 12}, {}, "cut-off"),
        ({"events": 5, "total": 24}, {"events": 4, "total": 19}, "denominator"),
    ],
)
def test_a_rule_says_what_a_difference_comes_from(theirs: dict, ours: dict, expected: str):
    cohort = {**COHORT, "year": 2022}
    base = {"denominator": None}
    entry = only(
        used("crs_severe", **{"events": 2, "total": 19, **base, **ours}),
        row("crs_severe", **{"events": 3, "total": 19, **base, **theirs}),
        cohorts=[cohort],
    )
    assert (entry.kind, entry.classification) == ("differs", expected)
    assert entry.rule


def test_a_figure_cut_off_instead_of_rounded_is_a_misprint():
    entry = only(used("orr", 14, 22, denominator=None), percent("orr", "63"))
    assert (entry.kind, entry.classification) == ("differs", "misprint")


def test_a_wrong_digit_is_a_misprint():
    cohort = {**COHORT, "n_enrolled": None, "n_infused": 117, "n_evaluable": None}
    entry = only(used("n_infused", value=117), row("n_infused", value=177), cohorts=[cohort])
    assert (entry.kind, entry.classification, entry.size) == ("differs", "misprint", 60)


def test_a_figure_of_a_subset_told_for_all_is_another_cohort():
    entry = only(
        used("os", percent="64", timepoint_months=12),
        percent("os", "86", timepoint_months=12),
        percent(
            "os",
            "86",
            timepoint_months=12,
            status="context",
            value_text="MRD-negative only",
            report_id="porter-2015",
        ),
    )
    assert (entry.kind, entry.classification) == ("differs", "cohort")


def test_figures_of_another_time_are_not_compared():
    assert not found(
        used("orr", 14, 20, timepoint_months=1), row("orr", 10, 20, timepoint_months=6)
    )


SISTER = {**COHORT, "cohort_id": "zz-sister", "label": "Sister 2020", "partner_drug": "ibrutinib"}


def test_a_row_that_repeats_another_cohort_is_found():
    entry = only(
        used("n_infused", value=23, cohort_id="zz-sister"),
        used("orr", 18, 22, cohort_id="zz-sister", denominator="evaluable"),
        used("cr", 10, 22, cohort_id="zz-sister", denominator="evaluable"),
        used("n_infused", value=20),
        used("orr", 15, 18, denominator="evaluable"),
        used("cr", 3, 18, denominator="evaluable"),
        row("n_infused", value=23),
        percent("orr", "82", 23, status="infeasible", denominator="evaluable"),
        percent("cr", "45", 23, status="infeasible", denominator="evaluable"),
        cohorts=[COHORT, {**SISTER, "n_infused": 23, "n_evaluable": 22}],
    )
    assert (entry.kind, entry.classification) == ("other-cohort", "cohort")
    assert len(entry.records) == 3


def test_a_figure_of_another_outcome_is_found():
    entry = only(
        row("cr", 12, 17, percent="71", status="disputed", denominator=None),
        percent("nodal_response", "71", status="used", report_id="siddiqi-2023"),
    )
    assert (entry.kind, entry.column) == ("misplaced", "outcome")


def test_a_subset_with_more_events_than_the_whole_is_found():
    overlap = {"cohort_a": "zz-sister", "cohort_b": "zz-trial", "kind": "subset"}
    rows = [used("orr", 8, 20), used("orr", 9, 10, cohort_id="zz-sister")]
    sister = {**SISTER, "n_infused": 10, "n_evaluable": 10}
    entry = only(*rows, cohorts=[COHORT, sister], overlaps=[overlap])
    assert (entry.kind, entry.size) == ("shared-patients", 1)
    rows[1] = used("orr", 8, 10, cohort_id="zz-sister")
    assert not found(*rows, cohorts=[COHORT, sister], overlaps=[overlap])


def test_reports_of_one_trial_that_must_share_patients_are_a_remark():
    early = [{**COHORT, "cohort_id": f"zz-{n}", "year": 2015, "n_infused": n} for n in (4, 5)]
    late = {**COHORT, "n_infused": 8, "n_evaluable": 8}
    overlaps = [
        {"cohort_a": c["cohort_id"], "cohort_b": "zz-trial", "kind": "same-trial"} for c in early
    ]
    rows = [
        used("n_infused", value=4, cohort_id="zz-4"),
        used("n_infused", value=5, cohort_id="zz-5"),
        used("n_infused", value=8),
        used("cr", 1, 4, cohort_id="zz-4"),
        used("cr", 3, 5, cohort_id="zz-5"),
        used("cr", 5, 8),
    ]
    entries = found(*rows, cohorts=[*early, late], overlaps=overlaps)
    assert [e.kind for e in entries] == ["shared-patients"] * 2
    assert {e.outcome for e in entries} == {"n_infused", "cr"}


def test_a_disputed_row_that_no_rule_explains_is_still_listed():
    entry = only(percent("dor", "60.3", timepoint_months=12, status="disputed"))
    assert (entry.kind, entry.severity) == ("reading", "remark")


# --------------------------------------------------------------------------- properties

extracted = st.lists(
    st.tuples(
        st.sampled_from(["orr", "cr", "pr", "crs_any", "crs_severe", "ntx_any", "umrd_marrow"]),
        st.integers(0, 30),
        st.integers(1, 30),
        st.sampled_from(["used", "superseded", "disputed", "context", "excluded"]),
        st.sampled_from(["mohty-2023", "cerrano-2020", "siddiqi-2023"]),
        st.sampled_from(["infused", "evaluable", None]),
        st.sampled_from([None, 1.0, 12.0]),
    ),
    min_size=1,
    max_size=10,
)


def as_rows(drawn: list[tuple]) -> list[dict]:
    rows, in_use = [], set()
    for outcome, events, total, status, report, denominator, months in drawn:
        if status == "used" and outcome in in_use:
            status = "superseded"
        in_use |= {outcome} if status == "used" else set()
        rows.append(
            row(
                outcome,
                min(events, total),
                total,
                status=status,
                report_id=report,
                denominator=denominator,
                timepoint_months=months,
            )
        )
    return rows


@given(extracted)
@settings(max_examples=60, deadline=None)
def test_findings_are_well_formed_and_the_same_every_time(drawn: list[tuple]) -> None:
    dataset = small(*as_rows(drawn))
    entries = discrepancies(dataset)
    assert entries == discrepancies(dataset)
    names = set(dataset.extraction["record_id"])
    assert len({entry.id for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.kind in KINDS and entry.severity in SEVERITIES
        assert entry.classification in {None, *CLASSES}
        assert entry.records and {*entry.records, *entry.against} <= names
        assert entry.id.startswith(f"{entry.kind}:{entry.cohort_id}.")
        assert dataset.extraction["record_id"][entry.line - 2] in names
        assert entry.size is None or entry.size >= 0
        assert all(0 <= a.events <= a.total for a in entry.alternatives)


@given(extracted)
@settings(max_examples=40, deadline=None)
def test_a_copy_of_a_row_from_another_report_adds_nothing_new(drawn: list[tuple]) -> None:
    rows = as_rows(drawn)
    copies = [
        {**r, "status": "superseded", "report_id": "porter-2015", "locator": "abstract"}
        for r in rows
        if r["status"] == "used" and r["denominator"] is None
    ]
    before = {entry.id for entry in found(*rows)}
    after = {entry.id for entry in found(*rows, *copies)}
    assert not {name for name in after - before if name.startswith("differs:")}


@given(counts, counts)
@settings(max_examples=40, deadline=None)
def test_agreement_does_not_depend_on_the_order(a: tuple[int, int], b: tuple[int, int]) -> None:
    one, two = Package.of(small(row("orr", *a), row("orr", *b))).records
    assert agree(one, two) == agree(two, one) == (a == b)
    assert same_percentage(one, two) == same_percentage(two, one)


# --------------------------------------------------------------------------- the sources

KNOWN = {
    "177 printed for 117": "denominator:transcend-cll-004.crs-any.mohty-2023",
    "rates of 87 given of 96": "denominator:transcend-cll-004.orr.mohty-2023",
    "18% of 96": "denominator:transcend-cll-004.cr.clinicaltrialsarena-2023.of-96",
    "80% in the discussion": "differs:transcend-cll-004.orr.mohty-2023.2",
    "60% in the discussion": "differs:transcend-cll-004.cr.mohty-2023.2",
    "53% cut off": "differs:transcend-cll-004.cytopenia-prolonged.mohty-2023.2",
    "4.1% of 24": "impossible:fhcrc-turtle-2017.crs-severe.mohty-2023.2",
    "2 or 6 of 24": "differs:fhcrc-turtle-2017.crs-severe.cerrano-2020",
    "4 of 19 and 10 of 19 but 71%": "sum:fhcrc-turtle-2017.orr.mohty-2023",
    "21% of 19 or of 24": "differs:fhcrc-turtle-2017.cr.cerrano-2020",
    "one or two deaths": "sum:fhcrc-turtle-2017.death-treatment-related.cerrano-2020.fatal",
    "58% of whom": "denominator:fhcrc-turtle-2017.umrd-marrow.cerrano-2020.two-bases",
    "the row of another cohort": "other-cohort:transcend-cll-004-ibrutinib.orr.mohty-2023",
    "6% of 23": "impossible:transcend-cll-004-ibrutinib.crs-severe.mohty-2023",
    "83% of 19, liso-cel": "denominator:transcend-cll-004-ibrutinib.orr.mohty-2023.2",
    "83% of 19, Seattle": "denominator:fhcrc-gauthier-2020.orr.mohty-2023.2",
    "83% of 17": "impossible:fhcrc-gauthier-2020.orr.mohty-2023",
    "17 or 19 patients": "denominator:fhcrc-gauthier-2020.cr.mohty-2023.of-17",
    "71% in lymph nodes": "misplaced:fhcrc-gauthier-2020.cr.mohty-2023",
    "two assays": "differs:fhcrc-gauthier-2020.umrd-marrow.mohty-2023",
    "86% of a subset": "differs:fhcrc-gauthier-2020.os.cancertherapyadvisor-2020",
    "0 or 1 of 8": "differs:mskcc-brentjens-2011.orr.mohty-2023",
    "5 or 3 of 8": "differs:mskcc-geyer-2018.orr.mohty-2023",
    "3 or 2 of 8": "differs:mskcc-geyer-2018.cr.mohty-2023",
    "4 of 8, interim": "differs:mskcc-geyer-2018.orr.geyer-brentjens-2016",
    "44% of 19": "denominator:penn-gill-2022.cr.mohty-2023",
    "50% at 12 months": "differs:penn-gill-2022.cr.mohty-2023.3",
    "63.5%": "impossible:penn-gill-2022.crs-grade1.mohty-2023",
    "71% and 43% of 19": "denominator:penn-gill-2022.orr.cerrano-2020",
    "two grading scales": "differs:penn-gill-2022.crs-severe.cerrano-2020",
    "80% at 24 and 48 months": "time:penn-gill-2022.pfs.mohty-2023.2.two-times",
    "81% and 45% of 23": "denominator:transcend-cll-004-phase-1.orr.cerrano-2020",
    "5 of 8 among 4": "denominator:nci-kochenderfer-2012.crs-any.mohty-2023.of-8",
    "66% of 3": "impossible:penn-kalos-2011.cr.mohty-2023",
    "40 months of 19": "time:penn-porter-2015.dor-median.mohty-2023.beyond-follow-up",
    "33 months of 18": "time:fhcrc-gauthier-2021.dor-median.gauthier-2021.beyond-follow-up",
    "9 of 8 patients": "shared-patients:nci-cappell-2020.n-infused.mohty-2023",
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_contradictions_are_found(name: str):
    assert KNOWN[name] in {entry.finding.id for entry in real_conflicts()}


def test_there_are_many_findings_and_none_is_open():
    assert len(real_conflicts()) >= 40
    assert [entry.finding.id for entry in real_conflicts() if entry.open] == []


def test_every_resolution_belongs_to_a_finding():
    found = tuple(entry.finding for entry in real_conflicts())
    assert conflicts.unmatched(real(), found) == []
    stray = real().resolutions.copy()
    stray.loc[0, "finding_id"] = "differs:nobody.orr.nowhere"
    problems = conflicts.unmatched(replace(real(), resolutions=stray), found)
    assert [(p.file, p.row, p.column) for p in problems] == [("resolutions.csv", 2, "finding_id")]


def test_a_classification_is_there_unless_nothing_is_wrong():
    for entry in real_conflicts():
        assert entry.classification or entry.finding.severity == "remark", entry.finding.id


def test_resolutions_have_the_meanings_of_the_schema():
    resource = next(r for r in real().schema["resources"] if r["name"] == "resolutions")
    fields = {f["name"]: f for f in resource["schema"]["fields"]}
    assert fields["resolution"]["constraints"]["enum"] == list(conflicts.RESOLUTIONS)
    assert fields["classification"]["constraints"]["enum"] == list(CLASSES)
    description = fields["resolution"]["description"]
    assert all(f"{name}: " in description for name in conflicts.RESOLUTIONS)


def test_pinned_findings_equal_a_recomputation():
    assert conflicts.compare(real_conflicts()) == []


def test_effects_are_the_pooled_estimates_with_the_other_count():
    entry = next(e for e in real_conflicts() if e.finding.id == KNOWN["2 or 6 of 24"])
    (effect,) = entry.effects
    target = estimand(effect.estimand_id)
    rows = evidence(real(), target).rows.copy()
    main = pooled(evidence(real(), target))
    assert effect.fit.estimate == pytest.approx(main.estimate, rel=1e-9)
    turtle = rows["cohort_id"] == "fhcrc-turtle-2017"
    rows.loc[turtle, "events"] = 6
    other = pooled(replace(evidence(real(), target), rows=rows))
    assert effect.other.estimate == pytest.approx(other.estimate, rel=1e-9)
    assert effect.change == pytest.approx(100 * (other.estimate - main.estimate))


def test_effects_are_told_only_where_the_cohort_is_pooled():
    pooled_cohorts = {
        target: set(evidence(real(), estimand(target)).rows["cohort_id"])
        for entry in real_conflicts()
        for target in (effect.estimand_id for effect in entry.effects)
    }
    for entry in real_conflicts():
        for effect in entry.effects:
            inside = effect.alternative.cohort_id in pooled_cohorts[effect.estimand_id]
            assert inside or effect.used == ""
        if entry.finding.cohort_id in {"penn-kalos-2011", "mskcc-geyer-2018"}:
            assert entry.effects == ()


def copied(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    shutil.copytree(DATA_DIR, folder)
    return folder


def append(folder: Path, **cells: str) -> None:
    path = folder / "extraction.csv"
    text = path.read_text(encoding="utf-8")
    columns = next(csv.reader(io.StringIO(text)))
    out = io.StringIO()
    csv.DictWriter(out, columns, restval="", lineterminator="\n").writerow(cells)
    path.write_text(text + out.getvalue(), encoding="utf-8")


NEW = {
    "record_id": "penn-frey-2020.orr.cllreview-2018",
    "cohort_id": "penn-frey-2020",
    "outcome": "orr",
    "events": "20",
    "total": "32",
    "denominator": "evaluable",
    "report_id": "cllreview-2018",
    "locator": "paragraph 3",
    "origin": "counted",
    "confidence": "low",
    "status": "disputed",
    "reason": "Made up for a test.",
}


def test_a_new_contradiction_is_found_listed_as_open_and_does_not_fail(tmp_path: Path):
    folder = copied(tmp_path)
    append(folder, **NEW)
    result = CliRunner().invoke(cli.app, ["check", "--data", str(folder)])
    assert result.exit_code == 0, result.output
    (line,) = [text for text in result.output.splitlines() if text.endswith("[open]")]
    assert "cllreview-2018 has 20 of 32" in line
    assert "data/extraction.csv, row" in line and "column events" in line
    assert "1 open" in result.output
    (entry,) = [e for e in conflicts.conflicts(load(folder)) if e.open]
    assert entry.finding.id == "differs:penn-frey-2020.orr.cllreview-2018"
    assert [e.estimand_id for e in entry.effects] == ["orr-cd19-single-agent"]
    differences = conflicts.compare(conflicts.conflicts(load(folder)), folder)
    assert differences == [f"{entry.finding.id}: found, but not pinned"]
    again = CliRunner().invoke(cli.app, ["conflicts", "--data", str(folder)])
    assert again.exit_code == 1


def test_a_defect_of_the_data_fails_before_any_finding(tmp_path: Path):
    folder = copied(tmp_path)
    append(folder, **{**NEW, "percent": "50"})
    result = CliRunner().invoke(cli.app, ["check", "--data", str(folder)])
    assert result.exit_code == 1
    assert "20 of 32 is not 50%" in result.output
    assert "findings about the sources" not in result.output


def test_check_lists_findings_by_kind_or_counts_them():
    full = CliRunner().invoke(cli.app, ["check"])
    brief = CliRunner().invoke(cli.app, ["check", "--brief"])
    assert full.exit_code == brief.exit_code == 0
    for heading in {KINDS[entry.finding.kind] for entry in real_conflicts()}:
        assert heading in full.output and heading in brief.output
    lines = [text for text in full.output.splitlines() if text.startswith("  data/extraction.csv")]
    assert len(lines) == len(real_conflicts())
    assert "data/extraction.csv" not in brief.output


def test_conflicts_can_be_written_and_compared(tmp_path: Path):
    folder = copied(tmp_path)
    (folder / "conflicts.csv").unlink()
    missing = CliRunner().invoke(cli.app, ["conflicts", "--data", str(folder)])
    assert missing.exit_code == 1 and "missing" in missing.output
    written = CliRunner().invoke(cli.app, ["conflicts", "--write", "--data", str(folder)])
    assert written.exit_code == 0
    assert (folder / "conflicts.csv").read_bytes() == (DATA_DIR / "conflicts.csv").read_bytes()
    assert load(folder).sha256 == real().sha256


# --------------------------------------------------------------------------- the chapter


def test_the_table_of_findings_is_complete_and_leads_to_rows_of_the_data():
    page = audit.browse(real_conflicts(), real()).source
    soup = BeautifulSoup(page, "html.parser")
    rows = soup.select("tbody tr")
    assert len(rows) == len(real_conflicts())
    anchors = {f"data.html#{name}" for name in real().extraction["record_id"]}
    links = {a["href"] for a in soup.select("tbody a") if a["href"].startswith("data.html")}
    assert links and links <= anchors
    names = [tag["id"] for tag in soup.select("tbody [id]")]
    assert len(set(names)) == len(real_conflicts())


def test_links_of_the_short_table_lead_into_the_long_one():
    long = BeautifulSoup(audit.browse(real_conflicts(), real()).source, "html.parser")
    short = BeautifulSoup(audit.matter(real_conflicts(), real()).source, "html.parser")
    names = {tag["id"] for tag in long.select("[id]")}
    targets = [a["href"] for a in short.select("th a")]
    assert targets and all(target.removeprefix("#") in names for target in targets)


def test_the_examples_show_the_computed_denominators():
    for name, stated, true in (
        ("177 printed for 117", 177, 117),
        ("rates of 87 given of 96", 96, 87),
    ):
        page = audit.denominator_example(real(), real_conflicts(), KNOWN[name]).source
        soup = BeautifulSoup(page, "html.parser")
        heads = [th.text for th in soup.select("thead th")]
        assert heads[-1] == f"Count of {true}"
        assert f"Possible of {stated}" in heads
        cells = [[td.text for td in tr.select("td")] for tr in soup.select("tbody tr")]
        for printed, _, possible, count in cells:
            assert possible == ("yes" if is_possible(printed[:-1], stated) else "no")
            assert count in {str(c) for c in possible_counts(printed[:-1], true)}


def test_an_example_whose_finding_is_gone_says_so():
    page = audit.denominator_example(real(), (), KNOWN["177 printed for 117"]).source
    assert "no longer" in page


def test_every_version_of_the_third_example_has_its_estimate():
    page = audit.rounding_example(real(), real_conflicts(), "fhcrc-turtle-2017", "crs_severe")
    soup = BeautifulSoup(page.source, "html.parser")
    last = [tr.select("td")[-1].text for tr in soup.select("tbody tr")]
    assert len(last) == 3 and all("%" in text for text in last) and len(set(last)) == 3


def test_counts_of_kinds_classes_and_documents_add_up():
    n = len(real_conflicts())
    for part in (
        audit.by_kind(real_conflicts()),
        audit.by_class(real_conflicts()),
    ):
        soup = BeautifulSoup(part.source, "html.parser")
        assert sum(int(tr.select("td")[0].text) for tr in soup.select("tbody tr")) == n
    soup = BeautifulSoup(audit.by_source(real_conflicts(), real()).source, "html.parser")
    cells = [[int(td.text) for td in tr.select("td")] for tr in soup.select("tbody tr")]
    assert sum(sum(numbers[1:]) for numbers in cells) == n


def test_open_findings_are_called_open_on_the_page():
    bare = replace(real(), resolutions=real().resolutions.iloc[:0])
    entries = tuple(replace(e, resolution=None, reason="") for e in real_conflicts()[:2])
    assert "Open: no decision" in audit.browse(entries, bare).source
    assert "2 open" in audit.summary(entries).source
