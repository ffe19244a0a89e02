"""What a request asks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class RequestOutputKind(Enum):
    CUMULATIVE = 0
    DELTA = 1


@dataclass
class SamplingParams:
    temperature: float
    seed: int | None
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    logit_bias: dict[int, float] | None
    max_tokens: int
    ignore_eos: bool
    logprobs: int | None
    thinking_token_budget: int | None
    detokenize: bool
    output_kind: RequestOutputKind
    skip_clone: bool
