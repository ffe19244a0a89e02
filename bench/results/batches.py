"""Rows turned into Arrow batches through flat buffers.

`pyarrow.array` first imports pandas, a fifth of a second, and then looks at every value by itself: a client under
measurement has no time for either.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa

from bench.results.tables import SCHEMAS

_TYPE_CODES = {pa.int32(): "i", pa.int64(): "q", pa.float64(): "d"}


def batch_of(name: str, rows: Sequence[object]) -> Any:
    """`rows`, the core rows of table `name`, as a `pyarrow.RecordBatch` of its schema."""
    schema = SCHEMAS[name]
    columns = [_column(field, list(map(attrgetter(field.name), rows))) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def table_of(name: str, rows: Sequence[object]) -> Any:
    """`rows` as a `pyarrow.Table` of table `name`."""
    return pa.Table.from_batches([batch_of(name, rows)])


def _column(field: Any, values: list[Any]) -> Any:
    """`values` as an array of `field`; None is null where the field may be."""
    kind = field.type
    nulls = values.count(None) if field.nullable else 0
    if nulls == len(values):
        return pa.nulls(nulls, kind)
    validity = _bits([value is not None for value in values]) if nulls else None
    build = _builder(kind)
    if nulls:
        nothing = "" if build is _text else 0
        values = [nothing if value is None else value for value in values]
    buffers, children = build(values, kind)
    return pa.Array.from_buffers(kind, len(values), [validity, *buffers], nulls, 0, children)


def _builder(kind: Any) -> Callable[[list[Any], Any], tuple[list[Any], list[Any]]]:
    """What turns values of `kind` into the buffers behind the validity, and the child arrays."""
    if pa.types.is_list(kind):
        return _lists
    if pa.types.is_string(kind):
        return _text
    return _flags if pa.types.is_boolean(kind) else _numbers


def _numbers(values: list[Any], kind: Any) -> tuple[list[Any], list[Any]]:
    return [pa.py_buffer(array(_TYPE_CODES[kind], values))], []


def _flags(values: list[Any], kind: Any) -> tuple[list[Any], list[Any]]:  # noqa: ARG001 - one signature for all
    return [_bits(values)], []


def _text(values: list[Any], kind: Any) -> tuple[list[Any], list[Any]]:  # noqa: ARG001
    bytes_of = {value: value.encode(errors="replace") for value in set(values)}  # most columns say few things
    encoded = [bytes_of[value] for value in values]
    return [_offsets(encoded), pa.py_buffer(b"".join(encoded))], []


def _lists(values: list[Any], kind: Any) -> tuple[list[Any], list[Any]]:
    item = kind.value_type
    items = array(_TYPE_CODES[item], chain.from_iterable(values))
    child = pa.Array.from_buffers(item, len(items), [None, pa.py_buffer(items)], 0)
    return [_offsets(values)], [child]


def _offsets(values: Sequence[Any]) -> Any:
    """Where each value begins and the last one ends."""
    return pa.py_buffer(array("i", accumulate(map(len, values), initial=0)))


def _bits(flags: list[Any]) -> Any:
    return pa.py_buffer(np.packbits(np.array(flags, dtype=np.bool_), bitorder="little"))
