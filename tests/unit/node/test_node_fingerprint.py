"""What the machine is said to be, and that nothing is null without a reason."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest

from bench.core.pseudonym import pseudonym
from bench.node.cpu import node_vcpus
from bench.node.facts import AbsentError
from bench.node.fingerprint import HardwareKey, fingerprint, hardware_key
from bench.node.show import describe_node

PATTERNS = {"h100_pcie": ["NVIDIA H100 PCIe"], "h100_sxm": ["NVIDIA H100 80GB HBM3"]}


def unexplained_nulls(facts: dict[str, Any], place: str = "") -> Iterator[str]:
    for name, value in facts.items():
        if value is None and name not in facts.get("missing", {}):
            yield f"{place}{name}"
        if isinstance(value, dict):
            yield from unexplained_nulls(value, f"{place}{name}.")


def test_this_machine_is_told_without_an_unexplained_null() -> None:
    told = fingerprint()
    assert list(unexplained_nulls(told)) == []
    assert told["cpu"]["node_vcpus"] >= 1
    assert told["memory"]["total_bytes"] > 0
    assert json.loads(json.dumps(told)) == told


def test_an_arm_server_is_told_by_part_number_topology_and_features(grace: Path, no_driver: object) -> None:
    told = fingerprint(grace, no_driver)
    cpu = told["cpu"]
    assert (cpu["model"], cpu["sockets"], cpu["cores"], cpu["threads"]) == ("Arm Neoverse V2", 2, 4, 4)
    assert cpu["flags"] == ["asimddp", "i8mm", "bf16", "sve2"]
    assert cpu["affinity_threads"] == 2
    assert cpu["numa_nodes"] == 2
    assert told["memory"]["total_bytes"] == 1 << 30
    assert list(unexplained_nulls(told)) == []
    assert "scaling_governor" in cpu["missing"]["governor"]
    assert "Not Found" in told["gpu"]["missing"]["devices"]


def test_an_unknown_arm_part_has_no_model_rather_than_a_guess(
    grace: Path, no_driver: object, write: Callable[[str, object], Path]
) -> None:
    write("proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xfff")
    cpu = fingerprint(grace, no_driver)["cpu"]
    assert cpu["model"] is None
    assert "model" in cpu["missing"]


@pytest.mark.parametrize(
    ("groups", "files", "vcpus", "limit"),
    [
        ("0::/", {}, 4, None),
        (
            "0::/pod/app",
            {"pod/cpu.max": "200000 100000", "pod/memory.max": "4096", "pod/app/memory.max": "max"},
            2,
            4096,
        ),
        ("0::/host/path/not/here", {"cpu.max": "150000 100000", "memory.max": "max"}, 2, None),
        ("0::/app", {"app/cpuset.cpus.effective": "0,2-3", "app/cpu.max": "max 100000"}, 3, None),
        (
            "4:memory:/job\n1:cpu,cpuacct:/job",
            {
                "cpu/job/cpu.cfs_quota_us": "100000",
                "cpu/job/cpu.cfs_period_us": "100000",
                "memory/job/memory.limit_in_bytes": "8192",
            },
            1,
            8192,
        ),
        ("4:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712", "cpu/cpu.cfs_quota_us": "-1"}, 4, None),
    ],
    ids=["unlimited", "ancestor-binds", "container-root", "cpuset", "version-1", "version-1-unlimited"],
)
def test_control_groups_make_a_smaller_node(
    grace: Path,
    no_driver: object,
    write: Callable[[str, object], Path],
    groups: str,
    files: dict[str, str],
    vcpus: int,
    limit: int | None,
) -> None:
    write("proc/self/cgroup", groups)
    for name, text in files.items():
        write(f"sys/fs/cgroup/{name}", text)
    told = fingerprint(grace, no_driver)
    assert told["cpu"]["node_vcpus"] == vcpus
    assert told["memory"]["limit_bytes"] == limit


def test_a_machine_that_tells_no_cpu_count_is_absent_not_zero() -> None:
    with pytest.raises(AbsentError):
        node_vcpus(None, None, None)


def test_a_container_does_not_pass_its_images_machine_id_for_its_own(
    grace: Path, no_driver: object, write: Callable[[str, object], Path]
) -> None:
    assert fingerprint(grace, no_driver)["host"]["machine"] == pseudonym("0123456789abcdef0123456789abcdef")
    write(".dockerenv", "")
    host = fingerprint(grace, no_driver)["host"]
    assert host["container"] == "docker"
    assert host["machine"] is None
    assert "image" in host["missing"]["machine"]


def test_a_pseudonym_tells_devices_apart_without_naming_them() -> None:
    uuid = "GPU-11111111-2222-3333-4444-555555555555"
    assert pseudonym(uuid) == pseudonym(uuid) != pseudonym(uuid.replace("GPU-1", "GPU-2"))
    assert "1111" not in pseudonym(uuid)


def test_gpus_are_told_field_by_field(grace: Path, h100s: Callable[..., Any]) -> None:
    api = h100s(2, nvmlDeviceGetEccMode=pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED))
    gpu = fingerprint(grace, api)["gpu"]
    first, second = gpu["devices"]
    assert (gpu["driver"], gpu["cuda"]) == ("580.82.07", "13.0")
    assert (first["name"], first["compute_capability"], first["module_id"]) == ("NVIDIA H100 80GB HBM3", "9.0", 3)
    assert (first["power_limit_w"], first["power_limit_default_w"]) == (650.0, 700.0)
    assert first["mig_enabled"] is False
    assert first["id"] != second["id"]
    assert first["ecc_enabled"] is None
    assert "Not Supported" in first["missing"]["ecc_enabled"]
    assert list(unexplained_nulls(first)) == []
    assert "2222-3333" not in json.dumps(gpu)
    assert api.opened == 0


def test_the_made_up_gpus_answer_only_functions_that_nvml_has(h100s: Callable[..., Any]) -> None:
    assert [function for function in h100s().gpus[0] if not hasattr(pynvml, function)] == []


def test_the_key_of_a_machine_without_gpus_is_its_whole_node(grace: Path, no_driver: object) -> None:
    told = fingerprint(grace, no_driver)
    told["cpu"]["architecture"] = "aarch64"
    assert hardware_key(told, PATTERNS) == HardwareKey("cpu-aarch64-4c", "node", 1)


@pytest.mark.parametrize(
    ("names", "mig", "key"),
    [
        (["NVIDIA H100 80GB HBM3"] * 8, False, "h100_sxm"),
        (["NVIDIA H100 PCIe"], False, "h100_pcie"),
        (["NVIDIA H100 NVL"], False, "nvidia-h100-nvl"),
        (["NVIDIA H100 80GB HBM3"], True, "h100_sxm-mig"),
        (["NVIDIA L4", "NVIDIA H100 PCIe"], False, "h100_pcie+nvidia-l4"),
    ],
)
def test_the_key_of_gpus_is_their_datasheets_or_their_own_name(names: list[str], mig: bool, key: str) -> None:
    told = {"gpu": {"devices": [{"name": name, "mig_enabled": mig} for name in names]}}
    assert hardware_key(told, PATTERNS) == HardwareKey(key, "accelerator", len(names))


def test_the_node_is_described_in_json_with_why_scopes_are_missing(grace: Path, h100s: Callable[..., Any]) -> None:
    api = h100s()
    told = json.loads(json.dumps(describe_node(PATTERNS, root=grace, api=api)))
    assert told["hardware"] == {"key": "h100_sxm", "unit": "accelerator", "units": 1}
    assert list(told["power"]["sensors"]) == ["gpu0"]
    assert {"cpu", "memory", "module", "node", "rack", "facility"} <= set(told["power"]["missing"])
    assert told["health"]["gpu0"]["temperature_c"] == 41
    assert api.opened == 0


def test_describing_the_node_imports_no_torch() -> None:
    code = "import sys, bench.node.show, bench.node.provenance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
