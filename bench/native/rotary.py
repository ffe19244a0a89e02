"""The frequencies of the rotary position embedding.

frequency_i = theta^(−2i/D), i < D/2 (Su et al. 2021, arXiv:2104.09864 §3.2.2). Llama 3.1 stretches the long wavelengths
by `factor`, keeps the short ones and blends linearly in between (as `rope_type: llama3` of the released config.json).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.native.model_config import Llama3Scaling, ModelConfig


def rotary_frequencies(config: ModelConfig, device: torch.device) -> Tensor:
    """[head dim / 2] float32, computed in float32 as the models were trained: far positions feel the last bit."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
    frequencies = 1.0 / (config.rope_theta**exponents)
    if config.rope_scaling is not None:
        frequencies = _stretched(frequencies, config.rope_scaling)
    return frequencies.to(device)


def _stretched(frequencies: Tensor, scaling: Llama3Scaling) -> Tensor:
    turns = scaling.original_max_positions * frequencies / (2 * math.pi)
    blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blend = blend.clamp(0, 1)
    return (1 - blend) * frequencies / scaling.factor + blend * frequencies
