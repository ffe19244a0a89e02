"""What latent attention adds to the operations of other models: writing its cache, and projecting head by head."""

from __future__ import annotations

import pytest
import torch
from neokernels.head_linear import prepare_head_linear
from neokernels.latent_kv_write import latent_kv_write
from neokernels.registry import Target
from neokernels.rope_kv_write import rotary_factors_reference
from torch import Tensor

HEADS, LATENT, ROTATED, TOKENS, EPS = 3, 10, 6, 5, 1e-6
SLOTS = [7, 2, -1, 11, 0]


@pytest.fixture
def draw() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def target(numerics: str) -> Target:
    return Target(torch.device("cpu"), torch.float32, "fast" if numerics == "fast" else "batch_invariant")


def turned(x: Tensor, position: int, frequencies: Tensor) -> Tensor:
    """One head, its pairs as complex numbers in float64."""
    half = len(x) // 2
    pairs = torch.complex(x[:half].double(), x[half:].double())
    pairs = pairs * torch.exp(1j * position * frequencies.double())
    return torch.cat((pairs.real, pairs.imag)).float()


@pytest.mark.parametrize("numerics", ["fast", "batch_invariant"])
def test_a_row_is_the_normed_latent_beside_the_rotated_key(draw: torch.Generator, numerics: str) -> None:
    query = torch.randn(TOKENS, HEADS, ROTATED, generator=draw)
    latent = torch.randn(TOKENS, LATENT + ROTATED, generator=draw)
    weight = torch.rand(LATENT, generator=draw)
    frequencies = torch.tensor([1.0, 0.3, 0.01])
    positions = torch.tensor([0, 1, 2, 50, 90])
    cache = torch.full((3, 4, 1, LATENT + ROTATED), torch.nan)
    cos, sin = rotary_factors_reference(positions, frequencies, torch.float32)
    write, _ = latent_kv_write.choose(target(numerics))
    rotated = write(query, latent, cos, sin, torch.tensor(SLOTS), cache, weight, EPS)
    for token, (position, slot) in enumerate(zip(positions.tolist(), SLOTS, strict=True)):
        for head in range(HEADS):
            torch.testing.assert_close(rotated[token, head], turned(query[token, head], position, frequencies))
        if slot >= 0:
            kept, key = latent[token, :LATENT], latent[token, LATENT:]
            normed = weight * kept / (kept.square().mean() + EPS).sqrt()
            expected = torch.cat((normed, turned(key, position, frequencies)))
            torch.testing.assert_close(cache.view(12, -1)[slot], expected)
    untouched = [slot for slot in range(12) if slot not in SLOTS]
    assert cache.view(12, -1)[untouched].isnan().all()


@pytest.mark.parametrize("numerics", ["fast", "batch_invariant"])
@pytest.mark.parametrize("tokens", [0, 1, 19])
def test_each_head_is_projected_by_its_own_weight(draw: torch.Generator, numerics: str, tokens: int) -> None:
    weight = torch.randn(HEADS, 8, 5, generator=draw)
    x = torch.randn(tokens, HEADS, 5, generator=draw)
    prepare, _ = prepare_head_linear.choose(target(numerics))
    projection = prepare(weight)
    expected = torch.stack([x[:, head] @ weight[head].T for head in range(HEADS)], dim=1)
    torch.testing.assert_close(projection(x), expected)
    assert projection.nbytes == weight.nbytes


def test_a_row_by_itself_has_the_bits_it_has_among_others(draw: torch.Generator) -> None:
    prepare, _ = prepare_head_linear.choose(target("batch_invariant"))
    projection = prepare(torch.randn(HEADS, 32, 48, generator=draw))
    x = torch.randn(77, HEADS, 48, generator=draw)
    together = projection(x)
    for row in (0, 15, 16, 76):
        assert torch.equal(projection(x[row : row + 1])[0], together[row])
