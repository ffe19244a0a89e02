"""What importers make turns and prompts of, whatever their format."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.sessions import DelayClass, Segment, Turn


def following(
    turns: Sequence[Turn],
    prompt: tuple[Segment, ...],
    output_tokens: int,
    delay_s: float = 0.0,
    delay_class: DelayClass = "none",
) -> Turn:
    """The turn that is asked `delay_s` after the last of `turns` has been answered; the first waits for nothing."""
    if not turns:
        return Turn(0, prompt, output_tokens)
    index = len(turns)
    return Turn(index, prompt, output_tokens, after=(index - 1,), delay_s=delay_s, delay_class=delay_class)


def unshared(key: str, tokens: int) -> tuple[Segment, ...]:
    """A prompt, or a part of one, of which only the length is known; none other has `key`."""
    return (Segment(key, tokens),) if tokens else ()
