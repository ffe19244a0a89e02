"""What is asked: sessions of turns, before their tokens exist and as an engine receives them.

A `Session` is a graph of `Turn`s, whose prompts are `Segment`s; a `TurnRequest` is one turn of it with real tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

DelayClass = Literal["none", "tool", "human"]
Role = Literal["system", "user", "assistant", "tool"]
Effort = Literal["minimal", "low", "medium", "high"]


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of a prompt, in pixels. What it shows is drawn from its segment's key."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of prompt tokens. Segments with one `key` hold the same tokens, so a shared prefix is shared keys.

    Of different length, the shorter holds the first tokens of the longer.
    """

    key: str
    tokens: int
    role: Role = "user"
    """Whose words they are, where a prompt is sent as a chat: neighbours of one role are one message."""
    text: str | None = None
    """The words themselves, where the source has them; None draws tokens from `key`."""
    picture: Picture | None = None
    """An image that counts `tokens`; None is text."""


@dataclass(frozen=True, slots=True)
class Check:
    """How an answer is told to be correct."""

    kind: Literal["exact", "tool_call", "unit_test"]
    expected: str
    """`exact`: the answer but for white space at its ends. `tool_call`: a JSON object with name and arguments.
    `unit_test`: Python that is run with the answer's code before it and exits with 0."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a session, before its tokens exist."""

    index: int
    prompt: tuple[Segment, ...]
    output_tokens: int
    """Asked output length: exact when lengths are pinned, an upper bound when they are free."""
    thinking_tokens: int = 0
    """How many of `output_tokens` are thinking, as declared by the workload."""
    after: tuple[int, ...] = ()
    """Indices of the turns that must have completed before this one is due."""
    delay_s: float = 0.0
    """Tool or human time between the last of `after` completing and this turn being due, before `time_scale`."""
    delay_class: DelayClass = "none"
    foreground: bool = True
    """Whether anybody waits for it; nobody does for a sub-agent in the background."""
    agent: int = 0
    """Whose turn it is: 0 is the session's own agent, others are its sub-agents, numbered from 1 as they begin."""
    effort: Effort | None = None
    """How hard the model is asked to think; None says nothing."""
    thinking_budget: int | None = None
    """Most thinking tokens, where lengths are free: the engine then ends the thinking. None sets no limit."""
    check: Check | None = None

    @property
    def prompt_tokens(self) -> int:
        return sum(segment.tokens for segment in self.prompt)


@dataclass(frozen=True, slots=True)
class Session:
    """One user's or agent's exchange: turns that depend on one another."""

    id: str
    turns: tuple[Turn, ...]
    arrival_s: float | None = None
    """When it began in the trace it is from, in seconds from the trace's first arrival; None where that is unknown."""

    @property
    def peak_tokens(self) -> int:
        """The longest context, prompt and output together, that any turn needs."""
        return max(turn.prompt_tokens + turn.output_tokens for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Fields mean what they mean in a suite's workload."""

    temperature: float = 0.0
    seed: int = 0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat; its text may be a whole prompt."""

    role: Role
    text: str
    pictures: tuple[bytes, ...] = ()
    """PNG files that stand before the text."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A turn's prompt in the form its engine is asked in."""

    ids: tuple[int, ...]
    """Its tokens; with `messages`, what the model's own tokenizer makes of them."""
    messages: tuple[Message, ...] = ()
    """Empty where the engine is asked in tokens; one of role `user` where it is asked in plain text."""


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """A turn with its real tokens, as an engine receives it."""

    session_id: str
    turn: Turn
    prompt_ids: tuple[int, ...]
    max_tokens: int
    ignore_eos: bool
    sampling: Sampling
    messages: tuple[Message, ...] = ()
    """As in `Prompt`."""
    logprobs: int = 0
    """How many of the most likely tokens are told, with their log probabilities, at each place of the output."""
    min_tokens: int = 0
    """The fewest tokens before one that would end the output: until then none is said. Only our own engine heeds it."""
    body: bytes = field(default=b"", repr=False)
    """The request as it goes over a wire, where the engine made it ahead of time; it may hold a key."""

    def with_body(self, body: bytes) -> TurnRequest:
        """The same with this `body`. What copies any dataclass takes several times as long, for every request sent."""
        return TurnRequest(
            self.session_id,
            self.turn,
            self.prompt_ids,
            self.max_tokens,
            self.ignore_eos,
            self.sampling,
            self.messages,
            self.logprobs,
            self.min_tokens,
            body,
        )
