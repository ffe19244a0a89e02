"""Endless draws of one field of a profile, each field from a generator of its own.

Drawn from one generator, how many draws one field takes would change every other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bench.workload.quantiles import QuantileTable

_AT_ONCE = 512


def values(table: QuantileTable, rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from table.sample(rng, _AT_ONCE).tolist()


def counts(table: QuantileTable, rng: np.random.Generator) -> Iterator[int]:
    """Whole numbers, each at least 1."""
    while True:
        yield from table.sample_counts(rng, _AT_ONCE).tolist()


def at_most(limit: int | None, draws: Iterator[int]) -> Iterator[int]:
    """`draws`, those above `limit` as that."""
    return draws if limit is None else (min(draw, limit) for draw in draws)


def chances(share: float, rng: np.random.Generator) -> Iterator[bool]:
    """True in this share of draws."""
    while True:
        yield from (rng.random(_AT_ONCE) < share).tolist()


def choices(shares: Sequence[float], rng: np.random.Generator) -> Iterator[int]:
    """Places in `shares`, each as often as its part of their sum."""
    weights = np.array(shares) / sum(shares)
    while True:
        yield from rng.choice(len(shares), size=_AT_ONCE, p=weights).tolist()
