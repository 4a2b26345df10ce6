"""Survival rates of the cohorts: which are shown, which are pooled, how they are drawn."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import pandas as pd
import pytest

from analysis import durability, durability_figures, durability_page
from analysis.data import load
from analysis.durability import Landmark, landmark_sets, landmarks, medians, window
from analysis.durability_figures import Bar, Point, Strip, landmark_plot, median_plot
from analysis.svg import svg

POPULATIONS = ["cd19-single-agent", "cd19-with-ibrutinib"]
NO_OVERLAPS = pd.DataFrame({"cohort_a": [], "cohort_b": [], "kind": []})


@pytest.fixture(scope="module")
def dataset():
    return load()


@pytest.fixture(scope="module")
def where():
    return {name: durability.populations()[name].where for name in POPULATIONS}


def mark(cohort: str, rate: float, months: float = 12.0, **more) -> Landmark:
    size = more.pop("size", 20.0)
    low, high, variance = durability._interval(rate, size)
    return Landmark(
        record_id=f"{cohort}.pfs",
        cohort_id=cohort,
        cohort=cohort.title(),
        outcome=more.pop("outcome", "pfs"),
        status=more.pop("status", "used"),
        months=months,
        rate=rate,
        subset=more.pop("subset", ""),
        patients=int(2 * size),
        size=size,
        variance=variance,
        low=low,
        high=high,
        how="test",
        row=SimpleNamespace(year=2020, report_kind="trial paper"),
    )


def test_every_rate_and_median_of_the_populations_is_found(dataset, where):
    """Counted by hand in the extraction."""
    found = {
        name: [(m.cohort_id, m.outcome, m.months, m.rate, m.status) for m in landmarks(dataset, w)]
        for name, w in where.items()
    }
    alone, ibrutinib = (found[name] for name in POPULATIONS)
    assert ("penn-porter-2015", "pfs", 18.0, pytest.approx(0.286), "used") in alone
    assert ("penn-porter-2015", "os", 18.0, 0.71, "used") in alone
    assert {(m[0], m[4]) for m in alone if m[1] == "dor"} == {
        ("transcend-cll-004-label", "context"),
        ("transcend-cll-004-label", "disputed"),
    }
    assert {m[2] for m in ibrutinib if m[0] == "penn-gill-2022"} == {24.0, 48.0}
    assert {m[4] for m in ibrutinib if m[0] == "penn-gill-2022"} == {"disputed"}
    values = {
        (m.cohort_id, m.outcome): m.value
        for m in medians(dataset, where["cd19-single-agent"])
        if m.status == "used" and not m.subset
    }
    assert values["penn-porter-2015", "pfs"] == 7
    assert values["fhcrc-turtle-2017", "pfs"] == 8.5
    assert values["transcend-cll-004", "pfs"] == 18
    assert values["penn-porter-2015", "os"] == 29
    assert values["fhcrc-turtle-2017", "os"] is None


def test_denominator_and_cautious_size(dataset, where):
    porter = next(
        m
        for m in landmarks(dataset, where["cd19-single-agent"])
        if m.cohort_id == "penn-porter-2015" and m.outcome == "pfs"
    )
    assert (porter.patients, porter.size) == (14, 7.0)
    assert porter.low is not None and porter.high is not None
    narrow = durability.interval_at(porter, 1.0)
    assert narrow is not None
    assert porter.low < narrow[0] < porter.rate < narrow[1] < porter.high
    assert durability.interval_at(porter, 0.5) == (porter.low, porter.high)


def test_rates_of_a_part_of_the_patients_take_no_denominator_but_their_own(dataset, where):
    for w in where.values():
        for m in landmarks(dataset, w):
            if m.subset == "complete responders":
                assert m.patients == 13  # complete responders of the label set
            elif m.subset:
                assert m.patients is None and m.low is None


def test_no_rate_of_these_populations_is_pooled_yet(dataset, where):
    for w in where.values():
        sets = landmark_sets(landmarks(dataset, w), dataset.overlaps)
        assert sets
        assert all(group.fit is None for group in sets)


def test_three_independent_cohorts_are_pooled_and_two_are_not():
    marks = [mark("a", 0.3), mark("b", 0.5, 11.5), mark("c", 0.6, 13.0)]
    (group,) = landmark_sets(marks, NO_OVERLAPS)
    assert group.months == 12 and group.fit is not None and group.fit.k == 3
    assert 0.3 < group.fit.estimate < 0.6
    (group,) = landmark_sets(marks[:2], NO_OVERLAPS)
    assert group.fit is None and len(group.independent) == 2


def test_shared_patients_subsets_disputes_and_other_times_do_not_count():
    overlaps = pd.DataFrame({"cohort_a": ["b"], "cohort_b": ["c"], "kind": ["subset"]})
    marks = [mark("a", 0.3), mark("b", 0.5), mark("c", 0.6, size=40.0)]
    (group,) = landmark_sets(marks, overlaps)
    assert group.fit is None
    assert [m.cohort_id for m in group.independent] == ["a", "c"]
    assert [m.cohort_id for m in group.shared] == ["b"]
    others = [
        mark("b", 0.5, status="disputed"),
        mark("c", 0.5, subset="responders", status="context"),
        mark("d", 0.5, 15.0),
    ]
    (group,) = landmark_sets([mark("a", 0.3), *others], NO_OVERLAPS)
    assert [m.cohort_id for m in group.independent] == ["a"]


def test_a_rate_of_one_can_be_pooled():
    marks = [mark("a", 1.0), mark("b", 0.8), mark("c", 0.9)]
    (group,) = landmark_sets(marks, NO_OVERLAPS)
    assert group.fit is not None
    assert 0.8 < group.fit.estimate < 1.0
    assert marks[0].high == 1.0 and marks[0].low == pytest.approx(0.025 ** (1 / 20))


@pytest.mark.parametrize(
    ("months", "usual"),
    [(12, 12), (10.8, 12), (13.2, 12), (14.5, None), (30, None), (65.5, 60), (66.5, 72), (0, None)],
)
def test_a_time_belongs_to_the_nearest_usual_one_within_a_tenth(months, usual):
    assert window(months) == usual


STRIPS = [
    Strip(
        "Survival",
        (
            Point("First 2020", 12, 0.4, 0.2, 0.6),
            Point("Second 2021", 12, 0.41, None, None, "subset"),
            Point("Third 2022", 24, 0.8, 0.5, 0.9, "disputed"),
            Point("Third 2022", 48, 0.8, 0.5, 0.9, "disputed"),
            Point("Pooled", 12, 0.45, 0.3, 0.6, "pooled"),
        ),
    )
]


def _drawn_texts(figure) -> str:
    root = ElementTree.fromstring(svg(figure))
    return " ".join("".join(node.itertext()) for node in root.iter() if node.tag.endswith("text"))


@pytest.mark.parametrize("layout", ["wide", "narrow"])
def test_every_rate_is_labeled_and_a_figure_with_two_times_once(layout):
    text = _drawn_texts(landmark_plot(STRIPS, layout=layout))
    for part in ("First 2020, 40%", "24 or 48 months"):
        assert all(word in text for word in part.split())
    assert text.count("Third 2022") == 1
    assert text.count("or 48") == 1


def test_marks_stand_at_their_rate():
    figure = landmark_plot(STRIPS, layout="wide")
    axes = figure.axes[0]
    lines = {line.get_gid(): line for line in axes.lines if line.get_gid()}
    spans = [
        lines[name].get_ydata()
        for name in ("ev:used-1-interval", "ev:disputed-3-interval", "ev:pooled-5-interval")
    ]
    heights = [float(max(y) - min(y)) for y in spans]
    assert heights[0] == pytest.approx(0.4 * 170)
    assert heights[1] == pytest.approx(0.4 * 170)
    assert heights[2] == pytest.approx(0.3 * 170)


@pytest.mark.parametrize("layout", ["wide", "narrow"])
def test_medians_say_not_reached(layout):
    bars = [
        Bar("First 2020", 7.0, group="Survival"),
        Bar("Second 2021", None, group="Survival"),
        Bar("Third 2022", 35.3, 12.4, None, group="Response", sub="same patients as First 2020"),
    ]
    text = _drawn_texts(median_plot(bars, layout=layout))
    assert text.count("not reached") == 2
    assert "35.3 (12.4 to not reached)" in text
    alt = durability_figures.alt_medians("test", bars)
    assert "not reached (Second 2021)" in alt and "7 months (First 2020)" in alt


@pytest.mark.parametrize("plot", [landmark_plot, median_plot])
def test_nothing_to_draw_is_refused(plot):
    with pytest.raises(ValueError, match="at least one"):
        plot([])
    with pytest.raises(ValueError, match="layout"):
        plot(STRIPS if plot is landmark_plot else [Bar("a", 1.0)], layout="square")


def test_answer_says_what_is_pooled(dataset, monkeypatch):
    text = str(durability_page.answer(dataset, POPULATIONS))
    assert "nothing is pooled" in text
    assert "8.5 months in Turtle 2017" in text
    marks = [mark("a", 0.3), mark("b", 0.5), mark("c", 0.6)]
    monkeypatch.setattr(durability_page, "_marks", lambda *_: marks)
    text = str(durability_page.answer(dataset, POPULATIONS[:1]))
    assert "Pooled: progression-free survival at 12 months" in text
    assert "nothing is pooled" not in text


def test_pooled_rate_is_drawn_and_tabulated(dataset, monkeypatch):
    marks = [mark("a", 0.3), mark("b", 0.5), mark("c", 0.6)]
    monkeypatch.setattr(durability_page, "_marks", lambda *_: marks)
    figure = str(durability_page.landmark_figure(dataset, POPULATIONS[0]))
    assert "Pooled, 3 trials" in figure
    table = str(durability_page.sets_table(dataset, POPULATIONS[:1]))
    assert "REML" in table and "3 needed" not in table


def test_every_figure_on_durability_is_in_one_table(dataset):
    """Nothing that a source prints is lost: above, or among the others with the reason."""
    page = "".join(
        str(part)
        for name in POPULATIONS
        for part in (
            durability_page.landmark_table(dataset, name),
            durability_page.median_table(dataset, name),
        )
    ) + str(durability_page.elsewhere(dataset, POPULATIONS))
    rows = dataset.extraction
    names = [*durability.OUTCOMES, *(f"{name}_median" for name in durability.OUTCOMES)]
    rows = rows[rows["outcome"].isin(names) & ~rows["status"].isin(["superseded", "not-found"])]
    assert len(rows) > 20
    missing = [name for name in rows["record_id"] if f"data.html#{name}" not in page]
    assert missing == []


def test_unknown_population_is_refused(dataset):
    with pytest.raises(ValueError, match="no population"):
        durability_page.landmark_figure(dataset, "nobody")


def test_shared_median_names_the_cohort(dataset, where):
    label = next(
        m
        for m in medians(dataset, where["cd19-single-agent"])
        if m.cohort_id == "transcend-cll-004-label" and m.outcome == "dor" and not m.subset
    )
    assert label.shares_with == "TRANSCEND CLL 004"
    assert label.low == 12.4 and label.high is None
    assert replace(label, shares_with="").value == 35.3
