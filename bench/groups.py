"""Records of one case on one node class: the group that owns what several runs of it say together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.core.errors import InputError
from bench.core.records import Headline
from bench.metrics.statistics import absent, between_runs
from bench.results.record import Record


def groups_of(records: Iterable[Record]) -> list[list[Record]]:
    """Records of one case on one node class together, in the order first seen."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault(group_of(record), []).append(record)
    return list(groups.values())


def group_of(record: Record) -> tuple[str, str]:
    """What the records of a group have in common: case and node class."""
    return record.case.id, hardware_of(record)["key"]


def valid_repeats(group: list[Record]) -> list[Record]:
    """The group without its invalid repeats, unless there is nothing else."""
    return [record for record in group if record.verdict.status == "valid"] or group


def hardware_of(record: Record) -> Mapping[str, Any]:
    """What a record ran on. Raises InputError for one that does not say."""
    hardware = record.node.get("hardware")
    if not isinstance(hardware, dict) or not {"key", "unit"} <= hardware.keys():
        raise InputError("`node.hardware` lacks its key or unit", where=record.id, allowed="as `bench run` wrote it")
    return hardware


def combined(stored: Sequence[Mapping[str, Any] | None], *, rate: bool) -> Headline:
    """A headline of each run of a group as one: a single run keeps its interval, several have one between runs.

    `rate`: whether it is averaged as its logarithm.
    """
    headlines = [absent("not measured", 0.95) if one is None else Headline(**one) for one in stored]
    if len(headlines) == 1:
        return headlines[0]
    values = [headline.value for headline in headlines if headline.value is not None]
    return between_runs(values, level=headlines[0].level, rate=rate, basis=headlines[0].basis)
