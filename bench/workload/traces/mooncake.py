"""Mooncake JSONL: one request an object, its prompt as hashes of 512-token blocks, the same everywhere.

A row without `session_id` is a session of its own with the whole prompt, as in Mooncake's files. Rows with one, an
extension of AIPerf's and Dynamo's, are turns of a session, gathered as `interleaved` says: they tell only what is new,
so a turn's prompt is the one before it, its answer, and that. Each waits for the one before it and then `delay` ms, or,
where only timestamps are known, for the time between those: an upper bound, for the service time inside it is unknown.
Nothing tells a tool's delay from a person's; they count as a person's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from bench.core.errors import InputError
from bench.core.sessions import Segment, Session, Turn
from bench.workload.traces.arrivals import ArrivalClock
from bench.workload.traces.blocks import check_blocks, segments_of_blocks
from bench.workload.traces.documents import documents
from bench.workload.traces.format import MOST, Head, Reading, TraceFormat
from bench.workload.traces.interleaved import IDLE_S, MOST_HELD, OpenSessions
from bench.workload.traces.turns import following, unshared

BLOCK_TOKENS = 512
_Tokens = Annotated[int, Meta(ge=0, le=MOST)]
_Milliseconds = Annotated[float, Meta(ge=0, le=1000 * MOST)]


class _Request(Struct, gc=False):
    input_length: _Tokens
    output_length: _Tokens
    hash_ids: list[int] | None = None
    """None shares nothing."""
    timestamp: _Milliseconds | None = None
    session_id: str | int | None = None
    delay: _Milliseconds | None = None
    number: int = 0
    """The line; no field of the file's."""


def sessions(path: Path, reading: Reading) -> Iterator[Session]:
    """The sessions in the order they began. Raises InputError with file and line for a row that is broken."""
    del reading
    builder = _Builder(path)
    held: OpenSessions[_Request] = OpenSessions()
    now_s = 0.0
    for number, row in documents(path, _Request):
        row.number = number
        if row.timestamp is not None:
            row.timestamp = builder.clock.since_first(row.timestamp, number)
            now_s = row.timestamp / 1000
        if row.session_id is None and not held:
            yield builder.session((row,))
            continue
        if held.add(row, now_s, joins=row.session_id, name=row.session_id) and row.session_id is not None:
            builder.begin(row.session_id, number)
        for gathered in held.complete(now_s):
            yield builder.session(gathered)
    for gathered in held.rest():
        yield builder.session(gathered)


class _Builder:
    def __init__(self, path: Path) -> None:
        self.clock = ArrivalClock(path)
        self._path = path
        self._begun: set[str | int] = set()

    def begin(self, session_id: str | int, number: int) -> None:
        """Raises InputError for a session that was taken for complete: without its context, a row says too little."""
        if session_id in self._begun:
            raise InputError(
                f"session {session_id} goes on too late",
                where=f"{self._path}:{number}",
                allowed=f"rows of a session less than {IDLE_S:.0f} s apart, and within {MOST_HELD} of other sessions",
            )
        self._begun.add(session_id)

    def session(self, gathered: Sequence[_Request]) -> Session:
        first = before = gathered[0]
        prompt: tuple[Segment, ...] = ()
        turns: list[Turn] = []
        for row in gathered:
            if turns and before.output_length:
                prompt += (Segment(f"line-{before.number}/answer", before.output_length, "assistant"),)
            prompt += self._new(row)
            turns.append(following(turns, prompt, row.output_length, _wait_s(before, row), "human"))
            before = row
        arrival_s = None if first.timestamp is None else first.timestamp / 1000
        return Session(f"line-{first.number}", tuple(turns), arrival_s)

    def _new(self, row: _Request) -> tuple[Segment, ...]:
        if row.hash_ids is not None:
            check_blocks(row.hash_ids, row.input_length, BLOCK_TOKENS, self._path, row.number)
            return segments_of_blocks(row.hash_ids, row.input_length, BLOCK_TOKENS)
        return unshared(f"line-{row.number}", row.input_length)


def _wait_s(before: _Request, row: _Request) -> float:
    if row.delay is not None:
        return row.delay / 1000
    if row.timestamp is None or before.timestamp is None:
        return 0.0
    return (row.timestamp - before.timestamp) / 1000


def _recognises(head: Head) -> bool:
    return head.document is not None and {"input_length", "output_length"} <= set(head.document)


FORMAT = TraceFormat(
    "mooncake-jsonl",
    "a JSON object a request, of Mooncake: timestamp, input_length, output_length, hash_ids, and AIPerf's session_id "
    "and delay",
    "format of Mooncake's traces; its published files (github.com/kvcache-ai/Mooncake) are Apache-2.0, to be cited as "
    "Qin et al., Mooncake, FAST 2025",
    _recognises,
    sessions,
    block_tokens=BLOCK_TOKENS,
)
