"""One cohort per patient set: the rule, and what must hold for any data."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.data import load
from analysis.overlap import RULE, choose, maximal_sets

KINDS = ["trial paper", "review", "abstract"]


def table(*rows: tuple[str, int, int | None, str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["cohort_id", "total", "year", "report_kind"])
    return frame.astype({"total": "Int64", "year": "Int64"})


def pairs(*given_: tuple[str, str]) -> pd.DataFrame:
    rows = [(a, b, "same-trial") for a, b in given_]
    return pd.DataFrame(rows, columns=["cohort_a", "cohort_b", "kind"])


@st.composite
def problems(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = [f"c{i}" for i in range(draw(st.integers(0, 9)))]
    rows = [
        (
            name,
            draw(st.integers(1, 4)),
            draw(st.none() | st.integers(2010, 2012)),
            draw(st.sampled_from(KINDS)),
        )
        for name in names
    ]
    # some pairs name cohorts that do not report this outcome
    everybody = [*names, "elsewhere-1", "elsewhere-2"]
    links = draw(st.lists(st.sampled_from(list(combinations(everybody, 2))), max_size=14))
    turned = [(b, a) if draw(st.booleans()) else (a, b) for a, b in links]
    return table(*rows), pairs(*turned)


def neighbors(overlaps: pd.DataFrame) -> set[frozenset[str]]:
    both = zip(overlaps["cohort_a"], overlaps["cohort_b"], strict=True)
    return {frozenset(pair) for pair in both}


def rank(rows: pd.DataFrame, cohort: str) -> tuple[Any, ...]:
    """The rule, written out once more: patients, year (unknown is earliest), own paper, name."""
    row = rows[rows["cohort_id"] == cohort].iloc[0]
    year = 0 if pd.isna(row["year"]) else int(row["year"])
    return (-int(row["total"]), -year, row["report_kind"] != "trial paper", cohort)


@given(problems())
def test_no_two_kept_cohorts_share_patients(problem: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    rows, overlaps = problem
    kept, _ = choose(rows, overlaps)
    linked = neighbors(overlaps)
    assert not [pair for pair in combinations(kept, 2) if frozenset(pair) in linked]


@given(problems())
def test_every_dropped_cohort_shares_patients_with_a_kept_one_that_ranks_before_it(
    problem: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    rows, overlaps = problem
    kept, dropped = choose(rows, overlaps)
    linked = neighbors(overlaps)
    for cohort, keeper in dropped.items():
        assert keeper in kept
        assert frozenset((cohort, keeper)) in linked
        assert rank(rows, keeper) < rank(rows, cohort)


@given(problems())
def test_every_cohort_is_kept_or_dropped_and_the_order_of_rows_stays(
    problem: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    rows, overlaps = problem
    kept, dropped = choose(rows, overlaps)
    assert sorted([*kept, *dropped]) == sorted(rows["cohort_id"])
    assert kept == [cohort for cohort in rows["cohort_id"] if cohort in kept]


@given(problems(), st.randoms(use_true_random=False))
def test_order_of_the_files_does_not_matter(
    problem: tuple[pd.DataFrame, pd.DataFrame], random: Any
) -> None:
    rows, overlaps = problem
    kept, dropped = choose(rows, overlaps)
    shuffled = rows.iloc[random.sample(range(len(rows)), len(rows))]
    relinked = overlaps.iloc[random.sample(range(len(overlaps)), len(overlaps))]
    turned = relinked.rename(columns={"cohort_a": "cohort_b", "cohort_b": "cohort_a"})
    again, dropped_again = choose(shuffled, turned)
    assert set(again) == set(kept)
    assert dropped_again == dropped


@given(problems())
def test_the_first_in_rank_is_always_kept(problem: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    rows, overlaps = problem
    if len(rows):
        first = min(rows["cohort_id"], key=lambda cohort: rank(rows, cohort))
        assert first in choose(rows, overlaps)[0]


@given(problems())
def test_maximal_sets_are_those_found_by_trying_every_subset(
    problem: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    rows, overlaps = problem
    names = list(rows["cohort_id"])
    linked = neighbors(overlaps)

    def free(chosen: tuple[str, ...]) -> bool:
        return not any(frozenset(pair) in linked for pair in combinations(chosen, 2))

    subsets = [s for n in range(len(names) + 1) for s in combinations(names, n) if free(s)]
    expected = {
        s for s in subsets if not any(free((*s, other)) for other in names if other not in s)
    }
    found = maximal_sets(names, overlaps)
    assert set(found) == expected
    assert len(found) == len(expected)
    assert tuple(choose(rows, overlaps)[0]) in expected


@pytest.mark.parametrize(
    "rows,kept",
    [
        # more patients win over a later report and the trial's own paper
        ([("a", 20, 2010, "review"), ("b", 19, 2020, "trial paper")], "a"),
        # with as many patients the later report wins over the trial's own paper
        ([("a", 20, 2010, "trial paper"), ("b", 20, 2011, "review")], "b"),
        # in one year the trial's own paper wins
        ([("a", 20, 2010, "review"), ("b", 20, 2010, "trial paper")], "b"),
        # a report without a year is the earliest
        ([("a", 20, None, "trial paper"), ("b", 20, 1999, "review")], "b"),
        # at last the name decides
        ([("b", 20, 2010, "review"), ("a", 20, 2010, "review")], "a"),
    ],
)
def test_the_rule_step_by_step(rows: list[Any], kept: str) -> None:
    other = {"a": "b", "b": "a"}[kept]
    assert choose(table(*rows), pairs(("a", "b"))) == ([kept], {other: kept})


def test_the_rule_reads_as_it_works() -> None:
    assert RULE.index("largest denominator") < RULE.index("latest") < RULE.index("own paper")


def test_a_chain_keeps_both_ends() -> None:
    rows = table(
        ("small", 5, 2010, "review"), ("middle", 9, 2010, "review"), ("large", 10, 2010, "review")
    )
    kept, dropped = choose(rows, pairs(("small", "middle"), ("middle", "large")))
    assert kept == ["small", "large"]
    assert dropped == {"middle": "large"}


def test_an_overlap_that_is_only_possible_counts() -> None:
    overlaps = pairs(("a", "b")).assign(kind="possible")
    kept, dropped = choose(table(("a", 5, 2010, "review"), ("b", 9, 2010, "review")), overlaps)
    assert (kept, dropped) == (["b"], {"a": "b"})


def test_a_cohort_with_two_rows_is_refused() -> None:
    rows = table(("a", 5, 2010, "review"), ("a", 6, 2011, "review"))
    with pytest.raises(ValueError, match="cohort a has more than one row"):
        choose(rows, pairs())


def test_cohorts_of_one_registered_trial_are_linked_or_known_to_be_apart() -> None:
    """Reports of one trial share patients unless they are named here as separate groups."""
    given_with_a_drug = {"transcend-cll-004-ibrutinib", "transcend-cll-004-venetoclax"}
    apart = {frozenset(("fhcrc-turtle-2017", "fhcrc-gauthier-2020"))}
    other_disease = {"fhcrc-turtle-2016", "bcm-ramos-2016-myeloma"}
    dataset = load()
    linked = neighbors(dataset.overlaps)
    cohorts = dataset.cohorts[dataset.cohorts["trial_id"].notna()]
    forgotten = [
        (a, b)
        for _, group in cohorts.groupby("trial_id")
        for a, b in combinations(group["cohort_id"], 2)
        if frozenset((a, b)) not in linked | apart
        and not {a, b} & (given_with_a_drug | other_disease)
    ]
    assert forgotten == []
