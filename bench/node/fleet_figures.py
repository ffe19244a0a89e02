"""Measured figures of a fleet: what is usual, how far nodes lie apart, and which of them lies outside.

An outlier is far from the median by the robust z-score (Iglewicz and Hoaglin 1993, "How to Detect and Handle Outliers":
beyond 3.5 times 1.4826 MAD), where a fleet that is more alike than the figure repeats on one node is taken to scatter
as the figure does. It is also so far away that it matters to somebody who rents the node.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.core.errors import InputError

FEWEST = 4
"""Samples below which no outlier can be told: of three, nobody knows which two are right."""
LEAST_Z = 3.5
LEAST_SHARE = 0.05
"""Of the median."""
_MAD_TO_SIGMA = 1.4826
_QUARTILES_TO_SIGMA = 1.349
"""Standard deviations between the quartiles of a normal distribution."""
_OF_DEVICE = re.compile(r"(gpu\d+)_(.+)")
"""How `bench node show --measure` names a figure of one GPU, as `gpu0_copy_bytes_per_s`."""


@dataclass(frozen=True, slots=True)
class FigureSample:
    """A figure as one node, or one device of it, has it, in the unit that its name ends with."""

    node: str
    device: str | None
    value: float
    sigma: float
    """By the quartiles of its own trials."""


@dataclass(frozen=True, slots=True)
class Outlier:
    node: str
    device: str | None
    value: float
    share: float | None
    """By which it is above the median; below 0 where it is below, None where the median is 0."""
    z: float | None
    """None where neither the fleet nor the figure scatters at all."""
    worse: bool
    """Whether it is on the side that nobody wants."""


@dataclass(frozen=True, slots=True)
class FleetFigure:
    """One figure over the nodes of a SKU."""

    name: str
    device: str | None
    """The device that is compared across nodes; None where every device is held against every other."""
    n: int
    median: float
    least: float
    most: float
    sigma: float
    """Robust standard deviation among the samples: 1.4826 MAD."""
    own_sigma: float
    """Of the figure's own trials, the median over the samples."""
    samples: tuple[FigureSample, ...]
    outliers: tuple[Outlier, ...]
    why_no_outliers: str | None
    """Why none can be told; None where they can."""


def fleet_figures(nodes: Mapping[str, Mapping[str, Any]]) -> list[FleetFigure]:
    """Every figure that two nodes or more of `nodes` have measured: descriptions by the name of the node.

    Devices of one name are held against one another from four nodes on; in fewer nodes, every device against every
    other. Raises InputError for a figure that is no number of at least 0.
    """
    samples: dict[str, list[FigureSample]] = defaultdict(list)
    for node, description in nodes.items():
        for name, sample in figures_of(node, description):
            samples[name].append(sample)
    found = []
    for name, of_name in samples.items():
        several = len({sample.node for sample in of_name})
        if several >= FEWEST:
            by_device: dict[str | None, list[FigureSample]] = defaultdict(list)
            for sample in of_name:
                by_device[sample.device].append(sample)
            found += [_figure(name, device, like) for device, like in by_device.items() if len(like) > 1]
        elif several > 1:
            found.append(_figure(name, None, of_name))
    return found


def figures_of(node: str, description: Mapping[str, Any]) -> Iterator[tuple[str, FigureSample]]:
    """What `node` measured, by the figure's name: without the device, as `gpu_read_bytes_per_s`, of which one has.

    Raises as `fleet_figures` does.
    """
    measured = description.get("measured") or {}
    if not isinstance(measured, Mapping):
        raise InputError("is no section", where=f"{node}: measured", allowed="figures by name")
    for name, figure in measured.items():
        if not isinstance(figure, Mapping):
            raise InputError(f"{figure!r} is no figure", where=f"{node}: {name}", allowed="value, low and high")
        if figure.get("value") is None:
            continue  # with the reason beside it
        value, low, high = (_number(figure.get(end), f"{node}: {name}.{end}") for end in ("value", "low", "high"))
        of_device = _OF_DEVICE.fullmatch(name)
        device = None if of_device is None else of_device[1]
        sample = FigureSample(node, device, value, abs(high - low) / _QUARTILES_TO_SIGMA)
        yield name if of_device is None else f"gpu_{of_device[2]}", sample


def lower_is_worse(name: str) -> bool:
    """Whether less of a figure is worse: of rates it is, of times it is not."""
    return name.endswith("_per_s")


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InputError(f"{value!r} is no figure", where=where, allowed="a number of at least 0")
    return float(value)


def _figure(name: str, device: str | None, samples: Sequence[FigureSample]) -> FleetFigure:
    values = [sample.value for sample in samples]
    centre = median(values)
    sigma = _MAD_TO_SIGMA * median(abs(value - centre) for value in values)
    own_sigma = median(sample.sigma for sample in samples)
    few = f"{len(samples)} figures are too few to tell an outlier: {FEWEST} can" if len(samples) < FEWEST else None
    outliers = [] if few else [_outlier(sample, centre, max(sigma, own_sigma), name) for sample in samples]
    return FleetFigure(
        name=name,
        device=device,
        n=len(samples),
        median=centre,
        least=min(values),
        most=max(values),
        sigma=sigma,
        own_sigma=own_sigma,
        samples=tuple(samples),
        outliers=tuple(outlier for outlier in outliers if outlier is not None),
        why_no_outliers=few,
    )


def _outlier(sample: FigureSample, centre: float, scale: float, name: str) -> Outlier | None:
    away = sample.value - centre
    z = away / scale if scale else None
    if abs(away) <= LEAST_SHARE * centre or (z is not None and abs(z) < LEAST_Z):
        return None
    share = away / centre if centre else None
    return Outlier(sample.node, sample.device, sample.value, share, z, (away < 0) == lower_is_worse(name))
