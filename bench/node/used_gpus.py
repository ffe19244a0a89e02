"""Which GPUs of the machine an engine uses."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.pseudonym import pseudonym
from bench.node.facts import AbsentError
from bench.node.nvml import Device


def used_gpus(devices: Sequence[Device], accelerator_ids: Sequence[str] | None) -> list[Device]:
    """Those of `devices` with these pseudonyms, in their order; None is for an engine that cannot say, and all may be.

    Raises AbsentError when there are none, or one of them is not known.
    """
    if accelerator_ids is None:
        return list(devices)
    if not accelerator_ids:
        raise AbsentError("the engine uses no GPU")
    known = {pseudonym(device.ask("nvmlDeviceGetUUID")): device for device in devices}
    unknown = [id for id in accelerator_ids if id not in known]
    if unknown:
        # As with MIG, whose instances have identities of their own but share one meter, one clock and one fan.
        raise AbsentError(f"NVML knows no GPU {', '.join(unknown)}, which the engine uses")
    return [known[id] for id in accelerator_ids]
