"""Chat: conversations whose prompt is all that was said before and a new message, drawn from measured lengths."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.core.sessions import Segment, Session, Turn
from bench.core.spec import ChatSpec
from bench.workload import field_draws
from bench.workload.profile import ChatProfile, load_profile
from bench.workload.stream import SessionStream


def draw_chat(spec: ChatSpec) -> SessionStream:
    """`spec.sessions` conversations of at most `spec.max_turns_per_session` turns.

    Raises InputError where the profile is not one.
    """
    profile = load_profile(spec.profile, ChatProfile)
    return SessionStream("chat profile", profile.attribution, _sessions(profile, spec))


def _sessions(profile: ChatProfile, spec: ChatSpec) -> Iterator[Session]:
    for_turns, for_start, for_message, for_output, for_delay = np.random.default_rng(spec.seed).spawn(5)
    lengths = field_draws.at_most(spec.max_turns_per_session, field_draws.counts(profile.turns.table, for_turns))
    starts = field_draws.counts(profile.start_tokens.table, for_start)
    messages = field_draws.counts(profile.message_tokens.table, for_message)
    outputs = field_draws.counts(profile.output_tokens.table, for_output)
    delays = field_draws.values(profile.human_delay_s.table, for_delay)
    for index in range(spec.sessions):
        key = f"chat/{index}"
        turns = [Turn(0, (Segment(f"{key}/start", next(starts)),), next(outputs))]
        for number in range(1, next(lengths)):
            before = turns[-1]
            said = (
                Segment(f"{key}/{number}/answer", before.output_tokens),
                Segment(f"{key}/{number}/message", next(messages)),
            )
            turns.append(
                Turn(
                    number,
                    before.prompt + said,
                    next(outputs),
                    after=(before.index,),
                    delay_s=next(delays),
                    delay_class="human",
                )
            )
        yield Session(f"chat-{index:05d}", tuple(turns))
