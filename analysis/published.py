"""What the chapter on published pools shows: their verdicts, their scales, ours beside theirs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from analysis import chapter, estimands, figures, replicate, tables
from analysis.geometry import SCALE_NAMES
from analysis.markup import Html, attribute, escape
from analysis.pooling import clopper_pearson
from analysis.rowplot import Layout, Mark, Row, Sheet, draw
from analysis.wording import TABLE_DIGITS, ci, count, listing, number, pct, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.replicate import Check, Examined

__all__ = [
    "agreement",
    "agreement_table",
    "all_pools",
    "disagreement",
    "notable",
    "other_patients",
    "our_patients",
    "scales",
    "summary",
    "verdicts",
]


@lru_cache(maxsize=1)
def _examined() -> tuple[Examined, ...]:
    return tuple(replicate.examine(chapter.dataset()))


def source_name(report_id: str) -> str:
    """Return a report id as a name: ``zhang-2015`` is ``Zhang 2015``."""
    words = report_id.split("-")
    first = words[0].upper() if words[0] == "ash" else words[0].capitalize()
    return " ".join([first, *words[1:]])


def summary() -> Html:
    """Say how many pools were checked, and with what result."""
    found = [entry for entry in _examined() if entry.row["percent"] is not None]
    documents = {entry.row["report_id"] for entry in found}
    checked = [entry for entry in found if entry.verdict != "nothing to check"]
    bad = sum(entry.verdict == "inconsistent" for entry in found)
    doubtful = sum(entry.verdict == "doubtful" for entry in found)
    tried = [entry for entry in found if entry.reproduced != "not tried"]
    had = sum(entry.reproduced == "yes" for entry in tried)
    text = (
        f"{count(len(found), 'figure')} from {count(len(documents), 'document')}; "
        f"{len(checked)} print enough to be checked. {bad} "
        f"contradict{'s' if bad == 1 else ''} another printed number, {doubtful} "
        f"{'is' if doubtful == 1 else 'are'} doubtful by inference. Of "
        f"{count(len(tried), 'pooled figure')} about CLL, {had or 'none'} can be had from the "
        "cohorts of this book."
    )
    return Html(f'<p class="ev-block"><strong>{escape(text)}</strong></p>')


def verdicts() -> Html:
    """Tabulate the verdicts with their meaning and number."""
    found = [entry.verdict for entry in _examined()]
    rows = [
        {"Verdict": name, "Pools": found.count(name), "Meaning": meaning}
        for name, meaning in replicate.VERDICTS.items()
    ]
    return tables.html_table(
        rows, "Verdicts on the published pools", id="verdicts", row_header="Verdict"
    )


def notable() -> Html:
    """List every check that fails or stays open, apart from the search in our data."""
    items = []
    for entry in _examined():
        for check in entry.checks:
            if check.status != "holds" and check.name != replicate.SEARCH:
                items.append(
                    f"<li><strong>{escape(_what(entry))}</strong> ({escape(_printed(entry))}), "
                    f"{escape(check.name)}: {escape(check.text)} {_kind(check)}</li>"
                )
    if not items:
        return Html("<p>Every check holds.</p>")
    return Html(f'<div class="ev-block"><ul>{"".join(items)}</ul></div>')


def our_patients() -> Html:
    """Show every check of every figure that is about CLL."""
    return _folded([entry for entry in _examined() if entry.row["disease"] == "CLL"])


def other_patients() -> Html:
    """Show every check of the figures about other patients that can be checked."""
    return _folded([entry for entry in _examined() if entry.row["disease"] != "CLL"])


def _folded(entries: Sequence[Examined]) -> Html:
    blocks = []
    for entry in entries:
        if not entry.checks:
            continue
        items = "".join(
            f"<li><em>{escape(check.name)}</em>, {escape(check.status)}: {escape(check.text)} "
            f"{_kind(check)}</li>"
            for check in entry.checks
        )
        note = f"<p>{escape(entry.row['note'])}</p>" if entry.row["note"] else ""
        blocks.append(
            f'<details class="ev-more" id="{attribute(entry.row["pool_id"])}"><summary>'
            f"{escape(_what(entry))}: {escape(_printed(entry))}; {escape(entry.verdict)}"
            f"</summary>\n{note}<ul>{items}</ul></details>"
        )
    return Html(f'<div class="ev-block">{"".join(blocks)}</div>')


def _kind(check: Check) -> Html:
    return Html(f"<em>[{'inference' if check.inference else 'arithmetic'}]</em>")


def _what(entry: Examined) -> str:
    row = entry.row
    group = "" if row["group_label"] == "all patients" else f", {row['group_label']}"
    return f"{source_name(row['report_id'])}, {row['outcome_label']}{group}"


def _printed(entry: Examined) -> str:
    row = entry.row
    parts = []
    if row["percent"] is not None:
        text = f"{row['percent']:g}%"
        if row["ci_low"] is not None:
            high = "?" if row["ci_high"] is None else f"{row['ci_high']:g}"
            text += f" ({row['ci_low']:g} to {high})"
        parts.append(text)
    if row["events"] is not None:
        parts.append(f"{row['events']}/{row['total']}")
    return ", ".join(parts) or "no figure in the copy read"


def _size(row: dict[str, Any]) -> str:
    parts = []
    if row["k"] is not None:
        parts.append(count(row["k"], "study", "studies"))
    if row["total"] is not None:
        parts.append(count(row["total"], "patient"))
    return ", ".join(parts)


def _short_size(row: dict[str, Any], computed: bool) -> str:
    parts = ["sum" if computed else ""]
    parts.append("" if row["k"] is None else count(row["k"], "study", "studies"))
    parts.append("" if row["total"] is None else f"n = {row['total']}")
    return ", ".join(filter(None, parts)) or "size not printed"


def all_pools() -> Html:
    """Every row of the file with its verdict, searchable and sortable."""
    rows = []
    for entry in _examined():
        row = entry.row
        het = [
            text
            for text in (
                f"Q {row['q']:g}" if row["q"] is not None else "",
                f"I² {row['i2']}%" if row["i2"] is not None else "",
                f"p {row['q_p']}" if row["q_p"] is not None else "",
            )
            if text
        ]
        fitting = ""
        effective = ""
        if entry.shape is not None:
            names = [SCALE_NAMES[scale] for scale in entry.shape.fitting]
            fitting = ", ".join(names) or "none"
            effective = _effective(entry) if names else ""
        rows.append(
            {
                "Source": Html(
                    f'<a href="data.html#report-{attribute(row["report_id"])}">'
                    f"{escape(source_name(row['report_id']))}</a>"
                ),
                "Outcome": _outcome(entry),
                "Printed": _printed(entry),
                "Verdict": entry.verdict,
                "Symmetric on": fitting,
                "As wide as": effective,
                "Heterogeneity": ", ".join(het),
                "Size": _size(row),
                "Disease": row["disease"],
                "From our cohorts": entry.reproduced,
            }
        )
    return tables.browse_table(
        rows,
        "Published pools and their verdicts",
        id="pools",
        row_header="Source",
        filters=["Source", "Disease", "Verdict"],
        csv_href="../_data/published_pools.csv",
        note="As wide as: the interval of that many patients in one sample, on the best scale.",
    )


def _effective(entry: Examined) -> str:
    assert entry.shape is not None
    low, high = entry.shape.best.effective
    first, last = number(low, 0), number(high, 0)
    return f"{first} patients" if first == last else f"{first} to {last} patients"


def scales() -> Html:
    """Tabulate, for each document, the scale that fits all its intervals."""
    found = list(_examined())
    rows = []
    for name, (n, fitting) in replicate.common_scales(found).items():
        report, _, survival = name.partition(" ")
        inside = [
            entry
            for entry in found
            if entry.shape is not None
            and entry.row["report_id"] == report
            and (entry.row["kind"] == "survival") == bool(survival)
        ]
        said = listing(SCALE_NAMES[scale] for scale in fitting) or "none"
        exceptions = ""
        if not fitting:
            shapes = [entry.shape for entry in inside if entry.shape is not None]
            most = max(
                (fit.scale for fit in shapes[0].scales),
                key=lambda scale: sum(scale in shape.fitting for shape in shapes),
            )
            fits = sum(most in shape.fitting for shape in shapes)
            said = f"none; {SCALE_NAMES[most]} fits {fits}"
            exceptions = "; ".join(
                _outcome(entry)
                for entry in inside
                if entry.shape is not None and most not in entry.shape.fitting
            )
        rows.append(
            {
                "Source": f"{source_name(report)} {survival}".strip(),
                "Intervals": n,
                "Scale that fits them all": said,
                "It does not fit": exceptions,
                "What the document says": "; ".join(
                    dict.fromkeys(str(entry.row["model"]) for entry in inside if entry.row["model"])
                ),
            }
        )
    if not rows:
        return Html("<p>No document prints an interval.</p>")
    return tables.html_table(
        rows,
        "The scale that the intervals of a document reveal",
        id="scales",
        row_header="Source",
        stack=True,
    )


def _outcome(entry: Examined) -> str:
    row = entry.row
    group = "" if row["group_label"] == "all patients" else f" ({row['group_label']})"
    return f"{row['outcome_label']}{group}"


# ------------------------------------------------------------------ ours beside theirs


def _matched() -> list[tuple[chapter.Question, list[Examined]]]:
    """Our estimands with the published pools that ask the same question."""
    by_id: dict[str, list[Examined]] = {}
    for entry in _examined():
        if entry.row["estimand_id"] is not None and entry.row["percent"] is not None:
            by_id.setdefault(entry.row["estimand_id"], []).append(entry)
    order = [target.id for target in estimands.estimands()]
    return [(chapter.ask(name), by_id[name]) for name in sorted(by_id, key=order.index)]


def _interval(entry: Examined) -> tuple[float, float, bool]:
    """Limits as proportions, and whether they were computed here from the count."""
    row = entry.row
    if row["ci_low"] is not None and row["ci_high"] is not None:
        return row["ci_low"] / 100, row["ci_high"] / 100, False
    low, high = clopper_pearson(row["events"], row["total"])
    return float(low), float(high), True


def agreement() -> Html:
    """Draw our pooled estimates and the published ones of the same question."""
    matched = [
        (question, [e for e in entries if e.row["ci_high"] is not None or e.row["events"]])
        for question, entries in _matched()
    ]
    return figures.figure_block(
        draw_agreement,
        matched,
        alt=_alt(matched),
        caption="This book (filled dot) and published pools of the same question (squares). "
        "Hollow squares are plain sums of patients without an interval of their own; the one drawn "
        "is computed here (Clopper–Pearson) and leaves out differences between studies. "
        "The sets of trials are not the same.",
        name="agreement",
        csv_href="../_data/published_pools.csv",
    )


def draw_agreement(
    matched: Sequence[tuple[chapter.Question, Sequence[Examined]]], *, layout: Layout = "wide"
) -> Figure:
    """Draw one block per question: our result, then the published ones.

    Parameters
    ----------
    matched : sequence of (Question, sequence of Examined)
        Published pools with an interval, or a count to compute one from.
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone.
    """
    rows: list[Row] = []
    for i, (question, entries) in enumerate(matched):
        fit = question.fit
        rows.append(Row(label=plain(question.label), strong=True, heading=True, rule=bool(rows)))
        if fit is not None and fit.estimate is not None:
            rows.append(
                Row(
                    label="This book",
                    mark=Mark(
                        "dot", "pooled", fit.ci_low, fit.ci_high, at=fit.estimate, name=f"ours-{i}"
                    ),
                    point=pct(fit.estimate),
                    span=f"({ci(fit.ci_low, fit.ci_high).removesuffix('%')})",
                    sub=f"{count(len(fit.events), 'trial')}, n = {int(sum(fit.total))}",
                    strong=True,
                )
            )
        for j, entry in enumerate(entries):
            low, high, computed = _interval(entry)
            at = entry.row["percent"] / 100
            rows.append(
                Row(
                    label=source_name(entry.row["report_id"]),
                    mark=Mark(
                        "square",
                        "study",
                        low,
                        high,
                        at=at,
                        size=9.0,
                        hollow=computed,
                        name=f"published-{i}-{j}",
                    ),
                    point=pct(at),
                    span=f"({ci(low, high).removesuffix('%')})",
                    sub=_short_size(entry.row, computed),
                )
            )
    return draw(
        Sheet(
            rows=tuple(rows),
            label="Pooled estimate",
            span="Percent (95% CI)",
            notes=("Hollow: interval computed here from the sum of patients",),
        ),
        layout,
    )


def _alt(matched: Sequence[tuple[chapter.Question, Sequence[Examined]]]) -> str:
    said = []
    for question, entries in matched:
        fit = question.fit
        ours = "not pooled" if fit is None or fit.estimate is None else pct(fit.estimate)
        others = listing(
            f"{source_name(e.row['report_id'])} {e.row['percent']:g}%" for e in entries
        )
        said.append(f"{question.label}: this book {ours}, {others}")
    return f"This book beside published pools. {'; '.join(said)}."


def agreement_table() -> Html:
    """Tabulate difference and overlap of our estimates and the published ones."""
    rows = []
    for question, entries in _matched():
        fit = question.fit
        for entry in entries:
            at = entry.row["percent"] / 100
            low, high, computed = _interval(entry)
            row: dict[str, Any] = {
                "Outcome": question.label,
                "Published by": Html(
                    f'<a href="#{attribute(entry.row["pool_id"])}">'
                    f"{escape(source_name(entry.row['report_id']))}</a>"
                ),
                "Published": f"{entry.row['percent']:g}% ({ci(low, high, 1).removesuffix('%')})"
                + (" *" if computed else ""),
            }
            if fit is None or fit.estimate is None:
                row |= {"This book": "not pooled"}
            else:
                inside = fit.ci_low <= at <= fit.ci_high
                back = low <= fit.estimate <= high
                limits = ci(fit.ci_low, fit.ci_high, TABLE_DIGITS).removesuffix("%")
                difference = number(100 * (at - fit.estimate), 1)
                row |= {
                    "This book": f"{pct(fit.estimate, TABLE_DIGITS)} ({limits})",
                    "Difference (points)": difference
                    if difference.startswith(("\u2212", "0.0"))
                    else f"+{difference}",
                    "Theirs in our interval": "yes" if inside else "no",
                    "Ours in theirs": "yes" if back else "no",
                }
            rows.append(row)
    if not rows:
        return Html("<p>No published pool asks a question of this book.</p>")
    return tables.html_table(
        rows,
        "Agreement with published pools of the same question",
        id="agreement-table",
        row_header="Outcome",
        numeric=["Published", "This book", "Difference (points)"],
        stack=True,
        note="* Interval computed here from the printed sum of patients.",
    )


def disagreement() -> Html:
    """Say where a published estimate and ours lie outside each other's interval."""
    compared, apart = 0, []
    for question, entries in _matched():
        fit = question.fit
        if fit is None or fit.estimate is None:
            continue
        for entry in entries:
            compared += 1
            at = entry.row["percent"] / 100
            low, high, _ = _interval(entry)
            if not fit.ci_low <= at <= fit.ci_high and not low <= fit.estimate <= high:
                apart.append(
                    f"{question.label.lower()}, {source_name(entry.row['report_id'])} "
                    f"{entry.row['percent']:g}% against {pct(fit.estimate)}"
                )
    text = (
        f"In {compared - len(apart)} of {count(compared, 'comparison')} at least one of the two "
        "estimates lies inside the interval of the other."
    )
    if apart:
        text += f" Not so for {'; '.join(apart)}."
    return Html(f"<p>{escape(text)}</p>")
