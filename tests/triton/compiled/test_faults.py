"""That the check of compiled kernels can fail: a kernel made to, and records that say otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import triton
import triton.language as tl
from neokernels import golden
from neokernels.aot import CompileError, compile_kernel
from neokernels.device import DATASHEET_DEVICES, Device
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape
from neokernels.tuning.schedules import Schedules
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, Problem, TunableKernel, Work, named_dtype

HOPPER = DATASHEET_DEVICES[0]


@triton.jit
def _product_kernel(a_ptr, b_ptr, out_ptr, depth, TILE: tl.constexpr, DEPTH: tl.constexpr):
    row, column, inner = tl.arange(0, TILE)[:, None], tl.arange(0, TILE)[None, :], tl.arange(0, DEPTH)
    total = tl.zeros((TILE, TILE), dtype=tl.float32)
    for first in range(0, depth, DEPTH):
        a = tl.load(a_ptr + row * depth + first + inner[None, :])
        b = tl.load(b_ptr + (first + inner[:, None]) * TILE + column)
        total = tl.dot(a, b, total)
    tl.store(out_ptr + row * TILE + column, total)


@dataclass(frozen=True)
class Square(Problem):
    depth: int
    dtype: str = "bfloat16"


class OneTile(TunableKernel[Square]):
    """A product in one program: four warps cannot hold the sums of 256 by 256 in registers, and spill."""

    name = "one_tile"
    problem_type = Square
    sources = (_product_kernel,)
    knobs = (Knob("TILE", (64, 128, 256)), Knob("DEPTH", (64,)), Knob("num_warps", (4, 8)))
    examples = (Square(1024),)

    def problems(self, model: ModelShape) -> Iterator[Square]:
        yield from self.examples

    def heuristic(self, problem: Square, device: Device) -> Config:
        return Config(TILE=256, DEPTH=64, num_warps=4, num_stages=2)

    def expects(self, problem: Square, config: Config, device: Device) -> tuple[str, ...]:
        return ("wgmma",) if device.capability == 90 else ("tcgen05.mma",)

    def inputs(self, problem: Square, draw: Draw) -> Inputs:
        dtype = named_dtype(problem.dtype)
        return tuple(draw.normal(problem.depth, 256, dtype=dtype) for _ in range(2))

    def run(self, inputs: Inputs, schedules: Schedules) -> Outputs:
        config = schedules.config(self, self.examples[0])
        out = inputs[0].new_empty(256, 256)
        _product_kernel[(1,)](*inputs, out, inputs[0].shape[0], **config.constants, **config.options)
        return (out,)

    def reference(self, inputs: Inputs) -> Outputs:
        raise NotImplementedError("is compiled, never run")

    exact = reference

    def work(self, problem: Square) -> Work:
        return Work(nbytes=0)


KERNEL = OneTile()


def example(**changes: Any) -> golden.Example:
    config = KERNEL.heuristic(KERNEL.examples[0], HOPPER).changed(**changes)
    return golden.Example(KERNEL, KERNEL.examples[0], HOPPER, config)


def recorded(compiled: Any, **changes: Any) -> dict[str, Any]:
    return {"reason": "a test", "launches": [figures | changes for figures in golden.figures(compiled)]}


@pytest.fixture(scope="module")
def spilling() -> Any:
    return example().compile()


@pytest.fixture(scope="module")
def fitting() -> Any:
    return example(TILE=128).compile()


def test_a_kernel_that_spills_is_refused(spilling):
    (fault,) = golden.faults(example(), spilling, recorded(spilling))
    assert "spills" in fault


def test_a_spill_that_is_recorded_with_a_reason_is_accepted(spilling):
    allowed = recorded(spilling, spills_allowed=spilling[0].stack_bytes)
    assert golden.faults(example(), spilling, allowed) == []


def test_what_fits_as_recorded_has_no_fault(fitting):
    assert golden.faults(example(TILE=128), fitting, recorded(fitting)) == []


def test_other_registers_than_recorded_are_a_fault(fitting):
    other = recorded(fitting, registers=fitting[0].registers * 2)
    (fault,) = golden.faults(example(TILE=128), fitting, other)
    assert "registers" in fault


def test_a_kernel_that_is_not_recorded_is_a_fault(fitting):
    (fault,) = golden.faults(example(TILE=128), fitting, None)
    assert "recorded" in fault


def test_an_instruction_that_is_missing_is_a_fault(fitting):
    narrow = example(TILE=128)
    on_blackwell = golden.Example(KERNEL, narrow.problem, DATASHEET_DEVICES[1], narrow.config)
    assert any("tcgen05" in fault for fault in golden.faults(on_blackwell, fitting, recorded(fitting)))


def test_too_much_shared_memory_is_a_fault():
    greedy = example(TILE=128, num_stages=8)
    compiled = greedy.compile()
    assert any("shared memory" in fault for fault in golden.faults(greedy, compiled, recorded(compiled)))


def test_what_triton_refuses_is_one_line():
    with pytest.raises(CompileError) as refused:
        compile_kernel(KERNEL, KERNEL.examples[0], example(TILE=96).config, HOPPER)
    assert "\n" not in str(refused.value)
    assert str(refused.value)


def test_what_was_compiled_once_is_listed_again(fitting):
    assert [launch.registers for launch in example(TILE=128).compile()] == [fitting[0].registers]
