"""A comparison at the median node of a SKU: measured where several nodes ran, projected from figures where one did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fleets import node, six_nodes

from bench.comparison import Known, ResultComparison, compare_results
from bench.core.spec import Case, ClosedLoadSpec, MockEngineSpec, ModelSpec, PoissonLoadSpec, ReasoningSpec, Spec
from bench.economics.compare import Assumptions, MedianCosts
from bench.metrics.binding import Binding, binding
from bench.node.fleet import FleetNode
from bench.normalise import NormalisedGroup
from bench.offers.catalog import load_offers
from bench.results.record import Record
from bench.results.result import Result

OFFER = "nebius-h100"
RATES = ("output_tokens_per_s", "total_tokens_per_s", "uncached_input_tokens_per_s")
CLOSED = ClosedLoadSpec(kind="closed", concurrency=1)


def phase(seconds: float, mbu: float, mfu: float) -> dict[str, Any]:
    return {"seconds": seconds, "mbu_of_measured": {"value": mbu}, "mfu_of_measured": {"value": mfu}}


def result(
    rate: float,
    description: Mapping[str, Any],
    *,
    roofline: Mapping[str, Any] | None = None,
    load: Any = CLOSED,
    dtype: str = "bfloat16",
    gpus: int = 2,
) -> Result:
    """A run of one case on a node, with an interval of a tenth to either side; it watched for ten seconds."""
    spec = Spec(
        name="case",
        model=ModelSpec(path="tiny"),
        engine=MockEngineSpec(kind="mock"),
        workload=ReasoningSpec(kind="reasoning", sessions=1),
        load=load,
    )
    headline = {"value": rate, "low": rate * 0.9, "high": rate * 1.1, "level": 0.95, "method": "m", "n": 9}
    record = Record(
        id=f"run-{rate:g}",
        case=Case.of(spec, model_digest="m", workload_digest="w"),
        node=dict(description),
        provenance={},
        workload={},
        run={"start_ns": 0, "end_ns": 1, "accelerators": gpus},
        throughput={name: headline | {"basis": "measured"} for name in RATES},
        window={"steady": {"seconds": 10.0}},
        roofline=None if roofline is None else dict(roofline),
        engine={"dtype": dtype, "accelerator_ids": [device["id"] for device in description["gpu"]["devices"][:gpus]]},
        accuracy={"status": "not_applicable"},
        verdict={"status": "valid", "reasons": []},
    )
    return Result(path=Path(record.id), record=record)


def compared(*results: Result, fleet: Mapping[str, Any] = {}) -> ResultComparison:
    known = Known(fleet=[FleetNode(name, description) for name, description in fleet.items()])
    return compare_results(results, load_offers([OFFER]), Assumptions(), known, normalise=True)


def only(*results: Result, fleet: Mapping[str, Any] = {}) -> NormalisedGroup:
    (group,) = compared(*results, fleet=fleet).normalised
    return group


def bounds(group: NormalisedGroup) -> tuple[float | None, float | None, float | None]:
    assert group.rates is not None
    rate = group.rates.output_tokens_per_s
    return rate.low, rate.value, rate.high


def test_of_several_nodes_the_median_of_their_means_is_measured() -> None:
    runs = [result(100, node("a")), result(400, node("a")), result(210, node("b")), result(120, node("c"))]
    comparison = compared(*runs)
    (group,) = comparison.normalised
    assert (group.basis, group.why_not) == ("measured", None)
    assert bounds(group) == tuple(pytest.approx(rate) for rate in (120, 200, 210))
    assert [(share.runs, share.to_median) for share in group.nodes] == [
        (2, pytest.approx(1.0)),
        (1, pytest.approx(1.05)),
        (1, pytest.approx(0.6)),
    ]


def test_a_rate_that_one_node_lacks_has_no_median_and_spoils_no_other() -> None:
    runs = [result(100, node("a")), result(200, node("b"))]
    runs[1].record.throughput["uncached_input_tokens_per_s"]["value"] = None
    rates = only(*runs).rates
    assert rates is not None
    assert rates.uncached_input_tokens_per_s.value is None
    assert rates.total_tokens_per_s.value == pytest.approx(150)


def test_the_raw_costs_stay_and_those_of_the_median_stand_beside_them() -> None:
    plain = compare_results([result(100, node("a"))], load_offers([OFFER]), Assumptions())
    runs = [result(100, node("a")), result(110, node("b")), result(400, node("c"))]
    (row,) = compared(*runs).rows
    raw, costs = row.usd_per_million_output_tokens, row.at_median
    assert plain.normalised == ()
    assert plain.rows[0].at_median is None
    assert isinstance(costs, MedianCosts)
    assert raw is not None
    assert raw.value == pytest.approx(2 * 4.50e6 / 3600 / (100 * 110 * 400) ** (1 / 3))
    assert costs.usd_per_million_output_tokens.value == pytest.approx(2 * 4.50e6 / 3600 / 110)
    assert costs.basis == "quoted"


def test_a_slow_node_bound_by_memory_would_gain_what_its_memory_lacks() -> None:
    fleet = six_nodes() | {"x": node("x", measured={"read_bytes_per_s": 2.32e12})}
    bound = {"phases": {"decode": phase(9.0, 0.8, 0.1), "prefill": phase(1.0, 0.1, 0.6)}}
    group = only(result(100, fleet["x"], roofline=bound), fleet=fleet)
    assert (group.basis, group.bound_by) == ("projected", "memory")
    assert group.binding == Binding(memory=pytest.approx(0.73), compute=pytest.approx(0.15))
    (figure,) = group.figures
    assert (figure.figure, figure.to_median, figure.nodes) == ("gpu_read_bytes_per_s", pytest.approx(1.25), 7)
    low, value, high = bounds(group)
    assert low == pytest.approx(90 / (1 - 0.73 + 0.73 / 1.25))
    assert (value, high) == (None, pytest.approx(110 * 1.25))


def test_where_nothing_says_what_binds_everything_between_is_left_open() -> None:
    fleet = six_nodes()
    group = only(result(100, fleet["e"]), fleet=fleet)
    assert (group.bound_by, group.binding) == (None, None)
    ratios = {figure.figure: figure.to_median for figure in group.figures}
    assert ratios == {
        "gpu_read_bytes_per_s": pytest.approx(1.0),
        "gpu_matmul_bfloat16_flops_per_s": pytest.approx(679.5 / 560),
    }
    assert bounds(group) == (pytest.approx(90), None, pytest.approx(110 * 679.5 / 560))


def test_the_median_node_itself_keeps_its_rate_and_its_price() -> None:
    bound = {"phases": {"decode": phase(9.0, 0.8, 0.1)}}
    run = result(100, node("a"), roofline=bound)
    for end in ("low", "high"):
        run.record.throughput["output_tokens_per_s"][end] = None
    comparison = compared(run, fleet={name: node(name) for name in "abc"})
    assert bounds(comparison.normalised[0]) == (100, 100, 100)
    costs = comparison.rows[0].at_median
    assert costs is not None
    assert costs.usd_per_million_output_tokens.value == pytest.approx(2 * 4.50e6 / 3600 / 100)


def test_one_machine_given_three_times_makes_no_median() -> None:
    fleet = {"a": node("a"), "monday": node("b"), "tuesday": node("b"), "again": node("a")}
    told = only(result(100, fleet["a"]), fleet=fleet).why_not
    assert told is not None
    assert told.startswith("2 nodes of this SKU have")


def test_runs_on_different_gpus_have_no_figures_in_common() -> None:
    runs = [result(100, node("a"), gpus=1), result(110, node("a"), gpus=1)]
    runs[1].record.engine["accelerator_ids"] = [node("a")["gpu"]["devices"][1]["id"]]
    assert only(*runs, fleet=six_nodes()).why_not == "its runs used different GPUs of the node"


def test_of_all_gpus_the_slowest_counts_and_of_one_its_own() -> None:
    fleet = six_nodes()
    fleet["b"]["measured"]["gpu1_read_bytes_per_s"]["value"] = 1.45e12
    bound = {"phases": {"decode": phase(10.0, 0.9, 0.1)}}
    (both,) = only(result(100, fleet["b"], roofline=bound), fleet=fleet).figures
    (first,) = only(result(100, fleet["b"], roofline=bound, gpus=1), fleet=fleet).figures
    assert (both.to_median, first.to_median) == (pytest.approx(2.0), pytest.approx(1.0))


@pytest.mark.parametrize(
    ("run", "fleet", "told"),
    [
        (result(100, node("a")), {}, "one node ran it, and there are no measured fingerprints"),
        (result(100, node("z")), six_nodes(), "the fleet has no fingerprint of the node it ran on"),
        (
            result(100, node("a"), load=PoissonLoadSpec(kind="poisson", sessions_per_s=1.0)),
            six_nodes(),
            "its load arrives at a rate of its own",
        ),
        (result(100, node("a"), dtype="float32"), six_nodes(), "has no gpu_matmul_float32_flops_per_s"),
        (result(100, node("a"), gpus=0), six_nodes(), "names no GPU that it used"),
        (result(100, node("a"), dtype="auto"), six_nodes(), "does not say in which format it multiplied"),
        (result(100, node("a")), {name: node(name) for name in "ab"}, "2 nodes of this SKU have gpu_read"),
        (result(100, node("a") | {"host": {}, "gpu": {"devices": []}}), six_nodes(), "could be known again by"),
    ],
)
def test_what_cannot_be_projected_says_why(run: Result, fleet: Mapping[str, Any], told: str) -> None:
    comparison = compared(run, fleet=fleet)
    (group,) = comparison.normalised
    assert group.why_not is not None
    assert told in group.why_not
    assert (group.rates, group.basis) == (None, None)
    assert all(row.at_median is None for row in comparison.rows)


def test_nodes_that_cannot_be_told_apart_are_one_node() -> None:
    nameless = node("a") | {"host": {}, "gpu": {"devices": []}}
    told = only(result(100, nameless), result(110, nameless)).why_not
    assert told is not None
    assert told.startswith("one node ran it")


def test_what_binds_is_said_only_where_it_is_clear() -> None:
    def bound(mbu: float, mfu: float) -> str | None:
        found = binding({"phases": {"decode": phase(10.0, mbu, mfu)}}, 10.0)
        assert found is not None
        return found.by

    assert (bound(0.8, 0.1), bound(0.1, 0.8), bound(0.8, 0.5), bound(0.3, 0.1)) == ("memory", "compute", None, None)
    assert binding(None, 10.0) is None
    assert binding({"phases": {"decode": {"seconds": 1.0}}}, 10.0) is None
