"""How much neighbours of a series resemble one another, and what that costs in knowledge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.metrics.columns import Floats

MOST = 0.95
"""A series that seems to forget nothing within its length tells nothing of its level either way."""


def group_means(values: Sequence[float], group: int) -> Floats:
    """Means of `group` values each in order, (len(values) // group,); what is left over at the end is left out."""
    whole = len(values) // group * group if group else 0
    return np.asarray(values[:whole], np.float64).reshape(-1, max(group, 1)).mean(axis=1)


def lag_one(residuals: Floats, fitted: int) -> Floats:
    """Autocorrelation at lag 1 of each series, (..., n) to (...), never below 0: noise is not taken to cancel itself.

    `fitted` is how many figures were fitted to the series before. Each takes about (1 + 3ρ)/n off what is left, which
    is put back (for a mean: Kendall 1954, Biometrika 41, 403).
    """
    n = residuals.shape[-1]
    power = (residuals**2).sum(axis=-1)
    products = (residuals[..., 1:] * residuals[..., :-1]).sum(axis=-1)
    raw = np.divide(products, power, out=np.zeros_like(power), where=power > 0)
    return np.clip((raw * n + fitted) / (n - 3 * fitted), 0.0, MOST)


def variance_inflation(rho: Floats) -> Floats:
    """How many times the variance of a mean of a first-order autoregression is that of independent values."""
    return (1 + rho) / (1 - rho)
