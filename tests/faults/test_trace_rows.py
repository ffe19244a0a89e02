"""A broken row of any format is refused in one line that names file and line. Nothing of it is guessed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from bench.core.errors import InputError
from bench.workload.traces.format import Reading
from bench.workload.traces.importer import open_trace

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "traces"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
WHOLE = "a whole number, 0 or more"
BURST = "Timestamp,Session ID,Elapsed time,Request tokens,Response tokens"
LAB = "session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms"
MOON = {"timestamp": 5, "input_length": 600, "output_length": 3, "hash_ids": [1, 2]}
CHAT = {
    "chat_id": 3,
    "parent_chat_id": -1,
    "timestamp": 5.0,
    "input_length": 20,
    "output_length": 3,
    "hash_ids": [1, 2],
}


def refusal(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        for _ in open_trace(path, Reading()).items:
            pass
    assert "\n" not in str(caught.value)
    return caught.value


def place_of_refusal(path: Path) -> str | None:
    try:
        for _ in open_trace(path, Reading()).items:
            pass
    except InputError as error:
        return str(error.where)
    return None


@pytest.mark.parametrize(
    ("text", "line", "what", "allowed"),
    [
        (f"{AZURE}\n2023-11-16 18:15:46,1,2\n2023-11-16 18:15:45.9,1,2", 3,
         "it arrives before the row above it", "in order of arrival"),
        (f"{AZURE}\nyesterday,1,2", 2, "TIMESTAMP = 'yesterday'", "a time as 2023"),
        (f"{AZURE}\n2023-02-30 18:15:46,1,2", 2, "TIMESTAMP = ", "a time as 2023"),
        (f"{AZURE}\n2023-11-16 18:15:46,1e99,2", 2, "ContextTokens = '1e99'", WHOLE),
        (f"{AZURE}\n2023-11-16 18:15:46,1,2,3", 2, "4 values", "one for each column: 3"),
        (f'{AZURE}\n"2023-11-16 18:15:46,1,2', 2, "not CSV", "commas"),
        (f"{AZURE},ContextTokens\n2023,1,2,3", 1, "column ContextTokens is there twice", ""),
        (f"{BURST}\n5,a,1,-3,4", 2, "Request tokens = '-3'", WHOLE),
        (f"{BURST}\nnan,a,1,3,4", 2, "Timestamp = 'nan'", "a number from 0"),
        (f"{BURST}\n5,a,1_0,3,4", 2, "Elapsed time = '1_0'", "a number from 0"),
        (f"{BURST}\n1e99,a,1,3,4", 2, "Timestamp = '1e99'", "a number from 0 to 1e+12"),
        (f"{BURST}\n5,a,1,3,4\n4.5,a,1,3,4", 3, "it arrives before the row above it", "in order of arrival"),
        ("Request tokens,Response tokens\n3,4", 1, "column Timestamp is missing", "columns Timestamp, Request tokens"),
        ("num_prefill_tokens\n3", 1, "column num_decode_tokens is missing", "num_prefill_tokens, num_decode_tokens"),
        ("num_prefill_tokens,num_decode_tokens\n3,four", 2, "num_decode_tokens = 'four'", WHOLE),
        ("num_prefill_tokens,num_decode_tokens\n", 1, "a header but no row", "one row or more"),
        (f"{LAB}\na,0,0,0,9,1,5\na,0,2,10,9,1,5", 3, "round_idx = 2", "rounds from 0 on: 1"),
        (f"{LAB}\na,0,0,0,9,1,5\na,0,1,11,9,1,5", 3, "prefix_len = 11", "at most the context before it: 10"),
        (f"{LAB}\na,0,0,0,9,1,5\nb,0,0,0,9,1,5\na,0,1,10,9,1,5", 4, "session a goes on", "one after another"),
        (f"{LAB}\na,7,0,0,9,1,5\nb,6,0,0,9,1,5", 3, "it arrives before the row above it", "in order of arrival"),
        (f"{LAB}\na,7,0,0,9,1,", 2, "tool_wait_after_ms = ''", "a number from 0"),
        (f"{LAB}\n,7,0,0,9,1,5", 2, "session_id is empty", "the session's name"),
        (f"{LAB[11:]}\n7,0,0,9,1,5", 1, "column session_id is missing", "columns session_id"),
    ],
)  # fmt: skip
def test_a_broken_row_of_csv(tmp_path: Path, text: str, line: int, what: str, allowed: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    error = refusal(path)
    assert error.where == f"{path}:{line}"
    assert what in error.what
    assert allowed in str(error.allowed)


@pytest.mark.parametrize(
    ("good", "change", "what"),
    [
        (MOON, {"input_length": -1}, "Expected `int` >= 0 - at `$.input_length`"),
        (MOON, {"output_length": 4.5}, "Expected `int`, got `float` - at `$.output_length`"),
        (MOON, {"output_length": 1e99}, "Expected `int`, got `float` - at `$.output_length`"),
        (MOON, {"output_length": 10**15}, "Expected `int` <= 1000000000000 - at `$.output_length`"),
        (MOON, {"input_length": ...}, "Object missing required field `input_length`"),
        (MOON, {"timestamp": "soon"}, "at `$.timestamp`"),
        (MOON, {"timestamp": float("nan")}, "not JSON"),
        (MOON, {"timestamp": 4}, "it arrives before the row above it"),
        (MOON, {"hash_ids": [1]}, "1 hash_ids for 600 tokens"),
        (MOON, {"hash_ids": list(range(38))}, "38 hash_ids for 600 tokens"),
        (MOON, {"hash_ids": [1, "x"]}, "Expected `int`, got `str` - at `$.hash_ids[1]`"),
        (MOON, {"session_id": "a", "delay": -3}, "at `$.delay`"),
        (CHAT, {"chat_id": 3}, "a second request with chat_id 3"),
        (CHAT, {"chat_id": 10**30}, "chat_id"),
        (CHAT, {"chat_id": 4, "parent_chat_id": None}, "at `$.parent_chat_id`"),
        (CHAT, {"chat_id": 4, "timestamp": 1e99}, "at `$.timestamp`"),
        (CHAT, {"chat_id": 4, "timestamp": 4.9}, "it arrives before the row above it"),
        (CHAT, {"chat_id": 4, "hash_ids": [1, 2, 3]}, "3 hash_ids for 20 tokens"),
        (CHAT, {"chat_id": 4, "hash_ids": None}, "at `$.hash_ids`"),
    ],
)
def test_a_broken_row_of_json(tmp_path: Path, good: dict[str, Any], change: dict[str, Any], what: str) -> None:
    path = tmp_path / "rows.jsonl"
    broken = {key: value for key, value in {**good, **change}.items() if value is not ...}
    path.write_text(f"{json.dumps(good)}\n\n{json.dumps(broken)}\n")
    error = refusal(path)
    assert error.where == f"{path}:3"
    assert what in error.what


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.iterdir()))
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_stream_that_breaks_off(tmp_path: Path, name: str, compression: str) -> None:
    raw = (FIXTURES / name).read_bytes()
    packed = gzip.compress(raw) if compression == "gzip" else pyarrow.Codec("zstd").compress(raw, asbytes=True)
    path = tmp_path / "trace"
    path.write_bytes(packed[: len(packed) * 2 // 3])
    assert f"the {compression} stream is broken" in refusal(path).what


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01\x02\x03" * 50,
        b"\x7fELF\x02\x01\x01",
        b"PK\x03\x04",
        b"{",
        b"[",
        b"[]",
        b"[[]]",
        b"{}",
        b'"',
        b",",
        b"1\n2\n",
    ],
    ids=repr,
)
def test_what_is_no_trace(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trace"
    path.write_bytes(content)
    assert str(refusal(path).where).startswith(str(path))


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.iterdir()))
def test_any_file_cut_short_anywhere_reads_or_is_refused(tmp_path: Path, name: str) -> None:
    raw = (FIXTURES / name).read_bytes()
    path = tmp_path / "trace"
    for end in range(1, len(raw), max(1, len(raw) // 60)):
        path.write_bytes(raw[:end])
        where = place_of_refusal(path)
        assert where is None or where.startswith(str(path))
