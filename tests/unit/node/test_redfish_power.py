"""Where a management controller tells its power, found in the trees that controllers have."""

from __future__ import annotations

from typing import Any

import pytest
from redfish_trees import (
    CHASSIS,
    Tree,
    controller,
    link,
    server_with_environment,
    server_with_power,
    server_with_sensors,
    shelf_with_supplies,
)

from bench.node.http_reader import MeterError
from bench.node.redfish_power import PowerSource, find_power


def found(tree: Tree, chassis: str | None = None) -> tuple[PowerSource, float]:
    """Where the power is told, and how much it is."""

    def get(path: str) -> Any:
        if path not in tree:
            raise MeterError("refused", f"GET {path} is answered 404")
        return tree[path]

    source = find_power(get, chassis)
    return source, source.watts_in(tree)


def test_the_metrics_of_the_chassis_come_first() -> None:
    source, watts = found(server_with_environment(5230.5))
    assert (source.chassis, source.what, watts) == ("1", "EnvironmentMetrics PowerWatts", 5230.5)
    assert source.joules is None


@pytest.mark.parametrize(
    ("energy", "joules"),
    [
        ({"EnergykWh": {"Reading": 12.5}}, 45e6),
        ({"EnergyJoules": {"Reading": 7e6}, "EnergykWh": {"Reading": 12.5}}, 7e6),
        ({"EnergykWh": {"Reading": None}}, None),
        ({"EnergykWh": 3}, None),
    ],
)
def test_a_counter_beside_the_watts_is_read_too(energy: Tree, joules: float | None) -> None:
    tree = server_with_environment(**energy)
    source, _ = found(tree)
    assert source.joules_in(tree) == joules


def test_of_several_power_controls_the_one_of_the_whole_chassis_counts() -> None:
    controls = [
        {"Name": "Processors", "PhysicalContext": "CPU", "PowerConsumedWatts": 700},
        {"Name": "Server", "PhysicalContext": "Chassis", "PowerConsumedWatts": 5100},
        {"Name": "Memory", "PhysicalContext": "Memory", "PowerConsumedWatts": 120},
    ]
    source, watts = found(server_with_power(controls))
    assert (source.what, watts) == ("PowerControl PowerConsumedWatts", 5100)


def test_without_one_the_inputs_of_the_power_supplies_are_added() -> None:
    supplies = [
        {"PowerInputWatts": 1200.5},
        {"PowerInputWatts": 1300},
        {"PowerInputWatts": 0},
        {"Status": {"State": "Absent"}, "PowerInputWatts": None},
    ]
    source, watts = found(server_with_power([{"PowerConsumedWatts": 1}, {"PowerConsumedWatts": 2}], supplies))
    assert (source.what, watts) == ("PowerInputWatts of 3 power supplies", 2500.5)


def test_a_supply_that_tells_nothing_leaves_no_sum() -> None:
    with pytest.raises(MeterError, match=r"^no_power: .*PowerSupplies\.1\.PowerInputWatts is not told"):
        found(server_with_power([], [{"PowerInputWatts": 1200}, {"PowerInputWatts": None}]))


def test_supplies_of_a_shelf_have_metrics_of_their_own() -> None:
    source, watts = found(shelf_with_supplies(5400.0, 5300.5, None))
    assert (source.chassis, source.what, watts) == ("Shelf", "InputPowerWatts of 2 power supplies", 10700.5)


def test_a_sensor_that_says_it_measures_the_chassis() -> None:
    total = {"ReadingType": "Power", "PhysicalContext": "Chassis", "Reading": 812.0}
    source, watts = found(
        server_with_sensors(
            TotalPower=total,
            CpuPower={**total, "PhysicalContext": "CPU", "Reading": 200},
            power_cap={**total, "ReadingType": "Percent"},
            Inlet={**total},  # not asked: nothing in its name is of power
        )
    )
    assert (source.what, watts) == ("Sensor TotalPower", 812.0)


def test_the_chassis_that_contains_the_others_is_read() -> None:
    within = {"Links": {"ContainedBy": link(f"{CHASSIS}/1")}}
    tree = server_with_environment(100.0) | {f"{CHASSIS}/{id}": {"Id": id, **within} for id in ("GPU_0", "GPU_1")}
    tree[CHASSIS] = {"Members": [link(f"{CHASSIS}/{id}") for id in ("GPU_0", "GPU_1", "1")]}
    tree[f"{CHASSIS}/1"]["Links"] = {"ContainedBy": None}
    assert found(tree)[0].chassis == "1"


def test_of_two_that_are_within_no_other_none_is_read_unless_it_is_named() -> None:
    tree = server_with_environment(100.0)
    tree[CHASSIS]["Members"].append(link(f"{CHASSIS}/2"))
    tree[f"{CHASSIS}/2"] = {"Id": "2"}
    with pytest.raises(MeterError, match=r"2 chassis are within no other \('1', '2'\): power\.redfish\.chassis says"):
        found(tree)
    assert found(tree, "1")[1] == 100.0
    with pytest.raises(MeterError, match="no chassis '3', only '1', '2'"):
        found(tree, "3")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (0, "EnvironmentMetrics PowerWatts is 0 W"),
        (-4, "PowerWatts.Reading is -4"),
        (None, "PowerWatts.Reading is not told"),
        ("230 W", "PowerWatts.Reading is no number"),
        (True, "PowerWatts.Reading is no number"),
    ],
)
def test_what_is_no_power_is_told_as_such(told: Any, reason: str) -> None:
    with pytest.raises(
        MeterError, match=rf"^no_power: chassis '1': .*{reason}; no Power; no Sensors; no PowerSubsystem"
    ):
        found(server_with_environment(told))


@pytest.mark.parametrize(
    "tree",
    [
        {"/redfish/v1/": {}},
        {"/redfish/v1/": {"Chassis": []}},
        {"/redfish/v1/": {"Chassis": link(CHASSIS)}, CHASSIS: {"Members": "none"}},
        {"/redfish/v1/": {"Chassis": link(CHASSIS)}, CHASSIS: {"Members": [7, {"@odata.id": 8}]}},
        controller(A={"Power": 7, "EnvironmentMetrics": {"@odata.id": None}, "Links": []}),
        server_with_power([]),
    ],
)
def test_odd_trees_have_no_power(tree: Tree) -> None:
    with pytest.raises(MeterError, match=r"^no_power: "):
        found(tree)


def test_a_server_that_does_not_answer_is_asked_nothing_else() -> None:
    asked = []

    def get(path: str) -> Any:
        asked.append(path)
        raise MeterError("timeout", "nothing")

    with pytest.raises(MeterError, match=r"^timeout: "):
        find_power(get, None)
    assert asked == ["/redfish/v1/"]
