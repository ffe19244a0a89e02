"""What one accelerator can do at most by its datasheet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.core.configs import names
from bench.core.work import Ceiling
from bench.hardware.datasheet import load_datasheet


def datasheet_ceiling(hardware: str, engine: Mapping[str, Any]) -> Ceiling | None:
    """Of the accelerator `hardware` for an engine that describes itself so (`Engine.describe`).

    None where no datasheet tells: for a CPU, an accelerator without one, and products in float32. Weights in four bits
    are multiplied in 16; only eight-bit ones meet activations of their own width.
    """
    if not engine.get("accelerators") or hardware not in names("hardware") or engine.get("dtype") == "float32":
        return None
    sheet = load_datasheet(hardware)
    eight_bit = engine.get("weight_format") == "fp8"
    peak = sheet.peak_tflops.fp8 if eight_bit else sheet.peak_tflops.bf16
    if peak is None:
        return None
    return Ceiling(
        bytes_per_s=sheet.memory_gb_per_s.value * 1e9,
        flops_per_s=peak.value * 1e12,
        source=f"{sheet.name}, dense {'fp8' if eight_bit else 'bf16'}",
    )
