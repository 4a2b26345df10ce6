"""The table with a search box, in a real browser, from a file."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from analysis import tables

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        BROWSER is None or DRIVER is None, reason="needs Chromium and its driver (Debian: chromium)"
    ),
]

ROWS = [
    {
        "Record": f"r{i:03d}",
        "Trial": ("Müller 2014", "Alpha 2011")[i % 2],
        "Events": (None, 10, 9)[i % 3],
        "Status": ("used", "superseded", "")[i % 3],
    }
    for i in range(30)
]
STYLE = Path(tables.__file__).parents[1] / "_static" / "evidence.css"


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = BROWSER
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture
def page(driver, tmp_path):
    block = tables.browse_table(ROWS, "All figures", id="figures", filters=["Trial", "Status"])
    file = tmp_path / "page.html"
    file.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>t</title>'
        f"<style>{STYLE.read_text('utf-8')}</style></head><body>{block}{block}</body></html>",
        encoding="utf-8",
    )
    driver.get(file.as_uri())
    return driver


def shown(page) -> list[str]:
    return page.execute_script(
        "return [...document.querySelector('tbody').rows].filter(r => r.offsetParent !== null)"
        ".map(r => r.cells[0].textContent)"
    )


def announced(page) -> str:
    return page.find_element("css selector", "[role=status]").text


def until(condition, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the page did not react"
        time.sleep(0.02)


def test_search_ignores_case_and_accents_and_announces_the_count(page):
    field = page.find_element("css selector", "input[type=search]")
    assert announced(page) == "30 rows"
    field.send_keys("muller USED")
    until(lambda: announced(page) == "5 of 30 rows")
    assert shown(page) == ["r000", "r006", "r012", "r018", "r024"]
    field.send_keys(" nothing")
    until(lambda: announced(page) == "0 of 30 rows")
    assert page.find_element("css selector", ".ev-none").is_displayed()
    page.find_element("css selector", "button[type=reset]").click()
    until(lambda: announced(page) == "30 rows")
    assert len(shown(page)) == 30


def test_filters_combine_and_find_empty_cells(page):
    from selenium.webdriver.support.ui import Select

    trial, status = (
        Select(field) for field in page.find_elements("css selector", "#figures select")[:2]
    )
    trial.select_by_visible_text("Alpha 2011")
    assert len(shown(page)) == 15
    status.select_by_visible_text("(empty)")
    assert shown(page) == ["r005", "r011", "r017", "r023", "r029"]
    assert announced(page) == "5 of 30 rows"


def test_sort_by_keyboard_numbers_as_numbers_empty_last(page):
    from selenium.webdriver.common.keys import Keys

    head = page.find_elements("css selector", "thead th")[2]
    button = head.find_element("css selector", "button")
    button.send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "ascending"
    values = page.execute_script(
        "return [...document.querySelector('tbody').rows].map(r => r.cells[2].textContent)"
    )
    assert values == ["9"] * 10 + ["10"] * 10 + [""] * 10
    button.send_keys(Keys.SPACE)
    assert head.get_attribute("aria-sort") == "descending"
    values = page.execute_script(
        "return [...document.querySelector('tbody').rows].map(r => r.cells[2].textContent)"
    )
    assert values == ["10"] * 10 + ["9"] * 10 + [""] * 10
    button.send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") is None
    assert shown(page) == [row["Record"] for row in ROWS]


def test_two_tables_on_a_page_are_independent_and_nothing_fails(page):
    field = page.find_elements("css selector", "input[type=search]")[1]
    field.send_keys("alpha")
    second = page.find_elements("css selector", "[role=status]")[1]
    until(lambda: second.text == "15 of 30 rows")
    assert announced(page) == "30 rows"
    assert [entry for entry in page.get_log("browser") if "favicon" not in entry["message"]] == []
