"""The native model against transformers in fp32: the same logits and greedy tokens, however a step is composed.

The loop here is the least that can drive a model: it gives every request its own blocks, out of order, and steps what
it is told to.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from neokernels.registry import Registry, Target
from torch import Tensor
from transformers import PreTrainedModel

from bench.native.batch import BatchItem, HostBatch
from bench.native.kv_pool import KvPool
from bench.native.models import Model, load_model

CPU = torch.device("cpu")
BLOCK_TOKENS = 4
NEW_TOKENS = 64
PROMPT_LENGTHS = (1, 3, 4, 17, 40, 61, 90, 128)


@pytest.fixture(scope="module")
def prompts(model: Model) -> list[list[int]]:
    draw = random.Random(11)
    return [[draw.randrange(model.config.vocabulary) for _ in range(length)] for length in PROMPT_LENGTHS]


@dataclass
class Request:
    tokens: list[int]
    block_table: list[int]
    computed: int = 0


@dataclass
class Loop:
    """Requests over one KV pool that is poisoned before its first use."""

    model: Model
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = self.model.config
        blocks = 8 * (max(PROMPT_LENGTHS) + NEW_TOKENS) // BLOCK_TOKENS
        self.kv = KvPool(self.model.cache_shape, blocks, BLOCK_TOKENS, torch.float32, CPU)
        for layer in range(config.layers):
            for cache in self.kv.layer(layer):
                cache.fill_(float("nan"))
        self.free = list(range(blocks))
        random.Random(3).shuffle(self.free)

    def add(self, prompt: list[int]) -> Request:
        blocks = -(-(len(prompt) + NEW_TOKENS) // BLOCK_TOKENS)
        request = Request(list(prompt), [self.free.pop() for _ in range(blocks)])
        self.requests.append(request)
        return request

    def step(self, counts: dict[int, int], padding: int = 0) -> Tensor:
        """Compute the next `counts[i]` tokens of request i; logits [R, V] in that order.

        `padding` is how many tokens, requests and rows with logits only fill the step.
        """
        items = []
        for index, count in counts.items():
            request = self.requests[index]
            chunk = request.tokens[request.computed : request.computed + count]
            items.append(BatchItem(chunk, request.computed, request.block_table))
            request.computed += len(chunk)
        batch = HostBatch.of(items, BLOCK_TOKENS)
        sizes = (len(batch.token_ids), len(batch.query_lens), len(batch.logit_rows))
        if padding:
            batch = batch.padded(*(size + padding for size in sizes))
        return self.model.forward(batch.on(CPU), self.kv)[: len(items)]


@torch.inference_mode()
def expected_logits(oracle: PreTrainedModel, tokens: list[int]) -> Tensor:
    return oracle(torch.tensor([tokens])).logits[0, -1]


@torch.inference_mode()
def expected_tokens(oracle: PreTrainedModel, prompt: list[int]) -> list[int]:
    """64 greedy tokens, EOS or not, by the plainest loop over the oracle."""
    step = oracle(torch.tensor([prompt]), use_cache=True)
    tokens = [int(step.logits[0, -1].argmax())]
    while len(tokens) < NEW_TOKENS:
        step = oracle(torch.tensor([tokens[-1:]]), past_key_values=step.past_key_values, use_cache=True)
        tokens.append(int(step.logits[0, -1].argmax()))
    return tokens


def experts_touched(model: Model) -> int:
    return int(model.experts_touched() or 0)


def assert_close(logits: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_whole_prompt_in_one_step(model: Model, oracle: PreTrainedModel, prompts: list[list[int]]) -> None:
    for prompt in prompts:
        loop = Loop(model)
        loop.add(prompt)
        logits = loop.step({0: len(prompt)})
        assert logits.shape == (1, model.config.vocabulary)
        assert logits.dtype == torch.float32
        assert_close(logits[0], expected_logits(oracle, prompt))


def test_uneven_chunks(model: Model, oracle: PreTrainedModel, prompts: list[list[int]]) -> None:
    prompt = prompts[-1]
    loop = Loop(model)
    loop.add(prompt)
    for count in (1, 7, 32, 3, 1, 50):
        loop.step({0: count})
    logits = loop.step({0: len(prompt)})
    assert_close(logits[0], expected_logits(oracle, prompt))


def test_mixed_with_other_requests(model: Model, oracle: PreTrainedModel, prompts: list[list[int]]) -> None:
    """Decodes, a first chunk, a later chunk and a whole prompt in one step, none of them in order of length."""
    short, chunked, fresh, whole = prompts[3], prompts[7], prompts[6], prompts[5]
    loop = Loop(model)
    for prompt in (chunked, short, fresh, whole):
        loop.add(prompt)
    loop.step({1: len(short) - 1, 0: 77})
    logits = loop.step({3: len(whole), 1: 1, 0: len(chunked), 2: 13})
    for row, tokens in zip(logits, (whole, short, chunked, fresh[:13]), strict=True):
        assert_close(row, expected_logits(oracle, tokens))


def test_same_greedy_tokens_alone(model: Model, oracle: PreTrainedModel, prompts: list[list[int]]) -> None:
    prompt = prompts[4]
    loop = Loop(model)
    request = loop.add(prompt)
    while len(request.tokens) < len(prompt) + NEW_TOKENS:
        request.tokens.append(int(loop.step({0: len(request.tokens)})[0].argmax()))
    assert request.tokens[len(prompt) :] == expected_tokens(oracle, prompt)


def test_same_greedy_tokens_in_a_mixed_batch(model: Model, oracle: PreTrainedModel, prompts: list[list[int]]) -> None:
    """Eight prompts join one a step, in chunks of at most 24 tokens, while those before them decode."""
    loop = Loop(model)
    for prompt in prompts:
        loop.add(prompt)
    wanted = [len(prompt) + NEW_TOKENS for prompt in prompts]
    step = 0
    while any(len(r.tokens) < total for r, total in zip(loop.requests, wanted, strict=True)):
        step += 1
        joined = [i for i in range(min(step, 8)) if len(loop.requests[i].tokens) < wanted[i]]
        logits = loop.step(dict.fromkeys(joined, 24))
        for row, index in zip(logits, joined, strict=True):
            request = loop.requests[index]
            if request.computed == len(request.tokens):
                request.tokens.append(int(row.argmax()))
    for request, prompt in zip(loop.requests, prompts, strict=True):
        assert request.tokens[len(prompt) :] == expected_tokens(oracle, prompt)


def test_rows_that_fill_a_step(model: Model, prompts: list[list[int]]) -> None:
    """They change no logit, and are sent to no expert."""
    logits, touched = [], []
    for padding in (0, 3):
        before = experts_touched(model)
        loop = Loop(model)
        for prompt in prompts[3:5]:
            loop.add(prompt)
        loop.step({0: 16, 1: 9}, padding)
        logits.append(loop.step({0: 1, 1: 31}, padding))
        touched.append(experts_touched(model) - before)
    assert_close(logits[1], logits[0])
    assert touched[0] == touched[1]


def test_batch_invariant_numerics(folder: Path, prompts: list[list[int]]) -> None:
    """A request's logits are the same bits alone and beside others that come and go."""
    model = load_model(folder, Target(CPU, torch.float32, "batch_invariant"), Registry())
    alone, among = Loop(model), Loop(model)
    for loop in (alone, among):
        loop.add(prompts[4])
    among.add(prompts[3])
    among.add(prompts[6])
    for mine, others in ((40, {1: 5, 2: 61}), (1, {2: 1}), (1, {1: 11}), (1, {1: 1, 2: 9})):
        alone.requests[0].tokens.append(7)
        among.requests[0].tokens.append(7)
        assert among.step({**others, 0: mine})[-1].equal(alone.step({0: mine})[0])


def test_one_token_touches_its_experts_in_every_routed_layer(model: Model) -> None:
    moe = model.config.moe
    expected = 0 if moe is None else moe.experts_per_token * (model.config.layers - len(moe.dense_layers))
    loop = Loop(model)
    loop.add([7])
    before = experts_touched(model)
    loop.step({0: 1})
    assert experts_touched(model) - before == expected
    assert (model.experts_touched() is None) == (moe is None)


def test_parameter_bytes_count_a_tied_matrix_once(model: Model, oracle: PreTrainedModel) -> None:
    kept = {tensor.data_ptr(): tensor.nbytes for tensor in oracle.state_dict().values()}
    assert model.parameter_bytes == sum(kept.values())
