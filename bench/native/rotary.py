"""The frequencies of the rotary position embedding.

frequency_i = theta^(−2i/D), i < D/2 (Su et al. 2021, arXiv:2104.09864 §3.2.2). Two families of models stretch the long
wavelengths by `factor` and keep the short ones. Llama 3.1 blends in between by wavelength (as `rope_type: llama3` of
the released config.json), YaRN by dimension (Peng et al. 2023, arXiv:2309.00071 §3.2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.native.model_config import Llama3Scaling, RotaryConfig, YarnScaling


def rotary_frequencies(config: RotaryConfig, device: torch.device) -> Tensor:
    """[rotated dim / 2] float32, computed in float32 as the models were trained: far positions feel the last bit."""
    exponents = torch.arange(0, config.dim, 2, dtype=torch.int64).float() / config.dim
    frequencies = 1.0 / (config.theta**exponents)
    if isinstance(config.scaling, Llama3Scaling):
        frequencies = _blended(frequencies, _llama3_kept(frequencies, config.scaling), config.scaling.factor)
    elif isinstance(config.scaling, YarnScaling):
        frequencies = _blended(frequencies, _yarn_kept(config, config.scaling), config.scaling.factor)
    return frequencies.to(device)


def rotary_magnitude(config: RotaryConfig) -> float:
    """What cosines and sines are multiplied by."""
    return config.scaling.attention_factor if isinstance(config.scaling, YarnScaling) else 1.0


def _blended(frequencies: Tensor, kept: Tensor, factor: float) -> Tensor:
    """`kept` [D/2] in 0..1: 1 keeps a frequency, 0 divides it by `factor`."""
    return (1 - kept) * frequencies / factor + kept * frequencies


def _llama3_kept(frequencies: Tensor, scaling: Llama3Scaling) -> Tensor:
    turns = scaling.original_max_positions * frequencies / (2 * math.pi)
    return ((turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)).clamp(0, 1)


def _yarn_kept(config: RotaryConfig, scaling: YarnScaling) -> Tensor:
    first, last = (_dimension_of(turns, config, scaling) for turns in (scaling.beta_fast, scaling.beta_slow))
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, config.dim - 1)
    # Equal bounds make a step of what is else a ramp.
    width = last - first or 0.001
    return 1 - ((torch.arange(config.dim // 2, dtype=torch.float32) - first) / width).clamp(0, 1)


def _dimension_of(turns: float, config: RotaryConfig, scaling: YarnScaling) -> float:
    """The dimension, a fraction, whose angle makes so many turns over the original context."""
    return config.dim * math.log(scaling.original_max_positions / (turns * 2 * math.pi)) / (2 * math.log(config.theta))
