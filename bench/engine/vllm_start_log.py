"""What vLLM's log tells of its start: how long its parts took, and what it resolved."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

_LINE = re.compile(r"\((?P<process>[\w .-]+ pid=\d+)\) \w+ (?P<time>\d\d-\d\d \d\d:\d\d:\d\d)[^\]]*\] (?P<text>.*)")
_LOADED = re.compile(r"Model loading took .* and (\d+(?:\.\d+)?) seconds")
_LOADED_IN_PARTS = re.compile(r"(?:Initializing model|Loading weights) took (\d+(?:\.\d+)?) seconds")
_COMPILED = re.compile(r"torch\.compile (?:and initial profiling/warmup run together )?took (\d+(?:\.\d+)?) s in total")
_COMPILED_BY_ENGINE = re.compile(r"init engine \(.*\) took .* s \(compilation: (\d+(?:\.\d+)?) s")
_CAPTURED = re.compile(r"Graph capturing finished in (\d+(?:\.\d+)?) secs")
_INITIALISED = re.compile(r"init engine \(.*\) took (\d+(?:\.\d+)?) s")
_WARMS_UP, _WARMED_UP = "Warming up model for the compilation", "Warming up done"
_ENGINE = re.compile(r"Initializing a V1 LLM engine \(v(?P<version>[^)]+)\) with config: (?P<config>.*)")
_SETTINGS = (
    "dtype",
    "max_seq_len",
    "load_format",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "quantization",
    "enforce_eager",
    "kv_cache_dtype",
    "device_config",
    "enable_prefix_caching",
    "enable_chunked_prefill",
)
_GRAPH_MODE = re.compile(r"'cudagraph_mode': <CUDAGraphMode\.(\w+)")
_COMPILATION_MODE = re.compile(r"'mode': <CompilationMode\.(\w+)")
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class StartPhases:
    """Seconds, those of the slowest process where several tell; None where none did."""

    load_s: float | None = None
    """Making the model and reading its weights."""
    compile_s: float | None = None
    """Where vLLM tells no time of its own, as on a CPU, the time between two lines of the log, to the second."""
    capture_s: float | None = None
    initialise_s: float | None = None
    """Profiling, the KV cache and warming up, compilation and capture among it."""


def start_phases(log: str) -> StartPhases:
    lines = [(line["process"], line["time"], line["text"]) for line in map(_LINE.search, log.splitlines()) if line]

    def told(pattern: re.Pattern[str]) -> float | None:
        """The sum a process tells, of the process that tells the most."""
        sums: dict[str, float] = defaultdict(float)
        for process, _, text in lines:
            if found := pattern.search(text):
                sums[process] += float(found[1])
        return max(sums.values(), default=None)

    return StartPhases(
        load_s=_first(told(_LOADED), told(_LOADED_IN_PARTS)),
        compile_s=_first(told(_COMPILED), told(_COMPILED_BY_ENGINE), _between(lines, _WARMS_UP, _WARMED_UP)),
        capture_s=told(_CAPTURED),
        initialise_s=told(_INITIALISED),
    )


def resolved_settings(log: str) -> dict[str, Any]:
    """What the engine says it was made with, by vLLM's own names; empty where the log has no such line."""
    found = _ENGINE.search(log)
    if found is None:
        return {}
    config = found["config"]
    settings: dict[str, Any] = {}
    for name in _SETTINGS:
        if setting := re.search(rf"(?:^|[ ,(]){name}=([^,\s)]+)", config):
            settings[name] = _value(setting[1])
    for name, pattern in (("cudagraph_mode", _GRAPH_MODE), ("compilation_mode", _COMPILATION_MODE)):
        if mode := pattern.search(config):
            settings[name] = mode[1].lower()
    return settings


def _value(text: str) -> Any:
    if text in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[text]
    return int(text) if text.isdigit() else text.removeprefix("torch.")


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _between(lines: list[tuple[str, str, str]], begin: str, end: str) -> float | None:
    """Seconds from the first line with `begin` to the last with `end`."""
    begun = next((time for _, time, text in lines if begin in text), None)
    ended = next((time for _, time, text in reversed(lines) if end in text), None)
    return None if begun is None or ended is None else float((_seconds(ended) - _seconds(begun)) % _DAY_S)


def _seconds(time: str) -> int:
    """Of the day: a start that goes over midnight is shorter than one."""
    hours, minutes, seconds = map(int, time.split()[1].split(":"))
    return hours * 3600 + minutes * 60 + seconds
