"""The native engine in a process of its own, asked by this one as the driver asks it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from serving import Ask, Task, serve

from bench.core.clock import RealClock
from bench.core.errors import EngineError
from bench.core.records import Chunk, Finish
from bench.core.sessions import Sampling, Segment, Turn, TurnRequest
from bench.core.spec import NativeEngineSpec
from bench.engine.native import NativeEngine


class _Stamps:
    """Keeps when a turn's tokens came, and tells when it ended."""

    def __init__(self) -> None:
        self.token_ns: list[int] = []
        self.ended: asyncio.Future[Finish] = asyncio.get_running_loop().create_future()

    def chunk(self, chunk: Chunk) -> None:
        self.token_ns += [chunk.t_ns] * chunk.n_tokens

    def finish(self, finish: Finish) -> None:
        self.ended.set_result(finish)


def load(task: Task) -> Ask:
    context_tokens = task.prompt_tokens + task.output_tokens
    spec = NativeEngineSpec.model_validate(
        {
            "device": "cpu",
            "dtype": "bfloat16",
            "weight_format": task.weight_format,
            "threads": task.threads,
            "max_running": task.most_requests,
            "step_tokens": task.most_requests * task.prompt_tokens,
            "prefix_cache": False,
            "check_accuracy": False,
            "kv_cache_tokens": 2 * task.most_requests * context_tokens,
        }
    )
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    engine = NativeEngine(spec, Path(task.folder), clock=RealClock())
    loop.run_until_complete(engine.start())

    async def answer(prompts: list[list[int]], tokens: int) -> list[list[int]]:
        turns = []
        for prompt in prompts:
            turn = Turn(0, (Segment("prompt", len(prompt)),), tokens)
            request = TurnRequest("session", turn, tuple(prompt), tokens, ignore_eos=True, sampling=Sampling())
            turns.append(_Stamps())
            await engine.submit(request, turns[-1])
        for turn in turns:
            finish = await turn.ended
            if finish.error is not None:
                raise EngineError(finish.error)
        return [turn.token_ns for turn in turns]

    def ask(prompts: list[list[int]], tokens: int) -> list[list[int]]:
        return loop.run_until_complete(answer(prompts, tokens))

    return ask


if __name__ == "__main__":
    serve(load)
