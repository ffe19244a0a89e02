"""The fixed workload: every session is one turn of exactly the size the suite names."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import InputError
from bench.core.spec import FixedSpec
from bench.core.suite import load_suite
from bench.workload.workload import Workload, build_workload

SUITE = """
base:
  model: {path: tiny}
  load: {kind: closed, concurrency: 2}
specs:
  - name: shape
    workload: {kind: fixed, sessions: 3, prompt_tokens: 128, output_tokens: 64}
"""


def build(max_context_tokens: int = 4096, **settings: object) -> Workload:
    sizes = {"kind": "fixed", "sessions": 3, "prompt_tokens": 128, "output_tokens": 64}
    return build_workload(FixedSpec.model_validate({**sizes, **settings}), max_context_tokens)


def test_every_session_is_one_turn_of_the_size_asked() -> None:
    workload = build(thinking_tokens=48)
    turns = [session.turns for session in workload.sessions]
    assert [[(t.prompt_tokens, t.output_tokens, t.thinking_tokens) for t in own] for own in turns] == [
        [(128, 64, 48)]
    ] * 3
    assert (workload.source.input_tokens, workload.source.output_tokens) == (3 * 128, 3 * 64)
    assert len({session.id for session in workload.sessions}) == 3


@pytest.mark.parametrize(("shared_tokens", "own_tokens"), [(0, 128), (100, 28), (128, 0)])
def test_prompts_share_the_prefix_asked_and_nothing_else(shared_tokens: int, own_tokens: int) -> None:
    prompts = [session.turns[0].prompt for session in build(shared_prefix_tokens=shared_tokens).sessions]
    shared = set.intersection(*map(set, prompts))
    assert sum(segment.tokens for segment in shared) == shared_tokens
    for prompt in prompts:
        assert sum(segment.tokens for segment in prompt if segment not in shared) == own_tokens
        assert all(segment in shared for segment in prompt[: len(shared)])


def test_sizes_scale_and_must_fit_the_context() -> None:
    (turn,) = build(token_scale=0.5, sessions=1).sessions[0].turns
    assert (turn.prompt_tokens, turn.output_tokens) == (64, 32)
    with pytest.raises(InputError, match="workload: no session can be used: 3 rows longer than the model's context"):
        build(max_context_tokens=191)


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("workload.prompt_tokens=0", "workload.prompt_tokens = 0 (allowed: greater than 0)"),
        ("workload.thinking_tokens=64", "workload.thinking_tokens = 64 (allowed: fewer than output_tokens"),
        ("workload.shared_prefix_tokens=129", "workload.shared_prefix_tokens = 129 (allowed: at most prompt_tokens"),
        ("workload.profile=agentic", "unknown key 'workload.profile' (allowed: length_mode, "),
    ],
)
def test_sizes_that_cannot_be_are_told_in_one_line(tmp_path: Path, setting: str, line: str) -> None:
    path = tmp_path / "shape.yaml"
    path.write_text(SUITE)
    with pytest.raises(InputError) as caught:
        load_suite(str(path), sets=(setting,))
    assert line in str(caught.value)
