"""The native engine through its process, as the driver uses it: what it says is what transformers says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from bench.core.sessions import Sampling
from bench.node.fingerprint import fingerprint

TINY = Path(__file__).parents[2] / "configs" / "models" / "tiny"
PROMPT_LENGTHS = (1, 3, 16, 17, 40, 61, 90, 128)


def test_start_tells_its_phases_and_what_it_resolved(client: Any, small_model: Any) -> None:
    engine = client.engine(small_model.folder, kv_cache_tokens=100)
    assert engine.capabilities.max_context_tokens == small_model.context_tokens
    startup = client.run(engine.start())
    assert startup.load_s is not None
    assert startup.first_token_s is not None
    assert 0 < startup.load_s + startup.first_token_s < startup.total_s
    assert engine.capabilities.max_context_tokens == 112
    described = engine.describe()
    assert (described["device"], described["accelerators"], described["accelerator_ids"]) == ("cpu", 0, [])
    assert described["dtype"] == "float32"
    assert described["threads"] == 1
    assert "startup" not in described
    assert described["policy"] == "decode_first"
    assert described["kv_dtype"] == "float32"
    assert described["kv_pool"] == {"blocks": 7, "block_tokens": 16, "tokens": 112, "bytes": 112 * 512}
    assert described["parameter_bytes"] == sum(p.nbytes for p in small_model.oracle.parameters())
    assert {"paged_attention", "sample"} <= {kernel["operation"] for kernel in described["kernels"]}
    # The first token is no part of the run.
    assert (engine.counters().prompt_tokens, engine.counters().output_tokens) == (0, 0)
    client.run(engine.stop())
    assert engine.step_log.take() == []


@pytest.mark.gpu
def test_the_gpu_it_names_is_one_of_the_fingerprints(client: Any, small_model: Any) -> None:
    engine = client.engine(small_model.folder, device="cuda")
    client.run(engine.start())
    described = engine.describe()
    client.run(engine.stop())
    assert described["accelerators"] == len(described["accelerator_ids"]) == 1
    assert described["accelerator_ids"][0] in [device["id"] for device in fingerprint()["gpu"]["devices"]]


def test_greedy_tokens_are_those_of_transformers_alone_and_in_a_mixed_batch(
    client: Any, engine: Any, small_model: Any
) -> None:
    prompts = [client.prompt(length) for length in PROMPT_LENGTHS]
    expected = [small_model.greedy(prompt, 64) for prompt in prompts]
    alone = [client.run(client.answer(engine, client.request(prompt)))[0].token_ids for prompt in prompts]
    together = client.run(client.answer(engine, *(client.request(prompt) for prompt in prompts)))
    assert alone == expected
    assert [sink.token_ids for sink in together] == expected
    assert {sink.ended.reason for sink in together} == {"length"}


def test_the_tiny_model_says_what_it_says_under_transformers(client: Any) -> None:
    oracle = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval()
    engine = client.engine(TINY)
    client.run(engine.start())
    prompts = [client.prompt(length) for length in PROMPT_LENGTHS]
    together = client.run(client.answer(engine, *(client.request(prompt) for prompt in prompts)))
    client.run(engine.stop())
    for prompt, sink in zip(prompts, together, strict=True):
        context = torch.tensor([(*prompt, *sink.token_ids)])
        said = oracle(context).logits[0, len(prompt) - 1 : -1].argmax(-1)
        assert sink.token_ids == tuple(said.tolist())


def test_chunks_are_stamped_by_the_engine_and_then_on_arrival(client: Any, engine: Any) -> None:
    (sink,) = client.run(client.answer(engine, client.request(client.prompt(20), 12)))
    assert [chunk.n_tokens for chunk in sink.chunks] == [1] * 12
    stamps = [(chunk.t_engine_ns, chunk.t_ns) for chunk in sink.chunks]
    assert all(sent <= arrived for sent, arrived in stamps)
    assert stamps == sorted(stamps)
    assert (sink.ended.cached_tokens, sink.ended.error) == (0, None)


def test_the_same_seed_draws_the_same_tokens_whoever_shares_the_batch(client: Any, engine: Any) -> None:
    drawn = client.request(client.prompt(9), sampling=Sampling(temperature=0.8, seed=41))
    (alone,) = client.run(client.answer(engine, drawn))
    others = [client.request(client.prompt(length), sampling=Sampling(1.0, seed=length)) for length in PROMPT_LENGTHS]
    *_, shared = client.run(client.answer(engine, *others, drawn))
    (reseeded,) = client.run(
        client.answer(engine, client.request(client.prompt(9), sampling=Sampling(temperature=0.8, seed=42)))
    )
    assert shared.token_ids == alone.token_ids
    assert reseeded.token_ids != alone.token_ids


def test_a_turn_that_cannot_be_served_fails_and_the_others_go_on(client: Any, engine: Any, small_model: Any) -> None:
    fine, too_long, empty, poisoned = client.run(
        client.answer(
            engine,
            client.request(client.prompt(30)),
            client.request(client.prompt(small_model.context_tokens)),
            client.request(()),
            client.request((5, small_model.poison)),
        )
    )
    assert fine.token_ids == small_model.greedy(client.prompt(30), 64)
    for sink, error in (
        (too_long, "context_exceeded: 512 prompt and 64 output tokens in a context of 512"),
        (empty, "empty_request: 0 prompt and 64 output tokens"),
        (poisoned, "not_a_number: the model's logits are not finite"),
    ):
        assert (sink.chunks, sink.ended.reason, sink.ended.error) == ([], "failed", error)


def test_counters_and_step_log_add_up(client: Any, small_model: Any) -> None:
    engine = client.engine(small_model.folder, max_running=2)
    client.run(engine.start())
    sinks = client.run(client.answer(engine, *(client.request(client.prompt(length), 10) for length in PROMPT_LENGTHS)))
    log = client.run(engine.stop())
    rows = log.take()
    assert sum(row.prefill_tokens for row in rows) == sum(PROMPT_LENGTHS) == engine.counters().prompt_tokens
    assert sum(len(sink.token_ids) for sink in sinks) == 10 * len(sinks) == engine.counters().output_tokens
    assert max(row.requests for row in rows) == 2
    assert [row.t_ns for row in rows] == sorted(row.t_ns for row in rows)
    assert log.take() == []
