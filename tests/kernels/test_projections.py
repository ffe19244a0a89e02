"""Embedding, projection and gated activation against their formulas in float64."""

from __future__ import annotations

import pytest
import torch
from neokernels.embedding import embedding
from neokernels.linear import DenseLinear, OneDnnLinear
from neokernels.silu_mul import silu_mul


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 1, 1), (1, 64, 48), (7, 33, 5), (0, 8, 4)])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("linear", [DenseLinear, OneDnnLinear])
def test_linear(
    rows: int, inputs: int, outputs: int, biased: bool, linear: type[DenseLinear] | type[OneDnnLinear]
) -> None:
    x, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs)
    bias = torch.randn(outputs) if biased else None
    expected = torch.einsum("tk,nk->tn", x.double(), weight.double()) + (0 if bias is None else bias.double())
    prepared = linear(weight, bias)
    torch.testing.assert_close(prepared(x).double(), expected, atol=1e-5, rtol=1e-5)
    assert prepared.nbytes == weight.nbytes + (0 if bias is None else bias.nbytes)


@pytest.mark.parametrize(("rows", "width"), [(1, 1), (5, 24), (0, 4)])
def test_silu_mul(rows: int, width: int) -> None:
    gate_up = torch.randn(rows, 2 * width) * 4
    kept = gate_up.clone()
    gate, up = gate_up.double()[:, :width], gate_up.double()[:, width:]
    expected = gate / (1 + torch.exp(-gate)) * up
    torch.testing.assert_close(silu_mul(gate_up).double(), expected, atol=1e-5, rtol=1e-5)
    assert gate_up.equal(kept)


def test_silu_mul_far_from_zero() -> None:
    """e⁻ᶻ overflows below z = −88 in float32; the result must still be 0, not NaN."""
    result = silu_mul(torch.tensor([[-1000.0, 1000.0, 2.0, 2.0]]))
    assert result.tolist() == [[0.0, 2000.0]]


def test_embedding_takes_rows() -> None:
    weight = torch.randn(9, 4)
    assert embedding(weight, torch.tensor([8, 0, 8])).equal(torch.stack([weight[8], weight[0], weight[8]]))
