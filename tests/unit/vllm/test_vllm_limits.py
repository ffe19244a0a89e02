"""What is known of vLLM before it starts: how long a context it serves, and what ends a model's thinking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import InputError
from bench.core.spec import ReasoningSpec, VllmEngineSpec
from bench.engine.vllm_limits import asked_context_tokens, refuse_unheeded_budget


@pytest.mark.parametrize(
    ("arguments", "config", "tokens"),
    [
        ({"max_model_len": 512}, {}, 512),
        ({"max_model_len": -1}, {"max_position_embeddings": 4096}, 4096),
        ({"max_model_len": "8k"}, {"max_position_embeddings": 4096}, 4096),
        ({}, {"n_positions": 1024}, 1024),
        ({}, {"text_config": {"max_position_embeddings": 2048}}, 2048),
    ],
)
def test_the_context_is_what_is_asked_or_the_models(
    arguments: dict[str, Any], config: dict[str, Any], tokens: int, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert asked_context_tokens(arguments, tmp_path) == tokens


def budgeted(length_mode: str, budget: int | None) -> ReasoningSpec:
    return ReasoningSpec(kind="reasoning", sessions=1, length_mode=length_mode, thinking_budget=budget)


def test_a_budget_that_vllm_would_not_heed_is_refused() -> None:
    untold = VllmEngineSpec(kind="vllm")
    with pytest.raises(InputError, match=r"^case: vLLM heeds workload.thinking_budget only where .* reasoning_parser"):
        refuse_unheeded_budget(untold, budgeted("free", 64), "case")
    refuse_unheeded_budget(untold, budgeted("free", None), "case")
    refuse_unheeded_budget(untold, budgeted("pinned", 64), "case")
    for argument in ("reasoning_parser", "reasoning_config"):
        told = VllmEngineSpec(kind="vllm", arguments={argument: "qwen3"})
        refuse_unheeded_budget(told, budgeted("free", 64), "case")
