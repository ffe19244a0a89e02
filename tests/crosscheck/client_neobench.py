"""`bench run`, asked the same as the others, and its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from asked import write_single_turns
from clients import ClientError, Task, run_process
from definitions import STATISTICS, TIMES
from exchanges import Exchange, Habits, Seen
from servers import BENCH

NAME = "neobench"
_DONE = (0, 1)
"""Exit codes; 1 says that the verdict is invalid, which the record then gives the reason for."""


def run_neobench(task: Task) -> Seen:
    """Raises ClientError."""
    write_single_turns(task.requests, task.folder / "requests.jsonl")
    (task.folder / "suite.yaml").write_text(yaml.safe_dump({"suite": "crosscheck", "specs": [_spec(task)]}))
    run_process([*BENCH, "run", "suite.yaml", "--out", "runs"], task, done=_DONE)
    (record,) = task.folder.glob("runs/*/record.json")
    return read_neobench(record.parent, task.habits)


def read_neobench(folder: Path, habits: Habits) -> Seen:
    """A result folder of a run with one turn a session. Raises ClientError where a request failed.

    Its turns have no chunk without a token: where an answer closes with one, the answer's end stands for that.
    """
    record = json.loads((folder / "record.json").read_text())
    turns = pd.read_parquet(folder / "turns.parquet")
    turns = turns[~turns.warmup].sort_values("t_send_ns")
    failed = turns[turns.status != "ok"]
    if len(failed):
        raise ClientError(f"{len(failed)} of {len(turns)} requests failed, the first with {failed.error.iloc[0]!r}")
    if record["latency"] is None:
        raise ClientError(f"no figures: {record['window']['reason']}")
    headlines = {
        f"{time} {statistic}": record["latency"][time].get(statistic, {}).get("value")
        for time in TIMES
        for statistic in STATISTICS
    }
    reported = {name: value for name, value in headlines.items() if value is not None} | {
        "output_tokens_per_s": record["throughput"]["output_tokens_per_s"]["value"],
        "requests_per_s": record["goodput"]["goodput_requests_per_s"]["value"],
        "prompt_tokens": record["requests"]["tokens"]["prompt"],
        "output_tokens": record["requests"]["tokens"]["output"],
    }
    run = record["run"]
    exchanges = [_exchange(turn, habits) for turn in turns.itertuples()]
    return Seen(NAME, exchanges, reported, (run["end_ns"] - run["start_ns"]) / 1e9)


def _exchange(turn: Any, habits: Habits) -> Exchange:
    return Exchange(
        due_ns=turn.t_due_ns,
        sent_ns=turn.t_send_ns,
        token_ns=tuple(map(int, np.cumsum(turn.chunk_t_ns))),
        chunk_tokens=tuple(map(int, turn.chunk_tokens)),
        prompt_tokens=turn.prompt_tokens,
        output_tokens=turn.output_tokens,
        closed_ns=turn.t_done_ns if habits.closes else None,
    )


def _spec(task: Task) -> dict[str, Any]:
    return {
        "name": "crosscheck",
        "model": {"path": str(task.tokenizer)},
        "engine": {
            "kind": "endpoint",
            "base_url": task.url,
            "served_model": task.model,
            "api": "chat" if task.chat else "completions",
            "prompt": "text",
        },
        "workload": {"kind": "trace", "path": str(task.folder / "requests.jsonl"), "length_mode": "pinned"},
        "load": task.load.model_dump(),
        "measure": {"warmup_sessions": task.warm_up, "percentiles": [0.5, 0.9, 0.99]},
    }
