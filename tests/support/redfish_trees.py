"""What made-up management controllers tell, by path, in the forms that DMTF's schemas give."""

from __future__ import annotations

from typing import Any

Tree = dict[str, Any]

CHASSIS = "/redfish/v1/Chassis"


def link(path: str) -> dict[str, str]:
    return {"@odata.id": path}


def controller(**chassis: Tree) -> Tree:
    """A service root with these chassis, each with what is told of it beside its id."""
    return {
        "/redfish/v1/": {"Chassis": link(CHASSIS)},
        CHASSIS: {"Members": [link(f"{CHASSIS}/{id}") for id in chassis]},
        **{f"{CHASSIS}/{id}": {"Id": id, **told} for id, told in chassis.items()},
    }


def server_with_environment(watts: float = 5230.5, **energy: Any) -> Tree:
    """As of today's schema: one chassis, whose EnvironmentMetrics hold its power."""
    path = f"{CHASSIS}/1/EnvironmentMetrics"
    return {
        **controller(**{"1": {"EnvironmentMetrics": link(path)}}),
        path: {"PowerWatts": {"Reading": watts, "DataSourceUri": f"{CHASSIS}/1/Sensors/Total"}, **energy},
    }


def server_with_power(control: list[Tree], supplies: list[Tree] = []) -> Tree:  # noqa: B006
    """As of the older schema."""
    path = f"{CHASSIS}/Self/Power"
    return {
        **controller(Self={"Power": link(path)}),
        path: {"PowerControl": control, "PowerSupplies": supplies},
    }


def server_with_sensors(**sensors: Tree) -> Tree:
    path = f"{CHASSIS}/1/Sensors"
    return {
        **controller(**{"1": {"Sensors": link(path)}}),
        path: {"Members": [link(f"{path}/{id}") for id in sensors]},
        **{f"{path}/{id}": {"Id": id, **told} for id, told in sensors.items()},
    }


def shelf_with_supplies(*watts: float | None) -> Tree:
    """A power shelf whose supplies each tell what they draw; None is of a bay without one."""
    shelf = f"{CHASSIS}/Shelf"
    bays = f"{shelf}/PowerSubsystem/PowerSupplies"
    tree = {
        **controller(Shelf={"PowerSubsystem": link(f"{shelf}/PowerSubsystem")}),
        f"{shelf}/PowerSubsystem": {"PowerSupplies": link(bays)},
        bays: {"Members": [link(f"{bays}/{bay}") for bay in range(len(watts))]},
    }
    for bay, drawn in enumerate(watts):
        tree[f"{bays}/{bay}"] = {
            "Status": {"State": "Absent" if drawn is None else "Enabled"},
            "Metrics": link(f"{bays}/{bay}/Metrics"),
        }
        if drawn is not None:
            tree[f"{bays}/{bay}/Metrics"] = {"InputPowerWatts": {"Reading": drawn}}
    return tree
