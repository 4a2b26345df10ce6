"""pool(), its input checks, the Fit it returns and the helpers beside it."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest

import analysis.pooling as pooling
from analysis.pooling import pool, pool_many
from analysis.pooling._validate import check_choice, check_counts, check_labels, check_positive
from analysis.pooling.api import DEFAULT_INTERVAL, INTERVALS, MODELS
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
