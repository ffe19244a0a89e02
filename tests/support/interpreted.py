"""Triton's kernels on a CPU, in its interpreter, where `TRITON_INTERPRET=1` when Triton is first imported."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from neokernels.device import DATASHEET_DEVICES
from neokernels.registry import EVERY_OPERATION, Operation, Registry, Target

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
HOPPER = DATASHEET_DEVICES[0]


class InterpretedRegistry(Registry):
    """Resolves on a CPU what an engine asked for Triton would get on Hopper; `as_on_hopper` must hold meanwhile."""

    def __init__(self, preferred: Any = None, *, reference: bool = False) -> None:  # as an engine makes its own
        super().__init__({EVERY_OPERATION: "triton"})

    def resolve(self, operation: Operation[..., Any], target: Target) -> Callable[..., Any]:
        return super().resolve(operation, replace(target, device=torch.device("cuda")))


def as_on_hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of the first CUDA device is answered for a Hopper."""
    capability = divmod(HOPPER.capability, 10)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr("neokernels.registry.cuda_device", lambda _: HOPPER)


def round_to_e4m3(monkeypatch: pytest.MonkeyPatch) -> None:
    """What becomes e4m3 is rounded as GPUs do: the interpreter loses the carry from 1.94, which becomes 1."""
    from triton.language import float8e4nv
    from triton.runtime import interpreter

    convert = interpreter._convert_float

    def rounded(data: Any, source: Any, target: Any, rounding: Any) -> Any:
        if target != float8e4nv or source.primitive_bitwidth <= 8:
            return convert(data, source, target, rounding)
        return torch.from_numpy(data).to(torch.float8_e4m3fn).view(torch.uint8).numpy()

    monkeypatch.setattr(interpreter, "_convert_float", rounded)
