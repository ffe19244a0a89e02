"""Reasoning: single-turn requests that think before they answer, drawn from measured lengths."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.core.sessions import Segment, Session, Turn
from bench.core.spec import ReasoningSpec
from bench.workload import field_draws
from bench.workload.profile import ReasoningProfile, load_profile
from bench.workload.stream import SessionStream


def draw_reasoning(spec: ReasoningSpec) -> SessionStream:
    """`spec.sessions` single-turn sessions. Raises InputError where the profile is not one."""
    profile = load_profile(spec.profile, ReasoningProfile)
    return SessionStream("reasoning profile", profile.attribution, _sessions(profile, spec))


def _sessions(profile: ReasoningProfile, spec: ReasoningSpec) -> Iterator[Session]:
    for_input, for_output, for_share = np.random.default_rng(spec.seed).spawn(3)
    inputs = field_draws.counts(profile.input_tokens.table, for_input)
    outputs = field_draws.counts(profile.output_tokens.table, for_output)
    shares = field_draws.values(profile.thinking_share.table, for_share)
    for index in range(spec.sessions):
        output = next(outputs)
        prompt = Segment(f"reasoning/{index}", next(inputs))
        # The answer has at least one token: an output that is all thinking would have no time to first answer token.
        thinking = min(round(output * next(shares)), output - 1)
        yield Session(f"reasoning-{index:05d}", (Turn(0, (prompt,), output, thinking),))
