"""The four tables of a result: their columns, and a digest of what they say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

_TEXT, _COUNT, _TIME, _FLAG, _REAL = pa.string(), pa.int64(), pa.int64(), pa.bool_(), pa.float64()
_COUNTS, _TIMES = (pa.list_(pa.field("element", kind)) for kind in (pa.int32(), _TIME))  # Parquet's name for the items


def _schema(required: dict[str, Any], optional: dict[str, Any]) -> Any:
    return pa.schema(
        [pa.field(name, kind, nullable=False) for name, kind in required.items()]
        + [pa.field(name, kind) for name, kind in optional.items()]
    )


SCHEMAS: dict[str, Any] = {
    "turns": _schema(
        {
            "session_id": _TEXT,
            "turn_index": _COUNT,
            "warmup": _FLAG,
            "foreground": _FLAG,
            "prompt_tokens": _COUNT,
            "shared_tokens": _COUNT,
            "asked_output_tokens": _COUNT,
            "asked_thinking_tokens": _COUNT,
            "t_due_ns": _TIME,
            "t_send_ns": _TIME,
            "hold_ns": _TIME,
            "output_tokens": _COUNT,
            "thinking_tokens": _COUNT,
            "status": _TEXT,
            "chunk_t_ns": _TIMES,
            "chunk_tokens": _COUNTS,
            "chunk_t_engine_ns": _TIMES,
        },
        {
            "t_first_ns": _TIME,
            "t_answer_ns": _TIME,
            "t_last_ns": _TIME,
            "t_done_ns": _TIME,
            "cached_tokens": _COUNT,
            "finish": _TEXT,
            "error": _TEXT,
            "delay_class": _TEXT,
            "delay_ns": _TIME,
            "effort": _TEXT,
            "engine_prompt_tokens": _COUNT,
            "retries": _COUNT,
            "correct": _FLAG,
            "notes": _TEXT,
        },
    ),
    "steps": _schema(
        {
            "t_ns": _TIME,
            "duration_ns": _TIME,
            "prefill_tokens": _COUNT,
            "decode_tokens": _COUNT,
            "requests": _COUNT,
            "context_tokens": _COUNT,
            "kv_bytes": _COUNT,
            "attention_flops": _COUNT,
            "logit_rows": _COUNT,
            "drafted_tokens": _COUNT,
            "accepted_tokens": _COUNT,
            "discarded_tokens": _COUNT,
            "padding_tokens": _COUNT,
            "graph_key": _TEXT,
            "host_ns": _TIME,
        },
        {"device_ns": _TIME, "experts_touched": _COUNT},
    ),
    "power": _schema({"t_ns": _TIME, "scope": _TEXT, "device": _TEXT}, {"watts": _REAL, "joules_counter": _REAL}),
    "health": _schema({"t_ns": _TIME, "device": _TEXT, "name": _TEXT}, {"value": _REAL}),
}
"""Arrow schema by table name. A column is named and meant as the field of the core row it holds."""

LATER_COLUMNS = {
    "turns": ("delay_class", "delay_ns", "effort", "engine_prompt_tokens", "retries", "correct", "notes"),
}
"""Columns that results of earlier versions lack."""


@dataclass(frozen=True)
class Tables:
    """The tables of one result as `pyarrow.Table`, one row for each TurnRow, StepRow, PowerRow and HealthRow."""

    turns: Any
    steps: Any
    power: Any
    health: Any

    def items(self) -> Iterator[tuple[str, Any]]:
        """Each table's name with the table."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))


def is_table(name: str, schema: Any) -> bool:
    """Whether `schema` is that of table `name`, as this version writes it or an earlier one, without later columns."""
    late = LATER_COLUMNS.get(name, ())
    expected = [field for field in SCHEMAS[name] if field.name not in late or field.name in schema.names]
    return bool(schema.equals(pa.schema(expected)))


def content_digest(table: Any) -> str:
    """SHA-256 of what a table says, whatever file format, chunking or compression holds it."""
    digest = hashlib.sha256()
    for field, column in zip(table.schema, table.columns, strict=True):
        digest.update(f"{field.name}:{field.type}:{len(column)};".encode())
        _feed(digest, column.combine_chunks())
    return digest.hexdigest()


def _feed(digest: Any, array: Any) -> None:
    digest.update(_bytes_of(array.is_valid()))
    if pa.types.is_list(array.type):
        _feed(digest, array.value_lengths())
        _feed(digest, array.flatten())
    elif pa.types.is_string(array.type):
        encoded = array.dictionary_encode()
        _feed(digest, encoded.indices)
        digest.update(json.dumps(encoded.dictionary.to_pylist()).encode())
    elif pa.types.is_boolean(array.type):
        digest.update(_bytes_of(array.fill_null(False)))
    else:
        digest.update(_bytes_of(array.fill_null(0)))


def _bytes_of(array: Any) -> bytes:
    values = array.to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
