"""Who projects on a GPU, asked where there is none."""

from __future__ import annotations

import pytest
import torch
from neokernels.linear import prepare_linear
from neokernels.moe import prepare_router
from neokernels.registry import Numerics, Target, WeightFormat


@pytest.mark.parametrize(
    ("form", "dtype", "numerics", "answers"),
    [
        ("dense", torch.bfloat16, "fast", "cublas"),
        ("dense", torch.float32, "fast", "cublas"),
        ("dense", torch.bfloat16, "batch_invariant", "triton"),
        ("fp8", torch.bfloat16, "fast", "fp8_scaled"),
        ("fp8", torch.float16, "fast", "fp8_triton"),
        ("fp8", torch.bfloat16, "batch_invariant", "fp8_triton"),
    ],
)
def test_libraries_answer_where_no_promise_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, form: WeightFormat, dtype: torch.dtype, numerics: Numerics, answers: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    target = Target(torch.device("cuda"), dtype, numerics, form)
    for operation in (prepare_linear, prepare_router):
        _, choice = operation.choose(target)
        assert choice.implementation == answers
