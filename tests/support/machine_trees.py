"""Power files of made-up machines, as Linux shows them below /sys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

RANGE_UJ = 262_143_328_850
"""`max_energy_range_uj` of a server package with a unit of 61 microjoules."""
POWERCAP = "sys/class/powercap"

INTEL_SERVER = {"0": "package-0", "0:0": "dram", "1": "package-1", "1:0": "dram"}
INTEL_LAPTOP = {"0": "package-0", "0:0": "core", "0:1": "uncore", "1": "psys"}
AMD_SERVER = {"0": "package-0", "0:0": "core", "1": "package-1", "1:0": "core"}
"""Zones of RAPL, by number: AMD's have the driver's name of Intel's, and no memory."""

Write = Callable[[str, object], Path]


def write_zones(write: Write, zones: Mapping[str, str], energy_uj: int = 1_000_000) -> dict[str, Path]:
    """Each zone's energy file, by its number."""
    files = {}
    for number, name in zones.items():
        folder = f"{POWERCAP}/intel-rapl:{number}"
        write(f"{folder}/name", name)
        write(f"{folder}/max_energy_range_uj", RANGE_UJ)
        files[number] = write(f"{folder}/energy_uj", energy_uj)
    return files


def write_meter(
    write: Write,
    chip: int,
    label: str | None,
    watts: float,
    *,
    averaged_ms: int | None = None,
    folder: str = "",
    label_file: str = "power1_oem_info",
) -> Path:
    """The file of a power meter of hwmon. Its files lie below `folder` of its chip."""
    place = f"sys/class/hwmon/hwmon{chip}{folder}"
    write(f"sys/class/hwmon/hwmon{chip}/name", "power_meter")
    if label is not None:
        write(f"{place}/{label_file}", label)
    if averaged_ms is not None:
        write(f"{place}/power1_average_interval", averaged_ms)
    return write(f"{place}/power1_average", int(watts * 1e6))


def write_grace(write: Write, *, sockets: int = 1, module: bool = True) -> dict[str, Path]:
    """The meters that NVIDIA's Grace Performance Tuning Guide lists, each of the ACPI driver, by label."""
    watts = {"Module": 610.0, "Grace": 180.0, "CPU": 120.0, "SysIO": 30.0}
    labels = [
        f"{part} Power Socket {socket}" for socket in range(sockets) for part in watts if module or part != "Module"
    ]
    return {
        label: write_meter(write, chip, label, watts[label.split()[0]], averaged_ms=50, folder="/device")
        for chip, label in enumerate(labels)
    }
