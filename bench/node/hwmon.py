"""Power meters of the machine's own firmware, as Linux's hwmon shows them: watts only, in microwatts.

Sources: Documentation/hwmon/sysfs-interface.rst and acpi_power_meter.rst of the Linux kernel; for what Grace's meters
are called, the power telemetry of NVIDIA's Grace Performance Tuning Guide. A meter of ACPI says in `power1_oem_info`
what it measures, and its files lie under `device` where its driver is an old one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.core.records import PowerRow
from bench.node.facts import AbsentError, exists, read_text
from bench.node.number_file import NumberFile
from bench.node.sensor_faults import SensorFaults

MICROWATTS_PER_WATT = 1_000_000
_OF_A_SOCKET = re.compile(r"(module|grace|cpu|sysio) power socket (\d+)", re.IGNORECASE)
_OF_A_NODE = re.compile(
    r"(meter measures )?total domain|(total )?(system|node|chassis|server|platform)( input| total)?( power)?",
    re.IGNORECASE,
)
_PARTS = {"module": ("module",), "cpu": ("grace", "cpu"), "node": ("node",)}
"""By scope: what its meters are called, the wider first. A Grace socket contains its CPU and SysIO rails, and a module
its Grace: only meters of one name are added."""
_MS_PER_S = 1000
_FASTEST_S, _SLOWEST_S = 0.1, 1.0
_TOLD_LABELS = 6


@dataclass(frozen=True, slots=True)
class Meter:
    watts: Path
    """Its file, which holds microwatts."""
    label: str
    part: str | None
    """What it measures; None where its label does not say."""
    socket: int | None
    averaged_ms: int | None
    """Over how long it averages, where it says so."""


class MeterSensor:
    """Reads one meter. It has no energy counter. To be closed."""

    lane = "firmware"

    def __init__(self, meter: Meter, scope: str) -> None:
        """Raises AbsentError when it cannot be read."""
        self.scope = scope
        self.device = f"{meter.part}-meter" if meter.socket is None else f"{meter.part}{meter.socket}"
        over = "" if meter.averaged_ms is None else f", averaged over {meter.averaged_ms} ms"
        self.source = f"hwmon power meter {meter.label!r}{over}"
        self.faults = SensorFaults()
        # Firmware may ask a controller over a slow bus each time, and does not know more than once in this time.
        averaged_s = _SLOWEST_S if meter.averaged_ms is None else meter.averaged_ms / _MS_PER_S
        self.interval_s = min(max(averaged_s, _FASTEST_S), _SLOWEST_S)
        self._path = meter.watts
        self._file = NumberFile(meter.watts)
        self._watts()

    def read(self, t_ns: int) -> list[PowerRow]:
        watts: float | None = None
        try:
            watts = self._watts()
        except AbsentError as absent:
            self.faults.add_absent(absent, t_ns)
        return [PowerRow(t_ns, self.scope, self.device, watts=watts, joules_counter=None)]

    def close(self) -> None:
        self._file.close()

    def _watts(self) -> float:
        microwatts = self._file.read()
        if microwatts <= 0:
            raise AbsentError(f"{self._path} tells {microwatts}, which nothing that runs draws")
        return microwatts / MICROWATTS_PER_WATT


def meter_sensors(scope: str, root: Path = Path("/")) -> list[MeterSensor]:
    """The meters of `module`, `cpu` or `node`. Raises AbsentError where none says it measures that, or two the same."""
    meters = list(_meters(root))
    for part in _PARTS[scope]:
        found = [meter for meter in meters if meter.part == part]
        label, times = Counter(meter.label for meter in found).most_common(1)[0] if found else ("", 0)
        if times > 1 or (part == "node" and len(found) > 1):
            raise AbsentError(f"{len(found)} power meters measure the {part}, as {label!r}: which counts is not known")
        if found:
            return [MeterSensor(meter, scope) for meter in found]
    others = ", ".join(sorted({repr(meter.label) for meter in meters})[:_TOLD_LABELS])
    raise AbsentError(f"no power meter in {_folder(root)} measures {scope}" + (f", only {others}" if others else ""))


def _meters(root: Path) -> Iterator[Meter]:
    for chip in sorted(_folder(root).glob("hwmon*")):
        for folder in (chip, chip / "device"):
            numbers = sorted({file.name.partition("_")[0] for file in folder.glob("power*_*")})
            found = [meter for number in numbers if (meter := _meter(folder, number)) is not None]
            yield from found
            if found:
                break


def _folder(root: Path) -> Path:
    return root / "sys/class/hwmon"


def _meter(folder: Path, number: str) -> Meter | None:
    """The meter `power1` and the like, its average before its last value; None where it has neither."""
    files = (folder / f"{number}_{kind}" for kind in ("average", "input"))
    watts = next((file for file in files if exists(file)), None)
    if watts is None or _told(folder / f"{number}_is_battery") == "1":
        return None
    label = _told(folder / f"{number}_label") or _told(folder / f"{number}_oem_info") or ""
    averaged = _told(folder / f"{number}_average_interval") or ""
    part = socket = None
    if of_a_socket := _OF_A_SOCKET.fullmatch(label):
        part, socket = of_a_socket[1].lower(), int(of_a_socket[2])
    elif _OF_A_NODE.fullmatch(label):
        part = "node"
    return Meter(watts, label, part, socket, int(averaged) if averaged.isdecimal() else None)


def _told(file: Path) -> str | None:
    try:
        return read_text(file)
    except AbsentError:
        return None
