"""How long an agent waits for its tools: those it calls at once run side by side, and the slowest is waited for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import repeat

import numpy as np

from bench.workload.agentic_profile import ToolClass
from bench.workload.field_draws import choices, counts, values
from bench.workload.profile import Quantiles


class ToolWaits:
    """Endless waits: how many tools are called, for each which class it is of, and for each how long it takes."""

    def __init__(self, classes: Mapping[str, ToolClass], calls: Quantiles | None, rng: np.random.Generator) -> None:
        for_calls, for_class, *for_delays = rng.spawn(2 + len(classes))
        tools = list(classes.values())
        self._calls: Iterator[int] = counts(calls.table, for_calls) if calls else repeat(1)
        self._classes = choices([tool.share for tool in tools], for_class)
        self._delays = [values(tool.delay_s.table, own) for tool, own in zip(tools, for_delays, strict=True)]

    def next_s(self) -> float:
        return max(next(self._delays[next(self._classes)]) for _ in range(next(self._calls)))
