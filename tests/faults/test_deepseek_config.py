"""A DeepSeek-V3 config that the engine cannot run as it is meant: one line that names the key and what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.core.configs import config_root
from bench.core.errors import InputError
from bench.native.model_config import ModelConfig


def read(folder: Path, **changes: Any) -> ModelConfig:
    config = json.loads((config_root() / "models" / "deepseek-v3" / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return ModelConfig.from_folder(folder)


def test_the_published_config_is_read(tmp_path: Path) -> None:
    config = read(tmp_path)
    assert config.latent is not None
    assert config.latent.cached_dim == 576
    assert config.moe is not None
    assert config.moe.dense_layers == {0, 1, 2}
    assert config.stored_format == "fp8"


def test_every_other_layer_can_be_dense(tmp_path: Path) -> None:
    config = read(tmp_path, first_k_dense_replace=0, moe_layer_freq=2, num_hidden_layers=5)
    assert config.moe is not None
    assert config.moe.dense_layers == {1, 3}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attention_bias", True),
        ("kv_lora_rank", 0),
        ("q_lora_rank", "many"),
        ("qk_rope_head_dim", None),
        ("qk_rope_head_dim", 7),
        ("rope_interleave", 1),
        ("scoring_func", "softmax"),
        ("topk_method", "greedy"),
        ("n_group", 3),
        ("n_group", 256),
        ("topk_group", 9),
        ("num_experts_per_tok", 257),
        ("first_k_dense_replace", -1),
        ("n_shared_experts", 0),
        ("quantization_config", {"quant_method": "fp8", "weight_block_size": [1, 128]}),
        ("quantization_config", {"quant_method": "awq"}),
    ],
)
def test_value_the_engine_cannot_run(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, **{key: value})
    assert caught.value.where == str(tmp_path / "config.json")
    assert "\n" not in str(caught.value)


def test_groups_too_few_for_the_experts_of_a_token(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"topk_group = 1 .*num_experts_per_tok"):
        read(tmp_path, n_group=64, topk_group=1)
