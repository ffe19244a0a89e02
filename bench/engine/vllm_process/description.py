"""What vLLM made of what it was asked, in plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def description(version: str, config: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Of a started vLLM, by its own configuration; what a version of it does not have is null.

    `dtype`, `weight_format` and `kv_dtype` are what other engines call them, for records to be compared by.
    """
    model, cache = config.model_config, config.cache_config
    dtype = str(model.dtype).removeprefix("torch.")
    quantization = _text(model.quantization)
    return {
        "version": version,
        "device": config.device_config.device_type,
        "dtype": dtype,
        "quantization": quantization,
        "weight_format": quantization or "dense",
        "kv_cache_dtype": _text(cache.cache_dtype),
        "kv_dtype": kv_dtype(str(cache.cache_dtype), dtype),
        "max_model_len": model.max_model_len,
        "seed": model.seed,
        "load_format": _text(config.load_config.load_format),
        "logprobs_mode": _text(getattr(model, "logprobs_mode", None)),
        "kv_pool": _kv_pool(cache),
        "prefix_cache": cache.enable_prefix_caching,
        "scheduling": _scheduling(config.scheduler_config),
        "speculation": _speculation(config.speculative_config),
        "attention_backend": _text(getattr(getattr(config, "attention_config", None), "backend", None)),
        "graphs": _graphs(config.compilation_config, enforce_eager=model.enforce_eager),
        **_parallel(config),
        "arguments": plain(arguments),
    }


def accelerators(config: Any) -> int:
    """How many it uses; 0 on a CPU."""
    return 0 if config.device_config.device_type == "cpu" else config.parallel_config.world_size_across_dp


def gpu_uuids(config: Any) -> list[str] | None:
    """Of the GPUs it uses, as NVML writes them; None where they cannot be told, as across nodes."""
    wanted = accelerators(config)
    if not wanted:
        return []
    if config.device_config.device_type != "cuda" or wanted != config.parallel_config.local_world_size:
        return None
    try:
        from vllm.platforms import current_platform

        # By NVML: a CUDA context in this process would be one more than vLLM has.
        return [current_platform.get_device_uuid(index) for index in range(wanted)]
    except Exception:  # noqa: BLE001 - who cannot tell leaves it out, and every GPU of the node is then read
        return None


def plain(value: Any) -> Any:
    """As JSON holds it; what has no form there as its text."""
    return json.loads(json.dumps(value, default=str))


def kv_dtype(named: str, dtype: str) -> str:
    """By the name torch has for it."""
    eight_bit = {"fp8": "float8_e4m3fn", "fp8_e4m3": "float8_e4m3fn", "fp8_e5m2": "float8_e5m2"}
    return dtype if named == "auto" else eight_bit.get(named, named)


def _kv_pool(cache: Any) -> dict[str, Any]:
    blocks = cache.num_gpu_blocks or 0
    return {
        "blocks": blocks,
        "block_tokens": cache.block_size,
        "tokens": getattr(cache, "kv_cache_size_tokens", None) or blocks * cache.block_size,
        "bytes": getattr(cache, "kv_cache_memory_bytes", None),
    }


def _scheduling(scheduler: Any) -> dict[str, Any]:
    return {
        "policy": scheduler.policy,
        "max_num_seqs": scheduler.max_num_seqs,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "chunked_prefill": scheduler.enable_chunked_prefill,
        "async_scheduling": getattr(scheduler, "async_scheduling", None),
    }


def _speculation(speculation: Any) -> dict[str, Any] | None:
    if speculation is None:
        return None
    return {
        "method": _text(speculation.method),
        "tokens": speculation.num_speculative_tokens,
        "model": _text(getattr(speculation, "model", None)),
    }


def _graphs(compilation: Any, *, enforce_eager: bool) -> dict[str, Any]:
    return {
        "enforce_eager": enforce_eager,
        "compilation_mode": _text(compilation.mode),
        "compilation_backend": _text(compilation.backend) or None,
        "cudagraph_mode": _text(compilation.cudagraph_mode),
        "capture_sizes": list(compilation.cudagraph_capture_sizes or ()),
    }


def _parallel(config: Any) -> dict[str, Any]:
    parallel = config.parallel_config
    return {
        "accelerators": accelerators(config),
        "tensor_parallel": parallel.tensor_parallel_size,
        "pipeline_parallel": parallel.pipeline_parallel_size,
        "data_parallel": parallel.data_parallel_size,
        "expert_parallel": parallel.enable_expert_parallel,
    }


def _text(value: Any) -> str | None:
    """The name of an enum, or what a value prints as."""
    return None if value is None else str(getattr(value, "name", value))
