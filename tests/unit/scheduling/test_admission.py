"""Who starts when: worst case against optimistic, and what a preemption costs and keeps."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from bench.native.policies import DecodeFirst, Policy
from bench.native.request import Request, Slice


def test_optimistic_admission_runs_together_what_the_worst_case_runs_in_turn(make_run: Any) -> None:
    running = {}
    for optimistic in (False, True):
        run = make_run(optimistic=optimistic, blocks=12, max_running=4)
        for id in range(4):
            run.add(id, 4, 25)
        for _ in range(4):
            run.step()
        running[optimistic] = run.scheduler.running
        run.until_done()
    assert running == {False: 1, True: 4}


def test_worst_case_never_preempts(make_run: Any) -> None:
    run = make_run(blocks=12)
    for id in range(6):
        run.add(id, 4, 25)
    run.until_done()
    assert run.scheduler.stats().preemptions == 0
    assert run.scheduler.stats().recomputed_tokens == 0


def test_a_start_leaves_a_block_for_each_that_runs(make_run: Any) -> None:
    run = make_run(optimistic=True, blocks=8, step_tokens=32)
    run.add(0, 16, 5)
    run.add(1, 12, 2)
    run.step()
    # Of the 4 blocks that are free the second asks 3, and leaves one for the first.
    assert (run.scheduler.running, run.scheduler.waiting) == (2, 0)
    run = make_run(optimistic=True, blocks=8, step_tokens=32)
    run.add(0, 16, 5)
    run.add(1, 13, 2)
    run.step()
    assert (run.scheduler.running, run.scheduler.waiting) == (1, 1)


def test_the_request_that_started_last_is_preempted_and_keeps_what_it_said(make_run: Any) -> None:
    run = make_run(optimistic=True, blocks=4, step_tokens=16)
    first, last = run.add(0, 4, 9), run.add(1, 4, 9)
    while not run.scheduler.stats().preemptions:
        said = len(run.token_ids[1])
        run.step()
    assert (first.preemptions, last.preemptions) == (0, 1)
    assert (last.computed, len(last.block_table), last.row) == (0, 0, -1)
    assert last.total == len(run.token_ids[1]) == said > last.prompt_tokens
    assert run.scheduler.waiting == 1
    run.until_done()
    assert run.finished == [0, 1]
    assert len(run.token_ids[1]) == 4 + 9


def test_a_preempted_request_starts_again_before_those_that_wait(make_run: Any) -> None:
    run = make_run(optimistic=True, blocks=4, step_tokens=16)
    for id in (0, 1, 2):
        run.add(id, 4, 9)
    while not run.scheduler.stats().preemptions:
        run.step()
    again: list[int] = []
    while run.scheduler.running + run.scheduler.waiting:
        again += [one.id for one, _, _ in run.step() if one.id not in again]
    assert again == [0, 1, 2]


def test_all_who_were_preempted_keep_their_order(make_run: Any) -> None:
    run = make_run(optimistic=True, blocks=9, max_running=3, step_tokens=40)
    run.add(0, 4, 32)
    run.add(1, 4, 9)
    run.add(2, 4, 9)
    while run.scheduler.waiting < 2 and run.scheduler.running:
        run.step()
    if run.scheduler.waiting:
        run.until_done()
    assert run.finished.index(1) < run.finished.index(2)


def test_what_is_computed_again_is_prefill_and_then_it_decodes(make_run: Any) -> None:
    run = make_run(optimistic=True, blocks=4, step_tokens=3)
    run.add(0, 4, 9)
    last = run.add(1, 4, 9)
    while not last.preemptions:
        run.step()
    known = last.total
    assert last.prefill_tokens == known
    chunks = []
    while not last.decoding:
        chunks += [tokens for one, tokens, _ in run.step() if one is last]
    assert sum(chunks) == known
    assert max(chunks) == 3
    assert [tokens for one, tokens, _ in run.step() if one is last] == [1]


def test_tokens_computed_again_are_counted(make_run: Any) -> None:
    run = make_run(optimistic=True, blocks=4, step_tokens=16)
    first, last = run.add(0, 4, 9), run.add(1, 4, 9)
    while not last.preemptions:
        lost = last.computed
        run.step()
    assert run.scheduler.stats().recomputed_tokens == lost > 0
    run.until_done()
    assert run.computed_tokens == first.peak_cached_tokens + last.peak_cached_tokens + lost


def test_drafts_are_given_up_before_anybody_is_preempted(make_run: Any) -> None:
    run = make_run(optimistic=True, blocks=3, step_tokens=16)
    drafting, other = run.add(0, 4, 9), run.add(1, 2, 2)
    run.step()
    assert len(drafting.block_table) + len(other.block_table) == 2
    run.draft = lambda request: (5, 0) if request is drafting else (0, 0)
    # Six tokens need two more blocks of which one is there: the newest token alone goes into it.
    assert [(one.id, tokens, drafts) for one, tokens, drafts in run.step()] == [(0, 1, 0), (1, 1, 0)]
    assert run.scheduler.stats().preemptions == 0


def test_nobody_is_preempted_for_blocks_that_are_about_to_come_free(make_run: Any) -> None:
    run = make_run(optimistic=True, blocks=3)
    scheduler = run.scheduler
    growing, ending = run.add(0, 4, 9), run.add(1, 2, 2)
    while growing.computed < 8:
        scheduler.advance(scheduler.schedule())
    assert (ending.generated, scheduler.running) == (2, 2)
    assert scheduler.schedule() == []
    scheduler.remove(ending.id)
    assert [(one.id, tokens) for one, tokens, _ in scheduler.schedule()] == [(0, 1)]
    assert scheduler.stats().preemptions == 0


class NewestFirst(Policy):
    """Decodes in the order in which none of the project's own policies has them."""

    def grant(self, waiting: Iterator[Request], running: Collection[Request], budget: int) -> list[Slice]:
        return DecodeFirst().grant(waiting, running, budget)[::-1]


def test_a_request_preempted_after_its_turn_is_not_computed(make_run: Any) -> None:
    run = make_run(policy=NewestFirst(), optimistic=True, blocks=4, step_tokens=16)
    run.add(0, 4, 9)
    last = run.add(1, 1, 9)
    while not last.preemptions:
        slices = run.step()
    assert [one.id for one, _, _ in slices] == [0]
    run.until_done()
    assert run.finished == [0, 1]


def test_two_requests_of_which_each_fills_the_pool_both_finish(make_run: Any) -> None:
    run = make_run(optimistic=True, blocks=4, step_tokens=16)
    run.add(0, 4, 13)
    run.add(1, 4, 13)
    run.until_done()
    assert run.finished == [0, 1]


def test_drafts_that_come_true_after_a_preemption_are_kept_and_computed_again(make_run: Any) -> None:
    run = make_run(optimistic=True, blocks=4, step_tokens=16)
    scheduler = run.scheduler
    run.add(0, 4, 9)
    last = run.add(1, 4, 9)
    while True:
        slices = scheduler.schedule()
        if last.preemptions:
            break
        scheduler.advance(slices)
    known = last.total
    scheduler.accept(last, 2)
    assert (last.computed, last.total, last.prefill_tokens) == (0, known + 2, known + 2)
    assert scheduler.integrity_errors() == []


def test_accepted_drafts_count_as_computed_and_as_said(make_run: Any) -> None:
    run = make_run()
    request = run.add(0, 4, 5)
    run.step()
    request.drafts = 3
    (one,) = run.scheduler.schedule()
    assert run.scheduler.advance([one]) == [0]
    assert (one.drafts, request.computed, request.total) == (3, 5, 6)
    run.scheduler.accept(request, 3)
    assert (request.computed, request.total, request.pending) == (8, 9, 1)
    # That was the last it may say.
    assert run.scheduler.schedule() == []
