"""Filters of logits keep what transformers keeps, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from neokernels.logit_filters import (
    Filters,
    keep_likely,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalise_repetition,
)
from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

NO_IDS = torch.zeros(1, 0, dtype=torch.int64)


def logits(seed: int, rows: int, vocabulary: int = 500) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, vocabulary, generator=generator) * torch.linspace(0.5, 6, rows)[:, None]


def assert_keeps(actual: Tensor, source: Tensor, oracle: Callable[[int, Tensor], Tensor]) -> None:
    """`actual` is `source` where transformers keeps it, row by row, and −inf elsewhere."""
    for row, values in enumerate(source):
        expected = oracle(row, values[None])[0]
        assert actual[row].equal(expected), f"row {row}"


@pytest.mark.parametrize("seed", range(5))
def test_top_k_keeps_what_transformers_keeps(seed: int) -> None:
    source, top_k = logits(seed, 6), torch.tensor([1, 2, 50, 499, 500, 10_000])
    assert_keeps(
        keep_top_k(source, top_k, 10_000), source, lambda row, values: TopKLogitsWarper(int(top_k[row]))(NO_IDS, values)
    )


@pytest.mark.parametrize("seed", range(5))
def test_top_p_keeps_what_transformers_keeps(seed: int) -> None:
    source, top_p = logits(seed, 7), [0.001, 0.1, 0.5, 0.9, 0.95, 0.99, 0.9999]
    assert_keeps(
        keep_top_p(source, torch.tensor(top_p)),
        source,
        lambda row, values: TopPLogitsWarper(top_p[row])(NO_IDS, values),
    )


@pytest.mark.parametrize("seed", range(5))
def test_min_p_keeps_what_transformers_keeps(seed: int) -> None:
    source, min_p = logits(seed, 5), [0.0, 0.01, 0.1, 0.5, 1.0]
    assert_keeps(
        keep_min_p(source, torch.tensor(min_p)),
        source,
        lambda row, values: MinPLogitsWarper(min_p[row])(NO_IDS, values),
    )


@pytest.mark.parametrize("seed", range(5))
def test_filters_follow_one_another_as_in_transformers(seed: int) -> None:
    source = logits(seed, 4)
    asked = [(20, 0.9, 0.01), (100, 0.5, 0.1), (3, 0.99, 0.3), (500, 0.95, 0.001)]
    top_k, top_p, min_p = (torch.tensor(column) for column in zip(*asked, strict=True))

    def oracle(row: int, values: Tensor) -> Tensor:
        k, p, least = asked[row]
        return LogitsProcessorList([TopKLogitsWarper(k), TopPLogitsWarper(p), MinPLogitsWarper(least)])(NO_IDS, values)

    assert_keeps(keep_likely(source, Filters(top_k, 500, top_p, min_p)), source, oracle)


@pytest.mark.parametrize("seed", range(5))
def test_the_repetition_penalty_is_that_of_transformers(seed: int) -> None:
    source, penalties = logits(seed, 4), [1.0, 1.2, 3.0, 0.7]
    ids = torch.randint(0, 500, (4, 60), generator=torch.Generator().manual_seed(seed))
    seen = torch.zeros(4, 500, dtype=torch.bool).scatter_(-1, ids, True)
    assert_keeps(
        penalise_repetition(source, seen, torch.tensor(penalties)),
        source,
        lambda row, values: RepetitionPenaltyLogitsProcessor(penalties[row])(ids[row : row + 1], values),
    )


def test_tokens_as_likely_as_the_last_that_is_kept_are_kept() -> None:
    source = torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.0]])
    kept = [True, True, True, True, False]
    assert (keep_top_k(source, torch.tensor([2]), 2) > -torch.inf)[0].tolist() == kept
    assert (keep_top_p(source, torch.tensor([0.6])) > -torch.inf)[0].tolist() == kept


def test_what_was_dropped_before_stays_dropped() -> None:
    source = torch.tensor([[-torch.inf, 3.0, -torch.inf, 1.0]])
    for kept in (
        keep_top_k(source, torch.tensor([3]), 3),
        keep_top_p(source, torch.tensor([0.999])),
        keep_min_p(source, torch.tensor([0.001])),
    ):
        assert kept.equal(source)
