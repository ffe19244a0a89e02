"""NVML as a recording has it: the functions of pynvml, answered from JSON lines (`bench.node.nvml_recording`)."""

from __future__ import annotations

import bisect
import ctypes
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml

from bench.core.clock import Clock
from bench.node.nvml import MEMBER_OF_TYPE
from bench.node.nvml_recording import SCHEMA
from bench.node.nvml_values import referred

_IN_ORDER = ("nvmlEventSetCreate", "nvmlEventSetWait_v2")
"""Each call takes something away, so these are answered in their order and not by the time."""


class ExhaustedError(Exception):
    """The recording is over."""


@dataclass(frozen=True)
class Handle:
    name: str


class SteppedClock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.t_ns = 0

    def now_ns(self) -> int:
        return self.t_ns


@dataclass
class _Answers:
    """Of one call, in their order: when it was made, and what came of it."""

    t_ns: list[int] = field(default_factory=list)
    outcomes: list[Mapping[str, Any]] = field(default_factory=list)
    given: int = 0

    def at(self, t_ns: int) -> Mapping[str, Any]:
        """The last by then, or the first of all."""
        return self.outcomes[max(0, bisect.bisect_right(self.t_ns, t_ns) - 1)]

    def next(self) -> Mapping[str, Any]:
        """One after another, and then the last again."""
        self.given += 1
        return self.outcomes[min(self.given, len(self.outcomes)) - 1]


class ReplayedNvml:
    """Each call, known by its function and arguments, is answered as it was last answered by this time of the
    recording, however often it is asked; field values one by one, however they are put together.

    After the end the last answers hold, or ExhaustedError is raised where they are not to be `repeating`. What was
    never asked is not supported.
    """

    def __init__(self, lines: Iterable[str], clock: Clock, *, repeating: bool = True) -> None:
        """Raises ValueError for what is no recording."""
        head, *calls = map(json.loads, lines)
        if head.get("schema") != SCHEMA or head.get("origin") not in ("recorded", "synthetic"):
            raise ValueError(f"no recording of NVML: {head}")
        self.origin = head["origin"]
        self._clock = clock
        self._start_ns = clock.now_ns()
        self._end_ns = None if repeating else max(call["t_ns"] for call in calls)
        self._answers: dict[tuple[Any, ...], _Answers] = {}
        for call in calls:
            self._keep(call)

    def __getattr__(self, function: str) -> Callable[..., Any]:
        if not hasattr(pynvml, function):
            raise AttributeError(function)

        def answer(*arguments: Any) -> Any:
            told = self._outcome(function, *map(_asked, arguments))
            for structure, members in zip(filter(None, map(referred, arguments)), told.get("filled", ()), strict=False):
                _fill(structure, members["members"])
            return _value(told["result"])

        return answer

    def nvmlDeviceGetFieldValues(self, handle: Handle, wanted: list[tuple[int, int]]) -> list[Any]:  # noqa: N802
        return [_value(self._field(handle, number, scope)) for number, scope in wanted]

    def _field(self, handle: Handle, number: int, scope: int) -> Any:
        try:
            return self._outcome("nvmlDeviceGetFieldValues", _asked(handle), number, scope)["result"]
        except pynvml.NVMLError as error:
            if error.value != pynvml.NVML_ERROR_NOT_SUPPORTED:
                raise
            return {"field": number, "scope": scope, "code": error.value}

    def _keep(self, call: Mapping[str, Any]) -> None:
        function, arguments = call["function"], call["arguments"]
        if function != "nvmlDeviceGetFieldValues":
            self._append(call["t_ns"], call, function, *arguments)
            return
        handle, wanted = arguments
        for place, (number, scope) in enumerate(wanted):
            outcome = call if "error" in call else {"result": call["result"][place]}
            self._append(call["t_ns"], outcome, function, handle, number, scope)

    def _append(self, t_ns: int, outcome: Mapping[str, Any], function: str, *arguments: Any) -> None:
        answers = self._answers.setdefault((function, json.dumps(arguments)), _Answers())
        answers.t_ns.append(t_ns)
        answers.outcomes.append(outcome)

    def _outcome(self, function: str, *arguments: Any) -> Mapping[str, Any]:
        t_ns = self._clock.now_ns() - self._start_ns
        if self._end_ns is not None and t_ns > self._end_ns:
            raise ExhaustedError(f"{function} at {t_ns} ns: the recording ends at {self._end_ns} ns")
        answers = self._answers.get((function, json.dumps(arguments)))
        if answers is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        outcome = answers.next() if function in _IN_ORDER else answers.at(t_ns)
        if "error" in outcome:
            raise pynvml.NVMLError(outcome["error"])
        return outcome


def _asked(argument: Any) -> Any:
    """As the recording has an argument."""
    if isinstance(argument, Handle):
        return {"handle": argument.name}
    structure = referred(argument)
    return argument if structure is None else {"reference": type(structure).__name__}


def _value(plain: Any) -> Any:
    match plain:
        case {"handle": name}:
            return Handle(name)
        case {"structure": name, "members": members}:
            return _fill(getattr(pynvml, name)(), members)
        case {"object": members}:
            return SimpleNamespace(**{name: _value(inner) for name, inner in members.items()})
        case {"field": _, "scope": _, "code": _}:
            return _field_value(plain)
        case list():
            return [_value(one) for one in plain]
    return plain


def _fill(structure: ctypes.Structure, members: Mapping[str, Any]) -> ctypes.Structure:
    for name, plain in members.items():
        if isinstance(plain, dict) and "bytes" in plain:
            octets, member = bytes.fromhex(plain["bytes"]), getattr(type(structure), name)
            ctypes.memmove(ctypes.addressof(structure) + member.offset, octets, len(octets))
        elif isinstance(plain, dict) and "members" in plain:
            _fill(getattr(structure, name), plain["members"])
        elif isinstance(plain, list):
            for place, one in enumerate(plain):
                getattr(structure, name)[place] = _value(one)
        elif not isinstance(plain, dict):  # nobody is given a pointer that somebody else had
            setattr(structure, name, plain.encode() if isinstance(plain, str) else plain)
    return structure


def _field_value(plain: Mapping[str, Any]) -> Any:
    answer = pynvml.c_nvmlFieldValue_t()
    answer.fieldId, answer.scopeId, answer.nvmlReturn = plain["field"], plain["scope"], plain["code"]
    if plain["code"] == pynvml.NVML_SUCCESS:
        answer.valueType = plain["type"]
        setattr(answer.value, MEMBER_OF_TYPE[plain["type"]], plain["value"])
        answer.timestamp, answer.latencyUsec = plain.get("t_us", 0), plain.get("latency_us", 0)
    return answer
