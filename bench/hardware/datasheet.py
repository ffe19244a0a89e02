"""Datasheets: what an accelerator could do, each figure with where it was published.

Two conventions are easy to mix up and double a figure silently: peak rates with structured sparsity, and link bandwidth
of both directions together. A datasheet has columns for dense rates and for one direction only, says so, and is refused
where its figures contradict that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.core.configs import names, resolve
from bench.core.errors import InputError
from bench.core.suite import parse, read_yaml

Link = Literal["nvlink4", "nvlink5", "pcie4_x16", "pcie5_x16", "infinity_fabric"]

_MOST_GB_PER_S_ONE_WAY = {"nvlink4": 450, "nvlink5": 900, "pcie4_x16": 32, "pcie5_x16": 64}
"""One direction of a GPU's whole link. NVIDIA quotes NVLink both ways together: 18 links of 50 and of 100 GB/s."""

_LEAST_STEP, _MOST_STEP = 1.8, 3.2
"""Halving the width of numbers doubles a dense matrix rate, or triples it (FP4 on Blackwell Ultra). A sparse rate is
twice the dense one, so rates that mix the two show a step of 1 or of 4."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(_Section):
    title: str
    url: str | None = None
    date: date
    """When it was published or, for a page without a date, read."""


class _Sourced(_Section):
    source: str
    """A key of the datasheet's `sources`."""
    basis: Literal["published", "assumed"] = "published"
    """`assumed` where nothing published was at hand to check it against."""
    note: str | None = None


class Figure(_Sourced):
    value: Annotated[float, Field(gt=0, strict=True)]


class Count(_Sourced):
    value: Annotated[int, Field(gt=0, strict=True)]


class PeakTflops(_Section):
    """Matrix rates in 10^12 floating-point operations a second."""

    sparsity: Literal["dense"]
    bf16: Figure
    fp8: Figure | None = None
    fp4: Figure | None = None


class ScaleUp(_Section):
    """The link that makes several accelerators one machine to a model."""

    direction: Literal["one"]
    link: Link
    gb_per_s: Figure
    accelerators: Count
    """How many it joins; 1 where it joins none."""


class Node(_Section):
    """The machine that accelerators stand in: hosts, fans and power supplies with them."""

    accelerators: Count
    kw: Figure
    """At most, at its own plugs."""


class Rack(_Section):
    accelerators: Count
    kw_low: Figure
    kw_high: Figure


class Datasheet(_Section):
    """One accelerator. A figure that nobody published is left out."""

    name: str
    vendor: str
    architecture: str
    target: str
    """What compilers call it: `sm_103`, `gfx950`."""
    nvml_names: tuple[str, ...] = ()
    """Regular expressions that match the whole name NVML gives it; none for what NVML does not drive."""
    memory_gb: Figure
    """10^9 bytes on the package, of which the driver leaves somewhat less to programs."""
    memory_gb_per_s: Figure
    peak_tflops: PeakTflops
    scale_up: ScaleUp
    tdp_w: Figure
    multiprocessors: Count | None = None
    provisioned_kw: Figure | None = None
    """Power a facility sets aside for one accelerator with its share of hosts, network and cooling."""
    power_sensor_duty: Figure | None = None
    """Share of the time in which its own sensor of power looks; left out where none is known to miss any."""
    node: Node | None = None
    rack: Rack | None = None
    sources: dict[str, Source]


def load_datasheet(name_or_path: str) -> Datasheet:
    """The datasheet in a file or under `configs/hardware`.

    Raises InputError for an unknown key, a figure that is not above zero or names no source, a rate that cannot be
    dense beside the others, a bandwidth that is more than one direction of its link, and a node or rack that draws no
    more than its accelerators alone.
    """
    path = resolve(name_or_path, "hardware")
    datasheet = parse(Datasheet, read_yaml(path), str(path))
    _refuse_unsourced(datasheet, path)
    _refuse_sparse(datasheet.peak_tflops, path)
    _refuse_both_directions(datasheet.scale_up, path)
    _refuse_bad_patterns(datasheet.nvml_names, path)
    _refuse_too_little_power(datasheet, path)
    return datasheet


def name_patterns() -> dict[str, list[str]]:
    """For every datasheet of this installation, the patterns of the names NVML gives its accelerator."""
    return {key: list(load_datasheet(key).nvml_names) for key in names("hardware")}


def _refuse_unsourced(datasheet: Datasheet, path: Path) -> None:
    for place, figure in _figures(datasheet, ""):
        if figure.source not in datasheet.sources:
            known = ", ".join(datasheet.sources)
            raise InputError(f"{place}.source = {figure.source!r}", where=path, allowed=f"a key of `sources`: {known}")


def _refuse_sparse(peak: PeakTflops, path: Path) -> None:
    rates = [(name, figure.value) for name in ("bf16", "fp8", "fp4") if (figure := getattr(peak, name)) is not None]
    for (wide, slow), (narrow, fast) in pairwise(rates):
        if not _LEAST_STEP <= fast / slow <= _MOST_STEP:
            raise InputError(
                f"peak_tflops.{narrow} is {fast / slow:.3g} times peak_tflops.{wide}: one of them counts sparsity",
                where=path,
                allowed=f"dense rates, {_LEAST_STEP} to {_MOST_STEP} times apart",
            )


def _refuse_both_directions(scale_up: ScaleUp, path: Path) -> None:
    most = _MOST_GB_PER_S_ONE_WAY.get(scale_up.link)
    if most is not None and scale_up.gb_per_s.value > most:
        raise InputError(
            f"scale_up.gb_per_s = {scale_up.gb_per_s.value:g} is more than one direction of {scale_up.link}",
            where=path,
            allowed=f"at most {most}, one direction",
        )


def _refuse_bad_patterns(patterns: tuple[str, ...], path: Path) -> None:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise InputError(f"nvml_names: {pattern!r}: {error}", where=path, allowed="regular expressions") from None


def _refuse_too_little_power(datasheet: Datasheet, path: Path) -> None:
    for place, of in (("node.kw", datasheet.node), ("rack.kw_low", datasheet.rack)):
        if of is None:
            continue
        kw = of.kw_low.value if isinstance(of, Rack) else of.kw.value
        least = of.accelerators.value * datasheet.tdp_w.value / 1000
        if kw <= least:
            raise InputError(f"{place} = {kw:g}", where=path, allowed=f"more than its accelerators draw, {least:g} kW")


def _figures(section: BaseModel, place: str) -> Iterator[tuple[str, _Sourced]]:
    """Every figure below `section` with its dotted place."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, _Sourced):
            yield f"{place}{name}", value
        elif isinstance(value, _Section):
            yield from _figures(value, f"{place}{name}.")
