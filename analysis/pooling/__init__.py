"""Pooling of single-arm proportions: counts in, one :class:`Fit` out.

The package knows nothing of any disease, file or figure. Names are loaded on first use so
that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Fit": "fit",
    "pool": "api",
    "pool_many": "batch",
    "Batch": "batch",
    "MODELS": "api",
    "INTERVALS": "api",
    "DEFAULT_INTERVAL": "api",
    "effect_sizes": "effects",
    "inverse": "effects",
    "effective_total": "effects",
    "proportion_interval": "proportion",
    "wilson": "proportion",
    "clopper_pearson": "proportion",
    "jeffreys": "proportion",
    "fit_glmm": "glmm",
    "fit_normal": "normal",
    "fit_betabinomial": "betabinomial",
    "fit_bayes": "bayes",
    "fit_moderators": "moderators",
    "fit_subgroups": "moderators",
    "score_permutation": "permutation",
    "Permutation": "permutation",
    "pool_nested": "nested",
    "BayesFit": "bayes",
    "ModeratorFit": "moderators",
    "SubgroupFit": "moderators",
    "NestedFit": "nested",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
