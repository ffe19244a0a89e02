"""How made-up GPUs fare over time: what their driver counts, what goes wrong on them, and whose they are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from bench.core.clock import RealClock
from bench.core.pseudonym import pseudonym
from bench.metrics import health as known
from bench.node.gpu_health import THROTTLE_REASONS
from bench.node.health import HealthDevices, HealthRecorder, open_health

LOST = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
OURS, CHILD, STRANGER = 70, 71, 90


@pytest.fixture
def machine(grace: Path, write: Callable[[str, object], Path]) -> Path:
    """A machine on which process 70 has started 71, and 90 is somebody else's."""
    for pid, parent in ((OURS, 1), (CHILD, OURS), (STRANGER, 1)):
        write(f"proc/{pid}/stat", f"{pid} (python) S {parent} 0 0 0 0 0 0 0 0 0 10 10 0 0 0 0 0 0 0")
    return grace


@pytest.fixture
def opened(machine: Path) -> Callable[..., HealthDevices]:
    """`opened(api, ids)`: what is read of GPUs `ids`, by default of all, for a run of process 70."""
    return lambda api, ids=None: open_health(ids, pid=OURS, root=machine, api=api)


def look(devices: HealthDevices, device: str = "gpu0") -> dict[str, float | None]:
    return {row.name: row.value for row in devices.read(RealClock()) if row.device == device}


def processes(*pids: int) -> list[Any]:
    return [SimpleNamespace(pid=pid) for pid in pids]


def test_the_drivers_own_seconds_and_errors_are_read_look_after_look(
    h100s: Callable[..., Any], opened: Callable[..., HealthDevices]
) -> None:
    api = h100s(nvmlDeviceGetViolationStatus=SimpleNamespace(violationTime=2_500_000_000))
    hot, ecc = pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN, pynvml.NVML_FI_DEV_ECC_DBE_VOL_TOTAL
    api.fields |= {(hot, 0): 1_000_000_000, (ecc, 0): 0}
    devices = opened(api)
    first = look(devices)
    api.fields |= {(hot, 0): 1_700_000_000, (ecc, 0): 2}
    second = look(devices)
    assert (first["throttle_hw_thermal_s"], second["throttle_hw_thermal_s"]) == pytest.approx((1.0, 1.7))
    assert (first["ecc_uncorrected"], second["ecc_uncorrected"]) == (0.0, 2.0)
    assert second["violation_thermal_s"] == pytest.approx(2.5)
    assert first["pcie_replays"] is None
    assert "pcie_replays" not in second
    assert "Not Supported" in devices.describe()["missing"]["gpu0"]["pcie_replays"]
    devices.close()
    assert (api.opened, api.event_sets) == (0, [])


def test_links_that_are_counted_one_by_one_are_summed(
    h100s: Callable[..., Any], opened: Callable[..., HealthDevices]
) -> None:
    api = h100s()
    api.fields |= {(pynvml.NVML_FI_DEV_NVLINK_COUNT_RCV_ERRORS, link): link for link in (0, 1, 5)}
    told = look(opened(api))
    assert told["nvlink_receive_errors"] == 6.0
    assert told["nvlink_link_recoveries"] is None


def test_an_xid_in_the_middle_is_counted_once(h100s: Callable[..., Any], opened: Callable[..., HealthDevices]) -> None:
    api = h100s(2)
    devices = opened(api)
    assert look(devices)["xid_events"] == 0
    api.event_sets[0] += [63, 79]
    assert (look(devices)["xid_events"], look(devices)["xid_last"]) == (2.0, 79.0)
    assert look(devices)["xid_events"] == 2.0
    assert look(devices, "gpu1")["xid_events"] == 0.0


def test_an_event_of_a_gpu_that_is_lost_with_it_is_told(
    h100s: Callable[..., Any], opened: Callable[..., HealthDevices], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = h100s()
    devices = opened(api)
    look(devices)
    events = [SimpleNamespace(eventData=79)]

    def wait(*_: object) -> Any:
        if events:
            return events.pop()
        raise LOST

    monkeypatch.setattr(api, "nvmlEventSetWait_v2", wait)
    assert (look(devices)["xid_events"], look(devices)["xid_events"]) == (1.0, None)


def test_an_old_driver_tells_the_temperature_by_an_old_function(
    h100s: Callable[..., Any], opened: Callable[..., HealthDevices]
) -> None:
    missing = pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    assert look(opened(h100s(nvmlDeviceGetTemperatureV=missing, nvmlDeviceGetTemperature=57)))["temperature_c"] == 57.0
    assert look(opened(h100s(nvmlDeviceGetTemperatureV=LOST, nvmlDeviceGetTemperature=57)))["temperature_c"] is None


@pytest.mark.parametrize("pids", [(), (OURS,), (OURS, CHILD), (CHILD, STRANGER)])
def test_processes_on_a_gpu_are_the_runs_or_others(
    h100s: Callable[..., Any], opened: Callable[..., HealthDevices], pids: tuple[int, ...]
) -> None:
    told = look(opened(h100s(nvmlDeviceGetComputeRunningProcesses=processes(*pids))))
    assert (told["compute_processes"], told["other_compute_processes"]) == (len(pids), pids.count(STRANGER))


@pytest.mark.parametrize(
    ("pids", "why"),
    [((4711, 4712), "not to be seen from here"), ((4711, OURS), "not to be seen"), ((STRANGER,), "those of a host")],
)
def test_in_a_container_where_they_are_those_of_the_host_processes_are_counted_and_not_called_strangers(
    h100s: Callable[..., Any], opened: Callable[..., HealthDevices], pids: tuple[int, ...], why: str
) -> None:
    devices = opened(h100s(nvmlDeviceGetComputeRunningProcesses=processes(*pids)))
    told = look(devices)
    assert (told["compute_processes"], told["other_compute_processes"]) == (len(pids), None)
    assert why in devices.describe()["missing"]["gpu0"]["other_compute_processes"]


def test_a_gpu_lost_in_the_middle_is_null_from_then_on_and_the_rest_goes_on(
    h100s: Callable[..., Any], opened: Callable[..., HealthDevices]
) -> None:
    api = h100s(2, nvmlDeviceGetComputeRunningProcesses=processes(OURS))
    devices = opened(api)
    before = look(devices)
    api.gpus[0] |= dict.fromkeys(api.gpus[0], LOST)
    after, again = look(devices), look(devices)
    told = {name for name, value in before.items() if value is not None}
    lost = {name for name in told if after[name] is None}
    assert {"sm_clock_mhz", "temperature_c", "compute_processes"} <= lost
    assert set(again) == set(after) == told
    assert "GPU is lost" in devices.describe()["missing"]["gpu0"]["sm_clock_mhz"]
    assert look(devices, "gpu1")["sm_clock_mhz"] == 1980.0
    assert look(devices, "cpu")["load_average_1m"] is not None
    devices.close()
    assert api.opened == 0


def test_a_gpu_that_hangs_is_named_and_holds_up_no_run(
    h100s: Callable[..., Any], opened: Callable[..., HealthDevices]
) -> None:
    api, answer = h100s(2), threading.Event()
    devices, rows = opened(api), []

    async def run() -> None:
        async with HealthRecorder(devices, RealClock(), rows.extend, interval_s=0.01, patience_s=1.0):
            api.gpus[1]["nvmlDeviceGetClockInfo"] = lambda _: answer.wait(60)
            await asyncio.sleep(0.02)

    asyncio.run(run())
    answer.set()
    assert devices.hangs == "gpu1"
    assert {row.device for row in rows} == {"cpu", "gpu0", "gpu1"}  # of the look before


def test_only_the_gpus_of_an_engine_are_read(h100s: Callable[..., Any], opened: Callable[..., HealthDevices]) -> None:
    api = h100s(3)
    devices = opened(api, [pseudonym(api.gpus[2]["nvmlDeviceGetUUID"])])
    assert devices.gpus_used == ("gpu2",)
    assert {row.device for row in devices.read(RealClock())} == {"cpu", "gpu2"}
    assert opened(api).gpus_used is None
    none = opened(api, [])
    assert (none.gpus_used, none.describe()["missing"]["gpu"]) == ((), "the engine uses no GPU")
    unknown = opened(api, ["of another machine"])
    assert "NVML knows no GPU of another machine" in unknown.describe()["missing"]["gpu"]


def test_every_figure_that_is_read_has_its_place_in_the_record(
    h100s: Callable[..., Any], opened: Callable[..., HealthDevices]
) -> None:
    devices = opened(h100s())
    gpu, cpu = set(look(devices)), set(look(opened(h100s()), "cpu"))
    counters = {counter for counters in known.THROTTLES.values() for counter in counters}
    assert set(THROTTLE_REASONS) < {f"throttle_{reason}" for reason in known.THROTTLES}
    assert gpu == {
        *known.GPU_GAUGES,
        *known.GPU_ERRORS,
        *THROTTLE_REASONS,
        *counters,
        *("xid_events", "xid_last", "remapping_pending", "remapping_failed"),
        *("compute_processes", "other_compute_processes"),
    }
    assert cpu == {
        *known.CPU_GAUGES,
        *known.CPU_PRESSURES.values(),
        *known.CPU_COUNTS,
        *("busy_s", "steal_s", "counted_cpus", "own_cpu_s", "package_throttle_s"),
        *("quota_periods", "quota_throttled_periods"),
    }
