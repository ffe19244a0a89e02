"""Whether samples are of a distribution: the largest difference of cumulative share, in standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray

from bench.core.configs import resolve
from bench.workload.quantiles import QuantileTable

BOUND = 5.0
"""Standard errors that a true sample stays within: at fifty places of a hundred fields, all but one time in 300."""
_BETWEEN = (0.05, 0.25, 0.5, 0.75)


def places(table: QuantileTable, *, counts: bool = True) -> NDArray[np.float64]:
    """Values between those of `table`, one below them and one above; halves, where what is drawn are whole numbers."""
    listed = sorted(set(table.values))
    inner = [low * (high / low) ** part for low, high in pairwise(listed) for part in _BETWEEN]
    if counts:
        return np.unique([np.floor(value) + 0.5 for value in (listed[0] - 1, *listed, *inner)])
    return np.array(sorted([listed[0] * 0.999, *inner, listed[-1] * 1.001]))


def cumulative(table: QuantileTable, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of draws below each of `values`, none of which the table lists."""
    if table.interpolation == "steps":
        ranks = np.array([0.0, *table.ranks])
        return np.where(values > table.values[-1], 1.0, ranks[np.searchsorted(table.values, values)])
    scale = np.log if table.interpolation == "log" else np.asarray
    inner = np.interp(scale(values), scale(np.array(table.values)), table.ranks)
    return np.where(values < table.values[0], 0.0, np.where(values > table.values[-1], 1.0, inner))


def misfit(samples: ArrayLike, values: NDArray[np.float64], shares: NDArray[np.float64]) -> float:
    """How far the samples' share below each of `values` is from `shares`, the farthest, in standard errors."""
    ordered = np.sort(np.asarray(samples))
    found = np.searchsorted(ordered, values) / len(ordered)
    return float(np.max(np.abs(found - shares) / (np.sqrt(shares * (1 - shares) / len(ordered)) + 1 / len(ordered))))


def misfit_of_table(samples: ArrayLike, table: QuantileTable, *, counts: bool = True) -> float:
    at = places(table, counts=counts)
    return misfit(samples, at, cumulative(table, at))


def misfit_of_share(happened: Sequence[bool], share: float) -> float:
    found, n = float(np.mean(happened)), len(happened)
    return float(abs(found - share) / (np.sqrt(share * (1 - share) / n) + 1 / n))


def rewritten(folder: Path, name: str, **fields: Any) -> str:
    """The path of a copy of a profile with other fields; a key may name a field within a field by dots."""
    document = yaml.safe_load(resolve(name, "workloads").read_text())
    for key, value in fields.items():
        *parents, last = key.split(".")
        section = document
        for parent in parents:
            section = section[parent]
        section[last] = value
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)
