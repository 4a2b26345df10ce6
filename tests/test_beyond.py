"""The chapter on other targets: every registered trial is there, and no figure stands for more."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import pytest
from bs4 import BeautifulSoup

from analysis import beyond
from analysis.data import Dataset, load
from analysis.pooling import clopper_pearson
from analysis.svg import svg
from analysis.wording import pct


@cache
def data() -> Dataset:
    return load()


def rows(html: object) -> list[list[str]]:
    soup = BeautifulSoup(str(html), "html.parser")
    return [
        [" ".join(cell.get_text(" ").split()) for cell in row.select("th, td")]
        for row in soup.select("tbody tr")
    ]


def test_every_registered_trial_is_listed_once_with_its_targets() -> None:
    trials = beyond.registered(data())
    assert sorted(t.trial_id for t in trials) == sorted(data().pipeline["trial_id"])
    listed = rows(beyond.pipeline(data()))
    assert [row[0] for row in listed] == [t.trial_id for t in trials]
    for trial, row in zip(trials, listed, strict=True):
        assert row[1] == ", ".join(trial.targets)
        assert (row[4] == "yes") == ("CLL" in trial.population)


@pytest.mark.parametrize("layout", ["wide", "narrow"])
def test_one_square_for_each_target_of_each_trial(layout: str) -> None:
    trials = beyond.registered(data())
    drawn = svg(beyond.target_matrix(trials, layout=layout))  # type: ignore[arg-type]
    assert drawn.count('id="ev:target"') == sum(len(trial.targets) for trial in trials)
    names = re.findall(r">([^<>\n]+)</text>", drawn)
    for trial in trials:
        assert f"{trial.trial_id}, {trial.phase}" in names
        assert set(trial.targets) <= set(names)


def test_the_picture_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(ValueError, match="at least one trial"):
        beyond.target_matrix([])
    with pytest.raises(ValueError, match="layout"):
        beyond.target_matrix(beyond.registered(data()), layout="tall")  # type: ignore[arg-type]


def test_a_stopped_trial_is_told_from_an_open_one() -> None:
    stopped = {trial.trial_id for trial in beyond.registered(data()) if trial.stopped}
    printed = data().pipeline.set_index("trial_id")["status"]
    assert stopped == set(printed.index[printed.str.startswith("Terminated")])


def test_figures_are_those_of_other_targets_and_say_whom_they_count() -> None:
    shown = rows(beyond.reported(data()))
    cohorts = data().cohorts.set_index("label")
    figures = data().extraction
    assert shown
    for label, target, _, events, patients, percent, _ in shown:
        cohort = cohorts.loc[label]
        assert target == cohort["target"] != "CD19"
        x, n = (int(part) for part in events.split(" of "))
        mine = figures[figures["cohort_id"] == cohort["cohort_id"]]
        mine = mine[(mine["events"] == x) & (mine["total"] == n)]
        if patients == "CLL":
            assert (mine["status"] == "used").any() and cohort["disease"].startswith("CLL")
            _, high = clopper_pearson(x, n, 0.95)
            assert percent.startswith(pct(x / n)) and pct(float(high)) in percent
        else:
            assert percent == "" and "not reported apart" in patients
            assert (mine["status"] == "excluded").any() or cohort["disease"] != "CLL"


def test_the_answer_counts_patients_with_cll_only() -> None:
    said = str(beyond.opening(data()))
    assert "0 of 2 patients responded" in said and "kappa light chain" in said
    assert "Nothing is pooled" in said
    # without that figure there is none
    table = data().extraction
    fewer = replace(data(), extraction=table[table["cohort_id"] != "bcm-ramos-2016"])
    assert "give no count of responses" in str(beyond.opening(fewer))


def test_other_diseases_are_kept_apart() -> None:
    near = {row[0] for row in rows(beyond.reported(data()))}
    far = rows(beyond.other_diseases(data()))
    assert not near & {row[0] for row in far}
    for row in far:
        assert "CLL" not in row[2] and row[1] != "CD19"
    only_cll = data().cohorts["disease"] == "CLL"
    fewer = replace(data(), cohorts=data().cohorts[only_cll])
    assert "no count of another target" in str(beyond.other_diseases(fewer))


def test_trials_without_a_count_are_named_with_the_reason() -> None:
    said = str(beyond.silent(data()))
    assert "NCT02706392" in said and "no copy" in said
    named = [label for label in data().cohorts["label"] if f"<li>{label}" in said]
    figures = {row[0] for row in rows(beyond.reported(data()))}
    assert named and not set(named) & figures
