"""Verdicts on claims: their names, what they rest on, and what a check returns."""

from __future__ import annotations

from dataclasses import dataclass

REPRODUCED = "reproduced"
CORRECTED = "reproduced after correction"
CONTRADICTED = "contradicted by a primary source"
IMPOSSIBLE = "arithmetically impossible"
UNDECIDED = "not decidable from the data"
VERDICTS = (REPRODUCED, CORRECTED, CONTRADICTED, IMPOSSIBLE, UNDECIDED)

OWN = "the trial's own document"
SECOND_HAND = "a report on the trial"
REVIEW = "another review"
SAME_REVIEW = "the same review"
ARITHMETIC = "arithmetic alone"
TABLES = "tables of the data"
COMPARISON = "comparison of trials"
NOTHING = "no other source"
BASES = (OWN, SECOND_HAND, REVIEW, SAME_REVIEW, ARITHMETIC, TABLES, COMPARISON, NOTHING)


@dataclass(frozen=True)
class Verdict:
    """What the data say about one claim.

    Attributes
    ----------
    verdict : str
        One of `VERDICTS`.
    number : str
        The number that decides it, computed from the data, as text.
    basis : str
        What it rests on, one of `BASES`.
    records : tuple of str
        Rows of the extraction that bear on it.
    """

    verdict: str
    number: str
    basis: str
    records: tuple[str, ...] = ()
