"""Which results of one case are held against which to tell where a latency gap comes from.

A case is one where nothing but the engine differs. Every other engine is held against one in process, ours where that
was run: a server by way of its own engine in process, where that was run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.core.digest import digest_of
from bench.core.endpoint_spec import HttpClientSpec
from bench.core.errors import InputError
from bench.core.records import Headline
from bench.core.spec import PLACES, EndpointEngineSpec, VllmServerEngineSpec
from bench.engine.http.address import Address
from bench.groups import group_of, hardware_of
from bench.metrics.context import RunContext
from bench.metrics.decomposition import Gap, Round, decompose, harness_ms
from bench.metrics.paired import CountedTurns, LatencyName
from bench.metrics.percentiles import Sample, distribution
from bench.metrics.statistics import Confidence
from bench.metrics.summary import counted_turns
from bench.results.comparability import comparability_key
from bench.results.record import Record
from bench.results.result import Result

_ENGINE_OF = {"vllm": "vllm", "bench serve": "native", "bench mock": "mock"}
"""The engine in process that a server runs, by whom it says its model is owned by."""
_NOT_OF_THE_ENGINE = {*PLACES, *HttpClientSpec.model_fields, "kind", "start_timeout_s", "check_accuracy"}
"""Settings that a server and its engine in process need not share."""


@dataclass(frozen=True)
class Asked:
    """An engine with the runs that a gap is of."""

    case: str
    engine: str
    """Its kind."""
    records: tuple[str, ...]
    """By round."""
    precision: str
    prompt: str
    """In which form it was asked: tokens, text or chat."""
    cached_share: float | None
    """Of the prompt tokens of its first run: served from the prefix cache."""
    harness_ms: Mapping[str, Headline] | None
    """What passed in its first run between the engine's stamp of a chunk and its arrival; None without stamps."""
    round_trip_ms: Mapping[str, Headline] | None
    """Of requests that ask for no work, before and after its first run; None where none were taken."""


@dataclass(frozen=True)
class EngineGap:
    """The gap between two engines of one case on one node class, split."""

    hardware: str
    base: Asked
    """In process."""
    twin: Asked | None
    """In process, the engine that `target` serves; None where it was not run, or `target` is in process too."""
    target: Asked
    serves: str | None
    """The kind of engine behind the server; None of one in process, and of a server that does not tell."""
    differing: Mapping[str, tuple[Any, Any]]
    """Settings that are others for `twin` than for `target`: what that makes is in the server's part."""
    remote: bool
    """Whether the server may run on another machine."""
    closed_loop: bool
    length_mode: str
    latencies: Mapping[LatencyName, Mapping[str, Gap]]


@dataclass(frozen=True)
class LeftOut:
    case: str
    why: str


@dataclass(frozen=True)
class Decompositions:
    gaps: tuple[EngineGap, ...]
    left_out: tuple[LeftOut, ...]
    """What is of a case with several engines, and in none of the gaps."""


def decompose_results(results: Iterable[Result]) -> Decompositions:
    """The gaps among `results`; none where no two engines were asked the same.

    Raises InputError for a record that does not say what it ran on.
    """
    gaps: list[EngineGap] = []
    left_out: list[LeftOut] = []
    for groups in _cases(results):
        if len({group.engine.kind for group in groups}) == 1:
            continue
        left_out += [LeftOut(group.name, group.invalid) for group in groups if not group.valid]
        for way in _ways([group for group in groups if group.valid]):
            try:
                gaps.append(_gap(way))
            except InputError as error:
                left_out.append(LeftOut(way.target.name, str(error)))
    return Decompositions(tuple(gaps), tuple(dict.fromkeys(left_out)))


class _Group:
    """The results of one engine, asked one case on one node class."""

    def __init__(self, results: Sequence[Result]) -> None:
        self.valid = [result for result in results if result.record.verdict.status == "valid"]
        self.record = (self.valid or results)[0].record
        self.name = self.record.case.spec.name
        self.engine = self.record.case.spec.engine
        self._turns: dict[int, CountedTurns] = {}

    @property
    def weights(self) -> str | None:
        """Digest of the model, weights and all; None where those are a server's that was there already."""
        return None if isinstance(self.engine, EndpointEngineSpec) else self.record.case.model_digest

    @property
    def invalid(self) -> str:
        """Why it is not compared, where no run is valid."""
        return f"invalid: {', '.join(reason['code'] for reason in self.record.verdict.reasons)}"

    @property
    def served(self) -> bool:
        return isinstance(self.engine, HttpClientSpec)

    @property
    def serves(self) -> str | None:
        """The kind of engine behind a server that tells, or that was started for the run."""
        if isinstance(self.engine, VllmServerEngineSpec):
            return "vllm"
        return _ENGINE_OF.get(str((self.record.engine or {}).get("owned_by"))) if self.served else None

    def turns(self, run: int) -> CountedTurns:
        """Of the valid run of that number, the same object each time. Raises InputError where they cannot be read."""
        if run not in self._turns:
            result = self.valid[run]
            spec = result.record.case.spec
            context = RunContext.read(result.record.run or {})
            turns, counted, _ = counted_turns(spec, context, result.table("turns"))
            self._turns[run] = CountedTurns(turns, counted, spec.load.open_loop)
        return self._turns[run]


@dataclass(frozen=True)
class _Way:
    base: _Group
    twin: _Group | None
    target: _Group


def _cases(results: Iterable[Result]) -> Iterator[list[_Group]]:
    """Groups that were asked the same of the same model. A server of unknown weights may have those of any."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault(group_of(result.record), []).append(result)
    alike: dict[str, list[_Group]] = {}
    for runs in groups.values():
        alike.setdefault(_held_fixed(runs[0].record), []).append(_Group(runs))
    for of_model in alike.values():
        for weights in dict.fromkeys(group.weights for group in of_model if group.weights is not None):
            yield [group for group in of_model if group.weights in (weights, None)]


def _held_fixed(record: Record) -> str:
    """Names everything about a record's case but its engine and its model's weights."""
    case, spec = record.case, record.case.spec
    return digest_of(
        [
            case.model_form_digest or case.model_digest,
            case.workload_digest,
            spec.load.model_dump(mode="json", exclude={"search", "search_precision"}),
            spec.measure.model_dump(mode="json", exclude={"repeats", "seed"}),
            spec.slo.model_dump(mode="json"),
            hardware_of(record)["key"],
        ]
    )


def _ways(groups: Sequence[_Group]) -> Iterator[_Way]:
    in_process = sorted(
        (group for group in groups if not group.served), key=lambda group: group.engine.kind != "native"
    )
    if not in_process:
        return
    base = in_process[0]
    # Engines of one kind that differ in settings are what strategies are: the first stands for them.
    others = {group.engine.kind: group for group in reversed(in_process) if group.engine.kind != base.engine.kind}
    for target in reversed(others.values()):
        yield _Way(base, None, target)
    for target in groups:
        if target.served:
            twins = [group for group in in_process if group.engine.kind == target.serves]
            twin = min(twins, key=lambda group: len(_differing(group, target)), default=None)
            yield _Way(twin if twin is not None and twin.engine.kind == base.engine.kind else base, twin, target)


def _gap(way: _Way) -> EngineGap:
    """Raises InputError where a table cannot be read."""
    base, twin, target = way.base, way.twin, way.target
    spec = base.record.case.spec
    confidence = Confidence(spec.measure.level, spec.measure.seed)
    rounds = min(len(group.valid) for group in (base, twin, target) if group is not None)
    runs = [
        Round(
            base=base.turns(run),
            target=target.turns(run),
            served=target.served,
            twin=None if twin is None else twin.turns(run),
            round_trips_ms=_round_trips(target.valid[run].record),
        )
        for run in range(rounds)
    ]

    def asked(group: _Group) -> Asked:
        return _asked(group, rounds, spec.measure.percentiles, confidence)

    return EngineGap(
        hardware=hardware_of(base.record)["key"],
        base=asked(base),
        twin=None if twin is None else asked(twin),
        target=asked(target),
        serves=target.serves,
        differing={} if twin is None else _differing(twin, target),
        remote=isinstance(target.engine, EndpointEngineSpec) and not Address.parse(target.engine.base_url).loopback,
        closed_loop=not spec.load.open_loop,
        length_mode=spec.workload.length_mode,
        latencies=decompose(runs, spec.measure.percentiles, confidence),
    )


def _asked(group: _Group, rounds: int, ranks: Sequence[float], confidence: Confidence) -> Asked:
    record, turns = group.record, group.turns(0)
    tokens = (record.requests or {}).get("tokens", {})
    cached, prompt = tokens.get("cached"), tokens.get("prompt")
    trips = Sample.of(np.array(_round_trips(record), dtype=np.float64))
    return Asked(
        case=group.name,
        engine=group.engine.kind,
        records=tuple(result.record.id for result in group.valid[:rounds]),
        precision=comparability_key(record)["precision"],
        prompt=(record.engine or {}).get("prompt", "tokens"),
        cached_share=cached / prompt if cached is not None and prompt else None,
        harness_ms=None if group.served else harness_ms(turns, ranks, confidence),
        round_trip_ms=distribution(trips, ranks, confidence).headlines if len(trips.values) else None,
    )


def _round_trips(record: Record) -> list[float]:
    """Milliseconds of each; empty where none were taken. Raises InputError for what no run has written."""
    told = (record.engine or {}).get("round_trip_ms") or {}
    try:
        trips_ms = [float(trip_ms) for series in told.get("series", ()) for trip_ms in series]
        if not all(map(math.isfinite, trips_ms)):
            raise ValueError("no time")
        return trips_ms
    except (AttributeError, TypeError, ValueError):
        raise InputError("`engine.round_trip_ms` is not what this version wrote", where=record.id) from None


def _differing(twin: _Group, target: _Group) -> dict[str, tuple[Any, Any]]:
    """What the two engines were asked to do differently, by name."""
    fields = type(twin.engine).model_fields.keys() & type(target.engine).model_fields.keys() - _NOT_OF_THE_ENGINE
    ours, theirs = (_settings(group, fields) for group in (twin, target))
    names = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
    return {name: (ours.get(name), theirs.get(name)) for name in names}


def _settings(group: _Group, fields: Set[str]) -> dict[str, Any]:
    """By name; what stands in a mapping by both names."""
    flat: dict[str, Any] = {}
    for name, value in group.engine.model_dump(mode="json", include=set(fields)).items():
        flat |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return flat
