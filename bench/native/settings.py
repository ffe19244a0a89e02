"""What the native engine is told when it starts: the engine section of a spec, as plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Fields mean what they mean in `bench.core.spec.NativeEngineSpec`."""

    device: str
    dtype: str
    threads: int | None
    max_running: int
    step_tokens: int
    block_tokens: int
    kv_cache_tokens: int | None
    kv_memory_share: float
