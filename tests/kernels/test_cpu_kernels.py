"""The C kernels against formulas in float64 and against the torch references, bit by bit where they promise it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from neokernels.cpu import attention, huge_pages, library, rows
from neokernels.cpu.linear import Int8PanelLinear, PanelLinear
from neokernels.formats import int8
from neokernels.linear import prepare_linear
from neokernels.paged_attention import PagedLayout, paged_attention_reference
from neokernels.registry import Target
from neokernels.rms_norm import add_rms_norm_reference, rms_norm_reference
from neokernels.rope_kv_write import QkNorm, rope_kv_write_reference, rotary_factors
from neokernels.silu_mul import silu_mul_reference
from torch import Tensor

pytestmark = pytest.mark.skipif(library.unavailable() is not None, reason=f"{library.unavailable()}")

CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.bfloat16]
ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 8e-3}
"""Of a result, relative to the largest of its tensor."""
ROWS = [0, 1, 3, 16, 17, 129, 400]


def assert_near(result: Tensor, expected: Tensor, tolerance: float, summed: Tensor | None = None) -> None:
    """`summed`: what `expected` would be if no term of its sums took from another; those round as large as they are."""
    assert result.shape == expected.shape
    largest = (expected if summed is None else summed).abs().max().item() if expected.numel() else 1.0
    torch.testing.assert_close(result.double(), expected.double(), atol=tolerance * largest, rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", ROWS)
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (7, 65), (64, 64), (33, 130), (256, 48)])
@pytest.mark.parametrize("biased", [True, False])
def test_dense(count: int, inputs: int, outputs: int, biased: bool, dtype: torch.dtype) -> None:
    x, weight = torch.randn(count, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    bias = torch.randn(outputs).to(dtype) if biased else None
    added = torch.zeros(outputs).double() if bias is None else bias.double()
    expected = x.double() @ weight.double().T + added
    summed = x.double().abs() @ weight.double().abs().T + added.abs()
    assert_near(PanelLinear(weight, bias)(x), expected, ROUNDING[dtype], summed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", ROWS)
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (7, 65), (64, 64), (33, 130), (256, 48)])
def test_int8(count: int, inputs: int, outputs: int, dtype: torch.dtype) -> None:
    x, weight, bias = torch.randn(count, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
    x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    kept = int8.dequantise(int8.quantise(weight), torch.float64)
    summed = x.double().abs() @ kept.abs().T + bias.double().abs()
    assert_near(Int8PanelLinear(weight, bias)(x), x.double() @ kept.T + bias.double(), ROUNDING[dtype], summed)


@pytest.mark.parametrize("dtype", DTYPES)
def test_int8_multiplies_every_integer_exactly(dtype: torch.dtype) -> None:
    weight = torch.arange(-127, 128).to(dtype)[:, None]
    assert Int8PanelLinear(weight.repeat(1, 3))(torch.eye(3, dtype=dtype)).equal(weight.T.repeat(3, 1))


def test_int8_takes_half_the_bytes() -> None:
    weight = torch.randn(128, 512).bfloat16()
    assert Int8PanelLinear(weight).nbytes == PanelLinear(weight).nbytes / 2 + 4 * 128


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [PanelLinear, Int8PanelLinear])
def test_a_row_does_not_depend_on_the_others(kind: type[PanelLinear], dtype: torch.dtype) -> None:
    x, linear = torch.randn(400, 300).to(dtype), kind(torch.randn(200, 300).to(dtype))
    together = linear(x)
    for first, last in [(0, 1), (5, 7), (17, 33), (3, 260), (399, 400)]:
        assert linear(x[first:last]).equal(together[first:last])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_a_bit(threads: int) -> None:
    before = torch.get_num_threads()
    x, linear = torch.randn(9, 64), PanelLinear(torch.randn(1000, 64))
    expected = linear(x)
    try:
        torch.set_num_threads(threads)
        assert linear(x).equal(expected)
    finally:
        torch.set_num_threads(before)


def test_two_callers_at_once() -> None:
    x, linear = torch.randn(9, 256), PanelLinear(torch.randn(2000, 256))
    expected = linear(x)
    with ThreadPoolExecutor(4) as callers:
        assert all(callers.map(lambda _: linear(x).equal(expected), range(400)))


def test_a_forked_child_computes() -> None:
    x, linear = torch.randn(3, 64), PanelLinear(torch.randn(500, 64))
    expected = linear(x)
    child = os.fork()
    if child == 0:
        os._exit(0 if linear(x).equal(expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", ROWS)
@pytest.mark.parametrize("width", [1, 7, 16, 96, 1000])
def test_rows(count: int, width: int, dtype: torch.dtype) -> None:
    x, residual, weight = torch.randn(count, width), torch.randn(count, width), torch.randn(width)
    x, residual, weight = x.to(dtype), residual.to(dtype), weight.to(dtype)
    assert_near(rows.rms_norm(x, weight, 1e-6), rms_norm_reference(x, weight, 1e-6), ROUNDING[dtype])
    normed, total = rows.add_rms_norm(x, residual, weight, 1e-6)
    expected, expected_total = add_rms_norm_reference(x, residual, weight, 1e-6)
    assert total.equal(expected_total)
    assert_near(normed, expected, ROUNDING[dtype])
    gate_up = 20 * torch.randn(count, 2 * width).to(dtype)
    assert_near(rows.silu_mul(gate_up), silu_mul_reference(gate_up.double()), ROUNDING[dtype])


def test_silu_far_from_zero() -> None:
    gates = torch.tensor([float("nan"), float("inf"), -float("inf"), -1000.0, -88.5])
    result = rows.silu_mul(torch.cat((gates, torch.full((5,), 2.0)))[None])[0]
    assert result[0].isnan()
    assert result[1:].tolist() == [float("inf"), 0.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize(("count", "head_dim"), [(1, 2), (5, 24), (17, 64), (300, 128)])
def test_rope_kv_write(count: int, head_dim: int, normed: bool, dtype: torch.dtype) -> None:
    query_heads, kv_heads, slots = 6, 2, torch.randperm(count + 9)[:count]
    slots[count // 2] = -1
    qkv = torch.randn(count, (query_heads + 2 * kv_heads) * head_dim).to(dtype)
    cos, sin = rotary_factors(torch.randint(0, 4000, (count,)), torch.rand(head_dim // 2), dtype)
    norm = QkNorm(torch.randn(head_dim).to(dtype), torch.randn(head_dim).to(dtype), 1e-6) if normed else None
    caches = torch.full((2, (count + 9 + 3) // 4, 4, kv_heads, head_dim), float("nan"), dtype=dtype)
    expected_caches = caches.clone()
    query = rows.rope_kv_write(qkv, cos, sin, slots, *caches, norm)
    expected = rope_kv_write_reference(qkv, cos, sin, slots, *expected_caches, norm)
    # The reference rounds every product to the dtype; the kernel only the result.
    tolerance = 2 * ROUNDING[dtype]
    assert_near(query, expected, tolerance)
    assert caches[1].view(torch.uint8).equal(expected_caches[1].view(torch.uint8))
    assert caches.isnan().equal(expected_caches.isnan())
    assert_near(caches[0].nan_to_num(), expected_caches[0].nan_to_num(), tolerance)


def paged(
    lens: list[tuple[int, int]], kv_heads: int, dims: tuple[int, int], block_tokens: int, dtype: torch.dtype
) -> tuple[list[Tensor], PagedLayout]:
    """Caches that hold NaN wherever no context lies, and where contexts lie."""
    needed = [-(-context // block_tokens) for _, context in lens]
    pages = torch.randperm(sum(needed) + 2).tolist()
    caches = [torch.full((len(pages), block_tokens, kv_heads, dim), float("nan"), dtype=dtype) for dim in dims]
    tables = torch.zeros((len(lens), max(needed)), dtype=torch.int32)
    for row, ((_, context), count) in enumerate(zip(lens, needed, strict=True)):
        tables[row, :count] = torch.tensor([pages.pop() for _ in range(count)])
        slots = torch.arange(context)
        slots = tables[row].long()[slots // block_tokens] * block_tokens + slots % block_tokens
        for cache, dim in zip(caches, dims, strict=True):
            cache.view(-1, kv_heads, dim)[slots] = torch.randn(context, kv_heads, dim).to(dtype)
    return caches, PagedLayout(tuple(q for q, _ in lens), tuple(c for _, c in lens), tables, block_tokens)


MIXED = [(1, 40), (9, 9), (1, 1), (70, 150), (1, 600), (2, 64), (1, 65)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", [None, 1, 50])
@pytest.mark.parametrize("with_sinks", [True, False])
@pytest.mark.parametrize(("heads", "dims"), [((4, 2), (128, 128)), ((7, 1), (24, 40)), ((3, 3), (2, 100))])
def test_attention(
    heads: tuple[int, int], dims: tuple[int, int], with_sinks: bool, window: int | None, dtype: torch.dtype
) -> None:
    query_heads, kv_heads = heads
    (keys, values), layout = paged(MIXED, kv_heads, dims, 16, dtype)
    query = torch.randn(sum(layout.query_lens), query_heads, dims[0]).to(dtype)
    sinks = torch.randn(query_heads).to(dtype) if with_sinks else None
    result = attention.paged_attention(query, keys, values, layout, dims[0] ** -0.5, window, sinks)
    wide = (tensor.double() for tensor in (query, keys, values))
    expected = paged_attention_reference(
        *wide, layout, dims[0] ** -0.5, window, None if sinks is None else sinks.double()
    )
    assert result.dtype == dtype
    assert_near(result, expected, ROUNDING[dtype])


def test_values_inside_keys() -> None:
    """A latent cache: the value is the first columns of the key, so heads and slots of values lie further apart."""
    (keys, _), layout = paged(MIXED, 1, (96, 1), 4, torch.float32)
    query = torch.randn(sum(layout.query_lens), 8, 96)
    values = keys[..., :64]
    expected = paged_attention_reference(query, keys, values, layout, 0.1)
    assert_near(attention.paged_attention(query, keys, values, layout, 0.1), expected, 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_query_does_not_depend_on_what_shares_its_step(dtype: torch.dtype) -> None:
    (keys, values), layout = paged([(37, 150), (1, 90)], 2, (64, 64), 16, dtype)
    query = torch.randn(38, 6, 64).to(dtype)
    together = attention.paged_attention(query, keys, values, layout, 0.2, 100)
    for row in range(37):
        alone = PagedLayout((1,), (150 - 36 + row,), layout.block_tables[:1], 16)
        assert attention.paged_attention(query[row : row + 1], keys, values, alone, 0.2, 100).equal(
            together[row : row + 1]
        )


@pytest.mark.parametrize("size", [0, 5, huge_pages.HUGE_PAGE - 1, 2 * huge_pages.HUGE_PAGE + 3])
def test_huge_pages_hold_what_is_written(size: int) -> None:
    room = huge_pages.empty((size, 2), torch.bfloat16)
    values = torch.randn(size, 2).bfloat16()
    assert room.copy_(values).clone().equal(values)
    assert room.is_contiguous()


def test_without_a_compiler_the_reason_is_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for remembered in (library.library, library.unavailable):
        monkeypatch.setattr(library, remembered.__name__, remembered.__wrapped__)
    _, choice = prepare_linear.choose(Target(CPU, torch.bfloat16))
    assert choice.implementation != "panels"
    assert "panels: there is no C compiler, cc, on the path" in choice.reason


def test_a_compiler_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'cc: error: no room' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(library.BuildError, match="failed: cc: error: no room"):
        library.library.__wrapped__()


def test_a_library_that_was_damaged_since_is_built_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(library, "_folders", lambda: iter([tmp_path]))
    library.library.__wrapped__()
    (built,) = tmp_path.iterdir()
    kept, written = built.name, built.stat().st_mtime_ns
    library.library.__wrapped__()
    assert built.stat().st_mtime_ns == written
    # A file of its own: the one that is loaded must not change.
    damaged = built.read_bytes()[:5000]
    built.unlink()
    built.write_bytes(damaged)
    library.library.__wrapped__()
    assert [file.name for file in tmp_path.iterdir()] == [kept]
    assert built.stat().st_size > 5000


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (Target(torch.device("cuda"), torch.bfloat16), "serves a CPU only"),
        (Target(CPU, torch.float16), "serves float32 and bfloat16 only"),
        (Target(CPU, torch.bfloat16, kv_dtype=torch.float8_e4m3fn), "serves a cache in the dtype of the activations"),
    ],
)
def test_what_is_not_served(target: Target, why: str) -> None:
    assert why in str(library.refuses_cache(target))
