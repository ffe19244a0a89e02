"""The GPUs that NVML names, as CUDA knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pynvml
import torch

from bench.node.facts import AbsentError
from bench.node.measured.trials import in_a_line
from bench.node.nvml import Nvml
from bench.node.used_gpus import is_lost

_FIRST = "gpu0"
"""Stands for the GPUs of a machine where NVML tells of none."""


class CudaDevices:
    """By NVML's names, as in every table. CUDA is asked only when a figure needs it: where it then hangs or crashes,
    what was measured before stays."""

    def __init__(self, api: Any = pynvml) -> None:
        self._uuids = _uuids(api)
        self._used: set[torch.device] = set()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._uuids) or (_FIRST,)

    @property
    def expected(self) -> bool:
        """Whether there are any. CUDA is asked only where NVML tells of none: there is hardly a driver to hang."""
        return bool(self._uuids) or torch.cuda.is_available()

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
        if not self._uuids:
            return 0
        for index in range(torch.cuda.device_count()):
            # NVML writes the same UUID with its kind in front.
            if f"GPU-{torch.cuda.get_device_properties(index).uuid}" == self._uuids[name]:
                return index
        raise AbsentError(f"CUDA shows no GPU with the UUID of {name}: CUDA_VISIBLE_DEVICES or MIG hides it")


def _uuids(api: Any) -> Mapping[str, str]:
    try:
        nvml = Nvml(api)
    except AbsentError:
        return {}
    try:
        return {device.name: str(device.ask("nvmlDeviceGetUUID")) for device in nvml.devices() if not is_lost(device)}
    except AbsentError:
        return {}
    finally:
        nvml.close()
