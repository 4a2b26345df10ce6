"""One entrance to every pooling model."""

from __future__ import annotations

from typing import Any

from ._validate import check_choice, check_counts, check_level
from .effects import TO, TRANSFORMS
from .fit import Fit

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

# The one place that decides the default interval of each model.
DEFAULT_INTERVAL: dict[str, str] = {
    "glmm": "profile",
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
    known = sorted({name for names in INTERVALS.values() for name in names})
    interval = check_choice(interval, "interval", known)
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


def pool(
    events,
    total,
    model: str = "glmm",
    *,
    interval: str | None = None,
    level: float = 0.95,
    transform: str = "logit",
    moderators=None,
    labels=None,
    add: float | None = None,
    to: str = "only0",
    ft_n: str = "harmonic",
    study_interval: str = "wilson",
    tau_scale: float = 1.0,
    mu_scale: float = 2.5,
    tau2_interval: bool = True,
) -> Fit:
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
    moderators : optional
        Columns that explain differences between trials; handed to
        ``analysis.pooling.moderators.fit_moderators``.
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
    tau2_interval : bool
        Whether the GLMM computes ``tau2_ci``; leave it out to save time.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        One sentence saying what is wrong and where.
    """
    model, interval, transform = resolve(model, interval, transform)
    check_choice(to, "to", TO)
    level = check_level(level)
    x, n = check_counts(events, total)
    if moderators is not None:
        from .moderators import fit_moderators

        moderated: Any = fit_moderators(
            x, n, model=model, moderators=moderators, interval=interval, level=level, labels=labels
        )
        return moderated
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

        return fit_bayes(
            x, n, model="glmm", tau_scale=tau_scale, mu_scale=mu_scale, level=level, labels=labels
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
