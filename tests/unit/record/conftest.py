"""Makers of cases and turn rows, for tests of the numbers and of the folder that keeps them."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

import pytest

from bench.core.records import TurnRow
from bench.core.spec import Case, Spec
from bench.core.units import NS_PER_MS


@pytest.fixture(scope="session")
def make_case() -> Callable[..., Case]:
    """A case of the mock engine: closed loop at 4, percentiles p50, unless overridden."""

    def make(**overrides: Any) -> Case:
        document = {
            "name": "made",
            "model": {"path": "tiny"},
            "engine": {"kind": "mock"},
            "workload": {"kind": "reasoning", "sessions": 32},
            "load": {"kind": "closed", "concurrency": 4},
            "measure": {"percentiles": [0.5]},
            **overrides,
        }
        return Case.of(Spec.model_validate(document), model_digest="model", workload_digest="workload")

    return make


@pytest.fixture(scope="session")
def make_turn() -> Callable[..., TurnRow]:
    """A completed turn, one token at each of `token_ms`. Further fields override what follows from that."""
    return _turn


@pytest.fixture(scope="session")
def closed_loop() -> Callable[..., list[TurnRow]]:
    """Rows of a healthy closed-loop run from 0: about 20 ms to the first token, 5 ms a token, 30 ms between turns."""

    def make(
        *, sessions: int = 32, concurrency: int = 4, turns: int = 2, tokens: int = 12, seed: int = 0
    ) -> list[TurnRow]:
        chance = random.Random(seed)
        lanes = [0.0] * concurrency
        rows = []
        for number in range(sessions):
            t = heapq.heappop(lanes)
            for index in range(turns):
                first = t + chance.uniform(18, 22)
                times = [first + 5 * i + chance.uniform(0, 1) for i in range(chance.randint(tokens - 4, tokens + 4))]
                rows.append(_turn(t, times, session=f"s{number}", index=index, send_ms=t + 0.05, answer_ms=times[2]))
                t = times[-1] + 30
            heapq.heappush(lanes, times[-1] + 0.1)
        return rows

    return make


def _turn(
    due_ms: float,
    token_ms: list[float],
    *,
    session: str = "s",
    index: int = 0,
    send_ms: float | None = None,
    answer_ms: float | None = None,
    **fields: Any,
) -> TurnRow:
    times = [round(t * NS_PER_MS) for t in token_ms]
    row: dict[str, Any] = {
        "session_id": session,
        "turn_index": index,
        "warmup": False,
        "foreground": True,
        "prompt_tokens": 10,
        "shared_tokens": 0,
        "asked_output_tokens": len(times),
        "asked_thinking_tokens": 0,
        "t_due_ns": round(due_ms * NS_PER_MS),
        "t_send_ns": round((due_ms if send_ms is None else send_ms) * NS_PER_MS),
        "t_first_ns": times[0] if times else None,
        "t_answer_ns": None if answer_ms is None else round(answer_ms * NS_PER_MS),
        "t_last_ns": times[-1] if times else None,
        "t_done_ns": times[-1] if times else None,
        "output_tokens": len(times),
        "cached_tokens": 0,
        "status": "ok",
        "finish": "length",
        "chunk_t_ns": [after - before for before, after in zip([0, *times], times, strict=False)],
        "chunk_tokens": [1] * len(times),
    }
    return TurnRow(**(row | fields))
