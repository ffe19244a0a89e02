"""Opening a trace of whatever format: told from its content, never from its name."""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import InputError
from bench.workload.stream import SessionStream
from bench.workload.traces import azure, weka
from bench.workload.traces.lines import numbered_lines

FORMATS = (
    f"CSV with the columns {', '.join(azure.COLUMNS)}, or Weka session JSON, one session a line; either may be gzipped"
)


def open_trace(path: Path) -> SessionStream:
    """The sessions of the trace at `path`.

    Raises InputError where the file is missing, empty or of no known format; reading on raises it, naming the line, for
    a row that is broken.
    """
    number, head = next(numbered_lines(path), (0, ""))
    if not head:
        raise InputError("the trace is empty", where=path, allowed=FORMATS)
    if head.lstrip().startswith("{"):
        return SessionStream(weka.FORMAT, weka.ATTRIBUTION, weka.sessions(path))
    if set(azure.COLUMNS) & set(azure.cells(head, f"{path}:{number}")):
        return SessionStream(azure.FORMAT, azure.ATTRIBUTION, azure.sessions(path))
    raise InputError("not a trace of a known format", where=path, allowed=FORMATS)
