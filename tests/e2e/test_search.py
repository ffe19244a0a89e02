"""`load.search: slo` from the command line, on the mock engine in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SUITE = """
base:
  model: {path: tiny}
  engine: {kind: mock, ttft_ms: 3, tpot_ms: 0.5}
  workload: {kind: fixed, sessions: 120, prompt_tokens: 8, output_tokens: 4}
  measure: {percentiles: [0.5], warmup_sessions: 1}
  slo: {e2e_ms: 30, share: 0.8}
specs:
  - name: plain
    load: {kind: closed, concurrency: 2}
  - name: found
    load: {kind: poisson, sessions_per_s: 200, max_sessions: 1, search: slo, search_precision: 0.5}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "search.yaml"
    path.write_text(SUITE)
    return path


def test_a_search_brackets_the_highest_rate_and_goes_on_from_what_is_there(
    bench: Callable[..., Any], suite: Path, tmp_path: Path
) -> None:
    """One session at a time of about 5 ms: some 200 a second, beyond which they queue."""
    out = tmp_path / "runs"
    ran = bench("run", suite, "--out", out, "--json")
    assert ran.code == 0, ran.err + str(ran.json["searches"])
    (search,) = ran.json["searches"]
    assert (search["name"], search["axis"], search["ended"]) == ("found", "load.sessions_per_s", None)
    assert search["meets"] < search["misses"]
    probes = {probe["load"]: probe for probe in search["probes"]}
    assert probes[search["meets"]]["outcome"] == "meets"
    assert probes[search["misses"]]["outcome"] == "misses"
    names = {record["id"]: record["case"]["spec"]["name"] for record in ran.json["records"]}
    assert names[probes[200.0]["records"][0]] == "found.sessions_per_s_200"
    assert "plain" in names.values()
    assert bench("verify", out).code == 0

    again = bench("run", suite, "--out", out)
    assert again.code == 0, again.err
    assert "earlier)" in again.out
    assert f"load.sessions_per_s {search['meets']:g} meets it, {search['misses']:g} misses it" in again.out


def test_a_load_typed_by_hand_is_a_probe(bench: Callable[..., Any], suite: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    by_hand = ("--set", "load={kind: closed, concurrency: 4}")
    searched = ("--set", "load={kind: closed, concurrency: 4, search: slo}", "--set", "slo.e2e_ms=1")
    assert bench("run", suite, "--out", out, "--json", *by_hand, "--set", "slo.e2e_ms=1").code == 0
    ran = bench("run", suite, "--out", out, "--json", *searched)
    assert ran.code == 1
    for search in ran.json["searches"]:
        assert search["meets"] is None
        assert search["ended"] == "the lowest load there is misses the SLO"
        assert {probe["load"]: probe["reused"] for probe in search["probes"]}[4] == 2  # of either spec: one case


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("slo.e2e_ms=null", "load.search: slo without a bound"),
        ("slo.e2e_ms=3000", "sessions arrive for 0.6 s, too short for a bound that takes 6 s (allowed: more sessions"),
        ("load={kind: trace, search: slo}", "load.search with kind 'trace' (allowed: kinds closed, constant,"),
    ],
)
def test_a_search_that_could_find_nothing_is_refused(
    bench: Callable[..., Any], suite: Path, tmp_path: Path, setting: str, told: str
) -> None:
    ran = bench("run", suite, "--out", tmp_path / "runs", "--set", setting)
    assert ran.code == 2
    assert told in ran.err
    assert not (tmp_path / "runs").exists()


def test_a_spoilt_probe_ends_the_search_and_says_why(bench: Callable[..., Any], suite: Path, tmp_path: Path) -> None:
    ran = bench("run", suite, "--out", tmp_path / "runs", "--json", "--set", "measure.percentiles=[0.99]")
    assert ran.code == 1
    (search,) = ran.json["searches"]
    assert search["probes"] == []
    assert search["ended"].startswith("at sessions_per_s 200: too_few_requests: p99 needs 299 requests")


def test_a_load_at_which_requests_fail_is_missed(bench: Callable[..., Any], suite: Path, tmp_path: Path) -> None:
    failing = ("--set", "engine.fail_every=20", "--set", "load={kind: closed, concurrency: 2, search: slo}")
    ran = bench("run", suite, "--out", tmp_path / "runs", "--json", *failing, "--set", "slo.share=0.5")
    assert ran.code == 1
    for search in ran.json["searches"]:
        assert search["ended"] == "the lowest load there is misses the SLO"
        outcomes = [
            (probe["outcome"], probe["decided"], probe["good_share"]["value"] > 0.5) for probe in search["probes"]
        ]
        assert outcomes == [("misses", True, True)] * 2
