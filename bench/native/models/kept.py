"""Bytes of the weights a model keeps, in whatever format each is kept."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

from bench.native.models.operations import Operations


def kept_bytes(part: object) -> int:
    """Of a part of a model: a tensor, what was prepared of one, or a record or sequence of parts."""
    nbytes: int | None = getattr(part, "nbytes", None)
    if nbytes is not None:
        return nbytes
    if isinstance(part, list | tuple):
        return sum(map(kept_bytes, part))
    if is_dataclass(part) and not isinstance(part, Operations):
        return sum(kept_bytes(getattr(part, field.name)) for field in fields(part))
    return 0
