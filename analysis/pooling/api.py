"""One entrance to every pooling model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from ._validate import check_choice, check_level
from .effects import TO, TRANSFORMS
from .fit import Fit

if TYPE_CHECKING:  # pragma: no cover
    from .moderators import ModeratorFit

__all__ = ["DEFAULT_INTERVAL", "INTERVALS", "MODELS", "pool"]

NORMAL = ("reml", "ml", "dl", "pm", "eb", "he", "sj", "hs", "fe")
MODELS = ("glmm", *NORMAL, "beta-binomial", "bayes")

_NORMAL_INTERVALS = ("wald", "t", "hartung-knapp", "hartung-knapp-adhoc")
INTERVALS: dict[str, tuple[str, ...]] = {
    "glmm": ("wald", "t", "profile", "profile-t", "bartlett"),
    **{name: _NORMAL_INTERVALS for name in NORMAL},
    "beta-binomial": ("wald", "t", "profile", "profile-t"),
    "bayes": ("credible",),
}

_KNOWN_INTERVALS = sorted({name for names in INTERVALS.values() for name in names})

# The one place that decides the default interval of each model.
DEFAULT_INTERVAL: dict[str, str] = {
    "glmm": "profile-t",
    "reml": "hartung-knapp",
    "ml": "wald",
    "dl": "wald",
    "pm": "wald",
    "eb": "wald",
    "he": "wald",
    "sj": "wald",
    "hs": "wald",
    "fe": "wald",
    "beta-binomial": "profile-t",
    "bayes": "credible",
}


def resolve(model: Any, interval: Any, transform: Any) -> tuple[str, str, str]:
    """Check the three names against each other and fill in the default interval."""
    model = check_choice(model, "model", MODELS)
    transform = check_choice(transform, "transform", TRANSFORMS)
    if interval is None:
        interval = DEFAULT_INTERVAL[model]
    interval = check_choice(interval, "interval", _KNOWN_INTERVALS)
    if interval not in INTERVALS[model]:
        raise ValueError(
            f"interval {interval!r} is not available for model {model!r}: "
            f"choose one of {', '.join(INTERVALS[model])}"
        )
    if model not in NORMAL and transform != "logit":
        raise ValueError(
            f"model {model!r} works on the logit only: transform {transform!r} belongs to the "
            f"normal-normal models {', '.join(NORMAL)}"
        )
    return model, interval, transform


# Defaults of the arguments that only some models use.
_DEFAULTS: dict[str, Any] = {
    "add": None,
    "to": "only0",
    "ft_n": "harmonic",
    "study_interval": "wilson",
    "tau_scale": 1.0,
    "mu_scale": 2.5,
    "likelihood": "binomial",
    "thresholds": (),
    "tau2_interval": True,
    "reference": None,
    "permutations": 0,
    "seed": None,
}


def used_arguments(model: str, transform: str, moderated: bool) -> set[str]:
    """Which of the arguments in question a model uses."""
    if moderated:
        extra = {"tau2_interval"} if model == "glmm" else set()
        return {"reference", "permutations", "seed"} | extra
    if model == "glmm":
        return {"study_interval", "tau2_interval"}
    if model == "bayes":
        return {"tau_scale", "mu_scale", "likelihood", "thresholds"}
    if model in NORMAL:
        extra = {"ft_n"} if transform == "freeman-tukey" else set()
        return {"add", "to", "study_interval"} | extra
    return set()


def refuse_unused(model: str, transform: str, moderated: bool, **given: Any) -> None:
    """Raise ``ValueError`` for an argument that would change nothing and is not at its default."""
    used = used_arguments(model, transform, moderated)
    for name, value in given.items():
        if name not in used and not _is_default(value, _DEFAULTS[name]):
            kind = f"model {model!r}" + (" with moderators" if moderated else "")
            if name == "ft_n" and model in NORMAL and not moderated:
                kind = f"transform {transform!r}"
            if name in ("reference", "permutations", "seed"):
                kind += " without moderators"
            raise ValueError(f"{kind} does not use {name}: leave it out, got {value!r}")


def _is_default(value: Any, default: Any) -> bool:
    if value is default:
        return True
    if isinstance(default, tuple):
        return isinstance(value, Sequence) and len(value) == 0
    if default is None or type(value) in (list, dict, tuple) or hasattr(value, "shape"):
        return False
    # True is not 1.0 here, nor False 0
    return isinstance(value, bool) == isinstance(default, bool) and bool(value == default)


@overload
def pool(
    events: Any,
    total: Any,
    model: str = "glmm",
    *,
    interval: str | None = None,
    level: float = 0.95,
    transform: str = "logit",
    moderators: None = None,
    labels: Sequence[Any] | None = None,
    add: float | None = None,
    to: str = "only0",
    ft_n: str = "harmonic",
    study_interval: str = "wilson",
    tau_scale: float = 1.0,
    mu_scale: float = 2.5,
    likelihood: str = "binomial",
    thresholds: Sequence[float] = (),
    tau2_interval: bool = True,
) -> Fit: ...


@overload
def pool(
    events: Any,
    total: Any,
    model: str = "glmm",
    *,
    interval: str | None = None,
    level: float = 0.95,
    transform: str = "logit",
    moderators: object,
    labels: Sequence[Any] | None = None,
    reference: Mapping[str, Any] | None = None,
    permutations: int = 0,
    seed: int | None = None,
    tau2_interval: bool = True,
) -> ModeratorFit: ...


def pool(
    events: Any,
    total: Any,
    model: str = "glmm",
    *,
    interval: str | None = None,
    level: float = 0.95,
    transform: str = "logit",
    moderators: Any = None,
    labels: Sequence[Any] | None = None,
    add: float | None = None,
    to: str = "only0",
    ft_n: str = "harmonic",
    study_interval: str = "wilson",
    tau_scale: float = 1.0,
    mu_scale: float = 2.5,
    likelihood: str = "binomial",
    thresholds: Sequence[float] = (),
    tau2_interval: bool = True,
    reference: Mapping[str, Any] | None = None,
    permutations: int = 0,
    seed: int | None = None,
) -> Fit | ModeratorFit:
    """Pool single-arm proportions.

    Parameters
    ----------
    events, total : array_like of int, shape (k,)
        Patients with the event and patients observed, one entry per trial;
        ``0 <= events <= total``, ``total >= 1``.
    model : str
        ``"glmm"`` binomial-normal by maximum likelihood; ``"reml"``, ``"ml"``, ``"dl"``,
        ``"pm"``, ``"eb"``, ``"he"``, ``"sj"``, ``"hs"``, ``"fe"`` two-step normal-normal;
        ``"beta-binomial"``; ``"bayes"``.
    interval : str, optional
        ``"wald"``, ``"t"``, ``"profile"``, ``"profile-t"``, ``"bartlett"``,
        ``"hartung-knapp"``, ``"hartung-knapp-adhoc"`` or ``"credible"``; which of them a model
        has is in :data:`INTERVALS`, its default in :data:`DEFAULT_INTERVAL`.
    level : float
        Coverage aimed at, default 0.95.
    transform : str
        Scale of the two-step models: ``"logit"``, ``"arcsine"``, ``"freeman-tukey"``,
        ``"raw"``, ``"log"``. All other models are on the logit.
    moderators : mapping, data frame or array, optional
        What explains differences between trials, see
        :func:`analysis.pooling.fit_moderators`; GLMM and two-step models.
    labels : sequence of str, optional
        Names of the trials.
    add, to : optional
        Correction of empty cells in the two-step models, see
        :func:`analysis.pooling.effects.effect_sizes`.
    ft_n : {"harmonic", "geometric", "arithmetic"}
        Total at which a pooled Freeman-Tukey value is turned back.
    study_interval : {"wilson", "clopper-pearson", "jeffreys"}
        Interval of each single trial.
    tau_scale, mu_scale : float
        Prior scales of the Bayesian model (half-normal on tau, normal on mu, logit scale).
    likelihood : {"binomial", "normal"}
        Bayesian model: counts as they are, or logits with known variances, 0.5 being added to
        trials with an empty cell.
    thresholds : sequence of float
        Bayesian model: ``details["prob_next_exceeds"]`` holds the posterior probability that
        the next trial's true proportion exceeds each.
    tau2_interval : bool
        Whether the GLMM computes ``tau2_ci``; leave it out to save time.
    reference, permutations, seed
        With ``moderators`` only: reference level by factor, number of permutations behind the
        permutation p-value, and seed of the drawn ones; see
        :func:`analysis.pooling.fit_moderators`.

    Returns
    -------
    Fit or ModeratorFit
        :class:`BayesFit`, a :class:`Fit` with its posterior, for ``"bayes"``;
        :class:`ModeratorFit` with ``moderators``.

    Raises
    ------
    ValueError
        One sentence saying what is wrong and where. An argument that the model does not use is
        refused unless it is at its default.
    """
    model, interval, transform = resolve(model, interval, transform)
    check_choice(to, "to", TO)
    refuse_unused(
        model, transform, moderators is not None, add=add, to=to, ft_n=ft_n,
        study_interval=study_interval, tau_scale=tau_scale, mu_scale=mu_scale,
        likelihood=likelihood, thresholds=thresholds, tau2_interval=tau2_interval,
        reference=reference, permutations=permutations, seed=seed,
    )  # fmt: skip
    if seed is not None and not permutations:
        raise ValueError(f"seed is used with permutations only: leave it out, got {seed!r}")
    level = check_level(level)
    # every model checks the counts itself
    x, n = events, total
    if moderators is not None:
        from .moderators import fit_moderators

        return fit_moderators(
            x,
            n,
            model=model,
            moderators=moderators,
            interval=interval,
            level=level,
            labels=labels,
            transform=transform,
            reference=reference,
            permutations=permutations,
            seed=seed,
            tau2_interval=tau2_interval,
        )
    if model == "glmm":
        from .glmm import fit_glmm

        return fit_glmm(
            x,
            n,
            interval=interval,
            level=level,
            labels=labels,
            study_interval=study_interval,
            tau2_interval=tau2_interval,
        )
    if model == "beta-binomial":
        from .betabinomial import fit_betabinomial

        return fit_betabinomial(x, n, interval=interval, level=level, labels=labels)
    if model == "bayes":
        from .bayes import fit_bayes

        likelihood = check_choice(likelihood, "likelihood", ("binomial", "normal"))
        return fit_bayes(
            x,
            n,
            model="glmm" if likelihood == "binomial" else "normal",
            tau_scale=tau_scale,
            mu_scale=mu_scale,
            level=level,
            labels=labels,
            thresholds=thresholds,
        )
    from .normal import fit_normal

    return fit_normal(
        x,
        n,
        model=model,
        interval=interval,
        level=level,
        transform=transform,
        labels=labels,
        add=add,
        to=to,
        ft_n=ft_n,
        study_interval=study_interval,
    )
