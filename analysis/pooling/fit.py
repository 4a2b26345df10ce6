"""The result of one pooling, shared by every model of :mod:`analysis.pooling`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # pragma: no cover
    import pandas as pd

__all__ = ["Fit", "plain"]


def plain(value: Any) -> Any:
    """Turn numpy scalars, arrays, tuples and mappings into JSON-ready Python values.

    Infinite values become the strings ``"inf"`` and ``"-inf"`` because JSON has no infinity.
    A NaN is refused with ``ValueError``: nothing in a fit is allowed to be a silent NaN.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        if math.isnan(number):
            raise ValueError("a value to be exported is not a number (NaN)")
        if math.isinf(number):
            return "inf" if number > 0 else "-inf"
        return number
    raise TypeError(f"cannot export a value of type {type(value).__name__}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """One pooled proportion with everything needed to report and to re-compute it.

    Quantities that do not exist for a model or a data set are ``None`` and a sentence in
    ``notes`` says why; no field is ever NaN. ``inf`` and ``-inf`` occur only as a limit of an
    interval on the link scale or of ``tau2_ci`` and are explained by a note.

    Attributes
    ----------
    model : str
        ``"glmm"``, ``"reml"``, ``"ml"``, ``"dl"``, ``"pm"``, ``"eb"``, ``"he"``, ``"sj"``,
        ``"hs"``, ``"fe"``, ``"beta-binomial"`` or ``"bayes"``.
    transform : str
        The link scale: ``"logit"``, ``"arcsine"``, ``"freeman-tukey"``, ``"raw"``, ``"log"``.
    interval : str
        How ``ci_low`` and ``ci_high`` were obtained.
    level : float
        Coverage that every interval aims at, for example 0.95.
    k : int
        Number of studies.
    events, total : numpy.ndarray, shape (k,)
        The counts that were pooled.
    labels : tuple of str or None
        Study names in the order of ``events``.
    estimate, ci_low, ci_high : float or None
        Proportion scale, 0 to 1: the back-transformed ``mu``, that is the median trial, and its
        interval. With all events zero (or all trials full) the estimate is the limit 0.0 (or
        1.0) and the other end of the interval is a one-sided profile limit.
    pi_low, pi_high : float or None
        Proportion scale: where the true proportion of a new trial is expected. The formula is
        named in ``details["pi_method"]``.
    mu, se : float or None
        Link scale: the pooled mean and its standard error.
    tau2 : float or None
        Link scale: variance between trials.
    tau2_ci : (float, float) or None
        Link scale interval of ``tau2``; the method is in ``details["tau2_ci_method"]``.
    i2 : float or None
        Percent, 0 to 100. From ``tau2`` and the typical within-trial variance (Higgins and
        Thompson 2002, doi:10.1002/sim.1186, equation 9), which is what the R package metafor
        prints. The definition from Q (the default of the R package meta) is in
        ``details["i2_q"]``.
    q, q_df, q_p : float, int, float or None
        Test of heterogeneity. Normal-normal models: Cochran's Q. GLMM and beta-binomial: the
        likelihood ratio of the saturated against the equal-effects model (metafor calls it
        ``QE.LRT``). Both have k - 1 degrees of freedom.
    lrt, lrt_p : float or None
        Likelihood ratio of random against equal effects, one degree of freedom at the
        boundary: ``lrt_p`` uses the half-and-half mixture of a point mass at 0 and chi-square
        with one degree of freedom (Self and Liang 1987, doi:10.1080/01621459.1987.10478472).
    log_likelihood, aic : float or None
        Marginal log-likelihood at the estimate with all constants (binomial coefficients, or
        the normal constant; the restricted likelihood for REML) and
        ``-2 * log_likelihood + 2 * parameters``.
    converged : bool
        False when no finite maximum exists or the iteration did not settle.
    notes : tuple of str
        Sentences for a reader.
    study_estimate, study_ci_low, study_ci_high : numpy.ndarray, shape (k,)
        Proportion scale: observed proportion and its interval (Wilson unless ``details`` says
        otherwise) of each trial.
    weight : numpy.ndarray, shape (k,)
        Share of each trial in the pooled mean; sums to 1.
    marginal_estimate : float or None
        Proportion scale: the population-averaged proportion, that is the expected proportion
        over the distribution of trials ("the average patient" of an average trial).
    marginal_ci : (float, float) or None
        Its interval.
    details : mapping
        Further named quantities, listed in the docstring of the function that made the fit.
    """

    model: str
    transform: str
    interval: str
    level: float
    k: int
    events: np.ndarray
    total: np.ndarray
    labels: tuple[str, ...] | None = None
    estimate: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    pi_low: float | None = None
    pi_high: float | None = None
    mu: float | None = None
    se: float | None = None
    tau2: float | None = None
    tau2_ci: tuple[float, float] | None = None
    i2: float | None = None
    q: float | None = None
    q_df: int | None = None
    q_p: float | None = None
    lrt: float | None = None
    lrt_p: float | None = None
    log_likelihood: float | None = None
    aic: float | None = None
    converged: bool = True
    notes: tuple[str, ...] = ()
    study_estimate: np.ndarray
    study_ci_low: np.ndarray
    study_ci_high: np.ndarray
    weight: np.ndarray
    marginal_estimate: float | None = None
    marginal_ci: tuple[float, float] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tau(self) -> float | None:
        """Between-trial standard deviation on the link scale (square root of ``tau2``)."""
        return None if self.tau2 is None else math.sqrt(self.tau2)

    @property
    def study_labels(self) -> tuple[str, ...]:
        """Study names, or ``"1"``, ``"2"``, ... where none were given."""
        if self.labels is not None:
            return self.labels
        return tuple(str(i + 1) for i in range(self.k))

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values, ready for ``json.dumps``.

        The arrays per study become one list ``"studies"`` of mappings with the keys
        ``label, events, total, estimate, ci_low, ci_high, weight``. Infinite limits become
        ``"inf"`` or ``"-inf"``.
        """
        per_study = {
            "events",
            "total",
            "labels",
            "study_estimate",
            "study_ci_low",
            "study_ci_high",
            "weight",
        }
        out: dict[str, Any] = {}
        for item in fields(self):
            if item.name not in per_study:
                out[item.name] = plain(getattr(self, item.name))
        out["studies"] = [
            {
                "label": self.study_labels[i],
                "events": int(self.events[i]),
                "total": int(self.total[i]),
                "estimate": float(self.study_estimate[i]),
                "ci_low": float(self.study_ci_low[i]),
                "ci_high": float(self.study_ci_high[i]),
                "weight": float(self.weight[i]),
            }
            for i in range(self.k)
        ]
        return out

    def to_frame(self) -> pd.DataFrame:
        """One row per study with the columns of ``to_dict()["studies"]``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "label": list(self.study_labels),
                "events": self.events,
                "total": self.total,
                "estimate": self.study_estimate,
                "ci_low": self.study_ci_low,
                "ci_high": self.study_ci_high,
                "weight": self.weight,
            }
        )
