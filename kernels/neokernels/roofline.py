"""What a device really reads and multiplies in a second, measured where the model will run.

Datasheets name what no program reaches; these ceilings are what a plain one does. They are measured in a fraction of a
second, so they are the machine's of that moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_READ_BYTES = {"cpu": 128 << 20, "cuda": 2 << 30}
"""Many times what caches hold."""
_GEMM_SIZE = {"cpu": 1024, "cuda": 8192}
_HALF_GEMM_SIZE = 256
"""Of float16 on a CPU: most have no such products, and one of the other size takes them seconds."""
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Ceilings:
    read_bytes_per_s: float
    """Of a sum over memory that no cache holds."""
    gemm_flops_per_s: float
    """Of a product of square matrices, 1,024 wide on a CPU (256 in float16) and 8,192 on a GPU."""


def measure_ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """The best of a few rounds, with the threads torch may use now. `dtype` is that of the matrices."""
    words = torch.ones(_READ_BYTES[device.type] // 8, dtype=torch.int64, device=device)
    read_s = _best_s(device, words.sum)
    read_bytes = words.nbytes
    del words
    halves = device.type == "cpu" and dtype == torch.float16
    size = _HALF_GEMM_SIZE if halves else _GEMM_SIZE[device.type]
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    gemm_s = _best_s(device, lambda: left @ right)
    return Ceilings(read_bytes / read_s, 2 * size**3 / gemm_s)


def _best_s(device: torch.device, work: Callable[[], Tensor]) -> float:
    """Seconds of the fastest of `_ROUNDS` rounds, after one that is not counted."""
    work()
    best = float("inf")
    for _ in range(_ROUNDS):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return best
