"""What a run's speculation is told to have done."""

from __future__ import annotations

import pytest

from bench.native.speculative.statistics import SpeculationStatistics


def test_lengths_and_shares_are_means_over_what_was_verified() -> None:
    statistics = SpeculationStatistics()
    for drafted, accepted in ((4, 4), (4, 1), (0, 0), (2, 0)):
        statistics.count_request(drafted, accepted)
    statistics.count_step(duration_ns=800, drafting_ns=100)
    statistics.count_step(duration_ns=200, drafting_ns=100)
    described = statistics.describe()
    assert described["verifications"] == 3
    assert (described["drafted_tokens"], described["accepted_tokens"]) == (10, 5)
    assert described["acceptance_rate"] == pytest.approx(0.5)
    assert described["acceptance_length"] == pytest.approx(1 + 5 / 3)
    assert described["drafting_time_share"] == pytest.approx(0.2)
    assert described["most_gain"] == pytest.approx((1 + 5 / 3) * 0.8)


def test_means_over_nothing_are_null() -> None:
    statistics = SpeculationStatistics()
    statistics.count_request(0, 0)
    described = statistics.describe()
    assert described["acceptance_length"] is described["acceptance_rate"] is described["most_gain"] is None
    statistics.count_step(duration_ns=10, drafting_ns=1)
    assert statistics.describe()["drafting_time_share"] == pytest.approx(0.1)
