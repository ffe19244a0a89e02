"""TraceLab rounds become turns that keep what the provider had cached, after the waits that were recorded."""

from __future__ import annotations

import json
from itertools import pairwise, takewhile
from pathlib import Path

import pytest

from bench.core.errors import InputError
from bench.core.sessions import Session, Turn
from bench.workload.stream import LeftOut
from bench.workload.traces.format import Reading
from bench.workload.traces.importer import open_trace, recognise

ROUNDS = Path(__file__).parents[2] / "fixtures" / "traces" / "tracelab_rounds.jsonl"
WINDOW = Path(__file__).resolve().parents[4] / "shared" / "data" / "traces" / "tracelab_example_session.jsonl"


def read(path: Path) -> tuple[list[Session], list[LeftOut]]:
    items = list(open_trace(path, Reading()).items)
    return [i for i in items if isinstance(i, Session)], [i for i in items if isinstance(i, LeftOut)]


def kept(earlier: Turn, later: Turn) -> int:
    """Tokens of the segments that both prompts begin with."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(earlier.prompt, later.prompt, strict=False))
    return sum(segment.tokens for segment, _ in pairs)


def test_rounds_are_turns_with_their_lengths_and_thinking() -> None:
    assert recognise(ROUNDS).name == "tracelab-rounds"
    (first, second), left_out = read(ROUNDS)
    assert [turn.prompt_tokens for turn in first.turns] == [1000, 1300, 1450]
    # At least one token of an output is answer.
    assert [(turn.output_tokens, turn.thinking_tokens) for turn in first.turns] == [(120, 50), (80, 0), (40, 39)]
    assert (second.turns[0].prompt_tokens, second.arrival_s) == (90, None)
    assert left_out == [LeftOut("no output tokens", 1)]


def test_prompts_share_the_recorded_prefix() -> None:
    (first, _), _ = read(ROUNDS)
    assert [kept(*turns) for turns in pairwise(first.turns)] == [1000, 700]


def test_tools_are_waited_for_until_the_slowest_and_humans_until_they_wrote() -> None:
    (first, _), _ = read(ROUNDS)
    waits = [(turn.delay_s, turn.delay_class) for turn in first.turns]
    assert waits == [(0, "none"), (7.0, "tool"), (90.0, "human")]


def test_tools_latencies_stand_in_where_there_are_no_times(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in ROUNDS.read_text().splitlines()[:2]]
    for row in rows:
        row["timing_events"] = []
    path = tmp_path / "untimed.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    ((session,), _) = read(path)
    assert [(turn.delay_s, turn.delay_class) for turn in session.turns] == [(0, "none"), (7.0, "tool")]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"round_index": 0}, "round_index = 0"),
        ({"prefix_tokens": -1}, "prefix_tokens"),
        ({"output_tokens": 1e99}, "output_tokens"),
        ({"newly_append_tokens": None}, "newly_append_tokens"),
        ({"session_id": 5}, "session_id"),
        ({"timing_events": [{"event_type": "text", "timestamp": "yesterday"}]}, "timestamp"),
        ({"timing_events": [{"event_type": "text", "timestamp": "2026-06-01T05:40:20"}]}, "timestamp"),
        ({"tools": [{"tool_wall_latency_ms": -5}]}, "tool_wall_latency_ms"),
    ],
)
def test_mistakes_are_told_by_their_line(tmp_path: Path, change: dict[str, object], told: str) -> None:
    lines = ROUNDS.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    path = tmp_path / "broken.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=f"^{path}:2: ") as raised:
        read(path)
    assert told in str(raised.value)


def test_a_session_that_stands_in_two_places_is_refused(tmp_path: Path) -> None:
    lines = ROUNDS.read_text().splitlines()
    path = tmp_path / "torn.jsonl"
    path.write_text("\n".join([*lines, lines[0]]))
    with pytest.raises(InputError, match=f"^{path}:6: more of s1"):
        read(path)


@pytest.mark.data
def test_the_published_example() -> None:
    rows = [json.loads(line) for line in WINDOW.read_text().splitlines()]
    sessions, left_out = read(WINDOW)
    turns = [turn for session in sessions for turn in session.turns]
    assert (len(sessions), len(turns), left_out) == (2, len(rows), [])
    assert [turn.prompt_tokens for turn in turns] == [row["input_tokens_total"] for row in rows]
    assert [turn.output_tokens for turn in turns] == [row["output_tokens"] for row in rows]
    by_human = [turn.delay_class == "human" for turn in turns if turn.after]
    assert by_human == [row["current_user_message_count"] > 0 for row in rows if row["round_index"]]
    # The first round's web search: from the end of the answer at 05:40:31.647 to its result at 05:40:50.938
    assert turns[1].delay_s == pytest.approx(19.291)
