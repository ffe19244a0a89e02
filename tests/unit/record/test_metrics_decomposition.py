"""A gap is split into parts that add up to it, each what was put in, and none where nothing could tell it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.records import TurnRow
from bench.core.units import NS_PER_MS
from bench.metrics.columns import TurnColumns
from bench.metrics.decomposition import ONE_ROUND_TRIP, Gap, Round, decompose, harness_ms
from bench.metrics.paired import CountedTurns
from bench.metrics.statistics import Confidence
from bench.results.batches import table_of

RANKS = (0.5, 0.9)
CONFIDENCE = Confidence(0.95, 0)
ClosedLoop = Callable[..., list[TurnRow]]


def seen(
    rows: Sequence[TurnRow], *, later_ms: float = 0.0, stretch: float = 1.0, harness_ms: float | None = None
) -> CountedTurns:
    """`rows` as a run: all `later_ms` later, gaps `stretch` times as long, tokens `harness_ms` on their way."""
    moved = [_moved(row, later_ms, stretch, harness_ms) for row in rows]
    turns = TurnColumns.of(table_of("turns", moved), start_ns=0)
    return CountedTurns(turns, turns.ok, open_loop=False)


def _moved(row: TurnRow, later_ms: float, stretch: float, harness_ms: float | None) -> TurnRow:
    first, *gaps = row.chunk_t_ns
    chunks = [first + round(later_ms * NS_PER_MS), *(round(stretch * gap) for gap in gaps)]
    stamps = [] if harness_ms is None else [chunks[0] - round(harness_ms * NS_PER_MS), *chunks[1:]]
    end = sum(chunks)
    return replace(row, t_first_ns=chunks[0], t_last_ns=end, t_done_ns=end, chunk_t_ns=chunks, chunk_t_engine_ns=stamps)


def parts_of(gap: Gap) -> dict[str, float | None]:
    return {"+".join(part.of): part.ms.value for part in gap.parts}


def all_gaps(rounds: Sequence[Round]) -> list[Gap]:
    return [gap for ranks in decompose(rounds, RANKS, CONFIDENCE).values() for gap in ranks.values()]


def test_each_part_is_what_was_put_in(closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    base = seen(rows, harness_ms=0.25)
    twin = seen(rows, later_ms=7, harness_ms=0.5)
    target = seen(rows, later_ms=10)
    (ttft, e2e) = (
        decompose([Round(base, target, True, twin, (0.5, 0.75, 1.0))], RANKS, CONFIDENCE)[name]
        for name in ONE_ROUND_TRIP
    )
    for gap in (*ttft.values(), *e2e.values()):
        assert gap.gap_ms.value == pytest.approx(10)
        # The twin's tokens leave it 6.5 later, after the harness that delays them by as much more as it has.
        expected = {"engine": 6.75, "server": 2.75, "network": 0.75, "harness": -0.25}
        assert parts_of(gap) == {name: pytest.approx(value) for name, value in expected.items()}
        assert all(part.distinct for part in gap.parts)


def test_tokens_that_stream_hold_no_round_trip(closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    run = seen(rows, harness_ms=0.25)
    gaps = decompose([Round(run, seen(rows, stretch=2), True, run, [0.5] * 8)], RANKS, CONFIDENCE)
    for name in ("tpot_ms", "itl_ms"):
        for gap in gaps[name].values():
            assert parts_of(gap).keys() == {"server", "harness"}
            assert parts_of(gap)["server"] == pytest.approx(gap.base_ms.value)
            assert parts_of(gap)["harness"] == 0


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_parts_add_up_to_the_gap(data: st.DataObject, closed_loop: ClosedLoop) -> None:
    stamped, served, trips = (data.draw(st.booleans()) for _ in range(3))
    twins = data.draw(st.sampled_from(["none", "itself", "another"]))

    def run(*, stamped: bool) -> CountedTurns:
        return seen(
            closed_loop(sessions=16, tokens=7, seed=data.draw(st.integers(0, 99))),
            later_ms=data.draw(st.floats(-5, 50)),
            stretch=data.draw(st.floats(0.1, 9)),
            harness_ms=data.draw(st.floats(0, 4)) if stamped else None,
        )

    def one_round() -> Round:
        base, target = run(stamped=stamped), run(stamped=stamped and not served)
        if not served:
            return Round(base, target, False)
        twin = {"none": None, "itself": base}.get(twins) if twins != "another" else run(stamped=stamped)
        times = data.draw(st.lists(st.floats(0.01, 90), min_size=1, max_size=40)) if trips else ()
        return Round(base, target, True, twin, times)

    for gap in all_gaps([one_round() for _ in range(data.draw(st.integers(1, 2)))]):
        base, target, total = gap.base_ms.value, gap.target_ms.value, gap.gap_ms.value
        assert base is not None
        assert total is not None
        assert target == pytest.approx(base + total, rel=1e-12, abs=1e-9)
        added = math.fsum(part.ms.value for part in gap.parts if part.ms.value is not None)
        assert added == pytest.approx(total, rel=1e-12, abs=1e-9)


def test_what_was_not_measured_is_told_together_with_the_next_step(closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    stamped, blank, target = seen(rows, harness_ms=0.25), seen(rows), seen(rows, later_ms=3)

    def ttft(one: Round) -> dict[str, float | None]:
        return parts_of(decompose([one], RANKS, CONFIDENCE)["ttft_ms"]["p50"])

    trips = [0.5] * 5
    assert ttft(Round(stamped, target, True, stamped)).keys() == {"harness", "server+network"}
    assert ttft(Round(stamped, target, True, None, trips)).keys() == {"harness", "engine+server", "network"}
    assert ttft(Round(blank, target, True, blank, trips)).keys() == {"server+harness", "network"}
    assert ttft(Round(stamped, target, True, blank, trips)).keys() == {"engine+harness", "server+harness", "network"}
    assert ttft(Round(blank, target, True)).keys() == {"engine+server+network+harness"}
    assert ttft(Round(blank, target, False)).keys() == {"engine+harness"}
    assert ttft(Round(stamped, seen(rows, later_ms=3, harness_ms=1), False)) == {
        "engine": pytest.approx(2.25),
        "harness": pytest.approx(0.75),
    }


def test_only_turns_that_every_run_counted_are_compared(closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    base, target = seen(rows), seen(rows, later_ms=4)
    slow = np.array([session == "s3" for session in (base.turns.session_ids[i] for i in base.turns.session)])
    late = seen([replace(row, session_id="x") if row.session_id == "s3" else row for row in rows], later_ms=4)
    for other in (replace(target, counted=target.counted & ~slow), late):
        gap = decompose([Round(base, other, False)], RANKS, CONFIDENCE)["ttft_ms"]["p50"]
        assert gap.base_ms.n == len(rows) - 2
        assert gap.gap_ms.value == pytest.approx(4)


def test_a_percentile_of_too_few_turns_is_null_with_its_parts(closed_loop: ClosedLoop) -> None:
    rows = closed_loop(sessions=10)
    gaps = decompose([Round(seen(rows), seen(rows, later_ms=1), True, None, [0.5])], RANKS, CONFIDENCE)
    assert gaps["ttft_ms"]["p50"].gap_ms.value == pytest.approx(1)
    gap = gaps["ttft_ms"]["p90"]
    for headline in (gap.base_ms, gap.target_ms, gap.gap_ms, *(part.ms for part in gap.parts)):
        assert headline.value is None
        assert headline.method == "p90 needs 29 observations that every run counted, there are 20"
    assert not any(part.distinct for part in gap.parts)
    assert gaps["itl_ms"]["p90"].gap_ms.value is not None  # a turn has many gaps


def test_runs_without_a_turn_in_common_have_no_gap(closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    others = seen([replace(row, session_id=f"x{row.session_id}") for row in rows])
    for gap in all_gaps([Round(seen(rows), others, False)]):
        assert gap.gap_ms.value is None
        assert gap.gap_ms.n == 0


def test_what_chance_may_have_made_is_not_distinct(closed_loop: ClosedLoop) -> None:
    ours, theirs = closed_loop(seed=1, sessions=64), closed_loop(seed=2, sessions=64)
    gap = decompose([Round(seen(ours), seen(theirs), False)], RANKS, CONFIDENCE)["ttft_ms"]["p50"]
    assert gap.gap_ms.low is not None
    assert gap.gap_ms.high is not None
    assert gap.gap_ms.low < 0 < gap.gap_ms.high
    assert [part.distinct for part in gap.parts] == [False]


def test_the_network_is_the_median_round_trip_with_an_interval_of_its_own(closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    run, trips = seen(rows, harness_ms=0.1), [0.4, 0.5, 0.5, 0.6, 9.0] * 8
    gaps = decompose([Round(run, seen(rows, later_ms=3), True, run, trips)], RANKS, CONFIDENCE)["ttft_ms"]
    for gap in gaps.values():
        (network,) = (part.ms for part in gap.parts if part.of == ("network",))
        assert (network.value, network.n, network.method) == (
            pytest.approx(0.5),
            40,
            "median round trip, trips resampled",
        )
        assert network.low is not None
        assert 0.4 <= network.low <= 0.5 + 1e-9


def test_several_rounds_are_means_with_an_interval_between_them(closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    base = seen(rows, harness_ms=0.1)
    rounds = [Round(base, seen(rows, later_ms=later), True, base, [0.5] * 9) for later in (2.0, 3.0, 4.0)]
    gap = decompose(rounds, RANKS, CONFIDENCE)["ttft_ms"]["p50"]
    assert (gap.gap_ms.value, gap.gap_ms.n) == (pytest.approx(3), 3)
    assert gap.gap_ms.method.startswith("t-interval")
    assert parts_of(gap) == {
        "harness": pytest.approx(-0.1),
        "server": pytest.approx(2.6),
        "network": pytest.approx(0.5),
    }
    assert gap.gap_ms.low is not None
    assert gap.gap_ms.low < 2  # as wide as three runs leave it


def test_recomputation_is_exact(closed_loop: ClosedLoop) -> None:
    def made() -> list[Gap]:
        base = seen(closed_loop(seed=3), harness_ms=0.1)
        return all_gaps([Round(base, seen(closed_loop(seed=4)), True, base, [0.3, 0.4, 0.5])])

    assert made() == made()


def test_the_harness_is_what_passed_between_stamp_and_arrival(closed_loop: ClosedLoop) -> None:
    told = harness_ms(seen(closed_loop(), harness_ms=0.25), RANKS, CONFIDENCE)
    assert told is not None
    assert told["p50"].value == pytest.approx(0.25)
    assert harness_ms(seen(closed_loop()), RANKS, CONFIDENCE) is None


def test_a_run_is_stamped_where_every_chunk_it_counts_is(closed_loop: ClosedLoop) -> None:
    rows = [_moved(row, 0.0, 1.0, 0.25) for row in closed_loop()]
    rows[5] = replace(rows[5], chunk_t_engine_ns=[])
    turns = TurnColumns.of(table_of("turns", rows), start_ns=0)
    blank = turns.send == rows[5].t_send_ns
    assert blank.sum() == 1
    assert (np.isnan(turns.chunk_engine_t) == blank[turns.chunk_turn]).all()
    assert not CountedTurns(turns, turns.ok, open_loop=False).stamped
    assert CountedTurns(turns, turns.ok & ~blank, open_loop=False).stamped
