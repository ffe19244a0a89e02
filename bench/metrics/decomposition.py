"""Where the latency gap between two runs of one case comes from: engine, server, network and our own harness.

Percentiles of one rank are subtracted along a way from an engine in process to the same or another engine behind its
server. Each step of the way changes one thing, so that the parts add up to the gap:

    harness   from the first engine as the client saw it, to how it stamped its tokens itself
    engine    to the engine that the server runs, in process, as that stamped them
    server    to the server as the client saw it, less the network
    network   to the server as the client saw it

The harness is what our own process adds on a token's way to the client; a server is asked without that, so the part is
below 0. Between two engines in process, the engine is what differs by their stamps and the harness is the rest. A step
that ends where nothing was measured is told together with the next.

What the parts are not:

* A difference of percentiles is not a percentile of differences: they tell how two distributions differ at a rank, not
  what one request went through.
* Of the network a TTFT, and with it a whole request, holds one round trip: there with the prompt, back with the first
  token. From then on tokens stream one way, so TPOT and ITL hold none. The trip is that of a request that asks for no
  work, by its median at every rank: what does not depend on how long a request takes moves its percentiles alike, to
  first order. The handling of that request is in the network's part; how the trips spread, and what a long prompt or a
  busy line takes longer, is in the server's.
* Engines stamp what leaves them: what it takes to hand a request in is in the engine's part.
* Latencies are those under the case's load, queues included; in a closed loop a slower engine is also asked later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias, get_args

import numpy as np

from bench.core.records import Headline
from bench.core.units import NS_PER_MS
from bench.metrics.paired import CountedTurns, LatencyName, PairedTurns, Percentiles
from bench.metrics.percentiles import Sample, distribution, rank_name, resampled_percentiles
from bench.metrics.statistics import Confidence, between_runs, block_weights

Source = Literal["engine", "server", "network", "harness"]
SOURCES: tuple[Source, ...] = get_args(Source)
LATENCIES: tuple[LatencyName, ...] = get_args(LatencyName)
_MEDIAN_TRIP = "median round trip, trips resampled"
ONE_ROUND_TRIP: tuple[LatencyName, ...] = ("ttft_ms", "e2e_ms")
"""Latencies that hold one; the others hold none."""


@dataclass(frozen=True)
class Round:
    """One run of each engine."""

    base: CountedTurns
    """An engine in process."""
    target: CountedTurns
    """What it is compared with: another engine in process, or a server."""
    served: bool
    """Whether `target` is a server."""
    twin: CountedTurns | None = None
    """The engine of that server in process: `base` itself where it is that one; None where it was not run."""
    round_trips_ms: Sequence[float] = ()
    """To that server; empty where they were not measured."""


@dataclass(frozen=True)
class Part:
    of: tuple[Source, ...]
    """Where it comes from; several where they cannot be told apart."""
    ms: Headline
    distinct: bool
    """Whether it has an interval that leaves 0 out."""


@dataclass(frozen=True)
class Gap:
    """Of one latency at one rank."""

    base_ms: Headline
    target_ms: Headline
    gap_ms: Headline
    """`target_ms` less `base_ms`."""
    parts: tuple[Part, ...]
    """They add up to `gap_ms`; null together with it."""


def decompose(
    rounds: Sequence[Round], ranks: Sequence[float], confidence: Confidence
) -> dict[LatencyName, dict[str, Gap]]:
    """The gaps between `base` and `target`, by latency and rank, over the turns that all runs of a round counted.

    A single round has intervals within its runs. Of several, which must be of the same engines, everything is a mean
    with an interval between the rounds: runs are then taken as independent, and those of one round as a pair.
    """
    stamped = all(run.stamped for one in rounds for run in _in_process(one))
    trips = all(one.round_trips_ms for one in rounds)
    ways = [_Way(one, ranks, confidence, stamped=stamped, trips=trips) for one in rounds]
    return {
        name: {rank_name(p): _mean(gaps) for p, *gaps in zip(ranks, *(way.gaps(name) for way in ways), strict=True)}
        for name in LATENCIES
    }


def harness_ms(run: CountedTurns, ranks: Sequence[float], confidence: Confidence) -> dict[str, Headline] | None:
    """Mean and percentiles of what passed from the engine's stamp of a chunk to its arrival; None without stamps."""
    if not run.stamped:
        return None
    turns = run.turns
    among = run.counted[turns.chunk_turn]
    way_ms = (turns.chunk_t - turns.chunk_engine_t)[among] / NS_PER_MS
    sample = Sample.pooled(way_ms, turns.chunk_turn[among], requests=int(run.counted.sum()))
    return distribution(sample, ranks, confidence).headlines


_Point: TypeAlias = tuple[tuple[Source, ...], Percentiles | None]
_BASE, _TARGET, _TWIN = range(3)


class _Way:
    """From the base of one round to its target."""

    def __init__(
        self, of: Round, ranks: Sequence[float], confidence: Confidence, *, stamped: bool, trips: bool
    ) -> None:
        self._of = of
        self._stamped = stamped
        self._trips = len(of.round_trips_ms)
        self._network = _network(of.round_trips_ms, len(ranks), confidence) if trips else None
        runs = [of.base, of.target] if of.twin is None else [of.base, of.target, of.twin]
        self._paired = PairedTurns(runs, ranks, confidence)
        self._ranks = range(len(ranks))

    def gaps(self, name: LatencyName) -> Iterator[Gap]:
        """At each rank."""
        base, target = (self._paired.percentiles(name, run) for run in (_BASE, _TARGET))
        steps = list(_steps(base, self._points(name, base, target)))
        n = min(base.n, target.n, *(step.n for _, step in steps))
        told = partial(self._paired.headline, n=n)
        for at in self._ranks:
            parts = tuple(self._part(changed, told(step, at)) for changed, step in steps)
            yield Gap(told(base, at), told(target, at), told(target - base, at), parts)

    def _points(self, name: LatencyName, base: Percentiles, target: Percentiles) -> Iterator[_Point]:
        """Where each step ends and what it changes, the last at `target`."""
        at_the_engine = partial(self._paired.percentiles, name, at_the_engine=True)
        with_harness: tuple[Source, ...] = () if self._stamped else ("harness",)
        if not self._of.served:
            if self._stamped:
                yield ("engine",), base + (at_the_engine(_TARGET) - at_the_engine(_BASE))
            yield ("harness",) if self._stamped else ("engine", "harness"), target
            return
        if self._stamped:
            yield ("harness",), at_the_engine(_BASE)
        if self._of.twin is None:
            yield ("engine", *with_harness), None
        elif self._of.twin is not self._of.base:
            twin = self._paired.percentiles(name, _TWIN, at_the_engine=self._stamped)
            yield ("engine", *with_harness), twin
        if name not in ONE_ROUND_TRIP:
            yield ("server", *with_harness), target
            return
        network = self._network
        yield ("server", *with_harness), None if network is None else target - replace(network, n=target.n)
        yield ("network",), target

    def _part(self, of: tuple[Source, ...], ms: Headline) -> Part:
        if of == ("network",) and ms.value is not None:
            ms = replace(ms, n=self._trips, method=_MEDIAN_TRIP if ms.low is not None else ms.method)
        return Part(of, ms, _distinct(ms))


def _steps(start: Percentiles, points: Iterable[_Point]) -> Iterator[tuple[tuple[Source, ...], Percentiles]]:
    """What lies between each point that was measured and the one before, and all that changed there."""
    changed: set[Source] = set()
    for changes, end in points:
        changed.update(changes)
        if end is not None:
            yield tuple(source for source in SOURCES if source in changed), end - start
            changed, start = set(), end


def _network(round_trips_ms: Sequence[float], ranks: int, confidence: Confidence) -> Percentiles:
    """The median round trip, the same at every rank."""
    trips = np.array(round_trips_ms, dtype=np.float64)
    # A seed of its own: were there as many trips as sessions, both would be drawn alike.
    weights = block_weights(len(trips), confidence.seed + 1)
    (medians,) = resampled_percentiles(trips, np.arange(len(trips)), weights, [0.5])
    return Percentiles(np.full(ranks, np.median(trips)), np.tile(medians, (ranks, 1)), len(trips))


def _in_process(one: Round) -> list[CountedTurns]:
    """The runs whose engine was asked without a network in between."""
    if not one.served:
        return [one.base, one.target]
    return [one.base] if one.twin is None else [one.base, one.twin]


def _mean(gaps: Sequence[Gap]) -> Gap:
    """Of the rounds that have a value; the first where none or only one has."""
    told = [gap for gap in gaps if gap.gap_ms.value is not None]
    if len(told) < 2:
        return (told or list(gaps))[0]
    parts = []
    for same in zip(*(gap.parts for gap in told), strict=True):
        ms = _between([part.ms for part in same])
        parts.append(Part(same[0].of, ms, _distinct(ms)))
    base, target, whole = (
        _between([getattr(gap, name) for gap in told]) for name in ("base_ms", "target_ms", "gap_ms")
    )
    return Gap(base, target, whole, tuple(parts))


def _between(headlines: Sequence[Headline]) -> Headline:
    values = [one.value for one in headlines if one.value is not None]
    return between_runs(values, level=headlines[0].level, rate=False)


def _distinct(ms: Headline) -> bool:
    return ms.low is not None and ms.high is not None and not ms.low <= 0 <= ms.high
