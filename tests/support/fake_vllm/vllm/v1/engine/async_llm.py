"""An engine that says the sum of its prompt, and from then on one more, a token an iteration for every request."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vllm.engine.arg_utils import VOCABULARY
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.exceptions import EngineDeadError

EOS = 2
_ITERATION_SECONDS = 0.002


def _log(level: str, text: str) -> None:
    print(f"(EngineCore pid=12) {level} 11-23 06:00:07 [core.py:133] {text}", file=sys.stderr, flush=True)


class VLLMClientError(Exception):
    """Of a request that asks what cannot be."""


class _Request:
    def __init__(self, prompt: list[int], params: SamplingParams, cached: int) -> None:
        self.params = params
        self.prompt_tokens = len(prompt)
        self.cached = cached
        self.next = sum(prompt) % VOCABULARY
        self.said = 0
        self.outputs: asyncio.Queue[Any] = asyncio.Queue()

    def step(self) -> bool:
        """Say a token; whether it was the last."""
        token, self.next = self.next, (self.next + 1) % VOCABULARY
        self.said += 1
        reason = "length" if self.said == self.params.max_tokens else None
        if token == EOS and not self.params.ignore_eos:
            reason = "stop"
        self.outputs.put_nowait(self._output(token, reason))
        return reason is not None

    def _output(self, token: int, reason: str | None) -> Any:
        most = self.params.logprobs
        likely = {(token + rank) % VOCABULARY: SimpleNamespace(logprob=-0.5 - rank) for rank in range(most or 0)}
        completion = SimpleNamespace(token_ids=[token], finish_reason=reason, logprobs=[likely] if most else None)
        return SimpleNamespace(outputs=[completion], finished=reason is not None, num_cached_tokens=self.cached)


class AsyncLLM:
    def __init__(self, config: Any, stat_loggers: list[Callable[[Any, int], Any]]) -> None:
        self.model_config = config.model_config
        self._args = config.args
        _log("INFO", "Model loading took 0.5 GiB memory and 1.250000 seconds")
        if self._args.pid_file is not None:
            # As vLLM's engine core is, a process of the same session that would outlive this one.
            self._child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            Path(self._args.pid_file).write_text(str(self._child.pid))
        self._fail_at_start()
        _log("INFO", "Graph capturing finished in 2 secs, took 0.10 GiB")
        _log("INFO", "init engine (profile, create kv cache, warmup model) took 9.00 s (compilation: 3.50 s)")
        self._loggers = [factory(config, 0) for factory in stat_loggers]
        self._running: list[_Request] = []
        self._seen: set[tuple[int, ...]] = set()
        self._dead = False
        self._steps: asyncio.Task[None] | None = None

    @classmethod
    def from_vllm_config(
        cls, config: Any, *, stat_loggers: list[Any], disable_log_stats: bool, enable_log_requests: bool
    ) -> AsyncLLM:
        return cls(config, stat_loggers)

    async def generate(self, prompt: dict[str, Any], params: SamplingParams, request_id: str) -> AsyncIterator[Any]:
        ids = prompt["prompt_token_ids"]
        if self._args.budget_file is not None:
            with open(self._args.budget_file, "a") as told:
                print(params.thinking_token_budget, file=told)
        if self._dead:
            raise EngineDeadError
        if (params.logprobs or 0) > self.model_config.max_logprobs:
            raise VLLMClientError(
                f"Requested sample logprobs of {params.logprobs}, max {self.model_config.max_logprobs}"
            )
        if params.seed == 13:
            raise RuntimeError("an unlucky seed")
        cached = len(ids) // 16 * 16 if tuple(ids) in self._seen else 0
        self._seen.add(tuple(ids))
        request = _Request(ids, params, cached)
        self._running.append(request)
        self._steps = self._steps or asyncio.create_task(self._step_for_ever())
        try:
            while True:
                output = await request.outputs.get()
                if output is None:
                    raise EngineDeadError
                yield output
                if output.finished:
                    return
        finally:
            if request in self._running:
                self._running.remove(request)

    def shutdown(self) -> None:
        if self._args.fault == "hangs_at_stop":
            time.sleep(600)
        if self._args.pid_file is not None and self._args.fault != "leaves_a_process":
            self._child.terminate()
            self._child.wait()

    async def _step_for_ever(self) -> None:
        while not self._dead:
            await asyncio.sleep(_ITERATION_SECONDS)
            if self._running:
                self._step()

    def _step(self) -> None:
        before = list(self._running)
        self._running = [request for request in before if not request.step()]
        self._record(before)
        if self._args.fault == "dies_in_mid_run" and any(request.said == 5 for request in before):
            _log("ERROR", "Worker proc VllmWorker-0 died unexpectedly (exit code: -9), shutting down executor.")
            self._dead = True
            for request in before:
                request.outputs.put_nowait(None)
        if self._args.fault == "is_killed_in_mid_run" and any(request.said == 5 for request in before):
            os.kill(os.getpid(), signal.SIGKILL)

    def _record(self, stepped: list[_Request]) -> None:
        new = [request for request in stepped if request.said == 1]
        scheduler = SimpleNamespace(
            num_running_reqs=len(self._running),
            num_waiting_reqs=0,
            num_skipped_waiting_reqs=0,
            kv_cache_usage=len(stepped) / 64,
            prefix_cache_stats=SimpleNamespace(
                queries=sum(request.prompt_tokens for request in new), hits=sum(request.cached for request in new)
            ),
            spec_decoding_stats=SimpleNamespace(num_drafts=1, num_draft_tokens=4, num_accepted_tokens=3),
            cudagraph_stats=SimpleNamespace(num_unpadded_tokens=3, num_paddings=1, runtime_mode="FULL"),
        )
        iteration = SimpleNamespace(
            num_generation_tokens=len(stepped),
            num_preempted_reqs=1 if new else 0,
            prompt_token_stats=SimpleNamespace(
                total=sum(request.prompt_tokens for request in new),
                computed=sum(request.prompt_tokens - request.cached for request in new),
            ),
        )
        for logger in self._loggers:
            logger.record(scheduler_stats=scheduler, iteration_stats=iteration, mm_cache_stats=None, engine_idx=0)

    def _fail_at_start(self) -> None:
        match self._args.fault:
            case "out_of_memory":
                _log("ERROR", "ValueError: No available memory for the cache blocks.")
                raise RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")
            case "dies_at_start":
                _log("ERROR", "OSError: weights.safetensors is cut off")
                os._exit(7)
            case "hangs_at_start":
                _log("INFO", "Waiting for a rank that never comes")
                time.sleep(600)
