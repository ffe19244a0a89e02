"""What a mock server is told to do, resolved before it listens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bench.engine.mock_server.faults import FaultRule

MODEL = "mock"
"""What the server calls its model; it answers for any name."""
OTHER_MODEL = "another"
"""What it lists beside it, and answers as, where it is told to answer as another model."""

ThinkingForm = Literal["reasoning_content", "reasoning", "tags", "harmony"]


@dataclass(frozen=True, slots=True)
class MockServerSettings:
    ttft_ms: float = 50.0
    """From the read of a request's last byte to the write of its first token."""
    gap_ms: float = 10.0
    """Between writes, which lie on a grid that starts at the first: a late one delays no other."""
    jitter_ms: float = 0.0
    """Each write is late by up to so much, evenly distributed; the grid stays."""
    seed: int = 0
    """Of the jitter."""
    tokens_per_event: int = 1
    events_per_write: int = 1
    """Thinking and answer never share a write."""
    answer_tokens: int | None = None
    """Where a model that ends its own answers ends them; None is at the most that is asked for."""
    thinking_share: float = 0.0
    """Share of an answer's tokens that is thinking."""
    thinking: ThinkingForm = "reasoning_content"
    """How thinking is told: in a field of that name or marked in the text. Completions have no such field and carry
    `tags` instead."""
    role_chunk: bool = True
    """Begin a chat's stream with a chunk that has a role and no content, long before the first token."""
    usage: bool = True
    """Tell the usage where it is asked for."""
    cached_share: float = 0.0
    """Share of a prompt's tokens told as cached."""
    echo: bool = False
    """Answer with the last line of the prompt, a word a token, instead of counted words."""
    faults: tuple[FaultRule, ...] = ()
    strict: bool = False
    """Refuse a request with a field that OpenAI's own API does not know."""
    max_open: int | None = None
    """Most answers in flight; a request beyond them is answered 429. None sets no limit."""
    api_key: str | None = field(default=None, repr=False)
    """What `Authorization: Bearer` must say; None asks for nothing."""
