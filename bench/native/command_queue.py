"""What the processes of an engine have in common: they do as their connection says, and end when its other end does."""

from __future__ import annotations

import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any


def open_command_queue() -> tuple[Connection[Any, Any], SimpleQueue[Any]]:
    """The connection this process was started with, and what comes in on it.

    A thread takes commands off the connection at once, so that whoever sends them never blocks behind a long step. When
    the other end closes, the process ends wherever it is: no sender, however it died, leaves one behind.
    """
    # Ctrl-C and the end of a batch job reach every process; what is to be done about it the driver decides.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)
    # The driver shares these cores. OpenMP threads that spin while they wait for one another would keep it off them, or
    # the very thread they wait for. OpenMP reads this when torch is imported.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    commands: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, commands), daemon=True).start()
    return connection, commands


def _receive(connection: Connection[Any, Any], commands: SimpleQueue[Any]) -> None:
    while True:
        try:
            commands.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)
