"""Quantiles and tail areas used by every model (thin names over scipy.special)."""

from __future__ import annotations

from scipy.special import chdtrc, chdtri, ndtr, ndtri, stdtr, stdtrit

__all__ = ["boundary_p", "chi2_isf", "chi2_sf", "normal_p", "t_p", "t_quantile", "z_quantile"]


def z_quantile(level: float) -> float:
    """Two-sided standard normal quantile: 1.96 for ``level=0.95``."""
    return float(-ndtri(0.5 * (1.0 - level)))


def t_quantile(level: float, df: float) -> float:
    """Two-sided Student t quantile with ``df`` degrees of freedom."""
    return float(-stdtrit(df, 0.5 * (1.0 - level)))


def chi2_sf(value: float, df: float) -> float:
    """Upper tail area of chi-square."""
    return float(chdtrc(df, max(float(value), 0.0)))


def chi2_isf(area: float, df: float) -> float:
    """Value with the given upper tail area of chi-square."""
    return float(chdtri(df, area))


def boundary_p(lrt: float) -> float:
    """P-value of a likelihood ratio with the parameter on the boundary under the null.

    Half a point mass at 0, half chi-square with 1 degree of freedom (Self and Liang 1987,
    doi:10.1080/01621459.1987.10478472). At ``lrt = 0`` it is 1, the probability of a value at
    least as large as 0.
    """
    return 1.0 if lrt <= 0.0 else 0.5 * chi2_sf(lrt, 1)


def normal_p(z: float) -> float:
    """Two-sided normal p-value."""
    return float(2.0 * ndtr(-abs(z)))


def t_p(t: float, df: float) -> float:
    """Two-sided Student t p-value."""
    return float(2.0 * stdtr(df, -abs(t)))
