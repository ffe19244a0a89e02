"""What `bench traces show` tells of one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.hub import model_folder
from bench.core.tokenizer import token_counter
from bench.workload.statistics.distribution import RANKS
from bench.workload.statistics.trace import count_trace
from bench.workload.stream import SessionStream
from bench.workload.traces.format import Reading, estimated_tokens
from bench.workload.traces.importer import recognise
from bench.workload.traces.servegen_composition import composition


def describe_trace(path: Path, *, model: str | None = None, seed: int = 0) -> dict[str, Any]:
    """The statistics of the trace at `path` as plain values: `TraceStatistics` field by field, and `composition`.

    Every row counts, also one that could not be asked. Texts are counted by the tokenizer of `model`, or estimated.
    Raises InputError where the trace or the model cannot be read.
    """
    found = recognise(path)
    count = None if model is None else token_counter(model_folder(model, weights=False))
    reading = Reading(count_tokens=count or estimated_tokens, seed=seed)
    stream = SessionStream(
        found.name, found.attribution, found.sessions(path, reading), found.block_tokens, found.drawn
    )
    return {**asdict(count_trace(stream)), "composition": describe_composition(path) if found.drawn else None}


def describe_composition(path: Path) -> dict[str, Any]:
    """What the file that sessions are drawn from says itself: what infinitely many draws would have."""
    composed = composition(path)
    rates, cvs = composed.rates(), composed.window_cvs()
    fields = {
        name: {"mean": composed.field_mean(name), "quantiles": _named(composed.field_quantiles(name, RANKS))}
        for name in composed.fields
    }
    return {
        "clients": len(composed.clients),
        "fields": fields,
        "requests_per_s": {"mean": float(rates.mean()), "min": float(rates.min()), "max": float(rates.max())},
        "client_window_gap_cv": {
            "n": len(cvs),
            "mean": float(cvs.mean()),
            "min": float(cvs.min()),
            "max": float(cvs.max()),
            "quantiles": _named(np.quantile(cvs, RANKS).tolist()),
        },
    }


def _named(quantiles: Sequence[float]) -> dict[str, float]:
    return {f"p{rank * 100:g}": value for rank, value in zip(RANKS, quantiles, strict=True)}
