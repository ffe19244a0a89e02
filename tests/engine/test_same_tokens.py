"""The native engine, vLLM and transformers give the same greedy tokens on the tiny model: they do the same work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3ForCausalLM
from vllm_asking import real_spec

from bench.accuracy import start_checked
from bench.core.clock import RealClock
from bench.core.spec import Spec
from bench.engine.vllm import VllmEngine
from bench.metrics.accuracy import judge

TINY = Path(__file__).parents[2] / "configs" / "models" / "tiny"
OUTPUT = 64
TIE = 0.25
"""In logits: two steps of bfloat16 between 16 and 32, where the tiny model's largest lie. Of tokens that are no further
apart in float32, an engine that computes in bfloat16 may give either."""
SPEC: dict[str, Any] = {
    "name": "same-tokens",
    "model": {"path": str(TINY)},
    "workload": {"kind": "reasoning", "sessions": 1},
    "load": {"kind": "closed", "concurrency": 1},
}


@pytest.fixture(scope="module")
def oracle() -> Qwen3ForCausalLM:
    return AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def prompts(client: Any) -> dict[str, tuple[int, ...]]:
    """Short ones, one that is computed in several chunks, and questions that are thought about before an answer."""
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    questions = ("What does os.path.join do?", "Name three colours, and one that is none.", "Add 17 to 25.")
    rendered = (
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=True
        )
        for question in questions
    )
    thinking = {f"question {number}": tuple(chat["input_ids"]) for number, chat in enumerate(rendered)}
    return {**{f"{length} tokens": client.prompt(length) for length in (1, 3, 17, 128, 700)}, **thinking}


@pytest.fixture(scope="module")
def expected(oracle: Qwen3ForCausalLM, prompts: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """What transformers says of each prompt in float32."""
    return {name: greedy(oracle, prompt) for name, prompt in prompts.items()}


@torch.inference_mode()
def greedy(oracle: Qwen3ForCausalLM, prompt: Sequence[int]) -> tuple[int, ...]:
    """The most likely next tokens, which EOS does not end."""
    feed, cache = torch.tensor([prompt]), None
    said: list[int] = []
    while len(said) < OUTPUT:
        step = oracle(feed, past_key_values=cache, use_cache=True)
        feed, cache = step.logits[:, -1:].argmax(-1), step.past_key_values
        said.append(int(feed))
    return tuple(said)


@torch.inference_mode()
def worst_choice(oracle: Qwen3ForCausalLM, prompt: Sequence[int], said: Sequence[int]) -> float:
    """How far below the largest logit, at most, a token lies that was said, after the very tokens before it."""
    logits = oracle(torch.tensor([[*prompt, *said]])).logits[0, len(prompt) - 1 : -1]
    chosen = logits.gather(-1, torch.tensor(said)[:, None]).squeeze(-1)
    return float((logits.amax(-1) - chosen).max())


def asked(client: Any, engine: Any, prompts: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """All at once."""
    requests = [client.request(prompt, OUTPUT) for prompt in prompts.values()]
    sinks = client.run(asyncio.wait_for(client.answer(engine, *requests), 120))
    return {name: sink.token_ids for name, sink in zip(prompts, sinks, strict=True)}


@pytest.mark.parametrize("changes", [{}, {"overlap": True}, {"speculation": {"kind": "ngram"}}], ids=str)
def test_the_native_engine_says_what_transformers_says(
    client: Any, prompts: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]], changes: dict[str, Any]
) -> None:
    engine = client.engine(TINY, dtype="float32", check_accuracy=False, **changes)
    client.run(engine.start())
    said = asked(client, engine, prompts)
    client.run(engine.stop())
    assert said == expected


def test_in_bfloat16_the_native_engine_differs_only_at_ties(
    client: Any, oracle: Qwen3ForCausalLM, prompts: dict[str, tuple[int, ...]]
) -> None:
    engine = client.engine(TINY, dtype="bfloat16", check_accuracy=False)
    client.run(engine.start())
    said = asked(client, engine, prompts)
    client.run(engine.stop())
    assert max(worst_choice(oracle, prompts[name], one) for name, one in said.items()) <= TIE


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_vllm_is_as_near_to_the_model_and_says_the_same(
    client: Any,
    oracle: Qwen3ForCausalLM,
    prompts: dict[str, tuple[int, ...]],
    expected: dict[str, tuple[int, ...]],
    dtype: str,
) -> None:
    section = real_spec(f"same-tokens-{dtype}", dtype=dtype, max_model_len=2048)
    spec = Spec.model_validate({**SPEC, "engine": section.model_dump()})
    engine = VllmEngine(section, TINY, clock=RealClock())
    starting = start_checked(engine, spec, TINY, clock=RealClock(), tell=lambda _: None)
    try:
        _, checked = client.run(asyncio.wait_for(starting, 420))
        said = asked(client, engine, prompts)
        accuracy = judge({**engine.describe(), "accuracy": checked})
    finally:
        client.run(engine.stop())
    assert (accuracy.status, accuracy.reason, accuracy.precision) == ("passed", None, dtype)
    if dtype == "float32":
        assert said == expected
    assert max(worst_choice(oracle, prompts[name], one) for name, one in said.items()) <= TIE
