"""Speculation in the engine: the same tokens as without it, in fewer steps where drafts are good."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from bench.core.errors import InputError
from bench.core.records import StepRow
from bench.core.sessions import Sampling
from bench.core.spec import NativeEngineSpec
from bench.native.core import EngineCore
from bench.native.load import load_engine
from bench.native.messages import Submit
from bench.native.request import Slice
from bench.native.settings import EngineSettings
from bench.native.speculative.draft_model import DraftModelSpeculator
from bench.native.speculative.speculator import Drafts

PROMPTS = ((5, 9, 200, 41, 77), tuple(range(20, 60)), (7, 8, 9) * 6, (301, 4, 88))
SAMPLINGS = (
    Sampling(temperature=0.9, seed=3),
    Sampling(temperature=1.2, seed=4, top_p=0.9),
    Sampling(),
    Sampling(temperature=0.7, seed=6, top_k=30, repetition_penalty=1.3),
)
OUTPUT = 40
NGRAM = {"kind": "ngram", "tokens": 4}


@dataclass(frozen=True)
class Answers:
    said: list[list[int]]
    rows: list[StepRow]
    did: dict[str, Any]
    """The engine's account of its speculation."""
    errors: list[str]


def engine(folder: Path, speculation: dict[str, Any] | None = None, **changes: Any) -> EngineCore:
    values = {
        "device": "cpu",
        "threads": 1,
        "max_running": 4,
        "step_tokens": 16,
        "block_tokens": 4,
        "kv_cache_tokens": 1024,
        "speculation": speculation,
    }
    spec = NativeEngineSpec.model_validate({**values, **changes})
    return load_engine(folder, EngineSettings.of(spec.model_dump(exclude={"kind"}))).core


def run(core: EngineCore, samplings: Sequence[Sampling]) -> Answers:
    """What an engine answers to the prompts, one for each of `samplings`, asked together."""
    answers = Answers([[] for _ in samplings], [], {}, [])
    for id, sampling in enumerate(samplings):
        assert core.add(Submit(id, array("i", PROMPTS[id]), OUTPUT, True, 0, sampling)) is None
    while core.has_work:
        step = core.step()
        answers.rows.extend([step.row] if step.row else [])
        for tokens in step.tokens:
            answers.said[tokens.id].extend(tokens.token_ids)
        answers.errors.extend(ended.error for ended in step.ended if ended.error is not None)
    answers.did.update(core.statistics()["speculation"] or {}, preemptions=core.counters().preemptions)
    return answers


def ask(
    folder: Path, samplings: Sequence[Sampling], speculation: dict[str, Any] | None = None, **changes: Any
) -> Answers:
    """The answers of a new engine, all of them whole."""
    answers = run(engine(folder, speculation, **changes), samplings)
    assert answers.errors == []
    return answers


def by_model(folder: Path) -> dict[str, Any]:
    return {"kind": "draft_model", "model": str(folder), "tokens": 3}


def saved_model(folder: Path, vocabulary: int, context: int = 512, change: Callable[[Any], None] | None = None) -> Path:
    """A random model, smaller than the one it drafts for."""
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
def smaller_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its guesses are mostly wrong."""
    return saved_model(tmp_path_factory.mktemp("smaller_model"), vocabulary=320)


@pytest.fixture(scope="module")
def plain(small_model: Any) -> list[list[int]]:
    """What each sampling says without speculation."""
    return ask(small_model.folder, SAMPLINGS).said


def test_prompt_lookup_leaves_every_token_as_it_is(small_model: Any, plain: list[list[int]]) -> None:
    answers = ask(small_model.folder, SAMPLINGS, NGRAM)
    assert answers.said == plain
    assert answers.did["accepted_tokens"] > 0


def test_prompt_lookup_saves_steps_where_a_text_repeats_itself(small_model: Any) -> None:
    """A penalty below 1 makes the model say again what it has said."""
    repeating = [Sampling(repetition_penalty=0.2)]
    alone, speculated = ask(small_model.folder, repeating), ask(small_model.folder, repeating, NGRAM)
    assert speculated.said == alone.said
    assert len(speculated.rows) < len(alone.rows) / 2
    assert speculated.did["acceptance_length"] > 3
    assert 0 < speculated.did["drafting_time_share"] < 1
    for name in ("drafted_tokens", "accepted_tokens"):
        assert speculated.did[name] == sum(getattr(row, name) for row in speculated.rows)
    # Each step gives the request a token, the prompt's too, and what it accepts besides.
    assert len(speculated.rows) + speculated.did["accepted_tokens"] == OUTPUT


@pytest.mark.parametrize("cache_tokens", [1024, 144])
def test_drafts_with_the_models_own_noise_leave_every_token_as_it_is(
    small_model: Any, smaller_model: Path, plain: list[list[int]], cache_tokens: int
) -> None:
    """Also where the cache does not hold the four at their longest, and they are preempted and start again."""
    answers = ask(
        small_model.folder,
        SAMPLINGS,
        by_model(smaller_model),
        numerics="batch_invariant",
        admission="optimistic",
        kv_cache_tokens=cache_tokens,
    )
    assert answers.said == plain
    assert (answers.did["preemptions"] > 0) == (cache_tokens == 144)
    assert 0 < answers.did["accepted_tokens"] < answers.did["drafted_tokens"]


@pytest.mark.parametrize("numerics", ["fast", "batch_invariant"])
def test_a_model_that_drafts_for_itself_is_always_right(
    small_model: Any, plain: list[list[int]], numerics: str
) -> None:
    """That it is shows that its own cache never lacks a token, whatever was accepted before."""
    answers = ask(small_model.folder, SAMPLINGS, by_model(small_model.folder), numerics=numerics)
    assert answers.did["accepted_tokens"] == answers.did["drafted_tokens"] > 80
    # With fast numerics a draft is a draw of its own, which is judged and not compared.
    assert answers.did["judged_by"] == ("match" if numerics == "batch_invariant" else "rejection")
    assert (answers.said == plain) == (numerics == "batch_invariant")


def test_greedy_requests_say_the_same_whatever_drafts_for_them(small_model: Any, smaller_model: Path) -> None:
    samplings = [Sampling(), SAMPLINGS[0], Sampling(), SAMPLINGS[1]]
    answers = ask(small_model.folder, samplings, by_model(smaller_model))
    for index in (0, 2):
        assert tuple(answers.said[index]) == small_model.greedy(PROMPTS[index], OUTPUT)
    assert 0 < answers.did["accepted_tokens"] < answers.did["drafted_tokens"]


@pytest.mark.parametrize("numerics", ["fast", "batch_invariant"])
@pytest.mark.parametrize("broken_weight", [torch.nan, torch.inf])
def test_a_draft_model_whose_logits_are_no_numbers_does_no_harm(
    small_model: Any, tmp_path: Path, plain: list[list[int]], numerics: str, broken_weight: float
) -> None:
    def ruin(model: Any) -> None:
        model.get_output_embeddings().weight[::3] = broken_weight

    broken = saved_model(tmp_path / "broken", vocabulary=320, change=ruin)
    said = ask(small_model.folder, SAMPLINGS, by_model(broken), numerics=numerics).said
    assert said[2] == plain[2]
    assert (said == plain) == (numerics == "batch_invariant")
    assert [len(tokens) for tokens in said] == [OUTPUT] * 4


def test_a_draft_model_of_a_shorter_context_stops_drafting_at_its_end(
    small_model: Any, tmp_path: Path, plain: list[list[int]]
) -> None:
    short = saved_model(tmp_path / "short", vocabulary=320, context=32)
    answers = ask(small_model.folder, SAMPLINGS, by_model(short), numerics="batch_invariant")
    assert answers.said == plain
    # Of 40 tokens of three requests, and none of the one whose prompt is longer than that.
    assert 0 < answers.did["drafted_tokens"] < 3 * 3 * 32


@pytest.mark.parametrize("place", ["first", "later"])
def test_a_draft_model_that_runs_out_of_memory_fails_the_requests_of_its_step(
    small_model: Any, smaller_model: Path, plain: list[list[int]], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    core = engine(small_model.folder, by_model(smaller_model), numerics="batch_invariant")
    draft, calls = DraftModelSpeculator.draft, iter(range(1000))

    def too_large(self: DraftModelSpeculator, slices: Sequence[Slice]) -> Drafts:
        if next(calls) == (0 if place == "first" else 9):
            torch.empty(1 << 60, dtype=torch.uint8)
        return draft(self, slices)

    monkeypatch.setattr(DraftModelSpeculator, "draft", too_large)
    failed = run(core, SAMPLINGS[:1])
    assert failed.errors[0].startswith("out_of_memory: a step of ")
    assert core.counters().kv_blocks_used == 0
    assert run(core, SAMPLINGS).said == plain


def test_a_draft_model_of_another_vocabulary_is_refused(small_model: Any, tmp_path: Path) -> None:
    other = saved_model(tmp_path / "other", vocabulary=321)
    with pytest.raises(InputError, match="a draft model of 321 tokens"):
        ask(small_model.folder, SAMPLINGS, by_model(other))
