"""Weka session JSON: recorded coding-agent sessions with prompts as hashes of 64-token blocks, and nested sub-agents.

One session a line, or a file that is one session. Equal block ids are equal tokens within a session. A request's prompt
is its whole blocks and the tokens left over, which belong to it alone.

What becomes what: a request is a turn. It waits for the request before it and then for the recorded client gap. A
sub-agent's requests are turns of the same session that start from the request that launched it; the next request waits
for every sub-agent that had completed by then, and never for one that ran on in the background. Sessions have no clock
in common, so none has an arrival time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from bench.core.errors import InputError
from bench.core.sessions import DelayClass, Segment, Session, Turn
from bench.core.suite import parse
from bench.workload.traces.blocks import segments_of_blocks
from bench.workload.traces.documents import documents
from bench.workload.traces.format import MOST, Head, Reading, TraceFormat

_Seconds = Annotated[float, Field(ge=0, le=MOST)]
_Tokens = Annotated[int, Field(ge=0, le=MOST)]
_TYPES = ("n", "s", "subagent")
_SHAPE = "a Weka session: an object with id, block_size, hash_id_scope and requests"


class _Recorded(BaseModel):
    # Fields this importer has no use for may stand there.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class RecordedRequest(_Recorded):
    type: Literal["n", "s"]
    t: _Seconds
    input_tokens: _Tokens = Field(alias="in")
    output_tokens: _Tokens = Field(alias="out")
    hash_ids: tuple[int, ...]
    input_types: tuple[str, ...] = ()
    api_time: _Seconds | None = None
    think_time: _Seconds | None = None

    @property
    def end_s(self) -> float:
        return self.t + (self.api_time or 0.0)


class RecordedSubAgent(_Recorded):
    type: Literal["subagent"]
    t: _Seconds
    """When it had completed; when it was launched if it ran on in the background."""
    duration_ms: Annotated[float, Field(ge=0, le=1000 * MOST)] | None = None
    status: str
    requests: tuple[RecordedRequest, ...]

    @property
    def in_background(self) -> bool:
        return self.status == "async_launched"

    @property
    def start_s(self) -> float:
        return self.t - (self.duration_ms or 0.0) / 1000

    @model_validator(mode="after")
    def _says_when_it_began(self) -> RecordedSubAgent:
        if not self.in_background and self.duration_ms is None:
            raise ValueError("duration_ms where status is not async_launched")
        return self


class RecordedSession(_Recorded):
    id: str
    block_size: PositiveInt
    hash_id_scope: Literal["local"]
    requests: tuple[Annotated[RecordedRequest | RecordedSubAgent, Field(discriminator="type")], ...]

    def all_requests(self) -> Iterator[RecordedRequest]:
        for entry in self.requests:
            if isinstance(entry, RecordedSubAgent):
                yield from entry.requests
            else:
                yield entry


def sessions(path: Path, reading: Reading) -> Iterator[Session]:
    """The recorded sessions. Raises InputError with file and line for one that is broken."""
    del reading
    seen: set[str] = set()
    for number, document in documents(path):
        where = f"{path}:{number}"
        recorded = _recorded(document, where)
        if recorded.id in seen:
            raise InputError(f"a second session with id {recorded.id!r}", where=where, allowed="each id once")
        seen.add(recorded.id)
        session = session_of(recorded)
        if session.turns:
            yield session


def session_of(recorded: RecordedSession) -> Session:
    """The recording as a session; requests without output are turns of it too."""
    return _SessionBuilder(recorded).build()


def _recorded(document: dict[str, Any], where: str) -> RecordedSession:
    if not isinstance(document.get("requests"), list):
        raise InputError("not a session", where=where, allowed=_SHAPE)
    for index, entry in enumerate(document["requests"]):
        if not isinstance(entry, dict) or entry.get("type") not in _TYPES:
            raise InputError(f"requests[{index}] has no known type", where=where, allowed=", ".join(_TYPES))
    recorded = parse(RecordedSession, document, where)
    _check_blocks(recorded, where)
    return recorded


def _check_blocks(recorded: RecordedSession, where: str) -> None:
    for request in recorded.all_requests():
        whole = request.input_tokens // recorded.block_size
        if len(request.hash_ids) != whole:
            raise InputError(
                f"the request at t={request.t:g} of {recorded.id} has {len(request.hash_ids)} hash_ids "
                f"for {request.input_tokens} tokens",
                where=where,
                allowed=f"one for each whole block of {recorded.block_size}: {whole}",
            )


@dataclass
class _Chain:
    """Requests that follow one another, while they become turns."""

    after: tuple[int, ...]
    """Turns the next request waits for."""
    agent: int = 0
    foreground: bool = True
    pending_s: float = 0.0
    """Delay still to be added to the first turn's."""
    previous: RecordedRequest | None = None

    @property
    def end_s(self) -> float:
        return self.previous.end_s if self.previous else 0.0

    def gap_s(self, request: RecordedRequest) -> float:
        """The client's time before `request`.

        Where the recording has none, the time since the request before was sent stands in: an upper bound, for the
        service time inside it is unknown.
        """
        return request.think_time if request.think_time is not None else max(0.0, request.t - self.end_s)


class _SessionBuilder:
    """Turns of one recorded session."""

    def __init__(self, recorded: RecordedSession) -> None:
        self._recorded = recorded
        self._turns: list[Turn] = []
        self._agents = 0

    def build(self) -> Session:
        parent = _Chain(after=())
        joined: list[tuple[float, int]] = []
        for entry in self._recorded.requests:
            if isinstance(entry, RecordedSubAgent):
                last = self._sub_agent(entry, parent)
                if last is not None and not entry.in_background:
                    joined.append((entry.t, last))
                continue
            delay_s = parent.gap_s(entry)
            if joined:
                delay_s = max(0.0, entry.t - max(parent.end_s, *(end_s for end_s, _ in joined)))
                parent.after += tuple(last for _, last in joined)
                joined = []
            self._add(entry, parent, delay_s, "tool" if "tool_result" in entry.input_types else "human")
        return Session(self._recorded.id, tuple(self._turns))

    def _sub_agent(self, agent: RecordedSubAgent, parent: _Chain) -> int | None:
        """Add the turns of `agent`. Returns the index of its last, or None where it has none."""
        if not agent.requests:
            return None
        self._agents += 1
        launched_s = max(0.0, agent.start_s - parent.end_s)
        chain = _Chain(parent.after, self._agents, foreground=not agent.in_background, pending_s=launched_s)
        for request in agent.requests:
            self._add(request, chain, chain.gap_s(request), "tool")
        return chain.after[0]

    def _add(self, request: RecordedRequest, chain: _Chain, delay_s: float, waits_for: DelayClass) -> None:
        chain.previous = request
        delay_s += chain.pending_s
        index = len(self._turns)
        turn = Turn(
            index,
            self._prompt(request, index),
            request.output_tokens,
            after=chain.after,
            delay_s=delay_s,
            delay_class=waits_for if chain.after else "none",
            foreground=chain.foreground,
            agent=chain.agent,
        )
        self._turns.append(turn)
        chain.after, chain.pending_s = (index,), 0.0

    def _prompt(self, request: RecordedRequest, index: int) -> tuple[Segment, ...]:
        scope, block_tokens = self._recorded.id, self._recorded.block_size
        rest = request.input_tokens % block_tokens
        whole = segments_of_blocks(request.hash_ids, request.input_tokens - rest, block_tokens, f"{scope}/")
        return (*whole, Segment(f"{scope}/rest-{index}", rest)) if rest else whole


def _recognises(head: Head) -> bool:
    return head.document is not None and "requests" in head.document and "hash_id_scope" in head.document


FORMAT = TraceFormat(
    "weka-json",
    "a JSON object a session, of the Weka agent traces: id, block_size, hash_id_scope, requests",
    "format of the Weka agent traces; the published sessions (github.com/callanjfox/kv-cache-tester) are Apache-2.0",
    _recognises,
    sessions,
)
