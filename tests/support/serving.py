"""`bench serve` as a process of its own, found by what it prints and ended by its id."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mock_serving import connect

BENCH = (sys.executable, "-c", "from bench.cli.main import main; main()")
SMALL = (
    *("--set", "threads=1", "--set", "check_accuracy=false"),
    *("--set", "kv_cache_tokens=16384", "--set", "max_running=4"),
)
"""Room for small answers."""
TINY = ("--model", "tiny", *SMALL)
"""Ready in seconds."""
START_SECONDS = 120.0
END_SECONDS = 30.0


@dataclass(frozen=True)
class ServeProcess:
    """A server that answers."""

    url: str
    model: str
    max_context_tokens: int
    process: subprocess.Popen[str]
    errors: IO[str]

    def children(self) -> list[int]:
        """Ids of the processes it has started itself: the engine's."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def resident_bytes(self) -> int:
        """Of the server and its engine."""
        pages = (Path(f"/proc/{pid}/statm").read_text().split()[1] for pid in (self.process.pid, *self.children()))
        return sum(map(int, pages)) * os.sysconf("SC_PAGE_SIZE")

    def metric(self, name: str, headers: Mapping[str, str] | None = None) -> float:
        """A value of its metrics that has no labels."""
        connection = connect(self.url)
        connection.request("GET", "/metrics", headers=headers or {})
        page = connection.getresponse().read().decode()
        return next(float(line.split(" ")[1]) for line in page.splitlines() if line.startswith(f"{name} "))

    def told(self) -> str:
        """What it has written to stderr."""
        self.errors.seek(0)
        return self.errors.read()


@contextmanager
def bench_serve(*arguments: object, environment: Mapping[str, str] | None = None) -> Iterator[ServeProcess]:
    """A server with these arguments on a free port, ended with the block if it has not ended before."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [*BENCH, "serve", "--json", "--port", "0", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        assert process.stdout is not None
        try:
            ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
            line = process.stdout.readline() if ready else ""
            if not line:
                errors.seek(0)
                raise AssertionError(f"bench serve did not begin: {errors.read()}")
            yield ServeProcess(**json.loads(line), process=process, errors=errors)
        finally:
            # Told twice, it waits for no answer that a test left.
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)
            try:
                process.wait(END_SECONDS)
            finally:
                process.kill()
                process.wait()
                process.stdout.close()


def is_there(pid: int) -> bool:
    """Whether a process of that id runs; one that has ended and that nobody asked for how does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
