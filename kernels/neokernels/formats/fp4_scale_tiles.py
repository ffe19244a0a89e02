"""4-bit weights as Blackwell's tensor cores read them, scales included.

Rows of elements lie as they were quantised. The scales of 128 rows and four blocks are 512 bytes in a row, those of the
rows r, r + 32, r + 64 and r + 96 side by side: so they are copied to tensor memory as they are. Source: the layout of
block scaling factors in NVIDIA's cuBLAS documentation, section on 1D block scaling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from neokernels.formats import e2m1, mxfp4, nvfp4
from neokernels.formats.mxfp4 import Mxfp4Weight
from neokernels.formats.nvfp4 import Nvfp4Weight

ROWS = 128
STEP = 256
"""Inputs are filled up to this with zeros."""
_BLOCKS = 4
_BIAS = 127


@dataclass(frozen=True, slots=True)
class TiledFp4:
    codes: Tensor
    """[R, K′/2] uint8: R rows of which `outputs` count."""
    scales: Tensor
    """[1, R/128, K′/(4 · block), 2, 256] uint8 of e8m0 or float8_e4m3fn."""
    tensor_scale: Tensor | None
    """[] float32; None is 1."""
    outputs: int
    columns: int

    @property
    def block(self) -> int:
        """Elements a scale has: 32 in MXFP4, 16 in NVFP4."""
        return mxfp4.BLOCK if self.scales.dtype == torch.uint8 else nvfp4.BLOCK

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.scales.nbytes + (0 if self.tensor_scale is None else self.tensor_scale.nbytes)


def of_mxfp4(weight: Mxfp4Weight) -> TiledFp4:
    """A weight [N, K]."""
    return _tiled(weight.codes, weight.scales.view(torch.uint8), None, weight.columns)


def of_nvfp4(weight: Nvfp4Weight) -> TiledFp4:
    """A weight [N, K]."""
    tiled = _tiled(weight.codes, weight.scales.view(torch.uint8), weight.tensor_scale[0, 0], weight.columns)
    return replace(tiled, scales=tiled.scales.view(torch.float8_e4m3fn))


def dequantise(weight: TiledFp4, dtype: torch.dtype) -> Tensor:
    """[N, K] in `dtype`, rounded once."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    _, tiles, steps = weight.scales.shape[:3]
    rows = weight.scales.view(torch.uint8).view(tiles, steps, 32, ROWS // 32, _BLOCKS).permute(0, 3, 2, 1, 4)
    bits = rows.reshape(tiles * ROWS, steps * _BLOCKS)
    if weight.block == nvfp4.BLOCK:
        scales = bits.view(torch.float8_e4m3fn).to(wide)
    else:
        scales = torch.exp2(bits.double() - _BIAS).to(wide)
    if weight.tensor_scale is not None:
        scales = scales * weight.tensor_scale.to(wide)
    dense = e2m1.unpack(weight.codes, wide) * scales.repeat_interleave(weight.block, -1)
    return dense[: weight.outputs, : weight.columns].to(dtype)


def _tiled(codes: Tensor, scales: Tensor, tensor_scale: Tensor | None, columns: int) -> TiledFp4:
    outputs, block = codes.shape[0], 2 * codes.shape[1] // scales.shape[1]
    codes = pad(codes, (0, -codes.shape[1] % (STEP // 2), 0, -outputs % ROWS))
    scales = pad(scales, (0, -scales.shape[1] % (STEP // block), 0, -outputs % ROWS))
    tiles = scales.view(-1, ROWS // 32, 32, scales.shape[1] // _BLOCKS, _BLOCKS).permute(0, 3, 2, 1, 4)
    shape = 1, tiles.shape[0], tiles.shape[1], 2, 32 * ROWS // 32 * _BLOCKS // 2
    return TiledFp4(codes.contiguous(), tiles.reshape(shape), tensor_scale, outputs, columns)
