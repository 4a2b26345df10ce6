"""The marginal likelihood against mpmath, its derivatives against differences, its edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logsumexp

from analysis.pooling import quadrature as quad


@pytest.fixture(autouse=True)
def strict_arithmetic():
    """A division by zero, an overflow or a NaN made on the way is an error, not a warning."""
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        yield


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


def scattered(size=3000, seed=11):
    """Trials of all sizes at means and variances near and far."""
    rng = np.random.default_rng(seed)
    n = rng.choice([1, 3, 12, 60, 400, 1000, 1001, 5000, 10**6], size).astype(float)
    share = rng.random(size)
    x = np.where(share < 0.25, 0.0, np.where(share < 0.5, n, np.floor(n * rng.random(size))))
    return quad.prepare(x, n), rng.normal(0.0, 3.0, size), 10.0 ** rng.uniform(-4.0, 3.0, size)


def log_integrand(t, mu, v, theta):
    """Without the constants, by its definition."""
    ref = t.ref[:, None] if theta.ndim == 2 else t.ref
    x, n, mu, v = (a[:, None] if theta.ndim == 2 else a for a in (t.x, t.n, mu, v))
    log_p, log_q = -np.logaddexp(0.0, -theta), -np.logaddexp(0.0, theta)
    top = -x * np.logaddexp(0.0, -ref) - (n - x) * np.logaddexp(0.0, ref)
    return x * log_p + (n - x) * log_q - top - (theta - mu) ** 2 / (2.0 * v)


@pytest.mark.parametrize("tol", [8.0, 12.0, 20.0, 34.0])
def test_windows_end_where_the_integrand_is_small_and_not_much_farther(tol):
    """Where it is exp(-36) of its maximum, or what less precision asks for."""
    t, mu, v = scattered()
    small = t.n <= 5000  # the plain form loses digits for a million
    t, mu, v = t.take(small), mu[small], v[small]
    low, high, step = quad._locate(t, mu, v, tol)
    # the mode by halving
    left, right = np.minimum(mu, mu - v * (t.n - t.x)), np.maximum(mu, mu + v * t.x)
    for _ in range(200):
        mode = 0.5 * (left + right)
        up = t.x - t.n * expit(mode) - (mode - mu) / v > 0
        left, right = np.where(up, mode, left), np.where(up, right, mode)
    top = log_integrand(t, mu, v, mode)
    cut = 36.0 if tol == 34.0 else tol + 2.0
    for end, side in ((mu + low, -1), (mu + high, 1)):
        drop = top - log_integrand(t, mu, v, end)
        # the normal alone has fallen that far at sqrt(2 cut) standard deviations
        whole = np.abs(end - mode) > 0.999 * np.sqrt(2.0 * cut * v)
        assert ((end - mode) * side > 0).all()
        assert (drop > cut - 1e-5).all()
        assert np.median(drop[~whole]) < cut + 0.05
        assert np.quantile(drop[~whole], 0.8) < cut + 3.0
        # Newton's iteration stops when the mode is known to a part of a standard deviation
        assert (np.abs(end - mode) < 1.05 * np.sqrt(2.0 * cut * v)).all()
    info = t.n * expit(mode) * expit(-mode)
    need = quad.spacing(info, 1.0 / v, tol)
    assert (step > 0.999 * need).all()
    assert (step < 1.06 * need).all()
    turned = quad._locate(quad.prepare(t.n - t.x, t.n), -mu, v, tol)
    for got, expected in zip(turned, (-high, -low, step), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)


def test_the_step_is_that_of_the_error_bound():
    """2 exp(-2 pi y / h + y^2 / (2 tau2)) cos(y)^-info = 2 exp(-tol), near the best y."""
    for tol in (12.0, 34.0):
        for info in (0.0, 0.3, 5.0, 80.0, 1e4):
            for inv in (1e-4, 0.2, 3.0, 400.0):
                h = float(quad.spacing(np.array([info]), np.array([inv]), tol)[0])
                y = np.linspace(0.001, 1.57, 4000)
                bound = -2 * np.pi * y / h + 0.5 * y * y * inv - info * np.log(np.cos(y))
                assert bound.min() <= -tol * (1 - 1e-3)  # the bound is met
                assert bound.min() > -1.35 * tol  # with a step not much too small
                assert h < 2.0 * np.pi * 1.31 / tol


@pytest.mark.parametrize("n", [1, 7, 999, 1000, 1001, 40_000])
def test_forms_of_the_binomial_likelihood_agree(n):
    """For small trials and large, about the reference and 700 logits from it."""
    x = np.array([0, n // 3, n // 2, n])
    t = quad.prepare(np.repeat(x, 9), np.full(36, n))
    off = np.tile([-700.0, -45.0, -5.0, -0.1, 0.0, 0.1, 5.0, 45.0, 700.0], 4)
    theta = t.ref + off
    log_p, log_q = -np.logaddexp(0.0, -theta), -np.logaddexp(0.0, theta)
    at_ref = t.x * -np.logaddexp(0.0, -t.ref) - (t.n - t.x) * np.logaddexp(0.0, t.ref)
    value = t.x * log_p + (t.n - t.x) * log_q - at_ref
    score = t.x * expit(-theta) - (t.n - t.x) * expit(theta)
    info = t.n * expit(theta) * expit(-theta)
    g, s, up, y = quad._relative(theta, t.x, t.n, t.ref, t.p, t.q)
    both = quad._both(t, theta)
    short = quad._log_likelihood(theta[:, None], *quad._column(t))[:, 0]
    alone = quad._score(t, theta)
    for got in (g, both[0], short):
        np.testing.assert_allclose(got, value, rtol=1e-12, atol=1e-11 * n)
    for got in (both[1], alone[0], np.where(up, t.n * s - y, y - t.n * s)):
        np.testing.assert_allclose(got, score, rtol=1e-9, atol=2e-13 * n)
    for got in (both[2], alone[1], t.n * s * (1.0 - s)):
        np.testing.assert_allclose(got, info, rtol=1e-9, atol=1e-12 * n)
    np.testing.assert_array_equal(up, off >= 0)
    np.testing.assert_array_equal(y, np.where(up, t.n - t.x, t.x))
    np.testing.assert_allclose(
        s, np.where(up, expit(-theta), expit(theta)), rtol=1e-12, atol=1e-300
    )


def test_derivatives_are_mirrored_with_the_counts():
    t, mu, v = scattered(600, 12)
    v[::7] = 0.0
    a, b = quad.derivatives(t, mu, v), quad.derivatives(quad.prepare(t.n - t.x, t.n), -mu, v)
    for name, sign in (("value", 1), ("mu", -1), ("v", 1), ("mu_mu", 1), ("mu_v", -1), ("v_v", 1),
                       ("l3", -1), ("l4", 1)):  # fmt: skip
        got, expected = sign * getattr(b, name), getattr(a, name)
        unit = t.n ** {"value": 0, "mu": 1, "mu_mu": 1, "v": 2, "l3": 1}.get(name, 3)
        np.testing.assert_allclose(got / unit, expected / unit, rtol=1e-6, atol=2e-8, err_msg=name)
    np.testing.assert_allclose(quad.log_marginal(t, mu, v), a.value, rtol=1e-13, atol=1e-13)
    mean, variance, share = quad.posterior_moments(t, mu, v)
    # by Tweedie's formula the conditional moments follow from the derivatives in the mean
    np.testing.assert_allclose(mean, mu + v * a.mu, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(variance, v + v * v * a.mu_mu, rtol=1e-5, atol=1e-8 * (1 + v.max()))
    # and the derivative itself is what is seen less what is expected
    np.testing.assert_allclose(t.x - t.n * share, a.mu, rtol=1e-6, atol=1e-8 * t.n.max())


# counts and a mean whose integrand is a wide normal beside an edge, or only a normal
@pytest.mark.parametrize(
    ("x", "n", "mu", "tau"),
    [(12, 12, 40.0, 3.0), (0, 12, -40.0, 3.0), (12, 12, 4.0, 30.0), (0, 12, -4.0, 30.0),
     (0, 300, -60.0, 9.0), (300, 300, 25.0, 4.0), (1, 1, 90.0, 6.0), (0, 5, 3.0, 14.0)],
)  # fmt: skip
def test_bent_spacing_is_chosen_where_it_resolves_the_normal(x, n, mu, tau):
    """Against a plain sum on 40,001 nodes; a panel's nodes likewise."""
    z = np.linspace(-12.0, 12.0, 40_001)
    theta = mu + tau * z
    log_f = x * -np.logaddexp(0.0, -theta) - (n - x) * np.logaddexp(0.0, theta) - 0.5 * z * z
    expected = logsumexp(log_f) + np.log(z[1] - z[0]) - 0.5 * np.log(2.0 * np.pi)
    t, one = quad.prepare(np.array([x]), np.array([n])), np.ones(1)
    v = one * tau * tau
    assert quad.derivatives(t, mu, v).value[0] == pytest.approx(expected, rel=1e-11, abs=1e-11)
    panel = quad.Panel(t, one * mu - 0.5, one * mu + 0.5, v / 1.3, v * 1.3)
    got = panel.derivatives(one * mu, v)
    assert got.value[0] == pytest.approx(expected, rel=1e-11, abs=1e-11)
    # the window of the rule is laid over the whole range, in few nodes where they may be bent
    low, high, step = quad._locate(t, one * mu, v, quad.TOLERANCE)
    need, bent = quad._plan(t, one * mu, one * tau, low, high, step, quad.TOLERANCE)
    uniform = np.ceil((high - low) / step)[0] + 1
    assert need[0] < 0.75 * uniform if bent[0] else need[0] == uniform
    delta, log_weight = quad._nodes(t, one * mu, low, high, bool(bent[0]), int(need[0]))
    assert delta[0, [0, -1]] == pytest.approx([low[0], high[0]], rel=1e-9)
    inner = np.exp(log_weight + 0.0 * delta)[0, 1:-1].sum()
    assert inner == pytest.approx(high[0] - low[0], rel=0.1)
    # equal steps, or steps that grow with the distance from the reference
    if bent[0]:
        s = np.arcsinh((mu + delta[0] - t.ref[0]) / 2.0)
        np.testing.assert_allclose(np.diff(s), np.diff(s)[0], rtol=1e-6)
        assert np.diff(s)[0] <= 0.08 * 1.001
    else:
        np.testing.assert_allclose(np.diff(delta[0]), np.diff(delta[0])[0], rtol=1e-6)
        assert np.diff(delta[0])[0] <= step[0] * (1 + 1e-12)


@given(
    st.lists(st.tuples(st.integers(2, 3000), st.integers(0, 3)), min_size=1, max_size=60),
    st.booleans(),
)
def test_batches_are_of_one_kind_and_like_size(rows, alike):
    need, kinds = (np.array(a) for a in zip(*rows, strict=True))
    if alike:
        kinds = kinds * 0 + 2
    seen = []
    for index, kind, nodes in quad._batches(need, kinds):
        assert (kinds[index] == kind).all()
        assert need[index].max() == nodes
        assert nodes <= 4 * need[index].min()
        assert index.size == 1 or index.size * need[index].min() <= 24_000
        seen.append(index)
    assert sorted(np.concatenate(seen)) == list(range(need.size))
    # not one by one
    assert len(seen) <= sum(need[kinds == kind].sum() / 12_000 + 19 for kind in np.unique(kinds))


def test_saturated_values_at_the_ends_of_the_table():
    """Stirling's remainder from the table (to 1000), its series and the gamma function."""
    import mpmath as mp

    mp.mp.dps = 40
    n = np.array([1, 2, 15, 16, 17, 999, 1000, 1001, 1002, 10**5])
    exact = [
        float(mp.loggamma(m + 1) - (m + mp.mpf(1) / 2) * mp.log(m) + m - mp.log(2 * mp.pi) / 2)
        for m in map(int, n)
    ]
    np.testing.assert_allclose(quad._stirling(n)[n >= 16], np.array(exact)[n >= 16], rtol=1e-13)
    np.testing.assert_allclose(quad._stirling(n), exact, atol=1e-14)
    for size in n:  # alone, and with others
        np.testing.assert_allclose(quad._stirling(np.array([size])), quad._stirling(n)[n == size])
    assert quad._stirling(np.zeros(0)).size == 0
