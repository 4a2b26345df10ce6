"""The files that pages load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.book


def test_style_sheets_load_nothing_from_another_host(built_book: Path) -> None:
    elsewhere = []
    for sheet in (built_book / "_static").rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        for url in re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^)\"';\s]+)", text):
            elsewhere.append(f"{sheet.name}: {url}")
    assert elsewhere == []


def test_no_page_is_left_from_a_chapter_that_is_gone(built_book: Path) -> None:
    built = {path.stem for path in (built_book / "chapters").glob("*.html")}
    root = Path(__file__).resolve().parent.parent
    assert built <= {path.stem for path in (root / "chapters").glob("*.md")}


def test_the_data_package_can_be_downloaded(built_book: Path) -> None:
    data = Path(__file__).resolve().parent.parent / "data"
    offered = {path.name: path.read_bytes() for path in (built_book / "_data").iterdir()}
    assert {"datapackage.json", "extraction.csv"} <= set(offered)
    assert offered == {name: (data / name).read_bytes() for name in offered}
