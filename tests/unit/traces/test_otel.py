"""OpenTelemetry spans become sessions whose turns wait for what they continue, what they join and what was over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.core.sessions import Session
from bench.workload.traces.format import Reading
from bench.workload.traces.importer import recognise
from bench.workload.traces.otel import sessions
from bench.workload.traces.otel_order import Order
from bench.workload.traces.otel_spans import Span

FIXTURES = Path(__file__).parents[2] / "fixtures" / "traces"
WORDS = FIXTURES / "otel_words.jsonl"
LENGTHS = FIXTURES / "otel_lengths.jsonl"


def read(path: Path) -> list[Session]:
    return list(sessions(path, Reading(count_tokens=lambda text: len(text.split()))))


def test_the_format_is_recognised_in_every_layout(tmp_path: Path) -> None:
    span = tmp_path / "span.json"
    span.write_text(
        json.dumps(json.loads(WORDS.read_text().splitlines()[0])["resourceSpans"][0]["scopeSpans"][0]["spans"][0])
    )
    assert [recognise(path).name for path in (WORDS, LENGTHS, span)] == ["otel"] * 3
    assert [turn.output_tokens for turn in read(span)[0].turns] == [3]


def test_traces_of_one_conversation_are_a_session() -> None:
    first, second = read(WORDS)
    assert (first.id, first.arrival_s, len(first.turns)) == ("conversation-weekend", 0.0, 6)
    assert (second.id, second.arrival_s, len(second.turns)) == (f"trace-{'d' * 32}", 30.5, 1)


def test_requests_wait_for_what_they_continue_and_what_they_join() -> None:
    turns = read(WORDS)[0].turns
    # In order of start: the planner, trains, rooms, trains again, the planner with both results, the planner next day
    assert [turn.after for turn in turns] == [(), (0,), (0,), (1,), (0, 2, 3), (4,)]
    assert [turn.agent for turn in turns] == [0, 1, 2, 1, 0, 0]
    assert [(turn.delay_s, turn.delay_class) for turn in turns] == [
        (0, "none"),
        (0.5, "tool"),
        (0.6, "tool"),
        (0.5, "tool"),
        (1.0, "tool"),
        (60.0, "human"),
    ]


def test_prompts_are_the_recorded_words_and_share_what_they_continue() -> None:
    turns = read(WORDS)[0].turns
    planner, trains, rooms, again, joined, _ = ([segment.key for segment in turn.prompt] for turn in turns)
    assert joined[:2] == planner
    assert again[:2] == trains
    assert trains[0] == rooms[0]
    assert trains[1] != rooms[1]
    call, result = turns[4].prompt[2:]
    assert json.loads(call.text or "") == {"name": "delegate", "arguments": {"tasks": ["trains", "rooms"]}}
    assert (call.role, result.role, result.text) == ("assistant", "tool", "trains at 08:25, rooms at the harbour")
    assert turns[0].prompt_tokens == 3 + 5
    assert [(turn.output_tokens, turn.thinking_tokens) for turn in turns[:4]] == [(12, 0), (3, 0), (4, 0), (5, 2)]


def test_lengths_alone_share_what_was_read_from_a_cache() -> None:
    first = read(LENGTHS)[0]
    assert [turn.prompt_tokens for turn in first.turns] == [100, 150, 40, 200]
    assert [turn.after for turn in first.turns] == [(), (0,), (0,), (1, 2)]
    assert [(turn.delay_s, turn.delay_class) for turn in first.turns[1:]] == [
        (0.5, "tool"),
        (0.75, "tool"),
        (1.5, "tool"),
    ]
    one, other = (first.turns[index].prompt for index in (0, 1))
    assert other[0] == one[0]
    assert [(segment.tokens, segment.role) for segment in other] == [(100, "user"), (10, "assistant"), (40, "user")]
    assert not {segment.key for segment in first.turns[2].prompt} & {segment.key for segment in other}


def test_an_answer_without_a_count_is_counted_in_words() -> None:
    second = read(LENGTHS)[1]
    assert (second.turns[0].prompt_tokens, second.turns[0].output_tokens, second.arrival_s) == (3, 2, 60.0)


def changed(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    rows = [json.loads(line) for line in LENGTHS.read_text().splitlines()]
    change(rows[1])
    path = tmp_path / "changed.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.mark.parametrize(
    "messages",
    [
        '[{"role": "user", "parts": [{"type": "text", "conte',
        [{"role": "user", "parts": [{"type": "blob", "mime_type": "image/png", "content": "AAAA"}]}],
        [{"role": "user", "parts": 7}],
        ["user"],
        5,
    ],
)
def test_words_that_are_cut_off_or_none_leave_the_lengths(tmp_path: Path, messages: Any) -> None:
    path = changed(tmp_path, lambda row: row["attributes"].update({"gen_ai.input.messages": messages}))
    assert read(path) == read(LENGTHS)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda row: row["attributes"].update({"gen_ai.usage.input_tokens": -1}), "gen_ai.usage.input_tokens = '-1'"),
        (lambda row: row["attributes"].update({"gen_ai.usage.output_tokens": 1.5}), "output_tokens = '1.5'"),
        (lambda row: row["attributes"].update({"gen_ai.usage.output_tokens": True}), "output_tokens = 'True'"),
        (lambda row: row.update(end_time="2026-03-01T11:00:00Z"), "ends before it begins"),
        (lambda row: row.update(start_time="noon"), "start_time"),
        (lambda row: row.update(start_time="2026-03-01T12:00:00"), "start_time"),
        (lambda row: row.update(context=5), "context"),
        (lambda row: row.pop("context"), "resourceSpans, or a span"),
    ],
)
def test_mistakes_are_told_by_their_line(tmp_path: Path, change: Callable[[dict[str, Any]], None], told: str) -> None:
    path = changed(tmp_path, change)
    with pytest.raises(InputError, match=f"^{path}:2: ") as raised:
        read(path)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"intValue": "many"}, "an attribute has a value that is none"),
        ({"kvlistValue": {"values": [{"key": []}]}}, "an attribute has a value that is none"),
        (3, "object"),
    ],
)
def test_values_that_otlp_does_not_have_are_refused(tmp_path: Path, value: Any, told: str) -> None:
    path = tmp_path / "broken.json"
    span = {"traceId": "a", "spanId": "b", "startTimeUnixNano": "1", "endTimeUnixNano": "2"}
    path.write_text(json.dumps({**span, "attributes": [{"key": "gen_ai.usage.output_tokens", "value": value}]}))
    with pytest.raises(InputError, match=f"^{path}:1: ") as raised:
        read(path)
    assert told in str(raised.value)


def test_spans_that_ask_no_model_are_no_trace_of_requests(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda row: row.update(attributes={}))
    path.write_text(path.read_text().splitlines()[1])
    with pytest.raises(InputError, match="no span is a request to a model"):
        read(path)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 8)), max_size=12))
def test_without_words_each_waits_for_all_that_was_over(times: list[tuple[int, int]]) -> None:
    ordered = [Span("t", None, start, start + length, {}, "") for start, length in sorted(times)]
    order = Order()
    waits_for: list[set[int]] = []
    for index, span in enumerate(ordered):
        after = order.add(span, ())
        assert all(ordered[before].end_ns <= span.start_ns for before in after)
        waits_for.append(set(after).union(*(waits_for[before] for before in after)))
        assert waits_for[index] == {i for i in range(index) if ordered[i].end_ns <= span.start_ns}
