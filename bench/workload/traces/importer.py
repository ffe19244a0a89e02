"""Opening a trace of whatever format: told from its content, never from its name."""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import InputError
from bench.workload.stream import SessionStream, askable
from bench.workload.traces import (
    aiperf,
    azure,
    bailian,
    burstgpt,
    mooncake,
    otel,
    servegen,
    sharegpt,
    tau_bench,
    tracelab_csv,
    tracelab_rounds,
    vidur,
    weka,
)
from bench.workload.traces.documents import documents
from bench.workload.traces.format import Head, Reading, TraceFormat
from bench.workload.traces.lines import numbered_lines, opening
from bench.workload.traces.tables import cells

FORMATS: tuple[TraceFormat, ...] = (
    azure.FORMAT,
    burstgpt.FORMAT,
    vidur.FORMAT,
    tracelab_csv.FORMAT,
    bailian.FORMAT,  # before Mooncake's, whose fields it has too
    mooncake.FORMAT,
    weka.FORMAT,
    servegen.FORMAT,
    sharegpt.FORMAT,
    aiperf.FORMAT,
    tau_bench.FORMAT,
    otel.FORMAT,
    tracelab_rounds.FORMAT,
)
"""The first that recognises a file reads it."""


def open_trace(path: Path, reading: Reading) -> SessionStream:
    """The sessions of the trace at `path` that can be asked.

    Raises InputError where the file is missing, empty or of no known format; reading on raises it, naming the line, for
    a row that is broken.
    """
    found = recognise(path)
    sessions = askable(found.sessions(path, reading))
    return SessionStream(found.name, found.attribution, sessions, found.block_tokens, found.drawn)


def recognise(path: Path) -> TraceFormat:
    """The format of the trace at `path`. Raises InputError as `open_trace` does."""
    head = read_head(path)
    found = next((known for known in FORMATS if known.recognises(head)), None)
    if found is None:
        raise InputError("not a trace of a known format", where=path, allowed=_known())
    return found


def read_head(path: Path) -> Head:
    """What `path` begins with. Raises InputError where it is missing, empty or neither CSV nor JSON."""
    first = opening(path)
    if not first:
        raise InputError("the trace is empty", where=path, allowed=_known())
    if first in b"{[":
        _, document = next(documents(path), (0, None))
        return Head(document=document)
    number, line = next(numbered_lines(path))
    return Head(columns=cells(line, f"{path}:{number}"))


def _known() -> str:
    return f"{', '.join(known.name for known in FORMATS)}; `bench traces list` says what each is"
