"""No argument of ``pool`` and ``pool_many`` is ignored: it is used, or it is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import analysis.pooling as pooling
from analysis.pooling import (
    BayesFit,
    ModeratorFit,
    fit_bayes,
    fit_moderators,
    pool,
    pool_many,
)
from analysis.pooling.api import MODELS, NORMAL

X, N = [3, 5, 0, 4, 6, 2, 7], [10, 12, 9, 9, 14, 8, 9]
ARM = {"arm": ["a", "b", "a", "b", "b", "a", "b"]}
OTHER: dict[str, Any] = {
    "add": 0.25,
    "to": "all",
    "ft_n": "geometric",
    "study_interval": "jeffreys",
    "tau_scale": 0.5,
    "mu_scale": 1.0,
    "likelihood": "normal",
    "thresholds": (0.3,),
    "tau2_interval": False,
    "reference": {"arm": "b"},
    "permutations": 20,
    "seed": 3,
}
USED = {
    "glmm": {"study_interval", "tau2_interval"},
    "beta-binomial": set(),
    "bayes": {"tau_scale", "mu_scale", "likelihood", "thresholds"},
    **{name: {"add", "to", "study_interval"} for name in NORMAL},
}


def numbers(fit: Any) -> str:
    return repr(fit.to_dict())


@pytest.mark.parametrize("model", MODELS)
def test_an_argument_changes_the_result_or_is_refused(model: str) -> None:
    plain = numbers(pool(X, N, model))
    for name, value in OTHER.items():
        options: dict[str, Any] = {name: value}
        if name in USED[model]:
            assert numbers(pool(X, N, model, **options)) != plain, name
        else:
            kind = f"model {model!r}"
            if name == "ft_n" and model in NORMAL:
                kind = "transform 'logit'"
            elif name in ("reference", "permutations", "seed"):
                kind += " without moderators"
            with pytest.raises(ValueError) as error:
                pool(X, N, model, **options)
            sentence = f"{kind} does not use {name}: leave it out, got {value!r}"
            assert str(error.value) == sentence


def test_the_mean_total_belongs_to_freeman_tukey() -> None:
    one = pool(X, N, "reml", transform="freeman-tukey")
    two = pool(X, N, "reml", transform="freeman-tukey", ft_n="geometric")
    assert one.mu == two.mu and one.estimate != two.estimate
    with pytest.raises(ValueError, match="transform 'arcsine' does not use ft_n"):
        pool(X, N, "reml", transform="arcsine", ft_n="geometric")


@pytest.mark.parametrize("name", sorted(set(OTHER) - {"reference", "permutations", "seed"}))
def test_with_moderators_the_rest_is_refused(name: str) -> None:
    options: dict[str, Any] = {name: OTHER[name]}
    with pytest.raises(ValueError) as error:
        pool(X, N, "reml", moderators=ARM, **options)
    kind = "model 'reml' with moderators"
    assert str(error.value) == f"{kind} does not use {name}: leave it out, got {OTHER[name]!r}"


def test_moderators_get_all_their_arguments() -> None:
    options: dict[str, Any] = {"reference": {"arm": "b"}, "permutations": 30, "seed": 3}
    found = pool(X, N, "dl", moderators=ARM, transform="arcsine", interval="t", **options)
    same = fit_moderators(
        X, N, model="dl", moderators=ARM, transform="arcsine", interval="t", **options
    )
    assert isinstance(found, ModeratorFit)
    assert found.to_dict() == same.to_dict()
    assert found.names == ("intercept", "arm[a]")
    assert found.permutation_count == 30
    assert found.transform == "arcsine"
    with pytest.raises(ValueError, match="seed is used with permutations only"):
        pool(X, N, moderators=ARM, seed=1)


@pytest.mark.parametrize("likelihood,inner", [("binomial", "glmm"), ("normal", "normal")])
def test_bayes_has_both_likelihoods_and_thresholds(likelihood: str, inner: str) -> None:
    found = pool(X, N, "bayes", likelihood=likelihood, thresholds=[0.3, 0.5])
    same = fit_bayes(X, N, model=inner, thresholds=[0.3, 0.5])
    assert isinstance(found, BayesFit)
    assert found.to_dict() == same.to_dict()
    assert set(found.details["prob_next_exceeds"]) == {"0.3", "0.5"}
    many = pool_many([X, X[::-1]], [N, N[::-1]], "bayes", likelihood=likelihood)
    np.testing.assert_allclose(many.estimate, found.estimate, rtol=1e-9)


def test_defaults_said_aloud_are_no_mistake() -> None:
    said = pool(
        X, N, add=None, to="only0", ft_n="harmonic", tau_scale=1, mu_scale=2.5, thresholds=[],
        likelihood="binomial", reference=None, permutations=0, seed=None,
    )  # fmt: skip
    assert numbers(said) == numbers(pool(X, N))


@pytest.mark.parametrize(
    "name,value",
    [("permutations", False), ("tau2_interval", 1), ("tau_scale", True), ("tau_scale", np.ones(2))],
)
def test_a_value_of_another_type_is_not_the_default(name: str, value: Any) -> None:
    model = "reml" if name == "tau2_interval" else "glmm"
    with pytest.raises(ValueError, match=f"does not use {name}"):
        pool(X, N, model, **{name: value})


@pytest.mark.parametrize("model", ["glmm", "reml", "beta-binomial", "bayes"])
def test_a_batch_refuses_the_same(model: str) -> None:
    for name in ("add", "to", "ft_n", "tau_scale", "mu_scale", "likelihood", "tau2_interval"):
        if name in USED[model]:
            continue
        options: dict[str, Any] = {name: OTHER[name]}
        with pytest.raises(ValueError, match=f"does not use {name}"):
            pool_many([X], [N], model, **options)


def test_every_name_of_the_package_is_there() -> None:
    for name in pooling.__all__:
        assert getattr(pooling, name) is not None
    assert {"pool_nested", "fit_subgroups", "BayesFit", "ModeratorFit", "SubgroupFit"} <= set(
        dir(pooling)
    )
    assert "NestedFit" in pooling.__all__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        pooling.nothing  # noqa: B018
