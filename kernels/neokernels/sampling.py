"""The next token of each request: the most likely one, or one drawn at a temperature.

token = argmax_v( logits_v / temperature + g_v ),  g_v = −log(−log(1 − u_v)),  u_v uniform in (0, 1)

draws v with probability softmax(logits / temperature)_v (the Gumbel-max trick; Maddison, Tarlow & Minka 2014,
arXiv:1411.0030). u_v is output v + 1 of SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195) from a state
that depends on seed and position alone, so what a request is given does not depend on who shares its batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neokernels.registry import Implementation, Operation


def _signed(value: int) -> int:
    """The int64 with the bits of a 64-bit unsigned constant."""
    return value - (1 << 64) if value >> 63 else value


_GAMMA = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def sample_reference(logits: Tensor, temperatures: Tensor, seeds: Tensor, positions: Tensor) -> Tensor:
    """One token id for each request, [R] int64.

    logits [R, V] float32; temperatures [R] float32, 0 is greedy; seeds [R] int64; positions [R] int64, the position of
    the token that is drawn. Ties go to the lowest id.
    """
    tokens = logits.argmax(-1)
    drawn = temperatures.nonzero().squeeze(-1)
    if len(drawn):
        noise = gumbel_noise(seeds[drawn], positions[drawn], logits.shape[1])
        tokens[drawn] = noise.add_(logits[drawn] / temperatures[drawn, None]).argmax(-1)
    return tokens


sample = Operation("sample", Implementation("reference", sample_reference))


def gumbel_noise(seeds: Tensor, positions: Tensor, vocabulary: int) -> Tensor:
    """Standard Gumbel noise, [R, vocabulary] float32: a pure function of seed, position and vocabulary index."""
    state = _mix(_mix(seeds + _GAMMA) + positions * _GAMMA)
    counter = torch.arange(1, vocabulary + 1, device=seeds.device) * _GAMMA
    bits = _mix(state[:, None] + counter)
    # Half a unit keeps u above 0, where the noise would be infinite. Small u, the ones that win, keep the relative
    # precision of float32; a u that rounds to 1 only loses for certain what it had lost anyway.
    uniform = _shift(bits, 11).float().add_(0.5).mul_(2.0**-53)
    return uniform.neg_().log1p_().neg_().log_().neg_()


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
