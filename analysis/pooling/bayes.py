"""Bayesian pooling by deterministic quadrature: no random numbers, no Markov chains.

Model: a trial's true logit is normal with mean ``mu`` and standard deviation ``tau``; priors are
``mu ~ normal(0, mu_scale)`` and ``tau ~ half-normal(tau_scale)``, the weakly informative choice of
Roever et al. 2021 (doi:10.1002/jrsm.1475). The data enter through the binomial likelihood
(``model="glmm"``) or through logits with known variances (``model="normal"``).

Method: given ``tau`` the posterior of ``mu`` is log-concave, so its mode and the window in which
it exceeds exp(-37) of the maximum are found by Newton's method and covered with equidistant
points. Over ``tau = c sinh(u)`` the posterior is an even analytic function of ``u``, covered
likewise. The trapezoidal rule then converges geometrically (Trefethen and Weideman 2014,
doi:10.1137/130932132), and distribution functions come from the band-limited (sinc) interpolant
of the same points. Against independent integrations (Gauss-Legendre panels; mpmath) probabilities
and moments agree to 1e-11; to 1e-8 where the prior of ``mu`` is much narrower than the trials'
own precision.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from ._stats import chi2_sf
from ._validate import check_choice, check_counts, check_labels, check_level, check_positive
from .betabinomial import saturated_statistic
from .effects import effect_sizes
from .fit import Fit
from .proportion import wilson
from .quadrature import Trials, derivatives, log_marginal, marginal_proportion, prepare

__all__ = ["MODELS", "BayesFit", "Posterior", "fit_bayes"]

MODELS = ("glmm", "normal")

_DROP = 37.0  # windows end where the density is below exp(-37) of its maximum
_SQRT2PI = math.sqrt(2.0 * math.pi)
_HERMITE_X, _HERMITE_W = np.polynomial.hermite_e.hermegauss(48)
_HERMITE_W = _HERMITE_W / _SQRT2PI


class _Terms(NamedTuple):
    value: np.ndarray
    first: np.ndarray
    second: np.ndarray


# A likelihood maps mu (T, J) and tau2 (T, 1) to the sum over trials of the log-likelihood and,
# if asked, its first two derivatives in mu.
_Likelihood = Callable[[np.ndarray, np.ndarray, bool], _Terms]


def _binomial_likelihood(trials: Trials) -> _Likelihood:
    def evaluate(mu: np.ndarray, tau2: np.ndarray, slopes: bool) -> _Terms:
        m, v = mu[..., None], tau2[..., None]
        if not slopes:
            value = log_marginal(trials, m, v).sum(axis=-1)
            return _Terms(value, value, value)
        d = derivatives(trials, m, v)
        return _Terms(d.value.sum(-1), d.mu.sum(-1), d.mu_mu.sum(-1))

    return evaluate


def _normal_likelihood(y: np.ndarray, v: np.ndarray) -> _Likelihood:
    def evaluate(mu: np.ndarray, tau2: np.ndarray, slopes: bool) -> _Terms:
        total = v + tau2[..., None]
        gap = y - mu[..., None]
        value = -0.5 * (np.log(2.0 * np.pi * total) + gap * gap / total).sum(-1)
        if not slopes:
            return _Terms(value, value, value)
        first = (gap / total).sum(-1)
        second = np.broadcast_to(-(1.0 / total).sum(-1), first.shape)
        return _Terms(value, first, second)

    return evaluate


@dataclass(frozen=True, eq=False)
class Posterior:
    """Joint posterior of ``mu`` and ``tau`` on a grid, and what follows from it.

    Attributes
    ----------
    tau : numpy.ndarray, shape (T,)
        Values of tau (logit scale), ``tau = scale * sinh(u)`` for equidistant ``u``.
    mu : numpy.ndarray, shape (T, J)
        Values of mu (logit scale), equidistant in each row.
    mass : numpy.ndarray, shape (T, J)
        Posterior probability carried by each point; sums to 1.
    average_logit, average_slope : numpy.ndarray, shape (T, J)
        Logit of the population-averaged proportion E[expit(mu + tau Z)] and its slope in mu.
    u, scale : numpy.ndarray, float
        The working variable of tau.
    log_evidence : float
        Log of the prior predictive probability of the data (binomial coefficients included for
        the binomial likelihood).

    Notes
    -----
    Distribution functions take and return plain floats. Scales are named in each method.
    """

    tau: np.ndarray
    mu: np.ndarray
    mass: np.ndarray
    average_logit: np.ndarray
    average_slope: np.ndarray
    u: np.ndarray
    scale: float
    log_evidence: float

    # -- mu ---------------------------------------------------------------------------------
    def _given_tau(self, points: np.ndarray) -> np.ndarray:
        """P(mu <= point, tau = tau_t), shape (T, P), for points of shape (T, P)."""
        return _sinc_cdf(self.mu, self.mass, points)

    def mu_cdf(self, value: float) -> float:
        """P(mu <= value), logit scale."""
        points = np.full((self.tau.size, 1), float(value))
        return _clip(float(self._given_tau(points).sum()))

    def mu_quantile(self, prob: float) -> float:
        """Quantile of mu, logit scale."""
        return _invert(self.mu_cdf, prob, self._mu_range(), self._rough()[:2])

    def _rough(self) -> tuple[float, float, float]:
        """Mean and standard deviation of mu, and root mean square of tau (logit scale)."""
        mean = float((self.mass * self.mu).sum())
        variance = float((self.mass * (self.mu - mean) ** 2).sum())
        square = float((self.mass.sum(axis=1) * self.tau**2).sum())
        return mean, math.sqrt(variance), math.sqrt(square)

    def _mu_range(self) -> tuple[float, float]:
        return float(self.mu.min()), float(self.mu.max())

    # -- tau --------------------------------------------------------------------------------
    def tau_cdf(self, value: float) -> float:
        """P(tau <= value), logit scale."""
        if value <= 0.0:
            return 0.0
        end = math.asinh(value / self.scale)
        step = self.u[1] - self.u[0]
        weight = self.mass.sum(axis=1)
        up, _ = special.sici(np.pi * (end - self.u) / step)
        down, _ = special.sici(np.pi * (-end - self.u) / step)
        # the density is even in u; mass at u = 0 already carries half a cell, so that the
        # mirrored half-line completes it
        return _clip(float(((up - down) / np.pi * weight).sum()))

    def tau_mean(self) -> float:
        """Posterior mean of tau, logit scale.

        tau is odd in the working variable, so the trapezoidal sum would be off by the square of
        its step; the band-limited interpolant is integrated by Gauss-Legendre panels instead.
        """
        step = self.u[1] - self.u[0]
        weight = self.mass.sum(axis=1)
        node, w = np.polynomial.legendre.leggauss(16)
        edges = np.linspace(0.0, self.u[-1], 2 * self.u.size + 1)
        half = 0.5 * np.diff(edges)
        u = (0.5 * (edges[:-1] + edges[1:])[:, None] + half[:, None] * node).ravel()
        w = (half[:, None] * w).ravel()
        kernel = np.sinc((u[:, None] - self.u) / step) + np.sinc((u[:, None] + self.u) / step)
        density = (kernel @ weight) / step
        return float(np.sum(w * density * self.scale * np.sinh(u)))

    def tau_quantile(self, prob: float) -> float:
        """Quantile of tau, logit scale."""
        far = float(self.tau[-1])
        return _invert(self.tau_cdf, prob, (0.0, far))

    # -- population-averaged proportion -------------------------------------------------------
    def marginal_cdf(self, value: float) -> float:
        """P(E[expit(mu + tau Z)] <= value), proportion scale."""
        if value <= 0.0:
            return 0.0
        if value >= 1.0:
            return 1.0
        return self._marginal_logit_cdf(float(special.logit(value)))

    def _marginal_logit_cdf(self, target: float) -> float:
        # for each tau the mu whose population average has this logit: inverse Hermite
        # interpolation in the table, then one Newton step
        rows = np.arange(self.tau.size)
        right = np.clip((self.average_logit < target).sum(axis=1), 1, self.mu.shape[1] - 1)
        left = right - 1
        a0, a1 = self.average_logit[rows, left], self.average_logit[rows, right]
        m0, m1 = self.mu[rows, left], self.mu[rows, right]
        width = a1 - a0
        s = np.clip((target - a0) / width, -1.0, 2.0)
        d0 = width / self.average_slope[rows, left]
        d1 = width / self.average_slope[rows, right]
        m = (
            (1.0 + 2.0 * s) * (1.0 - s) ** 2 * m0
            + s * (1.0 - s) ** 2 * d0
            + s * s * (3.0 - 2.0 * s) * m1
            + s * s * (s - 1.0) * d1
        )
        value, slope = _average_logit(m, self.tau)
        m = m - np.clip((value - target) / slope, -1.0, 1.0)
        return _clip(float(self._given_tau(m[:, None]).sum()))

    def marginal_quantile(self, prob: float) -> float:
        """Quantile of the population-averaged proportion."""
        mean, sd, tau = self._rough()
        # averaging over trials draws a logit toward zero (Zeger, Liang and Albert 1988,
        # doi:10.2307/2531734)
        shrink = 1.0 / math.sqrt(1.0 + 0.346 * tau * tau)
        near = (mean * shrink, sd * shrink)
        value = _invert(self._marginal_logit_cdf, prob, self._mu_range(), near)
        return float(special.expit(value))

    # -- next trial -------------------------------------------------------------------------
    def next_logit_cdf(self, value: float) -> float:
        """P(mu + tau Z <= value): the next trial's true logit."""
        step = self.mu[:, 1] - self.mu[:, 0]
        wide = self.tau >= 3.0 * step
        out = 0.0
        if wide.any():
            z = (value - self.mu[wide]) / self.tau[wide][:, None]
            out += float((self.mass[wide] * special.ndtr(z)).sum())
        if not wide.all():
            points = value - self.tau[~wide][:, None] * _HERMITE_X[None, :]
            given = _sinc_cdf(self.mu[~wide], self.mass[~wide], points)
            out += float((given @ _HERMITE_W).sum())
        return _clip(out)

    def next_rate_cdf(self, rate: float) -> float:
        """P(next trial's true proportion <= rate)."""
        if rate <= 0.0:
            return 0.0
        if rate >= 1.0:
            return 1.0
        return self.next_logit_cdf(float(special.logit(rate)))

    def next_rate_quantile(self, prob: float) -> float:
        """Quantile of the next trial's true proportion."""
        low, high = self._mu_range()
        reach = 9.0 * float(self.tau[-1])
        mean, sd, tau = self._rough()
        near = (mean, math.hypot(sd, tau))
        value = _invert(self.next_logit_cdf, prob, (low - reach, high + reach), near)
        return float(special.expit(value))

    def expectation(self, function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
        """Posterior mean of ``function(mu, tau)``; arguments broadcast to shape (T, J).

        Exact to about 1e-10 for smooth functions of mu and tau squared; for functions odd in tau
        see :meth:`tau_mean`.
        """
        return float((self.mass * function(self.mu, self.tau[:, None])).sum())


def _sinc_cdf(grid: np.ndarray, mass: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Integral up to ``points`` (T, P) of the band-limited interpolant of ``mass`` (T, J)."""
    step = (grid[:, 1] - grid[:, 0])[:, None, None]
    si, _ = special.sici(np.pi * (points[:, :, None] - grid[:, None, :]) / step)
    return (mass[:, None, :] * (0.5 + si / np.pi)).sum(axis=2)


def _average_logit(mu: np.ndarray, tau: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logit of E[expit(mu + tau Z)] and its slope in mu, without loss of digits near one."""
    p, slope, _ = marginal_proportion(-np.abs(mu), tau**2)
    value = special.logit(p)
    return np.where(mu < 0, value, -value), slope / (p * (1.0 - p))


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))


def _invert(
    cdf: Callable[[float], float],
    prob: float,
    bracket: tuple[float, float],
    near: tuple[float, float] | None = None,
) -> float:
    """Solve ``cdf(x) = prob`` in a bracket.

    ``near`` is a mean and a standard deviation that the distribution has roughly. On the scale of
    normal quantiles its distribution function is then nearly a straight line, and the secant
    method needs few steps; where it leaves the bracket, Brent's method takes over.
    """
    if not 0.0 < prob < 1.0:
        raise ValueError(f"a quantile needs a probability strictly between 0 and 1, got {prob!r}")
    low, high = bracket  # wide by construction: the density outside is below exp(-37)
    target = float(special.ndtri(prob))
    if near is not None and near[1] > 0.0:
        x, slope, before = near[0] + target * near[1], near[1], (0.0, 0.0)
        for turn in range(25):
            if not low < x < high:
                break
            z = float(special.ndtri(cdf(x)))
            if not math.isfinite(z):
                break
            if turn and z != before[1]:
                slope = (x - before[0]) / (z - before[1])
            step = (target - z) * slope
            before = (x, z)
            x += step
            if abs(step) < 1e-9 * (1.0 + abs(x)):
                return x
    from scipy.optimize import brentq

    return float(brentq(lambda x: cdf(x) - prob, low, high, xtol=1e-13, rtol=1e-13))


def _mode(lik: _Likelihood, tau2: np.ndarray, prior: float, start: float) -> tuple[np.ndarray, ...]:
    """Mode over mu at each tau2 (T,), value there and curvature (log posterior, no constants)."""
    m = np.full(tau2.size, start)
    low, high = np.full(tau2.size, -np.inf), np.full(tau2.size, np.inf)
    for _ in range(200):
        t = lik(m[:, None], tau2[:, None], True)
        first = t.first[:, 0] - m * prior
        second = t.second[:, 0] - prior
        low = np.where(first > 0, m, low)
        high = np.where(first > 0, high, m)
        step = np.clip(-first / second, -4.0, 4.0)
        new = m + step
        escaped = (new <= low) | (new >= high)
        new = np.where(escaped, np.where(np.isfinite(low + high), 0.5 * (low + high), new), new)
        small = np.abs(step) * np.sqrt(-second) < 1e-9
        m = np.where(small, m, new)
        if small.all():
            break
    t = lik(m[:, None], tau2[:, None], True)
    return m, t.value[:, 0] - 0.5 * prior * m * m, -(t.second[:, 0] - prior)


def _posterior(lik: _Likelihood, start: float, within: float, tau_scale: float, mu_scale: float):
    """Grid posterior. ``within`` is the smallest within-trial standard deviation."""
    prior = 1.0 / mu_scale**2
    scale = min(within, tau_scale)
    top_u = math.asinh(math.sqrt(2.0 * _DROP) * tau_scale / scale)

    def rough(u: np.ndarray) -> np.ndarray:
        tau = scale * np.sinh(u)
        _, value, curvature = _mode(lik, tau * tau, prior, start)
        return value - 0.5 * np.log(curvature) - 0.5 * (tau / tau_scale) ** 2 + np.log(np.cosh(u))

    coarse = np.linspace(0.0, top_u, 97)
    g = rough(coarse)
    keep = np.flatnonzero(g > g.max() - _DROP - 3.0)
    low = coarse[max(keep[0] - 1, 0)]
    high = coarse[min(keep[-1] + 1, coarse.size - 1)]
    if (high - low) < 24 * (coarse[1] - coarse[0]):  # a narrow posterior: look closer
        coarse = np.linspace(low, high, 97)
        g = rough(coarse)
        keep = np.flatnonzero(g > g.max() - _DROP - 3.0)
        low = coarse[max(keep[0] - 1, 0)]
        high = coarse[min(keep[-1] + 1, coarse.size - 1)]
    gap = coarse[1] - coarse[0]
    bend = -(g[2:] - 2.0 * g[1:-1] + g[:-2]) / gap**2
    near = g[1:-1] > g.max() - 8.0
    sharp = float(bend[near].max()) if near.any() else 1.0
    step = min(0.16, 0.4 / math.sqrt(max(sharp, 1e-6)))
    count = math.ceil((high - low) / step) + 1
    u = np.linspace(low, high, count)
    tau = scale * np.sinh(u)
    tau2 = tau * tau
    m, value, curvature = _mode(lik, tau2, prior, start)
    sd = 1.0 / np.sqrt(curvature)

    # ends of the window in mu: a tangent lies above a concave function, so Newton steps towards
    # the level never stop inside
    sign = np.array([-1.0, 1.0])
    reach = np.repeat((1.1 * math.sqrt(2.0 * _DROP) * sd)[:, None], 2, axis=1)
    limit = math.sqrt(2.0 * _DROP) * mu_scale
    for _ in range(4):
        at = m[:, None] + sign * reach
        t = lik(at, tau2[:, None], True)
        excess = t.value - 0.5 * prior * at * at - (value - _DROP)[:, None]
        slope = sign * (t.first - prior * at)
        reach = np.minimum(reach - excess / slope, limit)
    start_mu, end_mu = m - reach[:, 0], m + reach[:, 1]
    nodes = int(np.clip(np.ceil(((end_mu - start_mu) / (0.22 * sd)).max()), 97, 601))
    grid = start_mu[:, None] + (end_mu - start_mu)[:, None] * np.linspace(0.0, 1.0, nodes)
    log_density = lik(grid, tau2[:, None], False).value - 0.5 * prior * grid * grid
    log_density += (-0.5 * (tau / tau_scale) ** 2 + np.log(np.cosh(u)))[:, None]
    log_density += np.log((end_mu - start_mu) / (nodes - 1))[:, None]
    peak = float(log_density.max())
    mass = np.exp(log_density - peak)
    if low == 0.0:
        mass[0] *= 0.5
    total = float(mass.sum())
    constant = math.log(2.0 * scale * (u[1] - u[0])) - math.log(_SQRT2PI * tau_scale)
    constant -= math.log(_SQRT2PI * mu_scale)
    average_logit, average_slope = _average_logit(grid, tau[:, None])
    return Posterior(
        tau=tau,
        mu=grid,
        mass=mass / total,
        average_logit=average_logit,
        average_slope=average_slope,
        u=u,
        scale=scale,
        log_evidence=peak + math.log(total) + constant,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class BayesFit(Fit):
    """A :class:`Fit` with the posterior it was read from (``posterior``; not exported)."""

    posterior: Posterior

    def prob_next_exceeds(self, rate: float) -> float:
        """Posterior probability that the next trial's true proportion exceeds ``rate``.

        Raises ``ValueError`` unless 0 <= rate <= 1.
        """
        return 1.0 - self.posterior.next_rate_cdf(_check_rate(rate))

    def prob_median_exceeds(self, rate: float) -> float:
        """Posterior probability that the median trial's true proportion exceeds ``rate``."""
        value = _check_rate(rate)
        if value in (0.0, 1.0):
            return 1.0 - value
        return 1.0 - self.posterior.mu_cdf(float(special.logit(value)))

    def to_dict(self) -> dict[str, Any]:
        """As :meth:`Fit.to_dict`; the grid of the posterior is left out."""
        return Fit(**{f.name: getattr(self, f.name) for f in fields(Fit)}).to_dict()


def _check_rate(rate: Any) -> float:
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.number):
        raise ValueError(f"a threshold must be a proportion between 0 and 1, got {rate!r}")
    value = float(rate)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"a threshold must be a proportion between 0 and 1, got {rate!r}")
    return value


def _summary(mean: float, sd: float, quantile: Callable[[float], float], level: float) -> dict:
    return {
        "mean": mean,
        "sd": sd,
        "median": quantile(0.5),
        "low": quantile(0.5 - level / 2),
        "high": quantile(0.5 + level / 2),
    }


def _moments(post: Posterior, function: Callable[..., np.ndarray]) -> tuple[float, float]:
    mean = post.expectation(function)
    second = post.expectation(lambda m, t: (function(m, t) - mean) ** 2)
    return mean, math.sqrt(second)


# A book asks for the same posterior on many pages; each takes a tenth of a second.
@lru_cache(maxsize=256)
def _solved(
    events: tuple[int, ...],
    total: tuple[int, ...],
    kind: str,
    tau_scale: float,
    mu_scale: float,
    level: float,
) -> tuple[Posterior, dict[str, Any], np.ndarray]:
    """Posterior, its summaries (the ``details`` of a fit) and each trial's weight."""
    x, n = np.array(events, dtype=np.int64), np.array(total, dtype=np.int64)
    y, v = effect_sizes(x, n, "logit")
    trials = prepare(x, n)
    lik = _binomial_likelihood(trials) if kind == "glmm" else _normal_likelihood(y, v)
    start = float(np.average(y, weights=1.0 / (v + 1.0)))
    post = _posterior(lik, start, math.sqrt(float(v.min())), tau_scale, mu_scale)

    def rate_at(m: np.ndarray, t: np.ndarray) -> np.ndarray:
        return special.expit(m) + 0.0 * t

    average = special.expit(post.average_logit)
    next_square = _next_second_moment(post)
    mean_average = float((post.mass * average).sum())
    sd_average = math.sqrt(float((post.mass * (average - mean_average) ** 2).sum()))
    tau_mean = post.tau_mean()
    tau_sd = math.sqrt(max(0.0, post.expectation(lambda m, t: t * t + 0.0 * m) - tau_mean**2))
    details: dict[str, Any] = {
        "likelihood": "binomial" if kind == "glmm" else "normal, known variances",
        "tau_scale": tau_scale,
        "mu_scale": mu_scale,
        "prior": f"mu normal(0, {mu_scale:g}), tau half-normal({tau_scale:g}), logit scale",
        "log_evidence": post.log_evidence,
        "mu": _summary(*_moments(post, lambda m, t: m + 0.0 * t), post.mu_quantile, level),
        "tau": _summary(tau_mean, tau_sd, post.tau_quantile, level),
        "marginal": _summary(mean_average, sd_average, post.marginal_quantile, level),
        "next_rate": _summary(
            mean_average,
            math.sqrt(max(0.0, next_square - mean_average**2)),
            post.next_rate_quantile,
            level,
        ),
        "tau2_ci_method": "equal-tailed credible interval of tau, squared",
        "pi_method": "posterior predictive distribution of the next trial's true proportion",
    }
    mean, sd = _moments(post, rate_at)
    details["proportion"] = {"mean": mean, "sd": sd} | {
        name: float(special.expit(details["mu"][name])) for name in ("median", "low", "high")
    }
    mu, tau = details["mu"]["median"], details["tau"]["median"]
    info = 1.0 / (v + tau**2)
    if kind == "glmm":
        info = -derivatives(trials, mu, tau**2).mu_mu
    return post, details, info / info.sum()


def fit_bayes(
    events: Any,
    total: Any,
    *,
    model: str = "glmm",
    tau_scale: float = 1.0,
    mu_scale: float = 2.5,
    interval: str | None = None,
    level: float = 0.95,
    labels: Sequence[Any] | None = None,
    thresholds: Sequence[float] = (),
) -> BayesFit:
    """Posterior of a pooled proportion by deterministic quadrature.

    Parameters
    ----------
    events, total : array_like of int, shape (k,)
        Counts with 0 <= events <= total and total >= 1.
    model : {"glmm", "normal"}
        Binomial likelihood, or logits with known variances 1/x + 1/(n - x), 0.5 being added to
        both cells of trials with an empty cell only.
    tau_scale : float, default 1
        Scale of the half-normal prior of the between-trial standard deviation (logit scale).
    mu_scale : float, default 2.5
        Standard deviation of the normal prior of mu (logit scale, mean 0).
    interval : {"credible"}, optional
        Equal-tailed credible intervals are the only kind.
    level : float, default 0.95
    labels : sequence of str, optional
    thresholds : sequence of float, optional
        Proportions; ``details["prob_next_exceeds"]`` then holds the posterior probability that
        the next trial's true proportion exceeds each.

    Returns
    -------
    BayesFit
        ``estimate``: posterior median of the median trial's proportion expit(mu), with ``ci_low``
        and ``ci_high`` the equal-tailed credible interval; ``mu`` and ``se``: posterior median
        and standard deviation of mu (logit scale); ``tau2``, ``tau2_ci``: squares of the
        posterior median and credible limits of tau; ``pi_low``, ``pi_high``: equal-tailed
        interval of the predictive distribution of the next trial's true proportion;
        ``marginal_estimate``, ``marginal_ci``: posterior median and credible interval of the
        population-averaged proportion E[expit(mu + tau Z)]. ``details`` has mean, sd, median,
        low and high of ``mu``, ``tau``, ``proportion``, ``marginal`` and ``next_rate``, the
        priors and ``log_evidence``. ``weight`` is each trial's share of the information on mu at
        the posterior medians. ``i2`` is 100 tau2 / (tau2 + typical variance), the variances
        being those of the logits, and ``q`` tests as in the GLMM. Likelihood-ratio fields are
        None. ``prob_next_exceeds(rate)`` answers for any threshold.

    Raises
    ------
    ValueError
        For impossible counts, scales that are not positive, an unknown model or threshold.

    Notes
    -----
    A posterior exists for every data set, also where all trials are at 0 or at 1. With one trial
    nothing is pooled: ``estimate`` and its intervals are None as in the other models, while
    ``details`` and ``posterior`` hold the posterior, in which tau is known from its prior alone.
    """
    x, n = check_counts(events, total)
    level = check_level(level)
    names = check_labels(labels, x.size)
    kind = check_choice(model, "model", MODELS)
    check_choice(interval or "credible", "interval", ("credible",))
    tau_scale = check_positive(tau_scale, "tau_scale")
    mu_scale = check_positive(mu_scale, "mu_scale")
    rates = [_check_rate(rate) for rate in thresholds]
    k = x.size
    post, details, weight = _solved(
        tuple(x.tolist()), tuple(n.tolist()), kind, tau_scale, mu_scale, level
    )
    details = copy.deepcopy(details)
    mu, tau = details["mu"]["median"], details["tau"]["median"]
    if rates:
        details["prob_next_exceeds"] = {f"{r:g}": 1.0 - post.next_rate_cdf(r) for r in rates}
    own = wilson(x, n, level)
    base: dict[str, Any] = {
        "model": "bayes",
        "transform": "logit",
        "interval": "credible",
        "level": level,
        "k": k,
        "events": x,
        "total": n,
        "labels": names,
        "study_estimate": x / n,
        "study_ci_low": own[0],
        "study_ci_high": own[1],
        "weight": weight.copy(),
        "details": details,
        "posterior": post,
    }
    if k == 1:
        return BayesFit(
            **base,
            notes=(
                "One trial: shown, not pooled. The posterior in the details knows tau from its "
                "prior alone.",
            ),
        )
    notes = [f"Priors: {details['prior']}."]
    if x.sum() == 0:
        notes.append("No trial had an event: the lower end of the posterior rests on the prior.")
    elif np.array_equal(x, n):
        notes.append(
            "Every patient of every trial had the event: the upper end of the posterior rests on "
            "the prior."
        )
    if k < 5:
        notes.append("With fewer than five trials the prior of tau weighs in the intervals.")
    q = saturated_statistic(x, n)
    _, v = effect_sizes(x, n, "logit")
    s1, s2 = float((1.0 / v).sum()), float((1.0 / v**2).sum())
    typical = (k - 1) * s1 / (s1**2 - s2)
    return BayesFit(
        **base,
        estimate=details["proportion"]["median"],
        ci_low=details["proportion"]["low"],
        ci_high=details["proportion"]["high"],
        pi_low=details["next_rate"]["low"],
        pi_high=details["next_rate"]["high"],
        mu=mu,
        se=details["mu"]["sd"],
        tau2=tau**2,
        i2=100.0 * tau**2 / (tau**2 + typical),
        tau2_ci=(details["tau"]["low"] ** 2, details["tau"]["high"] ** 2),
        q=q,
        q_df=k - 1,
        q_p=chi2_sf(q, k - 1),
        notes=tuple(notes),
        marginal_estimate=details["marginal"]["median"],
        marginal_ci=(details["marginal"]["low"], details["marginal"]["high"]),
    )


def _next_second_moment(post: Posterior) -> float:
    """E[expit(mu + tau Z)^2]: the probability that two patients of the next trial both respond."""
    pair = prepare(np.array(2.0), np.array(2.0))
    value = np.exp(log_marginal(pair, post.mu, (post.tau**2)[:, None]))
    return float((post.mass * value).sum())
