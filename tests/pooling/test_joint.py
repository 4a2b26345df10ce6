"""Two pooled proportions at once: the joint region, and correlated trials."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from analysis.pooling import pool
from analysis.pooling.effects import effect_sizes
from analysis.pooling.joint import (
    Region,
    fit_bivariate,
    frechet,
    highest_density,
    joint_region,
    mean_density,
)


@st.composite
def counts(draw, least: int = 2, most: int = 4):
    k = draw(st.integers(least, most))
    total = draw(st.lists(st.integers(3, 60), min_size=k, max_size=k))
    return [draw(st.integers(0, n)) for n in total], total


def posterior(data):
    return pool(*data, "bayes").posterior


HARM, GOOD = ([6, 2, 10], [14, 24, 117]), ([8, 17, 41, 1], [14, 24, 87, 8])


@pytest.fixture(scope="module")
def region():
    return joint_region(posterior(HARM), posterior(GOOD))


# ------------------------------------------------------------------ region


def test_density_integrates_to_the_distribution_function():
    post = posterior(HARM)
    points = np.linspace(-6, 4, 1001)
    density = mean_density(post, points)
    area = integrate.cumulative_trapezoid(density, points, initial=0)
    for at in (200, 450, 600, 900):
        assert area[at] == pytest.approx(post.mu_cdf(points[at]) - post.mu_cdf(-6), abs=2e-5)


def test_region_of_two_normal_densities_is_the_ellipse():
    x = np.linspace(-6, 6, 801)
    mass = np.exp(-0.5 * (x[:, None] ** 2 + (x[None, :] / 0.7) ** 2))
    threshold = highest_density(mass, 0.95)
    assert -2 * math.log(threshold) == pytest.approx(stats.chi2.ppf(0.95, 2), rel=2e-3)


def test_region_holds_its_probability(region):
    """Draws from the two posterior distributions, by their quantiles."""
    rng = np.random.default_rng(7)
    grid = np.linspace(0.0005, 0.9995, 150)
    draws = []
    for data in (HARM, GOOD):
        post = posterior(data)
        quantiles = np.array([post.mu_quantile(p) for p in grid])
        draws.append(1 / (1 + np.exp(-np.interp(rng.uniform(size=3000), grid, quantiles))))
    x, y = draws
    inside = np.mean([region.contains(a, b) for a, b in zip(x, y, strict=True)])
    assert inside == pytest.approx(0.95, abs=0.012)
    (x_low, x_high), (y_low, y_high) = region.sides
    boxed = np.mean((x_low < x) & (x < x_high) & (y_low < y) & (y < y_high))
    assert boxed == pytest.approx(0.975**2, abs=0.012)
    assert boxed >= 0.94


def test_rectangle_is_two_wider_intervals(region):
    for data, (low, high) in zip((HARM, GOOD), region.sides, strict=True):
        fit = pool(*data, "bayes", level=0.975)
        assert (low, high) == pytest.approx((fit.ci_low, fit.ci_high), abs=1e-9)


def test_outline_is_closed_and_lies_on_the_edge(region):
    (line,) = region.outline()
    assert line[0] == pytest.approx(line[-1])
    center = np.array(region.point)
    for point in line[::10]:
        inner, outer = center + 0.97 * (point - center), center + 1.03 * (point - center)
        assert region.contains(*inner)
        assert not region.contains(*np.clip(outer, 0, 1))


@given(x=counts(), y=counts())
@settings(max_examples=5)
def test_region_contains_the_pooled_point(x, y):
    found = joint_region(posterior(x), posterior(y), nodes=81)
    assert found.contains(*found.point)
    for (low, high), value in zip(found.sides, found.point, strict=True):
        assert 0 <= low < value < high <= 1
    assert not found.contains(0.0, found.point[1])


@given(x=counts(), y=counts())
@settings(max_examples=3)
def test_swapping_the_axes_swaps_the_region(x, y):
    a, b = posterior(x), posterior(y)
    one, other = joint_region(a, b, nodes=61), joint_region(b, a, nodes=61)
    assert one.point == other.point[::-1]
    assert one.sides == other.sides[::-1]
    assert one.density == pytest.approx(other.density.T)
    assert one.threshold == pytest.approx(other.threshold)


@given(x=counts(), y=counts())
@settings(max_examples=3)
def test_counting_the_opposite_mirrors_the_region(x, y):
    mirrored = ([n - e for e, n in zip(*x, strict=True)], x[1])
    here = joint_region(posterior(x), posterior(y), nodes=61)
    there = joint_region(posterior(mirrored), posterior(y), nodes=61)
    assert there.point[0] == pytest.approx(1 - here.point[0], abs=1e-9)
    assert there.sides[0] == pytest.approx((1 - here.sides[0][1], 1 - here.sides[0][0]), abs=1e-9)
    assert there.density == pytest.approx(here.density[::-1], abs=1e-6)
    assert there.threshold == pytest.approx(here.threshold, rel=1e-4)


# ------------------------------------------------------------------ bounds


@given(p=st.floats(0, 1), q=st.floats(0, 1))
def test_bounds_are_attained_and_mirror(p, q):
    low, high = frechet(p, q)
    assert 0 <= low <= high <= p
    # the same bounds from the other side: harmed and not responding
    assert frechet(1 - p, 1 - q) == pytest.approx((max(0.0, q - p), min(1 - p, q)), abs=1e-12)
    # with the share of both events from the most to the least, the bounds are what is left
    most, least = min(p, q), max(0.0, p + q - 1)
    assert (p - most, p - least) == pytest.approx((low, high), abs=1e-12)


def test_bounds_refuse_what_is_no_rate():
    with pytest.raises(ValueError, match="between 0 and 1"):
        frechet(0.5, 1.2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        joint_region(posterior(HARM), posterior(GOOD), nodes=41).contains(0.5, -0.1)


# ------------------------------------------------------------------ correlated trials


@given(x=counts(2, 5), y=counts(2, 5))
@settings(max_examples=5)
def test_without_correlation_each_outcome_is_pooled_alone(x, y):
    k = max(len(x[0]), len(y[0]))
    padded = [tuple(list(part) + [None] * (k - len(part)) for part in data) for data in (x, y)]
    fit = fit_bivariate(*padded, rho=0.0, tau_scale=1.0)
    for place, data in enumerate((x, y)):
        alone = pool(*data, "bayes", likelihood="normal")
        assert fit.estimate[place] == pytest.approx(alone.estimate, abs=2e-4)
        assert fit.interval[place] == pytest.approx((alone.ci_low, alone.ci_high), abs=2e-4)
    assert fit.correlation == pytest.approx(0, abs=1e-12)
    assert fit.rho_interval is None


def test_agrees_with_an_independent_computation():
    """Draws from the prior, weighted by the density of all logits under one large covariance."""
    first = ([6, 2, 10, None, 3], [14, 24, 117, None, 9])
    second = ([8, 17, 41, 1, None], [14, 24, 87, 8, None])
    fit = fit_bivariate(first, second, tau_scale=1.0, mu_scale=2.5)

    y, v, trial, outcome = [], [], [], []
    for number, (events, total) in enumerate((first, second)):
        for i, (e, n) in enumerate(zip(events, total, strict=True)):
            if e is not None:
                a, b = effect_sizes([e], [n], "logit")
                y.append(a[0])
                v.append(b[0])
                trial.append(i)
                outcome.append(number)
    y, v, trial, outcome = map(np.array, (y, v, trial, outcome))
    same_trial = trial[:, None] == trial[None, :]
    same_outcome = outcome[:, None] == outcome[None, :]
    design = np.stack([outcome == 0, outcome == 1], axis=1).astype(float)
    rng = np.random.default_rng(11)
    size = 40_000
    tau = np.abs(rng.normal(size=(size, 2)))
    rho = rng.uniform(-1, 1, size=size)
    weights, means = np.empty(size), np.empty((size, 2))
    scale = tau[:, outcome]
    link = np.where(same_outcome, 1.0, rho[:, None, None]) * same_trial
    cov = scale[:, :, None] * scale[:, None, :] * link + np.diag(v)
    full = cov + 2.5**2 * design @ design.T
    sign, logdet = np.linalg.slogdet(full)
    assert (sign > 0).all()
    solved = np.linalg.solve(full, np.broadcast_to(y[:, None], (size, y.size, 1)))[:, :, 0]
    log_weight = -0.5 * (logdet + solved @ y)
    weights = np.exp(log_weight - log_weight.max())
    weights /= weights.sum()
    means = 2.5**2 * solved @ design
    mean = weights @ means
    error = np.sqrt((weights**2) @ (means - mean) ** 2)
    assert (np.abs(fit.mean - mean) < 5 * error).all()
    assert abs(weights @ rho - fit.rho) < 0.05
    inside = weights[(rho > fit.rho_interval[0]) & (rho < fit.rho_interval[1])].sum()
    assert inside == pytest.approx(0.95, abs=0.01)
    assert (fit.k, fit.k_both) == ((4, 4), 3)


@given(x=counts(3, 4), rho=st.floats(-0.95, 0.95))
@settings(max_examples=10)
def test_swapping_the_outcomes_swaps_the_fit(x, rho):
    y = ([min(n, e + 1) for e, n in zip(*x, strict=True)], x[1])
    one, other = fit_bivariate(x, y, rho=rho), fit_bivariate(y, x, rho=rho)
    assert one.estimate == pytest.approx(other.estimate[::-1], abs=1e-8)
    assert one.correlation == pytest.approx(other.correlation, abs=1e-8)


@given(x=counts(3, 4), rho=st.floats(-0.95, 0.95))
@settings(max_examples=10)
def test_counting_the_opposite_turns_the_correlation(x, rho):
    y = ([min(n, e + 1) for e, n in zip(*x, strict=True)], x[1])
    mirrored = ([n - e for e, n in zip(*y, strict=True)], y[1])
    one, other = fit_bivariate(x, y, rho=rho), fit_bivariate(x, mirrored, rho=-rho)
    assert one.estimate[0] == pytest.approx(other.estimate[0], abs=1e-8)
    assert one.estimate[1] == pytest.approx(1 - other.estimate[1], abs=1e-8)
    assert one.correlation == pytest.approx(-other.correlation, abs=1e-8)


def test_many_trials_show_a_correlation_and_few_do_not():
    rng = np.random.default_rng(5)
    logits = rng.normal(size=40)
    rates = 1 / (1 + np.exp(-1.2 * logits))
    n = [200] * 40
    x, y = rng.binomial(200, rates), rng.binomial(200, rates)
    many = fit_bivariate((list(x), n), (list(y), n))
    assert many.rho_interval is not None and many.rho_interval[0] > 0.8
    few = fit_bivariate((list(x[:2]), n[:2]), (list(y[:2]), n[:2]))
    assert few.rho_interval is not None
    assert few.rho_interval[1] - few.rho_interval[0] > 1.4


def test_one_trial_leaves_the_correlation_to_its_prior():
    fit = fit_bivariate(([3], [10]), ([6], [10]))
    assert fit.rho_interval == pytest.approx((-0.95, 0.95), abs=0.03)


@pytest.mark.parametrize(
    ("first", "second", "more", "message"),
    [
        (([1], [2]), ([1, 2], [3, 4]), {}, "one entry per trial"),
        (([None], [None]), ([1], [3]), {}, "no trial reports the first"),
        (([1], [3]), ([1], [3]), {"rho": 1.0}, "between -1 and 1"),
        (([1], [3]), ([1], [3]), {"tau_scale": 0}, "tau_scale"),
        (([1, None], [3, 4]), ([1, 1], [3, 4]), {}, "missing together"),
    ],
)
def test_wrong_input_is_refused(first, second, more, message):
    with pytest.raises(ValueError, match=message):
        fit_bivariate(first, second, **more)


def test_messages_word_by_word():
    one, two = ([1], [3]), ([2], [3])
    region = Region(
        x=np.array([-1.0, 0.0]), y=np.array([-1.0, 0.0]), density=np.ones((2, 2)), threshold=0.5,
        level=0.95, point=(0.4, 0.4), sides=((0.3, 0.5), (0.3, 0.5)),
    )  # fmt: skip
    lengths = "events and total of both outcomes must have one entry per trial"
    for call, message in (
        (lambda: frechet(0.5, 1.2), "a rate must lie between 0 and 1, got 1.2"),
        (lambda: frechet(-0.1, 0.5), "a rate must lie between 0 and 1, got -0.1"),
        (lambda: region.contains(1.5, 0.5), "a proportion must lie between 0 and 1, got 1.5"),
        (lambda: region.contains(0.5, -0.1), "a proportion must lie between 0 and 1, got -0.1"),
        (lambda: highest_density(np.ones(3), 1.0),
         "level must be strictly between 0 and 1, got 1.0"),
        (lambda: fit_bivariate(one, two, level=0), "level must be strictly between 0 and 1, got 0"),
        (lambda: fit_bivariate(one, two, tau_scale=0),
         "tau_scale must be a positive finite number, got 0"),
        (lambda: fit_bivariate(one, two, mu_scale=-1.0),
         "mu_scale must be a positive finite number, got -1.0"),
        (lambda: fit_bivariate(one, two, mu_scale="1"),
         "mu_scale must be a positive number, got '1'"),
        (lambda: fit_bivariate(one, two, rho=1.0), "rho must lie between -1 and 1, got 1.0"),
        (lambda: fit_bivariate(one, two, rho=-1.0), "rho must lie between -1 and 1, got -1.0"),
        (lambda: fit_bivariate(([1], [3]), ([1, 2], [3, 4])), lengths),
        (lambda: fit_bivariate(([1, 2], [3]), ([1], [3])), lengths),
        (lambda: fit_bivariate(([None], [None]), two), "no trial reports the first outcome"),
        (lambda: fit_bivariate(one, ([None], [3])), "no trial reports the second outcome"),
        (lambda: fit_bivariate(([1, None], [3, 4]), ([1, 1], [3, 4])),
         "events and total of the first outcome must be missing together"),
        (lambda: fit_bivariate(([1, 1], [3, 4]), ([1, 1], [3, None])),
         "events and total of the second outcome must be missing together"),
    ):  # fmt: skip
        with pytest.raises(ValueError) as raised:
            call()
        assert str(raised.value) == message
    # the ends of the grid belong to it, what is beyond does not
    assert region.contains(0.5, 0.5)
    low = 1 / (1 + math.e)
    for x, y, inside in (
        (0.4, 0.4, True), (low + 1e-9, 0.5, True), (0.5, low + 1e-9, True),
        (low - 1e-6, 0.4, False), (0.4, low - 1e-6, False), (0.5 + 1e-6, 0.4, False),
        (0.4, 0.5 + 1e-6, False), (0.0, 0.4, False), (1.0, 0.4, False), (0.4, 0.0, False),
        (0.4, 1.0, False),
    ):  # fmt: skip
        assert region.contains(x, y) == inside
    assert frechet(0.0, 1.0) == (0.0, 0.0)
    assert frechet(1.0, 0.0) == (1.0, 1.0)


def test_bilinear_density_decides_membership():
    x, y = np.array([-1.0, 0.0, 1.0]), np.array([-2.0, 0.0, 2.0])
    density = np.array([[0.0, 0.2, 0.1], [0.3, 1.0, 0.4], [0.1, 0.6, 0.2]])
    for threshold in (0.3, 0.5, 0.7):
        region = Region(
            x=x, y=y, density=density, threshold=threshold, level=0.9, point=(0.5, 0.5),
            sides=((0.4, 0.6), (0.4, 0.6)),
        )  # fmt: skip
        for a, b in ((0.5, 0.6), (-0.5, 0.6), (0.5, -1.2), (-0.3, -0.4), (0.9, 0.0)):
            i, j = int(a > 0), int(b > 0)
            s, t = a - x[i], (b - y[j]) / 2
            between = (
                (1 - s) * (1 - t) * density[i, j] + s * (1 - t) * density[i + 1, j]
                + (1 - s) * t * density[i, j + 1] + s * t * density[i + 1, j + 1]
            )  # fmt: skip
            pair = 1 / (1 + math.exp(-a)), 1 / (1 + math.exp(-b))
            assert region.contains(*pair) == (between >= threshold)


def test_smallest_set_of_cells():
    mass = np.array([[0.1, 0.4], [0.2, 0.3]])
    for level, least in ((0.3, 0.4), (0.4, 0.4), (0.5, 0.3), (0.8, 0.2), (0.95, 0.1)):
        assert highest_density(mass, level) == least
        assert highest_density(10 * mass, level) == 10 * least


def test_fields_of_a_region(region):
    posts = posterior(HARM), posterior(GOOD)
    assert region.level == 0.95
    assert (region.x.size, region.y.size, region.density.shape) == (161, 161, (161, 161))
    assert region.density.max() == 1.0
    assert region.threshold == highest_density(region.density, 0.95)
    for post, axis, middle, side in zip(
        posts, (region.x, region.y), region.point, region.sides, strict=True
    ):
        ends = [post.mu_quantile(1e-6), post.mu_quantile(1 - 1e-6)]
        assert axis == pytest.approx(np.linspace(*ends, 161), rel=1e-12)
        want = [1 / (1 + math.exp(-post.mu_quantile(p))) for p in (0.5, 0.0125, 0.9875)]
        assert [middle, *side] == pytest.approx(want, rel=1e-12)
    product = mean_density(posts[0], region.x)[:, None] * mean_density(posts[1], region.y)
    assert region.density == pytest.approx(product / product.max(), abs=1e-12)


def test_two_correlated_outcomes_by_a_grid_of_their_own():
    """Means, variances, correlations and quantiles from a posterior on other nodes."""
    first, second = ([6, 2, 10, None], [14, 24, 117, None]), ([8, 17, None, 1], [14, 24, None, 8])
    fit = fit_bivariate(first, second, tau_scale=0.7, mu_scale=1.5, level=0.8)
    known = fit_bivariate(first, second, tau_scale=0.7, mu_scale=1.5, level=0.8, rho=0.4)
    assert (fit.k, fit.k_both, fit.level) == ((3, 3), 2, 0.8)
    assert (known.rho, known.rho_interval) == (0.4, None)
    y, v, trial, outcome = [], [], [], []
    for number, (events, total) in enumerate((first, second)):
        for i, (e, n) in enumerate(zip(events, total, strict=True)):
            if e is not None:
                a, b = effect_sizes([e], [n], "logit")
                y, v = [*y, a[0]], [*v, b[0]]
                trial, outcome = [*trial, i], [*outcome, number]
    y, v, trial, outcome = map(np.array, (y, v, trial, outcome))
    design = np.stack([outcome == 0, outcome == 1], axis=1).astype(float)
    same = trial[:, None] == trial[None, :]
    alike = outcome[:, None] == outcome[None, :]

    def moments(rhos):
        tau = (np.arange(24) + 0.5) * 3.6 / 24  # to more than five prior scales
        a, b, r = (g.ravel() for g in np.meshgrid(tau, tau, rhos, indexing="ij"))
        scale = np.stack([a, b], axis=1)[:, outcome]
        link = np.where(alike, 1.0, r[:, None, None]) * same
        cov = scale[:, :, None] * scale[:, None, :] * link + np.diag(v)
        solved = np.linalg.inv(cov)
        precision = design.T @ solved @ design + np.eye(2) / 1.5**2
        inner = np.linalg.inv(precision)
        mean = (inner @ (design.T @ solved @ y)[..., None])[..., 0]
        log = -0.5 * (np.linalg.slogdet(cov)[1] + np.linalg.slogdet(precision)[1])
        log += -0.5 * (np.einsum("i,gij,j->g", y, solved, y))
        log += 0.5 * np.einsum("gi,gij,gj->g", mean, precision, mean)
        log += -0.5 * (a * a + b * b) / 0.7**2
        w = np.exp(log - log.max())
        return w / w.sum(), mean, inner, r

    for found, rhos in ((fit, -1 + (np.arange(40) + 0.5) / 20), (known, np.array([0.4]))):
        w, mean, inner, r = moments(rhos)
        center = w @ mean
        gap = mean - center
        cov = np.einsum("g,gij->ij", w, inner) + np.einsum("g,gi,gj->ij", w, gap, gap)
        assert found.mean == pytest.approx(center, abs=2e-3)
        assert found.covariance == pytest.approx(cov, rel=5e-3)
        assert found.correlation == pytest.approx(
            cov[0, 1] / math.sqrt(cov[0, 0] * cov[1, 1]), abs=3e-3
        )
        assert found.covariance[0, 1] == found.covariance[1, 0]
        for j in range(2):
            sd = np.sqrt(inner[:, j, j])
            places = (found.interval[j][0], found.estimate[j], found.interval[j][1])
            for place, prob in zip(places, (0.1, 0.5, 0.9), strict=True):
                below = w @ stats.norm.cdf((math.log(place / (1 - place)) - mean[:, j]) / sd)
                assert below == pytest.approx(prob, abs=2e-3)
        if found is fit:
            for place, prob in zip((*fit.rho_interval, fit.rho), (0.1, 0.9, 0.5), strict=True):
                edges = np.concatenate([[0], np.cumsum([w[r == s].sum() for s in rhos])])
                below = np.interp(place, np.linspace(-1, 1, 41), edges)
                assert below == pytest.approx(prob, abs=4e-3)
