"""The bracketing search on a simulated service whose share of good requests falls with its load."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.bracket import MOST_RUNS, Bracket, Point, Steps, out_of_order

ASKED = 0.9
Service: TypeAlias = Callable[[float], tuple[int, int]]
"""Good requests and all of them at a load."""


def point(load: float, good: int, requests: int, **fields: bool) -> Point:
    return Point(**{**vars(Point.of(load, [(good, requests)], ASKED, 0.95)), **fields})


def search(steps: Steps, runs: dict[float, list[tuple[int, int]]], service: Service) -> list[float]:
    """Follow `steps` until they end, adding to `runs`; the loads in the order they were run."""
    followed: list[float] = []
    while (load := steps.next_load([Point.of(at, found, ASKED, 0.95) for at, found in runs.items()])) is not None:
        runs.setdefault(load, []).append(service(load))
        followed.append(load)
        assert len(followed) < 100
    return followed


def bracket_of(runs: dict[float, list[tuple[int, int]]]) -> tuple[float | None, float | None]:
    found = Bracket.of(Point.of(at, counts, ASKED, 0.95) for at, counts in runs.items())
    return found.meets and found.meets.load, found.misses and found.misses.load


def step_at(capacity: float) -> Service:
    """Every request is good up to `capacity`, and none above it."""
    return lambda load: (1000 if load <= capacity else 0, 1000)


@settings(max_examples=150, deadline=None)
@given(capacity=st.floats(1.0, 5000), start=st.integers(1, 4096), precision=st.floats(0.002, 0.5))
def test_a_count_is_found_to_its_precision(capacity: float, start: int, precision: float) -> None:
    runs: dict[float, list[tuple[int, int]]] = {}
    followed = search(Steps(start, counts=True, precision=precision), runs, step_at(capacity))
    meets, misses = bracket_of(runs)
    assert meets is not None
    assert misses is not None
    assert meets <= capacity < misses
    assert misses - meets <= max(1, precision * misses)
    assert all(load == int(load) and load >= 1 for load in followed)
    assert len(followed) == len(set(followed)) < 30


@settings(max_examples=150, deadline=None)
@given(capacity=st.floats(0.01, 1000), start=st.floats(0.05, 500), precision=st.floats(0.002, 0.5))
def test_a_rate_is_found_to_its_precision(capacity: float, start: float, precision: float) -> None:
    runs: dict[float, list[tuple[int, int]]] = {}
    followed = search(Steps(start, counts=False, precision=precision), runs, step_at(capacity))
    meets, misses = bracket_of(runs)
    assert meets is not None
    assert misses is not None
    assert meets <= capacity < misses
    assert misses - meets <= precision * misses
    assert len(followed) < 40


@settings(max_examples=40, deadline=None)
@given(capacity=st.floats(2, 400), seed=st.integers(0, 10**6), cut=st.integers(0, 12))
def test_a_noisy_service_is_bracketed_near_its_truth_and_a_search_resumes(capacity: float, seed: int, cut: int) -> None:
    """Its good share falls from 1 to 0 around `capacity`, where it is the asked one; a probe is 400 requests."""
    chance = np.random.default_rng(seed)

    def service(load: float) -> tuple[int, int]:
        share = 1 / (1 + math.exp(min(60.0, 12 * math.log(load / capacity))) * (1 - ASKED) / ASKED)
        return int(chance.binomial(400, share)), 400

    runs: dict[float, list[tuple[int, int]]] = {}
    steps = Steps(16, counts=False, precision=0.05)
    followed = search(steps, runs, service)
    meets, misses = bracket_of(runs)
    assert meets is not None
    assert misses is not None
    assert 0.8 * capacity < meets < misses < 1.25 * capacity
    assert max(len(counts) for counts in runs.values()) <= MOST_RUNS
    # The same answers up to any moment lead to the same next question.
    replayed: dict[float, list[tuple[int, int]]] = {}
    told = {load: iter(counts) for load, counts in runs.items()}
    assert search(steps, replayed, lambda load: next(told[load]))[:cut] == followed[:cut]
    assert replayed == runs


def test_an_undecided_end_is_run_again_until_its_pooled_share_decides() -> None:
    steps = Steps(8, counts=True, precision=0.05)
    near = point(8, 90, 100)
    assert not near.decided
    assert steps.next_load([near]) == 8
    pooled = Point.of(8, [(90, 100), (91, 100), (90, 100)], ASKED, 0.95)
    assert (pooled.runs, pooled.meets, pooled.decided) == (3, True, False)
    assert steps.next_load([pooled]) == 16
    assert steps.next_load([Point.of(8, [(99, 100), (100, 100)], ASKED, 0.95)]) == 16
    assert Steps(8, counts=True, precision=0.05, least_runs=2).next_load([point(8, 1000, 1000)]) == 8


def test_a_load_with_too_many_failures_misses_whatever_its_share() -> None:
    broken = point(8, 999, 1000, failed=True)
    assert (broken.meets, broken.decided) == (False, True)
    assert Steps(8, counts=True, precision=0.05).next_load([broken]) == 4


def test_where_one_at_a_time_misses_there_is_nothing_lower() -> None:
    assert Steps(4, counts=True, precision=0.05).next_load([point(1, 0, 500)]) is None


def test_what_is_known_sets_the_bracket_and_what_is_out_of_order_is_told() -> None:
    known = [point(2, 500, 500), point(8, 500, 500), point(32, 100, 500), point(64, 500, 500)]
    steps = Steps(100, counts=True, precision=0.05)
    assert steps.next_load(known) == 16
    assert out_of_order(known) == [64]
    assert out_of_order(known[:3]) == []


@pytest.mark.parametrize(("low", "high", "between"), [(4, 6, 5), (4, 5, None), (100, 104, None), (1, 4, 2)])
def test_counts_are_bisected_at_integers(low: int, high: int, between: int | None) -> None:
    steps = Steps(1, counts=True, precision=0.05)
    assert steps.next_load([point(low, 500, 500), point(high, 0, 500)]) == between


def test_rates_are_bisected_as_somebody_would_type_them() -> None:
    asked = Steps(1, counts=False, precision=0.05).next_load([point(3, 500, 500), point(7, 0, 500)])
    assert asked == 4.583
