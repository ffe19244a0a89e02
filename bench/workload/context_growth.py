"""How a prompt of an agent continues the one before it."""

from __future__ import annotations

from bench.core.sessions import Segment

Context = tuple[Segment, ...]


def grown(prompt: Context, key: str, output_tokens: int, growth: int, what: str) -> Context:
    """`prompt`, what the history keeps of the output that followed it, and `what` came after: `growth` tokens more.

    Agents drop thinking from the history, so a prompt may grow by less than the output before it; something new always
    follows.
    """
    kept = min(output_tokens, growth - 1)
    added = (Segment(f"{key}/output", kept), Segment(f"{key}/{what}", growth - kept))
    return prompt + tuple(segment for segment in added if segment.tokens)
