"""The seams between rooms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from bench.core.records import Chunk, Counters, Finish, PowerRow, Progress, Startup, StepRow
from bench.core.sessions import TurnRequest

PromptForm = Literal["tokens", "text", "chat"]
"""How an engine is asked: in token ids, in one text, or in messages that it puts into the model's template itself."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do and tell. Sessions beyond its context are left out of the workload and counted."""

    force_length: bool
    """Output length can be pinned (EOS ignored)."""
    token_ids: bool
    cache_stats: bool
    step_log: bool
    max_context_tokens: int
    logprobs: int = 0
    """How many log probabilities a token can carry; 0 is none."""
    images: bool = False
    prompt: PromptForm = "tokens"


class Sink(Protocol):
    """Where an engine delivers one turn. Called on the driver's event loop, never after `finish`."""

    def chunk(self, chunk: Chunk) -> None: ...

    def finish(self, finish: Finish) -> None: ...


class Handle(Protocol):
    """A turn in flight, as its engine knows it."""

    @property
    def request(self) -> TurnRequest: ...


class StepLog(Protocol):
    """The engine's own step table while it grows."""

    def take(self) -> list[StepRow]:
        """The rows logged since the last call."""


class Engine(Protocol):
    """Who answers. The driver knows nothing of an engine beyond this."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def step_log(self) -> StepLog | None: ...

    async def start(self) -> Startup:
        """Become ready to answer. Raises EngineError, or InputError for a model that cannot be loaded."""

    async def expect(self, turns: int) -> None:
        """Be ready for `turns` at once, as far as can be; what could not be had is no failure before it is missed."""

    def prepare(self, request: TurnRequest) -> TurnRequest:
        """`request` with everything done that can be before it is due; called once, before `submit`."""

    async def submit(self, request: TurnRequest, sink: Sink) -> Handle:
        """Begin a turn. One the engine cannot serve ends in `sink.finish` with reason `failed`, not in an exception."""

    async def cancel(self, handle: Handle) -> None: ...

    async def end_session(self, session_id: str) -> None:
        """No further turn of this session will come. Raises EngineError when the engine is lost."""

    def counters(self) -> Counters: ...

    def describe(self) -> dict[str, Any]:
        """What the engine resolved and did (graphs, kernels, cache, downgrades), for the record.

        Once started it says under `accelerators` how many it uses, 0 on a CPU, and under `accelerator_ids` which: their
        pseudonyms as in the node's fingerprint. An engine that cannot tell which leaves that key out.
        """

    async def stop(self) -> StepLog | None:
        """End every process and release the device. Safe to call twice."""


class PowerSensor(Protocol):
    """One source of energy readings."""

    @property
    def scope(self) -> str: ...

    def read(self, t_ns: int) -> Iterable[PowerRow]: ...


class Watch(Protocol):
    """Who looks on while cases run."""

    def case(self, name: str, index: int, total: int) -> None:
        """Case `index` of `total`, counted from 1, is prepared or begins."""

    def phase(self, text: str) -> None:
        """What the case does now: starting the engine, warming up, measuring."""

    def tick(self, progress: Progress, counters: Counters) -> None:
        """A few times a second while turns are in flight."""
