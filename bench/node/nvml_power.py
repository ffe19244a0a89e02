"""The power meters that NVML has on this machine, scope by scope: whole, or missing with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from bench.node.facts import AbsentError
from bench.node.gpu_power import gpu_meters, memory_meters, several_processes
from bench.node.module_power import module_meters
from bench.node.nvml import Nvml
from bench.node.nvml_sensor import Meter, NvmlSensor, sensors_of
from bench.node.used_gpus import is_lost, used_gpus

NVML_SCOPES = ("gpu", "memory", "module")


@dataclass(frozen=True)
class NvmlMeters:
    sensors: tuple[NvmlSensor, ...]
    """In the order they are to be read."""
    missing: dict[str, str]
    """By scope: why it is not read."""
    remark: str | None
    """What whoever reads the energy must know of it."""


def open_meters(nvml: Nvml, accelerator_ids: Sequence[str] | None) -> NvmlMeters:
    """The meters of the GPUs with these pseudonyms, or of every GPU for None: which are used is not known then.

    A GPU that is lost already is left alone: no engine can use it. Raises AbsentError where the GPUs cannot be told.
    """
    counted = nvml.devices()
    if not counted:
        raise AbsentError("NVML finds no GPU")
    lost = [device for device in counted if is_lost(device)]
    devices = [device for device in counted if device not in lost]
    if not devices:
        raise AbsentError("every GPU of the machine is lost")
    used = used_gpus(devices, accelerator_ids)
    scopes = (partial(gpu_meters, used), partial(memory_meters, used), partial(module_meters, used, devices))
    meters: list[Meter] = []
    missing: dict[str, str] = {}
    for scope, open_scope in zip(NVML_SCOPES, scopes, strict=True):
        try:
            meters += open_scope()
        except AbsentError as absent:
            missing[scope] = str(absent)
    every = f"every GPU of the machine is read ({len(used)}): which of them are used is not known"
    remarks = [
        every if accelerator_ids is None else None,
        f"not read, because lost: {', '.join(device.name for device in lost)}" if lost else None,
        several_processes(used),
    ]
    return NvmlMeters(tuple(sensors_of(meters)), missing, "; ".join(filter(None, remarks)) or None)
