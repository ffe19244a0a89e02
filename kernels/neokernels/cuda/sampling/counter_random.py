"""The numbers of `neokernels.counter_random` inside a kernel: the same uniform ones to the last bit, and noise."""

from __future__ import annotations

import triton
import triton.language as tl

_GAMMA = tl.constexpr(0x9E3779B97F4A7C15)
_MIX_1 = tl.constexpr(0xBF58476D1CE4E5B9)
_MIX_2 = tl.constexpr(0x94D049BB133111EB)
_WRAP = tl.constexpr(1 << 64)


@triton.jit
def _mix(bits):
    """SplitMix64's finaliser on uint64."""
    bits = (bits ^ (bits >> 30)) * _MIX_1
    bits = (bits ^ (bits >> 27)) * _MIX_2
    return bits ^ (bits >> 31)


@triton.jit
def state_of(seed, position, PURPOSE: tl.constexpr):
    """Where the numbers of a row begin: once a row, and from there `uniform` by their index. seed, position int64."""
    own: tl.constexpr = (1 + PURPOSE) * _GAMMA % _WRAP
    return _mix(_mix(seed.to(tl.uint64) + own) + position.to(tl.uint64) * _GAMMA)


@triton.jit
def uniform(state, indices):
    """Numbers between 0, never reached, and 1, float32. indices int32 or int64, not negative."""
    bits = _mix(state + (indices.to(tl.uint64) + 1) * _GAMMA)
    return ((bits >> 11).to(tl.float32) + 0.5) * 1.1102230246251565e-16  # 2⁻⁵³


@triton.jit
def gumbel_noise(state, indices):
    """Standard Gumbel noise −log(−log(1 − u)), float32."""
    drawn = uniform(state, indices)
    # Triton has no log1p that its interpreter knows. The logarithm of a rounded 1 − u is right for that number; times u
    # over what was really subtracted (Kahan's trick) it is right for small u, the ones that win.
    rest = 1.0 - drawn
    exponential = tl.where(rest == 1.0, drawn, -tl.log(rest) * (drawn / (1.0 - rest)))
    return -tl.log(exponential)


SOURCES = (_mix, state_of, uniform, gumbel_noise)
