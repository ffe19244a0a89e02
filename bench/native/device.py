"""Where the model runs and in which precision."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.core.errors import InputError
from bench.core.host import available_memory_bytes
from bench.core.pseudonym import pseudonym

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """The device of `auto`, `cpu` or `cuda`; `auto` takes the GPU where there is one.

    Raises InputError for `cuda` on a machine without one.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device is usable here", where="engine.device", allowed="auto, cpu")
    return torch.device(name)


def resolve_dtype(name: str, stored: str, device: torch.device) -> torch.dtype:
    """The dtype of the weights and of every activation. `auto` is `stored` on a GPU and float32 on a CPU."""
    if name != "auto":
        return DTYPES[name]
    return torch.float32 if device.type == "cpu" else DTYPES[stored]


def resolve_kv_dtype(name: str, dtype: torch.dtype) -> torch.dtype:
    """The dtype of the KV cache: `dtype` for `auto`, e4m3 for `fp8`."""
    if name == "auto":
        return dtype
    return torch.float8_e4m3fn if name == "fp8" else DTYPES[name]


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken on `device`."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    return available_memory_bytes()


def accelerator_ids(device: torch.device) -> list[str]:
    """Pseudonyms of the GPUs behind `device`, as the node's fingerprint names them; none for a CPU."""
    if device.type != "cuda":
        return []
    # NVML writes the same UUID with its kind in front.
    return [pseudonym(f"GPU-{torch.cuda.get_device_properties(device).uuid}")]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out: torch has a type for it on CUDA and only a message on a CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def in_a_line(error: BaseException) -> str:
    """What went wrong on a device."""
    return "out of memory" if is_out_of_memory(error) else str(error).strip().partition("\n")[0]


def on_device(values: NDArray[Any], device: torch.device) -> Tensor:
    """What the host laid out, as a tensor on `device`."""
    tensor = torch.from_numpy(values)
    # Out of pinned memory the device takes its copy when its turn comes, and the host does not wait for it.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
