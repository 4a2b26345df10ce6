"""pool(), its input checks, the Fit it returns and the helpers beside it."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest

import analysis.pooling as pooling
from analysis.pooling import fit_normal, pool, pool_many
from analysis.pooling._validate import (
    check_choice,
    check_counts,
    check_labels,
    check_level,
    check_positive,
)
from analysis.pooling.api import DEFAULT_INTERVAL, INTERVALS, MODELS, NORMAL
from analysis.pooling.effects import (
    TRANSFORMS,
    effect_sizes,
    effective_total,
    forward,
    inverse,
)
from analysis.pooling.fit import plain

X, N = [3, 6, 10, 1, 0], [11, 17, 21, 6, 9]

WRONG = [
    (([-1, 2], [3, 4]), {}, "events at position 0 is negative"),
    (([1, 5], [3, 4]), {}, "events at position 1 exceed the total: 5 of 4"),
    (([1, 2], [3, 0]), {}, "total at position 1 must be at least 1"),
    (([1.5, 2], [3, 4]), {}, "events at position 0 is not a whole number"),
    (([float("nan"), 2], [3, 4]), {}, "events at position 0 is not a finite number"),
    (([1, 2], [3, float("inf")]), {}, "total at position 1 is not a finite number"),
    (([1, 2], [3, 2.0**60]), {}, "total at position 1 is too large to be a count"),
    ((["a", 2], [3, 4]), {}, "events must hold whole numbers only"),
    (([None, 2], [3, 4]), {}, "events must hold whole numbers only"),
    (([True, False], [3, 4]), {}, "events must hold whole numbers only"),
    (("12", [3, 4]), {}, "events must be a sequence of whole numbers"),
    ((None, [3, 4]), {}, "events must be a sequence of whole numbers"),
    (([1, 2, 3], [3, 4]), {}, "events and total must have the same length, got 3 and 2"),
    (([[1, 2]], [[3, 4]]), {}, "events must be one-dimensional"),
    ((3, 4), {}, "events must be one-dimensional"),
    (([], []), {}, "events is empty"),
    (([[1], [1, 2]], [3, 4]), {}, "rectangular"),
    ((X, N, "nonsense"), {}, "unknown model 'nonsense': choose one of glmm"),
    ((X, N, 7), {}, "unknown model 7"),
    ((X, N), {"interval": "guess"}, "unknown interval 'guess'"),
    ((X, N, "reml"), {"interval": "profile"}, "not available for model 'reml'"),
    ((X, N), {"interval": "hartung-knapp"}, "not available for model 'glmm'"),
    ((X, N), {"transform": "arcsine"}, "works on the logit only"),
    ((X, N), {"transform": "probit"}, "unknown transform 'probit'"),
    ((X, N), {"level": 1.0}, "level must be strictly between 0 and 1"),
    ((X, N), {"level": "95"}, "level must be a number between 0 and 1"),
    ((X, N), {"level": True}, "level must be a number between 0 and 1"),
    ((X, N), {"labels": ["a"]}, "labels must have one entry per study: 1 labels, 5 studies"),
    ((X, N), {"labels": "abcde"}, "labels must be a sequence of 5 names"),
    ((X, N), {"labels": 5}, "labels must be a sequence of 5 names"),
    ((X, N), {"study_interval": "exact"}, "unknown study interval 'exact'"),
    ((X, N, "dl"), {"to": "some"}, "unknown to 'some'"),
    ((X, N, "dl"), {"add": -1}, "add must be a number of at least 0"),
    (([3], [9], "dl"), {"add": "x"}, "add must be a number of at least 0"),
    ((X, N, "dl"), {"to": "never"}, "no effect size with a positive variance"),
    ((X, N, "dl"), {"ft_n": "median", "transform": "freeman-tukey"}, "unknown ft_n 'median'"),
]


@pytest.mark.parametrize(("args", "options", "sentence"), WRONG, ids=lambda a: str(a)[:40])
def test_wrong_input_gets_one_sentence(args, options, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as error:
        pool(*args, **options)
    assert "\n" not in str(error.value)


def test_wrong_batches_name_row_and_column():
    for x, n, sentence in (
        ([[1, 2], [3, -4]], [5, 5], "events at row 1, column 1 is negative"),
        ([[1, 2], [3, 6]], [5, 5], "events at row 1, column 1 exceed the total: 6 of 5"),
        ([[1, 2]], [[5, 5], [5, 5]], "same shape"),
        ([[1, 2]], [5, 5, 5], "same shape"),
        ([1, 2], [5, 5], "two-dimensional"),
    ):
        with pytest.raises(ValueError, match="events") as error:
            pool_many(x, n)
        assert sentence in str(error.value)
    with pytest.raises(ValueError, match="row 0, column 1"):
        pool_many([[1, 0]], [5, 5], "dl", to="never")


def test_helpers_refuse_too():
    with pytest.raises(ValueError, match="tau_scale must be a positive number"):
        check_positive("1", "tau_scale")
    with pytest.raises(ValueError, match="tau_scale must be a positive finite number"):
        check_positive(0.0, "tau_scale")
    assert check_positive(np.float64(2), "tau_scale") == 2.0
    with pytest.raises(ValueError, match="unknown color"):
        check_choice("red", "color", ("blue",))
    assert check_labels(None, 3) is None
    assert check_labels([1, "b"], 2) == ("1", "b")
    x, n = check_counts([1.0, 2.0], np.array([3, 4], dtype=object))
    assert x.dtype == n.dtype == np.int64
    with pytest.raises(ValueError, match="not a number"):
        plain(float("nan"))
    with pytest.raises(TypeError, match="cannot export"):
        plain(object())


def test_every_model_has_a_default_among_its_intervals():
    assert set(DEFAULT_INTERVAL) == set(INTERVALS) == set(MODELS)
    for model in MODELS:
        assert DEFAULT_INTERVAL[model] in INTERVALS[model]


@pytest.mark.parametrize("model", MODELS)
def test_every_model_fills_the_common_fields_and_exports(model):
    fit = pool(X, N, model, labels=list("abcde"))
    assert fit.interval == DEFAULT_INTERVAL[model]
    assert 0 < fit.ci_low < fit.estimate < fit.ci_high < 1
    assert fit.weight.sum() == pytest.approx(1.0)
    out = json.loads(json.dumps(fit.to_dict(), allow_nan=False))
    assert out["studies"][3] == {
        "label": "d",
        "events": 1,
        "total": 6,
        "estimate": pytest.approx(1 / 6),
        "ci_low": pytest.approx(fit.study_ci_low[3]),
        "ci_high": pytest.approx(fit.study_ci_high[3]),
        "weight": pytest.approx(fit.weight[3]),
    }
    frame = fit.to_frame()
    assert list(frame.columns) == list(out["studies"][0])
    assert frame["weight"].sum() == pytest.approx(1.0)
    if model == "beta-binomial":
        assert fit.tau is None
    else:
        assert fit.tau == pytest.approx(math.sqrt(fit.tau2))


def test_fit_without_labels_and_without_tau():
    fit = pool([0, 0], [3, 4])
    assert fit.study_labels == ("1", "2")
    assert fit.tau is None
    assert fit.to_dict()["details"]["mu_ci"][0] == "-inf"


def test_study_interval_is_chosen():
    a = pool(X, N, study_interval="clopper-pearson")
    b = pool(X, N, "dl", study_interval="jeffreys")
    assert a.study_ci_high[4] == pytest.approx(1 - 0.025 ** (1 / 9))
    assert b.study_ci_low[0] > a.study_ci_low[0]


def test_moderators_are_handed_on():
    fit = pool(X, N, moderators={"dose": [1.0, 2.0, 3.0, 1.5, 0.5]})
    assert fit.k == 5


def test_effect_sizes_by_hand_and_corrections():
    y, v = effect_sizes([0, 5], [10, 10])
    assert y[0] == pytest.approx(math.log(0.5 / 10.5))
    assert v.tolist() == pytest.approx([1 / 0.5 + 1 / 10.5, 0.4])
    y, v = effect_sizes([0, 5], [10, 10], to="all")
    assert y[1] == pytest.approx(0.0)
    assert v[1] == pytest.approx(2 / 5.5)
    y, v = effect_sizes([0, 5], [10, 10], "arcsine")
    assert y[0] == 0.0
    assert v.tolist() == [1 / 40, 1 / 40]
    y, v = effect_sizes([0, 5], [10, 10], "raw", add=1.0)
    assert y[0] == pytest.approx(1 / 12)
    y, v = effect_sizes([[0, 5], [3, 4]], [[10, 10], [9, 9]], "log")
    assert y.shape == v.shape == (2, 2)


def test_inverse_undoes_forward():
    p = np.array([0.01, 0.3, 0.5, 0.97])
    for transform in TRANSFORMS:
        n = 37.0 if transform == "freeman-tukey" else None
        np.testing.assert_allclose(inverse(forward(p, transform, n), transform, n), p, rtol=1e-9)
    assert inverse(-1.0, "arcsine") == 0.0
    assert inverse(9.0, "arcsine") == 1.0
    assert inverse(0.5, "log") == 1.0
    assert inverse([-2.0, 2.0], "raw").tolist() == [0.0, 1.0]
    assert inverse([-0.1, 9.0], "freeman-tukey", 20).tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match="needs a total n"):
        inverse(0.3, "freeman-tukey")
    with pytest.raises(ValueError, match="needs a total n"):
        forward(0.3, "freeman-tukey")


def test_effective_totals():
    n = [10, 20, 40]
    assert effective_total(n) == pytest.approx(3 / (0.1 + 0.05 + 0.025))
    assert effective_total(n, "geometric") == pytest.approx(20.0)
    assert effective_total(n, "arithmetic") == pytest.approx(70 / 3)
    fit = pool([3, 9, 30], n, "fe", transform="freeman-tukey", ft_n="arithmetic")
    assert fit.estimate == pytest.approx(fit.details["by_ft_n"]["arithmetic"][0])
    assert fit.details["by_ft_n"]["harmonic"][0] != fit.estimate


def test_two_step_notes():
    assert "0.5 was added" in pool(X, N, "dl").notes[0]
    assert "every trial" in pool(X, N, "dl", to="all").notes[0]
    calm = pool([5, 10, 7, 8, 6], [10, 20, 14, 17, 13], "reml", interval="hartung-knapp")
    text = " ".join(calm.notes)
    assert "Q-profile limits" in text and "Hartung-Knapp" in text and "boundary" in text
    assert calm.tau2_ci == (0.0, 0.0)
    two = pool([0, 0], [10, 10], "fe", transform="arcsine")
    assert any("empty cell" in note for note in two.notes)


def test_published_values(published, counts):
    """Papers and documentation to the digits they print."""
    wilson_rows = 0
    for row in published:
        method, quantity, text = row["method"], row["quantity"], row["value"]
        if row["dataset"] == "newcombe1998":
            x, n = (int(a) for a in method.split()[1].split("/"))
            fit = pool([x], [n])
            low, high = (float(a) for a in text.split("-"))
            assert fit.study_ci_low[0] == pytest.approx(low, abs=5.01e-5)
            assert fit.study_ci_high[0] == pytest.approx(high, abs=5.01e-5)
            wilson_rows += 1
            continue
        x, n = counts[row["dataset"]]
        value, half = float(text), 0.5 * 10.0 ** -len(text.split(".")[1]) * 1.02
        if method in ("PLO REML z", "GLMM-logit ML z"):
            fit = pool(x, n, "reml" if "REML" in method else "glmm", interval="wald")
            names = {"beta": "mu", "p": "estimate", "ci_lb": "ci_low", "ci_ub": "ci_high"}
            got = getattr(fit, names.get(quantity, quantity))
            # the test suite of metafor prints values of its seven-node fit for the GLMM
            half = max(half, 5e-4 if "GLMM" in method else 0.0, 1.5e-3 if "tau2" in quantity else 0)
        elif method == "PFT per study":
            y, v = effect_sizes(x, n, "freeman-tukey")
            i = int(quantity.split("[")[1][0]) - 1
            got = 2 * y[i] if "yi" in quantity else 4 * v[i]
        elif "unweighted" in quantity:
            mean = effect_sizes(x, n, "freeman-tukey")[0].mean()
            back = inverse(mean, "freeman-tukey", effective_total(n))
            got = float(back) if quantity.startswith("p") else 2 * mean
        else:
            fit = pool(x, n, "fe", transform="freeman-tukey")
            got = {
                "2*mean weighted": 2 * fit.mu,
                "p weighted (harmonic n)": fit.estimate,
                "p": fit.estimate,
                "ci_lb": fit.ci_low,
                "ci_ub": fit.ci_high,
            }[quantity]
        assert got == pytest.approx(value, abs=half), row
    assert wilson_rows == 4
    assert len(published) > 40


def test_public_names_load_on_demand():
    for name in pooling.__all__:
        assert getattr(pooling, name) is not None
    assert "pool" in dir(pooling)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pooling.nothing


def test_import_is_light():
    code = (
        "import sys, analysis.pooling as p; from analysis.pooling import pool; "
        "bad = {'pandas', 'matplotlib', 'pymare', 'statsmodels', 'seaborn'} & set(sys.modules); "
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


VECTORS = (
    "estimate", "ci_low", "ci_high", "pi_low", "pi_high", "mu", "se", "tau2", "i2", "q", "q_p",
    "lrt", "lrt_p", "log_likelihood", "aic", "marginal_estimate",
)  # fmt: skip
BATCH_ROWS = {
    3: (
        [[3, 4, 1], [0, 0, 0], [5, 9, 8], [0, 9, 8], [1, 0, 1], [2, 8, 3], [4, 5, 4], [0, 0, 1]],
        [[7, 12, 9], [5, 9, 8], [5, 9, 8], [5, 9, 8], [1, 1, 1], [30, 9, 9], [8, 9, 8], [9, 9, 9]],
    ),
    2: ([[3, 8], [0, 0], [5, 6], [0, 6], [1, 0]], [[9, 9], [5, 6], [5, 6], [5, 6], [1, 1]]),
    1: ([[3], [0], [7]], [[9], [4], [7]]),
}
MANY = [
    ("glmm", {}),
    ("glmm", {"interval": "wald", "level": 0.8}),
    ("glmm", {"interval": "t", "tau2_interval": False}),
    ("glmm", {"interval": "profile", "level": 0.9}),
    ("glmm", {"interval": "bartlett"}),
    ("reml", {}),
    ("ml", {"interval": "t", "level": 0.9, "add": 0.25, "to": "all"}),
    ("dl", {"transform": "arcsine", "add": 0.0}),
    ("pm", {"transform": "freeman-tukey", "ft_n": "arithmetic", "interval": "hartung-knapp-adhoc"}),
    ("fe", {"transform": "log", "add": 1.0}),
    ("sj", {"transform": "raw", "interval": "hartung-knapp"}),
    ("beta-binomial", {"interval": "t", "level": 0.9}),
    ("beta-binomial", {}),
    ("bayes", {"likelihood": "normal", "tau_scale": 0.5, "mu_scale": 1.5, "level": 0.9}),
    ("bayes", {"tau_scale": 0.5, "mu_scale": 1.5, "level": 0.9}),
]
STATUS = {
    3: ["ok", "no events", "only events", "every trial without events or full",
        "one patient per trial", "ok", "ok", "ok"],
    2: ["ok", "no events", "only events", "every trial without events or full",
        "one patient per trial"],
    1: ["one trial"] * 3,
}  # fmt: skip


@pytest.mark.parametrize(("model", "options"), MANY, ids=lambda a: str(a)[:60])
@pytest.mark.parametrize("k", [3, 2, 1])
def test_every_array_of_a_batch_equals_the_loop(model, options, k):
    """Field by field, whatever the status of a data set; what one fit lacks is NaN here."""
    x, n = (np.array(a) for a in BATCH_ROWS[k])
    b = len(x)
    batch = pool_many(x, n, model, **options)
    fits = [pool(x[i], n[i], model, **options) for i in range(b)]
    assert (batch.model, batch.level) == (model, options.get("level", 0.95))
    assert batch.interval == options.get("interval", DEFAULT_INTERVAL[model])
    assert batch.transform == options.get("transform", "logit")
    assert (batch.k, batch.q_df, len(batch)) == (k, k - 1, b)
    np.testing.assert_array_equal(batch.events, x)
    np.testing.assert_array_equal(batch.total, n)
    assert batch.events.dtype == batch.total.dtype == np.int64
    assert batch.converged.dtype == np.dtype(bool)
    assert batch.converged.tolist() == [fit.converged for fit in fits]
    expected = list(STATUS[k])
    if k > 1 and model != "glmm":
        # the others pool sets that leave the median of the GLMM open, the two-step models all
        named = () if model in NORMAL else ("no events", "only events")
        expected = [s if s in named else "ok" for s in expected]
    assert batch.status.tolist() == expected
    close = 2e-7 if model == "bayes" else 1e-8
    for name in VECTORS:
        values = getattr(batch, name)
        assert values.shape == (b,) and values.dtype == np.float64, name
        ones = [math.nan if (v := getattr(fit, name)) is None else v for fit in fits]
        np.testing.assert_allclose(values, ones, rtol=2 * close, atol=close, err_msg=name)
    for name in ("mu_ci", "tau2_ci", "marginal_ci"):
        values = getattr(batch, name)
        assert values.shape == (b, 2) and values.dtype == np.float64, name
        if name == "mu_ci" and model == "bayes":
            found = [(fit.details["mu"]["low"], fit.details["mu"]["high"]) for fit in fits]
        else:
            source = [fit.details if name == "mu_ci" else vars(fit) for fit in fits]
            found = [fields.get(name) for fields in source]
        pairs = [(math.nan, math.nan) if pair is None else pair for pair in found]
        np.testing.assert_allclose(values, pairs, rtol=2 * close, atol=close, err_msg=name)


def test_a_row_of_a_batch_of_the_glmm_is_its_fit():
    x, n = (np.array(a) for a in BATCH_ROWS[3])
    batch = pool_many(x, n, interval="t", level=0.9)
    for i in (0, 5, 6, 7):
        row = batch.fit(i, labels=["x", "y", "z"])
        fit = pool(x[i], n[i], interval="t", level=0.9, labels=["x", "y", "z"])
        for item in dataclasses.fields(fit):
            if item.name in ("details", "notes"):
                continue
            one, two = getattr(row, item.name), getattr(fit, item.name)
            if isinstance(two, str | bool | None) or item.name in ("labels", "k", "q_df"):
                assert one == two and type(one) is type(two), item.name
            else:
                np.testing.assert_allclose(one, two, rtol=1e-7, atol=1e-10, err_msg=item.name)
        assert row.notes == () and row.details == {}
    assert batch.fit(0).labels is None
    for i in (1, 2, 3, 4):
        sentence = f"data set {i}, model 'glmm': use pool() for its fit"
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            batch.fit(i)
    without = pool_many(x, n, tau2_interval=False).fit(0)
    assert without.tau2_ci is None and without.marginal_ci is not None
    empty = pool_many([[0, 0, 0]], [5, 6, 7], "bayes", likelihood="normal").fit(0)
    assert empty.notes == ("Status: no events.",)
    with pytest.raises(ValueError, match=r"^labels must have one entry per study: 1 labels"):
        batch.fit(0, labels=["a"])


def test_names_are_loaded_once_and_stay():
    for name, module in (("wilson", "proportion"), ("Fit", "fit"), ("pool_many", "batch")):
        home = vars(sys.modules[f"analysis.pooling.{module}"])
        vars(pooling).pop(name, None)
        assert getattr(pooling, name) is home[name]
        assert vars(pooling)[name] is home[name]
        assert getattr(pooling, name) is home[name]
    assert pooling.__all__ == sorted(pooling.__all__)
    assert set(pooling.__all__) | {"annotations", "import_module"} <= set(dir(pooling))
    assert dir(pooling) == sorted(dir(pooling))
    with pytest.raises(AttributeError) as error:
        _ = pooling.nothing
    assert str(error.value) == "module 'analysis.pooling' has no attribute 'nothing'"


def test_any_kind_of_number_comes_out_in_double_precision():
    total = [10, 20, 40]
    for make in (
        lambda a: np.array(a, dtype=np.float32),
        list,
        lambda a: np.array(a, dtype=object),
    ):
        for mean in ("harmonic", "geometric", "arithmetic"):
            found = effective_total(make(total), mean)
            assert found == pytest.approx(effective_total(np.array(total, float), mean), rel=1e-15)
            assert found.dtype == np.float64
        values = make([0.25, 0.5, 0.75])
        for transform in TRANSFORMS:
            n = make([16, 32, 64])
            right = forward(np.array([0.25, 0.5, 0.75]), transform, np.array([16.0, 32.0, 64.0]))
            found = forward(values, transform, n)
            assert found.dtype == np.float64
            np.testing.assert_allclose(found, right, rtol=1e-15, atol=1e-16)
            back = inverse(values, transform, n)
            assert back.dtype == np.float64
            right = inverse(np.array([0.25, 0.5, 0.75]), transform, np.array([16.0, 32.0, 64.0]))
            np.testing.assert_allclose(back, right, rtol=1e-15)
    for x in ([0, 1], np.array([0, 1])):
        assert forward(x, "raw").dtype == inverse(x, "raw").dtype == np.float64
    kept = np.array([0.2, 0.4])
    forward(kept, "raw")[0] = 9.0
    assert kept[0] == 0.2


SENTENCES = [
    (
        lambda: inverse(0.3, "freeman-tukey"),
        "transform 'freeman-tukey' needs a total n to turn back",
    ),
    (lambda: forward(0.3, "freeman-tukey"), "transform 'freeman-tukey' needs a total n"),
    (
        lambda: forward(0.3, "probit"),
        "unknown transform 'probit': choose one of logit, arcsine, freeman-tukey, raw, log",
    ),
    (
        lambda: inverse(0.3, "probit"),
        "unknown transform 'probit': choose one of logit, arcsine, freeman-tukey, raw, log",
    ),
    (
        lambda: effect_sizes([1], [2], "probit"),
        "unknown transform 'probit': choose one of logit, arcsine, freeman-tukey, raw, log",
    ),
    (
        lambda: effect_sizes([1], [2], to="some"),
        "unknown to 'some': choose one of only0, all, never",
    ),
    (lambda: effect_sizes([1], [2], add=-0.5), "add must be a number of at least 0, got -0.5"),
    (lambda: effect_sizes([1], [2], add=True), "add must be a number of at least 0, got True"),
    (lambda: effect_sizes([1], [2], add="1"), "add must be a number of at least 0, got '1'"),
    (lambda: effect_sizes([1], [2], add=math.inf), "add must be a number of at least 0, got inf"),
    (
        lambda: effective_total([1, 2], "median"),
        "unknown ft_n 'median': choose one of harmonic, geometric, arithmetic",
    ),
    (
        lambda: effect_sizes([3, 0], [9, 5], to="never"),
        "transform 'logit' has no effect size with a positive variance for the study at position "
        "1 (0 of 5) without a correction",
    ),
    (
        lambda: effect_sizes([[3, 1], [2, 7]], [[9, 5], [5, 7]], "raw", add=0),
        "transform 'raw' has no effect size with a positive variance for the study at row 1, "
        "column 1 (7 of 7) without a correction",
    ),
    (
        lambda: fit_normal(X, N, model="glmm"),
        "unknown model 'glmm': choose one of fe, dl, pm, reml, ml, eb, he, sj, hs",
    ),
    (
        lambda: fit_normal(X, N, model="dl", interval="profile"),
        "unknown interval for model 'dl' 'profile': choose one of wald, t, hartung-knapp, "
        "hartung-knapp-adhoc",
    ),
    (
        lambda: fit_normal(X, N, transform="probit"),
        "unknown transform 'probit': choose one of logit, arcsine, freeman-tukey, raw, log",
    ),
    (
        lambda: fit_normal(X, N, to="some"),
        "unknown to 'some': choose one of only0, all, never",
    ),
    (
        lambda: fit_normal(X, N, ft_n="median"),
        "unknown ft_n 'median': choose one of harmonic, geometric, arithmetic",
    ),
    (
        lambda: fit_normal(X, N, study_interval="exact"),
        "unknown study interval 'exact': choose one of wilson, clopper-pearson, jeffreys",
    ),
    (lambda: fit_normal(X, N, level=0), "level must be strictly between 0 and 1, got 0"),
    (
        lambda: pool(X, N, "reml", interval="profile"),
        "interval 'profile' is not available for model 'reml': choose one of wald, t, "
        "hartung-knapp, hartung-knapp-adhoc",
    ),
    (
        lambda: pool(X, N, "bayes", transform="raw"),
        "model 'bayes' works on the logit only: transform 'raw' belongs to the normal-normal "
        "models reml, ml, dl, pm, eb, he, sj, hs, fe",
    ),
    (
        lambda: pool(X, N, interval="guess"),
        "unknown interval 'guess': choose one of bartlett, credible, hartung-knapp, "
        "hartung-knapp-adhoc, profile, profile-t, t, wald",
    ),
    (
        lambda: pool(X, N, "nonsense"),
        "unknown model 'nonsense': choose one of glmm, reml, ml, dl, pm, eb, he, sj, hs, fe, "
        "beta-binomial, bayes",
    ),
    (
        lambda: pool(X, N, "bayes", likelihood="poisson"),
        "unknown likelihood 'poisson': choose one of binomial, normal",
    ),
    (lambda: pool(X, N, to="some"), "unknown to 'some': choose one of only0, all, never"),
    (lambda: pool(X, N, add=1), "model 'glmm' does not use add: leave it out, got 1"),
    (
        lambda: pool(X, N, "reml", transform="raw", ft_n="geometric"),
        "transform 'raw' does not use ft_n: leave it out, got 'geometric'",
    ),
    (
        lambda: pool(X, N, ft_n="geometric"),
        "model 'glmm' does not use ft_n: leave it out, got 'geometric'",
    ),
    (
        lambda: pool(X, N, seed=3),
        "model 'glmm' without moderators does not use seed: leave it out, got 3",
    ),
    (
        lambda: pool(X, N, "reml", moderators={"a": X}, ft_n="geometric"),
        "model 'reml' with moderators does not use ft_n: leave it out, got 'geometric'",
    ),
    (
        lambda: pool(X, N, moderators={"a": X}, seed=3),
        "seed is used with permutations only: leave it out, got 3",
    ),
    (
        lambda: pool_many([X], [N], "dl", to="some"),
        "unknown to 'some': choose one of only0, all, never",
    ),
    (
        lambda: pool_many([X], [N], "dl", ft_n="median"),
        "unknown ft_n 'median': choose one of harmonic, geometric, arithmetic",
    ),
    (
        lambda: pool_many([X], [N], tau_scale=2.0),
        "model 'glmm' does not use tau_scale: leave it out, got 2.0",
    ),
    (
        lambda: pool_many([X], [N], "bayes", tau_scale=0),
        "tau_scale must be a positive finite number, got 0",
    ),
    (
        lambda: pool_many([X], [N], "bayes", mu_scale="wide"),
        "mu_scale must be a positive number, got 'wide'",
    ),
    (lambda: pool_many([X], [N], level=2), "level must be strictly between 0 and 1, got 2"),
    (lambda: check_counts("12", [1]), "events must be a sequence of whole numbers, not '12'"),
    (lambda: check_counts([1], None), "total must be a sequence of whole numbers, not None"),
    (lambda: check_counts([1], b"1"), "total must be a sequence of whole numbers, not b'1'"),
    (
        lambda: check_counts([[1], [1, 2]], [3, 4]),
        "events must be a rectangular array of whole numbers",
    ),
    (lambda: check_counts([None, 2], [3, 4]), "events must hold whole numbers only, found None"),
    (
        lambda: check_counts(np.array([3, True], dtype=object), [3, 4]),
        "events must hold whole numbers only, found True",
    ),
    (
        lambda: check_counts([True, False], [3, 4]),
        "events must hold whole numbers only, found type bool",
    ),
    (
        lambda: check_counts([1j, 1], [3, 4]),
        "events must hold whole numbers only, found type complex128",
    ),
    (lambda: check_counts(3, [4]), "events must be one-dimensional (k,), got 0 dimension(s)"),
    (
        lambda: check_counts([3], [4], ndim=2),
        "events must be two-dimensional (B, k), got 1 dimension(s)",
    ),
    (
        lambda: check_counts([[3]], [[[4]]], ndim=2),
        "total must be two-dimensional (B, k), got 3 dimension(s)",
    ),
    (lambda: check_counts([], []), "events is empty: at least one study is needed"),
    (lambda: check_counts([1], []), "total is empty: at least one study is needed"),
    (
        lambda: check_counts([1, math.nan], [3, 4]),
        "events at position 1 is not a finite number: nan",
    ),
    (
        lambda: check_counts([1, 2], [3, -math.inf]),
        "total at position 1 is not a finite number: -inf",
    ),
    (lambda: check_counts([1, 0.5], [3, 4]), "events at position 1 is not a whole number: 0.5"),
    (
        lambda: check_counts([1, 2], [2.0**54, 4]),
        "total at position 0 is too large to be a count: 1.8014398509481984e+16",
    ),
    (
        lambda: check_counts([[1, -3]], [[3, 4]], ndim=2),
        "events at row 0, column 1 is negative: -3",
    ),
    (lambda: check_counts([0, 1], [3, 0]), "total at position 1 must be at least 1: 0"),
    (lambda: check_counts([0, 5], [3, 4]), "events at position 1 exceed the total: 5 of 4"),
    (
        lambda: check_counts([[0, 1], [1, 5]], [3, 4], ndim=2),
        "events at row 1, column 1 exceed the total: 5 of 4",
    ),
    (
        lambda: check_counts([0, 1], [3, 4, 5]),
        "events and total must have the same length, got 2 and 3",
    ),
    (
        lambda: check_counts([[0, 1]], [3, 4, 5], ndim=2),
        "events and total must have the same shape, got (1, 2) and (3,)",
    ),
    (
        lambda: check_counts([[0, 1]], [[3], [4]], ndim=2),
        "events and total must have the same shape, got (1, 2) and (2, 1)",
    ),
    (lambda: check_level("95"), "level must be a number between 0 and 1, got '95'"),
    (lambda: check_level(True), "level must be a number between 0 and 1, got True"),
    (lambda: check_level(0.0), "level must be strictly between 0 and 1, got 0.0"),
    (lambda: check_positive(True, "scale"), "scale must be a positive number, got True"),
    (
        lambda: check_positive(math.nan, "scale"),
        "scale must be a positive finite number, got nan",
    ),
    (lambda: check_labels("ab", 2), "labels must be a sequence of 2 names, got 'ab'"),
    (lambda: check_labels(5, 2), "labels must be a sequence of 2 names, got 5"),
    (
        lambda: check_labels(["a"], 2),
        "labels must have one entry per study: 1 labels, 2 studies",
    ),
    (
        lambda: check_choice(7, "color", ("red", "blue")),
        "unknown color 7: choose one of red, blue",
    ),
    (lambda: plain(math.nan), "a value to be exported is not a number (NaN)"),
]


@pytest.mark.parametrize(("call", "sentence"), SENTENCES, ids=[s[:60] for _, s in SENTENCES])
def test_every_refusal_word_by_word(call, sentence):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == sentence


def test_what_is_just_allowed():
    x, n = check_counts([0, 2.0**53], [1, 2.0**53])
    assert x.tolist() == [0, 2**53] and n.tolist() == [1, 2**53]
    x, n = check_counts([[0, 1], [1, 2]], [1, 2], ndim=2)
    assert n.tolist() == [[1, 2], [1, 2]] and n.flags.writeable and x.dtype == n.dtype == np.int64
    assert check_level(np.float32(0.5)) == 0.5 and type(check_level(np.float32(0.5))) is float
    assert check_positive(3, "scale") == 3.0 and type(check_positive(3, "scale")) is float
    assert check_labels((str(i) for i in range(2)), 2) == ("0", "1")
    assert effect_sizes([1], [2], add=np.float64(0))[0].tolist() == [0.0]
    with pytest.raises(TypeError, match=r"^cannot export a value of type object$"):
        plain(object())
    values = [np.float32(0.5), np.int8(3), np.bool_(False), math.inf, -math.inf, (1, [2.0])]
    assert plain({3: values}) == {"3": [0.5, 3, False, "inf", "-inf", [1, [2.0]]]}
    assert [type(v) for v in plain(values)[:3]] == [float, int, bool]


def test_fit_normal_has_defaults_of_its_own():
    """Called without a model it is reml with the normal quantile, as metafor's rma is."""
    fit = fit_normal(X, N)
    same = pool(X, N, "reml", interval="wald")
    assert fit.to_dict() == same.to_dict()
    assert (fit.model, fit.interval, fit.level, fit.transform) == ("reml", "wald", 0.95, "logit")
    ft = fit_normal(X, N, transform="freeman-tukey")
    assert ft.estimate == ft.details["by_ft_n"]["harmonic"][0]
    assert ft.study_ci_low.tolist() == pooling.wilson(X, N)[0].tolist()
