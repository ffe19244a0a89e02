"""CUDA graphs of torch behind the little that a runner of steps needs of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import torch


class Replayable(Protocol):
    def replay(self) -> None:
        """Do the captured work again, on whatever its buffers hold now."""


class GraphBackend(Protocol):
    """Captures work whose inputs and outputs lie in tensors that outlive it.

    All graphs share one memory pool: what one computes is overwritten by the next that is replayed, unless it was
    captured later and from that very result.
    """

    def warm_up(self, work: Callable[[], None]) -> None:
        """Do `work` where it will be captured, so that everything made on first use is made before."""

    def capture(self, work: Callable[[], None]) -> Replayable:
        """A graph of `work`."""

    @property
    def pool_bytes(self) -> int:
        """Device memory that the graphs hold."""


class CudaGraphs:
    """`torch.cuda.CUDAGraph`, on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.Stream(device)
        self.pool_bytes = 0

    def warm_up(self, work: Callable[[], None]) -> None:
        # On the same stream, for libraries keep a workspace a stream, and the pool is no place for it.
        torch.cuda.synchronize(self._device)
        with self._stream:
            work()
        torch.cuda.synchronize(self._device)

    def capture(self, work: Callable[[], None]) -> Replayable:
        # Not by `torch.cuda.graph`, which first empties torch's cache: that costs more than the capture of a piece, and
        # there is a piece a layer and size.
        graph = torch.cuda.CUDAGraph()
        reserved = torch.cuda.memory_reserved(self._device)
        with self._stream:
            # Other threads, such as the watchdog of a communicator, may go on calling CUDA.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                work()
            except BaseException:
                # What went wrong in the work says more than what the end of a broken capture says of it.
                with suppress(RuntimeError):
                    graph.capture_end()
                raise
            graph.capture_end()
        # Nothing but the pool grows while a capture is under way.
        self.pool_bytes += torch.cuda.memory_reserved(self._device) - reserved
        return graph


@contextmanager
def garbage_collection_off() -> Iterator[None]:
    """A collection in the middle of a capture could free what CUDA must not free then: a module or another graph."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
