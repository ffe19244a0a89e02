"""A model's shape, read from the `config.json` of a Hugging Face folder.

Both spellings of the rotary settings are read: `rope_parameters` (transformers 5) and `rope_theta` with `rope_scaling`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.core.errors import InputError
from bench.native.json_file import JsonObject

Family = Literal["llama", "qwen3"]

_FAMILIES: dict[str, Family] = {"LlamaForCausalLM": "llama", "Qwen3ForCausalLM": "qwen3"}
_DTYPES = ("float32", "bfloat16", "float16")

_ONLY_VALUES: dict[str, Any] = {"hidden_act": "silu", "use_sliding_window": False, "quantization_config": None}
"""Keys that would change the computation, each with the one value it is written for."""


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
    attention_bias: bool
    mlp_bias: bool
    tied_embeddings: bool
    """The output projection is the embedding matrix."""
    eos_ids: tuple[int, ...]
    """Tokens that end an answer."""
    stored_dtype: str
    """`float32`, `bfloat16` or `float16`."""

    @staticmethod
    def from_folder(folder: Path) -> ModelConfig:
        """Read `config.json` and `generation_config.json`, if there is one. Raises InputError naming file and key."""
        if not folder.is_dir():
            raise InputError("no such model folder", where=folder, allowed="a Hugging Face folder with a config.json")
        fields = JsonObject.read(folder / "config.json")
        family = _family(fields)
        for key, only in _ONLY_VALUES.items():
            if (value := fields.get(key, only)) != only:
                raise InputError(f"{key} = {value!r}", where=fields.path, allowed="none" if only is None else str(only))
        query_heads, hidden = fields.integer("num_attention_heads"), fields.integer("hidden_size")
        kv_heads = fields.integer("num_key_value_heads", query_heads)
        if query_heads % kv_heads:
            raise InputError(
                f"num_key_value_heads = {kv_heads}",
                where=fields.path,
                allowed=f"a divisor of num_attention_heads = {query_heads}",
            )
        rope = _rope(fields)
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
            rope_theta=rope.number("rope_theta", fields.get("rope_theta", 10000.0)),
            rope_scaling=_rope_scaling(rope),
            attention_bias=fields.flag("attention_bias", False),
            mlp_bias=family == "llama" and fields.flag("mlp_bias", False),
            tied_embeddings=fields.flag("tie_word_embeddings", False),
            eos_ids=_eos_ids(folder, fields),
            stored_dtype=_stored_dtype(fields),
        )


def _family(fields: JsonObject) -> Family:
    named = fields.get("architectures", [])
    architecture = named[0] if isinstance(named, list) and named else None
    if architecture not in _FAMILIES:
        raise InputError(f"unknown architecture {architecture!r}", where=fields.path, allowed=", ".join(_FAMILIES))
    return _FAMILIES[architecture]


def _rope(fields: JsonObject) -> JsonObject:
    rope = fields.object("rope_parameters" if fields.get("rope_parameters", None) is not None else "rope_scaling")
    if (share := rope.get("partial_rotary_factor", 1)) != 1:
        raise InputError(f"partial_rotary_factor = {share!r}", where=fields.path, allowed="1")
    return rope


def _rope_scaling(rope: JsonObject) -> Llama3Scaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise InputError(f"rope_type = {kind!r}", where=rope.path, allowed="default, llama3")
    return Llama3Scaling(
        factor=rope.number("factor"),
        low_freq_factor=rope.number("low_freq_factor"),
        high_freq_factor=rope.number("high_freq_factor"),
        original_max_positions=rope.integer("original_max_position_embeddings"),
    )


def _eos_ids(folder: Path, fields: JsonObject) -> tuple[int, ...]:
    """Those of generation_config.json where it names any, else those of config.json."""
    generation = folder / "generation_config.json"
    source = JsonObject.read(generation) if generation.exists() else fields
    value = source.get("eos_token_id", fields.get("eos_token_id", []))
    ids = value if isinstance(value, list) else [value]
    if not all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in ids):
        raise InputError(f"eos_token_id = {value!r}", where=source.path, allowed="a token id or a list of them")
    return tuple(ids)


def _stored_dtype(fields: JsonObject) -> str:
    name: str = fields.get("dtype", fields.get("torch_dtype", "float32"))
    if name not in _DTYPES:
        raise InputError(f"dtype = {name!r}", where=fields.path, allowed=", ".join(_DTYPES))
    return name
