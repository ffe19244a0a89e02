"""ShareGPT, tau-bench and AIPerf: recorded words become turns whose histories grow word for word."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.core.sessions import Message, Role, Session, Turn
from bench.workload.stream import LeftOut
from bench.workload.traces.conversation import History, recorded_turns
from bench.workload.traces.format import Reading
from bench.workload.traces.importer import open_trace, recognise

FIXTURES = Path(__file__).parents[2] / "fixtures" / "traces"
SHAREGPT = FIXTURES / "sharegpt.json"
TAU_BENCH = FIXTURES / "tau_bench.jsonl"
MULTI_TURN = FIXTURES / "aiperf_multi_turn.jsonl"
SINGLE_TURN = FIXTURES / "aiperf_single_turn.jsonl"
WORDS = Reading(count_tokens=lambda text: len(text.split()))


def read(path: Path) -> tuple[list[Session], list[LeftOut]]:
    items = list(open_trace(path, WORDS).items)
    return [i for i in items if isinstance(i, Session)], [i for i in items if isinstance(i, LeftOut)]


def said(turn: Turn) -> list[tuple[str, str | None]]:
    return [(segment.role, segment.text) for segment in turn.prompt]


def keys(turn: Turn) -> list[str]:
    return [segment.key for segment in turn.prompt]


def test_formats_are_recognised_by_their_content() -> None:
    assert [recognise(path).name for path in (SHAREGPT, TAU_BENCH)] == ["sharegpt", "tau-bench"]
    assert [recognise(path).name for path in (MULTI_TURN, SINGLE_TURN)] == ["aiperf", "aiperf"]


def test_sharegpt_answers_are_turns_with_all_that_was_said_before() -> None:
    (first, second, third), left_out = read(SHAREGPT)
    assert [turn.output_tokens for turn in first.turns] == [9, 6]
    assert [turn.prompt_tokens for turn in first.turns] == [11, 11 + 9 + 5]
    assert said(first.turns[1])[2:] == [
        ("assistant", "Keys and values kept for prompts that begin alike."),
        ("user", "And what evicts from it?"),
    ]
    assert [(turn.after, turn.delay_s, turn.delay_class) for turn in first.turns] == [
        ((), 0, "none"),
        ((0,), 0, "none"),
    ]
    assert len({session.id for session in (first, second, third)}) == 3
    # An unanswered "Thank you!", and an answer that nothing asked for, which is nobody's history
    assert left_out == [LeftOut("no output tokens", 1), LeftOut("no prompt tokens", 1)]
    assert [(said(turn), turn.output_tokens) for turn in third.turns] == [([("user", "Continue.")], 4)]


def test_system_prompts_are_shared_by_sessions_and_nothing_else_is() -> None:
    (first, second, _), _ = read(SHAREGPT)
    assert said(first.turns[0]) == said(second.turns[0])
    assert keys(first.turns[0])[0] == keys(second.turns[0])[0]
    assert not set(keys(first.turns[0])[1:]) & set(keys(second.turns[0]))
    assert keys(first.turns[1])[:2] == keys(first.turns[0])


def test_tau_bench_messages_of_the_agent_are_turns_tools_included() -> None:
    (first, second), left_out = read(TAU_BENCH)
    assert (first.id, second.id, left_out) == ("task-4/trial-0", "task-4/trial-1", [])
    call, result = said(first.turns[1])[2:]
    assert call[0] == "assistant"
    assert json.loads(call[1] or "") == {"name": "find_trains", "arguments": {"to": "Bergen"}}
    assert result == ("tool", '[{"train": 61, "leaves": "08:25"}]')
    assert [turn.output_tokens for turn in first.turns] == [4, 9]
    assert len(second.turns) == 1
    assert keys(second.turns[0])[0] == keys(first.turns[0])[0]


def test_aiperf_answers_between_turns_are_known_by_length_alone() -> None:
    (one, _), left_out = read(MULTI_TURN)
    assert said(one.turns[2]) == [
        ("user", "Name three rivers of Norway."),
        ("assistant", None),
        ("user", "Which is longest?\nIn kilometres."),
        ("assistant", None),
        ("tool", '{"length_km": 621}'),
    ]
    assert [segment.tokens for segment in one.turns[2].prompt] == [5, 30, 5, 12, 2]
    assert [(turn.delay_s, turn.delay_class) for turn in one.turns] == [(0, "none"), (1.5, "human"), (0.25, "tool")]
    assert LeftOut("of sessions with images, audio or video, whose tokens are not told", 2) in left_out


def test_aiperf_turns_without_a_length_hand_their_delay_on() -> None:
    (_, two), left_out = read(MULTI_TURN)
    assert LeftOut("no output tokens", 1) in left_out
    assert [(turn.output_tokens, turn.delay_s) for turn in two.turns] == [(25, 0), (15, 13)]
    assert said(two.turns[1])[1:] == [("assistant", None), ("user", "And of Sweden?"), ("user", "Of Finland, then.")]


def test_aiperf_sessions_arrive_at_their_first_timestamp() -> None:
    assert [session.arrival_s for session in read(MULTI_TURN)[0]] == [0.0, 2.5]
    assert [session.arrival_s for session in read(SINGLE_TURN)[0]] == [0.0, 0.25]


MESSAGES = st.lists(
    st.builds(
        Message, st.sampled_from(["system", "user", "assistant", "tool"]), st.sampled_from(["", "a", "b c", "d"])
    ),
    max_size=10,
)


@given(st.lists(MESSAGES, min_size=2, max_size=4))
def test_keys_are_equal_exactly_where_histories_are(conversations: list[list[Message]]) -> None:
    heard: dict[str, tuple[tuple[Role, str], ...]] = {}
    for messages in conversations:
        history = History("one session", WORDS.count_tokens)
        for place, message in enumerate(messages, start=1):
            before = len(history.prompt)
            history.say(message)
            if len(history.prompt) > before:
                so_far = tuple((m.role, m.text) for m in messages[:place])
                assert heard.setdefault(history.prompt[-1].key, so_far) == so_far
    assert len(set(heard.values())) == len(heard)


@given(MESSAGES)
def test_each_turn_continues_the_one_before(messages: list[Message]) -> None:
    turns = recorded_turns(messages, History("s", WORDS.count_tokens))
    for earlier, later in pairwise(turns):
        assert later.prompt[: len(earlier.prompt)] == earlier.prompt
        assert later.after == (earlier.index,)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"conversations": [{"from": "narrator", "value": "Once"}]}', "from = 'narrator'"),
        ('{"conversations": [{"from": "human"}]}', "value"),
        ('{"conversations": [{"from": "human", "value": 7}]}', "str"),
        ('[{"conversations": [{"from": "human", "value": "\\ud83d"}]}]', "half a surrogate pair"),
        ('{"task_id": 1, "traj": [{"role": "narrator"}]}', "role"),
        ('{"task_id": 1, "traj": []}\n{"task_id": 1, "traj": []}', "a second task-1/trial-0"),
        ('{"task_id": 1, "traj": {}}', "array"),
        ('{"text": "a", "output_length": -1}', "output_length"),
        ('{"text": "a", "output_length": 1e99}', "output_length"),
        ('{"text": "a", "output_length": 1.5}', "output_length"),
        ('{"session_id": "s", "turns": [{"text": "a", "delay": -1}]}', "delay"),
        ('{"session_id": "s", "turns": [{"text": "a"}]}\n{"session_id": "s", "turns": []}', "a second session-s"),
        ('{"text": "a", "timestamp": 9}\n{"text": "a", "timestamp": 8}', "before the row above it"),
    ],
)
def test_mistakes_are_told_by_their_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises(InputError, match=f"^{path}:{1 + text.count(chr(10))}: ") as raised:
        list(open_trace(path, WORDS).items)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
