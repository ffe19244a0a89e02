"""An engine of two processes says what one of a single process says, and neither process outlives the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from bench.core.errors import InputError
from bench.core.sessions import Sampling
from bench.core.spec import NativeEngineSpec
from bench.native.load import LoadedEngine, load_engine
from bench.native.messages import Submit
from bench.native.settings import EngineSettings

PREFIX = tuple(20 + 7 * i % 290 for i in range(40))
PROMPTS = [(*PREFIX, 21 + i, *range(30, 30 + 5 * i)) for i in range(4)] + [(5, 9, 200), (77,) * 9]
OUTPUT = 24
SHAPE: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "eos_token_id": None,
}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, tie_word_embeddings=True)),
    "moe": lambda: Qwen3MoeForCausalLM(
        Qwen3MoeConfig(**SHAPE, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32)
    ),
}


def load(folder: Path, ranks: int, **changes: Any) -> LoadedEngine:
    """Steps are so short that prompts come in chunks."""
    values = {"device": "cpu", "threads": 2, "max_running": 3, "step_tokens": 24, "block_tokens": 4, **changes}
    spec = NativeEngineSpec.model_validate({"kv_cache_tokens": 400, "tensor_parallel": ranks, **values})
    return load_engine(folder, EngineSettings.of(spec.model_dump(exclude={"kind"})))


def answers(engine: LoadedEngine) -> tuple[dict[int, list[int]], dict[int, int]]:
    """Tokens said to each prompt, and tokens the prefix cache served of it."""
    said: dict[int, list[int]] = {i: [] for i in range(len(PROMPTS))}
    cached: dict[int, int] = {}
    for i, prompt in enumerate(PROMPTS):
        assert engine.core.add(Submit(i, array("i", prompt), OUTPUT, True, 0, Sampling())) is None
    while engine.core.has_work:
        step = engine.core.step()
        for tokens in step.tokens:
            said[tokens.id] += tokens.token_ids
        cached |= {ended.id: ended.cached_tokens for ended in step.ended}
    return said, cached


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llama", {"overlap": True}),
        ("qwen3", {"speculation": {"kind": "draft_model", "tokens": 3}}),
        ("moe", {"overlap": True, "admission": "optimistic", "numerics": "batch_invariant"}),
    ],
)
def test_two_ranks_say_what_one_says(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        MODELS[name]().eval().save_pretrained(tmp_path)
    if "speculation" in changes:
        changes = {"speculation": {**changes["speculation"], "model": str(tmp_path)}}
    alone = load(tmp_path, 1, check_accuracy=False)
    expected, _ = answers(alone)
    both = load(tmp_path, 2, **changes)
    try:
        said, cached = answers(both)
    finally:
        both.followers.close()
    assert said == expected
    assert sum(cached.values()) > 0
    figures = both.description["accuracy"]["figures"]
    assert figures["top1_agreement"] == 1
    assert figures["kl_max"] < 1e-6
    assert both.description["tensor_parallel"] == {"ranks": 2, "devices": ["cpu", "cpu"], "backend": "gloo"}
    # Norms and the embedding are on both.
    assert alone.description["parameter_bytes"] < both.description["parameter_bytes"]
    assert both.description["kv_pool"]["blocks"] == 100
    assert both.core.statistics()["collectives"]["calls"] > 0
    assert alone.core.statistics()["collectives"] is None


def test_ranks_that_a_model_does_not_divide_into_are_refused_before_any_starts(client: Any, small_model: Any) -> None:
    engine = client.engine(small_model.folder, tensor_parallel=3)
    with pytest.raises(InputError, match="tensor_parallel = 3 for 4 attention heads"):
        client.run(engine.start())
    client.run(engine.stop())


def processes_below(pid: int) -> dict[int, bytes]:
    """Processes that `pid` started, and those they started, with their command lines."""
    found: dict[int, bytes] = {}
    waiting = [pid]
    while waiting:
        try:
            tasks = list(Path(f"/proc/{waiting.pop()}/task").iterdir())
            children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
            found |= {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
            waiting += children
        except OSError:
            continue
    return found


def wait_for_the_end_of(pids: set[int]) -> None:
    gives_up = time.monotonic() + 30
    while any(is_engine(pid) for pid in pids):
        assert time.monotonic() < gives_up, "a rank outlived the others"
        time.sleep(0.05)


def is_engine(pid: int) -> bool:
    """One that has died is none, reaped or not."""
    try:
        return b"bench.native" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_a_rank_that_is_killed_takes_the_engine_with_it_and_is_named(client: Any, small_model: Any) -> None:
    async def scenario() -> tuple[Any, set[int]]:
        engine = client.engine(small_model.folder, tensor_parallel=2, threads=2, check_accuracy=False)
        before = processes_below(os.getpid())
        await engine.start()
        started = {pid: line for pid, line in processes_below(os.getpid()).items() if pid not in before}
        (follower,) = (pid for pid, line in started.items() if b"bench.native.parallel.follower" in line)
        sink = client.sink()
        await engine.submit(client.request(client.prompt(10), 450), sink)
        await sink.first.wait()
        os.kill(follower, signal.SIGKILL)
        await sink.done.wait()
        await engine.stop()
        return sink, {pid for pid, line in started.items() if b"bench.native" in line}

    sink, pids = client.run(scenario())
    assert sink.ended.reason == "failed"
    assert sink.ended.error.startswith("engine_lost: ")
    assert sink.ended.error.endswith("rank 1 was lost: its process was ended by SIGKILL")
    assert len(pids) == 2
    wait_for_the_end_of(pids)


def test_a_driver_that_dies_leaves_no_rank_behind(small_model: Any) -> None:
    script = f"""
        import asyncio, os, pathlib
        from bench.core.clock import RealClock
        from bench.core.spec import NativeEngineSpec
        from bench.engine.native import NativeEngine

        async def main():
            settings = dict(device="cpu", threads=2, kv_cache_tokens=1024, tensor_parallel=2, check_accuracy=False)
            spec = NativeEngineSpec.model_validate(settings)
            engine = NativeEngine(spec, pathlib.Path({str(small_model.folder)!r}), clock=RealClock())
            await engine.start()
            print("started", flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """
    driver = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE)
    assert driver.stdout is not None
    with driver.stdout:
        assert driver.stdout.readline() == b"started\n"
        pids = set(processes_below(driver.pid))
        driver.kill()
        driver.wait()
    assert len(pids) == 2
    wait_for_the_end_of(pids)
