"""The profile of an agent: lengths and waits, and how often its context breaks off, branches or changes hands."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from bench.core.section import Section
from bench.workload.profile import MeasuredCount, MeasuredShare, Portion, Profile, Quantiles


class ToolClass(Section):
    """Tools that take about as long as one another."""

    source: str
    share: Portion
    """Share of tool calls."""
    delay_s: Quantiles


class Compaction(Section):
    """A prompt that keeps tool definitions and system prompt, and has a summary in place of all the rest."""

    source: str
    share: Portion
    """Share of the turns after the first."""
    summary_tokens: Quantiles
    """What follows the system prompt then."""


class SubAgents(Section):
    """Agents that a turn launches side by side, over tools and a system prompt of their own."""

    source: str
    share: Portion
    """Share of the waits for tools that are waits for sub-agents."""
    launched: Quantiles
    """Sub-agents of one launch."""
    background: MeasuredShare
    """Share of sub-agents that nobody waits for."""
    tools: MeasuredCount
    system: MeasuredCount
    start_tokens: Quantiles
    turns: Quantiles
    growth_tokens: Quantiles
    output_tokens: Quantiles


class RoleCount(Section):
    source: str
    roles: Annotated[int, Field(ge=2)]


class Roles(Section):
    """Parts that agents of one session play in turn, each with a system prompt and a history of its own."""

    count: RoleCount
    switch: MeasuredShare
    """Share of the turns after the first that another role takes than the turn before."""


class AgenticProfile(Profile):
    """Sessions of an agent that calls tools, over a prefix that all sessions share."""

    kind: Literal["agentic"]
    tools: MeasuredCount | None = None
    """Tool definitions: the first layer, the same in every session; null where the source tells them not apart."""
    system: MeasuredCount
    """System prompt: the second layer, the same in every session."""
    start_tokens: Quantiles
    """The rest of a session's first prompt, or of a role's."""
    turns: Quantiles
    """Turns of a session, those of sub-agents apart."""
    growth_tokens: Quantiles
    """By how much a prompt is longer than the one before it: what is kept of the output, and what came after it."""
    output_tokens: Quantiles
    human: MeasuredShare
    """Share of turns, after the first, that wait for a human instead of a tool."""
    human_delay_s: Quantiles | None = None
    """Null where nobody waits for one."""
    tool_calls: Quantiles | None = None
    """Tools called at once, of which the slowest is waited for; null is one."""
    tool_classes: dict[str, ToolClass] = Field(min_length=1)
    compaction: Compaction | None = None
    sub_agents: SubAgents | None = None
    roles: Roles | None = None

    @field_validator("tool_classes")
    @classmethod
    def _shares_add_up(cls, value: dict[str, ToolClass]) -> dict[str, ToolClass]:
        total = math.fsum(tool.share for tool in value.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"shares that add up to 1, these add up to {total:g}")
        return value

    @model_validator(mode="after")
    def _humans_take_their_time(self) -> AgenticProfile:
        if self.human.share and self.human_delay_s is None:
            raise ValueError("human_delay_s where human.share is above 0")
        return self
