"""Energy of processor packages and of their memory from RAPL, as Linux exposes it for Intel and AMD alike.

Source: Documentation/power/powercap/powercap.rst of the Linux kernel. `energy_uj` counts microjoules and starts again
from zero after `max_energy_range_uj`. AMD's zones have Intel's names: packages, and cores within them. Only Intel's
servers have one for memory.
"""

from __future__ import annotations

import re
from pathlib import Path

from bench.core.records import PowerRow
from bench.core.units import seconds_from_ns
from bench.node.facts import AbsentError, exists, read_int, read_text
from bench.node.number_file import NumberFile
from bench.node.sensor_faults import SensorFaults

MICROJOULES_PER_JOULE = 1_000_000
_MOST_WATTS = 5_000.0
"""Ten times what a package draws: a counter that goes back and means more was set to zero, and did not wrap."""
_SHORTEST_S = 0.1
"""Readings that a busy machine stamps closer together than they were made are judged as this far apart."""


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


class ZoneSensor:
    """One zone of RAPL. It counts energy only, so its rows carry no watts. To be closed."""

    def __init__(self, zone: Path, scope: str, device: str) -> None:
        """Raises AbsentError when the zone cannot be read, as by ordinary users since Linux 5.10."""
        self.scope = scope
        self.device = device
        self.source = f"RAPL {read_text(zone / 'name')} energy counter"
        self.faults = SensorFaults()
        self._counter = WrappingCounter(read_int(zone / "max_energy_range_uj"))
        self._energy = NumberFile(zone / "energy_uj")
        self._counter.advance(self._energy.read())
        self._last: tuple[int, float] | None = None
        """Time and joules of the reading before."""
        self._was_reset = False

    def read(self, t_ns: int) -> list[PowerRow]:
        return [PowerRow(t_ns, self.scope, self.device, watts=None, joules_counter=self._joules(t_ns))]

    def close(self) -> None:
        self._energy.close()

    def _joules(self, t_ns: int) -> float | None:
        if self._was_reset:
            return None
        try:
            joules = self._counter.advance(self._energy.read()) / MICROJOULES_PER_JOULE
        except AbsentError as absent:
            self.faults.add_absent(absent, t_ns)
            return None
        if self._last is not None:
            past_s = max(seconds_from_ns(t_ns - self._last[0]), _SHORTEST_S)
            if joules - self._last[1] > _MOST_WATTS * past_s:
                # What was used before is lost, so no later difference can be trusted either.
                self.faults.add("counter_went_back", "the energy counter was set to zero, as after a suspend", t_ns)
                self._was_reset = True
                return None
        self._last = (t_ns, joules)
        return joules


def package_sensors(root: Path = Path("/")) -> list[ZoneSensor]:
    """A sensor for each package. Raises AbsentError unless every package can be read: part of a scope is not the scope.

    Zones inside a package are left out, and so is the platform's, which contains the packages: nothing counts twice.
    """
    return [ZoneSensor(zone, "cpu", f"cpu-{name}") for name, zone in _packages(root).items()]


def memory_sensors(root: Path = Path("/")) -> list[ZoneSensor]:
    """A sensor for the memory of each package. Raises AbsentError unless every package has one that can be read."""
    zones = {name: _memory_of(package) for name, package in _packages(root).items()}
    without = [name for name, zone in zones.items() if zone is None]
    if without:
        raise AbsentError(f"RAPL has no DRAM zone in {', '.join(without)}: only Intel's servers count their memory")
    return [ZoneSensor(zone, "dram", f"dram-{name}") for name, zone in zones.items() if zone is not None]


def platform_sensors(root: Path = Path("/")) -> list[ZoneSensor]:
    """A sensor for `psys`: packages, memory and what else the maker has wired to it.

    Raises AbsentError for none, and for several: servers may show one a socket, and not all of them count.
    """
    _packages(root)
    zones = [zone for name, zone in _zones(root) if name.startswith("psys")]
    if len(zones) != 1:
        raise AbsentError(
            f"RAPL has {len(zones)} zones of the platform (psys): which counts is not known"
            if zones
            else "RAPL has no zone of the platform (psys), as most servers"
        )
    return [ZoneSensor(zones[0], "psys", "psys")]


def _packages(root: Path) -> dict[str, Path]:
    """Zones of packages by name. Raises AbsentError where there is none."""
    packages = {name: zone for name, zone in _zones(root) if name.startswith("package")}
    if not packages:
        hidden = "the machine has none, or a container or a virtual machine hides it"
        raise AbsentError(f"{_folder(root)} has no RAPL package: {hidden}")
    return packages


def _zones(root: Path) -> list[tuple[str, Path]]:
    """The outermost zones with their names. Raises AbsentError where one cannot be read.

    Containers may hide what the links of the class point to.
    """
    zones = sorted(zone for zone in _folder(root).glob("intel-rapl:*") if re.fullmatch(r"intel-rapl:\d+", zone.name))
    return [(read_text(zone / "name"), zone) for zone in zones if exists(zone)]


def _folder(root: Path) -> Path:
    return root / "sys/class/powercap"


def _memory_of(package: Path) -> Path | None:
    zones = package.parent.glob(f"{package.name}:*")
    return next((zone for zone in sorted(zones) if read_text(zone / "name") == "dram"), None)
