"""Sub-agents: agents that a turn launches side by side, over tools and a system prompt that only they share.

Each starts from what it is told and not from the history of who launched it. Its turns follow one another with the time
of its tools between them. The launching agent goes on when all have ended that run in the foreground; the others run on
for themselves.
"""

from __future__ import annotations

import numpy as np

from bench.core.sessions import Segment, Turn
from bench.workload.agentic_profile import SubAgents
from bench.workload.context_growth import Context, grown
from bench.workload.field_draws import chances, counts
from bench.workload.tool_waits import ToolWaits


class SubAgentDraws:
    """Endless launches."""

    def __init__(self, profile: SubAgents, tools: ToolWaits, rng: np.random.Generator) -> None:
        for_launched, for_background, for_start, for_turns, for_growth, for_output = rng.spawn(6)
        self._tools = tools
        self._opening = (
            Segment("sub-agent/tools", profile.tools.tokens),
            Segment("sub-agent/system", profile.system.tokens),
        )
        self._launched = counts(profile.launched.table, for_launched)
        self._background = chances(profile.background.share, for_background)
        self._starts = counts(profile.start_tokens.table, for_start)
        self._turns = counts(profile.turns.table, for_turns)
        self._growths = counts(profile.growth_tokens.table, for_growth)
        self._outputs = counts(profile.output_tokens.table, for_output)

    def launch(self, turns: list[Turn], key: str) -> tuple[int, ...]:
        """Add the turns of sub-agents that the last of `turns` launches.

        Returns, for each sub-agent that is waited for, the index of its last turn. Keys begin with `key`.
        """
        launcher = turns[-1].index
        first = 1 + max(turn.agent for turn in turns)
        joined = []
        for agent in range(first, first + next(self._launched)):
            foreground = not next(self._background)
            self._run(turns, launcher, agent, f"{key}/agent-{agent}", foreground=foreground)
            if foreground:
                joined.append(turns[-1].index)
        return tuple(joined)

    def _run(self, turns: list[Turn], launcher: int, agent: int, key: str, *, foreground: bool) -> None:
        prompt: Context = (*self._opening, Segment(f"{key}/start", next(self._starts)))
        turns.append(
            Turn(len(turns), prompt, next(self._outputs), after=(launcher,), foreground=foreground, agent=agent)
        )
        for step in range(1, next(self._turns)):
            before = turns[-1]
            prompt = grown(prompt, f"{key}/{step}", before.output_tokens, next(self._growths), "tool")
            turns.append(
                Turn(
                    len(turns),
                    prompt,
                    next(self._outputs),
                    after=(before.index,),
                    delay_s=self._tools.next_s(),
                    delay_class="tool",
                    foreground=foreground,
                    agent=agent,
                )
            )
