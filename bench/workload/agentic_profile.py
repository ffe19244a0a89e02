"""The profile of an agent: lengths and waits, and how often its context breaks off, branches or changes hands."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, field_validator

from bench.workload.profile import MeasuredCount, MeasuredShare, Portion, Profile, ProfileSection, Quantiles


class ToolClass(ProfileSection):
    """Tools that take about as long as one another."""

    source: str
    share: Portion
    """Share of tool calls."""
    delay_s: Quantiles


class AgenticProfile(Profile):
    """Sessions of an agent that calls tools, over a prefix that all sessions share."""

    kind: Literal["agentic"]
    tools: MeasuredCount
    """Tool definitions: the first layer, the same in every session."""
    system: MeasuredCount
    """System prompt: the second layer, the same in every session."""
    start_tokens: Quantiles
    """The rest of a session's first prompt."""
    turns: Quantiles
    growth_tokens: Quantiles
    """By how much a prompt is longer than the one before it: what is kept of the output, and what came after it."""
    output_tokens: Quantiles
    human: MeasuredShare
    """Share of turns, after the first, that wait for a human instead of a tool."""
    human_delay_s: Quantiles
    tool_classes: dict[str, ToolClass] = Field(min_length=1)

    @field_validator("tool_classes")
    @classmethod
    def _shares_add_up(cls, value: dict[str, ToolClass]) -> dict[str, ToolClass]:
        total = math.fsum(tool.share for tool in value.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"shares that add up to 1, these add up to {total:g}")
        return value
