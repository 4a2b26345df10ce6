"""What the methods chapters show is what the study and the model say."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

from analysis import chapter, walkthrough
from analysis.calibration import pictures, show, speed, study
from analysis.calibration.command import minutes
from analysis.calibration.methods import METHODS, intervals
from analysis.calibration.truths import TAU, P
from analysis.pooling import pool
from analysis.svg import svg
from analysis.wording import ci, number, pct

ORR = "orr-cd19-single-agent"


def words(source: object) -> str:
    """Text of a piece of HTML, tags and runs of white space removed."""
    return " ".join(re.sub(r"<[^>]+>", " ", str(source)).split())


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"),
     (172_799, "48.0 h"), (1_728_000, "20 days")],
)  # fmt: skip
def test_durations_are_written_in_the_unit_that_fits(seconds: float, said: str) -> None:
    assert minutes(seconds) == said


# ------------------------------------------------------------------------------- heat map


def texts(figure: object) -> list[str]:
    return re.findall(r">([^<>\n]+)</text>", svg(figure))


@pytest.mark.parametrize("layout", ["wide", "narrow"])
def test_heat_map_prints_every_number_rounded_down(layout: str) -> None:
    rows = [
        pictures.HeatRow("one", (94.99, None, 100.0)),
        pictures.HeatRow("two", (0.0, 79.5, 97.5), strong=True),
    ]
    drawn = texts(pictures.heat(rows, [("left", ["a", "b"]), ("right", ["c"])], layout=layout))
    # 95 would claim more than was reached
    assert [t for t in drawn if t.isdigit()].count("94") == 1
    assert sorted(t for t in drawn if t.isdigit()) == sorted(["94", "100", "0", "79", "97"])
    assert "left" in drawn and "right" in drawn


@pytest.mark.parametrize(
    ("value", "least"), [(100, 97.5), (97.5, 97.5), (97.49, 94), (94, 94), (93.99, 90), (5, 0)]
)
def test_classes_of_coverage_begin_at_their_lower_end(value: float, least: float) -> None:
    assert pictures._class(value)[0] == least


def test_scatter_numbers_points_as_its_key_does() -> None:
    points = [pictures.Point(f"method {i}", i, 90 + i, "study", strong=i == 1) for i in range(4)]
    drawn = texts(pictures.scatter(points, x_label="width", y_label="coverage"))
    assert [t for t in drawn if t.startswith("method")] == [p.label for p in points]
    assert all(drawn.count(str(i + 1)) >= 2 for i in range(4))


# ------------------------------------------------------------------- the study in the chapter


def test_heat_map_of_the_chapter_is_the_table() -> None:
    frame, facts = study.load_table()
    design = show._main_design(facts)
    assert facts["designs"][design]["estimands"]
    drawn = str(show.coverage())
    row = frame[
        (frame["design"] == design)
        & (frame["world"] == "normal")
        & (frame["method"] == "dl-logit-wald")
        & (frame["target"] == "median")
    ].set_index(["p", "tau"])["coverage"]
    values = [str(math.floor(row[p, tau])) for p in P for tau in TAU]
    shown = re.findall(r">([^<>\n]+)</text>", drawn)
    start = shown.index("logit, DL, Wald")
    assert shown[start + 1 : start + 1 + len(values)] == values


def test_options_of_a_method_give_its_interval() -> None:
    x, n = np.array([[3, 8, 10, 20]]), np.array([14, 19, 24, 87])
    found = intervals(x, n)
    for method in METHODS:
        if method.target != "median" or method.id == "naive":
            continue
        model, options = show.fit_options(method.id)
        fit = pool(x[0], n, model, **options)
        _, low, high = found[method.id, "median"]
        assert fit.ci_low == pytest.approx(low[0], abs=0.002), method.id
        assert fit.ci_high == pytest.approx(high[0], abs=0.002), method.id


def test_summary_names_the_worst_coverage_of_the_choice() -> None:
    said = words(show.summary())
    for choice in show._choices().values():
        assert show._label(choice) in said
        assert f"worst coverage is {number(choice.worst, 1)}%" in said


def test_slice_that_the_chapter_runs_again_agrees() -> None:
    said = words(show.again())
    assert f"{len(TAU)} cells of design k2b" in said
    found = re.search(r"within ([0-9.]+) percentage points", said)
    assert found is None or float(found[1]) <= 0.1


def test_headline_has_the_pooled_results_of_the_book() -> None:
    question = chapter.ask(ORR)
    assert question.fit is not None
    said = words(show.headline(chapter.dataset()))
    assert f"{pct(question.fit.estimate)} (" in said
    dl = pool(question.fit.events, question.fit.total, "dl", interval="wald")
    assert f"{pct(dl.estimate)} ({ci(dl.ci_low, dl.ci_high)})" in said


def test_failing_cells_are_below_the_floor_least_first() -> None:
    said = words(show.failing("median"))
    shown = [float(v) for v in re.findall(r"([0-9.]+)% ± ", said)]
    assert shown == sorted(shown)
    assert all(value < 94.0 for value in shown)


# --------------------------------------------------------------------------------- speed


def test_projection_divides_the_measured_cost_among_the_cores() -> None:
    _, facts = study.load_table()
    each = facts["run"]["processor_seconds"] / facts["cells"] / facts["replications"]
    said = words(speed.projection())
    for cores in (1, 64, 1000):
        assert minutes(1e9 * each / cores) in said


def test_speed_up_is_the_ratio_of_the_measured_times() -> None:
    runs = json.loads((speed.FOLDER / "scaling.json").read_text(encoding="utf-8"))["runs"]
    assert [run["jobs"] for run in runs] == [1, 2, 4]
    said = words(speed.scaling())
    for run in runs:
        assert number(runs[0]["seconds"] / run["seconds"], 2) in said


# --------------------------------------------------------------------------- walkthrough


def test_half_an_event_added_to_empty_trials_gives_the_same_rate_however_many() -> None:
    said = str(walkthrough.empty_trials(size=20, most=12))
    many = pool([0] * 12, [20] * 12, "dl", interval="wald")
    assert many.estimate == pytest.approx(0.5 / 21)
    best = pool([0] * 12, [20] * 12, interval="profile")
    assert many.ci_low is not None and best.ci_high is not None
    assert many.ci_low > best.ci_high  # what the caption says
    for value in (many.estimate, many.ci_low, best.ci_high):
        assert pct(value, 1) in said


def test_spread_of_trials_is_the_normal_range_of_the_log_odds() -> None:
    said = words(walkthrough.spread_table())
    for tau in (0.25, 1.5):
        low, high = expit(stats.norm.ppf([0.025, 0.975], loc=logit(0.3), scale=tau))
        assert ci(low, high) in said
    # expected absolute difference of two draws is 2 tau / sqrt(pi)
    draws = np.random.default_rng(1).standard_normal((2, 400_000))
    assert np.abs(draws[0] - draws[1]).mean() == pytest.approx(2 / math.sqrt(math.pi), rel=0.01)


def test_profile_of_the_picture_is_highest_at_the_estimate() -> None:
    fit = pool(walkthrough.TOY.events, walkthrough.TOY.total)
    rate = np.linspace(0.05, 0.9, 200)
    tau = np.linspace(0.0, 4.0, 201)
    value = walkthrough._log_likelihood(fit, rate, tau)
    j, i = np.unravel_index(value.argmax(), value.shape)
    assert rate[i] == pytest.approx(fit.estimate, abs=0.01)
    assert tau[j] == pytest.approx(fit.tau, abs=0.03)
    assert value.max() == pytest.approx(fit.log_likelihood, abs=1e-3)


def test_walkthrough_shows_the_results_of_the_book() -> None:
    question = chapter.ask(ORR)
    fit = question.fit
    assert fit is not None and fit.marginal_ci is not None
    said = words(walkthrough.median_and_average(question))
    assert f"{pct(fit.estimate)} in the median trial ({ci(fit.ci_low, fit.ci_high)})" in said
    assert f"{pct(fit.marginal_estimate)} on average over trials ({ci(*fit.marginal_ci)})" in said
    ahead = words(walkthrough.next_trial(question))
    likelihood = pool(fit.events, fit.total)
    assert ci(fit.pi_low, fit.pi_high) in ahead
    assert ci(*likelihood.details["pi_t_k2"]) in ahead
    five = words(walkthrough.intervals(question))
    for kind in ("wald", "t", "profile", "bartlett", "profile-t"):
        other = pool(fit.events, fit.total, interval=kind)
        assert ci(other.ci_low, other.ci_high) in five
