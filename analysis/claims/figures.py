"""Does one printed figure hold? The verdict on a figure of a review, from the other rows.

A figure is held first to arithmetic (can its count and denominator give its percentage?), then to
every other row of the extraction on the same cohort, outcome and time point: the trial's own
documents before reports on the trial, those before other reviews. A figure that no other document
gives is reproduced only if the review prints count and percentage and the two agree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from analysis.claims.verdict import (
    ARITHMETIC,
    CONTRADICTED,
    CORRECTED,
    IMPOSSIBLE,
    NOTHING,
    OWN,
    REPRODUCED,
    REVIEW,
    SAME_REVIEW,
    SECOND_HAND,
    UNDECIDED,
    Verdict,
)
from analysis.reconcile import possible_counts
from analysis.wording import count, listing, pct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.data import Dataset

__all__ = ["Figure", "figure", "level_of", "rows_of"]

# Documents that speak for a trial, and documents that quote it.
OWN_KINDS = {"trial paper", "abstract", "press release", "interview", "label"}
QUOTING_KINDS = {"news", "society page"}
# A review by trial authors speaks for the trials of their own center only.
AUTHORS_CENTER = {"geyer-brentjens-2016": "Memorial Sloan Kettering Cancer Center"}
# No document: a search, or a figure about others than the cohort.
LEFT_OUT = {"not-found", "excluded", "infeasible"}
# The first assessment of response: one row may name it (four weeks, three months), another not.
FIRST_ASSESSMENT = 3.0


@dataclass(frozen=True)
class Figure:
    """One row of the extraction, with plain Python values.

    Attributes
    ----------
    level : str
        `OWN`, `SECOND_HAND`, `REVIEW` or `SAME_REVIEW`: how near to the trial its document is,
        seen from the review that is checked; empty for the checked figure itself.
    origin : str
        ``derived`` where the document prints a percentage and the count was worked out from it,
        ``inferred`` where the denominator was.
    """

    record_id: str
    cohort: str
    report: str
    level: str
    status: str
    events: int | None
    total: int | None
    percent: str | None
    value: str | None
    unit: str
    text: str
    months: float | None
    criteria: str
    origin: str = ""

    def said(self, source: bool = True) -> str:
        """Write the figure with its source: ``8 of 14 (57.1%) in porter-2015``.

        A percentage whose count was worked out stands first: ``47% (41 of 87)``.
        """
        if self.value is not None:
            shown = f"{self.value} {self.unit}".strip()
        elif self.origin == "derived" and self.percent and self.events is not None and self.total:
            shown = f"{self.percent}% ({self.events} of {self.total})"
        elif self.events is not None and self.total is not None:
            shown = f"{self.events} of {self.total} ({pct(self.events / self.total, 1)})"
        elif self.percent is not None:
            shown = f"{self.percent}%" + (f" of {self.total}" if self.total else "")
        else:
            shown = self.text
        if self.criteria:
            shown += f", {self.criteria}" + ("," if source else "")
        return f"{shown} in {self.report}" if source else shown


def level_of(dataset: Dataset, report_id: str, cohort_id: str, claimant: str) -> str:
    """Tell how near a document is to the trial of a cohort.

    Parameters
    ----------
    dataset : Dataset
    report_id, cohort_id : str
        The document and the cohort.
    claimant : str
        Report id of the review whose claim is checked.

    Returns
    -------
    str
        `OWN`, `SECOND_HAND`, `REVIEW`, or `SAME_REVIEW` for the review itself.
    """
    if report_id == claimant:
        return SAME_REVIEW
    reports, cohorts = dataset.reports, dataset.cohorts
    kind = reports.loc[reports["report_id"] == report_id, "kind"].iloc[0]
    if kind in OWN_KINDS:
        return OWN
    if kind in QUOTING_KINDS:
        return SECOND_HAND
    if report_id in AUTHORS_CENTER:
        center = cohorts.loc[cohorts["cohort_id"] == cohort_id, "center"].iloc[0]
        return OWN if center == AUTHORS_CENTER[report_id] else REVIEW
    return REVIEW


def rows_of(
    dataset: Dataset, cohorts: Sequence[str], outcome: str, claimant: str = ""
) -> list[Figure]:
    """List the rows on one outcome of one or more cohorts that hold a figure.

    Rows of low confidence are left out, except those of the claimant. An overall response that a
    document gives only as complete and partial responses is added up.

    Raises
    ------
    ValueError
        If a cohort or the outcome is not in the data.
    """
    known = set(dataset.cohorts["cohort_id"])
    for cohort in cohorts:
        if cohort not in known:
            raise ValueError(f"there is no cohort {cohort!r}")
    if outcome not in set(dataset.outcomes["outcome_id"]):
        raise ValueError(f"there is no outcome {outcome!r}")
    table = dataset.extraction
    about = table["cohort_id"].isin(cohorts) & ~table["status"].isin(LEFT_OUT)
    about &= table["outcome"].isin([outcome, "cr", "pr"] if outcome == "orr" else [outcome])
    low = table["confidence"].eq("low").fillna(False) & table["report_id"].ne(claimant)
    table = table[about & ~low]
    found = [
        _figure(dataset, row, claimant)
        for row in table[table["outcome"] == outcome].itertuples(index=False)
    ]
    if outcome == "orr":
        found += _added_up(dataset, table, {(f.cohort, f.report) for f in found}, claimant)
    return found


def _added_up(
    dataset: Dataset, table: Any, given: set[tuple[str, str]], claimant: str
) -> list[Figure]:
    """Overall responses of documents that print complete and partial responses as counts."""
    parts: dict[tuple[str, str], dict[str, Figure]] = {}
    for row in table[table["outcome"].isin(["cr", "pr"])].itertuples(index=False):
        if row.status in ("used", "superseded"):
            part = _figure(dataset, row, claimant)
            parts.setdefault((part.cohort, part.report), {})[str(row.outcome)] = part
    sums = []
    for key, pair in parts.items():
        if key in given or len(pair) < 2 or key[1] == claimant:
            continue
        cr, pr = pair["cr"], pair["pr"]
        if cr.events is None or pr.events is None or cr.total != pr.total:
            continue
        sums.append(
            Figure(
                cr.record_id,
                cr.cohort,
                cr.report,
                cr.level,
                "used",
                cr.events + pr.events,
                cr.total,
                None,
                None,
                "",
                "",
                cr.months,
                cr.criteria,
            )
        )
    return sums


def _figure(dataset: Dataset, row: Any, claimant: str) -> Figure:
    value = _present(row.value)
    return Figure(
        record_id=str(row.record_id),
        cohort=str(row.cohort_id),
        report=str(row.report_id),
        level=level_of(dataset, str(row.report_id), str(row.cohort_id), claimant),
        status=str(row.status),
        events=None if _present(row.events) is None else int(row.events),
        total=None if _present(row.total) is None else int(row.total),
        percent=_present(row.percent_printed),
        value=None if value is None else f"{float(value):g}",
        unit=_present(row.unit) or "",
        text=_present(row.value_text) or "",
        months=None if _present(row.timepoint_months) is None else float(row.timepoint_months),
        criteria=_present(row.criteria) or "",
        origin=str(row.origin),
    )


def _present(value: Any) -> str | None:
    if value is None or type(value).__name__ == "NAType" or value != value:
        return None
    return str(value)


# --------------------------------------------------------------------------- agreement

SAME, OTHER_TOTAL, CUT, DIFFERS = "same", "other total", "cut", "differs"


def _shortened(events: int, total: int, percent: str) -> str | None:
    """Tell whether a count gives a printed percentage: rounded, cut, or not at all."""
    if events in possible_counts(percent, total):
        return SAME
    return CUT if events in possible_counts(percent, total, "truncated") else None


def _agree(one: str, other: str) -> bool:
    """Compare two printed numbers at the coarser of their precisions."""
    a, b = Decimal(one), Decimal(other)
    exponent = max(int(a.as_tuple().exponent), int(b.as_tuple().exponent))
    step = Decimal(1).scaleb(exponent)
    return a.quantize(step, "ROUND_HALF_UP") == b.quantize(step, "ROUND_HALF_UP")


def _match(claim: Figure, row: Figure) -> str | None:
    """Compare a claim with a row; None where they have no quantity in common."""
    if claim.value is not None:
        if row.value is None:
            return None
        return SAME if _agree(claim.value, row.value) else DIFFERS
    if (
        claim.percent is not None
        and claim.events is not None
        and row.origin == "derived"
        and row.percent
    ):
        return SAME if _agree(claim.percent, row.percent) else DIFFERS
    if claim.percent is not None and row.events is not None and row.total is not None:
        fits = _shortened(row.events, row.total, claim.percent)
        if fits is None or claim.events not in (None, row.events):
            return DIFFERS
        return OTHER_TOTAL if claim.total not in (None, row.total) else fits
    if claim.percent is not None:
        if row.percent is None:
            return None
        return SAME if _agree(claim.percent, row.percent) else DIFFERS
    if claim.events is not None:
        if row.events is not None:
            if claim.events != row.events:
                return DIFFERS
            return SAME if claim.total in (None, row.total) or row.total is None else OTHER_TOTAL
        if row.percent is not None and claim.total is not None:
            return SAME if _shortened(claim.events, claim.total, row.percent) else DIFFERS
        return None
    return SAME if claim.text and claim.text == row.text else None


def _same_time(a: float | None, b: float | None) -> bool:
    if a is not None and b is not None:
        return a == b
    given = a if a is not None else b
    return given is None or given <= FIRST_ASSESSMENT


# --------------------------------------------------------------------------- the check


def figure(
    dataset: Dataset,
    report: str,
    *,
    cohort: str,
    outcome: str,
    events: int | None = None,
    total: int | None = None,
    percent: str | None = None,
    value: str | None = None,
    text: str | None = None,
    months: float | None = None,
    among: str | None = None,
    also: tuple[str, ...] = (),
) -> Verdict:
    """Check one printed figure against arithmetic and every other document.

    Parameters
    ----------
    dataset : Dataset
    report : str
        Report id of the review that makes the claim.
    cohort, outcome : str
        Whom and what the figure is about.
    events, total : int, optional
        Count and denominator as printed, or the denominator of the table row or paragraph.
    percent, value : str, optional
        Percentage or value of a measure with its printed decimals.
    text : str, optional
        What the source prints instead of a number, as in the column ``value_text``.
    months : float, optional
        Time point of a rate, in months.
    among : str, optional
        Subgroup, as in the column ``value_text``; only rows on it are compared.
    also : tuple of str
        Further cohorts of the same trial whose rows are compared.

    Raises
    ------
    ValueError
        If the cohort or the outcome is not in the data, or no figure is given.
    """
    if events is None and percent is None and value is None and text is None:
        raise ValueError("a figure needs events, percent, value or text")
    rows = rows_of(dataset, (cohort, *also), outcome, report)
    survival = outcome in ("pfs", "os", "dor")
    rows = [
        row
        for row in rows
        if (row.months == months if survival and row.level != SAME_REVIEW else True)
        and (among is None or row.text == among)
    ]
    claim = Figure(
        "", cohort, report, "", "", events, total, percent, value, "", text or "", months, ""
    )
    own, mates = _own(claim, [row for row in rows if row.level == SAME_REVIEW])
    infeasible = _infeasible_row(dataset, claim, outcome)
    records = tuple(row.record_id for row in own) or infeasible
    criteria = next((row.criteria for row in own if row.criteria), "")
    others = [row for row in rows if row.level != SAME_REVIEW and _same_time(months, row.months)]

    for level in (OWN, SECOND_HAND):
        verdict = _held_to(claim, [r for r in others if r.level == level], others, criteria, level)
        if verdict is not None:
            return _with(verdict, records)
    reviews = [row for row in others if row.level == REVIEW]
    verdict = _held_to(claim, reviews, others, criteria, REVIEW)
    wrong = _arithmetic(dataset, claim)
    if wrong is not None and (verdict is None or verdict.verdict != CORRECTED):
        verdict = wrong
    if verdict is not None:
        return _with(verdict, records)
    return _with(_alone(dataset, claim, mates), records)


def _with(verdict: Verdict, records: tuple[str, ...]) -> Verdict:
    found = dict.fromkeys((*records, *verdict.records))
    return Verdict(verdict.verdict, verdict.number, verdict.basis, tuple(found))


def _own(claim: Figure, rows: list[Figure]) -> tuple[list[Figure], list[Figure]]:
    """Split the rows of the review itself into the claim's own and the others."""
    own: list[Figure] = []
    others: list[Figure] = []
    for row in rows:
        mine = _match(claim, row) in (SAME, CUT) and row.months == claim.months
        if mine and claim.total is not None and row.total is not None:
            mine = claim.total == row.total
        if row.origin == "inferred" and row.percent is not None and row.months == claim.months:
            # the review prints the percentage; the denominator on record is not from its text
            mine = claim.percent is not None and _agree(claim.percent, row.percent)
        (own if mine else others).append(row)
    return own, others


def _infeasible_row(dataset: Dataset, claim: Figure, outcome: str) -> tuple[str, ...]:
    """The row that records a figure marked as infeasible, so that a reader finds it."""
    table = dataset.extraction
    found = table[
        (table["cohort_id"] == claim.cohort)
        & (table["outcome"] == outcome)
        & (table["report_id"] == claim.report)
        & (table["status"] == "infeasible")
        & (table["percent_printed"] == (claim.percent or ""))
    ]
    return tuple(str(name) for name in found["record_id"])


def _held_to(
    claim: Figure, rows: list[Figure], others: list[Figure], criteria: str, level: str
) -> Verdict | None:
    """Hold the claim to the rows of one level; None where they do not decide."""
    matched = [(row, _match(claim, row)) for row in rows]
    for wanted, verdict in ((SAME, REPRODUCED), (OTHER_TOTAL, CORRECTED), (CUT, CORRECTED)):
        hits = [row for row, result in matched if result == wanted]
        if hits:
            number = _why(claim, hits[0], wanted) + listing(_said(claim, row) for row in hits[:2])
            return Verdict(verdict, number, level, tuple(row.record_id for row in hits))
    # an outdated figure of the trial and one on a part of the patients contradict nothing
    weak = {"context"} if level == REVIEW else {"context", "superseded"}
    against = [r for r, result in matched if result == DIFFERS and r.status not in weak]
    if not against:
        return None
    records = tuple(row.record_id for row in against)
    said = listing(row.said() for row in against[:3])
    backing = [
        row
        for row in others
        if _match(claim, row) in (SAME, OTHER_TOTAL)
        and row.criteria
        and row.criteria != against[0].criteria
    ]
    if backing and all(row.criteria for row in against):
        number = f"only with another method: {backing[0].said()}; {said}"
        return Verdict(CORRECTED, number, level, (*records, backing[0].record_id))
    if criteria and all(row.criteria not in ("", criteria) for row in against):
        return None
    if level == REVIEW:
        return Verdict(UNDECIDED, f"the reviews disagree: {said}", REVIEW, records)
    return Verdict(CONTRADICTED, said, level, records)


def _said(claim: Figure, row: Figure) -> str:
    """Write a row without the count that was worked out for it, where the claim has another."""
    if claim.events is not None and row.origin == "derived" and row.events != claim.events:
        row = replace(row, events=None, total=None)
    return row.said()


def _why(claim: Figure, row: Figure, matched: str) -> str:
    """Say what has to be corrected before a row gives the claim."""
    cut = (
        claim.percent is not None
        and row.events is not None
        and row.total is not None
        and _shortened(row.events, row.total, claim.percent) == CUT
    )
    parts = [f"not of {claim.total}"] if matched == OTHER_TOTAL else []
    parts += ["cut, not rounded"] if cut else []
    return f"{listing(parts)}: " if parts else ""


def _arithmetic(dataset: Dataset, claim: Figure) -> Verdict | None:
    """Judge a percentage that its own denominator cannot give; None where it can."""
    if claim.percent is None or claim.total is None:
        return None
    if claim.events is not None:
        fits = _shortened(claim.events, claim.total, claim.percent)
    else:
        fits = SAME if possible_counts(claim.percent, claim.total) else None
    if fits == SAME:
        return None
    printed = f"{claim.percent}%"
    if claim.events is not None:
        share = pct(claim.events / claim.total, 1)
        no = f"{claim.events} of {claim.total} is {share}, not {printed}"
    else:
        no = f"no count of {claim.total} is {printed}"
    found = _other_totals(dataset, claim)
    if found:
        return Verdict(CORRECTED, f"{no}; {' or '.join(found)}", ARITHMETIC)
    fitting = [n for n in range(2, claim.total) if possible_counts(claim.percent, n)]
    if fitting:
        no += f"; the largest smaller denominator that gives it is {fitting[-1]}"
    return Verdict(IMPOSSIBLE, no, ARITHMETIC)


def _other_totals(dataset: Dataset, claim: Figure) -> list[str]:
    """Counts out of another size of the cohort that give the percentage."""
    found = []
    for total in _sizes(dataset, claim.cohort):
        counts = possible_counts(str(claim.percent), total)
        if counts and claim.events in (None, *counts):
            counts = counts if claim.events is None else (claim.events,)
            found.append(f"{_either(counts)} of {total} is")
    return found


def _sizes(dataset: Dataset, cohort: str) -> list[int]:
    """Numbers evaluable and infused of a cohort."""
    row = dataset.cohorts.set_index("cohort_id").loc[cohort]
    sizes = [row[name] for name in ("n_evaluable", "n_infused")]
    return list(dict.fromkeys(int(n) for n in sizes if _present(n) is not None))


def _alone(dataset: Dataset, claim: Figure, mates: list[Figure]) -> Verdict:
    """Judge a figure that no other document gives."""
    mates = [row for row in mates if row.status != "context"]
    for row in mates:
        if _same_time(claim.months, row.months) and _match(claim, row) == OTHER_TOTAL:
            number = f"not of {claim.total}: {row.said(source=False)} in the same review"
            return Verdict(CORRECTED, number, SAME_REVIEW, (row.record_id,))
    against = [row for row in mates if _match(claim, row) == DIFFERS or row.months != claim.months]
    if against:
        said = listing(_at(row) for row in against[:2])
        return Verdict(
            UNDECIDED,
            f"the same review also prints {said}",
            SAME_REVIEW,
            tuple(row.record_id for row in against),
        )
    if claim.events is not None and claim.total is not None and claim.percent is not None:
        number = f"{claim.events} of {claim.total} is {claim.percent}%; no other source"
        return Verdict(REPRODUCED, number, ARITHMETIC)
    if claim.percent is not None and claim.total is not None:
        counts = possible_counts(claim.percent, claim.total)
        number = f"{_either(counts)} of {claim.total} would give {claim.percent}%; no other source"
        sizes = _sizes(dataset, claim.cohort)
        if claim.total not in sizes and not any(possible_counts(claim.percent, n) for n in sizes):
            number += f"; no count of the cohort's {' or '.join(map(str, sizes))} does"
        return Verdict(UNDECIDED, number, NOTHING)
    return Verdict(UNDECIDED, "no other source gives the figure", NOTHING)


def _at(row: Figure) -> str:
    said = row.said(source=False)
    return said if row.months is None else f"{said} at {count(int(row.months), 'month')}"


def _either(counts: Sequence[int]) -> str:
    return " or ".join(str(n) for n in counts)
