"""What can wait: work that is done in slices, so that nothing which arrives waits longer for its stamp than a slice."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from bench.core.units import NS_PER_MS

_SLICE_NS = NS_PER_MS // 2


class Job(Protocol):
    def step(self) -> bool:
        """Do a small part of what there is to do. Returns whether nothing is left."""


class Backlog:
    """Works for half a millisecond in each turn of the loop, on what someone waits for before anything else."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._urgent: deque[Job] = deque()
        self._others: deque[Job] = deque()
        self._scheduled = False

    def add(self, job: Job, *, urgent: bool) -> None:
        (self._urgent if urgent else self._others).append(job)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        end_ns = self._now_ns() + _SLICE_NS
        try:
            while jobs := self._urgent or self._others:
                job = jobs.popleft()
                if not job.step():
                    jobs.appendleft(job)
                if self._now_ns() >= end_ns:
                    break
        finally:
            self._scheduled = bool(self._urgent or self._others)
            if self._scheduled:
                asyncio.get_running_loop().call_soon(self._work)
