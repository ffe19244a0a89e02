"""The engine core, stepped in this process: what ends a request, what fails it, and that the others never notice."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core.errors import EngineError
from bench.core.records import StepRow, TokenKind
from bench.core.sessions import Sampling
from bench.core.spec import NativeEngineSpec
from bench.native.batch import Batch
from bench.native.core import EngineCore
from bench.native.kv_pool import KvPool
from bench.native.load import load_engine
from bench.native.messages import Submit
from bench.native.models.decoder import Decoder
from bench.native.settings import EngineSettings

MakeSettings = Callable[..., EngineSettings]
PROMPT = (5, 9, 200, 41, 77)
OTHER_PROMPT = tuple(range(20, 60))


@pytest.fixture(params=[False, True], ids=["in-turn", "overlapped"])
def settings(request: pytest.FixtureRequest) -> Callable[..., EngineSettings]:
    """Every test holds whether or not steps overlap."""

    def make(**changes: Any) -> EngineSettings:
        values = {
            "device": "cpu",
            "threads": 1,
            "max_running": 8,
            "step_tokens": 16,
            "block_tokens": 4,
            "kv_cache_tokens": 2048,
            "overlap": request.param,
        }
        return EngineSettings.of(NativeEngineSpec(**{**values, **changes}).model_dump(exclude={"kind"}))

    return make


def submit(id: int, prompt: Sequence[int], max_tokens: int, **changes: Any) -> Submit:
    values: dict[str, Any] = {"ignore_eos": True, "thinking_tokens": 0, "sampling": Sampling()}
    return Submit(id, array("i", prompt), max_tokens, **{**values, **changes})


@dataclass
class Outcome:
    """What came back for one request."""

    token_ids: list[int] = field(default_factory=list)
    kinds: list[TokenKind] = field(default_factory=list)
    reason: str | None = None
    error: str | None = None


def run(core: EngineCore, submits: Sequence[Submit]) -> tuple[dict[int, Outcome], list[StepRow]]:
    """Step until nothing is left."""
    outcomes = {one.id: Outcome() for one in submits}
    rows = []
    for one in submits:
        refusal = core.add(one)
        if refusal is not None:
            outcomes[one.id] = Outcome(reason="failed", error=str(refusal))
    while core.has_work:
        result = core.step()
        if result.row is not None:
            rows.append(result.row)
        for tokens in result.tokens:
            outcomes[tokens.id].token_ids += tokens.token_ids
            outcomes[tokens.id].kinds += [tokens.kind] * len(tokens.token_ids)
        for ended in result.ended:
            outcomes[ended.id].reason, outcomes[ended.id].error = ended.reason, ended.error
    assert core.counters().kv_blocks_used == 0
    return outcomes, rows


def test_an_answer_ends_at_eos_and_eos_is_its_last_token(
    small_model: Any, tmp_path: Path, settings: MakeSettings
) -> None:
    whole = small_model.greedy(PROMPT, 12)
    ending = small_model.ending(tmp_path / "model", eos=whole[4])
    core = load_engine(ending.folder, settings()).core
    outcomes, _ = run(core, [submit(0, PROMPT, 12, ignore_eos=False), submit(1, PROMPT, 12)])
    first = whole.index(whole[4])
    assert (tuple(outcomes[0].token_ids), outcomes[0].reason) == (whole[: first + 1], "stop")
    assert (tuple(outcomes[1].token_ids), outcomes[1].reason) == (whole, "length")


def test_thinking_is_from_tag_to_tag_when_free_and_as_declared_when_pinned(
    small_model: Any, tmp_path: Path, settings: MakeSettings
) -> None:
    whole = small_model.greedy(PROMPT, 12)
    once = [index for index, token in enumerate(whole) if whole.count(token) == 1]
    opening, closing = once[1], once[-2]
    ending = small_model.ending(tmp_path / "model", eos=319, thinking=(whole[opening], whole[closing]))
    core = load_engine(ending.folder, settings()).core
    outcomes, _ = run(core, [submit(0, PROMPT, 12, ignore_eos=False), submit(1, PROMPT, 12, thinking_tokens=7)])
    free = ["thinking" if opening <= index <= closing else "answer" for index in range(12)]
    assert outcomes[0].kinds == free
    assert outcomes[1].kinds == ["thinking"] * 7 + ["answer"] * 5


def test_logits_that_are_not_numbers_fail_their_request_alone(small_model: Any, settings: MakeSettings) -> None:
    core = load_engine(small_model.folder, settings()).core
    poisoned = (*PROMPT, small_model.poison)
    outcomes, _ = run(core, [submit(0, PROMPT, 10), submit(1, poisoned, 10), submit(2, OTHER_PROMPT, 10)])
    assert (outcomes[1].token_ids, outcomes[1].reason) == ([], "failed")
    assert outcomes[1].error == "not_a_number: the model's logits are not finite"
    assert tuple(outcomes[0].token_ids) == small_model.greedy(PROMPT, 10)
    # The blocks that held NaN serve the next requests.
    again, _ = run(core, [submit(3, OTHER_PROMPT, 10), submit(4, PROMPT, 10)])
    assert tuple(again[3].token_ids) == small_model.greedy(OTHER_PROMPT, 10)
    assert tuple(again[4].token_ids) == small_model.greedy(PROMPT, 10)


def test_what_cannot_be_served_is_refused_by_kind(small_model: Any, settings: MakeSettings) -> None:
    core = load_engine(small_model.folder, settings(kv_cache_tokens=64)).core
    context = small_model.context_tokens
    submits = [
        submit(0, (), 5),
        submit(1, PROMPT, 0),
        submit(2, [20] * context, 1),
        submit(3, OTHER_PROMPT, 30),
        submit(4, (5, 320), 5),
        submit(5, (5, -1), 5),
        submit(6, PROMPT, 5),
    ]
    outcomes, _ = run(core, submits)
    kinds = [(outcomes[id].error or "").partition(":")[0] for id in range(6)]
    assert kinds == [
        "empty_request",
        "empty_request",
        "context_exceeded",
        "kv_pool_exceeded",
        "unknown_token",
        "unknown_token",
    ]
    assert tuple(outcomes[6].token_ids) == small_model.greedy(PROMPT, 5)


def test_a_step_that_runs_out_of_memory_fails_its_requests_and_the_engine_goes_on(
    small_model: Any, monkeypatch: pytest.MonkeyPatch, settings: MakeSettings
) -> None:
    core = load_engine(small_model.folder, settings(step_tokens=64)).core
    forward = Decoder.forward

    def forward_with_large_steps_too_large(self: Decoder, batch: Batch, kv: KvPool) -> torch.Tensor:
        if len(batch.token_ids) > 40:
            torch.empty(1 << 60, dtype=torch.uint8)
        return forward(self, batch, kv)

    monkeypatch.setattr(Decoder, "forward", forward_with_large_steps_too_large)
    outcomes, _ = run(core, [submit(0, PROMPT, 3), submit(1, OTHER_PROMPT, 3)])
    assert [outcomes[id].reason for id in (0, 1)] == ["failed", "failed"]
    assert str(outcomes[0].error).startswith("out_of_memory: a step of 45 tokens")
    outcomes, _ = run(core, [submit(2, OTHER_PROMPT, 3)])
    assert tuple(outcomes[2].token_ids) == small_model.greedy(OTHER_PROMPT, 3)


def test_nobody_is_served_what_a_step_without_memory_was_to_compute_for_a_request_that_was_cancelled(
    small_model: Any, monkeypatch: pytest.MonkeyPatch, settings: MakeSettings
) -> None:
    core = load_engine(small_model.folder, settings(step_tokens=64)).core
    forward = Decoder.forward

    def forward_too_large(self: Decoder, batch: Batch, kv: KvPool) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Decoder, "forward", forward_too_large)
    core.add(submit(0, OTHER_PROMPT, 3))
    core.step()
    core.remove(0)
    while core.has_work:
        core.step()
    monkeypatch.setattr(Decoder, "forward", forward)
    outcomes, _ = run(core, [submit(1, OTHER_PROMPT, 10)])
    assert tuple(outcomes[1].token_ids) == small_model.greedy(OTHER_PROMPT, 10)


def test_a_draw_depends_on_seed_and_position_and_not_on_who_shares_the_batch(
    small_model: Any, settings: MakeSettings
) -> None:
    core = load_engine(small_model.folder, settings()).core
    drawn = submit(0, PROMPT, 40, sampling=Sampling(1.0, 1 << 47))
    alone, _ = run(core, [drawn])
    others = [submit(i, OTHER_PROMPT[: 3 * i], 10 + 4 * i, sampling=Sampling(0.3 * i, i)) for i in range(1, 7)]
    shared, _ = run(core, [*others, submit(0, PROMPT, 40, sampling=Sampling(1.0, 1 << 47))])
    assert shared[0].token_ids == alone[0].token_ids
    hot, _ = run(core, [submit(0, PROMPT, 40, sampling=Sampling(1000.0, 1))])
    assert len(set(hot[0].token_ids)) > 30
    reseeded, _ = run(core, [submit(0, PROMPT, 40, sampling=Sampling(1.0, 2))])
    assert reseeded[0].token_ids != alone[0].token_ids
    assert tuple(alone[0].token_ids) != small_model.greedy(PROMPT, 40)


def test_step_rows_account_for_every_token(small_model: Any, settings: MakeSettings) -> None:
    core = load_engine(small_model.folder, settings()).core
    core.generate_first_token()
    _, rows = run(core, [submit(0, PROMPT, 6), submit(1, OTHER_PROMPT, 4)])
    assert sum(row.prefill_tokens for row in rows) == core.counters().prompt_tokens == 45
    assert core.counters().output_tokens == 10
    # The last token of each is never computed, and the first comes out of the prefill.
    assert sum(row.decode_tokens for row in rows) == 5 + 3
    for row, later in itertools.pairwise(rows):
        assert row.prefill_tokens + row.decode_tokens <= 16
        assert 0 < row.host_ns < row.duration_ns <= later.t_ns - row.t_ns
    assert {row.graph_key for row in rows} == {"eager"}


def test_the_pool_is_sized_by_what_was_asked_or_by_what_can_be_used(small_model: Any, settings: MakeSettings) -> None:
    asked = load_engine(small_model.folder, settings(kv_cache_tokens=30))
    assert asked.description["kv_pool"]["tokens"] == 32
    assert asked.max_context_tokens == 32
    useful = load_engine(small_model.folder, settings(kv_cache_tokens=None, max_running=3))
    assert useful.description["kv_pool"]["tokens"] == 3 * small_model.context_tokens
    assert useful.max_context_tokens == small_model.context_tokens


def test_weights_that_do_not_fit_are_told_with_both_sizes(
    small_model: Any, monkeypatch: pytest.MonkeyPatch, settings: MakeSettings
) -> None:
    monkeypatch.setattr("bench.native.rank.free_bytes", lambda device: 1000)
    with pytest.raises(EngineError, match=r"take about [\d,]+ bytes, but 1,000 are free on cpu"):
        load_engine(small_model.folder, settings())


def test_memory_that_runs_out_while_the_engine_is_checked_is_told(
    small_model: Any, monkeypatch: pytest.MonkeyPatch, settings: MakeSettings
) -> None:
    monkeypatch.setattr(Decoder, "forward", lambda *step: torch.empty(1 << 60, dtype=torch.uint8))
    with pytest.raises(EngineError, match="out of memory on cpu while the engine was loaded"):
        load_engine(small_model.folder, settings())


def test_a_pool_that_does_not_fit_is_told_with_both_sizes(small_model: Any, settings: MakeSettings) -> None:
    with pytest.raises(EngineError, match=r"needs [\d,]+ bytes, but [\d,]+ are free on cpu"):
        load_engine(small_model.folder, settings(kv_cache_tokens=1 << 42))
