"""The workload section of a suite."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bench.core.section import Section
from bench.core.sessions import Effort

LengthMode = Literal["pinned", "free"]


class _Workload(Section):
    length_mode: LengthMode = "pinned"
    """`pinned`: EOS is ignored and lengths are the workload's. `free`: the model ends its own answers."""
    token_scale: PositiveFloat = 1.0
    """Multiplies every token count; 1 is the workload as it was measured."""
    idle_gap_cap_s: NonNegativeFloat | None = 10.0
    """Longest tool or human delay kept between turns, before `time_scale`; null keeps all."""
    temperature: NonNegativeFloat = 0.0
    """0 is greedy: the filters below then change nothing."""
    top_k: PositiveInt | None = None
    """Draw from the k most likely tokens; null from all."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw from the fewest most likely tokens that together have this probability."""
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Draw from the tokens at least this share as likely as the likeliest."""
    repetition_penalty: PositiveFloat = 1.0
    """Divides positive and multiplies negative logits of tokens the prompt or the output holds already."""
    logit_bias: dict[NonNegativeInt, float] = Field(default_factory=dict)
    """Added to the logits of these token ids."""
    seed: NonNegativeInt = 0
    effort: dict[Effort, NonNegativeFloat] = Field(default_factory=dict)
    """How hard models are asked to think, as shares of the requests: {low: 1, high: 3}; empty says nothing."""
    thinking_budget: PositiveInt | None = None
    """Most thinking tokens of a request, `token_scale` or not; null sets no limit. Where lengths are free the engine
    ends the thinking there; where they are pinned a longer one is cut to it, and the answer keeps its length."""

    @field_validator("effort")
    @classmethod
    def _some_effort_is_asked(cls, value: dict[Effort, float]) -> dict[Effort, float]:
        if value and not math.fsum(value.values()):
            raise ValueError("shares of which one is above 0")
        return value


class ReasoningSpec(_Workload):
    kind: Literal["reasoning"]
    sessions: PositiveInt
    profile: str = "reasoning"
    """A quantile table: a path, or a name under `configs/workloads`."""


class ChatSpec(_Workload):
    """Conversations with a human: turns over a history that grows."""

    kind: Literal["chat"]
    sessions: PositiveInt
    profile: str = "chat"
    max_turns_per_session: PositiveInt | None = None


class RagSpec(_Workload):
    """Questions over long documents, some of which many requests share."""

    kind: Literal["rag"]
    sessions: PositiveInt
    profile: str = "rag"


class CodeCompletionSpec(_Workload):
    """Short continuations of code under edit."""

    kind: Literal["code_completion"]
    sessions: PositiveInt
    profile: str = "code_completion"


class MultimodalSpec(_Workload):
    """Requests with images: their tokens are counted, and engines that take images are sent real ones."""

    kind: Literal["multimodal"]
    sessions: PositiveInt
    profile: str = "multimodal"


class AgenticSpec(_Workload):
    kind: Literal["agentic"]
    sessions: PositiveInt
    profile: str = "agentic"
    max_turns_per_session: PositiveInt | None = None
    """Turns of a session's own agent beyond this are not drawn; null draws as many as the profile says. Those of
    sub-agents come on top."""


class FixedSpec(_Workload):
    """Single-turn sessions of one size, for a controlled shape of step."""

    kind: Literal["fixed"]
    sessions: PositiveInt
    prompt_tokens: PositiveInt
    output_tokens: PositiveInt
    """Thinking and answer together."""
    thinking_tokens: NonNegativeInt = 0
    shared_prefix_tokens: NonNegativeInt = 0
    """Leading prompt tokens that are the same in every session."""

    @field_validator("thinking_tokens")
    @classmethod
    def _an_answer_follows(cls, thinking: int, info: ValidationInfo) -> int:
        if thinking >= info.data.get("output_tokens", thinking + 1):
            raise ValueError("fewer than output_tokens, so that an answer follows")
        return thinking

    @field_validator("shared_prefix_tokens")
    @classmethod
    def _a_prefix_is_a_part(cls, shared: int, info: ValidationInfo) -> int:
        if shared > info.data.get("prompt_tokens", shared):
            raise ValueError("at most prompt_tokens")
        return shared


class TraceSpec(_Workload):
    kind: Literal["trace"]
    path: str
    max_turns: PositiveInt | None = None
    """Budget of turns: whole sessions are taken in file order while they fit, the others are left out and counted."""
    from_s: NonNegativeFloat = 0.0
    """Sessions that arrive earlier, in seconds from the trace's first, are left out and counted."""
    until_s: PositiveFloat | None = None
    """Sessions that arrive then or later are left out and counted; null takes all."""

    @model_validator(mode="after")
    def _the_window_is_one(self) -> Self:
        if self.until_s is not None and self.until_s <= self.from_s:
            raise ValueError("until_s later than from_s")
        return self


class TasksSpec(_Workload):
    """Requests in real words whose answers are told to be correct or not."""

    kind: Literal["tasks"]
    path: str
    """One task a line: a path, or a name under `configs/tasks`."""
    length_mode: Literal["free"] = "free"
    token_scale: float = Field(default=1.0, ge=1, le=1)
    """Always 1: a task is asked in its own words."""
    run_code: bool = False
    """Let checks of kind `unit_test` run code that the model wrote, on this machine, as this user, in a process with
    limits on time, memory and file size. Without it a file with such checks is refused."""


WorkloadSpec = Annotated[
    ReasoningSpec
    | AgenticSpec
    | ChatSpec
    | RagSpec
    | CodeCompletionSpec
    | MultimodalSpec
    | FixedSpec
    | TraceSpec
    | TasksSpec,
    Field(discriminator="kind"),
]
