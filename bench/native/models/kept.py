"""Bytes of the weights a model keeps, in whatever format each is kept."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

from bench.native.models.operations import Operations


def kept_bytes(part: object) -> int:
    """Of a part of a model: a tensor, what was prepared of one, or a record or sequence of parts."""
    if isinstance(part, list | tuple) and not hasattr(part, "nbytes"):
        return sum(kept_bytes(one) for one in part)
    if is_dataclass(part) and not isinstance(part, Operations) and not hasattr(part, "nbytes"):
        return sum(kept_bytes(getattr(part, field.name)) for field in fields(part))
    nbytes: int = getattr(part, "nbytes", 0)
    return nbytes
