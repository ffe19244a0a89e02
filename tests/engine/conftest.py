"""A small random model, what transformers says it generates, and a client that asks the native engine the same."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from bench.core.clock import RealClock
from bench.core.records import Chunk, Finish
from bench.core.sessions import Sampling, Segment, Turn, TurnRequest
from bench.core.spec import NativeEngineSpec
from bench.engine.native import NativeEngine

T = TypeVar("T")

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


class RecordingSink:
    """Keeps what it is given, and refuses anything after the end."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.ended: Finish | None = None
        self.first = asyncio.Event()
        self.done = asyncio.Event()

    def chunk(self, chunk: Chunk) -> None:
        assert self.ended is None
        self.chunks.append(chunk)
        self.first.set()

    def finish(self, finish: Finish) -> None:
        assert self.ended is None
        self.ended = finish
        self.done.set()

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(token for chunk in self.chunks for token in chunk.token_ids or ())


class Client:
    """A driver cut down to what a test needs; its event loop outlives each call."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(main)

    def engine(self, folder: Path, **changes: Any) -> NativeEngine:
        """Not yet started."""
        values = {"device": "cpu", "threads": 1, "step_tokens": 64, "kv_cache_tokens": 4096, **changes}
        return NativeEngine(NativeEngineSpec.model_validate(values), folder, clock=RealClock())

    def prompt(self, length: int) -> tuple[int, ...]:
        return tuple(20 + (7 * length + 13 * i * i) % 290 for i in range(length))

    def request(self, prompt: Sequence[int], tokens: int = 64, sampling: Sampling | None = None) -> TurnRequest:
        turn = Turn(0, (Segment("prompt", len(prompt)),), output_tokens=tokens)
        return TurnRequest("session", turn, tuple(prompt), tokens, ignore_eos=True, sampling=sampling or Sampling())

    def sink(self) -> RecordingSink:
        return RecordingSink()

    async def answer(self, engine: NativeEngine, *requests: TurnRequest) -> list[RecordingSink]:
        """Submit all at once and wait for all."""
        sinks = [RecordingSink() for _ in requests]
        for request, sink in zip(requests, sinks, strict=True):
            await engine.submit(request, sink)
        await asyncio.gather(*(sink.done.wait() for sink in sinks))
        return sinks


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    with asyncio.Runner() as runner:
        yield Client(runner)


@pytest.fixture(scope="module")
def engine(client: Client, small_model: SmallModel) -> Iterator[NativeEngine]:
    """One that answers, shared by the tests of a file."""
    engine = client.engine(small_model.folder)
    client.run(engine.start())
    yield engine
    client.run(engine.stop())


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
