"""Making a workload smaller or larger without changing its shape.

One rule for every count c and scale s: 0 stays 0, anything else becomes max(1, floor(c·s + 1/2)). In a prompt the rule
moves the boundaries between segments, counted from its start, so the prompt's total obeys it exactly and segments that
two turns share from the start stay the same length in both. In an output it applies to thinking and answer apart, so
that neither vanishes; the output is their sum.
"""

from __future__ import annotations

import math
from dataclasses import replace

from bench.core.sessions import Segment, Session, Turn
from bench.workload.picture_size import picture_of


def scaled_count(count: int, scale: float) -> int:
    return max(1, math.floor(count * scale + 0.5)) if count else 0


def scale_session(session: Session, scale: float) -> Session:
    """`session` with every token count scaled; segments that round to nothing are gone."""
    if scale == 1:
        return session
    return replace(session, turns=tuple(_scale_turn(turn, scale) for turn in session.turns))


def _scale_turn(turn: Turn, scale: float) -> Turn:
    thinking = scaled_count(turn.thinking_tokens, scale)
    answer = scaled_count(turn.output_tokens - turn.thinking_tokens, scale)
    return replace(
        turn, prompt=_scale_prompt(turn.prompt, scale), output_tokens=thinking + answer, thinking_tokens=thinking
    )


def _scale_prompt(prompt: tuple[Segment, ...], scale: float) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    end = scaled_end = 0
    for segment in prompt:
        end += segment.tokens
        start, scaled_end = scaled_end, scaled_count(end, scale)
        if scaled_end > start:
            segments.append(_resized(segment, scaled_end - start))
    return tuple(segments)


def _resized(segment: Segment, tokens: int) -> Segment:
    """`segment` with other `tokens`: a picture of another size, and drawn tokens where the words would be too many."""
    if tokens == segment.tokens:
        return segment
    picture = picture_of(tokens) if segment.picture is not None else None
    return Segment(segment.key, tokens, segment.role, picture=picture)


def cap_delays(session: Session, cap_s: float | None) -> tuple[Session, int]:
    """`session` with no delay longer than `cap_s`, and how many were."""
    if cap_s is None:
        return session, 0
    longer = sum(turn.delay_s > cap_s for turn in session.turns)
    if not longer:
        return session, 0
    return replace(session, turns=tuple(replace(t, delay_s=min(t.delay_s, cap_s)) for t in session.turns)), longer
