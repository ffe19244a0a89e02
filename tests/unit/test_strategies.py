"""What each strategy bought: which records stand in one table, what they are held against, and when a ratio is none."""

from __future__ import annotations

from typing import Any

import pytest

from bench.cli.output import plain
from bench.core.spec import AgenticSpec, Case, ClosedLoadSpec, ModelSpec, NativeEngineSpec, NgramSpec, Spec
from bench.report.strategies import print_strategies
from bench.results.record import Record
from bench.strategies import compare_strategies


def record(
    name: str,
    *,
    rate: float = 100.0,
    spread: float = 0.1,
    workload: str = "w",
    concurrency: int = 8,
    valid: bool = True,
    run: int = 1,
    accuracy: str = "passed",
    did: dict[str, Any] | None = None,
    **engine: Any,
) -> Record:
    """A record whose rate is `rate` and whose TPOT is its inverse, both within ± `spread`."""
    spec = Spec(
        name=name,
        model=ModelSpec(path="tiny"),
        engine=NativeEngineSpec(**engine),
        workload=AgenticSpec(kind="agentic", sessions=4),
        load=ClosedLoadSpec(kind="closed", concurrency=concurrency),
    )

    def headline(value: float) -> dict[str, Any]:
        interval = {"value": value, "low": value * (1 - spread), "high": value * (1 + spread)}
        return {**interval, "level": 0.95, "method": "m", "n": 9, "basis": "measured"}

    return Record(
        id=f"{name}-{run}",
        case=Case.of(spec, model_digest="m", workload_digest=workload),
        node={"hardware": {"key": "cpu-x86_64-2c", "unit": "node", "units": 1}},
        provenance={},
        workload={},
        requests={
            "sent": 10,
            "tokens": {"prompt": 1000, "output": 100, "cached": 800 if engine.get("prefix_cache") else 0},
        },
        latency={"ttft_ms": {"p50": headline(5.0)}, "tpot_ms": {"p50": headline(1000 / rate)}},
        throughput={"output_tokens_per_s": headline(rate)},
        engine={"downgrades": [], "did": {"scheduler": {"preemptions": 0}, **(did or {})}},
        accuracy={"status": accuracy},
        verdict={"status": "valid" if valid else "invalid", "reasons": []},
    )


def on_a_cpu(wanted: str) -> dict[str, Any]:
    """What an engine says of graphs on a device that has none."""
    return {
        "graphs": {
            "downgrades": [{"wanted": wanted, "got": "none", "reason": "a cpu has no graphs"}],
            "steps": 40,
            "share_of_steps": {"eager": 1.0},
            "padding_share": 0.0,
            "would_have_run": {"share_of_steps": {"eager": 0.25, "full": 0.75}, "padding_share": 0.125},
        }
    }


def test_strategies_are_held_against_the_first_by_ratios_that_say_whether_they_are_distinct() -> None:
    (table,) = compare_strategies(
        [
            record("plain", policy="static", prefix_cache=False),
            record("alike", policy="decode_first", prefix_cache=False, rate=110),
            record("better", policy="decode_first", prefix_cache=True, rate=300),
        ]
    )
    assert table.baseline == "plain"
    assert table.axes == ("engine.policy", "engine.prefix_cache")
    plain_one, alike, better = table.strategies
    assert plain_one.output_tokens_per_s.to_baseline is None
    assert alike.output_tokens_per_s.to_baseline is not None
    assert alike.output_tokens_per_s.to_baseline.value == pytest.approx(1.1)
    assert not alike.output_tokens_per_s.to_baseline.distinct
    assert better.output_tokens_per_s.to_baseline is not None
    assert better.output_tokens_per_s.to_baseline.value == pytest.approx(3)
    assert better.output_tokens_per_s.to_baseline.distinct
    assert better.tpot_ms_p50.to_baseline is not None
    assert better.tpot_ms_p50.to_baseline.value == pytest.approx(1 / 3)
    assert better.tpot_ms_p50.to_baseline.distinct
    assert better.tpot_ms_p90.headline.value is None
    assert better.tpot_ms_p90.to_baseline is None
    assert (better.cached_share, better.prefill_tokens_per_request) == (0.8, 20)
    assert dict(better.axes) == {"engine.policy": "decode_first", "engine.prefix_cache": True}


def test_only_engine_and_load_may_differ_within_a_table() -> None:
    tables = compare_strategies(
        [
            record("a.1", concurrency=1),
            record("b.1", concurrency=1, workload="other"),
            record("a.8", concurrency=8),
            record("b.8", concurrency=8, workload="other"),
            record("alone", workload="third"),
        ]
    )
    assert [[one.case for one in table.strategies] for table in tables] == [["a.1", "a.8"], ["b.1", "b.8"]]
    assert {table.axes for table in tables} == {("load.concurrency",)}


def test_repeats_are_one_line_with_an_interval_between_runs() -> None:
    repeats = [record("more", overlap=True, rate=rate, run=rate) for rate in (190, 200, 210)]
    (table,) = compare_strategies([record("plain"), *repeats])
    _, more = table.strategies
    assert more.records == ("more-190", "more-200", "more-210")
    assert more.output_tokens_per_s.headline.n == 3
    assert more.output_tokens_per_s.headline.method.startswith("t-interval")


def test_an_invalid_record_is_shown_and_neither_ranked_nor_the_baseline() -> None:
    (table,) = compare_strategies(
        [
            record("broken", policy="static", valid=False),
            record("plain", policy="prefill_first"),
            record("better", policy="decode_first", rate=300),
        ]
    )
    assert table.baseline == "plain"
    broken, _, better = table.strategies
    assert broken.verdict == "invalid"
    assert broken.output_tokens_per_s.to_baseline is None
    assert better.output_tokens_per_s.to_baseline is not None


def test_without_a_valid_record_there_are_no_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    tables = compare_strategies([record("a", valid=False), record("b", valid=False, overlap=True)])
    assert tables[0].baseline is None
    print_strategies(plain(tables))
    assert "no ratio: no strategy is valid" in capsys.readouterr().out


def test_the_table_names_what_was_not_checked(capsys: pytest.CaptureFixture[str]) -> None:
    unchecked = record("unchecked", check_accuracy=False, accuracy="not_applicable")
    print_strategies(plain(compare_strategies([record("plain"), unchecked])))
    assert "speed only: the answers of unchecked were not checked" in capsys.readouterr().out


def test_the_table_says_that_a_cpu_ran_no_graph_and_what_would_have(capsys: pytest.CaptureFixture[str]) -> None:
    none = {"graphs": {"downgrades": [], "steps": 40, "share_of_steps": {"eager": 1.0}, "padding_share": 0.0}}
    print_strategies(
        plain(
            compare_strategies(
                [
                    record("plain", graph_mode="none", did=none),
                    record("graphs", graph_mode="full_and_piecewise", did=on_a_cpu("full_and_piecewise"), rate=105),
                ]
            )
        )
    )
    shown = capsys.readouterr().out
    header, first, second, *remarks = shown.strip().splitlines()
    assert header.split()[0] == "graph_mode"
    assert "prefix_cache" not in header  # the same for both
    assert "preempted" not in header  # nothing to tell
    assert first.split()[0] == "none"
    assert second.split()[0] == "full_and_piecewise*"
    assert "x1.05~" in second
    assert "(75%)" in second
    assert "(12%)" in second
    assert "* engine.graph_mode: full_and_piecewise -> none: a cpu has no graphs" in remarks
    assert any(line.startswith("(graphs), (padding): ") for line in remarks)


def test_the_table_shows_graphs_that_ran_and_drafts_that_were_kept(capsys: pytest.CaptureFixture[str]) -> None:
    ran = {"graphs": {"downgrades": [], "steps": 40, "share_of_steps": {"full": 1.0}, "padding_share": 0.1}}
    drafted = {**ran, "speculation": {"acceptance_rate": 0.5, "acceptance_length": 3.0}}
    ngram = NgramSpec(kind="ngram")
    records = [record("plain", did=ran), record("drafting", did=drafted, speculation=ngram, rate=200)]
    print_strategies(plain(compare_strategies(records)))
    shown = capsys.readouterr().out
    header, first, second, *_ = shown.strip().splitlines()
    assert header.split()[0] == "speculation"
    assert first.split()[0] == "off"
    assert second.startswith("ngram, tokens 4, match_tokens 3 ")
    assert "100%" in first
    assert "50%" in second
    assert "x2.0 " in second
    assert "device" not in shown
