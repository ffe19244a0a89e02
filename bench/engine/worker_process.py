"""A Python module run as a child process, with a connection to it that the event loop reads."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from typing import Generic, TypeVar

from bench.core.errors import EngineError
from bench.core.module_process import call_when_readable, how_it_ended, start_module

Out = TypeVar("Out")
In = TypeVar("In")


class WorkerProcess(Generic[Out, In]):
    """Runs `python -m module FD`, FD being the child's end of the connection.

    `name` is what a user is told it is. Each message is handed to `receive` on the running event loop, and the end of
    the process, expected or not, to `ended` as one line, after the last message.
    """

    def __init__(
        self,
        module: str,
        receive: Callable[[In], None],
        ended: Callable[[str], None],
        name: str = "the engine's process",
    ) -> None:
        self._name = name
        self._receive = receive
        self._ended = ended
        self._exited = asyncio.Event()
        # What the child prints is kept from the user's terminal; its last line tells why it died.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the connection
        self._process, self._connection = start_module(module, self._output)
        self._loop = asyncio.get_running_loop()
        call_when_readable(self._connection, self._on_readable)

    @property
    def alive(self) -> bool:
        return not self._exited.is_set()

    def send(self, message: Out) -> None:
        """Raises EngineError when the process is gone."""
        try:
            self._connection.send(message)
        except OSError as error:
            raise EngineError(f"{self._name} is gone") from error

    def kill(self) -> None:
        if self.alive:
            self._process.kill()

    async def wait(self) -> None:
        """Return once the process has ended and `ended` was called."""
        await self._exited.wait()

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
        last_words = self._last_line()
        self._output.close()
        self._exited.set()
        self._ended(f"{self._name} {how_it_ended(code)}{f': {last_words}' if last_words else ''}")

    def _last_line(self) -> str:
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
