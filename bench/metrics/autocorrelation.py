"""How values of a series resemble those before them, and what that costs in knowledge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.metrics.columns import Floats

ORDER = 3
"""Values back that noise is taken to depend on directly: one for a wander, more where white noise lies over it, which
hides it from the nearest neighbours."""
MOST_INFLATION = 40.0
"""That of a series which forgets a twentieth of its past with each value: of one that forgets nothing within its length
nothing can be told either way."""
_ROUNDS = 4


def group_means(values: Sequence[float], group: int) -> Floats:
    """Means of `group` values each in order, (len(values) // group,); what is left over at the end is left out."""
    whole = len(values) // group * group if group else 0
    return np.asarray(np.asarray(values[:whole], np.float64).reshape(-1, max(group, 1)).mean(axis=1))


@dataclass(frozen=True)
class Autoregression:
    """Of each series: a value is the sum of `coefficients` times those before it, the nearest first, and a draw."""

    coefficients: Floats
    """(..., ORDER)."""
    variance: Floats
    """Of a value, (...)."""
    long_run_variance: Floats
    """Of the mean of many values, times their number, (...); never below `variance`: noise is not taken to cancel
    itself."""

    @property
    def inflation(self) -> Floats:
        """How many times the variance of a mean is that of independent values."""
        return np.divide(
            self.long_run_variance, self.variance, out=np.ones_like(self.variance), where=self.variance > 0
        )


def autoregression(residuals: Floats, fitted: int) -> Autoregression:
    """Of each series, (..., n), by the equations of Yule and Walker.

    `fitted` is how many figures were fitted to the series before. Each takes the long-run variance over n off every
    autocovariance, which is put back.
    """
    n = residuals.shape[-1]
    lags = range(ORDER + 1)
    raw = np.stack([(residuals[..., lag:] * residuals[..., : n - lag]).sum(axis=-1) / n for lag in lags], axis=-1)
    long_run = raw[..., 0]
    distance = np.abs(np.subtract.outer(np.arange(ORDER), np.arange(ORDER)))
    ridge = 1e-9 * np.eye(ORDER)
    for _ in range(_ROUNDS):
        covariances = raw + (fitted / n * long_run)[..., None]
        scale = np.where(covariances[..., :1] > 0, covariances[..., :1], 1.0)
        correlations = covariances / scale
        matrix = correlations[..., distance] + ridge
        coefficients = np.linalg.solve(matrix, correlations[..., 1:, None])[..., 0]
        left = 1 - (coefficients * correlations[..., 1:]).sum(axis=-1)
        inflation = left / np.maximum(1 - coefficients.sum(axis=-1), 1e-3) ** 2
        long_run = covariances[..., 0] * np.clip(inflation, 1.0, MOST_INFLATION)
    return Autoregression(coefficients, covariances[..., 0], long_run)
