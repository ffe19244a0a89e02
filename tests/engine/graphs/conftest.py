"""A small model with an attention that graphs can hold, and random work for it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from neokernels.paged_attention import PagedLayout, paged_attention
from neokernels.registry import Implementation, Operation, Registry, Target
from torch import Tensor

from bench.native.batch import BatchItem, HostBatch
from bench.native.graphs.modes import GraphSettings
from bench.native.graphs.runner import StepRunner
from bench.native.kv_pool import KvPool
from bench.native.models import load_model
from bench.native.models.decoder import Decoder

BLOCK_TOKENS = 4
BLOCKS = 160
MAX_RUNNING = 6
STEP_TOKENS = 40


def attention_on_device(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    layout: PagedLayout,
    scale: float,
    window: int | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """`paged_attention` of what stands on the device alone, by gathering for each query all its block table has."""
    assert window is None
    assert sinks is None
    starts, context_lens = layout.on_device
    rows = torch.arange(len(query), dtype=torch.int32, device=query.device)
    request = torch.searchsorted(starts, rows, right=True) - 1
    seen = context_lens[request] - (starts[request + 1] - 1 - rows)
    offsets = torch.arange(layout.block_tokens, device=query.device)
    slots = (layout.block_tables.long()[request][..., None] * layout.block_tokens + offsets).flatten(1)
    visible = (torch.arange(slots.shape[1], device=query.device) < seen[:, None])[:, :, None]
    group = query.shape[1] // key_cache.shape[2]
    keys = key_cache.flatten(0, 1)[slots].repeat_interleave(group, dim=2)
    values = value_cache.flatten(0, 1)[slots].repeat_interleave(group, dim=2)
    scores = torch.einsum("thd,tchd->tch", query, keys) * scale
    weights = scores.masked_fill(~visible, -torch.inf).softmax(1)
    return torch.einsum("tch,tchd->thd", weights, values.masked_fill(~visible[..., None], 0.0))


class CapturableRegistry(Registry):
    """Resolves `attention_on_device` where a kernel is to stand that graphs can hold."""

    def resolve(self, operation: Operation[..., Any], target: Target) -> Callable[..., Any]:
        if operation.name == paged_attention.name:
            operation = Operation(operation.name, Implementation("on_device", attention_on_device, graphs="always"))
        return super().resolve(operation, target)


@dataclass(frozen=True)
class Bed:
    """A model on a device and what its operations resolved to."""

    model: Decoder
    registry: Registry
    device: torch.device

    def pool(self) -> KvPool:
        """Poisoned: whoever reads a slot that nothing was written to gets no number."""
        pool = KvPool(self.model.cache_shape, BLOCKS, BLOCK_TOKENS, torch.float32, self.device)
        for layer in range(self.model.layers):
            for cache in pool.layer(layer):
                cache.fill_(torch.nan)
        return pool

    def runner(self, pool: KvPool, backend: Any = None, **changes: Any) -> StepRunner:
        values = {
            "mode": "full_and_piecewise",
            "sizes": "vllm",
            "max_tokens": STEP_TOKENS,
            "max_running": MAX_RUNNING,
            "step_tokens": STEP_TOKENS,
            **changes,
        }
        return StepRunner(self.model, pool, GraphSettings(**values), self.registry.choices, self.device, backend)

    def plain(self, pool: KvPool) -> Callable[[HostBatch], Tensor]:
        """Every step as it is, straight through the model."""
        return lambda step: self.model.forward(step.on(self.device), pool)


@dataclass
class _Request:
    token_ids: list[int]
    wanted: int
    block_table: list[int]
    computed: int = 0

    @property
    def pending(self) -> int:
        return len(self.token_ids) - self.computed


class Workload:
    """Twelve requests answered greedily: chunked, decoding, joining late and ending apart. A seed is one workload."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        free = self._draw.sample(range(BLOCKS), BLOCKS)
        self._requests: list[_Request] = []
        for _ in range(12):
            prompt = [self._draw.randrange(20, 320) for _ in range(self._draw.randint(1, 24))]
            wanted = len(prompt) + self._draw.randint(1, 12)
            self._requests.append(_Request(prompt, wanted, [free.pop() for _ in range(-(-wanted // BLOCK_TOKENS))]))

    def answers(self, run: Callable[[HostBatch], Tensor]) -> list[list[int]]:
        """All tokens of all requests, by the logits that `run` gives for each step."""
        for chosen, step in self._steps():
            said = run(step).argmax(-1).tolist()
            for one, count in chosen:
                one.computed += count
            for one, token_id in zip((one for one, _ in chosen if one.pending == 0), said, strict=True):
                one.token_ids.append(token_id)
        return [one.token_ids for one in self._requests]

    def _steps(self) -> Iterator[tuple[list[tuple[_Request, int]], HostBatch]]:
        while unfinished := [one for one in self._requests if len(one.token_ids) < one.wanted]:
            chosen = self._choose(unfinished[:MAX_RUNNING])
            yield chosen, HostBatch.of([self._item(one, count) for one, count in chosen], BLOCK_TOKENS)

    def _choose(self, running: list[_Request]) -> list[tuple[_Request, int]]:
        """Some requests and a part of what each has pending; often all decodes and nothing else."""
        decodes = [one for one in running if one.pending == 1]
        if decodes and self._draw.random() < 0.6:
            return [(one, 1) for one in decodes]
        chosen, budget = [], STEP_TOKENS
        for one in self._draw.sample(running, self._draw.randint(1, len(running))):
            if count := min(self._draw.randint(1, one.pending), budget):
                chosen.append((one, count))
                budget -= count
        return chosen

    def _item(self, one: _Request, count: int) -> BatchItem:
        token_ids = one.token_ids[one.computed : one.computed + count]
        return BatchItem(token_ids, one.computed, one.block_table, int(count == one.pending))


@pytest.fixture(scope="session")
def bed(small_model: Any) -> Bed:
    """On a CPU, with an attention that a graph can hold."""
    return _bed(small_model.folder, torch.device("cpu"), CapturableRegistry())


@pytest.fixture(scope="session")
def reference_bed(small_model: Any) -> Bed:
    """On a CPU, with what the registry resolves to there."""
    return _bed(small_model.folder, torch.device("cpu"), Registry())


@pytest.fixture(scope="session")
def gpu_bed(small_model: Any) -> Bed:
    """On a GPU, with what the registry resolves to there."""
    return _bed(small_model.folder, torch.device("cuda"), Registry())


@pytest.fixture(scope="session")
def workload() -> Callable[[int], Workload]:
    return Workload


def _bed(folder: Any, device: torch.device, registry: Registry) -> Bed:
    return Bed(load_model(folder, Target(device, torch.float32), registry), registry, device)
