"""The scheduler, driven as the engine drives it but without a model: a request emits a token whenever one is due."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.native.kv_cache import BlockAllocator
from bench.native.policies import DecodeFirst, Policy
from bench.native.request import Request, Slice
from bench.native.scheduler import Scheduler

STEP_TOKENS = st.integers(1, 24)
ARRIVALS = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 40), st.integers(1, 12)), min_size=1, max_size=25)
"""Step of arrival, prompt tokens, output tokens."""


@dataclass
class Run:
    """A scheduler and what happened to its requests."""

    scheduler: Scheduler
    started: list[int] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)

    def step(self) -> list[Slice]:
        """One step: schedule, compute, give each request that is due its token."""
        slices = self.scheduler.schedule()
        self.started += [request.id for request, _, _ in slices if request.computed == 0]
        for index in self.scheduler.advance(slices):
            request = slices[index].request
            if request.generated == request.max_tokens:
                self.scheduler.remove(request.id)
                self.finished.append(request.id)
        return slices


def make(
    *,
    policy: Policy | None = None,
    blocks: int = 16,
    block_tokens: int = 4,
    step_tokens: int = 8,
    max_running: int = 4,
    context: int = 1000,
) -> Run:
    allocator = BlockAllocator(blocks, block_tokens)
    return Run(
        Scheduler(
            policy or DecodeFirst(),
            allocator,
            step_tokens=step_tokens,
            max_running=max_running,
            max_context_tokens=context,
        )
    )


@given(ARRIVALS, STEP_TOKENS, st.integers(1, 6), st.integers(13, 30))
def test_every_request_finishes_within_the_budget_and_no_block_is_lost(
    arrivals: list[tuple[int, int, int]], step_tokens: int, max_running: int, blocks: int
) -> None:
    run = make(step_tokens=step_tokens, max_running=max_running, blocks=blocks)
    requests = [Request(i, prompt, output) for i, (_, prompt, output) in enumerate(arrivals)]
    computed = dict.fromkeys(range(len(requests)), 0)
    for step in range(21 + sum(prompt + output for _, prompt, output in arrivals)):
        for request, (arrives, _, _) in zip(requests, arrivals, strict=True):
            if arrives == step:
                assert run.scheduler.add(request) is None
        work = run.scheduler.waiting + run.scheduler.running
        slices = run.step()
        assert bool(slices) == bool(work)
        assert sum(tokens for _, tokens, _ in slices) <= step_tokens
        assert len({request.id for request, _, _ in slices}) == len(slices) <= max_running
        for request, tokens, _ in slices:
            assert tokens >= 1
            computed[request.id] += tokens
        assert run.scheduler.running <= max_running
        assert run.scheduler.integrity_errors() == []
    assert sorted(run.finished) == list(range(len(requests)))
    assert run.scheduler.blocks.used_blocks == 0
    # The last token of a request is never fed back.
    assert computed == {request.id: request.peak_cached_tokens for request in requests}


@given(ARRIVALS, STEP_TOKENS, st.integers(1, 6))
def test_requests_start_in_order_of_arrival(
    arrivals: list[tuple[int, int, int]], step_tokens: int, max_running: int
) -> None:
    run = make(step_tokens=step_tokens, max_running=max_running, blocks=14)
    for i, (_, prompt, output) in enumerate(arrivals):
        run.scheduler.add(Request(i, prompt, output))
    while run.step():
        pass
    assert run.started == sorted(run.started)


@given(ARRIVALS, STEP_TOKENS)
def test_a_decode_is_never_left_out_for_a_prefill(arrivals: list[tuple[int, int, int]], step_tokens: int) -> None:
    run = make(step_tokens=step_tokens, max_running=8, blocks=60)
    requests = [Request(i, prompt, output) for i, (_, prompt, output) in enumerate(arrivals)]
    for request in requests:
        run.scheduler.add(request)
    while run.scheduler.running or run.scheduler.waiting:
        decodes = [r.id for r in requests if r.block_table and r.decoding]
        slices = run.scheduler.schedule()
        assert [request.id for request, _, _ in slices][: len(decodes)] == decodes[:step_tokens]
        for index in run.scheduler.advance(slices):
            request = slices[index].request
            if request.generated == request.max_tokens:
                run.scheduler.remove(request.id)


def test_a_long_prompt_is_computed_in_chunks_of_what_the_decodes_leave() -> None:
    run = make(step_tokens=8)
    run.scheduler.add(Request(0, prompt_tokens=2, max_tokens=10))
    run.step()
    run.scheduler.add(Request(1, prompt_tokens=16, max_tokens=1))
    chunks = [[(request.id, tokens) for request, tokens, _ in run.step()] for _ in range(3)]
    assert chunks == [[(0, 1), (1, 7)], [(0, 1), (1, 7)], [(0, 1), (1, 2)]]
    assert run.finished == [1]


def test_none_overtakes_the_first_of_the_queue_for_want_of_blocks() -> None:
    run = make(blocks=4, block_tokens=4, step_tokens=16)
    run.scheduler.add(Request(0, prompt_tokens=8, max_tokens=5))
    run.scheduler.add(Request(1, prompt_tokens=12, max_tokens=5))
    run.scheduler.add(Request(2, prompt_tokens=1, max_tokens=1))
    run.step()
    assert run.scheduler.running == 1
    while run.step():
        pass
    assert run.started == [0, 1, 2]
    assert run.finished.index(0) == 0


def test_what_can_never_be_served_is_refused_by_kind() -> None:
    run = make(blocks=4, block_tokens=4, context=50)
    refusals = [
        run.scheduler.add(Request(0, prompt_tokens=0, max_tokens=5)),
        run.scheduler.add(Request(1, prompt_tokens=5, max_tokens=0)),
        run.scheduler.add(Request(2, prompt_tokens=45, max_tokens=6)),
        run.scheduler.add(Request(3, prompt_tokens=12, max_tokens=6)),
    ]
    assert [refusal and refusal.kind for refusal in refusals] == [
        "empty_request",
        "empty_request",
        "context_exceeded",
        "kv_pool_exceeded",
    ]
    assert str(refusals[2]) == "context_exceeded: 45 prompt and 6 output tokens in a context of 50"
    assert run.scheduler.add(Request(4, prompt_tokens=12, max_tokens=5)) is None
    assert run.scheduler.schedule() != []


@pytest.mark.parametrize("steps_before", [0, 1, 3])
def test_a_removed_request_gives_its_blocks_back_wherever_it_was(steps_before: int) -> None:
    run = make(max_running=1)
    run.scheduler.add(Request(0, prompt_tokens=10, max_tokens=10))
    run.scheduler.add(Request(1, prompt_tokens=10, max_tokens=10))
    for _ in range(steps_before):
        run.step()
    run.scheduler.remove(0)
    run.scheduler.remove(0)
    while run.step():
        pass
    assert run.finished == [1]
    assert run.scheduler.blocks.used_blocks == 0
