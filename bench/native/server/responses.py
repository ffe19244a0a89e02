"""Responses that are made whole: JSON documents, and what a request is refused with."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from bench.native.server.errors import ApiError

JSON = "application/json"


def json_response(document: Any, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(msgspec.json.encode(document), status, media_type=JSON)


def error_response(error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    """`headers` are those that its status asks for beyond what the error itself tells."""
    told = dict(headers or {})
    if error.retry_after_s is not None:
        told["retry-after"] = str(error.retry_after_s)
    if error.status is HTTPStatus.UNAUTHORIZED:
        told["www-authenticate"] = "Bearer"
    return Response(error.as_json(), error.status, told, media_type=JSON)
