"""Other denominators for the same events: all patients enrolled, infused or evaluable.

A response rate among evaluable patients leaves out those who could not be assessed, or were never
infused. Put over the patients enrolled, the same responses give the rate that a patient faces who
enters a trial; everyone without an assessment then counts as not having responded. A patient who
was never infused cannot be harmed by the cells, so that harms go by the patients infused at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NAMES", "kinds", "rebased"]

#: Denominators and their names for readers.
NAMES: dict[str, str] = {
    "reported": "As reported",
    "evaluable": "All evaluable patients",
    "infused": "All infused patients",
    "enrolled": "All enrolled patients",
}
_HARM = ("reported", "infused")


def kinds(direction: str) -> tuple[str, ...]:
    """List the denominators that make sense for an outcome.

    Parameters
    ----------
    direction : str
        ``benefit`` or ``harm``, as in ``outcomes.csv``; anything else has the one reported.
    """
    if direction == "benefit":
        return tuple(NAMES)
    return _HARM if direction == "harm" else _HARM[:1]


def rebased(rows: pd.DataFrame, cohorts: pd.DataFrame, denominator: str) -> pd.DataFrame:
    """Put the stated number of patients in place of the reported denominator.

    A trial keeps its denominator if the number is not stated, if it is smaller than the count of
    events, or if the events were counted in a subgroup: those outside it are not known.

    Parameters
    ----------
    rows : pandas.DataFrame
        Columns ``cohort_id, events, total, denominator``.
    cohorts : pandas.DataFrame
        Columns ``cohort_id, n_enrolled, n_infused, n_evaluable``.
    denominator : str
        A key of :data:`NAMES`.

    Returns
    -------
    pandas.DataFrame
        The same rows with other totals, and a column ``rebased``: whether the trial goes by the
        denominator asked for.

    Raises
    ------
    ValueError
        For an unknown denominator.
    """
    if denominator not in NAMES:
        raise ValueError(f"there is no denominator {denominator!r}; there are {', '.join(NAMES)}")
    if denominator == "reported":
        return rows.assign(rebased=True)
    stated = cohorts.set_index("cohort_id")[f"n_{denominator}"]
    number = rows["cohort_id"].map(stated).astype("Int64")
    subgroup = (rows["denominator"] == "subgroup").fillna(False).astype(bool)
    fits = number.notna() & ~subgroup & (number >= rows["events"]).fillna(False).astype(bool)
    return rows.assign(total=number.where(fits, rows["total"]), rebased=fits)
