"""What the grading scale does to the rate of severe toxicity.

Grade 3 is not one thing. This module puts the severe rates side by side by the scale they were
graded on: trial by trial for CLL, and as ranges for every disease in the data package. It also
finds cohorts whose events are on record by more than one scale, the only place where the scale
changes and the patients do not. No rate is pooled by scale: a scale comes with its trials' centers,
products, years and diseases, and nothing in these data can take them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import tables
from analysis.figures import Unpooled, figure_block
from analysis.markup import Html, escape
from analysis.overlap import choose
from analysis.overlap_figures import Range
from analysis.rowplot import Layout, Mark, Row, Sheet, draw
from analysis.shown import alt_side_by_side, figures_of, side_by_side
from analysis.wording import ci, count, listing, pct

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.data import Dataset

__all__ = [
    "NOT_STATED",
    "Regraded",
    "for_cll",
    "for_every_disease",
    "graded",
    "in_words",
    "regraded",
    "side_ranges",
]

NOT_STATED = "not stated"

#: Scales by the year of their publication; others follow by name, "not stated" comes last.
ORDER = (
    "CTCAE 3.0",
    "CTCAE 4.0",
    "CTCAE 4.02",
    "CTCAE 4.03",
    "MSKCC",
    "Lee 2014",
    "Penn",
    "CTCAE 5.0",
    "ASTCT 2019",
)

#: Column of the cohorts that names the scale, where the figure itself does not.
SCALE_COLUMN = {"crs_severe": "crs_scale", "ntx_severe": "ntx_scale"}


@dataclass(frozen=True)
class Regraded:
    """One cohort whose severe events are on record by two scales.

    Attributes
    ----------
    label : str
        The cohort.
    counts : tuple of (str, int, int)
        Scale, patients with a severe event, patients; by scale.
    """

    label: str
    counts: tuple[tuple[str, int, int], ...]


def graded(dataset: Dataset, outcome: str, disease: str | None = "CLL") -> pd.DataFrame:
    """Return the counts in use of a severe outcome with the scale of each.

    Parameters
    ----------
    dataset : Dataset
    outcome : {"crs_severe", "ntx_severe"}
    disease : str or None
        Only cohorts of this disease; None for all.

    Returns
    -------
    pandas.DataFrame
        One row per cohort, with the columns of :func:`analysis.shown.figures_of`, ``scale``, and
        ``shares_with``: the label of a cohort of more patients that has the same ones, or empty.

    Raises
    ------
    ValueError
        If the outcome is not graded.
    """
    if outcome not in SCALE_COLUMN:
        raise ValueError(f"no grading scale is recorded for {outcome!r}")
    rows = _with_scale(dataset, outcome, disease)
    rows = rows[rows["status"] == "used"].drop_duplicates("cohort_id").reset_index(drop=True)
    _, shared = choose(rows, dataset.overlaps)
    names = dict(zip(rows["cohort_id"], rows["label"], strict=True))
    rows["shares_with"] = [
        str(names[shared[cohort]]) if cohort in shared else "" for cohort in rows["cohort_id"]
    ]
    return rows


def regraded(dataset: Dataset, outcome: str) -> tuple[Regraded, ...]:
    """Find cohorts whose severe events are on record by more than one scale, of any disease."""
    rows = _with_scale(dataset, outcome, None, hidden=("infeasible", "not-found", "disputed"))
    rows = rows[rows["scale"] != NOT_STATED]
    found = []
    for _, group in rows.groupby("cohort_id", sort=False):
        counts: dict[str, tuple[str, int, int]] = {}
        # of several figures on one scale, the one in use
        for row in group.sort_values("status", key=lambda s: s != "used").itertuples(index=False):
            counts.setdefault(row.scale, (str(row.scale), int(row.events), int(row.total)))
        if len(counts) > 1:
            in_order = sorted(counts.values(), key=lambda entry: _place(entry[0]))
            found.append(Regraded(str(group["label"].iloc[0]), tuple(in_order)))
    return tuple(found)


def in_words(dataset: Dataset, outcome: str) -> Html:
    """Say what the scales of the trials allow to be said about a severe outcome."""
    sentences = [_said_of_cll(dataset, outcome)]
    twice = [
        f"{entry.label}: "
        + ", ".join(f"{x} of {n} ({pct(x / n)}) by {scale}" for scale, x, n in entry.counts)
        for entry in regraded(dataset, outcome)
    ]
    if twice:
        sentences.append(
            "On record by more than one scale, possibly from different reports, for the same "
            f"cohort: {'; '.join(twice)}."
        )
    else:
        sentences.append("No cohort is on record by more than one scale.")
    return Html(f"<p>{escape(' '.join(sentences))}</p>")


def for_cll(dataset: Dataset, outcome: str) -> Html:
    """Draw the severe rates of the CLL cohorts side by side, in groups by scale."""
    rows = graded(dataset, outcome)
    if rows.empty:
        return Html("<p>No cohort of CLL patients has a count.</p>")
    disputed = _with_scale(dataset, outcome, "CLL")
    disputed = disputed[disputed["status"] == "disputed"]
    groups: dict[str, list[Unpooled]] = {}
    for scale in sorted({*rows["scale"], *disputed["scale"]}, key=_place):
        members = [
            Unpooled(
                str(row.label),
                int(row.events),
                int(row.total),
                f"overlaps {row.shares_with}" if row.shares_with else "",
            )
            for row in rows[rows["scale"] == scale].itertuples(index=False)
        ]
        members += [
            Unpooled(str(row.label), int(row.events), int(row.total), "another source; disputed")
            for row in disputed[disputed["scale"] == scale].itertuples(index=False)
        ]
        groups[_heading(scale)] = members
    title = f"{_label(dataset, outcome)} in CLL, by grading scale"
    return figure_block(
        side_by_side,
        groups,
        alt=alt_side_by_side(groups, title),
        caption=f"{title}: every cohort with a count, whatever its population, with 95% Wilson "
        "intervals. Gray: shares patients with another row, or a disputed count. Nothing is "
        "pooled: each scale stands for its trials as well.",
        name=f"scales-{outcome.replace('_', '-')}",
        csv=tables.to_csv(_plain_rows(rows)),
    )


def for_every_disease(dataset: Dataset, outcome: str) -> Html:
    """Tabulate the range of the severe rates by scale, over every disease of the data package."""
    rows = graded(dataset, outcome, None)
    rows = rows[(rows["shares_with"] == "") & (rows["scale"] != NOT_STATED)]
    if rows.empty:
        return Html("<p>No cohort with a count names its scale.</p>")
    title = f"{_label(dataset, outcome)} by grading scale, every disease"
    ranges = {
        scale: rows[rows["scale"] == scale] for scale in sorted(set(rows["scale"]), key=_place)
    }
    spans = [
        Range(
            scale,
            tuple(int(row.events) / int(row.total) for row in part.itertuples(index=False)),
            sub=f"{count(len(part), 'cohort')}, {count(int(part['total'].sum()), 'patient')}",
            group=f"{int(part['total'].sum()):,}",
        )
        for scale, part in ranges.items()
    ]
    said = "; ".join(f"{s.label}: {_from_to(s, words=True)} ({s.sub})" for s in spans)
    sentence = Html(
        f"<p>{escape(f'From the lowest severe rate to the highest, every disease: {said}.')}</p>"
    )
    drawn = figure_block(
        side_ranges,
        spans,
        alt=f"{title}: severe rates from lowest to highest cohort. {said}.",
        caption=f"{title}. One short line per cohort; cohorts that share patients count once.",
        name=f"scales-{outcome.replace('_', '-')}-every-disease",
        csv=tables.to_csv(_plain_rows(rows)),
    )
    cohorts = dataset.cohorts.set_index("cohort_id")["costimulatory_domain"]
    table = tables.html_table(
        [
            {
                "Scale": span.label,
                "Cohorts": len(part),
                "Patients": int(part["total"].sum()),
                "Lowest to highest rate": _from_to(span),
                "Diseases": _distinct(part["disease"]),
                "Costimulatory domains": _distinct(cohorts[part["cohort_id"]]),
            }
            for span, part in zip(spans, ranges.values(), strict=True)
        ],
        f"{title}: what comes with each scale",
        id=f"scales-{outcome.replace('_', '-')}-table",
        row_header="Scale",
        numeric=["Lowest to highest rate"],
        stack=True,
        note="Read down the last two columns before reading across the rates.",
    )
    return sentence + drawn + table


def side_ranges(spans: Sequence[Range], *, layout: Layout = "wide") -> Figure:
    """Draw one row per scale: a short line for each cohort, and the range.

    Parameters
    ----------
    spans : sequence of Range
        Proportions of the cohorts of each scale; as group, the number of patients as printed.
    layout : {"wide", "narrow"}
        For 600 px or more, or for a phone.
    """
    rows = tuple(
        Row(
            label=span.label,
            mark=Mark(
                "ticks", "study", span.low, span.high, ticks=span.estimates, name=f"scale-{i + 1}"
            ),
            cells=(str(len(span.estimates)), span.group),
            span=_from_to(span),
            sub=span.sub,
        )
        for i, span in enumerate(spans)
    )
    sheet = Sheet(
        rows=rows,
        label="Scale",
        columns=("Cohorts", "Patients"),
        aligns=("right", "right"),
        span="Lowest to highest",
    )
    return draw(sheet, layout)


def _with_scale(
    dataset: Dataset, outcome: str, disease: str | None, **options: Any
) -> pd.DataFrame:
    """Counts of a severe outcome with the scale of the figure, or else that of the cohort."""
    rows = figures_of(dataset, [outcome], disease, **options)
    rows = rows[rows["events"].notna() & rows["total"].notna() & (rows["total"] > 0)]
    of_cohort = dataset.cohorts.set_index("cohort_id")[SCALE_COLUMN[outcome]]
    scale = rows["criteria"].fillna(rows["cohort_id"].map(of_cohort)).fillna(NOT_STATED)
    return rows.assign(scale=[str(name) for name in scale])


def _said_of_cll(dataset: Dataset, outcome: str) -> str:
    rows = graded(dataset, outcome)
    rows = rows[(rows["shares_with"] == "")]
    stated = rows[rows["scale"] != NOT_STATED]
    if stated.empty:
        return f"{_label(dataset, outcome)}: no cohort of CLL patients names its scale."
    sizes = stated["scale"].value_counts()
    ranges = []
    for scale in sorted(sizes.index, key=_place):
        part = stated[stated["scale"] == scale]
        rates = [x / n for x, n in zip(part["events"], part["total"], strict=True)]
        at = pct(rates[0]) if len(rates) == 1 else ci(min(rates), max(rates), words=True)
        ranges.append(f"{at} by {scale}")
    most = int(sizes.max())
    return (
        f"{_label(dataset, outcome)}: {count(len(rows), 'cohort')} of CLL patients without shared "
        f"patients {'has' if len(rows) == 1 else 'have'} a count, {len(stated)} of them with its "
        f"scale: {listing(ranges)}. No scale stands for more than {count(most, 'cohort')}."
    )


def _from_to(span: Range, *, words: bool = False) -> str:
    """A range of rates, or the one rate there is."""
    return pct(span.low) if span.low == span.high else ci(span.low, span.high, words=words)


def _label(dataset: Dataset, outcome: str) -> str:
    return str(dataset.outcomes.set_index("outcome_id")["label"][outcome])


def _heading(scale: str) -> str:
    return "Scale not stated" if scale == NOT_STATED else scale


def _place(scale: str) -> tuple[int, str]:
    if scale == NOT_STATED:
        return len(ORDER) + 1, ""
    return (ORDER.index(scale), "") if scale in ORDER else (len(ORDER), scale)


def _distinct(values: pd.Series) -> str:
    return ", ".join(sorted({str(value) for value in values.dropna()})) or NOT_STATED


def _plain_rows(rows: pd.DataFrame) -> pd.DataFrame:
    names = ["label", "disease", "scale", "events", "total", "record_id"]
    return rows[names].astype({"events": "int64", "total": "int64"})
