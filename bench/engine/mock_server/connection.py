"""One client's connection: its requests are read as they come and answered one after another."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections import deque
from typing import Protocol, cast

from bench.core.units import NS_PER_MS
from bench.engine.mock_server.http import CONTINUE, BadHttpError, HttpReader, HttpRequest, error_response
from bench.engine.mock_server.schedule import Schedule
from bench.engine.mock_server.script import Script
from bench.engine.mock_server.truth import Ended, RequestTruth

_SLICE_NS = NS_PER_MS // 2
"""Longest time one connection writes without a pause while others wait."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""Linger for no time: what was not sent is thrown away, and the peer is sent a reset."""


class Answering(Protocol):
    """Who knows what a request is answered."""

    def begin(self, request: HttpRequest, t_received_ns: int) -> tuple[Script, RequestTruth | None]: ...

    def ended(self, truth: RequestTruth, how: Ended) -> None: ...

    def opened(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """Plays the scripts of its requests, each write at its time."""

    def __init__(self, server: Answering, schedule: Schedule) -> None:
        self._server = server
        self._schedule = schedule
        self._reader = HttpReader()
        self._waiting: deque[tuple[int, HttpRequest]] = deque()
        self._script: Script | None = None
        self._truth: RequestTruth | None = None
        self._start_ns = 0
        self._keep_alive = True
        self._data = b""
        self._tokens = 0
        self._full = False
        self._held = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # What the socket does not take at once the transport keeps, and nothing more is written until that is sent.
        self._transport.set_write_buffer_limits(high=0)
        self._fd = transport.get_extra_info("socket").fileno()
        self._server.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        del error  # whatever it was, the client is gone
        self._leave()
        self._server.closed(self)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._held:
            self._held = False
            self.fall_due()

    def data_received(self, data: bytes) -> None:
        t_ns = time.monotonic_ns()
        try:
            requests = self._reader.feed(data)
        except BadHttpError as error:
            self._leave()
            self._transport.write(error_response(400, str(error), False))
            self._transport.close()
            return
        if self._reader.wants_continue:
            self._reader.wants_continue = False
            self._transport.write(CONTINUE)
        for request in requests:
            self._waiting.append((t_ns, request))
        if self._script is None:
            self._go_on()

    def fall_due(self) -> None:
        """Write what is due now, and go on."""
        if self._full:
            self._held = True
        elif self._script is not None:  # a connection that was lost meanwhile has none
            self._write()
            self._go_on()

    def close(self) -> None:
        self._transport.abort()

    def _go_on(self) -> None:
        """Take steps, of this request and those behind it, until one has to wait."""
        pause_ns = time.monotonic_ns() + _SLICE_NS
        while self._script is not None or self._begin_next():
            assert self._script is not None
            try:
                offset_ns, self._data, self._tokens = next(self._script)
            except StopIteration as end:
                if not self._end(end.value):
                    return
                continue
            due_ns, now_ns = self._start_ns + offset_ns, time.monotonic_ns()
            if due_ns > now_ns or now_ns > pause_ns:
                self._schedule.add(due_ns, self)
                return
            if self._full:
                self._held = True
                return
            self._write()

    def _begin_next(self) -> bool:
        if not self._waiting:
            return False
        self._start_ns, request = self._waiting.popleft()
        self._keep_alive = request.keep_alive
        self._script, self._truth = self._server.begin(request, self._start_ns)
        return True

    def _write(self) -> None:
        """Write the step that was taken, past the transport, so that its time is the time of the write."""
        t_ns = time.monotonic_ns()
        try:
            sent = os.write(self._fd, self._data)
        except BlockingIOError:
            sent = 0
        except OSError:  # the client is gone
            self._leave()
            self._transport.abort()
            return
        if sent < len(self._data):
            self._transport.write(self._data[sent:])
        if self._tokens and self._truth is not None:
            self._truth.writes.extend((t_ns, self._tokens))

    def _end(self, how: Ended) -> bool:
        """Bring an answer to its end. Returns whether the connection takes a next request."""
        if self._truth is not None:
            self._server.ended(self._truth, how)
            self._truth = None
        if how == "stall":
            return False  # the script stays, and with it all that waits behind it
        self._script = None
        if how == "done" and self._keep_alive:
            return True
        self._waiting.clear()
        if how == "reset":
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()
        else:
            self._transport.close()
        return False

    def _leave(self) -> None:
        """Answer nothing more: the client has gone or cannot be understood."""
        self._script = None
        self._waiting.clear()
        if self._truth is not None:
            self._server.ended(self._truth, "left")
            self._truth = None
