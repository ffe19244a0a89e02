"""The sampler gives each row what its request asks for, whoever shares the step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from neokernels.registry import Registry, Target
from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from bench.core.sessions import Sampling
from bench.native.sampler import Sampler

VOCABULARY = 300
ASKED = (
    Sampling(),
    Sampling(repetition_penalty=1.4),
    Sampling(logit_bias=((5, 30.0), (250, 4.0))),
    Sampling(temperature=0.8),
    Sampling(temperature=1.0, top_k=12),
    Sampling(temperature=0.6, top_k=20, top_p=0.95),
    Sampling(temperature=1.2, top_p=0.7, min_p=0.02),
    Sampling(temperature=0.9, min_p=0.1, repetition_penalty=1.2),
    Sampling(temperature=1.1, top_k=80, top_p=0.9, min_p=0.01, repetition_penalty=0.8, logit_bias=((7, -50.0),)),
)


def sampler(rows: int = 16) -> Sampler:
    target = Target(torch.device("cpu"), torch.float32)
    return Sampler(Registry(), target, max_running=rows, vocabulary=VOCABULARY)


def choose(one: Sampler, logits: Tensor, rows: Sequence[int], positions: Sequence[int]) -> list[int]:
    tokens: list[int] = one.choose(
        logits.clone(), one.rows(np.array(rows, dtype=int), np.array(positions, dtype=int))
    ).tolist()
    return tokens


def logits_of(seed: int, count: int = 1) -> Tensor:
    return torch.randn(count, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3


def generated(one: Sampler, row: int, sampling: Sampling, prompt: list[int], steps: int) -> list[int]:
    """A generation alone in its steps; the logits of a step are those of its position."""
    one.begin(row, sampling, prompt)
    return [choose(one, logits_of(step), [row], [len(prompt) + step])[0] for step in range(steps)]


def test_what_a_request_gets_does_not_depend_on_who_shares_its_steps() -> None:
    """200 random companies of up to 16 requests; in each, every request is at a step of its own."""
    random = np.random.default_rng(7)
    prompts = [random.integers(0, VOCABULARY, 10).tolist() for _ in ASKED]
    alone = [generated(sampler(), 0, sampling, prompts[i], 6) for i, sampling in enumerate(ASKED)]
    shared = sampler()
    at: dict[int, int] = {}
    said: dict[int, list[int]] = {}
    for _ in range(200):
        for row in range(16):
            if row not in at or len(said[row]) == 6:
                at[row], said[row] = int(random.integers(len(ASKED))), []
                shared.begin(row, ASKED[at[row]], prompts[at[row]])
        rows = random.permutation(16)[: random.integers(1, 17)].tolist()
        logits = torch.cat([logits_of(len(said[row])) for row in rows])
        tokens = choose(shared, logits, rows, [10 + len(said[row]) for row in rows])
        for row, token in zip(rows, tokens, strict=True):
            said[row].append(token)
            assert said[row] == alone[at[row]][: len(said[row])]


@pytest.mark.parametrize("sampling", ASKED, ids=str)
def test_the_distribution_of_a_row_is_that_of_transformers(sampling: Sampling) -> None:
    prompt = [3, 5, 5, 9, 120]
    one, source = sampler(), logits_of(3)
    one.begin(2, sampling, prompt)
    rows = one.rows(np.array([2]), np.array([5]))
    actual = one.probabilities(one.adjust(source.clone(), rows), rows)[0]
    ids: Any = torch.tensor([prompt])
    scores: Any = source
    processors = LogitsProcessorList()
    if sampling.logit_bias:
        processors.append(SequenceBiasLogitsProcessor([[[token], value] for token, value in sampling.logit_bias]))
    processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.temperature == 0:
        adjusted = processors(ids, scores)[0]
        assert actual.nonzero().flatten().tolist() == [int(adjusted.argmax())]
        return
    processors.append(TemperatureLogitsWarper(sampling.temperature))
    processors.append(TopKLogitsWarper(sampling.top_k or VOCABULARY))
    processors.append(TopPLogitsWarper(sampling.top_p))
    processors.append(MinPLogitsWarper(sampling.min_p))
    torch.testing.assert_close(actual, processors(ids, scores)[0].softmax(-1))


def test_tokens_that_were_said_are_repetitions_too() -> None:
    """Greedy with a penalty that bars what was there: each step takes the next of the ranking."""
    one, logits = sampler(), torch.arange(1.0, VOCABULARY + 1)[None]
    one.begin(4, Sampling(repetition_penalty=1e6), [VOCABULARY - 1, VOCABULARY - 3])
    said = [choose(one, logits, [4], [position])[0] for position in range(2, 6)]
    assert said == [VOCABULARY - 2, VOCABULARY - 4, VOCABULARY - 5, VOCABULARY - 6]


def test_a_token_that_was_replaced_is_no_repetition_and_what_replaced_it_is() -> None:
    one, logits = sampler(), torch.arange(1.0, VOCABULARY + 1)[None]
    one.begin(4, Sampling(repetition_penalty=1e6), [VOCABULARY - 1])
    assert choose(one, logits, [4], [1]) == [VOCABULARY - 2]
    one.replace(4, [VOCABULARY - 2, VOCABULARY - 1], VOCABULARY - 3, [VOCABULARY - 1, VOCABULARY - 3])
    assert [choose(one, logits, [4], [position])[0] for position in (2, 3)] == [VOCABULARY - 2, VOCABULARY - 4]


def test_a_request_that_starts_again_elsewhere_goes_on_as_it_was() -> None:
    one, sampling, prompt = sampler(), ASKED[-1], [7, 8, 9]
    said = generated(one, 3, sampling, prompt, 8)
    one.begin(3, Sampling(repetition_penalty=2.0), [1, 2])
    choose(one, logits_of(0), [3], [2])
    one.begin(11, sampling, prompt + said[:4])
    assert [choose(one, logits_of(step), [11], [3 + step])[0] for step in range(4, 8)] == said[4:]


def test_a_row_that_is_given_away_forgets_what_was_said() -> None:
    one, logits = sampler(), torch.arange(1.0, VOCABULARY + 1)[None]
    one.begin(0, Sampling(repetition_penalty=1e6), [VOCABULARY - 1])
    assert choose(one, logits, [0], [1]) == [VOCABULARY - 2]
    one.begin(0, Sampling(repetition_penalty=1e6), [0])
    assert choose(one, logits, [0], [1]) == [VOCABULARY - 1]
    one.begin(0, Sampling(), [VOCABULARY - 1])
    assert choose(one, logits, [0], [1]) == [VOCABULARY - 1]


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_row_that_is_not_finite_has_no_token_and_harms_no_other(broken: float) -> None:
    one = sampler()
    for row, sampling in enumerate(ASKED):
        one.begin(row, sampling, [1, 2, 3])
    logits = logits_of(5, len(ASKED))
    rows, positions = list(range(len(ASKED))), [3] * len(ASKED)
    whole = choose(one, logits, rows, positions)
    for row, sampling in enumerate(ASKED):
        one.begin(row, sampling, [1, 2, 3])
    logits[[1, 5, 8], 77] = broken
    assert choose(one, logits, rows, positions) == [-1 if row in (1, 5, 8) else whole[row] for row in rows]


def test_a_temperature_that_float32_cannot_divide_by_is_greedy() -> None:
    one = sampler()
    for row, temperature in enumerate((1e-50, 1e-38, 1e-6)):
        one.begin(row, Sampling(temperature=temperature, top_p=0.9), [1])
    logits = logits_of(1, 3)
    assert choose(one, logits, [0, 1, 2], [1, 1, 1]) == logits.argmax(-1).tolist()


def test_a_top_k_beyond_every_vocabulary_keeps_all_of_it() -> None:
    one, logits = sampler(), logits_of(1)
    one.begin(0, Sampling(temperature=1.0, seed=3, top_k=10**30), [1])
    one.begin(1, Sampling(temperature=1.0, seed=3), [1])
    assert choose(one, logits.clone(), [0], [1]) == choose(one, logits.clone(), [1], [1])


def test_no_one_is_due() -> None:
    assert choose(sampler(), torch.empty(0, VOCABULARY), [], []) == []
