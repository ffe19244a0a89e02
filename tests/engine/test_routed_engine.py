"""A routed model with windows through the whole engine: the model's tokens, and what each step says of its experts."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GptOssConfig, GptOssForCausalLM

from bench.core.records import StepRow
from bench.core.sessions import Sampling
from bench.core.spec import NativeEngineSpec
from bench.native.load import load_engine
from bench.native.messages import Submit
from bench.native.settings import EngineSettings

LAYERS, EXPERTS, PER_TOKEN, OUTPUT = 3, 6, 2, 20
PREFIX = tuple(range(40, 70))
PROMPTS = [(7,), (*PREFIX, 5, 9), (*PREFIX, 11, 3, 8)]


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GptOssForCausalLM]:
    config = GptOssConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_local_experts=EXPERTS,
        num_experts_per_tok=PER_TOKEN,
        sliding_window=12,
        initializer_range=0.3,
        max_position_embeddings=256,
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = GptOssForCausalLM(config).eval()
        for name, parameter in model.named_parameters():
            if name.endswith(("sinks", "bias")):
                parameter.data.normal_(0, 0.2)
    folder = tmp_path_factory.mktemp("routed")
    model.save_pretrained(folder)
    return folder, model


@torch.inference_mode()
def greedy(oracle: GptOssForCausalLM, prompt: tuple[int, ...]) -> list[int]:
    tokens = list(prompt)
    while len(tokens) < len(prompt) + OUTPUT:
        tokens.append(int(oracle(torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize(
    "axes",
    [{}, {"overlap": True}, {"speculation": {"kind": "ngram"}}, {"numerics": "batch_invariant"}],
    ids=["plain", "overlap", "ngram", "batch-invariant"],
)
def test_tokens_and_experts_of_every_step(routed: tuple[Path, GptOssForCausalLM], axes: dict[str, Any]) -> None:
    folder, oracle = routed
    values = {"device": "cpu", "threads": 1, "step_tokens": 16, "block_tokens": 4, "kv_cache_tokens": 400, **axes}
    spec = NativeEngineSpec.model_validate(values)
    core = load_engine(folder, EngineSettings.of(spec.model_dump(exclude={"kind"}))).core
    said: dict[int, list[int]] = {i: [] for i in range(len(PROMPTS))}
    rows: list[StepRow] = []
    for i, prompt in enumerate(PROMPTS):
        assert core.add(Submit(i, array("i", prompt), OUTPUT, True, 0, Sampling())) is None
        while core.has_work:
            step = core.step()
            rows += [step.row] if step.row else []
            for tokens in step.tokens:
                said[tokens.id] += tokens.token_ids
    assert said == {i: greedy(oracle, prompt) for i, prompt in enumerate(PROMPTS)}
    for row in rows:
        most = [min(EXPERTS, PER_TOKEN * tokens) for tokens in (row.prefill_tokens + row.decode_tokens, row.logit_rows)]
        assert row.experts_touched is not None
        # The last layer computes those rows alone that get logits.
        assert row.experts_touched <= (LAYERS - 1) * most[0] + most[1]
        if row.prefill_tokens + row.decode_tokens == row.logit_rows == 1:
            assert row.experts_touched == LAYERS * PER_TOKEN
