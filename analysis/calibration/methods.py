"""Every interval of the engine for many data sets of one design.

The two-step estimates and variances, the GLMM's maximum and its standard errors come from
:mod:`analysis.pooling` itself; profile limits, the beta-binomial model and the posterior are read
from the lattice of the design (:mod:`analysis.calibration.lattice`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import expit, logit

from analysis.calibration import lattice as lat
from analysis.pooling import pool_many
from analysis.pooling._stats import chi2_isf, t_quantile, z_quantile
from analysis.pooling.effects import effect_sizes, effective_total, inverse
from analysis.pooling.glmm import OK, status_of
from analysis.pooling.normal import tau2_estimate
from analysis.pooling.proportion import clopper_pearson

__all__ = ["LEVEL", "METHODS", "SCALES", "Method", "intervals", "methods"]

LEVEL = 0.95
SCALES = (0.5, 1.0, 2.0)
CHUNK = 64

_TRANSFORMS = {"logit": "logit", "arcsine": "arcsine", "ft": "Freeman–Tukey"}
_SCALE = {"logit": "logit", "arcsine": "arcsine", "ft": "freeman-tukey"}
_ESTIMATORS = {"dl": "DL", "reml": "REML", "pm": "PM"}
_TWO_STEP = {"wald": "Wald", "hk": "Hartung–Knapp", "adhoc": "Hartung–Knapp ad hoc"}
_LIKELIHOOD = {
    "wald": "Wald",
    "t": "t(k−1)",
    "profile": "profile",
    "profile-t": "profile, t(k−1)",
    "bartlett": "Bartlett",
}


@dataclass(frozen=True)
class Method:
    """One interval for one target.

    Attributes
    ----------
    id : str
        Name in the table of results.
    target : str
        ``median``, ``average`` or ``next``.
    label : str
        Name for readers.
    family : str
        ``two-step``, ``glmm``, ``beta-binomial``, ``bayes`` or ``naive``.
    own : bool
        Whether the interval is meant for this target. An interval of the median trial is also
        held against the average, because pooled rates are often read that way.
    """

    id: str
    target: str
    label: str
    family: str
    own: bool = True

    @property
    def short(self) -> str:
        """Label for a place without room."""
        text = self.label
        for long, brief in _BRIEF:
            text = text.replace(long, brief)
        return text


_BRIEF = (
    ("Freeman–Tukey", "FT"),
    ("Hartung–Knapp", "HK"),
    ("Bayesian", "Bayes"),
    ("Beta-binomial", "Beta-bin."),
    ("all patients as one trial", "one big trial"),
    (", plug-in", ","),
    (", predictive", ""),
    (", average", ", av."),
)


def _registry() -> tuple[Method, ...]:
    out = []
    for scale, scale_name in _TRANSFORMS.items():
        for model, model_name in _ESTIMATORS.items():
            for kind, kind_name in _TWO_STEP.items():
                label = f"{scale_name}, {model_name}, {kind_name}"
                out.append(Method(f"{model}-{scale}-{kind}", "median", label, "two-step"))
    for kind, kind_name in _LIKELIHOOD.items():
        out.append(Method(f"glmm-{kind}", "median", f"GLMM, {kind_name}", "glmm"))
    bayes = [(f"bayes-{scale:g}", f"Bayesian, τ scale {scale:g}") for scale in SCALES]
    out += [Method(name, "median", label, "bayes") for name, label in bayes]
    out.append(Method("naive", "median", "all patients as one trial", "naive", own=False))
    own_average = [
        ("glmm-average-z", "GLMM, average, z", "glmm"),
        ("glmm-average-t", "GLMM, average, t(k−1)", "glmm"),
        *(
            (f"beta-binomial-{kind}", f"Beta-binomial, {_LIKELIHOOD[kind]}", "beta-binomial")
            for kind in ("wald", "t", "profile", "profile-t")
        ),
        *((name, f"{label}, average", "bayes") for name, label in bayes),
        ("naive", "all patients as one trial", "naive"),
    ]
    out += [Method(name, "average", label, family) for name, label, family in own_average]
    by_id = {m.id: m for m in out if m.target == "median"}
    for name in _READ_AS_AVERAGE:
        m = by_id[name]
        out.append(Method(name, "average", m.label, m.family, own=False))
    plug_in = [
        ("glmm-next-t1", "GLMM, plug-in t(k−1)", "glmm"),
        ("glmm-next-t2", "GLMM, plug-in t(k−2)", "glmm"),
        ("reml-next-t1", "logit REML, plug-in t(k−1)", "two-step"),
        ("reml-next-t2", "logit REML, plug-in t(k−2)", "two-step"),
        ("dl-next-t2", "logit DL, plug-in t(k−2)", "two-step"),
    ]
    out += [Method(name, "next", label, family) for name, label, family in plug_in]
    out += [Method(name, "next", f"{label}, predictive", "bayes") for name, label in bayes]
    return tuple(out)


_READ_AS_AVERAGE = (
    "dl-logit-wald",
    "reml-logit-adhoc",
    "dl-arcsine-wald",
    "dl-ft-wald",
    "glmm-profile",
)
METHODS: tuple[Method, ...] = _registry()


def methods(target: str) -> tuple[Method, ...]:
    """Methods for one target, in the order of the table."""
    return tuple(m for m in METHODS if m.target == target)


Limits = tuple[np.ndarray, np.ndarray, np.ndarray]


def intervals(events: np.ndarray, total: np.ndarray) -> dict[tuple[str, str], Limits]:
    """Estimate, lower and upper limit of every method, proportion scale.

    Parameters
    ----------
    events : numpy.ndarray of int, shape (B, k)
    total : numpy.ndarray of int, shape (k,)
        The design; k >= 2.

    Returns
    -------
    dict
        ``(method id, target)`` to three arrays of length B. NaN where a data set has no such
        value: the estimate of the GLMM where every trial is without events or full, and plug-in
        prediction intervals without a maximum. Prediction intervals have no estimate (NaN), and
        plug-in ones are left out for k = 2.
    """
    parts = [_chunk(events[start : start + CHUNK], total) for start in range(0, len(events), CHUNK)]
    return {
        key: tuple(np.concatenate([part[key][i] for part in parts]) for i in range(3))  # type: ignore[misc]
        for key in parts[0]
    }


def _chunk(x: np.ndarray, n: np.ndarray) -> dict[tuple[str, str], Limits]:
    out = _two_step(x, n)
    key = tuple(int(v) for v in n)
    normal = lat.normal_lattice(key)
    surface = normal.surface(x)
    out |= _glmm(x, n, normal, surface)
    found = lat.posterior(normal, surface, tau_scales=SCALES)
    none = np.full(len(x), np.nan)
    for i, scale in enumerate(SCALES):
        name = f"bayes-{scale:g}"
        for target, q in (("median", found.median), ("average", found.average)):
            out[name, target] = (q[:, i, 1], q[:, i, 0], q[:, i, 2])
        out[name, "next"] = (none, found.next[:, i, 0], found.next[:, i, 2])
    out |= _beta_binomial(x, n)
    patients = int(n.sum())
    events = x.sum(axis=1)
    low, high = clopper_pearson(events, np.full(len(x), patients), LEVEL)
    out["naive", "median"] = out["naive", "average"] = (events / patients, low, high)
    for name in _READ_AS_AVERAGE:
        out[name, "average"] = out[name, "median"]
    return out


def _two_step(x: np.ndarray, n: np.ndarray) -> dict[tuple[str, str], Limits]:
    out: dict[tuple[str, str], Limits] = {}
    k = n.size
    z, t = z_quantile(LEVEL), t_quantile(LEVEL, k - 1)
    wide = np.broadcast_to(n, x.shape)
    none = np.full(len(x), np.nan)
    for short, scale in _SCALE.items():
        y, v = effect_sizes(x, wide, scale)
        back = effective_total(n) if scale == "freeman-tukey" else None
        for model in _ESTIMATORS:
            tau2 = tau2_estimate(y, v, model)
            w = 1.0 / (v + tau2[:, None])
            total = w.sum(axis=1)
            mu = (w * y).sum(axis=1) / total
            se = 1.0 / np.sqrt(total)
            factor = (w * (y - mu[:, None]) ** 2).sum(axis=1) / (k - 1)
            half = {
                "wald": z * se,
                "hk": t * np.sqrt(factor) * se,
                "adhoc": t * np.sqrt(np.maximum(factor, 1.0)) * se,
            }
            middle = inverse(mu, scale, back)
            for kind, h in half.items():
                out[f"{model}-{short}-{kind}", "median"] = (
                    middle,
                    inverse(mu - h, scale, back),
                    inverse(mu + h, scale, back),
                )
            if scale == "logit" and k >= 3:
                spread = np.sqrt(tau2 + se * se)
                for name, df in (("t1", k - 1), ("t2", k - 2)):
                    if (model, name) in {("reml", "t1"), ("reml", "t2"), ("dl", "t2")}:
                        h = t_quantile(LEVEL, df) * spread
                        out[f"{model}-next-{name}", "next"] = (none, expit(mu - h), expit(mu + h))
    return out


def _glmm(
    x: np.ndarray, n: np.ndarray, lattice: lat.Lattice, surface: np.ndarray
) -> dict[tuple[str, str], Limits]:
    b, k = x.shape
    z, t = z_quantile(LEVEL), t_quantile(LEVEL, k - 1)
    status = status_of(x, np.broadcast_to(n, x.shape))
    estimate = np.full(b, np.nan)
    limits = {kind: np.full((b, 2), np.nan) for kind in _LIKELIHOOD}
    average = np.full(b, np.nan)
    average_limits = {name: np.full((b, 2), np.nan) for name in ("z", "t")}
    ahead = {name: np.full((b, 2), np.nan) for name in ("t1", "t2")}
    fine = np.flatnonzero(status == OK)
    if fine.size:
        got = pool_many(x[fine], n, "glmm", interval="wald", level=LEVEL, tau2_interval=False)
        mu, se, tau2 = got.mu, got.se, got.tau2
        estimate[fine], average[fine] = got.estimate, got.marginal_estimate
        for kind, quantile in (("wald", z), ("t", t)):
            limits[kind][fine] = np.stack([mu - quantile * se, mu + quantile * se], axis=1)
        profile = lat.Profile.of(lattice, surface[fine])
        top = np.maximum(got.log_likelihood, profile.top)
        chi = chi2_isf(1.0 - LEVEL, 1)
        within = effect_sizes(x[fine], np.broadcast_to(n, (fine.size, k)), "logit")[1]
        limits["profile"][fine] = profile.limits(top, chi)
        limits["profile-t"][fine] = profile.limits(top, t * t)
        limits["bartlett"][fine] = profile.limits(top, chi, within)
        # the z interval of the average is the engine's; t has the same center and error
        low, high = logit(got.marginal_ci[:, 0]), logit(got.marginal_ci[:, 1])
        center, error = 0.5 * (low + high), 0.5 * (high - low) / z
        for name, quantile in (("z", z), ("t", t)):
            average_limits[name][fine] = np.stack(
                [expit(center - quantile * error), expit(center + quantile * error)], axis=1
            )
        if k >= 3:
            spread = np.sqrt(tau2 + se * se)
            for name, df in (("t1", k - 1), ("t2", k - 2)):
                h = t_quantile(LEVEL, df) * spread
                ahead[name][fine] = np.stack([expit(mu - h), expit(mu + h)], axis=1)
    for i in np.flatnonzero(status != OK):
        got_one = _edge(tuple(int(v) for v in x[i]), tuple(int(v) for v in n))
        estimate[i], average[i] = got_one["estimate"], got_one["average"]
        for kind in _LIKELIHOOD:
            limits[kind][i] = got_one["t" if kind in ("t", "profile-t") else "chi"]
        for name in ("z", "t"):
            average_limits[name][i] = got_one["average_limits"]
    out: dict[tuple[str, str], Limits] = {}
    for kind, pair in limits.items():
        out[f"glmm-{kind}", "median"] = (estimate, expit(pair[:, 0]), expit(pair[:, 1]))
    for name, pair in average_limits.items():
        out[f"glmm-average-{name}", "average"] = (average, pair[:, 0], pair[:, 1])
    if k >= 3:
        none = np.full(b, np.nan)
        for name, pair in ahead.items():
            out[f"glmm-next-{name}", "next"] = (none, pair[:, 0], pair[:, 1])
    return out


@lru_cache(maxsize=100_000)
def _edge(x: tuple[int, ...], n: tuple[int, ...]) -> dict:
    """GLMM of a data set without a finite maximum, from the engine; few are distinct."""
    got = {}
    for name, interval in (("chi", "profile"), ("t", "profile-t")):
        fit = pool_many(
            np.array([x]), np.array(n), "glmm", interval=interval, level=LEVEL, tau2_interval=False
        )
        got[name] = fit.mu_ci[0]
    got["estimate"] = float(fit.estimate[0])
    got["average"] = float(fit.marginal_estimate[0])
    got["average_limits"] = fit.marginal_ci[0]
    return got


def _beta_binomial(x: np.ndarray, n: np.ndarray) -> dict[tuple[str, str], Limits]:
    k = n.size
    lattice = lat.beta_binomial_lattice(tuple(int(v) for v in n))
    profile = lat.Profile.of(lattice, lattice.surface(x))
    z, t = z_quantile(LEVEL), t_quantile(LEVEL, k - 1)
    cuts = {"wald": z * z, "t": t * t, "profile": z * z, "profile-t": t * t}
    empty, full = (x == 0).all(axis=1), (x == n).all(axis=1)
    estimate = expit(profile.at)
    estimate[empty], estimate[full] = 0.0, 1.0
    out: dict[tuple[str, str], Limits] = {}
    for kind, cut in cuts.items():
        if kind in ("wald", "t"):
            half = math.sqrt(cut) * profile.se
            pair = np.stack([profile.at - half, profile.at + half], axis=1)
        else:
            pair = profile.limits(profile.top, cut)
        low, high = expit(pair[:, 0]), expit(pair[:, 1])
        # without an event, or with events only, the likelihood at a mean is largest at rho = 1
        far = -math.expm1(-cut / (2.0 * k))
        low[empty], high[empty] = 0.0, far
        low[full], high[full] = 1.0 - far, 1.0
        out[f"beta-binomial-{kind}", "average"] = (estimate, low, high)
    return out
