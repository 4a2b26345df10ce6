"""Can a published pooled proportion be what it says, and can it be had from our data?

A pooled percentage is printed with an interval, sometimes with the number of studies and patients,
Q, I² and p. These are functions of each other, so they can be held to each other without the data:
the estimate to its interval (:mod:`analysis.geometry`), I² = (Q - df)/Q, p to the chi-square
distribution with df = k - 1, a percentage to its count, parts to their whole, one figure to the
same figure printed elsewhere. And they can be held to our data (:mod:`analysis.candidates`).

A check is *arithmetic* where only the printed numbers and definitions are used, and an
*inference* where it also assumes how the authors worked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from analysis.candidates import (
    SEARCH_MODELS,
    Candidate,
    Reproduction,
    candidate_parts,
    reproduce,
)
from analysis.geometry import (
    SCALE_NAMES,
    SCALES,
    SURVIVAL_SCALES,
    Geometry,
    Printed,
    bounds,
    encloses,
    geometry,
    repairs,
    split_for_se,
)
from analysis.wording import count, listing, number, pct

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = [
    "VERDICTS",
    "Check",
    "Examined",
    "check_heterogeneity",
    "check_sum",
    "common_scales",
    "examine",
]

Status = Literal["holds", "fails", "open"]
SEARCH = "our cohorts"

#: What can be said of a published pool.
VERDICTS = {
    "consistent": "what is printed agrees with itself, as far as it can be checked",
    "open": "one of the checks can hold or not, depending on what is not printed",
    "doubtful": "what is printed contradicts an assumption on how it was made (an inference)",
    "inconsistent": "two printed numbers contradict each other (arithmetic)",
    "nothing to check": "a bare percentage, or no figure in the copy read",
}


@dataclass(frozen=True)
class Check:
    """One question put to a published pool.

    Attributes
    ----------
    name : str
        What is checked.
    status : {"holds", "fails", "open"}
        "open" where the printed numbers do not decide.
    text : str
        The answer with its numbers, one or two sentences.
    inference : bool
        Whether the answer assumes how the authors worked.
    """

    name: str
    status: Status
    text: str
    inference: bool = False


def check_heterogeneity(
    k: int | None, q: float | None, i2: str | None, q_p: str | None
) -> list[Check]:
    """Hold Q, I² and p to each other.

    Parameters
    ----------
    k : int or None
        Number of studies.
    q : float or None
        Cochran's Q as printed.
    i2 : str or None
        I² in percent as printed, with ``<`` or ``>`` where a bound is printed.
    q_p : str or None
        p of Q as printed, likewise.

    Returns
    -------
    list of Check
        One for I² and one for p, where k allows it; empty if there is nothing to hold.
    """
    from scipy.stats import chi2

    if k is None or k < 2 or (q is None and i2 is None):
        return []
    df = k - 1
    checks = []
    if q is not None:
        q_low, q_high = bounds(repr(float(q)))
        if i2 is not None:
            found = [
                max(0.0, (value - df) / value) if value > 0 else 0.0 for value in (q_low, q_high)
            ]
            at = max(0.0, (q - df) / q) if q > 0 else 0.0
            low, high = bounds(i2, 0.01)
            holds = found[0] <= high + 1e-12 and low <= found[1] + 1e-12
            checks.append(
                Check(
                    "I² from Q",
                    "holds" if holds else "fails",
                    f"(Q − {df})/Q is {pct(at, 1)}, printed {_said(i2)}%.",
                )
            )
    else:
        assert i2 is not None
        low, high = bounds(i2, 0.01)
        # Q = df / (1 - I²); I² = 0 stands for any Q up to df
        q_low = 0.0 if low <= 0 else df / (1 - min(low, 1 - 1e-9))
        q_high = math.inf if high >= 1 else df / (1 - high)
    if q_p is not None:
        p_low, p_high = bounds(q_p)
        found_low, found_high = float(chi2.sf(q_high, df)), float(chi2.sf(q_low, df))
        holds = found_low <= p_high and p_low <= found_high
        source = "Q" if q is not None else "the Q that I² implies"
        checks.append(
            Check(
                "p from Q",
                "holds" if holds else "fails",
                f"With {source} and {df} degrees of freedom p is "
                f"{_p_words(found_low, found_high)}, printed {_said(q_p)}.",
            )
        )
    return checks


def _said(text: str) -> str:
    return text.replace("<", "below ").replace(">", "above ")


def _p_words(low: float, high: float) -> str:
    if high < 0.0001:
        return "below 0.0001"
    first, last = number(low, 4), number(high, 4)
    return first if first == last else f"{first} to {last}"


def check_sum(events: int, total: int, percent: float) -> Check:
    """Hold a percentage to its count."""
    from analysis.pooling import clopper_pearson, wilson

    printed = Printed.percent(percent)
    holds = printed.low - 1e-12 <= events / total <= printed.high + 1e-12
    exact = [float(limit) for limit in clopper_pearson(events, total)]
    score = [float(limit) for limit in wilson(events, total)]
    return Check(
        "percentage from count",
        "holds" if holds else "fails",
        f"{events}/{total} is {pct(events / total, 1)}, printed {percent:g}%. As one binomial "
        f"sample its 95% interval is {pct(exact[0], 1)} to {pct(exact[1], 1)} (Clopper–Pearson) or "
        f"{pct(score[0], 1)} to {pct(score[1], 1)} (Wilson); differences between studies are not "
        "in it.",
    )


@dataclass(frozen=True, kw_only=True)
class Examined:
    """A published pool with everything that was checked.

    Attributes
    ----------
    row : mapping
        The row of ``published_pools.csv``; missing cells are None.
    checks : tuple of Check
    shape : Geometry or None
        None without a complete interval.
    search : Reproduction or None
        None where the pool is of other patients or has no percentage.
    free : Reproduction or None
        The search without the condition that a study is the highest, where one is printed.
    repeated : Reproduction or None
        The search with cohorts that share patients taken together.
    """

    row: dict[str, Any]
    checks: tuple[Check, ...]
    shape: Geometry | None = None
    search: Reproduction | None = None
    free: Reproduction | None = None
    repeated: Reproduction | None = None

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        if any(check.status == "fails" and not check.inference for check in self.checks):
            return "inconsistent"
        if any(check.status == "fails" for check in self.checks):
            return "doubtful"
        decided = [check for check in self.checks if check.name != SEARCH]
        if any(check.status == "open" for check in decided):
            return "open"
        return "consistent" if decided else "nothing to check"

    @property
    def reproduced(self) -> str:
        """``yes``, ``no`` or ``not tried``: does any set of our cohorts give the printed pool?"""
        tried = [found for found in (self.search, self.free, self.repeated) if found is not None]
        if not tried:
            return "not tried"
        return "yes" if any(found.same_all for found in tried) else "no"


def examine(dataset: Dataset) -> list[Examined]:
    """Check every published pool, in the order of the file.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Examined
    """
    pools = [_plain(row) for row in dataset.published_pools.to_dict("records")]
    years = {
        row.report_id: None if row.year is None else int(row.year)
        for row in dataset.reports.astype(object).where(dataset.reports.notna(), None).itertuples()
    }
    return [_examine(row, pools, dataset, years[row["report_id"]]) for row in pools]


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    def cell(value: Any) -> Any:
        if value is None or value != value or type(value).__name__ == "NAType":
            return None
        return value.item() if hasattr(value, "item") else value

    return {str(name): cell(value) for name, value in row.items()}


def _examine(
    row: dict[str, Any], pools: list[dict[str, Any]], dataset: Dataset, year: int | None
) -> Examined:
    checks: list[Check] = []
    shape = None
    if row["events"] is not None and row["percent"] is not None:
        checks.append(check_sum(row["events"], row["total"], row["percent"]))
    checks += _related(row, pools)
    checks += check_heterogeneity(row["k"], row["q"], row["i2"], row["q_p"])
    if None not in (row["percent"], row["ci_low"], row["ci_high"]):
        parts = [Printed.percent(row[name]) for name in ("percent", "ci_low", "ci_high")]
        if encloses(*parts):
            shape = _shape(row, parts)
            checks.append(_shape_check(shape, parts, row))
            checks += _width_checks(row, shape)
        else:
            text = (
                f"{row['percent']:g}% does not lie between {row['ci_low']:g}% and "
                f"{row['ci_high']:g}%."
            )
            checks.append(Check("inside its interval", "fails", text))
    if not _of_our_patients(row):
        return Examined(row=row, checks=tuple(checks), shape=shape)
    search, free, repeated = _searches(row, pools, dataset, year, shape)
    checks.append(_search_check(row, search, free, repeated))
    return Examined(
        row=row,
        checks=tuple(checks),
        shape=shape,
        search=search,
        free=free,
        repeated=repeated,
    )


def _of_our_patients(row: dict[str, Any]) -> bool:
    return (
        row["disease"] == "CLL"
        and row["kind"] in ("pooled", "crude sum")
        and row["percent"] is not None
        and row["outcome"] is not None
    )


def _related(row: dict[str, Any], pools: list[dict[str, Any]]) -> list[Check]:
    """Hold a figure to the other figures of the same document."""
    same = [
        other
        for other in pools
        if other["report_id"] == row["report_id"] and other["percent"] is not None
    ]
    checks: list[Check] = []
    if row["percent"] is None:
        return checks
    for other in same:
        twice = all(other[name] == row[name] for name in ("outcome_label", "group_label", "kind"))
        if twice and other["pool_id"] != row["pool_id"]:
            checks.append(_twice_check(row, other))
    parts = {
        other["outcome"]: other for other in same if other["group_label"] == row["group_label"]
    }
    if row["outcome"] == "orr" and {"cr", "pr"} <= set(parts):
        cr, pr = parts["cr"], parts["pr"]
        counts = [row["events"], cr["events"], pr["events"]]
        if None not in counts and cr["total"] == pr["total"] == row["total"]:
            holds = cr["events"] + pr["events"] == row["events"]
            checks.append(
                Check(
                    "parts add up",
                    "holds" if holds else "fails",
                    f"Complete and partial responses, {cr['events']} + {pr['events']}, against "
                    f"{row['events']}.",
                )
            )
    groups = [
        other
        for other in same
        if other["outcome_label"] == row["outcome_label"]
        and other["group_label"] != "all patients"
        and other["kind"] == "pooled"
    ]
    if row["group_label"] == "all patients" and row["kind"] == "pooled" and len(groups) > 1:
        values = [other["percent"] for other in groups]
        holds = min(values) <= row["percent"] <= max(values)
        checks.append(
            Check(
                "whole between its parts",
                "holds" if holds else "fails",
                f"Subgroups from {min(values):g}% to {max(values):g}%, all patients "
                f"{row['percent']:g}%.",
                inference=True,
            )
        )
    return checks


def _twice_check(row: dict[str, Any], other: dict[str, Any]) -> Check:
    """Hold a figure to the same figure printed in another place."""
    text = f"{other['percent']:g}% in {_place(other)}, {row['percent']:g}% in {_place(row)}"
    status: Status = "holds" if abs(other["percent"] - row["percent"]) < 1e-9 else "fails"
    interval = next((r for r in (row, other) if None not in (r["ci_low"], r["ci_high"])), None)
    if status == "fails" and interval is not None:
        low, high = (Printed.percent(interval[name]) for name in ("ci_low", "ci_high"))
        scales = SURVIVAL_SCALES if row["kind"] == "survival" else SCALES
        for figure in (other, row):
            value = Printed.percent(figure["percent"])
            if not encloses(value, low, high):
                text += f"; {figure['percent']:g}% lies outside the printed interval"
                continue
            fitting = geometry(value, low, high, scales=scales).fitting
            where = (
                f"on the {listing(SCALE_NAMES[scale] for scale in fitting)} scale"
                if fitting
                else "on no scale"
            )
            text += f"; {figure['percent']:g}% is the middle of the printed interval {where}"
            if figure is row and fitting:
                status = "holds"
    return Check("one figure printed twice", status, f"{text}.")


def _place(row: dict[str, Any]) -> str:
    return "the abstract" if row["locator"] == "abstract" else str(row["locator"])


def _shape(row: dict[str, Any], parts: list[Printed]) -> Geometry:
    known = row["k"] is not None and row["total"] is not None
    return geometry(
        *parts,
        scales=SURVIVAL_SCALES if row["kind"] == "survival" else SCALES,
        max_study=row["total"] / row["k"] if known else None,
    )


def _shape_check(shape: Geometry, parts: list[Printed], row: dict[str, Any]) -> Check:
    if shape.fitting:
        names = listing(SCALE_NAMES[scale] for scale in shape.fitting)
        best = shape.best
        text = (
            f"The estimate can be the middle of its interval on the {names} scale"
            f"{'s' if len(shape.fitting) > 1 else ''}."
        )
        fits = shape.on("freeman-tukey") if "freeman-tukey" in shape.fitting else None
        if fits is not None and fits.sizes is not None and "arcsine" not in shape.fitting:
            text += (
                f" For Freeman–Tukey the interval must have been turned back at a study size of "
                f"{number(fits.sizes[0], 1)} to {number(fits.sizes[1], 1)}."
            )
        if len(shape.fitting) > 1:
            text += f" Nearest: {SCALE_NAMES[best.scale]}."
        return Check("middle of its interval", "holds", text, inference=True)
    near = _shape(row, [part.looser() for part in parts]).fitting
    if near:
        text = (
            f"The estimate is the middle of its interval on the "
            f"{listing(SCALE_NAMES[scale] for scale in near)} scale only if a number is off by "
            "more than rounding, up to a unit of its last digit, as when decimals are cut off."
        )
        return Check("middle of its interval", "open", text, inference=True)
    scale = min(
        (fit for fit in shape.scales if fit.scale != "freeman-tukey"),
        key=lambda fit: abs(fit.skew),
    ).scale
    needed = repairs(parts[0], parts[1], parts[2], scale)
    text = (
        "The estimate is the middle of its interval on no scale. If two of the three numbers are "
        f"right, the third would have to be, on the nearest scale ({SCALE_NAMES[scale]}): "
        f"{'; '.join(needed)}. An interval that is symmetric on no scale (profile likelihood, "
        "bootstrap, Bayesian) is the other possibility."
    )
    return Check("middle of its interval", "fails", text, inference=True)


def _width_checks(row: dict[str, Any], shape: Geometry) -> list[Check]:
    """Hold the width of an interval to the number of patients, I² and Q."""
    total, k = row["total"], row["k"]
    if total is None or row["kind"] == "survival" or not shape.fitting:
        return []
    used = shape.on("arcsine") if "arcsine" in shape.fitting else shape.best
    low, high = used.effective
    said = f"as wide as that of {_range(low, high)} patients in one sample, of {total}"
    if low > total:
        return [
            Check(
                "width against patients",
                "fails",
                f"The interval is {said}: narrower than all patients together would give.",
                inference=True,
            )
        ]
    text = f"The interval is {said}"
    status: Status = "holds"
    i2 = row["i2"]
    if i2 is not None and i2[0] not in "<>" and k is not None:
        share = float(i2) / 100
        expected = total * (1 - share)
        if share == 0:
            if high + 1 < total:
                status = "open"
                text += (
                    f". With I² = 0 it should be all {total}: either "
                    f"{_range(low, high)} were evaluable for this outcome, or the interval is not "
                    "a normal one on this scale"
                )
            else:
                text += ", as I² = 0 wants"
        else:
            text += (
                f"; I² = {i2}% with studies of equal size would give about {number(expected, 0)}"
            )
            if row["q"] is not None and used.scale in ("arcsine", "freeman-tukey"):
                text += _split_text(k, total, float(row["q"]), used.se)
    return [Check("width against patients", status, f"{text}.", inference=True)]


def _range(low: float, high: float) -> str:
    first, last = number(low, 0), number(high, 0)
    return first if first == last else f"{first} to {last}"


def _split_text(k: int, total: int, q: float, se: tuple[float, float]) -> str:
    fitting = [m for m, value in split_for_se(k, total, q) if se[0] <= value <= se[1]]
    if not fitting:
        return (
            f"; with the printed Q, DerSimonian–Laird gives this width for no split of the "
            f"{total} patients into one large and {k - 1} equal studies"
        )
    return (
        f"; with the printed Q, DerSimonian–Laird gives this width if the largest of the {k} "
        f"studies had {_range(min(fitting), max(fitting))} patients and the others were equal"
    )


def _searches(
    row: dict[str, Any],
    pools: list[dict[str, Any]],
    dataset: Dataset,
    year: int | None,
    shape: Geometry | None,
) -> tuple[Reproduction, Reproduction | None, Reproduction]:
    """Search our cohorts, without the printed highest study, and with patients repeated."""
    wanted = {
        "percent": row["percent"],
        "ci_low": row["ci_low"],
        "ci_high": row["ci_high"],
        "k": row["k"],
        "total": row["total"],
        "events": row["events"] if row["kind"] == "crude sum" else None,
        "q": row["q"],
        "scales": shape.fitting if shape is not None and shape.fitting else SCALES,
    }
    parts = candidate_parts(dataset, row["outcome"], until=year)
    all_parts = candidate_parts(dataset, row["outcome"], until=year, repeated=True)
    anchors = [
        (other["events"], other["total"])
        for other in pools
        if other["report_id"] == row["report_id"]
        and other["outcome"] == row["outcome"]
        and other["kind"] == "highest study"
    ]
    repeated = reproduce(all_parts, **wanted)
    if not anchors:
        return reproduce(parts, **wanted), None, repeated
    return reproduce(parts, **wanted, highest=anchors[0]), reproduce(parts, **wanted), repeated


def _search_check(
    row: dict[str, Any],
    search: Reproduction,
    free: Reproduction | None,
    repeated: Reproduction,
) -> Check:
    text = f"Of {count(search.cohorts, 'CLL cohort')} in our data that have a count"
    text += f", {_sets(search)} that share no patients {_meet(row)}"
    if free is not None:
        text += f" and have the highest study as printed; {_sets(free)} without that condition"
    pick = search if search.sets or free is None else free
    if not pick.sets:
        text += ": the pool must hold studies or counts that our data lack"
    elif row["kind"] == "crude sum":
        text += f", for example {_names(pick.nearest)}"
    else:
        text += f". {_matches(pick)}"
        assert pick.nearest_result is not None
        estimate, low, high, found_q = pick.nearest_result
        text += (
            f" Nearest: {pct(estimate, 1)} ({pct(low, 1)} to {pct(high, 1)}; Q "
            f"{number(found_q, 1)}), {pick.nearest_model}, from {_names(pick.nearest)}"
        )
        if row["q"] is not None and pick.largest_q is not None and pick.largest_q < row["q"]:
            text += (
                f". The largest Q of any of these sets is {number(pick.largest_q, 1)}, printed "
                f"{row['q']:g}: the studies would have to differ more than ours do"
            )
    text += f". With patients counted repeatedly, {_sets(repeated)} {_meet(row)}"
    if repeated.sets and row["kind"] != "crude sum":
        text += f". {_matches(repeated)}".rstrip(".")
    found = pick.same_all > 0 or repeated.same_all > 0
    return Check(SEARCH, "holds" if found else "open", f"{text}.", inference=True)


def _sets(search: Reproduction) -> str:
    return ("" if search.complete else "at least ") + count(search.sets, "set")


def _meet(row: dict[str, Any]) -> str:
    wanted = []
    if row["k"] is not None:
        wanted.append(count(row["k"], "study", "studies"))
    if row["total"] is not None:
        wanted.append(
            f"{row['events']} of {row['total']} patients"
            if row["kind"] == "crude sum"
            else count(row["total"], "patient")
        )
    return f"give {listing(wanted)}" if wanted else "can be formed (no number is printed to meet)"


def _matches(search: Reproduction) -> str:
    gives = "gives" if search.same_estimate == 1 else "give"
    return (
        f"Of these, {search.same_estimate} {gives} the printed percentage and {search.same_all} "
        f"every printed number, by any of {len(SEARCH_MODELS)} models on the scales that fit."
    )


def _names(chosen: tuple[Candidate, ...]) -> str:
    return "; ".join(f"{entry.label} {entry.events}/{entry.total}" for entry in chosen)


def common_scales(examined: list[Examined]) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Return, for each document, how many intervals it prints and the scales that fit them all.

    Parameters
    ----------
    examined : list of Examined

    Returns
    -------
    dict of str to (int, tuple of str)
        Documents with at least one complete interval, in the order of the file. Survival and
        other proportions of one document are counted apart, under ``<report> (survival)``.
    """
    found: dict[str, list[Geometry]] = {}
    for entry in examined:
        if entry.shape is not None:
            survival = " (survival)" if entry.row["kind"] == "survival" else ""
            found.setdefault(f"{entry.row['report_id']}{survival}", []).append(entry.shape)
    return {
        name: (
            len(shapes),
            tuple(
                fit.scale
                for fit in shapes[0].scales
                if all(fit.scale in shape.fitting for shape in shapes)
            ),
        )
        for name, shapes in found.items()
    }
