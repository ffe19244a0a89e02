"""Nodes that are sold as the same, held against one another: settings that differ, and figures that lie outside."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.core.errors import InputError
from bench.node.fact_kinds import SECTIONS, node_class
from bench.node.fleet_facts import DifferingFact, Place, differing_facts
from bench.node.fleet_figures import FleetFigure, Outlier, fleet_figures

_GIVEN_AWAY_BY: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("disk", ("storage",)),
    ("wake_up", ("cpu", "host", "limits")),
    ("timer", ("cpu", "host", "limits")),
    ("memory_", ("memory", "cpu", "limits")),
    ("cpu_", ("cpu", "limits")),
    ("host_to_device", ("gpu.driver", "gpu.devices.pcie", "gpu.devices.seat", "cpu", "memory", "limits")),
    ("device_to_host", ("gpu.driver", "gpu.devices.pcie", "gpu.devices.seat", "cpu", "memory", "limits")),
    ("launch", ("gpu.driver", "gpu.devices.pcie", "gpu.devices.persistence", "cpu", "host", "limits")),
    ("flops", ("gpu.driver", *(f"gpu.devices.{name}" for name in ("power", "clocks", "sm_clock", "temperature")))),
    ("peer", tuple(f"gpu.devices.{name}" for name in ("nvlink", "fabric", "pcie", "seat"))),
    ("all_reduce", ("gpu.driver", "network", *(f"gpu.devices.{name}" for name in ("nvlink", "fabric", "pcie")))),
    ("bytes", tuple(f"gpu.devices.{name}" for name in ("ecc", "clocks", "memory_clock", "row_remapping", "power"))),
)
"""Part of a figure's name, and the facts that can make it what it is, by how their names begin; the first one holds."""
_DEVICE = re.compile(r"gpu\d+")


@dataclass(frozen=True, slots=True)
class FleetNode:
    name: str
    """What the user calls it by: its file."""
    description: Mapping[str, Any]
    """As `bench node show --json` prints it, or the node of a record."""

    @property
    def hardware(self) -> str:
        return str(self.description["hardware"]["key"])

    @property
    def identities(self) -> frozenset[str]:
        """Pseudonyms that only this machine has: of its GPUs, or of the host where it has none."""
        devices = (self.description.get("gpu") or {}).get("devices") or []
        host = self.description.get("host") or {}
        told = [device.get("id") for device in devices] or [host.get("machine")]
        return frozenset(str(identity) for identity in told if identity)


@dataclass(frozen=True, slots=True)
class OddFact:
    """A fact in which a node, or one device of it, is not as most are."""

    name: str
    value: Any
    majority: Any


@dataclass(frozen=True, slots=True)
class NamedOutlier:
    """A node or a device outside, the figure that gives it away, and what may be why."""

    figure: str
    n: int
    median: float
    outlier: Outlier
    beside: tuple[OddFact, ...]
    """Odd facts of the same place that can make this figure what it is; of a figure between devices, of any of them."""


@dataclass(frozen=True, slots=True)
class SkuComparison:
    """Nodes of one SKU. Of a single node there is nothing to compare."""

    hardware: str
    nodes: tuple[str, ...]
    unlike: Mapping[str, tuple[Any, Any]]
    """Facts of a SKU's identity in which these are not the largest group of this hardware: theirs, and that one's."""
    facts: tuple[DifferingFact, ...]
    figures: tuple[FleetFigure, ...]
    outliers: tuple[NamedOutlier, ...]
    same_machine: tuple[tuple[str, ...], ...]
    """Names under which one machine was given several times: it counts as often."""


def compare_fleet(nodes: Sequence[FleetNode]) -> list[SkuComparison]:
    """Every SKU among `nodes`, those of most nodes first.

    Raises InputError for fewer than two nodes, for a name given twice, and for what is no node's description.
    """
    if len(nodes) < 2:
        raise InputError(f"{len(nodes)} node", where="fleet", allowed="two or more to compare")
    twice = [name for name, count in Counter(node.name for node in nodes).items() if count > 1]
    if twice:
        raise InputError(f"two nodes are called {twice[0]!r}", where="fleet", allowed="each once, of different names")
    groups = sorted(by_sku(nodes), key=len, reverse=True)
    return [_compared(group, _largest_like(group, groups)) for group in groups]


def by_sku(nodes: Sequence[FleetNode]) -> list[list[FleetNode]]:
    """Nodes of one hardware key whose identities agree as far as both tell them, in the order first seen."""
    groups: list[list[FleetNode]] = []
    for node in nodes:
        group = next((g for g in groups if g[0].hardware == node.hardware and not _unlike(node, g[0])), None)
        if group is None:
            groups.append([node])
        else:
            group.append(node)
    return groups


def check_description(description: Any, where: str) -> None:
    """Raises InputError for what facts cannot be taken out of as out of a node's description."""
    hardware = description.get("hardware") if isinstance(description, Mapping) else None
    if not isinstance(hardware, Mapping) or not isinstance(hardware.get("key"), str):
        raise InputError(
            "has no hardware.key", where=where, allowed="what `bench node show --json` prints, or a result"
        )
    if not any(section in description for section in SECTIONS):
        raise InputError("has no fingerprint", where=where, allowed=f"any of {', '.join(SECTIONS)}")
    for section in SECTIONS:
        if not isinstance(description.get(section, {}), Mapping):
            raise InputError(f"{section} is no section", where=where, allowed="facts by name")
    try:
        node_class(description)
    except (AttributeError, TypeError, RecursionError) as error:
        raise InputError(f"is no fingerprint: {error}", where=where, allowed="what `bench node show` prints") from None


def _compared(group: Sequence[FleetNode], largest: Sequence[FleetNode]) -> SkuComparison:
    described = {node.name: node.description for node in group}
    facts = tuple(differing_facts(described)) if len(group) > 1 else ()
    figures = tuple(fleet_figures(described))
    return SkuComparison(
        hardware=group[0].hardware,
        nodes=tuple(described),
        unlike=_unlike(group[0], largest[0]),
        facts=facts,
        figures=figures,
        outliers=tuple(_named(figure, outlier, facts) for figure in figures for outlier in figure.outliers),
        same_machine=_same_machine(group),
    )


def _largest_like(group: Sequence[FleetNode], groups: Sequence[Sequence[FleetNode]]) -> Sequence[FleetNode]:
    """The first, and so the largest, of the same hardware."""
    return next(other for other in groups if other[0].hardware == group[0].hardware)


def _unlike(node: FleetNode, other: FleetNode) -> dict[str, tuple[Any, Any]]:
    mine, theirs = node_class(node.description), node_class(other.description)
    both = (name for name in mine if _is_told(mine[name]) and _is_told(theirs.get(name)))
    return {name: (mine[name], theirs[name]) for name in both if mine[name] != theirs[name]}


def _is_told(value: Any) -> bool:
    return value is not None and value != [None]


def _named(figure: FleetFigure, outlier: Outlier, facts: Sequence[DifferingFact]) -> NamedOutlier:
    return NamedOutlier(
        figure=figure.name,
        n=figure.n,
        median=figure.median,
        outlier=outlier,
        beside=tuple(
            odd for fact in facts if _may_explain(fact, figure.name) and (odd := _odd_here(fact, outlier, figure.name))
        ),
    )


def _odd_here(fact: DifferingFact, outlier: Outlier, figure: str) -> OddFact | None:
    """What the outlier's devices, or its node as a whole, tell otherwise than most."""
    if fact.majority is None:
        return None
    # A figure between devices names them (`peer_gpu0_to_gpu1…`); another that is of none may be held back by any.
    devices = {outlier.device} if outlier.device else set(_DEVICE.findall(figure))

    def is_here(place: Place) -> bool:
        return place.node == outlier.node and (not devices or place.device is None or place.device in devices)

    value = next((odd for odd in fact.odd if any(map(is_here, odd.places))), None)
    return None if value is None else OddFact(fact.name, value.value, fact.majority.value)


def _may_explain(fact: DifferingFact, figure: str) -> bool:
    beginnings = next((names for part, names in _GIVEN_AWAY_BY if part in figure), ())
    return fact.name.startswith(beginnings)


def _same_machine(group: Sequence[FleetNode]) -> tuple[tuple[str, ...], ...]:
    """By what only one machine has, or by its boot where a container hides that: of two boots nobody knows."""
    named: dict[object, list[str]] = {}
    for node in group:
        boot = (node.description.get("host") or {}).get("boot")
        if node.identities or boot:
            named.setdefault(node.identities or str(boot), []).append(node.name)
    return tuple(tuple(names) for names in named.values() if len(names) > 1)
