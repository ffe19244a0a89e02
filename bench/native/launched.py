"""A step between its launch and its booking."""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.records import StepRow
from bench.native.executor import Pending, StepTime
from bench.native.graphs.runner import PlannedStep
from bench.native.log_probabilities import AskedRows
from bench.native.request import Slice


@dataclass(frozen=True, slots=True)
class Launched:
    """A step on its way."""

    slices: list[Slice]
    due: list[int]
    """Indices of the slices that are due a token, in the order of the result's rows."""
    asked: AskedRows | None
    """Rows of its logits whose log probabilities come back with the tokens."""
    planned: PlannedStep
    counts: dict[str, int]
    """Fields of its StepRow by name, as far as they are known."""
    pending: Pending

    def row(
        self, took: StepTime, *, host_ns: int, accepted: int, discarded: int, experts_touched: int | None
    ) -> StepRow:
        """Of the step that has run. Arguments mean what they mean in StepRow."""
        return StepRow(
            t_ns=took.t_ns,
            duration_ns=took.duration_ns,
            accepted_tokens=accepted,
            discarded_tokens=discarded,
            padding_tokens=self.planned.padding_tokens,
            graph_key=self.planned.graph_key,
            device_ns=took.device_ns,
            host_ns=host_ns,
            experts_touched=experts_touched,
            **self.counts,
        )
