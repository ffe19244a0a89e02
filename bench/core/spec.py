"""What a user may write in a suite, and the frozen case it becomes.

A suite is a YAML file. `base` holds what its specs share; each spec overrides it key by key: a key left out inherits,
a key set to null is off. `trace` is the spec that `--trace FILE` runs in their place.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bench.core.digest import digest_of
from bench.core.records import LengthMode

PolicyName = Literal["static", "prefill_first", "decode_first", "latency_budget"]
GraphMode = Literal["none", "decode_full", "full", "piecewise", "full_and_piecewise"]
GraphSizes = Literal["pow2", "vllm", "exact"]
Numerics = Literal["fast", "batch_invariant"]
WeightFormat = Literal["dense", "int8", "fp8", "mxfp4", "nvfp4"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Share = Annotated[float, Field(gt=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSpec(_Section):
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


class NgramSpec(_Section):
    """Drafts what followed the same tokens earlier in the request's own text."""

    kind: Literal["ngram"]
    tokens: PositiveInt = 4
    """Most tokens drafted for one step."""
    match_tokens: PositiveInt = 3
    """Longest run of newest tokens that is looked for; shorter ones, down to one, are tried after it."""


class DraftModelSpec(_Section):
    """Drafts with a smaller model of the same vocabulary."""

    kind: Literal["draft_model"]
    model: str
    """As `model.path`."""
    tokens: PositiveInt = 4


SpeculationSpec = Annotated[NgramSpec | DraftModelSpec, Field(discriminator="kind")]


class NativeEngineSpec(_Section):
    kind: Literal["native"] = "native"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes the GPU where there is one."""
    dtype: Dtype = "auto"
    """`auto` is the dtype the weights are stored in on a GPU, float32 on a CPU."""
    weight_format: WeightFormat = "dense"
    """`dense` keeps the weights of projections in `dtype`; the others quantise them while they load."""
    kv_dtype: Literal["auto", "float32", "bfloat16", "float16", "fp8"] = "auto"
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
    check_accuracy: bool = True
    """Hold the engine to a float32 reference of its model before anything is timed."""


class MockEngineSpec(_Section):
    """An engine of declared speed with no model behind it: for trying a suite, and for tests of everything else."""

    kind: Literal["mock"]
    ttft_ms: NonNegativeFloat = 20.0
    tpot_ms: NonNegativeFloat = 5.0
    thinking_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of a free-length output that is thinking; pinned lengths take the workload's own split."""
    fail_every: PositiveInt | None = None
    """Fail each n-th turn; null never fails."""
    max_context_tokens: PositiveInt = 1_000_000


EngineSpec = Annotated[NativeEngineSpec | MockEngineSpec, Field(discriminator="kind")]


class _Workload(_Section):
    length_mode: LengthMode = "pinned"
    """`pinned`: EOS is ignored and lengths are the workload's. `free`: the model ends its own answers."""
    token_scale: PositiveFloat = 1.0
    """Multiplies every token count; 1 is the workload as it was measured."""
    idle_gap_cap_s: NonNegativeFloat | None = 10.0
    """Longest tool or human delay kept between turns, before `time_scale`; null keeps all."""
    temperature: NonNegativeFloat = 0.0
    """0 is greedy: the filters below then change nothing."""
    top_k: PositiveInt | None = None
    """Draw from the k most likely tokens; null from all."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw from the fewest most likely tokens that together have this probability."""
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Draw from the tokens at least this share as likely as the likeliest."""
    repetition_penalty: PositiveFloat = 1.0
    """Divides positive and multiplies negative logits of tokens the prompt or the output holds already."""
    logit_bias: dict[NonNegativeInt, float] = {}
    """Added to the logits of these token ids."""
    seed: NonNegativeInt = 0


class ReasoningSpec(_Workload):
    kind: Literal["reasoning"]
    sessions: PositiveInt
    profile: str = "reasoning"
    """A quantile table: a path, or a name under `configs/workloads`."""


class AgenticSpec(_Workload):
    kind: Literal["agentic"]
    sessions: PositiveInt
    profile: str = "agentic"
    max_turns_per_session: PositiveInt | None = None
    """Turns beyond this are not drawn; null draws as many as the profile says."""


class FixedSpec(_Workload):
    """Single-turn sessions of one size, for a controlled shape of step."""

    kind: Literal["fixed"]
    sessions: PositiveInt
    prompt_tokens: PositiveInt
    output_tokens: PositiveInt
    """Thinking and answer together."""
    thinking_tokens: NonNegativeInt = 0
    shared_prefix_tokens: NonNegativeInt = 0
    """Leading prompt tokens that are the same in every session."""

    @field_validator("thinking_tokens")
    @classmethod
    def _an_answer_follows(cls, thinking: int, info: ValidationInfo) -> int:
        if thinking >= info.data.get("output_tokens", thinking + 1):
            raise ValueError("fewer than output_tokens, so that an answer follows")
        return thinking

    @field_validator("shared_prefix_tokens")
    @classmethod
    def _a_prefix_is_a_part(cls, shared: int, info: ValidationInfo) -> int:
        if shared > info.data.get("prompt_tokens", shared):
            raise ValueError("at most prompt_tokens")
        return shared


class TraceSpec(_Workload):
    kind: Literal["trace"]
    path: str
    max_turns: PositiveInt | None = None
    """Budget of turns: whole sessions are taken in file order while they fit, the others are left out and counted."""


WorkloadSpec = Annotated[ReasoningSpec | AgenticSpec | FixedSpec | TraceSpec, Field(discriminator="kind")]


class _Load(_Section):
    time_scale: NonNegativeFloat = 1.0
    """Multiplies tool and human delays (not arrivals); 0 sends a turn as soon as the one before it completed."""


class ClosedLoadSpec(_Load):
    kind: Literal["closed"]
    concurrency: PositiveInt
    """Sessions alive at once; a session that waits for a tool is alive."""


class PoissonLoadSpec(_Load):
    kind: Literal["poisson"]
    sessions_per_s: PositiveFloat
    max_sessions: PositiveInt | None = None
    """Most sessions alive at once; later ones are held back and their `hold_ms` is logged. Null holds none back."""
    seed: NonNegativeInt = 0


LoadSpec = Annotated[ClosedLoadSpec | PoissonLoadSpec, Field(discriminator="kind")]


class MeasureSpec(_Section):
    percentiles: tuple[Share, ...] = (0.5, 0.9, 0.95, 0.99)
    """Ranks every latency is reported at; asking for one the request count cannot support is a verdict, not a guess."""
    level: Share = 0.95
    """Confidence level of every interval."""
    warmup_sessions: NonNegativeInt = 2
    """Sessions sent before the run and left out of every number."""
    max_seconds: PositiveFloat | None = None
    """Stop sending after this long; null sends everything."""
    repeats: PositiveInt = 1
    """Runs of the case, each a record of its own."""
    seed: NonNegativeInt = 0
    """Seed of the bootstrap, stored so that intervals recompute."""


class SloSpec(_Section):
    """Bounds a request must meet, all of them, to be good; null does not bind."""

    ttft_ms: PositiveFloat | None = None
    ttfa_ms: PositiveFloat | None = None
    tpot_ms: PositiveFloat | None = None
    e2e_ms: PositiveFloat | None = None


class DeclaredPowerSpec(_Section):
    """A wattage the user vouches for where no sensor can be read; it is labelled `assumed` wherever it is used."""

    scope: Literal["gpu", "module", "node"]
    watts: PositiveFloat


class Spec(_Section):
    """One spec of a suite with everything inherited."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    model: ModelSpec
    engine: EngineSpec = NativeEngineSpec()
    workload: WorkloadSpec
    load: LoadSpec
    measure: MeasureSpec = MeasureSpec()
    slo: SloSpec = SloSpec()
    power: DeclaredPowerSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _engine_is_native_unless_said(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("engine"), dict):
            return {**data, "engine": {"kind": "native", **data["engine"]}}
        return data


class Case(BaseModel):
    """A spec resolved and frozen, named by what decides its numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    spec: Spec
    model_digest: str
    workload_digest: str
    draft_model_digest: str | None = None
    """Of the model that drafts, where one does."""

    @classmethod
    def of(cls, spec: Spec, *, model_digest: str, workload_digest: str, draft_model_digest: str | None = None) -> Case:
        """The case of `spec`. Its id leaves out paths, the device, the declared power and the spec's name."""
        what: dict[str, Any] = {
            "model": model_digest,
            "workload": workload_digest,
            "draft_model": draft_model_digest,
            "engine": spec.engine.model_dump(mode="json", exclude={"device": True, "speculation": {"model"}}),
            "load": spec.load.model_dump(mode="json"),
            "measure": spec.measure.model_dump(mode="json", exclude={"repeats"}),
            "slo": spec.slo.model_dump(mode="json"),
        }
        return cls(
            id=digest_of(what),
            spec=spec,
            model_digest=model_digest,
            workload_digest=workload_digest,
            draft_model_digest=draft_model_digest,
        )
