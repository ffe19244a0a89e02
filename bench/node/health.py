"""How the machine fares: clocks, temperatures, what holds clocks back, errors, and who else is busy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pynvml

from bench.core.clock import Clock
from bench.core.records import HealthRow
from bench.node.cpu_health import cpu_health
from bench.node.facts import AbsentError
from bench.node.gpu_health import gpu_health
from bench.node.nvml import Nvml
from bench.node.observation import ObservedDevice
from bench.node.process_tree import ProcessTree
from bench.node.sampler import PATIENCE_S, Sampler
from bench.node.used_gpus import used_gpus
from bench.node.xid import XidWatch

HEALTH_INTERVAL_S = 1.0
"""Clocks and temperatures follow a load within seconds, and a throttle reason that holds for a hundredth of a window is
counted by the driver between our looks; each look at a GPU costs some ten calls to the driver."""


@dataclass
class HealthDevices:
    """Every device whose health can be read, opened once; to be closed by whoever opened it."""

    devices: tuple[ObservedDevice, ...]
    gpus_used: tuple[str, ...] | None
    """Names of the GPUs the engine uses; None where they are not known, and every GPU is read."""
    absent: str | None
    """Why no GPU is read; None where one is."""
    nvml: Nvml | None = None
    xids: list[XidWatch] = field(default_factory=list)
    hangs: str | None = None
    """The device that a look was never done with, so that there was no other; None where every look ended."""
    asked: str | None = None
    """The device that is looked at, or was last."""

    def read(self, clock: Clock) -> list[HealthRow]:
        """One row an observation; a device's rows carry the time just before it was read."""
        rows = []
        for one in self.devices:
            self.asked = one.device
            t_ns = clock.now_ns()
            rows += [HealthRow(t_ns, one.device, name, value) for name, value in one.read().items()]
        return rows

    def describe(self) -> dict[str, Any]:
        """Which GPUs the engine uses, and by device what was not told and why; ready for JSON."""
        missing: dict[str, Any] = {one.device: dict(one.missing) for one in self.devices if one.missing}
        if self.absent is not None:
            missing["gpu"] = self.absent
        return {"gpus_used": None if self.gpus_used is None else list(self.gpus_used), "missing": missing}

    def close(self) -> None:
        for xid in self.xids:
            with contextlib.suppress(AbsentError):  # a GPU that is lost keeps its events
                xid.close()
        if self.nvml is not None:
            self.nvml.close()
            self.nvml = None


def open_health(
    accelerator_ids: Sequence[str] | None = None, *, pid: int | None = None, root: Path = Path("/"), api: Any = pynvml
) -> HealthDevices:
    """Open the machine's processors and the GPUs of `accelerator_ids`, the pseudonyms of those an engine uses.

    None is for an engine that cannot say: every GPU is read. `pid` is the process of which everything that belongs to
    the run has come, by default this one.
    """
    tree = ProcessTree(pid, root)
    processors = cpu_health(tree, root)
    if accelerator_ids is not None and not accelerator_ids:
        return HealthDevices((processors,), (), "the engine uses no GPU")
    try:
        nvml = Nvml(api)
    except AbsentError as absent:
        return HealthDevices((processors,), None, str(absent))
    try:
        gpus = used_gpus(nvml.devices(), accelerator_ids)
    except AbsentError as absent:
        return HealthDevices((processors,), None, str(absent), nvml)
    xids = [XidWatch(gpu) for gpu in gpus]
    read = [gpu_health(gpu, tree, xid) for gpu, xid in zip(gpus, xids, strict=True)]
    used = None if accelerator_ids is None else tuple(gpu.name for gpu in gpus)
    return HealthDevices((processors, *read), used, None if gpus else "NVML finds no GPU", nvml, xids)


class HealthRecorder(Sampler[HealthRow]):
    """Writes down the health of `devices` once a second while it is entered, and on them what hangs."""

    def __init__(
        self,
        devices: HealthDevices,
        clock: Clock,
        on_rows: Callable[[list[HealthRow]], None],
        interval_s: float = HEALTH_INTERVAL_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        super().__init__(lambda: devices.read(clock), clock, on_rows, interval_s, patience_s)
        self._devices = devices

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if self.hangs:
            self._devices.hangs = self._devices.asked
