"""Projections whose weights are quantised once, when they are loaded; what each format is stands in `formats`.

These are references: torch multiplies what the formats stand for. A `multiply` gives x Wᵀ + b for x [T, K], a dense
weight [N, K] and a bias [N] or None.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from neokernels.formats import fp8, int8
from neokernels.formats.fp8 import Fp8Rows
from neokernels.registry import Target

Multiply = Callable[[Tensor, Tensor, Tensor | None], Tensor]

_FEW_ROWS = 8
"""Up to here torch multiplies packed integers faster than it first widens them."""
_PACKED_STEP = 64
"""Inputs are multiples of this where torch multiplies packed integers: it reads past the end of others."""
_SCALED_PRODUCT_STEP = 16
"""Widths of torch's scaled product are multiples of this."""


class Quantised(Protocol):
    @property
    def nbytes(self) -> int: ...


Q = TypeVar("Q", bound=Quantised)


@runtime_checkable
class ReadsFp8(Protocol):
    """A projection that also takes tokens that are in fp8 already. It is known by the name of its method."""

    @property
    def nbytes(self) -> int: ...

    def multiply_fp8(self, tokens: Fp8Rows) -> Tensor:
        """tokens [T, K], T may be 0; returns [T, N] in the dtype that the weight had."""


class WeightOnlyLinear:
    """y = x Wᵀ + b with W dequantised to the dtype of x in every call."""

    def __init__(
        self,
        quantise: Callable[[Tensor], Q],
        dequantise: Callable[[Q, torch.dtype], Tensor],
        weight: Tensor,
        bias: Tensor | None = None,
        multiply: Multiply = linear,
    ) -> None:
        """weight [N, K]; bias [N] or None. Raises NotFiniteError."""
        quantised = quantise(weight)
        self._dense = partial(dequantise, quantised)
        self._bias = bias
        self._multiply = multiply
        self.nbytes = quantised.nbytes + _nbytes(bias)

    def __call__(self, x: Tensor) -> Tensor:
        return self._multiply(x, self._dense(x.dtype), self._bias)


class Int8Linear:
    """y = (x Qᵀ) · s + b: a channel's scale may follow its product, and integers up to 127 are exact in every dtype."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, multiply: Multiply = linear) -> None:
        """weight [N, K]; bias [N] or None. Raises NotFiniteError."""
        self._weight = int8.quantise(weight)
        self._bias = bias
        self._multiply = multiply
        self.nbytes = self._weight.nbytes + _nbytes(bias)

    def __call__(self, x: Tensor) -> Tensor:
        y = self._product(x) * self._weight.scales.squeeze(-1)
        return (y if self._bias is None else y + self._bias).to(x.dtype)

    def _product(self, x: Tensor) -> Tensor:
        # float16 ends at 65504, which sums of products with 127 reach.
        wide = torch.float32 if x.dtype == torch.float16 else x.dtype
        return self._multiply(x.to(wide), self._weight.codes.to(wide), None)


class PackedInt8Linear(Int8Linear):
    """`Int8Linear` that for few rows reads the integers as they lie."""

    def _product(self, x: Tensor) -> Tensor:
        codes = self._weight.codes
        if not 0 < len(x) <= _FEW_ROWS or codes.shape[1] % _PACKED_STEP:
            return super()._product(x)
        # Scales of its own would have to be in the dtype of x, where they lose bits.
        return torch._weight_int8pack_mm(x, codes, torch.ones(len(codes), dtype=x.dtype))


def fp8_product(
    tokens: Fp8Rows, weight: Fp8Rows, bias: Tensor | None, dtype: torch.dtype, multiply: Multiply = linear
) -> Tensor:
    """y = s_t · s_n · (q_t · q_n) + b: products of e4m3 are summed in float32.

    tokens [T, K], weight [N, K], bias [N] or None; returns [T, N] in `dtype`.
    """
    token_values, weight_values = (fp8.widened(rows.values, torch.float32) for rows in (tokens, weight))
    y = multiply(token_values, weight_values, None) * tokens.scales * weight.scales.squeeze(-1)
    return (y if bias is None else y + bias).to(dtype)


class Fp8Linear:
    """`fp8_product` with every token quantised as it comes."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, multiply: Multiply = linear) -> None:
        """weight [N, K]; bias [N] or None. Raises NotFiniteError."""
        self._dtype = weight.dtype
        self._weight = fp8.quantise(weight)
        self._bias = bias
        self._multiply = multiply
        self.nbytes = self._weight.nbytes + _nbytes(bias)

    def __call__(self, x: Tensor) -> Tensor:
        return fp8_product(fp8.quantise_activations(x), self._weight, self._bias, x.dtype, self._multiply)

    def multiply_fp8(self, tokens: Fp8Rows) -> Tensor:
        """tokens [T, K], T may be 0; returns [T, N] in the dtype that the weight had."""
        return fp8_product(tokens, self._weight, self._bias, self._dtype, self._multiply)


class ScaledFp8Linear:
    """`Fp8Linear` in one product of the tensor cores that takes a scale a row on either side."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """weight [N, K]; bias [N] or None. Raises NotFiniteError."""
        self._outputs, columns = weight.shape
        self._missing = -columns % _SCALED_PRODUCT_STEP
        self._dtype = weight.dtype
        self._weight = fp8.quantise(pad(weight, (0, self._missing, 0, -self._outputs % _SCALED_PRODUCT_STEP)))
        self._bias = bias
        self.nbytes = self._weight.nbytes + _nbytes(bias)

    def __call__(self, x: Tensor) -> Tensor:
        return self._product(fp8.quantise_activations(pad(x, (0, self._missing))), x.dtype)

    def multiply_fp8(self, tokens: Fp8Rows) -> Tensor:
        """tokens [T, K], T may be 0; returns [T, N] in the dtype that the weight had."""
        # torch fills up no numbers of eight bits, but it does bytes.
        values = pad(tokens.values.view(torch.uint8), (0, self._missing)).view(fp8.E4M3)
        return self._product(Fp8Rows(values, tokens.scales), self._dtype)

    def _product(self, tokens: Fp8Rows, dtype: torch.dtype) -> Tensor:
        if not len(tokens.values):
            return tokens.values.new_empty((0, self._outputs), dtype=dtype)
        y = torch._scaled_mm(
            tokens.values,
            self._weight.values.t(),
            scale_a=tokens.scales,
            scale_b=self._weight.scales.t(),
            out_dtype=dtype,
        )[:, : self._outputs]
        return y if self._bias is None else y + self._bias


def without_packed_int8(target: Target) -> str | None:
    """Why `PackedInt8Linear` cannot run, or would be slower."""
    if target.device.type != "cpu" or target.dtype != torch.bfloat16:
        return "gains something for bfloat16 on a CPU only"
    return None


def without_scaled_product(target: Target) -> str | None:
    """Why `ScaledFp8Linear` cannot run."""
    if target.device.type != "cuda" or torch.cuda.get_device_capability(target.device) < (8, 9):
        return "needs a CUDA device of compute capability 8.9"
    return None if target.dtype == torch.bfloat16 else "gives bfloat16 only"


def _nbytes(bias: Tensor | None) -> int:
    return 0 if bias is None else bias.nbytes
