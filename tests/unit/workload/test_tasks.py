"""Tasks are asked in their own words, with what tells whether the answer is correct."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bench.core.errors import InputError
from bench.core.sessions import Check
from bench.core.spec import TasksSpec
from bench.load.checks import passes
from bench.workload.wordless import wordless
from bench.workload.workload import Workload, build_workload

TASK = {"id": "sum", "prompt": "2 + 2?", "check": {"kind": "exact", "expected": "4"}, "max_tokens": 64}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.jsonl"


def written(path: Path, *changes: dict[str, Any]) -> Path:
    tasks = [{**TASK, **change} for change in changes]
    kept = [{key: value for key, value in task.items() if value is not None} for task in tasks]
    path.write_text("\n".join(json.dumps(task) for task in kept))
    return path


def build(path: Path, **settings: object) -> Workload:
    spec = TasksSpec.model_validate({"kind": "tasks", "path": str(path), **settings})
    return build_workload(spec, 1000, lambda text: len(text.split()))


def test_a_prompt_is_one_message_of_the_user(path: Path) -> None:
    (session,) = build(written(path, {})).sessions
    (turn,) = session.turns
    (segment,) = turn.prompt
    assert (session.id, turn.output_tokens, turn.check) == ("sum", 64, Check("exact", "4"))
    assert (segment.role, segment.text, segment.tokens) == ("user", "2 + 2?", 3)


def test_messages_keep_their_roles_and_equal_beginnings_are_shared(path: Path) -> None:
    system = {"role": "system", "content": "You are terse."}
    asked = [[system, {"role": "user", "content": text}] for text in ("One?", "Two?")]
    workload = build(
        written(path, *({"id": str(i), "prompt": None, "messages": messages} for i, messages in enumerate(asked)))
    )
    first, second = (session.turns[0].prompt for session in workload.sessions)
    assert [segment.role for segment in first] == ["system", "user"]
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_a_tool_call_may_be_expected_as_text_or_as_the_object(path: Path) -> None:
    call = {"name": "book", "arguments": {"seat": 12}}
    checks = [{"kind": "tool_call", "expected": expected} for expected in (call, json.dumps(call))]
    workload = build(written(path, *({"id": str(i), "check": check} for i, check in enumerate(checks))))
    answer = '{"name": "book", "arguments": {"seat": 12}}'
    kinds = [session.turns[0].check for session in workload.sessions]
    assert all(check is not None and passes(check, answer, 1) for check in kinds)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_tokens": 0}, "max_tokens = 0"),
        ({"max_tokens": None}, "'max_tokens' is missing"),
        ({"prompt": None}, "either prompt or messages"),
        ({"messages": [{"role": "user", "content": "x"}]}, "either prompt or messages"),
        ({"prompt": ""}, "prompt = ''"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"check": {"kind": "exact", "expected": {"a": 1}}}, "a text as expected"),
        ({"check": {"kind": "tool_call", "expected": "{"}}, "an object with name and arguments"),
        ({"check": {"kind": "tool_call", "expected": {"name": "book"}}}, "an object with name and arguments"),
        ({"check": {"kind": "taste", "expected": "good"}}, "check.kind = 'taste'"),
        ({"check": {"kind": "unit_test", "expected": "pass"}}, "allowed: workload.run_code: true"),
        ({"prompt": "again"}, "a second task with id 'sum'"),
    ],
)
def test_a_broken_task_is_told_by_its_line(path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        build(written(path, {}, change if "prompt" in change and len(change) == 1 else {"id": "b", **change}))
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_code_runs_only_where_the_suite_says_so(path: Path) -> None:
    change = {"check": {"kind": "unit_test", "expected": "pass"}}
    assert build(written(path, change), run_code=True).sessions[0].turns[0].check == Check("unit_test", "pass")


@pytest.mark.parametrize("settings", [{"length_mode": "pinned"}, {"token_scale": 0.5}])
def test_tasks_are_asked_as_they_are(path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        build(written(path, {}), **settings)


def test_our_own_tasks_are_whole_and_a_wrong_answer_fails_each() -> None:
    sessions = build(Path("arithmetic")).sessions
    assert len(sessions) == 20
    for session in sessions:
        check = session.turns[0].check
        assert check is not None
        assert passes(check, f"That makes\n{check.expected}.", 1)
        assert not passes(check, f"That makes\n1{check.expected}.", 1)


def test_a_file_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(InputError, match=r"no such task .*arithmetic"):
        build(Path("algebra"))


def test_without_its_words_a_task_is_as_long_and_of_the_same_roles(path: Path) -> None:
    messages = [{"role": "system", "content": "You are terse."}, {"role": "user", "content": "One and two?"}]
    (session,) = build(written(path, {"prompt": None, "messages": messages})).sessions
    ((turn,), (drawn,)) = (one.turns for one in (session, wordless(session)))
    assert [(s.tokens, s.role) for s in drawn.prompt] == [(s.tokens, s.role) for s in turn.prompt]
    assert {segment.text for segment in drawn.prompt} == {None}
    assert drawn.check is None
