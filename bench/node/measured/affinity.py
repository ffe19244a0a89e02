"""On which CPUs the process that measures runs: what it reaches, and where its memory comes from, depends on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from bench.node.facts import AbsentError


def cpus_of(text: str) -> frozenset[int]:
    """The CPUs a kernel list such as `0-3,8` names. Raises AbsentError when it is not one."""
    try:
        ends = [tuple(map(int, part.split("-"))) for part in text.split(",")]
    except ValueError:
        raise AbsentError(f"{text[:40]!r} is not a list of CPUs") from None
    return frozenset(cpu for first_and_last in ends for cpu in range(first_and_last[0], first_and_last[-1] + 1))


@contextmanager
def bound_to(cpus: frozenset[int]) -> Iterator[None]:
    """Within it every thread of this process runs on `cpus`, and torch computes with no more threads than these are."""
    before, count = os.sched_getaffinity(0), torch.get_num_threads()
    torch.set_num_threads(min(count, len(cpus)))
    _bind_threads(cpus)
    try:
        yield
    finally:
        _bind_threads(before)
        torch.set_num_threads(count)


def _bind_threads(cpus: frozenset[int] | set[int]) -> None:
    for task in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(task), cpus)
