"""The tokens that top-k or top-p may keep, side by side: few, where logits are as peaked as a trained model's.

    1. `_likeliest`   the largest logit of each part of the vocabulary
    2. `_tally`       how many tokens of each part lie above a few depths below the row's largest, and their mass
    3. `_gather`      the tokens above the highest of these depths that is low enough for sure

Each is split over as many programs as the device can use and reads the logits once, at the speed of memory: that is the
bound. Every program of the third sums the tallies for itself, finds the depth, and knows where its tokens go, so that
they come in order and no counter has to be reset.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels.logit_filters import Filters
from neokernels.tuning.space import Config

_DEPTHS = tl.constexpr(8)
MOST = 16384
"""A row that has more candidates is not gathered: what comes next reads the row itself."""


@triton.jit
def largest_of(maxima_ptr, row, splits, SPLITS: tl.constexpr):
    """The largest logit of a row, from those of its parts."""
    split = tl.arange(0, SPLITS)
    return tl.max(tl.load(maxima_ptr + row * splits + split, split < splits, other=-float("inf")))


@triton.jit
def mass(logits, largest, temperature):
    """exp((logit − largest) / temperature): in units of the likeliest token's probability."""
    return tl.exp2((logits - largest) * (1.4426950408889634 / temperature))


@triton.jit
def _likeliest_kernel(logits_ptr, maxima_ptr, vocabulary, stride, splits, BLOCK: tl.constexpr, WAITS: tl.constexpr):
    if WAITS:
        tl.extra.cuda.gdc_wait()
    row, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    token = split * BLOCK + tl.arange(0, BLOCK)
    logits = tl.load(logits_ptr + row * stride + token, token < vocabulary, other=-float("inf"))
    tl.store(maxima_ptr + row * splits + split, tl.max(logits))
    if WAITS:
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit
def _pivots(largest, temperature, top_k_ptr):
    """Logits at growing depths below the largest, ¾ to 21, and −∞.

    A number of tokens is as deep as logits are far apart, a share of the mass as deep as they are at the temperature.
    """
    place = tl.arange(0, _DEPTHS)
    depth = tl.where(place == _DEPTHS - 1, float("inf"), 0.375 * (place + 1) * (place + 2))
    if top_k_ptr is None:
        depth = depth * temperature
    return largest - depth


@triton.jit
def _tally_kernel(
    logits_ptr,
    temperatures_ptr,
    maxima_ptr,
    counts_ptr,
    masses_ptr,
    top_k_ptr,
    vocabulary,
    stride,
    splits,
    BLOCK: tl.constexpr,
    SPLITS: tl.constexpr,
    WAITS: tl.constexpr,
):
    if WAITS:
        tl.extra.cuda.gdc_wait()
    row, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    token = split * BLOCK + tl.arange(0, BLOCK)
    logits = tl.load(logits_ptr + row * stride + token, token < vocabulary, other=-float("inf"))
    temperature = tl.load(temperatures_ptr + row)
    largest = largest_of(maxima_ptr, row, splits, SPLITS)
    above = logits[:, None] > _pivots(largest, temperature, top_k_ptr)[None, :]
    at = (row * splits + split) * _DEPTHS + tl.arange(0, _DEPTHS)
    tl.store(counts_ptr + at, tl.sum(above.to(tl.int32), 0))
    if masses_ptr is not None:
        masses = mass(logits, largest, temperature)
        tl.store(masses_ptr + at, tl.sum(tl.where(above, masses[:, None], 0.0), 0))
    if WAITS:
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit
def cut_of(
    largest,
    temperature,
    counts_ptr,
    masses_ptr,
    top_k_ptr,
    top_p_ptr,
    row,
    splits,
    vocabulary,
    SPLITS: tl.constexpr,
):
    """The logit that all tokens to keep are above, how many of each part are, and the mass of the whole row.

    Where top-k drops anything the cut is by it alone: what top-p then takes for the whole is known only once the k-th
    token is.
    """
    split, depth = tl.arange(0, SPLITS), tl.arange(0, _DEPTHS)
    at = (row * splits + split[:, None]) * _DEPTHS + depth[None, :]
    counts = tl.load(counts_ptr + at, split[:, None] < splits, other=0)
    enough = depth == _DEPTHS - 1
    whole = 0.0
    if masses_ptr is not None:
        masses = tl.sum(tl.load(masses_ptr + at, split[:, None] < splits, other=0.0), 0)
        whole = tl.sum(tl.where(depth == _DEPTHS - 1, masses, 0.0))
        enough |= masses >= tl.load(top_p_ptr + row) * whole
    if top_k_ptr is not None:
        top_k = tl.load(top_k_ptr + row)
        by_count = (tl.sum(counts, 0) >= top_k) | (depth == _DEPTHS - 1)
        enough = tl.where(top_k < vocabulary, by_count, enough)
    chosen = tl.min(tl.where(enough, depth, _DEPTHS - 1))
    cut = tl.sum(tl.where(depth == chosen, _pivots(largest, temperature, top_k_ptr), 0.0))
    return cut, tl.sum(tl.where(depth[None, :] == chosen, counts, 0), 1), whole


@triton.jit
def _gather_kernel(
    logits_ptr,
    temperatures_ptr,
    maxima_ptr,
    counts_ptr,
    masses_ptr,
    top_k_ptr,
    top_p_ptr,
    gathered_ptr,
    tokens_ptr,
    vocabulary,
    stride,
    splits,
    capacity,
    BLOCK: tl.constexpr,
    SPLITS: tl.constexpr,
    WAITS: tl.constexpr,
):
    if WAITS:
        tl.extra.cuda.gdc_wait()
    row, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    largest, temperature = largest_of(maxima_ptr, row, splits, SPLITS), tl.load(temperatures_ptr + row)
    cut, counts, _ = cut_of(
        largest, temperature, counts_ptr, masses_ptr, top_k_ptr, top_p_ptr, row, splits, vocabulary, SPLITS
    )
    before = tl.sum(tl.where(tl.arange(0, SPLITS) < split, counts, 0))
    own = tl.sum(tl.where(tl.arange(0, SPLITS) == split, counts, 0))
    if (own > 0) & (tl.sum(counts) <= capacity):
        token = split * BLOCK + tl.arange(0, BLOCK)
        logits = tl.load(logits_ptr + row * stride + token, token < vocabulary, other=-float("inf"))
        above = logits > cut
        at = row * capacity + before + tl.cumsum(above.to(tl.int32)) - 1
        tl.store(gathered_ptr + at, logits, above)
        tl.store(tokens_ptr + at, token, above)
    if WAITS:
        tl.extra.cuda.gdc_launch_dependents()


@dataclass(frozen=True, slots=True)
class Candidates:
    """Of R rows, with what `cut_of` needs to find where they end."""

    maxima: Tensor
    """[R, splits] float32: the largest logits of each row's parts."""
    counts: Tensor
    """[R, splits, depths] int32."""
    masses: Tensor | None
    """[R, splits, depths] float32; only for top-p."""
    logits: Tensor
    """[R, capacity] float32."""
    tokens: Tensor
    """[R, capacity] int32, ascending."""


def part_maxima(logits: Tensor, config: Config) -> Tensor:
    """The largest logit of each part of the rows, [R, splits] float32."""
    rows, vocabulary = logits.shape
    maxima = logits.new_empty(rows, triton.cdiv(vocabulary, config.number("BLOCK")))
    _likeliest_kernel[maxima.shape](
        logits,
        maxima,
        vocabulary,
        logits.stride(0),
        maxima.shape[1],
        WAITS=config.waits,
        **config.constants,
        **config.options,
    )
    return maxima


def gathered(logits: Tensor, temperatures: Tensor, filters: Filters, config: Config) -> Candidates:
    """Candidates of the rows of `logits` [R, V] float32 for top-k or top-p or both."""
    rows, vocabulary = logits.shape
    capacity = min(vocabulary, MOST)
    maxima = part_maxima(logits, config)
    splits = maxima.shape[1]
    tallied = (rows, splits, _DEPTHS.value)
    counts = torch.empty(tallied, dtype=torch.int32, device=logits.device)
    masses = None if filters.top_p is None else logits.new_empty(tallied)
    out = Candidates(
        maxima,
        counts,
        masses,
        logits=logits.new_empty(rows, capacity),
        tokens=torch.empty(rows, capacity, dtype=torch.int32, device=logits.device),
    )
    tallies = (logits, temperatures, maxima, counts, masses, filters.top_k)
    sizes = (vocabulary, logits.stride(0), splits)
    launch = {"SPLITS": triton.next_power_of_2(splits), "WAITS": config.waits, **config.constants, **config.options}
    _tally_kernel[rows, splits](*tallies, *sizes, **launch)
    _gather_kernel[rows, splits](*tallies, filters.top_p, out.logits, out.tokens, *sizes, capacity, **launch)
    return out


SOURCES = (largest_of, mass, _pivots, cut_of, _likeliest_kernel, _tally_kernel, _gather_kernel)
