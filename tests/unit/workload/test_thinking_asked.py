"""How hard models are asked to think: shares of the requests, and budgets."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from bench.core.sessions import Session
from bench.core.spec import AgenticSpec, FixedSpec, ReasoningSpec
from bench.workload.workload import build_workload


def reasoning(**fields: Any) -> tuple[Session, ...]:
    spec = ReasoningSpec.model_validate({"kind": "reasoning", "sessions": 4000, **fields})
    return build_workload(spec, 10**6).sessions


def test_nothing_is_said_unless_asked_for() -> None:
    assert {(s.turns[0].effort, s.turns[0].thinking_budget) for s in reasoning(sessions=9)} == {(None, None)}


def test_efforts_have_their_shares() -> None:
    efforts = Counter(session.turns[0].effort for session in reasoning(effort={"high": 3, "low": 1, "minimal": 0}))
    assert efforts.keys() == {"low", "high"}
    assert efforts["high"] / 4000 == pytest.approx(0.75, abs=0.035)


def test_the_turns_of_a_session_are_asked_each_by_itself() -> None:
    spec = AgenticSpec(kind="agentic", sessions=20, effort={"low": 1, "high": 1})
    efforts = [Counter(turn.effort for turn in session.turns) for session in build_workload(spec, 10**6).sessions]
    assert sum(len(of_session) == 2 for of_session in efforts) > 15


def test_the_effort_of_a_request_does_not_depend_on_which_others_are_asked() -> None:
    everything = {s.id: s.turns[0].effort for s in reasoning(effort={"low": 1, "high": 1})}
    spec = ReasoningSpec(kind="reasoning", sessions=4000, effort={"high": 1, "low": 1})
    short = build_workload(spec, 1000).sessions
    assert 100 < len(short) < 3000
    assert all(session.turns[0].effort == everything[session.id] for session in short)


@pytest.mark.parametrize("effort", [{"low": 0}, {"low": -1}, {"lots": 1}, {"low": float("nan")}])
def test_shares_that_are_none_are_refused(effort: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        ReasoningSpec.model_validate({"kind": "reasoning", "sessions": 1, "effort": effort})


def test_a_budget_cuts_thinking_that_is_pinned_and_keeps_the_answer() -> None:
    plain, budgeted = reasoning(), reasoning(thinking_budget=200)
    for one, other in zip(plain, budgeted, strict=True):
        before, after = one.turns[0], other.turns[0]
        assert after.thinking_tokens == min(200, before.thinking_tokens)
        assert after.output_tokens - after.thinking_tokens == before.output_tokens - before.thinking_tokens
        assert after.thinking_budget is None
    assert build_workload(ReasoningSpec(kind="reasoning", sessions=9), 10**6).digest != (
        build_workload(ReasoningSpec(kind="reasoning", sessions=9, thinking_budget=1), 10**6).digest
    )


def test_a_budget_is_told_to_the_engine_where_lengths_are_free() -> None:
    plain, budgeted = reasoning(length_mode="free"), reasoning(length_mode="free", thinking_budget=200)
    assert [s.turns[0].output_tokens for s in plain] == [s.turns[0].output_tokens for s in budgeted]
    assert {session.turns[0].thinking_budget for session in budgeted} == {200}


def test_a_budget_counts_tokens_as_they_are_asked() -> None:
    spec = FixedSpec(
        kind="fixed", sessions=1, prompt_tokens=10, output_tokens=1000, thinking_tokens=900, token_scale=0.5,
        thinking_budget=100,
    )  # fmt: skip
    (turn,) = build_workload(spec, 10**6).sessions[0].turns
    assert (turn.thinking_tokens, turn.output_tokens) == (100, 150)
