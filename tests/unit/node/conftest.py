"""Made-up machines: a tree of /proc and /sys files, and an object that answers NVML's functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

Answers = dict[str, Any]

H100: Answers = {
    "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
    "nvmlDeviceGetUUID": "GPU-11111111-2222-3333-4444-555555555555",
    "nvmlDeviceGetCudaComputeCapability": (9, 0),
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=85_520_809_984),
    "nvmlDeviceGetVbiosVersion": "96.00.74.00.01",
    "nvmlDeviceGetPersistenceMode": 1,
    "nvmlDeviceGetEccMode": [1, 1],
    "nvmlDeviceGetMigMode": [0, 0],
    "nvmlDeviceGetPowerManagementLimit": 650_000,
    "nvmlDeviceGetPowerManagementDefaultLimit": 700_000,
    "nvmlDeviceGetEnforcedPowerLimit": 650_000,
    "nvmlDeviceGetClockInfo": 1_980,
    "nvmlDeviceGetMaxClockInfo": 1_980,
    "nvmlDeviceGetCurrPcieLinkGeneration": 5,
    "nvmlDeviceGetMaxPcieLinkGeneration": 5,
    "nvmlDeviceGetCurrPcieLinkWidth": 16,
    "nvmlDeviceGetMaxPcieLinkWidth": 16,
    "nvmlDeviceGetModuleId": 3,
    "nvmlDeviceGetTemperatureV": 41,
    "nvmlDeviceGetCurrentClocksEventReasons": pynvml.nvmlClocksEventReasonSwPowerCap,
    "nvmlDeviceGetTotalEnergyConsumption": 5_000_000,
    "nvmlDeviceGetPowerUsage": 310_000,
    "nvmlDeviceRegisterEvents": None,
    "nvmlDeviceGetComputeRunningProcesses": [],
}
H100_FIELDS = {
    (pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_POWER_SCOPE_GPU): 312_500,
    (pynvml.NVML_FI_DEV_POWER_AVERAGE, pynvml.NVML_POWER_SCOPE_GPU): 305_000,
}


class FakeNvml:
    """NVML of a machine with the given GPUs.

    An answer that is an NVMLError is raised, one that can be called is called with what was asked, and what a GPU has
    no answer to is not supported.
    """

    def __init__(self, gpus: list[Answers], fields: dict[tuple[int, int], int]) -> None:
        self.gpus = gpus
        self.fields = fields
        self.opened = 0
        self.event_sets: list[list[int]] = []
        """Each open event set is the list of XID numbers that wait in it."""

    def nvmlInit(self) -> None:  # noqa: N802
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.82.07"

    def nvmlSystemGetCudaDriverVersion(self) -> int:  # noqa: N802
        return 13_000

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Answers:  # noqa: N802
        return self.gpus[index]

    def nvmlEventSetCreate(self) -> list[int]:  # noqa: N802
        self.event_sets.append([])
        return self.event_sets[-1]

    def nvmlEventSetWait_v2(self, waiting: list[int], _: int) -> Any:  # noqa: N802
        if not waiting:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT)
        return SimpleNamespace(eventData=waiting.pop(0))

    def nvmlEventSetFree(self, events: list[int]) -> None:  # noqa: N802
        self.event_sets = [one for one in self.event_sets if one is not events]

    def nvmlDeviceGetFieldValues(self, _: Answers, wanted: list[tuple[int, int]]) -> list[Any]:  # noqa: N802
        return [self._field(*field_and_scope) for field_and_scope in wanted]

    def _field(self, field: int, scope: int) -> Any:
        answer = pynvml.c_nvmlFieldValue_t()
        answer.fieldId, answer.scopeId = field, scope
        answer.nvmlReturn = pynvml.NVML_SUCCESS if (field, scope) in self.fields else pynvml.NVML_ERROR_NOT_SUPPORTED
        answer.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
        answer.value.uiVal = self.fields.get((field, scope), 0)
        return answer

    def __getattr__(self, function: str) -> Callable[..., Any]:
        if not hasattr(pynvml, function):
            raise AttributeError(function)

        def answer(gpu: Answers | None = None, *arguments: Any) -> Any:
            told = (gpu or {}).get(function, pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED))
            if isinstance(told, pynvml.NVMLError):
                raise told
            return told(*arguments) if callable(told) else told

        return answer


class NoDriver:
    """pynvml on a machine without NVIDIA's driver."""

    def nvmlInit(self) -> None:  # noqa: N802
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)


@pytest.fixture
def no_driver() -> NoDriver:
    return NoDriver()


@pytest.fixture
def h100s() -> Callable[..., FakeNvml]:
    """`h100s(2, nvmlDeviceGetMigMode=[1, 1])`: a machine of H100s whose answers differ from the usual as given."""

    def build(count: int = 1, **answers: Any) -> FakeNvml:
        uuids = (f"GPU-{i:08x}-2222-3333-4444-555555555555" for i in range(count))
        return FakeNvml([{**H100, "nvmlDeviceGetUUID": uuid, **answers} for uuid in uuids], dict(H100_FIELDS))

    return build


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, object], Path]:
    """`write("proc/meminfo", text)` puts a file into the made-up machine at tmp_path."""

    def put(path: str, text: object) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
        return file

    return put


@pytest.fixture
def grace(write: Callable[[str, object], Path], tmp_path: Path) -> Path:
    """A two-socket Arm server of four cores without cpufreq, RAPL or containers."""
    write(
        "proc/cpuinfo",
        "processor\t: 0\nFeatures\t: fp asimd asimddp sve2 i8mm bf16\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f",
    )
    write("proc/meminfo", "MemTotal:       1048576 kB\nMemAvailable:    524288 kB")
    write("proc/self/status", "Name:\tpython\nCpus_allowed_list:\t0-1")
    write("proc/self/cgroup", "0::/")
    write("proc/loadavg", "1.50 0.80 0.40 1/95 7333")
    write("proc/stat", "cpu  100 0 50 900 0 0 0 700 0 0")
    write("proc/sys/kernel/osrelease", "6.8.0-1021-nvidia-64k")
    write("etc/machine-id", "0123456789abcdef0123456789abcdef")
    write("sys/devices/system/cpu/online", "0-3")
    write("sys/devices/system/node/online", "0-1")
    for cpu in range(4):
        write(f"sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id", cpu // 2)
        write(f"sys/devices/system/cpu/cpu{cpu}/topology/core_id", cpu % 2)
    return tmp_path
