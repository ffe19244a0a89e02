"""The connection to the driver while vLLM serves it."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable
from multiprocessing.connection import Connection

from bench.core.module_process import call_when_readable
from bench.engine.vllm_process.messages import Command, Report


class Link:
    """Hands each command to `receive`, and sends reports.

    The driver reads nothing while it sends a long prompt. So what it sends is taken while a report waits for room:
    each would wait for the other for ever.
    """

    def __init__(self, connection: Connection[Report, Command]) -> None:
        self._connection = connection
        self._receive: Callable[[Command], None] | None = None
        self._room = select.poll()
        self._room.register(connection.fileno(), select.POLLOUT)

    def receive_all(self, receive: Callable[[Command], None]) -> None:
        """Have the running event loop call `receive`, which may not send, with every command from now on."""
        self._receive = receive
        self._room.modify(self._connection.fileno(), select.POLLIN | select.POLLOUT)
        call_when_readable(self._connection, self._take)

    def send(self, report: Report) -> None:
        # There is room where three quarters of the buffer are free: more than what an iteration brings.
        while self._room.poll()[0][1] == select.POLLIN:
            self._take()
        self._connection.send(report)

    def _take(self) -> None:
        # The end of the messages is heeded by who waits for the other end to hang up.
        with contextlib.suppress(EOFError, OSError):
            command = self._connection.recv()
            assert self._receive is not None
            self._receive(command)
