"""`load.search: slo`: the highest concurrency or rate whose share of good requests meets the SLO.

Each probe is an ordinary run of the case as if its load had been typed by hand. Results of that case on this hardware
that lie below the output folder already are probes too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

from bench.bracket import Bracket, Point, Steps, out_of_order
from bench.core.errors import EngineError, InputError
from bench.core.grid import label
from bench.core.protocols import Watch
from bench.core.records import Headline
from bench.core.spec import Case, ClosedLoadSpec, Spec
from bench.core.suite import Suite
from bench.groups import hardware_of
from bench.hardware.datasheet import name_patterns
from bench.load.share import whole_load
from bench.node.fingerprint import fingerprint, hardware_key
from bench.results.record import RECORD_FILE, Record
from bench.results.result import Result
from bench.run import Prepared, prepare, run_one, run_suite

MOST_LOADS = 24
"""Loads after which a search ends: doubling 12 times and bisecting as often spans all that a machine can be asked."""
_LONGER = "more sessions, more of measure.max_seconds or a lower start"
MISSED = frozenset({"failures"})
"""Reasons for which a record is invalid and that a load too high brings about."""


@dataclass(frozen=True)
class Probe:
    """One load of a search."""

    load: float
    outcome: str
    """`meets` or `misses`, by the pooled share of its runs."""
    decided: bool
    """Whether the interval of the share leaves the asked share out."""
    good_share: Headline
    records: tuple[str, ...]
    reused: int
    """How many of them were there before."""


@dataclass(frozen=True)
class Search:
    """What a search found. The highest load that meets the SLO lies in [meets, misses)."""

    name: str
    axis: str
    slo: dict[str, Any]
    meets: float | None
    """The highest load below every miss that met the SLO; None where even the lowest missed it."""
    misses: float | None
    """The lowest load that missed it; None where every one met it."""
    decided: bool
    """Whether the shares of both are certain to their level."""
    probes: tuple[Probe, ...]
    """By load."""
    out_of_order: tuple[float, ...]
    """Loads that met the SLO though a lower one missed it."""
    ended: str | None
    """Why the search ended before the two were as close as asked; None where they are."""


def run_and_search(
    suite: Suite, out: Path, *, watch: Watch, command: Sequence[str]
) -> tuple[list[Result], list[Search]]:
    """Run the specs of `suite` that are no search, then search for the others; results in the order they were run.

    Raises what `run_suite` does, and InputError for a search that has no load to vary or no SLO to meet.
    """
    searching = [spec for spec in suite.specs if spec.load.search is not None]
    for spec in searching:
        _refuse_vain(spec)
    plain = tuple(spec for spec in suite.specs if spec.load.search is None)
    prepared = []
    for index, spec in enumerate(searching, start=1):
        watch.case(spec.name, index, len(searching))
        prepared.append(prepare(spec, watch.phase))
        if (short := _too_short(prepared[-1], getattr(spec.load, _varied(spec)))) is not None:
            raise InputError(f"load.search: {short}", where=spec.name, allowed=_LONGER)
    results = run_suite(Suite(plain), out, watch=watch, command=command) if plain else []
    searches = [_HighestLoad(one, out, watch, command) for one in prepared]
    found = [search.find() for search in searches]
    return results + [result for search in searches for result in search.results], found


class _HighestLoad:
    """One search: what it has run, and what was there before."""

    def __init__(self, prepared: Prepared, out: Path, watch: Watch, command: Sequence[str]) -> None:
        self._prepared = prepared
        self._spec = prepared.case.spec
        self._key = _varied(self._spec)
        self._out = out
        self._watch = watch
        self._command = command
        self._records: dict[float, list[Record]] = {}
        self.results: list[Result] = []

    def find(self) -> Search:
        load = self._spec.load
        steps = Steps(
            start=getattr(load, self._key),
            counts=isinstance(load, ClosedLoadSpec),
            precision=load.search_precision,
            least_runs=self._spec.measure.repeats,
        )
        self._take_what_is_there()
        ended = None
        while ended is None and (asked := steps.next_load(self._points())) is not None:
            if asked not in self._records and len(self._records) >= MOST_LOADS:
                ended = f"{MOST_LOADS} loads were tried"
            else:
                ended = _too_short(self._prepared, asked) or self._run(asked)
        return self._search(ended)

    def _run(self, load: float) -> str | None:
        """Run `load` once, and say why the search cannot go on after it, if so."""
        case = self._case_at(load)
        self._watch.case(case.spec.name, 1, 1)
        try:
            result = run_one(self._prepared_for(case), self._out, watch=self._watch, command=self._command)
        except EngineError as error:
            if not self._records:
                raise
            return f"at {self._key} {load:g}: engine_failed: {error}"
        self.results.append(result)
        if spoilt := _spoilt(result.record):
            return f"at {self._key} {load:g}: {spoilt}"
        self._records.setdefault(load, []).append(result.record)
        return None

    def _prepared_for(self, case: Case) -> Prepared:
        share = whole_load(case.spec, self._prepared.workload.sessions)
        return replace(self._prepared, case=case, share=share)

    def _take_what_is_there(self) -> None:
        """Count earlier results as probes: of this case but for the load, on this hardware, and not spoilt."""
        here = None
        for record in _finished_below(self._out):
            load = getattr(record.case.spec.load, self._key, None)
            if load is None or record.case.id != self._case_at(load).id or _spoilt(record):
                continue
            here = here or hardware_key(fingerprint(), name_patterns()).key
            if hardware_of(record)["key"] == here:
                self._records.setdefault(load, []).append(record)

    def _case_at(self, load: float) -> Case:
        asked = {self._key: load, "search": None}
        values = self._spec.model_dump() | {
            "name": f"{self._spec.name}.{label(self._key, int(load) if load == int(load) else load)}",
            "load": self._spec.load.model_dump(exclude={"search_precision"}) | asked,
        }
        case = self._prepared.case
        return Case.of(
            Spec.model_validate(values),
            model_digest=case.model_digest,
            workload_digest=case.workload_digest,
            draft_model_digest=case.draft_model_digest,
        )

    def _points(self) -> list[Point]:
        return [self._point(load) for load in sorted(self._records)]

    def _point(self, load: float) -> Point:
        records = self._records[load]
        runs = [_good_and_all(record) for record in records]
        point = Point.of(load, runs, self._spec.slo.share, self._spec.measure.level)
        return replace(point, failed=any(record.verdict.status == "invalid" for record in records))

    def _search(self, ended: str | None) -> Search:
        points = self._points()
        bracket = Bracket.of(points)
        ends = [end for end in (bracket.meets, bracket.misses) if end is not None]
        if ended is None and bracket.meets is None:
            ended = "the lowest load there is misses the SLO"
        return Search(
            name=self._spec.name,
            axis=f"load.{self._key}",
            slo=self._spec.slo.model_dump(),
            meets=None if bracket.meets is None else bracket.meets.load,
            misses=None if bracket.misses is None else bracket.misses.load,
            decided=len(ends) == 2 and all(end.decided for end in ends),
            probes=tuple(self._probe(point) for point in points),
            out_of_order=tuple(out_of_order(points)),
            ended=ended,
        )

    def _probe(self, point: Point) -> Probe:
        records = self._records[point.load]
        ran = {result.record.id for result in self.results}
        return Probe(
            load=point.load,
            outcome="meets" if point.meets else "misses",
            decided=point.decided,
            good_share=point.good_share,
            records=tuple(record.id for record in records),
            reused=sum(record.id not in ran for record in records),
        )


def _refuse_vain(spec: Spec) -> None:
    """Raise InputError for a search that could find nothing."""
    if not spec.slo.binds:
        raise InputError("load.search: slo without a bound", where=spec.name, allowed="an `slo` with one")
    if not hasattr(spec.load, _varied(spec)):
        kinds = "closed, constant, poisson, gamma"
        raise InputError(f"load.search with kind {spec.load.kind!r}", where=spec.name, allowed=f"kinds {kinds}")


def _too_short(prepared: Prepared, load: float) -> str | None:
    """Why the workload is too short to ask for `load`; None where it is not.

    The queue of a service that is asked for `search_precision` more than it can serve grows by that share of the time:
    before it has outgrown the tightest bound on a wait, no rate misses the SLO.
    """
    spec, sessions = prepared.case.spec, len(prepared.workload.sessions)
    if isinstance(spec.load, ClosedLoadSpec) and not spec.load.recycle and load > sessions:
        return f"there are only {sessions} sessions for {load:g} at once"
    bounds = [bound for bound in (spec.slo.ttft_ms, spec.slo.ttfa_ms, spec.slo.e2e_ms) if bound is not None]
    if isinstance(spec.load, ClosedLoadSpec) or not bounds:
        return None
    seconds = min(sessions / load, spec.measure.max_seconds or inf)
    needed = min(bounds) / 1000 / spec.load.search_precision
    if seconds >= needed:
        return None
    return f"at {load:g} a second sessions arrive for {seconds:.3g} s, too short for a bound that takes {needed:.3g} s"


def _varied(spec: Spec) -> str:
    """The setting of the load that is searched."""
    return "concurrency" if isinstance(spec.load, ClosedLoadSpec) else "sessions_per_s"


def _finished_below(out: Path) -> list[Record]:
    """Records of the finished results below `out`; what cannot be read is no earlier probe."""
    found = []
    for file in sorted(out.rglob(RECORD_FILE)):
        with contextlib.suppress(InputError):
            result = Result.open(file)
            found += [result.record] * result.finished
    return found


def _spoilt(record: Record) -> str | None:
    """Why a record says nothing about its load; None where it does."""
    for reason in record.verdict.reasons:
        if reason["code"] not in MISSED:
            return f"{reason['code']}: {reason['message']}"
    return None if sum(_good_and_all(record)) else "no request was sent in the steady window"


def _good_and_all(record: Record) -> tuple[int, int]:
    """Good requests and all that were judged; none where a record of an earlier schema does not say."""
    share = (record.goodput or {}).get("good_share") or {}
    return round((share.get("value") or 0.0) * share.get("n", 0)), share.get("n", 0)
