"""What the engine did when: tokens and steps from its step table, rest and waits for tools from the turns.

Steps of one engine follow one another; where the table lets two overlap, the later one begins when the earlier has
ended, as the device works them off. A step's tokens are taken as spread evenly over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.core.units import NS_PER_S
from bench.metrics.columns import Flags, Floats, TurnColumns
from bench.metrics.steady_state import Window
from bench.metrics.timeline import Intervals, Timeline


@dataclass(frozen=True)
class CellWork:
    """What was done in each cell of a window, (cells,) each."""

    prefill_tokens: Floats
    decode_tokens: Floats
    prefill_steps: Floats
    """Of prefill alone."""
    decode_steps: Floats
    """Of decode, and of both."""
    idle_s: Floats
    """With nothing in flight and no tool waited for."""
    tool_wait_s: Floats
    """With nothing in flight but tools that turns wait for."""

    @property
    def steps(self) -> Floats:
        return self.prefill_steps + self.decode_steps

    @property
    def rest_s(self) -> Floats:
        return self.idle_s + self.tool_wait_s


@dataclass(frozen=True)
class PhaseWork:
    """The steps of a run, n of them in the order of their beginning, as arrays (n,), and its turns."""

    begin: Floats
    """Nanoseconds since the run's start, as is `end`."""
    end: Floats
    prefill_tokens: Floats
    decode_tokens: Floats
    turns: TurnColumns

    @classmethod
    def of(cls, table: Any, turns: TurnColumns, *, start_ns: int) -> PhaseWork | None:
        """From a steps table (`pyarrow.Table`, a row a StepRow); None where it is empty."""
        if len(table) == 0:
            return None
        table = table.sort_by("t_ns")
        begin = (table["t_ns"].to_numpy() - start_ns).astype(np.float64)
        end = np.maximum.accumulate(begin + table["duration_ns"].to_numpy())
        return cls(
            begin=np.maximum(begin, np.concatenate([[-np.inf], end[:-1]])),
            end=end,
            prefill_tokens=table["prefill_tokens"].to_numpy().astype(np.float64),
            decode_tokens=table["decode_tokens"].to_numpy().astype(np.float64),
            turns=turns,
        )

    def step_s(self, window: Window) -> float | None:
        """Length of a step of the window, the median; None without one."""
        seconds = ((self.end - self.begin) / NS_PER_S)[window.holds(self.end)]
        return float(np.median(seconds)) if len(seconds) else None

    def counts(self, window: Window) -> dict[str, int]:
        """How many steps ended in the window, by what they did."""
        inside = window.holds(self.end)
        prefill, decode = self.prefill_tokens > 0, self.decode_tokens > 0
        kinds = {"prefill": prefill & ~decode, "decode": decode & ~prefill, "mixed": prefill & decode}
        return {kind: int((inside & of).sum()) for kind, of in kinds.items()}

    def in_cells(self, edges: Floats) -> CellWork:
        """What was done between consecutive `edges`, nanoseconds since the run's start."""
        decode = self.decode_tokens > 0
        turns = self.turns
        busy = (
            Intervals.of(turns.send, np.fmax(turns.done, turns.last)),
            Intervals.of(self.begin, self.end),  # a warm-up within the run is in no turn that is kept
        )
        tools = Intervals.of((turns.due - turns.delay)[turns.after_tool], turns.due[turns.after_tool])
        timeline = Timeline(edges, *busy, tools)
        rest: Flags = ~(busy[0].hold_at(timeline.t) | busy[1].hold_at(timeline.t))
        for_tools = rest & tools.hold_at(timeline.t)
        return CellWork(
            prefill_tokens=self._spread(self.prefill_tokens, edges),
            decode_tokens=self._spread(self.decode_tokens, edges),
            prefill_steps=self._spread(((self.prefill_tokens > 0) & ~decode).astype(np.float64), edges),
            decode_steps=self._spread(decode.astype(np.float64), edges),
            idle_s=timeline.length(rest & ~for_tools) / NS_PER_S,
            tool_wait_s=timeline.length(for_tools) / NS_PER_S,
        )

    def _spread(self, amounts: Floats, edges: Floats) -> Floats:
        """How much of `amounts`, one a step, falls between consecutive edges."""
        knots = np.column_stack([self.begin, self.end]).ravel()
        reached = np.cumsum(amounts)
        running = np.column_stack([reached - amounts, reached]).ravel()
        return np.diff(np.interp(edges, knots, running))
