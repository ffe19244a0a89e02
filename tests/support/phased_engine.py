"""A made-up engine whose energy by phase is known: its steps, its turns, and the power it drew."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from power_signals import Signal, steps

from bench.core.records import StepRow, TurnRow
from bench.core.units import ns_from_seconds


@dataclass(frozen=True)
class Costs:
    """Joules of what it does, on top of nothing."""

    prefill_token: float = 0.02
    decode_token: float = 0.05
    step: float = 4.0
    """Of any step, whatever it computes."""
    rest_watts: float = 120.0


@dataclass
class Served:
    """What was logged, and the truth."""

    costs: Costs
    step_rows: list[StepRow] = field(default_factory=list)
    turn_rows: list[TurnRow] = field(default_factory=list)
    _begins: list[float] = field(default_factory=list)
    _watts: list[float] = field(default_factory=list)
    _t: float = 0.0

    @property
    def power(self) -> Signal:
        return steps([*self._begins, self._t], [*self._watts, self.costs.rest_watts])

    @property
    def until_s(self) -> float:
        return self._t

    def step(self, prefill_tokens: int, decode_tokens: int) -> None:
        """One more, which takes longer the more it computes."""
        seconds = 0.008 + prefill_tokens * 2e-5 + decode_tokens * 1e-4
        costs = self.costs
        joules = costs.step + costs.prefill_token * prefill_tokens + costs.decode_token * decode_tokens
        row = StepRow(
            t_ns=ns_from_seconds(self._t),
            duration_ns=ns_from_seconds(seconds),
            prefill_tokens=prefill_tokens,
            decode_tokens=decode_tokens,
            requests=decode_tokens,
            context_tokens=0,
            kv_bytes=0,
            attention_flops=0,
            logit_rows=decode_tokens,
            drafted_tokens=0,
            accepted_tokens=0,
            discarded_tokens=0,
            padding_tokens=0,
            graph_key="eager",
            device_ns=None,
            host_ns=0,
        )
        self.step_rows.append(row)
        self._draw(seconds, joules / seconds)

    def rest(self, seconds: float) -> None:
        self._draw(seconds, self.costs.rest_watts)

    def turn(self, begin_s: float, *, after_tool_s: float = 0.0) -> None:
        """A turn that was in flight from `begin_s` until now."""
        begin, end = ns_from_seconds(begin_s), ns_from_seconds(self._t)
        row = TurnRow(
            session_id="s",
            turn_index=len(self.turn_rows),
            warmup=False,
            foreground=True,
            prompt_tokens=10,
            shared_tokens=0,
            asked_output_tokens=1,
            asked_thinking_tokens=0,
            t_due_ns=begin,
            t_send_ns=begin,
            t_first_ns=end,
            t_last_ns=end,
            t_done_ns=end,
            output_tokens=1,
            status="ok",
            finish="length",
            delay_class="tool" if after_tool_s else "none",
            delay_ns=ns_from_seconds(after_tool_s),
            chunk_t_ns=[end],
            chunk_tokens=[1],
        )
        self.turn_rows.append(row)

    def _draw(self, seconds: float, watts: float) -> None:
        self._begins.append(self._t)
        self._watts.append(watts)
        self._t += seconds


def agents(
    seed: int,
    *,
    seconds: float = 62.0,
    mixed: bool = False,
    batch: tuple[int, int] = (4, 40),
    costs: Costs | None = None,
    rests: bool = True,
) -> Served:
    """Bursts of decode at a changing batch with prompts in between, then rest; every second rest is for a tool.

    Prompts are computed in steps of their own, or with the tokens that are decoded where `mixed`.
    """
    chance, served, waited = random.Random(seed), Served(costs or Costs()), 0.0
    while served.until_s < seconds:
        begin = served.until_s
        until, running = begin + chance.uniform(1, 6), chance.randint(*batch)
        while served.until_s < until:
            prompt = chance.randint(200, 2000) if chance.random() < 0.25 else 0
            served.step(prompt, 0 if prompt and not mixed else running)
        served.turn(begin, after_tool_s=waited)
        gap = chance.uniform(0.3, 2.5) if rests else 0.0
        waited = gap if len(served.turn_rows) % 2 else 0.0
        if gap:
            served.rest(gap)
    served.turn(served.until_s - 1e-6)
    return served
