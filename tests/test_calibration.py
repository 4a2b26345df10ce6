"""The calibration study: truths with exact targets, intervals that are the engine's, cells that
come out the same on any number of workers, and a rule that picks what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit, logit

from analysis.calibration import decision, lattice, show, study
from analysis.calibration.designs import Design, drawn_designs, real_designs, study_designs
from analysis.calibration.methods import METHODS, intervals, methods
from analysis.calibration.truths import TARGETS, TAU, WORLDS, P, Truth
from analysis.data import load
from analysis.estimands import PRIMARY
from analysis.pooling import pool, pool_many
from analysis.pooling.proportion import clopper_pearson

ROOT = Path(__file__).resolve().parent.parent
SIZES = np.array([8, 8, 14, 24, 32, 87])
TWO = Design("two", (18, 18), ("some-estimand",))
THREE = Design("three", (6, 9, 9))


def draws(total: np.ndarray, size: int, *, p: float = 0.3, tau: float = 0.7) -> np.ndarray:
    return Truth("normal", p, tau).draw(np.random.default_rng(7), total, size)


# ------------------------------------------------------------------------------------- truths


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("p", "tau"), [(0.02, 0.5), (0.3, 1.5), (0.8, 1.0)])
def test_truth_has_the_median_spread_and_average_that_it_states(
    world: str, p: float, tau: float
) -> None:
    truth = Truth(world, p, tau)
    z = truth.logits(np.random.default_rng(1), SIZES, 60_000)
    rate = expit(z)
    error = 5.0 / np.sqrt(rate.size)
    assert z.std() == pytest.approx(tau, rel=0.02)
    assert rate.mean() == pytest.approx(truth.average(SIZES), abs=error * rate.std())
    # half of the trials lie below p, and the distribution function says so
    assert (rate < p).mean() == pytest.approx(0.5, abs=error)
    assert float(truth.below(np.array(p), SIZES, closed=True)) == pytest.approx(0.5, abs=1e-9)
    for at in np.quantile(rate, [0.05, 0.3, 0.9]) * 1.0000001:
        assert float(truth.below(np.array(at), SIZES, closed=True)) == pytest.approx(
            (rate <= at).mean(), abs=error
        )


def test_large_trials_have_lower_rates_in_the_world_of_sizes() -> None:
    z = Truth("size", 0.3, 1.0).logits(np.random.default_rng(1), SIZES, 40_000)
    score = stats.norm.ppf((stats.rankdata(SIZES) - 0.375) / (SIZES.size + 0.25))
    wide = np.broadcast_to(score, z.shape)
    assert np.corrcoef(z.ravel(), wide.ravel())[0, 1] == pytest.approx(-0.6, abs=0.01)


@given(p=st.floats(0.01, 0.99), tau=st.floats(0.05, 3.0), world=st.sampled_from(WORLDS))
@settings(max_examples=60, deadline=None)
def test_distribution_function_rises_from_zero_to_one(p: float, tau: float, world: str) -> None:
    truth = Truth(world, p, tau)
    rate = np.linspace(0.0, 1.0, 41)
    value = truth.below(rate, SIZES, closed=True)
    assert value[0] == pytest.approx(0.0, abs=1e-12)
    assert value[-1] == pytest.approx(1.0, abs=1e-12)
    assert (np.diff(value) >= -1e-12).all()


def test_without_spread_every_trial_has_the_rate_p() -> None:
    truth = Truth("normal", 0.3, 0.0)
    assert (truth.logits(np.random.default_rng(1), SIZES, 5) == truth.center).all()
    assert truth.average(SIZES) == 0.3
    # a point mass at p: a limit at p itself contains it from either side
    at = np.array([0.3])
    assert truth.below(at, SIZES, closed=True) == 1.0
    assert truth.below(at, SIZES, closed=False) == 0.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("elsewhere", 0.3, 0.5), "unknown world 'elsewhere'"),
        (("normal", 0.0, 0.5), "p must lie strictly between 0 and 1"),
        (("normal", 0.3, -1.0), "tau must lie between 0 and 20"),
    ],
)
def test_impossible_truth_is_refused(arguments: tuple, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Truth(*arguments)


def test_rate_cannot_follow_the_size_of_trials_of_one_size() -> None:
    with pytest.raises(ValueError, match="all trials of the design are of one size"):
        Truth("size", 0.3, 0.5).draw(np.random.default_rng(1), np.array([9, 9]), 3)


# ------------------------------------------------------------------------------------ designs


def test_designs_are_the_denominators_of_the_book_each_once() -> None:
    from analysis import estimands

    dataset = load()
    real = real_designs(dataset)
    assert len({d.total for d in real}) == len(real)
    assert all(d.k >= 2 and list(d.total) == sorted(d.total) for d in real)
    by_estimand = {name: d for d in real for name in d.estimands}
    for target in estimands.estimands():
        sizes = sorted(estimands.evidence(dataset, target).rows["total"].astype(int))
        if len(sizes) >= 2:
            assert list(by_estimand[target.id].total) == sizes
        else:
            assert target.id not in by_estimand


def test_drawn_designs_come_from_the_real_ones_and_stay_the_same() -> None:
    real = (Design("a", (3, 5), ("x",)), Design("b", (7, 11, 13), ("y",)))
    drawn = drawn_designs(real, (4, 20))
    assert [d.k for d in drawn] == [4, 20]
    assert all(set(d.total) <= {3, 5, 7, 11, 13} for d in drawn)
    assert drawn_designs(real, (20,)) == drawn[1:]
    with pytest.raises(ValueError, match="no design"):
        drawn_designs(())


def test_plan_covers_every_truth_and_no_cell_twice() -> None:
    designs = study_designs(load())
    cells = study.plan(designs)
    assert len({c.name for c in cells}) == len(cells)
    normal = {(c.design.id, c.truth.p, c.truth.tau) for c in cells if c.truth.world == "normal"}
    assert normal == {(d.id, p, tau) for d, p, tau in product(designs, P, TAU)}
    other = {c.design.id for c in cells if c.truth.world != "normal"}
    assert other == {d.id for d in study.misspecified_designs(designs)}
    for name, world in product(other, WORLDS[1:]):
        found = {
            (c.truth.p, c.truth.tau)
            for c in cells
            if c.design.id == name and c.truth.world == world
        }
        assert found == set(product(P, TAU[1:]))


# ---------------------------------------------------------------- intervals are the engine's


def test_two_step_intervals_are_those_of_the_engine() -> None:
    x = draws(SIZES, 40)
    got = intervals(x, SIZES)
    scales = {"logit": "logit", "arcsine": "arcsine", "ft": "freeman-tukey"}
    kinds = {"wald": "wald", "hk": "hartung-knapp", "adhoc": "hartung-knapp-adhoc"}
    for model, short, kind in product(("dl", "reml", "pm"), scales, kinds):
        fit = pool_many(x, SIZES, model, interval=kinds[kind], transform=scales[short])
        mine = got[f"{model}-{short}-{kind}", "median"]
        np.testing.assert_allclose(mine[0], fit.estimate, atol=1e-12)
        np.testing.assert_allclose(mine[1], fit.ci_low, atol=1e-12)
        np.testing.assert_allclose(mine[2], fit.ci_high, atol=1e-12)
    fit = pool_many(x, SIZES, "reml", interval="wald")
    np.testing.assert_allclose(got["reml-next-t1", "next"][1], fit.pi_low, atol=1e-12)
    np.testing.assert_allclose(got["reml-next-t1", "next"][2], fit.pi_high, atol=1e-12)


@pytest.mark.parametrize("total", [(18, 18), (14, 24, 117), tuple(SIZES)])
@pytest.mark.parametrize("p", [0.05, 0.4])
def test_glmm_intervals_are_those_of_the_engine(total: tuple[int, ...], p: float) -> None:
    n = np.array(total)
    x = draws(n, 25, p=p)
    got = intervals(x, n)
    for kind in ("wald", "t", "profile", "profile-t", "bartlett"):
        fit = pool_many(x, n, "glmm", interval=kind, tau2_interval=False)
        estimate, low, high = got[f"glmm-{kind}", "median"]
        np.testing.assert_allclose(estimate, fit.estimate, atol=1e-9)
        width = np.maximum(fit.ci_high - fit.ci_low, 1e-9)
        for mine, theirs in ((low, fit.ci_low), (high, fit.ci_high)):
            off = np.abs(mine - theirs) / width
            # largest where the maximizing tau jumps, which bends the profile between two points
            assert np.median(off) < 2e-4
            assert off.max() < 0.02
    for name, kind in (("z", "wald"), ("t", "t")):
        fit = pool_many(x, n, "glmm", interval=kind, tau2_interval=False)
        estimate, low, high = got[f"glmm-average-{name}", "average"]
        np.testing.assert_allclose(estimate, fit.marginal_estimate, atol=1e-9)
        np.testing.assert_allclose(low, fit.marginal_ci[:, 0], atol=1e-9)
        np.testing.assert_allclose(high, fit.marginal_ci[:, 1], atol=1e-9)
    if n.size >= 3:
        np.testing.assert_allclose(got["glmm-next-t1", "next"][1], fit.pi_low, atol=1e-9)
        np.testing.assert_allclose(got["glmm-next-t1", "next"][2], fit.pi_high, atol=1e-9)
        one = pool(x[0], n)
        low, high = one.details["pi_t_k2"]
        assert got["glmm-next-t2", "next"][1][0] == pytest.approx(low, abs=1e-9)
        assert got["glmm-next-t2", "next"][2][0] == pytest.approx(high, abs=1e-9)
    else:
        assert ("glmm-next-t1", "next") not in got


@pytest.mark.parametrize("total", [(18, 18), (14, 24, 117), tuple(SIZES)])
def test_bayesian_and_beta_binomial_intervals_are_those_of_the_engine(
    total: tuple[int, ...],
) -> None:
    n = np.array(total)
    x = np.vstack([draws(n, 3), np.zeros(n.size, dtype=int), n])
    got = intervals(x, n)
    for i, row in enumerate(x):
        for scale in (0.5, 1.0, 2.0):
            fit = pool(row, n, "bayes", tau_scale=scale)
            name = f"bayes-{scale:g}"
            expected = {
                "median": (fit.estimate, fit.ci_low, fit.ci_high),
                "average": (fit.marginal_estimate, *fit.marginal_ci),
                "next": (None, fit.pi_low, fit.pi_high),
            }
            for target, values in expected.items():
                for mine, theirs in zip(got[name, target], values, strict=True):
                    if theirs is not None:
                        assert mine[i] == pytest.approx(theirs, abs=0.003)
        for kind in ("wald", "t", "profile", "profile-t"):
            fit = pool(row, n, "beta-binomial", interval=kind)
            _, low, high = got[f"beta-binomial-{kind}", "average"]
            assert low[i] == pytest.approx(fit.ci_low, abs=0.004)
            assert high[i] == pytest.approx(fit.ci_high, abs=0.004)


def test_data_without_a_finite_maximum_are_answered_by_the_engine() -> None:
    n = np.array([6, 9, 9])
    x = np.array([[0, 0, 0], [6, 9, 9], [0, 9, 9], [6, 0, 0]])
    got = intervals(x, n)
    for kind in ("profile", "profile-t"):
        fit = pool_many(x, n, "glmm", interval=kind, tau2_interval=False)
        np.testing.assert_allclose(got[f"glmm-{kind}", "median"][1], fit.ci_low, rtol=1e-12)
        np.testing.assert_allclose(got[f"glmm-{kind}", "median"][2], fit.ci_high, rtol=1e-12)
        np.testing.assert_array_equal(got[f"glmm-{kind}", "median"][0], fit.estimate)
    assert np.isnan(got["glmm-next-t1", "next"][1]).all()


def test_lattice_holds_the_likelihood_of_the_engine() -> None:
    x = draws(SIZES, 20)
    grid = lattice.normal_lattice(tuple(int(n) for n in SIZES))
    profile = lattice.Profile.of(grid, grid.surface(x))
    fit = pool_many(x, SIZES, "glmm", interval="wald", tau2_interval=False)
    np.testing.assert_allclose(profile.top, fit.log_likelihood, atol=0.005)
    assert (np.abs(profile.at - fit.mu) / fit.se).max() < 0.1


def test_mirrored_counts_give_mirrored_intervals() -> None:
    x = draws(SIZES, 30)
    one, other = intervals(x, SIZES), intervals(SIZES - x, SIZES)
    for key, (_, low, high) in one.items():
        np.testing.assert_allclose(low, 1.0 - other[key][2], atol=2e-6, err_msg=str(key))
        np.testing.assert_allclose(high, 1.0 - other[key][1], atol=2e-6, err_msg=str(key))


# ---------------------------------------------------------------------------- coverage


def fabricated(low: list[float], high: list[float], target: str) -> dict:
    name = {"median": "glmm-profile", "average": "glmm-average-t", "next": "glmm-next-t1"}[target]
    estimate = np.full(len(low), np.nan) if target == "next" else 0.5 * np.add(low, high)
    return {(name, target): (estimate, np.array(low), np.array(high))}


def test_misses_on_either_side_failures_width_and_bias_are_counted() -> None:
    cell = study.Cell(THREE, Truth("normal", 0.5, 0.0))
    found = fabricated([0.4, 0.6, 0.1, np.nan], [0.6, 0.8, 0.3, np.nan], "median")
    (row,) = study.summarize(cell, found, np.array([5, 2, 1, 2]))
    assert row["coverage"] == 62.5
    assert row["below"] == 25.0
    assert row["failures"] == 20.0
    assert row["width"] == 20.0
    assert row["bias"] == pytest.approx(100 * (5 * 0.5 + 2 * 0.7 + 0.2) / 8 - 50, abs=0.01)
    assert row["mc_error"] == pytest.approx(100 * np.sqrt(0.625 * 0.375 / 8), abs=0.01)


def test_interval_that_never_exists_is_all_failure() -> None:
    cell = study.Cell(THREE, Truth("normal", 0.5, 0.0))
    (row,) = study.summarize(cell, fabricated([np.nan], [np.nan], "median"), np.array([7]))
    assert row["failures"] == 100.0
    assert row["coverage"] is None


@pytest.mark.parametrize("world", WORLDS)
def test_prediction_interval_made_of_the_truths_own_quantiles_covers_exactly(world: str) -> None:
    truth = Truth(world, 0.3, 0.8)
    cell = study.Cell(Design("x", tuple(SIZES)), truth)
    rates = np.sort(expit(truth.logits(np.random.default_rng(3), SIZES, 50_000)).ravel())
    low, high = np.quantile(rates, [0.1, 0.9])
    (row,) = study.summarize(cell, fabricated([low], [high], "next"), np.array([1]))
    expected = 100.0 if world == "two-point" else 80.0
    assert row["coverage"] == pytest.approx(expected, abs=0.5)
    assert row["bias"] is None


def test_coverage_agrees_with_the_sum_over_all_data_sets() -> None:
    p, n = 0.3, 18
    x = np.array(list(product(range(n + 1), repeat=2)))
    chance = stats.binom.pmf(x, n, p).prod(axis=1)
    exact = {}
    for key, (_, low, high) in intervals(x, np.array([n, n])).items():
        if key[1] == "median":
            exact[key] = 100 * float(chance[(low - 1e-12 <= p) & (p <= high + 1e-12)].sum())
    low, high = clopper_pearson(x.sum(axis=1), np.full(len(x), 2 * n), 0.95)
    assert exact["naive", "median"] == pytest.approx(100 * chance[(low <= p) & (p <= high)].sum())
    rows = study.run_cell(study.Cell(TWO, Truth("normal", p, 0.0)), replications=20_000)
    for row in rows:
        if row["target"] == "median":
            key = (row["method"], "median")
            slack = 4.5 * 100 * np.sqrt(max(exact[key] * (100 - exact[key]), 1.0) / 20_000) / 100
            assert row["coverage"] == pytest.approx(exact[key], abs=slack), key


def test_distinct_data_sets_are_counted_not_lost() -> None:
    cell = study.Cell(THREE, Truth("normal", 0.3, 0.5))
    events, count = study._draw(cell, 1000, 1)
    assert count.sum() == 1000
    assert (events[:, 1] <= events[:, 2]).all()  # equal trials in order
    assert len(np.unique(events, axis=0)) == len(events)


# ------------------------------------------------------------------ the same on every machine

CELLS = tuple(
    study.Cell(design, Truth(world, p, tau))
    for design in (TWO, THREE)
    for world, p, tau in (("normal", 0.3, 0.5), ("skewed", 0.1, 1.0), ("beta", 0.5, 0.5))
)


@pytest.fixture(scope="module")
def serial() -> str:
    return study.table_text(study.run(CELLS, replications=200, seed=11))


def test_seed_alone_decides_the_table(serial: str) -> None:
    again = study.run(CELLS[::-1], replications=200, seed=11)
    other = study.run(CELLS, replications=200, seed=12)
    assert sorted(study.table_text(again).splitlines()) == sorted(serial.splitlines())
    assert study.table_text(other) != serial


def test_two_processes_give_the_same_bytes(serial: str) -> None:
    assert study.table_text(study.run(CELLS, replications=200, seed=11, jobs=2)) == serial


def test_interrupted_run_goes_on_from_finished_cells(serial: str, tmp_path: Path) -> None:
    seen: list[str] = []

    def stop_after_two(cell: study.Cell, seconds: float) -> None:
        seen.append(cell.name)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run(CELLS, replications=200, seed=11, resume_dir=tmp_path, progress=stop_after_two)
    kept = sorted(tmp_path.rglob("*.json"))
    assert len(kept) == 2
    kept[0].write_text('[{"cut sh', encoding="utf-8")  # one of them was being written
    fresh: dict[str, bool] = {}
    rows = study.run(
        CELLS,
        replications=200,
        seed=11,
        resume_dir=tmp_path,
        progress=lambda cell, seconds: fresh.__setitem__(cell.name, seconds > 0),
    )
    assert sum(not new for new in fresh.values()) == 1
    assert study.table_text(rows) == serial


def test_finished_cells_of_another_run_are_not_taken(tmp_path: Path) -> None:
    first = study.run(CELLS[:1], replications=50, seed=1, resume_dir=tmp_path)
    assert study.run(CELLS[:1], replications=50, seed=2, resume_dir=tmp_path) != first
    assert study.run(CELLS[:1], replications=60, seed=1, resume_dir=tmp_path) != first


@pytest.mark.parametrize(("option", "value"), [("jobs", 0), ("replications", 0)])
def test_run_of_nothing_is_refused(option: str, value: int) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        study.run(CELLS, **{option: value})


def test_projection_counts_what_will_be_computed() -> None:
    ahead = study.project(CELLS, 300, 11, sample=8)
    assert ahead.replications == 300 * len(CELLS)
    assert ahead.fits == sum(len(study._draw(cell, 300, 11)[0]) for cell in CELLS)
    assert ahead.seconds > 0


# ------------------------------------------------------------------------------ a Dask cluster

COMMAND = ("-m", "analysis", "simulate", "--only", "k2b_normal", "--replications", "400")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}


def _worker(address: str, folder: Path) -> list[str]:
    options = {"--nthreads": "1", "--host": "127.0.0.1", "--local-directory": str(folder)}
    named = [text for pair in options.items() for text in pair]
    return ["distributed.cli.dask_worker", address, "--no-nanny", "--no-dashboard", *named]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """A scheduler and two workers of one thread each, every one a process, on the loopback."""
    pytest.importorskip("distributed")
    contact = tmp_path / "scheduler.json"
    started: list[subprocess.Popen] = []

    def start(*arguments: str) -> subprocess.Popen:
        with (tmp_path / f"{len(started)}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=tmp_path,
                env=environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        started.append(process)
        return process

    try:
        start(
            "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
            "--no-dashboard", "--scheduler-file", str(contact),
        )  # fmt: skip
        for _ in range(600):
            if contact.exists() and contact.read_text():
                break
            time.sleep(0.1)
        address = json.loads(contact.read_text())["address"]
        workers = [start(*_worker(address, tmp_path / f"worker-{i}")) for i in range(2)]
        from distributed import Client

        with Client(address, timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, workers
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


@pytest.mark.filterwarnings("default")  # those of the cluster's own libraries
@pytest.mark.parametrize("kill", [False, True], ids=["two workers", "one worker killed"])
def test_cluster_gives_the_same_bytes_and_a_killed_worker_loses_nothing(
    cluster: tuple[str, list[subprocess.Popen]], tmp_path: Path, kill: bool
) -> None:
    address, workers = cluster
    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    serial_run = subprocess.run(
        [sys.executable, *COMMAND, "--out", str(here), "--resume-dir", str(tmp_path / "a")],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert serial_run.returncode == 0, serial_run.stderr
    cells = tmp_path / "b"
    with (tmp_path / "run.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *COMMAND, "--scheduler", address, "--out", str(there),
             "--resume-dir", str(cells)],
            cwd=ROOT, env=environment(), stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    if kill:
        while process.poll() is None and not list(cells.rglob("*.json")):
            time.sleep(0.02)
        os.kill(workers[0].pid, signal.SIGKILL)
        assert process.poll() is None, "the run ended before the worker was killed"
    assert process.wait(300) == 0, (tmp_path / "run.log").read_text()
    assert there.read_bytes() == here.read_bytes()


# -------------------------------------------------------------------------------- the decision


def synthetic(
    coverage: dict[str, tuple[float, float]], width: dict[str, float], target: str = "median"
) -> pd.DataFrame:
    """Two cells of one design of the book, in which each method has these coverages."""
    return pd.DataFrame(
        [
            {
                "design": "k6a", "world": "normal", "p": 0.3, "tau": tau, "method": method,
                "target": target, "coverage": value, "mc_error": 0.1, "below": 0.0,
                "width": width[method], "bias": 0.0, "failures": 0.0,
            }
            for method, values in coverage.items()
            for tau, value in zip((0.5, 1.0), values, strict=True)
        ]
    )  # fmt: skip


def test_shortest_interval_that_qualifies_everywhere_is_chosen() -> None:
    frame = synthetic(
        {"glmm-wald": (95.0, 90.0), "glmm-profile-t": (96.0, 95.0), "glmm-t": (97.0, 96.0)},
        {"glmm-wald": 20.0, "glmm-profile-t": 31.0, "glmm-t": 30.0},
    )
    choice = decision.choose(frame, "median")
    assert choice.method == "glmm-t"
    assert choice.qualified == ("glmm-t", "glmm-profile-t")
    assert choice.worst == 96.0


def test_monte_carlo_error_is_allowed_for() -> None:
    frame = synthetic({"glmm-wald": (93.81, 99.0), "glmm-t": (93.79, 99.0)},
                      {"glmm-wald": 30.0, "glmm-t": 20.0})  # fmt: skip
    assert decision.choose(frame, "median").qualified == ("glmm-wald",)


def test_where_none_qualifies_the_stated_priorities_decide() -> None:
    frame = synthetic(
        {"glmm-wald": (50.0, 60.0), "glmm-profile": (93.0, 95.0), "bayes-1": (92.0, 95.0)},
        {"glmm-wald": 10.0, "glmm-profile": 30.0, "bayes-1": 20.0},
    )
    choice = decision.choose(frame, "median")
    assert choice.qualified == ()
    assert choice.method == "bayes-1"  # as often at the floor, and shorter
    # the last priority as first written: less below the floor
    assert decision.choose(frame, "median", "shortfall").method == "glmm-profile"
    assert choice.share == 50.0
    assert "τ = 0.5" in choice.worst_cell


def test_interval_for_another_target_is_never_chosen() -> None:
    frame = synthetic(
        {"naive": (99.0, 99.0), "glmm-wald": (60.0, 60.0)}, {"naive": 5.0, "glmm-wald": 9.0}
    )
    assert decision.choose(frame, "median").method == "glmm-wald"
    with pytest.raises(ValueError, match="no interval for the target 'next'"):
        decision.choose(frame, "next")


def test_relevant_cells_are_those_of_the_book_with_events_and_three_trials() -> None:
    frame = pd.DataFrame(
        [(d, p) for d in ("k2a", "k3a", "d6") for p in (0.02, 0.5, 0.98)],
        columns=["design", "p"],
    )
    sizes = {"k2a": (50, 50), "k3a": (30, 30, 40), "d6": (50,) * 6}
    kept = decision.relevant(frame, sizes, book_only=["k2a", "k3a"])
    assert kept.values.tolist() == [["k3a", 0.5]]


# ------------------------------------------------------------------------- the committed table


@pytest.fixture(scope="module")
def committed() -> tuple[pd.DataFrame, dict]:
    return study.load_table()


def test_committed_table_is_complete_and_small(committed: tuple[pd.DataFrame, dict]) -> None:
    frame, facts = committed
    assert study.TABLE.stat().st_size < 2_000_000
    assert facts["replications"] >= study.REPLICATIONS
    assert len(frame) == facts["rows"]
    assert not frame.duplicated(["design", "world", "p", "tau", "method", "target"]).any()
    cells = frame.groupby(["design", "world", "p", "tau"]).ngroups
    assert cells == facts["cells"]
    assert set(frame["world"]) == set(WORLDS)
    assert set(frame["target"]) == set(TARGETS)
    for target in TARGETS:
        assert set(frame.loc[frame["target"] == target, "method"]) == {
            m.id for m in methods(target)
        }
    assert {int(k) for k in frame["k"]} >= {4, 6, 8, 12, 20}
    share = frame[["coverage", "below", "above", "failures"]].dropna()
    assert ((share >= 0) & (share <= 100)).all(axis=None)
    # under half a percentage point in every cell where an interval exists often enough to judge
    assert (frame.loc[frame["failures"] < 10, "mc_error"] < 0.5).all()


@pytest.mark.parametrize(
    ("design", "world", "p", "tau"), [("k2a", "normal", 0.3, 0.5), ("k3a", "skewed", 0.02, 0.5)]
)
def test_slice_of_the_committed_table_reproduces(
    committed: tuple[pd.DataFrame, dict], design: str, world: str, p: float, tau: float
) -> None:
    frame, facts = committed
    cell = study.cell_of(facts, design, world, p, tau)
    again = pd.DataFrame(study.run_cell(cell, facts["replications"], facts["seed"]))
    key = ["method", "target"]
    where = (frame["design"] == design) & (frame["world"] == world)
    where &= (frame["p"] == p) & (frame["tau"] == tau)
    both = frame[where].merge(again, on=key, suffixes=("", "_again"), validate="one_to_one")
    assert len(both) == len(again) == int(where.sum())
    # one data set in 12 000 at the edge of an interval is 0.01; platforms may differ by a few
    assert (both["coverage"] - both["coverage_again"]).abs().max() <= 0.1
    assert (both["width"] - both["width_again"]).abs().max() <= 0.1


def test_rule_applied_to_the_committed_table_keeps_its_word(
    committed: tuple[pd.DataFrame, dict],
) -> None:
    frame, facts = committed
    designs = facts["designs"]
    book = [name for name, entry in designs.items() if entry["estimands"]]
    cells = decision.relevant(
        frame, {name: entry["total"] for name, entry in designs.items()}, book_only=book
    )
    for target, choice in decision.recommended(frame, facts).items():
        # the book does what the rule says
        assert show.fit_options(choice.method) == ("bayes", {"tau_scale": PRIMARY["tau_scale"]})
        assert PRIMARY["model"] == "bayes"
        own = cells[(cells["target"] == target) & (cells["method"] == choice.method)]
        reached = own["coverage"] + 2 * own["mc_error"] >= decision.FLOOR
        assert len(own) == choice.cells
        assert (choice.method in choice.qualified) == bool(reached.all())
        assert own["coverage"].min() == choice.worst
        for other in methods(target):
            rival = cells[(cells["target"] == target) & (cells["method"] == other.id)]
            if other.own and len(rival) == choice.cells and not choice.qualified:
                share = (rival["coverage"] + 2 * rival["mc_error"] >= decision.FLOOR).mean()
                assert 100 * share <= choice.share + decision.NEAR


def test_table_that_was_edited_is_refused(tmp_path: Path) -> None:
    table, about = tmp_path / "calibration.csv", tmp_path / "calibration.json"
    table.write_text(study.TABLE.read_text() + "k2a,normal,0.3,0.5,glmm-t,median,99,0,0,1,0,0\n")
    about.write_bytes(study.ABOUT.read_bytes())
    with pytest.raises(ValueError, match="is not the table"):
        study.load_table(table, about)


def test_every_method_has_one_name_and_label_per_target() -> None:
    assert len({(m.id, m.target) for m in METHODS}) == len(METHODS)
    for target in TARGETS:
        labels = [m.label for m in methods(target)]
        assert len(set(labels)) == len(labels)


# ------------------------------------------------------------------------------ command line


def command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "analysis", "simulate", *arguments],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_command_says_what_a_run_will_take_before_it_starts() -> None:
    done = command("--only", "k2b_normal_0.3", "--replications", "50", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "5 cells, 250 simulated data sets" in done.stdout
    assert "data sets per second and core" in done.stdout
    assert "projected" in done.stdout


def test_command_writes_a_table_that_loads(tmp_path: Path) -> None:
    out = tmp_path / "some.csv"
    done = command(
        "--only", "k2b_normal_0.3_0.5", "--replications", "50", "--out", str(out),
        "--resume-dir", str(tmp_path / "cells"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    frame, facts = study.load_table(out, out.with_suffix(".json"))
    assert facts["replications"] == 50
    assert set(frame["design"]) == {"k2b"}
    assert logit(frame["p"].iloc[0]) == pytest.approx(logit(0.3))


def test_command_refuses_a_name_that_no_cell_has() -> None:
    done = command("--only", "nowhere")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "no cell has 'nowhere' in its name; names look like k6a_normal_0.3_0.5"
    )
