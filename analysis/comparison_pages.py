"""What the comparison chapters show: sentences, figures and tables of `analysis.comparisons`.

A chapter compares (`compare`) and shows parts of the answer. Every sentence with a number is
written here from the results; a chapter adds only what does not depend on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from analysis import bubbles, chapter, comparisons, figures, tables, wording
from analysis.comparisons import Contrast, Outcome, Slope, Variation
from analysis.markup import Html, escape
from analysis.overlap import RULE

if TYPE_CHECKING:
    import pandas as pd

    from analysis.pooling import Fit, Permutation

__all__ = [
    "answer",
    "answers",
    "beyond",
    "bubble",
    "compare",
    "concluded",
    "differences",
    "firmness",
    "forest",
    "groups",
    "low_first",
    "makeup",
    "overview",
    "section",
    "summary",
    "trend_answer",
    "trends",
    "trials",
    "within",
]

#: Below this a p-value counts as beyond chance; the book corrects none for their number.
ALPHA = 0.05


def compare(comparison_id: str) -> list[Outcome]:
    """Compare the groups of every outcome of a comparison that any trial reports.

    Raises
    ------
    ValueError
        If there is no such comparison.
    """
    target = comparisons.comparison(comparison_id)
    found = [comparisons.examine(chapter.dataset(), target, outcome) for outcome in target.outcomes]
    return [one for one in found if not one.rows.empty]


# ------------------------------------------------------------------------------ sentences


def answer(found: Sequence[Outcome]) -> str:
    """Return the one-sentence answer of a comparison."""
    _check(found)
    tested = [one for one in found if one.p is not None]
    outcomes = wording.count(len(found), "outcome")
    if not tested:
        return (
            f"{found[0].comparison.label}: for none of the {outcomes} are there two trials in each "
            f"group, so the trials stand side by side and nothing is tested ({_brief(found[0])})."
        )
    both = [one for one in tested if beyond(one) == "both"]
    one_only = [one for one in tested if beyond(one) == "one"]
    if both:
        said = f"the groups differ beyond chance in {_names(both)}"
        rest = len(tested) - len(both) - len(one_only)
        said += f" and in none of the other {rest} tested" if rest else ""
        if one_only:
            said += f"; for {_names(one_only)} the two tests disagree"
    elif one_only:
        said = (
            f"in none of the {wording.count(len(tested), 'outcome')} that can be tested do both "
            f"tests show a difference beyond chance; for {_names(one_only)} one of them does"
        )
    elif len(tested) == 1:
        said = (
            f"in {_names(tested)}, the only outcome that can be tested, the difference is within "
            "chance"
        )
    else:
        said = (
            f"in none of the {len(tested)} outcomes that can be tested do the groups differ "
            "beyond chance"
        )
    return f"{found[0].comparison.label}: {said} ({_brief(found[0])})."


def _brief(one: Outcome) -> str:
    """The groups of one outcome in a few words."""
    sides = []
    for name, fit in one.groups.items():
        if fit is None:
            continue
        at = f"{int(sum(fit.events))} of {wording.patients(fit)}"
        if fit.estimate is not None and not wording.is_limit(fit):
            at = wording.pct(fit.estimate)
        sides.append(f"{low_first(name)} {at}")
    return f"{low_first(one.label)}: {', '.join(sides)}"


def summary(compared: Sequence[Sequence[Outcome]]) -> Html:
    """Say the answer of each comparison of a chapter in a sentence."""
    items = "".join(f"<li>{escape(answer(found))}</li>" for found in compared)
    return Html(f'<div class="ev-block ev-answers"><ul>{items}</ul></div>')


def section(found: Sequence[Outcome], forests: Sequence[str] = ("orr",)) -> Html:
    """Show a comparison: figures, differences, what else differs, other analyses, the trials.

    Parameters
    ----------
    found : sequence of Outcome
    forests : sequence of str
        Outcomes whose trials are drawn in groups.
    """
    _check(found)
    parts = [overview(found)]
    parts += [forest(one) for one in found if one.outcome in forests]
    if found[0].comparison.trend is not None:
        parts += [bubble(one) for one in found if one.outcome in forests] + [trends(found)]
    parts += [differences(found), makeup(found)]
    if _both(found):
        parts.append(within(found))
    if any(one.contrasts for one in found):
        parts.append(
            chapter.folded("Other models, other readings, one trial left out", firmness(found))
        )
    parts.append(chapter.folded("Each group: interval, prediction interval, spread", groups(found)))
    parts.append(trials(found))
    return Html("\n".join(part.source for part in parts))


def answers(found: Sequence[Outcome]) -> Html:
    """Say the answer, the result of each outcome in a sentence, and the trend if there is one."""
    said = [_said(one) for one in found]
    if found and found[0].comparison.trend is not None:
        said.append(trend_answer(found))
    items = "".join(f"<li>{escape(text)}</li>" for text in said)
    return Html(
        '<div class="ev-block ev-answers">'
        f'<p class="ev-population">{escape(answer(found))}</p>\n<ul>{items}</ul></div>'
    )


def concluded(found: Sequence[Outcome]) -> Html:
    """List what a comparison allows to conclude: one sentence per outcome that differs, or none.

    The list ends with how small a difference these trials could have hidden.
    """
    _check(found)
    items = [answer(found)]
    tested = [one for one in found if one.p is not None and one.contrasts]
    for one in tested:
        if beyond(one) == "both":
            for way in one.contrasts:
                items.append(
                    f"{one.label}: {_higher(way)} in the trials of the group "
                    f"\u201c{way.level}\u201d than in those of \u201c{way.reference}\u201d "
                    f"({_odds(way)}). That is a difference between trials."
                )
    wide = [(one, way) for one in tested for way in one.contrasts]
    if wide:
        one, way = max(wide, key=lambda pair: pair[1].points_high - pair[1].points_low)
        best, tight = min(wide, key=lambda pair: pair[1].points_high - pair[1].points_low)
        items.append(
            "No difference shown is not the same as no difference: the intervals run from "
            f"{_points_span(tight)} percentage points ({low_first(best.label)}, the narrowest) to "
            f"{_points_span(way)} ({low_first(one.label)}, the widest)."
            if (one, way) != (best, tight)
            else "No difference shown is not the same as no difference: the interval runs from "
            f"{_points_span(way)} percentage points ({low_first(one.label)})."
        )
    return Html(f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>")


def _check(found: Sequence[Outcome]) -> None:
    if not found:
        raise ValueError("no trial of this comparison reports an outcome")


def _names(found: Sequence[Outcome]) -> str:
    return wording.listing(low_first(one.label) for one in found)


def low_first(text: str) -> str:
    """Return a text with a small first letter, unless its first word is an abbreviation."""
    first = text.split(" ", 1)[0]
    return text if any(c.isupper() for c in first[1:]) else text[:1].lower() + text[1:]


def beyond(one: Outcome) -> str:
    """Tell which tests of an outcome find a difference beyond chance: both, one or none."""
    ps = [one.p] + ([one.permutation.p] if one.permutation is not None else [])
    below = [p is not None and p < ALPHA for p in ps]
    return "both" if all(below) else "one" if any(below) else "none"


def _said(one: Outcome) -> str:
    sides = "; ".join(low_first(_side(name, fit)) for name, fit in one.groups.items())
    text = f"{one.label}: {sides}."
    if one.p is None:
        return f"{text} {one.why}.{_beside(one)}"
    for way in one.contrasts:
        of = ""
        if len(one.groups) > 2:
            of = f", \u201c{way.level}\u201d against \u201c{way.reference}\u201d"
        text += f" Odds ratio{of} {_odds(way)}; {_points(way)}."
    return f"{text} {_tests(one)}: {VERDICT[beyond(one)]}.{f' {one.why}.' if one.why else ''}"


VERDICT = {
    "both": "more than chance readily gives",
    "one": "the two tests disagree on whether chance suffices",
    "none": "no more than chance readily gives",
}


def _side(name: str, fit: Fit | None) -> str:
    if fit is None:
        return f"{name}: no trial"
    if fit.estimate is None or wording.is_limit(fit):
        n = wording.patients(fit)
        trials = "one trial" if len(fit.events) == 1 else wording.count(len(fit.events), "trial")
        return f"{name}: {int(sum(fit.events))} of {wording.count(n, 'patient')} in {trials}"
    return (
        f"{name}: {wording.pct(fit.estimate)} "
        f"({wording.ci(fit.ci_low, fit.ci_high, words=True)}; "
        f"{wording.count(len(fit.events), 'trial')})"
    )


def _beside(one: Outcome) -> str:
    """Say whether a single trial lies where the other group expects a new one."""
    pooled = [(n, f) for n, f in one.groups.items() if f is not None and f.pi_low is not None]
    single = [(n, f) for n, f in one.groups.items() if f is not None and len(f.events) == 1]
    if len(pooled) != 1 or len(single) != 1:
        return ""
    fit, alone = pooled[0][1], single[0][1]
    low, high = float(alone.study_ci_low[0]), float(alone.study_ci_high[0])
    assert fit.pi_low is not None and fit.pi_high is not None
    meets = low <= fit.pi_high and high >= fit.pi_low
    return (
        f" The single trial's interval ({wording.ci(low, high, words=True)}) "
        f"{'overlaps' if meets else 'lies outside'} the prediction interval of the other group "
        f"({wording.ci(fit.pi_low, fit.pi_high, words=True)})."
    )


def _odds(way: Contrast | Slope) -> str:
    return f"{wording.ratio(way.odds_ratio)} ({_ratio_span(way.low, way.high)})"


def _ratio_span(low: float, high: float) -> str:
    return f"{wording.ratio(low)} to {wording.ratio(high)}"


def _points(way: Contrast) -> str:
    return f"{wording.points(way.points)} points ({_points_span(way)})"


def _points_span(way: Contrast) -> str:
    return f"{wording.points(way.points_low)} to {wording.points(way.points_high)}"


def _higher(way: Contrast) -> str:
    return "higher" if way.odds_ratio > 1 else "lower"


def _tests(one: Outcome) -> str:
    assert one.p is not None
    text = wording.p_value(one.p)
    return f"{text}, by permutation {_permuted(one.permutation)}" if one.permutation else text


def _permuted(result: Permutation) -> str:
    text = wording.p_value(result.p)
    if result.exact:
        floor = 1 / result.count
        if floor >= ALPHA:
            text += f" (it cannot fall below {wording.number(floor, 2)} here)"
    return text


def _test_lines(one: Outcome) -> tuple[str, ...]:
    """The test between groups as it stands inside a figure."""
    if one.p is None:
        return (f"{one.why}.",)
    assert one.df is not None
    lines = [
        f"Test between groups: F({one.df[0]}, {one.df[1]}), "
        f"{wording.p_value(one.p)}"
        + (
            f"; {wording.count(one.permutation.count, 'permutation')}, "
            f"{wording.p_value(one.permutation.p)}"
            if one.permutation
            else ""
        )
        + "."
    ]
    lines += [
        f"{way.level} against {low_first(way.reference)}: odds ratio {_odds(way)}; {_points(way)}."
        for way in one.contrasts
    ]
    return (*lines, f"{one.why}.") if one.why else tuple(lines)


# -------------------------------------------------------------------------------- figures


def forest(one: Outcome) -> Html:
    """Draw the trials in groups, each pooled on its own, with the test between the groups."""
    tests = _test_lines(one)
    title = f"{one.label}, {low_first(one.comparison.label)}"
    fit = next(f for f in one.groups.values() if f is not None)
    unpooled = [
        figures.Unpooled(str(row.label), int(row.events), int(row.total), "group not stated")
        for row in one.unplaced.itertuples(index=False)
    ] + [
        figures.Unpooled(
            str(row.label), int(row.events), int(row.total), f"overlaps {_label(row.shares_with)}"
        )
        for row in one.shared.itertuples(index=False)
    ]
    pooled = [f for f in one.groups.values() if f is not None and f.estimate is not None]
    said = f"Diamond: {wording.model_sentence(pooled[0])}. " if pooled else ""
    if one.p is not None:
        said = (
            "Diamonds, test and odds ratio: one random-effects logistic model of the groups with "
            "a common spread \u03c4 between trials; 95% CI: t(k\u2212groups). "
        )
    said += "Bar: prediction interval. " if any(f.pi_low is not None for f in pooled) else ""
    return figures.figure_block(
        figures.subgroup_forest,
        one.groups,
        test=tests,
        unpooled=unpooled,
        alt=figures.alt_subgroup_forest(one.groups, title, test=tests),
        caption=f"{title}. Squares: trials with {wording.level(fit)} Wilson intervals. {said}"
        + (" Gray: in no group, or the same patients as a trial above." if unpooled else ""),
        name=f"{_name(one)}-forest",
        csv=_csv(one),
    )


def overview(found: Sequence[Outcome]) -> Html:
    """Draw every group of every outcome in one figure."""
    _check(found)
    pairs = [
        (name, fit, f"{one.label} ({wording.p_value(one.p)})" if one.p is not None else one.label)
        for one in found
        for name, fit in one.groups.items()
        if fit is not None
    ]
    target = found[0].comparison
    return figures.figure_block(
        figures.overview,
        [(name, fit) for name, fit, _ in pairs],
        group=[of for _, _, of in pairs],
        alt=f"{target.label}, all outcomes. {' '.join(_said(one) for one in found)}",
        caption=f"{target.label}: every outcome by group; beside the outcome the test between the "
        "groups, where there are trials enough. The groups were not randomized.",
        name=f"{target.id}-overview",
        csv=tables.fits_csv([(f"{of}: {name}", fit) for name, fit, of in pairs]),
    )


def bubble(one: Outcome) -> Html:
    """Draw the outcome over the continuous covariate of its comparison, with the fitted line."""
    trend = one.comparison.trend
    slope = comparisons.slope(one)
    assert trend is not None
    if isinstance(slope, str):
        return Html(f"<p>{escape(one.label)}: {escape(slope)}.</p>")
    said = _trend_said(one, slope)
    return figures.figure_block(
        bubbles.bubbles,
        [
            bubbles.Bubble(str(row.label), float(row.value), int(row.events), int(row.total))
            for row in one.rows.itertuples(index=False)
        ],
        x_label=trend.axis,
        line=slope.line,
        log=trend.log2,
        results=(said,),
        alt=f"Bubble plot, {one.label} by {trend.axis.lower()}. {said}",
        caption=f"{one.label} by {trend.axis.lower()}. Area: patients; hollow: no event, or in "
        "every patient. Line and band: median trial with its 95% interval at each point.",
        name=f"{_name(one)}-trend",
        csv=_csv(one),
    )


def _trend_said(one: Outcome, slope: Slope) -> str:
    trend = one.comparison.trend
    assert trend is not None
    early = f"; {slope.k} trials: exploratory" if slope.k < comparisons.FIRM else ""
    permuted = (
        f", by permutation {wording.p_value(slope.permutation.p)}" if slope.permutation else ""
    )
    return (
        f"Odds ratio of a trial {trend.label} {_odds(slope)}; "
        f"{wording.p_value(slope.p)}{permuted}{early}."
    )


# --------------------------------------------------------------------------------- tables


def groups(found: Sequence[Outcome]) -> Html:
    """Tabulate each group of each outcome: interval, prediction interval, spread."""
    _check(found)
    rows = [(one, n, f) for one in found for n, f in one.groups.items() if f is not None]
    return tables.results_table(
        [(one.label, fit) for one, _, fit in rows],
        f"{found[0].comparison.label}: the result of each group",
        id=f"{found[0].comparison.id}-groups",
        population=[name for _, name, _ in rows],
        note="Groups of a tested outcome come from one model with a common τ; any other "
        "group is pooled on its own by the book’s main analysis. The pages of the outcomes pool "
        "each population on its own, so that their percentages can differ a little.",
    )


def differences(found: Sequence[Outcome]) -> Html:
    """Tabulate the differences between the groups with their tests."""
    _check(found)
    target = found[0].comparison
    several = len(target.levels) > 2
    rows: list[dict[str, Any]] = []
    for one in found:
        start: dict[str, Any] = {"Outcome": one.label}
        if several:
            start["Group"] = ""
        if not one.contrasts:
            rows.append(start | {"Odds ratio": "not tested" if one.p is None else ""})
        for way in one.contrasts:
            row = dict(start)
            if several:
                row["Group"] = way.level
            rows.append(
                row
                | {
                    "Odds ratio": wording.ratio(way.odds_ratio),
                    "95% CI": _ratio_span(way.low, way.high),
                    **({} if several else {"Percentages": _percentages(way)}),
                    "Points": wording.points(way.points),
                    "95% CI of points": _points_span(way),
                    "p": wording.p_value(one.p).removeprefix("p = ").removeprefix("p ")
                    if one.p is not None
                    else "",
                    "p by permutation": wording.p_value(one.permutation.p)
                    .removeprefix("p = ")
                    .removeprefix("p ")
                    if one.permutation
                    else "",
                }
                | ({} if several else {"Permutations": _number_of(one.permutation)})
            )
    tests = sum(one.p is not None for one in found)
    reference = target.levels[0].label
    note = (
        f"Odds of each group over those of \u201c{reference}\u201d in the median trial, from one "
        "random-effects logistic model with a common spread between trials, by maximum "
        "likelihood. Interval "
        "and p: t and F with as many degrees of freedom as trials less groups, because with so few "
        "trials the normal ones are too narrow. Permutations assign the groups to the trials in "
        "every way, or at random where that is too many. "
        f"{wording.count(tests, 'test')}, none corrected for their number."
    )
    names = {name for row in rows for name in row} - {"Outcome", "Group"}
    return tables.html_table(
        rows,
        f"{target.label}: differences between the groups",
        id=f"{target.id}-differences",
        numeric=names,
        stack=True,
        csv=tables.to_csv(_exact_differences(found)),
        note=note if tests else "No outcome has two trials in each group, so nothing is tested.",
    )


def _percentages(way: Contrast) -> str:
    return f"{wording.pct(way.reference_estimate)}, {wording.pct(way.estimate)}"


def _number_of(permutation: Permutation | None) -> str:
    return f"{permutation.count:,}" if permutation else ""


def _exact_differences(found: Sequence[Outcome]) -> list[dict[str, Any]]:
    rows = []
    for one in found:
        for way in one.contrasts or (None,):
            row: dict[str, Any] = {"outcome": one.outcome}
            names = Contrast.__dataclass_fields__
            row |= {name: None if way is None else getattr(way, name) for name in names}
            row |= {
                "p": one.p,
                "permutation_p": one.permutation.p if one.permutation else None,
                "permutations": one.permutation.count if one.permutation else None,
                "note": one.why,
            }
            rows.append(row)
    return rows


def trends(found: Sequence[Outcome]) -> Html:
    """Tabulate the slope of every outcome over the continuous covariate."""
    _check(found)
    target = found[0].comparison
    assert target.trend is not None
    rows = []
    for one in found:
        slope = comparisons.slope(one)
        row: dict[str, Any] = {"Outcome": one.label, "Trials": len(one.rows)}
        if isinstance(slope, str):
            row |= {"Odds ratio": "no trend", "Note": slope}
        else:
            row |= {
                "Odds ratio": wording.ratio(slope.odds_ratio),
                "95% CI": _ratio_span(slope.low, slope.high),
                "p": wording.p_value(slope.p).removeprefix("p = ").removeprefix("p "),
                "p by permutation": wording.p_value(slope.permutation.p)
                .removeprefix("p = ")
                .removeprefix("p ")
                if slope.permutation
                else "",
                "Note": "exploratory" if slope.k < comparisons.FIRM else "",
            }
        rows.append(row)
    return tables.html_table(
        rows,
        f"{target.label}: odds ratio of a trial {target.trend.label}",
        id=f"{target.id}-trends",
        numeric=["Odds ratio", "95% CI", "p", "p by permutation"],
        stack=True,
        csv=tables.to_csv(rows),
        note=f"Fewer than {comparisons.TREND_NEEDS} trials: no line. "
        f"Fewer than {comparisons.FIRM}: exploratory.",
    )


def trend_answer(found: Sequence[Outcome]) -> str:
    """Return what the slopes over the continuous covariate say, in one sentence."""
    _check(found)
    target = found[0].comparison
    assert target.trend is not None
    slopes = [(one, comparisons.slope(one)) for one in found]
    fitted = [(one, slope) for one, slope in slopes if isinstance(slope, Slope)]
    if not fitted:
        return "No outcome is reported by trials enough for a line."
    said = [
        f"{low_first(one.label)} {_odds(slope)}, {wording.p_value(slope.p)}"
        for one, slope in fitted
    ]
    below = [
        one
        for one, slope in fitted
        if slope.p < ALPHA and (slope.permutation is None or slope.permutation.p < ALPHA)
    ]
    verdict = (
        f"beyond what chance readily gives: {_names(below)}"
        if below
        else "none of them beyond what chance readily gives"
    )
    return (
        f"Odds ratios of a trial {target.trend.label}, as a line without any cut: "
        f"{'; '.join(said)}; {verdict}."
    )


def trials(found: Sequence[Outcome]) -> Html:
    """Tabulate every trial with its group, its counts and the place in the source, folded."""
    _check(found)
    target = found[0].comparison
    rows = []
    for one in found:
        for frame, name in ((one.rows, None), (one.unplaced, "not stated"), (one.shared, None)):
            for row in frame.itertuples(index=False):
                where = name or getattr(row, "level", None)
                rows.append(
                    {
                        "Trial": str(row.label),
                        "Outcome": one.label,
                        "Group": where or f"same patients as {_label(row.shares_with)}",
                        "Events": int(row.events),
                        "Patients": int(row.total),
                        "Source": chapter.source(row),
                    }
                )
    table = tables.html_table(
        rows,
        f"{target.label}: trials, groups and sources",
        id=f"{target.id}-trials",
        stack=True,
        csv=tables.to_csv([{k: v for k, v in row.items() if k != "Source"} for row in rows]),
        note=f"Of cohorts that share patients the book takes {RULE}."
        + (f" {target.unsplit}" if target.unsplit else ""),
    )
    return chapter.folded("Every trial with its group and its source", table)


#: Characteristics of the cohorts that the groups may differ in: column of cohorts.csv, name.
CHARACTERISTICS = (
    ("center", "Center"),
    ("target", "Target"),
    ("product", "Product"),
    ("costimulatory_domain", "Costimulatory domain"),
    ("lymphodepletion", "Lymphodepletion"),
    ("cell_source", "Source of the cells"),
    ("prior_lines_median", "Median number of prior lines"),
    ("response_criteria", "Response criteria"),
    ("crs_scale", "Scale of cytokine release syndrome"),
    ("ntx_scale", "Scale of neurotoxicity"),
    ("follow_up_months", "Median follow-up, months"),
)

#: Counts of patients that say who was treated: outcome id, name.
TREATED = (
    ("prior_ibrutinib", "Had ibrutinib before"),
    ("prior_venetoclax", "Had venetoclax before"),
    ("high_risk", "High-risk disease"),
)


def makeup(found: Sequence[Outcome], only: Sequence[str] = ()) -> Html:
    """Tabulate what else differs between the groups, as far as the sources say.

    Parameters
    ----------
    found : sequence of Outcome
    only : sequence of str
        Columns of ``cohorts.csv`` to show, of `CHARACTERISTICS`; all of them, and who was treated,
        if not given.
    """
    _check(found)
    target = found[0].comparison
    data = chapter.dataset()
    members: dict[str, dict[str, None]] = {level.label: {} for level in target.levels}
    for one in found:
        for cohort, level in zip(one.rows["cohort_id"], one.rows["level"], strict=True):
            members[level][str(cohort)] = None
    cohorts = data.cohorts.set_index("cohort_id")
    parts = {name: cohorts.loc[list(ids)] for name, ids in members.items() if ids}
    counts = data.extraction[data.extraction["status"] == "used"]

    def treated(outcome: str, ids: Sequence[str]) -> str:
        rows = counts[(counts["outcome"] == outcome) & counts["cohort_id"].isin(ids)]
        rows = rows[rows["events"].notna()]
        if rows.empty:
            return "not stated"
        at = f"{int(rows['events'].sum())} of {int(rows['total'].sum())}"
        return at if len(rows) == len(ids) else f"{at} in {wording.count(len(rows), 'trial')}"

    rows: list[dict[str, Any]] = [
        {"Characteristic": "Trials"} | {n: str(len(part)) for n, part in parts.items()},
        {"Characteristic": "Years of the reports"}
        | {n: _span_of(part["year"], 0) for n, part in parts.items()},
    ]
    for column, name in CHARACTERISTICS:
        if column == target.column or (column in target.where and column != target.column):
            continue
        if only and column not in only:
            continue
        numeric = column in ("prior_lines_median", "follow_up_months")
        cells = {
            n: _span_of(part[column], 1) if numeric else _kinds(part[column])
            for n, part in parts.items()
        }
        if any(cell != "not stated" for cell in cells.values()):
            rows.append({"Characteristic": name} | cells)
    for outcome, name in () if only else TREATED:
        cells = {n: treated(outcome, list(part.index)) for n, part in parts.items()}
        if any(cell != "not stated" for cell in cells.values()):
            rows.append({"Characteristic": name} | cells)
    return tables.html_table(
        rows,
        f"{target.label}: what else differs between the groups",
        id=f"{target.id}-makeup",
        stack=True,
        csv=tables.to_csv(rows),
        note="Trials that report any of the outcomes above; in parentheses the number of trials. "
        "What the sources read do not print is not stated, not absent.",
    )


def _kinds(values: pd.Series) -> str:
    """Distinct values with the number of trials of each."""
    named = ["not stated" if _absent(v) else str(v) for v in values]
    if set(named) == {"not stated"}:
        return "not stated"
    order = sorted(dict.fromkeys(named), key=lambda name: name == "not stated")
    return "; ".join(f"{name} ({named.count(name)})" for name in order)


def _span_of(values: pd.Series, digits: int) -> str:
    present = sorted({float(value) for value in values if not _absent(value)})
    if not present:
        return "not stated"
    low, high = (f"{value:.{digits}f}".removesuffix(".0") for value in (present[0], present[-1]))
    said = low if low == high else f"{low} to {high}"
    missing = sum(_absent(value) for value in values)
    return f"{said} (not stated: {missing})" if missing else said


def _absent(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType" or value != value


def within(found: Sequence[Outcome]) -> Html:
    """Tabulate the groups inside each trial that has both, for comparisons of two groups."""
    _check(found)
    target = found[0].comparison
    first, second = (level.label for level in target.levels[:2])
    rows = []
    for one, trial, (a, n), (b, m) in _both(found):
        low, high = _newcombe(b, m, a, n)
        rows.append(
            {
                "Trial": trial,
                "Outcome": one.label,
                first: f"{a}/{n} ({wording.pct(a / n)})",
                second: f"{b}/{m} ({wording.pct(b / m)})",
                "Points": wording.points(b / m - a / n),
                "95% CI": f"{wording.points(low)} to {wording.points(high)}",
            }
        )
    if not rows:
        return Html("<p>No trial reports an outcome in both groups.</p>")
    return tables.html_table(
        rows,
        f"{target.label}: trials that report both",
        id=f"{target.id}-within",
        numeric=[first, second, "Points", "95% CI"],
        stack=True,
        csv=tables.to_csv(rows),
        note="Cohorts of one registered trial, without randomization between them. Interval: "
        "Newcombe\u2019s hybrid score interval.",
    )


def _both(found: Sequence[Outcome]) -> list[tuple[Outcome, str, tuple[int, int], tuple[int, int]]]:
    """Registered trials with one cohort in each of the first two groups, and its counts."""
    pairs = []
    for one in found:
        names = [level.label for level in one.comparison.levels[:2]]
        frame = one.rows[one.rows["trial_id"].notna()]
        for trial, part in frame.groupby("trial_id", sort=True):
            sides = [part[part["level"] == name] for name in names]
            if all(len(side) == 1 for side in sides):
                first, second = (
                    (int(side["events"].iloc[0]), int(side["total"].iloc[0])) for side in sides
                )
                pairs.append((one, str(trial), first, second))
    return pairs


def _newcombe(x: int, n: int, y: int, m: int) -> tuple[float, float]:
    """Interval of x/n - y/m (Newcombe 1998, method 10)."""
    from analysis.pooling import wilson

    p, q = x / n, y / m
    (l1, u1), (l2, u2) = (tuple(map(float, wilson(*pair, 0.95))) for pair in ((x, n), (y, m)))
    return p - q - math.hypot(p - l1, u2 - q), p - q + math.hypot(u1 - p, q - l2)


def firmness(found: Sequence[Outcome]) -> Html:
    """Tabulate each tested outcome under other models and other readings of the data."""
    rows = []
    for one in found:
        rows += [_variation_row(one, way) for way in _variations(one)]
    if not rows:
        return Html("<p>Nothing is tested here, so there is no other model to hold beside it.</p>")
    target = found[0].comparison
    return tables.html_table(
        rows,
        f"{target.label}: the odds ratio under other models and readings of the data",
        id=f"{target.id}-firmness",
        row_header="Analysis",
        numeric=["Odds ratio", "95% CI", "p"],
        stack=True,
        csv=tables.to_csv(rows),
        note="With the spread estimated in each group, the interval is a normal one and the test "
        "Cochran\u2019s Q between the groups.",
    )


def _variations(one: Outcome) -> list[Variation]:
    return comparisons.variations(chapter.dataset(), one)


def _variation_row(one: Outcome, way: Variation) -> dict[str, Any]:
    absent = way.odds_ratio is None or way.low is None or way.high is None
    return {
        "Outcome": one.label,
        "Analysis": way.name,
        "Trials": way.k,
        "Odds ratio": (way.note or "none") if absent else wording.ratio(way.odds_ratio or 0.0),
        "95% CI": "" if absent else _ratio_span(way.low or 0.0, way.high or 0.0),
        "p": ""
        if way.p is None
        else wording.p_value(way.p).removeprefix("p = ").removeprefix("p "),
    }


# ---------------------------------------------------------------------------------- parts


def _name(one: Outcome) -> str:
    return f"{one.comparison.id}-{one.outcome.replace('_', '-')}"


@lru_cache(maxsize=1)
def _labels_of_cohorts() -> dict[str, str]:
    cohorts = chapter.dataset().cohorts
    return dict(zip(cohorts["cohort_id"], cohorts["label"], strict=True))


def _label(cohort_id: Any) -> str:
    return _labels_of_cohorts()[str(cohort_id)]


def _csv(one: Outcome) -> str:
    columns: dict[str, Callable[[Any], Any]] = {
        "trial": lambda row: row.label,
        "group": lambda row: row.level,
        "value": lambda row: row.value,
        "events": lambda row: int(row.events),
        "total": lambda row: int(row.total),
    }
    return tables.to_csv(
        [
            {name: get(row) for name, get in columns.items()}
            for row in one.rows.itertuples(index=False)
        ]
    )
