"""What holds for every policy, either admission, with and without shared prefixes, drafts and overlap."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.native.request import Request

POLICIES = ["static", "prefill_first", "decode_first", "latency_budget"]
STEP_TOKENS = st.integers(1, 24)
ARRIVALS = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 40), st.integers(1, 12)), min_size=1, max_size=25)
"""Step of arrival, prompt tokens, output tokens."""


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("optimistic", [False, True], ids=["worst_case", "optimistic"])
@pytest.mark.parametrize("hashing", [False, True], ids=["alone", "shared"])
@given(
    arrivals=ARRIVALS,
    step_tokens=STEP_TOKENS,
    max_running=st.integers(1, 6),
    blocks=st.integers(13, 30),
    overlap=st.booleans(),
    drafting=st.booleans(),
    chance=st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=40)
def test_every_request_finishes_within_the_budget_whatever_comes(
    make_run: Any,
    policy: str,
    optimistic: bool,
    hashing: bool,
    arrivals: list[tuple[int, int, int]],
    step_tokens: int,
    max_running: int,
    blocks: int,
    overlap: bool,
    drafting: bool,
    chance: random.Random,
) -> None:
    run = make_run(
        policy=policy,
        optimistic=optimistic,
        hashing=hashing,
        overlap=overlap,
        step_tokens=step_tokens,
        max_running=max_running,
        blocks=blocks,
    )
    if drafting and not overlap:
        run.draft = lambda request: (chance.randint(0, 5), chance.randint(0, 5))
    # Prompts are cut from two texts: many begin alike.
    texts = [[chance.randint(0, 9) for _ in range(40)] for _ in range(2)]
    last_arrival = max(arrives for arrives, _, _ in arrivals)
    step = 0
    while step <= last_arrival or run.scheduler.waiting + run.scheduler.running:
        for id, (arrives, prompt, output) in enumerate(arrivals):
            if arrives == step:
                run.add(id, chance.choice(texts)[:prompt], output)
        work = run.scheduler.waiting + run.scheduler.running
        slices = run.step()
        assert sum(tokens for _, tokens, _ in slices) <= step_tokens
        assert len({request.id for request, _, _ in slices}) == len(slices) <= max_running
        assert all(tokens > drafts >= 0 for _, tokens, drafts in slices)
        if not overlap:
            assert bool(slices) == bool(work)
        assert run.scheduler.running <= max_running
        run.scheduler.observe(0.02 + 0.01 * len(slices), sum(not r.decoding for r, _, _ in slices), len(slices))
        step += 1
    assert sorted(run.finished) == list(range(len(arrivals)))
    assert run.scheduler.blocks.used_blocks == 0
    stats = run.scheduler.stats()
    # The last token of a request is never fed back, and what the cache had is not computed.
    needed = sum(r.peak_cached_tokens - r.cached_tokens for r in run.requests.values())
    assert run.computed_tokens == needed + stats.recomputed_tokens
    assert stats.preemptions == sum(r.preemptions for r in run.requests.values())
    assert stats.preemptions == 0 or optimistic
    assert stats.hit_tokens == sum(r.cached_tokens for r in run.requests.values())
    assert stats.hit_tokens == 0 or hashing


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("optimistic", [False, True], ids=["worst_case", "optimistic"])
def test_none_waits_for_ever_while_more_arrive_than_can_be_served(make_run: Any, policy: str, optimistic: bool) -> None:
    run = make_run(policy=policy, optimistic=optimistic, hashing=True, blocks=20)
    chance = random.Random(7)
    for arrived in range(1200):
        run.add(arrived, chance.randint(1, 40), chance.randint(1, 12))
        run.step()
    assert run.scheduler.waiting > 500
    assert set(range(120)) <= set(run.finished)
    # However long the queue, none that came later is far ahead.
    assert max(run.finished) <= len(run.finished) + 4


@pytest.mark.parametrize("policy", POLICIES)
@given(arrivals=ARRIVALS, step_tokens=STEP_TOKENS, max_running=st.integers(1, 6))
@settings(deadline=None, max_examples=40)
def test_requests_start_in_order_of_arrival(
    make_run: Any, policy: str, arrivals: list[tuple[int, int, int]], step_tokens: int, max_running: int
) -> None:
    run = make_run(policy=policy, step_tokens=step_tokens, max_running=max_running, blocks=14)
    for i, (_, prompt, output) in enumerate(arrivals):
        run.add(i, prompt, output)
    run.until_done()
    assert run.started == list(range(len(arrivals)))


def test_none_overtakes_the_first_of_the_queue_for_want_of_blocks(make_run: Any) -> None:
    run = make_run(blocks=4, step_tokens=16)
    run.add(0, 8, 5)
    run.add(1, 12, 5)
    run.add(2, 1, 1)
    run.step()
    assert run.scheduler.running == 1
    run.until_done()
    assert run.started == [0, 1, 2]
    assert run.finished.index(0) == 0


def test_what_can_never_be_served_is_refused_by_kind(make_run: Any) -> None:
    scheduler = make_run(blocks=4, context=50).scheduler
    refusals = [
        scheduler.add(Request(0, prompt_tokens=0, max_tokens=5)),
        scheduler.add(Request(1, prompt_tokens=5, max_tokens=0)),
        scheduler.add(Request(2, prompt_tokens=45, max_tokens=6)),
        scheduler.add(Request(3, prompt_tokens=12, max_tokens=6)),
    ]
    assert [refusal and refusal.kind for refusal in refusals] == [
        "empty_request",
        "empty_request",
        "context_exceeded",
        "kv_pool_exceeded",
    ]
    assert str(refusals[2]) == "context_exceeded: 45 prompt and 6 output tokens in a context of 50"
    assert scheduler.add(Request(4, prompt_tokens=12, max_tokens=5)) is None
    assert scheduler.schedule() != []


@pytest.mark.parametrize("steps_before", [0, 1, 3])
def test_a_removed_request_gives_its_blocks_back_wherever_it_was(make_run: Any, steps_before: int) -> None:
    run = make_run(max_running=1)
    run.add(0, 10, 10)
    run.add(1, 10, 10)
    for _ in range(steps_before):
        run.step()
    run.scheduler.remove(0)
    run.scheduler.remove(0)
    run.until_done()
    assert run.finished == [1]
    assert run.scheduler.blocks.used_blocks == 0


def test_a_removed_first_of_the_queue_makes_way_for_the_next(make_run: Any) -> None:
    run = make_run(blocks=4)
    run.add(0, 4, 5)
    run.add(1, 12, 2)
    run.add(2, 4, 2)
    run.step()
    run.scheduler.remove(1)
    assert [request.id for request, _, _ in run.step()] == [0, 2]


def test_a_request_costs_no_more_for_waiting_longer(make_run: Any) -> None:
    run = make_run(hashing=True, max_running=1, blocks=200, context=10_000)
    run.add(0, 8, 700)
    for id in range(1, 2000):
        run.add(id, 20, 50)
    for _ in range(100):  # what the one that runs grows by is small beside the queue
        run.step()
    tracemalloc.start()
    for _ in range(500):
        run.scheduler.advance(run.scheduler.schedule())
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert run.scheduler.waiting == 1999
    assert grown < 20_000  # ten bytes a waiting request, over 500 steps


def test_a_row_is_held_while_a_request_runs(make_run: Any) -> None:
    run = make_run(max_running=2)
    first, second, third = (run.add(id, 4, 2 + id) for id in range(3))
    run.step()
    assert {first.row, second.row} == {0, 1}
    assert third.row == -1
    freed = first.row
    run.step()
    run.step()
    assert (first.row, third.row) == (-1, freed)


def test_a_request_that_was_promised_its_last_token_computes_nothing_more_until_it_is_removed(make_run: Any) -> None:
    run = make_run(overlap=True)
    request = run.add(0, 4, 2)
    assert [tokens for _, tokens, _ in run.step()] == [4]
    assert [tokens for _, tokens, _ in run.step()] == [1]
    assert (request.generated, len(run.token_ids[0]) - 4, run.scheduler.running) == (2, 1, 1)
    assert run.step() == []
    assert run.finished == [0]
    assert run.scheduler.running == 0
