"""How many tokens a request took, as OpenAI's API tells it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bench.native.server.asked import Asked
from bench.native.server.choice import Choice


class PromptDetails(msgspec.Struct):
    cached_tokens: int


class CompletionDetails(msgspec.Struct):
    reasoning_tokens: int


class Usage(msgspec.Struct):
    prompt_tokens: int
    """Of each prompt once, however many answers it got."""
    completion_tokens: int
    """Everything generated, EOS and the marks of thinking too."""
    total_tokens: int
    prompt_tokens_details: PromptDetails | None
    """None until the engine tells, at the end of each answer, be it one that a stop string ended."""
    completion_tokens_details: CompletionDetails | None
    """None where thinking is not told apart: clients take what is counted and not shown as hidden from them."""


def usage_of(choices: Sequence[Choice], asked: Asked) -> Usage:
    """What `choices`, all that were asked for, have taken so far."""
    first = choices[:: asked.n]
    prompt_tokens = sum(len(choice.turn.prompt_ids) for choice in first)
    completion_tokens = sum(choice.tokens for choice in choices)
    cached = [choice.cached_tokens for choice in first if choice.cached_tokens is not None]
    return Usage(
        prompt_tokens,
        completion_tokens,
        prompt_tokens + completion_tokens,
        PromptDetails(sum(cached)) if len(cached) == len(first) else None,
        CompletionDetails(sum(choice.thinking_tokens for choice in choices)) if asked.splits_thinking else None,
    )
