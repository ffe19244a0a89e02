"""`bench serve` is asked what its own description allows, and what it forbids: no 500, no hang, no growth in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from mock_serving import CHAT, COMPLETIONS, ask, connect, get
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from serving import ServeProcess, bench_serve

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]
BOUNDS = ("kv_cache_tokens=256", "max_running=8", "threads=1", "check_accuracy=false")
"""Of the engine: no answer is longer than what the cache holds."""
ANSWER_SECONDS = 20.0
GROWTH_BYTES = 4 * 2**20
"""Allowed when the same requests come again: pools of the allocators still fill."""


@pytest.fixture(scope="module")
def served() -> Iterator[ServeProcess]:
    sets = [part for bound in BOUNDS for part in ("--set", bound)]
    with bench_serve("--model", "tiny", "--max-waiting", 0, *sets) as served:
        yield served


def fuzz(served: ServeProcess, examples: int) -> int:
    """Ask every operation in every mode; returns how many requests were answered with tokens."""
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    answered = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
            if operation.method == "get" and mode is GenerationMode.NEGATIVE:
                continue

            @settings(
                max_examples=examples if operation.method == "post" else 2,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case) -> None:
                nonlocal answered
                response = case.call_and_validate(checks=CHECKS, timeout=ANSWER_SECONDS)
                answered += response.status_code == 200

            ask()
    return answered


@pytest.mark.parametrize("examples", [10, pytest.param(500, marks=pytest.mark.slow)])
def test_no_request_breaks_it_and_none_stays(served: ServeProcess, examples: int) -> None:
    assert fuzz(served, examples)
    before = served.resident_bytes()
    fuzz(served, examples)
    assert served.resident_bytes() - before < GROWTH_BYTES
    assert served.told() == ""


def request(prompt: str, **more: str) -> bytes:
    """A body whose prompt, and what else there is, stand in it as they are written here."""
    fields = {"model": '"tiny"', "max_tokens": "1", "prompt": prompt, **more}
    return b"{%b}" % ", ".join(f'"{name}": {value}' for name, value in fields.items()).encode(errors="surrogatepass")


BODIES = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "cut off": request('"a"')[:-5],
    "two documents": request('"a"') * 2,
    "not UTF-8": request('"\udcff"'),
    "UTF-16": request('"a"').decode().encode("utf-16"),
    "not a number": request('"a"', temperature="NaN"),
    "infinite": request('"a"', temperature="Infinity"),
    "beyond a float": request('"a"', temperature="1e999"),
    "a huge integer": request('"a"', max_tokens="9" * 5000),
    "huge token ids": request(f"[{2**31 - 1}, {2**63}]"),
    "a negative token": request("[-1]"),
    "half a character": request(r'"\ud800"'),
    "deep": request("[" * 100_000 + "]" * 100_000),
    "deep and unknown": request('"a"', whatever="[" * 100_000 + "]" * 100_000),
    "deep and open": b"[" * 1_000_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "empty prompt": request('""'),
    "no prompts": request("[]"),
    "no messages": b'{"model": "tiny", "messages": []}',
    "many stop strings": request('"a"', stop=str([f"s{i}" for i in range(100_000)]).replace("'", '"')),
    "many fields": request('"a"', **{f"field{i}": "1" for i in range(100_000)}),
    "ten megabytes": request('"a"', user=f'"{"many words " * 900_000}", "max_tokens": 0'),
    "more than is read": b" " * (17 * 2**20),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
def test_what_no_client_should_send(served: ServeProcess, path: str, body: bytes) -> None:
    connection = connect(served.url)
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answered = json.loads(response.read())
    if response.status != 200:
        assert response.status in (400, 413)
        assert answered["error"]["type"] == "invalid_request_error"
    assert get(served.url, "/health").status == 200
    assert served.told() == ""


def test_null_bytes_are_characters(served: ServeProcess) -> None:
    answered = ask(served.url, model="tiny", prompt="\0a\0", max_tokens=1, stream=False)
    assert answered.status == 200
