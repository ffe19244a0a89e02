"""TraceLab rounds: what a coding agent asked its provider, a line a round, with lengths, tools and times, no words.

A session's rounds stand together, in order; each is a turn. Its prompt keeps the first `prefix_tokens` of the context,
which is the prompt before and its answer, and adds the rest. That prefix is what the provider served from its cache: a
lower bound of what the prompts really share. A session's first prefix was cached by other sessions; which ones is not
recorded, so here nobody shares it. `reasoning_output_tokens` are the thinking of `output_tokens`.

A turn is due when the last thing it brings was there: a human's message, or else the result of the slowest tool. The
delay runs from the last sign of life of the round before. Where a round has no times, the slowest of the tools called
before it stands in. Sessions are recorded over months, by many people, so a file says nothing of how they arrive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Annotated

import msgspec

from bench.core.errors import InputError
from bench.core.sessions import DelayClass, Session, Turn
from bench.workload.traces.documents import documents
from bench.workload.traces.format import Head, Reading, TraceFormat
from bench.workload.traces.growing_context import GrowingContext
from bench.workload.traces.turns import following

_BROUGHT = ("user_message", "tool_result")
"""Events that come before a round's request; all others are part of its answer."""
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
_Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
_Stamp = Annotated[datetime, msgspec.Meta(tz=True)]


class _Event(msgspec.Struct):
    event_type: str
    timestamp: _Stamp | None = None


class _Tool(msgspec.Struct):
    tool_wall_latency_ms: _Milliseconds | None = None


class Round(msgspec.Struct):
    """A line of the file."""

    session_id: str
    round_index: _Tokens
    prefix_tokens: _Tokens
    newly_append_tokens: _Tokens
    output_tokens: _Tokens
    reasoning_output_tokens: _Tokens | None = None
    timing_events: list[_Event] = []
    tools: list[_Tool] = []

    @property
    def brought(self) -> list[datetime]:
        return [e.timestamp for e in self.timing_events if e.event_type in _BROUGHT and e.timestamp is not None]

    @property
    def answered(self) -> list[datetime]:
        return [e.timestamp for e in self.timing_events if e.event_type not in _BROUGHT and e.timestamp is not None]

    @property
    def by_human(self) -> bool:
        return any(event.event_type == "user_message" for event in self.timing_events)


def sessions(path: Path, reading: Reading) -> Iterator[Session]:
    """The sessions. Raises InputError with file and line for a round that is broken or not in its place."""
    del reading
    finished: set[str] = set()
    for name, numbered in groupby(documents(path, Round), key=lambda numbered: numbered[1].session_id):
        rounds: list[Round] = []
        for number, told in numbered:
            if name in finished:
                raise InputError(f"more of {name}", where=f"{path}:{number}", allowed="a session's rounds together")
            if rounds and told.round_index <= rounds[-1].round_index:
                allowed = f"more than {rounds[-1].round_index}, that of the round before"
                raise InputError(f"round_index = {told.round_index}", where=f"{path}:{number}", allowed=allowed)
            rounds.append(told)
        finished.add(name)
        yield _session(name, rounds)


def _session(name: str, rounds: Sequence[Round]) -> Session:
    context = GrowingContext(name)
    for told in rounds:
        kept = min(told.prefix_tokens, context.tokens)
        context.ask(kept, told.prefix_tokens + told.newly_append_tokens - kept)
        context.answer(told.output_tokens)
    turns: list[Turn] = []
    before = rounds[0]
    for told, prompt in zip(rounds, context.prompts(), strict=True):
        thinking = min(told.reasoning_output_tokens or 0, max(told.output_tokens - 1, 0))
        turn = following(turns, prompt, told.output_tokens, *_delay(before, told))
        turns.append(replace(turn, thinking_tokens=thinking))
        before = told
    return Session(name, tuple(turns))


def _delay(before: Round, told: Round) -> tuple[float, DelayClass]:
    if before.answered and told.brought:
        delay_s = max(0.0, (max(told.brought) - max(before.answered)).total_seconds())
        return delay_s, "human" if told.by_human else "tool"
    waits = [tool.tool_wall_latency_ms for tool in before.tools if tool.tool_wall_latency_ms is not None]
    return (max(waits) / 1000, "tool") if waits else (0.0, "none")


def _recognises(head: Head) -> bool:
    return head.document is not None and {"session_id", "round_index", "prefix_tokens"} <= head.document.keys()


FORMAT = TraceFormat(
    "tracelab-rounds",
    "a JSON object a round, of TraceLab: session_id, round_index, prefix_tokens, newly_append_tokens, output_tokens",
    "TraceLab's data (github.com/uw-syfi/TraceLab) is CC-BY-4.0, to be cited as TraceLab, arXiv 2606.30560",
    _recognises,
    sessions,
)
