"""Which results are held against which: one case, its engines in process, and what runs behind each server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bench.cli.output import plain
from bench.core.records import TurnRow
from bench.core.spec import Case, Spec
from bench.core.units import NS_PER_MS
from bench.decomposition import EngineGap, decompose_results
from bench.metrics.context import RunContext
from bench.report.decomposition import print_decomposition
from bench.results.record import Verdict
from bench.results.result import Result
from bench.results.store import ResultWriter

NATIVE = {"kind": "native"}
VLLM = {"kind": "vllm", "arguments": {"max_num_seqs": 4}}
VLLM_SERVER = {"kind": "vllm-server", "arguments": {"max_num_seqs": 4}}
ENDPOINT = {"kind": "endpoint", "base_url": "http://127.0.0.1:9"}
TRIPS = {"round_trip_ms": {"series": [[0.4, 0.5, 0.6], [0.4, 0.5, 0.6]]}}
OURS = {"owned_by": "bench serve", **TRIPS}
VLLMS = {"owned_by": "vllm", **TRIPS}
Measured = Callable[..., Result]


@pytest.fixture
def measured(tmp_path: Path, closed_loop: Callable[..., list[TurnRow]]) -> Measured:
    """The stored result of a run whose first tokens take 20 ms and `later_ms`; 0.25 ms of that after their stamps."""

    def store(
        engine: dict[str, Any],
        *,
        later_ms: float = 0.0,
        stamped: bool = False,
        said: dict[str, Any] | None = None,
        percentile: float = 0.5,
        weights: str = "weights",
        hardware: str = "cpu-x86_64-2c",
        concurrency: int = 4,
    ) -> Result:
        spec = {
            "name": engine["kind"],
            "model": {"path": "tiny"},
            "engine": engine,
            "workload": {"kind": "reasoning", "sessions": 32},
            "load": {"kind": "closed", "concurrency": concurrency},
            "measure": {"percentiles": [percentile]},
        }
        case = Case.of(
            Spec.model_validate(spec),
            model_digest="form" if engine["kind"] == "endpoint" else weights,
            workload_digest="workload",
            model_form_digest="form",
        )
        node = {"hardware": {"key": hardware, "unit": "node", "units": 1}}
        writer = ResultWriter(tmp_path, case=case, node=node, provenance={}, workload={})
        rows = [_later(row, later_ms, stamped) for row in closed_loop()]
        writer.append_turns(rows)
        context = RunContext(start_ns=0, end_ns=max(row.t_done_ns or 0 for row in rows), accelerators=0)
        sections = {"run": asdict(context), "engine": said or {}, "verdict": {"status": "valid"}}
        return writer.finish(writer.record.with_sections(**sections))

    return store


def _later(row: TurnRow, later_ms: float, stamped: bool) -> TurnRow:
    first, *gaps = row.chunk_t_ns
    first += round(later_ms * NS_PER_MS)
    end = first + sum(gaps)
    stamps = [first - NS_PER_MS // 4, *gaps] if stamped else []
    return replace(
        row,
        t_first_ns=first,
        t_last_ns=end,
        t_done_ns=end,
        chunk_t_ns=[first, *gaps],
        chunk_t_engine_ns=stamps,
    )


def kinds(gap: EngineGap) -> tuple[str, str | None, str]:
    return gap.base.engine, None if gap.twin is None else gap.twin.engine, gap.target.engine


def ttft(gap: EngineGap) -> dict[str, float | None]:
    (of,) = gap.latencies["ttft_ms"].values()
    return {"+".join(part.of): part.ms.value for part in of.parts}


def test_a_server_is_held_against_ours_by_way_of_its_engine(measured: Measured) -> None:
    results = [
        measured(VLLM_SERVER, later_ms=9, said=VLLMS),
        measured(VLLM, later_ms=6, stamped=True),
        measured(NATIVE, stamped=True),
        measured(ENDPOINT, later_ms=2, said=OURS),
    ]
    found = decompose_results(results)
    _, vllms, ours = found.gaps
    assert found.left_out == ()
    assert kinds(vllms) == ("native", "vllm", "vllm-server")
    expected = {"engine": 6, "server": 2.75, "network": 0.5, "harness": -0.25}
    assert ttft(vllms) == {name: pytest.approx(value) for name, value in expected.items()}
    assert kinds(ours) == ("native", "native", "endpoint")
    assert ours.serves == "native"
    expected = {"server": 1.75, "network": 0.5, "harness": -0.25}
    assert ttft(ours) == {name: pytest.approx(value) for name, value in expected.items()}
    assert not ours.remote
    assert not ours.differing
    assert ours.target.round_trip_ms is not None
    assert ours.target.round_trip_ms["p50"].value == 0.5
    assert ours.base.harness_ms is not None
    assert ours.base.harness_ms["p50"].value == pytest.approx(0.25)


def test_engines_in_process_are_held_against_ours(measured: Measured) -> None:
    results = [measured(VLLM, later_ms=6, stamped=True), measured(NATIVE, stamped=True), measured({"kind": "mock"})]
    vllms, mocks = decompose_results(results).gaps
    assert (kinds(vllms), kinds(mocks)) == (("native", None, "vllm"), ("native", None, "mock"))
    assert ttft(vllms) == {"engine": pytest.approx(6), "harness": pytest.approx(0, abs=1e-9)}
    assert ttft(mocks) == {"engine+harness": 0}


def test_without_ours_a_server_is_held_against_its_own_engine(measured: Measured) -> None:
    (gap,) = decompose_results([measured(VLLM), measured(VLLM_SERVER, later_ms=3, said=VLLMS)]).gaps
    assert kinds(gap) == ("vllm", "vllm", "vllm-server")
    assert ttft(gap).keys() == {"server+harness", "network"}


@pytest.mark.parametrize("said", [{}, {"owned_by": None}, {"owned_by": "somebody"}])
def test_a_server_that_does_not_tell_what_it_runs_has_no_engine_of_its_own(
    measured: Measured, said: dict[str, Any]
) -> None:
    (gap,) = decompose_results([measured(NATIVE, stamped=True), measured(ENDPOINT, said=said)]).gaps
    assert (kinds(gap), gap.serves) == (("native", None, "endpoint"), None)
    assert ttft(gap).keys() == {"harness", "engine+server+network"}


def test_of_several_engines_in_process_the_one_with_the_servers_settings_is_its_own(measured: Measured) -> None:
    others = {"kind": "vllm", "arguments": {"max_num_seqs": 8, "block_size": 16}}
    results = [measured(NATIVE), measured(others), measured(VLLM), measured(VLLM_SERVER, said=VLLMS)]
    _, gap = decompose_results(results).gaps
    assert gap.twin is not None
    assert gap.twin.records == (results[2].record.id,)
    assert not gap.differing
    _, gap = decompose_results([results[0], results[1], results[3]]).gaps
    assert gap.differing == {"arguments.max_num_seqs": (8, 4), "arguments.block_size": (16, None)}


def test_only_one_case_is_compared(measured: Measured) -> None:
    server = measured(ENDPOINT, said=OURS)
    for other in ({"concurrency": 2}, {"percentile": 0.6}, {"hardware": "another"}):
        assert decompose_results([server, measured(NATIVE, **other)]).gaps == ()
    assert decompose_results([server, measured(ENDPOINT, said=VLLMS)]).gaps == ()
    strategies = [measured(NATIVE), measured({"kind": "native", "policy": "static"})]
    assert decompose_results(strategies) == decompose_results([])


def test_weights_tell_models_apart_where_they_are_known(measured: Measured) -> None:
    ours, theirs = measured(NATIVE), measured(VLLM, weights="others")
    assert decompose_results([ours, theirs]).gaps == ()
    gaps = decompose_results([ours, theirs, measured(ENDPOINT, said=OURS)]).gaps
    assert [kinds(gap) for gap in gaps] == [("native", "native", "endpoint"), ("vllm", None, "endpoint")]


def test_an_invalid_run_and_one_that_cannot_be_read_are_left_out(measured: Measured) -> None:
    native, server = measured(NATIVE), measured(ENDPOINT, said=OURS)
    verdict = Verdict(status="invalid", reasons=[{"code": "failures", "message": "", "evidence": {}}])
    invalid = Result(server.path, server.record.model_copy(update={"verdict": verdict}))
    found = decompose_results([native, invalid])
    assert (found.gaps, [(one.case, one.why) for one in found.left_out]) == ((), [("endpoint", "invalid: failures")])
    (server.path / "turns.parquet").unlink()
    found = decompose_results([native, server])
    assert found.gaps == ()
    assert "turns.parquet" in found.left_out[0].why


@pytest.mark.parametrize("told", [7, {"series": 7}, {"series": [["x"]]}, {"series": [7]}, {"series": [["nan"]]}])
def test_round_trips_that_no_run_wrote_are_refused(measured: Measured, told: Any) -> None:
    found = decompose_results([measured(NATIVE), measured(ENDPOINT, said={**OURS, "round_trip_ms": told})])
    assert found.gaps == ()
    assert "`engine.round_trip_ms` is not what this version wrote" in found.left_out[0].why


def test_repeats_are_rounds_as_many_as_every_engine_has(measured: Measured) -> None:
    results = [measured(NATIVE) for _ in range(3)] + [measured(ENDPOINT, later_ms=ms, said=OURS) for ms in (2, 4)]
    (gap,) = decompose_results(results).gaps
    assert [len(one.records) for one in (gap.base, gap.target)] == [2, 2]
    of = gap.latencies["ttft_ms"]["p50"].gap_ms
    assert (of.value, of.n) == (pytest.approx(3), 2)
    assert of.method.startswith("t-interval")


def test_the_table_shows_parts_and_what_must_be_known_to_read_them(
    measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    cached = {"dtype": "bfloat16", "weight_format": "dense", "kv_dtype": "auto", "prompt": "text"}
    results = [
        measured(NATIVE, stamped=True, said={"dtype": "float32"}),
        measured({"kind": "vllm", "arguments": {"max_num_seqs": 8}}, later_ms=6, stamped=True, said=cached),
        measured(VLLM_SERVER, later_ms=9, said=cached | VLLMS),
    ]
    found = decompose_results(results)
    assert [kinds(gap) for gap in found.gaps] == [("native", None, "vllm"), ("native", "vllm", "vllm-server")]
    print_decomposition(plain(replace(found, gaps=found.gaps[1:])))
    title, header, first, *rest = capsys.readouterr().out.strip().splitlines()
    assert title == "native (native) to vllm-server (vllm-server, which serves vllm), milliseconds"
    assert header.split() == ["native", "engine", "server", "network", "harness", "gap", "vllm-server"]
    assert first.split()[:2] == ["TTFT", "p50"]
    for part in ("-0.25", "+6.0", "+2.75", "+0.5", "+9.0"):
        assert f" {part} " in f"{first} "
    shown = "\n".join(rest)
    for remark in (
        "precision differs, which is part of the gap: native float32, vllm bfloat16, vllm-server bfloat16",
        "prompts differ in form, which is in the server's part: native tokens, vllm text, vllm-server text",
        "arguments.max_num_seqs differs, which is in the server's part: 8 in process, 4 served",
        "closed loop: ",
        "an interval of one run holds nothing of what differs between runs",
        "harness: our own process, from vllm's stamp of a token to its arrival; ",
        "network: the median round trip of requests that ask for no work; ",
    ):
        assert remark in shown
    print_decomposition(plain(decompose_results([])))
    assert capsys.readouterr().out == ""


def test_the_table_says_why_there_is_nothing_in_it(measured: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    gaps = plain(decompose_results([measured(NATIVE), measured(ENDPOINT, said=OURS)]))
    for ranks in gaps["gaps"][0]["latencies"].values():
        for of in ranks.values():
            of["gap_ms"] |= {"value": None, "method": "p50 needs 5 observations that every run counted, there are 2"}
    gaps["left_out"] = [{"case": "other", "why": "invalid"}]
    print_decomposition(gaps)
    shown = capsys.readouterr().out
    assert "p50 needs 5 observations that every run counted, there are 2" in shown
    assert "other is in no gap: invalid" in shown
