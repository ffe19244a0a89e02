"""Telling a schedule that computes something else from one that rounds otherwise."""

from __future__ import annotations

import pytest
import torch
from neokernels.tuning.agreement import disagreement
from torch import Tensor

FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn]


def drawn(dtype: torch.dtype) -> Tensor:
    return torch.randn(256, 256, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", FLOATS)
def test_rounding_is_no_fault(dtype: torch.dtype) -> None:
    exact = torch.randn(256, 256, dtype=torch.float64)
    assert disagreement([exact.to(dtype)], [(exact * (1 + torch.finfo(dtype).eps)).to(dtype)]) is None


@pytest.mark.parametrize("dtype", FLOATS[:3])
def test_one_wrong_tile_is(dtype: torch.dtype) -> None:
    right = drawn(dtype)
    wrong = right.clone()
    wrong[16:32, 16:32] = drawn(dtype)[:16, :16]
    assert "off by" in str(disagreement([wrong], [right]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_poison_that_shows_is(value: float) -> None:
    wrong = drawn(torch.float16)
    wrong[3, 4] = value
    assert disagreement([wrong], [drawn(torch.float16)]) == (
        "output 0: 1 numbers are not finite where they should be, or the other way round"
    )
    assert disagreement([wrong], [wrong.clone()]) is None


def test_whole_numbers_may_differ_here_and_there() -> None:
    right = torch.arange(1000)
    wrong = right.clone()
    wrong[:20] += 1
    assert disagreement([wrong], [right]) is None
    wrong[:100] += 1
    assert disagreement([wrong], [right]) == "output 0: 10.0% of its numbers differ"


def test_shapes_types_and_counts_must_be_the_same() -> None:
    x = torch.ones(2)
    assert disagreement([x], []) == "1 outputs, 0 expected"
    assert disagreement([x], [x.half()]) == "output 0 is torch.float32 [2], not torch.float16 [2]"
    assert disagreement([x[:0]], [x[:0]]) is None
