"""From tables to verdict: healthy runs are valid, and each fault is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest

from bench.core.records import ClientLoad, PowerRow, TurnRow
from bench.core.spec import Case
from bench.metrics.context import RunContext
from bench.metrics.summary import Summary, summarise
from bench.results.batches import table_of

MakeCase = Callable[..., Case]
ClosedLoop = Callable[..., list[TurnRow]]


def summary_of(case: Case, turns: Sequence[TurnRow], power: Sequence[PowerRow] = (), **context: Any) -> Summary:
    end_ns = max((row.t_done_ns or 0 for row in turns), default=0)
    facts = {"start_ns": 0, "end_ns": end_ns, "accelerators": 0} | context
    return summarise(
        case,
        RunContext(**facts),
        turns=table_of("turns", turns),
        power=table_of("power", power),
        steps=table_of("steps", []),
    )


def codes(summary: Summary) -> list[str]:
    return [reason.code for reason in summary.verdict.reasons]


def test_a_healthy_run_is_valid_and_plain(make_case: MakeCase, closed_loop: ClosedLoop) -> None:
    sections = summary_of(make_case(), closed_loop()).sections()
    assert sections["verdict"]["status"] == "valid"
    assert json.loads(json.dumps(sections, allow_nan=False))["latency"]["ttft_ms"]["p50"]["value"] > 15
    assert set(sections) == {
        *("window", "requests", "latency", "throughput", "goodput", "sessions", "efforts", "success"),
        *("energy", "roofline", "health", "verdict"),
    }
    requests = sections["requests"]
    assert requests["sent"] == requests["completed"] == requests["counted"] + sum(requests["left_out"].values()) == 64
    assert sections["window"]["ramp_s"] + sections["window"]["steady"]["seconds"] < max(
        row.t_done_ns or 0 for row in closed_loop()
    )


def test_the_order_of_the_log_changes_nothing(make_case: MakeCase, closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    assert summary_of(make_case(), rows).sections() == summary_of(make_case(), rows[::-1]).sections()


def test_poisson_run_counts_from_when_turns_were_due(make_case: MakeCase, make_turn: Callable[..., TurnRow]) -> None:
    rows = [
        make_turn(10 * i, [10 * i + 7, 10 * i + 15], session=str(i), send_ms=10 * i + 2, answer_ms=10 * i + 15)
        for i in range(40)
    ]
    sections = summary_of(make_case(load={"kind": "poisson", "sessions_per_s": 100}), rows).sections()
    assert sections["verdict"]["status"] == "valid"
    assert sections["latency"]["ttft_ms"]["p50"]["value"] == 7
    assert sections["latency"]["ttft_from_send_ms"]["p50"]["value"] == 5
    assert sections["latency"]["schedule_lag_ms"]["p50"]["value"] == 2


def test_a_turn_held_back_beyond_the_window_still_counts(
    make_case: MakeCase, make_turn: Callable[..., TurnRow]
) -> None:
    """One at a time, each takes 8 ms and is due 5 ms after the one before: what is late must not drop out."""
    rows = [
        make_turn(5 * i, [8 * i + 7, 8 * i + 8], session=str(i), send_ms=8 * i, hold_ns=3_000_000 * i)
        for i in range(40)
    ]
    load = {"kind": "constant", "sessions_per_s": 200, "max_sessions": 1}
    found = summary_of(make_case(load=load, slo={"ttft_ms": 50}), rows).sections()
    assert found["requests"]["left_out"] == {"due in the ramp": 2, "due in the drain": 1}
    assert found["latency"]["e2e_ms"]["n"] == 37
    assert found["goodput"]["good_share"]["value"] == pytest.approx(13 / 37)  # 3 i + 7 <= 50


def test_answers_are_declared_when_pinned_and_observed_when_free(make_case: MakeCase, closed_loop: ClosedLoop) -> None:
    for mode, start, basis in (("pinned", "declared", "declared"), ("free", "observed", "measured")):
        case = make_case(workload={"kind": "reasoning", "sessions": 32, "length_mode": mode})
        ttfa = summary_of(case, closed_loop()).sections()["latency"]["ttfa_ms"]
        assert (ttfa["answer_start"], ttfa["mean"]["basis"]) == (start, basis)


def test_too_few_requests(make_case: MakeCase, closed_loop: ClosedLoop) -> None:
    found = summary_of(make_case(measure={"percentiles": [0.5, 0.99]}), closed_loop())
    assert codes(found) == ["too_few_requests"]
    assert found.verdict.reasons[0].evidence["needed"] == 299
    assert found.latency is not None
    assert found.latency["ttft_ms"]["p50"].value is not None
    assert found.latency["ttft_ms"]["p99"].value is None


def test_failures(make_case: MakeCase, closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    rows[20].status, rows[20].error = "failed", "connection reset"
    for row, asked in zip(rows[21:23], (70, 80), strict=True):
        row.status, row.error = "failed", f"context_exceeded: {asked} prompt and 8 output tokens in a context of 64"
    found = summary_of(make_case(), rows)
    assert codes(found) == ["failures"]
    assert found.requests["failed"] == {"connection reset": 1, "context_exceeded": 2}


def test_output_short_of_pinned_length_but_not_of_free(make_case: MakeCase, closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    rows[20].asked_output_tokens += 5
    found = summary_of(make_case(), rows)
    assert codes(found) == ["output_short"]
    assert found.verdict.reasons[0].evidence == {"turns": 1, "tokens_missing": 5}
    free = make_case(workload={"kind": "reasoning", "sessions": 32, "length_mode": "free"})
    assert codes(summary_of(free, rows)) == []


def test_cache_contamination(make_case: MakeCase, closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    rows[20].shared_tokens, rows[20].cached_tokens = 4, 4
    assert codes(summary_of(make_case(), rows)) == []
    rows[20].cached_tokens = 7
    found = summary_of(make_case(), rows)
    assert codes(found) == ["cache_contamination"]
    assert found.verdict.reasons[0].evidence == {"turns": 1, "tokens": 3}


def test_client_late(make_case: MakeCase, closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    for row in rows:
        row.t_due_ns -= 15_000_000
    assert codes(summary_of(make_case(), rows)) == ["client_late"]
    for row in rows:
        row.hold_ns = 15_000_000
    assert codes(summary_of(make_case(), rows)) == []


def test_a_busy_client_is_told_with_its_evidence(make_case: MakeCase, closed_loop: ClosedLoop) -> None:
    idle = ClientLoad(processes=2, cpu_share=0.4, lag_p50_ms=0.1, lag_p99_ms=4.0, lag_max_ms=90.0)
    assert codes(summary_of(make_case(), closed_loop(), client=idle)) == []
    for busy in (replace(idle, cpu_share=0.97), replace(idle, lag_p99_ms=80.0)):
        found = summary_of(make_case(), closed_loop(), client=busy, end_ns=4 * 10**9)
        assert codes(found) == ["client_saturated"]
        assert found.verdict.reasons[0].evidence == asdict(busy)
        told_in_a_second = codes(summary_of(make_case(), closed_loop(), client=busy, end_ns=10**9))
        assert told_in_a_second == (codes(found) if busy.cpu_share > 0.9 else [])
        assert RunContext.read(asdict(RunContext(0, 1, 0, client=busy, cut_sessions=("a",)))).client == busy


def test_retries_notes_and_the_engines_own_count_are_summed(make_case: MakeCase, closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    for row in rows:
        row.engine_prompt_tokens, row.retries, row.notes = 10, 1, "no_usage coalesced"
    rows[0].notes = None
    found = summary_of(make_case(), rows)
    assert found.requests["retries"] == 64
    assert found.requests["notes"] == {"no_usage": 63, "coalesced": 63}
    assert found.verdict.notes == ()
    rows[3].engine_prompt_tokens = 20
    (note,) = summary_of(make_case(), rows).verdict.notes
    assert (note.code, note.evidence) == ("prompt_tokens_disagree", {"sent": 640, "engine": 650})


def test_a_rate_that_changes_is_no_single_load(make_case: MakeCase, make_turn: Callable[..., TurnRow]) -> None:
    rows = [make_turn(10 * i, [10 * i + 7, 10 * i + 15], session=str(i)) for i in range(40)]
    ramp = {"kind": "ramp", "from_sessions_per_s": 1, "to_sessions_per_s": 100, "ramp_s": 1}
    for load, stationary in (({"kind": "constant", "sessions_per_s": 100}, True), (ramp, False)):
        found = summary_of(make_case(load=load), rows)
        assert found.window["stationary"] is stationary
        assert [note.code for note in found.verdict.notes] == ["load_not_stationary"] * (not stationary)


def test_no_steady_window_leaves_sections_null(make_case: MakeCase, make_turn: Callable[..., TurnRow]) -> None:
    found = summary_of(make_case(), [make_turn(0, [5, 6], session="a"), make_turn(0, [8, 9], session="b")])
    assert codes(found) == ["no_steady_window", "too_few_requests"]
    assert found.latency is None
    assert found.throughput is None
    assert found.energy.missing == f"no steady window: {found.window['reason']}"


def test_an_empty_run_is_told_and_does_not_break(make_case: MakeCase) -> None:
    found = summary_of(make_case(), [], stopped="interrupted")
    assert codes(found) == ["interrupted", "no_steady_window", "too_few_requests"]
    assert found.requests["sent"] == 0


def test_interrupted_run_keeps_its_numbers(make_case: MakeCase, closed_loop: ClosedLoop) -> None:
    found = summary_of(make_case(), closed_loop(), stopped="interrupted")
    assert codes(found) == ["interrupted"]
    assert found.latency is not None


def test_turns_not_sent_are_counted_and_noted(make_case: MakeCase, closed_loop: ClosedLoop) -> None:
    found = summary_of(make_case(), closed_loop(), not_sent={"the time to send was over": 9})
    assert found.requests["left_out"]["the time to send was over"] == 9
    assert [note.code for note in found.verdict.notes] == ["turns_not_sent"]
    assert found.latency is not None
    assert found.latency["session_ms"]["n"] == 0
    assert found.verdict.status == "valid"


def test_sessions_that_the_end_cut_have_no_session_time_and_the_others_do(
    make_case: MakeCase, closed_loop: ClosedLoop
) -> None:
    cut = ("s31", "s30", "s7")
    found = summary_of(make_case(), closed_loop(), not_sent={"the time to send was over": 3}, cut_sessions=cut)
    whole = summary_of(make_case(), closed_loop())
    assert found.sessions is not None
    assert whole.sessions is not None
    assert 0 < found.sessions["whole"] < whole.sessions["whole"]
    assert "favours short ones" in found.verdict.notes[0].message


def test_a_session_begun_in_its_middle_has_no_session_time(make_case: MakeCase, closed_loop: ClosedLoop) -> None:
    rows, whole = closed_loop(), summary_of(make_case(), closed_loop())
    warmed = replace(rows[20], turn_index=9, warmup=True)
    before_the_run = replace(rows[30], t_send_ns=-1, warmup=True)
    found = summary_of(make_case(), [*rows, warmed, before_the_run])
    assert found.sessions is not None
    assert whole.sessions is not None
    assert found.sessions["whole"] == whole.sessions["whole"] - 1
    assert found.requests["left_out"]["warm-up"] == 2


def test_joules_per_correct_answer(make_case: MakeCase, closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    for row in rows:
        row.correct = row.turn_index == 0
    found = summary_of(make_case(power={"scope": "node", "watts": 50}), rows).sections()
    rung, success = found["energy"]["rungs"]["node"], found["success"]
    per_answer = success["output_tokens_per_correct_answer"]["value"] * rung["joules_per_output_token"]["value"]
    assert rung["joules_per_correct_answer"]["value"] == pytest.approx(per_answer)
    assert 0.4 < success["share"]["value"] < 0.6


@pytest.mark.parametrize(
    ("counted_watts", "note"), [(None, "power_null"), (110.0, "power_disagrees"), (150.0, "power_null")]
)
def test_power_faults_are_notes(
    make_case: MakeCase, closed_loop: ClosedLoop, counted_watts: float | None, note: str
) -> None:
    """One reading alone, then a counter that tells a tenth more than the watts beside it, then half as much again."""
    rows = closed_loop()
    until = max(row.t_done_ns or 0 for row in rows) // 10**8 + 2
    power = [PowerRow(0, "gpu", "0", 100.0, None)]
    if counted_watts is not None:
        power = [PowerRow(t * 10**8, "gpu", "0", 100.0, counted_watts * t / 10) for t in range(until)]
    found = summary_of(make_case(), rows, power)
    assert [one.code for one in found.verdict.notes] == [note]
    assert found.verdict.status == "valid"


def test_sessions_with_a_failed_turn_have_no_session_time(make_case: MakeCase, closed_loop: ClosedLoop) -> None:
    rows = closed_loop()
    whole = summary_of(make_case(), rows)
    rows[20].status = "failed"
    broken = summary_of(make_case(), rows)
    assert whole.latency is not None
    assert broken.latency is not None
    assert broken.latency["session_ms"]["n"] == whole.latency["session_ms"]["n"] - 1
