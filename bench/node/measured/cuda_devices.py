"""The GPUs that NVML names, as CUDA knows them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml
import torch

from bench.node.facts import AbsentError
from bench.node.gpu_links import seat_facts
from bench.node.measured.affinity import cpus_of
from bench.node.measured.trials import in_a_line
from bench.node.nvml import Device, Nvml

_FIRST = "gpu0"
"""Stands for the GPUs of a machine where NVML tells of none."""


@dataclass(frozen=True, slots=True)
class _Gpu:
    uuid: str | None
    """None where NVML does not tell it, as of a GPU that has fallen off the bus."""
    nearest_cpus: frozenset[int]
    """That this process may run on; empty where the machine does not tell which are next to the GPU."""


class CudaDevices:
    """By NVML's names, as in every table. CUDA is asked only when a figure needs it: where it then hangs or crashes,
    what was measured before stays."""

    def __init__(self, api: Any = pynvml, root: Path = Path("/")) -> None:
        self._gpus = _gpus(api, root)
        self._used: set[torch.device] = set()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._gpus) or (_FIRST,)

    @property
    def expected(self) -> bool:
        """Whether there are any. CUDA is asked only where NVML tells of none: there is hardly a driver to hang."""
        return bool(self._gpus) or torch.cuda.is_available()

    def cpus_near(self, name: str) -> frozenset[int]:
        """The CPUs next to the GPU; where the machine does not tell them, all that this process may run on."""
        nearest = self._gpus[name].nearest_cpus if name in self._gpus else None
        return nearest or frozenset(os.sched_getaffinity(0))

    def device(self, name: str) -> torch.device:
        """Raises AbsentError where CUDA does not know the GPU."""
        if not torch.cuda.is_available():
            raise AbsentError("torch finds no CUDA device")
        device = torch.device("cuda", self._index(name))
        self._used.add(device)
        return device

    def lost(self) -> str | None:
        """Why CUDA does nothing more in this process, as after an illegal access; None where that is not so."""
        try:
            for device in self._used:
                torch.cuda.synchronize(device)
        except RuntimeError as error:
            return in_a_line(error)
        return None

    def _index(self, name: str) -> int:
        if not self._gpus:
            return 0
        uuid = self._gpus[name].uuid
        if uuid is None:
            raise AbsentError(f"NVML does not tell the UUID of {name}, by which CUDA would know it")
        for index in range(torch.cuda.device_count()):
            # NVML writes the same UUID with its kind in front.
            if f"GPU-{torch.cuda.get_device_properties(index).uuid}" == uuid:
                return index
        raise AbsentError(f"CUDA shows no GPU with the UUID of {name}: CUDA_VISIBLE_DEVICES or MIG hides it")


def _gpus(api: Any, root: Path) -> dict[str, _Gpu]:
    """By name; empty where NVML tells of none."""
    try:
        nvml = Nvml(api)
    except AbsentError:
        return {}
    try:
        return {device.name: _Gpu(_uuid(device), _nearest_cpus(device, root)) for device in nvml.devices()}
    except AbsentError:
        return {}
    finally:
        nvml.close()


def _uuid(device: Device) -> str | None:
    with suppress(AbsentError):
        return str(device.ask("nvmlDeviceGetUUID"))
    return None


def _nearest_cpus(device: Device, root: Path) -> frozenset[int]:
    with suppress(AbsentError):
        return cpus_of(seat_facts(device, root)["nearest_cpus"] or "") & os.sched_getaffinity(0)
    return frozenset()
