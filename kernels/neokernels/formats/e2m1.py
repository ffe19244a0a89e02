"""The 4-bit floating-point element of MXFP4 and NVFP4, two to a byte.

A code is sign · 8 + magnitude; the magnitudes 0..7 stand for 0, ½, 1, 1½, 2, 3, 4, 6. There is no NaN and no infinity.
Source: OCP Microscaling Formats (MX) Specification v1.0 (2023) §5.3.3. The element of the lower column lies in the low
half of its byte, as in the tensors of gpt-oss and in torch.float4_e2m1fn_x2.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import embedding

MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
LARGEST = MAGNITUDES[-1]


def pack(x: Tensor) -> Tensor:
    """x [..., K] float32, K even; returns [..., K/2] uint8. To nearest, ties to even codes; beyond ±6 it is ±6."""
    halfway = torch.tensor([(low + high) / 2 for low, high in pairwise(MAGNITUDES)], device=x.device)
    # A tie goes down to the lower code; below an odd one the boundary is moved so that it goes up.
    halfway[1::2] = halfway[1::2].nextafter(halfway.new_zeros(()))
    codes = torch.bucketize(x.abs(), halfway, out_int32=True).to(torch.uint8)
    codes += x.signbit().to(torch.uint8) * 8
    return codes[..., ::2] | codes[..., 1::2] << 4


def unpack(packed: Tensor, dtype: torch.dtype) -> Tensor:
    """packed [..., K/2] uint8; returns [..., K], exact in every floating dtype."""
    values = torch.tensor((*MAGNITUDES, *(-magnitude for magnitude in MAGNITUDES)), dtype=dtype, device=packed.device)
    pairs = torch.stack((values.repeat(16), values.repeat_interleave(16)), -1)
    return embedding(packed.int(), pairs).flatten(-2)
