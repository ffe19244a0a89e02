"""`bench serve`: our own engine behind OpenAI's API."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bench.core.secret import api_key

if TYPE_CHECKING:
    from bench.serve import Listening

WEEK_S = 7 * 86_400


def serve(
    model: Annotated[
        str,
        typer.Option(metavar="PATH", help="A Hugging Face folder, a name such as `tiny`, or org/name of the hub."),
    ],
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Of this machine; one that other machines reach wants --api-key-env."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What requests call the model [default: its folder's name].")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A=VALUE", help="A setting of the native engine; may be repeated."),
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The variable with the key that clients must give.")
    ] = None,
    max_waiting: Annotated[
        int,
        typer.Option(min=0, max=100_000, help="Generations that may wait beside those that run; others get 429."),
    ] = 256,
    timeout_s: Annotated[
        float,
        typer.Option("--timeout", min=1, max=WEEK_S, metavar="SECONDS", help="Longest time a request may take."),
    ] = 3600.0,
    drain_timeout_s: Annotated[
        float,
        typer.Option(
            "--drain-timeout", min=0, max=WEEK_S, metavar="SECONDS", help="How long answers may go on when it ends."
        ),
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as a JSON document.")] = False,
) -> None:
    """Answer OpenAI's API with the native engine.

    **Example:** `bench serve --model tiny --set max_running=64`, then
    `curl http://127.0.0.1:8000/v1/completions --json '{"model": "tiny", "prompt": "Once", "max_tokens": 8}'`

    Completions and chat completions, streamed or whole; /v1/models, /health, /metrics and /openapi.json beside them.
    Its first line says where. Told to end, it answers 503 and lets streams go on; told twice, it ends at once.
    """
    from pathlib import Path

    from bench.core.errors import InputError
    from bench.core.hub import model_folder
    from bench.core.spec import NativeEngineSpec
    from bench.core.suite import parse, parse_sets
    from bench.native.server.settings import ServerSettings
    from bench.serve import serve as serve_model

    spec = parse(NativeEngineSpec, parse_sets(tuple(sets or ())), "--set")
    called = Path(model).resolve().name if name is None else name
    if not called or not called.isprintable():
        raise InputError(repr(called), where="--name", allowed="a name that can be printed")
    settings = ServerSettings(
        model=called,
        places=spec.max_running + max_waiting,
        api_key=None if api_key_env is None else api_key(api_key_env, "--api-key-env"),
        request_s=timeout_s,
        drain_s=drain_timeout_s,
    )
    folder = model_folder(model, tell=_tell)

    def listening(to: Listening) -> None:
        context = f"context of {to.max_context_tokens} tokens"
        typer.echo(json.dumps(asdict(to)) if as_json else f"listening on {to.url}: {to.model}, {context}")

    serve_model(spec, folder, settings, host, port, listening=listening, tell=_tell)


def _tell(line: str) -> None:
    with contextlib.suppress(OSError):  # whoever reads it may be gone before the answers are
        typer.echo(line, err=True)
