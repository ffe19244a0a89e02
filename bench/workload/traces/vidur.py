"""The CSV format of Vidur's processed traces: the lengths of one request a row and, in some, its arrival."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.core.sessions import Session, Turn
from bench.workload.traces.arrivals import ArrivalClock
from bench.workload.traces.format import Head, Reading, TraceFormat
from bench.workload.traces.tables import amount, count, rows
from bench.workload.traces.turns import unshared

_COLUMNS = ("num_prefill_tokens", "num_decode_tokens")
_ARRIVAL = "arrived_at"


def sessions(path: Path, reading: Reading) -> Iterator[Session]:
    """Each row as a session of one turn. Raises InputError with file and line for a row that is not one."""
    del reading
    clock = ArrivalClock(path)
    for number, (prefill, decode, arrived) in rows(path, _COLUMNS, (_ARRIVAL,)):
        prompt_tokens = count(prefill, "num_prefill_tokens", path, number)
        output_tokens = count(decode, "num_decode_tokens", path, number)
        arrival_s = clock.since_first(amount(arrived, _ARRIVAL, path, number), number) if arrived else None
        name = f"line-{number}"
        yield Session(name, (Turn(0, unshared(name, prompt_tokens), output_tokens),), arrival_s)


def _recognises(head: Head) -> bool:
    return bool(set(_COLUMNS) & set(head.columns))


FORMAT = TraceFormat(
    "vidur-csv",
    f"a CSV row a request, of Vidur's processed traces: {', '.join(_COLUMNS)}",
    "format of Vidur's processed traces (github.com/microsoft/vidur, MIT), to be cited as Agrawal et al., Vidur, "
    "MLSys 2024; the texts they were counted in have terms of their own",
    _recognises,
    sessions,
)
