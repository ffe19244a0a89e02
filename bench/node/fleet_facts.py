"""Facts that are not the same on every node of a SKU: what most nodes tell, and who tells something else."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.node.fact_kinds import Fact, FactKind, facts_of

_FLEETING = (
    *("gpu.devices.sm_clock_mhz", "gpu.devices.memory_clock_mhz", "gpu.devices.pcie_generation"),
    "storage.folders.free_bytes",
)
"""States that are others a second later: idle GPUs lower their clocks and the generation of their PCIe link."""


@dataclass(frozen=True, slots=True)
class Place:
    """Who told something: a node, or one device of it."""

    node: str
    device: str | None


@dataclass(frozen=True, slots=True)
class ToldValue:
    """A value and all who tell it."""

    value: Any
    """None where they do not tell."""
    why_missing: str | None
    """Why the first of them does not."""
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class DifferingFact:
    """A fact with several values among nodes of one SKU."""

    name: str
    device: str | None
    """The device that is compared across nodes; None where every device is held against every other."""
    kind: FactKind
    of: int
    """How many told it, or told why they do not."""
    majority: ToldValue | None
    """The value of more than half; None where there is none."""
    odd: tuple[ToldValue, ...]
    """The other values, the most common first."""


_Samples = Sequence[tuple[Place, Fact]]


def differing_facts(nodes: Mapping[str, Mapping[str, Any]]) -> list[DifferingFact]:
    """What differs between `nodes`, fingerprints by the name of the node, in the order of a fingerprint.

    A device is held against every device of the fleet where half of the nodes or more have the fact alike on all of
    theirs, and otherwise against the one of its name on other nodes: the NUMA node of a GPU depends on its seat.
    """
    samples: dict[str, list[tuple[Place, Fact]]] = defaultdict(list)
    for node, fingerprint in nodes.items():
        for fact in facts_of(fingerprint):
            if fact.kind != "label" and fact.name not in _FLEETING:
                samples[fact.name].append((Place(node, fact.device), fact))
    found = [_differing(name, *like) for name, of_name in samples.items() for like in _like_with_like(of_name)]
    return [fact for fact in found if fact is not None]


def _like_with_like(samples: _Samples) -> Iterable[tuple[str | None, _Samples]]:
    """The samples to be held against one another, with the device they are of where only one is compared."""
    values_on: dict[str, set[str]] = defaultdict(set)
    for place, fact in samples:
        values_on[place.node].add(_key(fact))
    alike = sum(len(values) == 1 for values in values_on.values())
    if 2 * alike >= len(values_on):
        return [(None, samples)]
    by_device: dict[str | None, list[tuple[Place, Fact]]] = defaultdict(list)
    for place, fact in samples:
        by_device[place.device].append((place, fact))
    return by_device.items()


def _differing(name: str, device: str | None, samples: _Samples) -> DifferingFact | None:
    by_value: dict[str, list[tuple[Place, Fact]]] = defaultdict(list)
    for place, fact in samples:
        by_value[_key(fact)].append((place, fact))
    if len(by_value) == 1:
        return None
    values = [_told(alike) for alike in sorted(by_value.values(), key=len, reverse=True)]
    first, *others = values
    by_most = 2 * len(first.places) > len(samples)
    return DifferingFact(
        name=name,
        device=device,
        kind=samples[0][1].kind,
        of=len(samples),
        majority=first if by_most else None,
        odd=tuple(others if by_most else values),
    )


def _told(samples: _Samples) -> ToldValue:
    _, fact = samples[0]
    return ToldValue(fact.value, fact.why_missing, tuple(place for place, _ in samples))


def _key(fact: Fact) -> str:
    """Equal for facts that are the same."""
    return json.dumps(fact.compared, sort_keys=True)
