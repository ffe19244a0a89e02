"""What each fact of a fingerprint is to a comparison of nodes, and what makes two nodes of one SKU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.node.fact_kinds import KINDS, Fact, facts_of, kind_of, node_class
from bench.node.fingerprint import fingerprint
from tests.support.gpu_answers import HGX_H100, RACK_FIELDS, RACK_GB300
from tests.support.server_trees import write_x86_server

Write = Callable[[str, object], Path]
GIB = 1 << 30


@pytest.fixture
def server(tmp_path: Path, write: Write, h100s: Callable[..., Any]) -> dict[str, Any]:
    """A server of eight H100s with every part of a fingerprint."""
    root = write_x86_server(tmp_path, write)
    return fingerprint(root, h100s(8, **HGX_H100), {"results": root})


def named(facts: list[Fact], name: str) -> list[Fact]:
    return [fact for fact in facts if fact.name == name]


def test_facts_keep_their_place_their_device_and_the_reason_for_a_null(server: dict[str, Any]) -> None:
    facts = facts_of(server)
    (model,) = named(facts, "cpu.model")
    assert (model.device, model.kind, model.value) == (None, "identity", "Intel(R) Xeon(R) Platinum 8480C")
    active = named(facts, "gpu.devices.nvlink.active")
    assert [fact.device for fact in active] == [f"gpu{i}" for i in range(8)]
    assert {(fact.kind, fact.value) for fact in active} == {("state", 17)}
    (hypervisor,) = named(facts, "host.hypervisor")
    assert hypervisor.value is None
    assert hypervisor.why_missing == "nothing names a hypervisor"
    (count,) = named(facts, "gpu.devices.count")
    assert (count.device, count.kind, count.value) == (None, "identity", 8)


def test_no_limit_is_told_and_not_missing(server: dict[str, Any]) -> None:
    for name in ("cpu.quota_cpus", "memory.limit_bytes"):
        (limit,) = named(facts_of(server), name)
        assert (limit.value, limit.why_missing) == ("unlimited", None)
    memory = {**server["memory"], "limit_bytes": None, "missing": {"limit_bytes": "it is not readable"}}
    (unknown,) = named(facts_of({"memory": memory}), "memory.limit_bytes")
    assert (unknown.value, unknown.why_missing) == (None, "it is not readable")


def test_ports_and_folders_are_devices_by_their_own_names(server: dict[str, Any]) -> None:
    facts = facts_of(server)
    assert [fact.device for fact in named(facts, "network.rdma.rate")] == ["mlx5_0/1"]
    (free,) = named(facts, "storage.folders.free_bytes")
    assert (free.device, free.kind) == ("results", "state")


def test_every_kind_is_of_a_fact_that_some_machine_tells(server: dict[str, Any], h100s: Callable[..., Any]) -> None:
    rack = h100s(1, **RACK_GB300)
    rack.fields.update(RACK_FIELDS)
    names = {fact.name for node in (server, fingerprint(api=rack)) for fact in facts_of(node)}
    known = {name.rsplit(".", depth)[0] for name in names for depth in range(name.count(".") + 1)}
    assert set(KINDS) - known == set()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gpu.devices.power_limit_w", "setting"),
        ("gpu.devices.power_limits.max_w", "build"),
        ("gpu.devices.power_limits.requested_w", "setting"),
        ("gpu.devices.fabric.degraded_bandwidth", "state"),
        ("gpu.devices.fabric.cluster", "label"),
        ("host.vulnerabilities.spectre_v2", "setting"),
        ("gpu.devices.a_fact_of_tomorrow", "setting"),
    ],
)
def test_a_fact_is_what_the_nearest_name_above_it_is(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_what_is_no_fingerprint_has_no_kind(server: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        kind_of("health.gpu0.temperature_c")
    described = {**server, "hardware": {"key": "h100_sxm"}, "power": {"missing": {}}, "measured": {"copy": 1}}
    assert facts_of(described) == facts_of(server)


def test_nodes_of_one_sku_may_keep_a_little_memory_for_themselves(server: dict[str, Any]) -> None:
    other = {**server, "memory": {**server["memory"], "total_bytes": server["memory"]["total_bytes"] - 3 * GIB}}
    assert node_class(other) == node_class(server)
    assert node_class(server)["memory.total_bytes"] == 2048 * GIB
    assert node_class(server)["gpu.devices.memory_bytes"] == [80 * GIB]
    half = {**server, "memory": {**server["memory"], "total_bytes": 1007 * GIB}}
    assert node_class(half)["memory.total_bytes"] == 1024 * GIB


def test_other_gpus_make_another_sku_and_other_drivers_do_not(server: dict[str, Any]) -> None:
    seven = {**server, "gpu": {**server["gpu"], "devices": server["gpu"]["devices"][1:]}}
    assert node_class(seven) != node_class(server)
    mixed = [{**server["gpu"]["devices"][0], "name": "NVIDIA H100 NVL"}, *server["gpu"]["devices"][1:]]
    told = node_class({**server, "gpu": {**server["gpu"], "devices": mixed}})
    assert told["gpu.devices.name"] == ["NVIDIA H100 80GB HBM3", "NVIDIA H100 NVL"]
    assert node_class({**server, "gpu": {**server["gpu"], "driver": "570.12"}}) == node_class(server)


def test_a_fingerprint_of_an_older_record_has_the_facts_it_has() -> None:
    old = {
        "cpu": {"model": "AMD EPYC", "missing": {}},
        "gpu": {"devices": [], "driver": None, "missing": {"driver": "no"}},
    }
    assert [(fact.name, fact.value, fact.why_missing) for fact in facts_of(old)] == [
        ("cpu.model", "AMD EPYC", None),
        ("gpu.devices.count", 0, None),
        ("gpu.driver", None, "no"),
    ]
