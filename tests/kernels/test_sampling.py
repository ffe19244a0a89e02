"""Sampling: greedy, the right distribution, and draws that depend on seed and position alone."""

from __future__ import annotations

import pytest
import torch
from neokernels.sampling import gumbel_noise, sample
from scipy.stats import chisquare, kstest
from torch import Tensor

MASK_64 = (1 << 64) - 1


def draw(logits: Tensor, temperatures: list[float], seeds: list[int], positions: list[int]) -> list[int]:
    tokens: list[int] = sample(
        logits, torch.tensor(temperatures), torch.tensor(seeds), torch.tensor(positions)
    ).tolist()
    return tokens


def splitmix64(state: int, count: int) -> list[int]:
    """The generator on Python's integers."""
    outputs = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK_64
        z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & MASK_64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK_64
        outputs.append(z ^ (z >> 31))
    return outputs


def test_temperature_zero_is_greedy_with_ties_to_the_lowest_id() -> None:
    logits = torch.tensor([[0.0, 3.0, 3.0], [9.0, -1.0, 2.0]])
    assert draw(logits, [0.0, 0.0], [1, 2], [5, 6]) == [1, 0]


def test_greedy_and_drawn_rows_share_a_batch() -> None:
    logits = torch.randn(6, 50)
    mixed = draw(logits, [0.0, 1.0, 0.0, 0.7, 2.0, 0.0], list(range(6)), [9] * 6)
    for row in (0, 2, 5):
        assert mixed[row] == int(logits[row].argmax())
    alone = [draw(logits[r : r + 1], [t], [r], [9])[0] for r, t in ((1, 1.0), (3, 0.7), (4, 2.0))]
    assert [mixed[1], mixed[3], mixed[4]] == alone


@pytest.mark.parametrize("seed", range(20))
def test_tokens_do_not_depend_on_company(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(9, 300, generator=generator)
    temperatures = torch.rand(9, generator=generator).mul(2).tolist()
    seeds = torch.randint(0, 2**62, (9,), generator=generator).tolist()
    positions = torch.randint(0, 70_000, (9,), generator=generator).tolist()
    together = draw(logits, temperatures, seeds, positions)
    order = torch.randperm(9, generator=generator).tolist()
    shuffled = draw(
        logits[order], [temperatures[i] for i in order], [seeds[i] for i in order], [positions[i] for i in order]
    )
    assert shuffled == [together[i] for i in order]
    assert [draw(logits[i : i + 1], [temperatures[i]], [seeds[i]], [positions[i]])[0] for i in range(9)] == together


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_draws_follow_the_softmax(temperature: float) -> None:
    """20,000 fixed draws over one request's positions; a p below 1e-4 would be a wrong distribution."""
    logits = torch.tensor([2.0, 0.0, 1.0, -1.0, 0.5])
    count = 20_000
    tokens = sample(
        logits.expand(count, -1), torch.full((count,), temperature), torch.full((count,), 3), torch.arange(count)
    )
    expected = torch.softmax(logits.double() / temperature, -1) * count
    assert chisquare(torch.bincount(tokens, minlength=5).numpy(), expected.numpy()).pvalue > 1e-4


def test_noise_is_standard_gumbel_across_vocabulary_seeds_and_positions() -> None:
    one = torch.zeros(4000, dtype=torch.int64)
    for noise in (
        gumbel_noise(one[:1], one[:1], 4000).flatten(),
        gumbel_noise(torch.arange(4000), one, 1).flatten(),
        gumbel_noise(one, torch.arange(4000), 1).flatten(),
    ):
        assert kstest(noise.double().numpy(), "gumbel_r").pvalue > 1e-4


def test_noise_is_splitmix64() -> None:
    seed, position, vocabulary = 2**63 - 5, 65_535, 6
    row_seed = splitmix64(seed, 1)[0]
    state = splitmix64(row_seed + (position - 1) * 0x9E3779B97F4A7C15 & MASK_64, 1)[0]
    uniform = torch.tensor([((bits >> 11) + 0.5) * 2.0**-53 for bits in splitmix64(state, vocabulary)]).double()
    noise = gumbel_noise(torch.tensor([seed]), torch.tensor([position]), vocabulary)
    torch.testing.assert_close(noise[0].double(), -torch.log(-torch.log1p(-uniform)), atol=1e-4, rtol=1e-4)


def test_next_positions_and_seeds_draw_anew() -> None:
    noise = gumbel_noise(torch.tensor([1, 1, 2]), torch.tensor([7, 8, 7]), 1000)
    assert not noise[0].equal(noise[1])
    assert not noise[0].equal(noise[2])
    assert abs(float(torch.corrcoef(noise)[0, 1])) < 0.15
    assert abs(float(torch.corrcoef(noise)[0, 2])) < 0.15
