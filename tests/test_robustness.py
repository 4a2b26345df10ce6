"""Robustness analyses against metafor and their own definitions.

Tolerances: 1e-8 relative for DL and FE (closed form; measured 4e-13), 1e-6 for REML (iterated
tau2; measured 7e-11).
"""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

from analysis import robustness
from analysis.pooling import effect_sizes, pool, quadrature
from analysis.robustness import (
    all_subsets,
    baujat,
    cluster_robust,
    cumulative,
    influence,
    leave_one_out,
)

REFERENCE = json.loads(
    (Path(__file__).parent / "reference" / "reference_extras.json").read_text("utf-8")
)
SETS = ("eleven", "sparse", "uneven")
X = np.array([3, 8, 14, 10, 7, 2, 12, 5, 20, 9, 4])
N = np.array([5, 14, 24, 15, 9, 10, 16, 6, 26, 32, 8])
CASES = [(name, key) for name in SETS for key in REFERENCE[name]["influence"]]


def options(key):
    model = key.split("_")[0].lower()
    return model, ("hartung-knapp" if key.endswith("knha") else "wald")


def close(got, want, model):
    rel = 1e-6 if model == "reml" else 1e-8
    return np.asarray(got, float) == pytest.approx(np.asarray(want, float), rel=rel, abs=1e-9)


@pytest.mark.parametrize(("name", "key"), CASES)
def test_influence_agrees_with_metafor(name, key):
    d, r = REFERENCE[name]["data"], REFERENCE[name]["influence"][key]
    model, interval = options(key)
    fit = influence(d["x"], d["n"], model, interval=interval)
    for field, want in (
        ("rstudent", "rstudent"),
        ("dffits", "dffits"),
        ("dfbeta", "dfbeta"),
        ("cook", "cook"),
        ("cov_ratio", "cov_r"),
        ("hat", "hat"),
        ("tau2_deleted", "tau2_del"),
        ("q_deleted", "qe_del"),
    ):
        assert close(getattr(fit, field), r[want], model), field
    assert close(100 * fit.weight, r["weight"], model)
    json.dumps(fit.to_dict(), allow_nan=False)
    assert len(fit.to_frame()) == len(d["x"])


@pytest.mark.parametrize(("name", "key"), [c for c in CASES if not c[1].endswith("knha")])
def test_baujat_agrees_with_metafor(name, key):
    d, r = REFERENCE[name]["data"], REFERENCE[name]["influence"][key]
    model, _ = options(key)
    got = baujat(d["x"], d["n"], model)
    assert close(got.heterogeneity, r["baujat_x"], model)
    assert close(got.influence, r["baujat_y"], model)
    if model == "fe":
        assert got.heterogeneity.sum() == pytest.approx(pool(d["x"], d["n"], "fe").q)
    json.dumps(got.to_dict(), allow_nan=False)
    assert list(got.to_frame()["label"]) == [str(i + 1) for i in range(len(d["x"]))]


@pytest.mark.parametrize(("name", "key"), CASES)
def test_leave_one_out_and_cumulative_agree_with_metafor(name, key):
    d, r = REFERENCE[name]["data"], REFERENCE[name]["influence"][key]
    model, interval = options(key)
    loo = leave_one_out(d["x"], d["n"], model, interval=interval)
    cum = cumulative(d["x"], d["n"], model, by=d["year"], interval=interval)
    assert close([f.mu for f in loo], r["loo_estimate"], model)
    assert close([f.se for f in loo], r["loo_se"], model)
    assert close([special.logit(f.ci_low) for f in loo], r["loo_low"], model)
    assert close([special.logit(f.ci_high) for f in loo], r["loo_high"], model)
    assert close([f.q for f in loo], r["loo_q"], model)
    # the first of the cumulative fits is one trial, which is shown and not pooled
    assert cum.fits[0].estimate is None
    assert close([f.mu for f in cum.fits[1:]], r["cum_estimate"][1:], model)
    assert close([f.se for f in cum.fits[1:]], r["cum_se"][1:], model)
    if model != "fe":
        assert close([f.tau2 for f in loo], r["loo_tau2"], model)
        assert close([f.tau2 for f in cum.fits[1:]], r["cum_tau2"][1:], model)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("method", ["REML", "DL", "FE"])
def test_cluster_robust_agrees_with_metafor(name, method):
    d, r = REFERENCE[name]["data"], REFERENCE[name]["cluster"][method]
    for adjustment in ("CR1", "CR0"):
        fit = cluster_robust(d["x"], d["n"], d["trial"], method.lower(), adjustment=adjustment)
        key = adjustment.lower()
        assert fit.df == r["df"]
        assert close(fit.se, r[f"{key}_se"], method.lower())
        assert close(special.logit(fit.ci_low), r[f"{key}_low"], method.lower())
        assert close(special.logit(fit.ci_high), r[f"{key}_high"], method.lower())
    assert close(fit.p, stats_p(fit), method.lower())
    one = cluster_robust(d["x"], d["n"], d["trial"], method.lower())
    assert close(one.p, r["cr1_p"], method.lower())
    assert "clusters" in one.notes[0]
    json.dumps(one.to_dict(), allow_nan=False)


def stats_p(fit):
    return 2 * stats.t.sf(abs(fit.mu / fit.se), fit.df)


# ---------------------------------------------------------------- leave-one-out, cumulative


def test_leave_one_out_is_pool_without_the_trial():
    series = leave_one_out(X, N, "glmm", labels=list("abcdefghijk"), interval="wald")
    again = pool(np.delete(X, 2), np.delete(N, 2), "glmm", interval="wald")
    assert series.fits[2].estimate == pytest.approx(again.estimate, rel=1e-10)
    assert series.fits[2].labels == tuple("abdefghijk")
    assert series.full.k == 11
    assert len(series) == 11
    frame = series.to_frame()
    assert list(frame["label"]) == list("abcdefghijk")
    assert float(frame["estimate"][2]) == pytest.approx(again.estimate)
    json.dumps(series.to_dict(), allow_nan=False)


def test_leave_one_out_at_two_trials_shows_the_other():
    series = leave_one_out([1, 2], [4, 5], "glmm")
    assert [f.k for f in series] == [1, 1]
    assert series.fits[0].estimate is None
    assert series.to_frame()["estimate"].isna().all()
    with pytest.raises(ValueError, match="two trials"):
        leave_one_out([1], [4])


def test_cumulative_orders():
    years = [2015, 2012, 2015, 2011]
    series = cumulative([1, 2, 3, 4], [9, 9, 9, 9], "dl", by=years, labels=list("abcd"))
    assert series.labels == ("d", "b", "a", "c")  # ties keep the order given
    down = cumulative([1, 2, 3, 4], [9, 9, 9, 9], "dl", by=years, descending=True)
    assert list(down.index) == [0, 2, 1, 3]
    given = cumulative([1, 2, 3, 4], [9, 9, 9, 9], "dl")
    assert list(given.index) == [0, 1, 2, 3]
    assert given.fits[-1].estimate == pytest.approx(series.full.estimate)
    for by, message in (
        ([1, 2], "one value for each"),
        ([1, 2, None, 4], "missing at position 2"),
        ([1, 2, math.nan, 4], "missing at position 2"),
        ([1, 2, "x", 4], "order"),
    ):
        with pytest.raises(ValueError, match=message):
            cumulative([1, 2, 3, 4], [9, 9, 9, 9], "dl", by=by)


# --------------------------------------------------------------------------------- influence


def test_influence_of_the_glmm_by_definition():
    fit = influence(X, N, "glmm")
    full = pool(X, N, "glmm", interval="wald")
    i = 9
    part = pool(np.delete(X, i), np.delete(N, i), "glmm", interval="wald")
    assert fit.cook[i] == pytest.approx(((full.mu - part.mu) / full.se) ** 2)
    assert fit.cov_ratio[i] == pytest.approx((part.se / full.se) ** 2)
    assert fit.dfbeta[i] == pytest.approx((full.mu - part.mu) / part.se)
    assert fit.estimate_deleted[i] == pytest.approx(part.estimate)
    assert fit.hat == pytest.approx(full.weight)
    # mid-p by adding up the probabilities of all counts
    counts = np.arange(N[i] + 1)
    trials = quadrature.prepare(counts, np.full(counts.size, N[i]))
    prob = np.exp(quadrature.log_marginal(trials, part.mu, part.tau2))
    mid = prob[: X[i]].sum() + 0.5 * prob[X[i]]
    assert prob.sum() == pytest.approx(1.0, abs=1e-10)
    assert fit.rstudent[i] == pytest.approx(stats.norm.ppf(mid), abs=1e-8)
    assert fit.influential[9]


def test_ad_hoc_multiplier_is_never_below_one():
    wald = influence([5, 5, 6, 5], [10] * 4, "dl")
    adhoc = influence([5, 5, 6, 5], [10] * 4, "dl", interval="hartung-knapp-adhoc")
    # these trials vary less than chance: the multiplier is one throughout
    assert adhoc.rstudent == pytest.approx(wald.rstudent)
    assert adhoc.cook == pytest.approx(wald.cook)


@pytest.mark.parametrize("x", [0, 3, 10])
def test_mid_p_residuals_mirror(x):
    a = robustness._mid_p_quantile(x, 10, 0.4, 0.3)
    b = robustness._mid_p_quantile(10 - x, 10, -0.4, 0.3)
    assert a == pytest.approx(-b, abs=1e-10)


def test_influence_where_deletion_leaves_no_mean():
    fit = influence([0, 0, 5], [9, 8, 10], "glmm")
    assert fit.undefined == ("3",)
    assert fit.estimate_deleted[2] == 0.0
    assert "3" in fit.notes[-1]
    out = fit.to_dict()
    assert out["cook"][2] is None
    json.dumps(out, allow_nan=False)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (([1, 2], [3, 4]), {}, "three trials"),
        (([0, 0, 0], [3, 4, 5], "glmm"), {}, "finite pooled mean"),
        (([1, 2, 3], [3, 4, 5], "bayes"), {}, "model"),
        (([1, 2, 3], [3, 4, 5], "glmm"), {"transform": "raw"}, "logit"),
        (([1, 2, 3], [3, 4, 5], "dl"), {"interval": "profile"}, "interval"),
    ],
)
def test_influence_refuses(args, kwargs, message):
    with pytest.raises(ValueError, match=message):
        influence(*args, **kwargs)


def test_baujat_at_two_trials_and_refusals():
    got = baujat([1, 3], [5, 6], "fe")
    y, v = effect_sizes([1, 3], [5, 6], "logit")
    mean = np.sum(y / v) / np.sum(1 / v)
    assert got.influence[0] == pytest.approx((mean - y[1]) ** 2 / v[1])
    with pytest.raises(ValueError, match="two trials"):
        baujat([1], [5])
    with pytest.raises(ValueError, match="model"):
        baujat([1, 2], [5, 5], "glmm")


# ---------------------------------------------------------------------------------- clusters


def test_every_trial_its_own_cluster():
    fit = cluster_robust(X, N, range(11), "fe", adjustment="CR0")
    y, v = effect_sizes(X, N, "logit")
    w = 1 / v
    mean = np.sum(w * y) / w.sum()
    assert fit.se == pytest.approx(math.sqrt(np.sum((w * (y - mean)) ** 2)) / w.sum())


def test_cluster_robust_glmm_is_the_sandwich():
    cluster = [1, 1, 2, 3, 3, 4, 5, 6, 6, 6, 7]
    fit = cluster_robust(X, N, cluster, "glmm", adjustment="CR0")
    full = pool(X, N, "glmm", interval="wald")
    h = 1e-4

    def scores(mu, v):
        d = quadrature.derivatives(quadrature.prepare(X, N), mu, v)
        return np.stack([d.mu, d.v])

    u = scores(full.mu, full.tau2)
    a = np.column_stack(
        [
            (scores(full.mu + h, full.tau2) - scores(full.mu - h, full.tau2)).sum(1) / (2 * h),
            (scores(full.mu, full.tau2 + h) - scores(full.mu, full.tau2 - h)).sum(1) / (2 * h),
        ]
    )
    sums = np.stack([u[:, np.array(cluster) == c].sum(axis=1) for c in range(1, 8)], axis=1)
    bread = np.linalg.inv(-a)
    assert fit.se == pytest.approx(math.sqrt((bread @ sums @ sums.T @ bread)[0, 0]), rel=1e-5)
    assert fit.se_model == pytest.approx(full.se)
    cr1 = cluster_robust(X, N, cluster, "glmm")
    assert cr1.se == pytest.approx(fit.se * math.sqrt(7 / 6))


def test_cluster_robust_glmm_at_the_boundary():
    x, n = [5, 5, 5, 6], [10, 10, 10, 10]
    fit = cluster_robust(x, n, list("uuvv"), "glmm", adjustment="CR0")
    p = 21 / 40
    sums = np.array([10 - 20 * p, 11 - 20 * p])
    assert fit.tau2 == 0.0
    assert fit.se == pytest.approx(math.sqrt(np.sum(sums**2)) / (40 * p * (1 - p)), rel=1e-8)


def test_clusters_without_any_difference():
    fit = cluster_robust([5, 5, 5, 5], [10] * 4, list("uuvv"), "fe")
    assert fit.se == 0.0
    assert "zero" in fit.notes[-1]


@pytest.mark.parametrize(
    ("cluster", "kwargs", "message"),
    [
        (["a", "a", "a"], {}, "two clusters"),
        (["a", "b"], {}, "one name"),
        (["a", None, "b"], {}, "missing at position 1"),
        ("abc", {}, "one name"),
        (["a", "b", "c"], {"adjustment": "CR2"}, "adjustment"),
        (["a", "b", "c"], {"model": "bayes"}, "model"),
        (["a", "b", "c"], {"model": "glmm", "transform": "raw"}, "logit"),
    ],
)
def test_cluster_robust_refuses(cluster, kwargs, message):
    with pytest.raises(ValueError, match=message):
        cluster_robust([1, 2, 3], [5, 5, 5], cluster, **kwargs)


def test_cluster_robust_needs_a_mean():
    with pytest.raises(ValueError, match="finite pooled mean"):
        cluster_robust([0, 0], [5, 5], ["a", "b"], "glmm")


@pytest.mark.parametrize("transform", ["freeman-tukey", "arcsine"])
def test_cluster_robust_on_other_scales(transform):
    fit = cluster_robust(X, N, list("aabbccddeef"), "dl", transform=transform)
    assert 0 < fit.ci_low < fit.estimate < fit.ci_high < 1


# --------------------------------------------------------------------------------- all subsets


@pytest.mark.parametrize("model", ["glmm", "reml", "dl"])
def test_all_subsets_equal_the_loop(model):
    x, n = X[:5], N[:5]
    got = all_subsets(x, n, model)
    assert got.exhaustive
    assert got.members.shape == (26, 5)
    row = 0
    for size in range(2, 6):
        for take in combinations(range(5), size):
            fit = pool(x[list(take)], n[list(take)], model, interval="wald")
            assert np.flatnonzero(got.members[row]).tolist() == list(take)
            assert got.estimate[row] == pytest.approx(fit.estimate, rel=1e-7)
            assert got.tau2[row] == pytest.approx(fit.tau2, abs=1e-7)
            assert got.ci_high[row] == pytest.approx(fit.ci_high, rel=1e-7)
            row += 1
    assert got.with_trial(0).sum() == 15
    assert len(got.to_frame()) == 26


def test_subsets_drawn_are_distinct_and_repeatable():
    a = all_subsets(X, N, "dl", max_subsets=100, seed=3)
    b = all_subsets(X, N, "dl", max_subsets=100, seed=3)
    assert not a.exhaustive
    assert a.members.shape == (100, 11)
    assert len({row.tobytes() for row in a.members}) == 100
    assert np.array_equal(a.members, b.members)
    assert a.size.min() >= 2
    assert "drawn at random" in a.notes[0]


def test_subsets_without_a_mean_are_marked():
    got = all_subsets([0, 0, 4], [9, 8, 10], "glmm")
    assert got.estimable.tolist() == [False, True, True, True]
    assert got.estimate[0] == 0.0
    assert "no finite pooled mean" in got.notes[-1]


@pytest.mark.parametrize("model", ["beta-binomial", "bayes"])
def test_subsets_of_models_without_a_batch(model):
    got = all_subsets([1, 3, 4], [9, 8, 10], model)
    fit = pool([1, 3], [9, 8], model, interval="wald" if model == "beta-binomial" else None)
    assert got.estimate[0] == pytest.approx(fit.estimate)
    assert got.estimable.all()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"min_size": 1}, "min_size"),
        ({"min_size": 4}, "more than the 3 trials"),
        ({"max_subsets": 0}, "max_subsets"),
    ],
)
def test_subsets_refuse(kwargs, message):
    with pytest.raises(ValueError, match=message):
        all_subsets([1, 3, 4], [9, 8, 10], "dl", **kwargs)
