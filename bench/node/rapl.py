"""Energy of processor packages from RAPL, as Linux exposes it for Intel and AMD alike.

Source: Documentation/power/powercap/powercap.rst of the Linux kernel. `energy_uj` counts microjoules and starts again
from zero after `max_energy_range_uj`.
"""

from __future__ import annotations

import re
from pathlib import Path

from bench.core.records import PowerRow
from bench.node.facts import AbsentError, read_int, read_text

MICROJOULES_PER_JOULE = 1_000_000


class WrappingCounter:
    """A counter that starts again from zero after `range_`, made to grow without end.

    It must be read at least once a turn; at 300 W a package takes minutes for one.
    """

    def __init__(self, range_: int) -> None:
        self._range = range_
        self._last: int | None = None
        self._total = 0

    def advance(self, reading: int) -> int:
        """What was counted since the first reading."""
        if self._last is not None:
            self._total += reading - self._last if reading >= self._last else self._range - self._last + reading
        self._last = reading
        return self._total


class PackageSensor:
    """One processor package. RAPL counts energy only, so its rows carry no watts."""

    scope = "cpu"

    def __init__(self, zone: Path) -> None:
        """Raises AbsentError when the zone cannot be read, as by ordinary users since Linux 5.10."""
        self.device = f"cpu-{read_text(zone / 'name')}"
        self.source = "RAPL package energy counter"
        self.problem: str | None = None
        self._energy = zone / "energy_uj"
        self._counter = WrappingCounter(read_int(zone / "max_energy_range_uj"))
        self._counter.advance(read_int(self._energy))

    def read(self, t_ns: int) -> list[PowerRow]:
        try:
            joules = self._counter.advance(read_int(self._energy)) / MICROJOULES_PER_JOULE
        except AbsentError as absent:
            self.problem = str(absent)
            return [PowerRow(t_ns, self.scope, self.device, watts=None, joules_counter=None)]
        return [PowerRow(t_ns, self.scope, self.device, watts=None, joules_counter=joules)]


def package_sensors(root: Path = Path("/")) -> list[PackageSensor]:
    """A sensor for each package. Raises AbsentError unless every package can be read: part of a scope is not the scope.

    Zones inside a package (cores, DRAM) and `psys`, which contains the packages, are left out: nothing counts twice.
    """
    powercap = root / "sys/class/powercap"
    zones = sorted(zone for zone in powercap.glob("intel-rapl:*") if re.fullmatch(r"intel-rapl:\d+", zone.name))
    packages = [zone for zone in zones if read_text(zone / "name").startswith("package")]
    if not packages:
        raise AbsentError(f"{powercap} has no RAPL package: the machine has none, or a virtual machine hides it")
    return [PackageSensor(zone) for zone in packages]
