"""Sampling: the right distribution, and draws that depend on seed and position alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from neokernels.counter_random import Purpose, gumbel_noise, uniform
from neokernels.logit_filters import Filters, keep_likely
from neokernels.sampling import sample, sample_packed, sample_reference
from scipy.stats import chisquare, kstest
from torch import Tensor

MASK_64 = (1 << 64) - 1
FILTERS = {
    "none": Filters(),
    "top_k": Filters(top_k=torch.full((40,), 7), most_k=7),
    "top_p": Filters(top_p=torch.full((40,), 0.8)),
    "min_p": Filters(min_p=torch.full((40,), 0.05)),
    "all": Filters(torch.full((40,), 40), 40, torch.full((40,), 0.95), torch.full((40,), 0.02)),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Rows this small gain nothing from a second thread, and lose much to it on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def draw(logits: Tensor, temperatures: list[float], seeds: list[int], positions: list[int]) -> list[int]:
    tokens: list[int] = sample(
        logits, torch.tensor(temperatures), torch.tensor(seeds), torch.tensor(positions)
    ).tolist()
    return tokens


def of_rows(filters: Filters, rows: slice | Tensor) -> Filters:
    """The filters of some of the rows."""
    columns = (filters.top_k, filters.top_p, filters.min_p)
    top_k, top_p, min_p = (None if column is None else column[rows] for column in columns)
    return Filters(top_k, filters.most_k, top_p, min_p)


def splitmix64(state: int, count: int) -> list[int]:
    """The generator on Python's integers."""
    outputs = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK_64
        z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & MASK_64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK_64
        outputs.append(z ^ (z >> 31))
    return outputs


@pytest.mark.parametrize("seed", range(20))
def test_tokens_do_not_depend_on_company(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(9, 300, generator=generator)
    temperatures = torch.rand(9, generator=generator).mul(2).add(0.01).tolist()
    seeds = torch.randint(0, 2**62, (9,), generator=generator).tolist()
    positions = torch.randint(0, 70_000, (9,), generator=generator).tolist()
    together = draw(logits, temperatures, seeds, positions)
    order = torch.randperm(9, generator=generator).tolist()
    shuffled = draw(
        logits[order], [temperatures[i] for i in order], [seeds[i] for i in order], [positions[i] for i in order]
    )
    assert shuffled == [together[i] for i in order]
    assert [draw(logits[i : i + 1], [temperatures[i]], [seeds[i]], [positions[i]])[0] for i in range(9)] == together


@pytest.mark.parametrize("seed", range(10))
def test_filtered_tokens_do_not_depend_on_company(seed: int) -> None:
    """How many candidates are packed together depends on the company; what is drawn from them must not."""
    generator = torch.Generator().manual_seed(seed)
    # Logits of half precision hold ties, and rows of many widths.
    logits = (torch.randn(40, 2000, generator=generator) * torch.linspace(0.5, 8, 40)[:, None]).bfloat16().float()
    temperatures = torch.rand(40, generator=generator).add(0.3)
    seeds, positions = torch.arange(40), torch.randint(0, 70_000, (40,), generator=generator)
    filters = Filters(
        top_k=torch.randint(1, 200, (40,), generator=generator),
        most_k=199,
        top_p=torch.rand(40, generator=generator).mul(0.5).add(0.5),
        min_p=torch.rand(40, generator=generator).mul(0.1),
    )
    for asked in (filters, Filters(top_p=filters.top_p), Filters(min_p=filters.min_p)):
        together = sample(logits, temperatures, seeds, positions, asked)
        order = torch.randperm(40, generator=generator)
        for some in (order[:1], order[1:3], order[3:10], order[10:]):
            drawn = sample(logits[some], temperatures[some], seeds[some], positions[some], of_rows(asked, some))
            assert drawn.equal(together[some])


@pytest.mark.parametrize("asked", FILTERS.values(), ids=FILTERS.keys())
def test_packed_candidates_are_drawn_from_as_the_whole_vocabulary(asked: Filters) -> None:
    # Logits of half precision hold ties.
    logits = (torch.randn(40, 1000, generator=torch.Generator().manual_seed(2)) * 4).bfloat16().float()
    arguments = (logits, torch.linspace(0.3, 2, 40), torch.arange(40), torch.arange(40) * 3, asked)
    assert sample_packed(*arguments).equal(sample_reference(*arguments))


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


@pytest.mark.parametrize("asked", FILTERS.values(), ids=FILTERS.keys())
def test_draws_follow_the_softmax_of_what_the_filters_keep(asked: Filters) -> None:
    """Of 400 tokens few enough are kept that they are packed, and each seed draws for itself."""
    logits = torch.randn(400, generator=torch.Generator().manual_seed(5)) * 3
    count = 20_000
    filters = of_rows(asked, torch.zeros(count, dtype=torch.int64))
    tokens = sample(
        logits.expand(count, -1), torch.full((count,), 0.9), torch.arange(count), torch.full((count,), 11), filters
    )
    kept = keep_likely((logits / 0.9)[None], of_rows(asked, slice(1)))[0].double().softmax(-1)
    counts = torch.bincount(tokens, minlength=400).double()
    assert counts[kept == 0].sum() == 0
    often = kept * count > 5  # fewer are expected than the test's approximation bears
    rest = torch.stack([counts[~often].sum(), kept[~often].sum() * count])
    if rest[1] > 5:
        observed, expected = torch.cat([counts[often], rest[:1]]), torch.cat([kept[often] * count, rest[1:]])
    else:
        observed, expected = counts[often], kept[often] / kept[often].sum() * counts[often].sum()
    assert chisquare(observed.numpy(), expected.numpy()).pvalue > 1e-4


def test_noise_is_standard_gumbel_across_vocabulary_seeds_and_positions() -> None:
    zero, many = torch.zeros(4000, dtype=torch.int64), torch.arange(4000)
    for noise in (
        gumbel_noise(zero[:1], zero[:1], many).flatten(),
        gumbel_noise(many, zero, zero[:1]).flatten(),
        gumbel_noise(zero, many, zero[:1]).flatten(),
    ):
        assert kstest(noise.double().numpy(), "gumbel_r").pvalue > 1e-4


def test_noise_is_splitmix64() -> None:
    seed, position, vocabulary = 2**63 - 5, 65_535, 6
    for purpose in Purpose:
        row_seed = splitmix64(seed, 1 + purpose)[purpose]
        state = splitmix64(row_seed + (position - 1) * 0x9E3779B97F4A7C15 & MASK_64, 1)[0]
        expected = torch.tensor([((bits >> 11) + 0.5) * 2.0**-53 for bits in splitmix64(state, vocabulary)]).double()
        arguments = (torch.tensor([seed]), torch.tensor([position]), torch.arange(vocabulary), purpose)
        torch.testing.assert_close(uniform(*arguments)[0].double(), expected, atol=1e-7, rtol=1e-5)
        gumbel = -torch.log(-torch.log1p(-expected))
        torch.testing.assert_close(gumbel_noise(*arguments)[0].double(), gumbel, atol=1e-4, rtol=1e-4)


def test_next_positions_seeds_and_purposes_draw_anew() -> None:
    tokens = torch.arange(1000)
    noise = gumbel_noise(torch.tensor([1, 1, 2]), torch.tensor([7, 8, 7]), tokens)
    guess = gumbel_noise(torch.tensor([1]), torch.tensor([7]), tokens, Purpose.DRAFT)
    for other in (noise[1], noise[2], guess[0]):
        assert abs(float(torch.corrcoef(torch.stack([noise[0], other]))[0, 1])) < 0.15


def test_noise_made_in_parts_is_the_same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds, positions, some = torch.arange(50), torch.arange(50) * 3, torch.randint(0, 10_000, (50, 20))
    whole = [gumbel_noise(seeds, positions, indices) for indices in (torch.arange(20), some)]
    monkeypatch.setattr("neokernels.counter_random._CACHED", 7 * 20 + 3)
    parts = [gumbel_noise(seeds, positions, indices) for indices in (torch.arange(20), some)]
    assert all(map(torch.equal, parts, whole))


def test_the_noise_of_a_token_is_the_same_among_few_candidates() -> None:
    seeds, positions = torch.tensor([3, 4]), torch.tensor([9, 9])
    whole = gumbel_noise(seeds, positions, torch.arange(100))
    some = torch.tensor([[5, 17, 99], [0, 1, 50]])
    assert gumbel_noise(seeds, positions, some).equal(whole.gather(-1, some))
