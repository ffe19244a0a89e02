"""What two records must have in common before their numbers may be ranked against one another."""

from __future__ import annotations

from typing import Any

from bench.core.spec import EndpointEngineSpec, MockEngineSpec, VllmEngineSpec, VllmServerEngineSpec
from bench.results.record import Record


def comparability_key(record: Record) -> dict[str, Any]:
    """The fields that must agree, by name, so that whoever refuses a comparison can name the one that differs."""
    spec = record.case.spec
    return {
        "model": record.case.model_digest,
        "precision": _precision(record),
        "accuracy": (record.accuracy or {}).get("status"),
        "workload": record.case.workload_digest,
        "time_scale": spec.load.time_scale,
        "token_scale": spec.workload.token_scale,
        "idle_gap_cap_s": spec.workload.idle_gap_cap_s,
        "length_mode": spec.workload.length_mode,
        "slo": spec.slo.model_dump(),
    }


def _precision(record: Record) -> str:
    """What was computed in, and what weights, KV cache and activations were rounded to where that is something else.

    As the engine says, or as it was asked. An engine without a model has none, a server does not say its own.
    """
    engine = record.case.spec.engine
    if isinstance(engine, MockEngineSpec):
        return "none"
    if isinstance(engine, EndpointEngineSpec):
        return "the server's"
    asked = _asked_of_vllm(engine) if isinstance(engine, VllmEngineSpec | VllmServerEngineSpec) else engine.model_dump()
    dtype, weights, cache = (
        str((record.engine or {}).get(name, asked[name])) for name in ("dtype", "weight_format", "kv_dtype")
    )
    chosen = (record.engine or {}).get("kernels", ())
    rounded = sorted({choice["activations"] for choice in chosen if choice.get("activations")})
    kept = [f"{weights} weights"] * (weights != "dense") + [f"{cache} cache"] * (cache not in (dtype, "auto"))
    return ", ".join([dtype, *kept, *(f"{name} activations" for name in rounded)])


def _asked_of_vllm(engine: VllmEngineSpec | VllmServerEngineSpec) -> dict[str, Any]:
    """In our own engine's terms."""
    arguments = engine.arguments
    return {
        "dtype": arguments.get("dtype", "auto"),
        "weight_format": arguments.get("quantization") or "dense",
        "kv_dtype": arguments.get("kv_cache_dtype", "auto"),
    }
