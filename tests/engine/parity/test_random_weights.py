"""Weights that are made up: every family runs on them, and the shapes of the published models are the publishers'."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from neokernels.registry import Registry, Target
from transformers import AutoConfig, AutoModelForCausalLM

from bench.core.configs import config_root, names
from bench.native.batch import BatchItem, HostBatch
from bench.native.kv_pool import KvPool
from bench.native.models import Model, load_model
from bench.native.random_weights import RandomWeights

CPU = torch.device("cpu")


def made_up(folder: Path, device: torch.device = CPU, dtype: torch.dtype = torch.float32, seed: int = 0) -> Model:
    return load_model(folder, Target(device, dtype), Registry(), random_seed=seed)


def logits_of(model: Model, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    kv = KvPool(model.cache_shape, 8, 16, dtype, CPU)
    batch = HostBatch.of([BatchItem(list(range(100)), 0, list(range(7)), logit_tokens=100)], 16).on(CPU)
    return model.forward(batch, kv)


def test_every_family_runs_on_its_config_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    logits = logits_of(made_up(tmp_path))
    assert logits.isfinite().all()
    assert 0.1 < float(logits.std()) < 10
    assert torch.equal(logits, logits_of(made_up(tmp_path)))
    assert not torch.equal(logits, logits_of(made_up(tmp_path, seed=1)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_activations_stay_in_range_however_deep_the_model(tmp_path: Path, dtype: torch.dtype) -> None:
    config = json.loads((config_root() / "models" / "llama-3.1-70b" / "config.json").read_text())
    small = {"hidden_size": 128, "intermediate_size": 448, "num_attention_heads": 8, "num_key_value_heads": 1}
    (tmp_path / "config.json").write_text(json.dumps({**config, **small, "head_dim": 16, "vocab_size": 300}))
    model = made_up(tmp_path, dtype=dtype)
    assert model.config.layers == 80
    logits = logits_of(model, dtype)
    assert logits.isfinite().all()
    assert 0.5 < float(logits.std()) < 2


@pytest.mark.parametrize("name", [name for name in names("models", suffix="") if name != "tiny"])
def test_a_published_shape_has_as_many_parameters_as_transformers_builds(name: str) -> None:
    """On a device without memory."""
    folder, meta = config_root() / "models" / name, torch.device("meta")
    config = AutoConfig.from_pretrained(folder)
    config.quantization_config = None
    with meta:
        oracle = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    # A buffer that is part of the weights steers DeepSeek's router, and is kept in float32.
    kept = {id(tensor): tensor for tensor in (*oracle.parameters(), *_stored_buffers(oracle))}
    float32 = ("mlp.gate.weight", "e_score_correction_bias") if name.startswith("deepseek") else ()
    wider = sum(2 * tensor.numel() for key, tensor in oracle.state_dict().items() if key.endswith(float32))
    expected = sum(2 * tensor.numel() for tensor in kept.values()) + wider
    assert made_up(folder, meta, torch.bfloat16).parameter_bytes == expected


def _stored_buffers(oracle: torch.nn.Module) -> list[torch.Tensor]:
    stored = oracle.state_dict()
    return [buffer for name, buffer in oracle.named_buffers() if name in stored]


def test_no_two_rows_are_alike() -> None:
    weight = RandomWeights(0, CPU, torch.float32).read({"a": (600, 4096), "b": (8, 4096)})
    assert len({row.numpy().tobytes() for row in weight}) == 608


def test_norms_are_one_and_other_vectors_zero() -> None:
    source = RandomWeights(0, CPU, torch.bfloat16)
    assert source.read({"model.norm.weight": (5,)}).tolist() == [1.0] * 5
    assert source.read({"q_proj.bias": (5,), "k_proj.bias": (2,)}).tolist() == [0.0] * 7
    assert source.bytes_read == 24
