"""From a model folder and settings to an engine that can step, and an account of what was decided on the way."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from neokernels.registry import Registry, Target
from neokernels.roofline import measure_ceilings

from bench.core.errors import EngineError
from bench.native.accuracy import Reference, make_reference, measure
from bench.native.core import EngineCore
from bench.native.device import (
    accelerator_ids,
    free_bytes,
    is_out_of_memory,
    resolve_device,
    resolve_dtype,
    resolve_kv_dtype,
)
from bench.native.executor import executor_for
from bench.native.generation import ThinkTags
from bench.native.graphs.modes import GraphSettings
from bench.native.graphs.runner import StepRunner
from bench.native.host import usable_cpus
from bench.native.kv_cache import BlockAllocator
from bench.native.kv_pool import KvPool
from bench.native.model_config import ModelConfig
from bench.native.models import load_model
from bench.native.models.decoder import Decoder
from bench.native.policies import make_policy
from bench.native.sampler import Sampler
from bench.native.scheduler import Scheduler
from bench.native.settings import EngineSettings
from bench.native.speculative.draft_model import DraftModelSpeculator
from bench.native.speculative.ngram import NgramSpeculator
from bench.native.speculative.speculation import Speculation
from bench.native.speculative.speculator import Speculator
from bench.native.speculative.verify import Verifier
from bench.native.weight_size import weight_bytes
from bench.native.work import AttentionWork, model_work


@dataclass(frozen=True)
class LoadedEngine:
    core: EngineCore
    max_context_tokens: int
    """The longest prompt and output together that the model and the KV pool both hold."""
    capture_s: float
    """Seconds of the load that went into capturing CUDA graphs."""
    accuracy_s: float
    """And into running the reference and being held to it."""
    description: dict[str, Any]
    """What was resolved, in plain values, for the record."""


def load_engine(folder: Path, settings: EngineSettings, random_seed: int | None = None) -> LoadedEngine:
    """Load the model, size the KV pool by what memory is then left, and put the engine together.

    With `random_seed` the model's weights are made from it, and only its configuration is read. Raises InputError for a
    folder that is not a model, EngineError when model, pool or graphs do not fit the device.
    """
    threads = settings.threads or usable_cpus()
    torch.set_num_threads(threads)
    config = ModelConfig.from_folder(folder)
    registry = Registry()
    target = _target(settings, config)
    began = time.monotonic()
    # Before the model itself takes its memory.
    reference = None if _unchecked(settings, random_seed) else make_reference(folder, target.device)
    accuracy_s = time.monotonic() - began
    model = _load_model(folder, target, registry, random_seed)
    drafter = _load_draft_model(settings, target)
    pools = _pools(settings, target, model, *([drafter] if drafter else []))
    pool_tokens = pools[0].blocks * pools[0].block_tokens
    runner = _runner(settings, target, model, pools[0], registry)
    captured = runner.warm_up()
    began = time.monotonic()
    accuracy = _accuracy(settings, runner, pools[0], reference) or {"reason": _unchecked(settings, random_seed)}
    accuracy_s += time.monotonic() - began
    sampler = Sampler(registry, _logits_target(target), max_running=settings.max_running, vocabulary=config.vocabulary)
    overlap = settings.overlap and settings.speculation is None
    core = EngineCore(
        runner=runner,
        scheduler=_scheduler(settings, config, pools[0]),
        sampler=sampler,
        speculation=_speculation(settings, target, sampler, registry, config, drafter, pools[-1]),
        executor=executor_for(target.device, overlap=overlap),
        attention_work=AttentionWork.of(config, model.cache_shape, target.kv_dtype or target.dtype),
        tags=ThinkTags.from_folder(folder),
        vocabulary=config.vocabulary,
        eos_ids=config.eos_ids,
        prefix_cache=settings.prefix_cache,
        overlap=overlap,
        max_running=settings.max_running,
        device=target.device,
    )
    accelerators = accelerator_ids(target.device)
    description = {
        "device": str(target.device),
        "accelerators": len(accelerators),
        "accelerator_ids": accelerators,
        "dtype": _name(target.dtype),
        "weight_format": settings.weight_format,
        "kv_dtype": _name(target.kv_dtype or target.dtype),
        "numerics": settings.numerics,
        "threads": threads,
        "weights": "stored" if random_seed is None else "random",
        "accuracy": accuracy,
        "work": asdict(model_work(model)),
        "ceilings": asdict(measure_ceilings(target.device, target.dtype)),
        "parameter_bytes": model.parameter_bytes,
        "kv_pool": {
            "blocks": pools[0].blocks,
            "block_tokens": pools[0].block_tokens,
            "tokens": pool_tokens,
            "bytes": sum(pool.bytes for pool in pools),
        },
        "policy": settings.policy,
        "admission": settings.admission,
        "prefix_cache": settings.prefix_cache,
        "overlap": overlap,
        "downgrades": ["overlap: speculation has to know each token before it drafts"]
        if settings.overlap and not overlap
        else [],
        "kernels": [asdict(choice) for choice in registry.choices],
    }
    return LoadedEngine(core, min(config.max_positions, pool_tokens), captured.capture_s, accuracy_s, description)


def _target(settings: EngineSettings, config: ModelConfig) -> Target:
    device = resolve_device(settings.device)
    dtype = resolve_dtype(settings.dtype, config.stored_dtype, device)
    return Target(device, dtype, settings.numerics, settings.weight_format, resolve_kv_dtype(settings.kv_dtype, dtype))


def _unchecked(settings: EngineSettings, random_seed: int | None) -> str | None:
    """Why the answers are not checked; None where they are."""
    if random_seed is not None:
        return "random weights"
    return None if settings.check_accuracy else "engine.check_accuracy is off"


def _accuracy(
    settings: EngineSettings, runner: StepRunner, pool: KvPool, reference: Reference | None
) -> dict[str, Any] | None:
    if reference is None:
        return None
    if pool.blocks * pool.block_tokens < 2:
        return {"reason": "a KV pool of one token holds no text"}
    figures = measure(runner, pool.blocks, settings.max_running, settings.step_tokens, reference)
    return {"figures": asdict(figures)}


def _logits_target(target: Target) -> Target:
    return Target(target.device, torch.float32, target.numerics)


def _load_draft_model(settings: EngineSettings, target: Target) -> Decoder | None:
    if settings.speculation is None or settings.speculation.model is None:
        return None
    folder = Path(settings.speculation.model)
    # With a registry of its own: the record tells what answers for the model that is measured.
    return _load_model(folder, target, Registry(), None)


def _pools(settings: EngineSettings, target: Target, *models: Decoder) -> list[KvPool]:
    """A pool for each model, all of the same blocks."""
    dtype = target.kv_dtype or target.dtype
    blocks = _pool_blocks(settings, target, *models)
    return [KvPool(model.cache_shape, blocks, settings.block_tokens, dtype, target.device) for model in models]


def _runner(settings: EngineSettings, target: Target, model: Decoder, pool: KvPool, registry: Registry) -> StepRunner:
    graphs = GraphSettings(
        mode=settings.graph_mode,
        sizes=settings.graph_sizes,
        max_tokens=settings.graph_max_tokens,
        max_running=settings.max_running,
        step_tokens=settings.step_tokens,
        drafted_tokens=settings.speculation.tokens if settings.speculation else 0,
    )
    return StepRunner(model, pool, graphs, registry.choices, target.device)


def _scheduler(settings: EngineSettings, config: ModelConfig, pool: KvPool) -> Scheduler:
    return Scheduler(
        make_policy(settings.policy, tpot_target_ms=settings.tpot_target_ms),
        BlockAllocator(pool.blocks, pool.block_tokens),
        step_tokens=settings.step_tokens,
        max_running=settings.max_running,
        max_context_tokens=config.max_positions,
        optimistic=settings.admission == "optimistic",
    )


def _speculation(
    settings: EngineSettings,
    target: Target,
    sampler: Sampler,
    registry: Registry,
    config: ModelConfig,
    drafter: Decoder | None,
    drafter_pool: KvPool,
) -> Speculation | None:
    asked = settings.speculation
    if asked is None:
        return None
    speculator: Speculator
    if drafter is None:
        speculator = NgramSpeculator(
            tokens=asked.tokens, match_tokens=asked.match_tokens, max_running=settings.max_running
        )
    else:
        speculator = DraftModelSpeculator(
            drafter,
            drafter_pool,
            sampler,
            target.device,
            vocabulary=config.vocabulary,
            tokens=asked.tokens,
            max_running=settings.max_running,
            coupled=settings.numerics == "batch_invariant",
        )
    return Speculation(speculator, Verifier(sampler, registry, _logits_target(target)))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _load_model(folder: Path, target: Target, registry: Registry, random_seed: int | None) -> Decoder:
    needed, free = weight_bytes(folder, target), free_bytes(target.device)
    too_large = EngineError(
        f"the weights of {folder} take about {needed:,} bytes, but {free:,} are free on {target.device}"
    )
    if needed > free:
        raise too_large
    try:
        return load_model(folder, target, registry, random_seed)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise too_large from error


def _pool_blocks(settings: EngineSettings, target: Target, *models: Decoder) -> int:
    """Blocks of the pools: as asked, or the share of what is free, but never more than `max_running` full contexts."""
    if settings.kv_cache_tokens is not None:
        return -(-settings.kv_cache_tokens // settings.block_tokens)
    dtype, free = target.kv_dtype or target.dtype, free_bytes(target.device)
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
