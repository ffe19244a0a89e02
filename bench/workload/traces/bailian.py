"""Qwen-Bailian JSONL: one request an object, its whole prompt as hashes of 16-token blocks, the same everywhere.

A request with a parent follows it in the parent's session, gathered as `interleaved` says; one whose parent is not
among the sessions held, because it came before the trace or long ago, begins a session. It waits for its parent and
then for a person: for the time between the arrivals of both, an upper bound, for the service time inside it is unknown.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from bench.core.errors import InputError
from bench.core.sessions import Session, Turn
from bench.workload.traces.arrivals import ArrivalClock
from bench.workload.traces.blocks import check_blocks, segments_of_blocks
from bench.workload.traces.documents import documents
from bench.workload.traces.format import MOST, Head, Reading, TraceFormat
from bench.workload.traces.interleaved import OpenSessions

BLOCK_TOKENS = 16
_Tokens = Annotated[int, Meta(ge=0, le=MOST)]
_Id = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class _Request(Struct, gc=False):
    chat_id: _Id
    parent_chat_id: _Id
    timestamp: Annotated[float, Meta(ge=0, le=MOST)]
    input_length: _Tokens
    output_length: _Tokens
    hash_ids: list[_Id]


class _Held(NamedTuple):
    number: int
    chat_id: int
    parent_chat_id: int
    arrival_s: float
    input_length: int
    output_length: int
    blocks: array[int]
    """Packed: most of what is held is these."""


def sessions(path: Path, reading: Reading) -> Iterator[Session]:
    """The sessions in the order they began. Raises InputError with file and line for a row that is broken."""
    del reading
    held: OpenSessions[_Held] = OpenSessions()
    for row in _rows(path):
        if row.chat_id in held:
            raise InputError(
                f"a second request with chat_id {row.chat_id}", where=f"{path}:{row.number}", allowed="each id once"
            )
        held.add(row, row.arrival_s, joins=row.parent_chat_id, name=row.chat_id)
        for gathered in held.complete(row.arrival_s):
            yield _session(gathered)
    for gathered in held.rest():
        yield _session(gathered)


def _rows(path: Path) -> Iterator[_Held]:
    clock = ArrivalClock(path)
    for number, row in documents(path, _Request):
        arrival_s = clock.since_first(row.timestamp, number)
        check_blocks(row.hash_ids, row.input_length, BLOCK_TOKENS, path, number)
        blocks = array("q", row.hash_ids)
        yield _Held(number, row.chat_id, row.parent_chat_id, arrival_s, row.input_length, row.output_length, blocks)


def _session(gathered: Sequence[_Held]) -> Session:
    places = {row.chat_id: index for index, row in enumerate(gathered)}
    turns = []
    for index, row in enumerate(gathered):
        prompt = segments_of_blocks(row.blocks, row.input_length, BLOCK_TOKENS)
        if index == 0:
            turns.append(Turn(0, prompt, row.output_length))
            continue
        parent = places[row.parent_chat_id]
        wait_s = row.arrival_s - gathered[parent].arrival_s
        turns.append(Turn(index, prompt, row.output_length, after=(parent,), delay_s=wait_s, delay_class="human"))
    first = gathered[0]
    return Session(f"chat-{first.chat_id}", tuple(turns), first.arrival_s)


def _recognises(head: Head) -> bool:
    return head.document is not None and {"chat_id", "parent_chat_id"} <= set(head.document)


FORMAT = TraceFormat(
    "bailian-jsonl",
    "a JSON object a request, of Qwen-Bailian: chat_id, parent_chat_id, timestamp, input_length, output_length, "
    "hash_ids",
    "format of the Qwen-Bailian traces; the published files (github.com/alibaba-edu/qwen-bailian-usagetraces-anon) are "
    "Apache-2.0, to be cited as Wang et al., KVCache Cache in the Wild, USENIX ATC 2025",
    _recognises,
    sessions,
    block_tokens=BLOCK_TOKENS,
)
