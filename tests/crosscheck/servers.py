"""The servers that are asked, each a process on the first core; a client has the others.

What a server truly did comes from its own log, where it keeps one, or from a witness that stands before it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exchanges import Exchange, Habits
from witness import is_token

WITNESS = (sys.executable, str(Path(__file__).with_name("witness.py")))
BENCH = (sys.executable, "-c", "from bench.cli.main import main; main()")
MODEL = Path(__file__).parents[2] / "configs" / "models" / "tiny"
_ENGINE = ("--set", "threads=1", "--set", "prefix_cache=false", "--set", "check_accuracy=false")
"""One core is the server's, and what one client asked is not to help the next."""
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_ASK_SECONDS = 30.0


class ServerError(Exception):
    """A server did not start, or does not answer."""


@dataclass(frozen=True)
class Server:
    """How a server is started: it prints a JSON document with its `url` on its first line."""

    name: str
    command: tuple[str, ...]
    keeps_truth: bool = False
    """Whether it answers `GET /truth` and `POST /reset` itself."""
    requests_per_s: float = 30.0
    """Of the open loop."""


SERVERS = (
    Server("bench mock", (*BENCH, "mock", "--json"), keeps_truth=True),
    Server("bench serve", (*BENCH, "serve", "--json", "--port", "0", "--model", "tiny", *_ENGINE), requests_per_s=15.0),
)


class Running:
    """A server that answers at `url` for `model`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.model: str = _get(f"{url}/v1/models")["data"][0]["id"]

    def reset(self) -> None:
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/reset", method="POST"), timeout=_ASK_SECONDS):
            pass

    def truth(self, requests: int) -> list[Exchange]:
        """The latest `requests`, those before them being somebody's warm-up. Raises ServerError for fewer."""
        told = sorted(_get(f"{self.url}/truth")["requests"], key=lambda one: one["t_received_ns"])
        if len(told) < requests:
            raise ServerError(f"{requests} requests were to be sent, the server read {len(told)}")
        return [exchange_of(one) for one in told[-requests:]]

    def habits(self, *, chat: bool) -> Habits:
        """What stands around the tokens of an answer, told by one that is asked for here."""
        return habits_of(self._stream(chat))

    def _stream(self, chat: bool) -> list[dict[str, Any]]:
        asked = {"messages": [{"role": "user", "content": "hello"}]} if chat else {"prompt": "hello"}
        body = {"model": self.model, "stream": True, "max_tokens": 4, "ignore_eos": True, **asked}
        path = "/v1/chat/completions" if chat else "/v1/completions"
        request = urllib.request.Request(
            f"{self.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=_ASK_SECONDS) as response:
            lines = response.read().decode().split("\n\n")
        return [json.loads(line[len("data: ") :]) for line in lines if line.startswith("data: {")]


def exchange_of(told: dict[str, Any]) -> Exchange:
    """One request of a log of truth, which is of tokens only: it has no chunks around them."""
    received_ns, writes_ns = told["t_received_ns"], told["t_writes_ns"]
    return Exchange(
        due_ns=received_ns,
        sent_ns=received_ns,
        token_ns=tuple(writes_ns),
        chunk_tokens=tuple(told["write_tokens"]),
        prompt_tokens=told["prompt_tokens"],
        output_tokens=told["tokens"],
    )


def habits_of(events: list[dict[str, Any]]) -> Habits:
    """Read from the events of one streamed answer. Raises ServerError where none is for a token."""
    choices = [event["choices"][0] for event in events if event.get("choices")]
    tokens = [is_token(one) for one in choices]
    if True not in tokens:
        raise ServerError("an answer without a token")
    return Habits(opens=not tokens[0], closes=not tokens[-1])


@contextmanager
def running(server: Server, core: int) -> Iterator[Running]:
    """`server` and what tells the truth of it. Raises ServerError where one does not start."""
    with ExitStack() as stack:
        url = stack.enter_context(started(server.command, core))
        if not server.keeps_truth:
            url = stack.enter_context(started((*WITNESS, url), core))
        yield Running(url)


@contextmanager
def started(command: tuple[str, ...], core: int) -> Iterator[str]:
    """The URL that `command` prints, until the end of the block. Raises ServerError where it prints none."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            yield _url(process, log, " ".join(command[-2:]))
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
            process.kill()
            process.wait()


def _url(process: subprocess.Popen[str], log: Any, name: str) -> str:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
    line = process.stdout.readline() if readable else ""
    if line:
        return str(json.loads(line)["url"]).rstrip("/")
    log.seek(0)
    words = log.read().decode(errors="replace").strip().splitlines()
    raise ServerError(f"{name}: {words[-1] if words else f'no address within {_START_SECONDS:g} s'}")


def _get(url: str) -> Any:
    give_up = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=_ASK_SECONDS) as response:
                return json.load(response)
        except OSError as error:
            if time.monotonic() > give_up:
                raise ServerError(f"{url}: {error}") from None
            time.sleep(0.1)
