"""Beta-binomial reference values with 60 digits, written from the textbook formula.

Independent of the package: log-gamma form of the likelihood, mpmath root finding on the score
equations. Run ``python tests/reference/make_exact_betabinomial.py``; it writes
``exact_betabinomial.json`` beside this file.
"""

import json
from pathlib import Path

import mpmath as mp

mp.mp.dps = 60

DATA = {
    "eleven": ([3, 8, 14, 10, 7, 2, 12, 5, 20, 9, 4], [5, 14, 24, 15, 9, 10, 16, 6, 26, 32, 8]),
    "sparse": ([0, 1, 0, 3, 0, 2], [12, 20, 9, 14, 30, 8]),
    "full": ([9, 14, 7, 6, 5], [9, 15, 7, 24, 6]),
    "three": ([2, 9, 30], [20, 24, 40]),
    "large": ([5, 300, 61000, 4], [10, 900, 150000, 30]),
    "wide": ([0, 12, 3, 40, 1, 18], [15, 12, 9, 41, 30, 20]),
}


def log_lik(x, n, m, s):
    p = 1 / (1 + mp.exp(-m))
    theta = mp.exp(s)
    a, b = p / theta, (1 - p) / theta
    out = mp.mpf(0)
    for xi, ni in zip(x, n, strict=True):
        out += mp.log(mp.binomial(ni, xi))
        out += mp.loggamma(xi + a) + mp.loggamma(ni - xi + b) - mp.loggamma(ni + a + b)
        out -= mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
    return out


def score(x, n, m, s):
    p = 1 / (1 + mp.exp(-m))
    theta = mp.exp(s)
    a, b = p / theta, (1 - p) / theta
    da = db = mp.mpf(0)
    for xi, ni in zip(x, n, strict=True):
        common = mp.psi(0, a + b) - mp.psi(0, ni + a + b)
        da += mp.psi(0, xi + a) - mp.psi(0, a) + common
        db += mp.psi(0, ni - xi + b) - mp.psi(0, b) + common
    return (da - db) * p * (1 - p) / theta, -(da * a + db * b)


def maximum(x, n):
    """Best of several Newton starts."""
    best = None
    pooled = mp.mpf(sum(x)) / sum(n)
    for s0 in (-6, -4, -3, -2, -1, 0, 1):
        for shift in (-1, 0, 1):
            try:
                root = mp.findroot(
                    lambda m, s: score(x, n, m, s),
                    (mp.log(pooled / (1 - pooled)) + shift, mp.mpf(s0)),
                )
            except (ValueError, ZeroDivisionError):
                continue
            if root[1] < -14:  # drifting to the binomial edge, where the score vanishes
                continue
            value = log_lik(x, n, root[0], root[1])
            if best is None or value > best[2]:
                best = (root[0], root[1], value)
    return best


def limit(x, n, m, s, top, cut, direction, se):
    """Profile limit of the logit mean: Newton on (log-likelihood drop, score in log theta)."""
    for factor in (1, 0.7, 1.5, 2, 0.4, 3):
        for ds in (0, 0.5, 1, -0.5, 2):
            try:
                root = mp.findroot(
                    lambda a, b: (log_lik(x, n, a, b) - top + cut / 2, score(x, n, a, b)[1]),
                    (m + direction * factor * mp.sqrt(cut) * se, s + ds),
                )
            except (ValueError, ZeroDivisionError):
                continue
            if (root[0] - m) * direction > 0:
                return root[0]
    raise RuntimeError("no limit found")


def rho_limit(x, n, m, s, top, cut, direction):
    for step in (0.5, 1, 1.5, 2, 3, 4):
        try:
            root = mp.findroot(
                lambda a, b: (log_lik(x, n, a, b) - top + cut / 2, score(x, n, a, b)[0]),
                (m, s + direction * step),
            )
        except (ValueError, ZeroDivisionError):
            continue
        if (root[1] - s) * direction > 0:
            return root[1]
    return None


def long_sums():
    """Log-likelihoods (without binomial coefficient) of single long trials, p = 0.31."""
    out = []
    p = mp.mpf("0.31")
    for x, n in ((3, 10), (0, 4097), (5000, 9000), (61_000, 150_000), (3_000_000, 10_000_000)):
        for theta in (1e-9, 1e-4, 0.3, 50.0):
            a, b = p / mp.mpf(theta), (1 - p) / mp.mpf(theta)
            value = mp.loggamma(x + a) - mp.loggamma(a) + mp.loggamma(n - x + b) - mp.loggamma(b)
            value += mp.loggamma(a + b) - mp.loggamma(n + a + b)
            out.append({"events": x, "total": n, "theta": theta, "value": float(value)})
    return out


def main():
    out = {}
    cut = mp.mpf("3.841458820694124032258140")
    for name, (x, n) in DATA.items():
        m, s, top = maximum(x, n)
        h = mp.mpf(10) ** -20
        up, down = score(x, n, m + h, s), score(x, n, m - h, s)
        right, left = score(x, n, m, s + h), score(x, n, m, s - h)
        hess = mp.matrix(
            [
                [(up[0] - down[0]) / (2 * h), (right[0] - left[0]) / (2 * h)],
                [(up[1] - down[1]) / (2 * h), (right[1] - left[1]) / (2 * h)],
            ]
        )
        cov = (-hess) ** -1
        se = mp.sqrt(cov[0, 0])
        theta = mp.exp(s)
        low_s = rho_limit(x, n, m, s, top, cut, -1)
        high_s = rho_limit(x, n, m, s, top, cut, 1)
        out[name] = {
            "events": x,
            "total": n,
            "mu": float(m),
            "se": float(se),
            "rho": float(theta / (1 + theta)),
            "log_likelihood": float(top),
            "mu_low": float(limit(x, n, m, s, top, cut, -1, se)),
            "mu_high": float(limit(x, n, m, s, top, cut, 1, se)),
            "rho_low": None if low_s is None else float(1 / (1 + mp.exp(-low_s))),
            "rho_high": None if high_s is None else float(1 / (1 + mp.exp(-high_s))),
        }
        print(name, out[name])
    out = {"fits": out, "long_sums": long_sums()}
    target = Path(__file__).with_name("exact_betabinomial.json")
    target.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
