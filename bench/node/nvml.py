"""NVIDIA's management library with its errors turned into reasons.

Every read either answers or raises AbsentError with what NVML said. The `api` is the pynvml module, or an object that
answers the same functions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pynvml

from bench.node.facts import AbsentError

MEMBER_OF_TYPE = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_SHORT: "usVal",
}


class RefusedError(AbsentError):
    """NVML said no, and with which of its return codes: `pynvml.NVML_ERROR_…`."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(f"{what}: {pynvml.NVMLError(code)}")
        self.code = code


class Nvml:
    """The library, opened. NVML counts its openings, so each owner closes its own."""

    def __init__(self, api: Any = pynvml) -> None:
        """Raises RefusedError where there is no library, no driver or no permission."""
        self._api = api
        try:
            api.nvmlInit()
        except pynvml.NVMLError as error:
            raise RefusedError("NVML cannot be opened", error.value) from None

    def close(self) -> None:
        with contextlib.suppress(pynvml.NVMLError):  # a driver that is gone has nothing left to close
            self._api.nvmlShutdown()

    def ask(self, function: str, *arguments: Any) -> Any:
        """What an NVML function answers. Raises RefusedError with NVML's own words when it does not."""
        try:
            return getattr(self._api, function)(*arguments)
        except pynvml.NVMLError as error:
            raise RefusedError(function, error.value) from None
        except pynvml.NVMLLibraryMismatchError:
            # In place of an NVMLError, for a few functions that an old driver's library has in an older version.
            raise RefusedError(function, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND) from None
        except UnicodeDecodeError:
            raise AbsentError(f"{function} answers with what is no text") from None

    def devices(self) -> list[Device]:
        """Every GPU of the machine, whatever CUDA_VISIBLE_DEVICES says.

        One that is counted and cannot be reached is among them, and answers nothing: a machine with a lost GPU is
        another one, and not one without GPUs. Raises RefusedError where they are not counted.
        """
        return [self._device(index) for index in range(self.ask("nvmlDeviceGetCount"))]

    def _device(self, index: int) -> Device:
        try:
            return Device(index, self.ask("nvmlDeviceGetHandleByIndex", index), self)
        except RefusedError as refused:
            return _UnreachableDevice(index, None, self, refused.code)


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU as NVML knows it."""

    index: int
    handle: Any
    nvml: Nvml

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"gpu{self.index}"

    def ask(self, function: str, *arguments: Any) -> Any:
        """What an NVML function answers about this device. Raises RefusedError when it does not."""
        return self.nvml.ask(function, self.handle, *arguments)

    def field(self, field: int, scope: int) -> float:
        """One field value in NVML's own unit. Raises RefusedError: each field has a status apart from the call's."""
        (value,) = self.fields([(field, scope)])
        if isinstance(value, RefusedError):
            raise value
        return value

    def fields(self, wanted: Sequence[tuple[int, int]]) -> list[float | RefusedError]:
        """Field values by (field, scope), in one call to the driver; in place of each that is not told, why."""
        answers = self.ask("nvmlDeviceGetFieldValues", list(wanted))
        return [_value(answer) for answer in answers]


@dataclass(frozen=True, slots=True)
class _UnreachableDevice(Device):
    """A GPU that is counted and has no handle, such as one that has fallen off the bus."""

    code: int
    """Why, as NVML's return code."""

    def ask(self, function: str, *_: Any) -> Any:
        raise RefusedError(f"{function} without a handle", self.code)


def _value(answer: Any) -> float | RefusedError:
    code, kind = answer.nvmlReturn, answer.valueType
    if code == pynvml.NVML_SUCCESS and kind in MEMBER_OF_TYPE:
        return float(getattr(answer.value, MEMBER_OF_TYPE[kind]))
    what = f"NVML field {answer.fieldId}, scope {answer.scopeId}"
    if code != pynvml.NVML_SUCCESS:
        return RefusedError(what, code)
    return RefusedError(f"{what}, of type {kind}", pynvml.NVML_ERROR_NOT_SUPPORTED)
