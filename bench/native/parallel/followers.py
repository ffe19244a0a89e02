"""The other ranks as rank 0 sees them: their processes, and what it tells them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import torch

from bench.core.errors import EngineError, InputError
from bench.core.module_process import how_it_ended, start_module
from bench.native.batch import HostBatch
from bench.native.device import in_a_line
from bench.native.messages import EngineFailed, InputRefused
from bench.native.parallel.collectives import Collectives, GroupCollectives, NoCollectives, open_store
from bench.native.parallel.messages import Answer, Here, Join, Leave, Loaded, Order, Serve, Step
from bench.native.parallel.ranks import Ranks
from bench.native.settings import EngineSettings

T = TypeVar("T")

_LEAVE_SECONDS = 5.0
"""Longest wait for a process that was told to end; after it it is killed."""
_LOST_SECONDS = 2.0
"""Longest wait, when a collective fails, for the end of the process that failed it."""


@dataclass(frozen=True)
class _Follower:
    rank: int
    process: subprocess.Popen[bytes]
    connection: Connection[Order, Answer]
    answers: SimpleQueue[Answer] = field(default_factory=SimpleQueue)


class Followers:
    """Ranks 1 and up, of which there need be none.

    One that ends unasked while the engine serves takes this process with it: ranks stand or fall together, and a
    collective that waits for one that is gone may never return.
    """

    def __init__(self, folder: Path, settings: EngineSettings, random_seed: int | None) -> None:
        """Starts their processes and does not wait for them."""
        self._folder = folder
        self._settings = settings
        self._random_seed = random_seed
        self._serving = False
        self._collectives: GroupCollectives | None = None
        self._followers = [
            _Follower(rank, *start_module("bench.native.parallel.follower"))
            for rank in range(1, settings.tensor_parallel)
        ]
        self._watchers = [threading.Thread(target=self._watch, args=(one,), daemon=True) for one in self._followers]
        for watcher in self._watchers:
            watcher.start()

    def join(self, device: torch.device) -> Collectives:
        """Make one group of all ranks; the others go on to load their parts of the model.

        Raises EngineError for a process that did not come up.
        """
        if not self._followers:
            return NoCollectives()
        self._each(Here)
        size = self._settings.tensor_parallel
        store = open_store(size)
        for one in self._followers:
            ranks = Ranks(one.rank, size)
            _send(one, Join(ranks, store.port, str(self._folder), self._settings, self._random_seed))
        try:
            self._collectives = GroupCollectives(Ranks(0, size), device, self._settings.numerics, store)
        except RuntimeError as error:
            raise self.failed(error) from error
        return self._collectives

    def loaded(self) -> list[Loaded]:
        """Wait until all have loaded. Raises what one of them raised, an InputError or an EngineError."""
        return self._each(Loaded)

    def serve(self, blocks: int) -> None:
        """Have them make KV pools of so many blocks and capture graphs, as this rank is to do now."""
        self._serving = True
        for one in self._followers:
            _send(one, Serve(blocks))

    def launch(self, batch: HostBatch, *, shares_newest: bool) -> None:
        """Have them compute a step, as this rank is to do now."""
        for one in self._followers:
            _send(one, Step(batch, shares_newest))

    def failed(self, error: Exception) -> EngineError:
        """What a failure among the ranks comes to. While they serve and another has ended, this does not return."""
        for watcher in self._watchers:
            watcher.join(_LOST_SECONDS / len(self._watchers))
        return EngineError(f"rank 0 failed, and the others cannot go on: {in_a_line(error)}")

    def close(self) -> None:
        """End the processes and the group."""
        self._serving = False
        for one in self._followers:
            with contextlib.suppress(OSError):
                one.connection.send(Leave())
        for one, watcher in zip(self._followers, self._watchers, strict=True):
            try:
                one.process.wait(_LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()
            watcher.join()
            one.connection.close()
        if self._collectives is not None:
            self._collectives.close()

    def _each(self, kind: type[T]) -> list[T]:
        """The next answer of every follower."""
        answers: list[T] = []
        for one in self._followers:
            match one.answers.get():
                case InputRefused(what, where, allowed):
                    raise InputError(what, where=where, allowed=allowed)
                case EngineFailed(line):
                    raise EngineError(line)
                case answer:
                    assert isinstance(answer, kind)
                    answers.append(answer)
        return answers

    def _watch(self, one: _Follower) -> None:
        """Take what a follower says off its connection, until it ends."""
        last: Answer | None = None
        while True:
            try:
                last = one.connection.recv()
            except (EOFError, OSError):
                break
            if not isinstance(last, EngineFailed):
                one.answers.put(last)
        how = last.line if isinstance(last, EngineFailed) else f"its process {how_it_ended(one.process.wait())}"
        lost = f"rank {one.rank} was lost: {how}"
        if self._serving:
            print(lost, file=sys.stderr, flush=True)
            os._exit(1)
        one.answers.put(EngineFailed(lost))


def _send(one: _Follower, order: Order) -> None:
    try:
        one.connection.send(order)
    except OSError as error:
        raise EngineError(f"rank {one.rank} is gone") from error
