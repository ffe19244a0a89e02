"""Facts of a run that no table holds and that its numbers need. Stored as the record's `run` section."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from bench.core.errors import InputError
from bench.core.records import ClientLoad
from bench.core.work import Ceiling, ModelWork
from bench.metrics.power_facts import PowerFacts

Stop = Literal["interrupted", "engine_failed", "storage_failed"]


@dataclass(frozen=True, slots=True)
class HealthWatch:
    """Whose health was watched throughout a run."""

    gpus_used: tuple[str, ...] | None
    """Names of the GPUs the engine used; None where it does not say which, and every GPU was watched."""
    computes_on_cpu: bool
    """Whether the engine computed on this machine's processors."""
    hangs: str | None = None
    """The device that a look was never done with, after which there was no other; None where every look ended."""


@dataclass(frozen=True, slots=True)
class RunContext:
    start_ns: int
    """When the client began to send, after the warm-up."""
    end_ns: int
    """When the last turn had ended, or the run was stopped."""
    accelerators: int
    """Accelerators the engine used; 0 on a CPU."""
    stopped: Stop | None = None
    """What ended the run before its end; None where nothing did."""
    stopped_because: str | None = None
    """The failure in the words it was told in."""
    power_missing: str | None = None
    """Why no power sensor could be read; None where one was."""
    not_sent: Mapping[str, int] = field(default_factory=dict)
    """Turns that were never sent, by reason."""
    cut_sessions: tuple[str, ...] | None = None
    """Sessions that began and were not sent whole because the time was over, sorted; None where nobody counted them."""
    client: ClientLoad | None = None
    """How busy the client was while it measured; None where nobody watched it."""
    work: ModelWork | None = None
    """What the engine says its steps had to do; None where it does not."""
    ceilings: Mapping[str, Ceiling] = field(default_factory=dict)
    """Of one accelerator, or of the whole node without any, by where they come from: `datasheet`, `measured`."""
    accuracy_failure: str | None = None
    """What the accuracy check found wrong with the answers; None where it passed or was not made."""
    health: HealthWatch | None = None
    """None where health was only looked at before the run and after it."""
    power: PowerFacts | None = None
    """None in records of before rungs were modelled."""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """From the `run` section of a record. Raises InputError where this version did not write it."""
        try:
            work, ceilings = values.get("work"), values.get("ceilings", {})
            cut, client, health = (values.get(name) for name in ("cut_sessions", "client", "health"))
            power = values.get("power")
            rebuilt = {
                "cut_sessions": _names(cut),
                "client": client and ClientLoad(**client),
                "health": health and HealthWatch(**{**health, "gpus_used": _names(health["gpus_used"])}),
                "power": power and PowerFacts.read(power),
                "work": work and ModelWork(**work),
                "ceilings": {name: Ceiling(**ceiling) for name, ceiling in ceilings.items()},
            }
            return cls(**{**values, **rebuilt})
        except (TypeError, AttributeError, KeyError) as error:
            raise InputError(f"`run` is not what this version wrote: {error}") from None


def _names(told: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if told is None else tuple(told)
