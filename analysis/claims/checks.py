"""Checks of single statements: sums, denominators, tables, amounts in words."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from analysis.claims.figures import Figure, rows_of
from analysis.claims.rows import cohort_names, outcome_label, share, used, wilson_limits
from analysis.claims.verdict import (
    ARITHMETIC,
    COMPARISON,
    CONTRADICTED,
    CORRECTED,
    IMPOSSIBLE,
    NOTHING,
    OWN,
    REPRODUCED,
    REVIEW,
    SAME_REVIEW,
    SECOND_HAND,
    TABLES,
    UNDECIDED,
    Verdict,
)
from analysis.estimands import estimand, evidence, pooled
from analysis.reconcile import possible_counts
from analysis.wording import ci, count, listing, pct

if TYPE_CHECKING:
    import pandas as pd

    from analysis.data import Dataset


# --------------------------------------------------------------------------- arithmetic


def sums_to(
    dataset: Dataset, report: str, *, parts: tuple[int, ...], whole: int, cohort: str, outcome: str
) -> Verdict:
    """Do the printed parts add up to the whole, and is the whole the number on record?

    Parameters
    ----------
    parts : tuple of int
        Counts of parts that exclude each other.
    whole : int
        Their printed or implied total.
    cohort, outcome : str
        Where the total is on record: the value, or the count of patients with the outcome.
    """
    said = f"{' + '.join(map(str, parts))} = {sum(parts)}"
    if sum(parts) != whole:
        return Verdict(IMPOSSIBLE, f"{said}, not {whole}", ARITHMETIC)
    rows = [row for row in rows_of(dataset, (cohort,), outcome, report) if row.status != "context"]
    recorded = [
        (row, row.events if row.events is not None and row.value is None else row.value)
        for row in rows
    ]
    held = [(row, float(n)) for row, n in recorded if n is not None]
    for level in (OWN, SECOND_HAND, REVIEW, SAME_REVIEW):
        near = [(row, n) for row, n in held if row.level == level]
        agreeing = [row for row, n in near if n == whole]
        if agreeing:
            first = agreeing[0]
            return Verdict(REPRODUCED, f"{said}; {first.said()}", first.level, (first.record_id,))
        if near and level == OWN:
            row = near[0][0]
            return Verdict(CONTRADICTED, f"{said}, but {row.said()}", OWN, (row.record_id,))
    return Verdict(REPRODUCED, said, ARITHMETIC)


def rate_from_parts(
    dataset: Dataset,
    report: str,
    *,
    cohort: str,
    outcome: str,
    parts: tuple[int, ...],
    total: int,
    percent: str,
) -> Verdict:
    """Is the printed rate the sum of its printed parts out of one denominator?

    Parameters
    ----------
    cohort, outcome : str
        Whose rate it is.
    parts : tuple of int
        Counts of parts, for example complete and partial responses.
    total : int
        Denominator of the parts.
    percent : str
        The printed rate.
    """
    n = sum(parts)
    said = f"{' + '.join(map(str, parts))} of {total} is {pct(n / total, 1)}"
    if n in possible_counts(percent, total):
        return Verdict(REPRODUCED, said, ARITHMETIC)
    for row in rows_of(dataset, (cohort,), outcome, report):
        if row.events is None or row.total is None or row.total == total:
            continue
        if row.events in possible_counts(percent, row.total):
            text = f"{said}, not {percent}%; another denominator: {row.said()}"
            return Verdict(CORRECTED, text, row.level, (row.record_id,))
    return Verdict(IMPOSSIBLE, f"{said}, not {percent}%", ARITHMETIC)


def one_denominator(
    dataset: Dataset, report: str, *, cohort: str, percents: tuple[str, ...], total: int
) -> Verdict:
    """Can all printed percentages be shares of one printed number of patients?

    Parameters
    ----------
    cohort : str
        Whose percentages they are; its numbers of patients are tried as the true denominator.
    percents : tuple of str
        Percentages as printed.
    total : int
        The number of patients as printed.
    """
    unfit = [p for p in percents if not possible_counts(p, total)]
    if not unfit:
        text = f"each of the {len(percents)} percentages is possible out of {total}"
        return Verdict(REPRODUCED, text, ARITHMETIC)
    said = f"{len(unfit)} of {len(percents)} percentages are impossible out of {total}"
    fitting = [n for n in range(2, 2 * total) if all(possible_counts(p, n) for p in percents)]
    row = dataset.cohorts.set_index("cohort_id").loc[_known(dataset, cohort)]
    sizes = [row[name] for name in ("n_infused", "n_evaluable", "n_enrolled")]
    true = [int(n) for n in sizes if n == n and n is not None and _is_number(n) and n in fitting]
    if true:
        text = f"{said}; out of {true[0]} all {len(percents)} are possible"
        return Verdict(CORRECTED, text, TABLES)
    return Verdict(IMPOSSIBLE, said, ARITHMETIC)


def _is_number(value: Any) -> bool:
    return type(value).__name__ != "NAType"


def _known(dataset: Dataset, cohort: str) -> str:
    if cohort not in set(dataset.cohorts["cohort_id"]):
        raise ValueError(f"there is no cohort {cohort!r}")
    return cohort


# --------------------------------------------------------------------------- which patients


def describes(dataset: Dataset, report: str, *, cohort: str, figures: tuple[str, ...]) -> Verdict:
    """Do the figures of a table row or paragraph describe the cohort it names?

    Parameters
    ----------
    cohort : str
        The cohort that the source names.
    figures : tuple of str
        ``outcome:number`` each; the number is a percentage, or for ``n_infused`` a count.
    """
    cohorts = dataset.cohorts.set_index("cohort_id")
    trial = cohorts["trial_id"][_known(dataset, cohort)]
    names = cohort_names(dataset)
    hits: dict[str, list[Figure]] = {
        str(name): [] for name in cohorts.index[cohorts["trial_id"] == trial]
    }
    for text in figures:
        outcome, colon, printed = text.partition(":")
        if not colon:
            raise ValueError(f"the figure {text!r} is not of the form outcome:number")
        for name, found in hits.items():
            found += [
                row
                for row in rows_of(dataset, (name,), outcome, report)
                if row.status == "used" and _gives(row, printed)
            ][:1]
    mine = hits[cohort]
    best = max(hits, key=lambda name: len(hits[name]))
    said = f"{len(mine)} of the {len(figures)} figures are those of {names[cohort]}"
    if len(mine) == len(figures):
        return Verdict(REPRODUCED, said, TABLES, tuple(row.record_id for row in mine))
    if len(hits[best]) <= len(mine):
        return Verdict(UNDECIDED, said, TABLES, tuple(row.record_id for row in mine))
    rows = hits[best]
    said += f", {len(rows)} those of {names[best]}"
    level = OWN if any(row.level == OWN for row in rows) else rows[0].level
    verdict = CONTRADICTED if level in (OWN, SECOND_HAND) else UNDECIDED
    return Verdict(verdict, said, level, tuple(row.record_id for row in rows))


def _gives(row: Figure, printed: str) -> bool:
    if row.value is not None and row.percent is None:
        return float(row.value) == float(printed)
    return (
        row.events is not None
        and row.total is not None
        and row.events in possible_counts(printed, row.total)
    )


def counted_in_cohort(
    dataset: Dataset, report: str, *, cohort: str, outcome: str, events: int, total: int
) -> Verdict:
    """Is a count a count of the cohort's patients, or of a larger group?

    Parameters
    ----------
    cohort, outcome : str
        Whom the source presents the count for, and what was counted.
    events, total : int
        Count and denominator as printed.
    """
    outcome_label(dataset, outcome)
    row = dataset.cohorts.set_index("cohort_id").loc[_known(dataset, cohort)]
    infused = row["n_infused"]
    if not _is_number(infused):
        return Verdict(UNDECIDED, "the size of the cohort is not on record", NOTHING)
    size = int(infused)
    if total <= size:
        return Verdict(REPRODUCED, f"{total} of the cohort's {size} patients", TABLES)
    said = f"{events} of {total}, but the cohort has {count(size, 'patient')}"
    whole = dataset.extraction
    whole = whole[
        (whole["cohort_id"] == cohort)
        & (whole["outcome"] == "n_infused")
        & (whole["status"] == "excluded")
        & (whole["value"] == total)
    ]
    kinds = dataset.reports.set_index("report_id")["kind"]
    for name, source in zip(whole["record_id"], whole["report_id"], strict=True):
        if kinds[source] == "trial paper":
            text = f"{said}; {total} are all diseases of the trial ({source})"
            return Verdict(CONTRADICTED, text, OWN, (str(name),))
    return Verdict(IMPOSSIBLE, said, TABLES)


def overlaps_among(dataset: Dataset, report: str, *, cohorts: tuple[str, ...]) -> Verdict:
    """Do all of these cohorts share patients with each other?"""
    for cohort in cohorts:
        _known(dataset, cohort)
    table = dataset.overlaps
    pairs = {
        frozenset((a, b)): kind
        for a, b, kind in zip(table["cohort_a"], table["cohort_b"], table["kind"], strict=True)
    }
    wanted = [frozenset((a, b)) for i, a in enumerate(cohorts) for b in cohorts[i + 1 :]]
    found = [pairs[pair] for pair in wanted if pair in pairs]
    said = f"{len(found)} of {len(wanted)} pairs are recorded as sharing patients"
    trials = dataset.cohorts.set_index("cohort_id")["trial_id"]
    names = {str(trials[cohort]) for cohort in cohorts}
    if len(found) == len(wanted):
        return Verdict(REPRODUCED, f"{said}; trial {listing(sorted(names))}", TABLES)
    return Verdict(UNDECIDED, said, TABLES)


# --------------------------------------------------------------------------- tables of a review


def _table_rows(dataset: Dataset, report: str, table: str, outcome: str) -> pd.DataFrame:
    """Rows that the extraction has of one outcome in one table of a review."""
    rows = dataset.extraction
    rows = rows[
        (rows["report_id"] == report)
        & (rows["outcome"] == outcome)
        & rows["locator"].str.startswith(f"{table}, row ")
    ]
    if rows.empty:
        raise ValueError(f"the extraction has no {outcome} in {table} of {report}")
    return rows


def rows_below(dataset: Dataset, report: str, *, table: str, outcome: str, limit: int) -> Verdict:
    """Does every row of a table of the review have a number below the limit?"""
    rows = _table_rows(dataset, report, table, outcome)
    values = {str(r.record_id): float(r.value) for r in rows.itertuples() if r.value == r.value}
    over = [name for name, value in values.items() if value >= limit]
    top = max(values.values())
    said = f"{len(values)} rows, the largest {top:g}"
    if over:
        return Verdict(IMPOSSIBLE, f"{said}; {len(over)} not below {limit}", TABLES, tuple(over))
    return Verdict(REPRODUCED, said, TABLES, tuple(values))


def rows_have(
    dataset: Dataset, report: str, *, table: str, outcome: str, column: str, value: str
) -> Verdict:
    """Does every cohort in a table of the review have the property that its heading says?

    Parameters
    ----------
    table, outcome : str
        The table, and an outcome that each of its rows has.
    column, value : str
        Column of ``cohorts.csv`` and the value that the heading implies.
    """
    rows = _table_rows(dataset, report, table, outcome)
    cohorts = dataset.cohorts.set_index("cohort_id")
    if column not in cohorts.columns:
        raise ValueError(f"cohorts.csv has no column {column!r}")
    names = cohort_names(dataset)
    mine = [str(name) for name in rows["cohort_id"]]
    odd = [name for name in mine if cohorts[column][name] != value]
    said = f"{len(mine) - len(odd)} of {len(mine)} rows"
    if not odd:
        return Verdict(REPRODUCED, said, TABLES)
    exceptions = listing(f"{names[name]}: {cohorts[column][name]}" for name in odd)
    kinds = dataset.reports.set_index("report_id")["kind"]
    known = [name for name in odd if kinds[cohorts["report_id"][name]] == "trial paper"]
    records = tuple(str(n) for n in rows.loc[rows["cohort_id"].isin(odd), "record_id"])
    verdict = CONTRADICTED if known else UNDECIDED
    return Verdict(verdict, f"{said}; {exceptions}", OWN if known else TABLES, records)


def trials_listed(
    dataset: Dataset, report: str, *, trials: int, status: str, phase: str | None = None
) -> Verdict:
    """Does the review's table list so many trials, all with the status that its heading says?"""
    rows = dataset.pipeline[dataset.pipeline["report_id"] == report]
    if phase is not None:
        rows = rows[rows["phase"] == phase]
    with_status = int((rows["status"] == status).sum())
    said = f"{count(len(rows), 'trial')}, {with_status} {status.lower()}"
    other = sorted(set(rows["status"]) - {status})
    if other:
        said += f", {listing(name.lower() for name in other)} for the rest"
    if len(rows) != trials:
        return Verdict(IMPOSSIBLE, f"{said}, not {trials} trials", TABLES)
    if with_status == trials:
        return Verdict(REPRODUCED, said, TABLES)
    return Verdict(CORRECTED, said, SAME_REVIEW)


def fewer_patients(
    dataset: Dataset, report: str, *, cohorts: tuple[str, ...], others: tuple[int, ...]
) -> Verdict:
    """Were fewer patients infused in these cohorts than in the other disease's trials?

    Parameters
    ----------
    cohorts : tuple of str
        Cohorts with CLL that the review tabulates.
    others : tuple of int
        Patients infused in the trials of the other disease, as the review prints them.
    """
    sizes = dataset.cohorts.set_index("cohort_id")["n_infused"]
    mine = sum(int(sizes[_known(dataset, cohort)]) for cohort in cohorts)
    theirs = sum(others)
    said = (
        f"{mine} patients in {count(len(cohorts), 'CLL cohort')}, "
        f"{theirs} in {count(len(others), 'other cohort')}"
    )
    return Verdict(REPRODUCED if mine < theirs else IMPOSSIBLE, said, TABLES)


def products_studied(dataset: Dataset, report: str, *, products: tuple[str, ...]) -> Verdict:
    """Is each product the product of a CLL cohort on record?"""
    cohorts = dataset.cohorts[dataset.cohorts["disease"] == "CLL"]
    names = cohorts["product"].fillna("").str.lower()
    found = {
        product: list(cohorts["label"][names.str.contains(product.lower(), regex=False)])
        for product in products
    }
    said = "; ".join(
        f"{product}: {where[0] if where else 'no CLL cohort'}" for product, where in found.items()
    )
    return Verdict(REPRODUCED if all(found.values()) else UNDECIDED, said, TABLES)


def doses(
    dataset: Dataset,
    report: str,
    *,
    cohort: str,
    levels: tuple[float, ...],
    also: tuple[str, ...] = (),
) -> Verdict:
    """Are these the dose levels of the trial?

    Parameters
    ----------
    cohort : str
    levels : tuple of float
        Cells, or cells per kilogram, as printed.
    also : tuple of str
        Further cohorts of the same trial.
    """
    rows = [
        row
        for outcome in ("dose", "dose_level_n")
        for row in rows_of(dataset, (cohort, *also), outcome, report)
        if row.text
    ]
    for level in (OWN, SECOND_HAND, REVIEW):
        near = [row for row in rows if row.level == level]
        if near:
            read = sorted({dose for row in near for dose in _doses(row.text)})
            records = tuple(row.record_id for row in near)
            said = f"{listing(map(_dose, read))} in {near[0].report}"
            if read == sorted(levels):
                return Verdict(REPRODUCED, said, level, records)
            return Verdict(CONTRADICTED if level != REVIEW else UNDECIDED, said, level, records)
    read = sorted({dose for row in rows for dose in _doses(row.text)})
    said = "no other source gives the doses"
    if read != sorted(levels):
        said += f"; the data read them as {listing(map(_dose, read))}"
    return Verdict(UNDECIDED, said, NOTHING, tuple(row.record_id for row in rows))


def _dose(value: float) -> str:
    """Write a number of cells as ``2 × 10⁵``."""
    power = math.floor(math.log10(value))
    digits = str(power).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{value / 10**power:g} × 10{digits}"


def _doses(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"[0-9]+(?:\.[0-9]+)?e[0-9]+", text)]


# --------------------------------------------------------------------------- amounts in words


def majority(dataset: Dataset, report: str, *, cohort: str, outcome: str) -> Verdict:
    """Did more than half of the cohort's patients have the outcome?"""
    row = used(dataset, report, cohort, outcome)
    if row is None:
        return Verdict(UNDECIDED, "no count is on record", NOTHING)
    events, total = share(row)
    low, high = wilson_limits(events, total)
    said = f"{row.said()}; interval {ci(low, high)}"
    if 2 * events > total:
        return Verdict(REPRODUCED, said, row.level, (row.record_id,))
    verdict = CONTRADICTED if row.level in (OWN, SECOND_HAND) else UNDECIDED
    return Verdict(verdict, said, row.level, (row.record_id,))


def rates_across(dataset: Dataset, report: str, *, outcome: str, population: str) -> Verdict:
    """Collect the rates behind a word such as "high", for which no limit is given."""
    found = evidence(dataset, estimand(f"{outcome.replace('_', '-')}-{population}"))
    rates = [
        f"{row.label} {pct(row.events / row.total)}" for row in found.rows.itertuples(index=False)
    ]
    fit = pooled(found)
    said = f"no limit is given; {listing(rates)}" if rates else "no trial reports it"
    if fit is not None and fit.pi_low is not None:
        said += f"; a new trial may have {ci(fit.pi_low, fit.pi_high, words=True)}"
    return Verdict(UNDECIDED, said, COMPARISON, tuple(map(str, found.rows["record_id"])))


def median_reached(
    dataset: Dataset, report: str, *, cohort: str, outcome: str, value: str
) -> Verdict:
    """Can a median time be estimated from so few events?

    Parameters
    ----------
    cohort, outcome : str
        The event that ends the time, for example relapse among complete responders.
    value : str
        The printed median, in months.

    Notes
    -----
    A median survival time exists only if half of the patients are estimated to have had the
    event. With fewer events the printed number can at most be a median of observed times.
    """
    row = used(dataset, report, cohort, outcome)
    if row is None:
        return Verdict(UNDECIDED, "no count of events is on record", NOTHING)
    events, total = share(row)
    said = f"{count(events, 'event')} among {total} patients"
    if events == 0:
        text = f"{said}: a median time to the event is not reached; {value} can be observed time"
        return Verdict(UNDECIDED, text, row.level, (row.record_id,))
    return Verdict(UNDECIDED, f"{said}: the median may be reached", row.level, (row.record_id,))


def no_figure(dataset: Dataset, report: str, *, words: tuple[str, ...]) -> Verdict:
    """Look for any outcome on record that could decide the claim.

    Parameters
    ----------
    words : tuple of str
        Words that the label of a fitting outcome would contain.
    """
    names = dataset.outcomes.set_index("outcome_id")["label"].str.lower()
    pattern = "|".join(rf"\b{re.escape(word.lower())}\b" for word in words)
    fitting = list(names.index[names.str.contains(pattern)])
    rows = dataset.extraction[
        dataset.extraction["outcome"].isin(fitting) & (dataset.extraction["status"] == "used")
    ]
    if rows.empty:
        return Verdict(UNDECIDED, f"no figure on {listing(words)} is on record", NOTHING)
    said = f"{count(len(rows), 'figure')} on {listing(words)} on record, none by group"
    return Verdict(UNDECIDED, said, TABLES, tuple(map(str, rows["record_id"])))
