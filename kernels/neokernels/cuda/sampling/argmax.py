"""The most likely token of each row, in two stages, so that one row keeps every multiprocessor busy.

Bound by memory: each value is read once, in loads of sixteen bytes. One row of 152 thousand is split over as many
programs as there are multiprocessors, and then two launches are all its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels import argmax as operation
from neokernels.cuda.sampling.best_token import KNOBS, NOTHING, SOURCES, best_tokens, keyed, makes_sense, schedule
from neokernels.device import Device
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Outputs, Problem, TunableKernel, Work, dtype_name, named_dtype


@triton.jit
def _argmax_kernel(values_ptr, keys_ptr, vocabulary, stride, splits, BLOCK: tl.constexpr, WAITS: tl.constexpr):
    if WAITS:
        tl.extra.cuda.gdc_wait()
    row, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    token = split * BLOCK + tl.arange(0, BLOCK)
    inside = token < vocabulary
    values = tl.load(values_ptr + row * stride + token, inside, other=0.0).to(tl.float32)
    # torch takes what is not a number, of either sign, for the largest.
    values = tl.where(values == values, values, float("nan"))
    keys = tl.where(inside, keyed(values, token), NOTHING)
    tl.store(keys_ptr + row * splits + split, tl.max(keys))
    if WAITS:
        tl.extra.cuda.gdc_launch_dependents()


@dataclass(frozen=True)
class VocabularyRows(Problem):
    batch_fields: ClassVar = {"rows": 64}

    rows: int
    vocabulary: int
    dtype: str = "float32"


def argmax(values: Tensor, *, schedules: Schedules) -> Tensor:
    """As `neokernels.argmax.argmax_reference`."""
    rows, vocabulary = values.shape
    if not rows:
        return torch.empty(0, dtype=torch.int64, device=values.device)
    config = schedules.config(ARGMAX, VocabularyRows(rows, vocabulary, dtype_name(values.dtype)))
    splits = triton.cdiv(vocabulary, config.number("BLOCK"))
    keys = torch.empty(rows, splits, dtype=torch.int64, device=values.device)
    values = values if values.stride(1) == 1 else values.contiguous()
    _argmax_kernel[(rows, splits)](
        values,
        keys,
        vocabulary,
        values.stride(0),
        splits,
        WAITS=config.waits,
        **config.constants,
        **config.options,
    )
    return best_tokens(keys, config)


class Argmax(TunableKernel[VocabularyRows]):
    name = "argmax"
    problem_type = VocabularyRows
    sources = (_argmax_kernel, *SOURCES)
    dependent = True
    knobs = KNOBS
    examples = (VocabularyRows(1, 151936), VocabularyRows(64, 128256), VocabularyRows(256, 201088))

    def problems(self, model: ModelShape) -> Iterator[VocabularyRows]:
        for rows in model.decode_batches:
            yield VocabularyRows(rows, model.vocabulary)

    def heuristic(self, problem: VocabularyRows, device: Device) -> Config:
        return schedule(problem.rows, problem.vocabulary, device)

    def expects(self, problem: VocabularyRows, config: Config, device: Device) -> tuple[str, ...]:
        return ("ld.global.v4.b32",)

    def makes_sense(self, problem: VocabularyRows, config: Config, device: Device) -> bool:
        return makes_sense(config)

    def inputs(self, problem: VocabularyRows, draw: Draw) -> Inputs:
        return (draw.normal(problem.rows, problem.vocabulary, dtype=named_dtype(problem.dtype)),)

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        return (argmax(*inputs, schedules=schedules),)

    def reference(self, inputs: Inputs) -> Outputs:
        return (operation.argmax_reference(*inputs),)

    def exact(self, inputs: Inputs) -> Outputs:
        # The first of equals, without an arg-max: the values of float32 are no less exact than those of float64.
        (values,) = inputs
        largest = values.amax(-1, keepdim=True) if values.shape[0] else values
        return ((values == largest).long().cumsum(-1).eq(0).sum(-1),)

    def library(self, inputs: Inputs) -> Outputs | None:
        return (inputs[0].argmax(-1),)

    def work(self, problem: VocabularyRows) -> Work:
        row = problem.vocabulary * named_dtype(problem.dtype).itemsize + 8
        return Work(nbytes=problem.rows * row)


ARGMAX = Argmax()
