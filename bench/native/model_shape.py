"""What a model asks of single kernels, from its configuration: the problems that schedules are tuned for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from neokernels.linear import output_format
from neokernels.registry import WeightFormat
from neokernels.tuning.model_shape import LatentShape, ModelShape, RoutedShape

from bench.native.device import DTYPES, resolve_kv_dtype
from bench.native.model_config import ModelConfig, MoeConfig
from bench.native.parallel.ranks import Ranks
from bench.native.parallel.shards import Shards

Projection = tuple[int, int]


def model_shape(
    config: ModelConfig,
    *,
    weight_format: WeightFormat = "dense",
    kv_dtype: str = "auto",
    block_tokens: int = 16,
    tensor_parallel: int = 1,
    decode_batches: tuple[int, ...] = (),
) -> ModelShape:
    """One rank's part of the model as a GPU computes it, in the dtype it is stored in.

    Settings mean what they mean in the engine section of a spec; without `decode_batches` they are the usual ones.
    Raises InputError where the model cannot be cut as asked.
    """
    shards = Shards.of(config, Ranks(0, tensor_parallel))
    quantised, dense = set(_projections(config, shards)), set(_routers(config))
    output = (config.vocabulary // tensor_parallel, config.hidden)
    (dense if output_format(weight_format) == "dense" else quantised).add(output)
    shape = ModelShape(
        hidden=config.hidden,
        vocabulary=config.vocabulary,
        query_heads=config.query_heads // tensor_parallel,
        kv_heads=shards.local_kv_heads,
        head_dim=config.head_dim,
        intermediates=tuple(sorted({width // tensor_parallel for width in _dense_widths(config)})),
        projections=tuple(sorted(quantised)),
        dense_projections=tuple(sorted(dense)),
        qk_norm=config.family in ("qwen3", "qwen3_moe"),
        sinks=config.family == "gpt_oss",
        windows=tuple(dict.fromkeys(config.windows)),
        routed=_routed(config.moe, tensor_parallel) if config.moe else None,
        latent=LatentShape(config.latent.rank, config.latent.rotary_dim) if config.latent else None,
        dtype=config.stored_dtype,
        weight_format=weight_format,
        kv_dtype=str(resolve_kv_dtype(kv_dtype, DTYPES[config.stored_dtype])).removeprefix("torch."),
        block_tokens=block_tokens,
    )
    return replace(shape, decode_batches=decode_batches) if decode_batches else shape


def _projections(config: ModelConfig, shards: Shards) -> Iterator[Projection]:
    """Of attention and of the dense feed-forwards, as layers stack them."""
    size, hidden, latent = shards.ranks.size, config.hidden, config.latent
    heads = config.query_heads // size
    if latent is None:
        yield (heads + 2 * shards.local_kv_heads) * config.head_dim, hidden
        yield hidden, heads * config.head_dim
    else:
        queries = heads * latent.query_dim
        yield (latent.query_rank or queries) + latent.cached_dim, hidden
        if latent.query_rank is not None:
            yield queries, latent.query_rank
        yield hidden, heads * latent.value_dim
    for width in _dense_widths(config):
        yield 2 * width // size, hidden
        yield hidden, width // size


def _dense_widths(config: ModelConfig) -> Iterator[int]:
    """Of the feed-forwards that every token goes through, over all ranks."""
    if config.moe is None or config.moe.dense_layers:
        yield config.intermediate
    if config.moe is not None and config.moe.shared_experts:
        yield config.moe.shared_experts * config.moe.expert_intermediate


def _routers(config: ModelConfig) -> Iterator[Projection]:
    if config.moe is not None:
        yield config.moe.experts, config.hidden


def _routed(moe: MoeConfig, ranks: int) -> RoutedShape:
    return RoutedShape(
        experts=moe.experts,
        experts_per_token=moe.experts_per_token,
        intermediate=moe.expert_intermediate // ranks,
        clamped=moe.swiglu_limit is not None,
        bias=moe.router_bias,  # families whose routers have one have them in their experts, too
        groups=moe.groups,
    )
