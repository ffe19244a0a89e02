"""`aiperf profile`, of the environment that `make env-aiperf` makes."""

from __future__ import annotations

import json
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

from asked import write_single_turns
from clients import ROOT, ClientError, Task, run_process
from definitions import STATISTICS
from exchanges import Exchange, Seen

from bench.core.load_spec import ConstantLoadSpec
from bench.core.units import NS_PER_MS

NAME = "aiperf"
ENVIRONMENT = ROOT / ".venv-aiperf"
_TIMES = {
    "ttft_ms": "time_to_first_token",
    "tpot_ms": "inter_token_latency",
    "itl_ms": "inter_chunk_latency",
    "e2e_ms": "request_latency",
}
_FIGURES = {
    "output_tokens_per_s": "output_token_throughput",
    "requests_per_s": "request_throughput",
    "prompt_tokens": "total_isl",
    "output_tokens": "total_osl",
}


def run_aiperf(task: Task) -> Seen:
    """Raises ClientError."""
    write_single_turns(task.requests, task.folder / "requests.jsonl")
    # Told to stay offline, and any text but an empty one tells it so, it takes a folder for the name of a repository.
    run_process(_command(task), task, {"HF_HUB_OFFLINE": ""})
    return read_aiperf(task.folder / "artifacts")


def read_aiperf(folder: Path) -> Seen:
    """What it writes with `--export-level records`. Raises ClientError where a request failed."""
    summary = json.loads((folder / "profile_export_aiperf.json").read_text())
    lines = (folder / "profile_export.jsonl").read_text().splitlines()
    records = [record for record in map(json.loads, lines) if record["metadata"]["benchmark_phase"] == "profiling"]
    failed = [record for record in records if record.get("error")]
    if failed:
        raise ClientError(f"{len(failed)} of {len(records)} requests failed, the first with {failed[0]['error']}")
    reported = {
        f"{time} {statistic}": summary[name]["avg" if statistic == "mean" else statistic]
        for time, name in _TIMES.items()
        for statistic in STATISTICS
    } | {name: summary[tag]["avg"] for name, tag in _FIGURES.items()}
    exchanges = sorted(map(_exchange, records), key=lambda one: one.sent_ns)
    # Its rates are over the phase, which is a little longer than its `benchmark_duration`.
    began, ended = (datetime.fromisoformat(summary[name]) for name in ("start_time", "end_time"))
    return Seen(NAME, exchanges, reported, (ended - began).total_seconds())


def _exchange(record: dict[str, Any]) -> Exchange:
    def value(name: str) -> Any:
        return record["metrics"][name]["value"]

    sent_ns = float(record["metadata"]["request_start_ns"])
    since_ms = accumulate(value("inter_chunk_latency"), initial=value("time_to_first_token"))
    chunks = [sent_ns + NS_PER_MS * since for since in since_ms]
    return Exchange(
        due_ns=sent_ns,
        sent_ns=sent_ns,
        token_ns=tuple(chunks),
        chunk_tokens=(1,) * len(chunks),
        prompt_tokens=value("input_sequence_length"),
        output_tokens=value("output_sequence_length"),
    )


def _command(task: Task) -> list[Any]:
    if isinstance(task.load, ConstantLoadSpec):
        load = ["--request-rate", task.load.sessions_per_s, "--arrival-pattern", "constant"]
    else:
        load = ["--concurrency", task.load.concurrency]
    return [
        *(ENVIRONMENT / "bin" / "aiperf", "profile", "--model", task.model, "--url", task.url),
        *("--endpoint-type", "chat" if task.chat else "completions", "--streaming", "--tokenizer", task.tokenizer),
        *("--input-file", "requests.jsonl", "--custom-dataset-type", "single_turn"),
        *("--dataset-sampling-strategy", "sequential", "--request-count", len(task.requests), *load),
        *("--warmup-request-count", task.warm_up, "--extra-inputs", "ignore_eos:true"),
        *("--extra-inputs", f"min_tokens:{task.min_tokens}"),
        # Its own count is of the answer's text, which need not read the same tokens that were sent.
        *("--extra-inputs", "temperature:0", "--use-server-token-count"),
        *("--ui", "none", "--no-gpu-telemetry", "--no-server-metrics"),
        *("--export-level", "records", "--artifact-dir", "artifacts"),
    ]
