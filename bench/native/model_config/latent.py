"""What multi-head latent attention is made of, and how a `config.json` says it (DeepSeek-V2, arXiv:2405.04434 §2.1)."""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.errors import InputError
from bench.native.json_file import JsonObject


@dataclass(frozen=True, slots=True)
class LatentConfig:
    """A token's keys and values are kept as one latent, from which each head has a projection of its own."""

    query_rank: int | None
    """Dimensions queries pass through on their way from the hidden state; None where they are projected at once."""
    rank: int
    """Dimensions of the latent of keys and values."""
    plain_dim: int
    """Dimensions of a head's query and key without a position."""
    rotary_dim: int
    """Dimensions with one; the key's are shared by all heads."""
    value_dim: int
    """Dimensions of a head's value."""
    interleaved: bool
    """Rotated dimensions lie as pairs of neighbours in the files, not of halves."""

    @property
    def query_dim(self) -> int:
        return self.plain_dim + self.rotary_dim

    @property
    def cached_dim(self) -> int:
        """What is kept of a token, for all heads."""
        return self.rank + self.rotary_dim


def read_latent(fields: JsonObject) -> LatentConfig:
    """Raises InputError naming file and key."""
    if fields.flag("attention_bias", False):
        raise InputError("attention_bias = True", where=fields.path, allowed="false")
    return LatentConfig(
        query_rank=None if fields.get("q_lora_rank", None) is None else fields.integer("q_lora_rank"),
        rank=fields.integer("kv_lora_rank"),
        plain_dim=fields.integer("qk_nope_head_dim"),
        rotary_dim=fields.integer("qk_rope_head_dim"),
        value_dim=fields.integer("v_head_dim"),
        interleaved=fields.flag("rope_interleave", True),
    )
