"""The page on which readers choose the trials: what it ships, and what a browser shows of it."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import re
import shutil
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote

import numpy as np
import pytest

from analysis import (
    chapter,
    estimands,
    explorer,
    explorer_page,
    robustness,
    subset_figures,
    wording,
)
from analysis.pooling import Fit, pool

ROOT = Path(__file__).resolve().parent.parent
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    BROWSER is None or DRIVER is None,
    reason="needs Chromium and its driver (Debian: chromium, chromium-driver)",
)
DASH = "\u2013"
MODELS = {model.id: model for model in explorer.models()}


@pytest.fixture(scope="module")
def entries() -> tuple[explorer.Explored, ...]:
    return explorer_page.explored()


@pytest.fixture(scope="module")
def book(entries: tuple[explorer.Explored, ...]) -> dict[str, Any]:
    return json.loads(explorer.payload(chapter.dataset(), entries, explorer.models()))


def fit_of(basis: explorer.Basis, places: list[int], model: explorer.Model) -> Fit:
    """What the engine gives for a selection, asked directly."""
    return pool(
        basis.events[places], basis.total[places], model.model, interval=model.interval,
        **model.options,
    )  # fmt: skip


def places_of(entry: explorer.Explored, least: int) -> list[list[int]]:
    """Selections in the order in which the page expects them."""
    k = len(entry.trials)
    first = max(least, k - entry.left_out)
    return [list(part) for size in range(first, k + 1) for part in combinations(range(k), size)]


def shown_numbers(fit: Fit) -> dict[str, str]:
    """The numbers of a fit to the digits that the page shows."""
    pooled = fit.estimate is not None
    limit = pooled and fit.mu is None
    return {
        "estimate": wording.pct(None if limit else fit.estimate, 1),
        "interval": wording.ci(fit.ci_low, fit.ci_high, 1) if pooled else DASH,
        "prediction": wording.ci(fit.pi_low, fit.pi_high, 1) if pooled else DASH,
        "tau": DASH if fit.tau2 is None else wording.number(math.sqrt(fit.tau2), 2),
    }


# ------------------------------------------------------------------------------ what is shipped


def test_the_main_analysis_comes_first_and_reml_with_hartung_knapp_is_offered() -> None:
    first, *others = explorer.models()
    assert first.main and first.least == 2
    assert {"model": first.model, **first.options} == estimands.PRIMARY
    assert not any(model.main for model in others)
    assert ("reml", "hartung-knapp-adhoc", 2) in [(m.model, m.interval, m.least) for m in others]


def test_the_selection_of_all_trials_is_the_result_of_the_book(
    entries: tuple[explorer.Explored, ...], book: dict[str, Any]
) -> None:
    data = chapter.dataset()
    assert [entry.target.id for entry in entries] == [entry["id"] for entry in book["estimands"]]
    for entry, shipped in zip(entries, book["estimands"], strict=True):
        fit = estimands.pooled(estimands.evidence(data, entry.target))
        assert fit is not None
        assert shipped["denominators"][0]["events"] == fit.events.tolist()
        assert shipped["denominators"][0]["total"] == fit.total.tolist()
        if fit.k > 1:
            last = shipped["denominators"][0]["fits"]["bayes"][-len(explorer.VALUES) :]
            expected = [fit.estimate, fit.ci_low, fit.ci_high, fit.pi_low, fit.pi_high, fit.tau]
            assert last == pytest.approx(expected, abs=6e-6)


def test_shipped_values_are_those_of_pool_to_the_shown_digits(
    entries: tuple[explorer.Explored, ...], book: dict[str, Any]
) -> None:
    rng = np.random.default_rng(20240607)
    shipped = [
        (entry, basis, data, model)
        for entry, page in zip(entries, book["estimands"], strict=True)
        for basis, data in zip(entry.bases, page["denominators"], strict=True)
        for model in MODELS.values()
    ]
    compared = 0
    for entry, basis, data, model in shipped:
        assert (model.id in data["fits"]) == (len(entry.trials) >= model.least)
        if model.id not in data["fits"]:
            continue
        order = places_of(entry, model.least)
        flat = data["fits"][model.id]
        assert len(flat) == len(order) * len(explorer.VALUES)
        for at in rng.choice(len(order), size=min(3, len(order)), replace=False):
            values = flat[at * len(explorer.VALUES) : (at + 1) * len(explorer.VALUES)]
            got = dict(zip(explorer.VALUES, values, strict=True))
            tau = got["tau"]
            limit = tau is None
            seen = {
                "estimate": wording.pct(None if limit else got["estimate"], 1),
                "interval": wording.ci(got["ci_low"], got["ci_high"], 1),
                "prediction": wording.ci(got["pi_low"], got["pi_high"], 1),
                "tau": DASH if limit else wording.number(tau, 2),
            }
            assert seen == shown_numbers(fit_of(basis, order[at], model)), (entry.title, order[at])
            compared += 1
    assert compared > 60


def test_rounding_for_the_page_changes_no_shown_digit() -> None:
    rng = np.random.default_rng(3)
    near = np.concatenate([0.0005 + rng.integers(0, 999, 400) / 1000, [0.125, 0.0625, 0.9995]])
    near = np.concatenate([near, np.nextafter(near, 0), np.nextafter(near, 1), near + 1e-9])
    values = np.concatenate([near, rng.random(2000)])
    for value, short in zip(values.tolist(), explorer._shipped(values), strict=True):
        assert short is not None
        for digits in (0, 1):
            assert wording.pct(short, digits) == wording.pct(value, digits)
        assert wording.number(short, 2) == wording.number(value, 2)


@pytest.mark.parametrize(
    ("trials", "out"), [(1, 0), (2, 0), (3, 1), (6, 4), (14, 12), (15, 7), (20, 4), (40, 3)]
)
def test_every_selection_up_to_fourteen_trials_and_few_left_out_beyond(
    trials: int, out: int
) -> None:
    assert explorer.most_left_out(trials) == out
    sets = sum(math.comb(trials, left) for left in range(out + 1))
    assert sets <= explorer.MOST_SUBSETS
    if trials > 14:
        assert sets + math.comb(trials, out + 1) > explorer.MOST_SUBSETS


def test_with_more_trials_those_that_leave_out_few_are_pooled_and_the_page_says_so() -> None:
    entry, book = crowded()
    assert entry.left_out == 1
    text = explorer_page.limits([entry]).source
    assert f"up to 1 of {len(entry.trials)}" in text
    data = book["estimands"][0]["denominators"][0]["fits"]
    assert {len(values) for values in data.values()} == {6 * (1 + len(entry.trials))}


def test_the_limits_are_stated_also_where_everything_is_computed(
    entries: tuple[explorer.Explored, ...],
) -> None:
    text = explorer_page.limits(entries).source
    assert f"{explorer.MOST_SUBSETS:,}" in text and "14 trials" in text
    sets = sum(
        len(fits.size) for e in entries for basis in e.bases for fits in basis.subsets.values()
    )
    assert f"{sets:,}" in text


def test_the_answer_names_the_trial_whose_absence_moves_a_result_most(
    entries: tuple[explorer.Explored, ...],
) -> None:
    moves = []
    for entry in entries:
        k = len(entry.trials)
        if k < 3:
            continue
        basis, main = entry.bases[0], explorer.models()[0]
        full = fit_of(basis, list(range(k)), main).estimate
        for out in range(k):
            rest = fit_of(basis, [i for i in range(k) if i != out], main).estimate
            moves.append((abs(rest - full), entry, entry.trials[out].label, full, rest))
    _, entry, trial, full, rest = max(moves, key=lambda move: move[0])
    text = explorer_page.answer(entries).source
    assert f"from {wording.pct(full)} with all trials to {wording.pct(rest)} without" in text
    assert wording.plain(trial) in text and entry.label in text
    far = {move[1].target.id for move in moves if move[0] > 0.1}
    assert f"{len(far)} result" in text or (not far and "no result" in text)


def test_page_without_scripts_has_the_results_of_all_trials(
    entries: tuple[explorer.Explored, ...],
) -> None:
    from bs4 import BeautifulSoup

    page = BeautifulSoup(explorer_page.choose(entries).source, "html.parser")
    static = page.select_one(".ev-x-static")
    rows = static.select("tbody tr")
    assert len(rows) == len(entries)
    for row, entry in zip(rows, entries, strict=True):
        assert row.select_one(f"[id='estimate={entry.target.id}']") is not None
        text = row.get_text(" ", strip=True)
        if len(entry.trials) == 1:
            assert "not pooled" in text
            continue
        fit = fit_of(entry.bases[0], list(range(len(entry.trials))), explorer.models()[0])
        assert (
            wording.pct(fit.estimate, 1) in text and wording.ci(fit.ci_low, fit.ci_high, 1) in text
        )
    assert page.select_one("form").has_attr("hidden")


def test_picture_states_the_trial_that_separates_the_selections(
    entries: tuple[explorer.Explored, ...],
) -> None:
    entry = next(entry for entry in entries if len(entry.trials) >= explorer_page.ALL_FROM)
    subsets = entry.bases[0].subsets[explorer.models()[0].id]
    drawn = subset_figures.cloud(entry.title, [t.label for t in entry.trials], subsets)
    assert drawn.members.shape == (
        2 ** len(entry.trials) - len(entry.trials) - 1,
        len(entry.trials),
    )
    gaps = []
    for i, trial in enumerate(entry.trials):
        inside = subsets.members[:, i]
        gap = np.median(subsets.estimate[inside]) - np.median(subsets.estimate[~inside])
        gaps.append((abs(gap), trial.label))
    text = subset_figures.alt_clouds(drawn)
    assert f"{wording.plain(max(gaps)[1])} separates them most" in text
    for layout in ("wide", "narrow"):
        figure = subset_figures.clouds(drawn, layout=layout)
        marks = [line for line in figure.axes[0].lines if line.get_marker() in ("^", "o", "D")]
        assert sum(len(line.get_xdata()) for line in marks if line.get_marker() != "D") == (
            len(drawn.estimate) * len(entry.trials)
        )


def test_too_few_selections_are_not_drawn() -> None:
    subsets = robustness.all_subsets([3, 4], [9, 8], model="reml", min_size=2)
    with pytest.raises(ValueError, match="too few selections"):
        subset_figures.cloud("Two", ["a", "b"], subsets)
    with pytest.raises(ValueError, match="layout"):
        subset_figures.clouds(SimpleNamespace(), layout="round")


def crowded() -> tuple[explorer.Explored, dict[str, Any]]:
    """An estimand with more trials than selections can be pooled for, and its data."""
    rng = np.random.default_rng(11)
    k = 16
    total = rng.integers(8, 60, k)
    events = rng.binomial(total, 0.6)
    entry = explorer_page.explored()[0]
    using = [model for model in explorer.models() if model.id == "reml"]
    basis = explorer.Basis("reported", "As reported", events, total, np.ones(k, dtype=bool))
    made = robustness.subsets_together(
        [(events, total)], "reml", interval=using[0].interval, min_sizes=[k - 1]
    )
    basis.subsets["reml"] = made[0]
    entry = dataclasses.replace(
        entry,
        trials=tuple(explorer.Trial(f"t{i}", f"Trial {i}", "") for i in range(k)),
        left_out=1,
        bases=(basis,),
    )
    return entry, json.loads(explorer.payload(chapter.dataset(), [entry], using))


# ------------------------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--disable-dev-shm-usage", "--hide-scrollbars"),
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module")
def file(entries: tuple[explorer.Explored, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The controls on a page of their own, as a file."""
    return written(
        tmp_path_factory.mktemp("page") / "page.html", explorer_page.choose(entries).source
    )


def written(path: Path, content: str) -> Path:
    static = ROOT / "_static"
    style = "".join((static / name).read_text("utf-8") for name in ("evidence.css", "explorer.css"))
    script = (static / "copy.js").read_text("utf-8")
    path.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Trials</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{style}body{{margin:16px;max-width:46rem;background:var(--ev-ground);color:var(--ev-ink)}}a{{color:inherit}}</style></head>"
        f"<body><main><h1>Trials</h1>{content}</main><script>{script}</script></body></html>",
        encoding="utf-8",
    )
    return path


class Page:
    """The page in a browser, used as a reader would: by its controls."""

    def __init__(self, driver: Any, file: Path, width: int = 1280, address: str = "") -> None:
        self.driver = driver
        driver.get("about:blank")
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        driver.get(file.as_uri() + address)

    def run(self, script: str, *given: Any) -> Any:
        return self.driver.execute_script(script, *given)

    def part(self, name: str) -> str:
        return self.run(
            "return document.querySelector(`.ev-explorer [data-part=${arguments[0]}]`).textContent",
            name,
        )

    def choose(self, question: str) -> None:
        from selenium.webdriver.support.ui import Select

        select = self.driver.find_element("css selector", "select[data-part=question]")
        Select(select).select_by_value(question)

    def click(self, name: str, value: str) -> None:
        self.driver.find_element("css selector", f"input[name={name}][value='{value}']").click()

    def ticked(self) -> list[str]:
        return self.run(
            "return [...document.querySelectorAll('input[name=trial]:checked')].map(i => i.value)"
        )

    def checked(self, name: str) -> str:
        return self.run(
            "return document.querySelector(`input[name=${arguments[0]}]:checked`).value", name
        )

    def tick_only(self, wanted: set[str]) -> None:
        boxes = self.driver.find_elements("css selector", "input[name=trial]")
        for box in boxes:
            if box.is_selected() != (box.get_attribute("value") in wanted):
                box.click()

    def numbers(self) -> dict[str, str]:
        names = ("estimate", "interval", "prediction", "tau")
        return {name: self.part(name) for name in names}

    def drawn(self) -> list[str]:
        return self.run(
            "return [...document.querySelectorAll('[data-part=forest] text')]"
            ".map(t => t.textContent)"
        )

    def address(self) -> str:
        return self.run("return window.location.hash")

    def errors(self) -> list[dict[str, Any]]:
        return [entry for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]


def in_brackets(low: float, high: float) -> str:
    return f"({wording.percent_value(low, 1)}{DASH}{wording.percent_value(high, 1)})"


@pytest.mark.browser
@needs_browser
def test_every_shown_value_is_that_of_pool_on_selections_drawn_at_random(
    entries: tuple[explorer.Explored, ...], driver: Any, file: Path
) -> None:
    rng = np.random.default_rng(907)
    page = Page(driver, file)
    sizes = set()
    for step in range(36):
        # every estimand in turn, so that none is missed; the rest by chance
        entry = entries[step % len(entries)]
        basis = entry.bases[rng.integers(len(entry.bases))]
        model = list(MODELS.values())[rng.integers(len(MODELS))]
        k = len(entry.trials)
        places = sorted(rng.choice(k, size=rng.integers(0, k + 1), replace=False).tolist())
        sizes.add(len(places))
        page.choose(entry.target.id)
        page.click("model", model.id)
        page.click("denominator", basis.id)
        page.tick_only({entry.trials[i].id for i in places})
        said, drawn = page.part("said"), page.drawn()
        assert said.startswith(f"{entry.label}, {entry.target.population_label}")

        own = pool(basis.events, basis.total, "reml")
        for i, trial in enumerate(entry.trials):
            counts = f"{basis.events[i]}/{basis.total[i]}"
            wilson = (
                wording.pct(own.study_estimate[i], 1)
                + " "
                + in_brackets(own.study_ci_low[i], own.study_ci_high[i])
            )
            row = page.run(
                "return [...document.querySelectorAll('[data-part=rows] tr')[arguments[0]].cells]"
                ".map(c => c.textContent)",
                i,
            )
            label = trial.label + ("" if basis.rebased[i] else " *")
            assert row == [label, "counts" if i in places else "left out", counts, wilson]
            assert wilson in drawn and counts in drawn
        assert page.part("patients") == f"{basis.events[places].sum()}/{basis.total[places].sum()}"
        assert page.part("count") == str(len(places))

        if len(places) < 2 or len(places) < model.least:
            assert set(page.numbers().values()) == {DASH}
            expected = ("no trial is selected", "shown, not pooled", "offered from")[len(places)]
            assert expected in said
            if len(places) == 1:
                fit = fit_of(basis, places, model)
                assert wording.pct(fit.study_estimate[0], 1) in said
            continue
        fit = fit_of(basis, places, model)
        numbers = shown_numbers(fit)
        assert page.numbers() == numbers, (entry.title, basis.id, model.id, places)
        assert f"{len(places)} of {k} trials, {basis.total[places].sum()}" in said
        assert f"{wording.ci(fit.ci_low, fit.ci_high, 1, words=True)}" in said
        pooled = in_brackets(fit.ci_low, fit.ci_high)
        if fit.mu is not None:
            assert f": {numbers['estimate']} (95% {wording.interval_word(fit)} " in said
            assert f"\u03c4\u00a0=\u00a0{numbers['tau']}." in said
            pooled = f"{numbers['estimate']} {pooled}"
        assert pooled in drawn
        if fit.pi_low is not None:
            assert in_brackets(fit.pi_low, fit.pi_high) in drawn
            assert (
                f"between {wording.ci(fit.pi_low, fit.pi_high, 1, words=True)}".replace(
                    " to ", " and "
                )
                in said
            )
        # the diamond is where the result is
        if fit.mu is not None:
            diamond = page.run(
                "return document.querySelector('[data-part=forest] .ev-x-pooled').getBBox()"
            )
            axis = page.run(
                "const g = [...document.querySelectorAll('[data-part=forest] .ev-x-grid')]"
                ".map(p => p.getBBox().x); return [Math.min(...g), Math.max(...g)]"
            )
            scale = axis[1] - axis[0]
            assert (diamond["x"] - axis[0]) / scale == pytest.approx(fit.ci_low, abs=0.003)
            right = (diamond["x"] + diamond["width"] - axis[0]) / scale
            assert right == pytest.approx(fit.ci_high, abs=0.003)
    assert {0, 1, 2, 3} <= sizes
    assert page.errors() == []


@pytest.mark.browser
@needs_browser
def test_code_of_a_selection_gives_what_the_page_shows(driver: Any, file: Path) -> None:
    page = Page(driver, file)
    page.click("model", "reml")
    page.tick_only({trial for at, trial in enumerate(page.ticked()) if at % 2 == 0})
    made: dict[str, Any] = {}
    exec(page.part("code").replace("print(", "out = ("), made)  # the code that readers run
    assert shown_numbers(made["fit"]) == page.numbers()


@pytest.mark.browser
@needs_browser
def test_the_address_restores_a_selection_and_is_part_of_the_citation(
    entries: tuple[explorer.Explored, ...], driver: Any, file: Path
) -> None:
    entry = next(entry for entry in entries if len(entry.bases) > 1 and len(entry.trials) > 4)
    gone = [entry.trials[1].id, entry.trials[3].id]
    page = Page(driver, file)
    assert page.address() == ""
    page.choose(entry.target.id)
    page.click("model", "reml")
    page.click("denominator", entry.bases[-1].id)
    page.tick_only({trial.id for trial in entry.trials} - set(gone))
    address, before = page.address(), page.numbers()
    fields = {name: value[0] for name, value in parse_qs(address[1:]).items()}
    assert fields == {
        "estimate": entry.target.id,
        "model": "reml",
        "denominator": entry.bases[-1].id,
        "without": ",".join(gone),
        "data": chapter.dataset().version,
    }
    said = page.part("said")
    assert page.part("link") == file.as_uri() + address
    cited = page.part("cite")
    assert address in cited and before["estimate"] in cited
    assert f"{entry.target.id}@{chapter.dataset().version}" in cited
    assert chapter.dataset().sha256 in cited

    again = Page(driver, file, address=address)
    assert again.part("said") == said and again.numbers() == before
    top = again.run("return document.querySelector('.ev-explorer').getBoundingClientRect().top")
    assert abs(top) < 60  # a shared link leads to the selection, not to the head of the page
    assert set(again.ticked()) == {trial.id for trial in entry.trials} - set(gone)
    assert again.checked("model") == "reml"
    assert again.checked("denominator") == entry.bases[-1].id
    # another address on the open page
    other = next(other for other in entries if other.target.id != entry.target.id)
    again.run("window.location.hash = arguments[0]", f"estimate={other.target.id}")
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, 10).until(lambda _: again.part("said").startswith(other.label))
    assert set(again.ticked()) == {trial.id for trial in other.trials}
    assert again.errors() == []


@pytest.mark.browser
@needs_browser
def test_an_old_or_wrong_address_says_what_it_leaves_aside(driver: Any, file: Path) -> None:
    page = Page(
        driver,
        file,
        address="#estimate=orr-cd19-single-agent&model=magic&without=nobody&data=0.0.1",
    )
    said = page.part("message")
    assert "magic" in said and "nobody" in said and "0.0.1" in said
    assert page.checked("model") == explorer.models()[0].id
    box = page.driver.find_element("css selector", "[data-part=message]")
    assert box.is_displayed()
    page.click("model", "reml")
    assert not box.is_displayed()
    hostile = Page(driver, file, address="#estimate=__proto__&model=%E0%A4%A&denominator=<b>x</b>")
    assert hostile.run("return document.querySelectorAll('.ev-explorer b').length") == 0
    assert hostile.errors() == []


@pytest.mark.browser
@needs_browser
def test_an_anchor_of_the_page_is_no_selection(driver: Any, file: Path) -> None:
    page = Page(driver, file, address="#explorer")
    assert page.address() == "#explorer"
    assert not page.driver.find_element("css selector", "[data-part=message]").is_displayed()


@pytest.mark.browser
@needs_browser
def test_by_keyboard_alone(entries: tuple[explorer.Explored, ...], driver: Any, file: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page = Page(driver, file)

    def press(*keys: str) -> str:
        for key in keys:
            ActionChains(driver).send_keys(key).perform()
        return page.run(
            "const a = document.activeElement; return a.name || a.dataset.part || a.textContent"
        )

    page.run("document.querySelector('select[data-part=question]').focus()")
    first = page.part("said")
    assert press(Keys.TAB) == "model"
    assert press(Keys.ARROW_DOWN) == "model" and page.checked("model") == list(MODELS)[1]
    assert page.part("said") != first
    assert press(Keys.TAB) == "denominator"
    assert press(Keys.TAB) == "trial"
    first_trial = entries[0].trials[0]
    assert press(Keys.SPACE) == "trial"
    # the focus stays on the trial that was left out
    assert page.run("return document.activeElement.value") == first_trial.id
    assert first_trial.id not in page.ticked()
    assert f"Without {first_trial.label}." in page.part("said")
    assert press(*[Keys.TAB] * len(entries[0].trials)) == "All trials"
    outline = page.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    press(Keys.ENTER)
    assert len(page.ticked()) == len(entries[0].trials)
    assert press(Keys.TAB) == "No trial"
    press(Keys.SPACE)
    assert page.ticked() == []
    assert "nothing to pool" in page.part("said")


@pytest.mark.browser
@needs_browser
def test_controls_and_result_are_named_and_announced(driver: Any, file: Path) -> None:
    page = Page(driver, file)
    live = page.driver.find_element("css selector", "[data-part=said]")
    assert live.get_attribute("aria-live") == "polite"
    assert live.get_attribute("aria-atomic") == "true"
    for name in ("model", "denominator", "trial"):
        for box in page.driver.find_elements("css selector", f"input[name={name}]"):
            assert box.accessible_name
            group = page.run("return arguments[0].closest('fieldset').querySelector('legend')", box)
            assert group.text
    svg = page.driver.find_element("css selector", "[data-part=forest]")
    assert svg.aria_role in ("img", "image")
    assert page.part("said") in svg.accessible_name
    # what the page says is one element whose text is replaced: one announcement per choice
    page.run(
        "window.said = []; new MutationObserver(() => said.push(1)).observe("
        "arguments[0], {childList: true, characterData: true, subtree: true})",
        live,
    )
    page.click("model", "reml")
    assert page.run("return window.said.length") == 1


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_accessibility_violation_after_a_choice(
    driver: Any, file: Path, width: int, scheme: str
) -> None:
    axe = next((ROOT / "tests" / "assets" / "axe-core").glob("axe*.js")).read_text("utf-8")
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    page = Page(driver, file, width)
    page.run("document.documentElement.dataset.theme = arguments[0]", scheme)
    page.tick_only(set(page.ticked()[1:]))
    page.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.run(axe)
    found = driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document.querySelector('main')).then(r => done(r.violations.map("
        "v => v.id + ': ' + v.nodes.map(n => n.html).join(' '))))"
    )
    assert found == []


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_cut_off_or_wider_than_the_screen(driver: Any, file: Path, width: int) -> None:
    page = Page(driver, file, width)
    for question in page.run(
        "return [...document.querySelectorAll('[data-part=question] option')].map(o => o.value)"
    ):
        page.choose(question)
        assert page.run("return document.documentElement.scrollWidth") <= width
        cut = page.run(
            "const svg = document.querySelector('[data-part=forest]');"
            "const box = svg.getBoundingClientRect();"
            "return [...svg.querySelectorAll('text')].filter(t => {"
            "const r = t.getBoundingClientRect();"
            "return r.left < box.left - 1 || r.right > box.right + 1 || r.bottom > box.bottom + 1"
            "}).map(t => t.textContent)"
        )
        assert cut == []
        crossed = page.run(
            "const t = [...document.querySelectorAll('[data-part=forest] text')]"
            ".map(n => [n.textContent, n.getBoundingClientRect()]); const out = [];"
            "t.forEach(([a, p], i) => t.slice(i + 1).forEach(([b, q]) => {"
            "const w = Math.min(p.right, q.right) - Math.max(p.left, q.left);"
            "const h = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);"
            "if (w > 1 && h > 4) { out.push(a + ' | ' + b); } })); return out"
        )
        assert crossed == []
    if width < 600:
        small = page.run(
            "return [...document.querySelectorAll('.ev-x-choice')].filter("
            "c => c.getBoundingClientRect().height < 24).length"
        )
        assert small == 0


@pytest.mark.browser
@needs_browser
def test_picture_of_all_selections_has_each_at_its_place_and_a_click_chooses_it(
    entries: tuple[explorer.Explored, ...], driver: Any, file: Path
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    entry, model = entries[0], explorer.models()[0]
    page = Page(driver, file)
    svg = driver.find_element("css selector", "[data-part=all]")
    subsets = entry.bases[0].subsets[model.id]
    low, high = wording.pct(subsets.estimate.min(), 1), wording.pct(subsets.estimate.max(), 1)
    assert f"{len(subsets.size)} selections, {low} to {high}" in svg.accessible_name
    moves = page.run(
        "const g = [...document.querySelectorAll('[data-part=all] .ev-x-grid')].map(p => "
        "p.getBBox()); const xs = g.filter(b => b.width === 0).map(b => b.x), "
        "ys = g.filter(b => b.height === 0).map(b => b.y);"
        "return [document.querySelector('[data-part=all] .ev-x-marks').getAttribute('d'),"
        "Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys),"
        "document.querySelectorAll('[data-part=all] .ev-x-right').length]"
    )
    drawn = np.array(re.findall(r"M(\S+) (\S+?)a", moves[0]), dtype=float)
    x = (drawn[:, 0] + 3.2 - moves[1]) / (moves[2] - moves[1])
    tops = page.run(
        "return [...document.querySelectorAll('[data-part=all] .ev-x-right')].pop().textContent"
    )
    y = (moves[4] - drawn[:, 1]) / (moves[4] - moves[3]) * float(tops)
    assert np.sort(x) == pytest.approx(np.sort(subsets.estimate), abs=0.001)
    assert np.sort(y) == pytest.approx(np.sort(np.sqrt(subsets.tau2)), abs=0.02)
    # the outermost mark stands alone, so that a click there means it
    at = int(np.argmax(subsets.estimate))
    page.run("arguments[0].scrollIntoView({block: 'center'})", svg)
    spot = drawn[int(np.argmax(x))] + [3.2, 0.0]
    box = page.run(
        "const b = arguments[0].getBoundingClientRect(); return [b.width, b.height]", svg
    )
    ActionChains(driver).move_to_element_with_offset(
        svg, round(spot[0] - box[0] / 2), round(spot[1] - box[1] / 2)
    ).click().perform()
    members = [
        trial.id for trial, inside in zip(entry.trials, subsets.members[at], strict=True) if inside
    ]
    assert page.ticked() == members
    assert page.part("estimate") == high
    assert "without=" in page.address()
    # where only one selection was pooled there is nothing to draw
    two = next(other for other in entries if len(other.trials) == 2)
    page.choose(two.target.id)
    assert not driver.find_element("css selector", "[data-part=among]").is_displayed()


@pytest.mark.browser
@needs_browser
def test_every_selection_can_be_saved(
    entries: tuple[explorer.Explored, ...], driver: Any, file: Path
) -> None:
    page = Page(driver, file)
    page.click("model", "reml")
    page.click("denominator", "enrolled")
    link = driver.find_element("css selector", "[data-part=save]")
    page.run("arguments[0].addEventListener('click', e => e.preventDefault())", link)
    link.click()
    entry = entries[0]
    basis = next(basis for basis in entry.bases if basis.id == "enrolled")
    assert link.get_attribute("download") == f"{entry.target.id}-reml-enrolled-selections.csv"
    rows = list(csv.DictReader(io.StringIO(unquote(link.get_attribute("href").partition(",")[2]))))
    order = places_of(entry, 2)
    assert len(rows) == len(order)
    for row, places in zip(rows, order, strict=True):
        gone = [trial.id for i, trial in enumerate(entry.trials) if i not in places]
        assert row["without"] == "; ".join(gone) and row["trials"] == str(len(places))
    for at in (0, 20, len(rows) - 1):
        fit = fit_of(basis, order[at], MODELS["reml"])
        for name in explorer.VALUES:
            expected = getattr(fit, name)
            if expected is None:
                assert rows[at][name] == ""
            else:
                assert float(rows[at][name]) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.browser
@needs_browser
def test_the_result_stays_in_view_while_trials_are_ticked(driver: Any, file: Path) -> None:
    page = Page(driver, file, 390)
    bar = driver.find_element("css selector", "[data-part=now]")
    first = driver.find_element("css selector", "input[name=trial]")
    page.run("window.scrollTo(0, 0)")
    first.click()
    place = page.run("return arguments[0].getBoundingClientRect().bottom", bar)
    assert 0 < place <= 900
    assert f"{page.part('estimate')} ({page.part('interval')})" in bar.text
    assert bar.get_attribute("aria-hidden") == "true"


@pytest.mark.browser
@needs_browser
def test_a_selection_that_was_not_computed_says_so(
    driver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, _ = crowded()
    using = tuple(model for model in explorer.models() if model.id == "reml")
    monkeypatch.setattr(explorer, "models", lambda: using)
    page = Page(driver, written(tmp_path / "page.html", explorer_page.choose([entry]).source))
    ids = [trial.id for trial in entry.trials]
    rng = np.random.default_rng(5)
    for out in rng.choice(len(ids), 4, replace=False):
        page.tick_only(set(ids) - {ids[out]})
        rest = [i for i in range(len(ids)) if i != out]
        assert page.numbers() == shown_numbers(fit_of(entry.bases[0], rest, using[0]))
    page.tick_only(set(ids[2:]))
    assert "leave out more than 1\u00a0trial are not computed" in page.part("said")
    assert set(page.numbers().values()) == {DASH}
    assert re.search(r"events=\[\d+(, \d+){13}\]", page.part("code"))
    assert page.errors() == []
