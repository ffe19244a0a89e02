"""Ctrl-C while something is brought to its end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import AsyncIterator
from types import FrameType


@contextlib.asynccontextmanager
async def one_interrupt() -> AsyncIterator[None]:
    """Within it the first Ctrl-C has its effect and further ones have none.

    The first one makes a run keep what it measured and end its engine, which takes seconds; an impatient second one
    would only lose it. Outside the main thread, where no signal arrives, nothing changes. Enter it on the event loop,
    which has its own way with Ctrl-C by then.
    """
    interrupt = signal.getsignal(signal.SIGINT)
    if not callable(interrupt) or threading.current_thread() is not threading.main_thread():
        yield
        return

    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        interrupt(number, frame)

    signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, interrupt)
