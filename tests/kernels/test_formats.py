"""Narrow formats against their formulas in float64, computed without the code under test."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch
from neokernels.formats import e2m1, fp8, int8, mxfp4, nvfp4
from neokernels.formats.magnitude import NotFiniteError
from torch import Tensor

FORMATS = {"int8": int8, "fp8": fp8, "mxfp4": mxfp4, "nvfp4": nvfp4}
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
E2M1_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def every_format(test: object) -> object:
    return pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS.keys())(test)


def nearest_e2m1(x: float) -> float:
    """To nearest, ties to the even code, no more than 6."""
    nearest = min(range(8), key=lambda code: (abs(E2M1_VALUES[code] - min(abs(x), 6.0)), code % 2))
    return math.copysign(E2M1_VALUES[nearest], x)


def nearest_e4m3(x: float) -> float:
    """To nearest, ties to even: eight steps in each power of two from 2⁻⁶, and steps of 2⁻⁹ below."""
    step = 2.0 ** (max(math.frexp(x)[1] - 1, -6) - 3)
    return max(-448.0, min(448.0, round(x / step) * step))


def int8_formula(row: list[float]) -> list[float]:
    scale = max(map(abs, row)) / 127
    return [round(x / scale) * scale for x in row]


def fp8_formula(row: list[float]) -> list[float]:
    scale = max(map(abs, row)) / 448
    return [nearest_e4m3(x / scale) * scale for x in row]


def mxfp4_formula(row: list[float]) -> list[float]:
    rounded = []
    for first in range(0, len(row), 32):
        block = row[first : first + 32]
        scale = 2.0 ** (math.floor(math.log2(max(map(abs, block)))) - 2)
        rounded += [nearest_e2m1(x / scale) * scale for x in block]
    return rounded


def nvfp4_formula(row: list[float], largest: float) -> list[float]:
    tensor_scale = largest / (448 * 6)
    rounded = []
    for first in range(0, len(row), 16):
        block = row[first : first + 16]
        scale = nearest_e4m3(max(map(abs, block)) / 6 / tensor_scale) * tensor_scale
        rounded += [nearest_e2m1(x / scale) * scale if scale else 0.0 for x in block]
    return rounded


def formula(form: ModuleType, weight: Tensor) -> Tensor:
    rows = weight.double().tolist()
    if form is nvfp4:
        largest = weight.abs().max().item()
        return torch.tensor([nvfp4_formula(row, largest) for row in rows], dtype=torch.float64)
    apply = {int8: int8_formula, fp8: fp8_formula, mxfp4: mxfp4_formula}[form]
    return torch.tensor([apply(row) for row in rows], dtype=torch.float64)


def round_trip(form: ModuleType, weight: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    dense: Tensor = form.dequantise(form.quantise(weight), dtype)
    assert dense.dtype == dtype
    assert dense.shape == weight.shape
    return dense


@pytest.mark.parametrize("columns", [1, 15, 16, 33, 64, 200])
@every_format
def test_formula(form: ModuleType, columns: int) -> None:
    """Where scale or element lies next to a tie, float32 may fall on the other side: hardly ever, and by one step."""
    weight = torch.randn(24, columns) * torch.logspace(-3, 3, 24)[:, None]
    result, expected = round_trip(form, weight).double(), formula(form, weight)
    away = (result - expected).abs() > 1e-5 * expected.abs() + 1e-12
    assert away.double().mean() < 2e-3
    assert ((result - weight).abs() <= 1.01 * (expected - weight).abs() + 1e-6 * weight.abs())[~away].all()


@pytest.mark.parametrize("dtype", DTYPES)
@every_format
def test_every_dtype_quantises_to_the_same(form: ModuleType, dtype: torch.dtype) -> None:
    """A narrow weight is widened, not rounded again; only the result is rounded to the dtype it is asked in."""
    weight = torch.randn(5, 48).to(dtype)
    assert round_trip(form, weight, dtype).equal(round_trip(form, weight.float()).to(dtype))


@every_format
def test_experts_are_quantised_one_by_one(form: ModuleType) -> None:
    weight = torch.randn(3, 6, 40) * torch.tensor([1.0, 30.0, 0.01])[:, None, None]
    assert round_trip(form, weight).equal(torch.stack([round_trip(form, expert) for expert in weight]))


@every_format
def test_what_is_representable_comes_back(form: ModuleType) -> None:
    weight = torch.randn(8, 96)
    once = round_trip(form, weight)
    again = round_trip(form, once)
    if form in (int8, mxfp4):
        assert again.equal(once)
    else:
        # The scale is a quotient of what was itself rounded once.
        torch.testing.assert_close(again, once, rtol=1e-6, atol=0)


def test_int8_keeps_every_integer() -> None:
    weight = torch.arange(-127, 128).float()[None] * 0.25
    quantised = int8.quantise(weight)
    assert quantised.codes.tolist() == [list(range(-127, 128))]
    assert round_trip(int8, weight).equal(weight)


def test_fp8_keeps_every_e4m3() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(fp8.E4M3).float()
    finite = every[every.isfinite()]
    assert len(finite) == 254
    assert round_trip(fp8, finite[None] * 8).equal(finite[None] * 8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_e4m3_is_widened_exactly(dtype: torch.dtype) -> None:
    every = torch.arange(256, dtype=torch.uint8).view(fp8.E4M3)
    torch.testing.assert_close(fp8.widened(every, dtype), every.to(dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("form", [mxfp4, nvfp4])
def test_four_bits_keep_all_sixteen_codes(form: ModuleType) -> None:
    values = torch.tensor([*E2M1_VALUES, *(-value for value in E2M1_VALUES)])
    weight = values.repeat(4)[None] * 2.0
    result = round_trip(form, weight)
    assert result.equal(weight)
    assert result.signbit().equal(weight.signbit())


def test_elements_are_packed_with_the_lower_column_in_the_lower_half() -> None:
    assert e2m1.pack(torch.tensor([0.5, -6.0, 3.0, 0.0])).tolist() == [0xF1, 0x05]
    every_byte = torch.arange(256, dtype=torch.uint8)
    unpacked = e2m1.unpack(every_byte, torch.float32)
    values = [*E2M1_VALUES, *(-value for value in E2M1_VALUES)]
    assert unpacked.tolist() == [values[byte >> shift & 15] for byte in range(256) for shift in (0, 4)]
    assert e2m1.pack(unpacked).equal(every_byte)


def test_elements_round_to_nearest_and_ties_to_even() -> None:
    x = torch.linspace(-8, 8, 2049)
    result = e2m1.unpack(e2m1.pack(torch.stack((x, x), -1)), torch.float32)[:, 0]
    assert result.tolist() == [nearest_e2m1(value) for value in x.tolist()]


def test_fp8_rounds_to_nearest_and_ties_to_even() -> None:
    x = torch.cat((torch.linspace(-(2**-5), 2**-5, 999), torch.linspace(-440, 440, 9999)))
    assert fp8.saturated(x).float().tolist() == [nearest_e4m3(value) for value in x.tolist()]


@every_format
def test_error_bounds(form: ModuleType) -> None:
    weight = torch.randn(64, 256).double()
    error = (round_trip(form, weight.float()).double() - weight).abs()
    largest = weight.abs().amax(-1, keepdim=True)
    blocks = weight.view(64, -1, 32).abs().amax(-1, keepdim=True).expand(-1, -1, 32).reshape(weight.shape)
    bound = {
        int8: largest / 254,
        fp8: torch.maximum(weight.abs() / 16, largest / 448 / 1024),
        # Half the widest step below 6X, which is 2X, or what 8X, just beyond a block's largest, is cut off by.
        mxfp4: blocks / 4,
        # The same step, and a scale that is off by at most 1/16.
        nvfp4: blocks / 6 * (1 + 1 / 16),
    }[form]
    assert (error <= bound + 1e-6 * largest).all()


@pytest.mark.parametrize("size", [1e-45, 1e-40, 1e-36, 1e-20, 1e20, 3e38])
@every_format
def test_tiny_and_huge_weights_stay_finite_and_no_larger(form: ModuleType, size: float) -> None:
    weight = (torch.rand(4, 40) * 2 - 1) * size
    result = round_trip(form, weight)
    assert result.isfinite().all()
    assert (result.abs().max() <= 4 / 3 * weight.abs().max()) or size < 1e-40
    if size > 1e-30:
        assert (result - weight).abs().max() <= 0.3 * size


@every_format
def test_zeros_stay_zero(form: ModuleType) -> None:
    weight = torch.randn(4, 64)
    weight[1] = 0
    weight[2, :32] = 0
    result = round_trip(form, weight)
    assert not result[1].any()
    assert not result[2, :32].any()
    assert not round_trip(form, torch.zeros(2, 20)).any()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@every_format
def test_a_weight_that_is_no_number_is_refused(form: ModuleType, bad: float) -> None:
    weight = torch.randn(4, 40)
    weight[3, 39] = bad
    with pytest.raises(NotFiniteError, match="NaN or infinite"):
        form.quantise(weight)


@pytest.mark.parametrize(("form", "bits"), [(int8, 8), (fp8, 8), (mxfp4, 4.25), (nvfp4, 4.5)])
def test_bytes_are_those_that_are_kept(form: ModuleType, bits: float) -> None:
    outputs, inputs = 32, 128
    scales = {int8: 4 * outputs, fp8: 4 * outputs, mxfp4: 0, nvfp4: 4}[form]
    assert form.quantise(torch.randn(outputs, inputs)).nbytes == outputs * inputs * bits / 8 + scales


def test_a_small_block_beside_a_large_one_becomes_zero_in_nvfp4_alone() -> None:
    weight = torch.ones(1, 64)
    weight[0, 32:] = 1e-6
    assert not round_trip(nvfp4, weight)[0, 32:].any()
    assert (round_trip(mxfp4, weight)[0, 32:] / 1e-6 - 1).abs().max() < 1 / 3


def test_activations_that_are_no_numbers_spoil_their_row_alone() -> None:
    x = torch.randn(4, 32)
    x[1, 5], x[2, 6] = math.nan, math.inf
    result = fp8.dequantise(fp8.quantise_activations(x), torch.float32)
    assert result.isfinite().all(-1).tolist() == [True, False, False, True]
    assert result[1:3].isnan().all()
    assert result[[0, 3]].equal(round_trip(fp8, x[[0, 3]]))


def test_saturation() -> None:
    x = torch.tensor([447.0, 449.0, 1e9, -math.inf, math.nan, 2.0**-10])
    result = fp8.saturated(x).float()
    assert result[:4].tolist() == [448.0, 448.0, 448.0, -448.0]
    assert result[4].isnan()
    assert result[5] == 0
