"""One measurement of a kernel, with everything one must know to believe it; what could not be measured is one too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any, Literal, get_args

from neokernels.device import Device
from neokernels.tuning.space import Config, Value

Status = Literal["measured", "does_not_compile", "does_not_fit", "spills", "wrong", "failed"]
"""`wrong`: it ran, and what it computed is not what the reference computes. `failed`: it could not be launched."""


@dataclass(frozen=True, slots=True)
class MeasuredDevice:
    """The GPU, as its driver describes it."""

    name: str
    capability: int
    """Major and minor compute capability as one number."""
    multiprocessors: int
    l2_bytes: int
    memory_bytes: int | None
    power_limit_w: float | None

    @property
    def device(self) -> Device:
        """What schedules depend on."""
        return Device(self.name, self.capability, self.multiprocessors, self.l2_bytes)


@dataclass(frozen=True, slots=True)
class Stack:
    """What made the kernel out of its source: figures of two stacks are figures of two kernels."""

    triton: str
    torch: str
    ptxas: str | None
    cuda: str | None
    """That torch was built with."""
    driver: str | None
    fp_fusion: bool
    """Whether a product and a sum are fused, Triton's default for which changes between its versions."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """The GPU right after it was timed; None is what it does not tell."""

    sm_mhz: float | None
    memory_mhz: float | None
    temperature_c: float | None
    power_w: float | None
    throttled: tuple[str, ...] | None
    """What held its clocks back; empty when nothing did."""


UNTOLD = Clocks(None, None, None, None, None)


@dataclass(frozen=True, slots=True)
class Method:
    """How the times were taken."""

    timer: str
    cold_l2: bool
    """Whether every launch found none of its inputs in the second-level cache."""
    copies: int
    """Of the inputs, which launches take in turn."""
    samples: int
    round: int
    """Of the search, from 0: later rounds have fewer candidates and more samples."""
    final: bool
    """Whether this is the round that decides."""


@dataclass(frozen=True, slots=True)
class Resources:
    """The most that any launch of the kernel needs, as it was compiled ahead of time."""

    registers: int
    stack_bytes: int
    shared_bytes: int


@dataclass(frozen=True, slots=True)
class Times:
    """Of one launch, in microseconds."""

    p20_us: float
    p50_us: float
    p80_us: float

    @staticmethod
    def of(samples_us: Sequence[float]) -> Times:
        """From two samples or more."""
        fifths = quantiles(samples_us, n=5, method="inclusive")
        return Times(fifths[0], median(samples_us), fifths[-1])


@dataclass(frozen=True, slots=True)
class Measurement:
    """A schedule tried for a problem on a device."""

    kernel: str
    source_sha: str
    """Of the kernel that was measured: later source is another kernel."""
    problem: Mapping[str, Value]
    config: Config
    device: MeasuredDevice
    stack: Stack
    status: Status
    time: str
    """When, in UTC, ISO 8601; the same for what was timed together."""
    detail: str | None = None
    """Why the status is not `measured`."""
    resources: Resources | None = None
    method: Method | None = None
    times: Times | None = None
    """None where nothing was timed."""
    roofline_fraction: float | None = None
    """The least time that the device's measured ceilings allow, over the median."""
    clocks: Clocks | None = None

    @property
    def p50_us(self) -> float:
        """Infinite where nothing was timed, or what was is wrong."""
        return self.times.p50_us if self.times and self.status == "measured" else float("inf")

    @property
    def problem_key(self) -> str:
        return problem_key(self.problem)

    def as_dict(self) -> dict[str, Any]:
        """In plain values, for JSON."""
        return {**asdict(self), "problem": dict(self.problem), "config": dict(self.config)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Measurement:
        """What `as_dict` gave. Raises KeyError, TypeError or ValueError for anything else."""
        if values["status"] not in get_args(Status):
            raise ValueError(f"status = {values['status']!r}")
        clocks = values["clocks"]
        if clocks and clocks["throttled"] is not None:
            clocks = {**clocks, "throttled": tuple(clocks["throttled"])}
        return Measurement(
            **{
                **values,
                "config": Config(**values["config"]),
                "device": MeasuredDevice(**values["device"]),
                "stack": Stack(**values["stack"]),
                "resources": values["resources"] and Resources(**values["resources"]),
                "method": values["method"] and Method(**values["method"]),
                "times": values["times"] and Times(**{name: float(us) for name, us in values["times"].items()}),
                "clocks": clocks and Clocks(**clocks),
            }
        )


def problem_key(problem: Mapping[str, Value]) -> str:
    """The same for the same fields, whatever their order."""
    return json.dumps(problem, sort_keys=True)


def reading_order(problem: Mapping[str, Value]) -> list[tuple[str, bool, Any]]:
    """A key to sort problems of one kernel by: numbers as numbers, so that 64 comes before 256."""
    return [(name, isinstance(value, str), value) for name, value in sorted(problem.items())]
