"""What each strategy bought: records of one workload on one node class that differ in engine or load axes alone.

The first valid one is the baseline. The others are held against it by the ratio of their numbers, and a ratio says
whether the two intervals leave one another out: where they do not, no difference was shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.core.digest import digest_of
from bench.core.records import Headline
from bench.groups import combined, groups_of, hardware_of, valid_repeats
from bench.results.record import Record


@dataclass(frozen=True)
class Ratio:
    value: float
    """Of a strategy's number to the baseline's."""
    distinct: bool
    """Whether both have an interval and the two do not overlap."""


@dataclass(frozen=True)
class Measured:
    headline: Headline
    to_baseline: Ratio | None
    """None of the baseline itself, of an invalid record, and where one of the two has no number."""


@dataclass(frozen=True)
class GraphUse:
    """What CUDA graphs did, or would have done on a device that has them."""

    ran: bool
    """False where the device has no graphs: the shares are then what the dispatcher decided."""
    share_of_steps: float
    padding_share: float | None
    """Of the computed tokens."""


@dataclass(frozen=True)
class Strategy:
    """A case with its valid runs on one node class: the headlines are of all of them, what was done is of the first."""

    case: str
    records: tuple[str, ...]
    axes: Mapping[str, Any]
    """What was asked for, by the names of the table's axes."""
    downgrades: Mapping[str, str]
    """Axes the engine could not follow, and why."""
    ttft_ms_p50: Measured
    tpot_ms_p50: Measured
    tpot_ms_p90: Measured
    output_tokens_per_s: Measured
    cached_share: float | None
    """Of the prompt tokens: served from the prefix cache."""
    prefill_tokens_per_request: float | None
    """Prompt tokens that were computed, a turn."""
    preemptions: int | None
    graphs: GraphUse | None
    acceptance_rate: float | None
    """Of the drafted tokens."""
    acceptance_length: float | None
    """Tokens a request got from a step that verified drafts of it."""
    accuracy: str
    verdict: str


@dataclass(frozen=True)
class StrategyTable:
    hardware: str
    axes: tuple[str, ...]
    """Dotted names of the settings that differ between the strategies, as `--set` takes them."""
    baseline: str | None
    """Its case; None where no strategy is valid."""
    strategies: tuple[Strategy, ...]


def compare_strategies(records: Iterable[Record]) -> list[StrategyTable]:
    """A table for each set of cases that differ in nothing but engine and load axes; none for a case that stands alone.

    Raises InputError for a record that does not say what it ran on.
    """
    sets: dict[str, list[list[Record]]] = {}
    for group in groups_of(records):
        sets.setdefault(_held_fixed(group[0]), []).append(valid_repeats(group))
    return [_table(groups) for groups in sets.values() if len(groups) > 1]


def _held_fixed(record: Record) -> str:
    """Names everything about a record's case that is neither engine nor load."""
    spec = record.case.spec
    measure = spec.measure.model_dump(mode="json", exclude={"repeats", "seed"})
    case = [record.case.model_digest, record.case.workload_digest, measure, spec.slo.model_dump(mode="json")]
    return digest_of([*case, hardware_of(record)["key"]])


def _table(groups: Sequence[list[Record]]) -> StrategyTable:
    settings = [_settings(group[0]) for group in groups]
    shared = [axis for axis in settings[0] if all(axis in one for one in settings)]
    axes = tuple(axis for axis in shared if any(one[axis] != settings[0][axis] for one in settings))
    baseline = next((group for group in groups if group[0].verdict.status == "valid"), None)
    return StrategyTable(
        hardware=hardware_of(groups[0][0])["key"],
        axes=axes,
        baseline=baseline[0].case.spec.name if baseline else None,
        strategies=tuple(_strategy(group, axes, baseline) for group in groups),
    )


def _settings(record: Record) -> dict[str, Any]:
    """Every engine and load setting by its dotted name."""
    spec = record.case.spec
    sections = {"engine": spec.engine.model_dump(mode="json"), "load": spec.load.model_dump(mode="json")}
    return {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}


def _strategy(group: list[Record], axes: Sequence[str], baseline: list[Record] | None) -> Strategy:
    first = group[0]
    against = None if group is baseline or first.verdict.status != "valid" else baseline
    settings = _settings(first)
    speculation = _at(first.engine, "did", "speculation") or {}
    sent, prompt, cached = (
        _at(first.requests, *path) for path in (("sent",), ("tokens", "prompt"), ("tokens", "cached"))
    )

    def measured(section: str, *path: str, rate: bool = False) -> Measured:
        headline = _headline(group, section, path, rate=rate)
        if against is None:
            return Measured(headline, None)
        return Measured(headline, _ratio(headline, _headline(against, section, path, rate=rate)))

    return Strategy(
        case=first.case.spec.name,
        records=tuple(record.id for record in group),
        axes={axis: settings[axis] for axis in axes},
        downgrades=_downgrades(first),
        ttft_ms_p50=measured("latency", "ttft_ms", "p50"),
        tpot_ms_p50=measured("latency", "tpot_ms", "p50"),
        tpot_ms_p90=measured("latency", "tpot_ms", "p90"),
        output_tokens_per_s=measured("throughput", "output_tokens_per_s", rate=True),
        cached_share=None if cached is None or not prompt else cached / prompt,
        prefill_tokens_per_request=None if cached is None or not sent else (prompt - cached) / sent,
        preemptions=_at(first.engine, "did", "scheduler", "preemptions"),
        graphs=_graph_use(_at(first.engine, "did", "graphs")),
        acceptance_rate=speculation.get("acceptance_rate"),
        acceptance_length=speculation.get("acceptance_length"),
        accuracy=(first.accuracy or {}).get("status", "not_applicable"),
        verdict=first.verdict.status,
    )


def _headline(group: list[Record], section: str, path: Sequence[str], *, rate: bool) -> Headline:
    return combined([_at(getattr(record, section), *path) for record in group], rate=rate)


def _ratio(headline: Headline, baseline: Headline) -> Ratio | None:
    if headline.value is None or not baseline.value:
        return None
    return Ratio(headline.value / baseline.value, _below(headline, baseline) or _below(baseline, headline))


def _below(lower: Headline, upper: Headline) -> bool:
    return lower.high is not None and upper.low is not None and lower.high < upper.low


def _graph_use(graphs: Mapping[str, Any] | None) -> GraphUse | None:
    if not graphs or not graphs["steps"]:
        return None
    decided = graphs.get("would_have_run", graphs)
    return GraphUse(
        ran="would_have_run" not in graphs,
        share_of_steps=1 - decided["share_of_steps"].get("eager", 0.0),
        padding_share=decided["padding_share"],
    )


def _downgrades(record: Record) -> dict[str, str]:
    told = [text.partition(": ") for text in _at(record.engine, "downgrades") or ()]
    downgrades = {f"engine.{setting}": reason for setting, _, reason in told}
    graphs = _at(record.engine, "did", "graphs", "downgrades") or ()
    if graphs:
        downgrades["engine.graph_mode"] = "; ".join(
            f"{one['wanted']} -> {one['got']}: {one['reason']}" for one in graphs
        )
    return downgrades


def _at(section: Mapping[str, Any] | None, *path: str) -> Any:
    """What stands at `path`, or None where any part of the way is missing."""
    for key in path:
        section = section.get(key) if section else None
    return section
