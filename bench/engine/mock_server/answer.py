"""What one request is answered: how many tokens, what they say, and where it goes wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from bench.engine.mock_server.asked import Asked
from bench.engine.mock_server.faults import Fault, FaultKind
from bench.engine.mock_server.settings import MockServerSettings

Part = Literal["thinking", "answer"]

_WITHOUT_END = 2**62
_CUTS: tuple[FaultKind, ...] = ("reset", "garbage", "stall", "truncated", "api_error")
_WORD = re.compile(r"\s*\S+")


@dataclass(slots=True)
class Answer:
    """The plan of one answer; nothing changes it once it is made."""

    asked: Asked
    tokens: int
    thinking: int
    """How many of `tokens` are thinking; they come first."""
    finish: Literal["stop", "length"]
    write_tokens: int
    """Most tokens of one write."""
    cached_tokens: int
    include_usage: bool
    include_done: bool = True
    fault: Fault | None = None
    cut_at: int | None = None
    """Tokens after which `fault` breaks the answer off; None where none does."""
    words: tuple[str, ...] = ()
    """What its tokens say, again from the first where there are too few; empty counts the tokens."""

    def write_end(self, first: int) -> int:
        """The token after the last of the write that begins with token `first`."""
        end = self.thinking if first < self.thinking else self.tokens
        if self.cut_at is not None:
            end = min(end, self.cut_at)
        return min(end, first + self.write_tokens)

    @property
    def writes(self) -> int:
        """How many writes the whole answer takes."""
        return -(-self.thinking // self.write_tokens) - (-(self.tokens - self.thinking) // self.write_tokens)

    def part(self, token: int) -> Part:
        return "thinking" if token < self.thinking else "answer"


def plan_answer(asked: Asked, settings: MockServerSettings, fault: Fault | None) -> Answer:
    """The same for the same request, whatever else the server does."""
    kind = fault.kind if fault else None
    words = tuple(_WORD.findall(asked.last_line)) if settings.echo else ()
    tokens, finish = _length(asked, _natural_length(words, settings))
    if fault and kind == "short":
        tokens, finish = max(1, tokens // 2 if fault.at is None else min(fault.at, tokens)), "stop"
    events = max(2, settings.events_per_write) if kind == "coalesce" else settings.events_per_write
    return Answer(
        asked,
        _WITHOUT_END if kind == "endless" and asked.stream else tokens,
        round(tokens * settings.thinking_share),
        finish,
        settings.tokens_per_event * events,
        round(asked.prompt_tokens * settings.cached_share),
        asked.include_usage and settings.usage and kind != "no_usage",
        kind != "no_done",
        fault,
        fault.at if fault and kind in _CUTS else None,
        words,
    )


def _natural_length(words: tuple[str, ...], settings: MockServerSettings) -> int | None:
    """Tokens until the answer ends by itself; None where it never does. Thinking comes before what is echoed."""
    if words and settings.thinking_share < 1:
        return round(len(words) / (1 - settings.thinking_share))
    return settings.answer_tokens


def _length(asked: Asked, natural: int | None) -> tuple[int, Literal["stop", "length"]]:
    if natural is None or natural > asked.most_tokens:
        return asked.most_tokens, "length"
    if natural < asked.least_tokens:
        return asked.least_tokens, "length" if asked.least_tokens == asked.most_tokens else "stop"
    return natural, "stop"
