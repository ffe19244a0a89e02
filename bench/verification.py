"""`bench verify`: every headline again from the tables, by the same path that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.metrics.context import RunContext
from bench.metrics.summary import summarise
from bench.results.record import Record
from bench.results.result import scan
from bench.results.soak_log import SEGMENTS, read_soak, soaks_below
from bench.results.tables import Tables
from bench.results.verify import Report, verify
from bench.soak.report import verify_soak


def verify_results(paths: Sequence[Path]) -> list[Report]:
    """A report for each result and each soak at or below `paths`. Raises InputError where there is none.

    A result that was being written when a soak's program died is none, if the soak went on and says so.
    """
    soaks = [read_soak(folder) for folder in soaks_below(paths)]
    abandoned = {(log.path / SEGMENTS / name).resolve() for log in soaks for name in log.abandoned}
    results = (result for result in scan(paths) if result.path.resolve() not in abandoned)
    return [*(verify(result.path, _recompute) for result in results), *(verify_soak(log) for log in soaks)]


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
