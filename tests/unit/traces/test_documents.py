"""JSON objects are read one by one, however a file holds them, and every mistake names its line."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.workload.traces import documents as module
from bench.workload.traces.documents import documents
from bench.workload.traces.lines import numbered_lines, opening

FORMS: dict[str, Callable[[list[Any]], str]] = {
    "one a line": lambda objects: "".join(json.dumps(one) + "\n" for one in objects),
    "one a line, blank lines between": lambda objects: "\n\n \n".join(json.dumps(one) for one in objects),
    "one array": json.dumps,
    "one array over many lines": lambda objects: json.dumps(objects, indent=1),
    "each over many lines": lambda objects: "\n".join(json.dumps(one, indent=2) for one in objects),
}
VALUES = st.recursive(
    st.none() | st.integers(-(2**60), 2**60) | st.text(max_size=20), lambda inner: st.lists(inner, max_size=4)
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, min_size=1, max_size=4)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40)
@given(objects=st.lists(OBJECTS, min_size=1, max_size=6), window=st.sampled_from([1, 7, 2**16]))
def test_every_form_holds_the_same_objects(
    tmp_path_factory: pytest.TempPathFactory, form: str, objects: list[Any], window: int
) -> None:
    path = tmp_path_factory.mktemp("documents") / "trace"
    path.write_text(FORMS[form](objects), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FIRST_WINDOW", window)
        assert [document for _, document in documents(path)] == objects


def test_each_object_comes_with_the_line_it_begins_on(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text('[\n {"a": 1},\n\n {"a":\n 2}, {"a": 3}\n]\n')
    assert list(documents(path)) == [(2, {"a": 1}), (4, {"a": 2}), (5, {"a": 3})]
    path.write_text('\n{"a": 1}\n\n{"a": 2}')
    assert list(documents(path)) == [(2, {"a": 1}), (4, {"a": 2})]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('{"a": 1}\n{"a": 1', 2, "not JSON: Input data was truncated"),
        ('{"a": 1}\n{"a": NaN}', 2, "not JSON: JSON is malformed"),
        ('{"a": 1}\n{"a": 1} x', 2, "not JSON: JSON is malformed"),
        ('{"a": 1}\n[1]', 2, "Expected `object`, got `array`"),
        ('[{"a": 1},\n {"a": 1}', 2, "neither a comma nor the array's end follows"),
        ('[{"a": 1}\n{"a": 1}]', 2, "neither a comma nor the array's end follows"),
        ('[{"a": 1},\n', 2, "the array has no end"),
        ('[{"a": 1}]\n{"a": 2}', 2, "something follows the array"),
        ('[{"a": 1},\n {"a": NaN}]', 2, "NaN is no number"),
        ('[{"a": 1},\n 5]', 2, "Expected `object`, got `int`"),
        ('[{"a": 1},\n {"a"\n: "b\n', 3, "not JSON at column"),
        ('{\n"a": 1,\n"b" 2}', 3, "Expecting ':' delimiter"),
        ("{\n" + '"a": {' * 100_000, 1, "JSON that cannot be held"),
    ],
)
def test_a_mistake_is_told_by_its_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        list(documents(path))
    assert caught.value.where == f"{path}:{line}"
    assert what in caught.value.what
    assert "\n" not in str(caught.value)


class Shape(msgspec.Struct):
    tokens: int


@pytest.mark.parametrize("form", FORMS)
def test_a_shape_is_held_to_in_every_form(tmp_path: Path, form: str) -> None:
    path = tmp_path / "trace"
    path.write_text(FORMS[form]([{"tokens": 3, "more": None}]))
    assert [one.tokens for _, one in documents(path, Shape)] == [3]
    path.write_text(FORMS[form]([{"tokens": 3}, {"tokens": 4.5}]))
    with pytest.raises(InputError, match=r"Expected `int`, got `float` - at `\$\.tokens`"):
        list(documents(path, Shape))


def test_an_array_on_one_line_is_not_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(json.dumps([{"text": "word " * 2000}] * 3000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in documents(path)) == 3000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size / 10


def zstd(raw: bytes) -> bytes:
    return pyarrow.Codec("zstd").compress(raw, asbytes=True)


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_compression_is_told_by_content_and_a_broken_stream_by_its_line(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    raw = "\r\n".join(f"{n * 7919 % 5000},{n * 104729 % 977}" for n in range(60_000)).encode()
    path = tmp_path / "rows.csv"
    path.write_bytes(pack(raw))
    plain = [line.decode() for line in raw.split(b"\r\n")]
    assert list(numbered_lines(path)) == list(enumerate(plain, start=1))
    path.write_bytes(pack(raw)[:-2000])
    read = []
    with pytest.raises(InputError, match="stream is broken after this line") as caught:
        read.extend(line for _, line in numbered_lines(path))
    last = int(str(caught.value.where).rpartition(":")[2])
    assert 1 < last < 60_000


def test_a_line_that_would_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.workload.traces.lines.LONGEST_LINE", 100_000)
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,b\n" + b"x" * 400_000)
    with pytest.raises(InputError, match=r"rows\.csv:2: the line is too long"):
        list(numbered_lines(path))


def test_an_object_that_would_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_LINE", 100_000)
    path = tmp_path / "trace.json"
    path.write_text('{\n"a": "' + "x" * 800_000)
    with pytest.raises(InputError, match=r"trace\.json:1: the object is too long"):
        list(documents(path))


def test_the_first_byte_that_says_something(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    for raw, first in ((b"", b""), (b" \n", b""), (b"\xef\xbb\xbf [", b"["), (zstd(b"\n{}"), b"{")):
        path.write_bytes(raw)
        assert opening(path) == first
