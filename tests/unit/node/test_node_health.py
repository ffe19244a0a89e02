"""How the machine fares, and where a result comes from."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pynvml
import pytest

from bench.core.clock import RealClock
from bench.core.records import HealthRow
from bench.node.gpu_health import THROTTLE_REASONS
from bench.node.health import open_health
from bench.node.provenance import provenance


def health_rows(clock: RealClock, root: Path = Path("/"), api: Any = pynvml) -> list[HealthRow]:
    """One look at the processors and every GPU of the machine."""
    opened = open_health(root=root, api=api)
    try:
        return opened.read(clock)
    finally:
        opened.close()


def values(rows: list[Any], device: str) -> dict[str, float | None]:
    return {row.name: row.value for row in rows if row.device == device}


def test_this_machine_tells_its_load_and_memory() -> None:
    before_ns = RealClock().now_ns()
    rows = health_rows(RealClock())
    told = values(rows, "cpu")
    assert told["load_average_1m"] is not None
    assert told["memory_available_bytes"] is not None
    assert all(row.t_ns >= before_ns for row in rows)


def test_a_cpu_is_told_from_its_files_and_what_it_hides_is_null(grace: Path, no_driver: object) -> None:
    told = values(health_rows(RealClock(), grace, no_driver), "cpu")
    assert told["load_average_1m"] == 1.5
    assert told["memory_available_bytes"] == 1 << 29
    assert told["steal_s"] == 7.0
    assert told["frequency_mean_mhz"] is None


def test_the_slowest_of_the_cores_that_may_be_used_is_seen(
    grace: Path, no_driver: object, write: Callable[[str, object], Path]
) -> None:
    def clocks() -> tuple[float | None, float | None]:
        told = values(health_rows(RealClock(), grace, no_driver), "cpu")
        return told["frequency_mean_mhz"], told["frequency_min_mhz"]

    for cpu, kilohertz in enumerate((3_000_000, 2_400_000, 3_000_000, 1_200_000)):
        write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq", kilohertz)
    assert clocks() == (2700.0, 2400.0)
    write("proc/self/status", "Name:\tpython")
    assert clocks() == (2400.0, 1200.0)


def test_each_gpu_tells_clocks_temperature_limit_and_every_throttle_reason(
    grace: Path, h100s: Callable[..., Any]
) -> None:
    api = h100s(2, nvmlDeviceGetTemperatureV=pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED))
    rows = health_rows(RealClock(), grace, api)
    told = values(rows, "gpu1")
    assert (told["sm_clock_mhz"], told["power_limit_w"], told["temperature_c"]) == (1980.0, 650.0, None)
    assert {name for name in THROTTLE_REASONS if told[name]} == {"throttle_sw_power_cap"}
    assert api.opened == 0


def test_a_machine_whose_gpus_cannot_be_listed_still_tells_its_cpu(grace: Path, h100s: Callable[..., Any]) -> None:
    api = h100s()
    api.gpus = None
    api.nvmlDeviceGetCount = raise_lost
    rows = health_rows(RealClock(), grace, api)
    assert {row.device for row in rows} == {"cpu"}
    assert api.opened == 0


def test_a_lost_gpu_is_told_to_be_lost_and_the_others_are_watched(grace: Path, h100s: Callable[..., Any]) -> None:
    api = h100s(2)
    api.nvmlDeviceGetHandleByIndex = lambda index: api.gpus[1] if index else raise_lost()
    opened = open_health(root=grace, api=api)
    rows = opened.read(RealClock())
    assert values(rows, "gpu0")["sm_clock_mhz"] is None
    assert "lost" in opened.describe()["missing"]["gpu0"]["sm_clock_mhz"]
    assert values(rows, "gpu1")["sm_clock_mhz"] == 1980.0
    opened.close()
    assert (api.opened, api.event_sets) == (0, [])


def test_a_driver_that_is_gone_breaks_no_end(grace: Path, h100s: Callable[..., Any]) -> None:
    api = h100s()
    opened = open_health(root=grace, api=api)
    api.nvmlShutdown = api.nvmlEventSetFree = lambda *_: raise_lost()
    opened.close()


def raise_lost() -> int:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository of one commit."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "file.txt").write_text("one\n")
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.invalid")
    for arguments in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "first")):
        subprocess.run(["git", "-C", folder, *arguments], check=True)
    return folder


def test_a_clean_checkout_then_a_dirty_one(checkout: Path) -> None:
    clean = provenance(["bench", "run", "smoke"], checkout)
    head = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert clean["git_sha"] == head.stdout.strip()
    assert clean["git_dirty"] is False
    assert clean["command"] == ["bench", "run", "smoke"]
    (checkout / "file.txt").write_text("two\n")
    assert provenance([], checkout)["git_dirty"] is True


def test_a_copy_inside_somebody_elses_repository_does_not_take_its_commit(checkout: Path) -> None:
    installed = checkout / "site-packages"
    installed.mkdir()
    told = provenance([], installed)
    assert told["git_sha"] is None
    assert told["git_dirty"] is None
    assert set(told["missing"]) == {"git_sha", "git_dirty"}


def test_versions_are_those_installed_and_the_time_is_utc() -> None:
    told = provenance([])
    assert told["packages"]["numpy"]
    assert datetime.fromisoformat(told["time_utc"]).utcoffset() == timedelta(0)
