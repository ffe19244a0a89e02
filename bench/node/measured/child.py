"""What the processes that measure have in common: they are told once what to do, and end when the other end does."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any


def told_what_to_do() -> tuple[Connection[Any, Any], Any]:
    """The connection this process was started with, and the one message that comes in on it.

    When the other end closes, the process ends wherever it is: whoever measures, however he dies, leaves none behind.
    """
    # Ctrl-C and the end of a batch job reach every process; whoever started this one ends it.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    try:
        message = connection.recv()
    except (EOFError, OSError):
        os._exit(0)
    threading.Thread(target=_end_with_the_other_end, args=(connection,), daemon=True).start()
    return connection, message


def _end_with_the_other_end(connection: Connection[Any, Any]) -> None:
    with suppress(EOFError, OSError):
        connection.recv()
    os._exit(0)
