"""Exact values of the binomial-normal model, computed without any code of the project.

    python tests/reference/make_exact.py

Every integral is a composite Gauss-Legendre sum in extended precision over intervals that cut
both the normal density and the binomial likelihood finely; spot checks compare it with mpmath
at 30 digits. Derivatives are integrals of the derivatives of the normal density in (mu, tau).
Maxima are found on a dense grid of tau with the score solved for mu, then by Newton's
iteration on the score; profile limits by bisection on the profile. Writes exact_glmm.csv.
"""

from __future__ import annotations

import csv
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import mpmath as mp
import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2, t

HERE = Path(__file__).parent
LD = np.longdouble
NODES, WEIGHTS = (a.astype(LD) for a in np.polynomial.legendre.leggauss(24))
LOG_2PI = LD(2) * LD(np.arctan(LD(1))) * LD(4)
LOG_2PI = np.log(LOG_2PI)


class Trial:
    """Integrals of one trial's likelihood."""

    def __init__(self, x: int, n: int):
        self.x, self.n = x, n
        mp.mp.dps = 30
        self.log_choose = LD(str(mp.log(mp.binomial(n, x))))
        p = min(max(x, 0.5), n - 0.5) / n
        self.center = math.log(p / (1 - p))
        self.sd = 1.0 / math.sqrt(n * p * (1 - p))

    def log_f(self, theta):
        """Log-likelihood without the binomial coefficient, extended precision."""
        return self.x * theta - self.n * np.logaddexp(LD(0), theta)

    def integrals(self, mu: float, tau: float):
        """log L and the ratios L_mu/L, L_tau/L."""
        # intervals: fine around the normal, around the likelihood, and along its tails
        cuts = np.concatenate(
            [
                mu + tau * np.linspace(-13, 13, 27),
                self.center + self.sd * np.linspace(-14, 14, 29),
                self.center + np.linspace(-60, 60, 41),
            ]
        )
        cuts = cuts[(cuts >= mu - 13 * tau) & (cuts <= mu + 13 * tau)]
        cuts = np.unique(cuts).astype(LD)
        half = (cuts[1:] - cuts[:-1]) / 2
        theta = ((cuts[1:] + cuts[:-1]) / 2)[:, None] + half[:, None] * NODES
        weight = half[:, None] * WEIGHTS
        z = (theta - LD(mu)) / LD(tau)
        g = self.log_f(theta) - z * z / 2
        top = g.max()
        w = weight * np.exp(g - top)
        total = w.sum()
        value = self.log_choose + top + np.log(total) - np.log(LD(tau)) - LOG_2PI / 2
        d_mu = (w * z).sum() / total / LD(tau)
        d_tau = (w * (z * z - 1)).sum() / total / LD(tau)
        return value, d_mu, d_tau

    def at_zero(self, mu: float):
        """log-likelihood and score with tau = 0."""
        p = 1 / (1 + np.exp(-LD(mu)))
        return self.log_choose + self.log_f(LD(mu)), self.x - self.n * p


class Model:
    """All trials of a data set."""

    def __init__(self, x, n):
        self.trials = [Trial(int(a), int(b)) for a, b in zip(x, n, strict=True)]
        self.pooled = math.log(sum(x) / (sum(n) - sum(x)))

    def all(self, mu: float, tau: float):
        """log-likelihood and its derivatives in mu and tau."""
        if tau == 0.0:
            parts = [t.at_zero(mu) for t in self.trials]
            return sum(p[0] for p in parts), sum(p[1] for p in parts), LD(0)
        parts = [t.integrals(mu, tau) for t in self.trials]
        return tuple(sum(p[j] for p in parts) for j in range(3))

    def best_mu(self, tau: float) -> float:
        """Root of the score in mu (the log-likelihood is concave in mu)."""
        if tau == 0.0:
            return self.pooled
        low = high = self.pooled
        while self.all(low, tau)[1] <= 0:
            low -= 1 + tau
        while self.all(high, tau)[1] >= 0:
            high += 1 + tau
        return brentq(lambda m: float(self.all(m, tau)[1]), low, high, xtol=1e-15, rtol=1e-15)

    def profile_tau(self, tau: float) -> float:
        return float(self.all(self.best_mu(tau), tau)[0])

    def maximum(self):
        """(mu, tau, value), the best over a grid of tau and a root search at each rise."""
        finest = min(t.sd for t in self.trials)
        grid = [0.0, *np.geomspace(0.05 * finest, 60.0, 48)]
        slope = []
        for tau in grid[1:]:
            slope.append(float(self.all(self.best_mu(tau), tau)[2]))
        candidates = [(self.pooled, 0.0, self.profile_tau(0.0))]
        for i in range(1, len(grid)):
            before = slope[i - 2] if i > 1 else math.inf
            if i > 1 and before > 0 and slope[i - 1] <= 0:
                tau = brentq(
                    lambda s: float(self.all(self.best_mu(s), s)[2]),
                    grid[i - 1],
                    grid[i],
                    xtol=1e-15,
                    rtol=1e-14,
                )
                candidates.append((self.best_mu(tau), tau, self.profile_tau(tau)))
        if slope[-1] > 0:
            raise ArithmeticError("the likelihood still rises at tau = 60")
        return max(candidates, key=lambda c: c[2])

    def information(self, mu: float, tau: float) -> np.ndarray:
        """Observed information of (mu, tau) by extrapolated differences of the exact score."""

        def score(m, s):
            return np.array(self.all(m, s)[1:])

        def slope(direction, h):
            a = score(mu + direction[0] * h, tau + direction[1] * h)
            b = score(mu - direction[0] * h, tau - direction[1] * h)
            return (a - b) / LD(2 * h)

        out = []
        for direction, h in (((1.0, 0.0), 2e-3), ((0.0, 1.0), 2e-3)):
            h = h * min(1.0, tau)
            d1, d2, d3 = (slope(direction, h / 2**i) for i in range(3))
            r1, r2 = (4 * d2 - d1) / 3, (4 * d3 - d2) / 3
            out.append((16 * r2 - r1) / 15)
        return -np.array(out, dtype=float)

    def best_tau(self, mu: float) -> float:
        """Largest log-likelihood over tau for a fixed mu."""
        finest = min(t.sd for t in self.trials)
        grid = np.geomspace(0.05 * finest, 200.0, 40)
        slope = [float(self.all(mu, s)[2]) for s in grid]
        best = float(self.all(mu, 0.0)[0])
        for i in range(1, len(grid)):
            if slope[i - 1] > 0 >= slope[i]:
                s = brentq(
                    lambda a: float(self.all(mu, a)[2]),
                    grid[i - 1],
                    grid[i],
                    xtol=1e-14,
                    rtol=1e-13,
                )
                best = max(best, float(self.all(mu, s)[0]))
        return best

    def mu_limit(self, mu: float, se: float, target: float, side: int) -> float | None:
        inside, step = mu, 1.5 * se
        while True:
            outside = mu + side * step
            if abs(outside) > 40:
                return None
            if self.best_tau(outside) < target:
                break
            inside, step = outside, 1.5 * step
        return brentq(lambda m: self.best_tau(m) - target, inside, outside, xtol=1e-11, rtol=1e-12)

    def tau_limit(self, tau: float, target: float, side: int) -> float | None:
        if side < 0:
            if self.profile_tau(0.0) >= target:
                return 0.0
            return brentq(lambda s: self.profile_tau(s) - target, 1e-6, tau, xtol=1e-13, rtol=1e-13)
        outside = max(tau, 0.05)
        inside = tau
        while self.profile_tau(outside) >= target:
            inside, outside = outside, 1.6 * outside
            if outside > 150:
                return None
        return brentq(
            lambda s: self.profile_tau(s) - target, inside, outside, xtol=1e-13, rtol=1e-13
        )


def spot_check() -> None:
    """The extended-precision sums against mpmath."""
    mp.mp.dps = 30
    for x, n, mu, tau in ((0, 20, -2.0, 1.5), (7, 9, 0.3, 0.2), (3, 400, -4.0, 3.0)):

        def f(theta, x=x, n=n, mu=mu, tau=tau):
            like = mp.exp(x * theta - n * mp.log1p(mp.exp(theta)))
            return like * mp.exp(-(((theta - mu) / tau) ** 2) / 2) / tau / mp.sqrt(2 * mp.pi)

        cuts = [mu + tau * j for j in range(-14, 15)]
        exact = mp.log(mp.binomial(n, x) * mp.quad(f, cuts))
        ours = Trial(x, n).integrals(mu, tau)[0]
        assert abs(exact - mp.mpf(str(ours))) < 1e-16, (x, n, exact, ours)


def values(x, n) -> dict[str, float]:
    """All exact quantities of one data set."""
    k = len(x)
    model = Model(x, n)
    mu, tau, top = model.maximum()
    zero = model.profile_tau(0.0)
    out = {"mu": mu, "tau2": tau * tau, "log_likelihood": top, "log_likelihood_zero": zero}
    if tau > 0:
        info = model.information(mu, tau)
        out["se"] = math.sqrt(np.linalg.inv(0.5 * (info + info.T))[0, 0])
    else:
        p = 1 / (1 + math.exp(-mu))
        out["se"] = 1 / math.sqrt(sum(n) * p * (1 - p))
    one = Trial(1, 1)
    out["marginal"] = (
        math.exp(float(one.integrals(mu, tau)[0])) if tau > 0 else 1 / (1 + math.exp(-mu))
    )
    for name, cut in (("profile", chi2.isf(0.05, 1)), ("profile-t", t.isf(0.025, k - 1) ** 2)):
        for side, word in ((-1, "low"), (1, "high")):
            limit = model.mu_limit(mu, out["se"], top - cut / 2, side)
            if limit is not None:
                out[f"{name}_{word}"] = limit
    for side, word in ((-1, "low"), (1, "high")):
        limit = model.tau_limit(tau, top - chi2.isf(0.05, 1) / 2, side)
        if limit is not None:
            out[f"tau2_{word}"] = limit * limit
    return out


def main() -> None:
    spot_check()
    with (HERE / "datasets.csv").open(newline="", encoding="utf-8") as handle:
        data: dict[str, list[tuple[int, int]]] = {}
        for row in csv.DictReader(handle):
            data.setdefault(row["dataset"], []).append((int(row["events"]), int(row["total"])))
    with ProcessPoolExecutor(max_workers=2) as workers:
        done = workers.map(
            values, *zip(*(zip(*r, strict=True) for r in data.values()), strict=True)
        )
        lines = ["dataset,quantity,value\n"]
        for name, found in zip(data, done, strict=True):
            print(name, flush=True)
            lines += [f"{name},{quantity},{float(v)!r}\n" for quantity, v in found.items()]
    (HERE / "exact_glmm.csv").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
