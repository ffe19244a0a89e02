"""AIPerf's own inputs: `multi_turn`, a session a line, and `single_turn`, a request a line.

A turn's prompt is what all turns of its session up to it say, with the answers between them: what those will say is not
known, only how long each is. `delay` is the time after the answer before; where a turn has none, but it and the one
before have a `timestamp`, it is the time between the two, an upper bound, for the service time inside it is unknown. It
is a tool's where the turn's role is `tool`, else a human's. Times are in milliseconds; sessions arrive at the timestamp
of their first turn.

Sessions in which something is shown or played are left out and counted, for nothing tells how many tokens that is. A
turn that does not say how long its output is is a turn without output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from bench.core.errors import InputError
from bench.core.sessions import DelayClass, Message, Session, Turn
from bench.workload.stream import LeftOut
from bench.workload.traces.arrivals import ArrivalClock
from bench.workload.traces.conversation import History
from bench.workload.traces.documents import documents
from bench.workload.traces.format import Head, Reading, TraceFormat
from bench.workload.traces.turns import following

NOT_TEXT = "of sessions with images, audio or video, whose tokens are not told"
_Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1e15)]
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class _Text(msgspec.Struct):
    contents: list[str]


class _Asked(msgspec.Struct):
    text: str | None = None
    texts: list[str | _Text] | None = None
    image: Any = None
    images: Any = None
    audio: Any = None
    audios: Any = None
    video: Any = None
    videos: Any = None
    role: Literal["system", "user", "assistant", "tool"] = "user"
    timestamp: _Milliseconds | None = None
    delay: _Milliseconds | None = None
    output_length: _Tokens | None = None

    @property
    def words(self) -> str:
        parts = [self.text] if self.text else []
        for text in self.texts or ():
            parts += [text] if isinstance(text, str) else text.contents
        return "\n".join(parts)

    @property
    def is_text(self) -> bool:
        return not any((self.image, self.images, self.audio, self.audios, self.video, self.videos))


class _Row(_Asked):
    """Either kind of line."""

    session_id: str | int | None = None
    turns: list[_Asked] | None = None


def sessions(path: Path, reading: Reading) -> Iterator[Session | LeftOut]:
    """The sessions. Raises InputError with file and line for one that is broken, whose id is not its own, or that
    arrives before the first."""
    clock = ArrivalClock(path)
    seen: set[str] = set()
    for number, row in documents(path, _Row):
        asked = [row] if row.turns is None else row.turns
        name = f"line-{number}" if row.session_id is None else f"session-{row.session_id}"
        if name in seen:
            raise InputError(f"a second {name}", where=f"{path}:{number}", allowed="each session_id once")
        seen.add(name)
        if all(turn.is_text for turn in asked):
            yield from _session(name, asked, reading, clock, number)
        else:
            yield LeftOut(NOT_TEXT, len(asked))


def _session(
    name: str, asked: Sequence[_Asked], reading: Reading, clock: ArrivalClock, number: int
) -> Iterator[Session]:
    history = History(name, reading.count_tokens)
    turns: list[Turn] = []
    before: _Asked | None = None
    for told in asked:
        history.say(Message(told.role, told.words))
        output_tokens = told.output_length or 0
        turns.append(following(turns, history.prompt, output_tokens, *_delay(told, before)))
        history.say_unheard("assistant", output_tokens)
        before = told
    if turns:
        start_ms = asked[0].timestamp
        yield Session(name, tuple(turns), None if start_ms is None else clock.since_first(start_ms, number) / 1000)


def _delay(told: _Asked, before: _Asked | None) -> tuple[float, DelayClass]:
    """In seconds, and whose it is."""
    delay_ms = told.delay
    if delay_ms is None and before is not None and told.timestamp is not None and before.timestamp is not None:
        delay_ms = max(0.0, told.timestamp - before.timestamp)
    if delay_ms is None:
        return 0.0, "none"
    return delay_ms / 1000, "tool" if told.role == "tool" else "human"


def _recognises(head: Head) -> bool:
    document = head.document or {}
    turns = document.get("turns")
    first = turns[0] if isinstance(turns, list) and turns else document
    # Other formats have session rows too, but those give lengths and hashes instead of words.
    return isinstance(first, dict) and ("text" in first or "texts" in first) and "hash_ids" not in first


FORMAT = TraceFormat(
    "aiperf",
    "a JSON object a session or a request, of AIPerf's multi_turn and single_turn: text, output_length, delay in ms",
    "format of AIPerf's inputs (github.com/ai-dynamo/aiperf, Apache-2.0); the words are their authors'",
    _recognises,
    sessions,
)
