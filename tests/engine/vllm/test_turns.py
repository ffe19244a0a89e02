"""What passes between the driver and vLLM's process, with a stand-in for vLLM on the other side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import uvloop
from vllm_asking import TINY, Asked, answer, begin, fake_spec, finish, has_ended, request, started

from bench.core.records import Finish, TokenLogprob
from bench.core.sessions import Sampling
from bench.engine.vllm import VllmEngine
from bench.native.thinking import ThinkTags, marks_in

T = TypeVar("T")


def with_vllm(use: Callable[[VllmEngine], Awaitable[T]], **arguments: object) -> T:
    async def run() -> T:
        async with started(fake_spec(**arguments)) as engine:
            return await use(engine)

    return uvloop.run(run())


def test_a_turn_is_answered_with_its_tokens_and_the_stamps_of_both_processes() -> None:
    async def use(engine: VllmEngine) -> tuple[Asked, Finish]:
        return await answer(engine, request([100, 200], 6, thinking_tokens=2))

    asked, finished = with_vllm(use)
    assert asked.token_ids == [300, 301, 302, 303, 304, 305]
    assert asked.kinds == ["thinking"] * 2 + ["answer"] * 4
    assert (finished.reason, finished.cached_tokens, finished.error) == ("length", 0, None)
    stamps = [(chunk.t_engine_ns, chunk.t_ns) for chunk in asked.chunks]
    assert stamps == sorted(stamps)
    assert all(engine_ns is not None and engine_ns <= here_ns for engine_ns, here_ns in stamps)
    assert asked.logprobs == []


def test_marks_tell_thinking_where_lengths_are_free() -> None:
    marks = marks_in(TINY)
    assert isinstance(marks, ThinkTags)
    assert marks.closing is not None

    async def use(engine: VllmEngine) -> Asked:
        # Said are the mark before the closing one, and from there on.
        asked, _ = await answer(engine, request([marks.closing - 1, 0, marks.opening], 4, ignore_eos=False))
        return asked

    asked = with_vllm(use)
    first = asked.token_ids[0]
    expected = marks.begin([marks.closing - 1, 0, marks.opening])
    assert asked.kinds == [expected.read(token_id) for token_id in range(first, first + 4)]
    assert asked.kinds[0] == "thinking"


def test_eos_ends_a_free_answer_and_no_pinned_one() -> None:
    async def use(engine: VllmEngine) -> tuple[tuple[Asked, Finish], tuple[Asked, Finish]]:
        return await answer(engine, request([1], 5, ignore_eos=False)), await answer(engine, request([1], 5))

    (free, ended), (pinned, whole) = with_vllm(use)
    assert (free.token_ids, ended.reason) == ([1, 2], "stop")
    assert (pinned.token_ids, whole.reason) == ([1, 2, 3, 4, 5], "length")


def test_log_probabilities_are_those_of_the_place_from_likely_to_unlikely() -> None:
    async def use(engine: VllmEngine) -> Asked:
        asked, _ = await answer(engine, request([40], 2, logprobs=3))
        return asked

    assert with_vllm(use).logprobs == [
        TokenLogprob(40, -0.5, ((40, -0.5), (41, -1.5), (42, -2.5))),
        TokenLogprob(41, -0.5, ((41, -0.5), (42, -1.5), (43, -2.5))),
    ]


def test_a_budget_counts_the_tag_that_ends_the_thinking_as_our_own_engine_does(tmp_path: Path) -> None:
    async def use(engine: VllmEngine) -> list[str]:
        asked = [request([1], 4, ignore_eos=False, thinking_budget=budget) for budget in (None, 0, 1, 9)]
        asked.append(request([1], 4, thinking_budget=9))
        for one in asked:
            await answer(engine, one)
        return (tmp_path / "budgets").read_text().split()

    # The first is of the token at its start; the last is pinned.
    assert with_vllm(use, budget_file=str(tmp_path / "budgets")) == ["None", "None", "0", "0", "8", "None"]


def test_one_iteration_for_many_is_one_message() -> None:
    async def use(engine: VllmEngine) -> list[Asked]:
        asked = [await begin(engine, request([50 + index], 8)) for index in range(16)]
        await asyncio.gather(*map(finish, asked))
        return asked

    asked = with_vllm(use)
    assert [one.token_ids[0] for one in asked] == [50 + index for index in range(16)]
    # All but those that began an iteration later came together.
    assert len({chunk.t_engine_ns for one in asked for chunk in one.chunks}) <= 8 + 16
    assert max(sum(chunk.t_engine_ns == at for one in asked for chunk in one.chunks) for at in _stamps(asked)) > 4


def _stamps(asked: list[Asked]) -> set[int | None]:
    return {chunk.t_engine_ns for one in asked for chunk in one.chunks}


def test_a_cancelled_turn_ends_at_once_and_leaves_the_engine_to_others() -> None:
    async def use(engine: VllmEngine) -> tuple[Finish, Finish, int]:
        cancelled = await begin(engine, request([7], 400))
        while not cancelled.chunks:
            await asyncio.sleep(0.001)
        assert cancelled.handle is not None
        await engine.cancel(cancelled.handle)
        await engine.cancel(cancelled.handle)
        ended = await finish(cancelled)
        _, other = await answer(engine, request([8], 3))
        return ended, other, engine.counters().running

    ended, other, running = with_vllm(use)
    assert (ended.reason, other.reason, running) == ("cancelled", "length", 0)


def test_what_vllm_cannot_answer_fails_by_its_kind_and_others_go_on() -> None:
    lucky = Sampling(temperature=1.0, seed=12)
    cases = {
        "empty_request": request([], 4),
        "context_exceeded": request([1] * 510, 4),
        "unknown_token": request([2048], 4),
        "refused": request([1], 4, logprobs=21),
        "engine_error": request([1], 4, sampling=Sampling(temperature=1.0, seed=13)),
    }

    async def use(engine: VllmEngine) -> tuple[list[Finish], Finish]:
        failed = [(await answer(engine, asked))[1] for asked in cases.values()]
        return failed, (await answer(engine, request([1], 4, sampling=lucky)))[1]

    failed, after = with_vllm(use)
    assert [(one.reason, (one.error or "").partition(": ")[0]) for one in failed] == [
        ("failed", kind) for kind in cases
    ]
    assert failed[1].error == "context_exceeded: 514 tokens where the context holds 512"
    assert failed[4].error == "engine_error: an unlucky seed"
    assert after.reason == "length"


def test_a_token_biased_outside_the_vocabulary_is_unknown() -> None:
    async def use(engine: VllmEngine) -> str | None:
        sampling = Sampling(logit_bias=((5000, 1.0),))
        return (await answer(engine, request([1], 4, sampling=sampling)))[1].error

    assert with_vllm(use) == "unknown_token: token 5000 in a vocabulary of 2048"


def test_its_counters_and_settings_are_told() -> None:
    async def use(engine: VllmEngine) -> VllmEngine:
        await answer(engine, request([3] * 40, 4))
        _, again = await answer(engine, request([3] * 40, 4))
        assert again.cached_tokens == 32
        counters = engine.counters()
        assert (counters.prompt_tokens, counters.output_tokens) == (80, 8)
        assert (counters.preemptions, counters.kv_blocks_used, counters.kv_blocks_total) == (2, 1, 64)
        return engine

    engine = with_vllm(use, max_num_seqs=4, kv_cache_dtype="fp8")
    described = engine.describe()
    # The one token of its start is in neither.
    did = described["did"]
    assert did["scheduler"] == {"iterations": 8, "preemptions": 2, "most_running": 1, "most_waiting": 0}
    assert did["prefix_cache"] == {"queried_tokens": 80, "hit_tokens": 32, "hit_share": 0.4}
    assert did["graphs"] == {"steps": 8, "share_of_steps": {"full": 1.0}, "padding_share": 0.25}
    assert (did["speculation"]["acceptance_rate"], did["speculation"]["acceptance_length"]) == (0.75, 4.0)
    assert (described["kind"], described["version"], described["device"]) == ("vllm", "0.32.0+fake", "cpu")
    assert (described["dtype"], described["weight_format"], described["kv_dtype"]) == (
        "bfloat16",
        "dense",
        "float8_e4m3fn",
    )
    assert (described["accelerators"], described["accelerator_ids"]) == (0, [])
    assert described["scheduling"]["max_num_seqs"] == 4
    assert described["arguments"]["max_num_seqs"] == 4
    assert described["kv_pool"]["tokens"] == 65 * 16


def test_the_phases_of_its_start_are_read_from_its_log() -> None:
    async def run() -> None:
        async with started(fake_spec()) as engine:
            await engine.stop()
            startup = await engine.start()
            assert (startup.load_s, startup.compile_s, startup.capture_s) == (1.25, 3.5, 2.0)
            assert startup.first_token_s is not None
            assert startup.total_s > startup.first_token_s

    asyncio.run(run())


def test_what_it_can_do_is_known_before_and_after_its_start() -> None:
    async def use(engine: VllmEngine) -> tuple[int, int]:
        return engine.capabilities.max_context_tokens, engine.capabilities.logprobs

    assert with_vllm(use, max_model_len=256, max_logprobs=5) == (256, 5)


@pytest.mark.parametrize("fault", [None, "leaves_a_process"])
def test_a_stop_leaves_no_process(fault: str | None, tmp_path: Path) -> None:
    async def run() -> None:
        async with started(fake_spec(pid_file=str(tmp_path / "pid"), fault=fault)) as engine:
            open_turn = await begin(engine, request([7], 400))
            await engine.stop()
            assert (await finish(open_turn)).reason == "cancelled"
            assert await has_ended(int((tmp_path / "pid").read_text()))
            await engine.stop()

    asyncio.run(run())
