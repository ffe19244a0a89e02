"""A process between a run and its server: starts it, looks after it, and outlives the run just long enough to end it.

A run may be killed at any moment, and a server that nobody asks any more would keep its device. The kernel can tell a
child of its parent's death, but only the child, and vLLM is several processes; this one sees its connection close and
ends the whole group. It also asks for the metrics, so that no interpreter that times tokens spends a moment on them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import http.client
import json
import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from bench.core.module_process import call_when_readable
from bench.core.process_group import end_group
from bench.engine.vllm_server.command import HOST
from bench.engine.vllm_server.messages import Answers, Begin, Begun, End, Ended, Order, Report, Sample, Sampled
from bench.engine.vllm_server.metrics import ServerMetrics, parse_metrics

_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 0.5
_ANSWER_SECONDS = 5.0
_SAMPLE_EVERY_S = 5.0
"""To tell its metrics takes vLLM's own event loop some milliseconds, in which it passes no token on: so seldom, no
percentile of the gaps between tokens that anybody reads shows it."""
_GRACE_S = 10.0
"""Where nobody is left to say how long."""
_KILLED_SECONDS = 5.0
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    # Out of the run's group: whoever kills that group leaves this process to clean up.
    os.setsid()
    # Processes whose parent ended become children of this one, and not of some process that reaps nobody.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    connection: Connection[Report, Order] = Connection(int(sys.argv[1]))
    asyncio.run(_Keeper(connection).keep())


class _Keeper:
    def __init__(self, connection: Connection[Report, Order]) -> None:
        self._connection = connection
        self._orders: asyncio.Queue[Order] = asyncio.Queue()
        self._port = 0

    async def keep(self) -> None:
        call_when_readable(self._connection, self._on_readable)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._orders.put_nowait, End(_GRACE_S))
        begin = await self._orders.get()
        if not isinstance(begin, Begin):
            return
        self._port = begin.port
        with open(begin.log, "ab") as log:
            server = await asyncio.create_subprocess_exec(
                *begin.command,
                env=begin.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a group of its own, which can be ended as a whole
            )
        self._tell(Begun(server.pid))
        ended = asyncio.create_task(server.wait())
        watching = asyncio.create_task(self._watch())
        grace_s = await self._until_over(ended)
        watching.cancel()
        await _end(server, ended, grace_s)
        self._tell(Ended(ended.result()))

    async def _until_over(self, ended: asyncio.Task[int]) -> float:
        """Do as told until the server has ended or is to end; returns how long it may take to."""
        while True:
            order = asyncio.create_task(self._orders.get())
            await asyncio.wait({ended, order}, return_when=asyncio.FIRST_COMPLETED)
            if not order.done():
                order.cancel()
                return 0.0
            match order.result():
                case End(grace_s):
                    return grace_s
                case Sample():
                    self._tell(Sampled(await self._metrics(), asked=True))

    async def _watch(self) -> None:
        """Tell when it is ready, and from then on its metrics again and again."""
        wait_s = _FIRST_WAIT_S
        while await self._get("/health") is None:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        version, models = await self._get("/version"), await self._get("/v1/models")
        self._tell(Answers(_version(version), _models(models)))
        while True:
            await asyncio.sleep(_SAMPLE_EVERY_S)
            self._tell(Sampled(await self._metrics(), asked=False))

    async def _metrics(self) -> ServerMetrics | None:
        body = await self._get("/metrics")
        return None if body is None else parse_metrics(body.decode(errors="replace"))

    async def _get(self, path: str) -> bytes | None:
        """The body of a 200; None for any other answer, and for none."""
        return await asyncio.to_thread(_got, self._port, path)

    def _tell(self, report: Report) -> None:
        with contextlib.suppress(OSError):  # nobody is there to be told
            self._connection.send(report)

    def _on_readable(self) -> None:
        try:
            order = self._connection.recv()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            order = End(_GRACE_S)
        self._orders.put_nowait(order)


async def _end(server: asyncio.subprocess.Process, ended: asyncio.Task[int], grace_s: float) -> None:
    """Ask the server to end, then end what is left of its group, and reap all of it."""
    if not ended.done():
        server.terminate()
        await asyncio.wait({ended}, timeout=grace_s)
    await end_group(server.pid)
    await ended
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_KILLED_SECONDS):
            await _reap()


async def _reap() -> None:
    """Return when this process has no children."""
    with contextlib.suppress(ChildProcessError):
        while True:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                await asyncio.sleep(0.01)


def _got(port: int, path: str) -> bytes | None:
    connection = http.client.HTTPConnection(HOST, port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if response.status == 200 else None


def _version(body: bytes | None) -> str | None:
    told = _json(body)
    version = told.get("version") if isinstance(told, dict) else None
    return version if isinstance(version, str) else None


def _models(body: bytes | None) -> dict[str, int | None]:
    """The models that a server lists; none where it answers something else."""
    told = _json(body)
    listed = told.get("data") if isinstance(told, dict) else None
    models = [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []
    return {str(model.get("id")): _count(model.get("max_model_len")) for model in models}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _json(body: bytes | None) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(body or b"")
    return None


if __name__ == "__main__":
    main()
