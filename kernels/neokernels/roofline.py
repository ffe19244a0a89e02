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
_RUNS = {"cpu": 1, "cuda": 10}
"""In a round: a GPU does a load in a millisecond, of which the host would take some percent to begin and to wait."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a device is given to do, and how much that is."""

    run: Callable[[], Tensor]
    amount: int
    """Bytes read and written, or floating-point operations, of one run."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    read_bytes_per_s: float
    """Of a sum over memory that no cache holds."""
    gemm_flops_per_s: float
    """Of a product of square matrices, 1,024 wide on a CPU (256 in float16) and 8,192 on a GPU."""


def measure_ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """The best of a few rounds, with the threads torch may use now. `dtype` is that of the matrices."""
    return Ceilings(_best_per_s(device, read_stream(device)), _best_per_s(device, product(device, dtype)))


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
    read_bytes_per_s = _best_per_s(device, read_stream(device))
    copy_bytes_per_s = _best_per_s(device, copy_stream(device))
    flops_per_s = {
        str(dtype).removeprefix("torch."): _best_per_s(device, product(device, dtype))
        for dtype in (torch.bfloat16, torch.float16, torch.float32)
    }
    with suppress(RuntimeError):  # before Ada the tensor cores have no such products
        flops_per_s["float8_e4m3fn"] = _best_per_s(device, narrow_product(device))
    return KernelCeilings(read_bytes_per_s, copy_bytes_per_s, flops_per_s)


def read_stream(device: torch.device, nbytes: int | None = None) -> Load:
    """A sum over `nbytes` of memory, by default many times what most caches hold."""
    words = _words(device, nbytes)
    return Load(words.sum, words.nbytes)


def copy_stream(device: torch.device, nbytes: int | None = None) -> Load:
    """A copy of `nbytes` to another place of the same memory; what is read and what is written counts both."""
    source = _words(device, nbytes)
    target = torch.empty_like(source)
    return Load(partial(target.copy_, source), 2 * source.nbytes)


def product(device: torch.device, dtype: torch.dtype, size: int | None = None) -> Load:
    """Of square matrices of `size`."""
    if size is None:
        halves = device.type == "cpu" and dtype == torch.float16
        size = _HALF_GEMM_SIZE if halves else _GEMM_SIZE[device.type]
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return Load(partial(torch.matmul, left, right), 2 * size**3)


def narrow_product(device: torch.device) -> Load:
    """Of eight-bit floats with one scale each; the second matrix lies by columns, as the tensor cores want it.

    Without the fast accumulation of Hopper's tensor cores, which drops bits: no kernel here makes use of it. Where the
    device has no such product, running it is a RuntimeError.
    """
    size = _GEMM_SIZE[device.type]
    left, right = (torch.randn(size, size, device=device).to(torch.float8_e4m3fn) for _ in range(2))
    scale = torch.ones((), device=device)
    multiply = partial(torch._scaled_mm, left, right.t(), scale, scale, out_dtype=torch.bfloat16)
    return Load(multiply, 2 * size**3)


def seconds_of(device: torch.device, work: Callable[[], object]) -> float:
    """How long `work` takes on a device that has nothing else to do, until it is done there."""
    _synchronize(device)
    began = time.perf_counter()
    work()
    _synchronize(device)
    return time.perf_counter() - began


def _words(device: torch.device, nbytes: int | None) -> Tensor:
    return torch.ones((nbytes or _READ_BYTES[device.type]) // 8, dtype=torch.int64, device=device)


def _best_per_s(device: torch.device, load: Load) -> float:
    """In the fastest of `_ROUNDS` rounds, after a run that is not counted."""
    load.run()
    runs = _RUNS[device.type]

    def round_of_runs() -> None:
        for _ in range(runs):
            load.run()

    return runs * load.amount / min(seconds_of(device, round_of_runs) for _ in range(_ROUNDS))


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
