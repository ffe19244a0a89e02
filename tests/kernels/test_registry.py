"""The registry picks the first implementation that does not refuse, and remembers why."""

from __future__ import annotations

import pytest
import torch
from neokernels.registry import Choice, Implementation, Operation, Registry, Target
from neokernels.rms_norm import rms_norm, rms_norm_reference

CPU = Target(torch.device("cpu"), torch.float32)


def needs_cuda(target: Target) -> str | None:
    return None if target.device.type == "cuda" else f"runs on cuda, not on {target.device.type}"


def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def fast_double(x: torch.Tensor) -> torch.Tensor:
    return x + x


TWICE = Operation("twice", Implementation("fast", fast_double, needs_cuda), Implementation("reference", double))


def test_reference_answers_where_the_faster_refuses() -> None:
    registry = Registry()
    assert registry.resolve(TWICE, CPU) is double
    assert registry.choices == (Choice("twice", "reference", "fast: runs on cuda, not on cpu"),)


def test_the_first_that_accepts_answers() -> None:
    registry = Registry()
    assert registry.resolve(TWICE, Target(torch.device("cuda"), torch.bfloat16)) is fast_double
    assert registry.choices == (Choice("twice", "fast", "first choice"),)


def test_each_operation_is_recorded_once() -> None:
    registry = Registry()
    for operation in (rms_norm, TWICE, rms_norm):
        registry.resolve(operation, CPU)
    assert [choice.operation for choice in registry.choices] == ["rms_norm", "twice"]
    assert registry.resolve(rms_norm, Target(torch.device("cpu"), torch.float16)) is rms_norm_reference


def test_no_implementation_names_every_refusal() -> None:
    only = Operation("only", Implementation("fast", fast_double, needs_cuda))
    with pytest.raises(LookupError, match=r"only has no implementation.*fast: runs on cuda"):
        Registry().resolve(only, CPU)


def test_an_operation_is_callable() -> None:
    assert TWICE(torch.ones(2)).tolist() == [2.0, 2.0]
