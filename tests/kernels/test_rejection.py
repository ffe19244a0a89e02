"""Speculative sampling gives the target's distribution, whatever the tokens were drafted from."""

from __future__ import annotations

import pytest
import torch
from neokernels.counter_random import Purpose, gumbel_noise
from neokernels.rejection import accept, redraw
from scipy.stats import chisquare
from torch import Tensor

COUNT = 20_000
UNEVEN = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05])
EVEN = torch.full((5,), 0.2)


def one_hot(token: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(token), 5).float()


def judge(target: Tensor, draft: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What COUNT seeds draft from `draft`, are given in the end, and whether that was the draft."""
    seeds, positions = torch.arange(COUNT), torch.full((COUNT,), 17)
    noise = gumbel_noise(seeds, positions, torch.arange(5), Purpose.DRAFT)
    drafted = (noise + draft.log()).argmax(-1)
    targets, drafts, every = target.repeat(COUNT, 1), draft.repeat(COUNT, 1), torch.arange(COUNT)
    taken = accept(targets, drafts, drafted, every, seeds, positions)
    return drafted, torch.where(taken, drafted, redraw(targets, drafts, every, seeds, positions)), taken


def assert_follows(tokens: Tensor, target: Tensor) -> None:
    """A p below 1e-4 would be a wrong distribution: the draws are the same in every run."""
    counts, possible = torch.bincount(tokens, minlength=len(target)), target > 0
    assert counts[~possible].sum() == 0
    expected = target[possible].double()
    assert chisquare(counts[possible].numpy(), (expected / expected.sum() * len(tokens)).numpy()).pvalue > 1e-4


@pytest.mark.parametrize(
    ("target", "draft"),
    [
        (UNEVEN, EVEN),
        (EVEN, UNEVEN),
        (UNEVEN, UNEVEN.flip(0)),
        (torch.tensor([0.5, 0.5, 0.0, 0.0, 0.0]), torch.tensor([0.0, 0.3, 0.0, 0.3, 0.4])),
        (UNEVEN, one_hot(3)),
    ],
)
def test_tokens_follow_the_target_and_drafts_are_taken_as_often_as_they_may(target: Tensor, draft: Tensor) -> None:
    _, given, taken = judge(target, draft)
    assert_follows(given, target)
    accepted = float(torch.minimum(target, draft).sum())
    assert_follows(taken.long(), torch.tensor([1 - accepted, accepted]))


def test_drafts_from_the_target_itself_are_all_taken() -> None:
    _, _, taken = judge(UNEVEN, UNEVEN)
    assert taken.all()


def test_a_certain_target_takes_its_token_and_no_other() -> None:
    drafted, given, taken = judge(one_hot(2), EVEN)
    assert (given == 2).all()
    assert taken.equal(drafted == 2)


def test_where_there_was_no_draft_the_target_is_drawn_from() -> None:
    seeds, positions = torch.arange(COUNT), torch.full((COUNT,), 4)
    which = torch.where(seeds % 2 == 0, seeds // 2, -1)
    tokens = redraw(UNEVEN.repeat(COUNT, 1), EVEN.repeat(COUNT // 2, 1), which, seeds, positions)
    assert_follows(tokens[1::2], UNEVEN)
    assert_follows(tokens[::2], (UNEVEN - EVEN).clamp(min=0))


def test_where_target_and_draft_are_the_same_to_the_last_bit_either_is_drawn_from() -> None:
    every = torch.arange(COUNT)
    tokens = redraw(UNEVEN.repeat(COUNT, 1), UNEVEN.repeat(COUNT, 1), every, every, every)
    assert_follows(tokens, UNEVEN)


def test_a_judgement_does_not_depend_on_company() -> None:
    generator = torch.Generator().manual_seed(1)
    target, draft = torch.rand(2, 12, 50, generator=generator).softmax(-1)
    tokens, every = torch.randint(0, 50, (12,), generator=generator), torch.arange(12)
    taken, redrawn = accept(target, draft, tokens, every, every, every), redraw(target, draft, every, every, every)
    for row in range(12):
        one, first = slice(row, row + 1), torch.arange(1)
        assert accept(target[one], draft[one], tokens[one], first, every[one], every[one]).equal(taken[one])
        assert redraw(target[one], draft[one], first, every[one], every[one]).equal(redrawn[one])
