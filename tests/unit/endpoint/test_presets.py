"""A preset is data: what a suite writes is laid over it, and what is sent is what its file says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from endpoint_asking import asked

import bench
from bench.core.configs import config_root, names
from bench.core.endpoint_spec import EndpointPreset
from bench.core.errors import InputError
from bench.core.sessions import Sampling, TurnRequest
from bench.core.spec import Case, EndpointEngineSpec
from bench.core.suite import load_suite, parse, read_yaml
from bench.engine.http.address import Address
from bench.engine.http.request import RequestRenderer

SUITE = """
base:
  model: {path: tiny}
  engine: {kind: endpoint, base_url: "http://127.0.0.1:1", preset: vllm}
  workload: {kind: reasoning, sessions: 4}
  load: {kind: closed, concurrency: 1}
specs:
  - name: named
"""
OWN = """
source: {title: a letter, url: none, read: 2026-11-23}
confidence: low
base_url: https://own.example.com/v1
api_key_env: OWN_KEY
effort_body: {thinking: {effort: $effort, budget: $thinking_budget}}
"""
PRESETS = names("engines")
DRAWN = Sampling(0.7, 5, 9, 0.9, 0.1, 1.1, ((3, -1.0),))
SAMPLED = {
    "temperature": 0.7,
    "seed": 5,
    "top_k": 9,
    "top_p": 0.9,
    "min_p": 0.1,
    "repetition_penalty": 1.1,
    "logit_bias": {"3": -1.0},
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("suite.yaml").write_text(SUITE)
    Path("own.yaml").write_text(OWN)


def engine(*sets: str) -> EndpointEngineSpec:
    resolved = load_suite("suite.yaml", sets=sets).specs[0].engine
    assert isinstance(resolved, EndpointEngineSpec)
    return resolved


def preset(name: str) -> EndpointPreset:
    return parse(EndpointPreset, read_yaml(config_root() / "engines" / f"{name}.yaml"), name)


def body(of: EndpointEngineSpec, request: TurnRequest) -> Any:
    message = RequestRenderer(of, Address.parse(of.base_url), "served", None).render(request)
    return json.loads(message.partition(b"\r\n\r\n")[2])


def test_the_servers_and_providers_asked_for_are_there() -> None:
    asked_for = {
        "sglang",
        "tensorrt-llm",
        "vllm",
        "llama-cpp",
        "together",
        "fireworks",
        "nebius",
        "deepinfra",
        "openai",
    }
    assert asked_for <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_says_where_it_is_from_and_resolves_to_what_its_file_writes(name: str) -> None:
    written = preset(name)
    assert (
        written.source.url.startswith("https://")
        or Path(bench.__file__).parents[1].joinpath(written.source.url).exists()
    )
    resolved = engine(f"engine.preset={name}").model_dump()
    settings = {key: value for key, value in written.settings.items() if key not in ("base_url", "api_key_env")}
    assert {key: resolved[key] for key in settings} == settings


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize("pinned", [True, False])
def test_a_body_is_what_the_file_says(name: str, api: str, pinned: bool) -> None:
    file = preset(name)
    request = replace(
        asked(7, pinned=pinned, effort="low", thinking_budget=3 if not pinned else None), sampling=DRAWN, logprobs=2
    )
    said = body(engine(f"engine.preset={name}", f"engine.api={api}"), request)
    expected: dict[str, Any] = {"model": "served", "stream": True, file.max_tokens_field: 7}
    expected |= {field: SAMPLED[field] for field in file.sampling_fields}
    if file.stream_options:
        expected["stream_options"] = file.stream_options
    if api == "chat":
        expected |= {"messages": [{"role": "user", "content": "a b c"}], "logprobs": True, "top_logprobs": 2}
        expected |= json.loads(json.dumps(file.effort_body).replace("$effort", "low"))
    else:
        expected |= {"prompt": "a b c" if file.prompt == "text" else [1, 2, 3], "logprobs": 2}
    if pinned and isinstance(file.force_length, dict):
        expected |= {key: 7 if value == "$max_tokens" else value for key, value in file.force_length.items()}
    expected |= file.logprobs_body
    budget = {} if pinned else {"$thinking_budget": 3}
    laid = {key: budget.get(value) if isinstance(value, str) else value for key, value in file.extra_body.items()}
    expected |= {key: value for key, value in laid.items() if value is not None}
    assert said == expected


def test_what_is_written_goes_before_the_preset_key_by_key() -> None:
    assert engine("engine.max_logprobs=3").max_logprobs == 3
    assert engine("engine.max_logprobs=3").logprobs_body == {"return_tokens_as_token_ids": True}
    assert engine("engine.extra_body.min_tokens=1").extra_body == {
        "thinking_token_budget": "$thinking_budget",
        "skip_special_tokens": False,
        "min_tokens": 1,
    }
    assert engine("engine.force_length=true").force_length is True


def test_a_preset_named_later_leaves_nothing_of_the_one_before() -> None:
    together = engine("engine.preset=together")
    assert together.base_url == "http://127.0.0.1:1"
    assert (together.api, together.max_logprobs, together.extra_body) == ("chat", 0, {})


def test_presets_can_be_an_axis() -> None:
    Path("suite.yaml").write_text(SUITE + "    grid: {engine.preset: [sglang, openai]}\n")
    specs = load_suite("suite.yaml").specs
    assert [spec.name for spec in specs] == ["named.sglang", "named.openai"]
    assert [spec.engine.model_dump()["max_tokens_field"] for spec in specs] == ["max_tokens", "max_completion_tokens"]


def test_a_path_brings_its_address_and_its_key_to_no_other_address() -> None:
    whole = "engine={kind: endpoint, preset: own.yaml}"
    Path("suite.yaml").write_text(SUITE.replace('base_url: "http://127.0.0.1:1", ', ""))
    assert (engine(whole).base_url, engine(whole).api_key_env) == ("https://own.example.com/v1", "OWN_KEY")
    assert engine(whole, "engine.base_url=http://127.0.0.1:1").api_key_env is None


def test_a_folder_of_a_presets_name_does_not_hide_it() -> None:
    Path("vllm").mkdir()
    assert engine().max_logprobs == 20


def test_the_settings_and_not_their_preset_are_in_a_cases_id() -> None:
    spec = load_suite("suite.yaml").specs[0]
    assert isinstance(spec.engine, EndpointEngineSpec)
    unnamed = spec.model_copy(update={"engine": spec.engine.model_copy(update={"preset": None})})
    other = spec.model_copy(
        update={"engine": spec.engine.model_copy(update={"max_tokens_field": "max_completion_tokens"})}
    )
    ids = [Case.of(one, model_digest="m", workload_digest="w").id for one in (spec, unnamed, other)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("sets", "line"),
    [
        (("engine.preset=vlm",), r"vlm: no such engine .*sglang.*together"),
        (("engine.preset=3",), r"engine\.preset = 3"),
        (("engine.force_length=maybe",), r"engine\.force_length = 'maybe' \(allowed: true, false, or a mapping"),
        (("engine.reasoning_fields=[content]",), r"engine\.reasoning_fields = .*allowed: different names"),
        (("engine.sampling_fields=[beams]",), r"engine\.sampling_fields\.0 = 'beams'"),
        (("engine={kind: mock, preset: vllm}",), r"unknown key 'engine\.preset'"),
    ],
)
def test_what_is_none_is_refused_in_one_line(sets: tuple[str, ...], line: str) -> None:
    with pytest.raises(InputError, match=line) as refused:
        load_suite("suite.yaml", sets=sets)
    assert "\n" not in str(refused.value)


def test_a_preset_with_an_unknown_key_names_its_file() -> None:
    Path("own.yaml").write_text(OWN + "burst: 1\n")
    with pytest.raises(InputError, match=r"^own\.yaml: unknown key 'burst'"):
        engine("engine.preset=own.yaml")
