"""The native engine through its process, as the driver uses it: the tokens are transformers', and failures are told."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from bench.core.clock import RealClock
from bench.core.errors import EngineError, InputError
from bench.core.records import Chunk, Finish, Sampling, Segment, Turn, TurnRequest
from bench.core.spec import NativeEngineSpec
from bench.engine.native import NativeEngine

TINY = Path(__file__).parents[2] / "configs" / "models" / "tiny"
NEW_TOKENS = 64
PROMPT_LENGTHS = (1, 3, 16, 17, 40, 61, 90, 128)


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


def request(prompt: Sequence[int], tokens: int = NEW_TOKENS, sampling: Sampling | None = None) -> TurnRequest:
    turn = Turn(0, (Segment("prompt", len(prompt)),), output_tokens=tokens)
    return TurnRequest("session", turn, tuple(prompt), tokens, ignore_eos=True, sampling=sampling or Sampling())


def prompt_of(length: int) -> tuple[int, ...]:
    return tuple(20 + (7 * length + 13 * i * i) % 290 for i in range(length))


def spec(**changes: Any) -> NativeEngineSpec:
    values = {"device": "cpu", "threads": 1, "step_tokens": 64, "kv_cache_tokens": 4096, **changes}
    return NativeEngineSpec.model_validate(values)


async def answer(engine: NativeEngine, *requests: TurnRequest) -> list[RecordingSink]:
    """Submit all at once and wait for all."""
    sinks = [RecordingSink() for _ in requests]
    for one, sink in zip(requests, sinks, strict=True):
        await engine.submit(one, sink)
    await asyncio.gather(*(sink.done.wait() for sink in sinks))
    return sinks


def engine_processes() -> list[int]:
    """Children of this process that are engines."""
    tasks = Path("/proc/self/task").iterdir()
    children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    return [pid for pid in children if b"bench.native.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def engine(runner: asyncio.Runner, small_model: Any) -> Iterator[NativeEngine]:
    engine = NativeEngine(spec(), small_model.folder, clock=RealClock())
    runner.run(engine.start())
    yield engine
    runner.run(engine.stop())


def test_start_tells_its_phases_and_what_it_resolved(runner: asyncio.Runner, small_model: Any) -> None:
    engine = NativeEngine(spec(kv_cache_tokens=100), small_model.folder, clock=RealClock())
    assert engine.capabilities.max_context_tokens == small_model.context_tokens
    startup = runner.run(engine.start())
    assert startup.load_s is not None
    assert startup.first_token_s is not None
    assert 0 < startup.load_s + startup.first_token_s < startup.total_s
    assert engine.capabilities.max_context_tokens == 112
    described = engine.describe()
    assert described["device"] == "cpu"
    assert described["dtype"] == "float32"
    assert described["threads"] == 1
    assert described["policy"] == "decode_first"
    assert described["graph_mode"] == "none"
    assert described["kv_pool"] == {"blocks": 7, "block_tokens": 16, "tokens": 112, "bytes": 112 * 512}
    assert described["parameter_bytes"] == sum(p.nbytes for p in small_model.oracle.parameters())
    assert {"paged_attention", "sample"} <= {kernel["operation"] for kernel in described["kernels"]}
    # The first token is no part of the run.
    assert (engine.counters().prompt_tokens, engine.counters().output_tokens) == (0, 0)
    runner.run(engine.stop())
    assert engine.step_log.take() == []


def test_greedy_tokens_are_those_of_transformers_alone_and_in_a_mixed_batch(
    runner: asyncio.Runner, engine: NativeEngine, small_model: Any
) -> None:
    prompts = [prompt_of(length) for length in PROMPT_LENGTHS]
    expected = [small_model.greedy(prompt, NEW_TOKENS) for prompt in prompts]
    alone = [runner.run(answer(engine, request(prompt)))[0].token_ids for prompt in prompts]
    together = runner.run(answer(engine, *(request(prompt) for prompt in prompts)))
    assert alone == expected
    assert [sink.token_ids for sink in together] == expected
    assert {sink.ended.reason for sink in together if sink.ended} == {"length"}


def test_the_tiny_model_says_what_it_says_under_transformers(runner: asyncio.Runner) -> None:
    oracle = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval()
    engine = NativeEngine(spec(), TINY, clock=RealClock())
    runner.run(engine.start())
    prompts = [prompt_of(length) for length in PROMPT_LENGTHS]
    together = runner.run(answer(engine, *(request(prompt) for prompt in prompts)))
    runner.run(engine.stop())
    for prompt, sink in zip(prompts, together, strict=True):
        context = torch.tensor([(*prompt, *sink.token_ids)])
        said = oracle(context).logits[0, len(prompt) - 1 : -1].argmax(-1)
        assert sink.token_ids == tuple(said.tolist())


def test_chunks_are_stamped_by_the_engine_and_then_on_arrival(runner: asyncio.Runner, engine: NativeEngine) -> None:
    (sink,) = runner.run(answer(engine, request(prompt_of(20), 12)))
    assert [chunk.n_tokens for chunk in sink.chunks] == [1] * 12
    stamps = [(chunk.t_engine_ns or 0, chunk.t_ns) for chunk in sink.chunks]
    assert all(sent <= arrived for sent, arrived in stamps)
    assert stamps == sorted(stamps)
    assert sink.ended is not None
    assert (sink.ended.cached_tokens, sink.ended.error) == (0, None)


def test_the_same_seed_draws_the_same_tokens_whoever_shares_the_batch(
    runner: asyncio.Runner, engine: NativeEngine
) -> None:
    drawn = request(prompt_of(9), sampling=Sampling(temperature=0.8, seed=41))
    (alone,) = runner.run(answer(engine, drawn))
    others = [request(prompt_of(length), sampling=Sampling(1.0, seed=length)) for length in PROMPT_LENGTHS]
    *_, shared = runner.run(answer(engine, *others, drawn))
    (reseeded,) = runner.run(answer(engine, request(prompt_of(9), sampling=Sampling(temperature=0.8, seed=42))))
    assert shared.token_ids == alone.token_ids
    assert reseeded.token_ids != alone.token_ids


def test_a_turn_that_cannot_be_served_fails_and_the_others_go_on(
    runner: asyncio.Runner, engine: NativeEngine, small_model: Any
) -> None:
    fine, too_long, empty, poisoned = runner.run(
        answer(
            engine,
            request(prompt_of(30)),
            request(prompt_of(small_model.context_tokens)),
            request(()),
            request((5, small_model.poison)),
        )
    )
    assert fine.token_ids == small_model.greedy(prompt_of(30), NEW_TOKENS)
    for sink, error in (
        (too_long, "context_exceeded: 512 prompt and 64 output tokens in a context of 512"),
        (empty, "empty_request: 0 prompt and 64 output tokens"),
        (poisoned, "not_a_number: the model's logits are not finite"),
    ):
        assert sink.ended is not None
        assert (sink.chunks, sink.ended.reason, sink.ended.error) == ([], "failed", error)


def test_a_cancelled_turn_ends_at_once_and_gives_its_blocks_back(
    runner: asyncio.Runner, engine: NativeEngine, small_model: Any
) -> None:
    async def scenario() -> tuple[RecordingSink, RecordingSink]:
        stays, goes = RecordingSink(), RecordingSink()
        await engine.submit(request(prompt_of(17)), stays)
        handle = await engine.submit(request(prompt_of(40), 400), goes)
        await goes.first.wait()
        await engine.cancel(handle)
        assert goes.done.is_set()
        await engine.cancel(handle)
        await stays.done.wait()
        # An answer behind the cancellation shows that the engine has seen it.
        await answer(engine, request(prompt_of(3), 2))
        return stays, goes

    stays, goes = runner.run(scenario())
    assert stays.token_ids == small_model.greedy(prompt_of(17), NEW_TOKENS)
    assert goes.ended is not None
    assert goes.ended.reason == "cancelled"
    counters = engine.counters()
    assert (counters.running, counters.waiting, counters.kv_blocks_used) == (0, 0, 0)


def test_counters_and_step_log_add_up(runner: asyncio.Runner, small_model: Any) -> None:
    engine = NativeEngine(spec(max_running=2), small_model.folder, clock=RealClock())
    runner.run(engine.start())
    sinks = runner.run(answer(engine, *(request(prompt_of(length), 10) for length in PROMPT_LENGTHS)))
    log = runner.run(engine.stop())
    rows = log.take()
    assert sum(row.prefill_tokens for row in rows) == sum(PROMPT_LENGTHS) == engine.counters().prompt_tokens
    assert sum(len(sink.token_ids) for sink in sinks) == 10 * len(sinks) == engine.counters().output_tokens
    assert max(row.requests for row in rows) == 2
    assert [row.t_ns for row in rows] == sorted(row.t_ns for row in rows)
    assert log.take() == []


def test_a_worker_killed_in_mid_run_fails_the_open_turns_and_stop_returns(
    runner: asyncio.Runner, small_model: Any
) -> None:
    async def scenario() -> RecordingSink:
        before = engine_processes()
        engine = NativeEngine(spec(), small_model.folder, clock=RealClock())
        await engine.start()
        (pid,) = set(engine_processes()) - set(before)
        sink = RecordingSink()
        await engine.submit(request(prompt_of(10), 450), sink)
        await sink.first.wait()
        os.kill(pid, signal.SIGKILL)
        await sink.done.wait()
        with pytest.raises(EngineError, match="ended by SIGKILL"):
            await engine.submit(request(prompt_of(10)), RecordingSink())
        await engine.stop()
        await engine.stop()
        assert pid not in engine_processes()
        return sink

    sink = runner.run(scenario())
    assert sink.ended is not None
    assert sink.ended.reason == "failed"
    assert sink.ended.error == "engine_lost: the engine's process was ended by SIGKILL"


def test_stop_in_mid_run_cancels_the_open_turns_and_interrupts_are_the_drivers(
    runner: asyncio.Runner, small_model: Any
) -> None:
    async def scenario() -> RecordingSink:
        before = engine_processes()
        engine = NativeEngine(spec(), small_model.folder, clock=RealClock())
        await engine.start()
        (pid,) = set(engine_processes()) - set(before)
        os.kill(pid, signal.SIGINT)
        sink = RecordingSink()
        await engine.submit(request(prompt_of(10), 450), sink)
        await sink.first.wait()
        log = await engine.stop()
        assert log.take() != []
        assert pid not in engine_processes()
        with pytest.raises(EngineError):
            await engine.submit(request(prompt_of(10)), RecordingSink())
        return sink

    sink = runner.run(scenario())
    assert sink.ended is not None
    assert sink.ended.reason == "cancelled"


def test_stop_before_start_and_during_start(runner: asyncio.Runner, small_model: Any) -> None:
    async def scenario() -> None:
        engine = NativeEngine(spec(), small_model.folder, clock=RealClock())
        await engine.stop()
        before = engine_processes()
        starting = asyncio.create_task(engine.start())
        while engine_processes() == before:
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait({starting})
        await engine.stop()
        assert engine_processes() == before

    runner.run(scenario())


def test_a_broken_model_is_the_same_input_error_here_as_in_the_worker(
    runner: asyncio.Runner, small_model: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(small_model.folder, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    engine = NativeEngine(spec(), folder, clock=RealClock())
    with pytest.raises(InputError) as raised:
        runner.run(engine.start())
    assert raised.value.where == str(weights)
    assert "\n" not in str(raised.value)
    assert runner.run(engine.stop()).take() == []
    with pytest.raises(InputError, match="no such model folder"):
        NativeEngine(spec(), tmp_path / "nowhere", clock=RealClock())


def test_a_pool_beyond_the_memory_is_an_engine_error(runner: asyncio.Runner, small_model: Any) -> None:
    engine = NativeEngine(spec(kv_cache_tokens=1 << 42), small_model.folder, clock=RealClock())
    with pytest.raises(EngineError, match=r"needs .* bytes, but .* are free"):
        runner.run(engine.start())


def test_a_driver_that_dies_leaves_no_engine_behind(small_model: Any) -> None:
    script = f"""
        import asyncio, os, pathlib
        from bench.core.clock import RealClock
        from bench.core.spec import NativeEngineSpec
        from bench.engine.native import NativeEngine

        async def main():
            spec = NativeEngineSpec(device="cpu", threads=1, kv_cache_tokens=1024)
            engine = NativeEngine(spec, pathlib.Path({str(small_model.folder)!r}), clock=RealClock())
            await engine.start()
            print(pathlib.Path(f"/proc/self/task/{{os.getpid()}}/children").read_text(), flush=True)
            os.kill(os.getpid(), 9)

        asyncio.run(main())
    """
    driver = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True, check=False
    )
    assert driver.returncode == -signal.SIGKILL
    (pid,) = map(int, driver.stdout.split())
    gives_up = time.monotonic() + 30
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < gives_up, "the engine outlived its driver"
        time.sleep(0.05)
