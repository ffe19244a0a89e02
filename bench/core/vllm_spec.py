"""The engine sections of a suite for vLLM: in a process of ours, and as the server it is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt

from bench.core.endpoint_spec import THINKING_BUDGET, HttpClientSpec, Timeout
from bench.core.section import Section


class VllmProcessSpec(Section):
    """How vLLM is started."""

    python: str | None = None
    """The interpreter that has vLLM, as `.venv-vllm-cpu/bin/python`; null is the one that runs this."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """vLLM's own engine arguments by their Python names, as `max_num_seqs: 64`; each goes to vLLM as it is. The model
    is `model.path`, and random weights are asked for by `model.weights`."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables set for vLLM over those of this process; `VLLM_NO_USAGE_STATS` is 1 unless it is here. On a CPU vLLM
    wants `VLLM_CPU_KVCACHE_SPACE` (GiB of its KV cache), `VLLM_CPU_OMP_THREADS_BIND` (cores, as `0-15`) and as
    `LD_PRELOAD` the `lib/libiomp5.so` of its environment; with `VLLM_ENABLE_V1_MULTIPROCESSING` 0 its core computes
    itself and polls no worker. `VLLM_CACHE_ROOT` is where it keeps what it compiled."""
    start_timeout_s: Timeout = 1_800.0
    """Longest time until it is ready."""
    check_accuracy: bool = True
    """Hold its answers to a float32 reference of the model before anything is timed."""


class VllmEngineSpec(VllmProcessSpec):
    """vLLM's AsyncLLM, asked without a network in between.

    Where neither `disable_log_stats` nor `cudagraph_metrics` is among the arguments, both are on: what vLLM counts is
    read as it counts it. A thinking budget needs `reasoning_parser`, or `reasoning_config` with `reasoning_start_str`
    and `reasoning_end_str`.
    """

    kind: Literal["vllm"]


class VllmServerEngineSpec(VllmProcessSpec, HttpClientSpec):
    """`vllm serve`, started, asked over HTTP on loopback, and stopped."""

    kind: Literal["vllm-server"]
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Null takes one that is free."""
    max_logprobs: NonNegativeInt = 20
    logprobs_body: dict[str, Any] = Field(default_factory=lambda: {"return_tokens_as_token_ids": True})
    extra_body: dict[str, Any] = Field(
        default_factory=lambda: {"thinking_token_budget": THINKING_BUDGET, "skip_special_tokens": False}
    )
    """As in an endpoint's section, with what vLLM knows in the beginning. What is written replaces all of it."""
