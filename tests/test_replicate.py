"""Published pools: made-up pools recognized, broken ones flagged, known rows of the file held."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from analysis import candidates, geometry, replicate
from analysis.candidates import Candidate
from analysis.data import Dataset
from analysis.data import load as load_package
from analysis.geometry import Printed
from analysis.pooling import pool


@cache
def load() -> Dataset:
    return load_package()


SCALES = (*geometry.SCALES, "log-log")


def printed(value: float, decimals: int = 2) -> Printed:
    return Printed.percent(round(100 * value, decimals))


def interval(scale: str, p: float, half: float, n: float = 30.0) -> tuple[float, float, float]:
    """An interval that is symmetric on a scale, by functions written for this test."""
    if scale == "freeman-tukey":
        size = np.linspace(0, 1, 200_001)
        forward = 0.5 * (
            np.arcsin(np.sqrt(n * size / (n + 1))) + np.arcsin(np.sqrt((n * size + 1) / (n + 1)))
        )
        middle = float(np.interp(p, size, forward))
        ends = np.interp([middle - half, middle + half], forward, size)
        return p, float(ends[0]), float(ends[1])
    to, back = {
        "raw": (lambda x: x, lambda y: y),
        "logit": (lambda x: math.log(x / (1 - x)), lambda y: 1 / (1 + math.exp(-y))),
        "arcsine": (lambda x: math.asin(math.sqrt(x)), lambda y: math.sin(y) ** 2),
        "log-log": (lambda x: -math.log(-math.log(x)), lambda y: math.exp(-math.exp(-y))),
    }[scale]
    return p, back(to(p) - half), back(to(p) + half)


@given(
    st.sampled_from(SCALES),
    st.floats(0.15, 0.85),
    st.floats(0.03, 0.1),
    st.sampled_from([0, 1, 2, 4]),
    st.integers(8, 60),
)
@settings(max_examples=120, deadline=None)
def test_an_interval_is_recognized_on_the_scale_it_was_made_on(
    scale: str, p: float, half: float, decimals: int, n: int
) -> None:
    estimate, low, high = interval(scale, p, half, n)
    assume(low > 0.005 and high < 0.995)
    found = geometry.geometry(
        printed(estimate, decimals),
        printed(low, decimals),
        printed(high, decimals),
        scales=SCALES,
        max_study=60,
    )
    assert scale in found.fitting
    fit = found.on(scale)
    if scale != "freeman-tukey":
        assert fit.se[0] - 1e-9 <= half / geometry.Z95 <= fit.se[1] + 1e-9
    else:
        assert fit.sizes is not None
        if decimals == 4:
            assert fit.sizes[0] - 2 <= n <= fit.sizes[1] + 2


@pytest.mark.parametrize(
    ("scale", "half"),
    [
        ("raw", 0.13913),
        ("logit", 0.8),
        ("arcsine", 0.17),
        ("freeman-tukey", 0.17),
        ("log-log", 0.45),
    ],
)
def test_enough_decimals_tell_the_scales_apart(scale: str, half: float) -> None:
    made = [printed(value, 3) for value in interval(scale, 0.34567, half, 12)]
    found = geometry.geometry(*made, scales=SCALES, max_study=40)
    # Freeman-Tukey has a free study size and can come near to another scale; the rest cannot
    assert set(found.fitting) - {"freeman-tukey"} == {scale} - {"freeman-tukey"}
    assert scale in found.fitting


@given(st.floats(0.2, 0.8), st.floats(0.05, 0.12), st.floats(0.03, 0.06), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_moved_estimate_fits_no_scale_and_its_repair_is_the_original(
    p: float, half: float, shift: float, up: bool
) -> None:
    estimate, low, high = interval("arcsine", p, half)
    assume(low > 0.03 and high < 0.97)
    moved = estimate + (shift if up else -shift)
    assume(low + 0.01 < moved < high - 0.01)
    parts = [printed(value, 1) for value in (moved, low, high)]
    assert geometry.geometry(*parts, max_study=30).fitting == ()
    said = geometry.repairs(*parts, "arcsine")
    assert len(said) == 3
    repaired = float(said[0].removeprefix("the estimate ").removesuffix("%")) / 100
    assert repaired == pytest.approx(estimate, abs=0.002)


def test_a_limit_at_the_end_may_have_been_cut() -> None:
    # arcsine: 93% with a lower limit of 65% would end beyond 100%
    cut = geometry.geometry(*(Printed.percent(v) for v in (93, 65, 100)))
    assert "arcsine" in cut.fitting
    # a side that was cut at 100% cannot be the longer one
    wrong = geometry.geometry(*(Printed.percent(v) for v in (70, 65, 100)))
    assert wrong.fitting == ()
    with pytest.raises(ValueError, match="do not enclose the estimate"):
        geometry.geometry(*(Printed.percent(v) for v in (50, 60, 70)))


def test_effective_number_of_patients_is_the_number_of_one_sample() -> None:
    p, n = 0.4, 150
    for scale, se in (
        ("raw", math.sqrt(p * (1 - p) / n)),
        ("logit", 1 / math.sqrt(n * p * (1 - p))),
        ("arcsine", 1 / math.sqrt(4 * n)),
        ("log-log", math.sqrt((1 - p) / (n * p)) / abs(math.log(p))),
    ):
        made = [printed(v, 4) for v in interval(scale, p, geometry.Z95 * se)]
        low, high = geometry.geometry(*made, scales=(scale,)).on(scale).effective
        assert low <= n * 1.0001
        assert high >= n * 0.9999
        assert high - low < 0.5


@given(st.integers(2, 30), st.floats(0.1, 200))
def test_heterogeneity_of_a_real_q_holds_and_of_a_wrong_i2_fails(k: int, q: float) -> None:
    q = round(q, 2)
    assume(q > 0)
    share = max(0.0, (q - (k - 1)) / q)
    p = float(chi2.sf(q, k - 1))
    shown = f"{p:.4f}" if p >= 0.0001 else "<0.0001"
    checks = replicate.check_heterogeneity(k, q, f"{100 * share:.1f}", shown)
    assert [check.status for check in checks] == ["holds", "holds"]
    wrong = 100 * share + 3 if share < 0.9 else 100 * share - 3
    checks = replicate.check_heterogeneity(k, q, f"{wrong:.1f}", shown)
    tolerance = 100 * (k - 1) / q**2 * 0.005 + 0.05
    assume(tolerance < 2.9)
    assert checks[0].status == "fails"
    assert not checks[0].inference


def test_heterogeneity_without_q_uses_what_i2_implies() -> None:
    (check,) = replicate.check_heterogeneity(14, None, "88.3", "<0.001")
    assert check.status == "holds"
    (check,) = replicate.check_heterogeneity(14, None, "10.0", "<0.001")
    assert check.status == "fails"
    assert replicate.check_heterogeneity(None, 10.0, "50", None) == []
    assert replicate.check_heterogeneity(5, None, None, "0.5") == []


@pytest.mark.parametrize(
    ("events", "total", "percent", "status"),
    [(17, 24, 70.8, "holds"), (17, 24, 70.9, "fails"), (1, 8, 13, "holds"), (1, 8, 11, "fails")],
)
def test_a_percentage_is_held_to_its_count(
    events: int, total: int, percent: float, status: str
) -> None:
    assert replicate.check_sum(events, total, percent).status == status


def test_split_gives_the_standard_error_of_dersimonian_laird() -> None:
    """The formula against the pooling module: sizes and a Q that data produce."""
    events, total = [30, 4, 9, 14], [60, 20, 20, 20]
    fit = pool(events, total, "dl", transform="arcsine", interval="wald")
    assert fit.q is not None
    by_size = dict(geometry.split_for_se(4, 120, fit.q))
    assert by_size[60] == pytest.approx(fit.se, rel=1e-9)
    assert min(by_size) == 30


# ------------------------------------------------------------------ search


def single(counts: list[tuple[int, int]]) -> list[list[tuple[Candidate, ...]]]:
    return [[(), (Candidate(str(i), f"T{i}", e, n),)] for i, (e, n) in enumerate(counts)]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(9, 12)), min_size=1, max_size=8),
    st.integers(1, 5),
    st.integers(9, 60),
)
@settings(max_examples=80, deadline=None)
def test_combinations_equal_brute_force(counts: list[tuple[int, int]], k: int, total: int) -> None:
    from itertools import combinations

    found, complete = candidates.combinations_of(single(counts), k=k, total=total)
    expected = {
        chosen
        for chosen in combinations(range(len(counts)), k)
        if sum(counts[i][1] for i in chosen) == total
    }
    assert complete
    assert {tuple(int(c.cohort_id) for c in combination) for combination in found} == expected
    assert len(found) == len(expected)
    some, all_there = candidates.combinations_of(single(counts), k=k, total=total, limit=1)
    assert len(some) == min(1, len(expected))
    assert all_there == (len(expected) <= 1)


@pytest.mark.parametrize("scale", geometry.SCALES)
@pytest.mark.parametrize("model", ["dl", "reml"])
def test_a_pool_made_from_candidates_is_reproduced(scale: str, model: str) -> None:
    counts = [(8, 14), (17, 24), (14, 32), (41, 87), (7, 8), (1, 8), (3, 9), (25, 30), (15, 18)]
    used = [0, 1, 2, 6]
    fit = pool(
        [counts[i][0] for i in used],
        [counts[i][1] for i in used],
        model,
        transform=scale,
        interval="wald",
    )
    assert fit.estimate is not None
    assert fit.ci_low is not None
    assert fit.ci_high is not None
    assert fit.q is not None
    wanted = {
        "percent": round(100 * fit.estimate, 1),
        "ci_low": round(100 * fit.ci_low, 1),
        "ci_high": round(100 * fit.ci_high, 1),
        "k": 4,
        "total": sum(counts[i][1] for i in used),
    }
    found = candidates.reproduce(single(counts), **wanted, q=round(fit.q, 2))
    assert found.same_all == 1
    assert [entry.cohort_id for entry in found.nearest] == [str(i) for i in used]
    other = candidates.reproduce(single(counts), **{**wanted, "percent": wanted["percent"] + 5})
    assert other.same_all == 0


def test_a_sum_is_reproduced_and_the_highest_study_is_kept() -> None:
    counts = [(8, 14), (17, 24), (14, 32), (7, 8)]
    found = candidates.reproduce(single(counts), percent=56, events=25, total=38)
    assert found.sets == 1
    assert [(c.events, c.total) for c in found.nearest] == [(8, 14), (17, 24)]
    parts = single(counts)
    free = candidates.reproduce(parts, percent=60, k=2, total=32)
    bound = candidates.reproduce(parts, percent=60, k=2, total=32, highest=(17, 24))
    assert (free.sets, bound.sets) == (1, 0)  # 7 of 8 is higher than 17 of 24


def test_candidates_share_no_patients_unless_asked() -> None:
    dataset = load()
    certain = {
        frozenset((row.cohort_a, row.cohort_b))
        for row in dataset.overlaps.itertuples()
        if row.kind != "possible"
    }
    for part in candidates.candidate_parts(dataset, "orr"):
        for option in part:
            names = [entry.cohort_id for entry in option]
            assert len(names) == len(set(names))
            assert not any(
                frozenset((a, b)) in certain for i, a in enumerate(names) for b in names[:i]
            )
    repeated = candidates.candidate_parts(dataset, "orr", repeated=True)
    assert max(len(option) for part in repeated for option in part) == 1
    early = candidates.candidate_parts(dataset, "orr", until=2015)
    years = dataset.cohorts.set_index("cohort_id")["year"]
    assert all(
        years[entry.cohort_id] <= 2015 for part in early for option in part for entry in option
    )


# ------------------------------------------------------------------ the file


@cache
def examined() -> dict[str, replicate.Examined]:
    return {entry.row["pool_id"]: entry for entry in replicate.examine(load())}


def test_every_row_of_the_file_gets_a_verdict() -> None:
    dataset = load()
    assert list(examined()) == list(dataset.published_pools["pool_id"])
    for entry in examined().values():
        assert entry.verdict in replicate.VERDICTS
        if entry.row["kind"] == "no figure":
            assert entry.row["percent"] is None
            assert entry.checks == ()
        for check in entry.checks:
            assert check.text.endswith(".")
            assert "nan" not in check.text


def test_compared_estimands_exist_and_have_the_outcome() -> None:
    from analysis.estimands import estimand

    for entry in examined().values():
        if entry.row["estimand_id"] is not None:
            assert estimand(entry.row["estimand_id"]).outcome == entry.row["outcome"]
            assert entry.row["disease"] == "CLL"


def test_known_rows() -> None:
    rows = examined()
    orr = rows["ash-abstract-2025.orr"]
    assert orr.verdict == "consistent"
    assert orr.shape is not None
    assert set(orr.shape.fitting) == {"arcsine", "freeman-tukey"}
    names = [check.name for check in orr.checks if not check.inference]
    assert names == ["I² from Q", "p from Q"]
    # the two intervals together leave one scale
    common = replicate.common_scales(list(rows.values()))
    assert common["ash-abstract-2025"] == (2, ("freeman-tukey",))
    assert common["zhou-2018 (survival)"] == (4, ("log-log",))
    # two digits changed places between the table and the abstract; the interval knows which
    assert rows["zhou-2018.pfs-1y.cd28"].verdict == "consistent"
    assert rows["zhou-2018.pfs-1y.cd28-abstract"].verdict == "inconsistent"
    richter = rows["richter-abstract-2025.orr"]
    assert richter.verdict == "doubtful"
    assert richter.shape is not None
    assert richter.shape.fitting == ()
    # I² = 0 with an interval too wide for all 124 patients
    assert rows["richter-abstract-2025.cr"].verdict == "open"
    assert rows["riaz-2017.orr"].verdict == "consistent"
    assert {check.name for check in rows["riaz-2017.orr"].checks} == {
        "percentage from count",
        "parts add up",
    }


def test_a_broken_file_is_flagged() -> None:
    """Change one printed number at a time of rows that hold, and see the verdict fall."""
    from dataclasses import replace

    dataset = load()
    breaks = [
        ("ash-abstract-2025.orr", "i2", "61.8", "ash-abstract-2025.orr", "inconsistent"),
        ("ash-abstract-2025.orr", "q_p", "0.1654", "ash-abstract-2025.orr", "inconsistent"),
        ("ash-abstract-2025.orr", "percent", 57.8, "ash-abstract-2025.orr", "doubtful"),
        ("ali-2021.orr", "percent", 57.0, "ali-2021.orr", "inconsistent"),
        ("riaz-2017.pr", "events", 38, "riaz-2017.orr", "inconsistent"),
        ("luo-2022.anemia-severe", "total", 60, "luo-2022.anemia-severe", "doubtful"),
        ("zhou-2018.response.lymphodepletion", "percent", 60.0, "zhou-2018.response", "doubtful"),
    ]
    for pool_id, column, value, where, verdict in breaks:
        pools = dataset.published_pools.copy()
        pools.loc[pools["pool_id"] == pool_id, column] = value
        pools = pools[pools["report_id"] == pool_id.split(".")[0]]
        broken = replicate.examine(replace(dataset, published_pools=pools))
        found = {entry.row["pool_id"]: entry.verdict for entry in broken}
        assert found[where] == verdict, (pool_id, column)
