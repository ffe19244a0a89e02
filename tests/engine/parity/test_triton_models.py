"""Every family with Triton's kernels in the place of the references: the same logits, however a step is composed.

Each kernel is tested by itself elsewhere; here is what they hand to one another, and what the models hand to them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from interpreted import InterpretedRegistry, as_on_hopper, round_to_e4m3
from neokernels.registry import Registry, Target
from torch import Tensor

from bench.native.batch import BatchItem, HostBatch
from bench.native.graphs.buffers import StaticBuffers, StaticStep
from bench.native.graphs.dispatcher import BatchKey
from bench.native.graphs.step_graphs import WholeStep
from bench.native.kv_pool import KvPool
from bench.native.models import load_model
from bench.native.models.decoder import Decoder

pytestmark = pytest.mark.interpreted

CPU = torch.device("cpu")
BLOCK_TOKENS = 4
BLOCKS_EACH = 8
WITHOUT_KERNEL = {"embedding", "head_linear"}
"""Operations that are a gather and a batched product of torch's own wherever they run."""
SLOW = pytest.mark.slow


def case(family: str, *marks: pytest.MarkDecorator, allowed: float = 1e-4, **target: Any) -> Any:
    values = {"dtype": torch.float32, **target}
    named = (str(value).removeprefix("torch.") for value in target.values())
    return pytest.param(family, Target(CPU, **values), allowed, marks=marks, id="-".join((family, *named)))


CASES = (
    case("llama-scaled", weight_format="fp8", allowed=0.02),
    case("qwen3-moe-sparse"),
    case("gpt-oss-sliding", weight_format="mxfp4"),
    case("deepseek-v3-ranked"),
    case("llama-scaled", SLOW),
    case("llama-grouped", SLOW),
    case("qwen3-tied", SLOW),
    case("qwen3-moe-normalised", SLOW),
    case("gpt-oss-alternating", SLOW),
    case("gpt-oss-sliding", SLOW),
    case("gpt-oss-mxfp4", SLOW, weight_format="mxfp4"),
    case("deepseek-v3-direct", SLOW),
    *(
        case(family, SLOW, allowed=allowed, **{name: value})
        for name, value, allowed, families in (
            (
                "dtype",
                torch.float16,
                0.02,
                ("llama-grouped", "qwen3-moe-sparse", "gpt-oss-alternating", "deepseek-v3-direct"),
            ),
            ("numerics", "batch_invariant", 1e-4, ("qwen3-moe-sparse", "gpt-oss-sliding", "deepseek-v3-ranked")),
            ("kv_dtype", torch.float8_e4m3fn, 0.02, ("gpt-oss-alternating", "deepseek-v3-direct")),
            ("weight_format", "int8", 1e-4, ("qwen3-moe-sparse",)),
            ("weight_format", "fp8", 0.02, ("qwen3-moe-sparse", "deepseek-v3-ranked")),
            ("weight_format", "mxfp4", 1e-4, ("llama-grouped", "deepseek-v3-ranked")),
            ("weight_format", "nvfp4", 1e-4, ("llama-grouped", "qwen3-moe-sparse")),
        )
        for family in families
    ),
)


@pytest.fixture(autouse=True)
def on_hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    as_on_hopper(monkeypatch)
    round_to_e4m3(monkeypatch)


@dataclass
class Requests:
    """Three requests of one model and their KV cache, poisoned before its first use."""

    model: Decoder
    target: Target
    tokens: list[list[int]] = field(default_factory=list)
    computed: list[int] = field(default_factory=lambda: [0, 0, 0])

    def __post_init__(self) -> None:
        draw = random.Random(5)
        self.tokens = [draw.choices(range(self.model.config.vocabulary), k=BLOCKS_EACH * BLOCK_TOKENS) for _ in "abc"]
        blocks = draw.sample(range(3 * BLOCKS_EACH), 3 * BLOCKS_EACH)
        self.tables = [blocks[index::3] for index in range(3)]
        dtype = self.target.kv_dtype or self.target.dtype
        self.pool = KvPool(self.model.cache_shape, len(blocks), BLOCK_TOKENS, dtype, CPU)
        for layer in range(self.model.layers):
            for cache in self.pool.layer(layer):
                cache.copy_(torch.full((), torch.nan))

    def next(self, counts: dict[int, int], logit_tokens: int = 1) -> HostBatch:
        """A step of the next `counts[i]` tokens of request i."""
        items = []
        for index, count in counts.items():
            start = self.computed[index]
            self.computed[index] += count
            chunk = self.tokens[index][start : start + count]
            items.append(BatchItem(chunk, start, self.tables[index], min(count, logit_tokens)))
        return HostBatch.of(items, BLOCK_TOKENS)

    def step(self, batch: HostBatch) -> Tensor:
        return self.model.forward(batch.on(CPU), self.pool)

    def replay(self, batch: HostBatch, key: BatchKey, logit_rows: int) -> Tensor:
        """The step as a CUDA graph of shape `key` computes it: the host knows bounds, the device the lengths."""
        buffers = StaticBuffers(
            tokens=key.tokens,
            requests=key.requests,
            logit_rows=logit_rows,
            context_tokens=BLOCKS_EACH * BLOCK_TOKENS,
            block_tokens=BLOCK_TOKENS,
            device=CPU,
        )
        logits = torch.empty(logit_rows, self.model.config.vocabulary)
        WholeStep(self.model, self.pool, StaticStep(buffers, key, logit_rows), logits, Again()).run(batch, None)
        return logits[: len(batch.logit_rows)]


class Again:
    """In the place of CUDA graphs: captures nothing, and does the work when it is replayed."""

    pool_bytes = 0

    def warm_up(self, work: Callable[[], None]) -> None:
        pass

    def capture(self, work: Callable[[], None]) -> Again:
        self.replay = work
        return self


def steps(requests: Requests, replay: Callable[..., Tensor]) -> dict[str, Tensor]:
    """The logits of a step of each kind; `replay` computes those that are in a graph."""
    return {
        "a prompt": requests.step(requests.next({0: 6}, logit_tokens=2)),
        "a chunk beside prompts": requests.step(requests.next({1: 3, 0: 4, 2: 1})),
        "decodes": requests.step(requests.next({0: 1, 2: 1})),
        "decodes in a graph": replay(requests.next({2: 1, 0: 1, 1: 1}), BatchKey(4, 4, 1), 4),
        "chunks in a graph": replay(requests.next({1: 2, 0: 1}), BatchKey(6, 4), 3),
    }


def touched(model: Decoder) -> int:
    return int(model.experts_touched() or 0)


@pytest.mark.parametrize(("folder", "target", "allowed"), CASES, indirect=["folder"])
def test_logits_of_every_kind_of_step(folder: Path, target: Target, allowed: float) -> None:
    registry = InterpretedRegistry()
    model = load_model(folder, target, registry)
    reference = load_model(folder, target, Registry(reference=True))
    requests, others = Requests(model, target), Requests(reference, target)
    found = steps(requests, requests.replay)
    expected = steps(others, lambda batch, *_: others.step(batch))  # a reference reads lengths on the host
    for kind, logits in expected.items():
        error = float((found[kind] - logits).norm() / logits.norm())
        assert error < allowed, f"{kind}: off by {error:.1e}"
    assert touched(model) == touched(reference)
    no_kernel = WITHOUT_KERNEL | ({"linear", "output"} if target.weight_format == "int8" else set())
    assert {choice.operation for choice in registry.choices if choice.source != "triton"} <= no_kernel
    assert all(choice.graphs == "always" for choice in registry.choices)


@pytest.mark.parametrize("folder", ["llama-scaled", pytest.param("qwen3-tied", marks=SLOW)], indirect=True)
def test_batch_invariant_numerics(folder: Path) -> None:
    """A request's logits are the same bits alone, beside others and in a graph.

    It comes first in every step: where a row stands in a tile changes the bits of the products of NumPy, in the place
    of tensor cores here.
    """
    target = Target(CPU, torch.float32, "batch_invariant")
    model = load_model(folder, target, InterpretedRegistry())
    alone, among = Requests(model, target), Requests(model, target)
    expected = [alone.step(alone.next({0: count}))[0] for count in (4, 1)]
    found = [
        among.step(among.next({0: 4, 1: 2}))[0],
        among.replay(among.next({0: 1, 1: 1}), BatchKey(4, 4, 1), 4)[0],
    ]
    for mine, bits in zip(found, expected, strict=True):
        assert torch.equal(mine, bits)


@SLOW
@pytest.mark.parametrize("folder", ["llama-grouped", "gpt-oss-alternating"], indirect=True)
def test_a_prompt_of_more_rows_than_are_few(folder: Path) -> None:
    target, prompt = Target(CPU, torch.float32), list(range(20, 90))
    logits = []
    for registry in (InterpretedRegistry(), Registry(reference=True)):
        model = load_model(folder, target, registry)
        pool = KvPool(model.cache_shape, 18, BLOCK_TOKENS, torch.float32, CPU)
        batch = HostBatch.of([BatchItem(prompt, 0, range(18), logit_tokens=70)], BLOCK_TOKENS)
        logits.append(model.forward(batch.on(CPU), pool))
    found, expected = logits
    # Of each row as a whole: single logits of this gpt-oss are 1e-4 off between the references and the C kernels too.
    errors = (found - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert errors.max() < 1e-4
