"""The server as one ASGI application: its routes, and what every request passes on its way to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from msgspec import Struct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, ExceptionHandler

from bench.native.server.auth import KeyCheck
from bench.native.server.body_limits import BodyLimits
from bench.native.server.deadlines import Deadlines
from bench.native.server.errors import ApiError
from bench.native.server.failures import FAILED, Failures
from bench.native.server.metrics import Metrics
from bench.native.server.models import Model, models_response
from bench.native.server.openapi import describe
from bench.native.server.prometheus import CONTENT_TYPE
from bench.native.server.request_counts import RequestCounts
from bench.native.server.responses import error_response, json_response
from bench.native.server.service import Service
from bench.native.server.settings import ServerSettings

Answer = Callable[[Request, Service], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Generates:
    """A path that generates."""

    answer: Answer
    """Raises ApiError."""
    body: type[Struct]
    """What it reads."""


@dataclass(frozen=True, slots=True)
class App:
    asgi: ASGIApp
    deadlines: Deadlines
    """Of the requests inside."""


def build_app(
    service: Service,
    metrics: Metrics,
    settings: ServerSettings,
    generating: Mapping[str, Generates],
    *,
    version: str,
    created_s: int,
    tell: Callable[[str], None],
) -> App:
    """`tell` hears of the server's own mistakes, a line each."""
    places = service.admission
    model = Model(settings.model, created_s, service.engine.capabilities.max_context_tokens)
    bodies = {path: generates.body for path, generates in generating.items()}
    description = describe(version, model, bodies, keyed=settings.api_key is not None)

    async def models(_: Request) -> Response:
        return models_response(model)

    async def health(_: Request) -> Response:
        places.check_open()
        return json_response({"status": "ok"})

    async def metrics_(_: Request) -> Response:
        page = metrics.as_text(service.engine.counters(), ready=places.closed is None)
        return Response(page, media_type=CONTENT_TYPE)

    async def version_(_: Request) -> Response:
        return json_response({"version": version})

    async def openapi(_: Request) -> Response:
        return json_response(description)

    routes = [
        *(Route(path, _bound(one.answer, service), methods=["POST"]) for path, one in generating.items()),
        Route("/v1/models", models),
        Route("/health", health),
        Route("/metrics", metrics_),
        Route("/version", version_),
        Route("/openapi.json", openapi),
    ]
    starlette = Starlette(routes=routes, exception_handlers=_HANDLERS)
    starlette.router.redirect_slashes = False
    deadlines = Deadlines(BodyLimits(starlette, settings), settings.request_s)
    checked = deadlines if settings.api_key is None else KeyCheck(deadlines, settings.api_key)
    counted = RequestCounts(checked, metrics.requests, [route.path for route in routes])
    return App(Failures(counted, tell), deadlines)


def _bound(answer: Answer, service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def bound(request: Request) -> Response:
        return await answer(request, service)

    return bound


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error)


async def _not_routed(request: Request, error: Exception) -> Response:
    """An unknown path, or a known one asked by another method."""
    assert isinstance(error, HTTPException)
    status, headers = HTTPStatus(error.status_code), error.headers or {}
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(sorted(headers["Allow"].split(", ")))
        return error_response(ApiError(status, f"{allowed} is read here"), {"allow": allowed})
    return error_response(ApiError(status, f"no such path: {request.url.path}"), headers)


async def _left(_: Request, __: Exception) -> Response:
    """The client went while its body was read; nobody hears this."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def _failed(_: Request, __: Exception) -> Response:
    return error_response(FAILED)


_HANDLERS: dict[type[Exception], ExceptionHandler] = {
    ApiError: _refused,
    HTTPException: _not_routed,
    ClientDisconnect: _left,
    Exception: _failed,
}
