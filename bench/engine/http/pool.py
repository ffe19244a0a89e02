"""The connections to one server: kept, taken newest first, opened where none is free."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from bench.core.units import ns_from_seconds, seconds_from_ns
from bench.engine.http.address import Address
from bench.engine.http.connection import Connection
from bench.engine.http.deadlines import Deadlines
from bench.engine.http.exchange import Exchange
from bench.engine.http.failures import ExchangeError, connect_failure

_HANDSHAKES = 256
"""Most connections that are opened at once; a server's queue of those it has not accepted is not much longer."""


class Pool:
    """Sends exchanges, each alone on a connection, and sees to it that each of them ends."""

    def __init__(
        self,
        address: Address,
        tls: ssl.SSLContext | None,
        now_ns: Callable[[], int],
        *,
        connect_timeout_s: float,
        stall_timeout_s: float,
    ) -> None:
        self._address = address
        self._tls = tls
        self._now_ns = now_ns
        self._connect_timeout_s = connect_timeout_s
        self._stall_ns = ns_from_seconds(stall_timeout_s)
        self._hosts: list[str] = []
        self._handshakes = asyncio.Semaphore(_HANDSHAKES)
        self._deadlines = Deadlines(now_ns)
        # A dict for its order: the last one in is the first one out, and any can be taken out.
        self._idle: dict[Connection, None] = {}
        self._connections: set[Connection] = set()
        self._connecting: dict[Exchange, asyncio.Task[None]] = {}
        self.opened = 0
        self.reused = 0
        """Exchanges put on a connection that was open, be it one that had carried none yet."""
        self.reconnected = 0
        """Exchanges that met a kept connection which the server had closed."""

    async def resolve(self) -> None:
        """Look the server's addresses up, once. Raises ExchangeError where it has none, or for lack of an answer."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                found = await loop.getaddrinfo(self._address.host, self._address.port, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise ExchangeError("unresolved", f"no answer in {self._connect_timeout_s:g} s") from None
        except OSError as error:
            raise connect_failure(error) from None
        self._hosts = list(dict.fromkeys(str(address[0]) for *_, address in found))

    async def fill(self, connections: int) -> None:
        """Open connections until there are so many, or until one cannot be had: whoever sends is told why."""
        missing = iter(range(connections - len(self._connections)))

        async def open_some() -> None:
            for _ in missing:
                self._add(connection := await self._connection())
                if connection.usable:
                    self._idle[connection] = None

        try:
            async with asyncio.TaskGroup() as opening:
                for _ in range(min(_HANDSHAKES, connections)):
                    opening.create_task(open_some())
        except* ExchangeError:
            pass

    def send(self, exchange: Exchange) -> None:
        """Put `exchange` on a free connection, or on one that is opened for it; `exchange.ended` will be called."""
        connection = self._free()
        if connection is None:
            self._open(exchange)
            return
        self.reused += 1
        connection.kept = True
        self._start(connection, exchange)

    def send_uncounted(self, exchange: Exchange) -> bool:
        """`send` for what is no part of the run: on a free connection, or not at all. Returns whether it was sent."""
        connection = self._free()
        if connection is not None:
            self._start(connection, exchange)
        return connection is not None

    def cancel(self, exchange: Exchange) -> None:
        """Stop what `exchange` does and close its connection; `exchange.ended` is not called."""
        task = self._connecting.pop(exchange, None)
        if task is not None:
            task.cancel()
        elif exchange.connection is not None:
            exchange.connection.drop()

    async def close(self) -> None:
        """Close every connection. Nothing may be under way."""
        self._deadlines.close()
        connecting = list(self._connecting.values())
        for task in connecting:
            task.cancel()
        for connection in list(self._connections):
            connection.drop()
        if connecting:
            await asyncio.wait(connecting)

    def freed(self, connection: Connection) -> None:
        self._idle[connection] = None

    def lost(self, connection: Connection, exchange: Exchange | None) -> None:
        self._idle.pop(connection, None)
        self._connections.discard(connection)
        self._deadlines.forget(connection, connection.look_ns)
        if exchange is None:
            return
        if self._was_closed_before(connection, exchange):
            self.reconnected += 1
            exchange.restart()
            exchange.reconnected = True
            self._open(exchange)
        else:
            exchange.ended()

    def _free(self) -> Connection | None:
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.usable:
                return connection
        return None

    def _was_closed_before(self, connection: Connection, exchange: Exchange) -> bool:
        """Whether the server had closed a kept connection before it can have read what was sent."""
        reset = exchange.failure is not None and exchange.failure.kind == "reset"
        return reset and exchange.heard_bytes == 0 and connection.kept and not exchange.reconnected

    def _start(self, connection: Connection, exchange: Exchange) -> None:
        connection.send(exchange)
        due_ns = connection.due_ns
        if connection.look_ns:
            if due_ns >= connection.look_ns:
                return
            # It is sent again, so that it may be due before what its connection carried before.
            self._deadlines.forget(connection, connection.look_ns)
        connection.look_ns = due_ns
        self._deadlines.watch(connection, due_ns)

    def _open(self, exchange: Exchange) -> None:
        self._connecting[exchange] = asyncio.get_running_loop().create_task(self._connect(exchange))

    async def _connect(self, exchange: Exchange) -> None:
        left_s = seconds_from_ns(exchange.deadline_ns - self._now_ns())
        try:
            async with asyncio.timeout(left_s), self._handshakes:
                connection = await self._connection()
        except (ExchangeError, TimeoutError) as error:
            exchange.failure = (
                error if isinstance(error, ExchangeError) else ExchangeError("timeout", "while connecting")
            )
            if self._connecting.pop(exchange, None) is not None:
                exchange.ended()
            return
        self._add(connection)
        if self._connecting.pop(exchange, None) is None:
            connection.drop()  # cancelled while the connection was made
        elif connection.usable:
            self._start(connection, exchange)
        else:
            exchange.failure = ExchangeError("reset", "while the connection was opened")
            exchange.ended()

    def _add(self, connection: Connection) -> None:
        self._connections.add(connection)
        self.opened += 1

    async def _connection(self) -> Connection:
        """A fresh connection to the first address that takes one. Raises ExchangeError where none does."""
        failure = ExchangeError("unresolved", "no address")
        for host in self._hosts:
            try:
                async with asyncio.timeout(self._connect_timeout_s):
                    _, connection = await asyncio.get_running_loop().create_connection(
                        lambda: Connection(self._now_ns, self, self._stall_ns),
                        host,
                        self._address.port,
                        ssl=self._tls,
                        server_hostname=self._address.host if self._tls else None,
                    )
            except TimeoutError:
                failure = ExchangeError("connect_timeout", f"no answer in {self._connect_timeout_s:g} s")
            except OSError as error:
                failure = connect_failure(error)
            else:
                self._hosts = [host]
                return connection
        raise failure
