"""A name for sessions and how they are asked, wherever they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import msgspec

from bench.core.digest import digest_of
from bench.core.sessions import Check, Picture, Segment, Session, Turn
from bench.core.spec import WorkloadSpec

_PLACES = {"path", "profile"}
_FIELDS = {kind: [(f.name, f.default) for f in fields(kind)] for kind in (Session, Turn, Segment, Picture, Check)}


def digest_of_sessions(spec: WorkloadSpec, sessions: Iterable[Session]) -> str:
    """Names `sessions` and the settings of `spec` they are asked with; paths do not count.

    What has its default is not listed, so that a field which is added later changes no digest until it is used.
    """
    listed = hashlib.sha256()
    for session in sessions:
        listed.update(msgspec.json.encode(_listed(session)))
    settings = spec.model_dump(mode="json", exclude=_PLACES, exclude_defaults=True)
    return digest_of({"spec": settings, "sessions": listed.hexdigest()})


def _listed(value: Any) -> Any:
    """`value` plain enough for JSON; of a record, the fields that have no default or another value."""
    kind = type(value)
    if kind is Segment and value.role == "user" and value.text is None and value.picture is None:
        return [value.key, value.tokens]  # Nearly all that there is to list, and by far the quickest way to do so
    if kind in _FIELDS:
        return {name: _listed(item) for name, default in _FIELDS[kind] if (item := getattr(value, name)) != default}
    return [_listed(item) for item in value] if kind is tuple else value
