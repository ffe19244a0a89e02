"""How soon a thread that sleeps runs again: when another wakes it, and when its time is over."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.node.measured.figure import Figure, figure
from bench.node.measured.trials import repeated

_ROUND_TRIPS = 100
_STOP = 2
"""Added to a counter of which a wake-up adds one."""
_SLEEP_S = 0.001
_SLEEPS = 50
"""In a trial of the latest."""


def wake_up_time(seconds: float) -> Figure:
    """Seconds from one thread's write to an event counter until the thread that reads it goes on."""
    method = (
        f"half a round trip between two threads over event counters, the mean of {_ROUND_TRIPS}; Python's share is in"
    )
    with _answering() as (asked, answered):
        return figure(repeated(lambda: _round_trips(asked, answered), seconds), method)


def timer_lateness(seconds: float) -> dict[str, Figure]:
    """`timer_late_s`, how late a sleep usually ends, and `timer_latest_s`, how late the latest of some does."""
    trials: list[list[float]] = []

    def sleeps() -> float:
        trials.append([_late() for _ in range(_SLEEPS)])
        return 0.0

    repeated(sleeps, seconds)
    counted = trials[1:]
    sleep = f"sleep of {1000 * _SLEEP_S:g} ms; the kernel's timer slack is in"
    return {
        "timer_late_s": figure([late for trial in counted for late in trial], f"what is over at the end of a {sleep}"),
        "timer_latest_s": figure(
            [max(trial) for trial in counted], f"the most of {_SLEEPS} times at the end of a {sleep}"
        ),
    }


def _late() -> float:
    began = time.perf_counter()
    time.sleep(_SLEEP_S)
    return time.perf_counter() - began - _SLEEP_S


def _round_trips(asked: int, answered: int) -> float:
    began = time.perf_counter()
    for _ in range(_ROUND_TRIPS):
        os.eventfd_write(asked, 1)
        os.eventfd_read(answered)
    return (time.perf_counter() - began) / (2 * _ROUND_TRIPS)


@contextmanager
def _answering() -> Iterator[tuple[int, int]]:
    """Two event counters, and a thread that adds to the second one whenever something was added to the first."""
    asked, answered = os.eventfd(0), os.eventfd(0)
    answerer = threading.Thread(target=_answer, args=(asked, answered), daemon=True)
    answerer.start()
    try:
        yield asked, answered
    finally:
        os.eventfd_write(asked, _STOP)
        answerer.join()
        os.close(asked)
        os.close(answered)


def _answer(asked: int, answered: int) -> None:
    while os.eventfd_read(asked) < _STOP:
        os.eventfd_write(answered, 1)
