"""What launchers of Triton kernels require of a target; asked before Triton is imported."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from neokernels.registry import Target

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


def without_e4m3(target: Target) -> str | None:
    """The requirement of launchers that make numbers e4m3, where they are known to run."""
    enough = torch.cuda.get_device_capability(target.device) >= (8, 9)
    return None if enough else "needs a CUDA device of compute capability 8.9 for e4m3"


def without_kept_e4m3(target: Target) -> str | None:
    """The requirement of launchers that write or read the KV cache, where they are known to run."""
    return without_e4m3(target) if target.kv_dtype == torch.float8_e4m3fn else None


def without_block_scales(target: Target) -> str | None:
    """The requirement of launchers whose tensor cores scale blocks, where they are known to run."""
    tensor_memory = torch.cuda.get_device_capability(target.device)[0] == 10
    return None if tensor_memory else "needs a CUDA device of compute capability 10 for scales of blocks"
