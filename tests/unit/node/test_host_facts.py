"""What a host tells of how its processors, kernel, memory and limits are set; on machines that tell all and none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.node.fingerprint import fingerprint
from bench.node.software import host_facts
from tests.support.server_trees import SECRETS, write_x86_server

Write = Callable[[str, object], Path]


@pytest.fixture
def server(tmp_path: Path, write: Write) -> Path:
    return write_x86_server(tmp_path, write)


@pytest.fixture
def told(server: Path, no_driver: object) -> dict[str, Any]:
    return fingerprint(server, no_driver)


def nulls(facts: Any) -> set[str]:
    """Names of nulls at any depth."""
    if isinstance(facts, list):
        return {name for one in facts for name in nulls(one)}
    if not isinstance(facts, dict):
        return set()
    deeper = {name for inner in facts.values() for name in nulls(inner)}
    return deeper | {name for name, value in facts.items() if value is None}


def test_a_server_tells_how_its_processors_are_run(told: dict[str, Any]) -> None:
    cpu = told["cpu"]
    assert (cpu["model"], cpu["sockets"], cpu["cores"]) == ("Intel(R) Xeon(R) Platinum 8480C", 2, 4)
    assert (cpu["threads"], cpu["smt"], cpu["numa_nodes"]) == (8, True, 2)
    assert (cpu["governor"], cpu["energy_preference"], cpu["turbo"]) == ("performance", "performance", False)
    assert (cpu["max_mhz"], cpu["allowed_max_mhz"]) == (3800.0, 3000.0)
    assert (cpu["frequency_driver"], cpu["idle_driver"]) == ("intel_pstate", "intel_idle")
    assert cpu["microcode"] == "0x2b000571"
    assert cpu["flags"] == ["avx2", "avx512f", "amx_tile", "amx_bf16"]


def test_a_server_tells_what_it_is_and_how_its_kernel_was_started(told: dict[str, Any]) -> None:
    host = told["host"]
    assert (host["vendor"], host["product"], host["board"]) == ("Supermicro", "SYS-821GE-TNHR", "X13DEG-OAD")
    assert (host["firmware"], host["firmware_date"]) == ("2.1", "03/04/2025")
    assert host["parameters"] == ["iommu=pt", "mitigations=off"]
    assert host["vulnerabilities"] == {"spectre_v2": "Vulnerable; IBPB: disabled"}
    assert (host["clock_source"], host["iommu"]) == ("tsc", True)
    assert host["tuned_profile"] == "throughput-performance"
    assert (host["virtual_machine"], host["hypervisor"]) == (False, None)


def test_a_server_tells_pages_and_limits(told: dict[str, Any]) -> None:
    memory, limits = told["memory"], told["limits"]
    assert memory["total_bytes"] == 2_113_548_288 * 1024
    assert memory["hugepages"] == {"2048kB": 1024}
    assert (memory["transparent_hugepages"], memory["transparent_hugepages_defrag"]) == ("madvise", "madvise")
    assert memory["numa_balancing"] is False
    assert (limits["cgroup_version"], limits["pids"]) == (2, 4096)
    assert (limits["locked_memory_bytes"], limits["open_files"]) == ("unlimited", 1024)
    assert (limits["cpus_allowed"], limits["memory_nodes_allowed"]) == ("0-7", "0-1")
    assert "Max stack size" in limits["missing"]["stack_bytes"]
    assert "dev/shm" in limits["missing"]["shared_memory_bytes"]


def test_the_driver_is_told_as_it_is_loaded(told: dict[str, Any]) -> None:
    gpu = told["gpu"]
    assert (gpu["kernel_module"], gpu["peer_memory_loaded"], gpu["gdrcopy_loaded"]) == ("open", True, False)
    assert gpu["driver"] is None


def test_no_serial_address_or_name_of_a_host_is_told(server: Path, no_driver: object) -> None:
    text = json.dumps(fingerprint(server, no_driver, {"results": server, "model": Path("/mnt/a share/llama")}))
    assert [secret for secret in SECRETS if secret in text] == []


def test_a_bare_container_tells_why_of_everything(tmp_path: Path, no_driver: object) -> None:
    told = fingerprint(tmp_path, no_driver)
    assert {"model", "sockets", "turbo", "kernel", "total_bytes", "hugepages", "open_files"} <= nulls(told)
    for section in told.values():
        assert all(section["missing"].values())
        assert nulls(section) <= set(section["missing"])


@pytest.mark.parametrize(
    ("files", "turbo"),
    [
        ({"cpufreq/boost": 1}, True),
        ({"cpufreq/boost": 0}, False),
        ({"intel_pstate/no_turbo": 0}, True),
        ({}, None),
    ],
)
def test_boost_is_told_by_whichever_driver_there_is(
    grace: Path, no_driver: object, write: Write, files: dict[str, int], turbo: bool | None
) -> None:
    for name, value in files.items():
        write(f"sys/devices/system/cpu/{name}", value)
    cpu = fingerprint(grace, no_driver)["cpu"]
    assert cpu["turbo"] is turbo
    assert ("turbo" in cpu["missing"]) == (turbo is None)


@pytest.mark.parametrize(
    ("files", "hypervisor"),
    [
        ({"sys/hypervisor/type": "xen"}, "xen"),
        ({"sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc kvm-clock"}, "kvm"),
        ({"sys/class/dmi/id/sys_vendor": "QEMU"}, "kvm"),
        ({"sys/class/dmi/id/sys_vendor": "Microsoft", "sys/class/dmi/id/product_name": "Virtual Machine"}, "hyper-v"),
        ({"sys/class/dmi/id/sys_vendor": "Dell Inc.", "sys/class/dmi/id/product_name": "PowerEdge XE9680"}, None),
    ],
)
def test_a_hypervisor_is_known_by_what_it_gives_its_guests(
    tmp_path: Path, write: Write, files: dict[str, str], hypervisor: str | None
) -> None:
    for name, text in files.items():
        write(name, text)
    assert host_facts(tmp_path)["hypervisor"] == hypervisor


def test_only_the_first_processor_of_a_long_list_is_read(grace: Path, no_driver: object, write: Write) -> None:
    others = "\n\n".join(f"processor\t: {cpu}\nmodel name\t: another" for cpu in range(1, 500))
    write("proc/cpuinfo", f"processor\t: 0\nmodel name\t: the first\n\n{others}")
    assert fingerprint(grace, no_driver)["cpu"]["model"] == "the first"
