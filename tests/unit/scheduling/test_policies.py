"""What each policy grants, and in what order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.native.policies import DecodeFirst, LatencyBudget, Policy, PrefillFirst, Static
from bench.native.request import Request

PHASES = st.lists(st.tuples(st.booleans(), st.integers(1, 30), st.integers(0, 4)), max_size=12)
"""Whether a request decodes, its prompt tokens, its drafts."""


def request(id: int, *, decoding: bool, prompt_tokens: int = 10, drafts: int = 0, max_tokens: int = 20) -> Request:
    made = Request(id, prompt_tokens, max_tokens)
    made.drafts = drafts
    if decoding:
        made.computed, made.total = prompt_tokens, prompt_tokens + 1
    return made


def granted(policy: Policy, waiting: list[Request], running: list[Request], budget: int) -> list[tuple[int, int, int]]:
    return [(one.id, tokens, drafts) for one, tokens, drafts in policy.grant(iter(waiting), running, budget)]


@pytest.mark.parametrize("policy", [Static(), PrefillFirst(), DecodeFirst(), LatencyBudget(0.05)])
@given(running=PHASES, waiting=PHASES, budget=st.integers(1, 40))
@settings(deadline=None)
def test_grants_fit_the_budget_and_what_requests_ask_for(
    policy: Policy, running: list[tuple[bool, int, int]], waiting: list[tuple[bool, int, int]], budget: int
) -> None:
    runs = [
        request(i, decoding=decoding, prompt_tokens=prompt, drafts=drafts)
        for i, (decoding, prompt, drafts) in enumerate(running)
    ]
    waits = [request(100 + i, decoding=False, prompt_tokens=prompt) for i, (_, prompt, _) in enumerate(waiting)]
    slices = policy.grant(iter(waits), runs, budget)
    assert bool(slices) == bool(runs or waits)
    assert sum(tokens for _, tokens, _ in slices) <= budget
    assert len({one.id for one, _, _ in slices}) == len(slices)
    for one, tokens, drafts in slices:
        assert 1 <= tokens - drafts <= one.pending
        assert 0 <= drafts <= (one.drafts if one.decoding else 0)


def test_static_runs_a_batch_to_its_end_before_the_next(make_run: Any) -> None:
    run = make_run(policy="static", max_running=3, blocks=100, step_tokens=4)
    for id, (prompt, output) in enumerate([(6, 2), (6, 9), (6, 4), (3, 2), (3, 2)]):
        run.add(id, prompt, output)
    run.step()
    # All of the batch is started, though the budget is too short for the second prompt.
    assert (run.scheduler.running, run.scheduler.waiting) == (3, 2)
    while run.scheduler.running:
        assert {one.id for one, _, _ in run.step()} <= {0, 1, 2}
    assert run.finished == [0, 2, 1]
    assert {one.id for one, _, _ in run.step()} <= {3, 4}
    assert run.scheduler.running == 2


def test_static_waits_for_all_that_the_last_batch_holds(make_run: Any) -> None:
    run = make_run(policy="static", overlap=True, max_running=4, blocks=100, step_tokens=64)
    for id in range(8):
        run.add(id, 3, 4 if id else 2)
    sizes = [len(run.step()) for _ in range(12)]
    # While the last tokens of a batch are on their way there is room for one, and it is not taken for a batch.
    assert sizes[:6] == [4, 4, 3, 3, 0, 4]


@pytest.mark.parametrize("policy", ["static", "prefill_first"])
def test_steps_are_of_one_kind(make_run: Any, policy: str) -> None:
    run = make_run(policy=policy, max_running=4, blocks=100)
    for id in range(9):
        run.add(id, 1 + 5 * id, 3 + id)
    while run.scheduler.running + run.scheduler.waiting:
        phases = {one.id: one.decoding for one in run.requests.values()}
        assert len({phases[one.id] for one, _, _ in run.step()}) == 1


def test_prefill_first_lets_new_prompts_go_before_decodes() -> None:
    running = [request(0, decoding=True), request(1, decoding=False)]
    waiting = [request(2, decoding=False), request(3, decoding=False)]
    assert granted(PrefillFirst(), waiting, running, 25) == [(1, 10, 0), (2, 10, 0), (3, 5, 0)]
    assert granted(PrefillFirst(), [], running[:1], 25) == [(0, 1, 0)]


def test_decode_first_never_leaves_a_decode_out_for_a_prefill() -> None:
    running = [request(0, decoding=False), request(1, decoding=True), request(2, decoding=True)]
    waiting = [request(3, decoding=False)]
    assert granted(DecodeFirst(), waiting, running, 16) == [(1, 1, 0), (2, 1, 0), (0, 10, 0), (3, 4, 0)]
    assert granted(DecodeFirst(), waiting, running, 5) == [(1, 1, 0), (2, 1, 0), (0, 3, 0)]
    assert granted(DecodeFirst(), waiting, running, 1) == [(1, 1, 0)]


def test_a_long_prompt_is_computed_in_chunks_of_what_the_decodes_leave(make_run: Any) -> None:
    run = make_run(step_tokens=8)
    run.add(0, 2, 10)
    run.step()
    run.add(1, 16, 1)
    chunks = [[(one.id, tokens) for one, tokens, _ in run.step()] for _ in range(3)]
    assert chunks == [[(0, 1), (1, 7)], [(0, 1), (1, 7)], [(0, 1), (1, 2)]]
    assert run.finished == [1]


def test_a_request_that_gets_nothing_is_not_drawn() -> None:
    waiting = iter([request(id, decoding=False) for id in range(3)])
    assert len(DecodeFirst().grant(waiting, [], 10)) == 1
    assert [one.id for one in waiting] == [1, 2]


@pytest.mark.parametrize("policy", [Static(), PrefillFirst(), DecodeFirst(), LatencyBudget(0.05)])
def test_drafts_are_cut_before_any_decode_loses_its_newest_token(policy: Policy) -> None:
    running = [request(0, decoding=True, drafts=4), request(1, decoding=True), request(2, decoding=True, drafts=3)]
    assert granted(policy, [], running, 20) == [(0, 5, 4), (1, 1, 0), (2, 4, 3)]
    assert granted(policy, [], running, 8) == [(0, 5, 4), (1, 1, 0), (2, 2, 1)]
    assert granted(policy, [], running, 5) == [(0, 3, 2), (1, 1, 0), (2, 1, 0)]
    assert granted(policy, [], running, 2) == [(0, 1, 0), (1, 1, 0)]


def test_no_more_is_drafted_than_may_still_be_said() -> None:
    nearly_done = request(0, decoding=True, drafts=4, max_tokens=3)
    assert granted(DecodeFirst(), [], [nearly_done], 20) == [(0, 2, 1)]
    nearly_done.total = nearly_done.prompt_tokens + 2
    nearly_done.computed += 1
    assert granted(DecodeFirst(), [], [nearly_done], 20) == [(0, 1, 0)]


TARGET_S, STEP_S, PREFILL_TOKEN_S = 0.05, 0.03, 0.0002


def allowance(policy: LatencyBudget) -> int:
    """Prefill tokens the policy grants now beside one decode."""
    running = [request(0, decoding=True), request(1, decoding=False, prompt_tokens=100_000)]
    decode, *prefill = granted(policy, [], running, 8192)
    assert decode == (0, 1, 0)
    return sum(tokens for _, tokens, _ in prefill)


def test_latency_budget_nears_the_target_from_the_first_slow_step_on_and_then_keeps_to_it() -> None:
    policy = LatencyBudget(TARGET_S)
    durations = []
    for _ in range(60):
        tokens = allowance(policy)
        durations.append(STEP_S + PREFILL_TOKEN_S * tokens)
        policy.observe(durations[-1], tokens, 1)
    assert durations[0] > 10 * TARGET_S
    first_within = next(step for step, seconds in enumerate(durations) if seconds <= TARGET_S * 1.01)
    assert first_within < 20
    assert all(0.95 * TARGET_S < seconds <= 1.01 * TARGET_S for seconds in durations[30:])


def test_latency_budget_never_falls_to_nothing_and_recovers() -> None:
    policy = LatencyBudget(TARGET_S)
    for _ in range(100):
        policy.observe(10 * TARGET_S, allowance(policy), 1)
    assert allowance(policy) == 1
    for _ in range(100):
        tokens = allowance(policy)
        policy.observe(STEP_S + PREFILL_TOKEN_S * tokens, tokens, 1)
    assert allowance(policy) > 90


def test_one_slow_step_costs_at_most_half_the_allowance() -> None:
    policy = LatencyBudget(TARGET_S)
    policy.observe(2 * TARGET_S, 200, 1)
    before = allowance(policy)
    policy.observe(100 * TARGET_S, before, 1)
    assert allowance(policy) == before // 2 == 50


def test_latency_budget_learns_nothing_from_steps_of_one_kind_and_spares_no_prompt_without_a_decode() -> None:
    policy = LatencyBudget(TARGET_S)
    policy.observe(10 * TARGET_S, 200, 1)
    before = allowance(policy)
    policy.observe(10 * TARGET_S, 0, 64)
    policy.observe(10 * TARGET_S, 8192, 0)
    assert allowance(policy) == before == 100
    assert granted(policy, [request(5, decoding=False, prompt_tokens=900)], [], 512) == [(5, 512, 0)]


def test_a_late_report_of_a_larger_step_does_not_raise_the_allowance() -> None:
    policy = LatencyBudget(TARGET_S)
    policy.observe(2 * TARGET_S, 200, 1)
    policy.observe(1.1 * TARGET_S, 400, 1)
    assert allowance(policy) == 100


def test_small_steps_that_were_fast_do_not_cut_the_allowance() -> None:
    policy = LatencyBudget(TARGET_S)
    policy.observe(2 * TARGET_S, 400, 1)
    policy.observe(0.9 * TARGET_S, 3, 1)
    assert allowance(policy) == 200
