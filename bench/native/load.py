"""From a model folder and settings to an engine that can step, and an account of what was decided on the way."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from neokernels.registry import Registry, Target, UnknownImplementationError
from neokernels.roofline import measure_ceilings
from neokernels.tuning.table import TableError

from bench.core.errors import EngineError, InputError
from bench.native.accuracy_gate import AccuracyGate
from bench.native.core import EngineCore
from bench.native.device import accelerator_ids, is_out_of_memory
from bench.native.executor import executor_for
from bench.native.graphs.runner import StepRunner
from bench.native.kv_cache import BlockAllocator
from bench.native.kv_pool import CacheShape, KvPool
from bench.native.model_config import ModelConfig
from bench.native.models.decoder import Decoder
from bench.native.parallel.followers import Followers
from bench.native.parallel.ranks import Ranks
from bench.native.parallel.runner import LeadingRunner
from bench.native.parallel.shards import Shards
from bench.native.policies import make_policy
from bench.native.rank import graph_settings, load_part, pool_blocks, rank_devices, target_of, threads_of
from bench.native.sampler import Sampler
from bench.native.scheduler import Scheduler
from bench.native.settings import EngineSettings
from bench.native.speculative.build import load_drafter, make_speculation
from bench.native.thinking import marks_in
from bench.native.work import AttentionWork, model_work


@dataclass(frozen=True)
class LoadedEngine:
    core: EngineCore
    max_context_tokens: int
    """The longest prompt and output together that the model and the KV pool both hold."""
    compile_s: float
    """Seconds of the load that went into compiling kernels."""
    capture_s: float
    """Seconds of it that went into capturing CUDA graphs."""
    accuracy_s: float
    """Seconds of it that went into running the reference and being held to it."""
    description: dict[str, Any]
    """What was resolved, in plain values, for the record."""
    followers: Followers
    """The processes of other ranks, if there are any; they are to be closed."""


def load_engine(folder: Path, settings: EngineSettings, random_seed: int | None = None) -> LoadedEngine:
    """Load the model, size the KV pool by what memory is then left, and put the engine together.

    With `random_seed` the model's weights are made from it, and only its configuration is read. Raises InputError for a
    folder that is not a model or cannot be cut as asked, EngineError when model, pool or graphs do not fit the device.
    """
    config = ModelConfig.from_folder(folder)
    devices = rank_devices(settings)
    Shards.of(config, Ranks(0, settings.tensor_parallel))  # refuses before a process is started in vain
    target = target_of(settings, config, devices[0])
    followers = Followers(folder, settings, random_seed)
    try:
        return _load(folder, settings, random_seed, config, target, followers)
    except BaseException as error:
        followers.close()
        if isinstance(error, UnknownImplementationError):
            raise InputError(
                f"{error.operation} = {error.preferred!r}", where="engine.kernels", allowed=", ".join(error.known)
            ) from error
        if isinstance(error, TableError):
            raise EngineError(str(error)) from error
        if is_out_of_memory(error):
            raise EngineError(f"out of memory on {target.device} while the engine was loaded") from error
        raise


def _load(
    folder: Path,
    settings: EngineSettings,
    random_seed: int | None,
    config: ModelConfig,
    target: Target,
    followers: Followers,
) -> LoadedEngine:
    """What rank 0 does to load an engine; between them its `followers` do their parts."""
    torch.set_num_threads(settings.tensor_parallel * threads_of(settings))
    ceilings = measure_ceilings(target.device, target.dtype)
    gate = AccuracyGate(folder, settings, random_seed, target.device)
    torch.set_num_threads(threads_of(settings))
    registry = Registry(settings.kernels)
    collectives = followers.join(target.device)
    model = load_part(folder, target, registry, random_seed, collectives)
    drafter = load_drafter(settings, target)
    others = followers.loaded()
    models = [model, drafter] if drafter else [model]
    blocks = min([pool_blocks(settings, target, collectives.ranks, *models), *(one.blocks for one in others)])
    pools = _pools(settings, target, blocks, *models)
    followers.serve(blocks)
    runner = _runner(settings, target, model, pools[0], registry, followers)
    warm_up = runner.warm_up()
    accuracy = gate.check(runner, pools[0])
    logits_target = Target(target.device, torch.float32, target.numerics)
    sampler = Sampler(
        registry,
        logits_target,
        max_running=settings.max_running,
        vocabulary=config.vocabulary,
        eos_ids=config.eos_ids,
    )
    resolved = _resolved(settings, target, collectives.backend)
    overlap = resolved["overlap"]
    core = EngineCore(
        runner=runner,
        registry=registry,
        scheduler=_scheduler(settings, config, pools[0]),
        sampler=sampler,
        speculation=make_speculation(
            settings, logits_target, sampler, registry, config.vocabulary, (drafter, pools[1]) if drafter else None
        ),
        executor=executor_for(target.device, overlap=overlap),
        attention_work=AttentionWork.of(config, _kept_by_all(model), target.kv_dtype or target.dtype),
        marks=marks_in(folder),
        vocabulary=config.vocabulary,
        eos_ids=config.eos_ids,
        prefix_cache=settings.prefix_cache,
        overlap=overlap,
        max_running=settings.max_running,
        device=target.device,
    )
    if registry.not_called:
        called = ", ".join(choice.operation for choice in registry.choices)
        raise InputError(
            f"the model does not call {registry.not_called[0]}", where="engine.kernels", allowed=f"all, {called}"
        )
    description = {
        **resolved,
        "weights": "stored" if random_seed is None else "random",
        "accuracy": accuracy,
        "work": asdict(model_work(model)),
        "ceilings": asdict(ceilings),
        "parameter_bytes": model.parameter_bytes + sum(one.parameter_bytes for one in others),
        "kv_pool": {
            "blocks": blocks,
            "block_tokens": settings.block_tokens,
            "tokens": blocks * settings.block_tokens,
            "bytes": sum(pool.bytes for pool in pools) + len(others) * pools[0].bytes,
        },
        "kernels": [asdict(choice) for choice in registry.choices],
    }
    longest = min(config.max_positions, blocks * settings.block_tokens)
    return LoadedEngine(core, longest, warm_up.compile_s, warm_up.capture_s, gate.seconds, description, followers)


def _resolved(settings: EngineSettings, target: Target, backend: str | None) -> dict[str, Any]:
    """What became of what was asked for, in plain values."""
    devices = rank_devices(settings)
    accelerators = [id for device in devices for id in accelerator_ids(device)]
    overlap = settings.overlap and settings.speculation is None
    return {
        "device": str(target.device),
        "accelerators": len(accelerators),
        "accelerator_ids": accelerators,
        "dtype": _name(target.dtype),
        "weight_format": settings.weight_format,
        "kv_dtype": _name(target.kv_dtype or target.dtype),
        "numerics": settings.numerics,
        "threads": settings.tensor_parallel * threads_of(settings),
        "tensor_parallel": {"ranks": len(devices), "devices": list(map(str, devices)), "backend": backend},
        "policy": settings.policy,
        "admission": settings.admission,
        "prefix_cache": settings.prefix_cache,
        "overlap": overlap,
        "downgrades": ["overlap: speculation has to know each token before it drafts"]
        if settings.overlap and not overlap
        else [],
    }


def _pools(settings: EngineSettings, target: Target, blocks: int, *models: Decoder) -> list[KvPool]:
    """A pool for each model, all of the same blocks."""
    dtype = target.kv_dtype or target.dtype
    return [KvPool(model.cache_shape, blocks, settings.block_tokens, dtype, target.device) for model in models]


def _runner(
    settings: EngineSettings,
    target: Target,
    model: Decoder,
    pool: KvPool,
    registry: Registry,
    followers: Followers,
) -> StepRunner:
    graphs = graph_settings(settings)
    if settings.tensor_parallel == 1:
        return StepRunner(model, pool, graphs, registry.choices, target.device)
    return LeadingRunner(followers, model, pool, graphs, registry.choices, target.device)


def _scheduler(settings: EngineSettings, config: ModelConfig, pool: KvPool) -> Scheduler:
    return Scheduler(
        make_policy(settings.policy, tpot_target_ms=settings.tpot_target_ms),
        BlockAllocator(pool.blocks, pool.block_tokens),
        step_tokens=settings.step_tokens,
        max_running=settings.max_running,
        max_context_tokens=config.max_positions,
        optimistic=settings.admission == "optimistic",
    )


def _kept_by_all(model: Decoder) -> CacheShape:
    """What all ranks keep of a token: a head that several of them have is kept, and read, by each."""
    shape = model.cache_shape
    return replace(shape, kv_heads=shape.kv_heads * model.collectives.ranks.size)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
