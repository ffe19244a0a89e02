"""Every axis of the engine changes when and how tokens are computed, and none of them which: they are the model's."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bench.core.records import StepRow
from bench.core.sessions import Sampling
from bench.core.spec import NativeEngineSpec
from bench.native.core import EngineCore
from bench.native.load import load_engine
from bench.native.messages import Ended, Submit
from bench.native.settings import EngineSettings

PREFIX = tuple(20 + 7 * i % 290 for i in range(40))
PROMPTS = [(*PREFIX, 21 + i, *range(30, 30 + 5 * i)) for i in range(4)] + [(5, 9, 200), (77,) * 9]
OUTPUT = 24

POLICIES = ("static", "prefill_first", "decode_first", "latency_budget")
AXES: dict[str, dict[str, Any]] = {
    "optimistic": {"admission": "optimistic"},
    "no-prefix-cache": {"prefix_cache": False},
    "overlap": {"overlap": True},
    "overlap-optimistic": {"overlap": True, "admission": "optimistic"},
    "ngram": {"speculation": {"kind": "ngram", "tokens": 3}},
    "ngram-optimistic": {"speculation": {"kind": "ngram", "tokens": 3}, "admission": "optimistic"},
    "draft-model": {"speculation": {"kind": "draft_model", "tokens": 3}},
    "piecewise-exact": {"graph_mode": "piecewise", "graph_sizes": "exact"},
    "no-graphs": {"graph_mode": "none"},
    "batch-invariant": {"numerics": "batch_invariant"},
}


@dataclass
class Ran:
    said: dict[int, list[int]]
    ended: dict[int, Ended]
    rows: list[StepRow]
    did: dict[str, Any]


def load(folder: Path, changes: dict[str, Any]) -> EngineCore:
    values = {"device": "cpu", "threads": 1, "max_running": 4, "step_tokens": 24, "block_tokens": 4, **changes}
    if (values.get("speculation") or {}).get("kind") == "draft_model":
        values["speculation"] = {**values["speculation"], "model": str(folder)}
    spec = NativeEngineSpec.model_validate({"kv_cache_tokens": 400, **values})
    return load_engine(folder, EngineSettings.of(spec.model_dump(exclude={"kind"}))).core


def run(core: EngineCore, prompts: list[tuple[int, ...]] = PROMPTS) -> Ran:
    ran = Ran({i: [] for i in range(len(prompts))}, {}, [], {})
    for i, prompt in enumerate(prompts):
        assert core.add(Submit(i, array("i", prompt), OUTPUT, True, 0, Sampling())) is None
    for _ in range(10_000):
        if not core.has_work:
            break
        step = core.step()
        ran.rows += [step.row] if step.row else []
        for tokens in step.tokens:
            ran.said[tokens.id] += tokens.token_ids
        ran.ended |= {ended.id: ended for ended in step.ended}
    assert not core.has_work
    assert core.counters().kv_blocks_used == 0
    ran.did = core.statistics()
    return ran


@pytest.mark.parametrize(("policy", "axis"), list(product(POLICIES, AXES)))
def test_tokens_are_the_models_whatever_the_strategy(small_model: Any, policy: str, axis: str) -> None:
    core = load(small_model.folder, {"policy": policy, **AXES[axis]})
    ran = run(core)
    for i, prompt in enumerate(PROMPTS):
        assert tuple(ran.said[i]) == small_model.greedy(prompt, OUTPUT), f"request {i}"
        assert ran.ended[i].reason == "length"
    output = sum(row.logit_rows - (row.drafted_tokens - row.accepted_tokens) for row in ran.rows)
    assert output == OUTPUT * len(PROMPTS) + ran.did["discarded_tokens"]


def test_a_prefix_is_served_once_it_was_computed_and_counted_for_each_request(small_model: Any) -> None:
    core = load(small_model.folder, {"max_running": 1})
    ran = run(core)
    cached = [ran.ended[i].cached_tokens for i in range(len(PROMPTS))]
    assert cached == [0, len(PREFIX), len(PREFIX), len(PREFIX), 0, 0]
    prefill = sum(row.prefill_tokens for row in ran.rows)
    assert prefill == sum(map(len, PROMPTS)) - sum(cached)
    assert ran.did["scheduler"]["hit_tokens"] == sum(cached)


def test_without_a_prefix_cache_nothing_is_served(small_model: Any) -> None:
    ran = run(load(small_model.folder, {"prefix_cache": False}))
    assert all(ended.cached_tokens == 0 for ended in ran.ended.values())


def test_an_engine_finds_nothing_that_another_left(small_model: Any) -> None:
    first, second = (load(small_model.folder, {"max_running": 1}) for _ in range(2))
    run(first, PROMPTS[:1])
    assert run(second, PROMPTS[:1]).ended[0].cached_tokens == 0
    assert run(first, PROMPTS[:1]).ended[0].cached_tokens == len(PREFIX)


def test_optimistic_admission_preempts_and_recomputes_when_the_pool_is_short(small_model: Any) -> None:
    ran = run(load(small_model.folder, {"admission": "optimistic", "prefix_cache": False, "kv_cache_tokens": 120}))
    assert ran.did["scheduler"]["preemptions"] > 0
    for i, prompt in enumerate(PROMPTS):
        assert tuple(ran.said[i]) == small_model.greedy(prompt, OUTPUT)


def test_overlap_pays_for_a_late_eos_with_one_token(small_model: Any, tmp_path: Path) -> None:
    whole = small_model.greedy(PROMPTS[4], OUTPUT)
    ending = small_model.ending(tmp_path / "model", eos=whole[6])
    core = load(ending.folder, {"overlap": True})
    assert core.add(Submit(0, array("i", PROMPTS[4]), OUTPUT, False, 0, Sampling())) is None
    said: list[int] = []
    while core.has_work:
        said += [token for tokens in core.step().tokens for token in tokens.token_ids]
    assert tuple(said) == whole[: whole.index(whole[6]) + 1]
    assert core.statistics()["discarded_tokens"] == 1


def test_drafts_of_the_model_itself_are_all_accepted(small_model: Any) -> None:
    ran = run(load(small_model.folder, {"speculation": {"kind": "draft_model", "tokens": 3}}))
    did = ran.did["speculation"]
    assert did["acceptance_length"] > 3
    assert did["accepted_tokens"] == did["drafted_tokens"] > 0


def test_speculation_takes_the_place_of_overlap_and_says_so(small_model: Any) -> None:
    spec = NativeEngineSpec.model_validate(
        {"device": "cpu", "kv_cache_tokens": 400, "overlap": True, "speculation": {"kind": "ngram"}}
    )
    loaded = load_engine(small_model.folder, EngineSettings.of(spec.model_dump(exclude={"kind"})))
    assert loaded.description["overlap"] is False
    assert loaded.description["downgrades"] == ["overlap: speculation has to know each token before it drafts"]
