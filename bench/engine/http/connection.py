"""One connection: what arrives is stamped before anything else happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from bench.core.units import NS_PER_S
from bench.engine.http.exchange import Exchange
from bench.engine.http.failures import ExchangeError, lost_failure, one_line

_GROWN_PIECES = 8
_GROWN_BYTES = 16_384
_LONGEST_HEAD_BYTES = 262_144


class Owner(Protocol):
    """Who is told when a connection is free, and when it is gone."""

    def freed(self, connection: Connection) -> None: ...

    def lost(self, connection: Connection, exchange: Exchange | None) -> None:
        """`exchange` is what was under way; its failure is set."""


class Connection(asyncio.Protocol):
    """Carries one exchange at a time; kept between them as long as both sides like."""

    def __init__(self, now_ns: Callable[[], int], owner: Owner, stall_ns: int) -> None:
        """`stall_ns`: longest time without a byte while an answer is awaited."""
        self._now_ns = now_ns
        self._owner = owner
        self._stall_ns = stall_ns
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._whole = False
        self._keeps = False
        self.kept = False
        """Whether it was idle before the exchange it carries."""
        self.look_ns = 0
        """When someone will look whether its exchange is late; 0 is never. What is sent later is due later, so a look
        that was arranged for the exchange before does for this one too."""

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, exchange: Exchange) -> None:
        assert self._transport is not None
        self._exchange = exchange
        exchange.connection = self
        exchange.heard_ns = self._now_ns()
        self._transport.write(exchange.message)

    @property
    def due_ns(self) -> int:
        """When the exchange under way is late."""
        assert self._exchange is not None
        return min(self._exchange.heard_ns + self._stall_ns, self._exchange.deadline_ns)

    def look(self, now_ns: int) -> int | None:
        """End an exchange that is late, and the connection with it."""
        exchange = self._exchange
        if exchange is None or exchange.failure is not None:
            self.look_ns = 0
            return None
        self.look_ns = self.due_ns
        if now_ns < self.look_ns:
            return self.look_ns
        if now_ns >= exchange.deadline_ns:
            exchange.failure = ExchangeError("timeout", f"after {exchange.heard_bytes} bytes of an answer")
        else:
            figures = f"{self._stall_ns / NS_PER_S:g} s without a byte, after {exchange.heard_bytes} bytes"
            exchange.failure = ExchangeError("stalled", figures)
        self._close()
        return None

    def drop(self) -> None:
        """Close, and leave what is under way without an end."""
        self._release()
        self._close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        # uvloop would keep what is written until the end of the loop's turn, behind everything else that is ready;
        # with no room to buffer it writes at once, as asyncio does.
        transport.set_write_buffer_limits(high=0)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self._close()  # nothing was asked: whatever this is, the next answer could not be told from it
            return
        exchange.heard_ns = self._now_ns()
        exchange.heard_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # After the answer's end it is the connection that is broken, not the answer.
            self._keeps = False
            if not self._whole:
                exchange.failure = ExchangeError("garbage", f"not HTTP: {one_line(str(error))}")
                self._close()
                return
        if self._whole:
            self._finish(exchange)
        elif len(exchange.bodies) >= _GROWN_PIECES or exchange.body_bytes >= _GROWN_BYTES:
            exchange.grew()
        elif exchange.status == 0 and exchange.heard_bytes > _LONGEST_HEAD_BYTES:
            exchange.failure = ExchangeError("garbage", f"not HTTP: a head of more than {_LONGEST_HEAD_BYTES} bytes")
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        exchange = self._release()
        if exchange is not None and exchange.failure is None and not (exc is None and self._ends_by_closing(exchange)):
            exchange.failure = lost_failure(exc, heard_bytes=exchange.heard_bytes)
        # The parser's hold on its callbacks is a cycle.
        del self._parser
        self._transport = None
        self._owner.lost(self, exchange)

    # What the parser calls while it is fed. What it calls may raise: it then stops, with an HttpParserError.

    def on_message_begin(self) -> None:
        if self._whole:
            raise ValueError("an answer to nothing")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._exchange is not None:
            self._exchange.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._exchange is not None:
            self._exchange.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.stamps.append(exchange.heard_ns)
            exchange.bodies.append(body)
            exchange.body_bytes += len(body)

    def on_message_complete(self) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.status < 200 and exchange.status != 101:
            # An interim answer; the real one follows, as it never does where the protocol is changed.
            exchange.status = 0
            exchange.headers.clear()
            return
        self._whole = True
        self._keeps = self._parser.should_keep_alive()

    def _finish(self, exchange: Exchange) -> None:
        self._release()
        if self._keeps:
            self._owner.freed(self)
        else:
            self._close()
        exchange.ended()

    def _release(self) -> Exchange | None:
        exchange, self._exchange = self._exchange, None
        self._whole = False
        if exchange is not None:
            exchange.connection = None
        return exchange

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _ends_by_closing(self, exchange: Exchange) -> bool:
        """Whether an answer has neither length nor chunks, so that the end of the connection is its own."""
        return (
            exchange.status >= 200
            and exchange.header(b"content-length") is None
            and exchange.header(b"transfer-encoding") is None
        )
