"""What is read from a model folder's JSON, in both spellings that are met."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core.errors import InputError
from bench.native.device import resolve_device, resolve_dtype
from bench.native.kv_pool import CacheShape
from bench.native.model_config import Llama3Scaling, ModelConfig, RotaryConfig, YarnScaling

SMALLEST = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 32,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def read(folder: Path, **changes: Any) -> ModelConfig:
    (folder / "config.json").write_text(json.dumps({**SMALLEST, **changes}))
    return ModelConfig.from_folder(folder)


def test_defaults_of_what_older_configs_leave_out(tmp_path: Path) -> None:
    config = read(tmp_path)
    assert (config.kv_heads, config.head_dim) == (4, 6)
    assert config.rotary == RotaryConfig(theta=10000.0, dim=6, scaling=None)
    assert (config.tied_embeddings, config.attention_bias, config.mlp_bias) == (False, False, False)
    assert config.eos_ids == ()
    assert config.stored_dtype == "float32"


@pytest.mark.parametrize(
    "spelling",
    [{"rope_parameters": {**LLAMA3, "rope_theta": 5e5}}, {"rope_theta": 5e5, "rope_scaling": LLAMA3}],
    ids=["rope_parameters", "rope_scaling"],
)
def test_both_spellings_of_the_rotary_settings(tmp_path: Path, spelling: dict[str, Any]) -> None:
    config = read(tmp_path, **spelling)
    assert config.rotary == RotaryConfig(theta=5e5, dim=6, scaling=Llama3Scaling(8.0, 1.0, 4.0, 64))


def test_generation_config_names_the_ends_first(tmp_path: Path) -> None:
    assert read(tmp_path, eos_token_id=2).eos_ids == (2,)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [5, 2]}')
    assert read(tmp_path, eos_token_id=2).eos_ids == (5, 2)
    (tmp_path / "generation_config.json").write_text("{}")
    assert read(tmp_path, eos_token_id=2).eos_ids == (2,)


def test_qwen3_has_no_mlp_bias(tmp_path: Path) -> None:
    config = read(tmp_path, architectures=["Qwen3ForCausalLM"], mlp_bias=True, attention_bias=True)
    assert config.family == "qwen3"
    assert config.attention_bias
    assert not config.mlp_bias


GPT_OSS = {"architectures": ["GptOssForCausalLM"], "num_local_experts": 4, "num_experts_per_tok": 2}


def test_gpt_oss_slides_in_every_other_layer_where_its_config_does_not_say(tmp_path: Path) -> None:
    config = read(tmp_path, **GPT_OSS, num_hidden_layers=5, sliding_window=128)
    assert config.windows == (128, None, 128, None, 128)
    assert config.stored_dtype == "bfloat16"
    assert config.rotary.theta == 150000
    assert config.attention_bias


def test_qwen3_moe_lists_its_dense_layers_in_two_ways(tmp_path: Path) -> None:
    keys = {"num_hidden_layers": 6, "moe_intermediate_size": 8, "num_experts": 4, "num_experts_per_tok": 2}
    changes = {"architectures": ["Qwen3MoeForCausalLM"], "decoder_sparse_step": 2, "mlp_only_layers": [3]}
    config = read(tmp_path, **keys, **changes)
    assert config.moe is not None
    assert config.moe.dense_layers == {0, 2, 3, 4}
    assert config.windows == (None,) * 6


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 0.1 * math.log(40) + 1),
        ({"attention_factor": 1.25}, 1.25),
        ({"mscale": 1.0, "mscale_all_dim": 0.5}, (0.1 * math.log(40) + 1) / (0.05 * math.log(40) + 1)),
        ({"mscale": 0.7}, 0.1 * math.log(40) + 1),
        ({"factor": 1.0}, 1.0),
    ],
    ids=str,
)
def test_attention_factor_of_yarn(tmp_path: Path, settings: dict[str, float], expected: float) -> None:
    yarn = {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 64, **settings}
    scaling = read(tmp_path, rope_scaling=yarn).rotary.scaling
    assert isinstance(scaling, YarnScaling)
    assert scaling.attention_factor == pytest.approx(expected)


def test_bytes_per_token_counts_keys_and_values_of_all_layers() -> None:
    assert CacheShape(3, 2, 16, 8).bytes_per_token(torch.bfloat16) == 3 * 2 * (16 + 8) * 2
    assert CacheShape(3, 1, 16, 8, value_in_key=True).bytes_per_token(torch.bfloat16) == 3 * 16 * 2


def test_dtype_auto_is_float32_on_a_cpu_and_as_stored_on_a_gpu() -> None:
    assert resolve_dtype("auto", "bfloat16", torch.device("cpu")) == torch.float32
    assert resolve_dtype("auto", "bfloat16", torch.device("cuda")) == torch.bfloat16
    assert resolve_dtype("float16", "bfloat16", torch.device("cuda")) == torch.float16


def test_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(InputError, match="no CUDA device"):
        resolve_device("cuda")
