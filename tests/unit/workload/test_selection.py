"""Which sessions are asked, and the account of those that are not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bench.core.errors import InputError
from bench.core.sessions import Check, Picture, Segment, Session, Turn
from bench.core.spec import AgenticSpec, TraceSpec
from bench.workload.sessions_digest import digest_of_sessions
from bench.workload.stream import SessionStream
from bench.workload.traces.format import Reading
from bench.workload.workload import Workload, build_workload

ROWS = [(100, 10), (900, 200), (0, 5), (300, 0), (40, 4), (7, 7)]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    lines = [f"2023-11-16 18:15:{second}.0,{i},{o}" for second, (i, o) in enumerate(ROWS, start=10)]
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]) + "\n")
    return path


def build(path: Path, max_context_tokens: int = 1000, **settings: object) -> Workload:
    spec = TraceSpec.model_validate({"kind": "trace", "path": str(path), **settings})
    return build_workload(spec, max_context_tokens)


def test_rows_that_cannot_be_asked_are_counted_by_reason(trace: Path) -> None:
    source = build(trace).source
    assert source.left_out == {"longer than the model's context": 1, "no prompt tokens": 1, "no output tokens": 1}
    assert (source.rows_in_file, source.turns_used, source.sessions_used) == (6, 3, 3)
    assert (source.source_input_tokens, source.source_output_tokens) == (147, 21)
    assert (source.input_tokens, source.output_tokens) == (147, 21)
    assert "CC-BY-4.0" in source.attribution


def test_the_context_is_compared_after_scaling(trace: Path) -> None:
    source = build(trace, max_context_tokens=110, token_scale=0.1).source
    assert source.turns_used == 4
    assert (source.source_input_tokens, source.source_output_tokens) == (1047, 221)
    assert (source.input_tokens, source.output_tokens) == (10 + 90 + 4 + 1, 1 + 20 + 1 + 1)
    assert build(trace, max_context_tokens=109, token_scale=0.1).source.turns_used == 3


def test_a_budget_takes_whole_sessions_in_order_and_stops_at_the_first_that_exceeds_it(trace: Path) -> None:
    workload = build(trace, max_turns=2)
    assert [session.turns[0].output_tokens for session in workload.sessions] == [10, 4]
    assert workload.source.left_out["beyond max_turns"] == 1


def test_all_behind_the_end_of_the_budget_is_beyond_it(trace: Path) -> None:
    source = build(trace, max_context_tokens=500, max_turns=1).source
    assert source.left_out == {"beyond max_turns": 3, "no prompt tokens": 1, "no output tokens": 1}


def test_every_row_is_used_or_left_out(trace: Path) -> None:
    for settings in ({}, {"max_turns": 1}, {"token_scale": 0.01}):
        source = build(trace, **settings).source
        assert source.rows_in_file == source.turns_used + sum(source.left_out.values()) == len(ROWS)


def test_synthetic_sessions_that_do_not_fit_are_left_out_too() -> None:
    spec = AgenticSpec(kind="agentic", sessions=50)
    workload = build_workload(spec, 65_536)
    assert 0 < workload.source.sessions_used < 50
    assert max(session.peak_tokens for session in workload.sessions) <= 65_536
    assert workload.source.rows_in_file == workload.source.turns_used + sum(workload.source.left_out.values())
    assert workload.source.capped_delays == sum(t.delay_s == 10.0 for s in workload.sessions for t in s.turns)


def test_when_no_session_is_left_the_reasons_are_told(trace: Path) -> None:
    with pytest.raises(
        InputError, match=r"rows\.csv: no session can be used: .*4 rows longer than the model's context"
    ):
        build(trace, max_context_tokens=5)


def test_a_budget_below_the_first_session_is_told_what_that_needs(tmp_path: Path) -> None:
    path = tmp_path / "agent.jsonl"
    requests = [{"t": t, "type": "n", "in": 3, "out": 2, "hash_ids": []} for t in range(5)]
    path.write_text(json.dumps({"id": "a", "block_size": 64, "hash_id_scope": "local", "requests": requests}))
    with pytest.raises(InputError, match=r"5 rows beyond max_turns .*max_turns: 5 or more"):
        build(path, max_turns=4)


def test_the_digest_names_what_is_asked_and_not_where_it_lies(trace: Path, tmp_path: Path) -> None:
    moved = shutil.copy(trace, tmp_path / "elsewhere.csv")
    digest = build(trace).digest
    assert digest == build(Path(moved)).digest
    others = [
        build(trace, token_scale=0.5).digest,
        build(trace, length_mode="free").digest,
        build(trace, temperature=1.0).digest,
        build(trace, max_turns=2).digest,
    ]
    trace.write_text(trace.read_text().replace(",40,4", ",40,5"))
    assert len({digest, *others, build(trace).digest}) == 6


def test_the_digest_covers_every_field_of_a_turn() -> None:
    spec = TraceSpec(kind="trace", path="any")
    turn = Turn(0, (Segment("a", 3),), 5)
    others: dict[str, Any] = {
        "index": 1, "prompt": (Segment("b", 3),), "output_tokens": 6, "thinking_tokens": 2, "after": (4,),
        "delay_s": 1.0, "delay_class": "tool", "foreground": False, "agent": 1, "effort": "low", "thinking_budget": 9,
        "check": Check("exact", "4"),
    }  # fmt: skip
    assert set(others) == {field.name for field in fields(Turn)}
    changed = [turn, *(replace(turn, **{name: value}) for name, value in others.items())]
    assert len({digest_of_sessions(spec, (Session("s", (t,)),)) for t in changed}) == len(changed)


def test_the_digest_covers_every_field_of_a_session_and_of_its_segments() -> None:
    spec = TraceSpec(kind="trace", path="any")
    segment = Segment("a", 3)
    of_segment: dict[str, Any] = {"key": "b", "tokens": 4, "role": "tool", "text": "a b c", "picture": Picture(28, 56)}
    assert set(of_segment) == {field.name for field in fields(Segment)}
    segments = [segment, *(replace(segment, **{name: value}) for name, value in of_segment.items())]
    sessions = [Session("s", (Turn(0, (one,), 5),)) for one in segments]
    of_session: dict[str, Any] = {"id": "t", "turns": (Turn(0, (segment,), 6),), "arrival_s": 2.5}
    assert set(of_session) == {field.name for field in fields(Session)}
    sessions += [replace(sessions[0], **{name: value}) for name, value in of_session.items()]
    assert len({digest_of_sessions(spec, (session,)) for session in sessions}) == len(sessions)


def test_a_field_at_its_default_does_not_change_the_digest() -> None:
    sessions = (Session("s", (Turn(0, (Segment("a", 3),), 5),)),)
    plain = digest_of_sessions(TraceSpec(kind="trace", path="any"), sessions)
    assert plain == digest_of_sessions(TraceSpec(kind="trace", path="any", effort={}, from_s=0.0), sessions)
    assert plain != digest_of_sessions(TraceSpec(kind="trace", path="any", effort={"low": 1}), sessions)


def test_only_sessions_that_arrive_within_the_window_are_used(trace: Path) -> None:
    workload = build(trace, max_context_tokens=2000, from_s=1, until_s=5)
    assert [session.arrival_s for session in workload.sessions] == [1.0, 4.0]
    assert [session.turns[0].output_tokens for session in workload.sessions] == [200, 4]
    assert workload.source.left_out == {
        "before from_s": 1, "no prompt tokens": 1, "no output tokens": 1, "at until_s or later": 1,
    }  # fmt: skip


def test_a_window_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="until_s later than from_s"):
        TraceSpec(kind="trace", path="any", from_s=5, until_s=5)


def test_a_window_needs_a_trace_that_tells_when_sessions_begin(tmp_path: Path) -> None:
    path = tmp_path / "agent.jsonl"
    request = {"t": 0, "type": "n", "in": 3, "out": 2, "hash_ids": []}
    path.write_text(json.dumps({"id": "a", "block_size": 64, "hash_id_scope": "local", "requests": [request]}))
    assert len(build(path).sessions) == 1
    with pytest.raises(InputError, match=r"agent\.jsonl: session a says not when it began"):
        build(path, until_s=5)


def test_sessions_beyond_the_budget_are_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def endless() -> Iterator[Session]:
        nonlocal asked
        while True:
            asked += 1
            yield Session(f"s{asked}", (Turn(0, (Segment(f"s{asked}", 3),), 5),), arrival_s=float(asked))

    def opened(path: Path, reading: Reading) -> SessionStream:
        return SessionStream("endless", "nobody", endless(), drawn=True)

    monkeypatch.setattr("bench.workload.workload.open_trace", opened)
    assert len(build(tmp_path, max_turns=7).sessions) == asked == 7
    asked = 0
    assert len(build(tmp_path, until_s=12).sessions) == 11
    assert asked == 12
