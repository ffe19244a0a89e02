"""`bench verify`: every headline again from the tables, by the same path that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.metrics.context import RunContext
from bench.metrics.summary import summarise
from bench.results.record import Record
from bench.results.result import scan
from bench.results.tables import Tables
from bench.results.verify import Report, verify


def verify_results(paths: Sequence[Path]) -> list[Report]:
    """A report for each result at or below `paths`. Raises InputError where there is none."""
    return [verify(result.path, _recompute) for result in scan(paths)]


def _recompute(record: Record, tables: Tables) -> Mapping[str, Any]:
    context = RunContext.read(record.run or {})
    summary = summarise(
        record.case,
        context,
        turns=tables.turns,
        power=tables.power,
        steps=tables.steps,
        health=tables.health,
    )
    return summary.sections()
