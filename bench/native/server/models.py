"""GET /v1/models: the one model there is."""

from __future__ import annotations

from msgspec import Struct
from starlette.responses import Response

from bench.native.server.responses import json_response


class Model(Struct):
    id: str
    created: int
    """Seconds since 1970: when the server began."""
    max_model_len: int
    """Most tokens of a prompt and its answer together."""
    object: str = "model"
    owned_by: str = "bench serve"


class ModelList(Struct):
    data: list[Model]
    object: str = "list"


def models_response(model: Model) -> Response:
    return json_response(ModelList([model]))
