"""What `bench traces show` tells of one file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.core.hub import model_folder
from bench.workload.statistics.trace import count_trace
from bench.workload.stream import SessionStream
from bench.workload.tokenizer import token_counter
from bench.workload.traces.format import Reading, estimated_tokens
from bench.workload.traces.importer import recognise


def describe_trace(path: Path, *, model: str | None = None, seed: int = 0) -> dict[str, Any]:
    """The statistics of the trace at `path` as plain values, `TraceStatistics` field by field.

    Every row counts, also one that could not be asked. Texts are counted by the tokenizer of `model`, or estimated.
    Raises InputError where the trace or the model cannot be read.
    """
    found = recognise(path)
    count = None if model is None else token_counter(model_folder(model, weights=False))
    reading = Reading(count_tokens=count or estimated_tokens, seed=seed)
    stream = SessionStream(
        found.name, found.attribution, found.sessions(path, reading), found.block_tokens, found.drawn
    )
    return asdict(count_trace(stream))
