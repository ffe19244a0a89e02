"""What is said against a run's numbers, or beside them: a code to sort by, a sentence, and the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ReasonCode = Literal[
    "interrupted",
    "engine_failed",
    "storage_failed",
    "no_steady_window",
    "too_few_requests",
    "failures",
    "output_short",
    "cache_contamination",
    "client_late",
    "client_saturated",
    "accuracy",
    "throttled",
    "not_alone",
    "drifting",
    "hardware_error",
]
NoteCode = Literal[
    "power_null",
    "power_disagrees",
    "turns_not_sent",
    "load_not_stationary",
    "prompt_tokens_disagree",
    "power_capped",
    "not_alone",
    "drifting",
    "device_errors",
    "starved",
]


@dataclass(frozen=True)
class Reason:
    code: ReasonCode | NoteCode
    message: str
    evidence: Mapping[str, float | str]
