"""Facts of a run that no table holds and that its numbers need. Stored as the record's `run` section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Stop = Literal["interrupted", "engine_failed", "storage_failed"]


@dataclass(frozen=True, slots=True)
class RunContext:
    start_ns: int
    """When the client began to send, after the warm-up."""
    end_ns: int
    """When the last turn had ended, or the run was stopped."""
    accelerators: int
    """Accelerators the engine used; 0 on a CPU."""
    stopped: Stop | None = None
    """What ended the run before its end; None where nothing did."""
    stopped_because: str | None = None
    """The failure in the words it was told in."""
    power_missing: str | None = None
    """Why no power sensor could be read; None where one was."""
    not_sent: Mapping[str, int] = field(default_factory=dict)
    """Turns that were never sent, by reason."""
