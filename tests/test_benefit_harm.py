"""Response and severe toxicity together: what is shown, and how."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import benefit_harm, benefit_harm_page
from analysis.benefit_harm_figures import (
    Cross,
    Hundred,
    Panel,
    alt_hundred,
    alt_plane,
    hundred,
    of_hundred,
    plane,
)
from analysis.chapter import ask
from analysis.data import load
from analysis.svg import svg

POPULATIONS = ["cd19-single-agent", "cd19-with-ibrutinib"]
#: Trials with both outcomes and their counts (response, toxicity), counted by hand.
BOTH = {
    ("cd19-single-agent", "crs_severe"): {
        "penn-porter-2015": ((8, 14), (6, 14)),
        "fhcrc-turtle-2017": ((17, 24), (2, 24)),
        "transcend-cll-004": ((41, 87), (10, 117)),
    },
    ("cd19-single-agent", "ntx_severe"): {
        "penn-porter-2015": ((8, 14), (1, 14)),
        "fhcrc-turtle-2017": ((17, 24), (6, 24)),
        "transcend-cll-004": ((41, 87), (22, 117)),
    },
    ("cd19-with-ibrutinib", "crs_severe"): {
        "fhcrc-gauthier-2020": ((15, 18), (0, 19)),
        "transcend-cll-004-ibrutinib": ((15, 18), (1, 19)),
    },
    ("cd19-with-ibrutinib", "ntx_severe"): {
        "transcend-cll-004-ibrutinib": ((15, 18), (3, 19)),
    },
}


@pytest.fixture(scope="module")
def pairs():
    dataset = load()
    return {name: benefit_harm.pairs(dataset, name) for name in POPULATIONS}


def test_trials_with_both_outcomes(pairs):
    found = {
        (name, both.harm): {
            t.cohort_id: (
                (t.benefit.events, t.benefit.total),
                (t.harm.events, t.harm.total),
            )
            for t in both.both
        }
        for name, entries in pairs.items()
        for both in entries
    }
    assert found == BOTH


def test_every_trial_of_either_outcome_is_there_once(pairs):
    for name, entries in pairs.items():
        for both in entries:
            names = [t.cohort_id for t in both.trials]
            assert len(names) == len(set(names))
            parts = (both.both, both.benefit_only, both.harm_only)
            assert sum(map(len, parts)) == len(names)
            for outcome, column in (("orr", "benefit"), (both.harm, "harm")):
                rows = ask(f"{outcome.replace('_', '-')}-{name}").evidence.rows
                assert {t.cohort_id for t in both.trials if getattr(t, column)} == set(
                    rows["cohort_id"]
                )


def test_pooled_point_is_that_of_the_outcome_pages(pairs):
    for name, entries in pairs.items():
        for both in entries:
            harm = ask(f"{both.harm.replace('_', '-')}-{name}").fit
            good = ask(f"orr-{name}").fit
            assert both.region.point == pytest.approx((harm.estimate, good.estimate), abs=1e-9)
            for fit, (low, high) in zip((harm, good), both.region.sides, strict=True):
                assert low < fit.ci_low and fit.ci_high < high


def test_share_without_harm_stays_within_the_counts_of_a_trial(pairs):
    turtle = next(t for t in pairs[POPULATIONS[0]][0].both if t.cohort_id == "fhcrc-turtle-2017")
    assert turtle.without_harm == pytest.approx((15 / 24, 17 / 24))
    assert pairs[POPULATIONS[0]][0].benefit_only[0].without_harm is None


def test_unknown_population_is_refused():
    with pytest.raises(ValueError, match="no estimand"):
        benefit_harm.pairs(load(), "nobody")


# ------------------------------------------------------------------ figures


def _root(figure):
    return ElementTree.fromstring(svg(figure))


def _named(figure, part: str) -> list:
    return [node for node in _root(figure).iter() if str(node.get("id", "")).startswith(part)]


PANEL = Panel(
    "Harm",
    "Good",
    (
        Cross("First", 0.2, (0.1, 0.4), 0.6, (0.4, 0.8)),
        Cross("Second", None, None, 0.5, (0.3, 0.7)),
        Cross("Third", 0.3, (0.1, 0.5), None, None),
    ),
    (0.25, 0.55),
    (np.array([[0.1, 0.4], [0.4, 0.4], [0.4, 0.7], [0.1, 0.7], [0.1, 0.4]]),),
    ((0.1, 0.4), (0.4, 0.7)),
)


@pytest.mark.parametrize("layout", ["wide", "narrow"])
def test_plane_draws_every_trial_and_the_regions(layout):
    figure = plane([PANEL, PANEL], layout=layout)
    assert len(_named(figure, "ev:trial-1-x")) == len(_named(figure, "ev:trial-1-y")) == 2
    assert len(_named(figure, "ev:trial-2-margin")) == len(_named(figure, "ev:trial-3-margin")) == 2
    assert len(_named(figure, "ev:pooled")) == len(_named(figure, "ev:region")) == 2
    assert len(_named(figure, "ev:sides")) == 8


def test_intervals_have_the_length_of_their_rates():
    figure = plane([PANEL], layout="narrow")
    lines = {line.get_gid(): line for line in figure.axes[0].lines if line.get_gid()}
    across = np.ptp(lines["ev:trial-1-x"].get_xdata())
    upward = np.ptp(lines["ev:trial-1-y"].get_ydata())
    assert across / upward == pytest.approx(0.3 / 0.4)


def test_plane_without_a_pooled_point():
    bare = Panel("Harm", "Good", PANEL.crosses)
    figure = plane([bare])
    assert _named(figure, "ev:region") == _named(figure, "ev:pooled") == []
    assert "no pooled point" in alt_plane("Title", [bare])
    assert "First (60% and 20%)" in alt_plane("Title", [bare])


def test_nothing_to_draw_is_refused():
    for draw, message in ((plane, "panel"), (hundred, "rate")):
        with pytest.raises(ValueError, match=message):
            draw([])
    with pytest.raises(ValueError, match="layout"):
        plane([PANEL], layout="square")
    with pytest.raises(ValueError, match="layout"):
        hundred([Hundred("A", 0.5, 0.4, 0.6, False)], layout="square")


@st.composite
def rates(draw):
    low, middle, high = sorted(draw(st.lists(st.floats(0, 1), min_size=3, max_size=3)))
    return Hundred("Outcome", middle, low, high, draw(st.booleans()))


@given(entry=rates())
def test_counts_of_100_are_in_order_and_the_opposite_fills_up(entry):
    low, middle, high = of_hundred(entry)
    assert 0 <= low <= middle <= high <= 100
    opposite = Hundred("Rest", 1 - entry.estimate, 1 - entry.high, 1 - entry.low, False)
    rest = of_hundred(opposite)
    for mine, other in zip((low, middle, high), rest[::-1], strict=True):
        assert 100 <= mine + other <= 101  # halves are rounded up on both sides


def test_limits_out_of_order_are_refused():
    with pytest.raises(ValueError, match="in order"):
        of_hundred(Hundred("A", 0.2, 0.3, 0.4, False))


@pytest.mark.parametrize(
    ("low", "middle", "high"), [(0.29, 0.53, 0.77), (0.0, 0.0, 0.3), (0.6, 1.0, 1.0)]
)
def test_hundred_squares_are_drawn(low, middle, high):
    figure = hundred([Hundred("A", middle, low, high, False)], layout="narrow")
    sizes = {"sure": low, "likely": middle - low, "more": high - middle, "rest": 1 - high}
    for name, share in sizes.items():
        found = [patch for patch in figure.axes[0].patches if patch.get_gid() == f"ev:{name}-1"]
        corners = sum(len(patch.get_path().vertices) for patch in found)
        assert corners == round(100 * share) * 5
    assert alt_hundred("x", [Hundred("A", middle, low, high, False)]).startswith("Of 100 patients")


# ------------------------------------------------------------------ page


def test_answer_counts_the_trials(pairs):
    text = str(benefit_harm_page.answer(POPULATIONS))
    for name, entries in pairs.items():
        for both in entries:
            assert len(both.both) == len(BOTH[name, both.harm])
            assert re.search(rf"{len(both.both)} trials? with a figure for response", text)


def test_tables_link_every_figure_to_its_source(pairs):
    for name in POPULATIONS:
        table = str(benefit_harm_page.trials_table(name))
        for both in pairs[name]:
            for trial in both.trials:
                for row in (trial.row_benefit, trial.row_harm):
                    assert row is None or f"data.html#{row.record_id}" in table


def test_correlation_is_said_not_to_be_estimated():
    text = str(benefit_harm_page.correlation_reading(POPULATIONS))
    assert "not estimated here" in text
    assert text.count("with both") == 4


def test_strong_correlation_would_be_reported_by_its_width(monkeypatch):
    monkeypatch.setattr(benefit_harm_page, "HARDLY", 2.0)
    assert "as wide as without data" in str(benefit_harm_page.correlation_reading(POPULATIONS[:1]))
