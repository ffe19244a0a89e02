"""Records to groups: repeats, invalid ones, and a GPU node whose GPUs did not work."""

from __future__ import annotations

import math
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bench.comparison import compare_results
from bench.core.errors import InputError
from bench.core.spec import Case, ClosedLoadSpec, MockEngineSpec, ModelSpec, ReasoningSpec, Spec
from bench.economics.compare import Assumptions
from bench.economics.cost import Loading
from bench.offers.catalog import load_offers
from bench.offers.fields import Source
from bench.offers.offer import Offer, Price, Term, Tokens
from bench.results.record import Record
from bench.results.result import Result

RATES = ("output_tokens_per_s", "total_tokens_per_s", "uncached_input_tokens_per_s")


def result(rate: float, *, name: str = "case", workload: str = "w", valid: bool = True, **node: Any) -> Result:
    spec = Spec(
        name=name,
        model=ModelSpec(path="tiny"),
        engine=MockEngineSpec(kind="mock"),
        workload=ReasoningSpec(kind="reasoning", sessions=1),
        load=ClosedLoadSpec(kind="closed", concurrency=1),
    )
    headline = {"value": rate, "low": rate * 0.9, "high": rate * 1.1, "level": 0.95, "method": "m", "n": 9}
    record = Record(
        id=f"{name}-{rate:g}",
        case=Case.of(spec, model_digest="m", workload_digest=workload),
        node={"hardware": {"key": "cpu-x86_64-2c", "unit": "node", "units": 1} | node},
        provenance={},
        workload={},
        run={"start_ns": 0, "end_ns": 1, "accelerators": 0},
        throughput=dict.fromkeys(RATES, headline | {"basis": "measured"}),
        accuracy={"status": "not_applicable"},
        verdict={
            "status": "valid" if valid else "invalid",
            "reasons": [] if valid else [{"code": "failures", "message": "", "evidence": {}}],
        },
    )
    return Result(path=Path(record.id), record=record)


def test_repeats_are_one_group_with_an_interval_between_runs() -> None:
    comparison = compare_results([result(90), result(100), result(110)], load_offers(), Assumptions())
    (group,) = comparison.groups
    rate = group.output_tokens_per_s
    assert rate.value == pytest.approx(math.exp(sum(map(math.log, (90, 100, 110))) / 3))
    assert rate.low is not None
    assert rate.high is not None
    assert rate.low < 90 < 110 < rate.high
    assert rate.n == 3


def test_one_record_keeps_the_interval_within_its_run() -> None:
    (group,) = compare_results([result(100)], (), Assumptions()).groups
    assert (group.output_tokens_per_s.low, group.output_tokens_per_s.high) == (90, pytest.approx(110))


def test_an_invalid_repeat_is_left_out_and_an_invalid_case_never_ranks() -> None:
    (group,) = compare_results([result(100), result(900, valid=False)], (), Assumptions()).groups
    assert group.output_tokens_per_s.value == 100
    spoiled = compare_results([result(900, valid=False)], load_offers(), Assumptions())
    assert not any(row.comparable for row in spoiled.rows)
    assert {row.why_not for row in spoiled.rows if row.group} == {"invalid: failures"}


def test_cases_of_different_keys_are_ranked_apart_and_unmet_offers_stand_once() -> None:
    results = [result(100, name="a", workload="w1"), result(10, name="b", workload="w2")]
    comparison = compare_results(results, load_offers(), Assumptions())
    assert [decision.cases for decision in comparison.decision.by_key] == [("a",), ("b",)]
    assert {row.case for row in comparison.rows if row.comparable} == {"a", "b"}
    assert [row.why_not for row in comparison.rows if row.offer == "oci-gb300"] == ["hardware"]


def test_processors_of_a_gpu_node_are_not_priced_as_its_gpus() -> None:
    comparison = compare_results([result(100, key="h100_sxm", unit="accelerator")], load_offers(), Assumptions())
    assert not any(row.comparable for row in comparison.rows)


def test_a_record_that_does_not_say_its_hardware_is_refused() -> None:
    damaged = result(100)
    damaged.record.node.clear()
    with pytest.raises(InputError, match=r"case-100: `node\.hardware` lacks its key or unit"):
        compare_results([damaged], (), Assumptions())


def test_a_correct_answer_costs_the_hour_over_the_correct_answers_of_it() -> None:
    offer = Offer(
        id="a",
        provider="A",
        kind="iaas",
        hardware="cpu-x86_64-2c",
        unit="node",
        quoted=date(2026, 11, 1),
        currency="USD",
        source=Source(text="a quote", read=date(2026, 11, 1)),
        confidence="high",
        terms=(Term(price=Price.model_validate({"plan": "on_demand", "per_unit_hour": "3.60"})),),
    )
    checked = result(100)
    rate = {"value": 0.5, "low": 0.4, "high": 0.8, "level": 0.95, "method": "m", "n": 9, "basis": "measured"}
    record = checked.record.model_copy(update={"success": {"correct_answers_per_s": rate}})
    half = Assumptions(loading=Loading(utilisation=0.5))
    (row,) = compare_results([Result(path=checked.path, record=record)], [offer], half).rows
    cost = row.usd_per_correct_answer
    assert cost is not None
    assert (cost.value, cost.low, cost.high) == tuple(pytest.approx(0.002 / share) for share in (0.5, 0.8, 0.4))
    by_token = Offer(
        id="b",
        provider="B",
        kind="paas",
        hardware=None,
        unit=None,
        quoted=date(2026, 11, 1),
        currency="USD",
        source=Source(text="a quote", read=date(2026, 11, 1)),
        confidence="high",
        terms=(Term(tokens=Tokens(model="tiny", input=Decimal("1"), output=Decimal("4"))),),
    )
    (row,) = compare_results([Result(path=checked.path, record=record)], [by_token], half).rows
    assert row.usd_per_correct_answer is not None
    assert row.usd_per_correct_answer.value == pytest.approx(4e-6 * 100 / 0.5)  # of total tokens/s there are as many
    (unchecked,) = compare_results([checked], [offer], half).rows
    assert unchecked.usd_per_correct_answer is None


def test_without_a_bound_every_token_is_good() -> None:
    (group,) = compare_results([result(100)], (), Assumptions()).groups
    assert group.good_share == 1
