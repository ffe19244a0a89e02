"""What launchers of Triton kernels require of a target; asked before Triton is imported."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from neokernels.registry import Refuses, Target

OLDEST_CAPABILITY = 80
"""Asynchronous copies and bfloat16 products begin here."""


def without_triton(target: Target) -> str | None:
    """The requirement of every launcher."""
    if target.device.type != "cuda":
        return "needs a CUDA device"
    if find_spec("triton") is None:
        return "needs triton, which is not installed"
    major, minor = torch.cuda.get_device_capability(target.device)
    return None if 10 * major + minor >= OLDEST_CAPABILITY else "needs a CUDA device of compute capability 8.0"


def without_dtypes(*dtypes: torch.dtype) -> Refuses:
    """The requirement of a launcher for activations of some types only."""

    def refuses(target: Target) -> str | None:
        return None if target.dtype in dtypes else f"not for activations in {target.dtype}"

    return refuses
