"""The built book in a real browser, opened from the file system as a reader might."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.browsing import NARROW, PAGES, Visit, open_all, show, violations, visit

pytestmark = [pytest.mark.book, pytest.mark.browser, pytest.mark.xdist_group("browser")]

CHAPTER = Path("chapters") / "overall-response.html"
#: What axe-core finds in what others have written and this book cannot mend; none so far.
EXCEPTIONS: tuple[str, ...] = ()
VISITS: dict[str, Visit] = {}


@pytest.fixture
def seen(built_book: Path, browser: webdriver.Chrome, name: str) -> Visit:
    """What one look at a page has shown; each page is looked at once."""
    if name not in VISITS:
        VISITS[name] = visit(browser, built_book / name)
    return VISITS[name]


@pytest.mark.parametrize("name", PAGES)
def test_page_is_accessible_and_fits_and_asks_nobody(seen: Visit, name: str) -> None:
    """All that one look can tell: it costs a second or two, so it is done once per page."""
    assert seen.problems == []
    assert seen.requests
    outside = ("http:", "https:", "ws:", "wss:", "ftp:")
    assert [url for url in seen.requests if url.startswith(outside)] == []
    assert seen.themes == {"light": "light", "dark": "dark"}
    wider = {width: needed for width, needed in seen.widths.items() if needed > width}
    assert wider == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_page_has_no_accessibility_violation(seen: Visit, scheme: str) -> None:
    assert [said for said in seen.violations[scheme] if not said.startswith(EXCEPTIONS)] == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_moves_while_the_page_loads(seen: Visit) -> None:
    """Only equations change their size: they are text until the math library draws them."""
    limit = 0.25 if any("/mathjax/" in url for url in seen.requests) else 0.02
    for shifts in seen.shifts.values():
        assert sum(value for value, _ in shifts) < limit, shifts


@pytest.mark.parametrize("name", PAGES)
def test_page_weighs_less_than_a_megabyte(seen: Visit) -> None:
    assert seen.weight() < 1_000_000


@pytest.mark.parametrize("width", [1280, NARROW])
def test_opened_sidebars_and_search_are_accessible(
    built_book: Path, browser: webdriver.Chrome, width: int
) -> None:
    show(browser, built_book / CHAPTER, width, "dark")
    if width == NARROW:
        browser.find_element("css selector", "button.primary-toggle").click()
        dialog = browser.find_element("id", "pst-primary-sidebar-modal")
        WebDriverWait(browser, 10).until(lambda chrome: dialog.is_displayed())
        assert violations(browser, "#pst-primary-sidebar-modal") == []
        ActionChains(browser).send_keys(Keys.ESCAPE).perform()
        WebDriverWait(browser, 10).until(lambda chrome: not dialog.is_displayed())
    else:
        assert violations(browser, ".bd-sidebar-primary") == []
    ActionChains(browser).key_down(Keys.CONTROL).send_keys("k").key_up(Keys.CONTROL).perform()
    dialog = browser.find_element("id", "pst-search-dialog")
    WebDriverWait(browser, 10).until(lambda chrome: dialog.is_displayed())
    assert violations(browser, "#pst-search-dialog") == []


def test_theme_switch_goes_round_and_is_remembered(
    built_book: Path, browser: webdriver.Chrome
) -> None:
    show(browser, built_book / CHAPTER)

    def mode() -> tuple[str, str]:
        return tuple(
            browser.execute_script(
                "const {mode, theme} = document.documentElement.dataset; return [mode, theme]"
            )
        )

    try:
        assert mode() == ("auto", "light")
        button = browser.find_element("css selector", ".theme-switch-button")
        passed = [mode()]
        for _ in range(3):
            button.send_keys(Keys.ENTER)
            passed.append(mode())
            drawn = [
                icon.get_attribute("data-mode")
                for icon in button.find_elements("css selector", "svg")
                if icon.is_displayed()
            ]
            assert drawn == [mode()[0]]
        assert {theme for _, theme in passed} == {"light", "dark"}
        assert {name for name, _ in passed} == {"auto", "light", "dark"}
        while mode()[0] != "dark":
            button.send_keys(Keys.ENTER)
        show(browser, built_book / "index.html")
        assert mode() == ("dark", "dark")
    finally:
        browser.execute_script("localStorage.clear()")


@pytest.mark.parametrize("name", ["index.html", CHAPTER.as_posix(), "chapters/data.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_keyboard_reaches_everything_and_is_seen(
    built_book: Path, browser: webdriver.Chrome, name: str, scheme: str
) -> None:
    show(browser, built_book / name, 1280, scheme)
    actions = ActionChains(browser)
    kinds = set()
    unseen = []
    for _ in range(60):
        actions.send_keys(Keys.TAB).perform()
        where, drawn = browser.execute_script(
            "const at = document.activeElement, s = getComputedStyle(at);"
            "const line = s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0;"
            "return [at.tagName + '.' + at.className + ' ' + at.textContent.trim().slice(0, 40),"
            "line || s.boxShadow !== 'none']"
        )
        kinds.add(where.partition(".")[0])
        if where.startswith("BODY"):
            break
        if not drawn:
            unseen.append(where)
    assert {"A", "BUTTON", "SUMMARY"} <= kinds
    assert unseen == []


def test_the_first_link_skips_to_the_text(built_book: Path, browser: webdriver.Chrome) -> None:
    show(browser, built_book / CHAPTER)
    ActionChains(browser).send_keys(Keys.TAB).send_keys(Keys.ENTER).perform()
    assert browser.current_url.endswith("#main-content")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_printed_page_is_the_article_on_white(
    built_book: Path, browser: webdriver.Chrome, scheme: str
) -> None:
    show(browser, built_book / CHAPTER, 690, scheme)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    try:
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": "print", "features": features}
        )
        for gone in (
            *(".bd-sidebar-primary", ".bd-sidebar-secondary", ".bd-header-article"),
            *(".prev-next-footer", ".headerlink", ".ev-links", "details.hide", ".ev-narrow"),
        ):
            for tag in browser.find_elements("css selector", gone):
                assert not tag.is_displayed(), gone
        for shown in ("article h1", "article .ev-answers", "article .ev-wide svg", ".data-version"):
            assert browser.find_element("css selector", shown).is_displayed(), shown
        ground, ink, wide = browser.execute_script(
            "const page = getComputedStyle(document.body);"
            "const text = getComputedStyle(document.querySelector('article p'));"
            "return [page.backgroundColor, text.color, document.documentElement.scrollWidth]"
        )
        assert (ground, ink) == ("rgb(255, 255, 255)", "rgb(27, 33, 39)")
        assert wide <= 690
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})


def test_equations_are_drawn_without_a_network(built_book: Path, browser: webdriver.Chrome) -> None:
    pages = [
        page
        for page in sorted((built_book / "chapters").glob("*.html"))
        if 'class="math' in page.read_text(encoding="utf-8")
    ]
    for page in pages:
        show(browser, page, 1280)
        WebDriverWait(browser, 20).until(
            lambda chrome: chrome.execute_script(
                "const math = document.querySelectorAll('article .math');"
                "return [...math].every(tag => tag.querySelector('mjx-container svg'))"
            )
        )
        assert browser.execute_script("return document.querySelector('[data-mjx-error]')") is None


def test_search_finds_a_word_of_the_book(built_book: Path, browser: webdriver.Chrome) -> None:
    show(browser, built_book / CHAPTER)
    browser.find_element("css selector", "button.search-button-field").click()
    field = browser.find_element("css selector", "#pst-search-dialog input[type=search]")
    WebDriverWait(browser, 10).until(lambda chrome: field.is_displayed())
    field.send_keys("leukemia", Keys.ENTER)
    found = WebDriverWait(browser, 20).until(
        lambda chrome: chrome.execute_script(
            "return [...document.querySelectorAll('#search-results li a')].map(a => a.href)"
        )
    )
    assert "search.html" in browser.current_url
    assert any("/chapters/" in address for address in found)


def test_a_button_copies_code(built_book: Path, browser: webdriver.Chrome) -> None:
    show(browser, built_book / CHAPTER)
    allow_clipboard(browser)
    open_all(browser)
    block = browser.find_element("css selector", "article div.highlight")
    ActionChains(browser).move_to_element(block).perform()
    button = block.find_element("css selector", "button.copybtn")
    button.send_keys(Keys.ENTER)
    code = block.find_element("css selector", "pre").get_property("textContent").strip()
    assert "chapter" in code
    WebDriverWait(browser, 10).until(lambda chrome: clipboard(chrome).strip() == code)


def test_buttons_copy_the_citation_and_say_so(built_book: Path, browser: webdriver.Chrome) -> None:
    page = built_book / CHAPTER
    show(browser, page, 1280)
    allow_clipboard(browser)
    browser.execute_script("document.querySelector('details.ev-cite').open = true")
    name = "orr-cd19-single-agent"
    for ending in ("txt", "bib", "json", "ris"):
        button = browser.find_element("css selector", f"[data-ev-copy='{name}-cite-{ending}']")
        assert button.is_displayed()
        label = button.text
        # by keyboard: focus and Enter
        browser.execute_script("arguments[0].focus()", button)
        button.send_keys(Keys.ENTER)
        WebDriverWait(browser, 10).until(lambda chrome, b=button: b.text == "Copied")
        shown = browser.find_element("id", f"{name}-cite-{ending}")
        assert clipboard(browser) == shown.get_property("textContent")
        said = f"{label.removeprefix('Copy ')}: copied"
        WebDriverWait(browser, 10).until(lambda chrome, said=said: live(chrome) == said)
    assert f"{name}@" in clipboard(browser)
    button = browser.find_element("css selector", f"[data-ev-link='{name}']")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    WebDriverWait(browser, 10).until(lambda chrome: button.text == "Copied")
    assert clipboard(browser) == f"{page.as_uri()}#{name}"


def test_copying_works_where_the_clipboard_is_withheld(
    built_book: Path, browser: webdriver.Chrome
) -> None:
    show(browser, built_book / CHAPTER, 1280)
    browser.execute_script(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true});"
        "document.querySelector('details.ev-cite').open = true;"
        "window.copied = ''; document.addEventListener('copy', () => {"
        "window.copied = document.activeElement.value});"
    )
    button = browser.find_element("css selector", "[data-ev-copy='orr-cd19-single-agent-cite-bib']")
    button.send_keys(Keys.SPACE)
    WebDriverWait(browser, 10).until(lambda chrome: button.text == "Copied")
    copied = browser.execute_script("return window.copied")
    assert copied.startswith("@misc{orr-cd19-single-agent-")
    focused = browser.execute_script("return document.activeElement.dataset.evCopy")
    assert focused == "orr-cd19-single-agent-cite-bib"


def test_a_shared_address_shows_the_selection_of_trials(
    built_book: Path, browser: webdriver.Chrome
) -> None:
    from analysis import estimands, wording
    from analysis.data import load

    target = next(one for one in estimands.estimands() if one.id == "orr-cd19-single-agent")
    found = estimands.evidence(load(), target)
    kept = found.rows.iloc[1:]
    fit = estimands.pooled(dataclasses.replace(found, rows=kept))
    assert fit is not None
    gone = found.rows["cohort_id"].iloc[0]
    page = built_book / "chapters" / "leave-trials-out.html"
    show(browser, page, 1280)
    browser.get("about:blank")
    browser.get(f"{page.as_uri()}#estimate={target.id}&without={gone}")
    said = browser.find_element("css selector", "[data-part=said]").text
    assert wording.pct(fit.estimate, 1) in said
    assert wording.ci(fit.ci_low, fit.ci_high, 1, words=True) in said
    assert f"{len(kept)} of {len(found.rows)} trials" in said
    # on a phone the result stays at the lower edge while trials are ticked
    show(browser, page, 390)
    bar = browser.find_element("css selector", "[data-part=now]")
    for box in browser.find_elements("css selector", "input[name=trial]"):
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
        place = browser.execute_script("return arguments[0].getBoundingClientRect().bottom", bar)
        assert 0 < place <= 900
    # the chapters link to the page with their own question open
    browser.get((built_book / "chapters" / "complete-response.html").as_uri())
    link = browser.find_element("css selector", "a[href*='leave-trials-out.html#estimate=']")
    wanted = link.get_attribute("href").partition("=")[2]
    browser.get(link.get_attribute("href"))
    chosen = browser.find_element("css selector", "select[data-part=question]")
    assert chosen.get_property("value") == wanted


def allow_clipboard(browser: webdriver.Chrome) -> None:
    browser.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )


def clipboard(browser: webdriver.Chrome) -> str:
    return browser.execute_async_script(
        "navigator.clipboard.readText().then(arguments[0], e => arguments[0]('no: ' + e))"
    )


def live(browser: webdriver.Chrome) -> str:
    return browser.execute_script("return document.querySelector('.ev-live').textContent")
