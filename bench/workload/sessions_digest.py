"""A name for sessions and how they are asked, wherever they came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from bench.core.digest import digest_of
from bench.core.records import Segment, Session
from bench.core.spec import WorkloadSpec

_PLACES = {"path", "profile"}


def digest_of_sessions(spec: WorkloadSpec, sessions: Iterable[Session]) -> str:
    """Names `sessions` and the settings of `spec` they are asked with; paths do not count.

    What has its default is not listed, so that a field which is added later changes no digest until it is used.
    """
    listed = hashlib.sha256()
    for session in sessions:
        listed.update(json.dumps(_listed(session), separators=(",", ":"), allow_nan=False).encode())
    settings = spec.model_dump(mode="json", exclude=_PLACES, exclude_defaults=True)
    return digest_of({"spec": settings, "sessions": listed.hexdigest()})


def _listed(value: Any) -> Any:
    """`value` plain enough for JSON; of a record, the fields that have no default or another value."""
    if type(value) is Segment and value.role == "user" and value.text is None and value.picture is None:
        return [value.key, value.tokens]  # Nearly all of what there is to list: the general way takes ten times as long
    if is_dataclass(value):
        every = ((field, getattr(value, field.name)) for field in fields(value))
        return {field.name: _listed(item) for field, item in every if field.default is MISSING or item != field.default}
    return [_listed(item) for item in value] if isinstance(value, tuple) else value
