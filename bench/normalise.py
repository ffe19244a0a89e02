"""What a comparison would be at the median node of each SKU: two nodes of one name are not one machine.

Where several nodes ran a case, the median of what they reached is measured. Where one did, and the fingerprints of a
fleet hold measured figures, its tokens/s are projected: a node whose memory is r times slower than the median's would
make r times the tokens there if memory bound it and nothing else, and likewise for its processors. What binds it stands
in the record's roofline; where it does not, everything between these two, and no change at all, is left open.

Only rates are projected: latencies are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, fsum, log
from statistics import median

from bench.core.errors import InputError
from bench.core.records import Basis, Headline
from bench.economics.group import MeasuredGroup, MedianRates
from bench.fleet import node_of
from bench.groups import hardware_of
from bench.metrics.binding import Binding, Resource, binding
from bench.metrics.statistics import absent
from bench.node.facts import AbsentError, told
from bench.node.fleet import FleetNode
from bench.node.sku_median import FigureRatio, known_in, ratio_to_median
from bench.results.record import Record

RATES = ("output_tokens_per_s", "total_tokens_per_s", "uncached_input_tokens_per_s")
_READ = {"accelerator": "gpu_read_bytes_per_s", "node": "memory_read_bytes_per_s"}
_MULTIPLY = {"accelerator": "gpu_matmul_{}_flops_per_s", "node": "cpu_matmul_{}_flops_per_s"}
"""By what a unit of the hardware is: the measured figures of a node that stand for its memory and its processors."""
_AS_FAST_AS = {
    "mxfp8": "float8_e4m3fn",
    "fp8": "float8_e4m3fn",
    "nvfp4": "nvfp4",
    "bfloat16": "bfloat16",
    "float16": "bfloat16",
    "float32": "float32",
}
"""Formats as records call them, and as the figure of that rate does."""
_SETS_ACTIVATIONS = ("fp8",)
"""Formats of weights that activations are rounded to as well; other weights are multiplied in the engine's dtype."""


@dataclass(frozen=True, slots=True)
class NodeShare:
    """One of several nodes that ran a case."""

    node: str
    runs: int
    output_tokens_per_s: float
    to_median: float
    """Its tokens/s over the median node's."""


@dataclass(frozen=True, slots=True)
class NormalisedGroup:
    """A group at the median of its SKU, or why that cannot be said."""

    group: str
    basis: Basis | None = None
    rates: MedianRates | None = None
    nodes: tuple[NodeShare, ...] = ()
    figures: tuple[FigureRatio, ...] = ()
    binding: Binding | None = None
    bound_by: Resource | None = None
    why_not: str | None = None


def normalised(group: MeasuredGroup, records: Sequence[Record], fleet: Sequence[FleetNode]) -> NormalisedGroup:
    """`group`, whose valid runs are `records`, at the median of its SKU; what binds it is taken from the first run."""
    try:
        by_node = _by_node(records)
        if len(by_node) > 1:
            return _of_several(group, by_node)
        return _of_one(group, records, fleet)
    except AbsentError as untold:
        return NormalisedGroup(group.label, why_not=str(untold))


def _by_node(records: Sequence[Record]) -> dict[frozenset[str], list[Record]]:
    """Records by the machine they ran on; those whose machine cannot be told apart stand together."""
    nodes: dict[frozenset[str], list[Record]] = {}
    for record in records:
        nodes.setdefault(_node(record).identities, []).append(record)
    return nodes


def _node(record: Record) -> FleetNode:
    try:
        return node_of(record)
    except InputError as refused:
        raise AbsentError(str(refused)) from None


def _of_several(group: MeasuredGroup, by_node: Mapping[frozenset[str], Sequence[Record]]) -> NormalisedGroup:
    if frozenset() in by_node:
        raise AbsentError("some of its nodes tell nothing that they could be told apart by")
    outputs = {node: _mean("output_tokens_per_s", records) for node, records in by_node.items()}
    if None in outputs.values():
        raise AbsentError("one of its nodes made no output tokens")
    reached = {node: mean for node, mean in outputs.items() if mean is not None}
    centre = median(reached.values())
    return NormalisedGroup(
        group=group.label,
        basis="measured",
        rates=MedianRates(**{name: _median_of_nodes(name, list(by_node.values())) for name in RATES}),
        nodes=tuple(NodeShare(min(node), len(by_node[node]), mean, mean / centre) for node, mean in reached.items()),
    )


def _mean(name: str, records: Sequence[Record]) -> float | None:
    """Of a node's runs: of a rate the mean of logarithms, as between runs. None where a run has no such rate."""
    measured = [((record.throughput or {}).get(name) or {}).get("value") for record in records]
    values = [float(value) for value in measured if value]
    return exp(fsum(map(log, values)) / len(values)) if len(values) == len(records) else None


def _median_of_nodes(name: str, nodes: Sequence[Sequence[Record]]) -> Headline:
    means = [mean for records in nodes if (mean := _mean(name, records)) is not None]
    if len(means) < len(nodes):
        return absent("not measured on every node", 1.0, n=len(means))
    method = f"median of the means of {len(means)} nodes, between the least and the most of them"
    return Headline(median(means), min(means), max(means), 1.0, method, len(means), "measured")


def _of_one(group: MeasuredGroup, records: Sequence[Record], fleet: Sequence[FleetNode]) -> NormalisedGroup:
    record = records[0]
    if not fleet:
        raise AbsentError("one node ran it, and there are no measured fingerprints of others (--fleet)")
    if record.case.spec.load.open_loop:
        raise AbsentError(
            "its load arrives at a rate of its own: tokens/s are what was asked, not what the node can do"
        )
    node = known_in(fleet, _node(record))
    bound = binding(record.roofline, ((record.window or {}).get("steady") or {}).get("seconds"))
    by = None if bound is None else bound.by
    wanted: tuple[Resource, ...] = ("memory", "compute") if by is None else (by,)
    devices = _devices(records)
    ratios = [ratio_to_median(_figure(record, resource), node, fleet, devices) for resource in wanted]
    least, most = _factors([ratio.to_median for ratio in ratios], bound)
    method = f"from {' and '.join(map(_told_ratio, ratios))}, {_told_binding(bound)}"
    return NormalisedGroup(
        group=group.label,
        basis="projected",
        rates=MedianRates(**{name: _projected(getattr(group, name), least, most, method) for name in RATES}),
        figures=tuple(ratios),
        binding=bound,
        bound_by=by,
    )


def _figure(record: Record, resource: Resource) -> str:
    unit = hardware_of(record)["unit"]
    return _READ[unit] if resource == "memory" else _MULTIPLY[unit].format(_multiplied_in(record))


def _multiplied_in(record: Record) -> str:
    """The format that decides how fast was multiplied: of activations, of weights that set theirs, or of the engine."""
    engine = record.engine or {}
    rounded = [choice["activations"] for choice in engine.get("kernels", ()) if choice.get("activations")]
    weights = [engine["weight_format"]] if engine.get("weight_format") in _SETS_ACTIVATIONS else []
    formats = [*rounded, *weights, engine.get("dtype")]
    known = next((_AS_FAST_AS[format_] for format_ in formats if format_ in _AS_FAST_AS), None)
    return told(known, "the record does not say in which format it multiplied")


def _devices(records: Sequence[Record]) -> frozenset[str]:
    """Pseudonyms of the GPUs that all runs used. Raises AbsentError where their figures would not be those runs'."""
    used = {frozenset((record.engine or {}).get("accelerator_ids") or ()) for record in records}
    if len(used) > 1:
        raise AbsentError("its runs used different GPUs of the node")
    (devices,) = used
    if not devices and hardware_of(records[0])["unit"] == "accelerator":
        raise AbsentError("its record names no GPU that it used, and figures of GPUs are what stands for its node")
    return devices


def _factors(ratios: Sequence[float], bound: Binding | None) -> tuple[float, float]:
    """Least and most by which tokens/s change."""
    if bound is None or bound.by is None:
        return min(1.0, *ratios), max(1.0, *ratios)
    # The resource takes this share of the time at least; whether the rest waits for it too is not known.
    (ratio,) = ratios
    share = getattr(bound, bound.by)
    ends = (ratio, 1 / (1 - share + share / ratio))
    return min(ends), max(ends)


def _projected(raw: Headline, least: float, most: float, method: str) -> Headline:
    """Everything the factor and the interval of the raw rate leave open; no value where the factor is a range."""
    low, high = (raw.value if end is None else end for end in (raw.low, raw.high))
    if low is None or high is None:
        return replace(raw, low=None, high=None)
    value = raw.value * least if raw.value is not None and least == most else None
    return replace(
        raw, value=value, low=low * least, high=high * most, method=f"{raw.method}; {method}", basis="projected"
    )


def _told_ratio(ratio: FigureRatio) -> str:
    return f"{ratio.figure} at {1 / ratio.to_median:.3g} of the median of {ratio.nodes} nodes"


def _told_binding(bound: Binding | None) -> str:
    if bound is None:
        return "and nothing tells what binds it"
    shares = f"memory is busy for {bound.memory:.0%} of the window at least, and processors for {bound.compute:.0%}"
    return f"{shares}: bound by {bound.by}" if bound.by else f"{shares}: neither is known to bind it"
