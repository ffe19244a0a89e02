"""How fast the native model steps on this machine: decode at three batch sizes, and one prefill chunk.

Weights are the committed tiny model's, context is 128 tokens, and a CPU steps with one thread: more of them spin while
they wait, here and not in the engine's own process, and would time whoever else is busy. Rates are in `extra_info`;
nothing here is asserted.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from neokernels.registry import Registry, Target
from pytest_benchmark.fixture import BenchmarkFixture

from bench.native.batch import BatchItem, HostBatch
from bench.native.device import resolve_device
from bench.native.kv_pool import KvPool
from bench.native.models import Model, load_model

TINY = Path(__file__).parents[2] / "configs" / "models" / "tiny"
DEVICE = resolve_device("auto")
BLOCK_TOKENS = 16
CONTEXT = 128
PREFILL = 512


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield load_model(TINY, Target(DEVICE, torch.float32), Registry())
    torch.set_num_threads(threads)


def step_benchmark(benchmark: BenchmarkFixture, model: Model, requests: int, start: int, tokens: int) -> None:
    blocks = -(-(start + tokens) // BLOCK_TOKENS)
    kv = KvPool(model.cache_shape, requests * blocks, BLOCK_TOKENS, torch.float32, DEVICE)
    for layer in range(model.config.layers):
        for cache in kv.layer(layer):
            cache.zero_()
    items = [
        BatchItem(array("i", [7] * tokens), start, array("i", range(r * blocks, (r + 1) * blocks)))
        for r in range(requests)
    ]

    def step() -> list[int]:
        chosen: list[int] = model.forward(HostBatch.of(items, BLOCK_TOKENS).on(DEVICE), kv).argmax(-1).tolist()
        return chosen

    benchmark(step)
    if benchmark.stats is not None:
        benchmark.extra_info["tokens_per_s"] = round(requests * tokens / benchmark.stats.stats.median)


@pytest.mark.parametrize("requests", [1, 4, 16])
def test_decode(benchmark: BenchmarkFixture, model: Model, requests: int) -> None:
    step_benchmark(benchmark, model, requests, CONTEXT, 1)


def test_prefill(benchmark: BenchmarkFixture, model: Model) -> None:
    step_benchmark(benchmark, model, 1, 0, PREFILL)
