"""Profiles: every mistake in one is told by its file and place, and every number says where it is from."""

from __future__ import annotations

from pathlib import Path

import pytest
from profile_fit import rewritten

from bench.core.configs import names
from bench.core.errors import InputError
from bench.workload.agentic_profile import AgenticProfile
from bench.workload.profile import (
    ChatProfile,
    CodeCompletionProfile,
    MultimodalProfile,
    Profile,
    RagProfile,
    ReasoningProfile,
    load_profile,
)

PROFILES: dict[str, type[Profile]] = {
    "agentic": AgenticProfile,
    "chat": ChatProfile,
    "code_completion": CodeCompletionProfile,
    "long_document": RagProfile,
    "multi_agent": AgenticProfile,
    "multimodal": MultimodalProfile,
    "rag": RagProfile,
    "reasoning": ReasoningProfile,
}


def test_every_profile_that_ships_is_one() -> None:
    assert names("workloads") == sorted(PROFILES)
    for name, kind in PROFILES.items():
        profile = load_profile(name, kind)
        assert all(source.licence in profile.attribution for source in profile.sources.values())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "agentic"}, "kind = 'agentic'"),
        ({"input_tokens": {"source": "servegen", "quantiles": {0.1: 9, 0.5: 3}}}, "values that never fall"),
        ({"input_tokens": {"source": "nobody", "quantiles": {0.5: 3}}}, "input_tokens.source = 'nobody'"),
        ({"thinking_share": {"source": "servegen", "quantiles": {0.5: 3}}}, "shares of at most 1"),
        ({"sources": {}}, "sources = {}"),
        ({"colour": 1}, "unknown key 'colour'"),
    ],
)
def test_a_broken_profile_is_told_by_file_and_place(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    path = rewritten(tmp_path, "reasoning", **fields)
    with pytest.raises(InputError) as caught:
        load_profile(path, ReasoningProfile)
    assert str(caught.value).startswith(path)
    assert message in str(caught.value)


def test_a_profile_that_does_not_exist_is_told_with_those_that_do() -> None:
    with pytest.raises(InputError, match="agentic, chat, code_completion"):
        load_profile("resoning", ReasoningProfile)
