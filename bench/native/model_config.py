"""A model's shape, read from the `config.json` of a Hugging Face folder.

Both spellings of the rotary settings are read: `rope_parameters` (transformers 5) and `rope_theta` with `rope_scaling`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from bench.core.errors import InputError

Family = Literal["llama", "qwen3"]

_FAMILIES: dict[str, Family] = {"LlamaForCausalLM": "llama", "Qwen3ForCausalLM": "qwen3"}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_REQUIRED: Any = object()


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Llama 3's stretching of the rotary wavelengths beyond the context it was first trained with."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything the engine needs to know of a dense decoder."""

    family: Family
    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    query_heads: int
    kv_heads: int
    head_dim: int
    max_positions: int
    rms_eps: float
    rope_theta: float
    rope_scaling: Llama3Scaling | None
    qk_norm: bool
    """Queries and keys are RMS-normalised per head before the rotation."""
    attention_bias: bool
    mlp_bias: bool
    tied_embeddings: bool
    """The output projection is the embedding matrix."""
    eos_ids: tuple[int, ...]
    stored_dtype: torch.dtype

    @staticmethod
    def from_folder(folder: Path) -> ModelConfig:
        """Read `config.json` and `generation_config.json`, if there is one. Raises InputError naming file and key."""
        path = folder / "config.json"
        if not folder.is_dir():
            raise InputError("no such model folder", where=folder, allowed="a Hugging Face folder with a config.json")
        fields = _Fields(path, _read_json(path))
        family = _family(fields)
        query_heads = fields.integer("num_attention_heads")
        hidden = fields.integer("hidden_size")
        kv_heads = fields.integer("num_key_value_heads", query_heads)
        if query_heads % kv_heads:
            raise InputError(
                f"num_key_value_heads = {kv_heads}", where=path, allowed=f"a divisor of {query_heads} attention heads"
            )
        if fields.get("hidden_act", "silu") != "silu":
            raise InputError(f"hidden_act = {fields.get('hidden_act')!r}", where=path, allowed="silu")
        if fields.get("use_sliding_window", False):
            raise InputError("use_sliding_window = true", where=path, allowed="false")
        rope_theta, rope_scaling = _rope(fields)
        return ModelConfig(
            family=family,
            vocabulary=fields.integer("vocab_size"),
            hidden=hidden,
            intermediate=fields.integer("intermediate_size"),
            layers=fields.integer("num_hidden_layers"),
            query_heads=query_heads,
            kv_heads=kv_heads,
            head_dim=fields.integer("head_dim", hidden // query_heads),
            max_positions=fields.integer("max_position_embeddings"),
            rms_eps=fields.number("rms_norm_eps", 1e-6),
            rope_theta=rope_theta,
            rope_scaling=rope_scaling,
            qk_norm=family == "qwen3",
            attention_bias=bool(fields.get("attention_bias", False)),
            mlp_bias=family == "llama" and bool(fields.get("mlp_bias", False)),
            tied_embeddings=bool(fields.get("tie_word_embeddings", False)),
            eos_ids=_eos_ids(folder, fields),
            stored_dtype=_stored_dtype(fields),
        )


class _Fields:
    """A JSON object whose mistakes are told with the file's name."""

    def __init__(self, path: Path, values: dict[str, Any]) -> None:
        self.path = path
        self.values = values

    def get(self, key: str, default: Any = _REQUIRED) -> Any:
        value = self.values.get(key)
        if value is not None:
            return value
        if default is _REQUIRED:
            raise InputError(f"{key!r} is missing", where=self.path)
        return default

    def integer(self, key: str, default: Any = _REQUIRED) -> int:
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{key} = {value!r}", where=self.path, allowed="a positive integer")
        return value

    def number(self, key: str, default: Any = _REQUIRED) -> float:
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise InputError(f"{key} = {value!r}", where=self.path, allowed="a positive number")
        return float(value)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", where=path, allowed="the config.json of a Hugging Face model") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from error
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}", where=path, allowed="UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg}", where=f"{path}:{error.lineno}") from None
    if not isinstance(document, dict):
        raise InputError(f"holds {type(document).__name__}", where=path, allowed="a JSON object")
    return document


def _family(fields: _Fields) -> Family:
    named = fields.get("architectures", [])
    architecture = named[0] if isinstance(named, list) and named else None
    if architecture not in _FAMILIES:
        raise InputError(f"unknown architecture {architecture!r}", where=fields.path, allowed=", ".join(_FAMILIES))
    return _FAMILIES[architecture]


def _rope(fields: _Fields) -> tuple[float, Llama3Scaling | None]:
    """Theta and scaling."""
    rope = _Fields(fields.path, fields.get("rope_parameters", None) or fields.get("rope_scaling", None) or {})
    theta = rope.number("rope_theta", fields.get("rope_theta", 10000.0))
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise InputError(f"rope_type = {kind!r}", where=fields.path, allowed="default, llama3")
    return theta, Llama3Scaling(
        factor=rope.number("factor"),
        low_freq_factor=rope.number("low_freq_factor"),
        high_freq_factor=rope.number("high_freq_factor"),
        original_max_positions=rope.integer("original_max_position_embeddings"),
    )


def _eos_ids(folder: Path, fields: _Fields) -> tuple[int, ...]:
    """Token ids that end an answer: those of generation_config.json where it names any, else config.json's."""
    path = folder / "generation_config.json"
    generation = _Fields(path, _read_json(path)).get("eos_token_id", None) if path.exists() else None
    value = generation if generation is not None else fields.get("eos_token_id", [])
    ids = value if isinstance(value, list) else [value]
    if not all(isinstance(i, int) and i >= 0 for i in ids):
        raise InputError(f"eos_token_id = {value!r}", where=fields.path, allowed="a token id or a list of them")
    return tuple(ids)


def _stored_dtype(fields: _Fields) -> torch.dtype:
    name = fields.get("dtype", fields.get("torch_dtype", "float32"))
    if name not in _DTYPES:
        raise InputError(f"dtype = {name!r}", where=fields.path, allowed=", ".join(_DTYPES))
    return _DTYPES[name]
