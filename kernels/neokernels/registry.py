"""Which implementation answers for an operation, and why.

Every operation is an `Operation`: implementations of one signature in order of preference, the torch reference last. An
engine resolves each operation once, while it loads, and calls what it got from then on.

An implementation in Triton is a `Launcher`: whoever resolves it binds it to the schedules of its device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, ParamSpec, TypeVar

import torch

from neokernels.device import cuda_device
from neokernels.launcher import Launcher
from neokernels.tuning.schedules import LookUp, Schedules
from neokernels.tuning.table import shipped_table

P = ParamSpec("P")
T = TypeVar("T")


Numerics = Literal["fast", "batch_invariant"]
"""`batch_invariant`: a row's result is the same bits whatever other rows are computed with it."""
WeightFormat = Literal["dense", "int8", "fp8", "mxfp4", "nvfp4"]
"""How the weights of projections are kept: as they are, or quantised while they load."""
GraphSupport = Literal["never", "single_token", "uniform", "always"]
"""Which steps a CUDA graph can hold an implementation for: `single_token` those of one query token a request,
`uniform` those of equally many, `always` any. An implementation that can reads nothing of a step on the host, waits for
no result and makes no tensor whose size depends on one; `never` is for one that does."""

Source = Literal["reference", "c", "library", "triton"]
"""What computes: torch's operations put together, our own C or Triton, or a library's kernel for just this."""
EVERY_OPERATION = "all"
"""The key of a preference for every operation that has what is preferred."""


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """A model's attention, as far as not every kernel of a library knows it."""

    head_dim: int
    """Of keys."""
    sinks: bool = False
    latent: bool = False
    """Whether what is cached are latents."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where an operation will run, as far as an implementation may need to know it."""

    device: torch.device
    dtype: torch.dtype
    """Of activations, and of weights that are kept dense."""
    numerics: Numerics = "fast"
    weight_format: WeightFormat = "dense"
    kv_dtype: torch.dtype | None = None
    """Of the KV cache; None is `dtype`."""
    attention: AttentionShape | None = None
    """Of the model whose attention is resolved; None without one."""


Refuses = Callable[[Target], str | None]
"""Why an implementation cannot run on a target; None when it can."""


def anywhere(target: Target) -> str | None:  # noqa: ARG001 - the signature of every requirement
    """The requirement of an implementation that needs nothing."""
    return None


def promises_nothing(target: Target) -> str | None:
    """The requirement of an implementation whose bits for one row may change with the others."""
    return None if target.numerics == "fast" else "promises nothing of one row when others change"


def unless_asked(target: Target) -> str | None:
    """The requirement of an implementation that is slower for being batch-invariant."""
    return None if target.numerics == "batch_invariant" else "pays for a promise that was not asked for"


def any_of(*requirements: Refuses) -> Refuses:
    """Refuses where any of `requirements` does, for the reason of the first."""

    def refuses(target: Target) -> str | None:
        return next((reason for reason in (requirement(target) for requirement in requirements) if reason), None)

    return refuses


class PerEngine(Generic[P, T]):
    """A function that keeps something between calls: whoever resolves it gets one of their own."""

    def __init__(self, make: Callable[[], Callable[P, T]]) -> None:
        self.make = make

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call one that is kept by nobody."""
        return self.make()(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class Implementation(Generic[P, T]):
    """One way to compute an operation."""

    name: str
    function: Callable[P, T]
    refuses: Refuses = anywhere
    graphs: GraphSupport = "always"
    source: Source = "reference"
    """A `Launcher` is Triton's whatever stands here."""
    activations: str | None = None
    """What it rounds activations to where the weight format does not say so: its answers are others'."""

    @property
    def written_in(self) -> Source:
        return "triton" if isinstance(self.function, Launcher) else self.source

    def chosen_for(self, operation: str, reason: str) -> Choice:
        return Choice(operation, self.name, reason, self.graphs, self.written_in, self.activations)

    def answers_to(self, preferred: str) -> bool:
        """Whether it is meant by a name, its own or its source's."""
        return preferred in (self.name, self.written_in)


@dataclass(frozen=True, slots=True)
class Choice:
    """What answered for an operation. `reason` holds every refusal that came before."""

    operation: str
    implementation: str
    reason: str
    graphs: GraphSupport = "always"
    source: Source = "reference"
    activations: str | None = None


class Operation(Generic[P, T]):
    """An operation by name, callable like each of its implementations."""

    def __init__(self, name: str, *implementations: Implementation[P, T]) -> None:
        self.name = name
        self.implementations = implementations

    def choose(
        self, target: Target, *, preferred: str | None = None, reference: bool = False
    ) -> tuple[Callable[P, T], Choice]:
        """The first implementation that does not refuse `target`, or the last for a `reference`.

        Those that answer to `preferred` go first. Raises LookupError when all refuse.
        """
        order = list(reversed(self.implementations)) if reference else list(self.implementations)
        if preferred is not None:
            order.sort(key=lambda implementation: not implementation.answers_to(preferred))
        refusals: dict[str, list[str]] = {}
        for implementation in order:
            refusal = implementation.refuses(target)
            if refusal is None:
                asked = preferred is not None and implementation.answers_to(preferred)
                reason = _told(refusals) or ("asked for" if asked else "first choice")
                return implementation.function, implementation.chosen_for(self.name, reason)
            refusals.setdefault(refusal, []).append(implementation.name)
        raise LookupError(f"{self.name} has no implementation for {target}: {_told(refusals)}")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Compute with the implementation that the first argument, a tensor, resolves to."""
        first: Any = args[0]
        function, _ = self.choose(Target(first.device, first.dtype))
        return function(*args, **kwargs)


class UnknownImplementationError(LookupError):
    """A preference for an implementation that the operation does not have."""

    def __init__(self, operation: str, preferred: str, known: tuple[str, ...]) -> None:
        super().__init__(f"{operation} has no implementation {preferred}; it has {', '.join(known)}")
        self.operation = operation
        self.preferred = preferred
        self.known = known


class Registry:
    """Resolves operations for one engine and remembers what answered."""

    def __init__(self, preferred: Mapping[str, str] | None = None, *, reference: bool = False) -> None:
        """`preferred` names, by operation or for `all`, an implementation or a source that is to go first.

        `reference`: for an engine that others are held to, the last implementation goes before the first.
        """
        self._preferred = preferred or {}
        self._reference = reference
        self._choices: dict[str, Choice] = {}
        self._schedules: dict[bool, Schedules] = {}
        """By whether they are batch-invariant; of the one device that the engine, or its rank, runs on."""

    def resolve(self, operation: Operation[P, T], target: Target) -> Callable[P, T]:
        """The implementation to call for `operation` on `target`.

        Raises LookupError where there is none, UnknownImplementationError where none is what was preferred, and
        TableError where the schedules that are shipped for the device cannot be read.
        """
        function, choice = operation.choose(target, preferred=self._preference(operation), reference=self._reference)
        self._choices[operation.name] = choice
        if isinstance(function, Launcher):
            return function.bound(self._schedules_of(target))
        return function.make() if isinstance(function, PerEngine) else function

    def _preference(self, operation: Operation[P, T]) -> str | None:
        named = self._preferred.get(operation.name)
        if named is not None and not any(one.answers_to(named) for one in operation.implementations):
            names = dict.fromkeys(implementation.name for implementation in operation.implementations)
            raise UnknownImplementationError(operation.name, named, tuple(names))
        return named or self._preferred.get(EVERY_OPERATION)

    @property
    def not_called(self) -> tuple[str, ...]:
        """The operations that a preference names and that were never resolved."""
        return tuple(name for name in self._preferred if name not in self._choices and name != EVERY_OPERATION)

    def _schedules_of(self, target: Target) -> Schedules:
        batch_invariant = target.numerics == "batch_invariant"
        schedules = self._schedules.get(batch_invariant)
        if schedules is None:
            device = cuda_device(target.device.index or 0)
            schedules = Schedules(device, shipped_table(device), batch_invariant=batch_invariant)
            self._schedules[batch_invariant] = schedules
        return schedules

    @property
    def look_ups(self) -> tuple[LookUp, ...]:
        """The schedules that kernels were launched with so far, one for each kernel and bucket of problems."""
        return tuple(look_up for schedules in self._schedules.values() for look_up in schedules.look_ups)

    @property
    def choices(self) -> tuple[Choice, ...]:
        """One choice an operation, in the order they were resolved."""
        return tuple(self._choices.values())


def _told(refusals: dict[str, list[str]]) -> str:
    """Who refused, reason by reason."""
    return "; ".join(f"{', '.join(names)}: {refusal}" for refusal, names in refusals.items())
