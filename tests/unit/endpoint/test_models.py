"""A server is held to the model it is asked for, by the names that it lists and answers with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from endpoint_asking import DONE, Heard, answering, ask, asked, chunked, event, response, run, started, usage
from mock_serving import AT_ONCE, serving, truth

from bench.core.errors import EngineError
from bench.engine.endpoint import EndpointEngine
from bench.engine.http.model_names import AnsweredModels, is_listed, judge
from bench.engine.mock_server.faults import parse_rule
from bench.engine.mock_server.settings import MockServerSettings


def listing(*names: str) -> bytes:
    return json.dumps({"object": "list", "data": [{"id": name} for name in names]}).encode()


def answer(model: Any, *, text: str = "a") -> bytes:
    """A stream whose first event, as Azure's, has no choices and an empty name."""
    opening = event({"model": "", "choices": []})
    said = event({"model": model, "choices": [{"text": text, "finish_reason": "length"}]})
    return chunked(opening + said + usage(1) + DONE)


def asking(url: str, **engine: Any) -> str:
    """A suite."""
    spec = {
        "name": "asked",
        "model": {"path": "tiny"},
        "engine": {"kind": "endpoint", "base_url": url, **engine},
        "workload": {"kind": "fixed", "prompt_tokens": 8, "output_tokens": 4, "sessions": 64},
        "load": {"kind": "closed", "concurrency": 2},
        "measure": {"percentiles": [0.5], "warmup_sessions": 0},
    }
    return yaml.safe_dump({"specs": [spec]})


async def told(body: bytes, models: bytes, **spec: Any) -> tuple[Heard, EndpointEngine]:
    async with answering(body, models=models) as server, started(server.url, **spec) as engine:
        return await ask(engine, asked(1)), engine


@pytest.mark.parametrize(
    ("asked_for", "answered", "listed", "judgement"),
    [
        ("a/b", "a/b", ["a/b"], "same"),
        ("A/b", "a/B", [], "same"),
        ("gpt-4o", "gpt-4o-2024-08-06", ["gpt-4o", "gpt-4o-2024-08-06"], "same"),
        ("claude-latest", "claude-20251001", ["claude-20251001"], "same"),
        ("gpt-4o", "gpt-4o-mini-2024-07-18", ["gpt-4o", "gpt-4o-mini-2024-07-18"], "other"),
        ("deepseek-v3", "deepseek-v3-0324", ["deepseek-v3", "deepseek-v3-0324"], "other"),
        ("deepseek-v3", "deepseek-v3-0324", ["deepseek-v3"], "same"),
        ("qwen3", "qwen3-8b", ["qwen3"], "unknown"),
        ("org/name", "/models/name", ["org/name"], "same"),
        ("org/name", "/models/name/", [], "same"),
        ("name", "/models/name.gguf", ["name"], "same"),
        ("one/name", "two/name", ["one/name", "two/name"], "other"),
        ("name", "elsewhere", ["name"], "unknown"),
        ("name", "other", ["name", "other"], "other"),
    ],
)
def test_names_are_judged(asked_for: str, answered: str, listed: list[str], judgement: str) -> None:
    assert judge(asked_for, answered, listed) == judgement


def test_names_without_end_are_counted_together() -> None:
    answered = AnsweredModels("m", ["m"])
    for number in range(100):
        answered.add(f"n{number}", f"n{number}")
        answered.add("n0", "n0")
    assert answered.answers["n0"] == 101
    assert answered.answers["others"] == 84
    assert len(answered.answers) == 17


def test_a_name_may_be_listed_in_another_form() -> None:
    assert is_listed("llama3", ["mistral", "llama3:latest"]) is False
    assert is_listed("gpt-4o", ["gpt-4o-2024-08-06"])
    assert is_listed("org/name", ["/models/name"])
    assert not is_listed("tiny", ["tiny-2"])


@pytest.mark.parametrize("model", ["served", "served-2026-11-23", "/models/served"])
def test_the_model_that_was_asked_for_is_counted_by_its_name(model: str) -> None:
    heard, engine = run(told(answer(model), listing("served")))
    assert heard.end.reason == "length"
    assert heard.end.notes == ()
    assert engine.describe()["answered_models"] == {model: 1}


@pytest.mark.parametrize("model", [None, 7, ""])
def test_an_answer_that_names_no_model_is_taken(model: Any) -> None:
    heard, engine = run(told(answer(model), listing("served")))
    assert (heard.end.reason, heard.end.notes) == ("length", ())
    assert engine.describe()["answered_models"] == {}


def test_a_name_that_may_be_anything_is_noted() -> None:
    heard, engine = run(told(answer("x" * 999), listing("served")))
    assert heard.end.notes == ("other_name",)
    (name,) = engine.describe()["answered_models"]
    assert len(name) == 200


def test_a_document_is_held_to_its_model_as_a_stream_is() -> None:
    document = {"model": "second", "choices": [{"text": "a", "finish_reason": "length"}]}
    body = response(json.dumps(document).encode(), "content-type: application/json")
    heard, _ = run(told(body, listing("first", "second")))
    assert heard.end.error == "other_model: asked for first, answered by second"


def test_another_model_fails_its_turn_and_no_further_one_is_sent() -> None:
    async def main() -> tuple[Heard, str]:
        models = listing("first", "second")
        async with answering(answer("second"), models=models) as server, started(server.url) as engine:
            heard = await ask(engine, asked(1))
            with pytest.raises(EngineError) as lost:
                await ask(engine, asked(1))
            return heard, str(lost.value)

    heard, lost = run(main())
    assert heard.end.reason == "failed"
    assert heard.end.error == "other_model: asked for first, answered by second"
    assert heard.tokens == 1
    assert lost.endswith("serves another model: asked for first, answered by second")


@pytest.mark.parametrize("models", [listing("one", "two"), b'[{"id": "one"}, {"id": "two"}]'])
def test_a_model_that_is_not_listed_is_refused_with_what_is(models: bytes) -> None:
    with pytest.raises(EngineError, match=r"^engine\.served_model: the server does not list 'x' \(listed: one, two\)$"):
        run(told(answer("x"), models, served_model="x"))
    assert run(told(answer("x"), models, served_model="x", complete_model_list=False))[0].end.reason == "length"


@pytest.mark.parametrize("models", [listing(), b"{}", b"[]", b"no list"])
def test_a_server_without_a_list_is_asked_for_any(models: bytes) -> None:
    heard, engine = run(told(answer("x"), models, served_model="x"))
    assert heard.end.reason == "length"
    assert engine.describe()["model"] == "x"


@pytest.mark.parametrize("processes", [1, 2])
def test_another_model_ends_a_run_that_keeps_its_record(
    processes: int, bench: Callable[..., Any], tmp_path: Path
) -> None:
    suite = tmp_path / "suite.yaml"
    faults = (parse_rule("other_model:every=5", "--fault"),)
    with serving(MockServerSettings(ttft_ms=1, gap_ms=1, faults=faults)) as url:
        suite.write_text(asking(url, processes=processes))
        ran = bench("run", suite, "--out", tmp_path / "runs")
        sent = len(truth(url))
    assert ran.code == 3
    assert "/v1 serves another model: asked for mock, answered by another" in ran.err
    assert sent < 64
    (folder,) = (tmp_path / "runs").iterdir()
    record = json.loads((folder / "record.json").read_text())
    assert record["requests"]["failed"].keys() == {"other_model"}
    assert record["verdict"]["status"] == "invalid"


def test_a_wrong_name_ends_a_run_before_anything_is_sent(bench: Callable[..., Any], tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    with serving(MockServerSettings(**AT_ONCE)) as url:
        suite.write_text(asking(url, served_model="tiny"))
        ran = bench("run", suite, "--out", tmp_path / "runs")
    assert ran.code == 3
    assert "engine.served_model: the server does not list 'tiny' (listed: mock)" in ran.err
