"""Moderators against metafor and lme4, an independent likelihood, and the models' own laws.

Tolerances. Normal-normal: 1e-8 relative for closed-form quantities (DL, HE, SJ, HS, FE), 1e-6
where tau2 is iterated (REML, ML, PM, EB); measured worst is 2e-11, and 7e-9 for I2 at an ML
boundary that metafor leaves at 1e-9. GLMM: glmer with 25 nodes and tightened thresholds agrees
to 3e-7 (measured); its optimizer stops on the deviance, so coefficients are good to the square
root of its precision and the tolerance is 2e-6. Its log-likelihood leaves out a constant of the
data, so differences between models are compared, to 1e-7.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special

from analysis.pooling import _glmm_regression as regression
from analysis.pooling import fit_moderators, pool, quadrature
from analysis.pooling._design import parse_moderators
from analysis.pooling.moderators import fit_subgroups

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "reference_extras.json").read_text("utf-8")
)
SETS = ("eleven", "sparse", "uneven")
INTERVAL = {
    "z": "wald",
    "t": "t",
    "knha": "hartung-knapp",
    "adhoc": "hartung-knapp-adhoc",
}
ITERATED = ("REML", "ML", "PM", "EB")
X = np.array([3, 8, 14, 10, 7, 2, 12, 5, 20, 9, 4])
N = np.array([5, 14, 24, 15, 9, 10, 16, 6, 26, 32, 8])
GROUP = list("aabbbccabca")
YEAR = np.arange(2010, 2021)


def data(name):
    d = REFERENCE[name]["data"]
    return np.array(d["x"]), np.array(d["n"]), np.array(d["year"], dtype=float), d["group"]


CASES = [(name, key) for name in SETS for key in REFERENCE[name]["both"]]


@pytest.mark.parametrize(("name", "key"), CASES)
def test_normal_normal_agrees_with_metafor(name, key):
    x, n, year, group = data(name)
    method, test = key.split("_")
    r = REFERENCE[name]["both"][key]
    fit = fit_moderators(
        x,
        n,
        model=method.lower(),
        interval=INTERVAL[test],
        moderators={"year": year, "group": group},
    )
    rel = 1e-6 if method in ITERATED else 1e-8
    for got, want in (
        (fit.coefficients, "beta"),
        (fit.se, "se"),
        (fit.statistic, "stat"),
        (fit.p_values, "p"),
        (fit.ci_low, "low"),
        (fit.ci_high, "high"),
        (fit.omnibus, "qm"),
        (fit.omnibus_p, "qmp"),
        (fit.q, "qe"),
        (fit.q_p, "qep"),
        (fit.log_likelihood, "ll"),
        (fit.tau2, "tau2"),
        (fit.i2, "i2"),
        (fit.h2, "h2"),
    ):
        assert got == pytest.approx(r[want], rel=rel, abs=1e-9), want
    if method == "FE":
        assert fit.r2 is None  # metafor's R2 is another quantity there: of a weighted regression
    else:
        assert fit.r2 == pytest.approx(r["r2"], rel=rel, abs=1e-6)
    if "tau2_ci" in r:
        assert fit.tau2_ci == pytest.approx(r["tau2_ci"], rel=1e-8, abs=1e-10)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("which", ["group", "year"])
@pytest.mark.parametrize("method", ["DL", "REML", "HE"])
def test_single_moderators_agree_with_metafor(name, which, method):
    x, n, year, group = data(name)
    values = {"group": group} if which == "group" else {"year": year}
    r = REFERENCE[name][which][method]
    fit = fit_moderators(x, n, model=method.lower(), interval="wald", moderators=values)
    assert fit.coefficients == pytest.approx(r["beta"], rel=1e-6)
    assert fit.omnibus == pytest.approx(r["qm"], rel=1e-6)
    assert fit.omnibus_p == pytest.approx(r["qmp"], rel=1e-6)


@pytest.mark.parametrize("name", SETS)
def test_glmm_agrees_with_lme4(name):
    x, n, year, group = data(name)
    logs = {}
    for which in ("year", "group", "both"):
        r = REFERENCE[name]["glmm"][which]
        values = {}
        if which != "group":
            values["year"] = year - r["center"]
        if which != "year":
            values["group"] = group
        fit = fit_moderators(x, n, moderators=values, interval="wald")
        assert fit.coefficients == pytest.approx(r["beta"], rel=2e-6, abs=1e-7)
        # tau2 = 0.14 of "uneven" lies between two maxima, where the deviance is flat
        assert fit.tau2 == pytest.approx(r["tau2"], rel=2e-6, abs=1e-7)
        logs[which] = fit.log_likelihood - r["ll"]
    assert logs["year"] == pytest.approx(logs["both"], abs=1e-7)
    assert logs["group"] == pytest.approx(logs["both"], abs=1e-7)


def plain_log_likelihood(x, n, eta, tau2):
    """Adaptive quadrature of scipy, trial by trial: shares nothing with the package."""
    out = 0.0
    tau = math.sqrt(tau2)
    for xi, ni, m in zip(x, n, eta, strict=True):
        choose = special.gammaln(ni + 1) - special.gammaln(xi + 1) - special.gammaln(ni - xi + 1)

        def f(z, xi=xi, ni=ni, m=m, choose=choose):
            a = m + tau * z
            log = choose + xi * special.log_expit(a) + (ni - xi) * special.log_expit(-a)
            return math.exp(log - 0.5 * z * z) / math.sqrt(2 * math.pi)

        value, _ = integrate.quad(f, -10, 10, epsabs=0, epsrel=1e-12, limit=400, points=[-2, 0, 2])
        out += math.log(value)
    return out


def test_glmm_maximum_with_an_independent_likelihood():
    fit = fit_moderators(X, N, moderators={"g": GROUP}, interval="profile")
    top = plain_log_likelihood(X, N, fit.design @ fit.coefficients, fit.tau2)
    assert fit.log_likelihood == pytest.approx(top, abs=1e-10)
    for j in range(3):
        for step in (-1e-3, 1e-3):
            beta = fit.coefficients.copy()
            beta[j] += step
            assert plain_log_likelihood(X, N, fit.design @ beta, fit.tau2) < top
    for factor in (0.99, 1.01):
        eta = fit.design @ fit.coefficients
        assert plain_log_likelihood(X, N, eta, fit.tau2 * factor) < top


def test_glmm_standard_errors_are_the_inverse_observed_information():
    """Central differences of the independent likelihood in (beta, tau2)."""
    fit = fit_moderators(X, N, moderators={"g": GROUP}, interval="t")
    theta = np.append(fit.coefficients, fit.tau2)
    h = 1e-3 * np.array([1, 1, 1, 0.3])

    def f(t):
        return plain_log_likelihood(X, N, fit.design @ t[:3], t[3])

    hessian = np.empty((4, 4))
    for i in range(4):
        for j in range(4):
            total = 0.0
            for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                t = theta.copy()
                t[i] += a * h[i]
                t[j] += b * h[j]
                total += a * b * f(t)
            hessian[i, j] = total / (4 * h[i] * h[j])
    cov = np.linalg.inv(-hessian)
    # second differences with steps of 1e-3 are good to about 1e-5
    assert fit.covariance == pytest.approx(cov[:3, :3], rel=2e-4, abs=2e-6)
    assert fit.df == 8
    assert fit.omnibus_df == (2, 8)
    z = fit.coefficients[1:] @ np.linalg.solve(fit.covariance[1:, 1:], fit.coefficients[1:]) / 2
    assert fit.omnibus == pytest.approx(z)
    assert fit.omnibus_p == pytest.approx(special.fdtrc(2, 8, z))


@pytest.mark.parametrize("interval", ["profile", "profile-t"])
def test_profile_limits_satisfy_the_likelihood_equation(interval):
    fit = fit_moderators(X, N, moderators={"year": YEAR, "g": GROUP}, interval=interval)
    p = fit.design.shape[1]
    cut = special.chdtri(1, 0.05) if interval == "profile" else special.stdtrit(11 - p, 0.975) ** 2
    for j in range(p):
        for limit in (fit.ci_low[j], fit.ci_high[j]):
            value, _ = regression.constrained(X, N, fit.design, j, limit)
            assert 2 * (fit.log_likelihood - value) == pytest.approx(cut, rel=1e-6)
        assert fit.ci_low[j] < fit.coefficients[j] < fit.ci_high[j]
    assert fit.omnibus == fit.lrt
    assert fit.omnibus_p == pytest.approx(special.chdtrc(p - 1, fit.lrt))


def test_tau2_interval_of_the_glmm_satisfies_its_equation():
    fit = fit_moderators(X, N, moderators={"g": list("aabbbbbabba")}, interval="wald")
    low, high = fit.tau2_ci
    trials = quadrature.prepare(X, N)
    basis, r = regression._basis(fit.design)
    for limit in (low, high):
        _, value, _ = regression._profile(
            trials, basis, np.zeros(11), (r @ fit.coefficients)[None], np.array([limit]), 34.0
        )
        drop = 2 * (fit.log_likelihood - value[0])
        if limit > 0:
            assert drop == pytest.approx(special.chdtri(1, 0.05), rel=1e-6)
        else:
            assert drop <= special.chdtri(1, 0.05)
    assert low <= fit.tau2 <= high


def test_intercept_reduces_to_pool():
    """A moderator that explains nothing leaves the null model's tau2 in ``tau2_null``."""
    fit = fit_moderators(X, N, moderators={"year": YEAR}, interval="wald")
    alone = pool(X, N, "glmm", interval="wald")
    assert fit.tau2_null == pytest.approx(alone.tau2, rel=1e-7)
    assert fit.lrt == pytest.approx(2 * (fit.log_likelihood - alone.log_likelihood), abs=1e-9)
    linear = fit_moderators(X, N, model="reml", moderators={"year": YEAR})
    assert linear.tau2_null == pytest.approx(pool(X, N, "reml").tau2, rel=1e-8)
    assert linear.interval == "hartung-knapp"


@pytest.mark.parametrize("model", ["glmm", "reml"])
def test_shift_scale_and_complement(model):
    base = fit_moderators(X, N, model=model, moderators={"year": YEAR - 2015}, interval="wald")
    moved = fit_moderators(
        X, N, model=model, moderators={"year": (YEAR - 2000) * 10.0}, interval="wald"
    )
    mirror = fit_moderators(
        N - X, N, model=model, moderators={"year": YEAR - 2015}, interval="wald"
    )
    assert moved.coefficients[1] * 10 == pytest.approx(base.coefficients[1], rel=1e-7)
    assert moved.statistic[1] == pytest.approx(base.statistic[1], rel=1e-7)
    assert moved.tau2 == pytest.approx(base.tau2, rel=1e-7)
    assert mirror.coefficients == pytest.approx(-base.coefficients, rel=1e-7)
    assert mirror.r2 == pytest.approx(base.r2, rel=1e-6)
    assert moved.fitted == pytest.approx(base.fitted, rel=1e-7)


def test_reference_level_changes_contrasts_only():
    a = fit_moderators(X, N, moderators={"g": GROUP}, interval="wald")
    b = fit_moderators(X, N, moderators={"g": GROUP}, interval="wald", reference={"g": "b"})
    assert b.names == ("intercept", "g[a]", "g[c]")
    assert b.coefficients[0] == pytest.approx(a.coefficients[0] + a.coefficients[1], rel=1e-7)
    assert b.omnibus == pytest.approx(a.omnibus, rel=1e-7)
    by_level = {row["level"]: row for row in a.subgroups}
    for row in b.subgroups:
        assert row["estimate"] == pytest.approx(by_level[row["level"]]["estimate"], rel=1e-7)
        assert row["ci_low"] == pytest.approx(by_level[row["level"]]["ci_low"], rel=1e-6)


def test_ways_to_hand_over_moderators():
    frame = pd.DataFrame({"year": YEAR, "g": GROUP}, index=np.arange(11)[::-1])
    by_mapping = fit_moderators(X, N, model="dl", moderators={"year": YEAR, "g": GROUP})
    by_frame = fit_moderators(X, N, model="dl", moderators=frame)
    # the index of the frame runs backwards: position counts
    assert by_frame.coefficients == pytest.approx(by_mapping.coefficients, rel=1e-12)
    series = fit_moderators(X, N, model="dl", moderators=frame["year"])
    assert series.names == ("intercept", "year")
    array = fit_moderators(X, N, model="dl", moderators=YEAR)
    assert array.names == ("intercept", "x1")
    two = fit_moderators(X, N, model="dl", moderators=np.column_stack([YEAR, YEAR**2 % 7]))
    assert two.names == ("intercept", "x1", "x2")
    category = pd.Series(pd.Categorical(GROUP, categories=["c", "b", "a", "unused"]), name="g")
    levels = parse_moderators(category, 11)[0][0].levels
    assert levels == ("c", "b", "a")
    flag = fit_moderators(X, N, model="dl", moderators={"late": YEAR > 2015})
    assert flag.names == ("intercept", "late[True]")
    coded = fit_moderators(
        X, N, model="dl", moderators={"arm": [1, 2] * 5 + [1]}, reference={"arm": 2}
    )
    assert coded.names == ("intercept", "arm[1]")


@pytest.mark.parametrize(
    ("moderators", "options", "message"),
    [
        ({"a": [1.0] * 11}, {}, "constant"),
        ({"g": ["x"] * 11}, {}, "constant"),
        ({"a": YEAR, "b": 2 * YEAR + 1}, {}, "collinear"),
        ({"a": YEAR, "g": list("abcdefghijk")}, {}, "coefficients"),
        ({"g": list("abcdefghijk")}, {}, "coefficients"),
        ({"a": [1, 2, 3]}, {}, "3 values for 11 trials"),
        ({"a": [math.nan, *YEAR[1:]]}, {}, "missing at position 0"),
        ({"g": ["a", None, *GROUP[2:]]}, {}, "missing at position 1"),
        ({"a": [math.inf, *YEAR[1:]]}, {}, "not finite at position 0"),
        ({}, {}, "empty"),
        ("year", {}, "text"),
        (None, {}, "missing"),
        ({"a": "abc"}, {}, "one-dimensional"),
        (np.zeros((2, 2, 2)), {}, "dimensions"),
        ({"a": YEAR}, {"model": "bayes"}, "model"),
        ({"a": YEAR}, {"model": "glmm", "transform": "raw"}, "logit"),
        ({"a": YEAR}, {"interval": "hartung-knapp"}, "interval"),
        ({"a": YEAR}, {"reference": {"z": "a"}}, "not there"),
        ({"g": GROUP}, {"reference": {"g": "z"}}, "no level"),
        ({"a": YEAR}, {"permutations": 10}, "seed"),
        ({"a": YEAR}, {"permutations": -1}, "permutations"),
        ({"a": YEAR}, {"permutations": 10, "seed": -3}, "seed"),
    ],
)
def test_wrong_input_is_refused(moderators, options, message):
    with pytest.raises(ValueError, match=message):
        fit_moderators(X, N, moderators=moderators, **options)


def test_prediction_for_new_values():
    fit = fit_moderators(X, N, model="reml", moderators={"year": YEAR, "g": GROUP}, interval="t")
    got = fit.predict({"year": [2012, 2019], "g": ["b", "a"]})
    row = np.array([1, 2012, 1, 0])
    mean = row @ fit.coefficients
    half = special.stdtrit(7, 0.975) * math.sqrt(row @ fit.covariance @ row)
    far = special.stdtrit(7, 0.975) * math.sqrt(row @ fit.covariance @ row + fit.tau2)
    assert got["estimate"][0] == pytest.approx(special.expit(mean))
    assert got["ci_low"][0] == pytest.approx(special.expit(mean - half))
    assert got["pi_high"][0] == pytest.approx(special.expit(mean + far))
    for values, message in (
        ({"year": [2012]}, "missing"),
        ({"year": [2012], "g": ["z"]}, "no level"),
        ({"year": ["x"], "g": ["a"]}, "numbers"),
        ({"year": [2012], "g": ["a"], "z": [1]}, "unknown"),
        ({"year": [2012, 2013], "g": ["a"]}, "values"),
    ):
        with pytest.raises(ValueError, match=message):
            fit.predict(values)


@pytest.mark.parametrize("transform", ["arcsine", "freeman-tukey", "raw"])
def test_other_scales_come_back_to_proportions(transform):
    fit = fit_moderators(X, N, model="dl", moderators={"g": GROUP}, transform=transform)
    for row in fit.subgroups:
        assert 0 <= row["ci_low"] < row["estimate"] < row["ci_high"] <= 1
    assert np.all((fit.fitted > 0) & (fit.fitted < 1))


def test_permutations_exact_agree_with_metafor():
    x, n, _, group = data("sparse")
    r = REFERENCE["permutation"]
    fit = fit_moderators(
        x, n, model="dl", interval="wald", moderators={"g": group}, permutations=100
    )
    assert fit.permutation_exact
    assert fit.permutation_count == math.comb(8, 4)
    assert fit.permutation_p == pytest.approx(r["qmp"], abs=1e-12)
    assert fit.permutation_p_values == pytest.approx(r["p"], abs=1e-12)


def test_permutations_drawn_are_repeatable():
    options = dict(model="reml", moderators={"year": YEAR}, permutations=60)
    a = fit_moderators(X, N, seed=4, **options)
    b = fit_moderators(X, N, seed=4, **options)
    assert a.permutation_p == b.permutation_p
    assert not a.permutation_exact
    assert a.permutation_count == 60
    assert 1 / 60 <= a.permutation_p <= 1


def test_permutations_of_the_glmm_compare_likelihoods():
    group = list("uuuvvv")
    x, n = np.array([1, 2, 1, 8, 9, 7]), np.array([12, 14, 10, 12, 12, 10])
    fit = fit_moderators(x, n, moderators={"g": group}, permutations=20)
    # the observed split and its mirror image are the two best of the twenty
    assert fit.permutation_exact
    assert fit.permutation_p == pytest.approx(2 / 20)


def test_separated_factor_level():
    x = X.copy()
    x[np.array(GROUP) == "b"] = 0
    fit = fit_moderators(x, N, moderators={"g": GROUP}, interval="profile")
    rest = np.array(GROUP) != "b"
    alone = fit_moderators(
        x[rest],
        N[rest],
        moderators={"g": [g for g in GROUP if g != "b"]},
        interval="profile",
    )
    assert not fit.converged
    assert fit.coefficients[1] == -np.inf
    assert fit.ci_low[1] == -np.inf
    assert np.isfinite(fit.ci_high[1])
    assert fit.se[1] == np.inf
    # the rest of the model is the model of the rest
    assert fit.coefficients[[0, 2]] == pytest.approx(alone.coefficients, rel=1e-7)
    assert fit.log_likelihood == pytest.approx(alone.log_likelihood, abs=1e-9)
    assert fit.tau2 == pytest.approx(alone.tau2, rel=1e-6)
    value, _ = regression.constrained(x, N, fit.design, 1, float(fit.ci_high[1]))
    assert 2 * (fit.log_likelihood - value) == pytest.approx(special.chdtri(1, 0.05), rel=1e-6)
    without, _ = regression.constrained(x, N, fit.design, 1, 0.0)
    assert fit.p_values[1] == pytest.approx(
        special.chdtrc(1, 2 * (fit.log_likelihood - without)), rel=1e-9
    )
    b = {row["level"]: row for row in fit.subgroups}["b"]
    assert (b["estimate"], b["ci_low"], b["mu"]) == (0.0, 0.0, None)
    assert 0 < b["ci_high"] < 0.2
    assert "separate" in fit.notes[0]
    json.dumps(fit.to_dict(), allow_nan=False)
    with pytest.raises(ValueError, match="finite"):
        fit.predict({"g": ["a"]})
    assert list(fit.to_frame()["coefficient"]) == list(fit.names)


def test_separated_reference_level_turns_contrasts_infinite():
    x = X.copy()
    x[np.array(GROUP) == "a"] = 0
    fit = fit_moderators(x, N, moderators={"g": GROUP}, interval="wald")
    assert fit.coefficients[0] == -np.inf
    assert fit.coefficients[1] == np.inf
    assert fit.coefficients[2] == np.inf
    assert np.isfinite(fit.ci_low[1])
    assert {row["level"]: row for row in fit.subgroups}["c"]["estimate"] == pytest.approx(
        0.41, abs=0.03
    )


@pytest.mark.parametrize("interval", ["profile", "profile-t"])
def test_two_levels_of_which_one_is_empty(interval):
    """What is left is the other level, so its interval is that of pooling it alone."""
    x, n = np.array([2, 7, 5, 9, 0, 0]), np.array([12, 10, 14, 10, 9, 20])
    fit = fit_moderators(x, n, moderators={"g": list("uuuuvv")}, interval=interval)
    alone = pool(x[:4], n[:4], "glmm", interval="profile")
    u, v = fit.subgroups
    assert u["estimate"] == pytest.approx(alone.estimate, rel=1e-7)
    assert fit.log_likelihood == pytest.approx(alone.log_likelihood, abs=1e-9)
    if interval == "profile":
        assert u["ci_low"] == pytest.approx(alone.ci_low, rel=1e-6)
        assert u["ci_high"] == pytest.approx(alone.ci_high, rel=1e-6)
    assert (v["estimate"], v["ci_low"]) == (0.0, 0.0)
    # the empty level under the tau2 of the other: its likelihood alone falls with its mean
    assert 0 < v["ci_high"] < u["estimate"]


def test_separated_by_a_number():
    """All zero below a dose, all full above it: complete separation, nothing is left to fit."""
    x, n = np.array([0, 0, 0, 9, 8, 7]), np.array([9, 8, 7, 9, 8, 7])
    fit = fit_moderators(x, n, moderators={"dose": [1, 2, 3, 4, 5, 6]})
    assert not fit.converged
    assert fit.log_likelihood == 0.0
    assert fit.coefficients[1] == np.inf
    assert fit.p_values[1] < 0.05
    json.dumps(fit.to_dict(), allow_nan=False)


def test_separation_that_identifies_no_sign():
    x, n = np.array([0, 0, 9, 8]), np.array([9, 8, 9, 8])
    fit = fit_moderators(x, n, moderators={"dose": [-1.5, -0.5, 0.5, 1.5]})
    assert fit.coefficients is None or fit.coefficients[1] == np.inf
    assert fit.fitted == pytest.approx([0, 0, 1, 1])
    assert fit.omnibus_p < 0.2
    json.dumps(fit.to_dict(), allow_nan=False)


def test_limits_that_do_not_exist_are_infinite_and_told():
    x, n = np.array([0, 2, 0, 2, 1]), np.array([2, 2, 2, 2, 2])
    fit = fit_moderators(x, n, moderators={"g": list("uvuvv")}, interval="profile-t", level=0.9999)
    text = " ".join(fit.notes)
    assert fit.tau2_ci[1] == np.inf
    assert "no upper limit" in text
    alone = fit_moderators(x, n, moderators={"dose": [3, 1, 4, 1, 5]}, interval="profile-t")
    wide = fit_moderators(
        x, n, moderators={"dose": [3, 1, 4, 1, 5]}, interval="profile-t", level=0.99999
    )
    assert not np.isfinite(wide.ci_high).all() or not np.isfinite(wide.ci_low).all()
    assert wide.ci_low[1] <= alone.ci_low[1] < alone.ci_high[1] <= wide.ci_high[1]
    assert "does not fall" in " ".join(wide.notes)
    json.dumps(wide.to_dict(), allow_nan=False)


def test_sidik_jonkman_of_identical_effects_is_zero():
    fit = fit_moderators([5] * 6, [10] * 6, model="sj", moderators={"g": list("uuuvvv")})
    assert fit.tau2 == 0.0


def test_separation_finds_every_trial_that_can_move():
    """Seven of eight trials separate, though a direction of fixed length moves only some fully."""
    x, n = [1, 0, 17, 0, 0, 0, 0, 0], [26, 12, 17, 23, 30, 17, 21, 5]
    z = [0.889, -0.287, -1.663, 1.509, -1.364, -0.473, 0.883, 1.116]
    fit = fit_moderators(x, n, moderators={"z": z, "d": list("babaaaab")}, interval="profile")
    assert "separate 7 trial" in fit.notes[0]
    assert fit.coefficients.tolist() == [-np.inf, -np.inf, np.inf]
    assert np.isfinite(fit.ci_high[:2]).all()
    # what is left is one trial, fitted exactly
    alone = math.log(26) + math.log(1 / 26) + 25 * math.log(25 / 26)
    assert fit.log_likelihood == pytest.approx(alone, abs=1e-9)


def test_profile_far_from_nearly_separated_data():
    x, n = [20, 16, 23, 0, 34, 23], [21, 16, 23, 5, 34, 23]
    z = [-0.586, 0.082, 1.385, -0.828, 1.305, -0.817]
    fit = fit_moderators(x, n, moderators={"z": z, "d": list("aaabba")}, interval="profile")
    for j in range(3):
        for limit in (fit.ci_low[j], fit.ci_high[j]):
            if np.isfinite(limit):
                value, _ = regression.constrained(
                    np.array(x), np.array(n), fit.design, j, float(limit)
                )
                drop = 2 * (fit.log_likelihood - value)
                assert drop == pytest.approx(special.chdtri(1, 0.05), rel=1e-5)
    assert np.all(fit.ci_high > fit.coefficients)


def test_all_or_none_remainder_is_not_estimable():
    x, n = np.array([0, 9, 0, 8, 7, 0]), np.array([9, 9, 8, 8, 7, 9])
    fit = fit_moderators(x, n, moderators={"g": list("uuuvvv")})
    assert fit.coefficients is None
    assert not fit.converged
    assert "no finite estimate" in " ".join(fit.notes)
    assert 0 <= fit.omnibus_p <= 1
    assert fit.to_frame().empty
    json.dumps(fit.to_dict(), allow_nan=False)


@pytest.mark.parametrize("full", [False, True])
def test_all_zero_and_all_full(full):
    x = N if full else np.zeros(11, int)
    fit = fit_moderators(x, N, moderators={"g": GROUP})
    assert fit.coefficients is None
    assert fit.omnibus_p == 1.0
    assert fit.fitted == pytest.approx(np.full(11, float(full)))
    linear = fit_moderators(x, N, model="reml", moderators={"g": GROUP})
    assert linear.coefficients is not None
    assert "0.5 was added" in linear.notes[0]


def test_counts_of_any_size():
    x = np.array([0, 10**15, 0, 10**15, 1, 3])
    n = np.array([10**15, 10**15, 10**15, 10**15, 2, 9])
    fit = fit_moderators(x, n, moderators={"dose": [1, 2, 3, 1, 2, 3]}, interval="wald")
    assert fit.tau2 > 100.0
    assert np.isfinite(fit.coefficients).all()
    assert fit.log_likelihood >= pool(x, n, "glmm", interval="wald").log_likelihood - 1e-6


def test_two_maxima_are_told():
    x, n, year, group = data("uneven")
    fit = fit_moderators(x, n, moderators={"year": year, "group": group}, interval="wald")
    assert "2 maxima" in " ".join(fit.notes)


def test_residuals_of_zero_fall_back_to_wald():
    x, n = np.full(6, 5), np.full(6, 10)
    fit = fit_moderators(x, n, model="fe", moderators={"g": list("uuuvvv")}, interval="t")
    hk = fit_moderators(
        x, n, model="fe", moderators={"g": list("uuuvvv")}, interval="hartung-knapp"
    )
    assert hk.se == pytest.approx(fit.se)
    assert "Wald" in " ".join(hk.notes)


def test_identical_proportions():
    x, n = np.full(6, 5), np.full(6, 10)
    for model in ("glmm", "reml"):
        fit = fit_moderators(x, n, model=model, moderators={"g": list("uuuvvv")})
        assert fit.tau2 == 0.0
        assert fit.coefficients[1] == pytest.approx(0.0, abs=1e-9)
        assert fit.r2 is None
        assert "R2 does not exist" in " ".join(fit.notes)
        assert fit.se[1] > 0


def test_common_and_separate_subgroups():
    common = fit_subgroups(X, N, GROUP, tau2="common", interval="wald")
    assert common.regression is not None
    assert common.q == common.regression.omnibus
    separate = fit_subgroups(X, N, GROUP, model="reml", interval="wald", labels=list("abcdefghijk"))
    parts = [pool(X[m], N[m], "reml", interval="wald") for m in _members()]
    assert separate.estimate == pytest.approx([f.estimate for f in parts])
    mu, w = np.array([f.mu for f in parts]), np.array([1 / f.se**2 for f in parts])
    q = np.sum(w * (mu - np.sum(w * mu) / w.sum()) ** 2)
    assert separate.q == pytest.approx(q)
    assert separate.q_p == pytest.approx(special.chdtrc(2, q))
    assert separate.fits[0].labels == ("a", "b", "h", "k")
    json.dumps(separate.to_dict(), allow_nan=False)
    json.dumps(common.to_dict(), allow_nan=False)


def _members():
    return [np.array(GROUP) == g for g in "abc"]


def test_subgroups_without_a_mean_are_left_out_of_the_test():
    x = X.copy()
    x[np.array(GROUP) == "b"] = 0
    fit = fit_subgroups(x, N, GROUP)
    assert fit.q_df == (1, None)
    assert "b" in fit.notes[0]
    two = fit_subgroups([0, 0, 3, 4], [9, 9, 9, 9], list("uuvv"))
    assert two.q is None
    assert "two subgroups" in " ".join(two.notes)
    for by, message in (("uuvv", "one-dimensional"), (["u", None, "v", "v"], "missing")):
        with pytest.raises(ValueError, match=message):
            fit_subgroups([0, 0, 3, 4], [9, 9, 9, 9], by)


def test_pool_dispatches_moderators():
    fit = pool(X, N, moderators={"g": GROUP})
    assert fit.names == ("intercept", "g[b]", "g[c]")


# PyMARE 0.0.13 leaves a file of its own open at import, which Python reports
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_pymare_gives_the_same_dersimonian_laird():
    from pymare import estimators

    from analysis.pooling import effect_sizes

    y, v = effect_sizes(X, N, "logit")
    design = np.column_stack([np.ones(11), YEAR - 2015.0])
    estimator = estimators.DerSimonianLaird()
    estimator.fit(y=y[:, None], v=v[:, None], X=design)
    fit = fit_moderators(X, N, model="dl", moderators={"year": YEAR - 2015.0})
    assert fit.tau2 == pytest.approx(float(estimator.params_["tau2"].squeeze()), rel=1e-10)
    assert fit.coefficients == pytest.approx(estimator.params_["fe_params"].ravel(), rel=1e-10)


trials = st.lists(
    st.integers(2, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    min_size=5,
    max_size=9,
)


@settings(max_examples=25, deadline=None)
@given(trials, st.randoms(use_true_random=False), st.sampled_from(["glmm", "reml", "dl"]))
def test_order_of_trials_does_not_matter_and_nothing_is_nan(rows, random, model):
    x, n = (np.array(c) for c in zip(*rows, strict=True))
    dose = np.arange(len(rows)) ** 1.5
    fit = fit_moderators(x, n, model=model, moderators={"dose": dose}, interval="wald")
    order = list(range(len(rows)))
    random.shuffle(order)
    other = fit_moderators(
        x[order], n[order], model=model, moderators={"dose": dose[order]}, interval="wald"
    )
    assert other.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-7)
    if fit.coefficients is not None and np.isfinite(fit.coefficients).all():
        scale = 1e-5 * (1 + np.abs(fit.se))
        assert np.all(np.abs(other.coefficients - fit.coefficients) < scale)
    assert 0 <= fit.omnibus_p <= 1
    json.dumps(fit.to_dict(), allow_nan=False)
    if model == "glmm":
        null = pool(x, n, "glmm", interval="wald").log_likelihood
        if null is not None:
            assert fit.log_likelihood >= null - 1e-8


def test_the_interval_of_tau2_can_be_left_out():
    whole = pool(X, N, moderators={"group": GROUP}, interval="t")
    short = pool(X, N, moderators={"group": GROUP}, interval="t", tau2_interval=False)
    assert whole.tau2_ci is not None and short.tau2_ci is None
    assert short.tau2 == whole.tau2
    np.testing.assert_array_equal(short.coefficients, whole.coefficients)
    np.testing.assert_array_equal(short.ci_high, whole.ci_high)
    apart = pool([0, 0, 5, 6], [9, 8, 9, 10], moderators={"g": list("aabb")}, tau2_interval=False)
    assert apart.tau2_ci is None and apart.lrt_p < 0.05
    with pytest.raises(ValueError, match="'reml' with moderators does not use tau2_interval"):
        pool(X, N, "reml", moderators={"group": GROUP}, tau2_interval=False)


# ------------------------------------------------------------------ parts of the regression

SCORE = np.linspace(-14.0, 14.0, 2801)
MASS = np.exp(-0.5 * SCORE**2) * (SCORE[1] - SCORE[0]) / math.sqrt(2 * math.pi)


def quick_log_likelihood(x, n, eta, tau2):
    """Trapezoid rule in standard normal scores, all trials at once."""
    x, n = np.asarray(x), np.asarray(n)
    a = np.asarray(eta)[:, None] + math.sqrt(tau2) * SCORE
    choose = special.gammaln(n + 1) - special.gammaln(x + 1) - special.gammaln(n - x + 1)
    log = x[:, None] * special.log_expit(a) + (n - x)[:, None] * special.log_expit(-a)
    return float((np.log(np.exp(log) @ MASS) + choose).sum())


@pytest.mark.parametrize(
    ("x", "n", "offset"),
    [
        ([3, 8, 14, 10, 7, 2], [5, 14, 24, 15, 9, 10], [0.0] * 6),
        # the start is far from the maximum
        ([39, 2, 40, 1, 38, 3], [40, 40, 41, 39, 40, 42], [8.0, -7.0, 9.0, -6.0, 5.0, -9.0]),
        ([0, 9, 0, 8, 7, 0], [9, 9, 8, 8, 7, 9], [0.0] * 6),
    ],
)
def test_equal_effects_solve_the_equations_of_logistic_regression(x, n, offset):
    x, n, offset = np.array(x), np.array(n), np.array(offset)
    design = np.column_stack([np.ones(6), [0, 1, 0, 1, 1, 0]]).astype(float)
    basis, r = regression._basis(design)
    assert basis @ r == pytest.approx(design, abs=1e-12)
    assert basis.T @ basis == pytest.approx(6 * np.eye(2), abs=1e-12)
    point = regression._at_zero(quadrature.prepare(x, n), basis, offset, np.zeros(2))
    rate = special.expit(offset + basis @ point.gamma)
    assert basis.T @ (x - n * rate) == pytest.approx([0.0, 0.0], abs=1e-10)
    assert point.v == 0.0
    assert point.value == pytest.approx(
        quick_log_likelihood(x, n, offset + basis @ point.gamma, 0.0), rel=1e-12
    )
    # derivative in tau2 at 0: half the squared scores less the information
    score, info = x - n * rate, n * rate * (1 - rate)
    assert point.g_v == pytest.approx(0.5 * (score**2 - info).sum(), rel=1e-10)
    assert point.d_mu == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize(
    ("x", "n", "offset", "inside"),
    [
        # the profile falls at 0 and is higher at its second maximum
        ([0, 0, 5], [1, 1, 5], [-0.24, -0.64, 1.43], True),
        ([4, 0, 1, 1], [5, 2, 2, 1], [0.8, -0.29, -0.13, -2.9], True),
        ([1, 9, 3], [10, 10, 10], [0.2, -0.3, 0.1], True),
        ([4, 5, 6], [10, 10, 10], [0.0, 0.0, 0.0], False),
    ],
)
def test_variance_around_known_means(x, n, offset, inside):
    x, n, offset = np.array(x), np.array(n), np.array(offset)
    value, zero, slope = regression._offset_only(quadrature.prepare(x, n), offset)
    grid = np.concatenate([[0.0], np.geomspace(1e-3, 400, 600)])
    values = np.array([quick_log_likelihood(x, n, offset, v) for v in grid])
    assert zero == pytest.approx(values[0], rel=1e-12)
    assert (value > zero) == inside
    assert values.max() - 1e-9 <= value <= values.max() + 2e-4
    at = float(grid[values.argmax()])
    h = 1e-5
    for i in range(x.size):
        up, down = (
            quick_log_likelihood(x[[i]], n[[i]], offset[[i]] + step, at) for step in (h, -h)
        )
        assert slope[i] == pytest.approx((up - down) / (2 * h), abs=2e-2)


def test_value_of_a_profile_is_good_to_the_square_of_what_is_left():
    """A start whose last step is too small to take: its gain is counted all the same."""
    design = np.column_stack([np.ones(11), [g == "b" for g in GROUP]]).astype(float)
    trials, tau2 = quadrature.prepare(X, N), np.array([0.4, 2.0])
    basis, _ = regression._basis(design)
    none = np.zeros(11)
    best, top, _ = regression._profile(trials, basis, none, np.zeros((2, 2)), tau2, 34.0)
    for gamma, v in zip(best, tau2, strict=True):
        point = regression._evaluate(trials, basis, none, gamma, float(v))
        assert point.g == pytest.approx([0.0, 0.0], abs=1e-8)
    near = best + np.array([[2e-4, 0.0], [0.0, 2e-4]])
    again, value, slope = regression._profile(trials, basis, none, near, tau2, 34.0)
    assert value == pytest.approx(top, abs=1e-10)
    assert again == pytest.approx(best, abs=1e-6)
    h = 1e-4
    around = [
        regression._profile(trials, basis, none, best, tau2 + step, 34.0)[1] for step in (h, -h)
    ]
    assert slope == pytest.approx((around[0] - around[1]) / (2 * h), rel=1e-4)


def test_an_iteration_without_an_end_says_so_and_returns_where_it_stands(monkeypatch):
    design = np.column_stack([np.ones(11), [g == "b" for g in GROUP]]).astype(float)
    trials, none = quadrature.prepare(X, N), np.zeros(11)
    basis, _ = regression._basis(design)
    settled = regression._refine(trials, basis, none, np.zeros(2), 0.02, 5.0)
    assert settled[1]
    turn = iter(range(10**6))
    monkeypatch.setattr(
        regression, "_ascent", lambda h, g: np.array([0.5, 0.0]) * (-1) ** (next(turn) // 2)
    )
    point, ok = regression._refine(trials, basis, none, np.zeros(2), 0.02, 5.0)
    assert not ok
    assert point.value == pytest.approx(
        quick_log_likelihood(X, N, basis @ point.gamma, point.v), rel=1e-10
    )


def test_a_derivative_of_exactly_zero_at_zero_is_a_maximum():
    top = regression.maximize(
        quadrature.prepare(np.array([1, 3]), np.array([4, 4])), np.ones((2, 1)), np.zeros(2)
    )
    assert (top.v, top.settled, top.modes) == (0.0, True, 1)
    assert top.value == top.zero


def test_a_likelihood_that_grows_without_end_is_left_at_the_cap():
    x, n = np.array([0, 5, 0, 6]), np.array([5, 5, 6, 6])
    offset = np.array([0.3, -0.2, 0.1, 0.4])
    top = regression.maximize(quadrature.prepare(x, n), np.ones((4, 1)), offset)
    assert not top.settled
    assert top.v >= 400.0**2
    # half of the trials at each end
    assert top.value == pytest.approx(4 * math.log(0.5), abs=0.05)
    assert top.gradient[0] == pytest.approx(0.0, abs=1e-6)
    assert top.gradient[1] > 0


def check_supremum(x, n, design, offset, found):
    """Nothing reaches higher than the supremum, and directions come close to it."""
    rng = np.random.default_rng(1)
    for _ in range(40):
        beta, tau2 = rng.normal(0, 2, design.shape[1]), float(rng.gamma(1.0))
        assert quick_log_likelihood(x, n, offset + design @ beta, tau2) <= found.value + 1e-9
    equal = quick_log_likelihood(x, n, offset + design @ rng.normal(0, 1, design.shape[1]), 0.0)
    assert equal <= found.zero + 1e-9
    assert found.zero <= found.value + 1e-12


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_every_kind_of_supremum(shift):
    group = np.array([0.0, 0, 0, 1, 1, 1])
    both = np.column_stack([np.ones(6), group])
    n = np.array([9, 9, 8, 8, 7, 9])
    offset = shift * np.array([1.0, -1.0, 0.5, 0.0, -0.5, 1.0])
    kinds = {
        "a maximum": ([1, 5, 3, 2, 6, 8], both),
        "all apart": ([0, 0, 0, 8, 7, 9], both),
        "one level apart": ([0, 0, 0, 2, 6, 8], both),
        "all or none": ([0, 9, 0, 8, 7, 0], both),
        "nothing but the variance": ([1, 5, 3, 8, 7, 9], group[:, None]),
    }
    for kind, (events, design) in kinds.items():
        x = np.array(events)
        found = regression.supremum(x, n, design, offset)
        check_supremum(x, n, design, offset, found)
        assert found.all_or_none is (kind == "all or none"), kind
        rows = np.ones(6, bool)
        if kind == "all apart":
            rows[:] = False
            assert (found.value, found.zero, found.columns.size) == (0.0, 0.0, 0)
        elif kind == "one level apart":
            rows[:3] = False
        elif kind == "nothing but the variance":
            rows[3:] = False
        assert found.rows.tolist() == rows.tolist(), kind
        assert (found.top is not None) == (kind in ("a maximum", "one level apart")), kind
        assert (found.direction is None) == (kind in ("a maximum", "all or none")), kind
        if found.direction is not None:
            moved = design @ found.direction
            assert np.allclose(moved[rows], 0, atol=1e-9)
            assert ((moved < -0.4) | (x > 0))[~rows].all() and ((moved > 0.4) | (x == 0))[
                ~rows
            ].all()
        assert (found.d_mu is None) == (kind in ("all apart", "all or none")), kind
        if found.d_mu is not None:
            assert found.d_mu.shape == (rows.sum(),)
        if found.top is not None:
            assert (found.value, found.zero) == (found.top.value, found.top.zero)
            np.testing.assert_array_equal(found.d_mu, found.top.d_mu)
            eta = offset[rows] + design[np.ix_(rows, found.columns)] @ found.top.beta
            assert found.value == pytest.approx(
                quick_log_likelihood(x[rows], n[rows], eta, found.top.v), rel=1e-9
            )
        if shift == 0.0 and kind == "all or none":
            share = 2 * (2 * math.log(2 / 3) + math.log(1 / 3))
            assert found.value == pytest.approx(share, abs=1e-8)
    plain = regression.supremum(np.array(kinds["a maximum"][0]), n, both)
    told = regression.supremum(np.array(kinds["a maximum"][0]), n, both, np.zeros(6))
    assert plain.value == told.value


@pytest.mark.parametrize(
    ("events", "j"), [([1, 5, 3, 2, 6, 8], 0), ([1, 5, 3, 2, 6, 8], 1), ([0, 0, 0, 2, 6, 8], 1)]
)
def test_slope_of_a_constrained_maximum(events, j):
    group = np.array([0.0, 0, 0, 1, 1, 1])
    both = np.column_stack([np.ones(6), group])
    x, n = np.array(events), np.array([9, 9, 8, 8, 7, 9])
    value, slope = regression.constrained(x, n, both, j, 0.8)
    h = 1e-4
    up, down = (regression.constrained(x, n, both, j, 0.8 + step)[0] for step in (h, -h))
    assert slope == pytest.approx((up - down) / (2 * h), rel=1e-5, abs=1e-6)
    assert value < regression.supremum(x, n, both).value
    rest = np.delete(both, j, axis=1)[:, 0]
    column = both[:, j] - rest * (both[:, j] @ rest) / (rest @ rest)
    scale = regression.column_scale(both, j)
    assert scale == pytest.approx(math.sqrt(np.mean(column**2)), rel=1e-12)
    assert regression.column_scale(both[:, [j]], 0) == pytest.approx(
        math.sqrt(np.mean(both[:, j] ** 2)), rel=1e-12
    )


def test_profile_limits_from_far_and_near_starts_agree():
    group = np.array([0.0, 0, 0, 1, 1, 1])
    both = np.column_stack([np.ones(6), group])
    x, n = np.array([1, 5, 3, 2, 6, 8]), np.array([9, 9, 8, 8, 7, 9])
    top = regression.supremum(x, n, both)
    target = top.value - 1.5
    for side in (-1, 1):
        found = [
            regression.profile_limit(
                x, n, both, 1, start=float(top.top.beta[1]), scale=scale, target=target, side=side
            )
            for scale in (0.01, 0.7, 50.0)
        ]
        assert found == pytest.approx([found[0]] * 3, abs=1e-7)
        assert (found[0] - top.top.beta[1]) * side > 0
        value = regression.constrained(x, n, both, 1, found[0])[0]
        assert value == pytest.approx(target, abs=1e-8)
        # no value within reach is that low
        assert (
            regression.profile_limit(
                x, n, both, 1, start=float(top.top.beta[1]), scale=1.0, target=-1e6, side=side
            )
            == side * math.inf
        )


def test_a_subgroup_without_a_standard_error_is_named() -> None:
    found = fit_subgroups(
        [5, 5, 3, 4, 5, 8], [10, 10, 9, 9, 12, 9], list("uuvvww"), model="reml",
        interval="hartung-knapp",
    )  # fmt: skip
    assert found.fits is not None and found.fits[0].se == 0.0
    assert (
        "Left out of the test between subgroups, having no pooled mean with a standard error: u."
    ) in found.notes
    assert found.q_df == (1, None)


def test_a_derivative_at_zero_that_is_rounding_error_counts_as_zero() -> None:
    # within each group the spread is exactly the binomial one
    x, n, groups = [1, 3, 1, 3], [4] * 4, list("uuvv")
    fit = fit_moderators(x, n, moderators={"g": groups}, interval="wald")
    assert fit.tau2 == 0.0
    assert "The residual between-trial variance is estimated at its boundary, zero." in fit.notes
    # as one group without moderators is pooled
    assert pool(x[:2] * 2, n).tau2 == 0.0
