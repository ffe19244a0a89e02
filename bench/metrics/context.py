"""Facts of a run that no table holds and that its numbers need. Stored as the record's `run` section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from bench.core.errors import InputError
from bench.core.records import ClientLoad
from bench.core.work import Ceiling, ModelWork

Stop = Literal["interrupted", "engine_failed", "storage_failed"]


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

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """From the `run` section of a record. Raises InputError where this version did not write it."""
        try:
            work, ceilings = values.get("work"), values.get("ceilings", {})
            cut, client = values.get("cut_sessions"), values.get("client")
            rebuilt = {
                "cut_sessions": None if cut is None else tuple(cut),
                "client": client and ClientLoad(**client),
                "work": work and ModelWork(**work),
                "ceilings": {name: Ceiling(**ceiling) for name, ceiling in ceilings.items()},
            }
            return cls(**{**values, **rebuilt})
        except (TypeError, AttributeError) as error:
            raise InputError(f"`run` is not what this version wrote: {error}") from None
