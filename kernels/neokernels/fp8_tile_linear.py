"""A projection over weights as DeepSeek-V3 stores them, in eight bits as they are: tokens are quantised as they come.

y_tn = Σ_g s_tg · s_⌊n/128⌋g · Σ_{k in g} q_tk · q_nk + b_n, g the groups of 128 numbers of K

Sums over a group are joined in float32. Source: DeepSeek-V3 (arXiv:2412.19437) §3.3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from neokernels.cuda.requirements import without_e4m3, without_triton
from neokernels.formats import fp8_tiles
from neokernels.formats.fp8_tiles import Fp8Groups
from neokernels.launcher import Launcher
from neokernels.linear import Linear
from neokernels.registry import Implementation, Operation, any_of, promises_nothing


def fp8_tile_product(
    tokens: Fp8Groups, values: Tensor, scales: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """tokens [T, K], T may be 0; values [N, K] and scales as in `fp8_tiles`; bias [N] or None; returns [T, N]."""
    x = fp8_tiles.dequantise_activations(tokens, torch.float32)
    y = linear(x, fp8_tiles.dequantise(values, scales, torch.float32))
    return (y if bias is None else y + bias).to(dtype)


class Fp8TileLinear:
    """The reference."""

    def __init__(self, values: Tensor, scales: Tensor, bias: Tensor | None = None) -> None:
        """values [N, K] and scales as in `fp8_tiles`; bias [N] or None."""
        self.nbytes = values.nbytes + scales.nbytes + (0 if bias is None else bias.nbytes)
        self._weight = values, scales, bias

    def __call__(self, x: Tensor) -> Tensor:
        return fp8_tile_product(fp8_tiles.quantise_activations(x), *self._weight, x.dtype)


_triton: Launcher[[Tensor, Tensor, Tensor | None], Linear] = Launcher(
    "projections.fp8_tile_matmul", "TritonFp8TileLinear"
)

prepare_fp8_tile_linear: Operation[[Tensor, Tensor, Tensor | None], Linear] = Operation(
    "fp8_tile_linear",
    Implementation("triton", _triton, any_of(without_triton, without_e4m3)),
    Implementation("reference", Fp8TileLinear, promises_nothing),
)
"""Values, scales and bias in, a `Linear` out."""
