"""The shape of a decoder of any family, from the files of its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.native.json_file import JsonObject
from bench.native.model_config.families import Family, StoredFormat, Traits, traits_of
from bench.native.model_config.latent import LatentConfig
from bench.native.model_config.moe import MoeConfig
from bench.native.model_config.rotary import RotaryConfig, read_rotary

_ONLY_VALUES: dict[str, Any] = {"hidden_act": "silu", "use_sliding_window": False}
"""Keys that would change the computation, each with the one value it is written for."""
_LAYER_TYPES = ("sliding_attention", "full_attention")
_DTYPES = ("float32", "bfloat16", "float16")
_FP8_BLOCK = [128, 128]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything the engine needs to know of a decoder."""

    family: Family
    vocabulary: int
    hidden: int
    intermediate: int
    """Of the dense feed-forward layers."""
    layers: int
    query_heads: int
    kv_heads: int
    head_dim: int
    max_positions: int
    rms_eps: float
    rotary: RotaryConfig
    windows: tuple[int | None, ...]
    """For each layer, how many of the newest tokens a query sees, itself included; None is all of them."""
    attention_bias: bool
    mlp_bias: bool
    tied_embeddings: bool
    """The output projection is the embedding matrix."""
    latent: LatentConfig | None
    """Of attention over latents, which are kept as of one KV head; None where keys and values are kept themselves."""
    moe: MoeConfig | None
    """None where every layer's feed-forward is dense."""
    eos_ids: tuple[int, ...]
    """Tokens that end an answer."""
    stored_dtype: str
    """`float32`, `bfloat16` or `float16`."""
    stored_format: StoredFormat

    @staticmethod
    def from_folder(folder: Path) -> ModelConfig:
        """Read `config.json` and `generation_config.json`, if there is one. Raises InputError naming file and key."""
        if not folder.is_dir():
            raise InputError("no such model folder", where=folder, allowed="a Hugging Face folder with a config.json")
        fields = JsonObject.read(folder / "config.json")
        traits = traits_of(fields)
        for key, only in _ONLY_VALUES.items():
            if (value := fields.get(key, only)) != only:
                raise InputError(f"{key} = {value!r}", where=fields.path, allowed=str(only))
        query_heads, hidden = fields.integer("num_attention_heads"), fields.integer("hidden_size")
        kv_heads = fields.integer("num_key_value_heads", query_heads)
        if query_heads % kv_heads:
            raise InputError(
                f"num_key_value_heads = {kv_heads}",
                where=fields.path,
                allowed=f"a divisor of num_attention_heads = {query_heads}",
            )
        layers = fields.integer("num_hidden_layers")
        latent = traits.read_latent(fields) if traits.read_latent else None
        head_dim = latent.query_dim if latent else fields.integer("head_dim", hidden // query_heads)
        rotary_dim = latent.rotary_dim if latent else head_dim
        return ModelConfig(
            family=traits.family,
            vocabulary=fields.integer("vocab_size"),
            hidden=hidden,
            intermediate=fields.integer("intermediate_size"),
            layers=layers,
            query_heads=query_heads,
            kv_heads=1 if latent else kv_heads,
            head_dim=head_dim,
            max_positions=fields.integer("max_position_embeddings"),
            rms_eps=fields.number("rms_norm_eps", 1e-6),
            rotary=read_rotary(fields, rotary_dim, traits.theta),
            windows=_windows(fields, layers) if traits.slides else (None,) * layers,
            attention_bias=fields.flag("attention_bias", traits.attention_bias),
            mlp_bias=traits.mlp_bias and fields.flag("mlp_bias", False),
            tied_embeddings=fields.flag("tie_word_embeddings", False),
            latent=latent,
            moe=traits.read_moe(fields, layers) if traits.read_moe else None,
            eos_ids=_eos_ids(folder, fields),
            stored_dtype=_stored_dtype(fields, traits),
            stored_format=_stored_format(fields, traits),
        )


def _windows(fields: JsonObject, layers: int) -> tuple[int | None, ...]:
    """By `layer_types`; where a config has none, every other layer slides, the first included."""
    kinds = fields.get("layer_types", [("sliding", "full")[index % 2] + "_attention" for index in range(layers)])
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise InputError(f"layer_types = {kinds!r}", where=fields.path, allowed=f"a list of {layers}")
    for kind in kinds:
        if kind not in _LAYER_TYPES:
            raise InputError(f"layer_types names {kind!r}", where=fields.path, allowed=", ".join(_LAYER_TYPES))
    return tuple(fields.integer("sliding_window") if kind == "sliding_attention" else None for kind in kinds)


def _eos_ids(folder: Path, fields: JsonObject) -> tuple[int, ...]:
    """Those of generation_config.json where it names any, else those of config.json."""
    generation = folder / "generation_config.json"
    source = JsonObject.read(generation) if generation.exists() else fields
    value = source.get("eos_token_id", fields.get("eos_token_id", []))
    ids = value if isinstance(value, list) else [value]
    if not all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in ids):
        raise InputError(f"eos_token_id = {value!r}", where=source.path, allowed="a token id or a list of them")
    return tuple(ids)


def _stored_dtype(fields: JsonObject, traits: Traits) -> str:
    name: str = fields.get("dtype", fields.get("torch_dtype", traits.dtype))
    if name not in _DTYPES:
        raise InputError(f"dtype = {name!r}", where=fields.path, allowed=", ".join(_DTYPES))
    return name


def _stored_format(fields: JsonObject, traits: Traits) -> StoredFormat:
    if fields.get("quantization_config", None) is None:
        return "dense"
    quantised = fields.object("quantization_config")
    method = quantised.get("quant_method", None)
    if traits.quantised is None or method != traits.quantised:
        allowed = "no quantization_config" + (f", or {traits.quantised}" if traits.quantised else "")
        raise InputError(f"quant_method = {method!r}", where=fields.path, allowed=allowed)
    if method == "fp8" and (block := quantised.get("weight_block_size", None)) != _FP8_BLOCK:
        raise InputError(f"weight_block_size = {block!r}", where=fields.path, allowed=str(_FP8_BLOCK))
    return traits.quantised
