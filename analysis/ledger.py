"""What the claims chapter shows: counts of verdicts, what does not hold, the whole ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from analysis import figures, tables
from analysis.canvas import canvas, finish, shape, stroke, text_width, wrap, write
from analysis.claims.verdict import (
    BASES,
    CONTRADICTED,
    CORRECTED,
    IMPOSSIBLE,
    OWN,
    REPRODUCED,
    UNDECIDED,
    VERDICTS,
)
from analysis.markup import Html, attribute, escape
from analysis.style import NARROW, SMALL, TEXT, WIDE, rc
from analysis.wording import count, listing, pct

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.claims import Entry
    from analysis.rowplot import Layout

__all__ = ["browse", "by_basis", "by_kind", "failing", "summary", "verdict_bars", "verdicts"]

MEANING = {
    REPRODUCED: "Another document gives the same figure, or the printed count and percentage agree "
    "and no other document has either.",
    CORRECTED: "Holds once a denominator, a rounding, a cohort or a method is put right.",
    CONTRADICTED: "The trial's own document, or a report that quotes it, gives another figure.",
    IMPOSSIBLE: "No whole number of patients gives it, and no document shows what was meant.",
    UNDECIDED: "No other document gives the figure, the documents disagree, or the trials have no "
    "control group that could carry the comparison.",
}
KINDS = {
    "single-figure": "single figure",
    "pooled-or-range": "several figures or a range",
    "comparison": "comparison",
    "trend": "trend or judgment",
}
COLORS = ("study", "second", "reference", "third")


def _review(report_id: str) -> str:
    """Name a review for readers: ``mohty-2023`` gives ``Mohty 2023``."""
    author, _, year = report_id.rpartition("-")
    return f"{author.capitalize()} {year}"


def _reviews(entries: Sequence[Entry]) -> list[str]:
    return list(dict.fromkeys(entry.report_id for entry in entries))


def summary(entries: Sequence[Entry]) -> Html:
    """Say in one paragraph how the claims fare."""
    counts = Counter(entry.verdict.verdict for entry in entries)
    n = len(entries)
    by_trial = sum(e.verdict.verdict == REPRODUCED and e.verdict.basis == OWN for e in entries)
    text = (
        f"Of {count(n, 'claim')}, {counts[REPRODUCED]} are reproduced ({by_trial} of them by the "
        f"trial's own document) and {counts[CORRECTED]} more after a correction; "
        f"{counts[CONTRADICTED]} are contradicted by a primary source and {counts[IMPOSSIBLE]} are "
        f"arithmetically impossible. {counts[UNDECIDED]} ({pct(counts[UNDECIDED] / n)}) cannot be "
        "decided from the data."
    )
    return Html(f'<p class="ev-block"><strong>{escape(text)}</strong></p>')


# --------------------------------------------------------------------------- figure


def verdict_bars(entries: Sequence[Entry]) -> Html:
    """Draw the share of each review's claims that has each verdict."""
    return figures.figure_block(
        _bars,
        entries,
        alt=_alt(entries),
        caption="Verdicts on the claims of each review, as a share of that review's claims.",
        name="claims-verdicts",
        csv=tables.to_csv(_counts(entries)),
    )


def _counts(entries: Sequence[Entry]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for verdict in VERDICTS:
        row: dict[str, object] = {"Verdict": verdict}
        for report in _reviews(entries):
            row[_review(report)] = _number(entries, verdict, report)
        rows.append(row | {"All": sum(e.verdict.verdict == verdict for e in entries)})
    return rows


def _number(entries: Sequence[Entry], verdict: str, report: str) -> int:
    return sum(e.verdict.verdict == verdict and e.report_id == report for e in entries)


def _alt(entries: Sequence[Entry]) -> str:
    parts = []
    for report in _reviews(entries):
        n = sum(entry.report_id == report for entry in entries)
        said = listing(f"{_number(entries, v, report)} {v}" for v in VERDICTS)
        parts.append(f"{_review(report)}, {count(n, 'claim')}: {said}.")
    return " ".join(parts)


def _bars(entries: Sequence[Entry], *, layout: Layout = "wide") -> Figure:
    import matplotlib as mpl

    with mpl.rc_context(rc()):
        return _drawn(entries, layout == "wide")


def _drawn(entries: Sequence[Entry], wide: bool) -> Figure:
    reports = _reviews(entries)
    totals = Counter(entry.report_id for entry in entries)
    width = WIDE if wide else NARROW
    names = {v: v[0].upper() + v[1:] for v in VERDICTS}
    label = max(text_width(name, TEXT) for name in names.values()) + 18 if wide else 0.0
    value = text_width("000 (00%)", SMALL) + 8
    room = width - label - value
    largest = max(
        (_number(entries, v, r) / totals[r] for v in VERDICTS for r in reports), default=1.0
    )
    bar, gap = 13.0, 3.0

    figure, axes = canvas(width)
    x, y = 0.0, 14.0
    for i, report in enumerate(reports):
        text = f"{_review(report)} ({count(totals[report], 'claim')})"
        if x and x + 18 + text_width(text, SMALL) > width:
            x, y = 0.0, y + 18
        _bar(axes, x, y - 10, 12, 11, COLORS[i % len(COLORS)])
        write(axes, x + 18, y, text, size=SMALL)
        x += 18 + text_width(text, SMALL) + 22
    y += 14
    for verdict in VERDICTS:
        if not wide:
            for line in wrap(names[verdict], width, TEXT):
                y += 15
                write(axes, 0, y, line)
            y += 6
        top = y
        for i, report in enumerate(reports):
            n = _number(entries, verdict, report)
            share = n / totals[report]
            length = room * share / largest if largest else 0.0
            if n:
                _bar(axes, label, y, max(length, 1.5), bar, COLORS[i % len(COLORS)])
            write(axes, label + length + 6, y + bar - 2.5, f"{n} ({pct(share)})", size=SMALL)
            y += bar + gap
        if wide:
            write(axes, label - 12, (top + y - gap) / 2 + 4.5, names[verdict], align="right")
        y += 11 if wide else 4
    stroke(axes, label, 28.0, label, y - 8, color="rule") if wide else None
    return finish(figure, axes, width, y)


def _bar(axes: object, x: float, y: float, length: float, height: float, color: str) -> None:
    corners = [(x, y), (x + length, y), (x + length, y + height), (x, y + height)]
    shape(axes, corners, fill=color)  # type: ignore[arg-type]


# --------------------------------------------------------------------------- tables


def verdicts(entries: Sequence[Entry]) -> Html:
    """Tabulate the verdicts by review, with the meaning of each."""
    rows = _counts(entries)
    for row in rows:
        row["Meaning"] = MEANING[str(row["Verdict"])]
    total = {
        name: sum(int(str(row[name])) for row in rows)
        for name in rows[0]
        if name not in ("Verdict", "Meaning")
    }
    return tables.html_table(
        [*rows, {"Verdict": "All claims", **total, "Meaning": ""}],
        "Verdicts by review",
        id="verdicts",
        row_header="Verdict",
        foot=1,
        stack=True,
        csv=tables.to_csv(_counts(entries)),
    )


def by_kind(entries: Sequence[Entry]) -> Html:
    """Tabulate the verdicts by kind of claim."""
    return _cross(
        entries, "Kind of claim", lambda e: KINDS[e.kind], list(KINDS.values()), "Verdicts by kind"
    )


def by_basis(entries: Sequence[Entry]) -> Html:
    """Tabulate the verdicts by what they rest on."""
    return _cross(
        entries, "Rests on", lambda e: e.verdict.basis, BASES, "Verdicts by what they rest on"
    )


def _cross(
    entries: Sequence[Entry],
    head: str,
    group: Callable[[Entry], str],
    order: Sequence[str],
    caption: str,
) -> Html:
    counts = Counter((group(entry), entry.verdict.verdict) for entry in entries)
    used = [name for name in order if any(counts[name, v] for v in VERDICTS)]
    rows = [
        {head: name}
        | {v[0].upper() + v[1:]: counts[name, v] for v in VERDICTS}
        | {"All": sum(counts[name, v] for v in VERDICTS)}
        for name in used
    ]
    return tables.html_table(
        rows,
        caption,
        id=head.split()[0].lower(),
        row_header=head,
        stack=True,
        csv=tables.to_csv(rows),
    )


def failing(entries: Sequence[Entry], verdict: str) -> Html:
    """Tabulate the claims with one verdict, with what decides each."""
    rows = [
        {
            "Claim": entry.claim,
            "What decides it": entry.verdict.number,
            "Review": Html(f"{escape(_review(entry.report_id))}, {escape(entry.locator)}"),
            "Rows": _rows(entry),
        }
        for entry in entries
        if entry.verdict.verdict == verdict
    ]
    if not rows:
        return Html(f"<p>No claim is {escape(verdict)}.</p>")
    return tables.html_table(
        rows,
        f"{verdict[0].upper()}{verdict[1:]}",
        id=verdict.split()[0],
        row_header="Claim",
        stack=True,
    )


def browse(entries: Sequence[Entry]) -> Html:
    """Every claim with its verdict, searchable and sortable."""
    rows = [
        {
            "Name": Html(
                f'<span id="claim-{attribute(entry.claim_id)}">{escape(entry.claim_id)}</span>'
            ),
            "Claim": entry.claim,
            "Verdict": entry.verdict.verdict,
            "What decides it": entry.verdict.number,
            "Rows": _rows(entry),
            "Rests on": entry.verdict.basis,
            "Review": _review(entry.report_id),
            "Where": entry.locator,
            "Kind": KINDS[entry.kind],
        }
        for entry in entries
    ]
    return tables.browse_table(
        rows,
        "The claims of the two reviews",
        id="ledger",
        row_header="Name",
        filters=["Verdict", "Rests on", "Review", "Kind"],
        csv=tables.to_csv(
            {
                "claim_id": entry.claim_id,
                "report_id": entry.report_id,
                "locator": entry.locator,
                "claim": entry.claim,
                "kind": entry.kind,
                "check": entry.check,
                "args": entry.args,
                "verdict": entry.verdict.verdict,
                "number": entry.verdict.number,
                "basis": entry.verdict.basis,
                "records": "; ".join(entry.verdict.records),
            }
            for entry in entries
        ),
        note="The check of each claim and its arguments stand in claims.csv, on the data page.",
    )


def _rows(entry: Entry) -> Html:
    """Link the rows of the extraction that bear on a claim, report by report."""
    by_report: dict[str, list[str]] = {}
    for name in entry.verdict.records:
        by_report.setdefault(name.split(".")[2], []).append(name)
    parts = []
    for report, names in by_report.items():
        if len(names) == 1:
            parts.append(_link(names[0], report))
        else:
            numbers = " ".join(
                _link(name, str(i), f"{report}, row {i}") for i, name in enumerate(names, 1)
            )
            parts.append(f"{escape(report)} {numbers}")
    return Html(", ".join(parts))


def _link(record_id: str, text: str, said: str = "") -> str:
    spoken = f' aria-label="{attribute(said)}"' if said else ""
    return f'<a href="data.html#{attribute(record_id)}"{spoken}>{escape(text)}</a>'
