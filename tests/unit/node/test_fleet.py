"""Nodes that were sold as the same: settings that differ, figures that lie outside, and what may be why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from fleets import GPUS, figure, node, six_nodes

from bench.core.errors import InputError
from bench.node.fleet import FleetNode, SkuComparison, check_description, compare_fleet
from bench.node.fleet_figures import FEWEST


def fleet(nodes: Mapping[str, Any]) -> list[FleetNode]:
    return [FleetNode(name, description) for name, description in nodes.items()]


def only(nodes: Mapping[str, Any]) -> SkuComparison:
    (sku,) = compare_fleet(fleet(nodes))
    return sku


def test_odd_settings_are_named_with_what_most_have() -> None:
    facts = {fact.name: fact for fact in only(six_nodes()).facts}
    assert set(facts) == {"gpu.devices.pcie_width", "gpu.devices.power_limit_w"}
    width = facts["gpu.devices.pcie_width"]
    assert (width.kind, width.of, width.device) == ("state", 6 * GPUS, None)
    assert width.majority is not None
    assert (width.majority.value, len(width.majority.places)) == (16, 5 * GPUS)
    (odd,) = width.odd
    assert (odd.value, {place.node for place in odd.places}) == (8, {"c"})


def test_each_outlier_has_the_setting_beside_it_that_gives_it_away() -> None:
    outliers = only(six_nodes()).outliers
    named = {(named.outlier.node, named.figure): named for named in outliers}
    assert set(named) == {("c", "gpu_host_to_device_bytes_per_s"), ("e", "gpu_matmul_bfloat16_flops_per_s")}
    slow = named["c", "gpu_host_to_device_bytes_per_s"]
    assert (slow.n, slow.median, slow.outlier.value, slow.outlier.worse) == (6, 25.1e9, 11.9e9, True)
    assert slow.outlier.share == pytest.approx(11.9 / 25.1 - 1)
    assert [(odd.name, odd.value, odd.majority) for odd in slow.beside] == [("gpu.devices.pcie_width", 8, 16)]
    capped = named["e", "gpu_matmul_bfloat16_flops_per_s"]
    assert [(odd.name, odd.value) for odd in capped.beside] == [("gpu.devices.power_limit_w", 500.0)]


def test_a_fleet_that_is_alike_has_nothing_to_name() -> None:
    sku = only({name: node(name) for name in "abcdef"})
    assert (sku.facts, sku.outliers) == ((), ())
    assert all(figure.why_no_outliers is None for figure in sku.figures)


def test_what_depends_on_the_seat_is_compared_seat_by_seat() -> None:
    nodes = {name: node(name) for name in "abcd"}
    nodes["d"]["gpu"]["devices"][1]["seat"]["numa_node"] = 0
    (fact,) = only(nodes).facts
    assert (fact.name, fact.device, fact.of) == ("gpu.devices.seat.numa_node", "gpu1", 4)
    assert [(odd.value, [place.node for place in odd.places]) for odd in fact.odd] == [(0, ["d"])]


def test_two_values_without_a_majority_are_both_told() -> None:
    (fact,) = only({"a": node("a"), "b": node("b", governor="powersave")}).facts
    assert fact.majority is None
    assert [(odd.value, [place.node for place in odd.places]) for odd in fact.odd] == [
        ("performance", ["a"]),
        ("powersave", ["b"]),
    ]


def test_what_a_node_does_not_tell_is_odd_with_its_reason() -> None:
    nodes = {name: node(name) for name in "abc"}
    nodes["b"]["cpu"] |= {"governor": None, "missing": {"governor": "scaling_governor does not exist"}}
    (fact,) = only(nodes).facts
    assert [(odd.value, odd.why_missing) for odd in fact.odd] == [(None, "scaling_governor does not exist")]


def test_of_few_figures_none_is_called_an_outlier_but_their_spread_is_shown() -> None:
    nodes = {name: description for name, description in six_nodes().items() if name in "abc"}
    for description in nodes.values():
        description["measured"] = {
            "gpu0_host_to_device_bytes_per_s": description["measured"]["gpu0_host_to_device_bytes_per_s"]
        }
    figures = {figure.name: figure for figure in only(nodes).figures}
    copied = figures["gpu_host_to_device_bytes_per_s"]
    assert copied.outliers == ()
    assert copied.why_no_outliers == f"3 figures are too few to tell an outlier: {FEWEST} can"
    assert (copied.least, copied.median, copied.most) == (11.9e9, 25.0e9, 25.1e9)


def test_devices_of_few_nodes_are_held_against_every_other() -> None:
    nodes = {name: node(name) for name in "ab"}
    nodes["b"]["measured"]["gpu1_read_bytes_per_s"]["value"] = 2.0e12
    (named,) = only(nodes).outliers
    assert (named.n, named.outlier.node, named.outlier.device) == (4, "b", "gpu1")


def test_a_figure_that_repeats_badly_makes_no_outlier_of_its_scatter() -> None:
    def launches(spread: float) -> int:
        nodes = {name: node(name) for name in "abcdef"}
        for index, description in enumerate(nodes.values()):
            took = 5e-6 if index else 5.6e-6
            ends = {"value": took, "low": took * (1 - spread), "high": took * (1 + spread)}
            description["measured"] = {"wake_up_s": ends | {"n": 9}}
        return len(only(nodes).outliers)

    assert launches(spread=0.001) == 1
    assert launches(spread=0.05) == 0


def test_a_difference_that_nobody_would_feel_is_no_outlier() -> None:
    nodes = {name: node(name) for name in "abcdef"}
    nodes["f"] = node("f", measured={"read_bytes_per_s": 2.9e12 * 0.96})
    for description in nodes.values():
        for measured in description["measured"].values():
            measured |= {"low": measured["value"], "high": measured["value"]}
    assert only(nodes).outliers == ()


def test_of_two_devices_the_one_outside_is_named_with_its_own_settings() -> None:
    nodes = six_nodes()
    nodes["c"]["gpu"]["devices"][1]["pcie_width"] = 16
    nodes["c"]["measured"]["gpu1_host_to_device_bytes_per_s"] = figure(25.1e9)
    (slow,) = [named for named in only(nodes).outliers if named.outlier.node == "c"]
    assert slow.outlier.device == "gpu0"
    assert [odd.value for odd in slow.beside] == [8]


def test_a_figure_between_devices_has_the_odd_facts_of_these_beside_it() -> None:
    nodes = {name: node(name) for name in "abcde"}
    for name, description in nodes.items():
        description["gpu"]["devices"].append(description["gpu"]["devices"][0] | {"id": f"{name}-2"})
        description["measured"] = {
            "peer_gpu0_to_gpu1_bytes_per_s": figure(390e9),
            "all_reduce_bus_bytes_per_s": figure(300e9),
        }
    nodes["c"]["gpu"]["devices"][1]["nvlink"] = {"links": 18, "active": 9, "missing": {}}
    nodes["c"]["gpu"]["devices"][2]["pcie_width"] = 8
    for measured in nodes["c"]["measured"].values():
        measured["value"] /= 2
    beside = {named.figure: [odd.name for odd in named.beside] for named in only(nodes).outliers}
    assert beside == {
        "peer_gpu0_to_gpu1_bytes_per_s": ["gpu.devices.nvlink.active"],
        "all_reduce_bus_bytes_per_s": ["gpu.devices.pcie_width", "gpu.devices.nvlink.active"],
    }


def test_a_node_without_a_limit_is_not_one_that_keeps_it_to_itself() -> None:
    nodes = {name: node(name) for name in "abcde"}
    for name, description in nodes.items():
        description["cpu"]["quota_cpus"] = 8.0 if name == "c" else None
        description["cpu"]["missing"] = {"quota_cpus": "no control group sets a CPU quota"}
    nodes["d"]["memory"] = {"total_bytes": 2 << 40, "limit_bytes": 1 << 40, "missing": {}}
    nodes["e"]["memory"] = {"total_bytes": 2 << 40, "limit_bytes": 2 << 40, "missing": {}}
    whole, limited = compare_fleet(fleet(nodes))
    quota = next(fact for fact in whole.facts if fact.name == "cpu.quota_cpus")
    assert quota.majority is not None
    assert (quota.majority.value, quota.majority.why_missing) == ("unlimited", None)
    assert [odd.value for odd in quota.odd] == [8.0]
    assert (whole.nodes, limited.nodes) == (("a", "b", "c", "e"), ("d",))
    assert limited.unlike == {"memory.limit_bytes": (1 << 40, "unlimited")}


def test_a_figure_that_could_not_be_measured_is_left_out() -> None:
    nodes = six_nodes()
    nodes["a"]["measured"]["gpu0_read_bytes_per_s"] = {"value": None, "low": None, "high": None, "reason": "lost"}
    counted = {(figure.name, figure.device): figure.n for figure in only(nodes).figures}
    assert counted["gpu_read_bytes_per_s", "gpu0"] == 5
    assert counted["gpu_read_bytes_per_s", "gpu1"] == 6


def test_nodes_of_another_identity_are_another_sku_and_why_is_told() -> None:
    lost = node("c")
    del lost["gpu"]["devices"][1]
    nodes = {"a": node("a"), "b": node("b"), "c": lost}
    whole, less = compare_fleet(fleet(nodes))
    assert (whole.nodes, whole.unlike) == (("a", "b"), {})
    assert (less.nodes, less.unlike) == (("c",), {"gpu.devices.count": (1, 2)})


def test_one_machine_given_twice_is_told() -> None:
    assert only({"monday": node("a"), "friday": node("a")}).same_machine == (("monday", "friday"),)


def test_a_container_is_known_again_by_the_boot_of_its_machine() -> None:
    def container(boot: str) -> dict[str, Any]:
        return node("a") | {"host": {"machine": None, "boot": boot}, "gpu": {"devices": []}, "measured": {}}

    sku = only({"a": container("one"), "b": container("two"), "c": container("one")})
    assert sku.same_machine == (("a", "c"),)


def test_one_node_is_no_fleet() -> None:
    with pytest.raises(InputError, match="fleet: 1 node "):
        compare_fleet(fleet({"a": node("a")}))


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ([], "has no hardware.key"),
        ({"hardware": {"key": "h100_sxm"}}, "has no fingerprint"),
        (node("a") | {"gpu": {"devices": [1]}}, "is no fingerprint"),
        (node("a") | {"memory": {"total_bytes": "much"}}, "is no fingerprint"),
        (node("a") | {"cpu": {"missing": 3, "model": "x"}}, "is no fingerprint"),
    ],
)
def test_what_is_no_description_is_refused(broken: Any, told: str) -> None:
    with pytest.raises(InputError, match=rf"^x\.json: {told}"):
        check_description(broken, "x.json")


@pytest.mark.parametrize("value", [-1.0, "fast", True])
def test_a_figure_that_is_no_number_is_refused(value: Any) -> None:
    nodes = {name: node(name) for name in "ab"}
    nodes["b"]["measured"]["gpu0_read_bytes_per_s"]["value"] = value
    with pytest.raises(InputError, match=r"b: gpu0_read_bytes_per_s\.value: .* is no figure"):
        compare_fleet(fleet(nodes))
