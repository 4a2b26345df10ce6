"""Effect sizes of single proportions with their variances, and the way back.

Scales (metafor's names in brackets): ``logit`` (PLO), ``log`` (PLN), ``arcsine`` (PAS),
``freeman-tukey`` (PFT), ``raw`` (PR).
"""

from __future__ import annotations

import numpy as np

from ._validate import check_choice, check_counts

__all__ = [
    "FT_MEANS",
    "TO",
    "TRANSFORMS",
    "effect_sizes",
    "effective_total",
    "forward",
    "freeman_tukey",
    "inverse",
]

TRANSFORMS = ("logit", "arcsine", "freeman-tukey", "raw", "log")
TO = ("only0", "all", "never")
FT_MEANS = ("harmonic", "geometric", "arithmetic")


def effect_sizes(
    events, total, transform: str = "logit", *, add: float | None = None, to: str = "only0"
) -> tuple[np.ndarray, np.ndarray]:
    """Effect size and sampling variance of each study.

    Parameters
    ----------
    events, total : array_like, shape (k,) or (B, k)
        Counts.
    transform : {"logit", "arcsine", "freeman-tukey", "raw", "log"}
        With x events of n and p = x/n after any correction: logit ``log(x/(n-x))`` with
        variance ``1/x + 1/(n-x)``; log ``log(p)`` with ``1/x - 1/n``; raw ``p`` with
        ``p(1-p)/n``; arcsine ``asin(sqrt(p))`` with ``1/(4n)``; Freeman-Tukey (1950,
        doi:10.1214/aoms/1177729756) ``(asin(sqrt(x/(n+1))) + asin(sqrt((x+1)/(n+1))))/2`` with
        ``1/(4n+2)``. These are metafor's definitions (its Freeman-Tukey is half of Miller's).
    add : float, optional
        Added to events and to non-events (so the total grows by twice as much). Default 0.5,
        and 0 for arcsine and Freeman-Tukey, which need no correction; as in metafor.
    to : {"only0", "all", "never"}
        Studies that receive ``add``: those with an empty cell (no events, or only events), all
        studies, or none.

    Returns
    -------
    y, v : numpy.ndarray
        Effect size and variance on the scale of ``transform``, same shape as ``events``.

    Raises
    ------
    ValueError
        Wrong counts, unknown names, or a study whose effect size or variance does not exist
        without a correction.
    """
    ndim = 2 if np.ndim(events) == 2 else 1
    x, n = check_counts(events, total, ndim=ndim)
    transform = check_choice(transform, "transform", TRANSFORMS)
    to = check_choice(to, "to", TO)
    return _effect_sizes(x.astype(float), n.astype(float), transform, check_add(add, transform), to)


def check_add(add, transform: str) -> float:
    """What is added to an empty cell: the number given, or the default of the transform."""
    if add is None:
        return 0.0 if transform in ("arcsine", "freeman-tukey") else 0.5
    if (
        isinstance(add, bool)
        or not isinstance(add, int | float | np.number)
        or not 0.0 <= float(add) < np.inf
    ):
        raise ValueError(f"add must be a number of at least 0, got {add!r}")
    return float(add)


def _effect_sizes(x, n, transform, add, to):
    if to == "all":
        x, n = x + add, n + 2.0 * add
    elif to == "only0":
        empty = (x == 0) | (x == n)
        x, n = np.where(empty, x + add, x), np.where(empty, n + 2.0 * add, n)
    _refuse_undefined(x, n, transform)
    m = n - x
    if transform == "logit":
        return np.log(x / m), 1.0 / x + 1.0 / m
    if transform == "log":
        return np.log(x / n), 1.0 / x - 1.0 / n
    if transform == "raw":
        return x / n, x * m / n**3
    if transform == "arcsine":
        return np.arcsin(np.sqrt(x / n)), 1.0 / (4.0 * n)
    return freeman_tukey(x, n), 1.0 / (4.0 * n + 2.0)


def _refuse_undefined(x, n, transform):
    if transform in ("arcsine", "freeman-tukey"):
        return
    bad = (x == 0) | (x == n)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        spot = f"position {where[0]}" if len(where) == 1 else f"row {where[0]}, column {where[1]}"
        raise ValueError(
            f"transform {transform!r} has no effect size with a positive variance for the study "
            f"at {spot} ({x[where]:g} of {n[where]:g}) without a correction"
        )


def freeman_tukey(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Freeman-Tukey double arcsine, half-sum form, radians (real-valued ``x`` allowed)."""
    return 0.5 * (np.arcsin(np.sqrt(x / (n + 1.0))) + np.arcsin(np.sqrt((x + 1.0) / (n + 1.0))))


def effective_total(total, mean: str = "harmonic") -> float:
    """Number of patients at which a pooled Freeman-Tukey value is turned back.

    ``harmonic`` is Miller's choice (1978, doi:10.1080/00031305.1978.10479283) and metafor's;
    ``geometric`` and ``arithmetic`` are the alternatives discussed by Schwarzer et al. (2019,
    doi:10.1002/jrsm.1348), who show how much the answer depends on this choice.
    """
    n = np.asarray(total, dtype=float)
    mean = check_choice(mean, "ft_n", FT_MEANS)
    if mean == "harmonic":
        return n.shape[-1] / (1.0 / n).sum(axis=-1)
    if mean == "geometric":
        return np.exp(np.log(n).mean(axis=-1))
    return n.mean(axis=-1)


def forward(p, transform: str, n=None):
    """Proportion to effect size; ``n`` only for Freeman-Tukey."""
    p = np.asarray(p, dtype=float)
    transform = check_choice(transform, "transform", TRANSFORMS)
    if transform == "logit":
        return np.log(p) - np.log1p(-p)
    if transform == "log":
        return np.log(p)
    if transform == "raw":
        return p.copy()
    if transform == "arcsine":
        return np.arcsin(np.sqrt(p))
    if n is None:
        raise ValueError("transform 'freeman-tukey' needs a total n")
    n = np.asarray(n, dtype=float)
    return freeman_tukey(p * n, n)


def expit(z):
    """Inverse logit without overflow (array_like)."""
    z = np.asarray(z, dtype=float)
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


def inverse(y, transform: str, n=None):
    """Effect size back to a proportion; values beyond the scale's ends give 0 or 1.

    Parameters
    ----------
    y : array_like
        On the scale of ``transform``.
    transform : str
        As in :func:`effect_sizes`.
    n : array_like, optional
        Total for the Freeman-Tukey inverse of Miller (1978,
        doi:10.1080/00031305.1978.10479283); see :func:`effective_total`.
    """
    y = np.asarray(y, dtype=float)
    transform = check_choice(transform, "transform", TRANSFORMS)
    if transform == "logit":
        return expit(y)
    if transform == "log":
        return np.exp(np.minimum(y, 0.0))
    if transform == "raw":
        return np.clip(y, 0.0, 1.0)
    if transform == "arcsine":
        return np.sin(np.clip(y, 0.0, 0.5 * np.pi)) ** 2
    if n is None:
        raise ValueError("transform 'freeman-tukey' needs a total n to turn back")
    n = np.asarray(n, dtype=float)
    low, high = freeman_tukey(np.zeros_like(n), n), freeman_tukey(n, n)
    inside = np.clip(y, low, high)
    s2 = np.sin(2.0 * inside)
    # Miller: p = (1 - sgn(cos 2t) sqrt(1 - (sin 2t + (sin 2t - 1/sin 2t)/n)^2)) / 2
    root = np.sqrt(np.maximum(0.0, 1.0 - (s2 + (s2 - 1.0 / s2) / n) ** 2))
    p = 0.5 * (1.0 - np.sign(np.cos(2.0 * inside)) * root)
    return np.where(y <= low, 0.0, np.where(y >= high, 1.0, p))
