"""Quantised projections: the numbers of their format, whatever computes them."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from neokernels.formats import fp8, int8, mxfp4, nvfp4
from neokernels.formats.magnitude import NotFiniteError
from neokernels.linear import Linear, prepare_linear
from neokernels.linear_quantised import Fp8Linear, Int8Linear, PackedInt8Linear, ScaledFp8Linear
from neokernels.registry import Numerics, Registry, Target, WeightFormat
from torch import Tensor

FORMATS = {"int8": int8, "fp8": fp8, "mxfp4": mxfp4, "nvfp4": nvfp4}
DTYPES = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}
CPU = torch.device("cpu")


def prepared(form: WeightFormat, weight: Tensor, bias: Tensor | None, **target: object) -> Linear:
    return Registry().resolve(prepare_linear, Target(CPU, weight.dtype, weight_format=form, **target))(weight, bias)


def formula(form: str, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Over what the format keeps of the weight, and fp8 of x, in float64."""
    module = FORMATS[form]
    kept = module.dequantise(module.quantise(weight), torch.float32).double()
    if form == "fp8":
        x = fp8.dequantise(fp8.quantise_activations(x), torch.float32)
    return x.double() @ kept.T + (0 if bias is None else bias.double())


def assert_close(result: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(result.double(), expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())


@pytest.mark.parametrize("numerics", ["fast", "batch_invariant"])
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES.items())
@pytest.mark.parametrize("form", FORMATS)
def test_formula(form: WeightFormat, dtype: torch.dtype, tolerance: float, numerics: Numerics) -> None:
    for rows, inputs, outputs in ((1, 64, 48), (3, 33, 5), (20, 100, 17), (1, 1, 1)):
        x, weight = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
        for bias in (None, torch.randn(outputs).to(dtype)):
            linear = prepared(form, weight, bias, numerics=numerics)
            result = linear(x)
            assert result.dtype == dtype
            assert_close(result, formula(form, x, weight, bias), tolerance)
            assert linear(x[:0]).shape == (0, outputs)


@pytest.mark.parametrize("form", FORMATS)
def test_bytes_are_those_of_the_format(form: WeightFormat) -> None:
    """Kernels may keep more beside them."""
    weight, bias = torch.randn(48, 96).half(), torch.randn(48).half()
    assert prepared(form, weight, bias).nbytes == FORMATS[form].quantise(weight).nbytes + bias.nbytes


@pytest.mark.parametrize("rows", [1, 4, 30])
def test_packed_integers_give_the_same_numbers(rows: int) -> None:
    x, weight, bias = (torch.randn(*shape).bfloat16() for shape in ((rows, 128), (96, 128), (96,)))
    expected = Int8Linear(weight, bias)(x).double()
    assert_close(PackedInt8Linear(weight, bias)(x), expected, 1e-2)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 64, 48), (5, 33, 7), (0, 16, 16)])
def test_the_scaled_product_gives_the_same_numbers(rows: int, inputs: int, outputs: int) -> None:
    """torch has it for CPUs too, where it is no faster."""
    x, weight, bias = (torch.randn(*shape) for shape in ((rows, inputs), (outputs, inputs), (outputs,)))
    expected = Fp8Linear(weight, bias)(x)
    torch.testing.assert_close(ScaledFp8Linear(weight, bias)(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("numerics", ["fast", "batch_invariant"])
def test_a_gpu_gives_the_numbers_of_the_format(form: WeightFormat, numerics: Numerics) -> None:
    target = Target(torch.device("cuda"), torch.bfloat16, numerics, form)
    x, weight, bias = (torch.randn(*shape).bfloat16() for shape in ((300, 100), (70, 100), (70,)))
    linear = Registry().resolve(prepare_linear, target)(weight.cuda(), bias.cuda())
    whole = linear(x.cuda())
    assert_close(whole.cpu(), formula(form, x, weight, bias), 2e-2)
    assert linear(x[:0].cuda()).shape == (0, 70)
    if numerics == "batch_invariant":
        for rows in (1, 7, 128, 129):
            assert linear(x[-rows:].cuda()).equal(whole[-rows:])


@pytest.mark.parametrize("linear", [Int8Linear, Fp8Linear])
def test_products_of_codes_do_not_overflow_float16(linear: type[Int8Linear] | type[Fp8Linear]) -> None:
    """Sums of x · 127 or of 448 · 448 pass 65504 long before the result does."""
    weight = torch.full((4, 512), 2.0**-6, dtype=torch.float16)
    result = linear(weight)(torch.full((2, 512), 100.0, dtype=torch.float16))
    torch.testing.assert_close(result, torch.full_like(result, 800.0), rtol=1e-3, atol=0)


def test_a_token_that_is_no_number_spoils_itself_alone() -> None:
    linear = Fp8Linear(torch.randn(6, 32))
    x = torch.randn(3, 32)
    expected = linear(x)
    x[1, 0] = torch.inf
    result = linear(x)
    assert result[[0, 2]].equal(expected[[0, 2]])
    assert not result[1].isfinite().any()


@pytest.mark.parametrize("form", FORMATS)
def test_weights_that_are_no_numbers_are_refused(form: WeightFormat) -> None:
    weight = torch.randn(4, 32)
    weight[0, 0] = torch.nan
    with pytest.raises(NotFiniteError):
        prepared(form, weight, None)


@pytest.mark.parametrize(
    ("target", "answers"),
    [
        (partial(Target, CPU, torch.float16, weight_format="int8"), "int8_reference"),
        (partial(Target, CPU, torch.float32, weight_format="fp8"), "fp8_reference"),
        (partial(Target, CPU, torch.bfloat16, weight_format="mxfp4"), "mxfp4_reference"),
        (partial(Target, CPU, torch.bfloat16, weight_format="nvfp4"), "nvfp4_reference"),
        (partial(Target, CPU, torch.float16, weight_format="dense"), "reference"),
    ],
)
def test_the_format_decides_who_answers(target: partial[Target], answers: str) -> None:
    _, choice = prepare_linear.choose(target())
    assert choice.implementation == answers
    _, choice = prepare_linear.choose(target(numerics="batch_invariant"))
    assert choice.implementation == f"{answers.removesuffix('reference')}fixed_tiles"
    assert "promises nothing" in choice.reason
