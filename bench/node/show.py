"""The machine as `bench node show` tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pynvml

from bench.core.clock import RealClock
from bench.node.fingerprint import fingerprint, hardware_key
from bench.node.health import health_rows
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
    sensors = open_sensors(root=root, api=api)
    try:
        power = sensors.describe()
    finally:
        sensors.close()
    health: dict[str, dict[str, float | None]] = {}
    for row in health_rows(RealClock(), root, api):
        health.setdefault(row.device, {})[row.name] = row.value
    return {"hardware": asdict(hardware_key(identity, patterns)), **identity, "power": power, "health": health}
