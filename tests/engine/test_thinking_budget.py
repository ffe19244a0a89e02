"""A thinking budget ends the thinking of the request that has it, in every mode of the engine, and of no other."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bench.core.records import TokenKind
from bench.core.sessions import Sampling, Segment, Turn
from bench.core.spec import NativeEngineSpec
from bench.native.core import EngineCore
from bench.native.load import load_engine
from bench.native.messages import Submit
from bench.native.settings import EngineSettings
from bench.workload.prompts import PromptSynthesizer

TINY = Path(__file__).parents[2] / "configs" / "models" / "tiny"
CLOSING, EOS = 4, 2
CoreIn = Callable[[str], EngineCore]
BUDGETS = (None, 12, 29, None, 1)
LONGEST = 240
PENALISED = Sampling(temperature=0.8, seed=4, repetition_penalty=1.2)
MODES: dict[str, dict[str, Any]] = {
    "plain": {},
    "no-prefix-cache": {"prefix_cache": False},
    "overlap": {"overlap": True},
    "optimistic": {"admission": "optimistic", "kv_cache_tokens": 640},
    "overlap-optimistic": {"overlap": True, "admission": "optimistic", "kv_cache_tokens": 640},
    "ngram": {"speculation": {"kind": "ngram", "tokens": 4}},
    "draft-model": {"speculation": {"kind": "draft_model", "tokens": 3, "model": str(TINY)}},
}


@dataclass
class Said:
    token_ids: list[int] = field(default_factory=list)
    kinds: list[TokenKind] = field(default_factory=list)
    cached_tokens: int = 0


@pytest.fixture(scope="module")
def prompts() -> list[tuple[int, ...]]:
    drawn = PromptSynthesizer(TINY, "budgets", framing=True)
    return [drawn.realise(Turn(0, (Segment(str(n), 40 + n),), 1)).ids for n in range(len(BUDGETS))]


def load(mode: str) -> EngineCore:
    values = {"device": "cpu", "threads": 1, "max_running": 4, "step_tokens": 64, "kv_cache_tokens": 2048}
    invariant = {"numerics": "batch_invariant", "check_accuracy": False, "dtype": "float32"}
    spec = NativeEngineSpec.model_validate({**values, **invariant, **MODES[mode]})
    return load_engine(TINY, EngineSettings.of(spec.model_dump(exclude={"kind"}))).core


def run(
    core: EngineCore, prompts: list[tuple[int, ...]], budgets: tuple[int | None, ...], sampling: Sampling | None = None
) -> list[Said]:
    said = [Said() for _ in prompts]
    for id, (prompt, budget) in enumerate(zip(prompts, budgets, strict=True)):
        submit = Submit(id, array("i", prompt), LONGEST, False, 0, sampling or Sampling(), thinking_budget=budget)
        assert core.add(submit) is None
    while core.has_work:
        step = core.step()
        for tokens in step.tokens:
            said[tokens.id].token_ids += tokens.token_ids
            said[tokens.id].kinds += [tokens.kind] * len(tokens.token_ids)
        for ended in step.ended:
            assert ended.error is None
            said[ended.id].cached_tokens = ended.cached_tokens
    assert core.counters().kv_blocks_used == 0
    return said


@pytest.fixture(scope="module")
def core_in() -> CoreIn:
    """An engine in one of the modes, which every test that asks for it shares."""
    return cache(load)


@pytest.fixture(scope="module")
def free(core_in: CoreIn, prompts: list[tuple[int, ...]]) -> list[Said]:
    """What is said without any budget."""
    return run(core_in("plain"), prompts, (None,) * len(prompts))


@pytest.fixture(scope="module")
def held(core_in: CoreIn, prompts: list[tuple[int, ...]]) -> list[Said]:
    return run(core_in("plain"), prompts, BUDGETS)


def test_thinking_ends_with_its_budget_and_an_answer_follows(free: list[Said], held: list[Said]) -> None:
    for budget, before, after in zip(BUDGETS, free, held, strict=True):
        if budget is None:
            assert after.token_ids == before.token_ids
            continue
        # The opening tag is the model's own, and the closing one is never spared.
        thought = max(budget, 2)
        assert before.kinds.count("thinking") > thought == after.kinds.count("thinking")
        assert after.token_ids[: thought - 1] == before.token_ids[: thought - 1]
        assert after.token_ids[thought - 1] == CLOSING
        assert after.kinds[thought:].count("answer") > 1
        assert after.token_ids[-1] == EOS


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "plain"])
def test_every_mode_says_the_same(core_in: CoreIn, prompts: list[tuple[int, ...]], held: list[Said], mode: str) -> None:
    said = run(core_in(mode), prompts, BUDGETS)
    assert [one.token_ids for one in said] == [one.token_ids for one in held]
    assert [one.kinds for one in said] == [one.kinds for one in held]


@pytest.mark.parametrize("mode", ["ngram", "draft-model"])
def test_a_penalty_knows_the_imposed_token_and_not_what_it_replaced(
    core_in: CoreIn, prompts: list[tuple[int, ...]], mode: str
) -> None:
    alone = run(core_in("plain"), prompts[1:3], BUDGETS[1:3], PENALISED)
    assert run(core_in(mode), prompts[1:3], BUDGETS[1:3], PENALISED)[0].token_ids == alone[0].token_ids


@pytest.mark.parametrize("mode", ["overlap", "ngram", "draft-model"])
def test_what_was_imposed_is_in_the_prefix_cache(
    core_in: CoreIn, prompts: list[tuple[int, ...]], held: list[Said], mode: str
) -> None:
    further = [(*prompts[n], *held[n].token_ids, *prompts[n]) for n in (1, 2)]
    core = core_in(mode)
    run(core, prompts, BUDGETS)
    cached, anew = (run(one, further, (None, None)) for one in (core, core_in("no-prefix-cache")))
    assert [one.token_ids for one in cached] == [one.token_ids for one in anew]
    for one, number in zip(cached, (1, 2), strict=True):
        # The last token said need not have been fed, and a block is known when it is full.
        known = len(prompts[number]) + len(held[number].token_ids)
        assert known - 17 <= one.cached_tokens <= known
