"""Code completion: single-turn requests that share nothing, drawn from measured lengths."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.core.sessions import Segment, Session, Turn
from bench.core.spec import CodeCompletionSpec
from bench.workload import field_draws
from bench.workload.profile import CodeCompletionProfile, load_profile
from bench.workload.stream import SessionStream


def draw_code_completion(spec: CodeCompletionSpec) -> SessionStream:
    """`spec.sessions` single-turn sessions. Raises InputError where the profile is not one."""
    profile = load_profile(spec.profile, CodeCompletionProfile)
    return SessionStream("code completion profile", profile.attribution, _sessions(profile, spec))


def _sessions(profile: CodeCompletionProfile, spec: CodeCompletionSpec) -> Iterator[Session]:
    for_input, for_output = np.random.default_rng(spec.seed).spawn(2)
    inputs = field_draws.counts(profile.input_tokens.table, for_input)
    outputs = field_draws.counts(profile.output_tokens.table, for_output)
    for index in range(spec.sessions):
        prompt = (Segment(f"code-completion/{index}", next(inputs)),)
        yield Session(f"code-completion-{index:05d}", (Turn(0, prompt, next(outputs)),))
