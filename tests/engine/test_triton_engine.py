"""The engine with Triton's kernels in the place of the references: the same tokens, whatever happens to a request."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from interpreted import InterpretedRegistry, as_on_hopper
from neokernels.registry import Registry, Target

from bench.core.sessions import Sampling
from bench.core.spec import NativeEngineSpec
from bench.native.core import EngineCore
from bench.native.load import load_engine
from bench.native.messages import Submit
from bench.native.sampler import Sampler
from bench.native.settings import EngineSettings
from bench.native.speculative.verify import Verifier

pytestmark = pytest.mark.interpreted

VOCABULARY = 300
ASKED = (
    Sampling(),
    Sampling(temperature=0.8),
    Sampling(temperature=1.0, top_k=12),
    Sampling(temperature=0.6, top_k=20, top_p=0.95),
    Sampling(temperature=1.2, top_p=0.7, min_p=0.02),
    Sampling(temperature=0.9, min_p=0.1, repetition_penalty=1.2),
    Sampling(temperature=1.1, top_k=80, top_p=0.9, repetition_penalty=0.8, logit_bias=((7, -50.0),)),
)


@pytest.fixture(autouse=True)
def on_hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    as_on_hopper(monkeypatch)
    for module in ("bench.native.load", "bench.native.speculative.build"):
        monkeypatch.setattr(f"{module}.Registry", InterpretedRegistry)


def engine(folder: Any, **changes: Any) -> EngineCore:
    values = {
        "device": "cpu",
        "threads": 1,
        "max_running": 3,
        "step_tokens": 8,
        "block_tokens": 4,
        "kv_cache_tokens": 256,
        "check_accuracy": False,
        **changes,
    }
    return load_engine(folder, EngineSettings.of(NativeEngineSpec(**values).model_dump(exclude={"kind"}))).core


def answers(core: EngineCore, prompts: Sequence[Sequence[int]], tokens: int) -> tuple[list[tuple[int, ...]], list[int]]:
    """What is said to each prompt, and how many tokens of each were served from the prefix cache."""
    said: list[list[int]] = [[] for _ in prompts]
    cached = [0] * len(prompts)
    for id, prompt in enumerate(prompts):
        assert core.add(Submit(id, array("i", prompt), tokens, True, 0, Sampling())) is None
    while core.has_work:
        step = core.step()
        for made in step.tokens:
            said[made.id].extend(made.token_ids)
        for ended in step.ended:
            assert ended.error is None
            cached[ended.id] = ended.cached_tokens
    return [tuple(token_ids) for token_ids in said], cached


def test_greedy_tokens_with_a_prefix_that_is_served_again(small_model: Any) -> None:
    core = engine(small_model.folder, max_running=2)
    prefix = tuple(range(20, 28))
    first, second = (*prefix, 41), (*prefix, 99, 7)
    said, _ = answers(core, [first], 3)
    more, cached = answers(core, [second], 3)
    assert said + more == [small_model.greedy(prompt, 3) for prompt in (first, second)]
    assert cached == [len(prefix)]


def test_greedy_tokens_of_requests_that_are_preempted(small_model: Any) -> None:
    core = engine(small_model.folder, admission="optimistic", prefix_cache=False, kv_cache_tokens=20)
    prompts = [(5, 9, 200, 41, 77), tuple(range(30, 37))]
    said, _ = answers(core, prompts, 6)
    assert said == [small_model.greedy(prompt, 6) for prompt in prompts]
    assert core.counters().preemptions > 0


@pytest.mark.slow
def test_greedy_tokens_by_drafts(small_model: Any) -> None:
    core = engine(
        small_model.folder, speculation={"kind": "draft_model", "model": str(small_model.folder), "tokens": 2}
    )
    prompts = [(5, 9, 200, 41, 77), (7, 8)]
    said, _ = answers(core, prompts, 6)
    assert said == [small_model.greedy(prompt, 6) for prompt in prompts]
    did = core.statistics()["speculation"]
    assert did["accepted_tokens"] == did["drafted_tokens"] > 0


def samplers() -> list[tuple[Sampler, Verifier]]:
    """Of Triton, and of the references."""
    target = Target(torch.device("cpu"), torch.float32)
    made = []
    for registry in (InterpretedRegistry(), Registry(reference=True)):
        sampler = Sampler(registry, target, max_running=len(ASKED), vocabulary=VOCABULARY)
        made.append((sampler, Verifier(sampler, registry, target)))
        for row, sampling in enumerate(ASKED):
            sampler.begin(row, sampling, [3, 5, 5, 9])
    return made


def logits_of(rows: int, seed: int) -> torch.Tensor:
    return 3 * torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed))


def test_sampled_tokens() -> None:
    """Also those of a row that is not finite, and of what is a repetition since the step before."""
    rows = np.arange(len(ASKED))
    said = []
    for sampler, _ in samplers():
        tokens = []
        for step in range(3):
            logits = logits_of(len(ASKED), step)
            logits[1, 77] = torch.nan if step == 1 else 0.0
            tokens.append(sampler.choose(logits, sampler.rows(rows, np.full(len(rows), 4 + step))).tolist())
        said.append(tokens)
    assert said[0] == said[1]
    assert said[0][1][1] == -1


@pytest.mark.parametrize("judged", [False, True], ids=["by match", "by rejection"])
def test_verified_tokens(judged: bool) -> None:
    rows = np.arange(len(ASKED))
    first, second = logits_of(1, 2)[0].topk(2).indices.tolist()
    drafts = [[first, first], [11, 12], [first], [], [first, second], [second, first], [17]]
    count = sum(map(len, drafts))
    given = []
    for _, verifier in samplers():
        probabilities = (logits_of(1, 2) + logits_of(count, 4) / 6).softmax(-1) if judged else None
        drafted = verifier.rows(rows, np.full(len(rows), 4), drafts)
        logits = logits_of(1, 2) + logits_of(count + len(ASKED), 3) / 6
        given.append(verifier.verify(logits, drafted, probabilities).tolist())
    assert given[0] == given[1]
    assert {sum(token >= 0 for token in tokens) for tokens in given[0]} == {1, 2, 3}
