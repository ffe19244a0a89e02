"""What models ask of single kernels: the shapes of their projections, heads and experts."""

from __future__ import annotations

from typing import Any

import pytest
from neokernels.tuning.model_shape import LatentShape, ModelShape, RoutedShape

from bench.core.configs import names, resolve
from bench.core.errors import InputError
from bench.native.model_config import ModelConfig
from bench.native.model_shape import model_shape


def shape_of(name: str, **settings: Any) -> ModelShape:
    return model_shape(ModelConfig.from_folder(resolve(name, "models", suffix="")), **settings)


def test_a_dense_model() -> None:
    shape = shape_of("qwen3-8b")
    assert set(shape.projections) == {(6144, 4096), (4096, 4096), (24576, 4096), (4096, 12288)}
    assert shape.dense_projections == ((151936, 4096),)
    assert (shape.query_heads, shape.kv_heads, shape.head_dim, shape.qk_norm) == (32, 8, 128, True)
    assert (shape.dtype, shape.kv_dtype, shape.windows) == ("bfloat16", "bfloat16", (None,))
    assert (shape.routed, shape.latent) == (None, None)


def test_a_rank_has_its_part() -> None:
    shape = shape_of("qwen3-8b", tensor_parallel=16)
    # Two ranks each have the same KV head.
    assert set(shape.projections) == {(512, 4096), (4096, 256), (1536, 4096), (4096, 768)}
    assert shape.dense_projections == ((9496, 4096),)
    assert (shape.query_heads, shape.kv_heads, shape.intermediates) == (2, 1, (768,))
    with pytest.raises(InputError, match="tensor_parallel = 3"):
        shape_of("qwen3-8b", tensor_parallel=3)


def test_experts_with_sinks_and_windows() -> None:
    shape = shape_of("gpt-oss-120b", tensor_parallel=2)
    assert shape.routed == RoutedShape(128, 4, 1440, clamped=True, bias=True)
    assert (shape.sinks, shape.windows, shape.intermediates) == (True, (128, None), ())
    assert (128, 2880) in shape.dense_projections
    assert set(shape.projections) == {(2560, 2880), (2880, 2048)}


def test_latents_groups_and_a_shared_expert() -> None:
    shape = shape_of("deepseek-v3")
    assert shape.latent == LatentShape(512, 64)
    assert shape.routed == RoutedShape(256, 8, 2048, clamped=False, bias=False, groups=8)
    assert shape.intermediates == (2048, 18432)
    assert {(1536 + 576, 7168), (128 * 192, 1536), (7168, 128 * 128)} <= set(shape.projections)


@pytest.mark.parametrize(("weight_format", "quantised"), [("int8", True), ("fp8", False), ("nvfp4", False)])
def test_the_projection_to_logits_is_quantised_where_engines_do(weight_format: Any, quantised: bool) -> None:
    shape = shape_of("llama-3.1-8b", weight_format=weight_format, kv_dtype="fp8", decode_batches=(3,))
    assert ((128256, 4096) in shape.projections) == quantised
    assert ((128256, 4096) in shape.dense_projections) != quantised
    assert (shape.kv_dtype, shape.decode_batches) == ("float8_e4m3fn", (3,))


@pytest.mark.parametrize("name", names("models", ""))
def test_every_kernel_knows_the_problems_of_every_model(name: str) -> None:
    from neokernels.cuda.catalogue import catalogue

    shape = shape_of(name)
    asked = {kernel.name: list(kernel.problems(shape)) for kernel in catalogue().values()}
    assert asked["rms_norm"]
    for problems in asked.values():
        assert len(problems) == len(set(problems))
