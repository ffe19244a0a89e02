"""What vLLM will serve and heed, as far as that is known before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.core.spec import WorkloadSpec
from bench.core.vllm_spec import VllmProcessSpec
from bench.native.json_file import JsonObject

_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length")
"""What models' configurations call it, the commonest first."""


def asked_context_tokens(arguments: Mapping[str, Any], model_folder: Path) -> int:
    """What the argument `max_model_len` says, or the model's configuration.

    vLLM may stretch the latter by the model's scaling of positions, or cut it to what its memory holds. Raises
    InputError for a configuration that cannot be read, or that does not say.
    """
    asked = arguments.get("max_model_len")
    if isinstance(asked, int) and not isinstance(asked, bool) and asked > 0:
        return asked
    config = JsonObject.read(model_folder / "config.json")
    for section in (config, config.object("text_config")):
        for name in _NAMES:
            if (tokens := section.integer(name, 0, least=0)) > 0:
                return tokens
    raise InputError(
        "the model does not say how long its context is",
        where=config.path,
        allowed="max_model_len under engine.arguments",
    )


def refuse_unheeded_budget(engine: VllmProcessSpec, workload: WorkloadSpec, where: str) -> None:
    """Raise InputError for a thinking budget where vLLM is not told what ends the model's thinking."""
    if workload.thinking_budget is None or workload.length_mode == "pinned":
        return
    if not {"reasoning_parser", "reasoning_config"} & engine.arguments.keys():
        raise InputError(
            "vLLM heeds workload.thinking_budget only where it knows what ends the model's thinking",
            where=where,
            allowed="engine.arguments with reasoning_parser, or with reasoning_config",
        )
