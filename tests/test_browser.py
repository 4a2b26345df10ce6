"""The built book in a real browser, opened from the file system as a reader might."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = [pytest.mark.book, pytest.mark.browser, pytest.mark.xdist_group("browser")]

PAGES = [
    *("index.html", "chapters/data.html", "chapters/overall-response.html"),
    "chapters/leave-trials-out.html",
]
OPTIONS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no browser: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for option in OPTIONS:
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    chrome.set_page_load_timeout(60)
    yield chrome
    chrome.quit()


def show(browser: webdriver.Chrome, page: Path, width: int, scheme: str = "light") -> None:
    """Open a page at a width and in a color scheme, with empty logs."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    browser.get(page.as_uri())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_page_asks_no_other_host_and_reports_no_error(
    built_book: Path, browser: webdriver.Chrome, name: str, scheme: str
) -> None:
    show(browser, built_book / name, 1280, scheme)
    theme = browser.execute_script("return document.documentElement.dataset.theme")
    assert theme == scheme
    problems = [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"]
    assert problems == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert asked
    assert [
        url for url in asked if url.startswith(("http:", "https:", "ws:", "wss:", "ftp:"))
    ] == []


@pytest.mark.parametrize("width", [360, 390, 768])
@pytest.mark.parametrize("name", PAGES)
def test_page_is_no_wider_than_the_screen(
    built_book: Path, browser: webdriver.Chrome, name: str, width: int
) -> None:
    show(browser, built_book / name, width)
    needed = browser.execute_script("return document.documentElement.scrollWidth")
    assert needed <= width


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
    page = built_book / "search.html"
    show(browser, page, 1280)
    browser.get(f"{page.as_uri()}?q=leukemia")
    found = WebDriverWait(browser, 20).until(
        lambda chrome: chrome.execute_script(
            "return [...document.querySelectorAll('#search-results li a')].map(a => a.href)"
        )
    )
    assert any("/chapters/" in address for address in found)


def test_buttons_copy_the_citation_and_say_so(built_book: Path, browser: webdriver.Chrome) -> None:
    page = built_book / "chapters" / "overall-response.html"
    show(browser, page, 1280)
    browser.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
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
    show(browser, built_book / "chapters" / "overall-response.html", 1280)
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


def clipboard(browser: webdriver.Chrome) -> str:
    return browser.execute_async_script(
        "navigator.clipboard.readText().then(arguments[0], e => arguments[0]('no: ' + e))"
    )


def live(browser: webdriver.Chrome) -> str:
    return browser.execute_script("return document.querySelector('.ev-live').textContent")


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
