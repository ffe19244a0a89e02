"""Arguments, and the configuration they make."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

VOCABULARY = 2048


@dataclass
class AsyncEngineArgs:
    """`fault` and what follows it are this stand-in's own; everything else is vLLM's."""

    model: str
    dtype: str = "auto"
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    load_format: str = "auto"
    max_model_len: int = 512
    max_num_seqs: int = 8
    max_logprobs: int = 20
    enable_prefix_caching: bool = True
    skip_tokenizer_init: bool = False
    disable_log_stats: bool = False
    enable_log_requests: bool = False
    cudagraph_metrics: bool = False
    fault: str | None = None
    pid_file: str | None = None
    """Where the process that it starts is told."""
    budget_file: str | None = None
    """Where the thinking budget of each request is told."""

    def create_engine_config(self) -> Any:
        if self.fault == "refuses":
            raise ValueError("1 validation error for VllmConfig\n  Value error, max_num_seqs is odd")
        return SimpleNamespace(
            args=self,
            model_config=SimpleNamespace(
                model=self.model,
                dtype="torch.bfloat16" if self.dtype == "auto" else f"torch.{self.dtype}",
                quantization=self.quantization,
                max_model_len=self.max_model_len,
                max_logprobs=self.max_logprobs,
                logprobs_mode="raw_logprobs",
                seed=0,
                enforce_eager=False,
                get_vocab_size=lambda: VOCABULARY,
            ),
            cache_config=SimpleNamespace(
                cache_dtype=self.kv_cache_dtype,
                num_gpu_blocks=65,
                block_size=16,
                enable_prefix_caching=self.enable_prefix_caching,
            ),
            scheduler_config=SimpleNamespace(
                policy="fcfs",
                max_num_seqs=self.max_num_seqs,
                max_num_batched_tokens=2048,
                enable_chunked_prefill=True,
            ),
            parallel_config=SimpleNamespace(
                tensor_parallel_size=1,
                pipeline_parallel_size=1,
                data_parallel_size=1,
                enable_expert_parallel=False,
                world_size_across_dp=1,
                local_world_size=1,
            ),
            compilation_config=SimpleNamespace(
                mode=None, backend="", cudagraph_mode=None, cudagraph_capture_sizes=None
            ),
            device_config=SimpleNamespace(device_type="cpu"),
            load_config=SimpleNamespace(load_format=self.load_format),
            speculative_config=None,
        )
