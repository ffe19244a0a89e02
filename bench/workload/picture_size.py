"""How large an image is that counts so many tokens."""

from __future__ import annotations

import math

from bench.core.sessions import Picture, Segment

PIXELS_PER_SIDE = 28
"""Of the square that is one token: 2 × 2 patches of 14 pixels, as the Qwen-VL models have it (arXiv 2409.12191)."""


def picture_of(tokens: int) -> Picture:
    """The nearly square picture whose squares are `tokens`, more or less by half a row of them at most."""
    rows = max(1, math.isqrt(tokens))
    columns = max(1, round(tokens / rows))
    return Picture(PIXELS_PER_SIDE * columns, PIXELS_PER_SIDE * rows)


def picture_segment(key: str, tokens: int) -> Segment:
    """An image that counts `tokens` in a prompt."""
    return Segment(key, tokens, picture=picture_of(tokens))
