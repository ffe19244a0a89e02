"""Rotary settings of a `config.json`.

Both spellings are read: `rope_parameters` (transformers 5) and `rope_theta` with `rope_scaling`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.core.errors import InputError
from bench.native.json_file import JsonObject


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Llama 3's stretching of the rotary wavelengths beyond the context it was first trained with."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


@dataclass(frozen=True, slots=True)
class YarnScaling:
    """YaRN's stretching of the rotary wavelengths (Peng et al. 2023, arXiv:2309.00071 §3.2)."""

    factor: float
    beta_fast: float
    """Turns over the original context above which a wavelength stays as it is."""
    beta_slow: float
    """Turns below which it is stretched by the whole factor."""
    original_max_positions: int
    truncate: bool
    """Round the bounds between the two to whole dimensions, outwards."""
    attention_factor: float
    """Multiplies cosines and sines."""
    mscale_all_dim: float
    """What DeepSeek's softmax scale grows with; 0 where a model has none."""


@dataclass(frozen=True, slots=True)
class RotaryConfig:
    theta: float
    dim: int
    """Dimensions of a head that are rotated."""
    scaling: Llama3Scaling | YarnScaling | None


def read_rotary(fields: JsonObject, dim: int, default_theta: float) -> RotaryConfig:
    """The rotary settings of a whole `config.json`. Raises InputError naming file and key."""
    rope = fields.object("rope_parameters" if fields.get("rope_parameters", None) is not None else "rope_scaling")
    if (share := rope.get("partial_rotary_factor", fields.get("partial_rotary_factor", 1))) != 1:
        raise InputError(f"partial_rotary_factor = {share!r}", where=fields.path, allowed="1")
    theta = rope.number("rope_theta", fields.get("rope_theta", default_theta))
    if theta <= 1:
        raise InputError(f"rope_theta = {theta}", where=fields.path, allowed="more than 1")
    if dim % 2:
        raise InputError(f"{dim} dimensions of a head are rotated", where=fields.path, allowed="an even number of them")
    return RotaryConfig(theta=theta, dim=dim, scaling=_scaling(rope))


def attention_temperature(factor: float, weight: float = 1.0) -> float:
    """√(1/t) of YaRN for a context grown by `factor`: 0.1 · weight · ln(factor) + 1 (arXiv:2309.00071 eq. 22)."""
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0


def _scaling(rope: JsonObject) -> Llama3Scaling | YarnScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind == "llama3":
        return Llama3Scaling(
            factor=rope.number("factor"),
            low_freq_factor=rope.number("low_freq_factor"),
            high_freq_factor=rope.number("high_freq_factor"),
            original_max_positions=rope.integer("original_max_position_embeddings"),
        )
    if kind == "yarn":
        return _yarn(rope)
    raise InputError(f"rope_type = {kind!r}", where=rope.path, allowed="default, llama3, yarn")


def _yarn(rope: JsonObject) -> YarnScaling:
    factor = rope.number("factor")
    # DeepSeek writes two weights whose quotient it means; a weight of 0 counts as none.
    weight, weight_of_all = (0.0 if rope.get(key, 0) == 0 else rope.number(key) for key in ("mscale", "mscale_all_dim"))
    attention_factor = attention_temperature(factor)
    if weight and weight_of_all:
        attention_factor = attention_temperature(factor, weight) / attention_temperature(factor, weight_of_all)
    return YarnScaling(
        factor=factor,
        beta_fast=rope.number("beta_fast", 32.0),
        beta_slow=rope.number("beta_slow", 1.0),
        original_max_positions=rope.integer("original_max_position_embeddings"),
        truncate=rope.flag("truncate", True),
        attention_factor=rope.number("attention_factor", attention_factor),
        mscale_all_dim=weight_of_all,
    )
