"""Compiling kernels for a GPU that is not there, and reading from the result what it would need of one.

A launcher runs as it always does, on tensors that have shapes alone, and Triton's own rules decide what is specialised;
only the driver below it is ours: what it is given to load it takes apart instead, and what it is told to launch it
forgets. So what is read here is what would run. It proves nothing of speed or of numbers.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime.cache import get_cache_manager
from triton.runtime.driver import driver

from neokernels.device import Device
from neokernels.tuning.draw import Draw
from neokernels.tuning.schedules import Fixed
from neokernels.tuning.space import Config, P, TunableKernel

_WARP = 32
_REGISTERS = 65536
_WARPS = 64
_RESERVED_SHARED = 1024
"""Bytes of shared memory that the driver keeps of every program."""
_TENSOR_MEMORY_COLUMNS = 512


@dataclass(frozen=True, slots=True)
class Compiled:
    """What one launch was compiled to."""

    name: str
    registers: int
    """Of a thread."""
    stack_bytes: int
    """Of a thread: above 0 where registers were spilled."""
    shared_bytes: int
    """Of a program."""
    tensor_memory_columns: int
    warps: int
    ptx: str
    digest: str
    """Of source, types, constants and what was specialised: launches of one digest are of one compiled kernel."""

    def misfit(self, device: Device) -> str | None:
        """Why a program does not fit a multiprocessor; None when it does."""
        if self.shared_bytes + _RESERVED_SHARED > device.shared_bytes:
            return f"{self.shared_bytes + _RESERVED_SHARED:,} bytes of shared memory, {device.shared_bytes:,} there"
        if self.tensor_memory_columns > _TENSOR_MEMORY_COLUMNS:
            return f"{self.tensor_memory_columns} columns of tensor memory, {_TENSOR_MEMORY_COLUMNS} there"
        return None

    def programs_per_multiprocessor(self, device: Device) -> int:
        """How many programs a multiprocessor holds at once."""
        by_registers = _REGISTERS // (max(1, self.registers) * _WARP * self.warps)
        by_shared = device.shared_bytes // (self.shared_bytes + _RESERVED_SHARED)
        by_tensor_memory = _TENSOR_MEMORY_COLUMNS // max(1, self.tensor_memory_columns)
        return min(_WARPS // self.warps, by_registers, by_shared, by_tensor_memory)

    def has(self, instruction: str) -> bool:
        return instruction in self.ptx


class CompileError(Exception):
    """A kernel that Triton or ptxas refuses, with what they say first."""


def compile_kernel(kernel: TunableKernel[P], problem: P, config: Config, device: Device) -> tuple[Compiled, ...]:
    """Every launch that `kernel` makes for `problem`, in order. Raises CompileError."""
    with _compiling(device) as compiled:
        try:
            kernel.run(kernel.inputs(problem, Draw("meta")), Fixed(device, config))
        except _REFUSALS as error:
            raise CompileError(_first_line(error)) from error
    return tuple(compiled)


_REFUSALS = (triton.TritonError, RuntimeError)
"""Of Triton's front end, which knows what it refuses, and of its passes and ptxas, which do not."""


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ or error
    return next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)


@contextmanager
def _compiling(device: Device) -> Iterator[list[Compiled]]:
    """Within, kernels are compiled for `device` and their launches listed."""
    compiled: list[Compiled] = []
    before = driver._active
    driver.set_active(_Driver(device, compiled))
    try:
        yield compiled
    finally:
        driver._active = before


class _Driver:
    """What Triton's runtime asks of a driver, answered for a device that is not there."""

    def __init__(self, device: Device, compiled: list[Compiled]) -> None:
        self.utils = _Utils(device)
        self.launcher_cls = _Launch
        self.compiled = compiled
        self._device = device

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self._device.capability, _WARP)

    def get_current_device(self) -> int:
        return self._device.capability  # Triton keeps what it compiled by this number

    def get_current_stream(self, device: int) -> int:
        return device


class _Utils:
    """What Triton's runtime asks of a driver's library."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def get_device_properties(self, device: int) -> dict[str, int]:  # noqa: ARG002
        # What fits is for `Compiled.misfit` to say.
        return {"max_shared_mem": sys.maxsize}

    def load_binary(self, name: str, cubin: bytes, shared: int, device: int) -> tuple[None, _Usage, int, int, int]:  # noqa: ARG002
        """(module, function, registers, spills, most threads)."""
        usage = _usage(cubin)
        return None, usage, usage.registers, usage.stack_bytes, 1024


@dataclass(frozen=True, slots=True)
class _Usage:
    registers: int
    stack_bytes: int


def _usage(cubin: bytes) -> _Usage:
    """What ptxas gave a thread. Triton asks a driver, which counts no stack; the file itself says both."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    registers, stack = re.findall(r"REG:(\d+) STACK:(\d+)", told)[-1]
    return _Usage(int(registers), int(stack))


class _Launch:
    """In the place of the C function that would launch."""

    def __init__(self, source: Any, metadata: Any) -> None:  # noqa: ARG002
        self._metadata = metadata

    def __call__(self, x: int, y: int, z: int, stream: int, function: _Usage, *arguments: Any) -> None:  # noqa: ARG002
        # A kernel that was compiled before is launched by what it got then: the list is that of the driver of now.
        active: Any = driver.active
        active.compiled.append(_compiled(self._metadata, function))


def _compiled(metadata: Any, usage: _Usage) -> Compiled:
    ptx = get_cache_manager(metadata.hash).get_file(f"{metadata.name}.ptx")
    return Compiled(
        name=metadata.name,
        registers=usage.registers,
        stack_bytes=usage.stack_bytes,
        shared_bytes=metadata.shared,
        tensor_memory_columns=metadata.tmem_size or 0,
        warps=metadata.num_warps,
        ptx=Path(ptx).read_text() if ptx else "",
        digest=metadata.hash,
    )
