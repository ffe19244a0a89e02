"""A soak's availability in `bench compare`: what being down costs, and what the offer's SLA is expected to credit."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quick_run import quick_run
from soaks import write_soak

SLA = """
sla:
  promised: 0.999
  tiers:
    - {below: 0.999, credit_share: 0.10}
  claim_needed: true
  source: {text: a contract, read: 2026-11-22}
  confidence: high
"""
UP_S, DOWN_S = (49 * 3600.0, 49 * 3600.0), 2 * 3600.0


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one result, which nobody changes."""
    return quick_run(tmp_path_factory.mktemp("quick"))


@pytest.fixture
def offer(ran: Path, offer_of: Callable[[Any], Path]) -> Path:
    return offer_of(json.loads((ran / "record.json").read_text()))


def test_a_soak_becomes_dollars_through_the_sla(
    bench: Callable[..., Any], ran: Path, offer: Path, tmp_path: Path
) -> None:
    """Two hours down of a hundred: 98 %. A month of 730 h at 0.36 dollars is 262.80, of which 2 % were for nothing."""
    soak = write_soak(tmp_path / "soak", ran, UP_S, DOWN_S)
    offer.write_text(offer.read_text() + SLA)
    compared = bench("compare", ran, "--soak", soak, "--offers", offer, "--json")
    assert compared.code == 0, compared.err
    (row,) = compared.json["rows"]
    stability = row["stability"]
    seen = stability["availability"]
    assert (seen["value"], seen["basis"], seen["n"]) == (pytest.approx(0.98), "measured", 1)
    assert seen["low"] < 0.98 < seen["high"]
    assert stability["usd_lost_per_month"]["value"] == pytest.approx(262.80 * 0.02)
    raw = row["usd_per_million_output_tokens"]["value"]
    assert stability["usd_per_million_output_tokens"]["value"] == pytest.approx(raw / 0.98)
    credit = stability["expected_credit_usd_per_month"]
    assert credit["value"] == pytest.approx(26.28 * exceeded(outages=730 * 0.02 / 2, fitting=730 * 0.001 / 2))
    after = stability["usd_per_million_output_tokens_after_credit"]["value"]
    assert after == pytest.approx(raw / 0.98 * (1 - credit["value"] / 262.80))
    assert (stability["promised"], stability["why_no_credit"]) == (0.999, None)
    shown = bench("compare", ran, "--soak", soak, "--offers", offer).out
    assert "available 98.0000% of 100 h (" in shown
    assert "assumed" in shown


def exceeded(outages: float, fitting: float) -> float:
    """The chance that the outages of a month take longer than fits, both counts summed one by one."""

    def poisson(n: int, mean: float) -> float:
        return math.exp(-mean) * mean**n / math.factorial(n)

    return sum(poisson(n, outages) * sum(poisson(k, fitting) for k in range(n)) for n in range(60))


def test_an_offer_without_an_sla_says_so(bench: Callable[..., Any], ran: Path, offer: Path, tmp_path: Path) -> None:
    soak = write_soak(tmp_path / "soak", ran, UP_S, DOWN_S)
    (row,) = bench("compare", ran, "--soak", soak, "--offers", offer, "--json").json["rows"]
    assert row["stability"]["why_no_credit"] == "no SLA is known"
    assert row["stability"]["expected_credit_usd_per_month"] is None
    assert "no SLA is known" in bench("compare", ran, "--soak", soak, "--offers", offer).out


def test_a_soak_among_the_results_is_recognised_and_one_given_twice_counts_once(
    bench: Callable[..., Any], ran: Path, offer: Path, tmp_path: Path
) -> None:
    soak = write_soak(tmp_path / "soak", ran, UP_S, DOWN_S)
    (row,) = bench("compare", soak, "--soak", tmp_path, "--offers", offer, "--json").json["rows"]
    assert row["stability"]["availability"]["n"] == 1
    assert row["stability"]["availability"]["value"] == pytest.approx(0.98)
    write_soak(tmp_path / "calm", ran, [100 * 3600.0], 0.0)
    (row,) = bench("compare", ran, "--soak", tmp_path, "--offers", offer, "--json").json["rows"]
    assert row["stability"]["availability"]["value"] == pytest.approx(0.99)


def test_a_soak_that_bounds_nothing_from_below_says_or_more(
    bench: Callable[..., Any], ran: Path, offer: Path, tmp_path: Path
) -> None:
    soak = write_soak(tmp_path / "soak", ran, [60.0], 0.0, engine_start_s=None)
    (row,) = bench("compare", ran, "--soak", soak, "--offers", offer, "--json").json["rows"]
    lost = row["stability"]["usd_lost_per_month"]
    assert (lost["low"], lost["value"], lost["high"]) == (None, 0.0, None)
    assert " 0 or more " in bench("compare", ran, "--soak", soak, "--offers", offer).out


def test_segments_are_no_repeats_of_the_other_results(
    bench: Callable[..., Any], ran: Path, offer: Path, tmp_path: Path
) -> None:
    shutil.copytree(ran, tmp_path / "runs" / ran.name)
    soak = write_soak(tmp_path / "runs" / "soak", ran, UP_S, DOWN_S)
    (beside,) = bench("compare", tmp_path / "runs", "--offers", offer, "--json").json["groups"]
    (alone,) = bench("compare", soak, "--offers", offer, "--json").json["groups"]
    assert (beside["label"], beside["output_tokens_per_s"]["method"]) == (ran.name, "block bootstrap within the run")
    assert alone["output_tokens_per_s"]["n"] == 2
    assert beside["availability"] == alone["availability"]
    (soak / "soak.json").unlink()
    (unfinished,) = bench("compare", tmp_path / "runs", "--offers", offer, "--json").json["groups"]
    assert (unfinished["label"], unfinished["availability"]) == (ran.name, None)


def test_an_availability_is_either_assumed_or_seen(
    bench: Callable[..., Any], ran: Path, offer: Path, tmp_path: Path
) -> None:
    soak = write_soak(tmp_path / "soak", ran, UP_S, DOWN_S)
    both = bench("compare", ran, "--soak", soak, "--availability", 0.99, "--offers", offer)
    assert (both.code, both.err.count("\n")) == (2, 1)
    assert "--availability" in both.err
    (row,) = bench("compare", soak, "--availability", 0.99, "--offers", offer, "--json").json["rows"]
    assert row["stability"] is None


def test_a_soak_that_ended_before_its_engine_was_up_is_left_out_unless_it_is_given(
    bench: Callable[..., Any], ran: Path, offer: Path, tmp_path: Path
) -> None:
    shutil.copytree(ran, tmp_path / "runs" / ran.name)
    soak = write_soak(tmp_path / "runs" / "soak", ran, [0.0], 0.0)
    (row,) = bench("compare", tmp_path / "runs", "--offers", offer, "--json").json["rows"]
    assert row["stability"] is None
    given = bench("compare", tmp_path / "runs", "--soak", soak, "--offers", offer)
    assert (given.code, given.err.count("\n")) == (2, 1)
    assert "its engine was never seen up" in given.err


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "neobench.soak/1", "soaked": {"outages": 3}}'])
def test_a_broken_soak_is_one_line(
    bench: Callable[..., Any], ran: Path, offer: Path, tmp_path: Path, text: str
) -> None:
    soak = write_soak(tmp_path / "soak", ran, [3600.0], 0.0)
    (soak / "soak.json").write_text(text)
    compared = bench("compare", ran, "--soak", soak, "--offers", offer)
    assert (compared.code, compared.err.count("\n")) == (2, 1)
    missing = bench("compare", ran, "--soak", ran, "--offers", offer)
    assert "holds no soak" in missing.err


def test_what_an_offer_promises_is_shown_with_where_that_stands(bench: Callable[..., Any]) -> None:
    shown = bench("offers", "show", "nebius-h100").out
    assert "SLA: 0.995 of a month promised of a virtual machine (low confidence)" in shown
    assert "below 0.995: 10% to 30% of the month's cost credited" in shown
    assert "only if claimed, within 14 days of the month's end" in shown
    assert "source: Third-party reading of public SLAs, dated 2026-07-03" in shown
    assert bench("offers", "show", "nebius-h100", "--json").json["sla"]["source"]["published"] == "2026-07-03"
