"""A cache in another dtype than what is computed: written rounded, read back as what it holds."""

from __future__ import annotations

import pytest
import torch
from neokernels.cached_rows import read_rows, write_rows
from neokernels.paged_attention import PagedLayout, paged_attention
from neokernels.registry import Numerics, Registry, Target
from neokernels.rope_kv_write import rope_kv_write
from torch import Tensor

E4M3 = torch.float8_e4m3fn
NARROW = (E4M3, torch.bfloat16, torch.float16)


def cache(dtype: torch.dtype, dim: int = 16) -> Tensor:
    return torch.zeros(5, 4, 2, dim).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, *NARROW])
def test_rows_come_back_rounded_to_the_cache(dtype: torch.dtype) -> None:
    kept, rows, slots = cache(dtype), torch.randn(3, 2, 16), torch.tensor([18, 0, 7])
    write_rows(kept, slots, rows)
    assert read_rows(kept, slots, torch.float32).equal(rows.to(dtype).float())
    untouched = torch.tensor([slot for slot in range(20) if slot not in (18, 0, 7)])
    assert not read_rows(kept, untouched, torch.float32).any()


def test_an_eight_bit_cache_saturates_and_keeps_what_is_no_number() -> None:
    kept, slots = cache(E4M3, dim=4), torch.tensor([3])
    write_rows(kept, slots, torch.tensor([1e4, -1e4, torch.nan, 1.0]).expand(1, 2, 4))
    assert read_rows(kept, slots, torch.float32)[0, 0, :2].tolist() == [448.0, -448.0]
    assert read_rows(kept, slots, torch.float32)[0, 0, 2:].isnan().tolist() == [True, False]


@pytest.mark.parametrize("dtype", [torch.float32, E4M3])
def test_nothing_is_written_at_minus_one(dtype: torch.dtype) -> None:
    kept, rows = cache(dtype), torch.randn(4, 2, 16)
    write_rows(kept, torch.tensor([-1, 5, -1, 6]), rows)
    assert read_rows(kept, torch.tensor([5, 6]), torch.float32).equal(rows[[1, 3]].to(dtype).float())
    assert kept.float().count_nonzero() <= 2 * 2 * 16
    write_rows(kept, torch.tensor([-1, -1]), rows[:2] + 100)
    assert read_rows(kept, torch.tensor([5, 6]), torch.float32).equal(rows[[1, 3]].to(dtype).float())


@pytest.mark.parametrize("numerics", ["fast", "batch_invariant"])
@pytest.mark.parametrize("kv_dtype", NARROW)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_over_a_narrow_cache_is_that_over_what_it_holds(
    dtype: torch.dtype, kv_dtype: torch.dtype, numerics: Numerics
) -> None:
    query = torch.randn(7, 4, 16).to(dtype)
    caches = [torch.randn(12, 4, 2, 16).to(kv_dtype) for _ in range(2)]
    layout = PagedLayout((1, 6), (17, 23), torch.randperm(12).view(2, 6).int(), 4)

    def attend(kv: torch.dtype | None, *kept: Tensor) -> Tensor:
        target = Target(torch.device("cpu"), dtype, numerics, kv_dtype=kv)
        result: Tensor = Registry().resolve(paged_attention, target)(query, *kept, layout, 0.25)
        return result

    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    expected = attend(None, *(kept.to(dtype) for kept in caches))
    torch.testing.assert_close(attend(kv_dtype, *caches), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("numerics", ["fast", "batch_invariant"])
@pytest.mark.parametrize("kv_dtype", NARROW)
def test_keys_and_values_are_rounded_once_into_a_narrow_cache(kv_dtype: torch.dtype, numerics: Numerics) -> None:
    qkv, slots = torch.randn(3, 8 * 16), torch.tensor([2, 9, 11])
    cos, sin = torch.rand(3, 16), torch.rand(3, 16)

    def write(kv: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        keys, values = cache(kv), cache(kv)
        target = Target(torch.device("cpu"), torch.float32, numerics, kv_dtype=kv)
        query = Registry().resolve(rope_kv_write, target)(qkv, cos, sin, slots, keys, values, None)
        return query, keys, values

    (query, *narrow), (expected, *wide) = write(kv_dtype), write(torch.float32)
    torch.testing.assert_close(query, expected)
    for kept, exact in zip(narrow, wide, strict=True):
        assert kept.dtype == kv_dtype
        torch.testing.assert_close(kept.float(), exact.to(kv_dtype).float(), rtol=0.07, atol=1e-3)
