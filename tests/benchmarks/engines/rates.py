"""The two rates that engines are compared by, defined once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Rates:
    prefill_tokens_per_s: float
    """Prompt tokens of the whole batch over the time until its last request has a first token."""
    decode_tokens_per_s: float
    """Tokens that came after that moment, over the time from it to the last token."""


def rates_of(asked_ns: int, token_ns: Sequence[Sequence[int]], prompt_tokens: int) -> Rates:
    """The rates of one batch of requests asked at `asked_ns`, each with `prompt_tokens` of prompt.

    `token_ns` holds the times each request's tokens came at. Raises ValueError where none came after the first ones.
    """
    first_ns = max(times[0] for times in token_ns)
    last_ns = max(times[-1] for times in token_ns)
    later = sum(time_ns > first_ns for times in token_ns for time_ns in times)
    if not later:
        raise ValueError("no token came after every request had its first")
    return Rates(
        prefill_tokens_per_s=1e9 * prompt_tokens * len(token_ns) / (first_ns - asked_ns),
        decode_tokens_per_s=1e9 * later / (last_ns - first_ns),
    )
