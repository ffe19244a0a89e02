"""Turns that are no more than their prompts, and what the tokens of two prompts share."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.sessions import Segment, Turn


def turn(*segments: tuple[str, int]) -> Turn:
    """A turn whose prompt has these keys, each with so many tokens."""
    return Turn(0, tuple(Segment(key, tokens) for key, tokens in segments), 1)


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
