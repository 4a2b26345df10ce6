"""The pooled result of every selection of trials, for the page on which readers choose.

The page computes nothing. For each estimand, each denominator and each model the pooled value of
every set of two or more trials is computed here and written in one order, which the page's script
repeats: by number of trials, then as the trials stand in the table. Beyond `MOST_SUBSETS` sets
only those are computed that leave out at most so many trials, and a model may start at more than
two trials.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import denominators, estimands, robustness, wording
from analysis.pooling.api import resolve

if TYPE_CHECKING:
    from analysis.data import Dataset
    from analysis.estimands import Estimand
    from analysis.robustness import Subsets

__all__ = [
    "MOST_SUBSETS",
    "VALUES",
    "Basis",
    "Explored",
    "Model",
    "Trial",
    "explore",
    "models",
    "most_left_out",
    "payload",
]

#: With up to 14 trials every selection is computed; beyond, those that leave out few.
MOST_SUBSETS = 2**14
#: What is kept of each fit, in the order in which the page reads it. Proportions, and tau on the
#: logit scale.
VALUES = ("estimate", "ci_low", "ci_high", "pi_low", "pi_high", "tau")
DIGITS = 6
#: The GLMM by maximum likelihood starts at three trials. With two its interval, a likelihood-ratio
#: interval with one degree of freedom in the cut-off, reaches from 0% to 100% whatever they report.
GLMM_LEAST = 3


@dataclass(frozen=True)
class Model:
    """A way to pool that the reader can choose.

    Attributes
    ----------
    id : str
        Name in addresses.
    model, interval : str
        As in :func:`analysis.pooling.pool`.
    options : dict
        Further arguments of :func:`analysis.pooling.pool`.
    main : bool
        Whether the book's main results come from it.
    least : int
        Trials from which on selections are pooled.
    """

    id: str
    model: str
    interval: str
    options: dict[str, Any] = field(hash=False)
    main: bool = False
    least: int = 2

    @property
    def name(self) -> str:
        """Model and interval for readers."""
        return wording.model_name(self) + (" (main)" if self.main else "")

    @property
    def call(self) -> str:
        """The arguments as Python code."""
        given = {"model": self.model, "interval": self.interval, **self.options}
        return ", ".join(f"{name}={json.dumps(value)}" for name, value in given.items())


def models() -> tuple[Model, ...]:
    """List the models of the page: the main one, the GLMM, REML with Hartung-Knapp."""
    asked: list[tuple[str, dict[str, Any]]] = [
        (str(estimands.PRIMARY["model"]), dict(estimands.PRIMARY)),
        ("glmm", {"model": "glmm"}),
        ("reml", {"model": "reml", "interval": "hartung-knapp-adhoc"}),
    ]
    found: dict[str, Model] = {}
    for name, given in asked:
        model, interval, _ = resolve(given.pop("model"), given.pop("interval", None), "logit")
        least = GLMM_LEAST if (model, interval) == ("glmm", "profile-t") and found else 2
        found.setdefault(name, Model(name, model, interval, given, not found, least))
    return tuple(found.values())


@dataclass(frozen=True)
class Trial:
    """A trial as the page names it: ``id`` in addresses, ``label`` and ``about`` for readers."""

    id: str
    label: str
    about: str


@dataclass(frozen=True, eq=False)
class Basis:
    """The counts of an estimand by one denominator, and what every selection of them pools to.

    Attributes
    ----------
    id, label : str
        See :data:`analysis.denominators.NAMES`.
    events, total : numpy.ndarray of int, shape (k,)
    rebased : numpy.ndarray of bool, shape (k,)
        Whether a trial goes by this denominator; otherwise it keeps the one reported.
    subsets : dict of str to Subsets
        By id of the model; none of a model that needs more trials.
    """

    id: str
    label: str
    events: np.ndarray
    total: np.ndarray
    rebased: np.ndarray
    subsets: dict[str, Subsets] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Explored:
    """An estimand with every selection of its trials.

    Attributes
    ----------
    target : Estimand
    label : str
        Outcome for readers.
    trials : tuple of Trial
    left_out : int
        The most trials that a computed selection leaves out.
    bases : tuple of Basis
        The denominators that give different counts, the one reported first.
    """

    target: Estimand
    label: str
    trials: tuple[Trial, ...]
    left_out: int
    bases: tuple[Basis, ...]

    @property
    def title(self) -> str:
        return f"{self.label}, {self.target.population_label}"


def most_left_out(trials: int, most: int = MOST_SUBSETS) -> int:
    """How many of the trials a selection of two or more may leave out to be computed.

    Parameters
    ----------
    trials : int
    most : int
        Largest number of selections.
    """
    count = 0
    for out in range(max(trials - 1, 0)):
        count += math.comb(trials, out)
        if count > most:
            return out - 1
    return max(trials - 2, 0)


def explore(
    dataset: Dataset,
    targets: Sequence[Estimand] | None = None,
    using: Sequence[Model] | None = None,
) -> list[Explored]:
    """Pool every selection of the trials of estimands.

    Parameters
    ----------
    dataset : Dataset
    targets : sequence of Estimand, optional
        By default all; those that no trial reports are left out.
    using : sequence of Model, optional
        By default :func:`models`.
    """
    targets = estimands.estimands() if targets is None else targets
    using = models() if using is None else using
    entries = [entry for target in targets if (entry := _counted(dataset, target)) is not None]
    for model in using:
        work = [
            (basis, max(model.least, len(entry.trials) - entry.left_out))
            for entry in entries
            for basis in entry.bases
            if len(entry.trials) >= model.least
        ]
        if not work:
            continue
        made = robustness.subsets_together(
            [(basis.events, basis.total) for basis, _ in work],
            model.model,
            interval=model.interval,
            min_sizes=[least for _, least in work],
            **model.options,
        )
        for (basis, _), subsets in zip(work, made, strict=True):
            basis.subsets[model.id] = subsets
    return entries


def _counted(dataset: Dataset, target: Estimand) -> Explored | None:
    """The counts of an estimand by each denominator, nothing pooled yet."""
    rows = estimands.evidence(dataset, target).rows
    if rows.empty:
        return None
    outcome = dataset.outcomes.set_index("outcome_id").loc[target.outcome]
    bases: list[Basis] = []
    for kind in denominators.kinds(str(outcome["direction"])):
        based = denominators.rebased(rows, dataset.cohorts, kind)
        events = based["events"].to_numpy(dtype="int64")
        total = based["total"].to_numpy(dtype="int64")
        if not any(np.array_equal(total, other.total) for other in bases):
            rebased = based["rebased"].to_numpy(dtype=bool)
            bases.append(Basis(kind, denominators.NAMES[kind], events, total, rebased))
    return Explored(
        target=target,
        label=str(outcome["label"]),
        trials=tuple(
            Trial(str(row.cohort_id), str(row.label), _about(row))
            for row in rows.itertuples(index=False)
        ),
        left_out=most_left_out(len(rows)),
        bases=tuple(bases),
    )


def _about(row: Any) -> str:
    months = row.timepoint_months
    parts = [row.criteria if isinstance(row.criteria, str) else ""]
    parts.append("4 weeks" if months == 0.92 else f"{months:g} months" if months == months else "")
    return ", ".join(part for part in parts if part)


# ------------------------------------------------------------------------------ for the page


def payload(dataset: Dataset, entries: Sequence[Explored], using: Sequence[Model]) -> str:
    """Everything that the page can show, as JSON.

    Values have six significant digits, more where rounding for display would come out otherwise;
    a value that does not exist is null.

    Parameters
    ----------
    dataset : Dataset
    entries : sequence of Explored
    using : sequence of Model
        The models that the entries were computed with.
    """
    book = {
        "data": dataset.version,
        "sha256": dataset.sha256,
        "models": [
            {
                "id": model.id,
                "name": model.name,
                "interval": wording.interval_word(model),
                "least": model.least,
                "call": model.call,
            }
            for model in using
        ],
        "values": VALUES,
        "estimands": [_entry(entry) for entry in entries],
    }
    return json.dumps(book, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _entry(entry: Explored) -> dict[str, Any]:
    return {
        "id": entry.target.id,
        "label": entry.label,
        "population": entry.target.population_label,
        "page": f"{entry.target.page}.html",
        "leftOut": entry.left_out,
        "trials": [[trial.id, trial.label, trial.about] for trial in entry.trials],
        "denominators": [_basis(basis) for basis in entry.bases],
    }


def _basis(basis: Basis) -> dict[str, Any]:
    from analysis.pooling import wilson

    low, high = wilson(basis.events, basis.total, 0.95)
    own = np.stack([basis.events / basis.total, low, high], axis=1)
    return {
        "id": basis.id,
        "label": basis.label,
        "events": basis.events.tolist(),
        "total": basis.total.tolist(),
        "rebased": basis.rebased.astype(int).tolist(),
        "own": _shipped(own),
        "fits": {name: _shipped(_values(subsets)) for name, subsets in basis.subsets.items()},
    }


def _values(subsets: Subsets) -> np.ndarray:
    """The values of every selection (S, V)."""
    columns: Mapping[str, np.ndarray] = {
        **{name: getattr(subsets, name) for name in VALUES if name != "tau"},
        "tau": np.sqrt(subsets.tau2),
    }
    return np.stack([columns[name] for name in VALUES], axis=1)


def _shipped(values: np.ndarray) -> list[float | int | None]:
    """Round to six digits, but not where a reader would then see another rounding."""
    flat = values.ravel()
    near = np.zeros(flat.size, dtype=bool)
    with np.errstate(invalid="ignore"):
        for unit in (100.0, 1000.0):  # tau with two decimals, percentages with none and one
            near |= np.abs(np.mod(flat * unit, 1.0) - 0.5) < 0.01
    out: list[float | int | None] = []
    for value, close in zip(flat.tolist(), near.tolist(), strict=True):
        if math.isnan(value):
            out.append(None)
            continue
        short = value if close else float(f"{value:.{DIGITS}g}")
        out.append(int(short) if short in (0.0, 1.0) else short)
    return out
