"""Every defensible analysis: the sets of trials recounted from the files by other means, the
pinned results against fresh ones, the shares, and the drawing."""

from __future__ import annotations

import csv
import re
import shutil
import tomllib
from dataclasses import replace
from functools import cache
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from analysis import cli, estimands, specification, specification_files
from analysis import every_analysis as every
from analysis import specification_figures as drawing
from analysis.data import DATA_DIR, Dataset, load
from analysis.pooling import pool
from analysis.specification import METHODS, Rows, conclusion
from analysis.svg import svg

ROOT = Path(__file__).resolve().parent.parent
ALONE = "cd19-single-agent"


@cache
def data() -> Dataset:
    return load()


@cache
def sets() -> tuple[Rows, ...]:
    return specification_files.row_sets(data())


@cache
def frame() -> pd.DataFrame:
    return specification_files.read()


@cache
def studied() -> tuple[every.Set, ...]:
    return tuple(every.study(data()))


def of(estimand_id: str) -> every.Set:
    return next(entry for entry in studied() if entry.target.id == estimand_id)


# --------------------------------------------------------- an independent count of the sets


def read_csv(name: str) -> list[dict[str, str]]:
    with (DATA_DIR / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def recount(estimand_id: str) -> set[frozenset[tuple[str, int, int]]]:
    """Every set of trials of an estimand, from the CSV files and with no code of the project."""
    registry = tomllib.loads((ROOT / "analysis" / "estimands.toml").read_text(encoding="utf-8"))
    population = next(name for name in registry["populations"] if estimand_id.endswith(name))
    outcome = estimand_id.removesuffix(f"-{population}").replace("-", "_")
    where = registry["populations"][population]["where"]
    cohorts = {row["cohort_id"]: row for row in read_csv("cohorts")}
    inside = {c for c, row in cohorts.items() if all(row[k] == v for k, v in where.items())}
    kind = {row["report_id"]: row["kind"] for row in read_csv("reports")}
    year = {row["report_id"]: float(row["year"] or 0) for row in read_csv("reports")}
    figures = [row for row in read_csv("extraction") if row["outcome"] == outcome]
    shared = {frozenset((row["cohort_a"], row["cohort_b"])) for row in read_csv("overlaps")}
    harm = {r["outcome_id"]: r["direction"] for r in read_csv("outcomes")}[outcome] == "harm"
    readings: list[dict] = [{}] + [
        entry
        for entry in registry["scenarios"]
        if population in entry.get("only_populations", [population])
    ]
    policies = (None, {"review", "review by trial authors"}, {"trial paper", "abstract"})
    found: set[frozenset[tuple[str, int, int]]] = set()
    for policy, reading in product(policies, readings):
        people = inside | set(reading.get("also", []))
        counts: dict[str, dict[str, str]] = {}
        for cohort in people:
            mine = [f for f in figures if f["cohort_id"] == cohort and f["events"]]
            used = [f for f in mine if f["status"] == "used"]
            if policy is not None:
                mine = [f for f in mine if kind[f["report_id"]] in policy]
                ranked = [f for f in mine if f["status"] in ("used", "superseded")]
                ranked.sort(key=lambda f: (f["status"] != "used", -year[f["report_id"]]))
                used = ranked[:1]
            used = [f for f in used if f["origin"] not in reading.get("drop_origin", [])]
            if reading.get("swap_disputed"):
                used = [f for f in mine if f["status"] == "disputed"] or used
            if reading.get("implied"):
                used = used or [
                    f for f in mine if f["status"] == "context" and f["origin"] == "inferred"
                ]
            if used:
                counts[cohort] = used[0]
        for base in ("", "n_infused") if harm else ("", "n_enrolled", "n_infused", "n_evaluable"):
            totals = {}
            for cohort, figure in counts.items():
                stated = cohorts[cohort].get(base, "")
                fits = (
                    stated
                    and figure["denominator"] != "subgroup"
                    and int(stated) >= int(figure["events"])
                )
                totals[cohort] = int(stated) if fits else int(figure["total"])
            for least in (0, 5, 10):
                names = [cohort for cohort in sorted(counts) if totals[cohort] >= least]
                free = [
                    frozenset(chosen)
                    for size in range(1, len(names) + 1)
                    for chosen in combinations(names, size)
                    if not any(frozenset(pair) in shared for pair in combinations(chosen, 2))
                ]
                inner = {one - {name} for one in free for name in one}
                found |= {
                    frozenset((c, int(counts[c]["events"]), totals[c]) for c in chosen)
                    for chosen in free
                    if chosen not in inner
                }
    return found


def as_set(rows: Rows) -> frozenset[tuple[str, int, int]]:
    return frozenset(zip(rows.cohorts, rows.events, rows.total, strict=True))


@pytest.mark.parametrize(
    "estimand_id",
    ["orr-cd19-single-agent", "crs-severe-cd19-single-agent", "ntx-any-cd19-single-agent",
     "ntx-severe-cd19-single-agent", "orr-cd19-with-ibrutinib", "crs-severe-cd19-with-ibrutinib"],
)  # fmt: skip
def test_sets_of_trials_are_those_of_an_independent_count(estimand_id: str) -> None:
    mine = [rows for rows in sets() if rows.estimand_id == estimand_id]
    assert len({as_set(rows) for rows in mine}) == len(mine)
    assert {as_set(rows) for rows in mine} == recount(estimand_id)


def test_number_of_results_follows_from_the_rules() -> None:
    """Three priors, 4 and 3 intervals, 3 two-step models on 4 scales with 2 intervals."""
    assert len(METHODS) == 3 + 4 + 3 + 3 * 4 * 2
    raw = {name for name, method in METHODS.items() if method.transform == "raw"}
    done = {rows: set(part["method"]) for rows, part in frame().groupby("rows_id")}
    expected = 0
    for rows in sets():
        x, n = np.array(rows.events), np.array(rows.total)
        if len(x) < 2 or x.sum() == 0 or (x == n).all():
            assert rows.id not in done
            continue
        expected += len(METHODS) - len(raw)
        assert done[rows.id] - raw == set(METHODS) - raw, rows.id
        if (x == 0).any() or (x == n).any():
            assert not done[rows.id] & raw, rows.id
            continue
        for name in raw:
            low, high = specification.fit_of(rows, name).details["mu_ci"]
            assert (name in done[rows.id]) == (low >= 0 and high <= 1), (rows.id, name)
    assert expected == (~frame()["method"].isin(raw)).sum()


def test_order_of_the_tables_does_not_matter() -> None:
    random = np.random.default_rng(3)
    turned = replace(
        data(),
        **{
            name: getattr(data(), name).iloc[random.permutation(len(getattr(data(), name)))]
            for name in ("cohorts", "overlaps", "reports")
        },
    )
    target = estimands.estimand(f"ntx-severe-{ALONE}")
    ours = specification.row_sets(data(), target)
    theirs = specification.row_sets(turned, target)
    assert {(as_set(rows), frozenset(rows.routes)) for rows in ours} == {
        (as_set(rows), frozenset(rows.routes)) for rows in theirs
    }
    assert ours[0] == theirs[0]
    methods = [METHODS["glmm-profile-t"], METHODS["reml-logit-wald"]]
    values = [
        {(as_set(by_id[a.rows_id]), a.method): (a.estimate, a.ci_low, a.ci_high) for a in found}
        for rows in (ours, theirs)
        for by_id in [{entry.id: entry for entry in rows}]
        for found in [specification.analyses(rows, methods=methods)]
    ]
    assert values[0].keys() == values[1].keys()
    for key, value in values[0].items():
        assert values[1][key] == pytest.approx(value, abs=1e-9)


def test_no_set_counts_a_patient_twice() -> None:
    shared = {
        frozenset(pair)
        for pair in zip(data().overlaps["cohort_a"], data().overlaps["cohort_b"], strict=True)
    }
    for rows in sets():
        assert not shared & {frozenset(pair) for pair in combinations(rows.cohorts, 2)}, rows.id
        assert all(0 <= x <= n for x, n in zip(rows.events, rows.total, strict=True))


# ------------------------------------------------------------------------- the main analysis


def test_the_main_analysis_is_among_the_analyses_and_is_the_books() -> None:
    marked = frame()[frame()["main"]].set_index("estimand_id")
    headline = specification_files.headline(data())
    assert list(marked.index) == [target.id for target in headline]
    for target in headline:
        found = estimands.evidence(data(), target)
        fit = estimands.pooled(found)
        entry = marked.loc[target.id]
        rows = specification_files.rows_of(
            next(frame()[frame()["rows_id"] == entry["rows_id"]].itertuples())
        )
        assert rows.cohorts == tuple(found.rows["cohort_id"])
        assert rows.events == tuple(found.rows["events"])
        assert rows.total == tuple(found.rows["total"])
        assert fit is not None
        for name in ("estimate", "ci_low", "ci_high"):
            assert getattr(fit, name) == pytest.approx(entry[name], abs=specification_files.SAME)


def test_the_main_method_follows_the_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimands, "PRIMARY", {"model": "glmm", "interval": "t"})
    assert specification.main_method() == "glmm-t"
    monkeypatch.setattr(estimands, "PRIMARY", {"model": "bayes", "tau_scale": 0.5})
    assert specification.main_method() == "bayes-0.5"
    monkeypatch.setattr(estimands, "PRIMARY", {"model": "fe"})
    with pytest.raises(ValueError, match="none of the methods"):
        specification.main_method()


def test_pinned_analyses_are_those_of_this_data() -> None:
    assert specification_files.compare(sets(), (), all_results=False) == []
    assert specification_files.changed_rows(data(), frame()) == []


@pytest.mark.parametrize("seed", [1, 2])
def test_a_sample_of_pinned_results_is_reproduced(seed: int) -> None:
    drawn, largest = specification_files.reproduce(frame(), 30, seed)
    assert drawn == 30
    assert largest <= specification_files.SAME


# ---------------------------------------------------------------------------------- pooling


@st.composite
def rows_to_pool(draw: st.DrawFn) -> Rows:
    k = draw(st.integers(1, 5))
    total = [draw(st.integers(1, 40)) for _ in range(k)]
    events = [draw(st.integers(0, n)) for n in total]
    names = tuple(f"c{i}" for i in range(k))
    return Rows("x.0001", "x", names, tuple(events), tuple(total), routes=())


FAST = [METHODS[name] for name in ("glmm-t", "reml-logit-wald", "dl-raw-wald", "pm-arcsine-wald")]


@settings(max_examples=25)
@given(st.lists(rows_to_pool(), min_size=1, max_size=4))
def test_analyses_are_what_pool_gives(given_rows: list[Rows]) -> None:
    named = [replace(rows, id=f"x.{i}") for i, rows in enumerate(given_rows)]
    found = {(a.rows_id, a.method): a for a in specification.analyses(named, methods=FAST)}
    for rows, method in product(named, FAST):
        x, n = np.array(rows.events), np.array(rows.total)
        entry = found.pop((rows.id, method.id), None)
        if len(x) < 2 or x.sum() == 0 or (x == n).all():
            assert entry is None
            continue
        fit = pool(rows.events, rows.total, method.model, **method.options)
        empty = (x == 0).any() or (x == n).any()
        if entry is None:
            if method.transform == "raw":
                low, high = fit.details["mu_ci"]
                assert empty or low < 0 or high > 1
            else:
                # no finite maximum: every trial without events or full
                assert fit.mu is None or not fit.converged
            continue
        assert not (method.transform == "raw" and empty)
        wanted = (fit.estimate, fit.ci_low, fit.ci_high)
        assert (entry.estimate, entry.ci_low, entry.ci_high) == pytest.approx(wanted, abs=1e-7)
    assert not found


def test_processes_give_the_same_and_report_their_progress() -> None:
    mine = [rows for rows in sets() if rows.estimand_id == f"crs-severe-{ALONE}"]
    said: list[tuple[int, int]] = []
    one = specification.analyses(mine, methods=FAST)
    two = specification.analyses(
        mine, methods=FAST, jobs=2, report=lambda done, total: said.append((done, total))
    )
    assert one == two
    assert [done for done, _ in said] == list(range(1, said[-1][1] + 1))


# -------------------------------------------------------------------- thresholds and shares


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_conclusion_says_on_which_side_the_interval_lies(a: float, b: float, value: float) -> None:
    low, high = min(a, b), max(a, b)
    said = conclusion(low, high, value)
    assert (said == "above") == (low > value)
    assert (said == "below") == (high < value)
    assert (said == "includes") == (low <= value <= high)
    # a mirror image turns the sides over
    other = conclusion(1 - high, 1 - low, 1 - value)
    if min(abs(low - value), abs(high - value)) > 1e-12:
        assert other == {"above": "below", "below": "above", "includes": "includes"}[said]


def test_every_threshold_has_a_question_and_a_reason() -> None:
    for target in specification.covered():
        held = specification.threshold(target.outcome)
        assert 0 < held.value < 1
        assert held.question.endswith("?") and held.reason.endswith(".")
    with pytest.raises(ValueError, match="no threshold is declared for 'os'"):
        specification.threshold("os")


def test_the_reason_of_the_threshold_for_complete_response_is_in_the_data() -> None:
    rows = data().extraction
    label = rows[(rows["cohort_id"] == "transcend-cll-004-label") & (rows["outcome"] == "cr")]
    label = label[label["status"] == "used"].iloc[0]
    assert label["events"] / label["total"] == specification.threshold("cr").value


def test_shares_add_up() -> None:
    assert sum(len(entry.frame) for entry in studied()) == len(frame())
    for entry in studied():
        part, value = entry.frame, entry.threshold.value
        shares = [
            (part["ci_low"] > value).mean(),
            (part["ci_high"] < value).mean(),
            ((part["ci_low"] <= value) & (part["ci_high"] >= value)).mean(),
        ]
        assert sum(shares) == pytest.approx(1)
        mine = part["conclusion"].value_counts(normalize=True)
        assert mine.sum() == pytest.approx(1)
        assert entry.other == pytest.approx(1 - mine[entry.main["conclusion"]])
        assert 0 <= entry.crossed < 1
        assert part["estimate"].is_monotonic_increasing


def test_every_analysis_uses_a_level_of_every_choice() -> None:
    for entry in studied():
        for choice in every.NAMES:
            uses = np.sum(list(every.used(entry, choice).values()), axis=0)
            assert (uses >= 1).all()
            if choice in ("model", "interval", "transform"):
                assert (uses == 1).all()


def test_medians_compare_methods_on_the_same_trials() -> None:
    entry = of(f"ntx-any-{ALONE}")
    part = entry.frame
    two_step = part[part["model"].isin(["reml", "dl", "pm"])]
    raw = set(two_step["rows_id"][two_step["transform"] == "raw"])
    assert raw < set(two_step["rows_id"])  # some sets have a trial without events
    kept = two_step[two_step["rows_id"].isin(raw)]
    for level, value in every.medians(entry, "transform").items():
        assert value == pytest.approx(kept["estimate"][kept["transform"] == level].median())
    assert every.medians(entry, "interval") == {}


def test_one_change_from_the_main_analysis() -> None:
    """The range by shared patients alone is that of the choices of the chapter on the outcome."""
    from analysis import choices

    entry = of(f"orr-{ALONE}")
    found = estimands.evidence(data(), entry.target)
    options = choices.choices(found, data().overlaps)
    low, high = every.alone(entry, "overlap") or (0, 0)
    assert low == pytest.approx(np.nanmin(options.estimate), abs=1e-4)
    assert high == pytest.approx(np.nanmax(options.estimate), abs=1e-4)
    # another method on the same trials changes the model only if it works on the same scale
    same = entry.frame[(entry.frame["rows_main"]) & (entry.frame["transform"] == "logit")]
    assert every.alone(entry, "model") == (same["estimate"].min(), same["estimate"].max())


def test_the_chapter_says_what_the_tables_say() -> None:
    chosen = list(studied())
    text = str(every.answer(chosen))
    assert f"{len(frame()):,} defensible analyses of {len(chosen)} results" in text
    firm = sum(entry.other == 0 for entry in chosen)
    assert f": {firm} result" in text
    counted = str(every.counted(chosen))
    assert f"{len(frame()):,} stay" in counted
    kept = sum(len(rows.cohorts) > 1 and bool(sum(rows.events)) for rows in sets())
    assert f"{kept:,} different sets" in counted
    assert str(max(rows.ways for rows in sets())) in counted
    assert "drawn at random, were run again: they agree" in str(every.reproduced(data()))
    assert "no trials here" in str(every.curve(chosen, "no-such-estimand"))
    for entry in chosen:
        page = str(every.curve(chosen, entry.target.id))
        assert re.search(r"<svg[^>]*aria-label=\"Specification curve", page)
        assert every._said(entry).split(". ")[0] in page


def test_the_chapter_asks_for_every_curve() -> None:
    source = (ROOT / "chapters" / "every-defensible-analysis.md").read_text(encoding="utf-8")
    asked = re.findall(r'every\.curve\(sets, "([^"]+)"\)', source)
    assert asked == [entry.target.id for entry in studied()]


def test_changed_data_are_told_and_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    table = data().extraction.copy()
    row = (table["record_id"] == "penn-frey-2020.orr.frey-2020").to_numpy()
    table.loc[row, "events"] = 15
    moved = replace(data(), extraction=table)
    said = str(every.reproduced(moved))
    assert f"orr-{ALONE}" in said and "specifications --write" in said
    wrong = frame().assign(estimate=frame()["estimate"] + 0.01)
    monkeypatch.setattr(every, "_frame", lambda: wrong)
    assert "differs from the table, by up to 1.0" in str(every.reproduced(data()))


# ----------------------------------------------------------------------------------- files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA_DIR, tmp_path / "data"))


def run(folder: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, ["specifications", "--data", str(folder), *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_command_agrees_with_the_pinned_tables(folder: Path) -> None:
    code, said = run(folder, "--sample", "4")
    assert code == 0, said
    assert "4 results drawn at random agree" in said


def test_command_tells_what_differs(folder: Path) -> None:
    path = folder / specification_files.RESULTS
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines[:1] + lines[1:2] * 3) + "\n", encoding="utf-8")
    rows = folder / specification_files.ROWS
    rows.write_text(rows.read_text(encoding="utf-8").replace(" 8/14;", " 9/14;"), encoding="utf-8")
    code, said = run(folder, "--sample", "3")
    assert code == 1
    assert "rows: " in said and "is now" in said
    code, said = run(folder, "--sample", "3", "--write")
    assert code == 1 and "leave out --sample" in said


@pytest.mark.parametrize("name", [specification_files.ROWS, specification_files.RESULTS])
def test_a_missing_table_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    code, said = run(folder, "--sample", "1")
    assert code == 1
    assert f"data/{name} cannot be read" in said


def test_comparison_names_every_kind_of_difference(folder: Path) -> None:
    mine = [rows for rows in sets() if rows.estimand_id == "ntx-severe-cd19-with-ibrutinib"]
    found = list(specification.analyses(mine, methods=[METHODS["glmm-t"], METHODS["dl-raw-wald"]]))
    specification_files.write(mine, found, folder)
    assert specification_files.compare(mine, found, folder) == []
    moved = [replace(found[0], estimate=found[0].estimate + 1e-3), *found[1:]]
    assert any("estimate: " in line for line in specification_files.compare(mine, moved, folder))
    fewer = specification_files.compare(mine, found[1:], folder)
    assert fewer == [f"{found[0].rows_id}, {found[0].method}: pinned, but there is no result"]
    assert specification_files.compare(mine, found[1:], folder, all_results=False) == []
    extra = [*found, replace(found[0], method="pm-raw-wald")]
    assert "not pinned yet" in specification_files.compare(mine, extra, folder)[0]
    assert any("no choice leads" in s for s in specification_files.compare((), found, folder))


def test_read_refuses_an_unknown_method(folder: Path) -> None:
    path = folder / specification_files.RESULTS
    path.write_text(
        path.read_text(encoding="utf-8").replace("glmm-bartlett", "guess", 1), encoding="utf-8"
    )
    with pytest.raises(ValueError, match="names guess, which there is not"):
        specification_files.read(folder)


def test_rows_survive_the_file() -> None:
    fresh = {rows.id: rows for rows in sets()}
    for entry in frame().drop_duplicates("rows_id").itertuples(index=False):
        back = specification_files.rows_of(entry)
        assert as_set(back) == as_set(fresh[entry.rows_id])
        assert back.cohorts == fresh[entry.rows_id].cohorts


# --------------------------------------------------------------------------------- drawing


def texts(figure: object) -> list[str]:
    return re.findall(r">([^<>\n]+)</text>", svg(figure))  # type: ignore[arg-type]


def small(n: int = 7) -> drawing.Curve:
    estimate = np.linspace(0.2, 0.6, n)
    first = np.arange(n) < 3
    levels = (drawing.Level("early", first), drawing.Level("late", ~first, main=True))
    more = (drawing.Level("odd", np.arange(n) % 2 == 1, main=True),)
    return drawing.Curve(
        estimate, estimate - 0.1, estimate + 0.1, n - 2, 0.5,
        (drawing.Group("Time", levels), drawing.Group("Parity", more, brief=False)),
    )  # fmt: skip


def test_curve_names_levels_and_their_shares() -> None:
    wide, narrow = (texts(drawing.curve(small(), layout=kind)) for kind in ("wide", "narrow"))
    for word in ("Time", "early", "late", "43%", "57%", "Main 53%"):
        assert word in wide and word in narrow
    assert "Parity" in wide and "Parity" not in narrow


def test_strips_show_where_the_analyses_lie() -> None:
    level = drawing.Level("early", np.array([True, True, False, False]))
    parts, edges = np.array_split(np.arange(4), 2), np.array([0.0, 10.0, 20.0])
    outline = drawing._strip(level, parts, edges, 100.0, False)
    assert outline == [(0.0, 100.0), (0.0, 88.0), (10.0, 88.0), (10.0, 100.0), (20.0, 100.0),
                       (20.0, 100.0)]  # fmt: skip
    rare = drawing.Level("rare", np.array([True, False, False, False]))
    assert min(y for _, y in drawing._strip(rare, parts, edges, 100.0, False)) == 88.0
    assert min(y for _, y in drawing._strip(rare, parts, edges, 100.0, True)) == 94.0
    none = drawing.Level("none", np.zeros(4, dtype=bool))
    assert drawing._strip(none, parts, edges, 100.0, True) == []


def test_curve_refuses_what_it_cannot_draw() -> None:
    one = np.array([0.5])
    with pytest.raises(ValueError, match="at least one"):
        drawing.Curve(one[:0], one[:0], one[:0], 0, 0.5, ())
    with pytest.raises(ValueError, match="sorted"):
        drawing.Curve(one[[0, 0]] * [1, 0.5], one, one, 0, 0.5, ())
    with pytest.raises(ValueError, match="no analysis at position 1"):
        drawing.Curve(one, one, one, 1, 0.5, ())
    with pytest.raises(ValueError, match="layout"):
        drawing.curve(small(), layout="tall")  # type: ignore[arg-type]


def test_ranges_of_the_overview_are_those_of_the_analyses() -> None:
    entry = of(f"cr-{ALONE}")
    page = str(every.overview(list(studied())))
    low, high = entry.frame["estimate"].min(), entry.frame["estimate"].max()
    assert f"{round(100 * low)}% to {round(100 * high)}%" in page
