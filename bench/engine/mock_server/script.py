"""What is written when, for one answer: steps of a generator, taken one after another as each falls due."""

from __future__ import annotations

import random
from collections.abc import Generator

from bench.core.units import NS_PER_MS
from bench.engine.mock_server.answer import Answer
from bench.engine.mock_server.frames import DONE, LAST_CHUNK, Frames, event, http_chunk
from bench.engine.mock_server.settings import MockServerSettings
from bench.engine.mock_server.truth import Ended

Step = tuple[int, bytes, int]
"""Nanoseconds after the request was read, bytes to write then, and the tokens they hold."""

Script = Generator[Step, None, Ended]


class Grid:
    """When the writes of one answer are due, in nanoseconds after its request was read."""

    def __init__(self, settings: MockServerSettings, number: int) -> None:
        self._first_ns = round(settings.ttft_ms * NS_PER_MS)
        self._gap_ns = round(settings.gap_ms * NS_PER_MS)
        self._jitter_ns = settings.jitter_ms * NS_PER_MS
        # A request's jitter is its own, whatever other requests came before.
        self._random = random.Random(f"{settings.seed} {number}").random if self._jitter_ns else None

    def due_ns(self, write: int) -> int:
        """Called once for each write, in their order."""
        due_ns = self._first_ns + write * self._gap_ns
        return due_ns + round(self._random() * self._jitter_ns) if self._random else due_ns


def at_once(data: bytes) -> Script:
    """A response in one write, with no tokens."""
    yield 0, data, 0
    return "done"


def whole(answer: Answer, grid: Grid, head: bytes, body: bytes) -> Script:
    """An answer that is not streamed: one write when its last token is due."""
    due_ns = grid.due_ns(answer.writes - 1)
    kind = answer.fault.kind if answer.fault else None
    match kind:
        case "stall" | "endless":
            yield 0, head, 0
            return "stall"
        case "reset" | "truncated":
            yield due_ns, head + body[: len(body) // 2], 0
            return "reset" if kind == "reset" else "close"
    yield due_ns, head + body, answer.tokens
    return "done"


def streamed(answer: Answer, frames: Frames, grid: Grid, number: bytes, opening: bytes) -> Script:
    """Server-sent events. `opening` is the head and what the body begins with before any token."""
    first, write, data = 0, 0, opening
    due_ns = grid.due_ns(0)
    if due_ns > 0:
        yield 0, data, 0
        data = b""
    while first != answer.cut_at:
        end = answer.write_end(first)
        data += number.join(frames.tokens(answer, first, end))
        if end == answer.tokens:
            yield due_ns, data + number.join(frames.ending(answer)), end - first
            return "done"
        yield due_ns, data, end - first
        data, first, write = b"", end, write + 1
        due_ns = grid.due_ns(write)
    return (yield from _broken_off(answer, frames, number, due_ns, data))


def _broken_off(answer: Answer, frames: Frames, number: bytes, due_ns: int, data: bytes) -> Script:
    """What comes in place of the next token; `data` is what still has to be written before it."""
    match answer.fault and answer.fault.kind:
        case "stall" | "reset" as how:
            yield due_ns, data, 0
            return how
        case "truncated":
            first = answer.cut_at or 0
            event_bytes = number.join(frames.tokens(answer, first, first + 1))
            yield due_ns, data + event_bytes[: len(event_bytes) // 2], 0
            return "close"
        case "garbage":
            wrong = b"data: {\xff\xfe no JSON\n\n"
        case _:
            failure = {"message": "the mock server was told to fail here", "type": "server_error", "code": 500}
            wrong = event({"error": failure})
    yield due_ns, data + http_chunk(wrong) + http_chunk(DONE) + LAST_CHUNK, 0
    return "done"
