"""What every rank of an engine makes for itself: where it runs, its part of the model, and how many KV blocks fit."""

from __future__ import annotations

from pathlib import Path

import torch
from neokernels.registry import Registry, Target

from bench.core.errors import EngineError, InputError
from bench.core.host import usable_cpus
from bench.native.device import free_bytes, is_out_of_memory, resolve_device, resolve_dtype, resolve_kv_dtype
from bench.native.graphs.modes import GraphSettings
from bench.native.model_config import ModelConfig
from bench.native.models import load_model
from bench.native.models.decoder import Decoder
from bench.native.parallel.collectives import Collectives, NoCollectives
from bench.native.parallel.ranks import Ranks
from bench.native.settings import EngineSettings
from bench.native.weight_size import weight_bytes


def threads_of(settings: EngineSettings) -> int:
    """CPU threads of each rank: an equal part of what the engine may use, at least one."""
    return max(1, (settings.threads or usable_cpus()) // settings.tensor_parallel)


def rank_devices(settings: EngineSettings) -> tuple[torch.device, ...]:
    """The device of each rank. Raises InputError where there are more ranks than GPUs."""
    device, ranks = resolve_device(settings.device), settings.tensor_parallel
    if device.type == "cpu" or ranks == 1:
        return (device,) * ranks
    if (there := torch.cuda.device_count()) < ranks:
        raise InputError(
            f"tensor_parallel = {ranks}", where="engine.tensor_parallel", allowed=f"at most {there}, one for each GPU"
        )
    return tuple(torch.device("cuda", rank) for rank in range(ranks))


def target_of(settings: EngineSettings, config: ModelConfig, device: torch.device) -> Target:
    dtype = resolve_dtype(settings.dtype, config.stored_dtype, device)
    return Target(device, dtype, settings.numerics, settings.weight_format, resolve_kv_dtype(settings.kv_dtype, dtype))


def graph_settings(settings: EngineSettings) -> GraphSettings:
    return GraphSettings(
        mode=settings.graph_mode,
        sizes=settings.graph_sizes,
        max_tokens=settings.graph_max_tokens,
        max_running=settings.max_running,
        step_tokens=settings.step_tokens,
        drafted_tokens=settings.speculation.tokens if settings.speculation else 0,
    )


def load_part(
    folder: Path,
    target: Target,
    registry: Registry,
    random_seed: int | None,
    collectives: Collectives | None = None,
) -> Decoder:
    """The rank's part of the model. Raises EngineError where it does not fit the device."""
    collectives = collectives or NoCollectives()
    needed, free = weight_bytes(folder, target, collectives.ranks), _share_of_free(target, collectives.ranks)
    too_large = EngineError(
        f"the weights of {folder} take about {needed:,} bytes, but {free:,} are free on {target.device}"
    )
    if needed > free:
        raise too_large
    try:
        return load_model(folder, target, registry, random_seed, collectives=collectives)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise too_large from error


def pool_blocks(settings: EngineSettings, target: Target, ranks: Ranks, *models: Decoder) -> int:
    """Blocks of the pools: as asked, or the share of what is free, but never more than `max_running` full contexts."""
    if settings.kv_cache_tokens is not None:
        return -(-settings.kv_cache_tokens // settings.block_tokens)
    dtype, free = target.kv_dtype or target.dtype, _share_of_free(target, ranks)
    block_bytes = sum(model.cache_shape.bytes_per_token(dtype) for model in models) * settings.block_tokens
    longest = models[0].config.max_positions
    blocks = min(
        int(free * settings.kv_memory_share) // block_bytes, settings.max_running * -(-longest // settings.block_tokens)
    )
    if blocks < 1:
        raise EngineError(
            f"no block of {block_bytes:,} bytes fits kv_memory_share = {settings.kv_memory_share} of the free "
            f"{free:,} bytes on {target.device}"
        )
    return blocks


def _share_of_free(target: Target, ranks: Ranks) -> int:
    """Memory of the rank's own: on a CPU they all take from the same."""
    return free_bytes(target.device) // (ranks.size if target.device.type == "cpu" else 1)
