"""Two-step models against metafor 3.8-1 (tests/reference/make_reference.R).

Closed forms: 1e-8 relative. Iterated tau2 (pm, reml, ml, eb) and what follows: 1e-6 relative.
An absolute floor of 1e-10 (times the scale) serves values that are zero in exact arithmetic.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.pooling import pool
from analysis.pooling.effects import effect_sizes, effective_total, inverse
from analysis.pooling.normal import METHODS

CLOSED = {"fe", "dl", "he", "sj", "hs"}


def ours(fit) -> dict[str, float | None]:
    d = fit.details
    out = {
        "mu": fit.mu,
        "se": fit.se,
        "ci_low": d["mu_ci"][0],
        "ci_high": d["mu_ci"][1],
        "tau2": fit.tau2,
        "tau2_low": fit.tau2_ci[0],
        "tau2_high": fit.tau2_ci[1],
        "q": fit.q,
        "q_p": fit.q_p,
        "i2": fit.i2,
        "h2": d["h2"],
        "log_likelihood": fit.log_likelihood,
        "aic": fit.aic,
    }
    for name, suffix in (("t(k-1)", ""), ("normal", "_normal")):
        band = d["pi_link"][name]
        out[f"pi_low{suffix}"], out[f"pi_high{suffix}"] = band if band else (None, None)
    return out


@pytest.mark.parametrize("model", METHODS)
def test_models_agree_with_metafor(model, counts, metafor):
    compared = 0
    for (dataset, name, transform, interval), values in metafor.items():
        if name != model:
            continue
        x, n = counts[dataset]
        fit = pool(x, n, model, transform=transform, interval=interval)
        mine = ours(fit)
        rel = 1e-8 if model in CLOSED else 1e-6
        for quantity, value in values.items():
            if quantity.startswith("p_harmonic"):
                continue
            if mine[quantity] is None:
                assert quantity.startswith("pi_") and fit.k == 2
                continue
            # percent and Q scales get a floor of the same size relative to their unit; metafor
            # leaves a tau2 of about 1e-12 where its iteration ends next to the boundary
            floor = 1e-8 if quantity == "i2" else 1e-10
            where = (dataset, transform, interval, quantity)
            assert mine[quantity] == pytest.approx(value, rel=rel, abs=floor), where
            compared += 1
    assert compared > 900


def test_effect_sizes_agree_with_metafor(counts, metafor):
    for (dataset, model, transform, _), values in metafor.items():
        if model != "effect-size":
            continue
        y, v = effect_sizes(*counts[dataset], transform)
        expected_y = [values[f"y{i + 1}"] for i in range(y.size)]
        expected_v = [values[f"v{i + 1}"] for i in range(v.size)]
        np.testing.assert_allclose(y, expected_y, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(v, expected_v, rtol=1e-12)


def test_freeman_tukey_inverse_agrees_with_metafor(counts, metafor):
    x, n = counts["metafor_ipft5"]
    values = metafor["metafor_ipft5", "fe", "freeman-tukey", "wald"]
    fit = pool(x, n, "fe", transform="freeman-tukey")
    expected = [values["p_harmonic"], values["p_harmonic_low"], values["p_harmonic_high"]]
    np.testing.assert_allclose([fit.estimate, fit.ci_low, fit.ci_high], expected, rtol=1e-12)
    np.testing.assert_allclose(fit.details["by_ft_n"]["harmonic"], expected, rtol=1e-12)
    np.testing.assert_allclose(
        fit.details["ft_n"], 5 / (4 / 10 - 1 / 10 + 1 / 15 + 2 / 20 - 1 / 10)
    )


# PyMARE leaves a file of its own open while it is imported
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_agrees_with_pymare_where_pymare_is_exact(counts):
    import gc

    from pymare.estimators import DerSimonianLaird, Hedges

    gc.collect()
    for dataset in ("stijnen2010_control", "pritz1997", "spread_12"):
        x, n = counts[dataset]
        y, v = effect_sizes(x, n, "logit")
        for name, estimator in (("dl", DerSimonianLaird()), ("he", Hedges())):
            estimator.fit(y[:, None], v[:, None], X=np.ones((y.size, 1)))
            expected = float(np.ravel(estimator.params_["tau2"])[0])
            assert pool(x, n, name).tau2 == pytest.approx(expected, rel=1e-10)


def test_reml_takes_the_higher_of_two_maxima():
    """A set whose restricted likelihood has a maximum at 0 and a higher one inside."""
    from analysis.pooling.normal import log_likelihood, tau2_estimate

    rng = np.random.default_rng(5)
    checked = 0
    for _ in range(300):
        v = rng.uniform(0.005, 3.0, (40, 4)) ** 2
        y = rng.normal(0, 1, (40, 4)) * np.sqrt(v + 0.3)
        for restricted, method in ((True, "reml"), (False, "ml")):
            tau2 = tau2_estimate(y, v, method)
            best = log_likelihood(y, v, tau2, restricted=restricted)
            for other in np.geomspace(1e-4, 50, 40):
                value = log_likelihood(y, v, np.full(40, other), restricted=restricted)
                assert (value <= best + 1e-9).all()
                checked += 1
    assert checked == 300 * 2 * 40


def corrected(what: str) -> str:
    return f"0.5 was added to both cells of {what} with an empty cell."


EVERY = "0.5 was added to both cells of every trial."
ALONE = (
    "Every trial has an empty cell, so the estimate rests on the correction alone; the "
    "binomial-normal model needs none."
)
EMPTY = "Every trial has an empty cell."
BOUNDARY = "The between-trial variance is estimated at its boundary, zero."
CALM = (
    "The trials differ less than chance alone would make them: both Q-profile limits of the "
    "between-trial variance are zero."
)
NARROW = (
    "The Hartung-Knapp standard error is smaller than the model's here; the ad hoc form is never "
    "narrower."
)
TWO = "Two trials: no prediction interval is given."
FEW = "Fewer than five trials: the prediction interval is very imprecise."
APART = ([1, 7, 3, 8, 2], [9, 10, 9, 9, 9])
ENDS = ([0, 7, 3, 9, 2], [9, 10, 9, 9, 9])
ALL_ENDS = ([0, 6, 0, 8, 0], [5, 6, 7, 8, 9])
ALIKE = ([5, 10, 7, 8, 6], [10, 20, 14, 17, 13])
NOTES = [
    (APART, "reml", {}, ()),
    (APART, "fe", {}, ()),
    (APART, "dl", {}, ()),
    (([1, 7, 3, 9, 2], [9, 10, 9, 9, 9]), "dl", {}, (corrected("1 trial"),)),
    (ENDS, "dl", {}, (corrected("2 trials"),)),
    (ENDS, "dl", {"to": "all"}, (EVERY,)),
    (APART, "dl", {"to": "all"}, (EVERY,)),
    (APART, "dl", {"to": "never"}, ()),
    (APART, "dl", {"add": 0, "to": "all"}, ()),
    (
        ENDS,
        "dl",
        {"add": 0.25},
        ("0.25 was added to both cells of 2 trials with an empty cell.",),
    ),
    (ENDS, "dl", {"transform": "arcsine"}, ()),
    (ENDS, "dl", {"transform": "freeman-tukey"}, ()),
    (
        ENDS,
        "dl",
        {"transform": "freeman-tukey", "add": 0.5},
        (corrected("2 trials"),),
    ),
    (ENDS, "dl", {"transform": "raw"}, (corrected("2 trials"),)),
    (([1, 7], [9, 10]), "dl", {}, (TWO,)),
    (([1, 7, 3], [9, 10, 9]), "dl", {}, (FEW,)),
    (([1, 7, 3, 8], [9, 10, 9, 9]), "dl", {}, (FEW,)),
    (ALIKE, "fe", {}, (CALM,)),
    (ALIKE, "reml", {"interval": "wald"}, (BOUNDARY, CALM)),
    (ALIKE, "reml", {"interval": "hartung-knapp"}, (BOUNDARY, CALM, NARROW)),
    (ALIKE, "reml", {"interval": "hartung-knapp-adhoc"}, (BOUNDARY, CALM)),
    (ALIKE, "reml", {"interval": "wald", "level": 0.9999}, (BOUNDARY,)),
    (([5, 9], [10, 20]), "dl", {"interval": "hartung-knapp"}, (BOUNDARY, NARROW, TWO)),
    (
        ALL_ENDS,
        "dl",
        {"interval": "wald"},
        (corrected("5 trials"), ALONE),
    ),
    (ALL_ENDS, "dl", {"to": "all"}, (EVERY, ALONE)),
    (ALL_ENDS, "dl", {"transform": "arcsine"}, (EMPTY,)),
    (
        ALL_ENDS,
        "dl",
        {"transform": "arcsine", "add": 0.5, "to": "never"},
        (EMPTY,),
    ),
    (([0, 0], [10, 10]), "fe", {"transform": "arcsine"}, (EMPTY, CALM, TWO)),
    (([3], [9]), "dl", {}, ("One trial only: it is shown and not pooled.",)),
]


@pytest.mark.parametrize(("data", "model", "options", "notes"), NOTES)
def test_every_note_word_by_word(data, model, options, notes):
    assert pool(*data, model, **options).notes == notes


def by_hand(tau2: float, y: np.ndarray, v: np.ndarray, restricted: bool) -> float:
    """(Restricted) log-likelihood from its definition as a multivariate normal density."""
    k = y.size
    w = 1.0 / (v + tau2)
    mean = float((w * y).sum() / w.sum())
    value = float(stats.norm.logpdf(y, mean, np.sqrt(v + tau2)).sum())
    if restricted:
        value += 0.5 * math.log(2 * math.pi) - 0.5 * math.log(w.sum()) + 0.5 * math.log(k)
    return value


@pytest.mark.parametrize("model", METHODS)
@pytest.mark.parametrize("data", [APART, ([1, 7, 3], [9, 10, 12]), ([1, 7], [9, 10]), ALIKE])
@pytest.mark.parametrize(
    "interval,transform",
    [("wald", "logit"), ("t", "freeman-tukey"), ("hartung-knapp", "raw"),
     ("hartung-knapp-adhoc", "arcsine")],
)  # fmt: skip
def test_every_field_by_its_definition(model, data, interval, transform):
    x, n = (np.array(a) for a in data)
    k = x.size
    options = {"ft_n": "arithmetic"} if transform == "freeman-tukey" else {}
    fit = pool(
        x, n, model, interval=interval, transform=transform, level=0.9, labels=range(k),
        study_interval="jeffreys", **options,
    )  # fmt: skip
    assert (fit.model, fit.transform, fit.interval, fit.level) == (model, transform, interval, 0.9)
    assert (fit.k, fit.labels) == (k, tuple(str(i) for i in range(k)))
    assert fit.events.tolist() == x.tolist() and fit.total.tolist() == n.tolist()
    assert fit.converged and (fit.marginal_estimate, fit.marginal_ci) == (None, None)
    np.testing.assert_allclose(fit.study_estimate, x / n, rtol=1e-15)
    beta = stats.beta(x + 0.5, n - x + 0.5)
    np.testing.assert_allclose(fit.study_ci_low, beta.ppf(0.05), rtol=1e-9)
    np.testing.assert_allclose(fit.study_ci_high, beta.ppf(0.95), rtol=1e-9)

    y, v = effect_sizes(x, n, transform)
    d = fit.details
    np.testing.assert_array_equal(d["y"], y)
    np.testing.assert_array_equal(d["v"], v)
    w = 1.0 / (v + fit.tau2)
    assert fit.weight == pytest.approx(w / w.sum(), rel=1e-12)
    assert fit.mu == pytest.approx(float((fit.weight * y).sum()), rel=1e-12)
    assert d["se_model"] == pytest.approx(w.sum() ** -0.5, rel=1e-12)
    factor = float((w * (y - fit.mu) ** 2).sum()) / (k - 1)
    assert d["hartung_knapp_factor"] == pytest.approx(factor, rel=1e-10)
    used = {"hartung-knapp": factor, "hartung-knapp-adhoc": max(1.0, factor)}.get(interval, 1.0)
    assert fit.se == pytest.approx(math.sqrt(used) * d["se_model"], rel=1e-10)
    z, t1 = stats.norm.ppf(0.95), stats.t.ppf(0.95, k - 1)
    half = (z if interval == "wald" else t1) * fit.se
    assert d["mu_ci"] == pytest.approx((fit.mu - half, fit.mu + half), rel=1e-9)

    back = float(n.mean()) if transform == "freeman-tukey" else None

    def to_p(value: float) -> float:
        return float(inverse(value, transform, back))

    assert fit.estimate == to_p(fit.mu)
    assert (fit.ci_low, fit.ci_high) == (to_p(d["mu_ci"][0]), to_p(d["mu_ci"][1]))
    width = math.sqrt(fit.tau2 + fit.se**2)
    t2 = stats.t.ppf(0.95, k - 2) if k >= 3 else None
    for name, quantile, shown in (
        ("t(k-1)", t1 if k >= 3 else None, (fit.pi_low, fit.pi_high)),
        ("t(k-2)", t2, d["pi_t_k2"]),
        ("normal", z, d["pi_normal"]),
    ):
        if quantile is None:
            assert d["pi_link"][name] is None and shown in (None, (None, None))
            continue
        band = (fit.mu - quantile * width, fit.mu + quantile * width)
        assert d["pi_link"][name] == pytest.approx(band, rel=1e-9)
        assert shown == tuple(to_p(value) for value in d["pi_link"][name])

    wf = 1.0 / v
    mean = float((wf * y).sum() / wf.sum())
    q = float((wf * (y - mean) ** 2).sum())
    assert fit.q == pytest.approx(q, rel=1e-10)
    assert (fit.q_df, fit.q_p) == (k - 1, pytest.approx(stats.chi2.sf(q, k - 1), rel=1e-9))
    typical = (k - 1) * wf.sum() / (wf.sum() ** 2 - (wf**2).sum())
    assert d["typical_variance"] == pytest.approx(typical, rel=1e-12)
    i2_q, h2_q = max(0.0, 100 * (q - (k - 1)) / q), q / (k - 1)
    assert (d["i2_q"], d["h2_q"]) == pytest.approx((i2_q, h2_q), rel=1e-9)
    if model == "fe":
        assert (fit.i2, d["h2"], fit.tau2) == (d["i2_q"], d["h2_q"], 0.0)
    else:
        assert fit.i2 == pytest.approx(100 * fit.tau2 / (fit.tau2 + typical), rel=1e-12)
        assert d["h2"] == pytest.approx(1 + fit.tau2 / typical, rel=1e-12)

    value = by_hand(fit.tau2, y, v, model == "reml")
    assert fit.log_likelihood == pytest.approx(value, rel=1e-10)
    assert fit.aic == pytest.approx((2 if model == "fe" else 4) - 2 * value, rel=1e-10)
    if model in ("reml", "ml"):
        other = [by_hand(a, y, v, model == "reml") for a in (0.0, *np.geomspace(1e-4, 30, 60))]
        assert value >= max(other) - 1e-9
        assert fit.lrt == pytest.approx(max(0.0, 2 * (value - other[0])), abs=1e-9)
        p = 0.5 * stats.chi2.sf(fit.lrt, 1) if fit.lrt > 0 else 1.0
        assert fit.lrt_p == pytest.approx(p, rel=1e-9)
        assert (fit.lrt > 0) == (fit.tau2 > 0) == (data is not ALIKE)
    else:
        assert (fit.lrt, fit.lrt_p) == (None, None)
    for limit, area in zip(fit.tau2_ci, (0.05, 0.95), strict=True):
        wide = 1.0 / (v + limit)
        center = float((wide * y).sum() / wide.sum())
        reached = float((wide * (y - center) ** 2).sum())
        goal = stats.chi2.isf(area, k - 1)
        assert reached == pytest.approx(goal, rel=1e-8) if limit > 0 else reached <= goal

    words = {
        "i2_method": "Q" if model == "fe" else "tau2 and typical variance",
        "q_method": "Cochran",
        "pi_method": "t(k-1)",
        "tau2_ci_method": "Q-profile",
    }
    assert {name: d[name] for name in words} == words
    names = {
        "mu_ci", "pi_link", "se_model", "hartung_knapp_factor", "y", "v", "typical_variance", "h2",
        "h2_q", "i2_q", "pi_t_k2", "pi_normal", *words,
    }  # fmt: skip
    if back is not None:
        names |= {"ft_n", "by_ft_n"}
        assert d["ft_n"] == pytest.approx(back, rel=1e-15)
        for kind, turned in d["by_ft_n"].items():
            at = effective_total(n, kind)
            right = [float(inverse(a, transform, at)) for a in (fit.mu, *d["mu_ci"])]
            assert turned == pytest.approx(right, rel=1e-12)
        assert list(d["by_ft_n"]) == ["harmonic", "geometric", "arithmetic"]
    assert set(d) == names


def test_one_trial_has_nothing_pooled():
    fit = pool([3], [9], "dl", interval="t", transform="raw", labels=["a"], level=0.8)
    assert (fit.model, fit.transform, fit.interval, fit.level) == ("dl", "raw", "t", 0.8)
    assert (fit.k, fit.labels, fit.weight.tolist(), fit.details) == (1, ("a",), [1.0], {})
    names = (
        "estimate", "ci_low", "ci_high", "pi_low", "pi_high", "mu", "se", "tau2", "tau2_ci", "i2",
        "q", "q_df", "q_p", "lrt", "lrt_p", "log_likelihood", "aic", "marginal_estimate",
        "marginal_ci",
    )  # fmt: skip
    assert [getattr(fit, name) for name in names] == [None] * len(names)
