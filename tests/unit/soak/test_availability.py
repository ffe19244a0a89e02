"""Availability as observed, against histories of which the true one is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bench.metrics.availability import availability, failures_per_hour
from bench.metrics.outages import Stretch, up_and_down


def test_two_outages_by_hand() -> None:
    told = availability(3000.0, [100.0, 200.0], level=0.95, unobserved_s=60.0)
    assert (told.observed, told.down_s, told.outages, told.unobserved_s) == (3000 / 3300, 300.0, 2, 60.0)
    # Repair over time to failure is 0.1; the F-distribution's 0.025 point with (4, 4) degrees of freedom is 0.10412,
    # its 0.975 point with (6, 4) is 9.1973.
    assert told.high == pytest.approx(1 / (1 + 0.1 * 0.10412), rel=1e-4)
    assert told.low == pytest.approx(1 / (1 + 0.1 * 1.5 * 9.1973), rel=1e-4)


def test_repairs_that_scatter_more_than_the_interval_assumes_are_told() -> None:
    alike, scattered = (availability(9000.0, repairs, level=0.95) for repairs in ([30.0] * 9, [*[30.0] * 8, 1500.0]))
    assert "too narrow" not in alike.method
    # Their mean is 193 s and their standard deviation 490 s.
    assert "too narrow: the repairs scatter by 2.5 times their mean" in scattered.method


def test_without_a_failure_the_rule_of_three_bounds_it_from_below() -> None:
    told = availability(36_000.0, [], level=0.95, start_s=20.0)
    assert (told.observed, told.high, told.outages) == (1.0, 1.0, 0)
    assert told.low == pytest.approx(1 / (1 + -math.log(0.05) / 36_000 * 20))
    assert availability(36_000.0, [], level=0.95).low is None


def test_an_outage_that_did_not_end_leaves_no_lower_bound() -> None:
    told = availability(3600.0, [], level=0.95, unrepaired_s=[400.0])
    assert (told.observed, told.low, told.outages) == (0.9, 0.0, 1)
    assert told.high is not None
    assert 0.9 < told.high < 1


def test_nothing_up_has_no_interval() -> None:
    assert availability(0.0, [], level=0.95).observed is None
    told = availability(0.0, [], level=0.95, unrepaired_s=[5.0])
    assert (told.observed, told.low, told.high) == (0.0, None, None)


@pytest.mark.parametrize("watched_h", [3.0, 10.0, 40.0])
@pytest.mark.parametrize("repair", ["exponential", "constant"])
def test_the_interval_holds_what_is_true_as_often_as_it_says(watched_h: float, repair: str) -> None:
    """A failure each two hours on average, repaired in three minutes. 400 histories: 0.93 is two deviations below."""
    rng = np.random.default_rng(7)
    true = 2 / (2 + 0.05)
    draw: Callable[[], float] = (lambda: float(rng.exponential(0.05))) if repair == "exponential" else lambda: 0.05
    held = 0
    for _ in range(400):
        up, repairs, unrepaired = _history(rng, draw, watched_h)
        told = availability(up, repairs, level=0.95, unrepaired_s=unrepaired, start_s=0.05)
        assert told.low is not None
        assert told.high is not None
        held += told.low <= true <= told.high
    assert held / 400 >= 0.93


def _history(
    rng: np.random.Generator, repair: Callable[[], float], watched: float
) -> tuple[float, list[float], list[float]]:
    """Time up, repairs, and what was left of the last one, of `watched` hours."""
    up, repairs, now = 0.0, list[float](), 0.0
    while True:
        works = float(rng.exponential(2.0))
        if now + works >= watched:
            return up + watched - now, repairs, []
        takes = repair()
        up, now = up + works, now + works
        if now + takes >= watched:
            return up, repairs, [watched - now]
        repairs.append(takes)
        now += takes


def test_failures_per_hour() -> None:
    told = failures_per_hour(7200.0, 3, level=0.95)
    # Garwood's interval of a count of 3 is 0.6187 to 8.7673.
    assert (told.value, told.n) == (1.5, 3)
    assert told.low == pytest.approx(0.6187 / 2, rel=1e-3)
    assert told.high == pytest.approx(8.7673 / 2, rel=1e-3)
    none = failures_per_hour(3600.0, 0, level=0.95)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(-math.log(0.05))
    assert failures_per_hour(0.0, 0, level=0.95).value is None


def stretch(start: float, up_from: float | None, end: float, failure: str | None = None, **more: object) -> Stretch:
    gone_s = None if failure is None else end + 1
    return replace(Stretch(start, up_from, end, gone_s, failure), **more)


def test_an_outage_lasts_from_the_failure_to_the_next_first_token_without_the_writing_between() -> None:
    history = up_and_down(
        [
            stretch(0, 5, 60),  # the first start is planned
            stretch(62, 62, 100, "it ended"),
            stretch(103, None, 110, "not ready"),  # 2 s of writing before it
            stretch(115, 125, 180),
            stretch(181, 181, 200),
        ]
    )
    assert history.up_s == 55 + 38 + 55 + 19
    (outage,) = history.outages
    assert (outage.at_s, outage.failure, outage.starts, outage.repaired) == (100, "it ended", 2, True)
    assert outage.down_s == 1 + (110 - 103 + 1) + (125 - 115)
    assert history.repairs_s == [19]


def test_what_answered_nothing_and_then_did_again_was_down() -> None:
    history = up_and_down(
        [stretch(0, 0, 60, unanswered=((10, 18), (30, 50))), stretch(62, 62, 100, "gone", unanswered=((70, 77),))]
    )
    assert history.up_s == 60 - 8 - 20 + 38 - 7
    assert [(outage.at_s, outage.down_s, outage.starts) for outage in history.outages[:3]] == [
        (10, 8, 0),
        (30, 20, 0),
        (70, 7, 0),
    ]
    assert (history.repairs_s, history.unrepaired_s) == ([8, 20, 7], [1])


def test_what_was_down_when_nobody_watched_any_longer_was_not_repaired() -> None:
    history = up_and_down(
        [stretch(0, 5, 60, "it ended"), stretch(1000, 1010, 1060, resumed=True), stretch(1061, None, 1080, "silent")]
    )
    assert [outage.repaired for outage in history.outages] == [False, False]
    assert history.unrepaired_s == [1, 1]
    assert history.up_s == 55 + 50


def test_an_engine_that_never_answers_is_down_from_its_first_failure() -> None:
    history = up_and_down([stretch(0, None, 10, "not ready"), stretch(12, None, 20, "not ready")])
    assert (history.up_s, history.repairs_s) == (0, [])
    assert history.outages[0].down_s == 1 + 8 + 1
