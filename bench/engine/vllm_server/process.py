"""The server's processes as a run sees them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence

from bench.core.errors import BenchError, EngineError, InputError
from bench.core.module_process import how_it_ended
from bench.core.process_group import kill_group
from bench.engine.log_tail import told_cause
from bench.engine.vllm_server.command import HOST
from bench.engine.vllm_server.messages import Answers, Begin, Begun, End, Ended, Order, Report, Sample, Sampled
from bench.engine.vllm_server.metrics import ServerMetrics
from bench.engine.worker_process import WorkerProcess

_GRACE_S = 15.0
_KEEPER_SECONDS = 30.0
"""Until a keeper that ends its server is given up; more than the grace and what it takes to kill and reap."""
_SAMPLE_SECONDS = 5.0
_ANSWER_SECONDS = 5.0
_USAGE_CODE = 2
_REFUSED = re.compile(r"^\S.*: error: (.+)$", re.MULTILINE)
"""As the standard library tells of a command line that it does not take."""
_PORT_TAKEN = "Address already in use"


class ServerProcess:
    """Starts a server through its keeper.

    `lost` hears, once, of an end that was not asked for, as one line; `sampled` of the metrics, every few seconds.
    """

    def __init__(self, port: int, lost: Callable[[str], None], sampled: Callable[[ServerMetrics], None]) -> None:
        self._port = port
        self._tell_lost = lost
        self._tell_sample = sampled
        # Nobody else can open it, and nothing is left of it when both processes are gone.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        self._told_log = ""
        self._answers: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        self._sampled: asyncio.Future[ServerMetrics | None] | None = None
        self._ended = asyncio.Event()
        self._stopping = False
        self._group: int | None = None
        self._keeper: WorkerProcess[Order, Report] | None = None
        self.why_lost: str | None = None
        """As `lost` heard it."""

    def begin(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._keeper = WorkerProcess(
            "bench.engine.vllm_server.keeper", self._receive, self._on_exit, "the process that keeps vLLM"
        )
        log = f"/proc/{os.getpid()}/fd/{self._log.fileno()}"
        self._keeper.send(Begin(tuple(command), dict(environment), log, self._port))

    @property
    def log(self) -> str:
        """What the server printed so far."""
        if not self._log.closed:
            self._log.seek(0)
            self._told_log = self._log.read().decode(errors="replace")
        return self._told_log

    async def answers(self, timeout_s: float) -> Answers:
        """What it says of itself once it is ready.

        Raises EngineError where it ends before, or is not ready in time, InputError where it refuses its arguments.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._answers)
        except TimeoutError:
            words = told_cause(self.log)
            raise EngineError(f"vLLM is not ready after {timeout_s:g} s{f': {words}' if words else ''}") from None

    async def metrics(self) -> ServerMetrics | None:
        """As of now; None where it tells none in time."""
        if self._keeper is None or self._ended.is_set():
            return None
        self._sampled = asyncio.get_running_loop().create_future()
        with contextlib.suppress(EngineError, TimeoutError):
            self._keeper.send(Sample())
            async with asyncio.timeout(_SAMPLE_SECONDS):
                return await self._sampled
        return None

    async def gone(self) -> bool:
        """Whether the server has ended, or takes no connection and ends then; why is told by then."""
        if not self._ended.is_set() and await asyncio.to_thread(_refuses, self._port):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_KEEPER_SECONDS):
                    await self._ended.wait()
        return self._ended.is_set()

    async def stop(self) -> None:
        """End every process. Safe to call twice."""
        self._stopping = True
        keeper = self._keeper
        if keeper is not None and keeper.alive:
            with contextlib.suppress(EngineError, TimeoutError):
                keeper.send(End(_GRACE_S))
                async with asyncio.timeout(_KEEPER_SECONDS):
                    await keeper.wait()
            keeper.kill()
            await keeper.wait()
        self._told_log = self.log
        self._log.close()

    def _receive(self, report: Report) -> None:
        match report:
            case Begun(pid):
                self._group = pid
            case Answers():
                if not self._answers.done():
                    self._answers.set_result(report)
            case Sampled(metrics, asked):
                if asked and self._sampled is not None and not self._sampled.done():
                    self._sampled.set_result(metrics)
                if metrics is not None:
                    self._tell_sample(metrics)
            case Ended(code):
                self._group = None
                self._end(self._failure(code))

    def _on_exit(self, line: str) -> None:
        """The keeper is gone; where it did not tell of the server's end, that is ended here."""
        if self._group is not None:
            kill_group(self._group)
        self._end(EngineError(line))

    def _end(self, failure: BenchError) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        if self._sampled is not None and not self._sampled.done():
            self._sampled.set_result(None)
        if not self._stopping:
            self.why_lost = str(failure)
            self._tell_lost(self.why_lost)
        if not self._answers.done():
            self._answers.set_exception(failure)
            self._answers.exception()  # it may be that nobody waits for it

    def _failure(self, code: int) -> BenchError:
        log = self.log
        if not self._answers.done():
            if _PORT_TAKEN in log:
                return EngineError(f"vLLM found port {self._port} taken")
            if code == _USAGE_CODE and (refused := _REFUSED.findall(log)):
                return InputError(refused[-1], where="engine.arguments", allowed="what vllm serve --help=all lists")
        words = told_cause(log)
        return EngineError(f"vLLM {how_it_ended(code)}{f': {words}' if words else ''}")


def _refuses(port: int) -> bool:
    """Whether nobody listens there: a process closes what it has open before it is known to have ended."""
    try:
        socket.create_connection((HOST, port), _ANSWER_SECONDS).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def free_port(asked: int | None) -> int:
    """`asked`, or one that is free. Raises EngineError where another process has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, asked or 0))
        except OSError as error:
            raise EngineError(f"port {asked} is not free for vLLM: {error.strerror}") from None
        port: int = probe.getsockname()[1]
        return port
