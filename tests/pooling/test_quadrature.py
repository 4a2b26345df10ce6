"""The marginal likelihood against mpmath, its derivatives against differences, its edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.pooling import quadrature as quad


def brute_force(x: int, n: int, mu: float, tau: float) -> float:
    """Log marginal likelihood by mpmath at 30 digits (a trapezoid with very small steps)."""
    import mpmath as mp

    mp.mp.dps = 30
    x, n, mu, tau = mp.mpf(x), mp.mpf(n), mp.mpf(mu), mp.mpf(tau)

    def g(t):
        softplus = mp.log1p(mp.exp(t)) if t < 0 else t + mp.log1p(mp.exp(-t))
        return x * t - n * softplus - ((t - mu) / tau) ** 2 / 2

    low, high = mu - tau**2 * (n - x) - 1, mu + tau**2 * x + 1
    for _ in range(120):
        mid = (low + high) / 2
        slope = x - n / (1 + mp.exp(-mid)) - (mid - mu) / tau**2
        low, high = (mid, high) if slope > 0 else (low, mid)
    p = 1 / (1 + mp.exp(-low))
    sd = 1 / mp.sqrt(n * p * (1 - p) + 1 / tau**2)
    top = g(low)
    ends = []
    for side in (-1, 1):
        reach = sd
        while g(low + side * reach) - top > -60:
            reach *= 1.5
        ends.append(low + side * reach)
    step = min(sd / 4, mp.mpf("0.08"))
    count = int((ends[1] - ends[0]) / step) + 1
    total = mp.fsum(mp.exp(g(ends[0] + j * step) - top) for j in range(count + 1)) * step
    value = top + mp.log(total) - mp.log(tau) - mp.log(2 * mp.pi) / 2 + mp.log(mp.binomial(n, x))
    return float(value)


CASES = [
    (0, 1, 0.0, 1.0), (1, 1, -2.0, 0.3), (0, 20, -2.0, 1.5), (20, 20, 1.0, 3.0), (7, 9, 0.3, 0.05),
    (3, 400, -4.0, 2.0), (0, 500, 0.1, 2.0), (0, 10_000, -1.6, 2.0), (123, 10_000, 0.0, 1.0),
    (4_000_000, 10_000_000, -1.0, 0.5),
    (0, 10_000_000, -6.0, 2.0), (10_000_000, 10_000_000, 5.0, 1.0), (0, 3, 40.0, 4.0),
    (5, 12, 0.0, 30.0), (0, 12, 0.0, 30.0), (2, 3, -1.0, 1e-3), (998_921, 10_000_000, 1.2, 1e-3),
]  # fmt: skip


@pytest.mark.parametrize(("x", "n", "mu", "tau"), CASES)
def test_value_agrees_with_mpmath(x, n, mu, tau):
    trials = quad.prepare([x], [n])
    expected = brute_force(x, n, mu, tau)
    for got in (
        quad.log_marginal(trials, mu, tau**2)[0],
        quad.derivatives(trials, mu, tau**2).value[0],
    ):
        assert got == pytest.approx(expected, rel=1e-11, abs=1e-11)


@pytest.mark.parametrize(("x", "n", "mu", "tau"), CASES)
def test_derivatives_agree_with_differences(x, n, mu, tau):
    trials = quad.prepare([x], [n])

    def at(m, v):
        return quad.derivatives(trials, m, v)

    v = tau * tau
    d = at(mu, v)
    spread = 1.0 / np.sqrt(1.0 / (v + 4.0 / n) + 1e-12)
    h, hv = 1e-4 * spread, 1e-4 * v
    for low, high, step, names in (
        (at(mu - h, v), at(mu + h, v), h, (("value", "mu"), ("mu", "mu_mu"), ("v", "mu_v"))),
        (at(mu, v - hv), at(mu, v + hv), hv, (("value", "v"), ("mu", "mu_v"), ("v", "v_v"))),
    ):
        for source, target in names:
            slope = (getattr(high, source)[0] - getattr(low, source)[0]) / (2 * step)
            unit = (abs(getattr(d, source)[0]) + 1e-3) / step
            got = getattr(d, target)[0]
            assert got == pytest.approx(slope, rel=2e-6, abs=1e-9 * unit + 1e-13), target


def test_heat_equation_and_zero_variance():
    trials = quad.prepare([0, 3, 9], [9, 9, 9])
    zero, tiny = quad.derivatives(trials, 0.4, 0.0), quad.derivatives(trials, 0.4, 1e-10)
    for name in ("value", "mu", "v", "mu_mu", "mu_v", "v_v", "l3", "l4"):
        np.testing.assert_allclose(getattr(zero, name), getattr(tiny, name), rtol=1e-7)
    np.testing.assert_allclose(quad.log_marginal(trials, 0.4, 0.0), zero.value)
    p = 1 / (1 + np.exp(-0.4))
    from scipy.stats import binom

    np.testing.assert_allclose(zero.value, binom.logpmf([0, 3, 9], 9, p), rtol=1e-12)
    mixed = quad.log_marginal(trials, 0.4, np.array([0.0, 0.5, 0.0]))
    np.testing.assert_allclose(mixed[[0, 2]], zero.value[[0, 2]])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 300),
    st.data(),
    st.floats(-6, 6),
    st.floats(0.01, 8),
    st.floats(0.7, 1.4),
    st.floats(-0.4, 0.4),
)
def test_panel_agrees_with_single_evaluations(n, data, mu, tau, factor, shift):
    x = data.draw(st.integers(0, n))
    v = tau * tau
    trials = quad.prepare(np.array([x]), np.array([n]))
    one = np.ones(1)
    panel = quad.Panel(trials, one * (mu - 0.5), one * (mu + 0.5), one * v / 2.1, one * v * 2.1)
    got = panel.derivatives(one * (mu + shift), one * v * factor)
    expected = quad.derivatives(trials, mu + shift, v * factor)
    for name in ("value", "mu", "mu_mu", "v", "mu_v", "v_v"):
        a, b = getattr(got, name)[0], getattr(expected, name)[0]
        assert a == pytest.approx(b, rel=1e-7, abs=1e-8 * (1 + n)), name


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 500), st.floats(-5, 5), st.floats(0, 6))
def test_probabilities_of_all_counts_sum_to_one(n, mu, tau):
    x = np.arange(n + 1)
    trials = quad.prepare(x, np.full(n + 1, n))
    total = np.exp(quad.log_marginal(trials, mu, tau * tau)).sum()
    assert total == pytest.approx(1.0, abs=1e-11)


def test_marginal_proportion_and_posterior():
    value, d_mu, d_v = quad.marginal_proportion(0.7, 1.3)
    h = 1e-5
    up, down = quad.marginal_proportion(0.7 + h, 1.3)[0], quad.marginal_proportion(0.7 - h, 1.3)[0]
    assert d_mu == pytest.approx((up - down) / (2 * h), rel=1e-8)
    up, down = quad.marginal_proportion(0.7, 1.3 + h)[0], quad.marginal_proportion(0.7, 1.3 - h)[0]
    assert d_v == pytest.approx((up - down) / (2 * h), rel=1e-7)
    assert quad.marginal_proportion(0.0, 5.0)[0] == pytest.approx(0.5, abs=1e-13)
    assert quad.marginal_proportion(-0.7, 1.3)[0] == pytest.approx(1 - value, abs=1e-13)
    # conditional moments against a plain sum
    theta = np.linspace(-30, 30, 200_001)
    for x, n, mu, tau in ((3, 8, 0.5, 1.2), (0, 15, -1.0, 4.0), (9, 9, 2.0, 0.1)):
        log_w = x * theta - n * np.logaddexp(0, theta) - ((theta - mu) / tau) ** 2 / 2
        w = np.exp(log_w - log_w.max())
        w /= w.sum()
        mean = (w * theta).sum()
        m, v, p = quad.posterior_moments(quad.prepare([x], [n]), mu, tau * tau)
        assert m[0] == pytest.approx(mean, rel=1e-8)
        assert v[0] == pytest.approx((w * (theta - mean) ** 2).sum(), rel=1e-8)
        assert p[0] == pytest.approx((w / (1 + np.exp(-theta))).sum(), rel=1e-8)
    m, v, p = quad.posterior_moments(quad.prepare([3], [8]), 0.5, 0.0)
    assert (m[0], v[0]) == (0.5, 0.0)
    assert p[0] == pytest.approx(1 / (1 + np.exp(-0.5)))


def test_saturated_log_probability():
    from scipy.stats import binom

    for x, n in ((1, 2), (3, 11), (40, 100), (700, 1000)):
        expected = binom.logpmf(x, n, x / n)
        assert quad.log_binomial_saturated(x, n) == pytest.approx(expected, rel=1e-11)
    assert quad.log_binomial_saturated([0, 7], [7, 7]).tolist() == [0.0, 0.0]
    # ten million, against Stirling's series with more terms than are used: half log form
    assert quad.log_binomial_saturated(5_000_000, 10_000_000) == pytest.approx(
        0.5 * np.log(2 / (np.pi * 10_000_000)) - 1 / (4 * 10_000_000), abs=1e-14
    )


def test_far_and_wide_values_stay_finite():
    rng = np.random.default_rng(1)
    size = 3000
    n = rng.choice([1, 2, 5, 10, 100, 1000, 10**7], size).astype(float)
    x = np.where(rng.random(size) < 0.3, 0, np.where(rng.random(size) < 0.4, n, np.floor(n / 3)))
    mu = rng.normal(0, 1, size) * rng.choice([1, 5, 40], size)
    v = (10.0 ** rng.uniform(-5, 2.6, size)) ** 2
    d = quad.derivatives(quad.prepare(x, n), mu, v, tol=12.0)
    exact = quad.derivatives(quad.prepare(x, n), mu, v)
    for name in ("value", "mu", "v", "mu_mu"):
        assert np.isfinite(getattr(d, name)).all()
        assert np.isfinite(getattr(exact, name)).all()
    np.testing.assert_allclose(d.value, exact.value, rtol=1e-4, atol=1e-4)
    assert (exact.mu_mu <= 1e-15 * (1.0 + n * n)).all()  # concave, up to rounding of the score
