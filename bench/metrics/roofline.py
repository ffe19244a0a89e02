"""How near the steps came to what the machine can read and compute: MBU and MFU, by phase.

MBU = bytes the steps had to read / (their duration · bytes/s of the ceiling), and MFU the same of floating-point
operations: the definitions of Databricks' "LLM Inference Performance Engineering" (2023) and of PaLM (arXiv:2204.02311,
appendix B). Both count what the model's shapes make necessary, not what was executed: padding lowers them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bench.core.records import Headline
from bench.core.units import NS_PER_S
from bench.core.work import Ceiling, ModelWork
from bench.metrics.columns import Flags, Floats
from bench.metrics.statistics import Confidence, ratio
from bench.metrics.steady_state import Window
from bench.metrics.throughput import slice_edges, sum_by_slice

Phase = Literal["prefill", "decode", "mixed"]


@dataclass(frozen=True)
class StepColumns:
    """The steps that ended in the steady window, n of them, as arrays (n,)."""

    end: Floats
    """Nanoseconds since the run's start."""
    seconds: Floats
    host_seconds: Floats
    bytes: Floats
    flops: Floats
    prefill: Flags
    """With tokens of requests whose prompt is not computed yet."""
    decode: Flags

    @classmethod
    def of(cls, table: Any, work: ModelWork, window: Window, *, start_ns: int) -> StepColumns:
        """The columns of a steps table (`pyarrow.Table`, a row a StepRow)."""

        def column(name: str) -> Floats:
            return np.asarray(table[name].to_numpy(), dtype=np.float64)

        tokens = column("prefill_tokens") + column("decode_tokens")
        rows = column("logit_rows")
        experts = np.nan_to_num(column("experts_touched")) if work.expert_bytes else 0.0
        end = (table["t_ns"].to_numpy() - start_ns + table["duration_ns"].to_numpy()).astype(np.float64)
        kept = window.holds(end)
        return cls(
            end=end[kept],
            seconds=column("duration_ns")[kept] / NS_PER_S,
            host_seconds=column("host_ns")[kept] / NS_PER_S,
            bytes=(
                work.weight_bytes + work.output_bytes * (rows > 0) + work.expert_bytes * experts + column("kv_bytes")
            )[kept],
            flops=(work.flops_per_token * tokens + work.flops_per_logit_row * rows + column("attention_flops"))[kept],
            prefill=column("prefill_tokens")[kept] > 0,
            decode=column("decode_tokens")[kept] > 0,
        )


def roofline(
    steps: StepColumns, window: Window, ceilings: Mapping[str, Ceiling], accelerators: int, confidence: Confidence
) -> dict[str, Any]:
    """The roofline section of a record.

    `ceilings` are of one accelerator, or of the whole node without any: `datasheet` gives `mbu` and `mfu`, `measured`
    gives `mbu_of_measured` and `mfu_of_measured`. A share above 1 is `over_one`: a ceiling that is none.
    """
    edges = slice_edges(window)
    devices = max(1, accelerators)

    def per_slice(amounts: Floats, where: Flags) -> Floats:
        return sum_by_slice(steps.end[where], amounts[where], edges)

    phases: dict[str, Any] = {}
    for phase, where in _phases(steps).items():
        if not where.any():
            continue
        seconds = per_slice(steps.seconds, where)
        section: dict[str, Any] = {
            "steps": int(where.sum()),
            "seconds": float(steps.seconds[where].sum()),
            "bytes": float(steps.bytes[where].sum()),
            "flops": float(steps.flops[where].sum()),
        }
        for name, ceiling in ceilings.items():
            suffix = "" if name == "datasheet" else f"_of_{name}"
            section[f"mbu{suffix}"] = ratio(
                per_slice(steps.bytes, where), seconds * ceiling.bytes_per_s * devices, confidence
            )
            section[f"mfu{suffix}"] = ratio(
                per_slice(steps.flops, where), seconds * ceiling.flops_per_s * devices, confidence
            )
        phases[phase] = section
    everything = np.ones(len(steps.end), dtype=np.bool_)
    return {
        "ceilings": dict(ceilings),
        "phases": phases,
        "over_one": sorted(_over_one(phases)),
        "host_share": ratio(
            per_slice(steps.host_seconds, everything), per_slice(steps.seconds, everything), confidence
        ),
    }


def _phases(steps: StepColumns) -> dict[Phase, Flags]:
    return {
        "prefill": steps.prefill & ~steps.decode,
        "decode": steps.decode & ~steps.prefill,
        "mixed": steps.decode & steps.prefill,
    }


def _over_one(phases: Mapping[str, Any]) -> list[str]:
    return [
        f"{phase}.{name}"
        for phase, section in phases.items()
        for name, share in section.items()
        if isinstance(share, Headline) and share.value is not None and share.value > 1
    ]
