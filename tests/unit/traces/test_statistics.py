"""What is counted of a trace: held to numpy's own quantiles, and to sessions small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.core.sessions import Segment, Session, Turn
from bench.workload.statistics.arrivals import ArrivalCounter
from bench.workload.statistics.distribution import RANKS, PositiveValues, WholeNumbers
from bench.workload.statistics.trace import TraceStatistics, count_trace
from bench.workload.stream import LeftOut, SessionStream


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=300))
def test_whole_numbers_have_numpys_quantiles(values: list[int]) -> None:
    counter = WholeNumbers("a value")
    for value in values:
        counter.add(value)
    told = counter.summary()
    assert told is not None
    expected = np.quantile(values, RANKS)
    assert list(told.quantiles.values()) == pytest.approx(expected.tolist())
    assert (told.n, told.min, told.max) == (len(values), min(values), max(values))
    assert told.mean == pytest.approx(np.mean(values))
    if told.cv is not None:
        assert told.cv == pytest.approx(np.std(values) / np.mean(values), abs=1e-12)


def test_a_count_beyond_reach_is_refused_and_not_counted_wrongly() -> None:
    counter = WholeNumbers("a prompt")
    counter.add(10**12)
    with pytest.raises(InputError, match="a prompt of 1000000000000"):
        counter.summary()


def test_positive_values_are_told_within_a_thousandth() -> None:
    values = np.random.default_rng(1).lognormal(2, 2, 5000)
    counter = PositiveValues()
    for value in [*values.tolist(), 0.0]:
        counter.add(value)
    told = counter.summary()
    assert told is not None
    all_values = np.append(values, 0.0)
    assert list(told.quantiles.values()) == pytest.approx(np.quantile(all_values, RANKS).tolist(), rel=2e-3)
    assert told.cv == pytest.approx(all_values.std() / all_values.mean())
    assert (told.min, told.max) == (0.0, values.max())


def test_arrivals_are_counted_by_gap_and_by_second() -> None:
    times = np.sort(np.random.default_rng(2).uniform(0, 95, 700)) + 1000
    counter = ArrivalCounter()
    for t in times.tolist():
        counter.add(t)
    told = counter.summary()
    assert told is not None
    gaps, per_second = np.diff(times), np.bincount((times - times[0]).astype(int))
    assert told.gap_cv == pytest.approx(gaps.std() / gaps.mean())
    assert told.dispersion_1s == pytest.approx(per_second.var() / per_second.mean())
    assert (told.peak_1s, told.requests) == (per_second.max(), 700)
    assert sum(told.per_bin) == 700
    assert len(told.per_bin) == 60


def test_arrivals_out_of_order_are_counted_and_not_hidden() -> None:
    counter = ArrivalCounter()
    for t in (0.0, 5.0, 3.0, 6.0):
        counter.add(t)
    told = counter.summary()
    assert told is not None
    assert (told.out_of_order, told.span_s) == (1, 6.0)


def turn(index: int, *segments: tuple[str, int], after: tuple[int, ...] = (), **fields: object) -> Turn:
    prompt = tuple(Segment(key, tokens) for key, tokens in segments)
    return Turn(index, prompt, 10, after=after, **fields)  # type: ignore[arg-type]


def counted(*items: Session | LeftOut, block_tokens: int | None = None) -> TraceStatistics:
    return count_trace(SessionStream("ours", "nobody's", iter(items), block_tokens=block_tokens))


def test_reuse_and_compaction_of_a_session() -> None:
    long = turn(1, ("a", 64), ("b", 64), after=(0,), delay_s=2.0, delay_class="tool")
    compacted = turn(2, ("a", 64), ("c", 10), after=(1,), delay_s=60.0, delay_class="human")
    told = counted(Session("s", (turn(0, ("a", 64)), long, compacted)), block_tokens=64)
    assert told.reuse is not None
    assert told.reuse.token_share == pytest.approx(128 / 266)
    assert told.reuse.block_share == pytest.approx(2 / 5)
    assert told.reuse.compacted_turns == 1
    assert told.reuse.uncached_tokens is not None
    assert told.reuse.uncached_tokens.max == 64
    assert {name: delays.mean for name, delays in told.delays_s.items()} == {"tool": 2.0, "human": 60.0}


def test_reuse_reaches_over_sessions_and_lone_prompts_have_none() -> None:
    shared = counted(*(Session(name, (turn(0, ("a", 8), (name, 8)),)) for name in "st"))
    assert shared.reuse is not None
    assert shared.reuse.token_share == 0.25
    assert counted(*(Session(name, (turn(0, (name, 8)),)) for name in "st")).reuse is None


def test_sub_agents_are_counted_by_who_launched_them() -> None:
    turns = (
        turn(0, ("a", 8)),
        turn(1, ("b", 8), after=(0,), agent=1),
        turn(2, ("b", 9), after=(1,), agent=1),
        turn(3, ("c", 8), after=(0,), agent=2),
        turn(4, ("a", 9), after=(0, 2, 3)),
        turn(5, ("d", 9), after=(4,), agent=3, foreground=False),
    )
    told = counted(Session("s", turns), Session("t", (turn(0, ("a", 8)),)), LeftOut("no output tokens", 2))
    agents = told.sub_agents
    assert agents is not None
    assert (agents.sessions, agents.agents, agents.background) == (1, 3, 1)
    assert agents.fan_out is not None
    assert (agents.fan_out.n, agents.fan_out.max) == (2, 2)
    assert agents.turns is not None
    assert (agents.turns.n, agents.turns.max) == (3, 2)
    assert (told.rows, told.sessions, told.left_out) == (9, 2, {"no output tokens": 2})
