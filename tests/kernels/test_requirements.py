"""What Triton's launchers require, asked of GPUs that are not there."""

from __future__ import annotations

import pytest
import torch
from neokernels.cuda import requirements
from neokernels.registry import Refuses, Target

CPU, CUDA = Target(torch.device("cpu"), torch.float32), Target(torch.device("cuda"), torch.bfloat16)
FP8_CACHE = Target(torch.device("cuda"), torch.bfloat16, kv_dtype=torch.float8_e4m3fn)


@pytest.mark.parametrize(
    ("requirement", "target", "oldest"),
    [
        (requirements.without_triton, CUDA, (8, 0)),
        (requirements.without_e4m3, CUDA, (8, 9)),
        (requirements.without_kept_e4m3, FP8_CACHE, (8, 9)),
        (requirements.without_block_scales, CUDA, (10, 0)),
    ],
)
def test_older_devices_are_refused_with_the_capability_they_lack(
    monkeypatch: pytest.MonkeyPatch, requirement: Refuses, target: Target, oldest: tuple[int, int]
) -> None:
    for capability in ((7, 5), (8, 0), (8, 9), (9, 0), (10, 3)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, it=capability: it)
        refusal = requirement(target)
        assert (refusal is None) == (capability >= oldest)
        assert refusal is None or "needs a CUDA device of compute capability" in refusal


def test_a_gpu_without_tensor_memory_has_no_scales_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (12, 0))
    assert requirements.without_block_scales(CUDA) is not None


def test_a_cpu_and_a_missing_triton_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert requirements.without_triton(CPU) == "needs a CUDA device"
    monkeypatch.setattr(requirements, "find_spec", lambda name: None)
    assert requirements.without_triton(CUDA) == "needs triton, which is not installed"


def test_a_cache_that_is_not_in_eight_bits_needs_no_e4m3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert requirements.without_kept_e4m3(CUDA) is None
