"""The server's own description, OpenAPI 3.1, from the types it reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct

from bench.native.server.errors import Refusal
from bench.native.server.models import Model, ModelList

_REFUSALS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
_OUTPUT_TOKENS = ("max_tokens", "max_completion_tokens", "min_tokens")
_REFERENCE = "#/components/schemas/{name}"


def describe(version: str, model: Model, bodies: Mapping[str, type[Struct]], *, keyed: bool) -> dict[str, Any]:
    """`bodies` is what each path that generates reads; `keyed` says that a key is asked."""
    types = [*bodies.values(), ModelList, Refusal]
    (*reads, models, refused), components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    for body in bodies.values():
        _narrow(components[body.__name__]["properties"], model)
    refusal = {"application/json": {"schema": refused}}
    some_object = {"application/json": {"schema": {"type": "object"}}}
    unkeyed, closed = (HTTPStatus.UNAUTHORIZED,), (HTTPStatus.SERVICE_UNAVAILABLE,)
    get = {
        "/v1/models": _get("The model.", {"application/json": {"schema": models}}, refusal, unkeyed),
        "/health": _get("Whether requests are let in.", some_object, refusal, closed),
        "/metrics": _get("Prometheus' text format.", {"text/plain": {"schema": {"type": "string"}}}, refusal, unkeyed),
        "/version": _get("Of bench.", some_object, refusal, unkeyed),
    }
    post = {path: _post(schema, refusal) for path, schema in zip(bodies, reads, strict=True)}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "bench serve", "version": version},
        "paths": {**post, **get},
        "components": {"schemas": components},
    }
    if keyed:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
        document["paths"]["/health"]["get"]["security"] = []
    return document


def _narrow(properties: dict[str, Any], model: Model) -> None:
    """Say what only this server's model decides: its name, and how many tokens there can be."""
    if "model" in properties:
        properties["model"] = {"const": model.id}
    for name in _OUTPUT_TOKENS:
        for choice in properties.get(name, {}).get("anyOf", ()):
            if choice.get("type") == "integer":
                choice["maximum"] = model.max_model_len


def _get(
    about: str, content: dict[str, Any], refusal: dict[str, Any], refused: tuple[HTTPStatus, ...]
) -> dict[str, Any]:
    return {"get": {"summary": about, "responses": _responses(content, refusal, refused)}}


def _post(body: dict[str, Any], refusal: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}}
    return {
        "post": {
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": _responses(content, refusal, _REFUSALS),
        }
    }


def _responses(
    content: dict[str, Any], refusal: dict[str, Any], refused: tuple[HTTPStatus, ...]
) -> dict[str, dict[str, Any]]:
    return {
        "200": {"description": "The answer.", "content": content},
        **{str(status.value): {"description": status.phrase, "content": refusal} for status in refused},
    }
