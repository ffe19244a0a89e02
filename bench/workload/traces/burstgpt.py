"""The CSV format of BurstGPT: one request a row, of sessions where the file names them.

Rows of one Session ID are turns of one session, gathered as `interleaved` says; each waits for the one before it, and
then for the time between their arrivals less the Elapsed time of the answer. Where that is not given, the wait is an
upper bound: the service time inside it is unknown. Nothing says which tokens of two prompts are the same, so none are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.core.sessions import Session, Turn
from bench.workload.traces.arrivals import ArrivalClock
from bench.workload.traces.format import Head, Reading, TraceFormat
from bench.workload.traces.interleaved import OpenSessions
from bench.workload.traces.tables import amount, count, rows
from bench.workload.traces.turns import following, unshared

_COLUMNS = ("Timestamp", "Request tokens", "Response tokens")
_OPTIONAL = ("Session ID", "Elapsed time")


class _Row(NamedTuple):
    number: int
    session_id: str
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    elapsed_s: float


def sessions(path: Path, reading: Reading) -> Iterator[Session]:
    """The sessions in the order they began. Raises InputError with file and line for a row that is broken."""
    del reading
    held: OpenSessions[_Row] = OpenSessions()
    for row in _rows(path):
        held.add(row, row.arrival_s, joins=row.session_id or None, name=row.session_id or None)
        for gathered in held.complete(row.arrival_s):
            yield _session(gathered)
    for gathered in held.rest():
        yield _session(gathered)


def _rows(path: Path) -> Iterator[_Row]:
    clock = ArrivalClock(path)
    for number, (stamp, prompt, output, session_id, elapsed) in rows(path, _COLUMNS, _OPTIONAL):
        arrival_s = clock.since_first(amount(stamp, "Timestamp", path, number), number)
        prompt_tokens = count(prompt, "Request tokens", path, number)
        output_tokens = count(output, "Response tokens", path, number)
        elapsed_s = amount(elapsed, "Elapsed time", path, number) if elapsed else 0.0
        yield _Row(number, session_id.strip(), arrival_s, prompt_tokens, output_tokens, elapsed_s)


def _session(gathered: Sequence[_Row]) -> Session:
    first = before = gathered[0]
    turns: list[Turn] = []
    for row in gathered:
        delay_s = max(0.0, row.arrival_s - before.arrival_s - before.elapsed_s)
        prompt = unshared(f"line-{row.number}", row.prompt_tokens)
        turns.append(following(turns, prompt, row.output_tokens, delay_s, "human"))
        before = row
    return Session(f"line-{first.number}", tuple(turns), first.arrival_s)


def _recognises(head: Head) -> bool:
    return bool({"Request tokens", "Response tokens"} & set(head.columns))


FORMAT = TraceFormat(
    "burstgpt-csv",
    f"a CSV row a request, of BurstGPT: {', '.join(_COLUMNS)}, and where they are known {', '.join(_OPTIONAL)}",
    "format of BurstGPT; its own files (github.com/HPMLL/BurstGPT) are CC-BY-4.0, to be cited as "
    "Wang et al., BurstGPT, 2024",
    _recognises,
    sessions,
)
