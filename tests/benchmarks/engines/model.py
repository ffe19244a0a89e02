"""The model every engine is given: a configured shape with weights made up once."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from bench.core.configs import resolve


@dataclass(frozen=True)
class Model:
    folder: Path
    """A Hugging Face folder without a tokenizer."""
    parameters: int
    vocabulary: int

    def prompts(self, batch: int, tokens: int, seed: str) -> list[list[int]]:
        """`batch` prompts of `tokens` random token ids; another seed gives others."""
        draw = random.Random(f"{seed}, batch {batch}")
        return [draw.choices(range(self.vocabulary), k=tokens) for _ in range(batch)]


def make_model(name: str, folder: Path) -> Model:
    """Write random bfloat16 weights of the shape `name` to `folder`. Raises InputError where there is no such shape."""
    config = AutoConfig.from_pretrained(resolve(name, "models", suffix=""))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    return Model(folder, model.num_parameters(), config.vocab_size)
