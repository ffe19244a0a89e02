"""Small random models of every family, as folders of weights, and the same as transformers computes them.

Between them they cover what the families differ in; the committed tiny model is one more. Prompts reach past every
bound of a window and of a rotary scaling.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from neokernels.registry import Registry, Target
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Mxfp4Config,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from bench.native.models import Model, load_model

TINY = Path(__file__).parents[3] / "configs" / "models" / "tiny"
SHAPE: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "initializer_range": 0.3,
}


def llama_scaled() -> PreTrainedModel:
    """Llama 3.1's rotary scaling; biases everywhere."""
    return LlamaForCausalLM(
        LlamaConfig(
            **SHAPE,
            num_attention_heads=4,
            num_key_value_heads=4,
            attention_bias=True,
            mlp_bias=True,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        )
    )


def llama_grouped() -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(**SHAPE, num_attention_heads=8, num_key_value_heads=2, head_dim=24, tie_word_embeddings=False)
    )


def qwen3_tied() -> PreTrainedModel:
    return Qwen3ForCausalLM(
        Qwen3Config(**SHAPE, num_attention_heads=6, num_key_value_heads=3, head_dim=16, tie_word_embeddings=True)
    )


def qwen3_moe(**changes: Any) -> PreTrainedModel:
    return Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            **SHAPE,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            num_experts=8,
            num_experts_per_tok=3,
            moe_intermediate_size=32,
            **changes,
        )
    )


def qwen3_moe_normalised() -> PreTrainedModel:
    return qwen3_moe(norm_topk_prob=True)


def qwen3_moe_sparse() -> PreTrainedModel:
    """Dense layers between the routed ones, and YaRN as Qwen's model cards add it for long prompts."""
    yarn = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}
    return qwen3_moe(decoder_sparse_step=2, rope_parameters=yarn)


def gpt_oss(**changes: Any) -> PreTrainedModel:
    return GptOssForCausalLM(
        GptOssConfig(
            **SHAPE,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            num_local_experts=6,
            num_experts_per_tok=2,
            swiglu_limit=1.0,
            **changes,
        )
    )


def gpt_oss_alternating() -> PreTrainedModel:
    """Windows in every other layer, and YaRN between fractions of a dimension."""
    yarn = {
        "rope_type": "yarn",
        "rope_theta": 150.0,
        "factor": 32.0,
        "beta_fast": 8.0,
        "beta_slow": 1.0,
        "truncate": False,
        "original_max_position_embeddings": 64,
    }
    return gpt_oss(sliding_window=16, rope_parameters=yarn)


def gpt_oss_sliding() -> PreTrainedModel:
    """Windows in every layer, and an attention factor of its own."""
    yarn = {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 2.0,
        "attention_factor": 1.5,
        "original_max_position_embeddings": 32,
    }
    return gpt_oss(sliding_window=5, layer_types=["sliding_attention"] * 3, attention_bias=False, rope_parameters=yarn)


def store_mxfp4(folder: Path) -> None:
    """Put random codes and scales, of the layout OpenAI released, in the place of a gpt-oss folder's experts."""
    rewrite = {
        "quant_method": "mxfp4",
        "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router"],
    }
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": rewrite}))
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        experts, inputs, outputs = tensors.pop(name).shape
        blocks = (experts, outputs, inputs // 32)
        tensors[f"{name}_blocks"] = torch.randint(0, 256, (*blocks, 16), dtype=torch.uint8)
        tensors[f"{name}_scales"] = torch.randint(120, 124, blocks, dtype=torch.uint8)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def deepseek_v3(**changes: Any) -> PreTrainedModel:
    """A bias steers which two of four groups of experts are chosen; the first layer is dense."""
    model = DeepseekV3ForCausalLM(
        DeepseekV3Config(
            **SHAPE,
            num_attention_heads=4,
            num_key_value_heads=4,
            kv_lora_rank=24,
            qk_nope_head_dim=16,
            qk_rope_head_dim=8,
            v_head_dim=12,
            moe_intermediate_size=32,
            n_routed_experts=8,
            num_experts_per_tok=3,
            n_group=4,
            topk_group=2,
            first_k_dense_replace=1,
            **changes,
        )
    )
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.copy_(torch.randn_like(buffer) * 0.3)
    return model


def deepseek_v3_ranked() -> PreTrainedModel:
    """Queries through a rank, two shared experts, and YaRN whose temperature the softmax has."""
    yarn = {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "mscale": 0.7,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 32,
    }
    return deepseek_v3(q_lora_rank=20, n_shared_experts=2, rope_parameters=yarn)


def deepseek_v3_direct() -> PreTrainedModel:
    """Queries at once, rotated in halves; weights of experts as they come."""
    return deepseek_v3(q_lora_rank=None, n_shared_experts=1, norm_topk_prob=False, rope_interleave=False)


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama-scaled": llama_scaled,
    "llama-grouped": llama_grouped,
    "qwen3-tied": qwen3_tied,
    "qwen3-moe-normalised": qwen3_moe_normalised,
    "qwen3-moe-sparse": qwen3_moe_sparse,
    "gpt-oss-alternating": gpt_oss_alternating,
    "gpt-oss-sliding": gpt_oss_sliding,
    "deepseek-v3-ranked": deepseek_v3_ranked,
    "deepseek-v3-direct": deepseek_v3_direct,
    "gpt-oss-mxfp4": gpt_oss,
}


def randomise_vectors(model: PreTrainedModel) -> None:
    """Norm weights start as ones, biases and sinks as zeros or less; a mix-up of any would not be seen."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1 or name.endswith("bias"):
            parameter.data = torch.randn_like(parameter) * 0.2 + (1 if name.endswith("norm.weight") else 0)


@pytest.fixture(scope="module", params=[*FAMILIES, "tiny"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "tiny":
        return TINY
    torch.manual_seed(7)
    model = FAMILIES[request.param]()
    randomise_vectors(model)
    path = tmp_path_factory.mktemp(request.param)
    if request.param == "gpt-oss-mxfp4":
        model.save_pretrained(path)
        store_mxfp4(path)
    else:
        model.save_pretrained(path, max_shard_size="100KB")
        assert len(list(path.glob("*.safetensors"))) > 1
    return path


@pytest.fixture(scope="module")
def oracle(folder: Path) -> PreTrainedModel:
    stored_mxfp4 = "quantization_config" in json.loads((folder / "config.json").read_text())
    quantised = {"quantization_config": Mxfp4Config(dequantize=True)} if stored_mxfp4 else {}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **quantised).eval()
    # Some versions make four-bit experts bfloat16, which holds them exactly.
    for parameter in model.parameters():
        parameter.data = parameter.data.float()
    return model


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load_model(folder, Target(torch.device("cpu"), torch.float32), Registry())
