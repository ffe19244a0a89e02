"""vLLM's engine answering the driver's generations."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import AsyncIterator, Callable
from typing import Any

from vllm import SamplingParams
from vllm.inputs import tokens_input
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from bench.core.records import FinishReason
from bench.core.sessions import Sampling
from bench.engine.vllm_process.counters import AllCounts
from bench.engine.vllm_process.messages import Cancel, Command, CountFromHere, Report, Stop, Submit
from bench.engine.vllm_process.outbox import Outbox
from bench.engine.vllm_process.sampling import misfit, sampling_options, token_logprobs

_ENDS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


class Serving:
    """One task a generation, as in vLLM's own server."""

    def __init__(self, engine: AsyncLLM, counts: AllCounts, send: Callable[[Report], None]) -> None:
        self._engine = engine
        self._counts = counts
        self._outbox = Outbox(send, counts)
        self._vocabulary: int = engine.model_config.get_vocab_size()
        self._max_context_tokens: int = engine.model_config.max_model_len
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self.ended: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        """Resolves to None once it was told to stop, or to what vLLM died of."""

    async def first_token(self) -> float:
        """Seconds to one token."""
        began = time.monotonic()
        submit = Submit(-1, array("i", [0]), 1, ignore_eos=True, sampling=Sampling(), thinking_budget=None, logprobs=0)
        async for _ in self._outputs(submit):
            pass
        return time.monotonic() - began

    def receive(self, command: Command) -> None:
        match command:
            case Submit():
                task = self._tasks[command.id] = asyncio.create_task(self._generate(command))
                task.add_done_callback(lambda _: self._tasks.pop(command.id))
            case Cancel(id):
                if running := self._tasks.get(id):
                    running.cancel()
            case CountFromHere():
                self._counts.reset()
            case Stop():
                self._end(None)

    async def close(self) -> None:
        """End every generation, and tell what was done."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._outbox.tell_did()

    def _outputs(self, submit: Submit) -> AsyncIterator[Any]:
        params = SamplingParams(
            **sampling_options(submit), detokenize=False, output_kind=RequestOutputKind.DELTA, skip_clone=True
        )
        outputs: AsyncIterator[Any] = self._engine.generate(
            tokens_input(submit.prompt_ids.tolist()), params, str(submit.id)
        )
        return outputs

    async def _generate(self, submit: Submit) -> None:
        try:
            if (error := misfit(submit, self._vocabulary, self._max_context_tokens)) is not None:
                self._outbox.end(submit.id, "failed", error)
                return
            async for output in self._outputs(submit):
                self._pass_on(submit, output)
        except EngineDeadError as error:
            self._end(str(error))
        except Exception as error:  # noqa: BLE001 - of one request, whatever it is
            self._outbox.end(submit.id, "failed", f"{_kind(error)}: {_line(error)}")

    def _pass_on(self, submit: Submit, output: Any) -> None:
        (completion,) = output.outputs
        token_ids = tuple(completion.token_ids)
        if token_ids:
            told = token_logprobs(token_ids, completion.logprobs, submit.logprobs) if submit.logprobs else None
            self._outbox.tokens(submit.id, token_ids, told)
        if output.finished:
            reason = _ENDS.get(str(completion.finish_reason), "failed")
            error = f"ended: vLLM ended it with {completion.finish_reason}" if reason == "failed" else None
            self._outbox.end(submit.id, reason, error, output.num_cached_tokens)

    def _end(self, why: str | None) -> None:
        if not self.ended.done():
            self.ended.set_result(why)


def _kind(error: Exception) -> str:
    """`refused` for what vLLM says is the request's own fault."""
    return "refused" if any(one.__name__ == "VLLMClientError" for one in type(error).__mro__) else "engine_error"


def _line(error: BaseException) -> str:
    cause = error.__cause__ or error
    return str(cause).strip().partition("\n")[0] or type(cause).__name__
