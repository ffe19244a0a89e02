"""What the native engine says was likely is what transformers' log-softmax says, in every mode, for those who ask."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3ForCausalLM

from bench.core.records import LEAST_LOGPROB, TokenLogprob
from bench.core.sessions import Sampling
from bench.core.spec import NativeEngineSpec
from bench.native.core import EngineCore
from bench.native.load import load_engine
from bench.native.messages import Submit
from bench.native.settings import EngineSettings

TINY = Path(__file__).parents[2] / "configs" / "models" / "tiny"
CLOSING = 4
TOLERANCE = 2e-4
"""In nats: what float32 leaves of two ways to add the same numbers, at log probabilities down to −30."""
MODES: dict[str, dict[str, Any]] = {
    "plain": {},
    "chunked": {"step_tokens": 7, "block_tokens": 5},
    "overlap": {"overlap": True},
    "optimistic": {"admission": "optimistic", "kv_cache_tokens": 192, "overlap": True},
    "ngram": {"speculation": {"kind": "ngram", "tokens": 4}},
    "draft-model": {"speculation": {"kind": "draft_model", "tokens": 3, "model": str(TINY)}},
    "invariant": {"numerics": "batch_invariant"},
}
SAMPLINGS = (
    Sampling(),
    Sampling(temperature=0.9, seed=3, top_k=12),
    Sampling(temperature=1.3, seed=4, top_p=0.8),
    Sampling(logit_bias=((77, 30.0), (9, -50.0))),
    Sampling(repetition_penalty=1.3),
    Sampling(temperature=0.7, seed=5, repetition_penalty=1.2, logit_bias=((8, 4.0),)),
)
ASKED = (3, 0, 5, 20, 2, 1)
OUTPUT = 24


@dataclass
class Said:
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    error: str | None = None


def load(folder: Path = TINY, **changes: Any) -> EngineCore:
    values = {"device": "cpu", "dtype": "float32", "threads": 1, "max_running": 4, "step_tokens": 64}
    spec = NativeEngineSpec.model_validate({**values, "kv_cache_tokens": 2048, "check_accuracy": False, **changes})
    return load_engine(folder, EngineSettings.of(spec.model_dump(exclude={"kind"}))).core


def run(core: EngineCore, submits: Sequence[Submit], cancelled: int | None = None) -> list[Said]:
    said = [Said() for _ in submits]
    for submit in submits:
        assert core.add(submit) is None
    while core.has_work:
        step = core.step()
        for tokens in step.tokens:
            asked = submits[tokens.id].logprobs
            assert (tokens.logprobs is None) == (asked == 0)
            assert all(len(one.top) == asked for one in tokens.logprobs or ())
            said[tokens.id].token_ids += tokens.token_ids
            said[tokens.id].logprobs += tokens.logprobs or ()
            if tokens.id == cancelled:
                core.remove(cancelled)
        for ended in step.ended:
            said[ended.id].error = ended.error
    return said


def prompt(number: int) -> tuple[int, ...]:
    return tuple(20 + (7 * number + 13 * i * i) % 290 for i in range(12 + 9 * number))


def requests(sampling: Sequence[Sampling] = SAMPLINGS) -> list[Submit]:
    return [
        Submit(id, array("i", prompt(id)), OUTPUT, True, 0, one, logprobs=asked)
        for id, (one, asked) in enumerate(zip(sampling, ASKED, strict=True))
    ]


@pytest.fixture(scope="module")
def oracle() -> Qwen3ForCausalLM:
    return AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval()


@torch.inference_mode()
def expected(oracle: Qwen3ForCausalLM, prompt_ids: Sequence[int], said: Said, sampling: Sampling) -> torch.Tensor:
    """Log probabilities [tokens, V] at each token of an output, after bias and penalties."""
    context = [*prompt_ids, *said.token_ids]
    logits = oracle(torch.tensor([context])).logits[0, len(prompt_ids) - 1 : -1].clone()
    for token_id, bias in sampling.logit_bias:
        logits[:, token_id] += bias
    for place, row in enumerate(logits):
        seen = torch.tensor(sorted({*context[: len(prompt_ids) + place]}))
        penalty = sampling.repetition_penalty
        row[seen] = torch.where(row[seen] < 0, row[seen] * penalty, row[seen] / penalty)
    right: torch.Tensor = logits.log_softmax(-1)
    return right


def assert_right(said: Said, right: torch.Tensor) -> None:
    assert [one.token for one in said.logprobs] == said.token_ids
    for one, row in zip(said.logprobs, right, strict=True):
        assert one.logprob == pytest.approx(float(row[one.token]), abs=TOLERANCE)
        tokens, told = [token for token, _ in one.top], [logprob for _, logprob in one.top]
        assert len({*tokens}) == len(tokens)
        assert told == pytest.approx(row[tokens].tolist(), abs=TOLERANCE)
        assert told == pytest.approx(row.topk(len(told)).values.tolist(), abs=TOLERANCE)


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_tells_what_transformers_says_to_those_who_ask(oracle: Qwen3ForCausalLM, mode: str) -> None:
    core, asking = load(**MODES[mode]), requests()
    for submit, said in zip(asking, run(core, asking), strict=True):
        assert len(said.token_ids) == OUTPUT
        if submit.logprobs:
            assert_right(said, expected(oracle, prompt(submit.id), said, submit.sampling))
        if submit.logprobs and submit.sampling.temperature == 0:
            assert [one.top[0][0] for one in said.logprobs] == said.token_ids
    if mode == "optimistic":
        assert core.counters().preemptions > 0
    if mode in ("ngram", "draft-model"):
        assert core.statistics()["speculation"]["accepted_tokens"] > 0


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["none", "piecewise", "full", "full_and_piecewise"])
def test_graphs_tell_what_transformers_says(oracle: Qwen3ForCausalLM, mode: str) -> None:
    asking = requests()
    for submit, said in zip(asking, run(load(device="cuda", graph_mode=mode), asking), strict=True):
        if submit.logprobs:
            assert_right(said, expected(oracle, prompt(submit.id), said, submit.sampling))


def test_asking_changes_no_token() -> None:
    asking = requests()
    silent = run(load(), [submit._replace(logprobs=0, prompt_ids=array("i", prompt(submit.id))) for submit in asking])
    assert [said.token_ids for said in run(load(), asking)] == [said.token_ids for said in silent]


@pytest.mark.parametrize("mode", ["plain", "overlap", "ngram", "draft-model"])
def test_an_imposed_token_is_told_with_its_own_log_probability(oracle: Qwen3ForCausalLM, mode: str) -> None:
    # Behind an opening tag, so that the output thinks from its first token on.
    inside = (*prompt(2), 3)
    submit = Submit(0, array("i", inside), OUTPUT, False, 0, Sampling(), thinking_budget=9, logprobs=4)
    (said,) = run(load(**MODES[mode]), [submit])
    right = expected(oracle, inside, said, submit.sampling)
    assert said.token_ids[8] == CLOSING != said.logprobs[8].top[0][0]
    assert_right(said, right)


def test_what_cannot_come_is_told_in_a_finite_number(oracle: Qwen3ForCausalLM) -> None:
    others = range(5, oracle.config.vocab_size)
    barred = Sampling(logit_bias=tuple((token_id, -torch.inf) for token_id in others))
    submit = Submit(0, array("i", prompt(1)), 4, True, 0, barred, logprobs=20)
    (said,) = run(load(), [submit])
    assert set(said.token_ids) <= set(range(5))
    for one in said.logprobs:
        assert [logprob for _, logprob in one.top[5:]] == [LEAST_LOGPROB] * 15
        assert one.logprob > LEAST_LOGPROB


def test_a_request_that_fails_or_is_cancelled_takes_no_other_with_it(small_model: Any) -> None:
    poisoned = Submit(0, array("i", (5, small_model.poison)), 8, True, 0, Sampling(), logprobs=3)
    others = [Submit(id, array("i", prompt(0)), 8, True, 0, Sampling(), logprobs=2 * id) for id in (1, 2)]
    failed, cancelled, fine = run(load(small_model.folder, overlap=True), [poisoned, *others], cancelled=1)
    assert (failed.logprobs, failed.error) == ([], "not_a_number: the model's logits are not finite")
    assert len(cancelled.logprobs) == 1
    assert len(fine.logprobs) == 8


@pytest.mark.parametrize("ranks", [1, 2])
def test_they_come_through_the_engines_process(client: Any, oracle: Qwen3ForCausalLM, ranks: int) -> None:
    engine = client.engine(TINY, tensor_parallel=ranks, threads=ranks, check_accuracy=False)
    client.run(engine.start())
    assert engine.capabilities.logprobs == 20
    asked = replace(client.request(prompt(1), 8), logprobs=20)
    told, untold = client.run(client.answer(engine, asked, client.request(prompt(2), 8)))
    client.run(engine.stop())
    assert [chunk.logprobs for chunk in untold.chunks] == [None] * 8
    said = Said(list(told.token_ids), [one for chunk in told.chunks for one in chunk.logprobs or ()])
    assert_right(said, expected(oracle, prompt(1), said, Sampling()))
