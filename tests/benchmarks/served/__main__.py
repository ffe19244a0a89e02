"""What `bench serve` takes from its engine: the same requests in process and over HTTP, 64 at once, in turns.

    python tests/benchmarks/served [--quick] [--rounds N] [--json FILE]

Both engines have the same settings and one thread, so that whoever asks and whoever serves have the other core. Beside
it stands the CPU time of the HTTP process for a streamed token, and that of vLLM's API server where vLLM is there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from helpers import TINY, bench_serve, make_model
from served_table import Compared, render
from streams import requests, stream
from vllm_server import PYTHON, vllm_seconds_per_token

from bench.core.clock import RealClock
from bench.core.errors import BenchError
from bench.core.spec import EndpointEngineSpec, NativeEngineSpec
from bench.engine.endpoint import EndpointEngine
from bench.engine.native import NativeEngine

STREAMS = 64
_LARGE = "qwen3-0.6b-32k"


@dataclass(frozen=True)
class Shape:
    name: str
    prompt_tokens: int
    output_tokens: int
    rounds: int
    minutes: float
    """No round begins after them, but for the first."""


def main() -> int:
    options = _options()
    tiny = Shape("tiny", prompt_tokens=16, output_tokens=256, rounds=options.rounds, minutes=1.0)
    large = Shape(_LARGE, prompt_tokens=4, output_tokens=12, rounds=options.rounds, minutes=1.2)
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="served-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        vllm = [] if options.quick or not PYTHON.exists() else _vllm(runner, tiny)
        for shape in (tiny,) if options.quick else (tiny, large):
            print(f"{shape.name}: starting", file=sys.stderr, flush=True)
            model = TINY if shape is tiny else _random_model(shape.name, Path(folder))
            rows.append(runner.run(_compare(shape, model, vllm if shape is tiny else [])))
    print(f"\n{STREAMS} streams, one engine thread\n\n{render(rows)}")
    if options.json is not None:
        told = [{**asdict(row), "ratio": asdict(row.ratio)} for row in rows]
        options.json.write_text(json.dumps({"quick": options.quick, "streams": STREAMS, "models": told}, indent=1))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="served", description="Compare bench serve with its engine in process.")
    parser.add_argument("--quick", action="store_true", help="the tiny model alone, without vLLM")
    parser.add_argument("--rounds", type=int, default=8, help="how often each is asked, as far as there is time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured there")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("rounds is 1 or more")
    return options


def _vllm(runner: asyncio.Runner, shape: Shape) -> list[float]:
    print("vllm serve: starting", file=sys.stderr, flush=True)
    asked = requests(STREAMS, shape.prompt_tokens, shape.output_tokens, vocabulary=256)
    try:
        return runner.run(vllm_seconds_per_token(asked, rounds=2))
    except BenchError as error:
        print(f"vllm serve: left out: {error}", file=sys.stderr, flush=True)
        return []


def _random_model(name: str, folder: Path) -> Path:
    """Random weights of that shape, and the tiny model's tokenizer: nobody reads what is said."""
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY / file, folder)
    return make_model(name, folder).folder


async def _compare(shape: Shape, model: Path, vllm_s_per_token: list[float]) -> Compared:
    """Another way is first in each round; a round before them warms both."""
    tokens = STREAMS * (shape.prompt_tokens + shape.output_tokens)
    settings = {
        "threads": 1,
        "max_running": STREAMS,
        "kv_cache_tokens": 2 * tokens,
        "prefix_cache": False,
        "check_accuracy": False,
    }
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    asked = requests(STREAMS, shape.prompt_tokens, shape.output_tokens, vocabulary=256)
    clock = RealClock()
    in_process = NativeEngine(NativeEngineSpec.model_validate({"kind": "native", **settings}), model, clock=clock)
    row = Compared(shape.name, [], [], [], vllm_s_per_token)
    with bench_serve("--model", model, *sets) as server:
        served = EndpointEngine(EndpointEngineSpec(kind="endpoint", base_url=server.url), clock=clock)
        pid = server.process.pid
        try:
            for engine in (in_process, served):
                await engine.start()
                await stream(engine, asked)
            give_up = time.monotonic() + 60 * shape.minutes
            for index in range(shape.rounds):
                for over_http in (False, True) if index % 2 else (True, False):
                    streamed = await stream(served, asked, pid) if over_http else await stream(in_process, asked)
                    (row.served if over_http else row.in_process).append(streamed.tokens_per_s)
                    if streamed.server_s_per_token is not None:
                        row.server_s_per_token.append(streamed.server_s_per_token)
                if time.monotonic() > give_up:
                    break
        finally:
            await served.stop()
            await in_process.stop()
    return row


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and not before the servers are ended
    try:
        sys.exit(main())
    except BenchError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
