"""What several ranks compute of their parts of a model comes to what one computes of the whole, in every family.

The ranks are threads here, and exchange tensors through a list.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

import pytest
import torch
from neokernels.registry import Registry, Target
from torch import Tensor

from bench.core.errors import InputError
from bench.native.batch import BatchItem, HostBatch
from bench.native.kv_pool import KvPool
from bench.native.model_config import ModelConfig
from bench.native.models import Model, load_model
from bench.native.parallel.collectives import NoCollectives
from bench.native.parallel.ranks import Ranks
from bench.native.parallel.shards import Shards
from bench.native.weight_size import weight_bytes

CPU = torch.device("cpu")


@dataclass
class Threads:
    """Collectives between threads of one process."""

    ranks: Ranks
    barrier: Barrier
    parts: list[Tensor]
    backend: str = "threads"

    def all_reduce(self, part: Tensor) -> Tensor:
        return torch.stack(self._gathered(part)).sum(0)

    def all_gather(self, columns: Tensor) -> Tensor:
        return torch.cat(self._gathered(columns), dim=-1)

    def broadcast(self, values: Tensor) -> None:
        values.copy_(self._gathered(values)[0])

    def statistics(self) -> None:
        return None

    def _gathered(self, mine: Tensor) -> list[Tensor]:
        self.parts[self.ranks.rank] = mine
        self.barrier.wait()
        parts = list(self.parts)
        self.barrier.wait()
        return parts


def logits_of(model: Model) -> Tensor:
    """Of a prompt in two chunks beside another."""
    kv = KvPool(model.cache_shape, 32, 4, torch.float32, CPU)
    first, second = [7, 3, 250, 91, 12, 40, 41, 42, 43, 44, 45, 46, 200, 17], [9, 9, 150, 3]
    steps = [
        [BatchItem(first[:9], 0, range(4), 0)],
        [BatchItem(first[9:], 9, range(4), 5), BatchItem(second, 0, range(4, 8), 2)],
    ]
    *_, logits = (model.forward(HostBatch.of(items, 4).on(CPU), kv) for items in steps)
    return logits


def parts_of(folder: Path, size: int, random_seed: int | None = None) -> list[Model]:
    barrier, parts = Barrier(size, timeout=60), [torch.empty(0)] * size
    target = Target(CPU, torch.float32)
    return [
        load_model(folder, target, Registry(), random_seed, collectives=Threads(Ranks(rank, size), barrier, parts))
        for rank in range(size)
    ]


def together(models: list[Model]) -> list[Tensor]:
    with ThreadPoolExecutor(len(models), initializer=torch.set_num_threads, initargs=(1,)) as threads:
        return list(threads.map(logits_of, models))


def possible(folder: Path) -> list[int]:
    """Numbers of ranks that the model of `folder` can be cut into."""
    config, sizes = ModelConfig.from_folder(folder), []
    for size in (2, 3, 4):
        try:
            Shards.of(config, Ranks(0, size))
        except InputError:
            continue
        sizes.append(size)
    return sizes


@pytest.fixture(scope="module")
def sizes(folder: Path) -> list[int]:
    """Three KV heads go into three parts, but 512 tokens do not: there is one model that stays whole."""
    sizes = possible(folder)
    assert sizes or folder.name.startswith("qwen3-tied")
    return sizes


def test_ranks_together_give_the_logits_of_one(folder: Path, model: Model, sizes: list[int]) -> None:
    expected = logits_of(model)
    for size in sizes:
        for logits in together(parts_of(folder, size)):
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_random_weights_are_the_same_model_on_any_number_of_ranks(
    folder: Path, sizes: list[int], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    expected = logits_of(load_model(tmp_path, Target(CPU, torch.float32), Registry(), random_seed=5))
    for size in sizes[:1]:
        for logits in together(parts_of(tmp_path, size, random_seed=5)):
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_a_rank_holds_its_share_and_knows_it_beforehand(folder: Path, model: Model, sizes: list[int]) -> None:
    target = Target(CPU, torch.float32)
    for size in sizes:
        for rank, part in enumerate(parts_of(folder, size)):
            assert part.parameter_bytes == weight_bytes(folder, target, Ranks(rank, size))
            assert part.parameter_bytes < model.parameter_bytes
            assert part.cache_shape.kv_heads == max(1, model.cache_shape.kv_heads // size)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_attention_heads": 6, "num_key_value_heads": 6}, "6 attention heads"),
        ({"num_attention_heads": 12, "num_key_value_heads": 6}, "6 KV heads"),
        ({"intermediate_size": 90}, "90 columns of the feed-forward"),
        ({"vocab_size": 510}, "510 tokens of vocabulary"),
    ],
)
def test_a_model_that_cannot_be_dealt_out_evenly_is_refused(tmp_path: Path, changes: dict[str, int], told: str) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 512,
        "hidden_size": 96,
        "intermediate_size": 96,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    Shards.of(ModelConfig.from_folder(tmp_path), Ranks(0, 4))
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(InputError, match=f"engine.tensor_parallel: tensor_parallel = 4 for {told}"):
        load_model(tmp_path, Target(CPU, torch.float32), Registry(), 0, collectives=NoCollectives(Ranks(1, 4)))


def test_ranks_beyond_the_kv_heads_share_them() -> None:
    kv = [Shards(Ranks(rank, 8), 2).part("layers.0.self_attn.k_proj.weight", (32, 64)) for rank in range(8)]
    assert kv == [(slice(0, 16), slice(None))] * 4 + [(slice(16, 32), slice(None))] * 4


def test_a_tensor_no_rule_knows_is_no_rank_s() -> None:
    with pytest.raises(LookupError, match="c_attn"):
        Shards(Ranks(0, 2), 2).part("model.layers.0.attn.c_attn.weight", (96, 32))
