"""How verbs print: one JSON document on stdout, or tables for a person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(plain(document), indent=1, allow_nan=False))


def plain(value: Any) -> Any:
    """`value` as JSON has it: dataclasses and models as mappings, decimals as numbers, dates and paths as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if isinstance(value, Decimal):
        return float(value)
    return str(value) if isinstance(value, date | Path) else value
