"""What NVML's functions are given and answer, as plain JSON that tells nobody whose hardware it was.

UUIDs become pseudonyms, as everywhere. Serial numbers are short enough to be guessed until one fits a pseudonym, so
they are numbered as they come, and so is every text or row of bytes that is not known to be harmless: equal ones stay
equal.
"""

from __future__ import annotations

import ctypes
import re
from typing import Any

import pynvml

from bench.core.pseudonym import pseudonym
from bench.node.nvml import MEMBER_OF_TYPE

_HARMLESS_FUNCTIONS = frozenset(
    {
        "nvmlDeviceGetName",
        "nvmlDeviceGetVbiosVersion",
        "nvmlDeviceGetBoardPartNumber",
        "nvmlDeviceGetGspFirmwareVersion",
        "nvmlSystemGetDriverVersion",
        "nvmlSystemGetNVMLVersion",
    }
)
"""Their text names a product or a version, and not one piece of hardware."""
_HARMLESS_MEMBERS = frozenset({"busId", "busIdLegacy"})
_UUID = re.compile(r"([A-Z]+-)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_GIVES_HANDLE = re.compile(r"nvmlDeviceGetHandleBy\w+|nvmlEventSetCreate")


class PlainValues:
    """One object for a whole recording: what stands for what must stay the same."""

    def __init__(self) -> None:
        self._handles: dict[int, str] = {}
        self._kept: list[Any] = []
        """Handles known by where they lie in memory, which nothing else may take meanwhile."""
        self._numbers: dict[str | bytes, str] = {}

    def answer(self, function: str, value: Any) -> Any:
        """What `function` answered."""
        if _GIVES_HANDLE.fullmatch(function):
            return self._handle(value)
        return self._plain(value, harmless=function in _HARMLESS_FUNCTIONS)

    def argument(self, value: Any) -> Any:
        """What a function was given; of a structure that it fills, the name alone."""
        filled = referred(value)
        return self._plain(value) if filled is None else {"reference": type(filled).__name__}

    def _handle(self, value: Any) -> dict[str, str]:
        key = _address(value)
        if key not in self._handles:
            self._kept.append(value)
            self._handles[key] = f"handle{len(self._handles)}"
        return {"handle": self._handles[key]}

    def _plain(self, value: Any, *, harmless: bool = False) -> Any:
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return value if harmless else self._text(value)
            case bytes():
                return value.decode(errors="replace") if harmless else self._text(value.decode(errors="replace"))
            case pynvml.c_nvmlFieldValue_t():
                return _field_value(value)
            case ctypes.Structure():
                return {"structure": type(value).__name__, "members": self._members(value)}
        if _is_pointer(value) or _address(value) in self._handles:
            return self._handle(value) if _address(value) else None
        if isinstance(value, list | tuple | ctypes.Array):
            return [self._plain(one) for one in value]
        return {"object": {name: self._plain(inner) for name, inner in getattr(value, "__dict__", {}).items()}}

    def _members(self, structure: ctypes.Structure) -> dict[str, Any]:
        kinds = ((name, kind) for name, kind, *_ in structure._fields_)
        return {name: self._member(structure, name, kind) for name, kind in kinds}

    def _member(self, structure: ctypes.Structure, name: str, kind: Any) -> Any:
        if issubclass(kind, ctypes.Array) and kind._type_ in (ctypes.c_char, ctypes.c_ubyte):
            octets = _octets(structure, name)
            if kind._type_ is ctypes.c_char:
                return self._plain(octets.split(b"\0", 1)[0], harmless=name in _HARMLESS_MEMBERS)
            return {"bytes": self._masked(octets).hex()}
        if issubclass(kind, ctypes.Union):
            return {"bytes": self._masked(_octets(structure, name)).hex()}
        if kind is ctypes.c_char:
            # Without pynvml, which takes the number in one byte for text and fails from 128 on.
            return {"bytes": _octets(structure, name).hex()}
        return self._plain(getattr(structure, name))

    def _text(self, text: str) -> str:
        if uuid := _UUID.fullmatch(text):
            return f"{uuid[1] or ''}{pseudonym(text)}"
        return self._number(text) if text else text

    def _masked(self, octets: bytes) -> bytes:
        """As many bytes; zeros, which mean that nothing is told, stay."""
        return self._number(octets).encode()[-len(octets) :].ljust(len(octets), b"\0") if any(octets) else octets

    def _number(self, identity: str | bytes) -> str:
        return self._numbers.setdefault(identity, f"identity-{len(self._numbers)}")


def referred(argument: Any) -> ctypes.Structure | None:
    """The structure that is handed over by reference, to be filled."""
    filled = getattr(argument, "_obj", None)
    return filled if isinstance(filled, ctypes.Structure) else None


def _is_pointer(value: Any) -> bool:
    return hasattr(type(value), "contents")  # that of a value itself cannot be looked at where it is null


def _address(value: Any) -> int:
    return ctypes.cast(value, ctypes.c_void_p).value or 0 if _is_pointer(value) else id(value)


def _octets(structure: ctypes.Structure, name: str) -> bytes:
    member = getattr(type(structure), name)
    return bytes(structure)[member.offset : member.offset + member.size]


def _field_value(answer: pynvml.c_nvmlFieldValue_t) -> dict[str, Any]:
    told = answer.nvmlReturn == pynvml.NVML_SUCCESS
    return {
        "field": answer.fieldId,
        "scope": answer.scopeId,
        "code": answer.nvmlReturn,
        "type": answer.valueType if told else None,
        "value": getattr(answer.value, MEMBER_OF_TYPE[answer.valueType]) if told else None,
        "t_us": answer.timestamp,
        "latency_us": answer.latencyUsec,
    }
