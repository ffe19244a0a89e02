"""What kernels were last compiled to, so that a change of it is a decision and no accident.

One JSON file a kernel and version of Triton: for each shipped example and device the registers, stack and memory of its
launches, and the reason why the figures are what they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton

from neokernels.aot import Compiled, compile_kernel
from neokernels.device import DATASHEET_DEVICES, Device
from neokernels.tuning.space import Config, Problem, TunableKernel

REGISTER_TOLERANCE = 0.1


@dataclass(frozen=True)
class Example:
    """One shipped problem of a kernel, with the schedule it runs with on one device."""

    kernel: TunableKernel[Any]
    problem: Problem
    device: Device
    config: Config

    @property
    def key(self) -> str:
        return f"sm_{self.device.capability}: {self.problem}: {self.config}"

    def __str__(self) -> str:
        return f"{self.kernel.name} {self.key}"

    def compile(self) -> tuple[Compiled, ...]:
        """Raises CompileError."""
        return compile_kernel(self.kernel, self.problem, self.config, self.device)


def examples(kernels: Sequence[TunableKernel[Any]]) -> Iterator[Example]:
    """Each kernel's shipped problems, with the schedules that are shipped for them on every device."""
    for kernel in kernels:
        for problem in kernel.examples:
            for device in DATASHEET_DEVICES:
                for config in kernel.shipped(problem, device):
                    yield Example(kernel, problem, device, config)


def figures(compiled: Sequence[Compiled]) -> list[dict[str, Any]]:
    return [
        {
            "name": launch.name,
            "registers": launch.registers,
            "stack_bytes": launch.stack_bytes,
            "shared_bytes": launch.shared_bytes,
            "tensor_memory_columns": launch.tensor_memory_columns,
        }
        for launch in compiled
    ]


def golden_file(folder: Path, kernel: TunableKernel[Any]) -> Path:
    return folder / str(triton.__version__) / f"{kernel.name}.json"


def read(folder: Path, kernel: TunableKernel[Any]) -> dict[str, Any]:
    """What was recorded for a kernel; empty where nothing was."""
    file = golden_file(folder, kernel)
    recorded: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return recorded


def faults(example: Example, compiled: Sequence[Compiled], recorded: dict[str, Any] | None) -> list[str]:
    """What is wrong with what an example was compiled to, one line each; empty when nothing is.

    `recorded` is the example's entry in its golden file. A spill is a fault unless that entry has it with a reason.
    """
    found = [
        f"{launch.name} does not fit: {misfit}" for launch in compiled if (misfit := launch.misfit(example.device))
    ]
    expected = example.kernel.expects(example.problem, example.config, example.device)
    waiting = ("griddepcontrol",) if example.config.waits else ()
    found += [
        f"no launch has {wanted}"
        for wanted in (*expected, *waiting)
        if not any(launch.has(wanted) for launch in compiled)
    ]
    if recorded is None:
        return [*found, "nothing is recorded for it"]
    known = recorded["launches"]
    if [launch.name for launch in compiled] != [launch["name"] for launch in known]:
        return [*found, "it launches other kernels than recorded"]
    for launch, before in zip(compiled, known, strict=True):
        if launch.stack_bytes > before.get("spills_allowed", 0):
            found.append(f"{launch.name} spills: {launch.stack_bytes} bytes of stack")
        if abs(launch.registers - before["registers"]) > REGISTER_TOLERANCE * before["registers"]:
            found.append(f"{launch.name} has {launch.registers} registers, {before['registers']} recorded")
    return found
