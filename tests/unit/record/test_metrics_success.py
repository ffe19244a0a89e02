"""Shares of requests, answers apart from thinking, effort levels, correct answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.core.records import TurnRow
from bench.core.spec import SloSpec
from bench.metrics.columns import TurnColumns
from bench.metrics.efforts import efforts_section
from bench.metrics.goodput import good_share, good_turns, meets
from bench.metrics.statistics import Confidence, share_of
from bench.metrics.steady_state import Window
from bench.metrics.success import correct_answers, success_section
from bench.metrics.throughput import rates, token_slices
from bench.results.batches import table_of

MakeTurn = Callable[..., TurnRow]
MS = 1_000_000
CONFIDENCE = Confidence(level=0.95, seed=0)
WINDOW = Window(0, 1000 * MS)


def columns_of(*rows: TurnRow) -> TurnColumns:
    return TurnColumns.of(table_of("turns", rows), start_ns=0)


def test_a_share_has_wilsons_interval() -> None:
    """Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263, 0 of 20, 1 of 29."""
    for chosen, n, low, high in ((81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)):
        found = share_of(chosen, n, 0.95)
        assert found.value == chosen / n
        assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert share_of(20, 20, 0.95).high == 1
    assert share_of(0, 0, 0.95).value is None


def test_wilsons_interval_covers_as_often_as_it_says() -> None:
    chance = np.random.default_rng(0)
    for truth, n in ((0.9, 80), (0.97, 300), (0.5, 40)):
        found = [share_of(int(chosen), n, 0.9) for chosen in chance.binomial(n, truth, 2000)]
        covered = np.mean(
            [one.low <= truth <= one.high for one in found if one.low is not None and one.high is not None]
        )
        assert 0.86 < covered < 0.94


def test_a_failed_request_is_never_good_and_a_cancelled_one_is_not_judged(make_turn: MakeTurn) -> None:
    slo = SloSpec(ttft_ms=50, share=0.5)
    turns = columns_of(
        make_turn(0, [40, 100], session="good"),
        make_turn(0, [60, 100], session="late"),
        make_turn(0, [], session="failed", status="failed", t_done_ns=5 * MS),
        make_turn(0, [40], session="cancelled", status="cancelled"),
        make_turn(1500, [1510], session="outside"),
    )
    share = good_share(turns, good_turns(turns, slo, open_loop=False), WINDOW, 0.95, open_loop=False)
    assert (share.value, share.n) == (pytest.approx(1 / 3), 3)
    assert meets(share, slo) is False
    assert meets(share, SloSpec(ttft_ms=50, share=0.3)) is True
    assert meets(share, SloSpec()) is None


def test_answers_are_what_comes_after_the_thinking(make_turn: MakeTurn) -> None:
    turns = columns_of(
        make_turn(0, [10, 20, 30], session="a", chunk_tokens=[2, 4, 3], output_tokens=9, thinking_tokens=5),
        make_turn(0, [10, 20], session="b"),
        make_turn(0, [15, 25], session="c", thinking_tokens=2),
    )
    found = rates(token_slices(turns, WINDOW), CONFIDENCE, accelerators=0)
    assert found["output_tokens_per_s"].value == 13
    assert found["answer_tokens_per_s"].value == 4 + 2


def effort(turns: TurnColumns) -> dict[str, Any] | None:
    return efforts_section(turns, turns.ok, (0.5,), CONFIDENCE, open_loop=False, ttfa_basis="measured")


def test_efforts_are_told_apart_where_there_are_several(make_turn: MakeTurn) -> None:
    low = [make_turn(0, [10, 20], session=f"l{i}", effort="low", thinking_tokens=1, answer_ms=20) for i in range(8)]
    high = [
        make_turn(0, [10, 20, 90], session=f"h{i}", effort="high", thinking_tokens=2, answer_ms=90) for i in range(8)
    ]
    assert effort(columns_of(*low)) is None
    found = effort(columns_of(*low, *high))
    assert found is not None
    assert list(found) == ["low", "high"]
    assert [one["thinking_tokens"].value for one in found.values()] == [1, 2]
    assert [one["answer_tokens"].value for one in found.values()] == [1, 1]
    assert [one["ttfa_ms"]["p50"].value for one in found.values()] == [20, 90]


def test_correct_answers_are_counted_and_costed(make_turn: MakeTurn) -> None:
    turns = columns_of(
        make_turn(0, [100, 200], session="a", correct=True),
        make_turn(0, [300, 400], session="b", correct=False),
        make_turn(0, [500, 600], session="c", correct=True),
        make_turn(0, [500, 600], session="unchecked"),
        make_turn(0, [500, 1600], session="late", correct=True),
    )
    correct = correct_answers(turns, WINDOW)
    assert correct is not None
    found = success_section(turns, turns.ok, correct, token_slices(turns, WINDOW), CONFIDENCE)
    assert (found["checked"], found["correct"], found["share"].value) == (4, 3, 0.75)
    assert found["correct_answers_per_s"].value == 2
    assert found["output_tokens_per_correct_answer"].value == 4.5
    assert correct_answers(columns_of(make_turn(0, [1, 2])), WINDOW) is None
