"""What a record tells of a vLLM that was started as a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.engine.vllm_process.counters import speculation_use
from bench.engine.vllm_process.description import kv_dtype
from bench.engine.vllm_server.samples import Samples
from bench.engine.vllm_start_log import resolved_settings, start_phases

_RANKS = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


def described_settings(log: str, cache: Mapping[str, Any]) -> dict[str, Any]:
    """What it resolved: precision in the words of our own engine, the rest in vLLM's.

    What neither its log nor its metrics tell is left out.
    """
    settings = resolved_settings(log)
    described: dict[str, Any] = {"settings": settings, "cache": dict(cache)}
    if (initialise_s := start_phases(log).initialise_s) is not None:
        described["initialise_s"] = initialise_s
    if "dtype" in settings:
        described["dtype"] = settings["dtype"]
        described["weight_format"] = settings.get("quantization") or "dense"
        described["kv_dtype"] = kv_dtype(settings.get("kv_cache_dtype", "auto"), settings["dtype"])
    if "device_config" in settings:
        described["device"] = settings["device_config"]
        described["accelerators"] = 0
        if settings["device_config"] != "cpu":
            ranks = 1
            for name in _RANKS:
                ranks *= settings.get(name, 1)
            described["accelerators"] = ranks
    return described


def described_work(samples: Samples) -> dict[str, Any]:
    """What it did while it was measured, by its own metrics; what they do not tell is left out."""
    described: dict[str, Any] = {}
    if samples.count:
        described["sampled"] = {
            "count": samples.count,
            "running_peak": samples.running_peak,
            "waiting_peak": samples.waiting_peak,
            "kv_cache_share_peak": samples.kv_cache_share_peak,
        }
    totals = samples.totals
    if totals is None:
        return described
    described["scheduler"] = {
        "preemptions": totals.preemptions,
        "prompt_tokens": totals.prompt_tokens,
        "output_tokens": totals.output_tokens,
    }
    if totals.prefix_queried_tokens is not None:
        described["prefix_cache"] = {
            "queried_tokens": totals.prefix_queried_tokens,
            "hit_tokens": totals.prefix_hit_tokens,
            "hit_share": _share(totals.prefix_hit_tokens, totals.prefix_queried_tokens),
        }
    if totals.drafts is not None:
        described["speculation"] = speculation_use(
            totals.drafts, totals.drafted_tokens or 0, totals.accepted_tokens or 0
        )
    return described


def _share(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None
