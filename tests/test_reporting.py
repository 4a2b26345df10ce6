"""Sentences for a paper: they say what the fit says, and nothing of another model."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import chapter, citing, wording
from analysis.citation import Citable
from analysis.estimands import estimands
from analysis.pooling import pool
from analysis.reporting import report

ENTRY = Citable(
    estimand_id="orr-somebody",
    label="Overall response",
    population="Somebody",
    result="",
    data_version="1.2.3",
    data_sha256="ab" * 32,
    code_version="4.5.6",
)
EVENTS, TOTAL = [8, 17, 14, 3], [14, 24, 32, 9]
SAID = {
    "glmm": "a random-effects logistic model (GLMM) fitted by maximum likelihood",
    "bayes": "a Bayesian random-effects logistic model (priors: mu normal(0, 2.5), tau half-normal",
    "reml": "REML, applied to the transformed rate of each trial",
    "dl": "DerSimonian–Laird, applied to the transformed rate of each trial",
    "beta-binomial": "a beta-binomial model fitted by maximum likelihood",
}
INTERVALS = {
    ("glmm", "wald"): "a 95% confidence interval (CI; Wald)",
    ("glmm", "profile"): "a 95% confidence interval (CI; profile likelihood)",
    ("glmm", "t"): "a 95% confidence interval (CI; t(k−1))",
    ("reml", "hartung-knapp"): "a 95% confidence interval (CI; Hartung–Knapp)",
    ("bayes", "credible"): "its 95% credible interval (CrI)",
}


@pytest.mark.parametrize("model", SAID)
def test_the_model_is_the_one_that_was_used(model: str) -> None:
    methods = report(pool(EVENTS, TOTAL, model=model), ENTRY, "adults").methods
    assert SAID[model] in methods
    assert [name for name in SAID if SAID[name] in methods] == [model]
    assert ("posterior median" in methods) == (model == "bayes")


@pytest.mark.parametrize("model,interval", INTERVALS)
def test_the_interval_is_the_one_that_was_used(model: str, interval: str) -> None:
    fit = pool(EVENTS, TOTAL, model=model, interval=interval)
    said = report(fit, ENTRY, "adults")
    assert INTERVALS[model, interval] in said.methods
    word = "CrI" if interval == "credible" else "CI"
    limits = wording.ci(fit.ci_low, fit.ci_high, 1, words=True)
    assert f"(95% {word} {limits})" in said.results


def test_the_level_is_the_one_that_was_used() -> None:
    text = report(pool(EVENTS, TOTAL, level=0.9), ENTRY, "adults").text
    assert "90% " in text
    assert "95%" not in text


@given(
    st.lists(
        st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
        min_size=1,
        max_size=6,
    )
)
def test_counts_are_those_of_the_fit(counts: list[tuple[int, int]]) -> None:
    events, total = (list(part) for part in zip(*counts, strict=True))
    fit = pool(events, total, model="dl")
    said = report(fit, ENTRY, "adults")
    assert f"{sum(events)} of {wording.count(sum(total), 'patient')}" in said.results
    if len(counts) == 1:
        assert said.results.startswith("One trial reported overall response: ")
        assert "nothing was pooled" in said.methods
        assert "pooled estimate" not in said.text
    else:
        assert said.results.startswith(f"{len(counts)} trials reported overall response: ")
    assert ("fewer than five trials" in said.results) == (
        1 < len(counts) < 5 and "pooled estimate was" in said.results
    )
    assert not re.search(r"\b(None|nan|inf)\b", said.text)


@pytest.mark.parametrize("events,said", [([0, 0, 0], "no patient"), ([5, 6, 7], "every patient")])
def test_a_limit_is_told_as_a_limit(events: list[int], said: str) -> None:
    result = report(pool(events, [5, 6, 7]), ENTRY, "adults")
    assert f"Because {said} had the outcome" in result.methods
    assert "95% limits of the rate: " in result.results
    assert "pooled estimate was" not in result.results


def test_two_trials_have_no_prediction_interval_and_none_is_promised() -> None:
    fit = pool([3, 5], [10, 12], model="glmm")
    assert fit.pi_low is None
    assert "prediction" not in report(fit, ENTRY, "adults").text


def test_the_source_identifies_the_number() -> None:
    said = report(pool(EVENTS, TOTAL), ENTRY, "adults", certainty="Certainty: low.")
    for part in ("orr-somebody@1.2.3", "1.2.3", "ab" * 32, "4.5.6"):
        assert part in said.source
    assert said.text.split("\n\n") == [said.methods, said.results, said.certainty, said.source]


@pytest.mark.parametrize("label,inside", [("CRS of grade 3", "CRS of"), ("Undetectable", "unde")])
def test_a_label_inside_a_sentence_keeps_its_abbreviations(label: str, inside: str) -> None:
    said = report(pool(EVENTS, TOTAL), replace(ENTRY, label=label), "adults")
    assert f"reported {inside}" in said.results


@pytest.mark.parametrize("name", [target.id for target in estimands()])
def test_every_estimand_has_sentences_with_its_numbers(name: str) -> None:
    question = chapter.ask(name)
    said = citing.written(question)
    fit = question.fit
    if fit is None:
        assert said is None
        return
    assert said is not None
    assert f"{name}@{chapter.dataset().version}" in said.source
    if fit.estimate is not None:
        assert wording.pct(fit.estimate, 1) in said.results
    if fit.pi_low is not None:
        assert wording.ci(fit.pi_low, fit.pi_high, 1, words=True) in said.results
