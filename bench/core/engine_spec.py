"""The model section of a suite, and the engine section: our own engine, the mock, and the others."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from bench.core.axes import GraphMode, GraphSizes, KernelSource, KvDtype, PolicyName, WeightFormat
from bench.core.endpoint_spec import EndpointEngineSpec
from bench.core.section import Section, Share
from bench.core.vllm_spec import VllmEngineSpec, VllmServerEngineSpec

Numerics = Literal["fast", "batch_invariant"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Milliseconds = Annotated[float, Field(ge=0, le=7 * 86_400_000)]


class ModelSpec(Section):
    path: str
    """A Hugging Face folder, a name under `configs/models`, or `org/name` of the hub, which is fetched."""
    weights: Literal["stored", "random"] = "stored"
    """`random` makes weights of the configured shapes on the device and reads none: for speed alone."""
    seed: NonNegativeInt = 0
    """Of random weights."""

    @property
    def random_seed(self) -> int | None:
        """The seed that random weights are made from; None where stored ones are read."""
        return self.seed if self.weights == "random" else None


class NgramSpec(Section):
    """Drafts what followed the same tokens earlier in the request's own text."""

    kind: Literal["ngram"]
    tokens: PositiveInt = 4
    """Most tokens drafted for one step."""
    match_tokens: PositiveInt = 3
    """Longest run of newest tokens that is looked for; shorter ones, down to one, are tried after it."""


class DraftModelSpec(Section):
    """Drafts with a smaller model of the same vocabulary."""

    kind: Literal["draft_model"]
    model: str
    """As `model.path`."""
    tokens: PositiveInt = 4


SpeculationSpec = Annotated[NgramSpec | DraftModelSpec, Field(discriminator="kind")]


class NativeEngineSpec(Section):
    kind: Literal["native"] = "native"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes the GPU where there is one."""
    dtype: Dtype = "auto"
    """`auto` is the dtype the weights are stored in on a GPU, float32 on a CPU."""
    weight_format: WeightFormat = "dense"
    """`dense` keeps the weights of projections in `dtype`; the others quantise them while they load."""
    kv_dtype: KvDtype = "auto"
    """Of the KV cache; `auto` is `dtype`."""
    numerics: Numerics = "fast"
    """`batch_invariant`: what a request is answered does not depend on who shares its steps."""
    threads: PositiveInt | None = None
    """CPU threads, dealt out to the ranks; null is every core the process may use."""
    tensor_parallel: PositiveInt = 1
    """Ranks the model is cut over; each is a process, and on GPUs a device."""
    max_running: PositiveInt = 16
    """Most requests that take part in one step."""
    step_tokens: PositiveInt = 512
    """Token budget of one step, prefill and decode together."""
    policy: PolicyName = "decode_first"
    """Which requests a step computes; see `bench.native.policies`."""
    tpot_target_ms: PositiveFloat = 50.0
    """What `latency_budget` keeps a step's duration to, by cutting its token budget."""
    admission: Literal["worst_case", "optimistic"] = "worst_case"
    """`worst_case` reserves blocks for the longest output; `optimistic` takes them as they are needed and preempts."""
    prefix_cache: bool = True
    """Serve a prompt's leading blocks from earlier requests that had the same."""
    block_tokens: PositiveInt = 16
    """Tokens in one block of the paged KV cache."""
    kv_cache_tokens: PositiveInt | None = None
    """Size of the KV pool; null fills `kv_memory_share` of the memory that is free after loading."""
    kv_memory_share: Share = 0.5
    graph_mode: GraphMode = "full_and_piecewise"
    """What CUDA graphs hold. A mode the device or a kernel cannot do is downgraded, and the record says why."""
    graph_sizes: GraphSizes = "vllm"
    """Which numbers of tokens graphs are captured for; a step is padded up to the next."""
    graph_max_tokens: PositiveInt = 512
    """Largest captured step."""
    overlap: bool = False
    """Schedule the next step while one runs. A request that ends by EOS then costs one more token, thrown away."""
    speculation: SpeculationSpec | None = None
    """Draft tokens and verify several in one step; null does not."""
    kernels: dict[str, str] = Field(default_factory=dict)
    """Which implementation goes before the others, by operation: the name of one, or what it is written in: `triton`,
    `c`, `library` or `reference`. `all` names one of these four for every operation that has it. An implementation that
    cannot run where the model does gives way to the next, and the record says why."""
    check_accuracy: bool = True
    """Hold the engine to a float32 reference of its model before anything is timed."""

    @field_validator("kernels")
    @classmethod
    def _every_operation_by_source(cls, kernels: dict[str, str]) -> dict[str, str]:
        named = kernels.get("all")
        if named is not None and named not in get_args(KernelSource):
            raise ValueError(f"for all, one of {', '.join(get_args(KernelSource))}")
        return kernels


class MockEngineSpec(Section):
    """An engine of declared speed with no model behind it: for trying a suite, and for tests of everything else."""

    kind: Literal["mock"]
    ttft_ms: Milliseconds = 20.0
    tpot_ms: Milliseconds = 5.0
    thinking_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of a free-length output that is thinking; pinned lengths take the workload's own split."""
    fail_every: PositiveInt | None = None
    """Fail each n-th turn; null never fails."""
    max_context_tokens: PositiveInt = 1_000_000


EngineSpec = Annotated[
    NativeEngineSpec | MockEngineSpec | EndpointEngineSpec | VllmEngineSpec | VllmServerEngineSpec,
    Field(discriminator="kind"),
]
