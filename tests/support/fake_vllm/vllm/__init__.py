"""Stands for vLLM where a test needs its seconds or its failures: what our worker asks of it, and no model."""

from vllm.sampling_params import SamplingParams

__version__ = "0.32.0+fake"
__all__ = ["SamplingParams"]
