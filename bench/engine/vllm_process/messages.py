"""What the driver's process and vLLM's say to each other: tuples of plain values, one per message."""

from __future__ import annotations

from array import array
from typing import Any, NamedTuple

from bench.core.records import Counters, FinishReason, TokenLogprob
from bench.core.sessions import Sampling


class Start(NamedTuple):
    """The first message to vLLM."""

    model_folder: str
    random_weights: bool
    arguments: dict[str, Any]
    """As the suite has them."""


class Submit(NamedTuple):
    """Begin a generation."""

    id: int
    prompt_ids: array[int]
    max_tokens: int
    ignore_eos: bool
    sampling: Sampling
    thinking_budget: int | None
    logprobs: int


class Cancel(NamedTuple):
    id: int


class CountFromHere(NamedTuple):
    """Leave what was done so far out of what is told of it."""


class Stop(NamedTuple):
    """Say what was done and end."""


Command = Start | Submit | Cancel | CountFromHere | Stop


class Ready(NamedTuple):
    first_token_s: float
    max_context_tokens: int
    max_logprobs: int
    gpu_uuids: list[str] | None
    """Of the accelerators it uses; None where it cannot tell."""
    description: dict[str, Any]


class Refused(NamedTuple):
    """What the suite asks of vLLM is not what it takes."""

    what: str
    where: str
    allowed: str | None


class Failed(NamedTuple):
    """vLLM did not start."""

    line: str


class Update(NamedTuple):
    """What came of one iteration of vLLM."""

    t_engine_ns: int
    """When vLLM handed its tokens over, on the system's monotonic clock."""
    tokens: list[tuple[int, tuple[int, ...], tuple[TokenLogprob, ...] | None]]
    """Generation, new tokens, and where they were asked their log probabilities."""
    ended: list[tuple[int, FinishReason, str | None, int | None]]
    """Generation, reason, error, and prompt tokens that the prefix cache had."""
    counters: Counters


class Did(NamedTuple):
    """What vLLM has done since it was told to count, as far as it counts that."""

    did: dict[str, Any]


Report = Ready | Refused | Failed | Update | Did
