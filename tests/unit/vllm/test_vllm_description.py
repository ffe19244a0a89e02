"""What a record says of vLLM's configuration: on GPUs too, which no test here has."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from vllm_asking import FAKE

from bench.engine.vllm_process.description import accelerators, description, gpu_uuids


class Mode(Enum):
    FULL_AND_PIECEWISE = 2


@pytest.fixture
def on_gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-in's configuration, as if vLLM had cut a model in eight bits over two GPUs."""
    monkeypatch.syspath_prepend(str(FAKE))
    from vllm.engine.arg_utils import AsyncEngineArgs

    config = AsyncEngineArgs(model="model", quantization="fp8", kv_cache_dtype="fp8_e5m2").create_engine_config()
    config.device_config.device_type = "cuda"
    config.parallel_config.tensor_parallel_size = 2
    config.parallel_config.world_size_across_dp = config.parallel_config.local_world_size = 2
    config.compilation_config.cudagraph_mode = Mode.FULL_AND_PIECEWISE
    config.compilation_config.cudagraph_capture_sizes = [1, 2, 4]
    config.speculative_config = SimpleNamespace(method="ngram", num_speculative_tokens=4)
    yield config
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm"]:
        del sys.modules[name]


def test_precision_parallelism_graphs_and_speculation_are_told(on_gpus: Any) -> None:
    described = description("0.32.0", on_gpus, {"model": Path("model"), "tensor_parallel_size": 2})
    assert (described["dtype"], described["weight_format"], described["kv_dtype"]) == ("bfloat16", "fp8", "float8_e5m2")
    assert (described["accelerators"], described["tensor_parallel"]) == (2, 2)
    assert described["graphs"]["cudagraph_mode"] == "FULL_AND_PIECEWISE"
    assert described["graphs"]["capture_sizes"] == [1, 2, 4]
    assert described["speculation"] == {"method": "ngram", "tokens": 4, "model": None}
    assert described["arguments"] == {"model": "model", "tensor_parallel_size": 2}


def test_which_gpus_it_uses_is_told_where_that_can_be_told(on_gpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_uuids(on_gpus) is None  # without vLLM's platform
    platform = SimpleNamespace(get_device_uuid=lambda index: f"GPU-{index}")
    monkeypatch.setitem(sys.modules, "vllm.platforms", SimpleNamespace(current_platform=platform))
    assert gpu_uuids(on_gpus) == ["GPU-0", "GPU-1"]
    on_gpus.parallel_config.local_world_size = 1
    assert gpu_uuids(on_gpus) is None  # across nodes
    on_gpus.device_config.device_type = "cpu"
    assert (gpu_uuids(on_gpus), accelerators(on_gpus)) == ([], 0)
