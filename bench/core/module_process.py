"""Python run as a child process that is given one end of a connection: a module of ours, or a script elsewhere."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import IO, Any


def start_module(module: str, output: IO[bytes] | None = None) -> tuple[subprocess.Popen[bytes], Connection[Any, Any]]:
    """Run `python -m module FD`, FD being the child's end of the connection whose other end is returned.

    What the child prints goes to `output`, or where this process prints. The child is a plain process rather than one
    of multiprocessing's: those run the parent's main module once more and keep a tracker process.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    return _start([sys.executable, "-P", "-m", module], output, environment, own_session=False)


def start_script(
    python: str, script: str, environment: Mapping[str, str], output: IO[bytes] | None = None
) -> tuple[subprocess.Popen[bytes], Connection[Any, Any]]:
    """Run `python script FD` as `start_module` runs a module, with another interpreter and what that has installed.

    It leads a session of its own: Ctrl-C does not reach it, and what it starts can be ended with it.
    """
    return _start([python, "-P", script], output, environment, own_session=True)


def _start(
    command: Sequence[str], output: IO[bytes] | None, environment: Mapping[str, str], *, own_session: bool
) -> tuple[subprocess.Popen[bytes], Connection[Any, Any]]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [*command, str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=own_session,
        )
    return process, Connection(ours.detach())


def call_when_readable(connection: Connection[Any, Any], readable: Callable[[], None]) -> None:
    """Have the running event loop call `readable` while `connection` has something to read or has been closed."""
    asyncio.get_running_loop().add_reader(connection.fileno(), readable)
    # uvloop lets no call on the descriptor wait from then on, but messages are sent and received whole.
    os.set_blocking(connection.fileno(), True)


def how_it_ended(code: int) -> str:
    """In words, an exit code of `Popen`."""
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
