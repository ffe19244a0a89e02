"""Random numbers that are a pure function of seed, position, purpose and index: no state, and no company.

Index i of a purpose is output i + 1 of SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195) from a state
that seed, position and purpose alone decide, so what a request draws does not depend on who shares its batch, nor on
how often anything was drawn before.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor


class Purpose(IntEnum):
    """What is drawn at a position. Draws of different purposes are independent."""

    TOKEN = 0
    """The token itself, be it in the place of a guess that was not taken."""
    DRAFT = 1
    """A draft model's guess at it, where that must not be the draw of the token."""
    ACCEPTANCE = 2
    """Whether the guess is taken."""


_CACHED, _KEPT = 1 << 17, 1 << 24
"""Numbers made at once: on a CPU as many as its caches hold, elsewhere as many as leave memory for the rest."""


def gumbel_noise(seeds: Tensor, positions: Tensor, indices: Tensor, purpose: Purpose = Purpose.TOKEN) -> Tensor:
    """Standard Gumbel noise −log(−log(1 − u)), [R, C] float32.

    seeds, positions [R] int64; indices [C] or [R, C] int64.
    """
    count, width = len(seeds), indices.shape[-1]
    noise = torch.empty(count, width, device=seeds.device)
    rows = max(1, (_CACHED if seeds.device.type == "cpu" else _KEPT) // width)
    for part in (slice(start, start + rows) for start in range(0, count, rows)):
        drawn = uniform(seeds[part], positions[part], indices if indices.dim() == 1 else indices[part], purpose)
        # Small u, the ones that win, keep the relative precision of float32; a u that rounds to 1 only loses for
        # certain what it had lost anyway.
        torch.neg(drawn.neg_().log1p_().neg_().log_(), out=noise[part])
    return noise


def uniform(seeds: Tensor, positions: Tensor, indices: Tensor, purpose: Purpose) -> Tensor:
    """Numbers between 0, never reached, and 1, [R, C] float32. Arguments as in `gumbel_noise`."""
    state = _mix(_mix(seeds + _signed((1 + purpose) * _GAMMA % (1 << 64))) + positions * _GAMMA)
    bits = _mix(state[:, None] + (indices + 1) * _GAMMA)
    # Half a unit keeps it above 0, where the Gumbel noise would be infinite.
    return _shift(bits, 11).float().add_(0.5).mul_(2.0**-53)


def _signed(value: int) -> int:
    """The int64 with the bits of a 64-bit unsigned constant."""
    return value - (1 << 64) if value >> 63 else value


_GAMMA = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _mix(bits: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64, whose products wrap as the unsigned ones do. Works in place.

    For a vocabulary of usual size a tensor beside `bits` costs more to get from the system than to fill.
    """
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        bits ^= _shift(bits, shift)
        bits *= factor
    bits ^= _shift(bits, 31)
    return bits


def _shift(bits: Tensor, count: int) -> Tensor:
    """Logical right shift of int64."""
    return (bits >> count).bitwise_and_((1 << (64 - count)) - 1)
