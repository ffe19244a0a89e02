"""The normal and the t-distribution, from scipy, which is imported when they are needed: no first turn waits for it."""

from __future__ import annotations


def normal_cdf(x: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(x))


def normal_quantile(p: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(p))


def t_quantile(degrees: float, p: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, p))
