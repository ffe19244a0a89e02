"""A model's size is known before its weights are there, and one that is too large is refused in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from neokernels.registry import Registry, Target, WeightFormat

from bench.core.configs import config_root
from bench.core.errors import EngineError
from bench.core.spec import NativeEngineSpec
from bench.native.load import load_engine
from bench.native.models import load_model
from bench.native.settings import EngineSettings
from bench.native.weight_size import weight_bytes

CPU = torch.device("cpu")
SHAPE = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 2, "vocab_size": 2048}
HEADS = {"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 512}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config: dict[str, Any] = {**SHAPE, **HEADS, "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dense_weights_take_what_was_said(folder: Path, dtype: torch.dtype) -> None:
    target = Target(CPU, dtype)
    assert weight_bytes(folder, target) == load_model(folder, target, Registry(), random_seed=0).parameter_bytes


@pytest.mark.parametrize("weight_format", ["int8", "fp8", "mxfp4", "nvfp4"])
def test_quantised_weights_take_about_what_was_said(folder: Path, weight_format: WeightFormat) -> None:
    target = Target(CPU, torch.float32, weight_format=weight_format)
    kept = load_model(folder, target, Registry(), random_seed=0).parameter_bytes
    assert weight_bytes(folder, target) == pytest.approx(kept, rel=0.01)


@pytest.mark.parametrize("name", ["llama-3.1-70b", "gpt-oss-120b", "deepseek-v3"])
def test_a_shape_that_does_not_fit_is_refused_before_any_of_it_is_made(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.native.rank.free_bytes", lambda device: 24 << 30)
    values = NativeEngineSpec(device="cpu", dtype="bfloat16", threads=1).model_dump(exclude={"kind"})
    folder = config_root() / "models" / name
    with pytest.raises(EngineError, match=r"take about [\d,]{15,} bytes, but 25,769,803,776 are free on cpu") as caught:
        load_engine(folder, EngineSettings.of(values), random_seed=0)
    assert "\n" not in str(caught.value)
