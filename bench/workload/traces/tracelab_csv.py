"""The replay CSV of TraceLab: one round of a coding agent's session a row, told by lengths.

`prefix_len` is how much of the context before, prompt and answer, the prompt keeps; `input_len` is what it adds. A
prefix shorter than that context is a compaction: what is behind it was dropped, and is shared no more. The first
round's prefix is one that nobody shares. Times are milliseconds; every wait is a tool's, as the column says, though a
person's may be among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from bench.core.errors import InputError
from bench.core.sessions import Session, Turn
from bench.workload.traces.arrivals import ArrivalClock
from bench.workload.traces.format import Head, Reading, TraceFormat
from bench.workload.traces.growing_context import GrowingContext
from bench.workload.traces.lines import numbered_lines
from bench.workload.traces.tables import amount, cells, count, rows
from bench.workload.traces.turns import following

_NAMES = ("session_id", "id")
"""Of the first column: TraceLab writes either."""
_LENGTHS = ("round_idx", "prefix_len", "input_len", "output_len")
_WAIT, _ARRIVAL = "tool_wait_after_ms", "arrival_time"


@dataclass(frozen=True, slots=True)
class _Round:
    number: int
    """The line."""
    session_id: str
    index: int
    prefix_tokens: int
    new_tokens: int
    output_tokens: int
    wait_after_s: float
    arrival_ms: float | None


def sessions(path: Path, reading: Reading) -> Iterator[Session]:
    """The sessions, each of rows that follow one another. Raises InputError with file and line for a broken one."""
    del reading
    clock = ArrivalClock(path)
    seen: set[str] = set()
    for name, grouped in groupby(_rounds(path), key=lambda one: one.session_id):
        rounds = list(grouped)
        first = rounds[0]
        if name in seen:
            raise InputError(
                f"session {name} goes on", where=f"{path}:{first.number}", allowed="all its rows one after another"
            )
        seen.add(name)
        arrival_ms = None if first.arrival_ms is None else clock.since_first(first.arrival_ms, first.number)
        yield Session(name, _turns(rounds, path), None if arrival_ms is None else arrival_ms / 1000)


def _rounds(path: Path) -> Iterator[_Round]:
    number, header = next(numbered_lines(path), (1, ""))
    name = next((name for name in _NAMES if name in cells(header, f"{path}:{number}")), _NAMES[0])
    for number, (session_id, *lengths, wait, arrival) in rows(path, (name, *_LENGTHS, _WAIT), (_ARRIVAL,)):
        if not session_id.strip():
            raise InputError(f"{name} is empty", where=f"{path}:{number}", allowed="the session's name")
        index, prefix, new, output = (count(*length, path, number) for length in zip(lengths, _LENGTHS, strict=True))
        wait_s = amount(wait, _WAIT, path, number) / 1000
        arrival_ms = amount(arrival, _ARRIVAL, path, number) if arrival else None
        yield _Round(number, session_id.strip(), index, prefix, new, output, wait_s, arrival_ms)


def _turns(rounds: Sequence[_Round], path: Path) -> tuple[Turn, ...]:
    context = GrowingContext(f"tracelab/{rounds[0].session_id}")
    for index, one in enumerate(rounds):
        where = f"{path}:{one.number}"
        if one.index != index:
            raise InputError(f"round_idx = {one.index}", where=where, allowed=f"rounds from 0 on: {index}")
        if index == 0:
            context.ask(0, one.prefix_tokens + one.new_tokens)
        elif one.prefix_tokens <= context.tokens:
            context.ask(one.prefix_tokens, one.new_tokens)
        else:
            allowed = f"at most the context before it: {context.tokens}"
            raise InputError(f"prefix_len = {one.prefix_tokens}", where=where, allowed=allowed)
        context.answer(one.output_tokens)
    turns: list[Turn] = []
    before = rounds[0]
    for one, prompt in zip(rounds, context.prompts(), strict=True):
        turns.append(following(turns, prompt, one.output_tokens, before.wait_after_s, "tool"))
        before = one
    return tuple(turns)


def _recognises(head: Head) -> bool:
    return {"round_idx", "prefix_len"} <= set(head.columns)


FORMAT = TraceFormat(
    "tracelab-csv",
    f"a CSV row a round, of TraceLab's replay: {_NAMES[0]}, {', '.join(_LENGTHS)}, {_WAIT}, {_ARRIVAL}",
    "format of TraceLab's replay (github.com/uw-syfi/TraceLab); its published rounds are CC-BY-4.0, to be cited as "
    "TraceLab, arXiv 2606.30560",
    _recognises,
    sessions,
)
