"""Distributions from scipy, which is imported when they are needed: no first turn waits for it."""

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


def f_quantile(numerator: float, denominator: float, p: float) -> float:
    """Of the F-distribution with so many degrees of freedom above and below."""
    from scipy.special import fdtri

    return float(fdtri(numerator, denominator, p))


def gamma_quantile(shape: float, p: float) -> float:
    """Of the gamma distribution with this shape and scale 1."""
    from scipy.special import gammaincinv

    return float(gammaincinv(shape, p))
