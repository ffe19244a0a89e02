"""The ratio of two rates that were measured in turns, and how certain it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_LEVEL = 0.95


@dataclass(frozen=True)
class Ratio:
    """With the 95 % interval of its mean."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def paired_ratio(over: Sequence[float], under: Sequence[float]) -> Ratio:
    """The geometric mean of the rounds' ratios, with Student's interval of their logarithms.

    What slowed a round slowed both of its rates, and is in neither. One round has an interval without ends. Raises
    ValueError for no rounds, for sequences that differ in length and for rates that are not positive.
    """
    if not over or len(over) != len(under) or min(*over, *under) <= 0:
        raise ValueError("as many positive rates on both sides, and one or more")
    logs = np.log(over) - np.log(under)
    mean = float(logs.mean())
    if len(logs) == 1:
        return Ratio(math.exp(mean), 0.0, math.inf)
    reach = stats.t.ppf((1 + _LEVEL) / 2, len(logs) - 1) * stats.sem(logs)
    return Ratio(*(math.exp(log) for log in (mean, mean - reach, mean + reach)))
