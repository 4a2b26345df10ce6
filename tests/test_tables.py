"""Tables repeat the fits to the printed digit, escape what is data, and can be read by anyone."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from analysis import tables
from analysis.figures import Unpooled
from analysis.markup import Html, safe_url
from analysis.pooling import pool
from analysis.wording import ci, finding, number, pct

LABELS = ("Alpha 2011", "Beta 2014", "Gamma 2017", "Delta 2019", "Epsilon 2020")
EVENTS, TOTAL = (6, 3, 10, 0, 1), (14, 16, 117, 8, 8)


@pytest.fixture(scope="module")
def fit():
    return pool(EVENTS, TOTAL, labels=LABELS)


def parse(html: Html) -> BeautifulSoup:
    return BeautifulSoup(html._repr_html_(), "lxml")


def grid(soup: BeautifulSoup) -> list[dict[str, str]]:
    """Return the rows of a table as mappings from column header to text."""
    heads = [cell.get_text() for cell in soup.select("thead th")]
    rows = soup.select("tbody tr") + soup.select("tfoot tr")
    out = []
    for row in rows:
        cells = [cell.get_text() for cell in row.find_all(["th", "td"])]
        assert len(cells) == len(heads)
        out.append(dict(zip(heads, cells, strict=True)))
    return out


def download(soup: BeautifulSoup) -> list[dict[str, str]]:
    address = soup.select_one("a.ev-download")["href"]
    text = unquote(address.split(",", 1)[1])
    return list(csv.DictReader(io.StringIO(text)))


# ------------------------------------------------------------------ numbers


@pytest.mark.parametrize(
    ("proportion", "digits", "printed"),
    [
        (0.625, 0, "63%"),
        (0.125, 0, "13%"),
        (0.145, 0, "15%"),
        (0.005, 0, "1%"),
        (0, 0, "0%"),
        (1, 1, "100.0%"),
        (0.5446, 1, "54.5%"),
        (np.float64(0.07125), 2, "7.13%"),
        (None, 1, "–"),
    ],
)
def test_percent_rounds_halves_up(proportion, digits, printed):
    assert pct(proportion, digits) == printed


def test_interval_in_figures_and_in_words():
    assert ci(0.441, 0.6425) == "44–64%"
    assert ci(0.441, 0.6425, 1) == "44.1–64.3%"
    assert ci(0.441, 0.6425, words=True) == "44% to 64%"
    assert ci(None, 0.5) == "–"


@pytest.mark.parametrize("wrong", [1.2, -0.1, float("nan")])
def test_what_is_no_proportion_is_refused(wrong):
    with pytest.raises(ValueError, match="proportion must lie between 0 and 1"):
        pct(wrong)


@given(st.floats(0, 1), st.integers(0, 3))
def test_printed_percent_is_the_number_to_its_last_digit(proportion, digits):
    assert abs(float(pct(proportion, digits)[:-1]) - proportion * 100) <= 0.5 * 10**-digits + 1e-9


def test_numbers_have_a_real_minus_and_no_minus_zero():
    assert number(-1.25, 1) == "−1.3"
    assert number(-0.01, 1) == "0.0"
    with pytest.raises(ValueError, match="finite"):
        number(float("inf"), 1)


def test_finding_names_what_cannot_be_pooled():
    assert "one trial, 3 of 5 patients, 60%" in finding(pool([3], [5]), "Response")
    said = finding(pool([0, 0], [9, 8]), "Harm")
    assert said.startswith("Harm: no events (2 trials, 17 patients); 95% limits 0% to ")


# ------------------------------------------------------------------ tables of fits


def test_results_table_equals_the_fits(fit):
    other = pool([8, 9, 5], [10, 12, 11])
    single, none = pool([3], [5]), pool([0, 0], [9, 8])
    fits = {"First": fit, "Second": other, "Single": single, "None seen": none}
    soup = parse(tables.results_table(fits, id="results", hrefs=[f"{n}.html#x" for n in "abcd"]))
    rows = grid(soup)
    assert [row["Outcome"] for row in rows] == list(fits)
    for row, shown in ((rows[0], fit), (rows[1], other)):
        assert row["Trials"] == str(shown.k)
        assert row["Patients"] == str(int(shown.total.sum()))
        assert row["Estimate"] == f"{shown.estimate * 100:.1f}%"
        assert row["95% interval"] == f"{shown.ci_low * 100:.1f}–{shown.ci_high * 100:.1f}%"
        assert row["95% prediction interval"] == (
            f"{shown.pi_low * 100:.1f}–{shown.pi_high * 100:.1f}%"
        )
        assert row["τ"] == f"{shown.tau:.2f}"
    assert rows[2]["Estimate"] == "not pooled"
    assert rows[2]["95% interval"] == ""
    assert rows[3]["Estimate"] == "0.0%"
    assert [link["href"] for link in soup.select("th a")] == [f"{n}.html#x" for n in "abcd"]
    data = download(soup)
    assert [float(row["estimate"]) for row in data[:2]] == [fit.estimate, other.estimate]
    assert float(data[0]["pi_high"]) == fit.pi_high
    assert data[2]["estimate"] == ""


def test_one_outcome_in_two_populations(fit):
    fits = [("Response", fit), ("Response", pool([8, 9, 5], [10, 12, 11]))]
    rows = grid(parse(tables.results_table(fits, population=["alone", "with a partner"])))
    assert [row["Population"] for row in rows] == ["alone", "with a partner"]
    assert [row["Estimate"] for row in rows] == [pct(shown.estimate, 1) for _, shown in fits]


def test_studies_table_equals_the_fit(fit):
    soup = parse(
        tables.studies_table(
            fit,
            id="trials",
            columns={"Scale": list("vwxyz")},
            unpooled=[Unpooled("Interim", 2, 3, "patients of Alpha 2011")],
        )
    )
    rows = grid(soup)
    for i, label in enumerate(LABELS):
        assert rows[i] == {
            "Trial": label,
            "Scale": "vwxyz"[i],
            "Events": str(EVENTS[i]),
            "Patients": str(TOTAL[i]),
            "Percent": pct(EVENTS[i] / TOTAL[i]),
            "95% interval": ci(fit.study_ci_low[i], fit.study_ci_high[i]),
            "Weight": pct(fit.weight[i]),
        }
    assert rows[5]["Trial"] == "Interim (patients of Alpha 2011)"
    assert rows[5]["Weight"] == "–"
    foot = rows[6]
    assert (foot["Trial"], foot["Events"], foot["Patients"]) == ("Pooled", "20", "163")
    assert foot["Percent"] == pct(fit.estimate, 1)
    assert foot["95% interval"] == ci(fit.ci_low, fit.ci_high, 1)
    assert rows[7]["95% interval"] == ci(fit.pi_low, fit.pi_high, 1)
    assert len(soup.select("tfoot tr")) == 2
    assert [float(row["weight"]) for row in download(soup)] == list(fit.weight)
    assert f"τ = {fit.tau:.2f}" in soup.select_one(".ev-below").get_text()


def test_studies_table_of_one_trial():
    rows = grid(parse(tables.studies_table(pool([3], [5], labels=["Alone"]))))
    assert rows[0]["Percent"] == "60%"
    assert rows[0]["Weight"] == ""
    assert rows[1]["Trial"] == "One trial: not pooled"
    assert rows[1]["Percent"] == ""


def test_leave_one_out_table_gives_the_change(fit):
    every = range(len(EVENTS))
    left_out = [
        pool([EVENTS[j] for j in every if j != i], [TOTAL[j] for j in every if j != i])
        for i in every
    ]
    rows = grid(parse(tables.leave_one_out_table(fit, left_out)))
    assert rows[0]["Estimate"] == pct(fit.estimate, 1)
    for row, label, other in zip(rows[1:], LABELS, left_out, strict=True):
        assert row["Trial left out"] == label
        assert row["Estimate"] == pct(other.estimate, 1)
        moved = (other.estimate - fit.estimate) * 100
        assert float(row["Change (points)"].replace("−", "-")) == pytest.approx(moved, abs=0.0501)
        assert row["Change (points)"][0] == ("+" if moved > 0 else "−")


def test_model_table_names_model_and_interval(fit):
    fits = [fit, *(pool(EVENTS, TOTAL, model=name) for name in ("reml", "dl"))]
    rows = grid(parse(tables.model_table(fits)))
    assert [row["Model"] for row in rows] == ["GLMM", "REML", "DL"]
    assert rows[1]["Interval"] == "Hartung–Knapp"
    for row, shown in zip(rows, fits, strict=True):
        assert row["Estimate"] == pct(shown.estimate, 1)
        assert row["I²"] == f"{number(shown.i2, 0)}%"


# ------------------------------------------------------------------ any table


def test_table_has_caption_headers_and_a_region_that_can_be_reached():
    frame = pd.DataFrame({"name": ["a", "b"], "n": [1, 2], "share": [0.25, None]})
    soup = parse(
        tables.html_table(
            frame,
            "Some data",
            id="some",
            headers={"name": "Name"},
            formats={"share": pct},
            csv_href="../data/some.csv",
            note="A note",
        )
    )
    table = soup.table
    assert table.caption.get_text() == "Some data"
    assert [cell["scope"] for cell in table.select("thead th")] == ["col"] * 3
    assert [cell.get_text() for cell in table.select("tbody th[scope=row]")] == ["a", "b"]
    assert [cell.get_text() for cell in table.select("tbody td")] == ["1", "25%", "2", ""]
    region = soup.select_one("[role=region]")
    assert region["tabindex"] == "0"
    assert soup.find(id=region["aria-labelledby"]) is table.caption
    link = soup.select_one("a.ev-download")
    assert (link["href"], link["download"]) == ("../data/some.csv", "some.csv")
    assert "ev-num" in table.select("tbody td")[0]["class"]


@given(st.lists(st.text(max_size=30), min_size=1, max_size=4), st.text(min_size=1, max_size=30))
def test_cells_are_data(cells, header):
    header = f"h{header}"
    html = tables.html_table([{header: cell, "n": 1} for cell in cells], f"All {header}")
    soup = BeautifulSoup(str(html), "lxml")
    known = ["html", "body", "div", "table", "caption", "span", "thead", "tbody", "tr", "th", "td"]
    known += ["p", "a"]  # the link below the table
    assert {tag.name for tag in soup.find_all(True)} <= set(known)
    assert len(soup.select("a")) == 1
    for cell, row in zip(cells, soup.select("tbody th"), strict=True):
        # white space and control characters become single spaces; the rest stays as it is
        shown = row.get_text()
        assert "<" not in cell or "<" in shown
        assert "&" not in cell or "&" in shown
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", shown)


def test_markup_formulas_and_addresses_are_harmless():
    rows = [
        {"a": "<script>alert(1)</script>", "b": '=HYPERLINK("x")', "u": "javascript:alert(1)"},
        {"a": '" onmouseover="x', "b": "-5", "u": "https://doi.org/10.1/x?a=1&b=2"},
    ]
    html = str(tables.html_table(rows, "<b>", id="x", links={"a": "u"}, hide=["u"]))
    assert "<script" not in html
    soup = BeautifulSoup(html, "lxml")
    addresses = [str(link["href"]).partition(":")[0] for link in soup.select("a")]
    assert addresses == ["https", "data"]
    assert [link["href"] for link in soup.select("tbody a")] == ["https://doi.org/10.1/x?a=1&b=2"]
    assert soup.select("tbody th")[1].get_text() == '" onmouseover="x'
    back = list(csv.DictReader(io.StringIO(tables.to_csv(rows))))
    assert back[0]["b"] == '\'=HYPERLINK("x")'
    assert back[1]["b"] == "-5"


def test_a_table_offers_its_cells_where_nothing_else_is_given():
    rows = [
        {"Trial": Html('<a href="x">Alpha</a>, p. <b>3</b>'), "Events": 3},
        {"Trial": "=SUM(A1)", "Events": None},
    ]
    soup = parse(tables.html_table(rows, "Some", id="some"))
    assert soup.select_one("a.ev-download")["download"] == "some.csv"
    assert download(soup) == [
        {"Trial": "Alpha, p. 3", "Events": "3"},
        {"Trial": "'=SUM(A1)", "Events": ""},
    ]


@dataclass
class Drawn:
    label: str
    x: np.ndarray
    y: tuple[float, ...]
    tags: tuple[str, ...] = ("a", "b")
    color: str = "study"


def test_the_data_behind_a_drawing_is_one_row_per_place():
    text = tables.records_csv([Drawn("one", np.array([1.0, 2.0]), (0.5, 0.25))])
    assert text == "label,x,y,tags\none,1,0.5,a; b\none,2,0.25,a; b\n"
    assert tables.records_csv([Drawn("one", np.array([1.0]), (0.5,))], ["label", "y"]) == (
        "label,y\none,0.5\n"
    )
    with pytest.raises(ValueError, match="different length"):
        tables.records_csv([Drawn("one", np.array([1.0, 2.0]), (0.5,))])


@pytest.mark.parametrize(
    ("address", "safe"),
    [
        ("https://example.org/a", True),
        ("../data/x.csv#row", True),
        ("#anchor", True),
        ("javascript:alert(1)", False),
        ("JaVaScRiPt:alert(1)", False),
        ("data:text/html,x", False),
        ("//example.org/x", False),
        ("https://example.org/ x", False),
        ("\x00javascript:x", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_safe_url(address, safe):
    assert safe_url(address) == (address if safe else None)


def test_numbers_keep_their_type_and_missing_cells_are_empty():
    frame = pd.DataFrame(
        {
            "id": ["a", "b"],
            "n": pd.array([1, None], dtype="Int64"),
            "x": [0.1, float("nan")],
            "t": pd.array(["u", None], dtype="string"),
        }
    )
    rows = grid(parse(tables.html_table(frame, "Types")))
    assert rows == [
        {"id": "a", "n": "1", "x": "0.1", "t": "u"},
        {"id": "b", "n": "", "x": "", "t": ""},
    ]
    assert tables.to_csv(frame) == "id,n,x,t\na,1,0.1,u\nb,,,\n"


def test_wrong_input_is_refused(fit):
    with pytest.raises(ValueError, match="needs a caption"):
        tables.html_table([{"a": 1}], " ")
    with pytest.raises(ValueError, match="has no column b"):
        tables.html_table([{"a": 1}], "x", numeric=["b"])
    with pytest.raises(ValueError, match="has no columns"):
        tables.html_table([], "x")
    with pytest.raises(ValueError, match="at least one fit"):
        tables.results_table({})
    with pytest.raises(ValueError, match="population must have one value per fit"):
        tables.results_table({"a": fit}, population=["x", "y"])
    with pytest.raises(ValueError, match="one value per trial"):
        tables.studies_table(fit, columns={"Scale": ["a"]})
    with pytest.raises(ValueError, match="not a web or relative address"):
        tables.html_table([{"a": 1}], "x", csv_href="javascript:x")
    with pytest.raises(ValueError, match="has no column c"):
        tables.browse_table([{"a": 1}], "x", id="x", filters=["c"])


def test_same_input_same_bytes(fit):
    def make() -> str:
        return str(tables.studies_table(fit, id="a")) + str(tables.results_table({"a": fit}))

    assert make() == make()


# ------------------------------------------------------------------ the table with a search box


ROWS = [
    {
        "Record": f"r{i:03d}",
        "Trial": ("Müller 2014", "Alpha 2011")[i % 2],
        "Events": (None, 10, 9)[i % 3],
        "Status": ("used", "superseded", "")[i % 3],
        "doi": "https://doi.org/10.1/x",
    }
    for i in range(30)
]


def browse() -> Html:
    return tables.browse_table(
        ROWS,
        "All figures",
        id="all-figures",
        filters=["Trial", "Status"],
        links={"Trial": "doi"},
        hide=["doi"],
        csv=tables.to_csv(ROWS),
    )


def test_browse_table_is_whole_without_its_script():
    soup = parse(browse())
    assert len(soup.select("tbody tr")) == 30
    assert not soup.select("tbody tr[hidden]")
    assert soup.form.has_attr("hidden")
    assert soup.select_one("[role=status]").get_text() == "30 rows"
    for field in soup.select("form input, form select"):
        assert field.find_parent("label").span.get_text()
    status = soup.select("select")[1]
    assert [option.get_text() for option in status.select("option")] == [
        "All",
        "superseded",
        "used",
        "(empty)",
    ]
    ids = [tag["id"] for tag in soup.select("[id]")]
    assert len(ids) == len(set(ids))
    assert soup.find(id=soup.select_one("[role=region]")["aria-labelledby"]) is soup.caption
    assert soup.find(id=soup.select_one("input")["aria-controls"]) is not None
    assert len(soup.select("script:not([src])")) == 1
    assert not re.search(r"https?://(?!doi\.org)", str(browse()))


def test_filter_of_a_column_with_markup_offers_its_text():
    rows = [
        {"Trial": Html(f'<span id="r{i}">{name}</span>'), "Events": i}
        for i, name in enumerate(["A &amp; B", "Alpha", "Alpha"])
    ]
    page = tables.browse_table(rows, "Trials", id="t", filters=["Trial"]).source
    options = BeautifulSoup(page, "html.parser").select("select option")
    assert [option["value"] for option in options] == ["", "=A & B", "=Alpha"]
