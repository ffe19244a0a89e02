"""Tokens per second and goodput against hand-counted tokens."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bench.core.records import TurnRow
from bench.core.spec import SloSpec
from bench.metrics.columns import TurnColumns
from bench.metrics.goodput import good_turns, goodput
from bench.metrics.percentiles import Sample, distribution
from bench.metrics.statistics import Confidence
from bench.metrics.steady_state import Window
from bench.metrics.throughput import interactivity, rates, token_slices
from bench.results.batches import table_of

MakeTurn = Callable[..., TurnRow]
CONFIDENCE = Confidence(level=0.95, seed=0)
WINDOW = Window(100e6, 600e6)


def columns_of(*rows: TurnRow) -> TurnColumns:
    return TurnColumns.of(table_of("turns", rows), start_ns=0)


def test_tokens_count_when_emitted(make_turn: MakeTurn) -> None:
    """In [100, 600) ms: two of the first turn's tokens, three of the second's; the first's prompt came before."""
    turns = columns_of(
        make_turn(0, [50, 100, 599, 600], session="a", prompt_tokens=1000),
        make_turn(0, [200, 300, 400], session="b", prompt_tokens=8, cached_tokens=5),
    )
    found = rates(token_slices(turns, WINDOW), CONFIDENCE, accelerators=4)
    assert found["output_tokens_per_s"].value == 10
    assert found["total_tokens_per_s"].value == 26
    assert found["input_tokens_per_s"].value == 16
    assert found["uncached_input_tokens_per_s"].value == 6
    assert found["output_tokens_per_s_per_accelerator"].value == 2.5
    assert found["total_tokens_per_s_per_accelerator"].value == 6.5


def test_chunks_of_several_tokens_and_of_failed_turns_count(make_turn: MakeTurn) -> None:
    turns = columns_of(make_turn(0, [200, 300], chunk_tokens=[3, 4], status="failed"))
    found = rates(token_slices(turns, WINDOW), CONFIDENCE, accelerators=1)
    assert found["output_tokens_per_s"].value == 14


def test_uncached_input_is_null_where_the_engine_is_silent(make_turn: MakeTurn) -> None:
    turns = columns_of(make_turn(0, [200, 300], cached_tokens=None))
    found = rates(token_slices(turns, WINDOW), CONFIDENCE, accelerators=0)
    assert found["uncached_input_tokens_per_s"].value is None
    assert found["output_tokens_per_s_per_accelerator"].method == "no accelerator was used"


def test_interactivity_is_at_the_rank_of_tpot() -> None:
    tpot = distribution(Sample.of(np.arange(1.0, 101.0)), (0.5, 0.9, 0.99), CONFIDENCE)
    found = interactivity(tpot)
    assert set(found) == {"p50", "p90", "p99"}
    p90 = tpot.headlines["p90"]
    assert p90.value is not None
    assert p90.high is not None
    assert found["p90"].value == 1000 / p90.value
    assert found["p90"].low == 1000 / p90.high
    assert found["p99"].value is None


@pytest.mark.parametrize(
    ("bound", "good"),
    [
        ({}, [True, True, True, False]),
        ({"ttft_ms": 20}, [True, True, False, False]),
        ({"ttfa_ms": 30}, [True, False, False, False]),
        ({"tpot_ms": 10}, [True, True, False, False]),
        ({"e2e_ms": 40}, [True, True, False, False]),
    ],
)
def test_a_good_turn_meets_every_bound_and_completed(
    make_turn: MakeTurn, bound: dict[str, float], good: list[bool]
) -> None:
    turns = columns_of(
        make_turn(0, [10, 20, 30], session="quick", answer_ms=20),
        make_turn(1, [15], session="single"),  # never answers, and has no time per output token
        make_turn(2, [30, 90], session="slow", answer_ms=90),
        make_turn(3, [10, 12], session="failed", answer_ms=12, status="failed"),
    )
    assert list(good_turns(turns, SloSpec.model_validate(bound), open_loop=False)) == good


def test_goodput_counts_requests_at_their_end_and_tokens_when_emitted(make_turn: MakeTurn) -> None:
    turns = columns_of(
        make_turn(0, [90, 150], session="a"),
        make_turn(0, [200, 300, 700], session="ends after the window"),
        make_turn(0, [400, 500], session="bad", status="failed"),
    )
    good = good_turns(turns, SloSpec(), open_loop=False)
    found = goodput(turns, good, token_slices(turns, WINDOW), WINDOW, CONFIDENCE)
    assert found["goodput_requests_per_s"].value == 2
    assert found["goodput_tokens_per_s"].value == 6
    assert found["good_token_share"].value == 3 / 5
