"""NVML's C functions on a node of eight H100s, called by pynvml as it calls a driver's: what Python does is what it
does on such a node, and the driver takes its time without Python's lock."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pynvml
import pytest

GPUS = 8
_SCOPES = (pynvml.NVML_POWER_SCOPE_GPU, pynvml.NVML_POWER_SCOPE_MEMORY)
_WATTS = 600.0


class NvmlLibrary:
    """Power and energy by GPU and memory scope; nothing else is supported."""

    def __init__(self, call_s: float) -> None:
        self.call_s = call_s
        """How long the driver takes for a reading."""
        self.cpu_s = 0.0
        """What being made up costs: CPU time of its own readings."""

    def nvmlInitWithFlags(self, flags: int) -> int:  # noqa: N802
        return pynvml.NVML_SUCCESS

    def nvmlShutdown(self) -> int:  # noqa: N802
        return pynvml.NVML_SUCCESS

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = GPUS
        return pynvml.NVML_SUCCESS

    def nvmlDeviceGetHandleByIndex_v2(self, index: ctypes.c_uint, handle: Any) -> int:  # noqa: N802
        ctypes.cast(handle, ctypes.POINTER(ctypes.c_void_p))[0] = index.value + 1
        return pynvml.NVML_SUCCESS

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, millijoules: Any) -> int:  # noqa: N802
        time.sleep(self.call_s)
        millijoules._obj.value = _millijoules()
        return pynvml.NVML_SUCCESS

    def nvmlDeviceGetFieldValues(self, handle: Any, count: ctypes.c_int32, values: Any) -> int:  # noqa: N802
        began_s = time.thread_time()
        time.sleep(self.call_s)
        for answer in values._obj:
            self._fill(answer)
        self.cpu_s += time.thread_time() - began_s
        return pynvml.NVML_SUCCESS

    def _fill(self, answer: Any) -> None:
        if answer.scopeId not in _SCOPES:
            answer.nvmlReturn = pynvml.NVML_ERROR_NOT_SUPPORTED
        elif answer.fieldId == pynvml.NVML_FI_DEV_ENERGY:
            answer.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
            answer.value.ullVal = _millijoules() // (1 + answer.scopeId)
        else:
            answer.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
            answer.value.uiVal = round(_WATTS * 1000) + _millijoules() % 1000

    def __getattr__(self, function: str) -> Callable[..., int]:
        return lambda *_: pynvml.NVML_ERROR_NOT_SUPPORTED


@contextmanager
def nvml_library(call_s: float = 0.0, library: type[NvmlLibrary] = NvmlLibrary) -> Iterator[NvmlLibrary]:
    """pynvml has found this library in place of the driver's until the end of the block."""
    with pytest.MonkeyPatch.context() as patched:
        made_up = library(call_s)
        patched.setattr(pynvml, "nvmlLib", made_up)
        patched.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        yield made_up


def _millijoules() -> int:
    return int(time.monotonic() * _WATTS * 1000)
