"""Drawing from a distribution that is known by its quantiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Interpolation = Literal["log", "linear", "steps"]


@dataclass(frozen=True)
class QuantileTable:
    """Values at ranks, joined by straight lines: in the value itself, or in its logarithm; or not joined at all.

    In `steps`, for small counts, a rank has the value of the next one listed. Ranks rise from 0 to 1 and values never
    fall. Below the first rank and above the last the value stays what it is there: nothing outside what was measured is
    made up.
    """

    ranks: tuple[float, ...]
    values: tuple[float, ...]
    interpolation: Interpolation = "log"

    @classmethod
    def of(cls, quantiles: Mapping[float, float], interpolation: Interpolation = "log") -> QuantileTable:
        """The table of a mapping from rank to value. Raises ValueError where it is not a distribution."""
        ranks, values = tuple(sorted(quantiles)), tuple(quantiles[rank] for rank in sorted(quantiles))
        if not ranks:
            raise ValueError("one quantile or more")
        if ranks[0] < 0 or ranks[-1] > 1:
            raise ValueError("ranks from 0 to 1")
        if any(high < low for low, high in pairwise(values)):
            raise ValueError("values that never fall as ranks rise")
        if values[0] < 0 or (interpolation == "log" and values[0] == 0):
            raise ValueError("values above 0" if interpolation == "log" else "values of 0 or more")
        return cls(ranks, values, interpolation)

    def at(self, ranks: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values at `ranks`, an array of the same shape."""
        values: NDArray[np.float64]
        if self.interpolation == "linear":
            values = np.interp(ranks, self.ranks, self.values)
        elif self.interpolation == "steps":
            values = np.array(self.values)[np.searchsorted(self.ranks, ranks).clip(max=len(self.values) - 1)]
        else:
            values = np.exp(np.interp(ranks, self.ranks, np.log(self.values)))
        return values

    def sample(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """`count` independent draws by inverse transform."""
        return self.at(rng.random(count))

    def sample_counts(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """`count` draws rounded to whole numbers, each at least 1."""
        whole = np.floor(self.sample(rng, count) + 0.5).astype(np.int64)
        return whole.clip(min=1)
