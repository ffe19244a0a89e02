"""Speculative sampling gives the target's distribution, whatever the tokens were drafted from."""

from __future__ import annotations

import pytest
import torch
from neokernels.counter_random import Purpose, gumbel_noise
from neokernels.rejection import reject
from scipy.stats import chisquare
from torch import Tensor

COUNT = 20_000
UNEVEN = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05])
EVEN = torch.full((5,), 0.2)


def one_hot(token: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(token), 5).float()


def judge(target: Tensor, draft: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What COUNT seeds draft from `draft`, are given in the end, and whether the draft stood."""
    seeds, positions = torch.arange(COUNT), torch.full((COUNT,), 17)
    noise = gumbel_noise(seeds, positions, torch.arange(5), Purpose.DRAFT)
    drafted = (noise + draft.log()).argmax(-1)
    chosen, stands = reject(
        target.repeat(COUNT, 1), draft.repeat(COUNT, 1), drafted, torch.arange(COUNT), seeds, positions
    )
    return drafted, torch.where(stands, drafted, chosen), stands


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
def test_tokens_follow_the_target_and_drafts_stand_as_often_as_they_may(target: Tensor, draft: Tensor) -> None:
    _, given, stands = judge(target, draft)
    assert_follows(given, target)
    accepted = float(torch.minimum(target, draft).sum())
    assert_follows(stands.long(), torch.tensor([1 - accepted, accepted]))


def test_drafts_from_the_target_itself_all_stand() -> None:
    _, _, stands = judge(UNEVEN, UNEVEN)
    assert stands.all()


def test_a_certain_target_takes_its_token_and_no_other() -> None:
    drafted, given, stands = judge(one_hot(2), EVEN)
    assert (given == 2).all()
    assert stands.equal(drafted == 2)


def test_rows_without_a_draft_are_drawn_from_the_target_and_stand_for_nothing() -> None:
    seeds, positions = torch.arange(COUNT), torch.full((COUNT,), 4)
    drafted = torch.arange(0, COUNT, 2)
    chosen, stands = reject(
        UNEVEN.repeat(COUNT, 1), EVEN.repeat(len(drafted), 1), drafted % 5, drafted, seeds, positions
    )
    assert not stands[1::2].any()
    assert_follows(chosen[1::2], UNEVEN)


def test_a_judgement_does_not_depend_on_company() -> None:
    generator = torch.Generator().manual_seed(1)
    target, draft = torch.rand(2, 12, 50, generator=generator).softmax(-1)
    tokens = torch.randint(0, 50, (12,), generator=generator)
    seeds, positions = torch.arange(12), torch.arange(12) * 5
    chosen, stands = reject(target.clone(), draft, tokens, torch.arange(12), seeds, positions)
    for row in range(12):
        one = slice(row, row + 1)
        alone = reject(target[one].clone(), draft[one], tokens[one], torch.arange(1), seeds[one], positions[one])
        assert (int(alone[0]), bool(alone[1])) == (int(chosen[row]), bool(stands[row]))
