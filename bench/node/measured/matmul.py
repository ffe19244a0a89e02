"""Products of matrices: what the processors multiply and add in a second, with every thread the process may run."""

from __future__ import annotations

import time

import torch
from neokernels.roofline import product, seconds_of

from bench.node.measured.figure import Figure
from bench.node.measured.rates import load_rate

_CPU = torch.device("cpu")
_WIDTHS = (4096, 1024, 256)
_FEW_THREADS = 8
"""Up to so many are kept busy by products of the second width; more need those of the first."""
_LEAST_RUNS = 5
"""That must have time: four that are not counted, and a trial."""


def product_rate(dtype: torch.dtype, seconds: float) -> Figure:
    """Operations a second of square matrices, a product and a sum counting two."""
    end = time.monotonic() + seconds
    width = _width(dtype, seconds)
    name = str(dtype).removeprefix("torch.")
    method = f"torch's product of {name} matrices {width:,} wide with {torch.get_num_threads()} threads"
    return load_rate(_CPU, product(_CPU, dtype, width), end - time.monotonic(), method)


def _width(dtype: torch.dtype, seconds: float) -> int:
    """The widest that `seconds` have room for: processors without instructions for `dtype` are thousands of times
    slower, and nothing interrupts a product."""
    narrowest = product(_CPU, dtype, _WIDTHS[-1])
    narrowest.run()
    seconds_an_operation = seconds_of(_CPU, narrowest.run) / narrowest.amount
    widest = _WIDTHS[0] if torch.get_num_threads() > _FEW_THREADS else _WIDTHS[1]
    fitting = (
        width for width in _WIDTHS if width <= widest and _LEAST_RUNS * 2 * width**3 * seconds_an_operation <= seconds
    )
    return next(fitting, _WIDTHS[-1])
