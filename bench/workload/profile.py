"""Profiles: the quantile tables under `configs/workloads` that synthetic workloads are drawn from.

A profile holds facts only. Every field names, by key, the entry of `sources` it was measured or published in.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from bench.core.configs import resolve
from bench.core.errors import InputError
from bench.core.records import Basis
from bench.core.section import Section
from bench.core.suite import parse, read_yaml
from bench.workload.quantiles import Interpolation, QuantileTable

Portion = Annotated[float, Field(ge=0, le=1)]


class ProfileSource(Section):
    """Where numbers come from."""

    title: str
    licence: str
    date: datetime.date
    """When the numbers were measured, or published."""
    basis: Basis
    note: str = ""


class Quantiles(Section):
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


class MeasuredCount(Section):
    """A count that every session shares."""

    source: str
    tokens: PositiveInt


class MeasuredShare(Section):
    """How often something happens."""

    source: str
    share: Portion


class Profile(Section):
    description: str
    sources: dict[str, ProfileSource] = Field(min_length=1)

    @property
    def attribution(self) -> str:
        return "; ".join(f"{source.title} ({source.licence}, {source.date})" for source in self.sources.values())


class ReasoningProfile(Profile):
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


class ChatProfile(Profile):
    """Conversations with a human, whose prompts hold all that was said before."""

    kind: Literal["chat"]
    turns: Quantiles
    start_tokens: Quantiles
    """A conversation's first prompt."""
    message_tokens: Quantiles
    """Each later message; the prompt grows by it and by the answer before it."""
    output_tokens: Quantiles
    human_delay_s: Quantiles


class RagProfile(Profile):
    """Questions about documents that other requests ask about too."""

    kind: Literal["rag"]
    questions: Quantiles
    """Requests that ask about one document."""
    document_tokens: Quantiles
    question_tokens: Quantiles | None = None
    """What follows the document; null where the source counts it as part of one."""
    output_tokens: Quantiles


class CodeCompletionProfile(Profile):
    """Single-turn requests that share nothing."""

    kind: Literal["code_completion"]
    input_tokens: Quantiles
    output_tokens: Quantiles


class MultimodalProfile(Profile):
    """Single-turn requests with images before their text."""

    kind: Literal["multimodal"]
    text_tokens: Quantiles
    images: Quantiles
    """Images in a request."""
    image_tokens: Quantiles
    """Tokens of one image."""
    output_tokens: Quantiles


P = TypeVar("P", bound=Profile)


def load_profile(name_or_path: str, kind: type[P]) -> P:
    """The profile at a path, or of a name under `configs/workloads`. Raises InputError naming what is wrong in it."""
    path = resolve(name_or_path, "workloads")
    document = read_yaml(path)
    (wanted,) = get_args(kind.model_fields["kind"].annotation)
    if document.get("kind", wanted) != wanted:  # Told first, for of a profile of another kind no key is known
        raise InputError(f"kind = {document['kind']!r}", where=path, allowed=repr(wanted))
    profile = parse(kind, document, str(path))
    for place, source in _named_sources(profile):
        if source not in profile.sources:
            raise InputError(f"{place}.source = {source!r}", where=path, allowed=", ".join(profile.sources))
    return profile


def _named_sources(section: Section, place: str = "") -> list[tuple[str, str]]:
    """Every `source` in a profile with the place it stands in."""
    found: list[tuple[str, str]] = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        here = f"{place}.{name}".lstrip(".")
        if name == "source":
            found.append((place, value))
        elif isinstance(value, Section):
            found += _named_sources(value, here)
        elif isinstance(value, dict):
            for key, entry in value.items():
                if isinstance(entry, Section):
                    found += _named_sources(entry, f"{here}.{key}")
    return found
