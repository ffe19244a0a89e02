"""`numerics: batch_invariant`: what a request is answered does not depend on who shares its steps.

Each composition computes one request of a small random Qwen3 beside others, which are drawn anew, as are the chunks its
prompt is cut into, the order within a step, rows that only fill it, the blocks it gets, and how much of its prompt was
computed for another request before. Its logits are compared bit by bit with those of the request alone.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from neokernels.cpu import library
from neokernels.registry import Registry, Target
from torch import Tensor
from transformers import DeepseekV3Config, GptOssConfig, PreTrainedConfig, Qwen3MoeConfig

from bench.core.sessions import Sampling
from bench.core.spec import NativeEngineSpec
from bench.native.batch import BatchItem, HostBatch
from bench.native.core import EngineCore
from bench.native.kv_pool import KvPool
from bench.native.load import load_engine
from bench.native.messages import Submit
from bench.native.models import load_model
from bench.native.models.decoder import Decoder
from bench.native.settings import EngineSettings

BLOCK_TOKENS = 4
BLOCKS_EACH = 24
MOST_OTHERS = 7
PROMPT = tuple(20 + (13 * i * i) % 290 for i in range(61))
ANSWER = (7, 300, 41, 41, 199, 88)
"""What is fed back after the prompt, whatever is most likely: every step is compared, not only those before a slip."""


SHAPE: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_experts_per_tok": 3,
    "eos_token_id": None,
}
FAMILIES: tuple[PreTrainedConfig, ...] = (
    Qwen3MoeConfig(
        **SHAPE,
        architectures=["Qwen3MoeForCausalLM"],
        num_key_value_heads=2,
        head_dim=16,
        num_experts=8,
        moe_intermediate_size=32,
        norm_topk_prob=True,
    ),
    GptOssConfig(
        **SHAPE,
        architectures=["GptOssForCausalLM"],
        num_key_value_heads=2,
        head_dim=16,
        num_local_experts=6,
        sliding_window=16,
    ),
    DeepseekV3Config(
        **SHAPE,
        architectures=["DeepseekV3ForCausalLM"],
        num_key_value_heads=4,
        kv_lora_rank=24,
        q_lora_rank=20,
        qk_nope_head_dim=16,
        qk_rope_head_dim=8,
        v_head_dim=12,
        moe_intermediate_size=32,
        n_routed_experts=8,
        n_group=4,
        topk_group=2,
        first_k_dense_replace=1,
    ),
)
"""What the other families differ in: routed experts, windows and sinks, latents."""


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def without_kernels_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "unavailable", lambda: "left out by the test")


class Composer:
    """Computes `PROMPT` and `ANSWER` in the company it is told to draw."""

    def __init__(self, folder: Path, *, random_seed: int | None = None, **target: Any) -> None:
        asked = {"dtype": torch.float32, "numerics": "batch_invariant", **target}
        self._target = Target(torch.device("cpu"), **asked)
        self._model: Decoder = load_model(folder, self._target, Registry(), random_seed)

    def alone(self) -> Tensor:
        """Logits after the prompt and after each token of the answer, [1 + answer, V]; the prompt in one chunk."""
        table = list(range(BLOCKS_EACH))
        pool = self._pool()
        logits = [self._step(pool, [BatchItem(PROMPT, 0, table)])]
        for place, token in enumerate(ANSWER, start=len(PROMPT)):
            logits.append(self._step(pool, [BatchItem([token], place, table)]))
        return torch.cat(logits)

    def shared(self, draw: random.Random) -> Tensor:
        """The same logits, in drawn company."""
        blocks = draw.sample(range(BLOCKS_EACH * (MOST_OTHERS + 2)), BLOCKS_EACH * (MOST_OTHERS + 2))
        tables = [blocks[i : i + BLOCKS_EACH] for i in range(0, len(blocks), BLOCKS_EACH)]
        pool = self._pool()
        computed = 0
        if draw.random() < 0.3:
            computed = draw.randrange(1, len(PROMPT) // BLOCK_TOKENS) * BLOCK_TOKENS
            twin = [*PROMPT[:computed], *draw.choices(range(20, 300), k=draw.randrange(9))]
            self._step(pool, self._beside(BatchItem(twin, 0, tables[0]), tables, draw)[0])
        tokens, logits = (*PROMPT, *ANSWER), []
        while computed < len(tokens):
            left = len(PROMPT) - computed
            count = draw.choice([1, draw.randint(1, left), left]) if left > 0 else 1
            item = BatchItem(tokens[computed : computed + count], computed, tables[0])
            items, mine = self._beside(item, tables, draw)
            computed += count
            result = self._step(pool, items, padding=draw.choice([0, 0, 1, 13]))
            if computed >= len(PROMPT):
                logits.append(result[mine : mine + 1])
        return torch.cat(logits)

    def _beside(self, item: BatchItem, tables: list[list[int]], draw: random.Random) -> tuple[list[BatchItem], int]:
        """`item` among others, and its place."""
        others = []
        for table in draw.sample(tables[1:], draw.randrange(MOST_OTHERS + 1)):
            count = draw.choice([1, 1, draw.randint(1, 60)])
            # What lies in the cache before them is whatever was written there last: only sizes matter.
            start = draw.randrange(BLOCKS_EACH * BLOCK_TOKENS - count)
            others.append(BatchItem(draw.choices(range(20, 300), k=count), start, table))
        mine = draw.randint(0, len(others))
        return [*others[:mine], item, *others[mine:]], mine

    def _step(self, pool: KvPool, items: list[BatchItem], padding: int = 0) -> Tensor:
        batch = HostBatch.of(items, BLOCK_TOKENS)
        if padding:
            batch = batch.padded(len(batch.token_ids) + padding, len(items) + padding, len(items) + padding)
        return self._model.forward(batch.on(self._target.device), pool)

    def _pool(self) -> KvPool:
        dtype = self._target.kv_dtype or self._target.dtype
        pool = KvPool(
            self._model.cache_shape, BLOCKS_EACH * (MOST_OTHERS + 2), BLOCK_TOKENS, dtype, self._target.device
        )
        for layer in range(self._model.layers):
            for cache in pool.layer(layer):
                cache.copy_(torch.randn(cache.shape))
        return pool


def differing(composer: Composer, compositions: int) -> int:
    """In how many compositions some logit is not the same bits as alone."""
    alone = composer.alone()
    assert alone.isfinite().all()
    return sum(not composer.shared(random.Random(seed)).equal(alone) for seed in range(compositions))


def test_logits_keep_their_bits_in_two_hundred_compositions(small_model: Any, threads: None) -> None:
    assert differing(Composer(small_model.folder), 200) == 0


def test_logits_keep_their_bits_without_kernels_in_c(
    small_model: Any, threads: None, without_kernels_in_c: None
) -> None:
    assert differing(Composer(small_model.folder), 12) == 0


@pytest.mark.parametrize("kv_dtype", [None, torch.float8_e4m3fn])
@pytest.mark.parametrize("form", ["int8", "fp8", "mxfp4", "nvfp4"])
def test_logits_keep_their_bits_in_every_format(small_model: Any, form: str, kv_dtype: torch.dtype | None) -> None:
    assert differing(Composer(small_model.folder, weight_format=form, kv_dtype=kv_dtype), 12) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_keep_their_bits_in_narrow_dtypes(small_model: Any, dtype: torch.dtype) -> None:
    assert differing(Composer(small_model.folder, dtype=dtype), 12) == 0


@pytest.mark.parametrize("form", ["dense", "fp8"])
@pytest.mark.parametrize("config", FAMILIES, ids=[config.model_type for config in FAMILIES])
def test_logits_keep_their_bits_in_every_family(tmp_path: Path, config: PreTrainedConfig, form: str) -> None:
    config.save_pretrained(tmp_path)
    assert differing(Composer(tmp_path, random_seed=1, weight_format=form), 12) == 0


@pytest.mark.parametrize("config", FAMILIES, ids=[config.model_type for config in FAMILIES])
def test_logits_keep_their_bits_in_every_family_without_kernels_in_c(
    tmp_path: Path, config: PreTrainedConfig, without_kernels_in_c: None
) -> None:
    config.save_pretrained(tmp_path)
    assert differing(Composer(tmp_path, random_seed=1, kv_dtype=torch.float8_e4m3fn), 6) == 0


def test_fast_numerics_promise_nothing(small_model: Any, without_kernels_in_c: None) -> None:
    """The comparison can fail: torch's own products add up in an order that their shape decides."""
    assert differing(Composer(small_model.folder, numerics="fast"), 10) > 0


def settings(**changes: Any) -> EngineSettings:
    values = {"device": "cpu", "threads": 1, "block_tokens": 4, "kv_cache_tokens": 2048, "numerics": "batch_invariant"}
    return EngineSettings.of(NativeEngineSpec(**{**values, **changes}).model_dump(exclude={"kind"}))


def answers(core: EngineCore, submits: list[Submit], draw: random.Random) -> dict[int, list[int]]:
    """What each is answered when they arrive at drawn steps."""
    said: dict[int, list[int]] = {one.id: [] for one in submits}
    waiting = list(submits)
    draw.shuffle(waiting)
    while waiting or core.has_work:
        for _ in range(draw.randrange(3) if core.has_work else 1):
            if waiting:
                assert core.add(waiting.pop()) is None
        for tokens in core.step().tokens:
            said[tokens.id] += tokens.token_ids
    return said


@pytest.mark.parametrize("overlap", [False, True])
def test_requests_are_answered_the_same_in_any_company(small_model: Any, overlap: bool) -> None:
    """Drawn with every filter and a seed each, over engines that batch, chunk and cache differently."""
    samplings = (
        Sampling(),
        Sampling(temperature=1.0, seed=1),
        Sampling(temperature=1.5, seed=2, top_k=20),
        Sampling(temperature=0.9, seed=3, top_p=0.9),
        Sampling(temperature=1.2, seed=4, min_p=0.02, repetition_penalty=1.3),
        Sampling(temperature=2.0, seed=5, top_k=50, top_p=0.95),
    )

    def asked(id: int) -> Submit:
        ids = array("i", PROMPT[: 20 + 8 * (id % 5)])
        return Submit(id, ids, 12, ignore_eos=True, thinking_tokens=0, sampling=samplings[id % len(samplings)])

    alone = load_engine(small_model.folder, settings(max_running=1, step_tokens=512, prefix_cache=False)).core
    expected = {id: answers(alone, [asked(id)], random.Random(0))[id] for id in range(12)}
    for seed, changes in enumerate(
        (
            {"max_running": 12, "step_tokens": 16},
            {"max_running": 5, "step_tokens": 64, "policy": "prefill_first"},
            {"max_running": 12, "step_tokens": 512, "prefix_cache": False},
            {"max_running": 8, "step_tokens": 24, "admission": "optimistic", "kv_cache_tokens": 256},
        )
    ):
        core = load_engine(small_model.folder, settings(overlap=overlap, **changes)).core
        for round in range(2):
            assert answers(core, [asked(id) for id in range(12)], random.Random(10 * seed + round)) == expected
