"""vLLM from its arguments to its end."""

from __future__ import annotations

import gc
import traceback
from multiprocessing.connection import Connection
from typing import Any

import vllm
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.v1.engine.async_llm import AsyncLLM

from bench.engine.vllm_process.arguments import WHERE, engine_arguments, refused
from bench.engine.vllm_process.counters import AllCounts
from bench.engine.vllm_process.description import description, gpu_uuids
from bench.engine.vllm_process.link import Link
from bench.engine.vllm_process.messages import Command, Ready, Refused, Report, Start
from bench.engine.vllm_process.serving import Serving


async def run_engine(start: Start, connection: Connection[Report, Command]) -> int:
    """The exit code: 1 where it did not start, or died. What fails while it starts is raised as vLLM raises it."""
    if (refusal := refused(start, AsyncEngineArgs)) is not None:
        connection.send(refusal)
        return 1
    named = engine_arguments(start, AsyncEngineArgs)
    try:
        arguments = AsyncEngineArgs(**named)
        config = arguments.create_engine_config()
    except (TypeError, ValueError) as error:
        traceback.print_exc()
        connection.send(Refused(f"vLLM refuses them: {_line(error)}", WHERE, None))
        return 1
    counts = AllCounts()
    engine = AsyncLLM.from_vllm_config(
        config,
        stat_loggers=[counts.stat_logger],
        disable_log_stats=arguments.disable_log_stats,
        enable_log_requests=arguments.enable_log_requests,
    )
    link = Link(connection)
    serving = Serving(engine, counts, link.send)
    first_token_s = await serving.first_token()
    counts.reset()
    # As vLLM's server does: to look through all that was imported holds up every token for most of a second.
    gc.collect()
    gc.freeze()
    link.send(
        Ready(
            first_token_s=first_token_s,
            max_context_tokens=config.model_config.max_model_len,
            max_logprobs=_max_logprobs(config),
            gpu_uuids=gpu_uuids(config),
            description=description(vllm.__version__, config, named),
        )
    )
    link.receive_all(serving.receive)
    died_of = await serving.ended
    if died_of is None:
        await serving.close()
    engine.shutdown()
    return 0 if died_of is None else 1


def _max_logprobs(config: Any) -> int:
    most: int = config.model_config.max_logprobs
    return config.model_config.get_vocab_size() if most < 0 else most


def _line(error: BaseException) -> str:
    """A failure in one line; those of pydantic say what is wrong after the line that counts them."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "validation error" in lines[0]:
        lines = lines[1:]
    return " ".join(lines[:2])[:300] or type(error).__name__
