"""Records as a pandas table: one row a record, units in the column names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from bench.results.record import Record
from bench.results.result import scan

_COMPUTED = ("latency", "throughput", "goodput")
_PREFIXED = ("sessions", "efforts", "success")


def records_frame(path: str | Path) -> pd.DataFrame:
    """Every record at or below `path`, in order of folder.

    A headline becomes three columns: `ttft_ms_p50`, `ttft_ms_p50_low`, `ttft_ms_p50_high`. A rung of the energy ladder
    is prefixed by its scope, as are its phases: `gpu_joules_per_output_token`, `gpu_phases_joules_prefill`; what stands
    under `sessions`, `efforts`, `success` by that: `sessions_idle_tool_wait_share`. Raises InputError when `path` holds
    no record.
    """
    return pd.DataFrame([_row(result.record) for result in scan([path])])


def _row(record: Record) -> dict[str, Any]:
    spec = record.case.spec
    row: dict[str, Any] = {
        "record": record.id,
        "case": record.case.id,
        "name": spec.name,
        "verdict": record.verdict.status,
        "reasons": ", ".join(reason["code"] for reason in record.verdict.reasons),
        "accuracy": (record.accuracy or {}).get("status"),
        "model": record.case.model_digest,
        "workload": record.case.workload_digest,
        "engine": spec.engine.kind,
        "load": spec.load.kind,
        "time_scale": spec.load.time_scale,
        "token_scale": spec.workload.token_scale,
    }
    for count in ("sent", "completed", "counted"):
        row[f"requests_{count}"] = (record.requests or {}).get(count)
    for section in _COMPUTED:
        row |= dict(_headlines((), getattr(record, section)))
    for section in _PREFIXED:
        row |= dict(_headlines((section,), getattr(record, section)))
    for scope, rung in (record.energy or {}).get("rungs", {}).items():
        row |= dict(_headlines((scope,), rung))
    for scope, phases in (record.energy or {}).get("phases", {}).items():
        row |= dict(_headlines((scope, "phases"), phases))
    return row


def _headlines(place: tuple[str, ...], values: Any) -> Iterator[tuple[str, float | None]]:
    if not isinstance(values, dict):
        return
    if {"value", "low", "high"} <= values.keys():
        name = "_".join(place)
        yield name, values["value"]
        yield f"{name}_low", values["low"]
        yield f"{name}_high", values["high"]
        return
    for key, value in values.items():
        yield from _headlines((*place, key), value)
