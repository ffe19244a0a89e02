"""What went wrong in the server itself: told in one line where it runs, and never to a client."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.native.server.errors import ApiError
from bench.native.server.responses import error_response

FAILED = ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed", code="internal_error")


class Failures:
    """ASGI: the outermost; answers 500 where nothing was answered yet."""

    def __init__(self, app: ASGIApp, tell: Callable[[str], None]) -> None:
        self._app = app
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = False

        async def noted(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:  # noqa: BLE001  # whatever a handler lets through is the server's own mistake
            self._tell(one_line(f"{scope['method']} {scope['path']!a}", error))
            if not began:
                await error_response(FAILED)(scope, receive, send)


def one_line(what: str, error: BaseException | None) -> str:
    """What failed, how, and the line of code it came from."""
    if error is None:
        return what
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"
    return " ".join(f"{what}: {type(error).__name__}: {error}{place}".split())
