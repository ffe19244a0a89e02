"""vLLM's arguments for what a suite asks, and what vLLM would not take of them."""

from __future__ import annotations

import dataclasses
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from bench.engine.vllm_process.messages import Refused, Start

WHERE = "engine.arguments"


def engine_arguments(start: Start, known: type[Any]) -> dict[str, Any]:
    """What `known`, vLLM's class of them, is made from.

    Its own logs of statistics are off, since they are read here, and counting the steps that a graph ran is on.
    """
    chosen: dict[str, Any] = {"disable_log_stats": True, "cudagraph_metrics": True}
    if not any(Path(start.model_folder).glob("tokenizer*")):
        chosen["skip_tokenizer_init"] = True
    if start.random_weights:
        chosen["load_format"] = "dummy"
    taken = {field.name for field in dataclasses.fields(known)}
    return {
        **{name: value for name, value in chosen.items() if name in taken},
        **start.arguments,
        "model": start.model_folder,
    }


def refused(start: Start, known: type[Any]) -> Refused | None:
    """The first argument that vLLM does not have, or that something else of the suite decides."""
    names = [field.name for field in dataclasses.fields(known)]
    for name, value in start.arguments.items():
        if name == "model":
            return Refused("the model is not an argument", f"{WHERE}.model", "model.path")
        if name == "load_format" and start.random_weights and value != "dummy":
            return Refused("decided by model.weights: random", f"{WHERE}.load_format", "model.weights: stored")
        if name not in names:
            near = get_close_matches(name, names) or get_close_matches(name.replace("-", "_"), names)
            return Refused("vLLM has no such argument", f"{WHERE}.{name}", ", ".join(near) or None)
    return None
