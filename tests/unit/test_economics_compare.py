"""Measured groups joined to offers: what is priced, what is not and why, and when a decision may be made."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import date
from decimal import Decimal

import pytest

from bench.core.errors import InputError
from bench.core.records import Headline
from bench.economics.compare import Assumptions, Comparison, ComparisonRow, compare
from bench.economics.cost import Loading
from bench.economics.decision import SPEED_ONLY
from bench.economics.group import MeasuredGroup
from bench.offers.catalog import load_offers
from bench.offers.fields import Source
from bench.offers.offer import Contract, Offer, Price, Term, Tokens, UnitCount, UnitRange

KEY = {"model": "tiny", "precision": "float32", "accuracy": "passed", "workload": "w1", "slo": None}


def measured(value: float, low: float | None = None, high: float | None = None) -> Headline:
    return Headline(value, low, high, 0.95, "t-interval on log means", 5, "measured")


def group(label: str = "g1", **changes: object) -> MeasuredGroup:
    base = MeasuredGroup(
        label=label,
        case="smoke",
        model="tiny",
        key=KEY,
        hardware="cpu-x86_64-2c",
        hardware_unit="node",
        used=1,
        uncached_input_tokens_per_s=measured(400.0, 390.0, 410.0),
        output_tokens_per_s=measured(100.0, 95.0, 105.0),
        total_tokens_per_s=measured(500.0, 485.0, 515.0),
        joules_per_output_token=None,
        verdict="valid",
        accuracy="passed",
    )
    return replace(base, **changes)


def offer(name: str, *terms: Term, **changes: object) -> Offer:
    base = {
        "id": name,
        "provider": name.title(),
        "kind": "iaas",
        "hardware": "cpu-x86_64-2c",
        "unit": "node",
        "quoted": date(2026, 11, 1),
        "currency": "USD",
        "source": Source(text="a quote", read=date(2026, 11, 1)),
        "confidence": "high",
        "terms": terms,
    }
    return Offer.model_validate({**base, **changes})


def hours(usd: float, block: int = 1, plan: str = "on_demand") -> Term:
    return Term(price=Price.model_validate({"plan": plan, "per_unit_hour": str(usd), "minimum_block": block}))


def gpu(label: str = "gpu", used: int = 1) -> MeasuredGroup:
    return group(label, hardware="h100_sxm", hardware_unit="accelerator", used=used)


def only(comparison: Comparison) -> ComparisonRow:
    (row,) = comparison.rows
    return row


def test_a_group_is_priced_on_its_own_hardware_with_every_rule_stated() -> None:
    row = only(compare([group()], [offer("a", hours(0.36))]))
    assert row.comparable
    assert row.why_not is None
    assert (row.group, row.case, row.used, row.billed) == ("g1", "smoke", 1, 1)
    assert row.usd_per_unit_hour is not None
    assert row.usd_per_unit_hour.value == 0.36
    output, total, fed = (
        row.usd_per_million_output_tokens,
        row.usd_per_million_total_tokens,
        row.usd_per_million_input_tokens,
    )
    assert output is not None
    assert output.value == pytest.approx(1.0)
    assert (output.low, output.high) == (pytest.approx(100 / 105), pytest.approx(100 / 95))
    assert "monotone bounds" in output.method
    assert total is not None
    assert total.value == pytest.approx(0.2)
    assert fed is not None
    assert fed.value == pytest.approx(0.25)
    assert row.rules["output"] == "whole cost over output tokens"
    assert row.rules["input"] == "whole cost over uncached input tokens"
    assert row.basis == "quoted"


def test_hardware_that_was_not_measured_is_never_scaled() -> None:
    row = only(compare([group()], [offer("a", hours(2.0), hardware="cpu-x86_64-4c")]))
    assert (row.comparable, row.why_not, row.group) == (False, "hardware", None)
    assert row.usd_per_unit_hour is not None
    assert row.usd_per_million_output_tokens is None


def test_an_offer_without_a_price_is_listed_as_unpriced() -> None:
    row = only(compare([group()], [offer("a")]))
    assert (row.comparable, row.why_not, row.term) == (False, "unpriced", None)


def test_another_currency_is_not_converted() -> None:
    row = only(compare([group()], [offer("a", hours(0.1), currency="EUR")]))
    assert (row.comparable, row.why_not, row.usd_per_unit_hour) == (False, "currency", None)


def test_a_case_on_one_of_eight_accelerators_is_billed_for_the_block() -> None:
    by_the_accelerator = offer("a", hours(2.0, block=8), hardware="h100_sxm", unit="accelerator")
    by_the_node = offer("b", hours(16.0), hardware="h100_sxm", unit="node", count=8)
    single = offer("c", hours(2.0), hardware="h100_sxm", unit="accelerator")
    rows = {row.offer: row for row in compare([gpu()], [by_the_accelerator, by_the_node, single]).rows}
    assert [(rows[name].used, rows[name].billed) for name in "abc"] == [(1, 8), (1, 8), (1, 1)]
    costs = [rows[name].usd_per_million_output_tokens for name in "abc"]
    assert [cost and cost.value for cost in costs] == [pytest.approx(v) for v in (400 / 9, 400 / 9, 50 / 9)]


@pytest.mark.parametrize(("used", "billed"), [(8, 8), (9, 16), (16, 16)])
def test_blocks_are_whole(used: int, billed: int) -> None:
    row = only(compare([gpu(used=used)], [offer("a", hours(2.0, block=8), hardware="h100_sxm", unit="accelerator")]))
    assert row.billed == billed


def test_an_accelerator_price_does_not_meet_a_group_counted_in_nodes() -> None:
    nodes = group(hardware="h100_sxm")
    row = only(compare([nodes], [offer("a", hours(2.0), hardware="h100_sxm", unit="accelerator")]))
    assert (row.comparable, row.why_not) == (False, "unit")


def test_an_invalid_group_is_priced_but_never_ranked() -> None:
    spoiled = group(verdict="invalid", reasons=("too_few_requests", "client_late"))
    comparison = compare([spoiled], [offer("a", hours(0.36))])
    row = only(comparison)
    assert row.why_not == "invalid: too_few_requests, client_late"
    assert row.usd_per_million_output_tokens is not None
    assert comparison.decision.text == "no comparable offer"


def test_failed_accuracy_is_invalid_and_unchecked_accuracy_ranks_under_its_banner() -> None:
    assert only(compare([group(accuracy="failed")], [offer("a", hours(1))])).why_not == "invalid: accuracy failed"
    decision = compare([group(accuracy="not_applicable")], [offer("a", hours(1))]).decision
    assert decision.banner == SPEED_ONLY
    assert decision.offer == "a"
    assert compare([group()], [offer("a", hours(1))]).decision.banner is None


def test_a_group_with_another_key_is_not_ranked_and_the_field_is_named() -> None:
    other = group("g2", key={**KEY, "slo": {"tpot_ms": 50}})
    rows = {row.group: row for row in compare([group(), other], [offer("a", hours(1))]).rows}
    assert rows["g1"].comparable
    assert (rows["g2"].comparable, rows["g2"].why_not) == (False, "slo")


def test_the_reference_is_the_first_valid_group() -> None:
    spoiled = group("bad", verdict="invalid", reasons=("x",), key={**KEY, "workload": "w2"})
    rows = {row.group: row for row in compare([spoiled, group("good")], [offer("a", hours(1))]).rows}
    assert rows["good"].comparable
    assert rows["bad"].why_not == "invalid: x"


def test_token_prices_meet_a_group_on_the_same_model_only_and_stand_beside_the_ranking() -> None:
    sold = Term(tokens=Tokens(model="Tiny", input=Decimal("0.1"), output=Decimal("0.4")))
    other = Term(tokens=Tokens(model="huge", input=Decimal("1"), output=Decimal("4")))
    platform = offer("p", sold, other, kind="paas", hardware=None, unit=None)
    comparison = compare([group()], [platform, offer("a", hours(0.36))])
    rows = {row.term: row for row in comparison.rows}
    met = rows["tokens, Tiny, base"]
    assert met.comparable
    assert met.usd_per_million_output_tokens is not None
    assert met.usd_per_million_output_tokens.value == 0.4
    assert met.usd_per_million_input_tokens is not None
    assert met.usd_per_million_input_tokens.value == 0.1
    assert met.usd_per_million_total_tokens is None
    assert rows["tokens, huge, base"].why_not == "model"
    assert comparison.decision.offer == "a"
    assert [row.offer for row in comparison.rows if row.comparable] == ["a", "p"]


def test_within_one_group_the_cheaper_hour_decides_whatever_the_tokens_interval() -> None:
    wide = group(output_tokens_per_s=measured(100.0, 50.0, 200.0))
    decision = compare([wide], [offer("a", hours(0.050)), offer("b", hours(0.049))]).decision
    assert (decision.offer, decision.group) == ("b", "g1")
    assert decision.text == "b (on_demand) is cheapest at $0.1361 (0.06806-0.2722) per million output tokens"


def test_equal_prices_are_undecided() -> None:
    decision = compare([group()], [offer("a", hours(0.05)), offer("b", hours(0.05))]).decision
    assert decision.offer is None
    assert decision.text.startswith("undecided: intervals overlap: a (on_demand) at $")


def test_between_groups_overlapping_intervals_are_undecided_and_apart_ones_are_not() -> None:
    here, there = group("here"), group("there", hardware="cpu-x86_64-4c")
    offers = [offer("a", hours(0.36)), offer("b", hours(0.37), hardware="cpu-x86_64-4c")]
    assert compare([here, there], offers).decision.text.startswith("undecided")
    offers[1] = offer("b", hours(0.50), hardware="cpu-x86_64-4c")
    assert compare([here, there], offers).decision.offer == "a"


def test_an_unknown_unit_count_makes_a_range_that_only_decides_when_it_lies_apart() -> None:
    unknown = UnitRange(low=UnitCount(units=50, reason="few"), high=UnitCount(units=100, reason="many"))
    deal = Contract(value=Decimal(876_000), term_months=12, units_between=unknown)
    contract = offer("deal", Term(contract=deal), hardware="h100_sxm", unit="accelerator")

    def beside(usd: float) -> Comparison:
        return compare([gpu()], [contract, offer("list", hours(usd), hardware="h100_sxm", unit="accelerator")])

    row = next(row for row in beside(1.5).rows if row.offer == "deal")
    assert row.basis == "assumed"
    assert row.usd_per_unit_hour is not None
    assert (row.usd_per_unit_hour.value, row.usd_per_unit_hour.low) == (None, pytest.approx(1.0))
    assert row.usd_per_unit_hour.high == pytest.approx(2.0)
    cost = row.usd_per_million_output_tokens
    assert cost is not None
    assert (cost.value, cost.low, cost.high) == (None, pytest.approx(1e6 / 3600 / 105), pytest.approx(2e6 / 3600 / 95))
    assert beside(1.5).decision.offer is None
    assert beside(0.9).decision.offer == "list"
    assert beside(2.1).decision.offer == "deal"


def test_loading_and_good_share_each_enter_once() -> None:
    priced = [offer("a", hours(0.36))]
    plain = only(compare([group()], priced)).usd_per_million_output_tokens
    loaded = only(
        compare([group(good_share=0.8)], priced, Assumptions(loading=Loading(0.5, 0.9, 0.99)))
    ).usd_per_million_output_tokens
    assert plain is not None
    assert plain.value is not None
    assert loaded is not None
    assert loaded.value == pytest.approx(plain.value / (0.5 * 0.9 * 0.99 * 0.8))


def test_a_price_ratio_lets_input_and_output_share_the_hour() -> None:
    row = only(compare([group()], [offer("a", hours(0.36))], Assumptions(price_ratio=0.25)))
    assert row.usd_per_million_output_tokens is not None
    assert row.usd_per_million_output_tokens.value == pytest.approx(0.5)
    assert row.usd_per_million_input_tokens is not None
    assert row.usd_per_million_input_tokens.value == pytest.approx(0.125)
    assert row.rules["output"] == "an uncached input token priced at 0.25 of an output token"


def test_tokens_without_an_interval_give_a_figure_without_one() -> None:
    bare = group(output_tokens_per_s=replace(measured(100.0), method="one record"))
    cost = only(compare([bare], [offer("a", hours(0.36))])).usd_per_million_output_tokens
    assert cost is not None
    assert (cost.value, cost.low, cost.high) == (pytest.approx(1.0), None, None)
    assert cost.method == "tokens/s by one record"


def test_no_good_token_has_no_price() -> None:
    assert only(compare([group(good_share=0.0)], [offer("a", hours(0.36))])).why_not == "no good tokens"


def test_comparable_rows_come_first_and_the_cheapest_of_them_leads() -> None:
    offers = [offer("dear", hours(2)), offer("none"), offer("cheap", hours(1)), offer("gpu", hours(1), hardware="h100")]
    rows = compare([group()], offers).rows
    assert [row.offer for row in rows] == ["cheap", "dear", "gpu", "none"]


def test_a_comparison_is_a_json_document() -> None:
    document = json.loads(json.dumps(asdict(compare([group()], load_offers()))))
    wanted = "group offer provider hardware unit comparable why_not usd_per_unit_hour basis joules_per_output_token"
    kinds = {f"usd_per_million_{kind}_tokens" for kind in ("output", "total", "input")}
    assert kinds | set(wanted.split()) <= set(document["rows"][0])
    assert set(document) == {"rows", "decision", "assumptions"}


def test_shipped_offers_price_a_two_core_node_and_list_accelerators_as_not_comparable() -> None:
    comparison = compare([group()], load_offers())
    ranked = [row for row in comparison.rows if row.comparable]
    assert len({row.provider for row in ranked}) >= 3
    assert all(row.hardware == "cpu-x86_64-2c" for row in ranked)
    reasons = {row.offer: row.why_not for row in comparison.rows}
    assert reasons["oci-gb300"] == reasons["microsoft-iren-gb300"] == reasons["oci-e5-flex-4"] == "hardware"
    assert reasons["nebius-deepseek-r1-0528"] == "model"
    assert reasons["coreweave-gb300"] == "unpriced"
    assert comparison.decision.offer == "oci-e5-flex-2"


def test_nothing_measured_still_lists_the_offers() -> None:
    comparison = compare([], [offer("a", hours(1)), offer("b")])
    assert [row.why_not for row in comparison.rows] == ["hardware", "unpriced"]
    assert comparison.decision.text == "no comparable offer"


def test_an_impossible_assumption_is_told() -> None:
    with pytest.raises(InputError, match="discount rate"):
        compare([group()], [offer("a", hours(1))], Assumptions(discount_rate=-0.1))
    with pytest.raises(InputError, match="price of input over output"):
        compare([group()], [offer("a", hours(1))], Assumptions(price_ratio=-1.0))
