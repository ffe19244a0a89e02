"""Hashes of prefixes, the index over them, and what requests are served from it."""

from __future__ import annotations

from array import array
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.native.prefix_cache import PrefixCache, extend_hashes

TEXT = list(range(100, 140))


def hashes(token_ids: list[int], block_tokens: int = 4, salt: bytes = b"run") -> list[bytes]:
    made: list[bytes] = []
    extend_hashes(made, array("i", token_ids), block_tokens, salt)
    return made


def chains_are_whole(run: Any) -> bool:
    """Whether every block that is known can be reached: all before it in its chain are known too."""
    cache = run.scheduler.blocks.prefixes
    reachable: set[int] = set()
    for request in run.requests.values():
        reachable.update(cache.match(request.block_hashes, len(request.block_hashes)))
    return len(reachable) == cache.cached_blocks


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=30), st.integers(0, 30), st.integers(1, 6))
def test_hashes_grow_with_the_tokens_to_what_they_are_at_once(
    token_ids: list[int], cut: int, block_tokens: int
) -> None:
    grown: list[bytes] = []
    for end in (min(cut, len(token_ids)), len(token_ids)):
        extend_hashes(grown, array("i", token_ids[:end]), block_tokens, b"run")
    assert grown == hashes(token_ids, block_tokens)
    assert len(grown) == len(token_ids) // block_tokens


def test_a_hash_tells_all_tokens_up_to_its_end_their_places_and_the_run() -> None:
    text = hashes(TEXT)
    assert hashes([*TEXT[:20], 7]) == text[:5]
    assert [a == b for a, b in zip(text, hashes([*TEXT[:5], 0, *TEXT[6:]]), strict=True)] == [True] + [False] * 9
    assert len(set(hashes([1] * 40))) == 10
    assert not set(text) & set(hashes(TEXT, salt=b"another run"))
    assert hashes(TEXT) == text


def test_the_index_gives_up_what_was_held_longest_ago_and_nothing_that_is_held() -> None:
    cache = PrefixCache()
    chain = hashes(TEXT[:16])
    for block, block_hash in enumerate(chain):
        assert cache.register(block_hash, block) == block
    assert cache.register(chain[0], 9) == 0
    assert [cache.retire(block) for block in (3, 2, 1, 9)] == [True, True, True, False]
    cache.hold(2)
    assert (cache.cached_blocks, cache.idle_blocks) == (4, 2)
    assert [cache.evict(), cache.evict()] == [3, 1]
    assert cache.match(chain, 4) == [0]
    assert (cache.cached_blocks, cache.idle_blocks, cache.evictions) == (2, 0, 2)
    assert cache.integrity_errors() == []


def test_a_prompt_is_served_what_an_earlier_one_left_but_for_its_last_token(make_run: Any) -> None:
    run = make_run(hashing=True, step_tokens=64)
    run.add(0, TEXT[:18], 1)
    run.until_done()
    longer, same, whole, other = (
        run.add(id, prompt, 1) for id, prompt in enumerate((TEXT[:24], TEXT[:18], TEXT[:16], TEXT[1:19]), 1)
    )
    tokens = {one.id: tokens for one, tokens, _ in run.step()}
    assert [one.cached_tokens for one in (longer, same, whole, other)] == [16, 16, 12, 0]
    assert tokens == {1: 8, 2: 2, 3: 4, 4: 18}


def test_what_was_said_is_served_to_the_next_turn(make_run: Any) -> None:
    run = make_run(hashing=True)
    run.add(0, TEXT[:6], 7)
    run.until_done()
    following = run.add(1, [*run.token_ids[0], 5, 6], 2)
    run.step()
    # Of 13 tokens 12 were computed, and fill three blocks: the last one said was never fed back.
    assert following.cached_tokens == 12
    run.until_done()


def test_what_was_said_last_is_served_though_its_hash_came_late(make_run: Any) -> None:
    run = make_run(hashing=True, overlap=True)
    run.add(0, TEXT[:6], 7)
    run.until_done()
    following = run.add(1, [*run.token_ids[0], 5, 6], 2)
    run.step()
    assert following.cached_tokens == 12


def test_without_hashes_nothing_is_shared(make_run: Any) -> None:
    run = make_run()
    for id in (0, 1):
        run.add(id, TEXT[:18], 1)
        run.until_done()
    assert run.requests[1].cached_tokens == 0
    assert run.scheduler.stats().cached_blocks == 0


def test_a_block_is_shared_only_once_it_is_computed_and_looked_for_when_a_request_starts(make_run: Any) -> None:
    run = make_run(hashing=True, step_tokens=10, max_running=2)
    run.add(0, TEXT[:16], 1)
    early, late = run.add(1, TEXT[:16], 1), run.add(2, TEXT[:16], 1)
    assert [(one.id, tokens) for one, tokens, _ in run.step()] == [(0, 10)]
    assert [(one.id, tokens) for one, tokens, _ in run.step()] == [(0, 6), (1, 4)]
    assert [(one.id, tokens) for one, tokens, _ in run.step()] == [(1, 4), (2, 4)]
    assert (early.cached_tokens, late.cached_tokens) == (8, 12)


def test_what_two_computed_at_once_is_kept_once(make_run: Any) -> None:
    run = make_run(hashing=True, step_tokens=64)
    for id in (0, 1, 2):
        run.add(id, TEXT[:10], 4)
    run.step()
    tables = [run.requests[id].block_table.tolist() for id in (0, 1, 2)]
    assert tables[0][:2] == tables[1][:2] == tables[2][:2]
    assert len({table[2] for table in tables}) == 3
    # Two blocks that all share, and two more each: of the worst case of 13 tokens.
    assert run.scheduler.blocks.used_blocks == 2 + 3 * 2
    run.until_done()


def test_idle_blocks_count_as_free_and_are_given_up_when_needed(make_run: Any) -> None:
    run = make_run(hashing=True, blocks=4, step_tokens=64)
    run.add(0, TEXT[:15], 2)
    run.until_done()
    assert (run.scheduler.blocks.free_blocks, run.scheduler.stats().cached_blocks) == (4, 4)
    run.add(1, [7] * 5, 1)
    run.until_done()
    # Two blocks were needed: the tail of the chain went, its head is served still.
    assert run.scheduler.stats().evictions == 2
    again = run.add(2, TEXT[:15], 2)
    run.step()
    assert again.cached_tokens == 8


def test_a_prompt_that_fits_only_because_it_is_shared_starts(make_run: Any) -> None:
    run = make_run(hashing=True, blocks=6, step_tokens=64)
    run.add(0, TEXT[:16], 8)
    run.step()
    assert run.scheduler.blocks.free_blocks == 0
    run.scheduler.remove(0)
    for id in (1, 2):
        run.add(id, TEXT[:17], 4)
    run.step()
    assert run.scheduler.running == 2
    assert run.scheduler.blocks.used_blocks == 4 + 2 * 1


def test_nobody_is_served_what_a_failed_request_left(make_run: Any) -> None:
    run = make_run(hashing=True, step_tokens=64)
    run.add(0, TEXT[:8], 1)
    run.until_done()
    run.add(1, TEXT[:16], 9)
    run.step()
    run.scheduler.remove(1, failed=True)
    assert run.scheduler.integrity_errors() == []
    again = run.add(2, TEXT[:16], 1)
    run.step()
    assert again.cached_tokens == 0


def test_what_a_failed_request_shared_with_others_stays_theirs(make_run: Any) -> None:
    run = make_run(hashing=True, step_tokens=64)
    run.add(0, TEXT[:10], 9)
    run.step()
    run.add(1, TEXT[:18], 9)
    run.step()
    run.scheduler.remove(1, failed=True)
    third = run.add(2, TEXT[:18], 2)
    run.until_done()
    assert third.cached_tokens == 8


def test_recomputation_after_a_preemption_may_hit_but_not_the_count_of_the_prompt(make_run: Any) -> None:
    run = make_run(hashing=True, optimistic=True, blocks=6, step_tokens=16)
    run.add(0, 4, 13)
    last = run.add(1, 8, 9)
    while not last.preemptions:
        run.step()
    lost = run.scheduler.stats().recomputed_tokens
    run.until_done()
    assert last.cached_tokens == 0
    assert last.recomputed_cached_tokens > 0
    stats = run.scheduler.stats()
    assert stats.recomputed_tokens == lost - last.recomputed_cached_tokens
    assert (stats.looked_up_tokens, stats.hit_tokens) == (12, 0)


def test_lookups_are_counted_once_a_request(make_run: Any) -> None:
    run = make_run(hashing=True, blocks=8, max_running=1)
    for id in range(3):
        run.add(id, TEXT[:18], 3)
    run.until_done()
    stats = run.scheduler.stats()
    assert (stats.looked_up_tokens, stats.hit_tokens) == (3 * 18, 2 * 16)


@given(
    prompts=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40), st.integers(1, 12)), min_size=1, max_size=20),
    blocks=st.integers(13, 24),
    max_running=st.integers(1, 6),
    optimistic=st.booleans(),
    overlap=st.booleans(),
)
@settings(deadline=None)
def test_no_head_of_a_chain_is_given_up_before_its_tail(
    make_run: Any,
    prompts: list[tuple[int, int, int]],
    blocks: int,
    max_running: int,
    optimistic: bool,
    overlap: bool,
) -> None:
    run = make_run(hashing=True, blocks=blocks, max_running=max_running, optimistic=optimistic, overlap=overlap)
    # Three texts that part after 0, 10 and 20 tokens.
    texts = [[text + 1 if place >= 10 * text else 0 for place in range(40)] for text in range(3)]
    for id, (text, length, output) in enumerate(prompts):
        run.add(id, texts[text][:length], output)
    while run.scheduler.running + run.scheduler.waiting:
        run.step()
        assert chains_are_whole(run)
