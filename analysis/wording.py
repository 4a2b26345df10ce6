"""Numbers and short sentences, written the same way everywhere.

Everything here takes proportions between 0 and 1 and returns plain text. Nothing here computes
a statistic: the numbers come from a fit.
"""

from __future__ import annotations

import math
import unicodedata
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

EN_DASH = "\u2013"
MISSING = EN_DASH
NO_BREAK = "\u00a0"

#: Decimals of a percentage: in figures and running text, and in tables.
FIGURE_DIGITS = 0
TABLE_DIGITS = 1

MODEL_NAMES = {
    "glmm": "GLMM",
    "reml": "REML",
    "ml": "ML",
    "dl": "DL",
    "pm": "PM",
    "eb": "EB",
    "he": "HE",
    "sj": "SJ",
    "hs": "HS",
    "fe": "Equal effects",
    "beta-binomial": "Beta-binomial",
    "bayes": "Bayesian GLMM",
}
MODEL_LONG_NAMES = {
    "glmm": "random-effects logistic model (GLMM)",
    "reml": "normal-normal model on the {transform} scale, REML",
    "ml": "normal-normal model on the {transform} scale, ML",
    "dl": "normal-normal model on the {transform} scale, DerSimonian{dash}Laird",
    "pm": "normal-normal model on the {transform} scale, Paule{dash}Mandel",
    "eb": "normal-normal model on the {transform} scale, empirical Bayes",
    "he": "normal-normal model on the {transform} scale, Hedges",
    "sj": "normal-normal model on the {transform} scale, Sidik{dash}Jonkman",
    "hs": "normal-normal model on the {transform} scale, Hunter{dash}Schmidt",
    "fe": "equal-effects model on the {transform} scale",
    "beta-binomial": "beta-binomial model",
    "bayes": "Bayesian random-effects logistic model",
}
INTERVAL_NAMES = {
    "wald": "Wald",
    "t": "t(k\u22121)",
    "profile": "profile likelihood",
    "profile-t": "profile likelihood, t(k\u22121)",
    "bartlett": "Bartlett-corrected profile likelihood",
    "hartung-knapp": "Hartung{dash}Knapp",
    "hartung-knapp-adhoc": "Hartung{dash}Knapp, never narrower than Wald",
    "credible": "credible interval",
}


def plain(value: object) -> str:
    """Return data as one line of text: no control characters, no runs of white space.

    Parameters
    ----------
    value : object
        A label or cell. None gives an empty string.
    """
    if value is None:
        return ""
    text = unicodedata.normalize("NFC", str(value))
    kept = (
        " "
        if char.isspace()
        else ""
        if unicodedata.category(char) in {"Cc", "Cs", "Co", "Cn"} or char in _DIRECTION_MARKS
        else char
        for char in text
    )
    return " ".join("".join(kept).split())


#: Characters that reorder the text around them; a label has no business with them.
_DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def number(value: float, digits: int) -> str:
    """Return a number with a fixed count of decimals, halves rounded away from zero.

    Parameters
    ----------
    value : float
        A finite number.
    digits : int
        Decimals, 0 or more.

    Raises
    ------
    ValueError
        If the value is not finite.
    """
    value = float(value)
    if not math.isfinite(value):
        raise ValueError(f"a number to print must be finite, not {value!r}")
    step = Decimal(1).scaleb(-digits)
    rounded = Decimal(repr(value)).quantize(step, rounding=ROUND_HALF_UP)
    return str(abs(rounded) if rounded == 0 else rounded).replace("-", "\u2212")


def percent_value(proportion: float, digits: int = FIGURE_DIGITS) -> str:
    """Return a proportion as a percentage without its sign: ``0.625`` gives ``63``.

    Raises
    ------
    ValueError
        If the proportion is not between 0 and 1.
    """
    value = float(proportion)
    if not -1e-12 <= value <= 1 + 1e-12:
        raise ValueError(f"a proportion must lie between 0 and 1, not {value!r}")
    # Twelve decimals of a percent: 0.145 * 100 is 14.5 again, so that the half rounds up.
    return number(round(min(max(value, 0.0), 1.0) * 100, 12), digits)


def pct(proportion: float | None, digits: int = FIGURE_DIGITS) -> str:
    """Return a proportion as a percentage: ``0.625`` gives ``63%``; None gives a dash."""
    if proportion is None:
        return MISSING
    return percent_value(proportion, digits) + "%"


def ci(
    low: float | None,
    high: float | None,
    digits: int = FIGURE_DIGITS,
    *,
    words: bool = False,
) -> str:
    """Return an interval of proportions as ``58-81%`` (en dash), or in words ``58% to 81%``.

    Parameters
    ----------
    low, high : float or None
        Limits as proportions. If either is None the result is a dash.
    digits : int
        Decimals of a percent.
    words : bool
        Use "to" with both percent signs: for running text and for screen readers.
    """
    if low is None or high is None:
        return MISSING
    if words:
        return f"{pct(low, digits)} to {pct(high, digits)}"
    return f"{percent_value(low, digits)}{EN_DASH}{pct(high, digits)}"


def count(n: int, singular: str, plural: str | None = None) -> str:
    """Return ``1 trial``, ``6 trials``."""
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def level(fit: Any) -> str:
    """Return the confidence level of a fit: ``95%``."""
    return f"{fit.level * 100:g}%"


def interval_word(fit: Any) -> str:
    """Return ``CI`` or, for a Bayesian fit, ``CrI``."""
    return "CrI" if fit.interval == "credible" else "CI"


def model_name(fit: Any) -> str:
    """Return a short name of model and interval: ``GLMM, profile likelihood, t(k-1)``."""
    model = MODEL_NAMES.get(fit.model, fit.model)
    interval = INTERVAL_NAMES.get(fit.interval, fit.interval).format(dash=EN_DASH)
    return f"{model}, {interval}"


def model_sentence(fit: Any) -> str:
    """Return the model and its interval as a clause for a caption."""
    model = MODEL_LONG_NAMES.get(fit.model, fit.model).format(transform=fit.transform, dash=EN_DASH)
    interval = INTERVAL_NAMES.get(fit.interval, fit.interval).format(dash=EN_DASH)
    if fit.interval == "credible":
        return f"{model}; {level(fit)} credible interval (CrI)"
    return f"{model}; {level(fit)} {interval_word(fit)}: {interval}"


def trial_labels(fit: Any) -> tuple[str, ...]:
    """Return one line of text per trial, ``Trial 1`` and so on where the fit has no labels."""
    k = len(fit.events)
    if fit.labels is None:
        return tuple(f"Trial {i + 1}" for i in range(k))
    return tuple(plain(label) for label in fit.labels)


def is_limit(fit: Any) -> bool:
    """Tell whether the estimate is a limit (no events anywhere, or events in every patient)."""
    return fit.estimate is not None and float(fit.estimate) in (0.0, 1.0)


def heterogeneity(fit: Any) -> str:
    """Return the heterogeneity of a fit in one clause, empty where the fit has none.

    tau is on the link scale (log odds for the logit).
    """
    if fit.tau2 is None or fit.estimate is None:
        return ""
    tau = f"\u03c4 = {number(math.sqrt(fit.tau2), 2)}"
    limits = getattr(fit, "tau2_ci", None)
    if limits is not None and limits[0] is not None:
        low = number(math.sqrt(max(limits[0], 0.0)), 2)
        high = (
            number(math.sqrt(limits[1]), 2)
            if limits[1] is not None and math.isfinite(limits[1])
            else "\u221e"
        )
        tau += f" ({low} to {high})"
    parts = [tau]
    if fit.i2 is not None:
        parts.append(f"I\u00b2 = {number(fit.i2, 0)}%")
    return ", ".join(parts)


def patients(fit: Any) -> int:
    """Return the number of patients in all trials of a fit."""
    return int(sum(int(n) for n in fit.total))


def finding(fit: Any, outcome: str, *, digits: int = FIGURE_DIGITS) -> str:
    """Return the result of a fit in one or two sentences with its numbers.

    Parameters
    ----------
    fit : Fit
        The pooled result.
    outcome : str
        Name of the outcome, with the population if wanted: "Complete response after ...".
    """
    outcome = plain(outcome)
    k, n = len(fit.events), patients(fit)
    basis = f"{count(k, 'trial')}, {count(n, 'patient')}"
    if fit.estimate is None:
        if k == 1:
            low, high = fit.study_ci_low[0], fit.study_ci_high[0]
            return (
                f"{outcome}: one trial, {int(fit.events[0])} of {count(n, 'patient')}, "
                f"{pct(fit.study_estimate[0], digits)} "
                f"({level(fit)} CI {ci(low, high, digits, words=True)}); not pooled."
            )
        return f"{outcome}: {basis}; no pooled estimate."
    if is_limit(fit):
        which = "no events" if fit.estimate == 0 else "an event in every patient"
        return (
            f"{outcome}: {which} ({basis}); "
            f"{level(fit)} limits {ci(fit.ci_low, fit.ci_high, digits, words=True)}."
        )
    text = (
        f"{outcome}: {pct(fit.estimate, digits)} "
        f"({level(fit)} {interval_word(fit)} {ci(fit.ci_low, fit.ci_high, digits, words=True)}; "
        f"{basis})."
    )
    if fit.pi_low is not None and fit.pi_high is not None:
        text += (
            f" In a new trial the percentage is expected between "
            f"{pct(fit.pi_low, digits)} and {pct(fit.pi_high, digits)} "
            f"({level(fit)} prediction interval)."
        )
    return text


def listing(items: Iterable[str]) -> str:
    """Join words as ``a, b and c``."""
    words = list(items)
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def p_value(p: float) -> str:
    """Return a p-value as ``p = 0.03``, ``p = 0.004`` or ``p < 0.001``.

    Two decimals from 0.1 on and three below, so that what is below 0.05 never prints as 0.05.

    Raises
    ------
    ValueError
        If it is not between 0 and 1.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"a p-value must lie between 0 and 1, not {p!r}")
    if p < 0.001:
        return "p < 0.001"
    return f"p = {number(p, 2 if p >= 0.0995 else 3)}"


def ratio(value: float) -> str:
    """Return a ratio with two significant digits: ``4.7``, ``0.51``, ``30``.

    Beyond 1,000 and below 0.001 only that is said; an infinite ratio is written as such.

    Raises
    ------
    ValueError
        If it is negative or not a number.
    """
    value = float(value)
    if not value >= 0:
        raise ValueError(f"a ratio must not be negative, not {value!r}")
    if value == math.inf:
        return "\u221e"
    if value > 1000:
        return "over 1,000"
    if value == 0:
        return "0"
    if value < 0.001:
        return "below 0.001"
    digits = 1 - math.floor(math.log10(value))
    if round(value, max(digits, 0)) >= 10 ** (2 - digits):  # 9.96 is 10, not 10.0
        digits -= 1
    return number(value, max(digits, 0))


def points(difference: float, digits: int = FIGURE_DIGITS) -> str:
    """Return a difference of proportions in percentage points with its sign: ``+31``.

    Raises
    ------
    ValueError
        If it is not between -1 and 1.
    """
    if not -1 - 1e-12 <= difference <= 1 + 1e-12:
        raise ValueError(
            f"a difference of proportions must lie between -1 and 1, not {difference!r}"
        )
    text = number(round(difference * 100, 12), digits)
    return text if text.startswith("\u2212") or float(text) == 0 else f"+{text}"
