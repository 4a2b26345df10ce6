"""Figures say what the fits say, hold any label, and read on a phone."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import canvas, figures, style
from analysis.figures import Unpooled
from analysis.pooling import pool, wilson
from analysis.svg import inline_svg, responsive_svg, svg
from analysis.wording import ci, heterogeneity, pct, plain

LAYOUTS = ("wide", "narrow")
LABELS = ("Alpha 2011", "Beta 2014", "Gamma 2017 (TRIAL NUMBER 004)", "Delta 2019", "Epsilon 2020")
EVENTS, TOTAL = (6, 3, 10, 0, 1), (14, 16, 117, 8, 8)


@pytest.fixture(scope="module")
def fit():
    return pool(EVENTS, TOTAL, labels=LABELS)


@pytest.fixture(scope="module")
def left_out():
    every = range(len(EVENTS))
    return [
        pool(
            [EVENTS[j] for j in every if j != i],
            [TOTAL[j] for j in every if j != i],
            labels=[LABELS[j] for j in every if j != i],
        )
        for i in every
    ]


def drawing(figure) -> ElementTree.Element:
    return ElementTree.fromstring(inline_svg(figure, "alternative text"))


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(node.itertext()) for node in root.iter("text")]


def joined(root: ElementTree.Element) -> str:
    return "".join("".join(texts(root)).split())


def points(root: ElementTree.Element, name: str) -> np.ndarray:
    """Return the corners of the marks with a given class, in pixels."""
    groups = [node for node in root.iter() if node.get("class") == f"ev-{name}"]
    assert groups, f"nothing is drawn as {name}"
    paths = [path for group in groups for path in group.iter("path")]
    found = [hit for path in paths for hit in re.findall(r"[ML] (\S+) (\S+)", path.get("d"))]
    return np.array(found, dtype=float)


def scale(root: ElementTree.Element):
    """Return the function from a proportion to pixels, read from the labels of the axis."""
    at = {
        "".join(node.itertext()): float(node.get("x"))
        for node in root.iter("text")
        if "text-anchor:middle" in node.get("style", "")
    }
    zero, full = at["0%"], at["100%"]
    assert (at["25"] - zero) == pytest.approx((full - zero) / 4, abs=0.02)
    return lambda proportion: zero + proportion * (full - zero)


def boxes(figure) -> list[tuple[float, float, float, str]]:
    """Return left, right, baseline and text of every text, in the widest font expected."""
    (axes,) = figure.axes
    out = []
    for text in axes.texts:
        width = canvas.text_width(
            text.get_text(), text.get_fontsize(), text.get_fontweight() == "bold"
        )
        x, y = text.get_position()
        start = {"left": x, "right": x - width, "center": x - width / 2}[text.get_ha()]
        out.append((start, start + width, y, text.get_text()))
    return out


# ------------------------------------------------------------------ content


@pytest.mark.parametrize("layout", LAYOUTS)
def test_forest_shows_every_trial_with_its_numbers(fit, layout):
    root = drawing(figures.forest(fit, layout=layout))
    shown = texts(root)
    for i, label in enumerate(LABELS):
        assert "".join(label.split()) in joined(root)
        assert f"{EVENTS[i]}/{TOTAL[i]}" in shown
        low, high = fit.study_ci_low[i], fit.study_ci_high[i]
        assert f"({ci(low, high).removesuffix('%')})" in shown
        assert pct(fit.study_estimate[i]) in shown
        assert pct(fit.weight[i]) in shown
    assert f"Pooled, {len(LABELS)} trials" in shown
    assert f"{sum(EVENTS)}/{sum(TOTAL)}" in shown
    assert f"({ci(fit.pi_low, fit.pi_high).removesuffix('%')})" in shown
    assert "".join(heterogeneity(fit).split()) in joined(root)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_marks_lie_where_the_numbers_say(fit, layout):
    root = drawing(figures.forest(fit, layout=layout))
    at = scale(root)
    x = points(root, "pooled-diamond")[:, 0]
    assert x.min() == pytest.approx(at(fit.ci_low), abs=0.05)
    assert x.max() == pytest.approx(at(fit.ci_high), abs=0.05)
    assert sorted(x)[1] == pytest.approx(at(fit.estimate), abs=0.05)
    x = points(root, "pooled-prediction")[:, 0]
    assert [x.min(), x.max()] == pytest.approx([at(fit.pi_low), at(fit.pi_high)], abs=0.05)
    for i in range(fit.k):
        x = points(root, f"trial-{i + 1}-interval")[:, 0]
        expected = [at(fit.study_ci_low[i]), at(fit.study_ci_high[i])]
        assert [x.min(), x.max()] == pytest.approx(expected, abs=0.05)
        assert points(root, f"trial-{i + 1}")[:, 0].mean() == pytest.approx(
            at(fit.study_estimate[i]), abs=0.05
        )


def test_area_of_squares_follows_weight_and_zero_events_are_hollow(fit):
    root = drawing(figures.forest(fit))
    side = [np.ptp(points(root, f"trial-{i + 1}")[:, 0]) for i in range(fit.k)]
    large = [i for i in range(fit.k) if side[i] > 6.6]
    assert len(large) >= 3
    ratio = [side[i] ** 2 / fit.weight[i] for i in large]
    assert max(ratio) / min(ratio) == pytest.approx(1, abs=0.02)
    zero = EVENTS.index(0)
    assert side[zero] >= 6.4
    for i in range(fit.k):
        (group,) = [node for node in root.iter() if node.get("class") == f"ev-trial-{i + 1}"]
        path = group if group.tag == "path" else group.find(".//path")
        hollow = "fill:var(--ev-ground" in path.get("style")
        assert hollow == (i == zero)
    assert "Hollow blue square: no events." in texts(root)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_trial_is_shown_and_not_pooled(layout):
    fit = pool([3], [5], labels=["Alone 2020"])
    root = drawing(figures.forest(fit, layout=layout))
    assert {"Alone 2020", "3/5", "60%"} <= set(texts(root))
    assert "One trial: shown, not pooled" in texts(root)
    assert not [n for n in root.iter() if "diamond" in n.get("class", "")]
    assert "not pooled" in figures.alt_forest(fit, "Complete response")


@pytest.mark.parametrize(("events", "words"), [((0, 0, 0), "No events"), ((9, 8, 7), "An event")])
def test_limits_are_drawn_as_a_bar(events, words):
    fit = pool(events, (9, 8, 7), labels=list("abc"))
    root = drawing(figures.forest(fit))
    at, x = scale(root), points(root, "pooled-limit")[:, 0]
    assert [x.min(), x.max()] == pytest.approx([at(fit.ci_low), at(fit.ci_high)], abs=0.05)
    assert any(text.startswith(words) for text in texts(root))
    assert not [n for n in root.iter() if "diamond" in n.get("class", "")]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_further_rows_columns_and_groups(fit, layout):
    other = pool(EVENTS, TOTAL, model="dl", labels=LABELS)
    of = ["one", "two", "one", "two", "one"]
    figure = figures.forest(
        fit,
        layout=layout,
        columns={"Scale": list("vwxyz")},
        reference=(0.1, "Registry"),
        other_fits={"Another model": other},
        unpooled=[Unpooled("Interim report", 2, 3, "patients of Alpha 2011")],
        group=of,
        group_fits={"two": pool([3, 0], [16, 8])},
        group_test="Difference between groups: p = 0.4",
    )
    root = drawing(figure)
    shown = texts(root)
    assert {*"vwxyz", "one", "two", "Scale", "Another model", "Interim report"} <= set(shown)
    assert "patients of Alpha 2011" in shown
    assert "2/3" in shown
    assert "Difference between groups: p = 0.4." in shown
    assert "Dotted line: Registry, 10%." in shown
    at = scale(root)
    assert points(root, "reference")[:, 0] == pytest.approx(at(0.1), abs=0.05)
    assert points(root, "other-1-diamond")[:, 0].min() == pytest.approx(at(other.ci_low), abs=0.05)
    low, high = wilson(2, 3)
    x = points(root, "unpooled-interval")[:, 0]
    assert [x.min(), x.max()] == pytest.approx([at(float(low)), at(float(high))], abs=0.05)
    # trials are listed group by group
    order = [shown.index(name) for name in ("Alpha 2011", "Epsilon 2020", "Beta 2014")]
    assert order == sorted(order)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_leave_one_out(fit, left_out, layout):
    root = drawing(figures.leave_one_out(fit, left_out, layout=layout))
    at = scale(root)
    for i, other in enumerate(left_out):
        x = points(root, f"without-{i + 1}")[:, 0]
        expected = [at(other.ci_low), at(other.ci_high)]
        assert [x.min(), x.max()] == pytest.approx(expected, abs=0.05)
        assert pct(other.estimate) in texts(root)
    band = points(root, "band")[:, 0]
    expected = [at(fit.ci_low), at(fit.ci_high)]
    assert [band.min(), band.max()] == pytest.approx(expected, abs=0.05)
    extreme = max(range(fit.k), key=lambda i: left_out[i].estimate)
    alt = figures.alt_leave_one_out(fit, left_out, "Severe syndrome")
    assert f"{pct(left_out[extreme].estimate)} (without {LABELS[extreme]})" in alt
    with pytest.raises(ValueError, match="one result per trial"):
        figures.leave_one_out(fit, left_out[1:])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_models_and_overview(fit, layout):
    models = [fit, *(pool(EVENTS, TOTAL, model=name, labels=LABELS) for name in ("reml", "dl"))]
    root = drawing(figures.model_comparison(models, layout=layout))
    at = scale(root)
    for i, other in enumerate(models):
        x = points(root, f"model-{i + 1}")[:, 0]
        assert [x.min(), x.max()] == pytest.approx([at(other.ci_low), at(other.ci_high)], abs=0.05)
        assert pct(other.estimate) in figures.alt_model_comparison(models, "Outcome")
    rows = {"First": fit, "Nothing seen": pool([0, 0], [9, 8]), "Single": pool([1], [6])}
    root = drawing(figures.overview(rows, group=["Good", "Bad", "Bad"], layout=layout))
    assert {"First", "Nothing seen", "Single", "Good", "Bad"} <= set(texts(root))
    at, x = scale(root), points(root, "estimand-1-prediction")[:, 0]
    assert [x.min(), x.max()] == pytest.approx([at(fit.pi_low), at(fit.pi_high)], abs=0.05)
    alt = figures.alt_overview(rows)
    assert f"First {pct(fit.estimate)} ({ci(fit.ci_low, fit.ci_high, words=True)})" in alt
    assert "Not pooled: Single" in alt


def test_alt_text_states_the_finding(fit):
    alt = figures.alt_forest(fit, "Severe syndrome", unpooled=[Unpooled("x", 1, 2)])
    assert alt.startswith("Forest plot. Severe syndrome: ")
    for part in (
        pct(fit.estimate),
        ci(fit.ci_low, fit.ci_high, words=True),
        f"between {pct(fit.pi_low)} and {pct(fit.pi_high)}",
        "5 trials, 163 patients",
        "from 0% to 43%",
        "1 trial without events",
        "1 further trial shown, not pooled",
    ):
        assert part in alt


def test_wrong_input_is_refused(fit):
    with pytest.raises(ValueError, match="column Scale must have one value per trial"):
        figures.forest(fit, columns={"Scale": ["a"]})
    with pytest.raises(ValueError, match="group must have one value per trial"):
        figures.forest(fit, group="abcde")
    with pytest.raises(ValueError, match="reference must be a proportion"):
        figures.forest(fit, reference=20)
    with pytest.raises(ValueError, match="layout must be"):
        figures.forest(fit, layout="tall")
    with pytest.raises(ValueError, match="events must lie between 0 and total"):
        Unpooled("x", 4, 3)
    with pytest.raises(ValueError, match="alternative text"):
        inline_svg(figures.forest(fit), " ")


# ------------------------------------------------------------------ labels are data


HOSTILE = ('<script>alert("1")</script>', "a & b", "$x^2$ _a_ \\frac{1}{2}", "'\"><b>bold</b>")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_markup_and_mathematics_in_labels_stay_text(layout):
    labels = [*HOSTILE, "Ordinary 2020"]
    fit = pool(EVENTS, TOTAL, labels=labels)
    page = str(
        responsive_svg(
            figures.forest(fit, layout=layout, columns={"<i>n</i>": labels}),
            None,
            alt=HOSTILE[3],
            caption=HOSTILE[0],
            key="fig-x",
        )
    )
    assert not re.search(r"<(script|b|i)\b", page)
    root = ElementTree.fromstring(page.replace("&nbsp;", " "))
    shown = "".join("".join("".join(n.itertext()) for n in root.iter("text")).split())
    for label in HOSTILE:
        assert "".join(label.split()) in shown
    assert next(root.iter("svg")).get("aria-label") == HOSTILE[3]


@settings(deadline=None, max_examples=40)
@given(
    labels=st.lists(st.text(min_size=1, max_size=60), min_size=3, max_size=3),
    cells=st.lists(st.text(max_size=40), min_size=3, max_size=3),
    header=st.text(min_size=1, max_size=30),
    layout=st.sampled_from(LAYOUTS),
)
def test_any_text_is_drawn_whole_inside_the_figure_and_without_overlap(
    labels, cells, header, layout
):
    fit = _THREE
    figure = figures.forest(
        replace(fit, labels=tuple(labels)), columns={header: cells}, layout=layout
    )
    root = drawing(figure)
    shown = joined(root)
    for text in (*labels, *cells, header):
        assert "".join(plain(text).split()) in shown
    edge = style.WIDE if layout == "wide" else style.NARROW
    placed = boxes(figure)
    assert min(box[0] for box in placed) >= -0.5
    assert max(box[1] for box in placed) <= edge + 0.5
    lines: dict[float, list[tuple[float, float, float, str]]] = {}
    for box in placed:
        lines.setdefault(round(box[2]), []).append(box)
    for line in lines.values():
        for before, after in pairwise(sorted(line)):
            assert before[1] <= after[0] + 0.5, (before, after)


_THREE = pool([5, 0, 40], [14, 9, 88])


# ------------------------------------------------------------------ legible, quiet, reproducible


def test_text_is_at_least_eleven_pixels_on_a_phone(fit):
    root = drawing(figures.forest(fit, layout="narrow"))
    width = float(root.get("viewBox").split()[2])
    assert width <= 328  # what a 360 px screen leaves beside the margins of the page
    sizes = re.findall(r"font-size:([\d.]+)px", ElementTree.tostring(root, encoding="unicode"))
    assert min(float(size) for size in sizes) * 328 / width >= 11
    wide = drawing(figures.forest(fit))
    shown_from = 600
    sizes = re.findall(r"font-size:([\d.]+)px", ElementTree.tostring(wide, encoding="unicode"))
    scale_ = shown_from / float(wide.get("viewBox").split()[2])
    assert min(float(size) for size in sizes) * scale_ >= 10.5


def test_same_input_same_bytes(fit, left_out):
    def make() -> str:
        return str(
            figures.figure_block(
                figures.leave_one_out, fit, left_out, alt="a", caption="b", name="fig-a", csv="x\n"
            )
        )

    assert make() == make()
    assert svg(figures.forest(fit)) == svg(figures.forest(fit))


def test_both_layouts_are_in_the_block_and_no_id_repeats(fit):
    block = "".join(
        str(figures.figure_block(figures.forest, fit, alt="same", name=name))
        for name in ("fig-a", "fig-b")
    )
    ids = re.findall(r'\sid="([^"]+)"', block)
    assert ids == ["fig-a", "fig-b"]
    assert block.count('role="img"') == 4
    assert "<style" not in block
    assert "<metadata" not in block


def test_figures_of_seaborn_follow_the_theme_with_ids_of_their_own():
    from matplotlib.figure import Figure

    def make(key: str) -> str:
        import matplotlib as mpl
        import seaborn as sns

        with mpl.rc_context(style.rc()):
            axes = Figure(figsize=(5, 3)).subplots()
            sns.lineplot(x=[1, 2, 3], y=[2, 1, 2], ax=axes, marker="o")
            axes.set_xlabel("$x_1$ <b>")
        return inline_svg(axes.figure, "a line", key=key)

    one, two = make("one"), make("two")
    ids = [re.findall(r'\sid="([^"]+)"', text) for text in (one, two)]
    assert ids[0]
    assert not set(ids[0]) & set(ids[1])
    targets = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', one))
    assert {a or b for a, b in targets} == set(ids[0])
    assert f"var(--ev-study, {style.THEME['study']})" in one
    assert "$x_1$ &lt;b&gt;" in one


# ------------------------------------------------------------------ colors


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, two: str) -> float:
    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def themes() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    css = (Path(style.__file__).parents[1] / "_static" / "evidence.css").read_text("utf-8")
    blocks = [
        re.search(pattern + r"\s*\{([^}]*)\}", css)[1]
        for pattern in (r":root", r'html\[data-theme="dark"\]', r"html\[data-theme\]")
    ]
    value = r"--ev-([a-z]+):\s*(?:var\([^,]+,\s*)?(#[0-9a-f]{6})"
    light, dark, paper = (dict(re.findall(value, block)) for block in blocks)
    return light, dark, paper


def test_style_sheet_and_figures_share_their_colors():
    light, dark, paper = themes()
    assert {role: light[role] for role in style.THEME} == dict(style.THEME)
    assert {role: paper[role] for role in style.THEME} == dict(style.THEME)
    assert set(style.THEME) <= set(dark)
    assert len(set(style.THEME.values())) == len(style.THEME)


def test_contrast_of_text_and_marks_in_both_themes():
    for theme in themes()[:2]:
        # the theme of the book may put its own dark ground behind the figures
        for ground in (
            (theme["ground"], "#121212") if theme["ground"] != "#ffffff" else ("#ffffff",)
        ):
            for role in ("ink", "muted", "reference"):
                assert contrast(theme[role], ground) >= 4.5, role
            for role in ("study", "pooled", "prediction", "excluded", "second", "third", "edge"):
                assert contrast(theme[role], ground) >= 3, role
        assert contrast(theme["ink"], theme["band"]) >= 4.5
        assert contrast(theme["ink"], theme["hover"]) >= 4.5
        assert contrast(theme["muted"], theme["hover"]) >= 4.5


def test_subgroup_forest_pools_each_group_and_shows_the_test(fit):
    single = pool([3], [8], labels=["Zeta 2018"])
    groups = {"First": fit, "Second": single, "Third": None}
    said = "Test between groups: p = 0.31"
    for layout in LAYOUTS:
        root = drawing(figures.subgroup_forest(groups, test=said, layout=layout))
        shown = joined(root)
        for text in (*LABELS, "Zeta 2018", *groups, said, "One trial: shown, not pooled"):
            assert text.replace(" ", "") in shown
        assert "Notrialreportsthisoutcome" in shown
        assert f"{pct(fit.estimate)}" in texts(root)
        at = scale(root)
        corners = points(root, "group-1-diamond")
        assert corners[:, 0].min() == pytest.approx(at(fit.ci_low), abs=0.02)
        assert corners[:, 0].max() == pytest.approx(at(fit.ci_high), abs=0.02)
        square = points(root, "group-2-trial-1")
        assert square[:, 0].mean() == pytest.approx(at(3 / 8), abs=1.0)
        assert not [n for n in root.iter() if n.get("class") == "ev-group-2-diamond"]
    alone = figures.subgroup_forest({"First": fit, "Second": fit}, trials=False, prediction=False)
    shown = joined(drawing(alone))
    assert "Alpha2011" not in shown
    assert shown.count("Pooled,5trials") == 2
    assert "Weight" not in shown


def test_subgroup_forest_refuses_what_it_cannot_draw(fit):
    with pytest.raises(ValueError, match="at least one group"):
        figures.subgroup_forest({"First": None})
    with pytest.raises(ValueError, match="one value per trial"):
        figures.subgroup_forest({"First": fit}, columns={"Criteria": ["x"]})
    alt = figures.alt_subgroup_forest({"A": fit, "B": None}, "Response", test="p = 0.5")
    assert pct(fit.estimate) in alt and "B: no trial." in alt and alt.endswith("p = 0.5.")
