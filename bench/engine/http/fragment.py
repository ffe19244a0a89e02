"""Fields that a spec lays into the bodies of requests, with what a turn says in the places kept for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bench.core.endpoint_spec import EFFORT, LENGTH, THINKING_BUDGET
from bench.core.sessions import TurnRequest

_PLACES = (LENGTH, EFFORT, THINKING_BUDGET)


class Fragment:
    """Fields that keep no places are the same for every request, and nothing looks through them again."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._same = {key: value for key, value in fields.items() if not _keeps_places(value)}
        self._varying = {key: value for key, value in fields.items() if key not in self._same}

    def of(self, request: TurnRequest) -> Mapping[str, Any]:
        """The fields for `request`, without those of which it has no value."""
        if not self._varying:
            return self._same
        told = {LENGTH: request.max_tokens, EFFORT: request.turn.effort, THINKING_BUDGET: request.turn.thinking_budget}
        return {**self._same, **_fields(self._varying, told)}


def _keeps_places(value: Any) -> bool:
    written = msgspec.json.encode(value).decode()
    return any(place in written for place in _PLACES)


def _fields(fields: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _filled(value, told) for key, value in fields.items() if not _untold(value, told)}


def _filled(value: Any, told: Mapping[str, Any]) -> Any:
    match value:
        case dict():
            return _fields(value, told)
        case list():
            return [_filled(item, told) for item in value if not _untold(item, told)]
        case str():
            return told.get(value, value)
    return value


def _untold(value: Any, told: Mapping[str, Any]) -> bool:
    """Whether `value` stands for something that the turn does not have."""
    return isinstance(value, str) and value in told and told[value] is None
