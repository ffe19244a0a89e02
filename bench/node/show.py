"""The machine as `bench node show` tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pynvml

from bench.core.clock import RealClock
from bench.node.fingerprint import fingerprint, hardware_key
from bench.node.health import open_health
from bench.node.power import open_sensors


def describe_node(
    patterns: Mapping[str, Sequence[str]],
    folders: Mapping[str, Path] | None = None,
    *,
    root: Path = Path("/"),
    api: Any = pynvml,
) -> dict[str, Any]:
    """Hardware key, fingerprint, energy sensors with the reason for each missing scope, and health now; ready for JSON.

    `patterns` are those of `hardware_key`, `folders` those of `fingerprint`.
    """
    identity = fingerprint(root, api, folders)
    power = _power(root, api)
    health = _health(root, api)
    return {"hardware": asdict(hardware_key(identity, patterns)), **identity, "power": power, "health": health}


def _power(root: Path, api: Any) -> dict[str, Any]:
    sensors = open_sensors(root=root, api=api)
    try:
        return sensors.describe()
    finally:
        sensors.close()


def _health(root: Path, api: Any) -> dict[str, Any]:
    """By device what one look at it tells, with the reasons for what it does not."""
    opened = open_health(root=root, api=api)
    try:
        devices: dict[str, dict[str, Any]] = {}
        for row in opened.read(RealClock()):
            devices.setdefault(row.device, {})[row.name] = row.value
        reasons = opened.describe()["missing"]
    finally:
        opened.close()
    return {name: {**values, "missing": reasons.get(name, {})} for name, values in devices.items()}
