"""What soaks saw of the availability of each node class, for a comparison to reckon with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from bench.core.errors import InputError
from bench.core.suite import parse
from bench.economics.availability import ObservedAvailability
from bench.groups import hardware_of
from bench.metrics.availability import Availability, availability
from bench.results.result import Result
from bench.results.soak_log import REPORT_FILE, SEGMENTS, Schema, SoakLog, read_soak, soaks_below

_Seconds = Annotated[float, Field(ge=0)]


class _Stored(BaseModel):
    # Of what a report holds, these figures are needed.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Outage(_Stored):
    down_s: _Seconds
    repaired: bool


class _Availability(_Stored):
    level: Annotated[float, Field(gt=0, lt=1)]
    up_s: _Seconds
    unobserved_s: _Seconds


class _Soaked(_Stored):
    outages: tuple[_Outage, ...]
    availability: _Availability


class _Report(_Stored):
    schema_: Annotated[Schema, Field(alias="schema")]
    soaked: _Soaked


@dataclass(frozen=True)
class _Soak:
    log: SoakLog
    hardware: str
    soaked: _Soaked


def reported_soaks_below(paths: Iterable[Path]) -> list[Path]:
    """Folders of soaks that have a report, at or below `paths`, each once."""
    return sorted({file.parent for path in paths for file in path.rglob(REPORT_FILE)})


def without_segments(results: Sequence[Result], paths: Iterable[Path]) -> list[Result]:
    """`results` less those that are part of a soak below `paths`, unless the soak itself is one of these.

    Whether the soak has ended makes no difference. Segments run one after another on one engine: they are no repeats,
    and would make an interval between runs too narrow. Where there is nothing else, they are kept.
    """
    paths = list(paths)
    named = {path.resolve() for path in paths}
    soaks = {folder.resolve() for folder in soaks_below(paths)} - named
    kept = [result for result in results if soaks.isdisjoint(result.path.resolve().parents)]
    return kept or list(results)


def observed_availability(given: Iterable[Path], found: Iterable[Path] = ()) -> dict[str, ObservedAvailability]:
    """By hardware key; soaks of one node class are taken together, as if one had gone on after the other.

    Of `found`, folders of soaks that only lie there, those that ended before their engine was up are left out. Raises
    InputError for such a one that is `given`, for a path without a soak, and for a soak that cannot be read.
    """
    named: dict[Path, Path] = {}
    for path in given:
        below = reported_soaks_below([path])
        if not below:
            raise InputError("holds no soak", where=path, allowed=f"a folder with a {REPORT_FILE} in it or below it")
        named |= {folder.resolve(): folder for folder in below}
    by_hardware: dict[str, list[_Soak]] = {}
    for resolved, folder in ({folder.resolve(): folder for folder in found} | named).items():
        soak = _read(folder)
        if soak is not None:
            by_hardware.setdefault(soak.hardware, []).append(soak)
        elif resolved in named:
            raise InputError("its engine was never seen up", where=folder, allowed="a soak that has an availability")
    return {hardware: _together(soaks) for hardware, soaks in by_hardware.items()}


def _read(folder: Path) -> _Soak | None:
    """None of one whose engine was never seen up."""
    path = folder / REPORT_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not a soak's report: {error}", where=path, allowed="JSON as `bench` wrote it") from None
    report = parse(_Report, document, str(path))
    log = read_soak(folder)
    if not log.segments or report.soaked.availability.up_s == 0:
        return None
    first = Result.open(folder / SEGMENTS / log.segments[0].record).record
    return _Soak(log, hardware_of(first)["key"], report.soaked)


def _together(soaks: Sequence[_Soak]) -> ObservedAvailability:
    outages = [outage for soak in soaks for outage in soak.soaked.outages]
    starts = [soak.log.engine_start_s for soak in soaks if soak.log.engine_start_s is not None]
    seen: Availability = availability(
        fsum(soak.soaked.availability.up_s for soak in soaks),
        [outage.down_s for outage in outages if outage.repaired],
        level=min(soak.soaked.availability.level for soak in soaks),
        unrepaired_s=[outage.down_s for outage in outages if not outage.repaired],
        start_s=max(starts, default=None),
        unobserved_s=fsum(soak.soaked.availability.unobserved_s for soak in soaks),
    )
    assert seen.observed is not None  # each was up for a time
    return ObservedAvailability(
        soaks=tuple(str(soak.log.path) for soak in soaks),
        value=seen.observed,
        low=seen.low,
        high=seen.high,
        level=seen.level,
        method=seen.method,
        up_s=seen.up_s,
        down_s=seen.down_s,
        outages=seen.outages,
    )
