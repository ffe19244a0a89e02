"""The command that starts `vllm serve`, from what a suite says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.core.vllm_spec import VllmServerEngineSpec

HOST = "127.0.0.1"
_WHERE = "engine.arguments"
_OURS = {
    "model": "model.path",
    "model_tag": "model.path",
    "host": f"it listens on {HOST}",
    "port": "engine.port",
    "served_model_name": "a name of this run's own",
}
"""Arguments that have a place of their own, and where that is."""
_UNREACHABLE = ("api_key", "config", "grpc", "headless", "root_path", "ssl_certfile", "ssl_keyfile", "uds")
"""Arguments with which the server could not be asked, or others could slip in."""
_ONLY_ON = ("aggregate_engine_logging", "data_parallel_multi_port_external_lb", "disable_log_stats")
"""Flags that vLLM knows no `--no-` of: false is to leave them out."""
_DEFAULTS = {
    # What is sampled is what a request asks for, and not what the model's folder would add to it.
    "generation_config": "vllm",
    # Without it no usage tells which tokens of a prompt came from the cache.
    "enable_prompt_tokens_details": True,
    # Nobody reads a line a request; it takes the server's time.
    "disable_uvicorn_access_log": True,
}


def server_command(
    python: str, model: Path, arguments: Mapping[str, Any], *, port: int, served_model: str
) -> tuple[str, ...]:
    """`arguments` as `server_arguments` gives them."""
    return (
        python,
        # Without -P a folder of the name vllm where the run is started would be taken for it.
        *("-P", "-m", "vllm.entrypoints.cli.main", "serve", str(model)),
        *("--served-model-name", served_model, "--host", HOST, "--port", str(port)),
        *flags(arguments),
    )


def server_arguments(spec: VllmServerEngineSpec, *, random_weights: bool) -> dict[str, Any]:
    """The suite's arguments over our defaults, by their Python names.

    Raises InputError for one that has another place, or that cannot be said on a command line.
    """
    named = {name.replace("-", "_"): value for name, value in spec.arguments.items()}
    for name in named:
        if name in _OURS:
            raise InputError(f"{name} is not set here", where=_WHERE, allowed=_OURS[name])
        if name in _UNREACHABLE:
            raise InputError(f"{name} would put the server out of reach", where=_WHERE, allowed="leave it out")
    if random_weights and named.setdefault("load_format", "dummy") != "dummy":
        raise InputError(
            f"load_format {named['load_format']!r} reads weights, and model.weights is random",
            where=_WHERE,
            allowed="leave it out, or model.weights: stored",
        )
    arguments = {**_DEFAULTS, **named}
    flags(arguments)
    return arguments


def flags(arguments: Mapping[str, Any]) -> list[str]:
    """Arguments as words of a command line: lists as a word an element, mappings as JSON; null is left out."""
    words: list[str] = []
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        match value:
            case None:
                continue
            case True:
                words.append(f"--{flag}")
            case False:
                words += [] if name in _ONLY_ON else [f"--no-{flag}"]
            case list():
                words += [f"--{flag}", *map(_word, value)] if value else []
            case _:
                # In one word, so that a value that begins with a dash is no flag.
                words.append(f"--{flag}={_word(value)}")
    return words


def _word(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise InputError(
            f"{value!r} cannot be said on a command line", where=_WHERE, allowed="numbers, text, lists and mappings"
        ) from None
