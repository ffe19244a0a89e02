"""4-bit weights as GPU kernels read them: panels of 128 inputs, each with its scales, one after the other.

A tile of a panel, any outputs by 128 inputs, is one run of memory, and so are its scales. Eight elements are a word of
32 bits. Of each pair of neighbours one has its bits in the word's low half and one, at the same places, in its high
half, where tensor cores want them. A bfloat16 has the bits of a magnitude in its two low exponent bits and its highest
mantissa bit; in three pairs sign and magnitude lie as far apart as there, so that one shift and one mask make them. The
fourth has the bits that those leave.

Both formats have one scale for the whole matrix here, so that every product of element and block scale is exact in
bfloat16 and in float16: 2⁷ S for NVFP4, whose products reach 2688; for MXFP4 the power of two that makes 2 of the
largest block scale. Block scales of MXFP4 more than 2¹²⁸ below that are taken for 2⁻¹²⁷.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from neokernels.formats import e2m1, nvfp4
from neokernels.formats.mxfp4 import Mxfp4Weight
from neokernels.formats.nvfp4 import Nvfp4Weight

PANEL = 128
ROWS = 128
"""Outputs are filled up to this with zeros: no tile of a panel ends early."""
SHRUNK = 7
"""A product of an e2m1 and an e4m3 is divided by 2⁷ where it is decoded: 6 · 448 / 2⁷ is 21."""
_BITS = ((6, 7, 8, 15), (3, 4, 5, 12), (0, 1, 2, 9), (10, 11, 13, 14))
"""Of each pair: where in a half its element's bits lie, from the lowest to the sign."""
_LARGEST_EXPONENT = 1
_BIAS = 127


@dataclass(frozen=True, slots=True)
class Fp4Panels:
    words: Tensor
    """[..., P, R, 16] int32: P panels, R rows of which `outputs` count."""
    scales: Tensor
    """[..., P, R, 128 / block] uint8: the bits of e8m0 or e4m3."""
    tensor_scale: Tensor
    """[...] float32."""
    outputs: int
    columns: int

    @property
    def block(self) -> int:
        """Elements a scale has: 32 in MXFP4, 16 in NVFP4."""
        return PANEL // self.scales.shape[-1]

    @property
    def nbytes(self) -> int:
        return self.words.nbytes + self.scales.nbytes + self.tensor_scale.nbytes


def of_mxfp4(weight: Mxfp4Weight) -> Fp4Panels:
    """A weight, or several stacked, without its values being changed."""
    exponents = weight.scales.view(torch.uint8).int() - _BIAS
    down = exponents.amax((-2, -1), keepdim=True) - _LARGEST_EXPONENT
    scales = (exponents - down + _BIAS).clamp_min(0).to(torch.uint8)
    # In float64, where it is exact; float32 has all of them, the smallest as subnormals.
    return _panels(weight.codes, scales, torch.exp2(down.double()).float(), weight.columns)


def of_nvfp4(weight: Nvfp4Weight) -> Fp4Panels:
    """A weight, or several stacked, without its values being changed."""
    scales = weight.scales.view(torch.uint8)
    return _panels(weight.codes, scales, weight.tensor_scale * 2.0**SHRUNK, weight.columns)


def dequantise(panels: Fp4Panels, dtype: torch.dtype) -> Tensor:
    """[..., N, K] in `dtype`, rounded once."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    halves = torch.stack((panels.words, panels.words >> 16), -1)
    codes = torch.stack([_gathered(halves, bits) for bits in _BITS], -2).to(torch.uint8).flatten(-3)
    elements = e2m1.unpack(codes[..., ::2] | codes[..., 1::2] << 4, wide)
    if panels.block == nvfp4.BLOCK:
        scales = panels.scales.view(torch.float8_e4m3fn).to(wide) * 2.0**-SHRUNK
    else:
        scales = torch.exp2(panels.scales.double() - _BIAS).to(wide)
    steps = scales * panels.tensor_scale[..., None, None, None].to(wide)
    weight = elements * steps.repeat_interleave(panels.block, -1)
    return weight.transpose(-2, -3).flatten(-2)[..., : panels.outputs, : panels.columns].to(dtype)


def _panels(codes: Tensor, scales: Tensor, tensor_scale: Tensor, columns: int) -> Fp4Panels:
    outputs = codes.shape[-2]
    elements = torch.stack((codes & 15, codes >> 4), -1).flatten(-2).int()
    elements = _in_panels(elements, PANEL)
    pairs = elements.view(*elements.shape[:-1], -1, 4, 2)
    halves = torch.zeros_like(pairs[..., 0, :])
    for pair, bits in enumerate(_BITS):
        for at, bit in enumerate(bits):
            halves |= (pairs[..., pair, :] >> at & 1) << bit
    words = halves[..., 0] | halves[..., 1] << 16
    block = 2 * codes.shape[-1] // scales.shape[-1]
    return Fp4Panels(words, _in_panels(scales, PANEL // block), tensor_scale[..., 0, 0], outputs, columns)


def _gathered(halves: Tensor, bits: tuple[int, ...]) -> Tensor:
    """The codes whose bits lie at `bits`."""
    codes = torch.zeros_like(halves)
    for at, bit in enumerate(bits):
        codes |= (halves >> bit & 1) << at
    return codes


def _in_panels(rows: Tensor, width: int) -> Tensor:
    """rows [..., N, K] as [..., ⌈K/width⌉, N′, width], filled up with zeros."""
    filled = pad(rows, (0, -rows.shape[-1] % width, 0, -rows.shape[-2] % ROWS))
    return filled.view(*filled.shape[:-1], -1, width).transpose(-2, -3).contiguous()
