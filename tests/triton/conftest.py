"""Kernels in Triton, checked on a machine without a GPU: interpreted for their numbers, compiled for their resources.

The interpreted ones need `TRITON_INTERPRET=1` when Triton is first imported, the compiled ones its absence, and on a
GPU the former run as they are: so each folder is a run of its own, as `make test` does it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from interpreted import INTERPRETED, round_to_e4m3
from neokernels.device import DATASHEET_DEVICES, cuda_device
from neokernels.tuning.agreement import ROUNDING, poisoned
from neokernels.tuning.draw import Draw
from neokernels.tuning.schedules import Fixed, Schedules
from neokernels.tuning.space import Config, Problem, TunableKernel
from torch import Tensor

DEVICE = torch.device("cpu" if INTERPRETED else "cuda")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "/triton/numerics/" in str(item.path) and not INTERPRETED:
            item.add_marker(pytest.mark.gpu)
    if INTERPRETED:  # it computes bfloat16 wrongly, which is then marked
        need_gpu = [item for item in items if item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=need_gpu)
        items[:] = [item for item in items if item not in need_gpu]


@pytest.fixture(autouse=True)
def _poison() -> Iterator[None]:
    with poisoned():
        yield


@pytest.fixture(autouse=True)
def _rounds_to_e4m3(monkeypatch: pytest.MonkeyPatch) -> None:
    if INTERPRETED:
        round_to_e4m3(monkeypatch)


@pytest.fixture(params=["float32", "float16", pytest.param("bfloat16", marks=pytest.mark.gpu)])
def dtype(request: pytest.FixtureRequest) -> str:
    """What a kernel computes in; bfloat16, which the interpreter multiplies wrongly, on a GPU only."""
    name: str = request.param
    return name


@pytest.fixture
def device() -> torch.device:
    """Where kernels run: the interpreter's CPU, or the GPU."""
    return DEVICE


def relative_error(out: Tensor, exact: Tensor) -> float:
    """‖out − exact‖ / ‖exact‖; infinite where only one of them is finite or NaN stands where it should not."""
    out, exact = out.double(), exact.double().to(out.device)
    if out.shape != exact.shape or not torch.equal(out.isnan(), exact.isnan()):
        return float("inf")
    out, exact = (t.nan_to_num(nan=0.0, posinf=1e300, neginf=-1e300) for t in (out, exact))
    norm = exact.norm()
    return float((out - exact).norm() / (norm if norm > 0 else 1.0))


Check = Callable[..., None]


@pytest.fixture
def check() -> Check:
    """`check(kernel, problem, config=None, allowed=2.0)`: the kernel is as near the truth as its reference is.

    Inputs are drawn anew in every run. The error of each output against float64 may be `allowed` times the torch
    reference's own, or what rounding to its type costs.
    """

    def compare(
        kernel: TunableKernel[Any],
        problem: Problem,
        config: Config | None = None,
        *,
        allowed: float = 2.0,
        batch_invariant: bool = False,
    ) -> None:
        gpu = DATASHEET_DEVICES[0] if INTERPRETED else cuda_device(0)
        schedules = (
            Schedules(gpu, batch_invariant=batch_invariant)
            if config is None
            else Fixed(gpu, config, batch_invariant=batch_invariant)
        )
        seed = secrets.randbits(31)

        def drawn() -> tuple[Any, ...]:
            return kernel.inputs(problem, Draw(DEVICE, seed))

        outputs = kernel.compared(drawn(), kernel.run(drawn(), schedules))
        references, exacts = kernel.compared(drawn(), kernel.reference(drawn())), kernel.exact(drawn())
        assert len(outputs) == len(references) == len(exacts)
        for place, (out, reference, exact) in enumerate(zip(outputs, references, exacts, strict=True)):
            assert out.dtype == reference.dtype
            error, reference_error = relative_error(out, exact), relative_error(reference, exact)
            bound = max(allowed * reference_error, ROUNDING.get(out.dtype, 0.0))
            assert error <= bound, (
                f"{kernel.name}({problem}) with {config or 'its heuristic'}, seed {seed}: output {place} is off by "
                f"{error:.2e}, {bound:.2e} allowed"
            )

    return compare
