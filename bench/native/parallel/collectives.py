"""What the ranks of a model exchange within a step. Each calls the same ones in the same order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import reduce
from typing import Any, Protocol

import torch
import torch.distributed as dist
from neokernels.registry import Numerics
from torch import Tensor

# As torch.distributed exports them, but only to those who do not check types.
from torch._C._distributed_c10d import Store, TCPStore

from bench.native.parallel.ranks import Ranks

TIMEOUT = timedelta(minutes=2)
"""Longest that ranks wait for one another, in joining and in a step."""
_LOOPBACK = "127.0.0.1"


class Collectives(Protocol):
    @property
    def ranks(self) -> Ranks: ...

    @property
    def backend(self) -> str | None:
        """torch's name of what carries them; None where there is nothing to exchange."""

    def all_reduce(self, part: Tensor) -> Tensor:
        """The sum of every rank's `part`, which may be overwritten."""

    def all_gather(self, columns: Tensor) -> Tensor:
        """The columns of all ranks side by side: [L, N] becomes [L, N · ranks]."""

    def broadcast(self, values: Tensor) -> None:
        """Overwrite `values` with those of rank 0."""

    def statistics(self) -> dict[str, Any] | None:
        """What they came to so far, in plain values; None where there is nothing to exchange."""


@dataclass(frozen=True, slots=True)
class NoCollectives:
    """Of a single rank; or of one among several that never steps, whose model is only asked for its shapes."""

    ranks: Ranks = field(default_factory=Ranks)
    backend: None = None

    def all_reduce(self, part: Tensor) -> Tensor:
        return part

    def all_gather(self, columns: Tensor) -> Tensor:
        return columns

    def broadcast(self, values: Tensor) -> None:
        pass

    def statistics(self) -> None:
        return None


class GroupCollectives:
    """Over torch's process group: NCCL between GPUs, gloo between CPUs."""

    def __init__(self, ranks: Ranks, device: torch.device, numerics: Numerics, store: Store) -> None:
        """Returns when all ranks have come to `store`; one that does not in time is a RuntimeError."""
        self.ranks = ranks
        self.backend = "nccl" if device.type == "cuda" else "gloo"
        # Among more than two, the order in which an all-reduce adds depends on how long the tensor is.
        self._in_order = numerics == "batch_invariant" and ranks.size > 2
        self._on_host = device.type == "cpu"
        self._calls = 0
        self._seconds = 0.0
        dist.init_process_group(
            self.backend,
            store=store,
            rank=ranks.rank,
            world_size=ranks.size,
            timeout=TIMEOUT,
            device_id=None if self._on_host else device,
        )

    def all_reduce(self, part: Tensor) -> Tensor:
        # A step without logits has no rows left in the last layer.
        if not part.numel():
            return part
        if self._in_order:
            return reduce(torch.add, self._gathered(part))
        total = part.contiguous()
        self._timed(lambda: dist.all_reduce(total))
        return total

    def all_gather(self, columns: Tensor) -> Tensor:
        if not len(columns):
            return columns.new_empty((0, columns.shape[1] * self.ranks.size))
        return torch.cat(self._gathered(columns), dim=-1)

    def broadcast(self, values: Tensor) -> None:
        self._timed(lambda: dist.broadcast(values, src=0))

    def statistics(self) -> dict[str, Any]:
        """A GPU's ranks wait for one another where no host sees it: seconds are known on a CPU only."""
        return {"calls": self._calls, "seconds": self._seconds} if self._on_host else {}

    def close(self) -> None:
        # NCCL would wait for ranks that may be gone; what it holds ends with the process.
        if self._on_host:
            dist.destroy_process_group()

    def _gathered(self, mine: Tensor) -> list[Tensor]:
        parts = [torch.empty_like(mine, memory_format=torch.contiguous_format) for _ in range(self.ranks.size)]
        self._timed(lambda: dist.all_gather(parts, mine.contiguous()))
        return parts

    def _timed(self, exchange: Callable[[], object]) -> None:
        began = time.perf_counter()
        exchange()
        self._calls += 1
        self._seconds += time.perf_counter() - began


def open_store(size: int) -> TCPStore:
    """Where `size` ranks find one another: rank 0's, at a free port of the loopback interface."""
    return TCPStore(_LOOPBACK, 0, size, is_master=True, timeout=TIMEOUT, wait_for_workers=False)


def join_store(size: int, port: int) -> TCPStore:
    """The same, as another rank reaches it."""
    return TCPStore(_LOOPBACK, port, size, is_master=False, timeout=TIMEOUT)
