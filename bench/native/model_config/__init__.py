"""A model's shape, read from the `config.json` of a Hugging Face folder."""

from bench.native.model_config.config import ModelConfig
from bench.native.model_config.families import ARCHITECTURES, Family, StoredFormat
from bench.native.model_config.latent import LatentConfig
from bench.native.model_config.moe import MoeConfig
from bench.native.model_config.rotary import Llama3Scaling, RotaryConfig, YarnScaling, attention_temperature

__all__ = [
    "ARCHITECTURES",
    "Family",
    "LatentConfig",
    "Llama3Scaling",
    "ModelConfig",
    "MoeConfig",
    "RotaryConfig",
    "StoredFormat",
    "YarnScaling",
    "attention_temperature",
]
