"""Tokens that are quantised where they are made, beside tokens that projections quantise themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from neokernels.registry import Numerics, Registry, Target
from torch import Tensor
from transformers import DeepseekV3Config, Qwen3MoeConfig

from bench.core.configs import config_root
from bench.native.batch import BatchItem, HostBatch
from bench.native.kv_pool import KvPool
from bench.native.models import load_model
from bench.native.models.operations import Operations

CPU = torch.device("cpu")
BLOCK_TOKENS = 16
QUANTISED = {"add_rms_norm_fp8", "silu_mul_fp8", "quantise_fp8"}


def tiny(_: Path) -> Path:
    return config_root() / "models" / "tiny"


def routed(folder: Path) -> Path:
    """The first feed-forward is dense, the second routed."""
    Qwen3MoeConfig(
        architectures=["Qwen3MoeForCausalLM"],
        vocab_size=256,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        mlp_only_layers=[0],
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
    ).save_pretrained(folder)
    return folder


def latent(folder: Path) -> Path:
    DeepseekV3Config(
        architectures=["DeepseekV3ForCausalLM"],
        vocab_size=256,
        hidden_size=64,
        intermediate_size=96,
        moe_intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        n_routed_experts=4,
        n_group=1,
        topk_group=1,
        num_experts_per_tok=2,
        first_k_dense_replace=1,
        q_lora_rank=32,
        kv_lora_rank=32,
        qk_rope_head_dim=16,
        qk_nope_head_dim=16,
        v_head_dim=16,
    ).save_pretrained(folder)
    return folder


def logits(folder: Path, target: Target, registry: Registry) -> Tensor:
    model = load_model(folder, target, registry, random_seed=0)
    pool = KvPool(model.cache_shape, 4, BLOCK_TOKENS, target.dtype, CPU)
    items = [BatchItem(list(range(20, 50)), 0, [0, 1], logit_tokens=30), BatchItem([7, 8], 0, [2], logit_tokens=2)]
    return model.forward(HostBatch.of(items, BLOCK_TOKENS).on(CPU), pool)


@pytest.mark.parametrize("numerics", ["fast", "batch_invariant"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [tiny, routed, latent])
def test_where_tokens_are_quantised_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape, dtype: torch.dtype, numerics: Numerics
) -> None:
    folder, target, registry = shape(tmp_path), Target(CPU, dtype, numerics, "fp8"), Registry()
    found = logits(folder, target, registry)
    assert {choice.operation for choice in registry.choices} >= QUANTISED
    monkeypatch.setattr(Operations, "prepare_linear", lambda self, *weights: self.prepare_plain(*weights))
    apart = Registry()
    assert torch.equal(logits(folder, target, apart), found)
    assert not {choice.operation for choice in apart.choices} & QUANTISED


def test_other_formats_quantise_no_token() -> None:
    registry = Registry()
    logits(tiny(Path()), Target(CPU, torch.float32, weight_format="int8"), registry)
    assert not {choice.operation for choice in registry.choices} & QUANTISED
