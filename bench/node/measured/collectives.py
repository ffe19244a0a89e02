"""All-reduce over every GPU: one process a GPU, as an engine has them."""

from __future__ import annotations

import subprocess
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Literal

# As torch.distributed exports it, but only to those who do not check types.
from torch._C._distributed_c10d import TCPStore

from bench.core.module_process import how_it_ended, start_module
from bench.node.facts import AbsentError
from bench.node.measured.exchange_messages import EXCHANGES, LOOPBACK, Failed, Join, Taken
from bench.node.measured.figure import Figure, absent, figure, rate
from bench.node.measured.rates import mebibytes

LATENCY, BANDWIDTH = "all_reduce_s", "all_reduce_bus_bytes_per_s"
_SMALL_BYTES, _LARGE_BYTES = 64 << 10, 256 << 20
_TRIALS = 200
"""Of each size, at most."""
_END_SECONDS = 5.0
"""Longest wait for a process that was killed: one that the driver holds may stay."""

Backend = Literal["nccl", "gloo"]


def all_reduce_figures(
    devices: Sequence[str],
    seconds: float,
    backend: Backend = "nccl",
    small_bytes: int = _SMALL_BYTES,
    large_bytes: int = _LARGE_BYTES,
    trials: int = _TRIALS,
) -> dict[str, Figure]:
    """`all_reduce_s` of a small tensor and `all_reduce_bus_bytes_per_s` of a large one, over torch's `devices`.

    Bus bandwidth is the tensor's bytes a second times 2(n − 1)/n, what each of the n ranks has to send and receive at
    least (nccl-tests, doc/PERFORMANCE.md). The time in which the processes start is part of `seconds`.
    """
    count = len(devices)
    taken, why_not = _times_taken(devices, seconds, backend, (small_bytes, large_bytes), trials)
    how = f"of float32 among {count} processes by {backend}, the mean of {EXCHANGES} one after another"
    small, large = taken.get(small_bytes), taken.get(large_bytes)
    carried = 2 * (count - 1) / count * large_bytes
    return {
        LATENCY: figure(small, f"all-reduce of {small_bytes:,} bytes {how}") if small else absent(why_not),
        BANDWIDTH: rate(carried, large, f"all-reduce of {mebibytes(large_bytes)} {how}") if large else absent(why_not),
    }


def _times_taken(
    devices: Sequence[str], seconds: float, backend: Backend, byte_sizes: tuple[int, ...], trials: int
) -> tuple[Mapping[int, Sequence[float]], str]:
    """Seconds of exchanges by size, as many as there was time for; and why there are no more."""
    end = time.monotonic() + seconds
    taken: dict[int, list[float]] = defaultdict(list)
    try:
        with _Ranks(devices, backend, byte_sizes, seconds) as ranks:
            while min(len(taken[nbytes]) for nbytes in byte_sizes) < trials:
                said = ranks.next_taken(end - time.monotonic())
                taken[said.nbytes].append(said.seconds)
    except AbsentError as reason:
        return taken, str(reason)
    return taken, ""


class _Ranks:
    """Their processes, which are gone when it is left."""

    def __init__(self, devices: Sequence[str], backend: Backend, byte_sizes: tuple[int, ...], seconds: float) -> None:
        size = len(devices)
        patience = timedelta(seconds=seconds)
        self._seconds = seconds
        self._store = TCPStore(LOOPBACK, 0, size, is_master=True, timeout=patience, wait_for_workers=False)
        self._joins = [
            Join(rank, size, self._store.port, backend, device, byte_sizes, seconds)
            for rank, device in enumerate(devices)
        ]
        self._processes: dict[Connection[Any, Any], subprocess.Popen[bytes]] = {}
        self._ending = ExitStack()

    def __enter__(self) -> _Ranks:
        try:
            for join in self._joins:
                process, connection = start_module("bench.node.measured.all_reduce_rank")
                self._ending.callback(_end, process, connection)
                self._processes[connection] = process
                connection.send(join)
        except BaseException:
            self._ending.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.close()

    def next_taken(self, seconds: float) -> Taken:
        """What rank 0 says next. Raises AbsentError where that takes too long or a rank is lost."""
        ready = wait(list(self._processes), max(0.0, seconds))
        if not ready:
            raise AbsentError(
                f"there was no time for more within {self._seconds:.1f} s, the start of processes included"
            )
        connection = ready[0]
        assert isinstance(connection, Connection)
        try:
            said = connection.recv()
        except (EOFError, OSError):
            raise AbsentError(f"a rank {how_it_ended(self._processes[connection].wait())}") from None
        if isinstance(said, Failed):
            raise AbsentError(said.line)
        assert isinstance(said, Taken)
        return said


def _end(process: subprocess.Popen[bytes], connection: Connection[Any, Any]) -> None:
    process.kill()
    connection.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
