"""Figures from fits: forest, leave-one-out, model comparison, overview.

Every figure is a `matplotlib.figure.Figure` drawn in CSS pixels, in one of two layouts: ``wide``
(a table with a plot in the middle) and ``narrow`` (a phone: each row is a line of text above a
full-width strip). `figure_block` draws both and returns one HTML figure that shows the one that
fits, follows the light or dark theme, and carries its alternative text.

Labels come from data and are drawn as plain text: no markup, no mathematics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from analysis.markup import Html, data_uri, download_link
from analysis.rowplot import Layout, Mark, Row, Sheet, draw
from analysis.svg import responsive_svg, svg
from analysis.wording import (
    EN_DASH,
    ci,
    count,
    finding,
    heterogeneity,
    interval_word,
    is_limit,
    level,
    listing,
    model_name,
    patients,
    pct,
    plain,
    trial_labels,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Unpooled:
    """A trial that is shown and not pooled.

    Parameters
    ----------
    label : str
        Name of the trial.
    events, total : int
        Patients with the event, and patients.
    reason : str
        Why it is not pooled, in a few words ("same patients as ...").
    cells : sequence of str
        Text of the extra columns, in their order.
    """

    label: str
    events: int
    total: int
    reason: str = ""
    cells: Sequence[Any] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.events <= self.total or self.total < 1:
            raise ValueError(
                f"{plain(self.label)}: events must lie between 0 and total, "
                f"not {self.events} of {self.total}"
            )


def _check_texts(name: str, texts: Sequence[Any], k: int) -> tuple[str, ...]:
    if isinstance(texts, str) or len(texts) != k:
        raise ValueError(f"{name} must have one value per trial ({k})")
    return tuple(plain(text) for text in texts)


def _square_size(weight: float, largest: float, hollow: bool = False) -> float:
    """Return the side in pixels of a square whose area is proportional to the weight.

    Never below 4.5 px, or 6.5 px for a hollow square, so that every trial can be seen.
    """
    least = 6.5 if hollow else 4.5
    return max(least, 14.0 * math.sqrt(weight / largest)) if largest > 0 else 8.0


def _study_row(fit: Any, i: int, label: str, cells: tuple[str, ...], largest: float) -> Row:
    events, total = int(fit.events[i]), int(fit.total[i])
    hollow = events in (0, total)
    weight = None if fit.weight is None else float(fit.weight[i])
    estimate = float(fit.study_estimate[i])
    low, high = float(fit.study_ci_low[i]), float(fit.study_ci_high[i])
    return Row(
        label=label,
        mark=Mark(
            "square",
            "study",
            low,
            high,
            at=estimate,
            size=8.0 if weight is None else _square_size(weight, largest, hollow),
            hollow=hollow,
            name=f"trial-{i + 1}",
        ),
        cells=cells,
        left=f"{events}/{total}",
        point=pct(estimate),
        span=f"({_span(low, high)})",
        right="" if weight is None else pct(weight),
    )


def _span(low: float, high: float) -> str:
    return ci(low, high).removesuffix("%")


def _pooled_rows(
    fit: Any,
    label: str,
    *,
    rule: bool = True,
    prediction: bool = True,
    name: str = "pooled",
    main: bool = True,
) -> list[Row]:
    """Return the rows of a pooled estimate: diamond and prediction interval, or a statement."""
    total = f"{int(sum(int(e) for e in fit.events))}/{patients(fit)}"
    if fit.estimate is None:
        k = len(fit.events)
        statement = (
            "One trial: shown, not pooled" if k == 1 else f"No pooled estimate from {k} trials"
        )
        return [Row(label=statement, color="muted", rule=rule)]
    if is_limit(fit):
        which = "No events" if fit.estimate == 0 else "An event in every patient"
        return [
            Row(
                label=f"{which}: one-sided limit",
                mark=Mark("bar", "pooled", fit.ci_low, fit.ci_high, name=f"{name}-limit"),
                left=total,
                point=pct(fit.estimate),
                span=f"({_span(fit.ci_low, fit.ci_high)})",
                strong=main,
                rule=rule,
            )
        ]
    rows = [
        Row(
            label=label,
            mark=Mark(
                "diamond",
                "pooled",
                fit.ci_low,
                fit.ci_high,
                at=fit.estimate,
                size=15.0 if main else 11.0,
                hollow=not main,
                name=f"{name}-diamond",
            ),
            left=total,
            point=pct(fit.estimate),
            span=f"({_span(fit.ci_low, fit.ci_high)})",
            strong=main,
            rule=rule,
        )
    ]
    if prediction and fit.pi_low is not None and fit.pi_high is not None:
        rows.append(
            Row(
                label="Prediction interval",
                mark=Mark("bar", "prediction", fit.pi_low, fit.pi_high, name=f"{name}-prediction"),
                span=f"({_span(fit.pi_low, fit.pi_high)})",
            )
        )
    return rows


def _unpooled_row(other: Unpooled, columns: int, level: float = 0.95, *, rule: bool) -> Row:
    from analysis.pooling import wilson

    low, high = (float(limit) for limit in wilson(other.events, other.total, level))
    at = other.events / other.total
    return Row(
        label=plain(other.label),
        mark=Mark("square", "excluded", low, high, at=at, size=7.0, hollow=True, name="unpooled"),
        cells=_check_texts("cells of a trial not pooled", other.cells, columns)
        if other.cells
        else ("",) * columns,
        left=f"{other.events}/{other.total}",
        point=pct(at),
        span=f"({_span(low, high)})",
        right=EN_DASH,
        sub=plain(other.reason) or "not pooled",
        color="muted",
        rule=rule,
    )


def forest(
    fit: Any,
    *,
    columns: Mapping[str, Sequence[str]] | None = None,
    reference: float | tuple[float, str] | None = None,
    other_fits: Sequence[Any] | Mapping[str, Any] = (),
    unpooled: Sequence[Unpooled] = (),
    group: Sequence[str] | None = None,
    group_fits: Mapping[str, Any] | None = None,
    group_test: str = "",
    title: str | None = None,
    pooled_label: str | None = None,
    layout: Layout = "wide",
) -> Figure:
    """Draw a forest plot of single-arm proportions.

    One row per trial: label, events/total, percentage with its interval, weight. The area of a
    square is proportional to the weight; a hollow square marks a trial without events, or with an
    event in every patient. The diamond spans the interval of the mean; the bar below it is the
    prediction interval. The axis runs from 0 to 100 percent.

    Parameters
    ----------
    fit : Fit
        The pooled result. With one trial, or without an estimate, a statement replaces the
        diamond; where the estimate is a limit (no events at all), a bar does.
    columns : mapping of str to sequence of str, optional
        Extra text columns: header, and one text per trial.
    reference : float or (float, str), optional
        A proportion at which a dotted line is drawn, and its name.
    other_fits : sequence of Fit, or mapping of str to Fit
        Further pooled results of the same trials, drawn as hollow diamonds.
    unpooled : sequence of Unpooled
        Trials that are shown in gray and not pooled.
    group : sequence of str, optional
        Name of the group of each trial; trials are listed group by group.
    group_fits : mapping of str to Fit, optional
        Pooled result of each group, drawn below its trials.
    group_test : str
        Result of the test for group differences, printed below the pooled estimate.
    title, pooled_label : str, optional
        Heading of the figure; label of the pooled row.
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If a column or `group` does not have one value per trial, or `reference` is no proportion.
    """
    labels = trial_labels(fit)
    k = len(labels)
    names = tuple(plain(name) for name in columns or {})
    texts = [_check_texts(f"column {plain(name)}", col, k) for name, col in (columns or {}).items()]
    cells = [tuple(column[i] for column in texts) for i in range(k)]
    largest = 0.0 if fit.weight is None else max((float(w) for w in fit.weight), default=0.0)
    studies = [_study_row(fit, i, labels[i], cells[i], largest) for i in range(k)]

    rows: list[Row] = []
    if group is None:
        rows += studies
    else:
        of = _check_texts("group", group, k)
        fits = {plain(name): sub for name, sub in (group_fits or {}).items()}
        for number_, name in enumerate(dict.fromkeys(of)):
            rows.append(Row(label=name, strong=True, heading=True, rule=bool(rows)))
            rows += [row for row, where in zip(studies, of, strict=True) if where == name]
            if name in fits:
                rows += _pooled_rows(
                    fits[name],
                    f"Pooled, {count(len(fits[name].events), 'trial')}",
                    rule=False,
                    main=False,
                    prediction=False,
                    name=f"group-{number_ + 1}",
                )
    for other in unpooled:
        rows.append(_unpooled_row(other, len(names), fit.level, rule=other is unpooled[0]))
    rows += _pooled_rows(fit, plain(pooled_label) or f"Pooled, {count(k, 'trial')}")
    for number_, (name, other) in enumerate(_named(other_fits)):
        rows += _pooled_rows(
            other,
            name,
            rule=number_ == 0,
            main=False,
            prediction=False,
            name=f"other-{number_ + 1}",
        )

    notes = []
    spread = heterogeneity(fit)
    if spread:
        notes.append(f"Heterogeneity: {spread}")
    if plain(group_test):
        notes.append(plain(group_test))
    edge = {0 if e == 0 else 1 for e, n in zip(fit.events, fit.total, strict=True) if e in (0, n)}
    if edge:
        said = {0: "no events", 1: "an event in every patient"}
        notes.append(f"Hollow blue square: {' or '.join(said[which] for which in sorted(edge))}")
    at, named = reference if isinstance(reference, tuple) else (reference, "")
    if at is not None and not 0 <= at <= 1:
        raise ValueError(f"reference must be a proportion between 0 and 1, not {at!r}")
    if at is not None:
        notes.append(f"Dotted line: {plain(named) or 'reference'}, {pct(at)}")
    return draw(
        Sheet(
            rows=tuple(rows),
            label="Trial",
            columns=names,
            aligns=("left",) * len(names),
            left="Events/n",
            span=f"Percent ({level(fit)} interval)",
            right="Weight" if fit.weight is not None and k > 1 else "",
            title=plain(title),
            notes=tuple(notes),
            line=None if fit.estimate is None or is_limit(fit) else float(fit.estimate),
            reference=None if at is None else float(at),
        ),
        layout,
    )


def subgroup_forest(
    groups: Mapping[str, Any],
    *,
    test: str | Sequence[str] = (),
    columns: Mapping[str, Sequence[str]] | None = None,
    unpooled: Sequence[Unpooled] = (),
    trials: bool = True,
    prediction: bool = True,
    title: str | None = None,
    layout: Layout = "wide",
) -> Figure:
    """Draw a forest plot in groups, with the test between the groups inside the figure.

    Each group lists its trials and, below them, its own pooled result; a group of one trial is
    shown and not pooled. There is no diamond over all groups.

    Parameters
    ----------
    groups : mapping of str to Fit or None
        Name of each group and its result, which carries its trials; None for a group in which
        no trial reports the outcome.
    test : str or sequence of str
        The test between the groups, or why there is none: one line of text each.
    columns : mapping of str to sequence of str, optional
        Extra text columns: header, and one text per trial, group by group.
    unpooled : sequence of Unpooled
        Trials that are shown in gray and belong to no group.
    trials : bool
        Show the trials; False leaves the pooled results alone, for many or large groups.
    prediction : bool
        Show the prediction interval of each group that has one.
    title : str, optional
        Heading of the figure.
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone.

    Raises
    ------
    ValueError
        If there is no group with a trial, or a column does not have one value per trial.
    """
    found = {plain(name): fit for name, fit in groups.items() if fit is not None}
    if not found:
        raise ValueError("subgroup_forest needs at least one group with a trial")
    k = sum(len(fit.events) for fit in found.values())
    columns = (columns or {}) if trials else {}
    names = tuple(plain(name) for name in columns)
    texts = [_check_texts(f"column {plain(name)}", col, k) for name, col in columns.items()]
    cells = iter([tuple(column[i] for column in texts) for i in range(k)])
    rows: list[Row] = []
    edge: set[int] = set()
    weighted = any(fit.weight is not None and len(fit.events) > 1 for fit in found.values())
    for place, (name, fit) in enumerate((plain(n), f) for n, f in groups.items()):
        rows.append(Row(label=name, strong=True, heading=True, rule=place > 0))
        if fit is None:
            rows.append(Row(label="No trial reports this outcome", color="muted"))
            continue
        several = len(fit.events) > 1
        if trials or not several:
            weights = () if fit.weight is None else fit.weight
            largest = max((float(w) for w in weights), default=0.0) if several else 0.0
            for i, label in enumerate(trial_labels(fit)):
                row = _study_row(fit, i, label, next(cells) if trials else (), largest)
                mark = row.mark and replace(row.mark, name=f"group-{place + 1}-trial-{i + 1}")
                rows.append(replace(row, mark=mark, right=row.right if several else ""))
                if trials and int(fit.events[i]) in (0, int(fit.total[i])):
                    edge.add(0 if fit.events[i] == 0 else 1)
        spread = heterogeneity(fit).split(", I")[0]
        pooled = _pooled_rows(
            fit,
            f"Pooled, {count(len(fit.events), 'trial')}",
            rule=False,
            prediction=prediction,
            name=f"group-{place + 1}",
        )
        if spread and pooled[0].mark is not None:
            pooled[0] = replace(pooled[0], sub=spread)
        rows += pooled
    for other in unpooled:
        rows.append(_unpooled_row(other, len(names), rule=other is unpooled[0]))
    notes = []
    if edge:
        said = {0: "no events", 1: "an event in every patient"}
        notes.append(f"Hollow blue square: {' or '.join(said[which] for which in sorted(edge))}")
    tests = (test,) if isinstance(test, str) else tuple(test)
    return draw(
        Sheet(
            rows=tuple(rows),
            label="Trial" if trials else "Group",
            columns=names,
            aligns=("left",) * len(names),
            left="Events/n",
            span=f"Percent ({level(next(iter(found.values())))} CI)",
            right="Weight" if trials and weighted else "",
            title=plain(title),
            results=tuple(plain(text) for text in tests if plain(text)),
            notes=tuple(notes),
        ),
        layout,
    )


def _named(fits: Sequence[Any] | Mapping[str, Any]) -> list[tuple[str, Any]]:
    if isinstance(fits, Mapping):
        return [(plain(name), fit) for name, fit in fits.items()]
    return [(model_name(fit), fit) for fit in fits]


def _interval_row(
    label: str,
    fit: Any,
    *,
    name: str,
    strong: bool = False,
    filled: bool = False,
    rule: bool = False,
    **more: Any,
) -> Row:
    """Return a row with a dot, its interval, and the prediction interval as a thin outer line."""
    if fit.estimate is None:
        if len(fit.events) > 1:
            return Row(
                label=label,
                point=EN_DASH,
                color="muted",
                rule=rule,
                **{**more, "sub": "not pooled"},
            )
        low, high = float(fit.study_ci_low[0]), float(fit.study_ci_high[0])
        at = float(fit.study_estimate[0])
        hollow = int(fit.events[0]) in (0, int(fit.total[0]))
        mark = Mark("square", "study", low, high, at=at, hollow=hollow, name=name)
        return Row(
            label=label,
            mark=mark,
            point=pct(at),
            span=f"({_span(low, high)})",
            color="muted",
            rule=rule,
            **{**more, "sub": "one trial, not pooled"},
        )
    outer = None
    if fit.pi_low is not None and fit.pi_high is not None and not is_limit(fit):
        outer = (fit.pi_low, fit.pi_high)
    return Row(
        label=label,
        mark=Mark(
            "dot",
            "pooled",
            fit.ci_low,
            fit.ci_high,
            at=fit.estimate,
            hollow=not filled,
            outer=outer,
            name=name,
        ),
        point=pct(fit.estimate),
        span=f"({_span(fit.ci_low, fit.ci_high)})",
        strong=strong,
        rule=rule,
        **more,
    )


def leave_one_out(
    fit: Any,
    left_out: Sequence[Any] | Mapping[str, Any],
    *,
    title: str | None = None,
    layout: Layout = "wide",
) -> Figure:
    """Draw the pooled estimate with each trial left out, over the band of the full set.

    Parameters
    ----------
    fit : Fit
        The result of all trials.
    left_out : sequence of Fit, or mapping of str to Fit
        The result without each trial: in the order of the trials of `fit`, or named by the trial
        that is left out.
    title : str, optional
        Heading of the figure.
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone.

    Raises
    ------
    ValueError
        If a sequence does not have one result per trial.
    """
    if isinstance(left_out, Mapping):
        pairs = [(plain(name), other) for name, other in left_out.items()]
    else:
        labels = trial_labels(fit)
        if len(left_out) != len(labels):
            raise ValueError(
                f"left_out must have one result per trial ({len(labels)}), not {len(left_out)}"
            )
        pairs = list(zip(labels, left_out, strict=True))
    rows = [_interval_row("None: all trials", fit, name="all-trials", strong=True, filled=True)]
    for i, (label, other) in enumerate(pairs):
        row = _interval_row(label, other, name=f"without-{i + 1}", rule=i == 0)
        mark = row.mark if row.mark is None else replace(row.mark, outer=None)
        rows.append(replace(row, mark=mark))
    rows[0] = replace(
        rows[0], mark=rows[0].mark if rows[0].mark is None else replace(rows[0].mark, outer=None)
    )
    estimable = fit.estimate is not None
    return draw(
        Sheet(
            rows=tuple(rows),
            label="Trial left out",
            span=f"Pooled ({level(fit)} {interval_word(fit)})",
            title=plain(title),
            notes=("Shaded: interval of all trials together",) if estimable else (),
            line=fit.estimate if estimable else None,
            band=(fit.ci_low, fit.ci_high) if estimable else None,
        ),
        layout,
    )


def model_comparison(
    fits: Sequence[Any] | Mapping[str, Any],
    *,
    primary: int | str = 0,
    title: str | None = None,
    layout: Layout = "wide",
) -> Figure:
    """Draw the same trials pooled by several models: dot, interval and prediction interval.

    Parameters
    ----------
    fits : sequence of Fit, or mapping of str to Fit
        Results; a sequence is labeled by model and interval.
    primary : int or str
        Position or name of the primary model, which is set apart.
    title : str, optional
        Heading of the figure.
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone.
    """
    pairs = _named(fits)
    if not pairs:
        raise ValueError("model_comparison needs at least one fit")
    main = primary if isinstance(primary, int) else [name for name, _ in pairs].index(primary)
    rows = [
        _interval_row(name, fit, name=f"model-{i + 1}", strong=i == main, filled=i == main)
        for i, (name, fit) in enumerate(pairs)
    ]
    reference = pairs[main][1]
    return draw(
        Sheet(
            rows=tuple(rows),
            label="Model, interval",
            span=f"Pooled ({level(reference)} interval)",
            title=plain(title),
            notes=_two_level_note(fit for _, fit in pairs),
            line=reference.estimate,
        ),
        layout,
    )


def _two_level_note(fits: Any) -> tuple[str, ...]:
    if any(fit.pi_low is not None and fit.estimate is not None for fit in fits):
        return ("Thick line: interval of the median trial. Thin line: prediction interval",)
    return ()


def overview(
    fits: Mapping[str, Any] | Sequence[tuple[str, Any]],
    *,
    group: Sequence[str] | None = None,
    strong: Sequence[bool] = (),
    title: str | None = None,
    layout: Layout = "wide",
) -> Figure:
    """Draw several estimands in one figure: estimate, confidence and prediction interval.

    Parameters
    ----------
    fits : mapping of str to Fit, or sequence of (str, Fit)
        Name of each estimand and its result, in the order of the rows.
    group : sequence of str, optional
        Heading under which each estimand is listed ("Response", "Harm").
    strong : sequence of bool, optional
        Which rows are set in bold.
    title : str, optional
        Heading of the figure.
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone.
    """
    pairs = list(fits.items()) if isinstance(fits, Mapping) else list(fits)
    if not pairs:
        raise ValueError("overview needs at least one fit")
    of = None if group is None else _check_texts("group", group, len(pairs))
    if strong and len(strong) != len(pairs):
        raise ValueError(f"strong must have one value per fit ({len(pairs)}), not {len(strong)}")
    rows: list[Row] = []
    for i, (name, fit) in enumerate(pairs):
        if of is not None and (i == 0 or of[i] != of[i - 1]):
            rows.append(Row(label=of[i], strong=True, heading=True, rule=i > 0))
        k, n = len(fit.events), patients(fit)
        row = _interval_row(
            plain(name),
            fit,
            name=f"estimand-{i + 1}",
            strong=bool(strong and strong[i] and fit.estimate is not None),
            filled=True,
            cells=(str(k), str(n)),
            sub=f"{count(k, 'trial')}, {count(n, 'patient')}",
        )
        if fit.estimate is None:
            row = replace(row, sub=f"{count(k, 'trial')}, {count(n, 'patient')}, not pooled")
        rows.append(row)
    return draw(
        Sheet(
            rows=tuple(rows),
            label="Outcome",
            columns=("Trials", "Patients"),
            aligns=("right", "right"),
            span=f"Percent ({level(pairs[0][1])} interval)",
            title=plain(title),
            notes=_two_level_note(fit for _, fit in pairs),
        ),
        layout,
    )


def alt_forest(fit: Any, outcome_label: str, *, unpooled: Sequence[Unpooled] = ()) -> str:
    """Return the alternative text of a forest plot: what it shows, and the finding."""
    text = f"Forest plot. {finding(fit, outcome_label)}"
    if len(fit.events) > 1:
        points = [float(p) for p in fit.study_estimate]
        text += f" Single trials range from {pct(min(points))} to {pct(max(points))}."
        zero = sum(int(e) == 0 for e in fit.events)
        if zero:
            text += f" {count(zero, 'trial')} without events."
    if unpooled:
        text += f" {count(len(unpooled), 'further trial')} shown, not pooled."
    return text


def alt_subgroup_forest(
    groups: Mapping[str, Any], outcome_label: str, *, test: str | Sequence[str] = ()
) -> str:
    """Return the alternative text of a forest plot in groups: each group, and the test.

    Parameters
    ----------
    groups : mapping of str to Fit or None
    outcome_label : str
    test : str or sequence of str
        As for `subgroup_forest`.
    """
    said = [
        f"{plain(name)}: no trial."
        if fit is None
        else finding(fit, plain(name)).split(" In a new trial")[0]
        for name, fit in groups.items()
    ]
    tests = (test,) if isinstance(test, str) else tuple(test)
    said += [f"{plain(text).removesuffix('.')}." for text in tests if plain(text)]
    return f"Forest plot in groups, {plain(outcome_label)}. {' '.join(said)}"


def alt_leave_one_out(
    fit: Any, left_out: Sequence[Any] | Mapping[str, Any], outcome_label: str
) -> str:
    """Return the alternative text of a leave-one-out figure: how far the estimate moves."""
    if isinstance(left_out, Mapping):
        pairs = [(plain(name), other) for name, other in left_out.items()]
    else:
        pairs = list(zip(trial_labels(fit), left_out, strict=True))
    pairs = [(name, other) for name, other in pairs if other.estimate is not None]
    start = f"Leave-one-out plot, {plain(outcome_label)}."
    if fit.estimate is None or not pairs:
        return f"{start} Leaving out a trial leaves nothing to pool."
    low = min(pairs, key=lambda pair: pair[1].estimate)
    high = max(pairs, key=lambda pair: pair[1].estimate)
    return (
        f"{start} Pooled over all trials {pct(fit.estimate)} "
        f"({level(fit)} {interval_word(fit)} {ci(fit.ci_low, fit.ci_high, words=True)}). "
        f"With one trial left out the estimate lies between {pct(low[1].estimate)} "
        f"(without {low[0]}) and {pct(high[1].estimate)} (without {high[0]})."
    )


def alt_model_comparison(fits: Sequence[Any] | Mapping[str, Any], outcome_label: str) -> str:
    """Return the alternative text of a model comparison: each estimate with its interval."""
    said = [
        f"{name} {pct(fit.estimate)} ({ci(fit.ci_low, fit.ci_high, words=True)})"
        for name, fit in _named(fits)
        if fit.estimate is not None
    ]
    if not said:
        return f"Model comparison, {plain(outcome_label)}. No model gives an estimate."
    return f"Model comparison, {plain(outcome_label)}. {'; '.join(said)}."


def alt_overview(fits: Mapping[str, Any] | Sequence[tuple[str, Any]]) -> str:
    """Return the alternative text of the overview: each outcome with estimate and interval."""
    pairs = list(fits.items()) if isinstance(fits, Mapping) else list(fits)
    said = [
        f"{plain(name)} {pct(fit.estimate)} ({ci(fit.ci_low, fit.ci_high, words=True)})"
        for name, fit in pairs
        if fit.estimate is not None
    ]
    missing = [plain(name) for name, fit in pairs if fit.estimate is None]
    text = f"Pooled percentages with {level(pairs[0][1])} intervals: {'; '.join(said)}."
    return text + (f" Not pooled: {listing(missing)}." if missing else "")


def figure_block(
    plot: Callable[..., Figure],
    *args: Any,
    alt: str,
    caption: str | Html = "",
    name: str = "",
    download: bool = True,
    csv: str = "",
    csv_href: str = "",
    **options: Any,
) -> Html:
    """Draw a figure in both layouts and return it as one HTML figure with downloads.

    Parameters
    ----------
    plot : callable
        `forest`, `subgroup_forest`, `leave_one_out`, `model_comparison` or `overview`.
    *args, **options
        Passed to `plot`.
    alt : str
        Alternative text; see the ``alt_`` functions.
    caption : str or Html
        Caption.
    name : str
        Id of the figure and name of the downloaded files.
    download : bool
        Offer the wide drawing as an SVG file.
    csv : str
        The data behind the figure as CSV text, offered as a file if not empty.
    csv_href : str
        Address of a file with the data behind the figure, if there is one.
    """
    wide = plot(*args, layout="wide", **options)
    narrow = plot(*args, layout="narrow", **options)
    stem = name or "figure"
    links = []
    if csv:
        links.append(download_link("Data (CSV)", f"{stem}.csv", data_uri(csv, "text/csv")))
    if csv_href:
        links.append(download_link("Data (CSV)", csv_href.rsplit("/", 1)[-1], csv_href))
    if download:
        links.append(
            download_link("Figure (SVG)", f"{stem}.svg", data_uri(svg(wide), "image/svg+xml"))
        )
    return responsive_svg(wide, narrow, alt, caption=caption, key=name, links=links)
