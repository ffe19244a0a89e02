"""A spec with a `grid` stands for many: one for each combination of the values of its axes.

    grid: {engine.policy: [static, decode_first], engine.prefix_cache: [true, false]}

stands for four specs, named after the spec and their values: `agentic.static.prefix_cache`,
`agentic.static.no_prefix_cache`, and so on. The first value of every axis together make the first spec.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from itertools import product
from typing import Any

from bench.core.errors import InputError


def expand(spec: Mapping[str, Any], where: str, settled: Container[str] = ()) -> list[dict[str, Any]]:
    """The specs that `spec` stands for; itself where it has no `grid`. Axes that are `settled` elsewhere are dropped.

    Raises InputError for a grid that is not a mapping of dotted keys to lists of values.
    """
    plain = {key: value for key, value in spec.items() if key != "grid"}
    if "grid" not in spec:
        return [plain]
    grid = spec["grid"]
    allowed = "dotted keys mapped to lists of values, as engine.policy: [static, decode_first]"
    if not isinstance(grid, dict) or not grid:
        raise InputError(f"grid = {grid!r}", where=where, allowed=allowed)
    for axis, values in grid.items():
        if not isinstance(axis, str) or not all(axis.split(".")) or not isinstance(values, list) or not values:
            raise InputError(f"grid.{axis} = {values!r}", where=where, allowed=allowed)
    axes = {axis: values for axis, values in grid.items() if axis not in settled}
    return [_at(plain, dict(zip(axes, point, strict=True))) for point in product(*axes.values())]


def nested(dotted: str, value: Any) -> dict[str, Any]:
    """`{"a": {"b": value}}` of `a.b`."""
    for key in reversed(dotted.split(".")):
        value = {key: value}
    tree: dict[str, Any] = value
    return tree


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """`override` laid over `base`. Mappings merge key by key unless their `kind` differs: then nothing is inherited."""
    merged = dict(base)
    for key, value in override.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("kind", old.get("kind")) == old.get("kind"):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def _at(spec: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """`spec` at one point of its grid."""
    placed = dict(spec)
    for axis, value in point.items():
        placed = merge(placed, nested(axis, value))
    if isinstance(placed.get("name"), str):
        placed["name"] = ".".join([placed["name"], *(label(axis, value) for axis, value in point.items())])
    return placed


def label(axis: str, value: Any) -> str:
    """A value as a part of a name: a word as it is, a number behind its key, a switch as its key or `no_` before it."""
    key = axis.rsplit(".", 1)[-1]
    match value:
        case True:
            text = key
        case False | None:
            text = f"no_{key}"
        case {"kind": kind}:
            text = str(kind)
        case str():
            text = value
        case _:
            text = f"{key}_{value}"
    return re.sub(r"[^a-z0-9_-]+", "_", text.lower())
