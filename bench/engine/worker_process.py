"""Python in a child process, with a connection to it that the event loop reads."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import IO, Any, Generic, TypeAlias, TypeVar

from bench.core.errors import EngineError
from bench.core.module_process import call_when_readable, how_it_ended, start_module
from bench.core.process_group import end_group, kill_group, leads_group

Out = TypeVar("Out")
In = TypeVar("In")
Start: TypeAlias = "Callable[[IO[bytes]], tuple[subprocess.Popen[bytes], Connection[Any, Any]]]"
"""Starts a process that prints to the file it is given."""


def last_line(log: str) -> str:
    return next((line.strip() for line in reversed(log.split("\n")) if line.strip()), "")


class WorkerProcess(Generic[Out, In]):
    """Runs `python -m module FD`, FD being the child's end of the connection, or what `start` starts.

    `name` is what a user is told it is. Each message is handed to `receive` on the running event loop, and the end of
    the process, expected or not, to `ended` as one line, after the last message: how it ended, and what `last_words`
    finds in all that it printed. One that leads a session of its own ends with everything it started.
    """

    def __init__(
        self,
        start: str | Start,
        receive: Callable[[In], None],
        ended: Callable[[str], None],
        name: str = "the engine's process",
        last_words: Callable[[str], str] = last_line,
    ) -> None:
        self._name = name
        self._receive = receive
        self._ended = ended
        self._last_words = last_words
        self._exited = asyncio.Event()
        # What the child prints is kept from the user's terminal; its last words tell why it died.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the connection
        self._process, self._connection = (
            start_module(start, self._output) if isinstance(start, str) else start(self._output)
        )
        self._group = self._process.pid if leads_group(self._process.pid) else None
        self._others_end: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        call_when_readable(self._connection, self._on_readable)

    @property
    def alive(self) -> bool:
        return not self._exited.is_set()

    def printed(self) -> str:
        """What it has printed. Empty once it has ended."""
        if self._output.closed:
            return ""
        # Read without moving: the child's descriptor shares this one's place in the file, and writes there.
        descriptor = self._output.fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")

    def send(self, message: Out) -> None:
        """Raises EngineError when the process is gone."""
        try:
            self._connection.send(message)
        except OSError as error:
            raise EngineError(f"{self._name} is gone") from error

    def kill(self) -> None:
        if self.alive and self._group is not None:
            kill_group(self._group)
        elif self.alive:
            self._process.kill()

    async def wait(self) -> None:
        """Return once the process has ended and `ended` was called, and what it started has ended too."""
        await self._exited.wait()
        if self._others_end is not None:
            await asyncio.shield(self._others_end)  # whoever waits no longer has not asked for less

    def _on_readable(self) -> None:
        # One message a call: the loop calls again while there are more.
        try:
            message = self._connection.recv()
        except (EOFError, OSError):
            self._bury()
        else:
            self._receive(message)

    def _bury(self) -> None:
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()
        code = self._process.wait()
        if self._group is not None:
            self._others_end = self._loop.create_task(end_group(self._group))
        last_words = self._last_words(self.printed())
        self._output.close()
        self._exited.set()
        self._ended(f"{self._name} {how_it_ended(code)}{f': {last_words}' if last_words else ''}")
