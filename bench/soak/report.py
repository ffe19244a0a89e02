"""What a soak came to, from its log and its segments' records: written when it ends, recomputed by `bench verify`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.core.digest import file_digest
from bench.core.errors import InputError
from bench.core.units import SECONDS_PER_HOUR
from bench.metrics.outages import Stretch
from bench.metrics.settling import mean_temperature_c
from bench.metrics.soak import Soaked, SoakedSegment, soaked
from bench.metrics.statistics import Confidence
from bench.results.folder import told
from bench.results.record import Record
from bench.results.result import Result
from bench.results.soak_log import LOG_FILE, REPORT_FILE, SCHEMA, SEGMENTS, Resumed, Segment, SoakLog
from bench.results.verify import Difference, Report, compare
from bench.results.whole_file import write_whole

_CUT_OFF = frozenset({"interrupted", "engine_failed", "storage_failed"})
"""Reasons of a record that was not brought to its end: its figures are of some of the case."""


@dataclass(frozen=True)
class SoakReport:
    schema: str
    id: str
    """Name of the soak's folder."""
    case: str
    """Its id."""
    name: str
    hours_asked: float
    ended: str | None
    """Why the soak ended; None of one that was cut off."""
    resumed: int
    """How often it went on after a time in which nobody watched."""
    log_sha256: str
    soaked: Soaked

    def as_json(self) -> dict[str, Any]:
        """Plain values, as they are stored."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain


def report_of(log: SoakLog) -> SoakReport:
    """Raises InputError for a record that the log names and that is not there or cannot be read."""
    spec = log.began.case.spec
    return SoakReport(
        schema=SCHEMA,
        id=log.path.resolve().name,
        case=log.began.case.id,
        name=spec.name,
        hours_asked=log.began.seconds / SECONDS_PER_HOUR,
        ended=log.ended,
        resumed=sum(isinstance(event, Resumed) for event in log.events),
        log_sha256=file_digest(log.path / LOG_FILE),
        soaked=soaked(
            list(_segments(log)),
            total_s=log.last_s,
            engine_start_s=log.engine_start_s,
            confidence=Confidence(spec.measure.level, spec.measure.seed),
        ),
    )


def write_report(log: SoakLog, report: SoakReport) -> None:
    """Put it beside the log. Raises StorageError."""
    path = log.path / REPORT_FILE
    with told(path):
        write_whole(path, (json.dumps(report.as_json(), indent=1) + "\n").encode())


def verify_soak(log: SoakLog) -> Report:
    """Hold the stored report to the log and the records, and the folder to what the log says lies in it."""
    path = log.path / REPORT_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        recomputed = report_of(log).as_json()
    except FileNotFoundError:
        return Report(log.path, 1, (Difference(REPORT_FILE, "missing: the soak was cut off", "a report"),))
    except (OSError, ValueError, RecursionError, InputError) as error:
        return Report(log.path, 1, (Difference(REPORT_FILE, "readable", str(error)),))
    told = sorted([segment.record for segment in log.segments] + log.abandoned)
    there = sorted(folder.name for folder in (log.path / SEGMENTS).glob("*"))
    if not isinstance(stored, dict):
        stored = {}
    return compare(log.path, {**stored, SEGMENTS: told}, {**recomputed, SEGMENTS: there})


def _segments(log: SoakLog) -> Iterator[SoakedSegment]:
    resumed = False
    for event in log.events:
        if isinstance(event, Segment):
            yield _segment(event, Result.open(log.path / SEGMENTS / event.record), resumed=resumed)
        resumed = isinstance(event, Resumed)


def _segment(segment: Segment, result: Result, *, resumed: bool) -> SoakedSegment:
    record = result.record
    requests, run = record.requests or {}, record.run or {}
    return SoakedSegment(
        record=segment.record,
        stretch=Stretch(
            start_s=segment.start_s,
            up_from_s=segment.up_from_s,
            end_s=segment.end_s,
            gone_s=segment.gone_s,
            failure=segment.failure,
            unanswered=tuple(segment.unanswered),
            resumed=resumed,
        ),
        engine=segment.engine,
        left_out=_left_out(record),
        output_tokens_per_s=_value(record.throughput, "output_tokens_per_s"),
        joules_per_output_token=_joules(record),
        temperature_c=mean_temperature_c(result.table("health"), start_ns=run["start_ns"], end_ns=run["end_ns"])
        if run
        else None,
        sent=requests.get("sent", 0),
        completed=requests.get("completed", 0),
        failed=requests.get("failed", {}),
        reasons=_by_code(_causes(record.verdict.reasons)),
        notes=_by_code(record.verdict.notes),
    )


def _left_out(record: Record) -> str | None:
    cut_off = next((reason["message"] for reason in record.verdict.reasons if reason["code"] in _CUT_OFF), None)
    if cut_off is not None:
        return str(cut_off)
    if not _value(record.throughput, "output_tokens_per_s"):
        return "no output tokens in a steady window"
    return None


def _causes(reasons: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Without what only follows from a run's being cut off."""
    return [reason for reason in reasons if reason["code"] in _CUT_OFF] or reasons


def _joules(record: Record) -> dict[str, float]:
    rungs = (record.energy or {}).get("rungs") or {}
    told = {scope: _value(rung, "joules_per_output_token") for scope, rung in rungs.items()}
    return {scope: joules for scope, joules in told.items() if joules}


def _value(section: Mapping[str, Any] | None, name: str) -> float | None:
    headline = (section or {}).get(name)
    return None if headline is None else headline["value"]


def _by_code(reasons: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {reason["code"]: reason["message"] for reason in reversed(reasons)}
