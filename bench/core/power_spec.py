"""What a user says of energy beside what the machine's sensors tell: how they are read, and what stands for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, model_validator

from bench.core.section import Section


@dataclass(frozen=True, slots=True)
class DeclaredPower:
    """A wattage the user vouches for where no sensor can be read; it is labelled `assumed` wherever it is used."""

    scope: Literal["gpu", "module", "node"]
    watts: float


class PowerSpec(Section):
    """No part of a case's id: it decides what is known of the energy, not what is run."""

    scope: Literal["gpu", "module", "node"] | None = None
    """Of the declared watts."""
    watts: PositiveFloat | None = None
    """Declared for `scope`, and used where it cannot be read."""
    idle_s: Annotated[float, Field(gt=0, le=600)] | None = None
    """How long the idle, loaded engine is read before it is warmed up, to tell energy above idle beside the whole."""
    pue: Annotated[float, Field(ge=1, le=3)] | None = None
    """Power usage effectiveness of the facility: its power over that of its racks. Nothing stands for one not given."""

    @model_validator(mode="after")
    def _declared_together(self) -> PowerSpec:
        if (self.scope is None) != (self.watts is None):
            raise ValueError("scope and watts declare a power together: give both or neither")
        return self

    @property
    def declared(self) -> DeclaredPower | None:
        return None if self.scope is None or self.watts is None else DeclaredPower(self.scope, self.watts)
