"""Names of the engine's strategies, for whoever speaks of them without the rest of a suite."""

from __future__ import annotations

from typing import Literal

PolicyName = Literal["static", "prefill_first", "decode_first", "latency_budget"]
GraphMode = Literal["none", "decode_full", "full", "piecewise", "full_and_piecewise"]
"""`decode_full` holds decode steps whole and leaves others eager; `full` holds any step whole, in one set of graphs;
`piecewise` holds what lies between the attentions of any step; `full_and_piecewise` is `decode_full` for decode steps
and `piecewise` for the others."""
KernelSource = Literal["reference", "c", "library", "triton"]
"""What the implementation of an operation is written in; `neokernels.registry.Source` says more."""
GraphSizes = Literal["pow2", "vllm", "exact"]
WeightFormat = Literal["dense", "int8", "fp8", "mxfp4", "nvfp4"]
"""What projections are kept in."""
KvDtype = Literal["auto", "float32", "bfloat16", "float16", "fp8"]
"""What the KV cache is kept in; `auto` is the dtype of activations."""
