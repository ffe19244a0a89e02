"""A folder of a routed model that is not whole: one line that names file, place and what is allowed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from neokernels.registry import Registry, Target
from safetensors.torch import load_file, save_file
from transformers import GptOssConfig, GptOssForCausalLM, PreTrainedModel, Qwen3MoeConfig, Qwen3MoeForCausalLM

from bench.core.errors import InputError
from bench.native.models import Model, load_model

SHAPE: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "num_experts_per_tok": 2,
}
DOWN = "model.layers.1.mlp.experts.down_proj"
MXFP4 = {"quantization_config": {"quant_method": "mxfp4"}}


def saved(model: PreTrainedModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def qwen3_moe(tmp_path: Path) -> Path:
    config = Qwen3MoeConfig(**SHAPE, num_experts=3, moe_intermediate_size=24)
    return saved(Qwen3MoeForCausalLM(config), tmp_path)


@pytest.fixture
def gpt_oss(tmp_path: Path) -> Path:
    return saved(GptOssForCausalLM(GptOssConfig(**SHAPE, num_local_experts=3)), tmp_path)


@pytest.fixture
def mxfp4(gpt_oss: Path) -> Path:
    """The same with its experts in four-bit blocks, all of them zero."""

    def store(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
            experts, inputs, outputs = tensors.pop(name).shape
            tensors[f"{name}_blocks"] = torch.zeros(experts, outputs, inputs // 32, 16, dtype=torch.uint8)
            tensors[f"{name}_scales"] = torch.zeros(experts, outputs, inputs // 32, dtype=torch.uint8)

    edit_tensors(gpt_oss, store)
    edit_config(gpt_oss, MXFP4)
    return gpt_oss


def edit_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def edit_config(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def load(folder: Path) -> Model:
    return load_model(folder, Target(torch.device("cpu"), torch.float32), Registry())


def refused(folder: Path, file: str, *words: str) -> None:
    """Loading `folder` raises one line about `file` that holds every one of `words`."""
    with pytest.raises(InputError) as caught:
        load(folder)
    assert caught.value.where == str(folder / file)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("folder", ["qwen3_moe", "gpt_oss", "mxfp4"])
def test_the_untouched_folders_load(folder: str, request: pytest.FixtureRequest) -> None:
    assert load(request.getfixturevalue(folder)).config.moe is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"num_experts_per_tok": 4},
        {"num_experts_per_tok": None},
        {"num_local_experts": None},
        {"num_local_experts": 0},
        {"moe_intermediate_size": None},
        {"mlp_only_layers": 1},
        {"mlp_only_layers": ["first"]},
        {"decoder_sparse_step": 0},
        {"norm_topk_prob": "yes"},
        {"use_sliding_window": True},
        {"hidden_act": "gelu"},
        {"architectures": [["Qwen3MoeForCausalLM"]]},
        MXFP4,
    ],
    ids=str,
)
def test_qwen3_moe_config_the_engine_cannot_run(qwen3_moe: Path, changes: dict[str, Any]) -> None:
    edit_config(qwen3_moe, changes)
    refused(qwen3_moe, "config.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"layer_types": ["full_attention"]},
        {"layer_types": ["full_attention", "chunked_attention"]},
        {"layer_types": ["full_attention", ["sliding_attention"]]},
        {"sliding_window": None},
        {"sliding_window": 0},
        {"swiglu_limit": -7.0},
        {"quantization_config": {"quant_method": "fp8"}},
        {"quantization_config": {}},
        {"quantization_config": "mxfp4"},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 150000.0, "factor": 32.0}},
        {"rope_parameters": {"rope_type": "yarn", "original_max_position_embeddings": 4096}},
        {"rope_parameters": {"rope_type": "longrope", "factor": 32.0}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1.0}},
        {"rope_parameters": {"rope_type": "default"}, "partial_rotary_factor": 0.5},
    ],
    ids=str,
)
def test_gpt_oss_config_the_engine_cannot_run(gpt_oss: Path, changes: dict[str, Any]) -> None:
    edit_config(gpt_oss, changes)
    refused(gpt_oss, "config.json")


def test_missing_expert(qwen3_moe: Path) -> None:
    name = "model.layers.1.mlp.experts.2.up_proj.weight"
    edit_tensors(qwen3_moe, lambda tensors: tensors.pop(name))
    refused(qwen3_moe, "model.safetensors", name, "missing", "[24, 32]")


def test_expert_of_another_shape(qwen3_moe: Path) -> None:
    name = "model.layers.0.mlp.experts.0.down_proj.weight"
    edit_tensors(qwen3_moe, lambda tensors: tensors.update({name: torch.zeros(24, 32)}))
    refused(qwen3_moe, "model.safetensors", name, "[24, 32]", "[32, 24]")


@pytest.mark.parametrize("name", ["self_attn.sinks", "mlp.router.bias", "mlp.experts.gate_up_proj_bias"])
def test_missing_part_of_gpt_oss(gpt_oss: Path, name: str) -> None:
    edit_tensors(gpt_oss, lambda tensors: tensors.pop(f"model.layers.1.{name}"))
    refused(gpt_oss, "model.safetensors", name, "missing")


def test_dense_experts_where_the_config_says_four_bits(gpt_oss: Path) -> None:
    edit_config(gpt_oss, MXFP4)
    refused(gpt_oss, "model.safetensors", "experts.gate_up_proj_blocks", "missing")


def test_blocks_of_another_size(mxfp4: Path) -> None:
    edit_tensors(mxfp4, lambda tensors: tensors.update({f"{DOWN}_blocks": torch.zeros(3, 32, 2, 8, dtype=torch.uint8)}))
    refused(mxfp4, "model.safetensors", f"{DOWN}_blocks", "[3, 32, 2, 8]", "[3, 32, 1, 16]")


def test_scales_that_are_no_bytes(mxfp4: Path) -> None:
    edit_tensors(mxfp4, lambda tensors: tensors.update({f"{DOWN}_scales": torch.zeros(3, 32, 1)}))
    refused(mxfp4, "model.safetensors", f"{DOWN}_scales", "F32", "U8")


def test_widths_that_are_no_whole_blocks(mxfp4: Path) -> None:
    edit_config(mxfp4, {"intermediate_size": 40})
    edit_tensors(mxfp4, lambda tensors: widen(tensors, 40))
    refused(mxfp4, "model.safetensors", "experts.down_proj", "40 columns", "32")


def widen(tensors: dict[str, torch.Tensor], intermediate: int) -> None:
    for name in [name for name in tensors if "experts.gate_up_proj" in name]:
        experts, _, *inner = tensors[name].shape
        tensors[name] = torch.zeros(experts, 2 * intermediate, *inner, dtype=tensors[name].dtype)
