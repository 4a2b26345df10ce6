"""Reference posteriors by brute force, independent of the package.

Binomial likelihood: composite Gauss-Legendre panels in all three dimensions (tau, mu and the
random effect), breakpoints placed exactly at the points where distribution functions are wanted.
Normal likelihood: mu integrated in closed form, tau by mpmath with 30 digits.

Run ``python tests/reference/make_exact_bayes.py`` (some minutes); writes ``exact_bayes.json``.
"""

import json
from itertools import pairwise
from pathlib import Path

import mpmath as mp
import numpy as np
from scipy import special
from scipy.optimize import brentq

DATA = {
    "six": ([3, 8, 14, 10, 2, 20], [5, 14, 24, 15, 10, 26]),
    "none": ([0, 0, 0], [5, 8, 12]),
    "full": ([9, 14], [9, 14]),
    "extremes": ([0, 12, 3, 40], [15, 12, 9, 41]),
}
PRIORS = {"default": (1.0, 2.5), "tight": (0.5, 2.5)}
MU_AT, TAU_AT, RATE_AT = 0.4, 0.6, 0.35


def panels(edges, order):
    x, w = np.polynomial.legendre.leggauss(order)
    nodes, weights = [], []
    for a, b in pairwise(edges):
        nodes.append(0.5 * (b - a) * x + 0.5 * (a + b))
        weights.append(0.5 * (b - a) * w)
    return np.concatenate(nodes), np.concatenate(weights)


Z, ZW = panels(np.linspace(-9, 9, 25), 12)
ZW = ZW * np.exp(-0.5 * Z * Z) / np.sqrt(2 * np.pi)


def likelihood(x, n, mu, tau):
    """Product over trials of the marginal probability, mu (J,), tau scalar."""
    eta = mu[:, None] + tau * Z
    out = np.ones(mu.size)
    for xi, ni in zip(x, n, strict=True):
        log = xi * special.log_expit(eta) + (ni - xi) * special.log_expit(-eta)
        out *= special.binom(ni, xi) * (np.exp(log) @ ZW)
    return out


def average(mu, tau):
    return float(special.expit(mu + tau * Z) @ ZW)


def binomial(x, n, tau_scale, mu_scale):
    top = 8.6 * tau_scale
    tau, tw = panels(np.unique(np.r_[np.linspace(0, top, 14), TAU_AT]), 14)
    edge = 8.6 * mu_scale
    mu_edges = np.unique(np.r_[np.linspace(-edge, edge, 60), MU_AT])
    mu, mw = panels(mu_edges, 12)
    sums = dict.fromkeys(
        ("one", "mu", "mu2", "tau", "tau2", "p", "avg", "avg2", "cdf_mu", "cdf_tau", "cdf_avg"), 0.0
    )
    sums["cdf_next"] = 0.0
    target = special.logit(RATE_AT)
    for t, w in zip(tau, tw, strict=True):
        prior_t = np.sqrt(2 / np.pi) / tau_scale * np.exp(-0.5 * (t / tau_scale) ** 2)
        prior_m = np.exp(-0.5 * (mu / mu_scale) ** 2) / (np.sqrt(2 * np.pi) * mu_scale)
        dens = w * prior_t * mw * prior_m * likelihood(x, n, mu, t)
        avg = special.expit(mu[:, None] + t * Z) @ ZW
        sums["one"] += dens.sum()
        sums["mu"] += dens @ mu
        sums["mu2"] += dens @ mu**2
        sums["tau"] += dens.sum() * t
        sums["tau2"] += dens.sum() * t * t
        sums["p"] += dens @ special.expit(mu)
        sums["avg"] += dens @ avg
        sums["avg2"] += dens @ (special.expit(mu[:, None] + t * Z) ** 2 @ ZW)
        sums["cdf_mu"] += dens[mu < MU_AT].sum()
        sums["cdf_tau"] += dens.sum() * (t < TAU_AT)
        # distribution function of the next logit: integrate to resolve a small tau
        local, lw = panels(
            np.unique(np.r_[mu_edges, target + t * np.array([-9, -6, -3, -1, 0, 1, 3, 6, 9])]), 12
        )
        prior_l = np.exp(-0.5 * (local / mu_scale) ** 2) / (np.sqrt(2 * np.pi) * mu_scale)
        dl = w * prior_t * lw * prior_l * likelihood(x, n, local, t)
        sums["cdf_next"] += dl @ special.ndtr((target - local) / t)
        cut = brentq(lambda m, t=t: average(m, t) - RATE_AT, -60, 60, xtol=1e-14)
        part, pw = panels(np.unique(np.r_[mu_edges[mu_edges < cut], cut]), 12)
        prior_p = np.exp(-0.5 * (part / mu_scale) ** 2) / (np.sqrt(2 * np.pi) * mu_scale)
        sums["cdf_avg"] += w * prior_t * (pw * prior_p) @ likelihood(x, n, part, t)
    one = sums.pop("one")
    out = {key: float(value / one) for key, value in sums.items()}
    out["log_evidence"] = float(np.log(one))
    return out


def normal(x, n, tau_scale, mu_scale):
    mp.mp.dps = 30
    y, v = [], []
    for xi, ni in zip(x, n, strict=True):
        add = mp.mpf("0.5") if xi in (0, ni) else mp.mpf(0)
        a, b = xi + add, ni - xi + add
        y.append(mp.log(a / b))
        v.append(1 / a + 1 / b)
    s2, m2 = mp.mpf(tau_scale) ** 2, mp.mpf(mu_scale) ** 2

    def parts(t):
        w = [1 / (vi + t * t) for vi in v]
        precision = mp.fsum(w) + 1 / m2
        mean = mp.fsum(wi * yi for wi, yi in zip(w, y, strict=True)) / precision
        log = mp.fsum(
            mp.log(wi) / 2 - mp.log(2 * mp.pi) / 2 - wi * yi * yi / 2
            for wi, yi in zip(w, y, strict=True)
        )
        log += precision * mean**2 / 2 - mp.log(precision * m2) / 2
        log += mp.log(2 / (mp.sqrt(2 * mp.pi * s2))) - t * t / (2 * s2)
        return mp.exp(log), mean, 1 / precision

    edges = [0, mp.mpf("0.2"), mp.mpf(TAU_AT), 1, 2, 4, mp.mpf("8.6") * mp.mpf(tau_scale)]

    def integrate(f):
        return mp.quad(lambda t: f(t, *parts(t)), sorted(edges))

    one = integrate(lambda t, d, m, s: d)
    at, target = mp.mpf(MU_AT), mp.log(mp.mpf(RATE_AT) / (1 - mp.mpf(RATE_AT)))
    out = {
        "mu": integrate(lambda t, d, m, s: d * m) / one,
        "mu2": integrate(lambda t, d, m, s: d * (m * m + s)) / one,
        "tau": integrate(lambda t, d, m, s: d * t) / one,
        "tau2": integrate(lambda t, d, m, s: d * t * t) / one,
        "cdf_mu": integrate(lambda t, d, m, s: d * mp.ncdf((at - m) / mp.sqrt(s))) / one,
        "cdf_tau": mp.quad(lambda t: parts(t)[0], [0, mp.mpf("0.2"), mp.mpf(TAU_AT)]) / one,
        "cdf_next": integrate(lambda t, d, m, s: d * mp.ncdf((target - m) / mp.sqrt(s + t * t)))
        / one,
        "log_evidence": mp.log(one),
    }
    return {key: float(value) for key, value in out.items()}


def main():
    out = {"mu_at": MU_AT, "tau_at": TAU_AT, "rate_at": RATE_AT, "cases": []}
    for name, (x, n) in DATA.items():
        for label, (tau_scale, mu_scale) in PRIORS.items():
            for model, function in (("glmm", binomial), ("normal", normal)):
                value = function(x, n, tau_scale, mu_scale)
                case = {
                    "name": f"{name}-{label}-{model}",
                    "events": x,
                    "total": n,
                    "tau_scale": tau_scale,
                    "mu_scale": mu_scale,
                    "model": model,
                    "value": value,
                }
                out["cases"].append(case)
                print(case["name"], value, flush=True)
    target = Path(__file__).with_name("exact_bayes.json")
    target.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
