"""Speculation as a step of the engine goes through it: plan, draft, verify, count."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.native.request import Request, Slice
from bench.native.speculative.speculator import Drafts, Speculator
from bench.native.speculative.statistics import SpeculationStatistics
from bench.native.speculative.verify import Verifier


@dataclass(slots=True)
class Speculation:
    speculator: Speculator
    verifier: Verifier
    statistics: SpeculationStatistics = field(default_factory=SpeculationStatistics)
    _drafting_ns: int = 0

    def plan(self, requests: Iterable[Request]) -> None:
        """Let each request that runs ask for as many drafts as there will be."""
        began_ns = time.monotonic_ns()
        for request in requests:
            if request.row >= 0:
                request.drafts = self.speculator.plan(request)
        self._drafting_ns = time.monotonic_ns() - began_ns

    def draft(self, slices: Sequence[Slice]) -> Drafts:
        """The drafts that were granted, of each slice. Nothing has been advanced since `plan`."""
        began_ns = time.monotonic_ns()
        drafts = self.speculator.draft(slices)
        self._drafting_ns += time.monotonic_ns() - began_ns
        return drafts

    def count_step(self, duration_ns: int) -> None:
        """The step that was last drafted for took so long, drafting included."""
        self.statistics.count_step(duration_ns, self._drafting_ns)

    def host_ns(self, host_ns: int) -> int:
        """The host's part of the step that was last drafted for: of `host_ns`, what the device did not draft in."""
        return max(0, host_ns - self._drafting_ns) if self.speculator.on_device else host_ns

    def describe(self) -> dict[str, Any]:
        """How drafts were judged and what became of them, in plain values."""
        return {"judged_by": self.speculator.judged_by, **self.statistics.describe()}
