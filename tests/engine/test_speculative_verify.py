"""Verified drafts leave what is generated as it would be without them: in distribution, and where promised in value.

A model of four tokens whose logits depend on the token before stands for a language model, so that the distribution of
three tokens in a row is known exactly and tens of thousands of requests share a step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from neokernels.counter_random import Purpose
from neokernels.registry import Registry, Target
from numpy.typing import NDArray
from scipy.stats import chisquare
from torch import Tensor

from bench.core.sessions import Sampling
from bench.native.sampler import Sampler
from bench.native.speculative.verify import Verifier

VOCABULARY = 4
REQUESTS = 20_000
PROMPT = [0, 2]
MODEL = torch.tensor([[2.0, 1, 0, -1], [0, 0, 1, 1], [-1, 2, 0, 1], [1, -2, 2, 0.5]])
"""Logits of the next token, by the one before it."""
DRAFT_MODEL = torch.tensor([[1.0, 1, 1, -1], [0, 1, 1, -1], [2, 1, 0, 0], [0, 0, 1.5, 0.5]])


class Requests:
    """Many requests of one sampling and a seed each, and the tokens they have."""

    def __init__(self, count: int, *samplings: Sampling) -> None:
        target, registry = Target(torch.device("cpu"), torch.float32), Registry()
        self.sampler = Sampler(registry, target, max_running=count, vocabulary=VOCABULARY)
        self.verifier = Verifier(self.sampler, registry, target)
        self.rows = np.arange(count)
        self.token_ids = [list(PROMPT) for _ in range(count)]
        for row in range(count):
            self.sampler.begin(row, replace(samplings[row % len(samplings)], seed=row), PROMPT)

    @property
    def positions(self) -> NDArray[np.int64]:
        return np.array([len(ids) for ids in self.token_ids])

    def logits(self, drafts: Sequence[Sequence[int]]) -> Tensor:
        before = [token for ids, drafted in zip(self.token_ids, drafts, strict=True) for token in (ids[-1], *drafted)]
        return MODEL[torch.tensor(before)]

    def draft(self, tokens: int) -> tuple[list[list[int]], Tensor]:
        """What the draft model draws, and from what, as `Drafts` has it."""
        drafts: list[list[int]] = [[] for _ in self.token_ids]
        probabilities = []
        for place in range(tokens):
            rows = self.sampler.rows(self.rows, self.positions + place)
            newest = [(*ids, *drafted)[-1] for ids, drafted in zip(self.token_ids, drafts, strict=True)]
            logits = self.sampler.adjust(DRAFT_MODEL[torch.tensor(newest)], rows)
            probabilities.append(self.sampler.probabilities(logits, rows))
            for drafted, token in zip(drafts, self.sampler.draw(logits, rows, Purpose.DRAFT).tolist(), strict=True):
                drafted.append(token)
        return drafts, torch.cat(probabilities)

    def step(self, drafts: Sequence[Sequence[int]], probabilities: Tensor | None = None) -> list[int]:
        """Verify and append; how many tokens each got."""
        rows = self.verifier.rows(self.rows, self.positions, drafts)
        given = self.verifier.verify(self.logits(drafts), rows, probabilities)
        counts: list[int] = (given >= 0).sum(-1).tolist()
        for ids, tokens, count in zip(self.token_ids, given.tolist(), counts, strict=True):
            ids += tokens[:count]
        return counts

    def plain(self, steps: int) -> None:
        for _ in range(steps):
            rows = self.sampler.rows(self.rows, self.positions)
            tokens = self.sampler.choose(self.logits([[] for _ in self.token_ids]), rows).tolist()
            for ids, token in zip(self.token_ids, tokens, strict=True):
                ids.append(token)

    def said(self, tokens: int) -> list[list[int]]:
        return [ids[len(PROMPT) : len(PROMPT) + tokens] for ids in self.token_ids]


def distribution(sampling: Sampling, tokens: int) -> dict[tuple[int, ...], float]:
    """The probability of each continuation of the prompt, by the definition."""
    one = Requests(1, sampling)
    given: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(tokens):
        longer: dict[tuple[int, ...], float] = {}
        for said, probability in given.items():
            one.sampler.begin(0, sampling, [*PROMPT, *said])
            rows = one.sampler.rows(np.array([0]), np.array([0]))
            logits = one.sampler.adjust(MODEL[[(*PROMPT, *said)[-1]]], rows)
            for token, share in enumerate(one.sampler.probabilities(logits, rows)[0].double().tolist()):
                longer[(*said, token)] = probability * share
        given = longer
    return given


def assert_follows(said: Sequence[Sequence[int]], expected: dict[tuple[int, ...], float]) -> None:
    """A p below 1e-4 would be a wrong distribution: the draws are the same in every run."""
    counts = Counter(tuple(tokens) for tokens in said)
    assert all(expected[tokens] > 0 for tokens in counts)
    often = [tokens for tokens, probability in expected.items() if probability * len(said) > 5]
    observed = np.array([counts[tokens] for tokens in often])
    share = np.array([expected[tokens] for tokens in often])
    assert chisquare(observed, share / share.sum() * observed.sum()).pvalue > 1e-4


ASKED = (
    Sampling(temperature=1.0),
    Sampling(temperature=0.7),
    Sampling(temperature=1.3, top_p=0.8),
    Sampling(temperature=1.0, top_k=2, min_p=0.1),
    Sampling(temperature=1.0, repetition_penalty=1.8, logit_bias=((3, 0.7),)),
)


@pytest.mark.parametrize("sampling", ASKED, ids=str)
def test_tokens_that_a_model_drafted_and_rejection_judged_follow_the_target(sampling: Sampling) -> None:
    requests = Requests(REQUESTS, sampling)
    drafts, probabilities = requests.draft(2)
    counts = Counter(requests.step(drafts, probabilities))
    assert min(counts[1], counts[2], counts[3]) > REQUESTS / 50
    requests.plain(2)
    assert_follows(requests.said(3), distribution(sampling, 3))


@pytest.mark.parametrize("sampling", ASKED, ids=str)
def test_tokens_whose_drafts_were_certain_follow_the_target(sampling: Sampling) -> None:
    requests = Requests(REQUESTS, sampling)
    counts = Counter(requests.step([[row % 4, row // 4 % 4] for row in range(REQUESTS)]))
    assert min(counts[1], counts[2], counts[3]) > REQUESTS / 100
    requests.plain(2)
    assert_follows(requests.said(3), distribution(sampling, 3))


def test_drafts_of_some_requests_are_judged_by_rejection_beside_greedy_ones() -> None:
    requests = Requests(REQUESTS, ASKED[0], Sampling())
    drafts, probabilities = requests.draft(2)
    requests.step(drafts, probabilities)
    requests.plain(2)
    said = requests.said(3)
    assert_follows(said[::2], distribution(ASKED[0], 3))
    certain = [tokens for tokens, probability in distribution(Sampling(), 3).items() if probability == 1]
    assert {tuple(tokens) for tokens in said[1::2]} == set(certain)


def test_certain_drafts_leave_every_token_as_it_would_be_without_them() -> None:
    """Whatever is drafted, and however much of it: the seed decides."""
    random = np.random.default_rng(3)
    plain, drafted = Requests(60, Sampling(), *ASKED), Requests(60, Sampling(), *ASKED)
    plain.plain(12)
    while min(len(tokens) for tokens in drafted.said(12)) < 12:
        drafted.step([random.integers(0, 4, random.integers(0, 4)).tolist() for _ in range(60)])
    assert drafted.said(12) == plain.said(12)


def test_greedy_drafts_stand_while_they_are_what_the_model_says() -> None:
    plain = Requests(1, Sampling())
    plain.plain(4)
    said = plain.said(4)[0]
    wrong = [said[0], (said[1] + 1) % 4, said[2]]
    requests = Requests(3, Sampling())
    assert requests.step([said[:3], wrong, []]) == [4, 2, 1]
    assert [tokens[2:] for tokens in requests.token_ids] == [said, said[:2], said[:1]]


def test_what_is_not_finite_ends_what_a_request_gets() -> None:
    requests, certain = Requests(4, Sampling()), [[1.0, 0, 0, 0]]
    drafts = [[0, 0], [0, 0], [0, 0], []]
    logits = torch.tensor(certain).repeat(10, 1)
    logits[[1, 3, 9], 2] = torch.nan
    given = requests.verifier.verify(logits, requests.verifier.rows(requests.rows, requests.positions, drafts))
    assert given.tolist() == [[0, -1, -1], [-1, -1, -1], [0, 0, 0], [-1, -1, -1]]
