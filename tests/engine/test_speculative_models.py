"""Speculation over a real small model: the same tokens as without it, in fewer steps where drafts are good."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from neokernels.registry import Registry, Target
from transformers import Qwen3Config, Qwen3ForCausalLM

from bench.core.errors import InputError
from bench.core.records import Sampling
from bench.native.batch import BatchItem, HostBatch
from bench.native.kv_cache import BlockAllocator
from bench.native.kv_pool import KvPool
from bench.native.models import load_model
from bench.native.policies import make_policy
from bench.native.request import Request, Slice
from bench.native.sampler import Sampler
from bench.native.scheduler import Scheduler
from bench.native.speculative.draft_model import DraftModelSpeculator
from bench.native.speculative.ngram import NgramSpeculator
from bench.native.speculative.speculator import Speculator
from bench.native.speculative.statistics import SpeculationStatistics
from bench.native.speculative.verify import Verifier

BLOCK_TOKENS = 4
TARGET = Target(torch.device("cpu"), torch.float32)
PROMPTS = ((5, 9, 200, 41, 77), tuple(range(20, 60)), (7, 8, 9) * 6, (301, 4, 88))
SAMPLINGS = (
    Sampling(temperature=0.9, seed=3),
    Sampling(temperature=1.2, seed=4, top_p=0.9),
    Sampling(),
    Sampling(temperature=0.7, seed=6, top_k=30, repetition_penalty=1.3),
)


@dataclass
class Served:
    """One request and its tokens."""

    request: Request
    sampling: Sampling
    token_ids: array[int]
    row: int = -1

    @property
    def said(self) -> list[int]:
        return self.token_ids[self.request.prompt_tokens :].tolist()


@dataclass
class Engine:
    """The engine core's loop without processes, clocks and failures."""

    folder: Path
    blocks: int = 256
    step_tokens: int = 16
    optimistic: bool = False
    statistics: SpeculationStatistics = field(default_factory=SpeculationStatistics)
    steps: int = 0

    def __post_init__(self) -> None:
        self.registry = Registry()
        self.model = load_model(self.folder, TARGET, self.registry)
        vocabulary = self.model.config.vocabulary
        self.pool = KvPool(self.model.cache_shape, self.blocks, BLOCK_TOKENS, torch.float32, TARGET.device)
        self.sampler = Sampler(self.registry, TARGET, max_running=4, vocabulary=vocabulary)
        self.verifier = Verifier(self.sampler, self.registry, TARGET)
        self.scheduler = Scheduler(
            make_policy("decode_first", tpot_target_ms=50.0),
            BlockAllocator(self.blocks, BLOCK_TOKENS),
            step_tokens=self.step_tokens,
            max_running=4,
            max_context_tokens=self.model.config.max_positions,
            optimistic=self.optimistic,
        )
        self.speculator: Speculator = NgramSpeculator(tokens=4, match_tokens=3, max_running=4)

    def drafting_with(self, folder: Path, *, coupled: bool, tokens: int = 3) -> Engine:
        model = load_model(folder, TARGET, Registry())
        pool = KvPool(model.cache_shape, self.blocks, BLOCK_TOKENS, torch.float32, TARGET.device)
        self.speculator = DraftModelSpeculator(
            model,
            pool,
            self.sampler,
            TARGET.device,
            vocabulary=self.model.config.vocabulary,
            tokens=tokens,
            max_running=4,
            coupled=coupled,
        )
        return self

    def answer(self, prompts: Sequence[Sequence[int]], tokens: int, samplings: Sequence[Sampling]) -> list[list[int]]:
        served = [
            Served(Request(id, len(prompt), tokens), sampling, array("i", prompt))
            for id, (prompt, sampling) in enumerate(zip(prompts, samplings, strict=True))
        ]
        for one in served:
            assert self.scheduler.add(one.request) is None
        while any(len(one.said) < tokens for one in served):
            self.step(served)
            assert self.scheduler.integrity_errors() == []
        return [one.said for one in served]

    def step(self, served: list[Served]) -> None:
        for one in served:
            one.request.drafts = self.speculator.plan(one.request) if one.request.row >= 0 else 0
        slices = self.scheduler.schedule()
        for request, *_ in slices:
            one = served[request.id]
            if one.row != request.row or not request.computed:
                one.row = request.row
                self.sampler.begin(request.row, one.sampling, one.token_ids)
                self.speculator.begin(request, one.token_ids)
        drafts = self.speculator.draft(slices)
        items = [
            self.item(one, served[one.request.id], drafted) for one, drafted in zip(slices, drafts.tokens, strict=True)
        ]
        due = self.scheduler.advance(slices)
        rows = self.verifier.rows(
            np.array([slices[index].request.row for index in due], dtype=np.int64),
            np.array([slices[index].request.total - 1 for index in due], dtype=np.int64),
            [drafts.tokens[index] for index in due],
        )
        logits = self.model.forward(HostBatch.of(items, BLOCK_TOKENS).on(TARGET.device), self.pool)
        if due:
            given = self.verifier.verify(logits, rows, drafts.probabilities).tolist()
            for index, tokens in zip(due, given, strict=True):
                self.book(slices[index], served[slices[index].request.id], [token for token in tokens if token >= 0])
        self.steps += 1

    def item(self, one: Slice, served: Served, drafted: list[int]) -> BatchItem:
        request, tokens, drafts = one
        assert len(drafted) == drafts
        known = served.token_ids[request.computed : request.computed + tokens - drafts]
        due = request.computed + tokens - drafts == request.total
        return BatchItem([*known, *drafted], request.computed, request.block_table, (1 + drafts) * due)

    def book(self, one: Slice, served: Served, tokens: list[int]) -> None:
        served.token_ids.extend(tokens)
        self.scheduler.accept(one.request, len(tokens) - 1)
        self.statistics.count_request(one.drafts, len(tokens) - 1)
        if len(served.said) == one.request.max_tokens:
            self.scheduler.remove(one.request.id)
            served.row = -1


class Nothing:
    """Never drafts."""

    def begin(self, request: Request, token_ids: array[int]) -> None: ...

    def plan(self, request: Request) -> int:
        return 0

    def draft(self, slices: Sequence[Slice]) -> Any:
        return NgramSpeculator(tokens=1, match_tokens=1, max_running=4).draft(slices)


def without_drafts(folder: Path) -> Engine:
    engine = Engine(folder)
    engine.speculator = Nothing()
    return engine


@pytest.fixture(scope="module")
def smaller_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another random model of the same vocabulary, whose guesses are mostly wrong."""
    return saved_model(tmp_path_factory.mktemp("smaller_model"), vocabulary=320)


def saved_model(folder: Path, vocabulary: int, context: int = 512, change: Callable[[Any], None] | None = None) -> Path:
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=context,
        initializer_range=0.3,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = Qwen3ForCausalLM(config)
    if change is not None:
        with torch.no_grad():
            change(model)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def plain(small_model: Any) -> list[list[int]]:
    """What each sampling says without speculation."""
    return without_drafts(small_model.folder).answer(PROMPTS, 40, SAMPLINGS)


def test_the_loop_without_drafts_says_what_transformers_says(small_model: Any) -> None:
    said = without_drafts(small_model.folder).answer(PROMPTS, 20, [Sampling()] * 4)
    assert [tuple(tokens) for tokens in said] == [small_model.greedy(prompt, 20) for prompt in PROMPTS]


def test_prompt_lookup_leaves_every_token_as_it_is(small_model: Any, plain: list[list[int]]) -> None:
    engine = Engine(small_model.folder)
    assert engine.answer(PROMPTS, 40, SAMPLINGS) == plain
    assert engine.statistics.drafted_tokens > 0


def test_prompt_lookup_saves_steps_where_a_text_repeats_itself(small_model: Any) -> None:
    """A penalty below 1 makes the model say again what it has said."""
    repeating, prompt = Sampling(repetition_penalty=0.2), PROMPTS[:1]
    alone = without_drafts(small_model.folder)
    said = alone.answer(prompt, 60, [repeating])
    engine = Engine(small_model.folder)
    assert engine.answer(prompt, 60, [repeating]) == said
    assert engine.steps < alone.steps / 2
    described = engine.statistics.describe()
    assert described["acceptance_length"] > 3
    # Each token but the first of the 60, which the prompt gives, comes out of a step that verified or one that did not.
    assert engine.steps - 1 + engine.statistics.accepted_tokens == 59


@pytest.mark.parametrize("optimistic", [False, True])
def test_drafts_with_the_models_own_noise_leave_every_token_as_it_is(
    small_model: Any, smaller_model: Path, plain: list[list[int]], optimistic: bool
) -> None:
    """Also when requests are preempted and start again: 36 blocks do not hold the four at their longest."""
    blocks = 36 if optimistic else 256
    engine = Engine(small_model.folder, blocks=blocks, optimistic=optimistic)
    engine.drafting_with(smaller_model, coupled=True)
    assert engine.answer(PROMPTS, 40, SAMPLINGS) == plain
    assert (engine.scheduler.stats().preemptions > 0) == optimistic
    assert engine.statistics.accepted_tokens > 0


def test_a_model_that_drafts_for_itself_is_always_right(small_model: Any, plain: list[list[int]]) -> None:
    """That it is shows that its own cache never lacks a token, whatever was accepted before."""
    for coupled in (True, False):
        engine = Engine(small_model.folder).drafting_with(small_model.folder, coupled=coupled)
        said = engine.answer(PROMPTS, 40, SAMPLINGS)
        assert engine.statistics.accepted_tokens == engine.statistics.drafted_tokens > 80
        assert (said == plain) == coupled


def test_greedy_requests_say_the_same_whatever_drafts_for_them(small_model: Any, smaller_model: Path) -> None:
    engine = Engine(small_model.folder).drafting_with(smaller_model, coupled=False)
    said = engine.answer(PROMPTS, 30, [Sampling(), SAMPLINGS[0], Sampling(), SAMPLINGS[1]])
    for index in (0, 2):
        assert tuple(said[index]) == small_model.greedy(PROMPTS[index], 30)
    assert 0 < engine.statistics.accepted_tokens < engine.statistics.drafted_tokens


def test_a_draft_model_whose_logits_are_no_numbers_does_no_harm(
    small_model: Any, tmp_path: Path, plain: list[list[int]]
) -> None:
    def ruin(model: Any) -> None:
        model.get_output_embeddings().weight.fill_(torch.nan)

    broken = saved_model(tmp_path / "broken", vocabulary=320, change=ruin)
    engine = Engine(small_model.folder).drafting_with(broken, coupled=True)
    assert engine.answer(PROMPTS, 40, SAMPLINGS) == plain
    engine = Engine(small_model.folder).drafting_with(broken, coupled=False)
    said = engine.answer(PROMPTS, 40, SAMPLINGS)
    assert said[2] == plain[2]
    assert all(0 <= token < 320 for tokens in said for token in tokens)


def test_a_draft_model_of_a_shorter_context_stops_drafting_at_its_end(
    small_model: Any, tmp_path: Path, plain: list[list[int]]
) -> None:
    short = saved_model(tmp_path / "short", vocabulary=320, context=32)
    engine = Engine(small_model.folder).drafting_with(short, coupled=True)
    assert engine.answer(PROMPTS, 40, SAMPLINGS) == plain
    assert engine.statistics.drafted_tokens > 0


def test_a_draft_model_of_another_vocabulary_is_refused(small_model: Any, tmp_path: Path) -> None:
    other = saved_model(tmp_path / "other", vocabulary=321)
    with pytest.raises(InputError, match="a draft model of 321 tokens"):
        Engine(small_model.folder).drafting_with(other, coupled=True)
