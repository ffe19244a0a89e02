"""4-bit weights as GPU kernels read them: panels of 128 inputs, each with its scales, one after the other.

A tile of a panel, any outputs by 128 inputs, is one run of memory, and so are its scales. The 32-bit word of eight
elements e₀…e₇ keeps them in this order from its low end: e₀ e₂ e₄ e₆ e₁ e₃ e₅ e₇. So one mask takes two neighbours, and
they end up in the halves of a register that tensor cores want them in.

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
    places = torch.tensor([0, 16, 4, 20, 8, 24, 12, 28], dtype=torch.int32, device=panels.words.device)
    codes = (panels.words[..., None] >> places & 15).to(torch.uint8).flatten(-2)
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
    ordered = elements.unflatten(-1, (-1, 4, 2)).transpose(-1, -2).flatten(-2)
    places = torch.arange(0, 32, 4, dtype=torch.int32, device=codes.device)
    words = (ordered << places).sum(-1, dtype=torch.int32)
    block = 2 * codes.shape[-1] // scales.shape[-1]
    return Fp4Panels(words, _in_panels(scales, PANEL // block), tensor_scale[..., 0, 0], outputs, columns)


def _in_panels(rows: Tensor, width: int) -> Tensor:
    """rows [..., N, K] as [..., ⌈K/width⌉, N′, width], filled up with zeros."""
    filled = pad(rows, (0, -rows.shape[-1] % width, 0, -rows.shape[-2] % ROWS))
    return filled.unflatten(-1, (-1, width)).transpose(-2, -3).contiguous()
