"""Every way to count no patient twice: the enumeration against brute force, the ranges, the map."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import choices, estimands, overlap
from analysis.data import Dataset
from analysis.data import load as load_package
from analysis.pooling import pool

NAMES = "abcdefghi"
KINDS = ("subset", "same-trial", "possible")


@cache
def load() -> Dataset:
    return load_package()


def frame(pairs: list[tuple[str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["cohort_a", "cohort_b", "kind"], dtype="string")


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[str], pd.DataFrame]:
    """Up to nine cohorts in any order, any pairs of them, of any kind."""
    size = draw(st.integers(0, len(NAMES)))
    cohorts = draw(st.permutations(NAMES[:size]))
    pairs = [
        (a, b, draw(st.sampled_from(KINDS)))
        for a, b in combinations(NAMES[:size], 2)
        if draw(st.booleans())
    ]
    return cohorts, frame(pairs)


def brute_force(cohorts: list[str], edges: set[frozenset[str]]) -> set[frozenset[str]]:
    """All independent sets, of which those are kept that are inside no other."""
    independent = [
        frozenset(chosen)
        for size in range(len(cohorts) + 1)
        for chosen in combinations(cohorts, size)
        if not any(frozenset(pair) in edges for pair in combinations(chosen, 2))
    ]
    return {one for one in independent if not any(one < other for other in independent)}


@given(graphs(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_enumeration_equals_brute_force(
    graph: tuple[list[str], pd.DataFrame], possible: bool
) -> None:
    cohorts, overlaps = graph
    edges = {
        frozenset((row.cohort_a, row.cohort_b))
        for row in overlaps.itertuples()
        if possible or row.kind != "possible"
    }
    found = overlap.maximal_sets(cohorts, overlaps, possible=possible)
    assert len(found) == len(set(found))
    assert {frozenset(chosen) for chosen in found} == brute_force(cohorts, edges)


@given(graphs(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_of_pairs_and_cohorts_does_not_matter(
    graph: tuple[list[str], pd.DataFrame], random: object
) -> None:
    cohorts, overlaps = graph
    found = overlap.maximal_sets(cohorts, overlaps)
    turned = overlaps.rename(columns={"cohort_a": "cohort_b", "cohort_b": "cohort_a"})
    turned = turned.sample(frac=1, random_state=random.randrange(1000))  # type: ignore[attr-defined]
    assert overlap.maximal_sets(cohorts, turned) == found
    again = overlap.maximal_sets(cohorts[::-1], overlaps)
    assert {frozenset(chosen) for chosen in again} == {frozenset(chosen) for chosen in found}
    position = {cohort: i for i, cohort in enumerate(cohorts)}
    for chosen in found:
        assert list(chosen) == sorted(chosen, key=position.__getitem__)


@given(graphs(), st.data())
@settings(max_examples=60, deadline=None)
def test_the_rule_is_one_of_the_choices(
    graph: tuple[list[str], pd.DataFrame], data: st.DataObject
) -> None:
    cohorts, overlaps = graph
    rows = pd.DataFrame(
        {
            "cohort_id": cohorts,
            "total": data.draw(
                st.lists(st.integers(1, 4), min_size=len(cohorts), max_size=len(cohorts))
            ),
            "year": 2020,
            "report_kind": "trial paper",
        }
    )
    kept, dropped = overlap.choose(rows, overlaps)
    assert tuple(kept) in overlap.maximal_sets(cohorts, overlaps)
    assert set(kept) | set(dropped) == set(cohorts)
    for cohort, instead in dropped.items():
        assert instead in kept
        why = overlap.deciding(rows, instead, cohort)
        totals = rows.set_index("cohort_id")["total"]
        assert (why == "more patients") == (totals[instead] > totals[cohort])


def test_many_choices_are_refused_in_one_sentence() -> None:
    pairs = [(f"{i}a", f"{i}b", "subset") for i in range(12)]
    cohorts = [name for a, b, _ in pairs for name in (a, b)]
    assert len(overlap.maximal_sets(cohorts, frame(pairs))) == 2**12
    with pytest.raises(ValueError, match="more than 100 sets"):
        overlap.maximal_sets(cohorts, frame(pairs), limit=100)
    with pytest.raises(ValueError, match="cohort 0a has more than one row"):
        overlap.maximal_sets([*cohorts, "0a"], frame(pairs))


@pytest.mark.parametrize(
    ("pairs", "implied"),
    [
        ([("a", "b", "subset"), ("b", "c", "subset")], [("a", "c", "subset")]),
        # what a subset shares, the whole shares
        ([("a", "b", "subset"), ("a", "c", "same-trial")], [("b", "c", "same-trial")]),
        ([("a", "b", "subset"), ("a", "c", "possible")], [("b", "c", "possible")]),
        # what the whole shares, the subset may share
        ([("a", "b", "subset"), ("b", "c", "same-trial")], [("a", "c", "possible")]),
        # sharing is not handed on between sets of which neither contains the other
        ([("a", "b", "same-trial"), ("b", "c", "same-trial")], []),
    ],
)
def test_pairs_that_follow(
    pairs: list[tuple[str, str, str]], implied: list[tuple[str, str, str]]
) -> None:
    assert overlap.implied_pairs(frame(pairs)) == implied


def test_the_list_of_overlaps_is_complete() -> None:
    dataset = load()
    assert overlap.implied_pairs(dataset.overlaps) == []
    # cohorts of one registration without a pair must be groups enrolled apart: never pooled both
    apart = {frozenset(pair[1:]) for pair in overlap.unlinked(dataset.cohorts, dataset.overlaps)}
    for target in estimands.estimands():
        kept = list(estimands.evidence(dataset, target).rows["cohort_id"])
        assert not apart & {frozenset(pair) for pair in combinations(kept, 2)}, target.id


@pytest.mark.parametrize("target", estimands.estimands(), ids=lambda target: target.id)
@pytest.mark.parametrize("possible", [True, False])
def test_range_contains_the_main_estimate(target: estimands.Estimand, possible: bool) -> None:
    dataset = load()
    found = estimands.evidence(dataset, target)
    options = choices.choices(found, dataset.overlaps, possible=possible)
    assert set(options.rows["cohort_id"]) == set(found.rows["cohort_id"]) | set(
        found.shared["cohort_id"]
    )
    fit = estimands.pooled(found)
    assert fit is not None
    assert [options.rows["cohort_id"].iloc[i] for i in options.main] == list(
        found.rows["cohort_id"]
    )
    assert options.main_at is not None
    assert options.exchanged(options.main_at) == []
    if fit.estimate is None:
        assert np.isnan(options.estimate[options.main_at])
        return
    assert options.estimate[options.main_at] == pytest.approx(fit.estimate, abs=1e-9)
    assert options.lowest is not None
    assert options.highest is not None
    low, high = options.estimate[options.lowest], options.estimate[options.highest]
    assert low - 1e-9 <= fit.estimate <= high + 1e-9
    for at in {0, options.lowest, options.highest}:
        rows = options.rows.iloc[list(options.sets[at])]
        alone = pool(list(rows["events"]), list(rows["total"]), **estimands.PRIMARY)
        assert options.estimate[at] == pytest.approx(alone.estimate, abs=1e-7)
        assert options.ci_low[at] == pytest.approx(alone.ci_low, abs=1e-6)
        assert options.ci_high[at] == pytest.approx(alone.ci_high, abs=1e-6)


def test_clusters_join_one_registration_and_shared_patients() -> None:
    rows = pd.DataFrame(
        {
            "cohort_id": ["a", "b", "c", "d", "e"],
            "trial_id": pd.array(["T1", "T1", pd.NA, "T2", pd.NA], dtype="string"),
        }
    )
    assert choices.trial_clusters(rows, frame([("c", "d", "possible")])) == [0, 0, 1, 1, 2]


def test_clustered_result_pools_every_cohort() -> None:
    dataset = load()
    found = estimands.evidence(dataset, estimands.estimand("orr-cd19-single-agent"))
    result = choices.clustered(found, dataset.overlaps)
    assert result is not None
    assert result.k == len(found.rows) + len(found.shared)
    assert result.clusters == len(found.rows)
    assert result.ci_low < result.estimate < result.ci_high
