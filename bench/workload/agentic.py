"""Agentic: sessions of tool-calling turns over a shared prefix, drawn from measured lengths and delays.

Layers of a prompt: tool definitions and system prompt (all sessions), the session's start, then for each turn what the
history keeps of its output and what came after it, a tool's result or a human's message.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from bench.core.records import DelayClass, Segment, Session, Turn
from bench.core.spec import AgenticSpec
from bench.workload.agentic_profile import AgenticProfile
from bench.workload.profile import load_profile
from bench.workload.stream import SessionStream


def draw_agentic(spec: AgenticSpec) -> SessionStream:
    """`spec.sessions` sessions of at most `spec.max_turns_per_session` turns.

    Raises InputError where the profile is not one.
    """
    profile = load_profile(spec.profile, AgenticProfile)
    return SessionStream("agentic profile", profile.attribution, _sessions(profile, spec))


def _sessions(profile: AgenticProfile, spec: AgenticSpec) -> Iterator[Session]:
    # A generator a field, as fields are independent of one another.
    for_turns, for_start, for_output, for_growth, for_delay = np.random.default_rng(spec.seed).spawn(5)
    turns = profile.turns.table.sample_counts(for_turns, spec.sessions)
    if spec.max_turns_per_session is not None:
        turns = np.minimum(turns, spec.max_turns_per_session)
    total = int(turns.sum())
    starts = profile.start_tokens.table.sample_counts(for_start, spec.sessions)
    outputs = iter(profile.output_tokens.table.sample_counts(for_output, total).tolist())
    growths = iter(profile.growth_tokens.table.sample_counts(for_growth, total).tolist())
    delays = iter(_delays(profile, for_delay, total))
    for index, (length, start) in enumerate(zip(turns.tolist(), starts.tolist(), strict=True)):
        prompt = (
            Segment("agentic/tools", profile.tools.tokens),
            Segment("agentic/system", profile.system.tokens),
            Segment(f"agentic/{index}/start", start),
        )
        yield Session(
            f"agentic-{index:05d}",
            _turns(
                f"agentic/{index}",
                prompt,
                list(islice(outputs, length)),
                list(islice(growths, length)),
                list(islice(delays, length)),
            ),
        )


def _turns(
    key: str,
    prompt: tuple[Segment, ...],
    outputs: list[int],
    growths: list[int],
    delays: list[tuple[DelayClass, float]],
) -> tuple[Turn, ...]:
    turns = [Turn(0, prompt, outputs[0])]
    for index in range(1, len(outputs)):
        delay_class, delay_s = delays[index]
        # Agents drop thinking from the history, so a prompt may grow by less than the output before it; something new
        # always follows.
        kept = min(outputs[index - 1], growths[index] - 1)
        grown = (Segment(f"{key}/{index}/output", kept), Segment(f"{key}/{index}/{delay_class}", growths[index] - kept))
        prompt += tuple(segment for segment in grown if segment.tokens)
        turns.append(Turn(index, prompt, outputs[index], 0, (index - 1,), delay_s, delay_class))
    return tuple(turns)


def _delays(profile: AgenticProfile, rng: np.random.Generator, count: int) -> list[tuple[DelayClass, float]]:
    """`count` delays: first whether a human or which class of tool is waited for, then how long."""
    tools = list(profile.tool_classes.values())
    human = rng.random(count) < profile.human.share
    shares = np.array([tool.share for tool in tools])
    which = rng.choice(len(tools), size=count, p=shares / shares.sum())
    ranks = rng.random(count)
    by_tool = np.stack([tool.delay_s.table.at(ranks) for tool in tools])[which, np.arange(count)]
    seconds = np.where(human, profile.human_delay_s.table.at(ranks), by_tool)
    return [("human" if is_human else "tool", float(s)) for is_human, s in zip(human, seconds, strict=True)]
