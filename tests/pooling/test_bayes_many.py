"""Many Bayesian fits at once equal one at a time.

Tolerance 2e-7, relative on proportions and tau, absolute on the logit. Measured: at most 4e-8,
for equal rates whose patients fill the grid.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from analysis.pooling import bayes, bayes_many, pool, pool_many

TOLERANCE = 2e-7
ABSOLUTE = ("mu", "se", "q", "q_p")
NUMBERS = ("estimate", "ci_low", "ci_high", "pi_low", "pi_high", "tau2", "marginal_estimate")
TRIALS = ([1, 8, 17, 7, 14, 41], [8, 14, 24, 8, 32, 87])


@pytest.fixture(scope="module", autouse=True)
def _nothing_remembered():
    """These tests make their grids and posteriors themselves."""
    for remembers in (bayes._solved, bayes_many._grid, bayes_many._row):
        remembers.cache_clear()


def same_as_one_by_one(events, total, **options):
    batch = pool_many(events, total, "bayes", **options)
    total = np.broadcast_to(total, np.shape(events))
    for i in range(len(batch)):
        fit = pool(events[i], total[i], "bayes", **options)
        about = f"{list(events[i])} of {list(total[i])}"
        for name in ABSOLUTE:
            assert getattr(batch, name)[i] == pytest.approx(getattr(fit, name), abs=TOLERANCE), (
                f"{name}: {about}"
            )
        for name in NUMBERS:
            assert getattr(batch, name)[i] == pytest.approx(
                getattr(fit, name), rel=2 * TOLERANCE
            ), f"{name}: {about}"
        for name in ("tau2_ci", "marginal_ci"):
            np.testing.assert_allclose(
                getattr(batch, name)[i], getattr(fit, name), rtol=2 * TOLERANCE, err_msg=about
            )
        assert batch.converged[i] == fit.converged
    return batch


@settings(max_examples=8)
@given(
    k=st.integers(2, 9),
    seed=st.integers(0, 2**31),
    most=st.sampled_from([4, 30, 110]),
    scales=st.sampled_from([(2.0, 2.5), (1.0, 2.5), (0.5, 1.5)]),
)
def test_random_trials(k, seed, most, scales):
    rng = np.random.default_rng(seed)
    total = rng.integers(1, most + 1, (4, k))
    events = rng.binomial(total, rng.beta(0.6, 0.9, (4, k)))
    same_as_one_by_one(events, total, tau_scale=scales[0], mu_scale=scales[1])


def test_hard_sets():
    """All zero, all full, both kinds, equal rates that fill the grid, one far from the others."""
    total = np.array([60, 40, 56, 60, 40])
    events = np.array(
        [
            [0, 0, 0, 0, 0],
            [60, 40, 56, 60, 40],
            [0, 40, 0, 60, 40],
            [30, 20, 28, 30, 20],
            [1, 0, 1, 60, 1],
            [59, 1, 28, 0, 39],
        ]
    )
    batch = same_as_one_by_one(events, total, tau_scale=2.0)
    assert list(batch.status) == ["no events", "only events", *["ok"] * 4]


@pytest.mark.parametrize("level", [0.5, 0.9, 0.999])
def test_other_levels(level):
    events = np.array([TRIALS[0], TRIALS[0][::-1], [0, 1, 0, 0, 2, 1]])
    total = np.array([TRIALS[1], TRIALS[1][::-1], TRIALS[1]])
    same_as_one_by_one(events, total, tau_scale=2.0, level=level)


def test_more_patients_and_more_trials():
    rng = np.random.default_rng(5)
    total = rng.integers(10, 45, (3, 30))
    assert bayes_many.suits(total, 0.95)
    events = rng.binomial(total, rng.beta(2.0, 3.0, (3, 30)))
    same_as_one_by_one(events, total, tau_scale=2.0)


def test_a_set_does_not_depend_on_its_company():
    """Another grid, chosen for larger sets in the same call, gives the same posterior."""
    few, many = [3, 1, 4], [9, 2, 12]
    alone = pool_many([few] * 3, [many] * 3, "bayes", tau_scale=2.0)
    events = [few, [300, 200, 100], [1, 1, 1]]
    total = [many, [400, 350, 200], [1, 1, 2]]
    large = pool_many(events, total, "bayes", tau_scale=2.0)
    for name in NUMBERS:
        assert getattr(large, name)[0] == pytest.approx(getattr(alone, name)[0], rel=1e-7)


def test_what_does_not_suit_a_shared_grid_is_fitted_one_by_one():
    events, total = np.array([[900, 700]] * 3), np.array([[1000, 1000]] * 3)
    assert not bayes_many.suits(total, 0.95)
    assert not bayes_many.suits(total // 100, 0.99999)
    batch = pool_many(events, total, "bayes", tau_scale=2.0)
    fit = pool(events[0], total[0], "bayes", tau_scale=2.0)
    assert batch.estimate[0] == fit.estimate
    single = pool_many([[1], [2], [3]], [5], "bayes")
    assert list(single.status) == ["one trial"] * 3
    assert np.isnan(single.estimate).all()


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, True, "2"])
def test_scales_are_checked(bad):
    with pytest.raises(ValueError, match="tau_scale must be a positive"):
        pool_many([TRIALS[0]] * 3, TRIALS[1], "bayes", tau_scale=bad)
    with pytest.raises(ValueError, match="mu_scale must be a positive"):
        pool_many([TRIALS[0]] * 3, TRIALS[1], "bayes", mu_scale=bad)


def test_a_row_of_a_batch_as_a_fit_is_the_fit() -> None:
    events, total = [[3, 0, 7], [2, 2, 2], [4, 9, 9]], [9, 9, 9]
    many = pool_many(events, total, "bayes", tau_scale=2.0)
    for i, x in enumerate(events):
        one = pool(x, total, "bayes", tau_scale=2.0, labels=["a", "b", "c"])
        row = many.fit(i, labels=["a", "b", "c"])
        assert row.labels == one.labels
        assert (row.k, row.q_df, row.interval, row.level) == (3, 2, one.interval, one.level)
        for name in ("estimate", "ci_low", "ci_high", "pi_low", "pi_high", "tau2", "i2", "q"):
            assert getattr(row, name) == pytest.approx(getattr(one, name), rel=1e-6), name
        assert row.tau2_ci == pytest.approx(one.tau2_ci, rel=1e-5)
        assert row.marginal_ci == pytest.approx(one.marginal_ci, rel=1e-6)
        assert row.weight == pytest.approx(one.weight, rel=1e-6)
        assert row.study_ci_low == pytest.approx(one.study_ci_low, rel=1e-12)
    with pytest.raises(ValueError, match="data set 0, model 'dl'"):
        pool_many(events, total, "dl").fit(0)


@pytest.mark.parametrize("first", [-7.0, -2.1, -1.7])
def test_quantiles_of_distribution_functions_on_a_line(first):
    """The normal and the logistic distribution, with quantiles next to both ends of the places."""
    at = np.arange(first, 7.0, 0.1)
    cdf = np.stack([special.ndtr(at), special.expit(2 * at), special.ndtr((at - 1) / 2)])
    probabilities = (0.06, 0.1, 0.5, float(special.ndtr(0.3)), 0.95)
    found = bayes_many._quantiles(at, cdf, probabilities)
    score = special.ndtri(probabilities)
    wanted = [score, special.logit(probabilities) / 2, 1 + 2 * score]
    for row, right in zip(found, wanted, strict=True):
        inside = right > first
        assert inside.sum() >= 2
        np.testing.assert_allclose(row[inside], right[inside], atol=1e-8)
    # a quantile that is one of the places
    on_place = bayes_many._quantiles(at, cdf[:1], (float(cdf[0, 40]), float(cdf[0, 3])))
    np.testing.assert_allclose(on_place[0], at[[40, 3]], atol=1e-9)


@pytest.mark.parametrize("step", [0.1, 0.25])
def test_quantiles_of_an_even_density(step):
    """Half-normal and another even density, the mass at zero counting half."""
    u = step * np.arange(math.ceil(9.0 / step) + 1)
    mass = np.stack([2 * stats.norm.pdf(u), 4 * stats.norm.pdf(2 * u), stats.norm.pdf(u) * u * u])
    mass[2] *= 2
    mass *= step
    mass[:, 0] *= 0.5
    assert mass.sum(axis=1) == pytest.approx([1.0, 1.0, 1.0], abs=1e-12)
    probabilities = (0.001, 0.025, 0.5, 0.975, 0.9999)
    found = bayes_many._spread_quantiles(u, mass, probabilities)
    half = stats.halfnorm.ppf(probabilities)
    wanted = [half, half / 2, stats.chi.ppf(probabilities, 3)]
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_the_mean_behind_an_average_proportion():
    tau, target = np.array([0.0, 0.4, 3.0]), np.array([-5.0, -0.3, 0.0, 1.1, 8.0])
    found = bayes_many._mu_for_average(target, tau, 30.0)
    assert found.shape == (3, 5)
    np.testing.assert_allclose(found[0], target, atol=1e-10)
    node, weight = np.polynomial.hermite_e.hermegauss(200)
    average = special.expit(found[..., None] + tau[:, None, None] * node) @ weight / weight.sum()
    np.testing.assert_allclose(special.logit(average), np.tile(target, (3, 1)), atol=1e-6)
    # beyond twice the limit there is no posterior mass: the end is given
    np.testing.assert_allclose(
        bayes_many._mu_for_average(np.array([-50.0, 50.0]), tau, 4.0), [[-8.0, 8.0]] * 3
    )


@pytest.mark.parametrize("tau", [0.0, 0.02, 0.1, 0.5, 4.0])
def test_distribution_functions_of_a_normal_posterior(tau):
    """mu normal(0.3, 0.5): of mu and of the next trial's logit, over the whole line."""
    step = 0.1
    w = bayes_many._symmetric(5.0, step)
    mu = bayes_many._mu_of(w)
    np.testing.assert_allclose(bayes_many._w_of(mu), w, atol=1e-13)
    assert (w[0], w[-1], w.size, w[50]) == (-5.0, 5.0, 101, 0.0)
    density = stats.norm.pdf(mu, 0.3, 0.5) * np.cosh(0.5 * w) * step
    places = bayes_many._symmetric(6.0, 0.3)
    left = places[: places.size // 2 + 1]
    next_cdf = bayes_many._next_cdf(left, w, mu, step, tau)
    own_cdf = bayes_many._sinc_cdf(left, w, step)
    at = bayes_many._mu_of(left)
    wanted = stats.norm.cdf(at, 0.3, math.hypot(0.5, tau))
    np.testing.assert_allclose(density @ next_cdf, wanted, atol=1e-8)
    np.testing.assert_allclose(density @ own_cdf, stats.norm.cdf(at, 0.3, 0.5), atol=1e-8)
    # the right half mirrors the left one, for places and points
    at = bayes_many._mu_of(places)
    for cdf, sd in ((next_cdf, math.hypot(0.5, tau)), (own_cdf, 0.5)):
        both = bayes_many._mirrored(cdf)
        assert both.shape == (w.size, places.size)
        np.testing.assert_allclose(density @ both, stats.norm.cdf(at, 0.3, sd), atol=1e-8)


def test_when_a_grid_is_shared_and_which():
    assert bayes_many.suits(np.array([[1000, 24], [1, 1]]), 0.9999)
    assert not bayes_many.suits(np.array([[1, 1], [1000, 25]]), 0.95)
    assert not bayes_many.suits(np.array([[1000, 24]]), 0.99991)
    power = bayes_many._power_of_two
    assert [power(a, up=True) for a in (0.3, 1, 5, 8)] == [0.5, 1.0, 8.0, 8.0]
    assert [power(a, up=False) for a in (0.3, 1, 5, 8)] == [0.25, 1.0, 4.0, 8.0]
    x, n = np.array([[3, 0], [20, 5]]), np.array([[9, 4], [40, 9]])
    assert bayes_many._least_error(x, n) == pytest.approx(math.sqrt(0.1), rel=1e-14)
    grid = bayes_many._grid(256.0, 8.0, 0.125, 2.0, 2.5)
    reach = math.sqrt(60.0)
    # priors end where their density is below exp(-30) of its maximum
    assert grid.mu.max() == -grid.mu.min() >= 2.5 * reach > 0.9 * grid.mu.max()
    assert grid.tau.min() == 0.0 and grid.tau.max() >= 2.0 * reach > 0.9 * grid.tau.max()
    np.testing.assert_allclose(np.unique(grid.tau), grid.scale * np.sinh(grid.u), rtol=1e-14)
    assert grid.scale == 0.125
    assert grid.mu.shape == grid.tau.shape == grid.log_weight.shape == (len(grid.kernel),)
    ends = np.cumsum([2, *(a.size for a in (grid.mu_at, grid.average_at, grid.next_at, grid.u))])
    assert grid.ends == tuple(ends) and grid.kernel.shape[1] == ends[-1]
    for at in (grid.mu_at, grid.next_at):
        np.testing.assert_allclose(np.diff(at), at[1] - at[0], rtol=1e-9)
        np.testing.assert_allclose(at, -at[::-1], atol=1e-12)
    # without data the grid returns its priors
    mass = np.exp(grid.log_weight)
    mass /= mass.sum()
    found = bayes_many._summaries(grid, (mass @ grid.kernel)[None, :], 0.9)
    tail = 2.5 * stats.norm.ppf(0.95)
    np.testing.assert_allclose(found["mu_ci"], [[-tail, tail]], atol=1e-7)
    assert (found["mu"][0], found["se"][0]) == pytest.approx((0.0, 2.5), abs=1e-7)
    np.testing.assert_allclose(found["tau_ci"][0], stats.halfnorm.ppf([0.05, 0.95], scale=2.0))
    assert found["tau"][0] == pytest.approx(stats.halfnorm.ppf(0.5, scale=2.0), rel=1e-7)
    # of a next trial: normal with variance 6.25 + tau squared
    node, weight = np.polynomial.legendre.leggauss(200)
    tau = 8.0 * (node + 1.0)
    weight = weight * stats.halfnorm.pdf(tau, scale=2.0) * 8.0
    for rate, prob in zip(found["pi"][0], (0.05, 0.95), strict=True):
        below = weight @ stats.norm.cdf(special.logit(rate), 0.0, np.hypot(2.5, tau))
        assert below == pytest.approx(prob, abs=1e-7)
    assert found["marginal"][0] == pytest.approx(0.5, abs=1e-7)
    assert found["marginal_ci"][0].sum() == pytest.approx(1.0, abs=1e-7)


def test_a_batch_larger_than_one_block_equals_its_parts(monkeypatch):
    rng = np.random.default_rng(4)
    total = rng.integers(2, 30, (7, 4))
    events = rng.binomial(total, 0.3)
    whole = bayes_many.bayes_arrays(events, total, tau_scale=2.0, mu_scale=2.5, level=0.95)
    monkeypatch.setattr(bayes_many, "_CELLS", 1)
    parts = bayes_many.bayes_arrays(events, total, tau_scale=2.0, mu_scale=2.5, level=0.95)
    shapes = {"mu": (7,), "se": (7,), "tau": (7,), "marginal": (7,)}
    shapes |= {name: (7, 2) for name in ("mu_ci", "tau_ci", "marginal_ci", "pi")}
    assert {name: a.shape for name, a in whole.items()} == shapes
    for name, values in whole.items():
        np.testing.assert_allclose(parts[name], values, rtol=1e-11, err_msg=name)
    for i, fit in enumerate(
        pool(x, n, "bayes", tau_scale=2.0) for x, n in zip(events, total, strict=True)
    ):
        low, high = fit.details["mu"]["low"], fit.details["mu"]["high"]
        assert whole["mu_ci"][i] == pytest.approx((low, high), abs=TOLERANCE)
