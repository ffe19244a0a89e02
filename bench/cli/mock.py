"""`bench mock`: a server whose times are known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.core.secret import api_key
from bench.engine.mock_server.faults import FAULT_HEADER, MEANING
from bench.engine.mock_server.settings import MockServerSettings, ThinkingForm

MS = "MS"
HOUR_MS = 3_600_000


def mock(
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Of this machine; 0.0.0.0 or :: lets other machines ask, too."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    ttft_ms: Annotated[
        float, typer.Option(min=0, max=HOUR_MS, metavar=MS, help="From a request to its first token.")
    ] = 50.0,
    gap_ms: Annotated[
        float, typer.Option(min=0, max=HOUR_MS, metavar=MS, help="From one write of tokens to the next.")
    ] = 10.0,
    jitter_ms: Annotated[
        float, typer.Option(min=0, max=HOUR_MS, metavar=MS, help="Each write is late by up to so much.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the jitter.")] = 0,
    tokens_per_event: Annotated[int, typer.Option(min=1, metavar="N")] = 1,
    events_per_write: Annotated[int, typer.Option(min=1, metavar="N")] = 1,
    answer_tokens: Annotated[
        int | None, typer.Option(min=1, help="Where answers end whose length is not pinned [default: at max_tokens].")
    ] = None,
    thinking_share: Annotated[float, typer.Option(min=0, max=1, help="Share of an answer that is thinking.")] = 0.0,
    thinking: Annotated[
        ThinkingForm,
        typer.Option(help="How thinking is told: in that field of a chat, or marked in the text."),
    ] = "reasoning_content",
    role_chunk: Annotated[
        bool, typer.Option("--role-chunk/--no-role-chunk", help="Begin a chat with an empty chunk, at once.")
    ] = True,
    usage: Annotated[bool, typer.Option("--usage/--no-usage", help="Tell the usage where it is asked for.")] = True,
    cached_share: Annotated[float, typer.Option(min=0, max=1, help="Share of a prompt told as cached.")] = 0.0,
    echo: Annotated[bool, typer.Option("--echo", help="Answer with the prompt's last line.")] = False,
    faults: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            metavar="KIND[:every=N][:at=TOKEN]",
            help=f"Fail so, each N-th request, after so many tokens; may be repeated. KIND: {', '.join(MEANING)}. "
            f"A request asks for its own by {FAULT_HEADER}.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Answer 400 to a field that OpenAI's own API does not know.")
    ] = False,
    max_open: Annotated[int | None, typer.Option(min=1, help="Answer 429 beyond so many at once.")] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The variable with the key that clients must give.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the times of all writes there in the end, as JSON.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as a JSON document.")] = False,
) -> None:
    """Answer OpenAI's API with declared times, and keep what the times truly were.

    **Example:** `bench mock --port 8000 --ttft-ms 50 --gap-ms 10`, then `curl http://127.0.0.1:8000/truth`

    It serves completions and chat completions, streamed or whole, until it is interrupted. Its first line says where.
    `GET /truth` tells when each request was read and each of its tokens written; `POST /reset` forgets that.
    """
    from bench.engine.mock_server.faults import parse_rule
    from bench.engine.mock_server.serve import serve

    settings = MockServerSettings(
        ttft_ms=ttft_ms,
        gap_ms=gap_ms,
        jitter_ms=jitter_ms,
        seed=seed,
        tokens_per_event=tokens_per_event,
        events_per_write=events_per_write,
        answer_tokens=answer_tokens,
        thinking_share=thinking_share,
        thinking=thinking,
        role_chunk=role_chunk,
        usage=usage,
        cached_share=cached_share,
        echo=echo,
        faults=tuple(parse_rule(text, "--fault") for text in faults or ()),
        strict=strict,
        max_open=max_open,
        api_key=None if api_key_env is None else api_key(api_key_env, "--api-key-env"),
    )

    def listening(url: str) -> None:
        typer.echo(f'{{"url": "{url}"}}' if as_json else f"listening on {url}")

    serve(settings, host, port, listening=listening, truth=truth)
