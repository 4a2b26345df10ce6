"""What the theme writes is mended once, and the same for good."""

from __future__ import annotations

import pytest
from bs4 import BeautifulSoup

from analysis.bookbuild.mending import ICONS, mend

PAGE = """<html><head>
<meta name="viewport" content="a" /><meta name="viewport" content="b" />
  <script defer src="../_static/scripts/fontawesome.js?digest=1"></script>
    <script src="../_static/searchtools.js"></script>
    <script src="../searchindex.js"></script>
</head><body>
<button aria-label="Color mode"><i class="theme-switch fa-solid fa-sun   fa-lg" data-mode="light"
title="Light"></i></button><span class="fa-solid fa-bars"></span>
<main id="main-content" class="bd-main" role="main">{more}
<article class="bd-article"><details><summary aria-label="Toggle hidden content">
<p class="collapsed admonition-title">Show the code</p>
<p class="expanded admonition-title">Hide the code</p>
</summary><div class="highlight"><pre><span></span>code</pre></div></details>
<p><i class="fa-solid fa-unknown"></i></p></article></main><footer class="bd-footer">
  </footer></body></html>"""


def test_a_page_is_mended_once_and_for_good() -> None:
    once = mend(PAGE.format(more=""))
    assert mend(once) == once
    soup = BeautifulSoup(once, "lxml")
    assert [tag["content"] for tag in soup.select("meta")] == ["a"]
    assert soup.select("script, footer, p.admonition-title, [aria-label^=Toggle]") == []
    assert soup.summary.get_text() == "Show the codeHide the code"
    assert soup.main.get("role") is None
    assert soup.pre["tabindex"] == "0"
    sun, bars = soup.select("svg.book-icon")
    assert sun["class"] == ["book-icon", "book-icon-large", "theme-switch"]
    assert sun["data-mode"] == "light"
    assert sun.path["d"] == ICONS["sun"]
    assert bars.path["d"] == ICONS["bars"]
    # what authors have written is theirs
    assert soup.select_one("i.fa-unknown") is not None


def test_the_search_page_keeps_its_scripts() -> None:
    soup = BeautifulSoup(mend(PAGE.format(more='<div id="search-results"></div>')), "lxml")
    assert len(soup.select("script")) == 2


def test_an_icon_without_a_drawing_is_no_secret() -> None:
    with pytest.raises(ValueError, match="fa-rocket"):
        mend('<i class="fa-solid fa-rocket"></i>')
