"""What a device really reads and multiplies in a second, measured where the model will run.

Datasheets name what no program reaches; these ceilings are what a plain one does. They are measured in a fraction of a
second, so they are the machine's of that moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from neokernels.tuning.space import Work

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


@dataclass(frozen=True, slots=True)
class KernelCeilings:
    """What single kernels are held to."""

    read_bytes_per_s: float
    """Of a sum over memory that no cache holds."""
    copy_bytes_per_s: float
    """Of a copy there, what is read and what is written counted both."""
    gemm_flops_per_s: Mapping[str, float]
    """Of a product of square matrices, by the name of their type; types the device has no product for are left out."""

    def share(self, work: Work, seconds: float) -> float | None:
        """The least time that the ceilings allow for `work`, over `seconds`; None where one of them is not known."""
        bytes_per_s = max(self.read_bytes_per_s, self.copy_bytes_per_s)
        if not work.flops:
            return work.nbytes / bytes_per_s / seconds
        flops_per_s = self.gemm_flops_per_s.get(work.flops_dtype)
        return None if flops_per_s is None else max(work.nbytes / bytes_per_s, work.flops / flops_per_s) / seconds


def measure_kernel_ceilings(device: torch.device) -> KernelCeilings:
    """Of a GPU, the best of a few rounds."""
    source = torch.ones(_READ_BYTES[device.type] // 8, dtype=torch.int64, device=device)
    target = torch.empty_like(source)
    read_bytes_per_s = source.nbytes / _best_s(device, source.sum)
    copy_bytes_per_s = 2 * source.nbytes / _best_s(device, partial(target.copy_, source))
    del source, target
    size = _GEMM_SIZE[device.type]
    flops_per_s = {
        str(dtype).removeprefix("torch."): 2 * size**3 / _best_s(device, _product(device, dtype, size))
        for dtype in (torch.bfloat16, torch.float16, torch.float32)
    }
    with suppress(RuntimeError):  # before Ada the tensor cores have no such products
        flops_per_s["float8_e4m3fn"] = 2 * size**3 / _best_s(device, _narrow_product(device, size))
    return KernelCeilings(read_bytes_per_s, copy_bytes_per_s, flops_per_s)


def _product(device: torch.device, dtype: torch.dtype, size: int) -> Callable[[], Tensor]:
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return partial(torch.matmul, left, right)


def _narrow_product(device: torch.device, size: int) -> Callable[[], Tensor]:
    """Of eight-bit floats with one scale each; the second matrix lies by columns, as the tensor cores want it."""
    left, right = (torch.randn(size, size, device=device).to(torch.float8_e4m3fn) for _ in range(2))
    scale = torch.ones((), device=device)
    return partial(torch._scaled_mm, left, right.t(), scale, scale, out_dtype=torch.bfloat16)


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
