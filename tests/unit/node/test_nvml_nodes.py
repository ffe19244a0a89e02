"""Energy of whole nodes, replayed: H100, GH200 and GB300 as their documentation has them, sound and at fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pynvml
import pytest
from nvml_nodes import GB300, GH200, H100, SCOPES, Fault, SyntheticNode
from nvml_replay import ReplayedNvml, SteppedClock

from bench.core.pseudonym import pseudonym
from bench.core.records import PowerRow
from bench.core.units import NS_PER_S, ns_from_seconds
from bench.metrics.power_readings import Unreadable, counted, devices_of, integrated
from bench.node.power import Sensors, open_sensors
from bench.results.batches import table_of

START_S, END_S = 1.0, 19.0


class Run:
    """A node's sensors, read ten times a second over the whole of its recording."""

    def __init__(self, node: SyntheticNode, root: Path, fault: Fault | None = None) -> None:
        clock = SteppedClock()
        self.api = ReplayedNvml(node.recording(20.0, fault), clock)
        self.opened: Sensors = open_sensors(root=root, api=self.api)
        self.rows: list[PowerRow] = []
        for number in range(201):
            clock.t_ns = ns_from_seconds(number / 10)
            self.rows += [row for sensor in self.opened.sensors for row in sensor.read(clock.t_ns)]

    def joules(self, scope: str, metered: Callable[..., Any]) -> float | None:
        """What all meters of `scope` used by their counters or their watts; None where one of them is refused."""
        devices = devices_of(table_of("power", self.rows), start_ns=0, run_ns=20.0 * NS_PER_S)
        parts = [metered(device, np.array([START_S, END_S]) * NS_PER_S) for device in devices if device.scope == scope]
        return None if any(isinstance(part, Unreadable) for part in parts) else sum(part.total for part in parts)


def names(rows: Sequence[PowerRow], scope: str) -> list[str]:
    return sorted({row.device for row in rows if row.scope == scope})


@pytest.mark.parametrize("node", [H100, GH200, GB300], ids=lambda node: node.product)
def test_every_scope_that_answers_gives_the_joules_that_were_used(node: SyntheticNode, tmp_path: Path) -> None:
    run = Run(node, tmp_path)
    assert run.api.origin == "synthetic"
    assert {row.scope for row in run.rows} == set(node.watts)
    assert {"gpu", "memory", "module"} - set(run.opened.missing) == set(node.watts)
    for scope in node.watts:
        truth = node.joules(scope, START_S, END_S)
        assert run.joules(scope, integrated) == pytest.approx(truth, rel=0.005)
        by_counter = run.joules(scope, counted)
        assert by_counter == (pytest.approx(truth, rel=0.005) if scope in node.counted else None)
    assert run.opened.faults == {}


def test_a_module_of_two_gpus_is_counted_once_and_that_it_is_one_meter_is_called_an_assumption(tmp_path: Path) -> None:
    run = Run(GB300, tmp_path)
    assert names(run.rows, "gpu") == ["gpu0", "gpu1", "gpu2", "gpu3"]
    assert names(run.rows, "module") == ["module0", "module1"]
    source = run.opened.sources["module1"]
    assert "ASSUMED" in source
    assert "gpu2 and gpu3" in source
    assert "no energy counter" in run.opened.sources["gpu0-memory"]


def test_a_module_holds_what_is_not_used_too_and_says_so(tmp_path: Path) -> None:
    api = ReplayedNvml(GB300.recording(1.0), SteppedClock())
    first = pseudonym(api.nvmlDeviceGetUUID(api.nvmlDeviceGetHandleByIndex(0)))
    opened = open_sensors(accelerator_ids=[first], root=tmp_path, api=api)
    assert [sensor.device for sensor in opened.sensors] == ["gpu0", "gpu0-memory", "module0"]
    assert "it contains gpu1, which is not used" in opened.sources["module0"]


def test_where_only_the_module_answers_the_gpu_is_missing_and_older_calls_do_not_stand_for_it(tmp_path: Path) -> None:
    run = Run(GH200, tmp_path)
    assert names(run.rows, "gpu") == []
    assert run.opened.missing["gpu"].startswith("gpu0 tells the power of its module alone: ")
    assert names(run.rows, "module") == ["module0"]
    assert "ASSUMED" not in run.opened.sources["module0"]


def test_modules_that_cannot_be_told_apart_are_missing(tmp_path: Path) -> None:
    for node, why in (
        (replace(GH200, gpus=4), "nvmlDeviceGetSerial: Not Supported"),
        (replace(GB300, gpus_a_board=4), "gpu0, gpu1, gpu2, gpu3 have one serial number"),
        # Two boards that are told as one, and one that is told as two: nothing would be read, or something twice.
        (replace(GB300, gpus_a_processor=1), "gpu0 and gpu1 have one serial number, and not the same processors"),
        (replace(GB300, gpus_a_board=1, gpus_a_processor=2), "gpu0 and gpu1 have two serial numbers, and processors"),
    ):
        opened = open_sensors(root=tmp_path, api=ReplayedNvml(node.recording(0.0), SteppedClock()))
        assert opened.missing["module"].startswith(why)
        assert {sensor.scope for sensor in opened.sensors} == set(node.watts) - {"module"}


@pytest.mark.parametrize(
    ("node", "modules"),
    [
        (replace(GH200, gpus=4, refuses_serials=False), ["module0", "module1", "module2", "module3"]),
        # A virtual machine without NUMA nodes: what has two GPUs has no third.
        (replace(GB300, gpus_a_processor=4), ["module0", "module1"]),
    ],
    ids=["one GPU each", "virtual machine"],
)
def test_modules_are_told_apart_by_board_and_processor(node: Any, modules: list[str], tmp_path: Path) -> None:
    opened = open_sensors(root=tmp_path, api=ReplayedNvml(node.recording(0.0), SteppedClock()))
    assert [sensor.device for sensor in opened.sensors if sensor.scope == "module"] == modules


@pytest.mark.parametrize("serial", ["", " "])
def test_boards_without_a_serial_number_are_not_taken_for_one(serial: str, h100s: Any, tmp_path: Path) -> None:
    api = h100s(2, nvmlDeviceGetSerial=serial, nvmlDeviceGetCpuAffinity=lambda words: [1] * words)
    api.fields[(pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_POWER_SCOPE_MODULE)] = 800_000
    assert open_sensors(root=tmp_path, api=api).missing["module"].startswith("gpu0 has no serial number")


@pytest.mark.parametrize("scope", ["memory", "module"])
def test_a_counter_that_is_the_gpus_is_not_taken_for_that_of_another_scope(
    scope: str, h100s: Any, tmp_path: Path
) -> None:
    api = h100s()
    api.fields |= {(pynvml.NVML_FI_DEV_ENERGY, number): 5_000_000 + number for number in SCOPES.values()}
    api.fields[(pynvml.NVML_FI_DEV_POWER_INSTANT, SCOPES[scope])] = 80_000
    sensor = next(one for one in open_sensors(root=tmp_path, api=api).sensors if one.scope == scope)
    assert "no energy counter: " in sensor.source
    (row,) = sensor.read(1)
    assert (row.watts, row.joules_counter) == (80.0, None)


@pytest.mark.parametrize(
    ("kind", "code"),
    [("lost", "device_lost"), ("reset", "counter_went_back"), ("frozen", "frozen"), ("refused", "refused")],
)
def test_a_fault_in_mid_run_is_typed_and_nobody_makes_energy_of_it(kind: Any, code: str, tmp_path: Path) -> None:
    run = Run(replace(H100, gpus=4), tmp_path, Fault(kind, gpu=3, from_s=5.0))
    (fault,) = run.opened.faults["gpu3"]
    assert (fault["code"], run.opened.problems["gpu3"].split(":")[0]) == (code, code)
    assert fault["first_t_ns"] >= 5 * NS_PER_S
    assert "gpu2" not in run.opened.faults
    assert run.joules("gpu", counted) is None
    assert (run.joules("gpu", integrated) is None) == (kind in ("lost", "frozen"))
    assert len(run.rows) == 201 * 8


def test_a_round_asks_each_gpu_once(tmp_path: Path) -> None:
    asked = []

    class Counting(ReplayedNvml):
        def nvmlDeviceGetFieldValues(self, handle: Any, wanted: Any) -> list[Any]:  # noqa: N802
            asked.append((handle, len(wanted)))
            return super().nvmlDeviceGetFieldValues(handle, wanted)

    api = Counting(GB300.recording(1.0), SteppedClock())
    opened = open_sensors(root=tmp_path, api=api)
    asked.clear()
    for t_ns in (1, 2):
        rows = [row for sensor in opened.sensors for row in sensor.read(t_ns)]
        assert len(rows) == 10
    assert [number for _, number in asked] == [5, 3, 5, 3] * 2


def test_nvml_without_permission_leaves_every_scope_missing_and_the_run_goes_on(tmp_path: Path) -> None:
    class Forbidden:
        def nvmlInit(self) -> None:  # noqa: N802
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NO_PERMISSION)

    opened = open_sensors(root=tmp_path, api=Forbidden())
    assert opened.sensors == ()
    for scope in ("gpu", "memory", "module"):
        assert opened.missing[scope].startswith("NVML cannot be opened: Insufficient Permissions")


def test_a_meter_that_tells_zero_is_no_meter(h100s: Any, tmp_path: Path) -> None:
    api = h100s()
    for scope in (pynvml.NVML_POWER_SCOPE_MEMORY, pynvml.NVML_POWER_SCOPE_MODULE):
        api.fields[(pynvml.NVML_FI_DEV_POWER_INSTANT, scope)] = 0
    api.fields[(pynvml.NVML_FI_DEV_POWER_AVERAGE, pynvml.NVML_POWER_SCOPE_MEMORY)] = 33_000
    opened = open_sensors(root=tmp_path, api=api)
    assert [sensor.device for sensor in opened.sensors] == ["gpu0", "gpu0-memory"]
    api.fields[(pynvml.NVML_FI_DEV_POWER_AVERAGE, pynvml.NVML_POWER_SCOPE_MEMORY)] = 0
    (row,) = opened.sensors[1].read(1)
    assert row.watts is None
    assert "tells 0" in opened.problems["gpu0-memory"]
