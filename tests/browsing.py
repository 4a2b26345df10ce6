"""What the browser tests share: the pages of the book, opening them, and what is seen there."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

ROOT = Path(__file__).resolve().parent.parent
AXE = ROOT / "tests" / "assets" / "axe-core" / "axe.min.js"
OPTIONS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars"),
]
WIDE, NARROW = 1280, 390


def chapters() -> list[str]:
    """Name every chapter in the table of contents."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    names = [toc["root"]]

    def walk(node: object) -> None:
        if isinstance(node, dict):
            if "file" in node:
                names.append(node["file"])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk({key: value for key, value in toc.items() if key != "root"})
    return names


# the front page is built twice, at the top and among the chapters
PAGES = ["index.html", *(f"{name}.html" for name in chapters()[1:]), "search.html"]


def start(profile: Path) -> webdriver.Chrome:
    """Start the browser; skip where there is none."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no browser: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for option in OPTIONS:
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    chrome.set_page_load_timeout(120)
    chrome.set_script_timeout(120)
    # what moves after it was drawn, from the first moment on
    chrome.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument",
        {
            "source": "window.moved = [];"
            "new PerformanceObserver(list => list.getEntries().forEach(entry => {"
            "if (!entry.hadRecentInput) window.moved.push([entry.value, "
            "(entry.sources || []).map(s => s.node && s.node.outerHTML"
            " ? s.node.outerHTML.slice(0, 120) : String(s.node && s.node.nodeName))])"
            "})).observe({type: 'layout-shift', buffered: true});"
        },
    )
    size(chrome, WIDE, "light")
    chrome.get("data:text/html,<title>ready</title>")
    return chrome


def size(browser: webdriver.Chrome, width: int, scheme: str) -> None:
    """Set the width of the screen and the reader's color scheme."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {
            "features": [
                {"name": "prefers-color-scheme", "value": scheme},
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ]
        },
    )


def show(browser: webdriver.Chrome, page: Path, width: int = WIDE, scheme: str = "light") -> None:
    """Open a page at a width and in a color scheme, with empty logs."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    size(browser, width, scheme)
    browser.get(page.as_uri())


def problems(browser: webdriver.Chrome) -> list[str]:
    """Return what the page has reported as warnings and errors."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] != "INFO"]


def requests(browser: webdriver.Chrome) -> list[str]:
    """Return the addresses that the page has asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def open_all(browser: webdriver.Chrome) -> None:
    """Unfold everything that is folded, so that it is looked at as well."""
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")


def violations(browser: webdriver.Chrome, root: str = "html") -> list[str]:
    """Return what axe-core finds in the page: rule, place, element and reason.

    To save time, what repeats is taken out of the page first: of a long table all rows but 30 (one
    line of code writes them all), and the inside of drawings, which is one image with one name to
    assistive technology and whose colors have a test of their own.
    """
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    found = browser.execute_async_script(
        "const [root, done] = arguments;"
        "document.querySelectorAll('svg[role=img]').forEach(drawing => drawing.replaceChildren());"
        "document.querySelectorAll('tbody tr:nth-child(n+31)').forEach(row => row.remove());"
        # no preload: it would ask for the style sheets once more
        "axe.run(document.querySelector(root), {preload: false, resultTypes: ['violations']}).then("
        "result => done(result.violations), error => done([{id: String(error), nodes: []}]))",
        root,
    )
    said = []
    for rule in found:
        said += [
            f"{rule['id']}: {' '.join(map(str, node['target']))}: {node['html'][:160]}: "
            + "; ".join(c["message"] for kind in ("any", "all", "none") for c in node[kind])
            for node in rule["nodes"]
        ] or [rule["id"]]
    return said


@dataclass
class Visit:
    """What was seen on one page."""

    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    violations: dict[str, list[str]] = field(default_factory=dict)
    themes: dict[str, str] = field(default_factory=dict)
    shifts: dict[str, list[Any]] = field(default_factory=dict)
    widths: dict[int, int] = field(default_factory=dict)

    def weight(self) -> int:
        """Return the bytes, compressed, of all that was asked for, but the math library."""
        total = 0
        for url in dict.fromkeys(url.partition("#")[0] for url in self.requests):
            if url.startswith("file:") and "/mathjax/" not in url:
                total += len(gzip.compress(Path(unquote(urlsplit(url).path)).read_bytes(), 6))
        return total


def visit(browser: webdriver.Chrome, page: Path) -> Visit:
    """Look at a page on a wide, light screen and on a narrow, dark one."""
    seen = Visit()
    for name, width, scheme in (("light", WIDE, "light"), ("dark", NARROW, "dark")):
        show(browser, page, width, scheme)
        settle(browser)
        seen.shifts[name] = browser.execute_script("return window.moved")
        seen.requests += requests(browser)
        seen.themes[name] = browser.execute_script("return document.documentElement.dataset.theme")
        if name == "dark":
            for narrow in (320, 360, NARROW, 768):
                size(browser, narrow, scheme)
                seen.widths[narrow] = browser.execute_script(
                    "return document.documentElement.scrollWidth"
                )
            size(browser, width, scheme)
        open_all(browser)
        if name == "dark":
            seen.widths[width] = max(
                seen.widths[width],
                browser.execute_script("return document.documentElement.scrollWidth"),
            )
        seen.problems += problems(browser)
        seen.violations[name] = violations(browser)
    return seen


def settle(browser: webdriver.Chrome) -> None:
    """Wait until equations are drawn and two more frames have passed."""
    browser.execute_async_script(
        "const done = arguments[0];"
        "const math = window.MathJax && MathJax.startup && MathJax.startup.promise;"
        "Promise.resolve(math).then(() =>"
        "requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 20))))"
    )
