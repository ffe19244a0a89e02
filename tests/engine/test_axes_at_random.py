"""Axes put together at random, with some requests broken: whatever comes of it, the others say what the model says."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from neokernels.roofline import Ceilings

from bench.core.sessions import Sampling
from bench.core.spec import NativeEngineSpec
from bench.native.batch import Batch
from bench.native.core import EngineCore
from bench.native.kv_pool import KvPool
from bench.native.load import load_engine
from bench.native.messages import Ended, Submit
from bench.native.models.decoder import Decoder
from bench.native.settings import EngineSettings

SEEDS = range(60)
PREFIX = tuple(20 + 7 * i % 290 for i in range(33))
STEPS = 4000
"""Far more than any of these takes."""


@dataclass(frozen=True)
class Asked:
    prompt: tuple[int, ...]
    tokens: int
    cancelled_at: int | None
    """The step before which nobody waits for it any more."""


@dataclass
class Ran:
    said: dict[int, list[int]] = field(default_factory=dict)
    ended: dict[int, Ended] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)


def drawn_engine(draw: random.Random, draft_model: str) -> NativeEngineSpec:
    speculation = draw.choice(
        [
            None,
            None,
            {"kind": "ngram", "tokens": draw.randint(1, 5), "match_tokens": draw.randint(1, 4)},
            {"kind": "draft_model", "tokens": draw.randint(1, 5), "model": draft_model},
        ]
    )
    values = {
        "device": "cpu",
        "threads": 1,
        "check_accuracy": False,
        "max_running": draw.randint(1, 6),
        "step_tokens": draw.choice([1, 2, 5, 16, 64]),
        "policy": draw.choice(["static", "prefill_first", "decode_first", "latency_budget"]),
        "tpot_target_ms": draw.choice([0.001, 2, 1e6]),
        "admission": draw.choice(["worst_case", "optimistic"]),
        "prefix_cache": draw.random() < 0.7,
        "block_tokens": draw.choice([1, 4, 7, 16]),
        "kv_cache_tokens": draw.choice([30, 90, 120, 600]),
        "overlap": draw.random() < 0.5,
        "numerics": draw.choice(["fast", "batch_invariant"]),
        "speculation": speculation,
    }
    return NativeEngineSpec.model_validate(values)


def drawn_request(draw: random.Random, poison: int) -> Asked:
    prompt = PREFIX[: draw.choice([0, 5, 17, 33])] + tuple(draw.choices(range(20, 300), k=draw.randint(1, 12)))
    if draw.random() < 0.1:
        prompt += (poison, 30)
    return Asked(prompt, draw.randint(1, 16), draw.randrange(30) if draw.random() < 0.15 else None)


def run(core: EngineCore, requests: list[Asked], draw: random.Random) -> Ran:
    """Submit now and then, cancel where asked, and step until nothing is left; the books must balance all the while."""
    ran, waiting = Ran(), dict(enumerate(requests))
    for step in range(STEPS):
        while waiting and (not core.has_work or draw.random() < 0.4):
            index = next(iter(waiting))
            one = waiting.pop(index)
            if core.add(Submit(index, array("i", one.prompt), one.tokens, True, 0, Sampling())) is not None:
                ran.refused.add(index)
        for index, one in enumerate(requests):
            if one.cancelled_at == step and index not in waiting:
                core.remove(index)
        if core.has_work:
            result = core.step()
            for tokens in result.tokens:
                ran.said.setdefault(tokens.id, []).extend(tokens.token_ids)
            ran.ended |= {ended.id: ended for ended in result.ended}
            assert core._scheduler.integrity_errors() == []
        elif not waiting:
            return ran
    pytest.fail(f"still at work after {STEPS} steps")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_request_is_answered_as_the_model_would_or_fails_for_a_reason(
    small_model: Any, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    draw = random.Random(seed)
    spec = drawn_engine(draw, str(small_model.folder))
    requests = [drawn_request(draw, small_model.poison) for _ in range(draw.randint(1, 10))]
    monkeypatch.setattr("bench.native.load.measure_ceilings", lambda *_: Ceilings(1.0, 1.0))
    core = load_engine(small_model.folder, EngineSettings.of(spec.model_dump(exclude={"kind"}))).core
    forward, no_memory = Decoder.forward, draw.choice([0.0, 0.0, 0.05])
    steps = random.Random(seed)  # of its own: it is the device's thread that draws

    def forward_or_not(self: Decoder, batch: Batch, kv: KvPool) -> torch.Tensor:
        if steps.random() < no_memory:
            raise torch.OutOfMemoryError
        return forward(self, batch, kv)

    monkeypatch.setattr(Decoder, "forward", forward_or_not)
    ran = run(core, requests, draw)
    assert core.counters().kv_blocks_used == core.counters().running == 0
    for index, one in enumerate(requests):
        if index in ran.refused or one.cancelled_at is not None:
            continue
        ended = ran.ended[index]
        kind = (ended.error or "").partition(":")[0]
        whole = "not_a_number" if small_model.poison in one.prompt else ""
        assert kind == whole or (no_memory and kind == "out_of_memory")
        if not kind:
            assert tuple(ran.said[index]) == small_model.greedy(one.prompt, one.tokens)
