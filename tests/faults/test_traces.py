"""Broken traces: one line that names file, line and what is allowed. Nothing is skipped in silence."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import InputError
from bench.core.spec import TraceSpec
from bench.workload.workload import build_workload

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"
ROW = "2023-11-16 18:15:46.6805900,374,44"


def refusal(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        build_workload(TraceSpec(kind="trace", path=str(path)), 10_000)
    assert "\n" not in str(caught.value)
    return caught.value


def session(**fields: Any) -> dict[str, Any]:
    asked = {"t": 0.0, "type": "n", "in": 130, "out": 5, "hash_ids": [1, 2], "input_types": ["text"], "think_time": 0.0}
    return {
        "id": "one", "block_size": 64, "hash_id_scope": "local",
        "requests": [{key: value for key, value in {**asked, **fields}.items() if value is not ...}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "what", "allowed"),
    [
        (f"{HEADER}\n{ROW}\n2023-11-16 18:15:47,x,44\n", 3, "ContextTokens = 'x'", "a whole number, 0 or more"),
        (f"{HEADER}\n2023-11-16 18:15:47,374,-1\n", 2, "GeneratedTokens = '-1'", "a whole number, 0 or more"),
        (f"{HEADER}\n2023-11-16 18:15:47,374,4.5\n", 2, "GeneratedTokens = '4.5'", "a whole number, 0 or more"),
        (f"{HEADER}\n2023-11-16 18:15:47,374\n", 2, "GeneratedTokens = ''", "a whole number, 0 or more"),
        (f"{HEADER}\n2023-11-16 18:15:47,{'9' * 5000},1\n", 2, "ContextTokens = ", "a whole number, 0 or more"),
        (f"{HEADER}\n{ROW}\n2023-11-16 18:15:47,3\x0074,4\n", 3, "ContextTokens", "a whole number, 0 or more"),
        ("TIMESTAMP,ContextTokens,Output\n" + ROW, 1, "column GeneratedTokens is missing", "columns TIMESTAMP"),
        (f"{HEADER}\n\n", 1, "a header but no row", "one row or more"),
    ],
)
def test_a_broken_azure_file(tmp_path: Path, text: str, line: int, what: str, allowed: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    error = refusal(path)
    assert error.where == f"{path}:{line}"
    assert what in error.what
    assert allowed in str(error.allowed)


@pytest.mark.parametrize(
    ("lines", "line", "what"),
    [
        ([json.dumps(session()), '{"id": "two", "requests": [{"t"'], 2, "not JSON: Input data was truncated"),
        ([json.dumps(session()), json.dumps(session())], 2, "a second session with id 'one'"),
        ([json.dumps(session()), "[1, 2]"], 2, "Expected `object`, got `array`"),
        ([json.dumps({**session(), "requests": 3})], 1, "not a session"),
        ([json.dumps(session(out=-4))], 1, "requests.0.n.out = -4"),
        ([json.dumps(session(out=...))], 1, "'requests.0.n.out' is missing"),
        ([json.dumps(session(hash_ids=[1]))], 1, "1 hash_ids for 130 tokens"),
        ([json.dumps(session(type="merge"))], 1, "requests[0] has no known type"),
        ([json.dumps(session(type="subagent", status="completed", requests=[]))], 1, "requests.0.subagent"),
        ([json.dumps({**session(), "hash_id_scope": "global"})], 1, "hash_id_scope = 'global'"),
        ([json.dumps(session(think_time=float("nan")))], 1, "not JSON: JSON is malformed: invalid character"),
        (['{"id": ' + "[" * 100_000], 1, "JSON"),
        (['{"id": ' + "9" * 5000 + "}"], 1, "Integer value out of range"),
    ],
)
def test_a_broken_weka_file(tmp_path: Path, lines: list[str], line: int, what: str) -> None:
    path = tmp_path / "sessions.jsonl"
    path.write_text("\n".join(lines) + "\n")
    error = refusal(path)
    assert error.where == f"{path}:{line}"
    assert what in error.what


def test_a_broken_single_session_is_told_by_its_own_line(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    path.write_text(json.dumps(session(), indent=2).replace('"block_size": 64,', '"block_size" 64,'))
    assert refusal(path).where == f"{path}:3"


def test_a_gzip_stream_that_breaks_off(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    rows = "".join(f"2023-11-16 18:15:47,{n * 7919 % 5000},{n * 104729 % 977}\n" for n in range(4000))
    path.write_bytes(gzip.compress(f"{HEADER}\n{rows}".encode())[:-2000])
    error = refusal(path)
    assert "gzip stream is broken" in error.what
    file, _, line = str(error.where).rpartition(":")
    assert file == str(path)
    assert 1 < int(line) < 4001


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(f"{HEADER}\n{ROW}\n".encode() + b"2023-11-16 18:15:47,3\xff4,1\n")
    error = refusal(path)
    assert error.where == f"{path}:3"
    assert "not UTF-8 at byte 21" in error.what


@pytest.mark.parametrize("content", [b"", b"\n\n", gzip.compress(b"")])
def test_an_empty_trace(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "empty"
    path.write_bytes(content)
    error = refusal(path)
    assert "the trace is empty" in error.what
    assert "weka-json" in str(error.allowed)


@pytest.mark.parametrize("text", ["hello\n", "a,b,c\n1,2,3\n", '"ShareGPT"\n'])
def test_a_format_nobody_knows(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace"
    path.write_text(text)
    error = refusal(path)
    assert "not a trace of a known format" in error.what
    assert "azure-csv" in str(error.allowed)


def test_a_trace_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "absent.csv").what
    assert "cannot be read" in refusal(tmp_path).what


def test_a_pipe_is_refused_before_anything_is_read_from_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "a pipe" in refusal(pipe).what


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n{ROW}\r\n".encode())
    source = build_workload(TraceSpec(kind="trace", path=str(path)), 10_000).source
    assert (source.turns_used, source.input_tokens, source.output_tokens) == (1, 374, 44)
