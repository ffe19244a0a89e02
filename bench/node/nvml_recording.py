"""Recordings of what NVML is asked and answers, call by call, to be replayed where there is no GPU.

A recording is JSON lines. The first says what it is and where it comes from: `recorded` on a machine, or `synthetic`,
written from documentation. Every other is one call in its order: function, arguments, and the result or NVML's return
code, with its time since the first and how long it took.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import sleep
from typing import Any, TextIO

import pynvml

from bench import __version__
from bench.core.clock import Clock, RealClock
from bench.core.errors import BenchError, InputError
from bench.core.units import NS_PER_S, ns_from_seconds
from bench.node.facts import AbsentError
from bench.node.fingerprint import fingerprint
from bench.node.health import HEALTH_INTERVAL_S, open_health
from bench.node.nvml import Nvml
from bench.node.nvml_power import open_meters
from bench.node.nvml_values import PlainValues, referred

SCHEMA = "neobench.nvml_recording/1"
POWER_INTERVAL_S = 0.1


class RecordingNvml:
    """Answers what `api` answers, and writes every call of an NVML function to `out`. Not for several threads at once.

    Identities are written as pseudonyms or numbers, never as they are (`nvml_values`).
    """

    def __init__(self, api: Any, out: TextIO, clock: Clock) -> None:
        self.calls = 0
        self._api = api
        self._out = out
        self._clock = clock
        self._start_ns = clock.now_ns()
        self._plain = PlainValues()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._api, name)
        is_function = name.startswith("nvml") and callable(attribute) and not isinstance(attribute, type)
        return partial(self._call, name, attribute) if is_function else attribute

    def _call(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        t_ns = self._clock.now_ns()
        try:
            result = function(*arguments)
        except pynvml.NVMLError as error:
            self._write(name, arguments, {"error": error.value}, t_ns, self._clock.now_ns())
            raise
        except pynvml.NVMLLibraryMismatchError:
            outcome = {"error": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}
            self._write(name, arguments, outcome, t_ns, self._clock.now_ns())
            raise
        end_ns = self._clock.now_ns()
        outcome = {"result": self._plain.answer(name, result)}
        if structures := [one for one in map(referred, arguments) if one is not None]:
            outcome["filled"] = [self._plain.answer(name, one) for one in structures]
        self._write(name, arguments, outcome, t_ns, end_ns)
        return result

    def _write(
        self, name: str, arguments: tuple[Any, ...], outcome: dict[str, Any], start_ns: int, end_ns: int
    ) -> None:
        asked = [self._plain.argument(one) for one in arguments]
        times = {"t_ns": start_ns - self._start_ns, "took_ns": end_ns - start_ns}
        self._out.write(json.dumps({"function": name, "arguments": asked, **outcome, **times}) + "\n")
        self.calls += 1


@dataclass(frozen=True)
class Recorded:
    file: str
    calls: int
    seconds: float
    gpus: tuple[str, ...]
    """By name."""


def record_node(file: Path, seconds: float, *, root: Path = Path("/"), api: Any = pynvml) -> Recorded:
    """Write a new `file` of what NVML answers when a run asks: the fingerprint, then meters and health for `seconds`.

    Raises BenchError where there is no GPU to ask or none any more, and InputError where the file cannot be made.
    """
    clock = RealClock()
    _check_gpus(api)
    with _new_file(file) as out:
        out.write(json.dumps(header("recorded", "what one machine answered to bench node record")) + "\n")
        recording = RecordingNvml(api, out, clock)
        devices = fingerprint(root, recording)["gpu"]["devices"]
        try:
            _read_for(seconds, recording, root, clock)
        except AbsentError as absent:
            raise BenchError(f"{file}: ends early, because {absent}") from None
    return Recorded(str(file), recording.calls, seconds, tuple(device["name"] or "unnamed GPU" for device in devices))


def header(origin: str, about: str) -> dict[str, str]:
    """The first line of a recording."""
    return {
        "schema": SCHEMA,
        "origin": origin,
        "about": about,
        "neobench": __version__,
        "nvidia_ml_py": version("nvidia-ml-py"),
    }


def _check_gpus(api: Any) -> None:
    try:
        nvml = Nvml(api)
    except AbsentError as absent:
        raise BenchError(f"nothing to record: {absent}") from None
    try:
        if not nvml.devices():
            raise BenchError("nothing to record: NVML finds no GPU")
    except AbsentError as absent:
        raise BenchError(f"nothing to record: {absent}") from None
    finally:
        nvml.close()


def _new_file(file: Path) -> TextIO:
    try:
        return file.open("x", encoding="utf-8", buffering=1)
    except FileExistsError:
        raise InputError("exists already", where=file, allowed="a new file") from None
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=file) from None


def _read_for(seconds: float, api: Any, root: Path, clock: Clock) -> None:
    """Read every power meter and the health of every device as often as a run does."""
    with ExitStack() as opened:
        nvml = Nvml(api)
        opened.callback(nvml.close)
        sensors = open_meters(nvml, accelerator_ids=None).sensors
        health = open_health(root=root, api=api)
        opened.callback(health.close)
        due_ns = health_due_ns = clock.now_ns()
        end_ns = due_ns + ns_from_seconds(seconds)
        while due_ns <= end_ns:
            sleep(max(0, due_ns - clock.now_ns()) / NS_PER_S)
            for sensor in sensors:
                sensor.read(clock.now_ns())
            if due_ns >= health_due_ns:
                health.read(clock)
                health_due_ns += ns_from_seconds(HEALTH_INTERVAL_S)
            # What a slow driver did not answer in time is left out, so that the recording ends when it should.
            due_ns = max(due_ns + ns_from_seconds(POWER_INTERVAL_S), clock.now_ns())
