"""A DeepSeek checkpoint in eight-bit tiles: read, it is the dense model those tiles stand for.

The quantiser here is the test's own, one tile at a time in plain loops.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from neokernels.formats import fp8_tiles
from neokernels.registry import Registry, Target
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

from bench.core.errors import InputError
from bench.native.batch import BatchItem, HostBatch
from bench.native.kv_pool import KvPool
from bench.native.models import load_model

CPU = torch.device("cpu")
DENSE = ("embed_tokens", "lm_head", "norm", "mlp.gate.")
"""Parts of names that the released checkpoints keep dense."""


def in_tiles(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What is stored of weight [N, K], its scales, and what the two stand for."""
    rows, columns = weight.shape
    stored = torch.empty(rows, columns, dtype=torch.float8_e4m3fn)
    scales = torch.empty((rows + 127) // 128, (columns + 127) // 128)
    meant = torch.empty(rows, columns)
    for top in range(0, rows, 128):
        for left in range(0, columns, 128):
            tile = (slice(top, min(top + 128, rows)), slice(left, min(left + 128, columns)))
            scale = float(weight[tile].abs().max()) / 448
            stored[tile] = (weight[tile] / scale).to(torch.float8_e4m3fn)
            scales[top // 128, left // 128] = scale
            meant[tile] = stored[tile].float() * scale
    return stored, scales, meant


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The model in tiles, and dense with the values they stand for. Hidden 160 leaves tiles that are cut off."""
    torch.manual_seed(5)
    model = DeepseekV3ForCausalLM(
        DeepseekV3Config(
            vocab_size=96,
            hidden_size=160,
            intermediate_size=136,
            num_hidden_layers=2,
            first_k_dense_replace=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            q_lora_rank=24,
            kv_lora_rank=16,
            qk_nope_head_dim=8,
            qk_rope_head_dim=8,
            v_head_dim=8,
            moe_intermediate_size=24,
            n_routed_experts=4,
            num_experts_per_tok=2,
            n_group=2,
            topk_group=1,
            initializer_range=0.3,
        )
    )
    dense, tiled = tmp_path_factory.mktemp("dense"), tmp_path_factory.mktemp("tiled")
    model.save_pretrained(dense)
    in_file = {}
    meant = {}
    for name, weight in load_file(dense / "model.safetensors").items():
        meant[name] = in_file[name] = weight
        if not any(part in name for part in DENSE):
            in_file[name], in_file[f"{name}_scale_inv"], meant[name] = in_tiles(weight)
    assert 0 < sum(weight.dtype == torch.float8_e4m3fn for weight in in_file.values()) < len(in_file)
    save_file(meant, dense / "model.safetensors")
    save_file(in_file, tiled / "model.safetensors")
    config = json.loads((dense / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}
    (tiled / "config.json").write_text(json.dumps(config))
    return tiled, dense


def logits(folder: Path) -> Tensor:
    model = load_model(folder, Target(CPU, torch.float32), Registry())
    kv = KvPool(model.cache_shape, 4, 16, torch.float32, CPU)
    batch = HostBatch.of([BatchItem(list(range(40)), 0, [0, 1, 2])], 16).on(CPU)
    return model.forward(batch, kv)


def test_tiles_are_read_as_what_they_stand_for(folders: tuple[Path, Path]) -> None:
    tiled, dense = folders
    assert torch.equal(logits(tiled), logits(dense))


@pytest.mark.parametrize("shape", [(1, 1), (128, 128), (129, 128), (40, 300)])
def test_a_matrix_of_any_shape(shape: tuple[int, int]) -> None:
    stored, scales, meant = in_tiles(torch.randn(shape, generator=torch.Generator().manual_seed(1)))
    assert scales.shape == fp8_tiles.scales_shape(shape)
    assert torch.equal(fp8_tiles.dequantise(stored, scales, torch.float32), meant)


def test_a_matrix_without_scales_is_told(folders: tuple[Path, Path], tmp_path: Path) -> None:
    tiled, _ = folders
    (tmp_path / "config.json").write_text((tiled / "config.json").read_text())
    tensors = load_file(tiled / "model.safetensors")
    del tensors["model.layers.1.self_attn.o_proj.weight_scale_inv"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"layers\.1\.self_attn\.o_proj\.weight_scale_inv' is missing"):
        logits(tmp_path)


def test_tiles_of_another_size_are_told(folders: tuple[Path, Path], tmp_path: Path) -> None:
    config = json.loads((folders[0] / "config.json").read_text())
    config["quantization_config"]["weight_block_size"] = [64, 64]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"weight_block_size = \[64, 64\] \(allowed: \[128, 128\]\)"):
        logits(tmp_path)
