"""vLLM itself on the tiny model: it says what our own engine says, and tells what it did."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
import uvloop
from vllm_asking import TINY, Asked, answer, begin, finish, has_ended, processes_marked, real_spec, request, started

from bench.core.clock import RealClock
from bench.core.protocols import Engine
from bench.core.sessions import Sampling
from bench.core.spec import NativeEngineSpec
from bench.engine.native import NativeEngine
from bench.engine.vllm import VllmEngine

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

_PROMPTS = [
    [draw.randrange(3, 2000) for _ in range(20 + 37 * seed)] for seed in range(6) for draw in [random.Random(seed)]
]
_TOKENS = 24


async def said(engine: Engine, prompts: list[list[int]], logprobs: int = 0) -> list[Asked]:
    asked = [await begin(engine, request(prompt, _TOKENS, logprobs=logprobs)) for prompt in prompts]
    await asyncio.gather(*map(finish, asked))
    return asked


async def native_says(prompts: list[list[int]]) -> list[list[int]]:
    spec = NativeEngineSpec(device="cpu", dtype="float32", check_accuracy=False, kv_cache_tokens=8192)
    engine = NativeEngine(spec, TINY, clock=RealClock())
    try:
        await engine.start()
        return [asked.token_ids for asked in await said(engine, prompts)]
    finally:
        await engine.stop()


def test_vllm_on_the_tiny_model(tmp_path: Path) -> None:
    """One start, which takes it most of a minute, for all that is asked."""

    async def run() -> None:
        expected = await native_says(_PROMPTS)
        spec = real_spec(str(tmp_path), dtype="float32", max_num_seqs=8, max_model_len=4096)
        # With a worker process, as on a GPU, for it has to end too.
        spec.environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"
        async with started(spec) as engine:
            assert engine.capabilities.max_context_tokens == 4096
            await _same_tokens_with_log_probabilities(engine, expected)
            await _cached_tokens(engine)
            await _a_seed_decides(engine)
            await _cancelled(engine)
            await _refused(engine)
            processes = processes_marked(str(tmp_path))
        _described(engine)
        # Ours, its engine core, that one's worker and a tracker of shared memory.
        assert len(processes) >= 4
        assert [pid for pid in processes if not await has_ended(pid)] == []

    uvloop.run(run())


async def _same_tokens_with_log_probabilities(engine: VllmEngine, expected: list[list[int]]) -> None:
    told = await said(engine, _PROMPTS, logprobs=3)
    assert [asked.token_ids for asked in told] == expected
    for asked in told:
        assert len(asked.logprobs) == _TOKENS
        for place in asked.logprobs:
            # Greedy: what was chosen is what is most likely.
            assert (place.token, place.logprob) == place.top[0]
            assert [logprob for _, logprob in place.top] == sorted((logprob for _, logprob in place.top), reverse=True)
            assert len(place.top) == 3


async def _cached_tokens(engine: VllmEngine) -> None:
    prompt = [7 + index % 900 for index in range(600)]
    _, first = await answer(engine, request(prompt, 4))
    _, again = await answer(engine, request(prompt, 4))
    # All whole blocks of 128 tokens.
    assert (first.cached_tokens, again.cached_tokens) == (0, 512)


async def _a_seed_decides(engine: VllmEngine) -> None:
    sampling = [Sampling(temperature=1.0, seed=seed, top_k=50, top_p=0.95, min_p=0.01) for seed in (1, 1, 2)]
    one, same, other = [(await answer(engine, request(_PROMPTS[0], 24, sampling=each)))[0] for each in sampling]
    assert one.token_ids == same.token_ids != other.token_ids
    biased = Sampling(logit_bias=((77, 100.0),), repetition_penalty=1.0)
    asked, _ = await answer(engine, request(_PROMPTS[0], 5, sampling=biased))
    assert asked.token_ids == [77] * 5


async def _cancelled(engine: VllmEngine) -> None:
    asked = await begin(engine, request(_PROMPTS[0], 3000))
    while not asked.chunks:
        await asyncio.sleep(0.01)
    assert asked.handle is not None
    await engine.cancel(asked.handle)
    assert (await finish(asked)).reason == "cancelled"
    _, after = await answer(engine, request(_PROMPTS[1], 4))
    assert after.reason == "length"
    assert engine.counters().running == 0


async def _refused(engine: VllmEngine) -> None:
    for asked, kind in ((request([1], 4, logprobs=21), "refused"), (request([1] * 4096, 4), "context_exceeded")):
        _, ended = await answer(engine, asked)
        assert (ended.error or "").startswith(f"{kind}: ")


def _described(engine: VllmEngine) -> None:
    described = engine.describe()
    assert (described["kind"], described["device"], described["dtype"]) == ("vllm", "cpu", "float32")
    assert described["accelerators"] == 0
    assert described["scheduling"]["max_num_seqs"] == 8
    assert described["kv_pool"]["block_tokens"] == 128
    assert Path(described["arguments"]["model"]) == TINY
    did = described["did"]
    assert did["scheduler"]["most_running"] >= len(_PROMPTS)
    assert did["prefix_cache"]["hit_tokens"] >= 512
    assert did["tokens"]["output_tokens"] > len(_PROMPTS) * _TOKENS
    assert did["graphs"]["share_of_steps"] == {"eager": 1.0}
