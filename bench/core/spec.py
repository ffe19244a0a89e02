"""What a user may write in a suite, and the frozen case it becomes.

A suite is a YAML file. `base` holds what its specs share; each spec overrides it key by key: a key left out inherits,
a key set to null is off. `trace` is the spec that `--trace FILE` runs in their place.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from bench.core.digest import digest_of
from bench.core.endpoint_spec import EndpointEngineSpec
from bench.core.engine_spec import (
    DraftModelSpec,
    EngineSpec,
    MockEngineSpec,
    ModelSpec,
    NativeEngineSpec,
    NgramSpec,
)
from bench.core.load_spec import (
    ClosedLoadSpec,
    ConstantLoadSpec,
    DiurnalLoadSpec,
    GammaLoadSpec,
    LoadSpec,
    PoissonLoadSpec,
    RampLoadSpec,
    StepLoadSpec,
    TraceLoadSpec,
)
from bench.core.power_spec import PowerSpec
from bench.core.section import Section, Share
from bench.core.vllm_spec import VllmEngineSpec, VllmServerEngineSpec
from bench.core.workload_spec import (
    AgenticSpec,
    ChatSpec,
    CodeCompletionSpec,
    FixedSpec,
    MultimodalSpec,
    RagSpec,
    ReasoningSpec,
    TasksSpec,
    TraceSpec,
    WorkloadSpec,
)

__all__ = [
    "AgenticSpec",
    "Case",
    "ChatSpec",
    "ClosedLoadSpec",
    "CodeCompletionSpec",
    "ConstantLoadSpec",
    "DiurnalLoadSpec",
    "DraftModelSpec",
    "EndpointEngineSpec",
    "EngineSpec",
    "FixedSpec",
    "GammaLoadSpec",
    "LoadSpec",
    "MeasureSpec",
    "MockEngineSpec",
    "ModelSpec",
    "MultimodalSpec",
    "NamedSlo",
    "NativeEngineSpec",
    "NgramSpec",
    "PoissonLoadSpec",
    "PowerSpec",
    "RagSpec",
    "RampLoadSpec",
    "ReasoningSpec",
    "SloSource",
    "SloSpec",
    "Spec",
    "StepLoadSpec",
    "TasksSpec",
    "TraceLoadSpec",
    "TraceSpec",
    "VllmEngineSpec",
    "VllmServerEngineSpec",
    "WorkloadSpec",
]


PLACES = ("device", "base_url", "api_key_env", "ca_file", "processes", "python", "port", "preset")
"""Settings of an engine that say where it is, who asks it and what its others were read from, not what it does."""


class MeasureSpec(Section):
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


class SloSpec(Section):
    """Bounds a request must meet, all of them, to be good; null does not bind.

    A suite may say a name under `configs/slos`, or a path, in place of the bounds.
    """

    ttft_ms: PositiveFloat | None = None
    ttfa_ms: PositiveFloat | None = None
    tpot_ms: PositiveFloat | None = None
    e2e_ms: PositiveFloat | None = None
    share: Share = 0.99
    """Of the requests: so many must be good for the run to meet the SLO."""

    @property
    def binds(self) -> bool:
        return any(bound is not None for bound in (self.ttft_ms, self.ttfa_ms, self.tpot_ms, self.e2e_ms))


class SloSource(Section):
    """Who published the bounds of a named SLO."""

    title: str
    url: str
    version: str
    read: date


class NamedSlo(SloSpec):
    """A file under `configs/slos`."""

    source: SloSource


class Spec(Section):
    """One spec of a suite with everything inherited."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    model: ModelSpec
    engine: EngineSpec = NativeEngineSpec()
    workload: WorkloadSpec
    load: LoadSpec
    measure: MeasureSpec = MeasureSpec()
    slo: SloSpec = SloSpec()
    power: PowerSpec = PowerSpec()

    @model_validator(mode="before")
    @classmethod
    def _engine_is_native_unless_said(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("engine"), dict):
            return {**data, "engine": {"kind": "native", **data["engine"]}}
        return data

    @field_validator("power", mode="before")
    @classmethod
    def _null_declares_nothing(cls, value: Any) -> Any:
        return {} if value is None else value  # so do records of schema /2


class Case(BaseModel):
    """A spec resolved and frozen, named by what decides its numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    spec: Spec
    model_digest: str
    workload_digest: str
    draft_model_digest: str | None = None
    """Of the model that drafts, where one does."""
    model_form_digest: str | None = None
    """Of the model's configuration and tokenizer without its weights, which is all that is known of an endpoint's."""

    @classmethod
    def of(
        cls,
        spec: Spec,
        *,
        model_digest: str,
        workload_digest: str,
        draft_model_digest: str | None = None,
        model_form_digest: str | None = None,
    ) -> Case:
        """The case of `spec`. Its id leaves out paths, places, the device, how power is read and the spec's name."""
        case = cls(
            id="",
            spec=spec,
            model_digest=model_digest,
            workload_digest=workload_digest,
            draft_model_digest=draft_model_digest,
            model_form_digest=model_form_digest,
        )
        return case.model_copy(update={"id": case._digest(only_set=False)})

    def id_as_stored(self) -> str:
        """What the id of a case that was read from a record must be.

        By the fields that the record holds: one that a later version added was no part of it.
        """
        return self._digest(only_set=True)

    def _digest(self, *, only_set: bool) -> str:
        def dumped(section: BaseModel, exclude: Any = None) -> dict[str, Any]:
            return section.model_dump(mode="json", exclude=exclude, exclude_unset=only_set)

        return digest_of(
            {
                "model": self.model_digest,
                "workload": self.workload_digest,
                "draft_model": self.draft_model_digest,
                "engine": dumped(self.spec.engine, dict.fromkeys(PLACES, True) | {"speculation": {"model"}}),
                "load": dumped(self.spec.load, {"search", "search_precision"}),
                "measure": dumped(self.spec.measure, {"repeats"}),
                "slo": dumped(self.spec.slo),
            }
        )
