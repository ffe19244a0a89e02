"""From a suite to a verified, priced result, through the native engine and the model that ships."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench as neobench

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def test_a_run_is_measured_verified_and_priced(bench: Callable[..., Any], suite: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    ran = bench("run", suite, "--out", out, "--json")
    assert ran.code == 0, ran.err
    thinking, acting = ran.json["records"]
    assert {thinking["verdict"]["status"], acting["verdict"]["status"]} == {"valid"}
    assert thinking["latency"]["ttfa_ms"]["answer_start"] == "observed"
    assert acting["latency"]["ttfa_ms"]["answer_start"] == "declared"
    assert acting["requests"]["sent"] == acting["workload"]["turns_used"]
    assert acting["requests"]["tokens"]["prompt"] == acting["workload"]["input_tokens"]
    assert acting["requests"]["tokens"]["output"] == acting["workload"]["output_tokens"]
    assert thinking["energy"]["rungs"] or thinking["energy"]["missing"]
    assert thinking["provenance"]["command"]

    verified = bench("verify", out, "--json")
    assert verified.code == 0
    assert [report["differences"] for report in verified.json] == [[], []]

    table = neobench.load(out)
    assert len(table) == 2
    assert (table.filter(like="output_tokens_per_s").iloc[:, 0] > 0).all()

    priced = bench("compare", out, "--format", "json")
    assert priced.code == 0
    assert {row["case"] for row in priced.json["rows"] if row["case"]} <= {"thinking", "acting"}
    gpu = [row for row in priced.json["rows"] if row["offer"] == "oci-gb300"]
    assert [(row["comparable"], row["why_not"]) for row in gpu] == [(False, "hardware")]
    assert gpu[0]["usd_per_million_output_tokens"] is None


def test_a_machine_like_an_offers_is_priced_in_dollars(
    bench: Callable[..., Any], suite: Path, offer_of: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    ran = bench("run", suite, "--out", out, "--json", "--set", "engine={kind: mock, ttft_ms: 2, tpot_ms: 1}")
    offer = offer_of(ran.json["records"][0])
    comparison = bench("compare", out, "--offers", offer, "--json").json
    for record, row in zip(
        ran.json["records"], sorted(comparison["rows"], key=lambda r: r["case"] != "thinking"), strict=True
    ):
        rate = record["throughput"]["output_tokens_per_s"]["value"]
        assert row["usd_per_million_output_tokens"]["value"] == pytest.approx(100 / rate, rel=1e-12)
    half = bench("compare", out, "--offers", offer, "--utilisation", 0.5, "--json").json
    doubled = [row["usd_per_million_output_tokens"]["value"] for row in half["rows"]]
    assert doubled == pytest.approx([2 * r["usd_per_million_output_tokens"]["value"] for r in comparison["rows"]])
    shown = bench("compare", out, "--offers", offer)
    assert "this-machine" in shown.out
    assert "speed only" in shown.out


def test_joules_from_a_declared_wattage_are_shown_as_assumed(
    bench: Callable[..., Any], suite: Path, tmp_path: Path
) -> None:
    mock, power = "engine={kind: mock, ttft_ms: 2, tpot_ms: 1}", "power={scope: node, watts: 50}"
    ran = bench("run", suite, "--out", tmp_path / "runs", "--set", mock, "--set", power)
    assert ran.code == 0, ran.err
    assert "node, assumed" in ran.out
    compared = bench("compare", tmp_path / "runs").out
    assert "assumed" in compared
    assert "TTFT p50" in compared  # the joules take no other column's room


def test_every_row_of_a_csv_trace_is_sent(bench: Callable[..., Any], suite: Path, tmp_path: Path) -> None:
    trace = tmp_path / "rows.csv"
    rows = [(40 + 7 * i % 300, 3 + i % 11) for i in range(48)]
    lines = [f"2026-01-01 00:00:{i:02d}.0000000,{prompt},{output}" for i, (prompt, output) in enumerate(rows)]
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(lines) + "\n")
    ran = bench("run", suite, "--trace", trace, "--out", tmp_path, "--json", "--set", "workload.token_scale=1")
    (record,) = ran.json["records"]
    used = rows[:40]
    assert record["workload"]["left_out"] == {"beyond max_turns": 8}
    assert record["requests"]["sent"] == record["requests"]["completed"] == 40
    assert record["requests"]["tokens"]["prompt"] == sum(prompt for prompt, _ in used)
    assert record["requests"]["tokens"]["output"] == sum(output for _, output in used)


@pytest.mark.data
def test_real_rows_of_azure_are_replayed_whole(bench: Callable[..., Any], tmp_path: Path) -> None:
    trace = DATA / "traces" / "azure2023_conv.csv"
    ran = bench("run", "smoke", "--trace", trace, "--out", tmp_path, "--json")
    assert ran.code in (0, 1), ran.err
    (record,) = ran.json["records"]
    with trace.open(newline="") as file:
        rows = list(csv.DictReader(file))[: record["workload"]["turns_used"]]
    assert len(rows) >= 100
    assert record["requests"]["sent"] == record["requests"]["completed"] == len(rows)
    assert record["workload"]["source_input_tokens"] == sum(int(row["ContextTokens"]) for row in rows)
    assert record["workload"]["source_output_tokens"] == sum(int(row["GeneratedTokens"]) for row in rows)
    assert record["requests"]["tokens"]["prompt"] == record["workload"]["input_tokens"]
    assert record["requests"]["tokens"]["output"] == record["workload"]["output_tokens"]


@pytest.mark.data
@pytest.mark.slow
def test_real_agent_sessions_are_replayed_whole(bench: Callable[..., Any], tmp_path: Path) -> None:
    trace = DATA / "traces" / "weka_cc_le64k.jsonl.gz"
    ran = bench("run", "smoke", "--trace", trace, "--out", tmp_path, "--json")
    assert ran.code in (0, 1), ran.err
    (record,) = ran.json["records"]
    used = record["workload"]["sessions_used"]
    assert used >= 3
    with gzip.open(trace, "rt") as file:
        sessions = [json.loads(line)["requests"] for _, line in zip(range(used), file, strict=False)]
    requests = [request for session in sessions for request in session]
    assert record["requests"]["sent"] == record["requests"]["completed"] == len(requests)
    assert record["workload"]["source_input_tokens"] == sum(request["in"] for request in requests)
    assert record["workload"]["source_output_tokens"] == sum(request["out"] for request in requests)
    assert record["requests"]["tokens"]["prompt"] == record["workload"]["input_tokens"]


def test_offers_answer_the_questions_a_buyer_asks(bench: Callable[..., Any]) -> None:
    iren = bench("offers", "show", "microsoft-iren-gb300", "--json").json
    (effective,) = iren["effective"]
    assert effective["undiscounted_per_unit_hour"]["low"] == pytest.approx(2.11, abs=0.005)
    at_ten = next(at for at in effective["discounted"] if at["annual_rate"] == 0.10)
    assert at_ten["prepayment_multiplier"] == pytest.approx(1.0524, abs=5e-5)
    assert len(bench("offers", "list", "--json").json) >= 11
    assert "microsoft-iren-gb300" in bench("offers", "list").out
    assert json.loads(bench("offers", "export-schema").out)["properties"]["provider"]


def test_an_offer_is_printed_as_it_was_written(bench: Callable[..., Any], tmp_path: Path) -> None:
    offer = tmp_path / "odd.yaml"
    offer.write_text(
        """
id: odd
provider: Odd [/b] Cloud
kind: paas
quoted: 2026-11-22
currency: USD
source: {text: 'a [quote]', read: 2026-11-22}
confidence: low
terms:
  - tokens: {model: "big [/i] model", input: 1, output: 2}
"""
    )
    listed, shown = bench("offers", "list", offer), bench("offers", "show", offer)
    assert listed.code == shown.code == 0
    assert "Odd [/b] Cloud" in listed.out
    assert "big [/i] model" in listed.out
    assert "Odd [/b] Cloud" in shown.out
    assert "a [quote]" in shown.out


def test_the_node_tells_itself_with_reasons_for_what_it_cannot(bench: Callable[..., Any]) -> None:
    node = bench("node", "show", "--json").json
    assert node["hardware"]["units"] >= 1
    assert all(reason for reason in node["power"]["missing"].values())


@pytest.mark.parametrize(
    "verb", ["run", "compare", "verify", "offers list", "offers show", "offers check", "node show", "node compare"]
)
def test_every_verb_explains_itself_with_an_example(bench: Callable[..., Any], verb: str) -> None:
    shown = bench(*verb.split(), "-h")
    assert shown.code == 0
    assert f"bench {verb}" in shown.out
    assert "Example" in shown.out
