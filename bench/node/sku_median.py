"""How a node's measured figures stand to the median of its SKU."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import median

from bench.node.facts import AbsentError
from bench.node.fleet import FleetNode, by_sku
from bench.node.fleet_figures import figures_of

FEWEST_NODES = 3
"""Of two, the median is a node that nobody has."""


@dataclass(frozen=True, slots=True)
class FigureRatio:
    figure: str
    own: float
    """The node's own: of the slowest of the devices it used."""
    median: float
    nodes: int

    @property
    def to_median(self) -> float:
        """What the node would gain by being the median one."""
        return self.median / self.own


def known_in(fleet: Sequence[FleetNode], node: FleetNode) -> FleetNode:
    """`node` as `fleet` has it. Raises AbsentError where it has not."""
    if not node.identities:
        raise AbsentError("the node it ran on tells nothing that it could be known again by")
    known = next((other for other in fleet if other.identities == node.identities), None)
    if known is None:
        raise AbsentError("the fleet has no fingerprint of the node it ran on")
    return known


def ratio_to_median(figure: str, node: FleetNode, fleet: Sequence[FleetNode], devices: Collection[str]) -> FigureRatio:
    """`node`, one of `fleet`, beside its SKU; `devices` are pseudonyms of the GPUs it used, none on processors alone.

    Of every node the slowest device counts where all were used, since a model that is cut over them waits for that one,
    and the middle one otherwise. Raises AbsentError where the node or too few others have the figure.
    """
    alike, *_ = by_sku([node, *_other_machines(node, fleet)])
    used = {f"gpu{index}" for index, told in enumerate(_device_ids(node)) if told in devices}
    own = _values(figure, node, used)
    if not own:
        raise AbsentError(f"the fingerprint of {node.name} has no {figure}")
    whole = len(used) == len(_device_ids(node))
    of_each = [_values(figure, other, set()) for other in alike]
    told = [min(values) if whole else median(values) for values in of_each if values]
    if len(told) < FEWEST_NODES:
        raise AbsentError(f"{len(told)} nodes of this SKU have {figure}: {FEWEST_NODES} make a median")
    return FigureRatio(figure, min(own), median(told), len(told))


def _other_machines(node: FleetNode, fleet: Sequence[FleetNode]) -> list[FleetNode]:
    """Each once, and `node` not again: one machine given three times makes no median."""
    by_machine = {other.identities or other.name: other for other in fleet}
    return [other for machine, other in by_machine.items() if machine != node.identities]


def _device_ids(node: FleetNode) -> list[str]:
    devices = (node.description.get("gpu") or {}).get("devices") or []
    return [str(device.get("id")) for device in devices]


def _values(figure: str, node: FleetNode, devices: Collection[str]) -> list[float]:
    """Of `devices` of the node, or of all where none is named."""
    return [
        sample.value
        for name, sample in figures_of(node.name, node.description)
        if name == figure and (not devices or sample.device in devices)
    ]
