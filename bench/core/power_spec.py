"""What a user says of energy beside what the machine's sensors tell: how they are read, and what stands for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, field_validator, model_validator

from bench.core.section import Section


@dataclass(frozen=True, slots=True)
class DeclaredPower:
    """A wattage the user vouches for where no sensor can be read; it is labelled `assumed` wherever it is used."""

    scope: Literal["gpu", "module", "node"]
    watts: float


class RedfishSpec(Section):
    """The management controller (BMC) of a server or a rack, which is only ever read."""

    url: str
    """As `https://10.0.0.7`, of the service alone. Without TLS only on this machine, where a tunnel may end: the
    password goes with every request. No proxy is used, and no redirect to another server is followed."""
    user_env: str
    """Name of the environment variable that holds the user. Neither it nor the password is logged or recorded."""
    password_env: str
    scope: Literal["node", "rack"] = "node"
    """What the power is of; the controller does not say."""
    chassis: str | None = None
    """Id of the chassis that is read; null finds the one that contains the others, and reads none where two do."""
    interval_s: Annotated[float, Field(ge=0.2, le=2)] = 1.0
    """Most controllers look at their sensors once a second, and take up to one to answer."""
    timeout_s: Annotated[float, Field(gt=0, le=30)] = 5.0
    verify_tls: bool = True
    ca_file: str | None = None
    """Certificates to trust instead of the system's."""


class DcgmSpec(Section):
    """NVIDIA's DCGM exporter, asked where NVML tells nothing, as in a container that the driver is not mounted into."""

    url: str
    """As `http://127.0.0.1:9400/metrics`."""
    interval_s: Annotated[float, Field(ge=0.1, le=2)] = 0.25
    """Of asking, and so how well the time of a new reading is known. How often the exporter looks is its own setting,
    30 s if nobody sets it: too seldom to be of use."""
    timeout_s: Annotated[float, Field(gt=0, le=30)] = 5.0


class PowerSpec(Section):
    """No part of a case's id: it decides what is known of the energy, not what is run."""

    scope: Literal["gpu", "module", "node"] | None = None
    """Of the declared watts."""
    watts: PositiveFloat | None = None
    """Declared for `scope`, and used where it cannot be read."""
    interval_s: Annotated[float, Field(ge=0.02, le=1)] = 0.1
    """Between two readings of the machine's own sensors."""
    redfish: tuple[RedfishSpec, ...] = ()
    """One, or a list: a rack has a controller in each of its power shelves, and their power is added."""
    dcgm: DcgmSpec | None = None
    idle_s: Annotated[float, Field(gt=0, le=600)] | None = None
    """How long the idle, loaded engine is read before it is warmed up, to tell energy above idle beside the whole."""
    pue: Annotated[float, Field(ge=1, le=3)] | None = None
    """Power usage effectiveness of the facility: its power over that of its racks. Nothing stands for one not given."""

    @field_validator("redfish", mode="before")
    @classmethod
    def _one_or_a_list(cls, value: Any) -> Any:
        if not isinstance(value, dict | list | tuple | None):
            raise ValueError("a mapping, or a list of such")
        return () if value is None else (value,) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _declared_together(self) -> PowerSpec:
        if (self.scope is None) != (self.watts is None):
            raise ValueError("scope and watts declare a power together: give both or neither")
        return self

    @property
    def declared(self) -> DeclaredPower | None:
        return None if self.scope is None or self.watts is None else DeclaredPower(self.scope, self.watts)
