"""Which GPUs of the machine an engine uses."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pynvml

from bench.core.pseudonym import pseudonym
from bench.node.facts import AbsentError
from bench.node.nvml import Device, RefusedError


def used_gpus(devices: Sequence[Device], accelerator_ids: Sequence[str] | None) -> list[Device]:
    """Those of `devices` with these pseudonyms, in their order; None is for an engine that cannot say, and all may be.

    Raises AbsentError when there are none, or one of them is not known.
    """
    if accelerator_ids is None:
        return list(devices)
    if not accelerator_ids:
        raise AbsentError("the engine uses no GPU")
    known = gpus_by_id(devices)
    unknown = [id for id in accelerator_ids if id not in known]
    if unknown:
        # As with MIG, whose instances have identities of their own but share one meter, one clock and one fan.
        raise AbsentError(f"NVML knows no GPU {', '.join(unknown)}, which the engine uses")
    return [known[id] for id in accelerator_ids]


def gpus_by_id(devices: Sequence[Device]) -> dict[str, Device]:
    """`devices` by their pseudonyms, without those that do not say which they are, as a lost one."""
    by_id: dict[str, Device] = {}
    for device in devices:
        with contextlib.suppress(AbsentError):
            by_id[pseudonym(device.ask("nvmlDeviceGetUUID"))] = device
    return by_id


def is_lost(device: Device) -> bool:
    """Whether the GPU has fallen off the bus, so that no engine can use it."""
    try:
        device.ask("nvmlDeviceGetPowerUsage")
    except RefusedError as refused:
        return bool(refused.code == pynvml.NVML_ERROR_GPU_IS_LOST)
    return False
