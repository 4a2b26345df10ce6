"""The words of the glossary: read from it, and marked where a page first uses them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from analysis.bookbuild.terms import Term, forms_of, mark
from tests.browsing import NARROW, chapters, problems, show

TERMS = [
    Term(("tau", "τ"), "term-tau", 'Spread: how much "true" rates differ.'),
    Term(("prediction interval", "PI"), "term-prediction", "Where a new trial may lie."),
    Term(("CAR T cell",), "term-car", "A T cell with a receptor."),
]


def marked(body: str) -> list[tuple[str, str]]:
    soup = BeautifulSoup(mark(body, TERMS, "glossary.html"), "lxml")
    return [(a.get_text(), str(a["href"])) for a in soup.select("a.ev-term")]


def test_forms_of_a_term() -> None:
    assert forms_of("tau (τ)") == ("tau", "τ")
    assert forms_of("complete response (CR, CRi)") == ("complete response", "CR", "CRi")
    assert forms_of("cohort") == ("cohort",)


def test_the_first_use_in_running_text_is_marked() -> None:
    body = "<h1>τ</h1><p>The <em>Prediction\ninterval</em>, τ and tau; τ again.</p><p>τ</p>"
    assert marked(body) == [
        ("Prediction\ninterval", "glossary.html#term-prediction"),
        ("τ", "glossary.html#term-tau"),
    ]


def test_a_definition_is_data_in_an_attribute() -> None:
    soup = BeautifulSoup(mark("<p>τ</p>", TERMS, "g.html"), "lxml")
    assert soup.select_one("a.ev-term")["data-definition"] == TERMS[0].definition


@pytest.mark.parametrize(
    "body",
    [
        "<p><a href='x'>τ</a></p>",
        "<p><code>tau</code></p>",
        "<pre>tau</pre>",
        "<p><svg><text>τ</text></svg></p>",
        "<table><tr><td><p>τ</p></td></tr></table>",
        "<details><summary>x</summary><p>τ</p></details>",
        '<div class="ev-block ev-copy"><p>τ</p></div>',
        '<p><span class="math notranslate">τ</span></p>',
        '<p data-part="said">τ</p>',
        "<div>τ</div>",
        "<p>taunt, orr-tau, tau@1.0, PIN, pi, data/tau</p>",
        '<p title="τ > tau">none</p>',
        "<!-- <p> --><div>τ</div>",
    ],
)
def test_what_is_no_running_text_is_left_alone(body: str) -> None:
    assert mark(body, TERMS, "glossary.html") == body


def test_a_plural_belongs_to_the_term() -> None:
    assert marked("<li>CAR T cells</li>") == [("CAR T cells", "glossary.html#term-car")]


def test_text_after_a_closed_element_is_open_again() -> None:
    body = '<details class="ev-more"><summary>tau</summary><p>x<br>y <b>a</b> τ</p></details>'
    assert marked(body) == [("τ", "glossary.html#term-tau")]


@given(
    st.lists(
        st.sampled_from(
            ["<p>", "</p>", "<b>", "</b>", "<pre>", "</pre>", "τ", " tau ", "PI", "a&amp;b", "<br>"]
        )
    )
)
def test_marking_changes_no_text(parts: list[str]) -> None:
    body = "".join(parts)
    done = mark(body, TERMS, "glossary.html")
    assert re.sub(r'<a class="ev-term"[^>]*>([^<]*)</a>', r"\1", done) == body
    assert len(re.findall('class="ev-term"', done)) <= len(TERMS)


# ------------------------------------------------------------------ the built book


@pytest.mark.book
def test_chapters_mark_words_that_the_glossary_explains(built_book: Path) -> None:
    glossary = BeautifulSoup(
        (built_book / "chapters" / "glossary.html").read_text(encoding="utf-8"), "lxml"
    )
    said = {}
    for name in glossary.select("dl.glossary > dt"):
        definition = name.find_next_sibling("dd")
        said[name["id"]] = " ".join(definition.p.get_text().split())
    assert len(said) > 50
    used = set()
    for chapter in chapters():
        page = built_book / f"{chapter}.html"
        soup = BeautifulSoup(page.read_text(encoding="utf-8"), "lxml")
        words = soup.select("a.ev-term")
        places = [str(word["href"]).partition("#")[2] for word in words]
        assert len(places) == len(set(places)), f"{chapter} marks a word twice"
        assert bool(words) == (chapter not in {"chapters/glossary", "chapters/references"})
        for word, place in zip(words, places, strict=True):
            assert word["data-definition"] == said[place]
        used |= set(places)
    unused = set(said) - used
    assert len(unused) < len(said) / 4, f"no chapter uses: {sorted(unused)}"


@pytest.mark.book
@pytest.mark.browser
@pytest.mark.xdist_group("browser")
def test_definitions_appear_by_keyboard_and_mouse(
    built_book: Path, browser: webdriver.Chrome
) -> None:
    page = built_book / "chapters" / "complete-response.html"
    show(browser, page)
    word, other = browser.find_elements("css selector", "a.ev-term")[:2]
    tip = browser.find_element("id", "ev-definition")
    assert not tip.is_displayed()
    # by keyboard, and Escape closes it without moving the focus
    browser.execute_script("arguments[0].focus()", word)
    assert tip.is_displayed()
    assert tip.text == word.get_attribute("data-definition")
    assert word.get_attribute("aria-describedby") == tip.get_attribute("id")
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert not tip.is_displayed()
    assert browser.switch_to.active_element == word
    # by mouse, and it stays while the mouse is on it
    ActionChains(browser).move_to_element(other).perform()
    assert tip.is_displayed()
    assert tip.text == other.get_attribute("data-definition")
    ActionChains(browser).move_to_element(tip).pause(0.5).perform()
    assert tip.is_displayed()
    title = browser.find_element("css selector", "article h1")
    ActionChains(browser).move_to_element(title).perform()
    WebDriverWait(browser, 10).until(lambda chrome: not tip.is_displayed())
    # the link leads to the glossary
    word.send_keys(Keys.ENTER)
    assert "glossary.html#term-" in browser.current_url
    assert problems(browser) == []


@pytest.mark.book
@pytest.mark.browser
@pytest.mark.xdist_group("browser")
def test_a_first_tap_explains_inside_the_screen(
    built_book: Path, browser: webdriver.Chrome
) -> None:
    page = built_book / "chapters" / "complete-response.html"
    show(browser, page, NARROW)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        word = browser.find_elements("css selector", "a.ev-term")[0]
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", word)
        x, y = browser.execute_script(
            "const b = arguments[0].getBoundingClientRect();"
            "return [b.left + b.width / 2, b.top + b.height / 2]",
            word,
        )
        for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
            browser.execute_cdp_cmd(
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
            )
        tip = browser.find_element("id", "ev-definition")
        WebDriverWait(browser, 10).until(lambda chrome: tip.is_displayed())
        assert browser.current_url == page.as_uri()
        box = tip.rect
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= NARROW
    finally:
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
