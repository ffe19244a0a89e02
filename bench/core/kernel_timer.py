"""A timer of the kernel that an event loop waits for: exact where the loops' own timers count whole milliseconds."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable

from bench.core.errors import EngineError
from bench.core.units import NS_PER_S

_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_ABSOLUTE = 1


class _Times(ctypes.Structure):
    """The kernel's `itimerspec`: repeat after, expire at."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("expire_s", ctypes.c_long),
        ("expire_ns", ctypes.c_long),
    )


class KernelTimer:
    """Calls `expired` on `loop` once the monotonic clock has reached the time it was armed for last.

    Raises EngineError where the kernel has no such timer to give.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._set_time = ctypes.CDLL(None).timerfd_settime
        self._times = _Times()
        self._times_at = ctypes.byref(self._times)
        self._fd = ctypes.CDLL(None, use_errno=True).timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._fd < 0:
            raise EngineError(f"the kernel gave no timer: {os.strerror(ctypes.get_errno())}")
        loop.add_reader(self._fd, self._on_readable)

    def arm(self, t_ns: int) -> None:
        """Expire at `t_ns`, at once if that has passed, and no more at the time that was asked for before."""
        # A time of zero would disarm it.
        self._times.expire_s, self._times.expire_ns = divmod(max(1, t_ns), NS_PER_S)
        self._set_time(self._fd, _ABSOLUTE, self._times_at, None)

    def close(self) -> None:
        """Expire no more. Safe to call twice."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _on_readable(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # armed anew since the loop saw it
            return
        self._expired()
