"""Many data sets of the same number of trials at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import chdtrc, xlogy

from . import engine
from . import quadrature as quad
from ._stats import t_quantile, z_quantile
from ._validate import check_choice, check_counts, check_labels, check_level, check_positive
from .api import NORMAL, pool, refuse_unused, resolve
from .bayes_many import bayes_arrays, suits
from .effects import FT_MEANS, TO, effect_sizes, effective_total, expit, inverse
from .fit import Fit
from .glmm import EMPTY, FULL, OK, ONE, SEPARATED, SINGLE, glmm_arrays
from .normal import normal_arrays
from .proportion import clopper_pearson, wilson

__all__ = ["Batch", "pool_many"]

CHUNK = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What :func:`pool_many` returns: the numbers of :class:`Fit` as arrays of length B.

    A quantity that does not exist for a data set is NaN there, and ``status`` says why:
    ``"ok"``, ``"one trial"``, ``"no events"``, ``"only events"``, ``"every trial without events
    or full"`` or ``"one patient per trial"``. Scales and definitions are those of
    :class:`Fit`. ``tau2_ci`` and ``marginal_ci`` have shape (B, 2); so has ``mu_ci``, the
    interval on the link scale. ``k`` is one number. Per-study values are not computed.
    """

    model: str
    transform: str
    interval: str
    level: float
    k: int
    events: np.ndarray
    total: np.ndarray
    status: np.ndarray
    estimate: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray
    pi_low: np.ndarray
    pi_high: np.ndarray
    mu: np.ndarray
    se: np.ndarray
    mu_ci: np.ndarray
    tau2: np.ndarray
    tau2_ci: np.ndarray
    i2: np.ndarray
    q: np.ndarray
    q_df: int
    q_p: np.ndarray
    lrt: np.ndarray
    lrt_p: np.ndarray
    log_likelihood: np.ndarray
    aic: np.ndarray
    converged: np.ndarray
    marginal_estimate: np.ndarray
    marginal_ci: np.ndarray

    def __len__(self) -> int:
        return self.events.shape[0]

    def fit(self, i: int, labels: Sequence[Any] | None = None) -> Fit:
        """Return the numbers of data set ``i`` as a :class:`Fit`.

        It has no details, and notes say only what ``status`` says. Weights are shares of the
        information on mu at the estimates; the intervals of the single trials are Wilson's.

        Parameters
        ----------
        i : int
            Position in the batch.
        labels : sequence of str, optional
            Names of the trials.

        Raises
        ------
        ValueError
            For a model other than the GLMM and the Bayesian one, or a data set without a finite
            pooled mean: ask :func:`pool` for those.
        """
        x, n = self.events[i], self.total[i]
        if self.model not in ("glmm", "bayes") or np.isnan(self.mu[i]):
            raise ValueError(f"data set {i}, model {self.model!r}: use pool() for its fit")
        information = -quad.derivatives(quad.prepare(x, n), self.mu[i], self.tau2[i]).mu_mu
        own = wilson(x, n, self.level)
        values: dict[str, Any] = {name: _number(getattr(self, name)[i]) for name in _VECTORS}
        for name in ("tau2_ci", "marginal_ci"):
            pair = getattr(self, name)[i]
            values[name] = None if np.isnan(pair).any() else (float(pair[0]), float(pair[1]))
        return Fit(
            model=self.model,
            transform=self.transform,
            interval=self.interval,
            level=self.level,
            k=self.k,
            events=x,
            total=n,
            labels=check_labels(labels, x.size),
            q_df=self.q_df,
            converged=bool(self.converged[i]),
            notes=() if self.status[i] == OK else (f"Status: {self.status[i]}.",),
            study_estimate=x / n,
            study_ci_low=own[0],
            study_ci_high=own[1],
            weight=information / information.sum(),
            **values,
        )


_VECTORS = (
    "estimate", "ci_low", "ci_high", "pi_low", "pi_high", "mu", "se", "tau2", "i2", "q", "q_p",
    "lrt", "lrt_p", "log_likelihood", "aic", "marginal_estimate",
)  # fmt: skip


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


_PAIRS = ("mu_ci", "tau2_ci", "marginal_ci")


def _blank(b: int) -> dict[str, np.ndarray]:
    out = {name: np.full(b, np.nan) for name in _VECTORS}
    out |= {name: np.full((b, 2), np.nan) for name in _PAIRS}
    out["converged"] = np.zeros(b, dtype=bool)
    out["status"] = np.full(b, OK, dtype=object)
    return out


def pool_many(
    events,
    total,
    model: str = "glmm",
    *,
    interval: str | None = None,
    level: float = 0.95,
    transform: str = "logit",
    add: float | None = None,
    to: str = "only0",
    ft_n: str = "harmonic",
    tau_scale: float = 1.0,
    mu_scale: float = 2.5,
    likelihood: str = "binomial",
    tau2_interval: bool = True,
) -> Batch:
    """Pool B data sets of k trials each; the same answers as :func:`pool` one by one.

    Parameters
    ----------
    events : array_like of int, shape (B, k)
        Events of each trial in each data set.
    total : array_like of int, shape (B, k) or (k,)
        Totals; one row serves all data sets.
    model, interval, level, transform, add, to, ft_n, tau_scale, mu_scale, likelihood
        As in :func:`pool`. The GLMM, the two-step models and the Bayesian model are vectorized,
        the latter for data sets of at most :data:`analysis.pooling.bayes_many.MOST_PATIENTS`
        patients, where it agrees with :func:`pool` to 1e-7; the others loop.
    tau2_interval : bool
        Whether the GLMM computes profile limits of tau2 (``tau2_ci``); leave it out to save
        time where only the mean is wanted.

    Returns
    -------
    Batch

    Raises
    ------
    ValueError
        As :func:`pool`, naming row and column.
    """
    model, interval, transform = resolve(model, interval, transform)
    to = check_choice(to, "to", TO)
    ft_n = check_choice(ft_n, "ft_n", FT_MEANS)
    refuse_unused(
        model, transform, False, add=add, to=to, ft_n=ft_n, tau_scale=tau_scale,
        mu_scale=mu_scale, likelihood=likelihood, tau2_interval=tau2_interval,
    )  # fmt: skip
    level = check_level(level)
    x, n = check_counts(events, total, ndim=2)
    b, k = x.shape
    out = _blank(b)
    if model == "glmm":
        table = engine.ScanTable(x, n, x.size) if k > 1 and b > 1 else None
        for start in range(0, b, CHUNK):
            part = slice(start, start + CHUNK)
            made = _glmm(x[part], n[part], interval, level, tau2_interval, table)
            for name, values in made.items():
                out[name][part] = values
    elif model in NORMAL and k > 1:
        step = 4 * CHUNK
        for start in range(0, b, step):
            part = slice(start, start + step)
            made = _normal(x[part], n[part], model, interval, level, transform, add, to, ft_n)
            for name, values in made.items():
                out[name][part] = values
    elif model == "bayes" and likelihood == "binomial" and k > 1 and suits(n, level):
        out |= _bayes(x, n, level, tau_scale, mu_scale)
    else:
        for i in range(b):
            fit = pool(
                x[i], n[i], model, interval=interval, level=level, transform=transform, add=add,
                to=to, ft_n=ft_n, tau_scale=tau_scale, mu_scale=mu_scale, likelihood=likelihood,
            )  # fmt: skip
            _copy(out, i, fit)
    return Batch(
        model=model,
        transform=transform,
        interval=interval,
        level=level,
        k=k,
        events=x,
        total=n,
        q_df=k - 1,
        **out,
    )


def _copy(out: dict[str, np.ndarray], i: int, fit: Fit) -> None:
    """Put one fit into row i."""
    for name in _VECTORS:
        value = getattr(fit, name)
        if value is not None:
            out[name][i] = value
    for name in ("tau2_ci", "marginal_ci"):
        value = getattr(fit, name)
        if value is not None:
            out[name][i] = value
    if "mu_ci" in fit.details:
        out["mu_ci"][i] = fit.details["mu_ci"]
    elif "mu" in fit.details:
        out["mu_ci"][i] = fit.details["mu"]["low"], fit.details["mu"]["high"]
    out["converged"][i] = fit.converged
    if fit.k == 1:
        out["status"][i] = ONE
    elif fit.events.sum() == 0 or (fit.events == fit.total).all():
        out["status"][i] = EMPTY if fit.events.sum() == 0 else FULL


def _bayes(x, n, level, tau_scale, mu_scale) -> dict[str, np.ndarray]:
    tau_scale = check_positive(tau_scale, "tau_scale")
    mu_scale = check_positive(mu_scale, "mu_scale")
    a = bayes_arrays(x, n, tau_scale=tau_scale, mu_scale=mu_scale, level=level)
    out = _blank(x.shape[0])
    out["mu"], out["se"] = a["mu"], a["se"]
    out["estimate"] = expit(a["mu"])
    out["mu_ci"] = a["mu_ci"]
    out["ci_low"], out["ci_high"] = expit(a["mu_ci"]).T
    out["pi_low"], out["pi_high"] = a["pi"].T
    out["tau2"], out["tau2_ci"] = a["tau"] ** 2, a["tau_ci"] ** 2
    out["marginal_estimate"], out["marginal_ci"] = a["marginal"], a["marginal_ci"]
    out["converged"][:] = True
    events, patients = x.sum(axis=1), n.sum(axis=1)
    out["status"][events == 0] = EMPTY
    out["status"][events == patients] = FULL
    common, own = (events / patients)[:, None], x / n
    gain = xlogy(x, own) + xlogy(n - x, 1.0 - own)
    gain -= xlogy(x, common) + xlogy(n - x, 1.0 - common)
    out["q"] = np.maximum(0.0, 2.0 * gain.sum(axis=1))
    out["q_p"] = chdtrc(x.shape[1] - 1, out["q"])
    out["i2"] = 100.0 * out["tau2"] / (out["tau2"] + _typical_variance(x, n))
    return out


def _typical_variance(x, n) -> np.ndarray:
    """Typical variance of a trial's logit (Higgins and Thompson 2002, equation 9)."""
    w = 1.0 / effect_sizes(x, n, "logit")[1]
    s1, s2 = w.sum(axis=1), (w * w).sum(axis=1)
    return (x.shape[1] - 1) * s1 / (s1**2 - s2)


def _boundary_p(lrt: np.ndarray) -> np.ndarray:
    return np.where(lrt > 0, 0.5 * chdtrc(1, np.maximum(lrt, 0.0)), np.where(lrt == 0, 1.0, np.nan))


def _glmm(x, n, interval, level, tau2_interval, table) -> dict[str, np.ndarray]:
    b, k = x.shape
    a = glmm_arrays(x, n, interval, level, tau2_interval=tau2_interval, table=table)
    out = _blank(b)
    status = a["status"]
    out["status"] = status
    out["converged"] = np.where(status == OK, a["settled"], status == ONE).astype(bool)
    out["mu"], out["se"], out["tau2"] = a["mu"], a["se"], a["tau2"]
    out["estimate"] = expit(a["mu"])
    out["estimate"][status == EMPTY] = 0.0
    out["estimate"][status == FULL] = 1.0
    out["mu_ci"] = np.stack([a["ci_low"], a["ci_high"]], axis=1)
    out["ci_low"], out["ci_high"] = expit(a["ci_low"]), expit(a["ci_high"])
    out["tau2_ci"] = np.stack([a["tau2_low"], a["tau2_high"]], axis=1)
    out["log_likelihood"] = a["log_likelihood"]
    out["aic"] = 4.0 - 2.0 * a["log_likelihood"]
    fine = status == OK
    value, zero = a["log_likelihood"], a["log_likelihood_zero"]
    lrt = np.where(a["tau2"] > 0, np.maximum(0.0, 2.0 * (value - zero)), 0.0)
    out["lrt"] = np.where(fine, lrt, np.nan)
    out["lrt_p"] = _boundary_p(out["lrt"])
    if k > 1:
        q = np.maximum(0.0, 2.0 * (quad.log_binomial_saturated(x, n).sum(axis=1) - zero))
        out["q"] = q
        out["q_p"][fine] = chdtrc(k - 1, q[fine])
        out["i2"] = 100.0 * a["tau2"] / (a["tau2"] + _typical_variance(x, n))
    if k >= 3:
        half = t_quantile(level, k - 1) * np.sqrt(a["tau2"] + a["se"] ** 2)
        out["pi_low"], out["pi_high"] = expit(a["mu"] - half), expit(a["mu"] + half)
    rows = np.flatnonzero(fine)
    if rows.size:
        mu, tau2 = a["mu"][rows], a["tau2"][rows]
        p, d_mu, d_v = quad.marginal_proportion(mu, tau2)
        none = quad.prepare(np.zeros(mu.shape), np.ones(mu.shape))
        rest = np.exp(quad.log_marginal(none, mu, tau2))
        g_mu, g_v = d_mu / (p * rest), d_v / (p * rest)
        variance = (
            g_mu**2 * a["var_mu"][rows]
            + 2.0 * g_mu * g_v * a["cov"][rows]
            + g_v**2 * a["var_tau2"][rows]
        )
        quantile = z_quantile(level) if interval == "wald" else t_quantile(level, k - 1)
        center, half = np.log(p) - np.log(rest), quantile * np.sqrt(variance)
        out["marginal_estimate"][rows] = p
        out["marginal_ci"][rows] = np.stack([expit(center - half), expit(center + half)], axis=1)
    rows = np.flatnonzero((status == SEPARATED) | (status == SINGLE))
    if rows.size:
        full = (x[rows] == n[rows]).sum(axis=1)
        out["marginal_estimate"][rows] = full / k
        out["marginal_ci"][rows] = np.stack(clopper_pearson(full, k, level), axis=1)
    return out


def _normal(x, n, model, interval, level, transform, add, to, ft_n) -> dict[str, np.ndarray]:
    y, v = effect_sizes(x, n, transform, add=add, to=to)
    a = normal_arrays(y, v, model, interval, level)
    back = effective_total(n, ft_n) if transform == "freeman-tukey" else None

    def to_p(values: np.ndarray) -> np.ndarray:
        return inverse(values, transform, back)

    out = _blank(x.shape[0])
    for name in ("mu", "se", "tau2", "i2", "q", "q_p", "lrt", "log_likelihood", "aic"):
        out[name] = a[name]
    out["lrt_p"] = _boundary_p(a["lrt"])
    out["estimate"] = to_p(a["mu"])
    out["mu_ci"] = np.stack([a["ci_low"], a["ci_high"]], axis=1)
    out["ci_low"], out["ci_high"] = to_p(a["ci_low"]), to_p(a["ci_high"])
    out["tau2_ci"] = np.stack([a["tau2_low"], a["tau2_high"]], axis=1)
    if x.shape[1] >= 3:
        out["pi_low"] = to_p(a["mu"] - a["pi_k1"])
        out["pi_high"] = to_p(a["mu"] + a["pi_k1"])
    out["converged"] = np.ones(x.shape[0], dtype=bool)
    return out
