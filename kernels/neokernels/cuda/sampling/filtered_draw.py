"""A token of each row, drawn from those that top-k and top-p keep, without sorting: a threshold is searched for.

Both filters keep every token that few enough are likelier than: fewer than k, or such that together have less than p.
So each has a least logit it keeps. Among floats as integers of the same order it is found by asking, three at a time,
how much lies above a logit between those it is known to be between: exactly, in no more than seventeen rounds.

One program a row searches its `candidates`, a few hundred that stay in the first-level cache, and draws from those it
keeps; what that takes is the latency of the rounds. A row so flat that its candidates are not gathered, as of a model
with random weights, is read anew in every round instead, by the one program: the rare case is not the fast one. The
more logits are looked at together, the config's `searched`, the faster is such a row and the slower any other; 2048
take 64 registers a thread, two programs fit a multiprocessor, and 256 rows are one wave.

What is kept is what `neokernels.logit_filters` keeps, but for rounding: masses are sums of float32 in an order that the
schedule fixes, so that a token may be on the other side of top-p if what is likelier has p to the last digits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels.counter_random import Purpose
from neokernels.cuda.sampling.best_token import NOTHING, keyed, ordered, token_of
from neokernels.cuda.sampling.candidates import SOURCES as CANDIDATES_SOURCES
from neokernels.cuda.sampling.candidates import cut_of, gathered, largest_of, mass
from neokernels.cuda.sampling.counter_random import gumbel_noise, state_of
from neokernels.logit_filters import Filters
from neokernels.tuning.space import Config

_WARPS = 16


@triton.jit
def scaled(logits, temperature):
    # Rounded as torch rounds it: what ties in the reference ties here.
    return tl.div_rn(logits, temperature)


@triton.jit
def _number_of(order):
    """The float32 that `ordered` gives an integer for."""
    bits = order.to(tl.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def _some(logits_ptr, start, count, BLOCK: tl.constexpr):
    at = start + tl.arange(0, BLOCK)
    return tl.load(logits_ptr + at, at < count, other=-float("inf"))


@triton.jit
def _weight(logits, largest, temperature, BY_MASS: tl.constexpr):
    return mass(logits, largest, temperature) if BY_MASS else 1.0


@triton.jit
def _least_kept(logits_ptr, count, low, largest, temperature, limit, BY_MASS: tl.constexpr, BLOCK: tl.constexpr):
    """The smallest logit above `low` that tokens of less than `limit` are above: by their mass, or by their number."""
    below, high = ordered(low).to(tl.int64), ordered(largest).to(tl.int64)
    while high - below > 1:
        part = tl.maximum((high - below) // 4, 1)
        first = below + part
        second = tl.minimum(first + part, high)
        third = tl.minimum(second + part, high)
        above_first = tl.zeros([BLOCK], tl.float32)
        above_second = tl.zeros([BLOCK], tl.float32)
        above_third = tl.zeros([BLOCK], tl.float32)
        for start in range(0, count, BLOCK):
            logits = _some(logits_ptr, start, count, BLOCK)
            weight = _weight(logits, largest, temperature, BY_MASS)
            above_first += tl.where(logits > _number_of(first), weight, 0.0)
            above_second += tl.where(logits > _number_of(second), weight, 0.0)
            above_third += tl.where(logits > _number_of(third), weight, 0.0)
        by_first = tl.sum(above_first) < limit
        by_second = tl.sum(above_second) < limit
        by_third = tl.sum(above_third) < limit
        high = tl.where(by_first, first, tl.where(by_second, second, tl.where(by_third, third, high)))
        below = tl.where(by_first, below, tl.where(by_second, first, tl.where(by_third, second, third)))
    return _number_of(high)


@triton.jit
def _mass_from(logits_ptr, count, threshold, largest, temperature, BLOCK: tl.constexpr):
    """Of the tokens that are `threshold` or above."""
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, count, BLOCK):
        logits = _some(logits_ptr, start, count, BLOCK)
        total += tl.where(logits >= threshold, mass(logits, largest, temperature), 0.0)
    return tl.sum(total)


@triton.jit
def _choose_kernel(
    logits_ptr,
    temperatures_ptr,
    maxima_ptr,
    counts_ptr,
    masses_ptr,
    top_k_ptr,
    top_p_ptr,
    min_p_ptr,
    gathered_ptr,
    tokens_ptr,
    seeds_ptr,
    positions_ptr,
    out_ptr,
    vocabulary,
    stride,
    splits,
    capacity,
    BLOCK: tl.constexpr,
    SPLITS: tl.constexpr,
    PURPOSE: tl.constexpr,
    WAITS: tl.constexpr,
):
    if WAITS:
        tl.extra.cuda.gdc_wait()
    row = tl.program_id(0).to(tl.int64)
    largest, temperature = largest_of(maxima_ptr, row, splits, SPLITS), tl.load(temperatures_ptr + row)
    cut, counts, whole = cut_of(
        largest, temperature, counts_ptr, masses_ptr, top_k_ptr, top_p_ptr, row, splits, vocabulary, SPLITS
    )
    count = tl.sum(counts)
    listed = count
    searched_ptr = gathered_ptr + row * capacity
    if count > capacity:
        searched_ptr = logits_ptr + row * stride
        count = vocabulary
        listed = 0
    threshold = cut
    if top_k_ptr is not None:
        top_k = tl.load(top_k_ptr + row)
        threshold = _least_kept(searched_ptr, count, cut, largest, temperature, top_k, False, BLOCK)
        if top_p_ptr is not None:
            kept = _mass_from(searched_ptr, count, threshold, largest, temperature, BLOCK)
            whole = tl.where(top_k < vocabulary, kept, whole)
    if top_p_ptr is not None:
        limit = tl.load(top_p_ptr + row) * whole
        by_mass = _least_kept(searched_ptr, count, cut, largest, temperature, limit, True, BLOCK)
        threshold = tl.maximum(threshold, by_mass)
    least = scaled(threshold, temperature)
    if min_p_ptr is not None:
        least = tl.maximum(least, scaled(largest, temperature) + tl.log(tl.load(min_p_ptr + row)))
    state = state_of(tl.load(seeds_ptr + row), tl.load(positions_ptr + row), PURPOSE)
    best = tl.full([BLOCK], NOTHING, tl.int64)
    for start in range(0, count, BLOCK):
        at = start + tl.arange(0, BLOCK)
        values = scaled(_some(searched_ptr, start, count, BLOCK), temperature)
        token = tl.where(at < listed, tl.load(tokens_ptr + row * capacity + at, at < listed, other=0), at)
        keys = keyed(values + gumbel_noise(state, token), token)
        best = tl.maximum(best, tl.where((values >= least) & (at < count), keys, NOTHING))
    tl.store(out_ptr + row, token_of(tl.max(best)))
    if WAITS:
        tl.extra.cuda.gdc_launch_dependents()


def filtered_draw(
    logits: Tensor,
    temperatures: Tensor,
    seeds: Tensor,
    positions: Tensor,
    filters: Filters,
    purpose: Purpose,
    config: Config,
) -> Tensor:
    """As `neokernels.sampling.sample_reference`, with top-k or top-p or both; rows of `logits` are contiguous."""
    candidates = gathered(logits, temperatures, filters, config)
    rows, vocabulary = logits.shape
    splits, capacity = candidates.maxima.shape[1], candidates.logits.shape[1]
    out = torch.empty(rows, dtype=torch.int64, device=logits.device)
    _choose_kernel[(rows,)](
        logits,
        temperatures,
        candidates.maxima,
        candidates.counts,
        candidates.masses,
        filters.top_k,
        filters.top_p,
        filters.min_p,
        candidates.logits,
        candidates.tokens,
        seeds,
        positions,
        out,
        vocabulary,
        logits.stride(0),
        splits,
        capacity,
        BLOCK=min(config.number("searched"), triton.next_power_of_2(capacity)),
        SPLITS=triton.next_power_of_2(splits),
        PURPOSE=int(purpose),
        WAITS=config.waits,
        **{**config.options, "num_warps": _WARPS},
    )
    return out


SOURCES = (scaled, _number_of, _some, _weight, _least_kept, _mass_from, _choose_kernel, *CANDIDATES_SOURCES)
