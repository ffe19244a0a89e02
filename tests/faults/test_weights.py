"""A model folder that is not whole: one line that names file, place and what is allowed, and never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from neokernels.registry import Registry, Target
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config, Qwen3ForCausalLM

from bench.core.errors import EngineError, InputError
from bench.native.kv_pool import CacheShape, KvPool
from bench.native.model_config import ARCHITECTURES
from bench.native.models import Model, load_model

CPU = torch.device("cpu")
DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole model in two or more shards."""
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
        )
    )
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    return tmp_path


@pytest.fixture
def single(folder: Path) -> Path:
    """The same model in one file."""
    shards = sorted(folder.glob("*.safetensors"))
    tensors = {name: tensor for shard in shards for name, tensor in load_file(shard).items()}
    for path in [*shards, folder / "model.safetensors.index.json"]:
        path.unlink()
    save_file(tensors, folder / "model.safetensors")
    return folder


def load(folder: Path) -> Model:
    return load_model(folder, Target(CPU, torch.float32), Registry())


def refused(folder: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    return caught.value


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def edit_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def test_the_untouched_folders_load(folder: Path) -> None:
    assert load(folder).config.layers == 2


def test_one_file_loads_like_shards(single: Path) -> None:
    assert load(single).config.layers == 2


def test_missing_folder(tmp_path: Path) -> None:
    error = refused(tmp_path / "nowhere")
    assert error.where == str(tmp_path / "nowhere")


def test_folder_without_config(tmp_path: Path) -> None:
    assert refused(tmp_path).where == str(tmp_path / "config.json")


def test_config_that_is_not_json(folder: Path) -> None:
    (folder / "config.json").write_text('{\n  "hidden_size": 16,\n  oops\n}')
    assert refused(folder).where == f"{folder / 'config.json'}:3"


def test_config_that_is_not_utf8(folder: Path) -> None:
    (folder / "config.json").write_bytes(b'{"a": "\xff"}')
    error = refused(folder)
    assert error.where == str(folder / "config.json")
    assert error.allowed == "UTF-8 text"


def test_config_that_is_a_list(folder: Path) -> None:
    (folder / "config.json").write_text("[1]")
    assert refused(folder).allowed == "a JSON object"


def test_unknown_architecture(folder: Path) -> None:
    rewrite(folder / "config.json", lambda c: c.update(architectures=["MambaForCausalLM"]))
    error = refused(folder)
    assert "MambaForCausalLM" in error.what
    assert error.allowed == ", ".join(ARCHITECTURES)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", -16),
        ("hidden_size", "16"),
        ("hidden_size", None),
        ("num_key_value_heads", 3),
        ("rms_norm_eps", 0),
        ("hidden_act", "gelu"),
        ("use_sliding_window", True),
        ("tie_word_embeddings", "no"),
        ("eos_token_id", "end"),
        ("dtype", "float8_e4m3fn"),
        ("quantization_config", {"quant_method": "gptq"}),
        ("rope_parameters", {"rope_type": "yarn", "factor": 4.0}),
        ("rope_parameters", {"rope_type": "llama3", "factor": 4.0}),
        ("rope_parameters", {"rope_type": "default", "partial_rotary_factor": 0.5}),
        ("rope_parameters", 7),
    ],
)
def test_value_the_engine_cannot_run(folder: Path, key: str, value: object) -> None:
    (folder / "generation_config.json").unlink()
    rewrite(folder / "config.json", lambda c: c.update({key: value}))
    error = refused(folder)
    assert error.where == str(folder / "config.json")


def test_truncated_file(single: Path) -> None:
    file = single / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert refused(single).where == str(file)


@pytest.mark.parametrize("size", [0, 5])
def test_file_without_a_header(single: Path, size: int) -> None:
    file = single / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    assert refused(single).where == str(file)


def test_pickled_weights_are_not_opened(single: Path) -> None:
    (single / "model.safetensors").rename(single / "pytorch_model.bin")
    error = refused(single)
    assert error.where == str(single / "model.safetensors")
    assert "safetensors" in (error.allowed or "")


def test_missing_tensor(single: Path) -> None:
    edit_tensors(single, lambda tensors: tensors.pop(DOWN))
    error = refused(single)
    assert DOWN in error.what
    assert error.where == str(single / "model.safetensors")
    assert error.allowed == "shape [16, 24]"


def test_unexpected_shape(single: Path) -> None:
    edit_tensors(single, lambda tensors: tensors.update({DOWN: torch.zeros(24, 16)}))
    error = refused(single)
    assert DOWN in error.what
    assert "[24, 16]" in error.what
    assert error.allowed == "shape [16, 24]"


def test_integer_weights(single: Path) -> None:
    edit_tensors(single, lambda tensors: tensors.update({DOWN: torch.zeros(16, 24, dtype=torch.int8)}))
    error = refused(single)
    assert DOWN in error.what
    assert "I8" in error.what


def test_missing_shard(folder: Path) -> None:
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.unlink()
    assert refused(folder).where == str(shard)


def test_tensor_that_no_shard_holds(folder: Path) -> None:
    shard = next(s for s in folder.glob("*.safetensors") if DOWN in load_file(s))
    tensors = load_file(shard)
    del tensors[DOWN]
    save_file({**tensors, "filler": torch.zeros(1)}, shard)
    error = refused(folder)
    assert DOWN in error.what
    assert error.where == str(folder / "model.safetensors.index.json")


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "model.bin"])
def test_index_that_leads_elsewhere(folder: Path, name: str) -> None:
    index = folder / "model.safetensors.index.json"
    rewrite(index, lambda document: document["weight_map"].update({DOWN: name}))
    error = refused(folder)
    assert error.where == str(index)
    assert name in error.what


def test_index_without_a_map(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    index.write_text("{}")
    assert refused(folder).where == str(index)


def test_a_kv_pool_larger_than_the_machine_names_both_sizes(folder: Path) -> None:
    with pytest.raises(EngineError, match=r"needs [\d,]+ bytes, but [\d,]+ are free on cpu"):
        KvPool(CacheShape(2, 1, 8, 8), 1 << 40, 16, torch.float32, CPU)
