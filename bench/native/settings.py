"""What the native engine is told when it starts: the engine section of a spec, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.core.axes import GraphMode, GraphSizes

if TYPE_CHECKING:  # the driver's process gets by without torch
    from neokernels.registry import Numerics, WeightFormat


@dataclass(frozen=True, slots=True)
class Speculation:
    """Fields mean what they mean in `bench.core.spec.NgramSpec` and `DraftModelSpec`."""

    kind: str
    tokens: int
    match_tokens: int = 0
    model: str | None = None


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Fields mean what they mean in `bench.core.spec.NativeEngineSpec`."""

    device: str
    dtype: str
    weight_format: WeightFormat
    kv_dtype: str
    numerics: Numerics
    threads: int | None
    tensor_parallel: int
    max_running: int
    step_tokens: int
    policy: str
    tpot_target_ms: float
    admission: str
    prefix_cache: bool
    block_tokens: int
    kv_cache_tokens: int | None
    kv_memory_share: float
    graph_mode: GraphMode
    graph_sizes: GraphSizes
    graph_max_tokens: int
    overlap: bool
    speculation: Speculation | None
    kernels: dict[str, str]
    check_accuracy: bool

    @staticmethod
    def of(values: dict[str, Any]) -> EngineSettings:
        """From the engine section as plain values, without its `kind`."""
        speculation = values["speculation"]
        return EngineSettings(**{**values, "speculation": speculation and Speculation(**speculation)})
