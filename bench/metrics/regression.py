"""Least squares on cells in the order of time, and what sums of its terms may be wrong by.

Neighbours resemble one another, so the error is that of a jackknife that leaves out one block of consecutive cells at a
time (Kunsch 1989, The Annals of Statistics 17, 1217), with the width of a t-interval on as many blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.metrics.columns import Floats
from bench.metrics.distributions import t_quantile
from bench.metrics.statistics import block_length

MAX_CONDITION = 1e3
"""Of the regressors, each scaled to length 1. Beyond it they go together, and what comes out depends on rounding."""


@dataclass(frozen=True)
class Sums:
    """Sums of terms of a regression."""

    values: Floats
    """(sums,)"""
    half_widths: Floats
    """Of their intervals, (sums,)."""
    total_half_width: float
    """Of the interval of all of them together."""


def fitted(regressors: Floats, amounts: Floats) -> Floats | None:
    """Coefficients (k,) of `regressors`, (cells, k), that come closest to `amounts`, (cells,).

    None where the regressors cannot be told apart.
    """
    lengths = np.sqrt((regressors**2).sum(axis=0))
    if len(amounts) < len(lengths) or not (lengths > 0).all():
        return None
    scaled = regressors / lengths
    if np.linalg.cond(scaled) > MAX_CONDITION:
        return None
    coefficients, *_ = np.linalg.lstsq(scaled, amounts, rcond=None)
    return np.asarray(coefficients / lengths, dtype=np.float64)


def sums_of_terms(regressors: Floats, amounts: Floats, weights: Floats, level: float) -> Sums | None:
    """`weights`, (sums, k), times the coefficients of a fit; None where that or its error cannot be told."""
    cells = len(amounts)
    coefficients = fitted(regressors, amounts)
    block = block_length(cells)
    begins = range(0, cells, block)
    if coefficients is None or len(begins) < 2:
        return None
    without = []
    for begin in begins:
        kept = np.ones(cells, dtype=np.bool_)
        kept[begin : begin + block] = False
        refitted = fitted(regressors[kept], amounts[kept])
        if refitted is None:
            return None
        without.append(weights @ refitted)
    left_out = np.array(without)
    t = -t_quantile(len(begins) - 1, (1 - level) / 2)
    return Sums(
        values=weights @ coefficients,
        half_widths=np.array([t * _standard_error(one) for one in left_out.T]),
        total_half_width=t * _standard_error(left_out.sum(axis=1)),
    )


def _standard_error(left_out: Floats) -> float:
    """Of an estimate, from what it is without each block, (blocks,)."""
    blocks = len(left_out)
    mean = math.fsum(left_out) / blocks
    return math.sqrt((blocks - 1) / blocks * math.fsum((left_out - mean) ** 2))
