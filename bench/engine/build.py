"""From what the suite says to an engine that can be started."""

from __future__ import annotations

from pathlib import Path

from bench.core.clock import Clock
from bench.core.protocols import Engine
from bench.core.spec import (
    EndpointEngineSpec,
    EngineSpec,
    MockEngineSpec,
    NativeEngineSpec,
    VllmEngineSpec,
    VllmServerEngineSpec,
)


def build_engine(spec: EngineSpec, model_folder: Path, *, clock: Clock, random_seed: int | None = None) -> Engine:
    """The engine `spec` names, not yet started. Raises InputError for a model it cannot read.

    With `random_seed` the model's weights are made from it and not read.
    """
    match spec:
        case MockEngineSpec():
            from bench.engine.mock import MockEngine

            return MockEngine(spec, clock=clock)
        case EndpointEngineSpec():
            from bench.engine.endpoint import EndpointEngine

            return EndpointEngine(spec, clock=clock)
        case NativeEngineSpec():
            from bench.engine.native import NativeEngine

            return NativeEngine(spec, model_folder, clock=clock, random_seed=random_seed)
        case VllmEngineSpec():
            from bench.engine.vllm import VllmEngine

            return VllmEngine(spec, model_folder, clock=clock, random_seed=random_seed)
        case VllmServerEngineSpec():
            from bench.engine.vllm_server.engine import VllmServerEngine

            return VllmServerEngine(spec, model_folder, clock=clock, random_seed=random_seed)
