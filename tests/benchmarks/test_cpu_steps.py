"""How close a CPU steps to what its memory gives: decode and prefill of the Qwen3-0.6B shape in bfloat16 and int8.

The prompt is 128 tokens and decode stands at the middle of 64 more; the engine uses all cores. Memory is read right
before every round, by the same threads, so that a share compares two figures of one moment: `extra_info` has both, with
the weights a step reads in relation to that. Nothing here is asserted.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest
import torch
from neokernels.registry import Registry, Target, WeightFormat
from neokernels.roofline import measure_ceilings
from pytest_benchmark.fixture import BenchmarkFixture

from bench.native.batch import BatchItem, HostBatch
from bench.native.kv_pool import KvPool
from bench.native.models import Model, load_model

SHAPE = Path(__file__).parents[2] / "configs" / "models" / "qwen3-0.6b-32k"
CPU = torch.device("cpu")
BLOCK_TOKENS = 16
PROMPT = 128
CONTEXT = PROMPT + 32
ROUNDS = 20


@dataclass(frozen=True)
class Loaded:
    model: Model
    step_bytes: int
    """Weights that a step reads: the input embedding is looked up, and its other copy is the projection to logits."""


@pytest.fixture(scope="module", params=["dense", "int8"])
def loaded(request: pytest.FixtureRequest) -> Loaded:
    weight_format: WeightFormat = request.param
    model = load_model(SHAPE, Target(CPU, torch.bfloat16, weight_format=weight_format), Registry(), random_seed=0)
    config = model.config
    looked_up = 0 if weight_format == "dense" else config.vocabulary * config.hidden * 2
    return Loaded(model, model.parameter_bytes - looked_up)


def step_benchmark(benchmark: BenchmarkFixture, loaded: Loaded, requests: int, start: int, tokens: int) -> None:
    model = loaded.model
    blocks = -(-(start + tokens) // BLOCK_TOKENS)
    kv = KvPool(model.cache_shape, requests * blocks, BLOCK_TOKENS, torch.bfloat16, CPU)
    for layer in range(model.config.layers):
        for cache in kv.layer(layer):
            cache.zero_()
    items = [
        BatchItem(array("i", [7] * tokens), start, array("i", range(r * blocks, (r + 1) * blocks)))
        for r in range(requests)
    ]
    read: list[float] = []

    def step() -> None:
        model.forward(HostBatch.of(items, BLOCK_TOKENS).on(CPU), kv).argmax(-1).tolist()

    def read_memory() -> None:
        read.append(measure_ceilings(CPU, torch.bfloat16).read_bytes_per_s)

    benchmark.pedantic(step, setup=read_memory, rounds=ROUNDS, warmup_rounds=2)
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.data
        weights = [loaded.step_bytes / each for each in seconds]
        benchmark.extra_info.update(
            tokens_per_s=round(requests * tokens / median(seconds), 1),
            best_tokens_per_s=round(requests * tokens / min(seconds), 1),
            read_gb_per_s=round(median(read) / 1e9, 1),
            weight_share=round(median(w / r for w, r in zip(weights, read[-len(weights) :], strict=True)), 3),
        )


@pytest.mark.parametrize("requests", [1, 4, 16])
def test_decode(benchmark: BenchmarkFixture, loaded: Loaded, requests: int) -> None:
    step_benchmark(benchmark, loaded, requests, CONTEXT, 1)


def test_prefill(benchmark: BenchmarkFixture, loaded: Loaded) -> None:
    step_benchmark(benchmark, loaded, 1, 0, PROMPT)
