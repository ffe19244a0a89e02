"""A mock server as a process of its own."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import uvloop

from bench.core.errors import InputError
from bench.engine.mock_server.server import MockServer
from bench.engine.mock_server.settings import MockServerSettings
from bench.engine.open_files import allow_most_open_files

_COLLECT_AFTER = 100_000


def serve(
    settings: MockServerSettings, host: str, port: int, *, listening: Callable[[str], None], truth: Path | None
) -> None:
    """Answer until the process is told to end, then write the times of all writes to `truth`.

    `listening` is told the URL once the server can be asked. Raises InputError for an address it cannot have, and for
    a `truth` that cannot be written, before anything is answered.
    """
    if truth is not None:
        _write(truth, "ab", b"")
    allow_most_open_files()
    # A collection of everything stops every answer for milliseconds, and what a request leaves behind has no cycles.
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        server = runner.run(_until_told(settings, host, port, listening))
    if truth is not None:
        _write(truth, "wb", server.truth.as_json())


async def _until_told(
    settings: MockServerSettings, host: str, port: int, listening: Callable[[str], None]
) -> MockServer:
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    server = MockServer(settings)
    listening(await server.start(host, port))
    await told.wait()
    await server.stop()
    return server


def _write(file: Path, mode: Literal["ab", "wb"], data: bytes) -> None:
    try:
        with file.open(mode) as opened:
            opened.write(data)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=file) from None
