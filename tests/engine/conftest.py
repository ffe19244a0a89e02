"""A small random model in a folder, and what transformers says it generates."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

_CONTEXT_TOKENS = 512
_POISON = 13


@dataclass(frozen=True)
class SmallModel:
    """A Qwen3 of random weights that never ends by itself."""

    folder: Path
    oracle: Qwen3ForCausalLM
    context_tokens: int = _CONTEXT_TOKENS
    poison: int = _POISON
    """A token whose embedding is NaN: after a prompt that holds it no logit is a number. The model never says it."""

    @torch.inference_mode()
    def greedy(self, prompt: tuple[int, ...], tokens: int) -> tuple[int, ...]:
        """The most likely next tokens."""
        said: list[int] = []
        feed, cache = torch.tensor([prompt]), None
        while len(said) < tokens:
            step = self.oracle(feed, past_key_values=cache, use_cache=True)
            feed, cache = step.logits[:, -1:].argmax(-1), step.past_key_values
            said.append(int(feed))
        return tuple(said)

    def ending(self, folder: Path, *, eos: int, thinking: tuple[int, int] | None = None) -> SmallModel:
        """The same model in another folder, where `eos` ends an answer and `thinking` are the think tags."""
        shutil.copytree(self.folder, folder)
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": eos}))
        if thinking is not None:
            tags = [{"id": id, "content": tag} for id, tag in zip(thinking, ("<think>", "</think>"), strict=True)]
            (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": tags}))
        return replace(self, folder=folder)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small gain nothing from a second thread, and lose much to it on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> SmallModel:
    config = Qwen3Config(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=_CONTEXT_TOKENS,
        tie_word_embeddings=False,
        initializer_range=0.3,
        eos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(20)
        model = Qwen3ForCausalLM(config).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight[_POISON] = torch.nan
        model.get_output_embeddings().weight[_POISON] = 0.0
    folder = tmp_path_factory.mktemp("small_model")
    model.save_pretrained(folder)
    return SmallModel(folder, model)
