"""What a tunable kernel says of itself: its problems, its knobs, what it computes and what that costs at least.

One description serves everyone: the engine looks a schedule up for a problem, the tuner draws candidates and inputs,
the ahead-of-time check compiles the shipped examples, and tests and benchmarks compare with the references.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor

from neokernels.device import Device
from neokernels.tuning.draw import Draw
from neokernels.tuning.model_shape import ModelShape

Value = int | bool | str
"""What a knob is set to and a problem's field holds: what JSON keeps as it is."""

_OPTIONS = ("num_warps", "num_stages", "num_ctas", "maxnreg", "launch_pdl")
"""Knobs that Triton takes as launch options; the others are a kernel's own."""


class Config(Mapping[str, Value]):
    """One setting of every knob of a kernel. Frozen and hashable."""

    def __init__(self, **values: Value) -> None:
        self._values = values
        self._hash = hash(tuple(sorted(values.items())))

    def __getitem__(self, knob: str) -> Value:
        return self._values[knob]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return ", ".join(f"{knob}={value}" for knob, value in self._values.items())

    def number(self, knob: str) -> int:
        """A knob that counts something."""
        return int(self._values[knob])

    @property
    def waits(self) -> bool:
        """Whether the kernel starts while the one before it ends (programmatic dependent launch) and so has to wait."""
        return bool(self._values.get("launch_pdl", False))

    @property
    def constants(self) -> dict[str, Value]:
        """What the kernel takes as constexpr: the knobs in capitals."""
        return {knob: value for knob, value in self._values.items() if knob.isupper()}

    @property
    def options(self) -> dict[str, Value]:
        """What Triton takes as launch options. Fusing a product and a sum, whose default changes between its versions,
        is always asked for."""
        return {knob: self._values[knob] for knob in _OPTIONS if knob in self._values} | {"enable_fp_fusion": True}

    def changed(self, **values: Value) -> Config:
        return Config(**{**self._values, **values})


@dataclass(frozen=True, slots=True)
class Knob:
    name: str
    """In capitals where the kernel takes it as constexpr; otherwise one of Triton's options or the launcher's own."""
    values: tuple[Value, ...]
    """In order, so that a neighbour is a small change."""


@dataclass(frozen=True)
class Problem:
    """The shape and types of one call, as far as the best schedule depends on them. Fields are JSON scalars."""

    batch_fields: ClassVar[Mapping[str, int]] = {}
    """The fields that change from step to step, each with the value that a batch-invariant schedule is looked up for.

    Schedules are tuned for powers of two of them and found for others by distance; other fields must be the same.
    """

    def bucket(self) -> Self:
        """With the batch fields rounded up to powers of two."""
        up = {name: 1 << max(0, getattr(self, name) - 1).bit_length() for name in self.batch_fields}
        return replace(self, **up)

    def invariant(self) -> Self:
        """What is looked up where the schedule may not depend on the batch."""
        return replace(self, **self.batch_fields)

    def as_dict(self) -> dict[str, Value]:
        return asdict(self)

    def __str__(self) -> str:
        return ", ".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))


@dataclass(frozen=True, slots=True)
class Work:
    """What a problem costs whatever computes it: each input read once, each output written once."""

    nbytes: int
    flops: int = 0
    """Of the tensor cores, a product and a sum counting two."""
    flops_dtype: str = "bfloat16"
    """What is multiplied: which ceiling the FLOPs are held to."""


P = TypeVar("P", bound=Problem)
Inputs = tuple[Any, ...]
Outputs = tuple[Tensor, ...]


class TunableKernel(ABC, Generic[P]):
    """One Triton kernel with its launcher, as a tuner, a compiler check and a test see it."""

    name: ClassVar[str]
    problem_type: ClassVar[type[Problem]]
    sources: ClassVar[tuple[Any, ...]]
    """The functions under `triton.jit`: a schedule that was found for other source is not that of this kernel."""
    knobs: ClassVar[tuple[Knob, ...]]
    examples: ClassVar[tuple[Any, ...]]
    """Problems of models that are shipped, a few: compiled ahead of time, tested and timed."""
    dependent: ClassVar[bool] = False
    """Whether every example is shipped for programmatic dependent launch as well."""

    @abstractmethod
    def problems(self, model: ModelShape) -> Iterator[P]:
        """What a model asks of this kernel, each problem once; nothing where it never calls it."""

    @abstractmethod
    def heuristic(self, problem: P, device: Device) -> Config:
        """The schedule where none was tuned: a rule of thumb that always compiles."""

    def shipped(self, problem: P, device: Device) -> tuple[Config, ...]:
        """What is compiled ahead of time: the rule of thumb, and settings that must not cease to compile beside it."""
        config = self.heuristic(problem.bucket(), device)
        return (config, config.changed(launch_pdl=True)) if self.dependent else (config,)

    def allows(self, problem: P, config: Config, device: Device) -> bool:
        """Whether a schedule may be tried: the device has what it launches by, and its settings make sense."""
        return (device.has_dependent_launches or not config.waits) and self.makes_sense(problem, config, device)

    def makes_sense(self, problem: P, config: Config, device: Device) -> bool:  # noqa: ARG002
        """Whether a setting of the knobs may be good for the problem; what may not is never compiled."""
        return True

    @abstractmethod
    def inputs(self, problem: P, draw: Draw) -> Inputs:
        """Fresh arguments of `run`, `reference` and `exact`: random, pages shuffled; on `meta` shapes and types."""

    @abstractmethod
    def run(self, inputs: Inputs, schedules: Any) -> Outputs:
        """Launch; every tensor that the operation writes, those written in place too."""

    @abstractmethod
    def reference(self, inputs: Inputs) -> Outputs:
        """The same by the torch reference, in the dtypes of the inputs."""

    @abstractmethod
    def exact(self, inputs: Inputs) -> Outputs:
        """The same in float64, by the formula itself."""

    def compared(self, inputs: Inputs, outputs: Outputs) -> Outputs:  # noqa: ARG002
        """What of the outputs of `run` and `reference` is held to `exact`: other than they themselves where more than
        one output is right, such as a choice between equals."""
        return outputs

    def library(self, inputs: Inputs) -> Outputs | None:  # noqa: ARG002
        """The same by a library's kernel, where torch has one that is worth comparing with."""
        return None

    @abstractmethod
    def work(self, problem: P) -> Work: ...

    def expects(self, problem: P, config: Config, device: Device) -> tuple[str, ...]:  # noqa: ARG002
        """Instructions, as PTX names them, without which the kernel was not compiled as it was meant; that of a
        dependent launch is expected of whoever waits."""
        return ()

    def source_sha(self) -> str:
        """Of the kernel's own source, 16 hexadecimal digits."""
        text = "\n".join(source.src for source in self.sources)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def named_dtype(name: str) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, name)
    return dtype
