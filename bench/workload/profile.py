"""Profiles: the quantile tables under `configs/workloads` that synthetic workloads are drawn from.

A profile holds facts only. Every field names, by key, the entry of `sources` it was measured or published in.
"""

from __future__ import annotations

import datetime
import math
from typing import Annotated, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from bench.core.configs import resolve
from bench.core.errors import InputError
from bench.core.records import Basis
from bench.core.suite import parse, read_yaml
from bench.workload.quantiles import Interpolation, QuantileTable


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ProfileSource(_Section):
    """Where numbers come from."""

    title: str
    licence: str
    date: datetime.date
    """When the numbers were measured, or published."""
    basis: Basis
    note: str = ""


class Quantiles(_Section):
    """One field's distribution."""

    source: str
    interpolation: Interpolation = "log"
    quantiles: dict[float, float]
    """Value at each rank."""
    note: str = ""

    @field_validator("quantiles")
    @classmethod
    def _is_a_distribution(cls, value: dict[float, float], info: ValidationInfo) -> dict[float, float]:
        QuantileTable.of(value, info.data.get("interpolation", "log"))
        return value

    @property
    def table(self) -> QuantileTable:
        return QuantileTable.of(self.quantiles, self.interpolation)


class MeasuredCount(_Section):
    """A count that every session shares."""

    source: str
    tokens: PositiveInt


class MeasuredShare(_Section):
    """How often something happens."""

    source: str
    share: Annotated[float, Field(ge=0, le=1)]


class ToolClass(_Section):
    """Tools that take about as long as one another."""

    source: str
    share: Annotated[float, Field(ge=0, le=1)]
    """Share of tool calls."""
    delay_s: Quantiles


class _Profile(_Section):
    description: str
    sources: dict[str, ProfileSource]

    @property
    def attribution(self) -> str:
        return "; ".join(f"{source.title} ({source.licence}, {source.date})" for source in self.sources.values())


class ReasoningProfile(_Profile):
    """Single-turn requests whose output is thinking first and an answer after it."""

    kind: Literal["reasoning"]
    input_tokens: Quantiles
    output_tokens: Quantiles
    """Thinking and answer together."""
    thinking_share: Quantiles
    """Share of the output that is thinking."""

    @field_validator("thinking_share")
    @classmethod
    def _is_a_share(cls, value: Quantiles) -> Quantiles:
        if value.table.values[-1] > 1:
            raise ValueError("shares of at most 1")
        return value


class AgenticProfile(_Profile):
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


P = TypeVar("P", ReasoningProfile, AgenticProfile)


def load_profile(name_or_path: str, kind: type[P]) -> P:
    """The profile at a path, or of a name under `configs/workloads`. Raises InputError naming what is wrong in it."""
    path = resolve(name_or_path, "workloads")
    profile = parse(kind, read_yaml(path), str(path))
    for place, source in _named_sources(profile):
        if source not in profile.sources:
            raise InputError(f"{place}.source = {source!r}", where=path, allowed=", ".join(profile.sources))
    return profile


def _named_sources(section: BaseModel, place: str = "") -> list[tuple[str, str]]:
    """Every `source` in a profile with the place it stands in."""
    found: list[tuple[str, str]] = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        here = f"{place}.{name}".lstrip(".")
        if name == "source":
            found.append((place, value))
        elif isinstance(value, BaseModel):
            found += _named_sources(value, here)
        elif isinstance(value, dict):
            for key, entry in value.items():
                if isinstance(entry, BaseModel):
                    found += _named_sources(entry, f"{here}.{key}")
    return found
