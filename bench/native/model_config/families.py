"""The families of models, and what the configs of each leave unsaid or alone may say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.core.errors import InputError
from bench.native.json_file import JsonObject
from bench.native.model_config.latent import LatentConfig, read_latent
from bench.native.model_config.moe import MoeConfig, read_deepseek_v3, read_gpt_oss, read_qwen3_moe

Family = Literal["llama", "qwen3", "qwen3_moe", "gpt_oss", "deepseek_v3"]
StoredFormat = Literal["dense", "mxfp4", "fp8"]
"""How projections lie in their files.

`mxfp4` is the experts' alone, in blocks of four-bit values with a scale each. `fp8` is in tiles of eight-bit values
with a scale each (`neokernels.formats.fp8_tiles`).
"""


@dataclass(frozen=True, slots=True)
class Traits:
    """What sets a family's configs apart."""

    family: Family
    mlp_bias: bool = False
    """Its dense feed-forward may have biases."""
    attention_bias: bool = False
    """Where a config does not say."""
    theta: float = 10000.0
    """Where a config does not say."""
    dtype: str = "float32"
    """Where a config does not say."""
    slides: bool = False
    """Some of its layers attend through a window."""
    read_latent: Callable[[JsonObject], LatentConfig] | None = None
    read_moe: Callable[[JsonObject, int], MoeConfig] | None = None
    quantised: StoredFormat | None = None
    """Format beside `dense` in which its weights may lie in their files."""


ARCHITECTURES = {
    "LlamaForCausalLM": Traits("llama", mlp_bias=True),
    "Qwen3ForCausalLM": Traits("qwen3"),
    "Qwen3MoeForCausalLM": Traits("qwen3_moe", read_moe=read_qwen3_moe),
    "GptOssForCausalLM": Traits(
        "gpt_oss",
        attention_bias=True,
        theta=150000.0,
        # Of all but its experts, as released; its config is silent.
        dtype="bfloat16",
        slides=True,
        read_moe=read_gpt_oss,
        quantised="mxfp4",
    ),
    "DeepseekV3ForCausalLM": Traits("deepseek_v3", read_latent=read_latent, read_moe=read_deepseek_v3, quantised="fp8"),
}
"""Families by the name a `config.json` gives its architecture."""


def traits_of(fields: JsonObject) -> Traits:
    """Those of the family of a `config.json`. Raises InputError for one that is not known."""
    named = fields.get("architectures", [])
    architecture = named[0] if isinstance(named, list) and named else None
    traits = ARCHITECTURES.get(str(architecture))
    if traits is None:
        raise InputError(f"unknown architecture {architecture!r}", where=fields.path, allowed=", ".join(ARCHITECTURES))
    return traits
