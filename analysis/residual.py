"""Undetectable residual disease beside complete response, trial by trial.

The two are judged by different tests, in different tissues and often in different patients, and
the sources print the one and the other as totals. How many patients had both is mostly not
printed; but two totals of the same patients leave only some answers. With a of n patients in one
group and b of n in the other, at least max(0, a + b - n) and at most min(a, b) patients are in both
(Frechet 1951, bounds on a joint distribution with given margins).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import tables
from analysis.chapter import source
from analysis.figures import Unpooled, figure_block
from analysis.markup import Html, escape
from analysis.shown import alt_side_by_side, figures_of, side_by_side
from analysis.wording import EN_DASH, count, listing

if TYPE_CHECKING:
    import pandas as pd

    from analysis.data import Dataset

__all__ = [
    "Nested",
    "both",
    "in_words",
    "methods",
    "nested",
    "nested_table",
    "picture",
]

UMRD = ("umrd_blood", "umrd_marrow", "umrd_unspecified")
RESPONSE = ("orr", "cr")

#: Thresholds that are written out.
THRESHOLDS = {"1e-4": "fewer than 1 leukemia cell in 10,000"}

PLACES = {"umrd_blood": "blood", "umrd_marrow": "marrow", "umrd_unspecified": "not stated"}

NAMES = {
    "orr": "Any response",
    "cr": "Complete response",
    "umrd_blood": "Undetectable, blood",
    "umrd_marrow": "Undetectable, marrow",
    "umrd_unspecified": "Undetectable, compartment not stated",
}


@dataclass(frozen=True)
class Nested:
    """What two totals of the same patients say about having both, or one without the other.

    Attributes
    ----------
    label, where : str
        Cohort; where disease was looked for.
    total, complete, undetectable : int
        Patients; those in complete response; those with undetectable residual disease.
    response : int or None
        Patients with any response, if counted among the same patients.
    with_both, without_complete : (int, int)
        Fewest and most patients with complete response and undetectable disease, and with
        undetectable disease and no complete response.
    without_response : (int, int) or None
        The same with undetectable disease and no response at all.
    """

    label: str
    where: str
    total: int
    complete: int
    undetectable: int
    response: int | None
    with_both: tuple[int, int]
    without_complete: tuple[int, int]
    without_response: tuple[int, int] | None


def both(a: int, b: int, n: int) -> tuple[int, int]:
    """Return the fewest and the most of n patients who can be in two groups of a and b patients.

    Raises
    ------
    ValueError
        If a group has more than n patients or fewer than none.
    """
    if not (0 <= a <= n and 0 <= b <= n):
        raise ValueError(f"groups of {a} and {b} do not fit into {n} patients")
    return max(0, a + b - n), min(a, b)


def nested(dataset: Dataset) -> tuple[Nested, ...]:
    """Compare undetectable disease with response where both are counted in the same patients.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    tuple of Nested
        One per CLL cohort and compartment with counts in use and equal denominators; by year.
    """
    rows = figures_of(dataset, [*RESPONSE, *UMRD])
    rows = rows[(rows["status"] == "used") & rows["events"].notna() & rows["total"].notna()]
    found = []
    for _, group in rows.groupby("cohort_id", sort=False):
        counts = {row.outcome: (int(row.events), int(row.total)) for row in group.itertuples()}
        for outcome in UMRD:
            if outcome not in counts or "cr" not in counts:
                continue
            (umrd, n), (cr, n_cr) = counts[outcome], counts["cr"]
            if n != n_cr:
                continue
            response, n_response = counts.get("orr", (None, n))
            response = response if n_response == n else None
            low, high = both(cr, umrd, n)
            without_response = None
            if response is not None:
                least, most = both(response, umrd, n)
                without_response = (umrd - most, umrd - least)
            found.append(
                Nested(
                    label=str(group["label"].iloc[0]),
                    where=NAMES[outcome].removeprefix("Undetectable, "),
                    total=n,
                    complete=cr,
                    undetectable=umrd,
                    response=response,
                    with_both=(low, high),
                    without_complete=(umrd - high, umrd - low),
                    without_response=without_response,
                )
            )
    return tuple(found)


def in_words(dataset: Dataset) -> Html:
    """Say what the counts force about undetectable disease without complete response."""
    said = []
    by_cohort: dict[str, list[Nested]] = {}
    for entry in nested(dataset):
        if entry.without_complete[0] > 0:
            by_cohort.setdefault(entry.label, []).append(entry)
    for label, entries in by_cohort.items():
        found = "; ".join(
            f"{entry.undetectable} had no detectable disease ({entry.where}), so at least "
            f"{entry.without_complete[0]} of them without a complete response"
            + (
                f" and at least {entry.without_response[0]} without any"
                if entry.without_response is not None and entry.without_response[0] > 0
                else ""
            )
            for entry in entries
        )
        said.append(
            f"{label}: of {count(entries[0].total, 'patient')}, {entries[0].complete} had a "
            f"complete response; {found}."
        )
    forced = bool(said)
    if not said:
        said = ["No cohort's counts force a patient to have had the one without the other."]
    among = figures_of(dataset, ["umrd_blood_in_cr", "umrd_marrow_in_cr"])
    among = among[among["events"].notna() & among["total"].notna()]
    labels = dataset.outcomes.set_index("outcome_id")["short_label"]
    direct = [
        f"{row.label}, {row.events} of {row.total} ({labels[row.outcome].removesuffix(' in CR')})"
        for row in among.itertuples(index=False)
    ]
    if direct:
        said.append(f"Counted among complete responders themselves: {listing(direct)}.")
    verdict = "No, the two are not the same." if forced else "The counts leave it open."
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in said)
    return Html(f'<p><strong>{verdict}</strong></p>\n<ul class="ev-said">{items}</ul>')


def picture(dataset: Dataset) -> Html:
    """Draw response and undetectable disease of each cohort side by side."""
    rows = _cohorts_with_umrd(dataset)
    if rows.empty:
        return Html("<p>No cohort has a count of undetectable disease.</p>")
    groups: dict[str, list[Unpooled]] = {}
    for _, group in rows.groupby("cohort_id", sort=False):
        groups[str(group["label"].iloc[0])] = [
            Unpooled(NAMES[row.outcome], int(row.events), int(row.total), _gray(row))
            for row in group.itertuples(index=False)
        ]
    title = "Response and undetectable residual disease, cohort by cohort"
    return figure_block(
        side_by_side,
        groups,
        label="Cohort",
        alt=alt_side_by_side(groups, title),
        caption=f"{title}, with 95% Wilson intervals. The denominators within a cohort are not "
        "always the same patients. Gray: a count that is not in use. Some of the cohorts share "
        "patients; nothing is pooled here.",
        name="response-and-umrd",
        csv=tables.to_csv(
            rows[["label", "outcome", "events", "total", "status", "record_id"]].astype(
                {"events": "int64", "total": "int64"}
            )
        ),
    )


def nested_table(dataset: Dataset) -> Html:
    """Tabulate what the totals of each cohort leave open."""
    rows = [
        {
            "Cohort": f"{entry.label} ({entry.where})",
            "Patients": entry.total,
            "Complete": entry.complete,
            "Undetectable": entry.undetectable,
            "complete": _range(entry.with_both),
            "not complete": _range(entry.without_complete),
            "no response": _range(entry.without_response),
        }
        for entry in nested(dataset)
    ]
    if not rows:
        return Html("<p>No cohort counts both among the same number of patients.</p>")
    return tables.html_table(
        rows,
        "How many patients with undetectable disease can have had which response",
        id="nested",
        numeric=["complete", "not complete", "no response"],
        headers={
            "complete": "Both",
            "not complete": "Undetectable, not complete",
            "no response": "Undetectable, no response",
        },
        stack=True,
        note="From the two totals alone, where they have the same denominator, taken to be the "
        "same patients. A range is what the totals allow, not an interval of chance.",
    )


def methods(dataset: Dataset) -> Html:
    """Tabulate how each cohort looked for residual disease, and what it found."""
    found = figures_of(dataset, [*UMRD, "mrd_definition"])
    found = found.sort_values(["year", "label"], kind="stable")
    counted = found["events"].notna() & found["total"].notna()
    rows = [
        {
            "Cohort": str(row.label),
            "Where": PLACES.get(row.outcome, EN_DASH),
            "Method or threshold": _method(row),
            "Patients": _denominator(row),
            "Count": _count(row, known),
            "Use": _use(row),
            "Source": source(row),
        }
        for row, known in zip(found.itertuples(index=False), counted, strict=True)
    ]
    return tables.html_table(
        rows or [{"Cohort": "None"}],
        "Undetectable residual disease: method, patients and figure of each cohort",
        id="umrd-methods",
        row_header="Cohort",
        stack=True,
    )


def _cohorts_with_umrd(dataset: Dataset) -> pd.DataFrame:
    rows = figures_of(dataset, [*RESPONSE, *UMRD])
    rows = rows[rows["events"].notna() & rows["total"].notna() & (rows["total"] > 0)]
    rows = rows[rows["status"].isin(["used", "disputed", "context"])]
    # what is implied is no second count
    rows = rows.drop_duplicates(["cohort_id", "outcome", "events", "total"])
    with_umrd = set(rows.loc[rows["outcome"].isin(UMRD), "cohort_id"])
    rows = rows[rows["cohort_id"].isin(with_umrd)]
    place = {outcome: i for i, outcome in enumerate([*RESPONSE, *UMRD])}
    order = rows.assign(
        _year=rows["year"].fillna(9999), _place=[place[outcome] for outcome in rows["outcome"]]
    )
    return order.sort_values(["_year", "label", "_place"], kind="stable").drop(
        columns=["_year", "_place"]
    )


def _gray(row: Any) -> str:
    if row.status == "used":
        return ""
    about = f"{row.criteria}; " if isinstance(row.criteria, str) else ""
    return about + ("disputed" if row.status == "disputed" else "not in use")


def _use(row: Any) -> str:
    if row.outcome not in UMRD:
        return "definition"
    return {"used": "in use", "disputed": "disputed"}.get(row.status, "not in use")


def _count(row: Any, counted: bool) -> str:
    """Events and patients, or the percentage that is all there is."""
    if counted:
        return f"{int(row.events)}/{int(row.total)}"
    return f"{row.percent_printed}%" if isinstance(row.percent_printed, str) else EN_DASH


def _method(row: Any) -> str:
    """Assay or threshold as recorded; the definition itself where the row is one."""
    text = row.criteria if isinstance(row.criteria, str) else ""
    if row.outcome not in UMRD:
        text = row.value_text if isinstance(row.value_text, str) else ""
    return THRESHOLDS.get(text, text) or "not stated"


def _denominator(row: Any) -> str:
    return row.denominator if isinstance(row.denominator, str) else "not stated"


def _range(limits: tuple[int, int] | None) -> str:
    if limits is None:
        return EN_DASH
    low, high = limits
    return str(low) if low == high else f"{low}{EN_DASH}{high}"
