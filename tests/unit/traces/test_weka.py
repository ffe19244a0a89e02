"""Weka sessions: block hashes become shared segments, recorded order becomes dependencies."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.sessions import Session, Turn
from bench.workload.scaling import scale_session, scaled_count
from bench.workload.stream import LeftOut, askable
from bench.workload.traces.format import Reading
from bench.workload.traces.importer import open_trace
from bench.workload.traces.weka import RecordedSession, session_of

BLOCK = 64


def request(t: float, blocks: list[int], extra: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "t": t, "type": "n", "in": BLOCK * len(blocks) + extra, "out": 10, "hash_ids": blocks,
        "input_types": ["tool_result"], "stop": "tool_use", "api_time": 2.0, "think_time": 1.0, **fields,
    }  # fmt: skip


def sub_agent(t: float, seconds: float | None, requests: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    duration = None if seconds is None else 1000 * seconds
    return {"t": t, "type": "subagent", "duration_ms": duration, "status": "completed", "requests": requests, **fields}


def recording(*requests: dict[str, Any], name: str = "one") -> dict[str, Any]:
    return {"id": name, "block_size": BLOCK, "hash_id_scope": "local", "requests": list(requests)}


def read(*requests: dict[str, Any]) -> tuple[Session, list[LeftOut]]:
    items = list(askable([session_of(RecordedSession.model_validate(recording(*requests)))]))
    (session,) = (item for item in items if isinstance(item, Session))
    return session, [item for item in items if isinstance(item, LeftOut)]


def links(session: Session) -> list[tuple[tuple[int, ...], float]]:
    return [(turn.after, round(turn.delay_s, 6)) for turn in session.turns]


def shared_by_keys(a: Turn, b: Turn) -> int:
    shared = 0
    for left, right in zip(a.prompt, b.prompt, strict=False):
        if left.key != right.key:
            break
        shared += min(left.tokens, right.tokens)
        if left.tokens != right.tokens:
            break
    return shared


def test_a_turn_follows_the_one_before_it_after_the_recorded_gap() -> None:
    session, _ = read(
        request(0, [1, 2], think_time=0.0),
        request(9, [1, 2, 3], think_time=7.0),
        request(99, [1, 2, 3, 4], think_time=88.0, input_types=["text"]),
    )
    assert links(session) == [((), 0.0), ((0,), 7.0), ((1,), 88.0)]
    assert [turn.delay_class for turn in session.turns] == ["none", "tool", "human"]


def test_where_no_gap_is_recorded_the_time_between_sends_stands_in() -> None:
    first, second = request(0, [1]), request(12, [1, 2])
    for recorded in (first, second):
        del recorded["think_time"]
    assert read(first, second)[0].turns[1].delay_s == 10.0
    del first["api_time"]
    assert read(first, second)[0].turns[1].delay_s == 12.0


def test_a_prompt_is_its_blocks_and_a_tail_of_its_own() -> None:
    session, _ = read(request(0, [1, 2], extra=5), request(9, [1, 2, 3], extra=7), request(19, [1, 2, 3], extra=7))
    assert [turn.prompt_tokens for turn in session.turns] == [133, 199, 199]
    assert len({turn.prompt[-1].key for turn in session.turns}) == 3
    assert shared_by_keys(session.turns[1], session.turns[2]) == 3 * BLOCK


def test_parallel_sub_agents_start_from_their_launcher_and_are_joined() -> None:
    session, _ = read(
        request(0, [1, 2]),  # ends at 2
        sub_agent(12, 9, [request(0, [50], think_time=0.0), request(4, [50, 51], think_time=2.0)]),  # from 3 to 12
        sub_agent(32, 30, [request(0, [60], think_time=0.0)]),  # from 2 to 32
        request(35, [1, 2, 3], think_time=33.0),
    )
    assert links(session) == [((), 1.0), ((0,), 1.0), ((1,), 2.0), ((0,), 0.0), ((0, 2, 3), 3.0)]
    assert all(turn.foreground for turn in session.turns)
    assert [turn.delay_class for turn in session.turns] == ["none", "tool", "tool", "tool", "tool"]


def test_nobody_waits_for_a_sub_agent_in_the_background() -> None:
    session, _ = read(
        request(0, [1]), sub_agent(2.5, None, [request(0, [50], think_time=0.0)], status="async_launched"),
        request(9, [1, 2], think_time=7.0),
    )  # fmt: skip
    assert links(session) == [((), 1.0), ((0,), 0.5), ((0,), 7.0)]
    assert [turn.foreground for turn in session.turns] == [True, False, True]


def test_requests_without_output_are_left_out_and_their_gap_is_kept() -> None:
    session, left_out = read(
        request(0, [1]), request(5, [1, 2], out=0, think_time=3.0), request(20, [1, 2, 3], think_time=8.0)
    )
    assert left_out == [LeftOut("no output tokens", 1)]
    assert links(session) == [((), 1.0), ((0,), 11.0)]
    assert [turn.index for turn in session.turns] == [0, 1]


@st.composite
def block_prompts(draw: st.DrawFn) -> list[list[int]]:
    """Prompts whose block ids name their whole prefix, as chained hashes do."""
    names: dict[tuple[int, ...], int] = {}
    paths = draw(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=8), min_size=2, max_size=6))
    return [[names.setdefault(tuple(path[: n + 1]), len(names)) for n in range(len(path))] for path in paths]


@given(block_prompts(), st.floats(0.01, 2))
def test_prompts_share_exactly_the_blocks_they_have_in_common_at_any_scale(
    prompts: list[list[int]], scale: float
) -> None:
    session, _ = read(*(request(10.0 * i, blocks, extra=i) for i, blocks in enumerate(prompts)))
    turns = scale_session(session, scale).turns
    for turn, original in zip(turns, session.turns, strict=True):
        assert turn.prompt_tokens == scaled_count(original.prompt_tokens, scale)
    for i, a in enumerate(prompts):
        for j, b in enumerate(prompts[:i]):
            common = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            assert shared_by_keys(turns[i], turns[j]) == scaled_count(common * BLOCK, scale)


@pytest.mark.parametrize("form", ["one a line", "gzipped under another name", "one file, indented"])
def test_every_form_of_file_reads_the_same(tmp_path: Path, form: str) -> None:
    document = recording(request(0, [1]), request(9, [1, 2]))
    path = tmp_path / "trace.txt"
    if form == "one file, indented":
        path.write_text(json.dumps(document, indent=2))
    elif form == "one a line":
        path.write_text("\n" + json.dumps(document) + "\n")
    else:
        path.write_bytes(gzip.compress(json.dumps(document).encode()))
    stream = open_trace(path, Reading())
    assert stream.format == "weka-json"
    assert list(stream.items) == [read(*document["requests"])[0]]
