"""Two-step models against metafor 3.8-1 (tests/reference/make_reference.R).

Closed forms: 1e-8 relative. Iterated tau2 (pm, reml, ml, eb) and what follows: 1e-6 relative.
An absolute floor of 1e-10 (times the scale) serves values that are zero in exact arithmetic.
"""

from __future__ import annotations

import numpy as np
import pytest

from analysis.pooling import pool
from analysis.pooling.effects import effect_sizes
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
