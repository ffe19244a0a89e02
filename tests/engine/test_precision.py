"""Precision as an axis: what is kept in which format, what that costs in accuracy, and what fails how."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from neokernels.registry import Registry, Target, WeightFormat
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Qwen3Config, Qwen3MoeConfig

from bench.core.configs import config_root
from bench.core.errors import InputError
from bench.core.spec import NativeEngineSpec
from bench.native.batch import BatchItem, HostBatch
from bench.native.kv_pool import KvPool
from bench.native.load import LoadedEngine, load_engine
from bench.native.models import load_model
from bench.native.models.decoder import Decoder
from bench.native.settings import EngineSettings

CPU = torch.device("cpu")
BLOCK_TOKENS = 16
PROMPTS, PROMPT_TOKENS = 4, 60
DIVERGENCE: dict[WeightFormat, float] = {"int8": 0.004, "fp8": 0.03, "mxfp4": 0.3, "nvfp4": 0.2}
"""Most mean KL divergence in nats from float32 on the tiny model: some five times what is measured."""
BITS: dict[WeightFormat, float] = {"int8": 8, "fp8": 8, "mxfp4": 4.25, "nvfp4": 4.5}
"""A weight and its share of its block's scale."""


def logits(model: Decoder, target: Target) -> Tensor:
    """Of the last 20 tokens of each prompt, [rows, V]."""
    draw = random.Random(4)
    blocks = -(-PROMPT_TOKENS // BLOCK_TOKENS)
    items = [
        BatchItem(
            [draw.randrange(20, model.config.vocabulary) for _ in range(PROMPT_TOKENS)],
            0,
            list(range(first, first + blocks)),
            logit_tokens=20,
        )
        for first in range(0, PROMPTS * blocks, blocks)
    ]
    pool = KvPool(model.cache_shape, PROMPTS * blocks, BLOCK_TOKENS, target.kv_dtype or target.dtype, CPU)
    return model.forward(HostBatch.of(items, BLOCK_TOKENS).on(CPU), pool)


def divergence(folder: Path, target: Target) -> float:
    """Mean KL divergence from float32."""
    exact = Target(CPU, torch.float32)
    expected = logits(load_model(folder, exact, Registry()), exact).log_softmax(-1)
    found = logits(load_model(folder, target, Registry()), target).log_softmax(-1)
    return float((expected.exp() * (expected - found)).sum(-1).mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", DIVERGENCE)
def test_formats_stay_near_the_model(form: WeightFormat, dtype: torch.dtype) -> None:
    tiny = config_root() / "models" / "tiny"
    found = divergence(tiny, Target(CPU, dtype, weight_format=form))
    assert DIVERGENCE[form] / 100 < found < DIVERGENCE[form]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_eight_bit_cache_stays_near_the_model(dtype: torch.dtype) -> None:
    tiny = config_root() / "models" / "tiny"
    assert 1e-5 < divergence(tiny, Target(CPU, dtype, kv_dtype=torch.float8_e4m3fn)) < 0.03


def shape_folder(folder: Path, **changes: Any) -> Path:
    """A Qwen3 of matrices so wide that scales of rows weigh nothing."""
    Qwen3Config(
        architectures=["Qwen3ForCausalLM"],
        vocab_size=1024,
        hidden_size=512,
        intermediate_size=1024,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=64,
        **changes,
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("form", BITS)
def test_what_is_kept_is_counted(tmp_path: Path, form: WeightFormat, tied: bool) -> None:
    """Embedding and norms in the dtype; the projection to logits too, but for eight-bit integers."""
    folder = shape_folder(tmp_path, tie_word_embeddings=tied)
    model = load_model(folder, Target(CPU, torch.bfloat16, weight_format=form), Registry(), random_seed=0)
    embedding, projections = 1024 * 512, 2 * 512 * (1024 + 512 + 3 * 1024)
    expected = 2 * embedding + projections * BITS[form] / 8
    if form == "int8":
        expected += embedding
    elif not tied:
        expected += 2 * embedding
    assert model.parameter_bytes == pytest.approx(expected, rel=0.012)


def test_experts_are_kept_in_the_format_and_their_router_is_not(tmp_path: Path) -> None:
    Qwen3MoeConfig(
        architectures=["Qwen3MoeForCausalLM"],
        vocab_size=256,
        hidden_size=256,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        num_experts=64,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        tie_word_embeddings=True,
    ).save_pretrained(tmp_path)
    registry = Registry()
    model = load_model(tmp_path, Target(CPU, torch.bfloat16, weight_format="mxfp4"), registry, random_seed=0)
    attention, experts, router, embedding = 256 * (512 + 256), 64 * 3 * 32 * 256, 64 * 256, 256 * 256
    kept = 2 * (embedding + router) + (attention + experts) * 4.25 / 8
    assert model.parameter_bytes == pytest.approx(kept, rel=0.02)
    answered = {choice.operation: choice.implementation for choice in registry.choices}
    assert answered["linear"].startswith("mxfp4")
    assert not answered["router"].startswith("mxfp4")
    assert not answered["output"].startswith("mxfp4")


def engine(folder: Path, **changes: Any) -> LoadedEngine:
    values = {"device": "cpu", "threads": 1, "max_running": 4, "kv_cache_tokens": 512, "check_accuracy": False}
    return load_engine(
        folder, EngineSettings.of(NativeEngineSpec(**{**values, **changes}).model_dump(exclude={"kind"}))
    )


def test_the_record_says_what_was_kept_in_what(small_model: Any) -> None:
    loaded = engine(small_model.folder, dtype="bfloat16", weight_format="fp8", kv_dtype="fp8")
    dense = engine(small_model.folder, dtype="bfloat16")
    described = loaded.description
    assert (described["dtype"], described["weight_format"], described["kv_dtype"]) == (
        "bfloat16",
        "fp8",
        "float8_e4m3fn",
    )
    assert dense.description["kv_dtype"] == "bfloat16"
    assert described["kv_pool"]["bytes"] * 2 == dense.description["kv_pool"]["bytes"]
    assert described["parameter_bytes"] < dense.description["parameter_bytes"]
    answered = {kernel["operation"]: kernel for kernel in described["kernels"]}
    assert answered["linear"]["implementation"].startswith("fp8")
    assert "in fp8" in answered["linear"]["reason"]
    assert not answered["output"]["implementation"].startswith("fp8")
    assert "cache" in answered["paged_attention"]["reason"]


@pytest.mark.parametrize("form", BITS)
def test_a_weight_that_is_no_number_is_told_in_one_line(small_model: Any, tmp_path: Path, form: WeightFormat) -> None:
    (tmp_path / "config.json").write_text((small_model.folder / "config.json").read_text())
    tensors = load_file(small_model.folder / "model.safetensors")
    tensors["model.layers.1.mlp.down_proj.weight"][3, 5] = torch.inf
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="a weight of layer 1 is NaN or infinite") as caught:
        engine(tmp_path, weight_format=form)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    engine(tmp_path)
