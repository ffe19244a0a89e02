"""From the first message of the driver to the end of vLLM and of what it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from multiprocessing.connection import Connection
from typing import Any

from bench.engine.vllm_process.messages import Command, Failed, Report, Start


def main(descriptor: int) -> None:
    """Serve the driver at the other end of `descriptor`, and end without waiting for vLLM's threads."""
    os.set_inheritable(descriptor, False)
    connection: Connection[Report, Command] = Connection(descriptor)
    # A copy in a child that vLLM forks would hide from the driver that this process ended.
    os.register_at_fork(after_in_child=connection.close)
    threading.Thread(target=_end_with, args=(descriptor,), daemon=True).start()
    code = 1
    try:
        start = connection.recv()
        assert isinstance(start, Start)
        code = _run(_serve(start, connection))
    except Exception:  # noqa: BLE001 - printed, and read from there
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end_with(descriptor: int) -> None:
    """End this process, and all of its session with it, once nobody is at the other end."""
    hung_up = select.poll()
    hung_up.register(descriptor, 0)
    hung_up.poll()
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _run(serving: Coroutine[Any, Any, int]) -> int:
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop  # as vLLM's server does, where it has it

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(serving)


async def _serve(start: Start, connection: Connection[Report, Command]) -> int:
    """The exit code."""
    try:
        from bench.engine.vllm_process.engine import run_engine
    except ImportError as error:
        traceback.print_exc()
        connection.send(Failed(f"vLLM cannot be imported: {error}"))
        return 1
    return await run_engine(start, connection)
