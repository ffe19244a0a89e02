"""Fixed: single-turn sessions of one size, for controlled shapes such as 128 prompt and 64 output tokens."""

from __future__ import annotations

from collections.abc import Iterator

from bench.core.sessions import Segment, Session, Turn
from bench.core.spec import FixedSpec
from bench.workload.stream import SessionStream


def fixed_sessions(spec: FixedSpec) -> SessionStream:
    """`spec.sessions` sessions whose prompts have their first `spec.shared_prefix_tokens` in common."""
    return SessionStream("fixed sizes", "none: the suite names every size", _sessions(spec))


def _sessions(spec: FixedSpec) -> Iterator[Session]:
    shared = Segment("fixed/shared", spec.shared_prefix_tokens)
    for index in range(spec.sessions):
        own = Segment(f"fixed/{index}", spec.prompt_tokens - spec.shared_prefix_tokens)
        prompt = tuple(segment for segment in (shared, own) if segment.tokens)
        yield Session(f"fixed-{index:05d}", (Turn(0, prompt, spec.output_tokens, spec.thinking_tokens),))
