"""The claims ledger: what the reviews say, each statement decided by a check.

``data/claims.csv`` holds one statement per row, in our own words, with the name of a check and its
arguments. A check is a function of the data that returns a `Verdict`; verdicts are computed and
never typed. Trials without a control group cannot carry a comparison, so checks of comparisons
compute the difference and say that it decides nothing, whichever way it points.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.claims import checks, comparisons, figures
from analysis.claims.verdict import BASES, CONTRADICTED, IMPOSSIBLE, VERDICTS, Verdict
from analysis.data import Finding

if TYPE_CHECKING:
    from analysis.data import Dataset

__all__ = [
    "BASES",
    "CHECKS",
    "CONTRADICTED",
    "IMPOSSIBLE",
    "VERDICTS",
    "Entry",
    "Verdict",
    "decide",
    "ledger",
    "parse_args",
    "problems",
]

NAME = re.compile(r"[a-z_]+")


@dataclass(frozen=True)
class Entry:
    """One claim with its verdict.

    Attributes
    ----------
    claim_id, report_id, locator, claim, kind, check, args : str
        The row of ``claims.csv``.
    verdict : Verdict
        What the data say.
    """

    claim_id: str
    report_id: str
    locator: str
    claim: str
    kind: str
    check: str
    args: str
    verdict: Verdict


def ledger(dataset: Dataset) -> tuple[Entry, ...]:
    """Decide every claim, in file order.

    Raises
    ------
    ValueError
        If a check or an argument is wrong; the message names the claim.
    """
    columns = ("claim_id", "report_id", "locator", "claim", "kind", "check", "args")
    return tuple(
        Entry(
            **{name: str(getattr(row, name)) for name in columns},
            verdict=decide(
                dataset, str(row.check), str(row.args), str(row.report_id), str(row.claim_id)
            ),
        )
        for row in dataset.claims.itertuples(index=False)
    )


def problems(dataset: Dataset) -> list[Finding]:
    """Name the claims that no check can decide: a wrong name, argument, cohort or outcome.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Finding
        In file order; empty if :func:`ledger` can decide every claim.
    """
    found = []
    for i, row in enumerate(dataset.claims.itertuples(index=False)):
        name = str(row.check)
        try:
            decide(dataset, name, str(row.args), str(row.report_id))
        except ValueError as error:
            column = "args" if name in CHECKS else "check"
            # the header is line 1 and cells have no line breaks
            found.append(Finding("claims.csv", i + 2, column, str(error)))
    return found


def decide(dataset: Dataset, check: str, args: str, report: str, claim_id: str = "") -> Verdict:
    """Run the check of one claim.

    Parameters
    ----------
    dataset : Dataset
    check : str
        Name in `CHECKS`.
    args : str
        Arguments, as ``name=value; name=value``; the parts of a list are joined by ``+``.
    report : str
        Report id of the review that makes the claim.
    claim_id : str
        Named in error messages.

    Returns
    -------
    Verdict

    Raises
    ------
    ValueError
        If there is no such check, or the arguments do not fit it.
    """
    try:
        if check not in CHECKS:
            raise ValueError(f"there is no check {check!r}; there are {', '.join(CHECKS)}")
        function = CHECKS[check]
        return function(dataset, report, **_typed(function, parse_args(args)))
    except ValueError as error:
        where = f"data/claims.csv, claim {claim_id}: " if claim_id else ""
        raise ValueError(f"{where}{error}") from None


def parse_args(text: str) -> dict[str, str]:
    """Read an argument string: ``"events=8; total=14"`` gives ``{"events": "8", "total": "14"}``.

    Raises
    ------
    ValueError
        If a part is not ``name=value`` or a name comes twice.
    """
    found: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value or not NAME.fullmatch(name):
            raise ValueError(f"the argument {part.strip()!r} is not of the form name=value")
        if name in found:
            raise ValueError(f"the argument {name} is given twice")
        found[name] = value
    return found


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _real(text: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?(e[0-9]+)?", text):
        raise ValueError(f"{text!r} is not a number")
    return float(text)


def _list(one: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    return lambda text: tuple(one(part.strip()) for part in text.split("+"))


READ: Mapping[str, Callable[[str], Any]] = {
    "str": str,
    "int": _whole,
    "float": _real,
    "tuple[str, ...]": _list(str),
    "tuple[int, ...]": _list(_whole),
    "tuple[float, ...]": _list(_real),
}


def _typed(function: Callable[..., Verdict], given: dict[str, str]) -> dict[str, Any]:
    """Turn arguments into the types that the check declares."""
    accepted = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    unknown = [name for name in given if name not in accepted]
    missing = [n for n, p in accepted.items() if p.default is p.empty and n not in given]
    if unknown:
        raise ValueError(f"the check has no argument {', '.join(unknown)}")
    if missing:
        raise ValueError(f"the check needs the argument {', '.join(missing)}")
    kinds = {name: str(p.annotation).removesuffix(" | None") for name, p in accepted.items()}
    return {name: READ[kinds[name]](value) for name, value in given.items()}


CHECKS: Mapping[str, Callable[..., Verdict]] = {
    check.__name__: check
    for check in (
        figures.figure,
        checks.sums_to,
        checks.rate_from_parts,
        checks.one_denominator,
        checks.describes,
        checks.counted_in_cohort,
        checks.overlaps_among,
        checks.rows_below,
        checks.rows_have,
        checks.trials_listed,
        checks.fewer_patients,
        checks.products_studied,
        checks.doses,
        checks.majority,
        checks.rates_across,
        checks.median_reached,
        checks.no_figure,
        comparisons.outcomes_differ,
        comparisons.cohorts_differ,
        comparisons.populations_differ,
        comparisons.other_disease,
        comparisons.other_diseases,
        comparisons.higher_than_others,
    )
}
