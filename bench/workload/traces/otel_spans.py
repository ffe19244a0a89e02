"""OpenTelemetry spans in JSON: OTLP as collectors and exporters write it, or one span a line, of OTLP or of an SDK."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from bench.core.errors import InputError
from bench.workload.traces.documents import documents

T = TypeVar("T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHAPE = "resourceSpans, or a span with its trace, its times and its attributes"
_Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,19}$")]
_Stamp = Annotated[datetime, msgspec.Meta(tz=True)]


@dataclass(frozen=True, slots=True)
class Span:
    trace: str
    conversation: str | None
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    """Those of `gen_ai`, as plain values."""
    where: str
    """File and line."""


class _Attribute(msgspec.Struct):
    key: str
    value: dict[str, Any] = {}


class _OtlpSpan(msgspec.Struct, rename="camel"):
    trace_id: str
    start_time_unix_nano: _Nanoseconds
    end_time_unix_nano: _Nanoseconds
    attributes: list[_Attribute] = []


class _Scope(msgspec.Struct):
    spans: list[_OtlpSpan] = []


class _Resource(msgspec.Struct, rename="camel"):
    scope_spans: list[_Scope] = []


class _Export(msgspec.Struct, rename="camel"):
    resource_spans: list[_Resource]


class _Context(msgspec.Struct):
    trace_id: str


class _SdkSpan(msgspec.Struct):
    context: _Context
    start_time: _Stamp
    end_time: _Stamp
    attributes: dict[str, Any] | None = None


def spans(path: Path) -> Iterator[Span]:
    """Every span of the file. Raises InputError with file and line for one that is broken."""
    for number, document in documents(path):
        where = f"{path}:{number}"
        if "context" in document:
            told = _as(_SdkSpan, document, where)
            attributes = told.attributes or {}
            yield _span(told.context.trace_id, _ns(told.start_time), _ns(told.end_time), attributes, where)
        elif "resourceSpans" in document:
            for resource in _as(_Export, document, where).resource_spans:
                for scope in resource.scope_spans:
                    yield from (_of_otlp(span, where) for span in scope.spans)
        else:
            yield _of_otlp(_as(_OtlpSpan, document, where), where)


def _as(shape: type[T], document: dict[str, Any], where: str) -> T:
    try:
        return msgspec.convert(document, shape)
    except msgspec.ValidationError as error:
        raise InputError(str(error), where=where, allowed=_SHAPE) from error


def _of_otlp(told: _OtlpSpan, where: str) -> Span:
    try:
        attributes = {attribute.key: _plain(attribute.value) for attribute in told.attributes}
    except (ValueError, TypeError, RecursionError):
        raise InputError("an attribute has a value that is none", where=where, allowed="values of OTLP") from None
    return _span(told.trace_id, int(told.start_time_unix_nano), int(told.end_time_unix_nano), attributes, where)


def _span(trace: str, start_ns: int, end_ns: int, attributes: dict[str, Any], where: str) -> Span:
    if end_ns < start_ns:
        raise InputError("a span ends before it begins", where=where, allowed="times in order")
    kept = {key: value for key, value in attributes.items() if key.startswith("gen_ai.")}
    conversation = kept.get("gen_ai.conversation.id")
    told = None if conversation is None else str(conversation)
    return Span(trace.removeprefix("0x"), told, start_ns, end_ns, kept, where)


def _plain(value: Any) -> Any:
    """The value that OTLP wraps in its type."""
    match value:
        case {"stringValue": plain} | {"doubleValue": plain} | {"boolValue": plain}:
            return plain
        case {"intValue": number}:
            return int(number)
        case {"arrayValue": {"values": [*values]}}:
            return [_plain(one) for one in values]
        case {"kvlistValue": {"values": [*pairs]}}:
            return {
                pair["key"]: _plain(pair.get("value")) for pair in pairs if isinstance(pair, dict) and "key" in pair
            }
        case _:
            return None


def _ns(stamp: datetime) -> int:
    return (stamp - _EPOCH) // timedelta(microseconds=1) * 1000
