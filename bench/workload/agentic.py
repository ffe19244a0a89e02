"""Agentic: sessions of tool-calling turns over a shared prefix, drawn from measured lengths and delays.

Layers of a prompt: tool definitions and system prompt (all sessions), the session's start, then for each turn what the
history keeps of its output and what came after it, a tool's result or a human's message. As far as the profile says so,
a turn's prompt may instead be compacted, which loses all but the first two layers; it may be another role's, which has
layers of its own and finds them again when its turn comes back; and what a turn waits for may be sub-agents.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import NamedTuple

import numpy as np

from bench.core.sessions import DelayClass, Segment, Session, Turn
from bench.core.spec import AgenticSpec
from bench.workload.agentic_profile import AgenticProfile
from bench.workload.context_growth import Context, grown
from bench.workload.field_draws import at_most, chances, choices, counts, values
from bench.workload.profile import load_profile
from bench.workload.stream import SessionStream
from bench.workload.sub_agents import SubAgentDraws
from bench.workload.tool_waits import ToolWaits


def draw_agentic(spec: AgenticSpec) -> SessionStream:
    """`spec.sessions` sessions of at most `spec.max_turns_per_session` turns, those of sub-agents apart.

    Raises InputError where the profile is not one.
    """
    profile = load_profile(spec.profile, AgenticProfile)
    return SessionStream("agentic profile", profile.attribution, _sessions(profile, spec))


def _sessions(profile: AgenticProfile, spec: AgenticSpec) -> Iterator[Session]:
    for_turns, for_contexts, for_output, for_waits = np.random.default_rng(spec.seed).spawn(4)
    lengths = at_most(spec.max_turns_per_session, counts(profile.turns.table, for_turns))
    outputs = counts(profile.output_tokens.table, for_output)
    contexts = _ContextDraws(profile, for_contexts)
    waits = _WaitDraws(profile, for_waits)
    for index in range(spec.sessions):
        key = f"agentic/{index}"
        of_session = _Contexts(contexts, key)
        turns = [Turn(0, of_session.first(), next(outputs))]
        for step in range(1, next(lengths)):
            before = turns[-1]
            wait = waits.after(turns, f"{key}/{step}")
            prompt = of_session.next(step, before.output_tokens, wait.what)
            turns.append(
                Turn(
                    len(turns),
                    prompt,
                    next(outputs),
                    after=(before.index, *wait.joined),
                    delay_s=wait.delay_s,
                    delay_class=wait.delay_class,
                )
            )
        yield Session(f"agentic-{index:05d}", tuple(turns))


class _Wait(NamedTuple):
    what: str
    """Whose words come next in the prompt."""
    delay_s: float
    delay_class: DelayClass
    joined: tuple[int, ...] = ()
    """The last turns of the sub-agents that must have completed."""


class _WaitDraws:
    """What is waited for: a human, sub-agents or tools."""

    def __init__(self, profile: AgenticProfile, rng: np.random.Generator) -> None:
        for_human, for_human_delay, for_tools, for_launch, for_agents, for_their_tools = rng.spawn(6)
        self._human = chances(profile.human.share, for_human)
        human_delay = profile.human_delay_s
        self._human_delays = values(human_delay.table, for_human_delay) if human_delay else repeat(0.0)
        self._tools = ToolWaits(profile.tool_classes, profile.tool_calls, for_tools)
        agents = profile.sub_agents
        self._launches = chances(agents.share, for_launch) if agents else repeat(False)
        their_tools = ToolWaits(profile.tool_classes, profile.tool_calls, for_their_tools)
        self._sub_agents = SubAgentDraws(agents, their_tools, for_agents) if agents else None

    def after(self, turns: list[Turn], key: str) -> _Wait:
        """What is waited for after the last of `turns`; sub-agents that it launches are added to them."""
        if next(self._human):
            return _Wait("human", next(self._human_delays), "human")
        if self._sub_agents is not None and next(self._launches):
            return _Wait("tool", 0.0, "none", self._sub_agents.launch(turns, key))
        return _Wait("tool", self._tools.next_s(), "tool")


class _ContextDraws:
    """The lengths that prompts are made of, and when one breaks off."""

    def __init__(self, profile: AgenticProfile, rng: np.random.Generator) -> None:
        for_start, for_growth, for_compaction, for_summary, for_switch, for_role = rng.spawn(6)
        self.layers = tuple(
            (name, layer.tokens) for name, layer in (("tools", profile.tools), ("system", profile.system)) if layer
        )
        self.starts = counts(profile.start_tokens.table, for_start)
        self.growths = counts(profile.growth_tokens.table, for_growth)
        compaction, roles = profile.compaction, profile.roles
        self.compacted = chances(compaction.share, for_compaction) if compaction else repeat(False)
        self.summaries = counts(compaction.summary_tokens.table, for_summary) if compaction else repeat(0)
        self.roles = roles.count.roles if roles else 1
        self.switched = chances(roles.switch.share, for_switch) if roles else repeat(False)
        self.others = choices([1.0] * (self.roles - 1), for_role) if roles else repeat(0)


class _Contexts:
    """The prompts of one session, each role's continued by itself."""

    def __init__(self, draws: _ContextDraws, key: str) -> None:
        self._draws = draws
        self._key = key
        self._role = 0
        self._of_role: dict[int, Context] = {}
        """The last prompt of each role that had a turn."""

    def first(self) -> Context:
        return self._kept(self._opening())

    def next(self, step: int, output_tokens: int, what: str) -> Context:
        """The prompt of `step`, after an output of `output_tokens` and what was waited for."""
        draws = self._draws
        if next(draws.switched):
            self._role = (self._role + 1 + next(draws.others)) % draws.roles
        key = f"{self._key}/{step}"
        if self._role not in self._of_role:
            return self._kept(self._opening())
        if next(draws.compacted):
            return self._kept((*self._layers(), Segment(f"{key}/summary", next(draws.summaries))))
        return self._kept(grown(self._of_role[self._role], key, output_tokens, next(draws.growths), what))

    def _opening(self) -> Context:
        return (*self._layers(), Segment(f"{self._named(self._key)}/start", next(self._draws.starts)))

    def _layers(self) -> Context:
        return tuple(Segment(f"{self._named('agentic')}/{name}", tokens) for name, tokens in self._draws.layers)

    def _named(self, key: str) -> str:
        return key if self._draws.roles == 1 else f"{key}/role-{self._role}"

    def _kept(self, prompt: Context) -> Context:
        self._of_role[self._role] = prompt
        return prompt
