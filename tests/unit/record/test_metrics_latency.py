"""Every time of DESIGN §5 against hand-computed turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.core.records import TurnRow
from bench.metrics import latency
from bench.metrics.columns import TurnColumns
from bench.results.batches import table_of

MakeTurn = Callable[..., TurnRow]


def columns_of(*rows: TurnRow, start_ns: int = 0) -> TurnColumns:
    return TurnColumns.of(table_of("turns", rows), start_ns=start_ns)


def test_times_of_one_turn(make_turn: MakeTurn) -> None:
    turns = columns_of(make_turn(100, [130, 140, 145, 170], send_ms=104, answer_ms=145, hold_ns=3_000_000))
    assert latency.ttft_ms(turns, open_loop=True) == [30]
    assert latency.ttft_ms(turns, open_loop=False) == [26]
    assert latency.ttfa_ms(turns, open_loop=False) == [41]
    assert latency.e2e_ms(turns, open_loop=True) == [70]
    assert latency.e2e_ms(turns, open_loop=False) == [66]
    assert latency.tpot_ms(turns) == [pytest.approx(40 / 3, rel=1e-15)]
    assert latency.schedule_lag_ms(turns) == [1]
    assert latency.hold_ms(turns) == [3]


def test_one_token_has_no_time_per_output_token_and_no_answer_no_ttfa(make_turn: MakeTurn) -> None:
    turns = columns_of(make_turn(0, [10]))
    assert np.isnan(latency.tpot_ms(turns)).all()
    assert np.isnan(latency.ttfa_ms(turns, open_loop=False)).all()


def test_a_turn_without_tokens_has_no_times(make_turn: MakeTurn) -> None:
    turns = columns_of(make_turn(0, [], status="failed", t_done_ns=5_000_000))
    for times in (
        latency.ttft_ms(turns, open_loop=True),
        latency.e2e_ms(turns, open_loop=True),
        latency.tpot_ms(turns),
    ):
        assert np.isnan(times).all()


def test_gaps_are_between_chunks_and_not_tokens(make_turn: MakeTurn) -> None:
    burst = make_turn(0, [10, 30], session="a", chunk_tokens=[1, 5], output_tokens=6)
    other = make_turn(1, [15, 16, 18], session="b")
    turns = columns_of(burst, other)
    values, owner = latency.itl_ms(turns, np.array([True, True]))
    assert list(values) == [20, 1, 2]
    assert list(owner) == [0, 1, 1]
    assert latency.tpot_ms(turns)[0] == 4  # six tokens, five gaps of 4 ms
    values, _ = latency.itl_ms(turns, np.array([False, True]))
    assert list(values) == [1, 2]


def test_session_counts_delays_and_job_counts_foreground_in_flight_once(make_turn: MakeTurn) -> None:
    turns = columns_of(
        make_turn(0, [10, 20], index=0),
        make_turn(15, [30], index=1),  # overlaps the first by 5 ms
        make_turn(50, [60], index=2),
        make_turn(60, [100], index=3, foreground=False),
    )
    assert list(latency.session_ms(turns, [0])) == [100]
    assert list(latency.job_ms(turns, [0])) == [30 + 10]


def test_warm_up_is_left_out_and_turns_are_sorted_by_sending(make_turn: MakeTurn) -> None:
    late = make_turn(5, [9], session="late")
    early = make_turn(1, [8], session="early", prompt_tokens=77)
    turns = columns_of(late, make_turn(0, [1], warmup=True), early)
    assert turns.warmup_turns == 1
    assert list(turns.prompt_tokens) == [77, 10]
    assert turns.sessions == 2


def test_chunk_times_survive_delta_coding_at_a_large_origin(make_turn: MakeTurn) -> None:
    origin = 8_000_000_000_000_000_000  # three such sums overflow 64 bits
    rows = [
        make_turn(
            0,
            [],
            session=str(i),
            t_due_ns=origin,
            t_send_ns=origin + i,
            chunk_t_ns=[origin + 10 * i, 3, 4],
            chunk_tokens=[1] * 3,
        )
        for i in range(4)
    ]
    turns = columns_of(*rows, start_ns=origin)
    assert list(turns.chunk_t) == [t for i in range(4) for t in (10 * i, 10 * i + 3, 10 * i + 7)]
    assert list(turns.chunk_turn) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_turns_without_chunks_between_others_keep_chunk_owners_right(make_turn: MakeTurn) -> None:
    turns = columns_of(make_turn(0, [], session="a"), make_turn(1, [5, 6], session="b"), make_turn(2, [], session="c"))
    assert list(turns.chunk_turn) == [1, 1]
    assert list(turns.chunk_t) == [5e6, 6e6]


def test_a_time_out_of_reach_is_refused(make_turn: MakeTurn) -> None:
    with pytest.raises(InputError, match="t_due_ns lies over 104 days from the run's start"):
        columns_of(make_turn(0, [5]), start_ns=10**16)


def test_a_chunk_without_a_count_is_refused(make_turn: MakeTurn) -> None:
    with pytest.raises(InputError, match="differ in length"):
        columns_of(make_turn(0, [5, 6], chunk_tokens=[1]))


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 30)), min_size=1, max_size=8))
def test_job_is_the_measure_of_the_union(spans: list[tuple[int, int]]) -> None:
    rows: list[Any] = [_bare_turn(begin, begin + length, index) for index, (begin, length) in enumerate(spans)]
    covered = {t for begin, length in spans for t in range(begin, begin + length)}
    assert latency.job_ms(columns_of(*rows), [0])[0] == pytest.approx(len(covered))


def _bare_turn(send_ms: int, last_ms: int, index: int) -> TurnRow:
    return TurnRow(
        session_id="s",
        turn_index=index,
        warmup=False,
        foreground=True,
        prompt_tokens=1,
        shared_tokens=0,
        asked_output_tokens=1,
        asked_thinking_tokens=0,
        t_due_ns=send_ms * 1_000_000,
        t_send_ns=send_ms * 1_000_000,
        t_last_ns=last_ms * 1_000_000,
        status="ok",
    )
