"""`bench mock` as a process on one core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

BENCH = (sys.executable, "-c", "from bench.cli.main import main; main()")
_STOP_SECONDS = 20.0


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Within it this process, and what it starts, runs on `core` alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Truth:
    """What the server saw since it was last reset, request by request in the order of reading."""

    requests: list[dict[str, Any]]
    connections: int


class MockProcess:
    """A mock server with these arguments, asked for the truth between runs."""

    def __init__(self, core: int, *arguments: object) -> None:
        with on_core(core):
            self._process = subprocess.Popen(
                [*BENCH, "mock", "--json", *map(str, arguments)], stdout=subprocess.PIPE, text=True
            )
        assert self._process.stdout is not None
        self.url: str = json.loads(self._process.stdout.readline())["url"]

    def truth(self) -> Truth:
        with urllib.request.urlopen(f"{self.url}/truth") as response:
            told = json.load(response)
        return Truth(told["requests"], told["connections"] - 1)  # but for the connection that asks

    def reset(self) -> None:
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/reset", method="POST")):
            pass

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        finally:
            self._process.kill()


@contextmanager
def mock(core: int, *arguments: object) -> Iterator[MockProcess]:
    process = MockProcess(core, *arguments)
    try:
        yield process
    finally:
        process.stop()
