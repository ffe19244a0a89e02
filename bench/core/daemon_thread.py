"""A thread for what may never end: a driver or a file of the kernel's that hangs cannot be told to stop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_daemon_thread(call: Callable[[], T]) -> T:
    """What `call` returns or raises, from a thread of its own that nobody has to wait for.

    A process waits at its end for the threads of `asyncio.to_thread`, however long; it does not for this one. Where the
    wait is cancelled the thread goes on, and what becomes of it is heard by nobody.
    """
    settled: Future[T] = Future()
    settled.set_running_or_notify_cancel()  # so that the thread may settle it when nobody waits any more

    def run() -> None:
        try:
            settled.set_result(call())
        except BaseException as error:  # noqa: BLE001 it is raised where it is awaited
            settled.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(settled)
