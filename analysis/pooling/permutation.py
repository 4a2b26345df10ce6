"""P-values by permuting moderators over trials, without a fit per permutation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _glmm_regression as glmm
from . import quadrature as quad
from ._design import build_design, parse_moderators
from ._validate import check_counts
from .moderators import _distinct_count, _distinct_orders

__all__ = ["Permutation", "score_permutation"]


@dataclass(frozen=True)
class Permutation:
    """Result of `score_permutation`.

    Attributes
    ----------
    p : float
        Share of the permutations with a statistic at least as large as the observed one.
    count : int
        Permutations compared, the observed one among them.
    exact : bool
        Whether these are all distinct ones.
    statistic : float
        Observed score statistic.
    """

    p: float
    count: int
    exact: bool
    statistic: float


def score_permutation(
    events: Any,
    total: Any,
    moderators: Any,
    *,
    draws: int = 9_999,
    seed: int | None = None,
) -> Permutation | None:
    """Test moderators by permuting them over the trials.

    The statistic is the efficient score of the moderators in the binomial-normal model without
    them (Rao 1948, doi:10.1017/S0305004100023987), studentized by the information about the
    trials' means; its ingredients do not depend on the order of the moderators, so that one fit
    serves every permutation. The p-value is exact for any statistic if, under the null
    hypothesis, every assignment of the moderator's values to the trials is equally likely
    (Higgins and Thompson 2004, doi:10.1002/sim.1752).

    Parameters
    ----------
    events, total : array_like of int, shape (k,)
    moderators
        As for :func:`analysis.pooling.fit_moderators`.
    draws : int
        All distinct permutations are compared if there are no more than this; otherwise this
        many, the observed order and ``draws - 1`` random ones.
    seed : int, optional
        Needed where permutations are drawn.

    Returns
    -------
    Permutation or None
        None where the model without moderators has no maximum: no event in any trial, an event
        in every patient, or nothing but trials of these two kinds.

    Raises
    ------
    ValueError
        As :func:`analysis.pooling.fit_moderators`.
    """
    x, n = check_counts(events, total)
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise ValueError(f"draws must be a whole number of at least 1, got {draws!r}")
    terms, values = parse_moderators(moderators, x.size)
    design = build_design(terms, values, x.size)[0][:, 1:]
    rows = [tuple(row) for row in design.tolist()]
    exact = _distinct_count(rows) <= draws
    if not exact and seed is None:
        raise ValueError("drawn permutations need a seed so that they can be repeated")
    if x.sum() == 0 or np.array_equal(x, n):
        return None
    null = glmm.supremum(x, n, np.ones((x.size, 1)))
    if null.top is None:
        return None
    at = quad.derivatives(quad.prepare(x, n), np.full(x.size, null.top.beta[0]), null.top.v)
    score, weight = at.mu, -at.mu_mu
    if exact:
        orders = np.array(list(_distinct_orders(rows)))
    else:
        rng = np.random.default_rng(seed)
        orders = rng.permuted(np.tile(np.arange(x.size), (draws, 1)), axis=1)
        orders[0] = np.arange(x.size)
    observed = _statistic(score, weight, design[None])[0]
    found = _statistic(score, weight, design[orders])
    reached = found >= observed - 1e-9 * (1.0 + abs(observed))
    return Permutation(float(reached.mean()), len(orders), exact, float(observed))


def _statistic(score: np.ndarray, weight: np.ndarray, designs: np.ndarray) -> np.ndarray:
    """Score statistics (B,) of designs (B, k, m) without an intercept."""
    middle = np.einsum("k,bkm->bm", weight, designs) / weight.sum()
    centered = designs - middle[:, None, :]
    u = np.einsum("k,bkm->bm", score, centered)
    information = np.einsum("k,bkm,bkl->bml", weight, centered, centered)
    return np.einsum("bm,bm->b", u, np.linalg.solve(information, u[..., None])[..., 0])
