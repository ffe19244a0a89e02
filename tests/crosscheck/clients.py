"""What all clients have in common: what each is asked to do, and the process it does it in."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asked import Request
from definitions import Load
from exchanges import Habits

ROOT = Path(__file__).parents[2]
_RUN_SECONDS = 150.0
_STOP_SECONDS = 10.0
_MOST_TOLD = 300


class ClientError(Exception):
    """A client did not do what it was asked."""


@dataclass(frozen=True)
class Task:
    """One run: whom to ask what, and how."""

    url: str
    model: str
    """What the server calls it."""
    tokenizer: Path
    chat: bool
    load: Load
    requests: list[Request]
    warm_up: int
    """Requests before those that count."""
    habits: Habits
    core: int
    """The client runs on every core but this one, which is the server's."""
    folder: Path
    """Empty; for what the client reads and writes."""

    @property
    def min_tokens(self) -> int:
        """`bench run` asks for it beside `ignore_eos`; the others are told to, and know one for all requests."""
        return min(request.output_tokens for request in self.requests)


def run_process(
    command: Sequence[object], task: Task, environment: Mapping[str, str] | None = None, done: Collection[int] = (0,)
) -> None:
    """Run `command`, and end it with all it started when it takes too long. Raises ClientError for an exit code that is
    not among `done`."""
    others = os.sched_getaffinity(0) - {task.core} or {task.core}
    log = task.folder / "output"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=task.folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # so that what it starts can be ended with it
            preexec_fn=lambda: os.sched_setaffinity(0, others),
        )
        try:
            code = process.wait(_RUN_SECONDS)
        except subprocess.TimeoutExpired:
            raise ClientError(f"no end within {_RUN_SECONDS:g} s") from None
        finally:
            _end_all(process)
    if code not in done:
        raise ClientError(_cause(log.read_text(errors="replace").strip().splitlines()) or f"exit code {code}")


def _cause(lines: Sequence[str]) -> str:
    """The last line that speaks of an error, or the last one."""
    return next((line.strip() for line in reversed(lines) if "Error: " in line), lines[-1] if lines else "")[
        :_MOST_TOLD
    ]


def _end_all(process: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
