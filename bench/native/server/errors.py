"""What a request is refused with."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from msgspec import Struct

_RETRY_AFTER_S = 1


class Refused(Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class Refusal(Struct):
    """What every error is answered with."""

    error: Refused


class ApiError(Exception):
    """Becomes the JSON object that OpenAI's API answers errors with. No text of another error may be part of it."""

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        """`param` is the place in the request, as `messages[0].role`; `code` a word that programs can rely on."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s

    @property
    def type(self) -> str:
        """As the API names kinds of errors."""
        if self.status is HTTPStatus.TOO_MANY_REQUESTS:
            return "rate_limit_error"
        return "server_error" if self.status >= 500 else "invalid_request_error"

    def as_json(self) -> bytes:
        """The object that a response carries, or an event of a stream that had begun."""
        return msgspec.json.encode(Refusal(Refused(self.message, self.type, self.param, self.code)))


def no_place(message: str) -> ApiError:
    """What is refused now and may be taken a little later."""
    return ApiError(HTTPStatus.TOO_MANY_REQUESTS, message, code="no_place", retry_after_s=_RETRY_AFTER_S)
