"""What a soak comes to, from segments as their records tell of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from bench.metrics.outages import Stretch
from bench.metrics.settling import COLD_S, settling
from bench.metrics.soak import Soaked, SoakedSegment, soaked
from bench.metrics.statistics import Confidence

MINUTE_S = 60.0


def segments(
    rates: Sequence[float],
    *,
    temperatures: Sequence[float] | None = None,
    failed: Mapping[str, int] | None = None,
    joules: Sequence[float] | None = None,
) -> list[SoakedSegment]:
    """A minute each, one after another, of an engine that was started once."""
    return [
        SoakedSegment(
            record=f"segment-{i}",
            stretch=Stretch(i * MINUTE_S, i * MINUTE_S + 5 * (i == 0), (i + 1) * MINUTE_S, None, None),
            engine=1,
            left_out=None,
            output_tokens_per_s=float(rate),
            joules_per_output_token={} if joules is None else {"gpu": float(joules[i])},
            temperature_c=None if temperatures is None else float(temperatures[i]),
            sent=1000,
            completed=1000 - sum((failed or {}).values()),
            failed=failed or {},
        )
        for i, rate in enumerate(rates)
    ]


def soak(of: Sequence[SoakedSegment]) -> Soaked:
    return soaked(of, total_s=len(of) * MINUTE_S, engine_start_s=20.0, confidence=Confidence(0.95, 0))


def rates(n: int, seed: int = 1, share: float = 0.002) -> list[float]:
    return [float(rate) for rate in 1000 * (1 + np.random.default_rng(seed).normal(size=n) * share)]


def test_a_soak_in_which_nothing_happens_is_stable() -> None:
    told = soak(segments(rates(120)))
    assert (told.stability.status, told.stability.findings) == ("stable", ())
    assert told.hours == 2.0
    assert (told.availability.observed, told.availability.outages, told.restarts) == (1.0, 0, 0)
    assert told.availability.low is not None
    assert 0.99 < told.availability.low < 1
    assert told.availability.unobserved_s == 5.0
    assert told.time_to_recover_s is None
    assert (told.requests.sent, told.requests.completed) == (120_000, 120_000)


def test_a_short_soak_is_undecided_and_says_why() -> None:
    told = soak(segments(rates(5)))
    assert told.stability.status == "undecided"
    assert "needs 30 values" in told.stability.undecided[0]


def test_what_moved_makes_it_unstable() -> None:
    steps = np.array(rates(120)) * np.where(np.arange(120) < 80, 1.0, 0.96)
    told = soak(segments(list(steps), joules=list(1000 / steps)))
    assert told.stability.status == "unstable"
    assert {finding.code for finding in told.stability.findings} == {"output_tokens_per_s", "joules_per_output_token"}
    (shift,) = told.output_tokens_per_s.shifts
    assert shift.at_hours == pytest.approx(80 / 60)
    assert shift.change == pytest.approx(-0.04, abs=0.005)
    assert told.joules_per_output_token["gpu"].shifts[0].change == pytest.approx(0.0417, abs=0.005)


def test_an_outage_is_told_with_what_it_took() -> None:
    of = segments(rates(60))
    lost = replace(
        of[30], stretch=replace(of[30].stretch, gone_s=of[30].stretch.end_s, failure="it ended"), left_out="cut off"
    )
    first_token_s = of[31].stretch.start_s + 12
    back = replace(of[31], stretch=replace(of[31].stretch, up_from_s=first_token_s), engine=2)
    after = [replace(one, engine=2) for one in of[32:]]
    told = soak([*of[:30], lost, back, *after])
    (outage,) = told.outages
    assert (outage.failure, outage.starts, outage.down_s, outage.repaired) == ("it ended", 1, 12.0, True)
    assert (told.restarts, told.time_to_recover_s) == (1, 12.0)
    assert told.availability.observed is not None
    assert told.availability.observed < 1
    assert told.failures_per_hour.n == 1
    assert told.output_tokens_per_s.mean.n == 59 - told.hot_and_cold.cold_segments
    assert told.stability.findings[0].code == "outages"


def test_failures_are_counted_by_kind_and_reasons_by_code() -> None:
    of = segments(rates(40), failed={"not_a_number": 2, "timeout": 1})
    of[7] = replace(of[7], reasons={"throttled": "clocks were held back for 40 % of the window"}, notes={"odd": "x"})
    told = soak(of)
    assert told.requests.failed == {"not_a_number": 80, "timeout": 40}
    codes = [finding.code for finding in told.stability.findings]
    assert codes == ["failures", "invalid_segments"]
    assert (told.invalid["throttled"].segments, told.notes["odd"].first_at_hours) == (1, 7 / 60)


def test_the_cold_segments_are_told_apart_by_temperature_and_not_compared() -> None:
    warming = [40.0, 60.0, 68.0, *[70.0] * 57]
    cold_and_hot = [1100.0, 1050.0, *rates(58)]
    told = soak(segments(cold_and_hot, temperatures=warming))
    split = told.hot_and_cold
    assert (split.by, split.plateau_c, split.cold_segments, split.hot_segments) == ("temperature", 70.0, 2, 58)
    assert split.hot_over_cold == pytest.approx(1000 / 1075, rel=0.01)
    assert (told.compared, told.output_tokens_per_s.mean.n) == ("hot", 58)
    assert told.stability.status == "stable"


def test_settling() -> None:
    ends = [60.0 * (i + 1) for i in range(20)]
    by_time = settling([None] * 20, ends)
    assert (by_time.by, by_time.cold) == ("time", COLD_S / 60)
    assert settling([None, *[70.0] * 19], ends).by == "time"
    assert settling([69.0] * 19 + [70.0], ends).cold == 0  # it was hot when this began
    assert settling([], []).cold == 0


def test_a_soak_without_one_whole_segment_has_no_figures() -> None:
    (one,) = segments([1000.0])
    lost = replace(
        one,
        left_out="the engine failed",
        output_tokens_per_s=None,
        stretch=replace(one.stretch, up_from_s=None, gone_s=61.0, failure="not ready"),
    )
    told = soak([lost])
    assert told.output_tokens_per_s.mean.value is None
    assert (told.availability.observed, told.availability.low) == (0.0, None)
    assert told.stability.status == "unstable"
