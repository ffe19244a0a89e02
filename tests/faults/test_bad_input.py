"""What cannot be run: exit code 2, one line with file, place and what is allowed, and no result left."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.core.configs import config_root

TINY = config_root() / "models" / "tiny"
SUITE: dict[str, Any] = {
    "base": {
        "model": {"path": "tiny"},
        "engine": {"kind": "mock", "ttft_ms": 1.0, "tpot_ms": 0.1},
        "load": {"kind": "closed", "concurrency": 4},
        "measure": {"percentiles": [0.5], "warmup_sessions": 0},
    },
    "specs": [{"name": "thinking", "workload": {"kind": "reasoning", "sessions": 4, "token_scale": 0.02}}],
    "trace": {"name": "replayed", "workload": {"token_scale": 0.1}},
}
SESSION = {
    "id": "one",
    "block_size": 64,
    "hash_id_scope": "local",
    "requests": [{"t": 0.0, "type": "n", "in": 70, "out": 5, "hash_ids": [1]}],
}
REMOVED = object()

pytestmark = pytest.mark.usefixtures("no_result_left")


def written(changes: dict[str, Any]) -> Path:
    """SUITE in a file, with `changes` by dotted place."""
    document = copy.deepcopy(SUITE)
    for place, value in changes.items():
        *parents, last = (int(part) if part.isdigit() else part for part in place.split("."))
        owner: Any = document
        for parent in parents:
            owner = owner[parent]
        if value is REMOVED:
            del owner[last]
        else:
            owner[last] = value
    path = Path("small.yaml")
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize(
    ("place", "value", "what", "allowed"),
    [
        ("extra", 1, "unknown key 'extra'", "suite, description, base, specs, trace"),
        ("base.engine.tpot", 1, "specs[0]: unknown key 'engine.tpot'", "ttft_ms, tpot_ms"),
        ("specs.0.workload.sesions", 9, "specs[0]: unknown key 'workload.sesions'", "sessions"),
        ("base.load.concurrency", "many", "specs[0]: load.concurrency = 'many'", "integer"),
        ("base.engine", "mock", "specs[0]: engine = 'mock'", "a mapping of keys to values"),
        ("base.measure.seed", None, "specs[0]: measure.seed = None", "integer"),
        ("base.load", {"kind": "poisson", "sessions_per_s": -2}, "load.sessions_per_s = -2", "greater than 0"),
        ("base.load", {"kind": "poisson", "sessions_per_s": float("nan")}, "load.sessions_per_s = nan", "finite"),
        ("base.measure.percentiles", [99], "measure.percentiles.0 = 99", "less than 1"),
        ("base.engine.kind", "warp", "engine.kind = 'warp'", "'native', 'mock'"),
        ("specs.0.workload.kind", REMOVED, "'workload.kind' is missing", "'reasoning', 'agentic', 'chat', 'rag'"),
        ("specs", [], "`specs` is missing or empty", "a list of one or more specs"),
        ("specs", SUITE["specs"] * 2, "two specs are named 'thinking'", "a name once"),
    ],
)
def test_a_suite_that_says_something_wrong(
    refusal: Callable[..., str], place: str, value: Any, what: str, allowed: str
) -> None:
    line = refusal("run", written({place: value}))
    assert line.startswith("bench: small.yaml: ")
    assert what in line
    assert allowed in line.partition("(allowed: ")[2]


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ("engine", "'engine'"),
        ("engine.ttft_ms", "'engine.ttft_ms'"),
        (".=1", "'.=1'"),
        ("engine=[", "a value that is not YAML"),
        ("engine=2026-13-45", "a value that is not YAML"),
    ],
)
def test_a_setting_that_is_none(refusal: Callable[..., str], setting: str, what: str) -> None:
    line = refusal("run", written({}), "--set", setting)
    assert line.startswith("bench: --set: ")
    assert what in line
    assert "(allowed: a.b=value)" in line


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"suite: caf\xe9\n", "small.yaml: not UTF-8 at byte 10 (allowed: UTF-8 text)"),
        (b"base: {}\nspecs: [\n", "small.yaml:3: not YAML: "),
        (b"- 1\n", "small.yaml: the document is list (allowed: a mapping of keys to values)"),
        (b"", "small.yaml: the document is NoneType (allowed: a mapping of keys to values)"),
        (b"[" * 5000, "small.yaml: nested too deeply"),
        (b"specs: !!python/object/apply:os.mkdir [runs/made]\n", "small.yaml:1: not YAML: "),
    ],
)
def test_a_suite_that_cannot_be_read(refusal: Callable[..., str], content: bytes, told: str) -> None:
    Path("small.yaml").write_bytes(content)
    assert refusal("run", "small.yaml").startswith(f"bench: {told}")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "trace: the trace is empty (allowed: azure-csv, "),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n", "trace:1: the trace has a header but no row (allowed: "),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n1,-4,2\n", "trace:2: ContextTokens = '-4' (allowed: "),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n1,\xff,2\n", "trace:2: not UTF-8 at byte 2"),
        (json.dumps(SESSION).encode() + b'\n{"id": "two", "requests": [{"t"\n', "trace:2: not JSON: "),
        (json.dumps({**SESSION, "requests": [{"type": "n"}]}).encode(), "trace:1: 'requests.0.n.t' is missing"),
        (b"\x80\x04pickled", "trace:1: not UTF-8 at byte 0"),
    ],
)
def test_a_broken_trace(refusal: Callable[..., str], content: bytes, told: str) -> None:
    Path("trace").write_bytes(content)
    assert refusal("run", written({}), "--trace", "trace").startswith(f"bench: {told}")


def test_a_trace_for_a_suite_that_replays_none(refusal: Callable[..., str]) -> None:
    Path("trace").write_text(json.dumps(SESSION))
    assert "no `trace` section" in refusal("run", written({"trace": REMOVED}), "--trace", "trace")


def test_what_a_later_spec_needs_is_missed_before_the_first_runs(refusal: Callable[..., str]) -> None:
    later = {"name": "later", "workload": {"kind": "agentic", "sessions": 4, "profile": "none-such"}}
    line = refusal("run", written({"specs": [*SUITE["specs"], later]}))
    assert line.startswith("bench: none-such: no such workload (allowed: a path, or a name: ")


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_model_folder_that_lacks_a_file(refusal: Callable[..., str], file: str) -> None:
    shutil.copytree(TINY, "model")
    (Path("model") / file).unlink()
    # Only a workload of free lengths needs the tokenizer.
    free = {"specs.0.workload.length_mode": "free"}
    suite = written({"base.model.path": "model", "base.engine": {"threads": 1}, **free})
    line = refusal("run", suite, found_by_engine=file == "model.safetensors")
    assert line.startswith("bench: model")
    assert file in line
    assert "(allowed: " in line


def test_truncated_weights(refusal: Callable[..., str]) -> None:
    shutil.copytree(TINY, "model")
    weights = Path("model") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    suite = written({"base.model.path": "model", "base.engine": {"threads": 1}})
    line = refusal("run", suite, found_by_engine=True)
    assert line.startswith("bench: model/model.safetensors: not a whole safetensors file")
