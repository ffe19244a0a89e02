"""Reasoning: single-turn requests that think before they answer, drawn from measured lengths."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.core.sessions import Segment, Session, Turn
from bench.core.spec import ReasoningSpec
from bench.workload.profile import ReasoningProfile, load_profile
from bench.workload.stream import SessionStream


def draw_reasoning(spec: ReasoningSpec) -> SessionStream:
    """`spec.sessions` single-turn sessions. Raises InputError where the profile is not one."""
    profile = load_profile(spec.profile, ReasoningProfile)
    return SessionStream("reasoning profile", profile.attribution, _sessions(profile, spec.sessions, spec.seed))


def _sessions(profile: ReasoningProfile, count: int, seed: int) -> Iterator[Session]:
    # A generator a field: drawn from one uniform, the fields would be perfectly correlated and the tail overstated.
    for_input, for_output, for_share = np.random.default_rng(seed).spawn(3)
    inputs = profile.input_tokens.table.sample_counts(for_input, count)
    outputs = profile.output_tokens.table.sample_counts(for_output, count)
    shares = profile.thinking_share.table.sample(for_share, count)
    for index in range(count):
        output = int(outputs[index])
        prompt = Segment(f"reasoning/{index}", int(inputs[index]))
        # The answer has at least one token: an output that is all thinking would have no time to first answer token.
        thinking = min(round(output * shares[index]), output - 1)
        yield Session(f"reasoning-{index:05d}", (Turn(0, (prompt,), output, thinking),))
