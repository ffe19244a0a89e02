"""Rows of e4m3 times rows of e4m3, a scale each: the kernels of `matmul` and `small_matmul`, scaled behind the sum.

A byte a number halves what is read, and the tensor cores multiply twice as many. A scale a token and one an output cost
one product of a result each; nothing is dequantised. The formula is that of `linear_quantised.fp8_product`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from neokernels.cuda.projections import matmul, products, small_matmul
from neokernels.cuda.projections.products import FEW_ROWS, Product
from neokernels.cuda.projections.small_matmul import SmallProduct
from neokernels.cuda.projections.split_sum import no_arrivals
from neokernels.cuda.projections.tiles import COPY_BYTES
from neokernels.device import Device
from neokernels.formats.fp8 import E4M3, Fp8Rows
from neokernels.linear_quantised import fp8_product
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, TunableKernel, Work, dtype_name, named_dtype


def fp8_matmul(
    tokens: Fp8Rows, weight: Fp8Rows, bias: Tensor | None, dtype: torch.dtype, *, schedules: Schedules
) -> Tensor:
    """As `neokernels.linear_quantised.fp8_product`."""
    y = _result(tokens, weight, dtype)
    if y.numel():
        problem = Product(*_sizes(tokens, weight), dtype_name(dtype), bias is not None)
        config = schedules.config(FP8_MATMUL, problem)
        matmul.launch(config, schedules.device, tokens.values, weight.values, bias, y, tokens.scales, weight.scales)
    return y


def small_fp8_matmul(
    tokens: Fp8Rows,
    weight: Fp8Rows,
    bias: Tensor | None,
    dtype: torch.dtype,
    arrivals: Tensor,
    *,
    schedules: Schedules,
) -> Tensor:
    """`fp8_matmul` for some 64 tokens at most. `arrivals` is of `split_sum.no_arrivals`."""
    y = _result(tokens, weight, dtype)
    if y.numel():
        problem = SmallProduct(*_sizes(tokens, weight), dtype_name(dtype), bias is not None)
        config = schedules.config(SMALL_FP8_MATMUL, problem)
        small_matmul.launch(config, tokens.values, weight.values, bias, arrivals, y, tokens.scales, weight.scales)
    return y


def _sizes(tokens: Fp8Rows, weight: Fp8Rows) -> tuple[int, int, int]:
    """Rows, outputs and inputs."""
    return tokens.values.shape[0], weight.values.shape[0], weight.values.shape[1]


def _result(tokens: Fp8Rows, weight: Fp8Rows, dtype: torch.dtype) -> Tensor:
    return tokens.values.new_empty((tokens.values.shape[0], weight.values.shape[0]), dtype=dtype)


class Fp8Matmul(TunableKernel[Product]):
    name = "fp8_matmul"
    problem_type = Product
    sources: ClassVar[tuple[Any, ...]] = matmul.Matmul.sources
    knobs: ClassVar[tuple[Knob, ...]] = products.KNOBS
    examples: ClassVar[tuple[Product, ...]] = (
        Product(4096, 4096, 4096, "bfloat16", bias=False),
        Product(2048, 24576, 4096, "bfloat16", bias=True),
    )

    def problems(self, model: ModelShape) -> Iterator[Product]:
        for rows in model.rows:
            if rows > FEW_ROWS and model.weight_format == "fp8":
                for outputs, inputs in model.projections:
                    yield Product(rows, outputs, inputs, model.dtype, bias=False)

    def heuristic(self, problem: Product, device: Device) -> Config:
        return products.schedule(problem, device, E4M3.itemsize)

    def makes_sense(self, problem: Product, config: Config, device: Device) -> bool:
        return products.makes_sense(problem, config, device, E4M3.itemsize)

    def inputs(self, problem: Product, draw: Draw) -> Inputs:
        tokens, weight = (
            Fp8Rows(
                draw.normal(count, problem.inputs, dtype=E4M3, scale=64.0),
                draw.normal(count, 1, dtype=torch.float32, scale=2**-6).abs(),
            )
            for count in (problem.rows, problem.outputs)
        )
        dtype = named_dtype(problem.dtype)
        return tokens, weight, draw.normal(problem.outputs, dtype=dtype) if problem.bias else None, dtype

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return (fp8_matmul(*inputs, schedules=schedules),)

    def reference(self, inputs: Inputs) -> Outputs:
        return (fp8_product(*inputs[:4]),)

    def exact(self, inputs: Inputs) -> Outputs:
        tokens, weight, bias = inputs[:3]
        x, w = (rows.values.double() * rows.scales.double() for rows in (tokens, weight))
        return (x @ w.T if bias is None else x @ w.T + bias.double(),)

    def library(self, inputs: Inputs) -> Outputs | None:
        tokens, weight, bias, dtype = inputs[:4]
        if dtype != torch.bfloat16 or any(width % COPY_BYTES for width in weight.values.shape):
            return None
        y: Tensor = torch._scaled_mm(
            tokens.values, weight.values.t(), scale_a=tokens.scales, scale_b=weight.scales.t(), out_dtype=dtype
        )
        return (y if bias is None else y + bias,)

    def work(self, problem: Product) -> Work:
        m, n, k = problem.rows, problem.outputs, problem.inputs
        scales = (m + n) * torch.float32.itemsize
        written = (m * n + (n if problem.bias else 0)) * named_dtype(problem.dtype).itemsize
        return Work((m + n) * k + scales + written, 2 * m * n * k, dtype_name(E4M3))

    def expects(self, problem: Product, config: Config, device: Device) -> tuple[str, ...]:
        return products.instructions(problem, config, device)


class SmallFp8Matmul(Fp8Matmul):
    name = "small_fp8_matmul"
    problem_type = SmallProduct
    sources = small_matmul.SmallMatmul.sources
    knobs = small_matmul.KNOBS
    examples = (
        SmallProduct(1, 4096, 4096, "bfloat16", bias=False),
        SmallProduct(64, 24576, 4096, "bfloat16", bias=False),
    )

    def problems(self, model: ModelShape) -> Iterator[Product]:
        for rows in model.rows:
            if rows <= FEW_ROWS and model.weight_format == "fp8":
                for outputs, inputs in model.projections:
                    yield SmallProduct(rows, outputs, inputs, model.dtype, bias=False)

    def heuristic(self, problem: Product, device: Device) -> Config:
        return small_matmul.schedule(problem, device, E4M3.itemsize)

    def makes_sense(self, problem: Product, config: Config, device: Device) -> bool:
        return small_matmul.makes_sense(problem, config, device, E4M3.itemsize)

    def inputs(self, problem: Product, draw: Draw) -> Inputs:
        return *super().inputs(problem, draw), no_arrivals(problem.outputs, draw.device)

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return (small_fp8_matmul(*inputs, schedules=schedules),)


FP8_MATMUL = Fp8Matmul()
SMALL_FP8_MATMUL = SmallFp8Matmul()
