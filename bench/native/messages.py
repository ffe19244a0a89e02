"""What the driver's process and the engine's process say to each other: tuples of plain values, one per message."""

from __future__ import annotations

from array import array
from typing import Any, NamedTuple

from bench.core.records import Counters, FinishReason, StepRow, TokenKind, TokenLogprob
from bench.core.sessions import Sampling
from bench.native.settings import EngineSettings


class Load(NamedTuple):
    """The first message to the engine."""

    model_folder: str
    settings: EngineSettings
    random_seed: int | None
    """What to make the weights from; None reads the folder's."""


class Submit(NamedTuple):
    """Begin a generation."""

    id: int
    prompt_ids: array[int]
    max_tokens: int
    ignore_eos: bool
    thinking_tokens: int
    """With `ignore_eos`: how many of the output's tokens count as thinking. Otherwise the model's own marks tell."""
    sampling: Sampling
    thinking_budget: int | None = None
    """Without `ignore_eos`: the most tokens that count as thinking, what ends it included; None sets no limit.
    What ends it is said even where it takes more, as in harmony it may."""
    logprobs: int = 0
    """How many of the most likely tokens are told with each of the output."""
    min_tokens: int = 0
    """Without `ignore_eos`: how many tokens of the output no EOS is among."""


class Cancel(NamedTuple):
    id: int


class Stop(NamedTuple):
    """Send what is not sent yet and end."""


Command = Load | Submit | Cancel | Stop


class Ready(NamedTuple):
    load_s: float
    """Without what the next three took."""
    compile_s: float
    capture_s: float
    accuracy_s: float
    first_token_s: float | None
    """None where no token came."""
    max_context_tokens: int
    """The longest prompt and output together that the model and the KV pool both hold."""
    description: dict[str, Any]


class InputRefused(NamedTuple):
    """The model cannot be loaded because of what the user gave: the fields of an `InputError`."""

    what: str
    where: str | None
    allowed: str | None


class EngineFailed(NamedTuple):
    """The model cannot be loaded because of the machine: the line of an `EngineError`."""

    line: str


class Begun(NamedTuple):
    """A request has started, or started again after a preemption."""

    id: int
    cached_tokens: int
    """Prompt tokens that the prefix cache held. `Ended` tells them too, but never comes of one that is cancelled."""


class Tokens(NamedTuple):
    """New tokens of one request, all of one kind."""

    id: int
    kind: TokenKind
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] | None = None
    """Of each of them, where they were asked."""


class Ended(NamedTuple):
    id: int
    reason: FinishReason
    error: str | None
    cached_tokens: int
    """Prompt tokens that the prefix cache held."""


class Update(NamedTuple):
    """Everything one step brought, for all requests."""

    t_engine_ns: int
    begun: list[Begun]
    tokens: list[Tokens]
    ended: list[Ended]
    counters: Counters


class Rows(NamedTuple):
    rows: list[StepRow]
    did: dict[str, Any]
    """What the axes of the configuration did since the start, in plain values."""


Report = Ready | InputRefused | EngineFailed | Update | Rows
