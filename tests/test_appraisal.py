"""The appraisal of the trials and the certainty of the rates: rules that can fail."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bs4 import BeautifulSoup, Tag
from hypothesis import given
from hypothesis import strategies as st

from analysis import appraisal, certainty, chapter, wording
from analysis.certainty import CONCERNS, LEVELS, RULE, VARIANTS, Rating, Rule, rate
from analysis.data import ITEMS
from analysis.estimands import estimands
from analysis.pooling import Fit

ALL_ITEMS = [(name, i + 1) for name, n in ITEMS.items() for i in range(n)]
SOUND = dict.fromkeys(ALL_ITEMS, "yes")
QUESTIONS = [chapter.ask(target.id) for target in estimands()]


def fit(k: int = 4, low: float = 0.45, high: float = 0.55, tau: float = 0.1, **more: Any) -> Fit:
    """A pooled rate of one half with a narrow interval and next to no spread."""
    half = np.full(k, 0.5)
    given: dict[str, Any] = {
        "model": "bayes",
        "transform": "logit",
        "interval": "credible",
        "level": 0.95,
        "k": k,
        "events": np.full(k, 50),
        "total": np.full(k, 100),
        "estimate": None if k == 1 else 0.5,
        "ci_low": None if k == 1 else low,
        "ci_high": None if k == 1 else high,
        "tau2": None if k == 1 else tau**2,
        "study_estimate": half,
        "study_ci_low": half - 0.05,
        "study_ci_high": half + 0.05,
        "weight": np.full(k, 1 / k),
    }
    return Fit(**(given | more))


def rated(one: Fit, judged: Any = None, criteria: Any = None, rule: Rule = RULE) -> Rating:
    judged = [SOUND] * one.k if judged is None else judged
    return rate(one, judged, ["iwCLL 2018"] * one.k if criteria is None else criteria, rule)


def taken(found: Rating) -> dict[str, int]:
    return {step.domain: step.down for step in found.steps if step.down}


# --- the rule -----------------------------------------------------------------------------------


def test_sound_precise_and_agreeing_trials_give_high_certainty() -> None:
    found = rated(fit())
    assert found.level == "high"
    assert taken(found) == {}
    assert certainty.sentence(found) == "high"


@pytest.mark.parametrize(
    ("low", "high", "down"),
    [(0.40, 0.60, 0), (0.40, 0.604, 0), (0.40, 0.606, 1), (0.3, 0.7, 1), (0.29, 0.71, 2)],
)
def test_a_wide_interval_is_imprecise(low: float, high: float, down: int) -> None:
    assert taken(rated(fit(low=low, high=high))).get("imprecision", 0) == down


@pytest.mark.parametrize(("tau", "down"), [(0.1, 0), (0.3, 0), (0.4, 1), (0.69, 1), (0.8, 2)])
def test_a_spread_between_trials_is_inconsistent(tau: float, down: int) -> None:
    assert taken(rated(fit(tau=tau))).get("inconsistency", 0) == down


def test_one_trial_is_rated_down_for_what_it_cannot_show_and_two_are_not() -> None:
    one = rated(fit(1))
    assert taken(one) == {"inconsistency": 1}
    assert "10 points" in next(s.reason for s in one.steps if s.domain == "imprecision")
    assert taken(rated(fit(2, tau=3.0))) == {}


def test_no_estimate_from_several_trials_is_as_imprecise_as_can_be() -> None:
    none = fit(estimate=None, ci_low=None, ci_high=None, tau2=None)
    assert taken(rated(none)) == {"imprecision": 2}


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_a_limit_has_no_spread_to_judge(end: float) -> None:
    at_end = fit(estimate=end, ci_low=min(end, 0.9), ci_high=max(end, 0.1), tau2=None)
    assert taken(rated(at_end)) == {}


@pytest.mark.parametrize("concern", CONCERNS)
@pytest.mark.parametrize("judgment", ["no", "unclear", "not-assessable"])
def test_every_concern_and_every_silence_counts(concern: str, judgment: str) -> None:
    for item in CONCERNS[concern]:
        bad = SOUND | {item: judgment}
        assert taken(rated(fit(), [bad] * 4)) == {"risk of bias": 1}
        assert taken(rated(fit(), [SOUND, SOUND, SOUND, bad])) == {}
        lenient = taken(rated(fit(), [bad] * 4, rule=replace(RULE, unknown_counts=False)))
        assert lenient == ({"risk of bias": 1} if judgment == "no" else {})


def test_an_item_that_nobody_judged_is_not_taken_for_sound() -> None:
    assert taken(rated(fit(), [{}] * 4)) == {"risk of bias": 1}


def test_two_concerns_in_half_of_the_weight_take_two_levels() -> None:
    first, second, _ = CONCERNS.values()
    bad = SOUND | {first[0]: "no", second[0]: "no"}
    assert taken(rated(fit(), [bad, bad, SOUND, SOUND])) == {"risk of bias": 2}
    assert taken(rated(fit(), [bad, SOUND, SOUND, SOUND])) == {}
    heavy = fit(weight=np.array([0.7, 0.1, 0.1, 0.1]))
    assert taken(rated(heavy, [bad, SOUND, SOUND, SOUND])) == {"risk of bias": 2}


@pytest.mark.parametrize(
    ("criteria", "strict", "lenient"),
    [
        (["iwCLL 2008", "iwCLL 2018", None, None], 0, 0),
        (["iwCLL 2008", None, None, None], 1, 0),
        ([None, None, None, None], 1, 0),
        (["Lee 2014", "Penn", "CTCAE 4.03", "ASTCT 2019"], 1, 1),
    ],
)
def test_mixed_or_unstated_criteria_are_indirect(
    criteria: list[str | None], strict: int, lenient: int
) -> None:
    for rule, down in ((RULE, strict), (replace(RULE, unknown_counts=False), lenient)):
        assert taken(rated(fit(), criteria=criteria, rule=rule)).get("indirectness", 0) == down


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("iwCLL 2018", "iwCLL"), ("CTCAE 4.03", "CTCAE"), ("CTCAE v5.0", "CTCAE"),
        ("1e-4", "1e-4"), ("IGH sequencing", "IGH sequencing"), ("", None), (" ", None),
        (None, None),
    ],
)  # fmt: skip
def test_criteria_lose_only_their_version(text: str | None, name: str | None) -> None:
    assert certainty.family(text) == name


def test_a_spread_counted_once_takes_the_larger_step() -> None:
    once = replace(RULE, spread_twice=False)
    both: dict[str, Any] = {"tau": 0.8, "low": 0.35, "high": 0.65}
    assert taken(rated(fit(**both))) == {"inconsistency": 2, "imprecision": 1}
    assert taken(rated(fit(**both), rule=once)) == {"inconsistency": 2}
    wide: dict[str, Any] = {"tau": 0.5, "low": 0.25, "high": 0.75}
    assert taken(rated(fit(**wide), rule=once)) == {"imprecision": 2}


def test_one_entry_per_trial_is_asked_for() -> None:
    with pytest.raises(ValueError, match=r"judged must have one entry per trial \(4\), not 3"):
        rated(fit(), [SOUND] * 3)
    with pytest.raises(ValueError, match=r"criteria must have one entry per trial \(4\), not 1"):
        rated(fit(), criteria=["Penn"])


ANY = st.sampled_from(["yes", "no", "unclear", "not-assessable"])


@given(
    k=st.integers(1, 6),
    width=st.floats(0, 0.5),
    tau=st.floats(0, 4),
    judged=st.lists(st.fixed_dictionaries(dict.fromkeys(ALL_ITEMS, ANY)), min_size=6, max_size=6),
    scale=st.lists(st.sampled_from([None, "Penn", "Lee 2014", "Lee 2018"]), min_size=6, max_size=6),
)
def test_levels_are_high_less_the_steps_and_giving_way_never_lowers(
    k: int, width: float, tau: float, judged: list, scale: list
) -> None:
    one = fit(k, 0.5 - width, 0.5 + width, tau)
    strict = rated(one, judged[:k], scale[:k])
    assert strict.level == LEVELS[min(sum(step.down for step in strict.steps), 3)]
    assert [step.domain for step in strict.steps] == [
        "risk of bias", "inconsistency", "indirectness", "imprecision", "publication bias",
    ]  # fmt: skip
    for rule in VARIANTS.values():
        lenient = rated(one, judged[:k], scale[:k], rule)
        assert all(a.down <= b.down for a, b in zip(lenient.steps, strict.steps, strict=True))


@given(tau=st.floats(0, 3), more=st.floats(0, 2), width=st.floats(0, 0.4), wider=st.floats(0, 0.1))
def test_more_spread_and_a_wider_interval_never_raise_the_level(
    tau: float, more: float, width: float, wider: float
) -> None:
    before = rated(fit(low=0.5 - width, high=0.5 + width, tau=tau))
    after = rated(fit(low=0.5 - width - wider, high=0.5 + width + wider, tau=tau + more))
    assert LEVELS.index(after.level) >= LEVELS.index(before.level)


# --- the data -----------------------------------------------------------------------------------


def test_every_pooled_trial_is_appraised_on_every_item() -> None:
    data = chapter.dataset()
    pooled = {name for question in QUESTIONS for name in question.evidence.rows["cohort_id"]}
    assert pooled
    for name in pooled:
        assert set(appraisal.judgments(data, name)) == set(ALL_ITEMS), name


def test_the_instruments_have_a_question_for_every_item_of_the_data() -> None:
    assert {name: len(one.items) for name, one in appraisal.INSTRUMENTS.items()} == ITEMS


def test_what_no_source_says_is_called_not_assessable() -> None:
    for row in chapter.dataset().appraisal.itertuples(index=False):
        silent = row.judgment == "not-assessable"
        said = re.match(r"(No source read|No statistical method|Nothing)", row.basis) is not None
        assert silent == said, (row.cohort_id, row.instrument, row.item, row.basis)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)
def test_every_rate_has_a_rating_with_a_reason_per_domain(question: chapter.Question) -> None:
    found = appraisal.rating(question)
    assert found is not None
    assert len(found.steps) == 5
    assert all(step.reason.endswith(".") and len(step.reason) > 20 for step in found.steps)
    if question.fit is not None and question.fit.estimate is not None:
        reason = next(s.reason for s in found.steps if s.domain == "imprecision")
        low, high = wording.pct(question.fit.ci_low), wording.pct(question.fit.ci_high)
        assert f"from {low} to {high}" in reason


def test_what_nobody_appraised_is_not_rated() -> None:
    named = {target.id for target in estimands()}
    others = [target.id for target in estimands(comparators=True) if target.id not in named]
    assert others
    for name in others:
        assert appraisal.rating(chapter.ask(name)) is None
        assert appraisal.said(chapter.ask(name)) == ""
        assert appraisal.line(chapter.ask(name)).source == ""


# --- the pages ----------------------------------------------------------------------------------


def soup_of(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "lxml")


@pytest.mark.book
@pytest.mark.parametrize("instrument", ITEMS)
def test_the_picture_shows_every_judgment_by_sign_and_word(
    built_book: Path, instrument: str
) -> None:
    grid = soup_of(built_book / "chapters" / "appraisal.html").find(id=f"{instrument}-grid")
    assert isinstance(grid, Tag)
    data = chapter.dataset()
    labels = data.cohorts.set_index("cohort_id")["label"]
    shown = {
        row.th.get_text(): [cell.get_text(" ", strip=True) for cell in row.find_all("td")]
        for row in grid.select("tbody tr")
        if row.th is not None
    }
    assert len(shown) == data.appraisal["cohort_id"].nunique()
    for cohort in data.appraisal["cohort_id"].unique():
        judged = appraisal.judgments(data, cohort)
        expected = [
            " ".join(appraisal.SHOWN[judged[instrument, i + 1]]) for i in range(ITEMS[instrument])
        ]
        assert shown[labels[cohort]] == expected


@pytest.mark.book
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)
def test_chapters_and_sentences_for_a_paper_state_the_certainty(
    built_book: Path, question: chapter.Question
) -> None:
    found = appraisal.rating(question)
    assert found is not None
    pages = built_book / "chapters"
    outcome = soup_of(pages / f"{question.evidence.estimand.page}.html")
    link = outcome.select_one(f'.ev-certainty a[href="appraisal.html#{question.id}-certainty"]')
    assert link is not None
    assert link.parent is not None
    assert certainty.sentence(found) in " ".join(link.parent.get_text().split())
    reasons = soup_of(pages / "appraisal.html").find(id=f"{question.id}-certainty")
    assert isinstance(reasons, Tag)
    assert [
        li.get_text(" ", strip=True).split(",")[0].lower() for li in reasons.find_all("li")
    ] == [step.domain for step in found.steps]
    text = soup_of(pages / "citing.html").find(id=f"{question.id}-report-text")
    assert isinstance(text, Tag)
    assert appraisal.said(question) in text.get_text()
