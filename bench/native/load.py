"""From a model folder and settings to an engine that can step, and an account of what was decided on the way."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from neokernels.registry import Registry, Target

from bench.core.errors import EngineError
from bench.native.core import EngineCore
from bench.native.device import DTYPES, accelerator_ids, free_bytes, is_out_of_memory, resolve_device, resolve_dtype
from bench.native.executor import executor_for
from bench.native.generation import ThinkTags
from bench.native.host import usable_cpus
from bench.native.kv_cache import BlockAllocator
from bench.native.kv_pool import KvPool
from bench.native.model_config import ModelConfig
from bench.native.models import Model, load_model
from bench.native.policies import make_policy
from bench.native.runner import EagerRunner
from bench.native.sampler import Sampler
from bench.native.scheduler import Scheduler
from bench.native.settings import EngineSettings
from bench.native.work import AttentionWork


@dataclass(frozen=True)
class LoadedEngine:
    core: EngineCore
    max_context_tokens: int
    """The longest prompt and output together that the model and the KV pool both hold."""
    description: dict[str, Any]
    """What was resolved, in plain values, for the record."""


def load_engine(folder: Path, settings: EngineSettings, random_seed: int | None = None) -> LoadedEngine:
    """Load the model, size the KV pool by what memory is then left, and put the engine together.

    With `random_seed` the model's weights are made from it, and only its configuration is read. Raises InputError for a
    folder that is not a model, EngineError when model or pool does not fit the device.
    """
    threads = settings.threads or usable_cpus()
    torch.set_num_threads(threads)
    device = resolve_device(settings.device)
    config = ModelConfig.from_folder(folder)
    dtype = resolve_dtype(settings.dtype, config.stored_dtype, device)
    registry = Registry()
    model = _load_model(folder, config, Target(device, dtype), registry, random_seed)
    sampler = Sampler(
        registry, Target(device, torch.float32), max_running=settings.max_running, vocabulary=config.vocabulary
    )
    blocks = _pool_blocks(model, settings, dtype, device)
    pool = KvPool(model.cache_shape, blocks, settings.block_tokens, dtype, device)
    pool_tokens = pool.blocks * pool.block_tokens
    scheduler = Scheduler(
        make_policy(settings.policy, tpot_target_ms=settings.tpot_target_ms),
        BlockAllocator(pool.blocks, pool.block_tokens),
        step_tokens=settings.step_tokens,
        max_running=settings.max_running,
        max_context_tokens=config.max_positions,
        optimistic=settings.admission == "optimistic",
    )
    accelerators = accelerator_ids(device)
    description = {
        "device": str(device),
        "accelerators": len(accelerators),
        "accelerator_ids": accelerators,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": threads,
        "weights": "stored" if random_seed is None else "random",
        "parameter_bytes": model.parameter_bytes,
        "kv_pool": {
            "blocks": pool.blocks,
            "block_tokens": pool.block_tokens,
            "tokens": pool_tokens,
            "bytes": pool.bytes,
        },
        "policy": settings.policy,
        "admission": settings.admission,
        "prefix_cache": settings.prefix_cache,
        "graph_mode": "none",
        "kernels": [asdict(choice) for choice in registry.choices],
    }
    core = EngineCore(
        runner=EagerRunner(model, pool, device),
        scheduler=scheduler,
        sampler=sampler,
        executor=executor_for(device, overlap=settings.overlap),
        attention_work=AttentionWork.of(config, model.cache_shape, dtype),
        tags=ThinkTags.from_folder(folder),
        vocabulary=config.vocabulary,
        eos_ids=config.eos_ids,
        prefix_cache=settings.prefix_cache,
        overlap=settings.overlap,
        max_running=settings.max_running,
        device=device,
    )
    return LoadedEngine(core, min(config.max_positions, pool_tokens), description)


def _load_model(
    folder: Path, config: ModelConfig, target: Target, registry: Registry, random_seed: int | None
) -> Model:
    stored_bytes = sum(file.stat().st_size for file in folder.glob("model*.safetensors"))
    weight_bytes = stored_bytes * target.dtype.itemsize // DTYPES[config.stored_dtype].itemsize
    free = free_bytes(target.device)
    too_large = EngineError(
        f"the weights of {folder} take about {weight_bytes:,} bytes, but {free:,} are free on {target.device}"
    )
    # Asked beforehand, because a process that takes too much of a machine's memory is killed, not told.
    if weight_bytes > free:
        raise too_large
    try:
        return load_model(folder, target, registry, random_seed)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise too_large from error


def _pool_blocks(model: Model, settings: EngineSettings, dtype: torch.dtype, device: torch.device) -> int:
    """Blocks of the pool: as asked, or the share of what is free, but never more than `max_running` full contexts."""
    if settings.kv_cache_tokens is not None:
        return -(-settings.kv_cache_tokens // settings.block_tokens)
    share_bytes = int(free_bytes(device) * settings.kv_memory_share)
    block_bytes = model.cache_shape.bytes_per_token(dtype) * settings.block_tokens
    blocks = min(
        share_bytes // block_bytes, settings.max_running * -(-model.config.max_positions // settings.block_tokens)
    )
    if blocks < 1:
        raise EngineError(
            f"no block of {block_bytes:,} bytes fits kv_memory_share = {settings.kv_memory_share} of the free "
            f"{free_bytes(device):,} bytes on {device}"
        )
    return blocks
